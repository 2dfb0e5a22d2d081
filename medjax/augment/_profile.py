"""How long each step of a recipe takes."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np

from medjax._image._image import Image
from medjax.augment._apply import apply
from medjax.augment._draw import Draw, step_of
from medjax.augment._order import parts_in_order
from medjax.augment._randomness import item_keys
from medjax.augment._sampling import sample

__all__ = ["milliseconds"]


def milliseconds(step: Any, images: Any, rounds: int) -> dict[str, float]:
    """Times each gather and each other step of a recipe by itself; `Step.profile` explains the arguments."""
    alone = images if isinstance(images, Image) else next(iter(images.values()))
    batch = alone.batch_shape
    keys = item_keys(0, np.arange(int(np.prod(batch))).reshape(batch))
    draw = sample(step, keys, images)
    steps = [step_of(entry) for entry in draw.entries]
    found: dict[str, float] = {}
    for part in parts_in_order(steps, draw.settings.fill):
        for numbers in [part.moves, *([n] for n in part.acts)]:
            if not numbers:
                continue
            entries = tuple(draw.entries[n] for n in numbers)
            values = {entry.name: _applied(draw.values[entry.name]) for entry in entries}
            one = Draw(draw.key, values, entries, draw.settings)
            found[" + ".join(values)] = _shortest(lambda one=one: apply(one, images), rounds)
    return found


def _applied(values: dict[str, Any]) -> dict[str, Any]:
    """What was drawn, with every item changed by it."""
    return {
        name: _applied(part) if isinstance(part, dict) else np.ones_like(part) if name == "applied" else part
        for name, part in values.items()
    }


def _shortest(call: Any, rounds: int) -> float:
    """Milliseconds of the fastest of some calls, the first one, which compiles, aside."""
    jax.block_until_ready(jax.tree.leaves(call()))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(jax.tree.leaves(call()))
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)
