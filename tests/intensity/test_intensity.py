"""Intensity operations: values against NumPy in float64, rules for masks, constants and NaN, one compilation."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pydicom
import pydicom.pixels
import pytest
from intensity_cases import (
    EPS,
    LANDMARKS,
    OPERATIONS,
    SHAPE,
    batch,
    by_item_and_channel,
    half_mask,
    reference_like,
    scan,
)
from scans import oblique_affine

import medjax as mj
from medjax import Image

# --- What holds for every operation ----------------------------------------------------------------------------------

EACH = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def close(found: Any, wanted: Any, eps: float = 16 * EPS) -> None:
    """Equal within some roundings of float32 of the largest value: each result is a handful of operations from the data."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=eps * np.nanmax(np.abs(wanted)))


@EACH
def test_geometry_and_metadata_stay(operation: Any) -> None:
    image = scan()
    out = operation(image)
    assert out.affine is image.affine
    assert out.metadata is image.metadata
    assert (out.kind, out.shape, out.dtype) == ("intensity", SHAPE, np.float32)
    assert isinstance(image.voxels, np.ndarray), "the input is left alone"


@EACH
def test_numpy_and_jax_voxels_eager_and_traced_agree(operation: Any) -> None:
    image = scan()
    eager = operation(image).voxels
    on_device = image.with_voxels(jnp.asarray(image.voxels))
    np.testing.assert_array_equal(operation(on_device).voxels, eager)
    close(jax.jit(lambda voxels: operation(image.with_voxels(voxels)).voxels)(image.voxels), eager)


@EACH
def test_batch_equals_its_items_and_vmap(operation: Any) -> None:
    images = batch(channels=())
    out = operation(images)
    assert out.metadata == images.metadata
    each = np.stack([operation(image).voxels for image in mj.unstack(images)])
    close(out.voxels, each)
    close(jax.vmap(operation)(images).voxels, each)


@pytest.mark.parametrize("name", ["histogram_match", "percentile", "window", "z_score_masked"])
def test_channels_have_statistics_of_their_own(name: str) -> None:
    operation = OPERATIONS[name]
    image = mj.unstack(batch(channels=(3,)))[1]
    out = operation(image).voxels
    for channel in range(3):
        close(out[..., channel], operation(image.with_voxels(image.voxels[..., channel])).voxels)


@pytest.mark.parametrize("name", ["percentile", "window"])
@pytest.mark.parametrize("dtype", [">i2", "int64", "uint8", "bool", "float16", ">f8"])
def test_any_stored_dtype_becomes_float32(name: str, dtype: str) -> None:
    image, operation = scan(), OPERATIONS[name]
    stored = image.with_voxels((np.abs(image.voxels) % 256 if "u" in dtype else image.voxels).astype(dtype))
    out = operation(stored).voxels
    assert out.dtype == np.float32
    close(out, operation(image.with_voxels(stored.voxels.astype(np.float32))).voxels)


@pytest.mark.parametrize("name", ["percentile", "z_score_masked"])
def test_float64_stays_where_x64_is_on(name: str) -> None:
    operation = OPERATIONS[name]
    with jax.enable_x64(True):
        exact = operation(scan(dtype=np.float64)).voxels
        assert exact.dtype == np.float64
        assert operation(scan(dtype=np.float32)).voxels.dtype == np.float32
        assert operation(scan(dtype=np.int16)).voxels.dtype == np.float32
    close(operation(scan()).voxels, exact, 64 * EPS)


@EACH
def test_labels_and_complex_numbers_are_refused(operation: Any) -> None:
    with pytest.raises(ValueError, match="labels"):
        operation(scan(dtype=np.int16, kind="label"))
    with pytest.raises(ValueError, match="complex64"):
        operation(scan(dtype=np.complex64))


@EACH
def test_other_scans_and_parameters_compile_nothing(operation: Any, compilations: Any) -> None:
    operation(scan(1))
    with compilations:
        operation(scan(2))
    assert compilations.count == 0


