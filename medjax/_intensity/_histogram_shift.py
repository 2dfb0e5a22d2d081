"""Intensities moved along a line of several pieces that rises from the lowest to the highest."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import Points
from medjax._image._image import Image
from medjax._image._per_item import as_array
from medjax._intensity._parameters import amount_for, voxels_of
from medjax._intensity._statistics import moments, selected
from medjax._kernels._batch import by_item
from medjax._kernels._compiled import compiled
from medjax._kernels._values import as_float, exactly

__all__ = ["histogram_shift", "with_shifts"]

# float32 may take this much from a line that is level.
_LEVEL = 1e-6


def histogram_shift(image: Image, shifts: Points) -> Image:
    r"""Moves intensities along a rising line of several pieces: $y = x + (hi - lo)\,s((x - lo) / (hi - lo))$.

    $s$ is piecewise linear through $s_1 \dots s_m$ at $1 / (m + 1) \dots m / (m + 1)$ and through 0 at 0 and 1, so the
    extremes stay. The order of intensities is kept as long as no shift is more than $1 / (m + 1)$ below the one before
    it. Extremes are those of an item's channel over its finite voxels; other voxels stay as they are.

    Args:
        image: Intensities, any batch, any channels.
        shifts: $s$, as shares of the range, `(m,)`, `(*batch, m)` per item, `(c, m)` per channel: the axes before the
            last broadcast to `(*batch, *channels)`. All 0 changes nothing, to the bit.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels, or known shifts are not finite or exchange the order of intensities.

    Transforms:
        Differentiable in the voxels and `shifts`. Compiles once per shape, dtype and number of shifts.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 25, 50, 100], np.int16).reshape(4, 1, 1))
        >>> mj.histogram_shift(image, [0.2]).voxels.ravel().tolist()
        [0.0, 35.0, 70.0, 100.0]

    Source: MONAI's `RandHistogramShift`, whose points may overtake each other.
    """
    voxels, given = voxels_of(image, "histogram_shift"), as_array(shifts, "shifts")
    if not given.ndim or not given.shape[-1]:
        raise ValueError(f"shifts must be (..., m) with m of at least 1, got shape {tuple(given.shape)}")
    numbers = amount_for(image, given, "shifts", tail=tuple(given.shape[-1:]))
    if not is_traced(numbers):
        ends = np.zeros((*numbers.shape[:-1], 1))
        steps = np.diff(np.concatenate([ends, numbers, ends], axis=-1), axis=-1)
        least = -1 / (numbers.shape[-1] + 1)
        if (steps < least - _LEVEL).any():
            raise ValueError(
                f"shifts must keep the order of intensities: none may be more than {-least:g} below the one before it, "
                f"got {numbers.tolist()}"
            )
    return image.with_voxels(_shifted(voxels, numbers, depth=len(image.batch_shape)))


@functools.partial(compiled, static_argnames="depth")
def _shifted(voxels: Shaped[Array, "*shape"], shifts: Num[Array, "*shifts"], depth: int) -> Float[Array, "*shape"]:
    return by_item(with_shifts, depth)(voxels, shifts)


def with_shifts(voxels: Any, shifts: Any) -> Any:
    """The voxels `(i, j, k, *channels)` of one item; the shifts are `(1, 1, 1, *channels, m)`."""
    x = as_float(voxels)
    where, _ = selected(voxels, None, (0, 1, 2))
    found, numbers, count = moments(x, x, where), shifts.astype(x.dtype), shifts.shape[-1]
    known = x if where is None else jnp.where(where, x, found.lowest)
    width = found.highest - found.lowest
    place = jnp.clip((known - found.lowest) / jnp.where(width > 0, width, 1), 0, 1) * (count + 1)
    total: Any = 0
    for n in range(count):  # hats of the points: no gather, and few operations
        total = total + numbers[..., n] * jnp.maximum(1 - jnp.abs(place - (n + 1)), 0)
    y = exactly((numbers == 0).all(-1), known, known + width * total)
    return y if where is None else jnp.where(where, y, x)
