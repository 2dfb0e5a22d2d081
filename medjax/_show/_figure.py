"""Figures of orthogonal slices, drawn with matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from medjax._image._image import Image
from medjax._image._picture import Box, Panel, grey_range, panels, to_colours, to_grey
from medjax._optional import optional
from medjax._show._slices import slices_of

__all__ = ["save_comparison", "save_ortho"]


def save_comparison(
    before: Image, after: Image, path: str | os.PathLike[str], titles: tuple[str, str] = ("before", "after")
) -> None:
    """Writes a PNG that compares three orthogonal slices of two images. Needs matplotlib.

    Both images are cut through the centre of `before`. They are shown in millimetres over one field of view, with one
    grey window and without smoothing. Each is a single image, and the first of several channels is shown.
    """
    backend, figures = (optional(f"matplotlib.{name}", "a picture") for name in ("backends.backend_agg", "figure"))
    center = before.grid.center
    columns = [panels(image.voxels, image.grid, center) for image in (before, after)]
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


def save_ortho(
    image: Image,
    path: str | os.PathLike[str],
    *,
    center: Any = None,
    window: tuple[float, float] | None = None,
    labels: Image | None = None,
) -> None:
    """Writes a PNG of three orthogonal slices side by side, in true proportion. Needs matplotlib.

    The arguments are those of `slices_of`. Letters name the sides; a line says place and window.
    """
    backend, figures = (optional(f"matplotlib.{name}", "a picture") for name in ("backends.backend_agg", "figure"))
    shown = slices_of(image, center, window, labels)
    sizes = [panel.millimetres for panel in shown.panels]
    gap, title, height = 0.35, 0.35, 4.5
    scale = min(height / max(down for _, down in sizes), 15.0 / sum(across for across, _ in sizes))  # inches per mm
    tallest = max(down for _, down in sizes) * scale
    total = (sum(across for across, _ in sizes) * scale + gap * (len(sizes) + 1), tallest + title + gap)
    figure = figures.Figure(figsize=total, facecolor="black")
    backend.FigureCanvasAgg(figure)
    left = gap
    for panel, colours, (across, down) in zip(shown.panels, shown.colours, sizes, strict=True):
        bottom = gap / 2 + (tallest - down * scale) / 2
        place = (left / total[0], bottom / total[1], across * scale / total[0], down * scale / total[1])
        axis = figure.add_axes(place)
        axis.imshow(colours, extent=panel.extent, interpolation="nearest")
        _frame(axis, panel, panel.extent)
        left += across * scale + gap
    caption = f"{_caption('', image).removeprefix(': ')}; {shown.caption}"
    figure.text(gap / total[0], 1 - title / total[1] * 0.75, caption, color="white", fontsize=8)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})


def _layout(views: Sequence[Box]) -> tuple[list[list[Box]], tuple[float, float]]:
    """Places two columns of panels in one scale; returns boxes as fractions of the figure, and its size in inches."""
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
    """Returns the smallest window that holds all panels, with the vertical direction of the panels."""
    left, right = min(panel.extent[0] for panel in row), max(panel.extent[1] for panel in row)
    ends = [end for panel in row for end in panel.extent[2:]]
    bottom, top = (min(ends), max(ends)) if row[0].extent[2] < row[0].extent[3] else (max(ends), min(ends))
    return left, right, bottom, top


def _caption(title: str, image: Image) -> str:
    spacing = " x ".join(f"{value:.4g}" for value in image.spacing)
    return f"{title}: {'x'.join(map(str, image.shape))} voxels of {spacing} mm, {image.orientation}"


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
