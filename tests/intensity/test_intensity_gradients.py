"""Derivatives of intensity operations: forward, reverse and differences agree; constants, ties and NaN stay finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from intensity_cases import OPERATIONS, SHAPE, scan

import medjax as mj
from medjax import Image

EACH = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def check_derivative(function: Callable[[Any], Any], x: Any, *, step: float = 1e-4) -> None:
    """Compares jvp, vjp and central differences along a random direction, in float64 (1e-6 is the differences' own error)."""
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda v: rng.normal(size=np.shape(v)), x)

    @jax.jit
    def everything(x: Any, direction: Any, weights: Any) -> Any:
        y, moved = jax.jvp(function, (x,), (direction,))
        pulled = jax.vjp(function, x)[1](weights)[0]
        return y, moved, sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), pulled, direction)))

    with jax.enable_x64(True):
        weights = rng.normal(size=jax.eval_shape(function, x).shape)
        y, moved, pulled = everything(x, direction, weights)
        ahead, behind = (
            np.asarray(
                everything(jax.tree.map(lambda v, d, s=sign: v + s * step * d, x, direction), direction, weights)[0]
            )
            for sign in (1, -1)
        )
    y, moved = np.asarray(y), np.asarray(moved)
    scale = np.abs(moved).max()
    assert scale > 0
    np.testing.assert_allclose((ahead - behind) / (2 * step), moved, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(pulled, (weights * moved).sum(), rtol=1e-9, atol=1e-9 * np.abs(y).max())


@EACH
def test_voxels_against_differences(operation: Any) -> None:
    image = scan(dtype=np.float64)
    check_derivative(lambda voxels: operation(image.with_voxels(voxels)).voxels, image.voxels)


PARAMETERS: dict[str, tuple[Any, Any]] = {
    "clip": (lambda i, p: mj.clip(i, p[0], p[1]), (-700.3, 200.1)),
    "rescale": (lambda i, p: mj.rescale(i, p[0], p[1]), (1.5, 3.0)),
    "window_linear": (lambda i, p: mj.window(i, p[0], p[1], range=(p[2], p[3])), (-500.0, 900.0, -1.0, 3.0)),
    "window_exact": (lambda i, p: mj.window(i, p[0], p[1], function="linear_exact"), (-500.0, 900.0)),
    "window_sigmoid": (
        lambda i, p: mj.window(i, p[0], p[1], function="sigmoid", range=(0, p[2])),
        (-500.0, 900.0, 2.0),
    ),
    "min_max": (lambda i, p: mj.min_max_normalize(i, range=(p[0], p[1])), (-1.0, 2.0)),
    "landmarks": (
        lambda i, p: mj.nyul_transform(i, mj.NyulLandmarks(jnp.stack(p), (1.0, 50.0, 99.0))),
        (0.0, 40.0, 100.0),
    ),
}


@pytest.mark.parametrize(("operation", "values"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_against_differences(operation: Any, values: Any) -> None:
    image = scan(dtype=np.float64)
    check_derivative(lambda p: operation(image, p).voxels, tuple(np.float64(v) for v in values), step=1e-5)


def test_reference_and_training_images_against_differences() -> None:
    image, other = scan(dtype=np.float64), scan(2, dtype=np.float64)
    check_derivative(lambda v: mj.histogram_match(image, other.with_voxels(v), points=4).voxels, other.voxels)
    check_derivative(
        lambda v: mj.nyul_train([image, other.with_voxels(v)], percentiles=(1, 40, 99)).values, other.voxels
    )


@EACH
def test_constant_images_have_finite_gradients(operation: Any) -> None:
    gradient = jax.jit(jax.grad(lambda voxels: (operation(scan().with_voxels(voxels)).voxels * half()).sum()))
    for value in (0.0, 0.1, -700.0):
        assert np.isfinite(np.asarray(gradient(np.full(SHAPE, value, np.float32)))).all(), value


def half() -> np.ndarray:
    return np.linspace(-1, 1, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE)


def test_z_score_of_a_constant_has_the_gradient_of_a_shift() -> None:
    image = scan().with_voxels(np.full(SHAPE, 0.1, np.float32))
    gradient = jax.grad(lambda voxels: (mj.z_score_normalize(image.with_voxels(voxels)).voxels * half()).sum())(
        image.voxels
    )
    np.testing.assert_allclose(gradient, half() - half().mean(), atol=1e-6)


def test_a_voxel_outside_the_mask_at_the_mask_s_maximum_moves_along_the_line() -> None:
    voxels, inside = (
        np.array([0.0, 1.0, 4.0, 4.0], np.float32).reshape(4, 1, 1),
        np.array([1, 1, 1, 0]).reshape(4, 1, 1),
    )
    jacobian = jax.jacrev(lambda v: mj.min_max_normalize(Image.from_array(v), mask=inside).voxels.ravel())(voxels)
    # y = (x - min) / (max - min): the maximum stays 1 wherever it goes, the voxel beside it does not.
    wanted: list[list[float]] = [[0, 0, 0, 0], [-3 / 16, 1 / 4, -1 / 16, 0], [0, 0, 0, 0], [0, 0, -1 / 4, 1 / 4]]
    np.testing.assert_allclose(jacobian.reshape(4, 4), wanted, atol=1e-6)


@EACH
def test_nan_reaches_no_gradient(operation: Any) -> None:
    image = scan()
    voxels = image.voxels.copy()
    voxels[::2, 1::3] = np.nan
    is_nan = np.isnan(voxels)

    def loss(voxels: Any) -> Any:
        out = operation(image.with_voxels(voxels)).voxels
        return jnp.where(is_nan, 0, out * half()).sum()

    gradient = np.asarray(jax.jit(jax.grad(loss))(voxels))
    assert np.isfinite(gradient).all()
    assert (gradient[is_nan] == 0).all()
    assert np.abs(gradient[~is_nan]).max() > 0


@pytest.mark.parametrize(("operation", "values"), PARAMETERS.values(), ids=PARAMETERS)
def test_odd_voxels_reach_no_parameter(operation: Any, values: Any) -> None:
    image = scan()

    def loss(parameters: Any, voxels: Any) -> Any:
        out = operation(image.with_voxels(voxels), parameters).voxels
        return jnp.where(jnp.isfinite(voxels), out * half(), 0).sum()

    slopes = jax.jit(jax.grad(loss))
    for odd in (np.nan, np.inf, -np.inf):
        voxels = image.voxels.copy()
        voxels[::2, 1::3] = odd
        gradients = np.asarray(slopes(tuple(jnp.float32(v) for v in values), voxels))
        assert np.isfinite(gradients).all(), odd
        assert np.abs(gradients).max() > 0, odd


def test_an_image_is_a_pytree_to_differentiate() -> None:
    image = scan()
    gradient = jax.grad(lambda image: (mj.z_score_normalize(image).voxels ** 3).sum(), allow_int=True)(image)
    assert isinstance(gradient, Image)
    # A z-score does not change under shift and scale: its gradient is orthogonal to both.
    exact = np.asarray(gradient.voxels, np.float64)
    assert abs(exact.sum()) < 1e-4 * np.abs(exact).sum()
    assert abs((exact * image.voxels).sum()) < 1e-4 * np.abs(exact * image.voxels).sum()