def test_other_parameters_compile_nothing(compilations: Any) -> None:
    image, landmarks = scan(), mj.NyulLandmarks(np.array([0.0, 1.0]), (1.0, 99.0))

    def all_with(a: float, b: float) -> None:
        mj.clip(image, -a, b)
        mj.window(image, a, b)
        mj.rescale(image, a, b)
        mj.min_max_normalize(image, range=(a, b))
        mj.percentile_normalize(image, percentiles=(a, b), range=(-b, a), outside="extend")
        mj.histogram_match(image, reference_like(image), points=5, background=-a)
        mj.nyul_transform(image, mj.NyulLandmarks(landmarks.values * b, (a, b), background=-a))

    all_with(1.0, 99.0)
    with compilations:
        all_with(2.5, 42.0)
    assert compilations.count == 0


@EACH
def test_nan_stays_and_touches_nobody(operation: Any) -> None:
    image = scan()
    voxels, is_nan = image.voxels.copy(), np.random.default_rng(3).random(SHAPE) < 0.3
    voxels[is_nan] = np.nan
    out = np.asarray(operation(image.with_voxels(voxels)).voxels)
    np.testing.assert_array_equal(np.isnan(out), is_nan)
    # What is known gives the same numbers as an image made of nothing else, where the mask does not tell them apart.
    if operation is not OPERATIONS["z_score_masked"]:
        rest = Image.from_array(voxels[~is_nan].reshape(-1, 1, 1))
        close(out[~is_nan], np.asarray(operation(rest).voxels).ravel())


@EACH
def test_infinite_voxels_leave_the_others_alone(operation: Any) -> None:
    image = scan()
    voxels = image.voxels.copy()
    voxels[0, 0, :3], voxels[4, 6, 5] = np.inf, -np.inf
    lost = np.where(np.isinf(voxels), np.nan, voxels)
    with_infinite, with_nan = (np.asarray(operation(image.with_voxels(v)).voxels) for v in (voxels, lost))
    assert not np.isnan(with_infinite).any()
    np.testing.assert_array_equal(with_infinite[np.isfinite(voxels)], with_nan[np.isfinite(voxels)])
    assert (with_infinite[0, 0, :3] >= with_infinite[np.isfinite(voxels)].max()).all()


@EACH
@pytest.mark.parametrize("value", [0.1, -700.0, 0.0, 3e37])
def test_constant_images_give_finite_results(operation: Any, value: float) -> None:
    image = scan().with_voxels(np.full(SHAPE, value, np.float32))
    out = np.asarray(operation(image).voxels)
    assert np.isfinite(out).all()
    assert (out == out.flat[0]).all()
    close(jax.jit(operation)(image).voxels, out)


