"""What a cache did."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from medjax._lazy import public

__all__ = ["CacheReport"]


@public("medjax.data")
@dataclasses.dataclass(frozen=True)
class CacheReport:
    """What `cache` found, built and left out.

    Attributes:
        folder: The cache's folder.
        kept: Names of the cases whose entries were there.
        built: Names of the cases that were prepared, and the seconds that each took.
        skipped: Names of the cases that failed under `on_error="skip"`, and why.
        n_bytes: Size of all entries of the cohort.

    Example:
        >>> print(mj.data.CacheReport("cache", ("a", "b"), {"c": 1.5}, {}, 4_000_000))
        cache: 3 cases, 4.0 MB; 2 kept, 1 built in 1.5 s
    """

    folder: str
    kept: tuple[str, ...]
    built: Mapping[str, float]
    skipped: Mapping[str, str]
    n_bytes: int

    def __str__(self) -> str:
        count = len(self.kept) + len(self.built)
        first = f"{self.folder}: {count} case{'s' * (count != 1)}, {self.n_bytes / 1e6:.1f} MB"
        first += f"; {len(self.kept)} kept, {len(self.built)} built in {sum(self.built.values()):.1f} s"
        return "\n".join([first, *(f"left out {name}: {reason}" for name, reason in self.skipped.items())])
