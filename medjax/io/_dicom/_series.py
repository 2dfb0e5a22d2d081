"""A series of files as one image."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from medjax._image._image import Image, locked
from medjax.io._dicom._assemble import Assembled, assemble
from medjax.io._dicom._dimensions import Repeats
from medjax.io._dicom._header import parsing, whole_dataset
from medjax.io._dicom._list import choose, existing_path, notes_on_scan
from medjax.io._dicom._quiet import quiet
from medjax.io._dicom._scan import Group, scan, scan_files
from medjax.io._dicom._segmentation import read_segmentation
from medjax.io._dicom._volume import SpacingPolicy
from medjax.io._disk._warn import warn
from medjax.io._sources import located

__all__ = ["load_dicom_series", "read", "read_files"]


def load_dicom_series(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    series_uid: str | None = None,
    *,
    stack: int | Literal["largest"] | None = None,
    spacing_policy: SpacingPolicy = "error",
    repeats: Repeats = "dimension",
) -> Image:
    """Loads one DICOM series as an image; `load_image` of a folder is this with the defaults.

    Slices are ordered by their positions and ascend along the normal of their planes; file names and numbers do not
    matter. Voxel (i, j, k) is column i and row j of slice k. The modality transform is applied to the values
    (Hounsfield units, Bq/ml); the display window and the inversion of MONOCHROME1 are not. Values stay integers where
    that is exact, and are float32 otherwise. Slices that repeat at every position make a trailing axis: time, echo,
    b-value.

    Args:
        path: A folder, with its subfolders; a DICOMDIR; a file; or a list of files, all of them images.
        series_uid: Series Instance UID, where there are several series; `list_dicom_series` lists them.
        stack: Which stack of parallel slices, where a series has several; or "largest", the one with the most slices.
        spacing_policy: How to load unevenly spaced slices, as when one is missing. "error" raises. "resample"
            interpolates linearly onto even positions, the median step apart, in float32. "nearest" takes the nearest
            slice for each of these. "even" takes the slices as evenly spaced from the first to the last, which is for
            positions that were rounded.
        repeats: How to load several slices at one position. "dimension" makes a trailing axis if an attribute with a
            meaning tells them apart. "order" makes one in any case, if need be by number. "error" raises.

    Returns:
        A single image, LPS mm. `metadata.extra` holds all public attributes by keyword. Its entry "per_slice" holds
        those that differ between slices, and "volumes" those that tell volumes apart.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an option is unknown.
        MultipleSeriesError: there are several series or stacks; the message lists them.
        NonUniformSpacingError: the slices are unevenly spaced.
        DuplicatePositionError: different slices lie at one position.
        InconsistentGeometryError: the slices do not lie on one grid.
        NoGeometryError: there are several files, and positions are missing.
        OSError: a subfolder cannot be listed, or a file cannot be read.
        ImageFileError: a file is damaged, holds no image, or needs another package; a subclass says which.

    Warns:
        ImageFileWarning: the stack leans (gantry tilt; the sheared affine is exact), copies of slices were left out,
            the file does not state its place, slices were interpolated or taken as even, a slope is 0, or files that
            are named like DICOM cannot be read as DICOM.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> mj.io.load_dicom_series(get_testdata_file("CT_small.dcm"))
        Image(128x128x1 int16 intensity, spacing 0.6615 x 0.6615 x 5 mm, LPS, CT)

    Source: DICOM PS3.3 sections C.7.6.2 (image plane), C.7.6.16 (functional groups), C.11.1 (modality LUT).
    """
    for name, value, allowed in (
        ("spacing_policy", spacing_policy, get_args(SpacingPolicy)),
        ("repeats", repeats, get_args(Repeats)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    with located(path) as source:
        if source.files is None:
            existing_path(source.path)
        loaded = _load(source.files, source.path, _Choice(series_uid, stack, spacing_policy, repeats))
        for note in loaded.notes:
            warn(source.path, note)
    return locked(loaded.image)


def read(path: Path) -> Image:
    """Reads a file, a folder or a DICOMDIR tree that holds one image."""
    return read_files(None, path)


def read_files(files: Sequence[Path] | None, path: Path) -> Image:
    """Reads files of one series in a folder; `None` stands for what there is at the path."""
    loaded = _load(files, path, _Choice())
    for note in loaded.notes:
        warn(path, note)
    return loaded.image


@dataclasses.dataclass(frozen=True)
class _Choice:
    """Which image of the files to load, and how: the options of `load_dicom_series`."""

    uid: str | None = None
    stack: int | str | None = None
    policy: SpacingPolicy = "error"
    repeats: Repeats = "dimension"


def _load(files: Sequence[Path] | None, path: Path, choice: _Choice) -> Assembled:
    """Loads an image, with what the scan of the files and the assembly have to warn of."""
    with quiet():
        found = scan(path) if files is None else scan_files(files)
        group = choose(found, path, choice.uid, choice.stack)
        try:
            loaded = _read(group, path, choice.policy, choice.repeats)
        finally:  # each file was opened several times by its name: what was read, or failed, is of one file or of none
            for file in group.files:
                file.check_identity()
    return Assembled(loaded.image, notes_on_scan(found) + loaded.notes)


def _read(group: Group, path: Path, policy: SpacingPolicy, repeats: Repeats) -> Assembled:
    if not group.is_segmentation:
        return assemble(group.slices, path, policy, repeats)
    with parsing(group.file.path):
        dataset = whole_dataset(group.file)
    return Assembled(read_segmentation(dataset, group.file.path), [])
