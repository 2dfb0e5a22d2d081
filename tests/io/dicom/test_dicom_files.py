"""Real DICOM files of ../shared/data: for each what is right, whose word that is, and why.

Voxels are compared by hash, in the grid of the reader that is right: `expected.json` holds what each reader made of them.
For a regular stack of classic files that is SimpleITK. dcm2niix is right about tilt, repeats, mosaics and enhanced objects,
where SimpleITK is silently wrong. SimpleITK also inverts MONOCHROME1.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from shared_data import DATA, needs_data

import medjax as mj

pytestmark = needs_data

EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text())["items"] if DATA.is_dir() else {}
TRUTH: dict[str, Any] = json.loads((DATA / "synthetic" / "truth.json").read_text()) if DATA.is_dir() else {}

REGULAR = "a regular stack: SimpleITK orders by position as well"
CODEC = "one lossless image in another encoding"
PICTURE = "a picture without a place: SimpleITK's voxels, at the origin with a warning"
VOLUMES = "several volumes: SimpleITK piles them up, dcm2niix tells them apart"

# What the named reader has is right.
LIKE = {
    "dicom/ct_enhanced_2frame.dcm": ("dcm2niix", "frames ascend along the normal, which points to the feet here"),
    "dicom/ct_head_axial_93": ("sitk", REGULAR),
    "dicom/ct_neg_iop": ("sitk", REGULAR),
    "dicom/dicomdir_tree/98892001/CT5N": ("sitk", REGULAR),
    "dicom/mr_12bit_dirty_highbits_unsigned.dcm": ("dcm2niix", "a mosaic with garbage above bit 11"),
    "dicom/mr_compressed_j2k": ("sitk", CODEC),
    "dicom/mr_compressed_jpeg": ("sitk", CODEC),
    "dicom/mr_compressed_jpegls": ("sitk", CODEC),
    "dicom/mr_compressed_rle": ("sitk", CODEC),
    "dicom/mr_enhanced_balls_T1.dcm": (
        "sitk",
        "one volume with one scaling; dcm2niix scales by Philips' private factor",
    ),
    "dicom/mr_enhanced_balls_T2.dcm": ("sitk", "as T1"),
    "dicom/mr_enhanced_siemens_xa10_4d": ("dcm2niix", VOLUMES),
    **{f"dicom/mr_enhanced_siemens_xa10_4d/6_{n}.dcm": ("dcm2niix", "one volume of the series") for n in (1, 2, 3, 4)},
    "dicom/mr_ge_fmri_4d": ("dcm2niix", VOLUMES),
    "dicom/mr_per_slice_slope": ("sitk", "the first slice's slope is not 1, so SimpleITK scales each slice in float"),
    "dicom/mr_philips_fmri_4d": ("dcm2niix", VOLUMES),
    "dicom/mr_rgb_j2k": ("sitk", "colour in the last axis"),
    "dicom/mr_sag_decubitus_right": ("sitk", REGULAR),
    "dicom/mr_siemens_mosaic_ax": (
        "dcm2niix",
        "tiles are slices, files are moments; the structured report is left aside",
    ),
    "dicom/mr_two_slices": ("sitk", REGULAR),
    "dicom/pet_ac_part": ("sitk", "each slice has its own slope; steps differ by 0.02 mm of 3.27"),
    **{f"dicom/seg_24x38x3/image/IMG000{n}.dcm": ("dcm2niix", "one slice") for n in (1, 2, 3)},
    "dicom/seg_24x38x3/multiframe/mf.dcm": ("sitk", "a legacy converted object without dimensions"),
    "dicom/seg_24x38x3/seg/label.seg": ("dcm2niix", "labels are 0 and 1; SimpleITK stretches them to 255"),
    "dicom/singles/CT_small.dcm": ("sitk", "one slice"),
    "dicom/singles/J2K_pixelrep_mismatch.dcm": ("sitk", "signed as its header says, as pydicom has it; dcm2niix wraps"),
    "dicom/singles/JPEG-lossy.dcm": ("sitk", "12-bit JPEG through GDCM, on which SimpleITK stands too"),
    "dicom/singles/JPGExtended.dcm": ("sitk", "as JPEG-lossy.dcm"),
    "dicom/singles/JPEG2000.dcm": ("sitk", PICTURE),
    "dicom/singles/MR_small.dcm": ("sitk", "one slice"),
    "dicom/singles/MR_small_RLE.dcm": ("sitk", CODEC),
    "dicom/singles/MR_small_bigendian.dcm": ("sitk", CODEC),
    "dicom/singles/MR_small_implicit.dcm": ("sitk", CODEC),
    "dicom/singles/MR_small_jp2klossless.dcm": ("sitk", CODEC),
    "dicom/singles/MR_small_jpeg_ls_lossless.dcm": ("sitk", CODEC),
    "dicom/singles/MR_small_padded.dcm": ("sitk", "bytes after the pixels do not matter"),
    "dicom/singles/SC_rgb_small_odd.dcm": ("sitk", PICTURE),
    "dicom/singles/image_dfl.dcm": ("sitk", PICTURE + "; the whole data set is deflated"),
    "dicom/singles/liver_1frame.dcm": ("dcm2niix", "labels are 0 and 1"),
    "dicom/singles/us_rgb_planar.dcm": ("sitk", PICTURE + "; its colours are planes"),
    "MedImages.jl/test_data/ScalarVolume_0": ("sitk", REGULAR),
    "synthetic/dicom/descending": ("sitk", REGULAR),
    "synthetic/dicom/iop_rounded": ("sitk", REGULAR),
    "synthetic/dicom/jitter_small": ("sitk", REGULAR),
    "synthetic/dicom/monochrome1": ("dcm2niix", "inversion is a matter of display; SimpleITK inverts"),
    "synthetic/dicom/padding_value": ("sitk", "padding is scaled like any value"),
    "synthetic/dicom/per_slice_slope": ("dcm2niix", "SimpleITK takes the type from the first slice and truncates"),
    "synthetic/dicom/shuffled_names_and_numbers": ("sitk", REGULAR),
    "synthetic/dicom/signed12": ("sitk", "the sign is bit 11"),
    "synthetic/dicom/temporal": ("truth", VOLUMES + " but calls no one right about the order of axes in its hash"),
    "synthetic/dicom/thickness_lies": ("sitk", "positions win"),
    "synthetic/dicom/tilt_untagged": ("truth", "the sheared affine; SimpleITK leaves the tilt out, dcm2niix rounds it"),
    "synthetic/dicom/dup_identical": ("truth", "a copy is left out; both others keep it as a slice of its own"),
    "synthetic/dicom/no_preamble": ("truth", "neither SimpleITK nor dcm2niix opens it"),
    "synthetic/dicom/unicode pfad ąęß/日本": ("sitk", REGULAR),
    "synthetic/dicom/unsigned12_dirty": ("sitk", "bits above 11 do not count"),
}

# A scan is not what its folder holds.
REFUSED = {
    "dicom/ct_missing_slice": ("NonUniformSpacingError", "1 slice missing between IM-0001-0009-0001.dcm", "one of five slices is missing"),
    "dicom/ct_same_position": ("DuplicatePositionError", "4 different slices at one position", "one place watched over time, without times"),
    "dicom/ct_tilt_variable_spacing": ("NonUniformSpacingError", "leans 18.5 degrees", "tilted and unevenly spaced: no affine holds it"),
    "dicom/dicomdir_tree": ("MultipleSeriesError", "there are 13 series", "a whole archive"),
    "dicom/dicomdir_tree/77654033/CT2": ("NonUniformSpacingError", "161 slices missing", "four slices of a long scan"),
    "dicom/dicomdir_tree/98892001/CT2N": ("MultipleSeriesError", "2 stacks", "two scouts at a right angle"),
    "dicom/dicomdir_tree/98892003/MR1": ("MultipleSeriesError", "3 series", "three pilots"),
    "dicom/dicomdir_tree/98892003/MR2": ("MultipleSeriesError", "3 series", "pilots in three directions"),
    "dicom/dicomdir_tree/98892003/MR700": ("MultipleSeriesError", "7 stacks", "a projection turning about an axis"),
    "dicom/mr_two_orientations": ("MultipleSeriesError", "2 stacks", "sagittal and axial slices in one series"),
    "dicom/pet_rwv/RWV.dcm": ("NotAnImageError", "Real World Value Mapping", "numbers for another object"),
    "dicom/singles/ExplVR_BigEndNoMeta.dcm": ("NotAnImageError", "RT Ion Plan", "a plan"),
    "dicom/singles/MR_truncated.dcm": ("TruncatedFileError", "has 8130 of 8192 bytes", "never padded"),
    "dicom/singles/empty_charset_LEI.dcm": ("TruncatedFileError", "ends within its header", "states no SOP class"),
    "dicom/singles/no_meta.dcm": ("ImageFileError", "not DICOM", "a stray byte before the first element: nobody opens it"),
    "dicom/singles/reportsi.dcm": ("NotAnImageError", "Basic Text SR", "a report"),
    "dicom/singles/rtplan.dcm": ("NotAnImageError", "RT Plan", "a plan"),
    "dicom/singles/rtstruct.dcm": ("NotAnImageError", "RT Structure Set", "contours"),
    "dicom/singles/waveform_ecg.dcm": ("NotAnImageError", "12-lead ECG", "a curve"),
    "synthetic/dicom/dup_conflict": ("DuplicatePositionError", "003.dcm and zzz.dcm", "two images at one place"),
    "synthetic/dicom/missing_slice": ("NonUniformSpacingError", "1 slice missing", "a gap is not closed silently"),
    "synthetic/dicom/no_ipp": ("NoGeometryError", "7 of 7 slices have no ImagePositionPatient", "Instance Number is no position"),
    "synthetic/dicom/spacing_differs": ("InconsistentGeometryError", "PixelSpacing differs", "no one grid"),
    "synthetic/dicom/two_series": ("MultipleSeriesError", "2 series", "a choice"),
}  # fmt: skip


def path_of(item: str) -> Path:
    return DATA / "dicom" / "ct_seed_75" if item.startswith("MedImages.jl") else DATA / item


def load(item: str, **options: Any) -> mj.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mj.ImageFileWarning)
        return mj.io.load_dicom_series(path_of(item), **options)


def extra_of(image: mj.Image) -> Any:
    assert isinstance(image.metadata, mj.Metadata)
    return image.metadata.extra


def of_reader(item: str, reader: str) -> dict[str, Any]:
    if reader == "truth":
        return TRUTH[item.removeprefix("synthetic/")]
    found = EXPECTED[item][reader]
    found = found.get("images", found) if isinstance(found, dict) else found
    if isinstance(found, list):
        assert len(found) == 1, "the item is one image"
        return found[0]
    return found


def affine_of(reader: dict[str, Any]) -> np.ndarray:
    """The reader's affine, in its three axes of space."""
    n = len(reader["spacing"])
    direction = np.reshape(reader["direction"], (n, n))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * reader["spacing"][:3]
    affine[:3, 3] = reader["origin"][:3]
    return affine


