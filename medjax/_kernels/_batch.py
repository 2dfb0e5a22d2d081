"""Kernels over batches: the same work for each item, and each item stays on its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._jax import in_automatic_mode

__all__ = ["broadcast", "keeping_sharding", "over_batch"]

Kernel = Callable[..., Any]


def broadcast(array: Any, shape: tuple[Any, ...]) -> Any:
    """Broadcasts an array to a shape, on the host where NumPy can. NumPy knows no symbolic sizes, which exports have.

    Example:
        >>> broadcast(np.ones((4, 4)), (3, 4, 4)).shape
        (3, 4, 4)
    """
    is_numpy = isinstance(array, np.ndarray) and all(isinstance(n, int | np.integer) for n in shape)
    return (np if is_numpy else jnp).broadcast_to(array, shape)


def over_batch(kernel: Kernel, depth: int, in_axes: Any = 0) -> Kernel:
    """Maps a kernel of single items over leading batch axes; where `in_axes` is `None`, items share the operand.

    Example:
        >>> over_batch(lambda row: row.sum(), 1)(jax.numpy.ones((4, 3))).tolist()
        [3.0, 3.0, 3.0, 3.0]
    """
    for _ in range(depth):
        kernel = jax.vmap(kernel, in_axes=in_axes)
    return keeping_sharding(kernel, depth)


def keeping_sharding(kernel: Kernel, depth: int) -> Kernel:
    """Keeps results on the devices of their items, also on meshes that check shardings as they check shapes.

    Args:
        kernel: Traced, from arrays in pytrees to arrays `(*batch, ...)`; the first operand is `(*batch, ...)` too.
        depth: Number of batch axes.

    Returns:
        The kernel, of the same signature.
    """
    return lambda *operands: in_automatic_mode(kernel, operands, depth)
