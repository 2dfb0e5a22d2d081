"""A stack of slices as an image: its pixels in the order that its headers tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax._image._image import Image, image_from
from medjax.io._dicom._assembly import arranged
from medjax.io._dicom._dimensions import Repeats
from medjax.io._dicom._slices import Slice
from medjax.io._dicom._volume import SpacingPolicy, even_out, read_volume

__all__ = ["Assembled", "assemble"]

_RESAMPLED = {
    "resample": "interpolated onto even positions",
    "nearest": "each even position shows the nearest of them",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Assembled:
    """An image, and what to warn of once it is read."""

    image: Image
    notes: list[str]


def assemble(slices: Sequence[Slice], path: Path, policy: SpacingPolicy, repeats: Repeats) -> Assembled:
    """Makes an image of parallel slices of one size.

    Raises:
        ImageFileError: they do not fit together or cannot be read; a subclass says why.
    """
    found = arranged(slices, path, policy, repeats)
    stack, rows, affine = found.stack, found.volumes.rows, found.affine
    volume = read_volume(rows)
    notes = [*found.notes, *_notes_on_range(volume, rows)]
    if stack is not None and stack.uneven is not None:
        notes.append(_uneven_note(stack.uneven, policy))
        if policy != "even":
            volume, nearest = even_out(volume, stack.depths, policy)
            affine = _restepped(affine, len(rows), volume.shape[1])
            rows = [rows[n] for n in nearest]
    voxels = _in_image_order(volume, is_series=bool(found.volumes.by))
    return Assembled(image_from(voxels, affine=affine, metadata=found.metadata(rows, path)), notes)


def _notes_on_range(volume: np.ndarray, rows: Sequence[Sequence[Slice]]) -> list[str]:
    """Whether there are values that a Real World Value Mapping does not cover."""
    count = 0
    for k, row in enumerate(rows):
        for t, slice_ in enumerate(row):
            if slice_.scaling.range is not None:
                ends = [stored * slice_.slope + slice_.intercept for stored in slice_.scaling.range]
                margin = abs(slice_.slope) / 2 if slice_.layout.kind != "f" else 1e-6 * max(map(abs, ends))
                count += int(((volume[t, k] < min(ends) - margin) | (volume[t, k] > max(ends) + margin)).sum())
    reason = "voxels lie outside the range that the Real World Value Mapping covers, and were mapped like the others"
    return [f"{count} {reason}"] if count else []


def _uneven_note(uneven: str, policy: SpacingPolicy) -> str:
    if policy == "even":
        return f"the slices are taken as even: {uneven}"
    return f"the slices are not evenly spaced ({uneven}): {_RESAMPLED[policy]}"


def _restepped(affine: np.ndarray, old: int, new: int) -> np.ndarray:
    """The affine with as many slices between the same first and last."""
    result = affine.copy()
    result[:3, 2] *= (old - 1) / (new - 1)
    return result


def _in_image_order(volume: np.ndarray, *, is_series: bool) -> np.ndarray:
    """(volume, slice, row, column, *channels) as (column, row, slice, volume, *channels), without copying."""
    axes = (3, 2, 1, 0, *range(4, volume.ndim))
    voxels = volume.transpose(axes)
    return voxels if is_series else voxels[:, :, :, 0]
