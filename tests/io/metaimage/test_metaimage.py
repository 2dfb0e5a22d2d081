"""MetaImage: every rule of the format against SimpleITK, exact round trips, and the public files.

Whom to trust (../shared/data/README.md): SimpleITK, except where it is shown here to be wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from itk_files import DTYPES, METADATA, OBLIQUE, SHAPE, SHARED, as_itk, float_hash, metadata_of, read_itk, voxels_of
from metaimage_files import BESIDE, EQUAL, FOUR_D, RAW, SLICES, VOXELS, ZLIB, header, write, write_beside
from shared_data import DATA, needs_data

import medjax as mj


@pytest.mark.parametrize("name", EQUAL)
def test_reads_as_simpleitk_does(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.mha", *EQUAL[name])
    voxels, affine = read_itk(path)
    image = mj.load_image(path)
    assert image.dtype == voxels.dtype
    np.testing.assert_array_equal(image.voxels, voxels)
    np.testing.assert_array_equal(image.affine, affine)  # the same products of the same numbers
    assert image.kind == "intensity"


TYPES = {
    "MET_CHAR": "i1", "MET_ASCII_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8", "MET_STRING": "i1", "MET_CHAR_ARRAY": "i1", "MET_UCHAR_ARRAY": "u1",
    "MET_SHORT_ARRAY": "i2", "MET_LONG_ARRAY": "i4", "MET_LONG_LONG_ARRAY": "i8", "MET_FLOAT_ARRAY": "f4",
    "MET_DOUBLE_ARRAY": "f8", "MET_FLOAT_MATRIX": "f4",
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_element_types_have_the_sizes_of_metaio(name: str, tmp_path: Path) -> None:
    voxels = voxels_of(TYPES[name])
    path = write(tmp_path / "scan.mha", header(ElementType=name), voxels.tobytes("F"))
    image = mj.load_image(path)
    assert image.dtype == np.dtype(TYPES[name])
    np.testing.assert_array_equal(image.voxels, voxels)
    theirs, _ = read_itk(path)
    assert theirs.dtype == image.dtype
    np.testing.assert_array_equal(image.voxels, theirs.reshape(SHAPE))  # ARRAY: a vector of one component


def test_zlib_needs_no_size(tmp_path: Path) -> None:
    """SimpleITK returns garbage here (expected.json, zlib_nosize.mha)."""
    path = write(tmp_path / "scan.mha", header(CompressedData="True"), ZLIB)
    np.testing.assert_array_equal(mj.load_image(path).voxels, VOXELS)


def test_text_may_end_with_the_last_number(tmp_path: Path) -> None:
    """SimpleITK fails when the file ends there; floating-point text has every digit that it states."""
    values = voxels_of("f8")
    words = b" ".join(f"{value:.17g}".encode() for value in values.ravel("F"))
    image = mj.load_image(write(tmp_path / "scan.mha", header(BinaryData="False", ElementType="MET_DOUBLE"), words))
    np.testing.assert_array_equal(image.voxels, values)


def test_two_dimensions_are_one_slice(tmp_path: Path) -> None:
    fields = {
        "NDims": "2",
        "DimSize": "5 12",
        "Offset": "1 2",
        "ElementSpacing": "0.5 2",
        "TransformMatrix": "0 1 -1 0",
    }
    path = write(tmp_path / "scan.mha", header(**fields))
    image, theirs = mj.load_image(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(image.voxels[:, :, 0], sitk.GetArrayFromImage(theirs).T)
    assert image.shape == (5, 12, 1)
    np.testing.assert_array_equal(image.affine, [[0, -2, 0, 1], [0.5, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(np.array(theirs.GetDirection()).reshape(2, 2), image.direction[:2, :2])


def test_time_is_a_trailing_axis_and_comes_back(tmp_path: Path) -> None:
    image = mj.load_image(write(tmp_path / "scan.mha", header(**FOUR_D)))
    assert image.voxels.shape == (5, 4, 1, 3)
    assert metadata_of(image).extra["ElementSpacing"] == [1.0, 2.0, 3.0, 0.5]
    assert (image.spacing, image.origin) == ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    mj.save_image(image, tmp_path / "again.mha")
    theirs = sitk.ReadImage(str(tmp_path / "again.mha"))
    assert theirs.GetSize() == (5, 4, 1, 3)
    assert theirs.GetSpacing() == (1.0, 2.0, 3.0, 0.5)
    assert theirs.GetOrigin() == (1.0, 2.0, 3.0, 4.0)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs), image.voxels.transpose(3, 2, 1, 0))


def test_time_of_a_nifti_becomes_a_dimension(tmp_path: Path) -> None:
    metadata = mj.Metadata(extra={"dim": [4, 5, 4, 3, 2, 1, 1, 1], "pixdim": [1.0, 0.7, 1.3, 2.9, 2.5, 0.0, 0.0, 0.0]})
    image = mj.Image.from_array(voxels_of("f4", (*SHAPE, 2)), affine=OBLIQUE, metadata=metadata)
    mj.save_image(image, tmp_path / "bold.mha")
    theirs = sitk.ReadImage(str(tmp_path / "bold.mha"))
    assert theirs.GetSize() == (*SHAPE, 2)
    assert theirs.GetSpacing()[3] == 2.5


@pytest.mark.parametrize("channels", [(), (2,), (1,), (4, 3), (4, 1), (1, 1), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("suffix", ["mha", "mhd"])
def test_trailing_axes_survive(channels: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    image = mj.Image.from_array(voxels_of("f4", SHAPE + channels), affine=OBLIQUE)
    mj.save_image(image, tmp_path / f"scan.{suffix}")
    loaded = mj.load_image(tmp_path / f"scan.{suffix}")
    np.testing.assert_array_equal(loaded.voxels, image.voxels)


# --- data beside the header -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BESIDE)
def test_data_beside_the_header(name: str, tmp_path: Path) -> None:
    path = write_beside(tmp_path, *BESIDE[name])
    image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, VOXELS)
    np.testing.assert_array_equal(image.voxels, read_itk(path)[0])


def test_pattern_without_step_where_simpleitk_divides_by_zero(tmp_path: Path) -> None:
    path = write_beside(tmp_path, header("s%d 4 6"), {f"s{n}": SLICES[n - 4] for n in (4, 5, 6)})
    np.testing.assert_array_equal(mj.load_image(path).voxels, VOXELS)


def test_windows_separators(tmp_path: Path) -> None:
    path = write_beside(tmp_path, header("data\\scan.raw"), {"data/scan.raw": RAW})
    np.testing.assert_array_equal(mj.load_image(path).voxels, VOXELS)


WARNED = {
    "um": (header(DistanceUnits="um"), "converted to mm", 1e-3),
    "cm": (header(DistanceUnits="cm"), "converted to mm", 10.0),
    "unknown unit": (header(DistanceUnits="furlong"), "unknown; taken as mm", 1.0),
    "slope": (header(ElementToIntensityFunctionSlope="2"), "not applied", 1.0),
    "intercept": (header(ElementToIntensityFunctionOffset="-1024"), "not applied", 1.0),
    "line end after the voxels": (header(), "1 bytes follow", 1.0),
}


@pytest.mark.parametrize("name", WARNED)
def test_odd_headers_are_read_with_a_warning(name: str, tmp_path: Path) -> None:
    text, message, factor = WARNED[name]
    path = write(tmp_path / "scan.mha", text, RAW + (b"\n" if "line end" in name else b""))
    with pytest.warns(mj.ImageFileWarning, match=message):
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, VOXELS)
    np.testing.assert_allclose(image.affine[:3], OBLIQUE[:3] * factor, rtol=1e-15)  # one more rounding


def test_shear_is_kept_and_named(tmp_path: Path) -> None:
    """A gantry tilt of 20 degrees: MetaIO keeps the columns as they are, so nothing is lost in either direction."""
    sheared = OBLIQUE.copy()
    sheared[:3, 2] = OBLIQUE[:3, :3] @ np.array([0, np.sin(np.radians(20)) * 2.9 / 1.3, np.cos(np.radians(20))])
    image = mj.Image.from_array(VOXELS, affine=sheared)
    mj.save_image(image, tmp_path / "tilted.mha")
    with pytest.warns(mj.ImageFileWarning, match="20 degrees off a right angle"):
        loaded = mj.load_image(tmp_path / "tilted.mha")
    np.testing.assert_allclose(loaded.affine, sheared, rtol=0, atol=1e-14)  # two roundings of numbers up to 100
    np.testing.assert_array_equal(loaded.affine, read_itk(tmp_path / "tilted.mha")[1])


# --- writing --------------------------------------------------------------------------------------------------------

WAYS = [("mha", True), ("mha", False), ("mhd", True), ("mhd", False)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("suffix", "compress"), WAYS)
def test_simpleitk_reads_what_is_written_bit_for_bit(dtype: str, suffix: str, compress: bool, tmp_path: Path) -> None:
    image = mj.Image.from_array(voxels_of(dtype), affine=OBLIQUE)
    path = tmp_path / f"scan.{suffix}"
    mj.save_image(image, path, compress=compress)

    theirs = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(theirs)
    assert array.dtype == image.dtype
    assert np.ascontiguousarray(array).tobytes() == image.voxels.tobytes("F")
    assert (theirs.GetSpacing(), theirs.GetOrigin()) == (image.spacing, image.origin)
    assert theirs.GetDirection() == tuple(image.direction.ravel())

    loaded = mj.load_image(path)
    assert loaded.dtype == image.dtype
    assert loaded.voxels.tobytes("F") == image.voxels.tobytes("F")
    np.testing.assert_allclose(loaded.affine, OBLIQUE, rtol=4e-16)  # length and direction are rounded once each


@pytest.mark.parametrize("compress", [True, False])
def test_simpleitk_reads_vectors(compress: bool, tmp_path: Path) -> None:
    image = mj.Image.from_array(voxels_of("f4", (*SHAPE, 3)), affine=OBLIQUE)
    mj.save_image(image, tmp_path / "scan.mha", compress=compress)
    theirs = sitk.ReadImage(str(tmp_path / "scan.mha"))
    assert theirs.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_array_equal(as_itk(sitk.GetArrayFromImage(theirs)), image.voxels)


@pytest.mark.parametrize("code", ["LPS", "RAS", "SRP", "ILA"])
def test_anatomical_orientation_is_simpleitks(code: str, tmp_path: Path) -> None:
    image = mj.Image.from_array(VOXELS, affine=OBLIQUE)
    reference = sitk.DICOMOrient(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), code)
    affine = mj.Grid.of(SHAPE, direction=np.array(reference.GetDirection())).affine
    mj.save_image(mj.Image.from_array(image.voxels, affine=affine), tmp_path / "ours.mha", compress=False)
    sitk.WriteImage(reference, str(tmp_path / "theirs.mha"))
    pattern = rb"AnatomicalOrientation = (\w+)"
    found = [re.search(pattern, (tmp_path / name).read_bytes()) for name in ("ours.mha", "theirs.mha")]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("layout", ["C", "F", "sliced", "big endian", "read-only"])
def test_any_memory_layout_is_written(layout: str, tmp_path: Path) -> None:
    voxels = voxels_of("i4", (6, 8, 10))
    given: np.ndarray = {
        "C": np.ascontiguousarray(voxels),
        "F": np.asfortranarray(voxels),
        "sliced": np.repeat(np.repeat(voxels, 2, 0), 2, 2)[::2, :, ::-2][:, :, ::-1],
        "big endian": voxels.astype(">i4"),
        "read-only": voxels.copy(),
    }[layout]
    given.setflags(write=layout != "read-only")
    image = mj.Image.from_array(given, spacing=2.0)
    mj.save_image(image, tmp_path / "scan.mha")
    np.testing.assert_array_equal(read_itk(tmp_path / "scan.mha")[0], voxels)
    assert mj.load_image(tmp_path / "scan.mha").dtype.isnative


@pytest.mark.parametrize("suffix", ["mha", "mhd", "nrrd", "nhdr"])
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("channels", [(), (3,)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_large_voxels_go_in_blocks(
    suffix: str, compress: bool, channels: tuple[int, ...], order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 300 bytes in place of 16 MiB: one or two slices, and a shorter one at the end."""
    # Private: the size of blocks, so that a small file has several.
    monkeypatch.setattr("medjax.io._disk._blocks._BLOCK_BYTES", 300)
    voxels = np.array(voxels_of("i2", (18, 4, 7, *channels)), order="C" if order == "C" else "F")
    path = tmp_path / f"scan.{suffix}"
    mj.save_image(mj.Image.from_array(voxels, affine=OBLIQUE), path, compress=compress)
    np.testing.assert_array_equal(read_itk(path)[0], voxels)
    np.testing.assert_array_equal(mj.load_image(path).voxels, voxels)


