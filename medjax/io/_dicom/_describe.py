"""A file, a folder or a DICOMDIR tree that holds one image, described from its headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medjax.io._dicom._assembly import arranged
from medjax.io._dicom._header import parsing
from medjax.io._dicom._list import choose, notes_on_scan
from medjax.io._dicom._quiet import quiet
from medjax.io._dicom._scan import Group, scan, scan_files
from medjax.io._dicom._segmentation_header import inspect_segmentation
from medjax.io._dicom._volume import expected_dtype
from medjax.io._disk._image_header import ImageHeader, header_from
from medjax.io._disk._warn import warn

__all__ = ["inspect", "inspect_files"]


def inspect(path: Path) -> ImageHeader:
    """Describes the image that `read` gives.

    Pixels are only read where nothing else tells whether slices at one position are copies.
    """
    return inspect_files(None, path)


def inspect_files(files: Sequence[Path] | None, path: Path) -> ImageHeader:
    """Describes the image of files of one series in a folder; `None` stands for what there is at the path."""
    with quiet():
        found = scan(path) if files is None else scan_files(files)
        header, notes = _described(choose(found, path, None, None), path)
    for note in notes_on_scan(found) + notes:
        warn(path, note)
    return header


def _described(group: Group, path: Path) -> tuple[ImageHeader, list[str]]:
    if group.is_segmentation:
        with parsing(group.file.path):
            return inspect_segmentation(group.file.dataset, group.file.path), []
    found = arranged(group.slices, path, "error", "dimension")
    rows = found.volumes.rows
    first, (dtype, is_decided) = rows[0][0], expected_dtype(rows)
    volumes = (len(rows[0]),) if found.volumes.by else ()
    shape = (*first.shape[::-1], len(rows), *volumes, *first.layout.channels)
    undecided = () if is_decided else ("dtype",)
    return header_from(shape, found.affine, dtype, "intensity", found.metadata(rows, path), undecided), found.notes
