"""The B-spline filter along the axes of a volume: from samples to coefficients, and its transpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medjax._kernels._bands import along_axis
from medjax._kernels._bspline import SplineBoundary, prefilter_matrix

__all__ = ["prefiltered", "prefiltered_along"]


def prefiltered(volume: Any, orders: Sequence[int], dtype: Any, *, is_back: bool = False) -> Any:
    """Turns samples into the coefficients of the spline that interpolates them (mirrored at the edges).

    Args:
        volume: `(*spatial, *channels)`.
        orders: Spline order of each spatial axis; along those of order 0 and 1 samples are coefficients.
        dtype: dtype to compute in.
        is_back: Whether to apply the transpose.
    """
    axes = (*range(1, len(orders)), 0)  # this order saves XLA one temporary volume
    for axis in reversed(axes) if is_back else axes:
        volume = prefiltered_along(volume, axis, orders[axis], dtype, is_back=is_back)
    return volume


def prefiltered_along(
    volume: Any, axis: int, order: int, dtype: Any, *, is_back: bool = False, boundary: SplineBoundary = "mirror"
) -> Any:
    """Turns samples into coefficients along one axis, or applies the transpose."""
    size = volume.shape[axis]
    if order < 2 or size < 2:
        return volume
    matrix = prefilter_matrix(size, order, boundary).astype(dtype)
    return along_axis(volume, matrix.T if is_back else matrix, axis, dtype)
