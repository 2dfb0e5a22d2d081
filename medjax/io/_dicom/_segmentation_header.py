"""What a DICOM Segmentation object says before its pixels are read: type, grid, segments, metadata."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._image._kind import Kind
from medjax._image._metadata import Metadata
from medjax.io._dicom._errors import DuplicatePositionError
from medjax.io._dicom._metadata import acquisition_time, metadata_of_header
from medjax.io._dicom._segmentation_grid import Frames, Stack, frames_of, stack_of
from medjax.io._dicom._stated import Stated
from medjax.io._dicom._values import header_of
from medjax.io._disk._image_header import ImageHeader, header_from

__all__ = ["Segment", "Segmentation", "inspect_segmentation", "segmentation_of"]


@dataclasses.dataclass(frozen=True)
class Segment:
    """The name and colour of a segment."""

    number: int
    label: str | None
    color: list[float] | None  # red, green, blue from 0 to 1


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """A Segmentation object before its pixels are read.

    Attributes:
        stated: Its data set.
        type: Segmentation Type (0062,0001): "LABELMAP", "BINARY" or "FRACTIONAL".
        frames: Its frames.
        stack: The grid, and the slice of each frame on it.
        segments: The items of the Segment Sequence, in their order.
        channel: The place of each frame's segment in that sequence; of a label map, which has none, zeros.
        dtype: Of the voxels, unless binary segments overlap.
        background: The value of a slice without frames.
        largest: Maximum Fractional Value (0062,000E), the stored value of 1.
    """

    stated: Stated
    type: str
    frames: Frames
    stack: Stack
    segments: list[Segment]
    channel: np.ndarray
    dtype: np.dtype
    background: int = 0
    largest: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return self.stack.count, self.frames.rows, self.frames.columns

    def metadata(self, *, is_per_channel: bool) -> Metadata:
        """What the header states, and the segments for display."""
        # The per-frame groups (5200,9230) describe frames, which are gone. They can be larger than the voxels.
        header, stated = header_of(self.stated.dataset, skip=[0x52009230]), self.stated
        acquired = acquisition_time(stated.dataset)
        metadata = metadata_of_header(header, acquisition_time=acquired, source=stated.path.name)
        shown = [
            dataclasses.asdict(segment) | {"channel": n if is_per_channel else None}
            for n, segment in enumerate(self.segments)
        ]
        metadata = metadata.replace(display={**metadata.display, "segments": shown})
        if self.type == "FRACTIONAL":
            return metadata.replace(subtype=stated.text("SegmentationFractionalType") or None)
        return metadata


def segmentation_of(dataset: Dataset, path: Path) -> Segmentation:
    """Reads and checks the header of a Segmentation or Label Map Segmentation object.

    Raises:
        ImageFileError: the object is damaged, its frames do not fit on one grid, or two frames of one segment lie at
            one position; a subclass says which.
    """
    stated = Stated(dataset, path)
    frames = frames_of(stated)
    segments = _segments(stated)
    stack = stack_of(frames, path)
    kind = stated.text("SegmentationType") or "BINARY"
    if kind == "LABELMAP":
        _check_single(stack.slices, path)
        dtype, background = _stored_labels(stated)
        return Segmentation(stated, kind, frames, stack, segments, np.zeros_like(stack.slices), dtype, background)
    if kind not in ("BINARY", "FRACTIONAL"):
        raise UnsupportedFileError(path, f"segmentation type {kind[:16]!r} is none of BINARY, FRACTIONAL and LABELMAP")
    channel = _channels(frames, stack, segments, path)
    if kind == "BINARY":
        dtype = np.dtype(np.uint8 if max(segment.number for segment in segments) < 256 else np.uint16)
        return Segmentation(stated, kind, frames, stack, segments, channel, dtype)
    largest = stated.whole("MaximumFractionalValue")
    if largest < 1:
        raise ImageFileError(path, f"Maximum Fractional Value must be positive, got {largest}")
    return Segmentation(stated, kind, frames, stack, segments, channel, np.dtype(np.float32), largest=largest)


def inspect_segmentation(dataset: Dataset, path: Path) -> ImageHeader:
    """Describes the image of a Segmentation object; whether binary segments overlap is as the file says."""
    found = segmentation_of(dataset, path)
    count = len(found.segments)
    undecided: tuple[str, ...] = ()
    dtype, is_per_channel = found.dtype, found.type == "FRACTIONAL" and count > 1
    if found.type == "BINARY" and len(np.unique(found.stack.slices)) < len(found.stack.slices):
        undecided = ("channels", "metadata", "dtype")[: 2 + (dtype != np.uint8)]
        if found.stated.text("SegmentsOverlap") == "YES":
            dtype, is_per_channel = np.dtype(np.uint8), True
    shape = (*found.shape[::-1], *((count,) if is_per_channel else ()))
    metadata = found.metadata(is_per_channel=is_per_channel)
    kind: Kind = "intensity" if found.type == "FRACTIONAL" else "label"
    return header_from(shape, found.stack.affine, dtype, kind, metadata, undecided)


def _stored_labels(stated: Stated) -> tuple[np.dtype, int]:
    """The type of a label map's voxels, and its background."""
    background, bits, path = stated.whole("PixelPaddingValue", default=0), stated.whole("BitsAllocated"), stated.path
    if bits not in (8, 16):
        raise ImageFileError(path, f"a label map has 8 or 16 bits per pixel, not {bits}")
    if not 0 <= background < 2**bits:
        raise ImageFileError(path, f"Pixel Padding Value {background} does not fit {bits} bits")
    return np.dtype(np.uint8 if bits == 8 else np.uint16), background


def _channels(frames: Frames, stack: Stack, segments: list[Segment], path: Path) -> np.ndarray:
    """The place of each frame's segment in the Segment Sequence."""
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


def _segments(stated: Stated) -> list[Segment]:
    """The items of the Segment Sequence (PS3.3 section C.8.20.4), in their order."""
    segments = []
    for item in stated.items("SegmentSequence"):
        stored = item.numbers("RecommendedDisplayCIELabValue", 3)
        color = None if stored is None else srgb_of_cielab(stored)
        segments.append(Segment(item.whole("SegmentNumber"), item.text("SegmentLabel") or None, color))
    numbers = [segment.number for segment in segments]
    if not numbers:
        raise ImageFileError(stated.path, "describes no segment (Segment Sequence)")
    if len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) > 65535:
        raise ImageFileError(stated.path, f"segment numbers must differ and lie in 0..65535, got {numbers[:8]}")
    return segments


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
