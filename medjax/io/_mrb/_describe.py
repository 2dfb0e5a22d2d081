"""The image of a scene, described from the header of its file in the archive."""

from __future__ import annotations

import dataclasses
import posixpath
import tempfile
from pathlib import Path

from medjax.io._disk._image_header import ImageHeader, header_from
from medjax.io._formats import find_format, format_of
from medjax.io._mrb._archive import Archive
from medjax.io._mrb._open import kind_in, member_named, member_of, metadata_in, moved, only_node, open_scene, unpacked
from medjax.io._mrb._scene import Node, Scene

__all__ = ["inspect"]

_PAIRS = (".hdr", ".img")  # the reader looks for the other file


def inspect(path: Path) -> ImageHeader:
    """Describes the image of a scene that holds exactly one."""
    with open_scene(path) as (scene, archive):
        node = only_node(scene)
        scene.world_matrix(node)  # an error comes before anything is unpacked
        found = _inspect_member(scene, archive, node)
        shape, kind = (*found.shape, *found.channels), kind_in(node, found.kind, found.dtype)
        metadata = metadata_in(scene, found.metadata)
        header = header_from(shape, moved(scene, node, found.affine), found.dtype, kind, metadata)
        return dataclasses.replace(header, undecided=found.undecided)


def _inspect_member(scene: Scene, archive: Archive, node: Node) -> ImageHeader:
    """Reads the header of a node's file, which is unpacked as far as its header reaches, if its format allows."""
    member = member_of(scene, archive, node)
    file_name = Path(posixpath.basename(member))
    with archive.open(member) as stream, member_named(file_name.name, scene):
        module = format_of(stream, file_name).load()
        if hasattr(module, "inspect_file") and file_name.suffix.lower() not in _PAIRS:
            return module.inspect_file(stream, file_name)
    with tempfile.TemporaryDirectory(prefix="medjax") as folder:
        file = unpacked(scene, archive, node, Path(folder))
        with member_named(file.name, scene):
            return find_format(file).load().inspect(file)
