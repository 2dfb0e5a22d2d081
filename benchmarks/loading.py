"""The loader beside MONAI's PersistentDataset and DataLoader: batches a second from a warm cache.

Run: `python benchmarks/loading.py [rounds]`. Prints a table and writes `benchmarks/results/loading.json`. Cases are of 512 x 512 x 300
voxels, int16, 157 MB each, prepared before; a batch holds two patches of 128^3 from random places. Both libraries read with as
many threads or worker processes as there are cores, and their files lie in the system's file cache. A call takes a number of batches
from a running loader, so that starting is a row of its own: the time until the first batch, for MONAI with its workers.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from harness import cores, measured, optional, save

import medjax as mj

SHAPE, PATCH, CASES, BATCH_SIZE, BATCHES = (512, 512, 300), (128, 128, 128), 4, 2, 10
# batches a second, as the issue states it
MUST, AIM = {"MONAI": 2.0}, {"MONAI": 5.0}


def volume(number: int) -> np.ndarray:
    """A smooth field with noise, as benchmarks/hdf5.py has it."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, n, dtype=np.float32) for n in SHAPE), indexing="ij", sparse=True)
    smooth = 600 * np.sin(9 * i + 2 * k + number) * np.cos(7 * j) + 300 * np.sin(23 * k + 5 * j)
    return (smooth + np.random.default_rng(number).normal(0, 0.8, SHAPE).astype(np.float32)).astype(np.int16)


def write(folder: Path) -> list[dict[str, str]]:
    rows = []
    for number in range(CASES):
        path = folder / f"c{number}.nii"
        mj.save_image(mj.Image.from_array(volume(number), spacing=(0.8, 0.8, 1.5)), path)
        rows.append({"case": f"c{number}", "ct": str(path)})
    return rows


def endless(monai: Any, rows: list[dict[str, str]], folder: Path) -> Iterator[Any]:
    """MONAI's batches, epoch after epoch, on the device where JAX has them."""
    import torch

    words: Any = {"keys": "ct"}
    steps = [
        monai.transforms.LoadImaged(**words, dtype=np.int16),
        monai.transforms.EnsureChannelFirstd(**words),
        monai.transforms.RandSpatialCropd(**words, roi_size=PATCH, random_size=False),
    ]
    data = monai.data.PersistentDataset([{"ct": row["ct"]} for row in rows], monai.transforms.Compose(steps), folder)
    for number in range(CASES):
        data[number]  # fills its cache
    loader = monai.data.DataLoader(
        torch.utils.data.ConcatDataset([data] * BATCHES),  # so that an epoch is longer than what its workers prefetch
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=cores(),
        persistent_workers=True,
        multiprocessing_context="spawn",  # a fork of a process in which JAX runs may never end
    )
    while True:
        for batch in loader:
            yield jax.device_put(np.asarray(batch["ct"]))


def take(batches: Iterator[Any], count: int) -> Any:
    found = None
    for _ in range(count):
        found = next(batches)
    return found.images["ct"].voxels if isinstance(found, mj.data.Batch) else found


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    monai = optional("monai")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write(folder)
        cached = mj.data.cache(mj.data.Cohort.of(rows), folder / "cache")
        options: dict[str, Any] = {"batch_size": BATCH_SIZE, "patch": PATCH, "threads": cores()}
        loader = mj.data.Loader(cached, **options)
        whole = [np.asarray(case["ct"].voxels) for case in cached]
        batch = loader.batch(3)
        error = max(float(not _is_part(found, whole[row])) for found, row in _patches(batch))
        running = iter(loader)
        peers = {"MONAI": endless(monai, rows, folder / "persistent")} if monai else {}
        for theirs in peers.values():
            take(theirs, 1)
        table = [
            measured(
                f"{BATCHES} batches of {BATCH_SIZE} patches of 128^3, warm cache",
                lambda: take(running, BATCHES),
                {peer: (lambda theirs=theirs: take(theirs, BATCHES)) for peer, theirs in peers.items()},
                error=error,
                must=MUST,
                aim=AIM,
                rounds=rounds,
            ),
            measured("until the first batch", lambda: take(iter(mj.data.Loader(cached, **options)), 1), rounds=rounds),
            measured("batch number 1000 alone", lambda: loader.batch(1000).images["ct"].voxels, rounds=rounds),
        ]
        print(loader.stats)
        save("loading", table, batches_a_second=1e3 * BATCHES / table[0].median_ms, waited=loader.stats.waited_share)


def _patches(batch: mj.data.Batch) -> Iterator[tuple[mj.Image, int]]:
    return zip(mj.unstack(batch.images["ct"]), batch.rows.tolist(), strict=True)


def _is_part(patch: mj.Image, whole: np.ndarray) -> bool:
    """Whether a patch is the box of its case that its geometry says."""
    start = np.round(np.asarray(patch.origin) / (0.8, 0.8, 1.5)).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(start, PATCH, strict=True))
    return np.array_equal(patch.voxels, whole[box])


if __name__ == "__main__":
    main()
