"""HDF5 files that lie: links, sizes, bombs, wrong parts."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5_cases import assert_same, image_of, in_other_process

import medjax as mj
from medjax import io

# Private: where a file ends by its own header, for headers of every version.
from medjax.io._hdf5 import _journal


def small_file(path: Path, **options: Any) -> Path:
    io.save_hdf5(path, image_of("i2", (8, 7, 40)), name="a", **options)
    return path


def test_links_are_not_followed(tmp_path: Path) -> None:
    path, other = small_file(tmp_path / "a.h5"), small_file(tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        file["images/external"] = h5py.ExternalLink(str(other), "/images/a")
        file["images/soft"] = h5py.SoftLink("/images/a")
        file["outside"] = h5py.ExternalLink(str(other), "/images")
        file["images/cycle"] = file["images"]
        file["images/a/up"] = file["/"]
    for group, name in (("images", "external"), ("outside", "a"), ("images", "soft")):
        with pytest.raises(io.UnsupportedFileError, match="links are not followed"):
            io.load_hdf5(path, group, name)
    with pytest.raises(io.UnsupportedFileError, match="links are not followed"):
        io.save_hdf5(path, image_of(), "outside", "new")
    assert [entry.name for entry in io.list_hdf5(path)] == ["a"]
    assert mj.load_image(path).shape == (8, 7, 40)
    with h5py.File(path, "r+") as file:
        del file["images/a/voxels"]
        file["images/a/voxels"] = h5py.ExternalLink(str(other), "/images/a/voxels")
    with pytest.raises(io.UnsupportedFileError, match="voxels is an external link"):
        mj.load_image(path)


def replaced(path: Path, make: Any) -> Path:
    with h5py.File(path, "r+") as file:
        group = file["images/a"]
        del group["voxels"]
        make(group)
    return path


@pytest.mark.parametrize("name", ["ext/x", "soft/x", "/h/x", "h/x", "..", ""])
def test_a_name_is_one_name(tmp_path: Path, name: str) -> None:
    io.save_hdf5(tmp_path / "secret.h5", image_of(), "g", "x")
    for group in ("g", "h"):
        io.save_hdf5(tmp_path / "s.h5", image_of(), group, "x")
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file["ext"], file["soft"] = h5py.ExternalLink("secret.h5", "/g"), h5py.SoftLink("/g")
    for group in ("", "g"):
        with pytest.raises(ValueError, match=r"must not be empty or dots|must be one name without"):
            io.load_hdf5(tmp_path / "s.h5", group, name)
        with pytest.raises(ValueError, match=r"must not be empty or dots|must be one name without"):
            io.delete_hdf5(tmp_path / "s.h5", group, name)
    assert [entry.group for entry in io.list_hdf5(tmp_path / "s.h5")] == ["g", "h"]


def test_voxels_in_other_files_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    other = small_file(tmp_path / "other.h5")

    def external(group: h5py.Group) -> None:
        group.create_dataset("voxels", (4, 4, 4), "i2", external=[(str(secret), 0, 128)])

    def virtual(group: h5py.Group) -> None:
        layout = h5py.VirtualLayout((40, 7, 8), "i2")
        layout[:] = h5py.VirtualSource(str(other), "/images/a/voxels", (40, 7, 8))
        group.create_virtual_dataset("voxels", layout)

    for make in (external, virtual):
        path = replaced(small_file(tmp_path / f"{make.__name__}.h5"), make)
        with pytest.raises(io.UnsupportedFileError, match="voxels in other files"):
            mj.load_image(path)


def test_metadata_in_another_file_is_refused(tmp_path: Path) -> None:
    secret, path = tmp_path / "secret", small_file(tmp_path / "a.h5")
    secret.write_bytes(b'{"modality": "CT"}')
    with h5py.File(path, "r+") as file:
        group = file["images/a"]
        del group["metadata"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_external(str(secret).encode(), 0, 18)
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(18)
        h5py.h5d.create(group.id, b"metadata", kind, h5py.h5s.create_simple((1,)), dcpl=properties)
    with pytest.raises(io.ImageFileError):
        mj.load_image(path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"chunks": (16, 128, 128), "compression": "gzip", "shuffle": True}, "cannot hold them"),
        ({"chunks": (10**4, 10**4, 10), "compression": "gzip"}, "cannot hold them"),
        ({"chunks": (16, 128, 128)}, "cannot hold them"),
        ({"chunks": (16, 128, 128), "compression": 32001}, "cannot hold them"),
        ({}, "does not hold them"),
    ],
)
def test_a_trillion_voxels_are_refused_at_once(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    if options.get("compression") == 32001:
        pytest.importorskip("hdf5plugin")  # makes the codec known to h5py
    path = replaced(
        small_file(tmp_path / "a.h5"),
        lambda group: group.create_dataset("voxels", (10**4, 10**4, 10**4), "i2", **options),
    )
    with pytest.raises(io.TruncatedFileError, match=reason):
        mj.load_image(path)
    with pytest.warns(io.ImageFileWarning, match="not listed"):
        assert io.list_hdf5(path) == []


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    """A chunk that inflates to 1 GiB in place of its 512 bytes stops there; HDF5's own filter would go on."""
    path = replaced(
        small_file(tmp_path / "a.h5"),
        lambda group: group.create_dataset("voxels", (4, 8, 8), "i2", chunks=(4, 8, 8), compression="gzip"),
    )
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    with h5py.File(path, "r+") as file:
        file["images/a/voxels"].id.write_direct_chunk((0, 0, 0), bomb)
    code = (
        "import resource, sys, medjax as mj; resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))\n"
        "try: mj.load_image(sys.argv[1])\nexcept mj.ImageFileError as error: print(error)"
    )
    found = in_other_process(code, path)
    assert "a chunk has 513 bytes in place of 512" in found.stdout, found.stderr


