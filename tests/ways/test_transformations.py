"""The spatial operations under the user's own jit, vmap, scan, checkpoint, and lowered for other platforms; shard_map: test_devices.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import medjax as mj

RNG = np.random.default_rng(0)
TURN, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
IMAGE = mj.Image.from_array(
    RNG.normal(size=(9, 7, 5)).astype(np.float32), spacing=(1.0, 1.5, 2.0), origin=(3, -4, 5), direction=TURN
)
OTHER = mj.Grid.of((6, 8, 5), affine=IMAGE.affine @ np.diag([1.3, 0.8, 1.1, 1.0]))
FIELD = RNG.normal(size=(9, 7, 5, 3)).astype(np.float32)

OPERATIONS: dict[str, Callable[[mj.Image], mj.Image]] = {
    "spacing": lambda image: mj.resample_to_spacing(image, 1.2, size=(8, 9, 8), fill=0.0),
    "bspline": lambda image: mj.resample_to_spacing(image, 1.2, size=(8, 9, 8), fill=0.0, interpolation="bspline"),
    "grid": lambda image: mj.resample_to_grid(image, OTHER, fill=0.0),
    "background": lambda image: mj.resample_to_grid(image, OTHER),
    "rotate": lambda image: mj.rotate(image, "j", 25.0, fill=0.0),
    "affine": lambda image: mj.affine_transform(image, mj.affine_matrix(rotation=(5, 6, 7), shear=0.1), fill=0.0),
    "scale": lambda image: mj.scale(image, 1.4),
    "warp": lambda image: mj.warp(image, FIELD, fill=0.0),
    "flip": lambda image: mj.flip(image, ("i", "k")),
    "crop": lambda image: mj.crop(image, (1, 2, 0), (5, 4, 5)),
    "pad": lambda image: mj.pad(image, 1, (0, 2, 1), fill=0.5),
    "pad edge": lambda image: mj.pad(image, 1, 2, mode="edge"),
    "crop_or_pad": lambda image: mj.crop_or_pad(image, (6, 9, 5)),
    "translate": lambda image: mj.translate(image, (1.0, 2.0, 3.0)),
    "fused": mj.fuse(lambda image: mj.crop(mj.rotate(mj.scale(image, 1.5), "k", 12.0, fill=0.0), (1, 1, 1), (9, 7, 4))),
}


def assert_same(found: mj.Image, wanted: mj.Image) -> None:
    """Equal to the rounding of float32 coordinates: geometry that was traced is float32."""
    assert found.shape == wanted.shape
    np.testing.assert_allclose(np.asarray(found.affine), np.asarray(wanted.affine), atol=2e-5)
    np.testing.assert_allclose(np.asarray(found.voxels), np.asarray(wanted.voxels), atol=2e-4)


@pytest.mark.parametrize("name", OPERATIONS)
def test_jit_with_traced_geometry(name: str) -> None:
    assert_same(jax.jit(OPERATIONS[name])(IMAGE), OPERATIONS[name](IMAGE))


@pytest.mark.parametrize("name", OPERATIONS)
def test_jit_with_concrete_geometry(name: str) -> None:
    voxels = jax.jit(lambda v: OPERATIONS[name](IMAGE.with_voxels(v)).voxels)(IMAGE.voxels)
    np.testing.assert_allclose(np.asarray(voxels), np.asarray(OPERATIONS[name](IMAGE).voxels), atol=2e-6)


@pytest.mark.parametrize("name", OPERATIONS)
def test_vmap_and_batch(name: str) -> None:
    """A batch as one image, and `vmap` over images, give what each item gives alone."""
    second = mj.translate(IMAGE.with_voxels(IMAGE.voxels[::-1].copy()), (0.3, -0.2, 0.1))
    batch = mj.stack([IMAGE, second])
    alone = mj.stack([OPERATIONS[name](IMAGE), OPERATIONS[name](second)])
    together = OPERATIONS[name](batch)
    np.testing.assert_allclose(np.asarray(together.affine), np.asarray(alone.affine), atol=1e-9)
    np.testing.assert_allclose(np.asarray(together.voxels), np.asarray(alone.voxels), atol=2e-6)
    mapped = jax.vmap(OPERATIONS[name])(batch)
    np.testing.assert_allclose(np.asarray(mapped.voxels), np.asarray(alone.voxels), atol=2e-4)
    slope = jax.jit(jax.grad(lambda v: (OPERATIONS[name](batch.with_voxels(v)).voxels ** 2).sum()))
    gradient = slope(batch.voxels)
    assert gradient.shape == batch.voxels.shape
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["grid", "rotate", "bspline", "warp"])
def test_scan_checkpoint_and_map(name: str) -> None:
    batch = mj.stack([IMAGE, IMAGE, IMAGE])
    wanted = np.asarray(OPERATIONS[name](IMAGE).voxels)
    _, scanned = jax.lax.scan(lambda carry, image: (carry, OPERATIONS[name](image).voxels), 0, batch)
    np.testing.assert_allclose(scanned[2], wanted, atol=2e-4)
    np.testing.assert_allclose(jax.lax.map(lambda image: OPERATIONS[name](image).voxels, batch)[1], wanted, atol=2e-4)

    def loss(v: Any) -> Any:
        return (OPERATIONS[name](IMAGE.with_voxels(v)).voxels ** 2).sum()

    plain, again = (jax.jit(jax.grad(f))(IMAGE.voxels) for f in (loss, jax.checkpoint(loss)))
    np.testing.assert_allclose(plain, again, atol=1e-5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_lowers_for_accelerators_without_one(name: str) -> None:
    """Forward and gradient, geometry traced and concrete."""
    traced = jax.jit(lambda image: OPERATIONS[name](image).voxels)
    abstract = mj.Image(
        jax.ShapeDtypeStruct(IMAGE.voxels.shape, jnp.float32), jax.ShapeDtypeStruct((4, 4), jnp.float32)
    )
    platforms = ("cuda", "rocm", "tpu")
    assert export.export(traced, platforms=platforms)(abstract).platforms == platforms
    gradient = jax.jit(jax.grad(lambda v: (OPERATIONS[name](IMAGE.with_voxels(v)).voxels ** 2).sum()))
    shape = jax.ShapeDtypeStruct(IMAGE.voxels.shape, jnp.float32)
    assert export.export(gradient, platforms=platforms)(shape).platforms == platforms


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda image: mj.resample_to_spacing(image, 1.2), "pass size="),
        (lambda image: mj.change_orientation(image, "RAS"), "before jit"),
        (lambda image: mj.rotate(image, 0, 5.0, expand=True), "a known geometry"),
        (lambda image: mj.crop_to_mask(image, image), "traced"),
        (
            lambda image: mj.resample_to_spacing(image, 3.0, size=(3, 3, 3), antialias=True),
            "traced here: close over the image",
        ),
    ],
)
def test_what_needs_a_concrete_geometry_says_so(call: Callable[[mj.Image], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jax.jit(call)(IMAGE)


def test_memory_of_a_linear_affine_is_none_and_of_a_spline_two_volumes() -> None:
    """XLA's own analysis of the temporary memory."""
    image = IMAGE.with_voxels(IMAGE.voxels)
    large = mj.Image.from_array(jnp.zeros((64, 64, 64), jnp.float32), spacing=image.spacing, direction=TURN)
    for kind, most in (("linear", 0.15), ("bspline", 2.1)):
        call = jax.jit(
            lambda v, kind=kind: (
                mj.affine_transform(
                    large.with_voxels(v), mj.affine_matrix(rotation=(5, 6, 7)), interpolation=kind, fill=0.0
                ).voxels
            )
        )
        analysis = call.lower(large.voxels).compile().memory_analysis()
        assert analysis is not None
        assert analysis.temp_size_in_bytes <= most * analysis.output_size_in_bytes


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float16])
def test_a_field_of_any_dtype_leaves_the_affine_that_follows_whole(dtype: Any) -> None:
    image = mj.Image.from_array(np.arange(512.0, dtype=np.float32).reshape(8, 8, 8))
    shift = np.zeros((8, 8, 8, 3), dtype)
    shift[..., 0] = 2
    turn = mj.AffineTransform.of(mj.affine_matrix(rotation=(0, 0, 30)), center=image.grid.center)

    def moved(field: np.ndarray) -> np.ndarray:
        both = mj.CompositeTransform.of(turn, mj.DisplacementField.of(field, image.affine))
        return np.asarray(mj.resample_to_image(image, image, transform=both, fill=0.0).voxels)

    np.testing.assert_array_equal(moved(shift), moved(shift.astype(np.float32)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int8])
