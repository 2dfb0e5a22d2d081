"""Steps at a place that is drawn, medians of drawn cubes, flows, exchanged axes: against formulas in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from augment_cases import keys_of, labelled, scan
from scipy import ndimage

import medjax as mj
from medjax import augment
from medjax._intensity._cube_median import median_of_cubes  # Private: the kernel of every size, in one program

KEYS = keys_of()
IMAGE = scan(3)
X = np.asarray(IMAGE.voxels, np.float64)


def drawn(made: augment.Step, image: Any = IMAGE) -> tuple[dict[str, Any], np.ndarray]:
    """What is drawn for an image, and what becomes of it."""
    draw = made.sample(KEYS[0], image)
    values = draw.values[made.kind]["image"]
    return jax.tree.map(lambda x: np.asarray(x, np.float64), values), np.asarray(augment.apply(draw, image).voxels)


def hill(center: np.ndarray, width: np.ndarray) -> np.ndarray:
    rows = [
        np.exp(-((((np.arange(n) + 0.5) / n - c) / w) ** 2) / 2)
        for n, c, w in zip(IMAGE.shape, center, width, strict=True)
    ]
    field = np.einsum("i,j,k->ijk", *rows)
    return (field - field.min()) / np.ptp(field)


def test_brightness_gradient_adds_a_hill() -> None:
    cases: tuple[tuple[Any, float], ...] = ((None, 1.0), ("std", float(X.std())))
    for relative, unit in cases:
        values, out = drawn(augment.brightness_gradient(p=1, relative=relative))
        wanted = X + unit * values["strength"] * hill(values["center"], values["width"])
        np.testing.assert_allclose(out, wanted, atol=2e-4)
        assert np.ptp(out - X) > 0.1
    image = scan(3, (9, 8, 7, 2))
    values, out = drawn(augment.brightness_gradient(p=1, per_channel=1, relative=None), image)
    for channel in range(2):
        add = values["strength"][channel] * hill(values["center"][channel], values["width"][channel])
        np.testing.assert_allclose(out[..., channel], image.voxels[..., channel] + add, atol=2e-4)


def test_local_gamma_is_a_mixture_of_an_image_and_its_gamma() -> None:
    values, out = drawn(augment.local_gamma(p=1))
    share = (X - X.min()) / np.ptp(X)
    weight = hill(values["center"], values["width"])
    mixed = share * (1 - weight) + share ** np.exp(values["log_gamma"]) * weight
    np.testing.assert_allclose(out, X.min() + np.ptp(X) * mixed, atol=1e-3)
    np.testing.assert_array_equal(drawn(augment.local_gamma(log_gamma=0, p=1))[1], IMAGE.voxels)


def test_a_hill_far_away_is_a_slope_and_no_number_is_lost() -> None:
    made = augment.brightness_gradient(
        strength=1, center=augment.fixed((9, 9, 9)), width=augment.fixed((0.05, 0.05, 0.05)), relative=None, p=1
    )
    out = np.asarray(made(KEYS[0], IMAGE).voxels) - X
    assert np.isfinite(out).all()
    np.testing.assert_allclose([out.min(), out.max(), out[-1, -1, -1]], [0, 1, 1], atol=1e-4)


def test_median_of_cubes_is_that_of_scipy() -> None:
    """One program for all sizes; even ones reach further down, and a cube may be larger than the image."""
    median = jax.jit(median_of_cubes, static_argnums=2)
    for size in (1, 2, 3, 4, 5):
        wanted = ndimage.median_filter(np.asarray(IMAGE.voxels), size)
        np.testing.assert_array_equal(median(IMAGE.voxels, np.int32(size), 5), wanted)
    made = augment.median(size=(2, 4), most=4, p=1)
    values, out = drawn(made)
    np.testing.assert_array_equal(out, ndimage.median_filter(np.asarray(IMAGE.voxels), int(values["size"])))


def test_the_gradient_of_a_median_goes_to_the_voxel_picked() -> None:
    x = jnp.asarray(np.random.default_rng(0).permutation(60).reshape(5, 4, 3), jnp.float32)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(5, 4, 3)), jnp.float32)
    found = jax.grad(lambda x: (weights * median_of_cubes(x, jnp.int32(2), 3)).sum())(x)
    wanted = jax.grad(lambda x: (weights * mj.median_filter(mj.Image.from_array(x), 2).voxels).sum())(x)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_limits_and_extremes() -> None:
    np.testing.assert_array_equal(drawn(augment.clip(low=20, high=90))[1], np.clip(IMAGE.voxels, 20, 90))
    np.testing.assert_allclose(drawn(augment.min_max())[1], (X - X.min()) / np.ptp(X), atol=1e-6)


def test_axes_are_exchanged_in_every_order() -> None:
    image = labelled(scan(4, (6, 6, 6), spacing=2.0))
    made, found = augment.transpose(axes=(0, 1, 2), p=1), set()
    for key in keys_of(24):
        draw = made.sample(key, image)
        out, order = augment.apply(draw, image), int(draw.values["transpose"]["order"])
        found.add(order)
        axes = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)][order]
        for name in image:
            np.testing.assert_array_equal(out[name].voxels, np.transpose(np.asarray(image[name].voxels), axes))
    assert found == set(range(6))


def test_a_flow_does_not_fold_and_its_negative_goes_back() -> None:
    """On a lattice as SynthSeg's, with velocities twice as large; back to a twentieth of what it went."""
    image = scan(5, (24, 20, 16), spacing=(2.0, 2.0, 2.5))
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1)
    places = np.asarray(image.grid.world(index)) - np.asarray(image.grid.center)
    where = image.with_voxels(places.astype(np.float32))
    made = augment.sequence(augment.svf(std_mm=augment.fixed(8), points=7), fill=1e3)
    inner = np.asarray(image.grid.world(index[5:-5:3, 5:-5:3, 4:-4:3])).reshape(-1, 3)
    marks = augment.Points.of(inner.astype(np.float32))
    for key in KEYS[:4]:
        draw = made.sample(key, image)
        came = np.asarray(augment.apply(draw, where).voxels, np.float64)[3:-3, 3:-3, 3:-3]
        came[(abs(came) > 900).any(-1)] = np.nan
        columns = [np.diff(came, axis=a)[:17, :13, :9] / image.spacing[a] for a in range(3)]
        jacobian = np.stack(columns, -1).reshape(-1, 3, 3)
        assert np.linalg.det(jacobian[np.isfinite(jacobian).all((1, 2))]).min() > 0
        values = draw.values["svf"] | {"velocity": -np.asarray(draw.values["svf"]["velocity"])}
        back = augment.Draw(draw.key, {"svf": values}, draw.entries, draw.settings)
        there = augment.apply(draw, {"image": image, "marks": marks})["marks"]
        again = np.asarray(augment.apply(back, {"image": image, "marks": there})["marks"].positions)
        went = np.linalg.norm(np.asarray(there.positions) - inner, axis=-1)
        assert went.max() > 3
        assert np.linalg.norm(again - inner, axis=-1).max() < went.max() / 20


def test_a_short_flow_is_the_spline_of_its_velocities() -> None:
    from scipy.interpolate import BSpline

    image = scan(5, (12, 11, 10))
    made = augment.svf(std_mm=augment.fixed(0.05), points=7)
    draw = made.sample(KEYS[0], image)
    velocity = np.asarray(draw.values["svf"]["velocity"], np.float64)
    knots = np.arange(-3, 8.0)
    rows = [
        np.stack([BSpline(knots, np.eye(7)[c], 3)((np.arange(n) + 0.5) * 4 / n) for c in range(7)], -1)
        for n in image.shape
    ]
    field = np.einsum("ai,bj,ck,ijkx->abcx", *rows, velocity)
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1)
    places = np.asarray(image.grid.world(index)) - np.asarray(image.grid.center)
    came = np.asarray(augment.apply(draw, image.with_voxels(places.astype(np.float32))).voxels, np.float64)
    moved = (came - places)[2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(moved, field[2:-2, 2:-2, 2:-2], atol=0.02 * abs(field).max())
