"""Pixels of one file into their places in the volume: read from disk where they are stored plainly, else decoded.

The steps from a stored value: unused bits are cleared and the sign is extended (PS3.5 section 8.1.1), YBR becomes RGB,
an index into a palette becomes its colour, then the modality transform is applied (PS3.3 section C.11.1). The VOI
transform and MONOCHROME1 concern display only. Padding is a value like any other.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax.io._dicom._codecs import check_available, iter_frames, most_compression, syntax_name
from medjax.io._dicom._header import File, whole_dataset
from medjax.io._dicom._layout import Layout

__all__ = ["Target", "check_decoder", "check_size", "fill"]

_PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

# A compressed file that promises more than this, and many times its own size, is taken for a bomb. Decoding holds a
# frame several times and all frames once.
_MOST_TRUSTED_BYTES = 2**28
_MOST_TRUSTED_FRAME_BYTES = 2**25
# Every frame costs memory for its place and attributes, however few pixels it has.
_MOST_FRAMES = 200_000


@dataclasses.dataclass(slots=True)
class Target:
    """A place in the volume for a frame, or for a tile of one.

    Attributes:
        frame: Index of the frame in its file.
        corner: Row and column where the tile begins.
        out: `(rows, columns, *channels)`, written to.
        slope, intercept: The modality transform, value = stored * slope + intercept; `None` leaves stored values.
    """

    frame: int
    corner: tuple[int, int]
    out: np.ndarray
    slope: float | None = None
    intercept: float = 0.0


def is_plain(file: File, layout: Layout) -> bool:
    """Whether frames can be read from disk as they are: uncompressed, whole bytes, one sample."""
    is_swapped_byte = layout.bits_allocated == 8 and file.transfer_syntax == ExplicitVRBigEndian
    return (
        file.pixel_offset is not None
        and file.transfer_syntax in _PLAIN
        and layout.samples == 1
        and layout.bits_allocated >= 8
        and not is_swapped_byte
        and not layout.is_palette
        and not layout.has_modality_lut
    )


def check_size(file: File, layout: Layout) -> None:
    """Refuses a file that cannot hold what it promises, before any memory is set aside for it.

    Raises:
        TruncatedFileError: it has fewer bytes than its pixels need.
        UnsupportedFileError: it promises many times its own size.
    """
    promised, size = layout.frame_bytes * layout.frames, file.path.stat().st_size
    if layout.frames > _MOST_FRAMES:
        raise UnsupportedFileError(file.path, f"it promises {layout.frames} frames in a file of {size} bytes")
    if file.pixel_offset is not None and file.transfer_syntax in _PLAIN:
        found = size - file.pixel_offset - (8 if file.transfer_syntax == ImplicitVRLittleEndian else 12)
        if layout.photometric == "YBR_FULL_422":
            promised = promised * 2 // 3  # two pixels share their colour
        if found < promised:
            raise TruncatedFileError(
                file.path, f"its pixel data has {max(found, 0)} of {promised} bytes", "copy or export it again"
            )
        return
    most = most_compression(file.transfer_syntax) * size
    if promised > max(_MOST_TRUSTED_BYTES, most) or layout.frame_bytes > max(_MOST_TRUSTED_FRAME_BYTES, most):
        raise UnsupportedFileError(file.path, f"it promises {promised} bytes of pixels in a file of {size} bytes")


def check_decoder(file: File, layout: Layout) -> None:
    """Refuses a file whose compression nothing here decodes.

    Raises:
        MissingDependencyError: its decoder is not installed.
        UnsupportedFileError: there is none.
    """
    if file.pixel_offset is not None and not is_plain(file, layout):
        check_available(file, layout)


def fill(file: File, layout: Layout, targets: Sequence[Target]) -> None:
    """Puts frames of a file into their places.

    Raises:
        ImageFileError: the pixels cannot be decoded; a subclass says whether they are cut short, or need another
            package.
    """
    if is_plain(file, layout):
        _fill_plain(file, layout, targets)
    else:
        _fill_decoded(file, layout, targets)


def _fill_plain(file: File, layout: Layout, targets: Sequence[Target]) -> None:
    shape = (layout.rows, layout.columns)
    frame, scratch = -1, np.empty(0)
    with file.path.open("rb", buffering=0) as stream:
        stored = _StoredFrames(file, layout, stream)
        for target in sorted(targets, key=lambda target: target.frame):
            is_direct = target.slope is None and target.out.shape == shape and target.out.dtype == layout.dtype
            if is_direct and target.out.flags.c_contiguous:
                stored.read(target.frame, target.out)
                continue
            if target.frame != frame:
                scratch, frame = np.empty(shape, layout.dtype), target.frame
                stored.read(frame, scratch)
            _put_into(scratch, target)


class _StoredFrames:
    """The frames of an open file that stores them as they are."""

    def __init__(self, file: File, layout: Layout, stream: io.FileIO):
        self._file, self._layout, self._stream = file, layout, stream
        self._is_swapped = file.transfer_syntax == ExplicitVRBigEndian
        self._start = self._pixel_start()

    def _pixel_start(self) -> int:
        """Where the first pixel lies. The length of the element must cover the frames."""
        file, layout, stream = self._file, self._layout, self._stream
        assert file.pixel_offset is not None
        stream.seek(file.pixel_offset)
        head = stream.read(12)
        is_implicit = file.transfer_syntax == ImplicitVRLittleEndian
        order: Literal["little", "big"] = "big" if self._is_swapped else "little"
        length = int.from_bytes(head[4:8] if is_implicit else head[8:12], order)
        promised = layout.frame_bytes * layout.frames
        if length < promised:
            reason = f"its pixel data has {length} of {promised} bytes"
            raise TruncatedFileError(file.path, reason, "copy or export it again")
        return file.pixel_offset + (8 if is_implicit else 12)

    def read(self, frame: int, out: np.ndarray) -> None:
        """Reads a frame into a contiguous array of its size and type."""
        layout = self._layout
        self._stream.seek(self._start + frame * layout.frame_bytes)
        found = self._stream.readinto(out.reshape(-1).view(np.uint8).data)
        if found != layout.frame_bytes:
            reason = f"frame {frame} has {found} of {layout.frame_bytes} bytes"
            raise TruncatedFileError(self._file.path, reason, "copy or export it again")
        if self._is_swapped:
            out.byteswap(inplace=True)
        clear_unused_bits(out, layout)


def clear_unused_bits(values: np.ndarray, layout: Layout) -> None:
    """Clears the bits that do not count and extends the sign, in place (PS3.5 section 8.1.1)."""
    unused = layout.bits_allocated - layout.bits_stored
    if layout.kind == "f" or not unused:
        return
    above = layout.bits_allocated - 1 - layout.high_bit
    if layout.kind == "u" and layout.high_bit + 1 == layout.bits_stored:
        values &= values.dtype.type(2**layout.bits_stored - 1)
    else:
        values <<= values.dtype.type(above)
        values >>= values.dtype.type(unused)


def _fill_decoded(file: File, layout: Layout, targets: Sequence[Target]) -> None:
    """Decodes with pydicom, frame after frame: compressed, colour, palette, single bits, tables of values."""
    by_frame: dict[int, list[Target]] = {}
    for target in targets:
        by_frame.setdefault(target.frame, []).append(target)
    frames = sorted(by_frame)
    try:
        dataset = whole_dataset(file)
        for frame, stored in zip(frames, iter_frames(file, dataset, layout, frames), strict=True):
            values = _through_tables(stored, dataset, layout)
            for target in by_frame[frame]:
                _put_into(values, target)
    except ImageFileError:
        raise
    except BaseException as error:  # decoders raise any error; those in Rust raise one that is no Exception
        is_decoders = isinstance(error, Exception) or type(error).__name__ == "PanicException"
        if not is_decoders or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise _decoding_error(file, error) from None


def _through_tables(stored: np.ndarray, dataset: Any, layout: Layout) -> np.ndarray:
    if layout.is_palette:
        return apply_color_lut(stored, dataset)
    if layout.has_modality_lut:
        return apply_modality_lut(stored, dataset)
    return stored


def _put_into(values: np.ndarray, target: Target) -> None:
    row, column = target.corner
    rows, columns = target.out.shape[:2]
    values = values[row : row + rows, column : column + columns]
    if target.slope is None:
        target.out[...] = values
    else:
        target.out[...] = values * np.float64(target.slope) + target.intercept


def _decoding_error(file: File, error: BaseException) -> ImageFileError:
    if "less than expected" in str(error):
        return TruncatedFileError(
            file.path, "its pixel data is shorter than its header promises", "copy or export it again"
        )
    reason = f"its pixels cannot be decoded ({syntax_name(file.transfer_syntax)}: {type(error).__name__})"
    return ImageFileError(file.path, reason, "the file is damaged, or its header does not match its pixels")
