"""Sampling along the axes, one after the other, with numbers that are there when the program runs; and its adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._jax import zeros_for
from medjax._kernels._later import Data, Later, eased, filtered_along, looped, tables_to_sample, with_fill
from medjax._kernels._points import Sampling, Table, column, inside_cell, out_shape, taps
from medjax._kernels._taps import cell, tap_sum

__all__ = ["aligned", "aligned_adjoint"]

_A_TURN = 4
"""Candidates along one axis that an adjoint visits in one turn of its loop."""


def aligned(volume: Any, data: Data, *, sampling: Sampling, facts: Any) -> Any:
    out = volume
    for axis in _by_growth(data.map, sampling):  # shrink first: fewer voxels for the axes to come
        out = _along(filtered_along(out, sampling, axis), data.map, sampling, axis)
    out = out if sampling.dtype is None else out.astype(sampling.dtype)
    return with_fill(out, _inside_aligned(data.map, sampling), data.fill)


def aligned_adjoint(out: Any, data: Data, *, sampling: Sampling, facts: Any) -> Any:
    out = with_fill(out, _inside_aligned(data.map, sampling), jnp.zeros_like(data.fill, out.dtype))
    for axis in reversed(_by_growth(data.map, sampling)):
        out = _along_adjoint(out, data.map, sampling, axis, facts["line"][axis])
        out = filtered_along(out, sampling, axis, is_back=True)
    return out


def _inside_aligned(later: Later, sampling: Sampling) -> Any:
    """The same axis by axis, for a map along the axes."""
    tables = eased(later)
    lines = [
        column(inside_cell(*cell(*_place(tables, axis), order), sampling.shape[axis], order), axis, 3)
        for axis, order in enumerate(sampling.orders)
    ]
    return lines[0] & lines[1] & lines[2]


def _by_growth(later: Later, sampling: Sampling) -> list[int]:
    """The axes, that which shrinks the most first."""
    growth = [n / m for n, m in zip(out_shape(later.tables, None), sampling.shape, strict=False)]
    return sorted(range(3), key=lambda d: growth[d])


def _place(tables: Sequence[Table], axis: int) -> tuple[Any, Any]:
    """Where the outputs along one axis of an aligned map lie on it, whole and fraction, `(n,)` each."""
    base, fraction = (part[:, axis] for part in tables[axis])
    if axis == 0:
        return base, fraction
    return base + tables[0][0][0, axis], fraction + tables[0][1][0, axis]  # the offset is in table 0


def _line(later: Later, sampling: Sampling, axis: int) -> list[tuple[Any, Any]]:
    """Taps and weights along one axis of an aligned map, `(n,)` each."""
    place = _place(tables_to_sample(later, sampling), axis)
    return taps(place, sampling.shape[axis], sampling.orders[axis], sampling.boundary[axis], sampling.derivative[axis])


def _along(volume: Any, later: Later, sampling: Sampling, axis: int) -> Any:
    """Samples along one axis."""
    line = _line(later, sampling, axis)
    taken = [_taken(volume, index, axis) for index, _ in line]
    weights = [None if w is None else column(w.astype(sampling.dtype), axis, volume.ndim) for _, w in line]
    if sampling.dtype is not None:
        taken = [value.astype(sampling.dtype) for value in taken]
    total = tap_sum(weights, taken)
    if sampling.orders[axis] != 1 or sampling.derivative[axis] or not jnp.issubdtype(volume.dtype, jnp.inexact):
        return total
    (near, first), (far, second), slack = *zip(weights, taken, strict=True), later.slack[axis]
    return jnp.where(_is_idle(near, first, slack), second, jnp.where(_is_idle(far, second, slack), first, total))


def _is_idle(weight: Any, value: Any, slack: Any) -> Any:
    """Whether a tap weighs something by rounding alone and would spread a NaN or an infinity."""
    return (jnp.abs(weight) <= slack) & ~jnp.isfinite(value)


def _taken(volume: Any, index: Any, axis: int) -> Any:
    return volume.at[(slice(None),) * axis + (index,)].get(mode="promise_in_bounds")


def _along_adjoint(out: Any, later: Later, sampling: Sampling, axis: int, reach: Any) -> Any:
    """Gathers, for each voxel along an axis, the outputs that it is a tap of.

    A voxel looks at the few outputs near it, and takes from each by the weight that the forward kernel gave it.
    """
    size, count = sampling.shape[axis], out.shape[axis]
    scale, start = later.matrix[axis, axis], later.offset[axis]
    reach = jnp.minimum(reach, count)
    voxel = jnp.arange(size)
    middle = (voxel.astype(out.dtype) - start) / scale
    first = jnp.ceil(jnp.clip(jnp.where(jnp.isnan(middle), 0, middle), -1e9, 1e9) - reach.astype(out.dtype) / 2)
    first = jnp.where(reach < count, first.astype(jnp.int32), 0)  # else every output is near
    line = _line(later, sampling, axis)
    least = 0.0 if sampling.derivative[axis] else later.slack[axis]

    def add(turn: Any, total: Any) -> Any:
        for n in range(_A_TURN):
            near = first + (turn * _A_TURN + n)
            output = jnp.clip(near, 0, count - 1)
            share: Any = 0
            for index, weight in line:
                amount = jnp.ones((), out.dtype) if weight is None else weight.at[output].get(mode="promise_in_bounds")
                is_tap = index.at[output].get(mode="promise_in_bounds") == voxel
                share = share + jnp.where(is_tap, amount.astype(out.dtype), 0)
            valid = (near >= 0) & (near < count) & (turn * _A_TURN + n < reach)
            share = jnp.where(valid, share, 0)
            value, weight = _taken(out, output, axis), column(share, axis, out.ndim)
            total = total + jnp.where(_is_idle(weight, value, least), 0, weight * value)
        return total

    shape = [*out.shape[:axis], size, *out.shape[axis + 1 :]]
    turns = jax.lax.div(reach + np.int32(_A_TURN - 1), np.int32(_A_TURN))
    return looped(turns, add, zeros_for((out, *jax.tree.leaves(later)), shape, out.dtype))
