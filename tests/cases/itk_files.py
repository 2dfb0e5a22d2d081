"""What the tests of MetaImage, NRRD and 3D Slicer scenes share: an oblique grid, voxels, metadata, and SimpleITK's view."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

import medjax as mj

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
SHAPE = (5, 4, 3)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rz @ Ry @ Rx, radians."""
    (sx, sy, sz), (cx, cy, cz) = np.sin([x, y, z]), np.cos([x, y, z])
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx


TURN = rotation(0.4, -0.2, 0.9)
SPACING = (0.7, 1.3, 2.9)
ORIGIN = (-101.37, 55.123456789, 12.3)
OBLIQUE = mj.Grid.of(SHAPE, spacing=SPACING, origin=ORIGIN, direction=TURN).affine


def voxels_of(dtype: str, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Numbers over the whole range of a dtype, its extremes among them."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        values = rng.standard_normal(shape).astype(dtype)
        values.flat[:3] = [np.nan, np.inf, np.finfo(dtype).max]
        return values
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values.flat[:2] = [info.min, info.max]
    return values


def as_itk(voxels: np.ndarray) -> np.ndarray:
    """From (i, j, k, ...) to the (k, j, i, ...) of GetArrayFromImage."""
    return voxels.transpose(2, 1, 0, *range(3, voxels.ndim))


def read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """SimpleITK's voxels, (i, j, k, ...), and affine."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return as_itk(sitk.GetArrayFromImage(image)), affine


def numbers(values: Any) -> str:
    return " ".join(f"{value:.17g}" for value in np.ravel(values))


METADATA = mj.Metadata(
    modality="CT",
    subtype="T1",
    patient_id="id 1",
    patient_uid="1.2.3",
    study_uid="1.2.4",
    series_uid="1.2.5",
    study_description='größer "quoted" \\ and\nbroken',
    acquisition_time=dt.datetime(2024, 2, 29, 23, 59, 58, 123456),
    is_contrast_administered=False,
    display={
        "window": [40.0, 400.0],
        "Überschrift": 'größer "quoted" \\ and\nbroken',
        "values": [1, 2.5, None, {"deep": True}],
        "long": "blanks  " * 12_500,
    },
    clinical={"weight_kg": 71.5},
    extra={"PatientName": "Doe^Jane", "StudyDate": "20240229"},
)
# What of it MetaImage and NRRD keep: what names nobody.
SHARED = mj.Metadata(modality="CT", subtype="T1", is_contrast_administered=False, display=METADATA.display)


def metadata_of(image: mj.Image) -> mj.Metadata:
    assert isinstance(image.metadata, mj.Metadata)
    return image.metadata


def float_hash(voxels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(as_itk(voxels), dtype=np.float32).tobytes()).hexdigest()
