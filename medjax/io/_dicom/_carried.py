"""From the JSON form that `metadata.extra` has back to DICOM attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from medjax.io._disk._warn import warn

__all__ = ["as_list", "carried"]


def carried(values: Mapping[str, Any], keywords: Iterable[str], path: Path) -> Dataset:
    """The attributes of these keywords that hold a valid value. A warning names the others, which are left out."""
    dataset, invalid = Dataset(), []
    for keyword in keywords:
        if values.get(keyword) is None:
            continue
        try:
            dataset.add(_element(keyword, values[keyword]))
        except (ValueError, TypeError, OverflowError, KeyError, AttributeError, NotImplementedError):
            invalid.append(keyword)
    if invalid:
        warn(path, f"{', '.join(sorted(invalid))} of the source are not valid DICOM and were left out")
    return dataset


def _element(keyword: str, value: Any) -> DataElement:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    vr = dictionary_VR(tag)
    values = [_value(item, vr) for item in as_list(value)]
    single = values[0] if len(values) == 1 and vr != "SQ" else values
    return DataElement(tag, vr, single, validation_mode=config.RAISE)


def _value(value: Any, vr: str) -> Any:
    """One value in the type that pydicom writes for the value representation (PS3.5 section 6.2)."""
    if value is None:
        return ""
    if vr == "SQ":
        return _sequence_item(value)
    if vr == "DS":
        return DSfloat(float(value), auto_format=True)
    if vr == "IS" or vr in ("US", "UL", "SS", "SL", "UV", "SV"):
        return int(value)
    if vr in ("FL", "FD"):
        return float(value)
    if vr == "AT":
        return int(str(value).strip("()").replace(",", ""), 16)
    if vr in ("OB", "OD", "OF", "OL", "OV", "OW", "UN") or " or " in vr or isinstance(value, dict | list):
        raise TypeError(vr)
    return str(value)


def _sequence_item(value: Any) -> Dataset:
    item = Dataset()
    for keyword, stated in value.items():
        if keyword != "private" and stated is not None:
            item.add(_element(keyword, stated))
    return item


def as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
