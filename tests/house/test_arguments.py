"""The table of docs/arguments.md is up to date and true: what is static, what may be traced, and what has a gradient."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from argument_rows import PAGE, ROWS, WITHOUT_ROW, Row, page, parts_of

import medjax as mj

CASES: list[Any] = [pytest.param(row, id=f"{row.name} {number}") for number, row in enumerate(ROWS)]
LONG = {"motion", "resample_to_grid", "resample_to_image", "warp"}
"""Their gradients take longest to compile, and are compared with difference quotients elsewhere too."""

pytestmark = pytest.mark.usefixtures("unchecked")  # what a wrong argument raises is what users see


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run python tests/cases/argument_rows.py"


def test_every_public_function_has_a_row() -> None:
    functions = {name for name in dir(mj) if inspect.isroutine(getattr(mj, name))}
    rows = {row.name for row in ROWS if "." not in row.name}
    assert rows | set(WITHOUT_ROW) == functions
    makers = {f"{kind}.{name}" for kind in ("Image", "Grid") for name in ("of", "from_array", "covering")}
    assert {row.name for row in ROWS} & makers == {"Image.from_array", "Grid.of", "Grid.covering"}


def test_every_argument_of_a_function_is_in_its_rows() -> None:
    for name in {row.name for row in ROWS}:
        function = next(row.function for row in ROWS if row.name == name)
        given = {argument for row in ROWS if row.name == name for argument in row.arguments}
        missing = {p for p in inspect.signature(function).parameters if p not in given}
        assert missing <= {"metadata", "tags", "self"}, name


# --- Parts of arguments ----------------------------------------------------------------------------------------------


def known(row: Row, parts: list[str]) -> dict[str, Any]:
    """The values of parts of a call's arguments, as arrays of JAX."""
    return {part: jax.tree.map(as_array, value_of(row.arguments, part)) for part in parts}


def value_of(arguments: Mapping[str, Any], part: str) -> Any:
    name, _, attribute = part.partition(".")
    return getattr(arguments[name], attribute) if attribute else arguments[name]


def as_array(leaf: Any) -> jax.Array:
    if isinstance(leaf, jax.Array):  # keys, which are no numbers
        return leaf
    return jnp.asarray(leaf, jnp.float32 if np.asarray(leaf).dtype.kind == "f" else None)


def call(row: Row, values: Mapping[str, Any]) -> list[Any]:
    """The floating arrays of a result, some parts of the arguments having other values."""
    arguments: dict[str, Any] = {}
    for name, value in row.arguments.items():
        parts = {part.rpartition(".")[2]: values[part] for part in parts_of(name, value) if part in values}
        if isinstance(value, mj.Image) and parts:
            own = {"voxels": value.voxels, "affine": value.affine, **parts}
            arguments[name] = mj.Image(own["voxels"], own["affine"], value.kind, value.metadata)
        elif isinstance(value, mj.Grid) and parts:
            arguments[name] = mj.Grid(value.shape, parts["affine"])
        else:
            arguments[name] = parts.get(name, value)
    leaves = jax.tree.leaves(row.result(arguments))
    return [leaf for leaf in leaves if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]


# --- The three columns -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", CASES)
def test_what_may_be_traced_may_be_traced_at_once(row: Row) -> None:
    parts = [part for part, role in row.roles().items() if role != "static"]
    if parts:
        jax.eval_shape(lambda values: call(row, values), known(row, parts))


def is_word(value: Any) -> bool:
    """What no trace can hold anyway."""
    return isinstance(value, str | type) or value is None


@pytest.mark.parametrize("row", CASES)
def test_what_is_static_is_an_error_that_names_it(row: Row) -> None:
    for part, role in row.roles().items():
        if role != "static" or is_word(value_of(row.arguments, part)):
            continue
        name, _, attribute = part.partition(".")
        words = {"": name, "voxels": f"voxels|values|host|{name}", "affine": "affine|geometry|spacing|host"}[attribute]
        with pytest.raises((ValueError, TypeError), match=rf"\b({words})"):
            jax.eval_shape(lambda values: call(row, values), known(row, [part]))


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(*case.values, id=case.id, marks=[pytest.mark.long] if case.values[0].name in LONG else [])
        for case in CASES
        if "differentiable" in case.values[0].roles().values()
    ],
)
def test_what_is_differentiable_has_a_gradient_that_is_finite_and_not_zero(row: Row) -> None:
    values = known(row, row.differentiable.split())

    def loss(values: Mapping[str, Any]) -> Any:
        total = jnp.float32(0)
        for number, leaf in enumerate(call(row, values)):
            weights = np.random.default_rng(number).normal(size=leaf.shape).astype(np.float32)
            total += jnp.sum(leaf.astype(jnp.float32) * weights)
        return total

    leaves = jax.tree.leaves(values)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves), "integers have no gradient"
    for part, gradient in jax.jit(jax.grad(loss))(values).items():
        leaves = jax.tree.leaves(gradient)
        assert all(np.isfinite(leaf).all() for leaf in leaves), part
        assert any(np.any(np.asarray(leaf) != 0) for leaf in leaves), part
