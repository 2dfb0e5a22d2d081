"""Gradients of the spatial operations: against finite differences, each mode against the other, adjoints exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import medjax as mj

SHAPE = (7, 6, 5)


def oblique(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> mj.Image:
    """An oblique, anisotropic float64 image."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    spacing, origin = rng.uniform(0.7, 2.0, 3), rng.uniform(-20, 20, 3)
    return mj.Image.from_array(rng.normal(size=shape), spacing=spacing, origin=origin, direction=turn)


def target_of(image: mj.Image) -> mj.Grid:
    """A smaller oblique grid within an image, no sample of which lies on a voxel or an edge."""
    matrix = mj.affine_matrix(rotation=(11.0, -7.0, 23.0), scale=0.55)
    center = image.grid.center
    affine = mj.AffineTransform.of(matrix, center=center)
    columns = np.eye(4)
    columns[:3, :3] = matrix[:3, :3] @ image.affine[:3, :3]
    columns[:3, 3] = affine(image.affine[:3, 3])
    return mj.Grid((6, 5, 4), columns)


IMAGE = oblique()
GRID = target_of(IMAGE)
FIELD = np.random.default_rng(1).normal(size=(*SHAPE, 3)) * 0.3
PARAMETERS: dict[str, Any] = {
    "voxels": IMAGE.voxels,
    "fill": np.asarray(0.7),
    "translation": np.array([0.11, -0.07, 0.05]),
    "rotation": np.array([1.0, 2.0, -3.0]),
    "scale": np.array([1.02, 0.97, 1.01]),
    "shear": np.array([0.03, -0.02, 0.04]),
    "center": IMAGE.grid.center,
    "matrix": mj.affine_matrix(rotation=(3, 2, 1)),
    "displacement": FIELD,
    "source": IMAGE.affine,
    "target": GRID.affine,
}


def on(voxels: Any, image: mj.Image = IMAGE) -> mj.Image:
    return image.with_voxels(voxels)


def everything(kind: Any, given: dict[str, Any]) -> Any:
    """A resampling in which every differentiable parameter takes part."""
    p = PARAMETERS | given
    built = mj.affine_matrix(p["translation"], p["rotation"], p["scale"], p["shear"])
    transform = mj.CompositeTransform.of(
        mj.AffineTransform.of(built, center=p["center"]),
        mj.DisplacementField.of(p["displacement"], IMAGE.affine),
        mj.AffineTransform.of(p["matrix"], center=IMAGE.grid.center),
    )
    image, grid = mj.Image(p["voxels"], p["source"]), mj.Grid(GRID.shape, p["target"])
    return mj.resample_to_grid(image, grid, transform=transform, interpolation=kind, fill=p["fill"]).voxels


@pytest.mark.parametrize("kind", ["linear", "bspline"])
def test_every_parameter_against_finite_differences(kind: str) -> None:
    """Along each parameter by itself, forwards and backwards, in float64."""
    rng = np.random.default_rng(5)
    with jax.enable_x64(True):
        point = jax.tree.map(jnp.asarray, PARAMETERS)
        call = jax.jit(partial(everything, kind))
        forward = jax.jit(lambda p, t: jax.jvp(partial(everything, kind), (p,), (t,))[1])
        weight = jnp.asarray(rng.normal(size=GRID.shape))
        backward = jax.jit(jax.grad(lambda p: jnp.vdot(everything(kind, p), weight)))(point)
        for name, value in PARAMETERS.items():
            step = jax.tree.map(jnp.zeros_like, point)
            direction = rng.normal(size=np.shape(value))
            if np.shape(value) == (4, 4):
                direction[3] = 0  # the last row of an affine is no parameter
            step[name] = jnp.asarray(direction)
            eps = 1e-6
            plus, minus = (call(jax.tree.map(lambda x, d, s=s: x + s * d, point, step)) for s in (eps, -eps))
            numeric = (plus - minus) / (2 * eps)
            assert float(jnp.abs(numeric).max()) > 1e-4 or name == "fill", name
            np.testing.assert_allclose(
                forward(point, step), numeric, atol=2e-7 * max(1.0, float(jnp.abs(numeric).max())), err_msg=name
            )
            # jvp against vjp: exact
            left, right = jnp.vdot(forward(point, step), weight), jnp.vdot(backward[name], step[name])
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-11, err_msg=name)


