"""The file formats: how to recognise each, by content first and by name second, and its module."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax.io._disk._opened import check_regular
from medjax.io._disk._stream import Codec, Content

__all__ = ["FORMATS", "Format", "find_format", "first_bytes", "format_by_name"]


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format: how to recognise it, and the module that reads and writes it, imported on use.

    The module has `read(path) -> Image` and, where the format is written, `write(image, path, *, compress)`, which
    receives a single concrete image with NumPy voxels and writes through `atomic_file`.
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
    Format("MetaImage", "_metaimage", (".mha", ".mhd"), _is_meta_image),
    Format("NRRD", "_nrrd", (".nrrd", ".nhdr"), lambda head: head.startswith(b"NRRD0")),
    Format("HDF5", "_hdf5", (".h5", ".hdf5"), lambda head: head.startswith(b"\x89HDF\r\n\x1a\n")),
    Format("DICOM", "_dicom", (".dcm", ".dicom", ".ima"), lambda head: head[128:132] == b"DICM"),
)


def find_format(path: Path, formats: Sequence[Format] = FORMATS) -> Format:
    """Finds the format of an existing file (or folder: DICOM) by its first bytes, then by its name.

    Raises:
        ImageFileError: the file is empty, or of none of the formats.
    """
    if path.is_dir():
        return _by_module("_dicom")
    check_regular(path)
    head, codec = _first_bytes(path, 352)
    if not head:
        raise ImageFileError(path, "the file is empty" if codec is None else f"the {codec} stream holds nothing")
    found = next((fmt for fmt in formats if fmt.matches(head)), None) or format_by_name(path, formats)
    if found is None and head[:2] in (b"\x02\x00", b"\x08\x00"):
        found = _by_module("_dicom")  # a DICOM stream without preamble starts with group 0002 or 0008
    if found is None:
        known = ", ".join(fmt.name for fmt in formats)
        raise UnsupportedFileError(path, f"neither its content nor its name is of a known format ({known})")
    if codec is not None and not found.is_compressed_whole:
        raise UnsupportedFileError(path, f"{found.name} inside a {codec} file is not read", "decompress it first")
    return found


def first_bytes(path: Path, count: int) -> bytes:
    """Reads the first bytes of a file, decompressed if the whole file is compressed."""
    return _first_bytes(path, count)[0]


def _first_bytes(path: Path, count: int) -> tuple[bytes, Codec | None]:
    with Content(path) as content:
        try:
            return content.read(count), content.codec
        except ImageFileError:  # not compressed after all, or damaged: the reader of the format says how
            with Content(path, codec=None) as raw:
                return raw.read(count), None


def format_by_name(path: Path, formats: Sequence[Format]) -> Format | None:
    """The first format with an ending that the name has."""
    name = path.name.lower()
    return next((fmt for fmt in formats if name.endswith(fmt.suffixes)), None)


def _by_module(module: str) -> Format:
    return next(fmt for fmt in FORMATS if fmt.module == module)
