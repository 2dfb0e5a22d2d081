"""The command line: `python -m medjax demo` resamples and reorients a real scan."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import medjax._show._figure as plot
from medjax._errors import MissingDependencyError
from medjax._image._image import Image
from medjax._optional import optional
from medjax._space._reorient import change_orientation
from medjax._space._resample import resample_to_spacing
from medjax.io._open import load_image, save_image

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m medjax", description="Medical images for JAX.")
    commands = parser.add_subparsers(dest="command", required=True)
    text = "resample a real oblique scan to 1 mm, reorient it to RAS, write it as NIfTI with a picture before and after"
    command = commands.add_parser("demo", help=text, description=text)
    command.add_argument("--output", type=Path, default=Path("demo"), help="folder to write to (default: demo)")
    try:
        demo(parser.parse_args(arguments).output)
    except (ImportError, MissingDependencyError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def demo(folder: Path) -> None:
    """Loads nibabel's oblique functional scan, makes it isotropic, reorients it to RAS, and prints the changes."""
    optional("matplotlib.figure", "the demo's picture")  # before anything is written
    source = example_scan()
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        scan, load_seconds = timed(lambda: load_image(source))
    before = scan.with_voxels(scan.voxels[..., 0])  # 4-D: the first of two time points is enough

    def job(image: Image) -> Image:
        return change_orientation(resample_to_spacing(image, 1.0), "RAS")

    after, first_seconds = timed(lambda: job(before))
    _, again_seconds = timed(lambda: job(before))

    folder.mkdir(parents=True, exist_ok=True)
    nifti, picture = folder / "example4d_1mm_RAS.nii.gz", folder / "before_and_after.png"
    _, save_seconds = timed(lambda: save_image(after, nifti))
    plot.save_comparison(before, after, picture)

    print(f"{source.name}, a functional MR scan that nibabel carries: first of {scan.channels[0]} volumes")
    for note in notes:
        print(f"note: {str(note.message).removeprefix(f'{source}: ')}")
    print(f"\n{table(before, after)}\n")
    print(f"seconds      load {load_seconds:.3f}, resample and reorient {again_seconds:.3f}, save {save_seconds:.3f}")
    print(
        f"             (the first call compiled for {first_seconds - again_seconds:.2f}: once per shape, not per scan)"
    )
    print(f"\nwrote {nifti}\n      {picture}")


def example_scan() -> Path:
    """Returns the path of an oblique scan of 2 x 2 x 2.2 mm inside the installed nibabel package."""
    spec = importlib.util.find_spec("nibabel")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the demo takes its scan from nibabel: pip install nibabel")
    return Path(spec.origin).parent / "tests" / "data" / "example4d.nii.gz"


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Returns a function's result after its computation has finished, and the seconds that it took."""
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - start


def table(before: Image, after: Image) -> str:
    """Returns a table of the changes, with a row for each property."""
    rows = [("", "before", "after")]
    rows += [(name, describe(before), describe(after)) for name, describe in PROPERTIES.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _joined(values: Any, digits: str = ".4g") -> str:
    return " x ".join(f"{value:{digits}}" for value in values)


PROPERTIES: dict[str, Callable[[Image], str]] = {
    "size": lambda image: _joined(image.shape, "d"),
    "spacing, mm": lambda image: _joined(image.spacing),
    "origin, LPS": lambda image: ", ".join(f"{x:.2f}" for x in image.origin),
    "orientation": lambda image: f"{image.orientation}, {obliquity(image):.1f} degrees oblique",
    "range": lambda image: f"{np.min(image.voxels):.5g} to {np.max(image.voxels):.5g} ({image.dtype})",
}


def obliquity(image: Image) -> float:
    """Returns the largest angle in degrees between an image axis and the anatomical axis nearest to it."""
    cosines = np.abs(image.direction).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, 0, 1))).max())
