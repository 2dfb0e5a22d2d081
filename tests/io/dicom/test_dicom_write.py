"""Derived DICOM series: four readers find the same voxels in the same place; the objects are valid; nothing is mixed up."""

from __future__ import annotations

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pydicom
import pytest
from dicom_headers import (
    DIRECTIONS,
    OF_MODALITY,
    PATIENT,
    READERS,
    SHAPE,
    SPACING,
    in_world,
    metadata,
    metadata_of,
    volume,
    with_fields,
)
from pydicom import config
from pydicom.data import get_testdata_file
from pydicom.uid import (
    CTImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)
from shared_data import DATA, needs_data

import medjax as mj

SOP_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
    "OT": SecondaryCaptureImageStorage,
}


def saved(image: mj.Image, folder: Path, **options: Any) -> list[pydicom.FileDataset]:
    """Saves a series and reads its files, in the order of their names."""
    mj.io.save_dicom_series(image, folder / "series", **options)
    return [pydicom.dcmread(path) for path in sorted((folder / "series").iterdir())]


# The same voxels in the same place


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("modality", OF_MODALITY)
def test_every_reader_finds_the_voxels_where_they_were(
    modality: str, direction: str, reader: str, tmp_path: Path
) -> None:
    image = volume(modality, DIRECTIONS[direction])
    half_step = float(saved(image, tmp_path)[0].RescaleSlope) / 2
    found, error = in_world(image, *READERS[reader](tmp_path / "series"))
    assert error < 1e-4  # mm; dcm2niix has float32, whose last bit is 1.5e-5 at 200 mm
    # A reader that computes in float32 rounds values of up to 4096 by 2.4e-4.
    np.testing.assert_allclose(found, image.voxels, rtol=0, atol=half_step + 3e-4)
    assert half_step <= np.ptp(image.voxels) / 65534 * 2


@pytest.mark.parametrize("reader", READERS)
def test_whole_numbers_are_exact(reader: str, tmp_path: Path) -> None:
    image = volume("CT", DIRECTIONS["left-handed"], dtype=np.int16)
    assert {(str(d.RescaleSlope), str(d.RescaleIntercept)) for d in saved(image, tmp_path)} == {("1.0", "0.0")}
    found, error = in_world(image, *READERS[reader](tmp_path / "series"))
    np.testing.assert_array_equal(found, image.voxels)
    assert error < 1e-4


@pytest.mark.parametrize(
    "dtype", [np.bool_, np.uint8, np.int8, np.uint16, np.int32, np.int64, np.float16, np.float64, ">i2"]
)
def test_dtypes_that_hold_whole_numbers_come_back_with_the_same_values(dtype: Any, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)
    image = mj.Image.from_array(voxels, metadata=mj.Metadata(modality="CT"))
    saved(image, tmp_path)
    np.testing.assert_array_equal(mj.load_image(tmp_path / "series").voxels, voxels)


def test_a_second_saving_changes_nothing(tmp_path: Path) -> None:
    saved(volume("CT"), tmp_path)
    first = mj.load_image(tmp_path / "series")
    mj.io.save_dicom_series(first, tmp_path / "again")
    second = mj.load_image(tmp_path / "again")
    np.testing.assert_array_equal(second.voxels, first.voxels)
    np.testing.assert_allclose(second.affine, first.affine, rtol=0, atol=1e-9)


def test_slices_ascend_along_row_times_column(tmp_path: Path) -> None:
    image = volume("CT", DIRECTIONS["left-handed"])
    slices = saved(image, tmp_path)
    positions = np.array([item.ImagePositionPatient for item in slices], float)
    row, column = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    assert (np.diff(positions @ np.cross(row, column)) > 0).all()
    np.testing.assert_allclose(positions[-1], image.origin, rtol=0, atol=1e-9)
    assert [int(item.InstanceNumber) for item in slices] == list(range(1, SHAPE[2] + 1))
    assert slices[0].PixelSpacing == [SPACING[1], SPACING[0]]


def test_an_affine_with_the_noise_of_float32_is_written_as_it_is(tmp_path: Path) -> None:
    image = volume("MR")
    noisy = mj.Image.from_array(image.voxels, affine=image.affine.astype(np.float32), metadata=image.metadata)
    saved(noisy, tmp_path)
    for name, read in READERS.items():
        assert in_world(noisy, *read(tmp_path / "series"))[1] < 1e-4, name


