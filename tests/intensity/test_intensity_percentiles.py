"""Percentiles: exact beyond 2^24 voxels, for any dtype and any floats, and their derivative."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

import medjax as mj
from medjax import Image

# Private: ranks beyond 2^24 values. An image that shows them takes gigabytes.
from medjax._intensity._percentile import _ranks, percentiles_of_rows
from medjax._intensity._percentile import fixed_point as fixed_point_of

QS = (0.0, 0.1, 1.0, 12.5, 33.3, 50.0, 66.7, 99.0, 99.9, 100.0)


def fixed_point(qs: Any) -> jax.Array:
    return jnp.asarray(fixed_point_of(qs))


def percentiles(rows: Any, qs: Any = QS, where: Any = None) -> np.ndarray:
    where = np.ones(rows.shape, bool) if where is None else where
    return np.asarray(jax.jit(percentiles_of_rows)(jnp.asarray(rows), jnp.asarray(where), fixed_point(qs)))


def ulps(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest distance in roundings of float32; 1e-37 stands for the numbers that a CPU may flush to 0."""
    return float(
        (
            np.abs(found.astype(np.float64) - wanted) / np.maximum(np.spacing(np.abs(wanted).astype(np.float32)), 1e-37)
        ).max()
    )


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32, np.uint8, np.uint32])
def test_numpy_s_percentiles_of_any_dtype(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    rows = (
        rng.normal(0, 90, (3, 1001)) if np.issubdtype(dtype, np.signedinteger) else rng.gamma(1, 30, (3, 1001))
    ).astype(dtype)
    where = rng.random(rows.shape) < 0.6
    wanted = np.stack([np.percentile(row[w].astype(np.float64), QS) for row, w in zip(rows, where, strict=True)])
    # Interpolation is two roundings of float32; integers this small are exact before it.
    assert ulps(percentiles(rows, where=where), wanted) <= 2


def test_float64_percentiles_where_x64_is_on() -> None:
    rows = np.random.default_rng(0).normal(0, 1, (2, 501))
    with jax.enable_x64(True):
        found = percentiles(rows)
    assert found.dtype == np.float64
    for row, ordered in zip(found, np.sort(rows), strict=True):
        for q, value in zip(QS, row, strict=True):
            rank = Fraction(q) / 100 * 500  # NumPy's own is rounded
            low, high = (Fraction(float(ordered[min(int(rank) + n, 500)])) for n in (0, 1))
            assert abs(Fraction(float(value)) - (low + (rank - int(rank)) * (high - low))) <= 2 * np.spacing(abs(value))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 2**24 - 1, 2**24, 2**24 + 3, 50_000_001, 2**31 - 1])
def test_ranks_are_exact(count: int) -> None:
    floor, fraction = _ranks(jnp.asarray([count], jnp.int32), fixed_point(QS))
    for n, q in enumerate(QS):
        exact = Fraction(q) / 100 * (count - 1)
        found = int(floor[0, n]) + Fraction(float(fraction[0, n]))
        assert abs(found - exact) <= Fraction(1, 2**24), "one rounding of the fraction"


def test_beyond_2_to_the_24_voxels() -> None:
    # All voxels differ, so that a rank off by one shows: consecutive floats from 1 on, shuffled.
    count = 2**24 + 2**18 + 3
    ordered = (np.arange(count, dtype=np.int32) + np.float32(1).view(np.int32)).view(np.float32)
    voxels = np.concatenate([ordered[count // 2 :], ordered[: count // 2]])
    for q in (0.1, 25.0, 97.3, 99.999):
        exact = Fraction(q) / 100 * (count - 1)
        below = int(exact)
        found = percentiles(voxels.reshape(1, -1), (q, 100.0))[0, 0]
        assert ordered[below] <= found <= ordered[below + 1]
        assert np.float32(int(np.float32(q / 100 * (count - 1)))) != exact, "float32 cannot hold this rank"


def test_percentile_normalize_beyond_2_to_the_24_voxels() -> None:
    count, qs = 17_000_001, (99.9003, 99.9013)  # ranks 16983051 and 16983221, of which float32 has neither
    voxels = (np.arange(count, dtype=np.int32) + np.float32(1).view(np.int32)).view(np.float32)[::-1].copy()
    out = mj.percentile_normalize(Image.from_array(voxels.reshape(-1, 1, 1)), percentiles=qs, outside="extend").voxels
    # The window spans 170 voxels: a percentile that is off by one voxel moves the result by 0.006.
    low, high = voxels[::-1][[16983051, 16983221]].astype(np.float64)
    near = np.abs(voxels - low) < 2 * (high - low)
    assert near.sum() > 500
    np.testing.assert_allclose(np.asarray(out).ravel()[near], (voxels[near] - low) / (high - low), rtol=0, atol=1e-4)


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)


@given(
    st.lists(FLOATS | st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0**-100]), min_size=1, max_size=12),
    st.integers(0, 2**12 - 1),
)
def test_order_statistics_of_odd_floats(values: list[float], bits: int) -> None:
    row = np.full(12, np.nan, np.float32)  # one shape, one compilation
    row[: len(values)] = values
    where = np.array([bits >> n & 1 for n in range(12)], bool) & ~np.isnan(row)
    found = percentiles(row[None], (0.0, 50.0, 100.0), where[None])[0]
    if not where.any():
        assert (found == 0).all()
        return
    wanted = np.percentile(row[where].astype(np.float64), (0, 50, 100))
    assert found[0] == wanted[0]
    assert found[2] == wanted[2]
    # Half of a sum of opposite numbers is rounded where they are large.
    assert abs(found[1] - wanted[1]) <= 2 * np.spacing(np.abs(row[where]).max())


