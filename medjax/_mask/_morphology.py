"""Morphology with a ball in mm: masks grow and shrink, intensities take the maximum and minimum of a neighbourhood."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from medjax._geometry._grid import inverse_3x3
from medjax._geometry._numbers import is_traced, together
from medjax._geometry._types import PerItem, Unit
from medjax._image._checks import check_choice
from medjax._image._image import Image, check_image
from medjax._image._per_item import aligned, as_array
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import compiled
from medjax._mask._voxels import channels_first, labels_of
from medjax._optional import optional

__all__ = ["closing", "dilate", "erode", "fill_holes", "opening"]

# A radius reaches further by this part of itself, so that 3 voxels of 0.7 mm lie within 2.1 mm in float32 as well.
_ROUNDING = 1e-5
_NO_LINE = (0, 0, 1, 0)
# Reaches in voxels up to which a ball of traced geometry is taken in slices of a volume that is padded by as many. A
# ball that reaches further is gathered, which is slower.
_NEAR = (4, 12)


def dilate(image: Image, radius: PerItem, *, unit: Unit = "mm") -> Image:
    """Grows a mask by a ball; for intensities, takes the largest value within a ball around each voxel.

    The ball holds the voxels whose centres lie within the radius in the world, so spacing, obliqueness and shear count.
    A mask (labels or booleans) gives the result of `scipy.ndimage.binary_dilation`: all voxels that are not 0 are one
    region, and the result is 0 and 1. Intensities give that of `scipy.ndimage.grey_dilation` with the ball as
    footprint. Beyond the edge of the image nothing counts.

    Args:
        image: A mask or intensities, any batch, any channels, each for itself.
        radius: 0 or more: one number, or an array that broadcasts to `(*batch, *channels)`: `(c,)` per channel, `(b,
            1)` per item, `(b,)` per item without channels.
        unit: "mm", or "voxel" for voxels along each axis.

    Returns:
        The image with voxels of the same dtype; geometry, kind and metadata kept.

    Raises:
        ValueError: the voxels are complex, the radius is negative, not finite or of another shape, or the unit is
            unknown.

    Transforms:
        `jit`, `vmap`. Intensities are differentiable in the voxels: the gradient goes to the voxel that was taken.
        Reverse mode needs a known radius and geometry. Compiles once per shape and dtype, and where radius and geometry
        are known once per extent of the ball in voxels.

    Example:
        >>> voxels = np.zeros((5, 5, 1), bool)
        >>> voxels[2, 2] = True
        >>> mask = mj.Image.from_array(voxels, spacing=(1, 2, 1), kind="label")
        >>> mj.dilate(mask, 2.0).voxels[..., 0].astype(int).tolist()
        [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]
    """
    return _morphed(image, radius, unit, ("dilate",), "dilate")


def erode(image: Image, radius: PerItem, *, unit: Unit = "mm") -> Image:
    """Shrinks a mask by a ball; for intensities, takes the smallest value within a ball around each voxel.

    This is `dilate` of the outside. A mask gives the result of `scipy.ndimage.binary_erosion` with `border_value=1`,
    since the edge of the image is not the edge of the mask. Intensities give that of `scipy.ndimage.grey_erosion`.

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


