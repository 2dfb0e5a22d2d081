"""Numbers that callers hand in: known or traced, read into one form and checked; importable without JAX.

Known numbers become NumPy float64 on the host. Traced numbers stay arrays of JAX, and only their shapes are checked.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["as_points", "as_triple", "check_positive", "check_size", "is_traced", "on_host", "read_only", "together"]


def is_traced(*values: Any) -> bool:
    """Whether JAX traces any of the values, or a number in one of them (a sequence, a pytree); else all are known."""
    jax: Any = sys.modules.get("jax")  # without JAX nothing is traced
    return jax is not None and any(_has_tracer(jax, value) for value in values)


def _has_tracer(jax: Any, value: Any) -> bool:
    if isinstance(value, jax.core.Tracer):
        return True
    if value is None or isinstance(value, np.ndarray | np.generic | float | int | jax.Array):
        return False
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def on_host(value: Any) -> Any:
    """Reads known numbers as float64 NumPy, and traced ones as a traced array of float32 or float64.

    Half precision is widened: it cannot tell two voxels apart at a thousand millimetres.
    """
    if is_traced(value):
        jax: Any = sys.modules["jax"]
        array = value if isinstance(value, jax.core.Tracer) else jax.numpy.asarray(value)
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    array = np.asarray(value)
    if array.dtype.kind in "USc":
        raise ValueError(f"expected real numbers, got {value!r}")
    return array.astype(np.float64, copy=False)


def together(*values: Any) -> tuple[Any, tuple[Any, ...]]:
    """Brings numbers to one library: NumPy float64 while all are known, else the widest dtype of the traced ones."""
    parts = [on_host(value) for value in values]
    traced = [part for part in parts if not isinstance(part, np.ndarray)]
    if not traced:
        return np, tuple(parts)
    xp, dtype = traced[0].__array_namespace__(), max((part.dtype for part in traced), key=lambda dtype: dtype.itemsize)
    return xp, tuple(xp.asarray(part, dtype=dtype) for part in parts)


def as_triple(value: Any, name: str) -> Any:
    """Reads one number or three as a `(3,)` array, by the rule of `on_host`; an error names the argument `name`."""
    try:
        array = on_host(value)
    except (TypeError, ValueError):  # ragged, or no numbers at all
        array = np.full((), np.nan)
    is_known = isinstance(array, np.ndarray)
    if array.shape not in ((), (1,), (3,)) or (is_known and not np.isfinite(array).all()):
        raise ValueError(f"{name} must be one finite number or three, got {value!r}")
    return np.broadcast_to(array, (3,)).copy() if is_known else array.__array_namespace__().broadcast_to(array, (3,))


def check_positive(triple: Any, name: str, given: Any) -> None:
    """Raises `ValueError` where a known number is not above 0; the message shows the given value."""
    if isinstance(triple, np.ndarray) and not (triple > 0).all():
        raise ValueError(f"{name} must be positive, got {given!r}")


def check_size(shape: Sequence[Any] | np.ndarray) -> None:
    """Raises `ValueError` for a lattice that fits into no memory, since XLA would end the process."""
    known = [n for n in shape if isinstance(n, int | float | np.number)]  # jax.export has symbols
    with np.errstate(over="ignore"):
        total = np.prod(np.asarray(known, np.float64))
    if not total < 2.0**40:
        raise ValueError(
            f"a lattice of {' x '.join(f'{n:.6g}' for n in shape)} voxels is more than any memory holds; is a size or "
            "a spacing (in mm) in another unit?"
        )


def as_points(values: Any) -> Any:
    """Reads positions or indices, `(..., 3)`: keeps arrays of any library, and makes float64 NumPy of sequences."""
    points = values if hasattr(values, "ndim") else np.asarray(values, np.float64)
    if points.ndim == 0 or points.shape[-1] != 3:
        raise ValueError(f"positions and indices are (..., 3), got shape {tuple(points.shape)}")
    return points


def read_only(array: Any) -> Any:
    """Locks a NumPy array and returns it; images of one geometry share their affine."""
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array
