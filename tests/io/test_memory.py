"""Images of nibabel and SimpleITK in memory, against what these write and `load_image` reads, and the reverse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from itk_files import DTYPES, OBLIQUE, ORIGIN, SPACING, TURN, as_itk, metadata_of, voxels_of
from nifti_bytes import OBLIQUE as OBLIQUE_RAS
from nifti_bytes import lps, nifti_bytes, ramp

import medjax as mj
from medjax import io

# Private: the meaning of trailing axes, which no public name shows.
from medjax.io._disk._axes import trailing_axes

NOTE = mj.Metadata(modality="MR", subtype="T1", display={"window": [1, 2]}, patient_id="123")


def assert_same(found: mj.Image, expected: mj.Image, atol: float = 0.0) -> None:
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    assert (found.dtype, found.kind, found.channels) == (expected.dtype, expected.kind, expected.channels)
    np.testing.assert_allclose(found.affine, expected.affine, rtol=0, atol=atol)
    assert [a.meaning for a in trailing_axes(found)] == [a.meaning for a in trailing_axes(expected)]
    assert isinstance(found.voxels, np.ndarray)
    assert not found.voxels.flags.writeable


# nibabel

CODES = sorted(code for code in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "c8", "c16"))


def theirs(voxels: Any, affine: Any = OBLIQUE_RAS, **fields: Any) -> Any:
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    for name, value in fields.items():
        image.header[name] = value
    return image


NIBABEL: dict[str, Any] = {
    **{code: lambda code=code: theirs(ramp(dtype=code)) for code in CODES},
    "big endian": lambda: nib.Nifti1Image.from_bytes(nifti_bytes(ramp(), order=">")),
    "scaled": lambda: nib.Nifti1Image.from_bytes(nifti_bytes(ramp(), scl_slope=0.37, scl_inter=-3.2)),
    "scaled, big endian, NIfTI-2": lambda: nib.Nifti2Image.from_bytes(
        nifti_bytes(ramp(), scl_slope=0.37, scl_inter=-3.2, order=">", version=2)
    ),
    "microns": lambda: nib.Nifti1Image.from_bytes(nifti_bytes(ramp(), xyzt_units=3)),
    "time": lambda: theirs(ramp((7, 5, 4, 3)), xyzt_units=10, pixdim=[1, 1, 1, 1, 2.5, 0, 0, 0]),
    "vectors": lambda: theirs(ramp((7, 5, 4, 1, 3), "f4"), intent_code=1007),
    "labels": lambda: theirs(ramp(dtype="u1"), intent_code=1002),
    "statistic": lambda: theirs(ramp(dtype="f4"), intent_code=3, intent_p1=12, cal_max=9, descrip=b"a t test"),
    "two dimensions": lambda: theirs(ramp((7, 5))),
    "sheared": lambda: theirs(
        ramp(), OBLIQUE_RAS @ np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    ),
    "RGB": lambda: theirs(ramp((7, 5, 4, 3), "u1").view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]),
}


@pytest.mark.filterwarnings("ignore::medjax.ImageFileWarning")
@pytest.mark.parametrize("name", NIBABEL)
def test_from_nibabel_is_as_from_its_file(tmp_path: Path, name: str) -> None:
    """Of a scaled image the file is the one that it was read from: nibabel scales anew when it saves."""
    image = NIBABEL[name]()
    path = tmp_path / "a.nii"
    if nib.is_proxy(image.dataobj):
        path.write_bytes(image.to_bytes() if "scaled" not in name else nifti_bytes(
            ramp(), scl_slope=0.37, scl_inter=-3.2, **({"order": ">", "version": 2} if "2" in name else {})
        ))  # fmt: skip
    else:
        nib.save(image, path)
    found, expected = io.from_nibabel(image), mj.load_image(path)
    assert_same(found, expected, atol=2e-5)  # float32 of 90 mm
    assert {**metadata_of(found).extra} == {**metadata_of(expected).extra}
    if name != "microns":  # whose affine is in microns
        np.testing.assert_array_equal(found.affine, lps(image.affine))  # in float64


def test_from_nibabel_copies_and_takes_other_classes() -> None:
    array = ramp()
    image = theirs(array)
    found = io.from_nibabel(image, kind="label")
    array[:] = 0
    np.testing.assert_array_equal(found.voxels, ramp())
    assert found.kind == "label"
    mgh = nib.MGHImage(ramp(dtype="f4"), OBLIQUE_RAS.astype(np.float32))
    np.testing.assert_array_equal(io.from_nibabel(mgh).voxels, ramp())
    np.testing.assert_allclose(io.from_nibabel(mgh).affine, lps(OBLIQUE_RAS), atol=2e-5)


OURS: dict[str, mj.Image] = {
    **{code: mj.Image.from_array(voxels_of(code), affine=OBLIQUE) for code in DTYPES},
    "bool": mj.Image.from_array(voxels_of("u1") > 99, affine=OBLIQUE, kind="label"),
    "half": mj.Image.from_array(ramp(dtype="f2")),
    "labels": mj.Image.from_array(voxels_of("u2"), affine=OBLIQUE, kind="label", metadata=NOTE),
    "channels": mj.Image.from_array(voxels_of("i2", (5, 4, 3, 2)), affine=OBLIQUE),
    "one channel": mj.Image.from_array(voxels_of("i2", (5, 4, 3, 1)), affine=OBLIQUE),
    "left-handed": mj.Image.from_array(voxels_of("i2"), spacing=SPACING, origin=ORIGIN, direction=TURN * [1, 1, -1]),
}


def time_series(unit: int = 10) -> mj.Image:
    extra = {"dim": [4, 5, 4, 3, 7, 1, 1, 1], "pixdim": [1, 1, 1, 1, 2.5, 0, 0, 0], "xyzt_units": unit}
    metadata = mj.Metadata(extra=extra)
    return mj.Image.from_array(voxels_of("i2", (5, 4, 3, 7)), affine=OBLIQUE, metadata=metadata)


def vectors() -> mj.Image:
    metadata = mj.Metadata(extra={"intent_code": 1007})
    return mj.Image.from_array(voxels_of("f4", (5, 4, 3, 3)), affine=OBLIQUE, metadata=metadata)


@pytest.mark.parametrize("name", [*OURS, "time", "vectors", "complex"])
def test_to_nibabel_is_as_its_file(tmp_path: Path, name: str) -> None:
    complex_image = mj.Image.from_array(ramp(dtype="c8"), affine=OBLIQUE)
    image = {**OURS, "time": time_series(), "vectors": vectors(), "complex": complex_image}[name]
    found = io.to_nibabel(image)
    mj.save_image(image, tmp_path / "a.nii")
    expected: Any = nib.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))
    assert found.get_data_dtype() == expected.get_data_dtype()
    np.testing.assert_array_equal(found.affine, image.affine_ras)
    for field in ("dim", "intent_code", "xyzt_units", "pixdim", "sform_code", "qform_code"):
        np.testing.assert_array_equal(found.header[field], expected.header[field])
    again = io.from_nibabel(found)
    assert_same(again, mj.load_image(tmp_path / "a.nii"))
    nib.save(found, tmp_path / "b.nii")
    assert_same(mj.load_image(tmp_path / "b.nii"), again, atol=2e-5)


# SimpleITK

SITK: dict[str, Any] = {
    **{code: lambda code=code: sitk.GetImageFromArray(as_itk(voxels_of(code))) for code in DTYPES},
    "two dimensions": lambda: sitk.GetImageFromArray(voxels_of("i2", (5, 4))),
    "vectors": lambda: sitk.GetImageFromArray(as_itk(voxels_of("f4", (5, 4, 3, 3))), isVector=True),
    "time": lambda: sitk.JoinSeries(
        [sitk.GetImageFromArray(as_itk(voxels_of("f4", seed=n))) for n in range(4)], 1.0, 2.5
    ),
    "vectors of time": lambda: sitk.JoinSeries(
        [sitk.GetImageFromArray(as_itk(voxels_of("f4", (5, 4, 3, 2), n)), isVector=True) for n in range(4)], 1.0, 2.5
    ),
}


@pytest.mark.parametrize("name", SITK)
def test_from_sitk_is_as_from_its_file(tmp_path: Path, name: str) -> None:
    image = SITK[name]()
    n = image.GetDimension()
    matrix = np.eye(n)
    matrix[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
    image.SetDirection(matrix.ravel().tolist())
    image.SetOrigin([1.5, -2.25, 3.0, 0.0][:n])
    image.SetSpacing([0.5, 2.0, 3.0, 2.5][:n])
    image.SetMetaData("Comment", "made by a test")
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    found, expected = io.from_sitk(image), mj.load_image(tmp_path / "a.mha")
    assert_same(found, expected)
    assert metadata_of(found).extra["Comment"] == "made by a test"
    assert [axis.step for axis in trailing_axes(found)] == [axis.step for axis in trailing_axes(expected)]


@pytest.mark.parametrize("name", [*OURS, "time", "vectors"])
def test_to_sitk_is_as_its_file(tmp_path: Path, name: str) -> None:
    image = {**OURS, "time": time_series(), "vectors": vectors()}[name]
    found = io.to_sitk(image)
    mj.save_image(image, tmp_path / "a.mha")
    expected = sitk.ReadImage(str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected))
    assert found.GetPixelID() == expected.GetPixelID()
    for part in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(found, part)(), getattr(expected, part)(), rtol=1e-15, err_msg=part)
    again = io.from_sitk(found)
    assert_same(again, mj.load_image(tmp_path / "a.mha"))
    if name == "labels":
        kept = metadata_of(again)
        assert (kept.modality, kept.display, kept.patient_id) == ("MR", {"window": [1, 2]}, None)
        assert "123" not in "".join(found.GetMetaData(key) for key in found.GetMetaDataKeys())
    sitk.WriteImage(found, str(tmp_path / "b.mha"))
    assert_same(mj.load_image(tmp_path / "b.mha"), again)


@pytest.mark.parametrize("unit", [10, 18, 26])
def test_a_step_of_time_is_seconds_in_sitk(unit: int) -> None:
    theirs = io.to_sitk(time_series(unit))
    assert theirs.GetSpacing()[3] == {10: 2.5, 18: 2.5e-3, 26: 2.5e-6}[unit]
    (axis,) = trailing_axes(io.from_sitk(theirs))
    assert (axis.meaning, axis.unit) == ("time", "s")


def test_complex_voxels_go_through_sitk() -> None:
    image = mj.Image.from_array(ramp(dtype="c8"), affine=OBLIQUE)
    np.testing.assert_array_equal(io.from_sitk(io.to_sitk(image)).voxels, image.voxels)


def test_voxels_are_copies() -> None:
    ours = mj.Image.from_array(ramp())
    for there, back in ((io.to_sitk, io.from_sitk), (io.to_nibabel, io.from_nibabel)):
        theirs = there(ours)
        again = back(theirs)
        if there is io.to_sitk:
            theirs[0, 0, 0] = 77
        else:
            theirs.dataobj[0, 0, 0] = 77
        assert (int(ours.voxels[0, 0, 0]), int(again.voxels[0, 0, 0])) == (-50, -50)


def test_what_cannot_be_is_refused_by_name() -> None:
    shear = np.eye(4)
    shear[0, 1] = 0.3
    with pytest.raises(ValueError, match=r"sheared, 16\.7 degrees off a right angle, which SimpleITK cannot hold"):
        io.to_sitk(mj.Image.from_array(ramp(), affine=shear))
    five = mj.Image.from_array(np.zeros((2, 2, 2, 2, 2, 2)))
    with pytest.raises(io.UnsupportedFileError, match="SimpleITK holds 4 dimensions"):
        io.to_sitk(five)
    for call in (io.to_sitk, io.to_nibabel):
        with pytest.raises(ValueError, match="a batch of shape"):
            call(mj.stack([mj.Image.from_array(ramp())]))
    for call in (io.from_sitk, io.from_nibabel):
        with pytest.raises(TypeError, match="expected an image of"):
            call(ramp())
    labels = sitk.BinaryImageToLabelMap(sitk.GetImageFromArray(np.ones((3, 4, 5), np.uint8)))
    with pytest.raises(TypeError, match="expected voxels, got a label"):
        io.from_sitk(labels)


@pytest.mark.parametrize(
    ("module", "calls"), [("SimpleITK", (io.to_sitk, io.from_sitk)), ("nibabel", (io.to_nibabel, io.from_nibabel))]
)
def test_a_missing_library_is_named(module: str, calls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for call in calls:
        with pytest.raises(ImportError, match=f"package {module}: pip install {module}"):
            call(mj.Image.from_array(ramp()))
