"""DICOM Segmentation objects as images: binary, fractional and label map (PS3.3 sections A.51 and C.8.20).

Read with pydicom alone. What becomes of each type (Segmentation Type (0062,0001)):

- LABELMAP: the stored values, which are segment numbers.
- BINARY without overlap: one label volume, the value of a voxel is its segment's number. Whether segments overlap is
  decided by their voxels, not by Segments Overlap (0062,0013).
- BINARY with overlap: a trailing axis with one channel of 0 and 1 for each segment, in the order of the Segment Sequence.
- FRACTIONAL: float32 from 0 to 1, stored value / Maximum Fractional Value; a trailing axis with one channel per
  segment, none if there is only one segment. An intensity image, its `metadata.subtype` PROBABILITY or OCCUPANCY.

The grid spans the frames from the first to the last position along the normal of the planes; that is as much as the file
says of the scan it was drawn on. The step is Spacing Between Slices (0018,0088) where the positions are multiples of it,
else the smallest distance between two positions. A slice without frames is background: 0, or the Pixel Padding Value
(0028,0120) of a label map, which designates its background (Supplement 243).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medjax._grid import shear_degrees
from medjax._image import Image
from medjax._metadata import Metadata
from medjax.io._dicom import _metadata
from medjax.io._dicom._errors import (
    DuplicatePositionError,
    InconsistentGeometryError,
    NoGeometryError,
    NonUniformSpacingError,
)
from medjax.io._errors import ImageFileError, ImageFileWarning, TruncatedFileError, UnsupportedFileError
from medjax.io._files import warn

__all__ = ["read_segmentation"]

# A sparse object may span many empty slices, but a grid beyond this comes from a wrong spacing, not from a scanner.
_MOST_SLICES = 20_000
_MOST_VOXELS = 2**32


def read_segmentation(dataset: Dataset, path: Path) -> Image:
    """Reads a Segmentation or Label Map Segmentation object; the module says what becomes of each type.

    `metadata.extra["SegmentSequence"]` describes the segments as the file does; `metadata.display["segments"]` lists
    the number, label, colour (red, green, blue from 0 to 1) and channel of each, `None` where there is none.

    Raises:
        ImageFileError: the object is damaged, its frames do not fit on one grid, or two frames of one segment lie at
            one position; a subclass says which.

    Source: DICOM PS3.3 sections A.51 and C.8.20.
    """
    frames = _frames(dataset, path)
    segments = _segments(dataset, path)
    stack = _stack(frames, path)
    kind = _text(dataset, "SegmentationType") or "BINARY"
    if kind == "LABELMAP":
        voxels, channels = _label_map(dataset, frames, stack, segments, path), False
    elif kind == "BINARY":
        voxels, channels = _binary(dataset, frames, stack, segments, path)
    elif kind == "FRACTIONAL":
        voxels, channels = _fractional(dataset, frames, stack, segments, path)
    else:
        raise UnsupportedFileError(path, f"segmentation type {kind[:16]!r} is none of BINARY, FRACTIONAL and LABELMAP")
    metadata = _described(dataset, path, segments, is_per_channel=channels)
    if kind == "FRACTIONAL":
        metadata = metadata.replace(subtype=_text(dataset, "SegmentationFractionalType"))
    return Image.from_array(
        voxels.T,  # (channel, slice, row, column) becomes (column, row, slice, channel)
        affine=stack.affine,
        kind="intensity" if kind == "FRACTIONAL" else "label",
        metadata=metadata,
    )


# Frames: what the functional groups say of each (PS3.3 section C.7.6.16)


@dataclasses.dataclass(frozen=True)
class _Frames:
    """All frames of the object, one entry of each array per frame."""

    rows: int
    columns: int
    segments: np.ndarray  # (n,) Referenced Segment Number, 0 where the frame has none, as in a label map
    positions: np.ndarray | None  # (n, 3) LPS mm
    directions: np.ndarray  # (2, 3) unit vectors along a row and down a column
    spacing: np.ndarray  # (2,) mm between rows and between columns
    step: float | None  # Spacing Between Slices, mm
    thickness: float | None  # Slice Thickness, mm; no step: slices may overlap or leave gaps


def _frames(dataset: Dataset, path: Path) -> _Frames:
    rows, columns = _whole(dataset, "Rows", path), _whole(dataset, "Columns", path)
    count = _whole(dataset, "NumberOfFrames", path, default=1)
    groups = _items(dataset, "PerFrameFunctionalGroupsSequence", path)
    shared = next(iter(_items(dataset, "SharedFunctionalGroupsSequence", path)), Dataset())
    if min(rows, columns, count) < 1:
        raise ImageFileError(path, f"{count} frames of {columns} x {rows} pixels hold no voxel")
    if len(groups) < count and not (count == 1 and not groups):
        raise ImageFileError(path, f"describes {len(groups)} of its {count} frames (Per-Frame Functional Groups)")
    if len(groups) > count:
        warn(path, f"describes {len(groups)} frames but holds {count}: the first {count} are read", ImageFileWarning)
    groups = groups[:count] or [Dataset()]
    macro = _Macros(groups, shared, path)
    positions = macro.numbers("PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = macro.common("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = macro.common("PixelMeasuresSequence", "PixelSpacing", 2)
    if positions is None or orientation is None or spacing is None:
        _check_unplaced(dataset, groups, shared, path)
        positions, orientation = None, np.array([1.0, 0, 0, 0, 1, 0])
    numbers = macro.numbers("SegmentIdentificationSequence", "ReferencedSegmentNumber", 1)
    return _Frames(
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
    """Values that each frame states for itself or all frames share."""

    def __init__(self, groups: list[Dataset], shared: Dataset, path: Path):
        self.groups, self.shared, self.path = groups, shared, path

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
            raise InconsistentGeometryError(self.path, f"its frames differ in {keyword}, and do not lie on one grid")
        return values[0]

    def length(self, keyword: str) -> float | None:
        value = self._value(self.shared, "PixelMeasuresSequence", keyword, 1)
        if value is None:
            value = self._value(self.groups[0], "PixelMeasuresSequence", keyword, 1)
        return None if value is None or value[0] == 0 else abs(float(value[0]))  # the spacing may be negative in NM

    def _value(self, group: Dataset, sequence: str, keyword: str, count: int) -> np.ndarray | None:
        items = _items(group, sequence, self.path)
        return _numbers(items[0], keyword, count, self.path) if items else None


def _check_unplaced(dataset: Dataset, groups: list[Dataset], shared: Dataset, path: Path) -> None:
    """Frames without a place in the patient: a single one becomes a picture, more cannot be put together."""
    on_slide = any("PlanePositionSlideSequence" in group for group in (*groups, shared))
    if on_slide or "TotalPixelMatrixColumns" in dataset:
        raise UnsupportedFileError(path, "a segmentation of a microscopy slide has no place in a patient")
    if len(groups) > 1:
        raise NoGeometryError(path, f"{len(groups)} frames, and not all say where they lie in the patient")
    warn(path, "does not say where it lies in the patient; its origin is set to 0", ImageFileWarning)


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
class _Stack:
    """The grid of the object and where on it each frame goes."""

    affine: np.ndarray  # index (column, row, slice) to LPS mm
    slices: np.ndarray  # (n,) slice of each frame
    count: int


def _stack(frames: _Frames, path: Path) -> _Stack:
    affine = np.eye(4)
    normal = np.cross(*frames.directions)
    affine[:3, 0], affine[:3, 1] = frames.directions[0] * frames.spacing[1], frames.directions[1] * frames.spacing[0]
    if frames.positions is None:
        affine[:3, 2] = normal * (frames.step or frames.thickness or 1.0)
        return _Stack(affine, np.zeros(len(frames.segments), np.int64), 1)
    offsets = frames.positions @ normal
    order = np.argsort(offsets, kind="stable")
    numbers = np.empty(len(offsets), np.int64)
    numbers[order] = _slice_numbers(offsets[order], frames, path)
    last = int(numbers.max())
    first, end = frames.positions[order[0]], frames.positions[order[-1]]
    affine[:3, 2] = (end - first) / last if last else normal * _single_step(frames, path)
    affine[:3, 3] = first
    _check_fit(affine, numbers, frames.positions, path)
    return _Stack(affine, numbers, last + 1)


def _slice_numbers(offsets: np.ndarray, frames: _Frames, path: Path) -> np.ndarray:
    """Slice of each of the ascending offsets (mm): counted gap by gap, so that a rounded step does not add up."""
    gaps = np.diff(offsets)
    gaps[gaps < 0.01 * frames.spacing.min()] = 0  # the same position, but for rounding in the text
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


def _single_step(frames: _Frames, path: Path) -> float:
    step = frames.step or frames.thickness
    if step is None:
        warn(path, "one slice without a thickness: its thickness is set to 1 mm", ImageFileWarning)
    return step or 1.0


def _check_fit(affine: np.ndarray, numbers: np.ndarray, positions: np.ndarray, path: Path) -> None:
    """Every frame lies where the grid says, within 1 % of the step or 0.02 mm; a leaning stack keeps its lean."""
    distance = np.linalg.norm(affine[:3, 3] + numbers[:, None] * affine[:3, 2] - positions, axis=1).max()
    step = float(np.linalg.norm(affine[:3, 2]))
    if distance > max(0.01 * step, 0.02):
        raise InconsistentGeometryError(path, f"a frame lies {distance:.3g} mm off the grid of the others")
    if (shear := shear_degrees(affine)) > 0.2:
        warn(path, f"its slices lean by {shear:.2f} degrees; the affine is sheared accordingly", ImageFileWarning)


# Voxels


def _label_map(dataset: Dataset, frames: _Frames, stack: _Stack, segments: list[_Segment], path: Path) -> np.ndarray:
    _check_single(stack.slices, path)
    background = _whole(dataset, "PixelPaddingValue", path, default=0)
    is_wide = _whole(dataset, "BitsAllocated", path) == 16
    dtype = np.dtype(np.uint16 if is_wide else np.uint8)
    if not 0 <= background < (65536 if is_wide else 256):
        raise ImageFileError(path, f"Pixel Padding Value {background} does not fit the pixels ({dtype})")
    voxels = _filled((stack.count, frames.rows, frames.columns), dtype, background, path)
    found: set[int] = set()
    for number, plane in _planes(dataset, frames, path):
        voxels[stack.slices[number]] = plane
        found.update(np.unique(plane).tolist())
    unknown = sorted(found - {segment.number for segment in segments} - {0, background})
    if unknown:
        warn(path, f"labels {unknown[:8]} are described by no segment", ImageFileWarning)
    return voxels


def _binary(
    dataset: Dataset, frames: _Frames, stack: _Stack, segments: list[_Segment], path: Path
) -> tuple[np.ndarray, bool]:
    """The label volume, or one channel per segment where they overlap; and which of the two it is."""
    channel = _channels(frames, stack, segments, path)
    dtype = np.dtype(np.uint8 if max(segment.number for segment in segments) < 256 else np.uint16)
    shape = (stack.count, frames.rows, frames.columns)
    labels = _filled(shape, dtype, 0, path)
    for number, plane in _planes(dataset, frames, path):
        inside, target = plane != 0, labels[stack.slices[number]]
        if (target[inside] != 0).any():
            break
        target[inside] = frames.segments[number]
    else:
        return labels, False
    masks = _filled((len(segments), *shape), np.dtype(np.uint8), 0, path)
    for number, plane in _planes(dataset, frames, path):
        masks[channel[number], stack.slices[number]] = plane != 0
    return masks, True


def _fractional(
    dataset: Dataset, frames: _Frames, stack: _Stack, segments: list[_Segment], path: Path
) -> tuple[np.ndarray, bool]:
    channel = _channels(frames, stack, segments, path)
    largest = _whole(dataset, "MaximumFractionalValue", path)
    if largest < 1:
        raise ImageFileError(path, f"Maximum Fractional Value must be positive, got {largest}")
    shape = (len(segments), stack.count, frames.rows, frames.columns)
    voxels = _filled(shape, np.dtype(np.float32), 0, path)
    for number, plane in _planes(dataset, frames, path):
        if plane.max() > largest:
            raise ImageFileError(path, f"holds {plane.max()}, above its Maximum Fractional Value {largest}")
        np.divide(plane, np.float32(largest), out=voxels[channel[number], stack.slices[number]])
    return (voxels, True) if len(segments) > 1 else (voxels[0], False)


def _channels(frames: _Frames, stack: _Stack, segments: list[_Segment], path: Path) -> np.ndarray:
    """Place of each frame's segment in the Segment Sequence."""
    place = {segment.number: n for n, segment in enumerate(segments)}
    unknown = sorted(set(frames.segments.tolist()) - set(place))
    if unknown:
        raise ImageFileError(path, f"its frames show segments {unknown[:8]}, which the Segment Sequence does not list")
    _check_single(np.stack([frames.segments, stack.slices], axis=1), path)
    return np.array([place[number] for number in frames.segments.tolist()])


