"""Histogram matching and Nyul's landmarks: closed forms, ties, background, training, JSON."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from intensity_cases import EPS, SHAPE, batch, scan

import medjax as mj
from medjax import Image, NyulLandmarks


def reference_map(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """np.interp through distinct knots, at the mean of equal ones' values, with the end segments continued."""
    unique = np.unique(knots)
    means = np.array([values[knots == knot].mean() for knot in unique])
    slopes = np.diff(means) / np.diff(unique)
    low = means[0] + slopes[0] * (x - unique[0]) if knots[1] > knots[0] else np.full(x.shape, means[0])
    high = means[-1] + slopes[-1] * (x - unique[-1]) if knots[-1] > knots[-2] else np.full(x.shape, means[-1])
    return np.select([x < unique[0], x > unique[-1]], [low, high], np.interp(x, unique, means))


def close(found: Any, wanted: Any) -> None:
    """64 roundings of the largest value: percentiles are rounded and slopes between near ones enlarge that."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=64 * EPS * np.abs(wanted).max())


# --- Histogram matching ----------------------------------------------------------------------------------------------


def test_match_to_a_reference_of_another_size() -> None:
    image, reference = scan(0), scan(3, (11, 4, 9))
    reference = reference.with_voxels(reference.voxels * 3 + 5000)
    levels = np.linspace(0, 100, 7)
    knots, values = (np.percentile(i.voxels.astype(np.float64), levels) for i in (image, reference))
    out = mj.histogram_match(image, reference, points=5)
    close(out.voxels, reference_map(image.voxels.astype(np.float64), knots, values))
    assert out.metadata is image.metadata, "not the reference's"
    assert out.shape == SHAPE


def test_match_to_itself_is_the_identity() -> None:
    image = scan()
    np.testing.assert_allclose(mj.histogram_match(image, image, points=5).voxels, image.voxels, rtol=1e-5)


def test_many_points_give_the_reference_s_distribution() -> None:
    image, reference = scan(0, (20, 20, 20)), scan(1, (23, 17, 20))
    reference = reference.with_voxels(reference.voxels * 2 + 300)
    found = np.sort(np.asarray(mj.histogram_match(image, reference).voxels).ravel())
    wanted = np.sort(reference.voxels.ravel())
    at = np.linspace(0.02, 0.98, 97)
    spread = wanted.std()
    assert np.abs(np.quantile(found, at) - np.quantile(wanted, at)).max() < 0.06 * spread
    assert np.abs(np.quantile(image.voxels, at) - np.quantile(wanted, at)).max() > 0.6 * spread, "they differed before"


@pytest.mark.parametrize("background", ["mean", -800.0])
def test_match_leaves_background_out_and_maps_it(background: Any) -> None:
    image, reference = scan(0), scan(3, (11, 4, 9))

    def quantiles(image: Image) -> np.ndarray:
        x = image.voxels.astype(np.float64)
        foreground = x[x >= x.mean()] if background == "mean" else x[x > background]
        return np.concatenate([[x.min()], np.percentile(foreground, np.linspace(0, 100, 7))])

    wanted = reference_map(image.voxels.astype(np.float64), quantiles(image), quantiles(reference))
    close(mj.histogram_match(image, reference, points=5, background=background).voxels, wanted)


def test_match_with_a_mask_for_each() -> None:
    image, reference = scan(0), scan(3, (11, 4, 9))
    inside, theirs = image.voxels > -500, reference.voxels < -200
    levels = np.linspace(0, 100, 7)
    knots = np.percentile(image.voxels[inside].astype(np.float64), levels)
    values = np.percentile(reference.voxels[theirs].astype(np.float64), levels)
    out = mj.histogram_match(image, reference, points=5, mask=inside, reference_mask=reference.with_voxels(theirs))
    close(out.voxels, reference_map(image.voxels.astype(np.float64), knots, values))
    with pytest.raises(ValueError, match="reference_mask or background selects no finite voxel"):
        mj.histogram_match(image, reference, points=5, mask=inside, reference_mask=np.zeros(reference.shape, bool))


def test_voxels_that_many_share_go_to_the_mean_of_what_meets_them() -> None:
    # 60 % of the image are background 0; the reference has 50 % of it.
    image = Image.from_array(np.r_[np.zeros(60), np.arange(1, 41)].astype(np.float32).reshape(100, 1, 1))
    reference = Image.from_array(np.r_[np.zeros(50), np.arange(10, 510, 10)].astype(np.float32).reshape(100, 1, 1))
    out = np.asarray(mj.histogram_match(image, reference, points=5).voxels).ravel()
    knots, values = (np.percentile(i.voxels.ravel(), np.linspace(0, 100, 7)) for i in (image, reference))
    assert (knots[:4] == 0).all()
    np.testing.assert_allclose(out[:60], values[:4].mean(), rtol=1e-6)
    close(out, reference_map(image.voxels.ravel().astype(np.float64), knots, values))
    assert (np.diff(out) >= 0).all()


def test_constant_image_becomes_the_mean_and_constant_reference_its_value() -> None:
    image, flat = scan(), scan().with_voxels(np.full(SHAPE, 7.5, np.float32))
    np.testing.assert_allclose(mj.histogram_match(image, flat, points=5).voxels, 7.5, rtol=1e-6)
    quantiles = np.percentile(image.voxels, np.linspace(0, 100, 7))
    np.testing.assert_allclose(mj.histogram_match(flat, image, points=5).voxels, quantiles.mean(), rtol=1e-6)


def test_near_ties_do_not_overflow() -> None:
    # Two quantiles so near that the slope between them would be infinite.
    voxels = np.concatenate([np.zeros(50), np.full(49, 2e-38), [1.0]]).astype(np.float32).reshape(100, 1, 1)
    out = mj.histogram_match(
        Image.from_array(voxels), Image.from_array(np.arange(100.0, dtype=np.float32).reshape(100, 1, 1)), points=5
    ).voxels
    assert np.isfinite(np.asarray(out)).all()


def test_match_a_batch_to_one_reference_or_to_one_each() -> None:
    images, references = batch(), mj.stack([scan(n, (4, 9, 5, 2)) for n in (7, 8, 9)])
    one, each = mj.unstack(references)[1], mj.unstack(references)
    shared = np.stack([mj.histogram_match(i, one, points=5).voxels for i in mj.unstack(images)])
    close(mj.histogram_match(images, one, points=5).voxels, shared)
    own = np.stack([mj.histogram_match(i, r, points=5).voxels for i, r in zip(mj.unstack(images), each, strict=True)])
    close(mj.histogram_match(images, references, points=5).voxels, own)


# --- Landmarks -------------------------------------------------------------------------------------------------------

QS = (1.0, 25.0, 50.0, 90.0, 99.0)


def trained(images: list[np.ndarray], low: float = 0.0, high: float = 100.0) -> np.ndarray:
    found = np.stack([np.percentile(x.astype(np.float64), QS) for x in images])
    return (low + (high - low) * (found - found[:, :1]) / (found[:, -1:] - found[:, :1])).mean(0)


def test_landmarks_are_means_of_mapped_percentiles() -> None:
    images = [scan(0), scan(1, (4, 4, 9)), scan(2)]
    landmarks = mj.nyul_train(images, percentiles=QS, range=(-1, 3))
    np.testing.assert_allclose(landmarks.values, trained([i.voxels for i in images], -1, 3), rtol=1e-5)
    assert (landmarks.percentiles, landmarks.background) == (QS, None)


def test_masks_batches_and_channels_in_training() -> None:
    images, mask = batch(), np.random.default_rng(0).random(SHAPE) < 0.5
    extra = mj.unstack(images)[0].with_voxels(images.voxels[0] ** 2 / 1000)
    landmarks = mj.nyul_train([images, extra], masks=[None, mask], percentiles=QS)
    assert landmarks.values.shape == (2, 5)
    for c in range(2):
        wanted = trained([*(images.voxels[n, ..., c] for n in range(3)), extra.voxels[mask, c]])
        np.testing.assert_allclose(landmarks.values[c], wanted, rtol=1e-5)


def test_transform_goes_through_the_landmarks_and_on() -> None:
    image, landmarks = scan(), NyulLandmarks(np.array([0.0, 10.0, 40.0, 60.0, 100.0]), QS)
    knots = np.percentile(image.voxels.astype(np.float64), QS)
    out = np.asarray(mj.nyul_transform(image, landmarks).voxels)
    close(out, reference_map(image.voxels.astype(np.float64), knots, landmarks.values))
    assert out.min() < 0 < 100 < out.max()


def test_scanners_that_differ_by_a_straight_line_agree_afterwards() -> None:
    image = scan()
    other = mj.rescale(image, 3.5, 900.0)
    landmarks = mj.nyul_train([image, other])
    assert landmarks.percentiles == (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
    first, second = (mj.nyul_transform(i, landmarks).voxels for i in (image, other))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-3)


def test_negative_values_are_kept_unless_said_to_be_background() -> None:
    # A CT: half air at -1000, which is not to be dropped for its sign, and tissue around 0.
    rng = np.random.default_rng(0)
    voxels = np.concatenate([np.full(500, -1000), rng.normal(0, 200, 500)]).astype(np.int16).reshape(10, 10, 10)
    image = Image.from_array(voxels)
    tissue = voxels[voxels > -900].astype(np.float64)

    def scaled(x: np.ndarray) -> np.ndarray:
        p = np.percentile(x, QS)
        return 100 * (p - p[0]) / (p[-1] - p[0])

    whole = mj.nyul_train([image], percentiles=QS)
    np.testing.assert_allclose(whole.values, scaled(voxels.astype(np.float64)), rtol=1e-5, atol=1e-4)
    without = mj.nyul_train([image], percentiles=QS, background=-900)
    np.testing.assert_allclose(without.values, scaled(tissue), rtol=1e-5, atol=1e-4)
    # The transform applies the rule that the landmarks were trained with.
    knots = np.percentile(tissue, QS)
    wanted = reference_map(voxels.astype(np.float64), knots, np.asarray(without.values, np.float64))
    close(mj.nyul_transform(image, without).voxels, wanted)


def test_images_without_a_scale_are_named() -> None:
    flat = scan().with_voxels(np.full(SHAPE, 7.0, np.float32))
    with pytest.raises(ValueError, match="image 1: its percentiles 1 and 99 are equal"):
        mj.nyul_train([scan(), flat], percentiles=QS)
    with pytest.raises(ValueError, match="image 0: mask or background selects no finite voxel"):
        mj.nyul_train([scan()], percentiles=QS, background=1e6)
    traced = jax.jit(lambda images: mj.nyul_train(images, percentiles=QS).values)
    np.testing.assert_allclose(traced([scan(), flat]), mj.nyul_train([scan()], percentiles=QS).values, rtol=1e-5)
    np.testing.assert_allclose(traced([flat, flat]), np.interp(QS, (1, 99), (0, 100)), rtol=1e-5)


def test_landmarks_are_a_pytree_with_one_leaf() -> None:
    image, landmarks = scan(), mj.nyul_train([scan(1), scan(2)], percentiles=QS, background="mean")
    assert len(jax.tree.leaves(landmarks)) == 1
    doubled = jax.tree.map(lambda v: 2 * v, landmarks)
    assert (doubled.percentiles, doubled.background) == (QS, "mean")
    out = jax.jit(mj.nyul_transform)(image, doubled).voxels
    np.testing.assert_allclose(out, 2 * np.asarray(mj.nyul_transform(image, landmarks).voxels), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("background", [None, "mean", -900])
def test_json_there_and_back(background: Any, tmp_path: Any) -> None:
    landmarks = mj.nyul_train([scan(1), scan(2)], percentiles=QS, background=background)
    file = tmp_path / "t1.json"
    file.write_text(landmarks.to_json())
    again = NyulLandmarks.from_json(file.read_text())
    assert (again.percentiles, again.background) == (landmarks.percentiles, landmarks.background)
    np.testing.assert_array_equal(jnp.asarray(again.values, jnp.float32), landmarks.values)
    image = scan()
    np.testing.assert_array_equal(mj.nyul_transform(image, again).voxels, mj.nyul_transform(image, landmarks).voxels)


GOOD = {"percentiles": [1, 99], "values": [0, 100], "background": None}
BAD = {
    "not json": ("percentiles", "not JSON"),
    "a list": ("[1, 2]", "percentiles, values and background are needed"),
    "a number": ("3", "percentiles, values and background are needed"),
    "missing": (json.dumps({"percentiles": [1, 99], "values": [0, 100]}), "background are needed"),
    "one percentile": (json.dumps(GOOD | {"percentiles": [1], "values": [1]}), "at least two numbers"),
    "no list": (json.dumps(GOOD | {"percentiles": 5}), "percentiles must be a list, got 5"),
    "null": (json.dumps(GOOD | {"percentiles": [None, 99]}), r"percentiles must be at least two.* \(None, 99\)"),
    "a word": (json.dumps(GOOD | {"percentiles": ["abc", 99]}), r"percentiles must be at least two.*'abc'"),
    "too large": (json.dumps(GOOD | {"values": [0, 10**400]}), "values must be a number"),
    "background dict": (json.dumps(GOOD | {"background": {}}), "None, 'mean' or one finite number"),
    "sizes": (json.dumps(GOOD | {"values": [0, 50, 100]}), r"2 percentiles need as many values.* \(3,\)"),
    "falling": (json.dumps(GOOD | {"values": [100, 0]}), r"must not fall, got \[100\.0, 0\.0\]"),
    "words": (json.dumps(GOOD | {"values": ["low", "high"]}), "values must be a number.* got .'low', 'high'"),
    "not finite": (json.dumps(GOOD | {"values": [0, float("nan")]}), "must be finite"),
    "background": (
        json.dumps(GOOD | {"background": "zero"}),
        "background must be None, 'mean' or a number, got 'zero'",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_other_json_is_refused(text: str, message: str) -> None:
    NyulLandmarks.from_json(json.dumps(GOOD))
    with pytest.raises(ValueError, match=message):
        NyulLandmarks.from_json(text)