def test_an_image_closed_over_is_not_folded_by_the_compiler() -> None:
    # XLA would run the first histogram at compile time, for half a minute where the image is large.
    image = Image.from_array(np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32))

    def scatters(function: Any, *images: Image) -> int:
        return str(jax.jit(function).lower(*images).compile().as_text()).count(" scatter(")

    as_argument = scatters(lambda i, r: mj.histogram_match(i, r, points=5).voxels, image, image)
    assert scatters(lambda i: mj.histogram_match(i, image, points=5).voxels, image) == as_argument > 0


# --- Derivative ------------------------------------------------------------------------------------------------------


def of_all(rows: Any, qs: Any) -> jax.Array:
    return percentiles_of_rows(jnp.asarray(rows), jnp.ones(rows.shape, bool), fixed_point(qs))


def test_gradient_goes_to_the_voxels_on_both_sides() -> None:
    row = np.array([[5.0, 1.0, 3.0, 2.0, 4.0]], np.float32)
    gradient = jax.jit(jax.grad(lambda row: of_all(row, (30, 80))[0, 0]))(row)
    # Rank 0.3 * 4 = 1.2: 0.8 of the second smallest and 0.2 of the third.
    np.testing.assert_allclose(gradient, [[0, 0, 0.2, 0.8, 0]], atol=1e-6)


def test_equal_voxels_share_a_gradient() -> None:
    row = np.array([[7.0, 7.0, 1.0, 7.0, 7.0, 9.0]], np.float32)
    where = jnp.asarray([[True, True, True, True, False, True]])
    gradient = jax.jit(jax.grad(lambda row: percentiles_of_rows(row, where, fixed_point((50, 100)))[0, 0]))(row)
    np.testing.assert_allclose(gradient, [[1 / 3, 1 / 3, 0, 1 / 3, 0, 0]], atol=1e-6)


def test_derivatives_against_differences() -> None:
    rng = np.random.default_rng(0)
    where = jnp.asarray(rng.random((2, 41)) < 0.7)
    with jax.enable_x64(True):
        rows = jnp.asarray(rng.permutation(82).reshape(2, 41) + rng.uniform(-0.2, 0.2, (2, 41)))
        squared = jax.jit(lambda r: percentiles_of_rows(r, where, fixed_point((0.0, 17.0, 60.0, 100.0))) ** 2)
        check_grads(squared, (rows,), 1, atol=1e-6, rtol=1e-6, eps=1e-4)


def test_second_derivatives() -> None:
    # A percentile is linear between ties, so that its square has the Hessian 2 J^T J.
    row = np.random.default_rng(0).permutation(11).astype(np.float32)[None]
    jacobian = jax.jit(jax.jacrev(lambda row: of_all(row, (17, 60))[0]))(row).reshape(2, 11)
    hessian = jax.jit(jax.hessian(lambda row: (of_all(row, (17, 60)) ** 2).sum()))(row).reshape(11, 11)
    assert (np.abs(jacobian).sum(1) > 0.99).all()
    np.testing.assert_allclose(hessian, 2 * jacobian.T @ jacobian, atol=1e-6)


def test_forward_and_reverse_agree_under_vmap() -> None:
    rng = np.random.default_rng(0)
    rows, tangent = (jnp.asarray(rng.normal(size=(3, 2, 50)), jnp.float32) for _ in range(2))
    weights = jnp.asarray(rng.normal(size=(3, 2, 2)), jnp.float32)
    mapped = jax.jit(jax.vmap(lambda rows: of_all(rows, (20, 70))))
    found, moved = jax.jvp(mapped, (rows,), (tangent,))
    _, pull = jax.vjp(mapped, rows)
    np.testing.assert_allclose((pull(weights)[0] * tangent).sum(), (weights * moved).sum(), rtol=1e-5)
    np.testing.assert_array_equal(found, percentiles(rows.reshape(6, 50), (20, 70)).reshape(3, 2, 2))
