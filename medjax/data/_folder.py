"""Cases in folders: files that patterns name, the case read off the stars and fields of the pattern."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medjax.data._rows import Line
from medjax.data._source import shown

__all__ = ["existing_folder", "gathered", "lines_of_folder"]

_FIELD = re.compile(r"\*|\{([A-Za-z_]\w*)\}")


def existing_folder(root: str | os.PathLike[str]) -> Path:
    """Returns a folder's absolute path.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(root)!r}")
    return folder.resolve()


def lines_of_folder(root: Path, patterns: Mapping[str, str], optional: Iterable[str]) -> list[Line]:
    """Finds the files of each role, and makes a line of those that share a case.

    Raises:
        ValueError: a pattern is none, it matches nothing, or matches two files of one case.
    """
    if not patterns:
        raise ValueError('name the files of each role, such as ct="*/ct.nii.gz"')
    found: dict[str, dict[str, tuple[Path, dict[str, str]]]] = {}
    for role, pattern in patterns.items():
        for path, fields in _matches(root, role, pattern):
            name = fields.pop("case")
            of_case = found.setdefault(name, {})
            if role in of_case:
                raise ValueError(
                    f"case {name!r}, role {role!r}: {pattern!r} matches both {of_case[role][0]} and {path}; "
                    "make the pattern narrower, or mark the case in it, as in '{case}/ct.nii.gz'"
                )
            of_case[role] = (path, fields)
        if not any(role in of_case for of_case in found.values()):
            raise ValueError(f"role {role!r}: no file in {root} matches {pattern!r}; correct the pattern")
    return gathered(root, found, patterns, optional)


def gathered(
    place: Path, found: Mapping[str, Mapping[str, Any]], roles: Mapping[str, Any], optional: Iterable[str]
) -> list[Line]:
    """Lines of the cases found in a place, in the order of their names; `roles` has what was asked for.

    Raises:
        ValueError: a case lacks a role that is not optional, or its files tell the patient or a field apart.
    """
    may_lack = tuple(optional)
    for role in may_lack:
        if role not in roles:
            raise ValueError(f"optional names {role!r}, which is no role{shown(role, list(roles))}")
    lines: list[Line] = []
    for name in sorted(found):
        cells: dict[str, Any] = {"case": name}
        for role in roles:
            if role not in found[name]:
                if role not in may_lack:
                    raise ValueError(
                        f"{place}: case {name!r} has nothing for role {role!r} ({roles[role]!r}), but has "
                        f"{', '.join(found[name])}; add it, or say optional=({role!r},)"
                    )
                continue
            path, fields = found[name][role]
            for field, value in fields.items():
                if cells.setdefault(field, value) != value:
                    raise ValueError(f"{place}: the files of case {name!r} disagree on its {field}; tell them apart")
            cells[role] = path
        lines.append((str(place), cells))
    return lines


def _matches(root: Path, role: str, pattern: str) -> Sequence[tuple[Path, dict[str, str]]]:
    """The paths that a pattern matches, with the text of its fields and the case's name."""
    if not isinstance(pattern, str) or not _FIELD.search(pattern) or "**" in pattern or Path(pattern).is_absolute():
        raise ValueError(
            f"role {role!r}: a pattern is a path below the folder with a * or {{case}} for the case's name, such as "
            f"'*/ct.nii.gz', got {pattern!r}"
        )
    parts, place, stars = [], 0, 0
    for match in _FIELD.finditer(pattern):
        stars += match[1] is None
        parts += [re.escape(pattern[place : match.start()]), f"(?P<{match[1] or f'star_{stars}'}>[^/]+)"]
        place = match.end()
    try:
        whole = re.compile("".join(parts) + re.escape(pattern[place:].rstrip("/")))
    except re.error as error:
        raise ValueError(f"role {role!r}: the pattern {pattern!r} names a field twice ({error})") from None
    found = []
    for path in sorted(root.glob(_FIELD.sub("*", _escaped(pattern)))):
        fits = whole.fullmatch(path.relative_to(root).as_posix())
        if fits and not path.name.startswith("."):
            fields = fits.groupdict()
            own = [fields.pop(key) for key in list(fields) if key.startswith("star_")]
            if "case" not in fields:
                own = own or list(fields.values())
                fields["case"] = "_".join(own)
            found.append((path, fields))
    return found


def _escaped(pattern: str) -> str:
    """A pattern in which brackets and question marks stand for themselves."""
    return re.sub(r"([\[?])", r"[\1]", pattern)
