"""The table: every command x a bad situation -> the exit code, with nothing written and nothing on stdout."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from command_files import Commands, scan

import medjax as mj

# Private: the table of commands, so that none is left out.
from medjax._cli._commands import COMMANDS

# A line that is right, with the places of its input and output.
LINES = {
    "info": "info IN",
    "check": "check IN",
    "compare": "compare IN ct.nii.gz",
    "view": "view IN -o OUT",
    "convert": "convert IN OUT",
    "apply": "apply IN OUT reorient:RAS size:6,6,6",
    "resample": "resample IN OUT --spacing 2",
    "reorient": "reorient RAS IN OUT",
    "crop": "crop IN OUT --start 1,2,3 --size 4,4,2",
    "pad": "pad IN OUT --before 1",
    "normalize": "normalize minmax IN OUT",
    "window": "window IN OUT --center 40 --width 400",
    "suv": "suv IN OUT",
    "segstats": "segstats IN",
    "data": "data make cohort --cases 1 --spacing 40 -o OUT",
    "demo": "demo -o OUT",
    "doctor": "doctor",
    "completion": "completion bash",
}
READS = [name for name, line in LINES.items() if "IN" in line]
WRITES_IMAGES = [name for name, line in LINES.items() if "IN OUT" in line]
SUFFIX = {"view": ".png", "data": "", "demo": ""}

# Damage is what `check` looks for: its answer is "no".
SITUATIONS = {
    "missing file": ("missing.nii.gz", 3),
    "garbage": ("garbage.nii.gz", 3),
    "empty file": ("empty.nii", 3),
    "missing folder": ("no/such/folder/x.nii", 3),
}


def line_of(name: str, given: str = "ct.nii.gz", output: str | None = None) -> str:
    output = output or f"new/out{SUFFIX.get(name, '.nii.gz')}"
    return re.sub(r"\bOUT\b", output, re.sub(r"\bIN\b", given, LINES[name]))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "cache" not in path.parts}


def test_every_command_is_in_the_table() -> None:
    assert set(LINES) == set(COMMANDS)
    assert len(READS) > 12


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", READS)
def test_bad_input(medjax: Commands, name: str, situation: str) -> None:
    path, code = SITUATIONS[situation]
    before = tree(medjax.folder)
    ran = medjax(line_of(name, path))
    assert ran.code == (1 if name == "check" else code)
    assert tree(medjax.folder) == before
    if name == "check":
        assert re.match(rf"{re.escape(path)}: F0\d error: ", ran.out)
        return
    assert ran.out == ""
    first = ran.err.splitlines()[0]
    assert first.startswith(f"medjax {name}: ")
    assert path in first
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("name", [name for name, line in LINES.items() if "OUT" in line])
def test_output_that_cannot_be(medjax: Commands, name: str) -> None:
    """A file is where the folder should be: found before anything is read, so the input may be missing too."""
    before = tree(medjax.folder)
    for given in ("ct.nii.gz", "missing.nii.gz"):
        ran = medjax(line_of(name, given, f"file/out{SUFFIX.get(name, '.nii.gz')}"))
        assert (ran.code, ran.out) == (4, "")
    assert tree(medjax.folder) == before


@pytest.mark.parametrize("name", [name for name in LINES if "OUT" in LINES[name] and name not in ("data", "demo")])
def test_output_that_is_there(medjax: Commands, name: str) -> None:
    """Refused before the input is read, which here is garbage; also as a link that leads nowhere."""
    target = medjax.folder / f"there{SUFFIX.get(name, '.nii.gz')}"
    for make in (lambda: target.write_bytes(b"precious"), lambda: target.symlink_to("nowhere")):
        make()
        ran = medjax(line_of(name, "garbage.nii.gz", target.name))
        assert ran.code == 4
        assert f"{target.name}: exists already" in ran.err
        assert "hint: -f overwrites it" in ran.err
        target.unlink()


@pytest.mark.parametrize("name", WRITES_IMAGES)
def test_images_that_cannot_be_written_so(medjax: Commands, name: str) -> None:
    before = tree(medjax.folder)
    (medjax.folder / "link.nii.gz").symlink_to("ct.nii.gz")
    for output in ("ct.nii.gz", "./ct.nii.gz", "link.nii.gz"):  # the input itself, even by force
        ran = medjax(line_of(name, "ct.nii.gz", output) + " -f")
        assert (ran.code, ran.out) == (4, "")
        assert "is an input as well" in ran.err
    assert medjax(line_of(name, "ct.nii.gz", "out.xyz")).code == 2
    assert medjax(line_of(name, "ct.nii.gz other.nii.gz", "out.nii.gz")).code == 2  # several, without -o
    assert medjax(line_of(name, "ct.nii.gz sub/ct.nii.gz", "-o new/")).code == 4  # two to one
    assert medjax(line_of(name, "-", "out.nii.gz")).code == 2  # no images through pipes
    (medjax.folder / "link.nii.gz").unlink()
    assert tree(medjax.folder) == before


@pytest.mark.parametrize("name", LINES)
def test_usage(medjax: Commands, name: str) -> None:
    ran = medjax(line_of(name) + " --nonsense")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"medjax {name}: ")
    assert f"hint: medjax {name} --help" in ran.err
    shown = medjax(f"{name} --help")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(f"usage: medjax {name} ")
    assert max(map(len, shown.out.splitlines())) < 130


@pytest.mark.parametrize(
    "line",
    [
        "apply ct.nii.gz out.nii.gz",
        "apply ct.nii.gz out.nii.gz resampel:2",
        "apply ct.nii.gz out.nii.gz resample:0",
        "apply ct.nii.gz out.nii.gz resample:1,2",
        "apply ct.nii.gz out.nii.gz resample:2,anker=first",
        "apply ct.nii.gz out.nii.gz reorient:RAX",
        "resample ct.nii.gz out.nii.gz",
        "resample ct.nii.gz out.nii.gz --spacing -1",
        "resample ct.nii.gz out.nii.gz --spacing 1 --anchor middle",
        "resample ct.nii.gz out.nii.gz --spacing 1 --device gpu",
        "resample ct.nii.gz out.nii.gz --spacing 1 --device abacus",
        "reorient XYZ ct.nii.gz out.nii.gz",
        "reorient ct.nii.gz out.nii.gz",
        "crop ct.nii.gz out.nii.gz --start 1,1,1",
        "crop ct.nii.gz out.nii.gz --to-mask seg.nii.gz --margin 5cm",
        "normalize nyul ct.nii.gz out.nii.gz",
        "normalize zscore ct.nii.gz out.nii.gz --range 0,1",
        "window ct.nii.gz out.nii.gz --center 40",
        "convert ct.nii.gz out.nii.gz --dtype int12",
        "convert ct.nii.gz -o {stern}.nii.gz",
        "info",
        "info ct.nii.gz --field size",
        "check ct.nii.gz --select X",
        "compare ct.nii.gz",
        "compare ct.nii.gz seg.nii.gz --atol -1",
        "view ct.nii.gz",
        "view ct.nii.gz -o scan.jpg",
        "view ct.nii.gz --terminal --at 1,2",
        "segstats seg.nii.gz --suv",
        "suv ct.nii.gz out.nii.gz --weight-kg 0",
        "data make nothing -o new",
        "completion tcsh",
        "nonsense",
        "--nonsense",
        "",
    ],
)
def test_impossible_values(medjax: Commands, line: str) -> None:
    before = tree(medjax.folder)
    ran = medjax(line)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    assert tree(medjax.folder) == before


def test_labels_are_not_overwritten_either(medjax: Commands) -> None:
    before = tree(medjax.folder)
    for output in ("seg.nii.gz", "ct.nii.gz", "out.nii.gz", "other.nii.gz", "file/x.nii"):
        ran = medjax(f"apply ct.nii.gz out.nii.gz reorient:RAS --labels seg.nii.gz {output} --skip-existing")
        assert (ran.code, ran.out) == (4, "")
    assert medjax("apply ct.nii.gz other.nii.gz -o new reorient:RAS --labels seg.nii.gz new.nii").code == 2
    assert medjax("apply ct.nii.gz out.nii.gz reorient:RAS --labels missing.nii new.nii").code == 3
    assert tree(medjax.folder) == before


def test_nearest_names_are_offered(medjax: Commands) -> None:
    assert "did you mean resample?" in medjax("resampel").err
    assert "did you mean 'resample'?" in medjax("apply ct.nii.gz out.nii.gz resampel:2").err
    assert "did you mean 'anchor'?" in medjax("apply ct.nii.gz out.nii.gz resample:2,ancor=first").err


def test_some_done_some_failed(medjax: Commands) -> None:
    """Exit 5; the good ones are written, each bad one is named, in the order of the inputs."""
    ran = medjax("reorient RAS ct.nii.gz garbage.nii.gz other.nii.gz missing.nii.gz -o new")
    assert ran.code == 5
    assert sorted(path.name for path in (medjax.folder / "new").iterdir()) == ["ct.nii.gz", "other.nii.gz"]
    named = [line for line in ran.err.splitlines() if line.startswith("medjax reorient: ")]
    assert ["garbage" in named[0], "missing" in named[1], len(named)] == [True, True, 2]
    assert medjax("info ct.nii.gz garbage.nii.gz").code == 5
    assert medjax("info missing.nii garbage.nii.gz").code == 3


def test_what_an_image_does_not_allow(medjax: Commands) -> None:
    ran = medjax("crop ct.nii.gz out.nii.gz --start 9,9,9 --size 6,6,6")
    assert ran.code == 3
    assert ran.err.startswith("medjax crop: ct.nii.gz: a box of")
    assert not (medjax.folder / "out.nii.gz").exists()
    assert medjax("window seg.nii.gz out.nii.gz --center 1 --width 2").code == 3
    ran = medjax("suv ct.nii.gz out.nii.gz")
    assert (ran.code, "ct.nii.gz" in ran.err) == (3, True)


def test_compare_answers(medjax: Commands) -> None:
    assert medjax("compare ct.nii.gz whole.nii").code == 0
    assert medjax("compare ct.nii.gz other.nii.gz").code == 1
    assert medjax("check ct.nii.gz").code == 0
    assert medjax("check short.nii").code == 1


def test_skip_existing_leaves_what_is_there(medjax: Commands) -> None:
    (medjax.folder / "new").mkdir()
    (medjax.folder / "new" / "ct.nii.gz").write_bytes(b"older")
    ran = medjax("reorient RAS ct.nii.gz other.nii.gz -o new --skip-existing")
    assert ran.code == 0
    assert (medjax.folder / "new" / "ct.nii.gz").read_bytes() == b"older"
    assert (medjax.folder / "new" / "other.nii.gz").exists()
    assert medjax("reorient RAS ct.nii.gz -o new -f").code == 0
    assert mj.load_image(medjax.folder / "new" / "ct.nii.gz").orientation == "RAS"


def test_notes_are_errors_where_that_is_asked_for(medjax: Commands) -> None:
    """The other scan lies where no voxel of the first one is: all of the result is fill."""
    far = mj.Image.from_array(scan().voxels, origin=(5000.0, 0, 0))
    mj.save_image(far, medjax.folder / "far.nii.gz")
    ran = medjax("resample ct.nii.gz out.nii.gz --like far.nii.gz")
    assert ran.code == 0
    assert ran.err.count("note: ") == 1
    assert medjax("resample ct.nii.gz strict.nii.gz --like far.nii.gz --strict").code == 3
    assert not (medjax.folder / "strict.nii.gz").exists()


def test_bug_is_reported_as_one(medjax: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    from medjax._cli import _info

    def broken(*_: object) -> None:
        raise KeyError("ZZSECRET^NAME")

    monkeypatch.setattr(_info, "header_of", broken)
    ran = medjax("info ct.nii.gz")
    assert (ran.code, ran.out) == (70, "")
    assert "unexpected KeyError: this is a bug" in ran.err
    assert "ZZSECRET" not in ran.err
    saved = Path(ran.err.split("its traceback: ")[1].strip())
    assert "KeyError" in saved.read_text()
    saved.unlink()


def test_interrupted(medjax: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    from medjax._cli import _info

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_info, "header_of", stopped)
    ran = medjax("info ct.nii.gz other.nii.gz")
    assert (ran.code, ran.out.count("nii.gz")) == (130, 0)


def test_debug_shows_the_traceback(medjax: Commands) -> None:
    assert "Traceback" in medjax("info garbage.nii.gz --debug").err


def test_values_that_are_not_finite_are_null_and_counted(medjax: Commands) -> None:
    import json

    voxels = np.ones((4, 4, 4), np.float32)
    voxels[0] = np.nan
    mj.save_image(mj.Image.from_array(voxels), medjax.folder / "nan.nii")
    mj.save_image(mj.Image.from_array(np.ones((4, 4, 4), np.float32)), medjax.folder / "ones.nii")
    found = json.loads(medjax("compare nan.nii ones.nii --json --ignore-metadata").out)
    assert (found["nonfinite"], found["differences"]["voxels"]["count"]) == (2, 16)
