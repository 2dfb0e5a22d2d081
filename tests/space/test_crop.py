"""Cropping, padding and moving the header: exact, for any dtype, batch and library, and what they refuse."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scans import oblique_affine
from spatial_cases import SHAPE, labels, on_device, scan

import medjax as mj

DTYPES = ["u1", "i2", "i8", "f2", "f8", "c8", "?"]


@pytest.mark.parametrize("device", [False, True], ids=["numpy", "jax"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_libraries(dtype: str, device: bool) -> None:
    image = scan(1, dtype=np.dtype(dtype))
    image = on_device(image) if device else image
    kept = image.dtype
    out = mj.crop(image, (1, 2, 3), (5, 4, 6))
    np.testing.assert_array_equal(out.voxels, np.asarray(image.voxels)[1:6, 2:6, 3:9])
    padded = mj.pad(image, (1, 0, 2), (0, 3, 1))
    np.testing.assert_array_equal(padded.voxels[1:, :-3, 2:-1], image.voxels)
    assert out.dtype == padded.dtype == mj.crop_or_pad(image, 9).dtype == kept
    assert isinstance(padded.voxels, jax.Array if device else np.ndarray)
    for mode in ("edge", "reflect"):
        np.testing.assert_array_equal(
            mj.pad(image, (1, 0, 2), 1, mode=mode).voxels,  # type: ignore[arg-type]
            np.pad(np.asarray(image.voxels), ((1, 1), (0, 1), (2, 1)), mode),  # type: ignore[call-overload]
        )


def test_a_crop_of_numpy_voxels_is_a_view() -> None:
    image = scan(2)
    assert np.shares_memory(mj.crop(image, 1, 3).voxels, image.voxels)


@given(before=st.tuples(*[st.integers(0, 4)] * 3), after=st.tuples(*[st.integers(0, 4)] * 3))
def test_padding_keeps_every_voxel_in_its_place_in_the_world(before: Any, after: Any) -> None:
    image = scan(3, (3, 4, 5))
    out = mj.pad(image, before, after, fill=-9)
    assert out.shape == tuple(n + a + b for n, a, b in zip((3, 4, 5), before, after, strict=True))
    np.testing.assert_allclose(out.grid.world(before), image.origin, rtol=0, atol=1e-9)
    inner = tuple(slice(a, a + n) for a, n in zip(before, (3, 4, 5), strict=True))
    np.testing.assert_array_equal(out.voxels[inner], image.voxels)
    assert (np.asarray(out.voxels) == -9).sum() == out.voxels.size - image.voxels.size


@given(size=st.tuples(*[st.integers(1, 20)] * 3))
def test_crop_or_pad_is_about_the_centre(size: Any) -> None:
    image = scan(4, (8, 9, 5))
    out = mj.crop_or_pad(image, size, fill=-9)
    assert out.shape == size
    shift = image.grid.index(out.grid.world(np.zeros(3)))
    for axis, (n, m) in enumerate(zip(image.shape, size, strict=True)):
        assert shift[axis] == pytest.approx((n - m) // 2 if n >= m else -((m - n) // 2), abs=1e-9)
    np.testing.assert_array_equal(
        mj.crop_or_pad(image, size).affine, out.affine
    )  # pads first where it needs a background
    is_own = np.asarray(out.voxels) != -9
    np.testing.assert_array_equal(
        np.asarray(mj.crop_or_pad(image, size).voxels)[is_own], np.asarray(out.voxels)[is_own]
    )
    kept = min(8, size[0]) * min(9, size[1]) * min(5, size[2])
    assert (np.asarray(out.voxels) != -9).sum() == kept


def test_background_is_the_whole_images() -> None:
    """Also of an axis that is cropped: what a mask of the corner would say must not depend on the order of the two."""
    image = scan(5)
    median = np.median(image.voxels[np.ix_([0, -1], [0, -1], [0, -1])])
    for one in (image, on_device(image)):
        assert mj.pad(one, 1, 1).voxels[0, 0, 0] == np.float32(median)
        assert mj.crop_or_pad(one, (5, 20, 5)).voxels[0, 0, 0] == np.float32(median)
    whole = scan(5, dtype=np.int16)
    assert mj.pad(whole, 1, 1).voxels[0, 0, 0] == np.round(np.median(whole.voxels[np.ix_([0, -1], [0, -1], [0, -1])]))
    assert mj.pad(labels(5), 1, 1).voxels[0, 0, 0] == 0


def test_batches() -> None:
    items = [scan(n, (*SHAPE, 2), affine=oblique_affine((3.0 * n, 1, 2))) for n in range(3)]
    for batch in (mj.stack(items), on_device(mj.stack(items))):
        starts = np.array([[0, 1, 2], [3, 0, 1], [1, 1, 1]])
        each, same = mj.crop(batch, starts, (4, 5, 6)), mj.crop(batch, (1, 2, 3), (4, 5, 6))
        filled = mj.pad(batch, 1, 2, fill=np.array([[1.0], [2.0], [3.0]]))
        for n, item in enumerate(items):
            for out, expected in (
                (each, mj.crop(item, starts[n], (4, 5, 6))),
                (same, mj.crop(item, (1, 2, 3), (4, 5, 6))),
                (filled, mj.pad(item, 1, 2, fill=n + 1)),
                (mj.pad(batch, 1, 2), mj.pad(item, 1, 2)),
                (mj.crop_or_pad(batch, (6, 12, 13)), mj.crop_or_pad(item, (6, 12, 13))),
            ):
                np.testing.assert_array_equal(out.voxels[n], expected.voxels)
                np.testing.assert_allclose(out.affine[n], expected.affine, rtol=0, atol=1e-9)


def test_traced_starts() -> None:
    image = scan(6)
    cut = jax.jit(lambda start: mj.crop(image, start, (4, 4, 4)))
    for start in ((0, 0, 0), (7, 4, 9), (3, 1, 2)):
        expected = mj.crop(image, start, (4, 4, 4))
        np.testing.assert_array_equal(cut(jnp.array(start)).voxels, expected.voxels)
        np.testing.assert_allclose(cut(jnp.array(start)).affine, expected.affine, rtol=1e-6)
    moved = cut(jnp.array((-2, 50, 3)))  # moved inside, and the geometry says where to
    np.testing.assert_array_equal(moved.voxels, mj.crop(image, (0, 4, 3), (4, 4, 4)).voxels)
    np.testing.assert_allclose(moved.affine, mj.crop(image, (0, 4, 3), (4, 4, 4)).affine, rtol=1e-6)
    with pytest.raises(ValueError, match=r"a box of \(20, 4, 4\) does not fit.*crop_or_pad"):
        jax.jit(lambda start: mj.crop(image, start, (20, 4, 4)).voxels)(jnp.zeros(3, jnp.int32))


def test_gradients_of_voxels_and_fill() -> None:
    image, weights = scan(7), np.random.default_rng(0).normal(size=(14, 8, 14)).astype(np.float32)
    by_voxels, by_fill = jax.grad(
        lambda v, f: (mj.pad(image.with_voxels(v), (1, 0, 0), (2, 0, 1), fill=f).voxels * weights).sum(), (0, 1)
    )(jnp.asarray(image.voxels), 2.0)
    np.testing.assert_array_equal(by_voxels, weights[1:-2, :, :-1])
    assert by_fill == pytest.approx(
        float(weights.sum(dtype=np.float64) - weights[1:-2, :, :-1].sum(dtype=np.float64)), rel=1e-4
    )


# --- Masks -----------------------------------------------------------------------------------------------------------


def test_crop_to_mask() -> None:
    image = scan(8, (*SHAPE, 2))
    mask = np.zeros(SHAPE, np.uint8)
    mask[3, 2, 5], mask[6, 4, 11] = 1, 7
    for given_mask in (mask, jnp.asarray(mask), mj.Image.from_array(mask, affine=image.affine, kind="label")):
        out = mj.crop_to_mask(image, given_mask)
        np.testing.assert_array_equal(out.voxels, image.voxels[3:7, 2:5, 5:12])
        np.testing.assert_allclose(out.origin, image.grid.world((3, 2, 5)), rtol=0, atol=1e-9)
    out = mj.crop_to_mask(image, mask, margin=(1, 100, 0))
    np.testing.assert_array_equal(out.voxels, image.voxels[2:8, :, 5:12])


def test_masks_that_say_nothing() -> None:
    image = scan(8)
    with pytest.raises(ValueError, match="the mask is empty: there is nothing to crop to"):
        mj.crop_to_mask(image, np.zeros(SHAPE))
    with pytest.raises(ValueError, match=r"a mask of shape \(3, 3, 3\) does not lie on an image of \(11, 8, 13\)"):
        mj.crop_to_mask(image, np.ones((3, 3, 3)))
    with pytest.raises(ValueError, match=r"mask lies on another grid: a corner is 13.51 mm away.*resample_to_image"):
        mj.crop_to_mask(image, labels(0, affine=oblique_affine((0, 0, 0))))
    with pytest.raises(ValueError, match="traced: crop before jit"):
        jax.jit(lambda m: mj.crop_to_mask(image, m).voxels)(np.ones(SHAPE))
    with pytest.raises(ValueError, match="unstack it, or crop to a common box"):
        mj.crop_to_mask(mj.stack([image, image]), np.ones(SHAPE))


# --- Moving the header -----------------------------------------------------------------------------------------------


def test_translate() -> None:
    image = scan(9)
    moved = mj.translate(image, (2, -1, 0.5))
    assert moved.voxels is image.voxels
    np.testing.assert_allclose(moved.origin, image.grid.world((2, -1, 0.5)), rtol=0, atol=1e-9)
    moved = mj.translate(image, (2, -1, 0.5), unit="mm")
    np.testing.assert_allclose(moved.origin, np.add(image.origin, (2, -1, 0.5)), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(moved.affine[:3, :3], image.affine[:3, :3])
    batch = mj.translate(mj.stack([image, image]), np.array([[1, 0, 0], [0, 2, 0]]), unit="mm")
    np.testing.assert_allclose(batch.origin, np.add(image.origin, [[1, 0, 0], [0, 2, 0]]), rtol=0, atol=1e-9)
    one = mj.translate(mj.stack([image, image]), (1, 2, 3))
    np.testing.assert_allclose(one.origin, [image.grid.world((1, 2, 3))] * 2, rtol=0, atol=1e-9)


@pytest.mark.parametrize("unit", ["voxel", "mm"])
def test_translate_is_differentiable(unit: Any) -> None:
    image = scan(9)
    slope = jax.jacobian(lambda o: mj.translate(image, o, unit=unit).affine[:3, 3])(jnp.zeros(3))
    np.testing.assert_allclose(slope, image.affine[:3, :3] if unit == "voxel" else np.eye(3), rtol=1e-5, atol=1e-6)
    batch = mj.stack([image, image])
    each = jax.jit(lambda o: mj.translate(batch, o, unit=unit).affine)(jnp.ones((2, 3)))
    np.testing.assert_allclose(each[1], mj.translate(image, (1, 1, 1), unit=unit).affine, rtol=1e-5)
    same = jax.jit(lambda o: mj.translate(batch, o, unit=unit).affine)(jnp.ones(3))
    np.testing.assert_allclose(same, each, rtol=1e-6)


WRONG: Any = "wrong"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: mj.crop(x, (0, 0, 9), (3, 3, 5)),
            r"a box of \(3, 3, 5\) voxels from \[0, 0, 9\] does not lie inside an image of \(11, 8, 13\); crop_or_pad and pad go beyond",
        ),
        (lambda x: mj.crop(x, (-1, 0, 0), 3), r"from \[-1, 0, 0\] does not lie inside"),
        (lambda x: mj.crop(x, 0, (3, 0, 3)), r"size must be one integer or three, at least 1; got \(3, 0, 3\)"),
        (lambda x: mj.crop(x, 0, 2.5), r"size must be one integer or three, at least 1; got 2.5"),
        (
            lambda x: mj.crop(x, (0.5, 0, 0), 3),
            r"start must be three integers, or one such triple per item; got \(0.5, 0, 0\)",
        ),
        (lambda x: mj.crop(x, (0, 0), 3), r"start must be three integers"),
        (lambda x: mj.pad(x, -1, 0), "before must be one integer or three, at least 0; got -1"),
        (lambda x: mj.pad(x, 0, (1, 2)), r"after must be one integer or three, at least 0; got \(1, 2\)"),
        (lambda x: mj.pad(x, 1, 1, mode=WRONG), "mode must be 'constant', 'edge' or 'reflect', got 'wrong'"),
        (
            lambda x: mj.pad(x, 1, 1, mode="edge", fill=3),
            "fill=3 has no meaning with mode='edge'; leave one of them out",
        ),
        (
            lambda x: mj.pad(x, (0, 8, 0), 0, mode="reflect"),
            r"at most n - 1 voxels a side to an image of \(11, 8, 13\), asked for \(0, 8, 0\)",
        ),
        (
            lambda x: mj.pad(x, 1, 1, fill=(1, 2)),
            r"fill must be one number; got shape \(2,\)",
        ),
        (lambda x: mj.crop_or_pad(x, 0), "size must be one integer or three, at least 1; got 0"),
        (
            lambda x: mj.crop_to_mask(x, np.ones(SHAPE), margin=-1),
            "margin must be one integer or three, at least 0; got -1",
        ),
        (
            lambda x: mj.translate(x, (1, 2)),
            r"offset must be three finite numbers, or one triple per item of the batch \(\); got \(1, 2\)",
        ),
        (lambda x: mj.translate(x, (1, 2, np.nan)), "offset must be three finite numbers"),
        (lambda x: mj.translate(x, (1, 2, 3), unit=WRONG), "unit must be 'voxel' or 'mm', got 'wrong'"),
        (lambda x: mj.translate(x, np.ones((2, 3))), r"offset .*batch"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_wrong_raises_with_value_and_remedy(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(scan(0))


@pytest.mark.parametrize("fill", [0.5, -1, 256, np.nan])
@pytest.mark.parametrize("kind", ["label", "intensity"])
def test_a_fill_that_the_dtype_cannot_hold(fill: float, kind: Any) -> None:
    image = labels(0).with_kind(kind)
    for one in (image, on_device(image)):
        with pytest.raises(ValueError, match=r"does not fit voxels of uint8.*floating dtype first, or choose another"):
            mj.pad(one, 1, 1, fill=fill)


def test_the_background_of_complex_voxels_is_the_one_of_their_parts() -> None:
    """As resampling fills: real and imaginary part each have their median."""
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(4, 4, 4)) + 1j * rng.normal(size=(4, 4, 4))).astype(np.complex64)
    corners = values[np.ix_([0, 3], [0, 3], [0, 3])]
    wanted = np.median(corners.real) + 1j * np.median(corners.imag)
    for voxels in (values, jnp.asarray(values)):
        image = mj.Image.from_array(voxels)
        for out in (mj.pad(image, 1, 1), mj.crop_or_pad(image, 6), mj.rotate(image, 0, 45.0)):
            assert complex(out.voxels[0, 0, 0]) == pytest.approx(complex(wanted), rel=1e-6)
