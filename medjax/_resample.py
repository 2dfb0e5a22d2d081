"""Resampling onto another spacing, another image's grid, or any grid."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import jax
import numpy as np

from medjax._grid import Grid, as_triple, index_map, rescaled_size
from medjax._image import Image
from medjax._plan import Interpolation, resample

__all__ = ["resample_to_grid", "resample_to_image", "resample_to_spacing", "scale"]

Anchor = Literal["center", "first"]


def resample_to_spacing(
    image: Image,
    spacing: Any,
    *,
    anchor: Anchor = "center",
    size: Any = None,
    antialias: bool = False,
    interpolation: Interpolation | None = None,
    fill: Any = None,
) -> Image:
    grid = image.grid
    if size is None and not isinstance(grid.affine, np.ndarray):
        raise ValueError(
            "the new size follows from the spacing, and under jit the image's geometry is traced: pass size=(i, j, k), or "
            "close over the image and pass only its voxels"
        )
    return image
