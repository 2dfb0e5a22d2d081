"""Exact changes of the field of view: crop, pad, and moving the header."""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import Grid, four_by_four, transformed
from medjax._geometry._numbers import as_triple, is_traced, on_host, together
from medjax._geometry._types import Fill, StaticSize, StaticTriple, Triple, Unit
from medjax._image._checks import check_choice, check_same_grid, three_integers
from medjax._image._fill import background, host_background
from medjax._image._image import Image, check_image
from medjax._image._per_item import aligned, check_real
from medjax._image._types import MaskLike
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import compiled
from medjax._space._pending import Effect, rearrange

__all__ = ["crop", "crop_or_pad", "crop_to_mask", "pad", "translate"]

PadMode = Literal["constant", "edge", "reflect"]


def crop(image: Image, start: Triple, size: StaticSize) -> Image:
    """Cuts out a box of voxels; each keeps its world position.

    Args:
        image: Any batch and channels.
        start: Index of the box's first voxel, three integers, or `(*batch, 3)`. May be traced; a traced start that runs
            over the edge is moved inside, and so is the geometry.
        size: Voxels of the box along i, j, k; static.

    Returns:
        The box. A NumPy image gives a view of the same memory.

    Raises:
        ValueError: the box is empty or does not lie inside the image (`crop_or_pad` and `pad` go beyond it).

    Transforms:
        Differentiable in the voxels. Compiles once per shape and size on JAX arrays, for any start.

    Example:
        >>> image = mj.Image.from_array(np.arange(4.0).reshape(4, 1, 1), spacing=2.0)
        >>> out = mj.crop(image, (1, 0, 0), (2, 1, 1))
        >>> out.voxels[:, 0, 0].tolist(), out.origin
        ([1.0, 2.0], (2.0, 0.0, 0.0))
    """
    check_image(image, "image")
    grid, batch = image.grid, image.batch_shape
    box = three_integers(size, "size", least=1)
    room = np.asarray(grid.shape) - box
    if is_traced(start):
        start = jnp.asarray(start)
        if start.shape not in ((), (3,), (*batch, 3)) or not jnp.issubdtype(start.dtype, jnp.integer):
            raise ValueError(
                f"start must be three integers, or one such triple per item; got {start.dtype} of shape {start.shape}"
            )
        if (room < 0).any():
            raise ValueError(
                f"a box of {box} does not fit into an image of {grid.shape}; crop_or_pad goes beyond the edge"
            )
        first: Any = jnp.clip(jnp.broadcast_to(start, (*batch, 3)), 0, jnp.asarray(room))
        corner: Any = first.astype(jax.dtypes.canonicalize_dtype(np.float64))
    else:
        first = np.asarray(start)
        if first.shape not in ((), (3,), (*batch, 3)) or first.dtype.kind not in "iu":
            raise ValueError(f"start must be three integers, or one such triple per item; got {start!r}")
        first = np.broadcast_to(first, (*batch, 3) if first.ndim > 1 else (3,))
        if (first < 0).any() or (first > room).any():
            raise ValueError(
                f"a box of {box} voxels from {first.tolist()} does not lie inside an image of {grid.shape}; "
                "crop_or_pad and pad go beyond the edge"
            )
        corner = first.astype(np.float64)
    target = grid.moved(corner, box)
    return rearrange(image, target, lambda voxels: _boxed(voxels, first, box, len(batch)), effect="cuts")


def _boxed(voxels: Any, start: Any, size: tuple[int, int, int], depth: int) -> Any:
    if isinstance(voxels, np.ndarray) and isinstance(start, np.ndarray):
        if start.ndim == 1:
            return voxels[(slice(None),) * depth + tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]
        return np.stack([_boxed(item, first, size, depth - 1) for item, first in zip(voxels, start, strict=True)])
    return _boxed_on_device(voxels, start, size, depth)


@functools.partial(compiled, moves=True, static_argnums=(2, 3))
def _boxed_on_device(voxels: jax.Array, start: jax.Array, size: tuple[int, int, int], depth: int) -> jax.Array:
    def one(volume: jax.Array, first: jax.Array) -> jax.Array:
        corner = [first[0], first[1], first[2], *[jnp.zeros_like(first[0])] * (volume.ndim - 3)]
        return jax.lax.dynamic_slice(volume, corner, (*size, *volume.shape[3:]))

    return over_batch(one, depth, (0, 0 if start.ndim > 1 else None))(voxels, start)


