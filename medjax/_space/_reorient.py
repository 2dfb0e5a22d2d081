"""Exact changes of axis order and direction."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import Grid
from medjax._geometry._orientation import check_code, reorientation
from medjax._geometry._types import Axis, Orientation
from medjax._image._image import Image, check_image
from medjax._kernels._compiled import compiled
from medjax._space._pending import rearrange

__all__ = ["change_orientation", "flip"]

_AXES = {"i": 0, "j": 1, "k": 2}


def axis_number(axis: Any, name: str = "axis") -> int:
    """Reads an image axis, 0, 1, 2 or "i", "j", "k"; `name` is the argument that an error names."""
    number = _AXES.get(axis, axis) if isinstance(axis, str) else axis
    if not isinstance(number, int | np.integer) or isinstance(number, bool) or number not in (0, 1, 2):
        raise ValueError(f"{name} must be 0, 1, 2 or 'i', 'j', 'k', got {axis!r}")
    return int(number)


def change_orientation(image: Image, orientation: Orientation) -> Image:
    """Permutes and flips the axes until they run along given anatomical directions; every voxel stays where it is.

    This is exact: nothing is interpolated, and each voxel keeps its value and world position. An oblique grid takes the
    nearest of the 48 orientations. A NumPy image stays NumPy (a view); a JAX image stays on its device.

    Args:
        image: Any channels; the items of a batch must share the permutation.
        orientation: Three letters, the anatomical direction of increasing i, j, k: "RAS", "LPS", ... (nibabel's codes).

    Returns:
        The image in that orientation.

    Raises:
        ValueError: the code is none of the 48, the items of a batch need different permutations, or the geometry is
            traced (the shape of the result would depend on its values).

    Transforms:
        Differentiable in the voxels. Compiles once per shape, permutation and dtype on JAX arrays, never on NumPy.

    Example:
        >>> image = mj.Image.from_array(np.arange(24).reshape(2, 3, 4), spacing=(1, 2, 3))  # LPS
        >>> out = mj.change_orientation(image, "SRP")
        >>> out.shape, out.spacing, out.origin
        ((4, 2, 3), (3.0, 1.0, 2.0), (1.0, 0.0, 0.0))
        >>> int(out.voxels[3, 0, 2]), int(image.voxels[1, 2, 3])
        (23, 23)
    """
    check_image(image, "image")
    code, grid, depth = check_code(orientation), image.grid, len(image.batch_shape)
    if not isinstance(grid.affine, np.ndarray):
        raise ValueError(
            "the permutation follows from the geometry, which is traced here: change the orientation before jit, or "
            "close over the image and pass only its voxels (image.with_voxels)"
        )
    ways = {reorientation(affine, code) for affine in grid.affine.reshape(-1, 4, 4)}
    if len(ways) > 1:
        raise ValueError(
            f"the items of this batch lie in different orientations, {image.orientation}: reorient them before stack"
        )
    axes, flips = ways.pop()
    target = reoriented(grid, axes, flips)
    return rearrange(image, target, lambda voxels: turned(voxels, axes, flips, depth), effect="reorders")


def flip(image: Image, axes: Axis | Sequence[Axis]) -> Image:
    """Reverses index axes. Every voxel stays where it is in the world, because the affine changes too.

    This changes how the scan is stored, not what it shows. To mirror the content itself, flip and put the old affine
    back, or use `affine_transform` with a negative scale.

    Args:
        image: Any batch and channels.
        axes: One axis or several, 0, 1, 2 or "i", "j", "k".

    Returns:
        The flipped image.

    Raises:
        ValueError: an axis is none of these, or is given twice.

    Transforms:
        Differentiable in the voxels; the geometry may be traced.

    Example:
        >>> image = mj.Image.from_array(np.arange(4.0).reshape(4, 1, 1), spacing=2.0)
        >>> out = mj.flip(image, "i")
        >>> out.voxels[:, 0, 0].tolist(), out.origin, out.orientation
        ([3.0, 2.0, 1.0, 0.0], (6.0, 0.0, 0.0), 'RPS')
    """
    check_image(image, "image")
    listed = list(axes) if isinstance(axes, Iterable) and not isinstance(axes, str) else [axes]
    numbers = [axis_number(axis, "axes") for axis in listed]
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"axes must differ, got {listed}")
    flips = tuple(axis in numbers for axis in range(3))
    depth = len(image.batch_shape)
    target = reoriented(image.grid, (0, 1, 2), flips)
    return rearrange(image, target, lambda voxels: turned(voxels, (0, 1, 2), flips, depth), effect="reorders")


def reoriented(grid: Grid, axes: Sequence[int], flips: Sequence[bool]) -> Grid:
    """Returns the same lattice with its axes permuted and flipped: new axis `a` is old axis `axes[a]`."""
    corner = np.zeros(3)
    for axis, reverse in zip(axes, flips, strict=True):
        corner[axis] = grid.shape[axis] - 1 if reverse else 0
    signs = [-1.0 if reverse else 1.0 for reverse in flips]
    return grid.stepped(signs, corner, [grid.shape[axis] for axis in axes], axes)


def turned(voxels: Any, axes: tuple[int, ...], flips: tuple[bool, ...], depth: int) -> Any:
    """Permutes and flips the spatial axes of `(*batch, i, j, k, *channels)`."""
    if isinstance(voxels, np.ndarray):
        return _turned(voxels, np, axes, flips, depth)
    return _turned_on_device(voxels, axes, flips, depth)


def _turned(voxels: Any, xp: Any, axes: tuple[int, ...], flips: tuple[bool, ...], depth: int) -> Any:
    order = (*range(depth), *(depth + axis for axis in axes), *range(depth + 3, voxels.ndim))
    return xp.flip(xp.transpose(voxels, order), [depth + axis for axis, reverse in enumerate(flips) if reverse])


@functools.partial(compiled, moves=True, static_argnums=(1, 2, 3))
def _turned_on_device(voxels: Any, axes: tuple[int, ...], flips: tuple[bool, ...], depth: int) -> Any:
    return _turned(voxels, jnp, axes, flips, depth)
