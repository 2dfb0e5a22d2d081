"""How an image looks to a person: one line of text, a small picture for a notebook, figures of orthogonal slices.

Slices are shown as radiologists read them: the patient's right at the left, anterior or superior at the top. A panel
follows the image's own axes, so on an oblique scan its letters name the nearest anatomical directions.
"""

from __future__ import annotations

import base64
import colorsys
import dataclasses
import html as _html
import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from medjax._compiled import eagerly
from medjax._image import Image
from medjax._metadata import Metadata
from medjax._optional import optional
from medjax._orientation import reorientation

__all__ = ["describe", "html", "save_comparison"]

# Panels of an image whose axes run to L, P, S: name, the axis cut, the axes across and down, whether down is reversed.
_PANELS = (("axial", 2, 0, 1, False), ("coronal", 1, 0, 2, True), ("sagittal", 0, 1, 2, True))
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))

Box = tuple[float, float, float, float]


def _numbers(values: Any) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def describe(image: Image) -> str:
    """Returns an image's `repr`: sizes, dtype, kind, spacing, orientation and modality; never a patient's name."""
    voxels, affine = image.voxels, image.affine
    if not all(isinstance(leaf, np.ndarray | jax.Array) for leaf in (voxels, affine)):
        return f"Image(voxels={voxels!r}, affine={affine!r}, kind={image.kind!r})"
    size = "x".join(map(str, image.shape))
    parts = [f"{size} {voxels.dtype} {image.kind}"]
    if image.batch_shape:
        parts[0] = f"batch {image.batch_shape} of {parts[0]}"
    if image.channels:
        parts.append(f"channels {'x'.join(map(str, image.channels))}")
    if isinstance(affine, jax.core.Tracer):
        parts.append("traced")
    elif not image.batch_shape:
        parts += [f"spacing {_numbers(image.spacing)} mm", image.orientation]
        if isinstance(image.metadata, Metadata) and image.metadata.modality:
            parts.append(image.metadata.modality)
    return f"Image({', '.join(parts)})"


