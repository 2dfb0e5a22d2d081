"""The fingerprint of a function: it changes with whatever the function does, and with nothing else."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from cohorts import held, scan

import medjax as mj
from medjax.data._fingerprint import UnknownCodeError, fingerprint

# Private: what the cache asks before it prepares anything; a cache in its place would say the same, a hundred times slower.


def module_of(text: str) -> types.ModuleType:
    """A module of a user, made from text."""
    module = types.ModuleType("users_own")
    exec(compile(text, "users_own.py", "exec", dont_inherit=True), vars(module))
    return module


BASE = """
import numpy as np
import medjax as mj
import jax
SPACING = 2.0
TABLE = {"a": [1, 2, np.arange(3)]}
class Step:
    factor = 3
    def __init__(self, size): self.size = size
    def __call__(self, x): return x * self.factor + self.size
STEP = Step(4)
def inner(x, *, low=0): return x + low + SPACING
def prepare(x):
    '''What it does.'''
    y = inner(x)  # a comment
    return {k: STEP(y) for k in TABLE if k in {"a", "b", "c"}}
"""
CHANGES = {
    "a constant": ("SPACING = 2.0", "SPACING = 2.5"),
    "a table": ("[1, 2, np.arange(3)]", "[1, 2, np.arange(4)]"),
    "its own code": ("inner(x)  #", "inner(2 * x)  #"),
    "the code of a function that it calls": ("x + low + SPACING", "x - low + SPACING"),
    "a default": ("low=0", "low=1"),
    "a class's attribute": ("factor = 3", "factor = 4"),
    "a class's method": ("x * self.factor", "x / self.factor"),
    "an object's state": ("Step(4)", "Step(5)"),
    "a set of constants": ('{"a", "b", "c"}', '{"a", "b", "d"}'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_result_changes_the_fingerprint(change: str) -> None:
    old, new = CHANGES[change]
    assert BASE.count(old) == 1
    assert fingerprint(module_of(BASE).prepare) != fingerprint(module_of(BASE.replace(old, new)).prepare)


def test_comments_places_and_what_is_not_used_change_nothing() -> None:
    moved = "\n\n# above\nUNUSED = 7\n" + BASE.replace("# a comment", "# another one")
    assert fingerprint(module_of(BASE).prepare) == fingerprint(module_of(moved).prepare)


def test_other_processes_find_the_same(tmp_path: Path) -> None:
    """Whatever the order of their sets, compiled or read from a .pyc."""
    (tmp_path / "users_own.py").write_text(BASE)
    script = "import sys; sys.path.insert(0, sys.argv[1]); import users_own; from medjax.data._fingerprint import fingerprint; "
    script += "print(fingerprint(users_own.prepare))"
    environment = {"PYTHONPATH": str(Path(mj.__file__).parents[1]), "JAX_PLATFORMS": "cpu", "PATH": ""}
    found = {
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], env=environment | {"PYTHONHASHSEED": seed},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert found == {fingerprint(module_of(BASE).prepare) + "\n"}


def closing_over(value: Any) -> Callable[[Any], Any]:
    return lambda case: (case, value)


@dataclasses.dataclass
class Settings:
    spacing: float


PAIRS: dict[str, tuple[Any, Any]] = {
    "number": (1, 2),
    "number and truth value": (1, True),
    "integer and float": (1, 1.0),
    "text": ("a", "b"),
    "list and tuple": ([1], (1,)),
    "nesting": ([[1], 2], [[1, 2]]),
    "set": ({1, 2}, {1, 3}),
    "array": (np.arange(3), np.arange(3) + 1),
    "dtype": (np.arange(3, dtype=np.int32), np.arange(3, dtype=np.int64)),
    "jax array": (jax.numpy.arange(3), jax.numpy.arange(3) + 1),
    "key": (jax.random.key(0), jax.random.key(1)),
    "image": (scan(0), scan(1)),
    "dataclass": (Settings(1.0), Settings(2.0)),
    "partial": (functools.partial(max, 1), functools.partial(max, 2)),
    "jitted": (jax.jit(lambda x: x + 1), jax.jit(lambda x: x + 2)),
    "fused": (mj.fuse(lambda x: mj.scale(x, 2)), mj.fuse(lambda x: mj.scale(x, 3))),
    "method": (Settings(1.0).__eq__, Settings(2.0).__eq__),
    "path": (Path("a"), Path("b")),
    "function of a package": (np.add, np.subtract),
    "function of medjax": (mj.rotate, mj.scale),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_what_a_function_closes_over_counts(pair: str) -> None:
    one, other = PAIRS[pair]
    assert fingerprint(closing_over(one)) == fingerprint(closing_over(one))
    assert fingerprint(closing_over(one)) != fingerprint(closing_over(other))


def test_a_users_module_may_be_called_like_one_of_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for factor in (2, 3):
        path = tmp_path / f"{factor}" / "profile.py"
        path.parent.mkdir()
        path.write_text(f"class Step:\n    def __call__(self, x): return {factor} * x\nprepare = Step()")
        spec = importlib.util.spec_from_file_location("profile", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "profile", module)
        spec.loader.exec_module(module)
        found.append(fingerprint(module.prepare))
    assert found[0] != found[1]


def test_recursion_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert fingerprint(closing_over(loop)) != fingerprint(closing_over([1, [1]]))

    def again(n: int) -> int:
        return n and again(n - 1)

    assert fingerprint(again) == fingerprint(again)


def test_what_cannot_be_told_leaves_the_version_with_a_warning(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        prepare = lambda case: (case, file)[0]  # noqa: E731
        with pytest.raises(UnknownCodeError, match="uses a TextIOWrapper"):
            fingerprint(prepare)
        for version, built in (("1", 1), ("1", 0), ("2", 1)):
            with pytest.warns(UserWarning, match=f"cannot be told: .*file.*Only version='{version}' says whether"):
                assert len(mj.data.cache(held(1), tmp_path / "cache", prepare, version=version).report.built) == built
