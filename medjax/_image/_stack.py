"""Images stacked into a batch, and a batch split into images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from medjax._image._image import Image, affine_on_host, as_images, check_image

__all__ = ["stack", "unstack"]


def stack(images: Sequence[Image]) -> Image:
    """Stacks images of one shape and kind into a batch; each item keeps its own geometry and metadata.

    Args:
        images: At least one image, single (not batched), all of one shape, dtype, number of channels and kind.

    Returns:
        An image with voxels `(b, i, j, k, *channels)`, affine `(b, 4, 4)` and a tuple of metadata.

    Raises:
        ValueError: nothing to stack, an item is itself a batch, or the items differ in shape, dtype or kind.

    Example:
        >>> images = [mj.Image.from_array(np.full((2, 2, 2), v), spacing=s) for v, s in ((0.0, 1), (1.0, 3))]
        >>> batch = mj.stack(images)
        >>> batch.batch_shape, batch.shape, batch.spacing.tolist()
        ((2,), (2, 2, 2), [[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]])
    """
    if isinstance(images, Image):
        raise ValueError("stack takes several images, got one; a list makes a batch of one, stack([image])")
    images = as_images(images)
    if not images:
        raise ValueError("stack needs at least one image, got none")
    first = images[0]
    for number, image in enumerate(images):
        if image.batch_shape:
            raise ValueError(f"image {number} is a batch of shape {image.batch_shape}; unstack it first")
        found, wanted = (image.voxels.shape, image.dtype, image.kind), (first.voxels.shape, first.dtype, first.kind)
        if found != wanted:
            raise ValueError(
                f"image {number} has shape, dtype and kind {found}, image 0 has {wanted}; bring them to one grid first "
                "(crop_or_pad)"
            )
    xp = np if all(isinstance(image.voxels, np.ndarray) for image in images) else jax.numpy
    affines = [affine_on_host(image.affine) for image in images]
    xa = np if all(isinstance(affine, np.ndarray) for affine in affines) else jax.numpy
    known: Any = tuple(image.metadata for image in images)
    metadata = known if any(item is not None for item in known) else None
    return Image(xp.stack([image.voxels for image in images]), xa.stack(affines), first.kind, metadata)


def unstack(batch: Image) -> list[Image]:
    """Splits a batch along its first axis into images, as the reverse of `stack`.

    Args:
        batch: An image with at least one batch axis.

    Returns:
        One image for each item, with its own geometry and metadata.

    Raises:
        ValueError: the image is not a batch.

    Example:
        >>> batch = mj.stack([mj.Image.from_array(np.full((2, 2, 2), v)) for v in (0.0, 1.0)])
        >>> [float(image.voxels.mean()) for image in mj.unstack(batch)]
        [0.0, 1.0]
    """
    check_image(batch, "batch")
    if not batch.batch_shape:
        raise ValueError("unstack needs a batch; this image has no batch axis")
    affine, count = affine_on_host(batch.affine), batch.batch_shape[0]
    metadata = batch.metadata if isinstance(batch.metadata, tuple) else (batch.metadata,) * count
    return [Image(batch.voxels[n], affine[n], batch.kind, metadata[n]) for n in range(count)]
