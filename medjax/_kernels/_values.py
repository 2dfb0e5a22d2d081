"""Voxels in the dtypes that kernels compute with, and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from medjax._geometry._numbers import read_only
from medjax._kernels._compiled import compiled, unchanging

__all__ = ["as_dtype", "as_float", "exactly", "filled", "rounded", "without_wrapping"]


def as_float(voxels: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns float64 as it is and anything else as float32."""
    return voxels if voxels.dtype == jnp.float64 else voxels.astype(jnp.float32)


@jax.custom_jvp
def exactly(is_neutral: Any, neutral: Any, value: Any) -> Any:
    """Returns `value`, and the bits of `neutral` where a parameter does nothing; the derivative is everywhere that of
    `value`.

    Example:
        >>> round(float(jax.grad(lambda power: exactly(power == 1, 3.0, 3.0**power))(1.0)), 4)  # 3 log 3
        3.2958
    """
    return jnp.where(is_neutral, neutral, value)


@exactly.defjvp
def _tangent_of_the_value(primals: Any, tangents: Any) -> Any:
    return exactly(*primals), tangents[2]


def without_wrapping(voxels: Any) -> Any:
    """Returns values that jit does not wrap and may read late: 64-bit integers become float32 unless x64 is on."""
    if not isinstance(voxels, np.ndarray):
        return voxels
    if voxels.dtype.kind in "iu" and voxels.dtype.itemsize == 8 and not jax.config.read("jax_enable_x64"):
        return read_only(voxels.astype(np.float32))
    return unchanging(voxels)


def filled(out: Any, mask: Any, fill: Any) -> Any:
    """Puts a fill value, `(*channels)`, where a mask, broadcastable to `(i, j, k)`, is false."""
    value = fill.reshape((1,) * (out.ndim - fill.ndim) + fill.shape).astype(out.dtype)
    return jnp.where(mask.reshape(mask.shape + (1,) * (out.ndim - mask.ndim)), out, value)


def rounded(voxels: Any, dtype: Any) -> Any:
    """Brings real voxels to the nearest value of another dtype, within its limits; `None` changes nothing.

    Integers are rounded half to even, and NaN becomes 0. Floating point keeps NaN and infinities, where it has them.
    """
    if dtype is None:
        return voxels
    if voxels.dtype == bool:
        return voxels.astype(dtype)
    if not jnp.issubdtype(dtype, np.integer):
        return _within(voxels, jnp.finfo(dtype)).astype(dtype)
    xp, limits = voxels.__array_namespace__(), np.iinfo(dtype)
    if not jnp.issubdtype(voxels.dtype, np.floating):
        own = np.iinfo(voxels.dtype)
        low, high = (voxels.dtype.type(n) for n in (max(own.min, limits.min), min(own.max, limits.max)))
        return xp.clip(voxels, low, high).astype(dtype)
    voxels = voxels if voxels.dtype.itemsize >= 4 else voxels.astype(np.float32)
    # The limits are compared as powers of two, because no float32 is 2^31 - 1.
    above, least = voxels.dtype.type(2.0 ** (limits.bits - (limits.min < 0))), voxels.dtype.type(limits.min)
    whole = xp.round(voxels)
    within = xp.where((whole >= least) & (whole < above), whole, 0).astype(dtype)
    return xp.where(whole >= above, dtype.type(limits.max), xp.where(whole < least, dtype.type(limits.min), within))


def _within(voxels: Any, limits: Any) -> Any:
    """Limits finite numbers to the range of a floating-point dtype. Beyond it they would become infinite."""
    is_integer = jnp.issubdtype(voxels.dtype, np.integer)
    own = np.iinfo(voxels.dtype) if is_integer else jnp.finfo(voxels.dtype)
    if float(own.max) <= float(limits.max):
        return voxels
    xp, largest = voxels.__array_namespace__(), float(limits.max)
    if is_integer:
        return xp.clip(voxels, *(voxels.dtype.type(n) for n in (max(own.min, -int(largest)), int(largest))))
    largest = voxels.dtype.type(largest)
    is_beyond = (xp.abs(voxels) > largest) & xp.isfinite(voxels)
    return xp.where(is_beyond, xp.copysign(largest, voxels), voxels)


def as_dtype(voxels: Any, dtype: Any) -> Any:
    """Does the same as `rounded` at once: on the host for NumPy voxels, on the device for others."""
    return rounded(voxels, dtype) if isinstance(voxels, np.ndarray) else _rounded(voxels, dtype)


_rounded = compiled(rounded, static_argnums=1)
