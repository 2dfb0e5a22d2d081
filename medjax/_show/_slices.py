"""Three orthogonal slices as they are shown: colours, letters, and a caption with window and place."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from medjax._image._image import Image
from medjax._image._metadata import Metadata
from medjax._image._picture import Panel, grey_range, panels, to_colours, to_grey
from medjax._image._units import units_of
from medjax._space._resample import resample_to_grid

__all__ = ["Slices", "slices_of"]

_SHARE = 0.5
"""Of a label's colour over the grey below it."""


@dataclasses.dataclass(frozen=True)
class Slices:
    """Slices of an image.

    Attributes:
        panels: Geometry and letters of each.
        colours: `(rows, columns, 3)`, 8 bits, of each.
        caption: Place and window in words.
    """

    panels: list[Panel]
    colours: list[np.ndarray]
    caption: str


def slices_of(
    image: Image, center: Any = None, window: tuple[float, float] | None = None, labels: Image | None = None
) -> Slices:
    """Cuts an image along its axes through a point.

    Args:
        image: A single image; the first of several channels is shown.
        center: World point, LPS mm; by default the centre.
        window: Lowest and highest grey; by default percentiles of what is shown.
        labels: A label map whose labels are coloured over it, on any grid.

    Raises:
        ValueError: the voxels are complex, or the point lies outside the image.
    """
    if np.iscomplexobj(image.voxels):
        raise ValueError("complex voxels have no picture: take the magnitude or the real part first")
    grid = image.grid
    point = grid.center if center is None else np.asarray(center, np.float64)
    index = grid.index(point)
    if not ((index >= -0.5) & (index < np.array(grid.shape) - 0.5)).all():
        middle = ", ".join(f"{x:.4g}" for x in grid.center)
        place = ", ".join(f"{x:.4g}" for x in point)
        raise ValueError(f"the point {place} mm lies outside the image, whose centre is {middle} mm (LPS)")
    shown = panels(image.voxels, grid, point)
    where = f"through {', '.join(f'{x:.1f}' for x in point)} mm (LPS)"
    if image.kind == "label":
        return Slices(shown, [to_colours(panel.pixels) for panel in shown], f"labels, {where}")
    low, high = grey_range(shown) if window is None else window
    colours = [np.repeat(to_grey(panel.pixels, low, high)[..., None], 3, axis=-1) for panel in shown]
    if labels is not None:
        over = panels(resample_to_grid(labels, grid).voxels, grid, point)
        colours = [_blended(grey, panel.pixels) for grey, panel in zip(colours, over, strict=True)]
    metadata = image.metadata
    units = units_of(metadata) if isinstance(metadata, Metadata) else None
    return Slices(shown, colours, f"{where}, window {low:.5g} to {high:.5g}{f' {units}' if units else ''}")


def _blended(grey: np.ndarray, names: np.ndarray) -> np.ndarray:
    mixed = (grey * (1 - _SHARE) + to_colours(names) * _SHARE).astype(np.uint8)
    return np.where((names != 0)[..., None], mixed, grey)
