"""Compressed pixels: which decoder to ask, and whether a code stream has the size that the header promises.

The decoders come with the extra "dicom", and all are permissively licensed. They are written in C, C++ and Rust. A code
stream whose size differs from its header's can make a decoder take any amount of memory, and can make GDCM end the
process. So the sizes are compared first, and GDCM only decodes what no other decoder does: JPEG in its older forms.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from medjax._errors import ImageFileError, MissingDependencyError, TruncatedFileError, UnsupportedFileError
from medjax._optional import optional
from medjax.io._dicom._header import File
from medjax.io._dicom._layout import Layout

__all__ = ["check_available", "coded_size", "iter_frames", "most_compression", "syntax_name"]

# Decoders in the order in which they are asked. Where none of them is installed, pydicom chooses among the others.
_PREFERRED = {
    **dict.fromkeys(JPEG2000TransferSyntaxes, ("pylibjpeg", "pillow")),
    **dict.fromkeys(JPEGLSTransferSyntaxes, ("pyjpegls",)),
    RLELossless: ("pylibjpeg", "pydicom"),
}
# The end of JPEG, JPEG-LS and JPEG 2000 code. Within the code, no 0xFF of the pixels is followed by such a byte.
_END_OF_CODE = b"\xff\xd9"
_PIXEL_DATA = BaseTag(0x7FE00010)
_CODE_STREAMS = {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes}


def iter_frames(file: File, dataset: Dataset, layout: Layout, frames: Sequence[int]) -> Iterator[np.ndarray]:
    """Decodes frames of a file in ascending order. Uncompressed frames come here where their form needs pydicom.

    Args:
        file: The file, which errors name.
        dataset: Its data set with the pixels.
        layout: The header's description of the pixels.
        frames: The indices of the frames.

    Raises:
        MissingDependencyError: no decoder for this compression is installed.
        UnsupportedFileError: the transfer syntax is unknown.
        ImageFileError: a code stream has another size than the header says.
    """
    plugin = _plugin(file)
    if not file.transfer_syntax.is_encapsulated:
        return iter_pixels(dataset, indices=frames, decoding_plugin=plugin)
    coded = _coded_frames(dataset, layout, frames)
    if file.transfer_syntax in _CODE_STREAMS:
        coded = _checked_streams(coded, layout, file)
        if file.transfer_syntax == JPEGExtended12Bit and layout.bits_stored > 8:
            return (_decode_12_bit(frame, layout, file) for frame in coded)
    return _decoded_one_by_one(coded, dataset, plugin)


def _coded_frames(dataset: Dataset, layout: Layout, frames: Sequence[int]) -> Iterator[bytes]:
    """The compressed frames of these indices, found in one pass over the fragments (PS3.5 section A.4)."""
    wanted = set(frames)
    found = generate_frames(dataset.PixelData, number_of_frames=layout.frames)
    return (frame for number, frame in enumerate(found) if number in wanted)


def _decoded_one_by_one(coded: Iterator[bytes], dataset: Dataset, plugin: str) -> Iterator[np.ndarray]:
    """Gives pydicom each frame as a separate image. Asked for one frame of many, it looks through all of them first."""
    single = Dataset({element.tag: element for element in dataset.group_dataset(0x0028) if element.VR != "SQ"})
    single.file_meta, single.NumberOfFrames = dataset.file_meta, 1
    for frame in coded:
        single.add_new(_PIXEL_DATA, "OB", encapsulate([frame], has_bot=False))
        yield from iter_pixels(single, decoding_plugin=plugin)


def check_available(file: File, layout: Layout) -> None:
    """Raises the error of `iter_frames` where there is no decoder for a file.

    Raises:
        MissingDependencyError: it is not installed.
        UnsupportedFileError: there is none.
    """
    _plugin(file)
    if file.transfer_syntax == JPEGExtended12Bit and layout.bits_stored > 8:
        _gdcm(file, layout)


def most_compression(syntax: UID) -> int:
    """How many times larger than a file its decoded pixels can be.

    JPEG needs at least one bit for a block of 64 samples, or for a pixel of lossless JPEG. RLE needs two bytes for 128
    (PS3.5 annex G). JPEG-LS and JPEG 2000 have no such bound, but real files stay far below this.
    """
    return 1100 if syntax in JPEGTransferSyntaxes else 64 if syntax == RLELossless else 4000


def _plugin(file: File) -> str:
    """The decoder to ask, empty for pydicom's choice. The error says what to install where there is none."""
    try:
        decoder = get_decoder(file.transfer_syntax)
    except NotImplementedError:
        reason = f"its transfer syntax is not known: {syntax_name(file.transfer_syntax)}"
        raise UnsupportedFileError(file.path, reason) from None
    if not decoder.is_available:
        reason = f"its pixels are compressed as {syntax_name(file.transfer_syntax)}"
        raise MissingDependencyError(file.path, reason, 'pip install "medjax[dicom]"')
    preferred = _PREFERRED.get(file.transfer_syntax, ())
    return next((name for name in preferred if name in decoder.available_plugins), "")


