"""Reading compressed streams: gzip, zlib, bzip2 and zstd.

Reading is bounded. `Content` decompresses no more than it is asked for, refuses a count that the file cannot hold
before it takes memory, and turns the errors of a stream into an `ImageFileError`. `_blocks` writes.
"""

from __future__ import annotations

import bz2
import contextlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax._optional import optional
from medjax.io._disk._deflate import deflate
from medjax.io._disk._opened import opened

__all__ = ["Codec", "Content", "codec_of", "zstandard_for"]

Codec = Literal["gzip", "zlib", "bzip2", "zstd"]

_MAGIC: dict[Codec, bytes] = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "zstd": b"\x28\xb5\x2f\xfd"}

# Deflate codes at most 258 bytes in two bits (RFC 1951, 3.2.5), so content is at most this many times larger than its
# file. The other codecs have no useful bound.
_MAX_EXPANSION: dict[Codec, int] = {"gzip": 1032, "zlib": 1032}

# A larger claim is checked by decompressing once without keeping anything, unless the file is large enough for it.
_TRUSTED_BYTES = 2**28
_TRUSTED_EXPANSION = 32

# A larger claim is refused: its check takes more than a few seconds (measured: 2.5, 0.44 and 12 GB/s of zeros).
_MOST_CHECKED_BYTES: dict[Codec, int] = {"gzip": 2**33, "zlib": 2**33, "bzip2": 2**30, "zstd": 2**34}

# XLA copies arrays with another alignment more slowly on a CPU (measured: 28 ms instead of 10 for 47 MB).
_ALIGNMENT = 64

_INPUT_BYTES = 2**18
_PIECE_BYTES = 2**20  # measured: 128 KiB to 1 MiB are equally fast, 4 MiB leaves the cache


def codec_of(head: bytes) -> Codec | None:
    """Tells the compression of a whole file from its first bytes. zlib streams have no reliable mark.

    Example:
        >>> import gzip
        >>> codec_of(gzip.compress(b"voxels")), codec_of(b"voxels")
        ('gzip', None)
    """
    return next((codec for codec, magic in _MAGIC.items() if head.startswith(magic)), None)


