"""Scenes of 3D Slicer, .mrb: a zip archive with one .mrml file (XML) and the data it names. Read only.

Rules (https://slicer.readthedocs.io/en/latest/developer_guide/mrml_overview.html, and files of Slicer 4 and 5):

- Every volume, label map and segmentation node with a file in the archive becomes an image, under the node's name. A name
  that comes again gets " (2)", " (3)", ... in the order of the scene.
- A node's linear transforms are applied to its affine: matrices are row-major in RAS mm, to the parent, and
  world = parent @ child @ affine. Voxels are never resampled. Other transforms are refused by name.
- Only the nodes right below MRML count: saved views hold copies of nodes further down.
- The archive is not trusted: names that lead out of it, DOCTYPE and entities, nested scenes, and members that expand
  without measure are refused; nothing is written but the files that an image needs, in a temporary folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import itertools
import lzma
import os
import posixpath
import re
import struct
import tempfile
import urllib.parse
import xml.parsers.expat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax._geometry._grid import lps_to_ras
from medjax._image._image import Image, image_from, locked
from medjax._image._metadata import Metadata
from medjax.io._disk._elements import checked_affine
from medjax.io._disk._opened import as_path, opened
from medjax.io._disk._passed_on import kept_kind
from medjax.io._disk._warn import warn
from medjax.io._formats import find_format

__all__ = ["load_mrb", "read"]

# What a scene may hold. Those of Slicer have some hundreds of nodes in some hundred kilobytes.
_MAX_SCENE_BYTES = 2**26
_MAX_ELEMENTS = 500_000
_MAX_NODES = 20_000
_MAX_TAG_BYTES = 2**22
_MAX_IMAGES = 1000
_MAX_NESTED_TRANSFORMS = 100
_MAX_DIRECTORY_BYTES = 2**23  # a member takes a hundred, in memory a thousand
_NAMES_SHOWN = 10

# A member of more than a gigabyte must not be beyond this times its size in the archive.
_TRUSTED_BYTES = 2**30
_MAX_EXPANSION = 200

_PIECE_BYTES = 2**20

# What the tags of nodes end with that are images, or say where these lie; no two of them share an id.
_MATTERING = ("Volume", "Segmentation", "Storage", "Transform")

# What zipfile and its decompressors raise on archives that make no sense.
_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, IndexError, OverflowError),
)


@dataclasses.dataclass(frozen=True)
class _Node:
    tag: str
    attributes: Mapping[str, str]

    @property
    def id(self) -> str:
        return self.attributes.get("id", "")

    @property
    def name(self) -> str:
        return self.attributes.get("name") or self.id or self.tag

    @property
    def is_segmentation(self) -> bool:
        return self.tag == "Segmentation"

    @property
    def is_label(self) -> bool:
        return self.is_segmentation or self.tag == "LabelMapVolume" or self.attributes.get("labelMap") == "1"

    def reference(self, role: str) -> str | None:
        """The id in `references="role:id;..."`, or in the older `roleNodeRef="id"`; `None` without one."""
        for entry in self.attributes.get("references", "").split(";"):
            name, _, ids = entry.partition(":")
            if name.strip() == role and ids.split():
                return ids.split()[0]
        ids = self.attributes.get(f"{role}NodeRef", "")
        return ids.split()[0] if ids.split() else None


@dataclasses.dataclass(frozen=True)
class _Scene:
    """An open archive, the nodes of its scene by id, and the archive's folder that file names start from."""

    path: Path
    archive: zipfile.ZipFile
    folder: str
    nodes: Mapping[str, _Node]

    def images(self) -> dict[str, _Node]:
        """The nodes that have voxels in a file, by the names they get."""
        found: dict[str, _Node] = {}
        counts: dict[str, int] = {}
        for node in self.nodes.values():
            if (node.tag.endswith("Volume") or node.is_segmentation) and self._has_voxels(node):
                found[_unused(node.name, found, counts)] = node
        if len(found) > _MAX_IMAGES:
            raise UnsupportedFileError(
                self.path, f"its scene has {len(found)} images, expected {_MAX_IMAGES} at most", "unpack the archive"
            )
        return found

    def _has_voxels(self, node: _Node) -> bool:
        storage = self.nodes.get(node.reference("storage") or "")
        if storage is None or not storage.attributes.get("fileName"):
            warn(self.path, f"{node.name!r} has no file in the scene and is left out")
            return False
        if node.is_segmentation and not storage.attributes["fileName"].lower().endswith(".nrrd"):
            warn(self.path, f"{node.name!r} is saved as surfaces, not voxels, and is left out")
            return False
        return True


