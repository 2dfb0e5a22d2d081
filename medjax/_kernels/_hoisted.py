"""A caller's function as part of a kernel: traced anew at each call, compiled once.

A kernel that takes a function as a static argument has two faults. What the function closes over, such as a network's
weights, becomes constants of the program, and stays what it was at the first call. And two functions that compute the
same are two programs. So the function is traced at each call, which costs little; the arrays it closes over become
operands; and what is left is compared by what it computes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from medjax._kernels._jax import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

__all__ = ["Hoisted", "hoisted"]

# Parameters that hold the derivative of a function, made anew at each trace; what is computed stands beside them.
_RULES = ("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd")


@dataclasses.dataclass(frozen=True, eq=False)
class Hoisted:
    """A function of arrays whose closed-over arrays are its first argument; equal to another that computes the same.

    Attributes:
        computation: What it computes, without the arrays.
        key: The same in a form that can be compared.
    """

    computation: Jaxpr
    key: Any
    structure: Any

    def __call__(self, closed_over: tuple[Any, ...], *operands: Any) -> Any:
        found = jaxpr_as_fun(ClosedJaxpr(self.computation, closed_over))(*operands)
        return jax.tree.unflatten(self.structure, found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hoisted) and (self is other or self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)


def hoisted(function: Callable[..., Any], *operands: Any) -> tuple[Hoisted, tuple[Any, ...], Any]:
    """Traces a function.

    Args:
        function: From arrays to arrays in pytrees; it may close over arrays, known or traced.
        operands: Arrays, or their shapes and dtypes.

    Returns:
        The function as a static argument of a kernel; the arrays that it closes over, for its first argument; and the
        shapes and dtypes of what it returns.

    Example:
        >>> weights = np.ones(3)
        >>> call, closed_over, result = hoisted(lambda x: x * weights, jax.ShapeDtypeStruct((3,), np.float32))
        >>> call == hoisted(lambda x: x * weights, jax.ShapeDtypeStruct((3,), np.float32))[0]
        True
        >>> call(closed_over, jax.numpy.arange(3.0))[0].tolist(), result.shape
        (0.0, (3,))
    """

    def anew(*given: Any) -> Any:  # JAX remembers traces by the function, and with them what it closed over
        return function(*given)

    closed, result = jax.make_jaxpr(anew, return_shape=True)(*operands)
    structure = jax.tree.structure(result)
    return Hoisted(closed.jaxpr, (_key_of(closed.jaxpr), structure), structure), tuple(closed.consts), result


def _key_of(computation: Jaxpr) -> Any:
    """What a computation does, as nested tuples: its steps in order, each with its operands by number."""
    numbers: dict[Any, int] = {}

    def number(variable: Any) -> Any:
        if isinstance(variable, Literal):
            value = np.asarray(variable.val)
            return str(value.dtype), value.shape, value.tobytes(), str(variable.aval)
        return numbers.setdefault(variable, len(numbers)), str(variable.aval)

    starts = tuple(number(v) for v in (*computation.constvars, *computation.invars))
    steps = tuple(
        (
            step.primitive,
            tuple(number(v) for v in step.invars),
            tuple(number(v) for v in step.outvars),
            tuple((name, _comparable(value)) for name, value in sorted(step.params.items()) if name not in _RULES),
        )
        for step in computation.eqns
    )
    return starts, steps, tuple(number(v) for v in computation.outvars)


def _comparable(value: Any) -> Any:
    """A parameter of a step as something that can be hashed; what cannot is equal to itself alone."""
    if isinstance(value, ClosedJaxpr):
        return _key_of(value.jaxpr), tuple(id(const) for const in value.consts)
    if isinstance(value, Jaxpr):
        return _key_of(value)
    if isinstance(value, tuple | list):
        return type(value).__name__, tuple(_comparable(each) for each in value)
    try:
        hash(value)
    except TypeError:
        return id(value)  # which the computation keeps alive
    return type(value).__name__, value
