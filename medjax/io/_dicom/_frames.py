"""The slices of any file with pixels, in the order in which they are stored.

A classic file is one slice. A multi-frame file has one slice for each frame. Enhanced objects state the geometry of
each frame in functional groups (`_enhanced`). RT Dose and nuclear medicine state an offset along the normal. The frames
of an ultrasound or angiography loop are moments and have no place. A Siemens mosaic is a sheet of tiles (`_mosaic`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag

from medjax.io._dicom._enhanced import DIMENSION, slices_of_enhanced
from medjax.io._dicom._errors import InconsistentGeometryError
from medjax.io._dicom._header import File
from medjax.io._dicom._layout import Layout, layout_of
from medjax.io._dicom._mosaic import slices_of_mosaic
from medjax.io._dicom._pixels import check_size
from medjax.io._dicom._slices import ORIENTATION, POSITION, Slice, single_slice, unit_axes
from medjax.io._dicom._stored import first_text, numbers, stored_value, tag_of
from medjax.io._dicom._values import json_value

__all__ = ["slices_of"]

_IMAGE_TYPE = BaseTag(0x00080008)
_MODALITY = BaseTag(0x00080060)
_BETWEEN_SLICES = BaseTag(0x00180088)
_POINTER = BaseTag(0x00280009)
_DETECTORS = BaseTag(0x00540022)
_SLICE_VECTOR = BaseTag(0x00540080)
_SLICE_LOCATIONS = BaseTag(0x00182005)
# The vectors by which nuclear medicine counts frames, besides their slices (PS3.3 table C.8-8).
_VECTORS = (
    *("EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector", "RRIntervalVector", "TimeSlotVector"),
    *("AngularViewVector", "TimeSliceVector"),
)
_FRAME_OFFSETS = BaseTag(0x3004000C)
_SHARED_GROUPS = BaseTag(0x52009229)
_FRAME_GROUPS = BaseTag(0x52009230)


def slices_of(file: File, known_layouts: dict[Any, Layout]) -> list[Slice]:
    """Lists the slices of a file, in the order in which they are stored.

    Args:
        file: Its header.
        known_layouts: Pixel layouts by the attributes that make them. The files of a series share one.

    Raises:
        ImageFileError: the header contradicts itself.
    """
    layout = layout_of(file, known_layouts)
    if layout.frames > 1:
        check_size(file, layout)  # before anything is made for each frame that the header promises
    if _FRAME_GROUPS in file.dataset or _SHARED_GROUPS in file.dataset:
        return slices_of_enhanced(file, layout)
    if _is_mosaic(file):
        return slices_of_mosaic(file, layout, single_slice(file, layout))
    first = single_slice(file, layout)
    return [first] if layout.frames == 1 else _frames(first)


def _is_mosaic(file: File) -> bool:
    value = stored_value(file.dataset, _IMAGE_TYPE)
    return b"MOSAIC" in value if isinstance(value, bytes) else "MOSAIC" in (value or ())


def _frames(first: Slice) -> list[Slice]:
    """The frames of a multi-frame file without functional groups."""
    file, count = first.file, first.layout.frames
    offsets = _frame_offsets(file, count)
    if offsets is None:
        return [dataclasses.replace(first, frame=frame, position=None, orientation=None) for frame in range(count)]
    if first.position is None or first.orientation is None:
        first = _placed_by_detector(first)
    is_placed = first.position is not None and first.orientation is not None
    position = first.position if first.position and is_placed else (0.0, 0.0, 0.0)
    orientation = first.orientation if first.orientation and is_placed else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    depths = offsets[:, None]  # so that a volume without a place can be looked at as well
    places = (np.asarray(position) + depths * unit_axes(orientation, file)[2]).tolist()
    vectors = _vectors(file, count)
    note = _NO_FIRST if is_placed and _SLICE_VECTOR in file.dataset and offsets[0] else ""
    return [
        dataclasses.replace(
            first,
            frame=n,
            position=tuple(place),
            orientation=orientation,
            is_placed=is_placed,
            note=note,
            attributes={DIMENSION + name: vector[n] for name, vector in vectors.items()},
        )
        for n, place in enumerate(places)
    ]


# "The first slice", from which the others are counted, is slice 1 of the vector (C.8.4.15), not "the first frame".
_NO_FIRST = "its first frame is not its first slice: the stated position is taken for that of the lowest slice number"


def _vectors(file: File, count: int) -> dict[str, tuple[int | float, ...]]:
    """The vectors other than slices that count the frames, such as time slots, in the order of the file."""
    pointed = [name for tag in _pointers(file) if (name := keyword_for_tag(tag)) in _VECTORS]
    found = {}
    for name in dict.fromkeys([*pointed, *_VECTORS]):
        vector = _one_per_frame(file, tag_of(name), count)
        if vector is None and name in pointed:
            raise InconsistentGeometryError(file.path, f"FrameIncrementPointer names {name}, which is missing")
        if vector is not None and len(set(vector)) > 1:
            found[name] = vector
    return found


def _one_per_frame(file: File, tag: int, count: int) -> tuple[int | float, ...] | None:
    """One number for each frame; `None` where the attribute is absent.

    Raises:
        InconsistentGeometryError: it has another number of values.
    """
    value = json_value(file.dataset, tag) if tag in file.dataset else None
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    if len(values) != count or not all(isinstance(each, int | float) for each in values):
        reason = f"{count} frames, but {keyword_for_tag(tag)} has {len(values)} values"
        raise InconsistentGeometryError(file.path, reason)
    return tuple(values)


def _pointers(file: File) -> list[int]:
    """Frame Increment Pointer (0028,0009): the attributes by which one frame differs from the next."""
    value = json_value(file.dataset, _POINTER) if _POINTER in file.dataset else None
    texts = value if isinstance(value, list) else [value]
    return [int(text[1:5] + text[6:10], 16) for text in texts if isinstance(text, str) and len(text) == 11]


def _frame_offsets(file: File, count: int) -> np.ndarray | None:
    """Distance of each frame from the stated position in mm; `None` where the frames are not slices but moments."""
    stated = numbers(file.dataset, _FRAME_OFFSETS)
    if stated is not None:  # relative or absolute (PS3.3 section C.8.8.3.2): the differences are the same
        if len(stated) != count:
            raise InconsistentGeometryError(
                file.path, f"{count} frames, but GridFrameOffsetVector has {len(stated)} offsets"
            )
        return np.asarray(stated) - stated[0]
    pointers = _pointers(file)
    if _SLICE_LOCATIONS in pointers and (locations := _one_per_frame(file, _SLICE_LOCATIONS, count)) is not None:
        return np.asarray(locations, np.float64) - locations[0]
    step = numbers(file.dataset, _BETWEEN_SLICES, 1)  # negative where slices run against the normal (C.8.4.15)
    if not step or not step[0]:
        return None
    slices = _one_per_frame(file, _SLICE_VECTOR, count)
    if slices is not None:
        return (np.asarray(slices, np.float64) - min(slices)) * step[0]
    if pointers or first_text(file.dataset, _MODALITY) not in ("MR", "CT", "PT"):
        return None  # frames that differ by time, angle or anything else than their slice
    return np.arange(count) * step[0]


def _placed_by_detector(first: Slice) -> Slice:
    """Nuclear medicine states position and orientation per detector (PS3.3 section C.8.4.11)."""
    if _DETECTORS not in first.file.dataset or not len(first.file.dataset[_DETECTORS].value):
        return first
    detector = first.file.dataset[_DETECTORS].value[0]
    return dataclasses.replace(
        first, position=numbers(detector, POSITION, 3), orientation=numbers(detector, ORIENTATION, 6)
    )