def opening(image: Image, radius: PerItem, *, unit: Unit = "mm") -> Image:
    """Removes the parts that a ball does not fit into: `erode`, then `dilate`.

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


def closing(image: Image, radius: PerItem, *, unit: Unit = "mm") -> Image:
    """Fills the gaps that a ball does not fit into: `dilate`, then `erode`.

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
    """Fills the holes of a mask: voxels outside it that no path over faces connects to the edge of the image.

    It runs on the host, by `scipy.ndimage.binary_fill_holes`.

    Args:
        mask: Booleans or integers; all voxels that are not 0 are one region. Any batch, no channels.

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
    if is_traced(mask.voxels):
        raise ValueError("fill_holes runs on the host: call it outside jit, vmap and grad")
    inside = np.asarray(labels_of(mask, None, "fill_holes"))
    filled = optional("scipy.ndimage", "fill_holes").binary_fill_holes
    items = [filled(item) for item in inside.reshape(-1, *mask.shape)]
    return mask.with_voxels(np.stack(items).reshape(inside.shape).astype(mask.dtype))


# --- The ball --------------------------------------------------------------------------------------------------------


class _Ball(NamedTuple):
    """A ball of voxels, known or traced, which `_lines` cuts into lines along i.

    Attributes:
        matrix: Index to mm, `(..., 3, 3)`.
        radius: In mm, `(...,)`.
        reach: How many voxels the ball reaches along each axis, `(..., 3)`.
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
    """Returns first and last i of the ball's line at `j, k`, `(...,)`; an empty line has its first above its last."""
    xp = ball.matrix.__array_namespace__()
    a, b, c = (ball.matrix[..., axis] for axis in range(3))
    side = b * j[..., None] + c * k[..., None]
    own, mixed = (a * a).sum(-1), (a * side).sum(-1)
    rest = mixed * mixed - own * ((side * side).sum(-1) - ball.radius * ball.radius)
    is_there, root = rest >= 0, xp.where(rest > 0, rest, 0) ** 0.5
    low = xp.maximum(xp.ceil((-mixed - root) / own), -ball.reach[..., 0])
    high = xp.minimum(xp.floor((-mixed + root) / own), ball.reach[..., 0])
    return xp.where(is_there, low, 1), xp.where(is_there, high, 0)


class _Lines(NamedTuple):
    """The lines of balls along i, ordered by level: a line of level n holds 2^n voxels or more, but not twice as many.

    Attributes:
        ends: `(j, k, first i, last i)` of each line, `(..., n, 4)`. Empty lines, the first above the last, come last.
        start: The number of the first line of each level, `(..., levels)`.
        count: How many lines there are of each level, `(..., levels)`.
    """

    ends: Any
    start: Any
    count: Any


def _lines(ball: _Ball, reach: tuple[int, ...]) -> _Lines:
    """Returns the lines of balls that reach no further than `reach`."""
    xp, levels = ball.matrix.__array_namespace__(), _levels(reach)
    j, k = np.meshgrid(*(np.arange(-n, n + 1, dtype=ball.radius.dtype) for n in reach[1:]), indexing="ij")
    j, k = (xp.asarray(x.reshape(-1, *(1,) * ball.radius.ndim)) for x in (j, k))
    first, last = _line(_Ball(*(x[None] for x in ball)), j, k)
    ends = xp.stack(xp.broadcast_arrays(j, k, first, last), -1).astype(np.int32)
    length = ends[..., 3] + 1 - ends[..., 2]
    level = sum((length >= 2**n).astype(np.int32) for n in range(levels)) - 1
    order = xp.argsort(xp.where(level < 0, levels, level), axis=0, stable=True)
    count = xp.stack([(level == n).sum(0, dtype=np.int32) for n in range(levels)], -1)
    ends = xp.take_along_axis(ends, order[..., None], 0)
    return _Lines(xp.moveaxis(ends, 0, -2), xp.cumsum(count, -1, dtype=np.int32) - count, count)


def _levels(reach: tuple[int, ...]) -> int:
    """Returns how many levels there are of lines in a ball of that reach."""
    return int(math.log2(2 * reach[0] + 1)) + 1


def _of_each_level(lines: _Lines) -> tuple[np.ndarray, ...]:
    """Returns the known lines of each level, `(..., n, 4)`. Balls that have fewer than others get empty lines."""
    found = []
    for level, most in enumerate(lines.count.reshape(-1, lines.count.shape[-1]).max(0)):
        number = np.arange(most)
        at = np.minimum(lines.start[..., level, None] + number, lines.ends.shape[-2] - 1)
        ends = np.take_along_axis(lines.ends, at[..., None], -2)
        found.append(
            np.where((number < lines.count[..., level, None])[..., None], ends, np.asarray(_NO_LINE, np.int32))
        )
    return tuple(found)


