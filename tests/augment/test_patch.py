"""Patches: the crop of what recipes make of whole images, of whose voxels alone are gathered."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augment_cases import keys_of, labelled, scan

import medjax as mj
from medjax import Image, augment

KEYS = keys_of(3)
SIZE = (5, 6, 4)
STARTS = np.array([[0, 0, 0], [4, 3, 5], [2, 1, 3]])


def coordinates(grid: mj.Grid) -> Image:
    """Positions in mm as channels: linear interpolation gives them back exactly, whatever the grid."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    return Image.from_array(np.asarray(grid.world(index)).astype(np.float32), affine=grid.affine)


def item() -> dict[str, Any]:
    """A CT and labels on one grid, a PET on another, and points."""
    tilt = np.asarray(mj.affine_matrix(rotation=(8, -6, 20)))[:3, :3]
    images: dict[str, Any] = labelled(scan(0, (9, 9, 9), spacing=(1, 1.5, 2), origin=(-4, -6, -8), direction=tilt))
    images["where"] = coordinates(images["ct"].grid)
    images["pet"] = coordinates(mj.Grid.of((14, 13, 12), spacing=3.0, origin=(-20, -18, -17)))
    return images | {"mark": augment.Points.of([[1.0, 2, 3]])}


def batch() -> dict[str, Any]:
    def stacked(part: Any) -> Any:
        return (
            augment.Points.of(np.stack([part.positions] * 3))
            if isinstance(part, augment.Points)
            else mj.stack([part] * 3)
        )

    return {name: stacked(part) for name, part in item().items()}


def recipe(p: float = 0.7, **options: Any) -> augment.Step:
    """Mirrors, maps, a lattice, and a step between that acts after the gather."""
    return augment.sequence(
        augment.mirror(axes=(0, 2)),
        augment.brightness(factor=augment.fixed(1), p=1),
        augment.affine(rotation=8, scale=(0.9, 1.1), translation=1, p=p),
        augment.elastic(points=5, amount=0.2, lock=1, p=p),
        **({"reference": "ct"} | options),
    )


IMAGES, ITEM = batch(), item()


@pytest.mark.parametrize("is_traced", [False, True])
def test_patch_is_the_crop_of_the_whole(is_traced: bool) -> None:
    """Labels to the bit, voxels to 1e-5 of the range, geometry, points; a start for each item."""

    def cut(keys: Any, images: Any, start: Any) -> Any:
        return recipe()(keys, images, size=SIZE, start=start)

    whole = recipe()(KEYS, IMAGES)
    out = (jax.jit(cut) if is_traced else cut)(KEYS, IMAGES, STARTS)
    for name in ("ct", "seg", "where"):
        wanted = mj.crop(whole[name], STARTS, SIZE)
        near = 1e-5 * float(np.ptp(np.asarray(IMAGES[name].voxels))) if name != "seg" else 0
        np.testing.assert_allclose(out[name].voxels, wanted.voxels, atol=near, err_msg=name)
        np.testing.assert_allclose(out[name].affine, wanted.affine, atol=1e-5)
        assert (out[name].kind, out[name].dtype) == (whole[name].kind, whole[name].dtype)
    np.testing.assert_allclose(out["mark"].positions, whole["mark"].positions, atol=1e-5)
    # The PET is there on the same voxels, and knows the same positions: those it came from.
    assert out["pet"].shape == SIZE
    np.testing.assert_allclose(out["pet"].affine, out["ct"].affine, atol=1e-5)
    gap = abs(np.asarray(out["where"].voxels) - np.asarray(out["pet"].voxels)).max(-1)
    assert (gap < 1e-3).mean() > 0.5  # the others came from beyond one of the two


def test_patch_of_one_item_and_of_nothing_drawn() -> None:
    """Without a move the voxels are those of the image, to the bit; the default patch lies in the middle."""
    still = recipe(p=0.0)
    draw = still.sample(KEYS[0], ITEM)
    flat = {"mirror": draw.values["mirror"] | {"mirrored": np.zeros(2, bool), "applied": np.zeros((), bool)}}
    draw = augment.Draw(draw.key, draw.values | flat, draw.entries, draw.settings)
    out = augment.apply(draw, ITEM, size=SIZE)
    for name in ("ct", "seg", "where"):
        wanted = mj.crop(ITEM[name], (2, 1, 2), SIZE)
        np.testing.assert_array_equal(out[name].voxels, wanted.voxels)
        np.testing.assert_array_equal(out[name].affine, wanted.affine)
    np.testing.assert_allclose(out["pet"].voxels, out["where"].voxels, atol=1e-4)
    alone, whole = recipe()(KEYS[1], ITEM, size=SIZE, start=STARTS[1]), recipe()(KEYS, IMAGES, size=SIZE, start=STARTS)
    np.testing.assert_allclose(alone["ct"].voxels, whole["ct"].voxels[1], atol=1e-3)


