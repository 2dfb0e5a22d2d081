"""Opening and saving files: finding the format, converting voxels, replacing files whole, errors and warnings."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import os
import pickle
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import zstandard
from nifti_bytes import nifti_bytes, ramp

import medjax as mj

# Private: streams, blocks and the choice of a format, which all formats share.
from medjax.io._disk import _blocks, _stream
from medjax.io._disk._atomic import atomic_file, atomic_files
from medjax.io._formats import ALL_FORMATS, find_format, first_bytes

IMAGE = mj.Image.from_array(ramp())


# Finding the format


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("scan.mha", nifti_bytes(ramp()), "NIfTI"),  # content counts before the name
        ("scan", gzip.compress(nifti_bytes(ramp())), "NIfTI"),
        ("scan.nii", b"NRRD0004\n", "NRRD"),
        ("scan.raw", b"ObjectType = Image\nNDims = 3\n", "MetaImage"),
        ("scan", b"NDims = 3\n", "MetaImage"),
        ("scan.bin", b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        ("IM0001", bytes(128) + b"DICM" + bytes(100), "DICOM"),
        ("brain", struct.pack(">6i", 1, 3, 4, 5, 1, 4) + bytes(400), "FreeSurfer"),
        ("brain.mgz", b"anything", "FreeSurfer"),
        ("IM0001", b"\x08\x00\x05\x00" + bytes(100), "DICOM"),
        ("scan.NII", b"anything", "NIfTI"),  # the name counts where the content says nothing
        ("scan.img", bytes(1000), "NIfTI"),
        ("scan.mrb", b"PK\x03\x04", "3D Slicer scene"),
        ("scan.nii.gz", b"\x1f\x8b not gzip", "NIfTI"),
    ],
)
def test_format_by_content_then_by_name(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert find_format(tmp_path / name, ALL_FORMATS).name == expected


def test_a_folder_is_dicom(tmp_path: Path) -> None:
    assert find_format(tmp_path).name == "DICOM"


def test_files_that_are_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(mj.ImageFileError, match="the file is empty"):
        mj.load_image(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("patient was tired")
    with pytest.raises(
        mj.io.UnsupportedFileError, match=r"neither its content nor its name .*NIfTI, FreeSurfer, MetaImage"
    ):
        mj.load_image(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError) as caught:
        mj.load_image(tmp_path / "absent.nii")
    assert caught.value.filename == str(tmp_path / "absent.nii")


def test_other_formats_are_not_read_out_of_gzip(tmp_path: Path) -> None:
    (tmp_path / "scan.nrrd.gz").write_bytes(gzip.compress(b"NRRD0004\n"))
    with pytest.raises(mj.io.UnsupportedFileError, match=r"NRRD inside a gzip file .* decompress it first"):
        mj.load_image(tmp_path / "scan.nrrd.gz")


def test_first_bytes_look_into_compressed_files(tmp_path: Path) -> None:
    text = b"voxels and more"
    for number, content in enumerate((text, gzip.compress(text), bz2.compress(text))):
        (tmp_path / str(number)).write_bytes(content)
        assert first_bytes(tmp_path / str(number), 6) == b"voxels"


# Loading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    mj.save_image(IMAGE, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_what_the_caller_says_counts(path: Path) -> None:
    image: Any = mj.load_image(str(path), "CT", kind="label", dtype=np.int64)
    assert (image.metadata.modality, image.metadata.source) == ("CT", "scan.nii.gz")
    assert (image.kind, image.dtype) == ("label", np.int64)
    np.testing.assert_array_equal(image.voxels, ramp())


def load_as(folder: Path, voxels: np.ndarray, **options: Any) -> Any:
    mj.save_image(mj.Image.from_array(voxels.reshape(-1, 1, 1)), folder / "a.nii")
    return mj.load_image(folder / "a.nii", **options).voxels.ravel()


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        (np.array([0, 255], np.int16), "uint8"),
        (np.array([-1, 2**30], np.float32), "int32"),
        (np.array([0, 1], np.uint8), "bool"),
        (np.array([np.nan, np.inf, 1.5]), "float32"),
        (np.array([2**53 + 1], np.int64), "uint64"),
        (np.array([-(2.0**63)]), "int64"),
        (np.array([1.0, 2.0], np.float32), "complex64"),
    ],
)
def test_conversions_that_fit(tmp_path: Path, stored: np.ndarray, dtype: str) -> None:
    found = load_as(tmp_path, stored, dtype=dtype)
    np.testing.assert_array_equal(found, stored)
    assert found.dtype == dtype


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        (np.array([0, 256], np.int16), "uint8"),
        (np.array([-1], np.int16), "uint16"),
        (np.array([0.5]), "int32"),
        (np.array([np.nan]), "int32"),
        (np.array([2.0**63]), "int64"),
        (np.array([2**63], np.uint64), "int64"),
        (np.array([2], np.uint8), "bool"),
        (np.array([1e39]), "float32"),
        (np.array([70000], np.int32), "float16"),
        (np.array([1 + 2j]), "float64"),
    ],
)
def test_conversions_that_do_not_fit(tmp_path: Path, stored: np.ndarray, dtype: str) -> None:
    with pytest.raises(ValueError, match=rf"fit dtype={dtype}"):
        load_as(tmp_path, stored, dtype=dtype)


def test_labels_stored_as_floats_need_a_dtype(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels are integers, its voxels are float64: give an integer dtype as well"):
        load_as(tmp_path, np.array([0.0, 3.0]), kind="label")
    assert load_as(tmp_path, np.array([0.0, 3.0]), kind="label", dtype=np.uint8).tolist() == [0, 3]


def test_warnings_point_at_the_caller(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti_bytes(ramp(), sform=None))
    with pytest.warns(mj.ImageFileWarning, match="orientation") as caught:
        mj.load_image(tmp_path / "a.nii")
    assert [Path(each.filename).name for each in caught] == ["test_files.py"]


# Saving


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ("scan.txt", "scan", "scan.mrb"):
        with pytest.raises(mj.io.UnsupportedFileError, match=r"cannot tell the format .* \.nii\.gz, \.nii"):
            mj.save_image(IMAGE, tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        mj.save_image(IMAGE, tmp_path / "missing/scan.nii")


def test_images_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot save a batch of shape \(2,\)"):
        mj.save_image(mj.stack([IMAGE, IMAGE]), tmp_path / "a.nii")
    with pytest.raises(ValueError, match="under a jax transformation"):
        jax.jit(lambda image: mj.save_image(image, tmp_path / "a.nii"))(IMAGE)
    assert not list(tmp_path.iterdir())


def test_same_image_same_bytes(tmp_path: Path) -> None:
    mj.save_image(IMAGE, tmp_path / "a.nii.gz")
    time.sleep(1.1)  # gzip headers can hold the second
    mj.save_image(IMAGE, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


# Replacing files whole


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")

    def fail() -> None:
        with atomic_file(tmp_path / "a") as temporary:
            temporary.write_text("half of the ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_failure_leaves_both_old_files_of_a_pair(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f"old {name}")

    def fail() -> None:
        with atomic_files(tmp_path / "a", tmp_path / "b") as (first, second):
            first.write_text("new")
            second.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert sorted(each.read_text() for each in tmp_path.iterdir()) == ["old a", "old b"]


def test_the_old_header_goes_before_the_new_voxels_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair is never mixed: at the moment of each renaming there is no header, or both files are new."""
    for name in ("a.img", "a.hdr"):
        (tmp_path / name).write_text("old")
    seen = []
    replace = Path.replace

    def watched(source: Path, target: Any) -> Any:
        seen.append(sorted(each.name + " " + each.read_text() for each in tmp_path.glob("a.*")))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", watched)
    with atomic_files(tmp_path / "a.img", tmp_path / "a.hdr") as temporaries:
        for temporary in temporaries:
            temporary.write_text("new")
    assert seen == [["a.img old"], ["a.img new"]]
    assert sorted(each.read_text() for each in tmp_path.iterdir()) == ["new", "new"]


