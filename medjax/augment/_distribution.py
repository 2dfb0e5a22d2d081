"""What a parameter is drawn from. Ranges are leaves of a recipe, so that other ranges compile nothing anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import AnyArray, Array, Leaf, Number, Scalar
from medjax._lazy import public

__all__ = ["Distribution", "Spread", "as_distribution", "choice", "fixed", "log_uniform", "normal", "uniform"]

Kind = Literal[
    "fixed",
    "uniform",
    "log_uniform",
    "normal",
    "choice",
    "whole",
    "reciprocal",
    "about_one",
    "log_about_one",
    "ranges",
    "log_ranges",
]


@public("medjax.augment")
@dataclasses.dataclass(frozen=True, eq=False)
class Distribution:
    """What a parameter of a step is drawn from; `uniform`, `log_uniform`, `normal`, `choice` and `fixed` make one.

    It is a pytree. Its numbers are leaves, so that they may be traced, scheduled and annealed without a compilation.

    Attributes:
        kind: "fixed", "uniform", "log_uniform", "normal", "choice" or "whole" (integers, both ends included). Presets
            know five more: "reciprocal" (1 over a uniform number), "about_one" (half of the draws uniform from the
            lower end to 1, half from 1 to the upper end), "ranges" (uniform in one of several ranges, all as likely),
            and "log_about_one" and "log_ranges" (their natural logarithms).
        first: The value, the lower end, the mean, or the values to choose from. For "ranges" the lower ends, along the
            last axis.
        second: The upper end, the standard deviation or the weights; `None` for "fixed".

    Example:
        >>> mj.augment.uniform(-10, 10)
        uniform -10 to 10
    """

    kind: Kind
    first: Leaf
    second: Leaf = None

    def quantile(self, u: Array) -> AnyArray:
        """Returns the values below which shares `u` of the draws lie, each from 0 to 1, 1 excluded; element by element.

        Example:
            >>> mj.augment.log_uniform(1, 100).quantile(np.float32(0.5)).round(3).item()
            10.0
        """
        u = jnp.asarray(u, jnp.float32)
        first = jnp.asarray(self.first, jnp.float32)
        if self.kind == "fixed":
            return jnp.broadcast_to(first, u.shape)
        second = jnp.asarray(self.second, jnp.float32)
        if self.kind == "choice":
            total = jnp.cumsum(second)
            index = (u[..., None] * total[-1] >= total.reshape((1,) * u.ndim + (-1,))).sum(-1)
            return first[jnp.minimum(index, len(first) - 1)]
        if self.kind in ("ranges", "log_ranges"):
            count = first.shape[-1]
            place = u[..., None] * count
            number = jnp.minimum(jnp.floor(place), count - 1)
            is_chosen = number == jnp.arange(count, dtype=jnp.float32).reshape((1,) * u.ndim + (-1,))
            values = jnp.broadcast_to(first, is_chosen.shape) + (place - number) * jnp.broadcast_to(
                second - first, is_chosen.shape
            )
            value = jnp.where(is_chosen, values, 0).sum(-1)
            return jnp.log(value) if self.kind == "log_ranges" else value
        first, second = jnp.broadcast_to(first, u.shape), jnp.broadcast_to(second, u.shape)
        if self.kind == "normal":
            inner = jnp.clip(u, 2.0**-25, 1 - 2.0**-24)
            return first + second * (np.float32(np.sqrt(2)) * jax.scipy.special.erfinv(2 * inner - 1))
        if self.kind == "whole":
            return jnp.minimum(jnp.floor(first + u * (second - first + 1)), second)
        if self.kind == "reciprocal":
            return 1 / (first + u * (second - first))
        if self.kind in ("about_one", "log_about_one"):
            factor = jnp.where(u < 0.5, first + 2 * u * (1 - first), 1 + (2 * u - 1) * (second - 1))
            return jnp.log(factor) if self.kind == "log_about_one" else factor
        if self.kind == "log_uniform":
            low, high = jnp.log(first), jnp.log(second)
            return jnp.clip(jnp.exp(low + u * (high - low)), first, second)
        return jnp.minimum(first + u * (second - first), second)

    def __repr__(self) -> str:
        if any(not isinstance(part, np.ndarray | np.generic | jax.Array) or is_traced(part) for part in self._parts):
            return f"{self.kind} (traced)"
        first, *others = (_words(part) for part in self._parts)
        joined = {"fixed": "", "normal": " +- ", "choice": " by weights "}.get(self.kind, " to ")
        return f"{self.kind} {joined.join([first, *others])}"

    @property
    def _parts(self) -> list[Any]:
        return [self.first] if self.second is None else [self.first, self.second]


jax.tree_util.register_dataclass(Distribution, ["first", "second"], ["kind"])

Spread: TypeAlias = Number | Array | Sequence[Scalar] | Sequence[Sequence[Scalar]] | Distribution
"""What a parameter of a step takes: a number, `(low, high)`, or a `Distribution`."""


def uniform(low: Number | Array | Sequence[Scalar], high: Number | Array | Sequence[Scalar]) -> Distribution:
    """Returns the uniform distribution from `low` to `high`; for a parameter of three numbers, each may be three.

    Raises:
        ValueError: an end is not finite, or `low` lies above `high`.

    Example:
        >>> mj.augment.affine(rotation=mj.augment.uniform((0, 0, -30), (0, 0, 30)), scale=1).rotation
        uniform (0, 0, -30) to (0, 0, 30)
    """
    return _range("uniform", low, high)


def log_uniform(low: Number | Array | Sequence[Scalar], high: Number | Array | Sequence[Scalar]) -> Distribution:
    """Returns the distribution of numbers whose logarithm is uniform: from `low` to `high`, both above 0.

    Raises:
        ValueError: an end is not finite and positive, or `low` lies above `high`.

    Example:
        >>> mj.augment.log_uniform(0.5, 2)
        log_uniform 0.5 to 2
    """
    return _range("log_uniform", low, high)


def normal(mean: Number | Array | Sequence[Scalar], std: Number | Array | Sequence[Scalar]) -> Distribution:
    """Returns the normal distribution of a `mean` and a standard deviation `std`.

    Raises:
        ValueError: one is not finite, or `std` is negative.

    Example:
        >>> mj.augment.normal(0, 0.5)
        normal 0 +- 0.5
    """
    first, second = _numbers(mean, "mean"), _numbers(std, "std")
    if not is_traced(second) and (second < 0).any():
        raise ValueError(f"std must not be negative, got {std!r}")
    return Distribution("normal", first, second)


def choice(values: Array | Sequence[Scalar], *, weights: Array | Sequence[Scalar] | None = None) -> Distribution:
    """Returns the distribution that takes one of several values.

    Args:
        values: Numbers to choose from.
        weights: How often each is taken, relative to the others; default all alike.

    Raises:
        ValueError: there is no value, or the weights are negative, all 0, or of another number.

    Example:
        >>> mj.augment.choice([1, 2, 4], weights=[2, 1, 1])
        choice (1, 2, 4) by weights (2, 1, 1)
    """
    first = _numbers(values, "values")
    second = _numbers([1.0] * len(first) if weights is None and first.ndim == 1 else weights, "weights")
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise ValueError(f"choice takes a row of values and as many weights, got {values!r} and {weights!r}")
    if not is_traced(second) and not ((second >= 0).all() and second.sum() > 0):
        raise ValueError(f"weights must not be negative, nor all 0; got {weights!r}")
    return Distribution("choice", first, second)


def fixed(value: Number | Array | Sequence[Scalar]) -> Distribution:
    """Returns the distribution of one `value`, also where a single number would mean plus or minus it.

    Raises:
        ValueError: the value is not finite.

    Example:
        >>> mj.augment.affine(rotation=mj.augment.fixed(5.0)).rotation, mj.augment.affine(rotation=5.0).rotation
        (fixed 5, uniform -5 to 5)
    """
    return Distribution("fixed", _numbers(value, "value"))


def as_distribution(
    value: Any, name: str, *, how: Kind = "uniform", is_symmetric: bool = False, shape: tuple[int, ...] = ()
) -> Distribution:
    """Reads what a step's parameter was given.

    Args:
        value: A distribution; `(low, high)`; one number, or as many as the parameter has.
        name: The argument that an error names.
        how: What a pair is: "uniform", "log_uniform" or "whole".
        is_symmetric: Whether a number means plus or minus it.
        shape: Axes of one value of the parameter.
    """
    if isinstance(value, Distribution):
        return value
    is_row = isinstance(value, tuple | list) or getattr(value, "ndim", 0) > 0
    if is_row and len(value) == 2 and shape[:1] != (2,):
        return _range(how, value[0], value[1], name)
    numbers = _numbers(value, name)
    if numbers.shape not in ((), shape):
        wanted = f", or {shape[0]} numbers" if shape else ""
        raise ValueError(f"{name} must be a number, (low, high){wanted} or a Distribution, got {value!r}")
    if not is_symmetric:
        return Distribution("fixed", numbers)
    xp = numbers.__array_namespace__()
    return Distribution("uniform", xp.asarray(0 - abs(numbers)), xp.asarray(abs(numbers)))


def _range(kind: Kind, low: Any, high: Any, name: str = "") -> Distribution:
    first, second = _numbers(low, name or "low"), _numbers(high, name or "high")
    known = not is_traced(first, second)
    if known and (np.less(second, first)).any():
        raise ValueError(f"{name or kind} must rise from low to high, got ({low!r}, {high!r})")
    if known and kind == "log_uniform" and not (np.greater(first, 0)).all():
        raise ValueError(f"{name or kind} must be above 0, as its logarithm is uniform; got ({low!r}, {high!r})")
    return Distribution(kind, first, second)


def _numbers(value: Any, name: str) -> Any:
    """Reads numbers as float32: known ones as NumPy, traced ones as they are."""
    if is_traced(value):
        return jnp.asarray(value, jnp.float32)
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, or numbers, got {value!r}") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {value!r}")
    return array


def _words(numbers: Any) -> str:
    array = np.asarray(numbers)
    return f"{array:.6g}" if not array.ndim else f"({', '.join(f'{x:.6g}' for x in array.ravel())})"