def pad(
    image: Image, before: StaticSize, after: StaticSize, *, mode: PadMode = "constant", fill: Fill | None = None
) -> Image:
    """Adds voxels around an image; those of the image keep their values and world positions.

    Args:
        image: Any batch and channels.
        before: Voxels to add before the first one along i, j, k; one integer or three.
        after: Voxels to add after the last one.
        mode: "constant" adds `fill`, "edge" repeats the edge voxel, "reflect" mirrors about its centre.
        fill: One number, or what broadcasts to `(*batch, *channels)` as NumPy does: `(c,)` per channel, `(b, 1)` per
            item. Default 0 for labels and the background for intensities (the median of the corner voxels, per channel;
            rounded half to even where the voxels are integers).

    Returns:
        The larger image, dtype kept.

    Raises:
        ValueError: a negative width, an unknown mode, a reflection wider than the image, or a fill that the dtype
            cannot hold.

    Transforms:
        Differentiable in the voxels and a traced `fill`. Compiles once per shape and widths.

    Example:
        >>> image = mj.Image.from_array(np.arange(3.0).reshape(3, 1, 1), spacing=2.0)
        >>> out = mj.pad(image, (1, 0, 0), 0, fill=-1)
        >>> np.asarray(out.voxels)[:, 0, 0].tolist(), out.origin
        ([-1.0, 0.0, 1.0, 2.0], (-2.0, 0.0, 0.0))
    """
    check_image(image, "image")
    low, high = three_integers(before, "before", least=0), three_integers(after, "after", least=0)
    if mode not in ("constant", "edge", "reflect"):
        raise ValueError(f"mode must be 'constant', 'edge' or 'reflect', got {mode!r}")
    if mode != "constant" and fill is not None:
        raise ValueError(f"fill={fill!r} has no meaning with mode={mode!r}; leave one of them out")
    shape = image.shape
    if mode == "reflect" and any(max(a, b) >= n for a, b, n in zip(low, high, shape, strict=True) if a or b):
        raise ValueError(
            f"mode='reflect' can add at most n - 1 voxels a side to an image of {shape}, asked for {low} and {high}"
        )
    target = image.grid.moved(
        -np.asarray(low, np.float64), [n + a + b for n, a, b in zip(shape, low, high, strict=True)]
    )
    margin, depth, kind = Margin(tuple(zip(low, high, strict=True)), mode, fill), len(image.batch_shape), image.kind
    effect: Effect = "cuts" if mode == "constant" else "alters"
    return rearrange(image, target, lambda voxels: _padded(voxels, margin, depth, kind), fill=fill, effect=effect)


class Margin(NamedTuple):
    """The voxels to add around an image.

    Attributes:
        widths: How many to add before and after the voxels along i, j and k.
        mode: Their values, as in `pad`.
        fill: The value for the mode "constant", as `pad` takes it.
    """

    widths: tuple[tuple[int, int], ...]
    mode: PadMode
    fill: Any


def _padded(voxels: Any, margin: Margin, depth: int, kind: str) -> Any:
    widths, mode = ((0, 0),) * depth + margin.widths + ((0, 0),) * (voxels.ndim - depth - 3), margin.mode
    if mode != "constant":
        if isinstance(voxels, np.ndarray):
            return np.pad(voxels, widths, mode)
        return _pad_on_device(voxels, None, widths, mode, depth)
    if not np.any(margin.widths):
        return voxels
    value = _pad_value(voxels, margin.fill, depth, kind)
    if isinstance(voxels, np.ndarray) and isinstance(value, np.ndarray):
        out = np.empty([n + a + b for n, (a, b) in zip(voxels.shape, widths, strict=True)], voxels.dtype)
        out[:] = value
        out[tuple(slice(a, a + n) for n, (a, _) in zip(voxels.shape, widths, strict=True))] = voxels
        return out
    return _pad_on_device(voxels, value, widths, mode, depth)


