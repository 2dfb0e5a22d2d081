"""Presets: the ranges and probabilities of the peers, each by its distribution."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from augment_cases import keys_of, labelled, scan
from scipy import stats

import medjax as mj
from medjax import augment

COUNT = 3000
MANY = augment.item_keys(2, np.arange(COUNT))
TINY = mj.Image(np.ones((COUNT, 1, 1, 1), np.float32), np.broadcast_to(np.eye(4), (COUNT, 4, 4)))
LEVEL = 1e-3  # of the Kolmogorov-Smirnov tests; the keys are fixed


def drawn(recipe: augment.Step) -> dict[str, Any]:
    draw = recipe.sample(MANY, TINY)
    return {name: jax.tree.map(np.asarray, v.get("image", v)) for name, v in draw.values.items()}


def follows(values: np.ndarray, distribution: Any) -> bool:
    return bool(stats.kstest(values, distribution.cdf).pvalue > LEVEL)


def share(values: np.ndarray, p: float) -> bool:
    """Within four standard deviations."""
    return bool(abs(values.mean() - p) < 4 * np.sqrt(p * (1 - p) / values.size))


def test_nnunet_has_the_ranges_of_nnunet() -> None:
    """nnunetv2 at 0e49508, `nnUNetTrainer.get_training_transforms` with rotation of +-30 degrees and scaling (0.7, 1.4)."""
    found = drawn(augment.presets.nnunet((128, 128, 128)))
    assert list(found) == sorted(found)
    names = [line.partition(":")[0] for line in augment.presets.nnunet(128).describe().splitlines()]
    assert names == [
        *("rotation", "scale", "gaussian_noise", "blur", "brightness", "contrast", "low_resolution"),
        *("gamma_inverted", "gamma", "mirror"),
    ]
    p = {"rotation": 0.2, "scale": 0.2, "gaussian_noise": 0.1, "brightness": 0.15, "contrast": 0.15}
    p |= {
        "blur": 0.1,
        "low_resolution": 0.125,
        "gamma_inverted": 0.1,
        "gamma": 0.3,
    }  # a channel in two for the first two
    for name, value in p.items():
        assert share(found[name]["applied"], value), name
    assert share(found["mirror"]["mirrored"], 0.5)
    for axis in range(3):
        assert follows(found["rotation"]["rotation"][:, axis], stats.uniform(-30, 60))
    factor = found["scale"]["scale"]
    assert (factor[:, 0] == factor[:, 1]).all()
    assert follows(1 / factor[:, 0], stats.uniform(0.7, 0.7))  # larger in nnU-Net means smaller objects
    assert follows(found["gaussian_noise"]["std"], stats.uniform(0, 0.1))
    assert follows(found["blur"]["sigma_mm"], stats.uniform(0.5, 0.5))
    assert follows(1 / found["low_resolution"]["spacing_factor"][:, 0], stats.uniform(0.5, 0.5))
    for values, low, high in (
        (found["brightness"]["factor"], 0.75, 1.25),
        (found["contrast"]["factor"], 0.75, 1.25),
        (np.exp(found["gamma"]["log_gamma"]), 0.7, 1.5),
        (np.exp(found["gamma_inverted"]["log_gamma"]), 0.7, 1.5),
    ):
        assert follows(values[values < 1], stats.uniform(low, 1 - low))
        assert follows(values[values >= 1], stats.uniform(1, high - 1))
        assert share(values < 1, 0.5)
    assert found["gamma_inverted"]["invert"].all()
    assert not found["gamma"]["invert"].any()


def test_flat_patches_turn_in_their_plane() -> None:
    found = drawn(augment.presets.nnunet((256, 224, 28)))
    assert (found["rotation"]["rotation"][:, :2] == 0).all()
    assert follows(found["rotation"]["rotation"][:, 2], stats.uniform(-180, 360))
    assert (found["scale"]["scale"][:, 2] == 1).all()
    assert (found["low_resolution"]["spacing_factor"][:, 2] == 1).all()


def test_torchio_has_the_ranges_of_torchio() -> None:
    """torchio 1.2.1: defaults of `RandomMotion`, `RandomBiasField`, `RandomNoise`, `RandomAffine`."""
    found = drawn(augment.presets.torchio_default())
    for name, p in (("motion", 0.2), ("bias_field", 0.3), ("gaussian_noise", 0.5), ("affine", 0.8), ("elastic", 0.2)):
        assert share(found[name]["applied"], p), name
    assert not (found["affine"]["applied"] & found["elastic"]["applied"]).any()
    assert follows(found["affine"]["scale"][:, 1], stats.uniform(0.9, 0.2))
    assert follows(found["gaussian_noise"]["std"], stats.uniform(0, 0.25))
    assert follows(found["motion"]["rotation"][:, 0, 1], stats.uniform(-10, 20))
    cube = found["bias_field"]["coefficient"]
    assert follows(cube[:, 1, 0, 2], stats.uniform(-0.5, 1))
    assert (cube != 0).sum() == COUNT * 19  # degrees 1 to 3


@pytest.mark.parametrize(
    "name",
    ["nnunet", *(pytest.param(name, marks=pytest.mark.long) for name in ("nnunet_da5", "ct", "mr", "torchio_default"))],
)
def test_presets_run(name: str) -> None:
    image = labelled(scan(0, (8, 8, 8), spacing=1.5))
    size = ((8, 8, 8),) if "nnunet" in name else ()
    recipe = getattr(augment.presets, name)(*size)
    out = recipe(keys_of(1)[0], image)
    assert np.isfinite(out["ct"].voxels).all()
    assert set(np.unique(out["seg"].voxels)) <= {0, 1, 2}


def test_pet_ct_runs_on_two_grids() -> None:
    ct, pet = scan(0, (10, 9, 8)), scan(1, (6, 5, 7), spacing=2.0)
    out = augment.presets.pet_ct()(keys_of(1)[0], {"ct": ct, "pet": pet})
    assert (out["ct"].shape, out["pet"].shape) == (ct.shape, pet.shape)


def test_synthseg_makes_images_of_labels_alone() -> None:
    labels = labelled(scan(0, (10, 9, 8)))["seg"]
    batch = mj.stack([labels] * 2)
    recipe = augment.presets.synthseg(num_labels=3, swap_labels=((1, 2),))
    out = recipe(keys_of(2), {"seg": batch})
    assert (out["image"].kind, out["image"].batch_shape, out["image"].shape) == ("intensity", (2,), labels.shape)
    assert np.any(np.asarray(out["image"].voxels[0]) != np.asarray(out["image"].voxels[1]))
    assert out["seg"].dtype == np.uint8
