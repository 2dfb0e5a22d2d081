"""STAND-IN until medjax.patch is merged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medjax._image._image import Image


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """Voxels of each class, and how many there are."""

    voxels: Mapping[int, np.ndarray]
    counts: Mapping[int, int]

    def save(self, path: Path) -> None:
        np.savez(path, **{str(k): v for k, v in self.voxels.items()}, counts=np.array(sorted(self.counts.items())))

    @staticmethod
    def load(path: Path) -> ClassTable:
        with np.load(path, allow_pickle=False) as file:
            counts = {int(k): int(n) for k, n in file["counts"]}
            return ClassTable({k: file[str(k)] for k in counts}, counts)


def class_table(label: Image, *, limit: int = 10_000, seed: int = 0) -> ClassTable:
    """Returns up to so many voxels of each class, without replacement."""
    voxels = np.asarray(label.voxels)
    table, counts = {}, {}
    for value in np.unique(voxels).tolist():
        flat = np.flatnonzero(voxels.ravel() == value)
        counts[value] = flat.size
        if flat.size > limit:
            flat = np.sort(flat[np.argsort(np.random.Philox(seed).random_raw(flat.size), kind="stable")[:limit]])
        table[value] = np.stack(np.unravel_index(flat, voxels.shape), -1).astype(np.uint16)
    return ClassTable(table, counts)