def test_a_single_slice_is_a_file_of_its_own(tmp_path: Path) -> None:
    image = mj.crop(volume("CT"), (0, 0, 3), (13, 9, 1))
    mj.save_image(image, tmp_path / "slice.dcm")
    again = mj.load_image(tmp_path / "slice.dcm")
    assert again.shape == image.shape
    np.testing.assert_allclose(again.affine, image.affine, rtol=0, atol=1e-9)
    with pytest.raises(mj.io.UnsupportedFileError, match=r"one slice, this image has 7; use io\.save_dicom_series"):
        mj.save_image(volume("CT"), tmp_path / "scan.dcm")


# Validity, by the tables of the standard that highdicom ships


@functools.cache
def standard(name: str) -> Any:
    return json.loads(resources.files("highdicom").joinpath(f"_standard/{name}.json").read_text())


@pytest.mark.parametrize("modality", OF_MODALITY)
@pytest.mark.parametrize("is_known", [True, False])
def test_required_attributes_of_the_object_s_modules(modality: str, is_known: bool, tmp_path: Path) -> None:
    """Every attribute of type 1 and 2 of the mandatory modules (PS3.3 annex A), type 1 not empty."""
    slices = saved(volume(modality, header=is_known), tmp_path)
    expected = SOP_CLASSES[modality if is_known or modality == "CT" else "OT"]
    assert {item.SOPClassUID for item in slices} == {expected}
    iod = standard("sop_class_iod_map")[expected]
    modules = [module["key"] for module in standard("iod_module_map")[iod] if module["usage"] == "M"]
    optional = ["frame-of-reference", "image-plane"]  # of a Secondary Capture, and written
    attributes, checked = standard("module_attribute_map"), 0
    for module in {*modules, *optional}:
        for attribute in attributes[module]:
            if attribute["path"] or attribute["type"] not in ("1", "2"):
                continue
            for item in slices:
                checked += 1
                assert attribute["keyword"] in item, (module, attribute["keyword"])
                is_empty = item[attribute["keyword"]].is_empty
                assert attribute["type"] == "2" or not is_empty, (module, attribute["keyword"])
    assert checked > 30 * len(slices)


@pytest.mark.parametrize(
    ("modality", "fields", "keyword"),
    [
        ("OT", {}, "PatientOrientation"),  # C.7.6.1: where the object's table does not require a position
        ("MR", {}, "InversionTime"),  # C.8.3.1: Scanning Sequence has IR
        ("MR", {"ScanOptions": ["FS", "CG"]}, "TriggerTime"),
        ("MR", {"ScanOptions": "PPG"}, "TriggerTime"),
        ("PT", {"SeriesType": ["STATIC", "REPROJECTION"]}, "ReprojectionMethod"),  # C.8.9.1
    ],
)
def test_attributes_of_type_2c_are_there_where_their_condition_holds(
    modality: str, fields: dict[str, Any], keyword: str, tmp_path: Path
) -> None:
    assert all(
        keyword in item and item[keyword].is_empty for item in saved(with_fields(volume(modality), **fields), tmp_path)
    )
    (tmp_path / "same").mkdir(exist_ok=True)
    assert keyword not in saved(volume("CT"), tmp_path / "same")[0]


