"""Sampling a volume at points: one kernel for any rank, order, boundary and derivative, and its exact adjoint.

A coordinate is a sum of small tables, one for each output axis, plus a dense displacement where there is one:

    x_d(i, j, k) = table_0[i, d] + table_1[j, d] + table_2[k, d] + points[d, i, j, k]

which is any affine map, made on the host in float64 and split there into integers and fractions, so that the device
finds its place in the cell to a rounding of the fraction. The kernel is one fused loop over the output: it holds no
temporary array.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._taps import BOUNDARIES, Boundary, cell, spline_weights, tap_sum, weighted
from medjax._kernels._transposable import linear_pair

__all__ = ["Inverse", "Sampling", "inside", "inside_cell", "sample", "taps"]

_TOGETHER = 16
"""Taps of the forward kernel that are compiled side by side; more are taken in turns."""

_A_TURN = 9
"""Taps in a turn, or outputs that the gathering adjoint visits in one."""

Span = tuple[Any, int]
"""The first of a few neighbours along an axis, whose number may be traced, and how many they are."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """What is static about a sampling.

    Attributes:
        shape: Shape of the sampled volume, `(*spatial, *channels)`.
        orders: B-spline order of each spatial axis; the volume holds coefficients for orders above 1.
        boundary: What lies beyond the edge, for all axes or for each.
        derivative: How often the interpolant is differentiated along each axis.
        dtype: Floating-point dtype of the arithmetic and the result; `None` keeps the volume's (order 0 alone).
        tables: Number of coordinate tables, the rank of the output; 0 when the points alone say where to sample.
        has_points: Whether a dense displacement `(rank, *out)` is added to the tables.
        reach: Candidates per output axis that the gathering adjoint visits; `None` for the scattering one.
    """

    shape: tuple[int, ...]
    orders: tuple[int, ...]
    boundary: tuple[Boundary, ...]
    derivative: tuple[int, ...]
    dtype: str | None
    tables: int
    has_points: bool = False
    reach: tuple[int, ...] | None = None

    @property
    def rank(self) -> int:
        return len(self.orders)

    def along(self, axis: int) -> Sampling:
        """The derivative of this sampling along an axis."""
        raised = tuple(n + (d == axis) for d, n in enumerate(self.derivative))
        return dataclasses.replace(self, derivative=raised, reach=None)


@dataclasses.dataclass(frozen=True)
class Inverse:
    """The map from input index back to output index: lets the adjoint gather instead of scatter.

    Attributes:
        tables: As for the forward map, `(base, fraction)` of each input axis, each `(n, out_rank)`.
        matrix: Linear part of the forward map, `(rank, out_rank)`.
        half: Half the width of the set of output indices that reach one input voxel, `(out_rank,)`.
        reach: How many integers such an interval holds at most, per output axis.
    """

    tables: tuple[tuple[Any, Any], ...]
    matrix: Any
    half: Any
    reach: tuple[int, ...]


def sample(
    volume: Any,
    tables: Sequence[tuple[Any, Any]],
    points: Any = None,
    *,
    orders: Sequence[int],
    boundary: Boundary | Sequence[Boundary] = "clamp",
    dtype: Any = None,
    inverse: Inverse | None = None,
) -> jax.Array:
    """Samples a volume at the points that tables, and optionally a dense displacement, describe.

    Points beyond the boundary rule's reach are the caller's to replace (see `inside`). Differentiable, to any order, in
    the volume, the fractions and the points.

    Args:
        volume: `(*spatial, *channels)`, of any dtype; spline coefficients along axes of order above 1.
        tables: For each output axis `(base, fraction)`: int32 and floating point, `(n, rank)`.
        points: `(rank, *out)` to add, or `None`.
        orders: B-spline order of each spatial axis, 0 (nearest) to 5.
        boundary: Index rule beyond the edges.
        dtype: dtype to compute in; `None` keeps the volume's, for order 0.
        inverse: The inverse map, where it is known, for a fast adjoint; orders 0 and 1 with boundary "clamp" only.

    Returns:
        `(*out, *channels)`.
    """
    rank = len(orders)
    size = math.prod(volume.shape)
    if size > np.iinfo(np.int32).max:
        raise ValueError(
            f"a volume of shape {volume.shape} has more than 2**31 - 1 values; crop it or split its channels"
        )
    data = [array for table in tables for array in table]
    if points is not None:
        data.append(points)
    usable = inverse is not None and max(orders) <= 1
    if usable and inverse is not None:
        data += [array for table in inverse.tables for array in table] + [inverse.matrix, inverse.half]
    sampling = Sampling(
        shape=tuple(volume.shape),
        orders=tuple(orders),
        boundary=(boundary,) * rank if isinstance(boundary, str) else tuple(boundary),
        derivative=(0,) * rank,
        dtype=None if dtype is None else np.dtype(dtype).name,
        tables=len(tables),
        has_points=points is not None,
        reach=inverse.reach if usable and inverse is not None else None,
    )
    return _sample(jnp.asarray(volume), *map(jnp.asarray, data), sampling=sampling)


def coordinates(data: Sequence[Any], sampling: Sampling, zero: Any = None) -> list[tuple[Any, Any]]:
    """Adds up the tables: for each input axis the integer and the fractional part of the coordinate.

    XLA shares equal expressions and, once fifteen gathers use one, keeps it in memory: a dozen volumes of indices and
    weights for a cubic spline. `zero` is an integer that XLA cannot know to be 0: with another one, each value, derivative
    and group of taps has expressions of its own and is fused with its own gathers (measured, 64 taps: 12 volumes of
    temporary memory and 450 ms without, none and 220 ms with).
    """
    m = sampling.tables
    data = list(data)
    if zero is not None and m:
        data[:2] = data[0] + zero, data[1] + zero.astype(data[1].dtype)
    elif zero is not None:
        data[0] = data[0] + zero.astype(data[0].dtype)
    located = []
    for d in range(sampling.rank):
        base = [_column(data[2 * e], e, d, m) for e in range(m)]
        fraction = [_column(data[2 * e + 1], e, d, m) for e in range(m)]
        if sampling.has_points:
            fraction.append(data[2 * m][d])
        located.append((sum(base[1:], base[0]) if base else 0, sum(fraction[1:], fraction[0])))
    return located


def _zero(data: Sequence[Any], sampling: Sampling, variant: int) -> Any:
    """A zero that XLA cannot know to be one, and that differs from those of other variants; none for variant 0."""
    if not variant or not sampling.tables:
        return None
    # The barrier keeps XLA from folding tables that are constants of the caller's jit.
    return jnp.minimum(jnp.abs(jax.lax.optimization_barrier(data[0][0, 0])) + variant, 0)


def _column(table: Any, axis: int, d: int, rank: int) -> Any:
    """Column `d` of a table, laid along one axis of the output."""
    return table[:, d].reshape([-1 if e == axis else 1 for e in range(rank)])


def inside(tables: Sequence[tuple[Any, Any]], points: Any, sizes: Sequence[Any], orders: Sequence[int]) -> Any:
    """Tells which points lie in the field of view, `-0.5 <= x < n - 0.5` on every axis (ITK's rule).

    Args:
        tables: As for `sample`.
        points: As for `sample`.
        sizes: Voxels along each input axis; may be traced.
        orders: As for `sample`: a point is judged by the same cell that it is sampled in.

    Returns:
        Boolean, broadcastable to the output's spatial shape.
    """
    shape = (1,) * len(orders)
    sampling = Sampling(shape, tuple(orders), (), (0,) * len(orders), None, len(tables), points is not None)
    data = [jnp.asarray(array) for table in tables for array in table] + ([] if points is None else [points])
    result: Any = True
    for (base, fraction), size, order in zip(coordinates(data, sampling), sizes, orders, strict=True):
        result = result & inside_cell(*cell(base, fraction, order), size, order)
    return result


def inside_cell(integer: Any, place: Any, size: Any, order: int) -> Any:
    """The same along one axis, for a coordinate that is split into its cell and the place in it."""
    if order % 2 == 0:
        return (integer >= 0) & (integer < size)
    above = (integer >= 0) | ((integer == -1) & (place >= 0.5))
    return above & ((integer < size - 1) | ((integer == size - 1) & (place < 0.5)))


def taps(
    base: Any, fraction: Any, size: Any, order: int, boundary: Boundary, derivative: int = 0, span: Span | None = None
) -> list[tuple[Any, Any]]:
    """Returns for each tap of one axis, or for those of a span, its index, within bounds, and its weight.

    A weight of `None` is one.
    """
    integer, place = cell(base, fraction, order)
    if order == 1:
        place = 1 - (1 - place)  # to 24 places, so that both weights are exact and a flat region stays flat
    weights: list[Any] = [None] if order == derivative == 0 else spline_weights(order, place, derivative)
    start, width = span or (0, len(weights))
    found = []
    for n in range(width):
        weight = weights[n]
        for other in range(n + width, len(weights), width):
            weight = jnp.where(start + n == other, weights[other], weight)
        raw = integer + (start + n - order // 2)
        if boundary == "zero":
            valid = (raw >= 0) & (raw < size)
            weight = jnp.where(valid, jnp.ones_like(place) if weight is None else weight, 0)
        index = BOUNDARIES[boundary](raw, size)
        if order > 1:  # at a voxel's centre the last tap has no weight: what lies there must not count, not even as NaN
            index = jnp.where(weight == 0, BOUNDARIES[boundary](integer - order // 2, size), index)
        found.append((index, weight))
    return found


def _axis_taps(
    data: Sequence[Any], sampling: Sampling, zero: Any = None, spans: Sequence[Span] | None = None
) -> list[list[tuple[Any, Any]]]:
    located = coordinates(data, sampling, zero)
    sizes = sampling.shape[: sampling.rank]
    wanted: Sequence[Span | None] = spans or [None] * sampling.rank
    axes = zip(located, sizes, sampling.orders, sampling.boundary, sampling.derivative, wanted, strict=True)
    return [taps(*place, *axis) for place, *axis in axes]


def _in_turns(
    counts: Sequence[int], step: Callable[[Sequence[Span], Any, Any], Any], total: Any, together: int = _A_TURN
) -> Any:
    """Visits all combinations of a few things along each axis in a loop.

    The 64 taps of a cubic spline take 1.2 s to compile side by side, and 0.2 s in eight turns, which run 1.4 times as long.

    Args:
        counts: How many there are along each axis.
        step: `step(spans, turn, total)` adds one turn, whose number is `None` where one is all.
        total: What the first turn adds to.
        together: The most combinations in a turn.
    """
    widths = list(counts)
    for axis in range(len(widths)):
        while math.prod(widths) > together and widths[axis] > 1:
            widths[axis] = max(n for n in range(1, widths[axis]) if widths[axis] % n == 0)
    parts = [count // width for count, width in zip(counts, widths, strict=True)]
    if math.prod(parts) == 1:
        return step([(0, count) for count in counts], None, total)

    def body(turn: Any, total: Any) -> Any:
        turn = rest = jnp.asarray(turn, np.int32)  # an int under jax.disable_jit
        spans: list[Span] = []
        for part, width in zip(reversed(parts), reversed(widths), strict=True):
            rest, number = jax.lax.div(rest, np.int32(part)), jax.lax.rem(rest, np.int32(part))
            spans.insert(0, (number * np.int32(width) if part > 1 else 0, width))
        return step(spans, turn, total)

    return jax.lax.fori_loop(np.int32(0), np.int32(math.prod(parts)), body, total)


def _zeros(shape: Sequence[int], dtype: Any, operands: Sequence[Any]) -> Any:
    """Zeros to add to in a loop: under `shard_map` they must differ along the mesh axes that the operands differ along."""
    nothing = sum(x.reshape(-1)[:0].astype(dtype).sum() for x in operands)
    return jnp.broadcast_to(jnp.asarray(nothing, dtype), shape)


def _groups(orders: Sequence[int]) -> list[tuple[slice, ...]]:
    """Splits the taps into groups of at most eight, as slices of each axis' taps."""
    counts = [order + 1 for order in orders]
    widths = list(counts)
    while math.prod(widths) > 8:
        widest = max(range(len(widths)), key=lambda d: widths[d])
        widths[widest] = (widths[widest] + 1) // 2
    starts = [range(0, count, width) for count, width in zip(counts, widths, strict=True)]
    return [
        tuple(slice(s, s + w) for s, w in zip(chosen, widths, strict=True)) for chosen in itertools.product(*starts)
    ]


def _flat(volume: Any, sampling: Sampling) -> Any:
    """Joins the spatial axes into one, and the channel axes, if any, into another."""
    channels = sampling.shape[sampling.rank :]
    return volume.reshape((-1, math.prod(channels)) if channels else (-1,))


def _forward(volume: Any, *data: Any, sampling: Sampling) -> Any:
    channels, flat = sampling.shape[sampling.rank :], _flat(volume, sampling)
    which = sum(n * 6**d for d, n in enumerate(sampling.derivative))  # each derivative and group is a variant
    may_be_nan = jnp.issubdtype(volume.dtype, jnp.inexact)

    def gather(axes: list[list[tuple[Any, Any]]], axis: int, offset: Any) -> Any:
        if axis == sampling.rank:
            # Clamped or folded indices only: no tap is out of bounds.
            values = flat.at[offset].get(mode="promise_in_bounds")
            return values if sampling.dtype is None else values.astype(sampling.dtype)
        inner = [gather(axes, axis + 1, offset * sampling.shape[axis] + index) for index, _ in axes[axis]]
        weights = [None if weight is None else _spread(weight, channels) for _, weight in axes[axis]]
        if may_be_nan and sampling.boundary[axis] == "zero":
            inner = [jnp.where(weight == 0, 0, value) for weight, value in zip(weights, inner, strict=True)]
            return tap_sum(weights, inner)
        total = tap_sum(weights, inner)
        is_linear = sampling.orders[axis] == 1 and len(inner) == 2 and not sampling.derivative[axis]
        return jnp.where(weights[1] == 0, inner[0], total) if may_be_nan and is_linear else total

    def add(spans: Sequence[Span] | None, turn: Any, total: Any) -> Any:
        groups = _groups(sampling.orders) if turn is None else [(slice(None),) * sampling.rank]
        for number, group in enumerate(groups):
            variant = which * len(groups) + number
            zero = _zero(data, sampling, variant) if turn is None else jnp.minimum(turn + np.int32(variant), 0)
            axes = _axis_taps(data, sampling, zero, spans)
            part = gather([taps[chosen] for taps, chosen in zip(axes, group, strict=True)], 0, 0)
            total = part if total is None else total + part
        return total

    counts = [order + 1 for order in sampling.orders]
    shape = _out_shape(data, sampling)
    if math.prod(counts) <= _TOGETHER:
        out = add(None, None, None)
    else:
        joined = (*shape, *((math.prod(channels),) if channels else ()))
        out = _in_turns(counts, add, _zeros(joined, sampling.dtype or volume.dtype, (volume, *data)))
    return out.reshape(shape + channels)


def _out_shape(data: Sequence[Any], sampling: Sampling) -> tuple[int, ...]:
    """Spatial shape of what is sampled."""
    m = sampling.tables
    return tuple(data[2 * e].shape[0] for e in range(m)) if m else tuple(data[0].shape[1:])


def _blank(volume: Any, *data: Any, sampling: Sampling) -> Any:
    shape = _out_shape(data, sampling) + sampling.shape[sampling.rank :]
    return jnp.zeros(shape, sampling.dtype or volume.dtype)


def _adjoint_blank(out: Any, *data: Any, sampling: Sampling) -> Any:
    return jnp.zeros(sampling.shape, out.dtype)


def _spread(weight: Any, channels: tuple[int, ...]) -> Any:
    """Broadcasts a weight over the joined channel axis."""
    return weight[..., None] if channels else weight


def _adjoint(out: Any, *data: Any, sampling: Sampling) -> Any:
    if sampling.reach is not None and not any(sampling.derivative):
        return _collect(out, *data, sampling=sampling)
    return _scatter(out, *data, sampling=sampling)


def _scatter(out: Any, *data: Any, sampling: Sampling, together: int = _A_TURN) -> Any:
    """Adds each output into the taps that it was made of, so many in one turn of a loop."""
    channels = sampling.shape[sampling.rank :]
    joined = out.reshape(out.shape[: out.ndim - len(channels)] + ((math.prod(channels),) if channels else ()))
    spatial = joined.shape[: joined.ndim - bool(channels)]

    def add(spans: Sequence[Span], turn: Any, flat: Any) -> Any:
        for chosen in itertools.product(*_axis_taps(data, sampling, None, spans)):
            offset: Any = 0
            value = joined
            for (index, weight), size in zip(chosen, sampling.shape, strict=False):
                offset = offset * size + index
                value = value if weight is None else weighted(_spread(weight, channels), value)
            offset = jnp.broadcast_to(offset, spatial).reshape(-1)
            flat = flat.at[offset].add(value.reshape(-1, *flat.shape[1:]), mode="promise_in_bounds")
        return flat

    voxels = math.prod(sampling.shape[: sampling.rank])
    empty = _zeros((voxels, *joined.shape[joined.ndim - bool(channels) :]), out.dtype, (out, *data))
    return _in_turns([order + 1 for order in sampling.orders], add, empty, together).reshape(sampling.shape)


def _collect(out: Any, *data: Any, sampling: Sampling) -> Any:
    """Gathers, for each input voxel, the outputs whose stencil reaches it: the adjoint without a scatter.

    With `y = N x + s` the place of voxel `x` among the outputs and `o` a candidate near it, the point that was sampled
    for `o` lies at `M (o - y)` from `x`: a small number, exact to a rounding of the fraction.
    """
    rank, m, channels = sampling.rank, sampling.tables, sampling.shape[sampling.rank :]
    rest = data[2 * m :]
    inverse = Sampling(out.shape, (0,) * m, (), (0,) * m, None, rank)
    matrix, half = rest[2 * rank], rest[2 * rank + 1]
    flat = out.reshape((-1, math.prod(channels)) if channels else (-1,))
    limits = [_limits(d, sampling, out.dtype) for d in range(rank)]
    reach = sampling.reach or ()

    def add(spans: Sequence[Span], turn: Any, total: Any) -> Any:
        start, away = [], []
        zero = _zero(rest, inverse, 1) if turn is None else jnp.minimum(turn, 0)  # else coordinates are held in memory
        for (base, fraction), width in zip(coordinates(rest, inverse, zero), half, strict=True):
            first = jnp.ceil(fraction - width)
            start.append(base + first.astype(jnp.int32))
            away.append(first - fraction)
        offset = [sum(matrix[d, e] * away[e] for e in range(m)) for d in range(rank)]
        for chosen in itertools.product(*(range(width) for _, width in spans)):
            step = [first + np.int32(n) for (first, _), n in zip(spans, chosen, strict=True)]
            weight, valid, place = None, True, 0
            for e in range(m):
                index, size = start[e] + step[e], out.shape[e]
                valid = valid & (index >= 0) & (index < size)
                place = place * size + jnp.clip(index, 0, size - 1)
            for d in range(rank):
                distance = offset[d] + sum(matrix[d, e] * step[e].astype(out.dtype) for e in range(m))
                low, high, near, far = limits[d]
                valid = valid & (distance >= low) & (distance < high)
                if sampling.orders[d]:
                    hat = 1 - jnp.abs(jnp.clip(distance, near, far))
                    weight = hat if weight is None else weight * hat
            value = flat.at[place].get(mode="promise_in_bounds")
            value = value if weight is None else value * _spread(weight, channels)
            total = total + jnp.where(_spread(valid, channels), value, 0)
        return total

    empty = _zeros((*sampling.shape[:rank], *((math.prod(channels),) if channels else ())), out.dtype, (out, *data))
    return _in_turns(reach, add, empty).reshape(sampling.shape)


def _limits(axis: int, sampling: Sampling, dtype: Any) -> tuple[Any, Any, Any, Any]:
    """How far from a voxel a sample may lie to touch it, `[low, high)`, and where its weight stops to change.

    The half voxel beyond an edge takes the edge voxel's value: there the hat is flat. What lies further out is the fill's,
    and has no cotangent; a little of it is looked at, lest rounding drop what lies on the face. A sample one voxel away has
    no weight and is left out, for it may be infinite.
    """
    n, rank = sampling.shape[axis], sampling.rank
    index = jnp.arange(n).reshape([-1 if d == axis else 1 for d in range(rank)])
    first, last = index == 0, index == n - 1
    reach = 1.0 if sampling.orders[axis] else 0.5
    lowest = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype)) if sampling.orders[axis] else -reach
    return (
        jnp.where(first, -0.51, lowest).astype(dtype),
        jnp.where(last, 0.51, reach).astype(dtype),
        jnp.where(first, 0.0, -1.0).astype(dtype),
        jnp.where(last, 0.0, 1.0).astype(dtype),
    )


