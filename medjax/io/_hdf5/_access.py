"""Opening HDF5 files and looking into them without trusting them.

Only hard links are followed, which stay inside the file. Attributes are read only if they have the expected type and
size: HDF5 was seen to loop for ever on variable-length data and unusual number types of damaged files (HDF5 2.0.0).
Errors of HDF5 or h5py about a file's content become an `ImageFileError`. An error of the operating system keeps its
type and number. An error from a signal handler of the caller keeps its type.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax.io._disk._opened import check_regular
from medjax.io._hdf5._journal import JournaledFile, finish_commit, read_journal

try:
    import fcntl
except ImportError:  # Windows: HDF5 does not lock files there either
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "appending",
    "child",
    "dtype_of",
    "filling",
    "is_locked",
    "number_attribute",
    "reading",
    "text_attribute",
    "translated",
    "walk",
]

# The most bytes of an attribute, since an object header holds no more.
_ATTRIBUTE_LIMIT = 1 << 16
_DAMAGE = (RuntimeError, ValueError, TypeError, KeyError, OverflowError, AttributeError)

# The system's error numbers for impossible offsets and sizes, which damaged content states.
_NONSENSE = (errno.EINVAL, errno.EOVERFLOW)

# Modules whose errors are about a file. Any other code that runs meanwhile is a signal handler of the caller.
_READERS = {"medjax", "h5py", "numpy", "isal", "jax", "jaxtyping", *sys.stdlib_module_names} - {"__main__"}

_DTYPES = [
    np.dtype(code) for code in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
]
_STORED_DTYPES = [dtype for each in _DTYPES for dtype in (each.newbyteorder("<"), each.newbyteorder(">"))]


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns h5py's errors about a file's content into an `ImageFileError`. Other errors keep their type."""
    try:
        yield
    except BlockingIOError as error:
        raise _busy(path) from error
    except OSError as error:
        if type(error) is OSError and (error.errno is None or error.errno in _NONSENSE):
            raise _damaged(path, error) from error
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    except MemoryError as error:
        raise _too_large(path, error) from error
    except _DAMAGE as error:
        if not _is_of_a_reader(error):
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ImageFileError:
    reason = str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
    if re.search("alloc|memory", reason):
        return _too_large(path, error)
    if "truncated file" in reason:
        return TruncatedFileError(path, f"the HDF5 file ends early ({reason})", "copy it again")
    return ImageFileError(path, f"damaged, or not an HDF5 file of images ({reason})")


def _too_large(path: Path, error: Exception) -> ImageFileError:
    reason = str(error) or "MemoryError"
    return ImageFileError(path, f"needs more memory than this machine has free ({reason})", "load boxes of its images")


def _is_of_a_reader(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _READERS


def _busy(path: Path) -> ImageFileError:
    return ImageFileError(
        path,
        "the file is open for writing by another process, or was to be written while it is open elsewhere",
        "try again when the other has closed it",
    )


@contextlib.contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Opens a file to read. A commit that a killed writer left half done is read as done."""
    with contextlib.ExitStack() as stack:
        with translated(path):
            file = None
            while file is None:
                file = _opened(path, stack)
        yield file


def _opened(path: Path, stack: contextlib.ExitStack) -> h5py.File | None:
    """Opens a file to read. Returns `None` if another file took its name meanwhile."""
    check_regular(path)
    raw = stack.enter_context(path.open("rb", buffering=0))
    _check_begun(raw.fileno(), path)
    if read_journal(raw.fileno()) is not None:
        _lock(raw.fileno(), path, is_shared=True)
        journal = read_journal(raw.fileno())
        if journal is not None:
            return stack.enter_context(h5py.File(JournaledFile(raw.fileno(), *journal), "r"))
    file = stack.enter_context(h5py.File(path, "r"))
    return file if os.path.samestat(os.fstat(raw.fileno()), path.stat()) else None


def _check_begun(descriptor: int, path: Path) -> None:
    if os.fstat(descriptor).st_size == 0:
        hint = "another process may be making it: try again; if it stays empty, delete it"
        raise ImageFileError(path, "the file is empty", hint)


@contextlib.contextmanager
def appending(path: Path) -> Iterator[h5py.File]:
    """Opens a file to change it. The changes take place together when the block ends, or not at all."""
    with translated(path), path.open("rb+", buffering=0) as raw:
        _lock(raw.fileno(), path, is_shared=False)
        _check_begun(raw.fileno(), path)
        finish_commit(raw.fileno())
        with _changing(raw.fileno(), "r+") as file:
            yield file


@contextlib.contextmanager
def filling(temporary: Path, path: Path) -> Iterator[h5py.File]:
    """Opens a new file to write, which will get the name `path`. It is on disk when the block ends."""
    with translated(path), temporary.open("wb+", buffering=0) as raw:
        _lock(raw.fileno(), path, is_shared=False)
        with _changing(raw.fileno(), "w") as file:
            yield file


@contextlib.contextmanager
def _changing(descriptor: int, mode: str) -> Iterator[h5py.File]:
    journaled = JournaledFile(descriptor)
    try:
        with h5py.File(journaled, mode) as file:
            try:
                yield file
                file.flush()
            except BaseException:
                journaled.abandon()
                raise
        journaled.commit()
    except BaseException as error:
        journaled.roll_back()
        if journaled.failure is not None and journaled.failure is not error:
            raise journaled.failure from error
        raise


def is_locked(path: Path) -> bool:
    """Whether a process has a file open for writing. Always false on systems without locks."""
    try:
        with path.open("rb", buffering=0) as raw:
            _lock(raw.fileno(), path, is_shared=True)
    except ImageFileError:
        return True
    return False


def _lock(descriptor: int, path: Path, *, is_shared: bool) -> None:
    """Takes the lock that HDF5 itself takes (flock), so that other HDF5 programs see it as well."""
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
    """Returns a member of a group, or `None` if there is none. Links that could leave the file are refused."""
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
    """Yields the groups and datasets below a group with their paths, each object once. Skips closed groups' members."""
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
    """The groups and datasets of a group, without those that were seen before, as in a cycle of links."""
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
