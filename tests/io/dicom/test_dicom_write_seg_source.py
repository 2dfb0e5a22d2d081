"""Sources that a segmentation can be drawn on: de-identified, enhanced, of vendors' own classes, with several stacks."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pydicom.filewriter
import pytest
from dicom_data import Lattice, image_dataset, rotation, save, series, stored_values
from dicom_headers import metadata_of
from dicom_kinds import dose, enhanced, mosaic, nuclear, plane_groups

import medjax as mj

# Private: the writer of one file, which is made to fail.
from medjax.io._dicom import _write_segmentation

LATTICE, STORED = Lattice(), stored_values()
SHAPE = STORED.T.shape
FRAME: dict[str, Any] = {"FrameOfReferenceUID": "1.2.3.9"}
TYPE_2 = "PatientName PatientID PatientBirthDate PatientSex AccessionNumber StudyID StudyDate StudyTime ReferringPhysicianName"


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "it does not state|the file states no slice thickness", mj.ImageFileWarning)
        yield


def drawn(affine: np.ndarray, shape: tuple[int, ...] = SHAPE) -> mj.Image:
    """A box that touches neither the first nor the last slice."""
    voxels = np.zeros(shape, np.uint8)
    voxels[2:7, 3:6, 1:-1] = 1
    return mj.Image.from_array(voxels, affine=affine, kind="label")


def written(source: Path, labels: mj.Image | None = None, **options: Any) -> pydicom.Dataset:
    """Saves labels on a source, checks that they come back in place here and in highdicom, and reads the object."""
    labels, path = drawn(LATTICE.affine) if labels is None else labels, source.parent / "labels.dcm"
    mj.io.save_dicom_segmentation(labels, path, source, **options)
    np.testing.assert_array_equal(mj.resample_to_image(mj.load_image(path), labels).voxels, labels.voxels)
    theirs = highdicom.seg.segread(path).get_volume(combine_segments=True)
    found = mj.Image.from_array(theirs.array.T, affine=theirs.affine[:, [2, 1, 0, 3]], kind="label")
    np.testing.assert_array_equal(mj.resample_to_image(found, labels).voxels, labels.voxels)
    return pydicom.dcmread(path)


def sources_of(frame: pydicom.Dataset) -> list[pydicom.Dataset]:
    return list(frame.DerivationImageSequence[0].SourceImageSequence)


def positions(dataset: pydicom.Dataset) -> list[Any]:
    groups = dataset.PerFrameFunctionalGroupsSequence
    return [frame.PlanePositionSequence[0].ImagePositionPatient for frame in groups]


@pytest.mark.parametrize("keyword", TYPE_2.split())
@pytest.mark.parametrize("is_empty", [False, True], ids=["absent", "empty"])
def test_what_may_be_empty_may_be_missing(keyword: str, is_empty: bool, tmp_path: Path) -> None:
    """Type 2 in the Patient and General Study modules, PS3.3 sections C.7.1.1 and C.7.2.1."""
    known = dict.fromkeys(TYPE_2.split(), "") | {"StudyDate": "20240229", "PatientSex": "F", "PatientID": "X"}
    series(tmp_path / "scan", each=lambda k: {**known, **FRAME, keyword: "" if is_empty else None})
    dataset = written(tmp_path / "scan")
    assert keyword in dataset
    assert dataset[keyword].is_empty
    assert all(
        dataset[each].value == known[each] for each in ("StudyDate", "PatientSex", "PatientID") if each != keyword
    )


@pytest.mark.parametrize("thickness", ["", None])
def test_slice_thickness_may_be_empty(thickness: str | None, tmp_path: Path) -> None:
    series(tmp_path / "scan", each=lambda k: {"SliceThickness": thickness, **FRAME})
    (measures,) = written(tmp_path / "scan").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert float(measures.SpacingBetweenSlices) == pytest.approx(LATTICE.between_slices, abs=1e-9)


@pytest.mark.parametrize(
    "keyword",
    [
        "StudyInstanceUID",
        "SOPInstanceUID",
        "SOPClassUID",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
    ],
)
def test_what_is_needed_is_named(keyword: str, tmp_path: Path) -> None:
    paths = series(tmp_path / "scan", STORED[:1], each=lambda k: FRAME)
    dataset = pydicom.dcmread(paths[0])
    delattr(dataset, keyword)
    dataset.save_as(paths[0])
    with pytest.raises(
        mj.ImageFileError, match=rf"000\.dcm of the source does not state .*{keyword}.*, which a seg"
    ) as caught:
        mj.io.save_dicom_segmentation(drawn(LATTICE.affine), tmp_path / "labels.dcm", tmp_path / "scan")
    assert "ID-OF-A-PATIENT" not in str(caught.value)
    assert not (tmp_path / "labels.dcm").exists()


def test_a_source_without_frame_of_reference_is_said_so(tmp_path: Path) -> None:
    series(tmp_path / "scan")
    with pytest.warns(mj.ImageFileWarning, match="states no FrameOfReferenceUID, and the labels get a new one"):
        dataset = written(tmp_path / "scan")
    assert dataset.FrameOfReferenceUID.startswith("2.25.")


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
@pytest.mark.parametrize(
    "wrong",
    [
        {
            "StudyDate": "29 Feb",
            "PatientSex": "Secret",
            "PatientBirthDate": "00000000",
        },  # no such value, PS3.5 section 6.2
        {"StudyDate": "20230229", "PatientSex": "U"},  # no such day; not among M, F, O, PS3.3 section C.7.1.1
    ],
)
def test_invalid_values_are_left_out_by_name(wrong: dict[str, str], tmp_path: Path) -> None:
    series(tmp_path / "scan", each=lambda k: FRAME | wrong)
    names = ", ".join(sorted(wrong, key=str.lower))
    with pytest.warns(mj.ImageFileWarning, match=f"{names} of the source are not valid DICOM") as caught:
        dataset = written(tmp_path / "scan")
    assert not any(value in str(warning.message) for warning in caught for value in wrong.values() if len(value) > 1)
    assert all(dataset[keyword].is_empty for keyword in wrong)


# Multi-frame sources


@pytest.mark.parametrize("where", ["per frame", "shared"])
def test_an_enhanced_source_wherever_its_macros_stand(where: str, tmp_path: Path) -> None:
    """Pixel Measures and Plane Orientation may be per frame (PS3.3 section C.7.6.16.2.1)."""
    groups = [plane_groups(LATTICE, k) for k in range(len(STORED))]
    common = {key: groups[0][key] for key in ("PixelMeasuresSequence", "PlaneOrientationSequence")}
    if where == "shared":
        groups = [{"PlanePositionSequence": each["PlanePositionSequence"]} for each in groups]
    shared = common if where == "shared" else {}
    source = save(enhanced(STORED, groups, shared=shared, **FRAME), tmp_path / "enhanced.dcm")
    dataset = written(source)
    frames = [sources_of(frame)[0] for frame in dataset.PerFrameFunctionalGroupsSequence]
    places = [LATTICE.position(int(item.ReferencedFrameNumber) - 1) for item in frames]
    np.testing.assert_allclose(positions(dataset), places, atol=1e-6)
    assert {item.ReferencedSOPClassUID for item in frames} == {"1.2.840.10008.5.1.4.1.1.4.1"}


@pytest.mark.parametrize("kind", ["dose", "nuclear", "mosaic"])
def test_other_multi_frame_sources(kind: str, tmp_path: Path) -> None:
    made = {
        "dose": lambda: dose(STORED.astype(np.uint16), LATTICE, **FRAME),
        "nuclear": lambda: nuclear(STORED, LATTICE, step=LATTICE.between_slices, **FRAME),
        "mosaic": lambda: mosaic(STORED, LATTICE, **FRAME),
    }[kind]()
    source = save(made, tmp_path / "source.dcm")
    (reference,) = written(source, drawn(mj.load_image(source).affine)).SourceImageSequence
    assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (
        made.SOPClassUID,
        made.SOPInstanceUID,
    )


# Classic sources


@pytest.mark.parametrize("sop_class", ["1.3.46.670589.11.0.0.12.1", "1.2.840.10008.5.1.4.1.1.4"], ids=["private", "MR"])
def test_references_name_the_source_s_class(sop_class: str, tmp_path: Path) -> None:
    paths = series(tmp_path / "scan", each=lambda k: {"sop_class": sop_class, "Modality": "MR", **FRAME})
    dataset = written(tmp_path / "scan")
    frames = [sources_of(frame)[0] for frame in dataset.PerFrameFunctionalGroupsSequence]
    items = [*frames, *dataset.SourceImageSequence, *dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    assert {item.ReferencedSOPClassUID for item in items} == {sop_class}
    instances = [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    places = [LATTICE.position(instances.index(item.ReferencedSOPInstanceUID)) for item in frames]
    np.testing.assert_allclose(positions(dataset), places, atol=1e-6)
    assert {item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence} == set(instances)


@pytest.mark.parametrize("count", [1, 3])
def test_measures_are_the_labels_own(count: int, tmp_path: Path) -> None:
    """Pixels nearly like the source's, slices twice as far apart as the source says."""
    series(tmp_path / "scan", each=lambda k: FRAME | {"SpacingBetweenSlices": 1.041})
    labels = drawn(LATTICE.affine @ np.diag([1.00005, 1.00005, 2, 1]), (12, 9, 3))
    if count == 1:
        labels = mj.crop(labels, (0, 0, 1), (12, 9, 1))
    written(tmp_path / "scan", labels)
    again = mj.load_image(tmp_path / "labels.dcm")
    np.testing.assert_allclose(again.spacing, labels.spacing, rtol=1e-9)