def hash_of(voxels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(voxels).astype("<f4").tobytes()).hexdigest()


def laid_out_as(image: mj.Image, affine: np.ndarray) -> np.ndarray:
    """Voxels in the axes of another affine of the same lattice, agreeing to a hundredth of a voxel at every corner."""
    shape = np.array(image.shape)
    affine = affine.copy()
    axis = int(np.abs(np.linalg.inv(image.affine[:3, :3]) @ affine[:3, :3]).argmax(1)[2])
    if shape[2] == 1:  # nobody knows how thick a single slice is
        affine[:3, axis] *= np.linalg.norm(image.affine[:3, 2]) / np.linalg.norm(affine[:3, axis])
    mapping = np.linalg.inv(image.affine) @ affine  # their index to ours
    turn = np.round(mapping[:3, :3])
    assert (np.abs(turn).sum(0) == 1).all()
    assert (np.abs(turn).sum(1) == 1).all()
    order = [int(np.abs(turn[:, a]).argmax()) for a in range(3)]
    theirs = shape[order]
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in theirs])).reshape(3, -1)
    ours = (mapping[:3, :3] @ corners).T + mapping[:3, 3]
    exact = (turn @ corners).T + np.where(turn.sum(1) < 0, shape - 1, 0)
    np.testing.assert_allclose(ours, exact, atol=0.01)
    voxels = image.voxels.transpose(*order, *range(3, image.voxels.ndim))
    return np.flip(voxels, tuple(a for a in range(3) if turn[order[a], a] < 0))


