"""Values as 16-bit integers with slope and intercept: the bound on what changes, and what does not change at all."""

from __future__ import annotations

from pathlib import Path

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pydicom
import pytest
from hypothesis import given

import medjax as mj

# Private: the encoding. A file only shows the result of its rounding.
from medjax.io._dicom._quantize import encoding_for

RANGES = [(-1e30, 1e30), (-32000.0, 32000.0), (0.0, 65000.0), (-1.0, 3000.0), (1e5, 1.1e5), (-1e-7, 1e-7)]


@given(
    st.sampled_from(RANGES).flatmap(
        lambda ends: hnp.arrays(np.float64, (2, 3, 2), elements=st.floats(*ends, allow_subnormal=False))
    ),
    st.booleans(),
)
def test_no_value_changes_by_more_than_half_a_step(values: np.ndarray, needs_zero_intercept: bool) -> None:
    encoding = encoding_for(values, Path("x"), needs_zero_intercept=needs_zero_intercept)
    assert (float(encoding.slope_text), float(encoding.intercept_text)) == (encoding.slope, encoding.intercept)
    assert max(len(encoding.slope_text), len(encoding.intercept_text)) <= 16
    assert not (needs_zero_intercept and encoding.intercept)
    back = encoding.stored(values) * encoding.slope + encoding.intercept
    size = np.abs(values).max()
    # Half a step, the rounding of float64, and of the intercept's 10 digits where it is no short decimal.
    assert np.abs(back - values).max() <= encoding.slope / 2 + size * (1e-15 + 1e-9 * (abs(encoding.intercept) > 2**40))
    widest = 2 * size if needs_zero_intercept else np.ptp(values)
    assert encoding.slope <= max(2 * widest / 65532 * (1 + 1e-8), 2.0**-15, 1.0 * (values == np.rint(values)).all())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ends", [(0.0, 40000.0), (-20000.0, 30000.0), (100000.0, 150000.0)])
def test_a_slope_of_one_rounds_what_is_not_whole(ends: tuple[float, float], dtype: type) -> None:
    values: np.ndarray = np.linspace(*ends, 4003).astype(dtype).reshape(1, 1, -1)
    encoding = encoding_for(values, Path("x"), needs_zero_intercept=False)
    assert encoding.slope == 1.0
    back = encoding.stored(values) * encoding.slope + encoding.intercept
    assert 0.4 < np.abs(back - values.astype(np.float64)).max() <= 0.5


@pytest.mark.parametrize("low", [0.0, -0.3, -1000.7])
@pytest.mark.parametrize("high", [0.9, 3071.3, 66454.1])
def test_zero_stays_zero(low: float, high: float) -> None:
    values = np.array([[[low, 0.0, high]]])
    encoding = encoding_for(values, Path("x"), needs_zero_intercept=False)
    assert encoding.stored(values)[0, 0, 1] * encoding.slope + encoding.intercept == 0.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-32768, 32767], (1.0, 0.0, True)),
        ([0, 65535], (1.0, 0.0, False)),
        ([1000, 66000], (1.0, 33768.0, True)),
        ([-70000, -5000], (1.0, -37232.0, True)),
        ([2**31 - 65536, 2**31 - 1], (1.0, 2.0**31 - 32768, True)),
        ([2**31 - 1000, 2**31 - 1], (1.0, 2.0**31 - 32768, True)),
        ([2**31 - 1000, 2**31], (1.0, 2.0**31 + 31768, True)),
        ([-(2**31), -(2**31) + 9], (1.0, -(2.0**31) + 32768, True)),
        ([0.0, 40000.0], (1.0, 0.0, False)),
        ([0, 65536], (2.0, 0.0, False)),
        ([0.0, 0.25], (3.8148136883e-06, 0.0, False)),
    ],
)
def test_chosen_encodings(values: list[float], expected: tuple[float, float, bool]) -> None:
    encoding = encoding_for(np.array([[values]]), Path("x"), needs_zero_intercept=False)
    assert (encoding.slope, encoding.intercept, encoding.is_signed) == expected


@pytest.mark.parametrize("span", [9, 65535])
@pytest.mark.parametrize(
    "low", [2**31 - 65536, 2**31 - 40000, 2**31, 2**31 + 7, 2**40, 10**13 - 65536, -(2**31) - 5, -(10**13) + 1]
)
def test_whole_numbers_beyond_32_bits_come_back(low: int, span: int, tmp_path: Path) -> None:
    """`value = stored * 1 + intercept` in Python's numbers, from the file (PS3.3 section C.11.1), and as it is loaded."""
    values = low + np.array([0, 1, span // 2, span - 1, span], np.int64)
    mj.io.save_dicom_series(mj.Image.from_array(values.reshape(1, 5, 1)), tmp_path / "series")
    (path,) = (tmp_path / "series").iterdir()
    dataset = pydicom.dcmread(path)
    assert dataset.RescaleSlope == 1
    stored = [int(value) + int(dataset.RescaleIntercept) for value in dataset.pixel_array.ravel()]
    assert stored == values.tolist()
    voxels = np.asarray(mj.load_image(tmp_path / "series").voxels)
    assert voxels.dtype.kind == "i"
    assert voxels.ravel().tolist() == values.tolist()
