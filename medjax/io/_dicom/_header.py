"""Reading one file's header. The pixels stay on disk until the volume they belong to has its place in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax.io._dicom._elements import CHUNK_BYTES, Elements, walk
from medjax.io._dicom._errors import NotAnImageError
from medjax.io._dicom._stored import first_text, whole_number

__all__ = [
    "UNKNOWN_KIND",
    "File",
    "Header",
    "file_of",
    "is_dicomdir",
    "looks_like_dicom",
    "open_file",
    "parsing",
    "read_header",
    "whole_dataset",
]

# Elements longer than this stay on disk until they are asked for: vendors put hundreds of kilobytes of private data
# into every slice.
_DEFERRED_BYTES = 4096
# A deflated data set can be a thousand times its size on disk. One larger than this is taken for a bomb, since only
# reports and single pictures are deflated as a whole.
_MOST_INFLATED_BYTES = 2**26
# Every DICOM file has group 2 and an element of group 8 before anything longer than this.
_HEAD_BYTES = 1024
_PREAMBLE = 132
_UNDEFINED = 0xFFFFFFFF

_META_LENGTH = BaseTag(0x00020000)
_MEDIA_SOP_CLASS = BaseTag(0x00020002)
_TRANSFER_SYNTAX = BaseTag(0x00020010)
_SOP_CLASS = BaseTag(0x00080016)
_SOP_INSTANCE = BaseTag(0x00080018)
_SERIES = BaseTag(0x0020000E)
_ROWS = BaseTag(0x00280010)
_COLUMNS = BaseTag(0x00280011)
_PIXELS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}

_DICOMDIR = "1.2.840.10008.1.3.10"
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


@dataclasses.dataclass(slots=True, eq=False)
class File:
    """A DICOM file with pixels, its header read.

    Attributes:
        path: The file.
        dataset: The header, undecoded as it was read.
        pixel_offset: Where in the file the pixel data element begins. `None` for a file that is deflated as a whole:
            there `dataset` holds the pixels.
        pixel_keyword: "PixelData", "FloatPixelData" or "DoubleFloatPixelData".
        transfer_syntax: How the data set is encoded.
        identity: Device, inode, size and time, which tell this file from another one with its name.
    """

    path: Path
    dataset: Dataset
    pixel_offset: int | None
    pixel_keyword: str
    transfer_syntax: UID
    identity: tuple[int, ...] = ()

    def check_identity(self) -> None:
        """Raises if a writer has replaced or changed the file since its header was read.

        Raises:
            ImageFileError: a writer has.
        """
        if self.identity and _identity(self.path.stat()) != self.identity:
            raise ImageFileError(self.path, "the file was replaced or changed while it was read", "load it again")

    @property
    def series_uid(self) -> str:
        """Series Instance UID, empty where the file does not state it."""
        return first_text(self.dataset, _SERIES)

    @property
    def sop_uid(self) -> str:
        """SOP Instance UID, the identity of this object, empty where the file does not state it."""
        return first_text(self.dataset, _SOP_INSTANCE)

    @property
    def sop_class(self) -> str:
        """SOP Class UID, which says what kind of object this is."""
        return first_text(self.dataset, _SOP_CLASS)


def _transfer_syntax(dataset: FileDataset) -> UID:
    """The encoding of a data set: as the file states it, else as the first bytes show it."""
    stated = first_text(dataset.file_meta, _TRANSFER_SYNTAX)
    if stated:
        return _uid(stated)
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


@functools.lru_cache(maxsize=256)
def _uid(text: str) -> UID:
    return UID(text)


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file begins as DICOM does: with the magic word, or with an element of group 2 or 8."""
    if head[128:132] == b"DICM":
        return True
    is_explicit = head[4:6].isalpha() and head[4:6].isupper()
    if head[:2] in (b"\x02\x00", b"\x08\x00"):
        return is_explicit or (len(head) >= 8 and int.from_bytes(head[4:8], "little") <= _HEAD_BYTES)
    return head[:2] == b"\x00\x08" and is_explicit


