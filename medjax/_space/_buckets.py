"""Ragged cohorts without the compile tax: kernels that are compiled per bucket of sizes, not per shape.

The voxels travel as one flat buffer, padded to a power of two, with their true extents and strides as data; the output
is computed in chunks of a fixed number of segments of a fixed length. Edges, fill and spline filters see the true extents.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import is_traced
from medjax._image._image import Image
from medjax._kernels._bands import Band
from medjax._kernels._bspline import prefilter_matrix
from medjax._kernels._points import inside_cell, taps
from medjax._kernels._taps import cell, tap_sum
from medjax._space._apply import compute_dtype, host_fill, narrowed

__all__ = ["along_axes", "is_bucketing", "on_device", "sampled", "shape_buckets", "through_matrices"]


class _Buckets:
    """The contexts of the process that are open, and the buffers that are free to be used again, by their size in bytes.

    A context of one thread counts for all: a pool's threads see no context variable of the thread that made it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open = 0
        self.free: collections.defaultdict[int, list[np.ndarray]] = collections.defaultdict(list)


_BUCKETS = _Buckets()

LANES = 64
"""Output voxels in a segment, along the axis that lies closest together in memory."""

SEGMENTS = 8192
"""Segments in a chunk: half a million voxels, a few milliseconds."""

SMALLEST = 1 << 22
"""The smallest input bucket, in voxels; the next ones double. What no voxel fills is never touched."""

COPIERS = 4
"""Threads that put chunks in their place: the system hands out fresh memory page by page, to four threads faster."""


@contextlib.contextmanager
def shape_buckets() -> Iterator[None]:
    """Inside this context, resampling compiles once per bucket of image sizes instead of once per shape.

    For cohorts in which every scan has its own shape: a new shape costs 0.1 to 0.5 s of compilation, more than the work
    on it. Here an image's voxels are padded to the next power of two (at least 2**22) in one flat buffer, and the output
    is computed in chunks of 2**19 voxels, so that a cohort of any size needs a few compilations for each dtype,
    interpolation and power of two. Every resampling operation takes part: spacing, grids, scale, rotate and affine maps.

    The result equals that of the unpadded call to float32 rounding, for labels exactly: edge rule, background and spline
    filters are applied at the true edges. Voxels come back as JAX arrays, as they do without. Orientation, flip, crop, pad and
    `cast` of single concrete images are done on the host, so that they compile nothing either.

    The context counts for the whole process until it ends, for all threads: those of a pool that works for the thread that
    opened it, too. Several contexts may be open at a time, nested or in different threads; the last one to end counts.

    Memory: at most twice the input's voxels (of a small one: 2**22) for each image that is being resampled, such buffers
    kept until the context ends, and the output rounded up to 64 voxels along one axis and to whole chunks. Without the
    context each new shape keeps about 3.6 MB of compiled code until the process ends or `jax.clear_caches()`.
    Not affected, and compiled per shape as ever: traced images, batches (their shapes agree) and dense displacements.

    Example:
        >>> scans = [mj.Image.from_array(np.ones((n, n + 1, 9), np.int16), spacing=2.0) for n in (10, 11, 12)]
        >>> with mj.shape_buckets():
        ...     [mj.resample_to_spacing(scan, 1.5).shape for scan in scans]
        [(13, 15, 12), (15, 16, 12), (16, 17, 12)]
    """
    with _BUCKETS.lock:
        _BUCKETS.open += 1
    try:
        yield
    finally:
        with _BUCKETS.lock:
            _BUCKETS.open -= 1
            if not _BUCKETS.open:
                _BUCKETS.free.clear()


def is_bucketing(image: Image, fill: Any) -> bool:
    """Whether an image is to be resampled by bucket: the context is active, the image single, and all concrete."""
    return _BUCKETS.open > 0 and not image.batch_shape and not is_traced(image.voxels) and not is_traced(fill)


def on_device(voxels: np.ndarray) -> Any:
    """Moves a result to the device, where it lives without buckets too; 64-bit labels that a device cannot hold stay."""
    return jax.device_put(voxels) if jax.dtypes.canonicalize_dtype(voxels.dtype) == voxels.dtype else voxels


