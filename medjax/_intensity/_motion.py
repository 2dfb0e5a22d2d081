"""Motion during an MR acquisition: parts of k-space are those of the moved head."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._grid import four_by_four, inverse_3x3, product
from medjax._geometry._numbers import is_traced, together
from medjax._geometry._types import Axis, Fill, PerItem, Points
from medjax._image._image import Image
from medjax._image._per_item import aligned, as_array
from medjax._intensity._kspace import Along, axis_for
from medjax._intensity._parameters import as_numbers, voxels_of
from medjax._kernels._axis_matrix import along_axes
from medjax._kernels._batch import keeping_sharding
from medjax._kernels._compiled import compiled
from medjax._kernels._frequency import segment_matrix
from medjax._kernels._values import as_float, exactly
from medjax._space._move import affine_matrix, affine_transform

__all__ = ["motion"]


def motion(
    image: Image,
    rotation: Points,
    translation: Points,
    times: PerItem,
    *,
    axis: Axis | PerItem,
    fill: Fill | None = None,
) -> Image:
    r"""Imitates a patient who moves between the lines of k-space: $y = x + \sum_m \mathrm{Re}(C_m)\,(T_m x - x)$.

    The lines along the phase axis, in the order of their frequency, fall into $M + 1$ segments at $M$ times. The
    segment with frequency 0 is that of the image as it is, which therefore stays in place. The others, in their order,
    are those of the image moved by $T_1 \dots T_M$: by a rotation about the centre of the field of view, in world mm,
    and a translation. $C_m$ keeps the lines of a segment.

    Along an axis of one voxel nothing moves, and content turns about this axis alone.

    Args:
        image: Intensities, any batch, any channels.
        rotation: Degrees about the world's x, y and z, as in `affine_matrix`, of each pose: `(m, 3)`, or `(*batch, m,
            3)`.
        translation: mm along the world's L, P, S of each pose, likewise.
        times: When a segment ends, as shares of the acquisition that do not fall, within 0 to 1: `(m,)`, or `(*batch,
            m)`.
        axis: The phase axis, i, j or k; or the numbers 0, 1 and 2 for each item, which may be traced.
        fill: Value outside the field of view of the image that moves; default the background.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). Without rotation and translation these are
        the voxels of the image, to the bit.

    Raises:
        ValueError: the image holds labels, the axis is unknown, or the numbers of poses and times differ.

    Transforms:
        Differentiable in the voxels, `rotation`, `translation` and `fill`. Times decide whole lines, so they have no
        gradient. Compiles once per shape, dtype, number of poses and axis that is known.

    Example:
        >>> image = mj.Image.from_array(np.eye(1, 8, 4).reshape(8, 1, 1))
        >>> moved = mj.motion(image, np.zeros((1, 3)), [[1.0, 0.0, 0.0]], [0.75], axis="i", fill=0.0)
        >>> [round(float(x), 2) for x in moved.voxels.ravel()]
        [0.09, -0.09, 0.21, -0.04, 0.66, 0.34, 0.04, -0.21]

    Source: Shaw et al., MRI k-space motion artefact augmentation, MIDL 2019.
    """
    voxels, batch = voxels_of(image, "motion"), image.batch_shape
    along, poses = axis_for(image, axis), as_array(times, "times").shape[-1:]
    if not poses:
        raise ValueError(f"times must be (m,) or (*batch, m), one for each pose, got {times!r}")
    ends = aligned(_finite(times, "times"), batch, (), "times", tail=poses)
    if not is_traced(ends) and not ((ends >= 0) & (ends <= 1)).all():
        raise ValueError(f"times must be within 0 to 1, got {ends.tolist()}")
    if not is_traced(ends) and (np.diff(ends, axis=-1) < 0).any():
        raise ValueError(f"times must not fall, got {ends.tolist()}")
    degrees, mm = (
        aligned(_finite(value, name), batch, (), name, tail=(*poses, 3))
        for name, value in (("rotation", rotation), ("translation", translation))
    )
    moved = [
        affine_transform(image, _in_plane(image, affine_matrix(mm[..., m, :], degrees[..., m, :])), fill=fill).voxels
        for m in range(poses[0])
    ]
    depth = len(batch)
    found = [as_array((value == 0).all((-2, -1)), "pose") for value in (degrees, mm)]
    still = [each.reshape((1,) * (depth - each.ndim) + each.shape) for each in found]
    return image.with_voxels(_mixed(voxels, moved, ends, still, along, depth=depth))


def _finite(value: Any, name: str) -> Any:
    if is_traced(value):
        return as_array(value, name)
    array = as_numbers(value, name)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array.tolist()}")
    return array


def _in_plane(image: Image, matrix: Any) -> Any:
    """The same motion where all axes have several voxels; else what of it happens along those that do."""
    thin = [axis for axis, size in enumerate(image.shape) if size == 1]
    if not thin:
        return matrix
    xp, (matrix, affine) = together(matrix, image.grid.affine)
    linear = affine[..., :3, :3]
    back = inverse_3x3(linear)
    step = product(back, matrix[..., :3, 3:])
    turn = product(product(back, matrix[..., :3, :3]), linear)
    is_free = np.ones(3)
    is_free[thin] = 0
    turn = turn * xp.asarray(np.outer(is_free, is_free), dtype=turn.dtype) + xp.asarray(
        np.diag(1 - is_free), dtype=turn.dtype
    )
    step = step * xp.asarray(is_free[:, None], dtype=step.dtype)
    return four_by_four(product(product(linear, turn), back), product(linear, step)[..., 0])


@functools.partial(compiled, static_argnames="depth")
def _mixed(
    voxels: Shaped[Array, "*shape"],
    moved: list[Shaped[Array, "*shape"]],
    ends: Num[Array, "*ends"],
    still: list[Shaped[Array, "*still"]],
    along: Along,
    depth: int,
) -> Float[Array, "*shape"]:
    def mixed(voxels: Any, moved: Any, ends: Any, still: Any, along: Along) -> Any:
        x, tail = as_float(voxels), voxels.ndim - depth - 3
        times = ends.reshape((1,) * (depth + 1 - ends.ndim) + ends.shape).astype(x.dtype)
        y = x
        for m, other in enumerate(moved):
            matrices: list[Any] = [None, None, None]
            for a in along.candidates:
                size = x.shape[depth + a]
                start, stop = _lines(times, m, size)
                matrix = segment_matrix(start, stop, size, x.dtype)
                matrix = matrix.reshape(*matrix.shape[:-2], *(1,) * tail, size, size)
                if along.numbers is not None:
                    own = along.holds(a, depth)[..., None, None]
                    matrix = jnp.where(
                        own, matrix, jnp.eye(size, dtype=x.dtype).reshape((1,) * (depth + tail) + (size, size))
                    )
                matrices[a] = matrix
            y = y + along_axes(other.astype(x.dtype) - x, matrices, depth)
        is_still = still[0] & still[1]
        return exactly(is_still.reshape(is_still.shape + (1,) * (3 + tail)), x, y)

    return keeping_sharding(mixed, depth)(voxels, moved, ends, still, along)


def _lines(times: Any, pose: int, size: int) -> tuple[Any, Any]:
    """The first line of a pose's segment and the one after its last; line `size // 2` has frequency 0."""
    ends = jnp.clip(jnp.ceil(times * size - 0.5 - 1e-4), 0, size).astype(jnp.int32)
    first, last = jnp.zeros_like(ends[..., :1]), jnp.full_like(ends[..., :1], size)
    edges = jnp.concatenate([first, jnp.sort(ends, axis=-1), last], axis=-1)
    still = (edges[..., 1:-1] <= size // 2).sum(-1)  # the segment of frequency 0
    is_before = pose < still
    start = jnp.where(is_before, edges[..., pose], edges[..., pose + 1])
    return start, jnp.where(is_before, edges[..., pose + 1], edges[..., pose + 2])
