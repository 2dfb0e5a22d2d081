"""A plan applied by kernels that are compiled per bucket of sizes, not per shape.

The output is computed in chunks of a fixed number of segments of a fixed length. Edges, fill and spline filters see the
true extents of the voxels.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._image._dtypes import narrowed
from medjax._image._fill import fill_of, host_background
from medjax._kernels._bands import Band, dense
from medjax._kernels._bspline import prefilter_matrix
from medjax._kernels._points import inside_cell, taps
from medjax._kernels._taps import cell, tap_sum
from medjax._space._buckets import aligned_empty, flattened, give_back, strides_of
from medjax._space._plan import Bands, Points

__all__ = ["bucketed"]

LANES = 64
"""Output voxels in a segment, along the axis that lies closest together in memory."""

SEGMENTS = 8192
"""Segments in a chunk: half a million voxels, a few milliseconds."""

COPIERS = 4
"""Threads that put chunks in their place: the system hands out fresh memory page by page, to four threads faster."""


def bucketed(plan: Bands | Points, voxels: Any, fill: Any, *, is_label: bool) -> np.ndarray:
    """Applies a known plan with kernels that are compiled for the bucket of the voxels' size.

    Args:
        plan: Known, of a single image.
        voxels: `(i, j, k, *channels)`, concrete and real.
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


