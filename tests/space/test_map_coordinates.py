"""`map_coordinates` beside `scipy.ndimage.map_coordinates`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import ndimage

import medjax as mj

MODES = ["constant", "nearest", "mirror", "reflect", "wrap", "grid-constant", "grid-wrap", "grid-mirror"]
SHAPES: dict[int, list[tuple[int, ...]]] = {1: [(17,), (1,), (2,)], 2: [(16, 5)], 3: [(7, 12, 5)], 4: [(5, 4, 3, 6)]}


def points_for(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Inside, on the edges and voxel centres, on half voxels where rounding ties, near and far outside."""
    rank, far = len(shape), max(shape)
    parts = [
        rng.uniform(-3 * far, 4 * far, (rank, 40)),
        np.stack([rng.uniform(-1, n, 40) for n in shape]),
        np.stack([rng.integers(-2 * n, 3 * n, 40) / 2 for n in shape]),
        np.stack([rng.choice([0, n - 1], 10) for n in shape]).astype(float),
    ]
    return np.concatenate(parts, axis=1)


def of_scipy(values: np.ndarray, points: np.ndarray, order: int, mode: str, cval: float) -> np.ndarray:
    """SciPy's result. Before 1.18 its filter for "reflect" is inexact at short axes, so it gets the reflections as samples."""
    if order < 2 or mode not in ("reflect", "grid-mirror"):
        return ndimage.map_coordinates(values, points, order=order, mode=mode, cval=cval)
    own, beyond = values, 64  # the filter forgets 0.43 a sample at least
    for axis, n in enumerate(values.shape):
        around = np.pad(own, [(beyond, beyond) if a == axis else (0, 0) for a in range(values.ndim)], mode="symmetric")
        own = ndimage.spline_filter1d(around, order, axis, mode="mirror").take(range(beyond, beyond + n), axis)
    return ndimage.map_coordinates(own, points, order=order, mode=mode, prefilter=False)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("mode", ["mirror", "reflect", "wrap", "grid-mirror", "grid-wrap"])
def test_splines_meet_their_samples(mode: Any, order: int) -> None:
    values = np.random.default_rng(order).normal(size=(4, 5, 3))
    at_samples = np.indices(values.shape).astype(float)
    with jax.enable_x64(True):
        found = mj.map_coordinates(jnp.asarray(values), jnp.asarray(at_samples), order, mode)
    np.testing.assert_allclose(found, values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_float64_equals_scipy(rank: int, mode: Any) -> None:
    rng = np.random.default_rng(rank)
    with jax.enable_x64(True):
        orders: list[int] = [0, 1, 3, 5] if mode == "reflect" else [0, 3]
        if rank < 3:
            orders = list(range(6))
        for shape in SHAPES[rank]:
            values, points = rng.normal(size=shape), points_for(shape, rng)
            for order in orders:
                ours = mj.map_coordinates(jnp.asarray(values), jnp.asarray(points), order, mode, 2.5)
                theirs = of_scipy(values, points, order, mode, 2.5)
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10, err_msg=f"{shape} order {order}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", range(6))
def test_float32_is_close(order: int, mode: Any) -> None:
    rng = np.random.default_rng(order)
    values = rng.uniform(-1, 1, (9, 8, 7)).astype(np.float32)
    points = np.stack([rng.uniform(-4, n + 4, 300) for n in values.shape]).astype(np.float32)
    ours = mj.map_coordinates(values, points, order, mode, 0.5)
    theirs = of_scipy(values.astype(np.float64), points, order, mode, 0.5)
    # SciPy places a float32 point on either side of a jump in float64; those few points are left out.
    near_jump = np.zeros(300, bool)
    for row, n in zip(points, values.shape, strict=True):
        near_jump |= np.abs(row % 0.5) < 1e-3 if order == 0 else (np.abs(row) < 1e-3) | (np.abs(row - n + 1) < 1e-3)
    assert near_jump.mean() < 0.1
    np.testing.assert_allclose(np.asarray(ours)[~near_jump], theirs[~near_jump], rtol=0, atol=2e-5 * 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.bool_])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_integers_are_rounded_as_by_scipy(dtype: type, order: int) -> None:
    rng = np.random.default_rng(0)
    limits = (0, 1) if dtype == np.bool_ else (max(np.iinfo(dtype).min, -30000), min(np.iinfo(dtype).max, 30000))
    values: np.ndarray = rng.integers(*limits, (15, 16), endpoint=True).astype(dtype)
    points = rng.uniform(-3, 20, (2, 200)).astype(np.float32)
    ours = mj.map_coordinates(values, points, order, "mirror")
    theirs = ndimage.map_coordinates(values, points, order=order, mode="mirror")
    assert ours.dtype == dtype
    # A value within float32 rounding of a half may round either way.
    assert np.abs(np.asarray(ours).astype(np.int64) - theirs.astype(np.int64)).max() <= 1
    assert (np.asarray(ours) != theirs).mean() < 0.03


