"""Noise of magnitude and amplitude images: Gaussian and Rician, each item with a key of its own."""

from __future__ import annotations

import functools
import warnings
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, Shaped, UInt32

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import Key, PerItem
from medjax._image._checks import check_choice
from medjax._image._image import Image
from medjax._image._keys import IMPLEMENTATION, item_keys, key_data_for
from medjax._intensity._parameters import Limits, amount_for, voxels_of
from medjax._intensity._statistics import moments, selected
from medjax._kernels._batch import by_item
from medjax._kernels._compiled import compiled
from medjax._kernels._random import normal
from medjax._kernels._values import as_float, exactly

__all__ = ["gaussian_noise", "rician_noise", "with_gaussian_noise", "with_rician_noise"]

Relative = Literal["std", "max"]


def gaussian_noise(key: Key, image: Image, std: PerItem, *, relative: Relative | None = None) -> Image:
    r"""Adds normal noise: $y = x + s\,n$ with $n \sim N(0, 1)$, independent for each voxel and channel.

    Item $i$ of a batch with one key draws with `jax.random.fold_in(key, i)`. So an item has the same noise, to the bit,
    alone with that key, under `vmap`, and in any batch.

    Args:
        key: A key of `jax.random.key`, or one for each item.
        image: Intensities, any batch, any channels.
        std: Standard deviation $s$, 0 or more; 0 changes nothing, to the bit: one number, or what broadcasts to
            `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without channels.
        relative: The unit of `std`: the image's own by default, "std" for the standard deviation or "max" for the
            highest intensity of the item's channel over its finite voxels.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). Voxels that are not finite stay so.

    Raises:
        ValueError: the image holds labels, the key is no typed threefry key or has another shape, `std` is known and
            negative, or `relative` is unknown.

    Transforms:
        Differentiable in the voxels and `std`. Compiles once per shape and dtype, not per key or `std`.

    Example:
        >>> image = mj.Image.from_array(np.full((64, 64, 4), 100.0, np.float32))
        >>> noisy = mj.gaussian_noise(jax.random.key(0), image, 5.0).voxels
        >>> round(float(noisy.mean())), round(float(noisy.std()))
        (100, 5)
    """
    voxels, depth = voxels_of(image, "gaussian_noise"), len(image.batch_shape)
    data, amount = key_data_for(key, image.batch_shape), amount_for(image, std, "std", Limits(least=0))
    if relative is not None:
        check_choice(relative, "relative", get_args(Relative))
    return image.with_voxels(_gaussian(data, voxels, amount, depth=depth, relative=relative))


@functools.partial(compiled, static_argnames=("depth", "relative"))
def _gaussian(
    data: UInt32[Array, "*keys 2"],
    voxels: Shaped[Array, "*shape"],
    std: Num[Array, "*std"],
    depth: int,
    relative: str | None,
) -> Float[Array, "*shape"]:
    return with_keys(functools.partial(with_gaussian_noise, relative=relative), depth)(data, voxels, std)


def with_keys(core: Any, depth: int) -> Any:
    """Maps `core(key, voxels, *parameters)` of one item over a batch, each item with its key."""

    def of_item(voxels: Any, data: Any, *parameters: Any) -> Any:
        return core(jax.random.wrap_key_data(data, impl=IMPLEMENTATION), voxels, *parameters)

    def mapped(data: Any, voxels: Any, *parameters: Any) -> Any:
        return by_item(of_item, depth)(voxels, item_keys(data, voxels.shape[:depth]), *parameters)

    return mapped


def with_gaussian_noise(key: Any, voxels: Any, std: Any, *, relative: str | None) -> Any:
    """The voxels `(i, j, k, *channels)` of one item; `std` is `(1, 1, 1, *channels)`."""
    x = as_float(voxels)
    amount = _amount(x, voxels, std, relative)
    return exactly(std == 0, x, x + amount * normal(key, x.shape, x.dtype))


