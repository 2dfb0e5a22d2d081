"""`Image(...)` and `Grid(...)` check nothing; what they let through is refused by the operation that takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import medjax as mj

GOOD = mj.Image.from_array(np.ones((2, 3, 4), np.float32))

IMAGES: dict[str, tuple[Any, str]] = {
    "slice": (mj.Image(np.ones((2, 2)), np.eye(4)), r"got ndarray \(2, 2\) and ndarray \(4, 4\); Image.from_array"),
    "affine 3x3": (mj.Image(np.ones((2, 2, 2)), np.eye(3)), r"ndarray \(3, 3\)"),
    "lists": (mj.Image([[[1.0]]], np.eye(4)), r"got list \(1, 1, 1\)"),
    "no affine": (mj.Image(np.ones((2, 2, 2)), None), r"NoneType \(\)"),
    "another batch": (mj.Image(np.ones((3, 2, 2, 2)), np.stack([np.eye(4)] * 2)), r"\(3, 2, 2, 2\) and .*\(2, 4, 4\)"),
}
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "flip": lambda image: mj.flip(image, 0),
    "rotate": lambda image: mj.rotate(image, "k", 5.0),
    "clip": lambda image: mj.clip(image, 0, 1),
    "dilate": lambda image: mj.dilate(image, 1.0),
    "resample_to_image": lambda image: mj.resample_to_image(GOOD, image),
    "stack": lambda image: mj.stack([image, image]),
    "fused": mj.fuse(lambda image: mj.flip(image, 0)),
    "jit": jax.jit(lambda voxels: mj.rotate(mj.Image(voxels[0], np.eye(4)), 0, 5.0)),
}


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "jit"])
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.usefixtures("unchecked")
def test_an_image_that_is_none_is_refused_by_what_takes_it(name: str, operation: str) -> None:
    image, message = IMAGES[name]
    with pytest.raises(ValueError, match=message):
        OPERATIONS[operation](image)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_kind_and_traced_voxels_of_a_slice() -> None:
    with pytest.raises(ValueError, match="image is of kind 'mask', which is none of intensity, label"):
        mj.flip(mj.Image(np.ones((2, 2, 2)), np.eye(4), "mask"), 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got .*Tracer \(3, 4\) and ndarray"):
        OPERATIONS["jit"](np.ones((2, 3, 4), np.float32))


GRIDS: dict[str, tuple[Any, str]] = {
    "two sizes": (mj.Grid((2, 3), np.eye(4)), r"three positive sizes.* got \(2, 3\)"),
    "empty": (mj.Grid((2, 2, 0), np.eye(4)), r"got \(2, 2, 0\)"),
    "affine 3x3": (mj.Grid((2, 2, 2), np.eye(3)), r"ndarray \(3, 3\); Grid.of checks"),
    "list": (mj.Grid((2, 2, 2), np.eye(4).tolist()), r"list \(4, 4\)"),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.usefixtures("unchecked")
def test_a_grid_that_is_none_is_refused_by_what_takes_it(name: str) -> None:
    grid, message = GRIDS[name]
    for use in (
        lambda: mj.resample_to_grid(GOOD, grid),
        lambda: mj.affine_transform(GOOD, np.eye(4), grid=grid),
        lambda: mj.plan(GOOD.grid, grid),
        lambda: mj.plan(grid, GOOD.grid),
    ):
        with pytest.raises(ValueError, match=message):
            use()
