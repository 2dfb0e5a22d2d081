"""Where images lie relative to the one about whose centre things move: numbers that a program takes, in float64 while
known.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import inverse_3x3, product, spacing_of, transformed
from medjax._geometry._numbers import together
from medjax._geometry._orientation import signed_axes
from medjax._image._image import Image
from medjax._kernels._batch import broadcast

__all__ = ["Frame", "Reference", "frames_of", "is_own_lattice", "patch_of"]

_NEAR = 1e-3
"""Voxels within which a centre is another one, and the difference of two directions that are one."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """The image about whose centre things move.

    Attributes:
        axes: Unit columns of its affine, `(*batch, 3, 3)`.
        inverse: Its inverse.
        spacing: mm, `(*batch, 3)`.
        center: Centre of its field of view, `(*batch, 3)` LPS mm.
        along: The index axis that runs along each world axis, `(*batch, 3)` integers.
        shape: Its size; static.
    """

    axes: Any
    inverse: Any
    spacing: Any
    center: Any
    along: Any
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """The lattice of one image, about the centre of the reference.

    Attributes:
        linear: From index to mm, `(*batch, 3, 3)`.
        inverse: From mm to index.
        away: The first voxel from the centre of the reference, `(*batch, 3)` mm.
        matrix: From index to index of the reference, `(*batch, 3, 3)`.
        start: Index in the reference of the first voxel, `(*batch, 3)`.
        is_alike: Whether axes and centre are those of the reference, `(*batch,)`: then its axes are turned voxel by
            voxel.
        spacing: mm, `(*batch, 3)`.
        shape: Its size; static, as what follows.
        is_known_alike: Whether `is_alike` is known to be true for all items.
        keeps_axes: Whether its axes are known to run along those of the reference, in order.
    """

    linear: Any
    inverse: Any
    away: Any
    matrix: Any
    start: Any
    is_alike: Any
    spacing: Any
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    is_known_alike: bool = dataclasses.field(metadata={"static": True})
    keeps_axes: bool = dataclasses.field(metadata={"static": True})


def frames_of(pictures: dict[str, Image], reference: str) -> tuple[Reference, dict[str, Frame]]:
    """Finds the frames of images, each about the centre of the reference."""
    own = pictures[reference]
    _, (affine,) = together(own.affine)
    linear, middle = affine[..., :3, :3], _middle(own.shape, affine)
    spacing = spacing_of(affine)
    axes = linear / spacing[..., None, :]
    center = transformed(linear, _spread(middle, affine.shape[:-2])) + affine[..., :3, 3]
    made = Reference(axes, inverse_3x3(axes), spacing, center, _along(affine, axes), own.shape)
    frames = {name: _frame(image, own, image is own or image.affine is own.affine) for name, image in pictures.items()}
    return _narrowed(made), {name: _narrowed(frame) for name, frame in frames.items()}


def _frame(image: Image, own: Image, is_own: bool) -> Frame:
    xp, (affine, other) = together(image.affine, own.affine)
    linear, base = affine[..., :3, :3], other[..., :3, :3]
    batch = affine.shape[:-2]
    middle = _spread(_middle(own.shape, affine), batch)
    back = inverse_3x3(base)
    if is_own:  # no origin takes part
        gap = xp.zeros((*batch, 3), dtype=affine.dtype)
        matrix = xp.broadcast_to(xp.eye(3, dtype=affine.dtype), (*batch, 3, 3))
    else:
        gap, matrix = affine[..., :3, 3] - other[..., :3, 3], product(back, linear)
    away, start = gap - transformed(base, middle), transformed(back, gap)
    spacing = spacing_of(affine)
    axes, wanted = linear / spacing[..., None, :], base / spacing_of(other)[..., None, :]
    inverse = inverse_3x3(linear)
    off = transformed(inverse, away) + _spread(_middle(image.shape, affine), batch)
    is_alike = (abs(off) < _NEAR).all(-1) & (abs(axes - wanted) < _NEAR).all((-2, -1))
    is_diagonal = (
        (abs(matrix * (1 - np.eye(3, dtype=matrix.dtype))) < 1e-6).all() if isinstance(matrix, np.ndarray) else False
    )
    if is_own and image.shape == own.shape:
        is_alike = xp.ones(batch, dtype=bool)
    is_known = (is_own and image.shape == own.shape) or (
        isinstance(is_alike, np.ndarray | np.generic) and bool(is_alike.all())
    )
    return Frame(
        linear, inverse, away, matrix, start, is_alike, spacing, image.shape, is_known, is_own or bool(is_diagonal)
    )


def is_own_lattice(frame: Frame, reference: Reference) -> Any:
    """Whether an image lies on the lattice of the reference, `(*batch,)`; `False` where their sizes say so."""
    if frame.shape != reference.shape:
        return False
    gap = abs(frame.matrix - jnp.eye(3, dtype=frame.matrix.dtype)).max((-2, -1))
    return (gap < 1e-6) & (abs(frame.start) < _NEAR).all(-1)


def patch_of(reference: Reference, frame: Frame, size: tuple[int, ...], start: Any) -> tuple[Reference, Frame]:
    """A patch of the reference and its frame, about the centre of the patch itself; for one item.

    Args:
        reference: The image about whose centre things move.
        frame: Its frame.
        size: Voxels of the patch.
        start: Index of its first voxel, `(3,)`.
    """
    real = frame.linear.dtype
    middle = jnp.asarray((np.asarray(size) - 1) / 2, real)
    away = transformed(frame.linear, middle)
    center = reference.center + frame.away + transformed(frame.linear, start.astype(real)) + away
    own = dataclasses.replace(reference, center=center, shape=tuple(size))
    eye = jnp.eye(3, dtype=real)
    return own, dataclasses.replace(
        frame,
        away=-away,
        matrix=eye,
        start=jnp.zeros(3, real),
        is_alike=jnp.ones((), bool),
        shape=tuple(size),
        is_known_alike=True,
        keeps_axes=True,
    )


def _middle(shape: Any, like: Any) -> Any:
    return like.__array_namespace__().asarray((np.asarray(shape) - 1) / 2, dtype=like.dtype)


def _spread(vector: Any, batch: Any) -> Any:
    return broadcast(vector, (*batch, 3))


def _along(affine: Any, axes: Any) -> Any:
    """The index axis along each world axis: the largest cosine of all first, then the largest among those that
    remain.
    """
    if isinstance(affine, np.ndarray):
        found = np.zeros((*affine.shape[:-2], 3), np.int32)
        for item in np.ndindex(*affine.shape[:-2]):
            for axis, (world, _) in enumerate(signed_axes(affine[item])):
                found[(*item, world)] = axis
        return found
    left = abs(axes)
    along = jnp.zeros((*axes.shape[:-2], 3), jnp.int32)
    for _ in range(3):
        best = left.reshape((*left.shape[:-2], 9)).argmax(-1)
        world, axis = best // 3, best % 3
        is_row, is_column = (
            world[..., None] == np.arange(3).reshape((1,) * world.ndim + (3,)),
            axis[..., None] == np.arange(3).reshape((1,) * axis.ndim + (3,)),
        )
        along = jnp.where(is_row, axis[..., None].astype(jnp.int32), along)
        left = jnp.where(is_row[..., :, None] | is_column[..., None, :], -1, left)
    return along


def _narrowed(frame: Any) -> Any:
    """Brings numbers to the precision that the program computes in."""
    real = jax.dtypes.canonicalize_dtype(np.float64)
    return jax.tree.map(lambda leaf: leaf.astype(real) if jnp.issubdtype(leaf.dtype, np.floating) else leaf, frame)
