"""Ragged cohorts without the compile tax: kernels that are compiled per bucket of sizes, not per shape.

The voxels travel as one flat buffer, padded to a power of two, with their true extents and strides as data; the output
is computed in chunks of a fixed number of segments of a fixed length. Edges, fill and spline filters see the true extents.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._apply import compute_dtype, host_fill, narrowed
from medjax._bspline import prefilter_matrix
from medjax._image import Image
from medjax._sampling._gather import inside_cell, taps
from medjax._sampling._weights import cell

__all__ = ["is_bucketing", "sampled", "shape_buckets", "through_matrices"]

_ACTIVE = contextvars.ContextVar("medjax_shape_buckets", default=False)

LANES = 64
"""Output voxels in a segment, along the axis that lies closest together in memory."""

SEGMENTS = 8192
"""Segments in a chunk: half a million voxels, a few milliseconds."""

SMALLEST = 1 << 18
"""The smallest input bucket, in voxels; the next ones double."""


@contextlib.contextmanager
def shape_buckets() -> Iterator[None]:
    """Inside this context, resampling compiles once per bucket of image sizes instead of once per shape.

    For cohorts in which every scan has its own shape: a new shape costs 0.1 to 0.5 s of compilation, more than the work
    on it. Here an image's voxels are padded to the next power of two (at least 2**18) in one flat buffer, and the output
    is computed in chunks of 2**19 voxels, so that a cohort of any size needs a few compilations for each dtype,
    interpolation and power of two. Every resampling operation takes part: spacing, grids, scale, rotate and affine maps.

    The result equals that of the unpadded call to float32 rounding, for labels exactly: edge rule, background and spline
    filters are applied at the true edges. Voxels come back as NumPy on the host.

    Memory: at most twice the input's voxels, and the output rounded up to 64 voxels along one axis and to whole chunks.
    Not affected, and compiled per shape as ever: traced images, batches (their shapes agree) and dense displacements.
    Exact operations (orientation, flip, crop, pad) on NumPy images never compile.

    Example:
        >>> scans = [Image.from_array(np.ones((n, n + 1, 9), np.int16), spacing=2.0) for n in (10, 11, 12)]
        >>> with shape_buckets():
        ...     [resample_to_spacing(scan, 1.5).shape for scan in scans]
        [(13, 15, 12), (15, 16, 12), (16, 17, 12)]
    """
    token = _ACTIVE.set(True)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def is_bucketing(image: Image, fill: Any) -> bool:
    """Whether an image is to be resampled by bucket: the context is active, the image single, and all concrete."""
    is_traced = isinstance(image.voxels, jax.core.Tracer) or isinstance(fill, jax.core.Tracer)
    return _ACTIVE.get() and not image.batch_shape and not is_traced


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


def sampled(image: Image, tables: Sequence[Any], orders: Sequence[int], fill: Any) -> np.ndarray:
    """Samples a single concrete image at an affine lattice of points, compiled for the bucket of its size.

    Args:
        image: Single and concrete; any channels.
        tables: Coordinate tables as `_gather.sample` takes them.
        orders: Spline order of each input axis.
        fill: As the operations take it.

    Returns:
        The output's voxels on the host, a view into a slightly larger buffer.
    """
    narrow, restore = narrowed(image)
    voxels, dtype = np.asarray(narrow), None if image.kind == "label" else compute_dtype(image)
    values = np.broadcast_to(host_fill(image, fill), image.channels)
    if not image.channels:
        return restore(_sampled_volume(voxels, tables, orders, values[()], dtype))
    flat = voxels.reshape(*image.shape, -1)
    parts = [_sampled_volume(flat[..., n], tables, orders, values.ravel()[n], dtype) for n in range(flat.shape[-1])]
    return restore(np.stack(parts, axis=-1).reshape(*parts[0].shape, *image.channels))


def _sampled_volume(
    volume: np.ndarray, tables: Any, orders: Sequence[int], fill: Any, dtype: np.dtype | None
) -> np.ndarray:
    """Samples one channel; a dtype of `None` keeps the volume's."""
    if max(orders) > 1:
        volume = volume.astype(dtype)
        for axis, order in enumerate(orders):
            matrix = prefilter_matrix(volume.shape[axis], order).astype(dtype)
            volume = _multiplied(matrix, volume, axis)
    flat, strides, start = _flattened(volume)
    shape = [len(base) for base, _ in tables]
    lanes = _memory_order(tables, strides)
    ordered = _from_zero([tables[axis] for axis in lanes])
    sizes = [shape[axis] for axis in lanes]
    per_row = -(-sizes[2] // LANES)
    count = sizes[0] * sizes[1] * per_row
    axes, across = _walked(ordered[2])
    padded = [_padded_table(base[:, axes], fraction[:, axes]) for base, fraction in ordered]
    static = {
        "orders": tuple(orders),
        "boundary": "clamp" if max(orders) <= 1 else "fold" if min(volume.shape) > 3 else "mirror",
        "dtype": None if dtype is None else dtype.name,
        "across": across,
    }
    extents = np.array([*np.array(volume.shape)[axes], *strides[axes], start], np.int32)
    layout = np.array([sizes[1], per_row], np.int32)
    chunks = []
    for first in range(0, count, SEGMENTS):
        rows = _rows(padded[0], padded[1], layout, np.int32(first))
        chunks.append(_chunk(flat, extents, rows, padded[2], np.asarray(fill, dtype or volume.dtype), **static))
    out = np.empty((len(chunks) * SEGMENTS, LANES), chunks[0].dtype)
    for number, chunk in enumerate(chunks):
        out[number * SEGMENTS : (number + 1) * SEGMENTS] = chunk
    cube = out[:count].reshape(sizes[0], sizes[1], per_row * LANES)[..., : sizes[2]]
    return cube.transpose(np.argsort(lanes))


def _flattened(volume: np.ndarray) -> tuple[jax.Array, np.ndarray, int]:
    """Copies a volume, in the order of its memory, into a buffer of its bucket's size.

    Returns:
        The buffer, the stride of each axis in elements (negative where a view runs backwards) and the place of (0, 0, 0).
    """
    strides = np.array(volume.strides) // volume.itemsize
    forward = volume[tuple(slice(None, None, -1 if s < 0 else 1) for s in strides)]
    order = np.argsort(-np.abs(strides), kind="stable")
    block = forward.transpose(order)
    steps = np.ones(3, np.int64)
    steps[order] = [block.shape[1] * block.shape[2], block.shape[2], 1]
    signs = np.where(strides < 0, -1, 1)
    start = int(sum((n - 1) * s for n, s, sign in zip(volume.shape, steps, signs, strict=True) if sign < 0))
    size = max(SMALLEST, 1 << (volume.size - 1).bit_length())
    if size > np.iinfo(np.int32).max:
        raise ValueError(f"an image of {volume.shape} has more than 2**30 voxels; resample it without shape_buckets")
    buffer = _aligned(size, volume.dtype.newbyteorder("="))
    buffer[: volume.size].reshape(block.shape)[...] = block
    buffer[volume.size :] = 0
    return jnp.asarray(buffer), steps * signs, start


def _aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialised array on a 64-byte boundary, which a CPU device can take over without a copy."""
    raw = np.empty(size * dtype.itemsize + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + size * dtype.itemsize].view(dtype)


def _memory_order(tables: Sequence[Any], strides: np.ndarray) -> list[int]:
    """Orders the output axes so that the last one walks through memory in the smallest steps."""
    steps = []
    for base, fraction in tables:
        ends = (base[-1] - base[0]) + (fraction[-1] - fraction[0]).astype(np.float64)
        steps.append(float(np.abs(ends * strides).sum() / max(1, len(base) - 1)) if len(base) > 1 else np.inf)
    return sorted(range(3), key=lambda axis: -steps[axis])


def _from_zero(tables: Sequence[Any]) -> list[Any]:
    """Moves what is the same all along the last table into the first: what is left says where a segment walks."""
    (first, part), middle, (base, fraction) = tables
    fixed = (base == base[0]).all(0) & (fraction == fraction[0]).all(0)
    return [(first + base[0] * fixed, part + fraction[0] * fixed), middle, (base * ~fixed, fraction * ~fixed)]


def _walked(table: Any) -> tuple[list[int], tuple[int, ...]]:
    """Orders the input axes so that the one a segment walks along is the last, and tells which of them it walks along.

    One, for a map along the axes, or all: the kernel knows no other cases, and never which axis it is.
    """
    base, fraction = table
    moving = np.flatnonzero(base.any(0) | fraction.any(0)).tolist()
    if len(moving) > 1:
        return [0, 1, 2], (0, 1, 2)
    last = moving[0] if moving else 2
    return [*(axis for axis in range(3) if axis != last), last], (2,)


def _padded_table(base: np.ndarray, fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pads a coordinate table to a power of two of at least 512 entries, its last one repeated."""
    size = max(512, 1 << (len(base) + LANES - 1).bit_length())
    widths = ((0, size - len(base)), (0, 0))
    return np.pad(base, widths, "edge"), np.pad(fraction, widths, "edge")


@jax.jit
def _rows(outer: Any, middle: Any, layout: Any, first: Any) -> Any:
    """What the voxels of a segment share: the coordinates of its row, and where along the last axis it starts."""
    segment = first + jnp.arange(SEGMENTS, dtype=jnp.int32)
    row, piece = segment // layout[1], segment % layout[1]
    i, j = row // layout[0], row % layout[0]
    base, fraction = (outer[part].at[i].get(mode="clip") + middle[part].at[j].get(mode="clip") for part in (0, 1))
    return base, fraction, piece * LANES


@functools.partial(jax.jit, static_argnames=("orders", "boundary", "dtype", "across"))
def _chunk(
    flat: Any, extents: Any, rows: Any, lanes: Any, fill: Any, *, orders: Any, boundary: Any, dtype: Any, across: Any
) -> Any:
    """Samples one chunk, `(SEGMENTS, LANES)`."""
    base, fraction, begin = rows
    place = begin[:, None] + jnp.arange(LANES, dtype=jnp.int32)[None, :]
    valid: Any = True
    axes = []
    for d, order in enumerate(orders):
        whole, part = base[:, d, None], fraction[:, d, None]
        if d in across:
            whole = whole + lanes[0][:, d].at[place].get(mode="promise_in_bounds")
            part = part + lanes[1][:, d].at[place].get(mode="promise_in_bounds")
        valid = valid & inside_cell(*cell(whole, part, order), extents[d], order)
        axes.append(taps(whole, part, extents[d], order, boundary, 0))

    def gather(axis: int, offset: Any) -> Any:
        if axis == len(orders):
            values = flat.at[offset].get(mode="promise_in_bounds")
            return values if dtype is None else values.astype(dtype)
        inner = [gather(axis + 1, offset + index * extents[3 + axis]) for index, _ in axes[axis]]
        terms = [x if axes[axis][n][1] is None else axes[axis][n][1] * x for n, x in enumerate(inner)]
        return sum(terms[1:], terms[0])

    return jnp.where(valid, gather(0, extents[6]), fill)
