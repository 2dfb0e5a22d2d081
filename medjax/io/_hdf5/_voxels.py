"""Voxels as HDF5 datasets: chunked, shuffled and deflated, coded by several threads beside HDF5's own filters.

HDF5 runs its filters one chunk at a time on one thread, and its deflate filter takes all the memory that a hostile
stream asks for. So chunks are coded here, with isal where it is installed. They are stored as HDF5's own filters
(shuffle, deflate) would store them, so any HDF5 program reads them. `_filters` has the other codecs.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax.io._hdf5._access import dtype_of
from medjax.io._hdf5._filters import BLOSC, DEFLATE, SHUFFLE, Pipeline, deflated, need_filter, pipeline_of

__all__ = ["Compression", "check_codec", "check_voxels", "read_voxels", "write_voxels"]

Compression = Literal["gzip", "lzf", "blosc"]

_CHUNK = (16, 128, 128)  # along k, j, i: a 64^3 box touches few, and 2 MB at most is coded at a time
_CHUNK_VOXELS = math.prod(_CHUNK)
_WORKERS = min(4, os.cpu_count() or 1)

# Bytes that one stored byte can decode to. Deflate's limit is 1032 (zlib technical details), and zstd, which blosc can
# hold, reaches some ten thousand. A file that declares more voxels than that was made to exhaust memory.
_DEFLATE_RATIO, _OTHER_RATIO = 1040, 20_000
_SMALL = 1 << 16


def check_codec(path: Path, compression: Compression | None) -> None:
    """Raises if a codec is unknown, or its plugin is missing."""
    if compression not in ("gzip", "lzf", "blosc", None):
        raise ValueError(f"compression must be 'gzip', 'lzf', 'blosc' or None, got {compression!r}")
    if compression == "blosc":
        need_filter(path, BLOSC)


def write_voxels(group: h5py.Group, name: str, voxels: np.ndarray, compression: Compression | None) -> None:
    """Stores voxels `(i, j, k, *channels)` as a dataset with the axes reversed."""
    stored = voxels.T
    if compression is None:
        dataset = group.create_dataset(name, shape=stored.shape, dtype=stored.dtype)
        for start in range(0, len(stored), _CHUNK[0]):
            dataset[start : start + _CHUNK[0]] = stored[start : start + _CHUNK[0]]
        return
    chunk = chunk_shape(stored.shape)
    filters: dict[str, Any] = {
        "gzip": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
        "lzf": {"compression": "lzf", "shuffle": True},
        "blosc": {"compression": BLOSC, "compression_opts": (0, 0, 0, 0, 5, 1, 1)},  # level 5, shuffle, LZ4
    }[compression]
    dataset = group.create_dataset(name, shape=stored.shape, dtype=stored.dtype, chunks=chunk, **filters)
    if compression != "gzip":
        for start in range(0, len(stored), chunk[0]):
            dataset[start : start + chunk[0]] = stored[start : start + chunk[0]]
        return
    offsets = _offsets(stored.shape, chunk, [(0, n) for n in stored.shape])
    for offset, data in _in_order(lambda at: _encode(stored, at, chunk), offsets):
        dataset.id.write_direct_chunk(offset, data)


def chunk_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Divides a dataset `(*channels, k, j, i)` evenly into chunks of at most 16 x 128 x 128.

    Where the volume is small, several channels (time points) share a chunk.

    Example:
        >>> chunk_shape((300, 512, 512)), chunk_shape((130, 40, 9, 8, 7))
        ((16, 128, 128), (13, 40, 9, 8, 7))
    """
    chunk = [math.ceil(n / math.ceil(n / most)) for n, most in zip(shape[-3:], _CHUNK, strict=True)]
    for n in reversed(shape[:-3]):
        most = max(1, _CHUNK_VOXELS // math.prod(chunk))
        chunk.insert(0, math.ceil(n / math.ceil(n / most)))
    return tuple(chunk)


def _encode(stored: np.ndarray, offset: tuple[int, ...], chunk: tuple[int, ...]) -> bytes:
    """Cuts out a chunk, pads it with zeros at the volume's end, sorts its bytes by significance, and deflates it."""
    block = stored[tuple(slice(o, o + n) for o, n in zip(offset, chunk, strict=True))]
    if block.shape != chunk:
        block = np.pad(block, [(0, n - m) for n, m in zip(chunk, block.shape, strict=True)])
    data = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
    planes = np.ascontiguousarray(data.reshape(-1, stored.itemsize).T)
    return deflated(planes)


def check_voxels(dataset: h5py.Dataset, path: Path) -> np.dtype:
    """Returns the stored dtype. Raises if the voxels cannot be read from this file within bounded memory."""
    name, properties, kind = dataset.name, dataset.id.get_create_plist(), dataset.id.get_type()
    dtype = dtype_of(kind)
    if dtype is None:
        raise UnsupportedFileError(path, f"{name} does not hold numbers of a NumPy type")
    shape = dataset.id.shape
    if shape is None or len(shape) < 3 or 0 in shape:
        raise ImageFileError(path, f"{name} has shape {shape}; voxels have three axes or more, none empty")
    layout, size = properties.get_layout(), math.prod(shape) * dtype.itemsize
    if layout == h5py.h5d.VIRTUAL or properties.get_external_count():
        raise UnsupportedFileError(path, f"{name} keeps its voxels in other files; links are not followed")
    file_size = dataset.file.id.get_filesize()  # the name may belong to another file by now
    if layout == h5py.h5d.CONTIGUOUS:
        offset = dataset.id.get_offset()
        if offset is None or dataset.id.get_storage_size() != size or offset + size > file_size:
            raise TruncatedFileError(path, f"{name} needs {size} bytes; the file of {file_size} does not hold them")
    elif layout == h5py.h5d.CHUNKED:
        _check_chunks(dataset, path, size, file_size)
    elif size > _SMALL:
        raise ImageFileError(path, f"{name} needs {size} bytes, more than fit into an object header")
    return dtype


def _check_chunks(dataset: h5py.Dataset, path: Path, size: int, file_size: int) -> None:
    name, chunk, shape = dataset.name, dataset.id.get_create_plist().get_chunk(), dataset.id.shape
    pipeline = pipeline_of(dataset, path)
    ratio = _DEFLATE_RATIO if pipeline.coder == DEFLATE else _OTHER_RATIO if pipeline.coder else 1
    if max(size, pipeline.size) > ratio * file_size:
        raise TruncatedFileError(path, f"{name} declares {size} bytes of voxels; {file_size} bytes cannot hold them")
    needed = math.prod(math.ceil(n / c) for n, c in zip(shape, chunk, strict=True))
    found = dataset.id.get_num_chunks()
    if found != needed:
        raise TruncatedFileError(path, f"{name} has {found} of {needed} chunks", "write it again")


def read_voxels(dataset: h5py.Dataset, dtype: np.dtype, box: list[tuple[int, int]], path: Path) -> np.ndarray:
    """Reads a box, given as (start, stop) along the dataset's axes, as `(i, j, k, *channels)` in native byte order."""
    native, chunk = dtype.newbyteorder("="), dataset.chunks
    pipeline = None if chunk is None else pipeline_of(dataset, path)
    if chunk is None or pipeline is None or not pipeline.is_decoded_here:
        if chunk is not None and pipeline is not None:
            for _, mask, data in _stored_chunks(dataset, chunk, box, path):
                pipeline.check(mask, data)
        part = dataset[tuple(slice(*span) for span in box)]
        return part.astype(native, copy=False).T
    out = np.empty([stop - start for start, stop in box], native)

    def place(job: tuple[tuple[int, ...], int, bytes]) -> None:
        offset, mask, data = job
        block = _decode(data, mask, pipeline, chunk, dtype)
        inside = [(max(o, a), min(o + n, b)) for o, n, (a, b) in zip(offset, chunk, box, strict=True)]
        target = tuple(slice(lo - a, hi - a) for (lo, hi), (a, _) in zip(inside, box, strict=True))
        source = tuple(slice(lo - o, hi - o) for (lo, hi), o in zip(inside, offset, strict=True))
        out[target] = block[source]

    for _ in _in_order(place, _stored_chunks(dataset, chunk, box, path)):
        pass
    return out.T


def _stored_chunks(
    dataset: h5py.Dataset, chunk: tuple[int, ...], box: list[tuple[int, int]], path: Path
) -> Iterator[tuple[tuple[int, ...], int, bytes]]:
    file_size = dataset.file.id.get_filesize()
    found: dict[tuple[int, ...], Any] = {}  # HDF5 goes through all chunks to find a single one, so they are listed once
    dataset.id.chunk_iter(lambda info: found.__setitem__(info.chunk_offset, info))
    for offset in _offsets(dataset.id.shape, chunk, box):
        info = found.get(offset)
        if info is None or info.byte_offset is None or info.byte_offset + info.size > file_size:
            raise TruncatedFileError(path, f"{dataset.name} has no whole chunk at {offset[::-1]}", "write it again")
        mask, data = dataset.id.read_direct_chunk(offset)
        yield offset, mask, data


def _decode(data: bytes, mask: int, pipeline: Pipeline, chunk: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Undoes the filters of one chunk, whose mask says which of them were skipped."""
    data = pipeline.inflated(mask, data)
    planes = np.frombuffer(data, np.uint8)
    if SHUFFLE in pipeline.done(mask) and dtype.itemsize > 1:
        planes = _interleaved(planes.reshape(dtype.itemsize, -1))
    if dtype.kind == "b":
        return planes.reshape(chunk) != 0
    return planes.view(dtype).reshape(chunk)


def _interleaved(planes: np.ndarray) -> np.ndarray:
    """Puts the bytes of each number together again, from planes `(itemsize, count)`."""
    out = np.empty((planes.shape[1], planes.shape[0]), np.uint8)
    for significance, plane in enumerate(planes):
        out[:, significance] = plane
    return out.reshape(-1)


def _offsets(shape: tuple[int, ...], chunk: tuple[int, ...], box: list[tuple[int, int]]) -> Iterator[tuple[int, ...]]:
    """The first indices of the chunks that meet a box."""
    axes = (range(start // c * c, stop, c) for c, (start, stop) in zip(chunk, box, strict=True))
    return itertools.product(*axes)


def _in_order(work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Runs jobs on threads, a few ahead of the consumer, and yields each with its result in order."""
    pending: deque[tuple[Any, Future[Any]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for job in jobs:
            pending.append((job, pool.submit(work, job)))
            if len(pending) > 4 * _WORKERS:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