@contextlib.contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Turns all errors of pydicom on damaged headers into one error. It quotes no values, as pydicom's do."""
    try:
        yield
    except ImageFileError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's; pydicom raises OSErrors without a number
        reason = f"its header cannot be parsed as DICOM ({type(error).__name__})"
        raise ImageFileError(path, reason, "copy or export it again") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """A data set up to its pixels, as it was read.

    Attributes:
        dataset: The elements, undecoded.
        pixel_offset: Where the pixel data element begins. `None` for a deflated file, whose pixels are in the data set.
        pixel_keyword: Keyword of that element, empty where there is none.
        transfer_syntax: How the data set is encoded.
        identity: Device, inode, size and time, which tell this file from another one with its name.
        has_magic: Whether the file says that it is DICOM.
    """

    dataset: Dataset
    pixel_offset: int | None
    pixel_keyword: str
    transfer_syntax: UID
    identity: tuple[int, ...]
    has_magic: bool


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def read_header(path: Path) -> Header | None:
    """Reads a file up to its pixels; `None` if it is not DICOM.

    Raises:
        ImageFileError: the file cannot be parsed.
    """
    with parsing(path), path.open("rb") as file:
        identity = _identity(os.fstat(file.fileno()))
        head = file.read(CHUNK_BYTES)
        has_magic = head[128:132] == b"DICM"
        if not looks_like_dicom(head):
            return None
        if _is_deflated(head[:_HEAD_BYTES]):
            inflated = _read_deflated(path)
            keyword = next((keyword for keyword in _PIXELS.values() if keyword in inflated), "")
            return Header(inflated, None, keyword, ExplicitVRLittleEndian, identity, has_magic)
        found = walk(file, head, _DEFERRED_BYTES)
        if found is not None:
            keyword = _PIXELS[found.pixel_tag]
            dataset = _as_dataset(found, path)
            return Header(dataset, found.position, keyword, found.transfer_syntax, identity, has_magic)
        file.seek(0)
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, defer_size=_DEFERRED_BYTES)
        offset = file.tell()
        keyword = _pixel_keyword(file.read(4), dataset.original_encoding[1] is not False)
        return Header(dataset, offset, keyword, _transfer_syntax(dataset), identity, has_magic)


def _as_dataset(found: Elements, path: Path) -> Dataset:
    """The elements of a walk as a data set. It knows its file only if it must fetch values from there."""
    dataset = Dataset(found.found)
    if found.is_deferred:
        dataset = FileDataset(str(path), dataset, is_implicit_VR=found.is_implicit, is_little_endian=True)
    dataset.set_original_encoding(found.is_implicit, True, found.encodings)
    return dataset


def _pixel_keyword(tag: bytes, is_little: bool) -> str:
    order: Literal["little", "big"] = "little" if is_little else "big"
    return _PIXELS.get(int.from_bytes(tag[:2], order) << 16 | int.from_bytes(tag[2:], order), "")


def _is_deflated(head: bytes) -> bool:
    """Whether Transfer Syntax UID (0002,0010) says that everything after group 2 is deflated."""
    uid = DeflatedExplicitVRLittleEndian.encode()
    element = b"\x02\x00\x10\x00UI" + len(uid).to_bytes(2, "little") + uid
    return element in head[: _end_of_meta(head)]


def _read_deflated(path: Path) -> FileDataset:
    """Reads a data set that is compressed as a whole (PS3.5 section A.5), pixels included. The size is bounded."""
    content = path.read_bytes()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(content[_end_of_meta(content) :], _MOST_INFLATED_BYTES)
    if not inflater.eof and len(inflated) >= _MOST_INFLATED_BYTES:
        raise UnsupportedFileError(path, f"its deflated data set is larger than {_MOST_INFLATED_BYTES >> 20} MiB")
    if not inflater.eof:
        raise TruncatedFileError(path, "its deflated data set ends early", "copy or export it again")
    dataset = pydicom.filereader.read_dataset(io.BytesIO(inflated), is_implicit_VR=False, is_little_endian=True)
    meta = FileMetaDataset(read_file_meta_info(path))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian  # which it is from here on
    return FileDataset(path, dataset, file_meta=meta, is_implicit_VR=False, is_little_endian=True)


