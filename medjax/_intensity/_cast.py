"""Conversion to other dtypes: values are rounded and limited, and never wrap around."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import DTypeLike
from medjax._image._image import Image, check_image
from medjax._space import _pending

__all__ = ["cast"]


def cast(image: Image, dtype: DTypeLike) -> Image:
    """Converts voxels to the nearest value of another dtype, and never wraps around its limits.

    An integer dtype rounds half to even. A value beyond its limits becomes the limit, as in ITK's resampling, and NaN
    becomes
    0. A floating-point dtype rounds as usual. Finite voxels beyond its limits become the limit too (65504 for float16),
       and
    NaN and infinities stay. Inside `fuse` the cast joins an interpolation that waits: a CT that was stored as int16
    comes out as int16, and the float32 volume never exists.

    Args:
        image: Any batch and channels. Labels are names and each must be kept, so a dtype that cannot hold all is
            refused.
        dtype: A real dtype, such as "int16", `np.float32` or `jnp.bfloat16`.

    Returns:
        The image with voxels of that dtype; geometry, kind and metadata kept.

    Raises:
        ValueError: labels might not fit, or the dtype for them is floating-point; the voxels are complex; the dtype is
            boolean or complex, or has 64 bits while x64 is off.

    Transforms:
        A cast to floating point is differentiable in the voxels. A cast to integers has gradient 0, as rounding has.
        Compiles once per shape and dtypes.

    Example:
        >>> image = mj.Image.from_array(np.array([-0.5, 1.5, 1e6, np.nan]).reshape(4, 1, 1))
        >>> mj.cast(image, "int16").voxels.ravel().tolist()
        [0, 2, 32767, 0]
    """
    check_image(image, "image")
    target = _known(dtype)
    if jnp.issubdtype(image.dtype, jnp.complexfloating):
        raise ValueError(f"cast takes real voxels, got {image.dtype}; take the magnitude or the real part first")
    if image.kind == "label":
        _check_labels(image, target)
    return _pending.cast(image, target)


def _known(dtype: Any) -> np.dtype:
    try:
        target = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        raise ValueError(f"dtype must name a NumPy dtype, such as 'int16', got {dtype!r}") from None
    if not (np.issubdtype(target, np.integer) or jnp.issubdtype(target, np.floating)):
        hint = "voxels are real numbers"
        if target.kind == "b":
            hint = "compare the voxels, such as image.with_voxels(image.voxels > 0.5)"
        elif jnp.issubdtype(target, np.integer):
            hint = "the narrowest integer is int8"
        raise ValueError(f"dtype must be an integer or a floating-point one, got {target}; {hint}")
    if jax.dtypes.canonicalize_dtype(target) != target:
        raise ValueError(
            f"dtype={target} needs 64 bits: jax.config.update('jax_enable_x64', True), or take "
            f"{jax.dtypes.canonicalize_dtype(target)}"
        )
    return target


def _check_labels(image: Image, target: np.dtype) -> None:
    if not jnp.issubdtype(target, np.integer):
        raise ValueError(f"labels are integers, got dtype={target}; if they are amounts, image.with_kind('intensity')")
    if np.can_cast(image.dtype, target):
        return
    if is_traced(image.voxels):
        raise ValueError(f"inside jit it is unknown whether labels of {image.dtype} fit {target}: cast them outside")
    stored, limits = np.asarray(image.voxels), np.iinfo(target)
    low, high = stored.min(), stored.max()
    if low < limits.min or high > limits.max:
        raise ValueError(f"labels from {low} to {high} do not fit {target}: choose a wider dtype or renumber them")
