"""Sampling a volume through a field of control points: the field is a cubic spline, evaluated where the samples lie.

The lattice of `m` control points along an axis covers a field of view of `n` voxels: point 1 lies at the lower face of
the field of view and point `m - 2` at the upper one, so one point lies outside on either side (ITK's BSplineTransform
of mesh `m - 3`). Beyond the lattice the field is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._batch import in_all_items
from medjax._kernels._gather import Locations, sample
from medjax._kernels._points import Table, eased, inside, zeros_for
from medjax._kernels._values import filled

__all__ = ["Placed", "basis", "field_of", "gathered_in_place", "in_slabs", "lattice_at", "voted"]

_HIGHEST = jax.lax.Precision.HIGHEST


def basis(place: Any, points: int, derivative: bool = False) -> Any:
    """The cubic B-splines of all control points, `(n, points)`, at places `(n,)`, counted in control points from 0.

    Example:
        >>> [round(float(weight), 4) for weight in basis(jnp.asarray([1.0]), 4)[0]]
        [0.1667, 0.6667, 0.1667, 0.0]
    """
    gap = place[:, None] - jnp.arange(points, dtype=place.dtype)[None]
    far = abs(gap)
    if derivative:
        near, tail = gap * (1.5 * far - 2), -0.5 * jnp.sign(gap) * (2 - far) ** 2
    else:
        near, tail = (4 - 6 * far**2 + 3 * far**3) / 6, (2 - far) ** 3 / 6
    return jnp.where(far < 1, near, jnp.where(far < 2, tail, 0))


def _places(index: Any, size: int, points: int) -> Any:
    """Where indices of the field of view lie among the control points of an axis."""
    return (index + 0.5) * ((points - 3) / size) + 1


def lattice_at(
    control: Any, matrix: Any, start: Any, shape: Sequence[int], covered: Sequence[int], *, keeps_axes: bool
) -> Any:
    """Evaluates a field at all voxels of a lattice.

    Args:
        control: `(m_i, m_j, m_k, 3)`.
        matrix: From an index of the lattice to one of the field of view, `(3, 3)`.
        start: The first voxel's index in the field of view, `(3,)`.
        shape: Size of the lattice.
        covered: Size of the field of view that the control points cover, voxels.
        keeps_axes: Whether `matrix` is known to be diagonal; else the program finds out.

    Returns:
        `(3, *shape)`.
    """
    counts = control.shape[:3]

    def along_axes() -> Any:
        field = jnp.moveaxis(control, -1, 0)  # while it is small: the products keep this order
        for d, n in enumerate(shape):
            index = jnp.arange(n, dtype=control.dtype) * matrix[d, d] + start[d]
            rows = basis(_places(index, covered[d], counts[d]), counts[d])
            spec = ("ai,xijk->xajk", "bj,xajk->xabk", "xabk,ck->xabc")[d]
            field = jnp.einsum(spec, *((field, rows) if d == 2 else (rows, field)), precision=_HIGHEST)
        return field

    def anywhere() -> Any:
        scale = jnp.asarray([(m - 3) / n for m, n in zip(counts, covered, strict=True)], control.dtype)
        tables = []
        for axis, size in enumerate(shape):
            rows = jnp.arange(size, dtype=control.dtype)[:, None] * (matrix[:, axis] * scale)[None]
            rows = rows + ((start + 0.5) * scale + 1)[None] if axis == 0 else rows
            base = jnp.floor(jax.lax.stop_gradient(rows))
            tables.append((base.astype(jnp.int32), rows - base))
        found = sample(control, Locations(tuple(tables)), orders=(3, 3, 3), boundary="zero", dtype=control.dtype)
        return jnp.moveaxis(found, -1, 0)

    if keeps_axes:
        return along_axes()
    off = jnp.abs(matrix * (1 - np.eye(3, dtype=matrix.dtype))).sum(0)
    is_diagonal = (off * jnp.asarray(np.asarray(shape), matrix.dtype)).max() < 1e-3
    return jax.lax.cond(in_all_items(is_diagonal), along_axes, anywhere)


def field_of(control: Any, index: Any, covered: Sequence[int]) -> tuple[Any, Any]:
    """Evaluates a field at indices `(n, 3)` of the field of view: values `(n, 3)` and derivatives by index `(n, 3,
    3)`.
    """
    counts = control.shape[:3]
    values, slopes = [], []
    for d in range(3):
        place = _places(index[:, d], covered[d], counts[d])
        values.append(basis(place, counts[d]))
        slopes.append(basis(place, counts[d], derivative=True) * ((counts[d] - 3) / covered[d]))

    def total(rows: Sequence[Any]) -> Any:
        return jnp.einsum("ni,nj,nk,ijkx->nx", *rows, control, precision=_HIGHEST)

    by = [total([slopes[e] if e == d else values[e] for e in range(3)]) for d in range(3)]
    return total(values), jnp.stack(by, axis=-1)


class Placed(NamedTuple):
    """The points at which images of one lattice are sampled.

    Attributes:
        tables: As in `_gather.Locations`.
        shift: `(3, *out)` voxels to add, or `None`.
        slack: Voxels by which a point may lie below a tie or a face and count as on it, `(3,)`.
    """

    tables: tuple[Table, ...]
    shift: Any
    slack: Any


_PLANES = 8
"""At least as many make a slab: their field stays in the processor's cache."""


