"""Loading and listing the images of an HDF5 file."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medjax._errors import ImageFileError
from medjax._geometry._grid import Grid
from medjax._image._image import Image, image_from, locked
from medjax._lazy import public
from medjax.io._disk._warn import warn
from medjax.io._hdf5._access import child, reading, translated, walk
from medjax.io._hdf5._layouts import Entry, entry_of, is_image
from medjax.io._hdf5._names import one_name, parts_of
from medjax.io._hdf5._voxels import check_voxels, read_voxels

__all__ = ["StoredImage", "find", "list_hdf5", "load_hdf5", "read"]

_NAMES_SHOWN = 10


@public("medjax.io")
@dataclasses.dataclass(frozen=True)
class StoredImage:
    """An image in an HDF5 file, as `list_hdf5` finds it. Its voxels have not been read.

    Attributes:
        group: Path of the group, for `load_hdf5`.
        name: Name in the group, for `load_hdf5`.
        shape: Voxels along i, j, k, then channels.
        dtype: Voxel dtype.
        kind: "intensity" or "label".
        grid: Shape and index-to-LPS affine in mm.
        layout: The program that wrote it: "medjax", "MedImages.jl" or "ITK".

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     image = mj.Image.from_array(np.zeros((2, 3, 4)), spacing=2.0)
        ...     name = mj.io.save_hdf5(f"{folder}/scans.h5", image, name="a")
        ...     (found,) = mj.io.list_hdf5(f"{folder}/scans.h5")
        >>> found.name, found.shape, found.grid.spacing, found.layout
        ('a', (2, 3, 4), (2.0, 2.0, 2.0), 'medjax')
    """

    group: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    kind: str
    grid: Grid
    layout: str


def load_hdf5(
    file: str | os.PathLike[str],
    group: str = "images",
    name: str | None = None,
    *,
    start: Sequence[int] | None = None,
    size: Sequence[int] | None = None,
) -> Image:
    """Loads an image, or a box of one, from an HDF5 file.

    Reads the files of `save_hdf5`, of MedImages.jl's `save_med_image` (its placeholders become `None`), and of ITK and
    SimpleITK (group "ITKImage", name "0"). For a box only the chunks that it meets are read.

    Args:
        file: The HDF5 file.
        group: Group that the image is in; "" is the file's root.
        name: Name in the group. It may be left out if the group holds one image.
        start: Index of the box's first voxel along i, j, k. Default: 0.
        size: Voxels of the box along i, j, k. Default: all from `start` on.

    Returns:
        The image, or the box as an image whose origin is the position of voxel `start`. Channels are always whole.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: there is no such image, or the file is damaged, foreign, or open for writing elsewhere.
        MissingDependencyError: the voxels need a codec of hdf5plugin.
        ValueError: the box leaves the image, the group or the name is no text, or the name has several parts.

    Example:
        >>> import tempfile
        >>> image = mj.Image.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4), spacing=(1, 2, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     name = mj.io.save_hdf5(f"{folder}/store.h5", image)
        ...     box = mj.io.load_hdf5(f"{folder}/store.h5", start=(0, 1, 2), size=(2, 2, 1))
        >>> box.origin, box.voxels.ravel().tolist()
        ((0.0, 2.0, 6.0), [6, 10, 18, 22])
    """
    path, parts = Path(file), parts_of(group)
    name = None if name is None else one_name(name)
    with reading(path) as store:
        with translated(path):
            entry = entry_of(find(store, parts, name, path), path)
            dtype = check_voxels(entry.voxels, path)
        grid = Grid(_shape(entry)[:3], entry.affine)
        box = _checked_box(grid.shape, start, size)
        with translated(path):
            return _read_box(entry, dtype, grid, box, path)


def find(store: h5py.File, group: list[str], name: str | None, path: Path) -> h5py.Group | h5py.Dataset:
    """Finds an image, the only one of its group where no name is given.

    Raises:
        ImageFileError: there is no such image; the hint names some that there are.
    """
    member: Any = store
    for number, part in enumerate(group):
        member = child(member, part, path)
        if not isinstance(member, h5py.Group) or is_image(member):
            raise ImageFileError(path, f"has no group {'/'.join(group[: number + 1])}", _hint(store))
    if name is None:
        members = (child(member, each, path) for each in member if _is_hard(member, each))
        found = [below for below in members if isinstance(below, h5py.Group | h5py.Dataset) and is_image(below)]
        if len(found) != 1:
            raise ImageFileError(
                path, f"group {'/'.join(group) or '/'} holds {len(found)} images, say which", _hint(store)
            )
        return found[0]
    found_one = child(member, name, path)
    if not isinstance(found_one, h5py.Group | h5py.Dataset) or not is_image(found_one):
        raise ImageFileError(path, f"has no image {'/'.join([*group, name])}", _hint(store))
    return found_one


def _is_hard(group: h5py.Group, name: str) -> bool:
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _hint(store: h5py.File) -> str:
    """Names some of the images that a file holds."""
    names = [name for name, _ in itertools.islice(_images(store), _NAMES_SHOWN + 1)]
    if not names:
        return "the file holds no image in a layout that medjax knows"
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return f"it holds {', '.join(names[:_NAMES_SHOWN])}{more}; load_hdf5(file, group, name) reads one"


def _images(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    return ((name, member) for name, member in walk(group, is_image) if is_image(member))


def _shape(entry: Entry) -> tuple[int, ...]:
    """The image's shape `(i, j, k, *channels)`."""
    stored = entry.voxels.id.shape
    return (*stored[2::-1], *stored[3:]) if entry.is_channel_last else stored[::-1]


def _checked_box(
    shape: tuple[int, ...], start: Sequence[int] | None, size: Sequence[int] | None
) -> list[tuple[int, int]]:
    """The box as (start, stop) along i, j, k."""
    first = _three_integers((0, 0, 0) if start is None else start, "start")
    count = _three_integers([n - a for n, a in zip(shape, first, strict=True)] if size is None else size, "size")
    if any(a < 0 or n < 1 or a + n > whole for a, n, whole in zip(first, count, shape, strict=True)):
        raise ValueError(f"the box start={first}, size={count} leaves the image of {shape} voxels; pad what was read")
    return [(a, a + n) for a, n in zip(first, count, strict=True)]


def _three_integers(value: Sequence[int], name: str) -> tuple[int, ...]:
    numbers = tuple(int(n) for n in value)
    if len(numbers) != 3 or any(n != m for n, m in zip(numbers, value, strict=True)):
        raise ValueError(f"{name} must be three integers along i, j, k, got {tuple(value)}")
    return numbers


def _read_box(entry: Entry, dtype: np.dtype, grid: Grid, box: list[tuple[int, int]], path: Path) -> Image:
    channels = [(0, n) for n in _shape(entry)[3:]]
    spans = [*box[::-1], *channels] if entry.is_channel_last else [*channels[::-1], *box[::-1]]
    voxels = read_voxels(entry.voxels, dtype, spans, path)
    if entry.is_channel_last:
        voxels = np.moveaxis(voxels, 0, -1)
    start = np.array([a for a, _ in box], np.float64)
    affine = grid.moved(start).affine if start.any() else grid.affine
    return locked(image_from(voxels, affine=affine, kind=entry.kind, metadata=entry.metadata()))


def list_hdf5(file: str | os.PathLike[str], group: str = "") -> list[StoredImage]:
    """Lists the images of an HDF5 file without reading their voxels.

    Args:
        file: The HDF5 file.
        group: Group to list, with the groups in it. Default: the whole file.

    Returns:
        One entry per image, in the order of their names.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: there is no such group, the file is damaged, or it is open for writing elsewhere.

    Warns:
        ImageFileWarning: an image is damaged and not listed.

    Example:
        >>> import tempfile
        >>> image = mj.Image.from_array(np.zeros((2, 3, 4), np.int16))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     names = [mj.io.save_hdf5(f"{folder}/store.h5", image, "patient 1", name) for name in ("CT", "PET")]
        ...     [(entry.group, entry.name, entry.shape) for entry in mj.io.list_hdf5(f"{folder}/store.h5")]
        [('patient 1', 'CT', (2, 3, 4)), ('patient 1', 'PET', (2, 3, 4))]
    """
    path, parts = Path(file), parts_of(group)
    with reading(path) as store, translated(path):
        top: Any = store
        for part in parts:
            top = child(top, part, path)
            if not isinstance(top, h5py.Group) or is_image(top):
                raise ImageFileError(path, f"has no group {'/'.join(parts)}", _hint(store))
        found = [_stored_image([*parts, *name.split("/")], member, path) for name, member in _images(top)]
    return [entry for entry in found if entry is not None]


def _stored_image(where: list[str], member: h5py.Group | h5py.Dataset, path: Path) -> StoredImage | None:
    try:
        with translated(path):
            entry = entry_of(member, path)
            dtype = check_voxels(entry.voxels, path)
    except ImageFileError as error:
        warn(path, f"{'/'.join(where)} is not listed: {error.reason}")
        return None
    shape = _shape(entry)
    group, name = "/".join(where[:-1]), where[-1]
    return StoredImage(
        group, name, shape, dtype.newbyteorder("="), entry.kind, Grid(shape[:3], entry.affine), entry.layout
    )


def read(path: Path) -> Image:
    """Reads the only image of an HDF5 file. The error of a file with several images names them."""
    with reading(path) as store, translated(path):
        found = list(itertools.islice(_images(store), 2))
        if len(found) != 1:
            reason = "holds several images" if found else "holds no image"
            raise ImageFileError(path, reason, _hint(store))
        entry = entry_of(found[0][1], path)
        dtype = check_voxels(entry.voxels, path)
        grid = Grid(_shape(entry)[:3], entry.affine)
        return _read_box(entry, dtype, grid, [(0, n) for n in grid.shape], path)
