"""Voxels that are NaN or infinite reach as far as the taps that weigh something, on both sides alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import medjax as mj
from medjax import Image

BAD = [np.nan, np.inf, -np.inf]
SHAPE = (9, 8, 7)


def spoiled(value: float, place: tuple[int, ...] = (4, 4, 3), shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    voxels = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    voxels[place] = value
    return voxels


def in_buckets(image: Image, spacing: Any) -> Image:
    with mj.shape_buckets():
        return mj.resample_to_spacing(image, spacing)


def by_affine(image: Image, spacing: Any) -> Image:
    """The same lattice by the general kernel: a displacement of nothing."""
    grid = mj.resample_to_spacing(image, spacing).grid
    nowhere = mj.DisplacementField.of(np.zeros((*grid.shape, 3), np.float32), grid.affine)
    return mj.resample_to_grid(image, grid, transform=nowhere)


def jitted(image: Image, spacing: Any) -> Image:
    size = mj.resample_to_spacing(image, spacing).shape
    return jax.jit(lambda given: mj.resample_to_spacing(given, spacing, size=size))(image)


def jitted_onto_a_grid(image: Image, spacing: Any) -> Image:
    return jax.jit(mj.resample_to_grid)(image, mj.resample_to_spacing(image, spacing).grid)


WAYS: dict[str, Callable[[Image, Any], Image]] = {
    "bands": mj.resample_to_spacing,
    "jit": jitted,
    "jit onto a grid": jitted_onto_a_grid,
    "buckets": in_buckets,
    "points": by_affine,
}


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("way", WAYS)
def test_reaches_as_far_as_its_weight(way: str, value: float) -> None:
    """Closed form: linear weights vanish one voxel away, so a third of the spacing leaves 5 x 5 x 5 samples."""
    image = Image.from_array(spoiled(value), spacing=3.0)
    out = np.asarray(WAYS[way](image, 1.0).voxels)
    bad = ~np.isfinite(out)
    wanted = np.zeros(out.shape, bool)
    wanted[11:16, 11:16, 8:13] = True
    np.testing.assert_array_equal(bad, wanted)
    rounding = 3e-7 if way.startswith("jit") else 0  # a traced position is off by a few units in the last place
    np.testing.assert_allclose(out[1::3, 1::3, 1::3], image.voxels, rtol=rounding)  # samples on voxels are those voxels
    if np.isinf(value):
        np.testing.assert_array_equal(out[bad], np.float32(value))


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("place", [(4, 4, 3), (0, 0, 0), (8, 7, 6), (0, 7, 3)])
@pytest.mark.parametrize("way", WAYS)
def test_flip_commutes(way: str, place: tuple[int, ...], value: float) -> None:
    image = Image.from_array(spoiled(value, place), spacing=3.0)
    axes = ("i", "j", "k")
    turned = mj.flip(WAYS[way](mj.flip(image, axes), 1.0), axes)  # type: ignore[arg-type]
    np.testing.assert_allclose(turned.voxels, WAYS[way](image, 1.0).voxels, rtol=1e-6)


@pytest.mark.parametrize("value", BAD)
def test_exact_voxels_beside_interpolated_axes_in_buckets(value: float) -> None:
    """Axes of one tap and of two in one kernel, compared with the plain call."""
    image = Image.from_array(spoiled(value), spacing=3.0)
    for spacing in ((1.0, 3.0, 3.0), (3.0, 3.0, 1.0), (3.0, 2.0, 3.0)):
        np.testing.assert_allclose(
            in_buckets(image, spacing).voxels, mj.resample_to_spacing(image, spacing).voxels, rtol=1e-6
        )


@pytest.mark.parametrize("scale", [1.0, 1e-3, 3e4])
def test_a_flat_region_stays_flat_to_the_bit(scale: float) -> None:
    field = np.random.default_rng(1).normal(size=(*SHAPE, 3)).astype(np.float32)
    image = Image.from_array(np.full(SHAPE, np.float32(scale)))
    closed_over = jax.jit(lambda degrees: mj.rotate(image, "j", degrees))(7.3)
    np.testing.assert_array_equal(closed_over.voxels, image.voxels)
    turned = jax.jit(lambda image, degrees: mj.rotate(image, "j", degrees))
    for number in np.random.default_rng(2).uniform(-scale, scale, 8).astype(np.float32):
        image = Image.from_array(np.full(SHAPE, number))
        for out in (
            mj.rotate(image, "k", 13.7),
            mj.warp(image, field),
            turned(image, 7.3),
        ):
            np.testing.assert_array_equal(out.voxels, number)


@pytest.mark.parametrize("is_known", [True, False])
def test_cotangents_reach_as_far_as_their_weight(is_known: bool) -> None:
    """An infinite cotangent of one sample reaches the voxels that the sample was made of, by each of the adjoints."""
    image = Image.from_array(spoiled(1.5), spacing=3.0)

    def pulled(operation: Callable[[Any], Any]) -> np.ndarray:
        out, pull = jax.vjp(operation, jnp.asarray(image.voxels))
        weight = np.zeros(out.shape, np.float32)
        weight[13, 13, 11] = np.inf  # on voxel (4, 4) and two thirds of the way to (4, 4, 4)
        return np.asarray(pull(jnp.asarray(weight))[0])

    if is_known:
        found = [pulled(lambda v: mj.resample_to_spacing(image.with_voxels(v), 1.0).voxels)]
    else:

        def through(way: str, voxels: Any) -> Any:
            return WAYS[way](image.with_voxels(voxels), 1.0).voxels

        found = [pulled(partial(through, way)) for way in ("points", "jit", "jit onto a grid")]
        grid = mj.resample_to_spacing(image, 1.0).grid
        still = mj.AffineTransform.of(mj.affine_matrix(rotation=(0, 0, 0)))
        found.append(pulled(lambda v: mj.resample_to_grid(image.with_voxels(v), grid, transform=still).voxels))
    wanted = np.zeros(SHAPE, bool)
    wanted[4, 4, 3:5] = True
    for gradient in found:
        np.testing.assert_array_equal(np.isinf(gradient), wanted)
        assert not np.isnan(gradient).any()


def test_the_gathering_adjoint_of_a_shear() -> None:
    """Whole steps along i, sheared by j: known, not along the axes, so that the adjoint visits outputs near each voxel."""
    image = Image.from_array(np.ones((6, 5, 4), np.float32))
    matrix = np.eye(4)
    matrix[0, 1] = 0.5

    def sheared(voxels: Any) -> Any:
        return mj.affine_transform(image.with_voxels(voxels), matrix, center=(0, 0, 0), fill=0.0).voxels

    out, pull = jax.vjp(sheared, jnp.asarray(image.voxels))
    weight = np.zeros(out.shape, np.float32)
    weight[3, 2, 1] = np.inf  # made of voxel (2, 2, 1) alone
    (gradient,) = pull(jnp.asarray(weight))
    assert np.argwhere(np.isinf(np.asarray(gradient))).tolist() == [[2, 2, 1]]
    assert not np.isnan(gradient).any()


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("mode", ["constant", "nearest", "mirror", "reflect", "wrap", "grid-constant", "grid-wrap"])
def test_map_coordinates_at_samples(mode: Any, value: float) -> None:
    """SciPy gives NaN for the finite sample before the NaN (0 times it); elsewhere both agree."""
    row = spoiled(value, (3,), (6,))
    places = np.array([[0, 1, 2, 3, 4, 5, 0.5, 4.5, 2.5, 3.5]], np.float32)
    found = np.asarray(mj.map_coordinates(row, places, 1, mode))
    np.testing.assert_array_equal(found[:6], row)
    theirs = ndimage.map_coordinates(row, places, order=1, mode=mode)
    np.testing.assert_allclose(found[6:], theirs[6:], rtol=1e-6)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_coefficients_without_weight(order: int) -> None:
    """At a sample the last tap of an odd order has no weight; symmetric about the NaN, unlike SciPy's."""
    row = spoiled(np.nan, (10,), (21,))
    places = np.arange(21, dtype=np.float32)[None]
    found = np.isnan(np.asarray(mj.map_coordinates(row, places, order, "mirror", prefilter=False)))
    reach = order // 2 if order % 2 == 0 else (order - 1) // 2
    np.testing.assert_array_equal(found, np.abs(np.arange(21) - 10) <= reach)


@pytest.mark.parametrize("cval", BAD)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_fill_that_is_not_finite(order: int, cval: float) -> None:
    """What no tap of weight outside reaches is as with any other fill."""
    row = spoiled(1.0, (3,), (6,))
    places = np.array([[-2, -1, -0.5, 0, 1, 2, 2.5, 4, 5, 5.5, 6, 7]], np.float32)
    options = {"order": order, "mode": "grid-constant", "prefilter": False}
    found = np.asarray(mj.map_coordinates(row, places, cval=cval, **options))  # type: ignore[arg-type]
    zero, one = (
        np.asarray(mj.map_coordinates(row, places, cval=c, **options))  # type: ignore[arg-type]
        for c in (0.0, 1.0)
    )
    touched = np.abs(zero - one) > 1e-3
    assert touched.any()
    assert not touched.all()
    np.testing.assert_array_equal(found[touched], np.float32(cval))
    np.testing.assert_allclose(found[~touched], zero[~touched], rtol=1e-6)