# --- Normalisation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ddof", [0, 1])
def test_z_score_per_item_and_channel(ddof: int) -> None:
    images, masks = batch(), np.random.default_rng(1).random((3, *SHAPE)) < 0.4

    def z_score(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return (x - x[mask].mean()) / x[mask].std(ddof=ddof)

    wanted = by_item_and_channel(z_score, images.voxels, 1, masks)
    found = mj.z_score_normalize(images, mask=masks, ddof=ddof)  # type: ignore[arg-type]
    close(found.voxels, wanted)


def test_z_score_of_a_large_offset_keeps_its_digits() -> None:
    # Spread 1 around 100 000: one rounding of the data is 0.008, a plain sum of squares in float32 would be lost.
    voxels = (1e5 + np.random.default_rng(0).normal(0, 1, (64, 64, 64))).astype(np.float32)
    exact = voxels.astype(np.float64)
    found = mj.z_score_normalize(Image.from_array(voxels)).voxels
    np.testing.assert_allclose(found, (exact - exact.mean()) / exact.std(ddof=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", [2.0**-110, 2.0**-40, 2.0**100])
@pytest.mark.parametrize("name", ["z_score", "z_score_masked", "min_max", "percentile"])
def test_tiny_and_huge_units_change_nothing(name: str, factor: float) -> None:
    # Squares of these are beyond float32; a power of 2 rounds nothing.
    image, operation = scan(), OPERATIONS[name]
    scaled = image.with_voxels(image.voxels * np.float32(factor))
    close(operation(scaled).voxels, operation(image).voxels)


def test_z_score_of_constants() -> None:
    image = scan().with_voxels(np.full(SHAPE, 0.1, np.float32))
    assert (np.asarray(mj.z_score_normalize(image).voxels) == 0).all()
    # Constant inside the mask only: shifted, not scaled.
    voxels = np.where(half_mask(), np.float32(0.1), np.float32(7.5))
    out = np.asarray(mj.z_score_normalize(image.with_voxels(voxels), mask=half_mask()).voxels)
    np.testing.assert_array_equal(out, voxels - np.float32(0.1))
    # A single voxel has no spread that one degree of freedom could measure.
    assert mj.z_score_normalize(Image.from_array(np.full((1, 1, 1), 3.0))).voxels.item() == 0


def test_min_max_per_item_and_channel() -> None:
    images, masks = batch(), np.random.default_rng(1).random((3, *SHAPE)) < 0.4

    def min_max(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
        low, high = x[mask].min(), x[mask].max()
        return -1 + 3 * (x - low) / (high - low)

    wanted = by_item_and_channel(min_max, images.voxels, 1, masks)
    out = np.asarray(mj.min_max_normalize(images, range=(-1, 2), mask=masks).voxels)
    close(out, wanted)
    assert out.min() < -1, "outside the mask the line goes on"
    assert out.max() > 2


@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.1, 0.7), (-3.3, 1e-3), (1000.1, 1000.3)])
def test_min_max_meets_the_ends_and_stays_between_them(ends: Any) -> None:
    low, high = (np.float32(end) for end in ends)
    for seed in range(20):
        out = np.asarray(mj.min_max_normalize(scan(seed), range=ends).voxels)
        assert (out.min(), out.max()) == (low, high)


def test_min_max_of_a_constant_is_the_lower_end() -> None:
    image = scan().with_voxels(np.full(SHAPE, 0.1, np.float32))
    assert (np.asarray(mj.min_max_normalize(image, range=(-3, 2)).voxels) == -3).all()


@pytest.mark.parametrize("outside", ["clip", "extend"])
def test_percentiles_per_item_and_channel(outside: Any) -> None:
    images, masks = batch(), np.random.default_rng(1).random((3, *SHAPE)) < 0.4

    def percentile(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
        low, high = np.percentile(x[mask], (12.5, 93.0))
        y = (x - low) / (high - low) * 200 - 100
        return np.clip(y, -100, 100) if outside == "clip" else y

    wanted = by_item_and_channel(percentile, images.voxels, 1, masks)
    found = mj.percentile_normalize(images, percentiles=(12.5, 93.0), range=(-100, 100), mask=masks, outside=outside)
    close(found.voxels, wanted)


def test_percentiles_that_are_equal_give_the_lower_end() -> None:
    voxels = np.zeros((10, 10, 10), np.float32)
    voxels[0, 0, :5] = 7  # 0.5 % of the voxels
    image = Image.from_array(voxels)
    assert (np.asarray(mj.percentile_normalize(image, range=(-1, 1)).voxels) == -1).all()
    assert np.asarray(mj.percentile_normalize(image, percentiles=(1, 100)).voxels).max() == 1


# --- Masks -----------------------------------------------------------------------------------------------------------

MASKED = {
    "z_score": lambda image, mask: mj.z_score_normalize(image, mask=mask),
    "min_max": lambda image, mask: mj.min_max_normalize(image, mask=mask),
    "percentile": lambda image, mask: mj.percentile_normalize(image, mask=mask, outside="extend"),
    "nyul": lambda image, mask: mj.nyul_transform(image, LANDMARKS, mask=mask),
}
EACH_MASKED = pytest.mark.parametrize("operation", MASKED.values(), ids=MASKED)


@EACH_MASKED
def test_masks_may_be_images_labels_or_arrays(operation: Any) -> None:
    image, inside = scan(), half_mask()
    wanted = operation(image, inside).voxels
    assert np.abs(np.asarray(wanted) - operation(image, None).voxels).max() > 1e-3, "the mask matters"
    labels = image.with_voxels(inside.astype(np.uint8) * 3).with_kind("label")
    for mask in (jnp.asarray(inside), inside.astype(np.int8) * -1, labels, image.with_voxels(inside), inside.tolist()):
        np.testing.assert_array_equal(operation(image, mask).voxels, wanted)


@EACH_MASKED
def test_masks_are_traced_and_mapped_with_their_images(operation: Any) -> None:
    images = batch(channels=())
    masks = np.random.default_rng(2).random((3, *SHAPE)) < 0.5
    each = np.stack([operation(i, m).voxels for i, m in zip(mj.unstack(images), masks, strict=True)])
    close(operation(images, masks).voxels, each)
    close(operation(images, images.with_voxels(masks)).voxels, each)
    shared = np.stack([operation(i, masks[0]).voxels for i in mj.unstack(images)])
    close(operation(images, masks[0]).voxels, shared)
    close(jax.jit(jax.vmap(operation, (0, None)))(images, scan().with_voxels(masks[0])).voxels, shared)


@EACH_MASKED
def test_nan_outside_or_inside_a_mask_does_not_count(operation: Any) -> None:
    image, inside = scan(), half_mask()
    voxels = image.voxels.copy()
    voxels[~inside] = np.nan
    wanted = np.asarray(operation(image, inside).voxels)
    np.testing.assert_array_equal(
        np.asarray(operation(image.with_voxels(voxels), inside).voxels)[inside], wanted[inside]
    )
    close(np.asarray(operation(image.with_voxels(voxels), None).voxels)[inside], wanted[inside])


@EACH_MASKED
def test_empty_masks_raise_where_they_can_be_seen(operation: Any) -> None:
    image, empty = scan(), np.zeros(SHAPE, bool)
    with pytest.raises(ValueError, match="no finite voxel"):
        operation(image, empty)
    only_nan = image.voxels.copy()
    only_nan[1] = np.nan
    empty[1] = True
    with pytest.raises(ValueError, match="no finite voxel"):
        operation(image.with_voxels(only_nan), empty)
    masks = np.ones((3, *SHAPE), bool)
    masks[1] = False
    with pytest.raises(ValueError, match=r"item \(and channel\) \[1\] of 3"):
        operation(batch(channels=()), masks)


@EACH_MASKED
def test_empty_masks_count_as_none_under_a_transformation(operation: Any) -> None:
    image = scan()
    out = jax.jit(operation)(image, np.zeros(SHAPE, bool))
    np.testing.assert_allclose(out.voxels, operation(image, None).voxels, rtol=1e-5, atol=1e-5)
    nothing = image.with_voxels(np.full(SHAPE, np.nan, np.float32))
    assert np.isnan(np.asarray(jax.jit(operation)(nothing, np.zeros(SHAPE, bool)).voxels)).all()


@EACH_MASKED
def test_masks_on_other_grids_are_refused(operation: Any) -> None:
    image, inside = scan(), half_mask()
    near, far = (Image.from_array(inside, affine=oblique_affine()) for _ in range(2))
    shifted = oblique_affine()
    shifted[2, 3] += 5e-4
    near = Image.from_array(inside, affine=shifted)
    operation(image, near)
    # The origin agrees, but the last plane does not.
    turned = oblique_affine()
    turned[:3, 2] *= 1.001
    far = Image.from_array(inside, affine=turned)
    with pytest.raises(ValueError, match=r"0\.01.* mm away"):
        operation(image, far)
    with pytest.raises(ValueError, match="resample"):
        operation(image, Image.from_array(inside[1:], affine=oblique_affine()))
    with pytest.raises(ValueError, match="does not lie on"):
        operation(image, inside[1:])
    with pytest.raises(ValueError, match="float32"):
        operation(image, inside.astype(np.float32))


# --- Given parameters ------------------------------------------------------------------------------------------------


def test_clip_has_open_ends() -> None:
    image = scan()
    np.testing.assert_array_equal(mj.clip(image, -600, 200).voxels, np.clip(image.voxels, -600, 200))
    np.testing.assert_array_equal(mj.clip(image, None, 200).voxels, np.minimum(image.voxels, 200))
    np.testing.assert_array_equal(mj.clip(image, -600, None).voxels, np.maximum(image.voxels, -600))


def test_rescale_is_the_straight_line() -> None:
    image = scan()
    close(mj.rescale(image, 2.5, -1024).voxels, image.voxels.astype(np.float64) * 2.5 - 1024)


@pytest.mark.parametrize("slope", [0.0, 2.0, -2.0])
def test_rescale_keeps_nan_and_infinity(slope: float) -> None:
    x, sign = np.array([np.nan, np.inf, -np.inf, 100], np.float32), -1 if slope < 0 else 1
    found = mj.rescale(Image.from_array(x.reshape(4, 1, 1)), slope, 10).voxels
    np.testing.assert_array_equal(np.ravel(found), [np.nan, sign * np.inf, -sign * np.inf, 100 * slope + 10])


def dicom_window(x: float, center: float, width: float, function: str, low: float, high: float) -> float:
    """The pseudo-code of PS3.3 C.11.2.1.2.1 and C.11.2.1.3, voxel by voxel."""
    if function == "sigmoid":
        return (high - low) / (1 + math.exp(min(-4 * (x - center) / width, 700))) + low
    c, w = (center - 0.5, width - 1) if function == "linear" else (center, width)
    if x <= c - w / 2:
        return low
    if x > c + w / 2:
        return high
    return ((x - c) / w + 0.5) * (high - low) + low


@pytest.mark.parametrize("function", ["linear", "linear_exact", "sigmoid"])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500.5), (0, 1), (2048, 4096), (-300.25, 2)])
def test_window_is_dicoms(function: Any, center: float, width: float) -> None:
    x = np.concatenate([np.linspace(-1100, 2000, 997), center + np.array([-1, -0.5, 0, 0.5, 1]), [-1e6, 1e6]])
    image = Image.from_array(x.astype(np.float32).reshape(-1, 2, 2))
    wanted = [dicom_window(float(v), center, width, function, -3, 250) for v in image.voxels.ravel()]
    found = mj.window(image, center, width, function=function, range=(-3, 250)).voxels
    # The position within the window is a difference of values that are rounded where they are large beside its width.
    np.testing.assert_allclose(found.ravel(), wanted, rtol=0, atol=253 * EPS * (4 + 2 * abs(center) / width))


