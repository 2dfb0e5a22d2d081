"""Where an image is read from: a path, a list of DICOM files, or bytes, an open file or a URL that become a file."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from medjax._errors import ImageFileError
from medjax._image._metadata import Metadata
from medjax._optional import optional
from medjax.io._disk._opened import as_path

__all__ = ["BinaryFile", "ImageSource", "Located", "located"]


@runtime_checkable
class BinaryFile(Protocol):
    """A file that is open in binary mode."""

    def read(self, size: int = -1, /) -> Any: ...


ImageSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | Sequence[Any]
"""A path, a URL, a file's content, a file that is open in binary mode, or the paths of DICOM files."""

_PIECE_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Located:
    """A source on disk.

    Attributes:
        path: A file or folder to read.
        name: The name of the source, for `metadata.source`; `None` where it has none.
        files: The DICOM files of a list, else `None`.
    """

    path: Path
    name: str | None
    files: tuple[Path, ...] | None = None

    def with_source(self, metadata: Metadata) -> Metadata:
        """The metadata with the name of the source, where they state none."""
        stated = metadata.source if metadata.source != self.path.name else None
        return metadata.replace(source=stated or self.name)


@contextlib.contextmanager
def located(source: Any) -> Iterator[Located]:
    """Finds a source on disk. Bytes, open files and URLs lie in a temporary folder meanwhile.

    Raises:
        FileNotFoundError: a path is empty.
        ValueError: the source is none of the kinds, an empty list, or open in text mode.
        ImportError: a URL needs fsspec, which is not installed.
    """
    if isinstance(source, list | tuple):
        yield _listed(source)
    elif isinstance(source, str | os.PathLike) and not _is_url(source):
        path = as_path(source)
        yield Located(path, path.name)
    else:
        with tempfile.TemporaryDirectory(prefix="medjax") as folder:
            name, shown = _copied(source, Path(folder))
            try:
                yield Located(Path(folder, name or _UNNAMED), name)
            except ImageFileError as error:
                raise _renamed(error, shown) from error


_UNNAMED = "image"


def _listed(files: Sequence[Any]) -> Located:
    """The DICOM files of a list, each once."""
    if not files or not all(isinstance(file, str | os.PathLike) for file in files):
        raise ValueError(f"a list must hold paths of DICOM files, got {list(map(type, files[:3])) or 'an empty one'}")
    paths = tuple(dict.fromkeys(map(as_path, files)))
    folder = paths[0].parent
    while any(folder not in path.parents for path in paths) and folder != folder.parent:
        folder = folder.parent
    return Located(folder, folder.resolve().name, paths)


def _is_url(source: Any) -> bool:
    """Whether a text is a URL: a scheme of two letters or more, so that no drive of Windows counts as one."""
    if not isinstance(source, str):
        return False
    scheme, mark, _ = source.partition("://")
    return bool(mark) and len(scheme) > 1 and scheme.replace("+", "").replace("::", "").replace("-", "").isalnum()


def _copied(source: Any, folder: Path) -> tuple[str | None, str]:
    """Copies a source into a folder. Returns its name, if it has one, and how errors name it."""
    if isinstance(source, bytes | bytearray | memoryview):
        (folder / _UNNAMED).write_bytes(source)
        return None, "bytes in memory"
    if isinstance(source, str):
        fsspec = optional("fsspec", "a URL")
        name = Path(urllib.parse.unquote(urllib.parse.urlsplit(source).path)).name or None
        with fsspec.open(source, "rb") as stream, (folder / (name or _UNNAMED)).open("wb") as file:
            shutil.copyfileobj(stream, file, _PIECE_BYTES)
        return name, source
    if not hasattr(source, "read"):
        raise ValueError(
            f"expected a path, a URL, bytes, a file open in binary mode or a list of DICOM files, got "
            f"{type(source).__name__}"
        )
    stated = getattr(source, "name", None)
    name = Path(stated).name if isinstance(stated, str) and Path(stated).name else None
    with (folder / (name or _UNNAMED)).open("wb") as file:
        while len(piece := source.read(_PIECE_BYTES)) or isinstance(piece, str):
            if isinstance(piece, str):
                raise ValueError(f"{name or 'the file'} is open in text mode: open it in binary mode, 'rb'")
            file.write(piece)
    return name, name or "an open file"


def _renamed(error: ImageFileError, name: str) -> ImageFileError:
    """The same error about the source in place of its copy."""
    named = copy.copy(error)
    named.path, named.args = name, (name, *error.args[1:])
    return named
