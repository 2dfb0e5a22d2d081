"""Writing a DICOM Segmentation object, through highdicom (the extra "seg"); PS3.3 sections A.51 and C.8.20."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._image._image import Image, check_image
from medjax._image._metadata import Metadata
from medjax._optional import optional
from medjax._version import __version__
from medjax.io._dicom._derived import check_text, merged, new_uid
from medjax.io._dicom._errors import MultipleSeriesError, NotAnImageError
from medjax.io._dicom._header import File
from medjax.io._dicom._quiet import quiet
from medjax.io._dicom._scan import scan
from medjax.io._dicom._source_planes import put_sop_classes, source_planes
from medjax.io._dicom._write import as_raised, check_plane, write_dataset
from medjax.io._disk._atomic import atomic_file
from medjax.io._disk._single import check_single

__all__ = ["save_dicom_segmentation"]

Encoding = Literal["binary", "labelmap"]

# highdicom 0.28 pads each frame to a byte, where the standard packs frames without gaps (PS3.5 section 8.1.1).
_LEAST_BINARY_PIXELS = 8


def save_dicom_segmentation(
    image: Image,
    path: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    series_uid: str | None = None,
    names: Mapping[int, str] | None = None,
    algorithm: str | None = None,
    encoding: Encoding = "binary",
    series_description: str = "Segmentation",
) -> str:
    """Saves labels as a DICOM Segmentation object, in the study of the series that they were drawn on.

    The object has the image's own geometry, in the source's frame of reference. The image need not lie on the source's
    grid. Frames without a label are left out. Category and type of a segment come from
    `metadata.extra["SegmentSequence"]` where the labels were read from DICOM, else they are "Anatomical Structure" and
    "Tissue". Needs `pip install "medjax[seg]"`.

    Args:
        image: Labels `(i, j, k)`, kind "label". A trailing axis holds 0 and 1 for each segment; these may overlap.
        path: Target file.
        source: DICOM series that the labels were drawn on: a folder, or a file.
        series_uid: Which series, where `source` holds several.
        names: Name of each label. Default: the names in `metadata.display["segments"]`, else "Segment n".
        algorithm: Name of the algorithm that made the labels; `None` for labels drawn by hand.
        encoding: "binary" is what most programs read; it numbers its segments 1, 2, 3 ... "labelmap" (2024) keeps any
            numbers.
        series_description: Series Description (0008,103E).

    Returns:
        The new Series Instance UID.

    Raises:
        ValueError: the image is a batch or traced, a binary object cannot hold its labels, or a text is too long.
        UnsupportedFileError: the image holds no labels, its affine is sheared, or its slices are too small for
            "binary".
        MultipleSeriesError: `source` holds several series.
        MissingDependencyError: highdicom is not installed.
        ImageFileError: the source is no image or belongs to another patient, or a file of it does not state its study,
            series, UID, position, orientation or pixel spacing. Other attributes may be missing, as after
            de-identification; the object then has them empty.

    Warns:
        ImageFileWarning: values of the source's header are not valid DICOM and were left out, or it states no frame of
            reference.

    Example:
        >>> import tempfile
        >>> metadata = mj.Metadata(modality="CT")
        >>> scan = mj.Image.from_array(np.zeros((4, 3, 2), np.int16), spacing=(1, 1, 3), metadata=metadata)
        >>> labels = scan.with_voxels(np.arange(24).reshape(4, 3, 2) % 3).with_kind("label")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     uid = mj.io.save_dicom_series(scan, f"{folder}/scan")
        ...     names = {1: "Liver"}
        ...     uid = mj.io.save_dicom_segmentation(labels, f"{folder}/labels.dcm", f"{folder}/scan", names=names)
        ...     again = mj.io.load_image(f"{folder}/labels.dcm")
        >>> bool((again.voxels == labels.voxels).all()), [each["label"] for each in again.metadata.display["segments"]]
        (True, ['Liver', 'Segment 2'])

    Source: DICOM PS3.3 sections A.51, C.8.20.
    """
    check_image(image, "image")
    target = Path(path)
    _check(image, target)
    labels = _labels(image, encoding, target)
    for name, text in (("series_description", series_description), ("algorithm", algorithm)):
        check_text(name, text, 64)
    highdicom = optional("highdicom", "writing a segmentation object", target)
    files = _files(Path(source), series_uid)
    planes, others = source_planes(files, target)
    segments = _segments(labels, names, _known(image, planes[0], target))
    written = _built(highdicom, labels, segments, (planes, others), target)
    written.SeriesDescription = series_description
    put_sop_classes(written, files)
    if algorithm is not None:
        _put_algorithm(written.SegmentSequence, labels.numbers, algorithm)
    with quiet(), atomic_file(target) as temporary:
        write_dataset(written, temporary)
    return str(written.SeriesInstanceUID)


# The labels


@dataclasses.dataclass(frozen=True)
class _Labels:
    """The voxels as highdicom takes them.

    Attributes:
        pixels: `(slice, row, column)` of labels, or `(slice, row, column, segment)` of 0 and 1.
        numbers: The segments' numbers.
        affine: Index `(i, j, k)` to LPS mm.
        encoding: "binary" or "labelmap".
    """

    pixels: np.ndarray
    numbers: list[int]
    affine: np.ndarray
    encoding: Encoding

    @property
    def has_channels(self) -> bool:
        """Whether the last axis has one array for each segment."""
        return self.pixels.ndim > 3


def _check(image: Image, target: Path) -> None:
    """Refuses images that a segmentation object cannot hold."""
    check_single(image, target)
    if image.kind != "label":
        raise UnsupportedFileError(target, "a segmentation holds labels", 'say image.with_kind("label"), if they are')
    check_plane(image, target)


def _labels(image: Image, encoding: Encoding, target: Path) -> _Labels:
    """Checks the values and puts the axes into the order of DICOM."""
    if encoding not in get_args(Encoding):
        raise ValueError(f"encoding must be 'binary' or 'labelmap', got {encoding!r}")
    voxels = np.asarray(image.voxels)
    low, high = int(voxels.min()), int(voxels.max())
    if len(image.channels) > 1 or (image.channels and (encoding == "labelmap" or low < 0 or high > 1)):
        stated = f"channels {image.channels} with values {low} to {high} are no segments"
        raise ValueError(f"{stated}: one axis of 0 and 1, encoding='binary'")
    if low < 0 or high > 65535 or high == 0:
        raise ValueError(f"labels must be 0 (background) to 65535, and not all 0; got {low} to {high}")
    if image.channels:
        pixels, numbers = np.moveaxis(voxels, 3, 0).T.astype(np.uint8), list(range(1, image.channels[0] + 1))
    else:
        pixels = voxels.T.astype(np.uint8 if high < 256 else np.uint16)
        numbers = [int(n) for n in np.unique(voxels) if n]
    if encoding == "binary":
        _check_binary(pixels, numbers, target)
    return _Labels(pixels, numbers, image.grid.affine, encoding)


def _check_binary(pixels: np.ndarray, numbers: list[int], target: Path) -> None:
    if numbers != list(range(1, len(numbers) + 1)):
        stated = f"a binary segmentation numbers its segments 1, 2, 3 ..., the labels are {numbers[:8]}"
        raise ValueError(f"{stated}; renumber them, or use encoding='labelmap'")
    if pixels.shape[1] * pixels.shape[2] < _LEAST_BINARY_PIXELS:
        reason = f"highdicom writes binary frames of less than {_LEAST_BINARY_PIXELS} pixels wrongly"
        raise UnsupportedFileError(target, reason, "use encoding='labelmap', or pad the image")


def _files(source: Path, series_uid: str | None) -> list[File]:
    """The files of one series."""
    if not source.exists():
        raise FileNotFoundError(errno.ENOENT, "no such file or folder", str(source))
    with quiet():
        files = scan(source).files
    chosen = [file for file in files if series_uid is None or file.series_uid == series_uid]
    if not chosen:
        raise NotAnImageError(source, f"no series has the UID {series_uid}" if files else "there is no image in it")
    if len({file.series_uid for file in chosen}) > 1:
        reason = f"there are {len({file.series_uid for file in chosen})} series"
        raise MultipleSeriesError(source, reason, "choose with series_uid=; io.list_dicom_series lists them")
    return chosen


def _known(image: Image, plane: Dataset, target: Path) -> Metadata:
    """The image's metadata, which must name the patient and the study of the source."""
    named = Metadata(patient_id=_stated_text(plane, "PatientID"), study_uid=_stated_text(plane, "StudyInstanceUID"))
    return merged(image.metadata if isinstance(image.metadata, Metadata) else Metadata(), named, target)


