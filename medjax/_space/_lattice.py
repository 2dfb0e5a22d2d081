"""The points of a plan among the voxels of the source: a lattice, exact where it is known."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import Grid, inverse_3x3, product, same_rank, transformed
from medjax._geometry._numbers import on_host, together
from medjax._geometry._transform import About, AffineTransform, DisplacementField, stages
from medjax._image._dtypes import compute_dtype
from medjax._kernels._batch import broadcast
from medjax._kernels._compiled import unchanging
from medjax._space._jitted import apply
from medjax._space._plan import Points, Shift

__all__ = ["Lattice", "located", "slack_of", "snapped", "tables_of"]

_EPS = float(np.finfo(np.float32).eps)
"""The rounding of positions. Traced geometry is rounded to float32, and so are the spacings that NIfTI states."""

_MOST = 1e-4
"""The most slack, in voxels, of positions that are computed in float64."""

_DISPLACED = 2e-6
"""Slack in voxels where float32 displacements are added: rounding errors of shifts of some ten voxels."""


@dataclasses.dataclass(frozen=True)
class Lattice:
    """An affine lattice of points, output index `i` at input index `matrix @ i + offset`, and a dense shift.

    Attributes:
        matrix: `(*batch, 3, 3)`, float64 NumPy while the map is known, else traced.
        offset: `(*batch, 3)`.
        shift: `(*batch, i, j, k, 3)` mm to add, or `None`.
        slack: `(*batch, 3)` voxels by which rounding can move a point. A point that lies this little below a tie of
            nearest, or below a face of the field of view, counts as on it. So rounding decides neither, and a map gives
            the same whether it is known or traced.
        is_diagonal: Whether `matrix` is known to be diagonal, whatever its numbers.
        kept: An input axis that the points may follow voxel by voxel; `None` where nothing suggests one.
    """

    matrix: Any
    offset: Any
    shift: Any
    slack: Any
    is_diagonal: bool = False
    kept: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the affine part is known."""
        return isinstance(self.matrix, np.ndarray) and isinstance(self.offset, np.ndarray)

    @property
    def is_settled(self) -> bool:
        """Whether the points follow from a known affine map alone."""
        return self.is_known and self.shift is None

    def kernels(self, sizes: Sequence[int], shape: Sequence[int]) -> tuple[str, ...]:
        """The kernels that may suit the map once its numbers are there, the fastest first."""
        if self.is_diagonal:
            return ("aligned",)
        if self.kept is not None:
            return (f"kept {self.kept}", "general") if sizes[self.kept] == shape[self.kept] else ("general",)
        return ("aligned", "kept 2", "general") if sizes[2] == shape[2] else ("aligned", "general")

    def points(self, affine: Any, sizes: tuple[int, ...], shape: Sequence[int], order: int, dtype: np.dtype) -> Points:
        """Returns the lattice as a plan.

        Args:
            affine: Of the grid that is sampled, `(*batch, 4, 4)`.
            sizes: Its shape.
            shape: Shape of the output.
            order: Spline order.
            dtype: Real dtype to compute in.
        """
        is_later = not self.is_known and self.shift is None
        return Points(
            tables=tables_of(self.matrix, self.offset, shape, dtype),
            slack=self.slack,
            shift=None if self.shift is None else Shift(self.shift, inverse_3x3(affine[..., :3, :3])),
            inverse=None,
            matrix=self.matrix if is_later else None,
            offset=self.offset if is_later else None,
            order=order,
            orders=(order,) * 3,
            keeps_lines=False,
            kernels=self.kernels(sizes, shape) if is_later else (),
            sizes=sizes,
            dtype=dtype.name,
        )


