"""The random key of an item of a stream: what the loader gives with each item, and what augmentation draws from."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

__all__ = ["item_keys"]


def item_keys(seed: int, index: Any) -> jax.Array:
    """Returns the threefry keys `fold_in(fold_in(key(seed), index >> 31), index & 0x7fffffff)` for an array of numbers.

    Raises:
        ValueError: a number is negative or no integer.

    Example:
        >>> one, other = jax.random.key_data(item_keys(0, np.arange(2)))
        >>> bool((one == other).all())
        False
    """
    numbers = np.asarray(index)
    if numbers.dtype.kind not in "iu" or (numbers < 0).any():
        raise ValueError(f"index must be integers from 0, got {index!r}")
    numbers = numbers.astype(np.uint64)
    low, high = (numbers & np.uint64(0x7FFFFFFF)).astype(np.uint32), (numbers >> np.uint64(31)).astype(np.uint32)
    return _item_keys(jax.random.key(seed, impl="threefry2x32"), high, low)


@jax.jit
def _item_keys(key: Any, high: Any, low: Any) -> Any:
    def one(high: Any, low: Any) -> Any:
        return jax.random.fold_in(jax.random.fold_in(key, high), low)

    return jax.vmap(one)(high.ravel(), low.ravel()).reshape(low.shape)
