"""What holds for every format that is written, row by row of one table: exact round trips, re-read by another library."""

from __future__ import annotations

import bz2
import dataclasses
import datetime as dt
import errno
import json
import resource
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import nibabel
import numpy as np
import pytest

import medjax as mj
from medjax import io

# Nine dtypes that every format holds as they are, and what becomes of the others.
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8"]


def rotation() -> np.ndarray:
    """An oblique rotation, far from every axis."""
    turn, _ = np.linalg.qr(np.random.default_rng(11).normal(size=(3, 3)))
    return turn * np.sign(np.linalg.det(turn))


OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = rotation() * (0.7, 1.1, 2.9)
OBLIQUE[:3, 3] = (-101.7, 33.1, -212.9)
SHEARED = OBLIQUE.copy()
SHEARED[:3, 2] += 0.4 * SHEARED[:3, 1]
LEFT_HANDED = OBLIQUE @ np.diag([1, -1, 1, 1.0])

SHARED = mj.Metadata(modality="MR", subtype="T1", is_contrast_administered=True, display={"window": [40.0, 400.0]})
WHOLE = SHARED.replace(
    patient_id="anonymous",
    patient_uid="2.25.1",
    study_uid="2.25.2",
    series_uid="2.25.3",
    study_description="a brain: größer",
    acquisition_time=dt.datetime(2024, 2, 29, 23, 59, 58, 123456),
    source="first.nii",
    clinical={"weight": 70.5},
    extra={
        "Keyword": ["text", 1.5, None, {"deep": True}],
        "quoted": 'a "b" \\n = :=',
        "PatientName": "Doe^Jane",
        "StudyDate": "20240229",
        "per_slice": {"SOPInstanceUID": ["2.25.4", "2.25.5"]},
    },
)


# Other libraries, as (voxels by i, j, k; world position in LPS mm of an index).

Reread = tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]


def by_nibabel(path: Path) -> Reread:
    found: Any = nibabel.load(path)  # type: ignore[attr-defined]
    return np.asarray(found.dataobj), lambda index: (np.diag([-1, -1, 1, 1]) @ found.affine @ (*index, 1))[:3]


def by_simpleitk(path: Path) -> Reread:
    sitk = pytest.importorskip("SimpleITK")
    found = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(found)
    return voxels.transpose(2, 1, 0, *range(3, voxels.ndim)), lambda index: np.array(
        found.TransformContinuousIndexToPhysicalPoint(index.tolist())
    )


def by_pynrrd(path: Path) -> Reread:
    nrrd = pytest.importorskip("nrrd")
    voxels, header = nrrd.read(str(path))
    assert header["space"] == "left-posterior-superior"
    directions = header["space directions"][-3:]
    return voxels, lambda index: header["space origin"] + index @ directions


def by_h5py(path: Path) -> Reread:
    with h5py.File(path, "r") as file:
        group = file["images/image"]
        voxels, affine = group["voxels"][()].T, group.attrs["affine"]
    return voxels, lambda index: (affine @ (*index, 1))[:3]


@dataclasses.dataclass(frozen=True)
class Row:
    """What a format keeps, and who else reads it."""

    suffix: str
    rereaders: tuple[Callable[[Path], Reread], ...]
    metadata: Literal["whole", "shared"] = "shared"
    world_tolerance: float = 1e-12  # mm, for the other reader: float64 sums of numbers below 1000
    converts: dict[str, str] = dataclasses.field(default_factory=lambda: {"?": "u1", "f2": "f4"})
    is_exact: bool = False  # the affine comes back bit for bit


NIFTI: dict[str, Any] = {"rereaders": (by_nibabel,), "world_tolerance": 2e-4, "is_exact": True}
ROWS = [
    Row(".nii", **NIFTI),
    Row(".nii.gz", **NIFTI),
    Row(".nii.bz2", **NIFTI),
    Row(".hdr", **NIFTI),
    Row(".img.gz", **NIFTI),
    Row(".mha", (by_simpleitk,)),
    Row(".mhd", (by_simpleitk,)),
    Row(".nrrd", (by_pynrrd, by_simpleitk)),
    Row(".nhdr", (by_pynrrd, by_simpleitk)),
    Row(".h5", (by_h5py,), "whole", converts={}, is_exact=True),
    Row(".hdf5", (by_h5py,), "whole", converts={}, is_exact=True),
]
SUFFIXES = [row.suffix for row in ROWS]
each_row = pytest.mark.parametrize("row", ROWS, ids=SUFFIXES)
each_store = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.metadata == "whole"], ids=lambda row: row.suffix
)
each_other = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.metadata == "shared"], ids=lambda row: row.suffix
)
each_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


