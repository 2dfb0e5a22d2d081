"""FreeSurfer volumes: geometry by nibabel and by the format's definition, voxels, times, and what is refused."""

from __future__ import annotations

import gzip
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from mutations import loads_or_refuses, mutations

import medjax as mj
from medjax import io

TURN = np.linalg.qr(np.random.default_rng(11).normal(size=(3, 3)))[0]
RAS = np.eye(4)
RAS[:3, :3], RAS[:3, 3] = TURN * (0.7, 1.1, 2.9), (-101.7, 33.1, -212.9)
SHEARED = RAS.copy()
SHEARED[:3, 2] += 0.4 * SHEARED[:3, 1]
SIZE = (7, 5, 4)


def voxels_of(dtype: Any, shape: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def by_hand(voxels: np.ndarray, code: int, *, is_placed: int = 1, affine: np.ndarray = RAS, tail: bytes = b"") -> bytes:
    """A file as the definition has it: world = Mdc delta (index - dims / 2) + Pxyz_c, in RAS mm."""
    size = (*voxels.shape, 1)[:4]
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    center = affine[:3, :3] @ (np.array(size[:3]) / 2) + affine[:3, 3]
    geometry = (*steps, *(affine[:3, :3] / steps).T.ravel(), *center)
    head = struct.pack(">7ih15f", 1, *size, code, 0, is_placed, *geometry)
    return head.ljust(284, b"\0") + voxels.astype(voxels.dtype.newbyteorder(">")).tobytes(order="F") + tail


@pytest.mark.parametrize("ending", ["mgh", "mgz", "mgh.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "i2"])
def test_reads_what_nibabel_writes(dtype: str, ending: str, tmp_path: Path) -> None:
    voxels = voxels_of(dtype)
    made = nibabel.MGHImage(voxels, RAS)
    content = made.to_bytes()
    path = tmp_path / f"brain.{ending}"
    path.write_bytes(content if ending == "mgh" else gzip.compress(content))
    found = mj.load_image(path)
    np.testing.assert_array_equal(found.voxels, voxels)
    assert (found.dtype, found.kind) == (np.dtype(dtype), "intensity")
    np.testing.assert_allclose(found.affine_ras, RAS, atol=3e-5)  # float32 of coordinates up to 200 mm
    np.testing.assert_allclose(found.affine_ras, made.affine, atol=3e-5)
    assert isinstance(found.metadata, mj.Metadata)
    assert (found.metadata.source, found.metadata.modality) == (path.name, None)


@pytest.mark.parametrize("affine", [RAS, SHEARED, RAS @ np.diag([1, -1, 1, 1.0]), np.diag([1.0, 2, 3, 1])])
def test_geometry_is_that_of_the_definition(affine: np.ndarray, tmp_path: Path) -> None:
    """In float64 from the stored float32 numbers, for odd sizes too; a shear survives, with a warning."""
    (tmp_path / "a.mgh").write_bytes(by_hand(voxels_of("i2"), 4, affine=affine))
    is_sheared = affine is SHEARED
    with pytest.warns(mj.ImageFileWarning, match="off a right angle") if is_sheared else nullcontext():
        image = mj.load_image(tmp_path / "a.mgh")
    np.testing.assert_allclose(image.affine_ras, affine, atol=3e-5)
    with pytest.warns(mj.ImageFileWarning, match="off a right angle") if is_sheared else nullcontext():
        mj.save_image(image, tmp_path / "b.mgz")
        again = mj.load_image(tmp_path / "b.mgz")
    np.testing.assert_allclose(again.affine, image.affine, atol=3e-5)
    np.testing.assert_allclose(nibabel.load(tmp_path / "b.mgz").affine, affine, atol=5e-5)  # type: ignore[attr-defined]


def test_without_geometry_freesurfers_default_counts(tmp_path: Path) -> None:
    """Coronal as conformed volumes are (LIA), 1 mm, the middle of the volume at 0: `setDirectionCosine` of mri.c.

    nibabel has the transpose of these directions.
    """
    (tmp_path / "a.mgh").write_bytes(by_hand(voxels_of("u1"), 0, is_placed=0))
    with pytest.warns(mj.ImageFileWarning, match="states no geometry"):
        image = mj.load_image(tmp_path / "a.mgh")
    np.testing.assert_array_equal(image.affine_ras, [[-1, 0, 0, 3.5], [0, 0, 1, -2], [0, -1, 0, 2.5], [0, 0, 0, 1]])
    assert image.orientation == "LIA"


def test_unsigned_short_is_read(tmp_path: Path) -> None:
    """Type 10 (MRI_USHRT of FreeSurfer 7), which nibabel does not read."""
    voxels = voxels_of("u2") + 60000
    (tmp_path / "a.mgh").write_bytes(by_hand(voxels, 10))
    found = mj.load_image(tmp_path / "a.mgh")
    np.testing.assert_array_equal(found.voxels, voxels)
    mj.save_image(found, tmp_path / "b.mgh")
    assert (tmp_path / "b.mgh").read_bytes()[:284] == (tmp_path / "a.mgh").read_bytes()[:284]


@pytest.mark.parametrize(
    ("dtype", "stored"), [("u1", "u1"), ("i2", "i2"), ("f4", "f4"), ("?", "u1"), ("i1", "i2"), ("f2", "f4")]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_nibabel_reads_what_is_written(dtype: str, stored: str, order: Any, tmp_path: Path) -> None:
    voxels = np.asarray(voxels_of(dtype, (*SIZE, 3)), order=order)
    mj.save_image(mj.Image.from_array(voxels, affine_ras=RAS), tmp_path / "a.mgz")
    theirs: Any = nibabel.load(tmp_path / "a.mgz")
    assert theirs.get_data_dtype() == np.dtype(stored).newbyteorder(">")
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), voxels)
    np.testing.assert_allclose(theirs.affine, RAS, atol=3e-5)
    ours = mj.load_image(tmp_path / "a.mgz")
    assert (ours.shape, ours.channels, ours.dtype) == (SIZE, (3,), np.dtype(stored))


def test_times_of_the_sequence(tmp_path: Path) -> None:
    """tr, flip angle, te, ti and field of view lie after the voxels; the step of frames goes into other formats."""
    tail = struct.pack(">5f", 2500.0, 1.5, 30.0, 0.0, 256.0) + b"tags of a command line"
    (tmp_path / "a.mgh").write_bytes(by_hand(voxels_of("i2", (*SIZE, 3)), 4, tail=tail))
    image = mj.load_image(tmp_path / "a.mgh")
    assert isinstance(image.metadata, mj.Metadata)
    extra = image.metadata.extra
    assert [extra.get(name) for name in ("tr", "flip_angle", "te", "ti", "fov")] == [2500.0, 1.5, 30.0, None, 256.0]
    assert io.inspect(tmp_path / "a.mgh").metadata == image.metadata
    mj.save_image(image, tmp_path / "b.nii")
    header: Any = nibabel.load(tmp_path / "b.nii").header
    assert (header["pixdim"][4], header.get_xyzt_units()) == (2500.0, ("mm", "msec"))
    mj.save_image(mj.load_image(tmp_path / "b.nii"), tmp_path / "c.mgz")
    theirs: Any = nibabel.load(tmp_path / "c.mgz").header
    assert theirs["tr"] == 2500.0
    mj.save_image(image, tmp_path / "d.mgz")
    again = mj.load_image(tmp_path / "d.mgz").metadata
    assert isinstance(again, mj.Metadata)
    assert again.extra == extra
    assert io.inspect(tmp_path / "d.mgz").undecided == ("metadata",)  # they lie behind the voxels in the stream


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.zeros((2, 3, 4), np.float64), "no voxel type float64; convert the voxels to one of uint8, int32"),
        (np.zeros((2, 3, 4), np.int64), "no voxel type int64"),
        (np.zeros((2, 3, 4, 2, 2), np.uint8), "frames of three axes"),
        (np.zeros((2, 3, 4), np.complex64), "cannot hold voxels"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(voxels: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(io.UnsupportedFileError, match=message):
        mj.save_image(mj.Image.from_array(voxels), tmp_path / "a.mgz")
    assert list(tmp_path.iterdir()) == []


def changed(at: int, layout: str, value: Any) -> bytes:
    content = bytearray(by_hand(voxels_of("i2"), 4))
    struct.pack_into(f">{layout}", content, at, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (changed(0, "i", 2), mj.ImageFileError, "version is 2, expected 1"),
        (changed(4, "i", 0), mj.ImageFileError, r"sizes are \[0, 5, 4, 1\]"),
        (changed(4, "i", 2**31 - 1), io.TruncatedFileError, "voxels: expected"),
        (changed(20, "i", 7), io.UnsupportedFileError, "type 7 are not read"),
        (changed(30, "f", 0.0), mj.ImageFileError, "no size along an axis"),
        (changed(30, "f", np.nan), mj.ImageFileError, "expected below"),
        (by_hand(voxels_of("i2"), 4)[:200], io.TruncatedFileError, "header: expected 284 bytes, found 200"),
        (by_hand(voxels_of("i2"), 4)[:-1], io.TruncatedFileError, "expected 280 bytes, found 279"),
    ],
)
def test_damage_is_named(content: bytes, kind: type[mj.ImageFileError], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.mgh").write_bytes(content)
    with pytest.raises(kind, match=message):
        mj.load_image(tmp_path / "a.mgh")
    if "voxels" not in message and "279" not in message:
        with pytest.raises(kind, match=message):
            io.inspect(tmp_path / "a.mgh")


def test_damaged_copies_load_or_are_refused(tmp_path: Path) -> None:
    outcomes = set()
    for content in mutations(by_hand(voxels_of("i2"), 4), 90, 40, seed=3):
        (tmp_path / "a.mgh").write_bytes(content)
        outcomes.add(loads_or_refuses(tmp_path / "a.mgh"))
    assert outcomes == {True, False}
