"""Voxels as 16-bit integers with a slope and an intercept: value = stored * slope + intercept (PS3.3 section C.11.1).

One slope serves the whole volume. Whole numbers below 10**13 that span no more than 16 bits are kept exactly, with
slope 1. For other values the slope is the smallest power of two that fits, so a second saving changes nothing more and
0 stays 0. Only steps below 2**-15, which a decimal string of 16 characters cannot state, are no powers of two. A value
changes by at most half a step. A step is less than 2 / 65534 of the values' range. Where the intercept must be 0 and
there are negative values, the range is twice the largest magnitude.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from pydicom.valuerep import format_number_as_ds

from medjax._errors import UnsupportedFileError

__all__ = ["Encoding", "encoding_for"]

# Powers of two that format_number_as_ds writes without rounding.
_SMALLEST, _LARGEST = -15, 40

# Whole numbers up to here are exact in float64 and, as "1000000000000.0", in a decimal string of 16 characters.
_LARGEST_EXACT = 10**13


@dataclasses.dataclass(frozen=True)
class Encoding:
    """The map from values to stored integers.

    Attributes:
        slope, intercept: As the file's decimal strings have them, to the last digit.
        is_signed: Whether integers are stored as int16 or as uint16.

    Example:
        >>> encoding = Encoding(0.5, 0.0, is_signed=True)
        >>> encoding.stored(np.array([1.0, -2.2])).tolist(), encoding.slope_text
        ([2, -4], '0.5')
    """

    slope: float
    intercept: float
    is_signed: bool

    @property
    def slope_text(self) -> str:
        """Rescale Slope (0028,1053) as a decimal string."""
        return _decimal_string(self.slope)

    @property
    def intercept_text(self) -> str:
        """Rescale Intercept (0028,1052) as a decimal string."""
        return _decimal_string(self.intercept)

    @property
    def is_identity(self) -> bool:
        """Whether the stored integers are the values."""
        return (self.slope, self.intercept) == (1.0, 0.0)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """The integers for values within the range that the encoding was made for."""
        dtype = np.int16 if self.is_signed else np.uint16
        if self.is_identity and values.dtype.kind != "f":
            return values.astype(dtype)
        limits = np.iinfo(dtype)
        scaled = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        return np.clip(scaled, limits.min, limits.max).astype(dtype)


def encoding_for(voxels: np.ndarray, path: Path, *, needs_zero_intercept: bool) -> Encoding:
    """Chooses the encoding of a volume.

    Args:
        voxels: `(i, j, k)` integers, booleans or floating point.
        path: The target, which errors name.
        needs_zero_intercept: Whether the intercept must be 0, as for PET (PS3.3 section C.8.9.4).

    Raises:
        UnsupportedFileError: a value is not finite.

    Example:
        >>> encoding_for(np.array([[[-0.5, 1000.25]]]), Path("x"), needs_zero_intercept=False)
        Encoding(slope=0.015625, intercept=499.875, is_signed=True)
        >>> encoding_for(np.array([[[40000, 65535]]]), Path("x"), needs_zero_intercept=False)
        Encoding(slope=1.0, intercept=0.0, is_signed=False)
    """
    low, high, is_whole = _survey(voxels, path)
    if is_whole and (exact := _exact(low, high, needs_zero_intercept)) is not None:
        return exact
    centered = _centered(low, high)
    plain = _through_zero(low, high)
    return plain if needs_zero_intercept or plain.slope <= centered.slope else centered


def _survey(voxels: np.ndarray, path: Path) -> tuple[float, float, bool]:
    """The range, and whether all values are whole."""
    low, high = float(voxels.min()), float(voxels.max())  # NaN, if there is one
    if not (math.isfinite(low) and math.isfinite(high)):
        reason = "holds NaN or infinity, which no stored integer can stand for"
        raise UnsupportedFileError(path, reason, "replace them first, as with numpy.nan_to_num, or save it as NIfTI")
    if voxels.dtype.kind != "f":
        return low, high, True
    flat = voxels.ravel(order="K")
    pieces = (flat[start : start + 2**18] for start in range(0, flat.size, 2**18))  # no second array of the full size
    return low, high, all(bool((piece == np.rint(piece)).all()) for piece in pieces)


def _exact(low: float, high: float, needs_zero_intercept: bool) -> Encoding | None:
    if low >= -32768 and high <= 32767:
        return Encoding(1.0, 0.0, is_signed=True)
    if low >= 0 and high <= 65535:
        return Encoding(1.0, 0.0, is_signed=False)
    if high - low <= 65535 and max(-low, high) < _LARGEST_EXACT and not needs_zero_intercept:
        # Values below 2**31 get an intercept below 2**31: some readers compute in int32.
        intercept = min(low + 32768, 2**31 - 32768) if high < 2**31 else low + 32768
        return Encoding(1.0, float(intercept), is_signed=True)
    return None


def _through_zero(low: float, high: float) -> Encoding:
    """Intercept 0: unsigned if nothing is negative."""
    if low >= 0:
        return Encoding(_stateable_step(high / 65534), 0.0, is_signed=False)
    return Encoding(_stateable_step(max(-low, high) / 32766), 0.0, is_signed=True)


def _centered(low: float, high: float) -> Encoding:
    """The intercept is the middle of the range, rounded to a multiple of the step so that 0 is stored exactly."""
    slope = _stateable_step(high / 65534 - low / 65534)
    intercept = slope * round((low / 2 + high / 2) / slope)
    return Encoding(slope, float(_decimal_string(intercept)), is_signed=True)


def _stateable_step(least: float) -> float:
    """The smallest step, at least `least`, that a decimal string states exactly. It is a power of two if that fits."""
    exponent = math.ceil(math.log2(least)) if least > 0 else _SMALLEST
    if _SMALLEST <= exponent <= _LARGEST:
        return 2.0**exponent
    return float(_decimal_string(least * (1 + 1e-9)))


def _decimal_string(value: float) -> str:
    return format_number_as_ds(float(value))
