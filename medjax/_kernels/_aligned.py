"""Sampling along the axes, one after the other, with numbers that are there when the program runs; and its adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._later import Data, Later, looped, tables_to_sample
from medjax._kernels._points import Sampling, Table, column, eased, inside_cell, out_shape, taps, zeros_for
from medjax._kernels._prefilter import prefiltered_along
from medjax._kernels._taps import cell, weighted
from medjax._kernels._values import filled

__all__ = ["aligned", "aligned_adjoint"]

_A_TURN = 4
"""Candidates along one axis that an adjoint visits in one turn of its loop."""


def aligned(volume: Any, data: Data, *, sampling: Sampling, facts: Any) -> Any:
    """Samples a volume along one axis after the other and puts the fill value outside."""
    out = volume
    for axis in _by_growth(data.map, sampling):  # shrink first: fewer voxels for the axes to come
        out = prefiltered_along(out, axis, sampling.orders[axis], sampling.dtype)
        out = _along(out, data, sampling, axis)
    out = out if sampling.dtype is None else out.astype(sampling.dtype)
    return filled(out, _inside(data.map, sampling), data.fill)


def aligned_adjoint(out: Any, data: Data, *, sampling: Sampling, facts: Any) -> Any:
    """Brings the cotangents of the outputs to the voxels that they were made of."""
    out = filled(out, _inside(data.map, sampling), jnp.zeros_like(data.fill))
    for axis in reversed(_by_growth(data.map, sampling)):
        out = _along_adjoint(out, data, sampling, axis, facts["line"][axis])
        out = prefiltered_along(out, axis, sampling.orders[axis], sampling.dtype, is_back=True)
    return out


def _inside(later: Later, sampling: Sampling) -> Any:
    """Which points lie in the field of view, told axis by axis."""
    tables = eased(later.tables, later.slack)
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


def _snapped(fraction: Any, doubt: Any) -> Any:
    """The same fractions, those that rounding may have moved off a voxel's centre back on it; gradients are kept."""
    moved = jnp.round(fraction) - fraction
    return fraction + jax.lax.stop_gradient(jnp.where(jnp.abs(moved) <= doubt, moved, 0))


def _line(data: Data, sampling: Sampling, axis: int) -> list[tuple[Any, Any]]:
    """Taps and weights along one axis of an aligned map, `(n,)` each."""
    base, fraction = _place(tables_to_sample(data.map, sampling), axis)
    order, derivative = sampling.orders[axis], sampling.derivative[axis]
    fraction = _snapped(fraction, data.doubt[axis]) if order else fraction
    found = taps((base, fraction), sampling.shape[axis], order, sampling.boundary[axis], derivative)
    if order != 1 or derivative:
        return found
    # On a voxel's centre both taps are that voxel, half and half: a NaN beside it stays out. XLA fuses this, and no check of
    # the values that were taken.
    (first, near), (second, far) = found
    is_alone = far == 0
    return [
        (first, jnp.where(is_alone, 0.5, near)),
        (jnp.where(is_alone, first, second), jnp.where(is_alone, 0.5, far)),
    ]


def _along(volume: Any, data: Data, sampling: Sampling, axis: int) -> Any:
    """Samples along one axis."""
    total: Any = None
    for index, weight in _held(_line(data, sampling, axis)):
        taken = _taken(volume, index, axis)
        if weight is not None:
            taken = column(weight.astype(sampling.dtype), axis, volume.ndim) * taken.astype(sampling.dtype)
        total = taken if total is None else total + taken
    return total


def _held(line: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The same numbers, held in memory: XLA would work a line's taps out anew for each voxel of the output.

    No pass of XLA's looks through a sort, whereas barriers are gone before it fuses.
    """
    leaves, structure = jax.tree.flatten(list(line))
    order = jax.lax.iota(jnp.int32, len(leaves[0]))
    return jax.tree.unflatten(structure, jax.lax.sort((order, *leaves), num_keys=1)[1:])


def _taken(volume: Any, index: Any, axis: int) -> Any:
    return volume.at[(slice(None),) * axis + (index,)].get(mode="promise_in_bounds")


def _along_adjoint(out: Any, data: Data, sampling: Sampling, axis: int, reach: Any) -> Any:
    """Gathers, for each voxel along an axis, the outputs that it is a tap of.

    A voxel looks at the few outputs near it, and takes from each by the weight that the forward kernel gave it.
    """
    size, count = sampling.shape[axis], out.shape[axis]
    scale, start = data.map.matrix[axis, axis], data.map.offset[axis]
    reach = jnp.minimum(reach, count)
    voxel = jnp.arange(size, dtype=jnp.int32)
    middle = (voxel.astype(out.dtype) - start) / scale
    first = jnp.ceil(jnp.clip(jnp.where(jnp.isnan(middle), 0, middle), -1e9, 1e9) - reach.astype(out.dtype) / 2)
    first = jnp.where(reach < count, first.astype(jnp.int32), 0)  # else every output is near
    line = _held(_line(data, sampling, axis))

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
            total = total + weighted(column(share, axis, out.ndim), _taken(out, output, axis))
        return total

    shape = [*out.shape[:axis], size, *out.shape[axis + 1 :]]
    turns = jax.lax.div(reach + np.int32(_A_TURN - 1), np.int32(_A_TURN))
    return looped(turns, add, zeros_for((out, *jax.tree.leaves(data)), shape, out.dtype))
