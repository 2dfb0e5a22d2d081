"""The header of an image: the fields of its geometry and voxels, and the fields of its source that are still true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._image._image import Image
from medjax._image._metadata import Metadata
from medjax.io._disk._axes import UNIT_CODES, VECTOR_INTENTS, Axis, trailing_axes
from medjax.io._nifti._extra import (
    COMMENT,
    LABEL_INTENT,
    Note,
    channels_of,
    extensions_in,
    fields_in,
)
from medjax.io._nifti._geometry import (
    corner_distance,
    form_tolerance,
    geometry_fields,
    qform_affine,
    rounding_distance,
    sform_affine,
    stated_affine,
)
from medjax.io._nifti._header import CODE_OF, DTYPE_OF, unpacked, written_extensions, written_header
from medjax.io._nifti._values import VALUES_KEY, are_as_read, describes_values

__all__ = ["header_of"]

_RGB_CODES = {3: 128, 4: 2304}

_SLICE_FIELDS = ("dim_info", "slice_start", "slice_end", "slice_code", "slice_duration")
_INTENT_FIELDS = ("intent_code", "intent_p1", "intent_p2", "intent_p3", "intent_name")

# sizeof_hdr 540 is NIfTI-2, whose dim is 64 bits wide; NIfTI-1's is 16.
_MOST_IN_NIFTI1 = 2**15 - 1


def header_of(image: Image, stored: np.dtype, path: Path, *, is_pair: bool) -> tuple[bytes, int]:
    """Returns the header with its extensions, up to the first voxel of a single file, and the components of a voxel.

    Args:
        image: A single image.
        stored: The dtype in which its voxels are written.
        path: Target, which errors name.
        is_pair: Whether the voxels go into another file.

    Raises:
        UnsupportedFileError: NIfTI cannot hold the image.
    """
    metadata = image.metadata if isinstance(image.metadata, Metadata) else Metadata()
    known = fields_in(metadata.extra, path)
    axes = trailing_axes(image)
    dims, code = _axes(image, known, axes)
    if len(dims) > 7:
        raise UnsupportedFileError(path, f"NIfTI holds 7 axes, voxels of shape {image.voxels.shape} need {len(dims)}")
    is_same_grid = _is_same_grid(image, known)
    is_as_read = not describes_values(known) or are_as_read(image.voxels, metadata.extra)
    code = CODE_OF[stored.newbyteorder("=")] if code is None else code
    dtype, components = DTYPE_OF[code]
    fields: dict[str, Any] = {
        "dim": [len(dims), *dims, *(1,) * (7 - len(dims))],
        "datatype": code,
        "bitpix": 8 * dtype.itemsize * components,
        "scl_slope": 1.0,
        **{name: known[name] for name in ("descrip", "aux_file") if name in known},
        **_intent(image, known, dims, is_as_read),
        **(_display_range(image, known, VALUES_KEY in metadata.extra) if is_as_read else {}),
        **({name: known[name] for name in _SLICE_FIELDS if name in known} if is_same_grid else {}),
        **_geometry(image, known, is_same_grid),
    }
    fields |= _steps(known, dims, fields, axes)
    is_wide = known.get("sizeof_hdr") == 540 or max(dims) > _MOST_IN_NIFTI1
    size = 540 if is_wide else 348
    try:
        block = written_header(fields, size=size, is_pair=is_pair)
        note = _note(image, metadata, stored, dims, components, stated_affine(unpacked(block, size, "<")))
        kept = [each for each in extensions_in(metadata.extra, path) if each[0] == COMMENT or is_same_grid]
        extensions = written_extensions(([(COMMENT, note)] if note else []) + kept)
        offset = 0 if is_pair else size + len(extensions)
        return written_header(fields, size=size, is_pair=is_pair, vox_offset=offset) + extensions, components
    except (TypeError, ValueError) as error:
        raise UnsupportedFileError(path, str(error)) from error


def _axes(image: Image, known: Mapping[str, Any], axes: Sequence[Axis]) -> tuple[tuple[int, ...], int | None]:
    """Returns NIfTI's sizes, and the datatype where it is RGB or RGBA.

    One trailing axis is the fourth, time, unless the source says that it holds components. These are the fifth axis.
    """
    shape, channels = image.shape, image.channels
    last = axes[-1].meaning if axes else None
    code = _RGB_CODES.get(channels[-1]) if last == "colour" and image.dtype == np.uint8 else None
    if code is not None:
        return shape + channels[:-1], code
    if len(channels) == 1 and last is not None and last != "time":
        return (*shape, 1, *channels), None
    old = known.get("dim", (0,) * 8)
    if not channels and shape[2] == 1 and old[0] == 2:
        return shape[:2], None
    return shape + channels, None


def _is_same_grid(image: Image, known: Mapping[str, Any]) -> bool:
    """Whether the image still lies on the grid of the file it came from."""
    sizes = _old_sizes(known)
    affine = _old_affine(known, "stated")
    if affine is None or (*sizes, 1, 1, 1)[:3] != image.shape:
        return False
    return corner_distance(affine, image.affine, image.shape) <= rounding_distance(affine, image.shape)


def _old_sizes(known: Mapping[str, Any]) -> tuple[int, ...]:
    rank, *sizes = known.get("dim", (0,))
    return tuple(sizes[: int(rank)])


def _old_affine(known: Mapping[str, Any], form: str) -> np.ndarray | None:
    """The affine that the source's header stated, if `extra` still holds all of it."""
    find = {"stated": stated_affine, "sform": sform_affine, "qform": qform_affine}[form]
    try:
        return find(known)
    except (KeyError, TypeError, ValueError):
        return None


