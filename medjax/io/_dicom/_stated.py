"""The attributes of a data set that is not trusted, as pydicom decodes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medjax._errors import ImageFileError
from medjax.io._dicom._quiet import quiet

__all__ = ["Stated"]


@dataclasses.dataclass(frozen=True, eq=False)
class Stated:
    """A data set or an item, and the file that it is in, which errors name."""

    dataset: Dataset
    path: Path

    def items(self, keyword: str) -> list[Stated]:
        """The items of a sequence, none where it is absent."""
        value = self.value(keyword)
        if value is not None and not isinstance(value, Sequence):
            raise ImageFileError(self.path, f"{keyword} is no sequence")
        return [Stated(item, self.path) for item in value or ()]

    def numbers(self, keyword: str, count: int) -> np.ndarray | None:
        """The attribute as `count` finite numbers; `None` where it is absent or empty."""
        value = self.value(keyword)
        if value is None or value == "":
            return None
        try:
            numbers = np.atleast_1d(np.asarray(value, np.float64))
        except (TypeError, ValueError, OverflowError):
            numbers = np.zeros(0)
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise ImageFileError(self.path, f"{keyword} must hold {count} finite numbers")
        return numbers

    def whole(self, keyword: str, default: int | None = None) -> int:
        """The attribute as a whole number, else the default. Without a default it must be there."""
        numbers = self.numbers(keyword, 1)
        if numbers is None:
            if default is None:
                raise ImageFileError(self.path, f"lacks {keyword}")
            return default
        if numbers[0] != int(numbers[0]):
            raise ImageFileError(self.path, f"{keyword} must be a whole number, got {numbers[0]:g}")
        return int(numbers[0])

    def text(self, keyword: str) -> str:
        """The attribute as text, empty where it is absent or cannot be decoded."""
        try:
            with quiet():
                return str(self.dataset.get(keyword, "") or "")
        except Exception:  # noqa: BLE001
            return ""  # a text that cannot be decoded is not known; pydicom's converters raise any error

    def value(self, keyword: str) -> Any:
        """The attribute as pydicom decodes it, `None` if absent. Silences pydicom's warnings, which quote values."""
        try:
            with quiet():
                return self.dataset.get(keyword)
        except Exception as error:  # pydicom decodes on access, and its converters raise any error
            raise ImageFileError(self.path, f"{keyword} cannot be decoded: {type(error).__name__}") from error
