"""A cohort of 60 scans of 60 shapes: orientation, then 1.5 mm, beside the SimpleITK loop in the same run.

Run: `python benchmarks/ragged.py [scans]`. 100 to 220 voxels a side, int16, mixed spacings and orientations; one process,
no compilation cache; every result is dropped before the next, as in a loop that trains or saves. "cold" is the first pass,
with all compilations (they are counted), "warm" passes run over as many other shapes; the libraries take turns pass by
pass. "kept" holds all results until the pass ends: there the system's fresh memory is part of the time. Writes
results/ragged.json.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax.monitoring
import numpy as np
from harness import optional, save, spread

import medjax as mj

sitk = optional("SimpleITK")

SCANS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
WARM_PASSES = 4
CODES = ("RAS", "LPI", "ASL", "SPR", "LPS", "IAR")
DIRECTIONS = {"R": (0, -1), "L": (0, 1), "A": (1, -1), "P": (1, 1), "S": (2, 1), "I": (2, -1)}


def cohort(seed: int) -> list[mj.Image]:
    rng = np.random.default_rng(seed)
    scans = []
    for _ in range(SCANS):
        shape, direction = rng.integers(100, 221, 3), np.zeros((3, 3))
        for column, letter in enumerate(rng.choice(CODES)):
            axis, sign = DIRECTIONS[letter]
            direction[axis, column] = sign
        voxels = rng.integers(-1000, 2000, shape, dtype=np.int16)
        scans.append(mj.Image.from_array(voxels, spacing=rng.uniform(0.8, 2.5, 3), direction=direction))
    return scans


def in_itk(image: mj.Image) -> Any:
    out = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(image.voxels).T))
    out.SetSpacing(image.spacing)
    out.SetDirection(np.asarray(image.direction).ravel().tolist())
    return out


def with_simpleitk(image: Any) -> Any:
    image = sitk.DICOMOrient(image, "RAS")
    spacing, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    new = np.maximum(1, np.round(size * spacing / 1.5)).astype(int)
    first = image.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2 - (1.5 / spacing) * (new - 1) / 2).tolist())
    options = (sitk.Transform(), sitk.sitkLinear, first, [1.5] * 3, image.GetDirection(), 0.0, sitk.sitkFloat32)
    return sitk.Resample(image, new.tolist(), *options)


def with_medjax(image: mj.Image) -> mj.Image:
    return mj.resample_to_spacing(mj.change_orientation(image, "RAS"), 1.5, fill=0.0)


class Compilations:
    """Counts what XLA compiles."""

    def __init__(self) -> None:
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self)

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self.count += event == "/jax/core/compile/backend_compile_duration"


def seconds(work: Callable[[Any], Any], scans: list[Any], *, keep: bool = False) -> float:
    kept = []
    start = time.perf_counter()
    for scan in scans:
        result = work(scan)
        if keep:
            kept.append(result)
    return time.perf_counter() - start


def main() -> None:
    compilations = Compilations()
    table: list[dict[str, Any]] = []
    with mj.shape_buckets():
        for number in range(1 + 2 * WARM_PASSES):
            name = "cold" if number == 0 else "warm" if number <= WARM_PASSES else "warm, kept"
            scans, before = cohort(number), compilations.count
            row: dict[str, Any] = {"pass": name, "medjax_s": seconds(with_medjax, scans, keep="kept" in name)}
            row["compilations"] = compilations.count - before
            if sitk is not None:
                theirs = [in_itk(scan) for scan in scans]
                row["SimpleITK_s"] = seconds(with_simpleitk, theirs, keep="kept" in name)
                row["ratio"] = row["SimpleITK_s"] / row["medjax_s"]
                if number == 0:
                    first, last = with_medjax(scans[-1]), sitk.GetArrayFromImage(with_simpleitk(theirs[-1])).T
                    row["error"] = float(np.abs(np.asarray(first.voxels) - last).max() / 3000)
            print(
                "  ".join(
                    f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                ),
                flush=True,
            )
            table.append(row)
    summary, milliseconds = {}, {}
    for name in dict.fromkeys(row["pass"] for row in table):
        rows = [row for row in table if row["pass"] == name]
        ratios = [row["ratio"] for row in rows if "ratio" in row]
        found = {"compilations": sum(row["compilations"] for row in rows)}
        if ratios:
            found |= {"ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        summary[name], milliseconds[name] = found, [1e3 * row["medjax_s"] for row in rows]
        print(name, "  ".join(f"{key} {value:.3g}" for key, value in found.items()))
    rows = [{"pass": name, "milliseconds": spread(milliseconds[name])} for name in summary]
    save("ragged", rows, scans=SCANS, passes=table, summary=summary)


if __name__ == "__main__":
    main()
