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


def drawn(recipe: augment.Step, images: Any = TINY) -> dict[str, Any]:
    draw = recipe.sample(MANY, images)
    return {name: jax.tree.map(np.asarray, v.get("image", v)) for name, v in draw.values.items()}


def follows(values: np.ndarray, distribution: Any) -> bool:
    return bool(stats.kstest(values, distribution.cdf).pvalue > LEVEL)


def share(values: np.ndarray, p: float) -> bool:
    """Within four standard deviations."""
    return bool(abs(values.mean() - p) < 4 * np.sqrt(p * (1 - p) / values.size))


def lies_about_one(values: np.ndarray, low: float, high: float) -> bool:
    """`BGContrast`: one half below 1, one above, each uniform."""
    return two_ranges(values, (low, 1), (1, high))


def two_ranges(values: np.ndarray, lower: tuple[float, float], upper: tuple[float, float]) -> bool:
    is_low = values < (lower[1] + upper[0]) / 2
    below, above = stats.uniform(lower[0], lower[1] - lower[0]), stats.uniform(upper[0], upper[1] - upper[0])
    return share(is_low, 0.5) and follows(values[is_low], below) and follows(values[~is_low], above)


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
    assert lies_about_one(found["brightness"]["factor"], 0.75, 1.25)
    assert lies_about_one(found["contrast"]["factor"], 0.75, 1.25)
    assert lies_about_one(np.exp(found["gamma"]["log_gamma"]), 0.7, 1.5)
    assert lies_about_one(np.exp(found["gamma_inverted"]["log_gamma"]), 0.7, 1.5)
    assert found["gamma_inverted"]["invert"].all()
    assert not found["gamma"]["invert"].any()


def test_flat_patches_turn_in_their_plane() -> None:
    found = drawn(augment.presets.nnunet((256, 224, 28)))
    assert (found["rotation"]["rotation"][:, :2] == 0).all()
    assert follows(found["rotation"]["rotation"][:, 2], stats.uniform(-180, 360))
    assert (found["scale"]["scale"][:, 2] == 1).all()
    assert (found["low_resolution"]["spacing_factor"][:, 2] == 1).all()


def test_da5_has_the_ranges_of_da5() -> None:
    """nnunetv2 at 0e49508, `nnUNetTrainerDA5.get_training_transforms`; `randint` there leaves the upper end out."""
    recipe = augment.presets.nnunet_da5((64, 96, 96))
    found = drawn(recipe, mj.Image(np.ones((COUNT, 1, 1, 1), np.float32), TINY.affine))
    names = [line.strip().partition(":")[0] for line in recipe.describe().splitlines()]
    assert names == [
        *("rotation", "scale", "rotate90", "transpose", "one_of", "median", "blur", "gaussian_noise"),
        *("brightness_shift", "one_of_2", "contrast", "contrast_2", "low_resolution", "gamma_inverted"),
        *("gamma_inverted_2", "mirror", "cutout", "brightness_gradient", "local_gamma", "sharpen"),
    ]
    p = {"rotation": 0.4, "scale": 0.2, "rotate90": 0.5, "transpose": 0.5, "one_of": 0.2, "one_of_2": 0.2}
    p |= {"median": 0.05, "blur": 0.05, "contrast": 0.05, "contrast_2": 0.05}  # a channel in two, of one in two
    p |= {"gaussian_noise": 0.1, "brightness_shift": 0.05, "low_resolution": 0.075, "cutout": 0.2, "sharpen": 0.1}
    p |= {"brightness_gradient": 0.15, "local_gamma": 0.15, "gamma_inverted": 0.1, "gamma_inverted_2": 0.1}
    for name, value in p.items():
        assert share(found[name]["applied"], value), name
    angles, factors = found["rotation"]["rotation"], found["scale"]["scale"]
    for axis in range(3):
        assert share(angles[:, axis] != 0, 0.5)  # p_rot_per_axis
        assert follows(angles[:, axis][angles[:, axis] != 0], stats.uniform(-30, 60))
        assert follows(1 / factors[:, axis], stats.uniform(0.7, 0.73))
    assert abs(np.corrcoef(factors[:, 0], factors[:, 1])[0, 1]) < 0.08
    turns = found["rotate90"]["quarter_turns"]
    assert [share(turns == n, 0.25) for n in range(4)] == [True] * 4
    sizes = found["median"]["size"]
    assert [share(sizes == n, 1 / 6) for n in range(2, 8)] == [True] * 6
    assert follows(found["blur"]["sigma_mm"], stats.uniform(0.3, 1.2))
    assert follows(found["brightness_shift"]["shift"], stats.norm(0, 0.5))
    assert lies_about_one(found["contrast"]["factor"], 0.5, 2)
    assert lies_about_one(np.exp(found["gamma_inverted_2"]["log_gamma"]), 0.7, 1.5)
    assert found["gamma_inverted"]["invert"].all()
    assert found["gamma_inverted_2"]["invert"].all()
    assert follows(1 / found["low_resolution"]["spacing_factor"][:, 0], stats.uniform(0.25, 0.75))
    holes = (found["cutout"]["size"][..., 0] > 0).sum(-1)
    assert [share(holes == n, 0.25) for n in range(1, 5)] == [True] * 4
    voxels = np.round(found["cutout"]["size"][:, 0] * [64, 96, 96])
    assert (voxels.min(0).tolist(), voxels.max(0).tolist()) == ([6, 9, 9], [20, 31, 31])
    assert two_ranges(found["brightness_gradient"]["strength"], (-5, -1), (1, 5))
    assert two_ranges(np.exp(found["local_gamma"]["log_gamma"]), (0.01, 0.8), (1.5, 4))
    for name in ("brightness_gradient", "local_gamma"):
        assert follows(found[name]["center"][:, 2], stats.uniform(-0.5, 2))
        assert follows(found[name]["width"][:, 1], stats.loguniform(16 / 96, 1))
    assert follows(found["sharpen"]["amount"], stats.uniform(0.1, 0.9))


