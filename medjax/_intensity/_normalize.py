"""Normalisation by an image's own statistics, per item of a batch and per channel."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, Shaped, UInt32

from medjax._geometry._types import Range
from medjax._image._checks import check_choice, check_not_empty
from medjax._image._image import Image
from medjax._image._types import MaskLike
from medjax._intensity._parameters import Number, is_pair, mask_for, percentiles_of, range_for, voxels_of
from medjax._intensity._percentile import beside_voxels, fixed_point, percentiles_of_rows, to_rows
from medjax._intensity._statistics import (
    apply_to_finite,
    extremes,
    over_finite,
    selected,
    spatial_axes,
    spread_of,
    stretched,
)
from medjax._kernels._batch import keeping_sharding
from medjax._kernels._compiled import compiled
from medjax._kernels._values import as_float

__all__ = ["min_max_normalize", "percentile_normalize", "z_score_normalize"]

Result = tuple[Float[Array, "*shape"], Int[Array, "*count"] | None]


def z_score_normalize(image: Image, *, mask: MaskLike | None = None, ddof: Literal[0, 1] = 1) -> Image:
    r"""Shifts and scales intensities to mean 0 and standard deviation 1.

    $y = (x - \bar x) / s$ with $s^2 = \sum (x - \bar x)^2 / (n - \mathrm{ddof})$ over the voxels inside the mask. The
    same numbers map the voxels outside. SimpleITK's `Normalize`, TorchIO's `ZNormalization` and MedImages.jl have
    `ddof=1`, the default; MONAI's `NormalizeIntensity` and NumPy's `std` have `ddof=0`.

    Statistics are taken per item of a batch and per channel, over finite voxels only. Voxels that are not finite stay
    as they are. A constant image (standard deviation exactly 0) gives $x - \bar x$, which is 0 where it is constant.
    MONAI does the same; TorchIO raises an error.

    Args:
        image: Intensities, any batch, any channels.
        mask: The voxels that statistics are taken from, where it is not 0: an `Image` on the same grid, or an array
            `(i, j, k)`, `(*batch, i, j, k)` or of the voxels' shape, booleans or integers. Default all.
        ddof: Degrees of freedom that are subtracted from the count.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on), without unit.

    Raises:
        ValueError: the image holds labels, the mask lies on another grid, or it selects no finite voxel of an item.
            Inside a transformation, where an empty mask cannot be seen, it is ignored: all finite voxels are used.

    Transforms:
        Differentiable in voxels, with finite gradients. Compiles once per shape and dtype.

    Example:
        >>> image = mj.Image.from_array(np.array([1.0, 2.0, 3.0, 10.0], np.float32).reshape(4, 1, 1))
        >>> mj.z_score_normalize(image, mask=image.voxels < 5).voxels.ravel().tolist()
        [-1.0, 0.0, 1.0, 8.0]
    """
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 or 1, got {ddof!r}")
    return _normalized(image, mask, "z_score_normalize", functools.partial(_z_score, ddof=ddof))


def _normalized(image: Image, mask: Any, operation: str, kernel: Any, range: Any = None) -> Image:
    """Checks image, mask and range, and gives the image the voxels that a kernel makes of them."""
    voxels, inside = voxels_of(image, operation), mask_for(image, mask)
    ends = () if range is None else (range_for(image, range),)
    out, count = kernel(voxels, inside, *ends, batch_ndim=len(image.batch_shape))
    check_not_empty(count, f"{operation}: mask selects no finite voxel")
    return image.with_voxels(out)


@functools.partial(compiled, static_argnames="batch_ndim")
def _z_score(
    voxels: Shaped[Array, "*shape"],
    mask: Bool[Array, "*inside"] | None,
    ddof: Any,
    batch_ndim: int,
) -> Result:
    axes, x = spatial_axes(batch_ndim), as_float(voxels)
    where, count = selected(voxels, mask, axes)
    degrees = jnp.asarray(ddof, x.dtype)
    found = over_finite(lambda where: spread_of(x, where, axes, degrees), x, where, mask)
    is_constant = found.variance == 0
    deviation = jnp.where(is_constant, 1, jnp.sqrt(jnp.where(is_constant, 1, found.variance)))
    return apply_to_finite(lambda x: (found.above(x) - found.mean) / deviation, x, voxels), count


def min_max_normalize(image: Image, *, range: Range = (0.0, 1.0), mask: MaskLike | None = None) -> Image:
    r"""Maps the lowest and highest intensity onto the ends of a range, linearly.

    $y = a + (b - a)\,(x - \min x) / (\max x - \min x)$ for the range $(a, b)$, with the extremes of the voxels inside
    the mask. The same line maps the voxels outside, which may leave the range (`clip` them if they must not).
    SimpleITK's `RescaleIntensity`, TorchIO's `RescaleIntensity` without a mask, and MONAI's `ScaleIntensity` per
    channel do the same. With a mask TorchIO clips to the extremes of the mask, and this does not.

    Statistics are taken per item of a batch and per channel, over finite voxels only. Voxels that are not finite stay
    as they are. A constant image becomes $a$ everywhere (MONAI and TorchIO leave it as it is).

    Args:
        image: Intensities, any batch, any channels.
        range: The results for the lowest and the highest voxel: two numbers, or for each end an array that broadcasts
            to `(*batch, *channels)`, as in `clip`.
        mask: The voxels that the extremes are taken from, as in `z_score_normalize`. Default all.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels, the range does not rise or is too wide, the mask lies on another grid, or it
            selects no finite voxel of an item. Inside a transformation an empty mask is ignored.

    Transforms:
        Differentiable in voxels (the voxels that attain an extreme share its gradient) and `range`. Compiles once per
        shape and dtype, not per range.

    Example:
        >>> image = mj.Image.from_array(np.array([-1000, 0, 1000], np.int16).reshape(3, 1, 1))
        >>> mj.min_max_normalize(image, range=(-1, 1)).voxels.ravel().tolist()
        [-1.0, 0.0, 1.0]
    """
    return _normalized(image, mask, "min_max_normalize", _min_max, range)


@functools.partial(compiled, static_argnames="batch_ndim")
def _min_max(
    voxels: Shaped[Array, "*shape"],
    mask: Bool[Array, "*inside"] | None,
    ends: tuple[Num[Array, "*low"], Num[Array, "*high"]],
    batch_ndim: int,
) -> Result:
    axes, x = spatial_axes(batch_ndim), as_float(voxels)
    where, count = selected(voxels, mask, axes)
    bottom, top = over_finite(lambda where: extremes(x, where, axes), x, where, mask)
    low, high = (end.astype(x.dtype) for end in ends)
    return apply_to_finite(lambda x: stretched(x, bottom, top, low, high), x, voxels), count


def percentile_normalize(
    image: Image,
    *,
    percentiles: tuple[Number, Number] = (1.0, 99.0),
    range: Range = (0.0, 1.0),
    mask: MaskLike | None = None,
    outside: Literal["clip", "extend"] = "clip",
) -> Image:
    r"""Maps two percentiles of the intensities onto the ends of a range, linearly.

    $y = a + (b - a)\,(x - p_1) / (p_2 - p_1)$ for the range $(a, b)$. Percentiles are those of NumPy's
    `method="linear"`. They are exact for any number of voxels below 2^31, and found without sorting. `outside="clip"`
    limits the result to the range, as TorchIO's `RescaleIntensity(percentiles=...)` and nnU-Net do. `"extend"`
    continues the line, as MONAI's `ScaleIntensityRangePercentiles(clip=False)` does. TorchIO clips first and then maps
    the extremes of the clipped voxels, which gives the same wherever a voxel lies at or beyond each percentile.

    Statistics are taken per item of a batch and per channel, over finite voxels only. NaN stays NaN. An infinite voxel
    stays infinite or is clipped, even in an image without a finite voxel. Where both percentiles are equal (a constant
    image, or one that is nearly all background) everything becomes $a$: choose wider percentiles or a mask.

    Args:
        image: Intensities, any batch, any channels.
        percentiles: Lower and upper, within 0 to 100.
        range: The results for the two percentiles: two numbers, or for each end an array that broadcasts to
            `(*batch, *channels)`, as in `clip`.
        mask: The voxels that the percentiles are taken from, as in `z_score_normalize`. Default all.
        outside: "clip" limits voxels beyond the percentiles, "extend" maps them by the same line.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels or 2^31 voxels or more, percentiles or range do not rise, the range is too
            wide, the mask lies on another grid, or it selects no finite voxel of an item. Inside a transformation an
            empty mask is ignored.

    Transforms:
        Differentiable in voxels (through the two voxels that a percentile lies between) and `range`. Compiles once per
        shape and dtype, not per percentile or range.

    Example:
        >>> image = mj.Image.from_array(np.arange(101, dtype=np.int16).reshape(101, 1, 1))
        >>> mj.percentile_normalize(image, percentiles=(10, 90)).voxels[[0, 10, 50, 100], 0, 0].tolist()
        [0.0, 0.0, 0.5, 1.0]
        >>> mj.percentile_normalize(image, percentiles=(10, 90), outside="extend").voxels[0, 0, 0].item()
        -0.125
    """
    check_choice(outside, "outside", ("clip", "extend"))
    if not is_pair(percentiles):
        raise ValueError(f"percentiles must be two numbers (lower, upper), got {percentiles!r}")
    shares = fixed_point(percentiles_of(percentiles))

    def kernel(*operands: Any, batch_ndim: int) -> Any:
        mapped = functools.partial(_percentile, shares=shares, batch_ndim=batch_ndim, is_clipped=outside == "clip")
        return keeping_sharding(mapped, batch_ndim)(*operands)

    return _normalized(image, mask, "percentile_normalize", kernel, range)


@functools.partial(compiled, static_argnames=("batch_ndim", "is_clipped"))
def _percentile(
    voxels: Shaped[Array, "*shape"],
    mask: Bool[Array, "*inside"] | None,
    ends: tuple[Num[Array, "*low"], Num[Array, "*high"]],
    shares: UInt32[Array, "k limbs"],
    batch_ndim: int,
    is_clipped: bool,
) -> Result:
    axes, x = spatial_axes(batch_ndim), as_float(voxels)
    where, count = selected(voxels, mask, axes)
    inside = jnp.ones(voxels.shape, bool) if where is None else where
    found = percentiles_of_rows(to_rows(voxels, batch_ndim), to_rows(inside, batch_ndim), shares)
    bottom, top = (beside_voxels(found[:, n], voxels.shape, batch_ndim) for n in (0, 1))
    low, high = (end.astype(x.dtype) for end in ends)
    out = apply_to_finite(lambda x: stretched(x, bottom, top, low, high), x, voxels)
    return (jnp.minimum(jnp.maximum(out, low), high) if is_clipped else out), count
