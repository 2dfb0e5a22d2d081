"""region_statistics against NumPy, label by label; Grid.covering and margins in mm."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from intensity_cases import SHAPE, scan
from scans import oblique_affine

import medjax as mj
from medjax import Grid, Image

PERCENTILES = (10, 25, 50, 75, 90)
VOLUME_ML = 0.7 * 1.1 * 2.5 / 1000


def label_map(seed: int = 0, affine: Any = None) -> Image:
    labels = np.random.default_rng(seed).integers(0, 4, SHAPE).astype(np.uint8)
    return Image.from_array(labels, affine=oblique_affine() if affine is None else affine, kind="label")


def check(found: Any, values: np.ndarray, at: Any = ()) -> None:
    """Compares one region with NumPy's float64 results."""
    values = values[np.isfinite(values)].astype(np.float64)
    size = np.abs(values).max()
    for name in ("mean", "std", "min", "max", "median"):
        np.testing.assert_allclose(getattr(found, name)[at], getattr(np, name)(values), rtol=2e-6, atol=2e-6 * size)
    wanted = np.percentile(values, PERCENTILES)
    np.testing.assert_allclose(np.asarray(found.percentiles)[at], wanted, rtol=2e-6, atol=2e-6 * size)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float16])
def test_labels_are_numpys(dtype: Any) -> None:
    image, mask = scan(dtype=dtype), label_map()
    for found in (
        mj.region_statistics(image, mask, num_classes=5),
        jax.jit(lambda x, m: mj.region_statistics(x, m, num_classes=5))(image, mask),
    ):
        for label in range(4):
            check(found, image.voxels[mask.voxels == label], label)
        np.testing.assert_array_equal(found.voxel_count, np.bincount(mask.voxels.ravel(), minlength=5))
        np.testing.assert_allclose(found.volume_ml, np.asarray(found.voxel_count) * VOLUME_ML, rtol=1e-6)
        assert np.isnan(found.mean[4])
        assert np.isnan(found.percentiles[4]).all()
        assert np.isnan(found.std[4])
        assert found.percentiles.shape == (5, 5)
        assert found.mean.dtype == np.float32


def test_without_classes_all_that_is_not_zero_is_one_region() -> None:
    image, mask = scan(), label_map()
    for found in (mj.region_statistics(image, mask), jax.jit(mj.region_statistics)(image, mask)):
        check(found, image.voxels[mask.voxels != 0])
        assert found.mean.shape == ()
        assert int(found.voxel_count) == (mask.voxels != 0).sum()
    np.testing.assert_array_equal(mj.region_statistics(image, mask > 0).mean, mj.region_statistics(image, mask).mean)


def test_the_mean_is_exact_beside_a_large_offset() -> None:
    """float32 sums of 30000 and a bit would lose the deviation."""
    image = scan()
    far = image.with_voxels((np.random.default_rng(0).normal(0, 0.5, SHAPE) + 30000).astype(np.float32))
    found = mj.region_statistics(far, label_map())
    values = far.voxels[label_map().voxels != 0].astype(np.float64)
    np.testing.assert_allclose(found.std, values.std(), rtol=1e-4)
    np.testing.assert_allclose(found.mean, values.mean(), rtol=1e-7)


def test_batches_channels_and_one_mask_for_all() -> None:
    images = [scan(n, (*SHAPE, 2), affine=oblique_affine()) for n in range(3)]
    batch = mj.stack(images)
    one, masks = label_map(), [label_map(n) for n in range(3)]
    for mask, each in ((one, [one] * 3), (mj.stack(masks), masks)):
        for call in (mj.region_statistics, jax.jit(mj.region_statistics, static_argnames="num_classes")):
            found = call(batch, mask, num_classes=4)
            assert found.mean.shape == (3, 2, 4)
            assert found.percentiles.shape == (3, 2, 4, 5)
            assert found.voxel_count.shape == found.volume_ml.shape == (3, 4)
            for n, image in enumerate(images):
                np.testing.assert_array_equal(found.voxel_count[n], np.bincount(each[n].voxels.ravel(), minlength=4))
                for c in range(2):
                    for label in range(4):
                        check(found, image.voxels[..., c][each[n].voxels == label], (n, c, label))
        assert mj.region_statistics(batch, mask).mean.shape == (3, 2)
    mapped = jax.vmap(mj.region_statistics)(batch, mj.stack(masks))
    np.testing.assert_allclose(mapped.mean, mj.region_statistics(batch, mj.stack(masks)).mean, rtol=1e-6)


def test_what_is_not_finite_counts_in_the_volume_alone() -> None:
    image, mask = scan(), label_map()
    voxels = image.voxels.copy()
    voxels[::2, 0, 0], voxels[1, 1, :] = np.nan, np.inf
    found = mj.region_statistics(image.with_voxels(voxels), mask, num_classes=4)
    for label in range(4):
        check(found, voxels[mask.voxels == label], label)
    np.testing.assert_array_equal(found.voxel_count, np.bincount(mask.voxels.ravel(), minlength=4))


