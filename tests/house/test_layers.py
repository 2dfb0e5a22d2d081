"""House rules of the layout: imports point down, files stay short, names say something, importing is cheap."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import medjax

ROOT = Path(medjax.__file__).parent

# A room is a folder, or a module of its own. It imports from the rooms before it; within a room modules are free.
ROOMS = (
    *("_version", "_lazy", "_deprecated", "_fork", "_errors", "_optional", "_foreign"),
    *("_geometry", "_kernels", "_image", "_mask", "_space", "_intensity", "_pet", "augment", "patch"),
    *("io._disk", "io", "_pipeline", "datasets", "data", "_show", "_cli", "__main__", "__init__"),
)
# Modules in which pickles of 0.1.0 look for classes: they hold public names, and nothing of the package uses them.
FORMER = ("_grid", "_metadata", "_transform", "_suv", "io._errors")
PLACE_OF = {room: place for place, room in enumerate(ROOMS + FORMER)}

# Where the geometry is: importable without JAX.
WITHOUT_JAX = [
    "medjax",
    "medjax.augment",
    "medjax.io",
    "medjax.data",
    "medjax.datasets",
    "medjax.patch",
    *(
        f"medjax.{name}"
        for name in (
            "_geometry._grid",
            "_geometry._numbers",
            "_geometry._orientation",
            "_image._metadata",
            "io._inspect",
        )
    ),
]

# Loaded on use only.
LAZY = [
    "nibabel",
    "pydicom",
    "h5py",
    "matplotlib",
    "chex",
    "scipy",
    "SimpleITK",
    "torch",
    "isal",
    "nrrd",
    "highdicom",
    "grain",
    "fsspec",
]


def modules() -> dict[str, Path]:
    """Dotted names below `medjax` and files."""
    paths = {path: path.relative_to(ROOT).with_suffix("").parts for path in ROOT.rglob("*.py")}
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts): p for p, parts in paths.items()
    }


MODULES = modules()


def unit(name: str) -> str:
    """The room that a module belongs to, such as `_suv` for `_suv._times`."""
    known = [entry for entry in PLACE_OF if name == entry or name.startswith(f"{entry}.")]
    return max(known, key=len, default=name.split(".")[0])


def targets(node: ast.AST) -> Iterator[str]:
    """The modules of the package that an import statement names, dotted below `medjax`."""
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        return
    for name in names:
        if name == "medjax" or name.startswith("medjax."):
            below = name.removeprefix("medjax").removeprefix(".")
            while below and below not in MODULES:  # the last parts name what a module holds
                below = below.rpartition(".")[0]
            yield below or "__init__"


@cache
def imports(name: str) -> set[str]:
    """What a module imports from the package: at its top, on use and for type checkers alike."""
    nodes = ast.walk(ast.parse(MODULES[name].read_text()))
    return {target for node in nodes for target in targets(node)} - {name}


def test_every_module_lies_in_a_room() -> None:
    outside = [name for name in MODULES if unit(name) not in PLACE_OF]
    assert outside == [], "put the module in a room, or a room in this file"


def test_every_room_is_there() -> None:
    assert {room for room in PLACE_OF if room not in MODULES} == set()


def test_former_modules_hold_public_names_for_pickles_and_nothing_uses_them() -> None:
    here = {name for name in MODULES if unit(name) in FORMER}
    assert {name for name in MODULES if unit(name) not in FORMER and here & imports(name)} == set()
    assert {target for name in here for target in imports(name)} == {"__init__", "io"}


def test_imports_point_down() -> None:
    arrows = [(name, target) for name in MODULES for target in imports(name)]
    assert len(arrows) > len(MODULES)
    assert [f"{a} -> {b}" for a, b in arrows if PLACE_OF[unit(b)] > PLACE_OF[unit(a)]] == []


def test_no_modules_import_each_other() -> None:
    """Neither in a circle of several, nor hidden in a function or behind TYPE_CHECKING."""
    tuple(TopologicalSorter({name: imports(name) for name in MODULES}).static_order())


def test_only_the_tables_of_names_formats_and_commands_import_by_name() -> None:
    """What `importlib` loads, the tests above do not see: of the package, public names, formats and commands alone."""
    by_name = {name for name, path in MODULES.items() if "import_module(" in path.read_text()}
    assert by_name == {"_lazy", "_optional", "io._formats", "_cli._commands"}
    above = {name for name in MODULES if {"io._formats", "io._open"} & imports(name)}
    of_data = {"data._check_file", "data._rows", "data._source", "datasets._cohort"}
    of_io = {"io._inspect", "io._mrb._describe", "io._mrb._read", "io._open"}
    assert {name for name in above if unit(name) != "_cli"} == of_data | of_io | {"_pipeline._operations"}


NO_NAMES = {"util", "utils", "misc", "helper", "helpers", "common", "core"}


def test_files_are_short_and_named_for_what_they_hold() -> None:
    """Tests too."""
    tests = sorted((ROOT.parent / "tests").rglob("*.py"))
    assert len(tests) > 100
    paths = [*MODULES.values(), *tests, ROOT.parent / "conftest.py"]
    lines = {str(path.relative_to(ROOT.parent)): len(path.read_text().splitlines()) for path in paths}
    long = {path: count for path, count in lines.items() if count > 500}
    assert long == {}, "give the concept that grew a module of its own"
    assert [path for path in lines if NO_NAMES & set(re.split(r"[/_.]", path))] == []


MOST_PARAMETERS = 6
# Public functions whose arguments design.md fixes: one value and its options.
WITH_MORE = {
    "_image._image.Image.from_array": 8,
    "_space._move.rotate": 7,
    "_space._resample.resample_to_spacing": 7,
    "data._cache.cache": 9,
    "data._loader.Loader.__init__": 14,
    "data._split.split": 7,
    "datasets._pet_ct.pet_ct": 8,
    "io._dicom._write.save_dicom_series": 7,
    "io._dicom._write_segmentation.save_dicom_segmentation": 8,
    "patch._sliding_window.sliding_window": 13,
}


def parameters(node: ast.AST, inside: str) -> Iterator[tuple[str, int]]:
    """The functions below a node by dotted name, and how many parameters a caller gives them."""
    for child in ast.iter_child_nodes(node):
        name = f"{inside}.{getattr(child, 'name', 'lambda')}"
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            of = child.args
            given = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
            yield name, len([one for one in given if one.arg not in ("self", "cls")])
        is_scope = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef)
        yield from parameters(child, name if is_scope else inside)


def test_functions_have_at_most_six_parameters() -> None:
    """Keyword-only ones included. Arguments that travel together are a value with a name: give it a type."""
    counts = [found for name, path in MODULES.items() for found in parameters(ast.parse(path.read_text()), name)]
    assert len(counts) > 1500
    assert {name: count for name, count in counts if count > MOST_PARAMETERS} == WITH_MORE
    assert list(parameters(ast.parse("class A:\n def f(self, a, *b, c, **d): lambda e: 0"), "m")) == [
        ("m.A.f", 4),
        ("m.A.f.lambda", 1),
    ]


PRIVATE = re.compile(r"medjax(\.\w+)*\._[a-z]")


def private_names(source: str) -> list[str]:
    """What a test takes of the package beside public names: by import, or by a dotted name in a string."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            found.append(node.value)
    return [name for name in found if PRIVATE.match(name)]