@pytest.mark.parametrize("function", ["linear", "linear_exact", "sigmoid"])
def test_window_agrees_with_pydicom(function: Any) -> None:
    header = pydicom.Dataset()
    header.PhotometricInterpretation, header.BitsStored, header.PixelRepresentation = "MONOCHROME2", 12, 0
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = 40.0, 400.0, function.upper()
    image = scan(dtype=np.int16)
    wanted = pydicom.pixels.apply_windowing(image.voxels, header)
    close(mj.window(image, 40, 400, function=function, range=(0, 4095)).voxels, wanted)


def test_window_of_width_one_is_a_threshold() -> None:
    image = Image.from_array(np.array([99, 100, 101], np.int16).reshape(3, 1, 1))
    assert mj.window(image, 100, 1).voxels.ravel().tolist() == [0.0, 1.0, 1.0]


def test_parameters_per_item_and_channel() -> None:
    images = batch(2)
    per_item, per_channel = np.array([[40.0], [-20.0]]), np.array([[300.0, 500.0], [350.0, 900.0]])
    out = mj.window(images, per_item, per_channel, range=(0, per_channel[:1])).voxels
    for n in range(2):
        for c in range(2):
            one = mj.unstack(images)[n].with_voxels(images.voxels[n, ..., c])
            close(
                out[n, ..., c], mj.window(one, per_item[n, 0], per_channel[n, c], range=(0, per_channel[0, c])).voxels
            )
    mapped = jax.vmap(lambda image, c, w: mj.window(image, c, w))(images, per_item[:, 0], per_channel).voxels
    close(mapped, mj.window(images, per_item, per_channel).voxels)


