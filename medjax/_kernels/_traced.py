"""Sampling at an affine lattice whose numbers are not there before the program runs: it chooses its kernel then.

A map along the axes is applied one axis after the other, one that keeps an axis line by line, any other point by point. On
the host the plan decides between them; where the geometry is traced (an image is an argument of the caller's `jit`) the
program itself does, by the same rules. All items of a batch take one kernel.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._gather import (
    Sampling,
    _adjoint_blank,
    _blank,
    _displaced,
    _forward,
    _limits,
    _out_shape,
    _scatter,
    _spread,
    _zeros,
    inside_cell,
    taps,
)
from medjax._kernels._taps import Boundary, cell
from medjax._kernels._transposable import linear_pair

__all__ = ["inside_aligned", "sample_later"]

Kernel = Callable[..., Any]

_A_TURN = 4
"""Candidates along one axis that an adjoint visits in one turn of its loop."""

_MARGIN = 2e-3
"""Outputs by which a voxel looks further than it must, so that rounding hides none from it."""

_COLLECTED = 600
"""Candidates of one voxel beyond which its gradient is scattered: then the map is nearly singular."""


def sample_later(
    volume: Any,
    tables: Sequence[tuple[Any, Any]],
    matrix: Any,
    offset: Any,
    slack: Any,
    *,
    kernels: tuple[str, ...],
    orders: Sequence[int],
    boundary: Boundary,
    dtype: Any,
) -> jax.Array:
    """Samples a volume as `_gather.sample` does, with the fastest kernel that suits the numbers of the map.

    Differentiable, to any order, in the volume and in the fractions of the tables.

    Args:
        volume: `(i, j, k, *channels)`; spline coefficients along axes of order above 1.
        tables: For each output axis `(base, fraction)`, `(n, 3)`: together `matrix @ index + offset`.
        matrix: `(3, 3)`; only chooses, and leads the adjoint, so it has no gradient.
        offset: `(3,)`, as `matrix`.
        slack: `(3,)` voxels that count as nothing.
        kernels: The kernels to choose from, the fastest first: "aligned" (each output axis runs along the input axis of
            its number), "kept 0" to "kept 2" (input axis d is sampled at its own voxels; 2: and the others do not depend on
            output axis 2), "general" last; one alone is taken without asking.
        orders: B-spline order of each axis.
        boundary: Index rule beyond the edges.
        dtype: dtype to compute in; `None` keeps the volume's, for order 0.
    """
    sampling = Sampling(
        shape=tuple(volume.shape),
        orders=tuple(orders),
        boundary=(boundary,) * 3,
        derivative=(0, 0, 0),
        dtype=None if dtype is None else np.dtype(dtype).name,
        tables=3,
    )
    real = tables[0][1].dtype
    lead = [jax.lax.stop_gradient(x).astype(real) for x in (matrix, offset, slack)]
    data = [array for table in tables for array in table]
    return _sample(jnp.asarray(volume), *map(jnp.asarray, data), *lead, sampling=sampling, kernels=kernels)


def _usable(sampling: Sampling, kernels: tuple[str, ...]) -> list[str]:
    """The kernels that can compute a derivative: along an axis whose voxels are taken as they are there is none."""
    return [name for name in kernels if not (name[:4] == "kept" and sampling.derivative[int(name[-1])])]


def _survey(volume: Any, *data: Any, sampling: Sampling, kernels: tuple[str, ...]) -> dict[str, Any]:
    """What an item's map allows, as integers of which the largest over a batch holds for all its items.

    Returns:
        `unfit`: whether a kernel does not suit, for each; `line`, `plane`, `space`: how many outputs along each axis can
        reach a voxel, for an aligned map, for one that keeps the last axis, and for any; -1 where that is of no use.
    """
    matrix, offset, slack = data[6:9]
    away, reach = jnp.abs(matrix - jnp.eye(3, dtype=matrix.dtype)), [table.shape[0] - 1 for table in data[1:6:2]]
    still = jnp.stack([away[:, e] * reach[e] for e in range(3)], axis=1) <= 2 * slack[:, None]
    fits = []
    for name in _usable(sampling, kernels):
        if name == "general":
            fits.append(jnp.asarray(True))
        elif name == "aligned":
            fits.append((still | np.eye(3, dtype=bool)).all())
        else:
            axis = int(name[-1])
            own = still[axis].all() & (jnp.abs(offset[axis]) <= 2 * slack[axis])
            fits.append(own & still[:, axis].all() if axis == 2 else own)
    support = np.array([0.5 if order == 0 else 1.0 for order in sampling.orders], matrix.dtype)
    lines = np.array([n if n < 2 else n + 2.0 for n in (order + 1.0 for order in sampling.orders)], matrix.dtype) / 2
    return {
        "unfit": (~jnp.stack(fits)).astype(jnp.int32),
        "line": _number(lines / jnp.abs(jnp.diagonal(matrix))),
        "plane": _number((jnp.abs(_inverse(matrix[:2, :2])) * support[None, :2]).sum(1)),
        "space": _number((jnp.abs(_inverse(matrix)) * support[None, :]).sum(1)),
    }


def _number(half: Any) -> Any:
    """How many integers an interval of this half-width holds, when its ends do not count."""
    return jnp.ceil(jnp.minimum(jnp.where(jnp.isnan(half), np.inf, 2 * half + _MARGIN), 1e9)).astype(jnp.int32)


def _bound(makers: dict[str, Kernel], *, sampling: Sampling, kernels: tuple[str, ...]) -> Sequence[Kernel]:
    """The kernels, bound to what is static."""
    bound: list[Kernel] = []
    for name in _usable(sampling, kernels):
        axis = {"axis": int(name[-1])} if name[:4] == "kept" else {}
        bound.append(functools.partial(makers[name.split()[0]], sampling=sampling, **axis))
    return bound


# The kernels: `(volume, *data)` to the samples; data are the six arrays of the tables, then matrix, offset and slack, and
# `facts` what `_survey` found.


def _general(volume: Any, *data: Any, sampling: Sampling, facts: Any) -> Any:
    return _forward(volume, *data[:6], sampling=sampling)


def _kept(volume: Any, *data: Any, sampling: Sampling, facts: Any, axis: int) -> Any:
    if axis != 2:
        return _forward(volume, *data[:6], sampling=_lowered(sampling, axis))
    if sampling.orders[2] > 1:
        volume = _along(volume, data, sampling, 2)
    return _forward(volume, *_of_plane(data), sampling=_plane(sampling, volume.shape))


def _lowered(sampling: Sampling, axis: int) -> Sampling:
    """The sampling that takes an axis' voxels as they are; of splines there are coefficients only."""
    if sampling.orders[axis] > 1:
        return sampling
    return dataclasses.replace(
        sampling, orders=tuple(0 if d == axis else order for d, order in enumerate(sampling.orders))
    )


