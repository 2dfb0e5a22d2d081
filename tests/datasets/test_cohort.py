"""A cohort on disk: what the manifest says is there, each defect is found, SUV comes back through DICOM."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import medjax as mj

DEFECTS: list[Any] = ["truncated_file", "empty_mask", "shifted_label", "nan", "duplicate_patient", "wrong_units"]
SPACING = 12.0


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mj.datasets.cohort(6, tmp_path_factory.mktemp("made"), 0, defects=DEFECTS, spacing=SPACING)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    return mj.datasets.cohort(3, folder, 0, as_dicom=True, defects=["truncated_file"], spacing=SPACING)


def test_manifest_names_every_file_and_each_patient(made: Path) -> None:
    rows = rows_of(made)
    assert made.name == "cohort.csv"
    assert list(rows[0]) == ["case", "patient", "ct", "pet", "seg", "lesions", "lesion_ml", "tlg", "defect"]
    assert [row["case"] for row in rows] == sorted({row["case"] for row in rows})
    assert len({row["patient"] for row in rows}) == 6
    assert [row["patient"] for row in rows].count("p002") == 2  # every third comes twice
    files = {path.relative_to(made.parent).as_posix() for path in made.parent.rglob("*.nii.gz")}
    assert files == {row[role] for row in rows for role in ("ct", "pet", "seg")}
    assert sorted(row["defect"] for row in rows if row["defect"]) == sorted(DEFECTS)


def test_manifest_is_read_as_it_is(made: Path, series: Path) -> None:
    """By `Cohort.from_csv` with no more said than which images are labels; a folder of DICOM ends in "/"."""
    for path in (made, series):
        cohort = mj.data.Cohort.from_csv(path, kinds={"seg": "label"})
        assert cohort.roles == ("ct", "pet", "seg")
        assert set(cohort[0].values) == {"lesions", "lesion_ml", "tlg", "defect"}


def test_cases_differ_in_shape_and_orientation(made: Path) -> None:
    scans = [mj.load_image(made.parent / row["ct"]) for row in rows_of(made) if row["defect"] != "truncated_file"]
    assert len({scan.shape for scan in scans}) >= 5
    assert len({scan.orientation for scan in scans}) >= 3


def found_in(folder: Path, row: dict[str, str], rows: list[dict[str, str]]) -> set[str]:
    """The defects of a case, found from its files alone: what a check of a cohort would do."""
    try:
        ct, pet, seg = (mj.load_image(folder / row[role]) for role in ("ct", "pet", "seg"))
    except mj.ImageFileError:
        return {"truncated_file"}
    found = set()
    if not np.asarray(seg.voxels).any():
        found.add("empty_mask")
    if not np.allclose(seg.affine, pet.affine, atol=1e-3 * min(pet.spacing)):
        found.add("shifted_label")
    if np.isnan(pet.voxels).any():
        found.add("nan")
    if np.asarray(ct.voxels).min() >= 0:
        found.add("wrong_units")
    for other in rows:
        if other["patient"] != row["patient"] and other["defect"] != "truncated_file":
            again = mj.load_image(folder / other["ct"])
            if again.shape == ct.shape and (np.asarray(again.voxels) == ct.voxels).all():
                found.add("duplicate_patient")
    return found


def test_each_defect_is_found_and_no_other(made: Path) -> None:
    rows = rows_of(made)
    wrong = {row["case"]: found_in(made.parent, row, rows) for row in rows}
    copied = {row["case"] for row in rows if row["defect"] == "duplicate_patient"}
    originals = {case for case, found in wrong.items() if "duplicate_patient" in found} - copied
    assert len(originals) == 1  # the examination that was copied is the same, too
    for row in rows:
        expected = {row["defect"]} - {""} | ({"duplicate_patient"} if row["case"] in originals else set())
        assert wrong[row["case"]] == expected, row["case"]


def test_masks_have_the_volume_that_the_manifest_states(tmp_path: Path) -> None:
    """And lie where PET is hot. At 4 mm the voxels of a lesion of 6 mm radius add up to within a third of its volume."""
    path = mj.datasets.cohort(3, tmp_path / "made", 5, spacing=4.0)
    stated, counted = 0.0, 0.0
    for row in rows_of(path):
        pet, seg = (mj.load_image(path.parent / row[role]) for role in ("pet", "seg"))
        mask = np.asarray(seg.voxels) > 0
        stated += float(row["lesion_ml"])
        counted += mask.sum() * np.prod(seg.spacing) / 1000
        assert mask.any()
        assert np.asarray(pet.voxels)[mask].mean() > 3
    assert counted == pytest.approx(stated, rel=0.15)


def test_second_visit_shows_the_same_lesions_changed() -> None:
    # Private: the lesions of a second visit, of which the manifest only states sums.
    from medjax.datasets._trunk import trunk

    first, second = (trunk(2, 5, visit).lesions for visit in (1, 2))
    assert [one.center_mm for one in first] == [one.center_mm for one in second]
    assert all(a.suv != b.suv and a.radius_mm != b.radius_mm for a, b in zip(first, second, strict=True))


def test_a_patient_depends_neither_on_the_number_of_patients_nor_on_defects(made: Path, tmp_path: Path) -> None:
    alone = mj.datasets.cohort(3, tmp_path / "alone", 0, spacing=SPACING)
    together = {row["case"]: row for row in rows_of(made)}
    same = 0
    for row in rows_of(alone):
        for role in ("ct", "pet", "seg"):
            if not together[row["case"]]["defect"]:
                same += 1
                assert (alone.parent / row[role]).read_bytes() == (made.parent / row[role]).read_bytes()
    assert same >= 3


def test_suv_comes_back_through_dicom(series: Path, tmp_path: Path) -> None:
    """The factor from the files' headers, against the SUV that the NIfTI files of the same cohort hold."""
    plain = mj.datasets.cohort(3, tmp_path / "plain", 0, spacing=SPACING)
    for row, other in zip(rows_of(series), rows_of(plain), strict=True):
        pet, suv = mj.load_image(series.parent / row["pet"]), mj.load_image(plain.parent / other["pet"])
        assert isinstance(pet.metadata, mj.Metadata)
        assert pet.metadata.modality == "PT"
        assert pet.metadata.extra["Units"] == "BQML"
        highest = float(np.max(suv.voxels))
        assert highest > 4
        np.testing.assert_allclose(mj.to_suv(pet).voxels, suv.voxels, atol=highest / 65534 + 1e-6 * highest)
        np.testing.assert_allclose(pet.affine, suv.affine, atol=1e-4)


