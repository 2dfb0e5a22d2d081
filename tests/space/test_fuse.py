"""`fuse`: many steps, one interpolation, equal to the steps where those lose nothing and nearer the truth where they do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from phantom import after_the_chain, rms
from scans import assert_same_image, oblique_affine
from spatial_cases import MATRIX, RESAMPLING, indices, labels, near, scan, smooth_field

import medjax as mj
from medjax import Image

EPS = float(np.finfo(np.float32).eps)
ROOM = (24, 22, 26)
CUBE = oblique_affine(spacing=(1.2, 1.2, 1.2))


# --- Equal to the steps where they lose nothing ----------------------------------------------------------------------

EXACT_CHAINS: dict[str, Callable[[Image], Image]] = {
    "exact steps": lambda x: mj.flip(mj.crop(mj.pad(mj.change_orientation(x, "SRA"), 2, 3), (1, 0, 2), (9, 9, 9)), 1),
    "exact, then one interpolation": lambda x: mj.rotate(
        mj.crop(mj.change_orientation(x, "RSA"), 1, (8, 9, 6)), 0, 33.0
    ),
    "one interpolation, then orientation": lambda x: mj.change_orientation(mj.rotate(x, 2, 20.0), "SAL"),
    "one interpolation, then flip and crop": lambda x: mj.crop(
        mj.flip(mj.rotate(x, 1, -7.0), (0, 2)), (1, 2, 0), (7, 5, 9)
    ),
    "spacing, then orientation and crop": lambda x: mj.crop_or_pad(
        mj.change_orientation(mj.resample_to_spacing(x, 1.3), "PIR"), (5, 5, 5)
    ),
    "quarter turns": lambda x: mj.rotate(mj.rotate(x, 2, 90.0, fill=0), 2, -90.0, fill=0),
    "one warp": lambda x: mj.flip(mj.warp(x, smooth_field(x.shape)), 0),
    "translation, then a grid": lambda x: mj.resample_to_grid(mj.translate(x, (1, 2, 3), unit="mm"), near(x, 1)),
}


@pytest.mark.parametrize("make", [scan, labels], ids=["intensity", "label"])
@pytest.mark.parametrize("chain", EXACT_CHAINS.values(), ids=EXACT_CHAINS)
def test_equal_to_the_steps_that_lose_nothing(chain: Any, make: Any) -> None:
    image = make(1, affine=CUBE) if chain is not EXACT_CHAINS["quarter turns"] else make(1, (8, 8, 5), affine=CUBE)
    fused = mj.fuse(chain)(image)
    assert type(fused) is Image
    assert fused.metadata is image.metadata
    assert fused.dtype == (image.dtype if image.kind == "label" else np.float32)
    # A coordinate made in one product or two differs by a rounding of float64, its fraction by one of float32.
    assert_same_image(fused, chain(image), 0 if image.kind == "label" else 2000 * 32 * EPS)


STEPS: dict[str, Callable[[Image], Image]] = {
    "reorient": lambda x: mj.change_orientation(x, "SAR"),
    "flip": lambda x: mj.flip(x, 1),
    "crop": lambda x: mj.crop(x, (1, 1, 2), [n - 3 for n in x.shape]),
    "pad": lambda x: mj.pad(x, 1, 2),
    "crop_or_pad": lambda x: mj.crop_or_pad(x, (21, 25, 23)),
    "translate": lambda x: mj.translate(x, (3.0, -1.0, 2.0), unit="mm"),
    "spacing": lambda x: mj.resample_to_spacing(x, np.array(x.spacing) * (0.9, 1.1, 1.0)),
    "scale": lambda x: mj.scale(x, (1.1, 1.0, 0.9)),
    "rotate": lambda x: mj.rotate(x, "j", 15.0),
    "rotate_expand": lambda x: mj.rotate(x, 0, -10.0, expand=True),
    "affine": lambda x: mj.affine_transform(x, MATRIX),
    "warp": lambda x: mj.warp(x, smooth_field(x.shape, 1.0)),
    "grid": lambda x: mj.resample_to_grid(x, near(x, 2, (26, 25, 24), angle=5.0)),
    "transform": lambda x: mj.resample_to_image(x, x, transform=mj.AffineTransform.of(MATRIX, center=x.grid.center)),
}


def slope() -> Image:
    """A linear function of the world, of a range of about 30. Linear interpolation reproduces it, however often."""
    points = mj.Grid.of(ROOM, affine=CUBE).world(indices(ROOM))
    return Image.from_array((points @ (0.7, -0.4, 0.5)).astype(np.float32), affine=CUBE)


def reached(names: Sequence[str]) -> np.ndarray:
    """The voxels that each step took from inside the image before it, not from beyond its outermost voxel centres."""
    image = Image.from_array(np.ones(ROOM, np.float32), affine=CUBE)
    for name in names:
        inner = np.zeros(image.shape, np.float32)
        inner[1:-1, 1:-1, 1:-1] = np.asarray(image.voxels)[1:-1, 1:-1, 1:-1]
        image = STEPS[name](image.with_voxels(inner))
    return np.asarray(image.voxels) > 1 - 1e-4


def applied(image: Image, names: Sequence[str]) -> Image:
    for name in names:
        image = STEPS[name](image)
    return image


@pytest.mark.parametrize("second", STEPS)
@pytest.mark.parametrize(
    "first", ["reorient", "crop", "translate", "spacing", "rotate", "rotate_expand", "warp", "grid"]
)
def test_any_two_steps_in_any_order(first: str, second: str) -> None:
    """On a linear function, of which two interpolations lose nothing: a slip of 0.01 voxels shows."""
    names = (first, second)
    image, where = slope(), reached(names)
    assert where.mean() > 0.1
    assert_same_image(mj.fuse(lambda x: applied(x, names))(image), applied(image, names), 2e-3, where=where)


def test_a_long_chain_of_all_kinds() -> None:
    names = (
        "reorient",
        "spacing",
        "rotate",
        "flip",
        "warp",
        "affine",
        "pad",
        "crop",
        "scale",
        "crop_or_pad",
        "translate",
    )
    image, where = slope(), reached(names)
    assert where.mean() > 0.05
    # After the field the image is no longer linear: what is interpolated once and four times differs by its curvature.
    assert_same_image(mj.fuse(lambda x: applied(x, names))(image), applied(image, names), 0.02, where=where)


# --- One interpolation -----------------------------------------------------------------------------------------------


def count_interpolations(function: Callable[..., Any], *args: Any) -> int:
    """How often a kernel of resampling appears in a traced function."""
    text = str(jax.make_jaxpr(function)(*args))
    return text.count("name=_interpolated")


CHAIN_LENGTHS: dict[str, tuple[int, Callable[[Image], Image]]] = {
    "all wait": (1, lambda x: mj.resample_to_spacing(mj.rotate(mj.rotate(x, 0, 5.0), 1, 6.0), 1.0)),
    "same fill": (1, lambda x: mj.rotate(mj.rotate(x, 0, 5.0, fill=0), 1, 6.0, fill=0.0)),
    "same interpolation": (1, lambda x: mj.rotate(mj.rotate(x, 0, 5.0), 1, 6.0, interpolation="linear")),
    "interpolation of the first": (1, lambda x: mj.rotate(mj.rotate(x, 0, 5.0, interpolation="bspline"), 1, 6.0)),
    "pad with the background": (1, lambda x: mj.rotate(mj.pad(mj.rotate(x, 0, 5.0), 2, 2), 1, 6.0)),
    "pad with the same fill": (1, lambda x: mj.pad(mj.rotate(x, 0, 5.0, fill=7), 2, 2, fill=7)),
    "another fill": (2, lambda x: mj.rotate(mj.rotate(x, 0, 5.0, fill=0), 1, 6.0, fill=1.0)),
    "another interpolation": (2, lambda x: mj.rotate(mj.rotate(x, 0, 5.0), 1, 6.0, interpolation="nearest")),
    "pad with another fill": (2, lambda x: mj.rotate(mj.pad(mj.rotate(x, 0, 5.0, fill=7), 2, 2, fill=8), 1, 6.0)),
    "pad by reflection": (2, lambda x: mj.rotate(mj.pad(mj.rotate(x, 0, 5.0), 2, 2, mode="reflect"), 1, 6.0)),
    "antialias": (2, lambda x: mj.resample_to_spacing(mj.rotate(x, 0, 5.0), 3.0, antialias=True)),
    "voxels are asked for": (2, lambda x: mj.rotate(mj.clip(mj.rotate(x, 0, 5.0), 0, 1), 1, 6.0)),
}


@pytest.mark.parametrize("name", CHAIN_LENGTHS)
def test_where_a_chain_ends(name: str) -> None:
    expected, chain = CHAIN_LENGTHS[name]
    image = scan(2, affine=CUBE)

    def of_voxels(function: Any) -> Any:
        return lambda voxels: function(image.with_voxels(voxels)).voxels

    assert count_interpolations(of_voxels(mj.fuse(chain)), jnp.asarray(image.voxels)) == expected
    assert count_interpolations(of_voxels(chain), jnp.asarray(image.voxels)) >= min(2, expected)


@pytest.mark.parametrize("name", [name for name, (count, _) in CHAIN_LENGTHS.items() if count == 2])
def test_a_chain_that_ends_early_equals_its_steps(name: str) -> None:
    image, chain = scan(3, affine=CUBE), CHAIN_LENGTHS[name][1]
    assert_same_image(mj.fuse(chain)(image), chain(image), 2000 * 64 * EPS)


# --- Kinds -----------------------------------------------------------------------------------------------------------


@mj.fuse
def prepare(image: Image) -> Image:
    image = mj.change_orientation(image, "RAS")
    image = mj.resample_to_spacing(mj.rotate(image, "k", 12.0), 1.3)
    image = mj.warp(mj.affine_transform(image, MATRIX), smooth_field(image.shape, 1.0))
    return mj.crop_or_pad(image, (9, 10, 8))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.bool_])
def test_no_label_is_mixed(dtype: Any) -> None:
    """The same function on a scan and its labels: labels come out as labels, in their dtype, on the same grid."""
    values = np.where(labels(4, dtype=dtype).voxels != 0, 1 if dtype == np.bool_ else 100, 0).astype(dtype)
    seg = labels(4, dtype=dtype).with_voxels(values)
    ct, found = prepare(scan(4)), prepare(seg)
    assert found.dtype == dtype
    assert found.kind == "label"
    assert set(np.unique(found.voxels)) == {0, values.max()}
    assert ct.dtype == np.float32
    np.testing.assert_allclose(ct.affine, found.affine, rtol=0, atol=1e-9)
    assert not np.isin(np.asarray(ct.voxels), scan(4).voxels).all()


def test_images_in_any_pytree_and_other_arguments() -> None:
    @mj.fuse
    def both(images: dict[str, Image], degrees: float, *, size: Any) -> tuple[dict[str, Image], Any]:
        turned = jax.tree.map(
            lambda x: mj.crop_or_pad(mj.rotate(x, 0, degrees), size), images, is_leaf=lambda x: isinstance(x, Image)
        )
        return turned, degrees

    scans = {"ct": scan(5), "seg": labels(5)}
    out, degrees = both(scans, 10.0, size=(6, 7, 8))
    assert degrees == 10.0
    assert {name: type(image) for name, image in out.items()} == {"ct": Image, "seg": Image}
    for name, image in scans.items():
        assert_same_image(out[name], mj.crop_or_pad(mj.rotate(image, 0, 10.0), (6, 7, 8)), 2000 * 32 * EPS)
        assert out[name].metadata is image.metadata


def test_what_the_steps_see_of_a_waiting_image() -> None:
    """Geometry, kind, dtype and metadata are known at once; voxels when asked for."""
    seen: dict[str, Any] = {}

    @mj.fuse
    def look(image: Image) -> Image:
        image = mj.resample_to_spacing(mj.rotate(image, 0, 5.0), 1.1)
        for name in (
            "shape",
            "spacing",
            "origin",
            "orientation",
            "dtype",
            "kind",
            "metadata",
            "channels",
            "batch_shape",
        ):
            seen[name] = getattr(image, name)
        seen["mean"] = float(np.asarray(image.voxels).mean())
        return image.with_metadata(mj.Metadata(modality="MR"))

    image = scan(6, (9, 8, 7, 2), dtype=np.int16)
    out = look(image)
    for name in set(seen) - {"metadata", "mean"}:
        assert seen[name] == getattr(out, name), name
    assert seen["metadata"] is image.metadata
    assert seen["mean"] == pytest.approx(float(np.asarray(out.voxels).mean()))
    assert out.metadata == mj.Metadata(modality="MR")


def test_intensity_operations_masks_and_stacks_inside() -> None:
    @mj.fuse
    def pipeline(image: Image, mask: Image) -> Image:
        image, mask = mj.rotate(image, 0, 9.0), mj.rotate(mask, 0, 9.0)
        image = mj.z_score_normalize(image, mask=mask)
        image = mj.crop_to_mask(image, mask, margin=1)
        return mj.stack([image, mj.flip(image, 0).with_kind("intensity")])

    image, mask = scan(7), labels(7)

    def steps() -> Image:
        a, m = mj.rotate(image, 0, 9.0), mj.rotate(mask, 0, 9.0)
        a = mj.crop_to_mask(mj.z_score_normalize(a, mask=m), m, margin=1)
        return mj.stack([a, mj.flip(a, 0)])

    found, expected = pipeline(image, mask), steps()
    np.testing.assert_allclose(found.voxels, expected.voxels, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.affine, expected.affine, rtol=0, atol=1e-9)


def test_fused_functions_nest_into_one_chain() -> None:
    inner = mj.fuse(lambda x: mj.rotate(mj.rotate(x, 0, 5.0), 1, 7.0))
    outer = mj.fuse(
        lambda x: mj.crop_or_pad(mj.resample_to_spacing(inner(mj.change_orientation(x, "SAR")), 1.1), (8, 8, 8))
    )
    flat = mj.fuse(
        lambda x: mj.crop_or_pad(
            mj.resample_to_spacing(mj.rotate(mj.rotate(mj.change_orientation(x, "SAR"), 0, 5.0), 1, 7.0), 1.1),
            (8, 8, 8),
        )
    )
    image = scan(8)
    assert type(outer(image)) is Image
    assert_same_image(outer(image), flat(image), 0)
    assert count_interpolations(lambda v: outer(image.with_voxels(v)).voxels, jnp.asarray(image.voxels)) == 1


# --- Batches and transformations -------------------------------------------------------------------------------------


def test_batches_with_one_parameter_or_one_for_each() -> None:
    chain = mj.fuse(lambda x, a: mj.crop_or_pad(mj.scale(mj.rotate(mj.rotate(x, 0, a), 2, 4.0), 1.2), (9, 9, 9)))
    items = [scan(n, affine=oblique_affine((10.0 * n, 5, 3))) for n in range(3)]
    batch = mj.stack(items)
    for angles in (np.array([5.0, -8.0, 11.0]), 6.0):
        out = chain(batch, angles)
        for n, item in enumerate(items):
            one = chain(item, float(np.broadcast_to(angles, 3)[n]))
            np.testing.assert_allclose(out.voxels[n], one.voxels, rtol=0, atol=2000 * 32 * EPS)
            np.testing.assert_allclose(out.affine[n], one.affine, rtol=0, atol=1e-9)
        assert out.metadata == batch.metadata


@pytest.mark.parametrize("order", ["warp first", "warp last"])
def test_batches_with_one_displacement_or_one_for_each(order: str) -> None:
    def chain(image: Image, field: Any) -> Image:
        if order == "warp first":
            return mj.rotate(mj.warp(image, field), 0, 10.0)
        return mj.warp(mj.rotate(image, 0, 10.0), field)

    items = [scan(n, affine=oblique_affine((10.0 * n, 5, 3))) for n in range(2)]
    one = smooth_field(items[0].shape)
    for field in (one, np.stack([one, -2 * one])):
        out = mj.fuse(chain)(mj.stack(items), field)
        for n, item in enumerate(items):
            expected = mj.fuse(chain)(item, field if field.ndim == 4 else field[n])
            np.testing.assert_allclose(out.voxels[n], expected.voxels, rtol=0, atol=2000 * 64 * EPS)


def test_under_jit_grad_and_vmap() -> None:
    image = scan(9, affine=CUBE)

    @mj.fuse
    def chain(image: Image, degrees: Any) -> Image:
        return mj.crop_or_pad(
            mj.resample_to_spacing(mj.rotate(mj.flip(image, 0), 1, degrees, fill=0), 1.4), (8, 8, 8), fill=0
        )

    def loss(voxels: Any, degrees: Any) -> Any:
        return (chain(image.with_voxels(voxels), degrees).voxels ** 2).mean() / 1e6

    voxels, energy = jnp.asarray(image.voxels), jax.jit(loss)
    assert energy(voxels, 10.0) == pytest.approx(float(loss(voxels, 10.0)), rel=1e-5)
    inside = jax.jit(lambda x, a: chain(x, a).voxels)  # the image itself, with traced geometry, needs a size
    with pytest.raises(ValueError, match="pass size="):
        inside(image, 10.0)
    by_voxels, by_angle = jax.grad(energy, (0, 1))(voxels, 10.0)
    direction = np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    slope = (energy(voxels + direction, 10.0) - energy(voxels - direction, 10.0)) / 2
    assert float((by_voxels * direction).sum()) == pytest.approx(float(slope), rel=2e-2)
    step = (energy(voxels, 10.05) - energy(voxels, 9.95)) / 0.1
    assert float(by_angle) == pytest.approx(float(step), rel=0.2)  # float32, piecewise smooth
    several = jax.vmap(energy, (None, 0))(voxels, jnp.array([5.0, 10.0]))
    assert float(several[1]) == pytest.approx(float(energy(voxels, 10.0)), rel=1e-5)


def test_angles_share_one_compilation(compilations: Any) -> None:
    chain = mj.fuse(lambda x, a: mj.crop_or_pad(mj.rotate(mj.rotate(x, 0, a), 1, 3.0), (9, 9, 9)))
    chain(scan(0), 1.0)
    with compilations:
        for n in range(1, 50):
            chain(scan(n), 7.0 * n)
    assert compilations.count == 0


def test_channels_complex_and_bfloat16() -> None:
    for image in (
        scan(10, (9, 8, 7, 3)),
        scan(10, dtype=np.complex64),
        scan(10).with_voxels(jnp.asarray(scan(10).voxels, jnp.bfloat16)),
    ):
        chain = lambda x: mj.change_orientation(RESAMPLING["rotate"](x), "SAR")  # noqa: E731
        fused, steps = mj.fuse(chain)(image), chain(image)
        assert fused.dtype == steps.dtype
        np.testing.assert_allclose(np.asarray(fused.voxels), np.asarray(steps.voxels), rtol=0, atol=2000 * 64 * EPS)


# --- Nearer the truth ------------------------------------------------------------------------------------------------
def test_nearer_the_truth_than_the_steps() -> None:
    fused, steps, truth = after_the_chain()
    np.testing.assert_allclose(fused.affine, steps.affine, rtol=0, atol=1e-9)
    assert rms(fused, truth) < 0.5 * rms(steps, truth)
    assert rms(steps, truth) < 15  # of a range of 150: the steps are right, only blurred


# --- A waiting image goes wherever an image goes ---------------------------------------------------------------------


def turned(image: Image) -> Image:
    return mj.rotate(image, 0, 9.0)


def on_device(image: Image) -> Image:
    return jax.tree.map(jnp.asarray, image)


def steps_of_a_scan(image: Image) -> Image:
    def step(carry: Image, _: None) -> tuple[Image, None]:
        return jax.tree.map(lambda old, new: new.astype(old.dtype), carry, turned(carry)), None

    return jax.lax.scan(step, on_device(turned(image)), None, length=2)[0]


THROUGH_JAX: dict[str, Callable[[Image], Image]] = {
    "jit": lambda x: jax.jit(turned)(turned(x)),
    "a fused function in jit": lambda x: jax.jit(mj.fuse(turned))(turned(x)),
    "checkpoint": lambda x: jax.checkpoint(turned)(turned(x)),
    "device_put": lambda x: turned(jax.device_put(turned(x))),
    "block_until_ready": lambda x: turned(jax.block_until_ready(turned(x))),
    "tree.map over two": lambda x: turned(jax.tree.map(lambda a, b: (a + b) / 2, turned(x), turned(x))),
    "vmap": lambda x: jax.vmap(turned)(jax.tree.map(lambda leaf: leaf[None], on_device(turned(x)))),
    "scan": steps_of_a_scan,
    "cond": lambda x: jax.lax.cond(
        True, turned, lambda image: image.with_voxels(image.voxels * 2), on_device(turned(x))
    ),
    "grad": lambda x: turned(
        x.with_voxels(jax.grad(lambda y: (turned(y).voxels ** 2).sum())(on_device(turned(x))).voxels)
    ),
    "replace": lambda x: turned(dataclasses.replace(turned(x), voxels=turned(x).voxels + 1, metadata=None)),
    "deepcopy": lambda x: turned(copy.deepcopy(turned(x))),
    "pickle": lambda x: turned(pickle.loads(pickle.dumps(turned(x)))),
}


@pytest.mark.parametrize("chain", THROUGH_JAX.values(), ids=THROUGH_JAX)
def test_a_waiting_image_is_a_pytree_and_a_dataclass(chain: Callable[[Image], Image]) -> None:
    """What waits is interpolated on the way in, so the result is the one of the steps."""
    image = scan(11, (7, 6, 5), dtype=np.float32)
    steps = chain(image)
    out = mj.fuse(chain)(image)
    assert type(out) is Image
    assert out.metadata == steps.metadata
    scale = float(np.abs(steps.voxels).max())
    # These hand on what waits, so that it turns once; the others turn twice.
    if chain not in [THROUGH_JAX[name] for name in ("deepcopy", "pickle", "block_until_ready")]:
        np.testing.assert_allclose(out.voxels, steps.voxels, rtol=0, atol=1e-5 * scale)
        traced = jax.jit(lambda voxels: mj.fuse(chain)(image.with_voxels(voxels)).voxels)(jnp.asarray(image.voxels))
        np.testing.assert_allclose(traced, steps.voxels, rtol=0, atol=1e-4 * scale)
    np.testing.assert_allclose(out.affine, steps.affine, rtol=0, atol=1e-9)


def test_images_that_come_back_as_they_were_keep_what_is_known_of_them() -> None:
    """A batch too, whose metadata no tree function carries; alone, in a pytree, or normalised on the way."""
    batch = mj.stack([scan(1), scan(2)])
    assert batch.metadata is not None
    for function in (lambda x: x, mj.z_score_normalize, lambda x: turned(mj.z_score_normalize(x))):
        assert mj.fuse(function)(batch).metadata == batch.metadata
    found = mj.fuse(lambda x: {"a": (mj.z_score_normalize(x), turned(x))})(batch)["a"]
    assert [image.metadata for image in found] == [batch.metadata] * 2


CLOSED_OVER: dict[str, Callable[[Image], Any]] = {
    "cond": lambda y: jax.lax.cond(True, lambda: y.voxels.sum(), lambda: 0.0),
    "checkpoint": lambda y: jax.checkpoint(lambda: y.voxels.sum())(),
    "jit": lambda y: jax.jit(lambda: y.voxels.sum())(),
}


@pytest.mark.parametrize("ask", CLOSED_OVER.values(), ids=CLOSED_OVER)
def test_a_waiting_image_that_an_inner_function_closes_over(ask: Callable[[Image], Any]) -> None:
    """What an inner trace made is of no use outside of it."""
    image = scan(12, (7, 6, 5), dtype=np.float32)

    @mj.fuse
    def both(image: Image) -> Any:
        waiting = turned(image)
        return ask(waiting) + 2 * waiting.voxels.sum()

    def total(voxels: Any) -> Any:
        return both(image.with_voxels(voxels))

    voxels = jnp.asarray(image.voxels)
    wanted = 3 * float(turned(image).voxels.sum())
    assert float(jax.jit(total)(voxels)) == pytest.approx(wanted, rel=1e-4)
    assert float(jax.vmap(total)(voxels[None])[0]) == pytest.approx(wanted, rel=1e-4)
    plain = jax.grad(lambda v: 3 * turned(image.with_voxels(v)).voxels.sum())(voxels)
    np.testing.assert_allclose(jax.grad(total)(voxels), plain, atol=1e-5)
