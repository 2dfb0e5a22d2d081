"""`cast`: to the nearest value of another dtype, never around its limits, and under `fuse` in the interpolation's pass."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import SimpleITK as sitk
from spatial_cases import RESAMPLING, labels, on_device, scan, to_sitk, voxels_of

import medjax as mj
from medjax import Image

INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32"]
SPECIAL = [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, -128.5, -129.0, 254.5, 255.5, 32767.5, -32768.5, 65535.5]
LARGE = [2.0**31 - 128, 2.0**31, 2.0**32 - 256, 2.0**32, -(2.0**31), -(2.0**31) - 256, 1e30, -1e30]
NOT_NUMBERS = [np.inf, -np.inf, np.nan]


def column(values: Any, dtype: Any) -> Image:
    return Image.from_array(np.asarray(values).astype(dtype).reshape(-1, 1, 1))


def expected(value: Any, dtype: str) -> int:
    """By Python's exact numbers: `round` goes half to even."""
    limits = np.iinfo(dtype)
    if value != value:
        return 0
    if abs(value) == float("inf"):
        return limits.max if value > 0 else limits.min
    return min(max(round(value), limits.min), limits.max)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("source", ["float32", "float16", ml_dtypes.bfloat16, "float64"])
def test_floating_point_to_integers(source: Any, dtype: str) -> None:
    with np.errstate(over="ignore"):
        image = column(SPECIAL + LARGE + NOT_NUMBERS, source)
    wanted = [expected(float(value), dtype) for value in image.voxels.ravel()]
    for voxels in (image.voxels, jnp.asarray(image.voxels)):
        for function in (mj.cast, jax.jit(mj.cast, static_argnums=1)):
            if voxels.dtype == np.float64 and not (function is mj.cast and isinstance(voxels, np.ndarray)):
                continue  # without x64 a device has no float64
            out = function(image.with_voxels(voxels), dtype)
            assert out.dtype == np.dtype(dtype)
            assert np.asarray(out.voxels).ravel().tolist() == wanted


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("source", [*INTEGERS, "int64", "uint64", "bool"])
def test_integers_to_integers(source: str, dtype: str) -> None:
    limits = np.iinfo("uint8" if source == "bool" else source)
    values = [limits.min, limits.max, 0, 1, 127, 100]
    image = column(np.array(values, object), source)
    wanted = [expected(int(value), dtype) for value in image.voxels.ravel()]
    assert mj.cast(image, dtype).voxels.ravel().tolist() == wanted
    if "64" not in source:
        assert np.asarray(mj.cast(on_device(image), dtype).voxels).ravel().tolist() == wanted


def test_to_floating_point() -> None:
    image = column([1.0, 1 / 3, 70000.0], np.float32)
    assert mj.cast(image, jnp.bfloat16).dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        mj.cast(on_device(image), jnp.bfloat16).voxels, image.voxels.astype(ml_dtypes.bfloat16)
    )
    assert mj.cast(column([3, -7], "int16"), np.float32).voxels.ravel().tolist() == [3.0, -7.0]


def test_everything_else_is_kept() -> None:
    image = scan(1)
    out = mj.cast(image, "int16")
    assert (out.kind, out.metadata) == (image.kind, image.metadata)
    np.testing.assert_array_equal(out.affine, image.affine)


def test_limits_as_itk_resampling_has_them() -> None:
    image = scan(1, dtype=np.float32)  # from -1000 to 1000
    itk = to_sitk(image)
    resampled = sitk.Resample(itk, itk, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0, sitk.sitkInt8)
    theirs = voxels_of(resampled)
    ours = np.asarray(mj.cast(image, "int8").voxels)
    beyond = np.abs(image.voxels) > 130
    np.testing.assert_array_equal(ours[beyond], theirs[beyond])
    assert np.abs(ours[~beyond].astype(int) - theirs[~beyond]).max() <= 1  # ITK cuts the fraction off


