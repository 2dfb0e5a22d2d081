"""The series of a folder, described from their headers, and the choice of one of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax._errors import ImageFileError
from medjax._geometry._grid import plain, spacing_of
from medjax._geometry._orientation import orientation_of
from medjax._lazy import public
from medjax.io._dicom._assembly import check, lattice
from medjax.io._dicom._errors import (
    InconsistentGeometryError,
    MultipleSeriesError,
    NonUniformSpacingError,
    NotAnImageError,
)
from medjax.io._dicom._header import parsing, whole_dataset
from medjax.io._dicom._quiet import quiet
from medjax.io._dicom._scan import Group, Scan, groups_of, parts_of, scan
from medjax.io._dicom._stored import first_text, series_number
from medjax.io._dicom._volume import digest
from medjax.io._disk._warn import warn

__all__ = ["DicomSeries", "choose", "described", "existing_path", "list_dicom_series", "notes_on_scan"]

_MODALITY = 0x00080060
_DESCRIPTION = 0x0008103E


@public("medjax.io")
@dataclasses.dataclass(frozen=True)
class DicomSeries:
    """An image that can be loaded, described from headers alone.

    Attributes:
        uid: Series Instance UID (0020,000E).
        stack: Number within the series. It is 0 unless the slices of the series differ in orientation or size (a
            localiser), in scaling (magnitude and phase), or in patient, modality or units, which no series should mix.
        modality: Modality (0008,0060), `None` where it is not stated. So are the next two.
        description: Series Description (0008,103E).
        number: Series Number (0020,0011).
        files: Number of files.
        shape: Voxels along i, j, k, and the number of volumes if the series has several.
        spacing: Voxel size in mm, `None` where the file does not state it or it varies.
        orientation: Code of the directions of increasing index, such as "LPS"; `None` where it is not stated.
        problem: The reason of the error that loading with default options would raise, else `None`. Damage within
            compressed pixels only shows when they are read.

    Example:
        >>> mj.io.DicomSeries("1.2.3", 0, "CT", "Thorax", 2, 75, (512, 512, 75), (0.7, 0.7, 5.0), "LPS", None).shape
        (512, 512, 75)
    """

    uid: str
    stack: int
    modality: str | None
    description: str | None
    number: int | None
    files: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    orientation: str | None
    problem: str | None


def list_dicom_series(path: str | os.PathLike[str]) -> list[DicomSeries]:
    """Lists the series in a folder and its subfolders without reading pixels, in the order of their numbers.

    A series whose slices differ in orientation or size (or scaling, patient, modality, units) has one entry per stack.
    Pixels are only read where nothing else tells whether slices at one position are copies.

    Args:
        path: A folder, a DICOMDIR or a DICOM file.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: a subfolder cannot be listed, or a file cannot be read.
        ImageFileError: a DICOM file is damaged. Files that are not DICOM are left out.

    Warns:
        ImageFileWarning: files that are named like DICOM cannot be read as DICOM, or are not there.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> for series in mj.io.list_dicom_series(get_testdata_file("CT_small.dcm")):
        ...     print(series.modality, series.shape, series.spacing, series.orientation)
        CT (128, 128, 1) (0.661468, 0.661468, 5.0) LPS
    """
    path = existing_path(path)
    with quiet():
        found = scan(path)
        records = [described(group) for group in groups_of(found.files)]
    for note in notes_on_scan(found):
        warn(path, note)
    return records


def existing_path(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    return path


def notes_on_scan(found: Scan) -> list[str]:
    """Warns of files that should be DICOM by their names and could not be read."""
    if not found.unread:
        return []
    shown = ", ".join(found.unread[:3]) + (", ..." if len(found.unread) > 3 else "")
    count = len(found.unread)
    return [f"{count} file{'s' if count > 1 else ''} named like DICOM could not be read and left aside: {shown}"]


def choose(found: Scan, path: Path, uid: str | None, stack: int | str | None) -> Group:
    """The group that is meant; an error lists the groups where that is not clear."""
    groups = groups_of(found.files)
    if not groups:
        raise _no_image(found, path)
    return _one_stack(_one_series(groups, path, uid), path, stack)


def _no_image(found: Scan, path: Path) -> ImageFileError:
    if found.skipped:
        skipped = ", ".join(f"{count} x {kind}" for kind, count in found.skipped.items())
        return NotAnImageError(path, f"there is no image among its DICOM objects: {skipped}")
    return ImageFileError(path, "; ".join(["there is no DICOM file in it", *notes_on_scan(found)]))


def _one_series(groups: list[Group], path: Path, uid: str | None) -> list[Group]:
    """The groups of one series: of the series that the caller names, else of the only one."""
    chosen = [group for group in groups if uid is None or group.uid == uid]
    if not chosen:
        raise MultipleSeriesError(path, f"no series has the UID {uid}; there are", listed=_lines_of(groups))
    count = len({group.uid for group in chosen})
    if count > 1:
        hint = "choose one with io.load_dicom_series(path, series_uid)"
        raise MultipleSeriesError(path, f"there are {count} series", hint, _lines_of(chosen))
    return chosen


def _one_stack(groups: list[Group], path: Path, stack: int | str | None) -> Group:
    """The stack of a series that the caller asks for, else the only one."""
    if stack == "largest":
        return max(groups, key=lambda group: len(group.slices))
    if stack is not None:
        if stack not in range(len(groups)):
            raise MultipleSeriesError(path, f"the series has no stack {stack!r}", listed=_lines_of(groups))
        return groups[int(stack)]
    if len(groups) > 1:
        reason = f"the series has {len(groups)} stacks of different {_differences(groups)}"
        hint = 'choose one with io.load_dicom_series(path, stack=0), or stack="largest"'
        raise MultipleSeriesError(path, reason, hint, _lines_of(groups))
    return groups[0]


def _differences(groups: Sequence[Group]) -> str:
    """Names the attributes in which the stacks of a series differ. Their values, which may be a patient's, stay out."""
    unlike = {
        name: len({first_text(group.file.dataset, tag) for group in groups}) > 1
        for name, tag in (
            ("patient", 0x00100020),
            ("modality", _MODALITY),
            ("units", 0x00541001),
        )
    }
    unlike["scaling"] = len({part for group in groups for part in map(parts_of, group.slices)}) > 1
    return ", ".join(name for name, differs in unlike.items() if differs) or "orientation or size"


