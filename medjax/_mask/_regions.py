"""Regions of labels: one channel per class, volumes, bounding boxes and connected components."""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from medjax._geometry._grid import voxel_volume
from medjax._geometry._numbers import is_traced
from medjax._geometry._types import AnyArray, DTypeLike, Leaf
from medjax._image._image import Image, check_image
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import compiled
from medjax._lazy import public
from medjax._mask._voxels import labels_of
from medjax._optional import optional

__all__ = ["BoundingBox", "bounding_box", "connected_components", "label_volumes", "one_hot"]


def one_hot(mask: Image, num_classes: int | None = None, *, dtype: DTypeLike = np.float32) -> Image:
    """Gives every label its own trailing channel: 1 where the voxel has that label, else 0.

    The result is an intensity image, so resampling it gives each class's share of a voxel.

    Args:
        mask: Booleans or integers, any batch, no channels.
        num_classes: `None` marks all voxels that are not 0 and adds no channel. A number gives that many channels:
            channel c is label c, and channel 0 is the background.
        dtype: Dtype of the result.

    Returns:
        `(*batch, i, j, k)` or `(*batch, i, j, k, num_classes)`, same geometry and metadata.

    Raises:
        ValueError: the voxels are not integers, or a label is not within 0 to `num_classes - 1`.

    Transforms:
        `jit`, `vmap`. Compiles once per shape, `num_classes` and dtype. Traced labels out of range give all zeros.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 2, 1]).reshape(3, 1, 1), kind="label")
        >>> mj.one_hot(image, num_classes=3).voxels[:, 0, 0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
        >>> mj.one_hot(image).voxels[:, 0, 0].tolist()
        [0.0, 1.0, 1.0]
    """
    labels = labels_of(mask, num_classes, "one_hot")
    return Image(_one_hot(labels, num_classes, np.dtype(dtype)), mask.affine, "intensity", mask.metadata)


@functools.partial(compiled, static_argnums=(1, 2))
def _one_hot(labels: Int[Array, "*shape"], num_classes: int | None, dtype: Any) -> Array:
    return labels.astype(dtype) if num_classes is None else jax.nn.one_hot(labels, num_classes, dtype=dtype)


def label_volumes(mask: Image, num_classes: int | None = None) -> AnyArray:
    """Returns the volume of a mask, or of every label, in mm3: number of voxels times the volume of one.

    Args:
        mask: Booleans or integers, any batch, no channels.
        num_classes: `None` measures all voxels that are not 0 as one region. A number measures labels 0 to
            `num_classes - 1`; label 0 is the background.

    Returns:
        `(*batch,)` or `(*batch, num_classes)` mm3, the label as last index; float64 NumPy where it is known.

    Raises:
        ValueError: the voxels are not integers, or a label is not within 0 to `num_classes - 1`.

    Transforms:
        `jit`, `vmap`, differentiable in the affine. Compiles once per shape and `num_classes`. Traced labels out of
        range are left out.

    Example:
        >>> mask = mj.Image.from_array(np.array([0, 2, 1, 2]).reshape(4, 1, 1), spacing=(1, 2, 2.5), kind="label")
        >>> float(mj.label_volumes(mask)), mj.label_volumes(mask, num_classes=3).tolist()
        (15.0, [5.0, 5.0, 10.0])
    """
    labels, affine = labels_of(mask, num_classes, "label_volumes"), mask.grid.affine
    counts = _counts(labels, len(mask.batch_shape), num_classes)
    volume = voxel_volume(affine) if num_classes is None else voxel_volume(affine)[..., None]
    if not is_traced(counts, affine):
        return np.asarray(counts, np.float64) * volume
    volume = jnp.asarray(volume, jax.dtypes.canonicalize_dtype(np.float64))
    return counts.astype(volume.dtype) * volume


@functools.partial(compiled, static_argnums=(1, 2))
def _counts(labels: Int[Array, "*shape"], batch_axes: int, classes: int | None) -> Int[Array, "*counts"]:
    def count(item: Int[Array, "i j k"]) -> Int[Array, "*l"]:
        if classes is None:
            return item.sum()
        ids = jnp.where((item >= 0) & (item < classes), item, classes).reshape(-1)
        return jax.ops.segment_sum(jnp.ones_like(ids), ids, classes + 1)[:classes]

    return over_batch(count, batch_axes)(labels)


