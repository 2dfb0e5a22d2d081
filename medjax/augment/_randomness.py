"""The random numbers of a recipe: each from the item's key and names alone, all in one small program.

The number `e` of parameter `p` of step `s`, for image `m` of an item with key `k`, is the first word of

    fold_in(fold_in(fold_in(fold_in(k, crc32(s)), crc32(m)), crc32(p)), e)

without `crc32(m)` where all images share it. So no number depends on the batch, on other steps, or on other parameters.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._image._keys import IMPLEMENTATION
from medjax._image._keys import item_keys as keys_of_items

__all__ = ["Request", "item_keys", "numbers_of"]


class Request(NamedTuple):
    """Random numbers that a step asks for.

    Attributes:
        step: Name of the step.
        image: Name of the image, or `None` where all share the numbers.
        parameter: What they are for.
        shape: How many there are; `None` asks for the key itself, `(2,)` uint32.
    """

    step: str
    image: str | None
    parameter: str
    shape: tuple[int, ...] | None


def item_keys(seed: int, index: Any) -> jax.Array:
    """Returns the key of an item: that of its number in the stream of items, for a seed.

    It is `fold_in(fold_in(key(seed), index >> 31), index & 0x7fffffff)`, so that a stream may have more than 2^32
    items.

    Args:
        seed: Of the stream.
        index: Number of the item, from 0, or an array of them.

    Returns:
        Typed keys of the shape of `index`.

    Raises:
        ValueError: an index is negative or no integer.

    Example:
        >>> mj.augment.item_keys(0, np.arange(4)).shape
        (4,)
        >>> alone = mj.augment.item_keys(0, 3)
        >>> bool((jax.random.key_data(alone) == jax.random.key_data(mj.augment.item_keys(0, np.arange(4))[3])).all())
        True
    """
    low: Any
    high: Any
    if isinstance(index, jax.Array):
        low, high = index.astype(jnp.uint32) & np.uint32(0x7FFFFFFF), index.astype(jnp.uint32) >> np.uint32(31)
    else:
        number = np.asarray(index)
        if number.dtype.kind not in "iu" or (number < 0).any():
            raise ValueError(f"index must be integers from 0, got {index!r}")
        number = number.astype(np.uint64)
        low, high = (number & np.uint64(0x7FFFFFFF)).astype(np.uint32), (number >> np.uint64(31)).astype(np.uint32)
    return _item_keys(jax.random.key(seed, impl=IMPLEMENTATION), high, low)


@jax.jit
def _item_keys(key: Any, high: Any, low: Any) -> Any:
    def one(high: Any, low: Any) -> Any:
        return jax.random.fold_in(jax.random.fold_in(key, high), low)

    return jax.vmap(one)(high.ravel(), low.ravel()).reshape(low.shape)


def numbers_of(
    keys: Any, batch: tuple[int, ...], requests: Sequence[Request], views: int | None
) -> tuple[Any, list[Any]]:
    """Draws what steps ask for.

    Args:
        keys: The data of one key, or of one for each item; an item of a batch that comes with one key has `fold_in(key,
            i)`.
        batch: Batch axes of the images.
        requests: What is asked for.
        views: How often each item is drawn, view v with `fold_in(key, v)`: a first axis; `None` for no such axis.

    Returns:
        The data of the items' keys, `(*batch, 2)`, and for each request numbers `(*batch, *shape)` in [0, 1), or keys.
    """
    if not requests:
        requests = [Request("", None, "", ())]
        return numbers_of(keys, batch, requests, views)[0], []
    counts = [1 if request.shape is None else int(np.prod(request.shape)) for request in requests]
    folds = np.zeros((4, sum(counts)), np.uint32)
    is_folded = np.ones((4, sum(counts)), bool)
    stops = np.cumsum(counts)
    for request, count, stop in zip(requests, counts, stops, strict=True):
        part = slice(stop - count, stop)
        names = (request.step, request.image, request.parameter)
        folds[:3, part] = [[zlib.crc32((name or "").encode())] for name in names]
        folds[3, part] = np.arange(count)
        is_folded[1, part], is_folded[3, part] = request.image is not None, request.shape is not None

    flat = keys_of_items(keys, batch).reshape(-1, 2)
    if views is not None:
        flat = jax.vmap(lambda view: jax.vmap(lambda key: _fold_in(key, view))(flat))(
            jnp.arange(views, dtype=jnp.uint32)
        )
        flat, batch = flat.reshape(-1, 2), (views, *batch)
    words = jax.vmap(lambda key: _folded(key, folds, is_folded))(flat)
    shares = (words[..., 0] >> np.uint32(8)).astype(jnp.float32) * np.float32(2.0**-24)
    found = []
    for request, count, stop in zip(requests, counts, stops, strict=True):
        if request.shape is None:
            found.append(words[:, stop - 1].reshape((*batch, 2)))
        else:
            found.append(shares[:, stop - count : stop].reshape(batch + request.shape))
    return flat.reshape((*batch, 2)), found


def _fold_in(data: Any, number: Any) -> Any:
    return jax.random.key_data(jax.random.fold_in(jax.random.wrap_key_data(data, impl=IMPLEMENTATION), number))


def _folded(data: Any, folds: np.ndarray, is_folded: np.ndarray) -> Any:
    """Folds each column's numbers into the key, one level after the other: one generator is compiled, in a loop."""

    def level(data: Any, numbers: Any) -> tuple[Any, None]:
        number, is_wanted = numbers
        return jnp.where(is_wanted[:, None], jax.vmap(_fold_in)(data, number), data), None

    levels = jnp.asarray(folds), jnp.asarray(is_folded)
    return jax.lax.scan(level, jnp.broadcast_to(data, (folds.shape[1], 2)), levels)[0]
