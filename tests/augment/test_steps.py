"""Every step: neutral where it is not drawn, one result in every way, the plain function behind it, words and JSON."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augment_cases import assert_same_draw, keys_of, scan

import medjax as mj
from medjax import augment

KEYS = keys_of(3)
IMAGES = mj.stack([scan(seed) for seed in range(3)])

# The steps of intensities, each with what makes a change visible.
STEPS: dict[str, dict[str, Any]] = {
    "bias_field": {},
    "bias_lattice": {},
    "blur": {"sigma_mm": (1, 2)},
    "brightness": {},
    "brightness_gradient": {},
    "clip": {"low": (10, 20), "high": 90},
    "contrast": {},
    "count_noise": {},
    "ct_noise": {},
    "cutout": {},
    "dose_reduction": {},
    "gamma": {"p_invert": 0.5},
    "gaussian_noise": {},
    "ghosting": {"count": (2, 3), "restore": 0.0},
    "gibbs": {},
    "histogram_shift": {},
    "local_gamma": {},
    "low_resolution": {"spacing_factor": (2, 3)},
    "median": {"most": 4},
    "min_max": {},
    "motion": {},
    "psf": {"fwhm_mm": (2, 4)},
    "rician_noise": {},
    "sharpen": {},
    "spike": {},
    "swap": {"size": 2, "count": 4},
    "uptake": {},
    "window_jitter": {"window": (60, 100)},
}


def made(name: str, **options: Any) -> augment.Step:
    return getattr(augment, name)(**(STEPS[name] | options))


def test_every_step_is_listed() -> None:
    steps = {
        name
        for name in dir(augment)
        if inspect.isclass(thing := getattr(augment, name)) and issubclass(thing, augment.Step)
    }
    intensities = {
        name for name in steps if getattr(augment, name).__name__ == name and hasattr(getattr(augment, name), "shared")
    }
    assert intensities == set(STEPS)
    others = {"affine", "elastic", "mirror", "misalign", "rotate90", "svf", "transpose"}
    assert steps - intensities == others | {"mixup", "cutmix", "labels_to_image", "Step"}


ALWAYS = ("gamma", "gaussian_noise", "low_resolution", "motion", "spike", "cutout")
"""Steps of each kind; the doctests show every step at work, and `make test-all` sweeps over all."""


def sweep(names: Iterable[str]) -> list[Any]:
    return [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.long) for name in names]


@pytest.mark.parametrize("name", sweep(STEPS))
def test_step(name: str) -> None:
    step = made(name, p=1)
    draw = step.sample(KEYS, IMAGES)
    out = augment.apply(draw, IMAGES)
    scale = float(np.ptp(np.asarray(IMAGES.voxels)))
    assert out.dtype == np.float32
    assert np.isfinite(out.voxels).all()
    assert all(np.any(np.asarray(out.voxels[i]) != IMAGES.voxels[i]) for i in range(3))
    # Half of the items draw it: the others keep their voxels, to the bit.
    some = draw.values[name]["image"] | {"applied": np.array([True, False, True])}
    part = augment.apply(augment.Draw(draw.key, {name: {"image": some}}, draw.entries, draw.settings), IMAGES)
    np.testing.assert_array_equal(part.voxels[1], IMAGES.voxels[1])
    np.testing.assert_allclose(part.voxels[0], out.voxels[0], atol=2e-6 * scale)
    # Alone, under vmap, from JSON.
    alone = step(KEYS[2], mj.unstack(IMAGES)[2])
    np.testing.assert_allclose(alone.voxels, out.voxels[2], atol=2e-6 * scale)
    np.testing.assert_allclose(jax.vmap(step)(KEYS, IMAGES).voxels, out.voxels, atol=2e-6 * scale)
    assert_same_draw(augment.Draw.from_json(draw.to_json()), draw)
    assert repr(draw[0]).startswith(f"{name} of image: ")
    assert step.describe().startswith(f"{name}: ")


@pytest.mark.parametrize("name", sweep(sorted(set(STEPS) - {"motion", "swap"})))
def test_channels_have_their_own(name: str) -> None:
    """The result of each channel is that of an image without channels and the channel's numbers."""
    image = scan(4, (9, 8, 7, 2))
    draw = made(name, p=1, per_channel=1.0).sample(KEYS[0], image)
    values = draw.values[name]["image"]
    assert values["applied"].shape == (2,)
    out = np.asarray(augment.apply(draw, image).voxels)
    if "key" in values:  # noise is one array over the channels
        return
    plain = made(name, p=1).sample(KEYS[0], scan(4))
    for channel in range(2):
        own = {part: np.asarray(x)[channel] for part, x in values.items() if part in plain.values[name]["image"]}
        single = augment.Draw(plain.key, {name: {"image": own}}, plain.entries, plain.settings)
        wanted = augment.apply(single, image.with_voxels(image.voxels[..., channel])).voxels
        np.testing.assert_allclose(out[..., channel], wanted, atol=1e-4)


