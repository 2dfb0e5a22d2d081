"""Morphology with a ball in mm: masks grow and shrink, intensities take the maximum and minimum of a neighbourhood."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from medjax._geometry._grid import inverse_3x3, is_traced, together
from medjax._image._image import Image, check_image
from medjax._image._per_item import aligned, as_array
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import compiled
from medjax._mask._arguments import channels_first, is_concrete, labels_of
from medjax._optional import optional

__all__ = ["closing", "dilate", "erode", "fill_holes", "opening"]

Unit = Literal["mm", "voxel"]
# A voxel lies within a radius up to this part of it beyond, so that 3 voxels of 0.7 mm are within 2.1 mm, also in float32.
_ROUNDING = 1e-5
# How many voxels a ball whose geometry is traced may reach along an axis by slices, of a volume padded by as many; one that
# reaches further is gathered, which is slower.
_NEAR = (4, 12)


def dilate(image: Image, radius: Any, *, unit: Unit = "mm") -> Image:
    """Grows a mask by a ball; of intensities, takes the largest within a ball around each voxel.

    The ball holds the voxels whose centres lie within the radius, in the world, so spacing, obliqueness and shear count. A mask
    (labels or booleans) is `scipy.ndimage.binary_dilation`: all that is not 0 is one region, and the result is 0 and 1.
    Intensities are `scipy.ndimage.grey_dilation`, with the ball as footprint. What lies beyond the edge of the image does not
    count.

    Args:
        image: A mask or intensities, any batch, any channels, each for itself.
        radius: 0 or more: one number, or what broadcasts to `(*batch, *channels)`: `(c,)` per channel, `(b, 1)` per item,
            `(b,)` per item without channels.
        unit: "mm", or "voxel" for voxels along each axis.

    Returns:
        The image with voxels of the same dtype; geometry, kind and metadata kept.

    Raises:
        ValueError: the voxels are complex, the radius is negative, not finite or of another shape, or the unit is unknown.

    Transforms:
        `jit`, `vmap`. Intensities are differentiable in the voxels: the gradient goes to the voxel that was taken; in reverse
        mode only where radius and geometry are known. Compiles once per shape, dtype and, where they are known, extent of the
        ball in voxels.

    Example:
        >>> voxels = np.zeros((5, 5, 1), bool)
        >>> voxels[2, 2] = True
        >>> mask = mj.Image.from_array(voxels, spacing=(1, 2, 1), kind="label")
        >>> mj.dilate(mask, 2.0).voxels[..., 0].astype(int).tolist()
        [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]
    """
    return _morphed(image, radius, unit, ("dilate",), "dilate")


def erode(image: Image, radius: Any, *, unit: Unit = "mm") -> Image:
    """Shrinks a mask by a ball; of intensities, takes the smallest within a ball around each voxel.

    As `dilate` of what is outside: `scipy.ndimage.binary_erosion` with `border_value=1`, for the edge of the image is not the edge
    of the mask, and `scipy.ndimage.grey_erosion`.

    Args:
        image: As for `dilate`.
        radius: As for `dilate`.
        unit: "mm", or "voxel" for voxels along each axis.

    Returns:
        The image with voxels of the same dtype; geometry, kind and metadata kept.

    Raises:
        ValueError: as `dilate`.

    Transforms:
        As `dilate`.

    Example:
        >>> mask = mj.Image.from_array(np.array([0, 1, 1, 1, 1]).reshape(5, 1, 1), spacing=2.0, kind="label")
        >>> mj.erode(mask, 2.0).voxels.ravel().tolist()
        [0, 0, 1, 1, 1]
    """
    return _morphed(image, radius, unit, ("erode",), "erode")


def opening(image: Image, radius: Any, *, unit: Unit = "mm") -> Image:
    """Takes out what a ball does not fit into: `erode`, then `dilate`.

    Args:
        image: As for `dilate`.
        radius: As for `dilate`.
        unit: "mm", or "voxel" for voxels along each axis.

    Returns:
        The image with voxels of the same dtype; no mask is larger than before, no intensity higher.

    Raises:
        ValueError: as `dilate`.

    Transforms:
        As `dilate`.

    Example:
        >>> mask = mj.Image.from_array(np.array([0, 1, 0, 1, 1, 1, 0]).reshape(7, 1, 1), kind="label")
        >>> mj.opening(mask, 1.0).voxels.ravel().tolist()
        [0, 0, 0, 1, 1, 1, 0]
    """
    return _morphed(image, radius, unit, ("erode", "dilate"), "opening")


def closing(image: Image, radius: Any, *, unit: Unit = "mm") -> Image:
    """Fills what a ball outside does not fit into: `dilate`, then `erode`.

    Args:
        image: As for `dilate`.
        radius: As for `dilate`.
        unit: "mm", or "voxel" for voxels along each axis.

    Returns:
        The image with voxels of the same dtype; no mask is smaller than before, no intensity lower.

    Raises:
        ValueError: as `dilate`.

    Transforms:
        As `dilate`.

    Example:
        >>> mask = mj.Image.from_array(np.array([0, 0, 1, 0, 1, 0, 0]).reshape(7, 1, 1), kind="label")
        >>> mj.closing(mask, 1.0).voxels.ravel().tolist()
        [0, 0, 1, 1, 1, 0, 0]
    """
    return _morphed(image, radius, unit, ("dilate", "erode"), "closing")


def fill_holes(mask: Image) -> Image:
    """Fills the holes of a mask: what is outside and not connected to the edge of the image by faces.

    On the host, by `scipy.ndimage.binary_fill_holes`.

    Args:
        mask: Booleans or integers, all that is not 0 taken together, any batch, no channels.

    Returns:
        The image with 0 and 1 in the same dtype; geometry, kind and metadata kept.

    Raises:
        ValueError: the mask is traced, holds fractions or has channels.
        ImportError: SciPy is not installed.

    Transforms:
        None: host only.

    Example:
        >>> voxels = np.ones((3, 3, 3), np.uint8)
        >>> voxels[1, 1, 1] = 0
        >>> int(mj.fill_holes(mj.Image.from_array(voxels, kind="label")).voxels.sum())
        27
    """
    check_image(mask, "mask")
    if not is_concrete(mask.voxels):
        raise ValueError("fill_holes runs on the host: call it outside jit, vmap and grad")
    inside = np.asarray(labels_of(mask, None, "fill_holes"))
    filled = optional("scipy.ndimage", "fill_holes").binary_fill_holes
    items = [filled(item) for item in inside.reshape(-1, *mask.shape)]
    return mask.with_voxels(np.stack(items).reshape(inside.shape).astype(mask.dtype))


# --- The ball --------------------------------------------------------------------------------------------------------


class _Ball(NamedTuple):
    """A ball as lines along i, known or traced: line n lies at `j[n], k[n]` and runs from `low[n]` to `high[n]`.

    Attributes:
        matrix: Index to mm, `(..., 3, 3)`.
        radius: In mm, `(...,)`.
        reach: How many voxels it reaches along each axis, `(..., 3)`.
    """

    matrix: Any
    radius: Any
    reach: Any


def _ball(image: Image, radius: Any, unit: str, operation: str) -> _Ball:
    value, lead, tail = as_array(radius, "radius"), len(image.batch_shape), len(image.channels)
    if not is_traced(value) and not (np.isfinite(value).all() and (value >= 0).all()):
        raise ValueError(f"{operation}: radius must be finite and not negative, got {value.tolist()}")
    value = aligned(value, image.batch_shape, image.channels, "radius")
    affine = image.grid.affine if unit == "mm" else np.eye(4)
    xp, (value, matrix) = together(value, affine[..., :3, :3])
    value = value.reshape(value.shape or (1,) * (lead + tail))
    matrix = matrix.reshape((*matrix.shape[:-2], *(1,) * (lead + tail - matrix.ndim + 2), 3, 3))
    if xp is np:  # items of one spacing share a ball
        for axis in range(lead + tail):
            same = [(x == x.take([0], axis)).all() for x in (matrix, value)]
            matrix, value = (x.take([0], axis) if all(same) else x for x in (matrix, value))
    shape = np.broadcast_shapes(value.shape, matrix.shape[:-2])
    matrix, value = xp.broadcast_to(matrix, (*shape, 3, 3)), xp.broadcast_to(value, shape) * (1 + _ROUNDING)
    rows = inverse_3x3(matrix)
    reach = xp.floor(value[..., None] * (rows * rows).sum(-1) ** 0.5)
    most = xp.asarray(np.array(image.shape) - 1.0, dtype=reach.dtype).reshape((1,) * len(shape) + (3,))
    return _Ball(matrix, value, xp.minimum(reach, most))


def _line(ball: _Ball, j: Any, k: Any) -> tuple[Any, Any]:
    """First and last i of the ball's line at `j, k`, `(...,)`; the first lies above the last where there is none."""
    xp = ball.matrix.__array_namespace__()
    a, b, c = (ball.matrix[..., axis] for axis in range(3))
    side = b * j[..., None] + c * k[..., None]
    own, mixed = (a * a).sum(-1), (a * side).sum(-1)
    rest = mixed * mixed - own * ((side * side).sum(-1) - ball.radius * ball.radius)
    is_there, root = rest >= 0, xp.where(rest > 0, rest, 0) ** 0.5
    low = xp.maximum(xp.ceil((-mixed - root) / own), -ball.reach[..., 0])
    high = xp.minimum(xp.floor((-mixed + root) / own), ball.reach[..., 0])
    return xp.where(is_there, low, 1), xp.where(is_there, high, 0)


