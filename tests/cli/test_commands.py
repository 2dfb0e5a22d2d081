"""What each command says and writes, against the public functions and other readers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from command_files import Commands, scan

import medjax as mj

# Private: the command line's parts whose texts are tables.
from medjax._cli._arguments import joined
from medjax._cli._commands import COMMANDS
from medjax._cli._identity import withheld


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def names_in(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# --- info --------------------------------------------------------------------------------------------------------------


def test_info_of_one_and_of_several(medjax: Commands) -> None:
    one = medjax("info ct.nii.gz")
    assert (one.code, one.err) == (0, "")
    assert "12 x 10 x 6" in one.out
    assert "1 x 1.5 x 2 mm" in one.out
    assert "LPS, 16.3 degrees oblique" in one.out
    several = medjax("info ct.nii.gz seg.nii.gz")
    heading, *rows = several.out.splitlines()
    assert heading.split() == ["path", "shape", "spacing", "orientation", "dtype", "kind", "size", "notes"]
    assert [row.split()[:6] for row in rows] == [
        ["ct.nii.gz", "12x10x6", "1x1.5x2", "LPS", "int16", "intensity"],
        ["seg.nii.gz", "12x10x6", "1x1.5x2", "LPS", "uint8", "label"],
    ]


def test_info_as_json_and_bare(medjax: Commands) -> None:
    ran = medjax("info ct.nii.gz garbage.nii.gz seg.nii.gz --json")
    assert ran.code == 5
    ct, bad, seg = lines_of(ran.out)
    assert [next(iter(found.items())) for found in (ct, bad, seg)] == [("schema", "medjax.info/1")] * 3
    image = medjax.load("ct.nii.gz")
    assert ct["affine"] == image.affine.tolist()
    assert (ct["shape"], ct["kind"], seg["kind"]) == ([12, 10, 6], "intensity", "label")
    assert bad["path"] == "garbage.nii.gz"
    assert bad["error"]
    assert medjax("info ct.nii.gz --field spacing").out == "1,1.5,2\n"
    assert medjax("info ct.nii.gz seg.nii.gz --field dtype").out == "int16\nuint8\n"
    rows = medjax("info ct.nii.gz --field affine --frame ras").out.splitlines()
    found = np.array([[float(x) for x in row.split(",")] for row in rows])
    np.testing.assert_allclose(found, nibabel.load("ct.nii.gz").affine, atol=1e-5)  # type: ignore[attr-defined]


def test_info_with_statistics(medjax: Commands) -> None:
    (found,) = lines_of(medjax("info ct.nii.gz --stats --json").out)
    voxels = scan().voxels
    assert found["stats"]["min"] == voxels.min()
    np.testing.assert_allclose(found["stats"]["p99.5"], np.percentile(voxels, 99.5))
    (found,) = lines_of(medjax("info seg.nii.gz --stats --json").out)
    assert found["stats"]["labels"] == [0, 1, 2]


def test_inputs_come_from_patterns_and_lists(medjax: Commands) -> None:
    Path("a/b").mkdir(parents=True)
    for name in ("a/x.nii", "a/b/y.nii"):
        Path(name).write_bytes(Path("whole.nii").read_bytes())
    assert medjax("info a/**/*.nii --field dtype").out == "int16\n" * 2
    Path("list").write_bytes(b"a/x.nii\nct.nii.gz\n\n")
    assert medjax("info --files-from list --field kind").out == "intensity\n" * 2
    Path("list").write_bytes(b"a/x.nii\0ct.nii.gz")
    assert medjax("info seg.nii.gz --files-from list -0 --field kind").out == "label\nintensity\nintensity\n"


def test_workers_change_neither_order_nor_bytes(medjax: Commands) -> None:
    names = "ct.nii.gz garbage.nii.gz seg.nii.gz other.nii.gz missing.nii whole.nii"
    for line in (f"info {names}", f"info {names} --json", f"check {names}"):
        one, four = medjax(line), medjax(f"{line} -j 4")
        assert four == one
    one, four = (medjax(f"resample {names} -o out{n} --spacing 2 -j {n}") for n in (1, 4))
    assert one == four
    assert one.code == 5
    assert names_in("out1") == names_in("out4") == ["ct.nii.gz", "other.nii.gz", "seg.nii.gz", "whole.nii"]
    for name in names_in("out1"):
        assert Path("out1", name).read_bytes() == Path("out4", name).read_bytes()


# --- convert -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.nrrd", "out.mha", "out.h5", "new/out.nii"])
def test_convert_keeps_everything(medjax: Commands, name: str) -> None:
    ran = medjax(f"convert ct.nii.gz {name}")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    before, after = medjax.load("ct.nii.gz"), medjax.load(name)
    np.testing.assert_array_equal(after.voxels, before.voxels, strict=True)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-9)
    assert medjax(f"compare ct.nii.gz {name} --ignore-metadata").code == 0


def test_convert_changes_no_value(medjax: Commands) -> None:
    assert medjax("convert ct.nii.gz wide.nii.gz --dtype float32").code == 0
    assert medjax.load("wide.nii.gz").dtype == np.float32
    ran = medjax("convert ct.nii.gz narrow.nii.gz --dtype uint8")
    assert (ran.code, "do not all fit" in ran.err) == (3, True)
    assert not Path("narrow.nii.gz").exists()
    assert medjax("convert ct.nii.gz labels.nii.gz --kind label").code == 0
    assert medjax.load("labels.nii.gz").kind == "label"


def test_convert_names_outputs_by_pattern(medjax: Commands) -> None:
    assert medjax("convert ct.nii.gz other.nii.gz -o", "new/{stem}_copy.mha").code == 0
    assert names_in("new") == ["ct_copy.mha", "other_copy.mha"]


def test_convert_lists_series_and_writes_each(medjax: Commands) -> None:
    Path("study").mkdir()
    for number, description in ((3, "Thorax ^ 1.0"), (4, "Abdomen/low")):
        image = scan((5, 4, 3)).with_metadata(mj.Metadata(modality="CT", patient_id="ZZSECRET"))
        mj.io.save_dicom_series(image, f"study/s{number}", series_number=number, series_description=description)
    ran = medjax("convert study out.nii.gz")
    assert ran.code == 3
    assert ran.err.count("CT") >= 2
    assert medjax("convert study -o new --all").code == 0
    assert names_in("new") == ["CT_3_Thorax-1.0.nii.gz", "CT_4_Abdomen-low.nii.gz"]
    assert medjax("convert study out.h5 --series 4").code == 0
    assert b"ZZSECRET" not in Path("out.h5").read_bytes()
    assert medjax("convert study kept.h5 --series 4 --keep-identity").code == 0
    kept = mj.load_image("kept.h5").metadata
    assert isinstance(kept, mj.Metadata)
    assert kept.patient_id == "ZZSECRET"
    assert medjax("convert study out2.nii.gz --series 9").code == 2
    listed = lines_of(medjax("info -r study --json").out)
    assert [one["number"] for one in listed] == [3, 4]


def test_no_identity_on_any_stream(medjax: Commands) -> None:
    """Planted in a series; every command that reads it, its errors and its JSON included."""
    image = scan((5, 4, 3)).with_metadata(
        mj.Metadata(
            modality="PT",
            patient_id="ZZSECRET1",
            extra={"PatientName": "ZZSECRET2^NAME", "PatientBirthDate": "19991231"},
        )
    )
    mj.io.save_dicom_series(image, "series")
    for line in (
        "info series",
        "info series --json --header",
        "info series --header",
        "info -r series",
        "check series",
        "compare series ct.nii.gz",
        "compare series ct.nii.gz --json",
        "suv series out.nii.gz",
        "suv series --explain --json --debug",
        "convert series out.mha --json",
        "apply series out.nrrd reorient:RAS --json",
        "resample series x.nii.gz --spacing 2 --dry-run --json",
        "crop series x.nii.gz --start 9,9,9 --size 1,1,1 --debug",
        "view series --terminal",
        "segstats series ct.nii.gz",
    ):
        ran = medjax(line)
        assert "ZZSECRET" not in ran.out + ran.err, line
        assert "19991231" not in ran.out + ran.err, line
    assert "ZZSECRET2" in medjax("info series --header --identity").out
    for path in ("out.mha", "out.nrrd"):
        assert b"ZZSECRET" not in Path(path).read_bytes()


def test_a_header_is_withheld_at_every_depth() -> None:
    header = {
        "PatientID": "x",
        "EchoTime": 3.5,
        "Rows": 4,
        "RadiopharmaceuticalInformationSequence": [{"RadionuclideTotalDose": 1e8, "OperatorsName": "x"}],
        "descrip": "x",
        "0009,1001": "x",
        "ImageType": "x" * 80,
    }
    found = withheld(header)
    assert found["EchoTime"] == 3.5
    assert found["RadiopharmaceuticalInformationSequence"][0]["RadionuclideTotalDose"] == 1e8
    assert "'x'" not in str(found)
    assert "xx" not in str(found)


# --- compare, check, view ------------------------------------------------------------------------------------------------


def test_compare_says_what_differs_and_where(medjax: Commands) -> None:
    image = medjax.load("ct.nii.gz")
    voxels = np.array(image.voxels)
    voxels[3, 4, 5] += 7
    voxels[0, 0, 0] -= 2
    affine = np.array(image.affine)
    affine[2, 3] += 0.5
    mj.save_image(mj.Image.from_array(voxels, affine=affine), "moved.nii.gz")
    ran = medjax("compare ct.nii.gz moved.nii.gz --json --ignore-metadata")
    assert ran.code == 1
    (found,) = lines_of(ran.out)
    differences = found["differences"]
    assert set(differences) == {"grid", "voxels"}
    np.testing.assert_allclose(differences["grid"]["farthest_corner_mm"], 0.5, atol=1e-5)
    assert (differences["voxels"]["count"], differences["voxels"]["largest"]) == (2, 7)
    assert differences["voxels"]["index"] == [3, 4, 5]
    np.testing.assert_allclose(differences["voxels"]["world_mm"], image.grid.world((3, 4, 5)))
    assert "2 of 720 differ, by 7 at most" in medjax("compare ct.nii.gz moved.nii.gz").out
    assert medjax("compare ct.nii.gz moved.nii.gz --atol 7 --geometry-atol 0.6 --ignore-metadata").code == 0
    assert medjax("compare ct.nii.gz moved.nii.gz --atol 6.9 --geometry-atol 0.6 --ignore-metadata").code == 1


def test_compare_of_label_maps(medjax: Commands) -> None:
    image = medjax.load("seg.nii.gz")
    grown = np.array(image.voxels)
    grown[6, 2:6, 1:4] = 1
    mj.save_image(image.with_voxels(grown), "grown.nii.gz")
    (found,) = lines_of(medjax("compare seg.nii.gz grown.nii.gz --labels --json --ignore-metadata").out)
    first, second = found["labels"]
    assert (first["label"], second["dice"], second["hd95_mm"]) == (1, 1.0, 0.0)
    np.testing.assert_allclose(first["dice"], 2 * 48 / (48 + 60), rtol=1e-6)
    np.testing.assert_allclose([first["ml_a"], first["ml_b"]], [0.144, 0.18], rtol=1e-5)


def defective() -> dict[str, tuple[mj.Image, str]]:
    ct = scan((16, 16, 16))
    values = np.array(ct.voxels, np.float32)
    blob = np.zeros(ct.shape, np.uint8)
    blob[4:9, 4:9, 4:9] = 1

    def like(voxels: np.ndarray, kind: str = "intensity", **grid: object) -> mj.Image:
        place = grid or {"affine": ct.affine}
        return mj.Image.from_array(voxels, kind=kind, **place)  # type: ignore[arg-type]

    nan, border, speck, odd = values.copy(), blob.copy(), blob.copy(), blob.copy()
    nan[0, 0, 0] = np.nan
    border[0, 5, 5] = border[1:5, 5, 5] = 1
    speck[13, 13, 13] = 1
    odd[5:7, 5:7, 5:7] = 7
    sparse = np.zeros((16, 16, 16), np.int16)
    sparse[0, 0, :3] = 9
    shear = np.eye(4)
    shear[0, 1] = 0.2
    return {
        "V01": (like(nan), ""),
        "V02": (like(np.full((16, 16, 16), 3, np.int16)), ""),
        "V03": (like(sparse), ""),
        "G04": (like(ct.voxels, affine=shear), ""),
        "G05": (like(ct.voxels, spacing=25.0), ""),
        "L01": (like(odd, "label"), "--labels 0,1"),
        "L02": (like(blob.astype(np.float32) / 2), "--labels any"),
        "L03": (like(0 * blob, "label"), ""),
        "L04": (like(border, "label"), ""),
        "L05": (like(speck, "label"), ""),
    }


@pytest.mark.parametrize("code", [*defective(), "clean"])
def test_check_finds_each_defect_and_no_other(medjax: Commands, code: str) -> None:
    clean = np.zeros((16, 16, 16), np.uint8)
    clean[4:9, 4:9, 4:9] = 1
    sound = (mj.Image.from_array(clean, spacing=2.0, kind="label"), "--labels 0,1")
    image, options = defective().get(code, sound)
    mj.save_image(image, "scan.nii.gz")
    ran = medjax(f"check scan.nii.gz --json {options}")
    found = lines_of(ran.out)[0]["findings"]
    assert {one["code"] for one in found} == ({code} if code != "clean" else set())
    assert ran.code == any(one["level"] == "error" for one in found)
    if code != "clean":
        assert medjax(f"check scan.nii.gz --ignore {code[0]} {options}").out == ""
        assert code in medjax(f"check scan.nii.gz --select {code} {options}").out


def test_check_of_damage_and_of_hounsfield_units(medjax: Commands) -> None:
    assert "F03 error" in medjax("check short.nii").out
    assert "F04 error" in medjax("check empty.nii").out
    ct = scan((16, 16, 4)).with_metadata(mj.Metadata(modality="CT"))
    raw = ct.with_voxels((np.asarray(ct.voxels) + 1024).astype(np.int16))
    mj.io.save_dicom_series(raw, "raw")
    assert "V04 error" in medjax("check raw").out
    codes = medjax("check --codes").out
    assert codes.count("\n") > 15


def test_view_in_the_terminal(medjax: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = medjax("view ct.nii.gz --terminal --size 80,24 --window 0,1000 --labels seg.nii.gz")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) <= 23
    assert "\x1b[38;2;" in ran.out
    assert "window -500 to 500" in lines[-1]
    assert lines[0].split() == ["A", "S", "S"]
    assert lines[-2].split() == ["R", "P", "L", "R", "I", "L", "A", "I", "P"]
    monkeypatch.setenv("NO_COLOR", "1")
    plain = medjax("view ct.nii.gz --terminal --size 80,24").out
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80
    assert medjax("view ct.nii.gz --terminal --at 900,0,0").code == 3


def test_view_as_a_picture(medjax: Commands) -> None:
    for name in ("one.png", "two.png"):
        assert medjax(f"view ct.nii.gz -o {name} --labels seg.nii.gz").code == 0
    content = Path("one.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == Path("two.png").read_bytes()


# --- suv, segstats -------------------------------------------------------------------------------------------------------


def test_suv_is_that_of_python(medjax: Commands) -> None:
    path = mj.datasets.cohort(1, "made", seed=0, spacing=40.0, as_dicom=True)
    pet = str(next(path.parent.glob("*/pet")))
    assert medjax(f"suv {pet} suv.nii.gz").code == 0
    image = mj.load_image(pet)
    mj.save_image(mj.to_suv(image), "expected.nii.gz")
    assert Path("suv.nii.gz").read_bytes() == Path("expected.nii.gz").read_bytes()
    (found,) = lines_of(medjax(f"suv {pet} --explain --json --weight-kg 71").out)
    assert found["weight_kg"] == 71
    np.testing.assert_allclose(found["factor"], mj.suv_factor(image, tags={"PatientWeight": 71.0}).factor)
    assert "decay_factor" in medjax(f"suv {pet} --explain").out


def test_suv_as_a_step(medjax: Commands) -> None:
    path = mj.datasets.cohort(1, "made", seed=0, spacing=40.0, as_dicom=True)
    pet = str(next(path.parent.glob("*/pet")))
    (plan,) = lines_of(medjax(f"apply {pet} out.nii.gz suv:bw resample:50 --dry-run --json").out)
    assert medjax(f"apply {pet} out.nii.gz suv:bw resample:50").code == 0
    found = medjax.load("out.nii.gz")
    assert (plan["shape"], plan["dtype"]) == (list(found.shape), str(found.dtype))
    with mj.shape_buckets():
        expected = mj.resample_to_spacing(mj.to_suv(mj.load_image(pet)), 50.0)
    np.testing.assert_array_equal(found.voxels, expected.voxels)


def test_segstats_measures_each_label(medjax: Commands) -> None:
    Path("names.csv").write_text("label,name\n1,liver\n2,spleen\n")
    ran = medjax("segstats seg.nii.gz ct.nii.gz --csv --names names.csv")
    assert (ran.code, ran.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    image, labels = medjax.load("ct.nii.gz"), medjax.load("seg.nii.gz")
    assert [row["name"] for row in rows] == ["liver", "spleen"]
    for row in rows:
        inside = np.asarray(labels.voxels) == int(row["label"])
        values = np.asarray(image.voxels)[inside].astype(float)
        expected = [values.mean(), values.std(), values.min(), values.max(), *np.percentile(values, (5, 50, 95))]
        found = [float(row[name]) for name in ("mean", "sd", "min", "max", "p05", "p50", "p95")]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert (int(row["voxels"]), float(row["ml"])) == (inside.sum(), pytest.approx(inside.sum() * 0.003))
        center = image.grid.world(np.argwhere(inside).mean(0))
        np.testing.assert_allclose([float(row[f"centroid_{axis}"]) for axis in "lps"], center, rtol=1e-9)
    assert "liver" in medjax("segstats seg.nii.gz ct.nii.gz --names names.csv").out
    assert medjax("segstats seg.nii.gz other.nii.gz").code == 3


def test_segstats_of_uptake(medjax: Commands) -> None:
    assert medjax("data make pet_ct --spacing 12 -o made").code == 0
    (found, *_) = lines_of(medjax("segstats made/lesions.nii.gz made/pet.nii.gz --json").out)
    assert found["mean"] > 0
    assert "suv_peak" not in found


# --- the rest --------------------------------------------------------------------------------------------------------------


def test_data_makes_a_cohort(medjax: Commands) -> None:
    ran = medjax("data make cohort --cases 2 --spacing 40 --defects nan -o made")
    assert (ran.code, ran.out.strip()) == (0, str(Path("made", "cohort.csv")))
    assert (
        len(mj.data.Cohort.read(ran.out.strip())) == 2
        if hasattr(mj.data.Cohort, "read")
        else Path(ran.out.strip()).exists()
    )
    assert "pet_ct" in medjax("data list").out
    assert medjax("data where").out.strip().endswith("data")
    assert medjax("data make cohort --cases 1 --defects nonsense -o other").code == 2


def test_doctor_and_version(medjax: Commands) -> None:
    ran = medjax("doctor --json")
    assert ran.code == 0
    (found,) = lines_of(ran.out)
    assert found["ok"] is True
    assert all(one["agrees"] for one in found["devices"])
    assert "all is well" in medjax("doctor").out
    assert medjax("--version").out == f"medjax {mj.__version__}\n"
    assert "numpy" in medjax("--version -v").out


def test_completion_knows_every_command_and_option(medjax: Commands) -> None:
    for shell in ("bash", "zsh", "fish"):
        text = medjax(f"completion {shell}").out
        assert all(name in text for name in COMMANDS)
        assert "geometry-atol" in text


def test_negative_numbers_need_no_equals_sign() -> None:
    assert joined(["a", "--offset", "-3,0,0", "-f"]) == ["a", "--offset=-3,0,0", "-f"]
    assert joined(["--fill", "-1e3", "--", "--x", "-1"]) == ["--fill=-1e3", "--", "--x", "-1"]
    assert joined(["--files-from", "list", "-0"]) == ["--files-from", "list", "-0"]
    assert joined(["--fill=2", "-3"]) == ["--fill=2", "-3"]
