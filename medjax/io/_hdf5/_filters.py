"""HDF5's filters: which ones are read, and how many bytes a chunk's stream stands for.

HDF5 takes whatever a filter gives it. A stream that stands for more than its chunk takes memory and time that nobody
needs; one that stands for less leaves voxels that nobody wrote. So a stream is asked for its size before HDF5 decodes it.
Filters whose streams do not tell (Blosc2, ZFP, SZ and other lossy ones) are not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import struct
from collections.abc import Callable
from pathlib import Path

import h5py

from medjax.io._errors import MissingDependencyError, UnsupportedFileError

__all__ = ["BLOSC", "BZIP2", "DEFLATE", "SHUFFLE", "Pipeline", "need_filter", "pipeline_of"]

DEFLATE, SHUFFLE, BZIP2, BLOSC = 1, 2, 307, 32001
_FLETCHER32, _SZIP, _NBIT, _SCALE_OFFSET, _LZF, _LZ4, _BITSHUFFLE, _ZSTD = 3, 4, 5, 6, 32000, 32004, 32008, 32015
_CHECKSUM_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """The filters that a dataset's chunks went through, in the order of writing.

    Attributes:
        numbers: The filters' registered numbers.
        coder: The one that compresses, or `None`.
        parameters: What the file says to the coder.
        size: Bytes of a chunk before any filter.
    """

    numbers: list[int]
    coder: int | None
    parameters: tuple[int, ...]
    size: int

    def done(self, mask: int) -> set[int]:
        """The filters that one chunk went through: bit n of its mask says that filter n was skipped."""
        return {number for n, number in enumerate(self.numbers) if not mask >> n & 1}

    def check(self, mask: int, data: bytes) -> None:
        """Raises `ValueError` where a stored chunk does not stand for exactly the bytes of a chunk."""
        done = self.done(mask)
        if _FLETCHER32 in done:
            data = data[:-_CHECKSUM_BYTES]
        try:
            claimed = _CLAIMS[self.coder](data, self) if self.coder in done else len(data)
        except (struct.error, IndexError) as error:
            raise ValueError("the stream of a chunk breaks off") from error
        if claimed != self.size:
            raise ValueError(f"a chunk has {claimed} bytes in place of {self.size}")


def pipeline_of(dataset: h5py.Dataset, path: Path) -> Pipeline:
    """Returns the filters of a chunked dataset, or raises where one is not read or not installed."""
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(n) for n in range(properties.get_nfilters())]
    numbers = [number for number, *_ in filters]
    coders = [(number, given) for number, _, given, _ in filters if number not in (SHUFFLE, _FLETCHER32)]
    coder, parameters = coders[0] if coders else (None, ())
    usual = (SHUFFLE, coder) if coder in (DEFLATE, BZIP2) else (SHUFFLE, coder, _FLETCHER32)
    if coder not in (None, DEFLATE, BZIP2, *_CLAIMS) or numbers != [number for number in usual if number in numbers]:
        raise UnsupportedFileError(
            path, f"{dataset.name} has the HDF5 filters {numbers}", "store it with gzip and shuffle alone"
        )
    for number in numbers:
        if number != BZIP2:
            need_filter(path, number)
    size = math.prod(properties.get_chunk()) * dataset.id.get_type().get_size()
    return Pipeline(numbers, coder, parameters, size)


def need_filter(path: Path, number: int) -> None:
    """Raises where neither HDF5 nor hdf5plugin has a filter."""
    if h5py.h5z.filter_avail(number):
        return
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  # importing it registers its codecs
    if not h5py.h5z.filter_avail(number):
        codec = "blosc" if number == BLOSC else f"HDF5 filter {number}"
        raise MissingDependencyError(path, f"its voxels need the codec {codec}", 'pip install "medjax[hdf5]"')


def _szip_size(data: bytes, _: Pipeline) -> int:
    """HDF5 writes the size before the stream: H5Zszip.c."""
    return int(struct.unpack_from("<I", data)[0])


def _counted_size(_: bytes, pipeline: Pipeline) -> int:
    """Scale-offset and n-bit state the count and the size of the numbers beside the filter: H5Zscaleoffset.c, H5Znbit.c."""
    return pipeline.parameters[2] * pipeline.parameters[4]


def _nbit_size(data: bytes, pipeline: Pipeline) -> int:
    return len(data) if pipeline.parameters[1] else _counted_size(data, pipeline)


def _lzf_size(data: bytes, pipeline: Pipeline) -> int:
    """Adds up what the codes of LZF stand for, to the first that is too many; its streams state no size.

    A byte below 32 stands for one byte more than its value, which follow it; any other for a repetition, whose length is
    its upper three bits, and the byte after it where these are all set, plus two: LibLZF, lzf_d.c.
    """
    at = size = 0
    while at < len(data) and size <= pipeline.size:
        code = data[at]
        if code < 32:
            at, size = at + code + 2, size + code + 1
        elif code < 224:
            at, size = at + 2, size + (code >> 5) + 2
        else:
            at, size = at + 3, size + data[at + 1] + 9
    if at > len(data):
        raise IndexError
    return size


def _blosc_size(data: bytes, _: Pipeline) -> int:
    """Bytes 4 to 16 are the sizes of the content, its blocks and the stream: c-blosc, README_CHUNK_FORMAT."""
    size, block, stored = struct.unpack_from("<III", data, 4)
    if not 0 < block <= size or stored > len(data):
        raise IndexError
    return int(size)


def _lz4_size(data: bytes, _: Pipeline) -> int:
    """The sizes of the content and of its blocks, then each block behind its length: HDF5_plugins, LZ4_HDF5_format."""
    size, block = struct.unpack_from(">QI", data)
    if block == 0:
        raise IndexError
    at = 12
    for _ in range(0, min(size, len(data) * block), block):
        at += 4 + struct.unpack_from(">I", data, at)[0]
    if at > len(data):
        raise IndexError
    return int(size)


def _bitshuffle_size(data: bytes, pipeline: Pipeline) -> int:
    """Where it compresses too (parameter 4), the size stands before the stream: bshuf_h5filter.c."""
    if len(pipeline.parameters) > 4 and pipeline.parameters[4]:
        return int(struct.unpack_from(">Q", data)[0])
    return len(data)


def _zstd_size(data: bytes, _: Pipeline) -> int:
    """The size that the header of a frame states: RFC 8878, 3.1.1.1."""
    magic, descriptor = struct.unpack_from("<IB", data)
    if magic != 0xFD2FB528:
        raise IndexError
    is_single, kind = descriptor >> 5 & 1, descriptor >> 6
    start = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    if kind == 0:
        return data[start] if is_single else 0
    size = struct.unpack_from(("<H", "<I", "<Q")[kind - 1], data, start)[0]
    return int(size) + (256 if kind == 1 else 0)


_CLAIMS: dict[int | None, Callable[[bytes, Pipeline], int]] = {
    _SZIP: _szip_size,
    _NBIT: _nbit_size,
    _SCALE_OFFSET: _counted_size,
    _LZF: _lzf_size,
    BLOSC: _blosc_size,
    _LZ4: _lz4_size,
    _BITSHUFFLE: _bitshuffle_size,
    _ZSTD: _zstd_size,
}
