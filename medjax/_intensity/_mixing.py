"""Items of a batch mixed with their neighbours: the one kind of operation whose result depends on the batch."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._grid import spacing_of
from medjax._geometry._numbers import is_traced
from medjax._geometry._types import PerItem, Points
from medjax._image._image import Image, check_image
from medjax._image._per_item import as_array
from medjax._intensity._boxes import box_mask
from medjax._intensity._parameters import ANY, Limits, amount_for, voxels_of
from medjax._kernels._batch import by_item, keeping_sharding
from medjax._kernels._compiled import compiled, unchanging
from medjax._kernels._values import as_float, exactly
from medjax._mask._regions import one_hot

__all__ = ["cutmix", "mixup"]

# Spacings of two items may differ by this share.
_SAME = 1e-3


def mixup(image: Image, share: PerItem, *, num_classes: int | None = None) -> Image:
    r"""Mixes each item of a batch with the next one, the last with the first.

    The result is $y_i = \lambda_i x_i + (1 - \lambda_i) x_{i + 1}$.

    Geometry and metadata are those of item i. Labels become shares of the classes, one channel each: give both images
    of a pair the same `share`.

    Args:
        image: A batch of intensities or of labels.
        share: $\lambda$, 0 to 1; 1 changes nothing, to the bit: one number, or what broadcasts to `(*batch,
            *channels)`: `(b,)` per item without channels, `(b, 1)` with them. Of labels the classes are the channels.
        num_classes: Number of labels, for a label image.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on); of labels `(*batch, i, j, k, num_classes)`,
        intensities.

    Raises:
        ValueError: there is no batch axis, known spacings of two partners differ by more than a thousandth, `share`
            lies outside 0 to 1 or has another shape, or labels come without `num_classes`, intensities with it.

    Transforms:
        Differentiable in the voxels and `share`. It mixes items, so it does not run under `vmap` over them. Compiles
        once per shape and dtype.

    Example:
        >>> batch = mj.stack([mj.Image.from_array(np.full((1, 1, 1), value)) for value in (0.0, 8.0)])
        >>> mj.mixup(batch, [0.75, 0.5]).voxels.ravel().tolist()
        [2.0, 4.0]

    Source: Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018.
    """
    _check_partners(image, "mixup")
    if image.kind == "label":
        if num_classes is None:
            raise ValueError("mixup of labels needs num_classes: labels become shares of the classes")
        image = one_hot(image, num_classes)
    elif num_classes is not None:
        raise ValueError(f"num_classes is for labels, and this image holds intensities; got {num_classes}")
    weight = amount_for(image, share, "share", Limits(least=0, most=1))
    return image.with_voxels(_mixed(voxels_of(image, "mixup"), weight, depth=len(image.batch_shape)))


def _check_partners(image: Any, operation: str) -> None:
    check_image(image, f"{operation}: the image")
    if not image.batch_shape:
        raise ValueError(f"{operation} mixes the items of a batch, and this image has no batch axis; stack makes one")
    spacing = spacing_of(image.affine)
    if is_traced(spacing) or spacing.ndim < 2:
        return
    other = np.roll(spacing, -1, 0)
    if (np.abs(other - spacing) > _SAME * spacing).any():
        raise ValueError(f"{operation} mixes items of one spacing, got {spacing.tolist()}; resample them first")


@functools.partial(compiled, static_argnames="depth")
def _mixed(voxels: Shaped[Array, "*shape"], share: Num[Array, "*share"], depth: int) -> Float[Array, "*shape"]:
    def mixed(voxels: Any, share: Any) -> Any:
        x, weight = as_float(voxels), share.astype(voxels.dtype if voxels.dtype == jnp.float64 else jnp.float32)
        return exactly(share == 1, x, weight * x + (1 - weight) * jnp.roll(x, -1, 0))

    return keeping_sharding(mixed, depth)(voxels, share)


def cutmix(image: Image, start: Points, size: Points) -> Image:
    """Puts a box of the next item of a batch into each item, of the first into the last.

    Geometry and metadata are those of the item. An image and its labels take the same boxes, so that labels stay whole.

    Args:
        image: A batch of intensities or of labels, any channels.
        start: First corner of the box, an index, `(3,)`, or `(*batch, 3)` per item. Parts of it may lie outside.
        size: Voxels along each axis, 0 or more, likewise; 0 changes nothing.

    Returns:
        The image with voxels of the same dtype and kind.

    Raises:
        ValueError: there is no batch axis, known spacings of two partners differ by more than a thousandth, a size is
            negative, or a shape does not fit.

    Transforms:
        Differentiable in the voxels. `start` and `size` may be traced. It mixes items, so it does not run under `vmap`
        over them. Compiles once per shape and dtype.

    Example:
        >>> batch = mj.stack([mj.Image.from_array(np.full((4, 1, 1), value)) for value in (0, 8)])
        >>> mj.cutmix(batch, (1, 0, 0), (2, 1, 1)).voxels[:, :, 0, 0].tolist()
        [[0, 8, 8, 0], [8, 0, 0, 8]]

    Source: Yun et al., CutMix: regularization strategy to train strong classifiers, ICCV 2019.
    """
    _check_partners(image, "cutmix")
    corner, extent = (
        amount_for(image, as_array(value, name), name, limits, tail=(3,), per_channel=False)
        for value, name, limits in ((start, "start", ANY), (size, "size", Limits(least=0)))
    )
    return image.with_voxels(_pasted(unchanging(image.voxels), corner, extent, depth=len(image.batch_shape)))


@functools.partial(compiled, static_argnames="depth")
def _pasted(
    voxels: Shaped[Array, "*shape"], start: Num[Array, "*start"], size: Num[Array, "*size"], depth: int
) -> Shaped[Array, "*shape"]:
    def pasted(voxels: Any, other: Any, start: Any, size: Any) -> Any:
        mask = box_mask(voxels.shape[:3], start[..., None, :], size[..., None, :])
        return jnp.where(mask.reshape(*mask.shape, *(1,) * (voxels.ndim - 3)), other, voxels)

    def with_partner(voxels: Any, start: Any, size: Any) -> Any:
        return by_item(pasted, depth)(voxels, jnp.roll(voxels, -1, 0), start, size)

    return keeping_sharding(with_partner, depth)(voxels, start, size)