def test_factor_is_that_of_the_header_by_hand(series: Path) -> None:
    """`W / (D 2^(-t / T))` from the attributes as pydicom reads them, PS3.3 section C.8.9.2."""
    folder = series.parent / rows_of(series)[0]["pet"]
    files = sorted(folder.glob("*.dcm"))
    header = pydicom.dcmread(files[0])
    assert header.SOPClassUID == pydicom.uid.PositronEmissionTomographyImageStorage
    assert len(files) == mj.load_image(folder).shape[2]
    (dose,) = header.RadiopharmaceuticalInformationSequence
    moment = lambda text: sum(60 ** (2 - n) * int(text[2 * n : 2 * n + 2]) for n in range(3))  # noqa: E731
    waited = moment(header.SeriesTime) - moment(dose.RadiopharmaceuticalStartTime)
    left = dose.RadionuclideTotalDose * 2 ** (-waited / dose.RadionuclideHalfLife)
    record = mj.suv_factor(mj.load_image(folder))
    assert 3000 <= waited <= 4500
    assert record.factor == pytest.approx(1000 * float(header.PatientWeight) / left, rel=1e-9)  # type: ignore[union-attr]


def test_series_of_one_patient_belong_together(series: Path) -> None:
    for row in rows_of(series):
        one, other = (next((series.parent / row[role]).glob("*.dcm")) for role in ("ct", "pet"))
        a, b = pydicom.dcmread(one), pydicom.dcmread(other)
        assert (a.PatientID, a.StudyInstanceUID, a.FrameOfReferenceUID) == (
            *(b.PatientID, b.StudyInstanceUID, b.FrameOfReferenceUID),
        )
        assert (a.Modality, b.Modality) == ("CT", "PT")
        assert a.SeriesInstanceUID != b.SeriesInstanceUID
    studies = {
        pydicom.dcmread(next((series.parent / row["ct"]).glob("*.dcm"))).StudyInstanceUID for row in rows_of(series)
    }
    assert len(studies) == len(rows_of(series))


def test_truncated_slice_is_named(series: Path) -> None:
    (row,) = [row for row in rows_of(series) if row["defect"]]
    with pytest.raises(mj.ImageFileError, match=r"IM\d+\.dcm"):
        mj.load_image(series.parent / row["ct"])


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("n must be", {"n": 0}),
    ("n must be", {"n": 2.5}),
    ("seed must be", {"seed": -1}),
    ("defects must be of .*; got 'rotten'", {"defects": ["rotten"]}),
    ("defects names 2, but there are 1 cases", {"defects": ["nan", "empty_mask"]}),
    ("'duplicate_patient', which takes two patients", {"defects": ["duplicate_patient"]}),
    ("defects has 'nan', which DICOM", {"defects": ["nan"], "as_dicom": True}),
    ("spacing must be", {"spacing": -2.0}),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("message", "change"), WRONG)
def test_wrong_argument_is_named_and_nothing_is_written(message: str, change: dict[str, Any], tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"n": 1, "folder": tmp_path / "made", "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        mj.datasets.cohort(**arguments)
    assert not (tmp_path / "made").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="must not exist, or be empty"):
        mj.datasets.cohort(1, tmp_path, 0, spacing=SPACING)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
