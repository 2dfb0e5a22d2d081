"""The two files of a NIfTI pair, by either of their names."""

from __future__ import annotations

from pathlib import Path

from medjax.io._errors import ImageFileError

__all__ = ["find_pair", "pair_names"]

_COMPRESSIONS = ("", ".gz", ".bz2", ".zst")


def find_pair(path: Path) -> tuple[Path, Path | None]:
    """Returns the file with the header and the one that would hold a pair's voxels, if there is one.

    Raises:
        ImageFileError: the voxels are given and there is no header.
    """
    base, ending, _ = _base(path)
    if ending.lower() != ".img":
        return path, _existing(path, ".img")
    header = _existing(path, ".hdr")
    if header is None:
        raise ImageFileError(path, f"its header is in another file, {base}.hdr, which is not here")
    return header, path


def pair_names(path: Path) -> tuple[Path, Path]:
    """Returns the names of header and voxels for a target that is named by either."""
    base, ending, compression = _base(path)
    hdr, img = (".HDR", ".IMG") if ending.isupper() else (".hdr", ".img")
    return path.with_name(base + hdr + compression), path.with_name(base + img + compression)


def _existing(path: Path, ending: str) -> Path | None:
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
