"""Opening scenes: the images that a scene holds, their files in the archive, and what the scene says of each."""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._geometry._grid import lps_to_ras
from medjax._image._kind import Kind
from medjax._image._metadata import Metadata
from medjax.io._disk._elements import checked_affine
from medjax.io._disk._passed_on import kept_kind
from medjax.io._mrb._archive import Archive, check_inside, open_archive
from medjax.io._mrb._scene import Node, Scene, nodes_of

__all__ = ["kind_in", "member_named", "member_of", "metadata_in", "moved", "only_node", "open_scene", "unpacked"]

_NAMES_SHOWN = 10


@contextlib.contextmanager
def open_scene(path: Path) -> Iterator[tuple[Scene, Archive]]:
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


def only_node(scene: Scene) -> Node:
    """The only image of a scene.

    Raises:
        ImageFileError: the scene holds none, or several.
    """
    nodes = scene.images()
    if len(nodes) != 1:
        more = ", ..." if len(nodes) > _NAMES_SHOWN else ""
        names = ", ".join(repr(name[:80]) for name in itertools.islice(nodes, _NAMES_SHOWN)) + more or "none"
        raise ImageFileError(
            scene.path, f"the scene holds {len(nodes)} images: {names}", "choose from io.load_mrb(path)"
        )
    return next(iter(nodes.values()))


def moved(scene: Scene, node: Node, affine: np.ndarray) -> np.ndarray:
    """The affine of a node's file with the node's transforms applied."""
    to_world = scene.world_matrix(node)
    if (to_world == np.eye(4)).all():
        return affine
    with np.errstate(over="ignore", invalid="ignore"):  # checked_affine finds it
        return checked_affine(scene.path, lps_to_ras(to_world @ lps_to_ras(affine)))


def kind_in(node: Node, kind: Kind, dtype: np.dtype) -> Kind:
    """The kind of a node's image: that of its file, but labels where the node is one of labels."""
    return kept_kind("label" if node.is_label else kind, dtype)


def metadata_in(scene: Scene, metadata: Metadata | None) -> Metadata:
    """The metadata of a file, with the scene as their source."""
    return (metadata or Metadata()).replace(source=scene.path.name)


@contextlib.contextmanager
def member_named(name: str, scene: Scene) -> Iterator[None]:
    """Names the scene and the member in errors about an unpacked file."""
    try:
        yield
    except ImageFileError as error:
        kind = type(error) if type(error).__init__ is ImageFileError.__init__ else ImageFileError
        raise kind(scene.path, f"its member {name!r}: {error.reason}", error.hint) from error


def unpacked(scene: Scene, archive: Archive, node: Node, folder: Path) -> Path:
    """Unpacks the node's file and returns its path. The files beside a header without data are unpacked as well."""
    member = member_of(scene, archive, node)
    members = [member]
    if member.lower().endswith((".nhdr", ".mhd", ".hdr", ".img")):
        beside = posixpath.dirname(member)
        members = [name for name in archive.names if posixpath.dirname(name) == beside and name[-1] != "/"]
    for name in members:
        archive.unpack(name, folder / posixpath.basename(name))
    return folder / posixpath.basename(member)


def member_of(scene: Scene, archive: Archive, node: Node) -> str:
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