def _taps_of(band: Band, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Index and weight of a band, with a second tap on the same voxel where it has one and two are wanted."""
    index, weight = band.index, band.weight
    weight = np.ones(index.shape, np.float32) if weight is None else weight
    wider = count // index.shape[1]
    return np.repeat(index, wider, axis=1), np.repeat(weight / wider, wider, axis=1)


def _rows_of(volume: np.ndarray, plan: Bands, fill: Any, dtype: np.dtype | None) -> np.ndarray:
    """Computes rows along the axis that is contiguous in memory: first the mix of input rows, then the taps in it."""
    count, axes = max(operator.index.shape[1] for operator in plan.operators), plan.axes
    bands = [(*_taps_of(operator, count), mask) for operator, mask in zip(plan.operators, plan.masks, strict=True)]
    strides, start, is_lane = strides_of(volume)
    order = sorted(range(3), key=lambda e: (is_lane[axes[e]], -abs(strides[axes[e]])))
    (outer, middle, lane), lane_axis = [bands[e] for e in order], axes[order[2]]
    places = lane[0].astype(np.int32)
    if strides[lane_axis] < 0:
        places, start = volume.shape[lane_axis] - 1 - places, start - (volume.shape[lane_axis] - 1)
    shape = [len(band[0]) for band in (outer, middle, lane)]
    tables = [
        (_lengthened((index * strides[axes[e]]).astype(np.int32)), _lengthened(weight), _lengthened(mask))
        for (index, weight, mask), e in zip((outer, middle), order[:2], strict=True)
    ]
    segments = [slice(n, n + LANES) for n in range(0, shape[2], LANES)]
    origins = [int(places[segment].min()) for segment in segments]
    width = max(int(np.ptp(places[segment])) + 1 for segment in segments)
    width = max(2 * LANES, 1 << (width - 1).bit_length())
    buffer = flattened(volume, width)
    columns = [
        [_lengthened(part, LANES) for part in (places[segment] - origin, lane[1][segment], lane[2][segment])]
        for segment, origin in zip(segments, origins, strict=True)
    ]
    flat, tables, columns = jax.device_put((buffer, tables, columns))
    value = np.asarray(fill, dtype or volume.dtype)
    out = aligned_empty((shape[0] * shape[1], shape[2]), dtype or buffer.dtype)
    rows = max(256, SEGMENTS * 2 * LANES // width)
    static = {"rows": rows, "width": width, "dtype": None if dtype is None else dtype.name}

    def chunks() -> Iterator[tuple[jax.Array, tuple[slice, slice]]]:
        for row in range(0, len(out), rows):
            for segment, origin, column in zip(segments, origins, columns, strict=True):
                where = np.array([row, shape[1], start + origin], np.int32)
                yield _row_chunk(flat, tables, column, where, value, **static), (slice(row, row + rows), segment)

    _collected(chunks(), out)
    give_back(buffer)
    return out.reshape(shape).transpose(np.argsort(order))


@functools.partial(jax.jit, static_argnames=("rows", "width", "dtype"))
def _row_chunk(
    flat: Any, tables: Any, columns: Any, where: Any, fill: Any, *, rows: int, width: int, dtype: Any
) -> Any:
    """Computes one chunk, `(rows, LANES)`."""
    number = where[0] + jnp.arange(rows, dtype=jnp.int32)
    numbers = jax.lax.div(number, where[1]), jax.lax.rem(number, where[1])
    chosen = [[x.at[n].get(mode="clip") for x in table] for table, n in zip(tables, numbers, strict=True)]
    (first, first_weight, first_mask), (second, second_weight, second_mask) = chosen
    lines = jax.lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(), start_index_map=(0,))
    mixed: Any = None
    for a in range(first.shape[1]):
        for b in range(second.shape[1]):
            begin = where[2] + first[:, a] + second[:, b]
            row = jax.lax.gather(flat, begin[:, None], lines, (width,), mode="promise_in_bounds")
            if dtype is not None:
                factor = (first_weight[:, a].astype(dtype) * second_weight[:, b].astype(dtype))[:, None]
                row = factor * row.astype(dtype)
            mixed = row if mixed is None else mixed + row
    place, weight, mask = columns
    out: Any = None
    for tap in range(place.shape[1]):
        part = mixed.at[:, place[:, tap]].get(mode="promise_in_bounds")
        part = part if dtype is None else part * weight[None, :, tap].astype(dtype)
        out = part if out is None else out + part
    valid = (first_mask & second_mask)[:, None] & mask[None, :]
    return jnp.where(valid, out, fill)


def _by_channel(voxels: np.ndarray, fill: np.ndarray, one: Callable[[np.ndarray, Any], np.ndarray]) -> np.ndarray:
    """Applies `one(volume, fill)` to each channel."""
    channels = voxels.shape[3:]
    values = np.broadcast_to(fill, channels)
    if not channels:
        return one(voxels, values[()])
    flat = voxels.reshape(*voxels.shape[:3], -1)
    parts = [one(flat[..., n], values.ravel()[n]) for n in range(flat.shape[-1])]
    return np.stack(parts, axis=-1).reshape(*parts[0].shape, *channels)


def _points_of(volume: np.ndarray, plan: Points, fill: Any, dtype: np.dtype | None) -> np.ndarray:
    # One order for all axes: other mixtures of orders would be other programs.
    tables, orders, slack = plan.tables, (plan.order,) * 3, plan.slack.astype(plan.dtype)
    if max(orders) > 1:
        volume = volume.astype(dtype)
        for axis, order in enumerate(orders):
            matrix = prefilter_matrix(volume.shape[axis], order).astype(dtype)
            volume = _multiplied(matrix, volume, axis)
    strides, start, _ = strides_of(volume)
    buffer = flattened(volume, 0)
    lanes = _memory_order(tables, strides)
    sizes = [len(tables[axis][0]) for axis in lanes]
    per_row = -(-sizes[2] // LANES)
    count = sizes[0] * sizes[1] * per_row
    padded = [[_lengthened(part) for part in tables[axis]] for axis in lanes[:2]]
    last = [_lengthened(np.pad(part, [(0, LANES), (0, 0)], "edge")) for part in tables[lanes[2]]]
    static = {
        "orders": tuple(orders),
        "boundary": "clamp" if max(orders) <= 1 else "fold" if min(volume.shape) > 3 else "mirror",
        "dtype": None if dtype is None else dtype.name,
    }
    extents = np.array([*volume.shape, *strides, start], np.int32)
    layout = np.array([sizes[1], per_row], np.int32)
    flat, value = jnp.asarray(buffer), np.asarray(fill, dtype or volume.dtype)
    out = aligned_empty((count, LANES), dtype or buffer.dtype)

    def chunks() -> Iterator[tuple[jax.Array, tuple[slice, slice]]]:
        for first in range(0, count, SEGMENTS):
            rows = _rows(padded[0], padded[1], layout, np.int32(first))
            yield (
                _chunk(flat, extents, rows, last, slack, value, **static),
                (slice(first, first + SEGMENTS), slice(None)),
            )

    _collected(chunks(), out)
    give_back(buffer)
    cube = out.reshape(sizes[0], sizes[1], per_row * LANES)[..., : sizes[2]]
    return cube.transpose(np.argsort(lanes))


def _collected(chunks: Iterator[tuple[jax.Array, tuple[slice, slice]]], out: np.ndarray) -> None:
    """Copies chunks to their places as they get ready, a few ahead of the copies."""
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
    """Pads a table to a power of two of entries, its last one repeated."""
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
def _rows(outer: Any, middle: Any, layout: Any, first: Any) -> Any:
    """What the voxels of a segment share: the coordinates of its row, and where along the last axis it starts."""
    segment = first + jnp.arange(SEGMENTS, dtype=jnp.int32)
    row, piece = segment // layout[1], segment % layout[1]
    i, j = row // layout[0], row % layout[0]
    base, fraction = (outer[part].at[i].get(mode="clip") + middle[part].at[j].get(mode="clip") for part in (0, 1))
    return base, fraction, piece * LANES


@functools.partial(jax.jit, static_argnames=("orders", "boundary", "dtype"))
def _chunk(
    flat: Any, extents: Any, rows: Any, lanes: Any, slack: Any, fill: Any, *, orders: Any, boundary: Any, dtype: Any
) -> Any:
    """Samples one chunk, `(SEGMENTS, LANES)`."""
    base, fraction, begin = rows
    place = begin[:, None] + jnp.arange(LANES, dtype=jnp.int32)[None, :]
    valid: Any = True
    axes = []
    for d, order in enumerate(orders):
        whole = base[:, d, None] + lanes[0][:, d].at[place].get(mode="promise_in_bounds")
        part = fraction[:, d, None] + lanes[1][:, d].at[place].get(mode="promise_in_bounds")
        eased = part + slack[d]
        valid = valid & inside_cell(*cell(whole, eased, order), extents[d], order)
        axes.append(taps((whole, eased if order == 0 else part), extents[d], order, boundary))

    may_be_nan = jnp.issubdtype(flat.dtype, jnp.inexact)

    def gather(axis: int, offset: Any) -> Any:
        if axis == len(orders):
            values = flat.at[offset].get(mode="promise_in_bounds")
            return values if dtype is None else values.astype(dtype)
        inner = [gather(axis + 1, offset + index * extents[3 + axis]) for index, _ in axes[axis]]
        weights = [weight for _, weight in axes[axis]]
        total = tap_sum(weights, inner)
        return jnp.where(weights[1] == 0, inner[0], total) if may_be_nan and orders[axis] == 1 else total

    return jnp.where(valid, gather(0, extents[6]), fill)
