"""SciPy's `map_coordinates`, on any device and differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._fork import refuse_in_fork
from medjax._geometry._types import Array, Number, Voxels
from medjax._kernels._compiled import compiled, unchanging
from medjax._kernels._gather import Locations, sample
from medjax._kernels._prefilter import prefiltered_along
from medjax._kernels._taps import cell, spline_weights

__all__ = ["map_coordinates"]

Mode = Literal["constant", "nearest", "mirror", "reflect", "wrap", "grid-constant", "grid-wrap", "grid-mirror"]

# For each mode: the index rule of taps beyond the edge, and the boundary of the spline filter.
_RULES: dict[str, tuple[Any, Any]] = {
    "constant": ("mirror", "mirror"),
    "nearest": ("clamp", "reflect"),
    "mirror": ("mirror", "mirror"),
    "reflect": ("reflect", "reflect"),
    "grid-mirror": ("reflect", "reflect"),
    "wrap": ("mirror", "mirror"),
    "grid-wrap": ("wrap", "wrap"),
    "grid-constant": ("zero", "mirror"),
}

# SciPy pads by this many voxels before it filters, in the modes whose boundary has no recursive filter.
_PAD = 12


def map_coordinates(
    input: Voxels,
    coordinates: Voxels,
    order: int = 1,
    mode: Mode = "constant",
    cval: complex | Number | Array = 0.0,
    prefilter: bool = True,
) -> jax.Array:
    """Interpolates an array at given coordinates by splines, as `scipy.ndimage.map_coordinates` does.

    The modes are SciPy's, not ITK's: "constant" gives `cval` as soon as a coordinate leaves `[0, n - 1]`. (The image
    operations follow ITK's rule.) A neighbour without weight does not count: at the position of a sample, orders 0 and
    1 give that sample, also where the next one is NaN or infinite. SciPy gives NaN there. The filter of higher orders
    spreads NaN to the whole array, as SciPy's does.

    Args:
        input: Array of any rank; real or complex floating point, integer or boolean.
        coordinates: `(rank, *out)`, in index units; an array or a sequence of arrays.
        order: Spline order, 0 (nearest, half up) to 5. SciPy's default is 3, JAX's own function stops at 1.
        mode: The rule beyond the edges, by SciPy's eight names.
        cval: Value outside, for "constant" and "grid-constant"; may be traced.
        prefilter: Turn samples into spline coefficients first, for orders above 1; `False` if `input` holds
            coefficients.

    Returns:
        `out`, in the dtype of `input`; integers are rounded half away from zero and kept within their range.

    Raises:
        ValueError: an order or mode that does not exist, coordinates for another rank, or 16-bit floating point, which
            SciPy refuses too (cast it).

    Transforms:
        Differentiable in `input`, `coordinates` and `cval`, to any order. At the kinks of orders 0 and 1 the derivative
        is the one from the right.

    Example:
        >>> row = jax.numpy.asarray([0.0, 10.0, 40.0, 90.0])
        >>> mj.map_coordinates(row, [jax.numpy.asarray([0.5, 2.0, 3.5])], order=1, cval=-1.0).tolist()
        [5.0, 40.0, -1.0]
        >>> round(float(mj.map_coordinates(row, [jax.numpy.asarray([1.5])], order=3, mode="mirror")[0]), 4)
        20.0

    Source: SciPy 1.18, ndimage/_interpolation.py, ni_interpolation.c and ni_splines.c, for the modes. SciPy before 1.18
    misses the samples themselves in "reflect" and "grid-mirror" on short axes (by 1e-3 on four voxels); this does not.
    """
    refuse_in_fork()
    volume = input if isinstance(input, jax.Array) else jnp.asarray(unchanging(np.asarray(input)))
    if mode not in _RULES:
        raise ValueError(f"mode must be one of {list(_RULES)}, got {mode!r}")
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or order not in range(6):
        raise ValueError(f"order must be an integer from 0 to 5, got {order!r}")
    order = int(order)
    if volume.dtype in (jnp.float16, jnp.bfloat16):
        raise ValueError(f"{volume.dtype} is too coarse to interpolate in: pass input.astype(jnp.float32)")
    rows: Any = coordinates
    if len(rows) != volume.ndim:
        raise ValueError(f"coordinates must be (rank, ...), one row per axis of {volume.shape}; got {len(rows)} rows")
    if volume.size == 0:
        raise ValueError(f"input of shape {volume.shape} is empty: there is nothing to interpolate")
    if not isinstance(rows, jax.Array | np.ndarray):
        rows = tuple(row if isinstance(row, jax.Array | np.ndarray) else jnp.asarray(row) for row in rows)
    value = cval if isinstance(cval, jax.Array) else np.asarray(cval)
    return _mapped(volume, rows, value, order=order, mode=mode, is_filtered=bool(prefilter))


def _in_one_dtype(volume: Any, rows: Any, cval: Any, *, order: int, mode: str, is_filtered: bool) -> Any:
    """Interpolates numbers of any dtype in the real dtype that suits them, and brings the result back to theirs."""
    real = jnp.float64 if volume.dtype in (jnp.float64, jnp.complex128) or _is_wide(volume.dtype) else jnp.float32
    points, how = _stacked(rows, real), _How(order, mode, is_filtered)
    if jnp.issubdtype(volume.dtype, jnp.complexfloating):
        parts = zip((volume.real, volume.imag), (jnp.real(cval), jnp.imag(cval)), strict=True)
        return jax.lax.complex(*(_interpolated(part, points, fill.astype(real), how) for part, fill in parts))
    return _as_stored(_interpolated(volume.astype(real), points, cval.astype(real), how), volume.dtype)


_mapped = compiled(_in_one_dtype, static_argnames=("order", "mode", "is_filtered"))


class _How(NamedTuple):
    """The static part of an interpolation, as `map_coordinates` takes it."""

    order: int
    mode: str
    is_filtered: bool


def _is_wide(dtype: Any) -> bool:
    """Whether to interpolate in float64: integers while x64 is on."""
    return bool(jax.dtypes.canonicalize_dtype(np.float64) == np.float64 and jnp.issubdtype(dtype, jnp.integer))


def _stacked(coordinates: Any, dtype: Any) -> jax.Array:
    if not isinstance(coordinates, tuple):
        return coordinates.astype(dtype)
    return jnp.stack(jnp.broadcast_arrays(*(row.astype(dtype) for row in coordinates)))


def _interpolated(volume: Any, points: Any, cval: Any, how: _How) -> Any:
    order, mode, is_filtered = how
    boundary, filter_boundary = _RULES[mode]
    sizes = volume.shape
    valid: Any = True
    if mode == "constant":
        for row, size in zip(points, sizes, strict=True):
            valid = valid & (row >= 0) & (row <= size - 1)
        points = jnp.where(valid[None], points, 0)
    if order > 1 and is_filtered:
        if mode in ("nearest", "grid-constant"):
            edge = {"mode": "edge"} if mode == "nearest" else {"constant_values": cval}
            volume = jnp.pad(volume, _PAD, **edge)
            points = points + _PAD
        for axis in range(volume.ndim):
            volume = prefiltered_along(volume, axis, order, volume.dtype, boundary=filter_boundary)
    if mode != "grid-constant":
        points = jnp.stack([_brought_in(row, size, mode) for row, size in zip(points, volume.shape, strict=True)])
    # The kernel takes 0 outside, so the values are shifted. NaN and infinity cannot be shifted to 0.
    shift = jnp.where(jnp.isfinite(cval), cval, 0) if mode == "grid-constant" else jnp.zeros_like(cval)
    options: Any = {"orders": (order,) * volume.ndim, "boundary": boundary, "dtype": volume.dtype}
    out = sample(volume - shift, Locations((), points), **options) + shift
    if mode == "grid-constant":
        valid = jnp.isfinite(cval) | ~_reaches_out(points, volume.shape, order)
    return jnp.where(valid, out, cval) if mode in ("constant", "grid-constant") else out


def _reaches_out(points: Any, sizes: Sequence[int], order: int) -> Any:
    """Whether a tap with a weight lies outside the array."""
    found: Any = False
    for row, size in zip(points, sizes, strict=True):
        integer, place = cell(np.int32(0), row, order)
        for tap, weight in enumerate(spline_weights(order, place)):
            index = integer + (tap - order // 2)
            found = found | ((index < 0) | (index >= size)) & (weight != 0)
    return found


def _brought_in(row: Any, size: int, mode: str) -> Any:
    """Brings coordinates into the array by a mode's rule, before they are rounded to cells: ties fall as in SciPy."""
    if size == 1 or mode in ("constant", "nearest"):  # nearest: each tap is clamped, not the coordinate
        return jnp.zeros_like(row) if size == 1 else row
    below, above = row < 0, row > size - 1
    if mode == "wrap":
        period = size - 1
        low = row + period * (jnp.trunc(-row / period) + 1)
        return jnp.where(below, low, jnp.where(above, row - period * jnp.trunc(row / period), row))
    if mode == "grid-wrap":
        low = row + size * (jnp.trunc((-1 - row) / size) + 1)
        return jnp.where(below, low, jnp.where(above, row - size * jnp.trunc(row / size), row))
    period, back = (2 * size - 2, 0) if mode == "mirror" else (2 * size, 1)
    low = row + period * jnp.trunc(-row / period)
    low = jnp.where(low < -size, low + period, -low - back) if back else jnp.where(low <= 1 - size, low + period, -low)
    high = row - period * jnp.trunc(row / period)
    high = jnp.where(high >= size, period - high - back, high)
    return jnp.where(below, low, jnp.where(above, high, row))


def _as_stored(out: Any, dtype: Any) -> Any:
    """Casts a result to the dtype of the input as SciPy does: rounded half away from zero, within the type's range."""
    if jnp.issubdtype(dtype, jnp.floating):
        return out
    if dtype == jnp.bool_:
        return jnp.trunc(out) != 0
    limits = jnp.iinfo(dtype)
    rounded = jnp.where(out > 0, jnp.floor(out + 0.5), jnp.ceil(out - 0.5))
    low, high = np.asarray(limits.min, out.dtype), np.asarray(limits.max, out.dtype)
    # The largest float below the limit: the limit itself may round up beyond the type.
    top = high if float(high) <= limits.max else np.nextafter(high, low)
    cast = jnp.clip(rounded, low, top).astype(dtype)
    return jnp.where(rounded >= high, jnp.asarray(limits.max, dtype), cast)
