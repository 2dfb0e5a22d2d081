"""Single attributes of a header as they are stored, decoded one by one and without changing the data set.

pydicom decodes an element in place on its first access. The headers of a series could then no longer be compared byte
by byte, so attributes that are asked of every file are read here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import MutableSequence, Sequence
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes, default_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import TEXT_VR_DELIMS

from medjax.io._dicom._quiet import quiet

__all__ = [
    "first_text",
    "is_lossy",
    "numbers",
    "series_number",
    "stored_element",
    "stored_value",
    "tag_of",
    "texts_of",
    "whole_number",
]

_CHARACTER_SET = BaseTag(0x00080005)
_SERIES_NUMBER = BaseTag(0x00200011)
_NUMBER_OF_FRAMES = BaseTag(0x00280008)


@functools.cache
def tag_of(keyword: str) -> int:
    """The tag of an attribute of the standard; 0 for any other keyword."""
    return tag_for_keyword(keyword) or 0


def stored_element(dataset: Dataset, tag: int) -> Any:
    """An element as it was read, undecoded unless it was decoded before; `None` where it is missing or damaged."""
    try:
        return dataset.get_item(tag)
    except Exception:  # noqa: BLE001
        return None  # pydicom decodes an element left on disk on access, and its converters raise any error


def stored_value(dataset: Dataset, tag: int) -> Any:
    """The value of an element: bytes, unless it was decoded before; `None` where it is missing or damaged."""
    element = stored_element(dataset, tag)
    return None if element is None else element.value


def first_text(dataset: Dataset, tag: int) -> str:
    """The first value of a text attribute, in the file's character set; empty where there is none.

    Two values that differ stay different: bytes that the character set does not know become escapes.
    """
    value = stored_value(dataset, tag)
    if isinstance(value, bytes):
        is_plain = value.isascii() and b"\x1b" not in value  # as nearly all are: no character set is needed
        return texts_of(value, [] if is_plain else _encodings_of(dataset))[0].strip(" \0")
    if value is None or isinstance(value, str):
        return "" if value is None else str(value).strip()
    return str(value[0]) if hasattr(value, "__len__") and len(value) else ""


def texts_of(value: bytes, encodings: Sequence[str]) -> list[str]:
    """The values of a text in its character sets, by Python's names. Bytes that these do not know become escapes."""
    if not value.isascii() or b"\x1b" in value:
        with quiet():
            text = decode_bytes(value, encodings, TEXT_VR_DELIMS)
        if not is_lossy(text):
            return text.split("\\")
    return [part.decode("ascii", "backslashreplace") for part in value.split(b"\\")]


def is_lossy(text: Any) -> bool:
    """Whether pydicom put a stand-in for bytes that it could not decode."""
    return "\ufffd" in (text if isinstance(text, str) else "".join(map(str, text)) if isinstance(text, list) else "")


def _encodings_of(dataset: Dataset) -> list[str]:
    """Specific Character Set (0008,0005) by Python's names; the default where it is absent or unknown."""
    value = stored_value(dataset, _CHARACTER_SET)
    names = value.decode("ascii", "replace").split("\\") if isinstance(value, bytes) else value
    names = [names] if isinstance(names, str) else list(names or [""])
    with quiet():
        try:
            return convert_encodings([str(name).strip(" \0") for name in names])
        except (LookupError, ValueError):
            return [default_encoding]


def series_number(dataset: Dataset) -> int | None:
    """Series Number (0020,0011); `None` where it is absent or no number."""
    try:
        return int(first_text(dataset, _SERIES_NUMBER))
    except ValueError:
        return None


def numbers(dataset: Dataset, tag: int, count: int | None = None) -> tuple[float, ...] | None:
    """The values of a decimal-string attribute; `None` if missing, malformed, not finite or of another count."""
    value = stored_value(dataset, tag)
    if not value and value != 0:
        return None
    try:
        if isinstance(value, bytes):
            found = tuple(float(part) for part in value.strip(b" \0").split(b"\\"))
        else:
            found = tuple(float(part) for part in (value if hasattr(value, "__len__") else [value]))
    except (TypeError, ValueError):
        return None
    if (count is not None and len(found) != count) or not all(map(math.isfinite, found)):
        return None
    return found


def whole_number(dataset: Dataset, tag: int) -> int | None:
    """The first value of an unsigned short or integer-string attribute; `None` where it is missing or malformed.

    Nothing is decoded in place, so that the headers of a series can still be compared byte by byte.
    """
    element = stored_element(dataset, tag)
    value = None if element is None else element.value
    try:
        if isinstance(element, RawDataElement) and isinstance(value, bytes):
            if element.VR == "IS" or (element.VR is None and tag == _NUMBER_OF_FRAMES):
                return int(value.split(b"\\")[0].strip(b" \0"))
            return (
                int.from_bytes(value[:2], "little" if element.is_little_endian else "big") if len(value) >= 2 else None
            )
        first = value[0] if isinstance(value, MutableSequence) else value
        return None if first is None or first == "" else int(first)
    except (TypeError, ValueError):
        return None
