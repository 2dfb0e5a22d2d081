"""`medjax info`: what files say of their images, without their voxels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import USAGE, Failure, explained
from medjax._cli._files import inputs_of
from medjax._cli._headers import header_of, size_on_disk
from medjax._cli._talk import Talk, for_each
from medjax._errors import printable

__all__ = ["parser", "run"]

FIELDS = ("shape", "spacing", "origin", "orientation", "affine", "dtype", "kind", "modality", "units", "channels")
SCHEMA = "medjax.info/1"


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line)
    made.takes_inputs()
    made.takes_json()
    made.add_argument("--field", choices=FIELDS, metavar="NAME", help=f"print a bare value: {', '.join(FIELDS)}")
    made.add_argument(
        "--frame", choices=("lps", "ras"), default="lps", help="world of origin and affine (default: lps)"
    )
    made.add_argument("--stats", action="store_true", help="read the voxels too: range, mean, percentiles, labels")
    made.add_argument("--header", action="store_true", help="all of the file's header")
    made.add_argument("--identity", action="store_true", help="with --header: do not withhold what names a patient")
    made.add_argument("-r", "--recursive", action="store_true", help="list every series in folders")
    return made


def run(options: Any, talk: Talk) -> int:
    paths = inputs_of(options.inputs, options)
    if options.identity and not options.header:
        raise Failure(USAGE, "--identity is for --header")
    if options.field and (options.json or options.header or options.stats):
        raise Failure(USAGE, "--field prints one bare value: leave out --json, --header and --stats")
    if options.recursive:
        return for_each(talk, paths, lambda path: _list_series(path, options, talk), workers=options.workers)
    is_table = len(paths) > 1 and not (options.json or options.field or options.header or options.stats)
    width = max(len(printable(path)) for path in paths)
    if is_table:
        talk.out(_row(width, "path", "shape", "spacing", "orientation", "dtype", "kind", "size", "notes"))

    def show(path: str) -> None:
        try:
            _show(path, options, talk, width if is_table else 0)
        except Exception as error:
            failure = explained(error, path)
            if options.json and failure is not None:
                talk.json(SCHEMA, path=path, error=failure.reason, hint=failure.hint)
            raise

    return for_each(talk, paths, show, workers=options.workers)


def _show(path: str, options: Any, talk: Talk, width: int) -> None:
    header = header_of(path)
    facts = _facts(header, options.frame)
    if options.field:
        talk.out(_bare(facts[options.field]))
        return
    shown: dict[str, Any] = {"path": path, **facts, "undecided": list(header.undecided)}
    shown["size_bytes"] = size_on_disk(path)
    if width:
        size = _bytes(shown["size_bytes"])
        spacing = "x".join(f"{x:.4g}" for x in header.spacing)
        notes = [header.metadata.modality, header.units, *(f"{name}?" for name in header.undecided)]
        note = printable(" ".join(text for text in notes if text))
        cells = (_shape(facts), spacing, facts["orientation"], facts["dtype"], facts["kind"], size, note)
        talk.out(_row(width, printable(path), *cells))
        return
    if options.stats:
        shown |= _statistics(path)
    if options.header:
        from medjax._cli._identity import withheld

        known = dict(header.metadata.extra)
        shown["header"] = known if options.identity else withheld(known)
    if options.json:
        talk.json(SCHEMA, **shown, frame=options.frame)
        return
    _block(shown, header, options, talk)


def _facts(header: Any, frame: str) -> dict[str, Any]:
    """The fields, in the order of `FIELDS`, by JSON's types."""
    from medjax._geometry._grid import lps_to_ras, origin_of

    affine = lps_to_ras(header.affine) if frame == "ras" else header.affine
    known = {
        "shape": list(header.shape),
        "spacing": list(header.spacing),
        "origin": origin_of(affine).tolist(),
        "orientation": header.orientation,
        "affine": affine.tolist(),
        "dtype": str(header.dtype),
        "kind": header.kind,
        "modality": header.metadata.modality,
        "units": header.units,
        "channels": list(header.channels),
    }
    return {name: known[name] for name in FIELDS}


