"""In which order the steps of a recipe act: spatial ones that may share a gather come together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["Part", "cutting_part", "parts_in_order"]


class Part(NamedTuple):
    """Steps that share a gather, by their numbers in the recipe, and those that act on its result.

    Attributes:
        moves: Spatial steps, in order.
        acts: Steps that change voxels, in order.
    """

    moves: list[int]
    acts: list[int]


def parts_in_order(steps: Sequence[Any], fill: Any) -> list[Part]:
    """Divides the steps of a recipe.

    A spatial step joins the gather before it past steps that commute with a gather: those that multiply voxels or add
    to them, by numbers that do not depend on the voxels. It does so only where what lies outside is taken from the
    image, for a given value would be changed with the voxels.

    Args:
        steps: Those that draw, in order.
        fill: Value of intensities from outside; `None` for the background of each image.

    Returns:
        The parts, at least one.
    """
    parts = [Part([], [])]
    for number, step in enumerate(steps):
        if step.role == "choice":
            continue
        if step.role != "spatial":
            parts[-1].acts.append(number)
            continue
        is_apart = any(fill is not None or not steps[n].commutes for n in parts[-1].acts)
        if is_apart or (step.has_lattice and any(steps[n].has_lattice for n in parts[-1].moves)):
            parts.append(Part([], []))
        parts[-1].moves.append(number)
    return parts


def cutting_part(parts: Sequence[Part], steps: Sequence[Any]) -> int:
    """The number of the part that cuts the patch out: the last one that gathers, or the first where none does."""
    gathering = [n for n, part in enumerate(parts) if any(not steps[m].only_reverses for m in part.moves)]
    return gathering[-1] if gathering else 0
