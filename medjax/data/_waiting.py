"""How fast a loader is, and how long its user has waited for it."""

from __future__ import annotations

import dataclasses
import threading

from medjax._lazy import public

__all__ = ["Clock", "LoaderStats"]


@public("medjax.data")
@dataclasses.dataclass(frozen=True)
class LoaderStats:
    """What a loader has done since it was made.

    Attributes:
        steps: Batches that it gave.
        seconds: From the first request to the last.
        waited_s: Of these, how long the caller waited for batches.
        n_bytes: Of voxels read; with prefetching more than was given.
        read_s: What reading took, summed over the threads.
        slowest: The case that took the longest to read.
        slowest_s: How long that took.

    Example:
        >>> stats = mj.data.LoaderStats(100, 20.0, 1.0, 4_000_000_000, 30.0, "p07_v1", 1.2)
        >>> print(stats)
        100 steps, 5.0 a second; waited 1.0 s (5 %); 133.3 MB/s a thread; slowest case p07_v1, 1.20 s
    """

    steps: int
    seconds: float
    waited_s: float
    n_bytes: int
    read_s: float
    slowest: str
    slowest_s: float

    @property
    def waited_share(self) -> float:
        """The share of the time that the caller waited."""
        return self.waited_s / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        rate = self.steps / self.seconds if self.seconds else 0.0
        speed = self.n_bytes / self.read_s / 1e6 if self.read_s else 0.0
        return (
            f"{self.steps} steps, {rate:.1f} a second; waited {self.waited_s:.1f} s ({100 * self.waited_share:.0f} %); "
            f"{speed:.1f} MB/s a thread; slowest case {self.slowest or '-'}, {self.slowest_s:.2f} s"
        )


class Clock:
    """Counts for a loader, from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: float | None = None
        self._stats = LoaderStats(0, 0.0, 0.0, 0, 0.0, "", 0.0)

    def read(self, case: str, n_bytes: int, seconds: float) -> None:
        with self._lock:
            known = self._stats
            slowest = (case, seconds) if seconds > known.slowest_s else (known.slowest, known.slowest_s)
            self._stats = dataclasses.replace(
                known,
                n_bytes=known.n_bytes + n_bytes,
                read_s=known.read_s + seconds,
                slowest=slowest[0],
                slowest_s=slowest[1],
            )

    def gave(self, asked: float, now: float) -> None:
        with self._lock:
            self._began = asked if self._began is None else self._began
            known = self._stats
            self._stats = dataclasses.replace(
                known, steps=known.steps + 1, seconds=now - self._began, waited_s=known.waited_s + now - asked
            )

    @property
    def stats(self) -> LoaderStats:
        with self._lock:
            return self._stats
