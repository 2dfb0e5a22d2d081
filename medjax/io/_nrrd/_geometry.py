"""NRRD's geometry: the axes in space, and their affine."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax.io._disk._elements import checked_affine
from medjax.io._disk._warn import warn
from medjax.io._nrrd._header import Header

__all__ = ["Placement", "place", "signs_to_lps"]

_SIGNS = {
    "ras": (-1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
}
_SHORT = {"right-anterior-superior": "ras", "left-anterior-superior": "las", "left-posterior-superior": "lps"}

_MILLIMETRES = {
    "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "": 1.0, "???": 1.0, "none": 1.0,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "nm": 1e-6, "cm": 10.0, "m": 1000.0,
}  # fmt: skip

_SPATIAL_KINDS = ("domain", "space", "???", "none")


@dataclasses.dataclass(frozen=True)
class Placement:
    """The axes of a NRRD that lie in space, and their place.

    Attributes:
        axes: The two or three axes that lie in space, in the file's order.
        affine: Index to LPS+ mm, of three axes. If there are two, the third has length one.
    """

    axes: tuple[int, ...]
    affine: np.ndarray


def signs_to_lps(space: str) -> tuple[float, float, float] | None:
    """Returns the signs that turn coordinates of a named space, with or without time, to LPS+; `None` for others."""
    name = space.lower().removesuffix("-time")
    name = name[:3] if len(name) == 4 and name.endswith("t") else name
    return _SIGNS.get(_SHORT.get(name, name))


def place(header: Header) -> Placement:
    """Finds the spatial axes and the affine.

    Raises:
        UnsupportedFileError: not two or three axes lie in space.
        ImageFileError: the fields contradict each other.
    """
    if any(header.fields.get("space directions") or ()):
        axes, columns = _directed_axes(header)
        rows, origin = _in_space(header, np.array(columns).T)
    else:
        axes = _undirected_axes(header)
        rows, origin = _on_grid(header, axes)
    affine = np.eye(4)
    n = min(rows.shape[0], 3)
    affine[:n, : len(axes)] = rows[:n]
    affine[:n, 3] = origin[:n]
    if len(axes) == 2 and n == 3:
        with np.errstate(over="ignore", invalid="ignore"):
            normal = np.cross(affine[:3, 0], affine[:3, 1])
            length = np.linalg.norm(normal)
            affine[:3, 2] = normal / length if length else 0.0
    return Placement(axes, checked_affine(header.path, affine))


def _directed_axes(header: Header) -> tuple[tuple[int, ...], list[list[float]]]:
    vectors = header.per_axis("space directions", None)
    size = max(len(vector) for vector in vectors if vector)
    if any(vector is not None and None in vector for vector in vectors):
        raise ImageFileError(header.path, "its space directions are not finite")
    if size == 4:  # a space with time
        vectors = [None if vector is None or _is_temporal(header, vector) else vector[:3] for vector in vectors]
    axes = tuple(axis for axis, vector in enumerate(vectors) if vector is not None)
    if not 2 <= len(axes) <= 3 or size > 4 or len(axes) > size:
        raise UnsupportedFileError(header.path, f"{len(axes)} of its axes lie in a space of {size} dimensions")
    return axes, [vectors[axis] for axis in axes]


def _is_temporal(header: Header, vector: list[float]) -> bool:
    if vector[3] and any(vector[:3]):
        raise UnsupportedFileError(header.path, "one of its axes runs through space and time at once")
    return bool(vector[3])


def _in_space(header: Header, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The columns and origin in LPS+ mm, `(dimension of space, axes)` and `(dimension of space,)`."""
    space = header.fields.get("space", "")
    signs = signs_to_lps(space)
    if signs is None:
        named = f"its space {space[:40]!r}" if space else "its unnamed space"
        warn(header.path, f"{named} says nothing about the patient; taken as LPS")
    origin = header.fields.get("space origin")
    if origin is None:
        warn(header.path, "it has no space origin; taken as 0")
        origin = [0.0] * len(rows)
    if len(origin) < len(rows) or None in origin:
        raise ImageFileError(header.path, f"its space origin must hold {len(rows)} finite numbers")
    factors = _factors(header, "space units", len(rows)) * np.array((signs or (1.0, 1.0, 1.0))[: len(rows)])
    with np.errstate(over="ignore"):  # checked_affine finds it
        return rows * factors[:, None], np.array(origin[: len(rows)]) * factors


def _undirected_axes(header: Header) -> tuple[int, ...]:
    """Axes of a spatial kind. If there are more than three, those with a spacing. If still more, the first three."""
    kinds = header.per_axis("kinds", "domain")
    axes = [axis for axis, kind in enumerate(kinds) if kind.lower() in _SPATIAL_KINDS]
    if len(axes) > 3 and header.fields.get("spacings"):
        axes = [axis for axis in axes if header.per_axis("spacings", None)[axis] is not None] or axes
    if len(axes) < 2:
        raise UnsupportedFileError(header.path, f"{len(axes)} of its axes lie in space, expected 2 or 3")
    return tuple(axes[:3])


def _on_grid(header: Header, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Columns and origin from spacings, axis mins and axis maxs, along the world axes."""
    warn(header.path, "it has no space directions: spacings and axis mins count, taken as LPS")
    factors = _factors(header, "units", len(header.sizes))
    spacing, origin = np.ones(len(axes)), np.zeros(len(axes))
    for n, axis in enumerate(axes):
        least, most = header.per_axis("axis mins", None)[axis], header.per_axis("axis maxs", None)[axis]
        is_node = header.per_axis("centerings", "cell")[axis].lower() == "node"
        step = header.per_axis("spacings", None)[axis]
        intervals = header.sizes[axis] - is_node
        if step is None and least is not None and most is not None and intervals:
            step = (most - least) / intervals
        spacing[n] = 1.0 if step is None else step
        if least is not None:
            origin[n] = least if is_node else least + spacing[n] / 2
        spacing[n], origin[n] = spacing[n] * factors[axis], origin[n] * factors[axis]
    return np.diag(spacing), origin


def _factors(header: Header, name: str, count: int) -> np.ndarray:
    """Millimetres per unit, for each axis of space (`space units`) or of the array (`units`)."""
    units: list[Any] = header.fields.get(name) or ["mm"] * count
    if len(units) < count:
        raise ImageFileError(header.path, f"{name} has {len(units)} entries, expected {count}")
    for unit in dict.fromkeys(unit for unit in units[:count] if _MILLIMETRES.get(unit.lower()) != 1.0):
        if name == "space units" and unit.lower() not in _MILLIMETRES:
            warn(header.path, f"its space unit {unit[:20]!r} is unknown; taken as mm")
        elif unit.lower() in _MILLIMETRES:
            warn(header.path, f"its unit {unit!r} is converted to mm; ITK takes it as mm")
    return np.array([_MILLIMETRES.get(unit.lower(), 1.0) for unit in units[:count]])
