"""What `metadata` says of a DICOM series, and that it says nothing else."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_data import SLICES, image_dataset, save, series, stored_values
from dicom_kinds import item
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ImplicitVRLittleEndian

import medjax as mj

# Private: times in forms that pydicom does not write.
from medjax.io._dicom._values import parse_datetime

STORED = stored_values()


def metadata_of(path: Path) -> mj.Metadata:
    metadata = mj.load_image(path).metadata
    assert isinstance(metadata, mj.Metadata)
    return metadata


def test_typed_fields_come_from_their_attributes(tmp_path: Path) -> None:
    each: dict[str, Any] = {
        "Modality": "PT",
        "StudyDescription": "Ganzkörper",
        "AcquisitionDate": "20240229",
        "ContrastBolusAgent": "Gadolinium",
        "PatientWeight": "71.5",
        "PatientSize": "1.83",
        "PatientSex": "O",
    }
    series(tmp_path / "scan", each=lambda k: each | {"AcquisitionTime": f"1030{59 - k}.5"})
    metadata = metadata_of(tmp_path / "scan")
    assert metadata.modality == "PT"
    assert metadata.patient_id == "ID-OF-A-PATIENT"
    assert metadata.study_uid == "1.2.826.0.1.3680043.8.498.1"
    assert metadata.series_uid == "1.2.826.0.1.3680043.8.498.2"
    assert metadata.study_description == "Ganzkörper"
    assert metadata.acquisition_time == dt.datetime(2024, 2, 29, 10, 30, 53, 500000)  # the earliest of all slices
    assert metadata.source == "scan"
    assert metadata.is_contrast_administered is True
    assert dict(metadata.clinical) == {"PatientWeight": 71.5, "PatientSize": 1.83, "PatientSex": "O"}


def test_what_a_file_does_not_state_is_none(tmp_path: Path) -> None:
    bare = {"Modality": None, "PatientID": None, "StudyInstanceUID": None, "SeriesInstanceUID": None, "PatientName": ""}
    series(tmp_path, each=lambda k: bare | {"AcquisitionTime": "120000"})  # a time without a date is no point in time
    metadata = metadata_of(tmp_path)
    stated = {name for name in mj.Metadata.__dataclass_fields__ if getattr(metadata, name)}
    assert stated == {"source", "display", "extra"}
    assert metadata.is_contrast_administered is None
    assert "PatientName" not in metadata.extra
    assert not {"volumes", "geometry", "private"} & metadata.extra.keys()


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"AcquisitionDateTime": "20240102030405.25+0130"}, "2024-01-02T03:04:05.250000+01:30"),
        ({"AcquisitionDate": "20240102", "AcquisitionTime": "0304"}, "2024-01-02T03:04:00"),
        (
            {"AcquisitionDate": "20240102", "AcquisitionTime": "03", "TimezoneOffsetFromUTC": "-0500"},
            "2024-01-02T03:00:00-05:00",
        ),
        ({"AcquisitionDate": "20240102"}, None),
        ({"SeriesDate": "20240102", "SeriesTime": "030405"}, None),
        ({"AcquisitionDate": "20241302", "AcquisitionTime": "030405"}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, when the month 13 is written
def test_acquisition_time_is_only_what_is_stated(tmp_path: Path, attributes: Any, expected: str | None) -> None:
    series(tmp_path, each=lambda k: attributes)
    time = metadata_of(tmp_path).acquisition_time
    assert (time and time.isoformat()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1997.07.15", dt.datetime(1997, 7, 15)),  # the old form of ACR-NEMA
        ("20240229123059.123456", dt.datetime(2024, 2, 29, 12, 30, 59, 123456)),
        ("202402291", None),
        ("2024", None),
        ("", None),
        ("20240230", None),
        ("garbage!", None),
        ("20240101+9", dt.datetime(2024, 1, 1)),
    ],
)
def test_dates_and_times(text: str, expected: dt.datetime | None) -> None:
    assert parse_datetime(text) == expected


@pytest.mark.parametrize(("agent", "expected"), [("Iomeron 400", True), ("NONE", False), ("no", False), ("", None)])
def test_contrast_is_what_the_agent_says(tmp_path: Path, agent: str, expected: bool | None) -> None:
    path = series(tmp_path, STORED[:1], each=lambda k: {"ContrastBolusAgent": agent})[0]
    assert metadata_of(path).is_contrast_administered is expected


def rich(dataset: Dataset) -> None:
    """Adds attributes of every kind."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.KVP = "120"
    dataset.ExposureTime = "500"
    dataset.SliceLocation = "-12.5"
    dataset.RadiopharmaceuticalInformationSequence = Items(
        [item(RadionuclideTotalDose="3.7e8", RadionuclideCodeSequence=Items([item(CodeMeaning="F-18")]))]
    )
    dataset.ReferencedImageSequence = Items([item(ReferencedSOPInstanceUID=f"1.2.{n}") for n in range(300)])
    dataset.FrameIncrementPointer = 0x00181063
    dataset.IconImageSequence = Items([item(Rows=2, ICCProfile=b"\0" * 4)])
    dataset.RedPaletteColorLookupTableData = b"\0" * 512
    dataset.RequestedProcedureDescription = ""
    dataset.LossyImageCompressionRatio = ["10", "2.5"]
    block = dataset.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20240101120000.00")
    philips = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
    philips.add_new(0x00, "DS", "0.00042")
    philips.add_new(0x01, "OB", b"\1" * 10)


