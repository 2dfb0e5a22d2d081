"""Data besides voxels and geometry: header fields in `metadata.extra`, and the package's note in an extension.

The note is an extension of code 6 (comment) that holds one JSON object,
`{"medjax": 1, "affine": ..., "channels": ..., "dtype": ..., "metadata": ...}`. Each part is optional:

- `affine`: index to LPS mm in float64, where the header's float32 rounds it;
- `channels`: the sizes of the trailing axes, where NIfTI's axes do not tell them;
- `dtype`: the voxels' dtype before saving, where NIfTI has no such type;
- `metadata`: the typed fields that name nobody (`medjax.io._disk._passed_on`).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._geometry._grid import check_affine
from medjax._image._metadata import Metadata
from medjax.io._disk._passed_on import shared, shared_metadata
from medjax.io._disk._text import header_text
from medjax.io._nifti._header import Header

__all__ = [
    "COMMENT",
    "LABEL_INTENT",
    "Note",
    "channels_of",
    "extensions_in",
    "extra_of",
    "fields_in",
    "note_of",
]

LABEL_INTENT = 1002

COMMENT = 6

_ALWAYS = ("sizeof_hdr", "datatype", "xyzt_units", "sform_code", "qform_code")
_QFORM = tuple(f"quatern_{part}" for part in "bcd") + tuple(f"qoffset_{axis}" for axis in "xyz")
_SFORM = tuple(f"srow_{axis}" for axis in "xyz")
_WHERE_STATED = (
    *("dim_info", "intent_code", "intent_p1", "intent_p2", "intent_p3", "slice_start", "slice_end", "slice_code"),
    *("slice_duration", "toffset", "cal_max", "cal_min", "scl_slope", "scl_inter"),
)
_TEXTS = ("descrip", "aux_file", "intent_name")
_LENGTHS = {"dim": 8, "pixdim": 8, **dict.fromkeys(_SFORM, 4)}
_NUMBERS = (*_ALWAYS, *_QFORM, *_WHERE_STATED)


def extra_of(header: Header, extensions: list[tuple[int, bytes]]) -> dict[str, Any]:
    """Returns the header fields that are not empty by their names, in JSON's types."""
    fields = header.fields
    extra: dict[str, Any] = {name: fields[name] for name in _ALWAYS}
    names = (_SFORM if fields["sform_code"] > 0 else ()) + (_QFORM if fields["qform_code"] > 0 else ())
    extra |= {name: _finite(fields[name]) for name in ("dim", "pixdim", *names)}
    extra |= {name: fields[name] for name in _WHERE_STATED if fields[name] != 0 and math.isfinite(fields[name])}
    extra |= {name: header_text(fields[name].partition(b"\0")[0]) for name in _TEXTS if fields[name]}
    if extensions:
        extra["extensions"] = [
            {"ecode": code, "base64": base64.b64encode(content).decode("ascii")} for code, content in extensions
        ]
    return extra


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(item) for item in value]
    return value if math.isfinite(value) else 0.0


def fields_in(extra: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Returns the NIfTI fields that `metadata.extra` holds, by their names.

    Raises:
        UnsupportedFileError: a field has a wrong type or length.
    """
    fields: dict[str, Any] = {}
    for name in (*_NUMBERS, *_TEXTS, *_LENGTHS):
        if name in extra:
            _check_type(name, extra[name], path)
            fields[name] = extra[name]
    return fields


def _check_type(name: str, value: Any, path: Path) -> None:
    if name in _TEXTS:
        is_right = isinstance(value, str)
    elif name in _LENGTHS:
        is_right = isinstance(value, list | tuple) and len(value) == _LENGTHS[name] and all(map(_is_number, value))
    else:
        is_right = _is_number(value)
    if not is_right:
        raise UnsupportedFileError(path, f"metadata.extra[{name!r}] is {value!r}, not a value of that NIfTI field")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def extensions_in(extra: Mapping[str, Any], path: Path) -> list[tuple[int, bytes]]:
    """Returns the extensions that `metadata.extra` holds, `(code, content)`.

    Raises:
        UnsupportedFileError: the entry does not have the form that reading gives it.
    """
    try:
        found = extra.get("extensions", [])
        return [(int(item["ecode"]), base64.b64decode(item["base64"], validate=True)) for item in found]
    except (KeyError, TypeError, ValueError, binascii.Error):
        reason = "metadata.extra['extensions'] is not a list of {'ecode': number, 'base64': text}"
        raise UnsupportedFileError(path, reason) from None


def channels_of(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the sizes of an image's trailing axes: NIfTI's axes from the fourth on, or the fifth alone without time.

    Example:
        >>> channels_of((9, 9, 9, 20)), channels_of((9, 9, 9, 1, 3)), channels_of((9, 9))
        ((20,), (3,), ())
    """
    return dims[4:] if len(dims) == 5 and dims[3] == 1 else dims[3:]


@dataclasses.dataclass(frozen=True)
class Note:
    """The data that medjax writes into an extension because NIfTI has no place for it."""

    affine: np.ndarray | None = None
    channels: tuple[int, ...] | None = None
    dtype: str | None = None
    metadata: Metadata = dataclasses.field(default_factory=Metadata)

    def to_bytes(self) -> bytes:
        """Returns the extension's content, empty if there is nothing to note.

        Raises:
            TypeError: `metadata.display` holds a value that JSON cannot.
        """
        parts: dict[str, Any] = {
            "affine": None if self.affine is None else self.affine.tolist(),
            "channels": self.channels,
            "dtype": self.dtype,
            "metadata": shared(self.metadata) or None,
        }
        parts = {name: value for name, value in parts.items() if value is not None}
        return json.dumps({"medjax": 1, **parts}).encode("ascii") if parts else b""


def note_of(extensions: list[tuple[int, bytes]]) -> tuple[Note, list[tuple[int, bytes]]]:
    """Takes the package's note out of a file's extensions. A note that makes no sense stays an ordinary comment."""
    for number, (code, content) in enumerate(extensions):
        note = _parsed_note(content) if code == COMMENT and content.startswith(b'{"medjax"') else None
        if note is not None:
            return note, extensions[:number] + extensions[number + 1 :]
    return Note(), extensions


def _parsed_note(content: bytes) -> Note | None:
    try:
        parts = json.loads(content.rstrip(b"\0"))
        affine = None if parts.get("affine") is None else check_affine(parts["affine"])
        channels = None if parts.get("channels") is None else tuple(int(size) for size in parts["channels"])
        metadata = shared_metadata(parts.get("metadata", {}))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    if affine is not None and affine.shape != (4, 4):
        return None
    dtype = parts.get("dtype")
    extra = {"saved_from_dtype": dtype} if isinstance(dtype, str) else {}
    return Note(affine, channels, None, metadata.replace(extra=extra))