@pytest.mark.parametrize(("given", "stored"), [("?", "u1"), ("f2", "f4"), ("bfloat16", "f4")])
def test_dtypes_that_the_format_lacks_become_wider(given: str, stored: str, tmp_path: Path) -> None:
    import ml_dtypes

    dtype = ml_dtypes.bfloat16 if given == "bfloat16" else given
    voxels = (np.arange(60).reshape(SHAPE) % 2).astype(dtype)
    mj.save_image(mj.Image.from_array(voxels), tmp_path / "scan.mha")
    loaded = mj.load_image(tmp_path / "scan.mha")
    assert loaded.dtype == np.dtype(stored)
    np.testing.assert_array_equal(loaded.voxels, voxels.astype(stored))


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(mj.io.UnsupportedFileError, match="complex64"):
        mj.save_image(mj.Image.from_array(np.ones(SHAPE, np.complex64)), tmp_path / "scan.mha")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["mha", "mhd"])
def test_metadata_survive(suffix: str, tmp_path: Path) -> None:
    """100 KB of them too, which go into pieces: SimpleITK refuses files with values of 32 KB."""
    image = mj.Image.from_array(VOXELS, affine=OBLIQUE, metadata=METADATA)
    path = tmp_path / f"scan.{suffix}"
    mj.save_image(image, path)
    assert metadata_of(mj.load_image(path)).replace(extra={}) == SHARED.replace(source=path.name)
    theirs = sitk.ReadImage(str(path))
    assert theirs.GetMetaData("Modality") == "MET_MOD_CT"
    np.testing.assert_array_equal(as_itk(sitk.GetArrayFromImage(theirs)), VOXELS)
    lines = path.read_bytes().split(b"ElementDataFile")[0].split(b"\n")
    assert max(map(len, lines)) < 32767
    assert all(line.isascii() for line in lines)