def _pad_value(voxels: Any, fill: Any, depth: int, kind: str) -> Any:
    """The constant to pad with, in the voxels' dtype, broadcastable to them."""
    lead, channels, dtype = voxels.shape[:depth], voxels.shape[depth + 3 :], voxels.dtype
    is_integer = not jnp.issubdtype(dtype, jnp.inexact)
    if fill is None and kind == "label":
        fill = 0
    if fill is None:
        if not isinstance(voxels, np.ndarray):
            return _background_on_device(voxels, depth)
        value: Any = host_background(voxels, depth).reshape((*lead, 1, 1, 1, *channels))
        return (np.round(value) if is_integer else value).astype(dtype)
    array = aligned(fill, lead, channels, "fill")
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        check_real(array, "fill", fill)
    if array.ndim:
        array = array.reshape((*array.shape[:depth], 1, 1, 1, *array.shape[depth:]))
    if isinstance(array, np.ndarray) and is_integer and not _holds(dtype, array):
        raise ValueError(
            f"fill={fill!r} does not fit voxels of {dtype}; cast the image to a floating dtype first, or choose "
            "another fill"
        )
    return array.astype(dtype)


@functools.partial(compiled, static_argnums=1)
def _background_on_device(voxels: jax.Array, depth: int) -> jax.Array:
    """The background in the voxels' dtype, `(*batch, 1, 1, 1, *channels)`. One program: eager steps take 1 ms."""
    value = over_batch(background, depth)(voxels).reshape((*voxels.shape[:depth], 1, 1, 1, *voxels.shape[depth + 3 :]))
    return (value if jnp.issubdtype(voxels.dtype, jnp.inexact) else jnp.round(value)).astype(voxels.dtype)


def _holds(dtype: Any, array: np.ndarray) -> bool:
    low, high = (0, 1) if np.issubdtype(dtype, np.bool_) else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(((array == np.round(array)) & (array >= low) & (array <= high)).all())


@functools.partial(compiled, moves=True, static_argnums=(2, 3, 4))
def _pad_on_device(
    voxels: jax.Array, value: Any, widths: tuple[tuple[int, int], ...], mode: PadMode, depth: int
) -> jax.Array:
    if mode != "constant":
        return over_batch(lambda volume: jnp.pad(volume, widths[depth:], mode), depth)(voxels)
    out = jnp.pad(voxels, widths)
    is_own = jnp.ones((1,) * voxels.ndim, bool)
    for axis, (low, _) in enumerate(widths):
        place = jnp.arange(out.shape[axis]).reshape([-1 if d == axis else 1 for d in range(out.ndim)])
        is_own = is_own & (place >= low) & (place < low + voxels.shape[axis])
    return jnp.where(
        is_own, out, jnp.broadcast_to(value.reshape((1,) * (out.ndim - value.ndim) + value.shape), out.shape)
    )


