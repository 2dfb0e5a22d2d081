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
from medjax.io._dicom._codecs import iter_frames
from medjax.io._dicom._header import File
from medjax.io._dicom._layout import layout_of
from medjax.io._dicom._pixels import check_size
from medjax.io._dicom._quiet import quiet
from medjax.io._dicom._segmentation_grid import Frames
from medjax.io._dicom._segmentation_header import Segmentation, segmentation_of
from medjax.io._dicom._stated import Stated
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
    found = segmentation_of(dataset, path)
    read = {"LABELMAP": _label_map, "BINARY": _binary, "FRACTIONAL": _fractional}[found.type]
    voxels = read(found, path)
    return image_from(
        voxels.T,  # (channel, slice, row, column) becomes (column, row, slice, channel)
        affine=found.stack.affine,
        kind="intensity" if found.type == "FRACTIONAL" else "label",
        metadata=found.metadata(is_per_channel=voxels.ndim > 3),
    )


def _label_map(found: Segmentation, path: Path) -> np.ndarray:
    voxels = _filled(found.shape, found.dtype, found.background, path)
    values: set[int] = set()
    for number, plane in _planes(found.stated, found.frames):
        if plane.dtype != found.dtype:
            raise ImageFileError(path, f"a label map holds unsigned integers, not {plane.dtype}")
        voxels[found.stack.slices[number]] = plane
        values.update(np.unique(plane).tolist())
    unknown = sorted(values - {segment.number for segment in found.segments} - {0, found.background})
    if unknown:
        warn(path, f"labels {unknown[:8]} are described by no segment")
    return voxels


def _binary(found: Segmentation, path: Path) -> np.ndarray:
    """The label volume, or one channel per segment where they overlap."""
    labels = _filled(found.shape, found.dtype, 0, path)
    for number, plane in _planes(found.stated, found.frames):
        inside, target = plane != 0, labels[found.stack.slices[number]]
        if (target[inside] != 0).any():
            break
        target[inside] = found.frames.segments[number]
    else:
        return labels
    masks = _filled((len(found.segments), *found.shape), np.dtype(np.uint8), 0, path)
    for number, plane in _planes(found.stated, found.frames):
        masks[found.channel[number], found.stack.slices[number]] = plane != 0
    return masks


def _fractional(found: Segmentation, path: Path) -> np.ndarray:
    """Fractions from 0 to 1, a channel for each segment where there are several."""
    voxels = _filled((len(found.segments), *found.shape), found.dtype, 0, path)
    for number, plane in _planes(found.stated, found.frames):
        if plane.max() > found.largest:
            raise ImageFileError(path, f"holds {plane.max()}, above its Maximum Fractional Value {found.largest}")
        np.divide(plane, np.float32(found.largest), out=voxels[found.channel[number], found.stack.slices[number]])
    return voxels if len(found.segments) > 1 else voxels[0]


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
