"""NRRD headers: the lines are sorted here, and pynrrd parses the field values."""

from __future__ import annotations

import dataclasses
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax._optional import optional
from medjax.io._disk._text import header_text

__all__ = ["FIELDS", "Header", "escaped", "read_header"]

FIELDS = {
    name.replace(" ", ""): name
    for name in (
        *("dimension", "type", "block size", "encoding", "endian", "content", "data file", "line skip", "byte skip"),
        *("min", "max", "old min", "old max", "number", "sample units", "sizes", "spacings", "thicknesses"),
        *("axis mins", "axis maxs", "centerings", "labels", "units", "kinds", "space", "space dimension"),
        *("space units", "space origin", "space directions", "measurement frame"),
    )
} | {"centers": "centerings"}
"""The format's fields by their spelling in small letters without spaces."""

_VECTOR_FIELDS = ("space directions", "space origin", "measurement frame")
_MAX_HEADER_BYTES = 2**26
_MAX_DIMENSIONS = 16  # NRRD_DIM_MAX


@dataclasses.dataclass(frozen=True)
class Header:
    """The fields and pairs of a NRRD header.

    Attributes:
        path: The file.
        fields: Parsed values by field name. Numbers are lists, `None` where the header says none or nan.
        pairs: The key/value pairs.
        names: The lines after `data file: LIST`.
        size: Bytes up to the data that follow the header.
    """

    path: Path
    fields: Mapping[str, Any]
    pairs: Mapping[str, str]
    names: tuple[str, ...]
    size: int

    @property
    def sizes(self) -> list[int]:
        """Samples along each axis, the fastest first."""
        return self.fields["sizes"]

    def per_axis(self, name: str, default: Any) -> list[Any]:
        """A field that has one value per axis, or the default for every axis."""
        values = self.fields.get(name)
        if values is None:
            return [default] * len(self.sizes)
        if len(values) != len(self.sizes):
            raise ImageFileError(self.path, f"{name} has {len(values)} entries for {len(self.sizes)} axes")
        return values


def read_header(path: Path, file: io.BufferedReader) -> Header:
    """Reads a header up to its blank line, the end of the file, or the list of data files.

    Raises:
        MissingDependencyError: pynrrd is not installed.
        ImageFileError: a line or a field breaks the format.
    """
    lines: dict[str, str] = {}
    pairs: dict[str, str] = {}
    names: tuple[str, ...] = ()
    magic = file.readline(80).strip()
    while True:
        line = header_text(file.readline(_MAX_HEADER_BYTES)).rstrip()
        if file.tell() >= _MAX_HEADER_BYTES:
            raise ImageFileError(path, f"the header does not end within {_MAX_HEADER_BYTES} bytes")
        if not line:
            break
        if not line.startswith("#"):
            _sort_line(path, line, lines, pairs)
        if lines.get("data file", "").split()[:1] == ["LIST"]:
            rest = header_text(file.read(min(os.fstat(file.fileno()).st_size, _MAX_HEADER_BYTES)))
            names = tuple(name.strip() for name in rest.splitlines() if name.strip())
            break
    size = file.tell()
    return Header(path, _parsed_fields(path, header_text(magic), lines), pairs, names, size)


def _sort_line(path: Path, line: str, fields: dict[str, str], pairs: dict[str, str]) -> None:
    """Puts `field: description` under the field's own name, `key:=value` under the key."""
    before, colon, after = line.partition(":")
    name = FIELDS.get(before.strip().lower().replace(" ", ""))
    if name is not None and not after.startswith("="):
        if name in fields:
            raise ImageFileError(path, f"the header states {name} twice")
        fields[name] = after.strip()
        return
    key, separator, value = line.partition(":=")
    if separator:
        pairs[key.strip()] = _unescaped(value.strip())
    elif not colon:
        raise ImageFileError(path, f"a header line of {len(line)} characters is neither field nor key/value pair")
    else:
        pairs[before.strip()] = after.strip()  # a field of another version


def escaped(value: str) -> str:
    """A value on one line, as the format wants it: a backslash is doubled, and a line break becomes backslash n."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(value: str) -> str:
    return re.sub(r"\\(\\|n)", lambda match: "\n" if match[1] == "n" else "\\", value)


def _parsed_fields(path: Path, magic: str, lines: Mapping[str, str]) -> dict[str, Any]:
    nrrd = optional("nrrd", "reading NRRD", path)
    missing = [name for name in ("type", "dimension", "sizes", "encoding") if name not in lines]
    if missing:
        raise TruncatedFileError(path, f"the header lacks {', '.join(missing)}")
    texts = {name: _tidy(text) if name in _VECTOR_FIELDS else text for name, text in lines.items()}
    try:
        with np.errstate(invalid="ignore"):
            values = nrrd.read_header([magic, *(f"{name}: {text}" for name, text in texts.items())])
        fields = {name: _without_nan(value) for name, value in values.items()}
        fields["sizes"] = [int(word) for word in lines["sizes"].split()]  # pynrrd reads them through floats
    except (nrrd.NRRDError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise ImageFileError(path, f"its header cannot be parsed: {str(error)[:200]}") from error
    _check_sizes(path, fields)
    return fields


def _tidy(text: str) -> str:
    """The text with no spaces inside vectors, as pynrrd wants it."""
    tight = re.sub(r" ?([(),]) ?", r"\1", " ".join(text.split()))
    return tight.replace(")(", ") (").replace(")none", ") none").replace("none(", "none (")


def _without_nan(value: Any) -> Any:
    """Lists in place of arrays, and `None` in place of not-a-number and of a vector of nothing else."""
    if isinstance(value, np.ndarray | list):
        items = [_without_nan(item) for item in value]
        return None if items and isinstance(value, np.ndarray) and value.ndim == 1 and not _any_number(items) else items
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _any_number(items: list[Any]) -> bool:
    """Whether one of the items is not None."""
    return any(item is not None for item in items)


def _check_sizes(path: Path, fields: Mapping[str, Any]) -> None:
    sizes, dimension = fields["sizes"], fields["dimension"]
    if dimension != len(sizes):
        raise ImageFileError(path, f"dimension is {dimension}, but sizes has {len(sizes)} entries")
    if not 1 <= dimension <= _MAX_DIMENSIONS:
        raise UnsupportedFileError(path, f"it has {dimension} dimensions, expected 2 to {_MAX_DIMENSIONS}")
    if min(sizes) < 1:
        raise ImageFileError(path, f"sizes {sizes} hold no voxels")
