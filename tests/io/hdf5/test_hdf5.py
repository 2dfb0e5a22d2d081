"""The HDF5 store: exact round trips, many images per file, boxes."""

from __future__ import annotations

import errno
import json
import random
import zlib
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hdf5_cases import AFFINE, DTYPES, METADATA, assert_same, image_of, voxels_of

import medjax as mj
from medjax import io

# Private: parts that are replaced or made to fail, and the shape of chunks.
from medjax.io import _hdf5
from medjax.io._hdf5 import _filters, _save, _voxels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", ["gzip", "blosc", "lzf", None])
def test_round_trip_keeps_every_bit(tmp_path: Path, dtype: str, compression: Any) -> None:
    image = image_of(dtype, kind="label" if np.dtype(dtype).kind in "biu" else "intensity")
    name = io.save_hdf5(tmp_path / "a.h5", image, compression=compression)
    assert_same(io.load_hdf5(tmp_path / "a.h5", "images", name), image)


@pytest.mark.parametrize("compression", ["gzip", "blosc", "lzf", None])
@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((131, 140, 33), "F"),  # 2 x 2 x 3 chunks, the last ones not full
        ((131, 140, 33), "C"),
        ((1, 1, 1), "C"),
        ((300, 1, 2), "F"),
        ((9, 8, 7, 40), "C"),  # several time points share a chunk
        ((140, 7, 5, 2, 3), "C"),
    ],
)
def test_round_trip_across_chunks(tmp_path: Path, shape: tuple[int, ...], order: Any, compression: Any) -> None:
    voxels = np.asarray(np.arange(np.prod(shape)).reshape(shape), dtype=np.int32, order=order)
    image = mj.Image.from_array(voxels, affine=AFFINE)
    io.save_hdf5(tmp_path / "a.h5", image, compression=compression)
    assert_same(io.load_hdf5(tmp_path / "a.h5"), image)


def test_views_big_endian_and_jax_voxels_are_stored_as_seen(tmp_path: Path) -> None:
    whole = voxels_of("i2", (9, 8, 7))
    for name, voxels in {"view": whole[::-2, 1:, ::3], "big": whole.astype(">i2"), "jax": jnp.asarray(whole)}.items():
        io.save_hdf5(tmp_path / "a.h5", mj.Image.from_array(voxels), name=name)  # type: ignore[arg-type]
        found = io.load_hdf5(tmp_path / "a.h5", name=name).voxels
        assert found.dtype == np.dtype("i2")
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, np.asarray(voxels))


