"""A plan applied by kernels compiled for the shapes at hand: voxels, tables and a fill value in, voxels out."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from medjax._image._dtypes import device_voxels
from medjax._image._fill import background, fill_of
from medjax._kernels._bands import along_axis
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import compiled
from medjax._kernels._gather import Locations, sample
from medjax._kernels._later import Later
from medjax._kernels._points import eased, inside
from medjax._kernels._prefilter import prefiltered
from medjax._kernels._traced import sample_later
from medjax._kernels._values import filled, rounded
from medjax._space._plan import Bands, Points, Shift

__all__ = ["apply"]


def apply(plan: Bands | Points, voxels: Any, fill: Any, *, is_label: bool, stored: Any = None) -> Any:
    """Applies a plan.

    Args:
        plan: For the same batch as the voxels.
        voxels: `(*batch, i, j, k, *channels)`, real.
        fill: As the operations take it.
        is_label: Whether the voxels are labels, which keep their dtype and are never mixed.
        stored: dtype to bring the result to, as `rounded` does it; default as it was computed.

    Returns:
        The output's voxels.
    """
    value = fill_of(fill, voxels, plan.depth, is_label=is_label)
    narrow, restore = device_voxels(voxels, is_label=is_label)
    kernel = _moving if plan.is_quick else _computing
    plan = plan.in_plane() if isinstance(plan, Points) else plan
    return restore(kernel(narrow, plan, value, is_label=is_label, stored=stored))


def _interpolated(voxels: Any, plan: Bands | Points, fill: Any, *, is_label: bool, stored: Any) -> Any:
    def one(volume: Any, plan: Bands | Points, fill: Any) -> Any:
        value = background(volume) if fill is None else fill
        out = (
            _through_bands(volume, plan, value, is_label)
            if isinstance(plan, Bands)
            else _at_points(volume, plan, value, is_label)
        )
        return rounded(out, stored)

    axes: Any = 0
    if isinstance(plan, Points) and plan.shift is not None:
        axes = dataclasses.replace(jax.tree.map(lambda _: 0, plan), shift=Shift(_shared(plan), 0))
    return over_batch(one, plan.depth, (0, axes, 0))(voxels, plan, fill)


def _shared(plan: Points) -> int | None:
    """The batch axis of the displacement; `None` where all items share it."""
    return 0 if plan.shift is not None and plan.shift.displacement.ndim == plan.depth + 4 else None


_computing = compiled(_interpolated, static_argnames=("is_label", "stored"))
_moving = compiled(_interpolated, moves=True, static_argnames=("is_label", "stored"))


def _through_bands(volume: Any, plan: Bands, fill: Any, is_label: bool) -> Any:
    growth = [plan.masks[e].shape[0] / plan.sizes[axis] for e, axis in enumerate(plan.axes)]
    out = volume
    for e in sorted(range(3), key=lambda e: (growth[e], e)):  # shrink first: fewer voxels for the axes to come
        out = along_axis(out, plan.operators[e], plan.axes[e], plan.dtype)
    if not is_label:
        out = out.astype(plan.dtype)
    out = out.transpose((*plan.axes, *range(3, out.ndim)))
    first, second, third = plan.masks
    return filled(out, first[:, None, None] & second[None, :, None] & third[None, None, :], fill)


def _at_points(volume: Any, plan: Points, fill: Any, is_label: bool) -> Any:
    dtype = plan.tables[0][1].dtype
    if not is_label and jnp.issubdtype(volume.dtype, jnp.inexact):
        volume = volume.astype(dtype)  # integers are converted as they are gathered
    orders = plan.orders
    options: Any = {
        "orders": orders,
        "boundary": "fold" if max(orders) > 1 else "clamp",
        "dtype": None if is_label else dtype,
    }
    if plan.kernels:
        later = Later(plan.tables, plan.matrix, plan.offset, plan.slack, plan.kernels)
        return sample_later(volume, later, fill, **options)
    higher = eased(plan.tables, plan.slack)
    # The nearest voxel does not depend on a small move.
    tables = jax.lax.stop_gradient(higher) if max(orders) == 0 else plan.tables
    volume = prefiltered(volume, orders, dtype)
    moved = None if plan.shift is None else _in_voxels(plan.shift, dtype)
    out = sample(volume, Locations(tables, moved, plan.inverse), **options)
    return filled(out, inside(higher, moved, plan.sizes, orders), fill)


def _in_voxels(shift: Shift, dtype: Any) -> Any:
    """Turns a displacement `(i, j, k, 3)` in mm into one `(3, i, j, k)` in input voxels."""
    matrix, by = shift.to_voxels.astype(dtype), shift.displacement.astype(dtype)
    moved = jnp.stack(
        [sum((matrix[d, e] * by[..., e] for e in range(1, 3)), matrix[d, 0] * by[..., 0]) for d in range(3)]
    )
    return jnp.where(jnp.isfinite(moved), moved, 1e9)  # far outside: no integer stands for "nowhere"
