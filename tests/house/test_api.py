"""House rules of the public API: every name is documented, has an example that runs, and is in the README's table."""

from __future__ import annotations

import ast
import builtins
import doctest
import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

import medjax as mj

README = Path(mj.__file__).parent.parent / "README.md"
SPACES = ("augment", "data", "datasets", "io", "patch")
PACKAGES = {"medjax": mj, **{f"medjax.{space}": getattr(mj, space) for space in SPACES}}
NAMES = [(package, name) for package in PACKAGES.values() for name in dir(package) if name not in (*SPACES, "presets")]
PUBLIC = {f"{package.__name__}.{name}": getattr(package, name) for package, name in NAMES}
CALLABLES = {name: thing for name, thing in PUBLIC.items() if inspect.isroutine(thing)}
CLASSES = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}

# Raised by the package and never made by a user: their base class shows what all of them hold.
ERRORS = {name for name, thing in CLASSES.items() if issubclass(thing, Exception) and thing is not mj.ImageFileError}
WITH_EXAMPLE = {name: thing for name, thing in PUBLIC.items() if name not in ERRORS}


def test_there_are_names_to_look_at() -> None:
    """The rules below are loops: over nothing they would hold."""
    assert len(CALLABLES) > 60
    assert len(CLASSES) > 15
    assert len(WITH_EXAMPLE) > 80
    assert sum(bool(own_members(thing)) for thing in CLASSES.values()) > 5


def own_members(thing: Any) -> dict[str, Any]:
    """A class's public methods; what registers it as a pytree is for JAX alone."""
    if not inspect.isclass(thing):
        return {}
    members = {name: member for name, member in vars(thing).items() if not name.startswith(("_", "tree_"))}
    return {name: member for name, member in members.items() if callable(getattr(member, "__func__", member))}


def test_public_names_are_documented() -> None:
    first_lines = {name: (thing.__doc__ or "").strip().partition("\n")[0] for name, thing in PUBLIC.items()}
    assert [name for name, line in first_lines.items() if not line.endswith((".", ":"))] == [], "not a sentence"
    members = {(name, part): member for name, thing in PUBLIC.items() for part, member in own_members(thing).items()}
    assert [place for place, member in members.items() if not inspect.getdoc(member)] == []


def texts_of(thing: Any) -> list[str]:
    return [inspect.getdoc(part) or "" for part in (thing, *own_members(thing).values())]


def examples_in(text: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(text)


def has_example(thing: Any) -> bool:
    """Whether one stands under its heading and expects an output."""
    return any(example.want for text in texts_of(thing) if "Example:" in text for example in examples_in(text))


def test_public_names_have_an_example_that_says_something() -> None:
    """The examples themselves run as doctests."""
    assert [name for name, thing in WITH_EXAMPLE.items() if not has_example(thing)] == []


# What an example may use without saying where it is from.
PASTED_AFTER = {"mj", "np", "jax"}


def names_from_nowhere(text: str) -> set[str]:
    nodes = list(ast.walk(ast.parse("".join(example.source for example in examples_in(text)))))
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    made |= {(node.asname or node.name).partition(".")[0] for node in nodes if isinstance(node, ast.alias)}
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    return used - made - PASTED_AFTER - set(dir(builtins))


def test_examples_can_be_pasted_as_they_stand() -> None:
    """After `import medjax as mj, numpy as np, jax`; the module's own names, which doctest lends, are no user's."""
    missing = {name: [names_from_nowhere(text) for text in texts_of(thing)] for name, thing in WITH_EXAMPLE.items()}
    assert {name: sets for name, sets in missing.items() if any(sets)} == {}
    assert names_from_nowhere(">>> rotate(mj.scan)") == {"rotate"}


def undocumented(thing: Any) -> set[str]:
    """The arguments that a docstring forgets, and those that it invents."""
    docstring = inspect.getdoc(thing) or ""
    parameters = [name for name in inspect.signature(thing).parameters if not name.startswith("_")]
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n|\n)+)", docstring + "\n", re.MULTILINE)
    if not section:
        return {name for name in parameters if f"`{name}`" not in docstring and name != "image"}
    documented = re.findall(r"^ {4}((?:\*{0,2}\w+(?:, )?)+)", section[1], re.MULTILINE)
    listed = [name.strip("*") for group in documented for name in group.split(", ")]
    return set(listed) ^ set(parameters) | {name for name in listed if listed.count(name) > 1}


def test_docstrings_name_every_argument_and_no_other() -> None:
    wrong = {name: undocumented(thing) for name, thing in CALLABLES.items()}
    assert {name: arguments for name, arguments in wrong.items() if arguments} == {}


def test_options_are_keyword_only() -> None:
    """What has a default is passed by name, but where the order is as natural as in `affine_matrix` or SciPy's own."""
    positional = {
        thing.__name__: [
            parameter.name
            for parameter in inspect.signature(thing).parameters.values()
            if parameter.default is not parameter.empty and parameter.kind is not parameter.KEYWORD_ONLY
        ]
        for thing in CALLABLES.values()
    }
    assert {name: arguments for name, arguments in positional.items() if arguments} == NATURAL_ORDER


