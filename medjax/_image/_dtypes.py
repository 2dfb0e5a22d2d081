"""The dtypes that voxels are computed in, and conversions to them without loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._numbers import is_traced, read_only
from medjax._kernels._compiled import unchanging

__all__ = ["compute_dtype", "device_voxels", "narrowed", "result_dtype"]


def compute_dtype(dtype: Any) -> np.dtype:
    """Returns the real dtype for interpolating voxels: float64 for 64-bit floats while x64 is on, else float32.

    Example:
        >>> compute_dtype(np.int16)
        dtype('float32')
    """
    is_wide = np.dtype(dtype) in (np.float64, np.complex128) if dtype != jnp.bfloat16 else False
    return np.dtype(np.float64 if jax.dtypes.canonicalize_dtype(np.float64) == np.float64 and is_wide else np.float32)


def result_dtype(dtype: Any, *, is_label: bool) -> np.dtype:
    """Returns the dtype of voxels after interpolation."""
    if is_label:
        return dtype
    real = compute_dtype(dtype)
    return np.result_type(real, np.complex64) if jnp.issubdtype(dtype, jnp.complexfloating) else real


def device_voxels(voxels: Any, *, is_label: bool) -> tuple[Any, Callable[[Any], Any]]:
    """Returns voxels in a form that jit takes, and the function that gives a result its dtype."""
    narrow, restore = narrowed(voxels, is_label=is_label)
    return unchanging(narrow), restore


def narrowed(voxels: Any, *, is_label: bool) -> tuple[Any, Callable[[Any], Any]]:
    """Returns voxels in a dtype that a device has, and the function that gives a result its dtype.

    Without x64 a device has no 64-bit integers and would wrap them silently. So labels are checked and narrowed, and
    the result is widened again on the host.

    Raises:
        ValueError: some labels fit no integer of the device.
    """
    if isinstance(voxels, jax.Array):
        return voxels, lambda out: out
    voxels = np.asarray(voxels, voxels.dtype.newbyteorder("="))
    narrow, wide = jax.dtypes.canonicalize_dtype(voxels.dtype), voxels.dtype
    if narrow == wide:
        return voxels, lambda out: out
    if not is_label:
        return read_only(voxels.astype(narrow if wide.kind in "fc" else np.float32)), lambda out: out
    limits = np.iinfo(narrow)
    if voxels.min() < limits.min or voxels.max() > limits.max:
        raise ValueError(
            f"labels from {voxels.min()} to {voxels.max()} ({wide}) do not fit {np.dtype(narrow)}, the widest integer "
            "without x64: renumber them, or jax.config.update('jax_enable_x64', True)"
        )

    def restore(out: Any) -> Any:
        return out if is_traced(out) else np.asarray(out).astype(wide)

    return read_only(voxels.astype(narrow)), restore