def test_orientations_that_differ_by_rounding_are_one_stack(tmp_path: Path) -> None:
    row, column = LATTICE.turn[:, 0], LATTICE.turn[:, 1]
    series(
        tmp_path / "scan",
        each=lambda k: FRAME | {"ImageOrientationPatient": [f"{x + 1e-6 * (k % 2):.10f}" for x in (*row, *column)]},
    )
    written(tmp_path / "scan")


def test_a_series_with_a_localiser_and_copies(tmp_path: Path) -> None:
    paths = series(tmp_path / "scan", each=lambda k: FRAME)
    (tmp_path / "scan" / "copy.dcm").write_bytes(paths[3].read_bytes())
    other = Lattice(turn=rotation(1.2, 0.4, -0.3))
    scout = image_dataset(np.zeros((5, 6), np.int16), InstanceNumber=99, **FRAME, **other.plane(0))
    save(scout, tmp_path / "scan" / "scout.dcm")
    dataset = written(tmp_path / "scan")
    assert len(dataset.SourceImageSequence) == len(paths) + 1
    assert scout.SOPInstanceUID in {item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence}


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_series_of_two_patients_is_refused(keyword: str, tmp_path: Path) -> None:
    series(tmp_path / "scan", each=lambda k: {**FRAME, keyword: f"1.2.{4 + (k == 6)}"})
    with pytest.raises(mj.ImageFileError, match=f"the files of the source differ in {keyword}"):
        mj.io.save_dicom_segmentation(drawn(LATTICE.affine), tmp_path / "labels.dcm", tmp_path / "scan")


