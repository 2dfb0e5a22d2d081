"""Masks that the tests of several subjects take."""

from __future__ import annotations

from typing import Any

import numpy as np
from pet_header import oblique

from medjax import Image

SHAPE = (9, 7, 6)


def blob(seed: int, shape: tuple[int, int, int] = SHAPE, dtype: Any = np.uint8) -> np.ndarray:
    """A few random boxes: connected, not symmetric, touching the edge now and then."""
    random = np.random.default_rng(seed)
    voxels = np.zeros(shape, bool)
    for _ in range(3):
        low = [random.integers(0, n - 2) for n in shape]
        high = [random.integers(a + 1, n + 1) for a, n in zip(low, shape, strict=True)]
        voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return voxels.astype(dtype)


def label_image(voxels: np.ndarray, *spacing: float) -> Image:
    return Image.from_array(voxels, affine=oblique(*(spacing or (1.5, 2.25, 3.0))), kind="label")
