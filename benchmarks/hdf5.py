"""The HDF5 store beside plain h5py, SimpleITK's HDF5 and nibabel's .nii.gz: write, read, and read a box of 64^3 voxels.

Run: `python benchmarks/hdf5.py [rounds]`. Prints a table and writes `benchmarks/results/hdf5.json`. The volume has 157 MB of
int16. The contenders take turns, so that whatever else the machine does hits all of them; the file cache is warm, and a
write does not wait for the disk except where the library does (medjax flushes). "median" is over the rounds; the ratios
and their range are formed within a round. Every row says whether the voxels came back equal, and the memory that it took
above the volume or box (the peak of a process of its own).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import SimpleITK as sitk
from harness import cell, faster, in_fresh_process, in_turns, peak_bytes, save, spread

import medjax as mj
from medjax import io

SHAPE = (512, 512, 300)
START, SIZE = (200, 210, 120), (64, 64, 64)
BASELINES = ("nibabel .nii.gz", "SimpleITK .h5", "h5py gzip")

Call = Callable[[np.ndarray, str], Any]


def volume() -> np.ndarray:
    """A smooth field with noise, int16, which gzip halves, as it does CT; i runs fastest, as in scanners' files."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, n, dtype=np.float32) for n in SHAPE), indexing="ij", sparse=True)
    smooth = 600 * np.sin(9 * i + 2 * k) * np.cos(7 * j) + 300 * np.sin(23 * k + 5 * j)
    noise = np.random.default_rng(0).normal(0, 0.8, SHAPE).astype(np.float32)
    return np.asfortranarray((smooth + noise).astype(np.int16))


def box_of(voxels: Any) -> Any:
    return voxels[tuple(slice(a, a + n) for a, n in zip(START, SIZE, strict=True))]


def writer(compression: Any) -> Call:
    def call(voxels: np.ndarray, path: str) -> None:
        Path(path).unlink(missing_ok=True)
        io.save_hdf5(path, mj.Image.from_array(voxels), name="a", compression=compression)

    return call


def h5py_write(voxels: np.ndarray, path: str) -> None:
    with h5py.File(path, "w") as file:
        options: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        file.create_dataset("a", data=voxels.T, chunks=(16, 128, 128), **options)


def h5py_read(voxels: np.ndarray, path: str) -> np.ndarray:
    with h5py.File(path) as file:
        return file["a"][()].T


def h5py_box(voxels: np.ndarray, path: str) -> np.ndarray:
    with h5py.File(path) as file:
        return file["a"][tuple(slice(a, a + n) for a, n in zip(START[::-1], SIZE[::-1], strict=True))].T


def itk_box(voxels: np.ndarray, path: str) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    reader.SetExtractIndex(START)
    reader.SetExtractSize(SIZE)
    return sitk.GetArrayFromImage(reader.Execute()).T


def contenders() -> dict[str, tuple[str, Call, Call, Call]]:
    """For each library: the file's name, and how it writes, reads and reads a box."""

    def load(voxels: np.ndarray, path: str) -> np.ndarray:
        return io.load_hdf5(path, name="a").voxels

    def load_box(voxels: np.ndarray, path: str) -> np.ndarray:
        return io.load_hdf5(path, name="a", start=START, size=SIZE).voxels

    held: dict[str, sitk.Image] = {}

    def itk_write(voxels: np.ndarray, path: str) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(voxels.T), path, useCompression=True)

    def itk_read(voxels: np.ndarray, path: str) -> np.ndarray:
        held["image"] = sitk.ReadImage(path)  # the view below does not keep it
        return sitk.GetArrayViewFromImage(held["image"]).T

    def nib_write(voxels: np.ndarray, path: str) -> None:
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)  # type: ignore[attr-defined]

    def nib_read(voxels: np.ndarray, path: str) -> np.ndarray:
        return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]

    def nib_box(voxels: np.ndarray, path: str) -> np.ndarray:
        return box_of(nib.load(path).dataobj)  # type: ignore[attr-defined]

    return {
        "medjax gzip": ("gzip.h5", writer("gzip"), load, load_box),
        "medjax blosc": ("blosc.h5", writer("blosc"), load, load_box),
        "medjax lzf": ("lzf.h5", writer("lzf"), load, load_box),
        "medjax uncompressed": ("raw.h5", writer(None), load, load_box),
        "h5py gzip": ("h5py.h5", h5py_write, h5py_read, h5py_box),
        "SimpleITK .h5": ("sitk.h5", itk_write, itk_read, itk_box),
        "nibabel .nii.gz": ("nibabel.nii.gz", nib_write, nib_read, nib_box),
    }


