"""HDF5's filters: which ones are read, and how many bytes a chunk's stream decodes to.

HDF5 takes any number of bytes from a filter. A stream that decodes to more than its chunk wastes memory and time. One
that decodes to less leaves voxels that nobody wrote. So the size of a stream is found before HDF5 decodes it. Deflate,
bzip2 and zstd are decoded here, up to the size of a chunk. Two kinds of filters are not read: those whose streams do
not tell their size (Blosc2, ZFP, SZ and other lossy ones), and those that read beyond a damaged stream and end the
process (bitshuffle, n-bit).
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from medjax._errors import MissingDependencyError, UnsupportedFileError
from medjax.io._disk._deflate import deflate
from medjax.io._disk._stream import zstandard_for

__all__ = ["BLOSC", "DEFLATE", "SHUFFLE", "Pipeline", "deflated", "need_filter", "pipeline_of"]

DEFLATE, SHUFFLE, BLOSC = 1, 2, 32001
_FLETCHER32, _SZIP, _SCALE_OFFSET, _BZIP2, _LZF, _LZ4, _ZSTD = 3, 4, 6, 307, 32000, 32004, 32015
_DECODED_HERE = (DEFLATE, _BZIP2, _ZSTD)
_CHECKSUM_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """The filters that a dataset's chunks went through, in the order of writing.

    Attributes:
        numbers: The filters' registered numbers.
        coder: The number of the filter that compresses, or `None`.
        parameters: The parameters of the coder in the file.
        size: Bytes of a chunk before any filter.
        path: The file.
    """

    numbers: list[int]
    coder: int | None
    parameters: tuple[int, ...]
    size: int
    path: Path

    @property
    def is_decoded_here(self) -> bool:
        """Whether `inflated` undoes the coder, in place of HDF5."""
        return self.coder in _DECODED_HERE

    def done(self, mask: int) -> set[int]:
        """The filters that one chunk went through. Bit n of its mask says that filter n was skipped."""
        return {number for n, number in enumerate(self.numbers) if not mask >> n & 1}

    def check(self, mask: int, data: bytes) -> None:
        """Raises `ValueError` if a stored chunk does not decode to exactly the bytes of a chunk."""
        done = self.done(mask)
        if _FLETCHER32 in done:
            data = data[:-_CHECKSUM_BYTES]
        try:
            claimed = _CLAIMS[self.coder](data, self) if self.coder in done else len(data)
        except (struct.error, IndexError) as error:
            raise ValueError("the stream of a chunk breaks off") from error
        if claimed != self.size:
            raise ValueError(f"a chunk has {claimed} bytes in place of {self.size}")

    def inflated(self, mask: int, data: bytes) -> bytes:
        """Decodes a stored chunk, at most one byte too far. Raises `ValueError` if the bytes are not a chunk's."""
        if self.coder in self.done(mask):
            try:
                data = self._inflated(data)
            except (zlib.error, deflate.error, OSError) as error:
                raise ValueError(f"a chunk is damaged: {error}") from error
        if len(data) != self.size:
            raise ValueError(f"a chunk has {len(data)} bytes in place of {self.size}")
        return data

    def _inflated(self, data: bytes) -> bytes:
        if self.coder == _ZSTD:
            self.check(0, data)
            zstandard = zstandard_for(self.path)
            try:
                return zstandard.ZstdDecompressor().decompress(data)
            except zstandard.ZstdError as error:
                raise ValueError(f"a chunk is damaged: {error}") from error
        inflater = deflate.decompressobj() if self.coder == DEFLATE else bz2.BZ2Decompressor()
        data = inflater.decompress(data, self.size + 1)
        if len(data) == self.size and not inflater.eof:
            raise ValueError("the stream of a chunk breaks off before its checksum")
        return data


def pipeline_of(dataset: h5py.Dataset, path: Path) -> Pipeline:
    """Returns the filters of a chunked dataset. Raises if one of them is not read or not installed."""
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(n) for n in range(properties.get_nfilters())]
    numbers = [number for number, *_ in filters]
    coders = [(number, given) for number, _, given, _ in filters if number not in (SHUFFLE, _FLETCHER32)]
    coder, parameters = coders[0] if coders else (None, ())
    usual = (SHUFFLE, coder) if coder in _DECODED_HERE else (SHUFFLE, coder, _FLETCHER32)
    if coder not in (None, *_DECODED_HERE, *_CLAIMS) or numbers != [number for number in usual if number in numbers]:
        raise UnsupportedFileError(
            path, f"{dataset.name} has the HDF5 filters {numbers}", "store it with gzip and shuffle alone"
        )
    for number in numbers:
        if number == _ZSTD:
            zstandard_for(path)
        elif number not in _DECODED_HERE:
            need_filter(path, number)
    size = math.prod(properties.get_chunk()) * dataset.id.get_type().get_size()
    return Pipeline(numbers, coder, parameters, size, path)


def deflated(data: Any) -> bytes:
    """Compresses the bytes of a chunk as HDF5's deflate filter does, at the fastest level."""
    return bytes(deflate.compress(data, 1))


def need_filter(path: Path, number: int) -> None:
    """Raises if neither HDF5 nor hdf5plugin has the filter."""
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


def _scale_offset_size(data: bytes, pipeline: Pipeline) -> int:
    """The filter's parameters state count and size of the numbers, the stream the bits of each: H5Zscaleoffset.c."""
    count, size = pipeline.parameters[2], pipeline.parameters[4]
    bits = struct.unpack_from("<I", data)[0]
    if bits > 8 * size or len(data) < 21 + count * bits / 8:
        raise IndexError
    return count * size


def _lzf_size(data: bytes, pipeline: Pipeline) -> int:
    """Adds up the lengths of the codes of LZF until they are too many. Its streams state no size.

    A byte below 32 is followed by as many literal bytes as its value, and one more. Any other byte is a repetition. Its
    length is two plus the upper three bits. Where these are all set, the next byte is added: LibLZF, lzf_d.c.
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
    """Bytes 4 to 16 state the sizes of the content, its blocks and the stream: c-blosc, README_CHUNK_FORMAT."""
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
    for _block in range(0, min(size, len(data) * block), block):
        at += 4 + struct.unpack_from(">I", data, at)[0]
    if at > len(data):
        raise IndexError
    return int(size)


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
    _SCALE_OFFSET: _scale_offset_size,
    _LZF: _lzf_size,
    BLOSC: _blosc_size,
    _LZ4: _lz4_size,
    _ZSTD: _zstd_size,
}
