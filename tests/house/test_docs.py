"""The pages of docs/ tell the truth: their examples run, and the files and names that they speak of exist."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

import medjax as mj

ROOT = Path(mj.__file__).parent.parent
GUIDES = [ROOT / "docs" / f"{name}.md" for name in ("design", "add_an_operation", "add_a_format")]
PAGES = [*GUIDES, ROOT / "CONTRIBUTING.md"]
FOLDERS = [ROOT, ROOT / "medjax", *(ROOT / "medjax" / room for room in ("_space", "_image", "io", "io/_disk"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_of_a_page_exist(page: Path) -> None:
    """`_space/_plan.py`, `tests/ways`, ...: whatever stands in a page as code and has the form of a path."""
    named = set(
        re.findall(
            r"`([\w./]+(?:\.pyi?|\.md|\.toml|\.txt)|(?:tests|docs|benchmarks|examples)/[\w/]*)`", page.read_text()
        )
    )
    assert named
    assert {
        name for name in named - WRITTEN_BY_READERS if not any((folder / name).exists() for folder in FOLDERS)
    } == set()


# Files that a guide tells its reader to write.
WRITTEN_BY_READERS = {"_analyze.py"}


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
