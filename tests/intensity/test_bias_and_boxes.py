"""Smooth fields against NumPy's and SciPy's, boxes, shifts of the histogram, images made of labels, mixed items."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from applier_cases import SHAPE, image_of
from scipy import ndimage

import medjax as mj
from medjax import Image
from medjax._kernels._lattice_field import lattice_basis, lattice_field

# Private: the basis of the field, which users only see through an exponential.

KEY = jax.random.key(5)


def test_a_field_of_control_points_is_a_cubic_spline() -> None:
    """SciPy's, of coefficients: point 1 lies on the first face of the field of view, the last but one on the last face."""
    control = np.random.default_rng(0).normal(size=(4, 6, 5, 2)).astype(np.float32)
    found = lattice_field(jax.numpy.asarray(control), SHAPE)
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij")).astype(float)
    cells = np.array(control.shape[:3]) - 3
    place = (index + 0.5) * (cells / np.array(SHAPE)).reshape(3, 1, 1, 1) + 1
    for part in range(2):
        wanted = ndimage.map_coordinates(control[..., part].astype(float), place, order=3, prefilter=False)
        np.testing.assert_allclose(found[..., part], wanted, atol=2e-6)
    for size, count in ((1, 4), (9, 7), (300, 12)):
        np.testing.assert_allclose(lattice_basis(size, count).sum(1), 1, atol=1e-14)


def test_bias_lattice_is_the_exponential_of_the_field() -> None:
    image, control = image_of(0), np.random.default_rng(1).normal(size=(4, 5, 4)) * 0.3
    wanted = image.voxels * np.exp(lattice_field(jax.numpy.asarray(control, np.float32), SHAPE))
    np.testing.assert_allclose(mj.bias_lattice(image, control).voxels, wanted, rtol=2e-6)


