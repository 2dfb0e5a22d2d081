"""The jitted kernels of resampling: voxels, small arrays and a fill value in, voxels out, for any batch and channels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import read_only
from medjax._image._image import Image
from medjax._image._per_item import aligned, check_real
from medjax._kernels import _traced
from medjax._kernels._adjoint import Inverse
from medjax._kernels._bands import along_axis
from medjax._kernels._batch import broadcast, over_batch
from medjax._kernels._compiled import compiled, unchanging
from medjax._kernels._gather import sample
from medjax._kernels._points import inside
from medjax._kernels._traced import sample_later

__all__ = [
    "Later",
    "as_dtype",
    "background",
    "compute_dtype",
    "device_voxels",
    "general",
    "host_background",
    "host_fill",
    "narrowed",
    "result_dtype",
    "rounded",
    "separable",
]


def background(voxels: jax.Array, spatial: int = 3) -> jax.Array:
    """Returns the default fill of an image `(i, j, k, *channels)`: the median of its corner voxels, per channel and part.

    The gradient is stopped. Source: MedImages.jl, which fills so.
    """
    if jnp.issubdtype(voxels.dtype, jnp.complexfloating):
        return jax.lax.complex(background(voxels.real, spatial), background(voxels.imag, spatial))
    ends = [jnp.asarray([0, n - 1]) for n in voxels.shape[:spatial]]
    corners = voxels[jnp.ix_(*ends)].reshape((2**spatial, *voxels.shape[spatial:]))
    is_wide = jnp.issubdtype(corners.dtype, jnp.inexact) and corners.dtype.itemsize >= 4  # two float16 may sum to inf
    corners = corners if is_wide else corners.astype(jnp.float32)
    ordered = jnp.sort(jax.lax.stop_gradient(corners), axis=0)
    return (ordered[2**spatial // 2 - 1] + ordered[2**spatial // 2]) / 2


def host_background(voxels: np.ndarray, depth: int = 0) -> np.ndarray:
    """The same of NumPy voxels `(*batch, i, j, k, *channels)` with `depth` batch axes, on the host."""
    if np.iscomplexobj(voxels):
        return np.asarray(host_background(voxels.real, depth) + 1j * host_background(voxels.imag, depth))
    lead, spatial = voxels.shape[:depth], voxels.shape[depth : depth + 3]
    corners = voxels[(slice(None),) * depth + np.ix_(*([0, n - 1] for n in spatial))]
    corners = corners.astype(np.promote_types(voxels.dtype, np.float32))
    ordered = np.sort(corners.reshape(*lead, 8, *voxels.shape[depth + 3 :]), axis=depth)
    return np.asarray((ordered.take(3, axis=depth) + ordered.take(4, axis=depth)) / 2)


class Later(NamedTuple):
    """A map whose numbers are there when the program runs.

    Attributes:
        kernels: Those to choose from then, as `sample_later` takes them.
        matrix: `(*batch, 3, 3)`, output index to input index.
        offset: `(*batch, 3)`.
    """

    kernels: tuple[str, ...]
    matrix: Any
    offset: Any


def general(
    image: Image,
    tables: Any,
    slack: Any,
    points: tuple[Any, Any] | None,
    filters: tuple[Any, ...],
    orders: tuple[int, ...],
    inverse: Inverse | None,
    later: Later | None,
    fill: Any,
    stored: Any = None,
) -> Any:
    """Samples an image at an affine lattice of points, shifted by a dense displacement where there is one.

    Args:
        image: Any batch and channels.
        tables: Coordinate tables, `(*batch, n, rank)` each; a rank of 2 leaves the last spatial axis as it is.
        slack: By how much a point may lie below a tie or a face and count as on it, `(*batch, rank)` voxels.
        points: `(shift, world_to_index)`: a displacement `(*batch?, i, j, k, 3)` in mm and the `(*batch, 3, 3)` matrix
            that brings it to input voxels; or `None`.
        filters: Prefilter matrix of each input axis, or `None`.
        orders: Spline order of each input axis.
        inverse: As for `sample`.
        later: The map, where its numbers are traced and nothing moves the points but the map.
        fill: As the operations take it.
        stored: dtype to bring the result to, as `rounded` does it; default as it was computed.

    Returns:
        The output's voxels.
    """
    depth = len(image.batch_shape)
    back = None if inverse is None else (inverse.tables, inverse.matrix, inverse.half)
    axes: Any = (0, 0, 0, None, 0, 0)
    if points is not None:
        axes = (0, 0, (0 if points[0].ndim == depth + 4 else None, 0), None, 0, 0)
    static: Any = {
        "orders": orders,
        "reach": None if inverse is None else inverse.reach,
        "is_label": image.kind == "label",
        "kernels": None if later is None else later.kernels,
    }
    voxels, restore = device_voxels(image)
    geometry = tables, slack, points, filters, back, None if later is None else (later.matrix, later.offset)
    kernel = _moved_lines if len(orders) == 2 and max(orders) == 0 else _sampled
    return restore(kernel(voxels, geometry, _fill(image, fill), depth=depth, axes=axes, stored=stored, **static))


def _general(
    voxels: Any,
    geometry: Any,
    fill: Any,
    *,
    orders: Any,
    reach: Any,
    kernels: Any,
    is_label: bool,
    depth: int,
    axes: Any,
    stored: Any,
) -> Any:
    def one(volume: Any, geometry: Any, fill: Any) -> Any:
        tables, slack, points, filters, back, later = geometry
        dtype = tables[0][1].dtype
        (base, fraction), *others = others_first = tables
        eased = [(base, fraction + slack.astype(dtype)[None]), *others]
        if max(orders) == 0:
            tables = jax.lax.stop_gradient(eased)  # the nearest voxel does not depend on a small move
        original = volume
        if not is_label and jnp.issubdtype(volume.dtype, jnp.inexact):
            volume = volume.astype(dtype)  # integers are converted as they are gathered
        moved = None if points is None else _in_voxels(*points, dtype=dtype)
        options: Any = {"boundary": "fold" if max(orders) > 1 else "clamp", "dtype": None if is_label else dtype}
        if later is not None:
            value = background(original) if fill is None else fill
            found = _traced.Later(others_first, later[0], later[1], slack, kernels)
            return rounded(sample_later(volume, found, value, orders=orders, **options), stored)
        for axis in (*range(1, len(filters)), 0):  # in this order XLA gets by with one temporary volume less
            if filters[axis] is not None:
                volume = along_axis(volume, filters[axis], axis, dtype)
        inverse = None if back is None else Inverse(back[0], back[1], back[2], reach)
        out = sample(volume, tables, moved, orders=orders, inverse=inverse, **options)
        mask = inside(eased, moved, volume.shape[: len(orders)], orders)
        return rounded(_filled(out, mask, fill, original), stored)

    return over_batch(one, depth, (0, axes, 0))(voxels, geometry, fill)


_STATIC = ("orders", "reach", "kernels", "is_label", "depth", "axes", "stored")
_sampled = compiled(_general, static_argnames=_STATIC)
_moved_lines = compiled(_general, moves=True, static_argnames=_STATIC)


def _in_voxels(shift: Any, world_to_index: Any, *, dtype: Any) -> Any:
    """Turns a displacement `(i, j, k, 3)` in mm into one `(3, i, j, k)` in input voxels."""
    matrix, shift = world_to_index.astype(dtype), shift.astype(dtype)
    moved = jnp.stack(
        [sum((matrix[d, e] * shift[..., e] for e in range(1, 3)), matrix[d, 0] * shift[..., 0]) for d in range(3)]
    )
    return jnp.where(jnp.isfinite(moved), moved, 1e9)  # far outside: no integer stands for "nowhere"


def separable(
    image: Image, operators: Any, masks: Any, axes: tuple[int, ...], fill: Any, dtype: Any, stored: Any = None
) -> Any:
    """Applies one operator along each axis, then permutes: output axis `e` comes from input axis `axes[e]`.

    Args:
        image: Any batch and channels.
        operators: For each output axis what `along_axis` takes, `(*batch, ...)` each.
        masks: For each output axis which of its indices lie inside the input, `(*batch, n)` boolean.
        axes: Input axis of each output axis.
        fill: As the operations take it.
        dtype: Real dtype to compute in.
        stored: As for `general`.

    Returns:
        The output's voxels.
    """
    growth = [masks[e].shape[-1] / image.shape[axis] for e, axis in enumerate(axes)]
    order = tuple(sorted(range(3), key=lambda e: (growth[e], e)))  # shrink first: fewer voxels for the axes to come
    static = {"axes": axes, "order": order, "is_label": image.kind == "label", "dtype": np.dtype(dtype).name}
    voxels, restore = device_voxels(image)
    fill, depth = _fill(image, fill), len(image.batch_shape)
    return restore(_separable(voxels, (operators, masks), fill, depth=depth, stored=stored, **static))


@functools.partial(compiled, moves=True, static_argnames=("axes", "order", "is_label", "dtype", "depth", "stored"))
def _separable(
    voxels: Any,
    geometry: Any,
    fill: Any,
    *,
    axes: Any,
    order: Any,
    is_label: bool,
    dtype: str,
    depth: int,
    stored: Any,
) -> Any:
    def one(volume: Any, geometry: Any, fill: Any) -> Any:
        operators, masks = geometry
        out = volume
        for e in order:
            out = along_axis(out, operators[e], axes[e], dtype)
        if not is_label:
            out = out.astype(dtype)
        out = out.transpose((*axes, *range(3, out.ndim)))
        mask = masks[0][:, None, None] & masks[1][None, :, None] & masks[2][None, None, :]
        return rounded(_filled(out, mask, fill, volume), stored)

    return over_batch(one, depth)(voxels, geometry, fill)


def _filled(out: Any, mask: Any, fill: Any, volume: Any) -> Any:
    """Puts the fill value where the mask is false: as given, else the background of the volume it came from."""
    value = background(volume) if fill is None else fill
    value = jnp.broadcast_to(value.reshape((1,) * (3 + value.ndim - (out.ndim - 3)) + value.shape), out.shape).astype(
        out.dtype
    )
    return jnp.where(mask.reshape(mask.shape + (1,) * (out.ndim - mask.ndim)), out, value)


def rounded(voxels: Any, dtype: Any) -> Any:
    """Brings real voxels to another dtype: to its nearest value, within its limits; `None` changes nothing.

    Integers are rounded half to even, and NaN becomes 0. Floating point keeps NaN and infinities, where it has them.
    """
    if dtype is None:
        return voxels
    if voxels.dtype == bool:
        return voxels.astype(dtype)
    if not jnp.issubdtype(dtype, np.integer):
        return _within(voxels, jnp.finfo(dtype)).astype(dtype)
    xp, limits = voxels.__array_namespace__(), np.iinfo(dtype)
    if not jnp.issubdtype(voxels.dtype, np.floating):
        own = np.iinfo(voxels.dtype)
        low, high = (voxels.dtype.type(n) for n in (max(own.min, limits.min), min(own.max, limits.max)))
        return xp.clip(voxels, low, high).astype(dtype)
    voxels = voxels if voxels.dtype.itemsize >= 4 else voxels.astype(np.float32)
    # The limits are compared as powers of two, for 2^31 - 1 is no float32.
    above, least = voxels.dtype.type(2.0 ** (limits.bits - (limits.min < 0))), voxels.dtype.type(limits.min)
    whole = xp.round(voxels)
    within = xp.where((whole >= least) & (whole < above), whole, 0).astype(dtype)
    return xp.where(whole >= above, dtype.type(limits.max), xp.where(whole < least, dtype.type(limits.min), within))


def _within(voxels: Any, limits: Any) -> Any:
    """Holds finite numbers at the limits of a floating-point dtype, beyond which they would become infinite."""
    is_integer = jnp.issubdtype(voxels.dtype, np.integer)
    own = np.iinfo(voxels.dtype) if is_integer else jnp.finfo(voxels.dtype)
    if float(own.max) <= float(limits.max):
        return voxels
    xp, largest = voxels.__array_namespace__(), float(limits.max)
    if is_integer:
        return xp.clip(voxels, *(voxels.dtype.type(n) for n in (max(own.min, -int(largest)), int(largest))))
    largest = voxels.dtype.type(largest)
    is_beyond = (xp.abs(voxels) > largest) & xp.isfinite(voxels)
    return xp.where(is_beyond, xp.copysign(largest, voxels), voxels)


def as_dtype(voxels: Any, dtype: Any) -> Any:
    """The same at once: of NumPy voxels on the host, of others on the device."""
    return rounded(voxels, dtype) if isinstance(voxels, np.ndarray) else _rounded(voxels, dtype)


_rounded = compiled(rounded, static_argnums=1)


def device_voxels(image: Image) -> tuple[Any, Callable[[Any], Any]]:
    """Returns the voxels as jit takes them, and the function that gives a result the dtype it must have."""
    voxels, restore = narrowed(image)
    return unchanging(voxels), restore


def narrowed(image: Image) -> tuple[Any, Callable[[Any], Any]]:
    """Returns the voxels in a dtype that a device has, and the function that gives a result the dtype it must have.

    Without x64 a device has no 64-bit integers and would wrap them silently: labels are narrowed after a check and
    widened again on the host.
    """
    voxels = image.voxels
    if isinstance(voxels, jax.Array):
        return voxels, lambda out: out
    voxels = np.asarray(voxels, voxels.dtype.newbyteorder("="))
    narrow = jax.dtypes.canonicalize_dtype(voxels.dtype)
    if narrow == voxels.dtype:
        return voxels, lambda out: out
    if image.kind == "intensity":
        return read_only(voxels.astype(narrow if voxels.dtype.kind in "fc" else np.float32)), lambda out: out
    limits = np.iinfo(narrow)
    if voxels.min() < limits.min or voxels.max() > limits.max:
        raise ValueError(
            f"labels from {voxels.min()} to {voxels.max()} ({voxels.dtype}) do not fit {np.dtype(narrow)}, the widest integer "
            "without x64: renumber them, or jax.config.update('jax_enable_x64', True)"
        )
    wide = voxels.dtype
    return read_only(
        voxels.astype(narrow)
    ), lambda out: out if isinstance(out, jax.core.Tracer) else np.asarray(out).astype(wide)


def compute_dtype(image: Image) -> np.dtype:
    """The real dtype of interpolation: float32, or float64 where x64 is on and the data is that wide."""
    is_wide = np.dtype(image.dtype) in (np.float64, np.complex128) if image.dtype != jnp.bfloat16 else False
    return np.dtype(np.float64 if jax.dtypes.canonicalize_dtype(np.float64) == np.float64 and is_wide else np.float32)


def result_dtype(image: Image) -> np.dtype:
    """The dtype of the voxels once they are interpolated."""
    if image.kind == "label":
        return image.dtype
    real = compute_dtype(image)
    return np.result_type(real, np.complex64) if jnp.issubdtype(image.dtype, jnp.complexfloating) else real


def host_fill(image: Image, fill: Any) -> np.ndarray:
    """The fill value of a single concrete image on the host, `(*channels)`: as given, else the background."""
    value = _fill(image, fill)
    return host_background(np.asarray(image.voxels)) if value is None else np.asarray(value)


def _fill(image: Image, fill: Any) -> Any:
    """Brings a fill value to `(*batch, *channels)`, checked against the dtype of labels; `None` stays, for intensities."""
    if fill is None and image.kind == "intensity":
        return None
    wanted = (*image.batch_shape, *image.channels)
    value = aligned(0 if fill is None else fill, image.batch_shape, image.channels, "fill")
    check_real(value, "fill", fill)
    dtype: Any = compute_dtype(image)
    if image.kind == "label":
        dtype = jax.dtypes.canonicalize_dtype(image.dtype)
        limits = None if np.issubdtype(dtype, np.bool_) else np.iinfo(dtype)
        low, high = (limits.min, limits.max) if limits else (0, 1)
        known = value if isinstance(value, np.ndarray) else np.zeros(())
        if not ((known == np.round(known)) & (known >= low) & (known <= high)).all():
            raise ValueError(f"fill={fill!r} is no label of dtype {image.dtype}: give an integer from {low} to {high}")
    return broadcast(value, wanted).astype(dtype)