def _known_lines(ball: _Ball) -> np.ndarray:
    """The lines `(j, k, low, high)`, `(..., n, 4)`, of all balls; those that a smaller one lacks are empty."""
    most = ball.reach.reshape(-1, 3).max(0)
    j, k = np.meshgrid(*(np.arange(-n, n + 1) for n in most[1:]), indexing="ij")
    j, k = (x.reshape(-1, *(1,) * ball.radius.ndim) for x in (j, k))
    low, high = _line(ball, j, k)
    lines = np.stack(np.broadcast_arrays(j, k, low, high), -1)
    is_used = (lines[..., 2] <= lines[..., 3]).reshape(len(lines), -1).any(1)
    return np.moveaxis(lines[is_used], 0, -2).astype(np.int32)


# --- The largest voxel of a ball -------------------------------------------------------------------------------------


def _morphed(image: Image, radius: Any, unit: str, steps: tuple[str, ...], operation: str) -> Image:
    check_image(image, f"{operation}: the image")
    if unit not in ("mm", "voxel"):
        raise ValueError(f"unit must be 'mm' or 'voxel', got {unit!r}")
    if jnp.issubdtype(image.dtype, jnp.complexfloating):
        raise ValueError(f"{operation} takes real voxels, got {image.dtype}; take the magnitude first, abs(image)")
    is_mask = image.kind == "label" or np.issubdtype(image.dtype, np.bool_)
    ball = _ball(image, radius, unit, operation)
    work = _Work(steps, is_mask, len(image.batch_shape), len(image.channels), tuple(n == 1 for n in ball.radius.shape))
    if is_concrete(ball.radius, ball.matrix):
        lines = _known_lines(ball)
        reach = tuple(int(n) for n in ball.reach.reshape(-1, 3).max(0))
        length = int((lines[..., 3] - lines[..., 2]).max()) + 1
        return image.with_voxels(_by_known_lines(image.voxels, lines, work, reach, int(math.log2(length))))
    return image.with_voxels(_by_traced_lines(image.voxels, ball, work))


