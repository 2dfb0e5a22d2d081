"""Contrast and brightness by given parameters: gamma, about the mean, factor and shift."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._types import PerItem
from medjax._image._checks import check_choice
from medjax._image._image import Image
from medjax._intensity._parameters import Limits, amount_for, voxels_of
from medjax._intensity._statistics import extremes, moments, over_finite, selected
from medjax._kernels._batch import by_item
from medjax._kernels._compiled import compiled
from medjax._kernels._values import as_float, exactly

__all__ = ["adjust_brightness", "adjust_contrast", "adjust_gamma", "brightened", "contrasted", "gamma_adjusted"]

SPACE = (0, 1, 2)


def adjust_gamma(image: Image, gamma: PerItem, *, retain_stats: bool = False, invert: bool | PerItem = False) -> Image:
    r"""Bends intensities between their extremes by a power: $y = lo + (hi - lo)\,z^\gamma$, $z = (x - lo) / (hi - lo)$.

    A gamma below 1 brightens what is dark, one above 1 darkens it; the extremes stay. Extremes, mean and standard
    deviation are those of an item's channel over its finite voxels. Voxels that are not finite stay as they are, and so
    does a constant image.

    Args:
        image: Intensities, any batch, any channels, of any sign.
        gamma: Above 0; 1 changes nothing, to the bit: one number, or what broadcasts to `(*batch, *channels)`: `(c,)`
            per channel, `(b, 1)` per item, `(b,)` per item without channels.
        retain_stats: Whether the result is shifted and scaled to the mean and standard deviation of the image.
        invert: Whether the power bends the negative, $1 - (1 - z)^\gamma$, so that a gamma below 1 darkens what is
            bright: one boolean, or what broadcasts as `gamma` does.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels, or gamma is known and not above 0, or of another shape.

    Transforms:
        Differentiable in the voxels and `gamma`, with finite gradients: the derivative of the power at the lowest voxel
        counts as 0. Compiles once per shape and dtype, not per gamma.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 25, 100], np.int16).reshape(3, 1, 1))
        >>> mj.adjust_gamma(image, 0.5).voxels.ravel().tolist()
        [0.0, 50.0, 100.0]
        >>> mj.adjust_gamma(image, 2.0, invert=True).voxels.ravel().tolist()
        [0.0, 43.75, 100.0]

    Source: nnU-Net's gamma transform (Isensee et al., Nature Methods 18, 2021, supplementary note 4).
    """
    voxels = voxels_of(image, "adjust_gamma")
    power, is_inverted = amount_for(image, gamma, "gamma", Limits(above=0)), amount_for(image, invert, "invert")
    depth = len(image.batch_shape)
    return image.with_voxels(_gamma(voxels, power, is_inverted, depth=depth, retain_stats=bool(retain_stats)))


@functools.partial(compiled, static_argnames=("depth", "retain_stats"))
def _gamma(
    voxels: Shaped[Array, "*shape"],
    gamma: Num[Array, "*gamma"],
    invert: Shaped[Array, "*invert"],
    depth: int,
    retain_stats: bool,
) -> Float[Array, "*shape"]:
    return by_item(functools.partial(gamma_adjusted, retain_stats=retain_stats), depth)(voxels, gamma, invert)


def gamma_adjusted(voxels: Any, gamma: Any, invert: Any, *, retain_stats: bool) -> Any:
    """The voxels `(i, j, k, *channels)` of one item; the parameters are `(1, 1, 1, *channels)`."""
    x = as_float(voxels)
    where, _ = selected(voxels, None, SPACE)
    gamma, is_inverted = gamma.astype(x.dtype), invert.astype(bool)
    found = moments(x, x, where) if retain_stats else None
    lowest, highest = (
        found[:2] if found is not None else over_finite(lambda where: extremes(x, where, SPACE), x, where, None)
    )
    known = x if where is None else jnp.where(where, x, lowest)
    width = highest - lowest
    share = jnp.clip((known - lowest) / jnp.where(width > 0, width, 1), 0, 1)
    base = jnp.where(is_inverted, 1 - share, share)
    is_zero = base <= 0
    # As exp and log, which XLA runs on several numbers at once: a third of the time of the power.
    bent = jnp.where(is_zero, 0, jnp.exp(gamma * jnp.log(jnp.where(is_zero, 1, base))))
    y = lowest + width * jnp.where(is_inverted, 1 - bent, bent)
    if found is not None:
        new = moments(y, x, where)
        is_flat = new.deviation == 0
        y = (y - new.mean) * jnp.where(is_flat, 1, found.deviation / jnp.where(is_flat, 1, new.deviation)) + found.mean
    y = exactly((gamma == 1) | (width == 0), known, y)
    return y if where is None else jnp.where(where, y, x)


def adjust_contrast(image: Image, factor: PerItem, *, preserve_range: bool = True) -> Image:
    r"""Spreads intensities about their mean: $y = \bar x + f (x - \bar x)$, limited to the image's own extremes.

    Mean and extremes are those of an item's channel over its finite voxels. Voxels that are not finite stay as they
    are.

    Args:
        image: Intensities, any batch, any channels.
        factor: 1 changes nothing, to the bit; 0 leaves the mean: one number, or what broadcasts to `(*batch,
            *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without channels.
        preserve_range: Whether the result is limited to the lowest and highest intensity of the image.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels, or the factor is not finite or of another shape.

    Transforms:
        Differentiable in the voxels and `factor`; the gradient is 0 in `factor` where the result is limited. Compiles
        once per shape and dtype, not per factor.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 2, 10], np.int16).reshape(3, 1, 1))
        >>> mj.adjust_contrast(image, 1.5).voxels.ravel().tolist()
        [0.0, 1.0, 10.0]
        >>> mj.adjust_contrast(image, 1.5, preserve_range=False).voxels.ravel().tolist()
        [-2.0, 1.0, 13.0]

    Source: nnU-Net's contrast transform (Isensee et al., Nature Methods 18, 2021, supplementary note 4).
    """
    voxels = voxels_of(image, "adjust_contrast")
    amount, depth = amount_for(image, factor, "factor"), len(image.batch_shape)
    return image.with_voxels(_contrast(voxels, amount, depth=depth, preserve_range=bool(preserve_range)))


@functools.partial(compiled, static_argnames=("depth", "preserve_range"))
def _contrast(
    voxels: Shaped[Array, "*shape"], factor: Num[Array, "*factor"], depth: int, preserve_range: bool
) -> Float[Array, "*shape"]:
    return by_item(functools.partial(contrasted, preserve_range=preserve_range), depth)(voxels, factor)


def contrasted(voxels: Any, factor: Any, *, preserve_range: bool) -> Any:
    """The voxels `(i, j, k, *channels)` of one item; the factor is `(1, 1, 1, *channels)`."""
    x = as_float(voxels)
    where, _ = selected(voxels, None, SPACE)
    found, factor = moments(x, x, where), factor.astype(x.dtype)
    known = x if where is None else jnp.where(where, x, found.mean)
    y = known + (factor - 1) * (known - found.mean)
    if preserve_range:
        y = jnp.minimum(jnp.maximum(y, found.lowest), found.highest)
    y = exactly(factor == 1, known, y)
    return y if where is None else jnp.where(where, y, x)


def adjust_brightness(
    image: Image, factor: PerItem, *, shift: PerItem = 0.0, relative: Literal["std"] | None = None
) -> Image:
    r"""Multiplies intensities and shifts them: $y = f x + b$.

    Args:
        image: Intensities, any batch, any channels.
        factor: One number, or what broadcasts to `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)`
            per item without channels. 1 with a shift of 0 changes nothing, to the bit.
        shift: Added after that, likewise, in the image's unit.
        relative: "std" for a shift in standard deviations of the item's channel over its finite voxels.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). NaN stays NaN.

    Raises:
        ValueError: the image holds labels, a parameter is not finite or of another shape, or `relative` is unknown.

    Transforms:
        Differentiable in the voxels, `factor` and `shift`. Compiles once per shape and dtype.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 2, 10], np.int16).reshape(3, 1, 1))
        >>> mj.adjust_brightness(image, 0.5, shift=3.0).voxels.ravel().tolist()
        [3.0, 4.0, 8.0]

    Source: nnU-Net's brightness transforms (Isensee et al., Nature Methods 18, 2021, supplementary note 4).
    """
    voxels = voxels_of(image, "adjust_brightness")
    if relative is not None:
        check_choice(relative, "relative", ("std",))
    numbers = amount_for(image, factor, "factor"), amount_for(image, shift, "shift")
    return image.with_voxels(_brightness(voxels, *numbers, depth=len(image.batch_shape), relative=relative))


@functools.partial(compiled, static_argnames=("depth", "relative"))
def _brightness(
    voxels: Shaped[Array, "*shape"],
    factor: Num[Array, "*factor"],
    shift: Num[Array, "*shift"],
    depth: int,
    relative: str | None,
) -> Float[Array, "*shape"]:
    return by_item(functools.partial(brightened, relative=relative), depth)(voxels, factor, shift)


def brightened(voxels: Any, factor: Any, shift: Any, *, relative: str | None) -> Any:
    """The voxels `(i, j, k, *channels)` of one item; the parameters are `(1, 1, 1, *channels)`."""
    x = as_float(voxels)
    factor, amount = factor.astype(x.dtype), shift.astype(x.dtype)
    where, _ = selected(voxels, None, SPACE)
    if relative == "std":
        amount = amount * moments(x, x, where).deviation
    known = x if where is None else jnp.where(where, x, 0)  # 0 * inf in the factor's gradient would spoil it
    y = known * factor + amount
    if where is not None:
        y = jnp.where(where, y, x)
    return exactly((factor == 1) & (shift == 0), x, y)
