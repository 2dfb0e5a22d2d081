"""Reading and writing NIfTI: medjax, nibabel and SimpleITK on a 150 MB int16 volume.

Run: `python benchmarks/nifti.py [rounds]`. Prints a table and writes `benchmarks/results/nifti.json`. The libraries take turns, so that
whatever else the machine does hits all of them; the file cache is warm. "median" is over the rounds, the ratios and
their range are formed within a round. Every row says whether the voxels came back equal, and how much memory it took
above the volume (the peak of a process of its own).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

import medjax as mj

SHAPE = (512, 512, 300)
WRITERS = ("medjax", "medjax, C order", "nibabel", "nibabel, C order", "SimpleITK")
RESULT = Path(__file__).parent / "results" / "nifti.json"


def volume() -> np.ndarray:
    """A smooth field with noise, int16, which gzip halves, as it does CT; in NIfTI's memory order."""
    axes = [np.linspace(0, 1, n, dtype=np.float32) for n in SHAPE]
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    smooth = 600 * np.sin(9 * i + 2 * k) * np.cos(7 * j) + 300 * np.sin(23 * k + 5 * j)
    noise = np.random.default_rng(0).normal(0, 0.8, SHAPE).astype(np.float32)
    return np.asfortranarray((smooth + noise).astype(np.int16))


def read(path: str) -> np.ndarray:
    return mj.load_image(path).voxels


def read_with_nibabel(path: str) -> np.ndarray:
    """Everything in memory: nibabel maps uncompressed files, which reads nothing yet."""
    voxels = np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
    return voxels.copy(order="K") if path.endswith(".nii") else voxels


def readers_and_writers(voxels: np.ndarray, folder: Path) -> dict[tuple[str, str, str], Callable[[], Any]]:
    """One call for each (operation, file, library); the readers give voxels as (i, j, k)."""
    ours, theirs, itk = (
        mj.Image.from_array(voxels),
        nib.Nifti1Image(voxels, np.eye(4)),
        sitk.GetImageFromArray(voxels.T),
    )
    in_c = np.ascontiguousarray(voxels)  # as results come from JAX
    from_c, theirs_c = mj.Image.from_array(in_c), nib.Nifti1Image(in_c, np.eye(4))
    calls: dict[tuple[str, str, str], Callable[[], Any]] = {}
    for suffix in (".nii.gz", ".nii"):
        # A folder for each: SimpleITK reads x.nii where x.nii.gz is asked for, if both are there.
        (folder / suffix[1:]).mkdir(exist_ok=True)
        path = {name: str(folder / suffix[1:] / f"{name}{suffix}") for name in WRITERS}
        calls |= {
            ("write", suffix, "medjax"): partial(mj.save_image, ours, path["medjax"]),
            ("write", suffix, "medjax, C order"): partial(mj.save_image, from_c, path["medjax, C order"]),
            ("write", suffix, "nibabel"): partial(nib.save, theirs, path["nibabel"]),
            ("write", suffix, "nibabel, C order"): partial(nib.save, theirs_c, path["nibabel, C order"]),
            ("write", suffix, "SimpleITK"): partial(sitk.WriteImage, itk, path["SimpleITK"], useCompression=True),
            ("read", suffix, "medjax"): partial(read, path["medjax"]),
            ("read", suffix, "medjax, nibabel's file"): partial(read, path["nibabel"]),
            ("read", suffix, "nibabel"): partial(read_with_nibabel, path["nibabel"]),
            ("read", suffix, "SimpleITK"): partial(sitk.ReadImage, path["nibabel"]),
        }
    return calls


def measure(rounds: int) -> list[dict[str, Any]]:
    voxels = volume()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calls = readers_and_writers(voxels, folder)
        seconds: dict[tuple[str, str, str], list[float]] = {key: [] for key in calls}
        for call in calls.values():  # caches, imports, files for the readers
            call()
        for operation in ("write", "read"):
            os.sync()  # or the disk is still busy with what was written before
            for _ in range(rounds):
                for key in (key for key in calls if key[0] == operation):
                    start = time.perf_counter()
                    calls[key]()
                    seconds[key].append(time.perf_counter() - start)
        return [row(key, seconds, calls[key], folder, voxels) for key in calls]


def row(
    key: tuple[str, str, str], seconds: dict[Any, list[float]], call: Any, folder: Path, voxels: np.ndarray
) -> dict[str, Any]:
    operation, suffix, library = key
    own = seconds[key]
    against = {
        other: [
            theirs / ours
            for ours, theirs in zip(own, seconds[operation, suffix, in_order(other, library)], strict=True)
        ]
        for other in ("nibabel", "SimpleITK")
    }
    name = library if operation == "write" or library == "medjax" else "nibabel"
    file = folder / suffix[1:] / f"{name}{suffix}"
    found = mj.load_image(file).voxels if operation == "write" else call()
    found = sitk.GetArrayFromImage(found).T if isinstance(found, sitk.Image) else found
    return {
        "operation": operation,
        "file": suffix,
        "library": library,
        "milliseconds": {"median": 1e3 * median(own), "min": 1e3 * min(own), "max": 1e3 * max(own)},
        "times_faster_than": {name: {"median": median(r), "min": min(r), "max": max(r)} for name, r in against.items()},
        "file_megabytes": file.stat().st_size / 1e6,
        "equal": bool(np.array_equal(found, voxels)),
        "peak_megabytes_above_volume": peak(operation, suffix, library),
    }


def in_order(other: str, library: str) -> str:
    """Volumes in C order are compared with nibabel's writing of one."""
    return f"{other}, C order" if other == "nibabel" and "C order" in library else other


def peak(operation: str, suffix: str, library: str) -> float:
    """Peak memory of one call in a fresh process, above what it holds just before and the volume itself."""
    command = [sys.executable, __file__, "--peak", operation, suffix, library]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(operation: str, suffix: str, library: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        voxels = volume()
        for call in readers_and_writers(voxels[:8, :8, :8], Path(name)).values():
            call()
        calls = readers_and_writers(voxels, Path(name))
        if operation == "read":
            calls["write", suffix, "medjax" if library == "medjax" else "nibabel"]()
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak (Linux)
        before = status("VmRSS")
        result = calls[operation, suffix, library]()  # kept until the peak is known
        print((status("VmHWM") - before - (0 if result is None else voxels.nbytes)) / 1e6)


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{'':6}{'file':8}{'library':24}{'ms (range)':>20}{'x nibabel':>18}{'x SimpleITK':>18}{'MB':>7}{'equal':>7}{'peak MB':>9}"
    ]
    for each in rows:
        ms, ratios = each["milliseconds"], each["times_faster_than"]
        cells = [f"{ms['median']:.0f} ({ms['min']:.0f}-{ms['max']:.0f})"]
        cells += [f"{r['median']:.1f} ({r['min']:.1f}-{r['max']:.1f})" for r in ratios.values()]
        lines.append(
            f"{each['operation']:6}{each['file']:8}{each['library']:24}{cells[0]:>20}{cells[1]:>18}{cells[2]:>18}"
            f"{each['file_megabytes']:7.0f}{each['equal']!s:>7}{each['peak_megabytes_above_volume']:9.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        print_peak(*sys.argv[2:])
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rows = measure(rounds)
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "rounds": rounds,
        "megabytes": np.prod(SHAPE).item() * 2 / 1e6,
        "versions": {
            "python": platform.python_version(),
            "nibabel": nib.__version__,
            "SimpleITK": sitk.Version.VersionString(),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