def test_same_file_without_isal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines without an isal wheel use zlib; either reads what the other wrote."""
    image = image_of("i4", (40, 30, 20))
    io.save_hdf5(tmp_path / "isal.h5", image)
    monkeypatch.setattr(_filters, "deflate", zlib)
    assert_same(io.load_hdf5(tmp_path / "isal.h5"), image)
    io.save_hdf5(tmp_path / "zlib.h5", image)
    monkeypatch.undo()
    assert_same(io.load_hdf5(tmp_path / "zlib.h5"), image)


def test_layout_is_as_documented(tmp_path: Path) -> None:
    """Read by h5py alone, by what docs/hdf5.md says."""
    image = image_of("i2", (20, 18, 40, 2), kind="label")
    io.save_hdf5(tmp_path / "a.h5", image, "cohort/patient 1", "CT")
    with h5py.File(tmp_path / "a.h5", "r") as file:
        group = file["cohort/patient 1/CT"]
        assert group.attrs["medjax_layout"] == 1
        assert group.attrs["affine"].tolist() == AFFINE.tolist()
        assert group.attrs["kind"] == b"label"
        voxels = group["voxels"]
        assert voxels.shape == (2, 40, 18, 20)
        assert voxels[1, 30, 4, 17] == image.voxels[17, 4, 30, 1]
        np.testing.assert_array_equal(voxels[()].T, image.voxels)
        properties = voxels.id.get_create_plist()
        assert [properties.get_filter(n)[0] for n in range(properties.get_nfilters())] == [2, 1]  # shuffle, deflate
        assert json.loads(group["metadata"][()]) == json.loads(METADATA.to_json())
    page = (Path(__file__).parents[3] / "docs" / "hdf5.md").read_text()
    for word in ("medjax_layout", "affine", "kind", "voxels", "metadata", "shuffle", "16 x 128 x 128"):
        assert word in page
        assert word in str(_hdf5.__doc__)


def test_chunks_divide_evenly() -> None:
    assert _voxels.chunk_shape((300, 512, 512)) == (16, 128, 128)
    assert _voxels.chunk_shape((3, 17, 129, 5)) == (3, 9, 65, 5)


def test_metadata_longer_than_an_attribute(tmp_path: Path) -> None:
    metadata = METADATA.replace(extra={f"Keyword{n}": "x" * 100 for n in range(5000)})
    assert len(metadata.to_json()) > 8 * 2**16
    io.save_hdf5(tmp_path / "a.h5", image_of(metadata=metadata))
    assert io.load_hdf5(tmp_path / "a.h5").metadata == metadata


def test_no_metadata_stays_none(tmp_path: Path) -> None:
    io.save_hdf5(tmp_path / "a.h5", image_of(metadata=None))
    assert io.load_hdf5(tmp_path / "a.h5").metadata is None


def test_many_images_in_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    shapes = {
        ("images", "b"): (3, 4, 5),
        ("images", "a"): (2, 2, 2),
        ("p/q", "x"): (4, 3, 2, 6),
        ("", "top"): (1, 2, 3),
    }
    images = {where: image_of("f4", shape) for where, shape in shapes.items()}
    for (group, name), image in images.items():
        assert io.save_hdf5(path, image, group, name) == name
    entries = io.list_hdf5(path)
    assert [(entry.group, entry.name) for entry in entries] == [
        ("images", "a"),
        ("images", "b"),
        ("p/q", "x"),
        ("", "top"),
    ]
    for entry in entries:
        image = images[entry.group, entry.name]
        assert entry.shape == image.voxels.shape
        assert (entry.dtype, entry.kind, entry.layout) == (np.float32, "intensity", "medjax")
        assert entry.grid.affine.tolist() == AFFINE.tolist()
        assert_same(io.load_hdf5(path, entry.group, entry.name), image)
    assert [entry.name for entry in io.list_hdf5(path, "p")] == ["x"]

    io.delete_hdf5(path, "images", "a")
    assert {entry.name for entry in io.list_hdf5(path)} == {"b", "x", "top"}
    assert_same(io.load_hdf5(path, "images"), images["images", "b"])  # the name may be left out now
    io.save_hdf5(path, images["", "top"], "images", "a")
    assert_same(io.load_hdf5(path, "images", "a"), images["", "top"])


def test_names_are_unique_where_none_is_given(tmp_path: Path) -> None:
    names = {io.save_hdf5(tmp_path / "a.h5", image_of()) for _ in range(5)}
    assert {entry.name for entry in io.list_hdf5(tmp_path / "a.h5")} == names
    assert len(names) == 5


def test_an_existing_image_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    io.save_hdf5(path, image_of(), "g", "a")
    for group, name in (("g", "a"), ("", "g"), ("g/a", "b"), ("g/a/voxels", "b")):
        with pytest.raises(io.ImageFileError, match="exists already"):
            io.save_hdf5(path, image_of("f8"), group, name)
    assert_same(io.load_hdf5(path, "g", "a"), image_of())
    assert len(io.list_hdf5(path)) == 1


def test_missing_images_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for n in range(13):
        io.save_hdf5(path, image_of(), "g", f"scan{n:02}")
    with pytest.raises(io.ImageFileError, match=r"no image g/other.*g/scan00, .*g/scan09, \.\.\.; load_hdf5"):
        io.load_hdf5(path, "g", "other")
    with pytest.raises(io.ImageFileError, match="no group images; it holds g/scan00"):
        io.load_hdf5(path)
    with pytest.raises(io.ImageFileError, match="group g holds 13 images, say which"):
        io.load_hdf5(path, "g")
    with pytest.raises(io.ImageFileError, match="no group nowhere"):
        io.list_hdf5(path, "nowhere")
    with pytest.raises(io.ImageFileError, match="no image g/other"):
        io.delete_hdf5(path, "g", "other")
    with pytest.raises(FileNotFoundError):
        io.load_hdf5(tmp_path / "none.h5")
    with pytest.raises(FileNotFoundError):
        io.delete_hdf5(tmp_path / "none.h5", "g", "a")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        io.save_hdf5(tmp_path / "none" / "a.h5", image_of())


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a\0b", "/"])
def test_names_that_are_no_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        io.save_hdf5(tmp_path / "a.h5", image_of(), name=name)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    path, image = tmp_path / "a.h5", image_of("f4")
    with pytest.raises(ValueError, match=r"bfloat16 voxels.*astype\('float32'\)"):
        io.save_hdf5(path, mj.Image.from_array(jnp.zeros((2, 3, 4), jnp.bfloat16)))
    with pytest.raises(ValueError, match="float128"):
        io.save_hdf5(path, mj.Image.from_array(np.zeros((2, 3, 4), np.longdouble)))
    with pytest.raises(ValueError, match=r"batch of shape \(2,\).*unstack"):
        io.save_hdf5(path, mj.stack([image, image]))
    with pytest.raises(ValueError, match="jax transformation"):
        jax.jit(lambda voxels: io.save_hdf5(path, image.with_voxels(voxels)))(image.voxels)
    assert list(tmp_path.iterdir()) == []


def test_metadata_that_json_cannot_hold_are_named(tmp_path: Path) -> None:
    image = image_of().with_metadata(mj.Metadata(extra={"a": np.float32(3)}))
    for save in (io.save_hdf5, lambda path, image: mj.save_image(image, path)):
        with pytest.raises(
            mj.ImageFileError, match=r"metadata hold a value that cannot be saved.*float32.*keep to text"
        ):
            save(tmp_path / "a.h5", image)
    assert list(tmp_path.iterdir()) == []
    io.save_hdf5(tmp_path / "a.h5", image_of())
    with pytest.raises(mj.ImageFileError, match="metadata hold a value"):
        io.save_hdf5(tmp_path / "a.h5", image)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("wrong", [5, b"a", "\udc80"])
def test_groups_and_names_must_be_text(tmp_path: Path, wrong: Any) -> None:
    path = tmp_path / "a.h5"
    calls: tuple[Any, ...] = (
        lambda: io.save_hdf5(path, image_of(), wrong),
        lambda: io.save_hdf5(path, image_of(), "a", wrong),
        lambda: io.load_hdf5(path, wrong),
        lambda: io.load_hdf5(path, "a", wrong),
        lambda: io.list_hdf5(path, wrong),
        lambda: io.delete_hdf5(path, wrong, "a"),
        lambda: io.delete_hdf5(path, "a", wrong),
    )
    for exists in (False, True):
        if exists:
            io.save_hdf5(path, image_of(), "a", "b")
        for call in calls[: None if exists else 2]:
            with pytest.raises(ValueError, match="a group or name must be text"):
                call()


# Boxes


@pytest.mark.parametrize("compression", ["gzip", "blosc", None])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_box_is_the_slice_with_its_origin(tmp_path: Path, channels: tuple[int, ...], compression: Any) -> None:
    image = image_of("i2", (150, 140, 35, *channels))
    io.save_hdf5(tmp_path / "a.h5", image, compression=compression)
    rng = random.Random(1)
    for _ in range(12):
        start = [rng.randrange(n) for n in image.shape]
        size = [rng.randint(1, n - a) for n, a in zip(image.shape, start, strict=True)]
        box = io.load_hdf5(tmp_path / "a.h5", start=start, size=size)
        np.testing.assert_array_equal(
            box.voxels, image.voxels[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]
        )
        assert box.metadata == METADATA
        moved = image.grid.moved(np.array(start, float))
        assert np.asarray(box.affine).tolist() == moved.affine.tolist()
        # The same physical point, to rounding: |world| < 1000 mm, float64.
        np.testing.assert_allclose(box.grid.world(np.zeros(3)), image.grid.world(np.array(start)), atol=1e-12)


def test_box_defaults(tmp_path: Path) -> None:
    image = image_of("i2", (5, 4, 3))
    io.save_hdf5(tmp_path / "a.h5", image)
    np.testing.assert_array_equal(io.load_hdf5(tmp_path / "a.h5", start=(1, 2, 0)).voxels, image.voxels[1:, 2:])
    np.testing.assert_array_equal(io.load_hdf5(tmp_path / "a.h5", size=(1, 2, 3)).voxels, image.voxels[:1, :2, :3])


@pytest.mark.parametrize(
    ("start", "size"),
    [((0, 0, -1), None), ((5, 0, 0), None), (None, (5, 5, 3)), ((1, 1, 1), (4, 3, 3)), (None, (0, 1, 1))],
)
def test_box_must_lie_inside(tmp_path: Path, start: Any, size: Any) -> None:
    io.save_hdf5(tmp_path / "a.h5", image_of("i2", (5, 4, 3)))
    with pytest.raises(ValueError, match="leaves the image of"):
        io.load_hdf5(tmp_path / "a.h5", start=start, size=size)
    with pytest.raises(ValueError, match="three integers"):
        io.load_hdf5(tmp_path / "a.h5", start=(1, 1))


def test_box_reads_only_its_chunks(tmp_path: Path) -> None:
    """Every chunk but one is destroyed: the box in that one loads, the volume does not."""
    path, image = tmp_path / "a.h5", image_of("i2", (256, 256, 32))
    io.save_hdf5(path, image, name="a")
    with h5py.File(path, "r+") as file:
        dataset = file["images/a/voxels"].id
        for n in range(dataset.get_num_chunks()):
            offset = dataset.get_chunk_info(n).chunk_offset
            if offset != (16, 0, 128):
                dataset.write_direct_chunk(offset, b"destroyed")
    box = io.load_hdf5(path, start=(128, 0, 16), size=(128, 128, 16))
    np.testing.assert_array_equal(box.voxels, image.voxels[128:, :128, 16:])
    for start in (None, (127, 0, 16), (128, 0, 15)):
        with pytest.raises(io.ImageFileError, match="chunk is damaged"):
            io.load_hdf5(path, start=start)


# load_image and save_image


@pytest.mark.parametrize("compress", [True, False])
def test_save_image_and_load_image(tmp_path: Path, compress: bool) -> None:
    path, image = tmp_path / "scan.h5", image_of("u2", (20, 30, 40), kind="label")
    mj.save_image(image, path, compress=compress)
    assert_same(mj.load_image(path), image)
    mj.save_image(image_of("f8"), path)  # takes the place of the old file
    assert_same(mj.load_image(path), image_of("f8"))
    assert [entry.name for entry in io.list_hdf5(path)] == ["image"]
    assert [each.name for each in tmp_path.iterdir()] == ["scan.h5"]


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        mj.save_image(image_of("f4", (20, 30, 40)), tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_load_image_needs_exactly_one(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    io.save_hdf5(path, image_of(), "p1", "CT")
    assert_same(mj.load_image(path), image_of())
    io.save_hdf5(path, image_of(), "p1", "PET")
    with pytest.raises(io.ImageFileError, match="holds several images; it holds p1/CT, p1/PET; load_hdf5"):
        mj.load_image(path)
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["numbers"] = np.zeros((3, 3, 3))
    with pytest.raises(io.ImageFileError, match="holds no image; the file holds no image in a layout"):
        mj.load_image(tmp_path / "empty.h5")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.h5"
    mj.save_image(image_of(), path)
    old = path.read_bytes()

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_save, "write_voxels", fail)
    for save, target in (
        (lambda p, x: mj.save_image(x, p), path),
        (io.save_hdf5, path),
        (io.save_hdf5, tmp_path / "new.h5"),
    ):
        with pytest.raises(OSError, match="No space left on device") as caught:
            save(target, image_of("f8"))
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(target)
    assert path.read_bytes() == old
    assert [each.name for each in tmp_path.iterdir()] == ["scan.h5"]
