"""Several slices at one place: which attribute tells the volumes of a series apart, such as time, echo or b-value."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medjax.io._dicom._enhanced import DIMENSION
from medjax.io._dicom._errors import DuplicatePositionError
from medjax.io._dicom._slices import Slice
from medjax.io._dicom._values import parse_datetime

__all__ = ["Repeats", "Volumes", "arrange", "name_of"]

Repeats = Literal["dimension", "order", "error"]

# Attributes that can make a dimension, in the order in which they are tried. The first that explains the repeats is
# taken.
_BY_VALUE = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "EchoTime",
    "EffectiveEchoTime",
    "EchoNumbers",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "InversionTime",
    "InversionTimes",
    "FlipAngle",
    "RepetitionTime",
    "NominalPercentageOfCardiacPhase",
    "NominalCardiacTriggerDelayTime",
    "TriggerDelayTime",
    "TriggerTime",
    "FrameReferenceTime",
    "ImageType",
    "FrameType",
    "ComplexImageComponent",
    "KVP",
    "AcquisitionDateTime",
    "FrameAcquisitionDateTime",
    "AcquisitionTime",
    "FrameReferenceDateTime",
)
# Times that every slice may have for itself. The slices at one place are then ranked by them.
_BY_RANK = ("AcquisitionDateTime", "FrameAcquisitionDateTime", "AcquisitionTime", "TriggerTime")
# A time of day says nothing without its day.
_DAY_OF = {"AcquisitionTime": "AcquisitionDate"}
# No series takes longer. Times of day that lie further apart, without a day, lie on both sides of midnight.
_MOST_HOURS = 12
# Bookkeeping of the scanner. It orders repeats only where the series has several places and all of them agree.
_BY_NUMBER = ("AcquisitionNumber", "FrameAcquisitionNumber", "InstanceNumber")


@dataclasses.dataclass(frozen=True, eq=False)
class Volumes:
    """Slices by place and volume.

    Attributes:
        rows: For each place along the normal the slices that lie there, one for each volume.
        by: The attributes that tell volumes apart, empty for a single volume.
        values: Their values, one list per volume.
        copies: Slices that were left out, because another slice at the same place has the same pixels.
    """

    rows: list[list[Slice]]
    by: tuple[str, ...] = ()
    values: tuple[tuple[Any, ...], ...] = ()
    copies: list[Slice] = dataclasses.field(default_factory=list)


def arrange(
    slices: Sequence[Slice], numbers: np.ndarray, repeats: Repeats, path: Path, digest: Callable[[Slice], bytes]
) -> Volumes:
    """Arranges slices by place and volume. Of slices with the same pixels at one place it keeps one.

    Args:
        slices: In any order.
        numbers: The place of each along the normal, from 0 without gaps.
        repeats: "dimension": slices at one place are volumes if an attribute tells them apart. "order": they are
            volumes in any case, if need be in the order of their numbers. "error": they are an error.
        path: The file or folder that errors name.
        digest: A function that gives slices with the same pixels the same bytes.

    Raises:
        DuplicatePositionError: nothing tells them apart, or some places have more slices than others.
    """
    rows: list[list[Slice]] = [[] for _ in range(int(numbers.max()) + 1)]
    for slice_, number in zip(slices, numbers.tolist(), strict=True):
        rows[number].append(slice_)
    rows, copies = _without_copies(rows, lambda row: _instances(row, digest))
    found = _volumes(rows, repeats)
    if found is None:
        distinct, repeated = _without_copies(rows, lambda row: list(map(digest, row)))
        if repeated and len({len(row) for row in distinct}) == 1:  # else some moments merely look alike
            rows, copies = distinct, copies + repeated
            found = _volumes(rows, repeats)
    if found is None and repeats != "error" and len({len(row) for row in rows}) == 1:
        found = _by_number(rows, repeats)
    if found is None:
        raise _duplicate(rows, repeats, path)
    return dataclasses.replace(found, copies=copies)


def _volumes(rows: list[list[Slice]], repeats: Repeats) -> Volumes | None:
    """The volumes, if there is only one or an attribute with a meaning tells them apart."""
    sizes = {len(row) for row in rows}
    if sizes == {1}:
        return Volumes(rows)
    return (_by_value(rows) or _by_rank(rows)) if repeats != "error" and len(sizes) == 1 else None


def _without_copies(
    rows: list[list[Slice]], identify: Callable[[list[Slice]], list[Any]]
) -> tuple[list[list[Slice]], list[Slice]]:
    """Keeps the first slice of each identity at each place, and returns the others as well."""
    kept, copies = [], []
    for row in rows:
        seen: dict[Any, Slice] = {}
        for key, slice_ in zip(identify(row) if len(row) > 1 else [0], row, strict=True):
            if key in seen:
                copies.append(slice_)
            seen.setdefault(key, slice_)
        kept.append(list(seen.values()))
    return kept, copies


def _instances(row: list[Slice], digest: Callable[[Slice], bytes]) -> list[Any]:
    """The identity of each slice: its UID, together with its pixels where several slices have that UID."""
    uids = [(s.file.sop_uid, s.frame, s.corner) for s in row]
    return [(uid, digest(s)) if uids.count(uid) > 1 else uid for uid, s in zip(uids, row, strict=True)]


def _duplicate(rows: list[list[Slice]], repeats: Repeats, path: Path) -> DuplicatePositionError:
    number = int(np.argmax([len(row) for row in rows]))
    row = rows[number]
    names = " and ".join(sorted(name_of(s) for s in row)[:2])
    sizes = sorted({len(r) for r in rows})
    if len(sizes) > 1:
        reason = f"{len(rows)} positions hold from {sizes[0]} to {sizes[-1]} slices each; {names} lie at one position"
        return DuplicatePositionError(path, reason, "remove what does not belong to the series, or add what is missing")
    reason = f"{len(row)} different slices at one position, such as {names}"
    if repeats == "error":
        return DuplicatePositionError(path, reason, 'repeats="dimension" stacks them along a trailing axis')
    hint = 'io.load_dicom_series(..., repeats="order") stacks them along a trailing axis in the order of their numbers'
    return DuplicatePositionError(path, f"{reason}, and no time, echo, b-value or the like tells them apart", hint)


def name_of(slice_: Slice) -> str:
    """File and frame of a slice, as messages name them."""
    return slice_.file.path.name + (f" frame {slice_.frame}" if slice_.layout.frames > 1 else "")


def _by_value(rows: list[list[Slice]]) -> Volumes | None:
    """Splits the slices into volumes by up to three attributes whose values each occur exactly once at every place."""
    table = {keyword: [[s.attribute(keyword) for s in row] for row in rows] for keyword in _candidates(rows)}
    varying = [keyword for keyword, values in table.items() if any(len(set(row)) > 1 for row in values)]
    varying = [keyword for keyword in varying if _has_order(rows, keyword)]
    for size in (1, 2, 3):
        for chosen in itertools.combinations(varying, size):
            keywords = tuple(each for keyword in chosen for each in _dated(rows, keyword))
            columns = [[[s.attribute(keyword) for s in row] for row in rows] for keyword in keywords]
            found = _split(rows, keywords, [list(zip(*parts, strict=True)) for parts in zip(*columns, strict=True)])
            if found is not None:
                return found
    return None


def _dated(rows: list[list[Slice]], keyword: str) -> tuple[str, ...]:
    """A time of day with its day before it, where the days differ; any other attribute alone."""
    day = _DAY_OF.get(keyword)
    return (keyword,) if day is None or len(_values_of(rows, day)) == 1 else (day, keyword)


def _has_order(rows: list[list[Slice]], keyword: str) -> bool:
    """Whether the values have an order. Times of day without days have none if they lie on both sides of midnight."""
    if keyword not in _DAY_OF:
        return True
    days = _values_of(rows, _DAY_OF[keyword])
    if days != {None}:
        return None not in days
    hours = [int(time[:2]) for time in _values_of(rows, keyword) if isinstance(time, str) and time[:2].isdecimal()]
    return not hours or max(hours) - min(hours) < _MOST_HOURS


def _values_of(rows: list[list[Slice]], keyword: str) -> set[Any]:
    return {slice_.attribute(keyword) for row in rows for slice_ in row}


def _candidates(rows: list[list[Slice]]) -> list[str]:
    """Attributes to try: the public dimensions that the object names, then the table, then private dimensions."""
    own = [keyword for keyword in rows[0][0].attributes if keyword.startswith(DIMENSION)]
    private = [keyword for keyword in own if keyword.startswith(DIMENSION + "(")]
    return [keyword for keyword in own if keyword not in private] + list(_BY_VALUE) + private


def _split(rows: list[list[Slice]], keywords: tuple[str, ...], values: list[list[tuple[Any, ...]]]) -> Volumes | None:
    wanted = dict(zip(values[0], rows[0], strict=True))
    if len(wanted) != len(rows[0]) or any(set(found) != wanted.keys() for found in values):
        return None
    keys = sorted(wanted, key=lambda key: _sort_key(keywords, key, wanted[key]))
    by_key = [dict(zip(found, row, strict=True)) for found, row in zip(values, rows, strict=True)]
    return Volumes([[row[key] for key in keys] for row in by_key], tuple(map(_shown, keywords)), tuple(keys))


def _shown(keyword: str) -> str:
    return keyword.removeprefix(DIMENSION)


def _sort_key(keywords: Sequence[str], values: Iterable[Any], slice_: Slice) -> tuple[Any, ...]:
    """Numbers and times ascend, and a missing value comes first. Values without an order keep that of the instances."""
    key: list[Any] = []
    for keyword, stated in zip(keywords, values, strict=True):
        value = _moment(keyword, stated)
        if isinstance(value, tuple) or (isinstance(value, str) and not value[:1].isdigit()):
            key.append((2, _instance(slice_)))
        elif value is None:
            key.append((0,))
        else:
            key.append((1, value) if not isinstance(value, str) else (1, 0.0, value))
    return (*key, _instance(slice_))


def _instance(slice_: Slice) -> tuple[int, int]:
    number = slice_.attribute("InstanceNumber")
    return (number if isinstance(number, int) else 0, slice_.frame)


def _by_rank(rows: list[list[Slice]]) -> Volumes | None:
    """Volumes by the rank of a time among the slices of each place."""
    return next((found for keyword in _BY_RANK if (found := _rank(rows, keyword, None)) is not None), None)


def _by_number(rows: list[list[Slice]], repeats: Repeats) -> Volumes | None:
    """Volumes by the scanner's numbering, if it has the same pattern at every place or if the caller asks for it."""
    for keyword in _BY_NUMBER:
        found = _rank(rows, keyword, None if repeats == "order" else _is_pattern)
        if found is not None:
            return found
    if repeats != "order":
        return None
    ordered = [sorted(row, key=lambda s: (_instance(s), s.file.sop_uid, s.file.path.name)) for row in rows]
    return Volumes(ordered, ("order",), tuple((n,) for n in range(len(rows[0]))))