def stored_order(voxels: np.ndarray, is_series: bool) -> np.ndarray:
    """(i, j, k, volume, channel) as readers hash it: (volume, k, j, i, channel)."""
    axes = (3, 2, 1, 0) if is_series else (2, 1, 0)
    return voxels.transpose(*axes, *range(len(axes), voxels.ndim))


@pytest.mark.parametrize("item", LIKE, ids=str)
def test_voxels_and_geometry_are_those_of_the_reader_that_is_right(item: str) -> None:
    name, _ = LIKE[item]
    reader = of_reader(item, name)
    image = load(item)
    digest = reader.get("sha256_f32", reader.get("sha256_f32_zyx"))
    is_placed = "geometry" not in extra_of(image) if isinstance(image.metadata, mj.Metadata) else True
    if not is_placed:
        np.testing.assert_array_equal(image.origin, (0, 0, 0))
        affine = image.affine
    elif "direction" in reader:
        affine = affine_of(reader)
    else:
        affine = image.affine
    voxels = laid_out_as(image, affine)
    assert hash_of(stored_order(voxels, is_series="volumes" in extra_of(image))) == digest


@pytest.mark.parametrize("item", REFUSED, ids=str)
def test_what_is_no_single_image_is_refused_by_its_reason(item: str) -> None:
    name, message, _ = REFUSED[item]
    with pytest.raises(getattr(mj.io, name), match=message.replace(".", r"\.")) as info:
        mj.load_image(path_of(item))
    assert type(info.value).__name__ == name
    assert Path(info.value.path).is_relative_to(path_of(item))


