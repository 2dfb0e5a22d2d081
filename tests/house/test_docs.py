"""The pages of docs/ tell the truth: their examples run, and the files and names that they speak of exist."""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from mutations import loads_or_refuses, mutations

import medjax as mj

# Private: the table of formats, to which docs/add_a_format.md adds one.
from medjax.io import _inspect, _open
from medjax.io._formats import Format

ROOT = Path(mj.__file__).parent.parent
GUIDES = [ROOT / "docs" / f"{name}.md" for name in ("design", "add_an_operation", "add_a_format")]
PAGES = [*GUIDES, ROOT / "CONTRIBUTING.md"]
FOLDERS = [ROOT, ROOT / "medjax", *(ROOT / "medjax" / room for room in ("_space", "_image", "augment", "io"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_of_a_page_exist(page: Path) -> None:
    """`_space/_plan.py`, `tests/ways`, ...: whatever stands in a page as code and has the form of a path."""
    named = set(
        re.findall(
            r"`([\w./]+(?:\.pyi?|\.md|\.toml|\.txt)|(?:tests|docs|benchmarks|examples)/[\w/]*)`", page.read_text()
        )
    )
    assert named
    assert {name for name in named if not any((folder / name).exists() for folder in FOLDERS)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_of_a_page_exist(page: Path) -> None:
    named = set(re.findall(r"`mj\.((?:io\.)?[a-zA-Z_]+)", page.read_text()))
    assert {name for name in named if not hasattr(mj.io if "." in name else mj, name.removeprefix("io."))} == set()


def executed(page: str) -> dict[str, Any]:
    """The names that a page's examples leave; fragments that do not run stand in the page as `py`, not as `python`."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        exec(block, names)
    return names


def test_examples_of_the_design_run() -> None:
    assert executed("docs/design.md")["small"].shape == (32, 32, 32)


def test_operation_of_the_guide_passes_the_tests_of_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    names = executed("docs/add_an_operation.md")
    monkeypatch.setattr(mj, "invert", names["invert"], raising=False)
    tests = [name for name in names if name.startswith("test_")]
    for name in tests:
        names[name]()
    assert len(tests) == 3
    (example,) = doctest.DocTestFinder().find(names["invert"], "invert", globs=names)
    assert doctest.DocTestRunner().run(example) == (0, 2)


def test_format_of_the_guide_round_trips_and_refuses_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("medjax.io._mif")
    vars(module).update(executed("docs/add_a_format.md"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    row = re.search(r"^(Format\(.*\))$", (ROOT / "docs/add_a_format.md").read_text(), re.MULTILINE)
    assert row
    formats = (*_open.ALL_FORMATS, eval(row[1], {"Format": Format}))
    for opener in (_open, _inspect):
        monkeypatch.setattr(opener, "ALL_FORMATS", formats)
    affine = np.array([[0.6, -0.8, 0, -31.0], [0.8, 0.6, 0, 17.0], [0, 0, 2.5, -5.0], [0, 0, 0, 1.0]])
    image = mj.Image.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine=affine)
    path, damaged = tmp_path / "scan.mif", tmp_path / "damaged.mif"
    mj.save_image(image, path)
    found = mj.load_image(path)
    np.testing.assert_array_equal(found.voxels, image.voxels, strict=True)
    np.testing.assert_allclose(found.affine, affine, rtol=1e-15)
    header = mj.io.inspect(path)
    assert (header.shape, header.dtype, header.affine.tolist()) == (found.shape, found.dtype, found.affine.tolist())
    assert np.frombuffer(path.read_bytes()[1024:], "<i2")[:2].tolist() == [0, 12]  # the first axis is next in the file
    outcomes = set()
    for content in mutations(path.read_bytes(), 300, 200, seed=0):
        damaged.write_bytes(content)
        outcomes.add(loads_or_refuses(damaged))
    assert outcomes == {True, False}


def test_examples_of_cohorts_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = executed("docs/cohorts.md")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Cohort(8 cases of 6 patients: ct, pet, seg)"
    assert said[2] == "[] 2"
    assert said[3] == f"{{}} {len(names['train'])}"
    assert said[4:] == ["0", "0 (2, 16, 16, 16) (2,)", "1 (2, 16, 16, 16) (2,)", "2", "2 True"]


def test_examples_of_coming_from_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of medjax; those of peers stand as `py`."""
    monkeypatch.chdir(tmp_path)
    names = executed("docs/coming_from.md")
    assert names["x"].shape == (2, 16, 16, 16, 2)
    assert names["labels"].shape == (2, 16, 16, 16)
    assert names["saved"]["step"] == 1
    again, pet = mj.load_image("lesions.nii.gz", kind="label"), names["case"]["pet"]
    assert again.shape == pet.shape
    np.testing.assert_array_equal(again.affine, pet.affine)
    assert again.voxels.any()
    hot = np.asarray(pet.voxels) > 4  # the network is that threshold, so all that differs is interpolation
    assert float(mj.dice(again, again.with_voxels(hot.astype(np.uint8)))) > 0.6


def test_names_of_coming_from_exist() -> None:
    """The second column of each table of names."""
    rows = re.findall(r"^\| `.+?\| (.+?) \|", (ROOT / "docs/coming_from.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(?:mj\.)?([a-zA-Z_.0-9]+)", row)}
    assert len(named) > 40
    places = (mj, mj.augment, mj.patch, mj.data, mj.io)
    missing = {name for name in named if not any(_has(place, name) for place in places)}
    assert missing == set()


def _has(place: Any, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(place, part):
            return False
        place = getattr(place, part)
    return True


def test_every_step_is_in_the_picture() -> None:
    steps = {name for name in dir(mj.augment) if getattr(getattr(mj.augment, name), "kind", "") == name}
    drawn = set(re.findall(r"\bA\.(\w+)\(", (ROOT / "docs/augmentations.py").read_text()))
    assert len(steps) > 30
    assert steps - drawn == set()
