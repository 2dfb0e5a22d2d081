"""Loading the images of an HDF5 file, or boxes of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax._image._image import Image, image_from, locked
from medjax.io._disk._excerpt import Excerpt, Spans, affine_of_box, checked_box
from medjax.io._hdf5._access import reading, translated
from medjax.io._hdf5._find import find, only_entry, shape_of
from medjax.io._hdf5._layouts import Entry, entry_of
from medjax.io._hdf5._names import one_name, parts_of
from medjax.io._hdf5._voxels import check_voxels, read_voxels

__all__ = ["load_hdf5", "read", "read_excerpt"]


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
        box = checked_box(shape_of(entry)[:3], start, size)
        with translated(path):
            return _read_box(entry, dtype, box, path)


def _read_box(entry: Entry, dtype: np.dtype, box: Spans, path: Path, frame: int | None = None) -> Image:
    channels = [(0, n) for n in shape_of(entry)[3:]]
    if frame is not None:
        channels[0] = (frame, frame + 1)
    spans = [*box[::-1], *channels] if entry.is_channel_last else [*channels[::-1], *box[::-1]]
    voxels = read_voxels(entry.voxels, dtype, spans, path)
    if entry.is_channel_last:
        voxels = np.moveaxis(voxels, 0, -1)
    if frame is not None:
        voxels = voxels[:, :, :, 0]
    affine = affine_of_box(entry.affine, box)
    return locked(image_from(voxels, affine=affine, kind=entry.kind, metadata=entry.metadata()))


def read(path: Path) -> Image:
    """Reads the only image of an HDF5 file. The error of a file with several images names them."""
    return read_excerpt(path, Excerpt())


def read_excerpt(path: Path, part: Excerpt) -> Image:
    """Reads a part of the only image of an HDF5 file: only the chunks that it meets."""
    with reading(path) as store:
        with translated(path):
            entry = only_entry(store, path)
            dtype = check_voxels(entry.voxels, path)
        shape = shape_of(entry)
        box, frame = part.spans(shape[:3]), part.frame_of(shape[3:])
        with translated(path):
            return _read_box(entry, dtype, box, path, frame)