def _check_single(keys: np.ndarray, path: Path) -> None:
    if len(np.unique(keys, axis=0)) < len(keys):
        raise DuplicatePositionError(
            path,
            "two frames of one segment lie at one position",
            "segmentations over time are not read: split it by time point first",
        )


def _filled(shape: tuple[int, ...], dtype: np.dtype, background: int, path: Path) -> np.ndarray:
    if np.prod(shape, dtype=np.float64) > _MOST_VOXELS:
        raise UnsupportedFileError(path, f"its grid has {' x '.join(map(str, shape))} voxels, too many to hold")
    # Zeros cost no memory until they are written to, which keeps sparse objects small.
    return np.full(shape, background, dtype) if background else np.zeros(shape, dtype)


def _planes(dataset: Dataset, frames: _Frames, path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yields frame number and pixels `(rows, columns)`, one at a time."""
    from pydicom.pixels import iter_pixels

    count, shape = len(frames.segments), (frames.rows, frames.columns)
    if "PixelData" not in dataset:
        raise ImageFileError(path, "holds no Pixel Data")
    if _whole(dataset, "BitsAllocated", path) == 1 and not _is_compressed(dataset):
        yield from enumerate(_bit_planes(dataset.PixelData, count, shape, path))
        return
    try:
        for number, plane in enumerate(iter_pixels(dataset, raw=True)):
            if plane.shape != shape or number >= count:
                raise ImageFileError(path, f"pixels of shape {plane.shape} do not fit {count} frames of {shape}")
            yield number, plane
    except ImageFileError:
        raise
    except Exception as error:  # pydicom and its codecs raise almost anything for damaged pixels
        raise ImageFileError(path, f"its pixels cannot be decoded: {str(error)[:300]}") from error


def _is_compressed(dataset: Dataset) -> bool:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    return syntax is not None and not syntax.is_private and syntax.is_encapsulated


def _bit_planes(data: bytes, count: int, shape: tuple[int, int], path: Path) -> Iterator[np.ndarray]:
    """Bits are packed without a gap between frames, the first pixel in the lowest bit (PS3.5 section 8.1.1)."""
    size = shape[0] * shape[1]
    if len(data) * 8 < size * count:
        raise TruncatedFileError(
            path, f"holds {len(data)} bytes of pixels where {count} frames need {-(-size * count // 8)}"
        )
    packed = np.frombuffer(data, np.uint8)
    for start in range(0, size * count, size):
        bits = np.unpackbits(packed[start // 8 : -(-(start + size) // 8)], bitorder="little")
        yield bits[start % 8 : start % 8 + size].reshape(shape)


# Segments and metadata


@dataclasses.dataclass(frozen=True)
class _Segment:
    """What a segment is called and how it is shown."""

    number: int
    label: str | None
    color: list[float] | None  # red, green, blue from 0 to 1


def _segments(dataset: Dataset, path: Path) -> list[_Segment]:
    """The items of the Segment Sequence (PS3.3 section C.8.20.4), in their order."""
    segments = []
    for item in _items(dataset, "SegmentSequence", path):
        stored = _numbers(item, "RecommendedDisplayCIELabValue", 3, path)
        color = None if stored is None else srgb_of_cielab(stored)
        segments.append(_Segment(_whole(item, "SegmentNumber", path), _text(item, "SegmentLabel") or None, color))
    numbers = [segment.number for segment in segments]
    if not numbers:
        raise ImageFileError(path, "describes no segment (Segment Sequence)")
    if len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) > 65535:
        raise ImageFileError(path, f"segment numbers must differ and lie in 0..65535, got {numbers[:8]}")
    return segments


def _described(dataset: Dataset, path: Path, segments: list[_Segment], *, is_per_channel: bool) -> Metadata:
    # The per-frame groups (5200,9230) describe frames, which are gone; those of a large object would outweigh its voxels.
    header = _metadata.header_of(dataset, skip=[0x52009230])
    acquired = _metadata.acquisition_time(dataset)
    metadata = _metadata.metadata_of_header(header, acquisition_time=acquired, source=path.name)
    shown = [
        dataclasses.asdict(segment) | {"channel": n if is_per_channel else None} for n, segment in enumerate(segments)
    ]
    return metadata.replace(display={**metadata.display, "segments": shown})


def srgb_of_cielab(stored: np.ndarray) -> list[float]:
    """Converts a stored CIELab value to sRGB from 0 to 1.

    L is stored as 0..65535 for 0..100, a and b as 0..65535 for -128..127, relative to white D50 (PS3.3 section
    C.10.7.1.1); then CIE 15:2004 to XYZ, the Bradford matrix to D65 (Lindbloom) and IEC 61966-2-1 to sRGB.

    Example:
        >>> srgb_of_cielab(np.array([65535, 32896, 32896]))
        [1.0, 1.0, 1.0]
        >>> srgb_of_cielab(np.array([41661, 41167, 40792]))
        [0.851, 0.511, 0.396]
    """
    lightness, a, b = stored * np.array([100.0, 255.0, 255.0]) / 65535 - np.array([0.0, 128.0, 128.0])
    y = (lightness + 16) / 116
    root = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29)) * [0.96422, 1.0, 0.82521]
    linear = np.clip(_XYZ_D50_TO_LINEAR_SRGB @ xyz, 0, 1)
    return [
        round(float(c), 3) for c in np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    ]


# http://www.brucelindbloom.com/index.html?Eqn_RGB_XYZ_Matrix.html, sRGB with white D50.
_XYZ_D50_TO_LINEAR_SRGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)


# Attributes of a header that nobody vouches for


def _items(dataset: Dataset, keyword: str, path: Path) -> list[Dataset]:
    value = _value(dataset, keyword, path)
    if value is not None and not isinstance(value, Sequence):
        raise ImageFileError(path, f"{keyword} is no sequence")
    return list(value or ())


def _numbers(dataset: Dataset, keyword: str, count: int, path: Path) -> np.ndarray | None:
    """The attribute as `count` finite numbers; `None` where it is absent or empty."""
    value = _value(dataset, keyword, path)
    if value is None or value == "":
        return None
    try:
        numbers = np.atleast_1d(np.asarray(value, np.float64))
    except (TypeError, ValueError, OverflowError):
        numbers = np.zeros(0)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ImageFileError(path, f"{keyword} must hold {count} finite numbers")
    return numbers


def _whole(dataset: Dataset, keyword: str, path: Path, default: int | None = None) -> int:
    numbers = _numbers(dataset, keyword, 1, path)
    if numbers is None:
        if default is None:
            raise ImageFileError(path, f"lacks {keyword}")
        return default
    if numbers[0] != int(numbers[0]):
        raise ImageFileError(path, f"{keyword} must be a whole number, got {numbers[0]:g}")
    return int(numbers[0])


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset.get(keyword, "") or "")
    except Exception:  # a text that cannot be decoded is not known; pydicom raises whatever its converters do
        return ""


def _value(dataset: Dataset, keyword: str, path: Path) -> Any:
    try:
        return dataset.get(keyword)
    except Exception as error:  # pydicom decodes on access and raises whatever its converters do
        raise ImageFileError(path, f"{keyword} cannot be decoded: {type(error).__name__}") from error
