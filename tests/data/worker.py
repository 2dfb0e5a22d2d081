"""Processes of their own for the tests: python worker.py cache|stream|left|part ARGUMENTS; results are lines of JSON on stdout."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

import medjax as mj

BATCH_SIZE, SEED, PATCH = 4, 11, (4, 3, 3)


def cohort(count: int, side: int) -> mj.data.Cohort:
    """Cases whose voxels follow from their number."""
    rows = []
    for number in range(count):
        voxels = np.random.default_rng(number).integers(-1000, 1000, (side, side + number % 3, side), np.int16)
        image = mj.Image.from_array(
            voxels, spacing=(1, 2, 3), origin=(number, 0, 0), metadata=mj.Metadata(modality="CT")
        )
        seg = mj.Image.from_array((voxels > 900).astype(np.uint8), affine=image.affine, kind="label")
        rows.append({"case": f"c{number}", "ct": image, "seg": seg})
    return mj.data.Cohort.of(rows)


def prepare(case: mj.data.Case) -> dict[str, mj.Image]:
    """Something to compute."""
    return {"ct": case["ct"].with_voxels(np.asarray(case["ct"].voxels, np.float32) / 7), "seg": case["seg"]}


def loader(folder: str, **options: Any) -> mj.data.Loader:
    cached = mj.data.cache(cohort(5, 8), folder, prepare, classes="seg", progress=False)
    return mj.data.Loader(cached, batch_size=BATCH_SIZE, seed=SEED, patch=PATCH, **options)


def digest(batch: mj.data.Batch, part: slice = slice(None)) -> str:
    """A hash of all that a batch holds, or of some of its items, which must lie in this process."""
    found = hashlib.sha256()
    for role, image in sorted(batch.images.items()):
        found.update(role.encode() + local(image.voxels)[part].tobytes())
        found.update(np.asarray(local(image.affine), np.float32)[part].tobytes())
    found.update(local(jax.random.key_data(batch.keys))[part].tobytes())
    return found.hexdigest()


def local(array: Any) -> np.ndarray:
    """The items of an array that this process holds."""
    if isinstance(array, np.ndarray) or array.is_fully_addressable:
        return np.asarray(array)
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def cache(folder: str, count: str, side: str) -> None:
    """Fills a cache."""
    report = mj.data.cache(cohort(int(count), int(side)), folder, prepare, classes="seg", progress=False).report
    say(built=list(report.built), kept=list(report.kept))


def stream(folder: str, start: str, stop: str, threads: str) -> None:
    """Tells the hash of each batch once it has arrived, as a training loop saves its step once it has seen one."""
    for batch in loader(folder, start=int(start), threads=int(threads)):
        if batch.step == int(stop):
            return
        say(step=batch.step, digest=digest(batch))


def left(folder: str) -> None:
    """Takes a batch and ends with the loop still open, as a script does that takes `next(iter(loader))`."""
    worker = sys.modules[__name__]
    worker.batches = iter(loader(folder, threads=2))  # type: ignore[attr-defined]
    say(step=next(worker.batches).step)


def part(folder: str, address: str, count: str, number: str, spread: str) -> None:
    """Tells the hashes of this process's half of the first batches, with a mesh over both processes or without."""
    jax.distributed.initialize(address, int(count), int(number), initialization_timeout=60)
    sharding = jax.make_mesh((jax.device_count(),), ("batch",)) if spread == "mesh" else None
    for batch in loader(folder, sharding=sharding, threads=2):
        if batch.step == 3:
            break
        voxels = batch.images["ct"].voxels
        say(step=batch.step, digest=digest(batch), shape=list(voxels.shape), rows=batch.rows.tolist())
    jax.distributed.shutdown()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    jobs: dict[str, Any] = {"cache": cache, "stream": stream, "left": left, "part": part}
    jobs[sys.argv[1]](*sys.argv[2:])