def _is_pattern(table: list[list[Any]]) -> bool:
    """Whether the numbers of all places have the same distances from each other, as in blocks that a scanner wrote."""
    if len(table) < 2 or not all(isinstance(value, int) for values in table for value in values):
        return False
    return len({tuple(value - values[0] for value in values) for values in table}) == 1


def _rank(rows: list[list[Slice]], keyword: str, check: Callable[[list[list[Any]]], bool] | None) -> Volumes | None:
    if not all(_is_ordered(row, keyword) for row in rows) or not _has_order(rows, keyword):
        return None
    keywords = _dated(rows, keyword)
    ordered = [sorted(row, key=lambda s: _place(s, keywords)) for row in rows]
    table = [[_place(s, keywords) for s in row] for row in ordered]
    numbers = [[s.attribute(keyword) for s in row] for row in ordered]
    if any(len(set(places)) != len(places) for places in table) or (check is not None and not check(numbers)):
        return None
    return Volumes(ordered, keywords, tuple(tuple(s.attribute(k) for k in keywords) for s in ordered[0]))


def _place(slice_: Slice, keywords: Sequence[str]) -> tuple[Any, ...]:
    return tuple(_moment(keyword, slice_.attribute(keyword)) for keyword in keywords)


def _moment(keyword: str, value: Any) -> Any:
    """The value to sort by. A date and time that states its offset from UTC is compared in UTC."""
    if not keyword.endswith("DateTime") or not isinstance(value, str):
        return value
    moment = parse_datetime(value)
    return value if moment is None or moment.tzinfo is None else f"{moment.astimezone(dt.UTC):%Y%m%d%H%M%S.%f}"


def _is_ordered(row: list[Slice], keyword: str) -> bool:
    """Whether all slices of a place state a value of one type that has an order."""
    types = {type(s.attribute(keyword)) for s in row}
    return types in ({str}, {int}, {float})
