"""Masks: positions, volumes, boxes and components against definitions in float64, for oblique grids, batches and tracers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import SimpleITK as sitk
from mask_cases import SHAPE, blob, label_image
from pet_header import OBLIQUE, oblique

import medjax as mj
from medjax import Image


def world_points(image: Any) -> np.ndarray:
    """Voxel centres, LPS mm, that are not 0, in scan order: by the definition of the affine."""
    index = np.argwhere(np.asarray(image.voxels))
    return index @ image.affine[:3, :3].T + image.affine[:3, 3]


# ------------------------------------------------------------------------------------------------ one_hot


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, bool])
def test_one_hot_has_a_channel_per_class(dtype: Any) -> None:
    labels = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.int16)
    image = label_image(labels).with_metadata(mj.Metadata(modality="SEG"))
    found = mj.one_hot(image, num_classes=5, dtype=dtype)
    np.testing.assert_array_equal(found.voxels, labels[..., None] == np.arange(5))
    assert (found.dtype, found.channels, found.kind) == (np.dtype(dtype), (5,), "intensity")
    assert found.metadata == image.metadata
    np.testing.assert_array_equal(found.affine, image.affine)


def test_one_hot_of_a_batch_under_jit_and_vmap() -> None:
    labels = np.random.default_rng(1).integers(0, 3, (2, *SHAPE)).astype(np.uint8)
    batch = mj.stack([label_image(item) for item in labels])
    expected = (labels[..., None] == np.arange(3)).astype(np.float32)
    for found in (
        mj.one_hot(batch, num_classes=3),
        jax.jit(lambda x: mj.one_hot(x, num_classes=3))(batch),
        jax.vmap(lambda x: mj.one_hot(x, num_classes=3))(batch),
    ):
        np.testing.assert_array_equal(found.voxels, expected)


@pytest.mark.parametrize("dtype", [np.float32, bool])
def test_one_hot_without_classes_is_where_the_mask_is_not_zero(dtype: Any) -> None:
    labels = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.int16)
    for found in (
        mj.one_hot(label_image(labels), dtype=dtype),
        jax.jit(lambda x: mj.one_hot(x, dtype=dtype))(label_image(labels)),
    ):
        np.testing.assert_array_equal(found.voxels, labels != 0)
        assert (found.dtype, found.channels, found.kind) == (np.dtype(dtype), (), "intensity")


def test_one_hot_refuses_labels_out_of_range() -> None:
    image = label_image(np.full(SHAPE, 3, np.int8))
    with pytest.raises(ValueError, match="labels run from 3 to 3, but num_classes=3 allows 0 to 2"):
        mj.one_hot(image, num_classes=3)
    with pytest.raises(ValueError, match="labels run from -1 to -1"):
        mj.one_hot(label_image(np.full(SHAPE, -1, np.int8)), num_classes=3)
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        mj.one_hot(image, num_classes=0)
    with pytest.raises(ValueError, match="float64; compare the mask first"):
        mj.one_hot(Image.from_array(np.ones(SHAPE)), num_classes=3)
    assert not np.asarray(jax.jit(lambda x: mj.one_hot(x, num_classes=3))(image).voxels).any()


# ------------------------------------------------------------------------------------------------ barycenter


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16])
def test_barycenter_is_the_mean_of_the_voxel_centres(dtype: Any) -> None:
    image = label_image(blob(2, dtype=np.uint8).astype(dtype))
    np.testing.assert_allclose(mj.barycenter(image), world_points(image).mean(0), rtol=1e-14)
    np.testing.assert_allclose(mj.barycenter(image, frame="index"), np.argwhere(image.voxels).mean(0), rtol=1e-14)
    assert mj.barycenter(image).dtype == np.float64


def test_barycenter_against_simpleitk() -> None:
    image = label_image(blob(3))
    other = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(image.voxels).transpose(2, 1, 0)))
    other.SetSpacing(image.spacing)
    other.SetOrigin(image.origin)
    other.SetDirection(OBLIQUE.ravel().tolist())
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(other)
    np.testing.assert_allclose(mj.barycenter(image), statistics.GetCentroid(1), atol=1e-9)
    np.testing.assert_allclose(mj.label_volumes(image), statistics.GetPhysicalSize(1), rtol=1e-9)
    start, size = mj.bounding_box(image)
    assert (*start.tolist(), *size.tolist()) == statistics.GetBoundingBox(1)


def test_barycenter_counts_labels_once_and_fractions_by_their_value() -> None:
    labels = blob(4) * np.random.default_rng(4).integers(1, 9, SHAPE).astype(np.uint8)
    np.testing.assert_allclose(
        mj.barycenter(label_image(labels)), world_points(label_image(labels)).mean(0), rtol=1e-14
    )
    soft = np.random.default_rng(5).random(SHAPE).astype(np.float32)
    image = Image.from_array(soft, affine=oblique(1, 2, 3))
    weighted = np.average(np.argwhere(np.ones(SHAPE)), axis=0, weights=soft.astype(np.float64).ravel())
    expected = image.affine[:3, :3] @ weighted + image.affine[:3, 3]
    np.testing.assert_allclose(mj.barycenter(image), expected, atol=1e-5)  # float32 sums over 378 voxels of 1 to 3 mm


def test_barycenter_of_batches_and_channels() -> None:
    items = [label_image(blob(n), *spacing) for n, spacing in ((6, (1, 2, 3)), (7, (2.5, 1.0, 1.5)), (8, (3, 3, 1)))]
    batch = mj.stack(items)
    np.testing.assert_allclose(mj.barycenter(batch), [world_points(item).mean(0) for item in items], rtol=1e-14)
    channels = mj.one_hot(batch, num_classes=2)
    found = mj.barycenter(channels)
    assert found.shape == (3, 2, 3)
    np.testing.assert_allclose(found[:, 1], mj.barycenter(batch), atol=1e-5)


def test_barycenter_is_exact_far_from_the_origin_and_over_many_voxels() -> None:
    """Counts are integers and the rest float64: a full grid of 3e6 voxels has its centre at the centre."""
    affine = oblique(0.7, 0.7, 1.1)
    affine[:3, 3] = (-1500.25, 2200.5, 1834.125)
    image = Image.from_array(np.ones((180, 160, 105), bool), affine=affine, kind="label")
    np.testing.assert_allclose(mj.barycenter(image), image.grid.center, rtol=1e-14)


def test_barycenter_under_jit_vmap_and_grad() -> None:
    items = [label_image(blob(n), 1, 2, 3) for n in (9, 10)]
    batch = mj.stack(items)
    for found in (jax.jit(mj.barycenter)(batch), jax.vmap(mj.barycenter)(batch)):
        np.testing.assert_allclose(found, mj.barycenter(batch), atol=2e-4)  # float32 at 800 mm: 6e-5 per rounding
    # d b / d w_n = (x_n - b) / sum w
    soft = np.random.default_rng(11).random(SHAPE).astype(np.float32)
    image = Image.from_array(soft, affine=oblique(1, 2, 3))
    points = world_points(image.with_voxels(np.ones(SHAPE))).reshape(*SHAPE, 3)
    jacobian = jax.jacrev(lambda v: mj.barycenter(image.with_voxels(v)))(jnp.asarray(soft))
    expected = (points - mj.barycenter(image)) / soft.sum(dtype=np.float64)
    np.testing.assert_allclose(np.moveaxis(jacobian, 0, -1), expected, atol=2e-6)
    forward = jax.jacfwd(lambda v: mj.barycenter(image.with_voxels(v)))(jnp.asarray(soft))
    np.testing.assert_allclose(forward, jacobian, atol=2e-6)


def test_barycenter_differentiates_in_the_affine() -> None:
    image = label_image(blob(12))
    by_affine = jax.jacrev(lambda a: mj.barycenter(Image(image.voxels, a, "label")))(
        jnp.asarray(image.affine, jnp.float32)
    )
    np.testing.assert_allclose(by_affine[0, 0, :3], mj.barycenter(image, frame="index"), rtol=1e-6)
    np.testing.assert_array_equal(by_affine[1, 1, 3], 1)


def test_empty_masks_are_named() -> None:
    empty = label_image(np.zeros(SHAPE, np.uint8))
    batch = mj.stack([label_image(blob(1)), empty])
    for operation in (mj.barycenter, mj.max_radius):
        with pytest.raises(ValueError, match=r"the mask is empty$"):
            operation(empty)
        with pytest.raises(ValueError, match=r"the mask is empty in item \(and channel\) \[1\] of 2"):
            operation(batch)
    np.testing.assert_allclose(jax.jit(mj.barycenter)(empty), empty.grid.center, rtol=1e-5)
    assert float(jax.jit(mj.max_radius)(empty)) == 0.0
    zeros = jnp.zeros(SHAPE, jnp.float32)
    soft = empty.with_kind("intensity")
    gradient = jax.grad(lambda v: mj.barycenter(soft.with_voxels(v)).sum())(zeros)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.usefixtures("unchecked")
def test_unknown_frame_is_refused() -> None:
    for operation in (mj.barycenter, lambda image, frame: mj.mask_points(image, 3, frame=frame)):
        with pytest.raises(ValueError, match="frame must be 'world'"):
            operation(label_image(blob(1)), frame="voxel")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ max_radius


@pytest.mark.parametrize("seed", range(4))
def test_max_radius_is_the_largest_distance(seed: int) -> None:
    image = label_image(blob(seed), 0.8, 2.5, 4.0)
    points = world_points(image)
    for center in (None, (3.0, -20.0, 805.0), np.array([12.5, -30.0, 800.0])):
        from_where = points.mean(0) if center is None else np.asarray(center)
        expected = np.linalg.norm(points - from_where, axis=1).max()
        np.testing.assert_allclose(mj.max_radius(image, center), expected, rtol=1e-12)
        np.testing.assert_allclose(jax.jit(mj.max_radius)(image, center), expected, rtol=1e-5)


def test_max_radius_of_a_batch_channels_and_centres() -> None:
    items = [label_image(blob(n), *spacing) for n, spacing in ((13, (1, 2, 3)), (14, (2.5, 1.0, 1.5)))]
    batch = mj.stack(items)
    centers = np.array([[0.0, 0.0, 800.0], [12.0, -30.0, 790.0]])
    alone = [mj.max_radius(item, center) for item, center in zip(items, centers, strict=True)]
    np.testing.assert_allclose(mj.max_radius(batch, centers), alone, rtol=1e-14)
    np.testing.assert_allclose(
        mj.max_radius(batch, centers[0]), [mj.max_radius(i, centers[0]) for i in items], rtol=1e-14
    )
    np.testing.assert_allclose(jax.vmap(mj.max_radius)(batch, jnp.asarray(centers, jnp.float32)), alone, rtol=1e-5)
    channels = mj.one_hot(batch, num_classes=2)
    np.testing.assert_allclose(mj.max_radius(channels)[:, 1], mj.max_radius(batch), rtol=1e-6)


def test_max_radius_differentiates_in_the_centre() -> None:
    """The gradient is the unit vector from the farthest voxel to the centre; 0 where they coincide."""
    image, center = label_image(blob(15)), np.array([5.0, -25.0, 790.0])
    points = world_points(image)
    farthest = points[np.linalg.norm(points - center, axis=1).argmax()]
    gradient = jax.grad(lambda c: mj.max_radius(image, c))(jnp.asarray(center, jnp.float32))
    np.testing.assert_allclose(gradient, (center - farthest) / np.linalg.norm(center - farthest), atol=1e-5)
    single = np.zeros(SHAPE, np.uint8)
    single[0, 0, 0] = 1
    at_it = jax.grad(lambda c: mj.max_radius(label_image(single), c))(jnp.asarray(oblique(1, 1, 1)[:3, 3], jnp.float32))
    np.testing.assert_array_equal(at_it, 0)


# ------------------------------------------------------------------------------------------------ mask_points


def test_mask_points_are_the_voxels_in_scan_order_filled_with_the_first() -> None:
    image = label_image(blob(16))
    expected, index = world_points(image), np.argwhere(image.voxels)
    total = len(expected)
    points, count = mj.mask_points(image, total + 5)
    assert int(count) == total
    assert points.dtype == np.float64
    np.testing.assert_allclose(points[:total], expected, rtol=1e-14)
    np.testing.assert_array_equal(points[total:], np.broadcast_to(points[0], (5, 3)))
    rows, count = mj.mask_points(image, total, frame="index")
    assert rows.dtype == np.int32
    np.testing.assert_array_equal(rows, index)


@pytest.mark.parametrize("wanted", [1, 7, 20])
def test_too_many_points_are_thinned_evenly(wanted: int) -> None:
    image = label_image(np.ones(SHAPE, np.uint8))
    total = np.prod(SHAPE)
    rows, count = mj.mask_points(image, wanted, frame="index")
    ranks = np.ravel_multi_index(rows.T, SHAPE)
    assert int(count) == wanted
    steps = np.diff([*ranks, total])
    assert ranks[0] == 0
    assert set(steps) <= {total // wanted, -(-total // wanted)}


def test_mask_points_of_batches_and_tracers() -> None:
    items = [label_image(blob(n), *spacing) for n, spacing in ((17, (1, 2, 3)), (18, (2.5, 1.0, 1.5)))]
    items.append(label_image(np.zeros(SHAPE, np.uint8)))
    batch = mj.stack(items)
    found = mj.mask_points(batch, 12)
    for traced in (jax.jit(lambda x: mj.mask_points(x, 12))(batch), jax.vmap(lambda x: mj.mask_points(x, 12))(batch)):
        np.testing.assert_allclose(traced.points, found.points, atol=2e-4)  # float32 at 800 mm
        np.testing.assert_array_equal(traced.count, found.count)
    for n, item in enumerate(items):
        alone = mj.mask_points(item, 12)
        np.testing.assert_array_equal(alone.points, found.points[n])
    assert found.count[2] == 0
    np.testing.assert_allclose(found.points[2], np.broadcast_to(oblique(1, 1, 1)[:3, 3], (12, 3)))
    channels = mj.mask_points(mj.one_hot(batch, num_classes=2), 12)
    np.testing.assert_array_equal(channels.points[:2, 1], found.points[:2])


def test_mask_points_need_a_row() -> None:
    with pytest.raises(ValueError, match="max_points must be at least 1, got 0"):
        mj.mask_points(label_image(blob(1)), 0)


# ------------------------------------------------------------------------------------------------ volumes and boxes


def test_label_volumes_count_voxels_of_oblique_grids() -> None:
    labels = np.random.default_rng(19).integers(0, 5, SHAPE).astype(np.uint8)
    found = mj.label_volumes(label_image(labels, 0.7, 1.3, 2.9), num_classes=7)
    expected = np.bincount(labels.ravel(), minlength=7) * 0.7 * 1.3 * 2.9
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert found.dtype == np.float64
    np.testing.assert_allclose(mj.label_volumes(label_image(labels, 0.7, 1.3, 2.9)), expected[1:].sum(), rtol=1e-13)


def test_label_volumes_of_a_sheared_grid_are_the_determinant() -> None:
    affine = np.eye(4)
    affine[:3, :3] = [[1.0, 0.3, 0.0], [0.0, 2.0, -0.7], [0.1, 0.0, 3.0]]
    image = Image.from_array(np.ones(SHAPE, np.uint8), affine=affine, kind="label")
    np.testing.assert_allclose(mj.label_volumes(image), np.prod(SHAPE) * np.linalg.det(affine[:3, :3]), rtol=1e-13)
    mirrored = Image.from_array(np.ones(SHAPE, np.uint8), affine=affine @ np.diag([-1.0, 1, 1, 1]), kind="label")
    np.testing.assert_allclose(mj.label_volumes(mirrored), mj.label_volumes(image), rtol=1e-13)


def test_label_volumes_of_batches_and_tracers() -> None:
    random = np.random.default_rng(20)
    items = [label_image(random.integers(0, 3, SHAPE).astype(np.int16), *s) for s in ((1, 2, 3), (2, 2, 2))]
    batch = mj.stack(items)
    expected = np.stack([mj.label_volumes(item, num_classes=3) for item in items])
    np.testing.assert_allclose(mj.label_volumes(batch, num_classes=3), expected, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(lambda x: mj.label_volumes(x, num_classes=3))(batch), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(lambda x: mj.label_volumes(x, num_classes=3))(batch), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(mj.label_volumes)(batch), expected[:, 1:].sum(-1), rtol=1e-6)
    dropped = jax.jit(lambda x: mj.label_volumes(x, num_classes=2))(batch)
    np.testing.assert_allclose(dropped, expected[:, :2], rtol=1e-6)


def test_bounding_boxes_of_masks_and_labels() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 1:2, 3:6] = 1
    labels[8, 6, 0] = 3
    image = label_image(labels)
    start, size = mj.bounding_box(image)
    assert (start.tolist(), size.tolist()) == ([2, 1, 0], [7, 6, 6])
    start, size = mj.bounding_box(image, num_classes=4)
    assert start.tolist() == [[0, 0, 0], [2, 1, 3], [0, 0, 0], [8, 6, 0]]
    assert size.tolist() == [[9, 7, 6], [3, 1, 3], [0, 0, 0], [1, 1, 1]]
    cut = mj.crop(image, *mj.bounding_box(image.with_voxels(labels == 1)))
    assert (cut.shape, np.asarray(cut.voxels).all()) == ((3, 1, 3), True)
    empty = mj.bounding_box(image.with_voxels(np.zeros(SHAPE, np.uint8)))
    assert (empty.start.tolist(), empty.size.tolist()) == ([0, 0, 0], [0, 0, 0])


@pytest.mark.parametrize("seed", range(4))
def test_bounding_box_holds_all_and_no_more(seed: int) -> None:
    batch = mj.stack([label_image(blob(seed)), label_image(blob(seed + 50))])
    found = mj.bounding_box(batch)
    for n in range(2):
        index = np.argwhere(batch.voxels[n])
        np.testing.assert_array_equal(found.start[n], index.min(0))
        np.testing.assert_array_equal(found.size[n], np.ptp(index, axis=0) + 1)
    for traced in (jax.jit(mj.bounding_box)(batch), jax.vmap(mj.bounding_box)(batch)):
        np.testing.assert_array_equal(traced.start, found.start)
        np.testing.assert_array_equal(traced.size, found.size)


# ------------------------------------------------------------------------------------------------ components


@pytest.mark.parametrize("connectivity", [6, 26])
def test_components_against_simpleitk(connectivity: Any) -> None:
    voxels = np.random.default_rng(21).random((14, 11, 9)) < (0.3 if connectivity == 6 else 0.12)
    found = np.asarray(mj.connected_components(label_image(voxels.astype(np.uint8)), connectivity=connectivity).voxels)
    other = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0).astype(np.uint8)))
    parts = sitk.ConnectedComponent(other, connectivity == 26)
    expected = sitk.GetArrayFromImage(parts).transpose(2, 1, 0)
    pairs = set(zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == found.max() + 1 == expected.max() + 1  # the same parts, other numbers
    sizes = np.bincount(found.ravel())[1:]
    assert (np.diff(sizes) <= 0).all()
    assert found.dtype == np.int32


def test_connectivity_decides_what_is_one_part() -> None:
    voxels = np.zeros((5, 5, 5), np.uint8)
    voxels[0, 0, 0] = voxels[1, 1, 0] = voxels[2, 2, 1] = 1  # joined by an edge, then by a corner
    counts = {n: int(mj.connected_components(label_image(voxels), connectivity=n).voxels.max()) for n in (6, 18, 26)}
    assert counts == {6: 3, 18: 2, 26: 1}


def test_components_of_a_batch_keep_geometry_and_metadata() -> None:
    items = [label_image(blob(n)).with_metadata(mj.Metadata(series_uid=str(n))) for n in (22, 23)]
    batch = mj.connected_components(mj.stack(items))
    for item, found in zip(items, mj.unstack(batch), strict=True):
        np.testing.assert_array_equal(found.voxels, mj.connected_components(item).voxels)
        assert found.metadata == item.metadata
        assert found.kind == "label"
    nothing = mj.connected_components(label_image(np.zeros(SHAPE, np.uint8)))
    assert not nothing.voxels.any()


def test_components_stay_on_the_host(unchecked: None) -> None:
    with pytest.raises(ValueError, match="runs on the host"):
        jax.jit(mj.connected_components)(label_image(blob(1)))
    with pytest.raises(ValueError, match="connectivity must be 6, 18 or 26 neighbours, got 4"):
        mj.connected_components(label_image(blob(1)), connectivity=4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: mj.label_volumes(x, num_classes=2),
        mj.bounding_box,
        mj.connected_components,
        lambda x: mj.one_hot(x, num_classes=2),
    ],
)
def test_masks_with_channels_or_fractions_are_refused_where_labels_are_needed(operation: Any) -> None:
    channels = mj.one_hot(label_image(blob(1)), num_classes=2, dtype=np.uint8)
    with pytest.raises(ValueError, match=r"but the mask has channels \(2,\)"):
        operation(channels)
    soft = Image.from_array(np.ones(SHAPE, np.float32))
    with pytest.raises(ValueError, match="takes booleans or integers, got float32"):
        operation(soft)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_soft_masks_of_any_precision(dtype: Any) -> None:
    """Sums run in float32 or better: 378 values added up in bfloat16 would be off by 1 %."""
    soft = np.random.default_rng(30).random(SHAPE).astype(dtype)
    image = Image.from_array(jnp.asarray(soft), affine=oblique(1, 2, 3))
    weighted = np.average(np.argwhere(np.ones(SHAPE)), axis=0, weights=soft.astype(np.float64).ravel())
    np.testing.assert_allclose(mj.barycenter(image, frame="index"), weighted, atol=1e-5)
    assert float(mj.dice(image, image)) == pytest.approx(
        (soft.astype(float) ** 2).sum() / soft.astype(float).sum(), rel=1e-5
    )


ANY: Any = mj
WRONG = {
    "no image": (lambda m: ANY.barycenter(m.voxels), "mask must be an Image, got ndarray"),
    "no reference": (
        lambda m: ANY.dice(m, m.voxels),
        r"reference must be an Image.*image\.with_voxels one on the same grid",
    ),
    "no mask": (lambda m: ANY.suv_statistics(m, np.ones(m.shape, bool)), "mask must be an Image"),
    "no label image": (lambda m: ANY.label_volumes([1, 2]), "must be an Image, got list"),
    "classes as text": (lambda m: ANY.one_hot(m, num_classes="3"), "num_classes must be an integer, got '3'"),
    "classes as a fraction": (
        lambda m: ANY.bounding_box(m, num_classes=2.0),
        "num_classes must be an integer, got 2.0",
    ),
    "points as a fraction": (lambda m: ANY.mask_points(m, 2.5), "max_points must be an integer, got 2.5"),
    "flat centre": (lambda m: ANY.max_radius(m, (1, 2)), r"center must be one of shape \(3,\); got shape \(2,\)"),
    "no centre": (
        lambda m: ANY.max_radius(m, (1, 2, np.nan)),
        r"center must be finite, LPS mm, got \[1\.0, 2\.0, nan\]",
    ),
    "two centres": (
        lambda m: ANY.max_radius(m, np.zeros((2, 3))),
        r"center must be one of shape \(3,\); got shape \(2, 3\)",
    ),
    "negative labels": (
        lambda m: ANY.label_volumes(m.with_voxels(np.full(m.shape, -1)), num_classes=2),
        "labels run from -1 to -1",
    ),
    "negative weights": (
        lambda m: ANY.barycenter(m.with_kind("intensity").with_voxels(np.full(m.shape, -1.0, np.float32))),
        "weights from -1 to -1: they must not be negative",
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(label_image(blob(1)))