class _Work(NamedTuple):
    """What is static about a call.

    Attributes:
        steps: "dilate" and "erode", in their order.
        is_mask: Whether all that is not 0 is one region.
        depth: Number of batch axes.
        tail: Number of channel axes.
        shared: For each batch and channel axis whether its items share a ball.
    """

    steps: tuple[str, ...]
    is_mask: bool
    depth: int
    tail: int
    shared: tuple[bool, ...]


@functools.partial(compiled, static_argnums=(2, 3, 4))
def _by_known_lines(
    voxels: Shaped[Array, ...], lines: Shaped[Array, ...], work: _Work, reach: tuple[int, int, int], levels: int
) -> Shaped[Array, ...]:
    def largest(volume: Any, lines: Any) -> Any:
        over_line = _over_line(volume, reach, levels)

        def joined(found: Any, line: Any) -> tuple[Any, None]:
            return jnp.maximum(found, over_line(*line)), None

        return jax.lax.scan(joined, jnp.full_like(volume, _lowest(volume.dtype)), lines)[0]

    return _each(largest, voxels, lines, work)


@functools.partial(compiled, static_argnums=2)
def _by_traced_lines(voxels: Shaped[Array, ...], ball: Any, work: _Work) -> Shaped[Array, ...]:
    """One choice for the whole batch: under `vmap` a choice of each item's would compute all there is to choose from."""
    most = tuple(n - 1 for n in voxels.shape[work.depth : work.depth + 3])
    reach = ball.reach.reshape(-1, 3).max(0)

    def within(near: tuple[int, ...], over_line_of: Any) -> Any:
        def chosen() -> Any:
            lines, count = _traced_lines(ball, near)
            return _each(_largest_of(count, over_line_of), voxels, lines, work)

        return chosen

    nears = list(dict.fromkeys(tuple(min(near, n) for n in most) for near in _NEAR))
    ways = [within(n, functools.partial(_over_line, reach=n, levels=int(math.log2(2 * n[0] + 1)))) for n in nears]
    if nears[-1] != most:
        ways.append(within(most, _over_any_line))
    is_beyond = [(reach > jnp.asarray(near, reach.dtype)).any().astype(jnp.int32) for near in nears]
    return jax.lax.switch(sum(is_beyond[: len(ways) - 1], jnp.int32(0)), ways)