def test_steps_are_the_plain_functions() -> None:
    image = scan(5)

    def drawn(name: str, **options: Any) -> tuple[Any, Any]:
        step = made(name, p=1, **options)
        draw = step.sample(KEYS[0], image)
        return draw.values[name]["image"], augment.apply(draw, image).voxels

    values, out = drawn("gamma")
    wanted = mj.adjust_gamma(image, jnp.exp(values["log_gamma"]), retain_stats=True, invert=values["invert"])
    np.testing.assert_allclose(out, wanted.voxels, atol=1e-4)
    values, out = drawn("contrast")
    np.testing.assert_allclose(out, mj.adjust_contrast(image, values["factor"]).voxels, atol=1e-4)
    values, out = drawn("blur")
    np.testing.assert_allclose(out, mj.gaussian_blur(image, values["sigma_mm"]).voxels, atol=1e-4)
    values, out = drawn("gaussian_noise")
    key = jax.random.wrap_key_data(jnp.asarray(values["key"]))
    wanted = mj.gaussian_noise(key, image, values["std"], relative="std")
    np.testing.assert_allclose(out, wanted.voxels, atol=1e-4)
    values, out = drawn("bias_field")
    np.testing.assert_allclose(out, mj.bias_field(image, values["coefficient"]).voxels, atol=1e-4)
    values, out = drawn("low_resolution")
    wanted = mj.degrade_resolution(image, np.asarray(values["spacing_factor"]) * image.spacing)
    np.testing.assert_allclose(out, wanted.voxels, atol=1e-4)


def test_one_axis_is_coarse() -> None:
    draw = made("low_resolution", axes="one", keeps=(1,), p=1).sample(keys_of(40), mj.stack([scan()] * 40))
    factors = np.asarray(draw.values["low_resolution"]["image"]["spacing_factor"])
    assert (factors[:, 1] == 1).all()
    assert ((factors > 1).sum(1) == 1).all()
    assert (factors > 1).any(0).tolist() == [True, False, True]


def test_a_step_with_a_branch_that_was_not_taken_changes_nothing() -> None:
    recipe = augment.one_of(augment.brightness(factor=2, p=1), augment.brightness(factor=3, p=1), weights=[1, 0])
    np.testing.assert_array_equal(recipe(KEYS, IMAGES).voxels, np.asarray(IMAGES.voxels) * 2)
    none = augment.one_of(augment.brightness(factor=2, p=1), p=0)
    np.testing.assert_array_equal(none(KEYS, IMAGES).voxels, IMAGES.voxels)
    nested = augment.one_of(augment.sequence(augment.brightness(factor=2, p=1), augment.brightness(factor=5, p=1)))
    np.testing.assert_array_equal(nested(KEYS, IMAGES).voxels, np.asarray(IMAGES.voxels) * 10)


# --- Several images --------------------------------------------------------------------------------------------------


