"""Which case stands at which place of the stream: index arithmetic, so that a place depends on the seed alone.

Item n of the stream is item p of batch b, n = b * batch_size + p, whatever hosts, devices and threads there are. Random
words come from the Philox counter generator, whose stream NumPy keeps, and orders from a stable sort of them.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["BucketOrder", "PlainOrder", "generator_of"]

_ORDER, _BLOCK, _ITEM = 1, 2, 3


def _philox(seed: int, number: int, purpose: int, part: int = 0) -> np.random.Philox:
    return np.random.Philox(key=[seed, number], counter=[0, 0, part, purpose])


def generator_of(seed: int, item: int) -> np.random.Generator:
    """The host's random numbers for an item of the stream."""
    return np.random.Generator(_philox(seed, item, _ITEM))


@functools.lru_cache(maxsize=64)
def _permutation(seed: int, number: int, purpose: int, part: int, size: int) -> np.ndarray:
    words = _philox(seed, number, purpose, part).random_raw(size)
    return np.argsort(np.asarray(words, np.uint64), kind="stable")


class PlainOrder:
    """Epoch after epoch without a gap, each in an order of its own."""

    def __init__(self, size: int, batch_size: int, seed: int, *, shuffle: bool):
        self.size, self.batch_size, self.seed, self.shuffle = size, batch_size, seed, shuffle

    def row(self, step: int, position: int) -> int:
        """The row of an item of a batch."""
        epoch, place = divmod(step * self.batch_size + position, self.size)
        return int(_permutation(self.seed, epoch, _ORDER, 0, self.size)[place]) if self.shuffle else place


class BucketOrder:
    """Each batch from one bucket of rows.

    In a block of as many batches as there are rows, a bucket of m rows has m batches, so that every row comes
    `batch_size` times. The batches of a block are shuffled; within a bucket its rows come epoch after epoch, as in
    `PlainOrder`.
    """

    def __init__(self, buckets: Sequence[Hashable], batch_size: int, seed: int, *, shuffle: bool):
        self.size, self.batch_size, self.seed, self.shuffle = len(buckets), batch_size, seed, shuffle
        numbers = {bucket: number for number, bucket in enumerate(dict.fromkeys(buckets))}
        self._bucket_of = np.array([numbers[bucket] for bucket in buckets])
        self._rows = [np.flatnonzero(self._bucket_of == number) for number in range(len(numbers))]

    def row(self, step: int, position: int) -> int:
        """The row of an item of a batch."""
        block, place = divmod(step, self.size)
        order = _permutation(self.seed, block, _BLOCK, 0, self.size) if self.shuffle else np.arange(self.size)
        chosen = self._bucket_of[order]
        bucket = int(chosen[place])
        rows = self._rows[bucket]
        batch = block * len(rows) + int((chosen[:place] == bucket).sum())
        epoch, within = divmod(batch * self.batch_size + position, len(rows))
        if self.shuffle:
            within = int(_permutation(self.seed, epoch, _ORDER, 1 + bucket, len(rows))[within])
        return int(rows[within])
