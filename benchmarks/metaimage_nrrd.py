"""Reading and writing MetaImage and NRRD: medjax, SimpleITK and pynrrd on a 157 MB int16 volume.

Run: `python benchmarks/metaimage_nrrd.py [rounds]`. Prints a table and writes `benchmarks/results/metaimage_nrrd.json`.
The libraries take turns, so that whatever else the machine does hits all of them; the file cache is warm. Ratios are
formed within a round: median (range) over the rounds. Every row says whether the voxels came back equal through the
other library, and how much memory the call took above the volume (the peak of a process of its own). Uncompressed files
are written at the speed of the disk: medjax waits until they are on it, SimpleITK does not; "not flushed" leaves that out.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import SimpleITK as sitk
from harness import cell, faster, in_fresh_process, peak_bytes, save, spread
from nifti import volume, writes_then_reads

import medjax as mj
from medjax.io._disk import _atomic

KINDS = {
    "mha, zlib": (".mha", True),
    "mha, raw": (".mha", False),
    "nrrd, gzip": (".nrrd", True),
    "nrrd, raw": (".nrrd", False),
}
Key = tuple[str, str, str]


def read_with_medjax(path: str) -> np.ndarray:
    return mj.load_image(path).voxels


def read_with_pynrrd(path: str) -> np.ndarray:
    return nrrd.read(path)[0]


def save_unflushed(image: mj.Image, path: str, compress: bool) -> None:
    """What waiting for the disk costs is seen by leaving it out."""
    kept, _atomic.flush = _atomic.flush, lambda path: None
    try:
        mj.save_image(image, path, compress=compress)
    finally:
        _atomic.flush = kept


def calls_of(voxels: np.ndarray, folder: Path) -> dict[Key, Callable[[], Any]]:
    """One call for each (operation, file, library). All read SimpleITK's file; each writes its own."""
    ours, itk = mj.Image.from_array(voxels), sitk.GetImageFromArray(voxels.T)
    from_c = mj.Image.from_array(np.ascontiguousarray(voxels))
    calls: dict[Key, Callable[[], Any]] = {}
    for kind, (suffix, compress) in KINDS.items():
        name = kind.replace(", ", "-")
        ours_path, c_path, itk_path = (str(folder / f"{library}-{name}{suffix}") for library in ("medjax", "c", "itk"))
        calls |= {
            ("write", kind, "SimpleITK"): partial(sitk.WriteImage, itk, itk_path, useCompression=compress),
            ("write", kind, "medjax"): partial(mj.save_image, ours, ours_path, compress=compress),
            ("write", kind, "medjax, not flushed"): partial(save_unflushed, ours, ours_path, compress),
            ("write", kind, "medjax, C order"): partial(mj.save_image, from_c, c_path, compress=compress),
            ("write", kind, "medjax, C order, not flushed"): partial(save_unflushed, from_c, c_path, compress),
            ("read", kind, "SimpleITK"): partial(sitk.ReadImage, itk_path),
            ("read", kind, "medjax"): partial(read_with_medjax, itk_path),
        }
        if suffix == ".nrrd":
            calls["read", kind, "pynrrd"] = partial(read_with_pynrrd, itk_path)
    return calls


def is_equal(key: Key, call: Callable[[], Any], folder: Path, voxels: np.ndarray) -> bool:
    """What was written is read by SimpleITK, what is read is compared as it is."""
    operation, kind, library = key
    if operation == "read":
        found = call()
    else:
        prefix = "itk" if library == "SimpleITK" else "c" if "C order" in library else "medjax"
        found = sitk.ReadImage(str(folder / f"{prefix}-{kind.replace(', ', '-')}{KINDS[kind][0]}"))
    array = sitk.GetArrayFromImage(found).T if isinstance(found, sitk.Image) else found
    return bool(np.array_equal(array, voxels))


def measure(rounds: int) -> list[dict[str, Any]]:
    voxels = volume()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calls = calls_of(voxels, folder)
        found_ms = writes_then_reads(calls, rounds)
        sizes = {
            kind: (folder / f"medjax-{kind.replace(', ', '-')}{suffix}").stat().st_size
            for kind, (suffix, _) in KINDS.items()
        }
        return [row(key, found_ms, sizes, is_equal(key, calls[key], folder, voxels)) for key in calls]


def row(key: Key, found_ms: dict[Key, list[float]], sizes: dict[str, int], equal: bool) -> dict[str, Any]:
    operation, kind, library = key
    return {
        "operation": operation,
        "file": kind,
        "library": library,
        "milliseconds": spread(found_ms[key]),
        "times_faster_than_SimpleITK": faster(found_ms[key], found_ms[operation, kind, "SimpleITK"]),
        "medjax_file_megabytes": sizes[kind] / 1e6,
        "equal": equal,
        "peak_megabytes_above_volume": in_fresh_process(__file__, *key),
    }


def print_peak(operation: str, kind: str, library: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        voxels = volume()
        for call in calls_of(voxels[:8, :8, :8], Path(name)).values():
            call()
        calls = calls_of(voxels, Path(name))
        if operation == "read":
            calls["write", kind, "SimpleITK"]()
        peak, result = peak_bytes(calls[operation, kind, library])
        print((peak - (0 if result is None else voxels.nbytes)) / 1e6)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'':6}{'file':12}{'library':30}{'ms (range)':>20}{'x SimpleITK':>18}{'MB':>6}{'equal':>7}{'peak MB':>9}"]
    for each in rows:
        ms, ratio = each["milliseconds"], each["times_faster_than_SimpleITK"]
        lines.append(
            f"{each['operation']:6}{each['file']:12}{each['library']:30}{cell(ms, 0):>20}{cell(ratio, 1):>18}"
            f"{each['medjax_file_megabytes']:6.0f}{each['equal']!s:>7}{each['peak_megabytes_above_volume']:9.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        print_peak(*sys.argv[2:])
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rows = measure(rounds)
    save("metaimage_nrrd", rows, rounds=rounds)
    print(table(rows))


if __name__ == "__main__":
    main()
