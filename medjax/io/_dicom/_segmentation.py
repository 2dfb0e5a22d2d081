"""DICOM Segmentation objects as images: binary, fractional and label map (PS3.3 sections A.51 and C.8.20).

Read with pydicom alone. Each Segmentation Type (0062,0001) is read as follows:

- LABELMAP: the stored values, which are segment numbers.
- BINARY without overlap: one label volume. The value of a voxel is its segment's number. The voxels decide whether
  segments overlap, not Segments Overlap (0062,0013).
- BINARY with overlap: a trailing axis with one channel of 0 and 1 for each segment, in the order of the Segment
  Sequence.
- FRACTIONAL: float32 from 0 to 1, stored value / Maximum Fractional Value; a trailing axis with one channel per
  segment, none if there is only one segment. An intensity image, its `metadata.subtype` PROBABILITY or OCCUPANCY.

The grid spans the frames from the first to the last position along the normal of the planes. The file tells no more of
the scan that it was drawn on. The step is Spacing Between Slices (0018,0088) where the positions are multiples of it,
else the smallest distance between two positions. A slice without frames is background: 0, or the Pixel Padding Value
(0028,0120) of a label map, which designates its background (Supplement 243).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax._image._image import Image, image_from
from medjax._image._metadata import Metadata
from medjax.io._dicom._codecs import iter_frames
from medjax.io._dicom._errors import DuplicatePositionError
from medjax.io._dicom._header import File
from medjax.io._dicom._layout import layout_of
from medjax.io._dicom._metadata import acquisition_time, metadata_of_header
from medjax.io._dicom._pixels import check_size
from medjax.io._dicom._quiet import quiet
from medjax.io._dicom._segmentation_grid import Frames, Stack, frames_of, stack_of
from medjax.io._dicom._stated import Stated
from medjax.io._dicom._values import header_of
from medjax.io._disk._warn import warn

__all__ = ["read_segmentation"]

_MOST_BYTES = 2**34

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)


def read_segmentation(dataset: Dataset, path: Path) -> Image:
    """Reads a Segmentation or Label Map Segmentation object by the rules of the module.

    `metadata.extra["SegmentSequence"]` describes the segments as the file does; `metadata.display["segments"]` lists
    the number, label, colour (red, green, blue from 0 to 1) and channel of each, `None` where there is none.

    Raises:
        ImageFileError: the object is damaged, its frames do not fit on one grid, or two frames of one segment lie at
            one position; a subclass says which.

    Source: DICOM PS3.3 sections A.51 and C.8.20.
    """
    stated = Stated(dataset, path)
    frames = frames_of(stated)
    segments = _segments(stated)
    stack = stack_of(frames, path)
    kind = stated.text("SegmentationType") or "BINARY"
    if kind == "LABELMAP":
        voxels, channels = _label_map(stated, frames, stack, segments), False
    elif kind == "BINARY":
        voxels, channels = _binary(stated, frames, stack, segments)
    elif kind == "FRACTIONAL":
        voxels, channels = _fractional(stated, frames, stack, segments)
    else:
        raise UnsupportedFileError(path, f"segmentation type {kind[:16]!r} is none of BINARY, FRACTIONAL and LABELMAP")
    metadata = _metadata_of(stated, segments, is_per_channel=channels)
    if kind == "FRACTIONAL":
        metadata = metadata.replace(subtype=stated.text("SegmentationFractionalType") or None)
    return image_from(
        voxels.T,  # (channel, slice, row, column) becomes (column, row, slice, channel)
        affine=stack.affine,
        kind="intensity" if kind == "FRACTIONAL" else "label",
        metadata=metadata,
    )


# Voxels


def _label_map(stated: Stated, frames: Frames, stack: Stack, segments: list[_Segment]) -> np.ndarray:
    path = stated.path
    _check_single(stack.slices, path)
    background = stated.whole("PixelPaddingValue", default=0)
    bits = stated.whole("BitsAllocated")
    if bits not in (8, 16):
        raise ImageFileError(path, f"a label map has 8 or 16 bits per pixel, not {bits}")
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    if not 0 <= background < 2**bits:
        raise ImageFileError(path, f"Pixel Padding Value {background} does not fit {bits} bits")
    voxels = _filled((stack.count, frames.rows, frames.columns), dtype, background, path)
    found: set[int] = set()
    for number, plane in _planes(stated, frames):
        if plane.dtype != dtype:
            raise ImageFileError(path, f"a label map holds unsigned integers, not {plane.dtype}")
        voxels[stack.slices[number]] = plane
        found.update(np.unique(plane).tolist())
    unknown = sorted(found - {segment.number for segment in segments} - {0, background})
    if unknown:
        warn(path, f"labels {unknown[:8]} are described by no segment")
    return voxels


def _binary(stated: Stated, frames: Frames, stack: Stack, segments: list[_Segment]) -> tuple[np.ndarray, bool]:
    """The label volume, or one channel per segment where they overlap, and whether there are channels."""
    path = stated.path
    channel = _channels(frames, stack, segments, path)
    dtype = np.dtype(np.uint8 if max(segment.number for segment in segments) < 256 else np.uint16)
    shape = (stack.count, frames.rows, frames.columns)
    labels = _filled(shape, dtype, 0, path)
    for number, plane in _planes(stated, frames):
        inside, target = plane != 0, labels[stack.slices[number]]
        if (target[inside] != 0).any():
            break
        target[inside] = frames.segments[number]
    else:
        return labels, False
    masks = _filled((len(segments), *shape), np.dtype(np.uint8), 0, path)
    for number, plane in _planes(stated, frames):
        masks[channel[number], stack.slices[number]] = plane != 0
    return masks, True


def _fractional(stated: Stated, frames: Frames, stack: Stack, segments: list[_Segment]) -> tuple[np.ndarray, bool]:
    path = stated.path
    channel = _channels(frames, stack, segments, path)
    largest = stated.whole("MaximumFractionalValue")
    if largest < 1:
        raise ImageFileError(path, f"Maximum Fractional Value must be positive, got {largest}")
    shape = (len(segments), stack.count, frames.rows, frames.columns)
    voxels = _filled(shape, np.dtype(np.float32), 0, path)
    for number, plane in _planes(stated, frames):
        if plane.max() > largest:
            raise ImageFileError(path, f"holds {plane.max()}, above its Maximum Fractional Value {largest}")
        np.divide(plane, np.float32(largest), out=voxels[channel[number], stack.slices[number]])
    return (voxels, True) if len(segments) > 1 else (voxels[0], False)


def _channels(frames: Frames, stack: Stack, segments: list[_Segment], path: Path) -> np.ndarray:
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


def _filled(shape: tuple[int, ...], dtype: np.dtype, background: int, path: Path) -> np.ndarray:
    try:
        if np.prod(shape, dtype=np.float64) * dtype.itemsize > _MOST_BYTES:
            raise MemoryError
        # Zeros cost no memory until they are written to, which keeps sparse objects small.
        return np.full(shape, background, dtype) if background else np.zeros(shape, dtype)
    except MemoryError:
        raise UnsupportedFileError(
            path, f"its grid has {' x '.join(map(str, shape))} voxels, too many to hold"
        ) from None


def _planes(stated: Stated, frames: Frames) -> Iterator[tuple[int, np.ndarray]]:
    """Yields frame number and pixels `(rows, columns)`, one at a time."""
    count, shape = len(frames.segments), (frames.rows, frames.columns)
    path, data = stated.path, stated.value("PixelData")
    if not isinstance(data, bytes):
        raise ImageFileError(path, "holds no Pixel Data")
    syntax = UID(Stated(getattr(stated.dataset, "file_meta", Dataset()), path).text("TransferSyntaxUID"))
    if stated.whole("BitsAllocated") == 1 and syntax in _NATIVE:
        yield from enumerate(_bit_planes(data, count, shape, path))
        return
    planes = _decoded_planes(stated, syntax, count)
    for number in range(count):
        plane = _next(planes, syntax, path)
        if plane is None:
            raise TruncatedFileError(path, f"holds {number} of {count} frames")
        if plane.shape != shape:
            raise ImageFileError(path, f"holds pixels of shape {plane.shape} in frames of {shape}")
        yield number, plane


def _decoded_planes(stated: Stated, syntax: UID, count: int) -> Iterator[np.ndarray]:
    file = File(stated.path, stated.dataset, None, "PixelData", syntax)
    layout = layout_of(file, {})
    check_size(file, layout)
    yield from iter_frames(file, stated.dataset, layout, range(count))


def _next(planes: Iterator[np.ndarray], syntax: UID, path: Path) -> np.ndarray | None:
    """The next decoded frame, `None` after the last."""
    try:
        with quiet():
            return next(planes, None)
    except ImageFileError:
        raise
    except BaseException as error:  # decoders raise any error; those in Rust raise one that is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if "less than expected" in str(error):
            raise TruncatedFileError(path, "its pixel data is shorter than its header promises") from None
        raise ImageFileError(path, f"its pixels cannot be decoded ({syntax.name}: {type(error).__name__})") from None


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
    """The name and colour of a segment."""

    number: int
    label: str | None
    color: list[float] | None  # red, green, blue from 0 to 1


def _segments(stated: Stated) -> list[_Segment]:
    """The items of the Segment Sequence (PS3.3 section C.8.20.4), in their order."""
    segments = []
    for item in stated.items("SegmentSequence"):
        stored = item.numbers("RecommendedDisplayCIELabValue", 3)
        color = None if stored is None else srgb_of_cielab(stored)
        segments.append(_Segment(item.whole("SegmentNumber"), item.text("SegmentLabel") or None, color))
    numbers = [segment.number for segment in segments]
    if not numbers:
        raise ImageFileError(stated.path, "describes no segment (Segment Sequence)")
    if len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) > 65535:
        raise ImageFileError(stated.path, f"segment numbers must differ and lie in 0..65535, got {numbers[:8]}")
    return segments


def _metadata_of(stated: Stated, segments: list[_Segment], *, is_per_channel: bool) -> Metadata:
    # The per-frame groups (5200,9230) describe frames, which are gone. They can be larger than the voxels.
    header = header_of(stated.dataset, skip=[0x52009230])
    acquired = acquisition_time(stated.dataset)
    metadata = metadata_of_header(header, acquisition_time=acquired, source=stated.path.name)
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
