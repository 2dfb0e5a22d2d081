"""Listing the images of an HDF5 file, and describing the only one, without reading voxels."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medjax._errors import ImageFileError
from medjax._geometry._grid import Grid
from medjax._lazy import public
from medjax.io._disk._image_header import ImageHeader, header_from
from medjax.io._disk._warn import warn
from medjax.io._hdf5._access import child, reading, translated
from medjax.io._hdf5._find import hint_of, images_in, only_entry, shape_of
from medjax.io._hdf5._layouts import entry_of, is_image
from medjax.io._hdf5._names import parts_of
from medjax.io._hdf5._voxels import check_voxels

__all__ = ["StoredImage", "inspect", "list_hdf5"]


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
                raise ImageFileError(path, f"has no group {'/'.join(parts)}", hint_of(store))
        found = [_stored_image([*parts, *name.split("/")], member, path) for name, member in images_in(top)]
    return [entry for entry in found if entry is not None]


def _stored_image(where: list[str], member: h5py.Group | h5py.Dataset, path: Path) -> StoredImage | None:
    try:
        with translated(path):
            entry = entry_of(member, path)
            dtype = check_voxels(entry.voxels, path)
    except ImageFileError as error:
        warn(path, f"{'/'.join(where)} is not listed: {error.reason}")
        return None
    shape = shape_of(entry)
    group, name = "/".join(where[:-1]), where[-1]
    return StoredImage(
        group, name, shape, dtype.newbyteorder("="), entry.kind, Grid(shape[:3], entry.affine), entry.layout
    )


def inspect(path: Path) -> ImageHeader:
    """Describes the only image of an HDF5 file."""
    with reading(path) as store, translated(path):
        entry = only_entry(store, path)
        dtype = check_voxels(entry.voxels, path)
        return header_from(shape_of(entry), entry.affine, dtype, entry.kind, entry.metadata())
