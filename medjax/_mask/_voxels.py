"""Masks as operations read them: labels, weights, or the voxels inside. Known values are checked."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._image._checks import check_count
from medjax._image._image import Image, check_image
from medjax._kernels._compiled import at_once, unchanging

__all__ = [
    "batch_first",
    "channels_first",
    "float_like",
    "inside_of",
    "labels_of",
    "weights_of",
]

# Interpolation in float32 may leave the range of weights by this much.
_ROUNDING = 1e-5


def labels_of(mask: Image, num_classes: int | None, operation: str = "this operation") -> Any:
    """Returns labels as int32, `(*batch, i, j, k)`; without `num_classes` they are 1 wherever the mask is not 0.

    Raises:
        ValueError: the mask holds fractions or has channels, or a known label is not within 0 to `num_classes - 1`.
    """
    check_image(mask, "mask")
    voxels = mask.voxels
    if voxels.dtype != bool and not jnp.issubdtype(voxels.dtype, np.integer):
        raise ValueError(
            f"{operation} takes booleans or integers, got {voxels.dtype}; compare the mask first, such as voxels > 0.5"
        )
    if mask.channels:
        raise ValueError(
            f"{operation} takes one label per voxel, but the mask has channels {mask.channels}; index them first"
        )
    if num_classes is not None:
        check_count(num_classes, "num_classes")
    with at_once(voxels):
        if num_classes is None:
            return voxels.astype(bool).astype(np.int32)
        if not is_traced(voxels):
            low, high = int(voxels.min()), int(voxels.max())
            if low < 0 or high >= num_classes:
                raise ValueError(
                    f"labels run from {low} to {high}, but num_classes={num_classes} allows 0 to {num_classes - 1}"
                )
        return voxels.astype(np.int32)


def weights_of(mask: Image, name: str = "mask", *, most: float | None = None) -> Any:
    """Returns the weight of each voxel, channels before space: 1 where integers are not 0, fractions as they are.

    Integers and booleans become int32, so that counts are exact.

    Args:
        mask: Any batch, any channels.
        name: The argument that an error names.
        most: The largest weight that makes sense (the smallest is 0), or `None` where all voxels that are not 0 count
            alike.

    Raises:
        ValueError: the voxels are no numbers; a known one is NaN or infinite, which would spoil every sum and mean; or
            a known one lies outside 0 to `most`.
    """
    check_image(mask, name)
    voxels = mask.voxels
    if voxels.dtype != bool and not jnp.issubdtype(voxels.dtype, np.integer):
        if not jnp.issubdtype(voxels.dtype, np.floating):
            raise ValueError(f"a mask holds booleans, integers or fractions, got {voxels.dtype}")
        with at_once(voxels):
            voxels = voxels.astype(np.float32) if voxels.dtype.itemsize < 4 else unchanging(voxels)
            if not is_traced(voxels):
                _check_weights(voxels, name, most)
            return channels_first(voxels, mask)
    with at_once(voxels):
        return channels_first(voxels.astype(bool).astype(np.int32), mask)


def inside_of(mask: Image) -> Any:
    """Returns which voxels are not 0, channels before space; raises as `weights_of`."""
    weights = weights_of(mask)
    with at_once(weights):
        return weights != 0


def _check_weights(voxels: Any, name: str, most: float | None) -> None:
    xp = voxels.__array_namespace__()
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        nan, infinite = (int(found.sum()) for found in (xp.isnan(voxels), xp.isinf(voxels)))
        what, count = ("NaN", nan) if nan else ("infinite", infinite)
        raise ValueError(
            f"the {name} is {what} in {count} of {voxels.size} voxels; say first whether they are inside, 1, or not, 0"
        )
    if most is None:
        return
    rounding = _ROUNDING * max(1.0, high)
    if low < -rounding or high > most + rounding:
        bounds = "must not be negative" if most == np.inf else f"must be within 0 to {most:g}"
        raise ValueError(
            f"the {name} has weights from {low:g} to {high:g}: they {bounds}; compare it first, such as voxels > 0.5, "
            f"or limit it, clip({name}, 0, {'None' if most == np.inf else f'{most:g}'})"
        )


def channels_first(voxels: Any, image: Image) -> Any:
    """Moves channels in front of space: `(*batch, *channels, i, j, k)`."""
    lead, tail = len(image.batch_shape), len(image.channels)
    order = (*range(lead), *range(lead + 3, lead + 3 + tail), *range(lead, lead + 3))
    return voxels.transpose(order) if tail else voxels


def batch_first(affine: Any, image: Image) -> Any:
    """Gives a per-item array axes of length 1 for the image's channels: `(*batch, 1, ..., *rest)`."""
    lead = len(image.batch_shape)
    return affine.reshape(affine.shape[:lead] + (1,) * len(image.channels) + affine.shape[lead:])


def float_like(value: Any, *others: Any) -> Any:
    """Returns a value as float64 NumPy where it and the others are known, else as a float array of JAX."""
    if not is_traced(value, *others):
        return np.asarray(value, np.float64)
    return jnp.asarray(value, jax.dtypes.canonicalize_dtype(np.float64))
