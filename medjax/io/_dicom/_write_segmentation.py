"""Writing a DICOM Segmentation object, through highdicom (the extra "seg"); PS3.3 sections A.51 and C.8.20."""

from __future__ import annotations

import contextlib
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
from medjax.io._dicom._header import File, quiet
from medjax.io._dicom._scan import scan
from medjax.io._dicom._source_planes import put_sop_classes, source_planes
from medjax.io._dicom._write import as_raised, check_concrete, check_plane, write_dataset
from medjax.io._disk._atomic import atomic_file

__all__ = ["save_dicom_segmentation"]

Encoding = Literal["binary", "labelmap"]

# It pads each frame to a byte (0.28), where the standard packs them without gaps (PS3.5 section 8.1.1).
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
    """Saves labels as a DICOM Segmentation object, in the study of the series they were drawn on.

    Geometry is the image's own, in the source's frame of reference; it need not be the source's grid. Frames without a
    label are left out. Category and type of a segment are those in `metadata.extra["SegmentSequence"]` where labels were
    read from DICOM, else "Anatomical Structure" and "Tissue". Needs `pip install "medjax[seg]"`.

    Args:
        image: Labels `(i, j, k)`, kind "label"; or with a trailing axis of 0 and 1 for each segment, which may overlap.
        path: Target file.
        source: DICOM series that the labels were drawn on: a folder, or a file.
        series_uid: Which series, where `source` holds several.
        names: Name of each label. Default: those in `metadata.display["segments"]`, else "Segment n".
        algorithm: Name of the algorithm that made the labels; `None` for labels drawn by hand.
        encoding: "binary", which most programs read; its segments are numbered 1, 2, 3 ... "labelmap" (2024), which keeps
            any numbers.
        series_description: Series Description (0008,103E).

    Returns:
        The new Series Instance UID.

    Raises:
        ValueError: the image is a batch or traced, a binary object cannot hold its labels, or a text is too long.
        UnsupportedFileError: the image holds no labels, its affine is sheared, or its slices are too small for "binary".
        MultipleSeriesError: `source` holds several series.
        MissingDependencyError: highdicom is not installed.
        ImageFileError: the source is no image, of another patient, or does not state what the object needs: its study and
            series, and UID, position, orientation and pixel spacing of each file. What else is missing, as after
            de-identification, is left empty.

    Warns:
        ImageFileWarning: values of the source's header are not valid DICOM and were left out, or it states no frame of
            reference.

    Example:
        >>> import tempfile
        >>> scan = mj.Image.from_array(np.zeros((4, 3, 2), np.int16), spacing=(1, 1, 3), metadata=mj.Metadata(modality="CT"))
        >>> labels = scan.with_voxels(np.arange(24).reshape(4, 3, 2) % 3).with_kind("label")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     uid = mj.io.save_dicom_series(scan, f"{folder}/scan")
        ...     uid = mj.io.save_dicom_segmentation(labels, f"{folder}/labels.dcm", f"{folder}/scan", names={1: "Liver"})
        ...     again = mj.io.load_image(f"{folder}/labels.dcm")
        >>> bool((again.voxels == labels.voxels).all()), [each["label"] for each in again.metadata.display["segments"]]
        (True, ['Liver', 'Segment 2'])

    Source: DICOM PS3.3 sections A.51, C.8.20.
    """
    check_image(image, "image")
    target = Path(path)
    check_concrete(image, target)
    if image.kind != "label":
        raise UnsupportedFileError(target, "a segmentation holds labels", 'say image.with_kind("label"), if they are')
    check_plane(image, target)
    pixels, numbers = _pixels(image, encoding)
    if encoding == "binary" and pixels.shape[1] * pixels.shape[2] < _LEAST_BINARY_PIXELS:
        reason = f"highdicom writes binary frames of less than {_LEAST_BINARY_PIXELS} pixels wrongly"
        raise UnsupportedFileError(target, reason, "use encoding='labelmap', or pad the image")
    for name, text in (("series_description", series_description), ("algorithm", algorithm)):
        check_text(name, text, 64)
    highdicom = optional("highdicom", "writing a segmentation object", target)
    files = _files(Path(source), series_uid)
    planes, others = source_planes(files, target)
    named = Metadata(patient_id=_text(planes[0], "PatientID"), study_uid=_text(planes[0], "StudyInstanceUID"))
    known = merged(image.metadata if isinstance(image.metadata, Metadata) else Metadata(), named, target)
    labels = {n: _label(n, names, known) for n in numbers}
    uid = new_uid()
    with _highdicom_s_words(target):
        described = [_description(highdicom, n, label, known) for n, label in labels.items()]
        volume = highdicom.Volume(
            pixels,
            image.grid.affine[:, [2, 1, 0, 3]],  # highdicom's arrays are (slice, row, column)
            coordinate_system="PATIENT",
            frame_of_reference_uid=_text(planes[0], "FrameOfReferenceUID"),
            channels=None if pixels.ndim == 3 else {"SegmentNumber": numbers},
        )
        written = highdicom.seg.Segmentation(
            source_images=planes,
            further_source_images=others or None,
            pixel_array=volume,
            segmentation_type=encoding.upper(),
            segment_descriptions=described,
            series_instance_uid=uid,
            series_number=1000,
            sop_instance_uid=new_uid(),
            instance_number=1,
            manufacturer="medjax",
            manufacturer_model_name="medjax",
            software_versions=__version__,
            device_serial_number="0",
            series_description=series_description,
        )
    # It takes the source's where pixels agree within 1e-4, with the source's distance of slices.
    written.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = volume.get_pixel_measures()
    put_sop_classes(written, files)
    if algorithm is not None:
        _put_algorithm(written.SegmentSequence, numbers, algorithm)
    with quiet(), atomic_file(target) as temporary:
        write_dataset(written, temporary)
    return uid