NATURAL_ORDER = {
    "cache": ["prepare"],
    "affine_matrix": ["translation", "rotation", "scale", "shear"],
    "label_volumes": ["num_classes"],
    "one_hot": ["num_classes"],
    "list_hdf5": ["group"],
    "load_hdf5": ["group", "name"],
    "load_dicom_series": ["series_uid"],
    "load_image": ["modality"],
    "map_coordinates": ["order", "mode", "cval", "prefilter"],
    "max_radius": ["center"],
    "plan": ["transform"],
    "save_hdf5": ["group", "name"],
    "suv_factor": ["norm"],
    "to_suv": ["norm"],
    "weighted": ["extent"],
}


def table_rows() -> set[str]:
    """Names in the first column of the README's API tables, such as `resample_to_spacing` or `io.load_hdf5`."""
    text = README.read_text()
    section = text[text.index("## API") : text.index("\n## ", text.index("## API") + 1)]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name.partition("(")[0] for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_readme_table_lists_exactly_the_public_names() -> None:
    both = set(dir(mj.io)) & set(dir(mj))
    public = set(dir(mj)) - set(SPACES) | {f"io.{name}" for name in set(dir(mj.io)) - both}
    public |= {f"{space}.{name}" for space in SPACES if space != "io" for name in dir(getattr(mj, space))}
    listed = {row for row in table_rows() if "." not in row or row.partition(".")[0] in SPACES}
    assert listed - public == set()
    assert public - listed == set()


def test_readme_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All Python blocks of the README, one after the other, on a scan of the size that they speak of."""
    turn = [[1, 0, 0], [0, -0.96, 0.28], [0, 0.28, 0.96]]  # orthonormal in decimals
    voxels = np.random.default_rng(0).integers(0, 1000, (128, 96, 24), np.int16)
    monkeypatch.chdir(tmp_path)
    mj.save_image(mj.Image.from_array(voxels, spacing=(2, 2, 2.2), direction=turn), "scan.nii.gz")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as users have it; optax needs it
        for block in blocks:
            exec(block, names)
    assert len(blocks) >= 3
    assert capsys.readouterr().out.strip() in README.read_text()  # what the comment says that it prints
    assert mj.load_image("scan_1mm.nii.gz").orientation == "RAS"
    assert names["slope"].shape == ()
    np.testing.assert_allclose(names["degrees"], (0, 0, 12), atol=0.1)
    assert (names["rotated"].batch_shape, names["small"].shape) == ((2,), (96, 96, 32))


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_lazy_names_are_those_of_the_stub(package: ModuleType) -> None:
    """The stub that type checkers read holds one import for each name, from the module that defines it."""
    imports = ast.parse(Path(str(package.__file__)).with_suffix(".pyi").read_text()).body
    typed = {}
    for node in imports:
        if isinstance(node, ast.ImportFrom):
            (alias,) = node.names
            assert alias.asname == alias.name, "`import x as x` is what re-exports"
            typed[alias.name] = node.module
    assert package.__all__ == dir(package) == sorted(typed)
    for name, home in typed.items():
        assert getattr(package, name) is getattr(importlib.import_module(str(home)), name)


def test_all_names_load_at_once_where_that_is_asked_for() -> None:
    """SPEC 1 of Scientific Python: EAGER_IMPORT finds a name that cannot be imported."""
    spaces = "mj, mj.augment, mj.data, mj.datasets, mj.io, mj.patch"
    script = f"import medjax as mj\nfor p in ({spaces}): assert vars(p).keys() >= set(dir(p))"
    environment = {**os.environ, "EAGER_IMPORT": "1", "PYTHONPATH": str(README.parent)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_classes_belong_to_the_package_that_users_import_them_from() -> None:
    """Pickles, tracebacks and `help` name no module that may move, and the annotations resolve nevertheless."""
    for name, thing in CLASSES.items():
        package = next(package for package in PACKAGES.values() if getattr(package, thing.__name__, None) is thing)
        assert (name, thing.__module__) == (name, package.__name__)
        assert getattr(package, thing.__name__) is thing
        typing.get_type_hints(thing)


@pytest.mark.parametrize("name", CLASSES)
def test_examples_of_a_class_run(name: str, doctest_namespace: dict[str, Any]) -> None:
    """Doctest does not find a class by a module in which it does not say that it lies."""
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(CLASSES[name], module=False, globs=doctest_namespace):  # type: ignore[arg-type]
        runner.run(test)
    assert runner.failures == 0


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_unknown_name_is_an_attribute_error_with_a_suggestion(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'load_imag'") as caught:
        package.load_imag  # noqa: B018
    assert caught.value.name == "load_imag"  # from which Python suggests load_image


def test_star_import_gives_the_public_names() -> None:
    names: dict[str, Any] = {}
    exec("from medjax import *", names)
    assert set(names) - {"__builtins__"} == set(dir(mj))


def test_version_is_the_installed_one() -> None:
    assert mj.__version__ == importlib.metadata.version("medjax")
