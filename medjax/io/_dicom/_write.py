"""Writing a DICOM series: one classic single-frame file per slice (PS3.3 sections A.3 CT, A.4 MR, A.21 PET, A.8 SC)."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import format_number_as_ds

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._geometry._grid import shear_degrees
from medjax._image._image import Image, check_image
from medjax._image._metadata import Metadata
from medjax.io._dicom._derived import NewSeries, derived_header, merged, new_uid
from medjax.io._dicom._quantize import Encoding, encoding_for
from medjax.io._dicom._sources import Sources
from medjax.io._disk._atomic import atomic_file, flush, flush_folder, temporary_name
from medjax.io._disk._progress import progress
from medjax.io._disk._single import check_single

__all__ = ["as_raised", "check_plane", "save_dicom_series", "write", "write_dataset"]

# Float32 affines, as NIfTI has them, stay below this; a gantry tilt does not.
_MOST_SHEAR_DEGREES = 0.01

# Attributes that the source states slice by slice. A derived slice takes them from the nearest one.
_FROM_NEAREST = (
    *("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime"),
    *("FrameReferenceTime", "ActualFrameDuration", "DecayFactor", "TriggerTime"),
)


def save_dicom_series(
    image: Image,
    folder: str | os.PathLike[str],
    *,
    source: Image | Metadata | None = None,
    series_description: str | None = None,
    series_number: int | None = None,
    derivation: str | None = None,
    frame_of_reference_uid: str | None = None,
) -> str:
    """Saves an image as a new DICOM series, one file per slice, in the study of the scan it was made from.

    value = stored * slope + intercept, with one slope for the volume. Whole numbers that span 16 bits are stored
    exactly. Other values are stored as 16-bit integers in steps of at most 2 / 65534 of their range, so none changes by
    more than half of that. Positions are exact to 1e-9 mm, since every file states its own. Slices ascend along row x
    column. An image whose axes are left-handed is stored with its slices in reverse, each at its place in the world.

    Patient, study, frame of reference, equipment and acquisition come from `image.metadata.extra`, where the DICOM
    reader puts them. Series and SOP Instance UIDs are new, and Image Type says DERIVED. Each file refers to the source
    slices that it was made from, if the header states their positions. The object is a CT, MR or PET image if that is
    the modality and the header states the attributes that it requires. Any other is a Secondary Capture image with
    position and rescaling.

    Args:
        image: A single scalar intensity image, concrete, without channels.
        folder: Target. It must be empty or not exist, but its parent must exist.
        source: The scan or its metadata, for an image without them, such as one that comes back from NIfTI. It fills in
            what the image's own metadata does not state.
        series_description: Series Description (0008,103E). Default: the source's, with "(derived)".
        series_number: Series Number (0020,0011). Default: the source's plus 1000.
        derivation: Derivation Description (0008,2111): how the image was made.
        frame_of_reference_uid: Give a new UID where the image no longer lies where the patient was scanned, as after
            `rotate` or `warp`. Default: the source's.

    Returns:
        The new Series Instance UID.

    Raises:
        ValueError: the image is a batch or traced.
        FileNotFoundError: the parent folder does not exist.
        UnsupportedFileError: the image has channels, labels, complex numbers, NaN or a sheared affine.
        ImageFileError: the folder is not empty, or metadata and source name different patients or studies.

    Warns:
        ImageFileWarning: values of the source's header are not valid DICOM and were left out.

    Example:
        >>> import tempfile
        >>> voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 16
        >>> image = mj.Image.from_array(voxels, spacing=(1, 2, 3), metadata=mj.Metadata(modality="CT"))
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     uid = mj.io.save_dicom_series(image, f"{parent}/derived", derivation="an example")
        ...     again = mj.load_image(f"{parent}/derived")
        >>> again.spacing, bool((again.voxels == voxels).all()), again.metadata.series_uid == uid
        ((1.0, 2.0, 3.0), True, True)

    Source: DICOM PS3.3 sections C.7.6.1 (derived images), C.7.6.2 (image plane), C.11.1 (modality LUT).
    """
    check_image(image, "image")
    path = Path(os.path.realpath(folder))
    known = source.metadata if isinstance(source, Image) else source
    new = NewSeries(series_description, series_number, derivation, frame_of_reference_uid)
    series = _Series(image, path, known if isinstance(known, Metadata) else None, new)
    digits = max(4, len(str(series.count)))
    with _atomic_folder(path) as temporary:
        for k in progress(range(series.count), series.count, "Writing slices"):
            series.write(k, temporary / f"IM{k + 1:0{digits}}.dcm")
    return series.uid


def write(image: Image, path: Path, *, compress: bool) -> None:
    """Writes an image of one slice to a file; more slices need a folder. DICOM files are never compressed here."""
    if image.shape[2] != 1:
        reason = f"a .dcm file holds one slice, this image has {image.shape[2]}"
        raise UnsupportedFileError(path, reason, "use io.save_dicom_series(image, folder)")
    series = _Series(image, path, None, NewSeries())
    with atomic_file(path) as temporary:
        series.write(0, temporary)


class _Series:
    """A series in the making: the attributes that all slices share, and the place of each slice."""

    def __init__(self, image: Image, path: Path, source: Metadata | None, new: NewSeries):
        _check(image, path)
        known = merged(image.metadata if isinstance(image.metadata, Metadata) else Metadata(), source, path)
        self.header = derived_header(known, path, new)
        self.uid, self.sop_class = str(self.header.SeriesInstanceUID), UID(self.header.SOPClassUID)
        self.sources = Sources(known, path)
        self.voxels = _real(np.asarray(image.voxels), path)
        self.affine = _ascending(image.grid.affine, image.shape[2])
        self.is_reversed = not np.array_equal(self.affine, image.grid.affine)
        self.count = image.shape[2]
        is_pet = self.sop_class == PositronEmissionTomographyImageStorage
        self.encoding = encoding_for(self.voxels, path, needs_zero_intercept=is_pet)
        self.is_placed = not _is_unplaced(known, image.grid.affine, self.count)
        self.header.update(_plane_attributes(self.affine, image.shape))
        self.header.update(_pixel_attributes(self.encoding, self.header, self.sop_class, self.count))

    def write(self, k: int, path: Path) -> None:
        """Writes the k-th slice along row x column."""
        dataset = Dataset()
        dataset.update(self.header)
        corners = self._corners(k)
        dataset.update(self.sources.values(corners, _FROM_NEAREST))
        for keyword, items in self.sources.references(corners).items():
            setattr(dataset, keyword, items)
        dataset.SOPInstanceUID = new_uid()
        dataset.InstanceNumber = k + 1
        dataset.ImagePositionPatient = [_ds(x) for x in corners[0]]
        dataset.SliceLocation = _ds(corners[0] @ _normal(self.affine))
        if self.sop_class == PositronEmissionTomographyImageStorage:
            dataset.ImageIndex = k + 1
        if not self.is_placed:
            _remove_place(dataset, self.sources.extra)
        plane = self.voxels[:, :, self.count - 1 - k if self.is_reversed else k]
        stored = self.encoding.stored(np.ascontiguousarray(plane.T))
        dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        write_dataset(dataset, path)

    def _corners(self, k: int) -> np.ndarray:
        columns, rows = self.voxels.shape[0] - 1, self.voxels.shape[1] - 1
        index = np.array([[0, 0, k], [columns, 0, k], [0, rows, k], [columns, rows, k]], np.float64)
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]


def write_dataset(dataset: Dataset, path: Path) -> None:
    """Writes a data set as a file."""
    with as_raised():
        dcmwrite(path, dataset, enforce_file_format=True)


@contextlib.contextmanager
def as_raised() -> Iterator[None]:
    """Raises the first error where pydicom raises copies of it, such as of a full disk or of too little memory.

    A copy has the same type, a traceback as its message, and no errno. pydicom makes another copy for each sequence
    around the element.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001
        first: BaseException = error
        while type(first.__cause__) is type(first):
            first = first.__cause__
        raise first from first.__cause__


