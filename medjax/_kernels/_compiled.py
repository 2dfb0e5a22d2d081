"""The door to every kernel: arrays that JAX may read late are copied, known values computed at once, by all threads."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._fork import refuse_in_fork
from medjax._geometry._numbers import is_traced, read_only
from medjax._kernels._jax import is_jit_disabled, trace_state

__all__ = ["at_once", "compiled", "eagerly", "unchanging"]

with jax.ensure_compile_time_eval():  # this module may be imported in a trace
    _AT_ONCE = trace_state()

_MASKS = 0x9E3779B97F4A7C15, 0x85EBCA6BC2B2AE35


def compiled(kernel: Callable[..., Any], *, moves: bool = False, **options: Any) -> Callable[..., Any]:
    """Compiles a kernel so that it gives one result however it is called.

    - NumPy arrays that somebody may still write to are copied first (see `unchanging`).
    - Where no operand is traced, the result is computed at once, also inside a caller's transformation that closes over
      the operands. So known values stay known, checks of values keep working, and XLA never folds large constants (it
      folds some integer steps wrongly: https://github.com/openxla/xla/issues/34260).

    Args:
        kernel: From arrays in pytrees to arrays in pytrees.
        moves: Whether the kernel moves values to one array and computes next to nothing. XLA's CPU compiler gives an
            operation that counts fewer steps than bytes only `sqrt(cores)` threads, in the belief that more would wait
            for the memory (`DefaultCostModel`, xla/service/cpu/parallel_task_assignment.cc). They would not: half of
            the time goes into the pages of a new array, which the threads share (4 cores, 34 MB: a permutation takes 13
            ms instead of 20, another slice thickness 15 ms instead of 22). So the kernel gets steps that XLA counts and
            that LLVM, which compiles the loops, removes again. This is done on CPUs only, and not inside a caller's
            transformation, where XLA joins the kernel with others.
        options: As `jax.jit` takes them.

    Returns:
        The compiled kernel.

    Example:
        >>> compiled(jax.numpy.flip, moves=True)(np.array([1.5, -0.0, np.inf], np.float32)).tolist()
        [inf, -0.0, 1.5]
    """

    @functools.wraps(kernel)
    def counted(*operands: Any, **static: Any) -> jax.Array:
        return _counted(kernel(*operands, **static))

    plain, inner = jax.jit(kernel, **options), _within_a_trace(kernel, options)
    alone = jax.jit(counted, **options) if moves else plain

    @functools.wraps(kernel)
    def called(*operands: Any, **keywords: Any) -> Any:
        refuse_in_fork()
        operands, keywords = jax.tree.map(_operand, (operands, keywords))
        if is_traced((operands, keywords)):
            return inner(*operands, known=_known(operands), **keywords)
        with eagerly():
            return (alone if moves and jax.default_backend() == "cpu" else plain)(*operands, **keywords)

    return called


def _operand(leaf: Any) -> Any:
    """Returns an operand as the kernel takes it. Under `jax.disable_jit` nobody else makes a JAX array of it."""
    leaf = unchanging(leaf)
    return jnp.asarray(leaf) if is_jit_disabled() and isinstance(leaf, np.ndarray) else leaf


def _within_a_trace(kernel: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """The compiled kernel for callers that trace some of the operands. It hides the `known` leaves from XLA.

    XLA would fold them into constants. For a mask this takes seconds, and loops over the folded tables of a plan take
    up to five times as long. One barrier holds all leaves: one for each does not help.
    """

    def hiding(*operands: Any, known: tuple[int, ...], **static: Any) -> Any:
        leaves, structure = jax.tree.flatten(operands)
        for n, leaf in zip(known, jax.lax.optimization_barrier([leaves[n] for n in known]), strict=True):
            leaves[n] = leaf
        return kernel(*jax.tree.unflatten(structure, leaves), **static)

    signature = inspect.signature(kernel)
    last = inspect.Parameter("known", inspect.Parameter.KEYWORD_ONLY)
    hiding.__name__ = kernel.__name__
    parameters = [*signature.parameters.values(), last]
    hiding.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    names = options.get("static_argnames", ())
    return jax.jit(hiding, **options | {"static_argnames": ("known", *([names] if isinstance(names, str) else names))})


def _known(operands: Any) -> tuple[int, ...]:
    """Which leaves are arrays that nobody traces."""
    leaves = enumerate(jax.tree.leaves(operands))
    return tuple(n for n, leaf in leaves if isinstance(leaf, np.ndarray | jax.Array) and not is_traced(leaf))


def eagerly() -> contextlib.AbstractContextManager[Any]:
    """A context in which known arrays are computed at once, also while the caller traces."""
    is_at_once = trace_state() == _AT_ONCE
    return (
        contextlib.nullcontext() if is_at_once else jax.ensure_compile_time_eval()
    )  # its programs are compiled apart from jit's


def at_once(*values: Any) -> contextlib.AbstractContextManager[Any]:
    """A context in which JAX computes with these values at once if all are known, also while the caller traces."""
    return contextlib.nullcontext() if is_traced(*values) else eagerly()


def unchanging(array: Any) -> Any:
    """Returns an operand that jit may read late: a JAX or locked NumPy array as it is, a locked copy of any other.

    On a CPU JAX reads NumPy arrays in place and may do so after a call has returned. A caller who then fills the array
    with other values would change the result. `jnp.asarray` and `jnp.array` read late too. Only NumPy's own copy is
    safe.
    """
    if not isinstance(array, np.ndarray):
        return array
    if not array.dtype.isnative:
        return read_only(array.astype(array.dtype.newbyteorder("=")))
    base: Any = array
    while isinstance(base, np.ndarray) and not base.flags.writeable:
        base = base.base
    return array if base is None else read_only(array.copy())


def _counted(values: jax.Array) -> jax.Array:
    """Returns the same values as `x ^ a ^ b ^ (a ^ b)`, so often that XLA counts more steps than bytes."""
    if values.dtype == bool or jnp.issubdtype(values.dtype, jnp.complexfloating):
        return values
    size = values.dtype.itemsize
    word = np.dtype(f"uint{8 * size}")
    a, b = (np.uint64(mask >> (64 - 8 * size)).astype(word) for mask in _MASKS)
    bits = jax.lax.bitcast_convert_type(values, word)
    for _ in range(size):
        bits = bits ^ a ^ b ^ (a ^ b)
    return jax.lax.bitcast_convert_type(bits, values.dtype)
