"""Synthetic DICOM objects of other kinds than one slice per file: enhanced, mosaic, dose, nuclear medicine, loops."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dicom_data import Lattice, decimals, image_dataset
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage, NuclearMedicineImageStorage, RTDoseStorage


def item(**attributes: Any) -> Dataset:
    """A data set of the given attributes."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def group(**macros: Mapping[str, Any]) -> Dataset:
    """A functional group: each macro a sequence of one item."""
    return item(**{keyword: Items([item(**attributes)]) for keyword, attributes in macros.items()})


def plane_groups(lattice: Lattice, k: float) -> dict[str, dict[str, Any]]:
    """The macros that place a frame."""
    plane = lattice.plane(k)
    return {
        "PlanePositionSequence": {"ImagePositionPatient": plane["ImagePositionPatient"]},
        "PlaneOrientationSequence": {"ImageOrientationPatient": plane["ImageOrientationPatient"]},
        "PixelMeasuresSequence": {"PixelSpacing": plane["PixelSpacing"], "SliceThickness": plane["SliceThickness"]},
    }


def enhanced(
    pixels: np.ndarray,
    frames: Sequence[Mapping[str, Mapping[str, Any]]],
    *,
    shared: Mapping[str, Mapping[str, Any]] | None = None,
    dimensions: Sequence[str] = (),
    **attributes: Any,
) -> Dataset:
    """An enhanced MR object with pixels `(frame, row, column)` and the macros of each frame."""
    values: dict[str, Any] = {
        "Modality": "MR",
        "SharedFunctionalGroupsSequence": Items([group(**(shared or {}))]),
        "PerFrameFunctionalGroupsSequence": Items([group(**macros) for macros in frames]),
    }
    if dimensions:
        values["DimensionIndexSequence"] = Items([item(DimensionIndexPointer=Tag(name)) for name in dimensions])
    return image_dataset(pixels, sop_class=EnhancedMRImageStorage, **(values | attributes))


def mosaic(
    tiles: np.ndarray,
    lattice: Lattice,
    *,
    csa_version: int = 2,
    normal_sign: float = 1.0,
    stated_count: int | None = None,
    **attributes: Any,
) -> Dataset:
    """A Siemens mosaic of tiles `(slice, row, column)`; the first tile lies at the lattice's origin.

    Args:
        tiles: Stored values.
        lattice: Where they lie.
        csa_version: Layout of the private header, 1 or 2; 0 leaves it out.
        normal_sign: -1 if the tiles follow each other against the normal.
        stated_count: The number of tiles that the header states, in place of the true one.
        **attributes: Further attributes.
    """
    count, rows, columns = tiles.shape
    side = int(np.ceil(np.sqrt(count)))
    sheet = np.zeros((side * rows, side * columns), tiles.dtype)
    for n, tile in enumerate(tiles):
        row, column = n // side * rows, n % side * columns
        sheet[row : row + rows, column : column + columns] = tile
    plane = lattice.plane(0)
    outward = lattice.turn[:, 0] * lattice.between_columns * columns + lattice.turn[:, 1] * lattice.between_rows * rows
    plane["ImagePositionPatient"] = decimals(np.asarray(lattice.origin) - outward * (side - 1) / 2)
    dataset = image_dataset(
        sheet,
        sop_class=MRImageStorage,
        Modality="MR",
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        SpacingBetweenSlices=lattice.between_slices,
        **(plane | attributes),
    )
    if csa_version:
        values = {
            "EchoLinePosition": ["128"],
            "NumberOfImagesInMosaic": [str(stated_count or count)],
            "SliceNormalVector": [f"{x:.8f}" for x in lattice.turn[:, 2] * normal_sign],
        }
        dataset.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
        dataset.add_new(0x00291010, "OB", csa_header(values, csa_version))
    return dataset


def csa_header(values: Mapping[str, Sequence[str]], version: int) -> bytes:
    """A CSA header of the given elements; each has six items, those that are not used are empty."""
    body = b"SV10\4\3\2\1" if version == 2 else b""
    body += struct.pack("<2I", len(values), 77)
    for name, texts in values.items():
        body += name.encode().ljust(64, b"\0") + struct.pack("<i4s3i", len(texts), b"IS\0\0", 6, 6, 77)
        for text in (*texts, *[""] * (6 - len(texts))):
            content = text.encode() + b"\0" if text else b""
            size = len(content)
            body += struct.pack("<4i", *((size, size, 77, size) if version == 2 else (size + 6, 77, 77, 77)))
            body += content + b"\0" * (-size % 4)
    return body


def dose(stored: np.ndarray, lattice: Lattice, *, is_absolute: bool = False, **attributes: Any) -> Dataset:
    """RT Dose with its frames at offsets along the normal, from 0 or from the z of the origin."""
    offsets = np.arange(len(stored)) * lattice.between_slices + (lattice.origin[2] if is_absolute else 0)
    values: dict[str, Any] = {
        "Modality": "RTDOSE",
        "DoseUnits": "GY",
        "DoseGridScaling": "0.0001",
        "GridFrameOffsetVector": decimals(offsets),
    }
    return image_dataset(stored, sop_class=RTDoseStorage, **(lattice.plane(0) | values | attributes))


def nuclear(stored: np.ndarray, lattice: Lattice, *, step: float, **attributes: Any) -> Dataset:
    """Reconstructed tomography in nuclear medicine: the detector states the first slice's place."""
    plane = lattice.plane(0)
    detector = item(**{k: plane.pop(k) for k in ("ImagePositionPatient", "ImageOrientationPatient")})
    values: dict[str, Any] = {
        "Modality": "NM",
        "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
        "SpacingBetweenSlices": decimals([step])[0],
        "SliceVector": list(range(1, len(stored) + 1)),
        "DetectorInformationSequence": Items([detector]),
    }
    return image_dataset(stored, sop_class=NuclearMedicineImageStorage, **(plane | values | attributes))