def voxels_of(dtype: str, shape: tuple[int, ...] = (5, 6, 3)) -> np.ndarray:
    """Random numbers over the whole range of the dtype, its ends among them."""
    rng = np.random.default_rng(0)
    if dtype == "?":
        return rng.integers(0, 2, shape).astype(bool)
    if np.dtype(dtype).kind == "f":
        values = rng.normal(0, 1e4, shape).astype(dtype)
        values.flat[:2] = np.finfo(dtype).max, np.finfo(dtype).tiny
        return values
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    values.flat[:2] = limits.min, limits.max
    return values


def image_of(dtype: str = "i2", shape: tuple[int, ...] = (5, 6, 3), affine: np.ndarray = OBLIQUE) -> mj.Image:
    return mj.Image.from_array(voxels_of(dtype, shape), affine=affine, metadata=WHOLE)


def folder_names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def assert_geometry(found: mj.Image, affine: np.ndarray, row: Row) -> None:
    if row.is_exact:
        assert np.asarray(found.affine).tolist() == affine.tolist()
    # Text with 17 digits is exact, but a product of spacing and direction rounds once: 2^-52 of at most 3 mm.
    np.testing.assert_allclose(found.affine, affine, rtol=0, atol=1e-15 * 213)


@pytest.mark.parametrize("compress", [True, False], ids=["compressed", "plain"])
@pytest.mark.parametrize("dtype", DTYPES)
@each_row
def test_round_trip(tmp_path: Path, row: Row, dtype: str, compress: bool) -> None:
    path, image = tmp_path / f"scan{row.suffix}", image_of(dtype)
    mj.save_image(image, path, compress=compress)
    found = mj.load_image(path)
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found.voxels, image.voxels, strict=True)
    assert_geometry(found, OBLIQUE, row)
    assert found.kind == "intensity"
    for reread in row.rereaders:
        voxels, world = reread(path)
        np.testing.assert_array_equal(voxels, image.voxels)
        for index in (np.zeros(3), np.array([4.0, 5.0, 2.0]), np.array([1.0, 3.0, 2.0])):
            np.testing.assert_allclose(world(index), image.grid.world(index), rtol=0, atol=row.world_tolerance)


@pytest.mark.parametrize("dtype", ["?", "f2"])
@each_row
def test_dtypes_that_a_format_lacks_are_widened(tmp_path: Path, row: Row, dtype: str) -> None:
    """No value changes: booleans become 0 and 1, half precision single precision."""
    path, image = tmp_path / f"scan{row.suffix}", image_of(dtype)
    mj.save_image(image, path)
    found = mj.load_image(path)
    assert found.dtype == np.dtype(row.converts.get(dtype, dtype))
    np.testing.assert_array_equal(found.voxels.astype(dtype), image.voxels)


@pytest.mark.parametrize("affine", [SHEARED, LEFT_HANDED], ids=["sheared", "left-handed"])
@each_row
def test_any_affine_comes_back(tmp_path: Path, row: Row, affine: np.ndarray) -> None:
    path, image = tmp_path / f"scan{row.suffix}", image_of(affine=affine)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*off a right angle", category=io.ImageFileWarning)
        mj.save_image(image, path)
        found = mj.load_image(path)
    assert_geometry(found, affine, row)


@pytest.mark.parametrize("shape", [(5, 6, 3, 4), (5, 6, 3, 1), (1, 1, 1), (1, 7, 1), (5, 6, 3, 2, 3)], ids=str)
@each_row
def test_channels_and_thin_images_come_back(tmp_path: Path, row: Row, shape: tuple[int, ...]) -> None:
    path, image = tmp_path / f"scan{row.suffix}", image_of("f4", shape)
    mj.save_image(image, path)
    np.testing.assert_array_equal(mj.load_image(path).voxels, image.voxels, strict=True)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8"])
@each_row
def test_labels_stay_labels(tmp_path: Path, row: Row, dtype: str) -> None:
    path, image = tmp_path / f"scan{row.suffix}", image_of(dtype).with_kind("label")
    mj.save_image(image, path)
    found = mj.load_image(path)
    assert found.kind == "label"
    np.testing.assert_array_equal(found.voxels, image.voxels, strict=True)


@each_store
def test_a_store_keeps_all_metadata(tmp_path: Path, row: Row) -> None:
    path = tmp_path / f"scan{row.suffix}"
    mj.save_image(image_of(), path)
    assert mj.load_image(path).metadata == WHOLE  # also where the image came from