class Content:
    """The content of a file, decompressed while it is read. A context manager.

    Args:
        path: The file, which errors name.
        codec: "auto" tells the codec by the first bytes, `None` reads the bytes as they are. "zlib" accepts gzip as
            well.
        offset: Where the stream starts in the file.
        file: The open file, if it is open already. It is closed with the content.
        data: Compressed bytes to read instead of the file's.

    Attributes:
        codec: The codec that was found.
        file_bytes: Size of the file from `offset` on.
        position: How many bytes of the content were read.

    Example:
        >>> import gzip
        >>> with Content(Path("scan.nii.gz"), data=gzip.compress(b"voxels")) as content:
        ...     content.read(2), content.read_array(4).tobytes()
        (b'vo', b'xels')
    """

    def __init__(
        self,
        path: Path,
        *,
        codec: Codec | Literal["auto"] | None = "auto",
        offset: int = 0,
        file: Any = None,
        data: Any = None,
    ):
        self.path, self.position, self._offset = path, 0, offset
        self._ends_early = False
        self._file: Any = io.BytesIO(data) if data is not None else file or opened(path)
        try:
            size = self._file.seek(0, os.SEEK_END)
            start = min(offset, size)  # a header can state an offset beyond the end
            self.file_bytes = size - start
            self._file.seek(start)
            if codec == "auto":
                codec = codec_of(self._file.read(4))
                self._file.seek(start)
            self.codec = codec
            self._source = _decompressor(self._file, codec, path)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Content:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, count: int) -> bytes:
        """Reads up to `count` bytes, fewer only at the end of the content. Memory grows with the bytes read."""
        pieces, missing = [], count
        while missing > 0:
            piece = bytearray(min(missing, _PIECE_BYTES))
            filled = self._fill(memoryview(piece))
            pieces.append(bytes(memoryview(piece)[:filled]))
            missing -= filled
            if filled < len(piece):
                break
        return b"".join(pieces)

    def read_pieces(self, count: int, piece: int, what: str = "voxels") -> Iterator[np.ndarray]:
        """Reads `count` bytes as uint8 arrays of `piece` bytes each. Raises where there are fewer."""
        for start in range(0, count, piece):
            array = np.empty(min(piece, count - start), np.uint8)
            found = self._fill(array.data)
            if found < len(array):
                raise self._too_few(what, count, start + found)
            yield array

    def read_array(self, count: int, what: str = "voxels") -> np.ndarray:
        """Reads exactly `count` bytes into a new uint8 array.

        Raises:
            TruncatedFileError: there are fewer. Where the file's size tells, no memory is taken before.
            ImageFileError: the stream is damaged.
        """
        array = self.empty(count, what)
        found = self._fill(array.data) if count else 0
        if found < count:
            raise self._too_few(what, count, found)
        return array

    def _too_few(self, what: str, expected: int, found: int) -> TruncatedFileError:
        cause = f", where the {self.codec} stream breaks off" if self._ends_early else ""
        return TruncatedFileError(self.path, f"{what}: expected {expected} bytes, found {found}{cause}")

    def skip(self, count: int) -> int:
        """Reads and drops up to `count` bytes, and returns how many there were.

        Raises:
            UnsupportedFileError: the content is compressed, and so many bytes take too long to skip.
        """
        if self.codec is None:
            skipped = min(count, max(self.file_bytes - self.position, 0))
            self._file.seek(skipped, os.SEEK_CUR)
            self.position += skipped
            return skipped
        left = most = min(count, _MOST_CHECKED_BYTES[self.codec])
        buffer = memoryview(bytearray(min(most, _PIECE_BYTES)))
        while left > 0:
            filled = self._fill(buffer[: min(left, len(buffer))])
            left -= filled
            if not filled:
                break
        if not left and most < count:
            raise self._too_long("bytes to skip", count)
        return most - left

    def finish(self) -> int:
        """Reads to the end, which checks the stream's checksum. Returns how many bytes followed.

        The count includes bytes after the end of a compressed stream. It stops at 64 MiB.

        Raises:
            ImageFileError: the checksum does not match, so some of the bytes that were read are wrong.
            TruncatedFileError: the stream breaks off before its checksum.
        """
        following = self.skip(2**26)
        if self._ends_early:
            raise TruncatedFileError(
                self.path, f"the {self.codec} stream breaks off after {self.position} bytes of content"
            )
        if isinstance(self._source, _Inflater):
            following += self._source.garbage_bytes
        return following

    def _fill(self, view: memoryview) -> int:
        filled = 0
        with _damage_named(self.path, self.codec):
            while filled < len(view) and not self._ends_early:
                try:
                    count = self._source.readinto(view[filled:])
                except EOFError:
                    count, self._ends_early = 0, True
                filled += count
                self.position += count
                if not count:
                    break
        return filled

    def empty(self, count: int, what: str = "voxels") -> np.ndarray:
        """Returns memory for `count` bytes: a uint8 array at an address from which JAX copies fast.

        Raises:
            TruncatedFileError: the file cannot hold so many. No memory is taken before.
            ImageFileError: the machine has less.
        """
        self.check_claim(count, what)
        try:
            array = np.empty(count + _ALIGNMENT, np.uint8)
        except MemoryError:
            raise ImageFileError(self.path, f"{what} take {count} bytes, more than this machine has") from None
        start = -array.ctypes.data % _ALIGNMENT
        return array[start : start + count]

    def check_claim(self, count: int, what: str) -> None:
        """Raises if the rest of the content has fewer than `count` bytes, where a check is quick.

        Raises:
            TruncatedFileError: the content is shorter.
            UnsupportedFileError: the content might be so long, but a check would decompress many times the file's size.
        """
        if self.codec is None:
            found = max(self.file_bytes - self.position, 0)
            if found < count:
                raise self._too_few(what, count, found)
            return
        most = _MAX_EXPANSION.get(self.codec)
        if most is not None and count > most * self.file_bytes:
            raise TruncatedFileError(
                self.path,
                f"{what}: expected {count} bytes, but {self.file_bytes} bytes of {self.codec} hold "
                f"{most * self.file_bytes} at most",
            )
        if count <= max(_TRUSTED_BYTES, _TRUSTED_EXPANSION * self.file_bytes):
            return
        most = _MOST_CHECKED_BYTES[self.codec]
        found = self._found_ahead(min(count, most))
        if found < min(count, most):
            raise self._too_few(what, count, found)
        if count > most:
            raise self._too_long(what, count)

    def _too_long(self, what: str, count: int) -> UnsupportedFileError:
        reason = f"{what}: {count} bytes out of {self.file_bytes} bytes of {self.codec} are more than is tried"
        return UnsupportedFileError(self.path, reason, "decompress the file first if you trust it")

    def _found_ahead(self, count: int) -> int:
        """How many of the next `count` bytes there are. Decompresses from the start, and keeps the position."""
        place = self._file.tell()
        ahead = Content(self.path, codec=self.codec, offset=self._offset, file=self._file)
        ahead.skip(self.position)
        found = ahead.skip(count)
        self._file.seek(place)
        return found


