"""NIfTI as files: compressions, pairs, extensions, and every way of being damaged, foreign or lying."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import struct
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nifti_bytes import OBLIQUE, extension, header_and_voxels, nifti_bytes, ramp

import medjax as mj


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Builds a file of the given content and loads it; any warning fails the test."""

    def build(content: bytes, name: str = "scan.nii") -> mj.Image:
        (tmp_path / name).write_bytes(content)
        return mj.load_image(tmp_path / name)

    return build


# Files


def compress_zstd(content: bytes) -> bytes:
    import zstandard

    return zstandard.compress(content)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".nii": bytes,
    ".nii.gz": gzip.compress,
    ".nii.bz2": bz2.compress,
    ".nii.zst": compress_zstd,
}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_compressions_by_content(load: Any, suffix: str) -> None:
    content = COMPRESSIONS[suffix](nifti_bytes(ramp()))
    for name in (f"scan{suffix}", "scan.nii", "scan"):
        np.testing.assert_array_equal(load(content, name).voxels, ramp())


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", "|u1"])
@pytest.mark.parametrize("shape", [(70, 91, 101), (3, 2, 7), (600, 500, 3)], ids=str)
def test_compressed_voxels_are_turned_in_pieces(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """One piece, several, and a last one that is not full; a file cut in the middle of them says what the whole lacks."""
    voxels = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    header: Any = nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(voxels.dtype)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 3, 4, 1]), header), tmp_path / "a.nii.gz")
    found = mj.load_image(tmp_path / "a.nii.gz").voxels
    assert found.dtype == voxels.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, voxels)
    content = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(content[: 352 + voxels.nbytes // 2], 1))
    with pytest.raises(mj.io.TruncatedFileError, match=f"expected {voxels.nbytes} bytes, found {voxels.nbytes // 2}"):
        mj.load_image(tmp_path / "cut.nii.gz")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "names", [("a.hdr", "a.img"), ("a.hdr.gz", "a.img.gz"), ("a.hdr", "a.img.gz"), ("A.HDR", "A.IMG")]
)
def test_pairs_by_either_name(tmp_path: Path, names: tuple[str, str], order: str) -> None:
    header, body = header_and_voxels(ramp(), is_pair=True, order=order, vox_offset=16)
    for name, content in zip(names, (header, bytes(16) + body), strict=True):
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    for name in names:
        image: Any = mj.load_image(tmp_path / name)
        np.testing.assert_array_equal(image.voxels, ramp())
        assert image.metadata.source == name


def test_header_of_348_bytes_has_no_extension_flag(tmp_path: Path) -> None:
    header, body = header_and_voxels(ramp(), is_pair=True)
    (tmp_path / "a.hdr").write_bytes(header[:348])
    (tmp_path / "a.img").write_bytes(body)
    np.testing.assert_array_equal(mj.load_image(tmp_path / "a.hdr").voxels, ramp())


@pytest.mark.parametrize("order", ["<", ">"])
def test_extensions_and_offset(load: Any, order: str) -> None:
    blocks = extension(6, b"a comment", order=order) + extension(4, b"<AFNI/>" * 5, order=order)
    image = load(nifti_bytes(ramp(), extensions=blocks, order=order))
    np.testing.assert_array_equal(image.voxels, ramp())
    assert [each["ecode"] for each in image.metadata.extra["extensions"]] == [6, 4]


def test_gap_before_the_voxels(load: Any) -> None:
    header, body = header_and_voxels(ramp(), vox_offset=1000)
    np.testing.assert_array_equal(load(header + b"x" * (1000 - len(header)) + body).voxels, ramp())


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_bytes_after_the_voxels_are_mentioned(load: Any, suffix: str) -> None:
    with pytest.warns(mj.ImageFileWarning, match="9 bytes follow the voxels and are ignored"):
        image = load(COMPRESSIONS[suffix](nifti_bytes(ramp()) + b"123456789"), f"scan{suffix}")
    np.testing.assert_array_equal(image.voxels, ramp())


# The note of our own, in an extension that anybody can write


@pytest.mark.parametrize(
    "note",
    [
        b'{"medjax": 1, "affine": "x"}', b'{"medjax": 1, "affine": [[1]]}', b'{"medjax"', b'{"medjax": 1, "channels": 3}',
        b'{"medjax": 1, "metadata": 5}', b'{"medjax": 1, "affine": [[NaN,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}',
        b'{"medjax":' + b"[" * 100_000, b'{"medjax": 1, "channels": [1e999]}',
    ],
)  # fmt: skip
def test_a_note_that_makes_no_sense_is_a_comment(tmp_path: Path, note: bytes) -> None:
    (tmp_path / "a.nii").write_bytes(nifti_bytes(ramp(), extensions=extension(6, note)))
    image: Any = mj.load_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.voxels, ramp())
    (kept,) = image.metadata.extra["extensions"]
    assert base64.b64decode(kept["base64"]).rstrip(b"\0") == note


