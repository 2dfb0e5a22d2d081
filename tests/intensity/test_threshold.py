"""threshold and otsu_threshold against SimpleITK."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import SimpleITK as sitk
from intensity_cases import SHAPE, scan
from scans import oblique_affine

import medjax as mj
from medjax import Image


def two_classes(seed: int, dtype: Any, scale: float = 1.0, offset: float = 0.0) -> Image:
    random = np.random.default_rng(seed)
    count = int(np.prod(SHAPE))
    values = np.where(
        random.random(count) < random.uniform(0.2, 0.8),
        random.normal(30, random.uniform(2, 9), count),
        random.normal(random.uniform(60, 120), 10, count),
    )
    values = values * scale + offset
    if np.dtype(dtype).kind in "iu":
        values = values.clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return Image.from_array(values.reshape(SHAPE).astype(dtype), affine=oblique_affine())


def itk_otsu(voxels: np.ndarray, bins: int = 128, inside: np.ndarray | None = None) -> float:
    filter_ = sitk.OtsuThresholdImageFilter()
    filter_.SetNumberOfHistogramBins(bins)
    picture = sitk.GetImageFromArray(voxels)
    if inside is None:
        filter_.Execute(picture)
    else:
        filter_.SetMaskValue(1)
        filter_.Execute(picture, sitk.GetImageFromArray(inside.astype(np.uint8)))
    return float(filter_.GetThreshold())


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint16, np.uint8, np.int8, np.int32])
@pytest.mark.parametrize("seed", range(6))
def test_otsu_is_itks_value_exactly(dtype: Any, seed: int) -> None:
    is_wide = np.dtype(dtype).itemsize > 1 and dtype is not np.uint16 and seed % 2
    image = two_classes(seed, dtype, *((57.3, -1000.0) if is_wide else ()))
    for bins in (128, 50):
        assert float(mj.otsu_threshold(image, bins=bins)) == itk_otsu(image.voxels, bins)
    found = mj.otsu_threshold(image)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float64
    traced = jax.jit(mj.otsu_threshold)(image)
    np.testing.assert_allclose(traced, found, rtol=1e-5, atol=1e-5 * np.abs(image.voxels.astype(float)).max())


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_otsu_within_a_mask_and_without_what_is_not_finite(dtype: Any) -> None:
    image = two_classes(3, dtype)
    inside = np.random.default_rng(1).random(SHAPE) < 0.6
    mask = image.with_voxels(inside).with_kind("label")
    wanted = itk_otsu(image.voxels, inside=inside)
    assert float(mj.otsu_threshold(image, mask=mask)) == wanted
    assert float(mj.otsu_threshold(image, mask=inside)) == wanted
    if dtype is np.float32:
        spoilt = np.where(inside, image.voxels, np.nan)
        assert float(mj.otsu_threshold(image.with_voxels(spoilt))) == wanted


def test_otsu_of_batches_channels_and_constant_images() -> None:
    items = [two_classes(n, np.float32) for n in range(4)]
    batch = mj.stack([items[0].with_voxels(np.stack([a.voxels, b.voxels], -1)) for a, b in (items[:2], items[2:])])
    found = mj.otsu_threshold(batch)
    np.testing.assert_array_equal(found, np.reshape([itk_otsu(x.voxels) for x in items], (2, 2)))
    np.testing.assert_array_equal((batch > found).voxels, batch.voxels > found[:, None, None, None])
    np.testing.assert_allclose(jax.vmap(mj.otsu_threshold)(batch), found, rtol=1e-5)
    flat = Image.from_array(np.full(SHAPE, 7, np.float32))
    assert float(mj.otsu_threshold(flat)) == itk_otsu(flat.voxels) == 7


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_threshold_is_itks_binary_threshold(dtype: Any) -> None:
    image = scan(dtype=dtype)
    low, high = float(np.median(image.voxels)), float(image.voxels.max() - 100)
    wanted = sitk.GetArrayFromImage(sitk.BinaryThreshold(sitk.GetImageFromArray(image.voxels), low, high)) != 0
    for found in (mj.threshold(image, low, high=high), jax.jit(lambda x: mj.threshold(x, low, high=high))(image)):
        np.testing.assert_array_equal(found.voxels, wanted)
        assert (found.kind, found.dtype) == ("label", bool)
    np.testing.assert_array_equal(mj.threshold(image, low).voxels, image.voxels >= low)
    np.testing.assert_array_equal(mj.threshold(image, None, high=low).voxels, image.voxels <= low)
    assert mj.threshold(image, low).metadata == image.metadata


def test_threshold_per_item_and_of_nan() -> None:
    batch = mj.stack([scan(n, (*SHAPE, 2)) for n in range(2)])
    low = np.array([[-500.0], [0.0]])
    np.testing.assert_array_equal(mj.threshold(batch, low).voxels, batch.voxels >= low[:, None, None, None])
    nan = Image.from_array(np.array([np.nan, 1.0], np.float32).reshape(2, 1, 1))
    assert mj.threshold(nan, None).voxels.ravel().tolist() == [False, True]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mj.threshold(x, 3, high=2), r"low must not be above high, got 3\.0 and 2\.0"),
        (lambda x: mj.threshold(x, np.nan), "low must be a number"),
        (lambda x: mj.threshold(x > 0, 1), "threshold takes intensities and this image holds labels"),
        (lambda x: mj.otsu_threshold(x > 0), "otsu_threshold takes intensities"),
        (lambda x: mj.otsu_threshold(x, bins=1), "bins must be at least 2, got 1"),
        (lambda x: mj.otsu_threshold(x, mask=np.zeros(SHAPE, bool)), "the mask selects no finite voxel"),
        (lambda x: mj.otsu_threshold(x.with_voxels(x.voxels * np.nan)), "no finite voxel"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(scan())