def load_mrb(path: str | os.PathLike[str]) -> dict[str, Image]:
    """Loads all images of a 3D Slicer scene, with the transforms that the scene applies to them.

    An image's affine is `parent @ child @ affine` of its chain of linear transforms; its voxels are as in the file.

    Args:
        path: A .mrb file.

    Returns:
        Volumes, label maps and segmentations by the names of their nodes; a repeated name gets " (2)", " (3)", ...

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: the archive is damaged or not to be trusted; two nodes share an id; an image has a transform that is not linear, or is
            of a format that cannot be read.

    Warns:
        ImageFileWarning: a node is left out, having no voxels in the archive.

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
    with _open_scene(path) as scene:
        images: dict[str, Image] = {}
        most, taken = max(_TRUSTED_BYTES, _MAX_EXPANSION * path.stat().st_size), 0
        for name, node in scene.images().items():
            images[name] = locked(_load_node(scene, node))
            taken += images[name].voxels.nbytes
            if taken > most and len(images) > 1:
                raise ImageFileError(path, f"its images take {taken} bytes and more, expected {most} at most")
        return images


def read(path: Path) -> Image:
    """Reads a scene that holds exactly one image; `load_image` calls it."""
    with _open_scene(path) as scene:
        nodes = scene.images()
        if len(nodes) != 1:
            more = ", ..." if len(nodes) > _NAMES_SHOWN else ""
            names = ", ".join(repr(name[:80]) for name in itertools.islice(nodes, _NAMES_SHOWN)) + more or "none"
            raise ImageFileError(path, f"the scene holds {len(nodes)} images: {names}", "choose from io.load_mrb(path)")
        return _load_node(scene, *nodes.values())


@contextlib.contextmanager
def _open_scene(path: Path) -> Iterator[_Scene]:
    with opened(path) as file:
        _check_members(path, file)
        with _damage_named(path):
            archive = zipfile.ZipFile(file)
        for name in archive.namelist():
            _check_inside(path, name)
        scenes = sorted((name for name in archive.namelist() if name.lower().endswith(".mrml")), key=_depth)
        if not scenes or (len(scenes) > 1 and _depth(scenes[0]) == _depth(scenes[1])):
            raise ImageFileError(path, f"the archive holds {len(scenes)} scenes (.mrml), expected one")
        nodes = _parse(path, _read_text(path, archive, scenes[0]))
        yield _Scene(path, archive, posixpath.dirname(scenes[0]), nodes)


def _check_members(path: Path, file: io.BufferedReader) -> None:
    """Refuses an archive of too many members, by the record at its end, before zipfile makes an object of each.

    Source: APPNOTE.TXT 4.3.16 (end of central directory: its size is at byte 12) and 4.3.14 (zip64, from 4 GB on).
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2**16 - 22))
    end = file.read()
    at = end.rfind(b"PK\5\6")
    directory = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    if directory == 2**32 - 1 and (wide := end.rfind(b"PK\6\6")) >= 0:
        directory = int.from_bytes(end[wide + 40 : wide + 48], "little")
    if directory > _MAX_DIRECTORY_BYTES:
        raise UnsupportedFileError(
            path, f"its list of members has {directory} bytes, expected {_MAX_DIRECTORY_BYTES} at most", "unpack it"
        )


def _depth(name: str) -> int:
    return name.count("/")


