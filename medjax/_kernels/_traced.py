"""Sampling at an affine lattice that is known only when the program runs. The program chooses its kernel then.

A map along the axes is applied one axis after the other, a map that keeps an axis line by line, any other map point by
point. The plan decides this on the host. Where the geometry is traced (an image is an argument of the caller's `jit`)
the program decides it by the same rules. All items of a batch take one kernel. The chosen kernel also applies the
spline filter and the fill value: the filter only where it is needed, the fill value in the pass that writes the output.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._adjoint import Candidates, scatter
from medjax._kernels._aligned import aligned, aligned_adjoint, most_shares
from medjax._kernels._gather import gathered
from medjax._kernels._later import (
    Data,
    Later,
    inside_field,
    inside_plane,
    looped,
    lowered,
    of_plane,
    plane,
    tables_to_sample,
)
from medjax._kernels._points import Sampling, column, displacement, joined_shape, out_shape, zeros_for
from medjax._kernels._prefilter import prefiltered
from medjax._kernels._taps import Boundary
from medjax._kernels._transposable import Rules, linear_pair
from medjax._kernels._values import filled

__all__ = ["Later", "sample_later"]

Kernel = Callable[..., Any]

_MARGIN = 2e-3
"""How many outputs further than it must a voxel looks, so that rounding hides none from it."""

_COLLECTED = 600
"""The most candidates of one voxel. With more the map is nearly singular, and gradients are scattered."""


def sample_later(
    volume: Any, later: Later, fill: Any, *, orders: Sequence[int], boundary: Boundary, dtype: Any
) -> jax.Array:
    """Samples a volume as `_gather.sample` does, with the fastest kernel that suits the numbers of the map.

    Differentiable, to any order, in the volume, the fractions of the tables and the fill value.

    Args:
        volume: `(i, j, k, *channels)`, samples, not coefficients, for splines too.
        later: The map.
        fill: Value outside the field of view, `(*channels)`.
        orders: B-spline order of each axis.
        boundary: Index rule beyond the edges.
        dtype: dtype to compute in; `None` keeps the volume's, for order 0.
    """
    sampling = Sampling.of(volume.shape, orders, boundary, dtype)
    real = later.tables[0][1].dtype
    leads = {name: jax.lax.stop_gradient(getattr(later, name)).astype(real) for name in ("matrix", "offset", "slack")}
    doubt = leads["slack"] if later.matrix.dtype == np.float32 else jnp.full(3, 1e-9, real)  # float64 is that exact
    volume = jnp.asarray(volume)
    fill = jnp.broadcast_to(fill, sampling.channels).astype(sampling.dtype or volume.dtype)
    return _sample(
        volume, Data(dataclasses.replace(later, **leads), fill, doubt), sampling=sampling, kernels=later.kernels
    )


def _usable(sampling: Sampling, kernels: tuple[str, ...]) -> list[str]:
    """The kernels that can compute the sampling's derivative. Those that keep an axis have none along it."""
    return [name for name in kernels if not (name[:4] == "kept" and sampling.derivative[int(name[-1])])]


def _survey(volume: Any, data: Data, *, sampling: Sampling, kernels: tuple[str, ...]) -> dict[str, Any]:
    """Finds what an item's map allows. The results are integers; the largest over a batch holds for all its items.

    Returns:
        `unfit`: for each kernel 1 if it does not suit; `line`, `plane`, `space`: how many outputs along each axis can
        reach a voxel, for an aligned map, for one that keeps the last axis, and for any; `shares`: see `most_shares`.
    """
    matrix, offset, slack = data.map.matrix, data.map.offset, data.map.slack
    reach = [n - 1 for n in out_shape(data.map.tables, None)]
    away = jnp.abs(matrix - jnp.eye(3, dtype=matrix.dtype))
    still = jnp.stack([away[:, e] * reach[e] for e in range(3)], axis=1) <= 2 * slack[:, None]
    fits = []
    for name in _usable(sampling, kernels):
        if name == "general":
            fits.append(jnp.asarray(True))
        elif name == "aligned":
            fits.append((still | np.eye(3, dtype=bool)).all())
        else:
            axis = int(name[-1])
            own = still[axis].all() & (jnp.abs(offset[axis]) <= 2 * slack[axis])
            fits.append(own & still[:, axis].all() if axis == 2 else own)
    support = np.array([0.5 if order == 0 else 1.0 for order in sampling.orders], matrix.dtype)
    # A spline's taps beyond the edge are mirrored, up to one voxel further than they reach.
    lines = np.array([n if n <= 2 else n + 2.0 for n in (order + 1.0 for order in sampling.orders)], matrix.dtype) / 2
    line = _number(lines / jnp.abs(jnp.diagonal(matrix)))
    return {
        "unfit": (~jnp.stack(fits)).astype(jnp.int32),
        "line": line,
        "shares": most_shares(data, sampling, line),
        "plane": _number((jnp.abs(_inverse(matrix[:2, :2])) * support[None, :2]).sum(1)),
        "space": _number((jnp.abs(_inverse(matrix)) * support[None, :]).sum(1)),
    }