def located(target: Grid, source: Grid, transform: Any, dtype: Any) -> Lattice:
    """Finds where the points of a grid, sent through a transform, lie among the voxels of another.

    All positions are relative to the origin of the lattice that the target was made from. In most operations this is
    the source: then no origin takes part, and no digit is lost to it.

    Args:
        target: The grid to fill.
        source: The grid that is sampled.
        transform: World to world, target to source, or `None`.
        dtype: dtype that the sampling computes in.
    """
    place, parts, batch = target.place, stages(transform), source.affine.shape[:-2]
    is_own = place.affine is source.affine
    if is_own and not parts:
        _, (matrix, offset) = together(place.step, place.start)
        # Known geometry has slack too: NIfTI rounds decimal spacings to float32, and twice such a spacing ends on ties.
        slack = _rounding(matrix, offset, target.shape)
        return _finished(batch, Lattice(matrix, offset, None, slack, is_diagonal=place.is_diagonal), dtype)
    _, (own, step, start) = together(place.affine, place.step, place.start)
    points = _Points(own, product(own[..., :3, :3], step), transformed(own[..., :3, :3], start), np.zeros(3))
    shift, kept = None, None
    for stage in parts:
        if isinstance(stage, DisplacementField):
            is_whole = shift is None and stage is parts[0] and _is_one_lattice(target, stage)
            moved = _sampled_field(stage, points, target.shape, shift, is_whole)
            shift = moved if shift is None else _sum(shift, moved)
            continue
        about = stage.about if stage.about is not None and stage.about.affine is place.affine else About(None)
        points, kept = _through(stage, about, points), about.axis
        if shift is not None:
            turn = jnp.asarray(on_host(stage.matrix)[..., :3, :3], shift.dtype)
            shift = jnp.einsum("...de,...ijke->...ijkd", turn, shift, precision=jax.lax.Precision.HIGHEST)
    matrix, offset, slack = _among(points, source.affine, is_own, target.shape)
    kept = kept if is_own and len(parts) == 1 else None
    return _finished(batch, Lattice(matrix, offset, shift, slack, kept=kept), dtype)


class _Points(NamedTuple):
    """An affine lattice of points in the world.

    Attributes:
        base: The lattice whose origin all positions are relative to, `(*batch, 4, 4)`.
        linear: From index to mm, `(*batch, 3, 3)`.
        at: The first point, `(*batch, 3)` mm.
        doubt: How far rounding can have moved the points, `(*batch, 3)` mm, beyond the rounding of the points
            themselves.
    """

    base: Any
    linear: Any
    at: Any
    doubt: Any


def _through(stage: AffineTransform, about: About, points: _Points) -> _Points:
    """Applies an affine transform to a lattice of points."""
    xp, (matrix, center, base, linear, at, doubt) = together(stage.matrix, stage.center, *points)
    turn, by = matrix[..., :3, :3], matrix[..., :3, 3]
    if about.index is not None:
        middle = transformed(base[..., :3, :3], together(about.index, base)[1][0])
    else:
        middle, lost = _difference(center, base[..., :3, 3])
        doubt = _sum(doubt, transformed(abs(_sum(turn, -xp.eye(3, dtype=turn.dtype))), lost))
    away = _sum(at, -middle)
    moved = _sum(_sum(transformed(turn, away), middle), by)
    half = _EPS / 2
    doubt = _sum(transformed(abs(turn), _sum(doubt, abs(away) * half)), abs(middle) * half)
    return _Points(base, product(turn, linear), moved, doubt)


def _among(points: _Points, affine: Any, is_own: bool, shape: Sequence[int]) -> tuple[Any, Any, Any]:
    """Returns matrix, offset and slack of points among the voxels of an affine. Known ones have no slack."""
    xp, (base, linear, at, doubt, affine) = together(*points, affine)
    if not is_own:
        gap, lost = _difference(base[..., :3, 3], affine[..., :3, 3])
        at, doubt = _sum(at, gap), _sum(doubt, lost)
    inverse = inverse_3x3(affine[..., :3, :3])
    matrix, offset = product(inverse, linear), transformed(inverse, at)
    if xp is np:
        return matrix, offset, np.zeros(3)
    return matrix, offset, transformed(abs(inverse), _sum(doubt, _rounding(linear, at, shape)))


def _difference(a: Any, b: Any) -> tuple[Any, Any]:
    """The difference of two positions, and the digits lost in it: each was rounded when it was brought to its dtype."""
    return _sum(a, -b), _sum(abs(a), abs(b)) * (_EPS / 2)


def _rounding(linear: Any, at: Any, shape: Sequence[int]) -> Any:
    """About how far rounding moves the points `linear @ i + at`: three half units in the last place of each term."""
    reach = linear.__array_namespace__().asarray(np.asarray(shape, np.float64), dtype=linear.dtype)
    return _sum(transformed(abs(linear), reach), abs(at)) * (1.5 * _EPS)


def _finished(batch: Any, lattice: Lattice, dtype: Any) -> Lattice:
    """Gives each item of the batch its own numbers, and the slack its limits."""
    slack = lattice.slack
    xp = slack.__array_namespace__()
    slack = xp.maximum(slack, slack_of(dtype)) if lattice.is_known else jax.lax.stop_gradient(slack)
    slack = xp.minimum(slack, _MOST) if lattice.is_known or slack.dtype == np.float64 else slack
    if lattice.shift is not None:
        slack = slack + (_DISPLACED if dtype == np.float32 else slack_of(dtype))

    def spread(array: Any, rank: int) -> Any:
        return broadcast(array, (*batch, *array.shape[array.ndim - rank :]))

    matrix, offset = spread(lattice.matrix, 2), spread(lattice.offset, 1)
    return dataclasses.replace(lattice, matrix=matrix, offset=offset, slack=spread(slack, 1))