def test_a_traced_parameter_of_few_bits_leaves_the_geometry_its_own(dtype: Any) -> None:
    """A network in half precision may predict a pose; world millimetres have no place in it."""

    def turn(degrees: Any) -> Any:
        return mj.rotate(IMAGE, "k", degrees, fill=0.0).voxels

    np.testing.assert_allclose(jax.jit(turn)(dtype(10)), np.asarray(turn(10.0)), atol=2e-4)
    offset = jnp.array([1, 2, 3], dtype)
    moved = jax.jit(lambda shift: mj.translate(IMAGE, shift, unit="mm").affine)(offset)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, mj.translate(IMAGE, (1, 2, 3), unit="mm").affine, rtol=1e-6)
    finer = jax.jit(lambda spacing: mj.resample_to_spacing(IMAGE, spacing, size=(5, 6, 7)).affine)(offset)
    np.testing.assert_allclose(finer, mj.resample_to_spacing(IMAGE, (1, 2, 3), size=(5, 6, 7)).affine, atol=1e-5)


def test_the_widest_traced_dtype_wins() -> None:
    with jax.enable_x64(True):
        image = jax.tree.map(jnp.asarray, IMAGE)
        for shift in (jnp.ones(3, jnp.float32), jnp.ones(3, jnp.float64)):
            moved = jax.jit(lambda image, shift: mj.translate(image, shift).affine)(image, shift)
            assert moved.dtype == np.float64
        start = jax.jit(lambda s: mj.crop(IMAGE, s, (2, 2, 2)).affine)(jnp.array([1, 2, 0]))
        np.testing.assert_array_equal(start, mj.crop(IMAGE, (1, 2, 0), (2, 2, 2)).affine)