def test_axes_change_places_where_they_are_alike() -> None:
    assert "axes=(0, 1, 2)" in augment.presets.nnunet_da5(96).describe()
    assert "transpose" not in augment.presets.nnunet_da5((64, 96, 128)).describe()
    assert "transpose" not in augment.presets.nnunet_da5(96, spacing=(1, 1, 3)).describe()


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


def test_synthseg_has_the_ranges_of_lab2im() -> None:
    """lab2im at 66342c1: `labels_to_image_model` and the layers that it is made of; SampleResolution in `layers.py`."""
    labels = mj.Image(np.ones((COUNT, 1, 1, 1), np.uint8), TINY.affine, "label")
    found = drawn(augment.presets.synthseg(num_labels=3), {"seg": labels})
    assert follows(found["affine"]["rotation"][:, 0], stats.uniform(-15, 30))
    assert follows(found["affine"]["scale"][:, 1], stats.uniform(0.8, 0.4))
    assert follows(found["affine"]["shear"][:, 2], stats.uniform(-0.012, 0.024))
    assert share(found["mirror"]["mirrored"], 0.5)
    assert follows(found["svf"]["std_mm"], stats.uniform(0, 4))
    unit = found["svf"]["velocity"][:, 3, 3, 3, 0] / found["svf"]["std_mm"]
    assert follows(unit, stats.norm(0, 1))
    assert follows(found["labels_to_image"]["mean"][:, 1], stats.uniform(0, 255))
    assert follows(found["labels_to_image"]["std"][:, 1], stats.uniform(0, 35))
    assert follows(found["bias_lattice"]["std"], stats.uniform(0, 0.7))
    assert share(found["bias_lattice"]["applied"], 0.95)
    assert (found["clip"]["low"] == 0).all()
    assert (found["clip"]["high"] == 300).all()
    assert found["min_max"]["applied"].all()
    assert follows(found["gamma"]["log_gamma"], stats.norm(0, 0.5))
    assert share(found["low_resolution"]["applied"], 0.095)
    assert share(found["low_resolution_2"]["applied"], 0.855)
    assert follows(found["low_resolution"]["spacing_factor"][:, 0], stats.uniform(1, 3))
    coarse = found["low_resolution_2"]["spacing_factor"]
    assert follows(coarse.max(1), stats.uniform(1, 7))


def test_synthseg_makes_images_of_labels_alone() -> None:
    labels = labelled(scan(0, (10, 9, 8)))["seg"]
    batch = mj.stack([labels] * 2)
    recipe = augment.presets.synthseg(num_labels=3, swap_labels=((1, 2),))
    out = recipe(keys_of(2), {"seg": batch})
    assert (out["image"].kind, out["image"].batch_shape, out["image"].shape) == ("intensity", (2,), labels.shape)
    assert np.any(np.asarray(out["image"].voxels[0]) != np.asarray(out["image"].voxels[1]))
    assert out["seg"].dtype == np.uint8
    voxels = np.asarray(out["image"].voxels)
    assert (voxels.min() >= 0, voxels.max() <= 1) == (True, True)
