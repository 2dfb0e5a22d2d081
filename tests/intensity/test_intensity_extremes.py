"""Intensities at the ends of what float32 holds, and images without any: a defined result or a clear error, never NaN."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from intensity_cases import EPS, SHAPE, scan

import medjax as mj
from medjax import Image

LARGEST = float(np.finfo(np.float32).max)


def image_of(*values: float) -> Image:
    return Image.from_array(np.array(values, np.float32).reshape(-1, 1, 1))


HUGE = image_of(-3e38, 0, 3e38, 1)


@pytest.mark.parametrize("image", [HUGE, image_of(-LARGEST, 0, LARGEST, 1)], ids=["3e38", "largest"])
def test_a_span_beyond_float32_is_mapped(image: Image) -> None:
    x = np.asarray(image.voxels, np.float64).ravel()
    z_score, half = (x - x.mean()) / x.std(ddof=1), [0, 0.5, 1, 0.5]
    cases: list[tuple[Image, Any]] = [
        (mj.z_score_normalize(image), z_score),
        (mj.min_max_normalize(image), half),
        (mj.percentile_normalize(image, percentiles=(0, 100)), half),
        (mj.nyul_transform(image, mj.NyulLandmarks(np.array([0.0, 1.0]), (0.0, 100.0))), half),
        (mj.histogram_match(image, image_of(0, 0.5, 0.5, 1), points=1), half),
    ]
    for found, wanted in cases:
        np.testing.assert_allclose(np.ravel(found.voxels), wanted, rtol=0, atol=4 * EPS)
    values = mj.nyul_train([image], percentiles=(0, 25, 50, 100)).values
    np.testing.assert_allclose(values, [0, 37.5, 50, 100], rtol=8 * EPS)
    for points in (1, 63):
        same = mj.histogram_match(image, image, points=points).voxels
        np.testing.assert_allclose(np.ravel(same), x, rtol=0, atol=8 * EPS * LARGEST)


def test_a_span_whose_reciprocal_is_subnormal_is_mapped() -> None:
    image = image_of(0, 1.5e38, 3e38)
    for found in (mj.min_max_normalize(image), mj.percentile_normalize(image, percentiles=(0, 100))):
        np.testing.assert_allclose(np.ravel(found.voxels), [0, 0.5, 1], rtol=4 * EPS)


def test_the_mean_as_background_holds_for_a_huge_span() -> None:
    values = mj.nyul_train([HUGE], percentiles=(0, 100), background="mean").values
    np.testing.assert_array_equal(values, [0, 100])


def test_huge_float64_is_mapped_where_x64_is_on() -> None:
    with jax.enable_x64(True):
        image = Image.from_array(np.array([-1.5e308, 0, 1.5e308, 0]).reshape(4, 1, 1))
        np.testing.assert_allclose(np.ravel(mj.min_max_normalize(image).voxels), [0, 0.5, 1, 0.5], rtol=1e-15)
        np.testing.assert_allclose(
            np.ravel(mj.z_score_normalize(image).voxels), np.sqrt(1.5) * np.array([-1, 0, 1, 0]), rtol=1e-15
        )


@pytest.mark.parametrize("operation", [mj.z_score_normalize, mj.min_max_normalize, mj.percentile_normalize])
def test_gradients_of_a_huge_span_are_finite(operation: Any) -> None:
    def total(voxels: Any) -> Any:
        return (operation(HUGE.with_voxels(voxels)).voxels * jnp.arange(4.0).reshape(4, 1, 1)).sum()

    assert np.isfinite(jax.jit(jax.grad(total))(HUGE.voxels)).all()


def test_huge_constants_inside_a_mask_are_shifted_not_scaled() -> None:
    out = mj.z_score_normalize(image_of(2e38, 2e38, 1e38), mask=np.array([1, 1, 0]).reshape(3, 1, 1))
    np.testing.assert_array_equal(np.ravel(out.voxels), np.array([0, 0, -1e38], np.float32))


def test_what_lies_too_far_beyond_the_mask_becomes_infinite_not_nan() -> None:
    mask = np.array([1, 1, 0, 0]).reshape(4, 1, 1)
    out = mj.min_max_normalize(image_of(0, 1e-30, 3e38, -3e38), mask=mask)
    np.testing.assert_array_equal(np.ravel(out.voxels), [0, 1, np.inf, -np.inf])


def test_ranges_beyond_float32_are_refused() -> None:
    for call in (
        lambda: mj.min_max_normalize(scan(), range=(-3e38, 3e38)),
        lambda: mj.percentile_normalize(scan(), range=(0, 1e39)),
        lambda: mj.window(scan(), 40, 400, range=(-3e38, 3e38)),
        lambda: mj.nyul_train([scan()], range=(-3e38, 3e38)),
    ):
        with pytest.raises(ValueError, match="range must"):
            call()


# --- No finite voxel -------------------------------------------------------------------------------------------------

NOTHING = scan().with_voxels(np.full(SHAPE, np.nan, np.float32))


def test_a_reference_or_training_image_without_a_finite_voxel_raises() -> None:
    with pytest.raises(ValueError, match="histogram_match: reference has no finite voxel"):
        mj.histogram_match(scan(), NOTHING)
    with pytest.raises(ValueError, match="nyul_train, image 1: it has no finite voxel"):
        mj.nyul_train([scan(), NOTHING])
    with pytest.raises(ValueError, match="reference_mask or background selects no finite voxel"):
        mj.histogram_match(scan(), NOTHING, background="mean")


@pytest.mark.parametrize(
    "operation",
    [
        mj.z_score_normalize,
        mj.min_max_normalize,
        lambda image: mj.percentile_normalize(image, outside="extend"),
        lambda image: mj.histogram_match(image, scan()),
        lambda image: mj.nyul_transform(image, mj.NyulLandmarks(np.array([0.0, 1.0]), (1.0, 99.0))),
    ],
    ids=["z_score", "min_max", "percentile", "histogram_match", "nyul"],
)
def test_an_image_without_a_finite_voxel_comes_back_as_it_is(operation: Any) -> None:
    np.testing.assert_array_equal(operation(NOTHING).voxels, NOTHING.voxels)
    infinite = np.full(SHAPE, np.inf, np.float32)
    np.testing.assert_array_equal(operation(scan().with_voxels(infinite)).voxels, infinite)
