"""Makes plans, on the host in float64, before any voxel moves.

A known map along the axes becomes one operator an axis. Any other map becomes an affine lattice of points, or a dense
set of points where a displacement field takes part. Traced geometry gives the same tables as traced values, so
gradients reach the geometry through the same code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from medjax._geometry._grid import Grid
from medjax._geometry._transform import AffineTransform, stages
from medjax._kernels._adjoint import Inverse
from medjax._kernels._bands import Band, Operator, dense, transposed, without_idle_taps
from medjax._kernels._bspline import gaussian_matrix, spline_matrix
from medjax._space._lattice import Lattice, located, snapped, tables_of
from medjax._space._plan import Bands, Points

__all__ = ["ORDERS", "Interpolation", "Manner", "planned"]

Interpolation = Literal["nearest", "linear", "bspline"]
ORDERS: dict[str, int] = {"nearest": 0, "linear": 1, "bspline": 3}

# A map that strays by less than this many voxels over a whole axis counts as aligned with it, or as whole voxels.
_DRIFT = 1e-6


class Manner(NamedTuple):
    """How to sample.

    Attributes:
        order: Spline order.
        dtype: Real dtype to compute in.
        has_gradient: Whether a gradient by the voxels may be asked for. Its adjoint needs the map back as well.
        sigma: Gaussian smoothing before sampling, in input voxels per input axis, or `None`; maps along the axes only.
    """

    order: int
    dtype: np.dtype
    has_gradient: bool
    sigma: Sequence[float] | None = None


def planned(target: Grid, source: Grid, transform: Any, manner: Manner) -> Bands | Points:
    """Plans how a grid is filled from another through a world-to-world transform.

    Args:
        target: The grid to fill; its affine may be batched as the source's.
        source: The grid that is sampled; its batch is the plan's.
        transform: Maps target world points to source world points; `None` for the identity.
        manner: How to sample.

    Raises:
        ValueError: geometry for another batch, or smoothing where the map is traced or not along the axes.
    """
    _check_batch(source.affine.shape[:-2], target, transform)
    lattice = located(target, source, transform, manner.dtype)
    axes = _alignment(lattice.matrix, target.shape) if lattice.is_settled else None
    if axes is not None:
        return _bands(lattice, source.shape, target.shape, axes, manner)
    if manner.sigma is not None:
        raise ValueError("antialias needs known geometry and a map along the image's axes; smooth the image first")
    return _points(lattice, source, target.shape, manner)


def _check_batch(batch: tuple[Any, ...], target: Grid, transform: Any) -> None:
    """Refuses geometry that is neither for all items nor one for each."""
    found = [("grid", target.affine.shape[:-2])]
    for stage in stages(transform):
        if isinstance(stage, AffineTransform):
            found += [("matrix", np.shape(stage.matrix)[:-2]), ("center", np.shape(stage.center)[:-1])]
        else:
            found += [("displacement", stage.displacement.shape[:-4]), ("field's affine", stage.affine.shape[:-2])]
    for name, own in found:
        if tuple(own) not in ((), batch):
            raise ValueError(
                f"the {name} is for a batch of shape {tuple(own)} and the image's is {batch}: give one for all items "
                "or one for each, use jax.vmap, or stack the image"
            )


def _points(lattice: Lattice, source: Grid, shape: tuple[int, ...], manner: Manner) -> Points:
    points = lattice.points(source.affine, source.shape, shape, manner.order, manner.dtype)
    if not lattice.is_settled:
        return points
    sizes, matrix, offset = source.shape, lattice.matrix, lattice.offset
    orders = _orders(matrix, offset, shape, manner.order)
    keeps_lines, inverse = orders[2] == 0 and _keeps_lines(matrix, offset, sizes, shape), None
    if manner.has_gradient:
        rank = 2 if keeps_lines else 3
        eased = offset + np.where(np.asarray(orders) == 0, lattice.slack, 0.0)
        inverse = _inverse(matrix[..., :rank, :rank], eased[..., :rank], sizes[:rank], orders[:rank], manner.dtype)
    return dataclasses.replace(points, orders=orders, keeps_lines=keeps_lines, inverse=inverse)


def _bands(
    lattice: Lattice, sizes: tuple[int, ...], shape: Sequence[int], axes: tuple[int, ...], manner: Manner
) -> Bands:
    """Builds for each output axis its operator and the mask of the indices that lie inside; stacked for a batch."""
    matrix, offset, batch = lattice.matrix, lattice.offset, lattice.offset.shape[:-1]
    operators, masks = [], []
    for out_axis, axis in enumerate(axes):
        scale, start = matrix[..., axis, out_axis].reshape(-1, 1), offset[..., axis].reshape(-1, 1)
        positions = _positions(scale, start, shape[out_axis])
        eased = positions + lattice.slack[..., axis].reshape(-1, 1)
        size, whole = sizes[axis], _are_whole(positions)
        own = manner._replace(order=0) if whole else manner
        smooth = manner.sigma[axis] if manner.sigma is not None else 0.0
        rows = eased if manner.order == 0 and not whole else positions
        made = [_operator(row, size, own, smooth) for row in rows]
        operators.append(made[0] if not batch else _stacked(made, batch))
        masks.append(((eased >= -0.5) & (eased < size - 0.5)).reshape(*batch, -1))
    return Bands(tuple(operators), tuple(masks), axes, sizes, manner.dtype.name)


def _positions(scale: Any, start: Any, count: int) -> np.ndarray:
    """Places along an input axis of an axis-aligned map's output indices."""
    return snapped(scale * np.arange(count) + start)


