"""Windows over a volume, and boxes joined to one: against sums in NumPy, and constants to the last bit."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import medjax as mj

WINDOWS = ("gaussian", "hann", "average", "crop")
# Volume and window: odd sizes, one window as large as the volume, larger along one axis, larger along all.
SIZES = [((11, 9, 7), (4, 5, 3)), ((6, 5, 4), (6, 5, 4)), ((9, 3, 5), (4, 7, 5)), ((3, 2, 4), (5, 5, 5))]


def cut(volume: np.ndarray, starts: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The boxes, 0 where they hang over the end."""
    lack = [max(p - n, 0) for n, p in zip(volume.shape, size, strict=False)]
    padded = np.pad(volume, [(0, n) for n in lack] + [(0, 0)] * (volume.ndim - 3))
    return np.stack([padded[tuple(slice(a, a + p) for a, p in zip(start, size, strict=True))] for start in starts])


def weights_of(window: str, p: int) -> np.ndarray:
    """The formulas as the specification writes them."""
    i = np.arange(p)
    if window == "hann":
        return np.sin(np.pi * (i + 1) / (p + 1)) ** 2
    if window == "gaussian":
        found = np.exp(-((i - (p - 1) / 2) ** 2) / (2 * (p / 8) ** 2))
        return np.maximum(found, 1e-3 * found.max())
    return np.ones(p)


# --- Where windows lie -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9, 0.99])
def test_windows_cover_every_voxel_lie_flush_and_none_lies_twice(overlap: float) -> None:
    for n, p in itertools.product((1, 2, 7, 10, 33), (1, 2, 3, 10, 32)):
        starts = mj.patch.grid((n, 1, 1), (p, 1, 1), overlap=overlap)[:, 0]
        assert (starts[0], starts[-1]) == (0, max(n - p, 0))
        steps = np.diff(starts)
        assert (steps >= 1).all()
        assert (steps <= max(np.ceil(p * (1 - overlap) - 1e-9), 1)).all()
        assert steps.max(initial=0) - steps.min(initial=n) <= 1


def test_number_of_windows_follows_from_the_overlap_and_not_from_its_rounding() -> None:
    """ceil((n - p) / (p (1 - o))) + 1; 10 * (1 - 0.9) is 0.9999999999999998 in float64."""
    assert len(mj.patch.grid((30, 1, 1), (10, 1, 1), overlap=0.9)) == 21
    assert len(mj.patch.grid((160, 96, 96), 32)) == 9 * 5 * 5
    assert mj.patch.grid((5, 4, 3), 2, overlap=(0, 0.5, 0)).tolist()[:4] == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("overlap", [1.0, -0.1, np.nan, "half", (0.5, 0.5)])
@pytest.mark.usefixtures("unchecked")
def test_overlap_that_is_none(overlap: Any) -> None:
    with pytest.raises(ValueError, match="overlap must be one number or three, at least 0 and below 1"):
        mj.patch.grid((8, 8, 8), 4, overlap=overlap)


# --- One volume ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_constant_in_constant_out_to_the_last_bit(shape: Any, size: Any, window: Any) -> None:
    """TorchIO 2's aggregator gave 7e-7 in the corners for 1, as it clamped the summed weight of a Hann window."""
    starts = mj.patch.grid(shape, size, overlap=0.4)
    for value in (0.1, -1234.567, 3e-7):
        patches = np.full((len(starts), *size), value, np.float32)
        out = mj.patch.merge(patches, starts, shape, window=window)
        assert (np.asarray(out) == np.float32(value)).all()


@pytest.mark.parametrize("window", WINDOWS[:3])
def test_weighted_mean_is_that_of_numpy(window: Any) -> None:
    rng = np.random.default_rng(1)
    shape, size = (11, 9, 7), (4, 5, 3)
    starts = mj.patch.grid(shape, size)
    patches = rng.normal(size=(len(starts), *size, 2)).astype(np.float32)
    i, j, k = (weights_of(window, p) for p in size)
    weights = i[:, None, None] * j[:, None] * k
    sums, total = np.zeros((*shape, 2)), np.zeros(shape)
    for patch, start in zip(patches, starts, strict=True):
        box = tuple(slice(a, a + p) for a, p in zip(start, size, strict=True))
        sums[box] += weights[..., None] * patch
        total[box] += weights
    out = mj.patch.merge(patches, starts, shape, window=window)
    np.testing.assert_allclose(
        out, sums / total[..., None], atol=64 * float(np.finfo(np.float32).eps)
    )  # 27 boxes over a voxel