def test_wrong_parts_of_a_note_are_left_out(tmp_path: Path) -> None:
    document = {
        "medjax": 1,
        "channels": [9, 9],
        "dtype": 3,
        "metadata": {"modality": 7, "subtype": "T1", "patient_id": "x"},
    }
    (tmp_path / "a.nii").write_bytes(nifti_bytes(ramp(), extensions=extension(6, json.dumps(document).encode())))
    image: Any = mj.load_image(tmp_path / "a.nii")
    assert (image.metadata.modality, image.metadata.subtype, image.metadata.patient_id) == (None, "T1", None)
    assert image.voxels.shape == (7, 5, 4)
    assert "saved_from_dtype" not in image.metadata.extra


# Damage


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("version", [1, 2])
def test_truncated_anywhere(load: Any, suffix: str, version: int) -> None:
    """Cut at any place, a file raises; with its checksum cut off too."""
    content = COMPRESSIONS[suffix](nifti_bytes(ramp(), version=version))
    for kept in sorted({1, 3, 100, 340, 347, 348, 351, 352, 543, len(content) // 2, len(content) - 1}):
        if kept >= len(content) or (
            suffix == ".nii.zst" and kept == len(content) - 1
        ):  # a frame's end mark is optional
            continue
        with pytest.raises(mj.ImageFileError, match=r"expected|breaks off|holds nothing") as caught:
            load(content[:kept], f"scan{suffix}")
        assert caught.value.path.endswith(f"scan{suffix}")


def test_truncated_message(load: Any) -> None:
    with pytest.raises(mj.io.TruncatedFileError, match=r"scan\.nii: voxels: expected 280 bytes, found 180$"):
        load(nifti_bytes(ramp())[:-100])
    with pytest.raises(
        mj.io.TruncatedFileError, match=r"expected 280 bytes, found \d+, where the gzip stream breaks off"
    ):
        load(gzip.compress(nifti_bytes(ramp()))[:-100], "scan.nii.gz")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii.bz2"])
def test_changed_bytes_fail_the_checksum(load: Any, suffix: str) -> None:
    """Header and length stay right, so only the checksum can tell."""
    voxels = np.random.default_rng(0).integers(0, 255, (110, 100, 100)).astype(np.uint8)  # two blocks of bzip2
    compress = COMPRESSIONS[suffix] if suffix == ".nii.bz2" else lambda content: gzip.compress(content, 0)
    content = bytearray(compress(nifti_bytes(voxels)))
    content[-len(content) // 20] ^= 1
    with pytest.raises(mj.ImageFileError, match="stream is damaged"):
        load(bytes(content), f"scan{suffix}")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"hello" * 100, bytes(1000), b"\x1f\x8b", b"BZh9", gzip.compress(b"", mtime=0)]
)
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.hdr"])
def test_foreign_files(load: Any, content: bytes, name: str) -> None:
    with pytest.raises(mj.ImageFileError, match=name):
        load(content, name)


def test_analyze_is_refused_by_name(load: Any) -> None:
    header, _ = header_and_voxels(ramp(), magic=b"")
    with pytest.raises(mj.io.UnsupportedFileError, match=r"Analyze 7\.5 header .* left and right"):
        load(header[:348], "scan.hdr")


def test_text_mode_transfer_is_noticed(load: Any) -> None:
    content = nifti_bytes(ramp(), version=2).replace(b"\r\n\x1a\n", b"\n\x1a\n\0")
    with pytest.raises(mj.ImageFileError, match="transfer in text mode"):
        load(content)


def test_spoilt_header_size_with_the_right_magic(load: Any) -> None:
    for order in "<>":
        with pytest.warns(mj.ImageFileWarning, match="sizeof_hdr is 0, not 348"):
            image = load(nifti_bytes(ramp(), order=order, sizeof_hdr=0))
        np.testing.assert_array_equal(image.voxels, ramp())


@pytest.mark.parametrize("fields", [{"intent_code": 3006}, {"extensions": extension(32, b"<CIFTI/>")}])
def test_cifti_is_refused_by_name(load: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(mj.io.UnsupportedFileError, match="CIFTI-2 matrix"):
        load(nifti_bytes(ramp(), version=2, **fields), "a.dscalar.nii")


@pytest.mark.parametrize(
    ("code", "name"), [(0, "unknown"), (1, "1-bit"), (1536, "128-bit float"), (2048, "256-bit complex")]
)
def test_voxel_types_that_are_refused(load: Any, code: int, name: str) -> None:
    with pytest.raises(mj.io.UnsupportedFileError, match=rf"datatype {code} \({name}\)"):
        load(nifti_bytes(ramp(), code=code))


HUGE = 2**62
LIES: list[tuple[dict[str, Any], str]] = [
    ({"dim": [0, 7, 5, 4, 1, 1, 1, 1]}, r"dim\[0\] is 0"),
    ({"dim": [8, 7, 5, 4, 1, 1, 1, 1]}, r"dim\[0\] is 8"),
    ({"dim": [-3, 7, 5, 4, 1, 1, 1, 1]}, r"dim\[0\] is -3"),
    ({"dim": [3, 7, -5, 4, 1, 1, 1, 1]}, "must be positive"),
    ({"dim": [4, 7, 5, 4, 0, 1, 1, 1]}, "must be positive"),
    ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "expected 70362301923326 bytes"),
    ({"dim": [7, *[32767] * 7]}, "expected"),
    ({"dim": [7, *[HUGE] * 7], "version": 2}, "expected"),
    ({"dim": [3, HUGE, 4, 4, 1, 1, 1, 1], "version": 2}, "expected"),
    ({"datatype": 77}, "datatype is 77"),
    ({"vox_offset": 0}, "vox_offset is 0, expected a whole number of at least 352"),
    ({"vox_offset": 351.5}, "vox_offset is 351.5"),
    ({"vox_offset": np.nan}, "vox_offset is nan"),
    ({"vox_offset": np.inf}, "vox_offset is inf"),
    ({"vox_offset": -352}, "vox_offset is -352"),
    ({"vox_offset": 1e30}, "expected 280 bytes, found 0"),
    ({"vox_offset": HUGE, "version": 2}, "expected 280 bytes, found 0"),
    ({"extensions": extension(6, b"x" * 40, claims=4096)}, "extension 0 claims 4096 bytes, expected 8 to 48"),
    ({"extensions": extension(6, b"x" * 40, claims=-16)}, "extension 0 claims -16 bytes"),
    ({"extensions": extension(6, b"x" * 40, claims=7)}, "extension 0 claims 7 bytes"),
    ({"extensions": extension(6, b"x" * 8) + extension(6, b"x", claims=2**31 - 1)}, "extension 1 claims"),
]


@pytest.mark.parametrize(("fields", "reason"), LIES)
@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_lying_headers_fail_before_memory_is_taken(
    tmp_path: Path, fields: dict[str, Any], reason: str, suffix: str
) -> None:
    path = tmp_path / f"scan{suffix}"
    with np.errstate(invalid="ignore"):
        path.write_bytes(COMPRESSIONS[suffix](nifti_bytes(ramp(), **fields)))
    with pytest.raises(mj.ImageFileError, match=reason), bounded():
        mj.load_image(path)


class bounded:  # noqa: N801, reads as a statement
    """Fails where the block takes more than a few megabytes at any moment, or seconds."""

    def __enter__(self) -> None:
        tracemalloc.start()
        self.start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8e6
        assert time.monotonic() - self.start < 5


def test_gzip_that_expands_cannot_back_a_larger_claim(tmp_path: Path) -> None:
    """A small file that truly expands 1000-fold still has to hold what its header claims."""
    header, _ = header_and_voxels(np.zeros((1, 1, 1), np.uint8), dim=[3, 1000, 1000, 400, 1, 1, 1, 1])
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header + bytes(399_000_000), 9))
    with pytest.raises(mj.io.TruncatedFileError, match="expected 400000000 bytes, found 399000000"), bounded():
        mj.load_image(path)