def test_gradients() -> None:
    image, mask = scan(), label_map()
    inside = mask.voxels == 2

    @jax.jit
    def slopes(voxels: Any) -> Any:
        def found(v: Any) -> Any:
            statistics = mj.region_statistics(image.with_voxels(v), mask, num_classes=4)
            return {name: getattr(statistics, name)[2] for name in ("mean", "std", "max", "median")}

        values, pull = jax.vjp(found, voxels)
        return {name: pull({n: jnp.float32(n == name) for n in values})[0] for name in values}

    slope = slopes(image.voxels)
    np.testing.assert_allclose(slope["mean"], inside / inside.sum(), rtol=1e-5, atol=1e-8)
    values = image.voxels[inside].astype(np.float64)
    wanted = np.where(inside, (image.voxels - values.mean()) / (values.std() * inside.sum()), 0)
    np.testing.assert_allclose(slope["std"], wanted, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(slope["max"], image.voxels == values.max())
    median = np.asarray(slope["median"])
    assert median.sum() == 1
    assert set(image.voxels[median != 0]) <= set(values)
    flat = jax.jit(jax.grad(lambda v: mj.region_statistics(image.with_voxels(v), mask).std))(jnp.zeros(SHAPE))
    assert not np.asarray(flat).any()


def test_percentiles_are_chosen() -> None:
    image, mask = scan(), label_map()
    found = mj.region_statistics(image, mask, percentiles=(0, 33.3, 100))
    wanted = np.percentile(image.voxels[mask.voxels != 0], (0, 33.3, 100))
    np.testing.assert_allclose(found.percentiles, wanted, rtol=1e-5)
    assert mj.region_statistics(image, mask, percentiles=()).percentiles.shape == (0,)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, m: mj.region_statistics(x, m, num_classes=2), "labels run from 0 to 3, but num_classes=2"),
        (lambda x, m: mj.region_statistics(x, m, percentiles=(101,)), "percentiles must be numbers within 0 to 100"),
        (lambda x, m: mj.region_statistics(m, m), "this image holds labels"),
        (lambda x, m: mj.region_statistics(x, x), "region_statistics takes booleans or integers, got float32"),
        (lambda x, m: mj.region_statistics(x, mj.translate(m, (1, 0, 0))), "mask lies on another grid"),
        (lambda x, m: mj.region_statistics(x, m.voxels), "mask must be an Image, got ndarray"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(scan(), label_map())


# ------------------------------------------------------------------------------------------------ Grid.covering


@pytest.mark.parametrize("spacing", [1.5, (0.5, 2.0, 3.0)])
def test_a_grid_along_the_world_covers_an_oblique_scan(spacing: Any) -> None:
    image = scan()
    grid = Grid.covering(image, spacing)
    np.testing.assert_allclose(grid.direction, np.eye(3))
    np.testing.assert_allclose(grid.spacing, np.broadcast_to(spacing, 3))
    corners = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in SHAPE), indexing="ij")).reshape(3, 8).T
    inner = np.asarray(grid.index(image.grid.world(corners)))
    room = np.asarray(grid.shape)
    assert (inner >= -0.5 - 1e-9).all()
    assert (inner <= room - 0.5 + 1e-9).all()
    slack = room - (inner.max(0) - inner.min(0))
    assert (slack >= -1e-9).all()
    assert (slack < 1).all()
    np.testing.assert_allclose(inner.min(0) + 0.5, room - 0.5 - inner.max(0), atol=1e-9)  # about the middle
    ones = mj.resample_to_grid(image.with_voxels(np.ones(SHAPE, np.float32)), grid, fill=0.0).voxels
    volume = float(np.sum(ones)) * np.prod(grid.spacing)
    assert volume == pytest.approx(np.prod(SHAPE) * VOLUME_ML * 1000, rel=0.15)


def test_a_grid_that_lies_along_the_world_covers_itself() -> None:
    grid = Grid.of((7, 3, 4), spacing=(0.3, 0.7, 2.1), origin=(1, 2, 3))
    found = Grid.covering(grid, grid.spacing)
    assert found.shape == grid.shape
    np.testing.assert_allclose(found.affine, grid.affine)


def test_a_batch_is_covered_whole_and_what_is_traced_is_refused() -> None:
    image = scan()
    batch = mj.stack([image, mj.translate(image, (0, 0, 50.0), unit="mm")])
    assert Grid.covering(batch, 1.0).shape[2] == Grid.covering(image, 1.0).shape[2] + 50
    with pytest.raises(ValueError, match="traced: call it before jit"):
        jax.jit(lambda x: Grid.covering(x, 1.0).affine)(image)
    with pytest.raises(ValueError, match="spacing must be positive"):
        Grid.covering(image, 0)
    with pytest.raises(ValueError, match="image must be an Image or a Grid, got int"):
        Grid.covering(3, 1.0)  # type: ignore[arg-type]


def test_a_margin_in_mm() -> None:
    inside = np.zeros((20, 20, 20), bool)
    inside[8:11, 8:11, 8:11] = True
    image = Image.from_array(inside.astype(np.float32), affine=oblique_affine())
    found = mj.crop_to_mask(image, inside, margin=2.2, unit="mm")
    assert found.shape == (3 + 2 * 4, 3 + 2 * 2, 3 + 2 * 1)  # 2.2 / 0.7, 1.1 and 2.5, rounded up
    assert mj.crop_to_mask(image, inside, margin=2.1, unit="mm").shape == (3 + 2 * 3, 3 + 2 * 2, 3 + 2 * 1)
    with pytest.raises(ValueError, match="margin must not be negative"):
        mj.crop_to_mask(image, inside, margin=-1, unit="mm")