def _stated_text(dataset: Dataset, keyword: str) -> str | None:
    return str(dataset.get(keyword, "")) or None


# How the segments are described


@dataclasses.dataclass(frozen=True)
class _Segment:
    """A segment in words: its number and label, and the codes (value, scheme, meaning) of category and type."""

    number: int
    label: str
    category: tuple[Any, ...] | None
    type: tuple[Any, ...] | None


def _segments(labels: _Labels, names: Mapping[int, str] | None, known: Metadata) -> list[_Segment]:
    """Describes each segment: its name as the caller gives it, else as the metadata does."""
    shown = _shown_names(known, has_channels=labels.has_channels)
    segments = []
    for number in labels.numbers:
        label = (names or {}).get(number) or shown.get(number) or f"Segment {number}"
        check_text(f"the name of label {number}", label, 64)
        stated = next(
            (each for each in _items(known.extra, "SegmentSequence") if each.get("SegmentNumber") == number), {}
        )
        segments.append(_Segment(number, label, _code(stated, "Category"), _code(stated, "Type")))
    return segments


def _shown_names(known: Metadata, *, has_channels: bool) -> dict[int, str]:
    """The names in `metadata.display["segments"]` by segment number, as DICOM and as .seg.nrrd state them."""
    items = _items(known.display, "segments")
    numbered = {item["number"]: item.get("label") for item in items if "number" in item}
    key, first = ("layer", 1) if has_channels else ("label_value", 0)  # channel 0 becomes segment 1
    of_nrrd = {item[key] + first: item.get("name") for item in items if isinstance(item.get(key), int)}
    return {number: str(name) for number, name in (of_nrrd | numbered).items() if name}