def _plane(sampling: Sampling, shape: Sequence[int]) -> Sampling:
    """The sampling of the first two axes; the third travels as channels do."""
    return dataclasses.replace(
        sampling,
        shape=tuple(shape),
        orders=sampling.orders[:2],
        boundary=sampling.boundary[:2],
        derivative=sampling.derivative[:2],
        tables=2,
    )


def _of_plane(data: Sequence[Any]) -> list[Any]:
    return [table[:, :2] for table in data[:4]]


def _aligned(volume: Any, *data: Any, sampling: Sampling, facts: Any) -> Any:
    growth = [n / m for n, m in zip(_out_shape(data, sampling), sampling.shape, strict=False)]
    for axis in sorted(range(3), key=lambda d: growth[d]):  # shrink first: fewer voxels for the axes to come
        volume = _along(volume, data, sampling, axis)
    return volume if sampling.dtype is None else volume.astype(sampling.dtype)


def inside_aligned(tables: Sequence[tuple[Any, Any]], sizes: Sequence[int], orders: Sequence[int]) -> Any:
    """Tells which points lie in the field of view, as `_gather.inside`, where the map is known to run along the axes."""
    data = [array for table in tables for array in table]
    lines = [
        _column(inside_cell(*cell(*_place(data, axis), order), size, order), axis, 3)
        for axis, (size, order) in enumerate(zip(sizes, orders, strict=True))
    ]
    return lines[0] & lines[1] & lines[2]