def test_frames_that_are_not_parallel_are_refused(tmp_path: Path) -> None:
    groups = [plane_groups(LATTICE if k < 6 else Lattice(turn=np.eye(3)), k) for k in range(len(STORED))]
    source = save(enhanced(STORED, groups, **FRAME), tmp_path / "enhanced.dcm")
    with pytest.raises(mj.ImageFileError, match=r"frames of enhanced\.dcm differ in ImageOrientationPatient"):
        mj.io.save_dicom_segmentation(drawn(LATTICE.affine), tmp_path / "labels.dcm", source)


# Whose fault it is


@pytest.mark.parametrize("error", [AttributeError, KeyError, TypeError, ValueError])
def test_a_fault_of_this_package_is_not_blamed_on_the_source(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: Any) -> None:
        raise error("ours")

    series(tmp_path / "scan", each=lambda k: FRAME)
    monkeypatch.setattr(_write_segmentation, "write_dataset", failing)
    with pytest.raises(error, match="ours"):
        mj.io.save_dicom_segmentation(drawn(LATTICE.affine), tmp_path / "labels.dcm", tmp_path / "scan")
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]


def test_what_highdicom_refuses_is_said_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**options: Any) -> None:
        raise AttributeError("'Dataset' object has no attribute 'PixelMeasuresSequence'")

    series(tmp_path / "scan", each=lambda k: FRAME)
    monkeypatch.setattr(highdicom.seg, "Segmentation", failing)
    with pytest.raises(mj.ImageFileError, match=r"highdicom cannot make.*AttributeError.*PixelMeasuresSequence"):
        mj.io.save_dicom_segmentation(drawn(LATTICE.affine), tmp_path / "labels.dcm", tmp_path / "scan")


def test_a_full_disk_keeps_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series(tmp_path / "scan", each=lambda k: FRAME)

    def failing(file: Any, element: Any, *args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pydicom.filewriter, "write_data_element", failing)
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device$") as caught:
        mj.io.save_dicom_segmentation(drawn(LATTICE.affine), tmp_path / "labels.dcm", tmp_path / "scan")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("options", [{"series_description": "x" * 65}, {"algorithm": "a\\b"}, {"names": {1: "x" * 65}}])
def test_texts_that_do_not_fit_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    series(tmp_path / "scan", each=lambda k: FRAME)
    with pytest.raises(ValueError, match="must have at most 64 characters and no backslash"):
        mj.io.save_dicom_segmentation(drawn(LATTICE.affine), tmp_path / "labels.dcm", tmp_path / "scan", **options)


def test_the_patient_is_the_source_s(tmp_path: Path) -> None:
    series(tmp_path / "scan", each=lambda k: FRAME | {"PatientName": "Müller^Änne", "PatientAge": "071Y"})
    dataset = written(tmp_path / "scan")
    assert (dataset.PatientName, dataset.PatientAge, dataset.StudyInstanceUID) == (
        "Müller^Änne",
        "071Y",
        "1.2.826.0.1.3680043.8.498.1",
    )
    assert metadata_of(mj.load_image(tmp_path / "labels.dcm")).patient_id == "ID-OF-A-PATIENT"
