"""Finding DICOM files, and grouping their slices into series and stacks."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medjax._errors import ImageFileError
from medjax.io._dicom._errors import NotAnImageError
from medjax.io._dicom._frames import slices_of
from medjax.io._dicom._header import UNKNOWN_KIND, File, file_of, is_dicomdir, open_file, parsing, read_header
from medjax.io._dicom._layout import Layout
from medjax.io._dicom._slices import Slice
from medjax.io._dicom._stored import first_text, series_number
from medjax.io._disk._progress import progress

__all__ = ["SEGMENTATIONS", "Group", "Scan", "groups_of", "parts_of", "scan", "scan_files"]

# Segmentation Storage and Label Map Segmentation Storage, PS3.4 section B.5.
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

# PatientID, Modality, Units
_OWNER = (0x00100020, 0x00080060, 0x00541001)

_ENDINGS = (".dcm", ".dicom", ".ima")

# Direction cosines of parallel slices agree within this.
_PARALLEL = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """The DICOM files of a folder.

    Attributes:
        files: Headers of the DICOM files with pixels, in an order that does not depend on their names.
        skipped: Kinds of DICOM objects without pixels, and how many there are of each.
        unread: Files that are named like DICOM but could not be read, and the reasons.
    """

    files: list[File]
    skipped: Counter[str]
    unread: list[str]


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Parallel slices of one size, patient, modality and unit within one series: what can make one image.

    Attributes:
        uid: Series Instance UID.
        stack: Number of this group within its series, from 0.
        slices: Its slices; none for a segmentation, which has its own reader.
        file: Its first file.
    """

    uid: str
    stack: int
    slices: list[Slice]
    file: File

    @property
    def files(self) -> list[File]:
        """All of its files."""
        return list({id(s.file): s.file for s in self.slices}.values()) or [self.file]

    @property
    def is_segmentation(self) -> bool:
        """Whether this is a Segmentation object."""
        return self.file.sop_class in SEGMENTATIONS


def scan(path: Path) -> Scan:
    """Reads the headers of all DICOM files in a folder and below it, of those that a DICOMDIR lists, or of one file.

    Raises:
        NotAnImageError: the file is a DICOM object without pixels.
        OSError: a folder cannot be listed, or a file not be read.
        ImageFileError: a DICOM file is damaged, or a DICOMDIR lists one that is missing.
    """
    if path.is_dir():
        candidates = list(_files_below(path))
    else:
        header = read_header(path)
        if header is None or not is_dicomdir(header.dataset):
            return Scan([open_file(path)], Counter(), [])
        with parsing(path):
            candidates = _files_listed(header.dataset, path)
    files: list[File] = []
    skipped = Counter[str]()
    failed: dict[Path, str] = {}
    for candidate in progress(candidates, len(candidates), "Reading headers"):
        try:
            found = _file_or_reason(candidate)
        except NotAnImageError as error:
            skipped[error.reason.removeprefix("it holds no image: ")] += 1
            continue
        if isinstance(found, File):
            files.append(found)
        else:
            failed[candidate] = found
    files.sort(key=_by_identity)
    return Scan(files, skipped, _named_like_dicom(failed, files))


def scan_files(paths: Sequence[Path]) -> Scan:
    """Reads the headers of DICOM files that a caller lists, each of which must hold an image.

    Raises:
        ImageFileError: a file is not DICOM, damaged, or holds no image; a subclass says which.
    """
    files = [open_file(path) for path in progress(paths, len(paths), "Reading headers")]
    files.sort(key=_by_identity)
    return Scan(files, Counter(), [])


def _by_identity(file: File) -> tuple[str, str, str, Path]:
    return file.series_uid, file.sop_uid, file.path.name, file.path.parent


def _file_or_reason(path: Path) -> File | str:
    """A file of a folder with its header read, or the reason why it is no DICOM file.

    Raises:
        NotAnImageError: the file is a DICOM object without pixels.
        ImageFileError: it is a damaged DICOM file.
    """
    status = _status(path)
    if status is None:
        return "a link that leads nowhere"
    if not stat.S_ISREG(status.st_mode):
        return "not an ordinary file"
    header = None
    try:
        header = read_header(path)
        if header is not None:
            return file_of(path, header)
        return "not DICOM" if status.st_size else "empty"
    except NotAnImageError as error:
        if header is not None and not header.has_magic and error.reason.endswith(UNKNOWN_KIND):
            return "not DICOM"
        raise
    except ImageFileError:
        if _has_magic(path):
            raise
        return "not DICOM, or damaged"  # some other file that happens to begin as a bare data set does


