"""Keys of random operations: one for each item, so that an item draws the same alone and in any batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32

__all__ = ["IMPLEMENTATION", "item_keys", "key_data_for"]

IMPLEMENTATION = "threefry2x32"
"""The generator whose numbers are the same under `vmap`, in a loop and on every device."""


def key_data_for(key: Any, batch: tuple[Any, ...]) -> Any:
    """Reads one typed key, or one for each item, as the data that kernels take: `(2,)` or `(*batch, 2)`, uint32.

    Raises:
        ValueError: it is no typed key, of another generator than threefry, or of another shape.

    Example:
        >>> key_data_for(jax.random.key(7), (3,)).tolist()
        [0, 7]
        >>> key_data_for(jax.random.split(jax.random.key(7), 2), (3,))
        Traceback (most recent call last):
        ValueError: key must be one key, or one for each item, (3,); got shape (2,)
    """
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        given = f"{key.dtype} of shape {key.shape}" if isinstance(key, jax.Array) else repr(key)
        raise ValueError(
            f"key must be a key such as jax.random.key(0), got {given}; jax.random.wrap_key_data makes one of raw data"
        )
    if (name := str(jax.random.key_impl(key))) != IMPLEMENTATION:
        raise ValueError(
            f"key is of {name!r}, whose numbers under vmap are others than item by item; make it by "
            f'jax.random.key(seed, impl="{IMPLEMENTATION}")'
        )
    if key.shape not in ((), tuple(batch)):
        wanted = f"one key, or one for each item, {tuple(batch)}" if batch else "one key: the image has no batch axis"
        raise ValueError(f"key must be {wanted}; got shape {key.shape}")
    return jax.random.key_data(key)


def item_keys(data: UInt32[Array, "*batch 2"], batch: tuple[Any, ...]) -> UInt32[Array, "*items 2"]:
    """Gives each item a key of its own, in a trace: item i of a batch with one key has `fold_in(key, i)`.

    Example:
        >>> key = jax.random.key(7)
        >>> third = item_keys(jax.random.key_data(key), (3,))[2]
        >>> bool((third == jax.random.key_data(jax.random.fold_in(key, 2))).all())
        True
    """
    if data.ndim > 1:
        return data

    def each(key: Any, sizes: tuple[Any, ...]) -> Any:
        if not sizes:
            return key
        return jax.vmap(lambda number: each(jax.random.fold_in(key, number), sizes[1:]))(jnp.arange(sizes[0]))

    return jax.random.key_data(each(jax.random.wrap_key_data(data, impl=IMPLEMENTATION), batch))
