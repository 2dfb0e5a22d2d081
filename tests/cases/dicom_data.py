"""Synthetic DICOM series with known truth: an oblique grid, anisotropic in all three directions, of odd size.

`series` writes one file per slice; its keywords spoil the series in every way that real ones are spoilt. Other kinds of
object (enhanced, mosaic, dose, loops) are in `dicom_kinds`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS, SLICES = 9, 12, 7


def rotation(a: float, b: float, c: float) -> np.ndarray:
    """Turns by three angles in radians, about x, y and z."""
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return x @ y @ z


@dataclasses.dataclass(frozen=True)
class Lattice:
    """Where the voxels lie. The defaults are oblique, and differ in every direction.

    Attributes:
        turn: Columns are the unit vectors along a row, along a column and along the normal.
        between_columns, between_rows, between_slices: mm.
        origin: LPS mm.
        lean: How far each slice moves along a column, mm: a gantry tilt.
    """

    turn: np.ndarray = dataclasses.field(default_factory=lambda: rotation(0.3, -0.2, 0.35))
    between_columns: float = 3.756
    between_rows: float = 0.839
    between_slices: float = 1.041
    origin: tuple[float, float, float] = (53.48, 37.72, -91.13)
    lean: float = 0.0

    @property
    def step(self) -> np.ndarray:
        """From one slice to the next, LPS mm."""
        return self.turn[:, 2] * self.between_slices + self.turn[:, 1] * self.lean

    @property
    def affine(self) -> np.ndarray:
        """Index (column, row, slice) to LPS mm."""
        affine = np.eye(4)
        affine[:3, 0] = self.turn[:, 0] * self.between_columns
        affine[:3, 1] = self.turn[:, 1] * self.between_rows
        affine[:3, 2] = self.step
        affine[:3, 3] = self.origin
        return affine

    def position(self, k: float) -> np.ndarray:
        """Position of the first pixel of a slice, LPS mm."""
        return np.asarray(self.origin) + k * self.step

    def plane(self, k: float) -> dict[str, Any]:
        """The attributes that place a slice."""
        return {
            "ImagePositionPatient": decimals(self.position(k)),
            "ImageOrientationPatient": decimals([*self.turn[:, 0], *self.turn[:, 1]]),
            "PixelSpacing": decimals([self.between_rows, self.between_columns]),
            "SliceThickness": decimals([self.between_slices])[0],
        }


def decimals(values: Iterable[float]) -> list[str]:
    """Decimal strings of at most 16 characters, as DICOM allows."""
    return [f"{value:.10g}" for value in values]


def stored_values(seed: int = 0, slices: int = SLICES) -> np.ndarray:
    """Random int16 `(slice, row, column)`: no two slices alike, nothing symmetric."""
    return np.random.default_rng(seed).integers(-800, 1500, (slices, ROWS, COLUMNS)).astype(np.int16)


def image_dataset(pixels: np.ndarray, *, sop_class: str = CTImageStorage, **attributes: Any) -> Dataset:
    """A data set with integer pixels `(row, column)`, `(row, column, 3)` or `(frame, row, column)`.

    An attribute of `None` is left out, also where it would have a default.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset = Dataset()
    dataset.file_meta = meta
    is_colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    rows, columns = pixels.shape[-3:-1] if is_colour else pixels.shape[-2:]
    frames = pixels.ndim - is_colour - 2
    bits = pixels.dtype.itemsize * 8
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": sop_class,
        "SOPInstanceUID": generate_uid(),
        "Modality": "CT",
        "PatientName": "Nobody^Named",
        "PatientID": "ID-OF-A-PATIENT",
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.2",
        "SamplesPerPixel": 3 if is_colour else 1,
        "PhotometricInterpretation": "RGB" if is_colour else "MONOCHROME2",
        "PlanarConfiguration": 0 if is_colour else None,
        "NumberOfFrames": pixels.shape[0] if frames else None,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 1 if pixels.dtype.kind == "i" else 0,
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }
    for keyword, value in (values | attributes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Writes a data set as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def series(
    folder: Path,
    stored: np.ndarray | None = None,
    *,
    lattice: Lattice | None = None,
    order: Sequence[int] | None = None,
    places: Sequence[float] | None = None,
    each: Callable[[int], dict[str, Any]] = lambda k: {},
    name: Callable[[int, int], str] = lambda n, k: f"{n:03d}.dcm",
    uid: str = "1.2.826.0.1.3680043.8.498.2",
    prepare: Callable[[Dataset], None] = lambda dataset: None,
) -> list[Path]:
    """Writes a series of single-slice files.

    Args:
        folder: Where to.
        stored: `(slice, row, column)`.
        lattice: Where the voxels lie.
        order: Which slice each file holds; file numbers and Instance Numbers follow it and so say nothing of position.
        places: Place of each slice along the stack, in slices; default 0, 1, 2, ...
        each: Attributes of a slice, in place of the defaults.
        name: File name from the file's number and the slice's.
        uid: Series Instance UID.
        prepare: What is done to each data set before it is written.
    """
    stored = stored_values() if stored is None else stored
    lattice = lattice or Lattice()
    order = range(len(stored)) if order is None else order
    paths = []
    for n, k in enumerate(order):
        plane = lattice.plane(k if places is None else places[k])
        attributes = {"SeriesInstanceUID": uid, "InstanceNumber": n + 1, **plane, **each(k)}
        dataset = image_dataset(attributes.pop("pixels", stored[k]), **attributes)
        prepare(dataset)
        paths.append(save(dataset, folder / name(n, k)))
    return paths


def voxels_of(stored: np.ndarray) -> np.ndarray:
    """`(slice, row, column)` in the axis order of an image, (column, row, slice)."""
    return stored.transpose(2, 1, 0)