def _check(image: Image, path: Path) -> None:
    """Refuses images that a classic DICOM series cannot hold."""
    check_single(image, path)
    if image.channels:
        reason = f"a series holds one value per voxel, this image has channels {image.channels}"
        raise UnsupportedFileError(path, reason, "save each as a series: image.with_voxels(image.voxels[..., c])")
    if image.kind == "label":
        reason = "labels are no intensities, and a viewer would show and average them as such"
        raise UnsupportedFileError(path, reason, "use io.save_dicom_segmentation, or save as NIfTI or .seg.nrrd")
    check_plane(image, path)


def check_plane(image: Image, path: Path) -> None:
    """Refuses a geometry that DICOM's planes cannot have.

    Raises:
        UnsupportedFileError: a plane is too large, or the axes are not perpendicular.
    """
    if max(image.shape[:2]) > 65535:
        raise UnsupportedFileError(path, f"a slice of {image.shape[0]} x {image.shape[1]} is beyond DICOM's 65535")
    if (shear := shear_degrees(image.grid.affine)) > _MOST_SHEAR_DEGREES:
        reason = f"its axes are {shear:.3g} degrees off a right angle, which DICOM's planes cannot hold"
        raise UnsupportedFileError(path, reason, "resample it onto an unsheared grid, as with resample_to_grid")


