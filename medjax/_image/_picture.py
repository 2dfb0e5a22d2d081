"""The picture of an image in a notebook: three orthogonal slices, made with NumPy and zlib alone.

Slices are shown as radiologists read them: the patient's right at the left, anterior or superior at the top. A panel
follows the image's own axes, so on an oblique scan its letters name the nearest anatomical directions.
"""

from __future__ import annotations

import base64
import colorsys
import dataclasses
import html as _html
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from medjax._geometry._grid import Grid
from medjax._geometry._numbers import is_traced
from medjax._geometry._orientation import reorientation
from medjax._kernels._compiled import eagerly

__all__ = ["Box", "Panel", "grey_range", "html", "panels", "png", "to_colours", "to_grey"]

# Panels of an image whose axes run to L, P, S: name, the axis cut, the axes across and down, whether down is reversed.
_PANELS = (("axial", 2, 0, 1, False), ("coronal", 1, 0, 2, True), ("sagittal", 0, 1, 2, True))
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Panel:
    """A slice as it is displayed.

    Attributes:
        name: "axial", "coronal" or "sagittal", after the nearest plane.
        pixels: `(rows, columns)`, the first row at the top.
        extent: Left, right, bottom and top edge in mm along the panel's two directions, from the centre of the view.
        edges: Letters at the left, right, bottom and top.
    """

    name: str
    pixels: np.ndarray
    extent: Box
    edges: tuple[str, ...]

    @property
    def millimetres(self) -> tuple[float, float]:
        """Width and height."""
        left, right, bottom, top = self.extent
        return abs(right - left), abs(top - bottom)


def panels(voxels: Any, grid: Grid, center: np.ndarray | None = None) -> list[Panel]:
    """Cuts the voxels of a single image along its axes through a world point (LPS mm), by default its centre."""
    middle = grid.center if center is None else np.asarray(center, np.float64)
    axes, flips = reorientation(grid.affine, "LPS")
    sign = np.where(np.array(flips)[np.argsort(axes)], -1, 1)
    # Between two slices the left, posterior or superior one is taken.
    near = sign * np.floor(sign * grid.index(middle) + 0.5 + 1e-6)
    near = near.clip(0, np.array(grid.shape) - 1).astype(int)
    shown = []
    for name, cut, across, down, is_upright in _PANELS:
        pixels = _cut(voxels, axes[cut], int(near[axes[cut]]))
        pixels = pixels if axes[across] > axes[down] else pixels.T  # rows go down, columns across
        pixels = pixels[:: -1 if flips[down] != is_upright else 1, :: -1 if flips[across] else 1]
        left, right = _reach(grid, axes[across], flips[across], middle)
        first, last = _reach(grid, axes[down], flips[down], middle)
        ends = ((first, last), _LETTERS[down]) if is_upright else ((last, first), _LETTERS[down][::-1])
        shown.append(Panel(name, pixels, (left, right, *ends[0]), (*_LETTERS[across], *ends[1])))
    return shown


def _cut(voxels: Any, axis: int, number: int) -> np.ndarray:
    """Returns one slice of the first channel on the host; only the slice is copied from a device."""
    place = [slice(None)] * 3 + [0] * (voxels.ndim - 3)
    place[axis] = number
    with eagerly():
        return np.asarray(voxels[tuple(place)])


def _reach(grid: Grid, axis: int, is_flipped: bool, middle: np.ndarray) -> tuple[float, float]:
    """Returns the positions of the outer faces along an axis, in mm from a world point, in display direction."""
    direction = grid.direction[:, axis] * (-1 if is_flipped else 1)
    ends = [-0.5, grid.shape[axis] - 0.5]
    first = float(direction @ (np.asarray(grid.origin) - middle))
    along = [first + (-1 if is_flipped else 1) * end * grid.spacing[axis] for end in ends]
    return min(along), max(along)


def grey_range(shown: Sequence[Panel]) -> tuple[float, float]:
    """Returns the display range of slices: the 0.5 and 99.5 percentiles of their finite values."""
    values = np.concatenate([panel.pixels.ravel() for panel in shown]).astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    if low == high and values.size:  # mostly background: show the whole range
        low, high = values.min(), values.max()
    return float(low), float(high if high > low else low + 1.0)


def to_grey(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps values to 0 ... 255; NaN becomes black."""
    with np.errstate(invalid="ignore", over="ignore"):
        grey = (pixels.astype(np.float64) - low) / (high - low)
    return (np.nan_to_num(grey, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255).astype(np.uint8)


def to_colours(labels: np.ndarray) -> np.ndarray:
    """Gives each label its own colour, `(rows, columns, 3)` 8-bit; 0 is black. Hues step by the golden ratio."""
    names, places = np.unique(labels, return_inverse=True)
    hues = [colorsys.hsv_to_rgb(int(name) * 0.618034 % 1.0, 0.65, 1.0) if name else (0.0, 0.0, 0.0) for name in names]
    return (np.array(hues) * 255).astype(np.uint8)[places.reshape(labels.shape)]


def png(pixels: np.ndarray) -> bytes:
    """Encodes an 8-bit picture, grey `(rows, columns)` or colour `(rows, columns, 3)`, as PNG, with zlib alone.

    Source: PNG specification, third edition, section 5 (signature, IHDR, IDAT, IEND).
    """

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows, columns = pixels.shape[:2]
    lines = np.zeros((rows, 1 + pixels[0].size), np.uint8)  # each line starts with its filter type, 0: none
    lines[:, 1:] = pixels.reshape(rows, -1)
    colour_type = 0 if pixels.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", columns, rows, 8, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def html(text: str, voxels: Any, affine: Any, kind: str) -> str:
    """Returns a line of text and three orthogonal slices in true proportion, as HTML for a notebook.

    The picture shows the first item of a batch and the first of several channels. Traced and complex images have none.
    """
    text = f"<code>{_html.escape(text)}</code>"
    is_known = all(isinstance(x, np.ndarray | jax.Array) and not is_traced(x) for x in (voxels, affine))
    if not is_known or np.iscomplexobj(voxels):
        return text
    first = (0,) * (affine.ndim - 2)
    with eagerly():  # a known image may be shown while a trace is under way
        item = voxels[first]
        shown = panels(item, Grid(tuple(item.shape[:3]), np.asarray(affine, np.float64)[first]))
    scale = 160 / max(side for panel in shown for side in panel.millimetres)
    low, high = grey_range(shown)
    pictures = []
    for panel in shown:
        step = max(1, max(panel.pixels.shape) // 192)
        thin = panel.pixels[::step, ::step]
        data = base64.b64encode(png(to_colours(thin) if kind == "label" else to_grey(thin, low, high))).decode()
        width, height = (max(1, round(side * scale)) for side in panel.millimetres)
        pictures.append(
            f'<img alt="{panel.name} slice" title="{panel.name}" src="data:image/png;base64,{data}" '
            f'style="display:inline;width:{width}px;height:{height}px;margin-right:6px;image-rendering:auto">'
        )
    return f"<div>{text}<br>{''.join(pictures)}</div>"
