"""gaussian_blur and median_filter against SciPy, on oblique, anisotropic scans of odd sizes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from intensity_cases import SHAPE, by_item_and_channel, scan
from scans import oblique_affine
from scipy import ndimage

import medjax as mj
from medjax import Image

SPACING = (0.7, 1.1, 2.5)  # of oblique_affine
WRONG: Any = "cm"


def blurred(voxels: np.ndarray, sigma: Any) -> np.ndarray:
    return ndimage.gaussian_filter(voxels.astype(np.float64), sigma, mode="reflect", truncate=4.0)


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.3, 1.0, 2.5, 7.0])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float16])
def test_blur_in_mm_is_scipys(sigma: float, dtype: Any) -> None:
    image = scan(dtype=dtype)
    wanted = blurred(image.voxels, [sigma / s for s in SPACING])
    bound = {"rtol": 1e-6, "atol": 1e-6 * np.abs(wanted).max()}
    for found in (
        mj.gaussian_blur(image, sigma),
        jax.jit(lambda x: mj.gaussian_blur(x, sigma))(image),
        jax.jit(mj.gaussian_blur)(image, sigma),
        mj.fuse(lambda x: mj.gaussian_blur(x, sigma))(image),
    ):
        np.testing.assert_allclose(found.voxels, wanted, **bound)
        assert (found.dtype, found.kind) == (np.float32, "intensity")
    assert mj.gaussian_blur(image, sigma).metadata == image.metadata
    voxels = blurred(image.voxels, sigma)
    np.testing.assert_allclose(mj.gaussian_blur(image, sigma, unit="voxel").voxels, voxels, **bound)


@pytest.mark.parametrize("sigma", [1.0, 30.0, 400.0])
def test_a_wide_blur_reflects_again_and_again(sigma: float) -> None:
    image = scan(shape=(4, 1, 3))
    wanted = blurred(image.voxels, [sigma, sigma, sigma])
    np.testing.assert_allclose(mj.gaussian_blur(image, sigma, unit="voxel").voxels, wanted, rtol=1e-3, atol=0.2)
    exact = mj.gaussian_blur(image, min(sigma, 30.0), unit="voxel")
    np.testing.assert_allclose(exact.voxels, blurred(image.voxels, min(sigma, 30.0)), rtol=1e-5, atol=1e-3)
    traced = jax.jit(lambda s: mj.gaussian_blur(image, s, unit="voxel").voxels)(sigma)
    np.testing.assert_allclose(traced, wanted, rtol=1e-3, atol=1e-3 * np.ptp(image.voxels))


def test_a_kernel_that_ends_two_lengths_away_has_its_width() -> None:
    """Of 5 voxels: SciPy's kernel of sigma 2.6 ends 10 voxels away, that of 2.5 too."""
    image = scan()
    found = mj.gaussian_blur(image, 2.6, unit="voxel").voxels
    np.testing.assert_allclose(found, blurred(image.voxels, 2.6), rtol=1e-6, atol=1e-3)


def test_sigma_per_item_and_per_channel() -> None:
    items = [scan(n, (*SHAPE, 2)) for n in range(3)]
    wider = items[1].affine @ np.diag([2.0, 1.0, 1.5, 1.0])
    items[1] = Image.from_array(items[1].voxels, affine=wider)
    batch = mj.stack(items)
    for sigma in (np.array([0.5, 2.0]), np.array([[0.5], [1.0], [2.0]]), np.linspace(0.2, 3, 6).reshape(3, 2)):
        each = np.broadcast_to(sigma, (3, 2))
        wanted = np.stack(
            [
                np.stack([blurred(x.voxels[..., c], each[n, c] / np.asarray(x.spacing)) for c in range(2)], -1)
                for n, x in enumerate(items)
            ]
        )
        for found in (mj.gaussian_blur(batch, sigma), jax.jit(mj.gaussian_blur)(batch, sigma)):
            np.testing.assert_allclose(found.voxels, wanted, rtol=1e-5, atol=2e-3)
    assert mj.gaussian_blur(batch, 1.0).metadata == batch.metadata


def test_what_is_not_finite_reaches_as_far_as_the_kernel() -> None:
    voxels = scan(shape=(11, 9, 8)).voxels.copy()
    voxels[2, 3, 1], voxels[8, 0, 6], voxels[9, 8, 7] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        wanted = blurred(voxels, 0.5)
    found = mj.gaussian_blur(Image.from_array(voxels), 0.5).voxels
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-3)
    assert 0 < np.isnan(wanted).sum() < wanted.size / 2