# The rest, each for itself.


def computed_radiographs(item: str) -> None:
    """MONOCHROME1 with slope and intercept: dcm2niix's values, to the float32 it computes in; SimpleITK inverts."""
    image = load(item)
    (reader,) = EXPECTED[item]["dcm2niix"]["images"]
    found = [image.voxels.min(), image.voxels.max(), image.voxels.astype(float).mean()]
    np.testing.assert_allclose(found, [reader["min"], reader["max"], reader["mean"]], rtol=1e-6)
    assert image.spacing[:2] == (0.1, 0.1)  # Imager Pixel Spacing, as SimpleITK; dcm2niix invents 1 mm
    assert isinstance(image.metadata, mj.Metadata)
    assert image.metadata.display["PhotometricInterpretation"] == "MONOCHROME1"


def digital_radiograph(item: str) -> None:
    """MONOCHROME1 again: the stored values."""
    image = load(item)
    assert hash_of(image.voxels[..., 0].T) == EXPECTED[item]["pydicom"]["stored_sha256_f32"]
    np.testing.assert_allclose(image.spacing[:2], EXPECTED[item]["sitk"]["spacing"][:2], rtol=1e-6)


def philips_map(item: str) -> None:
    """Magnitude and field map, each frame with its own scaling; nobody else scales both by what the header states."""
    image = load(item)
    extra = extra_of(image)["per_slice"]
    slope, intercept = np.array(extra["RescaleSlope"]), np.array(extra["RescaleIntercept"])
    assert sorted(intercept[0]) == [-500.0, 0.0]  # hertz, and none
    stored = np.round((image.voxels.astype(np.float64) - intercept) / slope)
    values = np.array(extra["DimensionIndexValues"])[0]  # (volume, dimension): the file runs through the third
    in_file = np.concatenate([stored[..., t] for t in np.argsort(values[:, 2])], axis=2)
    whole = item if "stored_sha256_f32" in EXPECTED[item]["pydicom"] else f"{item}/IM_0027_fMAP.dcm"
    assert hash_of(in_file.T) == EXPECTED[whole]["pydicom"]["stored_sha256_f32"]
    for volume in EXPECTED[item]["dcm2niix"]["images"]:
        assert laid_out_as(image, affine_of(volume)).shape[:3] == tuple(volume["shape"][::-1])


def enhanced_without_place(item: str) -> None:
    """Ten frames 1.2 mm apart, of which the file says no more: SimpleITK's voxels, dcm2niix's distance."""
    with pytest.warns(mj.ImageFileWarning, match="does not say where the image lies"):
        image = mj.load_image(path_of(item))
    assert hash_of(image.voxels.T) == EXPECTED[item]["sitk"]["sha256_f32"]
    np.testing.assert_allclose(image.spacing, EXPECTED[item]["dcm2niix"]["images"][0]["spacing"], rtol=1e-6)


def palette(item: str) -> None:
    """Sixteen-bit colours from the table; SimpleITK cuts them to their upper byte."""
    image = load(item)
    assert image.dtype == np.uint16
    assert hash_of(np.swapaxes(image.voxels[:, :, 0] >> 8, 0, 1)[None]) == EXPECTED[item]["sitk"]["sha256_f32"]


