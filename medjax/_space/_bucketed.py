"""A plan applied by kernels that are compiled per bucket of sizes, not per shape.

The output is computed in chunks of a fixed number of segments of a fixed length. Edges, fill and spline filters see the
true extents of the voxels.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._image._dtypes import narrowed
from medjax._image._fill import fill_of, host_background
from medjax._kernels._bands import Band, dense
from medjax._kernels._bspline import prefilter_matrix
from medjax._kernels._points import Table, inside_cell, taps
from medjax._kernels._taps import Boundary, cell, tap_sum
from medjax._space._buckets import POOL, aligned_empty, flattened, strides_of
from medjax._space._plan import Bands, Points

__all__ = ["bucketed"]

LANES = 64
"""Output voxels in a segment, along the axis that lies closest together in memory."""

SEGMENTS = 8192
"""Segments in a chunk: half a million voxels, a few milliseconds."""

COPIERS = 4
"""Threads that copy chunks into the result. The system hands out new memory page by page, to four threads faster."""


def bucketed(plan: Bands | Points, voxels: Any, fill: Any, *, is_label: bool) -> np.ndarray:
    """Applies a known plan with kernels that are compiled for the bucket of the voxels' size.

    Args:
        plan: Known, of a single image.
        voxels: `(i, j, k, *channels)`, known and real.
        fill: As the operations take it.
        is_label: Whether the voxels are labels.

    Returns:
        The output's voxels on the host.
    """
    value = fill_of(fill, voxels, 0, is_label=is_label)
    value = host_background(np.asarray(voxels)) if value is None else np.asarray(value)
    narrow, restore = narrowed(voxels, is_label=is_label)
    narrow, dtype = np.asarray(narrow), None if is_label else np.dtype(plan.dtype)
    if isinstance(plan, Points):
        return restore(_by_channel(narrow, value, lambda volume, value: _points_of(volume, plan, value, dtype)))
    if all(isinstance(operator, Band) for operator in plan.operators):
        return restore(_by_channel(narrow, value, lambda volume, value: _rows_of(volume, plan, value, dtype)))
    return _through_matrices(narrow, plan, value)


def _through_matrices(voxels: np.ndarray, plan: Bands, fill: np.ndarray) -> np.ndarray:
    """Applies one full matrix along each axis, on the host: splines and smoothing along the image's axes."""
    out = voxels.astype(plan.dtype)
    for operator, axis in zip(plan.operators, plan.axes, strict=True):
        matrix = dense(operator) if isinstance(operator, Band) else operator
        out = _multiplied(matrix.astype(plan.dtype), out, axis)
    out = out.transpose((*plan.axes, *range(3, out.ndim)))
    first, second, third = plan.masks
    out[~(first[:, None, None] & second[None, :, None] & third[None, None, :])] = fill
    return out


def _multiplied(matrix: np.ndarray, volume: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)


class Line(NamedTuple):
    """The taps of the outputs along one axis, padded to a power of two of outputs.

    Attributes:
        place: Where the taps lie, `(n, taps)` int32: along an outer axis in elements of the buffer, along the lane axis
            in voxels of the row that was read.
        weight: Their weights, `(n, taps)`.
        is_inside: Which outputs lie in the field of view, `(n,)`.
    """

    place: Any
    weight: Any
    is_inside: Any


class Chunk(NamedTuple):
    """The static part of a chunk of rows.

    Attributes:
        rows: Number of output rows.
        width: Number of voxels that are read of each input row.
        dtype: Name of the dtype to compute in; `None` takes voxels as they are.
    """

    rows: int
    width: int
    dtype: str | None


def _line(band: Band, is_inside: np.ndarray, taps: int) -> Line:
    """A band as a line of some number of taps. If the band has one tap and two are wanted, both are one voxel."""
    index, weight = band.index, band.weight
    weight = np.ones(index.shape, np.float32) if weight is None else weight
    copies = taps // index.shape[1]
    return Line(np.repeat(index, copies, axis=1), np.repeat(weight / copies, copies, axis=1), is_inside)


