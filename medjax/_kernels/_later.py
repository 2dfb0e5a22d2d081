"""A map whose numbers are there when the program runs, and the steps that its kernels share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._bands import along_axis
from medjax._kernels._bspline import prefilter_matrix
from medjax._kernels._points import Sampling, Table, inside

__all__ = [
    "Data",
    "Later",
    "eased",
    "filtered",
    "filtered_along",
    "filtered_back",
    "inside_field",
    "inside_plane",
    "looped",
    "lowered",
    "of_plane",
    "plane",
    "tables_to_sample",
    "with_fill",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Later:
    """An affine map whose numbers are there when the program runs.

    Attributes:
        tables: For each output axis `(base, fraction)`, `(n, 3)`: together `matrix @ index + offset`. Differentiable.
        matrix: `(3, 3)`, output index to input index; only chooses, and leads the adjoint, so it has no gradient.
        offset: `(3,)`, as `matrix`.
        slack: `(3,)` voxels by which a point may lie below a tie or a face and count as on it.
        kernels: The kernels to choose from, the fastest first; static. "aligned": each output axis runs along the input axis
            of its number; "kept 0" to "kept 2": input axis d is sampled at its own voxels (2: and the others do not depend on
            output axis 2); "general", last. One alone is taken without asking.
    """

    tables: tuple[Table, ...]
    matrix: Any
    offset: Any
    slack: Any
    kernels: tuple[str, ...] = dataclasses.field(metadata={"static": True})


class Data(NamedTuple):
    """What a kernel needs beside the volume.

    Attributes:
        map: The map.
        fill: The value outside the field of view, `(*channels)`.
        doubt: By how much rounding alone may have moved a point, `(3,)` voxels.
    """

    map: Later
    fill: Any
    doubt: Any


def eased(later: Later) -> tuple[Table, ...]:
    """The tables of points that lie higher by the slack: what is below a tie or a face by less than it counts as on it."""
    (base, fraction), *others = later.tables
    return ((base, fraction + later.slack[None]), *others)


def tables_to_sample(later: Later, sampling: Sampling) -> tuple[Table, ...]:
    """The tables to sample at: nearest rounds the eased ones."""
    return eased(later) if max(sampling.orders) == 0 else later.tables


def with_fill(out: Any, mask: Any, fill: Any) -> Any:
    channels = fill.ndim
    return jnp.where(mask.reshape(mask.shape + (1,) * channels), out, fill.reshape((1,) * mask.ndim + fill.shape))


def inside_field(later: Later, sampling: Sampling) -> Any:
    return inside(eased(later), None, sampling.shape[:3], sampling.orders)


def inside_plane(later: Later, sampling: Sampling) -> Any:
    """The same for a map that keeps the last axis, on which all points lie inside."""
    return inside(of_plane(eased(later)), None, sampling.shape[:2], sampling.orders[:2])[..., None]


def filtered(volume: Any, sampling: Sampling, but: int | None = None) -> Any:
    """Turns samples into spline coefficients, along all axes but one, whose voxels are taken as they are."""
    for axis in (1, 2, 0):  # in this order XLA gets by with one temporary volume less
        volume = volume if axis == but else filtered_along(volume, sampling, axis)
    return volume


def filtered_back(volume: Any, sampling: Sampling, but: int | None = None) -> Any:
    """The transpose of `filtered`."""
    for axis in (0, 2, 1):
        volume = volume if axis == but else filtered_along(volume, sampling, axis, is_back=True)
    return volume


def filtered_along(volume: Any, sampling: Sampling, axis: int, *, is_back: bool = False) -> Any:
    size, order = sampling.shape[axis], sampling.orders[axis]
    if order < 2 or size < 2:
        return volume
    matrix = prefilter_matrix(size, order).astype(sampling.dtype)
    return along_axis(volume, matrix.T if is_back else matrix, axis, sampling.dtype)


def lowered(sampling: Sampling, axis: int) -> Sampling:
    """The sampling that takes an axis' voxels as they are."""
    orders = tuple(0 if d == axis else order for d, order in enumerate(sampling.orders))
    return dataclasses.replace(sampling, orders=orders)


def plane(sampling: Sampling, shape: Sequence[int]) -> Sampling:
    """The sampling of the first two axes; the third travels as channels do."""
    return dataclasses.replace(
        sampling,
        shape=tuple(shape),
        orders=sampling.orders[:2],
        boundary=sampling.boundary[:2],
        derivative=sampling.derivative[:2],
    )


def of_plane(tables: Sequence[Table]) -> tuple[Table, ...]:
    return tuple((base[:, :2], fraction[:, :2]) for base, fraction in tables[:2])


def looped(turns: Any, add: Callable[[Any, Any], Any], total: Any) -> Any:
    """Adds up turns, whose number is traced."""
    return jax.lax.fori_loop(np.int32(0), turns, lambda n, total: add(jnp.asarray(n, jnp.int32), total), total)
