"""Random operations: one key for each item, the same numbers however they are called, and the distributions' moments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from applier_cases import image_of
from scipy import ndimage, stats

import medjax as mj
from medjax import Image
from medjax._kernels._poisson import poisson_quantile

# Private: the distribution of the counts, number by number, without drawing millions of them.

KEY = jax.random.key(11)
RANDOM: dict[str, Callable[[Any, Image], Image]] = {
    "gaussian_noise": lambda key, image: mj.gaussian_noise(key, image, 3.0),
    "rician_noise": lambda key, image: mj.rician_noise(key, image, 3.0),
    "poisson_noise": lambda key, image: mj.poisson_noise(key, image, 0.5),
    "reduce_dose": lambda key, image: mj.reduce_dose(key, image, 0.3),
    "ct_noise": lambda key, image: mj.ct_noise(key, image, 3.0),
}
NAMES = pytest.mark.parametrize("name", RANDOM)
# Matrix products of a batch may sum in another order than those of one item.
IS_EXACT = {"gaussian_noise", "rician_noise", "poisson_noise"}


def flat(value: float, shape: tuple[int, ...] = (64, 64, 16), **options: Any) -> Image:
    return Image.from_array(np.full(shape, value, np.float32), **options)


@NAMES
def test_an_item_draws_the_same_alone_in_any_batch_and_under_vmap(name: str) -> None:
    call = RANDOM[name]
    images = [image_of(n) for n in range(3)]
    keys = jax.vmap(lambda n: jax.random.fold_in(KEY, n))(jnp.arange(3))
    alone = [np.asarray(call(jax.random.fold_in(KEY, n), image).voxels) for n, image in enumerate(images)]
    ways = {
        "one key": call(KEY, mj.stack(images)),
        "a key each": call(keys, mj.stack(images)),
        "a smaller batch": call(KEY, mj.stack(images[:2])),
        "vmap": jax.vmap(call)(keys, mj.stack(images)),
        "jit": jax.jit(call)(KEY, mj.stack(images)),
    }
    for way, found in ways.items():
        for n, wanted in enumerate(alone[: len(found.voxels)]):
            bound = 0 if name in IS_EXACT and way != "jit" else 1e-6 * np.ptp(wanted)
            np.testing.assert_allclose(found.voxels[n], wanted, rtol=0, atol=bound, err_msg=way)
    assert (np.asarray(call(jax.random.key(12), images[0]).voxels) != alone[0]).mean() > 0.5


def test_nested_batches_fold_the_key_axis_by_axis() -> None:
    image = Image(np.zeros((2, 3, 4, 5, 6), np.float32), np.broadcast_to(np.eye(4), (2, 3, 4, 4)), "intensity")
    out = mj.gaussian_noise(KEY, image, 1.0)
    own = jax.random.fold_in(jax.random.fold_in(KEY, 1), 2)
    np.testing.assert_array_equal(out.voxels[1, 2], jax.random.normal(own, (4, 5, 6)))


@NAMES
@pytest.mark.usefixtures("unchecked")
def test_keys_that_are_refused(name: str) -> None:
    call, image = RANDOM[name], image_of(0)
    for impl in ("rbg", "unsafe_rbg"):
        with pytest.raises(ValueError, match=f"key is of '{impl}'.*threefry2x32"):
            call(jax.random.key(0, impl=impl), image)
    for raw in (0, np.zeros(2, np.uint32), jax.random.PRNGKey(0), None):
        with pytest.raises(ValueError, match=r"key must be a key such as jax\.random\.key\(0\)"):
            call(raw, image)
    with pytest.raises(ValueError, match="one key: the image has no batch axis; got shape"):
        call(jax.random.split(KEY, 2), image)
    with pytest.raises(ValueError, match=r"one key, or one for each item, \(3,\); got shape \(2,\)"):
        call(jax.random.split(KEY, 2), mj.stack([image] * 3))


def test_gaussian_noise_is_normal_and_independent() -> None:
    image = Image.from_array(np.zeros((32, 32, 8, 2), np.float32))
    noise = np.asarray(mj.gaussian_noise(KEY, image, [2.0, 5.0]).voxels)
    for channel, std in enumerate((2.0, 5.0)):
        assert stats.kstest(noise[..., channel].ravel() / std, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05


def test_relative_amounts() -> None:
    image = image_of(1)
    unit = np.asarray(mj.gaussian_noise(KEY, image, 1.0).voxels) - image.voxels
    for relative, size in (("std", image.voxels.std()), ("max", image.voxels.max())):
        found = mj.gaussian_noise(KEY, image, 0.1, relative=relative)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.voxels - image.voxels, 0.1 * size * unit, atol=2e-3)
    spoiled = image.with_voxels(np.where(image.voxels == image.voxels.max(), np.inf, image.voxels))
    voxels = np.asarray(mj.gaussian_noise(KEY, spoiled, 0.1, relative="max").voxels)
    assert np.isinf(voxels).sum() == 1
    assert np.isfinite(voxels).sum() == voxels.size - 1


def test_rician_moments() -> None:
    """Rayleigh's distribution in air; Rice's in tissue (scipy.stats)."""
    for value, std in ((0.0, 4.0), (10.0, 4.0)):
        noisy = np.asarray(mj.rician_noise(KEY, flat(value), std).voxels)
        wanted = stats.rice(value / std, scale=std)
        assert noisy.mean() == pytest.approx(wanted.mean(), rel=0.01)
        assert noisy.std() == pytest.approx(wanted.std(), rel=0.02)


def test_negative_magnitudes_are_warned_of_unless_nothing_is_known() -> None:
    image = flat(-3.0, (2, 2, 2))
    with pytest.warns(UserWarning, match="rician_noise takes magnitudes, and the lowest voxel is -3"):
        mj.rician_noise(KEY, image, 1.0)
    jax.jit(lambda image: mj.rician_noise(KEY, image, 1.0))(image)


@pytest.mark.parametrize("mean", [0.3, 1.0, 3.9, 4.0, 4.5, 7.0, 20.0, 150.0])
def test_counts_are_of_the_poisson_distribution(mean: float) -> None:
    """Total variation below 0.006, from 400000 evenly spread quantiles; they add some thousandth."""
    count = 400_000
    place = (2 * (np.arange(count) + 0.5) / count - 1).astype(np.float32)
    drawn = np.asarray(poisson_quantile(jnp.asarray(place), jnp.full(count, mean, jnp.float32))).astype(int)
    found = np.bincount(drawn) / count
    wanted = stats.poisson(mean).pmf(np.arange(len(found)))
    assert 0.5 * (np.abs(found - wanted).sum() + 1 - wanted.sum()) < (0.006 if mean >= 4 else 1e-4)


def test_poisson_noise_leaves_what_is_not_counted() -> None:
    voxels = np.array([-3.0, 0.0, np.nan, np.inf, 50.0], np.float32).reshape(5, 1, 1)
    out = np.asarray(mj.poisson_noise(KEY, Image.from_array(voxels), 4.0).voxels).ravel()
    np.testing.assert_array_equal(out[:4], voxels.ravel()[:4])
    assert out[4] * 4 == round(float(out[4] * 4))
    grad = jax.jit(
        jax.grad(lambda v: mj.poisson_noise(KEY, Image.from_array(voxels).with_voxels(v), 4.0).voxels[4, 0, 0])
    )(voxels)
    np.testing.assert_array_equal(grad.ravel(), [0, 0, 0, 0, 1])  # that of the mean


def test_dose_reduction_has_variance_in_proportion_to_activity_and_the_scanner_s_correlation() -> None:
    voxels = np.concatenate([np.full((24, 32, 32), a, np.float32) for a in (1.0, 4.0)])
    image = Image.from_array(voxels, spacing=2.0)
    noise = np.asarray(mj.reduce_dose(KEY, image, 0.2, alpha=0.1, fwhm_mm=4.0).voxels) - voxels
    for part, activity in ((noise[2:20], 1.0), (noise[28:46], 4.0)):
        assert part.var() == pytest.approx(0.1 * 4 * activity, rel=0.1)
    sigma = 2 / np.sqrt(8 * np.log(2))  # voxels; noise of the filter G correlates as G * G does
    lag = (noise[28:45] * noise[29:46]).mean() / noise[28:46].var()
    assert lag == pytest.approx(np.exp(-1 / (4 * sigma**2)), abs=0.05)
    edge = noise[:, :1].std(), noise[:, 16:17].std()
    assert edge[0] == pytest.approx(edge[1], rel=0.15)  # at the faces too


def test_ct_noise_is_smooth_in_the_slice_and_white_across() -> None:
    image = flat(0.0, (32, 32, 32), spacing=(0.8, 0.8, 3.0))
    noise = np.asarray(mj.ct_noise(KEY, image, 10.0, correlation_mm=0.8).voxels)
    assert noise.std() == pytest.approx(10, rel=0.05)

    def lag(axis: int) -> float:
        return float((noise * np.roll(noise, 1, axis)).mean() / noise.var())

    white = np.zeros(65)
    white[32] = 1
    row = ndimage.gaussian_filter1d(white, 1.0)
    wanted = float((row * np.roll(row, 1)).sum() / (row * row).sum())
    assert [lag(0), lag(1)] == pytest.approx([wanted, wanted], abs=0.04)
    assert abs(lag(2)) < 0.03
    traced = jax.jit(lambda axis: mj.ct_noise(KEY, image, 10.0, correlation_mm=0.8, axis=axis).voxels)(2)
    np.testing.assert_allclose(traced, noise, atol=1e-4)
