"""The manifest of a cohort, a CSV file: reading it as it stands, with the line of each row."""

from __future__ import annotations

import csv
from pathlib import Path

from medjax.data._rows import Line

__all__ = ["lines_of_manifest"]


def lines_of_manifest(path: Path) -> list[Line]:
    """Reads the lines of a manifest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no CSV of UTF-8, it has no header or one with a column twice, or a line has another number of
            cells.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no manifest {str(path)!r}")
    if path.suffix.lower() in (".parquet", ".xlsx", ".xls"):
        raise ValueError(f"{path}: a manifest is a CSV file; export the table as CSV (UTF-8)")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(path, header)
            return [
                (f"{path}, line {reader.line_num}", _cells(path, reader.line_num, header, line))
                for line in reader
                if any(line)
            ]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: is no CSV ({error}); mend its quotes") from None


def _check_header(path: Path, header: list[str]) -> None:
    if "case" not in header:
        hint = ""
        if len(header) == 1 and (found := [mark for mark in ";\t|" if mark in header[0]]):
            hint = f"; its columns seem to be separated by {found[0]!r}, save it with commas"
        raise ValueError(f"{path}: its first line must name the columns, 'case' among them, got {header}{hint}")
    for column in header:
        if header.count(column) > 1 or not column:
            raise ValueError(f"{path}: the column {column!r} stands {header.count(column)} times in its first line")


def _cells(path: Path, number: int, header: list[str], line: list[str]) -> dict[str, str | None]:
    if len(line) != len(header):
        raise ValueError(
            f"{path}, line {number}: has {len(line)} cells, the header names {len(header)} columns; "
            "quote cells that hold commas"
        )
    return dict(zip(header, line, strict=True))