@pytest.mark.parametrize("name", ["a.hdr", "a.img.gz"])
def test_the_header_of_a_nifti_pair_comes_last(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = Path.replace

    def watched(source: Path, target: Any) -> Any:
        order.append(target.name)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", watched)
    mj.save_image(IMAGE, tmp_path / name)
    assert order == [f"a.img{Path(name).suffix.removeprefix('.hdr')}", f"a.hdr{Path(name).suffix.removeprefix('.hdr')}"]


def test_permissions(tmp_path: Path) -> None:
    """A new file gets those the umask leaves; a replaced one keeps its own; links are followed."""
    old = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "new") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    (tmp_path / "link").symlink_to("new")
    with atomic_file(tmp_path / "link") as temporary:
        temporary.write_text("y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").read_text() == "y"


def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder.nii").mkdir()
    os.mkfifo(tmp_path / "pipe.nii")
    for name in ("folder.nii", "pipe.nii"):
        with pytest.raises(mj.ImageFileError, match="not an ordinary file"):
            mj.save_image(IMAGE, tmp_path / name)


def test_long_names(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 248 + ".nii.gz")  # 255 bytes, the usual limit
    mj.save_image(IMAGE, path)
    np.testing.assert_array_equal(mj.load_image(path).voxels, IMAGE.voxels)


