"""Scans spread over four devices: `shard_map`, and meshes whose shardings are part of the types. Run by test_devices.py."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import medjax as mj

RNG = np.random.default_rng(0)
TURN, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
IMAGE = mj.Image.from_array(
    RNG.normal(size=(9, 7, 5)).astype(np.float32), spacing=(1.0, 1.5, 2.0), origin=(3, -4, 5), direction=TURN
)
GRID = mj.Grid.of((6, 8, 5), affine=IMAGE.affine @ np.diag([1.3, 0.8, 1.1, 1.0]))
FIELD = RNG.normal(size=(9, 7, 5, 3)).astype(np.float32)
POINTS = RNG.uniform(0, 5, size=(3, 24)).astype(np.float32)
VOXELS = RNG.normal(size=(4, 9, 7, 5)).astype(np.float32)
ONE, SPREAD = PartitionSpec(), PartitionSpec("scan")

PARAMETRIC: dict[str, Callable[[jax.Array, jax.Array], Any]] = {
    "rotate": lambda v, p: mj.rotate(IMAGE.with_voxels(v), "j", 25.0 * p, fill=0.0).voxels,
    "bspline": lambda v, p: mj.rotate(IMAGE.with_voxels(v), "k", 9.0 * p, fill=0.0, interpolation="bspline").voxels,
    "known angle": lambda v, p: mj.rotate(IMAGE.with_voxels(v * p), "j", 25.0, fill=0.0).voxels,
    "background": lambda v, p: mj.rotate(IMAGE.with_voxels(v * p), "j", 25.0).voxels,
    "one axis after the other": lambda v, p: mj.resample_to_grid(IMAGE.with_voxels(v * p), GRID, fill=0.0).voxels,
    "warp": lambda v, p: mj.warp(IMAGE.with_voxels(v), FIELD * p, fill=0.0).voxels,
    "fused": lambda v, p: (
        mj.fuse(lambda x: mj.crop(mj.rotate(mj.scale(x, 1.5), "k", 12.0 * p), (1, 1, 1), (7, 5, 3)))(
            IMAGE.with_voxels(v)
        ).voxels
    ),
    "map_coordinates": lambda v, p: mj.map_coordinates(v, jnp.asarray(POINTS) * p, 3, "mirror"),
}
LONG = {"bspline", "background", "fused"}
"""Those whose gradients take kernels that others take too."""

OPERATIONS: dict[str, Callable[[mj.Image], mj.Image]] = {
    "spacing": lambda image: mj.resample_to_spacing(image, 1.2, size=(8, 9, 8), fill=0.0),
    "spline": lambda image: mj.resample_to_spacing(image, 1.2, size=(8, 9, 8), interpolation="bspline"),
    "rotate": lambda image: mj.rotate(image, "j", 25.0),
    "warp": lambda image: mj.warp(image, FIELD, fill=0.0),
    "flip": lambda image: mj.flip(image, ("i", "k")),
    "crop_or_pad": lambda image: mj.crop_or_pad(image, (6, 9, 5)),
    "change_orientation": lambda image: mj.change_orientation(image, "RAS"),
    "z-score": mj.z_score_normalize,
    "percentile": mj.percentile_normalize,
    "padding by the edge": lambda image: mj.pad(image, 1, (2, 0, 1), mode="edge"),
    "cast": lambda image: mj.cast(image, np.float16),
    "crop": lambda image: mj.crop(image, (1, 2, 0), (5, 4, 5)),
    "fill by the background": lambda image: mj.pad(image, 1, (2, 0, 1)),
}


def mesh_of(kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((4,), ("scan",), axis_types=(kind,))


def spread(values: Any, mesh: jax.sharding.Mesh) -> Any:
    return jax.device_put(values, NamedSharding(mesh, SPREAD))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(pytest.param(name, AxisType.Auto, marks=[pytest.mark.long] if name in LONG else []) for name in PARAMETRIC),
        ("rotate", AxisType.Explicit),
    ],
)
def test_gradients_through_shard_map(name: str, kind: AxisType) -> None:
    """By a weight and a parameter that all devices share, and by voxels that they do not; also twice and forward."""
    mesh, operation = mesh_of(kind), PARAMETRIC[name]

    def loss(weight: Any, parameter: Any, voxels: Any) -> Any:
        return weight * (operation(voxels, parameter) ** 2).sum()

    def alone(weight: Any, parameter: Any, voxels: Any) -> Any:
        return jax.lax.map(lambda v: loss(weight, parameter, v), voxels).sum()

    together = jax.shard_map(
        lambda w, p, v: jax.lax.psum(loss(w, p, v[0]), "scan"), mesh=mesh, in_specs=(ONE, ONE, SPREAD), out_specs=ONE
    )
    shared = jnp.float32(1.3), jnp.float32(1.1)
    here, there = (*shared, jnp.asarray(VOXELS)), (*shared, spread(VOXELS, mesh))
    value, gradient = jax.jit(jax.value_and_grad(together, argnums=(0, 1, 2)))(*there)
    wanted_value, wanted = jax.jit(jax.value_and_grad(alone, argnums=(0, 1, 2)))(*here)
    np.testing.assert_allclose(value, wanted_value, rtol=1e-5)
    np.testing.assert_allclose(gradient[0], value / shared[0], rtol=1e-5)
    for found, right in zip(gradient, wanted, strict=True):
        np.testing.assert_allclose(found, right, atol=2e-5 * float(jnp.abs(right).max()))
    np.testing.assert_allclose(jax.jit(jax.jacfwd(together, argnums=1))(*there), wanted[1], rtol=1e-4)
    if name in ("one axis after the other", "map_coordinates"):  # each kind of kernel
        curve = jax.jit(jax.hessian(together, argnums=1))(*there)
        np.testing.assert_allclose(curve, jax.jit(jax.hessian(alone, argnums=1))(*here), rtol=1e-3)


@pytest.mark.parametrize("name", PARAMETRIC)
def test_a_result_that_differs_from_device_to_device_is_not_taken_for_one(name: str) -> None:
    mesh = mesh_of(AxisType.Auto)
    one = jax.shard_map(lambda v: PARAMETRIC[name](v[0], jnp.float32(1.1)), mesh=mesh, in_specs=SPREAD, out_specs=ONE)
    with pytest.raises(ValueError, match="out_specs"):
        jax.jit(one)(spread(VOXELS, mesh))


def test_gradient_by_a_volume_that_all_devices_share() -> None:
    """Each device samples its own points of one volume: the gradient sums over all of them."""
    mesh, points = mesh_of(AxisType.Auto), RNG.uniform(0, 4, size=(4, 3, 10)).astype(np.float32)

    def loss(volume: Any, points: Any) -> Any:
        return (mj.map_coordinates(volume, points, 1) ** 2).sum()

    together = jax.shard_map(
        lambda v, p: jax.lax.psum(loss(v, p[0]), "scan"), mesh=mesh, in_specs=(ONE, SPREAD), out_specs=ONE
    )
    found = jax.jit(jax.grad(together))(jnp.asarray(VOXELS[0]), spread(points, mesh))
    alone = jax.jit(jax.grad(loss))
    wanted = sum(alone(jnp.asarray(VOXELS[0]), jnp.asarray(p)) for p in points)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_recipe_changes_items_where_they_lie(kind: AxisType) -> None:
    """With keys that lie beside them; in `shard_map` a device knows its own items alone, and the result is the same."""
    steps = [mj.augment.mirror(), mj.augment.affine(), mj.augment.elastic(points=5)]
    recipe = mj.augment.sequence(*steps, mj.augment.gamma(p=0.5), mj.augment.gaussian_noise(p=0.5))
    mesh, keys = mesh_of(kind), mj.augment.item_keys(0, np.arange(4))
    labels = (VOXELS > 0).astype(np.uint8)

    def run(keys: Any, voxels: Any, labels: Any) -> Any:
        affine = np.broadcast_to(IMAGE.affine, (*voxels.shape[:1], 4, 4))
        images = {"ct": mj.Image(voxels, affine), "seg": mj.Image(labels, affine, "label")}
        return tuple(image.voxels for image in recipe(keys, images, size=(6, 5, 4)).values())

    wanted = run(keys, jnp.asarray(VOXELS), jnp.asarray(labels))
    placed = tuple(spread(x, mesh) for x in (keys, VOXELS, labels))
    ways = [jax.jit(run)]
    if kind == AxisType.Auto:
        ways.append(jax.jit(jax.shard_map(run, mesh=mesh, in_specs=SPREAD, out_specs=SPREAD)))
    for way in ways:
        found = way(*placed)
        np.testing.assert_allclose(found[0], wanted[0], atol=1e-4)
        np.testing.assert_array_equal(found[1], wanted[1])
        assert all(x.sharding.is_equivalent_to(NamedSharding(mesh, SPREAD), x.ndim) for x in found)


def ways_of(name: str) -> dict[str, Any]:
    batch = mj.stack([IMAGE.with_voxels(v) for v in VOXELS])

    def voxels_of(voxels: Any) -> Any:
        return OPERATIONS[name](batch.with_voxels(voxels)).voxels

    gradient = jax.grad(lambda v: (voxels_of(v) ** 2).sum())
    return {"eager": voxels_of, "jit": jax.jit(voxels_of), "gradient": jax.jit(gradient)}


@functools.cache
def on_one_device(name: str, *, is_gradient: bool) -> np.ndarray:
    """What all meshes should give. A jitted call is compared with the eager one."""
    return np.asarray(ways_of(name)["gradient" if is_gradient else "eager"](jnp.asarray(VOXELS)))


@pytest.mark.parametrize("how", ["eager", "jit", "gradient"])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_batch_that_lies_on_four_devices_stays_there(name: str, kind: AxisType, how: str) -> None:
    """`jax.make_mesh` makes explicit meshes: shardings that are checked as shapes are."""
    mesh = mesh_of(kind)
    placed, call = spread(VOXELS, mesh), ways_of(name)[how]
    found = call(placed)
    np.testing.assert_allclose(found, on_one_device(name, is_gradient=how == "gradient"), atol=3e-4)
    assert found.sharding.is_equivalent_to(NamedSharding(mesh, SPREAD), found.ndim)
    if how != "eager" and name not in ("z-score", "percentile"):  # those ask whether voxels are finite, and count them
        program = call.lower(placed).compile().as_text()  # which is compiled already
        assert program
        assert not re.search(r"all-gather|all-reduce|all-to-all|collective-permute", program), "devices talk"