@pytest.mark.parametrize("modality", OF_MODALITY)
def test_every_value_is_valid_for_its_representation(
    modality: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lengths and characters (PS3.5 section 6.2), as pydicom checks them on reading."""
    slices = saved(volume(modality), tmp_path)
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.RAISE)
    count = 0
    for item in slices:
        for element in item.iterall():
            count += element.value is not None
        for name in ("SliceThickness", "ImagePositionPatient", "RescaleSlope", "ImageOrientationPatient"):
            raw = item.get_item(name).value
            assert (
                all(len(part.strip()) <= 16 for part in str(raw, "ascii").split("\\"))
                if isinstance(raw, bytes)
                else True
            )
    assert count > 50 * len(slices)


def test_uids_are_new_and_differ(tmp_path: Path) -> None:
    uid = mj.io.save_dicom_series(volume("CT"), tmp_path / "series")
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "series").iterdir())]
    instances = [item.SOPInstanceUID for item in slices]
    assert len(set(instances)) == len(instances)
    assert all(item.file_meta.MediaStorageSOPInstanceUID == item.SOPInstanceUID for item in slices)
    assert {item.SeriesInstanceUID for item in slices} == {uid}
    assert uid != PATIENT["SeriesInstanceUID"]
    assert not set(instances) & {f"1.2.3.4.5.{k}" for k in range(SHAPE[2])}


# What is taken over, and what is said of the derivation


def test_the_study_stays_together(tmp_path: Path) -> None:
    for item in saved(volume("CT"), tmp_path, series_description="smoothed", series_number=42, derivation="Gauß, 3 mm"):
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "StudyInstanceUID",
            "StudyDate",
            "StudyDescription",
        ):
            assert item[keyword].value == PATIENT[keyword], keyword
        assert (item.FrameOfReferenceUID, item.Manufacturer, item.KVP) == ("1.2.3.4.6", "SIEMENS", 120)
        assert item.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
        assert (item.SeriesDescription, item.SeriesNumber, item.DerivationDescription) == ("smoothed", 42, "Gauß, 3 mm")
        assert item.ContributingEquipmentSequence[0].Manufacturer == "medjax"
        assert item.RescaleType == "HU"


def test_defaults_for_the_series(tmp_path: Path) -> None:
    (item, *_) = saved(volume("MR"), tmp_path)
    assert (item.SeriesDescription, item.SeriesNumber) == ("THIN (derived)", 1007)
    assert item.ImageType == ["DERIVED", "SECONDARY", "M"]
    assert item.ScanningSequence == ["GR", "IR"]


def test_an_image_that_knows_nothing_gets_a_study_of_its_own(tmp_path: Path) -> None:
    image = mj.Image.from_array(volume("CT").voxels)
    (item, *_) = saved(image, tmp_path)
    assert (item.Modality, item.SOPClassUID) == ("OT", SecondaryCaptureImageStorage)
    assert item.PatientID is None or item.PatientID == ""
    assert item.StudyInstanceUID.startswith("2.25.")


def test_a_new_frame_of_reference_on_request(tmp_path: Path) -> None:
    (item, *_) = saved(volume("CT"), tmp_path, frame_of_reference_uid="2.25.1")
    assert item.FrameOfReferenceUID == "2.25.1"
    with pytest.raises(ValueError, match="must be a DICOM UID, got 'here'"):
        mj.io.save_dicom_series(volume("CT"), tmp_path / "other", frame_of_reference_uid="here")


def references(item: pydicom.Dataset) -> list[str]:
    """The instances a slice says it was made from, after checking that both sequences say the same."""
    if "SourceImageSequence" not in item:
        assert "ReferencedSeriesSequence" not in item
        return []
    found = [source.ReferencedSOPInstanceUID for source in item.SourceImageSequence]
    series = item.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == PATIENT["SeriesInstanceUID"]
    assert [source.ReferencedSOPInstanceUID for source in series.ReferencedInstanceSequence] == found
    assert {source.ReferencedSOPClassUID for source in item.SourceImageSequence} == {OF_MODALITY["CT"]["SOPClassUID"]}
    return [uid.rsplit(".", 1)[-1] for uid in found]


def test_slices_refer_to_the_slices_they_were_made_from(tmp_path: Path) -> None:
    image = volume("CT")
    assert [references(item) for item in saved(image, tmp_path / "same")] == [[str(k)] for k in range(SHAPE[2])]
    cropped = mj.crop(image, (1, 2, 3), (5, 5, 2))
    assert [references(item) for item in saved(cropped, tmp_path / "crop")] == [["3"], ["4"]]
    halved = mj.resample_to_spacing(image, (0.7, 1.3, 1.25), anchor="first")
    between = [references(item) for item in saved(halved, tmp_path / "half")]
    assert between[:4] == [["0"], ["0", "1"], ["1"], ["1", "2"]]
    turned = mj.change_orientation(image, "PSR")  # slices now run from left to right, across all of the source's
    assert references(saved(turned, tmp_path / "turned")[4]) == [str(k) for k in range(SHAPE[2])]
    elsewhere = mj.translate(image, (0.0, 0.0, 500.0), unit="mm")
    assert references(saved(elsewhere, tmp_path / "away")[0]) == []


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("same", "crop", "half", "turned", "away"):
        (tmp_path / name).mkdir()


def test_left_handed_slices_refer_to_their_own_sources(tmp_path: Path) -> None:
    found = [references(item) for item in saved(volume("CT", DIRECTIONS["left-handed"]), tmp_path)]
    assert found == [[str(k)] for k in reversed(range(SHAPE[2]))]


def test_pet_keeps_what_suv_depends_on(tmp_path: Path) -> None:
    """Also after a crop that leaves out the first bed position, to whose acquisition the decay is corrected."""
    image = volume("PT")
    before = mj.suv_factor(image)
    slices = saved(mj.crop(image, (0, 0, 3), (13, 9, 4)), tmp_path)
    item = slices[0]
    assert (item.Units, item.DecayCorrection, item.SeriesTime) == ("BQML", "START", "100000")
    assert item.ImageType == ["DERIVED", "PRIMARY"]
    assert (item.RescaleIntercept, item.NumberOfSlices) == (0, 4)
    assert [d.ImageIndex for d in slices] == [1, 2, 3, 4]
    assert [d.FrameReferenceTime for d in slices] == [120000, 120000, 120000, 180000]
    assert [d.AcquisitionTime for d in slices] == metadata_of(image).extra["per_slice"]["AcquisitionTime"][3:]
    assert mj.suv_factor(mj.load_image(tmp_path / "series")) == before
    suv = mj.to_suv(image)
    mj.io.save_dicom_series(suv, tmp_path / "suv")
    again = mj.load_image(tmp_path / "suv")
    assert metadata_of(again).extra["Units"] == "GML"
    assert metadata_of(again).extra["SUVType"] == "BW"
    assert np.abs(again.voxels - suv.voxels).max() <= suv.voxels.max() / 65534


def test_gated_pet_is_a_secondary_capture(tmp_path: Path) -> None:
    image = volume("PT")
    (item, *_) = saved(with_fields(image, SeriesType=["GATED", "IMAGE"]), tmp_path)
    assert (item.SOPClassUID, item.Modality, item.Units) == (SecondaryCaptureImageStorage, "PT", "BQML")


def test_monochrome1_stays_with_its_values(tmp_path: Path) -> None:
    image = volume("CT", dtype=np.int16)
    (item, *_) = saved(with_fields(image, PhotometricInterpretation="MONOCHROME1"), tmp_path)
    assert item.PhotometricInterpretation == "MONOCHROME1"
    np.testing.assert_array_equal(mj.load_image(tmp_path / "series").voxels, image.voxels)


def test_a_picture_without_a_place_gets_none(tmp_path: Path) -> None:
    path = str(get_testdata_file("JPEG2000.dcm"))
    with pytest.warns(mj.ImageFileWarning, match="where the image lies"):
        image = mj.load_image(path)
    (item,) = saved(image, tmp_path)
    assert not {"ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"} & set(item.dir())
    with pytest.warns(mj.ImageFileWarning, match="where the image lies"):
        again = mj.load_image(tmp_path / "series")
    np.testing.assert_array_equal(again.voxels, image.voxels)
    assert again.spacing == image.spacing
    unknown = mj.Image.from_array(image.voxels, metadata=mj.Metadata(extra={"geometry": "unknown"}))
    assert "PixelSpacing" not in saved(unknown, tmp_path / "half")[0]
    placed = mj.Image.from_array(image.voxels, origin=(1, 2, 3), metadata=image.metadata)
    assert saved(placed, tmp_path / "same")[0].ImagePositionPatient == [1, 2, 3]


def test_the_source_fills_what_an_image_from_elsewhere_does_not_know(tmp_path: Path) -> None:
    scan = volume("CT")
    mj.save_image(scan, tmp_path / "scan.nii.gz")
    back = mj.load_image(tmp_path / "scan.nii.gz")
    for source in (scan, scan.metadata):
        folder = tmp_path / type(source).__name__
        folder.mkdir()
        slices = saved(back, folder, source=source)
        assert {item.StudyInstanceUID for item in slices} == {"1.2.3.4"}
        assert {item.PatientID for item in slices} == {"4711"}
        assert [references(item) for item in slices] == [[str(k)] for k in range(SHAPE[2])]


def test_invalid_values_of_the_source_are_left_out(tmp_path: Path) -> None:
    image = with_fields(volume("CT"), StudyDate="29 Feb", KVP="much", PatientSex="x" * 30)
    with pytest.warns(
        mj.ImageFileWarning, match="KVP, PatientSex, StudyDate of the source are not valid DICOM"
    ) as caught:
        (item, *_) = saved(image, tmp_path)
    assert (item.StudyDate, item.KVP, item.PatientSex) == ("", None, "")
    assert "Feb" not in str(caught[0].message)


# Never another patient's


@pytest.mark.parametrize("field", [{"patient_id": "4712"}, {"study_uid": "1.2.9"}])
def test_metadata_that_name_two_patients_are_refused(field: dict[str, str], tmp_path: Path) -> None:
    image = volume("CT")
    changed = image.with_metadata(metadata_of(image).replace(**field))
    with pytest.raises(mj.ImageFileError, match=r"more than one (patient|study)") as caught:
        mj.io.save_dicom_series(changed, tmp_path / "series")
    assert "4711" not in str(caught.value)
    other = metadata("CT", {**PATIENT, "PatientID": "4712", "StudyInstanceUID": "1.2.9"})
    with pytest.raises(mj.ImageFileError, match="more than one patient"):
        mj.io.save_dicom_series(image, tmp_path / "series", source=other)
    assert not (tmp_path / "series").exists()


def test_two_patients_one_after_the_other(tmp_path: Path) -> None:
    first = volume("CT")
    second = first.with_metadata(
        metadata("CT", {**metadata_of(first).extra, "PatientID": "0815", "PatientName": "Other"})
    )
    mj.io.save_dicom_series(first, tmp_path / "first")
    mj.io.save_dicom_series(second, tmp_path / "second")
    assert metadata_of(mj.load_image(tmp_path / "first")).patient_id == "4711"
    again = metadata_of(mj.load_image(tmp_path / "second"))
    assert (again.patient_id, again.extra["PatientName"]) == ("0815", "Other")
    assert "Secret" not in json.dumps(json.loads(again.to_json()))


# Refusals


def sheared() -> mj.Image:
    affine = volume("CT").affine.copy()
    affine[:3, 2] += 0.5 * affine[:3, 1]
    return mj.Image.from_array(volume("CT").voxels, affine=affine)


def with_value(value: float) -> mj.Image:
    voxels = volume("CT").voxels.copy()
    voxels[3, 4, 5] = value
    return mj.Image.from_array(voxels)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (sheared(), r"axes are 14\.6 degrees off a right angle.*resample it"),
        (with_value(np.nan), r"NaN or infinity.*nan_to_num"),
        (with_value(-np.inf), r"NaN or infinity"),
        (mj.Image.from_array(np.zeros((4, 4, 4, 3), np.uint8)), r"channels \(3,\).*voxels\[\.\.\., c\]"),
        (mj.Image.from_array(np.zeros((4, 4, 4), np.uint8), kind="label"), "labels are no intensities.*NIfTI"),
        (mj.Image.from_array(np.zeros((4, 4, 4), np.complex64)), "complex numbers"),
        (mj.Image.from_array(np.zeros((65536, 1, 1), np.uint8)), "65536 x 1"),
    ],
)
def test_what_a_series_cannot_hold_is_refused(image: mj.Image, message: str, tmp_path: Path) -> None:
    with pytest.raises(mj.io.UnsupportedFileError, match=message):
        mj.io.save_dicom_series(image, tmp_path / "series")
    assert not (tmp_path / "series").exists()


def test_batches_and_traced_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unstack"):
        mj.io.save_dicom_series(mj.stack([volume("CT")] * 2), tmp_path / "series")
    with pytest.raises(ValueError, match="under a jax transformation"):
        jax.jit(lambda image: mj.io.save_dicom_series(image, tmp_path / "series"))(volume("CT"))


def test_texts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="series_description must have at most 64 characters"):
        mj.io.save_dicom_series(volume("CT"), tmp_path / "series", series_description="x" * 65)


# Real scans


@needs_data
@pytest.mark.parametrize(
    "name",
    ["ct_seed_75", "ct_head_axial_93", "ct_neg_iop", "pet_ac_part", "mr_per_slice_slope", "mr_sag_decubitus_right"],
)
def test_real_series_come_back(name: str, tmp_path: Path) -> None:
    whole = mj.load_image(DATA / "dicom" / name)
    image = mj.crop(whole, (9, 5, 0), (min(96, whole.shape[0] - 9), min(64, whole.shape[1] - 5), whole.shape[2]))
    slices = saved(image, tmp_path)
    half_step = float(slices[0].get("RescaleSlope", 1)) / 2 if np.asarray(image.voxels).dtype.kind == "f" else 0
    for reader, read in READERS.items():
        found, error = in_world(image, *read(tmp_path / "series"))
        # dcm2niix takes the step from the first two positions in float32, whose last bit is 1.5e-5 mm; it adds up.
        assert error < (1e-4 if reader != "dcm2niix" else max(1e-4, 1.5e-5 * image.shape[2])), reader
        size = float(np.abs(image.voxels).max())
        np.testing.assert_allclose(found, image.voxels, rtol=0, atol=half_step + size * 1.2e-7 * bool(half_step))
    assert all(len(item.get("SourceImageSequence", [])) == 1 for item in slices)
    if metadata_of(image).modality == "PT":
        assert mj.suv_factor(mj.load_image(tmp_path / "series")).factor == pytest.approx(4.2111e-4, rel=1e-4)