OPERATIONS = ("write", "read", "box")


def measure(rounds: int) -> list[dict[str, Any]]:
    voxels, libraries = volume(), contenders()
    with tempfile.TemporaryDirectory() as folder:
        path = {name: str(Path(folder) / file) for name, (file, *_) in libraries.items()}
        found_ms: dict[tuple[str, str], list[float]] = {}
        for number, operation in enumerate(OPERATIONS):
            calls = {(operation, n): partial(library[1 + number], voxels, path[n]) for n, library in libraries.items()}
            found_ms |= in_turns(calls, rounds)
            os.sync()  # or the disk is still busy with what was written before
        rows = []
        for operation in OPERATIONS:
            for name, (_, _, read, read_box) in libraries.items():
                found = (read_box if operation == "box" else read)(voxels, path[name])
                is_equal = np.array_equal(found, box_of(voxels) if operation == "box" else voxels)
                rows.append(row(operation, name, found_ms, is_equal, path[name]))
        return rows


def row(operation: str, name: str, found_ms: dict[Any, list[float]], is_equal: bool, path: str) -> dict[str, Any]:
    own = found_ms[operation, name]
    return {
        "operation": operation,
        "library": name,
        "milliseconds": spread(own),
        "times_faster_than": {other: faster(own, found_ms[operation, other]) for other in BASELINES},
        "file_megabytes": Path(path).stat().st_size / 1e6,
        "equal": bool(is_equal),
        "peak_megabytes_above_volume": in_fresh_process(__file__, operation, name, path),
    }


def print_peak(operation: str, name: str, path: str) -> None:
    """Runs one call and prints its peak in MB, less the voxels it returns; the volume is made before, where it is written, and counts as there."""
    _, *calls = contenders()[name]
    call = calls[OPERATIONS.index(operation)]
    if operation == "write":
        voxels, path = volume(), str(Path(path).with_name(f"peak-{Path(path).name}"))
        returned = 0
    else:
        voxels, returned = np.zeros(0, np.int16), 2 * int(np.prod(SIZE if operation == "box" else SHAPE))
    with tempfile.TemporaryDirectory() as folder:  # imports do not count
        for compression in ("gzip", "blosc"):
            writer(compression)(np.zeros((2, 2, 2), np.int16), f"{folder}/small.h5")
            io.load_hdf5(f"{folder}/small.h5")
    print(max(0, peak_bytes(partial(call, voxels, path))[0] - returned) / 1e6)
    if operation == "write":
        Path(path).unlink(missing_ok=True)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'':6}{'library':21}{'ms (range)':>20}" + "".join(f"{f'x {name}':>22}" for name in BASELINES)]
    lines[0] += f"{'MB':>6}{'equal':>7}{'peak MB':>9}"
    for each in rows:
        lines.append(
            f"{each['operation']:6}{each['library']:21}{cell(each['milliseconds'], 1):>20}"
            + "".join(f"{cell(ratio, 1):>22}" for ratio in each["times_faster_than"].values())
            + f"{each['file_megabytes']:6.0f}{each['equal']!s:>7}{each['peak_megabytes_above_volume']:9.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        print_peak(*sys.argv[2:])
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rows = measure(rounds)
    save("hdf5", rows, rounds=rounds, megabytes=np.prod(SHAPE).item() * 2 / 1e6)
    print(table(rows))


if __name__ == "__main__":
    main()
