"""A made-up PET/CT examination as DICOM files, with the truth: hot spheres of known uptake, on two different grids.

    truth = make_pet_ct(folder, seed=0)

writes `folder/ct` and `folder/pet`, one file per slice under names that do not sort by position. The CT has finer voxels
and a larger field of view than the PET; the PET has rows and columns of different number and spacing, a rescale slope of its
own on every slice, and a header from which the SUV factor follows (BQML, decay-corrected to the start of the series). Some
seeds inject before midnight and scan after it. All of it is made up; there is no patient.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

__all__ = ["PetCt", "Sphere", "make_pet_ct"]

# Bounds of the body, an elliptic cylinder about the origin, in mm: half-axes in x and y, half-length in z.
BODY_MM = (130.0, 95.0, 85.0)
BODY_SUV, BODY_HU, SPHERE_HU, AIR_HU = 1.0, 40, 60, -1000
_FLUORINE_18_S = 6586.2


@dataclasses.dataclass(frozen=True)
class Sphere:
    """A lesion: position in LPS mm, radius in mm, uptake in g/ml."""

    center_mm: tuple[float, float, float]
    radius_mm: float
    suv: float

    @property
    def volume_mm3(self) -> float:
        return 4 / 3 * np.pi * self.radius_mm**3

    def covers(self, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Voxels of a grid whose centre lies in the sphere."""
        index = np.moveaxis(np.indices(shape), 0, -1)
        world = index @ affine[:3, :3].T + affine[:3, 3]
        return ((world - self.center_mm) ** 2).sum(-1) <= self.radius_mm**2


@dataclasses.dataclass(frozen=True)
class PetCt:
    """What was written: folders, geometry and values in the order (i, j, k), LPS mm."""

    ct_folder: Path
    pet_folder: Path
    ct_affine: np.ndarray
    pet_affine: np.ndarray
    ct_hu: np.ndarray
    pet_suv: np.ndarray  # before it was rounded to stored integers
    suv_step: float  # the largest such rounding
    suv_factor: float  # g/ml per Bq/ml
    weight_kg: float
    height_m: float
    sex: str
    spheres: tuple[Sphere, ...]


def make_pet_ct(folder: Path | str, seed: int = 0, *, ct_shape: tuple[int, int, int] = (144, 120, 60)) -> PetCt:
    """Writes a CT and a PET series of one examination and returns the truth.

    Args:
        folder: Where `ct` and `pet` are made.
        seed: Positions and uptake of the lesions, patient, dose and times follow from it.
        ct_shape: CT voxels along i, j, k; the field of view stays as it is.
    """
    random = np.random.default_rng(seed)
    spheres = _spheres(random)
    ct_spacing = np.array([288.0, 240.0, 180.0]) / ct_shape
    ct_affine = _centred(ct_spacing, ct_shape)
    pet_shape = (68, 50, 34)
    pet_affine = _centred(np.array([4.0, 4.5, 5.0]), pet_shape) + _shift(1.3, -0.7, 0.9)
    ct_hu = _painted(ct_shape, ct_affine, AIR_HU, BODY_HU, [(s, SPHERE_HU) for s in spheres]).round()
    pet_suv = _painted(pet_shape, pet_affine, 0.0, BODY_SUV, [(s, s.suv) for s in spheres])
    study = _Study(random, seed)
    ct_folder, pet_folder = Path(folder) / "ct", Path(folder) / "pet"
    _write_series(ct_folder, study, ct_affine, ct_hu, _ct_slice, random)
    steps = _write_series(pet_folder, study, pet_affine, pet_suv / study.suv_factor, _pet_slice, random)
    return PetCt(
        ct_folder=ct_folder,
        pet_folder=pet_folder,
        ct_affine=ct_affine,
        pet_affine=pet_affine,
        ct_hu=ct_hu,
        pet_suv=pet_suv,
        suv_step=max(steps) * study.suv_factor,
        suv_factor=study.suv_factor,
        weight_kg=study.weight_kg,
        height_m=study.height_m,
        sex=study.sex,
        spheres=spheres,
    )


class _Study:
    """Patient, dose and times, and the factor that follows from them."""

    def __init__(self, random: np.random.Generator, seed: int):
        self.uids = {
            name: generate_uid(entropy_srcs=["medjax", name, str(seed)]) for name in ("study", "frame", "ct", "pet")
        }
        self.weight_kg = round(float(random.uniform(50, 110)), 1)
        self.height_m = round(float(random.uniform(1.5, 1.95)), 2)
        self.sex = str(random.choice(["M", "F"]))
        self.dose_bq = round(float(random.uniform(2e8, 4e8)), -4)
        minutes = int(random.integers(50, 75))
        self.scan = dt.datetime(2026, 3, 14, 0 if seed % 2 else 11, 20, 30)  # odd seeds: injected before midnight
        self.injection = self.scan - dt.timedelta(minutes=minutes, seconds=17)
        left = 0.5 ** ((60 * minutes + 17) / _FLUORINE_18_S)
        self.suv_factor = 1000 * self.weight_kg / (self.dose_bq * left)


