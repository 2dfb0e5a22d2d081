"""The types of a plan: tables that say where each voxel of the output comes from. A plan knows no image."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax._kernels._adjoint import Inverse
from medjax._kernels._bands import Operator
from medjax._kernels._points import Table

__all__ = ["Bands", "Points", "Shift"]


def _static() -> Any:
    return dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Bands:
    """A map along the axes, known on the host: one operator an axis, then a permutation.

    Attributes:
        operators: For each output axis an operator for `along_axis`, `(*batch, ...)`.
        masks: For each output axis which of its indices lie inside the input, `(*batch, n)` boolean.
        axes: Input axis of each output axis; static, as are all below.
        sizes: Shape of the input.
        dtype: Real dtype to compute in.
    """

    operators: tuple[Operator, ...]
    masks: tuple[Any, ...]
    axes: tuple[int, ...] = _static()
    sizes: tuple[int, ...] = _static()
    dtype: str = _static()

    @property
    def depth(self) -> int:
        """Number of batch axes."""
        return self.masks[0].ndim - 1

    @property
    def is_known(self) -> bool:
        """Whether all its numbers are on the host."""
        return _is_on_host(self)

    @property
    def is_quick(self) -> bool:
        """Whether applying it moves values and computes next to nothing."""
        return True


class Shift(NamedTuple):
    """A displacement to add to the points.

    Attributes:
        displacement: `(*batch?, i, j, k, 3)` mm, for all items or for each.
        to_voxels: `(*batch, 3, 3)`, from mm to voxels of the input.
    """

    displacement: Any
    to_voxels: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """Any map: a lattice of points, which may be shifted.

    Attributes:
        tables: Coordinates of the points for each output axis, `(*batch, n, rank)`.
        slack: How little a point may lie below a tie or a face to count as on it, `(*batch, rank)` voxels.
        shift: The displacement of each point, or `None`.
        inverse: The map back, where it is known, for a fast adjoint.
        matrix: Output index to input index, `(*batch, 3, 3)`, by which the program chooses one of `kernels`; else
            `None`.
        offset: `(*batch, 3)`, as `matrix`.
        order: Spline order that was asked for; static, as are all below.
        orders: Spline order of each input axis: 0 along those that are only sampled at voxel centres.
        keeps_lines: Whether the last axis is taken voxel by voxel, so that it can travel as channels do.
        kernels: The kernels that the program chooses from when it runs; `()` where the host has chosen.
        sizes: Shape of the input.
        dtype: Real dtype to compute in.
    """

    tables: tuple[Table, ...]
    slack: Any
    shift: Shift | None
    inverse: Inverse | None
    matrix: Any
    offset: Any
    order: int = _static()
    orders: tuple[int, ...] = _static()
    keeps_lines: bool = _static()
    kernels: tuple[str, ...] = _static()
    sizes: tuple[int, ...] = _static()
    dtype: str = _static()

    @property
    def depth(self) -> int:
        """Number of batch axes."""
        return self.slack.ndim - 1

    @property
    def is_known(self) -> bool:
        """Whether all its numbers are on the host, and the points shifted by nothing."""
        return not self.kernels and self.shift is None and _is_on_host(self)

    @property
    def is_quick(self) -> bool:
        """Whether applying it moves values and computes next to nothing."""
        return self.keeps_lines and max(self.orders[:2]) == 0

    def in_plane(self) -> Points:
        """The plan of the first two axes, if the third can travel as channels do. This reads whole lines."""
        if not self.keeps_lines:
            return self
        tables = tuple((base[..., :2], fraction[..., :2]) for base, fraction in self.tables[:2])
        return dataclasses.replace(
            self, tables=tables, slack=self.slack[..., :2], orders=self.orders[:2], sizes=self.sizes[:2]
        )


def _is_on_host(plan: Any) -> bool:
    return all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(plan))
