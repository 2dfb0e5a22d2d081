"""Saving images into an HDF5 file, and deleting them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from medjax._errors import ImageFileError
from medjax._image._image import Image, check_image
from medjax.io._disk._atomic import atomic_file, flush_folder, temporary_name
from medjax.io._disk._single import check_single
from medjax.io._hdf5._access import appending, child, filling, is_locked, translated
from medjax.io._hdf5._find import find
from medjax.io._hdf5._layouts import LAYOUT, is_image, stored_metadata
from medjax.io._hdf5._names import one_name, parts_of
from medjax.io._hdf5._voxels import Compression, check_codec, write_voxels

__all__ = ["delete_hdf5", "save_hdf5", "write"]

# Temporary files of killed writers are this old. A living writer locks its own, where the system has locks, and goes on
# writing to it.
_LITTER_AGE_S = 3600.0


def save_hdf5(
    file: str | os.PathLike[str],
    image: Image,
    group: str = "images",
    name: str | None = None,
    *,
    compression: Compression | None = "gzip",
) -> str:
    """Saves an image into an HDF5 file beside the images that it holds already.

    A new file is written beside its place and renamed. An append is one step as seen after a crash: whenever the
    process is killed, the file holds the whole images of all calls that returned. docs/hdf5.md describes the layout.
    The voxels keep their dtype, the affine is float64, and the whole metadata is kept.

    Args:
        file: The HDF5 file. It is made if it does not exist, but its folder must exist.
        image: A single image (not a batch), concrete, of booleans, integers, floating point (not bfloat16) or complex.
        group: Group to save in, such as a patient or a cohort; "a/b" is a group in a group.
        name: Name in the group. Default: a new random one (UUID).
        compression: "gzip" (level 1 with byte shuffle, which any HDF5 program opens), "blosc" (LZ4, faster, but only
            read where hdf5plugin is installed), "lzf" (h5py only) or `None`.

    Returns:
        The name of the image in the group.

    Raises:
        ValueError: the image is a batch, is traced or has a dtype that cannot be stored; a name is no text, or has
            parts that are empty or dots; or the compression is unknown.
        ImageFileError: the file is not HDF5, is open elsewhere, or has an image of that name, or the metadata hold a
            value that JSON cannot.
        OSError: the disk is full, or fails. The file is then as it was.
        MissingDependencyError: "blosc" is asked for and hdf5plugin is not installed.

    Example:
        >>> import tempfile
        >>> image = mj.Image.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4), spacing=(1, 2, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     names = [mj.io.save_hdf5(f"{folder}/store.h5", image, "patient 1", name) for name in ("CT", "PET")]
        ...     mj.io.load_hdf5(f"{folder}/store.h5", "patient 1", "PET").spacing
        (1.0, 2.0, 3.0)
    """
    check_image(image, "image")
    path, name = Path(file), str(uuid.uuid4()) if name is None else name
    where = [*parts_of(group), one_name(name)]
    content = _content_of(image, path)
    check_codec(path, compression)
    if not path.exists() and _create(path, where, content, compression):
        return name
    with appending(path) as store, translated(path):
        _put_image(store, where, content, compression, path)
    return name


class _Content(NamedTuple):
    """The stored parts of an image, made before a file is touched."""

    voxels: np.ndarray
    affine: Any
    kind: str
    metadata: np.ndarray | None


def _content_of(image: Image, path: Path) -> _Content:
    """Checks an image and returns its stored parts."""
    check_single(image, path)
    voxels = np.asarray(image.voxels)
    if voxels.dtype.kind not in "?biufc" or voxels.dtype.itemsize > (16 if voxels.dtype.kind == "c" else 8):
        remedy = "image.with_voxels(image.voxels.astype('float32')) keeps every value of bfloat16 and float8"
        raise ValueError(f"HDF5 has no type for {voxels.dtype} voxels; {remedy}")
    return _Content(voxels, image.grid.affine, image.kind, stored_metadata(image.metadata, path))


def _create(path: Path, where: list[str], content: _Content, compression: Compression | None) -> bool:
    """Makes a new file. Returns `False` if another process has made one meanwhile."""
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    _sweep(path)
    temporary = path.with_name(temporary_name(path.name, f".{secrets.token_hex(6)}.part"))
    try:
        with filling(temporary, path) as store:
            _put_image(store, where, content, compression, path)
        return _give_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _give_name(temporary: Path, path: Path) -> bool:
    """Gives a finished file its name. Returns `False` if there is a file of that name."""
    try:
        os.link(temporary, path)  # unlike a rename, never replaces a file
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: an empty file keeps the name until the rename
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    flush_folder(path.parent)
    return True


def _sweep(path: Path) -> None:
    """Deletes the temporary files that killed writers of this store left behind."""
    tail = f".{'0' * 12}.part"
    start = temporary_name(path.name, tail).removesuffix(tail)
    for litter in path.parent.iterdir():
        if not re.fullmatch(re.escape(start) + r"\.[0-9a-f]{12}\.part", litter.name):
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to delete
            if time.time() - litter.stat().st_mtime > _LITTER_AGE_S and not is_locked(litter):
                litter.unlink()


def _put_image(
    store: h5py.File, where: list[str], content: _Content, compression: Compression | None, path: Path
) -> None:
    parent: Any = store
    for number, part in enumerate(where):
        below = child(parent, part, path)
        taken = "/".join(where[: number + 1])
        if below is not None and (number == len(where) - 1 or not isinstance(below, h5py.Group) or is_image(below)):
            raise ImageFileError(
                path, f"{taken} exists already", "choose another name, or delete it first (delete_hdf5)"
            )
        parent = parent.create_group(part) if below is None else below
    parent.attrs["medjax_layout"] = np.int64(LAYOUT)
    parent.attrs["affine"] = content.affine
    parent.attrs["kind"] = np.bytes_(content.kind)
    write_voxels(parent, "voxels", content.voxels, compression)
    if content.metadata is not None:
        parent.create_dataset("metadata", data=content.metadata)


def delete_hdf5(file: str | os.PathLike[str], group: str, name: str) -> None:
    """Deletes an image from an HDF5 file, in one step as seen after a crash.

    HDF5 does not free the space. To shrink a file, save its images into a new one (or run HDF5's `h5repack`).

    Args:
        file: The HDF5 file.
        group: Group that the image is in; "" is the file's root.
        name: Name in the group.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: there is no such image, the file is damaged, or it is open elsewhere.
        ValueError: the name has several parts.

    Example:
        >>> import tempfile
        >>> image = mj.Image.from_array(np.zeros((2, 3, 4), np.int16))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     names = [mj.io.save_hdf5(f"{folder}/store.h5", image, "images", name) for name in ("a", "b")]
        ...     mj.io.delete_hdf5(f"{folder}/store.h5", "images", "a")
        ...     [entry.name for entry in mj.io.list_hdf5(f"{folder}/store.h5")]
        ['b']
    """
    path, parts, name = Path(file), parts_of(group), one_name(name)
    with appending(path) as store, translated(path):
        member = find(store, parts, name, path)
        del member.parent[name]


def write(image: Image, path: Path, *, compress: bool) -> None:
    """Writes a new HDF5 file with one image, "images/image", which replaces an old file."""
    content = _content_of(image, path)
    with atomic_file(path) as temporary, filling(temporary, path) as store:
        _put_image(store, ["images", "image"], content, "gzip" if compress else None, path)