def _largest_of(count: Any, over_line_of: Any) -> Any:
    """A function of a volume and lines: the largest voxel of the first `count` lines around each voxel."""

    def largest(volume: Any, lines: Any) -> Any:
        over_line = over_line_of(volume)

        def joined(number: Any, found: Any) -> Any:
            return jnp.maximum(found, over_line(*lines.at[number].get(mode="promise_in_bounds")))

        return jax.lax.fori_loop(jnp.int32(0), count, joined, jnp.full_like(volume, _lowest(volume.dtype)))

    return largest


def _traced_lines(ball: _Ball, near: tuple[int, ...]) -> tuple[Any, Any]:
    """The lines `(..., n, 4)` of all balls that reach no further than `near`, and how many in front are not empty."""
    j, k = np.meshgrid(*(np.arange(-n, n + 1, dtype=ball.radius.dtype) for n in near[1:]), indexing="ij")
    at = [jnp.asarray(x.reshape(-1, *(1,) * ball.radius.ndim)) for x in (j, k)]
    low, high = _line(_Ball(*(x[None] for x in ball)), *at)
    lines = jnp.stack([jnp.broadcast_to(x, low.shape) for x in (*at, low, high)], -1)
    is_used = (lines[..., 2] <= lines[..., 3]).reshape(len(low), -1).any(1)
    lines = lines.at[jnp.argsort(~is_used)].get(mode="promise_in_bounds")
    return jnp.moveaxis(lines, 0, -2).astype(jnp.int32), is_used.sum(dtype=jnp.int32)


