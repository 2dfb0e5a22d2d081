"""Cohorts that are found: by patterns in folders, in DICOM trees, in BIDS datasets, in HDF5 stores."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohorts import labels, scan, volume, write

import medjax as mj
from medjax.data import Cohort


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "data", 3)
    return tmp_path / "data"


def test_patterns_name_cases_by_the_star(folder: Path) -> None:
    cohort = Cohort.from_folder(folder, ct="*/ct.nii.gz", seg="*/seg.nii.gz", kinds={"seg": "label"})
    assert (cohort.names, cohort.roles) == (("c0", "c1", "c2"), ("ct", "seg"))
    np.testing.assert_array_equal(cohort[2]["ct"].voxels, volume(2))
    assert cohort[0]["seg"].kind == "label"


def test_patterns_with_fields_and_several_stars(folder: Path) -> None:
    for number, (patient, visit) in enumerate((("p0", "v1"), ("p0", "v2"), ("p1", "v1"))):
        (folder / patient).mkdir(exist_ok=True)
        (folder / f"c{number}").rename(folder / patient / visit)
    starred = Cohort.from_folder(folder, ct="*/*/ct.nii.gz")
    assert starred.names == ("p0_v1", "p0_v2", "p1_v1")
    assert starred.patients == starred.names
    fields = Cohort.from_folder(folder, ct="{patient}/{visit}/ct.nii.gz")
    assert (fields.names, fields.patients) == (starred.names, ("p0", "p0", "p1"))
    assert fields[1].values["visit"] == "v2"


def test_files_of_a_flat_folder(folder: Path) -> None:
    for number in range(2):
        shutil.move(folder / f"c{number}" / "ct.nii.gz", folder / f"liver_{number}_0000.nii.gz")
    cohort = Cohort.from_folder(folder, ct="{case}_0000.nii.gz")
    assert cohort.names == ("liver_0", "liver_1")


WRONG_PATTERNS: list[tuple[str, dict[str, Any]]] = [
    ("name the files of each role", {}),
    (r"role 'ct': a pattern is a path below the folder with a \*", {"ct": "c0/ct.nii.gz"}),
    ("role 'ct': a pattern is", {"ct": "**/ct.nii.gz"}),
    ("role 'ct': a pattern is", {"ct": "/data/*/ct.nii.gz"}),
    ("role 'pet': no file in .* matches", {"ct": "*/ct.nii.gz", "pet": "*/pet.nii.gz"}),
    ("case 'c0', role 'ct': .* matches both .*ct.nii.gz and .*seg.nii.gz", {"ct": "{case}/*.nii.gz"}),
    ("names a field twice", {"ct": "{case}/{case}.nii.gz"}),
    ("optional names 'sge', which is no role; did you mean 'seg'", {"seg": "*/seg.nii.gz", "optional": ["sge"]}),
    ("kinds names the role 'sge', which is not asked for; did you mean 'seg'",
     {"seg": "*/seg.nii.gz", "kinds": {"sge": "label"}}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "arguments"), WRONG_PATTERNS)
def test_a_wrong_pattern_is_named(message: str, arguments: dict[str, Any], folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Cohort.from_folder(folder, **arguments)


def test_a_case_that_lacks_a_role_is_named_unless_it_may(folder: Path) -> None:
    (folder / "c1" / "seg.nii.gz").unlink()
    patterns = {"ct": "*/ct.nii.gz", "seg": "*/seg.nii.gz"}
    with pytest.raises(ValueError, match=r"case 'c1' has nothing for role 'seg' .*optional=\('seg',\)"):
        Cohort.from_folder(folder, **patterns)  # type: ignore[arg-type]
    cohort = Cohort.from_folder(folder, optional=["seg"], **patterns)  # type: ignore[arg-type]
    assert [list(case) for case in cohort] == [["ct", "seg"], ["ct"], ["ct", "seg"]]
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere'"):
        Cohort.from_folder(folder / "nowhere", **patterns)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mj.datasets.cohort(3, tmp_path_factory.mktemp("dicom") / "made", 1, as_dicom=True, spacing=24.0).parent


def test_studies_of_a_dicom_tree(studies: Path) -> None:
    """The made cohort has four examinations of three patients: its manifest says which series belong together."""
    cohort = Cohort.from_dicom(studies)
    assert (len(cohort), set(cohort.roles), len(set(cohort.patients))) == (4, {"ct", "pet"}, 3)
    stated = Cohort.from_csv(studies / "cohort.csv", kinds={"ct": None, "pet": None, "seg": "label"})
    by_sum = {int(np.sum(case["ct"].voxels, dtype=np.int64)): case for case in cohort}
    for case in stated:
        found = by_sum[int(np.sum(case["ct"].voxels, dtype=np.int64))]
        np.testing.assert_array_equal(found["pet"].voxels, case["pet"].voxels)
        assert found.name == found["ct"].metadata.study_uid  # type: ignore[union-attr]
        assert found["pet"].metadata.modality == "PT"  # type: ignore[union-attr]


def test_two_series_for_one_role_are_told_apart_or_refused(studies: Path, tmp_path: Path) -> None:
    first = sorted(studies.glob("p*_v1"))[0]
    scans = [mj.load_image(first / role) for role in ("ct", "pet")]
    for number, image in enumerate((scans[0], mj.rescale(scans[0], 1, 5))):
        mj.io.save_dicom_series(
            image, tmp_path / str(number), series_number=number, series_description=f"made {number}"
        )
    with pytest.raises(ValueError, match=r"role 'ct': both series .* qualify; choose by roles"):
        Cohort.from_dicom(tmp_path)
    roles = {"ct": lambda series: series.description == "made 1"}
    (case,) = Cohort.from_dicom(tmp_path, roles=roles)
    assert float(np.min(case["ct"].voxels)) == pytest.approx(float(np.min(scans[0].voxels)) + 5, abs=0.1)
    with pytest.raises(ValueError, match="by must be a DICOM keyword"):
        Cohort.from_dicom(tmp_path, by="Study")
    with pytest.raises(ValueError, match="has no DICOM series that a role takes"):
        Cohort.from_dicom(tmp_path, roles={"pet": "PT"})


def bids(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mj.save_image(labels(number) if "mask" in name else scan(number), path)


def test_sessions_and_participants_of_bids(tmp_path: Path) -> None:
    bids(
        tmp_path,
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_acq-hi_run-1_T1w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T2w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii",
        "derivatives/lesions/sub-02/anat/sub-02_desc-lesion_mask.nii.gz",
    )
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t61\tn/a\nsub-02\t44\tF\n")
    cohort = Cohort.from_bids(
        tmp_path, mr="T1w", seg="derivatives/lesions/desc-lesion_mask", kinds={"seg": "label"}, optional=["seg"]
    )
    assert cohort.names == ("sub-01_ses-a", "sub-01_ses-b", "sub-02")
    assert cohort.patients == ("sub-01", "sub-01", "sub-02")
    assert [case.values["age"] for case in cohort] == ["61", "61", "44"]
    assert (cohort[1].values["session"], cohort[0].values["sex"]) == ("ses-b", "")
    np.testing.assert_array_equal(cohort[1]["mr"].voxels, volume(1))
    assert (cohort[2]["seg"].kind, list(cohort[0])) == ("label", ["mr"])
    assert Cohort.from_bids(tmp_path, mr="acq-hi_T1w").names == ("sub-01_ses-b",)


def test_bids_that_is_ambiguous_or_wrong(tmp_path: Path) -> None:
    bids(tmp_path, *(f"sub-01/func/sub-01_task-rest_run-{run}_bold.nii.gz" for run in (1, 2)))
    with pytest.raises(ValueError, match=r"case 'sub-01', role 'f': 'bold' matches both .* such as 'run-2_bold'"):
        Cohort.from_bids(tmp_path, f="bold")
    assert Cohort.from_bids(tmp_path, f="run-2_bold").names == ("sub-01",)
    with pytest.raises(ValueError, match=r"role 'f': .* has no scan 'T1w'; its suffixes are \['bold'\]"):
        Cohort.from_bids(tmp_path, f="T1w")
    with pytest.raises(ValueError, match="a scan is a suffix with entities before it"):
        Cohort.from_bids(tmp_path, f="*_bold.nii.gz")
    with pytest.raises(ValueError, match=r"role 'f': there is no folder .*nothing"):
        Cohort.from_bids(tmp_path, f="derivatives/nothing/bold")
    bids(tmp_path / "misnamed", "sub-02/func/sub-03_bold.nii.gz")
    with pytest.raises(ValueError, match=r"sub-03_bold.nii.gz: lies with sub-02, but its name does not begin so"):
        Cohort.from_bids(tmp_path / "misnamed", f="bold")


def test_groups_of_a_store(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    for number in range(2):
        mj.io.save_hdf5(path, scan(number), f"c{number}", "CT")
    mj.io.save_hdf5(path, labels(0), "c0", "SEG")
    cohort = Cohort.from_hdf5(path, ct="CT")
    assert cohort.names == ("c0", "c1")
    np.testing.assert_array_equal(cohort[1]["ct"].voxels, volume(1))
    with pytest.raises(ValueError, match=r"s.h5: case 'c1' has nothing for role 'seg'"):
        Cohort.from_hdf5(path, ct="CT", seg="SEG")
    assert Cohort.from_hdf5(path, ct="CT", seg="SEG", optional=["seg"])[0]["seg"].kind == "label"
    with pytest.raises(ValueError, match=r"role 'pet': .* has no image 'PET'; it has \['CT', 'SEG'\]"):
        Cohort.from_hdf5(path, pet="PET")
    with pytest.raises(FileNotFoundError, match=r"no HDF5 file '.*t.h5'"):
        Cohort.from_hdf5(tmp_path / "t.h5", ct="CT")
    mj.io.save_hdf5(path, scan(2), "patient 7", "CT")
    with pytest.raises(ValueError, match=r"s.h5: case must be a text of letters.*got 'patient 7'"):
        Cohort.from_hdf5(path, ct="CT")
