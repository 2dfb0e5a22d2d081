"""The door to every kernel: what JAX may read late is copied, what is known is computed at once, all threads work."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._fork import refuse_in_fork
from medjax._geometry._grid import is_traced, read_only
from medjax._kernels._jax import is_jit_disabled, trace_state

__all__ = ["compiled", "eagerly", "unchanging"]

with jax.ensure_compile_time_eval():  # this module may be imported in a trace
    _AT_ONCE = trace_state()

_MASKS = 0x9E3779B97F4A7C15, 0x85EBCA6BC2B2AE35


def compiled(kernel: Callable[..., Any], *, moves: bool = False, **options: Any) -> Callable[..., Any]:
    """Compiles a kernel so that it gives one result however it is called.

    - NumPy arrays that somebody may still write to are copied first (see `unchanging`).
    - Where no operand is traced the result is computed at once, also inside a transformation of the caller's that closes
      over the operands. So what is known stays known, checks of values keep working, and XLA never folds large constants
      (it folds some integer steps wrongly: https://github.com/openxla/xla/issues/34260).

    Args:
        kernel: From arrays in pytrees to arrays in pytrees.
        moves: Whether the kernel moves values to one array and computes next to nothing. XLA's CPU compiler gives an
            operation that counts fewer steps than bytes only `sqrt(cores)` threads, in the belief that more would wait for
            the memory (`DefaultCostModel`, xla/service/cpu/parallel_task_assignment.cc). They would not: half of the time
            goes into the pages of a new array, which the threads share (4 cores, 34 MB: a permutation takes 13 ms for 20,
            another slice thickness 15 ms for 22). So steps are added that XLA counts and LLVM, which compiles the loops,
            takes out again; on CPUs only, and not inside a transformation of the caller's, where XLA joins the kernel with
            others.
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

    plain = jax.jit(kernel, **options)
    alone = jax.jit(counted, **options) if moves else plain

    @functools.wraps(kernel)
    def called(*operands: Any, **keywords: Any) -> Any:
        refuse_in_fork()
        operands, keywords = jax.tree.map(_operand, (operands, keywords))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((operands, keywords))):
            return plain(*_hidden(operands), **keywords)
        with eagerly():
            return (alone if moves and jax.default_backend() == "cpu" else plain)(*operands, **keywords)

    return called


def _operand(leaf: Any) -> Any:
    """An operand as the kernel takes it; under `jax.disable_jit` nobody else makes a JAX array of it."""
    leaf = unchanging(leaf)
    return jnp.asarray(leaf) if is_jit_disabled() and isinstance(leaf, np.ndarray) else leaf


def _hidden(operands: Any) -> Any:
    """The same operands, those that are known as if XLA did not know them.

    It would fold them into constants, which takes seconds for a mask, and loops over what is left of a plan's tables take up to
    five times as long. One barrier for all: one for each does not help.
    """
    leaves, structure = jax.tree.flatten(operands)
    known = [n for n, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray | jax.Array) and not is_traced(leaf)]
    for n, leaf in zip(known, jax.lax.optimization_barrier([leaves[n] for n in known]), strict=True):
        leaves[n] = leaf
    return jax.tree.unflatten(structure, leaves)


def eagerly() -> contextlib.AbstractContextManager[Any]:
    """Within it known arrays are computed at once, also where a trace of the caller's is under way."""
    is_at_once = trace_state() == _AT_ONCE
    return contextlib.nullcontext() if is_at_once else jax.ensure_compile_time_eval()  # which compiles of its own


def unchanging(array: Any) -> Any:
    """Returns an operand as jit can be given it: a JAX array or locked NumPy as it is, a locked copy of any other array.

    On a CPU JAX reads NumPy arrays where they lie, and later than it returns: a caller who fills his array anew would
    change the result. `jnp.asarray` and `jnp.array` read late too; only NumPy's own copy is one.
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
    """The same values, `x ^ a ^ b ^ (a ^ b)`: three steps each time, and enough times for a read and a write."""
    if values.dtype == bool or jnp.issubdtype(values.dtype, jnp.complexfloating):
        return values
    size = values.dtype.itemsize
    word = np.dtype(f"uint{8 * size}")
    a, b = (np.uint64(mask >> (64 - 8 * size)).astype(word) for mask in _MASKS)
    bits = jax.lax.bitcast_convert_type(values, word)
    for _ in range(size):
        bits = bits ^ a ^ b ^ (a ^ b)
    return jax.lax.bitcast_convert_type(bits, values.dtype)
