"""Images made of labels."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, UInt32

from medjax._geometry._types import Key, PerItem
from medjax._image._image import Image
from medjax._image._keys import key_data_for
from medjax._image._per_item import as_array
from medjax._intensity._noise import with_keys
from medjax._intensity._parameters import ANY, Limits, amount_for
from medjax._kernels._compiled import compiled
from medjax._kernels._random import normal
from medjax._mask._voxels import labels_of

__all__ = ["labels_to_image", "painted"]


def labels_to_image(key: Key, labels: Image, mean: PerItem, std: PerItem) -> Image:
    r"""Draws an image of labels: $y = \mu_L + \sigma_L n$ with $n \sim N(0, 1)$ for the label $L$ of each voxel.

    Args:
        key: A key of `jax.random.key`, or one for each item, as in `gaussian_noise`.
        labels: Integers from 0 on, any batch, no channels.
        mean: $\mu$ of label 0, 1, ..., `(num_classes,)`, or `(*batch, num_classes)` per item.
        std: $\sigma$ of each label, 0 or more, likewise; 0 for labels without noise.

    Returns:
        An intensity image with float32 voxels, of the same geometry and metadata.

    Raises:
        ValueError: the labels are no integers or have channels, a known label has no mean, the key is no typed threefry
            key or has another shape, or means and deviations differ in number.

    Transforms:
        Differentiable in `mean` and `std`. A traced label that has no mean takes that of the nearest. Compiles once per
        shape, dtype and number of labels.

    Example:
        >>> labels = mj.Image.from_array(np.array([0, 1, 2]).reshape(3, 1, 1), kind="label")
        >>> mj.labels_to_image(jax.random.key(0), labels, [0.0, 40.0, 90.0], [0.0, 0.0, 0.0]).voxels.ravel().tolist()
        [0.0, 40.0, 90.0]

    Source: Billot et al., SynthSeg, Med. Image Anal. 86, 2023, section 3.2.
    """
    means = as_array(mean, "mean")
    if not means.ndim:
        raise ValueError(f"mean must be (..., num_classes), one number for each label, got {mean!r}")
    numbers = labels_of(labels, int(means.shape[-1]), "labels_to_image")
    tables = [
        amount_for(labels, value, name, limits, tail=tuple(means.shape[-1:]))
        for value, name, limits in ((means, "mean", ANY), (std, "std", Limits(least=0)))
    ]
    out = _painted(key_data_for(key, labels.batch_shape), numbers, *tables, depth=len(labels.batch_shape))
    return Image(out, labels.affine, "intensity", labels.metadata)


@functools.partial(compiled, static_argnames="depth")
def _painted(
    data: UInt32[Array, "*keys 2"],
    labels: Int[Array, "*shape"],
    mean: Num[Array, "*mean"],
    std: Num[Array, "*std"],
    depth: int,
) -> Float[Array, "*shape"]:
    return with_keys(painted, depth)(data, labels, mean, std)


def painted(key: Any, labels: Any, mean: Any, std: Any) -> Any:
    """The labels `(i, j, k)` of one item; the tables are `(1, 1, 1, num_classes)`."""
    dtype = jnp.promote_types(jnp.result_type(mean, std), jnp.float32)
    mu, sigma = (jnp.take(table[0, 0, 0].astype(dtype), labels, mode="clip") for table in (mean, std))
    return mu + sigma * normal(key, labels.shape, dtype)