@pytest.mark.parametrize("is_implicit", [False, True])
def test_every_public_attribute_is_kept_by_keyword_and_safe_for_json(tmp_path: Path, is_implicit: bool) -> None:
    dataset = image_dataset(
        STORED[0],
        Modality="PT",
        ImagePositionPatient=["0", "0", "1"],
        ImageOrientationPatient=list("100010"),
        PixelSpacing=["1", "1"],
        SliceThickness="2",
    )
    rich(dataset)
    if is_implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    metadata = metadata_of(save(dataset, tmp_path / "x.dcm"))
    extra = metadata.extra
    assert extra["ImageType"] == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert (extra["KVP"], extra["ExposureTime"], extra["SliceLocation"]) == (120.0, 500, -12.5)
    assert (extra["Rows"], extra["BitsStored"]) == (len(STORED[0]), 16)
    assert extra["LossyImageCompressionRatio"] == [10.0, 2.5]
    assert extra["RadiopharmaceuticalInformationSequence"] == [
        {"RadionuclideTotalDose": 3.7e8, "RadionuclideCodeSequence": [{"CodeMeaning": "F-18"}]}
    ]
    assert len(extra["ReferencedImageSequence"]) == 300  # long enough to be left on disk at first
    assert extra["FrameIncrementPointer"] == "(0018,1063)"
    assert extra["IconImageSequence"] == [{"Rows": 2}]
    assert (
        not {"PixelData", "RedPaletteColorLookupTableData", "RequestedProcedureDescription", "per_slice"} & extra.keys()
    )
    assert extra["private"] == {
        "(0009,0010)": "GEMS_PETD_01",
        "(0009,100D)": "20240101120000.00",
        "(7053,0010)": "Philips PET Private Group",
        "(7053,1000)": 0.00042,
    }
    keywords = {element.keyword for element in dataset if not element.tag.is_private and element.VR not in ("OB", "OW")}
    assert keywords - extra.keys() == {"RequestedProcedureDescription"}
    assert mj.Metadata.from_json(metadata.to_json()) == metadata