def through_matrices(
    image: Image, matrices: Sequence[Any], masks: Sequence[Any], axes: Sequence[int], fill: Any
) -> np.ndarray:
    """Applies one full matrix along each axis, on the host: splines and smoothing along the image's axes.

    Args:
        image: Single and concrete.
        matrices: For each output axis the matrix `(n_out, n_in)`.
        masks: For each output axis which of its indices lie inside.
        axes: Input axis of each output axis.
        fill: As the operations take it.
    """
    dtype = compute_dtype(image)
    out = np.asarray(image.voxels).astype(dtype)
    for matrix, axis in zip(matrices, axes, strict=True):
        out = _multiplied(matrix.astype(dtype), out, axis)
    out = out.transpose((*axes, *range(3, out.ndim)))
    mask = masks[0][:, None, None] & masks[1][None, :, None] & masks[2][None, None, :]
    out[~mask] = host_fill(image, fill)
    return out


def _multiplied(matrix: np.ndarray, volume: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)


def along_axes(
    image: Image, operators: Sequence[Any], masks: Sequence[Any], axes: Sequence[int], fill: Any
) -> np.ndarray:
    """Applies a band of one or two taps along each axis, compiled for the bucket of the image's size.

    Args:
        image: Single and concrete; any channels.
        operators: For each output axis `(index, weight, ...)` as `_separable.along_axis` takes them.
        masks: For each output axis which of its indices lie inside.
        axes: Input axis of each output axis.
        fill: As the operations take it.

    Returns:
        The output's voxels on the host.
    """
    count = max(operator.index.shape[1] for operator in operators)
    bands = [(*_taps_of(operator, count), mask) for operator, mask in zip(operators, masks, strict=True)]
    return _by_channel(image, fill, lambda volume, value, dtype: _rows_of(volume, bands, axes, value, dtype))


