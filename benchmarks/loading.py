"""The loader beside MONAI's PersistentDataset and its loaders: batches a second from a warm cache.

Run: `python benchmarks/loading.py [rounds]`. Prints a table and writes `benchmarks/results/loading.json`. Cases are of 512 x 512 x 300
voxels, int16, 157 MB each, prepared before; a batch holds two patches of 128^3 from random places. All read with as many threads
(MONAI's ThreadDataLoader), or worker processes (its DataLoader), as there are cores, and the files lie in the system's file
cache. A call takes a number of batches from a running loader, so that starting is a row of its own: the time until the first
batch. "peak" is the memory of a loader and its first batches above what a fresh process holds before them, of one process.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from harness import cores, in_fresh_process, measured, optional, peak_bytes, save

import medjax as mj

SHAPE, PATCH, CASES, BATCH_SIZE, BATCHES = (512, 512, 300), (128, 128, 128), 4, 2, 20
SETTLED_S = 1.0  # in which loaders fill what they prefetch, before each call
OURS, THREADS, PROCESSES = "medjax", "MONAI threads", "MONAI processes"
# batches a second, as the issue states it
MUST, AIM = dict.fromkeys((THREADS, PROCESSES), 2.0), dict.fromkeys((THREADS, PROCESSES), 5.0)


def volume(number: int) -> np.ndarray:
    """A smooth field with noise, as benchmarks/hdf5.py has it."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, n, dtype=np.float32) for n in SHAPE), indexing="ij", sparse=True)
    smooth = 600 * np.sin(9 * i + 2 * k + number) * np.cos(7 * j) + 300 * np.sin(23 * k + 5 * j)
    return (smooth + np.random.default_rng(number).normal(0, 0.8, SHAPE).astype(np.float32)).astype(np.int16)


def rows_in(folder: Path) -> list[dict[str, str]]:
    return [{"case": f"c{number}", "ct": str(folder / f"c{number}.nii")} for number in range(CASES)]


def write(folder: Path) -> list[dict[str, str]]:
    rows = rows_in(folder)
    for number, row in enumerate(rows):
        mj.save_image(mj.Image.from_array(volume(number), spacing=(0.8, 0.8, 1.5)), row["ct"])
    return rows


def prepared(rows: list[dict[str, str]], folder: Path) -> Any:
    """MONAI's data set over its cache, which it fills."""
    import monai

    words: Any = {"keys": "ct"}
    steps = [
        monai.transforms.LoadImaged(**words, dtype=np.int16),
        monai.transforms.EnsureChannelFirstd(**words),
        monai.transforms.RandSpatialCropd(**words, roi_size=PATCH, random_size=False),
    ]
    data = monai.data.PersistentDataset([{"ct": row["ct"]} for row in rows], monai.transforms.Compose(steps), folder)
    for number in range(CASES):
        data[number]
    return data


def with_monai(data: Any, way: str) -> Iterator[Any]:
    """MONAI's batches, epoch after epoch, on the device where JAX has them."""
    import torch
    from monai.data import DataLoader, ThreadDataLoader

    many = torch.utils.data.ConcatDataset([data] * 10 * BATCHES)  # so that no epoch ends in a call, or hardly any
    common: dict[str, Any] = {"batch_size": BATCH_SIZE, "shuffle": True, "num_workers": cores()}
    if way == THREADS:
        loader = ThreadDataLoader(many, use_thread_workers=True, buffer_size=cores(), **common)
    else:  # a fork of a process in which JAX runs may never end
        loader = DataLoader(many, persistent_workers=True, multiprocessing_context="spawn", **common)
    while True:
        for batch in loader:
            yield jax.device_put(np.asarray(batch["ct"]))


def with_medjax(cached: Any) -> mj.data.Loader:
    return mj.data.Loader(cached, batch_size=BATCH_SIZE, patch=PATCH, threads=cores())


def take(batches: Iterator[Any], count: int) -> Any:
    found = None
    for _ in range(count):
        found = next(batches)
    return found.images["ct"].voxels if isinstance(found, mj.data.Batch) else found


def print_peak(way: str, folder: Path) -> None:
    """Prints the peak of a new loader and a call's batches."""
    rows = rows_in(folder)
    if way == OURS:
        cached = mj.data.cache(mj.data.Cohort.of(rows), folder / "cache")
        print(peak_bytes(lambda: take(iter(with_medjax(cached)), BATCHES))[0])
    else:
        data = prepared(rows, folder / "persistent")
        print(peak_bytes(lambda: take(with_monai(data, way), BATCHES))[0])


def main() -> None:
    if "--peak" in sys.argv:
        print_peak(sys.argv[-2], Path(sys.argv[-1]))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    has_monai = optional("monai") is not None and optional("torch") is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write(folder)
        cached = mj.data.cache(mj.data.Cohort.of(rows), folder / "cache")
        loader = with_medjax(cached)
        whole = [np.asarray(case["ct"].voxels) for case in cached]
        batch = loader.batch(3)
        error = max(float(not _is_part(found, whole[row])) for found, row in _patches(batch))
        data = prepared(rows, folder / "persistent") if has_monai else None
        running = iter(loader)
        peers = {way: with_monai(data, way) for way in ((THREADS, PROCESSES) if has_monai else ())}
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
                before=lambda: time.sleep(SETTLED_S),
            ),
            measured("until the first batch", lambda: take(iter(with_medjax(cached)), 1), rounds=rounds),
            measured("batch number 1000 alone", lambda: loader.batch(1000).images["ct"].voxels, rounds=rounds),
        ]
        print(loader.stats)
        peak = {way: in_fresh_process(__file__, way, folder) / 1e6 for way in (OURS, *peers)}
        print(f"peak MB: {peak}")
        second = 1e3 * BATCHES / table[0].median_ms
        save("loading", table, batches_a_second=second, waited=loader.stats.waited_share, peak_megabytes=peak)


def _patches(batch: mj.data.Batch) -> Iterator[tuple[mj.Image, int]]:
    return zip(mj.unstack(batch.images["ct"]), batch.rows.tolist(), strict=True)


def _is_part(patch: mj.Image, whole: np.ndarray) -> bool:
    """Whether a patch is the box of its case that its geometry says."""
    start = np.round(np.asarray(patch.origin) / (0.8, 0.8, 1.5)).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(start, PATCH, strict=True))
    return np.array_equal(patch.voxels, whole[box])


if __name__ == "__main__":
    main()