def test_metadata_survive_simpleitk(tmp_path: Path) -> None:
    mj.save_image(mj.Image.from_array(VOXELS, metadata=METADATA, kind="label"), tmp_path / "ours.mha")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "ours.mha")), str(tmp_path / "theirs.mha"))
    loaded = mj.load_image(tmp_path / "theirs.mha")
    assert metadata_of(loaded).replace(extra={}) == SHARED.replace(source="theirs.mha")
    assert loaded.kind == "label"


def test_header_fields_are_kept(tmp_path: Path) -> None:
    text = header(Modality="MET_MOD_MR", MyKey="some value", ElementNumberOfChannels="1", CenterOfRotation="1 2 3")
    image = mj.load_image(write(tmp_path / "scan.mha", text))
    extra = metadata_of(image).extra
    assert metadata_of(image).modality == "MR"
    assert (extra["MyKey"], extra["NDims"], extra["DimSize"]) == ("some value", 3, [5, 4, 3])
    assert (extra["CenterOfRotation"], extra["BinaryData"]) == ([1.0, 2.0, 3.0], True)
    json.dumps(dict(extra))
    mj.save_image(image, tmp_path / "again.mha")
    again = metadata_of(mj.load_image(tmp_path / "again.mha"))
    assert (again.modality, again.extra["MyKey"], again.extra["DimSize"]) == ("MR", "some value", [5, 4, 3])
    assert sitk.ReadImage(str(tmp_path / "again.mha")).GetMetaData("MyKey") == "some value"


