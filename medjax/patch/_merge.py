"""Many boxes into one volume."""

from __future__ import annotations

import functools
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num, Shaped

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import AnyArray, Fill, StaticSize, Voxels
from medjax._image._checks import check_choice, three_integers
from medjax._image._dtypes import device_voxels
from medjax._image._fill import fill_of
from medjax._kernels._compiled import compiled
from medjax._kernels._values import as_float, without_wrapping
from medjax.patch._weights import Window, closeness, weights_along

__all__ = ["merge"]


def merge(
    patches: Voxels, starts: Voxels, shape: StaticSize, *, window: Window = "gaussian", fill: Fill | None = None
) -> AnyArray:
    r"""Joins boxes of a volume to the volume; where several lie over a voxel, `window` says how much each counts.

    A voxel becomes $\sum_m w_m x_m / \sum_m w_m$ over the boxes $m$ that hold it, as a running mean: boxes of one
    constant give this constant to the last bit. With "crop" it becomes the value of the box whose centre is nearest, of
    two the first, so labels stay labels. Boxes may lie anywhere; along an axis where the box is longer than the volume
    it lies at 0, and what hangs over is left out.

    Args:
        patches: `(w, *size, *channels)`, the boxes' voxels.
        starts: Index of each box's first voxel, `(w, 3)` integers, as `mj.patch.grid` gives them. May be traced.
        shape: Voxels of the volume along i, j, k.
        window: "gaussian", "hann" or "average" for a weighted mean, "crop" for the nearest box.
        fill: The value where no box lies, one number or one per channel. Without it that is an error if the starts are
            known, and 0 if they are traced.

    Returns:
        `(*shape, *channels)`: float32 (float64 if the patches are and x64 is on), with "crop" the patches' dtype.

    Raises:
        ValueError: an unknown window, starts that are no integers, of another count than the patches, or outside the
            volume; or a voxel that no box holds, and no fill.

    Transforms:
        Differentiable in `patches` and a traced `fill`. Compiles once per shapes and window, for any starts.

    Example:
        >>> volume = np.arange(10.0).reshape(10, 1, 1)
        >>> starts = mj.patch.grid((10, 1, 1), (4, 1, 1))
        >>> patches = np.stack([volume[i : i + 4] for i in starts[:, 0]])
        >>> mj.patch.merge(patches, starts, (10, 1, 1)).ravel().tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    """
    check_choice(window, "window", get_args(Window))
    lengths = three_integers(shape, "shape", least=1)
    boxes = patches if isinstance(patches, jax.Array) else np.asarray(patches)
    if boxes.ndim < 4 or 0 in boxes.shape:
        raise ValueError(f"patches must be (w, i, j, k, *channels) and not empty, got shape {boxes.shape}")
    corners: Any = starts if is_traced(starts) else np.asarray(starts)
    if corners.shape != (len(boxes), 3) or not jnp.issubdtype(corners.dtype, jnp.integer):
        raise ValueError(
            f"starts must be integers ({len(boxes)}, 3), one row for each patch; got {corners.dtype} {corners.shape}"
        )
    if jnp.issubdtype(boxes.dtype, jnp.complexfloating):
        raise ValueError("patches must be real; merge the real and the imaginary part one by one")
    size, is_mean = boxes.shape[1:4], window != "crop"
    if isinstance(corners, np.ndarray):
        _check_places(corners, size, lengths, is_filled=fill is not None)
    is_label = not is_mean and not jnp.issubdtype(boxes.dtype, jnp.inexact)
    value = fill_of(0 if fill is None else fill, boxes[0], 0, is_label=is_label)
    if is_mean:
        i, j, k = np.ix_(*(weights_along(window, n) for n in size))
        weights = (i * j * k).astype(np.float32)
        boxes, restore = without_wrapping(boxes), lambda merged: merged
    else:
        weights = closeness(size)
        boxes, restore = device_voxels(boxes, is_label=is_label)
    return restore(_merged(boxes, corners.astype(np.int32), weights, value, shape=lengths, is_mean=is_mean))


def _check_places(starts: np.ndarray, size: tuple[int, ...], shape: tuple[int, ...], *, is_filled: bool) -> None:
    room = np.maximum(np.subtract(shape, size), 0)
    outside = (starts < 0) | (starts > room)
    if outside.any():
        number = int(outside.any(axis=1).argmax())
        raise ValueError(
            f"starts[{number}] is {starts[number].tolist()}, but patches of {size} lie in a volume of {shape} from "
            f"(0, 0, 0) to "
            f"{tuple(room.tolist())}"
        )
    if is_filled:
        return
    held = np.zeros(np.maximum(shape, size), bool)
    for i, j, k in np.unique(starts, axis=0):
        held[i : i + size[0], j : j + size[1], k : k + size[2]] = True
    held = held[: shape[0], : shape[1], : shape[2]]
    if not held.all():
        raise ValueError(
            f"{held.size - int(held.sum())} of {held.size} voxels lie in no patch; mj.patch.grid places patches that "
            f"cover a "
            "volume, or say the value there, such as fill=0"
        )


@functools.partial(compiled, static_argnames=("shape", "is_mean"))
def _merged(
    patches: Shaped[Array, "w i j k *channels"],
    starts: Num[Array, "w 3"],
    weights: Num[Array, "i j k"],
    fill: Shaped[Array, "*channels"],
    *,
    shape: tuple[int, int, int],
    is_mean: bool,
) -> Shaped[Array, "a b c *channels"]:
    """Adds one box after the other: to the running mean of each voxel, or in its place where the box is closer."""
    size, channels = patches.shape[1:4], patches.shape[4:]
    whole = tuple(max(n, p) for n, p in zip(shape, size, strict=True))
    dtype = as_float(jnp.zeros((), patches.dtype)).dtype if is_mean else patches.dtype
    weights = weights.astype(dtype) if is_mean else weights
    zeros = (jnp.zeros((), starts.dtype),) * len(channels)
    one_each = (*size, *(1,) * len(channels))

    def add(state: tuple[Any, Any], box: tuple[Any, Any]) -> tuple[Any, None]:
        mean, total = state
        voxels, start = box
        corner = tuple(start)
        old = jax.lax.dynamic_slice(mean, (*corner, *zeros), voxels.shape)
        before = jax.lax.dynamic_slice(total, corner, size)
        voxels = voxels.astype(dtype)
        if is_mean:
            after = before + weights
            new = old + (weights / after).reshape(one_each) * (voxels - old)
        else:
            after = jnp.maximum(before, weights)
            new = jnp.where((weights > before).reshape(one_each), voxels, old)
        mean = jax.lax.dynamic_update_slice(mean, new, (*corner, *zeros))
        return (mean, jax.lax.dynamic_update_slice(total, after, corner)), None

    start = jnp.zeros((*whole, *channels), dtype), jnp.zeros(whole, weights.dtype)
    (mean, total), _ = jax.lax.scan(add, start, (patches, starts))
    cut = tuple(slice(n) for n in shape)
    is_held = (total[cut] > 0).reshape((*shape, *(1,) * len(channels)))
    return jnp.where(is_held, mean[cut], fill.astype(dtype).reshape((1, 1, 1, *channels)))
