"""Reading NRRD."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._image._image import Image, image_from
from medjax.io._disk._elements import Encoding, Part, numbered, read_elements, sibling
from medjax.io._disk._opened import check_same, opened
from medjax.io._nrrd._describe import Described, describe
from medjax.io._nrrd._header import Header

__all__ = ["read"]


def read(path: Path) -> Image:
    """Reads a NRRD; `load_image` calls it."""
    with opened(path) as file:
        found = describe(path, file)
        flat = _read_voxels(found, file)
    voxels = flat.reshape(found.header.sizes, order="F").transpose(*found.order)
    voxels = voxels[:, :, None] if len(found.placement.axes) == 2 else voxels
    return image_from(voxels, affine=found.placement.affine, kind=found.kind, metadata=found.metadata)


def _read_voxels(found: Described, file: io.BufferedReader) -> np.ndarray:
    header = found.header
    parts = _data_parts(header, found.encoding, file)
    flat = read_elements(parts, found.stored, math.prod(header.sizes), found.encoding)
    if parts[0].file is None:
        check_same(file, header.path)
    return flat


def _data_parts(header: Header, encoding: Encoding, file: io.BufferedReader) -> list[Part]:
    """The files with the voxels. line skip counts lines of a file, and byte skip counts decoded bytes."""
    lines, skipped = header.fields.get("line skip", 0), header.fields.get("byte skip", 0)
    if lines < 0 or skipped < -1 or (skipped == -1 and encoding != "raw"):
        raise UnsupportedFileError(header.path, f"line skip {lines} and byte skip {skipped} with encoding {encoding}")
    target = header.fields.get("data file")
    lines, skipped, is_at_end = (0, 0, True) if skipped == -1 else (lines, skipped, False)
    if target is None:
        return [Part(header.path, header.size, lines, skipped, is_at_end, file)]
    return [Part(path, 0, lines, skipped, is_at_end) for path in _data_files(header, target)]


def _data_files(header: Header, target: str) -> list[Path]:
    """One named file, `LIST`, or `pattern first last step [dimensions]`."""
    words = target.split()
    if not words:
        raise ImageFileError(header.path, "its data file has no name")
    if words[0] == "LIST":
        if not header.names:
            raise ImageFileError(header.path, "its list of data files is empty")
        return [sibling(header.path, name) for name in header.names]
    if "%" in target and len(words) in (4, 5):
        return numbered(header.path, words[0], _pattern_numbers(header, words[1:]))
    return [sibling(header.path, target)]


def _pattern_numbers(header: Header, words: list[str]) -> range:
    try:
        first, last, step = (int(word) for word in words[:3])
        numbers = range(first, last + (1 if step > 0 else -1), step)
    except ValueError:
        numbers = range(0)
    if not numbers:
        raise ImageFileError(header.path, f"its pattern of data files counts {' '.join(words)!r}: first last step")
    return numbers
