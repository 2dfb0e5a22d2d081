"""PET images without files: a header in the form of the DICOM reader, changed by keyword."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import medjax as mj
from medjax import Image, Metadata

__all__ = ["DOSE", "FLUORINE", "OBLIQUE", "changed", "decayed", "factor", "oblique", "pet"]

FLUORINE = 6586.2  # half-life in s
OBLIQUE = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])

# A header in the form of the DICOM reader: injected at 10:00:00, scanned from 11:00:00.
DOSE = {
    "RadiopharmaceuticalStartTime": "100000.000000",
    "RadiopharmaceuticalStartDateTime": "20250101100000.000000",
    "RadionuclideTotalDose": 370e6,
    "RadionuclideHalfLife": FLUORINE,
    "RadionuclideCodeSequence": [{"CodeValue": "C-111A1", "CodeMeaning": "^18^Fluorine"}],
}
HEADER = {
    "Units": "BQML",
    "CorrectedImage": ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"],
    "DecayCorrection": "START",
    "SeriesDate": "20250101",
    "SeriesTime": "110000.000000",
    "AcquisitionDate": "20250101",
    "AcquisitionTime": "110000.000000",
    "PatientWeight": 70.0,
    "PatientSize": 1.75,
    "PatientSex": "M",
    "RescaleIntercept": 0.0,
}


def pet(shape: tuple[int, ...] = (3, 4, 5), voxels: Any = None, /, **changes: Any) -> Any:
    """A PET image with HEADER, changed by keyword; `None` takes an attribute out."""
    dose = {key: changes.pop(key, value) for key, value in DOSE.items()}
    header = HEADER | {"RadiopharmaceuticalInformationSequence": [_without_none(dose)]} | changes
    voxels = np.full(shape, 5000.0, np.float32) if voxels is None else voxels
    metadata = Metadata(modality="PT", extra=_without_none(header))
    return Image.from_array(voxels, affine=oblique(4.0, 4.5, 5.0), metadata=metadata)


def _without_none(header: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in header.items() if value is not None}


def oblique(*spacing: float) -> np.ndarray:
    """An affine with these voxel sizes, turned about two axes, far from the origin."""
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE * np.array(spacing)
    affine[:3, 3] = (12.5, -30.0, 800.0)
    return affine


def factor(image: Any, kind: Any = "bw", **tags: Any) -> Any:
    """The bare factor of a single image."""
    found = mj.suv_factor(image, kind, tags=tags or None)
    assert isinstance(found, mj.SuvFactor)
    return found.factor


def decayed(minutes: float, half_life: float = FLUORINE) -> float:
    """What is left of an activity."""
    return math.exp(-math.log(2) * 60 * minutes / half_life)


def changed(image: Any, **changes: Any) -> Any:
    """The image with other values in its header."""
    return image.with_metadata(image.metadata.replace(extra={**image.metadata.extra, **changes}))