def _place(data: Sequence[Any], axis: int) -> tuple[Any, Any]:
    """Where the outputs along one axis of an aligned map lie on it, whole and fraction, `(n,)` each."""
    base, fraction = data[2 * axis][:, axis], data[2 * axis + 1][:, axis]
    return (
        (base + data[0][0, axis], fraction + data[1][0, axis]) if axis else (base, fraction)
    )  # the offset is in table 0


def _snapped(fraction: Any, slack: Any) -> Any:
    """The same fractions, those within the slack of a voxel's centre moved onto it; their gradients are kept."""
    moved = jnp.round(fraction) - fraction
    return fraction + jax.lax.stop_gradient(jnp.where(jnp.abs(moved) <= slack, moved, 0))


def _line(data: Sequence[Any], sampling: Sampling, axis: int) -> list[tuple[Any, Any]]:
    """Taps and weights along one axis of an aligned map, `(n,)` each."""
    base, fraction = _place(data, axis)
    order, derivative = sampling.orders[axis], sampling.derivative[axis]
    found = taps(
        base, _snapped(fraction, data[8][axis]), sampling.shape[axis], order, sampling.boundary[axis], derivative
    )
    if order != 1 or derivative:
        return found
    (first, near), (second, far) = found
    is_on_voxel = far == 0  # then the second tap is the first once more: a NaN beside the sample stays out of it
    return [
        (first, jnp.where(is_on_voxel, 0.5, near)),
        (jnp.where(is_on_voxel, first, second), jnp.where(is_on_voxel, 0.5, far)),
    ]


def _along(volume: Any, data: Sequence[Any], sampling: Sampling, axis: int) -> Any:
    """Samples along one axis."""
    total: Any = None
    for index, weight in _line(data, sampling, axis):
        taken = _taken(volume, index, axis)
        if weight is not None:
            taken = _column(weight.astype(sampling.dtype), axis, volume.ndim) * taken.astype(sampling.dtype)
        total = taken if total is None else total + taken
    return total


def _taken(volume: Any, index: Any, axis: int) -> Any:
    return volume.at[(slice(None),) * axis + (index,)].get(mode="promise_in_bounds")


def _column(values: Any, axis: int, rank: int) -> Any:
    return values.reshape([-1 if d == axis else 1 for d in range(rank)])


# Their adjoints: `(out, *data)` to the volume.


def _general_adjoint(out: Any, *data: Any, sampling: Sampling, facts: Any) -> Any:
    if max(sampling.orders) > 1 or any(sampling.derivative):
        return _scatter(out, *data[:6], sampling=sampling)
    return _gathered(out, data[:6], data[6], data[7], data[8], facts["space"], sampling)


def _kept_adjoint(out: Any, *data: Any, sampling: Sampling, facts: Any, axis: int) -> Any:
    if axis != 2:
        return _general_adjoint(out, *data, sampling=_lowered(sampling, axis), facts=facts)
    flat = _plane(sampling, (*sampling.shape[:2], *out.shape[2:]))
    if max(flat.orders) > 1 or any(flat.derivative):
        volume = _scatter(out, *_of_plane(data), sampling=flat)
    else:
        volume = _gathered(out, _of_plane(data), data[6][:2, :2], data[7][:2], data[8][:2], facts["plane"], flat)
    return _along_adjoint(volume, data, sampling, 2, facts) if sampling.orders[2] > 1 else volume


def _aligned_adjoint(out: Any, *data: Any, sampling: Sampling, facts: Any) -> Any:
    growth = [n / m for n, m in zip(_out_shape(data, sampling), sampling.shape, strict=False)]
    for axis in sorted(range(3), key=lambda d: -growth[d]):
        out = _along_adjoint(out, data, sampling, axis, facts)
    return out