WRITER = """
import sys
import numpy as np
import medjax as mj
noise = np.random.default_rng(0).integers(0, 99, (128, 128, 100)).astype(np.int16)
noise[0, 0, 0] = 0
mj.save_image(mj.Image.from_array(noise), sys.argv[1].replace("scan", "other"))  # with all imports done
print("ready", flush=True)
while True:
    for n in range(10):
        mj.save_image(mj.Image.from_array(noise[:, :, : 60 + n] + np.int16(n), spacing=n + 1), sys.argv[1])
"""


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.hdr"])
def test_a_killed_writer_leaves_a_whole_image_or_none(tmp_path: Path, name: str) -> None:
    """Killed at random moments while it replaces one image by another, a writer never leaves parts of two."""
    path, noise = tmp_path / name, None
    pauses = random.Random(0)
    found = 0
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(pauses.uniform(0.05, 0.4))
            process.send_signal(signal.SIGKILL)
        if not path.exists():
            assert found == 0 or name == "scan.hdr"
            continue
        image = mj.load_image(path)
        found += 1
        noise = np.random.default_rng(0).integers(0, 99, (128, 128, 100)).astype(np.int16) if noise is None else noise
        noise[0, 0, 0] = 0
        number = int(image.voxels[0, 0, 0])
        assert image.spacing == (number + 1.0,) * 3
        np.testing.assert_array_equal(image.voxels, noise[:, :, : 60 + number] + number)
    assert found > 0


# Errors


@pytest.mark.parametrize("kind", [mj.ImageFileError, mj.io.TruncatedFileError, mj.io.MissingDependencyError])
def test_errors_pickle(kind: Any) -> None:
    error = pickle.loads(pickle.dumps(kind(Path("a.nii"), "ends early", "copy it again")))
    assert (type(error), error.path, error.reason, error.hint) == (kind, "a.nii", "ends early", "copy it again")
    assert str(error) == "a.nii: ends early; copy it again"


# Compressed streams, with isal and without


