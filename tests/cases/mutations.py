"""Damaged copies of files for the tests of readers: seeded, so that a failure can be had again."""

from __future__ import annotations

import random
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fuzz_mutations import change_lines, cut, double, drop, flip, replace_word

import medjax as mj


def mutations(content: bytes, head_bytes: int, count: int, seed: int) -> Iterator[bytes]:
    """Yields the content with its head changed by words, lines and bytes, or, every fourth time, its data damaged."""
    rng = random.Random(seed)
    for number in range(count):
        head, tail = content[:head_bytes], content[head_bytes:]
        if number % 4 == 3:
            tail = rng.choice([cut, flip, drop, double])(tail, rng)
        else:
            head = rng.choice([replace_word, replace_word, change_lines, cut, flip])(head, rng)
        yield head + tail


def loads_or_refuses(path: Path, load: Callable[[Path], Any] = mj.load_image) -> bool:
    """Loads a file that may be anything: True if it loaded, False if it raised the package's error, else it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mj.ImageFileWarning)
        try:
            load(path)
        except mj.ImageFileError as error:
            refusal = error
        else:
            return True
    assert refusal.reason, "an error says what was found"
    assert Path(refusal.path).is_relative_to(path.parent), "an error names the file, or data beside it"
    return False


def cost(action: Callable[[], Any]) -> tuple[float, int]:
    """Returns the seconds an action takes and the most bytes it holds at a time (NumPy's included)."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        action()
        return time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
