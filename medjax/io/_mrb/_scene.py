"""The scene of a .mrb file: its nodes, the images among them, and the transforms that place these."""

from __future__ import annotations

import dataclasses
import xml.parsers.expat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax.io._disk._warn import warn

__all__ = ["Node", "Scene", "nodes_of"]

# The scenes of Slicer have some hundreds of nodes in some hundred kilobytes.
_MAX_ELEMENTS = 500_000
_MAX_NODES = 20_000
_MAX_TAG_BYTES = 2**22
_MAX_IMAGES = 1000
_MAX_NESTED_TRANSFORMS = 100

_PIECE_BYTES = 2**20

# The tags of images, and of the nodes that say where images lie, end so. No two of these nodes share an id.
_MATTERING = ("Volume", "Segmentation", "Storage", "Transform")


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of the scene: its tag and its attributes."""

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
class Scene:
    """The nodes of a scene by id, the file that it is in, and the folder in the archive where file names start."""

    path: Path
    folder: str
    nodes: Mapping[str, Node]

    def images(self) -> dict[str, Node]:
        """The nodes that have voxels in a file, by the names they get."""
        found: dict[str, Node] = {}
        counts: dict[str, int] = {}
        for node in self.nodes.values():
            if (node.tag.endswith("Volume") or node.is_segmentation) and self._has_voxels(node):
                found[_unused(node.name, found, counts)] = node
        if len(found) > _MAX_IMAGES:
            reason = f"its scene has {len(found)} images, expected {_MAX_IMAGES} at most"
            raise UnsupportedFileError(self.path, reason, "unpack the archive")
        return found

    def file_name(self, node: Node) -> str:
        """The name of a node's file as the scene states it, empty where there is none."""
        storage = self.nodes.get(node.reference("storage") or "")
        return "" if storage is None else storage.attributes.get("fileName", "")

    def _has_voxels(self, node: Node) -> bool:
        name = self.file_name(node)
        if not name:
            warn(self.path, f"{node.name!r} has no file in the scene and is left out")
            return False
        if node.is_segmentation and not name.lower().endswith(".nrrd"):
            warn(self.path, f"{node.name!r} is saved as surfaces, not voxels, and is left out")
            return False
        return True

    def world_matrix(self, node: Node) -> np.ndarray:
        """The product of the node's linear transforms, `(4, 4)` in RAS mm."""
        to_world, seen = np.eye(4), {node.id}
        key = node.reference("transform")
        while key is not None:
            transform = self.nodes.get(key)
            if transform is None or key in seen:
                fault = "is missing" if transform is None else "is its own parent"
                raise ImageFileError(self.path, f"transform {key[:80]!r} of {node.name!r} {fault}")
            seen.add(key)
            if len(seen) > _MAX_NESTED_TRANSFORMS:
                reason = f"{node.name[:80]!r} has more than {_MAX_NESTED_TRANSFORMS} transforms"
                raise UnsupportedFileError(self.path, reason)
            with np.errstate(over="ignore", invalid="ignore"):
                to_world = self._matrix(transform) @ to_world
            key = transform.reference("transform")
        return to_world

    def _matrix(self, node: Node) -> np.ndarray:
        text = node.attributes.get("matrixTransformToParent")
        if node.tag != "LinearTransform" or text is None:
            reason = (
                f"transform {node.name!r} is {node.tag} without a matrix in the scene: only linear ones are applied"
            )
            raise UnsupportedFileError(self.path, reason, "harden the transform in Slicer and save again")
        try:
            numbers = np.array([float(word) for word in text.split(maxsplit=16)])
            matrix = numbers.reshape(4, 4)
        except ValueError:
            raise ImageFileError(self.path, f"the matrix of transform {node.name!r} is not 16 numbers") from None
        if not np.isfinite(matrix).all() or (matrix[3] != (0, 0, 0, 1)).any():
            raise ImageFileError(self.path, f"the matrix of transform {node.name!r} is not affine: {matrix.tolist()}")
        return matrix


def _unused(name: str, taken: Mapping[str, Any], counts: dict[str, int]) -> str:
    """The name, with the next number where it is taken; the counts say how far each name has come."""
    candidate = name
    while candidate in taken:
        counts[name] = counts.get(name, 1) + 1
        candidate = f"{name} ({counts[name]})"
    return candidate


def nodes_of(content: bytes, path: Path) -> dict[str, Node]:
    """The nodes directly below the root, by id. Nodes without an id can neither be referred to nor have voxels.

    Raises:
        ImageFileError: the XML is damaged, not a scene, or larger than scenes are.
    """
    reader = _NodeReader(path)
    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.StartDoctypeDeclHandler = reader.refuse
    try:
        for fed in range(0, len(content), _PIECE_BYTES):
            parser.Parse(content[fed : fed + _PIECE_BYTES], False)
            if fed + _PIECE_BYTES - max(parser.CurrentByteIndex, 0) > _MAX_TAG_BYTES:
                raise ImageFileError(path, f"its scene has a tag of more than {_MAX_TAG_BYTES} bytes")
        parser.Parse(b"", True)
    except (xml.parsers.expat.ExpatError, ValueError, LookupError) as error:
        raise ImageFileError(path, f"its scene is not well-formed XML: {error}") from error
    return reader.nodes


class _NodeReader:
    """Takes the parser's events and collects the nodes."""

    def __init__(self, path: Path):
        self.path = path
        self.nodes: dict[str, Node] = {}
        self._depth = self._elements = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Counts an element, and keeps it if it is a node."""
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise ImageFileError(self.path, f"its scene has more than {_MAX_ELEMENTS} elements")
        if self._depth == 0 and tag != "MRML":
            raise ImageFileError(self.path, f"its scene is {tag[:40]!r}, expected MRML")
        if self._depth == 1 and (key := attributes.get("id")):
            self._keep(key, Node(tag, attributes))
        self._depth += 1

    def end(self, tag: str) -> None:
        """Leaves an element."""
        self._depth -= 1

    def refuse(self, *_: Any) -> None:
        """Refuses a DOCTYPE."""
        reason = "its scene has a DOCTYPE, which no scene of Slicer has; entities are not expanded"
        raise ImageFileError(self.path, reason)

    def _keep(self, key: str, node: Node) -> None:
        old = self.nodes.get(key)
        if old is not None and (node.tag.endswith(_MATTERING) or old.tag.endswith(_MATTERING)):
            raise ImageFileError(self.path, f"its scene has two nodes of the id {key[:80]!r}: one would be lost")
        self.nodes[key] = node
        if len(self.nodes) > _MAX_NODES:
            raise ImageFileError(self.path, f"its scene has more than {_MAX_NODES} nodes")
