"""A slice: its place, the scaling of its values, its file, and its frame or tile there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydicom.tag import BaseTag

from medjax.io._dicom._errors import InconsistentGeometryError
from medjax.io._dicom._header import File
from medjax.io._dicom._layout import Layout
from medjax.io._dicom._scaling import Scaling, mapped, scaling_of
from medjax.io._dicom._stored import numbers, tag_of
from medjax.io._dicom._values import json_value

__all__ = ["MAPPINGS", "ORIENTATION", "POSITION", "Slice", "positive", "single_slice", "unit_axes"]

_THICKNESS = BaseTag(0x00180050)
_IMAGER_SPACING = BaseTag(0x00181164)
_NOMINAL_SPACING = BaseTag(0x00182010)
POSITION = BaseTag(0x00200032)
ORIENTATION = BaseTag(0x00200037)
_PIXEL_SPACING = BaseTag(0x00280030)
MAPPINGS = BaseTag(0x00409096)


@dataclasses.dataclass(slots=True, eq=False)
class Slice:
    """One plane of voxels.

    Attributes:
        file: The file that stores it.
        layout: How that file stores its pixels.
        frame: Index of its frame in the file.
        corner: Row and column of its tile in that frame, (0, 0) unless the file is a mosaic.
        shape: Rows and columns.
        position: World position of the centre of its first pixel, LPS mm; `None` where the file does not say.
        orientation: Unit vectors along a row and along a column, six numbers; `None` where the file does not say.
        pixel_spacing: mm between rows and between columns; `None` where the file does not say.
        thickness: mm along the normal, for a slice that has no neighbour.
        scaling: The map from stored values to values, as far as the file states it.
        attributes: The attributes of this frame in functional groups, by keyword.
        is_placed: Whether the file states position and orientation, so that they are no stand-in.
        note: The warning, or empty.
    """

    file: File
    layout: Layout
    frame: int
    corner: tuple[int, int]
    shape: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    thickness: float | None
    scaling: Scaling
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_placed: bool = True
    note: str = ""

    @property
    def slope(self) -> float:
        """The stated slope; 1 where none is stated. A slope of 0 cannot be meant and is read as 1, as GDCM does."""
        return self.scaling.slope or 1.0

    @property
    def intercept(self) -> float:
        """The stated intercept, the value of a stored 0; 0 where none is stated."""
        return self.scaling.intercept or 0.0

    def attribute(self, keyword: str) -> Any:
        """The value of an attribute of this slice, hashable; `None` where the file does not state it."""
        value = self.attributes.get(keyword)
        if value is None:
            value = json_value(self.file.dataset, tag_of(keyword)) if tag_of(keyword) in self.file.dataset else None
        return _hashable(value)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value if not isinstance(value, dict) else None


def single_slice(file: File, layout: Layout) -> Slice:
    """A file's only slice, or its first frame as the attributes of a classic file describe it."""
    dataset = file.dataset
    mappings = json_value(dataset, MAPPINGS) if MAPPINGS in dataset else None
    return Slice(
        file=file,
        layout=layout,
        frame=0,
        corner=(0, 0),
        shape=(layout.rows, layout.columns),
        position=numbers(dataset, POSITION, 3),
        orientation=numbers(dataset, ORIENTATION, 6),
        pixel_spacing=_pixel_spacing(file),
        thickness=positive(dataset, _THICKNESS),
        scaling=mapped(scaling_of(dataset, file), mappings, file, has_table=layout.has_modality_lut),
    )


def _pixel_spacing(file: File) -> tuple[float, ...] | None:
    """Pixel Spacing (0028,0030), else that at the detector, (0018,1164), else that of a scanned film, (0018,2010)."""
    for tag in (_PIXEL_SPACING, _IMAGER_SPACING, _NOMINAL_SPACING):
        spacing = numbers(file.dataset, tag, 2)
        if spacing and min(spacing) > 0:
            return spacing
    return None


def positive(dataset: Any, tag: int) -> float | None:
    """A positive decimal, or `None`."""
    value = numbers(dataset, tag, 1)
    return value[0] if value and value[0] > 0 else None


def unit_axes(orientation: tuple[float, ...], file: File) -> np.ndarray:
    """Unit vectors along a row, along a column and along the normal, the rows of a `(3, 3)` rotation.

    The stated vectors are rounded. The nearest orthonormal vectors replace them.

    Raises:
        InconsistentGeometryError: they are not at right angles, or not unit vectors, by more than 1 %.
    """
    stated = np.asarray(orientation, np.float64).reshape(2, 3)
    gram = stated @ stated.T
    if np.abs(gram - np.eye(2)).max() > 0.01:
        raise InconsistentGeometryError(
            file.path, f"ImageOrientationPatient {list(orientation)} is not two perpendicular unit vectors"
        )
    values, vectors = np.linalg.eigh(gram)
    row, column = vectors @ np.diag(values**-0.5) @ vectors.T @ stated  # Löwdin's symmetric orthonormalisation
    return np.stack([row, column, np.cross(row, column)])
