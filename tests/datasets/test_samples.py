"""Made scans: what their truth says is what they hold, on any grid, and the same each time."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

import medjax as mj
from medjax import Grid

# Private: the words that all made data are drawn from, and patients who have every lesion.
from medjax.datasets._random import Draws, normal
from medjax.datasets._trunk import SITES, trunk

COARSE: dict[str, Any] = {"spacing": 8.0, "pet_spacing": 8.0}


def digest(voxels: Any) -> str:
    voxels = np.ascontiguousarray(voxels)
    return hashlib.sha256(str((voxels.dtype.str, voxels.shape)).encode() + voxels.tobytes()).hexdigest()[:16]


def test_labels_have_not_changed() -> None:
    """Made once on x86-64 Linux: any other platform or version must give the same bits."""
    pet_ct, head = mj.datasets.pet_ct(7, **COARSE), mj.datasets.head_mr(7, spacing=4.0)
    found = [digest(pet_ct.images[role].voxels) for role in ("labels", "lesions")] + [
        digest(head.images["labels"].voxels)
    ]
    assert found == LABEL_HASHES


def test_words_have_not_changed() -> None:
    """Philox 4x64-10 with the key of the name; NumPy keeps the words of its bit generators for good."""
    assert Draws(3, "a").words(2).tolist() == WORDS
    assert Draws(3, "a").uniform(10.0, 20.0) == 10.0 + 10.0 * (WORDS[0] >> 11) / 2**53


def test_normal_numbers_are_normal_and_the_same_in_any_shape() -> None:
    values = normal(5, "noise", (3, 300_001))
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert abs(values.std() - 1) < 4 / np.sqrt(2 * values.size)
    assert abs((values**4).mean() - 3) < 4 * np.sqrt(96 / values.size)
    assert abs((values[0] * values[1]).mean()) < 4 / np.sqrt(300_001)
    assert abs((np.abs(values) > 3).mean() - 0.0026998) < 4 * np.sqrt(0.0027 / values.size)
    np.testing.assert_array_equal(values.reshape(-1), normal(5, "noise", (900_003,)))


@pytest.mark.parametrize(
    "make", [lambda s: mj.datasets.pet_ct(s, **COARSE), lambda s: mj.datasets.head_mr(s, spacing=6.0)]
)
def test_a_seed_gives_the_same_and_another_gives_another(make: Any) -> None:
    first, again, other = make(2), make(2), make(3)
    for role, image in first.images.items():
        np.testing.assert_array_equal(image.voxels, again.images[role].voxels)
        assert image.metadata == again.images[role].metadata
        assert (np.asarray(image.voxels) != other.images[role].voxels).any()


def grids() -> dict[str, Grid]:
    """Grids of other orientation, spacing and rank of axes, through the belly of a patient and the middle of a head."""
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    return {
        "flipped": Grid.of((30, 24, 20), spacing=(6, 5, 7), origin=(90, 70, -100), direction=np.diag([-1, -1, 1])),
        "sagittal": Grid.of((24, 20, 30), spacing=(5, 7, 6), origin=(-80, -70, -80), direction=np.eye(3)[:, [1, 2, 0]]),
        "oblique": Grid.of((26, 22, 24), spacing=(6, 7, 5), origin=(-40, 60, -120), direction=turn),
        "one voxel": Grid.of((1, 1, 1), origin=(-70, 0, -40)),
    }


@pytest.mark.parametrize("name", grids())
@pytest.mark.parametrize("channel", ["suv", "hu", "t1"])
def test_grid_holds_what_the_formulas_give_at_its_voxels(name: str, channel: str) -> None:
    grid = grids()[name]
    sample = (
        mj.datasets.head_mr(1, spacing=30.0)
        if channel == "t1"
        else mj.datasets.pet_ct(1, spacing=40.0, pet_spacing=40.0)
    )
    phantom = sample.truth["phantom"]
    points = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    labels, values = phantom.on_grid(grid, channel, fwhm_mm=5.0)
    np.testing.assert_allclose(values, phantom.values(channel, points, fwhm_mm=5.0), atol=2e-3 * np.ptp(values) + 1e-5)
    assert (labels == phantom.labels(points)).mean() > 0.999  # a point on a surface may fall to either side
    assert len(np.unique(labels)) > 1 or name == "one voxel"


def test_orientation_letters_name_the_sides_of_the_patient() -> None:
    """The liver is right, the spleen left, the bladder below the head: through the letters of three stored orientations."""
    for letters in ("LPS", "RAS", "AIR"):
        image = mj.change_orientation(mj.datasets.pet_ct(0, **COARSE).images["labels"], letters)
        names = mj.datasets.pet_ct(0, **COARSE).truth["names"]
        number = {name: label for label, name in names.items()}
        signs = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
        middle = {}
        for organ in ("liver", "spleen", "bladder", "brain_grey", "spine", "heart"):
            index = np.argwhere(np.asarray(image.voxels) == number[organ]).mean(0)
            world = np.zeros(3)
            for axis, letter in enumerate(letters):  # by the letters alone, not by the affine
                where, sign = signs[letter]
                world[where] = sign * (index[axis] - (image.shape[axis] - 1) / 2)
            middle[organ] = world
        assert middle["liver"][0] < 0 < middle["spleen"][0]
        assert middle["bladder"][2] < middle["liver"][2] < middle["heart"][2] < middle["brain_grey"][2]
        assert middle["spine"][1] > middle["heart"][1]


def test_marker_is_on_the_right_of_the_head() -> None:
    sample = mj.datasets.head_mr(0, spacing=3.0)
    label = next(n for n, name in sample.truth["names"].items() if name == "marker")
    place = np.argwhere(np.asarray(sample.images["labels"].voxels) == label).mean(0)
    assert sample.images["labels"].grid.world(place)[0] < -70


@pytest.mark.parametrize("organ", ["liver", "spleen", "kidney_right", "kidney_left", "bladder"])
def test_volume_of_an_organ_is_that_of_its_voxels(organ: str) -> None:
    """At 2.5 mm; lesions within count with the organ."""
    sample = mj.datasets.pet_ct(4, lesions=0, spacing=2.5, pet_spacing=20.0)
    number = next(n for n, name in sample.truth["names"].items() if name == organ)
    counted = (np.asarray(sample.images["labels"].voxels) == number).sum() * 2.5**3 / 1000
    assert counted == pytest.approx(sample.truth["volumes_ml"][organ], rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_lesions_are_what_the_truth_says(seed: int) -> None:
    """Volume, uptake and glycolysis on a grid of 1 mm about each lesion; its surroundings are even."""
    phantom = trunk(seed, len(SITES))
    for lesion in phantom.lesions:
        corner = np.round(np.array(lesion.center_mm)) - 24
        grid = Grid.of((49, 49, 49), origin=corner)
        labels, suv = phantom.on_grid(grid, "suv")
        inside = labels == lesion.label
        assert inside.sum() / 1000 == pytest.approx(lesion.volume_ml, rel=0.03)
        np.testing.assert_allclose(suv[inside], lesion.suv, rtol=1e-6)
        assert suv[inside].sum() / 1000 == pytest.approx(lesion.tlg, rel=0.03)
        distance = np.linalg.norm(grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)) - lesion.center_mm, axis=-1)
        around = suv[(distance > lesion.radius_mm) & (distance < lesion.radius_mm + 4)]
        np.testing.assert_allclose(around, lesion.background_suv, rtol=1e-6, err_msg=lesion.site)


@pytest.mark.parametrize("seed", range(40))
def test_surroundings_of_every_site_are_even(seed: int) -> None:
    """Up to three standard deviations of the default point spread from the surface, so that the closed form is the truth."""
    directions = np.random.default_rng(seed).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    bare = trunk(seed, 0)
    for lesion in trunk(seed, len(SITES)).lesions:
        for beyond in (-lesion.radius_mm, 0.0, 4.0, 7.6):
            around = bare.values("suv", lesion.center_mm + directions * (lesion.radius_mm + beyond))
            np.testing.assert_allclose(around, lesion.background_suv, rtol=1e-5, err_msg=lesion.site)


def test_blurred_lesion_is_the_closed_form() -> None:
    """The recovery at its centre, as a convolution of a ball in even surroundings has it, to 1e-4 of its contrast."""
    phantom = trunk(1, len(SITES))
    sigma = 6.0 / np.sqrt(8 * np.log(2))
    for lesion in phantom.lesions:
        x = lesion.radius_mm / sigma
        # P(|normal in 3-D| < x), by quadrature of its density
        nodes, weights = np.polynomial.legendre.leggauss(60)
        r = x * (nodes + 1) / 2
        recovery = (weights * x / 2 * np.sqrt(2 / np.pi) * r * r * np.exp(-r * r / 2)).sum()
        expected = lesion.background_suv + recovery * (lesion.suv - lesion.background_suv)
        found = float(phantom.values("suv", lesion.center_mm, fwhm_mm=6.0))
        assert found == pytest.approx(expected, abs=1e-3 * lesion.suv), lesion.site


def test_noise_is_as_said() -> None:
    """Deviation in even muscle and white matter; no noise gives the formulas."""
    clean, noisy = (mj.datasets.pet_ct(0, noise=n, spacing=5.0, pet_spacing=4.0) for n in (0.0, 1.0))
    suv = np.asarray(clean.images["pet"].voxels)
    number = next(n for n, name in clean.truth["names"].items() if name == "muscle")
    even = np.abs(suv - np.median(suv[(suv > 0.5) & (suv < 0.9)])) < 1e-3
    assert even.sum() > 5000
    spread = np.asarray(noisy.images["pet"].voxels)[even].std()
    assert spread == pytest.approx(0.09 * np.sqrt(np.median(suv[even])), rel=0.05)
    hu = np.asarray(noisy.images["ct"].voxels)[np.asarray(clean.images["ct"].voxels) == 55]
    assert number == 2
    assert hu.std() == pytest.approx(12.0, rel=0.05)
    assert not (np.asarray(clean.images["ct"].voxels) == noisy.images["ct"].voxels).all()


def test_bias_is_a_factor() -> None:
    plain, biased = (mj.datasets.head_mr(5, spacing=5.0, bias=b, noise=0.0) for b in (0.0, 0.3))
    grid = plain.images["mr"].grid
    gain = biased.truth["bias"](grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)))
    assert np.ptp(gain) > 0.2
    np.testing.assert_allclose(biased.images["mr"].voxels, plain.images["mr"].voxels * gain, rtol=1e-5)
    np.testing.assert_array_equal(plain.truth["bias"](np.ones((4, 3)) * 50), 1.0)


def test_pet_holds_suv_and_says_so() -> None:
    pet = mj.datasets.pet_ct(0, **COARSE).images["pet"]
    assert mj.suv_factor(pet).factor == 1.0  # type: ignore[union-attr]
    lean = mj.to_suv(pet, "lbm_james")
    assert 0.4 < float(np.max(lean.voxels) / np.max(pet.voxels)) < 1.0


PET_CT: Any = mj.datasets.pet_ct
HEAD_MR: Any = mj.datasets.head_mr
WRONG = {
    "seed": [lambda: PET_CT(-1), lambda: HEAD_MR(1.5), lambda: PET_CT(True)],
    "lesions": [lambda: PET_CT(0, lesions=9), lambda: PET_CT(0, lesions=-1)],
    "spacing": [lambda: PET_CT(0, spacing=0), lambda: HEAD_MR(0, spacing=(1, 2)), lambda: HEAD_MR(0, spacing="thin")],
    "pet_spacing": [lambda: PET_CT(0, spacing=9, pet_spacing=np.nan)],
    "grid": [lambda: HEAD_MR(0, grid=(3, 4, 5))],
    "pet_grid": [lambda: PET_CT(0, spacing=9, pet_grid="ct")],
    "fwhm_mm": [lambda: PET_CT(0, spacing=9, pet_spacing=9, fwhm_mm=-1)],
    "noise": [lambda: HEAD_MR(0, spacing=9, noise=np.inf)],
    "bias": [lambda: HEAD_MR(0, spacing=9, bias="strong")],
    "is more than any memory holds": [lambda: HEAD_MR(0, spacing=1e-4)],
    "channel": [lambda: PET_CT(0, **COARSE).truth["phantom"].values("t1", (0, 0, 0))],
    "points": [lambda: PET_CT(0, **COARSE).truth["phantom"].labels(3.0)],
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "call"), [(name, call) for name, calls in WRONG.items() for call in calls])
def test_wrong_argument_is_named(name: str, call: Any) -> None:
    with pytest.raises(ValueError, match=name):
        call()


LABEL_HASHES = ["afb3c9fcc6046d18", "89aebe7e7ad48121", "8f19bfd25e6a745c"]
WORDS = [7686454750766814453, 8263938326580642304]