def crop_or_pad(image: Image, size: StaticSize, *, fill: Fill | None = None) -> Image:
    """Brings an image to a size about its centre: crops the axes that are longer and pads those that are shorter.

    An odd difference leaves the extra voxel at the high end: `(n - size) // 2` voxels are cropped before and the rest
    after. Padding does the same, so cropping after padding gives the image back.

    Args:
        image: Any batch and channels.
        size: Voxels along i, j, k; one integer or three.
        fill: As for `pad`.

    Raises:
        ValueError: a size below 1, or a fill that the dtype cannot hold.

    Transforms:
        Differentiable in the voxels and a traced `fill`.

    Example:
        >>> image = mj.Image.from_array(np.arange(5.0).reshape(5, 1, 1))
        >>> np.asarray(mj.crop_or_pad(image, (2, 1, 1)).voxels)[:, 0, 0].tolist()
        [1.0, 2.0]
        >>> np.asarray(mj.crop_or_pad(image, (8, 1, 1), fill=9).voxels)[:, 0, 0].tolist()
        [9.0, 0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 9.0]
    """
    check_image(image, "image")
    wanted = np.asarray(three_integers(size, "size", least=1))
    shape = np.asarray(image.shape)
    surplus, lack = np.maximum(shape - wanted, 0), np.maximum(wanted - shape, 0)
    if surplus.any() and lack.any() and fill is None:
        image = pad(image, lack // 2, lack - lack // 2)  # the background is the whole image's: pad first
        return crop(image, surplus // 2, wanted)
    if surplus.any():
        image = crop(image, surplus // 2, np.minimum(shape, wanted))
    return pad(image, lack // 2, lack - lack // 2, fill=fill) if lack.any() else image


def crop_to_mask(image: Image, mask: MaskLike, *, margin: StaticTriple = 0, unit: Unit = "voxel") -> Image:
    """Crops to the smallest box that holds a mask, plus a margin, as far as the image goes.

    Args:
        image: A single image, any channels.
        mask: An image or array on the same grid; non-zero is inside. It must be known, because the size of the result
            depends on it.
        margin: How much to keep around the box along i, j, k, one number or three.
        unit: "voxel" for whole voxels; "mm" for at least so many mm along the image's own axes.

    Raises:
        ValueError: the mask is empty, is traced or lies on another grid, the image is a batch, or the margin is
            negative or, in voxels, no whole number.

    Example:
        >>> image = mj.Image.from_array(np.arange(6.0).reshape(6, 1, 1))
        >>> mj.crop_to_mask(image, image.voxels > 3, margin=1).voxels[:, 0, 0].tolist()
        [3.0, 4.0, 5.0]
    """
    check_image(image, "image")
    check_choice(unit, "unit", get_args(Unit))
    around = _margin_in_voxels(image, margin) if unit == "mm" else np.array(three_integers(margin, "margin", least=0))
    if image.batch_shape:
        raise ValueError("the items of a batch would get different sizes: unstack it, or crop to a common box")
    check_image(mask, "mask", or_array=True)
    voxels = mask.voxels if isinstance(mask, Image) else mask
    if isinstance(voxels, jax.core.Tracer):
        raise ValueError("the size of the result depends on the mask's values, which are traced: crop before jit")
    if isinstance(mask, Image):
        check_same_grid(image, mask, "mask")
    chosen = np.asarray(voxels) != 0
    if chosen.shape[:3] != image.shape:
        raise ValueError(f"a mask of shape {chosen.shape} does not lie on an image of {image.shape}")
    chosen = chosen.any(axis=tuple(range(3, chosen.ndim)))
    if not chosen.any():
        raise ValueError("the mask is empty: there is nothing to crop to")
    spans = [np.flatnonzero(chosen.any(axis=tuple(d for d in range(3) if d != axis))) for axis in range(3)]
    first = np.maximum([span[0] for span in spans] - around, 0)
    last = np.minimum([span[-1] for span in spans] + around, np.asarray(image.shape) - 1)
    return crop(image, first, last - first + 1)


def _margin_in_voxels(image: Image, margin: Any) -> np.ndarray:
    length, spacing = as_triple(margin, "margin"), image.spacing
    if is_traced(length) or is_traced(spacing):
        raise ValueError("the size of the result depends on margin and spacing, which are traced: crop before jit")
    if (length < 0).any():
        raise ValueError(f"margin must not be negative, got {margin!r}")
    return np.ceil(length / np.asarray(spacing) - 1e-6).astype(int)


def translate(image: Image, offset: Triple, *, unit: Unit = "voxel") -> Image:
    """Moves an image in the world by changing its header; no voxel changes.

    Args:
        image: Any batch and channels.
        offset: How far, three numbers or `(*batch, 3)`; may be traced.
        unit: "voxel": along the image's own index axes, in voxels; "mm": along the world's LPS axes.

    Raises:
        ValueError: an unknown unit, or an offset that is not three finite numbers.

    Transforms:
        Differentiable in the offset (through the affine) and the voxels.

    Example:
        >>> image = mj.Image.from_array(np.zeros((2, 2, 2)), spacing=(1, 2, 3))
        >>> mj.translate(image, (1, 1, -1)).origin, mj.translate(image, (1, 1, -1), unit="mm").origin
        ((1.0, 2.0, -3.0), (1.0, 1.0, -1.0))
    """
    check_image(image, "image")
    grid = image.grid
    check_choice(unit, "unit", get_args(Unit))
    shift, affine = on_host(offset), grid.affine
    batch = image.batch_shape
    if shift.shape not in ((3,), (*batch, 3)) or (isinstance(shift, np.ndarray) and not np.isfinite(shift).all()):
        raise ValueError(
            f"offset must be three finite numbers, or one triple per item of the batch {batch}; got {offset!r}"
        )
    xp, (affine, shift) = together(affine, shift)
    shift = xp.broadcast_to(shift, (*batch, 3))
    linear = affine[..., :3, :3]
    moved = transformed(linear, shift) if unit == "voxel" else shift
    affine = four_by_four(linear, affine[..., :3, 3] + moved)
    return rearrange(image, Grid(grid.shape, affine), lambda voxels: voxels)