def _rows_of(volume: np.ndarray, plan: Bands, fill: Any, dtype: np.dtype | None) -> np.ndarray:
    """Computes rows along the axis that is contiguous in memory: mixes input rows, then takes taps in the mix."""
    count, axes = max(operator.index.shape[1] for operator in plan.operators), plan.axes
    lines = [_line(operator, mask, count) for operator, mask in zip(plan.operators, plan.masks, strict=True)]
    strides, start, is_lane = strides_of(volume)
    order = sorted(range(3), key=lambda e: (is_lane[axes[e]], -abs(strides[axes[e]])))
    outer, lane, lane_axis = [lines[e] for e in order[:2]], lines[order[2]], axes[order[2]]
    if strides[lane_axis] < 0:
        last = volume.shape[lane_axis] - 1
        lane, start = lane._replace(place=last - lane.place), start - last
    shape = [len(lines[e].is_inside) for e in order]
    segments = [slice(n, n + LANES) for n in range(0, shape[2], LANES)]
    origins = [int(lane.place[segment].min()) for segment in segments]
    width = max(int(np.ptp(lane.place[segment])) + 1 for segment in segments)
    width = max(2 * LANES, 1 << (width - 1).bit_length())
    buffer = flattened(volume, width)
    tables = [
        Line(*map(_lengthened, line._replace(place=(line.place * strides[axes[e]]).astype(np.int32))))
        for line, e in zip(outer, order[:2], strict=True)
    ]
    lanes = [_lane(lane, segment, origin) for segment, origin in zip(segments, origins, strict=True)]
    flat, tables, lanes = jax.device_put((buffer, tables, lanes))
    value = np.asarray(fill, dtype or volume.dtype)
    out = aligned_empty((shape[0] * shape[1], shape[2]), dtype or buffer.dtype)
    chunk = Chunk(max(256, SEGMENTS * 2 * LANES // width), width, None if dtype is None else dtype.name)

    def chunks() -> Iterator[tuple[jax.Array, tuple[slice, slice]]]:
        for row in range(0, len(out), chunk.rows):
            for segment, origin, taken in zip(segments, origins, lanes, strict=True):
                where = np.array([row, shape[1], start + origin], np.int32)
                yield (
                    _row_chunk(flat, (*tables, taken), where, value, chunk=chunk),
                    (slice(row, row + chunk.rows), segment),
                )

    _collected(chunks(), out)
    POOL.give_back(buffer)
    return out.reshape(shape).transpose(np.argsort(order))


def _lane(line: Line, segment: slice, origin: int) -> Line:
    """The part of a line that a segment takes, from the first voxel that it reads on."""
    place = (line.place[segment] - origin).astype(np.int32)
    return Line(*(_lengthened(part, LANES) for part in (place, line.weight[segment], line.is_inside[segment])))


@functools.partial(jax.jit, static_argnames="chunk")
def _row_chunk(flat: Any, lines: tuple[Line, Line, Line], where: Any, fill: Any, *, chunk: Chunk) -> Any:
    """Computes one chunk, `(rows, LANES)`.

    Args:
        flat: The buffer.
        lines: The lines of both outer axes, and that of the segment.
        where: First row, number of rows in a plane of the output, and the place in the buffer of the first voxel that
            the segment reads.
        fill: Value outside the field of view.
        chunk: The static part.
    """
    *outer, lane = lines
    number = where[0] + jnp.arange(chunk.rows, dtype=jnp.int32)
    numbers = jax.lax.div(number, where[1]), jax.lax.rem(number, where[1])
    first, second = (
        Line(*(part.at[n].get(mode="clip") for part in line)) for line, n in zip(outer, numbers, strict=True)
    )
    starts = jax.lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(), start_index_map=(0,))
    mixed: Any = None
    for a in range(first.place.shape[1]):
        for b in range(second.place.shape[1]):
            begin = where[2] + first.place[:, a] + second.place[:, b]
            row = jax.lax.gather(flat, begin[:, None], starts, (chunk.width,), mode="promise_in_bounds")
            if chunk.dtype is not None:
                factor = (first.weight[:, a].astype(chunk.dtype) * second.weight[:, b].astype(chunk.dtype))[:, None]
                row = factor * row.astype(chunk.dtype)
            mixed = row if mixed is None else mixed + row
    out: Any = None
    for tap in range(lane.place.shape[1]):
        part = mixed.at[:, lane.place[:, tap]].get(mode="promise_in_bounds")
        part = part if chunk.dtype is None else part * lane.weight[None, :, tap].astype(chunk.dtype)
        out = part if out is None else out + part
    return jnp.where((first.is_inside & second.is_inside)[:, None] & lane.is_inside[None, :], out, fill)


def _by_channel(voxels: np.ndarray, fill: np.ndarray, one: Callable[[np.ndarray, Any], np.ndarray]) -> np.ndarray:
    """Applies `one(volume, fill)` to each channel."""
    channels = voxels.shape[3:]
    values = np.broadcast_to(fill, channels)
    if not channels:
        return one(voxels, values[()])
    flat = voxels.reshape(*voxels.shape[:3], -1)
    parts = [one(flat[..., n], values.ravel()[n]) for n in range(flat.shape[-1])]
    return np.stack(parts, axis=-1).reshape(*parts[0].shape, *channels)


class Segments(NamedTuple):
    """The points that the segments of a chunk are sampled at.

    Attributes:
        rows: For each segment whole and fraction of the coordinates that its voxels share, `(SEGMENTS, 3)`, and its
            first index along the lane axis.
        lane: The table of the lane axis, `(base, fraction)`.
        slack: By how much a point may lie below a tie or a face and count as on it, `(3,)` voxels.
    """

    rows: tuple[Any, Any, Any]
    lane: Table
    slack: Any


class Rule(NamedTuple):
    """The static part of a chunk of segments.

    Attributes:
        order: Spline order of all axes: a mixture of orders would be another program.
        boundary: Index rule beyond the edges.
        dtype: Name of the dtype to compute in; `None` takes voxels as they are.
    """

    order: int
    boundary: Boundary
    dtype: str | None


def _points_of(volume: np.ndarray, plan: Points, fill: Any, dtype: np.dtype | None) -> np.ndarray:
    """Computes segments along the axis whose outputs lie closest together in memory, point by point."""
    if plan.order > 1:
        volume = volume.astype(dtype)
        for axis, size in enumerate(volume.shape):
            volume = _multiplied(prefilter_matrix(size, plan.order).astype(dtype), volume, axis)
    strides, start, _ = strides_of(volume)
    buffer = flattened(volume, 0)
    axes = _memory_order(plan.tables, strides)
    sizes = [len(plan.tables[axis][0]) for axis in axes]
    per_row = -(-sizes[2] // LANES)
    count = sizes[0] * sizes[1] * per_row
    outer, middle = (tuple(_lengthened(part) for part in plan.tables[axis]) for axis in axes[:2])
    base, fraction = (_lengthened(np.pad(part, [(0, LANES), (0, 0)], "edge")) for part in plan.tables[axes[2]])
    boundary: Boundary = "clamp" if plan.order <= 1 else "fold" if min(volume.shape) > 3 else "mirror"
    rule = Rule(plan.order, boundary, None if dtype is None else dtype.name)
    extents = np.array([*volume.shape, *strides, start], np.int32)
    layout = np.array([sizes[1], per_row], np.int32)
    flat, value = jnp.asarray(buffer), np.asarray(fill, dtype or volume.dtype)
    slack = plan.slack.astype(plan.dtype)
    out = aligned_empty((count, LANES), dtype or buffer.dtype)

    def chunks() -> Iterator[tuple[jax.Array, tuple[slice, slice]]]:
        for first in range(0, count, SEGMENTS):
            segments = Segments(_rows(outer, middle, layout, np.int32(first)), (base, fraction), slack)
            yield _chunk(flat, extents, segments, value, rule=rule), (slice(first, first + SEGMENTS), slice(None))

    _collected(chunks(), out)
    POOL.give_back(buffer)
    cube = out.reshape(sizes[0], sizes[1], per_row * LANES)[..., : sizes[2]]
    return cube.transpose(np.argsort(axes))


def _collected(chunks: Iterator[tuple[jax.Array, tuple[slice, slice]]], out: np.ndarray) -> None:
    """Copies chunks into the result as they become ready. A few chunks are computed ahead."""
    waiting: collections.deque[Future[None]] = collections.deque()

    def copy(chunk: jax.Array, where: tuple[slice, slice]) -> None:
        target = out[where]
        target[...] = np.asarray(chunk)[: target.shape[0], : target.shape[1]]

    with ThreadPoolExecutor(COPIERS) as pool:
        for chunk, where in chunks:
            waiting.append(pool.submit(copy, chunk, where))
            if len(waiting) > 2 * COPIERS:
                waiting.popleft().result()
        for last in waiting:
            last.result()


def _lengthened(table: np.ndarray, least: int = 512) -> np.ndarray:
    """Pads a table to a power of two of entries by repeating its last one."""
    size = max(least, 1 << (len(table) - 1).bit_length())
    return np.pad(table, [(0, size - len(table)), *[(0, 0)] * (table.ndim - 1)], "edge")


def _memory_order(tables: Sequence[Any], strides: np.ndarray) -> list[int]:
    """Orders the output axes so that the last one walks through memory in the smallest steps."""
    steps = []
    for base, fraction in tables:
        ends = (base[-1] - base[0]) + (fraction[-1] - fraction[0]).astype(np.float64)
        steps.append(float(np.abs(ends * strides).sum() / max(1, len(base) - 1)) if len(base) > 1 else np.inf)
    return sorted(range(3), key=lambda axis: -steps[axis])


@jax.jit
def _rows(outer: Any, middle: Any, layout: Any, first: Any) -> tuple[Any, Any, Any]:
    """The coordinates that the voxels of each segment share, and where the segment starts along the lane axis."""
    segment = first + jnp.arange(SEGMENTS, dtype=jnp.int32)
    row, piece = segment // layout[1], segment % layout[1]
    i, j = row // layout[0], row % layout[0]
    base, fraction = (outer[part].at[i].get(mode="clip") + middle[part].at[j].get(mode="clip") for part in (0, 1))
    return base, fraction, piece * LANES


@functools.partial(jax.jit, static_argnames="rule")
def _chunk(flat: Any, extents: Any, segments: Segments, fill: Any, *, rule: Rule) -> Any:
    """Samples one chunk, `(SEGMENTS, LANES)`.

    Args:
        flat: The buffer.
        extents: The volume's shape, its strides in the buffer, and the place of voxel (0, 0, 0).
        segments: The points.
        fill: Value outside the field of view.
        rule: The static part.
    """
    (base, fraction, begin), order, dtype = segments.rows, rule.order, rule.dtype
    place = begin[:, None] + jnp.arange(LANES, dtype=jnp.int32)[None, :]
    valid: Any = True
    axes = []
    for d in range(3):
        whole = base[:, d, None] + segments.lane[0][:, d].at[place].get(mode="promise_in_bounds")
        part = fraction[:, d, None] + segments.lane[1][:, d].at[place].get(mode="promise_in_bounds")
        eased = part + segments.slack[d]
        valid = valid & inside_cell(*cell(whole, eased, order), extents[d], order)
        axes.append(taps((whole, eased if order == 0 else part), extents[d], order, rule.boundary))

    may_be_nan = jnp.issubdtype(flat.dtype, jnp.inexact)

    def gather(axis: int, offset: Any) -> Any:
        if axis == 3:
            values = flat.at[offset].get(mode="promise_in_bounds")
            return values if dtype is None else values.astype(dtype)
        inner = [gather(axis + 1, offset + index * extents[3 + axis]) for index, _ in axes[axis]]
        weights = [weight for _, weight in axes[axis]]
        total = tap_sum(weights, inner)
        return jnp.where(weights[1] == 0, inner[0], total) if may_be_nan and order == 1 else total

    return jnp.where(valid, gather(0, extents[6]), fill)
