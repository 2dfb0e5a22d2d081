"""House rules of the scans that no clone has: whatever they show is shown on made data as well."""

from __future__ import annotations

import ast
from pathlib import Path

from shared_data import COVERED, OF_THE_COLLECTION

TESTS = Path(__file__).parents[1]


def needs_in(source: str) -> dict[str, bool]:
    """The tests of a file, and whether each needs the scans: by its marker, the file's, or a skip of its own."""
    tree = ast.parse(source)
    marks = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
    needs_all = "pytestmark = needs_data" in marks
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            is_marked = "needs_data" in [ast.unparse(each) for each in node.decorator_list]
            calls = [ast.unparse(call) for call in ast.walk(node) if isinstance(call, ast.Call)]
            skips = any(call.startswith("pytest.skip('../shared/data") for call in calls)
            found[node.name] = needs_all or is_marked or skips
    return found


def all_tests() -> dict[str, bool]:
    files = {path.relative_to(TESTS): needs_in(path.read_text()) for path in TESTS.rglob("test_*.py")}
    return {f"{path.as_posix()}::{name}": needs for path, names in files.items() for name, needs in names.items()}


def test_every_test_that_needs_the_scans_has_its_like_on_made_data() -> None:
    found = all_tests()
    needing = {name for name, needs in found.items() if needs}
    assert len(needing) > 20
    assert sorted(needing ^ (COVERED.keys() | OF_THE_COLLECTION)) == []
    likes = {name for names in COVERED.values() for name in names}
    assert sorted(likes - found.keys()) == [], "no such test"
    assert sorted(likes & needing) == [], "they need the scans themselves"
    assert all(COVERED.values())


def test_a_marker_and_a_skip_are_seen() -> None:
    source = "pytestmark = needs_data\ndef test_a(): ..."
    assert needs_in(source) == {"test_a": True}
    source = (
        "@needs_data\ndef test_a(): ...\ndef test_b():\n pytest.skip('../shared/data is not here')\ndef test_c(): ..."
    )
    assert needs_in(source) == {"test_a": True, "test_b": True, "test_c": False}