def _taps_of(band: Band, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Index and weight of a band, with a second tap on the same voxel where it has one and two are wanted."""
    index, weight = band.index, band.weight
    weight = np.ones(index.shape, np.float32) if weight is None else weight
    wider = count // index.shape[1]
    return np.repeat(index, wider, axis=1), np.repeat(weight / wider, wider, axis=1)


def _rows_of(
    volume: np.ndarray, bands: Sequence[Any], axes: Sequence[int], fill: Any, dtype: np.dtype | None
) -> np.ndarray:
    """Computes rows along the axis that is contiguous in memory: first the mix of input rows, then the taps in it."""
    strides, start, is_lane = _strides(volume)
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
    buffer = _flattened(volume, width)
    columns = [
        [_lengthened(part, LANES) for part in (places[segment] - origin, lane[1][segment], lane[2][segment])]
        for segment, origin in zip(segments, origins, strict=True)
    ]
    flat, tables, columns = jax.device_put((buffer, tables, columns))
    value = np.asarray(fill, dtype or volume.dtype)
    out = _aligned((shape[0] * shape[1], shape[2]), dtype or buffer.dtype)
    rows = max(256, SEGMENTS * 2 * LANES // width)
    static = {"rows": rows, "width": width, "dtype": None if dtype is None else dtype.name}

    def chunks() -> Iterator[tuple[jax.Array, tuple[slice, slice]]]:
        for row in range(0, len(out), rows):
            for segment, origin, column in zip(segments, origins, columns, strict=True):
                where = np.array([row, shape[1], start + origin], np.int32)
                yield _row_chunk(flat, tables, column, where, value, **static), (slice(row, row + rows), segment)

    _collected(chunks(), out)
    _give_back(buffer)
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


def _lengthened(table: np.ndarray, least: int = 512) -> np.ndarray:
    """Pads a table to a power of two of entries, its last one repeated."""
    size = max(least, 1 << (len(table) - 1).bit_length())
    return np.pad(table, [(0, size - len(table)), *[(0, 0)] * (table.ndim - 1)], "edge")


def sampled(image: Image, tables: Sequence[Any], slack: np.ndarray, orders: Sequence[int], fill: Any) -> np.ndarray:
    """Samples a single concrete image at an affine lattice of points, compiled for the bucket of its size.

    Args:
        image: Single and concrete; any channels.
        tables: Coordinate tables as `_gather.sample` takes them.
        slack: By how much a point may lie below a tie or a face and count as on it, `(3,)` voxels.
        orders: Spline order of each input axis.
        fill: As the operations take it.

    Returns:
        The output's voxels on the host, a view into a slightly larger buffer.
    """
    return _by_channel(
        image, fill, lambda volume, value, dtype: _points_of(volume, tables, slack, orders, value, dtype)
    )


def _by_channel(image: Image, fill: Any, one: Callable[[np.ndarray, Any, np.dtype | None], np.ndarray]) -> np.ndarray:
    """Applies `one(volume, fill, dtype)` to each channel; a dtype of `None` keeps the volume's."""
    narrow, restore = narrowed(image)
    voxels, dtype = np.asarray(narrow), None if image.kind == "label" else compute_dtype(image)
    values = np.broadcast_to(host_fill(image, fill), image.channels)
    if not image.channels:
        return restore(one(voxels, values[()], dtype))
    flat = voxels.reshape(*image.shape, -1)
    parts = [one(flat[..., n], values.ravel()[n], dtype) for n in range(flat.shape[-1])]
    return restore(np.stack(parts, axis=-1).reshape(*parts[0].shape, *image.channels))


def _points_of(
    volume: np.ndarray, tables: Any, slack: np.ndarray, orders: Sequence[int], fill: Any, dtype: np.dtype | None
) -> np.ndarray:
    if max(orders) > 1:
        volume = volume.astype(dtype)
        for axis, order in enumerate(orders):
            matrix = prefilter_matrix(volume.shape[axis], order).astype(dtype)
            volume = _multiplied(matrix, volume, axis)
    strides, start, _ = _strides(volume)
    buffer = _flattened(volume, 0)
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
    out = _aligned((count, LANES), dtype or buffer.dtype)

    def chunks() -> Iterator[tuple[jax.Array, tuple[slice, slice]]]:
        for first in range(0, count, SEGMENTS):
            rows = _rows(padded[0], padded[1], layout, np.int32(first))
            yield (
                _chunk(flat, extents, rows, last, slack, value, **static),
                (slice(first, first + SEGMENTS), slice(None)),
            )

    _collected(chunks(), out)
    _give_back(buffer)
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


def _strides(volume: np.ndarray) -> tuple[np.ndarray, int, list[bool]]:
    """Says where a volume's voxels lie once `_flattened` has copied them, in the order of its memory.

    Returns:
        The stride of each axis in elements, negative where a view runs backwards; the place of (0, 0, 0); which axis is
        contiguous.
    """
    order = _order_in_memory(volume)
    shape = np.array(volume.shape)
    steps = np.ones(3, np.int64)
    steps[order] = [shape[order[1]] * shape[order[2]], shape[order[2]], 1]
    backwards = np.array(volume.strides) < 0
    start = int(((shape - 1) * steps)[backwards].sum())
    return np.where(backwards, -steps, steps), start, [axis == order[2] for axis in range(3)]


def _order_in_memory(volume: np.ndarray) -> list[int]:
    return np.argsort(-np.abs(volume.strides), kind="stable").tolist()


def _flattened(volume: np.ndarray, spare: int) -> np.ndarray:
    """Copies a volume, in the order of its memory, into a buffer of its bucket's size, at least `spare` longer than it."""
    forward = volume[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in volume.strides)]
    block = forward.transpose(_order_in_memory(volume))
    size = max(SMALLEST, 1 << (volume.size + spare - 1).bit_length())
    if size > np.iinfo(np.int32).max:
        raise ValueError(f"an image of {volume.shape} has more than 2**30 voxels; resample it without shape_buckets")
    dtype = volume.dtype.newbyteorder("=")
    buffer = _buffer(size * dtype.itemsize).view(dtype)
    buffer[: volume.size].reshape(block.shape)[...] = block  # what lies beyond has no weight
    return buffer


def _buffer(size: int) -> np.ndarray:
    """Aligned bytes: those of a scan before, else new ones."""
    with _BUCKETS.lock:
        if _BUCKETS.free[size]:
            return _BUCKETS.free[size].pop()
    return _aligned((size,), np.dtype(np.uint8))


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array on a 64-byte boundary, which a CPU device takes over without a copy."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + size].view(dtype).reshape(shape)


def _give_back(buffer: np.ndarray) -> None:
    """Keeps a buffer that no device reads any more for the next scan of its bucket."""
    with _BUCKETS.lock:
        if _BUCKETS.open:
            _BUCKETS.free[buffer.nbytes].append(buffer.view(np.uint8))


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