def _check_inside(path: Path, name: str) -> None:
    steps = re.split(r"[/\\]", name)
    if steps[0] == "" or ".." in steps or re.match("[A-Za-z]:", name) or "\0" in name:
        raise ImageFileError(path, f"its member {name!r} leads out of the archive", "do not unpack this file")


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turns what zipfile raises on damaged archives into the package's errors; other errors of the system pass."""
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:  # a compression method of its own, or a password
        if isinstance(error, RecursionError):
            raise
        raise UnsupportedFileError(path, f"the archive cannot be unpacked: {error}") from error
    except _DAMAGE as error:
        raise ImageFileError(path, f"the archive is damaged: {error}", "copy or export it again") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the start of the file
            raise
        raise ImageFileError(
            path, "the archive is damaged: a member lies outside", "copy or export it again"
        ) from error


def _read_text(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > _MAX_SCENE_BYTES:
        raise ImageFileError(path, f"its scene has {size} bytes, expected {_MAX_SCENE_BYTES} at most")
    with _damage_named(path), archive.open(name) as file:
        return file.read(size)


def _parse(path: Path, content: bytes) -> dict[str, _Node]:
    """The nodes right below the root, by id; those without an id can neither be referred to nor have voxels."""
    nodes: dict[str, _Node] = {}
    depth = elements = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        elements += 1
        if elements > _MAX_ELEMENTS:
            raise ImageFileError(path, f"its scene has more than {_MAX_ELEMENTS} elements")
        if depth == 0 and tag != "MRML":
            raise ImageFileError(path, f"its scene is {tag[:40]!r}, expected MRML")
        if depth == 1 and (key := attributes.get("id")):
            if key in nodes and (tag.endswith(_MATTERING) or nodes[key].tag.endswith(_MATTERING)):
                raise ImageFileError(path, f"its scene has two nodes of the id {key[:80]!r}: one would be lost")
            nodes[key] = _Node(tag, attributes)
            if len(nodes) > _MAX_NODES:
                raise ImageFileError(path, f"its scene has more than {_MAX_NODES} nodes")
        depth += 1

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: Any) -> None:
        raise ImageFileError(path, "its scene has a DOCTYPE, which no scene of Slicer has; entities are not expanded")

    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        for fed in range(0, len(content), _PIECE_BYTES):
            parser.Parse(content[fed : fed + _PIECE_BYTES], False)
            if fed + _PIECE_BYTES - max(parser.CurrentByteIndex, 0) > _MAX_TAG_BYTES:
                raise ImageFileError(path, f"its scene has a tag of more than {_MAX_TAG_BYTES} bytes")
        parser.Parse(b"", True)
    except (xml.parsers.expat.ExpatError, ValueError, LookupError) as error:
        raise ImageFileError(path, f"its scene is not well-formed XML: {error}") from error
    return nodes


def _unused(name: str, taken: Mapping[str, Any], counts: dict[str, int]) -> str:
    """The name, with the next number where it is taken; the counts say how far each name has come."""
    candidate = name
    while candidate in taken:
        counts[name] = counts.get(name, 1) + 1
        candidate = f"{name} ({counts[name]})"
    return candidate


def _load_node(scene: _Scene, node: _Node) -> Image:
    to_world = _world_matrix(scene, node)
    with tempfile.TemporaryDirectory(prefix="medjax") as folder:
        image = _load_member(scene, _unpack(scene, node, Path(folder)))
    kind = kept_kind("label" if node.is_label else image.kind, image.voxels)
    metadata = (image.metadata if isinstance(image.metadata, Metadata) else Metadata()).replace(source=scene.path.name)
    with np.errstate(over="ignore", invalid="ignore"):  # checked_affine finds it
        moved = lps_to_ras(to_world @ lps_to_ras(image.affine))
    affine = checked_affine(scene.path, moved) if (to_world != np.eye(4)).any() else image.affine
    return image_from(image.voxels, affine=affine, kind=kind, metadata=metadata)


def _load_member(scene: _Scene, file: Path) -> Image:
    """Loads an unpacked file; what is wrong with it is said of the scene."""
    try:
        return find_format(file).load().read(file)
    except ImageFileError as error:
        kind = type(error) if type(error).__init__ is ImageFileError.__init__ else ImageFileError
        raise kind(scene.path, f"its member {file.name!r}: {error.reason}", error.hint) from error


