"""The zip archive of a .mrb file, which is not trusted: what may be taken out of it, and how much of it."""

from __future__ import annotations

import contextlib
import errno
import io
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax.io._disk._opened import opened

__all__ = ["Archive", "check_inside", "most_unpacked", "open_archive"]

# The scenes of Slicer have some hundred kilobytes.
_MAX_SCENE_BYTES = 2**26
_MAX_DIRECTORY_BYTES = 2**23  # a member takes a hundred bytes there, and a thousand in memory

# Content of more than a gigabyte must not be more than this many times its size in the archive.
_TRUSTED_BYTES = 2**30
_MAX_EXPANSION = 200

_PIECE_BYTES = 2**20

# The errors of zipfile and its decompressors on archives that make no sense.
_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, IndexError, OverflowError),
)


def most_unpacked(packed: int) -> int:
    """How many bytes may come out of so many packed ones."""
    return max(_TRUSTED_BYTES, _MAX_EXPANSION * packed)


class Archive:
    """An open archive, all of whose names lie within it.

    Attributes:
        path: The file.
        names: The names of its members.
    """

    def __init__(self, path: Path, file: io.BufferedReader):
        self.path = path
        _check_members(path, file)
        with _damage_named(path):
            self._zip = zipfile.ZipFile(file)
        self.names = self._zip.namelist()
        for name in self.names:
            check_inside(path, name)

    def read_scene(self, name: str) -> bytes:
        """Reads the XML of the scene."""
        size = self._zip.getinfo(name).file_size
        if size > _MAX_SCENE_BYTES:
            raise ImageFileError(self.path, f"its scene has {size} bytes, expected {_MAX_SCENE_BYTES} at most")
        with _damage_named(self.path), self._zip.open(name) as file:
            return file.read(size)

    def open(self, name: str) -> io.BufferedReader:
        """Opens a member to read, which unpacks it as far as it is read."""
        info = self._zip.getinfo(name)
        with _damage_named(self.path):
            return io.BufferedReader(_Member(self._zip.open(info), info.file_size, self.path))

    def unpack(self, name: str, target: Path) -> None:
        """Writes a member to a file.

        Raises:
            ImageFileError: the member is damaged, or expands without measure.
        """
        info = self._zip.getinfo(name)
        packed = min(info.compress_size, self.path.stat().st_size)
        if info.file_size > most_unpacked(packed):
            reason = f"its member {name!r} expands {packed} bytes to {info.file_size}"
            raise ImageFileError(self.path, reason, "unpack it by hand if you trust it")
        written = 0
        with _damage_named(self.path), self._zip.open(info) as source, target.open("wb") as file:
            while piece := source.read(_PIECE_BYTES):
                written += file.write(piece)
        if written < info.file_size:
            raise TruncatedFileError(self.path, f"its member {name!r} has {written} of {info.file_size} bytes")


class _Member(io.RawIOBase):
    """A member of an archive as a file of a known size. zipfile's own unpacks all of it to find the end."""

    def __init__(self, file: Any, size: int, path: Path):
        super().__init__()
        self._file, self._size, self._path, self._at = file, size, path, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        with _damage_named(self._path):
            if self._file.tell() != self._at:
                self._file.seek(self._at)
            found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Opens an archive.

    Raises:
        ImageFileError: it is damaged, has too many members, or names that lead out of it.
    """
    with opened(path) as file:
        yield Archive(path, file)


def _check_members(path: Path, file: io.BufferedReader) -> None:
    """Refuses an archive of too many members by the record at its end, before zipfile makes an object for each.

    Source: APPNOTE.TXT 4.3.16 (end of central directory: its size is at byte 12) and 4.3.14 (zip64, from 4 GB on).
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2**16 - 22))
    end = file.read()
    at = end.rfind(b"PK\5\6")
    directory = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    if directory == 2**32 - 1 and (wide := end.rfind(b"PK\6\6")) >= 0:
        directory = int.from_bytes(end[wide + 40 : wide + 48], "little")
    if directory > _MAX_DIRECTORY_BYTES:
        raise UnsupportedFileError(
            path, f"its list of members has {directory} bytes, expected {_MAX_DIRECTORY_BYTES} at most", "unpack it"
        )


def check_inside(path: Path, name: str) -> None:
    """Refuses the name of a member that leads out of the archive.

    Raises:
        ImageFileError: it does.
    """
    steps = re.split(r"[/\\]", name)
    if steps[0] == "" or ".." in steps or re.match("[A-Za-z]:", name) or "\0" in name:
        raise ImageFileError(path, f"its member {name!r} leads out of the archive", "do not unpack this file")


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turns zipfile's errors on damaged archives into the package's. Other errors of the system pass."""
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression method, or a password
        if isinstance(error, RecursionError):
            raise
        raise UnsupportedFileError(path, f"the archive cannot be unpacked: {error}") from error
    except _DAMAGE as error:
        raise ImageFileError(path, f"the archive is damaged: {error}", "copy or export it again") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the start of the file
            raise
        raise ImageFileError(
            path, "the archive is damaged: a member lies outside", "copy or export it again"
        ) from error
