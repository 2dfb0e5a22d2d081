"""What is renamed works under its old name for two minor releases, says so, and is then removed."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import medjax as mj

# Private: what authors of the package use. A release may have no public name that is deprecated.
from medjax import _deprecated
from medjax._deprecated import Deprecation, overdue, renamed_argument, renamed_function


@pytest.fixture(autouse=True)
def _own_list(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests deprecate stays out of the package's list."""
    if request.node.name != "test_nothing_is_deprecated_for_longer_than_two_minor_releases":
        monkeypatch.setattr(_deprecated, "DEPRECATIONS", [])


def test_nothing_is_deprecated_for_longer_than_two_minor_releases() -> None:
    """Remove what this lists: the names had their two releases."""
    for module in pkgutil.walk_packages(mj.__path__, "medjax."):
        if module.name != "medjax.__main__":  # which runs the command
            importlib.import_module(module.name)
    assert overdue(_deprecated.DEPRECATIONS, mj.__version__) == []


@pytest.mark.parametrize(
    ("version", "is_overdue"),
    [("0.2.0", False), ("0.3.9", False), ("0.4.0", True), ("0.4.0.dev1", True), ("0.10.0", True), ("1.0.0", True)],
)
def test_two_minor_releases_warn_and_the_third_is_without(version: str, is_overdue: bool) -> None:
    old = Deprecation("spin", "turn", "0.2")
    assert overdue([old], version) == ([old] if is_overdue else [])


def turn(image: int, *, degrees: float = 0.0) -> tuple[int, float]:
    """Turns."""
    return image, degrees


MESSAGE = r"is deprecated since medjax 0\.2 and will be removed in 0\.4: use "


def test_renamed_argument_warns_and_passes_on() -> None:
    renamed: Any = renamed_argument("angle", "degrees", since="0.2")(turn)
    with pytest.warns(FutureWarning, match=r"^turn\(angle=\.\.\.\) " + MESSAGE + r"turn\(degrees=\.\.\.\)$"):
        assert renamed(1, angle=10.0) == (1, 10.0)
    assert renamed(1, degrees=10.0) == (1, 10.0)  # warnings are errors here
    assert list(inspect.signature(renamed).parameters) == ["image", "degrees"]


def test_renamed_argument_given_twice_is_refused() -> None:
    renamed: Any = renamed_argument("angle", "degrees", since="0.2")(turn)
    with pytest.raises(TypeError, match="turn\\(\\) got both angle and degrees"):
        renamed(1, angle=10.0, degrees=10.0)


def test_renamed_function_warns_and_says_so_in_its_docstring() -> None:
    spin = renamed_function("spin", turn, since="0.2")
    with pytest.warns(FutureWarning, match="^spin " + MESSAGE + "turn$"):
        assert spin(1, degrees=10.0) == (1, 10.0)
    assert spin.__name__ == "spin"
    assert (spin.__doc__ or "").startswith("Deprecated since 0.2: use `turn`.")


def test_every_deprecation_is_listed() -> None:
    renamed_argument("angle", "degrees", since="0.2")(turn)
    renamed_function("spin", turn, since="0.3")
    assert [each.old for each in _deprecated.DEPRECATIONS] == ["turn(angle=...)", "spin"]


def test_a_release_that_is_none_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        renamed_function("spin", turn, since="2")


def test_the_warning_points_to_the_line_of_the_caller(tmp_path: Path) -> None:
    """In an interpreter of its own, for the type checks of the tests put a frame between."""
    script = tmp_path / "users.py"
    script.write_text(
        "from medjax._deprecated import renamed_argument, renamed_function\n"
        "turn = renamed_argument('angle', 'degrees', since='0.2')(lambda *, degrees: degrees)\n"
        "spin = renamed_function('spin', turn, since='0.2')\n"
        "turn(angle=1)\n"
        "spin(degrees=1)\n"
    )
    environment = {"PYTHONPATH": str(Path(mj.__file__).parent.parent)}
    done = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True, env=environment)
    assert [line.partition(": ")[0] for line in done.stderr.splitlines() if "FutureWarning" in line] == [
        f"{script}:4",
        f"{script}:5",
    ]
