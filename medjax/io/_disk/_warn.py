"""Warnings about files, in the name of whoever called the package."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from medjax._errors import ImageFileWarning

__all__ = ["warn"]


def warn(path: Path, message: str, category: type[Warning] = ImageFileWarning) -> None:
    """Warns about a file, in the name of the caller of the public function."""
    level, frame = 1, sys._getframe(0)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OWN_FRAMES:
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(f"{path}: {message}", category, stacklevel=level)


_OWN_FRAMES = {"medjax", "jaxtyping"}  # the second wraps every function in the tests
