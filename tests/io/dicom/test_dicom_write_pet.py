"""PET written as a derived series: the factor to SUV is what it was, however the source states its decay reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_data import Lattice, series
from pydicom.dataset import Dataset
from pydicom.uid import PositronEmissionTomographyImageStorage, SecondaryCaptureImageStorage

import medjax as mj

STORED = np.random.default_rng(0).integers(0, 3000, (6, 9, 12)).astype(np.int16)
UPRIGHT = Lattice(turn=np.eye(3), between_columns=3.0, between_rows=3.0, between_slices=3.0)
DAY = "20260314"


def dose() -> Dataset:
    item = Dataset()
    item.RadiopharmaceuticalStartDateTime = f"{DAY}100000"
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = 3e8, 6586.2
    return item


def two_beds(k: int) -> dict[str, Any]:
    first = {"AcquisitionTime": "110000", "FrameReferenceTime": 89000.0}
    return first if k < 3 else {"AcquisitionTime": "110330", "FrameReferenceTime": 299000.0}


def header(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"sop_class": PositronEmissionTomographyImageStorage, "Modality": "PT", "Units": "BQML"}
    known |= {"CorrectedImage": ["DECY", "ATTN"], "DecayCorrection": "START", "CountsSource": "EMISSION"}
    known |= {"SeriesType": ["WHOLE BODY", "IMAGE"], "PatientWeight": 70, "PatientSize": 1.7, "PatientSex": "M"}
    known |= {"SeriesDate": DAY, "AcquisitionDate": DAY, "SeriesTime": "110000", "NumberOfSlices": 6}
    known |= {"ActualFrameDuration": 180000, "RescaleSlope": 1, "RescaleIntercept": 0}
    return {**known, "RadiopharmaceuticalInformationSequence": [dose()], **changes}


def with_ge_time(dataset: Dataset) -> None:
    dataset.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", f"{DAY}105900.00")


CASES: dict[str, dict[str, Any]] = {
    "series time at the start": {},
    "series stored later": {"SeriesTime": "113000"},
    "without frame reference time": {"SeriesTime": "113000", "FrameReferenceTime": 0.0},
    "not corrected for decay": {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"]},
    "corrected to the injection": {"DecayCorrection": "ADMIN"},
}


@pytest.mark.filterwarnings("ignore:the reference time is the earliest acquisition")
@pytest.mark.parametrize("has_ge_time", [False, True])
@pytest.mark.parametrize("slices", [(0, 6), (3, 3), (2, 3)], ids=["whole", "second bed", "parts of both"])
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_suv_is_what_it_was(
    tmp_path: Path, changes: dict[str, Any], slices: tuple[int, int], has_ge_time: bool
) -> None:
    prepare = with_ge_time if has_ge_time else lambda dataset: None
    series(tmp_path / "a", STORED, lattice=UPRIGHT, each=lambda k: header(**two_beds(k) | changes), prepare=prepare)
    scan = mj.load_image(tmp_path / "a")
    start, count = slices
    part = mj.crop(scan, (0, 0, start), (12, 9, count))
    mj.io.save_dicom_series(part, tmp_path / "b")
    again = mj.load_image(tmp_path / "b")
    written = pydicom.dcmread(next((tmp_path / "b").iterdir()))
    assert written.SOPClassUID == PositronEmissionTomographyImageStorage
    wanted = np.asarray(mj.to_suv(scan).voxels)[:, :, start : start + count]
    np.testing.assert_allclose(mj.to_suv(again).voxels, wanted, rtol=1e-6)


def test_one_time_of_a_dynamic_scan_is_a_secondary_capture(tmp_path: Path) -> None:
    def each(k: int) -> dict[str, Any]:
        times = {
            "AcquisitionTime": "110000" if k < 3 else "111000",
            "FrameReferenceTime": 89000.0 if k < 3 else 689000.0,
        }
        more = {"SeriesType": ["DYNAMIC", "IMAGE"], "NumberOfTimeSlices": 2, "TemporalPositionIdentifier": 1 + (k >= 3)}
        return header(**times, **more)

    series(tmp_path / "a", STORED, lattice=UPRIGHT, each=each, places=[0, 1, 2, 0, 1, 2])
    scan = mj.load_image(tmp_path / "a")
    mj.io.save_dicom_series(scan.with_voxels(scan.voxels[..., 1]), tmp_path / "b")
    written = pydicom.dcmread(next((tmp_path / "b").iterdir()))
    assert written.SOPClassUID == SecondaryCaptureImageStorage
    np.testing.assert_array_equal(mj.load_image(tmp_path / "b").voxels, scan.voxels[..., 1])