@contextlib.contextmanager
def _highdicom_s_words(path: Path) -> Iterator[None]:
    """Passes on what highdicom finds wrong; it has seen no value of the source that was not checked before."""
    try:
        with quiet(), as_raised():
            yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"highdicom cannot make the segmentation object ({type(error).__name__}: {error})"
        raise ImageFileError(path, reason, "save the labels as NIfTI or .seg.nrrd") from error


def _pixels(image: Image, encoding: Encoding) -> tuple[np.ndarray, list[int]]:
    """Pixels as (slice, row, column) of labels, or (slice, row, column, segment) of 0 and 1; and the segments' numbers."""
    if encoding not in get_args(Encoding):
        raise ValueError(f"encoding must be 'binary' or 'labelmap', got {encoding!r}")
    voxels = np.asarray(image.voxels)
    low, high = int(voxels.min()), int(voxels.max())
    if len(image.channels) > 1 or (image.channels and (encoding == "labelmap" or low < 0 or high > 1)):
        raise ValueError(
            f"channels {image.channels} with values {low} to {high} are no segments: one axis of 0 and 1, encoding='binary'"
        )
    if low < 0 or high > 65535 or high == 0:
        raise ValueError(f"labels must be 0 (background) to 65535, and not all 0; got {low} to {high}")
    if image.channels:
        return np.moveaxis(voxels, 3, 0).T.astype(np.uint8), list(range(1, image.channels[0] + 1))
    numbers = [int(n) for n in np.unique(voxels) if n]
    if encoding == "binary" and numbers != list(range(1, len(numbers) + 1)):
        raise ValueError(
            f"a binary segmentation numbers its segments 1, 2, 3 ..., the labels are {numbers[:8]}; renumber them, or use encoding='labelmap'"
        )
    return voxels.T.astype(np.uint8 if high < 256 else np.uint16), numbers


def _files(source: Path, series_uid: str | None) -> list[File]:
    """The files of one series."""
    if not source.exists():
        raise FileNotFoundError(errno.ENOENT, "no such file or folder", str(source))
    with quiet():
        files = scan(source).files
    chosen = [file for file in files if series_uid is None or file.series_uid == series_uid]
    if not chosen:
        raise NotAnImageError(source, "there is no image in it" if not files else f"no series has the UID {series_uid}")
    if len({file.series_uid for file in chosen}) > 1:
        reason = f"there are {len({file.series_uid for file in chosen})} series"
        raise MultipleSeriesError(source, reason, "choose with series_uid=; io.list_dicom_series lists them")
    return chosen


def _text(dataset: Dataset, keyword: str) -> str | None:
    return str(dataset.get(keyword, "")) or None


def _label(number: int, names: Mapping[int, str] | None, metadata: Metadata) -> str:
    shown = {item["number"]: item["label"] for item in metadata.display.get("segments", ())}
    label = (names or {}).get(number) or shown.get(number) or f"Segment {number}"
    check_text(f"the name of label {number}", label, 64)
    return label


def _description(highdicom: Any, number: int, label: str, metadata: Metadata) -> Any:
    """How the object describes a segment: its name, and what it is."""
    stated: Mapping[str, Any] = next(
        (item for item in metadata.extra.get("SegmentSequence", ()) if item.get("SegmentNumber") == number), {}
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=_code(highdicom, stated, "Category") or codes.SCT.AnatomicalStructure,
        segmented_property_type=_code(highdicom, stated, "Type") or codes.SCT.Tissue,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def _code(highdicom: Any, stated: Mapping[str, Any], what: str) -> Any:
    items: Sequence[Mapping[str, Any]] = stated.get(f"SegmentedProperty{what}CodeSequence") or ({},)
    values = [items[0].get(key) for key in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]
    return highdicom.sr.CodedConcept(*values) if all(values) else None


def _put_algorithm(segments: Sequence[Dataset], numbers: list[int], algorithm: str) -> None:
    """Says who drew the segments, if not a hand (PS3.3 section C.8.20.2)."""
    for item in segments:
        if item.SegmentNumber in numbers:
            item.SegmentAlgorithmType, item.SegmentAlgorithmName = "AUTOMATIC", algorithm
