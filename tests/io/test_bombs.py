"""Streams and scenes that are small and claim, or hold, very much: refused in seconds and in little memory."""

from __future__ import annotations

import bz2
import gzip
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from itk_files import voxels_of
from nifti_bytes import header_and_voxels, ramp

import medjax as mj

# Private: limits that are lowered, so that a small file exceeds them.
from medjax.io._disk import _stream
from medjax.io._mrb import _archive, _scene

PACK: dict[str, Any] = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": lambda data: zstd(data)}


def zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    return zstandard.ZstdCompressor().compress(data)


def claiming(voxels: int, following: bytes, ending: str, **fields: Any) -> bytes:
    """A NIfTI-2 header that claims so many voxels of a byte, with other bytes behind it."""
    fields = {"dim": [3, voxels // 10**4, 100, 100, 1, 1, 1, 1], **fields}
    head = header_and_voxels(ramp(dtype="u1"), version=2, **fields)[0]
    return PACK[ending](head) + following


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst"])
def test_a_claim_is_checked_no_further_than_seconds_allow(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits of megabytes: what is inflated to check a claim is bounded, and the claim refused by name."""
    monkeypatch.setattr(_stream, "_TRUSTED_BYTES", 2**20)
    monkeypatch.setattr(_stream, "_MOST_CHECKED_BYTES", dict.fromkeys(("gzip", "bzip2", "zstd"), 2**23))
    path = tmp_path / f"a.nii{ending}"
    path.write_bytes(claiming(5 * 10**7, PACK[ending](bytes(6 * 10**7)), ending))
    inflated, fill = 0, _stream.Content._fill

    def counted(self: Any, view: memoryview) -> int:
        nonlocal inflated
        inflated += (count := fill(self, view))
        return count

    monkeypatch.setattr(_stream.Content, "_fill", counted)
    with pytest.raises(mj.io.UnsupportedFileError, match=r"50000000 bytes out of .* decompress the file first"):
        mj.load_image(path)
    assert 2**23 <= inflated < 2**23 + 2**15
    path.write_bytes(claiming(5 * 10**7, PACK[ending](bytes(10**6)), ending))
    with pytest.raises(mj.io.TruncatedFileError, match=r"expected 50000000 bytes, (found 1000000|but .* at most)"):
        mj.load_image(path)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("what", ["offset", "extensions"])
def test_what_stands_before_the_voxels_is_bounded(
    tmp_path: Path, ending: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "_MOST_CHECKED_BYTES", dict.fromkeys(("gzip", "bzip2", "zstd"), 2**23))
    path = tmp_path / f"a.nii{ending}"
    extensions = b"" if what == "offset" else bytes(16)
    head = claiming(10**4, PACK[ending](bytes(6 * 10**7)), ending, vox_offset=5 * 10**8, extensions=extensions)
    path.write_bytes(head)
    tracemalloc.start()
    with pytest.raises(mj.ImageFileError, match=r"(skip: |extensions: |extensions: expected )49999[0-9]{4} bytes"):
        mj.load_image(path)
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()


@pytest.mark.parametrize(("ending", "seconds"), [(".gz", 8.0), (".bz2", 8.0), (".zst", 8.0)])
def test_a_terabyte_claimed_by_kilobytes(tmp_path: Path, ending: str, seconds: float) -> None:
    """docs/files.md: within 10 s. What the stream holds is some gigabytes, of which only a part is looked at."""
    piece = PACK[ending](bytes(2**26))
    path = tmp_path / f"a.nii{ending}"
    path.write_bytes(claiming(10**12, piece * (400 if ending == ".bz2" else 30), ending))
    start = time.process_time()
    with pytest.raises(mj.ImageFileError):
        mj.load_image(path)
    assert time.process_time() - start < seconds


def test_an_error_of_the_caller_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time-out that the caller's signal handler raises while a stream is read is the caller's."""
    path = tmp_path / "a.nii.bz2"
    mj.save_image(mj.Image.from_array(ramp()), path)

    def stop(*_: Any) -> int:
        raise TimeoutError("the caller's own")

    monkeypatch.setattr(bz2.BZ2File, "readinto", stop)
    with pytest.raises(TimeoutError, match="the caller's own"):
        mj.load_image(path)


# Scenes

STORAGE = '<VolumeArchetypeStorage id="s" fileName="a.mha"/>'
MATRIX = 'matrixTransformToParent="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"'
# The limits are set to hundredths here: checked types make every element cost ten times its time.
LIMITS = {"_MAX_NODES": 200, "_MAX_ELEMENTS": 5000, "_MAX_TAG_BYTES": 2**16, "_PIECE_BYTES": 2**14, "_MAX_IMAGES": 10}
LARGE: dict[str, tuple[str, str]] = {
    "nodes with ids": ("".join(f'<a id="{n}"/>' for n in range(1000)), "more than 200 nodes"),
    "nodes without": ("<a/>" * 6000, "more than 5000 elements"),
    "elements in a view": ("<v>" + "<a/>" * 6000 + "</v>", "more than 5000 elements"),
    "nested elements": ("<a>" * 6000, "more than 5000 elements"),
    "one tag": ("<a " + " ".join(f'a{n}=""' for n in range(20_000)) + "/>", "a tag of more than 65536 bytes"),
    "images": (
        STORAGE + "".join(f'<Volume id="{n}" name="n" references="storage:s;"/>' for n in range(100)),
        "has 100 images, expected 10 at most",
    ),
    "transforms of one image": (
        STORAGE
        + '<Volume id="v" references="storage:s;transform:t0;"/>'
        + "".join(f'<LinearTransform id="t{n}" {MATRIX} references="transform:t{n + 1};"/>' for n in range(150)),
        "more than 100 transforms",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_scenes_of_too_many_nodes(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured with the true limits on 64 MB of XML: 0.7 s and 140 MB."""
    body, reason = LARGE[name]
    for limit, value in LIMITS.items():
        monkeypatch.setattr(_scene, limit, value)
    mj.save_image(mj.Image.from_array(voxels_of("i2")), tmp_path / "a.mha")
    with zipfile.ZipFile(tmp_path / "a.mrb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.mrml", f"<MRML>{body}</MRML>")
        archive.write(tmp_path / "a.mha", "a.mha")
    with pytest.raises(mj.ImageFileError, match=reason):
        mj.io.load_mrb(tmp_path / "a.mrb")


def test_archives_of_millions_of_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archive, "_MAX_DIRECTORY_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "a.mrb", "w") as archive:
        for number in range(100):
            archive.writestr(str(number), b"")
        archive.comment = b"with a comment"
    monkeypatch.setattr(zipfile, "ZipFile", None)  # it is refused before
    with pytest.raises(mj.io.UnsupportedFileError, match=r"its list of members has 4[0-9]{3} bytes"):
        mj.io.load_mrb(tmp_path / "a.mrb")


def test_many_images_of_one_member_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archive, "_TRUSTED_BYTES", 2**20)
    mj.save_image(mj.Image.from_array(np.zeros((100, 100, 100), np.int16)), tmp_path / "a.mha")
    nodes = "".join(f'<Volume id="{n}" name="n" references="storage:s;"/>' for n in range(3))
    with zipfile.ZipFile(tmp_path / "a.mrb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.mrml", f"<MRML>{STORAGE}{nodes}</MRML>")
        archive.write(tmp_path / "a.mha", "a.mha")
    with pytest.raises(mj.ImageFileError, match="its images take 4000000 bytes and more"):
        mj.io.load_mrb(tmp_path / "a.mrb")
