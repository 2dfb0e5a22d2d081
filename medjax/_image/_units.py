"""The unit of the values, as the header of the source states it; importable without JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medjax._image._metadata import Metadata

__all__ = ["units_of"]

# CT Image Storage and Enhanced CT Image Storage, PS3.4 section B.5.
_CT = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1")

# Rescale Type "US" is DICOM's word for an unspecified unit (PS3.3 section C.11.1.1.2), and the others are NRRD's.
_UNSPECIFIED = ("", "US", "???", "none")


def units_of(metadata: Metadata) -> str | None:
    """Returns the unit of the values in the words of the file; `None` where the file states none.

    This is Units (0054,1001) of PET, Dose Units (3004,0002), Rescale Type (0028,1054), the code of a Real World Value
    Mapping, or the sample units of a NRRD. A CT that rescales its values is in HU unless it says otherwise (PS3.3
    section C.8.2.1.1); a localizer is not.

    Example:
        >>> units_of(mj.Metadata(extra={"Units": "BQML"})), units_of(mj.Metadata(extra={"RescaleType": "US"}))
        ('BQML', None)
    """
    extra = metadata.extra
    stated = (extra.get(name) for name in ("Units", "DoseUnits", "RescaleType", "sample units"))
    found = [text for text in (*stated, _mapped_unit(extra)) if isinstance(text, str) and text not in _UNSPECIFIED]
    return found[0] if found else "HU" if _is_rescaled_ct(extra) else None


def _mapped_unit(extra: Mapping[str, Any]) -> Any:
    """The code of the unit in the first Real World Value Mapping (PS3.3 section C.7.6.16.2.11)."""
    item: Any = extra
    for name in ("RealWorldValueMappingSequence", "MeasurementUnitsCodeSequence"):
        items = item.get(name)
        if not isinstance(items, list | tuple) or not items or not isinstance(items[0], Mapping):
            return None
        item = items[0]
    return item.get("CodeValue")


def _is_rescaled_ct(extra: Mapping[str, Any]) -> bool:
    types = extra.get("ImageType")
    is_localizer = isinstance(types, list | tuple) and "LOCALIZER" in types
    is_silent = "RescaleType" not in extra
    return extra.get("SOPClassUID") in _CT and "RescaleIntercept" in extra and is_silent and not is_localizer
