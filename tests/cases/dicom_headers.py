"""Headers as the DICOM reader leaves them in `metadata.extra`, volumes to go with them, and independent readers of series."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dcm2niix
import nibabel
import numpy as np
import pydicom
import SimpleITK

import medjax as mj

# Rotated about all three axes: no component of any direction is zero.
TURN = np.linalg.qr(np.array([[0.9, -0.2, 0.3], [0.3, 0.95, -0.1], [-0.2, 0.2, 0.9]]))[0]
TURN *= np.sign(np.diag(TURN))
SHAPE = (13, 9, 7)
SPACING, ORIGIN = (0.7, 1.3, 2.5), (-131.25, 97.5, -203.75)
# Axes of the image, by what is special about them. "left-handed" needs its slices in reverse, "sagittal" runs along x.
DIRECTIONS = {
    "oblique": TURN,
    "left-handed": TURN * [1, 1, -1],
    "straight": np.eye(3),
    "sagittal": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    "mirrored rows": np.diag([-1.0, 1, 1]),
}

PATIENT = {
    "PatientName": "Secret^Name",
    "PatientID": "4711",
    "PatientBirthDate": "19500101",
    "PatientSex": "F",
    "StudyInstanceUID": "1.2.3.4",
    "StudyDate": "20240229",
    "StudyTime": "091500",
    "StudyDescription": "Kopf, übersicht",
    "SeriesInstanceUID": "1.2.3.4.5",
    "SeriesNumber": 7,
    "SeriesDescription": "THIN",
    "FrameOfReferenceUID": "1.2.3.4.6",
    "Manufacturer": "SIEMENS",
    "PatientPosition": "HFS",
    "ImageType": ["ORIGINAL", "PRIMARY", "M"],
}
OF_MODALITY: dict[str, dict[str, Any]] = {
    "CT": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "KVP": 120.0, "ConvolutionKernel": ["B30f"]},
    "MR": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
        "ScanningSequence": ["GR", "IR"],
        "SequenceVariant": "SP",
        "EchoTime": 2.98,
        "RepetitionTime": 2300.0,
    },
    "PT": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128",
        "SeriesDate": "20240229",
        "SeriesTime": "100000",
        "SeriesType": ["WHOLE BODY", "IMAGE"],
        "Units": "BQML",
        "CountsSource": "EMISSION",
        "DecayCorrection": "START",
        "CorrectedImage": ["DECY", "ATTN"],
        "DecayFactor": 1.1,
        "PatientWeight": 70.0,
        "RadiopharmaceuticalInformationSequence": [
            {
                "RadionuclideHalfLife": 6586.2,
                "RadionuclideTotalDose": 3.7e8,
                "RadiopharmaceuticalStartTime": "090000",
                "RadionuclideCodeSequence": [
                    {"CodeValue": "C-111A1", "CodingSchemeDesignator": "SRT", "CodeMeaning": "^18^Fluorine"}
                ],
            }
        ],
    },
    "OT": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
}


def volume(modality: str, direction: np.ndarray = TURN, *, dtype: Any = np.float32, header: bool = True) -> mj.Image:
    """An image of noise, whose metadata holds the header that a reader would have found."""
    values = np.random.default_rng(1).normal(400, 600, SHAPE)
    voxels = (np.abs(values) if modality == "PT" or np.dtype(dtype).kind == "u" else values).astype(dtype)
    image = mj.Image.from_array(voxels, spacing=SPACING, origin=ORIGIN, direction=direction)
    extra: dict[str, Any] = PATIENT | {"Modality": modality} | OF_MODALITY[modality] if header else {}
    if header:
        places = image.origin + np.arange(SHAPE[2])[:, None] * image.affine[:3, 2]
        extra["ImageOrientationPatient"] = image.direction[:, :2].T.ravel().tolist()
        extra["per_slice"] = {
            "SOPInstanceUID": [f"1.2.3.4.5.{k}" for k in range(SHAPE[2])],
            "ImagePositionPatient": places.tolist(),
        }
        if modality == "PT":
            beds = [k // 3 for k in range(SHAPE[2])]
            extra["per_slice"]["FrameReferenceTime"] = [60000.0 * (bed + 1) for bed in beds]
            extra["per_slice"]["AcquisitionTime"] = [f"10{2 * bed + 1:02}00" for bed in beds]
            extra["AcquisitionDate"] = "20240229"
    return image.with_metadata(metadata(modality, extra))


def metadata(modality: str, extra: dict[str, Any]) -> mj.Metadata:
    return mj.Metadata(
        modality=modality,
        patient_id=extra.get("PatientID"),
        study_uid=extra.get("StudyInstanceUID"),
        series_uid=extra.get("SeriesInstanceUID"),
        acquisition_time=dt.datetime(2024, 2, 29, 10, 1) if modality == "PT" and extra else None,
        extra=extra,
    )


def metadata_of(image: mj.Image) -> mj.Metadata:
    assert isinstance(image.metadata, mj.Metadata)
    return image.metadata


def with_fields(image: mj.Image, **extra: Any) -> mj.Image:
    """The image with other values in its header."""
    known = metadata_of(image)
    return image.with_metadata(known.replace(extra={**known.extra, **extra}))


# Readers: voxels (i, j, k) and the affine to LPS mm


def with_pydicom(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Nothing but the definitions of PS3.3 section C.7.6.2 and C.11.1."""
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    slices.sort(key=lambda item: int(item.InstanceNumber))
    planes = [d.pixel_array * float(d.get("RescaleSlope", 1)) + float(d.get("RescaleIntercept", 0)) for d in slices]
    affine = np.eye(4)
    row, column = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    affine[:3, 0], affine[:3, 1] = row * slices[0].PixelSpacing[1], column * slices[0].PixelSpacing[0]
    first, last = (np.array(item.ImagePositionPatient, float) for item in (slices[0], slices[-1]))
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(slices) - 1), first
    return np.stack(planes).T, affine


def with_simpleitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, affine


def with_dcm2niix(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    out = folder.parent / "nifti"
    out.mkdir()
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "scan", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = out.glob("*.nii")
    image = nibabel.Nifti1Image.from_filename(found)
    return np.asarray(image.dataobj), np.diag([-1.0, -1, 1, 1]) @ image.affine


def with_medjax(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    image = mj.load_image(folder)
    return np.asarray(image.voxels), image.affine


READERS: dict[str, Callable[[Path], tuple[np.ndarray, np.ndarray]]] = {
    "pydicom": with_pydicom,
    "SimpleITK": with_simpleitk,
    "dcm2niix": with_dcm2niix,
    "medjax": with_medjax,
}


def in_world(image: mj.Image, found: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, float]:
    """What a reader found at each voxel of the image, and by how many mm its voxels lie elsewhere at most."""
    steps = np.round(np.linalg.inv(affine) @ image.affine)  # a reader may have turned or reversed axes
    index = np.indices(image.shape).reshape(3, -1)
    index = np.vstack([index, np.ones(index.shape[1])])
    error = float(np.abs(image.affine @ index - affine @ (steps @ index)).max())
    i, j, k = (steps @ index)[:3].astype(int)
    assert min(i.min(), j.min(), k.min()) >= 0
    return found[i, j, k].reshape(image.shape).astype(np.float64), error
