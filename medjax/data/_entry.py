"""An entry of a cache: a folder with the voxels of a case as they lie in memory, and a file that says what they are."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from medjax._errors import ImageFileError
from medjax._image._image import Image, Kind, image_from
from medjax._image._metadata import Metadata
from medjax._version import __version__
from medjax.data._source import HeldSource, Identity
from medjax.data._statistics import statistics_of
from medjax.io._disk._atomic import flush, flush_folder
from medjax.patch._table import ClassTable, class_table

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["StoredSource", "claimed", "entry_bytes", "has_room", "read_entry", "write_entry"]

_RECORD = "row.json"
_FORMAT = 2
_MOST_HEADER = 1 << 16
"""Bytes; more than NumPy writes before the voxels."""


@dataclasses.dataclass(frozen=True)
class StoredTable:
    """A class table in an entry: the indices of all labels, one after the other, mapped into memory.

    Attributes:
        path: The `.npy` file, `(n, 3)`.
        dtype: Of the indices.
        labels: Each label, how many of its voxels are listed, and how many there are.
    """

    path: Path
    dtype: np.dtype
    labels: tuple[tuple[int, int, int], ...]

    def load(self) -> ClassTable:
        ends = np.cumsum([listed for _, listed, _ in self.labels]).tolist()
        rows = _mapped(self.path, self.dtype, (ends[-1], 3)) if ends and ends[-1] else np.zeros((0, 3), self.dtype)
        voxels = {label: rows[end - n : end] for (label, n, _), end in zip(self.labels, ends, strict=True)}
        return ClassTable(voxels, {label: count for label, _, count in self.labels})


@dataclasses.dataclass(frozen=True, eq=False)
class StoredSource:
    """An image in an entry: its voxels are mapped into memory, and pages are read as they are used.

    Attributes:
        path: The `.npy` file.
        kind: "intensity" or "label".
        dtype: Of the voxels.
        shape: Of the voxels, channels included.
        affine: `(4, 4)`, exactly as it was.
        metadata: As they were.
        statistics: Of the voxels, and of those under labels.
        table: Where the class table is, if this is the image of the classes.
    """

    path: Path
    kind: Kind
    dtype: np.dtype
    shape: tuple[int, ...]
    affine: np.ndarray
    metadata: Metadata | None
    statistics: Mapping[str, Any]
    table: StoredTable | None

    @property
    def place(self) -> str:
        return str(self.path)

    def load(self) -> Image:
        return image_from(_mapped(self.path, self.dtype, self.shape), self.affine, self.kind, self.metadata)

    def identity(self, by: Identity) -> list[Any]:
        return ["entry", self.path.parent.name, self.path.name]

    def classes(self) -> ClassTable | None:
        """The class table, or `None` where the cache made none of this image."""
        return None if self.table is None else self.table.load()

    def held(self, image: Image) -> HeldSource:
        """The image in memory."""
        copied = image_from(np.array(image.voxels), image.affine, image.kind, image.metadata)
        return HeldSource(copied, self.place, self)


def write_entry(
    folder: Path, key: str, images: Mapping[str, Image], classes: str | None, info: Mapping[str, Any]
) -> None:
    """Writes an entry: to a folder of its own first, which then gets the entry's name. A kill leaves no half one."""
    temporary = folder / f".{key}.{secrets.token_hex(6)}.part"
    temporary.mkdir()
    try:
        labels = images.get(classes) if classes is not None else None
        record: dict[str, Any] = {"format": _FORMAT, "medjax": __version__, **info, "images": {}}
        for role, image in images.items():
            record["images"][role] = _write_image(temporary, role, image, labels if role != classes else None)
        if labels is not None:
            table = temporary / f"{_file_name(str(classes))}.table.npy"
            record["images"][classes]["table"] = _save_table(table, class_table(labels))
        (temporary / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        for path in temporary.iterdir():
            flush(path)
        flush_folder(temporary)
        _publish(temporary, folder / key)
        flush_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, target: Path) -> None:
    """Gives a whole entry its name. An entry of another process that came first stays; a damaged one makes way."""
    try:
        temporary.replace(target)
    except OSError:
        if not target.is_dir():
            raise
        if read_entry(target) is None:
            old = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
            target.replace(old)
            shutil.rmtree(old, ignore_errors=True)
            temporary.replace(target)


