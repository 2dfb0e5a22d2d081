"""Operators on images: NumPy's values, the kinds and metadata that users expect, and errors that say what to do."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from intensity_cases import SHAPE, scan
from scans import oblique_affine

import medjax as mj
from medjax import Image

ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def small(seed: int = 0, channels: tuple[int, ...] = (), dtype: Any = np.float32) -> Image:
    values = np.random.default_rng(seed).uniform(1, 9, (*SHAPE, *channels))
    return Image.from_array(values.astype(dtype), affine=oblique_affine(), metadata=mj.Metadata(source=f"scan {seed}"))


def mask(dtype: Any = np.uint8) -> Image:
    labels = np.random.default_rng(8).integers(0, 3, SHAPE)
    return Image.from_array(
        labels.astype(dtype), affine=oblique_affine(), kind="label", metadata=mj.Metadata(source="m")
    )


@pytest.mark.parametrize("symbol", ARITHMETIC)
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.float64, np.int64])
def test_arithmetic_with_numbers_and_images_is_numpys(symbol: str, dtype: Any) -> None:
    function, image, other = ARITHMETIC[symbol], small(0, dtype=dtype), small(1, dtype=dtype)
    a, b = (np.asarray(x.voxels, np.float64) for x in (image, other))
    for found, wanted in (
        (function(image, 2.5), function(a, 2.5)),
        (function(2.5, image), function(2.5, a)),
        (function(np.float64(2.5), image), function(2.5, a)),
        (function(image, jnp.float32(2.5)), function(a, 2.5)),
        (function(jnp.float32(2.5), image), function(2.5, a)),
        (function(image, other), function(a, b)),
        (jax.jit(function)(image, other), function(a, b)),
        (jax.jit(function)(image, 2.5), function(a, 2.5)),
    ):
        assert isinstance(found, Image)
        assert isinstance(found.voxels, jax.Array)
        assert (found.dtype, found.kind) == (np.float32, "intensity")
        np.testing.assert_allclose(found.voxels, wanted, rtol=3e-6, atol=3e-6)
        np.testing.assert_allclose(found.affine, image.affine, rtol=1e-6)
    assert function(image, other).metadata == image.metadata
    assert function(2, image).metadata == image.metadata


def test_float64_stays_where_x64_is_on() -> None:
    with jax.enable_x64(True):
        image = small(dtype=np.float64)
        np.testing.assert_allclose((image / 3).voxels, image.voxels / 3, rtol=1e-15)
        assert (image / 3).dtype == np.float64
        assert (small() / np.float64(3)).dtype == np.float32


def test_negation_magnitude_and_complex_voxels() -> None:
    image = small() - 5
    np.testing.assert_array_equal((-image).voxels, -np.asarray(image.voxels))
    np.testing.assert_array_equal(abs(image).voxels, np.abs(image.voxels))
    wave = image.with_voxels(np.asarray(image.voxels) * np.exp(2j).astype(np.complex64))
    np.testing.assert_allclose(abs(wave).voxels, np.abs(image.voxels), rtol=1e-6)
    np.testing.assert_allclose((wave * 2j).voxels, wave.voxels * 2j, rtol=1e-6)
    with pytest.raises(ValueError, match="> takes real numbers, got complex64"):
        wave > 1  # noqa: B015


def test_numbers_broadcast_against_items_and_channels() -> None:
    batch = mj.stack([small(0, (2,)), small(1, (2,))])
    for value in (np.array([2.0, 3.0]), np.array([[2.0], [3.0]]), [[1.0, 2.0], [3.0, 4.0]]):
        wanted = batch.voxels * np.broadcast_to(value, (2, 2))[:, None, None, None]
        np.testing.assert_allclose((batch * value).voxels, wanted, rtol=1e-6)
        left: Any = np.asarray(value) * batch
        np.testing.assert_allclose(left.voxels, wanted, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(lambda x, v: x * v)(batch, jnp.asarray(value)).voxels, wanted, rtol=1e-6)
    assert (batch * 2).metadata == batch.metadata
    with pytest.raises(ValueError, match=r"beside \* must be one number, or one per channel \(2,\).*got shape \(3,\)"):
        batch * np.ones(3)
    with pytest.raises(ValueError, match=r"an array of shape \(5, 7, 6\) beside \+ lies on no grid.*with_voxels"):
        small() + np.ones(SHAPE)


def test_an_image_without_batch_or_channels_goes_with_each() -> None:
    batch, single = mj.stack([small(0, (2,)), small(1, (2,))]), small(4)
    batch = mj.Image(batch.voxels, batch.affine, "intensity", batch.metadata)
    wanted = batch.voxels - single.voxels[..., None]
    found = batch - single
    np.testing.assert_allclose(found.voxels, wanted, rtol=1e-6)
    assert found.metadata == batch.metadata
    turned = single - batch
    np.testing.assert_allclose(turned.voxels, -wanted, rtol=1e-6)
    assert turned.batch_shape == (2,)
    assert turned.metadata == (single.metadata,) * 2
    with pytest.raises(ValueError, match=r"have channels \(2,\) and \(3,\)"):
        small(0, (2,)) + small(0, (3,))


def test_images_on_other_grids_are_refused() -> None:
    image = small()
    with pytest.raises(ValueError, match=r"the image beside - lies on another grid.*resample_to_image"):
        image - mj.translate(image, (1, 0, 0))
    with pytest.raises(ValueError, match="the image beside < is"):
        image < mj.crop(image, 0, (3, 3, 3))  # noqa: B015


def test_labels_are_masks_and_no_amounts() -> None:
    image, labels = small(), mask()
    for found in (image * labels, labels * image):
        np.testing.assert_array_equal(found.voxels, np.where(labels.voxels != 0, image.voxels, 0))
        assert (found.kind, found.metadata) == ("intensity", image.metadata)
    for wrong in (
        lambda: labels + 1,
        lambda: -labels,
        lambda: abs(labels),
        lambda: 2 * labels,
        lambda: labels + labels,
    ):
        with pytest.raises(ValueError, match="names, not amounts"):
            wrong()


@pytest.mark.parametrize("symbol", ORDER)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16, np.uint8, np.int32, bool])
def test_comparisons_are_numpys_and_give_masks(symbol: str, dtype: Any) -> None:
    function, image, other = ORDER[symbol], small(0, dtype=dtype), small(1, dtype=dtype)
    for bound in (5, 4.5, -1, 300, -40000, 2.0**31, np.inf, -np.inf, np.nan):
        wanted = function(image.voxels.astype(np.float64), bound)
        found = function(image, bound)
        np.testing.assert_array_equal(found.voxels, wanted, err_msg=str(bound))
        assert (found.kind, found.dtype, found.metadata) == ("label", bool, image.metadata)
        np.testing.assert_array_equal(jax.jit(function)(image, jnp.float32(bound)).voxels, wanted, err_msg=str(bound))
        np.testing.assert_array_equal(function(bound, image).voxels, function(bound, image.voxels.astype(np.float64)))
    np.testing.assert_array_equal(function(image, other).voxels, function(image.voxels, other.voxels))


def test_integers_compare_exactly_beyond_what_float32_holds() -> None:
    values = np.array([2**24, 2**24 + 1, 2**31 - 1], np.int32).reshape(3, 1, 1)
    image = Image.from_array(values)
    assert (image > 2**24).voxels.ravel().tolist() == [False, True, True]
    assert (image <= 2**24 + 0.5).voxels.ravel().tolist() == [True, False, False]
    assert (image >= 2**31 - 1).voxels.ravel().tolist() == [False, False, True]
    assert (image < image.with_voxels(values + np.int32(0))).voxels.any() == np.False_
    assert (Image.from_array(values, kind="label") > 2**24).voxels.ravel().tolist() == [False, True, True]


def test_masks_combine() -> None:
    image, labels = small(), mask()
    a, b = image.voxels > 3, labels.voxels != 0
    for found, wanted in (
        ((image > 3) & labels, a & b),
        ((image > 3) | labels, a | b),
        ((image > 3) ^ labels, a ^ b),
        (~labels, ~b),
        (jax.jit(lambda i, m: (i > 3) & ~m)(image, labels), a & ~b),
    ):
        np.testing.assert_array_equal(found.voxels, wanted)
        assert (found.kind, found.dtype) == ("label", bool)
    with pytest.raises(ValueError, match="& takes masks, got float32 intensities; compare them first"):
        image & labels


def test_equality_is_identity_and_truth_is_refused() -> None:
    """A chained comparison is an `and` of two, which would give the second one alone."""
    image = small()
    assert image == image
    assert image != small()
    assert hash(image) == hash(image)
    with pytest.raises(ValueError, match=r"chain comparisons by &"):
        2 < image < 3  # noqa: B015
    with pytest.raises(TypeError, match="not iterable"):
        list(image)
    for wrong in (lambda: image + "a", lambda: image < None, lambda: image & True):
        with pytest.raises(TypeError, match=r"unsupported operand|not supported"):
            wrong()


def test_numpy_still_reads_an_image_as_an_array() -> None:
    image = small()
    np.testing.assert_array_equal(np.sqrt(np.asarray(image)), np.sqrt(image.voxels))


KEYS: dict[str, Callable[[Image], tuple[Image, Any]]] = {
    "one": lambda x: (x[..., 1], x.voxels[..., 1]),
    "from the end": lambda x: (x[..., -1], x.voxels[..., -1]),
    "some": lambda x: (x[..., 1:], x.voxels[..., 1:]),
    "two axes": lambda x: (x[..., 0, :], x.voxels[..., 0, :]),
    "both": lambda x: (x[..., 1, 2], x.voxels[..., 1, 2]),
    "listed": lambda x: (x[..., [2, 0]], x.voxels[..., [2, 0]]),
    "chosen": lambda x: (x[..., np.array([True, False, True])], x.voxels[..., [0, 2]]),
    "named": lambda x: (x[:, :, :, 1], x.voxels[:, :, :, 1]),
    "added": lambda x: (x[..., None], x.voxels[..., None]),
}


@pytest.mark.parametrize("key", KEYS)
def test_trailing_axes_by_index(key: str) -> None:
    image = small(0, (2, 3))
    found, wanted = KEYS[key](image)
    np.testing.assert_array_equal(found.voxels, wanted)
    assert isinstance(found.voxels, np.ndarray)  # no arithmetic
    assert found.affine is image.affine
    assert found.metadata == image.metadata
    device = image.with_voxels(jnp.asarray(image.voxels))
    np.testing.assert_array_equal(KEYS[key](device)[0].voxels, wanted)
    np.testing.assert_array_equal(jax.jit(lambda x: KEYS[key](x)[0])(image).voxels, wanted)


def test_traced_and_impossible_indices() -> None:
    image = small(0, (3,))
    np.testing.assert_array_equal(jax.jit(lambda t: image[..., t].voxels)(2), image.voxels[..., 2])
    batch = mj.stack([image, image])
    assert batch[..., 0].batch_shape == (2,)
    assert batch[..., 0].metadata == batch.metadata
    for image_or_device in (image, image.with_voxels(jnp.asarray(image.voxels))):
        with pytest.raises(IndexError, match="3 is out of bounds"):
            image_or_device[..., 3]
    for wrong in (
        lambda: image[0],
        lambda: image[:, :, 2:],
        lambda: batch[0],
        lambda: small()[..., 0],
        lambda: image[None],
    ):
        with pytest.raises(ValueError, match=r"takes channels.*crop.*unstack"):
            wrong()


def test_gradients_and_fusion() -> None:
    image = scan()
    slope = jax.grad(lambda v, s: ((image.with_voxels(v) * s - 3) ** 2).voxels.sum(), (0, 1))(
        jnp.asarray(image.voxels), 0.01
    )
    residual = image.voxels.astype(np.float64) * 0.01 - 3
    np.testing.assert_allclose(slope[0], 2 * residual * 0.01, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(slope[1], (2 * residual * image.voxels).sum(), rtol=1e-4)

    def chain(x: Image) -> Image:
        return mj.rotate((mj.rotate(x, "k", 5.0, fill=0.0) + 1000) / 2, "k", 5.0, fill=0.0)

    np.testing.assert_allclose(mj.fuse(chain)(image).voxels, chain(image).voxels, rtol=1e-5, atol=1e-3)
    kept = mj.fuse(lambda x: mj.rotate(x, "k", 5.0) > 0)(image)
    assert type(kept) is Image
    assert kept.kind == "label"
