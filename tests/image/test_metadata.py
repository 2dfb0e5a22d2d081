"""What a scan is, apart from voxels and geometry: immutable, exact in JSON, silent about the patient."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax import Metadata

FULL = Metadata(
    modality="PT",
    subtype="FDG",
    patient_id="ID-4711",
    patient_uid="2.25.1",
    study_uid="2.25.2",
    series_uid="2.25.3",
    study_description="Ganzkörper «früh»",
    acquisition_time=dt.datetime(2024, 2, 29, 23, 59, 59, 123456, dt.timezone(dt.timedelta(hours=-5))),
    source="scan.nii.gz",
    is_contrast_administered=False,
    display={"window_center": 40.0},
    clinical={"weight_kg": 71.5},
    extra={"Units": "BQML", "slopes": [1.0, 2.5], "nested": {"a": None}},
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_a_field_that_is_not_stated_is_none() -> None:
    nothing = Metadata()
    stated = {field.name: getattr(nothing, field.name) for field in dataclasses.fields(nothing)}
    assert {name for name, value in stated.items() if value is not None} == {"display", "clinical", "extra"}
    assert not any(stated[name] for name in ("display", "clinical", "extra"))
    assert nothing.to_json() == "{}"


@pytest.mark.parametrize("metadata", [FULL, Metadata(), Metadata(is_contrast_administered=False)])
def test_json_pickle_and_copies_give_the_same(metadata: Metadata) -> None:
    assert Metadata.from_json(metadata.to_json()) == metadata
    assert pickle.loads(pickle.dumps(metadata)) == metadata
    assert copy.deepcopy(metadata) is metadata
    assert copy.copy(metadata) == metadata


@given(extra=st.dictionaries(st.text(max_size=9), values, max_size=4), text=st.text(max_size=20))
def test_json_keeps_what_json_can_hold(extra: dict[str, Any], text: str) -> None:
    metadata = Metadata(extra=extra, study_description=text)
    assert Metadata.from_json(metadata.to_json()) == metadata


def test_json_keeps_what_is_not_a_number() -> None:
    assert math.isnan(Metadata.from_json(Metadata(extra={"x": math.nan}).to_json()).extra["x"])


def test_json_keeps_fields_of_a_later_version() -> None:
    read = Metadata.from_json('{"modality": "MR", "colour": "blue", "extra": {"a": 1}}')
    assert (read.modality, dict(read.extra)) == ("MR", {"a": 1, "colour": "blue"})


@pytest.mark.parametrize("text", ['{"extra": null}', '{"display": null, "modality": "CT"}'])
def test_json_with_null_mappings_reads_as_empty(text: str) -> None:
    assert dict(Metadata.from_json(text).extra) == {}


def test_json_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        Metadata(extra={"x": object()}).to_json()
    with pytest.raises(json.JSONDecodeError):
        Metadata.from_json("{")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "metadata are a JSON object, the text holds a list"),
        ('"CT"', "holds a str"),
        ("null", "holds a NoneType"),
        ('{"extra": [["a", 1]]}', "field extra must be a JSON object, it is a list"),
        ('{"clinical": 3}', "field clinical must be a JSON object, it is a int"),
        ('{"patient_id": 4711}', "field patient_id must be a text, it is a int"),
        ('{"is_contrast_administered": "no"}', "field is_contrast_administered must be a truth value, it is a str"),
        ('{"acquisition_time": 4711}', "field acquisition_time must be a text"),
        ('{"acquisition_time": "noon 4711"}', "acquisition_time is no time in ISO 8601"),
    ],
)
def test_json_of_something_else_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Metadata.from_json(text)
    assert "4711" not in str(caught.value)


def test_json_nested_beyond_the_interpreter_is_a_value_error() -> None:
    """Python's own decoder and encoder raise RecursionError, from 1,000 levels or some 100,000 on, by version."""
    with pytest.raises(ValueError, match="nested too deeply"):
        Metadata.from_json('{"extra": ' + '{"a": ' * 200_000 + "1" + "}" * 200_001)
    deep: Any = 1
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        Metadata(extra={"x": deep}).to_json()
    while isinstance(deep, list):  # or the interpreter takes it apart by recursion
        deep = deep.pop()


def test_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.modality = "CT"  # type: ignore[misc]
    with pytest.raises(TypeError):
        FULL.extra["Units"] = "CNTS"  # type: ignore[index]
    source = {"a": 1}
    metadata = Metadata(extra=source)
    source["a"] = 2
    assert metadata.extra["a"] == 1


def test_replace_changes_one_field() -> None:
    changed = FULL.replace(subtype="SUVbw")
    assert changed.subtype == "SUVbw"
    assert changed.replace(subtype="FDG") == FULL
    with pytest.raises(TypeError, match="colour"):
        FULL.replace(colour="blue")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Metadata)])
def test_equality_sees_every_field(field: str) -> None:
    assert FULL.replace(**{field: {} if field in ("display", "clinical", "extra") else None}) != FULL


def test_repr_says_what_is_there_but_not_who() -> None:
    assert repr(Metadata(modality="CT", patient_id="ID-4711")) == "Metadata(modality='CT', patient_id=<withheld>)"
    assert "4711" not in repr(FULL)
    assert "2.25.1'" not in repr(FULL)
    assert "extra=<3 fields>" in repr(FULL)