def _world_matrix(scene: _Scene, node: _Node) -> np.ndarray:
    """The product of the node's linear transforms, `(4, 4)` in RAS mm."""
    to_world, seen = np.eye(4), {node.id}
    key = node.reference("transform")
    while key is not None:
        transform = scene.nodes.get(key)
        if transform is None or key in seen:
            fault = "is missing" if transform is None else "is its own parent"
            raise ImageFileError(scene.path, f"transform {key[:80]!r} of {node.name!r} {fault}")
        seen.add(key)
        if len(seen) > _MAX_NESTED_TRANSFORMS:
            raise UnsupportedFileError(
                scene.path, f"{node.name[:80]!r} has more than {_MAX_NESTED_TRANSFORMS} transforms"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            to_world = _matrix(scene, transform) @ to_world
        key = transform.reference("transform")
    return to_world


def _matrix(scene: _Scene, node: _Node) -> np.ndarray:
    text = node.attributes.get("matrixTransformToParent")
    if node.tag != "LinearTransform" or text is None:
        raise UnsupportedFileError(
            scene.path,
            f"transform {node.name!r} is {node.tag} without a matrix in the scene: only linear ones are applied",
            "harden the transform in Slicer and save again",
        )
    try:
        numbers = np.array([float(word) for word in text.split(maxsplit=16)])
        matrix = numbers.reshape(4, 4)
    except ValueError:
        raise ImageFileError(scene.path, f"the matrix of transform {node.name!r} is not 16 numbers") from None
    if not np.isfinite(matrix).all() or (matrix[3] != (0, 0, 0, 1)).any():
        raise ImageFileError(scene.path, f"the matrix of transform {node.name!r} is not affine: {matrix.tolist()}")
    return matrix


def _unpack(scene: _Scene, node: _Node, folder: Path) -> Path:
    """Unpacks the node's file, and what lies beside it where it is a header without data; returns its path."""
    storage = scene.nodes[node.reference("storage") or ""]
    member = _member(scene, node, storage.attributes["fileName"])
    members = [member]
    if member.lower().endswith((".nhdr", ".mhd", ".hdr", ".img")):
        beside = posixpath.dirname(member)
        members = [name for name in scene.archive.namelist() if posixpath.dirname(name) == beside and name[-1] != "/"]
    for name in members:
        _unpack_member(scene, name, folder / posixpath.basename(name))
    return folder / posixpath.basename(member)


def _member(scene: _Scene, node: _Node, file_name: str) -> str:
    """The archive's member for a file name: relative to the scene, and quoted as in a URL (%20 for a blank)."""
    names = set(scene.archive.namelist())
    for candidate in (urllib.parse.unquote(file_name), file_name):
        name = candidate.replace("\\", "/")
        _check_inside(scene.path, name)
        found = posixpath.normpath(posixpath.join(scene.folder, name))
        if found in names:
            if found.lower().endswith(".mrb"):
                raise UnsupportedFileError(scene.path, f"{node.name!r} is a scene inside the scene")
            return found
    raise ImageFileError(scene.path, f"the file of {node.name!r}, {file_name!r}, is not in the archive")


def _unpack_member(scene: _Scene, name: str, target: Path) -> None:
    info = scene.archive.getinfo(name)
    packed = min(info.compress_size, scene.path.stat().st_size)
    if info.file_size > max(_TRUSTED_BYTES, _MAX_EXPANSION * packed):
        raise ImageFileError(
            scene.path,
            f"its member {name!r} expands {packed} bytes to {info.file_size}",
            "unpack it by hand if you trust it",
        )
    written = 0
    with _damage_named(scene.path), scene.archive.open(info) as source, target.open("wb") as file:
        while piece := source.read(_PIECE_BYTES):
            written += file.write(piece)
    if written < info.file_size:
        raise TruncatedFileError(scene.path, f"its member {name!r} has {written} of {info.file_size} bytes")