# --- With an interpolation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "bspline"])
@pytest.mark.parametrize("name", RESAMPLING)
def test_fused_with_what_waits(name: str, interpolation: Any, compilations: Any) -> None:
    place = list(RESAMPLING).index(name) + len(RESAMPLING) * ["nearest", "linear", "bspline"].index(interpolation)
    image = scan(1, (14 + place, 5, 6), dtype=np.int16)  # a shape that nothing else is compiled for
    stepwise = mj.cast(RESAMPLING[name](image, interpolation=interpolation), "int16")
    with compilations:
        fused = mj.fuse(lambda x: mj.cast(RESAMPLING[name](x, interpolation=interpolation), "int16"))(image)
    # One new program holds both steps. In a program after the interpolation the cast would compile nothing: it just ran.
    assert compilations.count == 1
    assert fused.dtype == np.int16
    assert fused.metadata is image.metadata
    np.testing.assert_array_equal(fused.affine, stepwise.affine)
    apart = np.abs(np.asarray(fused.voxels, int) - np.asarray(stepwise.voxels, int))
    assert apart.max() <= 1  # a half that float32 sums in another order
    assert (apart > 0).mean() < 2e-3


def test_limits_hold_where_splines_overshoot() -> None:
    image = Image.from_array(np.repeat([0, 255], 6).astype(np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8))
    smooth = mj.resample_to_spacing(image, 0.4, interpolation="bspline")
    assert smooth.voxels.min() < -5
    assert smooth.voxels.max() > 260
    out = mj.fuse(lambda x: mj.cast(mj.resample_to_spacing(x, 0.4, interpolation="bspline"), "uint8"))(image)
    np.testing.assert_array_equal(out.voxels, np.clip(np.round(smooth.voxels), 0, 255).astype(np.uint8))


def test_steps_after_the_cast_go_on_from_it() -> None:
    image = scan(2)
    out = mj.fuse(lambda x: mj.rotate(mj.cast(mj.rotate(x, "k", 10.0), "int16"), "k", 5.0))(image)
    steps = mj.rotate(mj.cast(mj.rotate(image, "k", 10.0), "int16"), "k", 5.0)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.voxels, steps.voxels, atol=1.01)


def test_fused_before_any_interpolation() -> None:
    image = scan(2)
    out = mj.fuse(lambda x: mj.cast(mj.flip(x, 0), "int16"))(image)
    np.testing.assert_array_equal(out.voxels, mj.cast(mj.flip(image, 0), "int16").voxels)


def test_in_buckets() -> None:
    image = scan(3, dtype=np.int16)
    prepare = mj.fuse(lambda x: mj.cast(mj.resample_to_spacing(x, 1.3), "int16"))
    plain = prepare(image)
    with mj.shape_buckets():
        ours = prepare(image)
    assert ours.dtype == np.int16
    assert np.abs(np.asarray(ours.voxels, int) - np.asarray(plain.voxels, int)).max() <= 1


def test_batches_and_gradients() -> None:
    batch = mj.stack([on_device(scan(1)), on_device(scan(2))])
    out = mj.fuse(lambda x: mj.cast(mj.rotate(x, "i", [5.0, 9.0]), "int16"))(batch)
    assert (out.dtype, out.batch_shape) == (np.dtype(np.int16), (2,))

    def loss(voxels: jax.Array) -> jax.Array:
        image = mj.cast(batch.with_voxels(voxels), "int16")
        half = mj.cast(batch.with_voxels(voxels), "float16").voxels
        return mj.cast(image, "float32").voxels.sum() + half.astype(jnp.float32).sum()

    np.testing.assert_array_equal(jax.grad(loss)(batch.voxels), np.ones(batch.voxels.shape))


# --- Labels and refusals ---------------------------------------------------------------------------------------------


def test_labels_are_kept() -> None:
    image = labels(1, dtype=np.int64)
    out = mj.cast(image, "uint8")
    assert (out.kind, out.dtype) == ("label", np.dtype(np.uint8))
    np.testing.assert_array_equal(out.voxels, image.voxels)
    assert jax.jit(lambda x: mj.cast(x, "int32"))(labels(1)).dtype == np.int32
    turned = mj.fuse(lambda x: mj.cast(mj.rotate(x, "k", 30.0), "int16"))(image)
    np.testing.assert_array_equal(turned.voxels, mj.rotate(image, "k", 30.0).voxels)
    assert turned.dtype == np.int16