def _spheres(random: np.random.Generator) -> tuple[Sphere, ...]:
    """Four lesions in four quarters of the body, so that they never touch."""
    corners = [(-60, -35, -40), (60, -35, 40), (-60, 35, 40), (60, 35, -40)]
    radii, uptakes = (18.0, 14.0, 11.0, 16.0), random.permutation([4.0, 6.0, 9.0, 12.0])
    centers = np.array(corners) + random.uniform(-6, 6, (4, 3)).round(2)
    return tuple(
        Sphere((float(x), float(y), float(z)), radius, float(suv))
        for (x, y, z), radius, suv in zip(centers, radii, uptakes, strict=True)
    )


def _centred(spacing: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    return affine


def _shift(*offset: float) -> np.ndarray:
    change = np.zeros((4, 4))
    change[:3, 3] = offset
    return change


def _painted(
    shape: tuple[int, ...], affine: np.ndarray, air: float, body: float, lesions: list[tuple[Sphere, float]]
) -> np.ndarray:
    """Values on a grid; a voxel that a surface cuts holds the mean of 5 x 5 x 5 points in it."""
    steps = (np.arange(5) + 0.5) / 5 - 0.5
    axes = [affine[a, a] * (np.arange(n)[:, None] + steps) + affine[a, 3] for a, n in enumerate(shape)]
    x, y, z = axes
    disc = (x[:, None, :, None] / BODY_MM[0]) ** 2 + (y[None, :, None, :] / BODY_MM[1]) ** 2 <= 1
    inside = disc.mean((2, 3))[:, :, None] * (np.abs(z) <= BODY_MM[2]).mean(1)
    values = air + (body - air) * inside
    for sphere, value in lesions:
        squared = [(axis - c) ** 2 for axis, c in zip(axes, sphere.center_mm, strict=True)]
        near = [np.flatnonzero(s.min(1) <= sphere.radius_mm**2) for s in squared]
        i, j, k = (s[n] for s, n in zip(squared, near, strict=True))
        distance = i[:, None, None, :, None, None] + j[None, :, None, None, :, None] + k[None, None, :, None, None, :]
        part = (distance <= sphere.radius_mm**2).mean((3, 4, 5))
        values[np.ix_(*near)] += (value - body) * part
    return values


def _write_series(
    folder: Path, study: _Study, affine: np.ndarray, values: np.ndarray, fill: Any, random: np.random.Generator
) -> list[float]:
    """Writes one file per slice; returns by how much a value can differ from what was stored."""
    folder.mkdir(parents=True)
    names, steps = random.permutation(values.shape[2]), []
    for k in range(values.shape[2]):
        dataset = _slice(study, affine, values.shape, k)
        slope = fill(dataset, study, values[:, :, k], random)
        stored = np.round((values[:, :, k] - float(dataset.RescaleIntercept)) / slope).astype("<i2")
        dataset.PixelData = stored.T.tobytes()  # rows are j, columns are i
        dataset.save_as(folder / f"IM{names[k]:04d}", enforce_file_format=True)
        steps.append(slope / 2)
    return steps


def _slice(study: _Study, affine: np.ndarray, shape: tuple[int, ...], k: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.PatientName, dataset.PatientID = "Synthetic^Phantom", "SYNTHETIC"
    dataset.PatientSex, dataset.PatientWeight, dataset.PatientSize = study.sex, study.weight_kg, study.height_m
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = study.uids["study"], study.uids["frame"]
    dataset.StudyDescription = "Synthetic PET/CT"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = f"{study.scan:%Y%m%d}"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = f"{study.scan:%H%M%S.%f}"
    dataset.InstanceNumber = shape[2] - k  # scanners often count against the direction of the stack
    dataset.ImagePositionPatient = [round(float(x), 6) for x in affine[:3, :3] @ (0, 0, k) + affine[:3, 3]]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [float(affine[1, 1]), float(affine[0, 0])]  # between rows, between columns
    dataset.SliceThickness = float(affine[2, 2])
    dataset.Columns, dataset.Rows = shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleIntercept = 0
    return dataset


def _identify(dataset: Dataset, study: _Study, series: str, sop_class: UID) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    uid = generate_uid(entropy_srcs=[study.uids[series], str(dataset.InstanceNumber)])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.SeriesInstanceUID = study.uids[series]


def _ct_slice(dataset: Dataset, study: _Study, values: np.ndarray, random: np.random.Generator) -> float:
    _identify(dataset, study, "ct", CTImageStorage)
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "CT", 1, "CT"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    return 1.0


def _pet_slice(dataset: Dataset, study: _Study, values: np.ndarray, random: np.random.Generator) -> float:
    _identify(dataset, study, "pet", PositronEmissionTomographyImageStorage)
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "PT", 2, "PET AC"
    dataset.SeriesType = ["STATIC", "IMAGE"]
    dataset.Units, dataset.DecayCorrection = "BQML", "START"
    dataset.CorrectedImage = ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"]
    dataset.FrameReferenceTime, dataset.ActualFrameDuration = 150000, 300000
    dose = Dataset()
    dose.Radiopharmaceutical = "FDG"
    dose.RadiopharmaceuticalStartTime = f"{study.injection:%H%M%S}"
    dose.RadiopharmaceuticalStartDateTime = f"{study.injection:%Y%m%d%H%M%S}"
    dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = study.dose_bq, _FLUORINE_18_S
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    dose.RadionuclideCodeSequence = [code]
    dataset.RadiopharmaceuticalInformationSequence = [dose]
    slope = round(max(float(values.max()), 1.0) / 32000 * float(random.uniform(1.0, 1.5)), 6)
    dataset.RescaleSlope = slope
    return slope