def colour_loop(item: str) -> None:
    """Moments of a picture: SimpleITK calls them slices."""
    image = load(item)
    assert image.voxels.shape == (320, 240, 1, 30, 3)
    assert hash_of(image.voxels[:, :, 0].transpose(2, 1, 0, 3)) == EXPECTED[item]["sitk"]["sha256_f32"]


def dose(item: str) -> None:
    """SimpleITK's geometry and stored values, in the unit that the scaling makes of them."""
    image = load(item)
    reader = of_reader(item, "sitk")
    stored = np.round(laid_out_as(image, affine_of(reader)) / extra_of(image)["DoseGridScaling"])
    assert hash_of(stored.T) == reader["sha256_f32"]
    assert extra_of(image)["DoseUnits"] == "RELATIVE"


def label_map(item: str) -> None:
    """The label map of the same object as NRRD."""
    name = Path(item).stem.replace("-", "_")
    truth = EXPECTED[f"dicom/seg_labelmap/{name}_seg.nrrd"]
    image = load(item)
    assert image.kind == "label"
    assert hash_of(laid_out_as(image, affine_of(truth["sitk"])).T) == truth["pynrrd"]["sha256_f32"]


OWN: dict[str, Callable[[str], None]] = {
    "dicom/dicomdir_tree/77654033/CR1": computed_radiographs,
    "dicom/dicomdir_tree/77654033/CR2": computed_radiographs,
    "dicom/dicomdir_tree/77654033/CR3": computed_radiographs,
    "dicom/mr_enhanced_balls_fieldmap.dcm": philips_map,
    "dicom/mr_enhanced_philips_b0": philips_map,
    "dicom/mr_enhanced_philips_b0/IM_0027_fMAP.dcm": philips_map,
    "dicom/mr_enhanced_small/emri_small.dcm": enhanced_without_place,
    "dicom/mr_enhanced_small/emri_small_RLE.dcm": enhanced_without_place,
    "dicom/mr_enhanced_small/emri_small_big_endian.dcm": enhanced_without_place,
    "dicom/mr_enhanced_small/emri_small_jpeg_2k_lossless.dcm": enhanced_without_place,
    "dicom/mr_enhanced_small/emri_small_jpeg_ls_lossless.dcm": enhanced_without_place,
    "dicom/seg_labelmap/sparse-labelmap-noppv.dcm": label_map,
    "dicom/seg_labelmap/sparse-labelmap-ppv5.dcm": label_map,
    "dicom/singles/dx_monochrome1.dcm": digital_radiograph,
    "dicom/singles/examples_palette.dcm": palette,
    "dicom/singles/examples_ybr_color.dcm": colour_loop,
    "dicom/singles/rtdose.dcm": dose,
    "dicom/singles/rtdose_rle.dcm": dose,
}


@pytest.mark.parametrize("item", OWN, ids=str)
def test_what_no_other_reader_has_right(item: str) -> None:
    OWN[item](item)


def test_every_dicom_item_has_a_test() -> None:
    items = {item for item, entry in EXPECTED.items() if entry["kind"].startswith("dicom")}
    assert items == LIKE.keys() | REFUSED.keys() | OWN.keys()
    assert len(LIKE) + len(REFUSED) + len(OWN) == len(items)
    truths = {f"synthetic/{name}" for name in TRUTH if name.startswith("dicom/")}
    assert truths <= items


@pytest.mark.parametrize("name", [name for name in TRUTH if name.startswith("dicom/")], ids=str)
def test_synthetic_truth(name: str) -> None:
    truth, path = TRUTH[name], DATA / "synthetic" / name
    if "error" in truth:
        with pytest.raises(getattr(mj.io, truth["error"] + "Error")):
            mj.load_image(path)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = mj.load_image(path)
    assert ("sheared" in " ".join(str(w.message) for w in caught)) == ("warning" in truth)
    assert image.voxels.shape == tuple(truth["shape_xyz"])
    assert hash_of(image.voxels.T) == truth["sha256_f32_zyx"]
    expected = {"dicom/padding_value": "int16", "dicom/per_slice_slope": "float32"}.get(name, truth["dtype"])
    assert image.dtype == np.dtype(expected)
    if "direction" in truth:
        np.testing.assert_allclose(image.affine, affine_of(truth), atol=truth.get("atol", 1e-7))
    else:
        assert image.spacing[2] == pytest.approx(truth["spacing_z_about"], rel=2e-3)


# What else the real files show


