"""Cases in a BIDS dataset: scans by suffix and entities, subjects and sessions as patients and cases."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medjax.data._folder import gathered
from medjax.data._rows import Line

__all__ = ["lines_of_bids"]

_ENDING = re.compile(r"\.nii(\.gz)?$")
_SUBJECT, _SESSION = re.compile(r"sub-[A-Za-z0-9]+"), re.compile(r"ses-[A-Za-z0-9]+")


def lines_of_bids(root: Path, queries: Mapping[str, str], optional: Iterable[str]) -> list[Line]:
    """Finds the scans that queries name, one line for each session, or subject without sessions.

    A query is a suffix with entities before it, "T1w" or "acq-high_run-1_T1w"; for scans in a folder below the root,
    such as a derivative's, with the folder before that: "derivatives/lesions/desc-lesion_mask". A file matches which
    has this suffix and these entities, whatever others it has.

    Source: BIDS specification 1.10, "Filesystem structure" and "Entities".

    Raises:
        ValueError: a query is none, it matches nothing, or matches two files of one session.
    """
    if not queries:
        raise ValueError('name the scan of each role, such as mr="T1w"')
    found: dict[str, dict[str, tuple[Path, dict[str, str]]]] = {}
    for role, query in queries.items():
        folder, entities, suffix = _parsed(root, role, query)
        known: set[str] = set()
        for path, subject, session in _scans(folder):
            stated = _entities(path)
            known.add(stated["suffix"])
            if stated["suffix"] != suffix or any(stated.get(key) != value for key, value in entities.items()):
                continue
            name = f"{subject}_{session}" if session else subject
            of_case = found.setdefault(name, {})
            if role in of_case:
                raise ValueError(
                    f"case {name!r}, role {role!r}: {query!r} matches both {of_case[role][0]} and {path}; name an "
                    f"entity "
                    f"that tells them apart, such as {_difference(of_case[role][0], path)}"
                )
            fields = {"patient": subject} | ({"session": session} if session else {})
            of_case[role] = (path, fields)
        if not any(role in of_case for of_case in found.values()):
            raise ValueError(f"role {role!r}: {folder} has no scan {query!r}; its suffixes are {sorted(known)}")
    lines = gathered(root, found, queries, optional)
    people = _participants(root)
    return [(where, {**people.get(cells["patient"], {}), **cells}) for where, cells in lines]


def _parsed(root: Path, role: str, query: str) -> tuple[Path, dict[str, str], str]:
    folder, _, scan = query.rpartition("/")
    *entities, suffix = scan.split("_")
    if not suffix.isalnum() or not all(re.fullmatch(r"[a-z]+-[A-Za-z0-9+]+", entity) for entity in entities):
        raise ValueError(
            f"role {role!r}: a scan is a suffix with entities before it, such as 'T1w' or 'run-1_T1w', got {query!r}"
        )
    where = root / folder
    if not where.is_dir():
        raise ValueError(f"role {role!r}: there is no folder {where}")
    return where, dict(entity.split("-", 1) for entity in entities), suffix


def _scans(folder: Path) -> Iterable[tuple[Path, str, str]]:
    """The NIfTI files of the subjects, with subject and session."""
    for subject in sorted(folder.glob("sub-*")):
        if not subject.is_dir() or not _SUBJECT.fullmatch(subject.name):
            continue
        for path in sorted(subject.rglob("*.nii*")):
            parts = path.relative_to(subject).parts
            session = parts[0] if len(parts) > 1 and _SESSION.fullmatch(parts[0]) else ""
            if _ENDING.search(path.name) and len(parts) == 2 + bool(session):
                if not path.name.startswith(f"{subject.name}_{session}"):
                    raise ValueError(f"{path}: lies with {subject.name}, but its name does not begin so; rename it")
                yield path, subject.name, session


def _entities(path: Path) -> dict[str, str]:
    *entities, suffix = _ENDING.sub("", path.name).split("_")
    return dict(entity.split("-", 1) for entity in entities if "-" in entity) | {"suffix": suffix}


def _difference(one: Path, other: Path) -> str:
    a, b = _entities(one), _entities(other)
    different = [f"{key}-{value}" for key, value in b.items() if a.get(key) != value and key != "suffix"]
    return repr("_".join([*different, b["suffix"]])) if different else "its folder"


def _participants(root: Path) -> dict[str, dict[str, Any]]:
    """The columns of participants.tsv by participant; n/a is an empty cell."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if rows and "participant_id" not in rows[0]:
        raise ValueError(f"{path}: has no column participant_id")
    return {
        row["participant_id"]: {
            key: "" if value == "n/a" else value for key, value in row.items() if key != "participant_id"
        }
        for row in rows
    }
