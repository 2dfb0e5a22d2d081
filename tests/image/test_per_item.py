"""A value per item or per channel means the same for a batch of any size: NumPy's broadcasting against (*batch, *channels)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import medjax as mj
from medjax import Image

SHAPE = (5, 4, 3)
GRID = mj.Grid.of((7, 6, 5), origin=(-1, -1, -1))

# Each takes a value for everything outside, or a parameter of intensities.
TAKING: dict[str, Callable[[Image, Any], Image]] = {
    "rotate": lambda x, value: mj.rotate(x, "k", 30.0, fill=value),
    "affine_transform": lambda x, value: mj.affine_transform(x, mj.affine_matrix(translation=(1, 0, 0)), fill=value),
    "warp": lambda x, value: mj.warp(x, np.full((*SHAPE, 3), 1.0, np.float32), fill=value),
    "resample_to_grid": lambda x, value: mj.resample_to_grid(x, GRID, fill=value),
    "resample_to_spacing": lambda x, value: mj.resample_to_spacing(x, 1.5, size=(6, 6, 6), fill=value),
    "pad": lambda x, value: mj.pad(x, 1, 2, fill=value),
    "crop_or_pad": lambda x, value: mj.crop_or_pad(x, (3, 8, 4), fill=value),
    "clip low": lambda x, value: mj.clip(x, value, None),
    "clip high": lambda x, value: mj.clip(x, None, value),
    "rescale slope": lambda x, value: mj.rescale(x, value, 0),
    "rescale intercept": lambda x, value: mj.rescale(x, 1, value),
    "window center": lambda x, value: mj.window(x, value, 10),
    "window width": lambda x, value: mj.window(x, 0, value),
    "min_max_normalize": lambda x, value: mj.min_max_normalize(x, range=(-200.0, value)),
    "percentile_normalize": lambda x, value: mj.percentile_normalize(x, range=(-200.0, value)),
}


def batch(items: int, channels: tuple[int, ...], *, on_device: bool = False) -> Image:
    voxels = np.random.default_rng(0).normal(0, 50, (items, *SHAPE, *channels)).astype(np.float32)
    affine = np.stack([np.eye(4)] * items)
    return Image.from_array(jnp.asarray(voxels) if on_device else voxels, affine=affine)


def one_by_one(operation: Callable[[Image, Any], Image], image: Image, values: np.ndarray) -> np.ndarray:
    """What a batch must give, from scalar images: `values` is `(items, channels)`."""
    rows = [
        [operation(item.with_voxels(item.voxels[..., c]), float(value)).voxels for c, value in enumerate(row)]
        for item, row in zip(mj.unstack(image), values, strict=True)
    ]
    return np.stack([np.stack([np.asarray(voxels) for voxels in row], axis=-1) for row in rows])


@pytest.mark.parametrize("items", [1, 2, 3])
@pytest.mark.parametrize("name", TAKING)
def test_one_value_per_channel_or_per_item(name: str, items: int) -> None:
    """Three channels and one to three items; the counts coincide for three, where `(3,)` is still per channel."""
    image, operation = batch(items, (3,)), TAKING[name]
    per_channel, per_item = np.array([7.0, 20.0, 60.0]), np.arange(1.0, items + 1)[:, None] * 20
    for value in (per_channel, per_channel[None], per_item, per_item + per_channel):
        expected = one_by_one(operation, image, np.broadcast_to(value, (items, 3)))
        np.testing.assert_allclose(operation(image, value).voxels, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", TAKING)
def test_one_value_per_item_without_channels(name: str) -> None:
    image, operation = batch(3, ()), TAKING[name]
    values = np.array([7.0, 20.0, 60.0])
    found = operation(image, values).voxels
    for n, item in enumerate(mj.unstack(image)):
        np.testing.assert_allclose(found[n], operation(item, float(values[n])).voxels, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", TAKING)
def test_lists_of_traced_numbers_and_known_arrays_inside_a_trace(name: str) -> None:
    """A value is read alike as a tuple, as NumPy, as a JAX array, traced, and known while a trace is under way."""
    image, operation = batch(2, (2,), on_device=True), TAKING[name]
    values = (20.0, 60.0)
    expected = np.asarray(operation(image, np.array(values)).voxels)
    for found in (
        operation(image, values),
        operation(image, jnp.asarray(values)),
        jax.jit(lambda a: operation(image, (a, 60.0)))(20.0),
        jax.jit(lambda x: operation(image.with_voxels(x), jnp.asarray(values)))(image.voxels),
    ):
        np.testing.assert_allclose(found.voxels, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", TAKING)
def test_a_shape_that_does_not_broadcast(name: str) -> None:
    operation = TAKING[name]
    with pytest.raises(ValueError, match=r"one per channel \(2,\), or one per item \(3, 1\).*got shape \(4,\)$"):
        operation(batch(3, (2,)), np.full(4, 20.0))
    with pytest.raises(ValueError, match=r"got shape \(3,\); for one per item reshape it to \(3, 1\)$"):
        operation(batch(3, (2,)), np.full(3, 20.0))
    with pytest.raises(ValueError, match=r"must be one number; got shape \(1,\)$"):
        operation(mj.unstack(batch(1, ()))[0], np.full(1, 20.0))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("value", ["red", [[1.0], [2.0, 3.0]], {}])
def test_no_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="fill must be a number, or one per item or channel"):
        mj.rotate(batch(2, (2,)), "k", 3.0, fill=value)


def test_angles_and_centres() -> None:
    """They cannot differ between the channels of one image, so they broadcast against the batch alone."""
    image = batch(2, (2,))
    found = mj.rotate(image, "k", (10.0, 20.0)).voxels
    for n, item in enumerate(mj.unstack(image)):
        np.testing.assert_allclose(found[n], mj.rotate(item, "k", (10.0, 20.0)[n]).voxels, rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match=r"degrees must be one number, or one per item \(2,\); got shape \(2, 2\)$"):
        mj.rotate(image, "k", np.ones((2, 2)))
    mask = image.with_voxels(np.asarray(image.voxels) > 0)
    centers = np.array([[0.0, 0.0, 0.0], [2.0, 3.0, 1.0]])
    expected = [[mj.max_radius(mask.with_voxels(mask.voxels[..., c]), centers[c])[n] for c in (0, 1)] for n in (0, 1)]
    np.testing.assert_allclose(mj.max_radius(mask, centers), expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"center must be .*, or one per item \(2, 1, 3\).*got shape \(3, 3\)"):
        mj.max_radius(mask, np.zeros((3, 3)))


@pytest.mark.parametrize("kind", ["intensity", "label"])
@pytest.mark.parametrize(
    "operation",
    [lambda x, f: mj.pad(x, 1, 0, fill=f), lambda x, f: mj.rotate(x, 0, 45.0, fill=f)],
    ids=["pad", "rotate"],
)
def test_a_complex_fill_of_real_voxels_is_refused(operation: Any, kind: Any) -> None:
    """A cast would drop the imaginary part without a word; complex voxels take it whole."""
    image = mj.Image.from_array(np.ones((5, 5, 5), np.int16), kind=kind)
    for call in (lambda: operation(image, 1 + 2j), lambda: jax.jit(lambda f: operation(image, f).voxels)(1 + 2j)):
        with pytest.raises(ValueError, match="fill must be real, as the image is, got"):
            call()
    whole = operation(mj.Image.from_array(np.ones((5, 5, 5), np.complex64)), 1 + 2j)
    assert complex(whole.voxels[0, 0, 0]) == 1 + 2j
