"""A map that is known only when the program runs, and the steps that its kernels share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._points import Sampling, Table, eased, inside

__all__ = [
    "Data",
    "Later",
    "inside_field",
    "inside_plane",
    "looped",
    "lowered",
    "of_plane",
    "plane",
    "tables_to_sample",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Later:
    """An affine map that is known only when the program runs.

    Attributes:
        tables: For each output axis `(base, fraction)`, `(n, 3)`: together `matrix @ index + offset`. Differentiable.
        matrix: `(3, 3)`, output index to input index. It chooses the kernel and guides the adjoint, so it has no
            gradient.
        offset: `(3,)`, as `matrix`.
        slack: `(3,)` voxels by which a point may lie below a tie or a face and count as on it.
        kernels: Names of the kernels to choose from, the fastest first; static. "aligned": each output axis runs along
            the input axis of the same number. "kept 0" to "kept 2": input axis d is sampled at its own voxels; for 2,
            the other axes do not depend on output axis 2 either. "general": any map. A single kernel is taken without a
            choice.
    """

    tables: tuple[Table, ...]
    matrix: Any
    offset: Any
    slack: Any
    kernels: tuple[str, ...] = dataclasses.field(metadata={"static": True})


class Data(NamedTuple):
    """The operands of a kernel beside the volume.

    Attributes:
        map: The map.
        fill: The value outside the field of view, `(*channels)`.
        doubt: By how much rounding alone may have moved a point, `(3,)` voxels.
    """

    map: Later
    fill: Any
    doubt: Any


def tables_to_sample(later: Later, sampling: Sampling) -> tuple[Table, ...]:
    """The tables to sample at. Nearest rounds the eased ones."""
    return eased(later.tables, later.slack) if max(sampling.orders) == 0 else later.tables


def inside_field(later: Later, sampling: Sampling) -> Any:
    """Which points lie in the field of view."""
    return inside(eased(later.tables, later.slack), None, sampling.shape[:3], sampling.orders)


def inside_plane(later: Later, sampling: Sampling) -> Any:
    """Which points lie in the field of view, for a map that keeps the last axis. All points lie inside along it."""
    return inside(of_plane(eased(later.tables, later.slack)), None, sampling.shape[:2], sampling.orders[:2])[..., None]


def lowered(sampling: Sampling, axis: int) -> Sampling:
    """The sampling that takes an axis' voxels as they are."""
    orders = tuple(0 if d == axis else order for d, order in enumerate(sampling.orders))
    return dataclasses.replace(sampling, orders=orders)


def plane(sampling: Sampling, shape: Sequence[int]) -> Sampling:
    """The sampling of the first two axes. The third travels as channels do."""
    return dataclasses.replace(
        sampling,
        shape=tuple(shape),
        orders=sampling.orders[:2],
        boundary=sampling.boundary[:2],
        derivative=sampling.derivative[:2],
    )


def of_plane(tables: Sequence[Table]) -> tuple[Table, ...]:
    """The tables of the first two axes, of the output as of the input."""
    return tuple((base[:, :2], fraction[:, :2]) for base, fraction in tables[:2])


def looped(turns: Any, add: Callable[[Any, Any], Any], total: Any) -> Any:
    """Adds up a traced number of turns."""
    return jax.lax.fori_loop(np.int32(0), turns, lambda n, total: add(jnp.asarray(n, jnp.int32), total), total)