def _amount(x: Any, voxels: Any, std: Any, relative: str | None) -> Any:
    """The standard deviation in the image's unit."""
    if relative is None:
        return std.astype(x.dtype)
    found = moments(x, x, selected(voxels, None, (0, 1, 2))[0])
    return std.astype(x.dtype) * (found.deviation if relative == "std" else found.highest)


def rician_noise(key: Key, image: Image, std: PerItem, *, relative: Relative | None = None) -> Image:
    r"""Adds the noise of MR magnitude images: $y = \sqrt{(x + s\,n_1)^2 + (s\,n_2)^2}$, $n_1, n_2 \sim N(0, 1)$.

    The image is taken for a magnitude, which has no negative voxels. Where $x \gg s$ the noise is nearly normal; in air
    it has Rayleigh's distribution of mean $1.253 s$.

    Args:
        key: A key of `jax.random.key`, or one for each item, as in `gaussian_noise`.
        image: Magnitudes, any batch, any channels.
        std: Standard deviation $s$ of the real and of the imaginary part, 0 or more; 0 changes nothing, to the bit: one
            number, or what broadcasts to `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item
            without channels.
        relative: The unit of `std`: the image's own by default, "std" for the standard deviation or "max" for the
            highest intensity of the item's channel over its finite voxels.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on), none of them negative but where `std` is 0.
        Voxels that are not finite stay so.

    Raises:
        ValueError: the image holds labels, the key is no typed threefry key or has another shape, `std` is known and
            negative, or `relative` is unknown.

    Warns:
        UserWarning: the voxels are known and some are negative: they become positive.

    Transforms:
        Differentiable in the voxels and `std`. Compiles once per shape and dtype, not per key or `std`.

    Example:
        >>> air = mj.Image.from_array(np.zeros((64, 64, 4), np.float32))
        >>> noisy = mj.rician_noise(jax.random.key(0), air, 10.0).voxels
        >>> round(float(noisy.mean()) / 10, 1), bool((noisy >= 0).all())
        (1.3, True)

    Source: Gudbjartsson and Patz, The Rician distribution of noisy MRI data, Magn. Reson. Med. 34, 1995, equation 1.
    """
    voxels, depth = voxels_of(image, "rician_noise"), len(image.batch_shape)
    data, amount = key_data_for(key, image.batch_shape), amount_for(image, std, "std", Limits(least=0))
    if relative is not None:
        check_choice(relative, "relative", get_args(Relative))
    out, lowest = _rician(data, voxels, amount, depth=depth, relative=relative)
    if not is_traced(lowest) and lowest < 0:
        warnings.warn(
            f"rician_noise takes magnitudes, and the lowest voxel is {float(lowest):g}: negative voxels become "
            f"positive; "
            f"use gaussian_noise, or shift the image first",
            UserWarning,
            stacklevel=2,
        )
    return image.with_voxels(out)


@functools.partial(compiled, static_argnames=("depth", "relative"))
def _rician(
    data: UInt32[Array, "*keys 2"],
    voxels: Shaped[Array, "*shape"],
    std: Num[Array, "*std"],
    depth: int,
    relative: str | None,
) -> tuple[Float[Array, "*shape"], Shaped[Array, ""]]:
    out = with_keys(functools.partial(with_rician_noise, relative=relative), depth)(data, voxels, std)
    return out, jnp.minimum(as_float(voxels), 0).min(where=jnp.isfinite(as_float(voxels)), initial=0)


def with_rician_noise(key: Any, voxels: Any, std: Any, *, relative: str | None) -> Any:
    """The voxels `(i, j, k, *channels)` of one item; `std` is `(1, 1, 1, *channels)`."""
    x = as_float(voxels)
    amount = _amount(x, voxels, std, relative)
    noise = amount[None] * normal(key, (2, *x.shape), x.dtype)
    squared = (x + noise[0]) ** 2 + noise[1] ** 2
    is_zero = squared == 0
    magnitude = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squared)))  # no NaN in the gradient at 0
    return exactly(std == 0, x, magnitude)
