"""Operations with given parameters: clip, rescale, and display windows as DICOM defines them."""

from __future__ import annotations

import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import PerItem, Range
from medjax._image._checks import check_choice
from medjax._image._image import Image
from medjax._intensity._parameters import limits_for, number_for, range_for, voxels_of
from medjax._kernels._compiled import compiled
from medjax._kernels._values import as_float

__all__ = ["clip", "rescale", "window"]

WindowFunction = Literal["linear", "linear_exact", "sigmoid"]
# The sigmoid is 0 or 1 to the last bit, in float64 too, beyond this many widths from the centre.
_SIGMOID_WIDTHS = 25


def clip(image: Image, low: PerItem | None, high: PerItem | None) -> Image:
    r"""Limits intensities: $y = \min(\max(x, low), high)$.

    Args:
        image: Intensities, any batch, any channels.
        low: Lowest value of the result, in the image's unit: one number, or an array that broadcasts to `(*batch,
            *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without channels. `None` for no limit.
        high: Highest value, likewise.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). NaN stays NaN.

    Raises:
        ValueError: the image holds labels, `low` is above `high`, or a limit is NaN or of another shape.

    Transforms:
        Differentiable in voxels, `low` and `high`. Compiles once per shape and dtype, not per limit.

    Example:
        >>> image = mj.Image.from_array(np.array([-2000, 40, 3000], np.int16).reshape(3, 1, 1))
        >>> mj.clip(image, -1000, 1000).voxels.ravel().tolist()
        [-1000.0, 40.0, 1000.0]
    """
    voxels = voxels_of(image, "clip")
    return image.with_voxels(_clip(voxels, *limits_for(image, low, high)))


@compiled
def _clip(
    voxels: Shaped[Array, "*shape"], low: Num[Array, "*low"], high: Num[Array, "*high"]
) -> Float[Array, "*shape"]:
    x = as_float(voxels)
    return jnp.minimum(jnp.maximum(x, low.astype(x.dtype)), high.astype(x.dtype))


def rescale(image: Image, slope: PerItem, intercept: PerItem) -> Image:
    r"""Rescales intensities, $y = slope \cdot x + intercept$, as DICOM's Rescale Slope and Intercept do.

    Args:
        image: Intensities, any batch, any channels.
        slope: Units of the result per unit of the image: one number, or an array that broadcasts to
            `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without channels.
        intercept: Added after that, in units of the result, likewise.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). The metadata stay, although the header's
        unit no longer holds after a change of intensities.

    Raises:
        ValueError: the image holds labels, or a parameter is not finite or of another shape.

    Transforms:
        Differentiable in voxels, `slope` and `intercept`. NaN stays NaN. An infinite voxel stays infinite, and a
        negative slope changes its sign. Both leave the gradients of the other voxels and of the parameters finite.
        Compiles once per shape and dtype.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 1024, 2048], np.uint16).reshape(3, 1, 1))
        >>> mj.rescale(image, 1, -1024).voxels.ravel().tolist()
        [-1024.0, 0.0, 1024.0]

    Source: DICOM PS3.3 section C.11.1.1.2.
    """
    voxels = voxels_of(image, "rescale")
    return image.with_voxels(
        _rescale(voxels, number_for(image, slope, "slope"), number_for(image, intercept, "intercept"))
    )


@compiled
def _rescale(
    voxels: Shaped[Array, "*shape"], slope: Num[Array, "*slope"], intercept: Num[Array, "*intercept"]
) -> Float[Array, "*shape"]:
    x = as_float(voxels)
    slope, is_finite = slope.astype(x.dtype), jnp.isfinite(x)
    known = jnp.where(is_finite, x, 0)  # 0 * NaN and 0 * inf in the slope's gradient would spoil it
    sign = lax.stop_gradient(jnp.where(slope == 0, 1, slope))  # infinity times 0 would be NaN
    return jnp.where(is_finite, known * slope + intercept.astype(x.dtype), x * sign)


