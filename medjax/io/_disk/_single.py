"""The check before every writer: an image that can be saved is a single one, and its numbers are known."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from medjax._geometry._grid import is_traced
from medjax._image._image import Image

__all__ = ["check_known", "check_single", "single_on_host"]


def check_known(numbers: Any, target: str | os.PathLike[str], what: str) -> None:
    """Refuses numbers that are traced by a JAX transformation.

    Args:
        numbers: An array, or a tree of arrays.
        target: The file that is written or the object that is made, as the error names it.
        what: "image" or "transform", as the error names it.

    Raises:
        ValueError: one of the numbers is traced.
    """
    if is_traced(numbers):
        raise ValueError(
            f"cannot save {os.fspath(target)} under a jax transformation: return the {what} and save it outside"
        )


def check_single(image: Image, target: str | os.PathLike[str]) -> None:
    """Refuses traced images and batches.

    Raises:
        ValueError: the image is a batch or traced.
    """
    check_known((image.voxels, image.affine), target, "image")
    if image.batch_shape:
        name = os.fspath(target)
        raise ValueError(
            f"cannot save a batch of shape {image.batch_shape} as {name}: save the items of unstack(image)"
        )


def single_on_host(image: Image, target: str | os.PathLike[str]) -> Image:
    """Returns a single image with its voxels as NumPy; `target` is what it is made for, as errors name it.

    Raises:
        ValueError: the image is a batch or traced.
    """
    check_single(image, target)
    return dataclasses.replace(image, voxels=np.asarray(image.voxels), affine=image.grid.affine)
