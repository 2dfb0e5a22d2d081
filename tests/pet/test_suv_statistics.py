"""Statistics of regions in SUV images: against their definitions in float64, closed forms, and under jit, vmap and grad."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pet_header import oblique

import medjax as mj
from medjax import Image, Metadata

SPHERE_MM = 6.203504908994  # radius of 1 cm3


def _region(random: np.random.Generator, spacing: tuple[float, ...] = (3.0, 4.0, 5.0)) -> tuple[Image, Image]:
    voxels = random.gamma(2.0, 2.0, (9, 7, 6)).astype(np.float32)
    labels = random.integers(0, 4, (9, 7, 6)).astype(np.uint8)
    affine = oblique(*spacing)
    return Image.from_array(voxels, affine=affine), Image.from_array(labels, affine=affine, kind="label")


def _sphere_means(voxels: np.ndarray, affine: np.ndarray, points: int = 9) -> np.ndarray:
    """The definition, voxel by voxel in float64: overlap weighted mean over the sphere around each voxel centre."""
    steps = (np.arange(points) + 0.5) / points - 0.5
    within = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    index = np.moveaxis(np.indices(voxels.shape), 0, -1).reshape(-1, 3)
    means = np.zeros(voxels.shape)
    for center in index:
        offsets = (index - center)[:, None] + within
        inside = (((offsets @ affine[:3, :3].T) ** 2).sum(-1) <= SPHERE_MM**2).mean(1)
        means[tuple(center)] = (inside * voxels.reshape(-1)).sum() / inside.sum()
    return means


def test_statistics_against_their_definition() -> None:
    image, mask = _region(np.random.default_rng(1))
    found = mj.suv_statistics(image, mask, num_classes=6)
    voxels, labels = np.asarray(image.voxels, np.float64), np.asarray(mask.voxels)
    means = _sphere_means(voxels, image.affine)
    for label in range(4):
        inside = labels == label
        np.testing.assert_allclose(found.mean[label], voxels[inside].mean(), rtol=1e-6)
        np.testing.assert_allclose(found.total[label], voxels[inside].sum(), rtol=1e-6)
        assert found.max[label] == image.voxels[inside].max()
        # Either estimates a voxel's part in the sphere, by cells here and points there; the parts are good to 1 %.
        np.testing.assert_allclose(found.peak[label], means[inside].max(), rtol=5e-3)
        np.testing.assert_allclose(found.volume_ml[label], inside.sum() * 3 * 4 * 5 / 1000, rtol=1e-6)
        np.testing.assert_allclose(found.tlg_g[label], voxels[inside].sum() * 0.06, rtol=1e-6)
        assert found.voxel_count[label] == inside.sum()
    assert all(float(value[label]) == 0.0 for value in jax.tree.leaves(found) for label in (4, 5))


def test_one_region_is_all_that_is_not_zero() -> None:
    image, mask = _region(np.random.default_rng(2))
    found = mj.suv_statistics(image, mask)
    inside = np.asarray(mask.voxels) > 0
    assert found.mean.shape == ()
    np.testing.assert_allclose(found.mean, np.asarray(image.voxels, np.float64)[inside].mean(), rtol=1e-6)
    empty = mj.suv_statistics(image, mask.with_voxels(np.zeros(mask.shape, bool)))
    assert all(float(value) == 0.0 for value in jax.tree.leaves(empty))


def test_sphere_has_one_cubic_centimetre() -> None:
    """By the sum of its weights, for voxels from much smaller to larger than the sphere's radius, also oblique."""
    # Private: the weights of the sphere, whose sum no result states.
    from medjax._pet._statistics import PEAK_RADIUS_MM, _reach, sphere_weights

    assert abs(PEAK_RADIUS_MM - SPHERE_MM) < 1e-9
    for spacing in ((1.0, 1.0, 1.0), (2.0, 2.0, 3.0), (4.0, 4.5, 5.0), (5.3, 4.1, 3.27)):
        affine = oblique(*spacing)
        reach = _reach(affine)
        weights = sphere_weights(affine[:3, :3], reach)
        assert weights.sum() * np.prod(spacing) == pytest.approx(1000.0, rel=6e-3)
        wider = sphere_weights(affine[:3, :3], (reach[0] + 1, reach[1] + 1, reach[2] + 1))
        assert wider.sum() == pytest.approx(weights.sum(), rel=1e-12)  # the reach cuts nothing off


def test_peak_of_a_hot_ball() -> None:
    """Closed form: a ball of 3 cm with uptake 8 holds the whole 1 cm3 sphere, so its peak is 8; one smaller than the
    sphere, radius r, is diluted to 8 r^3 / R^3."""
    affine = np.diag([1.0, 1.0, 1.25, 1.0])
    index = np.moveaxis(np.indices((41, 41, 33)), 0, -1) - (20, 20, 16)
    distance = np.sqrt(((index @ affine[:3, :3].T) ** 2).sum(-1))
    for radius, expected, tolerance in ((15.0, 8.0, 1e-5), (5.0, 8 * (5 / SPHERE_MM) ** 3, 0.02)):
        inside = distance <= radius
        ball = Image.from_array(np.where(inside, 8.0, 0.0).astype(np.float32), affine=affine)
        mask = Image.from_array(inside, affine=affine, kind="label")
        voxel_ball = 8 * inside.sum() * 1.25 / 1000
        found = float(mj.suv_statistics(ball, mask).peak)
        assert found == pytest.approx(expected, rel=tolerance)
        assert found == pytest.approx(min(8.0, voxel_ball), rel=0.01)


