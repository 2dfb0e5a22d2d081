"""The table of cases: what it reads, and that nothing in it is guessed."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohorts import SHAPE, held, labels, scan, volume, write

import medjax as mj
from medjax.data import Case, Cohort

KINDS: dict[str, Any] = {"ct": "intensity", "seg": "label"}


def test_rows_give_cases_with_images_patients_and_values(tmp_path: Path) -> None:
    rows = [{**row, "age": 60 + number} for number, row in enumerate(write(tmp_path))]
    cohort = Cohort.of(rows, kinds=KINDS)
    assert (len(cohort), cohort.names, cohort.patients) == (3, ("c0", "c1", "c2"), ("p0", "p0", "p1"))
    assert cohort.roles == ("ct", "seg")
    case = cohort[1]
    assert isinstance(case, Case)
    assert (case.name, case.patient, dict(case.values)) == ("c1", "p0", {"age": 61})
    assert (list(case), len(case), "pet" in case) == (["ct", "seg"], 2, False)
    np.testing.assert_array_equal(case["ct"].voxels, volume(1), strict=True)
    assert case["ct"].origin == pytest.approx((1, 0.1, -3), rel=1e-6)
    assert (case["ct"].kind, case["seg"].kind) == ("intensity", "label")
    assert case["ct"] is case["ct"], "read once"
    assert dict(case).keys() == {"ct", "seg"}


def test_slices_lists_names_and_loops() -> None:
    cohort = held(5)
    assert cohort[1:4].names == ("c1", "c2", "c3")
    assert cohort[[3, 0]].names == ("c3", "c0")
    assert cohort[["c4", "c1"]].names == ("c4", "c1")
    assert (cohort[-1].name, cohort["c2"].name, cohort[np.int64(2)].name) == ("c4", "c2", "c2")
    assert [case.name for case in cohort] == list(cohort.names)
    with pytest.raises(IndexError, match="has 5 cases, there is no case 5"):
        cohort[5]
    with pytest.raises(KeyError, match="no case 'c9'"):
        cohort["c9"]


@pytest.mark.usefixtures("unchecked")
def test_an_index_that_is_none_is_refused() -> None:
    for which in (True, 1.5, None):
        with pytest.raises(TypeError, match="takes a number, a name, a slice or a list"):
            held(2)[which]  # type: ignore[index]


def write_csv(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    with path.open("w", encoding=options.pop("encoding", "utf-8"), newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), **options)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_manifest_with_relative_paths_empty_cells_and_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the manifest, wherever the program runs; the mark that Excel puts first is no part of a name."""
    for row in write(tmp_path / "data"):
        assert Path(row["ct"]).is_file()
    rows = [
        {"case": f"c{n}", "patient": "", "ct": f"data/c{n}/ct.nii.gz", "seg": "", "site": "Köln, 1"} for n in range(3)
    ]
    rows[2]["seg"], rows[2]["patient"] = "data/c2/seg.nii.gz", "p9"
    path = write_csv(tmp_path / "cohort.csv", rows, encoding="utf-8-sig")
    monkeypatch.chdir("/")
    cohort = Cohort.from_csv(path, kinds=KINDS)
    assert [list(case) for case in cohort] == [["ct"], ["ct"], ["ct", "seg"]]
    assert cohort.patients == ("c0", "c1", "p9")  # default: the case
    assert cohort[0].values["site"] == "Köln, 1"
    np.testing.assert_array_equal(cohort[2]["ct"].voxels, volume(2))


