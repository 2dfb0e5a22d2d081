"""Metadata in formats that have no field for it: JSON under a key of our own, which other readers pass over."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medjax._image import Image
from medjax._metadata import Metadata
from medjax.io._errors import ImageFileWarning, UnsupportedFileError
from medjax.io._files import warn

__all__ = ["KIND_KEY", "METADATA_KEY", "kept_kind", "metadata_from_json", "metadata_to_json"]

METADATA_KEY = "MedjaxMetadata"
KIND_KEY = "MedjaxKind"

_TYPES: dict[str, type] = {
    "acquisition_time": dt.datetime,
    "is_contrast_administered": bool,
    "display": Mapping,
    "clinical": Mapping,
    "extra": Mapping,
}


def metadata_to_json(path: Path, image: Image) -> str | None:
    """Returns everything the metadata states as one line of ASCII, `None` where it states nothing.

    The source is left out: it names the file that was read, so the new file takes its place.

    Raises:
        UnsupportedFileError: a mapping holds something that JSON cannot.
    """
    if not isinstance(image.metadata, Metadata):
        return None
    try:
        text = image.metadata.replace(source=None).to_json()
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsupportedFileError(
            path,
            f"the metadata's display, clinical or extra hold a value that cannot be saved: {error}",
            "keep to text, numbers, booleans, None, lists and dicts with text keys",
        ) from error
    return None if text == "{}" else text


def metadata_from_json(path: Path, text: str) -> Metadata | None:
    """Reads what `metadata_to_json` wrote; warns and returns `None` where it was damaged since."""
    try:
        metadata = Metadata.from_json(text)
    except (ValueError, TypeError, AttributeError, RecursionError):
        metadata = None
    if metadata is None or not all(_is_sound(metadata, field.name) for field in dataclasses.fields(Metadata)):
        warn(path, f"its {METADATA_KEY} are damaged and left out", ImageFileWarning)
        return None
    return metadata


def _is_sound(metadata: Metadata, name: str) -> bool:
    value = getattr(metadata, name)
    return value is None or isinstance(value, _TYPES.get(name, str))


def kept_kind(value: Any, voxels: Any) -> Any:
    """Returns the image kind that the key states; labels that are no integers are intensities."""
    return "label" if value == "label" and voxels.dtype.kind in "iu" else "intensity"