@public("medjax")
class BoundingBox(NamedTuple):
    """The smallest box of voxels around a mask; `crop(image, *box)` cuts it out.

    Attributes:
        start: First index along each axis, `(*batch, 3)` or `(*batch, num_classes, 3)` int32.
        size: Voxels along each axis, 0 where the mask is empty.

    Example:
        >>> image = mj.Image.from_array(np.arange(24).reshape(2, 3, 4) > 20)
        >>> start, size = box = mj.bounding_box(image)
        >>> start.tolist(), size.tolist(), mj.crop(image, *box).shape
        ([1, 2, 1], [1, 1, 3], (1, 1, 3))
    """

    start: Leaf
    size: Leaf


jax.export.register_namedtuple_serialization(BoundingBox, serialized_name="medjax.BoundingBox")


def bounding_box(mask: Image, *, num_classes: int | None = None) -> BoundingBox:
    """Returns the smallest box of voxels that holds a mask, or each label.

    Args:
        mask: Booleans or integers, any batch, no channels.
        num_classes: `None` gives one box for all voxels that are not 0. A number gives a box for each label 0 to
            `num_classes - 1`.

    Returns:
        First index and size; NumPy where they are known. An empty mask, or a label that does not occur, has start and
        size 0.

    Raises:
        ValueError: the voxels are not integers, or a label is not within 0 to `num_classes - 1`.

    Transforms:
        `jit`, `vmap`. Compiles once per shape and `num_classes`.

    Example:
        >>> voxels = np.zeros((5, 5, 5), np.uint8)
        >>> voxels[1:3, 2, 2:5] = 1
        >>> start, size = mj.bounding_box(mj.Image.from_array(voxels, kind="label"))
        >>> start.tolist(), size.tolist()
        ([1, 2, 2], [2, 1, 3])
    """
    labels = labels_of(mask, num_classes, "bounding_box")
    start, size = _boxes(labels, len(mask.batch_shape), num_classes)
    return BoundingBox(np.asarray(start), np.asarray(size)) if not is_traced(start) else BoundingBox(start, size)


@functools.partial(compiled, static_argnums=(1, 2))
def _boxes(labels: Int[Array, "*shape"], batch_axes: int, classes: int | None) -> tuple[Array, Array]:
    def boxes(item: Int[Array, "i j k"]) -> tuple[Array, Array]:
        if classes is None:
            return _box(item != 0)
        return jax.lax.map(lambda label: _box(item == label), jnp.arange(classes, dtype=item.dtype))

    return over_batch(boxes, batch_axes)(labels)


def _box(inside: Bool[Array, "i j k"]) -> tuple[Int[Array, " 3"], Int[Array, " 3"]]:
    occupied = [inside.any(tuple({0, 1, 2} - {axis})) for axis in range(3)]
    start = jnp.stack([line.argmax() for line in occupied]).astype(jnp.int32)
    stop = jnp.stack([line.size - line[::-1].argmax() for line in occupied]).astype(jnp.int32)
    return start, jnp.where(occupied[0].any(), stop - start, 0)


def connected_components(mask: Image, *, connectivity: Literal[6, 18, 26] = 6) -> Image:
    """Numbers the connected parts of a mask from 1, the largest first; 0 is the background.

    It runs on the host, by `scipy.ndimage.label`. Parts of one size keep the order in which a scan meets them (last
    axis fastest).

    Args:
        mask: Booleans or integers; all voxels that are not 0 are one region. Any batch, no channels.
        connectivity: 6 makes neighbours of voxels that share a face (the default of SimpleITK and SciPy), 18 also of
            those that share an edge, 26 also of those that share a corner.

    Returns:
        A label image, int32, with the same geometry and metadata. The largest label is the number of parts.

    Raises:
        ValueError: the mask is traced or holds fractions, or the connectivity is unknown.
        ImportError: SciPy is not installed.

    Transforms:
        None: host only.

    Example:
        >>> image = mj.Image.from_array(np.array([1, 0, 1, 1, 0]).reshape(5, 1, 1), kind="label")
        >>> mj.connected_components(image).voxels[:, 0, 0].tolist()
        [2, 0, 1, 1, 0]
    """
    check_image(mask, "mask")
    if connectivity not in (6, 18, 26):
        raise ValueError(f"connectivity must be 6, 18 or 26 neighbours, got {connectivity}")
    if is_traced(mask.voxels):
        raise ValueError("connected_components runs on the host: call it outside jit, vmap and grad")
    ndimage = optional("scipy.ndimage", "connected_components")
    inside = np.asarray(labels_of(mask, None, "connected_components"))
    neighbours = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    parts = [_by_size(*ndimage.label(item, neighbours)) for item in inside.reshape(-1, *mask.shape)]
    return Image(np.stack(parts).reshape(inside.shape), mask.affine, "label", mask.metadata)


def _by_size(parts: np.ndarray, count: int) -> np.ndarray:
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    number = np.zeros(count + 1, np.int32)
    number[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    return number[parts]