def _along_adjoint(out: Any, data: Sequence[Any], sampling: Sampling, axis: int, facts: Any) -> Any:
    """Gathers, for each voxel along an axis, the outputs that it is a tap of.

    A voxel looks at the few outputs near it, and takes from each by the weight that the forward kernel gave it.
    """
    size, count = sampling.shape[axis], out.shape[axis]
    scale, start = data[6][axis, axis], data[7][axis]
    reach = jnp.minimum(facts["line"][axis], count)
    voxel = jnp.arange(size)
    middle = (voxel.astype(out.dtype) - start) / scale
    first = jnp.ceil(jnp.clip(jnp.where(jnp.isnan(middle), 0, middle), -1e9, 1e9) - reach.astype(out.dtype) / 2)
    first = jnp.where(reach < count, first.astype(jnp.int32), 0)  # else every output is near
    line = _line(data, sampling, axis)

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
            part = _column(share, axis, out.ndim)
            total = total + jnp.where(part == 0, 0, part * _taken(out, output, axis))
        return total

    shape = [*out.shape[:axis], size, *out.shape[axis + 1 :]]
    turns = jax.lax.div(reach + np.int32(_A_TURN - 1), np.int32(_A_TURN))
    return _looped(turns, add, _zeros(shape, out.dtype, (out, *data)))


def _looped(turns: Any, add: Callable[[Any, Any], Any], total: Any) -> Any:
    """Adds up turns, whose number is traced."""
    return jax.lax.fori_loop(np.int32(0), turns, lambda n, total: add(jnp.asarray(n, jnp.int32), total), total)


def _gathered(
    out: Any, tables: Sequence[Any], matrix: Any, offset: Any, slack: Any, reach: Any, sampling: Sampling
) -> Any:
    """The adjoint of orders 0 and 1: gathered where the map has an inverse, scattered where it has none to speak of."""
    bias = np.array([float(order == 0) for order in sampling.orders], slack.dtype)
    back = _inverse(matrix)
    away = -(back * (offset + bias * slack)[None, :]).sum(1)
    is_near = reach.astype(np.float32).prod() <= _COLLECTED
    return jax.lax.cond(
        is_near,
        lambda: _collected(out, matrix, back, away, reach, sampling),
        lambda: _scatter(out, *tables, sampling=sampling, together=1),  # rare: rather quick to compile
    )