def test_a_bias_field_has_geometric_mean_one() -> None:
    image = Image.from_array(np.ones((6, 7, 8), np.float32))
    out = mj.bias_field(image, np.random.default_rng(2).uniform(-1, 1, (4, 4, 4)))
    assert np.log(np.asarray(out.voxels, np.float64)).mean() == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_fields_that_do_not_fit() -> None:
    for call, words in (
        (lambda: mj.bias_field(image_of(0), [1.0, 2.0]), r"coefficients must be \(\.\.\., p, q, r\)"),
        (lambda: mj.bias_lattice(image_of(0), np.zeros((4, 4, 3))), "control_points must be .* at least 4"),
        (lambda: mj.bias_field(image_of(0), np.full((2, 2, 2), np.nan)), "coefficients must be finite"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_nothing_beyond_a_voxel_that_is_not_finite() -> None:
    """Pointwise operations leave it and count the others."""
    image = image_of(1)
    voxels = image.voxels.copy()
    voxels[0, 0, 0], voxels[1, 1, 1] = np.nan, np.inf
    spoiled = image.with_voxels(voxels)
    for call in (
        lambda i: mj.adjust_gamma(i, 0.7, retain_stats=True),
        lambda i: mj.adjust_contrast(i, 1.4),
        lambda i: mj.adjust_brightness(i, 1.4, shift=0.2, relative="std"),
        lambda i: mj.histogram_shift(i, [0.1, -0.1]),
        lambda i: mj.spike(i, (1, 1, 0), 0.3),
        lambda i: mj.bias_field(i, np.full((2, 2, 2), 0.2)),
    ):
        out = np.asarray(call(spoiled).voxels)
        np.testing.assert_array_equal(np.argwhere(~np.isfinite(out)), [[0, 0, 0], [1, 1, 1]])
        gradient = jax.jit(jax.grad(lambda v, call=call: call(spoiled.with_voxels(v)).voxels[2, 2, 2]))(voxels)
        assert np.isfinite(gradient).all()


def test_a_constant_image_stays() -> None:
    image = Image.from_array(np.full((3, 4, 5), 7, np.int16))
    for out in (
        mj.adjust_gamma(image, 0.5, retain_stats=True),
        mj.adjust_gamma(image, 2.0, invert=True),
        mj.adjust_contrast(image, 2.0),
        mj.histogram_shift(image, [0.1]),
        mj.gibbs(image, 0.4),
        mj.degrade_resolution(image, 2.7),
        mj.degrade_resolution(image, 2.7, kernel="gaussian"),
    ):
        np.testing.assert_allclose(out.voxels, 7, rtol=1e-6)


def test_histogram_shift_keeps_the_order_and_says_so() -> None:
    """MONAI's points may overtake each other."""
    image = image_of(0)
    with pytest.raises(
        ValueError, match=r"shifts must keep the order of intensities: none may be more than 0\.25 below"
    ):
        mj.histogram_shift(image, [0.1, -0.2, 0.0])
    out = np.asarray(mj.histogram_shift(image, [0.2, -0.05, 0.25]).voxels).ravel()
    order = np.argsort(image.voxels.ravel())
    assert (np.diff(out[order]) >= -1e-4).all()
    assert (out.min(), out.max()) == (image.voxels.min(), image.voxels.max())


@pytest.mark.usefixtures("unchecked")
def test_boxes_that_meet_or_leave_the_image() -> None:
    """TorchIO 1.2.1 notices equal places only, and never draws the last one."""
    image = image_of(0)
    last = mj.swap_boxes(image, [[0, 0, 0]], [[3, 4, 5]], 3)
    np.testing.assert_array_equal(np.asarray(last.voxels)[3:, 4:, 5:], image.voxels[:3, :3, :3])
    for first, second, size, words in (
        ([[0, 0, 0]], [[2, 2, 2]], 3, r"boxes of \(3, 3, 3\) meet"),
        ([[0, 0, 0]], [[4, 0, 0]], 3, r"second: a box of \(3, 3, 3\) leaves the image"),
        ([[-1, 0, 0]], [[4, 0, 0]], 1, "first: a box"),
        ([[0.5, 0, 0]], [[4, 0, 0]], 1, "first must be whole numbers"),
        ([[0, 0, 0]], [[4, 0, 0]], 9, r"size must be at most the image's, \(6, 7, 8\)"),
        ([[0, 0, 0]] * 2, [[4, 0, 0]], 1, "as many boxes"),
        ([0, 0, 0], [[4, 0, 0]], 1, r"first must be \(\.\.\., m, 3\)"),
    ):
        with pytest.raises(ValueError, match=words):
            mj.swap_boxes(image, first, second, size)


# --- Synthesis and mixing --------------------------------------------------------------------------------------------


def test_labels_become_normal_numbers_of_their_class() -> None:
    rng = np.random.default_rng(0)
    labels = Image.from_array(rng.integers(0, 3, (40, 40, 20)).astype(np.uint8), kind="label", spacing=2.0)
    out = mj.labels_to_image(KEY, labels, [0.0, 50.0, 90.0], [1.0, 4.0, 9.0])
    assert (out.kind, out.dtype, out.spacing) == ("intensity", np.float32, labels.spacing)
    for label, (mean, std) in enumerate(((0, 1), (50, 4), (90, 9))):
        inside = np.asarray(out.voxels)[labels.voxels == label]
        assert inside.mean() == pytest.approx(mean, abs=0.05 * std)
        assert inside.std() == pytest.approx(std, rel=0.03)
    with pytest.raises(ValueError, match="labels run from 0 to 2, but num_classes=2"):
        mj.labels_to_image(KEY, labels, [0.0, 1.0], [0.0, 0.0])
    pair = mj.stack([labels, labels])
    each = mj.labels_to_image(KEY, pair, np.arange(6.0).reshape(2, 3), np.zeros(3))
    np.testing.assert_array_equal(each.voxels[1], labels.voxels + 3)


def test_mixup_takes_the_next_item_and_mixes_labels_as_shares() -> None:
    batch = mj.stack([image_of(n) for n in range(3)])
    share = np.array([1.0, 0.25, 0.6])
    out = mj.mixup(batch, share)
    np.testing.assert_array_equal(out.voxels[0], batch.voxels[0])
    np.testing.assert_allclose(out.voxels[2], 0.6 * batch.voxels[2] + 0.4 * batch.voxels[0], rtol=1e-6)
    np.testing.assert_array_equal(out.affine, batch.affine)
    assert out.metadata == batch.metadata
    labels = mj.stack([Image.from_array(np.full((2, 2, 2), n, np.uint8), kind="label") for n in range(3)])
    shares = mj.mixup(labels, share[:, None], num_classes=3)
    assert (shares.kind, shares.channels) == ("intensity", (3,))
    np.testing.assert_allclose(shares.voxels[1, 0, 0, 0], [0, 0.25, 0.75])


def test_cutmix_moves_image_and_labels_alike() -> None:
    batch = mj.stack([image_of(n, dtype=np.int16) for n in range(2)])
    start, size = np.array([[1.0, 2, 0], [0, 0, 0]]), np.array([[3.0, 2, 8], [0, 0, 0]])
    for image in (batch, batch.with_kind("label")):
        out = mj.cutmix(image, start, size)
        inside = np.zeros(SHAPE, bool)
        inside[1:4, 2:4] = True
        assert (out.dtype, out.kind) == (np.int16, image.kind)
        np.testing.assert_array_equal(out.voxels[0], np.where(inside, batch.voxels[1], batch.voxels[0]))
        np.testing.assert_array_equal(out.voxels[1], batch.voxels[1])


@pytest.mark.usefixtures("unchecked")
def test_items_that_cannot_be_mixed() -> None:
    alone, calls = image_of(0), (lambda i: mj.mixup(i, 0.5), lambda i: mj.cutmix(i, (0, 0, 0), (1, 1, 1)))
    apart = mj.stack([image_of(0), image_of(0, spacing=(0.7, 1.1, 2.6))])
    for call in calls:
        with pytest.raises(ValueError, match="this image has no batch axis"):
            call(alone)
        with pytest.raises(ValueError, match="items of one spacing"):
            call(apart)
    labels: Any = mj.stack([alone.with_voxels(np.ones(SHAPE, np.uint8)).with_kind("label")] * 2)
    with pytest.raises(ValueError, match="mixup of labels needs num_classes"):
        mj.mixup(labels, 0.5)
    with pytest.raises(ValueError, match="num_classes is for labels"):
        mj.mixup(mj.stack([alone, alone]), 0.5, num_classes=3)
