"""Splits: no patient on two sides, nothing lost, the same whatever the order of the rows."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cohorts import scan
from hypothesis import given
from hypothesis import strategies as st

from medjax.data import Cohort, split

IMAGE = scan(0)


def cohort_of(visits: list[int], **columns: list[Any]) -> Cohort:
    """A patient for each number, with so many visits; columns are per patient."""
    rows = [
        {"case": f"p{p}_v{v}", "patient": f"p{p}", "ct": IMAGE} | {name: values[p] for name, values in columns.items()}
        for p, count in enumerate(visits)
        for v in range(count)
    ]
    return Cohort.of(rows)


def shuffled(cohort: Cohort, seed: int = 0) -> Cohort:
    order = list(range(len(cohort)))
    random.Random(seed).shuffle(order)
    return cohort[order]


@given(
    visits=st.lists(st.integers(1, 4), min_size=5, max_size=14), folds=st.integers(2, 5), seed=st.integers(0, 99),
    mode=st.just("balanced"),
)  # fmt: skip
def test_folds_share_no_patient_and_are_the_cohort(visits: list[int], folds: int, seed: int, mode: Any) -> None:
    cohort = cohort_of(visits)
    found = split(cohort, folds=folds, seed=seed, mode=mode)
    assert len(found) == folds
    for fold in found:
        assert not set(fold.train.patients) & set(fold.validation.patients)
        assert sorted(fold.train.names + fold.validation.names) == sorted(cohort.names)
    assert sorted(name for fold in found for name in fold.validation.names) == sorted(cohort.names)
    again = split(shuffled(cohort, seed), folds=folds, seed=seed, mode=mode)
    assert [f.validation.names for f in again] == [f.validation.names for f in found]
    assert [f.train.names for f in again] == [f.train.names for f in found]


def test_a_share_gives_a_pair_of_the_right_size() -> None:
    for seed in range(5):
        train, validation = split(cohort_of([1] * 20), share=0.8, seed=seed)
        assert (len(train), len(validation)) == (16, 4)
    assert len({split(cohort_of([1] * 20), share=0.8, seed=seed).validation.names for seed in range(5)}) == 5
    assert len(split(cohort_of([1] * 5))) == 5, "five folds are the default"


def test_columns_and_roles_are_spread_evenly() -> None:
    """40 patients, a quarter from site B, a volume each: every fold of 8 has 2 of B, and some of each tercile, of 2.7 that it should have."""
    site = ["B" if p % 4 == 0 else "A" for p in range(40)]
    volume = [float((7 * p) % 40) for p in range(40)]
    folds = split(cohort_of([1] * 40, site=site, ml=volume), folds=5, balance=["site", "ml"])
    for fold in folds:
        cases = list(fold.validation)
        assert len(cases) == 8
        assert sum(case.values["site"] == "B" for case in cases) == 2
        assert all(
            1 <= sum(low <= case.values["ml"] < low + 40 / 3 for case in cases) <= 4 for low in (0, 40 / 3, 80 / 3)
        )
    half = [{"case": f"c{n:02d}", "ct": IMAGE} | ({"seg": IMAGE} if n < 10 else {}) for n in range(20)]
    for fold in split(Cohort.of(half), folds=5):
        assert sum("seg" in case for case in fold.validation) == 2


def test_stable_folds_never_move_a_patient() -> None:
    few, many = cohort_of([2] * 30), cohort_of([2] * 60)
    for options in ({"folds": 4}, {"share": 0.7}):
        old, new = (split(cohort, mode="stable", seed=3, **options) for cohort in (few, many))  # type: ignore[call-overload]
        for one, other in zip([old] if "share" in options else old, [new] if "share" in options else new, strict=True):
            assert set(one.validation.names) == set(other.validation.names) & set(few.names)
    share = len(split(cohort_of([1] * 400), share=0.7, mode="stable").train) / 400
    assert share == pytest.approx(0.7, abs=3.3 * (0.7 * 0.3 / 400) ** 0.5)  # 3.3 deviations of a binomial


def test_groups_by_a_column_and_by_case() -> None:
    cohort = cohort_of([2] * 6, site=["a", "a", "b", "b", "c", "c"])
    for fold in split(cohort, folds=3, by="site"):
        sides = [{case.values["site"] for case in side} for side in fold]
        assert not sides[0] & sides[1]
    assert len(split(cohort, folds=12, by="case")) == 12


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("give folds=5 or share=0.5, not both", {"folds": 5, "share": 0.5}),
    ("folds must be a whole number of at least 2, got 1", {"folds": 1}),
    ("share must be a number between 0 and 1, got 80", {"share": 80}),
    ("has 4 groups by 'patient', too few for 5 sides", {"folds": 5}),
    (r"row 0 \(case 'p0_v0'\): has no 'cite', which by names; did you mean 'site'", {"by": "cite", "folds": 2}),
    ("has no 'volume', which balance names", {"balance": ["volume"], "folds": 2}),
    ("mode must be 'balanced' or 'stable'", {"mode": "random", "folds": 2}),
    ("seed must be a whole number, got 0.5", {"seed": 0.5, "folds": 2}),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("message", "arguments"), WRONG)
def test_a_wrong_argument_is_named(message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        split(cohort_of([1] * 4, site=["a"] * 4), **arguments)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_cohort_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cohort must be a Cohort, got list; Cohort\.of makes one"):
        split([{"case": "a"}])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cohort is empty"):
        split(cohort_of([1])[:0])


def test_a_side_that_chance_leaves_empty() -> None:
    """Of two patients, each of whom is on the smaller side with a chance of 0.1."""
    with pytest.raises(ValueError, match="a side of the split would be empty"):
        split(cohort_of([1] * 2), share=0.999, mode="stable")
