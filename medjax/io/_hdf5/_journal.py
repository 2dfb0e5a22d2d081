"""Appending to an HDF5 file so that a crash at any moment leaves every older image whole.

HDF5 overwrites parts of its index when something is added, block by block. A process that is killed between two blocks
leaves a file that does not open. So an append runs on a file object that lets HDF5 write freely behind the file's old
end, but holds back the blocks that HDF5 overwrites before it. Once HDF5 has closed, these blocks are committed:

1. the bytes behind the old end are flushed to disk: a system writes unflushed bytes in any order, and a journal must
   not count while the data that its blocks point to are missing;
2. the blocks are written behind the new end, as a journal with a checksum, and flushed;
3. they are copied to their places, and flushed; 4. the journal is cut off.

A crash before the journal is complete leaves the old file with a tail that HDF5 ignores. A crash after it leaves a
journal from which the new file is read, and which the next writer completes. No other file is involved, so a copy of
the file is as good. A new file holds nothing that could be overwritten, so it needs no journal.

Journal: records `<offset u64, length u64, bytes>`, then the footer `<length of the records u64, file size after the
commit u64, BLAKE2b-128 of both and the records, 16 bytes "medjax journal 1">`, which ends the file. Little-endian.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from typing import Any

__all__ = ["JournaledFile", "finish_commit", "read_journal"]

_PAGE = 4096
_MAGIC = b"medjax journal 1"
_RECORD = struct.Struct("<QQ")
_FOOTER = struct.Struct("<QQ16s16s")


class JournaledFile(io.RawIOBase):
    """A file for h5py's file-object driver that holds overwritten blocks back until `commit`.

    Args:
        descriptor: An open file descriptor. The caller closes it.
        held_back: Blocks of a journal, by offset. They replace the file's bytes.
        size: Size of the file with these blocks. Default: the end that its superblock states, else its size on disk.

    Attributes:
        failure: The first error while HDF5 read or wrote, or `None`. HDF5 cannot close a file that it failed to write,
            and its own errors name other causes.
    """

    def __init__(self, descriptor: int, held_back: dict[int, bytes] | None = None, size: int | None = None):
        self._descriptor = descriptor
        self._size_on_disk = os.fstat(descriptor).st_size
        stated = _end_of_hdf5(read_at(descriptor, 64, 0)) if size is None else size
        self._old_end = self._size_on_disk if stated is None or stated > self._size_on_disk else stated
        self._end = self._old_end
        self._position = 0
        self._is_abandoned = self._is_committed = False
        self.failure: BaseException | None = None
        self._pages: dict[int, bytearray] = {}
        for offset, data in (held_back or {}).items():
            self._hold_back(memoryview(data), offset)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills the whole buffer, with zeros where the file ends, as HDF5's own driver does."""
        view = memoryview(buffer).cast("B")
        try:
            data = read_at(self._descriptor, len(view), self._position)
        except BaseException as error:
            self.failure = self.failure or error
            raise
        view[: len(data)] = data
        view[len(data) :] = bytes(len(view) - len(data))
        for page, start, stop in self._parts(self._position, len(view)):
            if page in self._pages:
                held = self._pages[page][start:stop]
                begin = page * _PAGE + start - self._position
                view[begin : begin + len(held)] = held
        self._position += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        """Writes, or keeps the error in `failure`."""
        view = memoryview(data).cast("B")
        inside = max(0, min(len(view), self._old_end - self._position))
        if not self._is_abandoned:
            try:
                if inside:
                    self._hold_back(view[:inside], self._position)
                if inside < len(view):
                    write_at(self._descriptor, view[inside:], self._position + inside)
            except BaseException as error:  # noqa: BLE001  # `commit` raises it, an interrupt of the caller as well
                self.failure = self.failure or error
                self.abandon()
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._end = self._position if size is None else size  # the disk follows with the commit
        return self._end

    def flush(self) -> None:
        """Does nothing: no byte is buffered, and `commit` flushes to disk."""

    def abandon(self) -> None:
        """Ignores all further writes."""
        self._is_abandoned = True

    def roll_back(self) -> None:
        """Cuts off the bytes behind the old file, unless the journal is complete and counts."""
        if not self._is_committed:
            os.ftruncate(self._descriptor, self._size_on_disk)

    def commit(self) -> None:
        """Makes all writes the file's content, in one step as seen after a crash. Raises a failed write's error."""
        if self.failure is not None:
            raise self.failure
        blocks = {page * _PAGE: bytes(block) for page, block in self._pages.items()}
        if not blocks:  # a new file
            os.ftruncate(self._descriptor, self._end)
            os.fsync(self._descriptor)
            self._is_committed = True
            return
        records = b"".join(_RECORD.pack(offset, len(data)) + data for offset, data in sorted(blocks.items()))
        footer = _FOOTER.pack(len(records), self._end, _digest(records, self._end), _MAGIC)
        os.fsync(self._descriptor)
        write_at(self._descriptor, records + footer, max(self._end, os.fstat(self._descriptor).st_size))
        os.fsync(self._descriptor)
        self._is_committed = True
        _apply(self._descriptor, blocks, self._end)

    def _hold_back(self, view: memoryview, offset: int) -> None:
        for page, start, stop in self._parts(offset, len(view)):
            if page not in self._pages:
                length = min(_PAGE, self._old_end - page * _PAGE)
                self._pages[page] = bytearray(read_at(self._descriptor, length, page * _PAGE).ljust(length, b"\0"))
            begin = page * _PAGE + start - offset
            self._pages[page][start:stop] = view[begin : begin + stop - start]

    @staticmethod
    def _parts(offset: int, length: int) -> list[tuple[int, int, int]]:
        """The pages that a range touches, each with the start and stop of the range within it."""
        first, last = offset // _PAGE, (offset + length - 1) // _PAGE
        return [
            (page, max(0, offset - page * _PAGE), min(_PAGE, offset + length - page * _PAGE))
            for page in range(first, last + 1)
        ]


