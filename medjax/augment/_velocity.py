"""A deformation that is the flow of a smooth field of velocities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from medjax._image._checks import check_count, three_integers
from medjax._kernels._deformed import basis
from medjax._kernels._gather import Locations, sample
from medjax._kernels._lattice_field import separable_field
from medjax.augment._distribution import Distribution, Spread
from medjax.augment._frames import Reference
from medjax.augment._moves import Move
from medjax.augment._spatial import SpatialStep
from medjax.augment._step import drawn, step

__all__ = ["svf"]

_FINER = 4
"""Points of the lattice that the flow is followed on, for each of the velocities."""


@step
class svf(SpatialStep):
    """Deforms the content by the flow of a smooth field of velocities that stand still ("stationary velocity field").

    The lattice of velocities spans the field of view of the reference image, as that of `elastic` does. The flow is
    followed on a lattice four times as fine, by scaling and squaring, and its displacements are the control points of a
    cubic B-spline. A flow does not fold, however far it goes; this one is followed in steps, so the bound is not proven
    as that of `elastic` is. The negative velocities deform back.

    Args:
        std_mm: Standard deviation of the velocities at the control points, mm, drawn once for an item.
        points: Control points along each axis, one number or three, at least 4; one of them lies outside on either
            side.
        steps: How often the flow is squared: it is followed in `2**steps` steps.
        p: Probability that an item is deformed.
        name: Name in a recipe; default "svf".

    Example:
        >>> image = mj.Image.from_array(np.arange(512.0).reshape(8, 8, 8))
        >>> draw = mj.augment.svf(std_mm=2).sample(jax.random.key(0), image)
        >>> draw.values["svf"]["velocity"].shape
        (8, 8, 8, 3)

    Source: Arsigny et al., A log-Euclidean framework for statistics on diffeomorphisms, MICCAI 2006; as an augmentation
    Billot et al., SynthSeg, Med. Image Anal. 86, 2023.
    """

    has_lattice: ClassVar[bool] = True
    std_mm: Spread = drawn((0.0, 4.0), "mm", least=0)
    points: int | Sequence[int] = 8
    steps: int = 6

    def check(self) -> None:
        object.__setattr__(self, "points", three_integers(self.points, "points", least=4))
        check_count(self.steps, "steps")

    @property
    def _counts(self) -> tuple[int, ...]:
        points: Any = self.points
        return tuple(points)

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {**super().requests(channels), "velocity": (*self._counts, 3)}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        found = super().values(numbers)
        shares = Distribution("normal", np.float32(0), np.float32(1)).quantile(numbers["velocity"])
        return found | {"velocity": shares * found["std_mm"].reshape((*found["std_mm"].shape, 1, 1, 1, 1))}

    def move(self, values: Mapping[str, Any], reference: Reference) -> Move:
        real = reference.axes.dtype
        sizes = np.asarray(reference.shape, np.float64)
        cells = jnp.asarray(sizes / (np.asarray(self._counts) - 3), real) * reference.spacing / _FINER
        counts = [_FINER * (count - 3) + 3 for count in self._counts]
        places = [1 + (jnp.arange(count, dtype=real) - 1) / _FINER for count in counts]
        rows = [basis(place, count) for place, count in zip(places, self._counts, strict=True)]
        is_moved = values["applied"] & (sizes > 1)
        velocity = jnp.where(is_moved.reshape(1, 1, 1, 3), values["velocity"].astype(real), 0)
        node = jnp.stack(jnp.meshgrid(*[jnp.arange(count, dtype=real) for count in counts], indexing="ij"))

        def squared(_: Any, moved: Any) -> Any:
            there = node + jnp.moveaxis(moved / cells.reshape(1, 1, 1, 3), -1, 0)
            return moved + sample(moved, Locations((), there), orders=(1, 1, 1), dtype=real)

        small = separable_field(velocity, rows) / 2**self.steps
        flow = jax.lax.fori_loop(0, self.steps, squared, small)
        return Move(None, None, None, separable_field(flow, [_coefficients(count) for count in counts]))


def _coefficients(count: int) -> np.ndarray:
    """From values at control points to the control points of the cubic B-spline that has these values there."""
    values = (4 * np.eye(count) + np.eye(count, k=1) + np.eye(count, k=-1)) / 6
    values[[0, -1]] = np.eye(count)[[0, -1]]  # nothing lies beyond the outer ones
    return np.linalg.inv(values)
