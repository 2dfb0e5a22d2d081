"""The data file beside a header: its name there, the owner of an old data file, and when an old one is deleted."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax.io._disk._atomic import atomic_files

__all__ = ["data_name", "detached", "named_by"]

_HEADERS = (".mhd", ".nhdr")
_DATA = (".raw", ".zraw", ".raw.gz")

_MOST_HEADER_BYTES = 2**24
_NAMED = re.compile(rb"^(?:ElementDataFile[ \t]*[=:]|data ?file:)[ \t]*(.*?)[ \t\r]*$", re.MULTILINE | re.IGNORECASE)


def data_name(path: Path, data_path: Path) -> str:
    """Returns the name of the data file as the header states it, so that every reader takes it for a plain name.

    Raises:
        UnsupportedFileError: a header cannot state the name: it holds %, which makes a pattern, or is no printable
            UTF-8.
    """
    name = data_path.name
    hint = "choose another name, or save header and voxels in one file (.mha, .nrrd)"
    if "%" in name:
        raise UnsupportedFileError(path, "a header cannot name a data file with % in it, which makes a pattern", hint)
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        raise UnsupportedFileError(
            path, f"a header cannot name the data file {name!a}: it is text in UTF-8, one name to a line", hint
        )
    is_plain = name == name.strip() and not name.startswith(("LIST", "\\")) and re.match("[A-Za-z]:", name) is None
    return name if is_plain else f"./{name}"


@contextlib.contextmanager
def detached(data_path: Path, path: Path) -> Iterator[tuple[Path, ...]]:
    """Yields temporary files for data and header. On success they take their places, and the old data file is deleted.

    Raises:
        ImageFileError: there is a file of the data's name that is not this header's alone.
    """
    old = named_by(path)
    _check_free(data_path, path, old)
    with atomic_files(data_path, path) as temporaries:
        yield temporaries
    stale = None if old is None else path.parent / old
    if stale is not None and stale != data_path and stale.name in _own_names(path) and not _other_owners(stale, path):
        stale.unlink(missing_ok=True)


def _check_free(data_path: Path, path: Path, old: str | None) -> None:
    if not data_path.exists():
        return
    others = _other_owners(data_path, path)
    hint = "choose another name, move that file away, or save header and voxels in one file (.mha, .nrrd)"
    if others:
        raise ImageFileError(path, f"its data file {data_path.name!r} is also that of {others[0].name!r}", hint)
    if old != data_path.name:
        raise ImageFileError(path, f"its data file {data_path.name!r} is there already, and of no header here", hint)


def _own_names(path: Path) -> list[str]:
    return [path.with_suffix(ending).name for ending in _DATA]


def _other_owners(data_path: Path, path: Path) -> list[Path]:
    """Headers with the same name and another ending that name this data file."""
    candidates = [path.with_suffix(ending) for ending in _HEADERS]
    return [other for other in candidates if other.name != path.name and named_by(other) == data_path.name]


def named_by(header: Path) -> str | None:
    """The name of the data file in a header, without the `./` before it; `None` where there is no header."""
    if not header.is_file():
        return None
    with header.open("rb") as file:
        names = _NAMED.findall(file.read(_MOST_HEADER_BYTES))
    return names[-1].decode("utf-8", "surrogateescape").removeprefix("./") if names else None