def test_voxels_beyond_the_patch_are_not_gathered() -> None:
    """The program holds nothing of the size of the images beside them."""
    images = labelled(scan(0, (48, 48, 48)))

    def run(voxels: Any, labels: Any, start: Any) -> Any:
        given = {"ct": Image(voxels, images["ct"].affine), "seg": Image(labels, images["ct"].affine, "label")}
        return recipe()(KEYS[0], given, size=8, start=start)["ct"].voxels

    compiled = jax.jit(run).lower(images["ct"].voxels, images["seg"].voxels, jnp.zeros(3, int)).compile()
    used = compiled.memory_analysis()
    assert used is not None
    assert used.temp_size_in_bytes < 48**3


def test_what_comes_after_the_gather_sees_the_patch() -> None:
    image, made = ITEM["ct"], augment.contrast(factor=augment.fixed(0.5), p=1)
    patch = mj.crop(image, (1, 2, 3), SIZE)
    contrasted = made(KEYS[0], patch).voxels
    later = augment.sequence(augment.affine(p=0), made, augment.mirror(axes=0, p=1))
    first = augment.sequence(made, augment.mirror(axes=0, p=1))  # nothing gathers, so it is cut first
    for recipe in (later, first):
        out = recipe(KEYS[0], image, size=SIZE, start=(1, 2, 3))
        np.testing.assert_allclose(out.voxels, np.flip(np.asarray(contrasted), 0), atol=1e-4)
        np.testing.assert_array_equal(out.affine, patch.affine)
    moved = augment.sequence(augment.mirror(axes=0, p=1), made)(KEYS[0], image, size=SIZE, start=(1, 2, 3))
    wanted = made(KEYS[0], mj.crop(image.with_voxels(np.flip(np.asarray(image.voxels), 0)), (1, 2, 3), SIZE))
    np.testing.assert_allclose(moved.voxels, wanted.voxels, atol=1e-4)


def test_views_are_patches_too() -> None:
    made = augment.repeat(2, augment.mirror(), augment.affine())
    out = made(KEYS[0], ITEM["ct"], size=SIZE, start=(1, 2, 3))
    assert (out.batch_shape, out.shape) == ((2,), SIZE)
    single = augment.sequence(augment.mirror(), augment.affine())
    wanted = single(jax.random.fold_in(KEYS[0], 1), ITEM["ct"], size=SIZE, start=(1, 2, 3))
    np.testing.assert_allclose(out.voxels[1], wanted.voxels, atol=1e-3)
    np.testing.assert_array_equal(out.affine[1], wanted.affine)


def test_a_box_with_its_margin_holds_the_patch() -> None:
    """A loader reads the patch and its margin; the recipe cuts the patch out, and nothing of it came from outside."""
    made = augment.sequence(
        augment.affine(rotation=20, scale=(0.8, 1.2), translation=2), augment.elastic(lock=0, amount=0.4), fill=-9e9
    )
    size, spacing = (6, 5, 4), (1.0, 1.5, 2.0)
    margin = augment.margin(made, size, spacing)
    volume = scan(0, (60, 50, 40), spacing=spacing)
    draw = mj.patch.sampler(size=size, margin=margin)
    start = np.array([12, 13, 11])
    box = draw.cut(volume, start)
    patches = mj.stack([box] * 8)
    out = made(keys_of(8), patches, size=size)
    assert (out.shape, out.batch_shape) == (size, (8,))
    assert np.min(np.asarray(out.voxels)) > -1e9
    np.testing.assert_allclose(out.affine[0], volume.grid.moved((start + margin).astype(float), size).affine)


@pytest.mark.usefixtures("unchecked")
def test_patches_that_are_none() -> None:
    made, image = augment.affine(), {"ct": ITEM["ct"]}
    with pytest.raises(ValueError, match=r"a patch of \(10, 9, 9\) does not fit into images\['ct'\] of \(9, 9, 9\)"):
        made(KEYS[0], image, size=(10, 9, 9))
    with pytest.raises(ValueError, match=r"from \[5, 0, 0\] does not lie inside images\['ct'\]"):
        made(KEYS[0], image, size=SIZE, start=(5, 0, 0))
    with pytest.raises(ValueError, match="start must be three integers"):
        made(KEYS[0], image, size=SIZE, start=(0.5, 0, 0))
    with pytest.raises(ValueError, match="give its size too, size="):
        augment.apply(made.sample(KEYS[0], image), image, start=(0, 0, 0))
    with pytest.raises(ValueError, match=r"size=4 cuts a patch out of images, and there is none among \['mark'\]"):
        augment.brightness()(KEYS[0], {"mark": ITEM["mark"]}, size=4)
