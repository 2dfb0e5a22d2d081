"""The table of ways: one result of every public operation, however it is called.

Rows are operations (ways_operations.py), columns are ways to call them (ways_calls.py); images and parameters are drawn at
random from a seed that the test's name and the end of the report state. `make ways` runs twenty seeds;
`MEDJAX_WAYS_SEEDS=7,8` chooses them.
"""

from __future__ import annotations

import inspect
import os

import pytest
from ways_calls import WAYS, problems
from ways_cases import draw_case
from ways_operations import OPERATIONS, WITHOUT_ROW

import medjax as mj

SEEDS = [int(seed) for seed in os.environ["MEDJAX_WAYS_SEEDS"].split(",")]
ROWS = [(name, kind) for name, operation in OPERATIONS.items() for kind in operation.kinds]


@pytest.mark.filterwarnings("ignore:the image and the grid do not overlap")
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed{seed}")
@pytest.mark.parametrize(("name", "kind"), ROWS)
def test_one_result_in_every_way(name: str, kind: str, seed: int) -> None:
    case = draw_case(name, OPERATIONS[name], kind, seed)
    wrong = [f"{way}: {text}" for way in WAYS for text in problems(case, way)]
    assert not wrong, "\n  ".join([f"{name} of {case}, MEDJAX_WAYS_SEEDS={seed}", *wrong])


def test_every_public_function_has_a_row() -> None:
    public = {name for name in dir(mj) if inspect.isroutine(getattr(mj, name))}
    rows = {operation.function for operation in OPERATIONS.values()}
    assert public - rows == set(WITHOUT_ROW)