def _status(path: Path) -> os.stat_result | None:
    """The status of a file; `None` for a link that leads nowhere, or a file that was removed meanwhile."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _named_like_dicom(failed: dict[Path, str], files: list[File]) -> list[str]:
    """The files that could not be read but should be DICOM: by their ending, or by their neighbours.

    The name of a file without an ending, or with a number as its ending, says nothing. If DICOM files beside it have
    such names, an empty or missing file was a slice. A file with other content was not.
    """
    neighbours = {(file.path.parent, _ending(file.path)) for file in files}
    return [
        f"{path.name} ({why})"
        for path, why in failed.items()
        if not path.name.startswith(".")
        and (
            path.suffix.lower() in _ENDINGS
            or ((path.parent, _ending(path)) in neighbours and not why.startswith("not DICOM"))
        )
    ]


def _ending(path: Path) -> str:
    return "" if path.suffix[1:].isdigit() else path.suffix.lower()


def _files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and its subfolders, without unfinished output. Links to folders are not followed."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not _is_unfinished(name))
        for name in sorted(names):
            if not _is_unfinished(name):
                yield Path(root, name)


def _raise(error: OSError) -> None:
    raise error


def _is_unfinished(name: str) -> bool:
    """Whether this is output that medjax, or a program that uses the same names, is writing or did not finish."""
    return name.startswith(".") and name.endswith(".part")


def _files_listed(dataset: Dataset, index: Path) -> list[Path]:
    """The files that a DICOMDIR's records refer to (PS3.3 section F.3.2.2), none of them outside its folder."""
    found = []
    for record in dataset.get("DirectoryRecordSequence") or []:
        parts = record.get("ReferencedFileID")
        if not parts:
            continue
        parts = [parts] if isinstance(parts, str) else [str(part) for part in parts]
        if any(part in ("", ".", "..") or "/" in part or "\\" in part or "\0" in part for part in parts):
            raise ImageFileError(index, "it refers to a file by a path that leaves its folder")
        path = index.parent.joinpath(*parts)
        if not path.is_file():
            raise ImageFileError(
                index, f"it lists {'/'.join(parts)}, which is missing", "load the folder to read what is there"
            )
        found.append(path)
    return found


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def groups_of(files: list[File]) -> list[Group]:
    """Groups files into series, and their slices into stacks: of one owner, size and orientation.

    Raises:
        ImageFileError: a header contradicts itself.
    """
    layouts: dict[Any, Layout] = {}
    by_series: dict[str, list[Slice]] = {}
    groups: list[Group] = []
    for file in files:
        if file.sop_class in SEGMENTATIONS:
            number = sum(group.uid == file.series_uid for group in groups)
            groups.append(Group(file.series_uid, number, [], file))
        else:
            with parsing(file.path):
                by_series.setdefault(file.series_uid, []).extend(slices_of(file, layouts))
    for uid, slices in by_series.items():
        stacks = [
            part
            for own in _by_owner(slices)
            for same_size in _by_size(own)
            for parallel in _by_orientation(same_size)
            for part in _by_scaling(parallel)
        ]
        stacks.sort(key=len, reverse=True)
        groups += [Group(uid, number, stack, stack[0].file) for number, stack in enumerate(stacks)]
    return sorted(groups, key=_listing_order)


def _listing_order(group: Group) -> tuple[int, str, int]:
    return (series_number(group.file.dataset) or 0, group.uid, group.stack)


def _by_owner(slices: list[Slice]) -> list[list[Slice]]:
    """Splits slices whose files name different patients, modalities or units.

    One series UID should exclude that. Where it was given twice, another patient's slices must not enter a volume.
    """
    parts: dict[Any, list[Slice]] = {}
    for slice_ in slices:
        parts.setdefault(tuple(first_text(slice_.file.dataset, tag) for tag in _OWNER), []).append(slice_)
    return list(parts.values())


def _by_size(slices: list[Slice]) -> list[list[Slice]]:
    parts: dict[Any, list[Slice]] = {}
    for slice_ in slices:
        parts.setdefault((slice_.shape, slice_.layout.channels), []).append(slice_)
    return list(parts.values())


def _by_orientation(slices: list[Slice]) -> list[list[Slice]]:
    """Splits slices whose direction cosines differ. Slices that state none form a separate part."""
    stated = sorted({s.orientation for s in slices if s.orientation is not None})
    leaders: list[tuple[float, ...]] = []
    leader_of: dict[Any, Any] = {None: None}
    for orientation in stated:
        near = (leader for leader in leaders if np.abs(np.subtract(leader, orientation)).max() <= _PARALLEL)
        leader_of[orientation] = leader = next(near, orientation)
        if leader == orientation:
            leaders.append(leader)
    parts: dict[Any, list[Slice]] = {}
    for slice_ in slices:
        parts.setdefault(leader_of[slice_.orientation], []).append(slice_)
    return list(parts.values())


def _by_scaling(slices: list[Slice]) -> list[list[Slice]]:
    """Splits slices with and without a scaling: a phase image has a slope, and the magnitude beside it has none.

    The parts must name different contents or have the same positions. Otherwise some slices of one volume lack their
    scaling. That is an error, and no reason to leave them out.
    """
    parts: dict[Any, list[Slice]] = {}
    for slice_ in slices:
        parts.setdefault(parts_of(slice_), []).append(slice_)
    if len(parts) == 1:
        return [slices]
    contents = [{tuple(map(s.attribute, _CONTENT)) for s in part} for part in parts.values()]
    positions = [sorted({s.position for s in part if s.position is not None}) for part in parts.values()]
    are_apart = sum(map(len, contents)) == len(set().union(*contents))
    have_same_places = bool(positions[0]) and all(found == positions[0] for found in positions)
    return list(parts.values()) if are_apart or have_same_places else [slices]


_CONTENT = ("ImageType", "FrameType", "ComplexImageComponent")


def parts_of(slice_: Slice) -> tuple[bool, ...]:
    """Which parts of the scaling a slice states: slope, intercept, table."""
    scaling = slice_.scaling
    return scaling.slope is not None, scaling.intercept is not None, slice_.layout.has_modality_lut
