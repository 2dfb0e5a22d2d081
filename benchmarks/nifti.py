"""Reading and writing NIfTI: medjax, nibabel and SimpleITK on a 150 MB int16 volume.

Run: `python benchmarks/nifti.py [rounds]`. Prints a table and writes `benchmarks/results/nifti.json`. The libraries take turns, so that
whatever else the machine does hits all of them; the file cache is warm. "median" is over the rounds, the ratios and
their range are formed within a round. Every row says whether the voxels came back equal, and how much memory it took
above the volume (the peak of a process of its own).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from harness import cell, faster, in_fresh_process, in_turns, peak_bytes, save, spread

import medjax as mj

SHAPE = (512, 512, 300)
WRITERS = ("medjax", "medjax, C order", "nibabel", "nibabel, C order", "SimpleITK")


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
        found_ms = writes_then_reads(calls, rounds)
        return [row(key, found_ms, calls[key], folder, voxels) for key in calls]


def writes_then_reads(calls: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, list[float]]:
    """Milliseconds of calls whose keys begin with "write" or "read"; all are made once first, for the files to be read."""
    for call in calls.values():
        call()
    found_ms = {}
    for operation in ("write", "read"):
        os.sync()  # or the disk is still busy with what was written before
        found_ms |= in_turns({key: call for key, call in calls.items() if key[0] == operation}, rounds, warm=False)
    return found_ms


def row(
    key: tuple[str, str, str], found_ms: dict[Any, list[float]], call: Any, folder: Path, voxels: np.ndarray
) -> dict[str, Any]:
    operation, suffix, library = key
    own = found_ms[key]
    against = {
        other: faster(own, found_ms[operation, suffix, in_order(other, library)]) for other in ("nibabel", "SimpleITK")
    }
    name = library if operation == "write" or library == "medjax" else "nibabel"
    file = folder / suffix[1:] / f"{name}{suffix}"
    found = mj.load_image(file).voxels if operation == "write" else call()
    found = sitk.GetArrayFromImage(found).T if isinstance(found, sitk.Image) else found
    return {
        "operation": operation,
        "file": suffix,
        "library": library,
        "milliseconds": spread(own),
        "times_faster_than": against,
        "file_megabytes": file.stat().st_size / 1e6,
        "equal": bool(np.array_equal(found, voxels)),
        "peak_megabytes_above_volume": in_fresh_process(__file__, operation, suffix, library),
    }


def in_order(other: str, library: str) -> str:
    """Volumes in C order are compared with nibabel's writing of one."""
    return f"{other}, C order" if other == "nibabel" and "C order" in library else other


def print_peak(operation: str, suffix: str, library: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        voxels = volume()
        for call in readers_and_writers(voxels[:8, :8, :8], Path(name)).values():
            call()
        calls = readers_and_writers(voxels, Path(name))
        if operation == "read":
            calls["write", suffix, "medjax" if library == "medjax" else "nibabel"]()
        peak, result = peak_bytes(calls[operation, suffix, library])
        print((peak - (0 if result is None else voxels.nbytes)) / 1e6)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{'':6}{'file':8}{'library':24}{'ms (range)':>20}{'x nibabel':>18}{'x SimpleITK':>18}{'MB':>7}{'equal':>7}{'peak MB':>9}"
    ]
    for each in rows:
        cells = [cell(each["milliseconds"], 0), *(cell(ratio, 1) for ratio in each["times_faster_than"].values())]
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
    save("nifti", rows, rounds=rounds, megabytes=np.prod(SHAPE).item() * 2 / 1e6)
    print(table(rows))


if __name__ == "__main__":
    main()
