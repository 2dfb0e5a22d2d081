"""A picture in the terminal: two pixels a cell, by half blocks in 24-bit colour, or by characters without colour."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["drawn", "has_colour", "sampled", "side_by_side"]

_INK = " .:-=+*#%@"


def has_colour() -> bool:
    """Whether the terminal may be sent colours: `NO_COLOR` and `TERM=dumb` say no."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def sampled(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Takes the nearest pixel for each place of another number of rows and columns."""
    down, across = (
        np.minimum(((np.arange(count) + 0.5) * have / count).astype(int), have - 1)
        for count, have in ((rows, pixels.shape[0]), (columns, pixels.shape[1]))
    )
    return pixels[np.ix_(down, across)]


def side_by_side(millimetres: Sequence[tuple[float, float]], columns: int, lines: int) -> list[tuple[int, int]]:
    """Sizes of panels in pixels, `(rows, columns)`: in one scale, as large as fits a terminal. A pixel is square.

    Args:
        millimetres: Width and height of each panel.
        columns: Cells across; each holds one pixel. Between two panels two stay free.
        lines: Cells down; each holds two pixels.

    Example:
        >>> side_by_side([(200.0, 100.0), (200.0, 300.0)], 42, 20)
        [(10, 20), (30, 20)]
    """
    free = columns - 2 * (len(millimetres) - 1)
    scale = min(free / sum(width for width, _ in millimetres), 2 * lines / max(height for _, height in millimetres))
    rough = [(round(height * scale), int(width * scale)) for width, height in millimetres]
    return [(max(1, rows), max(1, across)) for rows, across in rough]


def drawn(panels: Sequence[np.ndarray], *, is_coloured: bool) -> list[str]:
    """Draws pictures beside each other, each centred from top to bottom.

    Args:
        panels: `(rows, columns, 3)`, 8 bits.
        is_coloured: Colours, else characters of more or less ink.
    """
    height = max(len(panel) for panel in panels)
    height += height % 2
    framed = []
    for panel in panels:
        whole = np.zeros((height, panel.shape[1], 3), np.uint8)
        top = (height - len(panel)) // 2
        whole[top : top + len(panel)] = panel
        framed.append(whole)
    return ["  ".join(_line(panel, row, is_coloured) for panel in framed) for row in range(0, height, 2)]


def _line(panel: np.ndarray, row: int, is_coloured: bool) -> str:
    upper, lower = panel[row], panel[row + 1]
    if not is_coloured:
        grey = (upper.astype(int) + lower).sum(-1) // 6
        return "".join(_INK[value * len(_INK) // 256] for value in grey.tolist())
    cells: list[str] = []
    last: Any = None
    for colours in zip(upper.tolist(), lower.tolist(), strict=True):
        if colours != last:
            (a, b, c), (x, y, z) = last = colours
            cells.append(f"\x1b[38;2;{a};{b};{c}m\x1b[48;2;{x};{y};{z}m")
        cells.append("▀")
    return "".join(cells) + "\x1b[0m"
