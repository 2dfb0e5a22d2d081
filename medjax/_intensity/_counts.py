"""Noise of counted photons, and of images that are reconstructed from fewer of them."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, Shaped, UInt32

from medjax._geometry._types import Axis, Key, PerItem
from medjax._image._image import Image
from medjax._image._keys import key_data_for
from medjax._intensity._blur import Smoothing, smoothing_of, smoothing_of_fwhm
from medjax._intensity._kspace import Along, axis_for
from medjax._intensity._noise import with_keys
from medjax._intensity._parameters import Limits, amount_for, voxels_of
from medjax._kernels._axis_matrix import along_axes
from medjax._kernels._batch import keeping_sharding
from medjax._kernels._compiled import compiled
from medjax._kernels._poisson import poisson
from medjax._kernels._random import normal
from medjax._kernels._values import as_float, exactly

__all__ = ["ct_noise", "poisson_noise", "reduce_dose", "with_counts"]


def poisson_noise(key: Key, image: Image, counts: PerItem) -> Image:
    r"""Replaces intensities by counted ones: $y = \mathrm{Poisson}(c\,x) / c$ where $x > 0$.

    The mean stays $x$ and the variance is $x / c$. Voxels that are not above 0, or not finite, stay as they are. This
    is the noise of raw counts; a reconstructed PET image has the noise of `reduce_dose`.

    Args:
        key: A key of `jax.random.key`, or one for each item, as in `gaussian_noise`.
        image: Intensities, any batch, any channels.
        counts: $c$, counts per unit of the image, above 0; infinitely many change nothing, to the bit: one number, or
            what broadcasts to `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without
            channels.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on), multiples of $1 / c$ where $x > 0$.

    Raises:
        ValueError: the image holds labels, the key is no typed threefry key or has another shape, or `counts` is not
            above 0 or of another shape.

    Transforms:
        The derivative in the voxels is that of the mean, 1. `counts` may be traced and has no gradient. Compiles once
        per shape and dtype. The numbers are Poisson's to a total variation of 0.006.

    Example:
        >>> image = mj.Image.from_array(np.full((64, 64, 4), 10.0, np.float32))
        >>> counted = mj.poisson_noise(jax.random.key(0), image, 2.0).voxels
        >>> round(float(counted.mean())), round(float(counted.var())), bool((counted * 2 % 1 == 0).all())
        (10, 5, True)
    """
    voxels, depth = voxels_of(image, "poisson_noise"), len(image.batch_shape)
    data, scale = (
        key_data_for(key, image.batch_shape),
        amount_for(image, counts, "counts", Limits(above=0, allow_infinite=True)),
    )
    return image.with_voxels(_counted(data, voxels, scale, depth=depth))


@functools.partial(compiled, static_argnames="depth")
def _counted(
    data: UInt32[Array, "*keys 2"], voxels: Shaped[Array, "*shape"], counts: Num[Array, "*counts"], depth: int
) -> Float[Array, "*shape"]:
    return with_keys(with_counts, depth)(data, voxels, counts)


def with_counts(key: Any, voxels: Any, counts: Any) -> Any:
    """The voxels `(i, j, k, *channels)` of one item; `counts` is `(1, 1, 1, *channels)`."""
    x = as_float(voxels)
    is_counted, is_endless = (x > 0) & jnp.isfinite(x), jnp.isinf(counts)
    scale = jnp.where(is_endless, 1, counts).astype(x.dtype)
    mean = jax.lax.stop_gradient(jnp.where(is_counted, x, 0) * scale)
    drawn = jnp.where(is_counted & ~is_endless, poisson(key, mean) / scale, x)
    return exactly(True, jax.lax.stop_gradient(drawn), x)  # the value of the draw, the derivative of its mean


def reduce_dose(key: Key, image: Image, dose: PerItem, *, alpha: PerItem = 0.05, fwhm_mm: PerItem = 5.0) -> Image:
    r"""Adds the noise that a PET image would have at a share of the dose, or of the time.

    $y = x + \sqrt{\alpha\,(1 / d - 1)\,\max(G x, 0)}\;(G n) / \lVert G \rVert$, with $n \sim N(0, 1)$ and the Gaussian
    $G$ of the reconstruction. The variance of a voxel is in proportion to the activity about it, and neighbours are
    correlated as the point spread has it. Voxels that are not finite stay so.

    Args:
        key: A key of `jax.random.key`, or one for each item, as in `gaussian_noise`.
        image: Activity, any batch, any channels.
        dose: $d$, share of the dose, above 0 and at most 1; 1 changes nothing, to the bit: one number, or what
            broadcasts to `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without
            channels.
        alpha: Variance per activity at half the dose, in the image's unit, 0 or more, likewise. The default is
            illustrative: calibrate it by the coefficient of variation in the liver.
        fwhm_mm: Full width at half maximum of $G$ in mm, 0 or more, likewise.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels, the key is no typed threefry key or has another shape, or a parameter is out
            of its limits or of another shape.

    Transforms:
        Differentiable in the voxels, `dose`, `alpha`, `fwhm_mm` and the affine. Compiles as `gaussian_blur` does.

    Example:
        >>> image = mj.Image.from_array(np.full((32, 32, 32), 4.0, np.float32), spacing=2.0)
        >>> quarter = mj.reduce_dose(jax.random.key(0), image, 0.25).voxels
        >>> round(float(quarter.mean()), 1), round(float(quarter.var()), 1)  # 0.05 (4 - 1) 4
        (4.0, 0.6)

    Source: Varga and Szabo, Modified regression model for the Logan plot, J. Cereb. Blood Flow Metab. 22, 2002
    (variance in proportion to activity).
    """
    voxels, depth = voxels_of(image, "reduce_dose"), len(image.batch_shape)
    data = key_data_for(key, image.batch_shape)
    share = amount_for(image, dose, "dose", Limits(above=0, most=1))
    rate = amount_for(image, alpha, "alpha", Limits(least=0))
    return image.with_voxels(_reduced(voxels, data, share, rate, smoothing_of_fwhm(image, fwhm_mm), depth=depth))


@functools.partial(compiled, static_argnames="depth")
def _reduced(
    voxels: Shaped[Array, "*shape"],
    data: UInt32[Array, "*keys 2"],
    dose: Num[Array, "*dose"],
    alpha: Num[Array, "*alpha"],
    smoothing: Smoothing,
    depth: int,
) -> Float[Array, "*shape"]:
    def reduced(voxels: Any, data: Any, dose: Any, alpha: Any, smoothing: Smoothing) -> Any:
        x = as_float(voxels)
        share, rate = dose.astype(x.dtype), alpha.astype(x.dtype)
        matrices = smoothing.matrices(x, depth)
        smooth = along_axes(jnp.where(jnp.isfinite(x), x, 0), matrices, depth)
        variance = rate * (1 / share - 1) * jnp.maximum(smooth, 0)
        is_sure = ~(variance > 0)
        deviation = jnp.where(is_sure, 0, jnp.sqrt(jnp.where(is_sure, 1, variance)))
        return exactly((dose == 1) | (alpha == 0), x, x + deviation * _correlated(data, x, matrices, depth))

    return keeping_sharding(reduced, depth)(voxels, data, dose, alpha, smoothing)


def _correlated(data: Any, x: Any, matrices: list[Any], depth: int) -> Any:
    """Normal noise of variance 1 in every voxel, which neighbours share as rows of the matrices do."""
    white = with_keys(lambda key, voxels: normal(key, voxels.shape, voxels.dtype), depth)(data, x)
    rows = [m if m is None else m / jnp.sqrt((m * m).sum(-1, keepdims=True)) for m in matrices]
    return along_axes(white, rows, depth)


def ct_noise(
    key: Key, image: Image, std: PerItem, *, correlation_mm: PerItem = 0.8, axis: Axis | PerItem = "k"
) -> Image:
    r"""Adds the noise of a CT image: $y = x + s\,(G n) / \lVert G \rVert$, smooth in a slice and white across slices.

    Noise goes with dose and slice thickness as $s \sim (\mathrm{dose} \cdot \mathrm{thickness})^{-1/2}$. Streaks are no
    part of it.

    Args:
        key: A key of `jax.random.key`, or one for each item, as in `gaussian_noise`.
        image: Intensities, any batch, any channels.
        std: Standard deviation $s$ of every voxel in HU, 0 or more; 0 changes nothing, to the bit: one number, or what
            broadcasts to `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without
            channels.
        correlation_mm: Standard deviation of the Gaussian $G$ in the slice, in mm, likewise. The default is
            illustrative.
        axis: The axis across slices, i, j or k; or the numbers 0, 1 and 2, likewise for each item, which may be traced.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). Voxels that are not finite stay so.

    Raises:
        ValueError: the image holds labels, the key is no typed threefry key or has another shape, the axis is unknown,
            or a parameter is negative or of another shape.

    Transforms:
        Differentiable in the voxels, `std`, `correlation_mm` and the affine. Compiles as `gaussian_blur` does.

    Example:
        >>> image = mj.Image.from_array(np.full((32, 32, 16), 40, np.int16), spacing=(0.8, 0.8, 3.0))
        >>> noisy = mj.ct_noise(jax.random.key(0), image, 12.0).voxels
        >>> round(float(noisy.mean())), round(float(noisy.std()))
        (40, 12)
    """
    voxels, depth = voxels_of(image, "ct_noise"), len(image.batch_shape)
    data, amount = key_data_for(key, image.batch_shape), amount_for(image, std, "std", Limits(least=0))
    across = axis_for(image, axis)
    smoothing = smoothing_of(image, correlation_mm, "mm", "correlation_mm")
    return image.with_voxels(_grained(voxels, data, amount, smoothing, across, depth=depth))


@functools.partial(compiled, static_argnames="depth")
def _grained(
    voxels: Shaped[Array, "*shape"],
    data: UInt32[Array, "*keys 2"],
    std: Num[Array, "*std"],
    smoothing: Smoothing,
    across: Along,
    depth: int,
) -> Float[Array, "*shape"]:
    def grained(voxels: Any, data: Any, std: Any, smoothing: Smoothing, across: Along) -> Any:
        x = as_float(voxels)
        matrices = smoothing.matrices(x, depth)
        for a in across.candidates:
            if across.numbers is None:
                matrices[a] = None
            else:
                is_across = across.holds(a, depth)[..., None, None]
                whole = jnp.eye(x.shape[depth + a], dtype=x.dtype)
                matrices[a] = jnp.where(
                    is_across, whole.reshape((1,) * (is_across.ndim - 2) + whole.shape), matrices[a]
                )
        return exactly(std == 0, x, x + std.astype(x.dtype) * _correlated(data, x, matrices, depth))

    return keeping_sharding(grained, depth)(voxels, data, std, smoothing, across)