# --- Wrong arguments -------------------------------------------------------------------------------------------------

ANY: Any = mj  # wrong on purpose, so not for the type checker
WRONG = {
    "clip order": (lambda i: ANY.clip(i, 2, 1), "low must not be above high"),
    "clip nan": (lambda i: ANY.clip(i, np.nan, 1), "low must be a number"),
    "rescale infinite": (lambda i: ANY.rescale(i, np.inf, 0), "slope must be finite"),
    "rescale shape": (lambda i: ANY.rescale(i, [1, 2], 0), r"slope must be one number; got shape \(2,\)"),
    "linear width": (lambda i: ANY.window(i, 0, 0.5), "width must be at least 1"),
    "exact width": (lambda i: ANY.window(i, 0, 0, function="linear_exact"), "width must be above 0"),
    "function": (lambda i: ANY.window(i, 0, 1, function="LINEAR"), "'linear', 'linear_exact' or 'sigmoid'"),
    "range order": (lambda i: ANY.min_max_normalize(i, range=(1, 1)), "range must rise"),
    "range length": (lambda i: ANY.min_max_normalize(i, range=(1, 2, 3)), "two numbers"),
    "ddof": (lambda i: ANY.z_score_normalize(i, ddof=2), "ddof must be 0 or 1"),
    "outside": (lambda i: ANY.percentile_normalize(i, outside="cut"), "'clip' or 'extend'"),
    "percentile order": (lambda i: ANY.percentile_normalize(i, percentiles=(99, 1)), "rise within 0 to 100"),
    "percentile range": (lambda i: ANY.percentile_normalize(i, percentiles=(1, 101)), "rise within 0 to 100"),
    "three percentiles": (lambda i: ANY.percentile_normalize(i, percentiles=(1, 2, 3)), "two numbers"),
    "no image": (
        lambda i: ANY.z_score_normalize(i.voxels),
        r"must be an Image, got ndarray; Image\.from_array makes one",
    ),
    "no reference image": (lambda i: ANY.histogram_match(i, i.voxels), "must be an Image, got ndarray"),
    "one end": (lambda i: ANY.min_max_normalize(i, range=3), r"two numbers \(low, high\), got 3"),
    "text for a range": (lambda i: ANY.min_max_normalize(i, range=("a", "b")), "range must be a number.* got 'a'"),
    "text for a limit": (lambda i: ANY.clip(i, "low", 1), "low must be a number.* got 'low'"),
    "no window": (lambda i: ANY.window(i, None, 400), "center must be a number.* got None"),
    "one percentile": (lambda i: ANY.percentile_normalize(i, percentiles=50), r"two numbers \(lower, upper\), got 50"),
    "no percentile": (lambda i: ANY.percentile_normalize(i, percentiles=(None, 5)), r"percentiles must.* \(None, 5\)"),
    "text for a percentile": (lambda i: ANY.nyul_train([i], percentiles=["abc", 99]), r"percentiles must.*'abc'"),
    "one for percentiles": (lambda i: ANY.nyul_train([i], percentiles=5), "percentiles must.* got 5"),
    "a dict for background": (lambda i: ANY.histogram_match(i, i, background={}), "None, 'mean' or one finite"),
    "a list for landmarks": (lambda i: ANY.nyul_transform(i, [0.0, 100.0]), "from nyul_train .* got list"),
    "points": (lambda i: ANY.histogram_match(i, i, points=0), "points must be at least 1"),
    "background": (lambda i: ANY.histogram_match(i, i, background="median"), "None, 'mean' or a number"),
    "reference labels": (lambda i: ANY.histogram_match(i, i.with_voxels(i.voxels > 0).with_kind("label")), "labels"),
    "reference batch": (lambda i: ANY.histogram_match(i, batch(channels=())), "one reference"),
    "landmark channels": (
        lambda i: ANY.nyul_transform(i, ANY.NyulLandmarks(np.zeros((2, 2)), (1.0, 99.0))),
        "channels",
    ),
    "no images": (lambda i: ANY.nyul_train([]), "at least one image"),
    "masks": (lambda i: ANY.nyul_train([i], masks=[None, None]), "a mask or None for each"),
    "train range": (lambda i: ANY.nyul_train([i], range=(1, 0)), "range must rise"),
    "train channels": (lambda i: ANY.nyul_train([i, ANY.unstack(batch())[0]]), "same channels"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(scan())


@pytest.mark.usefixtures("unchecked")
def test_percentiles_cannot_be_traced() -> None:
    with pytest.raises(ValueError, match="plain numbers"):
        jax.jit(lambda q: mj.percentile_normalize(scan(), percentiles=(q, 99.0)).voxels)(1.0)