def test_fill_is_differentiable_where_the_image_ends() -> None:
    with jax.enable_x64(True):
        call = lambda f: mj.rotate(IMAGE, "j", 33.0, fill=f).voxels.sum()  # noqa: E731
        outside = int((np.asarray(mj.rotate(on(np.ones(SHAPE)), "j", 33.0, fill=0.0).voxels) == 0).sum())
        assert outside > 10
        assert float(jax.grad(call)(0.7)) == outside


@pytest.mark.parametrize("kind", ["linear"])  # a spline's compile for minutes; test_map_coordinates has them
def test_second_derivatives(kind: str) -> None:
    """Hessian-vector products of the rotation, the displacement and the voxels together."""
    rng = np.random.default_rng(6)
    names = ("rotation", "displacement", "voxels")
    with jax.enable_x64(True):
        point = {name: jnp.asarray(PARAMETERS[name]) for name in names}
        step = {name: jnp.asarray(rng.normal(size=np.shape(PARAMETERS[name]))) for name in names}
        slope = jax.jit(jax.grad(lambda p: (everything(kind, p) ** 2).sum()))
        exact = jax.jit(lambda p, t: jax.jvp(jax.grad(lambda q: (everything(kind, q) ** 2).sum()), (p,), (t,))[1])(
            point, step
        )
        eps = 1e-6
        plus, minus = (slope(jax.tree.map(lambda x, d, s=s: x + s * d, point, step)) for s in (eps, -eps))
        for name in names:
            numeric = (plus[name] - minus[name]) / (2 * eps)
            np.testing.assert_allclose(exact[name], numeric, atol=1e-6 * float(jnp.abs(numeric).max()), err_msg=name)


def test_on_voxel_centres_a_spline_has_its_derivative_and_a_line_the_one_from_the_right() -> None:
    """At the identity every sample lies on a voxel: the spline is smooth there, linear interpolation has a kink."""
    with jax.enable_x64(True):
        image = mj.Image.from_array(np.random.default_rng(3).normal(size=SHAPE), spacing=(1.5, 1.0, 2.0))

        def shifted(t: Any, kind: Any) -> Any:
            transform = mj.AffineTransform.of(mj.affine_matrix(translation=t))
            return mj.resample_to_grid(image, image.grid, transform=transform, interpolation=kind).voxels[2:5, 2:4, 1:3]

        zero, step = jnp.zeros(3), 1e-6
        calls = {kind: jax.jit(partial(shifted, kind=kind)) for kind in ("linear", "bspline")}
        slopes = {kind: jax.jit(jax.jacfwd(partial(shifted, kind=kind)))(zero) for kind in calls}
        for axis in range(3):
            unit = jnp.zeros(3).at[axis].set(step)
            central = (calls["bspline"](unit) - calls["bspline"](-unit)) / (2 * step)
            np.testing.assert_allclose(slopes["bspline"][..., axis], central, atol=1e-8)
            right = (calls["linear"](unit) - calls["linear"](zero)) / step
            np.testing.assert_allclose(slopes["linear"][..., axis], right, atol=1e-8)


def test_beyond_the_last_voxel_centre_the_image_is_flat() -> None:
    with jax.enable_x64(True):
        image = mj.Image.from_array(np.arange(4.0).reshape(4, 1, 1))
        grid = mj.Grid.of((1, 1, 1), origin=(3.25, 0, 0))

        def value(t: Any) -> Any:
            transform = mj.AffineTransform.of(mj.affine_matrix(translation=t))
            return mj.resample_to_grid(image, grid, transform=transform).voxels.sum()

        at = jnp.zeros(3)
        assert float(value(at)) == 3.0
        assert jax.grad(value)(at).tolist() == [0.0, 0.0, 0.0]