@pytest.mark.usefixtures("unchecked")  # a symbol is no int
def test_exports_for_any_number_of_items() -> None:
    (items,) = export.symbolic_shape("items")
    voxels, affine = (jax.ShapeDtypeStruct((items, *shape), np.float32) for shape in ((9, 7, 5), (4, 4)))
    for name in ("flip", "crop", "pad"):
        run = jax.jit(lambda v, a, name=name: OPERATIONS[name](mj.Image(v, a)).voxels)
        assert export.export(run)(voxels, affine).out_avals[0].shape[0] == items


@pytest.mark.parametrize("name", ["spacing", "bspline", "rotate", "crop"])
def test_known_images_in_a_trace_take_buckets_too(name: str) -> None:
    with mj.shape_buckets():
        wanted = np.asarray(OPERATIONS[name](IMAGE).voxels)
        found = jax.jit(lambda v: OPERATIONS[name](IMAGE).voxels + v)(0.0)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_fills_and_starts_may_be_sequences_of_traced_numbers() -> None:
    image = mj.Image.from_array(RNG.normal(size=(5, 5, 5, 2)).astype(np.float32))
    for operation in (lambda f: mj.pad(image, 1, 1, fill=f), lambda f: mj.rotate(image, 0, 45.0, fill=f)):
        out = jax.jit(lambda a, operation=operation: operation([a, 2 * a]).voxels)(3.0)
        assert out[0, 0, 0].tolist() == [3.0, 6.0]

    def turned(f: Any) -> Any:
        return mj.rotate(image.with_voxels(image.voxels + 1j), 0, 45.0, fill=[f, 2 * f]).voxels

    assert jax.jit(turned)(1 + 3j)[0, 0, 0].tolist() == [1 + 3j, 2 + 6j]
    box = jax.jit(lambda n: mj.crop(IMAGE, (n, 0, 1), (4, 4, 4)).voxels)(2)
    np.testing.assert_array_equal(box, IMAGE.voxels[2:6, :4, 1:5])
    for wrong in (jnp.ones(3), jnp.array([1, 2])):
        with pytest.raises(ValueError, match="start must be three integers, or one such triple per item; got"):
            jax.jit(lambda s: mj.crop(IMAGE, s, (3, 3, 3)).voxels)(wrong)


@pytest.mark.parametrize("name", OPERATIONS)
def test_disable_jit(name: str) -> None:
    """The debugger's switch: loops are Python's, and their counters ints; values and gradients as with jit."""

    def loss(v: Any) -> Any:
        return (OPERATIONS[name](IMAGE.with_voxels(v)).voxels ** 2).sum()

    voxels = jnp.asarray(IMAGE.voxels)
    wanted, slope = OPERATIONS[name](IMAGE).voxels, jax.jit(jax.grad(loss))(voxels)
    with jax.disable_jit():
        np.testing.assert_allclose(np.asarray(OPERATIONS[name](IMAGE).voxels), np.asarray(wanted), atol=1e-5)
        np.testing.assert_allclose(jax.grad(loss)(voxels), slope, atol=1e-4)


def test_disable_jit_of_all_orders() -> None:
    points = np.full((3, 4), 2.3, np.float32)
    for order in range(6):
        wanted = mj.map_coordinates(IMAGE.voxels, points, order)
        with jax.disable_jit():
            np.testing.assert_allclose(mj.map_coordinates(IMAGE.voxels, points, order), wanted, atol=1e-5)
