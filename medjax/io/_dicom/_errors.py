"""The errors of DICOM series, one exception for each situation that a caller would handle."""

from __future__ import annotations

import os
from collections.abc import Sequence

from medjax._errors import ImageFileError, UnsupportedFileError, printable
from medjax._lazy import public

__all__ = [
    "DuplicatePositionError",
    "InconsistentGeometryError",
    "MultipleSeriesError",
    "NoGeometryError",
    "NonUniformSpacingError",
    "NotAnImageError",
]


@public("medjax.io")
class NotAnImageError(UnsupportedFileError):
    """A DICOM object without pixels, such as a report, a plan or a structure set. The reason names its kind."""


@public("medjax.io")
class MultipleSeriesError(ImageFileError):
    """There is more than one series, or one series with more than one orientation or matrix. The reason lists them.

    Attributes:
        reason: Its first line says what is wrong; each further line is one series or stack.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, hint: str | None = None, listed: Sequence[str] = ()):
        super().__init__(path, reason, hint)
        self.args = (*self.args, tuple(listed))
        self.reason += ":" * bool(listed) + "".join(f"\n  {printable(line)}" for line in listed)


@public("medjax.io")
class NoGeometryError(ImageFileError):
    """Several slices whose places are not stated."""


@public("medjax.io")
class InconsistentGeometryError(ImageFileError):
    """The slices of a series do not fit on one grid, such as when their pixel spacing differs."""


@public("medjax.io")
class NonUniformSpacingError(InconsistentGeometryError):
    """The distance between slices varies, as when one is missing. `spacing_policy` chooses how to load them."""


@public("medjax.io")
class DuplicatePositionError(ImageFileError):
    """Different slices at one position, and no attribute that tells them apart."""