def _items(values: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The mappings in a list of the metadata; none where it is no such list."""
    found = values.get(key)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list | tuple) else []


def _code(stated: Mapping[str, Any], part: str) -> tuple[Any, ...] | None:
    """Code value, coding scheme and meaning of a segment's category or type; `None` where one of them is missing."""
    item = next(iter(_items(stated, f"SegmentedProperty{part}CodeSequence")), {})
    values = tuple(item.get(key) for key in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"))
    return values if all(values) else None


# How the object is built


def _built(
    highdicom: Any,
    labels: _Labels,
    segments: Sequence[_Segment],
    source: tuple[list[Dataset], list[Dataset]],
    target: Path,
) -> Dataset:
    """Builds the object from the labels and from the planes, parallel and other, that they were drawn on."""
    planes, others = source
    to_volume = labels.affine[:, [2, 1, 0, 3]]  # highdicom's arrays are (slice, row, column)
    frame_of_reference = _stated_text(planes[0], "FrameOfReferenceUID")
    with _errors_of_highdicom(target):
        volume = highdicom.Volume(
            labels.pixels,
            to_volume,
            coordinate_system="PATIENT",
            frame_of_reference_uid=frame_of_reference,
            channels={"SegmentNumber": labels.numbers} if labels.has_channels else None,
        )
        written = highdicom.seg.Segmentation(
            source_images=planes,
            further_source_images=others or None,
            pixel_array=volume,
            segmentation_type=labels.encoding.upper(),
            segment_descriptions=[_segment_description(highdicom, segment) for segment in segments],
            series_instance_uid=new_uid(),
            series_number=1000,
            sop_instance_uid=new_uid(),
            instance_number=1,
            manufacturer="medjax",
            manufacturer_model_name="medjax",
            software_versions=__version__,
            device_serial_number="0",
        )
        # highdicom takes the source's measures, with its distance of slices, where the pixels agree within 1e-4.
        written.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = volume.get_pixel_measures()
    return written


@contextlib.contextmanager
def _errors_of_highdicom(path: Path) -> Iterator[None]:
    """Passes on why highdicom refuses what it is given: codes of the metadata, or an attribute of the source."""
    try:
        with quiet(), as_raised():
            yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"highdicom cannot make the segmentation object ({type(error).__name__}: {error})"
        raise ImageFileError(path, reason, "save the labels as NIfTI or .seg.nrrd") from error


def _segment_description(highdicom: Any, segment: _Segment) -> Any:
    coded = highdicom.sr.CodedConcept
    return highdicom.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=coded(*segment.category) if segment.category else codes.SCT.AnatomicalStructure,
        segmented_property_type=coded(*segment.type) if segment.type else codes.SCT.Tissue,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def _put_algorithm(segments: Sequence[Dataset], numbers: list[int], algorithm: str) -> None:
    """Says who drew the segments, if not a hand (PS3.3 section C.8.20.2)."""
    for item in segments:
        if item.SegmentNumber in numbers:
            item.SegmentAlgorithmType, item.SegmentAlgorithmName = "AUTOMATIC", algorithm
