"""Types of arguments that hold images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from medjax._geometry._types import Array
from medjax._image._image import Image

__all__ = ["MaskLike"]

MaskLike: TypeAlias = Image | Array | Sequence[Any]
"""A mask: an image, whose grid is checked, or an array."""
