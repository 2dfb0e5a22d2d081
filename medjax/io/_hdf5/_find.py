"""Finding images in an HDF5 file: by group and name, the only one, or all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from medjax._errors import ImageFileError
from medjax.io._hdf5._access import child, walk
from medjax.io._hdf5._layouts import Entry, entry_of, is_image

__all__ = ["find", "hint_of", "images_in", "only_entry", "shape_of"]

_NAMES_SHOWN = 10


def only_entry(store: h5py.File, path: Path) -> Entry:
    """Finds the only image of a file.

    Raises:
        ImageFileError: there is none, or there are several; the hint names some that there are.
    """
    found = list(itertools.islice(images_in(store), 2))
    if len(found) != 1:
        reason = "holds several images" if found else "holds no image"
        raise ImageFileError(path, reason, hint_of(store))
    return entry_of(found[0][1], path)


def find(store: h5py.File, group: list[str], name: str | None, path: Path) -> h5py.Group | h5py.Dataset:
    """Finds an image, the only one of its group where no name is given.

    Raises:
        ImageFileError: there is no such image; the hint names some that there are.
    """
    member: Any = store
    for number, part in enumerate(group):
        member = child(member, part, path)
        if not isinstance(member, h5py.Group) or is_image(member):
            raise ImageFileError(path, f"has no group {'/'.join(group[: number + 1])}", hint_of(store))
    if name is None:
        members = (child(member, each, path) for each in member if _is_hard(member, each))
        found = [below for below in members if isinstance(below, h5py.Group | h5py.Dataset) and is_image(below)]
        if len(found) != 1:
            raise ImageFileError(
                path, f"group {'/'.join(group) or '/'} holds {len(found)} images, say which", hint_of(store)
            )
        return found[0]
    found_one = child(member, name, path)
    if not isinstance(found_one, h5py.Group | h5py.Dataset) or not is_image(found_one):
        raise ImageFileError(path, f"has no image {'/'.join([*group, name])}", hint_of(store))
    return found_one


def _is_hard(group: h5py.Group, name: str) -> bool:
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def hint_of(store: h5py.File) -> str:
    """Names some of the images that a file holds."""
    names = [name for name, _ in itertools.islice(images_in(store), _NAMES_SHOWN + 1)]
    if not names:
        return "the file holds no image in a layout that medjax knows"
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return f"it holds {', '.join(names[:_NAMES_SHOWN])}{more}; load_hdf5(file, group, name) reads one"


def images_in(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    return ((name, member) for name, member in walk(group, is_image) if is_image(member))


def shape_of(entry: Entry) -> tuple[int, ...]:
    """The image's shape `(i, j, k, *channels)`."""
    stored = entry.voxels.id.shape
    return (*stored[2::-1], *stored[3:]) if entry.is_channel_last else stored[::-1]
