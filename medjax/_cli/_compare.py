"""`medjax compare`: what differs between two images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import ANSWER_NO, DONE, USAGE, Failure
from medjax._cli._files import one_input
from medjax._cli._talk import Talk
from medjax._errors import printable
from medjax._image._kind import Kind

__all__ = ["parser", "run"]


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line)
    made.add_argument("first", metavar="A", help="an image")
    made.add_argument("second", metavar="B", help="another one")
    made.takes_json()
    made.add_argument("--atol", type=float, default=0.0, help="voxels may differ by so much (default: 0)")
    made.add_argument("--rtol", type=float, default=0.0, help="and by this part of B's value (default: 0)")
    made.add_argument(
        "--geometry-atol", type=float, default=1e-3, metavar="MM", help="corners may lie so far apart (default: 0.001)"
    )
    made.add_argument("--labels", action="store_true", help="both are label maps: Dice, HD95 and volumes of each label")
    made.add_argument("--ignore-metadata", action="store_true", help="compare grid, type and voxels alone")
    return made


def run(options: Any, talk: Talk) -> int:
    if not min(options.atol, options.rtol, options.geometry_atol) >= 0:
        raise Failure(USAGE, "a tolerance is negative")
    first, second = (one_input(path) for path in (options.first, options.second))
    from medjax.io._open import load_image

    kind: Kind | None = "label" if options.labels else None
    a, b = (load_image(path, kind=kind) for path in (first, second))
    found: dict[str, Any] = {}
    same_shape = a.shape == b.shape and a.channels == b.channels
    if not same_shape:
        found["shape"] = {"a": [*a.shape, *a.channels], "b": [*b.shape, *b.channels]}
    apart = _apart(a, b) if a.shape == b.shape else None
    if apart is not None and not apart <= options.geometry_atol:
        found["grid"] = {"farthest_corner_mm": apart, "a": _grid(a), "b": _grid(b)}
    if a.dtype != b.dtype:
        found["dtype"] = {"a": str(a.dtype), "b": str(b.dtype)}
    if a.kind != b.kind:
        found["kind"] = {"a": a.kind, "b": b.kind}
    if same_shape:
        found |= _voxels(a, b, options)
    if not options.ignore_metadata:
        keys = _keys(a.metadata, b.metadata)
        if keys:
            found["metadata"] = keys
    labels = _labels(a, b, apart, options) if options.labels and same_shape else None
    _say(found, labels, options, talk, (first, second))
    return ANSWER_NO if found else DONE


def _grid(image: Any) -> dict[str, Any]:
    return {"spacing": list(image.spacing), "origin": list(image.origin), "orientation": image.orientation}


def _apart(a: Any, b: Any) -> float:
    """The distance between the two grids' corners, the largest, in mm."""
    import itertools

    import numpy as np

    corners = np.array([[*corner, 1.0] for corner in itertools.product(*((-0.5, n - 0.5) for n in a.shape))])
    between = corners @ (np.asarray(a.affine) - np.asarray(b.affine))[:3].T
    return float(np.linalg.norm(between, axis=1).max())


def _voxels(a: Any, b: Any, options: Any) -> dict[str, Any]:
    """How many voxels differ, by how much at most, and where; by slabs, so that little memory is needed."""
    import numpy as np

    count, largest, place = 0, -1.0, None
    for i in range(a.shape[0]):
        one, other = (np.asarray(image.voxels[i]) for image in (a, b))
        wide = np.complex128 if "c" in (one.dtype.kind, other.dtype.kind) else np.float64
        if one.dtype.kind in "iub" and other.dtype.kind in "iub":
            wide = object if max(one.dtype.itemsize, other.dtype.itemsize) > 4 else np.int64  # type: ignore[assignment]
        one, other = one.astype(wide), other.astype(wide)
        both_nan = (one != one) & (other != other)
        with np.errstate(invalid="ignore"):
            difference = np.where((one == other) | both_nan, 0, np.abs(one - other)).astype(np.float64)
            limit = options.atol + options.rtol * np.abs(other).astype(np.float64)
            differs = ~(difference <= limit)
        differs &= difference != 0
        if differs.any():
            count += int(differs.sum())
            amount = np.where(differs, np.where(np.isnan(difference), np.inf, difference), -1.0)
            top = np.unravel_index(amount.argmax(), amount.shape)
            if amount[top] > largest:
                largest, place = float(amount[top]), (i, *map(int, top))
    if place is None:
        return {}
    index = list(place[:3])
    return {
        "voxels": {
            "count": count,
            "of": int(np.prod(a.voxels.shape)),
            "largest": largest,
            "index": list(place),
            "world_mm": np.asarray(a.grid.world(index)).tolist(),
            "a": np.asarray(a.voxels[place]).item(),
            "b": np.asarray(b.voxels[place]).item(),
        }
    }


