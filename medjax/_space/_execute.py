"""The choice of the executor of a plan: compiled for the shapes at hand, or for their bucket."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._image._per_item import as_array
from medjax._kernels._compiled import eagerly
from medjax._kernels._values import as_dtype
from medjax._space._bucketed import bucketed
from medjax._space._buckets import is_bucketing, on_device
from medjax._space._jitted import apply
from medjax._space._plan import Bands, Points

__all__ = ["execute"]


def execute(plan: Bands | Points, voxels: Any, fill: Any, *, is_label: bool, stored: Any = None) -> Any:
    """Applies a plan to real or complex voxels. The other arguments are those of `_jitted.apply`.

    The real and the imaginary part of complex voxels are interpolated apart, each with its own background.
    """
    if jnp.issubdtype(voxels.dtype, jnp.complexfloating):
        both = None if fill is None else as_array(fill, "fill")
        xp: Any = np if isinstance(voxels, np.ndarray) else jnp
        real, imaginary = (
            execute(plan, getattr(xp, part)(voxels), None if both is None else getattr(both, part), is_label=is_label)
            for part in ("real", "imag")
        )
        return jax.lax.complex(real, imaginary)
    if plan.is_known and is_bucketing(voxels, fill, plan.depth):
        with eagerly():
            return on_device(as_dtype(bucketed(plan, voxels, fill, is_label=is_label), stored))
    return apply(plan, voxels, fill, is_label=is_label, stored=stored)
