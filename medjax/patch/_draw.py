"""Where a box of a volume is drawn: anywhere, about a class, or by a map of weights; on the host or in a program."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import AnyArray, Number, Scalar, StaticSize, Voxels
from medjax._image._checks import check_choice, three_integers
from medjax._image._image import Image
from medjax._image._types import MaskLike
from medjax._kernels._compiled import compiled
from medjax.patch._table import ClassTable

__all__ = ["Border", "RandomSource", "balanced", "uniform", "weighted"]

RandomSource: TypeAlias = np.random.Generator | jax.Array
"""A `numpy.random.Generator`, for a draw on the host, or typed keys of JAX."""

Border = Literal["clamp", "inside"]


def uniform(key: RandomSource, size: StaticSize, extent: Voxels) -> AnyArray:
    """Draws the place of a box anywhere in a volume, each place as likely as any other.

    Args:
        key: A `numpy.random.Generator` for one draw on the host, or a typed key of JAX (`jax.random.key`); or an array
            of keys, one for each item.
        size: Voxels of the box along i, j, k.
        extent: Voxels of the volume along i, j, k, or `(*batch, 3)` for one volume each in a padded batch; may be
            traced. Of one key and several extents item n takes `fold_in(key, n)`.

    Returns:
        The index of the box's first voxel, `(*batch, 3)` integers. Along an axis that is shorter than the box it is 0:
        pad the volume at its end.

    Raises:
        ValueError: a size or a known extent below 1, or a key of another type.

    Transforms:
        Compiles once per shape of the keys, for any size and extent. The same key draws the same place alone, in a
        batch and under `vmap`.

    Example:
        >>> start = mj.patch.uniform(np.random.default_rng(0), (4, 4, 4), (10, 6, 3))
        >>> start.tolist()
        [5, 1, 0]
    """
    box, lengths = np.asarray(three_integers(size, "size", least=1)), _extent_of(extent)
    if isinstance(key, np.random.Generator):
        return key.integers(0, np.maximum(_on_host(lengths) - box, 0) + 1)
    keys = _keys(key, lengths.shape[:-1])
    draw = _over(keys, (lengths.ndim > 1, False), _uniform)
    return draw(keys, lengths, box.astype(np.int32))


def balanced(
    key: RandomSource,
    table: ClassTable,
    size: StaticSize,
    extent: Voxels,
    *,
    foreground: Scalar = 0.33,
    weights: Mapping[int, Number] | None = None,
) -> AnyArray:
    """Draws the place of a box: with probability `foreground` about a voxel of a class, else anywhere as `uniform`.

    The class is drawn among those that the table has voxels of, then one of its voxels. The box lies with this voxel in
    its middle, moved inside where it would hang over an end. Each box is drawn by itself, so its number in the batch
    says nothing of it. Without a class to draw from, the box lies anywhere.

    Args:
        key: As for `uniform`.
        table: Of the volume, from `class_table`.
        size: Voxels of the box along i, j, k.
        extent: Voxels of the volume along i, j, k; may be traced.
        foreground: The probability of a box about a class, 0 to 1; may be traced.
        weights: How often each label is chosen, in relation to the others. Default all alike.

    Returns:
        The index of the box's first voxel, `(3,)` integers, or one row for each key.

    Raises:
        ValueError: a probability outside 0 to 1, a weight below 0, a label of the table without a weight; or as
            `uniform`.

    Transforms:
        Compiles once per number of voxels in the table; on the host it takes some microseconds.

    Example:
        >>> label = mj.Image.from_array(np.arange(20, dtype=np.uint8).reshape(20, 1, 1) // 19, kind="label")
        >>> table = mj.patch.class_table(label)
        >>> mj.patch.balanced(np.random.default_rng(0), table, (5, 1, 1), label.shape, foreground=1).tolist()
        [15, 0, 0]

    Source: nnU-Net draws so, but forces the last third of each batch.
    """
    box, lengths = np.asarray(three_integers(size, "size", least=1)), _extent_of(extent)
    share: Any = foreground
    if not is_traced(share) and not 0 <= float(share) <= 1:
        raise ValueError(f"foreground is a probability, 0 to 1; got {foreground!r}")
    present = [label for label, rows in table.voxels.items() if len(rows)]
    chances = _chances(present, weights)
    if isinstance(key, np.random.Generator):
        if not chances.any() or key.random() >= float(share):
            return uniform(key, box, lengths)
        rows = table.voxels[present[_picked(chances, key.random())]]
        return _about(np.asarray(rows[key.integers(len(rows))], np.int64), box, _on_host(lengths))
    keys = _keys(key, ())
    if not chances.any():
        return uniform(keys, box, lengths)
    counts = np.array([len(table.voxels[label]) for label in present], np.int32)
    xp = jnp if is_traced(table) else np
    rows = xp.concatenate([xp.asarray(table.voxels[label], np.int32) for label in present])
    draw = _over(keys, (False,) * 5, _balanced)
    share = share if is_traced(share) else np.float32(share)
    return draw(keys, lengths, box.astype(np.int32), (rows, counts), chances.astype(np.float32), share)


def weighted(
    key: RandomSource,
    weight_map: MaskLike,
    size: StaticSize,
    extent: Voxels | None = None,
    *,
    at_border: Border = "clamp",
) -> AnyArray:
    """Draws the place of a box about a voxel that is drawn by a map of weights, of any number of voxels.

    The plane is drawn first, then the row in the plane, then the voxel in the row, each by its share of the weight. So
    no sum is longer than an axis, and there is no limit of 2^24 voxels.

    Args:
        key: A generator or one typed key.
        weight_map: One map without channels, weights of at least 0: an image or an array `(i, j, k)`; a mask draws its
            voxels alike.
        size: Voxels of the box along i, j, k.
        extent: Voxels of the volume along i, j, k, where the map is padded; may be traced. Default the map's own.
        at_border: What happens with voxels so close to an end that a box in the middle of which they lie hangs over it.
            "clamp" moves the box inside, so every voxel with a weight is reached. "inside" never draws them.

    Returns:
        The index of the box's first voxel, `(3,)` integers.

    Raises:
        ValueError: a known map is negative, not finite, or has no weight where boxes are drawn; or as `uniform`.

    Transforms:
        Compiles once per shape of the map. A traced map without any weight draws uniformly.

    Example:
        >>> weights = np.zeros((10, 10, 10))
        >>> weights[9, 4, 0] = 1e-30
        >>> mj.patch.weighted(np.random.default_rng(0), weights, 3).tolist()
        [7, 3, 0]
    """
    check_choice(at_border, "at_border", get_args(Border))
    box = np.asarray(three_integers(size, "size", least=1))
    weights = weight_map.voxels if isinstance(weight_map, Image) else weight_map
    weights = weights if isinstance(weights, jax.Array) else np.asarray(weights)
    if weights.ndim != 3 or 0 in weights.shape:
        raise ValueError(f"weight_map must be one map (i, j, k) and not empty, got shape {weights.shape}")
    lengths = _extent_of(np.asarray(weights.shape) if extent is None else extent)
    if not is_traced(weights, lengths):
        given = np.asarray(weights)
        total = float(given.sum(dtype=np.float64))
        if not np.isfinite(total) or (given < 0).any():
            raise ValueError("weight_map must hold finite weights of at least 0")
        lengths = np.minimum(lengths, given.shape)
        is_drawn = np.ix_(*_drawn(np, given.shape, lengths, box, at_border == "inside"))
        if not given[is_drawn].any():
            hint = "; at_border='clamp' draws voxels close to an end as well" if total and at_border == "inside" else ""
            raise ValueError(f"weight_map has no weight where a box is drawn{hint}; uniform draws without one")
    if isinstance(key, np.random.Generator):
        given = np.asarray(weights, np.float64)
        axes = _drawn(np, given.shape, _on_host(lengths), box, at_border == "inside")
        return _about(_drawn_voxel(np, given, axes, key.random(3)), box, _on_host(lengths))
    keys = _keys(key, ())
    draw = _over(keys, (False,) * 3, functools.partial(_weighted, is_inside=at_border == "inside"))
    return draw(keys, lengths, box.astype(np.int32), weights)


# --- Arguments -------------------------------------------------------------------------------------------------------


def _extent_of(extent: Any) -> Any:
    """Reads sizes of volumes, `(*batch, 3)`: int64 NumPy where they are known."""
    lengths = jnp.asarray(extent) if is_traced(extent) else np.asarray(extent)
    is_wrong = lengths.ndim < 1 or lengths.shape[-1] != 3 or not jnp.issubdtype(lengths.dtype, jnp.integer)
    if is_wrong or (isinstance(lengths, np.ndarray) and (lengths < 1).any()):
        raise ValueError(f"extent must be three integers of at least 1, or three for each item; got {extent!r}")
    return lengths.astype(np.int64 if isinstance(lengths, np.ndarray) else np.int32)


def _on_host(lengths: Any) -> np.ndarray:
    if not isinstance(lengths, np.ndarray):
        raise ValueError("extent is traced, so a NumPy generator cannot draw with it: give a typed key of JAX")
    return lengths


def _keys(key: Any, batch: tuple[int, ...]) -> Any:
    """Checks keys, and makes one for each item of a batch where one is given."""
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"key must be a numpy.random.Generator or a typed key such as jax.random.key(0), got {type(key).__name__}"
        )
    if not batch or key.shape == batch:
        return key
    if key.shape:
        raise ValueError(
            f"keys of shape {key.shape} do not suit extents of batch shape {batch}; give one key, or one each"
        )
    count = int(np.prod(batch))
    return jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(count)).reshape(batch)


def _chances(present: list[int], weights: Mapping[int, Number] | None) -> np.ndarray:
    if weights is None:
        return np.ones(len(present))
    if missing := [label for label in present if label not in weights]:
        raise ValueError(f"weights has none for label {missing[0]}; give every label of the table one, or 0")
    chances = np.array([weights[label] for label in present], np.float64)
    if not (np.isfinite(chances) & (chances >= 0)).all():
        raise ValueError(f"weights must be finite and at least 0, got {dict(weights)}")
    return chances


# --- Draws of one box, on the device ---------------------------------------------------------------------------------


def _over(keys: Any, is_per_item: tuple[bool, ...], draw: Any) -> Any:
    """The compiled draw, over the axes of the keys."""
    in_axes = (0, *(0 if each else None for each in is_per_item))
    for _ in keys.shape:
        draw = jax.vmap(draw, in_axes=in_axes)
    return draw


@compiled
def _uniform(key: Key[Array, ""], extent: Int[Array, " 3"], size: Int[Array, " 3"]) -> Int[Array, " 3"]:
    room = jnp.maximum(extent.astype(jnp.int32) - size, 0)
    return jax.random.randint(key, (3,), jnp.zeros(3, jnp.int32), room + 1)


@compiled
def _balanced(
    key: Key[Array, ""],
    extent: Int[Array, " 3"],
    size: Int[Array, " 3"],
    listed: tuple[Int[Array, "m 3"], Int[Array, " c"]],
    chances: Float[Array, " c"],
    foreground: Float[Array, ""],
) -> Int[Array, " 3"]:
    """`listed` holds the voxels of one class after the other, and how many there are of each."""
    rows, counts = listed
    which, of_class, of_row, anywhere = jax.random.split(key, 4)
    chosen = _picked_on_device(chances, jax.random.uniform(of_class))
    row = (jnp.cumsum(counts) - counts)[chosen] + jax.random.randint(of_row, (), 0, counts[chosen])
    start = _about(rows[row], size, extent.astype(jnp.int32))
    return jnp.where(
        jax.random.uniform(which) < foreground.astype(jnp.float32), start, _uniform(anywhere, extent, size)
    )


@functools.partial(compiled, static_argnames="is_inside")
def _weighted(
    key: Key[Array, ""],
    extent: Int[Array, " 3"],
    size: Int[Array, " 3"],
    weights: Num[Array, "i j k"],
    *,
    is_inside: bool,
) -> Int[Array, " 3"]:
    of_voxel, anywhere = jax.random.split(key)
    extent = extent.astype(jnp.int32)
    axes = _drawn(jnp, weights.shape, extent, size, is_inside)
    values = weights.astype(jnp.float32)
    is_any = ((values > 0) & axes[0][:, None, None] & axes[1][None, :, None] & axes[2][None, None, :]).any()
    start = _about(_drawn_voxel(jnp, values, axes, jax.random.uniform(of_voxel, (3,))), size, extent)
    return jnp.where(is_any, start, _uniform(anywhere, extent, size))


# --- The same on the host and on the device --------------------------------------------------------------------------


def _about(voxel: Any, size: Any, extent: Any) -> Any:
    """The box with a voxel in its middle, moved inside at both ends."""
    xp = np if isinstance(voxel, np.ndarray) else jnp
    return xp.clip(voxel - size // 2, 0, xp.maximum(extent - size, 0))


def _drawn(xp: Any, shape: tuple[int, ...], extent: Any, size: Any, is_inside: bool) -> list[Any]:
    """Which indices along each axis a voxel may be drawn from."""
    found = []
    for axis, n in enumerate(shape):
        place, length, p = xp.arange(n), extent[axis], size[axis]
        is_drawn = place < length
        if is_inside:  # along an axis that the box fills there is one place for it, about any voxel
            first = place - p // 2
            is_drawn = is_drawn & (((first >= 0) & (first <= length - p)) | (length <= p))
        found.append(is_drawn)
    return found


def _drawn_voxel(xp: Any, weights: Any, is_drawn: list[Any], numbers: Any) -> Any:
    """A voxel by three numbers from 0 to 1: the plane, the row in it, the voxel in the row."""
    pick = _picked if xp is np else _picked_on_device
    i, j, k = is_drawn
    values = xp.where(i[:, None, None] & j[None, :, None] & k[None, None, :], weights, 0)
    values = values / xp.maximum(values.max(), np.finfo(values.dtype).tiny)
    plane = pick(values.sum(axis=(1, 2)), numbers[0])
    row = pick(values[plane].sum(axis=1), numbers[1])
    return xp.stack([xp.asarray(index) for index in (plane, row, pick(values[plane, row], numbers[2]))])


def _picked(weights: np.ndarray, number: float) -> int:
    total = np.cumsum(weights)
    return int(_first(np, (total > number * total[-1]) & (weights > 0), weights > 0))


def _picked_on_device(weights: Float[Array, " n"], number: Float[Array, ""]) -> Int[Array, ""]:
    total = jnp.cumsum(weights)
    return _first(jnp, (total > number * total[-1]) & (weights > 0), weights > 0).astype(jnp.int32)


def _first(xp: Any, is_beyond: Bool[Any, " n"], is_any: Bool[Any, " n"]) -> Any:
    """The first index that is beyond; where rounding left none, the last that has a weight at all."""
    last = is_any.size - 1 - is_any[::-1].argmax()
    return xp.where(is_beyond.any(), is_beyond.argmax(), last)
