"""`medjax segstats`: a row of measures for every label of a segmentation."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._commands import COMMANDS
from medjax._cli._device import use_device
from medjax._cli._failure import UNREADABLE, USAGE, Failure
from medjax._cli._files import one_input
from medjax._cli._talk import Talk
from medjax._errors import printable

__all__ = ["parser", "run"]

_PLACE = ("voxels", "ml", "centroid_l", "centroid_p", "centroid_s")
_VALUES = ("mean", "sd", "min", "max", "p05", "p50", "p95")
_SUV = ("suv_peak", "tlg_g")


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line)
    made.add_argument("images", nargs="+", metavar="SEG [IMAGE]", help="a label map, and an image on its grid")
    made.takes_json()
    made.takes_device()
    made.add_argument("--csv", action="store_true", help="a table with commas")
    made.add_argument("--suv", action="store_true", help="IMAGE is a PET: convert it to SUV, and add SUVpeak and TLG")
    made.add_argument("--names", metavar="CSV", help="names of labels: lines of label,name")
    return made


def run(options: Any, talk: Talk) -> int:
    if len(options.images) > 2:
        raise Failure(USAGE, f"one label map and one image are taken, {len(options.images)} are given")
    if options.json and options.csv:
        raise Failure(USAGE, "--json and --csv exclude each other")
    if options.suv and len(options.images) < 2:
        raise Failure(USAGE, "--suv needs the PET as IMAGE")
    paths = [one_input(path) for path in options.images]
    names = _names(options.names)
    use_device(options.device)
    from medjax._cli._chain import label_map
    from medjax.io._open import load_image

    labels = label_map(paths[0])
    if labels.channels:
        raise ValueError(f"{paths[0]}: the label map has channels {labels.channels}; one value a voxel is measured")
    image = load_image(paths[1]) if len(paths) > 1 else None
    if image is not None and options.suv:
        image = _as_suv(image, paths[1])
    rows = _measured(labels, image, paths, is_suv=options.suv)
    for row in rows:
        row["name"] = names.get(row["label"], "")
    _say(rows, options, talk, paths)
    return 0


def _names(path: str | None) -> dict[int, str]:
    if path is None:
        return {}
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    if rows and not rows[0][0].strip().lstrip("-").isdigit():
        rows = rows[1:]  # a heading
    try:
        return {int(row[0]): row[1].strip() for row in rows}
    except (ValueError, IndexError):
        raise Failure(UNREADABLE, f"{printable(path)}: is no list of label,name", "one label a line: 1,liver") from None


def _as_suv(image: Any, path: str) -> Any:
    from medjax._pet import to_suv
    from medjax._pet._factor import holds_suv

    if image.metadata is not None and holds_suv(image.metadata):
        return image
    try:
        return to_suv(image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _measured(labels: Any, image: Any, paths: list[str], *, is_suv: bool) -> list[dict[str, Any]]:
    """A row for each label that is there, but 0; labels are numbered anew, so that a large one costs no memory."""
    import numpy as np

    from medjax._geometry._grid import voxel_volume

    voxels = np.asarray(labels.voxels)
    found, places = np.unique(voxels, return_inverse=True)
    places = places.reshape(voxels.shape).astype(np.int32)
    counts = np.bincount(places.ravel(), minlength=len(found))
    volume = float(voxel_volume(labels.grid.affine)) / 1000
    centres = [_centre(places, number, labels.grid) for number in range(len(found))]
    measures: dict[str, Any] = {}
    if image is not None:
        measures = _values(image, labels.with_voxels(places), len(found), paths, is_suv=is_suv)
    rows = []
    for number, label in enumerate(found.tolist()):
        if label == 0:
            continue
        row = {"label": label, "name": "", "voxels": int(counts[number]), "ml": counts[number] * volume}
        row |= dict(zip(_PLACE[2:], centres[number], strict=True))
        rows.append(row | {name: float(value[number]) for name, value in measures.items()})
    return rows


def _centre(places: Any, number: int, grid: Any) -> list[float]:
    import numpy as np

    inside = places == number
    weights = [inside.sum(axis=tuple(d for d in range(3) if d != axis)) for axis in range(3)]
    index = [float((np.arange(len(w)) * w).sum() / w.sum()) for w in weights]
    return [float(x) for x in grid.world(index)]


def _values(image: Any, labels: Any, classes: int, paths: list[str], *, is_suv: bool) -> dict[str, Any]:
    import numpy as np

    from medjax._mask import region_statistics

    try:
        found = region_statistics(image, labels, num_classes=classes, percentiles=(5, 50, 95))
    except ValueError as error:
        raise ValueError(f"{paths[1]}: {error}".replace("mask", "label map", 1)) from error
    if image.channels:
        raise ValueError(f"{paths[1]}: the image has channels {image.channels}; one value a voxel is measured")
    shares = np.asarray(found.percentiles)
    values = {
        "mean": found.mean,
        "sd": found.std,
        "min": found.min,
        "max": found.max,
        "p05": shares[..., 0],
        "p50": shares[..., 1],
        "p95": shares[..., 2],
    }
    if is_suv:
        from medjax._pet import suv_statistics

        uptake = suv_statistics(image, labels, num_classes=classes)
        values |= {"suv_peak": uptake.peak, "tlg_g": uptake.tlg_g}
    return {name: np.asarray(value) for name, value in values.items()}


def _say(rows: list[dict[str, Any]], options: Any, talk: Talk, paths: list[str]) -> None:
    columns = ["label", "name", *_PLACE]
    columns += _VALUES if len(paths) > 1 else ()
    columns += _SUV if options.suv else ()
    if options.json:
        for row in rows:
            talk.json(
                "medjax.segstats/1",
                path=paths[0],
                image=paths[1] if paths[1:] else None,
                **{n: row[n] for n in columns},
            )
    elif options.csv:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([[row[name] for name in columns] for row in rows])
        talk.out(text.getvalue().rstrip("\n"))
    else:
        shown = [name for name in columns if name != "name" or any(row["name"] for row in rows)]
        cells = [[_cell(row[name]) for name in shown] for row in rows]
        talk.table([shown, *cells], right=[n for n, name in enumerate(shown) if name != "name"])


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else printable(str(value))
