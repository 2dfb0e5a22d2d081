"""Masks from intensities: between two numbers, or above Otsu's threshold."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import AnyArray, PerItem
from medjax._image._checks import check_count, check_not_empty
from medjax._image._image import Image
from medjax._image._operators import compared
from medjax._image._types import MaskLike
from medjax._intensity._parameters import limits_for, mask_for, voxels_of
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import compiled

__all__ = ["otsu_threshold", "threshold"]


def threshold(image: Image, low: PerItem | None, *, high: PerItem | None = None) -> Image:
    r"""Marks the voxels whose intensity lies within limits, $low \le x \le high$, as SimpleITK's `BinaryThreshold`.

    Args:
        image: Intensities, any batch, any channels.
        low: Lowest value inside, in the image's unit: one number, or an array that broadcasts to `(*batch, *channels)`:
            `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without channels. `None` for no limit.
        high: Highest value inside, likewise.

    Returns:
        A label image of booleans with the same geometry and metadata. NaN is outside.

    Raises:
        ValueError: the image holds labels, `low` is above `high`, or a limit is NaN or of another shape.

    Transforms:
        `jit`, `vmap`; there is no gradient, since the result jumps. Compiles once per shape and dtype, not per limit.

    Example:
        >>> image = mj.Image.from_array(np.array([-2000, 40, 3000], np.int16).reshape(3, 1, 1))
        >>> mj.threshold(image, 40, high=400).voxels.ravel().tolist()
        [False, True, False]
    """
    voxels_of(image, "threshold")
    least, most = limits_for(image, low, high)
    return dataclasses.replace(
        image, voxels=_both(compared(image, least, ">="), compared(image, most, "<=")), kind="label"
    )


@compiled
def _both(a: Bool[Array, "*shape"], b: Bool[Array, "*shape"]) -> Bool[Array, "*shape"]:
    return a & b


def otsu_threshold(image: Image, *, mask: MaskLike | None = None, bins: int = 128) -> AnyArray:
    """Returns Otsu's threshold: the intensity that gives two classes of voxels with the largest variance between them.

    The value is that of SimpleITK's `OtsuThresholdImageFilter`. The histogram has equal bins from the smallest to the
    largest voxel; for 8-bit voxels they span all 256 values. The threshold is the upper end of the first bin that gives
    the largest variance between the classes, cut to an integer for integer voxels. ITK marks the voxels up to it. The
    bright class is `image > otsu_threshold(image)`.

    Args:
        image: Intensities, any batch, any channels.
        mask: The voxels that count: an image on the same grid or an array, as in `z_score_normalize`. Default all
            finite ones.
        bins: Number of bins of the histogram.

    Returns:
        `(*batch, *channels)`, float64 NumPy where it is known; it broadcasts against the image in comparisons.

    Raises:
        ValueError: the image holds labels, the mask leaves no finite voxel or lies on another grid, or `bins` is below
            2.

    Transforms:
        `jit`, `vmap`; there is no gradient. Traced images are binned in float32, so a voxel at the border of a bin may
        fall on either side. Compiles once per shape, dtype and `bins`.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 1, 2, 50, 51, 52], np.float32).reshape(6, 1, 1))
        >>> round(float(mj.otsu_threshold(image)), 4), (image > mj.otsu_threshold(image)).voxels.ravel().tolist()
        (2.0314, [False, False, False, True, True, True])

    Source:
        Otsu N, IEEE Trans. Syst. Man Cybern. 9:62 (1979), equation 14; bins as in ITK 5's ImageToHistogramFilter.
    """
    voxels, inside = voxels_of(image, "otsu_threshold"), mask_for(image, mask)
    check_count(bins, "bins")
    if bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins}")
    depth = len(image.batch_shape) + len(image.channels)
    values = _by_item(voxels, inside, len(image.batch_shape))
    low, high, count = _ends(*values)
    check_not_empty(count, f"otsu_threshold: the {'image has' if mask is None else 'mask selects'} no finite voxel")
    dtype = np.dtype(values[0].dtype)
    edges = _edges(low, high, dtype, bins)
    counts = _binned(*values, _as_voxels(edges[..., :-1], values[0].dtype), depth)
    return _split(counts, edges, dtype)


@functools.partial(compiled, static_argnums=2)
def _by_item(voxels: Shaped[Array, ...], inside: Any, depth: int) -> tuple[Shaped[Array, ...], Bool[Array, ...]]:
    """Returns the voxels and which of them count, `(*batch, *channels, n)`."""
    where = jnp.isfinite(voxels) if jnp.issubdtype(voxels.dtype, jnp.floating) else jnp.ones(voxels.shape, bool)
    where = where if inside is None else where & inside
    tail = voxels.ndim - depth - 3
    order = (*range(depth), *range(depth + 3, depth + 3 + tail), *range(depth, depth + 3))
    values = voxels.astype(np.uint8) if np.issubdtype(voxels.dtype, np.bool_) else voxels
    flat, chosen = (x.transpose(order).reshape(*x.transpose(order).shape[:-3], -1) for x in (values, where))
    return flat, chosen


@compiled
def _ends(values: Shaped[Array, "*lead n"], where: Bool[Array, "*lead n"]) -> tuple[Any, Any, Any]:
    is_integer = jnp.issubdtype(values.dtype, np.integer)
    limits = jnp.iinfo(values.dtype) if is_integer else jnp.finfo(values.dtype)
    low = jnp.min(values, -1, where=where, initial=limits.max)
    high = jnp.max(values, -1, where=where, initial=limits.min)
    return low, high, where.sum(-1, dtype=jnp.int32)


def _edges(low: Any, high: Any, dtype: np.dtype, bins: int) -> Any:
    """Returns the borders of the bins, `(*lead, bins + 1)`, as ITK has them: widths in float32, the rest in float64."""
    is_known = not is_traced(low)
    xp: Any = np if is_known else jnp
    wide = np.float64 if is_known else jax.dtypes.canonicalize_dtype(np.float64)
    low, high = (xp.asarray(end).astype(wide) for end in (low, high))
    limits: Any = jnp.iinfo(dtype) if jnp.issubdtype(dtype, np.integer) else jnp.finfo(dtype)
    if dtype.itemsize == 1:
        low, upper = xp.full_like(low, limits.min - 0.5), xp.full_like(low, limits.max + 0.5)
    else:
        margin = (high - low) / bins / 100.0
        upper = xp.where(high < float(limits.max) - margin, high + margin, high)
    width = (upper.astype(np.float32) - low.astype(np.float32)) / np.float32(bins)
    steps = (xp.arange(bins, dtype=np.float32).reshape((1,) * low.ndim + (bins,)) * width[..., None]).astype(wide)
    return xp.concatenate([low[..., None] + steps, upper[..., None]], axis=-1)


def _as_voxels(edges: Any, dtype: Any) -> Any:
    """Rounds known borders up to the next value of the voxels' dtype, so that voxels compare with them exactly."""
    if is_traced(edges):
        return edges
    if jnp.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.clip(np.ceil(edges), limits.min, limits.max).astype(dtype)
    target = np.float64 if dtype == np.float64 else np.float32
    rounded = edges.astype(target)
    return np.where(rounded < edges, np.nextafter(rounded, target(np.inf)), rounded)


@functools.partial(compiled, static_argnums=3)
def _binned(
    values: Shaped[Array, "*lead n"], where: Bool[Array, "*lead n"], edges: Any, depth: int
) -> Int[Array, "*lead b"]:
    def binned(values: Any, where: Any, edges: Any) -> Any:
        bins = edges.shape[0]
        dtype = edges.dtype if jnp.issubdtype(edges.dtype, jnp.floating) else values.dtype
        place = jnp.searchsorted(edges, values.astype(dtype), side="right").astype(jnp.int32) - 1
        place = jnp.where(where, jnp.clip(place, 0, bins - 1), bins)
        return jax.ops.segment_sum(jnp.ones_like(place), place, bins + 1)[:bins]

    return over_batch(binned, depth)(values, where, edges)


def _split(counts: Any, edges: Any, dtype: np.dtype) -> Any:
    """Returns the upper end of the first bin that gives the largest variance between the classes."""
    if not is_traced(counts, edges):
        xp: Any = np
        counts = np.asarray(counts, np.float64)
    else:
        xp, counts = jnp, counts.astype(edges.dtype)
    middle = (edges[..., :-1] + edges[..., 1:]) / 2
    if xp is jnp:  # float32 keeps small differences, but not squares of large numbers
        middle = middle - middle[..., :1]
    total = counts.sum(-1, keepdims=True)
    below, moment = xp.cumsum(counts, -1)[..., :-1], xp.cumsum(counts * middle, -1)
    above, whole = total - below, moment[..., -1:]
    one = xp.where(below > 0, moment[..., :-1] / xp.where(below > 0, below, 1), 0)
    other = xp.where(above > 0, (whole - moment[..., :-1]) / xp.where(above > 0, above, 1), 0)
    if xp is np:
        between = (below * one * one + above * other * other) / total
    else:
        between = below / total * (above / total) * (one - other) ** 2
    best = xp.argmax(between, -1)
    found = xp.take_along_axis(edges[..., 1:], best[..., None], -1)[..., 0]
    if jnp.issubdtype(dtype, np.integer):
        return xp.asarray(xp.trunc(found))
    return xp.asarray(found.astype(np.float32).astype(np.float64) if xp is np and dtype.itemsize <= 4 else found)