class _Inflater:
    """Reads gzip (any number of members) or zlib; works alike on isal's and on zlib's decompression objects."""

    def __init__(self, file: Any, codec: Codec):
        self._file = file
        self._wbits = 47 if codec == "zlib" else 31  # 47: by the header, zlib or gzip
        self._engine: Any = self._new_engine()
        self._input = b""
        self.garbage_bytes = 0

    def _new_engine(self) -> Any:
        return deflate.decompressobj(wbits=self._wbits)

    def readinto(self, view: memoryview) -> int:
        """Fills the start of the view; 0 at the end of the last member.

        Raises:
            EOFError: the file ends inside a member.
        """
        while not (self._engine.eof and not self._starts_member()):
            source = self._input or self._file.read(_INPUT_BYTES)
            piece = self._engine.decompress(source, min(len(view), _PIECE_BYTES))
            self._input = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
            if piece:
                view[: len(piece)] = piece
                return len(piece)
            if not source and not self._engine.eof:
                raise EOFError("the stream has no end marker")
        return 0

    def _starts_member(self) -> bool:
        """Starts the next member, if the bytes after the end of one are no padding or garbage."""
        rest = self._input.lstrip(b"\0")  # padding, as tapes leave it, which other readers allow too
        while len(rest) < 2:
            more = self._file.read(_INPUT_BYTES)
            if not more:
                break
            rest = (rest + more).lstrip(b"\0")
        if rest.startswith(_MAGIC["gzip"]):
            self._engine, self._input = self._new_engine(), rest
            return True
        if rest:
            read_so_far = self._file.tell()
            self.garbage_bytes = len(rest) + self._file.seek(0, os.SEEK_END) - read_so_far
        self._input = b""
        return False


def _decompressor(file: Any, codec: Codec | None, path: Path) -> Any:
    """An object whose `readinto` gives the content."""
    if codec is None:
        return file
    if codec == "bzip2":
        return bz2.BZ2File(file)
    if codec == "zstd":
        return zstandard_for(path).ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
    return _Inflater(file, codec)


def zstandard_for(path: Path) -> Any:
    """The library for zstd, or an error that says what to install.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return optional("zstandard", "zstd compression", path)


@contextlib.contextmanager
def _damage_named(path: Path, codec: Codec | None) -> Iterator[None]:
    """Turns the errors of decompressors into the package's. Errors of the operating system pass."""
    try:
        yield
    except (
        OSError
    ) as error:  # bz2 raises one without a number; a subclass, as TimeoutError, is the system's or the caller's
        if type(error) is not OSError or error.errno is not None or codec is None:
            raise
        raise ImageFileError(path, f"the {codec} stream is damaged: {error}") from error
    except _decompression_errors(codec) as error:
        raise ImageFileError(path, f"the {codec} stream is damaged: {error}") from error


def _decompression_errors(codec: Codec | None) -> tuple[Any, ...]:
    if codec == "zstd":
        import zstandard

        return (zstandard.ZstdError,)
    return (zlib.error, deflate.error)
