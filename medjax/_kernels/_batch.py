"""Kernels over batches: the same work for each item, and each item stays on its device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from medjax._kernels._jax import in_automatic_mode

__all__ = ["broadcast", "by_item", "in_all_items", "keeping_sharding", "over_batch"]

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


def by_item(kernel: Kernel, depth: int) -> Kernel:
    """Maps a kernel of single items over leading batch axes; an operand whose batch axis has length 1 is shared.

    Args:
        kernel: From arrays of one item, the voxels first, to an array.
        depth: Number of batch axes, which every operand has.

    Example:
        >>> by_item(lambda row, factor: row * factor, 1)(jax.numpy.ones((3, 2)), jax.numpy.full((1, 2), 5.0)).tolist()
        [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]
    """

    def mapped(inner: Kernel, first: Any, *others: Any) -> Any:
        axes = [None if other.shape[0] == 1 else 0 for other in others]
        own = [other[0] if axis is None else other for other, axis in zip(others, axes, strict=True)]
        return jax.vmap(inner, in_axes=(0, *axes))(first, *own)

    for _ in range(depth):
        kernel = functools.partial(mapped, kernel)
    return keeping_sharding(kernel, depth)


@custom_vmap
def in_all_items(flag: Any) -> Any:
    """Whether a flag holds, under `vmap` for all items at once: so that a `cond` stays one and does not compute both
    sides.

    Example:
        >>> jax.vmap(lambda x: jnp.broadcast_to(in_all_items(x > 0), ()))(jnp.array([1.0, -1.0])).tolist()
        [False, False]
    """
    return flag


@in_all_items.def_vmap
def _in_all_of_them(size: int, is_batched: list[bool], flag: Any) -> tuple[Any, bool]:
    return in_all_items(flag.all()), False


def keeping_sharding(kernel: Kernel, depth: int) -> Kernel:
    """Keeps results on the devices of their items, also on meshes that check shardings as they check shapes.

    Args:
        kernel: Traced, from arrays in pytrees to arrays `(*batch, ...)`; the first operand is `(*batch, ...)` too.
        depth: Number of batch axes.

    Returns:
        The kernel, of the same signature.
    """
    return lambda *operands: in_automatic_mode(kernel, operands, depth)