def test_gradients_of_a_blur() -> None:
    image = scan(shape=(5, 4, 3))
    image = image.with_voxels(image.voxels / 1000)

    @jax.jit  # one program where eager steps are forty
    def loss(voxels: Any, sigma: Any) -> Any:
        return (mj.gaussian_blur(image.with_voxels(voxels), sigma).voxels ** 2).sum()

    voxels = jnp.asarray(image.voxels)
    slopes = jax.jit(jax.grad(loss, (0, 1)))
    by_voxels, by_sigma = slopes(voxels, 1.3)
    step = 1e-2
    slope = (loss(voxels, 1.3 + step) - loss(voxels, 1.3 - step)) / (2 * step)
    np.testing.assert_allclose(by_sigma, slope, rtol=2e-2)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=image.shape).astype(np.float32))
    moved = (loss(voxels + step * direction, 1.3) - loss(voxels - step * direction, 1.3)) / (2 * step)
    np.testing.assert_allclose((by_voxels * direction).sum(), moved, rtol=1e-3)
    assert np.isfinite(slopes(voxels, 0.0)[1])


def test_one_program_for_every_sigma(compilations: Any) -> None:
    image = scan()
    mj.gaussian_blur(image, 0.9)
    with compilations:
        mj.gaussian_blur(image, 1.1)
    assert compilations.count == 0


@pytest.mark.parametrize("size", [1, 3, 5, (2, 3, 4), (1, 7, 1), (9, 1, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16, np.uint8, np.int32, bool])
def test_median_is_scipys(size: Any, dtype: Any) -> None:
    voxels = (np.random.default_rng(3).normal(0.5, 1, SHAPE) * (1 if dtype is bool else 40)).clip(0, 250)
    image = Image.from_array(voxels.astype(dtype) if dtype is not np.int16 else (voxels - 100).astype(dtype))
    wanted = ndimage.median_filter(image.voxels.astype(np.float64), size, mode="reflect")
    for found in (mj.median_filter(image, size), jax.jit(lambda x: mj.median_filter(x, size))(image)):
        np.testing.assert_array_equal(np.asarray(found.voxels).astype(np.float64), wanted)
        assert found.dtype == image.dtype


def test_median_of_batches_signs_and_gradients() -> None:
    batch = mj.stack([scan(n, (*SHAPE, 2)) for n in range(2)])
    batch = batch.with_voxels(batch.voxels + 500)  # of both signs
    wanted = by_item_and_channel(lambda x: ndimage.median_filter(x, 3, mode="reflect"), batch.voxels, 1)
    np.testing.assert_array_equal(mj.median_filter(batch, 3).voxels, wanted.astype(np.float32))
    image = scan()
    slope = jax.jit(jax.grad(lambda v: mj.median_filter(image.with_voxels(v), 3).voxels.sum()))(image.voxels)
    picked = np.asarray(mj.median_filter(image, 3).voxels)
    np.testing.assert_allclose(slope, [[[(picked == x).sum() for x in row] for row in plane] for plane in image.voxels])
    tangent = jnp.asarray(image.voxels)
    value, pushed = jax.jvp(lambda v: mj.median_filter(image.with_voxels(v), 3).voxels, (tangent,), (tangent,))
    np.testing.assert_allclose(value, pushed, rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mj.gaussian_blur(x, -1.0), r"sigma must be finite and not negative, got -1\.0"),
        (lambda x: mj.gaussian_blur(x, np.nan), "sigma must be finite"),
        (lambda x: mj.gaussian_blur(x, (1, 1, 1)), r"sigma must be one number; got shape \(3,\)"),
        (lambda x: mj.gaussian_blur(x, 1.0, unit=WRONG), "unit must be 'mm' or 'voxel', got 'cm'"),
        (lambda x: mj.gaussian_blur(x > 0, 1.0), "gaussian_blur takes intensities and this image holds labels"),
        (lambda x: mj.median_filter(x, 0), "size must be one integer or three, at least 1"),
        (lambda x: mj.median_filter(x, 1.5), "size must be one integer"),  # type: ignore[arg-type]
        (lambda x: mj.median_filter(x > 0, 3), "median_filter takes intensities"),
        (lambda x: mj.gaussian_blur(x.voxels, 1.0), "must be an Image, got ndarray"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(scan())


def test_spacing_of_the_cases_is_what_it_says() -> None:
    np.testing.assert_allclose(np.linalg.norm(oblique_affine()[:3, :3], axis=0), SPACING)
