"""Dice and surface distances against SimpleITK, brute force over points, and closed forms."""

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


def to_sitk(image: Any) -> sitk.Image:
    other = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(image.voxels).transpose(2, 1, 0).astype(np.uint8)))
    other.SetSpacing(image.spacing)
    other.SetOrigin(image.origin)
    other.SetDirection(OBLIQUE.ravel().tolist())
    return other


# ------------------------------------------------------------------------------------------------ Dice


@pytest.mark.parametrize("seed", range(4))
def test_dice_against_simpleitk(seed: int) -> None:
    a, b = label_image(blob(seed)), label_image(blob(seed + 100))
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(to_sitk(a), to_sitk(b))
    np.testing.assert_allclose(mj.dice(a, b), overlap.GetDiceCoefficient(), rtol=2e-7)


def test_dice_of_labels_batches_and_channels() -> None:
    random = np.random.default_rng(1)
    maps = random.integers(0, 4, (2, 3, *SHAPE)).astype(np.uint8)
    a, b = (mj.stack([label_image(item) for item in stack]) for stack in maps)
    expected = np.array(
        [
            [2 * ((x == c) & (y == c)).sum() / ((x == c).sum() + (y == c).sum()) for c in range(4)]
            for x, y in zip(*maps, strict=True)
        ]
    )
    compare = lambda x, y: mj.dice(x, y, num_classes=4)  # noqa: E731
    for found in (
        compare(a, b),
        jax.jit(compare)(a, b),
        jax.vmap(compare)(a, b),
        mj.dice(mj.one_hot(a, num_classes=4), mj.one_hot(b, num_classes=4)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_dice_of_what_does_not_occur_is_one() -> None:
    empty = label_image(np.zeros(SHAPE, np.uint8))
    assert float(mj.dice(empty, empty)) == 1.0
    assert float(mj.dice(empty, label_image(blob(1)))) == 0.0
    assert mj.dice(empty, empty, num_classes=3).tolist() == [1.0, 1.0, 1.0]


def test_soft_dice_differentiates() -> None:
    """d/da_n of 2 sum(ab) / (sum a + sum b) = 2 (b_n S - sum ab) / S^2."""
    random = np.random.default_rng(2)
    a, b = (random.random(SHAPE).astype(np.float32) for _ in range(2))
    reference = Image.from_array(b, affine=oblique(1, 2, 3))
    found = jax.grad(lambda v: mj.dice(reference.with_voxels(v), reference))(jnp.asarray(a))
    total, both = a.sum(dtype=np.float64) + b.sum(dtype=np.float64), (a * b).sum(dtype=np.float64)
    np.testing.assert_allclose(found, 2 * (b * total - both) / total**2, rtol=1e-4, atol=1e-8)
    crisp = label_image(blob(3), 1, 2, 3)
    mixed = mj.dice(reference.with_voxels(a), crisp)
    np.testing.assert_allclose(mixed, 2 * (a * crisp.voxels).sum() / (a.sum() + crisp.voxels.sum()), rtol=1e-6)
    zeros = jnp.zeros(SHAPE, jnp.float32)
    at_nothing = jax.grad(lambda v: mj.dice(reference.with_voxels(v), reference.with_voxels(jnp.zeros(SHAPE))))(zeros)
    np.testing.assert_array_equal(at_nothing, 0)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_what_is_not_finite_is_neither_inside_nor_outside(value: float, name: str) -> None:
    """A mask of NaN must not agree with anything, as 0 / 0 would have it."""
    voxels = np.zeros(SHAPE, np.float32)
    voxels[1, 1, 1], voxels[2, 2, 3] = 1.0, value
    image = Image.from_array(voxels)
    operations: tuple[Any, ...] = (
        lambda m: mj.dice(m, m),
        mj.barycenter,
        mj.max_radius,
        lambda m: mj.mask_points(m, 3),
    )
    for operation in operations:
        for given in (image, image.with_voxels(jnp.asarray(voxels))):
            with pytest.raises(ValueError, match=f"the mask is {name} in 1 of {voxels.size} voxels"):
                operation(given)
    for traced in operations[:2] if np.isnan(value) else ():
        assert np.isnan(jax.jit(traced)(image)).all()


def test_dice_counts_many_voxels_exactly() -> None:
    """Above 2^24 voxels float32 cannot count one by one; integers can."""
    voxels = np.ones((257, 257, 257), bool)
    image = Image.from_array(voxels, kind="label")
    half = voxels.copy()
    half[:, :, 128:] = False
    found = float(mj.dice(image, image.with_voxels(half)))
    assert found == pytest.approx(2 * 128 / (257 + 128), rel=1e-7)


# ------------------------------------------------------------------------------------------------ surfaces


def brute_force(a: np.ndarray, b: np.ndarray, matrix: np.ndarray) -> tuple[float, float, float]:
    """All pairs of surface voxels; a surface voxel is one for which a face neighbour is missing, looked up one by one."""

    def surface(inside: np.ndarray) -> np.ndarray:
        voxels = {tuple(index) for index in np.argwhere(inside)}
        steps = [tuple(s * np.eye(3, dtype=int)[axis]) for axis in range(3) for s in (-1, 1)]
        edge = [v for v in sorted(voxels) if any(tuple(np.add(v, s)) not in voxels for s in steps)]
        return np.array(edge) @ matrix.T

    one, other = surface(a), surface(b)
    distances = np.sqrt(((one[:, None] - other[None]) ** 2).sum(-1))
    there, back = distances.min(1), distances.min(0)
    hd95 = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    return max(there.max(), back.max()), hd95, (there.sum() + back.sum()) / (len(there) + len(back))


@pytest.mark.parametrize("seed", range(5))
def test_surface_distances_against_all_pairs(seed: int) -> None:
    spacing = [(1.0, 1.0, 1.0), (0.7, 2.2, 4.1), (3.0, 0.5, 1.25)][seed % 3]
    a, b = (label_image(blob(s, (12, 10, 9)), *spacing) for s in (seed, seed + 200))
    found = mj.surface_distances(a, b)
    expected = brute_force(np.asarray(a.voxels) > 0, np.asarray(b.voxels) > 0, a.affine[:3, :3])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(mj.surface_distances(b, a), found, rtol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_surface_distances_against_distance_maps_of_simpleitk(seed: int) -> None:
    """Maurer distance maps of the surfaces (face neighbours), read at the other surface's voxels."""
    a, b = (label_image(blob(s, (12, 10, 9)), 0.9, 2.0, 3.5) for s in (seed + 300, seed + 400))
    directed = []
    for one, other in ((a, b), (b, a)):
        # Pad first: the contour filter does not take the image's edge for a surface.
        surfaces = [sitk.BinaryContour(sitk.ConstantPad(to_sitk(x), [1] * 3, [1] * 3, 0), False) for x in (one, other)]
        distance = sitk.Abs(sitk.SignedMaurerDistanceMap(surfaces[1], squaredDistance=False, useImageSpacing=True))
        directed.append(sitk.GetArrayFromImage(distance)[sitk.GetArrayFromImage(surfaces[0]) > 0])
    found = mj.surface_distances(a, b)
    # The filter works in float32.
    np.testing.assert_allclose(found.hausdorff_mm, max(d.max() for d in directed), rtol=1e-6)
    np.testing.assert_allclose(found.hd95_mm, max(np.percentile(d, 95) for d in directed), rtol=1e-6)
    np.testing.assert_allclose(found.mean_mm, np.concatenate(directed).mean(), rtol=1e-6)


def test_hd95_is_the_larger_directed_percentile_not_the_pooled_one() -> None:
    """A long bar against its first voxel: the bar's own distances decide, 0, 2, ... 2 (n - 1) mm."""
    bar, dot = np.zeros((41, 3, 3), bool), np.zeros((41, 3, 3), bool)
    bar[:, 1, 1], dot[0, 1, 1] = True, True
    a, b = (label_image(x, 2.0, 1.0, 1.0) for x in (bar, dot))
    found = mj.surface_distances(a, b)
    distances = 2.0 * np.arange(41)
    assert found.hausdorff_mm == pytest.approx(80.0)
    assert found.hd95_mm == pytest.approx(76.0)  # rank 0.95 * 40 = 38
    assert found.hd95_mm != pytest.approx(np.percentile([*distances, 0.0], 95))
    assert found.mean_mm == pytest.approx(distances.sum() / 42)


def test_shifted_cube_closed_form() -> None:
    """A cube of 5 voxels moved by 3 along the axis of 4 mm: every point of the leading faces is 12 mm away."""
    a, b = np.zeros((14, 9, 9), bool), np.zeros((14, 9, 9), bool)
    a[1:6, 2:7, 2:7], b[4:9, 2:7, 2:7] = True, True
    found = mj.surface_distances(label_image(a, 4.0, 1.0, 1.0), label_image(b, 4.0, 1.0, 1.0))
    assert found.hausdorff_mm == pytest.approx(12.0)
    assert found.mean_mm == pytest.approx(brute_force(a, b, np.diag([4.0, 1.0, 1.0]))[2])


def test_identical_and_empty_masks() -> None:
    full, empty = label_image(blob(1)), label_image(np.zeros(SHAPE, np.uint8))
    assert mj.surface_distances(full, full) == (0, 0, 0)
    assert mj.surface_distances(empty, empty) == (0, 0, 0)
    assert mj.surface_distances(full, empty) == (np.inf,) * 3
    assert mj.surface_distances(empty, full) == (np.inf,) * 3


def test_surface_distances_of_labels_and_batches() -> None:
    random = np.random.default_rng(3)
    maps = random.integers(0, 3, (2, 2, *SHAPE)).astype(np.uint8)
    spacings = ((1, 2, 3), (2.5, 1.0, 1.5))
    a, b = (mj.stack([label_image(m, *s) for m, s in zip(pair, spacings, strict=True)]) for pair in maps)
    found = mj.surface_distances(a, b, num_classes=3)
    assert found.hd95_mm.shape == (2, 3)
    for n in range(2):
        for label in range(3):
            expected = brute_force(maps[0, n] == label, maps[1, n] == label, a.affine[n, :3, :3])
            np.testing.assert_allclose([x[n, label] for x in found], expected, rtol=1e-12)


def test_agreement_needs_one_grid() -> None:
    a = label_image(blob(1))
    for operation in (mj.dice, mj.surface_distances):
        with pytest.raises(ValueError, match="lies on another grid: a corner is"):
            operation(a, label_image(blob(2), 1.5, 2.25, 3.1))
        with pytest.raises(ValueError, match="bring it to the image's grid"):
            operation(a, label_image(blob(2, (5, 5, 5))))
    with pytest.raises(ValueError, match="runs on the host"):
        jax.jit(mj.surface_distances)(a, a)
    with pytest.raises(ValueError, match=r"channels \(2,\) and the reference \(\)"):
        mj.dice(mj.one_hot(a, num_classes=2), a)
