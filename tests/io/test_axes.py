"""What a trailing axis is, and its step, through every pair of formats both ways, and as other programs read it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

import medjax as mj

# Private: the meaning of trailing axes. It passes from format to format, and no public name shows it.
from medjax.io._disk._axes import Axis, trailing_axes

ENDINGS = (".nii.gz", ".mha", ".nrrd")
SHAPE = (4, 5, 6)


def values(*channels: int, dtype: Any = np.float32) -> np.ndarray:
    return np.arange(np.prod((*SHAPE, *channels))).reshape(*SHAPE, *channels).astype(dtype)


def sitk_series(count: int = 7, step: float = 2.5) -> Any:
    volumes = [sitk.GetImageFromArray(volume.transpose(2, 1, 0)) for volume in np.moveaxis(values(count), -1, 0)]
    return sitk.JoinSeries(volumes, 0.0, step)


def source(folder: Path, meaning: str, ending: str) -> Path:
    """A file of another program's making: 7 volumes 2.5 s apart, or vectors of 3 components, or RGB."""
    path = folder / f"source{ending}"
    if ending == ".nrrd" and meaning == "time":
        header = {
            "space": "left-posterior-superior", "space origin": [0, 0, 0], "kinds": ["domain"] * 3 + ["time"],
            "space directions": [*np.eye(3), [np.nan] * 3], "spacings": [np.nan] * 3 + [2.5], "units": ["", "", "", "s"],
        }  # fmt: skip
        nrrd.write(str(path), values(7), header)
        return path
    if meaning == "time":
        sitk.WriteImage(sitk_series(), str(path))
        return path
    dtype = np.uint8 if meaning == "colour" else np.float32
    array = values(3, dtype=dtype)
    if meaning == "colour" and ending == ".nii.gz":
        rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        nib.save(nib.Nifti1Image(np.ascontiguousarray(array).view(rgb)[..., 0], np.diag([-1, -1, 1, 1])), path)
    elif meaning == "colour":
        header = {
            "space": "left-posterior-superior", "space origin": [0, 0, 0], "kinds": ["RGB-color"] + ["domain"] * 3,
            "space directions": [[np.nan] * 3, *np.eye(3)],
        }  # fmt: skip
        nrrd.write(str(path), np.moveaxis(array, -1, 0), header)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array.transpose(2, 1, 0, 3), isVector=True), str(path))
    return path


@pytest.mark.parametrize(("first", "second", "third"), list(itertools.product(ENDINGS, repeat=3)))
def test_time_and_its_step_go_through_all_formats(tmp_path: Path, first: str, second: str, third: str) -> None:
    image = mj.load_image(source(tmp_path, "time", first))
    for number, ending in enumerate((second, third)):
        mj.save_image(image, tmp_path / f"{number}{ending}")
        image = mj.load_image(tmp_path / f"{number}{ending}")
    np.testing.assert_array_equal(image.voxels, values(7))
    (axis,) = trailing_axes(image)
    assert (axis.meaning, axis.step) == ("time", 2.5)
    if first != ".mha":  # whose fourth dimension has no unit
        assert axis.unit == "s"
    path = tmp_path / f"1{third}"
    if third == ".nii.gz":
        header: Any = nib.load(path).header  # type: ignore[attr-defined]
        assert (header.get_data_shape(), float(header["pixdim"][4])) == ((4, 5, 6, 7), 2.5)
        assert header.get_xyzt_units() == ("mm", "unknown" if first == ".mha" else "sec")
    elif third == ".mha":
        assert sitk.ReadImage(str(path)).GetSpacing() == (1, 1, 1, 2.5)
    else:
        header = nrrd.read_header(str(path))
        assert (header["kinds"], header["spacings"][3]) == (["domain"] * 3 + ["time"], 2.5)


@pytest.mark.parametrize(("first", "second", "third"), list(itertools.product(ENDINGS, repeat=3)))
def test_vectors_stay_vectors(tmp_path: Path, first: str, second: str, third: str) -> None:
    """SimpleITK says so by its pixel type, of each file."""
    image = mj.load_image(source(tmp_path, "vector", first))
    for number, ending in enumerate((second, third)):
        path = tmp_path / f"{number}{ending}"
        mj.save_image(image, path)
        image = mj.load_image(path)
        theirs = sitk.ReadImage(str(path))
        assert (theirs.GetDimension(), theirs.GetNumberOfComponentsPerPixel()) == (3, 3), ending
        np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs).transpose(2, 1, 0, 3), values(3))
    np.testing.assert_array_equal(image.voxels, values(3))
    assert [axis.meaning for axis in trailing_axes(image)] == ["vector"]


@pytest.mark.parametrize(("first", "second"), list(itertools.product((".nii.gz", ".nrrd"), repeat=2)))
def test_colours_stay_colours(tmp_path: Path, first: str, second: str) -> None:
    mj.save_image(mj.load_image(source(tmp_path, "colour", first)), tmp_path / f"a{second}")
    again = mj.load_image(tmp_path / f"a{second}")
    np.testing.assert_array_equal(again.voxels, values(3, dtype=np.uint8))
    assert [axis.meaning for axis in trailing_axes(again)] == ["colour"]
    if second == ".nii.gz":
        header: Any = nib.load(tmp_path / "a.nii.gz").header  # type: ignore[attr-defined]
        assert header["datatype"] == 128
    else:
        assert nrrd.read_header(str(tmp_path / "a.nrrd"))["kinds"][0] == "RGB-color"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("unit", [8, 16, 24, 32])