def test_missing_and_short_chunks_are_named(tmp_path: Path) -> None:
    def make(group: h5py.Group) -> None:
        dataset = group.create_dataset("voxels", (40, 7, 8), "i2", chunks=(20, 7, 8), compression="gzip", shuffle=True)
        dataset[:20] = 1

    with pytest.raises(io.TruncatedFileError, match="has 1 of 2 chunks"):
        mj.load_image(replaced(small_file(tmp_path / "a.h5"), make))
    path = small_file(tmp_path / "b.h5")
    with h5py.File(path, "r+") as file:
        file["images/a/voxels"].id.write_direct_chunk((0, 0, 0), zlib.compress(b"short"))
    with pytest.raises(io.ImageFileError, match="a chunk has 5 bytes in place of"):
        mj.load_image(path)


def test_truncated_files(tmp_path: Path) -> None:
    data = small_file(tmp_path / "a.h5").read_bytes()
    path = tmp_path / "cut.h5"
    for length in [1, 7, 8, 40, 95, 96, 500, 2000, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(io.ImageFileError):
            mj.load_image(path)
    path.write_bytes(data[:3000])
    with pytest.raises(io.TruncatedFileError, match="ends early"):
        mj.load_image(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda g: g.attrs.create("medjax_layout", 2), r"layout 2, known is 1; update medjax"),
        (lambda g: g.attrs.create("affine", np.zeros((4, 4))), "last row of an affine"),
        (lambda g: g.attrs.create("affine", np.diag([1, 0, 1, 1.0])), "singular"),
        (lambda g: g.attrs.create("affine", np.full((4, 4), np.nan)), "finite"),
        (lambda g: g.attrs.create("affine", np.eye(3)), r"affine \(4 x 4\)"),
        (lambda g: g.attrs.__delitem__("affine"), r"affine \(4 x 4\)"),
        (lambda g: g.attrs.create("affine", "text"), "does not hold numbers"),
        (lambda g: g.attrs.create("kind", np.bytes_(b"other")), "kind"),
        (lambda g: g.attrs.create("kind", "label"), "not one fixed-length string"),
        (lambda g: g.__delitem__("voxels"), "lacks the dataset voxels"),
        (lambda g: (g.__delitem__("voxels"), g.create_group("voxels")), "lacks the dataset voxels"),
        (lambda g: (g.__delitem__("voxels"), g.create_dataset("voxels", data=np.zeros((3, 3)))), "three axes"),
        (lambda g: (g.__delitem__("voxels"), g.create_dataset("voxels", (3, 0, 3), "i2")), "none empty"),
        (lambda g: (g.__delitem__("voxels"), g.create_dataset("voxels", data=[["text"]])), "NumPy type"),
        (lambda g: (g.__delitem__("metadata"), g.create_dataset("metadata", data=np.bytes_(b"{"))), "JSON|Expecting"),
        (
            lambda g: (g.__delitem__("metadata"), g.create_dataset("metadata", data=np.bytes_(b"[" * 99999))),
            "nested too deeply",
        ),
        (lambda g: (g.__delitem__("metadata"), g.create_dataset("metadata", data=np.bytes_(b"[1]"))), "damaged"),
        (
            lambda g: (g.__delitem__("metadata"), g.create_dataset("metadata", data=np.bytes_(b'{"source":1}'))),
            "damaged",
        ),
        (lambda g: (g.__delitem__("metadata"), g.create_dataset("metadata", data="x")), "fixed-length string"),
    ],
)
def test_wrong_parts_are_named(tmp_path: Path, change: Any, reason: str) -> None:
    path = small_file(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        change(file["images/a"])
    with pytest.raises(io.ImageFileError, match=reason) as caught:
        mj.load_image(path)
    assert str(path) in str(caught.value)


def test_a_damaged_image_does_not_hide_the_others(tmp_path: Path) -> None:
    path = small_file(tmp_path / "a.h5")
    io.save_hdf5(path, image_of(), name="b")
    with h5py.File(path, "r+") as file:
        del file["images/a/voxels"]
    with pytest.warns(io.ImageFileWarning, match="images/a is not listed: .*lacks the dataset voxels"):
        assert [entry.name for entry in io.list_hdf5(path)] == ["b"]
    assert_same(io.load_hdf5(path, name="b"), image_of())


@pytest.mark.parametrize("content", [b"not HDF5 at all" * 100, b"\x89HDF\r\n\x1a\n" + bytes(300), b"\x89HDF\r\n\x1a\n"])
def test_other_content_behind_the_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    for call in (
        lambda: mj.load_image(path),
        lambda: io.load_hdf5(path),
        lambda: io.list_hdf5(path),
        lambda: io.save_hdf5(path, image_of()),
        lambda: io.delete_hdf5(path, "images", "a"),
    ):
        with pytest.raises(io.ImageFileError):
            call()
    assert path.read_bytes() == content


def test_booleans_other_than_0_and_1(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    io.save_hdf5(path, mj.Image.from_array(np.zeros((2, 2, 2), bool)), name="a")
    with h5py.File(path, "r+") as file:
        file["images/a/voxels"].id.write_direct_chunk((0, 0, 0), zlib.compress(bytes([0, 1, 2, 255, 0, 0, 0, 128])))
    voxels = mj.load_image(path).voxels
    assert voxels.T.reshape(-1).view(np.uint8).tolist() == [0, 1, 1, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("size_of_offsets", [8, 4])
def test_the_end_of_a_superblock(size_of_offsets: int) -> None:
    """Only files with 8-byte offsets state their end where it is looked for."""
    head = bytearray(64)
    head[:8], head[8], head[13] = b"\x89HDF\r\n\x1a\n", 0, size_of_offsets
    struct.pack_into("<QQQ", head, 24, 0, 2**64 - 1, 4321)
    assert _journal._end_of_hdf5(bytes(head)) == (4321 if size_of_offsets == 8 else None)