# --- The largest voxel of a ball -------------------------------------------------------------------------------------


def _morphed(image: Image, radius: Any, unit: str, steps: tuple[str, ...], operation: str) -> Image:
    check_image(image, f"{operation}: the image")
    check_choice(unit, "unit", get_args(Unit))
    if jnp.issubdtype(image.dtype, jnp.complexfloating):
        raise ValueError(f"{operation} takes real voxels, got {image.dtype}; take the magnitude first, abs(image)")
    is_mask = image.kind == "label" or np.issubdtype(image.dtype, np.bool_)
    ball = _ball(image, radius, unit, operation)
    work = _Work(steps, is_mask, len(image.batch_shape), len(image.channels), tuple(n == 1 for n in ball.radius.shape))
    if not is_traced(ball.radius, ball.matrix):
        reach = tuple(int(n) for n in ball.reach.reshape(-1, 3).max(0))
        return image.with_voxels(_by_known_lines(image.voxels, _of_each_level(_lines(ball, reach)), work, reach))
    return image.with_voxels(_by_traced_lines(image.voxels, ball, work))


class _Work(NamedTuple):
    """The static part of a call.

    Attributes:
        steps: "dilate" and "erode", in their order.
        is_mask: Whether all voxels that are not 0 are one region.
        depth: Number of batch axes.
        tail: Number of channel axes.
        shared: For each batch and channel axis whether its items share a ball.
    """

    steps: tuple[str, ...]
    is_mask: bool
    depth: int
    tail: int
    shared: tuple[bool, ...]


@functools.partial(compiled, static_argnums=(2, 3))
def _by_known_lines(
    voxels: Shaped[Array, ...], lines: tuple[Shaped[Array, ...], ...], work: _Work, reach: tuple[int, int, int]
) -> Shaped[Array, ...]:
    def largest(volume: Any, lines: Any) -> Any:
        runs, over_line = _by_slices(volume, reach)
        found = jnp.full_like(volume, _lowest(volume.dtype))
        for level, of_level in enumerate(lines):
            runs = _doubled(runs, 2 ** (level - 1)) if level else runs

            def joined(found: Any, line: Any, runs: Any = runs, step: int = 2**level) -> tuple[Any, None]:
                return jnp.maximum(found, over_line(runs, line, step)), None

            found = jax.lax.scan(joined, found, of_level)[0] if of_level.shape[-2] else found
        return found

    return _each(largest, voxels, lines, work)


@functools.partial(compiled, static_argnums=2)
def _by_traced_lines(voxels: Shaped[Array, ...], ball: Any, work: _Work) -> Shaped[Array, ...]:
    """Makes one choice for the whole batch: under `vmap`, a choice per item would compute all alternatives."""
    most = tuple(n - 1 for n in voxels.shape[work.depth : work.depth + 3])
    reach = ball.reach.reshape(-1, 3).max(0)

    def within(near: tuple[int, ...], by: Any) -> Any:
        def chosen() -> Any:
            lines = _lines(ball, near)
            return _each(_largest_of(lines.count.reshape(-1, _levels(near)).max(0), by), voxels, lines, work)

        return chosen

    nears = list(dict.fromkeys(tuple(min(near, n) for n in most) for near in _NEAR))
    ways = [within(near, functools.partial(_by_slices, reach=near)) for near in nears]
    if nears[-1] != most:
        ways.append(within(most, _by_gathers))
    is_beyond = [(reach > jnp.asarray(near, reach.dtype)).any().astype(jnp.int32) for near in nears]
    return jax.lax.switch(sum(is_beyond[: len(ways) - 1], jnp.int32(0)), ways)


