"""All threads for kernels that only move memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._fork import refuse_in_fork

__all__ = ["moving_jit"]

_MASKS = 0x9E3779B97F4A7C15, 0x85EBCA6BC2B2AE35


def moving_jit(kernel: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compiles a kernel that moves values and computes next to nothing, for as many threads as there are.

    XLA's CPU compiler gives an operation that counts fewer steps than bytes only `sqrt(cores)` threads, in the belief that
    more would wait for the memory (`DefaultCostModel`, xla/service/cpu/parallel_task_assignment.cc). They would not: half of
    the time goes into the pages of a new array, which the threads share (4 cores, 34 MB: a permutation takes 13 ms for 20,
    another slice thickness 15 ms for 22).
    So steps are added that XLA counts and LLVM, which compiles the loops, takes out again. Inside a transformation of the
    caller's the kernel is as it is written: there XLA joins it with others, and derivatives are taken.

    Args:
        kernel: From arrays to one array.
        options: As `jax.jit` takes them.

    Returns:
        The compiled kernel.

    Example:
        >>> moving_jit(jnp.flip)(np.array([1.5, -0.0, np.inf], np.float32)).tolist()
        [inf, -0.0, 1.5]
    """

    @functools.wraps(kernel)
    def counted(*operands: Any, **static: Any) -> jax.Array:
        return _counted(kernel(*operands, **static))

    plain, alone = jax.jit(kernel, **options), jax.jit(counted, **options)

    @functools.wraps(kernel)
    def compiled(*operands: Any, **static: Any) -> jax.Array:
        refuse_in_fork()
        is_within = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(operands))
        return (plain if is_within else alone)(*operands, **static)

    return compiled


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
