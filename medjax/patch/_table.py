"""Where the voxels of each class lie: made once per case, so that a box about one is chosen in no time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._image._checks import check_count
from medjax._image._image import Image, check_image
from medjax._image._result import result
from medjax._lazy import public

__all__ = ["ClassTable", "class_table"]


@public("medjax.patch")
@result
@dataclasses.dataclass(frozen=True)
class ClassTable:
    """Voxels of each class of a label map.

    Attributes:
        voxels: For each label the indices of some of its voxels, `(m, 3)` in the order of the volume, or none.
        counts: For each label how many voxels it has, those that are not listed included.

    Example:
        >>> label = mj.Image.from_array(np.arange(4, dtype=np.uint8).reshape(4, 1, 1) // 2, kind="label")
        >>> table = mj.patch.class_table(label)
        >>> table.voxels[1].tolist(), table.counts
        ([[2, 0, 0], [3, 0, 0]], {1: 2})
    """

    voxels: dict[int, Any]
    counts: dict[int, Any]


def class_table(label: Image, *, limit: int = 10_000, seed: int = 0, labels: Iterable[int] | None = None) -> ClassTable:
    """Lists voxels of each class, for `balanced` and `sampler`; a class of many voxels is represented by some of them.

    Args:
        label: One label map without channels.
        limit: The most voxels that are listed of a class, drawn without replacement.
        seed: Chooses them. Other classes of the map change nothing for a class.
        labels: The classes to list. Default all labels above 0 that occur. A class that does not occur has no voxels.

    Returns:
        The table, on the host: uint16 indices, or uint32 where an axis is longer than 65536 voxels.

    Raises:
        ValueError: the image is no label map, is a batch, has channels or is traced; or the limit is below 1.

    Example:
        >>> label = mj.Image.from_array(np.array([0, 3, 3, 5], np.uint8).reshape(4, 1, 1), kind="label")
        >>> {name: rows[:, 0].tolist() for name, rows in mj.patch.class_table(label).voxels.items()}
        {3: [1, 2], 5: [3]}

    Source: nnU-Net stores such lists with its preprocessed cases (`_sample_foreground_locations`).
    """
    check_image(label, "label")
    if label.kind != "label":
        raise ValueError(
            "label must be a label map, got intensities; label.with_kind('label') says that they are labels"
        )
    if label.batch_shape or label.channels:
        raise ValueError(
            f"label must be one label map without channels, got a batch of shape {label.batch_shape} with channels "
            f"{label.channels}; make a table of each"
        )
    if is_traced(label.voxels):
        raise ValueError("label is traced, and a table is made on the host: make it before jit, once per case")
    check_count(limit, "limit")
    volume = np.asarray(label.voxels)
    counts = _counts_by_plane(volume)
    wanted = sorted(n for n in counts if n > 0) if labels is None else [int(n) for n in labels]
    none = np.zeros(len(volume), np.int64)
    totals = {n: int(counts.get(n, none).sum()) for n in wanted}
    ranks = {n: _chosen(totals[n], limit, [seed, n & 0xFFFFFFFF]) for n in wanted}
    dtype = np.uint16 if max(volume.shape) <= 1 << 16 else np.uint32
    found: dict[int, list[np.ndarray]] = {n: [np.zeros((0, 3), dtype)] for n in wanted}
    before = dict.fromkeys(wanted, 0)
    for number, plane in enumerate(volume):
        for n in wanted:
            own = int(counts.get(n, none)[number])
            first, last = np.searchsorted(ranks[n], [before[n], before[n] + own])
            if last > first:
                places = np.flatnonzero(plane == n)[ranks[n][first:last] - before[n]]
                j, k = np.unravel_index(places, plane.shape)
                found[n].append(np.stack([np.full_like(j, number), j, k], axis=1).astype(dtype))
            before[n] += own
    return ClassTable({n: np.concatenate(rows) for n, rows in found.items()}, totals)


def _counts_by_plane(volume: np.ndarray) -> dict[int, np.ndarray]:
    """How many voxels each label has in each plane along i."""
    low, high = int(volume.min()), int(volume.max())
    if high - low >= 1 << 16:
        values = np.unique(volume)
        planes = (np.searchsorted(values, plane) for plane in volume)
    else:  # counting is faster than sorting
        values = np.arange(low, high + 1)
        planes = (plane.astype(np.int64) - low for plane in volume)
    counts = np.stack([np.bincount(plane.ravel(), minlength=len(values)) for plane in planes], axis=1)
    return {int(value): row for value, row in zip(values, counts, strict=True) if row.any()}


def _chosen(total: int, limit: int, seed: list[int]) -> np.ndarray:
    """The ranks of a class's voxels that are listed, rising."""
    if total <= limit:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, limit, replace=False, shuffle=False))
