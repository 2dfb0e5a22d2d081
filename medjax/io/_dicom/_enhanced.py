"""Enhanced multi-frame objects: geometry, scaling and dimensions of each frame from functional groups.

A functional group is a sequence of one item. It stands per frame in (5200,9230) or for all frames in (5200,9229); see
PS3.3 section C.7.6.16. The items are flattened here, so an attribute has one name whether the scanner wrote a classic
or an enhanced object. Attributes that a group lacks are looked for at the top level, where legacy converters and some
scanners leave them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from medjax.io._dicom._errors import InconsistentGeometryError
from medjax.io._dicom._header import File
from medjax.io._dicom._layout import Layout
from medjax.io._dicom._scaling import Scaling, mapped, scaling_of
from medjax.io._dicom._slices import MAPPINGS, Slice, single_slice
from medjax.io._dicom._values import header_of, json_value

__all__ = ["DIMENSION", "slices_of_enhanced"]

# Prefix of the attribute that holds a frame's index along a dimension of the Dimension Index Sequence.
DIMENSION = "dimension:"

# Dimensions that place a frame in space. Every other dimension tells volumes apart (PS3.3 section C.7.6.17).
_SPATIAL = frozenset(
    {"StackID", "InStackPositionNumber", "ImagePositionPatient", "ImageOrientationPatient", "FrameNumber"}
)


def slices_of_enhanced(file: File, layout: Layout) -> list[Slice]:
    """Lists the frames of an enhanced object as slices.

    Raises:
        InconsistentGeometryError: the numbers of functional groups and of frames differ.
    """
    top = single_slice(file, layout)
    shared_groups = _first_item(file.dataset, "SharedFunctionalGroupsSequence")
    shared = _flat(shared_groups)
    groups = file.dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(groups) not in (0, layout.frames):
        raise InconsistentGeometryError(
            file.path, f"{layout.frames} frames, but {len(groups)} per-frame functional groups"
        )
    names = _dimension_names(file.dataset)
    common = _transform(shared_groups, file).over(scaling_of(file.dataset, file))
    slices = []
    for frame in range(layout.frames):
        scaling = _transform(groups[frame], file).over(common) if groups else common  # before anything is decoded
        own = _flat(groups[frame]) if groups else {}
        slices.append(_slice(top, frame, {**shared, **own, **_dimensions(names, own)}, scaling))
    return slices


def _transform(group: Dataset, file: File) -> Scaling:
    """Pixel Value Transformation Sequence (0028,9145) of a functional group."""
    return scaling_of(_first_item(group, "PixelValueTransformationSequence"), file)


def _first_item(dataset: Dataset, keyword: str) -> Dataset:
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else Dataset()


def _flat(group: Dataset) -> dict[str, Any]:
    """Merges the items of the functional groups of one frame, or of all frames, into one mapping."""
    flat: dict[str, Any] = {}
    for keyword, value in header_of(group).items():
        if keyword == "private":
            flat.setdefault("private", {}).update(value)
        elif _is_macro(keyword, value):
            item = value[0]
            flat.setdefault("private", {}).update(item.pop("private", {}))
            gradient = item.pop("DiffusionGradientDirectionSequence", None)
            flat.update(item | (gradient[0] if gradient else {}))
        else:
            flat[keyword] = value
    if not flat.get("private", True):
        del flat["private"]
    return flat


def _is_macro(keyword: str, value: Any) -> bool:
    """Whether a group describes the frame itself. A group that points to other objects stays a sequence."""
    is_item = isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)
    return is_item and not keyword.startswith(
        ("Referenced", "Source", "Derivation", "ConversionSource", "RealWorldValue")
    )


def _dimension_names(dataset: Dataset) -> list[str]:
    """Names of the dimensions, by the attribute that each indexes."""
    names = []
    for item in dataset.get("DimensionIndexSequence") or []:
        pointer = int(item.get("DimensionIndexPointer") or 0)
        names.append(keyword_for_tag(pointer) or f"({pointer >> 16:04X},{pointer & 0xFFFF:04X})")
    return names


def _dimensions(names: list[str], own: Mapping[str, Any]) -> dict[str, Any]:
    """A frame's indices along the dimensions that do not place it in space."""
    values = own.get("DimensionIndexValues")
    values = values if isinstance(values, list) else [values]
    if len(values) != len(names):
        return {}
    return {DIMENSION + name: value for name, value in zip(names, values, strict=True) if name not in _SPATIAL}


def _slice(top: Slice, frame: int, attributes: dict[str, Any], scaling: Scaling) -> Slice:
    def vector(keyword: str, count: int, otherwise: tuple[float, ...] | None) -> tuple[float, ...] | None:
        value = attributes.get(keyword)
        is_vector = isinstance(value, list) and len(value) == count and all(isinstance(x, float | int) for x in value)
        return tuple(map(float, value)) if is_vector else otherwise  # type: ignore[arg-type]

    def number(keyword: str, otherwise: Any) -> Any:
        value = attributes.get(keyword)
        return float(value) if isinstance(value, float | int) else otherwise

    spacing = vector("PixelSpacing", 2, top.pixel_spacing)
    mappings = attributes.get("RealWorldValueMappingSequence") or json_value(top.file.dataset, MAPPINGS)
    return Slice(
        file=top.file,
        layout=top.layout,
        frame=frame,
        corner=(0, 0),
        shape=top.shape,
        position=vector("ImagePositionPatient", 3, top.position),
        orientation=vector("ImageOrientationPatient", 6, top.orientation),
        pixel_spacing=spacing if spacing and min(spacing) > 0 else None,
        thickness=number("SliceThickness", top.thickness) or None,
        scaling=mapped(scaling, mappings, top.file, has_table=top.layout.has_modality_lut),
        attributes=attributes,
    )
