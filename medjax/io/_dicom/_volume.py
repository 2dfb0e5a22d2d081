"""Voxels of a stack: every slice is read into its place in one array."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from medjax.io._dicom._header import File
from medjax.io._dicom._pixels import Target, check_size, fill
from medjax.io._dicom._slices import Slice
from medjax.io._disk._progress import progress

__all__ = ["SpacingPolicy", "digest", "even_count", "even_out", "expected_dtype", "is_blank", "read_volume"]

SpacingPolicy = Literal["error", "resample", "nearest", "even"]


def read_volume(rows: Sequence[Sequence[Slice]]) -> np.ndarray:
    """Reads slices into an array `(volume, slice, row, column, *channels)`, the modality transform applied.

    Integers stay integers where every slope is 1 and every intercept whole: as stored where all intercepts are 0, else
    int16, int32 or int64, the first that holds every value. All other scalar images are float32, or float64 if they are
    stored so.

    Raises:
        ImageFileError: a file is cut short or cannot be decoded.
    """
    files: dict[int, tuple[File, list[tuple[int, int]]]] = {}
    for k, row in enumerate(rows):
        for t, slice_ in enumerate(row):
            files.setdefault(id(slice_.file), (slice_.file, []))[1].append((t, k))
    flat = [slice_ for row in rows for slice_ in row]
    is_scaled = _is_scaled(flat)
    first = flat[0]
    volume = np.empty((len(rows[0]), len(rows), *first.shape, *first.layout.channels), _volume_dtype(flat, is_scaled))
    for file, cells in progress(files.values(), len(files), "Reading slices"):
        targets = [_target(rows[k][t], volume[t, k], is_scaled) for t, k in cells]
        t, k = cells[0]
        fill(file, rows[k][t].layout, targets)
    return volume if is_scaled else _add_intercepts(volume, rows)


def expected_dtype(rows: Sequence[Sequence[Slice]]) -> tuple[np.dtype, bool]:
    """The type that `read_volume` gives, and whether the headers alone decide it.

    Where the bits that a header allows would not fit int16, the values decide: the type is then that of values which
    fit as many bits as are stored, as nearly all do.
    """
    flat = [slice_ for row in rows for slice_ in row]
    is_scaled = _is_scaled(flat)
    dtype, offsets = _volume_dtype(flat, is_scaled), _offsets(rows)
    if is_scaled or not offsets.any() or _is_colour(flat[0]):
        return dtype, True
    low, high = _bounds(rows)
    if _are_short(low, high, offsets):
        return np.dtype(np.int16), True
    return np.dtype(np.int16 if dtype.itemsize <= 2 else np.int32), False


def _is_colour(slice_: Slice) -> bool:
    return bool(slice_.layout.channels)


def _is_scaled(slices: Sequence[Slice]) -> bool:
    """Whether the modality transform needs floating point."""
    return not _is_colour(slices[0]) and any(
        s.slope != 1
        or s.intercept != round(s.intercept)
        or abs(s.intercept) >= 2**53  # where float64 no longer tells whole numbers apart
        or s.layout.kind == "f"
        or s.layout.has_modality_lut
        for s in slices
    )


def _volume_dtype(slices: Sequence[Slice], is_scaled: bool) -> np.dtype:
    stored = np.result_type(*{s.layout.dtype for s in slices})
    if is_scaled:
        return np.dtype(np.float64 if stored == np.float64 and slices[0].layout.kind == "f" else np.float32)
    if slices[0].layout.is_palette:
        return np.dtype(np.uint8 if all(s.layout.palette_bits == 8 for s in slices) else np.uint16)
    return np.result_type(stored, np.int16) if any(s.intercept for s in slices) and stored.itemsize == 1 else stored


def _target(slice_: Slice, out: np.ndarray, is_scaled: bool) -> Target:
    scale = is_scaled and not slice_.layout.has_modality_lut and (slice_.slope, slice_.intercept) != (1.0, 0.0)
    return Target(slice_.frame, slice_.corner, out, slice_.slope if scale else None, slice_.intercept)


def _add_intercepts(volume: np.ndarray, rows: Sequence[Sequence[Slice]]) -> np.ndarray:
    """Adds whole intercepts to stored integers, in the memory they are in where int16 holds every value."""
    offsets = _offsets(rows)
    if not offsets.any() or _is_colour(rows[0][0]):
        return volume
    low, high = _extremes(volume, rows, offsets)
    if volume.dtype.itemsize == 2 and low >= -32768 and high <= 32767:
        result = volume.view(np.int16)
        result += offsets[:, :, None, None].astype(np.int16)  # wraps, and wraps back: the sums all fit
        return result
    dtype = np.int16 if low >= -32768 and high <= 32767 else np.int32 if low >= -(2**31) and high < 2**31 else np.int64
    result = np.empty(volume.shape, dtype)
    for place in np.ndindex(offsets.shape):
        result[place] = volume[place].astype(np.int64) + offsets[place]
    return result


def _offsets(rows: Sequence[Sequence[Slice]]) -> np.ndarray:
    """The whole part of each intercept, `(volume, slice)`."""
    return np.array([[int(slice_.intercept) for slice_ in row] for row in rows]).T


def _bounds(rows: Sequence[Sequence[Slice]]) -> tuple[int, int]:
    """Bounds of the values by the bits that are stored."""
    ranges = [(*s.layout.value_range, int(s.intercept)) for row in rows for s in row]
    return min(r[0] + r[2] for r in ranges), max(r[1] + r[2] for r in ranges)


def _are_short(low: int, high: int, offsets: np.ndarray) -> bool:
    """Whether int16 holds all values within the bounds, and every offset."""
    return low >= -32768 and high <= 32767 and bool(np.abs(offsets).max() <= 32767)


def _extremes(volume: np.ndarray, rows: Sequence[Sequence[Slice]], offsets: np.ndarray) -> tuple[int, int]:
    """Bounds of the values: those of the stored bits, or of the values themselves if the bits would not fit int16."""
    low, high = _bounds(rows)
    if _are_short(low, high, offsets):
        return low, high
    lows, highs = volume.min(axis=(2, 3)).astype(np.int64), volume.max(axis=(2, 3)).astype(np.int64)
    return int((lows + offsets).min()), int((highs + offsets).max())


def digest(slice_: Slice) -> bytes:
    """A hash of the pixels and their scaling, the same for slices with the same pixels."""
    check_size(slice_.file, slice_.layout)
    shape = (*slice_.shape, *slice_.layout.channels)
    out = np.empty(shape, _volume_dtype([slice_], slice_.layout.has_modality_lut))
    fill(slice_.file, slice_.layout, [Target(slice_.frame, slice_.corner, out)])
    return hashlib.sha256(out.tobytes() + repr((slice_.slope, slice_.intercept)).encode()).digest()


def is_blank(slice_: Slice) -> bool:
    """Whether all of its stored values are 0."""
    out = np.empty((*slice_.shape, *slice_.layout.channels), _volume_dtype([slice_], slice_.layout.has_modality_lut))
    check_size(slice_.file, slice_.layout)
    fill(slice_.file, slice_.layout, [Target(slice_.frame, slice_.corner, out)])
    return not out.any()


def even_count(depths: np.ndarray) -> int:
    """The number of slices of an even grid that keeps the first and last slice and about the median step."""
    return max(round(float(depths[-1] / np.median(np.diff(depths)))), 1) + 1


def even_out(volume: np.ndarray, depths: np.ndarray, policy: SpacingPolicy) -> tuple[np.ndarray, np.ndarray]:
    """Puts unevenly spaced slices onto an even grid from the first to the last.

    The new step is the median of the old ones, stretched so that the last slice keeps its place. If slices are missing
    from a regular stack, all others stay as they are.

    Args:
        volume: `(volume, slice, row, column, *channels)`.
        depths: Distance of each slice from the first, mm.
        policy: "resample" interpolates linearly between the two neighbours, in float32; "nearest" repeats the nearest.

    Returns:
        The volume, and for each new slice the number of the nearest old one.
    """
    count = even_count(depths)
    places = np.linspace(0.0, depths[-1], count)
    above = np.clip(np.searchsorted(depths, places, side="left"), 1, len(depths) - 1)
    weight = (places - depths[above - 1]) / (depths[above] - depths[above - 1])
    nearest = np.where(weight < 0.5, above - 1, above)
    if policy == "nearest":
        return volume[:, nearest], nearest
    result = np.empty((volume.shape[0], count, *volume.shape[2:]), np.result_type(volume.dtype, np.float32))
    for k, (upper, w) in enumerate(zip(above, weight, strict=True)):
        result[:, k] = volume[:, upper - 1] * (1 - w) + volume[:, upper] * w
    return result, nearest
