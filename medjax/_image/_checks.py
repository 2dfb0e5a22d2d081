"""Checks of arguments that operations of several rooms take. A traced value passes the checks of its numbers."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._image._image import Image, check_image
from medjax._image._same_grid import check_grids

__all__ = ["check_choice", "check_count", "check_not_empty", "check_same_grid", "three_integers"]


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> None:
    """Raises `ValueError` unless a value is one of the words that an argument takes.

    Example:
        >>> check_choice("cm", "unit", ("mm", "voxel"))
        Traceback (most recent call last):
        ValueError: unit must be 'mm' or 'voxel', got 'cm'
    """
    if value not in choices:
        *most, last = (repr(choice) for choice in choices)
        raise ValueError(f"{name} must be {', '.join(most)} or {last}, got {value!r}")


def check_count(value: Any, name: str) -> None:
    """Raises `ValueError` unless a static number is a whole one, at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def three_integers(value: Any, name: str, *, least: int) -> tuple[int, int, int]:
    """Reads one integer or three, for i, j, k.

    Raises:
        ValueError: there is another count, one is no integer, or one is below `least`.

    Example:
        >>> three_integers(2, "size", least=1), three_integers((0, 1, 2), "before", least=0)
        ((2, 2, 2), (0, 1, 2))
    """
    array = np.asarray(value)
    if array.shape not in ((), (3,)) or array.dtype.kind not in "iu" or (array < least).any():
        raise ValueError(f"{name} must be one integer or three, at least {least}; got {value!r}")
    i, j, k = np.broadcast_to(array, (3,)).tolist()
    return i, j, k


def check_same_grid(image: Image, other: Image, name: str, *, batch: Literal["same", "same or none"] = "same") -> None:
    """Checks that two values are images on one grid; arguments and errors are those of `check_grids`."""
    check_image(image, "image")
    check_image(other, name)
    check_grids(image, other, name, batch=batch)


def check_not_empty(count: Any, problem: str) -> None:
    """Raises `ValueError` where a known count of voxels is 0; `None` and a traced count pass.

    Args:
        count: Voxels, per item and channel.
        problem: The start of the message; the items (and channels) without a voxel follow.
    """
    if count is None or is_traced(count):
        return
    empty = np.argwhere(np.asarray(count).reshape(-1) <= 0).ravel()
    if empty.size:
        where = "" if np.size(count) == 1 else f" in item (and channel) {empty.tolist()} of {np.size(count)}"
        raise ValueError(f"{problem}{where}")
