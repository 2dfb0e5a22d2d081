"""The value that an operation puts outside the image."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._image._dtypes import compute_dtype
from medjax._image._per_item import Shape, aligned, check_real
from medjax._kernels._batch import broadcast

__all__ = ["background", "fill_of", "host_background", "label_limits"]


def background(voxels: jax.Array, spatial: int = 3) -> jax.Array:
    """Returns the default fill of an image `(i, j, k, *channels)`: the median of its corner voxels, per channel.

    Real and imaginary parts each have their own median. The gradient is stopped. Source: MedImages.jl has the same
    rule.
    """
    if jnp.issubdtype(voxels.dtype, jnp.complexfloating):
        return jax.lax.complex(background(voxels.real, spatial), background(voxels.imag, spatial))
    ends = [jnp.asarray([0, n - 1]) for n in voxels.shape[:spatial]]
    corners = voxels[jnp.ix_(*ends)].reshape((2**spatial, *voxels.shape[spatial:]))
    is_wide = jnp.issubdtype(corners.dtype, jnp.inexact) and corners.dtype.itemsize >= 4  # two float16 may sum to inf
    corners = corners if is_wide else corners.astype(jnp.float32)
    ordered = jnp.sort(jax.lax.stop_gradient(corners), axis=0)
    return (ordered[2**spatial // 2 - 1] + ordered[2**spatial // 2]) / 2


def host_background(voxels: np.ndarray, depth: int = 0) -> np.ndarray:
    """Returns the default fill of NumPy voxels `(*batch, i, j, k, *channels)` with `depth` batch axes, on the host."""
    if np.iscomplexobj(voxels):
        return np.asarray(host_background(voxels.real, depth) + 1j * host_background(voxels.imag, depth))
    lead, spatial = voxels.shape[:depth], voxels.shape[depth : depth + 3]
    corners = voxels[(slice(None),) * depth + np.ix_(*([0, n - 1] for n in spatial))]
    corners = corners.astype(np.promote_types(voxels.dtype, np.float32))
    ordered = np.sort(corners.reshape(*lead, 8, *voxels.shape[depth + 3 :]), axis=depth)
    return np.asarray((ordered.take(3, axis=depth) + ordered.take(4, axis=depth)) / 2)


def fill_of(fill: Any, voxels: Any, depth: int, *, is_label: bool) -> Any:
    """Brings a fill value to `(*batch, *channels)` and to the dtype of the result; `None` stays `None` for intensities.

    Args:
        fill: A number, or an array that broadcasts to `(*batch, *channels)`; `None` for the default, 0 for labels.
        voxels: `(*batch, i, j, k, *channels)`, with `depth` batch axes.
        depth: Number of batch axes.
        is_label: Whether the voxels are labels, whose dtype the value must fit.

    Raises:
        ValueError: the value does not broadcast, is complex, or is no label of that dtype.
    """
    if fill is None and not is_label:
        return None
    batch, channels = tuple(voxels.shape[:depth]), tuple(voxels.shape[depth + 3 :])
    value = aligned(0 if fill is None else fill, batch, channels, "fill")
    check_real(value, "fill", fill)
    dtype: Any = compute_dtype(voxels.dtype)
    if is_label:
        dtype = jax.dtypes.canonicalize_dtype(voxels.dtype)
        low, high = label_limits(dtype)
        known = value if isinstance(value, np.ndarray) else np.zeros(())
        if not ((known == np.round(known)) & (known >= low) & (known <= high)).all():
            raise ValueError(f"fill={fill!r} is no label of dtype {voxels.dtype}: give an integer from {low} to {high}")
    wanted: Shape = (*batch, *channels)
    return broadcast(value, wanted).astype(dtype)


def label_limits(dtype: Any) -> tuple[int, int]:
    """Returns the smallest and the largest label of a dtype."""
    if np.issubdtype(dtype, np.bool_):
        return 0, 1
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