def _are_whole(positions: np.ndarray) -> bool:
    return bool((np.abs(positions - np.round(positions)) < _DRIFT).all())


def _alignment(matrix: np.ndarray, shape: Sequence[int]) -> tuple[int, ...] | None:
    """Tells which input axis each output axis runs along, or `None` where the map mixes axes."""
    drift = np.abs(matrix) * (np.asarray(shape) - 1)
    along = np.abs(matrix).reshape(-1, 3, 3).max(0).argmax(0)
    mixes = np.ones((3, 3), bool)
    mixes[along, np.arange(3)] = False
    if sorted(along) != [0, 1, 2] or (drift[..., mixes] > _DRIFT).any():
        return None
    return tuple(int(d) for d in along)


def _orders(matrix: np.ndarray, offset: np.ndarray, shape: Sequence[int], order: int) -> tuple[int, ...]:
    """Lowers the order to 0 along input axes that are only ever sampled at voxel centres: exact, and fewer taps."""
    reach = np.asarray(shape) - 1
    whole = (np.abs(matrix - np.round(matrix)) * reach < _DRIFT).all(-1) & (np.abs(offset - np.round(offset)) < _DRIFT)
    return tuple(0 if exact else order for exact in whole.reshape(-1, 3).all(0))


def _keeps_lines(matrix: np.ndarray, offset: np.ndarray, sizes: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether every output line along the last axis is sampled in one input line, voxel by voxel."""
    moves = np.abs(matrix - np.eye(3)) * (np.asarray(shape) - 1)
    apart = np.concatenate([moves[..., 2, :], moves[..., :, 2], np.abs(offset[..., 2:])], axis=-1)
    return sizes[2] == shape[2] and bool((apart < _DRIFT).all())


def _inverse(
    matrix: np.ndarray, offset: np.ndarray, shape: Sequence[int], orders: Sequence[int], dtype: Any
) -> Inverse | None:
    """The map from input to output index, and how many outputs can touch a voxel; `None` if there are too many."""
    if max(orders) > 1:
        return None
    back = np.linalg.inv(matrix)
    away = -(back @ offset[..., None])[..., 0]
    support = np.where(np.asarray(orders) == 0, 0.5, 1.0)
    half = (np.abs(back) * support).sum(-1)
    reach = tuple(int(n) for n in np.ceil(2 * half - 1e-9).reshape(-1, half.shape[-1]).max(0))
    if np.prod(reach) > 150:
        return None
    return Inverse(tables_of(back, away, shape, dtype), matrix.astype(dtype), half.astype(dtype), reach)


def _operator(positions: np.ndarray, size: int, manner: Manner, sigma: float) -> Operator:
    order, dtype = manner.order, manner.dtype
    positions = np.clip(positions, -0.5, size - 0.5)
    if order > 1 or sigma > 0:
        matrix = spline_matrix(positions, size, order) if order > 1 else dense(_band(positions, size, order))
        return (matrix @ gaussian_matrix(size, sigma) if sigma > 0 else matrix).astype(dtype)
    band = _band(positions, size, order)
    back = _cast(transposed(band), dtype) if manner.has_gradient else None
    return dataclasses.replace(_cast(without_idle_taps(band), dtype), back=back)


def _cast(band: Band, dtype: Any) -> Band:
    return band if band.weight is None else dataclasses.replace(band, weight=band.weight.astype(dtype))


def _band(positions: np.ndarray, size: int, order: int) -> Band:
    if order == 0:
        nearest = np.clip(np.floor(positions + 0.5), 0, size - 1)
        return Band(nearest.astype(np.int32)[:, None], None, size)
    low = np.floor(positions)
    place = positions - low
    index = np.clip(np.stack([low, low + 1], axis=-1), 0, size - 1).astype(np.int32)
    return Band(index, np.stack([1 - place, place], axis=-1), size)


def _stacked(made: list[Operator], batch: tuple[int, ...]) -> Operator:
    """Stacks the operators of a batch; transposed bands are padded to one width with entries of weight 0."""

    def stack(*parts: Any) -> Any:
        width = max(part.shape[-1] for part in parts)
        padded = [np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, width - part.shape[-1])]) for part in parts]
        return np.stack(padded).reshape(*batch, *padded[0].shape)

    return jax.tree.map(stack, *made)
