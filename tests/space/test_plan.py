"""Plans for bare arrays: the same numbers as the operations on images, in every way to call them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import medjax as mj
from medjax import Grid, Image

SHAPE = (9, 7, 8)
OBLIQUE = np.asarray(
    mj.affine_matrix(translation=(-31.0, 12.5, 4.0), rotation=(13, -8, 21)) @ np.diag([1.1, 0.8, 2.0, 1])
)
TARGETS = {
    "along the axes": Grid.of((7, 8, 5), affine=OBLIQUE @ np.diag([1.4, 0.9, 1.7, 1])),
    "any": Grid.of((8, 9, 6), affine=OBLIQUE @ np.asarray(mj.affine_matrix((0.7, 0.4, 0.2), (9, -12, 7), 1.05))),
    "lines kept": Grid.of((9, 7, 8), affine=OBLIQUE @ np.asarray(mj.affine_matrix(rotation=(0, 0, 20)))),
}
TRANSFORM = mj.AffineTransform.of(mj.affine_matrix((1.5, -0.5, 1.0), (3, 6, -9)), center=(-30.0, 15.0, 8.0))


def scan(seed: int = 0, channels: tuple[int, ...] = (), dtype: Any = np.float32) -> Image:
    voxels = np.random.default_rng(seed).normal(0, 50, (*SHAPE, *channels)).astype(dtype)
    return Image.from_array(voxels, affine=OBLIQUE)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "bspline"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("transform", [None, TRANSFORM])
def test_as_the_operation_on_images(target: str, interpolation: Any, transform: Any) -> None:
    image, grid = scan(channels=(2,)), TARGETS[target]
    wanted = mj.resample_to_grid(image, grid, transform=transform, interpolation=interpolation, fill=-7.0).voxels
    p = mj.plan(image.grid, grid, transform, interpolation=interpolation)
    voxels = jnp.asarray(image.voxels)
    np.testing.assert_array_equal(p(image.voxels, fill=-7.0), wanted)
    for found in (
        jax.jit(p)(voxels, -7.0),  # closed over
        jax.jit(lambda p, x: p(x, fill=-7.0))(p, voxels),  # an argument
        jax.vmap(lambda x: p(x, fill=-7.0))(voxels[None])[0],
        jax.vmap(lambda x: p(x, fill=-7.0), in_axes=-1, out_axes=-1)(voxels),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


def test_labels_and_flags_keep_their_dtype() -> None:
    labels = (np.random.default_rng(1).integers(0, 5, SHAPE)).astype(np.uint8)
    image = Image.from_array(labels, affine=OBLIQUE, kind="label")
    p = mj.plan(image.grid, TARGETS["any"], interpolation="nearest")
    np.testing.assert_array_equal(p(labels), mj.resample_to_grid(image, TARGETS["any"]).voxels)
    assert p(labels).dtype == np.uint8
    assert p(labels > 2).dtype == bool
    np.testing.assert_array_equal(p(labels > 2), p(labels) > 2)
    assert p(labels.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("target", TARGETS)
def test_the_gradient_is_the_transpose(target: str) -> None:
    p = mj.plan(scan().grid, TARGETS[target])
    rng = np.random.default_rng(2)
    x, y = (jnp.asarray(rng.normal(size=shape).astype(np.float32)) for shape in (SHAPE, TARGETS[target].shape))
    (back,) = jax.vjp(lambda x: p(x, fill=0.0), x)[1](y)
    assert float((p(x, fill=0.0) * y).sum()) == pytest.approx(float((x * back).sum()), rel=1e-4, abs=1e-3)


def test_traced_grids_and_transforms() -> None:
    image, grid = scan(), TARGETS["any"]
    wanted = mj.resample_to_grid(image, grid, transform=TRANSFORM, fill=0.0).voxels

    @jax.jit
    def applied(source: Grid, target: Grid, transform: Any, voxels: Any) -> Any:
        return mj.plan(source, target, transform)(voxels, fill=0.0)

    np.testing.assert_allclose(applied(image.grid, grid, TRANSFORM, image.voxels), wanted, atol=2e-2)


def test_batches_of_grids() -> None:
    images = [scan(seed) for seed in range(2)]
    batch = mj.stack(images)
    p = mj.plan(batch.grid, TARGETS["any"])
    found = p(batch.voxels, fill=np.array([1.0, 2.0]))
    for n, image in enumerate(images):
        np.testing.assert_array_equal(found[n], mj.plan(image.grid, TARGETS["any"])(image.voxels, fill=n + 1.0))


def test_complex_and_buckets() -> None:
    image, grid = scan(), TARGETS["any"]
    p = mj.plan(image.grid, grid)
    both = p(image.voxels + 2j * image.voxels, fill=1 + 3j)
    np.testing.assert_array_equal(both.real, p(image.voxels, fill=1.0))
    np.testing.assert_array_equal(both.imag, p(2 * image.voxels, fill=3.0))
    with mj.shape_buckets():
        np.testing.assert_allclose(p(image.voxels), p(jnp.asarray(image.voxels)), atol=1e-3)


def test_float64() -> None:
    with jax.enable_x64(True):
        image, grid = scan(dtype=np.float64), TARGETS["any"]
        p = mj.plan(image.grid, grid, dtype=np.float64)
        np.testing.assert_array_equal(p(image.voxels), mj.resample_to_grid(image, grid).voxels)


def test_wrong_arguments(unchecked: None) -> None:
    image = scan()
    p = mj.plan(image.grid, TARGETS["any"])
    with pytest.raises(ValueError, match=r"voxels must have the shape \(9, 7, 8\).* got \(7, 9, 8\)"):
        p(np.zeros((7, 9, 8)))
    with pytest.raises(ValueError, match="interpolation must be one of"):
        mj.plan(image.grid, TARGETS["any"], interpolation="cubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="float64; got"):
        mj.plan(image.grid, TARGETS["any"], dtype=np.float64)
    with pytest.raises(ValueError, match="fill"):
        p(image.voxels, fill=np.zeros(3))


def test_a_wrong_type_is_named(unchecked: None) -> None:
    image = scan()
    with pytest.raises(TypeError, match=r"target_grid must be a mj\.Grid, as image\.grid is, got Image"):
        mj.plan(image.grid, image)  # type: ignore[arg-type]