@pytest.fixture(params=["isal", "zlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zlib":
        monkeypatch.setattr(_stream, "deflate", zlib)
        monkeypatch.setattr(_blocks, "deflate", zlib)
    elif _stream.deflate is zlib:
        pytest.skip("isal is not installed")


CONTENT = np.random.default_rng(0).integers(0, 50, 3_000_000, dtype=np.uint8).tobytes()
SMALL = CONTENT[:1000]


def read_all(data: bytes, count: int, **options: Any) -> tuple[bytes, int]:
    with _stream.Content(Path("a"), data=data, **options) as content:
        start = content.read(100)
        return start + content.read_array(count - 100).tobytes(), content.finish()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("data", "following", "codec"),
    [
        (gzip.compress(CONTENT), 0, "auto"),
        (gzip.compress(CONTENT) + bytes(700), 0, "auto"),  # padding
        (gzip.compress(CONTENT) + bytes(700) + b"garbage", 7, "auto"),
        (gzip.compress(CONTENT) + b"g", 1, "auto"),
        (gzip.compress(CONTENT[:999]) + bytes(300_000) + gzip.compress(CONTENT[999:]), 0, "auto"),
        (gzip.compress(CONTENT[:100]) + gzip.compress(CONTENT[100:]) + gzip.compress(b"more"), 4, "auto"),
        (zlib.compress(CONTENT), 0, "zlib"),
        (zlib.compress(CONTENT) + b"tail", 4, "zlib"),
        (gzip.compress(CONTENT), 0, "zlib"),
        (bz2.compress(CONTENT), 0, "auto"),
        (bz2.compress(CONTENT[:999]) + bz2.compress(CONTENT[999:]), 0, "bzip2"),
        (CONTENT + b"12", 2, None),
    ],
)
def test_content(data: bytes, following: int, codec: Any) -> None:
    assert read_all(data, len(CONTENT), codec=codec) == (CONTENT, following)
    assert read_all(b"before" + data, len(CONTENT), codec=codec, offset=6) == (CONTENT, following) or codec == "auto"


def written(codec: Any, blocks: list[bytes]) -> bytes:
    file = io.BytesIO()
    _blocks.write_blocks(file, codec, [lambda block=block: block for block in blocks])  # type: ignore[misc]
    assert not file.closed
    return file.getvalue()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("codec", "recognised", "standard"),
    [
        (None, None, bytes),
        ("gzip", "gzip", gzip.decompress),
        ("zlib", None, zlib.decompress),  # two bytes that many other files begin with
        ("bzip2", "bzip2", bz2.decompress),
        ("zstd", "zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ],
)
def test_written_streams_are_read_back(codec: Any, recognised: Any, standard: Any) -> None:
    data = written(codec, [CONTENT[start : start + 99_999] for start in range(0, len(CONTENT), 99_999)])
    assert _stream.codec_of(data) == recognised
    assert read_all(data, len(CONTENT), codec=codec) == (CONTENT, 0)
    assert standard(data) == CONTENT


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("blocks", [[], [b""], [b"", b"voxels", b""]], ids=["nothing", "empty", "empty ones"])
def test_streams_of_empty_blocks(blocks: list[bytes]) -> None:
    assert gzip.decompress(written("gzip", blocks)) == zlib.decompress(written("zlib", blocks)) == b"".join(blocks)


def test_a_block_that_fails_stops_the_writing() -> None:
    """At its place: what came before it is written, and few of the blocks behind it are made."""
    made: list[int] = []

    def make(number: int) -> bytes:
        made.append(number)
        if number == 5:
            raise MemoryError("no room")
        return b"x"

    file = io.BytesIO()
    with pytest.raises(MemoryError, match="no room"):
        _blocks.write_blocks(file, None, (functools.partial(make, n) for n in range(1000)))
    assert file.getvalue() == b"xxxxx"
    assert max(made) < 30


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("order", ["C", "F", "view"])
@pytest.mark.parametrize("shape", [(70, 90, 301), (3, 3, 1), (700, 600, 25)], ids=str)
def test_blocks_follow_each_other_in_the_file(shape: tuple[int, ...], order: Any, axes: tuple[int, ...]) -> None:
    voxels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    voxels = voxels[::-1, :, ::-1] if order == "view" else np.asarray(voxels, order=order)
    blocks = [bytes(make()) for make in _blocks.file_blocks(voxels, axes)]
    assert b"".join(blocks) == voxels.transpose(axes).tobytes(order="F")
    assert max(map(len, blocks)) < 2**24
    assert len(blocks) > 1 or voxels.size < 10
    swapped = voxels.astype(">i4")
    assert b"".join(bytes(make()) for make in _blocks.file_blocks(swapped, axes)) == b"".join(blocks)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzip.compress(SMALL)[:-4], "breaks off after 1000 bytes of content"),
        (gzip.compress(SMALL)[:-300], "where the gzip stream breaks off"),
        (gzip.compress(SMALL)[:-8] + bytes(8), "the gzip stream is damaged"),
        (gzip.compress(SMALL[:-1]), "expected 900 bytes, found 899$"),
        (gzip.compress(SMALL[:500]) + b"\x1f\x8bgarbage", "damaged|breaks off"),
        (bz2.compress(SMALL)[:-4], "breaks off"),
        (SMALL[:-1], "expected 900 bytes, found 899"),
    ],
)
def test_damaged_content(data: bytes, reason: str) -> None:
    with pytest.raises(mj.ImageFileError, match=reason):
        read_all(data, len(SMALL))


@pytest.mark.usefixtures("engine")
def test_claims_are_checked_before_memory_is_taken() -> None:
    data = gzip.compress(bytes(50_000_000), 9)
    for count in (10**15, len(data) * 1032 + 1, 280_000_000):
        more = gzip.compress(bytes(270_000_000)) if count == 280_000_000 else data
        tracemalloc.start()
        with _stream.Content(Path("a"), data=more) as content, pytest.raises(mj.io.TruncatedFileError):
            content.read_array(count)
        assert tracemalloc.get_traced_memory()[1] < 4e6
        tracemalloc.stop()