@each_other
def test_files_that_are_no_store_keep_what_names_nobody(tmp_path: Path, row: Row) -> None:
    path = tmp_path / f"scan{row.suffix}"
    mj.save_image(image_of(), path)
    found = mj.load_image(path).metadata
    assert isinstance(found, mj.Metadata)
    assert found.source == path.name
    assert found.replace(extra={}, source=None) == SHARED
    assert not found.extra.keys() & WHOLE.extra.keys()


IDENTIFIERS = (b"anonymous", b"2.25.", b"brain", b"2024", b"70.5", b"Doe", b"first.nii", b"deep", "größer".encode())


def content_after_a_store(folder: Path, suffix: str) -> bytes:
    """All bytes, inflated, of the files that an image becomes whose metadata came through a store."""
    kept = folder / "kept.h5"
    mj.save_image(image_of(), kept)
    out = folder / "out"
    out.mkdir()
    mj.save_image(mj.load_image(kept), out / f"scan{suffix}", compress=False)
    inflate = {".gz": lambda packed: zlib.decompress(packed, 47), ".bz2": bz2.decompress}
    return b"".join(inflate.get(each.suffix, bytes)(each.read_bytes()) for each in out.iterdir())


@each_other
def test_no_identifier_enters_a_file_that_is_passed_on(tmp_path: Path, row: Row) -> None:
    """In no byte of it, whatever the file came from: also not on the way through a file of another format."""
    content = content_after_a_store(tmp_path, row.suffix)
    assert b"T1" in content  # the search finds what is there
    assert [secret for secret in IDENTIFIERS if secret in content] == []


@each_store
def test_a_store_holds_the_identifiers_that_the_search_above_looks_for(tmp_path: Path, row: Row) -> None:
    assert b"Doe" in content_after_a_store(tmp_path, row.suffix)


@each_row
def test_memory_order_and_views_do_not_matter(tmp_path: Path, row: Row) -> None:
    whole = voxels_of("i4", (9, 12, 7))
    for number, voxels in enumerate([np.asfortranarray(whole), whole[::-2, 1::3, ::-1], whole.astype(">i4")]):
        path = tmp_path / f"{number}{row.suffix}"
        mj.save_image(mj.Image.from_array(voxels), path)
        np.testing.assert_array_equal(mj.load_image(path).voxels, voxels)


@each_row
def test_non_finite_values_are_kept(tmp_path: Path, row: Row) -> None:
    path, voxels = tmp_path / f"scan{row.suffix}", voxels_of("f4")
    voxels.flat[:3] = np.nan, np.inf, -np.inf
    mj.save_image(mj.Image.from_array(voxels), path)
    np.testing.assert_array_equal(mj.load_image(path).voxels, voxels)


def test_a_chain_through_every_format_changes_nothing(tmp_path: Path) -> None:
    """From file to file through all formats: voxels, kind and geometry are those of the start."""
    image = image_of("u1").with_kind("label")
    for number, suffix in enumerate([*SUFFIXES, *reversed(SUFFIXES)]):
        path = tmp_path / f"{number}{suffix}"
        mj.save_image(image, path)
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, voxels_of("u1"), strict=True)
    assert image.kind == "label"
    np.testing.assert_allclose(image.affine, OBLIQUE, rtol=0, atol=1e-15 * 213 * len(SUFFIXES))


# Writing that fails


