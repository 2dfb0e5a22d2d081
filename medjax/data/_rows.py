"""Rows of a table of cases, checked: names, patients, kinds, roles, and that every file is there."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from medjax._image._image import Image, Kind
from medjax.data._case import Row
from medjax.data._source import FileSource, HeldSource, SeriesSource, Source, StoreSource, shown
from medjax.io._open import ALL_FORMATS

__all__ = ["Kinds", "Line", "checked_name", "lines_of", "rows_of"]

Kinds: TypeAlias = Mapping[str, Literal["intensity", "label", "value"] | None]
"""What the column of a name holds."""

Line: TypeAlias = tuple[str, Mapping[str, Any]]
"""Where a row stands, as messages say it, and its cells by column."""

_KINDS = ("intensity", "label", "value", None)
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_SERIES = "#series"
_RESERVED = ("case", "patient")
_SCALARS = (str, int, float, bool, np.generic, dt.date, dt.time)
_SUFFIXES = tuple(suffix for fmt in ALL_FORMATS for suffix in fmt.suffixes)


@dataclasses.dataclass(frozen=True)
class _Table:
    """What all rows share: the kinds and modalities that the caller states, and what paths are relative to."""

    declared: Kinds
    modality: Mapping[str, str]
    folder: Path

    def kind_of(self, role: str) -> Kind | None:
        kind = self.declared.get(role)
        return None if kind == "value" else kind


def rows_of(
    lines: Sequence[Line],
    kinds: Kinds | None,
    modality: Mapping[str, str] | None = None,
    folder: Path | None = None,
    *,
    check_patients: bool = True,
) -> list[Row]:
    """Checks the lines of a table and makes rows of them.

    Args:
        lines: Where each stands, and its cells.
        kinds: The kind of each role, "value" for a column that is none. Roles that are not named are found by their
            cells.
        modality: Modalities by role, where files cannot state them.
        folder: What relative paths are relative to; the working folder where it is `None`.
        check_patients: Whether headers of two patients within a case are an error.

    Raises:
        ValueError: there is no row, a name is missing, wrong or there twice, a role or kind is unknown, or a cell is
            none.
        FileNotFoundError: a file is missing.
    """
    if not lines:
        raise ValueError("the cohort is empty: give at least one row with a case")
    columns = list(dict.fromkeys(column for _, cells in lines for column in cells))
    declared = _checked_kinds(kinds or {}, columns)
    roles = _roles(lines, columns, declared)
    for role in modality or {}:
        if role not in roles:
            raise ValueError(f"modality names {role!r}, which is no role{shown(role, roles)}")
    shared = _Table(declared, modality or {}, Path.cwd() if folder is None else folder)
    rows, seen = [], dict[str, str]()
    for where, cells in lines:
        name = checked_name(cells.get("case"), where)
        where = f"{where} (case {name!r})"
        if name in seen:
            raise ValueError(f"{where}: the name stands in {seen[name]}, too; each case needs a name of its own")
        seen[name] = where.partition(" (")[0]
        _check_columns(where, cells, declared, roles)
        sources = {}
        for role in roles:
            source = _source(where, role, cells, shared)
            if source is not None:
                sources[role] = source
        used = {*_RESERVED, *roles, *(role + _SERIES for role in roles)}
        values = {column: _value(where, column, cell) for column, cell in cells.items() if column not in used}
        known = {column: value for column, value in values.items() if value is not None}
        rows.append(Row(name, _patient(where, cells, name), known, sources, where, check_patients))
    return rows


def checked_name(name: Any, where: str) -> str:
    """Returns the name of a case.

    Raises:
        ValueError: there is none, or it holds what no file name should.
    """
    if name is None or name == "":
        raise ValueError(f"{where}: it has no name; give every row a column 'case'")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.strip("."):
        raise ValueError(
            f"{where}: case must be a text of letters, digits, '.', '_' and '-', got {name!r}; results are named "
            f"after it"
        )
    return str(name)


def _checked_kinds(kinds: Kinds, columns: Sequence[str]) -> dict[str, Kind | Literal["value"] | None]:
    for role, kind in kinds.items():
        if kind not in _KINDS:
            raise ValueError(f"kinds[{role!r}] must be 'intensity', 'label' or 'value', got {kind!r}")
        if role in _RESERVED or role.endswith(_SERIES):
            raise ValueError(f"kinds names {role!r}, which is no role but a column of its own meaning")
        if role not in columns:
            others = [column for column in columns if column not in _RESERVED]
            raise ValueError(f"kinds names the role {role!r}, but no row has such a column{shown(role, others)}")
    return dict(kinds)


def _roles(lines: Sequence[Line], columns: Sequence[str], declared: Mapping[str, Any]) -> list[str]:
    """The columns that hold images: those that `kinds` names, and those with a cell that can be nothing else."""
    roles = []
    for column in columns:
        if not isinstance(column, str) or not column:
            raise ValueError(f"a column's name must be a text, got {column!r}")
        if column.endswith(_SERIES):
            role = column.removesuffix(_SERIES)
            if role not in columns:
                raise ValueError(
                    f"the column {column!r} names series of a role that is not there{shown(role, columns)}"
                )
        elif column in declared:
            if declared[column] != "value":
                roles.append(column)
        elif column not in _RESERVED and any(_is_image(cells.get(column)) for _, cells in lines):
            roles.append(column)
    series = {column.removesuffix(_SERIES) for column in columns if column.endswith(_SERIES)}
    return [c for c in columns if c in roles or (c in series and declared.get(c) != "value")]


def _is_image(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.lower().endswith(_SUFFIXES) or cell.endswith(("/", os.sep))
    return isinstance(cell, os.PathLike | tuple | Image)


def _is_absent(cell: Any) -> bool:
    """An empty cell, as CSV, dicts and pandas have them."""
    return cell is None or (isinstance(cell, str) and not cell) or (isinstance(cell, float) and cell != cell)


def _check_columns(where: str, cells: Mapping[str, Any], declared: Mapping[str, Any], roles: Sequence[str]) -> None:
    """Refuses a role that looks like another one misspelt: it names images, and the other one is missing in this
    row.
    """
    missing = [role for role in declared if role in roles and _is_absent(cells.get(role))]
    for column, cell in cells.items():
        if column in roles and column not in declared and missing and _is_image(cell):
            hint = shown(column, missing)
            if "did you mean" in hint:
                raise ValueError(
                    f"{where}: the column {column!r} is not in kinds, which names what is missing here{hint}"
                )


def _source(where: str, role: str, cells: Mapping[str, Any], table: _Table) -> Source | None:
    """Where the image of a role comes from in a row, `None` where the case has none."""
    cell, series = cells.get(role), cells.get(role + _SERIES)
    kind, modality = table.kind_of(role), table.modality.get(role)
    place = f"{where}, role {role!r}"
    if _is_absent(cell):
        if not _is_absent(series):
            raise ValueError(f"{place}: a series is named, but no folder that it lies in; fill the column {role!r}")
        return None
    if isinstance(cell, Image):
        return HeldSource(cell if kind is None else cell.with_kind(kind))
    if isinstance(cell, tuple):
        if len(cell) != 3 or not all(isinstance(part, str | os.PathLike) for part in cell):
            raise ValueError(f"{place}: an image in an HDF5 file is ('file.h5', 'group', 'name'), got {cell!r}")
        path = _existing(place, role, cell[0], table)
        return StoreSource(path, str(cell[1]), str(cell[2]), kind, modality)
    if not isinstance(cell, str | os.PathLike):
        raise ValueError(
            f"{place}: must be a path, ('file.h5', 'group', 'name') or an Image, got {cell!r}; "
            f"kinds={{{role!r}: 'value'}} carries the column through"
        )
    path = _existing(place, role, cell, table)
    if _is_absent(series):
        return FileSource(path, kind, modality)
    if not path.is_dir():
        raise ValueError(f"{place}: a series is named, but {path} is no folder; empty the column {role + _SERIES!r}")
    return SeriesSource(path, str(series), kind, modality)


def _existing(place: str, role: str, cell: str | os.PathLike[str], table: _Table) -> Path:
    path = table.folder / cell
    if not path.exists():
        hint = "" if role in table.declared else f"; if {role!r} holds no images, say kinds={{{role!r}: 'value'}}"
        raise FileNotFoundError(
            f"{place}: there is no {str(path)!r}; correct the path, or leave the cell empty if the case has none{hint}"
        )
    return path


def _value(where: str, column: str, cell: Any) -> Any:
    if cell is not None and not isinstance(cell, _SCALARS):
        raise ValueError(
            f"{where}: the column {column!r} must hold texts or numbers, got {type(cell).__name__}; "
            f"an image takes a path, and its role a place in kinds"
        )
    return cell


def _patient(where: str, cells: Mapping[str, Any], name: str) -> str:
    patient = cells.get("patient")
    if _is_absent(patient):
        return name
    if isinstance(patient, bool) or not isinstance(patient, str | int | np.integer):
        raise ValueError(f"{where}: patient must be a text or a whole number, got {type(patient).__name__}")
    return str(patient)


def lines_of(rows: Any) -> Iterable[Line]:
    """The rows of a caller, numbered from 0.

    Raises:
        ValueError: they are no list of dicts.
    """
    if isinstance(rows, Mapping | str) or not isinstance(rows, Iterable) or hasattr(rows, "to_dict"):
        hint = "; of a table of pandas, rows.to_dict('records')" if hasattr(rows, "to_dict") else ""
        raise ValueError(f"rows must be a list of dicts, one for each case, got {type(rows).__name__}{hint}")
    for number, cells in enumerate(rows):
        if not isinstance(cells, Mapping):
            raise ValueError(f"row {number}: must be a dict with the key 'case', got {type(cells).__name__}")
        yield f"row {number}", cells
