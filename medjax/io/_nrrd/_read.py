"""Reading NRRD."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._image._image import Image, image_from
from medjax._image._metadata import Metadata
from medjax.io._disk._elements import Encoding, Part, numbered, read_elements, sibling
from medjax.io._disk._opened import check_same, opened
from medjax.io._disk._passed_on import KIND_KEY, METADATA_KEY, kept_kind, metadata_from_json
from medjax.io._nrrd._geometry import place
from medjax.io._nrrd._header import Header, read_header
from medjax.io._nrrd._segments import is_segmentation, read_segments

__all__ = ["read"]

_NAMES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: code for code, names in _NAMES.items() for name in names.split(", ")}

_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
}


def read(path: Path) -> Image:
    """Reads a NRRD; `load_image` calls it."""
    with opened(path) as file:
        header = read_header(path, file)
        placement = place(header)
        flat = _read_voxels(header, file)
    further = [axis for axis in range(len(header.sizes)) if axis not in placement.axes]
    voxels = flat.reshape(header.sizes, order="F").transpose(*placement.axes, *further)
    voxels = voxels[:, :, None] if len(placement.axes) == 2 else voxels
    kind = "label" if is_segmentation(path, header.pairs) else header.pairs.get(KIND_KEY)
    return image_from(
        voxels, affine=placement.affine, kind=kept_kind(kind, voxels), metadata=_metadata(header, kind == "label")
    )


def _read_voxels(header: Header, file: io.BufferedReader) -> np.ndarray:
    encoding = _ENCODINGS.get(header.fields["encoding"].lower())
    if encoding is None:
        raise UnsupportedFileError(header.path, f"its encoding {header.fields['encoding'][:40]!r} is unknown")
    dtype = _stored_dtype(header, encoding)
    parts = _data_parts(header, encoding, file)
    flat = read_elements(parts, dtype, math.prod(header.sizes), encoding)
    if parts[0].file is None:
        check_same(file, header.path)
    return flat


def _stored_dtype(header: Header, encoding: Encoding) -> np.dtype:
    code = _DTYPES.get(" ".join(header.fields["type"].lower().split()))
    if code is None:
        raise UnsupportedFileError(header.path, f"its type {header.fields['type'][:40]!r} is not one of numbers")
    dtype = np.dtype(code)
    if dtype.itemsize == 1 or encoding == "text":
        return dtype
    endian = header.fields.get("endian", "").lower()
    if endian not in ("little", "big"):
        raise ImageFileError(header.path, f"endian must be little or big for type {dtype}, got {endian[:20]!r}")
    return dtype.newbyteorder("<" if endian == "little" else ">")


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


def _metadata(header: Header, is_label: bool) -> Metadata:
    text = header.pairs.get(METADATA_KEY)
    kept = Metadata() if text is None else metadata_from_json(header.path, text)
    pairs = {key: value for key, value in header.pairs.items() if key not in (METADATA_KEY, KIND_KEY)}
    metadata = kept.replace(extra=pairs | dict(header.fields))
    segments: Any = read_segments(header.path, header.pairs) if is_label else []
    return metadata.replace(display={**metadata.display, "segments": segments}) if segments else metadata
