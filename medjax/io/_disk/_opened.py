"""Opening files to read: only regular files, and the same file for all parts of an image even if it is replaced."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from medjax._errors import ImageFileError, UnsupportedFileError

__all__ = ["as_path", "check_regular", "check_same", "opened"]


def as_path(path: str | os.PathLike[str]) -> Path:
    """Returns a caller's path. Refuses an empty one, which `Path` would take as the working folder.

    Raises:
        FileNotFoundError: the path is empty.
    """
    if not os.fspath(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    return Path(path)


def check_regular(path: Path) -> None:
    """Raises unless the path leads to a regular file. A pipe would wait for its writer, and a device has no end.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        UnsupportedFileError: it is a pipe, a socket or a device.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise UnsupportedFileError(path, "is no regular file but a pipe, a socket or a device", "copy it into a file")


def opened(path: Path) -> io.BufferedReader:
    """Opens a regular file to read its bytes. Raises as `check_regular` does."""
    check_regular(path)
    return path.open("rb")


def check_same(file: io.BufferedReader, path: Path) -> None:
    """Raises if the path no longer leads to the open file.

    Writers delete the old header first and write the new one after its data. So data that were opened while the header
    was still in its place belong to it.

    Raises:
        ImageFileError: another process has replaced the file.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    if found is None or not os.path.samestat(found, os.fstat(file.fileno())):
        raise ImageFileError(path, "another process replaced it while it was read", "load it again")
