"""Where an image of a case comes from, and what tells whether it has changed."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from medjax._errors import ImageFileError, printable
from medjax._image._image import Image, Kind
from medjax._image._metadata import Metadata
from medjax.io._disk._beside import named_by
from medjax.io._nifti._names import find_header, find_voxels
from medjax.io._open import load_image

__all__ = ["FileSource", "HeldSource", "Identity", "SeriesSource", "Source", "StoreSource", "at", "shown"]

Identity = Literal["stat", "content"]

_HEADERS_ALONE = (".mhd", ".nhdr")
_PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz")


@runtime_checkable
class Source(Protocol):
    """Where an image comes from."""

    @property
    def place(self) -> str:
        """The file, folder or store, as messages name it."""
        ...

    def load(self) -> Image:
        """Reads the image."""
        ...

    def identity(self, by: Identity) -> list[Any]:
        """What changes when the image does: sizes and times of its files ("stat"), or a hash of their bytes."""
        ...


@dataclasses.dataclass(frozen=True)
class FileSource:
    """A file, or a folder that holds one DICOM series."""

    path: Path
    kind: Kind | None = None
    modality: str | None = None

    @property
    def place(self) -> str:
        return str(self.path)

    def load(self) -> Image:
        image = load_image(self.path, self.modality)
        if self.kind == "label" and image.dtype.kind == "f":  # whole numbers stored as floats; it must be exact
            return load_image(self.path, self.modality, kind="label", dtype=np.int32)
        return _of_kind(image, self.kind)

    def identity(self, by: Identity) -> list[Any]:
        return ["file", self.modality, *_files_identity(self.path, by)]


@dataclasses.dataclass(frozen=True)
class SeriesSource:
    """One of several DICOM series in a folder."""

    path: Path
    series: str
    kind: Kind | None = None
    modality: str | None = None

    @property
    def place(self) -> str:
        return f"{self.path} (series {self.series})"

    def load(self) -> Image:
        from medjax.io._dicom._series import load_dicom_series

        image = load_dicom_series(self.path, self.series)
        if self.modality is not None:
            image = image.with_metadata((image.metadata or Metadata()).replace(modality=self.modality))  # type: ignore[union-attr]
        return _of_kind(image, self.kind)

    def identity(self, by: Identity) -> list[Any]:
        return ["series", self.series, self.modality, *_files_identity(self.path, by)]


@dataclasses.dataclass(frozen=True)
class StoreSource:
    """An image in an HDF5 file."""

    path: Path
    group: str
    name: str
    kind: Kind | None = None
    modality: str | None = None

    @property
    def place(self) -> str:
        return f"{self.path} (group {self.group!r}, name {self.name!r})"

    def load(self) -> Image:
        from medjax.io._hdf5._load import load_hdf5

        image = load_hdf5(self.path, self.group, self.name)
        if self.modality is not None:
            image = image.with_metadata((image.metadata or Metadata()).replace(modality=self.modality))  # type: ignore[union-attr]
        return _of_kind(image, self.kind)

    def identity(self, by: Identity) -> list[Any]:
        known = ["store", self.group, self.name, self.modality]
        return [*known, *(_files_identity(self.path, by) if by == "stat" else [_image_digest(self.load())])]


@dataclasses.dataclass(frozen=True, eq=False)
class HeldSource:
    """An image in memory."""

    image: Image
    place: str = "memory"
    known: Any = None  # where it was read from a cache

    def load(self) -> Image:
        return self.image

    def identity(self, by: Identity) -> list[Any]:
        return ["memory", _image_digest(self.image)]


def _of_kind(image: Image, kind: Kind | None) -> Image:
    return image if kind in (None, image.kind) else image.with_kind(kind)  # type: ignore[arg-type]


def shown(name: str, known: Any) -> str:
    """The end of a message about an unknown name: the nearest of those that there are, or all of them.

    Example:
        >>> shown("sge", ["ct", "seg"]), shown("xray", ["ct", "seg"])
        ("; did you mean 'seg'?", '; there are ct, seg')
    """
    by_letters = {str(word).lower(): str(word) for word in known}
    found = difflib.get_close_matches(name.lower(), by_letters, 1, 0.5)
    return (
        f"; did you mean {by_letters[found[0]]!r}?" if found else f"; there are {', '.join(map(str, known)) or 'none'}"
    )


def at(where: str, error: Exception) -> Exception:
    """The same error, with the row, case and role before its text."""
    if isinstance(error, ImageFileError):
        named = copy.copy(error)
        named.reason = f"{printable(where)}: {error.reason}"
        named.args = (error.path, named.reason, error.hint)
        return named
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{where}: {error}; correct the path, or leave the cell empty if the case has none")
    if type(error) in (ValueError, TypeError, OSError, PermissionError, IsADirectoryError):
        return type(error)(f"{where}: {error}")
    error.add_note(f"at {where}")
    return error


def _files_identity(path: Path, by: Identity) -> list[Any]:
    """Name, size and time of every file that an image is read from, or the name below its folder and the hash."""
    found: list[Any] = []
    for file in _files_of(path):
        if by == "content":
            found.append([file.relative_to(path).as_posix() if path.is_dir() else file.name, _file_digest(file)])
        else:
            status = file.stat()
            found.append([str(file.resolve()), status.st_size, status.st_mtime_ns])
    return found


def _files_of(path: Path) -> Iterator[Path]:
    """The files that `load_image(path)` may read: of a folder all, of a header without voxels those that it names."""
    if path.is_dir():
        yield from (Path(folder) / name for folder, _, names in sorted(os.walk(path)) for name in sorted(names))
        return
    yield path
    if path.name.lower().endswith(_HEADERS_ALONE):
        data = named_by(path)
        if data is not None and (path.parent / data).is_file():
            yield path.parent / data
        elif data != "LOCAL":  # a list or a pattern of names
            yield from (other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path)
    elif path.name.lower().endswith(_PAIRS):
        header = find_header(path)
        yield header
        if path == header and _is_pair(path):
            yield find_voxels(header)


def _is_pair(header: Path) -> bool:
    try:
        return find_voxels(header) != header
    except ImageFileError:  # its name notwithstanding the file holds both
        return False


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _image_digest(image: Image) -> str:
    metadata = image.metadata.to_json() if isinstance(image.metadata, Metadata) else ""
    voxels = np.ascontiguousarray(image.voxels)
    digest = hashlib.sha256(f"{voxels.shape} {voxels.dtype} {image.kind} {metadata}".encode())
    digest.update(np.asarray(image.affine, np.float64).tobytes())
    digest.update(voxels.view(np.uint8).data if voxels.size else b"")
    return digest.hexdigest()
