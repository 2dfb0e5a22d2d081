"""Headers of 1,000 small NIfTI files: `mj.io.inspect` beside nibabel's own loop over headers.

Run: `python benchmarks/headers.py [rounds]`. Prints a table and writes `benchmarks/results/headers.json`. The files lie in the cache and
the libraries take turns. Both give shape, dtype and the affine of every file; medjax also checks and keeps all other fields. The target is
at most 1.2 times nibabel's time. "forms" says whether the header states the sform alone, as nibabel writes it, or a qform as well,
as scanners' converters do; medjax compares the two.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from harness import faster, in_turns, save, spread

import medjax as mj

COUNT = 1000
TARGET = 1.2
FILES = list(itertools.product((".nii", ".nii.gz"), ("sform", "sform and qform")))


def made(folder: Path, suffix: str, forms: str) -> list[str]:
    """Small oblique scans, each at a place of its own."""
    paths = [str(folder / f"{number:04d}{suffix}") for number in range(COUNT)]
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.9, 0.9, 2.5)
    for number, path in enumerate(paths):
        affine[:3, 3] = number, -number, 2 * number
        scan = nib.Nifti1Image(np.zeros((8, 8, 4), np.int16), affine)
        if forms != "sform":
            scan.set_qform(affine, 1)
        nib.save(scan, path)
    return paths


def with_nibabel(paths: list[str]) -> list[Any]:
    loaded = ((nib.load(path)) for path in paths)
    return [(scan.shape, scan.get_data_dtype(), scan.affine, scan.header) for scan in loaded]  # type: ignore[attr-defined]


def with_medjax(paths: list[str]) -> list[Any]:
    return [mj.io.inspect(path) for path in paths]


def measure(rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        calls: dict[Any, Callable[[], Any]] = {}
        for number, (suffix, forms) in enumerate(FILES):
            folder = Path(name, str(number))
            folder.mkdir()
            paths = made(folder, suffix, forms)
            calls[suffix, forms, "medjax"] = partial(with_medjax, paths)
            calls[suffix, forms, "nibabel"] = partial(with_nibabel, paths)
        found_ms = in_turns(calls, rounds)
        return [row(suffix, forms, calls, found_ms) for suffix, forms in FILES]


def row(
    suffix: str, forms: str, calls: dict[Any, Callable[[], Any]], found_ms: dict[Any, list[float]]
) -> dict[str, Any]:
    own, theirs = (found_ms[suffix, forms, library] for library in ("medjax", "nibabel"))
    pairs = zip(calls[suffix, forms, "medjax"](), calls[suffix, forms, "nibabel"](), strict=True)
    return {
        "file": suffix,
        "forms": forms,
        "milliseconds": spread(own),
        "nibabel_milliseconds": spread(theirs),
        "times_faster_than_nibabel": faster(own, theirs),
        "of_nibabels_time": 1 / faster(own, theirs)["median"],
        "most": TARGET,
        "equal": all(is_same(header, found) for header, found in pairs),
    }


def is_same(header: mj.io.ImageHeader, found: Any) -> bool:
    shape, dtype, affine, _ = found
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ header.affine
    return (header.shape, header.dtype) == (shape, dtype) and bool(np.allclose(ras, affine, atol=1e-6))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'file':9}{'forms':18}{'ms':>8}{'nibabel ms':>12}{'of its time':>13}{'equal':>7}"]
    lines += [
        f"{each['file']:9}{each['forms']:18}{each['milliseconds']['median']:8.0f}"
        f"{each['nibabel_milliseconds']['median']:12.0f}{each['of_nibabels_time']:13.2f}{each['equal']!s:>7}"
        for each in rows
    ]
    return "\n".join(lines)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    rows = measure(rounds)
    print(f"{COUNT} headers, {rounds} rounds, at most {TARGET} of nibabel's time")
    print(table(rows))
    save("headers", rows, rounds=rounds, count=COUNT)


if __name__ == "__main__":
    main()