def test_missing_part_of_a_pair(tmp_path: Path) -> None:
    header, body = header_and_voxels(ramp(), is_pair=True)
    (tmp_path / "only.hdr").write_bytes(header)
    (tmp_path / "lone.img").write_bytes(body)
    with pytest.raises(mj.ImageFileError, match=r"voxels are in another file, only\.img, which is not here"):
        mj.load_image(tmp_path / "only.hdr")
    with pytest.raises(mj.ImageFileError, match=r"header is in another file, lone\.hdr, which is not here"):
        mj.load_image(tmp_path / "lone.img")
    (tmp_path / "only.img").write_bytes(body[:-1])
    with pytest.raises(mj.io.TruncatedFileError, match=r"only\.img: voxels: expected 280 bytes, found 279"):
        mj.load_image(tmp_path / "only.hdr")


def test_zstd_without_the_package(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = compress_zstd(nifti_bytes(ramp()))
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(mj.io.MissingDependencyError, match=r'pip install "medjax\[zstd\]"'):
        load(content, "scan.nii.zst")


@pytest.mark.parametrize("seed", range(8))
def test_mutated_files_load_or_raise(tmp_path: Path, seed: int) -> None:
    """Files with random bytes changed, cut or repeated: an image or the package's error, soon and in bounded memory."""
    rng = np.random.default_rng(seed)
    loaded = 0
    for number in range(60):
        options: dict[str, Any] = {"version": int(rng.integers(1, 3)), "order": str(rng.choice(["<", ">"]))}
        blocks = extension(6, b"comment", order=options["order"]) if rng.random() < 0.3 else None
        content = bytearray(nifti_bytes(ramp(dtype="f4"), qform=OBLIQUE, extensions=blocks, **options))
        mutate(content, rng, header_size=348 if options["version"] == 1 else 540)
        suffix = str(rng.choice([".nii", ".nii.gz", ".hdr"]))
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(gzip.compress(bytes(content)) if suffix == ".nii.gz" else bytes(content))
        with warnings.catch_warnings(), bounded():
            warnings.simplefilter("ignore", mj.ImageFileWarning)
            try:
                image = mj.load_image(path)
            except mj.ImageFileError:
                continue
        loaded += 1
        assert np.isfinite(image.affine).all()
        assert image.voxels.nbytes < 1e6
    assert 5 < loaded < 55  # or the mutations test nothing


def mutate(content: bytearray, rng: np.random.Generator, *, header_size: int) -> None:
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, min(header_size + 4, len(content))))
        kind = rng.integers(0, 4)
        if kind == 0:
            content[at] = int(rng.integers(0, 256))
        elif kind == 1:
            word = rng.choice([0, 1, 2**31 - 1, -1, 2**15 - 1, -(2**31)])
            content[at : at + 4] = struct.pack("<i", int(word))
        elif kind == 2:
            number = rng.choice([np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-40, 0.0])
            content[at : at + 4] = struct.pack("<f", number)
        elif rng.random() < 0.3:
            del content[int(rng.integers(0, len(content))) :]


@pytest.mark.parametrize("seed", range(2))
def test_mutated_streams_load_or_raise(tmp_path: Path, seed: int) -> None:
    """The same for the bytes of a gzip or bzip2 stream; what loads has exactly the right voxels."""
    rng = np.random.default_rng(seed)
    for suffix in (".nii.gz", ".nii.bz2"):
        original = COMPRESSIONS[suffix](nifti_bytes(ramp()))
        for number in range(60):
            content = bytearray(original)
            content[int(rng.integers(0, len(content)))] ^= int(rng.integers(1, 256))
            path = tmp_path / f"{number}{suffix}"
            path.write_bytes(bytes(content))
            with warnings.catch_warnings(), bounded():
                warnings.simplefilter("ignore", mj.ImageFileWarning)
                try:
                    image = mj.load_image(path)
                except mj.ImageFileError:
                    continue
            np.testing.assert_array_equal(image.voxels, ramp())
