"""A stack of slices as an image: place, arrange, measure, read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medjax._image import Image, image_from
from medjax.io._dicom._dimensions import Repeats, Volumes, arrange
from medjax.io._dicom._errors import InconsistentGeometryError, NoGeometryError, NonUniformSpacingError
from medjax.io._dicom._geometry import (
    Stack,
    affine_of_single,
    axes_of,
    check_uniform,
    depth_of,
    measure,
    pixel_spacing_of,
    places,
)
from medjax.io._dicom._header import first_text, parsing
from medjax.io._dicom._metadata import metadata_of_slices
from medjax.io._dicom._slices import Slice
from medjax.io._dicom._volume import SpacingPolicy, digest, even_count, even_out, read_volume
from medjax.io._errors import ImageFileError

__all__ = ["assemble", "lattice"]


def lattice(
    slices: Sequence[Slice], path: Path, repeats: Repeats, digest: Callable[[Slice], bytes]
) -> tuple[Volumes, Stack | None]:
    """Arranges slices by place and volume, and fits their lattice; there is none if the file does not place them.

    Raises:
        ImageFileError: they do not fit together; a subclass says why.
    """
    if slices[0].orientation is None:
        return _unplaced(slices, path), None
    axes = axes_of(slices, path)
    spacing = pixel_spacing_of(slices, path) if _has_size(slices) else (1.0, 1.0)
    volumes = arrange(slices, places(depth_of(slices, axes, path), spacing), repeats, path, digest)
    return volumes, measure(volumes.rows, axes, spacing, path)


def _has_size(slices: Sequence[Slice]) -> bool:
    """Whether pixel spacing is stated, or at least must be, because the slices have positions."""
    return slices[0].is_placed or any(s.pixel_spacing is not None for s in slices)


def _unplaced(slices: Sequence[Slice], path: Path) -> Volumes:
    """A picture, or the frames of a loop; several files of which nobody knows where they lie make no volume."""
    files = len({id(s.file) for s in slices})
    if files > 1:
        reason = f"{files} files have no ImageOrientationPatient, and their numbers or names do not say where they lie"
        raise NoGeometryError(path, reason, "load each file on its own")
    if len(slices) == 1:
        return Volumes([list(slices)])
    return Volumes([list(slices)], ("frame",), tuple((s.frame,) for s in slices))


def assemble(slices: Sequence[Slice], path: Path, policy: SpacingPolicy, repeats: Repeats, notes: list[str]) -> Image:
    """Makes an image of parallel slices of one size; what there is to warn of is added to `notes`.

    Raises:
        ImageFileError: they do not fit together or cannot be read; a subclass says why.
    """
    _check_scaling(slices, path)
    volumes, stack = lattice(slices, path, repeats, digest)
    if volumes.copies:
        notes.append(_copies_note(volumes.copies))
    if stack is not None and policy == "error":
        check_uniform(stack, path)
    rows = volumes.rows
    affine = _unplaced_affine(rows[0][0], notes) if stack is None else stack.affine
    if stack is not None:
        notes += _notes_on(stack, rows)
    for name, tag in _COMMON.items():
        count = len({first_text(s.file.dataset, tag) for s in slices})
        if count > 1:
            notes.append(f"its slices name {count} different {name}: they may not belong together")
    volume = read_volume(rows)
    if stack is not None and stack.uneven is not None:
        if even_count(stack.depths) > _MOST_ADDED * len(rows):
            raise NonUniformSpacingError(
                path, f"{stack.uneven}: an even grid would need {even_count(stack.depths)} slices"
            )
        volume, nearest = even_out(volume, stack.depths, policy)
        affine = _restepped(affine, len(rows), volume.shape[1])
        notes.append(f"the slices are not evenly spaced ({stack.uneven}): {_RESAMPLED[policy]}")
        rows = [rows[n] for n in nearest]
    with parsing(path):
        metadata = metadata_of_slices(
            rows, volumes.by, volumes.values, source=path.name, is_placed=_is_placed(rows[0][0])
        )
    voxels = _in_image_order(volume, is_series=bool(volumes.by))
    try:
        return image_from(voxels, affine=affine, metadata=metadata)
    except ValueError as error:
        raise InconsistentGeometryError(path, f"its geometry is not that of a grid: {error}") from None


def _check_scaling(slices: Sequence[Slice], path: Path) -> None:
    """Refuses a stack in which some files state how to scale their values and some do not."""
    files = {id(s.file): s.file for s in slices}.values()
    for name, tag in _SCALING.items():
        silent = [file.path.name for file in files if tag not in file.dataset]
        if 0 < len(silent) < len(files):
            raise ImageFileError(
                path,
                f"{len(silent)} of its {len(files)} files, such as {silent[0]}, state no {name}: their values are unknown",
            )


_SCALING = {"RescaleSlope": 0x00281053, "RescaleIntercept": 0x00281052}
_COMMON = {"studies": 0x0020000D, "frames of reference": 0x00200052}  # a series has one of each, PS3.3 A.1.2

# An even grid with more slices than this, per slice that is there, comes from stray positions and not from a gap.
_MOST_ADDED = 50
_RESAMPLED = {
    "resample": "interpolated onto even positions",
    "nearest": "each even position shows the nearest of them",
}


def _copies_note(copies: Sequence[Slice]) -> str:
    names = ", ".join(sorted(s.file.path.name for s in copies)[:3])
    return f"{len(copies)} of the slices are copies, with the pixels of another at the same position, and left out: {names}"


def _is_placed(slice_: Slice) -> bool:
    return slice_.is_placed and slice_.position is not None and slice_.orientation is not None


def _unplaced_affine(slice_: Slice, notes: list[str]) -> np.ndarray:
    notes.append(_unplaced_note(slice_))
    return affine_of_single(slice_)


def _unplaced_note(slice_: Slice) -> str:
    size = "" if slice_.pixel_spacing else ", with pixels of 1 mm, as their size is not stated either"
    return f"the file does not say where the image lies: it is put at the origin, along the world's axes{size}"


def _notes_on(stack: Stack, rows: Sequence[Sequence[Slice]]) -> list[str]:
    notes = []
    if stack.lean_degrees:
        notes.append(
            f"the stack leans {stack.lean_degrees:.2f} degrees (gantry tilt): its affine is sheared, and exact; "
            "resample_to_grid onto an orthogonal grid straightens the voxels"
        )
    if not rows[0][0].is_placed:
        notes.append(_unplaced_note(rows[0][0]))
    if len(rows) == 1 and rows[0][0].thickness is None:
        notes.append("the file states no slice thickness, which is set to 1 mm")
    return notes


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