def test_tests_say_why_they_use_a_private_name() -> None:
    """Public names show the same in most cases, and survive a change of the rooms. House rules and doctests are apart."""
    paths = {
        path for path in (ROOT.parent / "tests").rglob("*.py") if path.name not in ("test_layers.py", "test_docs.py")
    }
    using = {path for path in paths if private_names(path.read_text())}
    explained = {path for path in paths if "# Private: " in path.read_text()}
    assert len(using) > 20
    assert sorted(path.name for path in using ^ explained) == [], "a comment too few, or one that is left over"
    assert private_names("from medjax.io import _disk\npatch('medjax.io._a.b')") == [
        "medjax.io._disk",
        "medjax.io._a.b",
    ]


def test_every_folder_is_a_package() -> None:
    """A folder without __init__.py imports from a checkout and is missing from the wheel."""
    assert not {path.parent for path in MODULES.values() if not (path.parent / "__init__.py").is_file()}
    assert (ROOT / "py.typed").is_file()


def loaded_by(statement: str, *, blocked: str = "") -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement; warnings are errors."""
    script = f"import sys; sys.modules.update({{name: None for name in {blocked.split()!r}}}); {statement}; "
    script += "print(*(name for name, module in sys.modules.items() if module is not None))"
    command = [sys.executable, "-W", "error", "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    return set(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split())


@pytest.mark.parametrize("name", WITHOUT_JAX)
def test_geometry_is_importable_without_jax(name: str) -> None:
    found = loaded_by(f"import {name}", blocked="jax jaxlib")
    assert name in found


def test_geometry_works_without_jax() -> None:
    loaded_by(
        "import medjax as mj; grid = mj.Grid.of((2, 3, 4), spacing=2); grid.extent, grid.index(grid.center), repr(grid); "
        "mj.Metadata(modality='CT').to_json(); mj.ImageFileError('a', 'b'); dir(mj)",
        blocked="jax jaxlib",
    )


@pytest.mark.parametrize(
    "statement", ["import medjax", "import medjax; medjax.Image, medjax.resample_to_spacing, medjax.io"]
)
def test_import_loads_no_library_before_its_use(statement: str) -> None:
    found = loaded_by(statement)
    assert not {name for name in LAZY if name in found}
    assert ("jax" in found) == ("Image" in statement)


def test_all_public_names_load_without_optional_packages() -> None:
    """Whoever installed nothing but the dependencies can still import every name."""
    optional = "matplotlib scipy SimpleITK torch nrrd highdicom hdf5plugin gdcm pylibjpeg fsspec optax flax beartype hypothesis grain"
    loaded_by(
        "import medjax; [getattr(medjax, n) for n in dir(medjax)]; [getattr(medjax.io, n) for n in dir(medjax.io)]; "
        "[getattr(space, n) for space in (medjax.augment, medjax.data, medjax.datasets, medjax.patch) for n in dir(space)]",
        blocked=optional,
    )
