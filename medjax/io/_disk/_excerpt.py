"""A part of an image that is asked for: a box of voxels, and one frame of several."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax._geometry._grid import Grid

__all__ = ["Box", "Excerpt", "Spans", "affine_of_box", "checked_box"]

Box = tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray]
Spans = list[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """A part of an image.

    Attributes:
        box: Index of the first voxel and number of voxels along i, j, k; `None` for all.
        frame: Index along the first trailing axis, which the part then lacks; `None` for all.
    """

    box: Box | None = None
    frame: int | None = None

    def spans(self, shape: Sequence[int]) -> Spans:
        """The box as (start, stop) along i, j, k of an image of this shape.

        Raises:
            ValueError: it is no box, or leaves the image.
        """
        if self.box is None:
            return [(0, n) for n in shape]
        if not isinstance(self.box, tuple | list) or len(self.box) != 2:
            raise ValueError(f"box must be (start, size), three integers along i, j, k each, got {self.box!r}")
        return checked_box(tuple(shape), *self.box)

    def frame_of(self, channels: tuple[int, ...]) -> int | None:
        """The frame, checked against the trailing axes of the image.

        Raises:
            ValueError: there is no such frame.
        """
        if self.frame is None:
            return None
        if not channels:
            raise ValueError(f"frame={self.frame!r} of an image with a single frame: leave it out")
        try:
            frame = operator.index(self.frame)
        except TypeError:
            frame = -1
        if not 0 <= frame < channels[0]:
            raise ValueError(f"frame must be a whole number from 0 to {channels[0] - 1}, got {self.frame!r}")
        return frame

    def voxels_of(self, voxels: np.ndarray) -> np.ndarray:
        """A copy of this part of the voxels `(i, j, k, *channels)`, in their order in memory."""
        frame = self.frame_of(voxels.shape[3:])
        part = voxels[tuple(slice(*span) for span in self.spans(voxels.shape[:3]))]
        return np.array(part if frame is None else part[:, :, :, frame], order="K")


def checked_box(shape: tuple[int, ...], start: Any, size: Any) -> Spans:
    """Returns a box as (start, stop) along i, j, k; `None` starts at 0, or ends with the image.

    Raises:
        ValueError: start or size are not three integers, or the box leaves the image.
    """
    first = _three_integers((0, 0, 0) if start is None else start, "start")
    count = _three_integers([n - a for n, a in zip(shape, first, strict=True)] if size is None else size, "size")
    if any(a < 0 or n < 1 or a + n > whole for a, n, whole in zip(first, count, shape, strict=True)):
        raise ValueError(f"the box start={first}, size={count} leaves the image of {shape} voxels; pad what was read")
    return [(a, a + n) for a, n in zip(first, count, strict=True)]


def _three_integers(value: Any, name: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(n) for n in value)
        is_whole = all(n == m for n, m in zip(numbers, value, strict=True))
    except (TypeError, ValueError):
        numbers, is_whole = (), False
    if len(numbers) != 3 or not is_whole:
        shown = tuple(value) if isinstance(value, Sequence) else value
        raise ValueError(f"{name} must be three integers along i, j, k, got {shown}")
    return numbers


def affine_of_box(affine: np.ndarray, spans: Spans) -> np.ndarray:
    """The affine of a box: its origin is the position of its first voxel."""
    start = np.array([first for first, _ in spans], np.float64)
    return Grid((1, 1, 1), affine).moved(start).affine if start.any() else affine