@pytest.mark.parametrize("mode", ["constant", "grid-constant", "wrap"])
def test_complex_equals_scipy(mode: Any) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-3, 20, (2, 200))
    with jax.enable_x64(True):
        values: np.ndarray = rng.normal(size=(15, 16)) + 1j * rng.normal(size=(15, 16))
        ours = mj.map_coordinates(jnp.asarray(values), jnp.asarray(points), 3, mode, 1 - 2j)
    theirs = ndimage.map_coordinates(values, points, order=3, mode=mode, cval=1 - 2j)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_coefficients_are_taken_as_they_are() -> None:
    rng = np.random.default_rng(0)
    values, points = rng.normal(size=(15, 16)), rng.uniform(0, 14, (2, 50))
    with jax.enable_x64(True):
        ours = mj.map_coordinates(jnp.asarray(values), jnp.asarray(points), 3, "mirror", prefilter=False)
    theirs = ndimage.map_coordinates(values, points, order=3, mode="mirror", prefilter=False)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_output_has_the_shape_of_the_coordinates() -> None:
    values = jnp.arange(12.0).reshape(3, 4)
    out = mj.map_coordinates(values, [jnp.ones((2, 1)), jnp.asarray([[0.0, 1.0, 2.0]])], 1)
    assert out.tolist() == [[4.0, 5.0, 6.0], [4.0, 5.0, 6.0]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [1, 4])
def test_gradients(order: int, mode: Any) -> None:
    """By values, coordinates and fill, first and second, away from the kinks of order 1."""
    rng = np.random.default_rng(order)
    with jax.enable_x64(True):
        values = jnp.asarray(rng.normal(size=(6, 7)))
        points = jnp.asarray(np.stack([rng.integers(-3, n + 3, 8) + rng.uniform(0.1, 0.4, 8) for n in (6, 7)]))

        def call(values: jax.Array, points: jax.Array, cval: jax.Array) -> jax.Array:
            return mj.map_coordinates(values, points, order, mode, cval)

        order_of_derivative = 2 if mode == "mirror" else 1
        arguments = (values, points, jnp.asarray(0.3))
        check_grads(jax.jit(call), arguments, order=order_of_derivative, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 6}, "order must be an integer from 0 to 5, got 6"),
        ({"mode": "edge"}, "mode must be one of .* got 'edge'"),
        ({"coordinates": np.zeros((3, 4))}, "one row per axis"),
        ({"input": np.zeros((4, 4), np.float16)}, "too coarse"),
        ({"input": np.zeros((0, 4), np.float32)}, "empty"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_errors(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "input": np.zeros((4, 4), np.float32),
        "coordinates": np.zeros((2, 4)),
        "order": 1,
    } | change
    with pytest.raises(ValueError, match=message):
        mj.map_coordinates(**arguments)


def test_vmap_over_volumes_and_over_points() -> None:
    rng = np.random.default_rng(0)
    volumes = jnp.asarray(rng.normal(size=(3, 6, 7)).astype(np.float32))
    points = jnp.asarray(rng.uniform(0, 5, (3, 2, 4)).astype(np.float32))
    one = lambda v, p: mj.map_coordinates(v, p, 3, "reflect")  # noqa: E731
    both = jax.vmap(one)(volumes, points)
    shared = jax.vmap(one, in_axes=(None, 0))(volumes[0], points)
    np.testing.assert_allclose(both[1], one(volumes[1], points[1]), atol=1e-6)
    np.testing.assert_allclose(shared[2], one(volumes[0], points[2]), atol=1e-6)
    gradient = jax.grad(lambda v: jax.vmap(one, in_axes=(None, 0))(v, points).sum())(volumes[0])
    wanted = sum(jax.grad(lambda v, p=p: one(v, p).sum())(volumes[0]) for p in points)
    np.testing.assert_allclose(gradient, wanted, atol=1e-5)


def test_an_order_that_is_no_integer_is_refused_and_leaves_no_trace(unchecked: Any) -> None:
    volume, points = np.ones((6, 7, 8), np.float32), np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match="order must be an integer from 0 to 5"):
        mj.map_coordinates(volume, points, 1.0)  # type: ignore[arg-type]
    assert mj.map_coordinates(volume, points, np.int64(1)).tolist() == [1.0] * 4  # type: ignore[arg-type]