def _write_image(folder: Path, role: str, image: Image, labels: Image | None) -> dict[str, Any]:
    voxels = np.ascontiguousarray(image.voxels)
    plain = voxels.view(f"u{voxels.itemsize}") if voxels.dtype.kind == "V" else voxels  # .npy does not know bfloat16
    path = folder / f"{_file_name(role)}.npy"
    np.save(path, plain, allow_pickle=False)
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "kind": image.kind,
        "dtype": str(voxels.dtype),
        "shape": list(voxels.shape),
        "affine": [float(value).hex() for value in np.asarray(image.affine, np.float64).ravel()],
        "metadata": json.loads(image.metadata.to_json()) if isinstance(image.metadata, Metadata) else None,
        "statistics": statistics_of(image, labels),
    }


def read_entry(entry: Path) -> dict[str, StoredSource] | None:
    """The images of an entry by role, or `None` where there is none that is whole."""
    try:
        record = json.loads((entry / _RECORD).read_text(encoding="utf-8"))
        if record["format"] != _FORMAT:
            return None
        return {role: _stored(entry, image) for role, image in record["images"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stored(entry: Path, image: Mapping[str, Any]) -> StoredSource:
    """Raises `ValueError` where a file has another size than was written."""
    table = image.get("table")
    for part in (image, table):
        if part is not None and (entry / part["file"]).stat().st_size != part["bytes"]:
            raise ValueError(f"{entry / part['file']} has another size than was written")
    metadata = image["metadata"]
    return StoredSource(
        path=entry / image["file"],
        kind=image["kind"],
        dtype=np.dtype(image["dtype"]),
        shape=tuple(image["shape"]),
        affine=np.array([float.fromhex(value) for value in image["affine"]]).reshape(4, 4),
        metadata=None if metadata is None else Metadata.from_json(json.dumps(metadata)),
        statistics=image["statistics"],
        table=None if table is None else _stored_table(entry, table),
    )


def _stored_table(entry: Path, table: Mapping[str, Any]) -> StoredTable:
    labels = tuple((int(label), int(listed), int(count)) for label, listed, count in table["labels"])
    return StoredTable(entry / table["file"], np.dtype(table["dtype"]), labels)


def entry_bytes(entry: Path) -> int:
    """Size of an entry's files."""
    return sum(path.stat().st_size for path in entry.iterdir())


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array at the end of a `.npy` file, whose shape and dtype are known.

    The header is not read: NumPy does so by Python's parser, which in Python 3.11 fails now and then where several
    threads use it ("AST constructor recursion depth mismatch").

    Raises:
        ImageFileError: the file is gone, or has another size.
    """
    n_bytes = math.prod(shape) * dtype.itemsize
    try:
        header = path.stat().st_size - n_bytes
        if not 0 < header <= _MOST_HEADER:
            raise ValueError(f"{path.stat().st_size} bytes for {dtype} {shape}")
        return np.asarray(np.memmap(path, dtype, "r", header, shape))
    except (OSError, ValueError) as error:
        raise ImageFileError(path, f"the entry is damaged ({error})", "call mj.data.cache again") from None


def _save_table(path: Path, table: ClassTable) -> dict[str, Any]:
    """Writes the indices of all labels; returns what the record says of them."""
    rows = np.concatenate([np.zeros((0, 3), np.uint16), *table.voxels.values()])
    np.save(path, rows, allow_pickle=False)
    labels = [[label, len(listed), int(table.counts[label])] for label, listed in table.voxels.items()]
    return {"file": path.name, "bytes": path.stat().st_size, "dtype": str(rows.dtype), "labels": labels}


def _file_name(role: str) -> str:
    return quote(role, safe="")


@contextlib.contextmanager
def claimed(folder: Path, key: str, *, wait: bool) -> Iterator[bool]:
    """Keeps other processes from preparing an entry at the same time, where the file system has locks.

    It saves work; that entries are whole does not depend on it. The system drops the claim of a process that is killed,
    and what that has left behind is removed here.

    Yields:
        Whether the entry was claimed; if not, another process is at work on it.
    """
    if fcntl is None:
        yield True
        return
    locks = folder / ".locks"
    locks.mkdir(exist_ok=True)
    with (locks / key[:2]).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            yield True
            return
        for left in folder.glob(f".{key[:2]}*.part"):
            shutil.rmtree(left, ignore_errors=True)
        yield True  # closing the file ends the claim


def has_room(folder: Path) -> None:
    """Makes a cache's folder.

    Raises:
        ValueError: the path is a file, or not writable.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder must be a folder, {str(folder)!r} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise ValueError(f"folder {str(folder)!r} is not writable")