def _bare(value: Any) -> str:
    """A value for scripts: numbers with commas, as the options take them; a matrix a row a line."""
    if isinstance(value, list):
        is_matrix = bool(value) and isinstance(value[0], list)
        return ("\n" if is_matrix else ",").join(_bare(one) for one in value)
    return "" if value is None else repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _shape(facts: Mapping[str, Any]) -> str:
    return "x".join(map(str, [*facts["shape"], *facts["channels"]]))


def _row(width: int, path: str, *cells: str) -> str:
    widths = (16, 19, 11, 8, 9, 9, 0)
    padded = (cell.ljust(room) for cell, room in zip(cells, widths, strict=True))
    return "  ".join([path.ljust(width), *padded]).rstrip()


def _bytes(count: int | None) -> str:
    if count is None:
        return "-"
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"


def _block(shown: Mapping[str, Any], header: Any, options: Any, talk: Talk) -> None:
    lines = [("path", printable(shown["path"]))]
    channels = f", {' x '.join(map(str, shown['channels']))} channels" if shown["channels"] else ""
    lines.append(("shape", " x ".join(map(str, shown["shape"])) + channels))
    lines += [
        ("spacing", " x ".join(f"{x:.6g}" for x in shown["spacing"]) + " mm"),
        ("origin", ", ".join(f"{x:.6g}" for x in shown["origin"]) + f" mm ({options.frame.upper()})"),
        ("orientation", f"{shown['orientation']}{_oblique(header.grid)}"),
    ]
    lines += [("dtype", shown["dtype"]), ("kind", shown["kind"])]
    lines += [(name, printable(str(shown[name]))) for name in ("modality", "units") if shown[name]]
    if header.undecided:
        lines.append(("undecided", f"{', '.join(header.undecided)}: the voxels may change it"))
    lines.append(("size", _bytes(shown["size_bytes"])))
    for name, value in shown.get("stats", {}).items():
        lines.append((name, _bare(value) if not isinstance(value, float) else f"{value:.6g}"))
    talk.table(lines)
    for name, value in shown.get("header", {}).items():
        talk.out(f"  {printable(str(name))}: {printable(str(value))}")


def _oblique(grid: Any) -> str:
    import numpy as np

    cosines = np.abs(grid.direction).max(axis=0)
    degrees = float(np.degrees(np.arccos(np.clip(cosines, 0, 1))).max())
    return f", {degrees:.1f} degrees oblique" if degrees > 0.05 else ""


def _statistics(path: str) -> dict[str, Any]:
    """What the voxels say; reads them."""
    import numpy as np

    from medjax.io._open import load_image

    image = load_image(path)
    voxels = np.asarray(image.voxels)
    if voxels.dtype.kind == "c":
        voxels = np.abs(voxels)
    is_finite = np.isfinite(voxels)
    values = voxels[is_finite]
    if not values.size:
        return {"stats": {"not finite": int(voxels.size)}}
    low, middle, high = np.percentile(values, (0.5, 50, 99.5)).tolist()
    found: dict[str, Any] = {
        "min": values.min().item(),
        "max": values.max().item(),
        "mean": float(values.mean(dtype=np.float64)),
        "p0.5": low,
        "p50": middle,
        "p99.5": high,
        "not finite": int(voxels.size - values.size),
    }
    if image.kind == "label":
        names, counts = np.unique(values, return_counts=True)
        found["labels"] = names.tolist()
        found["voxels of each"] = counts.tolist()
    return {"stats": found}


def _list_series(path: str, options: Any, talk: Talk) -> None:
    from medjax.io._dicom._list import list_dicom_series

    for series in list_dicom_series(path):
        fields = {
            "number": series.number,
            "modality": series.modality,
            "description": series.description,
            "files": series.files,
            "shape": list(series.shape),
            "spacing": series.spacing,
            "orientation": series.orientation,
            "stack": series.stack,
            "problem": series.problem,
        }
        if options.json:
            talk.json("medjax.series/1", path=path, **fields)
            continue
        shape, spacing = "x".join(map(str, series.shape)), "x".join(f"{x:.4g}" for x in series.spacing or ())
        row = [str(series.number or "-"), series.modality or "-", shape, spacing or "-", series.orientation or "-"]
        problem = f"  ! {printable(series.problem)}" if series.problem else ""
        named = f"  {printable(series.description)}" if series.description else ""
        talk.out("  ".join([printable(path), *row, f"{series.files} files"]) + named + problem)
