"""Numbers from a seed that are the same on every platform and with every version of NumPy.

NumPy promises the raw words of a bit generator for good, and not what its distributions make of them. Everything here
is made from the words of Philox, a counter-based generator, by exact arithmetic; normal numbers alone pass through
libm.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

__all__ = ["Draws", "check_seed", "in_threads", "normal"]

_BLOCK = 2**18


class Draws:
    """A stream of random numbers, one for each seed and name: a new stream changes no other.

    Example:
        >>> [round(x, 6) for x in (Draws(0, "lesions").uniform(0.0, 1.0), Draws(1, "lesions").uniform(0.0, 1.0))]
        [0.598295, 0.665552]
    """

    def __init__(self, seed: int, name: str):
        key = hashlib.sha256(f"medjax.datasets/1 {seed} {name}".encode()).digest()[:16]
        self._bits = np.random.Philox(key=int.from_bytes(key, "little"))

    def uniform(self, low: float, high: float) -> float:
        """A number between two others: 53 bits of one word, scaled."""
        share = float(int(self._bits.random_raw()) >> 11) * 2.0**-53
        return low + (high - low) * share

    def integer(self, count: int) -> int:
        """A whole number from 0 to `count - 1`."""
        return int(self._bits.random_raw()) % count

    def words(self, count: int) -> np.ndarray:
        """Words of 64 random bits, uint64."""
        return np.asarray(self._bits.random_raw(count), np.uint64)

    def shuffled(self, count: int) -> list[int]:
        """The numbers from 0 to `count - 1` in random order (Fisher and Yates)."""
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.integer(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


def normal(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Independent normal numbers of mean 0 and variance 1, float32, equal on every platform to 1e-6.

    Made of blocks of `2^18` words, each a stream of its own, so that threads can share the work.
    """
    count = int(np.prod(shape))
    values = np.empty(count, np.float32)

    def fill(start: int) -> None:
        part = values[start : start + 2 * _BLOCK]
        _box_muller(Draws(seed, f"{name} {start // (2 * _BLOCK)}").words((part.size + 1) // 2), part)

    in_threads(fill, range(0, count, 2 * _BLOCK))
    return values.reshape(shape)


def _box_muller(words: np.ndarray, out: np.ndarray) -> None:
    """Two normal numbers from each word of 64 bits: radius from 24 of them, angle from 24 others."""
    first = ((words >> np.uint64(40)).astype(np.float32) + np.float32(1.0)) * np.float32(2.0**-24)  # (0, 1], exact
    angle = (words & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24 * 2 * np.pi)
    radius = np.sqrt(np.float32(-2.0) * np.log(first))
    out[: words.size] = radius * np.cos(angle)
    rest = out.size - words.size
    out[words.size :] = radius[:rest] * np.sin(angle[:rest])


def in_threads(fill: Callable[[int], None], starts: Iterable[int]) -> None:
    """Fills parts of an array side by side: each writes its own, so that the number of threads changes nothing."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(fill, starts))


def check_seed(seed: int) -> int:
    """Returns the seed, a whole number of at least 0.

    Raises:
        ValueError: it is none.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    return int(seed)
