"""The points that a volume is sampled at, their taps, and the order in which loops visit them.

A coordinate is a sum of small tables, one for each output axis, plus a dense displacement where there is one:

    x_d(i, j, k) = table_0[i, d] + table_1[j, d] + table_2[k, d] + shift[d, i, j, k]

The tables describe any affine map. They are made on the host in float64 and split there into integers and fractions, so
the device finds the place in a cell to a rounding of the fraction.
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

from medjax._kernels._taps import BOUNDARIES, Boundary, cell, spline_weights

__all__ = [
    "A_TURN",
    "Sampling",
    "Span",
    "column",
    "coordinates",
    "displacement",
    "eased",
    "groups",
    "hidden_zero",
    "in_turns",
    "inside",
    "inside_cell",
    "joined",
    "joined_shape",
    "out_shape",
    "spread",
    "taps",
    "taps_of_axes",
    "zeros_for",
]

A_TURN = 9
"""The most taps in one turn of a loop; in a gathering adjoint the most outputs."""

Table = tuple[Any, Any]
"""The share of an output axis in each coordinate, whole and fraction: int32 and floating point, `(n, rank)`."""

Span = tuple[Any, int]
"""A few neighbours along an axis: the number of the first, which may be traced, and their count."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The static part of a sampling.

    Attributes:
        shape: Shape of the sampled volume, `(*spatial, *channels)`.
        orders: B-spline order of each spatial axis; the volume holds coefficients for orders above 1.
        boundary: Index rule beyond the edges of each spatial axis.
        derivative: How often the interpolant is differentiated along each axis.
        dtype: Floating-point dtype of the arithmetic and the result; `None` keeps the volume's (order 0 alone).
    """

    shape: tuple[int, ...]
    orders: tuple[int, ...]
    boundary: tuple[Boundary, ...]
    derivative: tuple[int, ...]
    dtype: str | None

    @staticmethod
    def of(shape: Sequence[int], orders: Sequence[int], boundary: Boundary, dtype: Any) -> Sampling:
        """The sampling of values, not of derivatives, with one boundary for all axes."""
        rank = len(orders)
        name = None if dtype is None else np.dtype(dtype).name
        return Sampling(tuple(shape), tuple(orders), (boundary,) * rank, (0,) * rank, name)

    @property
    def rank(self) -> int:
        return len(self.orders)

    @property
    def channels(self) -> tuple[int, ...]:
        return self.shape[self.rank :]

    def along(self, axis: int) -> Sampling:
        """The derivative of this sampling along an axis."""
        raised = tuple(n + (d == axis) for d, n in enumerate(self.derivative))
        return dataclasses.replace(self, derivative=raised)

    def moves(self, axis: int) -> bool:
        """Whether the samples change when their points move a little along an axis."""
        return self.orders[axis] > self.derivative[axis]


def coordinates(tables: Sequence[Table], shift: Any, rank: int, zero: Any = None) -> list[tuple[Any, Any]]:
    """Adds up the tables: for each input axis the integer and the fractional part of the coordinate.

    XLA shares equal expressions. Once fifteen gathers use one, XLA keeps it in memory: for a cubic spline a dozen
    volumes of indices and weights. `zero` is an integer that XLA cannot know to be 0. Each value, derivative and group
    of taps gets another one, so its expressions differ from the others' and are fused with its own gathers (measured,
    64 taps: 12 volumes of temporary memory and 450 ms without, none and 220 ms with).
    """
    tables = list(tables)
    if zero is not None and tables:
        base, fraction = tables[0]
        tables[0] = base + zero, fraction + zero.astype(fraction.dtype)
    elif zero is not None:
        shift = shift + zero.astype(shift.dtype)
    located = []
    for d in range(rank):
        whole = [column(base[:, d], e, len(tables)) for e, (base, _) in enumerate(tables)]
        parts = [column(fraction[:, d], e, len(tables)) for e, (_, fraction) in enumerate(tables)]
        if shift is not None:
            parts.append(shift[d])
        located.append((sum(whole[1:], whole[0]) if whole else 0, sum(parts[1:], parts[0])))
    return located


def hidden_zero(tables: Sequence[Table], variant: int) -> Any:
    """Returns a zero that XLA cannot know and that differs from those of other variants; `None` for variant 0."""
    if not variant or not tables:
        return None
    # The barrier keeps XLA from folding tables that are constants of the caller's jit.
    return jnp.minimum(jnp.abs(jax.lax.optimization_barrier(tables[0][0][0, 0])) + variant, 0)


def column(values: Any, axis: int, rank: int) -> Any:
    """Lays a row of values along one axis of an array of a rank."""
    return values.reshape([-1 if e == axis else 1 for e in range(rank)])


def displacement(tables: Sequence[Any], shift: Any, axis: int) -> Any:
    """Adds up tangents of tables and shift along one input axis, over the output; `None` where nothing moves."""
    moved = [
        column(t[:, axis], e, len(tables)) for e, (_, fraction) in enumerate(tables) if (t := fraction) is not None
    ]
    if shift is not None:
        moved.append(shift[axis])
    return sum(moved[1:], moved[0]) if moved else None


def out_shape(tables: Sequence[Table], shift: Any) -> tuple[int, ...]:
    """Spatial shape of the output."""
    return tuple(base.shape[0] for base, _ in tables) if tables else tuple(shift.shape[1:])


def joined_shape(spatial: Sequence[int], channels: Sequence[int]) -> tuple[int, ...]:
    """The shape with all channel axes, if there are any, in one."""
    return (*spatial, *((math.prod(channels),) if channels else ()))


def joined(array: Any, channels: Sequence[int]) -> Any:
    """Joins the spatial axes into one, and the channel axes, if any, into another."""
    return array.reshape(joined_shape((-1,), channels))


def spread(weight: Any, channels: Sequence[int]) -> Any:
    """Adds an axis to a weight that broadcasts over the joined channels."""
    return weight[..., None] if channels else weight


def eased(tables: Sequence[Table], slack: Any) -> tuple[Table, ...]:
    """Moves the points up by the slack. So a point that lies below a tie or a face by less than it counts as on it."""
    (base, fraction), *others = tables
    return ((base, fraction + slack.astype(fraction.dtype)[None]), *others)


def inside(tables: Sequence[Table], shift: Any, sizes: Sequence[Any], orders: Sequence[int]) -> Any:
    """Tells which points lie in the field of view, `-0.5 <= x < n - 0.5` on every axis (ITK's rule).

    Args:
        tables: As in `Locations`.
        shift: As in `Locations`.
        sizes: Voxels along each input axis; may be traced.
        orders: As for `sample`: a point is judged by the same cell that it is sampled in.

    Returns:
        Boolean, broadcastable to the output's spatial shape.
    """
    result: Any = True
    for (base, fraction), size, order in zip(coordinates(tables, shift, len(orders)), sizes, orders, strict=True):
        result = result & inside_cell(*cell(base, fraction, order), size, order)
    return result


def inside_cell(integer: Any, place: Any, size: Any, order: int) -> Any:
    """Tells the same along one axis, for a coordinate that is split into its cell and the place in it."""
    if order % 2 == 0:
        return (integer >= 0) & (integer < size)
    above = (integer >= 0) | ((integer == -1) & (place >= 0.5))
    return above & ((integer < size - 1) | ((integer == size - 1) & (place < 0.5)))


def taps(
    coordinate: tuple[Any, Any],
    size: Any,
    order: int,
    boundary: Boundary,
    derivative: int = 0,
    span: Span | None = None,
) -> list[tuple[Any, Any]]:
    """Returns for each tap of one axis, or for those of a span, its index, within bounds, and its weight.

    The coordinate is whole and fraction. A weight of `None` is one.
    """
    integer, place = cell(*coordinate, order)
    if order == 1:
        place = 1 - (1 - place)  # 24 binary places: both weights are exact, and a flat region stays flat
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
        if order > 1:  # at a voxel's centre the last tap has no weight: its voxel must not count, not even as NaN
            index = jnp.where(weight == 0, BOUNDARIES[boundary](integer - order // 2, size), index)
        found.append((index, weight))
    return found


def taps_of_axes(
    located: Sequence[tuple[Any, Any]], sampling: Sampling, spans: Sequence[Span] | None = None
) -> list[list[tuple[Any, Any]]]:
    """Returns the taps of each axis for the coordinates, all or those of a span."""
    sizes = sampling.shape[: sampling.rank]
    wanted: Sequence[Span | None] = spans or [None] * sampling.rank
    axes = zip(located, sizes, sampling.orders, sampling.boundary, sampling.derivative, wanted, strict=True)
    return [taps(*axis) for axis in axes]


def zeros_for(operands: Sequence[Any], shape: Sequence[int], dtype: Any) -> Any:
    """Zeros to start a sum in a loop. Under `shard_map` they vary along the mesh axes that an operand varies along."""
    nothing = sum(x.reshape(-1)[:0].astype(dtype).sum() for x in operands)
    return jnp.broadcast_to(jnp.asarray(nothing, dtype), shape)


def in_turns(
    counts: Sequence[int], step: Callable[[Sequence[Span], Any, Any], Any], total: Any, together: int = A_TURN
) -> Any:
    """Visits all combinations of a few indices along each axis in a loop.

    The 64 taps of a cubic spline take 1.2 s to compile side by side, and 0.2 s in eight turns. The turns run 1.4 times
    as long.

    Args:
        counts: How many there are along each axis.
        step: `step(spans, turn, total)` adds one turn to the total. `turn` is its number, or `None` if there is only
            one.
        total: The sum before the first turn.
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


def groups(orders: Sequence[int]) -> list[tuple[slice, ...]]:
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