def _inverse(matrix: Any) -> Any:
    """The inverse of a 2x2 or 3x3 matrix by cofactors; not finite where there is none."""
    n = matrix.shape[0]
    if n == 2:
        adjugate = jnp.stack([jnp.stack([matrix[1, 1], -matrix[0, 1]]), jnp.stack([-matrix[1, 0], matrix[0, 0]])])
        return adjugate / (matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    a, b, c = (matrix[:, e] for e in range(3))
    rows = jnp.stack([_cross(b, c), _cross(c, a), _cross(a, b)])
    return rows / (a * rows[0]).sum()


def _cross(a: Any, b: Any) -> Any:
    return jnp.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _collected(out: Any, matrix: Any, back: Any, away: Any, reach: Any, sampling: Sampling) -> Any:
    """Gathers, for each voxel, the outputs whose stencil reaches it; `_gather._collect` for a reach that is traced."""
    rank, half = sampling.rank, reach.astype(out.dtype) / 2
    channels, sizes = sampling.shape[rank:], sampling.shape[:rank]
    flat = out.reshape((-1, math.prod(channels)) if channels else (-1,))
    limits = [_limits(d, sampling, out.dtype) for d in range(rank)]
    places = []
    for e in range(rank):
        axes = [_column(jnp.arange(n, dtype=out.dtype), d, rank) * back[e, d] for d, n in enumerate(sizes)]
        whole = [jnp.floor(part) for part in axes]
        fraction = sum((part - floor for part, floor in zip(axes, whole, strict=True)), away[e] - jnp.floor(away[e]))
        places.append(
            (sum((floor.astype(jnp.int32) for floor in whole), jnp.floor(away[e]).astype(jnp.int32)), fraction)
        )
    firsts = [jnp.ceil(fraction - half[e]) for e, (_, fraction) in enumerate(places)]
    start = [base + first.astype(jnp.int32) for (base, _), first in zip(places, firsts, strict=True)]
    gaps = [first - fraction for (_, fraction), first in zip(places, firsts, strict=True)]
    begin = [sum(matrix[d, e] * gaps[e] for e in range(rank)) for d in range(rank)]
    widths = (1,) * (rank - 2) + (3, 3)
    parts = [jax.lax.div(reach[e] + np.int32(width - 1), np.int32(width)) for e, width in enumerate(widths)]

    def add(turn: Any, total: Any) -> Any:
        rest = turn
        spans: list[Any] = []
        for part, width in zip(reversed(parts), reversed(widths), strict=True):
            rest, number = jax.lax.div(rest, part), jax.lax.rem(rest, part)
            spans.insert(0, number * np.int32(width))
        for chosen in itertools.product(*(range(width) for width in widths)):
            step = [span + np.int32(n) for span, n in zip(spans, chosen, strict=True)]
            weight, valid, place = None, True, 0
            for e in range(rank):
                index, size = start[e] + step[e], out.shape[e]
                valid = valid & (index >= 0) & (index < size)
                place = place * size + jnp.clip(index, 0, size - 1)
            for d in range(rank):
                distance = begin[d] + sum(matrix[d, e] * step[e].astype(out.dtype) for e in range(rank))
                low, high, near, far = limits[d]
                valid = valid & (distance >= low) & (distance < high)
                if sampling.orders[d]:
                    hat = 1 - jnp.abs(jnp.clip(distance, near, far))
                    weight = hat if weight is None else weight * hat
            value = flat.at[place].get(mode="promise_in_bounds")
            value = value if weight is None else value * _spread(weight, channels)
            total = total + jnp.where(_spread(valid, channels), value, 0)
        return total

    shape = (*sizes, *((math.prod(channels),) if channels else ()))
    turns = functools.reduce(lambda a, b: a * b, parts)
    return _looped(turns, add, _zeros(shape, out.dtype, (out, matrix))).reshape(sampling.shape)


# The pair.

_KERNELS: dict[str, Kernel] = {"general": _general, "kept": _kept, "aligned": _aligned}
_ADJOINTS: dict[str, Kernel] = {"general": _general_adjoint, "kept": _kept_adjoint, "aligned": _aligned_adjoint}


def _empty(volume: Any, *data: Any, sampling: Sampling, kernels: tuple[str, ...]) -> Any:
    return _blank(volume, *data[:6], sampling=sampling)


def _adjoint_empty(out: Any, *data: Any, sampling: Sampling, kernels: tuple[str, ...]) -> Any:
    return _adjoint_blank(out, sampling=sampling)


def _tangent_of(other: Kernel, blank: Kernel) -> Kernel:
    """The derivative by the tables: along each axis the derived sampling times how far the points move."""

    def tangent(
        x: Any, data: Sequence[Any], data_tangents: Sequence[Any], *, sampling: Sampling, kernels: tuple[str, ...]
    ) -> Any:
        total = blank(x, *data, sampling=sampling, kernels=kernels)
        for axis in range(3):
            moved = _displaced(data_tangents, axis, sampling)
            if moved is None or sampling.orders[axis] <= sampling.derivative[axis]:
                continue
            along = {"sampling": sampling.along(axis), "kernels": kernels}
            total = total + other(x, data, moved.reshape(moved.shape + (1,) * (len(sampling.shape) - 3)), along)
        return total

    return tangent


_sample: Kernel
_sample_adjoint: Kernel
_sample, _sample_adjoint = linear_pair(
    "sample_later",
    functools.partial(_bound, _KERNELS),
    functools.partial(_bound, _ADJOINTS),
    _tangent_of(lambda volume, data, moved, along: _sample(volume, *data, **along) * moved, _empty),
    _tangent_of(lambda out, data, moved, along: _sample_adjoint(out * moved, *data, **along), _adjoint_empty),
    blanks=(_empty, _adjoint_empty),
    survey=_survey,
)