def test_what_differs_is_kept_per_slice_in_the_order_of_the_slices(tmp_path: Path) -> None:
    def each(k: int) -> dict[str, Any]:
        return {
            "RescaleSlope": f"{1 + k / 4}",
            "ActualFrameDuration": "1000",
            "FrameReferenceTime": str(100 * k) if k != 2 else None,
            "KVP": "120" if k % 2 else "120.0",  # the same number, written differently
        }

    def private(dataset: Dataset) -> None:
        dataset.private_block(0x0019, "VENDOR", create=True).add_new(0x01, "IS", str(int(dataset.InstanceNumber)))

    order = [3, 0, 6, 1, 5, 2, 4]
    series(tmp_path, order=order, each=each, prepare=private)
    extra = metadata_of(tmp_path).extra
    per_slice = extra["per_slice"]
    assert per_slice["RescaleSlope"] == [1 + k / 4 for k in range(SLICES)]
    assert per_slice["InstanceNumber"] == [order.index(k) + 1 for k in range(SLICES)]
    assert per_slice["FrameReferenceTime"] == [0.0, 100.0, None, 300.0, 400.0, 500.0, 600.0]
    assert np.shape(per_slice["ImagePositionPatient"]) == (SLICES, 3)
    assert per_slice["private"]["(0019,1001)"] == per_slice["InstanceNumber"]
    assert (extra["ActualFrameDuration"], extra["KVP"]) == (1000, 120.0)
    assert not {"RescaleSlope", "FrameReferenceTime"} & extra.keys()
    assert not {"ActualFrameDuration", "KVP", "Rows", "BitsStored"} & per_slice.keys()
    assert extra["private"] == {"(0019,0010)": "VENDOR"}
    json.loads(metadata_of(tmp_path).to_json())


def test_long_values_that_differ_are_told_apart_although_they_were_left_on_disk(tmp_path: Path) -> None:
    series(tmp_path, STORED[:3], each=lambda k: {"ImageComments": "x" * 5000 + str(k), "TextValue": "y" * 5000})
    extra = metadata_of(tmp_path).extra
    assert [text[-1] for text in extra["per_slice"]["ImageComments"]] == ["0", "1", "2"]
    assert extra["TextValue"] == "y" * 5000


def test_metadata_does_not_depend_on_file_order(tmp_path: Path) -> None:
    for name, order in (("a", [0, 1, 2, 3, 4, 5, 6]), ("b", [6, 2, 0, 1, 5, 3, 4])):
        uids = {k: f"1.2.3.{k}" for k in range(SLICES)}
        series(tmp_path / name, order=order, each=lambda k: {"SOPInstanceUID": uids[k], "InstanceNumber": k})  # noqa: B023
    first, second = metadata_of(tmp_path / "a"), metadata_of(tmp_path / "b")
    assert first.replace(source=None) == second.replace(source=None)


@pytest.mark.parametrize(
    ("charset", "stored", "expected"),
    [
        ("ISO_IR 100", "Schädel".encode("latin-1"), "Schädel"),
        ("ISO_IR 192", "頭部 CT".encode(), "頭部 CT"),
        (["", "ISO 2022 IR 87"], b"\x1b$BF,It\x1b(B", "頭部"),
        (None, b"Kopf", "Kopf"),
    ],
)
def test_character_sets_are_decoded(tmp_path: Path, charset: Any, stored: bytes, expected: str) -> None:
    path = series(
        tmp_path, STORED[:1], each=lambda k: {"SpecificCharacterSet": charset, "SeriesDescription": "X" * len(stored)}
    )[0]
    content = path.read_bytes()
    assert content.count(b"X" * len(stored)) == 1
    path.write_bytes(content.replace(b"X" * len(stored), stored))
    assert metadata_of(path).extra["SeriesDescription"] == expected


def test_values_that_break_the_rules_do_not_stop_a_scan(tmp_path: Path) -> None:
    path = series(tmp_path, STORED[:1], each=lambda k: {"KVP": "111", "PatientAge": "030Y", "ExposureTime": "222"})[0]
    content = path.read_bytes()
    path.write_bytes(content.replace(b"111 ", b"1x1 ").replace(b"222 ", b"2.5 ").replace(b"030Y", b"\xff\xfe??"))
    extra = metadata_of(path).extra
    assert "KVP" not in extra
    assert extra["ExposureTime"] == 2.5


def test_derived_multi_dimensional_values_round_trip(tmp_path: Path) -> None:
    for t in range(2):
        attributes = {"EchoTime": float(t)}
        series(tmp_path, STORED + t, each=lambda k, a=attributes: a, name=lambda n, k, t=t: f"{t}{k}")  # type: ignore[misc]
    metadata = metadata_of(tmp_path)
    assert metadata.extra["per_slice"]["EchoTime"] == [[0.0, 1.0]] * SLICES
    assert metadata.extra["volumes"] == {"by": ["EchoTime"], "values": [[0.0], [1.0]]}
    assert mj.Metadata.from_json(metadata.to_json()) == metadata
