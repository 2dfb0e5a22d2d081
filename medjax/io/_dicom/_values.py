"""An attribute or a data set in JSON's types, the form of `metadata.extra` that `_metadata` describes."""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from medjax.io._dicom._stored import is_lossy, texts_of

__all__ = ["BULK", "header_of", "json_value", "parse_datetime", "place", "representation_of"]

# Value representations of bulk data (PS3.5 section 6.2). UN (unknown) is kept if it is text.
BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
# Value representations of text that needs no character set, with one backslash between values.
_PLAIN_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"})


def header_of(dataset: Dataset, *, skip: Iterable[int] = ()) -> dict[str, Any]:
    """One dataset as a mapping from keyword to JSON-safe value, private attributes under "private"."""
    header: dict[str, Any] = {}
    for tag in dataset.keys() - set(skip):
        place(header, tag, json_value(dataset, tag))
    return dict(sorted(header.items()))


def place(header: dict[str, Any], tag: int, value: Any) -> None:
    """Enters a value under its keyword, or a private one under "private" by its tag. `None` is left out."""
    if value is None:
        return
    if BaseTag(tag).is_private:
        header.setdefault("private", {})[_tag_text(tag)] = value
    elif keyword := _keyword(tag):
        header[keyword] = value


@functools.lru_cache(maxsize=4096)
def _keyword(tag: int) -> str:
    return keyword_for_tag(tag)


def _tag_text(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def json_value(dataset: Dataset, tag: int) -> Any:
    """The value of an attribute in JSON's types; `None` where it is empty, bulk data or not decodable."""
    if tag & 0xFFFF == 0:  # group length, retired (PS3.5 section 7.2)
        return None
    try:
        return _decoded(dataset, tag)
    except Exception:  # noqa: BLE001
        return None  # the value is not known; pydicom decodes on access, and its converters raise any error


def _decoded(dataset: Dataset, tag: int) -> Any:
    raw = dataset.get_item(tag)
    vr = raw.VR or representation_of(tag) if isinstance(raw, RawDataElement) else ""
    if vr in BULK:
        return None
    if vr in _PLAIN_TEXT and raw.value is not None and _is_ascii(raw.value):
        return _from_text(raw.value.decode("ascii"), vr)
    element = dataset[tag]
    value = None if element.VR in BULK else _json_of(element.value, element.VR)
    if is_lossy(value) and isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        dataset[tag] = raw  # the decoded value has lost the bytes
        texts = [text.strip(" \0") or None for text in texts_of(raw.value, ["ascii"])]
        return texts if len(texts) > 1 else texts[0]
    return value


@functools.lru_cache(maxsize=4096)
def representation_of(tag: int) -> str:
    """The value representation of a public attribute, for a file that does not state it."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _is_ascii(value: Any) -> bool:
    """Whether the bytes need no character set: all are ASCII, without an escape sequence (ISO 2022)."""
    return isinstance(value, bytes) and value.isascii() and b"\x1b" not in value


def _from_text(text: str, vr: str) -> Any:
    """Reads a value stored as ASCII text, as pydicom does but without its checks. Most of a header is such text."""
    convert = _CONVERTERS.get(vr, str)
    values = [convert(part.strip(" \0")) if part.strip(" \0") else None for part in text.rstrip(" \0").split("\\")]
    return values if len(values) > 1 else values[0]


def _decimal(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _integer(text: str) -> int | float:
    """An integer string. One with a fraction breaks the rules and becomes a float."""
    return int(text) if "." not in text else float(text)


_CONVERTERS: dict[str, Callable[[str], Any]] = {"DS": _decimal, "IS": _integer}


def _json_of(value: Any, vr: str) -> Any:
    if value is None or (isinstance(value, str | bytes | PersonName) and not value):
        return None
    if vr == "SQ":
        return [header_of(item) for item in value] or None
    if isinstance(value, MultiValue | list | tuple):
        return [_json_of(item, vr) for item in value] or None
    if vr == "AT":
        return _tag_text(int(value))
    if isinstance(value, bytes):
        return _printable(value)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, str):  # before numbers: no text type of pydicom is a number
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value) or None
    return number if math.isfinite(number) else str(value)


def _printable(value: bytes) -> str | None:
    text = value.rstrip(b"\0 ").decode("ascii", "replace")
    return text if text and text.isprintable() and "�" not in text else None


def parse_datetime(text: str, offset: str = "") -> dt.datetime | None:
    """Reads a DICOM DT (PS3.5 section 6.2), `YYYYMMDDHHMMSS.FFFFFF&ZZXX`, at least to the day; `None` for other text.

    Args:
        text: The date and time. The old form with dots and colons, 1997.07.15 12:30:00, is read too.
        offset: Timezone Offset From UTC (0008,0201), for a text that states no offset.

    Example:
        >>> parse_datetime("20240229123059.5")
        datetime.datetime(2024, 2, 29, 12, 30, 59, 500000)
        >>> parse_datetime("2024022912", "+0130").isoformat()
        '2024-02-29T12:00:00+01:30'
    """
    sign = max(text.rfind("+"), text.rfind("-"))
    zone = text[sign:] if sign >= 8 else offset
    whole, _, fraction = (text[:sign] if sign >= 8 else text).partition(".") if "." not in text[:8] else (text, "", "")
    digits = "".join(c for c in whole if c.isdigit())
    if len(digits) < 8 or len(digits) % 2 or len(digits) > 14:
        return None
    try:
        parts = [int(digits[:4])] + [int(digits[n : n + 2]) for n in range(4, len(digits), 2)]
        microsecond = int((fraction + "000000")[:6]) if fraction.isdigit() else 0
        return dt.datetime(*parts, microsecond=microsecond, tzinfo=_zone(zone))  # type: ignore[arg-type, misc]
    except ValueError:
        return None


def _zone(text: str) -> dt.tzinfo | None:
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return dt.timezone(dt.timedelta(minutes=-minutes if text[0] == "-" else minutes))