def test_labels_say_so(tmp_path: Path) -> None:
    image = mj.Image.from_array(voxels_of("u2"), affine=OBLIQUE, kind="label")
    mj.save_image(image, tmp_path / "labels.mha")
    assert mj.load_image(tmp_path / "labels.mha").kind == "label"
    floats = write(tmp_path / "odd.mha", header(MedjaxKind="label", ElementType="MET_FLOAT"), RAW + RAW)
    assert mj.load_image(floats).kind == "intensity"  # labels are integers


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        (mj.Metadata(display={"a": object()}), mj.io.UnsupportedFileError),
        (mj.Metadata(display={"a": {1: 2}, "b": b"x"}), mj.io.UnsupportedFileError),
    ],
)
@pytest.mark.parametrize("suffix", ["mha", "mhd"])
def test_failed_writing_leaves_the_old_file(
    metadata: mj.Metadata, error: type[Exception], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"scan.{suffix}"
    mj.save_image(mj.Image.from_array(VOXELS), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(error, match="cannot be saved"):
        mj.save_image(mj.Image.from_array(VOXELS + 1, metadata=metadata), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_header_is_written_after_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between the two, there is no header, so nothing can be read wrongly."""
    path = tmp_path / "scan.mhd"
    mj.save_image(mj.Image.from_array(VOXELS), path, compress=False)
    replace = Path.replace

    def stop_at_header(self: Path, target: Path) -> Path:
        if Path(target).suffix == ".mhd":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_header)
    with pytest.raises(KeyboardInterrupt):
        mj.save_image(mj.Image.from_array(np.zeros((2, 2, 2), np.int16)), path, compress=False)
    assert not path.exists()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("stem", ["LIST", "LISTING", "LOCAL", "a b", "größe", "x.y"])
def test_awkward_names(stem: str, tmp_path: Path) -> None:
    mj.save_image(mj.Image.from_array(VOXELS), tmp_path / f"{stem}.mhd")
    np.testing.assert_array_equal(mj.load_image(tmp_path / f"{stem}.mhd").voxels, VOXELS)
    np.testing.assert_array_equal(read_itk(tmp_path / f"{stem}.mhd")[0], VOXELS)


def test_per_cent_sign_in_a_detached_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mj.io.UnsupportedFileError, match="%"):
        mj.save_image(mj.Image.from_array(VOXELS), tmp_path / "50%.mhd")
    mj.save_image(mj.Image.from_array(VOXELS), tmp_path / "50%.mha")
    np.testing.assert_array_equal(mj.load_image(tmp_path / "50%.mha").voxels, VOXELS)


# --- the public data ------------------------------------------------------------------------------------------------


def expected(source: str) -> dict[str, Any]:
    if not DATA.is_dir():
        return {}
    file = {"sitk": "expected.json", "truth": "synthetic/truth.json"}[source]
    content = json.loads((DATA / file).read_text())
    items = content["items"] if source == "sitk" else content
    return {name: item for name, item in items.items() if name.endswith((".mha", ".mhd"))}


# Items on which SimpleITK is wrong; what is right is in truth.json and tested there.
NOT_FROM_SIMPLEITK = ("zlib_nosize.mha", "short.mha", "escape.mhd")


@needs_data
@pytest.mark.parametrize("name", [name for name in expected("sitk") if not name.endswith(NOT_FROM_SIMPLEITK)])
def test_public_files_are_read_as_simpleitk_does(name: str) -> None:
    """SimpleITK is the truth for MetaImage; its numbers were rounded to nine digits in expected.json."""
    item = expected("sitk")[name]["sitk"]
    image = mj.load_image(DATA / name)
    assert image.dtype == np.dtype(item["dtype"])
    n = len(item["size_xyz"])
    assert image.shape[:n] == tuple(item["size_xyz"])
    voxels = image.voxels if n == 3 else image.voxels[:, :, 0]
    stored = as_itk(voxels) if n == 3 else voxels.T
    assert hashlib.sha256(np.ascontiguousarray(stored, dtype=np.float32).tobytes()).hexdigest() == item["sha256_f32"]
    np.testing.assert_allclose(image.spacing[:n], item["spacing"], rtol=1e-8)
    np.testing.assert_allclose(image.origin[:n], item["origin"], rtol=1e-8)
    np.testing.assert_allclose(image.direction[:n, :n], np.reshape(item["direction"], (n, n)), atol=1e-9)


@needs_data
@pytest.mark.parametrize("name", expected("truth"))
def test_synthetic_files_are_read_as_they_were_made(name: str) -> None:
    """truth.json holds what was written into the file, so it is right where SimpleITK is not."""
    truth, path = expected("truth")[name], DATA / "synthetic" / name
    if "error" in truth:
        kind, message = {
            "truncated": (mj.io.TruncatedFileError, "expected 1152 bytes, found 1102"),
            "path": (mj.ImageFileError, "outside the header's folder"),
        }[truth["error"]]
        with pytest.raises(kind, match=message):
            mj.load_image(path)
        return
    image = mj.load_image(path)
    assert image.dtype == np.dtype(truth["dtype"])
    assert list(image.voxels.shape) == truth["shape_xyz"]
    assert float_hash(image.voxels) == truth["sha256_f32_zyx"]
    np.testing.assert_allclose(image.spacing, truth["spacing"], rtol=1e-15)  # the text has 17 digits
    np.testing.assert_allclose(image.origin, truth["origin"], rtol=1e-15)
    np.testing.assert_allclose(image.direction, np.reshape(truth["direction"], (3, 3)), atol=1e-15)


def test_every_public_file_has_a_test() -> None:
    if not DATA.is_dir():
        pytest.skip("../shared/data is not here")
    found = {os.fspath(path.relative_to(DATA)) for path in DATA.rglob("*.mh[ad]")}
    assert found == set(expected("sitk"))
    assert {name.removeprefix("synthetic/") for name in found if name.startswith("synthetic")} == set(expected("truth"))
