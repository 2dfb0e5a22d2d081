"""The metadata that enters files without a field for it: one rule for NIfTI, MetaImage and NRRD.

These files are made to be passed on, so nothing that names a patient, a study or a day enters them. Of the typed fields
they get `modality`, `subtype`, `is_contrast_administered` and `display`, as JSON in a place that other readers pass
over. A file's header in `metadata.extra` goes back into files of the same format. DICOM and the HDF5 store keep the
identity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._image._kind import Kind
from medjax._image._metadata import Metadata
from medjax.io._disk._warn import warn

__all__ = [
    "KIND_KEY",
    "METADATA_KEY",
    "extra_of",
    "kept_kind",
    "metadata_from_json",
    "metadata_to_json",
    "shared",
    "shared_metadata",
]

METADATA_KEY = "MedjaxMetadata"
KIND_KEY = "MedjaxKind"

_SHARED_TYPES: dict[str, type] = {"modality": str, "subtype": str, "is_contrast_administered": bool, "display": dict}


def shared(metadata: Metadata | None) -> dict[str, Any]:
    """Returns the typed fields that are stated and may enter a file made to be passed on.

    Example:
        >>> shared(mj.Metadata(modality="CT", patient_id="123", clinical={"weight": 70}))
        {'modality': 'CT'}
    """
    values = {name: getattr(metadata, name, None) for name in _SHARED_TYPES}
    values["display"] = dict(values["display"] or {})
    return {name: value for name, value in values.items() if value not in (None, {})}


def shared_metadata(values: Mapping[str, Any]) -> Metadata:
    """Returns metadata with the fields that `shared` gave. Other fields, and those of a wrong type, are left out."""
    known: dict[str, Any] = {name: v for name, v in values.items() if isinstance(v, _SHARED_TYPES.get(name, ()))}
    return Metadata(**known)


def extra_of(metadata: Any) -> Mapping[str, Any]:
    """Returns the header of the file that an image of these metadata comes from, empty where there is none."""
    return metadata.extra if isinstance(metadata, Metadata) else {}


def metadata_to_json(path: Path, metadata: Any) -> str | None:
    """Returns the fields that `shared` gives as one line of ASCII; `None` if there are none.

    Raises:
        UnsupportedFileError: `display` holds a value that JSON cannot.
    """
    found = shared(metadata if isinstance(metadata, Metadata) else None)
    try:
        return json.dumps(found) if found else None
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsupportedFileError(
            path,
            f"the metadata's display holds a value that cannot be saved: {error}",
            "keep to text, numbers, booleans, None, lists and dicts with text keys",
        ) from error


def metadata_from_json(path: Path, text: str) -> Metadata:
    """Reads the text that `metadata_to_json` wrote. Damaged fields are left out, with a warning."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    metadata = shared_metadata(values) if isinstance(values, dict) else Metadata()
    if not isinstance(values, dict) or values.keys() & _SHARED_TYPES.keys() - shared(metadata).keys():
        warn(path, f"its {METADATA_KEY} are damaged and left out")
    return metadata


def kept_kind(value: Any, dtype: np.dtype) -> Kind:
    """Returns the image kind that the key states. Labels that are no integers are intensities."""
    return "label" if value == "label" and dtype.kind in "iu" else "intensity"