@dataclasses.dataclass(frozen=True)
class Panel:
    """A slice as it is displayed.

    Attributes:
        name: "axial", "coronal" or "sagittal", after the nearest plane.
        pixels: `(rows, columns)`, the first row at the top.
        extent: Left, right, bottom and top edge in mm along the panel's two directions, from the centre that was asked for.
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


def panels(image: Image, center: np.ndarray | None = None) -> list[Panel]:
    """Cuts a single concrete image along its axes through a world point (LPS mm), by default its centre."""
    grid = image.grid
    middle = grid.center if center is None else np.asarray(center, np.float64)
    axes, flips = reorientation(grid.affine, "LPS")
    sign = np.where(np.array(flips)[np.argsort(axes)], -1, 1)
    near = sign * np.floor(
        sign * grid.index(middle) + 0.5 + 1e-6
    )  # between two slices the left, posterior, superior one
    near = near.clip(0, np.array(image.shape) - 1).astype(int)
    shown = []
    for name, cut, across, down, is_upright in _PANELS:
        pixels = _cut(image.voxels, axes[cut], int(near[axes[cut]]))
        pixels = pixels if axes[across] > axes[down] else pixels.T  # rows go down, columns across
        pixels = pixels[:: -1 if flips[down] != is_upright else 1, :: -1 if flips[across] else 1]
        left, right = _reach(image, axes[across], flips[across], middle)
        first, last = _reach(image, axes[down], flips[down], middle)
        ends = ((first, last), _LETTERS[down]) if is_upright else ((last, first), _LETTERS[down][::-1])
        shown.append(Panel(name, pixels, (left, right, *ends[0]), (*_LETTERS[across], *ends[1])))
    return shown


def _cut(voxels: Any, axis: int, number: int) -> np.ndarray:
    """One slice, first channel, on the host; only that much of a device array is copied."""
    place = [slice(None)] * 3 + [0] * (voxels.ndim - 3)
    place[axis] = number
    with eagerly():
        return np.asarray(voxels[tuple(place)])


def _reach(image: Image, axis: int, is_flipped: bool, middle: np.ndarray) -> tuple[float, float]:
    """Where the outer faces lie along an axis, in mm from a world point, in display direction."""
    direction = image.direction[:, axis] * (-1 if is_flipped else 1)
    ends = [-0.5, image.shape[axis] - 0.5]
    first = float(direction @ (np.asarray(image.origin) - middle))
    along = [first + (-1 if is_flipped else 1) * end * image.spacing[axis] for end in ends]
    return min(along), max(along)


def grey_range(shown: Sequence[Panel]) -> tuple[float, float]:
    """Returns the display range of slices: the 0.5 and 99.5 percentiles of their finite values."""
    values = np.concatenate([panel.pixels.ravel() for panel in shown]).astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    if low == high and values.size:  # mostly background: show what there is
        low, high = values.min(), values.max()
    return float(low), float(high if high > low else low + 1.0)


def to_grey(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps values to 0 ... 255; what is not a number is black."""
    with np.errstate(invalid="ignore", over="ignore"):
        grey = (pixels.astype(np.float64) - low) / (high - low)
    return (np.nan_to_num(grey, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255).astype(np.uint8)


def to_colours(labels: np.ndarray) -> np.ndarray:
    """Gives each label its own colour, `(rows, columns, 3)` 8-bit; 0 is black. Hues step by the golden ratio."""
    names, places = np.unique(labels, return_inverse=True)
    hues = [colorsys.hsv_to_rgb(int(name) * 0.618034 % 1.0, 0.65, 1.0) if name else (0.0, 0.0, 0.0) for name in names]
    return (np.array(hues) * 255).astype(np.uint8)[places.reshape(labels.shape)]


def png(pixels: np.ndarray) -> bytes:
    """Encodes an 8-bit picture, grey `(rows, columns)` or colour `(rows, columns, 3)`, as PNG, with nothing but zlib.

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


def html(image: Image) -> str:
    """Returns a line of text and three orthogonal slices in true proportion, as a notebook shows an image.

    Of a batch the first item is shown, of several channels the first.
    """
    text = f"<code>{_html.escape(describe(image))}</code>"
    leaves = (image.voxels, image.affine)
    is_concrete = all(isinstance(x, np.ndarray | jax.Array) and not isinstance(x, jax.core.Tracer) for x in leaves)
    if not is_concrete or np.iscomplexobj(image.voxels):
        return text
    first = (0,) * len(image.batch_shape)
    with eagerly():  # a known image may be shown while a trace is under way
        shown = panels(Image(image.voxels[first], image.grid.affine[first], image.kind))
    scale = 160 / max(side for panel in shown for side in panel.millimetres)
    low, high = grey_range(shown)
    pictures = []
    for panel in shown:
        step = max(1, max(panel.pixels.shape) // 192)
        thin = panel.pixels[::step, ::step]
        data = base64.b64encode(png(to_colours(thin) if image.kind == "label" else to_grey(thin, low, high))).decode()
        width, height = (max(1, round(side * scale)) for side in panel.millimetres)
        pictures.append(
            f'<img alt="{panel.name} slice" title="{panel.name}" src="data:image/png;base64,{data}" '
            f'style="display:inline;width:{width}px;height:{height}px;margin-right:6px;image-rendering:auto">'
        )
    return f"<div>{text}<br>{''.join(pictures)}</div>"


def save_comparison(
    before: Image, after: Image, path: str | os.PathLike[str], titles: tuple[str, str] = ("before", "after")
) -> None:
    """Writes a PNG with three orthogonal slices of two images, to be compared.

    Both are cut through the centre of `before`, shown in millimetres over one field of view with one grey window, their
    voxels as they are (no smoothing). Images are single, of several channels the first is shown. Needs matplotlib.
    """
    backend, figures = (optional(f"matplotlib.{name}", "a picture") for name in ("backends.backend_agg", "figure"))
    center = before.grid.center
    columns = [panels(before, center), panels(after, center)]
    low, high = grey_range(columns[0])
    views = [_field_of_view(row) for row in zip(*columns, strict=True)]
    boxes, size = _layout(views)
    figure = figures.Figure(figsize=size, facecolor="black")
    backend.FigureCanvasAgg(figure)
    for number, (image, column) in enumerate(zip((before, after), columns, strict=True)):
        for panel, view, box in zip(column, views, boxes[number], strict=True):
            axis = figure.add_axes(box)
            colours = to_colours(panel.pixels) if image.kind == "label" else to_grey(panel.pixels, low, high)
            axis.imshow(colours, extent=panel.extent, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            _frame(axis, panel, view)
        left, bottom, _, height = boxes[number][0]
        caption = _caption(titles[number], image)
        figure.text(left, bottom + height + 0.1 / size[1], caption, color="white", fontsize=10)
    figure.savefig(path, dpi=120, format="png")


def _layout(views: Sequence[Box]) -> tuple[list[list[Box]], tuple[float, float]]:
    """Places two columns of panels in one scale; returns their boxes in parts of the figure, and its size in inches."""
    gap, title, column = 0.3, 0.4, 5.2
    sizes = [(view[1] - view[0], abs(view[3] - view[2])) for view in views]
    scale = column / max(width for width, _ in sizes)  # inches per mm
    total = (2 * column + 3 * gap, title + sum(height * scale + gap / 2 for _, height in sizes))
    boxes: list[list[Box]] = [[], []]
    for number in range(2):
        top = total[1] - title
        for width, height in ((width * scale, height * scale) for width, height in sizes):
            left = gap + number * (column + gap) + (column - width) / 2
            boxes[number].append((left / total[0], (top - height) / total[1], width / total[0], height / total[1]))
            top -= height + gap / 2
    return boxes, total


def _field_of_view(row: Sequence[Panel]) -> Box:
    """The least window that holds all panels; the vertical direction is theirs."""
    left, right = min(panel.extent[0] for panel in row), max(panel.extent[1] for panel in row)
    ends = [end for panel in row for end in panel.extent[2:]]
    bottom, top = (min(ends), max(ends)) if row[0].extent[2] < row[0].extent[3] else (max(ends), min(ends))
    return left, right, bottom, top


def _caption(title: str, image: Image) -> str:
    return f"{title}: {'x'.join(map(str, image.shape))} voxels of {_numbers(image.spacing)} mm, {image.orientation}"


def _frame(axis: Any, panel: Panel, view: Box) -> None:
    """Draws letters at the edges of a panel, over the common field of view."""
    outline = optional("matplotlib.patheffects", "a picture").withStroke(linewidth=2.5, foreground="black")
    axis.set(xlim=view[:2], ylim=view[2:], aspect="auto", xticks=[], yticks=[], facecolor="black")
    axis.spines[:].set_color("0.35")
    sides = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"))
    places = (*sides, (0.5, 0.02, "center", "bottom"), (0.5, 0.98, "center", "top"))
    for letter, (x, y, across, down) in zip(panel.edges, places, strict=True):
        text = axis.text(x, y, letter, ha=across, va=down, transform=axis.transAxes, color="gold", weight="bold")
        text.set_path_effects([outline])
    axis.set_ylabel(panel.name, color="0.7", fontsize=9)
