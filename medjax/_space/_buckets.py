"""Cohorts of many shapes: a context in which kernels are compiled per bucket of sizes, and its buffers.

The voxels travel as one flat buffer, padded to a power of two, with their true extents and strides as data.
"""

from __future__ import annotations

import collections
import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from medjax._geometry._numbers import is_traced

__all__ = ["POOL", "aligned_empty", "flattened", "is_bucketing", "on_device", "shape_buckets", "strides_of"]


class Pool:
    """Free buffers, by their size in bytes, which the pool keeps as long as a context holds it open.

    A context counts for all threads: worker threads do not see the context variables of the thread that started them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._free: collections.defaultdict[int, list[np.ndarray]] = collections.defaultdict(list)

    @property
    def is_open(self) -> bool:
        """Whether a context holds it."""
        return self._holders > 0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the pool open. The buffers go when the last holder ends."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._free.clear()

    def take(self, size: int) -> np.ndarray:
        """Returns aligned bytes: a free buffer, else new memory."""
        with self._lock:
            if self._free[size]:
                return self._free[size].pop()
        return aligned_empty((size,), np.dtype(np.uint8))

    def give_back(self, buffer: np.ndarray) -> None:
        """Keeps a buffer that no device reads any more for the next image of its bucket."""
        with self._lock:
            if self._holders:
                self._free[buffer.nbytes].append(buffer.view(np.uint8))


POOL = Pool()
"""The buffers of the process."""

SMALLEST = 1 << 22
"""Smallest input bucket in voxels; each next one is twice as large. Memory beyond the voxels is never written."""


@contextlib.contextmanager
def shape_buckets() -> Iterator[None]:
    """Inside this context, resampling compiles once per bucket of image sizes instead of once per shape.

    For cohorts in which every scan has its own shape: a new shape costs 0.1 to 0.5 s of compilation, more than the work
    on it. Here an image's voxels are padded to the next power of two (at least 2**22) in one flat buffer, and the
    output is computed in chunks of 2**19 voxels, so that a cohort of any size needs a few compilations for each dtype,
    interpolation and power of two. All resampling operations take part: spacing, grids, scale, rotate and affine maps.

    The result equals that of the unpadded call to float32 rounding, for labels exactly: edge rule, background and
    spline filters are applied at the true edges. Voxels come back as JAX arrays, as they do without. Orientation, flip,
    crop, pad and `cast` of single known images are done on the host, so that they compile nothing either.

    The context counts for the whole process until it ends, for all threads: those of a pool that works for the thread
    that opened it, too. Several contexts may be open at a time, nested or in different threads; the last one to end
    counts.

    The context takes memory for one buffer, of at most twice the input's voxels (2**22 for a small image), for each
    image that is being resampled, and for the output, rounded up to 64 voxels along one axis and to whole chunks. The
    pool keeps buffers until the context ends. Without the context each new shape keeps about 3.6 MB of compiled code
    until the process ends or `jax.clear_caches()`. Not affected, and compiled per shape as without it: traced images,
    batches (their shapes agree) and dense displacements.

    Example:
        >>> scans = [mj.Image.from_array(np.ones((n, n + 1, 9), np.int16), spacing=2.0) for n in (10, 11, 12)]
        >>> with mj.shape_buckets():
        ...     [mj.resample_to_spacing(scan, 1.5).shape for scan in scans]
        [(13, 15, 12), (15, 16, 12), (16, 17, 12)]
    """
    with POOL.held():
        yield


def is_bucketing(voxels: Any, fill: Any, depth: int) -> bool:
    """Whether voxels are to be resampled by bucket: a context is open, the image single, and everything known."""
    return POOL.is_open and not depth and not is_traced(voxels) and not is_traced(fill)


def on_device(voxels: np.ndarray) -> Any:
    """Moves a result to the device, as without buckets. 64-bit labels that the device cannot hold stay on the host."""
    return jax.device_put(voxels) if jax.dtypes.canonicalize_dtype(voxels.dtype) == voxels.dtype else voxels


def strides_of(volume: np.ndarray) -> tuple[np.ndarray, int, list[bool]]:
    """Says where a volume's voxels lie once `flattened` has copied them, in the order of its memory.

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


def flattened(volume: np.ndarray, spare: int) -> np.ndarray:
    """Copies a volume, in the order of its memory, into a buffer of its bucket, at least `spare` longer than it."""
    forward = volume[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in volume.strides)]
    block = forward.transpose(_order_in_memory(volume))
    size = max(SMALLEST, 1 << (volume.size + spare - 1).bit_length())
    if size > np.iinfo(np.int32).max:
        raise ValueError(f"an image of {volume.shape} has more than 2**30 voxels; resample it without shape_buckets")
    dtype = volume.dtype.newbyteorder("=")
    buffer = POOL.take(size * dtype.itemsize).view(dtype)
    buffer[: volume.size].reshape(block.shape)[...] = block  # the rest has no weight
    return buffer


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Returns an empty array on a 64-byte boundary, which a CPU device takes over without a copy."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + size].view(dtype).reshape(shape)
