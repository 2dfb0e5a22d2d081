"""The check that two images lie on one grid, with one tolerance for every operation that takes two images."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from medjax._geometry._numbers import is_traced

__all__ = ["check_grids"]

# Two grids are the same when no corner lies further apart than this.
_SAME_GRID_MM = 1e-3


def check_grids(image: Any, other: Any, name: str, *, batch: Literal["same", "same or none"] = "same") -> None:
    """Checks that two images lie on one grid: no corner of one is further than `_SAME_GRID_MM` from the other's.

    Args:
        image: The image that gives the grid.
        other: The image that must lie on it; a traced affine is taken to be right.
        name: The argument that an error names.
        batch: Whether `other` may also be one for all items.

    Raises:
        ValueError: shape, batch or affine differ.
    """
    batches = (image.batch_shape,) if batch == "same" else (image.batch_shape, ())
    if other.batch_shape not in batches or other.shape != image.shape:
        raise ValueError(
            f"{name} is {other.batch_shape + other.shape} and the image {image.batch_shape + image.shape}; "
            "bring it to the image's grid with resample_to_image"
        )
    if is_traced(image.affine, other.affine):
        return
    corners = np.array(np.meshgrid(*((0.0, n - 1.0) for n in image.shape), indexing="ij")).reshape(3, 8)
    homogeneous = np.concatenate([corners, np.ones((1, 8))])
    apart = np.abs((np.asarray(image.grid.affine) - np.asarray(other.grid.affine)) @ homogeneous).max()
    if not apart <= _SAME_GRID_MM:
        raise ValueError(
            f"{name} lies on another grid: a corner is {apart:.4g} mm away (tolerance {_SAME_GRID_MM} mm); "
            "bring it to the image's grid with resample_to_image"
        )
