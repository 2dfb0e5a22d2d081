"""Smoothing: Gaussian in mm, and the median of a neighbourhood."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._grid import spacing_of
from medjax._geometry._numbers import is_traced, together
from medjax._geometry._types import PerItem, StaticSize, Unit
from medjax._image._checks import check_choice, three_integers
from medjax._image._image import Image
from medjax._image._per_item import aligned, as_array
from medjax._intensity._parameters import amount_for, voxels_of
from medjax._kernels._axis_matrix import TRUNCATE, along_axes, gaussian_matrix
from medjax._kernels._batch import keeping_sharding
from medjax._kernels._compiled import compiled
from medjax._kernels._values import as_float, exactly

__all__ = [
    "Smoothing",
    "blur_psf",
    "gaussian_blur",
    "median_filter",
    "ordered",
    "smoothing_of",
    "smoothing_of_fwhm",
    "unsharp",
]

SIGMA_OF_FWHM = 1 / np.sqrt(8 * np.log(2))

# Repeats of an axis and its mirror image on either side: for a traced sigma, and the most for any sigma.
_TRACED_PERIODS, _MOST_PERIODS = 4, 64


def gaussian_blur(image: Image, sigma: PerItem, *, unit: Unit = "mm") -> Image:
    r"""Smooths with a Gaussian, $\exp(-d^2 / 2 \sigma^2)$ of the distance along each axis, cut off at $4 \sigma$.

    The result is that of `scipy.ndimage.gaussian_filter` with `mode="reflect"`, `truncate=4` and sigma / spacing
    voxels. The kernel has `2 int(4 sigma + 0.5) + 1` voxels and sums to 1. It runs along the image's own axes, with the
    same length in mm along each. An axis of one voxel stays as it is.

    Args:
        image: Intensities, any batch, any channels.
        sigma: Standard deviation, 0 or more: one number, or an array that broadcasts to `(*batch, *channels)`: `(c,)`
            per channel, `(b, 1)` per item, `(b,)` per item without channels. The full width at half maximum is 2.355
            sigma.
        unit: "mm", or "voxel" for voxels along each axis.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). NaN and infinity reach as far as the kernel.

    Raises:
        ValueError: the image holds labels, sigma is negative, not finite or of another shape, or the unit is unknown.

    Transforms:
        Differentiable in voxels, `sigma` and the affine; the kernel's end has no derivative. Compiles once per shape
        and dtype, not per sigma, as long as sigma does not exceed half the length of an axis. A traced sigma above
        twice the length of an axis is replaced by that length: both give the mean of the line to a thousandth.

    Example:
        >>> image = mj.Image.from_array(np.eye(1, 5).reshape(5, 1, 1), spacing=(2, 1, 1))
        >>> [round(float(x), 3) for x in mj.gaussian_blur(image, 2.0).voxels.ravel()]
        [0.641, 0.296, 0.058, 0.005, 0.0]
    """
    voxels, smoothing = voxels_of(image, "gaussian_blur"), smoothing_of(image, sigma, unit)
    return image.with_voxels(_blurred(voxels, smoothing, len(image.batch_shape)))


def blur_psf(image: Image, fwhm_mm: PerItem) -> Image:
    r"""Smooths with a Gaussian of given full width at half maximum, as a scanner's point spread does.

    This is `gaussian_blur` with $\sigma = \mathrm{fwhm} / 2\sqrt{2 \ln 2}$. An image of resolution $f$ gets the
    resolution $t$ by a width of $\sqrt{t^2 - f^2}$: so the scans of several scanners are brought to one resolution.

    Args:
        image: Intensities, any batch, any channels.
        fwhm_mm: Full width at half maximum in mm, 0 or more: one number, or an array that broadcasts to `(*batch,
            *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without channels.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels, or the width is negative, not finite or of another shape.

    Transforms:
        As `gaussian_blur`.

    Example:
        >>> point = mj.Image.from_array(np.eye(1, 9, 4).reshape(9, 1, 1))
        >>> found = mj.blur_psf(point, 4.0).voxels.ravel()
        >>> round(float(found[2] / found[4]), 3)  # two voxels of 1 mm from the centre
        0.5
    """
    voxels = voxels_of(image, "blur_psf")
    return image.with_voxels(_blurred(voxels, smoothing_of_fwhm(image, fwhm_mm), len(image.batch_shape)))


def unsharp(image: Image, amount: PerItem, sigma: PerItem, *, unit: Unit = "mm") -> Image:
    r"""Sharpens by an unsharp mask: $y = x + a\,(x - G_\sigma x)$, with the Gaussian of `gaussian_blur`.

    Args:
        image: Intensities, any batch, any channels.
        amount: $a$; 0 changes nothing, to the bit, and -1 blurs: one number, or an array that broadcasts to
            `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without channels.
        sigma: Standard deviation of the Gaussian, 0 or more, likewise.
        unit: Of sigma: "mm", or "voxel" for voxels along each axis.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). NaN and infinity reach as far as the kernel.

    Raises:
        ValueError: the image holds labels, sigma is negative, a parameter is not finite or of another shape, or the
            unit is unknown.

    Transforms:
        Differentiable in voxels, `amount`, `sigma` and the affine. Compiles as `gaussian_blur` does.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 0, 0, 8, 8, 8], np.int16).reshape(6, 1, 1))
        >>> [round(float(x), 2) for x in mj.unsharp(image, 1.0, 0.5).voxels.ravel()]
        [0.0, -0.0, -0.85, 8.85, 8.0, 8.0]

    Source: Gonzalez and Woods, Digital Image Processing, 4th edition, equations 3-64 and 3-65.
    """
    voxels, smoothing = voxels_of(image, "unsharp"), smoothing_of(image, sigma, unit)
    share = amount_for(image, amount, "amount")
    return image.with_voxels(_sharpened(voxels, share, smoothing, len(image.batch_shape)))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["widths", "radii"], meta_fields=["periods"])
@dataclasses.dataclass(frozen=True)
class Smoothing:
    """A Gaussian for each axis.

    Attributes:
        widths: Standard deviations in voxels along each axis, as `gaussian_matrix` takes them.
        radii: Where the kernels end, likewise.
        periods: How often each axis is mirrored.
    """

    widths: list[Any]
    radii: list[Any]
    periods: tuple[int, ...]

    def matrices(self, x: Any, depth: int) -> list[Any]:
        """A matrix for each axis of float voxels."""
        sizes = x.shape[depth : depth + 3]
        return [
            gaussian_matrix(width.astype(x.dtype), radius.astype(x.dtype), size, count)
            for width, radius, size, count in zip(self.widths, self.radii, sizes, self.periods, strict=True)
        ]


def smoothing_of_fwhm(image: Image, fwhm_mm: Any) -> Smoothing:
    """Reads a full width at half maximum in mm."""
    return smoothing_of(image, as_array(fwhm_mm, "fwhm_mm") * SIGMA_OF_FWHM, "mm", "fwhm_mm")


def smoothing_of(image: Image, sigma: Any, unit: str, name: str = "sigma") -> Smoothing:
    """Reads a standard deviation, as an argument of the name gives it."""
    check_choice(unit, "unit", get_args(Unit))
    width = _in_voxels(image, sigma, unit, name)
    widths, radii, periods = [], [], []
    for axis, size in enumerate(image.shape):
        own, count = width[..., axis], _TRACED_PERIODS
        if not is_traced(own):
            count = int(np.clip(np.ceil(np.floor(TRUNCATE * own.max() + 0.5) / (2 * size)), 1, _MOST_PERIODS))
        xp = own.__array_namespace__()
        own = xp.minimum(own, (2 * size * count + 0.49) / TRUNCATE)  # whose kernel ends there, rounded as SciPy rounds
        widths.append(own)
        radii.append(xp.floor(TRUNCATE * own + 0.5))
        periods.append(count)
    return Smoothing(widths, radii, tuple(periods))


def _in_voxels(image: Image, sigma: Any, unit: str, name: str) -> Any:
    """Returns sigma in voxels along each axis, `(*batch, *channels, 3)`, with length 1 along axes that share it."""
    value = as_array(sigma, name)
    if not is_traced(value) and not (np.isfinite(value).all() and (value >= 0).all()):
        raise ValueError(f"{name} must be finite and not negative, got {value.tolist()}")
    lead, tail = len(image.batch_shape), len(image.channels)
    value = aligned(value, image.batch_shape, image.channels, name)
    spacing = spacing_of(image.grid.affine) if unit == "mm" else np.ones((1,) * lead + (3,))
    _, (value, spacing) = together(value, spacing)
    value = value.reshape(value.shape or (1,) * (lead + tail))[..., None]
    width = value / spacing.reshape(*spacing.shape[:-1], *(1,) * tail, 3)
    if not is_traced(width):  # items of one spacing share a matrix
        for axis in range(lead + tail):
            first = width.take([0], axis)
            width = first if (width == first).all() else width
    return width


@functools.partial(compiled, static_argnums=2)
def _blurred(voxels: Shaped[Array, "*shape"], smoothing: Smoothing, depth: int) -> Float[Array, "*shape"]:
    def blurred(voxels: Any, smoothing: Smoothing) -> Any:
        x = as_float(voxels)
        return along_axes(x, smoothing.matrices(x, depth), depth)

    return keeping_sharding(blurred, depth)(voxels, smoothing)


@functools.partial(compiled, static_argnums=3)
def _sharpened(
    voxels: Shaped[Array, "*shape"], amount: Num[Array, "*amount"], smoothing: Smoothing, depth: int
) -> Float[Array, "*shape"]:
    def sharpened(voxels: Any, amount: Any, smoothing: Smoothing) -> Any:
        x = as_float(voxels)
        y = x + amount.astype(x.dtype) * (x - along_axes(x, smoothing.matrices(x, depth), depth))
        return exactly(amount == 0, x, y)

    return keeping_sharding(sharpened, depth)(voxels, amount, smoothing)


def median_filter(image: Image, size: StaticSize) -> Image:
    """Replaces each voxel by the median of the box around it, which removes specks and keeps edges.

    The result is that of `scipy.ndimage.median_filter` with `mode="reflect"`: beyond the edge the image is mirrored, d
    c b a | a b c d. An even number of voxels gives the upper of the two in the middle, so each result is a voxel of the
    image. An even size reaches one voxel further down than up.

    Args:
        image: Intensities, any batch, any channels.
        size: Voxels along each axis of the box, one integer or three (i, j, k), at least 1.

    Returns:
        The image with voxels of the same dtype. NaN counts as larger than any number.

    Raises:
        ValueError: the image holds labels, or the size is not positive integers.

    Transforms:
        `jit`, `vmap`, differentiable in the voxels: the gradient goes to the voxel that was picked, and equal voxels
        share it. Compiles once per shape, dtype and size.

    Example:
        >>> image = mj.Image.from_array(np.array([1.0, 9.0, 2.0, 3.0]).reshape(4, 1, 1))
        >>> mj.median_filter(image, (3, 1, 1)).voxels.ravel().tolist()
        [1.0, 2.0, 3.0, 3.0]
    """
    voxels = voxels_of(image, "median_filter")
    sizes = three_integers(size, "size", least=1)
    return image.with_voxels(_median(voxels, sizes, len(image.batch_shape)))


@functools.partial(compiled, static_argnums=(1, 2))
def _median(voxels: Shaped[Array, "*shape"], sizes: tuple[int, ...], depth: int) -> Shaped[Array, "*shape"]:
    return keeping_sharding(functools.partial(_median_of_boxes, sizes=sizes, depth=depth), depth)(voxels)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _median_of_boxes(voxels: Any, sizes: tuple[int, ...], depth: int) -> Any:
    """The median by halving: bit by bit the largest number that fewer than half of the box's voxels lie below."""
    keys, back = ordered(voxels)
    bits = 8 * keys.dtype.itemsize
    boxes, count = _boxes(keys, sizes, depth), int(np.prod(sizes))
    one, rank = np.ones((), keys.dtype), np.int32(count // 2)

    def halved(step: Any, found: Any) -> Any:
        trial = found | (one << (np.asarray(bits - 1, keys.dtype) - jnp.asarray(step).astype(keys.dtype)))
        below = sum((box < trial).astype(jnp.int32) for box in boxes())
        return jnp.where(below <= rank, trial, found)

    return back(jax.lax.fori_loop(0, bits, halved, jnp.zeros(voxels.shape, keys.dtype)))


@_median_of_boxes.defjvp
def _median_tangent(sizes: tuple[int, ...], depth: int, primals: Any, tangents: Any) -> Any:
    (voxels,), (tangent,) = primals, tangents
    found = _median_of_boxes(voxels, sizes, depth)
    if tangent.dtype == jax.dtypes.float0:
        return found, tangent
    pairs = list(zip(_boxes(voxels, sizes, depth)(), _boxes(tangent, sizes, depth)(), strict=True))
    picked = sum((box == found).astype(tangent.dtype) for box, _ in pairs)
    moved = sum(jnp.where(box == found, change, 0) for box, change in pairs)
    return found, moved / jnp.maximum(picked, 1)


def _boxes(voxels: Any, sizes: tuple[int, ...], depth: int) -> Any:
    """Lists the image shifted to each voxel of a box, mirrored beyond the edge."""
    tail = voxels.ndim - depth - 3
    around = [(size // 2, size - 1 - size // 2) for size in sizes]
    padded = jnp.pad(voxels, [(0, 0)] * depth + around + [(0, 0)] * tail, mode="symmetric")

    def shifted() -> Any:
        for corner in np.ndindex(*sizes):
            start = (0,) * depth + corner + (0,) * tail
            stop = tuple(a + n for a, n in zip(start, voxels.shape, strict=True))
            yield jax.lax.slice(padded, start, stop)

    return shifted


def ordered(voxels: Any) -> tuple[Any, Any]:
    """Unsigned integers in the order of the numbers, NaN last, and the way back."""
    dtype = np.dtype(voxels.dtype)
    if np.issubdtype(dtype, np.bool_):
        return voxels.astype(np.uint8), lambda keys: keys.astype(bool)
    word = np.dtype(f"uint{8 * dtype.itemsize}")
    top = word.type(1) << word.type(8 * dtype.itemsize - 1)
    if jnp.issubdtype(dtype, np.unsignedinteger):
        return voxels, lambda keys: keys
    if jnp.issubdtype(dtype, np.integer):
        return jax.lax.bitcast_convert_type(voxels, word) ^ top, lambda keys: jax.lax.bitcast_convert_type(
            keys ^ top, dtype
        )
    known = jnp.where(jnp.isnan(voxels), jnp.asarray(jnp.nan, dtype), voxels + jnp.zeros((), dtype))  # -0 becomes 0
    bits = jax.lax.bitcast_convert_type(known, word)
    keys = jnp.where(bits & top, ~bits, bits | top)
    return keys, lambda keys: jax.lax.bitcast_convert_type(jnp.where(keys & top, keys ^ top, ~keys), dtype)
