"""How much more of a volume a reader must have than a patch, so that moved content is real."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from medjax._geometry._numbers import as_triple, check_positive, is_traced
from medjax._geometry._types import StaticSize, StaticTriple
from medjax._image._checks import three_integers
from medjax._space._move import affine_matrix
from medjax.augment._distribution import Distribution
from medjax.augment._step import Step

__all__ = ["margin"]

_FAR = 4.0
"""Standard deviations that a normal distribution is taken to reach."""

_STEPS = 9
"""Angles that are tried about each axis."""


def margin(step: Step, size: StaticSize, spacing: StaticTriple) -> tuple[int, int, int]:
    """Returns how many voxels beyond a patch, on each side, a recipe may reach: those that must be read with it.

    The patch's axes are taken to run along the world's. Every spatial step counts as applied, with the worst of its
    range; a normal distribution reaches four standard deviations. The lattice of `elastic` spans the box that is read,
    so this is what `recipe(keys, boxes, size=size)` needs.

    Args:
        step: A recipe whose ranges are known.
        size: Voxels of the patch, one number or three.
        spacing: mm, one number or three.

    Raises:
        ValueError: a range is traced, or size or spacing are not positive.

    Example:
        >>> mj.augment.margin(mj.augment.affine(rotation=0, scale=1, translation=5), (64, 64, 32), (1, 1, 2))
        (5, 5, 3)
        >>> mj.augment.margin(mj.augment.affine(rotation=(0, 90), scale=(0.8, 1)), 32, 1.0)
        (19, 19, 19)
    """
    sizes = np.asarray(three_integers(size, "size", least=1), np.float64)
    voxel = as_triple(spacing, "spacing")
    check_positive(voxel, "spacing", spacing)
    half = sizes * voxel / 2
    nodes: list[Any] = []
    step.list_into(nodes)
    parts = [node.step for node in nodes if node.step.role == "spatial"]
    parts.sort(key=lambda part: not part.has_lattice)  # from the output: the lattice first
    beyond, before = np.zeros(3, int), None
    while before is None or (beyond > before).any():  # a wider box has a wider lattice, whose points move further
        before, reach = beyond, half
        for part in parts:
            reach = _reached(part, reach, half + before * voxel)
        beyond = np.maximum(before, np.ceil(np.round((reach - half) / voxel, 6)).astype(int))
    i, j, k = beyond.tolist()
    return i, j, k


def _reached(part: Any, reach: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Half the extent that is needed before a step, of the one that is needed after it, mm; `half` that of the box."""
    kind = part.kind
    if kind == "elastic":
        cells = 2 * half / (np.asarray(part.points) - 3)
        largest = np.minimum(_ends(part.max_mm, 1)[1], np.minimum(_ends(part.amount, 1)[1], 0.40) * cells)
        return reach + largest
    if kind == "svf":
        return reach + _FAR * _ends(part.std_mm, 1)[1]
    if kind not in ("affine", "misalign"):
        return reach if kind == "mirror" else np.maximum(reach, reach.max())
    low, high = _ends(part.rotation, 3)
    far = np.abs(_ends(part.translation, 3)).max(0)
    smallest, shear = 1.0, np.zeros(3)
    if kind == "affine":
        smallest, shear = float(_ends(part.scale, 3)[0].min()), np.abs(_ends(part.shear, 3)).max(0)
    angles = [np.linspace(a, b, _STEPS) if a < b else np.array([a]) for a, b in zip(low, high, strict=True)]
    turns = np.array(list(itertools.product(*angles)))
    turned = np.abs(affine_matrix(rotation=turns)[:, :3, :3]).swapaxes(-1, -2) @ (reach + far)
    lean = np.eye(3) + np.array([[0, shear[0], shear[1] + shear[0] * shear[2]], [0, 0, shear[2]], [0, 0, 0]])
    return (turned @ lean.T / smallest).max(0)


def _ends(given: Distribution, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest value of a distribution, `(count,)` each."""
    if is_traced(given.first, given.second):
        raise ValueError("margin needs ranges that are known: call it before jit")
    first = np.asarray(given.first, np.float64)
    second = first if given.second is None else np.asarray(given.second, np.float64)
    if given.kind == "normal":
        first, second = first - _FAR * second, first + _FAR * second
    elif given.kind == "choice":
        first, second = first.min(), first.max()
    elif given.kind == "ranges":
        first, second = first.min(-1), second.max(-1)
    elif given.kind == "reciprocal":
        first, second = 1 / second, 1 / first
    return np.broadcast_to(first, (count,)), np.broadcast_to(second, (count,))