def test_manifest_of_the_made_cohort(tmp_path: Path) -> None:
    path = mj.datasets.cohort(3, tmp_path / "made", 0, spacing=16.0)
    cohort = Cohort.from_csv(path, kinds={"ct": "intensity", "pet": "intensity", "seg": "label"})
    assert (len(cohort), cohort.roles) == (4, ("ct", "pet", "seg"))
    assert cohort.patients == ("p000", "p001", "p002", "p002")
    with path.open() as file:
        stated = list(csv.DictReader(file))
    for case, row in zip(cohort, stated, strict=True):
        assert dict(case.values) == {name: row[name] for name in ("lesions", "lesion_ml", "tlg", "defect")}
        assert case["seg"].kind == "label"
        np.testing.assert_array_equal(case["pet"].voxels, mj.load_image(path.parent / row["pet"]).voxels)


def test_a_column_names_the_series_in_a_folder_of_several(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    for number in range(2):
        mj.io.save_dicom_series(scan(number), tmp_path / "study" / str(number), series_number=number)
    listed = mj.io.list_dicom_series(tmp_path / "study")
    assert [series.number for series in listed] == [0, 1]
    rows = [{"case": "a", "mr": "study", "mr#series": listed[1].uid}]
    case = Cohort.from_csv(write_csv(tmp_path / "cohort.csv", rows), kinds={"mr": None})[0]
    assert list(case) == ["mr"]
    assert dict(case.values) == {}
    assert int(np.min(case["mr"].voxels)) == 1000
    without = Cohort.from_csv(write_csv(tmp_path / "cohort.csv", [{"case": "a", "mr": "study"}]), kinds={"mr": None})
    with pytest.raises(mj.io.MultipleSeriesError, match=r"cohort.csv, line 2 \(case 'a'\), role 'mr'.*2 series"):
        without[0]["mr"]


def test_an_image_of_a_store_and_one_in_memory(tmp_path: Path) -> None:
    mj.io.save_hdf5(tmp_path / "s.h5", scan(4), "a", "CT")
    cohort = Cohort.of(
        [{"case": "x", "ct": (str(tmp_path / "s.h5"), "a", "CT"), "seg": labels(0)}], modality={"ct": "CT"}
    )
    case = cohort[0]
    np.testing.assert_array_equal(case["ct"].voxels, volume(4))
    assert case["ct"].metadata.modality == "CT"  # type: ignore[union-attr]
    assert case["seg"].kind == "label"


def test_labels_that_a_file_holds_as_floats_are_exact_or_refused(tmp_path: Path) -> None:
    """nnU-Net's users store them so; a mask with fractions is no label."""
    for name, value in (("whole", 2.0), ("soft", 0.5)):
        mj.save_image(mj.Image.from_array(np.full(SHAPE, value, np.float32)), tmp_path / f"{name}.nii")
    rows = [{"case": name, "seg": str(tmp_path / f"{name}.nii")} for name in ("whole", "soft")]
    cohort = Cohort.of(rows, kinds={"seg": "label"})
    assert (cohort[0]["seg"].dtype, cohort[0]["seg"].kind) == (np.int32, "label")
    with pytest.raises(ValueError, match=r"row 1 \(case 'soft'\), role 'seg' .*do not all fit"):
        cohort[1]["seg"]


def test_columns_that_kinds_does_not_name(tmp_path: Path) -> None:
    """They hold images where a cell can be nothing else; `value` carries one through that looks as if."""
    rows = [{**row, "sex": "F", "origin": "raw/7.dcm"} for row in write(tmp_path, 1)]
    assert Cohort.of(rows, kinds={"seg": "label", "origin": "value"}).roles == ("ct", "seg")
    with pytest.raises(FileNotFoundError, match=r"row 0 \(case 'c0'\), role 'origin'.*kinds=\{'origin': 'value'\}"):
        Cohort.of(rows, kinds={"seg": "label"})


def row(**more: Any) -> dict[str, Any]:
    return {"case": "a", "ct": scan(0), **more}


WRONG: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    ("cohort is empty: give at least one row", [], {}),
    ("row 1: it has no name; give every row a column 'case'", [row(), {"ct": scan(0)}], {}),
    (r"row 1 \(case 'a'\): the name stands in row 0, too", [row(), row()], {}),
    ("row 0: case must be a text of letters.*got 'a b'", [row(case="a b")], {}),
    ("row 0: case must be a text of letters.*got '..'", [row(case="..")], {}),
    ("row 0: case must be a text of letters.*got 7", [row(case=7)], {}),
    ("kinds names the role 'sge', but no row.*did you mean 'seg'", [row(seg=labels(0))], {"kinds": {"sge": "label"}}),
    ("kinds names the role 'dose'.*there are ct", [row()], {"kinds": {"dose": None}}),
    (r"kinds\['ct'\] must be 'intensity', 'label' or 'value', got 'mask'", [row()], {"kinds": {"ct": "mask"}}),
    ("kinds names 'patient', which is no role", [row(patient="p")], {"kinds": {"patient": "label"}}),
    (r"row 1 \(case 'b'\): the column 'sge' is not in kinds.*did you mean 'seg'",
     [row(seg=labels(0)), row(case="b", sge=labels(1))], {"kinds": {"seg": "label"}}),
    (r"row 0 \(case 'a'\), role 'ct': must be a path.*got 5", [row(ct=5)], {"kinds": {"ct": None}}),
    (r"row 0 \(case 'a'\), role 'ct': an image in an HDF5 file is", [row(ct=("s.h5", "a"))], {}),
    (r"row 0 \(case 'a'\): the column 'age' must hold texts or numbers, got list", [row(age=[1])], {}),
    (r"row 0 \(case 'a'\): patient must be a text", [row(patient=1.5)], {}),
    ("column 'pet#series' names series of a role that is not there", [row(**{"pet#series": "1.2"})], {}),
    (r"row 0 \(case 'a'\), role 'pet': a series is named, but no folder", [row(pet=None, **{"pet#series": "1.2"})], {}),
    ("modality names 'mr', which is no role", [row()], {"modality": {"mr": "MR"}}),
    (r"row 0: must be a dict with the key 'case', got int", [3], {}),  # type: ignore[list-item]
    ("rows must be a list of dicts, one for each case, got dict", {"case": "a"}, {}),  # type: ignore[list-item]
    ("rows must be a list of dicts, one for each case, got str", "a.csv", {}),  # type: ignore[list-item]
]  # fmt: skip


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("message", "rows", "options"), WRONG, ids=[message[:40] for message, *_ in WRONG])
def test_a_wrong_row_is_named_with_the_remedy(message: str, rows: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        Cohort.of(rows, **options)


def test_a_missing_file_is_named_before_anything_is_read(tmp_path: Path) -> None:
    rows = write(tmp_path)
    Path(rows[1]["seg"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"row 1 \(case 'c1'\), role 'seg': there is no .*seg.nii.gz'; correct"):
        Cohort.of(rows, kinds=KINDS)


def test_damage_is_named_with_row_role_and_path(tmp_path: Path) -> None:
    rows = write(tmp_path)
    Path(rows[2]["ct"]).write_bytes(Path(rows[2]["ct"]).read_bytes()[:-20])
    cohort = Cohort.of(rows, kinds=KINDS)
    with pytest.raises(mj.ImageFileError, match=r"ct.nii.gz: row 2 \(case 'c2'\), role 'ct'") as caught:
        cohort[2]["ct"]
    assert caught.value.path == rows[2]["ct"]


MANIFESTS = [
    ("", "must name the columns, 'case' among them"),
    ("case,ct\n", "cohort is empty"),
    ("name,ct\na,b\n", r"must name the columns, 'case' among them, got \['name', 'ct'\]"),
    ("case;ct\na;b\n", "seem to be separated by ';'"),
    ("case,ct,ct\na,b,c\n", "'ct' stands 2 times"),
    ("case,site\na,x\nb,x,y\n", r"cohort.csv, line 3: has 3 cells, the header names 2 columns"),
    ("case,site\na,x\nb\n", r"cohort.csv, line 3: has 1 cells"),
    ('case,site\na,"x\n', "line 2: is no CSV"),
    ("case,site\na,x\n\nb,x\na,x\n", r"cohort.csv, line 5 \(case 'a'\): the name stands in .*line 2"),
    ("case,ct\na,b.nii\n", r"cohort.csv, line 2 \(case 'a'\), role 'ct': there is no '.*b.nii'"),
]


@pytest.mark.parametrize(("text", "message"), MANIFESTS, ids=range(len(MANIFESTS)))
def test_a_wrong_manifest_is_refused_by_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Cohort.from_csv(tmp_path / "cohort.csv")


def test_a_manifest_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("case,site\na,Köln\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.csv: is not UTF-8 at byte"):
        Cohort.from_csv(tmp_path / "latin.csv")
    with pytest.raises(FileNotFoundError, match=r"no manifest '.*none.csv'"):
        Cohort.from_csv(tmp_path / "none.csv")


def patient_scan(number: int, patient: str | None) -> mj.Image:
    return scan(number, metadata=mj.Metadata(modality="CT", patient_id=patient))


def test_headers_of_two_patients_in_a_case_are_refused_without_naming_them() -> None:
    rows = [{"case": "a", "ct": patient_scan(0, "SECRET1"), "pet": patient_scan(1, "SECRET2")}]
    with pytest.raises(
        ValueError, match=r"row 0 \(case 'a'\): the headers of role 'ct'.*role 'pet'.*different patients"
    ) as caught:
        dict(Cohort.of(rows)[0])
    assert "SECRET" not in str(caught.value)
    assert len(dict(Cohort.of(rows, check_patients=False)[0])) == 2
    rows[0]["pet"] = patient_scan(1, None)  # states nothing
    assert len(dict(Cohort.of(rows)[0])) == 2


def test_a_role_that_a_case_lacks() -> None:
    case = Cohort.of([{"case": "a", "ct": scan(0), "age": 61}])[0]
    with pytest.raises(KeyError, match=r"row 0 \(case 'a'\) has no role 'pet'.*there are ct"):
        case["pet"]
    with pytest.raises(KeyError, match="it is the value 61: name it in kinds"):
        case["age"]
    assert case.get("pet") is None


def test_reprs_name_no_patient() -> None:
    cohort = Cohort.of([{"case": "a", "patient": "Doe^Jane", "ct": scan(0)}])
    assert repr(cohort) == "Cohort(1 case of 1 patient: ct)"
    assert repr(cohort[0]) == "Case('a': ct)"


@pytest.mark.usefixtures("unchecked")
def test_a_case_of_images() -> None:
    case = Case.of("a", {"ct": scan(0)}, patient="p", values={"age": 3})
    other = case.with_images({"pet": scan(1)})
    assert (list(other), other.patient, other.values["age"], other.sources) == (["pet"], "p", 3, {"pet": "memory"})
    assert case != other
    assert len({case, other}) == 2
    with pytest.raises(ValueError, match="case 'a', role 'ct': must be an Image, got ndarray"):
        Case.of("a", {"ct": volume(0)})  # type: ignore[dict-item]


def test_cohorts_and_cases_travel_to_other_processes(tmp_path: Path) -> None:
    """As workers by "spawn" need it; a cohort is a sequence of cases for whatever loads them."""
    cohort = mj.data.cache(Cohort.of([{**row, "age": 3} for row in write(tmp_path / "data")]), tmp_path / "cache")
    for sent in (cohort, Cohort.of(write(tmp_path / "more"))):
        found = pickle.loads(pickle.dumps(sent))
        assert found.names == sent.names
        case = pickle.loads(pickle.dumps(found[1]))
        assert (case.patient, dict(case.values)) == (sent[1].patient, dict(sent[1].values))
        np.testing.assert_array_equal(case["ct"].voxels, volume(1))
