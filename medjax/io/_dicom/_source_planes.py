"""The source of a segmentation as highdicom takes it: headers with all attributes that it needs, in their places.

highdicom asks for attributes that may be empty, wants the measures of a multi-frame object shared by all frames, and
knows no private SOP class. Here patient and study are read once and checked, and the place of each slice comes from the
reader (`_frames`). One of two SOP classes stands in for all others, until `put_sop_classes` puts the true one back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage
from pydicom.valuerep import DA, TM, DSfloat

from medjax._errors import ImageFileError
from medjax._image._metadata import Metadata
from medjax.io._dicom._derived import modality_of, new_uid, source_header
from medjax.io._dicom._frames import slices_of
from medjax.io._dicom._header import File, parsing
from medjax.io._dicom._layout import Layout
from medjax.io._dicom._slices import Slice
from medjax.io._dicom._stored import first_text
from medjax.io._dicom._values import header_of
from medjax.io._disk._warn import warn

__all__ = ["put_sop_classes", "source_planes"]

# One value for the whole series, PS3.3 section A.1.2.
_COMMON = {"PatientID": 0x00100020, "StudyInstanceUID": 0x0020000D, "FrameOfReferenceUID": 0x00200052}

# Direction cosines of parallel slices agree within this.
_PARALLEL = 1e-3


def source_planes(files: Sequence[File], target: Path) -> tuple[list[Dataset], list[Dataset]]:
    """The files whose planes (parallel, of one size) highdicom compares with the labels', and all other files.

    Raises:
        ImageFileError: the files name more than one patient, study or frame of reference, or lack a needed attribute,
            which the message names.
    """
    for keyword, tag in _COMMON.items():
        if len({first_text(file.dataset, tag) for file in files}) > 1:
            raise ImageFileError(target, f"the files of the source differ in {keyword}", "give one folder for each")
    shared = _shared(files[0], target)
    layouts: dict[Any, Layout] = {}
    stacks: list[list[Dataset]] = []
    for file in {file.sop_uid: file for file in files}.values():  # a copy needs no second reference
        with parsing(file.path):
            slices = slices_of(file, layouts)
        header = _plane_header(file, slices, shared, target)
        stack = next((stack for stack in stacks if _is_parallel(stack[0], header)), None)
        if stack is None:
            stacks.append([header])
        else:
            header.ImageOrientationPatient = stack[0].ImageOrientationPatient  # highdicom compares to the last digit
            stack.append(header)
    stacks.sort(key=len, reverse=True)
    return stacks[0], [header for stack in stacks[1:] for header in stack]


def put_sop_classes(written: Dataset, files: Sequence[File]) -> None:
    """Puts the true SOP class into the references to the source."""
    classes = {file.sop_uid: file.sop_class for file in files}

    def put(dataset: Dataset, element: Any) -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value in classes:
            dataset.ReferencedSOPClassUID = classes[element.value]

    written.walk(put)


def _shared(file: File, target: Path) -> Dataset:
    """Patient, study, frame of reference and equipment. Attributes that are missing or invalid are empty."""
    with parsing(file.path):
        known = header_of(file.dataset)
    header = source_header(known, target)
    invalid = [keyword for keyword, is_valid in _CHECKS.items() if not is_valid(header[keyword].value or "")]
    for keyword in invalid:
        setattr(header, keyword, "")
    if invalid:
        warn(target, f"{', '.join(sorted(invalid))} of the source are not valid DICOM and were left out")
    if missing := [keyword for keyword in ("StudyInstanceUID", "SeriesInstanceUID") if not known.get(keyword)]:
        _refuse(missing, file, target)
    if not header.get("FrameOfReferenceUID"):  # as a derived series gets one
        header.FrameOfReferenceUID = new_uid()
        warn(
            target,
            "the source states no FrameOfReferenceUID, and the labels get a new one: programs that go by it, and not "
            "by the references to the source's slices, may not show the two together",
        )
    header.Modality = modality_of(Metadata(modality=known.get("Modality")))[:12]  # 16, with _SEG at its end
    header.SeriesInstanceUID = file.series_uid
    header.SpecificCharacterSet = "ISO_IR 192"
    return header


def _parses(kind: Any, text: Any) -> bool:
    try:
        kind(str(text))
    except ValueError:
        return False
    return True


# Attributes that highdicom parses (PS3.5 section 6.2) or whose values it checks (PS3.3 section C.7.1.1).
_CHECKS = {
    "PatientBirthDate": lambda text: _parses(DA, text),
    "StudyDate": lambda text: _parses(DA, text),
    "StudyTime": lambda text: _parses(TM, text),
    "PatientSex": lambda text: text in ("", "M", "F", "O"),
}


def _refuse(missing: Sequence[str], file: File, target: Path) -> None:
    reason = f"{file.path.name} of the source does not state {', '.join(missing)}, which a segmentation object needs"
    raise ImageFileError(target, reason, "save the labels as NIfTI or .seg.nrrd")


def _plane_header(file: File, slices: Sequence[Slice], shared: Dataset, target: Path) -> Dataset:
    """The header of one file: the shared attributes, its identity, and the place of its frames."""
    first, frames = slices[0], slices[: slices[0].layout.frames]  # the tiles of a mosaic are one frame
    needed = {
        "SOPClassUID": file.sop_class,
        "SOPInstanceUID": file.sop_uid,
        "ImagePositionPatient": all(s.position and s.is_placed for s in frames),
        "ImageOrientationPatient": all(s.orientation for s in frames),
        "PixelSpacing": first.pixel_spacing,
    }
    if missing := [keyword for keyword, value in needed.items() if not value]:
        _refuse(missing, file, target)
    orientations = np.array([s.orientation for s in frames], np.float64)
    if np.abs(orientations - orientations[0]).max() > _PARALLEL:
        reason = f"the frames of {file.path.name} differ in ImageOrientationPatient"
        raise ImageFileError(target, reason, "save the labels as NIfTI or .seg.nrrd")
    header = Dataset()
    header.update(shared)
    header.SOPClassUID = CTImageStorage if len(frames) == 1 else EnhancedCTImageStorage
    header.SOPInstanceUID, header.NumberOfFrames = file.sop_uid, len(frames)
    header.Rows, header.Columns = first.layout.rows, first.layout.columns
    measures, orientation, group = _measures(first), Dataset(), Dataset()
    orientation.ImageOrientationPatient = _decimals(first.orientation)
    if len(frames) == 1:
        header.update(measures)
        header.update(orientation)
        header.update(_position(first))
        return header
    group.PixelMeasuresSequence, group.PlaneOrientationSequence = [measures], [orientation]
    header.ImageOrientationPatient = orientation.ImageOrientationPatient
    header.SharedFunctionalGroupsSequence = [group]
    header.PerFrameFunctionalGroupsSequence = [Dataset() for _ in frames]
    for place, slice_ in zip(header.PerFrameFunctionalGroupsSequence, frames, strict=True):
        place.PlanePositionSequence = [_position(slice_)]
    return header


def _is_parallel(one: Dataset, other: Dataset) -> bool:
    """Whether two files belong to one stack. A multi-frame object forms a stack alone."""
    if max(one.NumberOfFrames, other.NumberOfFrames) > 1 or (one.Rows, one.Columns) != (other.Rows, other.Columns):
        return False
    apart = np.subtract(one.ImageOrientationPatient, other.ImageOrientationPatient)
    return bool(np.abs(apart).max() <= _PARALLEL)


def _measures(slice_: Slice) -> Dataset:
    measures = Dataset()
    measures.PixelSpacing = _decimals(slice_.pixel_spacing)
    measures.SliceThickness = _decimals([slice_.thickness or 1.0])[0]  # may be empty; the labels state their own
    return measures


def _position(slice_: Slice) -> Dataset:
    position = Dataset()
    position.ImagePositionPatient = _decimals(slice_.position)
    return position


def _decimals(values: Sequence[float] | None) -> list[DSfloat]:
    return [DSfloat(value, auto_format=True) for value in values or ()]
