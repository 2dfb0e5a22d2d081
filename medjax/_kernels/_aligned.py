"""Sampling along one axis after the other by a map that is known only when the program runs, and its adjoint."""

from __future__ import annotations

import math
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

__all__ = ["aligned", "aligned_adjoint", "most_shares"]

_A_TURN = 4
"""Outputs near a voxel, along one axis, that an adjoint visits in one turn of its loop."""


def aligned(volume: Any, data: Data, *, sampling: Sampling, facts: Any) -> Any:
    """Samples a volume along one axis after the other and puts the fill value outside."""
    out = volume
    for axis in _by_growth(data.map, sampling):  # shrink first: fewer voxels for the axes to come
        out = prefiltered_along(out, axis, sampling.orders[axis], sampling.dtype)
        out = _along(out, data, sampling, axis)
    out = out if sampling.dtype is None else out.astype(sampling.dtype)
    return filled(out, _inside(data.map, sampling), data.fill)


def aligned_adjoint(out: Any, data: Data, *, sampling: Sampling, facts: Any) -> Any:
    """Brings the outputs' cotangents back to the voxels."""
    axes = list(reversed(_by_growth(data.map, sampling)))
    counts = _usual_shares(data, sampling)

    def few() -> Any:
        """All axes in one pass, without a loop."""
        total = out
        for axis in axes:
            found = _held(_compact(_turn(data, sampling, axis, facts["line"][axis], 0))[: counts[axis]])
            total = sum(_weighted_shares(total, found, axis))
        return total

    def any_number() -> Any:
        total = out
        for axis in axes:
            total = _along_adjoint(total, data, sampling, axis, facts["line"][axis])
            total = prefiltered_along(total, axis, sampling.orders[axis], sampling.dtype, is_back=True)
        return total

    if max(sampling.orders) > 1 or max(counts) > _A_TURN:
        return any_number()
    return jax.lax.cond((facts["shares"] <= np.array(counts, np.int32)).all(), few, any_number)


def most_shares(data: Data, sampling: Sampling, reach: Any) -> Any:
    """How many outputs a voxel at most is a tap of along each axis, `(3,)`."""
    if max(sampling.orders) > 1:
        return jnp.zeros(3, np.int32)
    found = [
        jnp.stack([share != 0 for _, share in _turn(data, sampling, axis, reach[axis], 0)]).sum(0, dtype=np.int32).max()
        for axis in range(3)
    ]
    return jnp.where(reach <= _A_TURN, jnp.stack(found), np.int32(2**30))  # more than a turn shows: any number


def _usual_shares(data: Data, sampling: Sampling) -> list[int]:
    """How many outputs a voxel is a tap of along each axis, where both lattices cover the same field of view."""
    sizes = zip(out_shape(data.map.tables, None), sampling.shape, sampling.orders, strict=False)
    return [math.ceil((order + 1) * n / m) for n, m, order in sizes]


def _inside(later: Later, sampling: Sampling) -> Any:
    """Which points lie in the field of view, found axis by axis."""
    lines = [column(_inside_along(later, sampling, axis), axis, 3) for axis in range(3)]
    return lines[0] & lines[1] & lines[2]


def _inside_along(later: Later, sampling: Sampling, axis: int) -> Any:
    """Which outputs along one axis lie in the field of view along it, `(n,)`."""
    order = sampling.orders[axis]
    place = _place(eased(later.tables, later.slack), axis)
    return inside_cell(*cell(*place, order), sampling.shape[axis], order)


def _by_growth(later: Later, sampling: Sampling) -> list[int]:
    """The axes in order of growth: the one that shrinks the most comes first."""
    growth = [n / m for n, m in zip(out_shape(later.tables, None), sampling.shape, strict=False)]
    return sorted(range(3), key=lambda d: growth[d])


def _place(tables: Sequence[Table], axis: int) -> tuple[Any, Any]:
    """The coordinates of the outputs along one axis of an aligned map, whole and fraction, `(n,)` each."""
    base, fraction = (part[:, axis] for part in tables[axis])
    if axis == 0:
        return base, fraction
    return base + tables[0][0][0, axis], fraction + tables[0][1][0, axis]  # the offset is in table 0


