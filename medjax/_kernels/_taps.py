"""The two small tables of interpolation: order to taps and weights, boundary to index rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["BOUNDARIES", "Boundary", "cell", "spline_weights", "tap_sum", "weighted"]

Boundary = Literal["clamp", "fold", "mirror", "reflect", "wrap", "zero"]


def cell(base: Any, fraction: Any, order: int) -> tuple[Any, Any]:
    """Splits a coordinate `base + fraction` into the integer whose cell it lies in and the place in the cell, [0, 1).

    Cells start at voxel centres for odd orders and at voxel faces for even ones, so that order 0 rounds half up. The
    integer part of the coordinate travels apart from the fraction. So the result is exact to a rounding of the
    fraction, however far from the origin it lies.
    """
    if order % 2 == 0:
        fraction = fraction + np.asarray(0.5, fraction.dtype)
    floor = jnp.floor(fraction)
    return base + floor.astype(jnp.int32), fraction - floor


def spline_weights(order: int, place: Any, derivative: int = 0) -> list[Any]:
    r"""Returns the `order + 1` B-spline weights at a place in the cell, or their derivatives, leftmost tap first.

    With $u$ the place, degree by degree $w_d[j] = ((u + d - j)\,w_{d-1}[j-1] + (1 - u + j)\,w_{d-1}[j]) / d$, and each
    derivative differences the weights of one degree less, $w_d'[j] = w_{d-1}[j-1] - w_{d-1}[j]$. The first tap is
    `integer - order // 2` for every order.

    Source: de Boor, A Practical Guide to Splines, chapters IX and X, on uniform knots.
    """
    if derivative > order:
        return [jnp.zeros_like(place)] * (order + 1)
    weights = [jnp.ones_like(place)]
    for degree in range(1, order - derivative + 1):
        left = [place + (degree - j) for j in range(1, degree + 1)]
        grown = [None, *(a * w for a, w in zip(left, weights, strict=True))]
        shrunk = [*((1 + j - place) * w for j, w in enumerate(weights)), None]
        # A product, not a quotient: XLA takes a division for expensive and would keep the weights in memory.
        weights = [_add(a, b) * (1 / degree) if degree > 1 else _add(a, b) for a, b in zip(grown, shrunk, strict=True)]
    for _ in range(derivative):
        weights = [_add(a, None if b is None else -b) for a, b in zip([None, *weights], [*weights, None], strict=True)]
    return weights


def weighted(weight: Any, value: Any) -> Any:
    """Returns `weight * value`, and 0 where the weight is 0, also where the value is NaN or infinite."""
    return jnp.where(weight == 0, jnp.zeros((), weight.dtype), weight * value)


def tap_sum(weights: Sequence[Any], values: Sequence[Any]) -> Any:
    """Adds up the taps of one axis; a weight of `None` is one."""
    terms = [x if w is None else w * x for w, x in zip(weights, values, strict=True)]
    return sum(terms[1:], terms[0])


def _add(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


def _clamp(index: Any, size: Any) -> Any:
    return jnp.clip(index, 0, size - 1)


def _mirror(index: Any, size: Any) -> Any:
    """Reflects about the centres of the edge voxels: `d c b | a b c d | c b a`."""
    period = _at_least_one(2 * (size - 1))
    folded = jnp.abs(_remainder(index, period))
    return jnp.where(folded > size - 1, period - folded, folded) if _may_fold(size) else folded * 0


def _fold(index: Any, size: Any) -> Any:
    """Does the same as `_mirror`, without a division, for taps at most three voxels beyond an edge."""
    if isinstance(size, int) and size < 4:
        return _mirror(index, size)
    folded = jnp.abs(index)
    return jnp.clip(jnp.minimum(folded, 2 * (size - 1) - folded), 0, size - 1)


def _reflect(index: Any, size: Any) -> Any:
    """Reflects about the faces of the edge voxels: `b a | a b c d | d c`."""
    period = 2 * size
    folded = jnp.remainder(index, period)
    return jnp.where(folded > size - 1, period - 1 - folded, folded)


def _wrap(index: Any, size: Any) -> Any:
    return jnp.remainder(index, size)


def _remainder(index: Any, period: Any) -> Any:
    return jax.lax.rem(index, jnp.asarray(period, index.dtype) * jnp.ones_like(index))


def _at_least_one(value: Any) -> Any:
    return max(value, 1) if isinstance(value, int) else jnp.maximum(value, 1)


def _may_fold(size: Any) -> bool:
    return not isinstance(size, int) or size > 1


# "zero" clamps like "clamp"; the sampler gives such taps no weight.
BOUNDARIES: dict[str, Callable[[Any, Any], Any]] = {
    "clamp": _clamp,
    "fold": _fold,
    "mirror": _mirror,
    "reflect": _reflect,
    "wrap": _wrap,
    "zero": _clamp,
}
