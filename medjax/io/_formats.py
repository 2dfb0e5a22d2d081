"""The file formats: how to recognise each, by content first and by name second, and its module."""

from __future__ import annotations

import dataclasses
import importlib
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax.io._disk._opened import opened
from medjax.io._disk._stream import Codec, Content

__all__ = ["ALL_FORMATS", "DICOM", "FORMATS", "Format", "find_format", "first_bytes", "format_by_name", "format_of"]

_HEAD_BYTES = 352  # a NIfTI-1 header and the four bytes after it


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format: how to recognise it, and the module that reads and writes it, imported on use.

    The module has `read(path) -> Image`, `inspect(path) -> ImageHeader` and, where the format is written,
    `write(image, path, *, compress)`, which receives a single concrete image with NumPy voxels and writes through
    `atomic_file`. Formats whose header precedes the voxels in one file have `inspect_file(file, path)` as well.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    is_written: bool = True
    is_compressed_whole: bool = False  # its reader opens files that were compressed as a whole, such as .nii.gz

    def load(self) -> Any:
        return importlib.import_module(f"medjax.io.{self.module}")


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def _is_meta_image(head: bytes) -> bool:
    text = head.lstrip()
    return text.startswith((b"ObjectType", b"NDims")) and b"=" in text[:64]


def _is_mgh(head: bytes) -> bool:
    """By version 1, sizes and a type, big-endian; the format has no word of its own."""
    if len(head) < 284 or head[:4] != b"\0\0\0\1":
        return False
    *sizes, code = struct.unpack_from(">5i", head, 4)
    return min(sizes) > 0 and code in (0, 1, 3, 4, 10)


DICOM = Format("DICOM", "_dicom", (".dcm", ".dicom", ".ima"), lambda head: head[128:132] == b"DICM")

# Formats of single images. The order matters only for files that no signature claims: the first format with the name's
# suffix reads them.
FORMATS = (
    Format(
        "NIfTI",
        "_nifti",
        (".nii.gz", ".nii", ".nii.bz2", ".nii.zst", ".hdr", ".img", ".hdr.gz", ".img.gz"),
        _is_nifti,
        is_compressed_whole=True,
    ),
    Format("FreeSurfer", "_mgh", (".mgz", ".mgh", ".mgh.gz"), _is_mgh, is_compressed_whole=True),
    Format("MetaImage", "_metaimage", (".mha", ".mhd"), _is_meta_image),
    Format("NRRD", "_nrrd", (".nrrd", ".nhdr"), lambda head: head.startswith(b"NRRD0")),
    Format("HDF5", "_hdf5", (".h5", ".hdf5"), lambda head: head.startswith(b"\x89HDF\r\n\x1a\n")),
    DICOM,
)

# A scene holds files of the other formats, so its module lies above theirs.
ALL_FORMATS = (*FORMATS, Format("3D Slicer scene", "_mrb", (".mrb",), lambda head: False, is_written=False))


def find_format(path: Path, formats: Sequence[Format] = FORMATS) -> Format:
    """Finds the format of an existing file (or folder: DICOM) by its first bytes, then by its name.

    Raises:
        ImageFileError: the file is empty, or of none of the formats.
    """
    if path.is_dir():
        return DICOM
    with opened(path) as file:
        return format_of(file, path, formats)


def format_of(file: Any, path: Path, formats: Sequence[Format] = FORMATS) -> Format:
    """Finds the format of an open file, as `find_format` does, and leaves it at its start."""
    head, codec = _first_bytes(file, path, _HEAD_BYTES)
    file.seek(0)
    if not head:
        raise ImageFileError(path, "the file is empty" if codec is None else f"the {codec} stream holds nothing")
    found = next((fmt for fmt in formats if fmt.matches(head)), None) or format_by_name(path, formats)
    if found is None and head[:2] in (b"\x02\x00", b"\x08\x00"):
        found = DICOM  # a DICOM stream without preamble starts with group 0002 or 0008
    if found is None:
        known = ", ".join(fmt.name for fmt in formats)
        raise UnsupportedFileError(path, f"neither its content nor its name is of a known format ({known})")
    if codec is not None and not found.is_compressed_whole:
        raise UnsupportedFileError(path, f"{found.name} inside a {codec} file is not read", "decompress it first")
    return found


def first_bytes(path: Path, count: int) -> bytes:
    """Reads the first bytes of a file, decompressed if the whole file is compressed."""
    with opened(path) as file:
        return _first_bytes(file, path, count)[0]


def _first_bytes(file: Any, path: Path, count: int) -> tuple[bytes, Codec | None]:
    content = Content(path, file=file)
    try:
        return content.read(count), content.codec
    except ImageFileError:  # not compressed after all, or damaged: the reader of the format says how
        return Content(path, codec=None, file=file).read(count), None


def format_by_name(path: Path, formats: Sequence[Format]) -> Format | None:
    """The first format with an ending that the name has."""
    name = path.name.lower()
    return next((fmt for fmt in formats if name.endswith(fmt.suffixes)), None)
