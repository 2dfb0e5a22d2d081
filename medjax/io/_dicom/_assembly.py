"""A stack of slices before its pixels are read: place, arrange, measure, check."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medjax._errors import ImageFileError
from medjax._geometry._grid import Grid
from medjax._image._metadata import Metadata
from medjax.io._dicom._dimensions import Repeats, Volumes, arrange, name_of
from medjax.io._dicom._errors import InconsistentGeometryError, NoGeometryError, NonUniformSpacingError
from medjax.io._dicom._geometry import (
    Stack,
    affine_of_single,
    axes_of,
    check_spacing,
    depth_of,
    measure,
    pixel_spacing_of,
    places,
)
from medjax.io._dicom._header import parsing
from medjax.io._dicom._metadata import metadata_of_slices
from medjax.io._dicom._pixels import check_decoder, check_size
from medjax.io._dicom._slices import Slice
from medjax.io._dicom._stored import first_text
from medjax.io._dicom._volume import SpacingPolicy, digest, even_count, is_blank

__all__ = ["Arranged", "arranged", "check", "lattice"]


def lattice(
    slices: Sequence[Slice], path: Path, repeats: Repeats, digest: Callable[[Slice], bytes]
) -> tuple[Volumes, Stack | None]:
    """Arranges slices by place and volume, and fits their lattice. Slices without a place have no lattice.

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
    """One frame, or the frames of one file. Several files without positions cannot be ordered, which is an error."""
    files = len({id(s.file) for s in slices})
    if files > 1:
        reason = f"{files} files have no ImageOrientationPatient, and their numbers or names do not say where they lie"
        raise NoGeometryError(path, reason, "load each file on its own")
    if len(slices) == 1:
        return Volumes([list(slices)])
    return Volumes([list(slices)], ("frame",), tuple((s.frame,) for s in slices))


@dataclasses.dataclass(frozen=True, eq=False)
class Arranged:
    """Slices in the order of a volume, with all that their headers tell of it.

    Attributes:
        volumes: The slices by place and volume.
        stack: Their lattice; `None` where they have no place.
        affine: Index to LPS mm.
        notes: What to warn of.
    """

    volumes: Volumes
    stack: Stack | None
    affine: np.ndarray
    notes: list[str]

    def metadata(self, rows: Sequence[Sequence[Slice]], path: Path) -> Metadata:
        """What the headers of slices state; the slices are those of the volumes, or some of them repeated."""
        volumes = self.volumes
        with parsing(path):
            return metadata_of_slices(
                rows, volumes.by, volumes.values, source=path.name, is_placed=_is_placed(rows[0][0])
            )


def arranged(slices: Sequence[Slice], path: Path, policy: SpacingPolicy, repeats: Repeats) -> Arranged:
    """Arranges parallel slices of one size, and checks all that the headers tell.

    Raises:
        ImageFileError: they do not fit together or cannot be loaded; a subclass says why.
    """
    volumes, stack = lattice(slices, path, repeats, digest)
    affine = affine_of_single(volumes.rows[0][0]) if stack is None else stack.affine
    notes = [
        *check(slices, volumes, stack, path, policy),
        *_notes_on_copies(volumes.copies),
        *_notes_on_place(stack, volumes.rows),
        *_notes_on_mixture(slices),
    ]
    return Arranged(volumes, stack, affine, notes)


def check(
    slices: Sequence[Slice], volumes: Volumes, stack: Stack | None, path: Path, policy: SpacingPolicy
) -> list[str]:
    """Checks all that the headers tell before the pixels are read, and returns the warnings.

    Raises:
        ImageFileError: the slices cannot be loaded; a subclass says why.
    """
    notes = _check_scaling(slices, path)
    for file, layout in {id(s.file): (s.file, s.layout) for row in volumes.rows for s in row}.values():
        check_size(file, layout)
        check_decoder(file, layout)
    if stack is not None:
        check_spacing(stack, path, policy)
        count = even_count(stack.depths) if stack.uneven and policy in ("resample", "nearest") else 0
        if count > _MOST_ADDED * len(volumes.rows):
            raise NonUniformSpacingError(path, f"{stack.uneven}: an even grid would need {count} slices")
    try:
        Grid.of((1, 1, 1), affine=affine_of_single(volumes.rows[0][0]) if stack is None else stack.affine)
    except ValueError as error:
        raise InconsistentGeometryError(path, f"its geometry is not that of a grid: {error}") from None
    return notes


