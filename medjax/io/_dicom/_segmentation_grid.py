"""The place of the frames of a DICOM Segmentation object: its functional groups, and the grid that they form."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._geometry._grid import shear_degrees
from medjax.io._dicom._errors import InconsistentGeometryError, NoGeometryError, NonUniformSpacingError
from medjax.io._dicom._stated import Stated
from medjax.io._disk._warn import warn

__all__ = ["Frames", "Stack", "frames_of", "stack_of"]

# A sparse object may span many empty slices. A grid with more slices than this comes from a wrong spacing.
_MOST_SLICES = 20_000


# Frames, by their functional groups (PS3.3 section C.7.6.16)


@dataclasses.dataclass(frozen=True)
class Frames:
    """The frames as the object describes them. Arrays of `n` have one entry per frame."""

    rows: int
    columns: int
    segments: np.ndarray  # (n,) Referenced Segment Number, 0 where the frame has none, as in a label map
    positions: np.ndarray | None  # (n, 3) LPS mm
    directions: np.ndarray  # (2, 3) unit vectors along a row and down a column
    spacing: np.ndarray  # (2,) mm between rows and between columns
    step: float | None  # Spacing Between Slices, mm
    thickness: float | None  # Slice Thickness, mm; it is no step, since slices may overlap or leave gaps


def frames_of(stated: Stated) -> Frames:
    """Reads the functional groups of all frames, both the per-frame and the shared ones."""
    path = stated.path
    rows, columns = stated.whole("Rows"), stated.whole("Columns")
    count = stated.whole("NumberOfFrames", default=1)
    groups = stated.items("PerFrameFunctionalGroupsSequence")
    shared = next(iter(stated.items("SharedFunctionalGroupsSequence")), Stated(Dataset(), path))
    if min(rows, columns, count) < 1:
        raise ImageFileError(path, f"{count} frames of {columns} x {rows} pixels hold no voxel")
    if len(groups) < count and not (count == 1 and not groups):
        raise ImageFileError(path, f"describes {len(groups)} of its {count} frames (Per-Frame Functional Groups)")
    if len(groups) > count:
        warn(path, f"describes {len(groups)} frames but holds {count}: the first {count} are read")
    groups = groups[:count] or [Stated(Dataset(), path)]
    macro = _Macros(groups, shared)
    positions = macro.numbers("PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = macro.common("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = macro.common("PixelMeasuresSequence", "PixelSpacing", 2)
    if positions is None or orientation is None or spacing is None:
        _check_unplaced(stated, [*groups, shared], len(groups))
        positions, orientation = None, np.array([1.0, 0, 0, 0, 1, 0])
    numbers = macro.numbers("SegmentIdentificationSequence", "ReferencedSegmentNumber", 1)
    return Frames(
        rows,
        columns,
        np.zeros(count, np.int64) if numbers is None else numbers[:, 0].astype(np.int64),
        positions,
        _unit(orientation.reshape(2, 3), path),
        np.ones(2) if spacing is None else _positive(spacing, path),
        macro.length("SpacingBetweenSlices"),
        macro.length("SliceThickness"),
    )


class _Macros:
    """Values from the per-frame groups, else from the shared groups."""

    def __init__(self, groups: list[Stated], shared: Stated):
        self.groups, self.shared = groups, shared

    def numbers(self, sequence: str, keyword: str, count: int) -> np.ndarray | None:
        """The value of every frame, `(n, count)`; `None` where some frame lacks it."""
        common = self._value(self.shared, sequence, keyword, count)
        found = [self._value(group, sequence, keyword, count) for group in self.groups]
        values = [common if value is None else value for value in found]
        return None if any(value is None for value in values) else np.array(values)

    def common(self, sequence: str, keyword: str, count: int) -> np.ndarray | None:
        """The value that all frames agree on, within rounding."""
        values = self.numbers(sequence, keyword, count)
        if values is None:
            return None
        if not np.allclose(values, values[0], rtol=1e-4, atol=1e-4):
            raise InconsistentGeometryError(
                self.shared.path, f"its frames differ in {keyword}, and do not lie on one grid"
            )
        return values[0]

    def length(self, keyword: str) -> float | None:
        value = self._value(self.shared, "PixelMeasuresSequence", keyword, 1)
        if value is None:
            value = self._value(self.groups[0], "PixelMeasuresSequence", keyword, 1)
        return None if value is None or value[0] == 0 else abs(float(value[0]))  # the spacing may be negative in NM

    def _value(self, group: Stated, sequence: str, keyword: str, count: int) -> np.ndarray | None:
        found = group.items(sequence)
        return found[0].numbers(keyword, count) if found else None


def _check_unplaced(stated: Stated, groups: list[Stated], frames: int) -> None:
    """Checks frames without a place in the patient: a single one is a picture, several cannot be put together."""
    on_slide = any("PlanePositionSlideSequence" in group.dataset for group in groups)
    if on_slide or "TotalPixelMatrixColumns" in stated.dataset:
        raise UnsupportedFileError(stated.path, "a segmentation of a microscopy slide has no place in a patient")
    if frames > 1:
        raise NoGeometryError(stated.path, f"{frames} frames, and not all say where they lie in the patient")
    warn(stated.path, "does not say where it lies in the patient; its origin is set to 0")


def _unit(directions: np.ndarray, path: Path) -> np.ndarray:
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if not (np.abs(lengths - 1) < 0.01).all() or abs(float(directions[0] @ directions[1])) > 0.01:
        raise ImageFileError(path, "Image Orientation (Patient) does not hold two perpendicular unit vectors")
    return directions / lengths


def _positive(spacing: np.ndarray, path: Path) -> np.ndarray:
    if not (spacing > 0).all():
        raise ImageFileError(path, f"Pixel Spacing must be positive, got {spacing.tolist()}")
    return spacing


# The grid


@dataclasses.dataclass(frozen=True)
class Stack:
    """The grid of the object, and the slice of each frame on it."""

    affine: np.ndarray  # index (column, row, slice) to LPS mm
    slices: np.ndarray  # (n,) slice of each frame
    count: int


def stack_of(frames: Frames, path: Path) -> Stack:
    """Finds the grid from the first to the last frame along the normal, row x column, in that order."""
    affine = np.eye(4)
    normal = np.cross(*frames.directions)
    affine[:3, 0], affine[:3, 1] = frames.directions[0] * frames.spacing[1], frames.directions[1] * frames.spacing[0]
    if frames.positions is None:
        affine[:3, 2] = normal * (frames.step or frames.thickness or 1.0)
        return Stack(affine, np.zeros(len(frames.segments), np.int64), 1)
    offsets = frames.positions @ normal
    order = np.argsort(offsets, kind="stable")
    numbers = np.empty(len(offsets), np.int64)
    numbers[order] = _slice_numbers(offsets[order], frames, path)
    last = int(numbers.max())
    first, end = frames.positions[order[0]], frames.positions[order[-1]]
    affine[:3, 2] = (end - first) / last if last else normal * _single_step(frames, path)
    affine[:3, 3] = first
    _check_fit(affine, numbers, frames.positions, path)
    return Stack(affine, numbers, last + 1)


def _slice_numbers(offsets: np.ndarray, frames: Frames, path: Path) -> np.ndarray:
    """The slice of each ascending offset (mm). Gaps are counted one by one, so errors of the step do not add up."""
    gaps = np.diff(offsets)
    gaps[gaps < 0.01 * frames.spacing.min()] = 0  # the same position, up to rounding in the text
    distinct = gaps[gaps > 0]
    if not distinct.size:
        return np.zeros(len(offsets), np.int64)
    candidates = [step for step in (frames.step, float(distinct.min())) if step]
    for step in candidates:
        counts = np.round(gaps / step)
        is_fitting = (np.abs(gaps - counts * step) <= 0.1 * step) & ((counts > 0) == (gaps > 0))
        if is_fitting.all() and counts.sum() < _MOST_SLICES:
            return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    found = ", ".join(f"{gap:.4g}" for gap in np.unique(np.round(distinct, 3))[:6])
    raise NonUniformSpacingError(path, f"its frames lie {found} mm apart, which is no multiple of one step")


def _single_step(frames: Frames, path: Path) -> float:
    step = frames.step or frames.thickness
    if step is None:
        warn(path, "one slice without a thickness: its thickness is set to 1 mm")
    return step or 1.0


def _check_fit(affine: np.ndarray, numbers: np.ndarray, positions: np.ndarray, path: Path) -> None:
    """Checks that every frame lies on the grid, within 1 % of the step or 0.02 mm. A leaning stack keeps its lean."""
    distance = np.linalg.norm(affine[:3, 3] + numbers[:, None] * affine[:3, 2] - positions, axis=1).max()
    step = float(np.linalg.norm(affine[:3, 2]))
    if distance > max(0.01 * step, 0.02):
        raise InconsistentGeometryError(path, f"a frame lies {distance:.3g} mm off the grid of the others")
    if (shear := shear_degrees(affine)) > 0.2:
        warn(path, f"its slices lean by {shear:.2f} degrees; the affine is sheared accordingly")