def test_units_of_time(tmp_path: Path, ending: str, unit: int) -> None:
    """2 s, ms and us stay so long, in MetaImage as seconds as in ITK; hertz stay hertz."""
    theirs = nib.Nifti1Image(values(7), np.eye(4))
    theirs.header["xyzt_units"], theirs.header["pixdim"][4] = 2 | unit, 2
    nib.save(theirs, tmp_path / "a.nii")
    mj.save_image(mj.load_image(tmp_path / "a.nii"), tmp_path / f"b{ending}")
    (axis,) = trailing_axes(mj.load_image(tmp_path / f"b{ending}"))
    if unit == 32:
        assert (axis.step, axis.unit) == (2.0, "Hz")
    else:
        assert axis.seconds == {8: 2.0, 16: 2e-3, 24: 2e-6}[unit]
    if ending == ".mha":
        assert sitk.ReadImage(str(tmp_path / "b.mha")).GetSpacing()[3] == {8: 2.0, 16: 2e-3, 24: 2e-6, 32: 2.0}[unit]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("origin", ENDINGS)
def test_the_step_stays_when_volumes_are_dropped(tmp_path: Path, origin: str, ending: str) -> None:
    image = mj.load_image(source(tmp_path, "time", origin))
    mj.save_image(image.with_voxels(np.asarray(image.voxels)[..., 3:]), tmp_path / f"a{ending}")
    again = mj.load_image(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(again.voxels, values(7)[..., 3:])
    assert [(axis.meaning, axis.step) for axis in trailing_axes(again)] == [("time", 2.5)]
    mj.save_image(image.with_voxels(np.asarray(image.voxels)[..., 3]), tmp_path / f"b{ending}")
    assert mj.load_image(tmp_path / f"b{ending}").channels == ()


def dicom(**changes: Any) -> dict[str, Any]:
    """The header of four volumes of three slices, two seconds apart, as the DICOM reader keeps it."""
    volumes = {"by": ["TemporalPositionIdentifier"], "values": [[1], [2], [3], [4]]}
    times = [[f"1200{2 * volume:02d}" for volume in range(4)]] * 3
    known = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "RepetitionTime": 2000.0, "volumes": volumes}
    return known | {"per_slice": {"AcquisitionTime": times}} | changes


def with_times(*times: str) -> dict[str, Any]:
    return {"per_slice": {"AcquisitionTime": [list(times)] * 3}}


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (dicom(), Axis("time", 2.0, "s")),
        (dicom(RepetitionTime=2001.5), Axis("time", 2.0015, "s")),  # the times are rounded to whole seconds
        (dicom(RepetitionTime=3.4), Axis("time", 2.0, "s")),  # of a gradient echo: not the volumes'
        (dicom(RepetitionTime=3.4, TemporalResolution=1900.0), Axis("time", 1.9, "s")),
        (dicom(per_slice={}), Axis("time")),
        (dicom(per_slice={}, ScanningSequence="EP"), Axis("time", 2.0, "s")),
        (dicom(per_slice={}, ScanningSequence=["GR", "EP"]), Axis("time", 2.0, "s")),
        (dicom(RepetitionTime=None, **with_times("100000", "100010", "100030", "100040")), Axis("time")),  # uneven
        (dicom(RepetitionTime=None, **with_times("235958", "000000", "000002", "000004")), Axis("time", 2.0, "s")),
        (dicom(volumes={"by": ["EchoTime"], "values": [[1], [2], [3], [4]]}), Axis("list")),
    ],
)
def test_volumes_of_dicom(extra: dict[str, Any], expected: Axis) -> None:
    image = mj.Image.from_array(values(4), metadata=mj.Metadata(extra=extra))
    assert trailing_axes(image) == (expected,)


def test_unknown_axes_are_as_before(tmp_path: Path) -> None:
    """An array of the caller's own: NIfTI's fourth axis, channels of MetaImage, a vector of NRRD."""
    image = mj.Image.from_array(values(3))
    assert trailing_axes(image) == (Axis(),)
    for ending in ENDINGS:
        mj.save_image(image, tmp_path / f"a{ending}")
    assert nib.load(tmp_path / "a.nii.gz").shape == (*SHAPE, 3)  # type: ignore[attr-defined]
    assert sitk.ReadImage(str(tmp_path / "a.mha")).GetNumberOfComponentsPerPixel() == 3
    assert nrrd.read_header(str(tmp_path / "a.nrrd"))["kinds"][0] == "vector"


def test_a_header_that_says_nothing_sensible_is_no_axis() -> None:
    for extra in ({"dim": [9]}, {"DimSize": "4"}, {"sizes": 3, "encoding": 1}, {"SOPClassUID": 1, "volumes": 3}):
        image = mj.Image.from_array(values(3), metadata=mj.Metadata(extra=extra))
        assert trailing_axes(image) == (Axis(),)