def test_peak_at_the_edge_of_the_field_of_view_counts_what_is_there() -> None:
    image = Image.from_array(np.full((7, 6, 5), 3.0, np.float32), affine=oblique(4, 4, 4))
    corner = np.zeros((7, 6, 5), bool)
    corner[0, 0, 0] = corner[6, 5, 4] = True
    assert float(mj.suv_statistics(image, image.with_voxels(corner)).peak) == pytest.approx(3.0, rel=1e-6)


def test_peak_leaves_out_voxels_that_are_not_finite() -> None:
    voxels = np.full((9, 9, 9), 3.0, np.float32)
    voxels[4, 4, 6] = np.nan
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    image = Image.from_array(voxels, spacing=4.0)
    found = mj.suv_statistics(image, image.with_voxels(mask))
    assert float(found.peak) == pytest.approx(3.0, rel=1e-6)
    assert float(found.mean) == 3.0


def test_statistics_of_a_batch_and_inside_jit(compilations: Any) -> None:
    pairs = [
        _region(np.random.default_rng(seed), spacing) for seed, spacing in ((3, (3.0, 4.0, 5.0)), (4, (2.0, 6.0, 4.0)))
    ]
    images, masks = (mj.stack([pair[n] for pair in pairs]) for n in (0, 1))
    batch = mj.suv_statistics(images, masks, num_classes=4)
    compiled = jax.jit(lambda a, b: mj.suv_statistics(a, b, num_classes=4))
    compiled(*pairs[0])
    for n, pair in enumerate(pairs):
        alone = mj.suv_statistics(*pair, num_classes=4)
        with compilations:
            traced = compiled(*pair)
        assert compilations.count == 0
        for one, single, inside in zip(*map(jax.tree.leaves, (batch, alone, traced)), strict=True):
            np.testing.assert_allclose(one[n], single, rtol=3e-6)
            np.testing.assert_allclose(inside, single, rtol=1e-5)
    mapped = jax.vmap(lambda a, b: mj.suv_statistics(a, b, num_classes=4))(images, masks)
    for one, other in zip(jax.tree.leaves(mapped), jax.tree.leaves(batch), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_statistics_differentiate() -> None:
    image, mask = _region(np.random.default_rng(5))
    voxels = jnp.asarray(image.voxels)

    def measured(v: Any, name: str) -> Any:
        return getattr(mj.suv_statistics(image.with_voxels(v), mask), name)

    inside = np.asarray(mask.voxels) > 0
    np.testing.assert_allclose(jax.grad(measured)(voxels, "mean"), inside / inside.sum(), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(jax.grad(measured)(voxels, "tlg_g"), inside * 0.06, rtol=1e-5, atol=1e-7)
    direction = np.random.default_rng(6).normal(size=voxels.shape).astype(np.float32)
    step = 1e-2
    numeric = (measured(voxels + step * direction, "peak") - measured(voxels - step * direction, "peak")) / (2 * step)
    # The peak is piecewise linear: the difference is exact but for float32, 1e-6 * 5 / step.
    np.testing.assert_allclose((jax.grad(measured)(voxels, "peak") * direction).sum(), numeric, atol=2e-3)


def test_sums_stay_exact_over_many_voxels() -> None:
    """Adding 0.1 one voxel at a time in float32 loses 1e-3 over 4e6 voxels."""
    image = Image.from_array(np.full((160, 160, 160), 0.1, np.float32))
    found = mj.suv_statistics(image, image.with_voxels(np.ones(image.shape, bool)))
    assert float(found.mean) == pytest.approx(float(np.float32(0.1)), rel=2e-6)


def test_finer_voxels_than_the_traced_sphere_reaches_give_nan() -> None:
    image = Image.from_array(np.ones((5, 5, 5), np.float32), spacing=0.3)
    mask = image.with_voxels(np.ones((5, 5, 5), bool))
    assert float(mj.suv_statistics(image, mask).peak) == pytest.approx(1.0, rel=1e-6)
    assert np.isnan(jax.jit(mj.suv_statistics)(image, mask).peak)


def test_statistics_refuse_what_is_not_suv_or_not_on_the_grid() -> None:
    tags = {
        "DecayCorrection": "ADMIN",
        "CorrectedImage": ["ATTN", "DECY"],
        "PatientWeight": 70.0,
        "RadionuclideTotalDose": 350e6,
    }
    metadata = Metadata(modality="PT", extra={"Units": "BQML"})
    image = Image.from_array(np.full((3, 4, 5), 5000.0, np.float32), affine=oblique(4, 4, 4), metadata=metadata)
    mask = Image.from_array(np.ones(image.shape, bool), affine=image.affine, kind="label")
    with pytest.raises(ValueError, match=r"holds BQML, Units \(0054,1001\), not SUV"):
        mj.suv_statistics(image, mask)
    suv = mj.to_suv(image, tags=tags)
    assert float(mj.suv_statistics(suv, mask).mean) == pytest.approx(1.0, rel=1e-6)
    shifted = Image.from_array(np.ones(image.shape, bool), affine=image.affine + _moved(0.01), kind="label")
    with pytest.raises(ValueError, match=r"a corner is 0.01 mm away"):
        mj.suv_statistics(suv, shifted)
    with pytest.raises(ValueError, match="float32; compare the mask first"):
        mj.suv_statistics(suv, suv)
    with pytest.raises(ValueError, match=r"labels run from 1 to 1, but num_classes=1"):
        mj.suv_statistics(suv, mask, num_classes=1)


def _moved(distance: float) -> np.ndarray:
    change = np.zeros((4, 4))
    change[0, 3] = distance
    return change