def _lines_of(groups: Sequence[Group]) -> list[str]:
    lines = [_line(described(group)) for group in groups[:20]]
    return lines + ([f"and {len(groups) - 20} more"] if len(groups) > 20 else [])


def _line(record: DicomSeries) -> str:
    size = " x ".join(map(str, record.shape))
    spacing = (
        "spacing varies or unknown"
        if record.spacing is None
        else f"{' x '.join(f'{x:.4g}' for x in record.spacing)} mm"
    )
    description = f' "{record.description}"' if record.description else ""
    where = record.orientation or "no orientation"
    files = f"{record.files} file{'s' if record.files > 1 else ''}"
    what = f"{record.modality or 'image'}{description}"
    return f"{record.uid or '(no UID)'} stack {record.stack}: {what}, {files}, {size}, {spacing}, {where}"


def described(group: Group) -> DicomSeries:
    """Describes a group of slices as `list_dicom_series` does."""
    dataset = group.file.dataset
    shape, affine, is_even, problem = _outline(group)
    is_known = affine is not None and is_even
    return DicomSeries(
        uid=group.uid,
        stack=group.stack,
        modality=first_text(dataset, _MODALITY) or None,
        description=first_text(dataset, _DESCRIPTION) or None,
        number=series_number(dataset),
        files=len({id(s.file) for s in group.slices}) or 1,
        shape=shape,
        spacing=tuple(round(x, 9) for x in plain(spacing_of(affine))) if is_known else None,
        orientation=None if affine is None else orientation_of(affine),
        problem=problem,
    )


def _outline(group: Group) -> tuple[tuple[int, ...], np.ndarray | None, bool, str | None]:
    """Shape, affine, whether the spacing is even, and the problem that loading would meet, as far as headers tell."""
    if group.is_segmentation:
        return _outline_of_segmentation(group)
    rows, columns = group.slices[0].shape
    path = group.file.path
    try:
        volumes, stack = lattice(group.slices, path, "dimension", digest)
    except ImageFileError as error:
        return (columns, rows, len(group.slices)), None, False, error.reason
    shape = (columns, rows, len(volumes.rows), *((len(volumes.rows[0]),) if volumes.by else ()))
    problem = None
    try:
        check(group.slices, volumes, stack, path, "error")
    except NonUniformSpacingError as error:
        return (columns, rows, len(group.slices)), None, False, error.reason
    except InconsistentGeometryError as error:
        return shape, None, False, error.reason
    except ImageFileError as error:
        problem = error.reason
    return shape, None if stack is None else stack.affine, stack is not None, problem


def _outline_of_segmentation(group: Group) -> tuple[tuple[int, ...], np.ndarray | None, bool, str | None]:
    """The same of a Segmentation object. It is read to find out what is wrong with it, since a mask is small."""
    from medjax.io._dicom._segmentation import read_segmentation

    path = group.file.path
    try:
        with parsing(path):
            dataset = whole_dataset(group.file)
        image = read_segmentation(dataset, path)
    except ImageFileError as error:
        return (), None, False, error.reason
    return image.shape, image.affine, True, None
