"""How much a window's voxel counts, by its place in the window: on the host, in float64."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np

from medjax._geometry._numbers import read_only

__all__ = ["Window", "closeness", "shares_along", "weights_along"]

Window = Literal["crop", "average", "hann", "gaussian"]

# The least weight of a Gaussian window along an axis, over its largest.
_FLOOR = 1e-3


def weights_along(window: Window, size: int) -> np.ndarray:
    r"""Returns the weights along one axis, `(size,)`, above 0 and symmetric; a window's weights are the product of
    three.

    With $i = 0, ..., p - 1$: "average" $1$; "hann" $\sin^2(\pi (i + 1) / (p + 1))$; "gaussian"
    $\exp(-(i - (p - 1) / 2)^2 / (2 (p / 8)^2))$, at least $10^{-3}$ of the largest.

    Example:
        >>> weights_along("hann", 3).round(3).tolist()
        [0.5, 1.0, 0.5]
    """
    place = np.arange(size) - (size - 1) / 2
    if window == "hann":
        found = np.cos(np.pi * place / (size + 1)) ** 2  # the same, and symmetric to the last bit
    elif window == "gaussian":
        found = np.exp(-(place**2) / (2 * (size / 8) ** 2))
        found = np.maximum(found, _FLOOR * found.max())
    else:
        found = np.ones(size)
    return found


@functools.lru_cache(maxsize=8)
def closeness(size: tuple[int, int, int]) -> np.ndarray:
    """Returns how close each voxel of a window is to its centre, as ranks from 1: equal distances have equal ranks.

    The distance is measured in windows along each axis, and squared; in integers, so that it is exact.

    Example:
        >>> closeness((4, 1, 1)).ravel().tolist()
        [1, 2, 2, 1]
    """
    volume = int(np.prod(size, dtype=np.int64))
    i, j, k = np.ix_(*((2 * np.arange(n) - (n - 1)) ** 2 * (volume // n) ** 2 for n in size))
    _, ranks = np.unique(-(i + j + k), return_inverse=True)
    return read_only(ranks.reshape(size).astype(np.int32) + 1)


def shares_along(window: Window, starts: np.ndarray, size: int, length: int) -> np.ndarray:
    """Returns the part that each window along an axis has in each of its voxels, `(w, size)`; the parts of a voxel sum
    to 1.

    Weights are products, and so are their sums over a grid of windows: what is divided here needs no map of weights.
    With "crop" a voxel belongs to the window whose centre is nearest, of two the first.

    Example:
        >>> shares_along("crop", np.array([0, 2]), 4, 6).tolist()
        [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]]
    """
    places = starts[:, None] + np.arange(size)
    if window == "crop":
        distance = np.full((len(starts), length), np.inf)
        np.put_along_axis(distance, places, np.abs(2.0 * np.arange(size) - (size - 1))[None], axis=1)
        owner = distance.argmin(axis=0)
        return (owner[places] == np.arange(len(starts))[:, None]).astype(np.float64)
    weights = np.broadcast_to(weights_along(window, size), places.shape)
    total = np.zeros(length)
    np.add.at(total, places, weights)
    return weights / total[places]