def labels_of(images: mj.Image) -> mj.Image:
    values = np.clip(np.asarray(images.voxels) // 40, 0, 3).astype(np.uint8)
    return mj.Image(values, images.affine, "label", images.metadata)


def test_mixup_mixes_with_the_next() -> None:
    images = {"ct": IMAGES, "seg": labels_of(IMAGES)}
    draw = augment.mixup(p=0.7, num_classes=4).sample(KEYS, images)
    out = augment.apply(draw, images)
    share = np.where(draw.values["mixup"]["applied"], draw.values["mixup"]["share"], 1)
    voxels = np.asarray(IMAGES.voxels)
    for i in range(3):
        wanted = share[i] * voxels[i] + (1 - share[i]) * voxels[(i + 1) % 3]
        np.testing.assert_allclose(out["ct"].voxels[i], wanted, atol=1e-4)
    assert out["seg"].kind == "intensity"
    assert out["seg"].voxels.shape == (3, 9, 8, 7, 4)
    np.testing.assert_allclose(out["seg"].voxels.sum(-1), 1, atol=1e-6)
    with pytest.raises(ValueError, match=r"mixup mixes the items of one batch axis, got a batch of shape \(\)"):
        augment.mixup()(KEYS[0], scan())
    with pytest.raises(ValueError, match="say num_classes"):
        augment.mixup()(KEYS, images)


def test_cutmix_puts_boxes_of_images_and_labels() -> None:
    images = {"ct": IMAGES, "seg": labels_of(IMAGES)}
    out = augment.cutmix(p=1)(KEYS, images)
    for i in range(3):
        own, other = (np.asarray(IMAGES.voxels)[n] for n in (i, (i + 1) % 3))
        got = np.asarray(out["ct"].voxels[i])
        is_other = got == other
        assert ((got == own) | is_other).all()
        seg, partner = (np.asarray(images["seg"].voxels)[n] for n in (i, (i + 1) % 3))
        np.testing.assert_array_equal(out["seg"].voxels[i], np.where(is_other & (own != other), partner, seg))


def test_images_are_made_of_labels() -> None:
    labels = labels_of(IMAGES)
    recipe = augment.sequence(
        augment.labels_to_image(num_labels=4, classes=(0, 1, 1, 2), std=0), augment.brightness(factor=2, p=1)
    )
    draw = recipe.sample(KEYS, {"seg": labels})
    out = augment.apply(draw, {"seg": labels})
    assert (out["image"].kind, out["image"].batch_shape) == ("intensity", (3,))
    mean = np.asarray(draw.values["labels_to_image"]["mean"])[:, [0, 1, 1, 2]]
    for i in range(3):
        np.testing.assert_allclose(out["image"].voxels[i], 2 * mean[i][np.asarray(labels.voxels[i])], rtol=1e-6)
    with pytest.raises(ValueError, match=r"labels_to_image needs a label image without channels, images\['seg'\]"):
        recipe(KEYS, {"ct": IMAGES})


# --- Margin ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_margin_holds_what_is_reached(seed: int) -> None:
    """No voxel of the patch comes from beyond the margin, for draws at the ends of their ranges."""
    size, spacing = (12, 10, 8), (1.0, 1.5, 2.0)
    step = augment.sequence(
        augment.affine(rotation=25, scale=(0.7, 1.2), shear=0.1, translation=3), augment.elastic(lock=0, max_mm=3)
    )
    reach = np.asarray(augment.margin(step, size, spacing))
    image = scan(0, size, spacing=spacing, origin=(0, 0, 0))
    rng = np.random.default_rng(seed)
    ends = {
        "rotation": rng.choice([-25.0, 25.0], 3),
        "scale": rng.choice([0.7, 1.2], 3),
        "shear": rng.choice([-0.1, 0.1], 3),
        "translation": rng.choice([-3.0, 3.0], 3),
    }
    points = np.stack(np.meshgrid(*[np.arange(n) * s for n, s in zip(size, spacing, strict=True)], indexing="ij"), -1)
    center = np.asarray(image.grid.center)
    inverse = np.linalg.inv(np.asarray(mj.affine_matrix(**ends)))
    # The lattice adds at most 3 mm before the affine map.
    moved = (points.reshape(-1, 3) - center + rng.choice([-3.0, 3.0], (1, 3))) @ inverse[:3, :3].T + inverse[:3, 3]
    beyond = abs(moved).max(0) - np.asarray(size) * spacing / 2
    assert (beyond / spacing <= reach).all()
    assert (reach < 3 * np.asarray(size)).all()