def _check_scaling(slices: Sequence[Slice], path: Path) -> list[str]:
    """Refuses a stack in which some slices state a part of the scaling and some do not; returns the warnings."""
    tabled = [s for s in slices if s.layout.has_modality_lut]
    if 0 < len(tabled) < len(slices):
        others = [s for s in slices if not s.layout.has_modality_lut]
        raise ImageFileError(path, _silent_reason(others, slices, "Modality LUT"), _SCALED_APART)
    keyword = next((s.scaling.keyword for s in slices if s.scaling.slope is not None), "RescaleSlope")
    for name, part in ((keyword, "slope"), ("RescaleIntercept", "intercept")):
        silent = [s for s in slices if getattr(s.scaling, part) is None]
        if 0 < len(silent) < len(slices):
            raise ImageFileError(path, _silent_reason(silent, slices, name), _SCALED_APART)
    notes = sorted(({s.note for s in slices} | {s.scaling.note for s in slices}) - {""})
    flat = [s for s in slices if s.scaling.slope == 0]
    if flat and len(flat) == len(slices):
        notes.append(f"{keyword} is 0, which cannot be meant: it is read as 1")
    for slice_ in flat if len(flat) < len(slices) else ():
        if not is_blank(slice_):  # a slice of zeros is one whatever its slope
            reason = f"{keyword} of {name_of(slice_)} is 0, and that of other slices is not: its values are unknown"
            raise ImageFileError(path, reason, "correct it, or remove the slice")
    if keyword == "RescaleSlope" and first_text(slices[0].file.dataset, _MODALITY) == "RTDOSE" and not tabled:
        notes.append("it states no DoseGridScaling: its values are as stored, and no dose")
    return notes


def _silent_reason(silent: Sequence[Slice], slices: Sequence[Slice], name: str) -> str:
    counted = "files" if len({id(s.file) for s in slices}) == len(slices) else "slices"
    shown = f"{len(silent)} of its {len(slices)} {counted}, such as {min(map(name_of, silent))}"
    return f"{shown}, state no {name}: their values are unknown"


_SCALED_APART = "load the files on their own, or correct them"
_MODALITY = 0x00080060
_COMMON = {"studies": 0x0020000D, "frames of reference": 0x00200052}  # a series has one of each, PS3.3 A.1.2

# An even grid with more slices than this, per slice that is there, comes from stray positions and not from a gap.
_MOST_ADDED = 50


def _notes_on_copies(copies: Sequence[Slice]) -> list[str]:
    if not copies:
        return []
    names = ", ".join(sorted(s.file.path.name for s in copies)[:3])
    reason = "copies, with the pixels of another at the same position, and left out"
    return [f"{len(copies)} of the slices are {reason}: {names}"]


def _notes_on_mixture(slices: Sequence[Slice]) -> list[str]:
    counts = {name: len({first_text(s.file.dataset, tag) for s in slices}) for name, tag in _COMMON.items()}
    return [
        f"its slices name {count} different {name}: they may not belong together"
        for name, count in counts.items()
        if count > 1
    ]


def _is_placed(slice_: Slice) -> bool:
    return slice_.is_placed and slice_.position is not None and slice_.orientation is not None


def _notes_on_place(stack: Stack | None, rows: Sequence[Sequence[Slice]]) -> list[str]:
    """Warns of a place that the file does not state, and of a stack that leans."""
    first = rows[0][0]
    if stack is None:
        return [_unplaced_note(first)]
    notes = []
    if stack.lean_degrees:
        notes.append(
            f"the stack leans {stack.lean_degrees:.2f} degrees (gantry tilt): its affine is sheared, and exact; "
            "resample_to_grid onto an orthogonal grid straightens the voxels"
        )
    if not first.is_placed:
        notes.append(_unplaced_note(first))
    if len(rows) == 1 and first.thickness is None:
        notes.append("the file states no slice thickness, which is set to 1 mm")
    return notes


def _unplaced_note(slice_: Slice) -> str:
    size = "" if slice_.pixel_spacing else ", with pixels of 1 mm, as their size is not stated either"
    return f"the file does not say where the image lies: it is put at the origin, along the world's axes{size}"