def test_the_mosaic_is_the_nifti_that_came_with_it() -> None:
    import nibabel

    folder = DATA / "dicom" / "mr_siemens_mosaic_ax"
    reference: Any = nibabel.load(folder / "6_ax_asc_35sl.nii")
    image = load("dicom/mr_siemens_mosaic_ax")
    voxels = laid_out_as(image, np.diag([-1.0, -1, 1, 1]) @ reference.affine)
    np.testing.assert_array_equal(voxels, np.asarray(reference.dataobj))


def test_the_gap_is_closed_on_request() -> None:
    image = load("dicom/ct_missing_slice", spacing_policy="resample")
    plain = load("dicom/ct_missing_slice", spacing_policy="nearest")
    assert image.shape == plain.shape == (160, 160, 5)
    np.testing.assert_allclose(image.spacing[2], 5.0, atol=1e-3)
    np.testing.assert_allclose(
        image.voxels[..., 3], (plain.voxels[..., 2] + plain.voxels[..., 4].astype(float)) / 2, atol=0.5
    )


def test_the_tilted_uneven_stack_is_resampled_along_its_lean() -> None:
    with pytest.warns(mj.ImageFileWarning) as caught:
        image = mj.io.load_dicom_series(path_of("dicom/ct_tilt_variable_spacing"), spacing_policy="resample")
    text = " ".join(str(w.message) for w in caught)
    assert "leans 18.50 degrees" in text
    assert "interpolated" in text
    reader = EXPECTED["dicom/ct_tilt_variable_spacing"]["dcm2niix"]["images"][0]
    np.testing.assert_allclose(image.origin, reader["origin"], atol=1e-4)
    np.testing.assert_allclose(image.direction, np.reshape(reader["direction"], (3, 3)), atol=1e-4)
    files = (pydicom.dcmread(p) for p in path_of("dicom/ct_tilt_variable_spacing").iterdir())
    places = sorted((list(map(float, f.ImagePositionPatient)) for f in files), key=lambda place: place[2])
    first, last = (image.grid.world(np.array([0, 0, k])) for k in (0, image.shape[2] - 1))
    np.testing.assert_allclose([first, last], [places[0], places[-1]], atol=0.01)  # positions are rounded to 0.001 mm


def test_a_dicomdir_lists_what_its_folder_holds() -> None:
    tree = DATA / "dicom" / "dicomdir_tree"
    by_index, by_folder = mj.io.list_dicom_series(tree / "DICOMDIR"), mj.io.list_dicom_series(tree)
    assert by_index == by_folder
    assert len({series.uid for series in by_index}) == 13
    uid = next(series.uid for series in by_index if series.modality == "CT" and series.files == 5)
    image = mj.io.load_dicom_series(tree / "DICOMDIR", uid)
    np.testing.assert_array_equal(image.voxels, load("dicom/dicomdir_tree/98892001/CT5N").voxels)


def test_each_of_two_orientations_is_an_image() -> None:
    readers = EXPECTED["dicom/mr_two_orientations"]["dcm2niix"]["images"]
    for stack, reader in enumerate(readers):
        image = load("dicom/mr_two_orientations", stack=stack)
        assert hash_of(laid_out_as(image, affine_of(reader)).T) == reader["sha256_f32"]


def test_one_position_watched_over_time_is_a_trailing_axis_on_request() -> None:
    image = load("dicom/ct_same_position", repeats="order")
    (reader,) = EXPECTED["dicom/ct_same_position"]["dcm2niix"]["images"]
    assert image.voxels.shape == (128, 128, 1, 4)
    assert extra_of(image)["volumes"] == {"by": ["AcquisitionNumber"], "values": [[12], [13], [14], [15]]}
    assert hash_of(stored_order(image.voxels[..., ::-1], is_series=True)) == reader["sha256_f32"]  # by InstanceNumber


def test_the_pet_keeps_what_suv_needs_per_slice() -> None:
    extra = extra_of(load("dicom/pet_ac_part"))
    per_slice = extra["per_slice"]
    assert len(set(per_slice["RescaleSlope"])) == 40
    assert len(set(per_slice["FrameReferenceTime"])) == 2  # two positions of the bed
    assert np.diff([z for _, _, z in per_slice["ImagePositionPatient"]]).min() > 3.2
    assert extra["private"]["(0009,100D)"] == "19591224095947.00"
    assert extra["ActualFrameDuration"] == 300000
