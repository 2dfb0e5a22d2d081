"""Where the content goes: what spatial steps draw, composed, and the one gather that all adjacent ones share.

A point of the content goes through turns about the reference's own axes (mirror, quarter turns) first, then through
affine maps about its centre, then through the field of a lattice of control points. Voxels are gathered the other way
round: from an output voxel `y` at `q` mm from the centre they come from `turn^-1(affine^-1(q + u(q)))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import inverse_3x3, product, transformed
from medjax._kernels._deformed import Placed, field_of, gathered_in_place, in_slabs, lattice_at, voted
from medjax._space._lattice import tables_of
from medjax.augment._frames import Frame, Reference

__all__ = ["Move", "Target", "composed", "flipped", "moved_points", "moved_volume", "needs_gather", "sampling_of"]

_EPS = float(np.finfo(np.float32).eps)


class Move(NamedTuple):
    """Where the content of one item goes.

    Attributes:
        turn: A signed permutation of the reference's index axes, `(3, 3)`.
        linear: World map about the centre of the reference, `(3, 3)`.
        by: mm to add, `(3,)`.
        control: Control points along the reference's axes, mm, `(m_i, m_j, m_k, 3)`; `None` for no lattice.
    """

    turn: Any
    linear: Any
    by: Any
    control: Any


def composed(moves: Sequence[Move], real: Any) -> Move:
    """Turns first, affine maps next, the lattice last; among their own kind in the order as given. At most one
    lattice.
    """
    total = Move(jnp.eye(3, dtype=real), jnp.eye(3, dtype=real), jnp.zeros(3, real), None)
    for move in moves:
        total = Move(
            total.turn if move.turn is None else product(move.turn.astype(real), total.turn),
            total.linear if move.linear is None else product(move.linear, total.linear),
            total.by if move.linear is None else transformed(move.linear, total.by) + move.by,
            move.control if move.control is not None else total.control,
        )
    return total


class Target(NamedTuple):
    """The lattice that one item of an image is gathered onto, or a box of it.

    Attributes:
        frame: The lattice.
        reference: The image about whose centre the content moves.
        is_same: Whether the lattice is the image's own: `True`, or what the program finds out.
        size: Voxels of the box; static.
        start: Index of its first voxel, `(3,)`; `None` for the whole lattice.
    """

    frame: Frame
    reference: Reference
    is_same: Any
    size: tuple[int, ...]
    start: Any


class Points(NamedTuple):
    """Where the voxels of one output come from: `matrix @ y + offset + field(y)`, in input voxels."""

    matrix: Any
    offset: Any
    control: Any


def _is_still(move: Move) -> Any:
    return (move.linear == jnp.eye(3, dtype=move.linear.dtype)).all() & (move.by == 0).all()


def _turns_voxels(move: Move, frame: Frame) -> Any:
    """Whether the turn brings each voxel of an image onto another one."""
    size = jnp.asarray(np.asarray(frame.shape), frame.spacing.dtype)
    turn = abs(move.turn)
    same = (transformed(turn, size) == size).all()
    same &= (abs(transformed(turn, frame.spacing) - frame.spacing) < 1e-3 * frame.spacing).all()
    return (frame.is_alike & same) | (move.turn == jnp.eye(3, dtype=move.turn.dtype)).all()


def needs_gather(move: Move, frame: Frame) -> Any:
    """Whether one item of an image needs more than a reversal of axes."""
    is_diagonal = (move.turn == move.turn * jnp.eye(3, dtype=move.turn.dtype)).all()
    is_still = _is_still(move) & is_diagonal & _turns_voxels(move, frame)
    return ~is_still if move.control is None else ~is_still | (move.control != 0).any()


def flipped(volume: Any, move: Move, target: Target) -> Any:
    """Reverses the axes that the turn reverses and cuts the target's box out: no voxel changes its value."""
    is_reversed = jnp.diagonal(move.turn) < 0
    if target.start is not None:
        last = np.subtract(volume.shape[:3], target.size) - target.start
        first = jnp.where(is_reversed, last, target.start)
        corner = [*first, *[jnp.zeros_like(first[0])] * (volume.ndim - 3)]
        volume = jax.lax.dynamic_slice(volume, corner, (*target.size, *volume.shape[3:]))
    for axis in range(3):
        volume = jnp.where(is_reversed[axis], jnp.flip(volume, axis), volume)
    return volume


