"""Artefacts of MR: symmetric masks, ghosts where they belong, motion about the image's centre; bugs of other libraries."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from applier_cases import frequencies, image_of, masked

import medjax as mj
from medjax import Image
from medjax._kernels._frequency import comb_matrix, low_pass_matrix, segment_matrix


def matrix_of(mask: np.ndarray) -> np.ndarray:
    """The real part of a mask of the centred spectrum as a matrix, by NumPy's FFT."""
    size = len(mask)
    return np.stack([masked(np.eye(size)[m].reshape(-1, 1, 1), mask, 0).ravel() for m in range(size)], axis=-1)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 16, 37])
def test_matrices_are_those_of_the_fourier_transform(size: int) -> None:
    """To some epsilons of float64: the forms are exact. Even and odd, with and without the line -n/2."""
    k, q = frequencies(size), np.arange(size)
    with jax.enable_x64(True):
        for keep in (0.0, 0.3, 0.5, 0.99, 1.0):
            wanted = matrix_of((np.abs(k) <= keep * size / 2 + 1e-9) | (keep == 1))
            np.testing.assert_allclose(low_pass_matrix(jnp.asarray(keep), size), wanted, atol=2e-14)
        for count, restore in ((1, 0.0), (2, 0.0), (3, 0.2), (4, 0.5), (2, 1.0)):
            is_weak = (k % count == 0) & (np.abs(k) > restore * size / 2 + 1e-9) & (k != 0)
            found = comb_matrix(jnp.asarray(float(count)), jnp.asarray(0.7), jnp.asarray(restore), size)
            np.testing.assert_allclose(found, matrix_of(np.where(is_weak, 0.3, 1.0)), atol=2e-14)
        for start, stop in ((0, size), (0, size // 2), (size // 3, size), (size // 2, size // 2 + 1), (1, 0)):
            found = segment_matrix(jnp.asarray(start), jnp.asarray(stop), size, jnp.float64)
            np.testing.assert_allclose(found, matrix_of((q >= start) & (q < stop)), atol=2e-14)


@pytest.mark.parametrize("size", [8, 9])
def test_gibbs_is_symmetric_about_frequency_zero(size: int) -> None:
    """MONAI 1.6 centres its sphere at (n - 1) / 2: for even n the mask is not Hermitian, so that a mirrored image differs."""
    image = Image.from_array(np.random.default_rng(0).normal(size=(size, size, size)).astype(np.float32))
    out = np.asarray(mj.gibbs(image, 0.6).voxels)
    mirrored = mj.gibbs(image.with_voxels(image.voxels[::-1, ::-1, ::-1]), 0.6).voxels[::-1, ::-1, ::-1]
    np.testing.assert_allclose(mirrored, out, atol=2e-6)
    np.testing.assert_allclose(out.mean(), image.voxels.mean(), atol=1e-6)
    spectrum = np.fft.fftshift(np.fft.fft(out, axis=0), axes=0)
    is_kept = np.abs(spectrum).max((1, 2)) > 1e-4
    np.testing.assert_array_equal(is_kept, np.abs(frequencies(size)) <= 0.6 * size / 2)


def test_ghosting_has_as_many_ghosts_as_asked_and_keeps_the_mean() -> None:
    """TorchIO 2.0.0a2 takes `n // count` for the period: 4 asked, 31 made; and without `restore` it weakens frequency 0."""
    size, count = 128, 4
    image = Image.from_array(np.eye(1, size, 10, dtype=np.float32).reshape(1, size, 1) * 100)
    out = np.asarray(mj.ghosting(image, count, 0.8, axis="j", restore=0.0).voxels).ravel()
    ghosts = np.flatnonzero(np.abs(out - image.voxels.ravel()) > 5)
    np.testing.assert_array_equal(ghosts, 10 + np.arange(count) * size // count)  # the point itself among them
    assert out.mean() == pytest.approx(image.voxels.mean(), rel=1e-5)


def test_a_traced_axis_for_each_item() -> None:
    images = mj.stack([image_of(n) for n in range(3)])
    out = jax.jit(lambda axis: mj.ghosting(images, 2, 0.7, axis=axis))(np.arange(3))
    for n in range(3):
        axis: Any = n
        wanted = mj.ghosting(image_of(n), 2, 0.7, axis=axis).voxels
        np.testing.assert_allclose(out.voxels[n], wanted, atol=1e-4)
    poses = np.full((1, 3), 5.0)
    moved = jax.jit(lambda axis: mj.motion(images, poses, poses, [0.4], axis=axis, fill=0.0))(np.arange(3))
    for n, letter in enumerate("ijk"):
        wanted = mj.motion(image_of(n), poses, poses, [0.4], axis=letter, fill=0.0).voxels  # type: ignore[arg-type]
        np.testing.assert_allclose(moved.voxels[n], wanted, atol=2e-3)


@pytest.mark.usefixtures("unchecked")
def test_axes_that_are_none() -> None:
    image = image_of(0)
    for axis in (3, -1, "x", True, None, 1.5):
        with pytest.raises(ValueError, match="axis must be"):
            mj.ghosting(image, 2, 0.7, axis=axis)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="axis must be 0, 1 or 2 for each item"):
        mj.ghosting(mj.stack([image, image]), 2, 0.7, axis=[0, 3])
    with pytest.raises(ValueError, match=r"count must be a whole number of ghosts, got 2\.5"):
        mj.ghosting(image, 2.5, 0.7, axis=0)


def test_spike_of_a_normalised_image_shows() -> None:
    """Of mean 0 the largest value of the spectrum says nothing of the image: the deviation takes its place."""
    image = mj.z_score_normalize(image_of(0))
    added = np.asarray(mj.spike(image, (1, 2, 0), 0.5).voxels) - image.voxels
    assert np.abs(added).max() == pytest.approx(0.5, rel=0.05)


# --- Motion ----------------------------------------------------------------------------------------------------------


def test_motion_turns_about_the_centre_of_the_image_in_mm() -> None:
    """TorchIO 1.2.1 turns about the world's origin: in a volume 115 mm off it the fixed point moved by 21.8 mm."""
    rotation, still = np.array([[12.0, -7, 9]]), np.zeros((1, 3))
    outs = [
        np.asarray(mj.motion(image_of(0, origin=origin), rotation, still, [0.5], axis="k", fill=0.0).voxels)
        for origin in ((0, 0, 0), (115.0, -80, 900))
    ]
    np.testing.assert_allclose(outs[0], outs[1], atol=1e-3)
    index = np.stack(np.meshgrid(*[np.arange(17) - 8.0] * 3, indexing="ij"))
    ball = 100 * np.exp(-(index**2).sum(0) / 32).astype(np.float32)  # about the centre: a turn does not change it
    image = Image.from_array(ball, origin=(115, -80, 900))
    out = mj.motion(image, rotation, still, [0.2], axis="k", fill=0.0)
    np.testing.assert_allclose(out.voxels, ball, atol=2)  # what linear interpolation takes from its curvature
    along = mj.motion(image, still, [[0.0, 0.0, 3.0]], [0.0001], axis="i", fill=0.0)
    np.testing.assert_allclose(along.voxels, ball, atol=1e-4)  # the first segment has no line, the second frequency 0


def test_the_centre_of_k_space_is_that_of_the_image() -> None:
    """So it neither moves nor changes its sum over the phase axis, wherever the times lie; TorchIO 2 splits the spectrum unshifted."""
    image = image_of(3)
    far = np.full((2, 3), 4.0)
    for times in ([0.1, 0.3], [0.3, 0.8], [0.7, 0.9]):
        out = np.asarray(mj.motion(image, np.zeros((2, 3)), far, times, axis="j", fill=0.0).voxels)
        np.testing.assert_allclose(out.sum(1), image.voxels.sum(1), rtol=2e-5)


def test_motion_of_one_plane_stays_in_it() -> None:
    plane = image_of(0, (9, 8, 1))
    turned = mj.motion(plane, [[20.0, 30.0, 6.0]], [[1.0, 0.5, 40.0]], [0.3], axis="j")
    only = mj.motion(plane, [[0.0, 0.0, 6.0]], [[1.0, 0.5, 0.0]], [0.3], axis="j")
    assert np.isfinite(turned.voxels).all()
    # What the turns about x and y leave in the plane are cosines of 20 and 30 degrees; the shift across is gone.
    assert np.abs(turned.voxels - only.voxels).max() < np.ptp(plane.voxels)
    lifted = mj.motion(plane, [[0.0, 0.0, 6.0]], [[1.0, 0.5, 40.0]], [0.3], axis="j")
    np.testing.assert_allclose(lifted.voxels, only.voxels, atol=1e-3)


@pytest.mark.usefixtures("unchecked")
def test_poses_and_times_that_do_not_fit() -> None:
    image, poses = image_of(0), np.zeros((2, 3))
    for times, words in (
        ([0.5], r"rotation must be .*\(1, 3\)"),
        ([0.8, 0.3], "times must not fall"),
        ([0.3, 1.5], "times must be within 0 to 1"),
        (0.5, "times must be"),
        ([0.3, np.nan], "times must be finite"),
    ):
        with pytest.raises(ValueError, match=words):
            mj.motion(image, poses, poses, times, axis=0)  # type: ignore[arg-type]
