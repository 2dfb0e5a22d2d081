"""Siemens mosaics: one file per volume, its slices as tiles of one sheet.

Siemens' private CSA header (0029,1010) states the number of tiles and the direction in which they follow each other.
Its layout is known from reverse engineering (https://nipy.org/nibabel/dicom/siemens_csa.html). Later software states
the number in (0019,100A). Image Position (Patient) is given as if the whole sheet were one slice of so many pixels
(https://nipy.org/nibabel/dicom/dicom_mosaic.html).
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator

import numpy as np
from pydicom.tag import BaseTag

from medjax._errors import UnsupportedFileError
from medjax.io._dicom._errors import NoGeometryError
from medjax.io._dicom._header import File
from medjax.io._dicom._layout import Layout
from medjax.io._dicom._slices import Slice, unit_axes
from medjax.io._dicom._stored import numbers, stored_value

__all__ = ["csa_values", "slices_of_mosaic"]

_CSA_IMAGE = BaseTag(0x00291010)
_TILES = BaseTag(0x0019100A)
_BETWEEN_SLICES = BaseTag(0x00180088)


def slices_of_mosaic(file: File, layout: Layout, sheet: Slice) -> list[Slice]:
    """Lists the tiles of a mosaic as slices.

    Raises:
        UnsupportedFileError: the private attributes that describe the tiles are gone.
        NoGeometryError: the sheet's position or orientation is missing.
    """
    csa = _csa(file)
    count = _count(file, csa)
    side = math.ceil(math.sqrt(count)) if count else 0
    if not side or layout.rows % side or layout.columns % side:
        reason = (
            "it is a Siemens mosaic, and the private CSA header that says how many slices it holds is missing or wrong"
        )
        raise UnsupportedFileError(file.path, reason, "export the series again with its private attributes")
    if sheet.position is None or sheet.orientation is None or sheet.pixel_spacing is None:
        raise NoGeometryError(file.path, "it is a mosaic without position, orientation or pixel spacing")
    axes = unit_axes(sheet.orientation, file)
    rows, columns = layout.rows // side, layout.columns // side
    step = _between(file, sheet)
    normal = axes[2] * (-1.0 if _runs_against(csa, axes[2]) else 1.0)
    # The sheet's centre is the first slice's centre: move from the corner of the one to that of the other.
    inward = axes[0] * sheet.pixel_spacing[1] * (layout.columns - columns) + axes[1] * sheet.pixel_spacing[0] * (
        layout.rows - rows
    )
    first = np.asarray(sheet.position) + inward / 2
    return [
        dataclasses.replace(
            sheet,
            corner=(number // side * rows, number % side * columns),
            shape=(rows, columns),
            position=tuple((first + number * step * normal).tolist()),
        )
        for number in range(count)
    ]


def _between(file: File, sheet: Slice) -> float:
    """Spacing Between Slices (0018,0088), else the thickness: it is left out where there are no gaps."""
    stated = numbers(file.dataset, _BETWEEN_SLICES, 1)
    step = abs(stated[0]) if stated else sheet.thickness
    if not step:
        raise NoGeometryError(file.path, "it is a mosaic without SpacingBetweenSlices")
    return step


def _count(file: File, csa: dict[str, list[str]]) -> int:
    stated = csa.get("NumberOfImagesInMosaic", [])
    if stated and stated[0].strip().isdigit():
        return int(stated[0])
    value = stored_value(file.dataset, _TILES)
    if isinstance(value, bytes):  # an unsigned short whose VR an implicit file does not state
        return int.from_bytes(value[:2], "little") if len(value) == 2 else 0
    return value if isinstance(value, int) else 0


def _runs_against(csa: dict[str, list[str]], normal: np.ndarray) -> bool:
    """Whether the tiles follow each other against the normal of the planes."""
    try:
        direction = [float(value) for value in csa.get("SliceNormalVector", [])[:3]]
    except ValueError:
        return False
    return len(direction) == 3 and float(np.dot(direction, normal)) < 0


def _csa(file: File) -> dict[str, list[str]]:
    element = file.dataset.get(_CSA_IMAGE)
    value = None if element is None else element.value
    return csa_values(value) if isinstance(value, bytes) else {}


def csa_values(header: bytes) -> dict[str, list[str]]:
    """Reads the non-empty values of a CSA header by name. An unreadable header has none.

    Example:
        >>> csa_values(b"not one")
        {}
    """
    try:
        return {name: values for name, values in _csa_elements(header) if values}
    except struct.error:
        return {}


def _csa_elements(header: bytes) -> Iterator[tuple[str, list[str]]]:
    """Walks through a CSA header: version 2 begins with SV10 and 4 bytes, version 1 with the number of elements.

    An element is a name of 64 bytes, five numbers, and its items. An item is four numbers, one of which is its length,
    and its text, padded to a multiple of 4 bytes.
    """
    is_second = header[:4] == b"SV10"
    position = 8 if is_second else 0
    count, _ = struct.unpack_from("<2I", header, position)
    position += 8
    first_items = 0
    for number in range(min(count, 1000)):
        name = header[position : position + 64].split(b"\0")[0].decode("latin-1")
        (items,) = struct.unpack_from("<i", header, position + 76)
        position += 84
        if number == 0:
            first_items = items
        values = []
        for _ in range(min(items, 1000)):
            lengths = struct.unpack_from("<4i", header, position)
            length = lengths[1] if is_second else lengths[0] - first_items
            position += 16
            if not 0 <= length <= len(header) - position:
                return
            if length:
                values.append(header[position : position + length].split(b"\0")[0].decode("latin-1").strip())
            position += -(-length // 4) * 4
        yield name, [value for value in values if value]