@contextmanager
def file_size_limited(size: int) -> Iterator[None]:
    """Makes the system refuse to write a file beyond a size, as a full disk does (Python ignores the signal)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [0, 100, 3000, 20000])
@each_suffix
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, suffix: str, limit: int) -> None:
    path, old = tmp_path / f"scan{suffix}", image_of("i2")
    mj.save_image(old, path)
    content = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    noise = np.random.default_rng(0).integers(0, 2**62, (16, 17, 18))  # 39 kB however compressed
    with file_size_limited(limit), pytest.raises((OSError, io.ImageFileError)) as caught:
        mj.save_image(mj.Image.from_array(noise), path)
    if isinstance(caught.value, OSError):
        assert caught.value.errno == errno.EFBIG
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == content
    np.testing.assert_array_equal(mj.load_image(path).voxels, old.voxels)


@each_suffix
def test_a_new_file_that_fails_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 2**62, (16, 17, 18))
    with file_size_limited(3000), pytest.raises((OSError, io.ImageFileError)):
        mj.save_image(mj.Image.from_array(noise), tmp_path / f"scan{suffix}")
    assert folder_names(tmp_path) == []


@each_suffix
def test_what_no_format_holds_is_refused_before_a_file_is_made(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    odd = mj.Image.from_array(np.zeros((2, 3, 4), np.longdouble))
    if suffix.startswith((".nii", ".hdr", ".img")):
        odd = mj.Image.from_array(np.zeros((2, 3, 4), "V4"))
    with pytest.raises((ValueError, io.ImageFileError)):
        mj.save_image(odd, path)
    with pytest.raises(ValueError, match="batch"):
        mj.save_image(mj.stack([image_of(), image_of()]), path)
    assert folder_names(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        mj.save_image(image_of(), tmp_path / "missing" / f"scan{suffix}")


@each_suffix
def test_a_folder_is_not_replaced(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    path.mkdir()
    with pytest.raises((OSError, io.ImageFileError)):
        mj.save_image(image_of(), path)
    assert folder_names(tmp_path) == [f"scan{suffix}"]
    assert path.is_dir()


def test_unknown_endings(tmp_path: Path) -> None:
    for name in ("scan", "scan.tif", "scan.gz", "scan.nii.gz.part", "nii"):
        with pytest.raises(io.UnsupportedFileError, match=r"use one of \.nii\.gz"):
            mj.save_image(image_of(), tmp_path / name)
    assert folder_names(tmp_path) == []


# Reading what is not what it seems


def png() -> bytes:
    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(6))) + part(b"IEND", b"")


FOREIGN = {
    "PNG": png(),
    "text": b"not an image, whatever its name says\n" * 40,
    "zeros": bytes(5000),
    "JSON": json.dumps({"shape": [1, 2, 3]}).encode(),
    "one byte": b"\n",
    "empty": b"",
}
READ = [*SUFFIXES, ".nii.zst", ".seg.nrrd", ".mrb", ".dcm", ".ima"]


@pytest.mark.parametrize("content", FOREIGN)
@pytest.mark.parametrize("suffix", READ)
def test_foreign_content_behind_a_name(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(FOREIGN[content])
    with pytest.raises(io.ImageFileError) as caught:
        mj.load_image(path)
    assert caught.value.path == str(path)
    assert caught.value.reason


@pytest.mark.parametrize("suffix", READ)
def test_missing_files_and_folders(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FileNotFoundError):
        mj.load_image(tmp_path / f"scan{suffix}")
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    with pytest.raises(io.ImageFileError):  # a folder is read as a DICOM series, and this one holds none
        mj.load_image(folder)


@pytest.mark.parametrize("written", [".nii", ".nii.gz", ".mha", ".nrrd", ".h5"])
@pytest.mark.parametrize("name", ["scan.nii", "scan.mha", "scan.nrrd", "scan.h5", "scan.dcm", "scan", "scan.tif"])
def test_content_comes_before_the_name(tmp_path: Path, written: str, name: str) -> None:
    image = image_of()
    (tmp_path / "made").mkdir()
    mj.save_image(image, tmp_path / "made" / f"scan{written}")
    path = tmp_path / name
    path.write_bytes((tmp_path / "made" / f"scan{written}").read_bytes())
    found = mj.load_image(path)
    np.testing.assert_array_equal(found.voxels, image.voxels, strict=True)
    np.testing.assert_allclose(found.affine, OBLIQUE, rtol=0, atol=1e-15 * 213)


@pytest.mark.filterwarnings("ignore::medjax.ImageFileWarning")
@each_suffix
def test_truncation_is_an_error_wherever_it_falls(tmp_path: Path, suffix: str) -> None:
    """No part of a file can be missing without notice: header, geometry, voxels, checksum."""
    path = tmp_path / f"scan{suffix}"
    mj.save_image(mj.Image.from_array(voxels_of("i4", (7, 8, 9))), path)
    for part in sorted(tmp_path.iterdir()):
        content = part.read_bytes()
        # A header may end without its last line break (.mhd, .nhdr) or without the flag of extensions (.hdr); of a
        # compressed one the end of the stream is not needed.
        needed = {".mhd": len(content) - 1, ".nhdr": len(content) - 1, ".hdr": 348}.get(part.suffix, len(content))
        needed = len(content) // 2 if part.name.endswith(".hdr.gz") else needed
        for length in {*range(0, needed, max(1, len(content) // 40)), needed - 1}:
            part.write_bytes(content[:length])
            with pytest.raises(io.ImageFileError):
                mj.load_image(path)
        part.write_bytes(content)
    mj.load_image(path)
