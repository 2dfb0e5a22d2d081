"""Warnings about files, which point at the line that called the package."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import FrameType

from medjax._errors import ImageFileWarning

__all__ = ["warn"]

# The package, and jaxtyping, which wraps every function of it in the tests.
_OWN_PACKAGES = {"medjax", "jaxtyping"}


def warn(path: Path, message: str) -> None:
    """Warns about a file. The warning points at the line of the caller that called the public function.

    The argument `skip_file_prefixes` of `warnings.warn` finds that line from Python 3.12 on.
    """
    level = 1
    frame: FrameType | None = sys._getframe(0)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OWN_PACKAGES:
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{path}: {message}", ImageFileWarning, stacklevel=level)
