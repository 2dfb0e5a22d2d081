"""The median over cubes whose size is traced: a loop over the voxels of a cube, where `median_filter` unrolls them."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._intensity._blur import ordered

__all__ = ["median_of_cubes"]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def median_of_cubes(voxels: Any, size: Any, most: int) -> Any:
    """Replaces each voxel by the median of the cube around it, as `median_filter` does.

    Plane by plane, so that the voxels of a cube stay in the processor's cache; each by halving (see `_blur`).

    Args:
        voxels: `(i, j, k)`.
        size: Voxels along each axis of the cube, int32, at least 1.
        most: The largest size; static.
    """
    keys, back = ordered(voxels)
    bits, one = 8 * keys.dtype.itemsize, np.ones((), keys.dtype)
    padded, (_, *plane) = _padded(keys, most), voxels.shape
    count, rank = size**3, size**3 // 2

    def of_plane(number: Any) -> Any:
        slab = jax.lax.dynamic_slice_in_dim(padded, number, most)

        def halved(step: Any, found: Any) -> Any:
            trial = found | (one << (np.asarray(bits - 1, keys.dtype) - jnp.asarray(step).astype(keys.dtype)))

            def counted(tap: Any, below: Any) -> Any:
                box = jax.lax.dynamic_slice(slab, _corner(tap, size, most), (1, *plane))[0]
                return below + (box < trial).astype(jnp.int32)

            below = jax.lax.fori_loop(0, count, counted, jnp.zeros(plane, jnp.int32))
            return jnp.where(below <= rank, trial, found)

        return jax.lax.fori_loop(0, bits, halved, jnp.zeros(plane, keys.dtype))

    return back(jax.lax.map(of_plane, jnp.arange(voxels.shape[0])))


@median_of_cubes.defjvp
def _tangent(most: int, primals: Any, tangents: Any) -> Any:
    """The tangent of the voxel that was picked; equal voxels share it."""
    (voxels, size), (tangent, _) = primals, tangents
    found = median_of_cubes(voxels, size, most)
    padded, moving = _padded(voxels, most), _padded(tangent, most)

    def picked(tap: Any, total: Any) -> Any:
        corner = _corner(tap, size, most)
        is_it = (jax.lax.dynamic_slice(padded, corner, voxels.shape) == found) & (tap < size**3)
        part = jax.lax.dynamic_slice(moving, corner, voxels.shape)
        return total[0] + is_it.astype(tangent.dtype), total[1] + jnp.where(is_it, part, 0)

    start = jnp.zeros_like(tangent), jnp.zeros_like(tangent)
    number, moved = jax.lax.fori_loop(0, most**3, picked, start)
    return found, moved / jnp.maximum(number, 1)


def _padded(volume: Any, most: int) -> Any:
    return jnp.pad(volume, [(most // 2, (most - 1) // 2)] * 3, mode="symmetric")


def _corner(tap: Any, size: Any, most: int) -> tuple[Any, Any, Any]:
    """Where the volume lies in the padded one, shifted to a voxel of the cube."""
    first = most // 2 - size // 2
    return first + tap // (size * size), first + tap // size % size, first + tap % size
