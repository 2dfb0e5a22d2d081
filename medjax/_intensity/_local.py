"""Changes that are strongest at one place of an image and fade away from it like a Gaussian."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from medjax._intensity._statistics import moments, selected
from medjax._kernels._values import as_float, exactly

__all__ = ["blob", "brightened_locally", "gamma_adjusted_locally"]

SPACE = (0, 1, 2)


def blob(shape: tuple[int, ...], center: Any, width: Any) -> Any:
    """A Gaussian over a volume, scaled so that its lowest voxel is 0 and its highest 1.

    Args:
        shape: Voxels of the volume.
        center: In extents of the volume, from its first face: `(3, *channels)`; may lie outside.
        width: Standard deviation along each axis, in extents: `(3, *channels)`.

    Returns:
        `(i, j, k, *channels)`; 0 where the whole volume has one value.
    """
    field: Any = 1
    for axis, size in enumerate(shape):
        row = (-1,) + (1,) * (center.ndim - 1)
        place = ((jnp.arange(size, dtype=center.dtype) + 0.5) / size).reshape(row)
        along = -(((place - center[axis][None]) / width[axis][None]) ** 2) / 2
        along = jnp.exp(along - along.max(0, keepdims=True))  # the scale drops out, and far away nothing underflows
        field = field * along.reshape([size if d == axis else 1 for d in SPACE] + list(along.shape[1:]))
    low, high = field.min(SPACE, keepdims=True), field.max(SPACE, keepdims=True)
    is_flat = high <= low
    return jnp.where(is_flat, 0, (field - low) / jnp.where(is_flat, 1, high - low))


def brightened_locally(voxels: Any, strength: Any, center: Any, width: Any, *, is_relative: bool) -> Any:
    """Adds a blob to the voxels `(i, j, k, *channels)` of one item.

    Args:
        voxels: Intensities.
        strength: What is added where the blob is highest, `(*channels)`.
        center: As for `blob`.
        width: As for `blob`.
        is_relative: Whether the strength counts standard deviations.
    """
    x = as_float(voxels)
    height = strength.astype(x.dtype)[None, None, None]
    if is_relative:
        where, _ = selected(voxels, None, SPACE)
        height = height * moments(x, x, where).deviation
    y = x + height * blob(x.shape[:3], center.astype(x.dtype), width.astype(x.dtype))
    return exactly(height == 0, x, y)


def gamma_adjusted_locally(voxels: Any, gamma: Any, center: Any, width: Any) -> Any:
    """Bends the voxels `(i, j, k, *channels)` of one item by a power, between their extremes and as far as a blob says.

    Args:
        voxels: Intensities.
        gamma: The power, `(*channels)`.
        center: As for `blob`.
        width: As for `blob`.
    """
    x = as_float(voxels)
    where, _ = selected(voxels, None, SPACE)
    found, power = moments(x, x, where), gamma.astype(x.dtype)[None, None, None]
    known = x if where is None else jnp.where(where, x, found.lowest)
    extent = found.highest - found.lowest
    share = jnp.clip((known - found.lowest) / jnp.where(extent > 0, extent, 1), 0, 1)
    is_zero = share <= 0
    bent = jnp.where(is_zero, 0, jnp.where(is_zero, 1, share) ** power)
    y = known + extent * (bent - share) * blob(x.shape[:3], center.astype(x.dtype), width.astype(x.dtype))
    y = exactly((power == 1) | (extent == 0), known, y)
    return y if where is None else jnp.where(where, y, x)