def _displaced(data_tangents: Sequence[Any], axis: int, sampling: Sampling) -> Any:
    """The tangent of a coordinate along one input axis, broadcast over the output; `None` where nothing moves."""
    m = sampling.tables
    moved = [_column(t, e, axis, m) for e in range(m) if (t := data_tangents[2 * e + 1]) is not None]
    if sampling.has_points and data_tangents[2 * m] is not None:
        moved.append(data_tangents[2 * m][axis])
    return sum(moved[1:], moved[0]) if moved else None


def _tangent(volume: Any, data: Sequence[Any], data_tangents: Sequence[Any], *, sampling: Sampling) -> Any:
    data = data[: 2 * sampling.tables + sampling.has_points]
    total = _blank(volume, *data, sampling=sampling)
    for axis in range(sampling.rank):
        moved = _displaced(data_tangents, axis, sampling)
        if moved is not None and sampling.orders[axis] > sampling.derivative[axis]:
            slope = _sample(volume, *data, sampling=sampling.along(axis))
            total = total + slope * moved.reshape(moved.shape + (1,) * (slope.ndim - moved.ndim))
    return total


def _adjoint_tangent(out: Any, data: Sequence[Any], data_tangents: Sequence[Any], *, sampling: Sampling) -> Any:
    total = _adjoint_blank(out, sampling=sampling)
    data = data[: 2 * sampling.tables + sampling.has_points]
    for axis in range(sampling.rank):
        moved = _displaced(data_tangents, axis, sampling)
        if moved is not None and sampling.orders[axis] > sampling.derivative[axis]:
            weighted = out * moved.reshape(moved.shape + (1,) * (out.ndim - moved.ndim))
            total = total + _sample_adjoint(weighted, *data, sampling=sampling.along(axis))
    return total


_sample, _sample_adjoint = linear_pair(
    "sample", _forward, _adjoint, _tangent, _adjoint_tangent, blanks=(_blank, _adjoint_blank)
)
