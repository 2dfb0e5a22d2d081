"""Which window comes when, and where its logits go: tables made on the host for the program of `_slab`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax._geometry._numbers import read_only
from medjax.patch._grid import starts_along
from medjax.patch._weights import Window, shares_along

__all__ = ["Layout", "Tables", "one_row", "scheduled", "slab_layout", "whole_layout"]

Size = tuple[int, int, int]
Shares = tuple[float, float, float]
Passes = tuple[tuple[int, ...], ...]

# Bytes that a core holds close by.
_CACHED = 1 << 20


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is static of a program.

    Attributes:
        size: Voxels of a window.
        shape: Voxels that the slab holds; along `axis` its rows are a ring, row n of the volume lies at n modulo its
            length.
        axis: Along which the slab moves.
        chunk: Rows of a window that are added at once; divides every start along `axis`, so none wraps around.
        leaving: Rows that leave the slab at once; divides `chunk`.
        passes: The axes that each pass of a window is mirrored along.
        dtype: Of the sums.
    """

    size: Size
    shape: Size
    axis: int
    chunk: int
    leaving: int
    passes: Passes
    dtype: str

    @property
    def depth(self) -> int:
        """Rows of a window along `axis`."""
        return self.size[self.axis]


class Tables(NamedTuple):
    """The windows of each device, in groups that the network sees at once.

    Attributes:
        corners: `(d, g, b, 3)` where the window begins in the volume.
        numbers: `(d, g, b, 3)` which window it is along each axis; one past the last along `axis` for a window that
            only fills its group and counts nothing.
        leaving: `(g, b)` rows that no window reaches any more, from this one on; the same on all devices.
        starts: `(k,)` along each axis, for the place in the slab.
        shares: `(k + 1, p)` along each axis, the window's part in each of its voxels; the last row is 0.
    """

    corners: Any
    numbers: Any
    leaving: Any
    starts: tuple[Any, Any, Any]
    shares: tuple[Any, Any, Any]


def whole_layout(shape: Size, size: Size, passes: Passes, dtype: str) -> Layout:
    """Of a slab that is the whole volume and never moves."""
    return Layout(size, shape, 0, size[0], size[0], passes, dtype)


def slab_layout(shape: Size, size: Size, overlap: Shares, *, passes: Passes, dtype: str, classes: int) -> Layout:
    """Chooses the axis along which there are most windows, and how many rows may move at once.

    On a CPU they are few, so that they stay in its cache; elsewhere each step costs a launch.
    """
    axis = max(range(3), key=lambda d: shape[d] / size[d])
    starts = starts_along(shape[axis], size[axis], overlap[axis])
    chunk = leaving = math.gcd(size[axis], *starts.tolist())
    i, j, k = (size[d] if d == axis else n for d, n in enumerate(shape))
    if jax.default_backend() == "cpu":
        row, held = math.prod(size) // size[axis], i * j * k // size[axis]
        value = classes * np.dtype(dtype).itemsize
        chunk = _divisor(chunk, _CACHED // (row * value))
        leaving = _divisor(chunk, 4 * _CACHED // (held * value))
    return Layout(size, (i, j, k), axis, chunk, leaving, passes, dtype)


def _divisor(number: int, most: int) -> int:
    """The largest divisor that is not above a limit, or 1."""
    return max(n for n in range(1, max(most, 1) + 1) if number % n == 0) if most < number else number


def scheduled(shape: Size, layout: Layout, overlap: Shares, window: Window, *, batch: int, devices: int) -> Tables:
    """Makes the tables of all windows of a volume.

    Windows are in rows, those of one start along `axis`. Each device has an equal part of each row, so that all devices
    finish it together; only the end of a device's windows is filled up to a whole group.
    """
    size, axis = layout.size, layout.axis
    starts = tuple(starts_along(n, p, share) for n, p, share in zip(shape, size, overlap, strict=True))
    shares = tuple(_shares(window, at, p, n) for at, p, n in zip(starts, size, shape, strict=True))
    others = [d for d in range(3) if d != axis]
    in_row = np.stack([each.ravel() for each in np.indices([len(starts[d]) for d in others])], axis=-1)
    rows, count = len(starts[axis]), -(-len(in_row) // devices)
    numbers = np.zeros((rows, devices * count, 3), np.int64)
    numbers[..., axis] = rows  # fillers
    numbers[:, : len(in_row), axis] = np.arange(rows)[:, None]
    numbers[:, : len(in_row), others] = in_row
    of_each = numbers.reshape(rows, devices, count, 3).transpose(1, 0, 2, 3).reshape(devices, -1, 3)
    leaving = np.zeros((rows, count), np.int64)
    leaving[1:, 0] = np.diff(starts[axis])
    return _grouped(of_each, leaving.ravel(), starts, shares, batch, axis)


def _grouped(numbers: Any, leaving: Any, starts: Any, shares: Any, batch: int, axis: int) -> Tables:
    """Fills the end up to a whole group, and looks up where the windows begin."""
    more = -len(leaving) % batch
    filler = np.zeros((len(numbers), more, 3), np.int64)
    filler[..., axis] = len(starts[axis])
    numbers, leaving = np.concatenate([numbers, filler], axis=1), np.append(leaving, np.zeros(more, np.int64))
    ends = [np.append(at, at[-1]) for at in starts]
    corners = np.stack([at[numbers[..., d]] for d, at in enumerate(ends)], axis=-1)
    i, j, k = (_locked(at) for at in ends)
    groups = (len(numbers), -1, batch, 3)
    return Tables(
        _locked(corners.reshape(groups)),
        _locked(numbers.reshape(groups)),
        _locked(leaving.reshape(-1, batch)),
        (i, j, k),
        shares,
    )


def _locked(table: np.ndarray) -> np.ndarray:
    return read_only(table.astype(np.int32))


def _shares(window: Window, starts: np.ndarray, size: int, length: int) -> np.ndarray:
    table = shares_along(window, starts, size, length).astype(np.float32)
    return read_only(np.concatenate([table, np.zeros((1, size), np.float32)]))


def one_row(shape: Size, layout: Layout, overlap: Shares, window: Window, *, batch: int) -> list[Tables]:
    """Makes a table for each row of windows, whose corners lie in the row's own part of the volume."""
    axis = layout.axis
    whole = scheduled(shape, layout, overlap, window, batch=1, devices=1)
    leaving = whole.leaving.reshape(len(whole.starts[axis]) - 1, -1)
    numbers = whole.numbers.reshape(*leaving.shape, 3)
    starts = tuple(at[:-1] for at in whole.starts)
    tables = [
        _grouped(own[None], first, starts, whole.shares, batch, axis)
        for own, first in zip(numbers, leaving, strict=True)
    ]
    within = np.where(np.arange(3) == axis, 0, 1)
    return [each._replace(corners=_locked(each.corners * within)) for each in tables]