def _end_of_meta(content: bytes) -> int:
    """Where group 2 ends: explicit little-endian elements after the preamble (PS3.10 section 7.1)."""
    position = 132 if content[128:132] == b"DICM" else 0
    while content[position : position + 2] == b"\x02\x00":
        is_long = content[position + 4 : position + 6] in (b"OB", b"OW", b"UN", b"SQ", b"UT")
        start = position + (8 if is_long else 6)
        size = 4 if is_long else 2
        position = start + size + int.from_bytes(content[start : start + size], "little")
    return position


def open_file(path: Path) -> File:
    """Reads the header of a file that holds an image.

    Raises:
        NotAnImageError: the file is a DICOM object without pixels; the reason names its kind.
        TruncatedFileError: it ends before its pixels.
        ImageFileError: it is not DICOM, or cannot be parsed.
    """
    header = read_header(path)
    if header is None:
        raise ImageFileError(path, "the file is not DICOM: neither its magic word nor a first element is there")
    return file_of(path, header)


def file_of(path: Path, header: Header) -> File:
    """The file of a header, if it holds an image.

    Raises:
        NotAnImageError: the file is a DICOM object without pixels; the reason names its kind.
        TruncatedFileError: it ends before its pixels.
    """
    dataset = header.dataset
    file = File(path, dataset, header.pixel_offset, header.pixel_keyword, header.transfer_syntax, header.identity)
    if file.sop_class == _WHOLE_SLIDE:
        raise UnsupportedFileError(path, "it is a tiled whole-slide image, not a scan on a voxel grid")
    if header.pixel_keyword:
        return file
    uid = _class_of(file)
    if _is_image(uid) or (_ROWS in dataset and _COLUMNS in dataset and "NumberOfReferences" not in dataset):
        raise TruncatedFileError(path, "the file ends before its pixel data", "copy or export it again")
    if header.has_magic and _is_cut(dataset, uid, path):
        raise TruncatedFileError(path, "the file ends within its header", "copy or export it again")
    raise NotAnImageError(path, f"it holds no image: {_kind_of_object(file)}")


def _is_cut(dataset: Dataset, uid: str, path: Path) -> bool:
    """Whether a file without pixels ends within an element, or before it states its class (PS3.10 table 7.1-1)."""
    size = path.stat().st_size
    meta = getattr(dataset, "file_meta", Dataset())
    stated = whole_number(meta, _META_LENGTH)
    is_begun = max(dataset.keys(), default=0) > _SOP_CLASS
    if (not uid and not is_begun) or (stated is not None and _PREAMBLE + 12 + stated > size):
        return True
    raw = [element for element in dataset.values() if isinstance(element, RawDataElement)]
    return any(element.length not in (0, _UNDEFINED) and element.value_tell + element.length > size for element in raw)


def _class_of(file: File) -> str:
    return file.sop_class or first_text(getattr(file.dataset, "file_meta", Dataset()), _MEDIA_SOP_CLASS)


def _is_image(uid: str) -> bool:
    """Whether objects of this class always have pixels. An RT Dose may hold only histograms."""
    name = UID(uid).name if uid else ""
    return "Image Storage" in name or name in _WITH_PIXELS


_WITH_PIXELS = ("Parametric Map Storage", "Segmentation Storage", "Label Map Segmentation Storage")


UNKNOWN_KIND = "a DICOM object without pixel data"


def _kind_of_object(file: File) -> str:
    """The kind of an object without pixels, such as "RT Structure Set"."""
    uid = _class_of(file)
    if uid == _DICOMDIR or is_dicomdir(file.dataset):
        return "a DICOMDIR, the index of a set of files"
    name = UID(uid).name if uid else ""
    if not name or name == uid:  # no UID, or one that the standard does not know
        return UNKNOWN_KIND
    return f"{name.removesuffix(' Storage')} ({uid})"


def is_dicomdir(dataset: Dataset) -> bool:
    """Whether a data set is the index of a set of files (PS3.3 annex F)."""
    return "DirectoryRecordSequence" in dataset


def whole_dataset(file: File) -> Dataset:
    """Reads a file again with its pixels, for decoders that want a data set."""
    if file.pixel_offset is None:
        return file.dataset
    dataset = pydicom.dcmread(file.path, force=True)
    dataset.file_meta.TransferSyntaxUID = file.transfer_syntax
    return dataset
