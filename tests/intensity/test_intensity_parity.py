"""Intensity operations beside SimpleITK, TorchIO and MONAI's formulas, where the definitions agree."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from intensity_cases import EPS, scan

import medjax as mj
from medjax import Image

# Libraries that compute in double and store float32, beside float32 throughout: some roundings of the largest value.
ROUNDINGS = 16 * EPS


def close(found: Any, wanted: Any, atol: float | None = None) -> None:
    wanted = np.asarray(wanted, np.float64)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ROUNDINGS * np.abs(wanted).max() if atol is None else atol)


def to_sitk(image: Image) -> Any:
    return sitk.GetImageFromArray(np.ascontiguousarray(image.voxels.T))


def from_sitk(image: Any) -> np.ndarray:
    return sitk.GetArrayFromImage(image).T


# --- SimpleITK -------------------------------------------------------------------------------------------------------

SITK = {
    "Normalize": (mj.z_score_normalize, sitk.Normalize),
    "RescaleIntensity": (
        lambda i: mj.min_max_normalize(i, range=(-1, 255)),
        lambda i: sitk.RescaleIntensity(i, -1, 255),
    ),
    "IntensityWindowing": (
        lambda i: mj.window(i, -350, 900, function="linear_exact", range=(0, 255)),
        lambda i: sitk.IntensityWindowing(i, -800, 100, 0, 255),
    ),
    "Clamp": (lambda i: mj.clip(i, -600, 200), lambda i: sitk.Clamp(i, sitk.sitkFloat32, -600, 200)),
    "ShiftScale": (lambda i: mj.rescale(i, 2.5, -100), lambda i: sitk.ShiftScale(i, -40, 2.5)),
}


@pytest.mark.parametrize(("ours", "theirs"), SITK.values(), ids=SITK)
def test_simpleitk(ours: Any, theirs: Any) -> None:
    image = scan(shape=(23, 18, 11))
    close(ours(image).voxels, from_sitk(theirs(to_sitk(image))))


@pytest.mark.parametrize("is_thresholded", [True, False])
@pytest.mark.parametrize("points", [1, 7])
def test_simpleitk_histogram_matching_within_a_bin(is_thresholded: bool, points: int) -> None:
    image, reference = scan(shape=(23, 18, 11)), scan(3, (17, 26, 9))
    reference = reference.with_voxels(reference.voxels * 2 + 300)
    levels = 4096
    theirs = from_sitk(sitk.HistogramMatching(to_sitk(image), to_sitk(reference), levels, points, is_thresholded))
    ours = mj.histogram_match(image, reference, points=points, background="mean" if is_thresholded else None).voxels
    # ITK reads quantiles from bins of this width; the last ones of a skewed histogram are thin, where a quantile between
    # two voxels can lie some bins off.
    width = float(np.ptp(reference.voxels)) / levels
    off = np.abs(np.asarray(ours) - theirs)
    assert np.median(off) < 2 * width
    assert off.max() < 12 * width
    assert np.abs(image.voxels - theirs).max() > 100 * width


# --- TorchIO 1 (v2 renamed the transforms) ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torchio() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, at import
        torchio = pytest.importorskip("torchio", reason="TorchIO (medjax[bench]) is not installed")
    if not hasattr(torchio, "ZNormalization"):
        pytest.skip(f"TorchIO {torchio.__version__} has no ZNormalization; the comparison is with version 1")
    return torchio


def through(torchio: Any, transform: Any, image: Image, mask: np.ndarray | None = None) -> np.ndarray:
    import torch

    known = {"image": torchio.ScalarImage(tensor=torch.as_tensor(image.voxels[None].copy()))}
    if mask is not None:
        known["mask"] = torchio.LabelMap(tensor=torch.as_tensor(mask[None].astype(np.uint8)))
    return transform(torchio.Subject(**known))["image"].data.numpy()[0]


def test_torchio_z_normalization(torchio: Any) -> None:
    image, mask = scan(shape=(23, 18, 11)), np.random.default_rng(0).random((23, 18, 11)) < 0.3
    close(mj.z_score_normalize(image).voxels, through(torchio, torchio.ZNormalization(), image))
    masked = through(torchio, torchio.ZNormalization(masking_method="mask"), image, mask)
    close(mj.z_score_normalize(image, mask=mask).voxels, masked)


def test_torchio_rescale_intensity(torchio: Any) -> None:
    image = scan(shape=(23, 18, 11))
    theirs = through(torchio, torchio.RescaleIntensity((-1, 1)), image)
    close(mj.min_max_normalize(image, range=(-1, 1)).voxels, theirs)
    theirs = through(torchio, torchio.RescaleIntensity((-1, 1), percentiles=(2.5, 95)), image)
    close(mj.percentile_normalize(image, percentiles=(2.5, 95), range=(-1, 1)).voxels, theirs)


def test_torchio_histogram_standardization(torchio: Any, tmp_path: Any) -> None:
    images = [scan(seed, shape=(23, 18, 11)) for seed in range(3)]
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"{number}.nii")
        sitk.WriteImage(to_sitk(image), str(paths[-1]))
    landmarks = torchio.HistogramStandardization.train(paths, progress=False)
    with_quartiles = (1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99)
    close(mj.nyul_train(images, percentiles=with_quartiles).values, landmarks, 1e-4)  # of a range of 100
    theirs = through(torchio, torchio.HistogramStandardization({"image": landmarks}), images[1])
    ours = mj.nyul_transform(images[1], mj.nyul_train(images)).voxels
    close(ours, theirs, 1e-3)  # slopes between percentiles that float32 holds to 1e-4 of the scale


# --- TorchIO's and MONAI's definitions, written out in NumPy: neither need be installed --------------------------------


def test_torchio_formulas() -> None:
    """As in TorchIO 1.2: transforms/preprocessing/intensity/{z_normalization,rescale,histogram_standardization}.py."""
    images = [scan(seed, shape=(23, 18, 11)) for seed in range(3)]
    image, inside = images[0], np.random.default_rng(0).random((23, 18, 11)) < 0.3
    x = image.voxels.astype(np.float64)
    # ZNormalization: mean and torch's std, which is unbiased, over the mask, applied everywhere.
    close(mj.z_score_normalize(image).voxels, (x - x.mean()) / x.std(ddof=1))
    close(mj.z_score_normalize(image, mask=inside).voxels, (x - x[inside].mean()) / x[inside].std(ddof=1))
    # RescaleIntensity: clip to NumPy's percentiles, subtract the minimum, divide by the range, stretch, shift.
    for low, high in ((0, 100), (2.5, 95)):
        clipped = np.clip(x, *np.percentile(x, (low, high)))
        wanted = (clipped - clipped.min()) / np.ptp(clipped) * 2 - 1
        close(mj.percentile_normalize(image, percentiles=(low, high), range=(-1, 1)).voxels, wanted)
        if low == 0:
            close(mj.min_max_normalize(image, range=(-1, 1)).voxels, wanted)
    # HistogramStandardization.train: percentiles of each image, the outer two brought to 0 and 100, averaged.
    percentiles = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)
    found = np.array([np.percentile(i.voxels.astype(np.float64), percentiles) for i in images])
    slopes = 100 / (found[:, -1] - found[:, 0])
    standard = (slopes @ found + (0 - slopes * found[:, 0]).sum()) / len(images)
    landmarks = mj.nyul_train(images, percentiles=percentiles)
    close(landmarks.values, standard, 1e-4)  # of a range of 100, in float32
    # ... and its transform: linear between the image's percentiles, the outer segments continued.
    segment = np.clip(np.searchsorted(found[0], x, side="right") - 1, 0, len(percentiles) - 2)
    slope = np.diff(standard) / np.diff(found[0])
    wanted = standard[segment] + slope[segment] * (x - found[0][segment])
    close(mj.nyul_transform(image, landmarks).voxels, wanted, 1e-3)


# MONAI 1.5, docs.monai.io/en/1.5.0/transforms.html, section "Intensity", per channel.


def test_monai_formulas() -> None:
    image = scan(shape=(23, 18, 11))
    x = image.voxels.astype(np.float64)
    # NormalizeIntensity: (img - mean) / std, NumPy's std.
    close(mj.z_score_normalize(image, ddof=0).voxels, (x - x.mean()) / x.std())
    # ScaleIntensity(minv, maxv): (img - min) / (max - min) * (maxv - minv) + minv.
    close(mj.min_max_normalize(image, range=(-2, 3)).voxels, (x - x.min()) / (x.max() - x.min()) * 5 - 2)
    # ScaleIntensityRangePercentiles(lower, upper, b_min, b_max, clip=False).
    a_min, a_max = np.percentile(x, (5, 95))
    wanted = (x - a_min) / (a_max - a_min) * 2 - 1
    close(mj.percentile_normalize(image, percentiles=(5, 95), range=(-1, 1), outside="extend").voxels, wanted)
    close(mj.percentile_normalize(image, percentiles=(5, 95), range=(-1, 1)).voxels, np.clip(wanted, -1, 1))
    # ScaleIntensityRange(a_min, a_max, b_min, b_max, clip=True).
    wanted = np.clip((x + 800) / 900 * 2 - 1, -1, 1)
    close(mj.window(image, -350, 900, function="linear_exact", range=(-1, 1)).voxels, wanted)
