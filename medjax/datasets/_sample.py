"""What the makers of scans return."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax._geometry._grid import Grid, as_triple, check_positive, check_size
from medjax._image._image import Image
from medjax._lazy import public

__all__ = ["CITATION", "LICENCE", "Sample", "check_grid", "check_number"]

LICENCE = "CC0-1.0"
CITATION = "Made by medjax.datasets from formulas; no patient, no source data."


@public("medjax.datasets")
@dataclasses.dataclass(frozen=True)
class Sample:
    """Scans of one examination, and the truth about them.

    Attributes:
        name: Which maker and seed it is.
        images: Images by role, such as "ct", "pet" and "labels".
        truth: What is known exactly, by name; see the maker.
        licence: SPDX identifier of the licence.
        citation: What to cite.

    Example:
        >>> sample = mj.datasets.head_mr(0, spacing=8.0)
        >>> sample.name, sorted(sample.images), sample.licence
        ('head_mr-0', ['labels', 'mr'], 'CC0-1.0')
    """

    name: str
    images: Mapping[str, Image]
    truth: Mapping[str, Any]
    licence: str = LICENCE
    citation: str = CITATION


def check_grid(grid: Grid | None, spacing: Any, low: tuple[float, ...], high: tuple[float, ...], name: str) -> Grid:
    """The grid that was asked for, or one of this spacing that covers a box.

    Raises:
        ValueError: the grid is none, a batch or traced, or the spacing is not finite and positive.
    """
    if grid is None:
        triple = as_triple(spacing, name)
        check_positive(triple, name, spacing)
        check_size(np.subtract(high, low) / triple)
        shape = tuple(max(1, int(np.floor((b - a) / s + 0.5))) for a, b, s in zip(low, high, triple, strict=True))
        middle = [(a + b) / 2 - s * (n - 1) / 2 for a, b, s, n in zip(low, high, triple, shape, strict=True)]
        return Grid.of(shape, spacing=tuple(float(s) for s in triple), origin=tuple(middle))
    if not isinstance(grid, Grid):
        raise ValueError(f"{name} must be a Grid, such as image.grid, got {type(grid).__name__}")
    if not isinstance(grid.affine, np.ndarray) or grid.affine.ndim != 2:
        raise ValueError(f"{name} must be the grid of one image, concrete, got an affine of shape {grid.affine.shape}")
    return grid


def check_number(name: str, value: Any, least: float = 0.0) -> float:
    """Returns a finite number of at least so much.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not least <= value < np.inf:
        raise ValueError(f"{name} must be a finite number of at least {least:g}, got {value!r}")
    return float(value)
