"""`medjax demo`: a real oblique scan, resampled and reoriented, with a picture before and after."""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import DONE, USAGE, Failure, writing
from medjax._cli._files import check_writable
from medjax._cli._talk import Talk
from medjax._errors import printable

__all__ = ["example_scan", "parser", "run"]

_STEPS = "resample:1 reorient:RAS"


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line)
    made.add_argument("-o", "--output", default="demo", metavar="FOLDER", help="folder to write to (default: demo)")
    made.add_argument("-f", "--force", action="store_true", help="overwrite the two files")
    return made


def run(options: Any, talk: Talk) -> int:
    folder = Path(options.output)
    nifti, picture = folder / "example4d_1mm_RAS.nii.gz", folder / "before_and_after.png"
    for path in (nifti, picture):
        check_writable(str(path), force=options.force)
    demo(folder, nifti, picture, talk)
    return DONE


def demo(folder: Path, nifti: Path, picture: Path, talk: Talk) -> None:
    """Loads nibabel's oblique functional scan, makes it isotropic, reorients it to RAS, and prints the changes."""
    from medjax._optional import optional

    optional("matplotlib.figure", "the demo's picture")  # before anything is written
    from medjax._pipeline._pipeline import Pipeline
    from medjax._show._figure import save_comparison
    from medjax.io._open import load_image, save_image

    source = _known_scan()
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        scan, load_seconds = timed(lambda: load_image(source))
    before = scan.with_voxels(scan.voxels[..., 0])  # 4-D: the first of two time points is enough
    job = Pipeline.of(_STEPS)
    after, first_seconds = timed(lambda: job(before))
    _, again_seconds = timed(lambda: job(before))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _, save_seconds = timed(lambda: save_image(after, nifti))
        save_comparison(before, after, picture)

    talk.out(f"{source.name}, a functional MR scan that nibabel carries: first of {scan.channels[0]} volumes")
    for note in notes:
        talk.out(f"note: {str(note.message).removeprefix(f'{source}: ')}")
    talk.out(f"\nmedjax apply {source.name} {nifti.name} {_STEPS}\n\n{table(before, after)}\n")
    talk.out(
        f"seconds      load {load_seconds:.3f}, resample and reorient {again_seconds:.3f}, save {save_seconds:.3f}\n"
        f"             (the first call took {first_seconds - again_seconds:.2f} more: programs are compiled once)"
    )
    talk.out(f"\nwrote {printable(str(nifti))}\n      {printable(str(picture))}")


def _known_scan() -> Path:
    try:
        return example_scan()
    except ModuleNotFoundError as error:
        raise Failure(USAGE, str(error)) from error


def example_scan() -> Path:
    """Returns the path of an oblique scan of 2 x 2 x 2.2 mm inside the installed nibabel package."""
    spec = importlib.util.find_spec("nibabel")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the demo takes its scan from nibabel: pip install nibabel")
    return Path(spec.origin).parent / "tests" / "data" / "example4d.nii.gz"


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Returns a function's result after its computation has finished, and the seconds that it took."""
    import jax

    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - start


def table(before: Any, after: Any) -> str:
    """Returns a table of the changes, with a row for each property."""
    rows = [("", "before", "after")]
    rows += [(name, describe(before), describe(after)) for name, describe in PROPERTIES.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _joined(values: Any, digits: str = ".4g") -> str:
    return " x ".join(f"{value:{digits}}" for value in values)


PROPERTIES: dict[str, Callable[[Any], str]] = {
    "size": lambda image: _joined(image.shape, "d"),
    "spacing, mm": lambda image: _joined(image.spacing),
    "origin, LPS": lambda image: ", ".join(f"{x:.2f}" for x in image.origin),
    "orientation": lambda image: f"{image.orientation}, {obliquity(image):.1f} degrees oblique",
    "range": lambda image: f"{image.voxels.min():.5g} to {image.voxels.max():.5g} ({image.dtype})",
}


def obliquity(image: Any) -> float:
    """Returns the largest angle in degrees between an image axis and the anatomical axis nearest to it."""
    import numpy as np

    cosines = np.abs(image.direction).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, 0, 1))).max())