def _keys(a: Any, b: Any) -> list[str]:
    """The names of the fields that differ; never their values."""
    one, other = (_flat(metadata) for metadata in (a, b))
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _flat(metadata: Any) -> dict[str, Any]:
    import dataclasses

    if metadata is None:
        return {}
    fields = {field.name: getattr(metadata, field.name) for field in dataclasses.fields(metadata)}
    fields.pop("source")
    out: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            out |= {f"{name}.{key}": one for key, one in value.items()}
        elif value is not None:
            out[name] = value
    return out


def _labels(a: Any, b: Any, apart: float | None, options: Any) -> list[dict[str, Any]] | None:
    import dataclasses

    import numpy as np

    if apart is None or not apart <= options.geometry_atol or a.channels:
        return None
    from medjax._mask import dice, label_volumes, surface_distances

    b = dataclasses.replace(b, affine=a.affine)
    names = np.union1d(np.unique(np.asarray(a.voxels)), np.unique(np.asarray(b.voxels)))
    rows = []
    for name in names[names != 0].tolist():
        one, other = (image.with_voxels((np.asarray(image.voxels) == name).astype(np.uint8)) for image in (a, b))
        row = {"label": name, "dice": float(dice(one, other))}
        try:
            row["hd95_mm"] = float(surface_distances(one, other).hd95_mm)
        except ImportError:
            row["hd95_mm"] = None  # needs SciPy
        row |= {"ml_a": float(label_volumes(one)) / 1000, "ml_b": float(label_volumes(other)) / 1000}
        rows.append(row)
    return rows


def _say(found: Mapping[str, Any], labels: Any, options: Any, talk: Talk, paths: tuple[str, str]) -> None:
    if options.json:
        extra = {} if labels is None else {"labels": labels}
        talk.json("medjax.compare/1", a=paths[0], b=paths[1], equal=not found, differences=dict(found), **extra)
        return
    if not found:
        talk.out("equal")
    for name, what in found.items():
        talk.out(f"{name}: {_line(name, what)}")
    if labels:
        rows = [("label", "Dice", "HD95 mm", "ml A", "ml B")]
        for row in labels:
            far = "-" if row["hd95_mm"] is None else f"{row['hd95_mm']:.4g}"
            rows.append((str(row["label"]), f"{row['dice']:.4f}", far, f"{row['ml_a']:.4g}", f"{row['ml_b']:.4g}"))
        talk.table(rows, right=range(5))


def _line(name: str, what: Any) -> str:
    if name == "voxels":
        index, world = ", ".join(map(str, what["index"])), ", ".join(f"{x:.4g}" for x in what["world_mm"])
        values = f"{what['a']:.6g} and {what['b']:.6g}"
        where = f"at ({index}), {world} mm LPS"
        return f"{what['count']} of {what['of']} differ, by {what['largest']:.6g} at most: {values} {where}"
    if name == "grid":
        spacings = (" x ".join(f"{x:.6g}" for x in what[side]["spacing"]) for side in "ab")
        codes = f"{what['a']['orientation']} and {what['b']['orientation']}"
        return f"corners lie {what['farthest_corner_mm']:.4g} mm apart; {' and '.join(spacings)} mm; {codes}"
    if name == "metadata":
        return f"{len(what)} fields differ: {printable(', '.join(what[:12]))}" + (", ..." if len(what) > 12 else "")
    return " and ".join("x".join(map(str, v)) if isinstance(v, list) else str(v) for v in (what["a"], what["b"]))
