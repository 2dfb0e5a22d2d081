"""Reading scenes: each image with its transforms applied."""

from __future__ import annotations

import contextlib
import itertools
import os
import posixpath
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._geometry._grid import lps_to_ras
from medjax._image._image import Image, image_from, locked
from medjax._image._metadata import Metadata
from medjax.io._disk._elements import checked_affine
from medjax.io._disk._opened import as_path
from medjax.io._disk._passed_on import kept_kind
from medjax.io._formats import find_format
from medjax.io._mrb._archive import Archive, check_inside, most_unpacked, open_archive
from medjax.io._mrb._scene import Node, Scene, nodes_of

__all__ = ["load_mrb", "read"]

_NAMES_SHOWN = 10


def load_mrb(path: str | os.PathLike[str]) -> dict[str, Image]:
    """Loads all images of a 3D Slicer scene, with the transforms that the scene applies to them.

    An image's affine is `parent @ child @ affine` of its chain of linear transforms; its voxels are as in the file.

    Args:
        path: A .mrb file.

    Returns:
        Volumes, label maps and segmentations by the names of their nodes; a repeated name gets " (2)", " (3)", ...

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: the archive is damaged or not to be trusted, two nodes share an id, an image has a transform
            that is not linear, or an image has a format that cannot be read.

    Warns:
        ImageFileWarning: a node is left out, since it has no voxels in the archive.

    Example:
        >>> import tempfile, zipfile
        >>> scene = (
        ...     '<MRML><VolumeArchetypeStorage id="a" fileName="Data/ct%201.mha"/>'
        ...     '<LinearTransform id="b" matrixTransformToParent="1 0 0 10  0 1 0 0  0 0 1 0  0 0 0 1"/>'
        ...     '<Volume id="c" name="CT" references="storage:a;transform:b;"/></MRML>'
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mj.save_image(mj.Image.from_array(np.zeros((2, 3, 4), np.int16), spacing=(1, 2, 3)), f"{folder}/ct.mha")
        ...     with zipfile.ZipFile(f"{folder}/scene.mrb", "w") as archive:
        ...         archive.writestr("scene/scene.mrml", scene)
        ...         archive.write(f"{folder}/ct.mha", "scene/Data/ct 1.mha")
        ...     images = mj.io.load_mrb(f"{folder}/scene.mrb")
        >>> images, images["CT"].origin  # 10 mm to the right
        ({'CT': Image(2x3x4 int16 intensity, spacing 1 x 2 x 3 mm, LPS)}, (-10.0, 0.0, 0.0))

    Source: https://slicer.readthedocs.io/en/latest/developer_guide/mrml_overview.html
    """
    path = as_path(path)
    with _open_scene(path) as (scene, archive):
        images: dict[str, Image] = {}
        most, taken = most_unpacked(path.stat().st_size), 0
        for name, node in scene.images().items():
            images[name] = locked(_load_node(scene, archive, node))
            taken += images[name].voxels.nbytes
            if taken > most and len(images) > 1:
                raise ImageFileError(path, f"its images take {taken} bytes and more, expected {most} at most")
        return images


def read(path: Path) -> Image:
    """Reads a scene that holds exactly one image; `load_image` calls it."""
    with _open_scene(path) as (scene, archive):
        nodes = scene.images()
        if len(nodes) != 1:
            more = ", ..." if len(nodes) > _NAMES_SHOWN else ""
            names = ", ".join(repr(name[:80]) for name in itertools.islice(nodes, _NAMES_SHOWN)) + more or "none"
            raise ImageFileError(path, f"the scene holds {len(nodes)} images: {names}", "choose from io.load_mrb(path)")
        return _load_node(scene, archive, *nodes.values())


@contextlib.contextmanager
def _open_scene(path: Path) -> Iterator[tuple[Scene, Archive]]:
    """Opens an archive and reads the scene that lies highest in its folders."""
    with open_archive(path) as archive:
        name = _scene_name(archive)
        yield Scene(path, posixpath.dirname(name), nodes_of(archive.read_scene(name), path)), archive


def _scene_name(archive: Archive) -> str:
    scenes = sorted((name for name in archive.names if name.lower().endswith(".mrml")), key=_depth)
    if not scenes or (len(scenes) > 1 and _depth(scenes[0]) == _depth(scenes[1])):
        raise ImageFileError(archive.path, f"the archive holds {len(scenes)} scenes (.mrml), expected one")
    return scenes[0]


def _depth(name: str) -> int:
    return name.count("/")


def _load_node(scene: Scene, archive: Archive, node: Node) -> Image:
    to_world = scene.world_matrix(node)
    with tempfile.TemporaryDirectory(prefix="medjax") as folder:
        image = _load_member(_unpack(scene, archive, node, Path(folder)), scene)
    kind = kept_kind("label" if node.is_label else image.kind, image.voxels)
    metadata = (image.metadata if isinstance(image.metadata, Metadata) else Metadata()).replace(source=scene.path.name)
    with np.errstate(over="ignore", invalid="ignore"):  # checked_affine finds it
        moved = lps_to_ras(to_world @ lps_to_ras(image.affine))
    affine = checked_affine(scene.path, moved) if (to_world != np.eye(4)).any() else image.affine
    return image_from(image.voxels, affine=affine, kind=kind, metadata=metadata)


def _load_member(file: Path, scene: Scene) -> Image:
    """Loads an unpacked file. Its errors name the scene and the member."""
    try:
        return find_format(file).load().read(file)
    except ImageFileError as error:
        kind = type(error) if type(error).__init__ is ImageFileError.__init__ else ImageFileError
        raise kind(scene.path, f"its member {file.name!r}: {error.reason}", error.hint) from error


def _unpack(scene: Scene, archive: Archive, node: Node, folder: Path) -> Path:
    """Unpacks the node's file and returns its path. The files beside a header without data are unpacked as well."""
    member = _member(scene, archive, node)
    members = [member]
    if member.lower().endswith((".nhdr", ".mhd", ".hdr", ".img")):
        beside = posixpath.dirname(member)
        members = [name for name in archive.names if posixpath.dirname(name) == beside and name[-1] != "/"]
    for name in members:
        archive.unpack(name, folder / posixpath.basename(name))
    return folder / posixpath.basename(member)


def _member(scene: Scene, archive: Archive, node: Node) -> str:
    """The member with a node's file. The scene names it relative to itself, quoted as in a URL (%20 for a blank)."""
    file_name, names = scene.file_name(node), set(archive.names)
    for candidate in (urllib.parse.unquote(file_name), file_name):
        name = candidate.replace("\\", "/")
        check_inside(archive.path, name)
        found = posixpath.normpath(posixpath.join(scene.folder, name))
        if found in names:
            if found.lower().endswith(".mrb"):
                raise UnsupportedFileError(archive.path, f"{node.name!r} is a scene inside the scene")
            return found
    raise ImageFileError(archive.path, f"the file of {node.name!r}, {file_name!r}, is not in the archive")
