"""Smooth multiplicative fields, as receive coils leave them in MR images."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._types import Voxels
from medjax._image._image import Image
from medjax._image._per_item import as_array
from medjax._intensity._parameters import amount_for, voxels_of
from medjax._kernels._batch import by_item
from medjax._kernels._compiled import compiled
from medjax._kernels._lattice_field import lattice_field, legendre_basis, separable_field
from medjax._kernels._values import as_float, exactly

__all__ = ["bias_field", "bias_lattice", "with_bias", "with_bias_lattice"]


def bias_field(image: Image, coefficients: Voxels) -> Image:
    r"""Multiplies by a smooth field: $y = x \exp(f - \bar f)$ with $f = \sum_{abc} c_{abc} P_a(u) P_b(v) P_c(w)$.

    $P_a$ is Legendre's polynomial of degree $a$, and $u$, $v$, $w$ run from -1 at the first voxel of an axis to 1 at
    the last. The sum is that of `numpy.polynomial.legendre.leggrid3d`. Its mean $\bar f$ over the grid is taken off, so
    that the field's geometric mean is 1, and $c_{000}$ does nothing.

    Args:
        image: Intensities, any batch, any channels.
        coefficients: $c$, `(p, q, r)` for degrees below p, q and r; `(*batch, p, q, r)` per item, `(c, p, q, r)` per
            channel: the axes before the last three broadcast to `(*batch, *channels)`. All 0 changes nothing, to the
            bit.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). Voxels that are not finite stay so.

    Raises:
        ValueError: the image holds labels, or the coefficients are not finite or have fewer than three axes.

    Transforms:
        Differentiable in the voxels and `coefficients`. Compiles once per shape, dtype and number of coefficients.

    Example:
        >>> image = mj.Image.from_array(np.full((3, 1, 1), 10.0))
        >>> along_i = np.zeros((2, 1, 1))
        >>> along_i[1] = np.log(2)
        >>> mj.bias_field(image, along_i).voxels.ravel().round(4).tolist()
        [5.0, 10.0, 20.0]

    Source: Sudre, Cardoso and Ourselin, Longitudinal segmentation of age-related white matter hyperintensities, Med.
    Image Anal. 38, 2017 (a polynomial in the logarithm); Legendre's basis as in MONAI.
    """
    voxels = voxels_of(image, "bias_field")
    numbers = _cube(image, coefficients, "coefficients", 1)
    return image.with_voxels(_biased(voxels, numbers, depth=len(image.batch_shape), is_lattice=False))


def bias_lattice(image: Image, control_points: Voxels) -> Image:
    r"""Multiplies by a smooth field of control points: $y = x \exp(u)$ with the cubic B-spline $u$ of the points.

    The points of an axis are `n / (m - 3)` voxels apart for m points and n voxels. They cover the field of view, and
    one lies outside it on each side, as in ITK's B-spline transform with a mesh of `m - 3` cells.

    Args:
        image: Intensities, any batch, any channels.
        control_points: Logarithms of the gain, `(p, q, r)`, at least 4 an axis; `(*batch, p, q, r)` per item, `(c, p,
            q, r)` per channel: the axes before the last three broadcast to `(*batch, *channels)`. All 0 changes
            nothing, to the bit.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). Voxels that are not finite stay so.

    Raises:
        ValueError: the image holds labels, or the points are not finite, have fewer than three axes or are fewer than
            4.

    Transforms:
        Differentiable in the voxels and `control_points`. Compiles once per shape, dtype and number of points.

    Example:
        >>> image = mj.Image.from_array(np.full((2, 2, 2), 10.0))
        >>> mj.bias_lattice(image, np.full((4, 4, 4), np.log(1.5))).voxels[0, 0].round(4).tolist()
        [15.0, 15.0]

    Source: Billot et al., SynthSeg, Med. Image Anal. 86, 2023 (a small lattice of normal numbers in the logarithm; it
    interpolates linearly).
    """
    voxels = voxels_of(image, "bias_lattice")
    numbers = _cube(image, control_points, "control_points", 4)
    return image.with_voxels(_biased(voxels, numbers, depth=len(image.batch_shape), is_lattice=True))


def _cube(image: Image, values: Any, name: str, least: int) -> Any:
    array = as_array(values, name)
    tail = tuple(array.shape[-3:])
    if array.ndim < 3 or min(tail) < least:
        wanted = f"(..., p, q, r) with at least {least} along each of the last three axes"
        raise ValueError(f"{name} must be {wanted}, got shape {tuple(array.shape)}")
    return amount_for(image, array, name, tail=tail)


def _kernel(
    voxels: Shaped[Array, "*shape"], numbers: Num[Array, "*numbers"], depth: int, is_lattice: bool
) -> Float[Array, "*shape"]:
    return by_item(with_bias_lattice if is_lattice else with_bias, depth)(voxels, numbers)


_biased = compiled(_kernel, static_argnames=("depth", "is_lattice"))


def with_bias(voxels: Any, coefficients: Any) -> Any:
    """The voxels `(i, j, k, *channels)` of one item; the coefficients are `(1, 1, 1, *channels, p, q, r)`."""
    x = as_float(voxels)
    numbers = jnp.moveaxis(coefficients[0, 0, 0].astype(x.dtype), (-3, -2, -1), (0, 1, 2))
    bases = [legendre_basis(n, m) for n, m in zip(x.shape[:3], numbers.shape[:3], strict=True)]
    means = [basis.mean(0, keepdims=True) for basis in bases]
    numbers = numbers.at[0, 0, 0].set(0)
    field = separable_field(numbers, bases) - separable_field(numbers, means)
    return _multiplied(x, field, numbers)


def with_bias_lattice(voxels: Any, control: Any) -> Any:
    """The voxels `(i, j, k, *channels)` of one item; the points are `(1, 1, 1, *channels, p, q, r)`."""
    x = as_float(voxels)
    numbers = jnp.moveaxis(control[0, 0, 0].astype(x.dtype), (-3, -2, -1), (0, 1, 2))
    return _multiplied(x, lattice_field(numbers, x.shape[:3]), numbers)


def _multiplied(x: Any, field: Any, numbers: Any) -> Any:
    is_finite = jnp.isfinite(x)
    y = jnp.where(is_finite, jnp.where(is_finite, x, 0) * jnp.exp(field), x)  # no 0 * inf in the gradient
    return exactly((numbers == 0).all((0, 1, 2), keepdims=True), x, y)