def in_slabs(gather: Callable[[Placed], Any], field: Callable[[Any, int], Any], tables: Any, slack: Any) -> Any:
    """Samples a few planes of a lattice after the others, so that no field of all its voxels is in memory.

    Writing a field to fresh memory and reading it back takes as long as sampling by it.

    Args:
        gather: From points to arrays `(i, ...)` in pytrees.
        field: `field(first, count)` gives the shift at `count` planes from number `first` on, `(3, count, j, k)`.
        tables: As in `Placed`, of all planes.
        slack: As in `Placed`.
    """
    (base, fraction), *others = tables
    size = base.shape[0]
    count = next(n for n in range(min(_PLANES, size), size + 1) if size % n == 0)

    def slab(first: Any) -> Any:
        own = (jax.lax.dynamic_slice_in_dim(base, first, count), jax.lax.dynamic_slice_in_dim(fraction, first, count))
        return gather(Placed((own, *others), field(first, count), slack))

    if count == size:
        return gather(Placed(tables, field(0, size), slack))

    def body(number: Any, out: Any) -> Any:
        first = number * np.int32(count)
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, first, 0), out, slab(first)
        )

    parts = jax.eval_shape(slab, np.int32(0))
    empty = jax.tree.map(lambda part: zeros_for((fraction,), (size, *part.shape[1:]), part.dtype), parts)
    return jax.lax.fori_loop(np.int32(0), np.int32(size // count), body, empty)


def gathered_in_place(volume: Any, points: Placed, fill: Any, *, dtype: Any) -> Any:
    """Samples a volume: linear in a dtype, or the nearest voxel where that is `None`; `fill` outside.

    Args:
        volume: `(i, j, k, *channels)`.
        points: Where the samples lie.
        fill: `(*channels)`.
        dtype: dtype to compute in, or `None`.
    """
    orders = (0 if dtype is None else 1,) * 3
    higher = eased(points.tables, points.slack)
    if dtype is None:  # the nearest voxel does not depend on a small move
        locations = Locations(*jax.lax.stop_gradient((tuple(higher), points.shift)))
    else:
        locations = Locations(points.tables, points.shift)
    if dtype is not None and jnp.issubdtype(volume.dtype, jnp.inexact):
        volume = volume.astype(dtype)
    out = sample(volume, locations, orders=orders, dtype=dtype)
    # By the nearest voxel for both orders: the same rule, in fewer steps than by the linear cell.
    return filled(out, inside(higher, points.shift, volume.shape[:3], (0, 0, 0)), fill)


def voted(volume: Any, points: Placed, fill: Any, *, classes: int, dtype: Any) -> Any:
    """Samples labels 0 to `classes - 1`: the class whose mask, sampled linearly, is largest; the lower of two that
    tie.
    """
    tables, shift, slack = jax.lax.stop_gradient(points)

    def compared(number: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
        best, winner = found
        mask = (volume == number.astype(volume.dtype)).astype(dtype)
        share = sample(mask, Locations(tables, shift), orders=(1, 1, 1), dtype=dtype)
        is_more = share > best + 1e-5
        return jnp.where(is_more, share, best), jnp.where(is_more, number.astype(volume.dtype), winner)

    shape = (*(base.shape[0] for base, _ in tables), *volume.shape[3:])
    start = jnp.zeros(shape, dtype), jnp.zeros(shape, volume.dtype)
    _, out = jax.lax.fori_loop(0, classes, lambda n, found: compared(jnp.asarray(n, jnp.int32), found), start)
    return filled(out, inside(eased(tables, slack), shift, volume.shape[:3], (1, 1, 1)), fill)