ADJOINTS: dict[str, Callable[[mj.Image], mj.Image]] = {
    "spacing": lambda image: mj.resample_to_spacing(image, (0.7, 1.3, 2.1), fill=0.0),
    "spacing bspline": lambda image: mj.resample_to_spacing(image, (0.7, 1.3, 2.1), interpolation="bspline", fill=0.0),
    "first": lambda image: mj.resample_to_spacing(image, 0.63, anchor="first", fill=0.0),
    "nearest": lambda image: mj.resample_to_spacing(image, 0.63, interpolation="nearest", fill=0.0),
    "rotate": lambda image: mj.rotate(image, "k", 37.0, fill=0.0),
    "rotate nearest": lambda image: mj.rotate(image, "k", 37.0, fill=0.0, interpolation="nearest"),
    "rotate 90": lambda image: mj.rotate(image, "i", 90.0, fill=0.0),
    "affine": lambda image: mj.affine_transform(image, mj.affine_matrix(rotation=(20, 30, 40), scale=1.2), fill=0.0),
    "shrinking affine": lambda image: mj.affine_transform(
        image, mj.affine_matrix(rotation=(5, 3, 4), scale=0.4), fill=0.0
    ),
    "growing affine": lambda image: mj.affine_transform(
        image, mj.affine_matrix(rotation=(5, 3, 4), scale=2.6), fill=0.0
    ),
    "affine bspline": lambda image: mj.rotate(image, "k", 37.0, interpolation="bspline", fill=0.0),
    "identity": lambda image: mj.affine_transform(image, np.eye(4), fill=0.0),
    "grid": lambda image: mj.resample_to_grid(image, GRID, fill=0.0),
    "warp": lambda image: mj.warp(image, FIELD, fill=0.0),
    "reorient": lambda image: mj.change_orientation(image, "SRP"),
    "crop_or_pad": lambda image: mj.crop_or_pad(image, (5, 9, 5), fill=0),
    "tiny": lambda image: mj.resample_to_grid(mj.crop(image, (1, 1, 1), (1, 2, 1)), GRID, fill=0.0),
}


def pulled(call: Callable[[Any], Any], x: Any, y: Any) -> tuple[Any, Any]:
    """`call(x)`, and `y` through the adjoint at `x`, in one program."""

    def both(x: Any, y: Any) -> tuple[Any, Any]:
        out, pull = jax.vjp(call, x)
        return out, pull(y)[0]

    return jax.jit(both)(x, y)


@pytest.mark.parametrize("name", ADJOINTS)
def test_adjoint_is_exact(name: str) -> None:
    """<A x, y> = <x, A^T y> to float64 rounding: the fast adjoints are transposes, not approximations."""
    rng = np.random.default_rng(7)
    with jax.enable_x64(True):
        call = lambda v: ADJOINTS[name](on(v)).voxels  # noqa: E731
        x = IMAGE.voxels
        y = rng.normal(size=jax.eval_shape(call, x).shape)
        out, back = (np.asarray(part) for part in pulled(call, x, y))
        left, right = np.vdot(out, y), np.vdot(x, back)
        scale = np.linalg.norm(out.ravel()) * np.linalg.norm(y.ravel())
        assert abs(left - right) <= 1e-12 * scale


@pytest.mark.parametrize("name", ["rotate", "affine", "spacing", "growing affine"])
def test_adjoint_with_channels_and_batches(name: str) -> None:
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        stacked = rng.normal(size=(*SHAPE, 2))
        call = lambda v: ADJOINTS[name](on(v)).voxels  # noqa: E731
        y = rng.normal(size=jax.eval_shape(call, stacked).shape)
        single = pulled(call, stacked[..., 1], y[..., 1])[1]
        np.testing.assert_allclose(pulled(call, stacked, y)[1][..., 1], single, atol=1e-13)
        batch = mj.stack([on(stacked[..., 0]), on(stacked[..., 1])])
        together = pulled(lambda v: ADJOINTS[name](batch.with_voxels(v)).voxels, batch.voxels, np.moveaxis(y, -1, 0))
        np.testing.assert_allclose(together[1][1], single, atol=1e-13)


def test_registration_by_gradient_descent_recovers_a_rotation() -> None:
    """Six degrees, by steps against the sign of the slope, on a blob, through `resample_to_image`."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (24, 22, 10)), indexing="ij"), axis=-1)
    blob = np.exp(-(((index - (9, 12, 5)) / (6, 3, 3)) ** 2).sum(-1)).astype(np.float32)
    fixed = mj.Image.from_array(blob, spacing=(1, 1, 2))
    moving = mj.rotate(fixed, "k", 6.0, interpolation="bspline")

    @jax.jit
    def loss(degrees: Any) -> Any:
        matrix = mj.affine_matrix(rotation=jnp.stack([0 * degrees, 0 * degrees, degrees]))
        transform = mj.AffineTransform.of(matrix, center=fixed.grid.center)
        return ((mj.resample_to_image(moving, fixed, transform=transform, fill=0.0).voxels - blob) ** 2).mean()

    slope = jax.jit(jax.grad(loss))
    degrees = jnp.asarray(0.0)
    for number in range(60):
        degrees = degrees - 0.93**number * jnp.sign(slope(degrees))
    assert abs(float(degrees) - 6.0) < 0.1
