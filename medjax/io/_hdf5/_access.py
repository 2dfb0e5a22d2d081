"""Opening HDF5 files and looking into them without trusting them.

Links are followed only where they are hard, that is, inside the file. Attributes are read only where their type and
size are the expected ones: of damaged files, HDF5's variable-length data and its unusual number types have been seen to
loop for ever (HDF5 2.0.0). What HDF5 or h5py raise becomes an `ImageFileError`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medjax.io._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax.io._hdf5._journal import JournaledFile, finish_commit, read_journal

try:
    import fcntl
except ImportError:  # Windows: HDF5 does not lock files there either
    fcntl = None  # type: ignore[assignment]

__all__ = ["appending", "child", "dtype_of", "number_attribute", "reading", "text_attribute", "translated", "walk"]

# Bytes of one attribute: more do not fit into an object header.
_ATTRIBUTE_LIMIT = 1 << 16
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError, AttributeError, MemoryError)

_DTYPES = [
    np.dtype(code) for code in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
]
_STORED_DTYPES = [dtype for each in _DTYPES for dtype in (each.newbyteorder("<"), each.newbyteorder(">"))]


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns whatever h5py raises about a file into an `ImageFileError`."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except BlockingIOError as error:
        raise _busy(path) from error
    except _DAMAGE as error:
        reason = str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise ImageFileError(path, "no space is left on the device", "the file is as it was") from error
        if "truncated file" in reason:
            raise TruncatedFileError(path, f"the HDF5 file ends early ({reason})", "copy it again") from error
        raise ImageFileError(path, f"damaged, or not an HDF5 file of images ({reason})") from error


def _busy(path: Path) -> ImageFileError:
    return ImageFileError(
        path,
        "the file is open for writing by another process, or was to be written while it is open elsewhere",
        "try again when the other has closed it",
    )


@contextlib.contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Opens a file to read; a commit that a killed writer left half done is seen as done."""
    with contextlib.ExitStack() as stack:
        with translated(path):
            raw = stack.enter_context(path.open("rb", buffering=0))
            pending = None
            if read_journal(raw.fileno()) is not None:
                _lock(raw.fileno(), path, is_shared=True)
                pending = read_journal(raw.fileno())
            source = path if pending is None else JournaledFile(raw.fileno(), *pending)
            file = stack.enter_context(h5py.File(source, "r"))
        yield file


@contextlib.contextmanager
def appending(path: Path) -> Iterator[h5py.File]:
    """Opens a file to change it; the changes take place together when the block ends, or not at all."""
    with translated(path), path.open("rb+", buffering=0) as raw:
        _lock(raw.fileno(), path, is_shared=False)
        finish_commit(raw.fileno())
        journaled = JournaledFile(raw.fileno())
        try:
            with h5py.File(journaled, "r+") as file:
                try:
                    yield file
                    file.flush()
                except BaseException:
                    journaled.abandon()
                    raise
            journaled.commit()
        except BaseException:
            journaled.roll_back()
            raise


def _lock(descriptor: int, path: Path, *, is_shared: bool) -> None:
    """Takes the lock that HDF5 itself takes (flock), so that other HDF5 programs see it too."""
    if fcntl is None or os.environ.get("HDF5_USE_FILE_LOCKING", "").upper() in ("FALSE", "0"):
        return
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _busy(path) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # a file system without locks
            raise


def child(group: h5py.Group, name: str, path: Path) -> Any:
    """Returns a member of a group, or `None` where there is none; links that could leave the file are refused."""
    if name not in group:
        return None
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        where = f"{group.name.rstrip('/')}/{name}"
        kind = "an external link to another file" if isinstance(link, h5py.ExternalLink) else "a soft link"
        raise UnsupportedFileError(
            path, f"{where} is {kind}; links are not followed", "open the file that holds the image"
        )
    return group[name]


def walk(group: h5py.Group, is_closed: Callable[[h5py.Group], bool]) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yields the groups and datasets below a group with their paths, each object once, by name; not below closed ones."""
    seen = {h5py.h5o.get_info(group.id).addr}
    pending: list[tuple[str, Any]] = [("", group)]
    while pending:
        where, member = pending.pop()
        if where:
            yield where, member
        if isinstance(member, h5py.Group) and not (where and is_closed(member)):
            found = [(f"{where}/{name}".lstrip("/"), below) for name, below in _members(member, seen)]
            pending.extend(reversed(found))


def _members(group: h5py.Group, seen: set[int]) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """The groups and datasets of a group, without what a cycle of links leads back to."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        member = group[name]
        address = h5py.h5o.get_info(member.id).addr
        if address not in seen and isinstance(member, h5py.Group | h5py.Dataset):
            seen.add(address)
            yield name, member


def dtype_of(kind: h5py.h5t.TypeID) -> np.dtype | None:
    """Returns the NumPy dtype that a stored type is exactly, or `None` for any other type."""
    if kind.get_class() == h5py.h5t.BITFIELD and kind.get_size() == 1:
        return np.dtype(bool)  # as HDF5.jl stores Bool
    return next((dtype for dtype in _STORED_DTYPES if kind.equal(h5py.h5t.py_create(dtype))), None)


def _open_attribute(owner: h5py.Group | h5py.Dataset, name: str) -> h5py.h5a.AttrID | None:
    if not h5py.h5a.exists(owner.id, name.encode()):
        return None
    attribute = h5py.h5a.open(owner.id, name.encode())
    size = (
        int(np.prod((0,) if attribute.shape is None else attribute.shape, dtype=object))
        * attribute.get_type().get_size()
    )
    if not 0 < size <= _ATTRIBUTE_LIMIT:
        raise ValueError(f"attribute {name} of {owner.name} has {size} bytes")
    return attribute


def number_attribute(owner: h5py.Group | h5py.Dataset, name: str) -> np.ndarray | None:
    """Reads an attribute that holds numbers, or returns `None` where there is none."""
    attribute = _open_attribute(owner, name)
    if attribute is None:
        return None
    dtype = dtype_of(attribute.get_type())
    if dtype is None:
        raise ValueError(f"attribute {name} of {owner.name} does not hold numbers of a usual type")
    is_flag = dtype.kind == "b"
    values = np.zeros(attribute.shape, np.uint8 if is_flag else dtype.newbyteorder("="))
    attribute.read(values, mtype=attribute.get_type() if is_flag else h5py.h5t.py_create(values.dtype))
    return values


def text_attribute(owner: h5py.Group | h5py.Dataset, name: str) -> str | None:
    """Reads an attribute that holds one fixed-length string, or returns `None` where there is none."""
    attribute = _open_attribute(owner, name)
    if attribute is None:
        return None
    kind = attribute.get_type()
    if kind.get_class() != h5py.h5t.STRING or kind.is_variable_str() or attribute.shape != ():
        raise ValueError(f"attribute {name} of {owner.name} is not one fixed-length string")
    value = np.zeros((), f"S{kind.get_size()}")
    attribute.read(value, mtype=kind)
    return bytes(value[()]).split(b"\0")[0].decode("utf-8", "replace")
