"""What a NIfTI's header and extensions say of the image: geometry, axes, kind and metadata, without its voxels."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError
from medjax._geometry._grid import shear_degrees
from medjax._image._kind import Kind
from medjax._image._metadata import Metadata
from medjax.io._disk._image_header import ImageHeader, header_from
from medjax.io._disk._opened import opened
from medjax.io._disk._stream import Content
from medjax.io._disk._warn import warn
from medjax.io._nifti._extra import LABEL_INTENT, Note, channels_of, extra_of, note_of
from medjax.io._nifti._geometry import (
    SHEAR_TOLERANCE_DEGREES,
    affine_in_mm,
    corner_distance,
    form_tolerance,
    qform_affine,
    rounding_distance,
    sform_affine,
    stated_affine,
)
from medjax.io._nifti._header import Header, read_extensions, read_header
from medjax.io._nifti._names import find_header, find_voxels

__all__ = ["Described", "describe", "inspect", "inspect_file", "is_scaled", "scaled_types"]


@dataclasses.dataclass(frozen=True)
class Described:
    """A header that was read, up to the first voxel of a single file.

    Attributes:
        header: Its fields, checked.
        affine: Index to LPS mm.
        channels: Sizes of the image's trailing axes.
        metadata: What the fields and extensions state.
    """

    header: Header
    affine: np.ndarray
    channels: tuple[int, ...]
    metadata: Metadata

    @property
    def shape(self) -> tuple[int, ...]:
        """The image's axes, `(i, j, k, *channels)`."""
        return (*(*self.header.shape, 1, 1)[:3], *self.channels)


def describe(content: Content, affine_ras: np.ndarray | None = None) -> Described:
    """Reads the header and the extensions of a whole single file, or of the header of a pair.

    Args:
        content: The file.
        affine_ras: The affine in float64, in the file's unit of length. It is used if the header's is its rounding.

    Raises:
        ImageFileError: it is not a NIfTI header, or contradicts itself.
    """
    header = read_header(content)
    note, others = note_of(read_extensions(content, header))
    affine = _chosen_affine(header, note, affine_ras)
    inter = header.fields["scl_inter"]
    if is_scaled(header) and not math.isfinite(inter):
        slope = header.fields["scl_slope"]
        raise ImageFileError(header.path, f"scl_slope is {slope:g} but scl_inter is {inter}; there is no valid scaling")
    extra: Mapping[str, Any] = {**note.metadata.extra, **extra_of(header, others)}
    return Described(header, affine, _channels(header, note), note.metadata.replace(extra=extra))


def inspect(path: Path) -> ImageHeader:
    """Reads the header of a NIfTI file, or of a pair by either of its names."""
    header_path = find_header(path)
    with opened(header_path) as file:
        return inspect_file(file, header_path)


def inspect_file(file: io.BufferedReader, path: Path) -> ImageHeader:
    """Reads the header of an open file, which is closed."""
    with Content(path, file=file) as content:
        described = describe(content)
    header = described.header
    if header.is_pair:
        find_voxels(header.path)
    dtype, kind, undecided = _expected(header)
    return header_from(described.shape, described.affine, dtype, kind, described.metadata, undecided)


def _expected(header: Header) -> tuple[np.dtype, Kind, tuple[str, ...]]:
    """Dtype and kind of the voxels as the reader gives them, and which of the two the voxels can still change."""
    dtype, is_decided = header.dtype, True
    if is_scaled(header):
        wide, usual = scaled_types(header.dtype)
        is_decided = header.dtype == wide or _fits(header, usual)
        dtype = wide if header.dtype == wide else usual
    if header.fields["intent_code"] != LABEL_INTENT or dtype.kind == "c":
        return dtype, "intensity", () if is_decided else ("dtype",)
    if dtype.kind in "iu":
        return dtype, "label", ()
    return np.dtype(np.int32), "label", ("dtype", "kind")  # if all of them are whole numbers


