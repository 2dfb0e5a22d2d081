"""Damaged copies of files for the tests of readers: seeded, so that a failure can be had again."""

from __future__ import annotations

import random
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import medjax as mj

NUMBERS = [b"0", b"-1", b"1e308", b"nan", b"2147483648", b"18446744073709551616", b"999999999999", b"%s", b"../x", b""]


def mutations(content: bytes, head_bytes: int, count: int, seed: int) -> Iterator[bytes]:
    """Yields the content cut short everywhere, with bytes changed, words replaced, lines lost, doubled or swapped."""
    rng = random.Random(seed)
    makers = [_cut, _flip, _replace_word, _lose_line, _double_line, _swap_lines, _insert]
    for number in range(count):
        head, tail = content[:head_bytes], content[head_bytes:]
        if number % 4 == 3:
            tail = rng.choice([_cut, _flip, _insert])(tail, rng)
        else:
            head = rng.choice(makers)(head, rng)
        yield head + tail


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _insert(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.randbytes(rng.choice([1, 3, 1000])) + content[place:]


def _replace_word(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    number = rng.randrange(len(lines))
    words = lines[number].split(b" ")
    words[rng.randrange(len(words))] = rng.choice(NUMBERS)
    lines[number] = b" ".join(words)
    return b"\n".join(lines)


def _lose_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def _double_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    number = rng.randrange(len(lines))
    return b"\n".join([*lines[:number], lines[number], *lines[number:]])


def _swap_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


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