def _snapped(fraction: Any, doubt: Any) -> Any:
    """Moves fractions that rounding may have moved off a voxel's centre back to it; keeps their gradients."""
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
    # At a voxel's centre both taps are that voxel with half the weight each, so a NaN beside it stays out. XLA fuses
    # this; it does not fuse a check of the values.
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
    """Holds numbers in memory. Without this XLA computes a line's taps again for each voxel of the output.

    No pass of XLA looks through a sort. Barriers do not help: XLA removes them before it fuses.
    """
    leaves, structure = jax.tree.flatten(list(line))
    order = jax.lax.iota(jnp.int32, len(leaves[0]))
    return jax.tree.unflatten(structure, jax.lax.sort((order, *leaves), num_keys=1)[1:])


def _taken(volume: Any, index: Any, axis: int) -> Any:
    return volume.at[(slice(None),) * axis + (index,)].get(mode="promise_in_bounds")


def _along_adjoint(out: Any, data: Data, sampling: Sampling, axis: int, reach: Any) -> Any:
    """Gathers, for each voxel along an axis, the outputs that it is a tap of."""

    def of_turn(turn: Any) -> list[Any]:
        return _weighted_shares(out, _held(_turn(data, sampling, axis, reach, turn)), axis)

    turns = jax.lax.div(jnp.minimum(reach, out.shape[axis]) + np.int32(_A_TURN - 1), np.int32(_A_TURN))
    shape = [*out.shape[:axis], sampling.shape[axis], *out.shape[axis + 1 :]]
    return looped(
        turns,
        lambda turn, total: sum(of_turn(turn), total),
        zeros_for((out, *jax.tree.leaves(data)), shape, out.dtype),
    )


def _turn(data: Data, sampling: Sampling, axis: int, reach: Any, turn: Any) -> list[tuple[Any, Any]]:
    """Returns some of the outputs near each voxel along an axis, and how much of each comes back, `(size,)` each.

    What comes back is the weight that the forward kernel gave the voxel: 0 for an output outside the field of view.
    """
    size, count = sampling.shape[axis], out_shape(data.map.tables, None)[axis]
    scale, start = data.map.matrix[axis, axis], data.map.offset[axis]
    reach = jnp.minimum(reach, count)
    voxel = jnp.arange(size, dtype=jnp.int32)
    middle = (voxel.astype(scale.dtype) - start) / scale
    first = jnp.ceil(jnp.clip(jnp.where(jnp.isnan(middle), 0, middle), -1e9, 1e9) - reach.astype(scale.dtype) / 2)
    first = jnp.where(reach < count, first.astype(jnp.int32), 0)  # else every output is near
    line, is_inside = _line(data, sampling, axis), _inside_along(data.map, sampling, axis)
    found = []
    for n in range(_A_TURN):
        near = first + (turn * _A_TURN + n)
        output = jnp.clip(near, 0, count - 1)
        share: Any = 0
        for index, weight in line:
            amount = jnp.ones((), scale.dtype) if weight is None else weight.at[output].get(mode="promise_in_bounds")
            is_tap = index.at[output].get(mode="promise_in_bounds") == voxel
            share = share + jnp.where(is_tap, amount, 0)
        is_one = (near == output) & (turn * _A_TURN + n < reach)
        share = jnp.where(is_one & is_inside.at[output].get(mode="promise_in_bounds"), share, 0)
        found.append((output, share))
    return found


def _compact(found: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Puts those that give a share in front, for each voxel."""
    outputs, shares = (jnp.stack(part) for part in zip(*found, strict=True))
    order = jnp.argsort(shares == 0, axis=0, stable=True)
    return list(zip(*(jnp.take_along_axis(part, order, 0) for part in (outputs, shares)), strict=True))


def _weighted_shares(out: Any, found: Sequence[tuple[Any, Any]], axis: int) -> list[Any]:
    return [
        weighted(column(share.astype(out.dtype), axis, out.ndim), _taken(out, output, axis)) for output, share in found
    ]