def sampling_of(move: Move, frame: Frame, target: Target) -> Points:
    """Finds where the voxels of a lattice come from, among those of an image."""
    real, reference = frame.linear.dtype, target.reference
    eye, still = jnp.eye(3, dtype=real), _is_still(move)
    back = inverse_3x3(move.linear)
    to_mm = jnp.where(still, eye, back)
    away = target.frame.away
    at = jnp.where(still, away, transformed(back, away - move.by))
    turn = move.turn.T  # its inverse
    world = product(reference.axes, product(turn, reference.inverse))
    around = product(frame.inverse, world)
    matrix = product(around, product(to_mm, target.frame.linear))
    offset = transformed(around, at) - transformed(frame.inverse, frame.away)
    if target.is_same is not False:  # where the turn keeps the lattice, in voxels and exact
        middle = jnp.asarray((np.asarray(frame.shape) - 1) / 2, real)
        is_exact = _turns_voxels(move, frame) & target.is_same
        inner = jnp.where(still, eye, product(frame.inverse, product(to_mm, frame.linear)))
        gap = jnp.where(still, 0, transformed(frame.inverse, at - frame.away))
        matrix = jnp.where(is_exact, product(turn, inner), matrix)
        offset = jnp.where(is_exact, transformed(turn, gap - middle) + middle, offset)
        around = jnp.where(is_exact, product(turn, frame.inverse), around)
    control = None
    if move.control is not None:
        along = product(around, product(to_mm, reference.axes))
        control = jnp.einsum("de,abce->abcd", along, move.control, precision=jax.lax.Precision.HIGHEST)
    return Points(matrix, offset, control)


def moved_volume(
    volumes: Sequence[Any], fills: Sequence[Any], move: Move, frame: Frame, target: Target, how: Any
) -> Any:
    """Gathers images of one lattice, `(i, j, k, *channels)` each: they share where their voxels come from.

    Args:
        volumes: The images of one item.
        fills: What lies outside, `(*channels)` each.
        move: Where the content goes.
        frame: The lattice.
        target: The lattice to fill.
        how: For each image its dtype to compute in, or `None` for labels, and for labels by vote the number of classes.
    """
    points, onto = sampling_of(move, frame, target), target.frame
    real = frame.linear.dtype
    start = onto.start if target.start is None else onto.start + transformed(onto.matrix, target.start.astype(real))

    def field(first: Any, count: int) -> Any:
        shape, covered = (count, *target.size[1:]), target.reference.shape
        own = start + jnp.asarray(first, real) * onto.matrix[:, 0]
        return lattice_at(points.control, onto.matrix, own, shape, covered, keeps_axes=onto.keeps_axes)

    has_field = points.control is not None
    size = jnp.asarray(np.asarray(onto.shape), real)
    slack = (transformed(abs(points.matrix), size) + abs(points.offset)) * (1.5 * _EPS) + (2e-6 if has_field else 0)
    slack = jax.lax.stop_gradient(slack)

    def gathered(placed: Placed) -> Any:
        out = []
        for volume, fill, (dtype, classes) in zip(volumes, fills, how, strict=True):
            if classes is None:
                out.append(gathered_in_place(volume, placed, fill, dtype=dtype))
            else:
                out.append(voted(volume, placed, fill, classes=classes, dtype=real))
        return tuple(out)

    tables = tables_of(points.matrix, points.offset, target.size, real, target.start)
    return in_slabs(gathered, field, tables, slack) if has_field else gathered(Placed(tables, None, slack))


_STEPS = 12
"""Of Newton's method for points; each doubles the digits, from a start that the fixed-point step brings near."""


def moved_points(positions: Any, move: Move, reference: Reference) -> Any:
    """Moves points `(n, 3)` LPS mm with the content: solves `y + u(y) = A x` where there is a lattice.

    Newton's step is taken where it shrinks the residual; elsewhere `y <- A x - u(y)`, which contracts under the bound
    of the control points.
    """
    real = move.linear.dtype
    x = positions.astype(real) - reference.center[None]
    world = product(reference.axes, product(move.turn, reference.inverse))
    wanted = product(product(x, world.T), move.linear.T) + move.by[None]
    if move.control is None:
        return wanted + reference.center[None]
    size = jnp.asarray(np.asarray(reference.shape), real)
    to_index = reference.inverse / reference.spacing[:, None]
    middle = (size - 1) / 2

    def displaced(y: Any) -> tuple[Any, Any]:
        """The displacement at points relative to the centre, and its derivative, in mm."""
        index = product(y, to_index.T) + middle[None]
        value, slope = field_of(move.control, index, reference.shape)
        value = product(value, reference.axes.T)
        slope = jnp.einsum("de,nef,fg->ndg", reference.axes, slope, to_index, precision=jax.lax.Precision.HIGHEST)
        return value, slope

    def refined(_: Any, y: Any) -> Any:
        u, slope = displaced(y)
        rest = y + u - wanted
        step = transformed(inverse_3x3(jnp.eye(3, dtype=real)[None] + slope), rest)
        newton = y - step
        after = newton + displaced(newton)[0] - wanted
        is_better = (after**2).sum(-1) < (rest**2).sum(-1)
        return jnp.where(is_better[:, None], newton, wanted - u)

    return jax.lax.fori_loop(0, _STEPS, refined, wanted - displaced(wanted)[0]) + reference.center[None]
