"""Cases in a tree of DICOM files, and in an HDF5 store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from medjax.data._folder import gathered
from medjax.data._rows import Line

__all__ = ["lines_of_dicom", "lines_of_store"]

_PATIENT_ID = 0x00100020
_ROLES = {"PT": "pet", "NM": "nm", "RTDOSE": "dose"}


def lines_of_dicom(
    root: Path, by: str, roles: Mapping[str, str | Callable[[Any], bool]], optional: Iterable[str]
) -> list[Line]:
    """Makes a line of each study (or whatever `by` names) in a tree, its series by role.

    Raises:
        ValueError: the tree has no series, a study has two for one role or none, or an attribute is missing.
    """
    from pydicom.datadict import tag_for_keyword

    from medjax.io._dicom._list import described
    from medjax.io._dicom._quiet import quiet
    from medjax.io._dicom._scan import groups_of, scan
    from medjax.io._dicom._stored import first_text

    tag = tag_for_keyword(by)
    if tag is None:
        raise ValueError(f"by must be a DICOM keyword, such as 'StudyInstanceUID', got {by!r}")
    with quiet():
        groups = groups_of(scan(root).files)
        described_groups = [(described(group), group) for group in groups]
    found: dict[str, dict[str, tuple[Any, dict[str, str]]]] = {}
    for series, group in described_groups:
        study = first_text(group.file.dataset, tag)
        if not study:
            raise ValueError(f"{group.file.path}: has no {by}; name another attribute in by")
        of_case = found.setdefault(study, {})
        for role in _roles_of(series, roles):
            if role in of_case:
                raise ValueError(
                    f"case {study!r}, role {role!r}: both series {of_case[role][0][1]} and {series.uid} "
                    f"({series.description!r}) qualify; choose by "
                    f"roles={{{role!r}: lambda series: series.description == ...}}"
                )
            folders = {file.path.parent for file in group.files}
            where = folders.pop() if len(folders) == 1 else root
            patient = first_text(group.file.dataset, _PATIENT_ID)
            of_case[role] = ((where, series.uid), {"patient": patient} if patient else {})
    found = {name: of_case for name, of_case in found.items() if of_case}
    if not found:
        raise ValueError(f"{root} has no DICOM series that a role takes")
    names = dict(roles) or dict.fromkeys(sorted({role for of_case in found.values() for role in of_case}))
    lines = gathered(root, found, names, optional if roles else names)
    return [(where, _with_series(cells, names)) for where, cells in lines]


def _with_series(cells: Mapping[str, Any], roles: Iterable[str]) -> dict[str, Any]:
    flat = dict(cells)
    for role in roles:
        if role in flat:
            flat[role], flat[f"{role}#series"] = flat[role]
    return flat


def _roles_of(series: Any, roles: Mapping[str, str | Callable[[Any], bool]]) -> list[str]:
    if not roles:
        return [_ROLES.get(series.modality, series.modality.lower())] if series.modality else []
    return [
        role for role, wanted in roles.items() if (wanted(series) if callable(wanted) else series.modality == wanted)
    ]


def lines_of_store(path: Path, names: Mapping[str, str], optional: Iterable[str]) -> list[Line]:
    """Makes a line of each group of an HDF5 file that holds an image of one of the names.

    Raises:
        ValueError: a role's image is in no group, or a group lacks one.
    """
    from medjax.io._hdf5._list import list_hdf5

    if not names:
        raise ValueError('name the image of each role, such as ct="CT"')
    found: dict[str, dict[str, tuple[Any, dict[str, str]]]] = {}
    there = set()
    for entry in list_hdf5(path):
        there.add(entry.name)
        for role, name in names.items():
            if entry.name == name:
                found.setdefault(entry.group.replace("/", "_"), {})[role] = ((path, entry.group, entry.name), {})
    for role, name in names.items():
        if name not in there:
            raise ValueError(f"role {role!r}: {path} has no image {name!r}; it has {sorted(there)}")
    return gathered(path, found, names, optional)
