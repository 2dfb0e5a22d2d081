"""Sampling a volume at points: one kernel for any rank, order, boundary and derivative, and its exact adjoint.

The kernel is one fused loop over the output: it holds no temporary array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._adjoint import Inverse, collect, scatter
from medjax._kernels._points import (
    Sampling,
    Span,
    Table,
    coordinates,
    displacement,
    groups,
    hidden_zero,
    in_turns,
    joined,
    joined_shape,
    out_shape,
    spread,
    taps_of_axes,
    zeros_for,
)
from medjax._kernels._taps import Boundary, tap_sum
from medjax._kernels._transposable import Rules, linear_pair

__all__ = ["Locations", "gathered", "sample"]

_TOGETHER = 16
"""The most taps that are compiled side by side. A loop visits more than these in turns."""


class Locations(NamedTuple):
    """The points at which a volume is sampled.

    Attributes:
        tables: For each output axis `(base, fraction)`, int32 and floating point, `(n, rank)`; none when the shift
            alone gives the points.
        shift: `(rank, *out)` to add, or `None`.
        inverse: The inverse map, which makes the adjoint fast, where it is known; used with orders 0 and 1 and the
            boundary "clamp" only.
    """

    tables: tuple[Table, ...]
    shift: Any = None
    inverse: Inverse | None = None


def sample(
    volume: Any, locations: Locations, *, orders: Sequence[int], boundary: Boundary = "clamp", dtype: Any = None
) -> jax.Array:
    """Samples a volume at points.

    The caller replaces the values of points that lie outside the field of view (see `inside`). Differentiable, to any
    order, in the volume, the fractions and the shift.

    Args:
        volume: `(*spatial, *channels)`, of any dtype; spline coefficients along axes of order above 1.
        locations: The points.
        orders: B-spline order of each spatial axis, 0 (nearest) to 5.
        boundary: Index rule beyond the edges.
        dtype: dtype to compute in; `None` keeps the volume's, for order 0.

    Returns:
        `(*out, *channels)`.
    """
    if math.prod(volume.shape) > np.iinfo(np.int32).max:
        raise ValueError(
            f"a volume of shape {volume.shape} has more than 2**31 - 1 values; crop it or split its channels"
        )
    if max(orders) > 1:
        locations = locations._replace(inverse=None)
    sampling = Sampling.of(volume.shape, orders, boundary, dtype)
    return _sample(jnp.asarray(volume), jax.tree.map(jnp.asarray, locations), sampling=sampling)


def gathered(volume: Any, tables: Sequence[Table], shift: Any, sampling: Sampling) -> Any:
    """The kernel without its derivatives: gathers the taps of each point and adds them up."""
    channels, flat = sampling.channels, joined(volume, sampling.channels)
    which = sum(n * 6**d for d, n in enumerate(sampling.derivative))  # each derivative and group is a variant
    may_be_nan = jnp.issubdtype(volume.dtype, jnp.inexact)

    def gather(axes: list[list[tuple[Any, Any]]], axis: int, offset: Any) -> Any:
        if axis == sampling.rank:
            # All indices are clamped or folded, so no tap is out of bounds.
            values = flat.at[offset].get(mode="promise_in_bounds")
            return values if sampling.dtype is None else values.astype(sampling.dtype)
        inner = [gather(axes, axis + 1, offset * sampling.shape[axis] + index) for index, _ in axes[axis]]
        weights = [None if weight is None else spread(weight, channels) for _, weight in axes[axis]]
        if may_be_nan and sampling.boundary[axis] == "zero":
            inner = [jnp.where(weight == 0, 0, value) for weight, value in zip(weights, inner, strict=True)]
            return tap_sum(weights, inner)
        total = tap_sum(weights, inner)
        is_linear = sampling.orders[axis] == 1 and len(inner) == 2 and not sampling.derivative[axis]
        return jnp.where(weights[1] == 0, inner[0], total) if may_be_nan and is_linear else total

    def add(spans: Sequence[Span] | None, turn: Any, total: Any) -> Any:
        chosen = groups(sampling.orders) if turn is None else [(slice(None),) * sampling.rank]
        for number, group in enumerate(chosen):
            variant = which * len(chosen) + number
            zero = hidden_zero(tables, variant) if turn is None else jnp.minimum(turn + np.int32(variant), 0)
            axes = taps_of_axes(coordinates(tables, shift, sampling.rank, zero), sampling, spans)
            part = gather([taps[few] for taps, few in zip(axes, group, strict=True)], 0, 0)
            total = part if total is None else total + part
        return total

    counts = [order + 1 for order in sampling.orders]
    shape = out_shape(tables, shift)
    if math.prod(counts) <= _TOGETHER:
        out = add(None, None, None)
    else:
        operands = volume, *jax.tree.leaves((tables, shift))
        empty = zeros_for(operands, joined_shape(shape, channels), sampling.dtype or volume.dtype)
        out = in_turns(counts, add, empty)
    return out.reshape(shape + channels)


def _forward(volume: Any, data: Locations, *, sampling: Sampling) -> Any:
    return gathered(volume, data.tables, data.shift, sampling)


def _blank(volume: Any, data: Locations, *, sampling: Sampling) -> Any:
    return jnp.zeros(out_shape(data.tables, data.shift) + sampling.channels, sampling.dtype or volume.dtype)


def _tangent(volume: Any, data: Locations, moved: Locations, *, sampling: Sampling) -> Any:
    total = _blank(volume, data, sampling=sampling)
    for axis in range(sampling.rank):
        by = displacement(moved.tables, moved.shift, axis)
        if by is not None and sampling.moves(axis):
            slope = _sample(volume, data._replace(inverse=None), sampling=sampling.along(axis))
            total = total + slope * _over_channels(by, slope)
    return total


def _adjoint(out: Any, data: Locations, *, sampling: Sampling) -> Any:
    if data.inverse is not None and not any(sampling.derivative):
        return collect(out, data.inverse, sampling)
    return scatter(out, data.tables, data.shift, sampling)


def _adjoint_blank(out: Any, data: Locations, *, sampling: Sampling) -> Any:
    return jnp.zeros(sampling.shape, out.dtype)


def _adjoint_tangent(out: Any, data: Locations, moved: Locations, *, sampling: Sampling) -> Any:
    total = _adjoint_blank(out, data, sampling=sampling)
    for axis in range(sampling.rank):
        by = displacement(moved.tables, moved.shift, axis)
        if by is not None and sampling.moves(axis):
            weighted = out * _over_channels(by, out)
            total = total + _sample_adjoint(weighted, data._replace(inverse=None), sampling=sampling.along(axis))
    return total


def _over_channels(values: Any, like: Any) -> Any:
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


_sample, _sample_adjoint = linear_pair(
    "sample", Rules(_forward, _tangent, _blank), Rules(_adjoint, _adjoint_tangent, _adjoint_blank)
)
