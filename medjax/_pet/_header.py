"""The values of a PET header by DICOM keyword, with their tags for messages, and dates as times."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["TAGS", "Findings", "Header", "moment", "named"]

# Public attributes, PS3.6. Those of the radiopharmaceutical lie in its sequence (0054,0016), PS3.3 section C.8.9.2.
_RADIOPHARMACEUTICAL = {
    "RadiopharmaceuticalStartTime": "(0018,1072)",
    "RadiopharmaceuticalStartDateTime": "(0018,1078)",
    "RadionuclideTotalDose": "(0018,1074)",
    "RadionuclideHalfLife": "(0018,1075)",
    "RadionuclideCodeSequence": "(0054,0300)",
}
# Private attributes: creator, and the tag in the block that the creator usually has, xx10.
_PRIVATE = {
    "GEScanDateTime": ("GEMS_PETD_01", "(0009,100D)"),
    "SiemensDecayCorrectionDateTime": ("SIEMENS MED PT", "(0071,1022)"),
    "PhilipsSUVScaleFactor": ("Philips PET Private Group", "(7053,1000)"),
    "PhilipsActivityConcentrationScaleFactor": ("Philips PET Private Group", "(7053,1009)"),
}
TAGS = {
    "Units": "(0054,1001)",
    "SUVType": "(0054,1006)",
    "CorrectedImage": "(0028,0051)",
    "DecayCorrection": "(0054,1102)",
    "DecayCorrectionDateTime": "(0018,9701)",
    "RescaleIntercept": "(0028,1052)",
    "PatientWeight": "(0010,1030)",
    "PatientSize": "(0010,1020)",
    "PatientSex": "(0010,0040)",
    "SeriesDate": "(0008,0021)",
    "SeriesTime": "(0008,0031)",
    "AcquisitionDate": "(0008,0022)",
    "AcquisitionTime": "(0008,0032)",
    "AcquisitionDateTime": "(0008,002A)",
    "TimezoneOffsetFromUTC": "(0008,0201)",
    "FrameReferenceTime": "(0054,1300)",
    "ActualFrameDuration": "(0018,1242)",
    "NumberOfSlices": "(0054,0081)",
    "RadiopharmaceuticalInformationSequence": "(0054,0016)",
    **_RADIOPHARMACEUTICAL,
    **{name: tag for name, (_, tag) in _PRIVATE.items()},
}


def named(keyword: str) -> str:
    """Returns an attribute's name and number for a message.

    Example:
        >>> named("PatientWeight")
        'PatientWeight (0010,1030)'
    """
    return f"{keyword} {TAGS[keyword]}"


@dataclasses.dataclass
class Findings:
    """Remarks about a header: notes on assumptions, which the result states, and warnings about oddities."""

    notes: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.notes.append(text)
        self.warnings.append(text)


@dataclasses.dataclass(frozen=True)
class Header:
    """A PET header in the form of `Metadata.extra`, and the values that the caller states instead.

    Attributes:
        extra: Attributes by keyword; those that differ between slices under "per_slice", private ones under "private".
        stated: The caller's values by keyword, which take precedence.
        slices: The number of slices of the image.
    """

    extra: Mapping[str, Any]
    stated: Mapping[str, Any]
    slices: int

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.stated) - set(TAGS)):
            raise ValueError(f"tags={unknown} are not used for SUV; the keywords that are: {', '.join(TAGS)}")

    def value(self, keyword: str) -> Any:
        """Returns the one value of the whole series, or `None` where the header does not state it.

        Raises:
            ValueError: the value differs between slices, or there are several radiopharmaceuticals.
        """
        value = self._find(keyword)
        if isinstance(value, _PerSlice):
            raise ValueError(f"{named(keyword)} differs between the slices; convert the series one by one")
        return value

    def text(self, keyword: str) -> str | None:
        """Returns the one value as text without padding, or `None` where it is not stated or empty."""
        value = self.value(keyword)
        return (str(value).strip() or None) if value is not None else None

    def number(self, keyword: str) -> float | None:
        """Returns the one value as a number, or `None` where it is not stated."""
        value = self.text(keyword)
        return None if value is None else _number(keyword, value)

    def positive(self, keyword: str, unit: str, hint: str) -> float:
        """Returns the one value as a positive number.

        Raises:
            ValueError: the value is missing, zero or negative; `hint` names the remedy.
        """
        value = self.number(keyword)
        if value is None:
            raise ValueError(f"{named(keyword)} is missing; {hint}")
        if value <= 0:
            raise ValueError(f"{named(keyword)} is {value:g} {unit}, which is no measurement; {hint}")
        return value

    def numbers(self, keyword: str) -> np.ndarray | None:
        """Returns a value that may differ between slices: float64 `()`, `(k,)` or `(k, t)`, or `None` if not stated."""
        texts = self.texts(keyword)
        return None if texts is None else np.vectorize(lambda v: _number(keyword, v), otypes=[np.float64])(texts)

    def texts(self, keyword: str) -> np.ndarray | None:
        """Returns a value that may differ between slices: text `()`, `(k,)` or `(k, t)`, or `None` if not stated.

        Raises:
            ValueError: some slices state the value and others do not.
        """
        value = self._find(keyword)
        if value is None:
            return None
        values = np.array(value.values if isinstance(value, _PerSlice) else value, dtype=object)
        if any(item is None for item in values.flat):
            raise ValueError(f"{named(keyword)} is missing in some slices of the series and stated in others")
        return np.vectorize(lambda item: str(item).strip(), otypes=[object])(values)

    def _find(self, keyword: str) -> Any:
        if keyword in self.stated:
            return self.stated[keyword]
        if keyword in _RADIOPHARMACEUTICAL:
            return self._radiopharmaceutical().get(keyword)
        where, key = (self.extra, keyword) if keyword not in _PRIVATE else self._private(keyword)
        if key in where:
            return where[key]
        per_slice = self.extra.get("per_slice", {})
        if keyword in _PRIVATE:
            per_slice = per_slice.get("private", {})
        return _PerSlice(per_slice[key]) if key in per_slice else None

    def _radiopharmaceutical(self) -> Mapping[str, Any]:
        keyword = "RadiopharmaceuticalInformationSequence"
        items = self.value(keyword) or [{}]
        if not isinstance(items, list | tuple) or not all(isinstance(item, Mapping) for item in items):
            raise ValueError(f"{named(keyword)} is no list of items, each with its attributes by keyword")
        if len(items) > 1:
            raise ValueError(f"{named(keyword)} lists {len(items)} injections; state the one to use by tags={{...}}")
        return items[0]

    def _private(self, name: str) -> tuple[Mapping[str, Any], str]:
        """Finds a private attribute: it lies in the block whose creator is the vendor (PS3.5 section 7.8.1)."""
        creator, usual = _PRIVATE[name]
        attributes = self.extra.get("private", {})
        for tag, value in attributes.items():
            if tag.startswith(f"{usual[:6]}00") and str(value).strip() == creator:
                return attributes, f"{usual[:6]}{tag[8:10]}{usual[8:]}"
        return attributes, usual


@dataclasses.dataclass(frozen=True)
class _PerSlice:
    values: list[Any]


def _number(keyword: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{named(keyword)} is {text!r}, not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{named(keyword)} is {text!r}, not a finite number")
    return value


_MOMENT = re.compile(r"(\d{8})(\d{2})?(\d{2})?(\d{2})?(?:\.(\d{1,6}))?([+-]\d{4})?")


def moment(text: str, keyword: str, zone: str | None = None) -> dt.datetime:
    """Reads a DICOM date and time, `YYYYMMDDHHMMSS.FFFFFF&ZZXX` (PS3.5 section 6.2), as local time.

    Args:
        text: The DT value, or a DA value followed by a TM value.
        keyword: The attribute that an error names.
        zone: Timezone Offset From UTC (0008,0201) of the header. A time with another offset is converted to it.

    Raises:
        ValueError: the text is no date with a time.

    Example:
        >>> moment("20240229233059.5", "SeriesTime").isoformat()
        '2024-02-29T23:30:59.500000'
        >>> moment("20240229233000+0000", "RadiopharmaceuticalStartDateTime", "+0100").isoformat()
        '2024-03-01T00:30:00'
    """
    found = _MOMENT.fullmatch(text.replace(":", "").strip())
    if found is None or found[2] is None:
        raise ValueError(f"{named(keyword)} holds {text!r}, which is no DICOM date and time")
    day, hour, minute, second, fraction, offset = found.groups(default="")
    try:
        time = dt.datetime.strptime(day + hour + (minute or "00") + (second or "00"), "%Y%m%d%H%M%S")
    except ValueError:
        raise ValueError(f"{named(keyword)} holds {text!r}, which is no DICOM date and time") from None
    time += dt.timedelta(microseconds=int(fraction.ljust(6, "0")))
    if not (offset and zone):
        return time
    shift = _shift(zone) - _shift(offset)
    try:
        return time + shift
    except OverflowError:
        raise ValueError(f"{named(keyword)} holds {text!r}, which is out of the calendar in the zone {zone}") from None


def _shift(offset: str | None) -> dt.timedelta:
    """Reads an offset such as `+0130` as a duration."""
    found = re.fullmatch(r"([+-])(\d{2})(\d{2})", offset or "")
    if found is None:
        raise ValueError(f"{named('TimezoneOffsetFromUTC')} holds {offset!r}, not +HHMM or -HHMM")
    minutes = 60 * int(found[2]) + int(found[3])
    return dt.timedelta(minutes=-minutes if found[1] == "-" else minutes)
