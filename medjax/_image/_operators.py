"""Python's operators on images: arithmetic, comparisons, masks combined, and trailing axes by index."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped

from medjax._geometry._numbers import is_traced
from medjax._image._per_item import as_array, with_space_axes
from medjax._image._same_grid import check_grids
from medjax._kernels._compiled import at_once, compiled, unchanging
from medjax._kernels._values import without_wrapping

__all__ = ["Operators", "check_amounts", "compared"]

_NUMBERS = (bool, int, float, complex, np.generic, np.ndarray, jax.Array, list, tuple)
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": jnp.add,
    "-": jnp.subtract,
    "*": jnp.multiply,
    "/": jnp.divide,
    "//": jnp.floor_divide,
    "%": jnp.remainder,
    "**": jnp.power,
    "<": jnp.less,
    "<=": jnp.less_equal,
    ">": jnp.greater,
    ">=": jnp.greater_equal,
    "&": jnp.logical_and,
    "|": jnp.logical_or,
    "^": jnp.logical_xor,
    "abs": jnp.abs,
    "negative": jnp.negative,
    "~": jnp.logical_not,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Operators:
    """The operators of an image; each gives an image on the same grid.

    - `+ - * / // % **`, unary `-` and `abs` compute in float32 (float64 if the voxels are and x64 is on). The other
      operand is a number, one number per item or channel (it broadcasts against `(*batch, *channels)`), or an image on
      the same grid. Labels are names, not amounts. Beside an intensity image a label image counts 1 where it is not 0;
      alone it is refused.
    - `< <= > >=` give a label image of booleans. `==` is identity, as for every image. NaN compares as False.
    - `& | ^ ~` combine masks. A voxel that is not 0 is inside.
    - `image[..., t]` takes channels. The grid stays, so space and batch cannot be indexed.

    The result has the metadata of the left image, or of the only one that holds intensities. An image without batch or
    channels goes with each item or channel of the other.

    Example:
        >>> image = mj.Image.from_array(np.array([-1.0, 2.0, 5.0]).reshape(3, 1, 1))
        >>> (2 * image - 1).voxels.ravel().tolist()
        [-3.0, 3.0, 9.0]
        >>> ((image > 0) & (image < 3)).voxels.ravel().tolist()
        [False, True, False]
    """

    __array_priority__ = 1000.0  # so that NumPy leaves `array * image` to the image
    __iter__: Any = None

    def __add__(self, other: Any) -> Any:
        return _calculated(self, other, "+")

    def __radd__(self, other: Any) -> Any:
        return _calculated(self, other, "+", is_reflected=True)

    def __sub__(self, other: Any) -> Any:
        return _calculated(self, other, "-")

    def __rsub__(self, other: Any) -> Any:
        return _calculated(self, other, "-", is_reflected=True)

    def __mul__(self, other: Any) -> Any:
        return _calculated(self, other, "*")

    def __rmul__(self, other: Any) -> Any:
        return _calculated(self, other, "*", is_reflected=True)

    def __truediv__(self, other: Any) -> Any:
        return _calculated(self, other, "/")

    def __rtruediv__(self, other: Any) -> Any:
        return _calculated(self, other, "/", is_reflected=True)

    def __floordiv__(self, other: Any) -> Any:
        return _calculated(self, other, "//")

    def __rfloordiv__(self, other: Any) -> Any:
        return _calculated(self, other, "//", is_reflected=True)

    def __mod__(self, other: Any) -> Any:
        return _calculated(self, other, "%")

    def __rmod__(self, other: Any) -> Any:
        return _calculated(self, other, "%", is_reflected=True)

    def __pow__(self, other: Any) -> Any:
        return _calculated(self, other, "**")

    def __rpow__(self, other: Any) -> Any:
        return _calculated(self, other, "**", is_reflected=True)

    def __neg__(self) -> Any:
        return _unary(self, "negative")

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return _unary(self, "abs")

    def __lt__(self, other: Any) -> Any:
        return _compared(self, other, "<")

    def __le__(self, other: Any) -> Any:
        return _compared(self, other, "<=")

    def __gt__(self, other: Any) -> Any:
        return _compared(self, other, ">")

    def __ge__(self, other: Any) -> Any:
        return _compared(self, other, ">=")

    def __and__(self, other: Any) -> Any:
        return _combined(self, other, "&")

    def __or__(self, other: Any) -> Any:
        return _combined(self, other, "|")

    def __xor__(self, other: Any) -> Any:
        return _combined(self, other, "^")

    def __invert__(self) -> Any:
        return _mask_like(self, _logical(_inside_of(self, "~"), name="~"))

    def __bool__(self) -> bool:
        raise ValueError(
            "an image is neither true nor false; chain comparisons by &, such as (low <= image) & (image <= high), and "
            "ask image.voxels.any() or .all()"
        )

    def __getitem__(self, key: Any) -> Any:
        return _indexed(self, key)


# --- Arithmetic ------------------------------------------------------------------------------------------------------


def _calculated(image: Any, other: Any, symbol: str, *, is_reflected: bool = False) -> Any:
    if isinstance(other, Operators):
        base, *operands = _paired(image, other, symbol)
        images: Any = (image, other)
        if base.kind == "label":
            raise ValueError(
                f"{symbol} takes intensities and both images hold labels, which are names, not amounts; combine masks "
                "by & and |, or use with_kind('intensity') if they are amounts after all"
            )
    elif isinstance(other, _NUMBERS):
        check_amounts(image, symbol)
        base, images = image, (image,)
        operands = [without_wrapping(image.voxels), _number(image, other, symbol)]
    else:
        return NotImplemented
    dtype = _wide_enough(tuple(each.dtype for each in images), tuple(operand.dtype for operand in operands))
    is_mask = tuple(each.kind == "label" for each in images)
    ordered = operands[::-1] if is_reflected else operands
    return base.with_voxels(_computed(*ordered, name=symbol, dtype=dtype, is_mask=(*is_mask, False)[:2]))


def _unary(image: Any, name: str) -> Any:
    check_amounts(image, {"negative": "-"}.get(name, name))
    voxels = without_wrapping(image.voxels)
    dtype = _wide_enough((image.dtype,), (voxels.dtype,))
    return image.with_voxels(_computed(voxels, name=name, dtype=dtype, is_mask=(False,)))


@functools.partial(compiled, static_argnames=("name", "dtype", "is_mask"))
def _computed(
    *operands: Shaped[Array, ...], name: str, dtype: np.dtype, is_mask: tuple[bool, ...]
) -> Shaped[Array, ...]:
    values = [x.astype(bool) if mask else x for x, mask in zip(operands, is_mask, strict=True)]
    return _FUNCTIONS[name](*_same_rank(*(value.astype(dtype) for value in values)))


def _same_rank(*operands: Any) -> tuple[Any, ...]:
    rank = max(operand.ndim for operand in operands)
    return tuple(operand.reshape((1,) * (rank - operand.ndim) + operand.shape) for operand in operands)


def check_amounts(image: Any, operation: str) -> None:
    """Raises `ValueError` for a label image, where an operation takes intensities."""
    if image.kind == "label":
        raise ValueError(
            f"{operation} takes intensities and this image holds labels, which are names, not amounts; if they are "
            "amounts after all, use image.with_kind('intensity')"
        )


def _wide_enough(images: tuple[Any, ...], operands: tuple[Any, ...]) -> np.dtype:
    """Returns float32, or complex64 where an operand is complex; the 64-bit kind for 64-bit images while x64 is on."""
    is_complex = any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in operands)
    narrow, wide = (np.complex64, np.complex128) if is_complex else (np.float32, np.float64)
    is_wide = any(np.dtype(dtype) in (np.float64, np.complex128) for dtype in images)
    return np.dtype(wide if is_wide and jax.dtypes.canonicalize_dtype(np.float64) == np.float64 else narrow)


def _number(image: Any, value: Any, symbol: str) -> Any:
    """Gives numbers a shape that broadcasts against the voxels."""
    array, name = as_array(value, f"the number beside {symbol}"), f"the number beside {symbol}"
    if array.ndim >= 3 and tuple(array.shape)[-3:] in (image.shape, tuple(image.voxels.shape)[-3:]):
        raise ValueError(
            f"an array of shape {tuple(array.shape)} beside {symbol} lies on no grid: make an image of it, "
            "image.with_voxels(array)"
        )
    if not is_traced(array) and array.dtype.kind in "biu":
        array = np.asarray(array, np.float64)
    return with_space_axes(array, image.batch_shape, image.channels, name)


def _paired(image: Any, other: Any, symbol: str) -> tuple[Any, Any, Any]:
    """Returns the image whose geometry, kind and metadata the result gets, and the voxels of both, which broadcast."""
    name = f"the image beside {symbol}"
    longer, shorter = (image, other) if image.batch_shape or not other.batch_shape else (other, image)
    check_grids(longer, shorter, name, batch="same or none")
    if image.channels and other.channels and image.channels != other.channels:
        raise ValueError(
            f"the images beside {symbol} have channels {image.channels} and {other.channels}; index them first"
        )
    kept = other if image.kind == "label" and other.kind == "intensity" else image
    base = longer if kept is longer else dataclasses.replace(longer, kind=kept.kind, metadata=_repeated(kept, longer))
    count = max(len(image.channels), len(other.channels))
    return base, *(_with_channels(each, count) for each in (image, other))


def _repeated(image: Any, longer: Any) -> Any:
    """Returns the metadata of an image, repeated for each item where the other image is a batch."""
    if image.metadata is None or isinstance(image.metadata, tuple) or not longer.batch_shape:
        return image.metadata
    return (image.metadata,) * longer.batch_shape[0] if len(longer.batch_shape) == 1 else None


def _with_channels(image: Any, count: int) -> Any:
    voxels = without_wrapping(image.voxels)
    return voxels.reshape((*voxels.shape, *(1,) * (count - len(image.channels))))


# --- Comparisons and masks -------------------------------------------------------------------------------------------


def _compared(image: Any, other: Any, symbol: str) -> Any:
    if isinstance(other, Operators):
        base, voxels, others = _paired(image, other, symbol)
        _check_real(voxels, symbol)
        _check_real(others, symbol)
        return _mask_like(base, _compare(voxels, others, name=symbol, dtype=_common(voxels.dtype, others.dtype)))
    if not isinstance(other, _NUMBERS):
        return NotImplemented
    return _mask_like(image, compared(image, _number(image, other, symbol), symbol))


def compared(image: Any, number: Any, symbol: str) -> Any:
    """Compares voxels with a number. A known number is compared with integers exactly, also where float32 would round.

    Args:
        image: An image with real voxels.
        number: An array that broadcasts against the voxels; NaN compares as False.
        symbol: "<", "<=", ">" or ">=".
    """
    voxels = without_wrapping(image.voxels)
    _check_real(voxels, symbol)
    _check_real(number, symbol)
    if jnp.issubdtype(voxels.dtype, np.integer) and voxels.dtype.itemsize <= 4 and not is_traced(number):
        return _compare_integers(voxels, *_integer_bound(np.asarray(number, np.float64), symbol, voxels.dtype))
    return _compare(voxels, number, name=symbol, dtype=_wide_enough((voxels.dtype,), (voxels.dtype,)))


def _integer_bound(number: np.ndarray, symbol: str, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, str]:
    """Rewrites a comparison with any number as one with an integer of a dtype, and tells whether it can be true."""
    way = ">=" if symbol in (">", ">=") else "<="
    whole = {">": np.floor(number) + 1, ">=": np.ceil(number), "<=": np.floor(number), "<": np.ceil(number) - 1}[symbol]
    limits = np.iinfo(dtype)
    is_possible = (whole <= limits.max) if way == ">=" else (whole >= limits.min)  # NaN is neither
    bound = np.asarray(np.clip(np.nan_to_num(whole), limits.min, limits.max))
    return bound.astype(dtype), np.asarray(is_possible), way


@functools.partial(compiled, static_argnums=3)
def _compare_integers(
    voxels: Shaped[Array, ...], bound: Shaped[Array, ...], is_possible: Shaped[Array, ...], way: str
) -> Bool[Array, ...]:
    voxels, bound, is_possible = _same_rank(voxels, bound, is_possible)
    return _FUNCTIONS[way](voxels, bound) & is_possible


@functools.partial(compiled, static_argnames=("name", "dtype"))
def _compare(a: Shaped[Array, ...], b: Shaped[Array, ...], name: str, dtype: np.dtype) -> Bool[Array, ...]:
    return _FUNCTIONS[name](*_same_rank(a.astype(dtype), b.astype(dtype)))


def _common(a: Any, b: Any) -> np.dtype:
    """Returns the dtype for comparing two images: an integer one that holds both, else floating point."""
    if all(np.issubdtype(dtype, np.bool_) or jnp.issubdtype(dtype, np.integer) for dtype in (a, b)):
        found = np.promote_types(np.promote_types(a, b), np.uint8)
        if jnp.issubdtype(found, np.integer) and jax.dtypes.canonicalize_dtype(found).itemsize == found.itemsize:
            return found
    return _wide_enough((a, b), (a, b))


def _check_real(voxels: Any, symbol: str) -> None:
    if jnp.issubdtype(voxels.dtype, jnp.complexfloating):
        raise ValueError(f"{symbol} takes real numbers, got {voxels.dtype}; take the magnitude first, abs(image)")


def _combined(image: Any, other: Any, symbol: str) -> Any:
    if not isinstance(other, Operators):
        return NotImplemented
    base, *_ = _paired(image, other, symbol)
    count = max(len(image.channels), len(getattr(other, "channels", ())))
    inside = [_inside_of(each, symbol, count) for each in (image, other)]
    return _mask_like(base, _logical(*inside, name=symbol))


def _inside_of(image: Any, symbol: str, channels: int = 0) -> Any:
    if image.dtype != bool and image.kind != "label":
        raise ValueError(
            f"{symbol} takes masks, got {image.dtype} intensities; compare them first, such as image > 0.5"
        )
    return _with_channels(image, max(channels, len(image.channels)))


@functools.partial(compiled, static_argnames="name")
def _logical(*masks: Shaped[Array, ...], name: str) -> Bool[Array, ...]:
    return _FUNCTIONS[name](*_same_rank(*(mask.astype(bool) for mask in masks)))


def _mask_like(image: Any, inside: Any) -> Any:
    return dataclasses.replace(image, voxels=inside, kind="label")


# --- Trailing axes ---------------------------------------------------------------------------------------------------


def _indexed(image: Any, key: Any) -> Any:
    keys = key if isinstance(key, tuple) else (key,)
    total, inner = len(image.voxels.shape), len(image.batch_shape) + 3
    dots = [n for n, each in enumerate(keys) if each is Ellipsis]
    given = sum(each is not None and each is not Ellipsis for each in keys)
    if len(dots) > 1 or given > total:
        raise ValueError(f"an image of {total} axes takes at most {total} indices and one ..., got {key!r}")
    at = dots[0] if dots else len(keys)
    whole = (*keys[:at], *(slice(None),) * (total - given), *keys[at + 1 :])
    if any(not (isinstance(each, slice) and each == slice(None)) for each in whole[:inner]):
        raise ValueError(
            f"image[...] takes channels, the axes after i, j, k, and this indexes space or the batch: {key!r}; the "
            f"image has batch {image.batch_shape} and channels {image.channels}. Cut space by crop, take items by "
            "unstack"
        )
    voxels, chosen = image.voxels, whole[inner:]
    _check_within(voxels.shape[inner:], [each for each in chosen if each is not None], key)
    if is_traced(*chosen):
        voxels = jnp.asarray(unchanging(voxels))
    with at_once(voxels, *chosen):
        return dataclasses.replace(image, voxels=voxels[(*(slice(None),) * inner, *chosen)])


def _check_within(channels: tuple[int, ...], keys: list[Any], key: Any) -> None:
    """Raises `IndexError` for a known channel that does not exist, where JAX would silently take the last one."""
    for count, each in zip(channels, keys, strict=False):
        if isinstance(each, int | np.integer) and not isinstance(each, bool) and not -count <= each < count:
            raise IndexError(f"index {each} is out of bounds for {count} channels, in image[{key!r}]")
