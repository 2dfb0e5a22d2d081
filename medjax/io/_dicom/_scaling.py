"""How a stored value becomes a value: by the modality transform, else by the Real World Value Mapping.

Both are value = stored * slope + intercept. The modality transform is Rescale Slope and Intercept (PS3.3 section
C.11.1), or Dose Grid Scaling (C.8.8.3). A Parametric Map has none (A.75): its mapping states its values and their unit
(C.7.6.16.2.11). In any other object a mapping is another view of the values. It counts only where no modality transform
is stated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.dataset import Dataset

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax.io._dicom._header import File
from medjax.io._dicom._stored import numbers, stored_value, tag_of

__all__ = ["PARAMETRIC_MAP", "Scaling", "mapped", "scaling_of"]

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


@dataclasses.dataclass(frozen=True, slots=True)
class Scaling:
    """The scaling of a slice as a file states it, part by part.

    Attributes:
        slope, intercept: As stated; `None` where they are absent or empty.
        keyword: The attribute that states the slope.
        range: First and last stored value that a Real World Value Mapping covers, else `None`.
        note: The warning, or empty.
    """

    slope: float | None = None
    intercept: float | None = None
    keyword: str = "RescaleSlope"
    range: tuple[float, float] | None = None
    note: str = ""

    @property
    def is_stated(self) -> bool:
        """Whether any part is."""
        return self.slope is not None or self.intercept is not None

    def over(self, other: Scaling) -> Scaling:
        """This scaling, completed by the other's parts: a frame's own groups come before the shared ones."""
        slope = other if self.slope is None else self
        intercept = other.intercept if self.intercept is None else self.intercept
        return Scaling(slope.slope, intercept, slope.keyword)


def scaling_of(dataset: Dataset, file: File) -> Scaling:
    """The modality transform that a data set or an item states.

    Raises:
        ImageFileError: a stated part is no number, so the values are unknown.
    """
    dose = _stated(dataset, "DoseGridScaling", file)
    intercept = _stated(dataset, "RescaleIntercept", file)
    if dose is not None:
        return Scaling(dose, intercept, "DoseGridScaling")
    return Scaling(_stated(dataset, "RescaleSlope", file), intercept)


def _stated(dataset: Dataset, keyword: str, file: File) -> float | None:
    found = numbers(dataset, tag_of(keyword), 1)
    if found is not None:
        return found[0]
    value = stored_value(dataset, tag_of(keyword))
    if value is None or not str(value, "latin-1" if isinstance(value, bytes) else "utf-8").strip(" \0"):
        return None
    raise ImageFileError(file.path, f"{keyword} is {value!r}, not a number", "correct it: the values depend on it")


def mapped(scaling: Scaling, mappings: Sequence[Mapping[str, Any]] | None, file: File, *, has_table: bool) -> Scaling:
    """Returns the Real World Value Mapping as the scaling where it gives the values, else the scaling as it is.

    Args:
        scaling: The modality transform.
        mappings: Items of the Real World Value Mapping Sequence (0040,9096) of a slice, by keyword.
        file: Its file.
        has_table: Whether a Modality LUT gives the values.

    Raises:
        UnsupportedFileError: a table or several mappings give the values of a Parametric Map.
    """
    is_map = file.sop_class == PARAMETRIC_MAP
    if not is_map and (scaling.is_stated or has_table):
        return scaling
    if not mappings:
        note = "it is a Parametric Map without a Real World Value Mapping: its values are as stored" if is_map else ""
        return dataclasses.replace(scaling, note=note)
    linear = {(_number(item, "RealWorldValueSlope"), _number(item, "RealWorldValueIntercept")) for item in mappings}
    slope, intercept = next(iter(linear))
    if len(linear) == 1 and slope and intercept is not None:
        return Scaling(slope, intercept, "RealWorldValueSlope", _mapped_range(mappings[0]))
    what = f"{len(linear)} Real World Value Mappings" if len(linear) > 1 else "a Real World Value Mapping by a table"
    if is_map:
        hint = "read the stored values with pydicom, and apply the mapping that you mean"
        raise UnsupportedFileError(file.path, f"its values are those of {what} (0040,9096), which is not applied", hint)
    return dataclasses.replace(scaling, note=f"its values are as stored: {what} (0040,9096) is not applied")


def _mapped_range(item: Mapping[str, Any]) -> tuple[float, float] | None:
    """First and last stored value mapped (0040,9216), (0040,9211), for floats (0040,9214), (0040,9213)."""
    for first, last in (
        ("RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped"),
        ("DoubleFloatRealWorldValueFirstValueMapped", "DoubleFloatRealWorldValueLastValueMapped"),
    ):
        ends = _number(item, first), _number(item, last)
        if ends[0] is not None and ends[1] is not None:
            return min(ends), max(ends)  # type: ignore[type-var, return-value]
    return None


def _number(item: Mapping[str, Any], keyword: str) -> float | None:
    value = item.get(keyword)
    return float(value) if isinstance(value, float | int) else None
