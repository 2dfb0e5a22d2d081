"""Voxels in the forms that kernels compute with."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from medjax._geometry._grid import read_only
from medjax._kernels._compiled import unchanging

__all__ = ["as_float", "without_wrapping"]


def as_float(voxels: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns float64 as it is and anything else as float32."""
    return voxels if voxels.dtype == jnp.float64 else voxels.astype(jnp.float32)


def without_wrapping(voxels: Any) -> Any:
    """Returns amounts as jit takes them without loss: unchanging, and no 64-bit integers without x64."""
    if not isinstance(voxels, np.ndarray):
        return voxels
    if voxels.dtype.kind in "iu" and voxels.dtype.itemsize == 8 and not jax.config.read("jax_enable_x64"):
        return read_only(voxels.astype(np.float32))
    return unchanging(voxels)
