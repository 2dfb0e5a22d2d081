"""Kernels that only move memory: the same values to the bit, and enough counted steps for XLA to use all threads."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import medjax as mj

# Private: the door of the kernels itself.
from medjax._kernels._compiled import _counted, compiled

RNG = np.random.default_rng(0)


def turned(values: Any) -> Any:
    return jnp.flip(jnp.transpose(values, (2, 0, 1)), 1)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "float16", "bfloat16", "float32", "complex64"]
)
def test_every_bit_comes_through(dtype: str) -> None:
    size = jnp.dtype(dtype).itemsize
    if dtype == "bool":
        values = RNG.integers(0, 2, (3, 5, 7)).astype(bool)
    else:
        values = RNG.integers(0, 256, (3, 5, 7 * size), np.uint8).view(
            jnp.dtype(dtype)
        )  # NaNs and infinities among them
    found = np.asarray(compiled(turned, moves=True)(values))
    assert found.dtype == values.dtype
    assert found.tobytes() == np.ascontiguousarray(np.flip(values.transpose(2, 0, 1), 1)).tobytes()


def test_64_bits_come_through() -> None:
    with jax.enable_x64(True):
        for dtype in (np.int64, np.float64):
            values = RNG.integers(0, 256, (3, 5, 56), np.uint8).view(dtype)
            assert (
                np.asarray(compiled(turned, moves=True)(values)).tobytes()
                == np.asarray(jax.jit(turned)(values)).tobytes()
            )


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what XLA counts for its CPU threads")
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_xla_counts_more_steps_than_bytes(dtype: Any) -> None:
    """Else it gives them a few threads only; should it learn to drop them, this says so."""
    values = jnp.zeros((64, 48, 32), dtype)

    def counted(kernel: Any) -> tuple[float, float]:
        found: Any = jax.jit(kernel).lower(values).compile().cost_analysis()
        return found.get("flops", 0), found["bytes accessed"]

    steps, size = counted(turned)
    assert steps < size
    steps, size = counted(lambda v: _counted(turned(v)))
    assert steps > size


def test_within_a_transformation_the_kernel_is_as_written() -> None:
    kernel, values = compiled(turned, moves=True), jnp.asarray(RNG.normal(size=(3, 4, 5)).astype(np.float32))
    assert "xor" not in str(jax.make_jaxpr(kernel)(values))
    np.testing.assert_array_equal(jax.grad(lambda v: (kernel(v) ** 2).sum())(values), 2 * values)
    np.testing.assert_array_equal(jax.vmap(kernel)(values[None])[0], kernel(values))


def test_gradients_by_what_else_is_traced() -> None:
    """The voxels are known, the fill or the angle is not: that is a transformation too."""
    image = mj.Image.from_array(RNG.normal(size=(6, 5, 4)).astype(np.float32))
    slope = jax.grad(lambda f: mj.pad(image, 1, 1, fill=f).voxels.sum())(2.0)
    assert float(slope) == 8 * 7 * 6 - 6 * 5 * 4
    slope = jax.grad(lambda f: mj.rotate(image, "k", 45.0, fill=f, interpolation="nearest").voxels.sum())(2.0)
    turned = mj.rotate(image.with_voxels(np.zeros((6, 5, 4), np.float32)), "k", 45.0, fill=1.0, interpolation="nearest")
    assert float(slope) == float(turned.voxels.sum()) > 0
