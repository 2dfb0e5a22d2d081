"""Writing blocks of bytes into a file in order. A few threads make them and, with gzip and zlib, compress them.

With gzip and zlib every block is deflated alone and ends on a byte (RFC 1951, 3.2.4). So the blocks together are one
stream that any reader takes. The size stays about the same: a block is many times the 32 KiB that deflate looks back.
"""

from __future__ import annotations

import bz2
import collections
import contextlib
import functools
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from medjax.io._disk._deflate import deflate
from medjax.io._disk._stream import Codec, zstandard_for

__all__ = ["file_blocks", "in_order", "write_blocks"]

# Measured: 1 to 8 MB are equally fast. Smaller blocks take less memory.
_BLOCK_BYTES = 2**21
# For memory in another order: at least this many adjacent bytes go into one block, half a line of the cache.
_LEAST_RUN_BYTES = 32
_TILE = 16

# Fastest levels: the second costs twice the time for 4 % of the size (measured on int16 CT).
_DEFLATE_LEVEL = 1
_ZSTD_LEVEL = 3
_MAX_THREADS = 4

# Without time and name, so that the same content always gives the same bytes (RFC 1952, 2.3; RFC 1950, 2.2).
_HEADERS = {"gzip": b"\x1f\x8b\x08\0\0\0\0\0\x04\xff", "zlib": b"\x78\x01"}
_LAST_BLOCK = b"\x03\0"  # empty, with the final bit

Make = Callable[[], Any]
Result = TypeVar("Result")


def file_blocks(voxels: np.ndarray, axes: Sequence[int], byte_order: Literal["<", ">"] = "<") -> Iterator[Make]:
    r"""Cuts voxels whose array axes are written in this order, the fastest first, into blocks of bytes.

    Voxels in another order are never copied as a whole.

    Example:
        >>> [bytes(make()) for make in file_blocks(np.array([[1, 2], [3, 4]], np.uint8), (0, 1))]
        [b'\x01\x03\x02\x04']
    """
    slowest_first = voxels.transpose(tuple(reversed(axes)))
    return (functools.partial(_file_bytes, part, byte_order) for part in _pieces(slowest_first))


def _pieces(voxels: np.ndarray) -> Iterator[np.ndarray]:
    """Pieces of some megabytes along the first axis, or along the next one if a single index is larger than that."""
    if voxels.ndim == 1 or voxels.nbytes <= _BLOCK_BYTES:
        yield voxels
        return
    step = max(1, len(voxels) * _BLOCK_BYTES // voxels.nbytes)
    if not voxels.flags.c_contiguous:
        step = max(step, min(_LEAST_RUN_BYTES // voxels.itemsize, 8 * step))
    for start in range(0, len(voxels), step):
        part = voxels[start : start + step]
        yield from _pieces(part[0]) if len(part) == 1 else (part,)


def _file_bytes(voxels: np.ndarray, byte_order: Literal["<", ">"]) -> Any:
    """The bytes of voxels, the last axis fastest. Copying some indices at a time stays in the cache (2x faster)."""
    packed = voxels
    if not voxels.flags.c_contiguous:
        packed = np.empty(voxels.shape, voxels.dtype)
        for start in range(0, voxels.shape[-1], _TILE):
            packed[..., start : start + _TILE] = voxels[..., start : start + _TILE]
    return packed.astype(voxels.dtype.newbyteorder(byte_order), copy=False).reshape(-1).view(np.uint8).data


def write_blocks(file: Any, codec: Codec | None, blocks: Iterable[Make]) -> None:
    """Calls the functions and writes the bytes or contiguous buffers that they return to an open file, in order.

    The functions run in threads, a few of them ahead of the one whose block is being written.

    Example:
        >>> import gzip, io
        >>> file = io.BytesIO()
        >>> write_blocks(file, "gzip", [lambda: b"vox", lambda: b"els"])
        >>> gzip.decompress(file.getvalue())
        b'voxels'
    """
    if codec == "gzip" or codec == "zlib":
        _write_deflated(file, codec, blocks)
        return
    with _stream(file, codec) as stream:
        for block in in_order(blocks):
            stream.write(block)


def _write_deflated(file: Any, codec: Codec, blocks: Iterable[Make]) -> None:
    checksum, size = int(codec == "zlib"), 0
    file.write(_HEADERS[codec])
    for block, packed in in_order(functools.partial(_deflated, make) for make in blocks):
        file.write(packed)
        checksum = deflate.crc32(block, checksum) if codec == "gzip" else deflate.adler32(block, checksum)
        size += memoryview(block).nbytes
    order: Literal["little", "big"] = "little" if codec == "gzip" else "big"
    length = (size % 2**32).to_bytes(4, "little") if codec == "gzip" else b""
    file.write(_LAST_BLOCK + checksum.to_bytes(4, order) + length)


def _deflated(make: Make) -> tuple[Any, bytes]:
    block = make()
    packer = deflate.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return block, packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)


def in_order(tasks: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Runs tasks in a few threads and yields their results in order. Only a few are in memory at a time."""
    threads = _threads()
    waiting: collections.deque[Future[Result]] = collections.deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def _stream(file: Any, codec: Codec | None) -> Iterator[Any]:
    if codec is None:
        yield file
        return
    with bz2.BZ2File(file, "wb") if codec == "bzip2" else _zstd_stream(file) as stream:
        yield stream


def _zstd_stream(file: Any) -> Any:
    library = zstandard_for(Path(str(getattr(file, "name", ""))))
    packer = library.ZstdCompressor(level=_ZSTD_LEVEL, threads=_threads(), write_checksum=True)
    return packer.stream_writer(file, closefd=False)


def _threads() -> int:
    return min(_MAX_THREADS, os.cpu_count() or 1)
