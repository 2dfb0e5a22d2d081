"""Splits of a cohort that keep each patient on one side, whatever the order of the rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from medjax._lazy import public
from medjax.data._case import Row
from medjax.data._cohort import Cohort, rows_in
from medjax.data._source import shown

__all__ = ["Fold", "split"]


@public("medjax.data")
class Fold(NamedTuple):
    """The two sides of a split.

    Attributes:
        train: The cohort to train on.
        validation: The rest.

    Example:
        >>> scan = mj.Image.from_array(np.zeros((2, 2, 2)))
        >>> cohort = mj.data.Cohort.of([{"case": name, "ct": scan} for name in "abcd"])
        >>> train, validation = mj.data.split(cohort, share=0.75)
        >>> len(train), len(validation)
        (3, 1)
    """

    train: Cohort
    validation: Cohort


def split(
    cohort: Cohort,
    *,
    folds: int | None = None,
    share: float | None = None,
    by: str = "patient",
    seed: int = 0,
    balance: Sequence[str] = (),
    mode: Literal["balanced", "stable"] = "balanced",
) -> Any:
    """Splits a cohort so that no patient is on two sides.

    The order of the rows changes nothing; the sides come back in the order of the cases' names.

    "balanced" gives the sides the number of cases that they should have, and spreads the roles that cases have and the
    columns in `balance` evenly, greedily, the largest groups first. "stable" assigns each group by a hash of its name:
    new patients never move old ones, and sizes are as chance has it.

    Args:
        cohort: The cases.
        folds: Number of folds, at least 2; default 5 where `share` is not given.
        share: In place of `folds`, the share of cases to train on, between 0 and 1.
        by: What must stay together: "patient", "case", or a column.
        seed: A whole number; another one gives another split.
        balance: Columns to spread evenly. Numbers are taken by terciles, texts as they are.
        mode: "balanced" or "stable".

    Returns:
        With `share` a `Fold`, which is a pair: train, validation. With `folds` a list of them, whose validation sides
        are disjoint and together the cohort.

    Raises:
        ValueError: both or wrong numbers are given, a column is missing in a case, there are fewer groups than sides,
            or a side would be empty.

    Example:
        >>> scan = mj.Image.from_array(np.zeros((2, 2, 2)))
        >>> rows = [{"case": f"p{n // 2}_v{n % 2}", "patient": f"p{n // 2}", "ct": scan} for n in range(8)]
        >>> folds = mj.data.split(mj.data.Cohort.of(rows), folds=4)
        >>> [sorted(set(fold.validation.patients)) for fold in folds]
        [['p2'], ['p0'], ['p1'], ['p3']]
    """
    rows = rows_in(cohort)
    shares = _shares(folds, share)
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise ValueError(f"seed must be a whole number, got {seed!r}")
    if mode not in ("balanced", "stable"):
        raise ValueError(f"mode must be 'balanced' or 'stable', got {mode!r}")
    groups = _groups(rows, by)
    if len(groups) < len(shares):
        raise ValueError(
            f"the cohort has {len(groups)} groups by {by!r}, too few for {len(shares)} sides; give fewer folds"
        )
    if mode == "stable":
        side_of = {group: _side(_fraction(seed, group), shares) for group in groups}
    else:
        side_of = _balanced(groups, shares, _tags(rows, balance), seed)
    sides = [
        sorted(name for g, members in groups.items() if side_of[g] == side for name in members)
        for side in range(len(shares))
    ]
    if not all(sides):
        raise ValueError("a side of the split would be empty; give another seed or share, or mode='balanced'")
    if share is not None:
        return Fold(cohort[sides[0]], cohort[sides[1]])
    every = sorted(name for names in sides for name in names)
    return [Fold(cohort[[name for name in every if name not in set(names)]], cohort[names]) for names in sides]


def _shares(folds: int | None, share: float | None) -> list[float]:
    if share is not None:
        if folds is not None:
            raise ValueError(f"give folds={folds} or share={share}, not both")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise ValueError(f"share must be a number between 0 and 1, got {share!r}")
        return [float(share), 1 - float(share)]
    count = 5 if folds is None else folds
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise ValueError(f"folds must be a whole number of at least 2, got {count!r}")
    return [1 / count] * count


def _groups(rows: Sequence[Row], by: str) -> dict[str, list[str]]:
    """Names of the cases that stay together."""
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row.name):
        found.setdefault(_column(row, by, "by"), []).append(row.name)
    return found


def _column(row: Row, column: str, argument: str) -> str:
    if column in ("patient", "case"):
        return row.patient if column == "patient" else row.name
    value = row.values.get(column)
    if value is None or value == "":
        raise ValueError(
            f"{row.where}: has no {column!r}, which {argument} names{shown(column, ['patient', *row.values])}"
        )
    return str(value)


def _fraction(seed: int, group: str) -> float:
    """A number in [0, 1) that depends on nothing else."""
    digest = hashlib.sha256(f"{int(seed)} {group}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _side(fraction: float, shares: Sequence[float]) -> int:
    total = 0.0
    for side, share in enumerate(shares[:-1]):
        total += share
        if fraction < total:
            return side
    return len(shares) - 1


def _tags(rows: Sequence[Row], balance: Sequence[str]) -> dict[str, list[str]]:
    """What is to be spread evenly, for each case: itself, its roles, and its place in each of the columns."""
    tags = {row.name: ["", *(f"role {role}" for role in row.sources)] for row in rows}
    for column in (balance,) if isinstance(balance, str) else balance:
        values = {row.name: _column(row, column, "balance") for row in rows}
        numbers = _numbers(values)
        ordered = sorted(numbers.values()) if numbers else []
        for name, value in values.items():
            place = value if numbers is None else f"tercile {3 * ordered.index(numbers[name]) // len(ordered)}"
            tags[name].append(f"{column} {place}")
    return tags


def _numbers(values: Mapping[str, str]) -> dict[str, float] | None:
    try:
        numbers = {name: float(value) for name, value in values.items()}
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers.values())) else None


def _balanced(
    groups: Mapping[str, list[str]], shares: Sequence[float], tags: Mapping[str, list[str]], seed: int
) -> dict[str, int]:
    """Assigns each group to the side that it brings nearest to its share of every tag."""
    whole: dict[str, int] = {}
    for name in sorted(tags):
        for tag in tags[name]:
            whole[tag] = whole.get(tag, 0) + 1
    counts = [dict.fromkeys(whole, 0) for _ in shares]
    order = sorted(groups, key=lambda group: (-len(groups[group]), _fraction(seed, group), group))
    side_of, empty = {}, set(range(len(shares)))
    for place, group in enumerate(order):
        own: dict[str, int] = {}
        for tag in (tag for name in groups[group] for tag in tags[name]):
            own[tag] = own.get(tag, 0) + 1
        # squared distance from the share, relative to the tag's number: how much this group adds to it
        costs = [
            sum((2 * (counts[side][tag] - share * whole[tag]) + n) * n / (share * whole[tag]) for tag, n in own.items())
            for side, share in enumerate(shares)
        ]
        allowed = empty if len(order) - place <= len(empty) else range(len(shares))  # no side stays empty
        side = min(allowed, key=lambda side: (costs[side], _fraction(seed, f"{group} {side}")))
        side_of[group] = side
        empty.discard(side)
        for tag, n in own.items():
            counts[side][tag] += n
    return side_of
