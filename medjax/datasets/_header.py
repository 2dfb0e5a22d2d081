"""Headers of made scans, in the form in which the DICOM reader gives them: patient, study, dose, times."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from medjax._image._metadata import Metadata
from medjax.datasets._random import Draws

__all__ = ["Study"]

_FLUORINE_18_S = 6586.2


class Study:
    """A patient and an examination, by seed and visit.

    Attributes:
        patient_id: Made from the seed.
        weight_kg: Body weight.
        dose_bq: Injected activity.
        suv_factor: g/ml per Bq/ml, `1000 W / (D 2^(-t / T))` from injection to the start of the scan.
    """

    def __init__(self, seed: int, visit: int = 1):
        draws = Draws(seed, "patient")
        self.patient_id = f"MADE{seed:05d}"
        self.weight_kg = round(draws.uniform(52.0, 104.0), 1)
        self._height_m = round(draws.uniform(1.54, 1.92), 2)
        self._sex = "FM"[draws.integer(2)]
        self._uid_root = f"{seed} {visit}"
        times = Draws(seed, f"visit {visit}")
        self.dose_bq = float(round(times.uniform(2.2e8, 3.8e8), -5))
        uptake_s = 60 * (50 + times.integer(25)) + 17
        self._scan = dt.datetime(2026, 3, 2, 9, 30) + dt.timedelta(days=90 * (visit - 1), minutes=5 * times.integer(60))
        self._injection = self._scan - dt.timedelta(seconds=uptake_s)
        self.suv_factor = 1000.0 * self.weight_kg / (self.dose_bq * 2.0 ** (-uptake_s / _FLUORINE_18_S))

    def ct(self) -> Metadata:
        """Header of the CT."""
        acquisition = {
            "KVP": 120.0,
            "ConvolutionKernel": "MADE",
            "RescaleType": "HU",
            "WindowCenter": 40.0,
            "WindowWidth": 400.0,
        }
        return self._metadata("CT", "CT of the trunk", 1, acquisition)

    def pet(self, slices: int, units: str = "GML") -> Metadata:
        """Header of the PET: uptake in g/ml, or activity in Bq/ml at the start of the scan."""
        dose = {
            "Radiopharmaceutical": "Fluorodeoxyglucose",
            "RadiopharmaceuticalStartTime": f"{self._injection:%H%M%S}",
            "RadiopharmaceuticalStartDateTime": f"{self._injection:%Y%m%d%H%M%S}",
            "RadionuclideTotalDose": self.dose_bq,
            "RadionuclideHalfLife": _FLUORINE_18_S,
            "RadionuclideCodeSequence": [
                {"CodeValue": "C-111A1", "CodingSchemeDesignator": "SRT", "CodeMeaning": "^18^Fluorine"}
            ],
        }
        acquisition = {
            "SeriesType": ["STATIC", "IMAGE"],
            "Units": units,
            "CountsSource": "EMISSION",
            "CollimatorType": "NONE",
            "CorrectedImage": ["DECY", "ATTN", "SCAT", "DTIM", "RANSNG", "NORM"],
            "DecayCorrection": "START",
            "RadiopharmaceuticalInformationSequence": [dose],
            "FrameReferenceTime": 0.0,
            "ActualFrameDuration": 120000,
            "RescaleIntercept": 0.0,
            "NumberOfSlices": slices,
        }
        if units == "GML":
            acquisition["SUVType"] = "BW"
        return self._metadata("PT", "PET, attenuation corrected", 2, acquisition)

    def mr(self) -> Metadata:
        """Header of the MR."""
        acquisition = {
            "ScanningSequence": ["GR", "IR"],
            "SequenceVariant": ["SP", "MP"],
            "ScanOptions": "",
            "MRAcquisitionType": "3D",
            "RepetitionTime": 2300.0,
            "EchoTime": 2.9,
            "InversionTime": 900.0,
            "FlipAngle": 9.0,
            "MagneticFieldStrength": 3.0,
        }
        return self._metadata("MR", "T1-weighted", 1, acquisition)

    def _metadata(self, modality: str, description: str, number: int, acquisition: dict[str, Any]) -> Metadata:
        study, series = self._uid("study"), self._uid(description)
        date, time = f"{self._scan:%Y%m%d}", f"{self._scan:%H%M%S}.000000"
        extra = {
            "PatientName": "Made^Patient",
            "PatientID": self.patient_id,
            "PatientSex": self._sex,
            "PatientWeight": self.weight_kg,
            "PatientSize": self._height_m,
            "StudyInstanceUID": study,
            "StudyDate": date,
            "StudyTime": time,
            "StudyDescription": "Made examination",
            "SeriesInstanceUID": series,
            "SeriesDate": date,
            "SeriesTime": time,
            "SeriesDescription": description,
            "SeriesNumber": number,
            "AcquisitionDate": date,
            "AcquisitionTime": time,
            "FrameOfReferenceUID": self._uid("frame of reference"),
            "PatientPosition": "HFS",
            "Manufacturer": "medjax",
            "ManufacturerModelName": "medjax.datasets",
            **acquisition,
        }
        return Metadata(
            modality=modality,
            subtype={"PT": "FDG", "MR": "T1"}.get(modality),
            patient_id=self.patient_id,
            study_uid=study,
            series_uid=series,
            study_description="Made examination",
            acquisition_time=self._scan,
            extra=extra,
        )

    def _uid(self, what: str) -> str:
        """A UID from a hash, PS3.5 annex B.2."""
        digest = hashlib.sha256(f"medjax.datasets {self._uid_root} {what}".encode()).digest()[:16]
        return f"2.25.{int.from_bytes(digest, 'big')}"