def _over_line(volume: Any, reach: tuple[int, ...], levels: int) -> Any:
    """The largest voxel of a line around each voxel, by slices of a volume that is padded by the ball's reach."""
    low = _lowest(volume.dtype)
    runs = _runs(jnp.pad(volume, [(n, n) for n in reach], constant_values=low), levels)

    def over_line(j: Any, k: Any, first: Any, last: Any) -> Any:
        level, again = _halves(first, last)

        def taken(start: Any) -> Any:
            at = [jnp.asarray(n, jnp.int32) for n in (level, reach[0] + start, reach[1] + j, reach[2] + k)]
            return jax.lax.dynamic_slice(runs, at, (1, *volume.shape))[0]

        return jnp.where(first <= last, jnp.maximum(taken(first), taken(again)), low)

    return over_line


def _over_any_line(volume: Any) -> Any:
    """The same by gathers: only i is padded, so that a ball may reach through the whole image."""
    low, (ni, nj, nk) = _lowest(volume.dtype), volume.shape
    padded = jnp.pad(volume, [(ni - 1, ni - 1), (0, 0), (0, 0)], constant_values=low)
    runs = _runs(padded, int(math.log2(2 * ni - 1)))

    def over_line(j: Any, k: Any, first: Any, last: Any) -> Any:
        level, again = _halves(first, last)
        rows, columns = jnp.arange(nj) + j, jnp.arange(nk) + k
        is_inside = ((rows >= 0) & (rows < nj))[:, None] & ((columns >= 0) & (columns < nk))[None]

        def taken(start: Any) -> Any:
            at = (level, ni - 1 + start, jnp.int32(0), jnp.int32(0))
            return jax.lax.dynamic_slice(runs, at, (1, ni, nj, nk))[0]

        line = jnp.maximum(taken(first), taken(again))
        line = line.take(jnp.clip(rows, 0, nj - 1), 1).take(jnp.clip(columns, 0, nk - 1), 2)
        return jnp.where(is_inside[None] & (first <= last), line, low)

    return over_line


def _runs(volume: Any, levels: int) -> Any:
    """The largest of 1, 2, 4, ... voxels from each voxel on along i, stacked in front."""
    found = [volume]
    for level in range(levels):
        last, step = found[-1], 2**level
        rest = last[step:] if step < len(last) else last[:0]
        found.append(jnp.concatenate([jnp.maximum(last[: len(rest)], rest), last[len(rest) :]]))
    return jnp.stack(found)


def _halves(first: Any, last: Any) -> tuple[Any, Any]:
    """Two runs cover a line: of which level they are, and where the second one starts."""
    length = jnp.maximum(last - first + 1, 1)
    level = 31 - jax.lax.clz(length)
    return level, last + 1 - (jnp.int32(1) << level)


def _lowest(dtype: Any) -> Any:
    return np.asarray(-np.inf if jnp.issubdtype(dtype, jnp.floating) else np.iinfo(dtype).min, dtype)


def _each(largest: Any, voxels: Any, lines: Any, work: _Work) -> Any:
    """Does the steps for each item and channel: the smallest is the largest of what is turned over."""
    steps, is_mask, depth, tail, shared = work
    dtype = voxels.dtype
    values = voxels.astype(bool).astype(np.uint8) if is_mask else voxels
    image = Image(values, np.empty((*(1,) * depth, 4, 4)))
    values = channels_first(values, image) if tail else values

    def item(volume: Any, lines: Any) -> Any:
        for step in steps:
            volume = (
                _turned(largest(_turned(volume, is_mask), lines), is_mask)
                if step == "erode"
                else largest(volume, lines)
            )
        return volume

    for axis in reversed(range(depth + tail)):
        item = jax.vmap(item, in_axes=(0, None if shared[axis] else 0))
        lines = lines.squeeze(axis) if shared[axis] else lines
    moved = over_batch(item, 0)(values, lines)
    if tail:
        space = tuple(range(depth + tail, depth + tail + 3))
        moved = moved.transpose((*range(depth), *space, *range(depth, depth + tail)))
    return moved.astype(dtype)


def _turned(volume: Any, is_mask: bool) -> Any:
    """Reverses the order of the values, exactly."""
    if is_mask:
        return 1 - volume
    return -volume if jnp.issubdtype(volume.dtype, jnp.floating) else ~volume