def _largest_of(most: Any, by: Any) -> Any:
    """Returns a function of a volume and lines: the largest voxel of the lines around each voxel.

    `most` is the largest number of lines that a ball of the batch has of each level: loops of one length serve all.
    """

    def largest(volume: Any, lines: _Lines) -> Any:
        runs, over_line = by(volume)

        def with_level(level: Any, both: tuple[Any, Any]) -> tuple[Any, Any]:
            runs, found = both
            step = jnp.int32(1) << level
            runs = _doubled(runs, step >> 1)
            start, count = (x.at[level].get(mode="promise_in_bounds") for x in (lines.start, lines.count))

            def joined(number: Any, found: Any) -> Any:
                line = lines.ends.at[start + number].get(mode="clip")
                return jnp.maximum(
                    found, over_line(runs, jnp.where(number < count, line, jnp.asarray(_NO_LINE, np.int32)), step)
                )

            return runs, jax.lax.fori_loop(jnp.int32(0), most.at[level].get(mode="promise_in_bounds"), joined, found)

        top = jnp.where(most > 0, jnp.arange(1, len(most) + 1, dtype=np.int32), 0).max()
        return jax.lax.fori_loop(jnp.int32(0), top, with_level, (runs, jnp.full_like(volume, _lowest(volume.dtype))))[1]

    return largest


# A volume of runs holds the largest of the 2^n voxels that start at each voxel along i. Two runs cover a line of level
# n. One such volume is held at a time: temporary memory beyond 32 MB is fetched from the system anew at each call.


def _by_slices(volume: Any, reach: tuple[int, ...]) -> tuple[Any, Any]:
    """Returns runs of one voxel, and a function of runs, a line and its step 2^n: the largest voxel of the line.

    They are slices of a volume that is padded by the ball's reach.
    """
    low = _lowest(volume.dtype)

    def over_line(runs: Any, line: Any, step: Any) -> Any:
        j, k, first, last = line

        def taken(start: Any) -> Any:
            at = [jnp.asarray(n, jnp.int32) for n in (reach[0] + start, reach[1] + j, reach[2] + k)]
            return jax.lax.dynamic_slice(runs, at, volume.shape)

        return jnp.where(first <= last, jnp.maximum(taken(first), taken(last + 1 - step)), low)

    return jnp.pad(volume, [(n, n) for n in reach], constant_values=low), over_line


def _by_gathers(volume: Any) -> tuple[Any, Any]:
    """Returns the same by gathers: only i is padded, so that a ball may reach through the whole image."""
    low, (ni, nj, nk) = _lowest(volume.dtype), volume.shape

    def over_line(runs: Any, line: Any, step: Any) -> Any:
        j, k, first, last = line
        rows, columns = jnp.arange(nj) + j, jnp.arange(nk) + k
        is_inside = ((rows >= 0) & (rows < nj))[:, None] & ((columns >= 0) & (columns < nk))[None]

        def taken(start: Any) -> Any:
            return jax.lax.dynamic_slice(runs, (ni - 1 + start, jnp.int32(0), jnp.int32(0)), (ni, nj, nk))

        found = jnp.maximum(taken(first), taken(last + 1 - step))
        found = found.take(jnp.clip(rows, 0, nj - 1), 1).take(jnp.clip(columns, 0, nk - 1), 2)
        return jnp.where(is_inside[None] & (first <= last), found, low)

    return jnp.pad(volume, [(ni - 1, ni - 1), (0, 0), (0, 0)], constant_values=low), over_line


def _doubled(runs: Any, step: Any) -> Any:
    """Returns runs of twice `step` voxels. What comes round the end is padding, which is at least one step thick."""
    return jnp.maximum(runs, jnp.roll(runs, -step, 0))


def _lowest(dtype: Any) -> Any:
    return np.asarray(-np.inf if jnp.issubdtype(dtype, jnp.floating) else np.iinfo(dtype).min, dtype)


def _each(largest: Any, voxels: Any, lines: Any, work: _Work) -> Any:
    """Does the steps for each item and channel: the smallest voxel is the largest one of the reversed values."""
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
        lines = jax.tree.map(lambda x, axis=axis: x.squeeze(axis), lines) if shared[axis] else lines
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
