"""Boxes of an image that are blanked, exchanged, or taken from another item."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import PerItem, Points, StaticSize
from medjax._image._checks import check_choice, three_integers
from medjax._image._image import Image
from medjax._image._per_item import as_array
from medjax._intensity._parameters import ANY, Limits, amount_for, voxels_of
from medjax._intensity._statistics import moments, selected
from medjax._kernels._batch import by_item
from medjax._kernels._compiled import compiled
from medjax._kernels._values import as_float

__all__ = ["box_mask", "boxes_for", "cutout", "swap_boxes", "with_holes"]


def cutout(image: Image, start: Points, size: Points, *, fill: Literal["mean"] | PerItem = "mean") -> Image:
    """Blanks boxes of an image.

    A voxel belongs to a box where `start <= index < start + size` along i, j and k.

    Args:
        image: Intensities, any batch, any channels.
        start: First corner of each box, an index, `(m, 3)`; `(*batch, m, 3)` per item, `(c, m, 3)` per channel: the
            axes before the last two broadcast to `(*batch, *channels)`. Parts of a box may lie outside the image.
        size: Voxels along each axis of a box, 0 or more, likewise; a box without voxels changes nothing, to the bit.
        fill: "mean" for the mean of the item's channel over its finite voxels; or one number, or what broadcasts to
            `(*batch, *channels)`.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels, the boxes have other shapes, a size is negative, or the fill is unknown.

    Transforms:
        Differentiable in the voxels and `fill`. `start` and `size` may be traced. Compiles once per shape, dtype and
        number of boxes.

    Example:
        >>> image = mj.Image.from_array(np.arange(5, dtype=np.int16).reshape(5, 1, 1))
        >>> mj.cutout(image, [[1, 0, 0]], [[2, 1, 1]], fill=-1.0).voxels.ravel().tolist()
        [0.0, -1.0, -1.0, 3.0, 4.0]

    Source: DeVries and Taylor, Improved regularization of convolutional neural networks with cutout, 2017.
    """
    voxels = voxels_of(image, "cutout")
    corners, sizes = boxes_for(image, start, "start"), boxes_for(image, size, "size", Limits(least=0))
    if corners.shape[-2] != sizes.shape[-2]:
        raise ValueError(f"start and size must be of as many boxes, got {corners.shape[-2]} and {sizes.shape[-2]}")
    if isinstance(fill, str):
        check_choice(fill, "fill", ("mean",))
    value = amount_for(image, 0.0 if isinstance(fill, str) else fill, "fill")
    return image.with_voxels(
        _cut(voxels, corners, sizes, value, depth=len(image.batch_shape), is_mean=isinstance(fill, str))
    )


def boxes_for(image: Image, value: Any, name: str, limits: Limits = ANY, *, per_channel: bool = True) -> Any:
    """Reads corners or sizes of boxes, `(..., m, 3)`, as `amount_for` does."""
    array = as_array(value, name)
    if array.ndim < 2 or array.shape[-1] != 3:
        raise ValueError(
            f"{name} must be (..., m, 3), three numbers for each of m boxes; got shape {tuple(array.shape)}"
        )
    return amount_for(image, array, name, limits, tail=tuple(array.shape[-2:]), per_channel=per_channel)


@functools.partial(compiled, static_argnames=("depth", "is_mean"))
def _cut(
    voxels: Shaped[Array, "*shape"],
    start: Num[Array, "*start"],
    size: Num[Array, "*size"],
    fill: Num[Array, "*fill"],
    depth: int,
    is_mean: bool,
) -> Float[Array, "*shape"]:
    return by_item(functools.partial(with_holes, is_mean=is_mean), depth)(voxels, start, size, fill)


def with_holes(voxels: Any, start: Any, size: Any, fill: Any, *, is_mean: bool) -> Any:
    """The voxels of one item; the boxes are `(1, 1, 1, *channels, m, 3)`, the fill is `(1, 1, 1, *channels)`."""
    x = as_float(voxels)
    value = moments(x, x, selected(voxels, None, (0, 1, 2))[0]).mean if is_mean else fill.astype(x.dtype)
    return jnp.where(box_mask(x.shape, start, size), value, x)


def box_mask(shape: Any, start: Any, size: Any) -> Any:
    """Whether the voxels of one item `(i, j, k, *channels)` lie in one of the boxes `(1, 1, 1, *channels, m, 3)`."""
    inside: Any = False
    for n in range(start.shape[-2]):
        box: Any = True
        for axis, length in enumerate(shape[:3]):
            index = jnp.arange(length).reshape((1,) * axis + (length,) + (1,) * (len(shape) - axis - 1))
            first, extent = (part[..., n, axis].astype(jnp.float32) for part in (start, size))
            index = index.astype(jnp.float32)
            box = box & (index >= first) & (index < first + extent)
        inside = inside | box
    return inside


def swap_boxes(image: Image, first: Points, second: Points, size: StaticSize) -> Image:
    """Exchanges boxes of an image, pair after pair.

    Args:
        image: Intensities, any batch, any channels, all of which are exchanged alike.
        first: First corner of one box of each pair, an index, `(m, 3)`, or `(*batch, m, 3)` per item.
        second: First corner of the other, likewise. A pair of equal corners changes nothing.
        size: Voxels along each axis of every box, one integer or three; no more than the image has.

    Returns:
        The image with voxels of the same dtype.

    Raises:
        ValueError: the image holds labels, known corners are no whole numbers or lie such that a box leaves the image
            or meets the other of its pair, or the numbers of corners differ.

    Transforms:
        Differentiable in the voxels. `first` and `second` may be traced: then a box that would leave the image is moved
        inside, and of two that meet the second is written first. Compiles once per shape, dtype, size and number of
        pairs.

    Example:
        >>> image = mj.Image.from_array(np.arange(5, dtype=np.int16).reshape(5, 1, 1))
        >>> mj.swap_boxes(image, [[0, 0, 0]], [[3, 0, 0]], (2, 1, 1)).voxels.ravel().tolist()
        [3, 4, 2, 0, 1]

    Source: Chen et al., Self-supervised learning for medical image analysis using image context restoration, Med. Image
    Anal. 58, 2019.
    """
    voxels, sizes = voxels_of(image, "swap_boxes"), three_integers(size, "size", least=1)
    if any(n > m for n, m in zip(sizes, image.shape, strict=True)):
        raise ValueError(f"size must be at most the image's, {image.shape}, got {sizes}")
    pair = [
        boxes_for(image, corner, name, per_channel=False) for corner, name in ((first, "first"), (second, "second"))
    ]
    if pair[0].shape[-2] != pair[1].shape[-2]:
        raise ValueError(f"first and second must be of as many boxes, got {pair[0].shape[-2]} and {pair[1].shape[-2]}")
    for corner, name in zip(pair, ("first", "second"), strict=True):
        if is_traced(corner):
            continue
        if (corner != np.round(corner)).any():
            raise ValueError(f"{name} must be whole numbers, got {corner.tolist()}")
        if (corner < 0).any() or (corner + sizes > np.asarray(image.shape)).any():
            raise ValueError(f"{name}: a box of {sizes} leaves the image of {image.shape}, got {corner.tolist()}")
    if not is_traced(*pair):
        apart = np.abs(pair[0] - pair[1])
        if not ((apart >= np.asarray(sizes)).any(-1) | (apart == 0).all(-1)).all():
            raise ValueError(f"first and second: boxes of {sizes} meet, got {pair[0].tolist()} and {pair[1].tolist()}")
    return image.with_voxels(_swapped(voxels, *pair, depth=len(image.batch_shape), size=sizes))


@functools.partial(compiled, static_argnames=("depth", "size"))
def _swapped(
    voxels: Shaped[Array, "*shape"],
    first: Num[Array, "*first"],
    second: Num[Array, "*second"],
    depth: int,
    size: tuple[int, ...],
) -> Shaped[Array, "*shape"]:
    return by_item(functools.partial(with_swapped, size=size), depth)(voxels, first, second)


def with_swapped(voxels: Any, first: Any, second: Any, *, size: tuple[int, ...]) -> Any:
    """The voxels of one item; the corners are `(1, 1, 1, m, 3)`."""
    rest = voxels.shape[3:]
    corners = [jnp.round(corner[0, 0, 0]).astype(jnp.int32) for corner in (first, second)]

    def swapped(number: Any, voxels: Any) -> Any:
        places = [(*corner[number], *(0,) * len(rest)) for corner in corners]
        one, other = (jax.lax.dynamic_slice(voxels, place, (*size, *rest)) for place in places)
        voxels = jax.lax.dynamic_update_slice(voxels, one, places[1])
        return jax.lax.dynamic_update_slice(voxels, other, places[0])

    return jax.lax.fori_loop(0, corners[0].shape[0], swapped, voxels)
