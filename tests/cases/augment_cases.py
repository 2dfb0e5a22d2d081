"""Images and recipes that the tests of augmentation share: few shapes, so that few programs are compiled."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import medjax as mj
from medjax import Image, augment

SHAPE = (9, 8, 7)
SPACING = (1.0, 1.5, 2.0)
ORIGIN = (10.0, -20.0, 300.0)


def scan(seed: int = 0, shape: tuple[int, ...] = SHAPE, **options: Any) -> Image:
    """An intensity image, anisotropic and far from the origin."""
    values = np.random.default_rng(seed).gamma(2.0, 30.0, shape).astype(np.float32)
    return Image.from_array(values, **({"spacing": SPACING, "origin": ORIGIN} | options))


def labelled(image: Image) -> dict[str, Image]:
    """The image and labels on its grid."""
    labels = (np.asarray(image.voxels) > 40).astype(np.uint8) + (np.asarray(image.voxels) > 80)
    return {"ct": image, "seg": Image(labels.astype(np.uint8), image.affine, "label")}


def batch(count: int = 8) -> dict[str, Image]:
    """A batch of images with labels."""
    items = [labelled(scan(seed, metadata=mj.Metadata(patient_id=str(seed)))) for seed in range(count)]
    return {name: mj.stack([item[name] for item in items]) for name in ("ct", "seg")}


def item_of(images: dict[str, Image], number: int) -> dict[str, Image]:
    return {name: mj.unstack(image)[number] for name, image in images.items()}


def recipe(**changes: Any) -> augment.Step:
    """Each kind of step once: an exact one, an affine one, a lattice, statistics, noise."""
    noise = changes.get("noise", augment.gaussian_noise(p=0.5))
    return augment.sequence(
        augment.mirror(p=0.5),
        augment.affine(rotation=changes.get("rotation", 10), p=changes.get("p", 0.7)),
        augment.elastic(p=0.6),
        *changes.get("more", ()),
        augment.gamma(p=0.6, p_invert=0.3),
        noise,
    )


def keys_of(count: int = 8, seed: int = 3) -> jax.Array:
    return augment.item_keys(seed, np.arange(count))


def values_of(draw: augment.Draw) -> list[tuple[str, Any]]:
    """The arrays of a draw with where they stand."""
    return [(jax.tree_util.keystr(path), np.asarray(x)) for path, x in jax.tree_util.tree_leaves_with_path(draw)]


def assert_same_draw(one: augment.Draw, other: augment.Draw) -> None:
    """To the bit, leaf by leaf."""
    for (where, a), (place, b) in zip(values_of(one), values_of(other), strict=True):
        assert where == place
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), where
    assert one == other