def read_journal(descriptor: int) -> tuple[dict[int, bytes], int] | None:
    """Returns the blocks of a complete journal at the end of a file, and the file's size with them; else `None`."""
    size = os.fstat(descriptor).st_size
    footer = read_at(descriptor, _FOOTER.size, max(0, size - _FOOTER.size))
    if len(footer) < _FOOTER.size or not footer.endswith(_MAGIC):
        return None
    length, new_end, digest, _ = _FOOTER.unpack(footer)
    start = size - _FOOTER.size - length
    if start < 0 or new_end > start:
        return None
    records = read_at(descriptor, length, start)
    if _digest(records, new_end) != digest:
        return None
    blocks: dict[int, bytes] = {}
    position = 0
    while position + _RECORD.size <= length:
        offset, count = _RECORD.unpack_from(records, position)
        position += _RECORD.size
        if offset + count > start or position + count > length:
            return None
        blocks[offset] = records[position : position + count]
        position += count
    return blocks, new_end


def finish_commit(descriptor: int) -> None:
    """Completes the commit that a killed writer began, if one did."""
    journal = read_journal(descriptor)
    if journal is not None:
        _apply(descriptor, *journal)


def _apply(descriptor: int, blocks: dict[int, bytes], size: int) -> None:
    for offset, data in sorted(blocks.items()):
        write_at(descriptor, memoryview(data)[: max(0, size - offset)], offset)
    os.fsync(descriptor)
    os.ftruncate(descriptor, size)  # not flushed: if the journal reappears, it gives the same file again


def _end_of_hdf5(head: bytes) -> int | None:
    """The end of the file that a superblock states: HDF5 File Format Specification 3.0, II.A.

    `None` for a file that medjax does not write: 4-byte offsets, or a user block before the superblock.
    """
    if len(head) < 64 or head[:8] != b"\x89HDF\r\n\x1a\n":
        return None
    version = head[8]
    place = {0: (13, 24, 40), 1: (13, 28, 44), 2: (9, 12, 28), 3: (9, 12, 28)}.get(version)
    if place is None or head[place[0]] != 8:
        return None
    base, end = (struct.unpack_from("<Q", head, position)[0] for position in place[1:])
    return end if base == 0 and end > 0 else None


def _digest(records: bytes, size: int) -> bytes:
    return hashlib.blake2b(_RECORD.pack(len(records), size) + records, digest_size=16).digest()


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Reads `count` bytes at an offset, fewer where the file ends."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    parts = []
    while count > 0 and (data := os.read(descriptor, min(count, 1 << 30))):
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Writes all of the data at an offset."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