def _number(half: Any) -> Any:
    """How many integers an interval of this half-width holds, when its ends do not count."""
    return jnp.ceil(jnp.minimum(jnp.where(jnp.isnan(half), np.inf, 2 * half + _MARGIN), 1e9)).astype(jnp.int32)


def _bound(makers: dict[str, Kernel], *, sampling: Sampling, kernels: tuple[str, ...]) -> Sequence[Kernel]:
    """The kernels, bound to their static arguments."""
    bound: list[Kernel] = []
    for name in _usable(sampling, kernels):
        axis = {"axis": int(name[-1])} if name[:4] == "kept" else {}
        bound.append(functools.partial(makers[name.split()[0]], sampling=sampling, **axis))
    return bound


# The kernels, from `(volume, data)` to the output. `facts` is the result of `_survey`.


def _general(volume: Any, data: Data, *, sampling: Sampling, facts: Any) -> Any:
    out = gathered(
        prefiltered(volume, sampling.orders, sampling.dtype), tables_to_sample(data.map, sampling), None, sampling
    )
    return filled(out, inside_field(data.map, sampling), data.fill)


def _kept(volume: Any, data: Data, *, sampling: Sampling, facts: Any, axis: int) -> Any:
    lower = lowered(sampling, axis)
    volume = prefiltered(volume, lower.orders, sampling.dtype)
    if axis != 2:
        out = gathered(volume, tables_to_sample(data.map, sampling), None, lower)
        return filled(out, inside_field(data.map, sampling), data.fill)
    flat = plane(sampling, volume.shape)
    out = gathered(volume, of_plane(tables_to_sample(data.map, sampling)), None, flat)
    return filled(out, inside_plane(data.map, sampling), data.fill)


# Their adjoints, from `(out, data)` to the volume.


def _general_adjoint(out: Any, data: Data, *, sampling: Sampling, facts: Any) -> Any:
    out = filled(out, inside_field(data.map, sampling), jnp.zeros_like(data.fill))
    volume = _spread_out(out, data.map, sampling, facts)
    return prefiltered(volume, sampling.orders, sampling.dtype, is_back=True)


def _kept_adjoint(out: Any, data: Data, *, sampling: Sampling, facts: Any, axis: int) -> Any:
    nothing, lower = jnp.zeros_like(data.fill), lowered(sampling, axis)
    if axis != 2:
        out = filled(out, inside_field(data.map, sampling), nothing)
        volume = _spread_out(out, data.map, lower, facts)
        return prefiltered(volume, lower.orders, sampling.dtype, is_back=True)
    out = filled(out, inside_plane(data.map, sampling), nothing)
    flat = plane(sampling, (*sampling.shape[:2], *out.shape[2:]))
    if max(flat.orders) > 1 or any(flat.derivative):
        volume = scatter(out, of_plane(tables_to_sample(data.map, sampling)), None, flat)
    else:
        later = data.map
        in_plane = Later(
            of_plane(tables_to_sample(later, sampling)),
            later.matrix[:2, :2],
            later.offset[:2],
            later.slack[:2],
            later.kernels,
        )
        volume = _collected(out, in_plane, facts["plane"], flat)
    return prefiltered(volume, lower.orders, sampling.dtype, is_back=True)


def _spread_out(out: Any, later: Later, sampling: Sampling, facts: Any) -> Any:
    """The adjoint of `gathered`."""
    if max(sampling.orders) > 1 or any(sampling.derivative):
        return scatter(out, tables_to_sample(later, sampling), None, sampling)
    return _collected(
        out, dataclasses.replace(later, tables=tables_to_sample(later, sampling)), facts["space"], sampling
    )


def _collected(out: Any, later: Later, reach: Any, sampling: Sampling) -> Any:
    """The adjoint of orders 0 and 1, also of a map of a plane.

    It gathers where the map has an inverse, and scatters where the map is singular or nearly so.
    """
    bias = np.array([float(order == 0) for order in sampling.orders], later.slack.dtype)
    back = _inverse(later.matrix)
    away = -(back * (later.offset + bias * later.slack)[None, :]).sum(1)
    is_near = reach.astype(np.float32).prod() <= _COLLECTED
    return jax.lax.cond(
        is_near,
        lambda: _collect(out, later.matrix, (back, away), reach, sampling),
        lambda: scatter(out, later.tables, None, sampling, together=1),  # rare, so made to compile quickly
    )


