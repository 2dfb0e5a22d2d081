"""How a file stores its pixels: the image pixel attributes (PS3.3 section C.7.6.3), read and checked."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian

from medjax._errors import ImageFileError
from medjax.io._dicom._header import File
from medjax.io._dicom._stored import first_text, stored_value, whole_number

__all__ = ["Layout", "layout_of"]

_PALETTE = BaseTag(0x00281101)
_MODALITY_LUT = BaseTag(0x00283000)
_PHOTOMETRIC = BaseTag(0x00280004)
_ATTRIBUTES = {
    "SamplesPerPixel": BaseTag(0x00280002),
    "NumberOfFrames": BaseTag(0x00280008),
    "Rows": BaseTag(0x00280010),
    "Columns": BaseTag(0x00280011),
    "BitsAllocated": BaseTag(0x00280100),
    "BitsStored": BaseTag(0x00280101),
    "HighBit": BaseTag(0x00280102),
    "PixelRepresentation": BaseTag(0x00280103),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How a file stores its pixels (PS3.3 section C.7.6.3).

    Attributes:
        rows, columns: Size of a frame.
        frames: How many there are.
        samples: Values per pixel: 1, or 3 for colour.
        photometric: Photometric Interpretation (0028,0004).
        bits_allocated, bits_stored, high_bit: The bits of a value that count.
        kind: NumPy's letter: "i" signed, "u" unsigned, "f" floating point.
        has_modality_lut: Whether a table, not a slope, makes the values.
        palette_bits: Bits of a palette's entries, 0 where there is none.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    kind: str
    has_modality_lut: bool
    palette_bits: int = 0

    @property
    def dtype(self) -> np.dtype:
        """The type of the stored values, native byte order."""
        return np.dtype(f"{self.kind}{max(self.bits_allocated, 8) // 8}")

    @property
    def is_palette(self) -> bool:
        """Whether a stored value is an index into a table of colours."""
        return self.photometric == "PALETTE COLOR"

    @property
    def channels(self) -> tuple[int, ...]:
        """Trailing axes of a decoded frame."""
        return (3,) if self.is_palette else (self.samples,) if self.samples > 1 else ()

    @property
    def value_range(self) -> tuple[int, int]:
        """Smallest and largest stored value that the bits allow."""
        if self.kind == "u":
            return 0, 2**self.bits_stored - 1
        return -(2 ** (self.bits_stored - 1)), 2 ** (self.bits_stored - 1) - 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        return -(-self.rows * self.columns * self.samples * self.bits_allocated // 8)


def layout_of(file: File, known: dict[Any, Layout]) -> Layout:
    """Reads and checks the image pixel attributes, once for all files in which they are stored as the same bytes.

    Raises:
        ImageFileError: an attribute is missing or has an impossible value.
    """
    values = [stored_value(file.dataset, tag) for tag in (*_ATTRIBUTES.values(), _PHOTOMETRIC, _PALETTE, _MODALITY_LUT)]
    key = (file.pixel_keyword, *(value if isinstance(value, bytes) else str(value) for value in values))
    if key not in known:
        known[key] = _read_layout(file)
    return known[key]


def _read_layout(file: File) -> Layout:
    whole = functools.partial(_whole, file)
    allocated = whole("BitsAllocated", 16, 64)
    stored = whole("BitsStored", allocated, 64)
    layout = Layout(
        rows=whole("Rows"),
        columns=whole("Columns"),
        frames=max(whole("NumberOfFrames", 1, 2**31 - 1), 1),
        samples=whole("SamplesPerPixel", 1, 4),
        photometric=first_text(file.dataset, _PHOTOMETRIC),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=whole("HighBit", max(stored - 1, 0), 63),
        kind=_dtype_kind(file, whole("PixelRepresentation", 0, 1)),
        has_modality_lut=bool(stored_value(file.dataset, _MODALITY_LUT)),  # an empty sequence states none
        palette_bits=_palette_bits(file),
    )
    if 0 in (layout.rows, layout.columns) or layout.samples not in (1, 3, 4):
        size = f"{layout.rows} rows, {layout.columns} columns and {layout.samples} samples"
        raise ImageFileError(file.path, f"an image of {size} is none")
    is_real = layout.kind == "f" and allocated in (32, 64)
    if not is_real and (allocated not in (1, 8, 16, 32) or not 0 < stored <= layout.high_bit + 1 <= allocated):
        bits = f"BitsAllocated {allocated}, BitsStored {stored} and HighBit {layout.high_bit}"
        raise ImageFileError(file.path, f"{bits} do not describe a pixel")
    return layout


def _whole(file: File, keyword: str, default: int | None = None, most: int = 65535) -> int:
    value = whole_number(file.dataset, _ATTRIBUTES[keyword])
    value = default if value is None else value
    if value is None or not 0 <= value <= most:
        raise ImageFileError(file.path, f"{keyword} is {'missing' if value is None else value}")
    return value


def _palette_bits(file: File) -> int:
    """The third number of Red Palette Color Lookup Table Descriptor (0028,1101): bits per entry, 8 or 16."""
    value = stored_value(file.dataset, _PALETTE)
    if isinstance(value, bytes):
        return int.from_bytes(value[4:6], "big" if file.transfer_syntax == ExplicitVRBigEndian else "little")
    return int(value[2]) if value is not None and len(value) == 3 else 0


def _dtype_kind(file: File, representation: int) -> str:
    if file.pixel_keyword != "PixelData":
        return "f"
    return "i" if representation else "u"
