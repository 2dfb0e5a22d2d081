"""A progress line on the terminal for work that takes a while. Scripts and notebooks, without a terminal, get none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["progress"]

T = TypeVar("T")

_FEWEST = 500
_SECONDS_BETWEEN = 0.1
_WIDTH = 30


def progress(items: Iterable[T], total: int, label: str, *, fewest: int | None = None) -> Iterator[T]:
    """Passes items on and draws how many of `total` have passed, if there are many and stderr is a terminal."""
    if total < (_FEWEST if fewest is None else fewest) or not sys.stderr.isatty():
        yield from items
        return
    drawn = 0.0
    try:
        for number, item in enumerate(items):
            if time.monotonic() - drawn > _SECONDS_BETWEEN:
                drawn = time.monotonic()
                _draw(label, number, total)
            yield item
        _draw(label, total, total)
    finally:
        sys.stderr.write("\n")


def _draw(label: str, number: int, total: int) -> None:
    done = _WIDTH * number // total
    sys.stderr.write(f"\r{label} [{'#' * done}{'.' * (_WIDTH - done)}] {number}/{total}")
    sys.stderr.flush()
