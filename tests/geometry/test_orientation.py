"""Orientation codes: all 48, oblique, tied, and in agreement with nibabel and ITK."""

from __future__ import annotations

import itertools
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from orientations import CODES
from scipy.spatial.transform import Rotation

import medjax as mj

TO_RAS = np.diag([-1.0, -1, 1, 1])

rotations = st.integers(0, 2**32 - 1).map(lambda seed: Rotation.random(random_state=seed).as_matrix())
signed_permutations = [
    np.eye(3)[:, list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]

# Grids turned by exactly 45 degrees about one axis, the diagonal of the cube on an axis, and a turn of 60 degrees about
# that diagonal, where two assignments of axes have exactly equal cosines.
TIES = [
    *(Rotation.from_euler(axis, 45, degrees=True).as_matrix() for axis in "xyz"),
    *(Rotation.from_euler(axes, [45, 45], degrees=True).as_matrix() for axes in ("xy", "yz", "zx", "XZ")),
    np.array([[2, -1, 2], [2, 2, -1], [-1, 2, 2]]) / 3,
    Rotation.from_rotvec(np.pi / 3 * np.ones(3) / np.sqrt(3)).as_matrix(),
]


def affine_of(direction: Any, spacing: Any = (0.7, 1.1, 2.5)) -> np.ndarray:
    return np.asarray(mj.Grid.of((1, 1, 1), spacing=spacing, origin=(-17.0, 23.5, 101.25), direction=direction).affine)


def image_on(affine: np.ndarray) -> mj.Image:
    """An image of one voxel, which keeps its place under every permutation and flip."""
    return mj.Image(np.zeros((1, 1, 1)), affine)


def orientation_of(affine: np.ndarray) -> Any:
    return image_on(affine).orientation


def stored_as(affine: np.ndarray, axes: tuple[int, ...], flips: tuple[bool, ...]) -> np.ndarray:
    """The affine of a grid of one voxel after a permutation and flips of its axes."""
    out = affine.copy()
    out[:3, :3] = affine[:3, list(axes)] * np.where(flips, -1, 1)
    return out


def margin(direction: np.ndarray) -> float:
    """How far the greedy assignment of axes is from a tie: the least difference of cosines it decides by."""
    score, gap = np.abs(direction), 1.0
    for _ in range(2):
        (row, column), best = np.unravel_index(score.argmax(), (3, 3)), score.max()
        rivals = np.concatenate([np.delete(score[row], column), np.delete(score[:, column], row)])
        gap = min(gap, best - rivals.max())
        score = score.copy()
        score[row], score[:, column] = -1, -1
    return gap


def test_there_are_48_codes() -> None:
    assert len(set(CODES)) == len(CODES) == 48
    assert {orientation_of(affine_of(turn)) for turn in signed_permutations} == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_codes_are_those_of_nibabel_and_simpleitk(code: str) -> None:
    ras = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(code), (3, 4, 5))
    lps = TO_RAS @ np.linalg.inv(ras)
    assert orientation_of(lps) == "".join(nibabel.aff2axcodes(TO_RAS @ lps))
    direction = sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(code)
    assert orientation_of(affine_of(direction)) == code
    assert sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction) == code


@pytest.mark.parametrize("mirror", [1, -1])
def test_oblique_codes_agree_with_nibabel_and_simpleitk(mirror: int) -> None:
    """However oblique, unless the directions are so near a tie that rounding decides."""
    compared = 0
    for seed in range(500):
        direction = Rotation.random(random_state=seed).as_matrix() * (1, 1, mirror)
        affine = affine_of(direction, np.random.default_rng(seed).uniform(0.2, 8.0, 3))
        if margin(direction) > 1e-5:
            compared += 1
            code = orientation_of(affine)
            assert code == "".join(nibabel.aff2axcodes(TO_RAS @ affine))
            flat = direction.ravel().tolist()
            assert code == sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(flat)
    assert compared > 490


@given(direction=rotations, degrees=st.floats(0, 20))
def test_gantry_tilt_does_not_change_the_code(direction: np.ndarray, degrees: float) -> None:
    """A sheared grid has the code of the columns it is made of: each axis is judged by its own direction."""
    tilt = np.eye(3)
    tilt[1, 2] = np.tan(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = direction @ tilt @ np.diag([0.5, 0.5, 5.0])
    untilted = affine.copy()
    untilted[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    assert orientation_of(affine) == orientation_of(untilted)


def check_all_storages(affine: np.ndarray) -> None:
    """The code of each axis stays with it through all 48 ways to store the grid, and reorientation is idempotent."""
    code = orientation_of(affine)
    opposite = dict(zip("RLAPIS", "LRPASI", strict=True))
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            stored = stored_as(affine, axes, flips)
            expected: Any = "".join(
                opposite[code[axis]] if is_flipped else code[axis] for axis, is_flipped in zip(axes, flips, strict=True)
            )
            assert orientation_of(stored) == expected
            np.testing.assert_array_equal(mj.change_orientation(image_on(stored), expected).affine, stored)


@pytest.mark.parametrize("direction", TIES)
@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_ties_commute_with_every_permutation_and_flip(direction: np.ndarray, noise: float) -> None:
    """Noise of the size of float32 rounding, as a NIfTI header has it."""
    jitter = np.random.default_rng(0).normal(size=(3, 3)) * noise
    check_all_storages(affine_of(direction + jitter))
    assert orientation_of(affine_of(direction + jitter)) == orientation_of(affine_of(direction))


@given(direction=rotations)
def test_oblique_grids_commute_with_every_permutation_and_flip(direction: np.ndarray) -> None:
    check_all_storages(affine_of(direction))


@pytest.mark.parametrize("code", CODES)
@given(direction=rotations)
def test_reorientation_reaches_every_code_from_an_oblique_grid(code: Any, direction: np.ndarray) -> None:
    there = mj.change_orientation(image_on(affine_of(direction)), code)
    assert there.orientation == code
    np.testing.assert_array_equal(mj.change_orientation(there, code).affine, there.affine)


@pytest.mark.parametrize("direction", [*TIES, Rotation.from_euler("xyz", (11, -23, 37), degrees=True).as_matrix()])
@pytest.mark.parametrize("code", ["RAS", "LPI", "SRA"])
def test_change_orientation_twice_is_once(direction: np.ndarray, code: Any) -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = mj.Image.from_array(voxels, affine=affine_of(direction))
    once = mj.change_orientation(image, code)
    twice = mj.change_orientation(once, code)
    assert once.orientation == code
    np.testing.assert_array_equal(twice.voxels, once.voxels)
    np.testing.assert_array_equal(twice.affine, once.affine)
    back = mj.change_orientation(once, image.orientation)
    np.testing.assert_array_equal(back.voxels, image.voxels)
    np.testing.assert_allclose(back.affine, image.affine, rtol=0, atol=1e-12)  # 100 mm in float64


@pytest.mark.parametrize("code", ["RAS", "ras", "LpS"])
@pytest.mark.usefixtures("unchecked")
def test_codes_are_read_in_any_case(code: Any) -> None:
    assert mj.change_orientation(image_on(np.eye(4)), code).orientation == code.upper()


@pytest.mark.parametrize("code", ["RA", "RRS", "RLA", "XYZ", "RASL", "", None, 3, ("R", "A", "S")])
@pytest.mark.usefixtures("unchecked")
def test_what_is_not_a_code_is_refused(code: Any) -> None:
    with pytest.raises(ValueError, match="orientation must be three letters, one of each pair R/L, A/P, I/S"):
        mj.change_orientation(image_on(np.eye(4)), code)
