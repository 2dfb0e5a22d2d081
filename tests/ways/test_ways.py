"""The table of ways: one result of every public operation, however it is called.

Rows are operations (ways_operations.py), columns are ways to call them (ways_calls.py); images and parameters are drawn at
random from a seed that the test's name and the end of the report state. `make test` takes one seed and
draws the ways that compile; `make ways` takes twenty and every way. `MEDJAX_WAYS_SEEDS=7,8` chooses them.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import zlib
from typing import Any

import jax
import numpy as np
import pytest
from ways_augmentation import AUGMENTATION
from ways_calls import WAYS, problems
from ways_cases import draw_case
from ways_gradients import gradient_problems
from ways_operations import OPERATIONS, WITHOUT_ROW

import medjax as mj

SEEDS = [int(seed) for seed in os.environ["MEDJAX_WAYS_SEEDS"].split(",")]

IS_WHOLE = "MEDJAX_WAYS_WHOLE" in os.environ
"""Whether every row takes every way; else, in `make test`, those that compile are drawn, and `make ways` has the rest."""

COMPILED = [way for way in WAYS if way.startswith(("jit_", "vmap_", "under_disable", "under_usual"))]
DRAWN = 3


def one_in(parts: int, name: str, seed: int) -> bool:
    """Whether a seed takes this operation, as one of so many."""
    return (seed + zlib.crc32(name.encode())) % parts == 0


# Compiling gradients takes longest, and the functions behind the steps of augmentation share their code: a seed takes a
# part of them.
ROWS = [
    (name, seed)
    for name in OPERATIONS
    for seed in SEEDS
    if IS_WHOLE or name not in AUGMENTATION or one_in(3, name, seed)
]
SLOPES = [
    (name, seed)
    for name, operation in OPERATIONS.items()
    for seed in SEEDS
    if operation.slopes is not None and one_in(2 if IS_WHOLE else 8, name, seed)
]


def ways_of(name: str, seed: int) -> list[str]:
    """The ways that a row takes with a seed."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    left_out = set() if IS_WHOLE else set(rng.permutation(COMPILED)[DRAWN:].tolist())
    return [way for way in WAYS if way not in left_out]


@pytest.mark.filterwarnings("ignore:the image and the grid do not overlap", "ignore:voxels of shape .* are one plane")
@pytest.mark.parametrize(("name", "seed"), ROWS)
def test_one_result_in_every_way(name: str, seed: int) -> None:
    case = draw_case(name, OPERATIONS[name], seed)
    wrong = [f"{way}: {text}" for way in ways_of(name, seed) for text in problems(case, way)]
    assert not wrong, "\n  ".join([f"{name} of {case}, MEDJAX_WAYS_SEEDS={seed}", *wrong])


@pytest.mark.filterwarnings("ignore:the image and the grid do not overlap", "ignore:voxels of shape .* are one plane")
@pytest.mark.parametrize(("name", "seed"), SLOPES)
def test_one_gradient_in_every_way(name: str, seed: int) -> None:
    case = draw_case(name, OPERATIONS[name], seed, kind="intensity", dtype=np.float32)
    wrong = gradient_problems(case)
    assert not wrong, "\n  ".join([f"gradient of {name} of {case}, MEDJAX_WAYS_SEEDS={seed}", *wrong])


def test_the_table_can_fail() -> None:
    """A voxel that moves, a result of another geometry, an error that nobody expects, and a refusal that is gone."""

    def faulty(call: Any, **changes: Any) -> list[str]:
        return problems(
            draw_case("flip", dataclasses.replace(OPERATIONS["flip"], call=call, **changes), 1), "jit_image"
        )

    flip = OPERATIONS["flip"].call
    assert not faulty(flip)
    assert (
        "differs in"
        in faulty(
            lambda image, p, o: (
                flip(image.with_voxels(image.voxels.at[0, 0, 0].add(1)), p, o)
                if is_traced(image)
                else flip(image, p, o)
            )
        )[0]
    )
    assert (
        "affine differs"
        in faulty(
            lambda image, p, o: mj.translate(flip(image, p, o), (1, 0, 0)) if is_traced(image) else flip(image, p, o)
        )[0]
    )
    assert "raises" in faulty(lambda image, p, o: int(image.voxels[0, 0, 0]))[0]
    assert "is not refused" in faulty(flip, refused={"affine": "traced"})[0]


def is_traced(image: Any) -> bool:
    return isinstance(image.voxels, jax.core.Tracer)


def test_every_public_function_has_a_row() -> None:
    public = {name for name in dir(mj) if inspect.isroutine(getattr(mj, name))}
    rows = {operation.function for operation in OPERATIONS.values()}
    assert public - rows == set(WITHOUT_ROW)
