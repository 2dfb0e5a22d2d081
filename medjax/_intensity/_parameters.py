"""Arguments of intensity operations, checked on the host and brought into the form that kernels take.

Known values are checked. Traced values pass, and the operation's docstring says how it treats them.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._image._checks import check_same_grid
from medjax._image._image import Image, check_image
from medjax._image._operators import check_amounts
from medjax._image._per_item import aligned, as_array, with_space_axes
from medjax._kernels._batch import broadcast
from medjax._kernels._compiled import at_once, unchanging
from medjax._kernels._values import without_wrapping

__all__ = [
    "ANY",
    "Limits",
    "Number",
    "amount_for",
    "as_numbers",
    "is_pair",
    "limits_for",
    "mask_for",
    "number_for",
    "percentiles_of",
    "range_for",
    "voxels_of",
]

# A number in an annotation: the tests check annotations at run time, where int is not float.
Number = float | int | np.number


class Limits(NamedTuple):
    """What the known values of a parameter may be. NaN is never among them.

    Attributes:
        least: The lowest value.
        most: The highest value.
        above: What values must exceed.
        allow_infinite: Whether infinity makes sense.
    """

    least: Number = -np.inf
    most: Number = np.inf
    above: Number = -np.inf
    allow_infinite: bool = False

    def checked(self, value: Any, name: str) -> np.ndarray:
        """Returns a known value, or several, as an array.

        Raises:
            ValueError: it is no number, not finite, or lies outside.
        """
        array = as_numbers(value, name)
        if np.isnan(array).any() or not (self.allow_infinite or np.isfinite(array).all()):
            raise ValueError(f"{name} must be {'a number' if self.allow_infinite else 'finite'}, got {array.tolist()}")
        if (array <= self.above).any() and self.above > -np.inf:
            raise ValueError(f"{name} must be above {self.above:g}, got {array.tolist()}")
        if (array < self.least).any() or (array > self.most).any():
            is_closed = np.isfinite(self.most)
            limits = f"within {self.least:g} to {self.most:g}" if is_closed else f"at least {self.least:g}"
            raise ValueError(f"{name} must be {limits}, got {array.tolist()}")
        return array


ANY = Limits()
"""Every finite number."""


def voxels_of(image: Image, operation: str) -> Any:
    """Returns an image's voxels in a form that jit takes without loss.

    Raises:
        ValueError: the argument is no image, or the image holds labels or complex numbers.
    """
    check_image(image, f"{operation}: the image")
    check_amounts(image, operation)
    voxels = image.voxels
    if np.issubdtype(voxels.dtype, np.complexfloating):
        raise ValueError(f"{operation} takes real voxels, got {voxels.dtype}; take the magnitude first")
    return without_wrapping(voxels)


def number_for(image: Image, value: Any, name: str, *, allow_infinite: bool = False) -> Any:
    """Returns a parameter, one number or several per item and channel, in a shape that broadcasts against the voxels.

    Args:
        image: The image that the parameter is for.
        value: A number, or an array that broadcasts to `(*batch, *channels)`.
        name: The argument that an error names.
        allow_infinite: Whether infinity makes sense.

    Raises:
        ValueError: the shape does not fit, or a known value is not a (finite) number.
    """
    if not is_traced(value):
        value = Limits(allow_infinite=allow_infinite).checked(value, name)
    return with_space_axes(value, image.batch_shape, image.channels, name)


def amount_for(
    image: Image,
    value: Any,
    name: str,
    limits: Limits = ANY,
    *,
    tail: tuple[int, ...] = (),
    per_channel: bool = True,
) -> Any:
    """Returns a parameter as kernels of single items take it: `(*batch, 1, 1, 1, *channels, *tail)`, length 1 where
    shared.

    Args:
        image: The image that the parameter is for.
        value: A number, or an array that broadcasts to `(*batch, *channels)`; with a tail such arrays, or one number
            for all.
        name: The argument that an error names.
        limits: What known values may be.
        tail: Axes of one value.
        per_channel: Whether channels may differ; else the result is `(*batch, 1, 1, 1, *tail)`.

    Raises:
        ValueError: the shape does not fit, or a known value is not finite or lies outside.
    """
    if not is_traced(value):
        value = limits.checked(value, name)
    array = as_array(value, name)
    if tail and not array.ndim:
        array = broadcast(array, tail)
    depth, channels = len(image.batch_shape), image.channels if per_channel else ()
    array = aligned(array, image.batch_shape, channels, name, tail=tail)
    lead = array.shape[: array.ndim - len(tail)] or (1,) * (depth + len(channels))
    return array.reshape((*lead[:depth], 1, 1, 1, *lead[depth:], *tail))


def as_numbers(value: Any, name: str) -> np.ndarray:
    try:
        if value is None:
            raise TypeError
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a number, or an array of them, got {value!r}") from None


def is_pair(value: Any) -> bool:
    """Whether a value has two entries."""
    try:
        return len(value) == 2
    except TypeError:
        return False


def limits_for(image: Image, low: Any, high: Any) -> tuple[Any, Any]:
    """Returns a lower and an upper limit, each as `number_for` does; `None` is no limit.

    Raises:
        ValueError: a limit is NaN or of another shape, or `low` is known to be above `high`.
    """
    low = number_for(image, -np.inf if low is None else low, "low", allow_infinite=True)
    high = number_for(image, np.inf if high is None else high, "high", allow_infinite=True)
    if not is_traced(low, high) and (low > high).any():
        raise ValueError(f"low must not be above high, got {low.tolist()} and {high.tolist()}")
    return low, high


def range_for(image: Image, range: tuple[Any, Any], name: str = "range") -> tuple[Any, Any]:
    """Returns the two ends of an output range, each as `number_for` does.

    Raises:
        ValueError: there are not two ends, the first is not below the second, or their difference exceeds the largest
            number of the result's dtype.
    """
    if not is_pair(range):
        raise ValueError(f"{name} must be two numbers (low, high), got {range!r}")
    low, high = (number_for(image, end, name) for end in range)
    if not is_traced(low, high) and not (low < high).all():
        raise ValueError(f"{name} must rise from low to high, got {range!r}")
    dtype = np.float64 if image.dtype == np.float64 and jax.config.read("jax_enable_x64") else np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        if not is_traced(low, high) and not np.isfinite(np.asarray(high, dtype) - np.asarray(low, dtype)).all():
            raise ValueError(f"{name} must be no wider than the largest {np.dtype(dtype)}, got {range!r}")
    return low, high


def percentiles_of(percentiles: Any) -> tuple[float, ...]:
    """Returns percentiles as floats.

    Raises:
        ValueError: there are fewer than two, they do not rise, or one lies outside 0 to 100.
    """
    rule = "percentiles must be at least two numbers that rise within 0 to 100"
    try:
        given = tuple(percentiles)
    except TypeError:
        raise ValueError(f"{rule}, got {percentiles!r}") from None
    if is_traced(*given):
        raise ValueError("percentiles must be plain numbers: they choose voxels by rank, which has no derivative")
    try:
        found = tuple(float(percentile) for percentile in given)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{rule}, got {given!r}") from None
    rises = all(a < b for a, b in itertools.pairwise(found))
    if len(found) < 2 or not rises or not (found[0] >= 0 and found[-1] <= 100):
        raise ValueError(f"{rule}, got {found}")
    return found


def mask_for(image: Image, mask: Any, name: str = "mask") -> Any:
    """Returns a mask in a shape that broadcasts against the voxels, or `None`. Voxels that are not 0 are inside.

    Args:
        image: The image that the mask is for.
        mask: An `Image` on the same grid, or an array: `(i, j, k)` for all items, `(*batch, i, j, k)`, or with the
            image's channels as well. Booleans or integers.
        name: The argument that an error names.

    Raises:
        ValueError: the mask is on another grid, has another shape, or holds fractions.
    """
    if mask is None:
        return None
    check_image(mask, name, or_array=True)
    if isinstance(mask, Image):
        check_same_grid(image, mask, name, batch="same or none")
        mask = mask.voxels
    if not isinstance(mask, np.ndarray | jax.Array):
        mask = np.asarray(mask)
    if mask.dtype != bool and not np.issubdtype(mask.dtype, np.integer):
        raise ValueError(
            f"{name} must be booleans or integers, got {mask.dtype}; compare it first, such as {name} > 0.5"
        )
    batch, space, channels = image.batch_shape, image.shape, image.channels
    tail = (1,) * len(channels)
    forms = {
        space: (1,) * len(batch) + space + tail,
        batch + space: batch + space + tail,
        batch + space + channels: batch + space + channels,
    }
    if mask.shape not in forms:
        raise ValueError(
            f"{name} of shape {mask.shape} does not lie on the image's grid, {batch + space}; resample it first"
        )
    with at_once(mask):
        return (unchanging(mask) if mask.dtype == bool else mask != 0).reshape(forms[mask.shape])
