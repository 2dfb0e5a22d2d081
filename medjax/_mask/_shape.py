"""Place and extent of a mask: its centre of mass, its radius and its points."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, get_args

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from medjax._geometry._grid import product, transformed
from medjax._geometry._numbers import is_traced
from medjax._geometry._types import AnyArray, Frame, Leaf, Points
from medjax._image._checks import check_choice, check_count, check_not_empty
from medjax._image._image import Image
from medjax._image._per_item import aligned, as_array
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import compiled
from medjax._lazy import public
from medjax._mask._voxels import batch_first, float_like, inside_of, weights_of

__all__ = ["MaskPoints", "barycenter", "mask_points", "max_radius"]


def barycenter(mask: Image, *, frame: Frame = "world") -> AnyArray:
    """Returns the centre of mass of a mask: the mean position of its voxel centres, weighted by their values.

    Args:
        mask: Booleans and integers count 1 where they are not 0. Fractions (a soft mask, not negative) are weights. Any
            batch, any channels.
        frame: "world" for LPS mm, "index" for a continuous voxel index.

    Returns:
        `(*batch, *channels, 3)`, float64 NumPy where it is known.

    Raises:
        ValueError: a known mask is empty or holds NaN, infinity or a negative weight, or the frame is unknown.

    Transforms:
        `jit`, `vmap`, differentiable in soft voxels and in the affine. Compiles once per shape. An empty traced mask
        gives the centre of the field of view, with zero gradient.

    Example:
        >>> voxels = np.zeros((4, 4, 4), bool)
        >>> voxels[1:3, 2, 0] = True
        >>> mask = mj.Image.from_array(voxels, spacing=(2, 1, 1), origin=(10, 0, 0), kind="label")
        >>> mj.barycenter(mask).tolist(), mj.barycenter(mask, frame="index").tolist()
        ([13.0, 2.0, 0.0], [1.5, 2.0, 0.0])
    """
    check_choice(frame, "frame", get_args(Frame))
    weights = weights_of(mask, most=np.inf)
    marginals = [float_like(line) for line in _marginals(weights)]
    check_not_empty(marginals[0].sum(-1), "barycenter: the mask is empty")
    index = _mean_index(marginals)
    return index if frame == "index" else _world(mask, index)


@compiled
def _marginals(
    weights: Num[Array, "*lead i j k"],
) -> tuple[Num[Array, "*lead i"], Num[Array, "*lead j"], Num[Array, "*lead k"]]:
    """Sums over all axes but one. A centre of mass needs no more, and the host can finish the rest in float64."""
    return weights.sum((-2, -1)), weights.sum((-3, -1)), weights.sum((-3, -2))


def _mean_index(marginals: list[Any]) -> Any:
    xp = marginals[0].__array_namespace__()
    means = []
    for line in marginals:
        middle = (line.shape[-1] - 1) / 2  # offsets from the middle keep float32 sums small
        offsets = xp.asarray(np.arange(line.shape[-1]) - middle, dtype=line.dtype)
        total, moment = line.sum(-1), transformed(line[..., None, :], offsets)[..., 0]
        is_empty = total <= 0  # NaN is not: it stays NaN
        means.append(
            middle + xp.where(is_empty, xp.zeros_like(total), moment / xp.where(is_empty, xp.ones_like(total), total))
        )
    return xp.stack(means, axis=-1)


def _world(mask: Image, index: Any) -> Any:
    """Returns the world position, LPS mm, of an index per item and channel, `(*batch, *channels, 3)`."""
    affine = batch_first(mask.grid.affine, mask)
    affine, index = float_like(affine, index), float_like(index, affine)
    return transformed(affine[..., :3, :3], index) + affine[..., :3, 3]


def max_radius(mask: Image, center: Points | None = None) -> AnyArray:
    """Returns the largest distance in mm from a centre to the centre of any voxel of a mask.

    Args:
        mask: All voxels that are not 0. Any batch, any channels.
        center: World position, LPS mm, `(3,)`, or an array that broadcasts to `(*batch, *channels, 3)`. Default the
            `barycenter`.

    Returns:
        `(*batch, *channels)` mm, float64 NumPy where it is known.

    Raises:
        ValueError: a known mask is empty or holds NaN or infinity, or the centre is no point.

    Transforms:
        `jit`, `vmap`, differentiable in `center` and in the affine. Compiles once per shape. An empty traced mask gives
        0.

    Example:
        >>> voxels = np.zeros((4, 4, 4), bool)
        >>> voxels[0, 0, 0] = voxels[3, 0, 2] = True
        >>> mask = mj.Image.from_array(voxels, spacing=(1, 1, 2), kind="label")
        >>> mj.max_radius(mask).item(), mj.max_radius(mask, (0, 0, 0)).item()
        (2.5, 5.0)
    """
    inside = inside_of(mask)
    lead = inside.shape[:-3]
    middle = barycenter(mask) if center is None else as_array(center, "center")
    affine = batch_first(mask.grid.affine, mask)
    affine, middle = float_like(affine, middle), float_like(middle, affine)
    middle = aligned(middle, mask.batch_shape, mask.channels, "center", tail=(3,))
    if not is_traced(middle) and not np.isfinite(middle).all():
        raise ValueError(f"center must be finite, LPS mm, got {middle.tolist()}")
    xp = affine.__array_namespace__()
    middle = xp.broadcast_to(middle.reshape((1,) * (len(lead) + 1 - middle.ndim) + middle.shape), (*lead, 3))
    matrix = xp.broadcast_to(affine[..., :3, :3], (*lead, 3, 3))
    offset = xp.broadcast_to(affine[..., :3, 3], (*lead, 3)) - middle
    farthest, is_there = _farthest(inside, _single(matrix), _single(offset))
    check_not_empty(is_there, "max_radius: the mask is empty")
    index = float_like(farthest, affine)
    matrix, offset = float_like(matrix, farthest), float_like(offset, farthest)
    distance = _length(transformed(matrix, index) + offset)
    return distance if not is_traced(is_there) else jnp.where(is_there, distance, 0.0)


def _single(value: Any) -> Any:
    return value.astype(np.float32) if isinstance(value, np.ndarray) else value


def _length(vector: Any) -> Any:
    """Returns the Euclidean length, with gradient 0 at 0."""
    xp = vector.__array_namespace__()
    squared = (vector * vector).sum(-1)
    is_zero = squared == 0
    return xp.where(is_zero, xp.zeros_like(squared), xp.where(is_zero, xp.ones_like(squared), squared) ** 0.5)


@compiled
def _farthest(
    inside: Bool[Array, "*lead i j k"], matrix: Float[Array, "*lead 3 3"], offset: Float[Array, "*lead 3"]
) -> tuple[Int[Array, "*lead 3"], Bool[Array, "*lead"]]:
    """Returns the index of the voxel with the longest `matrix @ index + offset`, and whether any voxel is inside."""

    def farthest(
        inside: Bool[Array, "i j k"], matrix: Float[Array, "3 3"], offset: Float[Array, " 3"]
    ) -> tuple[Array, Array]:
        i, j, k = (jnp.arange(n, dtype=matrix.dtype) for n in inside.shape)
        squared = sum(
            (
                matrix[axis, 0] * i[:, None, None]
                + (matrix[axis, 1] * j[None, :, None] + (matrix[axis, 2] * k[None, None, :] + offset[axis]))
            )
            ** 2
            for axis in range(3)
        )
        best = jnp.where(inside, squared, -1.0).argmax()
        return jnp.stack(jnp.unravel_index(best, inside.shape)).astype(jnp.int32), inside.any()

    matrix, offset = jax.lax.stop_gradient((matrix, offset))
    return over_batch(farthest, inside.ndim - 3)(inside, matrix, offset)


@public("medjax")
class MaskPoints(NamedTuple):
    """Positions of a mask's voxels, in a fixed number of rows.

    Attributes:
        points: `(*batch, *channels, max_points, 3)`; rows from `count` on repeat the first.
        count: Number of rows that hold distinct voxels, `(*batch, *channels)` int32.

    Example:
        >>> points, count = mj.mask_points(mj.Image.from_array(np.eye(2, dtype=bool)[..., None], spacing=3.0), 3)
        >>> points.tolist(), int(count)
        ([[0.0, 0.0, 0.0], [3.0, 3.0, 0.0], [0.0, 0.0, 0.0]], 2)
    """

    points: Leaf
    count: Leaf


jax.export.register_namedtuple_serialization(MaskPoints, serialized_name="medjax.MaskPoints")


def mask_points(mask: Image, max_points: int, *, frame: Frame = "world") -> MaskPoints:
    """Returns the voxel centres of a mask as a fixed number of points.

    A mask with more voxels gives every n-th of them, evenly spread over the scan order (last axis fastest). A mask with
    fewer voxels repeats its first point, which changes no distance, hull or bounding box.

    Args:
        mask: All voxels that are not 0. Any batch, any channels.
        max_points: Number of rows.
        frame: "world" for LPS mm, "index" for voxel indices.

    Returns:
        Points, `(*batch, *channels, max_points, 3)`, and how many rows count. World points are float64 NumPy where they
        are known, and indices are int32. An empty mask has count 0, and its rows hold voxel (0, 0, 0).

    Raises:
        ValueError: `max_points` is not positive, a known mask holds NaN or infinity, or the frame is unknown.

    Transforms:
        `jit`, `vmap`, differentiable in the affine. Compiles once per shape and `max_points`.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 1, 0, 1]).reshape(4, 1, 1), spacing=2.0, kind="label")
        >>> points, count = mj.mask_points(image, 3)
        >>> points.tolist(), int(count)
        ([[2.0, 0.0, 0.0], [6.0, 0.0, 0.0], [2.0, 0.0, 0.0]], 2)
    """
    check_choice(frame, "frame", get_args(Frame))
    check_count(max_points, "max_points")
    index, count = _scattered(inside_of(mask), max_points)
    if not is_traced(index):
        index, count = np.asarray(index), np.asarray(count)
    if frame == "index":
        return MaskPoints(index, count)
    affine = mask.grid.affine
    affine, points = batch_first(float_like(affine, index), mask), float_like(index, affine)
    # Row vectors times the transposed matrix: one product for all points of an item.
    world = product(points, affine[..., :3, :3].swapaxes(-1, -2)) + affine[..., None, :3, 3]
    return MaskPoints(world, count)


@functools.partial(compiled, static_argnums=1)
def _scattered(
    inside: Bool[Array, "*lead i j k"], max_points: int
) -> tuple[Int[Array, "*lead n 3"], Int[Array, "*lead"]]:
    def chosen(inside: Bool[Array, "i j k"]) -> tuple[Array, Array]:
        rank = jnp.cumsum(inside.reshape(-1), dtype=jnp.int32)
        total = rank[-1]
        row = jnp.arange(max_points, dtype=jnp.int32)
        spread = (row.astype(jnp.float32) * (total.astype(jnp.float32) / max_points)).astype(jnp.int32)
        wanted = jnp.where(total > max_points, jnp.minimum(spread, total - 1), jnp.where(row < total, row, 0))
        flat = jnp.where(total > 0, jnp.searchsorted(rank, wanted + 1), 0)
        return jnp.stack(jnp.unravel_index(flat, inside.shape), -1).astype(jnp.int32), jnp.minimum(total, max_points)

    return over_batch(chosen, inside.ndim - 3)(inside)
