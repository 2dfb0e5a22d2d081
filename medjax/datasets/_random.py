"""Numbers from a seed that are the same on every platform and with every version of NumPy.

NumPy promises the raw words of a bit generator for good, and not what its distributions make of them. Everything here is
made from the words of Philox, a counter-based generator, by exact arithmetic; normal numbers alone pass through libm.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["Draws", "check_seed"]


class Draws:
    """A stream of random numbers, one for each seed and name: a new stream changes no other.

    Example:
        >>> [round(x, 6) for x in (Draws(0, "lesions").uniform(0, 1), Draws(1, "lesions").uniform(0, 1))]
        [0.480149, 0.387545]
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

    def shuffled(self, count: int) -> list[int]:
        """The numbers from 0 to `count - 1` in random order (Fisher and Yates)."""
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.integer(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Independent normal numbers of mean 0 and variance 1, float32, equal on every platform to 1e-6 (Box and Muller)."""
        count = int(np.prod(shape))
        words = np.asarray(self._bits.random_raw((count + 1) // 2), np.uint64)
        first = ((words >> np.uint64(40)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-24)
        angle = (words & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24 * 2 * np.pi)
        radius = np.sqrt(np.float32(-2.0) * np.log(np.minimum(first, np.float32(1 - 2.0**-24))))
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        return both[:count].reshape(shape)


def check_seed(seed: int) -> int:
    """Returns the seed, a whole number of at least 0.

    Raises:
        ValueError: it is none.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    return int(seed)
