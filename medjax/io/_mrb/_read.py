"""Reading scenes: each image with its transforms applied."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from medjax._errors import ImageFileError
from medjax._image._image import Image, image_from, locked
from medjax._image._metadata import Metadata
from medjax.io._disk._opened import as_path
from medjax.io._formats import find_format
from medjax.io._mrb._archive import Archive, most_unpacked
from medjax.io._mrb._open import kind_in, member_named, metadata_in, moved, only_node, open_scene, unpacked
from medjax.io._mrb._scene import Node, Scene

__all__ = ["load_mrb", "read"]


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
    with open_scene(path) as (scene, archive):
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
    with open_scene(path) as (scene, archive):
        return _load_node(scene, archive, only_node(scene))


def _load_node(scene: Scene, archive: Archive, node: Node) -> Image:
    scene.world_matrix(node)  # an error comes before anything is unpacked
    with tempfile.TemporaryDirectory(prefix="medjax") as folder:
        file = unpacked(scene, archive, node, Path(folder))
        with member_named(file.name, scene):
            image = find_format(file).load().read(file)
    kind = kind_in(node, image.kind, image.dtype)
    metadata = metadata_in(scene, image.metadata if isinstance(image.metadata, Metadata) else None)
    return image_from(image.voxels, affine=moved(scene, node, image.affine), kind=kind, metadata=metadata)
