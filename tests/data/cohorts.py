"""Tiny cohorts for the tests of medjax.data: volumes of a few voxels whose values say whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import medjax as mj

SHAPE = (6, 5, 4)


def volume(number: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Every voxel tells the case and where it lies."""
    return (np.arange(np.prod(shape)).reshape(shape) + 1000 * number).astype(np.int16)


def scan(number: int, shape: tuple[int, ...] = SHAPE, **more: Any) -> mj.Image:
    return mj.Image.from_array(volume(number, shape), spacing=(1.0, 1.5, 2.0), origin=(number, 0.1, -3), **more)


def labels(number: int, shape: tuple[int, ...] = SHAPE) -> mj.Image:
    """A box of ones, of a size of its own, on the grid of the scan."""
    voxels = np.zeros(shape, np.uint8)
    voxels[1 : 2 + number % 3, 1:3, 1:3] = 1
    return mj.Image.from_array(voxels, spacing=(1.0, 1.5, 2.0), origin=(number, 0.1, -3), kind="label")


def write(folder: Path, count: int = 3, *, shapes: Any = None) -> list[dict[str, Any]]:
    """Writes NIfTI files of cases c0, c1, ...; returns rows with paths. Cases 2 n and 2 n + 1 are one patient's."""
    rows = []
    for number in range(count):
        shape = SHAPE if shapes is None else shapes[number]
        (folder / f"c{number}").mkdir(parents=True)
        row: dict[str, Any] = {"case": f"c{number}", "patient": f"p{number // 2}"}
        for role, image in (("ct", scan(number, shape)), ("seg", labels(number, shape))):
            row[role] = str(folder / f"c{number}" / f"{role}.nii.gz")
            mj.save_image(image, row[role])
        rows.append(row)
    return rows


def held(count: int, **more: Any) -> mj.data.Cohort:
    """A cohort in memory."""
    return mj.data.Cohort.of([{"case": f"c{n}", "ct": scan(n), "seg": labels(n)} for n in range(count)], **more)
