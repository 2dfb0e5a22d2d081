"""Values that are known while a trace is under way are checked and measured there as outside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import medjax as mj
from medjax import Image

RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.integers(0, 3, (6, 7, 8)).astype(np.uint8)
PARTS = RANDOM.random((6, 7, 8)).astype(np.float32)

# Of a label map and a soft mask, both known.
MEASURES: dict[str, Callable[[Image, Image], Any]] = {
    "barycenter": lambda label, soft: mj.barycenter(soft),
    "barycenter of labels": lambda label, soft: mj.barycenter(label),
    "bounding_box": lambda label, soft: mj.bounding_box(label, num_classes=3),
    "bounding_box of all": lambda label, soft: mj.bounding_box(label),
    "connected_components": lambda label, soft: mj.connected_components(label).voxels,
    "dice": lambda label, soft: mj.dice(soft, soft),
    "dice of labels": lambda label, soft: mj.dice(label, label, num_classes=3),
    "dice of both": lambda label, soft: mj.dice(label, soft),
    "dice of one_hot": lambda label, soft: mj.dice(mj.one_hot(label, num_classes=3), mj.one_hot(label, num_classes=3)),
    "label_volumes": lambda label, soft: mj.label_volumes(label),
    "mask_points": lambda label, soft: mj.mask_points(label, 5),
    "max_radius": lambda label, soft: mj.max_radius(soft),
    "one_hot": lambda label, soft: mj.one_hot(label, num_classes=3).voxels,
    "surface_distances": lambda label, soft: mj.surface_distances(label, label, num_classes=3),
    "suv_statistics": lambda label, soft: tuple(vars(mj.suv_statistics(soft, label, num_classes=3)).values()),
    "z_score_normalize": lambda label, soft: mj.z_score_normalize(soft, mask=label).voxels,
    "percentile_normalize": lambda label, soft: mj.percentile_normalize(soft, mask=label.voxels).voxels,
    "histogram_match": lambda label, soft: mj.histogram_match(soft, soft, mask=label).voxels,
    "nyul_train": lambda label, soft: mj.nyul_train([soft], masks=[label]).values,
    "cast": lambda label, soft: mj.cast(label, "int8").voxels,
    "crop_to_mask": lambda label, soft: mj.crop_to_mask(soft, label).voxels,
    "picture": lambda label, soft: len(label._repr_html_()) + len(soft._repr_html_()),
}
# The voxels of what is wrong, made outside of the trace, of labels or soft masks; the call; what it says.
REFUSED: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Image, Image, Any], Any], str]] = {
    "no label": (
        lambda a, b: a,
        lambda label, soft, bad: mj.one_hot(label, num_classes=2),
        "labels run from 0 to 2, but num_classes=2",
    ),
    "two labels": (
        lambda a, b: a,
        lambda label, soft, bad: mj.dice(label, label, num_classes=2),
        "labels run from 0 to 2",
    ),
    "NaN": (
        lambda a, b: b * np.nan,
        lambda label, soft, bad: mj.dice(soft, soft.with_voxels(bad)),
        "reference is NaN in 336 of",
    ),
    "negative": (
        lambda a, b: b - 0.5,
        lambda label, soft, bad: mj.barycenter(soft.with_voxels(bad)),
        "they must not be negative",
    ),
    "too much": (
        lambda a, b: b * 2,
        lambda label, soft, bad: mj.dice(soft.with_voxels(bad), soft),
        r"mask has weights from .*within 0 to 1",
    ),
    "empty": (
        lambda a, b: a * 0,
        lambda label, soft, bad: mj.barycenter(label.with_voxels(bad)),
        "barycenter: the mask is empty",
    ),
    "no reach": (
        lambda a, b: a * 0,
        lambda label, soft, bad: mj.max_radius(label.with_voxels(bad), (0, 0, 0)),
        "max_radius: the mask is empty",
    ),
    "no mask": (
        lambda a, b: a * 0,
        lambda label, soft, bad: mj.z_score_normalize(soft, mask=bad),
        "mask selects no finite voxel",
    ),
    "no pad": (
        lambda a, b: np.array(300),
        lambda label, soft, bad: mj.pad(label, 1, 1, fill=bad),
        "does not fit voxels of uint8",
    ),
    "no fill": (
        lambda a, b: np.array(0.5),
        lambda label, soft, bad: mj.rotate(label, 0, 3.0, fill=bad),
        "is no label of dtype",
    ),
    "no limit": (
        lambda a, b: np.array(2.0),
        lambda label, soft, bad: mj.clip(soft, bad, 1),
        "low must not be above high",
    ),
}
LIBRARIES = pytest.mark.parametrize("library", [np, jnp], ids=["NumPy", "JAX"])


def known(library: Any) -> tuple[Image, Image]:
    return Image.from_array(library.asarray(NUMBERS), kind="label"), Image.from_array(library.asarray(PARTS))


@LIBRARIES
@pytest.mark.parametrize("name", MEASURES)
def test_known_inside_a_trace(name: str, library: Any) -> None:
    images, measure = known(library), MEASURES[name]
    outside = jax.tree.map(np.asarray, measure(*images))
    inside = jax.jit(lambda: jax.tree.map(jnp.asarray, measure(*images)))()
    mapped = jax.vmap(lambda x: (x, jax.tree.map(jnp.asarray, measure(*images))), out_axes=(0, None))(jnp.zeros(2))[1]
    for one, other, both in zip(*map(jax.tree.leaves, (outside, inside, mapped)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
        np.testing.assert_allclose(both, one, rtol=1e-5)


@LIBRARIES
@pytest.mark.parametrize("name", REFUSED)
def test_known_and_wrong_inside_a_trace(name: str, library: Any) -> None:
    """What is wrong with them is said by the package, not by JAX."""
    make, call, message = REFUSED[name]
    bad = library.asarray(make(NUMBERS, PARTS))
    images = (*known(library), bad)
    with pytest.raises(ValueError, match=message):
        call(*images)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda: call(*images))()


def test_weights_are_judged_one_by_one() -> None:
    """A sum that is positive says nothing of each: one negative weight moves the centre out of the mask."""
    for weights in ([1.0, 3, -5], [5.0, 3, -1], [8.0, -4, -3]):
        mask = Image.from_array(np.reshape(weights, (3, 1, 1)).astype(np.float32))
        with pytest.raises(ValueError, match="they must not be negative"):
            mj.barycenter(mask)
        with pytest.raises(ValueError, match=r"mask has weights from .*: they must be within 0 to 1"):
            mj.dice(mask, mask)
        assert mj.max_radius(mask, (0, 0, 0)) == 2  # all that is not 0
    shares = Image.from_array(np.array([1.000001, -1e-7, 0.5], np.float32).reshape(3, 1, 1))  # rounding
    assert float(mj.dice(shares, shares)) == pytest.approx(2 * 1.25 / 3, rel=1e-5)
    np.testing.assert_allclose(mj.barycenter(shares), [2 * 0.5 / 1.5, 0, 0], rtol=1e-5)