def _inverse(matrix: Any) -> Any:
    """The inverse of a 2x2 or 3x3 matrix by cofactors; not finite where there is none."""
    n = matrix.shape[0]
    if n == 2:
        adjugate = jnp.stack([jnp.stack([matrix[1, 1], -matrix[0, 1]]), jnp.stack([-matrix[1, 0], matrix[0, 0]])])
        return adjugate / (matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    a, b, c = (matrix[:, e] for e in range(3))
    rows = jnp.stack([_cross(b, c), _cross(c, a), _cross(a, b)])
    return rows / (a * rows[0]).sum()


def _cross(a: Any, b: Any) -> Any:
    return jnp.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _collect(out: Any, matrix: Any, inverse: tuple[Any, Any], reach: Any, sampling: Sampling) -> Any:
    """Gathers, for each voxel, the outputs whose stencil reaches it; `_adjoint.collect` for a reach that is traced.

    Args:
        out: The outputs' cotangents.
        matrix: Linear part of the map.
        inverse: Linear part and offset of its inverse.
        reach: How many outputs along each axis can reach a voxel.
        sampling: The sampling.
    """
    (back, away), rank, half = inverse, sampling.rank, reach.astype(out.dtype) / 2
    sizes = sampling.shape[:rank]
    start, gap = [], []
    for e in range(rank):
        axes = [column(jnp.arange(n, dtype=out.dtype), d, rank) * back[e, d] for d, n in enumerate(sizes)]
        whole = [jnp.floor(part) for part in axes]
        fraction = sum((part - floor for part, floor in zip(axes, whole, strict=True)), away[e] - jnp.floor(away[e]))
        base = sum((floor.astype(jnp.int32) for floor in whole), jnp.floor(away[e]).astype(jnp.int32))
        first = jnp.ceil(fraction - half[e])
        start.append(base + first.astype(jnp.int32))
        gap.append(first - fraction)
    near = Candidates.near(out, start, gap, matrix, sampling)
    widths = (1,) * (rank - 2) + (3, 3)
    parts = [jax.lax.div(reach[e] + np.int32(width - 1), np.int32(width)) for e, width in enumerate(widths)]

    def add(turn: Any, total: Any) -> Any:
        rest = turn
        spans: list[Any] = []
        for part, width in zip(reversed(parts), reversed(widths), strict=True):
            rest, number = jax.lax.div(rest, part), jax.lax.rem(rest, part)
            spans.insert(0, (number * np.int32(width), width))
        return near.added(spans, total)

    turns = functools.reduce(lambda a, b: a * b, parts)
    empty = zeros_for((out, matrix), joined_shape(sizes, sampling.channels), out.dtype)
    return looped(turns, add, empty).reshape(sampling.shape)


# The pair.

_KERNELS: dict[str, Kernel] = {"general": _general, "kept": _kept, "aligned": aligned}
_ADJOINTS: dict[str, Kernel] = {"general": _general_adjoint, "kept": _kept_adjoint, "aligned": aligned_adjoint}


def _blank(volume: Any, data: Data, *, sampling: Sampling, kernels: tuple[str, ...]) -> Any:
    return jnp.zeros(out_shape(data.map.tables, None) + sampling.channels, sampling.dtype or volume.dtype)


def _adjoint_blank(out: Any, data: Data, *, sampling: Sampling, kernels: tuple[str, ...]) -> Any:
    return jnp.zeros(sampling.shape, out.dtype)


def _without_fill(data: Data) -> Data:
    return data._replace(fill=jnp.zeros_like(data.fill))


def _by_points(apply: Kernel, x: Any, data: Data, moved: Data, sampling: Sampling, total: Any) -> Any:
    """Adds the derivative by the tables: along each axis the derived sampling times how far the points move."""
    for axis in range(3):
        by = displacement(moved.map.tables, None, axis)
        if by is not None and sampling.moves(axis):
            by = by.reshape(by.shape + (1,) * len(sampling.channels))
            total = total + apply(x, _without_fill(data), by, sampling.along(axis))
    return total


def _tangent(volume: Any, data: Data, moved: Data, *, sampling: Sampling, kernels: tuple[str, ...]) -> Any:
    total = _blank(volume, data, sampling=sampling, kernels=kernels)
    if moved.fill is not None:  # the chosen kernel says which points lie outside
        ones = data._replace(fill=jnp.ones_like(data.fill))
        outside = _sample(jnp.zeros_like(volume), ones, sampling=sampling, kernels=kernels)
        total = total + outside * moved.fill.reshape((1, 1, 1, *moved.fill.shape))

    def apply(x: Any, data: Data, by: Any, along: Sampling) -> Any:
        return _sample(x, data, sampling=along, kernels=kernels) * by

    return _by_points(apply, volume, data, moved, sampling, total)


def _adjoint_tangent(out: Any, data: Data, moved: Data, *, sampling: Sampling, kernels: tuple[str, ...]) -> Any:
    def apply(x: Any, data: Data, by: Any, along: Sampling) -> Any:
        return _sample_adjoint(x * by, data, sampling=along, kernels=kernels)

    return _by_points(apply, out, data, moved, sampling, _adjoint_blank(out, data, sampling=sampling, kernels=kernels))


_sample: Kernel
_sample_adjoint: Kernel
_sample, _sample_adjoint = linear_pair(
    "sample_later",
    Rules(functools.partial(_bound, _KERNELS), _tangent, _blank, _survey, _without_fill),
    Rules(functools.partial(_bound, _ADJOINTS), _adjoint_tangent, _adjoint_blank, _survey, _without_fill),
)
