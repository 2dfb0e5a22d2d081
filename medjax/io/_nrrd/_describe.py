"""What a NRRD's header says of the image, without its voxels."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._image._kind import Kind
from medjax._image._metadata import Metadata
from medjax.io._disk._elements import Encoding
from medjax.io._disk._image_header import ImageHeader, header_from
from medjax.io._disk._opened import opened
from medjax.io._disk._passed_on import KIND_KEY, METADATA_KEY, kept_kind, metadata_from_json
from medjax.io._nrrd._geometry import Placement, place
from medjax.io._nrrd._header import Header, read_header
from medjax.io._nrrd._segments import is_segmentation, read_segments

__all__ = ["Described", "describe", "inspect", "inspect_file"]

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


@dataclasses.dataclass(frozen=True)
class Described:
    """A header that was read.

    Attributes:
        header: Its fields and pairs.
        placement: The axes in space, and their affine.
        encoding: How the voxels are stored.
        stored: The dtype of the voxels in the file, with its byte order.
        kind: "label" for a segmentation, or what `save_image` has noted, else "intensity".
        metadata: What the fields and pairs state.
    """

    header: Header
    placement: Placement
    encoding: Encoding
    stored: np.dtype
    kind: Kind
    metadata: Metadata

    @property
    def order(self) -> tuple[int, ...]:
        """The axes of the file in the image's order: those in space, then the others."""
        axes = self.placement.axes
        return (*axes, *(axis for axis in range(len(self.header.sizes)) if axis not in axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """The image's axes, `(i, j, k, *channels)`."""
        sizes = [self.header.sizes[axis] for axis in self.order]
        return tuple(sizes if len(self.placement.axes) == 3 else [*sizes[:2], 1, *sizes[2:]])


def describe(path: Path, file: io.BufferedReader) -> Described:
    """Reads and checks the header of an open file.

    Raises:
        MissingDependencyError: pynrrd is not installed.
        ImageFileError: the header is damaged or contradicts itself; a subclass says which.
    """
    header = read_header(path, file)
    placement = place(header)
    encoding = _ENCODINGS.get(header.fields["encoding"].lower())
    if encoding is None:
        raise UnsupportedFileError(header.path, f"its encoding {header.fields['encoding'][:40]!r} is unknown")
    stored = _stored_dtype(header, encoding)
    kind = "label" if is_segmentation(path, header.pairs) else header.pairs.get(KIND_KEY)
    metadata = _metadata(header, kind == "label")
    return Described(header, placement, encoding, stored, kept_kind(kind, stored), metadata)


def inspect(path: Path) -> ImageHeader:
    """Reads the header of a NRRD."""
    with opened(path) as file:
        return inspect_file(file, path)


def inspect_file(file: io.BufferedReader, path: Path) -> ImageHeader:
    """Reads the header of an open file."""
    found = describe(path, file)
    return header_from(found.shape, found.placement.affine, found.stored, found.kind, found.metadata)


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


def _metadata(header: Header, is_label: bool) -> Metadata:
    text = header.pairs.get(METADATA_KEY)
    kept = Metadata() if text is None else metadata_from_json(header.path, text)
    pairs = {key: value for key, value in header.pairs.items() if key not in (METADATA_KEY, KIND_KEY)}
    metadata = kept.replace(extra=pairs | dict(header.fields))
    segments: Any = read_segments(header.path, header.pairs) if is_label else []
    return metadata.replace(display={**metadata.display, "segments": segments}) if segments else metadata