@pytest.mark.parametrize(
    ("image", "dtype", "message"),
    [
        (labels(1), "float32", "labels are integers"),
        (column([3, 300], "int16").with_kind("label"), "uint8", "labels from 3 to 300 do not fit uint8"),
        (column([3, -1], "int16").with_kind("label"), "uint8", "labels from -1 to 3 do not fit uint8"),
        (scan(1, dtype=np.complex64), "int16", "takes real voxels, got complex64"),
        (scan(1), "bool", "dtype must be an integer or a floating-point one, got bool; compare"),
        (scan(1), "complex64", "got complex64"),
        (scan(1), "float64", "needs 64 bits"),
        (scan(1), "int61", "must name a NumPy dtype"),
        (scan(1), jnp.int4, "got int4; the narrowest integer is int8"),
    ],
)
def test_refuses(image: Image, dtype: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mj.cast(image, dtype)


def test_labels_under_jit_must_fit_by_their_dtype() -> None:
    with pytest.raises(ValueError, match="inside jit it is unknown whether labels of int16 fit uint8"):
        jax.jit(lambda x: mj.cast(x, "uint8"))(labels(1, dtype=np.int16))


def test_labels_that_a_trace_closes_over_are_known() -> None:
    image = labels(1, dtype=np.int32)
    image = image.with_voxels(jnp.asarray(image.voxels))
    found = jax.jit(lambda v: mj.cast(image, "uint8").voxels + v)(jnp.uint8(1))
    np.testing.assert_array_equal(found, np.asarray(image.voxels) + 1)


@pytest.mark.parametrize("dtype", [">i2", "<i2", np.dtype(">f4")])
def test_byte_order_is_the_machines(dtype: Any) -> None:
    """A dtype that was read from a file's header may name the other one."""
    for image in (scan(1), scan(1).with_voxels(jnp.asarray(scan(1).voxels))):
        out = mj.cast(image, dtype)
        assert out.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(out.voxels, mj.cast(image, np.dtype(dtype).newbyteorder("=")).voxels)


@pytest.mark.parametrize("source", ["float32", "float64", "int32", "uint16", "uint64"])
@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn])
def test_finite_voxels_are_held_at_the_limits_of_floating_point(dtype: Any, source: str) -> None:
    """65504 is the largest float16 (IEEE 754 binary16); what the dtype holds is rounded as its own conversion rounds it."""
    limits, own = ml_dtypes.finfo(dtype), np.dtype(source)
    values: list[Any] = [0, 1, 100, 440, 57344, 65504, 65519, 65520, 65535]
    values += [float(np.finfo(own).max), -65520.0, -1e30, 3.4e38] if own.kind == "f" else [int(np.iinfo(own).max)]
    image = column(np.array([v for v in values if own.kind == "f" or v <= np.iinfo(own).max], object), own)
    largest = float(limits.max)
    wanted = np.clip(image.voxels.astype(np.float64), -largest, largest).astype(dtype)
    assert np.isfinite(wanted.astype(np.float64)).all()
    np.testing.assert_array_equal(mj.cast(image, dtype).voxels, wanted)
    if "64" not in source:
        np.testing.assert_array_equal(mj.cast(on_device(image), dtype).voxels, wanted)


def test_infinity_and_nan_stay_in_floating_point() -> None:
    for dtype in ("float16", ml_dtypes.bfloat16, "float32"):
        out = np.asarray(mj.cast(column([*NOT_NUMBERS, 1.0], np.float32), dtype).voxels, np.float64).ravel()
        np.testing.assert_array_equal(out, [*NOT_NUMBERS, 1.0])
    slope = jax.grad(lambda v: mj.cast(Image.from_array(v), "float16").voxels.astype(jnp.float32).sum())(
        jnp.asarray([1.0, 7e4, -65504.0]).reshape(3, 1, 1)
    )
    assert slope.ravel().tolist() == [1.0, 0.0, 1.0]
