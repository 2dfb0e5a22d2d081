"""The two files of a NIfTI pair, found by either of their names."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

from medjax._errors import ImageFileError
from medjax.io._disk._stream import Content

__all__ = ["check_free", "find_header", "find_voxels", "pair_names"]

_COMPRESSIONS = ("", ".gz", ".bz2", ".zst")


def find_header(path: Path) -> Path:
    """Returns the file with the header: the given file, or its partner if the given file holds the voxels.

    Raises:
        ImageFileError: there is no such partner.
    """
    base, ending, _ = _base(path)
    header = _partner(path, ".hdr") if ending.lower() == ".img" else path
    if header is None:
        raise ImageFileError(path, f"its header is in another file, {base}.hdr, which is not here")
    return header


def find_voxels(header_path: Path) -> Path:
    """Returns the file with the voxels that belong to a header.

    Raises:
        ImageFileError: there is none.
    """
    voxels = _partner(header_path, ".img")
    if voxels is None:
        base = _base(header_path)[0]
        raise ImageFileError(header_path, f"its voxels are in another file, {base}.img, which is not here")
    return voxels


def pair_names(path: Path) -> tuple[Path, Path]:
    """Returns the names of header and voxels for a target with either name."""
    base, ending, compression = _base(path)
    hdr, img = (".HDR", ".IMG") if ending.isupper() else (".hdr", ".img")
    return path.with_name(base + hdr + compression), path.with_name(base + img + compression)


def check_free(path: Path) -> None:
    """Raises if the other file of a pair that will be written is there already and belongs to no pair.

    Raises:
        ImageFileError: there is a .img without header, or a .hdr that is neither NIfTI nor Analyze.
    """
    header, voxels = pair_names(path)
    other = voxels if path.name == header.name else header
    if other.exists() and not _is_header(header):
        raise ImageFileError(
            path,
            f"its other file {other.name!r} is there already, and of no NIfTI pair",
            "choose another name, or move that file away",
        )


def _is_header(path: Path) -> bool:
    """Whether a file starts as NIfTI and Analyze headers do, with the header size in either byte order."""
    if not path.is_file():
        return False
    with contextlib.suppress(ImageFileError), Content(path) as content:
        return content.read(4) in {struct.pack(order + "i", size) for order in "<>" for size in (348, 540)}
    return False


def _partner(path: Path, ending: str) -> Path | None:
    """The other file of the pair: first with the same compression, then with any."""
    base, own, compression = _base(path)
    endings = (ending.upper(), ending) if own.isupper() else (ending, ending.upper())
    for suffix in (compression, *_COMPRESSIONS):
        for name in endings:
            other = path.with_name(base + name + suffix)
            if other.is_file():
                return other
    return None


def _base(path: Path) -> tuple[str, str, str]:
    """Splits a name into its base, its ending such as ".hdr", and its compression such as ".gz"."""
    name, compression = path.name, ""
    if path.suffix.lower() in _COMPRESSIONS[1:]:
        name, compression = path.stem, path.suffix
    base = Path(name)
    return base.stem, base.suffix, compression