def _fits(header: Header, dtype: np.dtype) -> bool:
    """Whether no stored number that is finite can be beyond the type once it is scaled."""
    limits = np.iinfo(header.dtype) if header.dtype.kind in "iu" else np.finfo(header.dtype)
    slope, inter = header.fields["scl_slope"], header.fields["scl_inter"]
    ends = (abs(float(end) * slope + inter) for end in (limits.min, limits.max))
    return max(ends) <= float(np.finfo(dtype).max)


def scaled_types(stored: np.dtype) -> tuple[np.dtype, np.dtype]:
    """The type in which voxels are scaled, and the usual type of the result: half as wide."""
    is_complex = stored.kind == "c"
    return np.dtype(np.complex128 if is_complex else np.float64), np.dtype(np.complex64 if is_complex else np.float32)


def is_scaled(header: Header) -> bool:
    """Whether the header scales the voxels. A slope that is 0 or not finite means that there is no scaling."""
    slope, inter = header.fields["scl_slope"], header.fields["scl_inter"]
    return slope != 0 and math.isfinite(slope) and (slope, inter) != (1, 0) and header.components == 1


def _channels(header: Header, note: Note) -> tuple[int, ...]:
    """The trailing axes of the image: without the time axis of `(i, j, k, 1, c)`, which is how NIfTI states channels.

    The note says where further axes of size 1 stood.
    """
    channels = channels_of(header.shape) + ((header.components,) if header.components > 1 else ())
    if note.channels is not None and [n for n in note.channels if n != 1] == [n for n in channels if n != 1]:
        return note.channels
    return channels


def _chosen_affine(header: Header, note: Note, affine_ras: np.ndarray | None) -> np.ndarray:
    """The affine of sform, qform or neither, or an exact affine if that one agrees with it within rounding."""
    affine = _stated_affine(header)
    shape = (*header.shape, 1, 1)[:3]
    exact = [] if affine_ras is None else [affine_in_mm(affine_ras, header.fields)]
    for other in (*exact, note.affine):
        if other is not None and corner_distance(other, affine, shape) <= rounding_distance(affine, shape):
            affine = other
            break
    shear = shear_degrees(affine)
    if shear > SHEAR_TOLERANCE_DEGREES:
        warn(header.path, f"the axes are sheared: {shear:.3g} degrees off a right angle; the affine is kept as it is")
    return affine


def _stated_affine(header: Header) -> np.ndarray:
    fields = header.fields
    has_sform, has_qform = fields["sform_code"] > 0, fields["qform_code"] > 0
    if fields["xyzt_units"] & 7 > 3:
        warn(header.path, f"xyzt_units {fields['xyzt_units']} has an unknown unit of length; read as mm")
    if not (has_sform or has_qform):
        warn(header.path, "states no orientation (sform and qform codes are 0); axes taken as LPS, origin as 0")
    try:
        affine = stated_affine(fields)
    except ValueError as error:
        raise ImageFileError(header.path, str(error)) from None
    if has_sform and has_qform:
        _compare_forms(header)
    return affine


def _compare_forms(header: Header) -> None:
    """Warns if one of the two forms is invalid, or if they put voxels at different places."""
    forms: dict[str, np.ndarray] = {}
    for name, find, other in (("sform", sform_affine, "qform"), ("qform", qform_affine, "sform")):
        try:
            forms[name] = find(header.fields)
        except ValueError as error:
            warn(header.path, f"the {name} is invalid and the {other} is used: {error}")
            return
    shape = (*header.shape, 1, 1)[:3]
    distance = corner_distance(forms["sform"], forms["qform"], shape)
    if distance > form_tolerance(header.fields, forms["sform"], shape):
        codes = f"sform (code {header.fields['sform_code']}) and qform (code {header.fields['qform_code']})"
        warn(header.path, f"{codes} put voxels up to {distance:.3g} mm apart; the sform is used")
