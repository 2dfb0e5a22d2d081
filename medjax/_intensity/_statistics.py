"""Statistics of voxels, arrays in and arrays out: per item and per channel, over finite voxels inside a mask.

All functions run inside a trace with static axes. `where` is `None` where every voxel counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from medjax._kernels._batch import in_all_items

__all__ = [
    "apply_to_finite",
    "extremes",
    "is_large",
    "moments",
    "over_finite",
    "selected",
    "spatial_axes",
    "spread_of",
    "stretched",
]

Axes = tuple[int, ...]


def spatial_axes(batch_ndim: int) -> Axes:
    """Returns the positions of i, j, k after the batch axes."""
    return (batch_ndim, batch_ndim + 1, batch_ndim + 2)


def selected(
    voxels: Shaped[Array, "*shape"],
    mask: Bool[Array, "*inside"] | None,
    axes: Axes,
    is_counted: bool = False,
) -> tuple[Bool[Array, "*shape"] | None, Int[Array, "*kept"] | None]:
    """Selects the voxels for statistics: the finite ones inside the mask, or all finite ones if the mask leaves none.

    Args:
        voxels: Voxels of the image.
        mask: The voxels inside, or `None`.
        axes: Axes of space.
        is_counted: Whether finite voxels are counted without a mask too. Integers are never counted, since all are
            finite.

    Returns:
        `where`, or `None` for every voxel; and the number of voxels that the mask left, or `None` where nothing was
        counted.
    """
    finite = jnp.isfinite(voxels) if jnp.issubdtype(voxels.dtype, jnp.floating) else None
    if mask is None:
        if finite is None or not is_counted:
            return finite, None
        return finite, finite.sum(axes, keepdims=True, dtype=jnp.int32)
    inside = jnp.broadcast_to(mask, voxels.shape)
    if finite is not None:
        inside = inside & finite
    count = inside.sum(axes, keepdims=True, dtype=jnp.int32)
    return jnp.where(count > 0, inside, True if finite is None else finite), count


def over_finite(statistics: Any, x: Float[Array, "*shape"], where: Bool[Array, "*shape"] | None, mask: Any) -> Any:
    """Returns `statistics(where)`, or `statistics(None)` where all voxels are finite and there is no mask.

    Most images are like that, and reductions without a condition are two to three times as fast on a CPU.
    """
    if where is None or mask is not None:
        return statistics(where)
    is_finite = in_all_items(jnp.isfinite(lax.stop_gradient(x).sum()))
    return lax.cond(is_finite, lambda: statistics(None), lambda: statistics(where))


def is_large(x: Any) -> Any:
    """Whether a number is so large that a difference may overflow, or its reciprocal may be subnormal."""
    return jnp.abs(x) > jnp.finfo(x.dtype).max * 2.0**-60


class Spread(NamedTuple):
    """Mean and variance of `above(x)`, the distance from the lowest voxel, scaled by a power of 2.

    Where the offset is large, rounding would change a mean of `x` itself by a good part of the deviation. Squares of
    very large or small numbers do not fit float32. Numbers whose distance does not fit it either are shrunk.
    """

    lowest: Any
    is_shrunk: Any
    scale: Any
    mean: Any
    variance: Any

    def above(self, x: Any) -> Any:
        return _above(x, self.lowest, self.is_shrunk, self.scale)


def _above(x: Any, lowest: Any, is_shrunk: Any, scale: Any) -> Any:
    return (_shrunk(x, is_shrunk) - _shrunk(lowest, is_shrunk)) * scale


def _shrunk(x: Any, is_shrunk: Any) -> Any:
    # A selection, not a factor: XLA could contract a product with the sum that follows and round differently.
    return jnp.where(is_shrunk, x * 2.0**-4, x)


def spread_of(x: Float[Array, "*shape"], where: Bool[Array, "*shape"] | None, axes: Axes, ddof: Any) -> Spread:
    """Returns mean and variance above the lowest voxel, with `ddof` degrees of freedom subtracted; 0 without voxels.

    This is the corrected two-pass algorithm. It is exact for a constant image of any value, and as accurate as the
    dtype allows where the mean is much larger than the deviation.

    Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", Am. Stat. 37 (1983), equation 1.7.
    """
    count = _count(x, where, axes)
    lowest, highest = extremes(lax.stop_gradient(x), where, axes)
    is_shrunk, most = is_large(lowest), jnp.finfo(x.dtype).maxexp - 8
    width = _shrunk(highest, is_shrunk) - _shrunk(lowest, is_shrunk)
    # A power of 2, so that scaling rounds nothing; a constant image keeps the scale of `x` itself.
    exponent = jnp.where(width > 0, jnp.frexp(width)[1], jnp.where(is_shrunk, -4, 0))
    scale = jnp.ldexp(jnp.ones_like(lowest), -jnp.clip(exponent, -most, most))
    above = _above(x if where is None else jnp.where(where, x, lowest), lowest, is_shrunk, scale)
    rough = lax.stop_gradient(above.sum(axes, keepdims=True, where=where) / count)
    rest = above - rough
    total = rest.sum(axes, keepdims=True, where=where)
    squares = (rest * rest).sum(axes, keepdims=True, where=where)
    variance = (squares - total * total / count) / jnp.maximum(count - ddof, 1)
    return Spread(lowest, is_shrunk, scale, rough + total / count, jnp.maximum(variance, 0))


class Moments(NamedTuple):
    """Statistics of the finite voxels of an item, per channel, with axes of length 1 for i, j, k."""

    lowest: Any
    highest: Any
    mean: Any
    deviation: Any


def moments(values: Float[Array, "*shape"], x: Float[Array, "*shape"], where: Bool[Array, "*shape"] | None) -> Moments:
    """Returns extremes, mean and standard deviation (`ddof=0`) of the values `(i, j, k, *channels)` of one item.

    Args:
        values: Finite where the voxels are.
        x: The voxels, whose finite ones count.
        where: The finite voxels as `selected` gives them, `None` for all.
    """

    def found(where: Any) -> Moments:
        spread = spread_of(values, where, (0, 1, 2), jnp.zeros((), values.dtype))
        unit = jnp.where(spread.is_shrunk, 16, 1) / spread.scale
        is_constant = spread.variance == 0
        deviation = jnp.where(is_constant, 0, jnp.sqrt(jnp.where(is_constant, 1, spread.variance)))
        return Moments(*extremes(values, where, (0, 1, 2)), spread.lowest + spread.mean * unit, deviation * unit)

    return over_finite(found, x, where, None)


def _count(x: Any, where: Any, axes: Axes) -> Any:
    """Returns the number of voxels, at least 1."""
    if where is None:
        size = 1
        for axis in axes:
            size *= x.shape[axis]
        return jnp.asarray(size, x.dtype)
    return jnp.maximum(where.sum(axes, keepdims=True, dtype=jnp.int32), 1).astype(x.dtype)


def extremes(
    x: Float[Array, "*shape"], where: Bool[Array, "*shape"] | None, axes: Axes
) -> tuple[Float[Array, "*kept"], Float[Array, "*kept"]]:
    """Returns the lowest and the highest voxel, or 0 and 0 without voxels."""
    if where is None:
        return x.min(axes, keepdims=True), x.max(axes, keepdims=True)
    x = jnp.where(where, x, 0)  # a gradient must not meet NaN
    low = x.min(axes, keepdims=True, where=where, initial=jnp.inf)
    high = x.max(axes, keepdims=True, where=where, initial=-jnp.inf)
    is_empty = low > high
    return jnp.where(is_empty, 0, low), jnp.where(is_empty, 0, high)


def stretched(x: Any, bottom: Any, top: Any, low: Any, high: Any) -> Any:
    """Maps `bottom` to `low` and `top` to `high` linearly, or everything to `low` where bottom and top are equal.

    The ends are met exactly and no value between them leaves the range, in spite of rounding. A value so far beyond the
    ends that the dtype cannot hold the result becomes infinite.
    """
    is_shrunk = is_large(bottom) | is_large(top)
    start = _shrunk(bottom, is_shrunk)
    width = _shrunk(top, is_shrunk) - start
    is_flat = ~(width > 0)  # of the difference, which may be flushed to 0
    share = (_shrunk(x, is_shrunk) - start) / jnp.where(is_flat, 1, width)
    y = low + jnp.where(is_flat, 0, share) * (high - low)
    exact = jnp.where(x <= top, jnp.minimum(y, high), y)
    exact = jnp.where(x >= bottom, jnp.maximum(exact, low), exact)
    exact = jnp.where((x == top) & ~is_flat, high, jnp.where(x == bottom, low, exact))
    return y + lax.stop_gradient(jnp.where(exact == y, 0, exact - y))  # also where y is infinite


def apply_to_finite(function: Any, x: Float[Array, "*shape"], voxels: Shaped[Array, "*shape"]) -> Any:
    """Returns `function(x)`, and keeps voxels that are not finite, so that no NaN reaches another voxel's gradient.

    Args:
        function: An elementwise function of float voxels.
        x: `voxels` as floats.
        voxels: The original voxels; integers are all finite.
    """
    if not jnp.issubdtype(voxels.dtype, jnp.floating):
        return function(x)
    is_finite = jnp.isfinite(x)
    return jnp.where(is_finite, function(jnp.where(is_finite, x, 0)), x)
