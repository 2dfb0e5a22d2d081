"""Recipes in other settings: 64-bit numbers, exported for other machines, items of different geometry."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from augment_cases import item_of, keys_of, labelled, recipe, scan
from jax import export

import medjax as mj

KEYS = keys_of(2)
TILT = np.asarray(mj.affine_matrix(rotation=(20, -10, 30)))[:3, :3]
IMAGES = {
    name: mj.stack(
        [labelled(scan(0))[name], labelled(scan(1, spacing=(2, 1, 0.7), origin=(5, 6, 7), direction=TILT))[name]]
    )
    for name in ("ct", "seg")
}
RANGE = float(np.ptp(np.asarray(IMAGES["ct"].voxels)))
WHOLE = recipe()(KEYS, IMAGES)


def test_each_item_has_the_geometry_and_statistics_of_its_own() -> None:
    """Unlike TorchIO 2's batches, which take those of the first item (peers.md)."""
    for number in range(2):
        alone = recipe()(KEYS[number], item_of(IMAGES, number))
        found = item_of(WHOLE, number)
        np.testing.assert_allclose(found["ct"].voxels, alone["ct"].voxels, atol=1e-5 * RANGE)
        assert np.mean(np.asarray(found["seg"].voxels) != np.asarray(alone["seg"].voxels)) < 5e-3


def test_64_bits() -> None:
    """The same draws, computed in float64: near the result of float32, and float64 only where the voxels are."""
    with jax.enable_x64(True):
        images = {"ct": IMAGES["ct"].with_voxels(np.asarray(IMAGES["ct"].voxels, np.float64)), "seg": IMAGES["seg"]}
        out = recipe()(KEYS, images)
        draw = recipe().sample(KEYS, images)
    assert (out["ct"].dtype, out["seg"].dtype) == (np.float64, np.uint8)
    np.testing.assert_allclose(out["ct"].voxels, WHOLE["ct"].voxels, atol=1e-4 * RANGE)
    assert np.mean(np.asarray(out["seg"].voxels) != np.asarray(WHOLE["seg"].voxels)) < 5e-3
    for one, other in zip(jax.tree.leaves(draw), jax.tree.leaves(recipe().sample(KEYS, IMAGES)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_recipe_is_exported_for_machines_that_are_not_here() -> None:
    """Lowered for each; called here, where it gives what the recipe gives."""

    def run(keys: Any, images: Any, start: Any) -> Any:
        return recipe()(jax.random.wrap_key_data(keys), images, size=(5, 6, 4), start=start)["ct"].voxels

    operands = jax.random.key_data(KEYS), IMAGES, np.array([[1, 2, 3], [0, 1, 0]], np.int32)
    exported = export.export(jax.jit(run), platforms=["cpu", "cuda", "rocm", "tpu"])(*operands)
    assert exported.platforms == ("cpu", "cuda", "rocm", "tpu")
    found = exported.call(*operands)
    wanted = recipe()(KEYS, IMAGES, size=(5, 6, 4), start=operands[2])["ct"].voxels
    np.testing.assert_allclose(found, wanted, atol=1e-4 * RANGE)


def test_profile_names_each_part_and_how_long_it_takes() -> None:
    some = mj.augment.one_of(mj.augment.contrast(), mj.augment.brightness(), p=0.1)
    found = mj.augment.sequence(mj.augment.mirror(), mj.augment.affine(), some).profile(IMAGES, rounds=1)
    assert list(found) == ["mirror + affine", "contrast", "brightness"]
    assert all(0 < milliseconds < 1e4 for milliseconds in found.values())
