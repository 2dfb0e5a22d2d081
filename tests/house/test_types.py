"""House rules of the public API's types: no bare `Any`, no `str` beside a `Literal`, and mypy flags what is wrong."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orientations import CODES

import medjax as mj

# Private: the aliases themselves, from which public annotations are made.
from medjax._geometry import _types

ROOT = Path(mj.__file__).parent
WRONG_CALLS = Path(__file__).parent / "wrong_calls.py"

# Libraries that the types of the public API do not need; what mypy makes of them takes most of its time.
_LIBRARIES = "jax.*,jaxlib.*,h5py.*,nibabel.*,pydicom.*,matplotlib.*,scipy.*,chex.*,highdicom.*,SimpleITK.*"
_SETTINGS = f"""[mypy]
ignore_missing_imports = true
namespace_packages = false
follow_imports = silent
[mypy-{_LIBRARIES}]
follow_imports = skip
"""


def test_mypy_flags_each_wrong_call_and_no_other(tmp_path: Path) -> None:
    lines = WRONG_CALLS.read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# type: ignore[arg-type]" in line}
    (tmp_path / "calls.py").write_text("\n".join(line.partition("  # type: ignore")[0] for line in lines))
    (tmp_path / "mypy.ini").write_text(_SETTINGS)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", "calls.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    found = re.findall(r"^calls\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert {code for _, code in found} == {"arg-type"}, done.stdout + done.stderr
    flagged = {int(number) for number, _ in found}
    assert {number: lines[number - 1] for number in wrong ^ flagged} == {}
    assert len(wrong) > 40


# --- Annotations as they are written ---------------------------------------------------------------------------------


def public_definitions() -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """The source of every public function and class, and of the classes' public methods."""
    for package in (ROOT, ROOT / "io"):
        for line in (package / "__init__.pyi").read_text().splitlines():
            match = re.match(r"from (medjax[\w.]*) import (\w+) as", line)
            if match is None or match[2] == "io":
                continue
            yield from _defined(match[1], match[2])


def _defined(module: str, name: str) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    path = ROOT.parent / module.replace(".", "/")
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            yield from _defined(str(node.module), name)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            yield name, node
            members = node.body if isinstance(node, ast.ClassDef) else []
            for member in members:
                if isinstance(member, ast.FunctionDef) and (
                    not member.name.startswith("_") or member.name == "__call__"
                ):
                    yield f"{name}.{member.name}", member


DEFINITIONS = [(name, node) for name, node in public_definitions() if not name.rpartition(".")[2].startswith("tree_")]

# What holds anything at all: a decoded header, and objects of libraries that need not be installed.
ANYTHING = {
    "Metadata.replace changes",
    "Metadata display",
    "Metadata clinical",
    "Metadata extra",
    "SuvFactor.to_dict return",
    "suv_factor tags",
    "to_suv tags",
    "CompositeTransform transforms",
    "from_nibabel image",
    "from_sitk image",
    "to_nibabel return",
    "to_sitk return",
    "keep_metadata of",
}


def annotated() -> Iterator[tuple[str, str]]:
    """Each public parameter, result and field by name, with its annotation."""
    for name, node in DEFINITIONS:
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.AnnAssign):
                    yield f"{name} {ast.unparse(part.target)}", ast.unparse(part.annotation)
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        for argument in arguments:
            if argument is not None and argument.annotation is not None:
                yield f"{name} {argument.arg}", ast.unparse(argument.annotation)
        if node.returns is not None:
            yield f"{name} return", ast.unparse(node.returns)


def test_annotations_were_found() -> None:
    names = {name for name, _ in annotated()}
    assert {"rotate axis", "Grid.of spacing", "Grid.spacing return", "Image voxels", "save_image path"} <= names
    functions = {name.partition(".")[0] for name, _ in DEFINITIONS}
    public = {name for package in (mj, mj.io) for name in dir(package) if callable(getattr(package, name))}
    assert public - functions == set()


def test_no_public_annotation_is_any() -> None:
    """`Any` is spelled by a name of `_types` that says what it holds, where the values decide (an array of NumPy or JAX)."""
    bare = {name for name, annotation in annotated() if re.search(r"\bAny\b", annotation)}
    assert bare == ANYTHING


def test_no_string_stands_beside_words() -> None:
    """`Literal["a"] | str` is `str` to a type checker."""
    words = r"Axis|Frame|Unit|Orientation|Interpolation|Kind|Anchor|PadMode|Mode|SuvNorm|WindowFunction|Literal\[.*\]"
    loose = [
        name for name, annotation in annotated() if re.search(rf"\b({words}) \| str\b|\bstr \| ({words})\b", annotation)
    ]
    assert loose == []


# --- The types as they are at run time -------------------------------------------------------------------------------


def test_the_codes_of_the_type_are_the_computed_ones() -> None:
    assert sorted(get_args(_types.Orientation)) == sorted(CODES)


@pytest.mark.parametrize(
    "value",
    [np.zeros(3), np.float32(1), jnp.zeros(3), jax.ShapeDtypeStruct((3,), np.float32)],
    ids=["NumPy array", "NumPy number", "JAX array", "abstract array"],
)
def test_an_array_is_one_to_the_types(value: Any) -> None:
    assert isinstance(value, _types.Array)
    seen = []
    jax.eval_shape(lambda x: seen.append(isinstance(x, _types.Array)), jax.ShapeDtypeStruct((3,), np.float32))
    assert seen == [True]


@pytest.mark.parametrize("value", [1.0, "1", (1, 2), mj.Grid.of((1, 1, 1)), mj.Image(np.zeros((1, 1, 1)), np.eye(4))])
def test_what_is_no_array_is_none_to_the_types(value: Any) -> None:
    assert not isinstance(value, _types.Array)
