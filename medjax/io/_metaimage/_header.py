"""MetaImage headers: the lines as fields, and the geometry and metadata that they state."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._image._metadata import Metadata
from medjax.io._disk._elements import checked_affine
from medjax.io._disk._passed_on import METADATA_KEY, metadata_from_json
from medjax.io._disk._text import header_text
from medjax.io._disk._warn import warn

__all__ = [
    "BYTE_ORDER_KEYS",
    "DTYPES",
    "FORMAT_KEYS",
    "INTERCEPT_KEY",
    "MAX_DIMENSIONS",
    "MODALITIES",
    "SLOPE_KEY",
    "TYPE_NAMES",
    "Header",
    "affine_of",
    "described",
    "metadata_of",
    "read_header",
]

# Sizes in files are fixed, whatever the machine: MET_LONG has 4 bytes (MetaIO metaTypes.h).
DTYPES = {
    "MET_CHAR": "i1",
    "MET_ASCII_CHAR": "i1",
    "MET_STRING": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_FLOAT_MATRIX": "f4",
    "MET_DOUBLE": "f8",
}
_ONLY_READ = ("MET_ASCII_CHAR", "MET_STRING", "MET_LONG", "MET_ULONG", "MET_FLOAT_MATRIX")
TYPE_NAMES = {np.dtype(code): name for name, code in DTYPES.items() if name not in _ONLY_READ}

_MATRIX_KEYS = ("TransformMatrix", "Rotation", "Orientation")
_ORIGIN_KEYS = ("Origin", "Offset", "Position")
_SPACING_KEYS = ("ElementSpacing", "ElementSize")
BYTE_ORDER_KEYS = ("ElementByteOrderMSB", "BinaryDataByteOrderMSB")
SLOPE_KEY, INTERCEPT_KEY = "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"
_INTEGER_KEYS = {"NDims", "DimSize", "HeaderSize", "ElementNumberOfChannels", "ElementNBits"}
_INTEGER_KEYS |= {"CompressedDataSize", "CompressionLevel"}
_FLOAT_KEYS = {*_MATRIX_KEYS, *_ORIGIN_KEYS, *_SPACING_KEYS, "CenterOfRotation", "ElementMin", "ElementMax"}
_FLOAT_KEYS |= {SLOPE_KEY, INTERCEPT_KEY}
_BOOLEAN_KEYS = {"BinaryData", "CompressedData", *BYTE_ORDER_KEYS}
_TEXT_KEYS = {"ObjectType", "AnatomicalOrientation", "DistanceUnits", "Modality", "ElementType", "ElementDataFile"}
# The unit of the fourth dimension's spacing. It is not MetaIO's, which passes over it.
_TEXT_KEYS |= {"TimeUnit"}
FORMAT_KEYS = _INTEGER_KEYS | _FLOAT_KEYS | _BOOLEAN_KEYS | _TEXT_KEYS

_MILLIMETRES = {"mm": 1.0, "um": 1e-3, "cm": 10.0}
MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}

MAX_DIMENSIONS = 10  # MetaIO's own limit
_MAX_HEADER_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class Header:
    """The fields as text, the names after `ElementDataFile = LIST`, and the bytes up to the data."""

    path: Path
    fields: Mapping[str, str]
    names: tuple[str, ...]
    size: int

    def first(self, *keys: str) -> str | None:
        return next((self.fields[key] for key in keys if key in self.fields), None)

    def flag(self, *keys: str, default: bool = False) -> bool:
        value = self.first(*keys)
        return default if not value else value[0] in "Tt1"

    def integers(self, key: str, count: int) -> list[int]:
        numbers = self.floats(key, count=count)
        if numbers is None:
            raise ImageFileError(self.path, f"the header lacks {key}")
        if any(number != int(number) for number in numbers):
            raise ImageFileError(self.path, f"{key} must be whole numbers, got {self.fields[key]!r}")
        return [int(number) for number in numbers]

    def floats(self, *keys: str, count: int) -> list[float] | None:
        text = self.first(*keys)
        if text is None:
            return None
        try:
            numbers = [float(word) for word in text.split(maxsplit=count)[:count]]
        except ValueError:
            numbers = []
        if len(numbers) < count or not all(map(math.isfinite, numbers)):
            raise ImageFileError(self.path, f"{' or '.join(keys)} must hold {count} finite numbers, got {text[:80]!r}")
        return numbers


def read_header(path: Path, file: io.BufferedReader) -> Header:
    fields: dict[str, str] = {}
    names: tuple[str, ...] = ()
    while "ElementDataFile" not in fields:
        line = file.readline(_MAX_HEADER_BYTES)
        if not line or file.tell() >= _MAX_HEADER_BYTES:
            raise ImageFileError(path, "the header does not end in ElementDataFile")
        if line.strip():
            key, value = _key_and_value(path, line)
            fields[key] = value
    size = file.tell()
    if fields["ElementDataFile"].split()[:1] == ["LIST"]:
        names = tuple(
            line.strip()
            for line in header_text(file.read(min(os.fstat(file.fileno()).st_size, _MAX_HEADER_BYTES))).splitlines()
            if line.strip()
        )
    return Header(path, fields, names, size)


def _key_and_value(path: Path, line: bytes) -> tuple[str, str]:
    separator = re.search(rb"[=:]", line)
    key = line[: separator.start()].strip() if separator else b""
    if separator is None or not key:
        raise ImageFileError(path, f"a header line of {len(line)} bytes is not 'key = value'")
    return header_text(key), header_text(line[separator.end() :].strip())


def affine_of(header: Header, dimensions: int) -> np.ndarray:
    n = dimensions
    spacing = np.array(header.floats(*_SPACING_KEYS, count=n) or [1.0] * n)
    origin = np.array(header.floats(*_ORIGIN_KEYS, count=n) or [0.0] * n)
    rows = header.floats(*_MATRIX_KEYS, count=n * n)
    turn = np.eye(n) if rows is None else np.array(rows).reshape(n, n).T
    if n > 3 and (turn[:3, 3:].any() or turn[3:, :3].any()):
        raise UnsupportedFileError(header.path, "its TransformMatrix mixes the first three axes with further ones")
    spatial = min(n, 3)
    factor = _to_millimetres(header)
    affine = np.eye(4)
    with np.errstate(over="ignore"):  # found below
        affine[:spatial, :spatial] = (turn * spacing)[:spatial, :spatial] * factor
        affine[:spatial, 3] = origin[:spatial] * factor
    return checked_affine(header.path, affine)


def _to_millimetres(header: Header) -> float:
    unit = header.fields.get("DistanceUnits", "mm")
    if unit not in _MILLIMETRES:
        warn(header.path, f"its DistanceUnits {unit[:20]!r} are unknown; taken as mm")
    elif unit != "mm":
        warn(header.path, f"its DistanceUnits {unit!r} are converted to mm; ITK takes them as mm")
    return _MILLIMETRES.get(unit, 1.0)


def metadata_of(header: Header) -> Metadata:
    pieces = [header.fields[key].removeprefix("|").removesuffix("|") for key in _piece_keys(header.fields)]
    kept = metadata_from_json(header.path, "".join(pieces)) if pieces else Metadata()
    extra = {key: _field_value(key, text) for key, text in header.fields.items() if not key.startswith("Medjax")}
    modality = kept.modality or MODALITIES.get(header.fields.get("Modality", ""))
    return kept.replace(modality=modality, extra=extra)


def _piece_keys(fields: Mapping[str, str]) -> list[str]:
    """The keys that hold one long text in pieces: MedjaxMetadata0, MedjaxMetadata1, and so on."""
    keys: list[str] = []
    while (key := f"{METADATA_KEY}{len(keys)}") in fields:
        keys.append(key)
    return keys


def _field_value(key: str, text: str) -> Any:
    """The value of a field. A field of numbers becomes one number or a list."""
    if key in _BOOLEAN_KEYS:
        return text[:1] in ("T", "t", "1")
    kind: Any = int if key in _INTEGER_KEYS else float if key in _FLOAT_KEYS else None
    try:
        numbers = [kind(word) for word in text.split()] if kind else []
    except ValueError:
        return text
    if not all(map(math.isfinite, numbers)):  # JSON has no such numbers
        return text
    return (numbers[0] if len(numbers) == 1 else numbers) if numbers else text


def described(path: Path, fields: Mapping[str, str]) -> tuple[np.ndarray, Metadata]:
    """Returns the affine and the metadata that a MetaImage of these fields has."""
    header = Header(path, fields, (), 0)
    return affine_of(header, int(fields["NDims"])), metadata_of(header)