@pytest.mark.parametrize("starts", ["grid", "random"])
def test_crop_is_an_exact_partition_by_the_nearest_centre(starts: str) -> None:
    """Each patch holds its own number, so the result says who owns a voxel."""
    shape, size = (11, 9, 7), (4, 5, 3)
    places = mj.patch.grid(shape, size, overlap=0.6)
    if starts == "random":
        rng = np.random.default_rng(2)
        places = np.concatenate([places, rng.integers(0, np.subtract(shape, size) + 1, (20, 3))])[rng.permutation(20)]
        places = np.concatenate([places, mj.patch.grid(shape, size)])
    patches = np.broadcast_to(np.arange(len(places), dtype=np.int16)[:, None, None, None], (len(places), *size))
    out = np.asarray(mj.patch.merge(patches, places, shape, window="crop"))
    assert out.dtype == np.int16
    for voxel in np.ndindex(*shape):
        inside = ((voxel >= places) & (voxel < places + size)).all(axis=1)
        twice = 2 * (np.array(voxel) - places) - (np.array(size) - 1)
        square = ((twice * np.prod(size) // size) ** 2).sum(axis=1)
        assert out[voxel] == np.flatnonzero(inside & (square == square[inside].min()))[0]


def test_crop_gives_a_volume_back_labels_and_wide_integers() -> None:
    volume = np.random.default_rng(3).integers(0, 5, (11, 9, 7))
    assert volume.dtype == np.int64  # which no device has
    starts = mj.patch.grid(volume.shape, 4)
    out = mj.patch.merge(cut(volume, starts, (4, 4, 4)), starts, volume.shape, window="crop")
    assert out.dtype == np.int64
    np.testing.assert_array_equal(out, volume)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_patches_of_a_volume_give_it_back(shape: Any, size: Any, window: Any) -> None:
    volume = np.random.default_rng(4).normal(size=(*shape, 2)).astype(np.float32)
    starts = mj.patch.grid(shape, size)
    out = mj.patch.merge(cut(volume, starts, size), starts, shape, window=window)
    np.testing.assert_allclose(out, volume, rtol=0, atol=0 if window == "crop" else 4e-7)


def test_starts_may_be_traced_and_the_patches_have_a_gradient() -> None:
    volume = np.random.default_rng(5).normal(size=(7, 5, 4)).astype(np.float32)
    starts = mj.patch.grid(volume.shape, 3)
    patches = cut(volume, starts, (3, 3, 3))

    @jax.jit
    def merged(patches: Any, starts: Any) -> Any:
        return mj.patch.merge(patches, starts, volume.shape)

    np.testing.assert_allclose(merged(patches, starts), mj.patch.merge(patches, starts, volume.shape), atol=1e-6)
    gradient = jax.grad(lambda p: jnp.sum(merged(p, starts)))(patches)
    # The shares of a voxel sum to 1, so all of them sum to the number of voxels.
    np.testing.assert_allclose(gradient.sum(), volume.size, rtol=1e-5)


def test_voxels_without_a_patch_are_an_error_or_have_a_value() -> None:
    patches, starts = np.ones((1, 2, 2, 2), np.float32), np.array([[1, 0, 0]])
    with pytest.raises(ValueError, match=r"4 of 12 voxels lie in no patch; .*such as fill=0"):
        mj.patch.merge(patches, starts, (3, 2, 2))
    out = mj.patch.merge(patches, starts, (3, 2, 2), fill=-1)
    assert np.asarray(out)[:, 0, 0].tolist() == [-1.0, 1.0, 1.0]


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_of_merge() -> None:
    patches, starts = np.ones((2, 2, 2, 2), np.float32), np.zeros((2, 3), int)
    with pytest.raises(ValueError, match=r"starts\[1\] is \[0, 2, 0\], but patches of \(2, 2, 2\) lie in a volume of"):
        mj.patch.merge(patches, np.array([[0, 0, 0], [0, 2, 0]]), (2, 3, 2))
    with pytest.raises(ValueError, match=r"starts must be integers \(2, 3\), one row for each patch"):
        mj.patch.merge(patches, starts[:1], (2, 2, 2))
    with pytest.raises(ValueError, match="window must be 'crop', 'average', 'hann' or 'gaussian'"):
        mj.patch.merge(patches, starts, (2, 2, 2), window="box")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"patches must be \(w, i, j, k, \*channels\)"):
        mj.patch.merge(patches[0], starts, (2, 2, 2))
    with pytest.raises(ValueError, match=r"fill=0\.5 is no label"):
        mj.patch.merge(patches.astype(np.uint8), starts, (3, 2, 2), window="crop", fill=0.5)