def _checked_streams(frames: Iterator[bytes], layout: Layout, file: File) -> Iterator[bytes]:
    """Passes the frames on, and raises at the first one whose code stream has another size than the header says."""
    promised = layout.rows, layout.columns, layout.samples
    for frame in frames:
        found = coded_size(frame)
        if found != promised:
            shown = "no size" if found is None else "{} rows, {} columns and {} samples".format(*found)
            rows, columns, samples = promised
            reason = f"its code stream states {shown}, its header {rows} rows, {columns} columns and {samples} samples"
            raise ImageFileError(file.path, reason, "the file is damaged")
        if _END_OF_CODE not in frame:  # decoders fill the missing part up, and at most say so on stderr
            raise TruncatedFileError(file.path, "its code stream has no end marker", "copy or export it again")
        yield frame


def coded_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a JPEG, JPEG-LS or JPEG 2000 code stream states; `None` for any other bytes.

    Source: ITU-T T.81 section B.2.2 (frame header) and T.800 section A.5.1 (SIZ marker segment).

    Example:
        >>> coded_size(bytes.fromhex("ffd8 ffc0 000b 08 0009 000c 01 000000"))
        (9, 12, 1)
    """
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # behind the boxes of a JP2 file, where there are any
    try:
        if start >= 0:
            x, y, x_offset, y_offset = struct.unpack_from(">4I", frame, start + 8)
            (components,) = struct.unpack_from(">H", frame, start + 40)
            return y - y_offset, x - x_offset, components
        return _size_in_frame_header(frame) if frame[:2] == b"\xff\xd8" else None
    except struct.error:
        return None


def _size_in_frame_header(frame: bytes) -> tuple[int, int, int] | None:
    """Walks over the marker segments of JPEG or JPEG-LS to the frame header."""
    position = 2
    while position + 4 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns, components = struct.unpack_from(">HHB", frame, position + 5)
            return rows, columns, components
        (length,) = struct.unpack_from(">H", frame, position + 2)
        position += 2 + length
    return None


def _decode_12_bit(frame: bytes, layout: Layout, file: File) -> np.ndarray:
    """Decodes 12-bit lossy JPEG with GDCM itself: pydicom knows of no permissively licensed decoder for it."""
    gdcm = _gdcm(file, layout)
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(_gdcm_element(gdcm, frame))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, int(layout.kind == "i")))
    pixels = image.GetBuffer().encode("utf-8", "surrogateescape")  # bytes, as SWIG hands them over
    return np.frombuffer(pixels, f"{layout.kind}2").reshape(layout.rows, layout.columns)


def _gdcm(file: File, layout: Layout) -> Any:
    """The module, for 12-bit lossy JPEG."""
    gdcm = optional("gdcm", f"its 12-bit lossy JPEG, {syntax_name(file.transfer_syntax)},", file.path)
    if layout.samples != 1:
        raise UnsupportedFileError(file.path, "its pixels are 12-bit lossy JPEG in colour, which no decoder here reads")
    return gdcm


def _gdcm_element(gdcm: Any, frame: bytes) -> Any:
    """One frame as a pixel data element."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    return element


def syntax_name(syntax: UID) -> str:
    """A transfer syntax by name and UID."""
    return f"{syntax.name} ({syntax})" if syntax.name != syntax else str(syntax)
