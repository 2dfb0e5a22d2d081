"""Builds DICOM Segmentation objects of every type, on an oblique grid, frame by frame."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

import medjax as mj

SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
# Rotated about all three axes: no component of any direction is zero.
TURN = np.linalg.qr(np.array([[0.9, -0.2, 0.3], [0.3, 0.95, -0.1], [-0.2, 0.2, 0.9]]))[0]
TURN *= np.sign(np.diag(TURN))
SPACING = np.array([0.7, 1.3, 2.5])  # along a row, down a column, between slices
ORIGIN = np.array([-31.25, 17.5, -203.75])
SHAPE = (7, 5, 6)  # columns, rows, slices: odd, so that frames do not end at whole bytes


def affine() -> np.ndarray:
    return mj.Grid.of(SHAPE, spacing=SPACING, origin=ORIGIN, direction=TURN).affine


def blobs(count: int, *, overlap: bool) -> np.ndarray:
    """Masks `(segment, column, row, slice)`, each touching few slices."""
    rng = np.random.default_rng(count)
    masks = rng.random((count, *SHAPE)) < 0.4
    for number in range(count):
        masks[number, :, :, :number] = False
        masks[number, :, :, number + 4 :] = False
    if not overlap:
        masks &= np.cumsum(masks, axis=0) == 1
    return masks


def segment(number: int, label: str = "Liver") -> Dataset:
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel, item.SegmentAlgorithmType = number, label, "MANUAL"
    item.RecommendedDisplayCIELabValue = [41661, 41167, 40792]
    return item


def build(
    planes: np.ndarray,
    slices: Sequence[int],
    numbers: Sequence[int] | None,
    *,
    kind: str = "BINARY",
    segments: Sequence[int] = (1, 2, 3),
    step: float | None = SPACING[2],
) -> FileDataset:
    """Makes an object of frames `(n, row, column)` lying at the given slices of the grid and showing the given segments."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = ExplicitVRLittleEndian, generate_uid()
    meta.MediaStorageSOPClassUID = UID(LABEL_MAP if kind == "LABELMAP" else SEGMENTATION)
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.SegmentationType = "SEG", kind
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName = "4711", "Secret^Name"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = planes.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    bits = 1 if kind == "BINARY" else 8 * planes.dtype.itemsize
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelData = pack_bits(planes) if bits == 1 else planes.tobytes() + b"\0" * (planes.nbytes % 2)
    if kind == "FRACTIONAL":
        dataset.MaximumFractionalValue, dataset.SegmentationFractionalType = 200, "OCCUPANCY"
    dataset.SegmentSequence = [segment(number) for number in segments]
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], 1.25
    if step is not None:
        measures.SpacingBetweenSlices = step
    orientation.ImageOrientationPatient = [float(f"{x:.12f}") for x in TURN.T[:2].ravel()]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        frame(k, None if numbers is None else numbers[n]) for n, k in enumerate(slices)
    ]
    return dataset


def frame(k: float, number: int | None) -> Dataset:
    group, position = Dataset(), Dataset()
    position.ImagePositionPatient = [round(float(x), 9) for x in ORIGIN + k * SPACING[2] * TURN[:, 2]]
    group.PlanePositionSequence = [position]
    if number is not None:
        identification = Dataset()
        identification.ReferencedSegmentNumber = number
        group.SegmentIdentificationSequence = [identification]
    return group


def load(dataset: Dataset, folder: Path) -> mj.Image:
    dataset.save_as(folder / "object.dcm")
    return mj.load_image(folder / "object.dcm")


def frames_of(masks: np.ndarray, order: random.Random | None = None) -> tuple[np.ndarray, list[int], list[int]]:
    """The frames that are not empty, `(n, row, column)`, with their slices and segment numbers."""
    places = [(n, k) for n in range(len(masks)) for k in range(SHAPE[2]) if masks[n, :, :, k].any()]
    if order is not None:
        order.shuffle(places)
    planes = np.array([masks[n, :, :, k].T for n, k in places]).astype(np.uint8)
    return planes, [k for _, k in places], [n + 1 for n, _ in places]


def source_series() -> list[Dataset]:
    """CT slices on the grid, with what highdicom asks of the images that a segmentation refers to."""
    template = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    slices: list[Dataset] = []
    for k in range(SHAPE[2]):
        item = copy.deepcopy(template)
        item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["seg", str(k)])
        item.Rows, item.Columns, item.PixelData = SHAPE[1], SHAPE[0], np.zeros(SHAPE[:2], np.int16).tobytes()
        item.ImagePositionPatient = [round(float(x), 9) for x in ORIGIN + k * SPACING[2] * TURN[:, 2]]
        item.ImageOrientationPatient = [float(f"{x:.12f}") for x in TURN.T[:2].ravel()]
        item.PixelSpacing, item.SpacingBetweenSlices = [SPACING[1], SPACING[0]], SPACING[2]
        slices.append(item)
    return slices


def highdicom_segment(number: int) -> highdicom.seg.SegmentDescription:
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"part {number}",
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
