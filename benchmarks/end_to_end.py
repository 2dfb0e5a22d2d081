"""Load a .nii.gz, resample to 1 mm, save a .nii.gz: a CT of 384x384x160 int16 at 0.7x0.7x1.5 mm, beside SimpleITK and TorchIO.

Run: `python benchmarks/end_to_end.py [rounds]`. The whole pipeline through public calls, medians of rounds in which the
libraries take turns; the file cache is warm. Every library makes 269x269x240 voxels (TorchIO, which rounds down, 268x268x240)
with linear interpolation and saves them as float32, or as int16 again (here by `cast` inside `fuse`). medjax alone waits
until the file is on the disk.
"error" is the largest difference from SimpleITK's float32 voxels over their range. "steps" says where the milliseconds go;
"first call" is a fresh process, with what is imported on use and the compilation. Writes results/end_to_end.json.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import jax
import nibabel
import numpy as np
from harness import Row, measured, optional, save

import medjax as mj
from medjax.io._disk import _atomic

sitk, torchio = (optional(name) for name in ("SimpleITK", "torchio"))

SHAPE, SPACING, FILL = (384, 384, 160), (0.7, 0.7, 1.5), -1000.0
DTYPES = ("float32", "int16")
MUST = {"SimpleITK": 4.0, "TorchIO": 3.0}


def write_ct(path: Path) -> None:
    """A body in air, in Hounsfield units, with noise: gzip shrinks it to a third."""
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE), indexing="ij", sparse=True)
    inside = 300 * np.sin(9 * i + 2 * k) * np.cos(7 * j) + 60 * np.sin(23 * k + 5 * j)
    noise = np.random.default_rng(0).normal(0, 8, SHAPE).astype(np.float32)
    voxels = np.where(i**2 + 1.5 * j**2 < 0.8 + 0.1 * k, inside + noise, FILL)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    affine[:3, 3] = 134, 134, 20
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), affine), path)  # none of the contenders' files


@mj.fuse
def to_millimetres(image: mj.Image, dtype: str) -> mj.Image:
    return mj.cast(mj.resample_to_spacing(image, 1.0), dtype)


def with_medjax(source: Path, target: Path, dtype: str) -> None:
    mj.save_image(to_millimetres(mj.load_image(source), dtype), target)


def with_simpleitk(source: Path, target: Path, dtype: str) -> None:
    """The usual recipe; the centre of the field of view stays, as in the others."""
    image = sitk.ReadImage(str(source))
    extent = np.multiply(image.GetSize(), image.GetSpacing())
    size = np.round(extent).astype(int)
    first = image.TransformContinuousIndexToPhysicalPoint(
        ((extent - size + 1) / 2 / image.GetSpacing() - 0.5).tolist()  # index of the new first voxel's centre
    )
    pixel = sitk.sitkFloat32 if dtype == "float32" else sitk.sitkInt16
    options = (sitk.Transform(), sitk.sitkLinear, first, (1.0, 1.0, 1.0), image.GetDirection(), FILL, pixel)
    sitk.WriteImage(sitk.Resample(image, size.tolist(), *options), str(target), useCompression=True)


def with_torchio(source: Path, target: Path, dtype: str) -> None:
    image = torchio.ScalarImage(source)
    if dtype == "float32":
        image.set_data(image.data.float())
    torchio.Resample(1.0)(image).save(target)


def steps(source: Path, target: Path, dtype: str, rounds: int) -> dict[str, float]:
    """Median milliseconds of each step, one after another."""
    seconds: dict[str, list[float]] = {}

    @contextlib.contextmanager
    def clock(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds.setdefault(name, []).append(time.perf_counter() - start)

    for _ in range(rounds):
        with clock("load"):
            image = mj.load_image(source)
        with clock("resample"):
            image = to_millimetres(image, dtype)
            jax.block_until_ready(image.voxels)
        with clock("save, without waiting for the disk"), not_flushed():
            mj.save_image(image, target)
        with clock("save"):
            mj.save_image(image, target)
    return {name: 1e3 * median(values) for name, values in seconds.items()}


@contextlib.contextmanager
def not_flushed() -> Iterator[None]:
    """What waiting for the disk costs is seen by leaving it out."""
    kept, _atomic.flush = _atomic.flush, lambda path: None
    try:
        yield
    finally:
        _atomic.flush = kept


def main() -> None:
    if sys.argv[1:2] == ["--first"]:
        start = time.perf_counter()
        with_medjax(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
        print(1e3 * (time.perf_counter() - start))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    more: dict[str, Any] = {"steps_ms": {}, "first_call_ms": {}, "file_megabytes": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "ct.nii.gz"
        write_ct(source)
        for dtype in DTYPES:
            title = f".nii.gz to 1 mm to .nii.gz, {dtype}"
            ours, itk, tio = (folder / f"{library}-{dtype}.nii.gz" for library in ("medjax", "sitk", "torchio"))
            peers: dict[str, Any] = {}
            if sitk is not None:
                with_simpleitk(source, itk, "float32")
                reference = mj.load_image(itk)
                peers["SimpleITK"] = lambda itk=itk, dtype=dtype: with_simpleitk(source, itk, dtype)
            if torchio is not None:
                peers["TorchIO"] = lambda tio=tio, dtype=dtype: with_torchio(source, tio, dtype)
            with_medjax(source, ours, dtype)
            error = None
            if sitk is not None:
                found = mj.load_image(ours)
                np.testing.assert_allclose(found.affine, reference.affine, atol=1e-4)
                error = float(np.abs(found.voxels - reference.voxels).max() / np.ptp(reference.voxels))
            rows.append(
                measured(
                    title,
                    lambda ours=ours, dtype=dtype: with_medjax(source, ours, dtype),
                    peers,
                    error=error,
                    must={name: MUST[name] for name in peers},
                    rounds=rounds,
                )
            )
            more["steps_ms"][dtype] = steps(source, ours, dtype, rounds)
            command = [sys.executable, __file__, "--first", str(source), str(ours), dtype]
            found_ms = [
                float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(3)
            ]
            more["first_call_ms"][dtype] = {"median": median(found_ms), "min": min(found_ms), "max": max(found_ms)}
            more["file_megabytes"][dtype] = {
                path.stem: path.stat().st_size / 1e6 for path in folder.glob(f"*-{dtype}.nii.gz")
            }
        more["source_megabytes"] = source.stat().st_size / 1e6
    print(json.dumps(more, indent=1))
    save("end_to_end", rows, **more)


if __name__ == "__main__":
    main()
