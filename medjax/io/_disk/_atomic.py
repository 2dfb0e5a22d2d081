"""Writing files whole or not at all: first beside the target, then moved to its place."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from medjax._errors import ImageFileError

__all__ = ["atomic_file", "atomic_files", "flush", "flush_folder", "temporary_name"]

_MOST_NAME_BYTES = 255  # of ext4, XFS, Btrfs, APFS and NTFS (there 255 units of UTF-16, which 255 bytes never exceed)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside the target. On success the file is flushed to disk and takes the target's place.

    A crash or an exception leaves the old file as it was. Only a killed process leaves a temporary file behind. Links
    are followed, and the old file's permissions stay.
    """
    with atomic_files(path) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_files(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Like `atomic_file` for the parts of one image. The last path must be the file that readers open first.

    An exception leaves all old files as they were. A process that is killed during the renaming can leave no last file,
    and so no image, but never a mixture of old and new files: the old last file is deleted first.
    """
    targets = tuple(Path(os.path.realpath(path)) for path in paths)
    for target in targets:
        _check_target(target)
    temporaries: list[Path] = []
    try:
        for target in targets:
            temporaries.append(_create_beside(target))
        yield tuple(temporaries)
        for temporary in temporaries:
            flush(temporary)
        if len(targets) > 1:
            targets[-1].unlink(missing_ok=True)
        for temporary, target in zip(temporaries, targets, strict=True):
            temporary.replace(target)
        flush_folder(targets[-1].parent)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def _check_target(target: Path) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(target.parent))
    if target.exists() and not target.is_file():
        raise ImageFileError(target, "is not an ordinary file and will not be replaced")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file to replace is write-protected", str(target))


def _create_beside(target: Path) -> Path:
    """Creates an empty file with the permissions of the file it will replace, or the usual ones."""
    temporary = target.with_name(temporary_name(target.name, f".{secrets.token_hex(6)}.part"))
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # the umask applies
    if target.exists():
        temporary.chmod(stat.S_IMODE(target.stat().st_mode))
    return temporary


def temporary_name(name: str, tail: str) -> str:
    """Returns a hidden name that starts like `name` and ends in `tail`, cut to the longest name that file systems take.

    Example:
        >>> temporary_name("scan.nii.gz", ".8f.part")
        '.scan.nii.gz.8f.part'
        >>> len(temporary_name("\u50cf" * 80, ".part").encode())  # 3 bytes a character, whole characters
        246
    """
    name = f".{name.removeprefix('.')}"
    while len(os.fsencode(name + tail)) > _MOST_NAME_BYTES:
        name = name[:-1]
    return name + tail


def flush(path: Path) -> None:
    """Flushes a file to disk, so that its content survives a power failure."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flushes a folder to disk, so that a rename survives a power failure. Windows cannot do that for folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