def _real(voxels: np.ndarray, path: Path) -> np.ndarray:
    """The voxels in a native NumPy type that the encoding takes."""
    if voxels.dtype.kind == "c":
        raise UnsupportedFileError(path, "holds complex numbers", "save the magnitude or the phase")
    if voxels.dtype.kind == "b":
        return voxels.astype(np.uint8)
    return voxels if voxels.dtype.kind in "iuf" else voxels.astype(np.float32)  # bfloat16 and its kind


# Geometry (PS3.3 section C.7.6.2)


def _normal(affine: np.ndarray) -> np.ndarray:
    """Unit vector along row x column, in which slices ascend."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return normal / np.linalg.norm(normal)


def _ascending(affine: np.ndarray, count: int) -> np.ndarray:
    """The affine with the slices in the order of the normal. Left-handed axes have them in reverse."""
    if affine[:3, 2] @ _normal(affine) > 0:
        return affine
    turned = affine.copy()
    turned[:3, 3] += (count - 1) * affine[:3, 2]
    turned[:3, 2] *= -1
    return turned


def _plane_attributes(affine: np.ndarray, shape: tuple[int, ...]) -> Dataset:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :2] / spacing[:2]
    plane = Dataset()
    plane.Columns, plane.Rows = int(shape[0]), int(shape[1])
    plane.ImageOrientationPatient = [_ds(x) for x in directions.T.ravel()]
    plane.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]  # between rows, then between columns
    plane.SliceThickness = plane.SpacingBetweenSlices = _ds(spacing[2])
    return plane


def _is_unplaced(metadata: Metadata, affine: np.ndarray, count: int) -> bool:
    """Whether this is a picture whose file states no place, and whose affine is still the stand-in."""
    is_stand_in = not affine[:3, 3].any() and not (affine - np.diag(affine.diagonal())).any()
    return metadata.extra.get("geometry") == "unknown" and count == 1 and is_stand_in


def _remove_place(dataset: Dataset, extra: Mapping[str, Any]) -> None:
    """Removes the attributes of place from a picture that has no known place in the patient."""
    keywords = ["ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", "SpacingBetweenSlices"]
    keywords += ["SliceThickness"] * ("SliceThickness" not in extra) + [
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
    ]
    if not any(key in extra for key in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")):
        keywords += ["PixelSpacing", "NominalScannedPixelSpacing"]
    for keyword in keywords:
        if keyword in dataset:
            delattr(dataset, keyword)


def _ds(value: float) -> str:
    """A decimal string, at most 16 characters; rounding noise around zero becomes 0."""
    return format_number_as_ds(float(value)) if abs(value) > 1e-12 else "0"


# Pixels (PS3.3 sections C.7.6.3, C.8.2.1, C.8.3.1, C.8.9.4, C.11.1)


def _pixel_attributes(encoding: Encoding, header: Dataset, sop_class: UID, count: int) -> Dataset:
    pixels = Dataset()
    pixels.SamplesPerPixel, pixels.PhotometricInterpretation = 1, header.get("PhotometricInterpretation", "MONOCHROME2")
    pixels.BitsAllocated = pixels.BitsStored = 16
    pixels.HighBit, pixels.PixelRepresentation = 15, int(encoding.is_signed)
    if (
        sop_class != MRImageStorage or not encoding.is_identity
    ):  # the MR image has no such attribute, but readers know it
        pixels.RescaleSlope, pixels.RescaleIntercept = encoding.slope_text, encoding.intercept_text
        if sop_class != PositronEmissionTomographyImageStorage:  # its values are in Units
            pixels.RescaleType = header.get("RescaleType") or ("HU" if header.Modality == "CT" else "US")
    if sop_class == PositronEmissionTomographyImageStorage:
        pixels.NumberOfSlices = count
        if "DYNAMIC" in header.SeriesType:
            pixels.NumberOfTimeSlices = 1
    if sop_class == SecondaryCaptureImageStorage:
        pixels.NominalScannedPixelSpacing = header.PixelSpacing
    return pixels


# The folder


@contextlib.contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields a new folder beside the target. It takes the target's place when all is on disk; an error deletes it.

    A killed process leaves it behind. It stays there, hidden and unread, since another process, perhaps on another
    machine, may still write to it.
    """
    if not folder.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(folder.parent))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ImageFileError(folder, "exists and is not an empty folder", "choose a new name; nothing was written")
    temporary = folder.with_name(temporary_name(folder.name, f".{secrets.token_hex(6)}.part"))
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            flush(file)
        flush_folder(temporary)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
        flush_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
