"""A file's header without what names a person: for printing, not a de-identification of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["withheld"]

# Keywords whose values name a person, a place or an object that leads to one; and the free texts people write names in.
_NAMING = re.compile(
    r"Name|IDs?$|UIDs?$|ID(Sequence|s|Issuer)|Issuer|Birth|Address|Telephone|Physician|Operator|Institution|Department"
    r"|Accession|Comments?$|Occupation|Insurance|Ethnic|Religio|Contact|Person|Requested|Requesting|Referenc|Station"
    r"|SerialNumber|AdditionalPatientHistory|History|Reason|Admi(t|ssion)|Order|Placer|Filler|Trial|Responsible|Residence"
    r"|Military|Branch|Mother|Deceased|Date|DateTime|Time$|Description|Label$|Text|Notes?$|Unknown|Private|Allerg|Pregnan"
    r"|^(descrip|db_name|aux_file|intent_name|data_type|content|source|patient_\w+|study_\w+|series_\w+)$",
)
_HARMLESS = re.compile(
    r"^(EchoTime|RepetitionTime|InversionTime|ExposureTime|TriggerTime|FrameTime|FrameReferenceTime|SOPClassUID"
    r"|TransferSyntaxUID|ManufacturerModelName|ActualFrameDuration|RadionuclideHalfLife|SequenceName|PulseSequenceName)$"
)

WITHHELD = "<withheld>"


def withheld(header: Any, key: str = "") -> Any:
    """A header in which values that may name somebody are withheld; numbers of the scan stay.

    Example:
        >>> withheld({"PatientName": "A^B", "KVP": 120, "Items": [{"StationName": "x", "Rows": 4}]})
        {'PatientName': '<withheld>', 'KVP': 120, 'Items': [{'StationName': '<withheld>', 'Rows': 4}]}
    """
    if key and _NAMING.search(key) and not _HARMLESS.match(key):
        return WITHHELD
    if key and not re.fullmatch(r"\w+", key):  # a private tag: its meaning is unknown
        return WITHHELD
    if isinstance(header, Mapping):
        return {name: withheld(value, str(name)) for name, value in header.items()}
    if isinstance(header, list | tuple):
        return [withheld(value) for value in header]
    if isinstance(header, str) and len(header) > _LONGEST_CODE:
        return WITHHELD
    return header


_LONGEST_CODE = 64
"""Coded values are at most 16 characters (CS), short texts 64 (LO): what is longer is prose."""