def _geometry(image: Image, known: Mapping[str, Any], is_same_grid: bool) -> dict[str, Any]:
    """Both forms with the source's codes, or 1 where there was none.

    On the source's grid its qform comes back as it was. On another grid the qform is made from the affine. If the
    source's forms disagreed it is left out, since the place of its space is then unknown. A source without orientation
    stays without one on its grid.
    """
    codes = {f"{form}_code": int(known.get(f"{form}_code", 1)) for form in ("sform", "qform")}
    if not any(codes.values()) and not is_same_grid:
        codes = dict.fromkeys(codes, 1)
    sform, qform = _old_affine(known, "sform"), _old_affine(known, "qform")
    if sform is None or qform is None or min(codes.values()) == 0:
        return geometry_fields(image.affine, **codes)
    if is_same_grid:
        old = geometry_fields(qform, qform_code=codes["qform_code"], sform_code=0)
        own = geometry_fields(image.affine, **codes | {"qform_code": 0})
        return own | {name: value for name, value in old.items() if not name.startswith("s")}
    shape = (*_old_sizes(known), 1, 1, 1)[:3]
    is_split = corner_distance(sform, qform, shape) > form_tolerance(known, sform, shape)
    return geometry_fields(image.affine, **(codes | {"qform_code": 0} if is_split else codes))


def _intent(image: Image, known: Mapping[str, Any], dims: tuple[int, ...], is_as_read: bool) -> dict[str, Any]:
    """The intent: labels, else components, else the source's statistic while the values are the source's."""
    old = {name: known[name] for name in _INTENT_FIELDS if name in known}
    code = old.get("intent_code", 0)
    is_vector = len(dims) == 5 and dims[3] == 1
    if image.kind == "label":
        return old if code == LABEL_INTENT else {"intent_code": LABEL_INTENT}
    if code in VECTOR_INTENTS:
        sizes = _old_sizes(known)
        return old if not sizes or sizes[3:] == dims[3:] else {"intent_code": 1007} if is_vector else {}
    is_true = old and code != LABEL_INTENT and is_as_read
    return old if is_true else {"intent_code": 1007} if is_vector else {}


def _display_range(image: Image, known: Mapping[str, Any], is_noted: bool) -> dict[str, Any]:
    """The display range of values that are as read. If that was not noted, values of another dtype have none."""
    old, _ = DTYPE_OF.get(known.get("datatype", 0), (None, 1))
    is_scaled = known.get("scl_slope", 0) not in (0, 1) or known.get("scl_inter", 0) != 0
    if not is_noted and image.dtype != old and not (is_scaled and image.dtype.kind == "f"):
        return {}
    return {name: known[name] for name in ("cal_min", "cal_max") if name in known}


def _steps(
    known: Mapping[str, Any], dims: tuple[int, ...], fields: Mapping[str, Any], axes: Sequence[Axis]
) -> dict[str, Any]:
    """The steps and units. Lengths are in mm. Time has the source's step and unit, even if volumes were dropped.

    The fields of a NIfTI source for further axes stay while these keep their sizes.
    """
    if _old_sizes(known)[3:] == dims[3:] and "pixdim" in known:
        units = 2 | (int(known.get("xyzt_units", 0)) & 0x38)
        pixdim = [*fields["pixdim"][:4], *known["pixdim"][4:]]
        return {"xyzt_units": units, "pixdim": pixdim, "toffset": known.get("toffset", 0.0)}
    pixdim, units = [*fields["pixdim"]], 2
    for number, axis in enumerate(axes[: len(dims) - 3]):
        if axis.meaning in ("time", "list") and axis.step is not None:
            pixdim[4 + number] = axis.step
    if axes and axes[0].meaning == "time" and axes[0].step is not None:
        units |= UNIT_CODES.get(axes[0].unit or "", 0)
    return {"xyzt_units": units, "pixdim": pixdim}


def _note(
    image: Image, metadata: Metadata, stored: np.dtype, dims: tuple[int, ...], components: int, affine: np.ndarray
) -> bytes:
    """The note on the properties of the image that the header just written does not give back."""
    channels = channels_of(dims) + ((components,) if components > 1 else ())
    original = image.dtype.newbyteorder("=")
    return Note(
        affine=None if np.array_equal(affine, image.affine) else image.affine,
        channels=None if channels == image.channels else image.channels,
        dtype=None if original == stored.newbyteorder("=") else str(original),
        metadata=metadata,
    ).to_bytes()