def window(
    image: Image, center: PerItem, width: PerItem, *, function: WindowFunction = "linear", range: Range = (0.0, 1.0)
) -> Image:
    r"""Applies a display window: intensities around `center` fill the output range, and the rest saturates.

    With range $(a, b)$, centre $c$ and width $w$:

    - `"linear"` (DICOM's default): $a + (b - a)\,((x - (c - 0.5)) / (w - 1) + 0.5)$, limited to the range. It is meant
      for integers: it spreads $w$ of them over the range. $w = 1$ is a threshold, $x > c - 0.5$.
    - `"linear_exact"`: $a + (b - a)\,((x - c) / w + 0.5)$, limited to the range.
    - `"sigmoid"`: $a + (b - a) / (1 + \exp(-4 (x - c) / w))$.

    `IntensityWindowing(minimum, maximum)` of ITK and SimpleITK is `"linear_exact"` with centre `(minimum + maximum) /
    2` and width `maximum - minimum`.

    Args:
        image: Intensities after any rescaling, such as HU; any batch, any channels.
        center: Window Center (0028,1050) in the image's unit: one number, or an array that broadcasts to
            `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item, `(b,)` per item without channels.
        width: Window Width (0028,1051), likewise; at least 1 for `"linear"`, else above 0.
        function: VOI LUT Function (0028,1056), in lower case.
        range: Output for the lower and the upper end.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on) within `range`. NaN stays NaN.

    Raises:
        ValueError: the image holds labels, the width is too small, the range does not rise, or the function is unknown.

    Transforms:
        Differentiable in voxels, `center`, `width` and `range`. The gradient is 0 where the result saturates, and
        finite everywhere. Compiles once per shape, dtype and function, not per window.

    Example:
        >>> image = mj.Image.from_array(np.array([-200, 39.5, 240], np.float32).reshape(3, 1, 1))
        >>> mj.window(image, center=40, width=401).voxels.ravel().tolist()
        [0.0, 0.5, 1.0]
        >>> bright = mj.window(image, center=39.5, width=400, function="linear_exact", range=(0, 255))
        >>> bright.voxels.ravel().tolist()
        [0.0, 127.5, 255.0]

    Source: DICOM PS3.3 sections C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2.
    """
    voxels = voxels_of(image, "window")
    check_choice(function, "function", get_args(WindowFunction))
    middle, extent = number_for(image, center, "center"), number_for(image, width, "width")
    is_wide = is_traced(extent) or ((extent >= 1) if function == "linear" else (extent > 0)).all()
    if not is_wide:
        least = "at least 1" if function == "linear" else "above 0"
        raise ValueError(f"width must be {least} for function={function!r}, got {extent.tolist()}")
    return image.with_voxels(_window(voxels, middle, extent, *range_for(image, range), function=function))


@functools.partial(compiled, static_argnames="function")
def _window(
    voxels: Shaped[Array, "*shape"],
    center: Num[Array, "*center"],
    width: Num[Array, "*width"],
    low: Num[Array, "*low"],
    high: Num[Array, "*high"],
    function: WindowFunction,
) -> Float[Array, "*shape"]:
    x = as_float(voxels)
    center, width, low, high = (value.astype(x.dtype) for value in (center, width, low, high))
    known = jnp.where(jnp.isnan(x), center, x)
    share = _sigmoid(known, center, width) if function == "sigmoid" else _ramp(known, center, width, function)
    return jnp.where(jnp.isnan(x), x, low + share * (high - low))


def _ramp(x: Any, center: Any, width: Any, function: str) -> Any:
    """Returns the share of the output range, 0 to 1. Limiting `x` first keeps the parameters' gradients finite."""
    if function == "linear":
        center, width = center - 0.5, width - 1
    start, stop = center - width / 2, center + width / 2
    is_step = ~(stop > start)
    inside = jnp.minimum(jnp.maximum(x, start), stop)
    return jnp.where(is_step, (x > stop).astype(x.dtype), (inside - start) / jnp.where(is_step, 1, stop - start))


def _sigmoid(x: Any, center: Any, width: Any) -> Any:
    reach = _SIGMOID_WIDTHS * width
    inside = jnp.minimum(jnp.maximum(x, center - reach), center + reach)
    return jax.nn.sigmoid(4 * (inside - center) / width)