def _sum(a: Any, b: Any) -> Any:
    """Adds arrays of any rank, also one of NumPy and one that is traced."""
    return operator.add(*same_rank(a, b))


def _sampled_field(
    field: DisplacementField, points: _Points, shape: tuple[int, ...], shift: Any, is_whole: bool
) -> Any:
    """Interpolates a displacement field at the points of a lattice, `(*batch, i, j, k, 3)` mm; 0 outside its grid."""
    own, displacement = on_host(field.affine), unchanging(field.displacement)
    if is_whole:
        whole = jnp.asarray(displacement)
        return whole.astype(compute_dtype(whole.dtype))  # integers would round the stages that follow
    matrix, offset, slack = _among(points, own, False, shape)
    parts = [(matrix, 2), (offset, 1), (own, 2), (displacement, 4), *([] if shift is None else [(shift, 4)])]
    batch = max((part.shape[:-rank] for part, rank in parts), key=len)  # one of them for all items, or one for each
    if displacement.shape[:-4] != batch or own.shape[:-2] != batch:
        displacement = jnp.broadcast_to(displacement, (*batch, *displacement.shape[-4:]))
        own = broadcast(own, (*batch, 4, 4))
    dtype = compute_dtype(displacement.dtype)
    lattice = _finished(batch, Lattice(matrix, offset, shift, slack), dtype)
    plan = lattice.points(own, tuple(displacement.shape[-4:-1]), shape, 1, dtype)
    # The general kernel alone: a choice would take longer to compile.
    plan = dataclasses.replace(plan, kernels=plan.kernels[-1:])
    return apply(plan, displacement, 0.0, is_label=False)


def _is_one_lattice(target: Grid, field: DisplacementField) -> bool:
    """Whether a field is known to lie on a grid."""
    one, other = on_host(target.affine), on_host(field.affine)
    if tuple(field.displacement.shape[-4:-1]) != tuple(target.shape):
        return False
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.allclose(one, other, rtol=0, atol=1e-9)
    return one is other


def tables_of(
    matrix: Any, offset: Any, shape: Sequence[int], dtype: Any, first: Any = None
) -> tuple[tuple[Any, Any], ...]:
    """Splits `matrix @ index + offset` into one table per output axis: `(base, fraction)`, each `(*batch, n, rank)`.

    Indices count from `first`, `(*batch, rank)` whole numbers; default 0.
    """
    xp = np if isinstance(matrix, np.ndarray) and isinstance(offset, np.ndarray) else jnp
    if xp is np:
        matrix, offset = snapped(matrix), snapped(offset)
    made = []
    for axis, size in enumerate(shape):
        index = xp.arange(size, dtype=matrix.dtype).reshape((1,) * (matrix.ndim - 2) + (-1, 1))
        index = index if first is None else index + first[..., axis, None, None].astype(index.dtype)
        values = index * matrix[..., None, :, axis]
        if axis == 0:
            values = values + offset[..., None, :]
        base = xp.floor(values)
        if xp is jnp:
            base = jax.lax.stop_gradient(base)
        rest = values - base if xp is jnp else _exactly_summed(values - base, dtype)
        made.append((base.astype(np.int32), rest.astype(dtype)))
    return tuple(made)


def _steps(dtype: Any) -> float:
    return 2.0 ** (np.finfo(dtype).nmant - 1)


def _exactly_summed(fraction: np.ndarray, dtype: Any) -> np.ndarray:
    """Rounds fractions so that any three add up without error in a dtype: no order of summation decides a tie."""
    return np.round(fraction * _steps(dtype)) / _steps(dtype)


def slack_of(dtype: Any) -> float:
    """The least slack, in voxels: more than the error of a sum of three fractions."""
    return 2.0 / _steps(dtype)


def snapped(values: np.ndarray) -> np.ndarray:
    """Snaps values within 1e-10 of a half-integer to it, so that rounding errors do not decide ties."""
    halves = np.round(2 * values) / 2
    return np.where(np.abs(values - halves) < 1e-10 * np.maximum(1.0, np.abs(values)), halves, values)
