"""The header of a derived series: what it takes over from its source, and what is new (PS3.3 sections A.3, A.4, A.8, A.21).

A derived image stays in its patient's study and frame of reference and gets a Series Instance UID and SOP Instance UIDs of
its own. What is taken over is listed here: the attributes of the patient and the study, of the equipment, the contrast
agent, the acquisition. Attributes of pixels and geometry are written anew; private ones, and all others, are left out.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    CTImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from medjax._errors import ImageFileError
from medjax._image._metadata import Metadata
from medjax._pet import decay_reference
from medjax._version import __version__
from medjax.io._disk._warn import warn

__all__ = [
    "carried",
    "check_text",
    "derived_header",
    "is_per_slice",
    "is_uid",
    "merged",
    "modality_of",
    "new_uid",
    "source_header",
]

# Patient (0010) and clinical trial and de-identification (0012): every attribute of these groups is taken over.
_PATIENT_GROUPS = (0x0010, 0x0012)

_STUDY = """StudyInstanceUID StudyDate StudyTime StudyID StudyDescription AccessionNumber
    IssuerOfAccessionNumberSequence ReferringPhysicianName PhysiciansOfRecord ReferencedStudySequence
    ProcedureCodeSequence TimezoneOffsetFromUTC"""
_SERIES = (
    "BodyPartExamined AnatomicRegionSequence Laterality PatientPosition ProtocolName SeriesDescription SeriesNumber"
)
_FRAME_OF_REFERENCE = "FrameOfReferenceUID PositionReferenceIndicator"
_EQUIPMENT = """Manufacturer ManufacturerModelName InstitutionName InstitutionAddress InstitutionalDepartmentName
    StationName DeviceSerialNumber SoftwareVersions"""
_CONTRAST = """ContrastBolusAgent ContrastBolusAgentSequence ContrastBolusRoute ContrastBolusAdministrationRouteSequence
    ContrastBolusVolume ContrastBolusStartTime ContrastBolusStopTime ContrastBolusTotalDose ContrastFlowRate
    ContrastFlowDuration ContrastBolusIngredient ContrastBolusIngredientConcentration"""
_IMAGE = """AcquisitionNumber AcquisitionDate AcquisitionTime AcquisitionDateTime BurnedInAnnotation
    LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod"""
_CT = """KVP ScanOptions DataCollectionDiameter ConvolutionKernel ExposureTime XRayTubeCurrent Exposure FilterType
    FocalSpots CTDIvol CTDIPhantomTypeCodeSequence RotationDirection RevolutionTime SingleCollimationWidth
    TotalCollimationWidth SpiralPitchFactor RescaleType WindowCenter WindowWidth WindowCenterWidthExplanation"""
_MR = """ScanningSequence SequenceVariant ScanOptions MRAcquisitionType SequenceName AngioFlag RepetitionTime EchoTime
    EchoNumbers EchoTrainLength InversionTime TriggerTime NumberOfAverages ImagingFrequency ImagedNucleus
    MagneticFieldStrength NumberOfPhaseEncodingSteps PercentSampling PercentPhaseFieldOfView PixelBandwidth
    FlipAngle VariableFlipAngleFlag SAR dBdt ReceiveCoilName TransmitCoilName DiffusionBValue"""
_PT = """SeriesDate SeriesTime SeriesType Units SUVType CountsSource CollimatorType CorrectedImage DecayCorrection
    DecayCorrectionDateTime DecayFactor DoseCalibrationFactor AttenuationCorrectionMethod ScatterCorrectionMethod
    RandomsCorrectionMethod ReconstructionMethod ReprojectionMethod EnergyWindowRangeSequence TypeOfDetectorMotion
    RadiopharmaceuticalInformationSequence PatientOrientationCodeSequence PatientGantryRelationshipCodeSequence
    FrameReferenceTime ActualFrameDuration"""
_OF_MODALITY = {"CT": _CT, "MR": _MR, "PT": _PT}

# Attributes of type 1 that only the source can state: without them the image is a Secondary Capture.
_REQUIRED = {
    "CT": (),
    "MR": ("ScanningSequence", "SequenceVariant"),
    "PT": (
        "SeriesDate",
        "SeriesTime",
        "SeriesType",
        "Units",
        "CountsSource",
        "DecayCorrection",
        "FrameReferenceTime",
    ),
}
_SOP_CLASS = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
_SHOWN_INVERTED = (CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage)

# Attributes of type 2, and of type 2C where the object fulfils the condition, present and empty where they are not known.
_EMPTY_IF_UNKNOWN = """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber
    ReferringPhysicianName PositionReferenceIndicator Manufacturer PatientPosition"""
_EMPTY_IF_UNKNOWN_OF = {
    CTImageStorage: "KVP AcquisitionNumber",
    MRImageStorage: "ScanOptions MRAcquisitionType EchoTime EchoTrainLength RepetitionTime",
    PositronEmissionTomographyImageStorage: """CorrectedImage CollimatorType RadiopharmaceuticalInformationSequence
        PatientOrientationCodeSequence PatientGantryRelationshipCodeSequence AcquisitionDate AcquisitionTime
        ActualFrameDuration""",
    SecondaryCaptureImageStorage: "PatientOrientation",  # its own table requires no position (section C.7.6.1)
}
# Attributes of type 2C by what another attribute holds (PS3.3 sections C.8.3.1 and C.8.9.1).
_EMPTY_IF_UNKNOWN_WITH = (
    (MRImageStorage, "InversionTime", "ScanningSequence", {"IR"}),
    (MRImageStorage, "TriggerTime", "ScanOptions", {"CG", "PPG"}),
    (PositronEmissionTomographyImageStorage, "ReprojectionMethod", "SeriesType", {"REPROJECTION"}),
)
# Modalities of objects that are no images; what is saved here is one.
_NO_IMAGES = ("SEG", "SR", "PR", "KO", "REG", "RTSTRUCT", "RTPLAN", "RWV", "DOC", "FID")


def merged(metadata: Metadata, source: Metadata | None, path: Path) -> Metadata:
    """What is known of the scan: the image's own metadata, and what only its source states.

    Raises:
        ImageFileError: the typed fields, the header and the source contradict each other on the patient or the study, so
            that two scans' identities would be mixed. The message holds no identifier.
    """
    named = [(metadata.patient_id, metadata.study_uid), _named_in(metadata)]
    if source is not None:
        named += [(source.patient_id, source.study_uid), _named_in(source)]
    for what, values in zip(("patient", "study"), zip(*named, strict=True), strict=True):
        if len({str(value) for value in values if value is not None}) > 1:
            reason = f"the image's metadata, their header or the source name more than one {what}"
            raise ImageFileError(path, reason, "make patient_id, study_uid and extra agree; nothing was written")
    if source is None:
        return metadata
    return metadata.replace(
        modality=metadata.modality or source.modality,
        patient_id=metadata.patient_id or source.patient_id,
        study_uid=metadata.study_uid or source.study_uid,
        study_description=metadata.study_description or source.study_description,
        extra={**source.extra, **metadata.extra},
    )


def _named_in(metadata: Metadata) -> tuple[Any, Any]:
    return metadata.extra.get("PatientID"), metadata.extra.get("StudyInstanceUID")


def _sop_class(header: Dataset, metadata: Metadata) -> UID:
    """CT, MR or PET Image Storage where the source states what that requires, else Secondary Capture Image Storage."""
    modality = metadata.modality or ""
    varying = metadata.extra.get("per_slice", {})
    complete = {key for key in varying if is_per_slice(varying[key]) and None not in varying[key]}
    if modality not in _SOP_CLASS or not complete.union(header.dir()).issuperset(_REQUIRED[modality]):
        return SecondaryCaptureImageStorage
    if metadata.extra.get("geometry") == "unknown":  # the only one of these objects that may lack a place
        return SecondaryCaptureImageStorage
    if modality == "PT" and "GATED" in _as_list(metadata.extra.get("SeriesType")):
        return SecondaryCaptureImageStorage  # the gating of each image would have to be known
    return _SOP_CLASS[modality]


def derived_header(
    metadata: Metadata,
    path: Path,
    *,
    description: str | None,
    number: int | None,
    derivation: str | None,
    frame_of_reference_uid: str | None,
) -> Dataset:
    """The attributes that all slices of the new series share, apart from pixels and geometry.

    Raises:
        ValueError: a text is too long for its attribute, or a UID is none.
    """
    if frame_of_reference_uid is not None and not is_uid(frame_of_reference_uid):
        raise ValueError(f"frame_of_reference_uid must be a DICOM UID, got {frame_of_reference_uid!r}")
    check_text("series_description", description, 64)
    check_text("derivation", derivation, 1024)
    header = carried(metadata.extra, _keywords(metadata), path)
    _put_typed_fields(header, metadata, path)
    sop_class, now = _sop_class(header, metadata), dt.datetime.now()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SOPClassUID = sop_class
    header.Modality = modality_of(metadata)
    header.ImageType = _image_type(metadata, sop_class)
    if metadata.extra.get("PhotometricInterpretation") == "MONOCHROME1" and sop_class in _SHOWN_INVERTED:
        header.PhotometricInterpretation = "MONOCHROME1"  # low values stay bright; the values are as they were
    header.SeriesInstanceUID = new_uid()
    header.StudyInstanceUID = header.get("StudyInstanceUID") or new_uid()
    header.FrameOfReferenceUID = frame_of_reference_uid or header.get("FrameOfReferenceUID") or new_uid()
    header.SeriesDescription = _description(description, header)
    header.SeriesNumber = _number(number, header)
    header.InstanceCreationDate = header.ContentDate = now.strftime("%Y%m%d")
    header.InstanceCreationTime = header.ContentTime = now.strftime("%H%M%S.%f")
    if sop_class == PositronEmissionTomographyImageStorage:
        _put_times_of_decay(header, metadata, path)
    else:
        header.SeriesDate, header.SeriesTime = header.ContentDate, header.ContentTime
    if sop_class == SecondaryCaptureImageStorage:
        header.ConversionType = "WSD"  # workstation, PS3.3 section C.8.6.1
    header.DerivationDescription = derivation or f"Derived with medjax {__version__}"
    header.ContributingEquipmentSequence = [_contribution(now)]
    _put_empty(header, sop_class)
    return header


def check_text(name: str, text: str | None, most: int) -> None:
    """Refuses an argument that its attribute cannot hold (PS3.5 section 6.2).

    Raises:
        ValueError: it is too long, or holds a backslash, which separates values.
    """
    if text is not None and (len(text) > most or "\\" in text):
        raise ValueError(f"{name} must have at most {most} characters and no backslash, got {len(text)}: {text[:80]!r}")


def source_header(extra: Mapping[str, Any], path: Path) -> Dataset:
    """Patient, study, frame of reference and equipment of a source; attributes of type 2 are there, and may be empty."""
    keywords = f"{_STUDY} {_FRAME_OF_REFERENCE} {_EQUIPMENT} {_IMAGE}".split()
    header = carried(extra, [*keywords, *_of_patient(extra)], path)
    for keyword in _EMPTY_IF_UNKNOWN.split():
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def _put_empty(header: Dataset, sop_class: UID) -> None:
    """Adds the attributes that must be there, and are not known."""
    keywords = f"{_EMPTY_IF_UNKNOWN} {_EMPTY_IF_UNKNOWN_OF[sop_class]}".split()
    for of_class, keyword, other, values in _EMPTY_IF_UNKNOWN_WITH:
        stated = header.get(other)
        stated = set(stated) if isinstance(stated, MultiValue) else {stated}
        if sop_class == of_class and stated & values:
            keywords.append(keyword)
    for keyword in keywords:
        if keyword not in header:
            setattr(header, keyword, [] if keyword.endswith("Sequence") else None)


def _keywords(metadata: Metadata) -> list[str]:
    listed = [_STUDY, _SERIES, _FRAME_OF_REFERENCE, _EQUIPMENT, _CONTRAST, _IMAGE]
    names = " ".join([*listed, _OF_MODALITY.get(metadata.modality or "", "")]).split()
    return names + _of_patient(metadata.extra)


def _of_patient(extra: Mapping[str, Any]) -> list[str]:
    return [key for key in extra if (tag_for_keyword(key) or 0) >> 16 in _PATIENT_GROUPS]


def _put_typed_fields(header: Dataset, metadata: Metadata, path: Path) -> None:
    """Adds what the typed fields of the metadata know and the header, if there is one, does not."""
    fields = {
        "PatientID": metadata.patient_id,
        "StudyInstanceUID": metadata.study_uid,
        "StudyDescription": metadata.study_description,
    }
    stated = {key: value for key, value in fields.items() if value is not None and key not in header}
    header.update(carried(stated, stated, path))


def _put_times_of_decay(header: Dataset, metadata: Metadata, path: Path) -> None:
    """States what the decay correction refers to as Series Date and Time, from where SUV rules take it first.

    Other places, such as private attributes and the earliest acquisition of all beds, are lost with slices and attributes
    that are left out. The time of acquisition is that of the first bed where the slices do not bring their own.
    """
    first, reference = metadata.acquisition_time, decay_reference(metadata)
    if first is not None and "AcquisitionTime" not in header:
        header.AcquisitionDate, header.AcquisitionTime = first.strftime("%Y%m%d"), first.strftime("%H%M%S.%f")
    if reference is None:
        return
    if first is not None and reference > first.replace(tzinfo=None):  # by rounding: each slice states how to find it
        if reference - first.replace(tzinfo=None) > dt.timedelta(minutes=1):
            warn(
                path, "its decay reference lies after the acquisition, and readers may take another: compare suv_factor"
            )
        return
    header.SeriesDate = reference.strftime("%Y%m%d")
    header.SeriesTime = reference.strftime("%H%M%S.%f").removesuffix(".000000")


def modality_of(metadata: Metadata) -> str:
    """Modality (0008,0060) of an image, "OT" where it is not known."""
    modality = (metadata.modality or "").strip().upper()
    is_code = modality.replace("_", "").isalnum() and modality.isascii() and len(modality) <= 16
    return modality if is_code and modality not in _NO_IMAGES else "OT"


def _image_type(metadata: Metadata, sop_class: UID) -> list[str]:
    """DERIVED and SECONDARY; the third value is the modality's (PS3.3 sections C.8.2.1.1.1, C.8.3.1.1.1, C.8.9.4.1.1)."""
    if sop_class == PositronEmissionTomographyImageStorage:
        return ["DERIVED", "PRIMARY"]
    if sop_class == CTImageStorage:
        return ["DERIVED", "SECONDARY", "AXIAL"]
    third = _as_list(metadata.extra.get("ImageType"))[2:3]
    if sop_class == MRImageStorage:
        return ["DERIVED", "SECONDARY", *(str(value)[:16] for value in third or ["OTHER"])]
    return ["DERIVED", "SECONDARY"]


def _description(description: str | None, header: Dataset) -> str:
    if description is not None:
        return description
    stated = str(header.get("SeriesDescription") or "")
    return f"{stated[:50]} (derived)".strip()


def _number(number: int | None, header: Dataset) -> int:
    if number is not None:
        return number
    stated = header.get("SeriesNumber")
    return 1000 + int(stated) if stated is not None and 0 <= int(stated) < 2**30 else 1000


def _contribution(now: dt.datetime) -> Dataset:
    """What this package did to the images of the scanner, PS3.3 section C.12.1.1.5 and PS3.16 CID 7005."""
    purpose, item = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = item.ManufacturerModelName = "medjax"
    item.SoftwareVersions = __version__
    item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S.%f")
    return item


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5 section 9.1).

    Example:
        >>> is_uid("1.2.840.10008.1.2"), is_uid("1.02"), is_uid("here")
        (True, False, False)
    """
    return len(text) <= 64 and re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", text) is not None


def new_uid() -> str:
    """A new UID under 2.25, made of a random UUID (PS3.5 section B.2)."""
    return str(generate_uid(prefix=None))


def is_per_slice(values: Any) -> bool:
    """Whether these are one value for each slice, and not one for each of several volumes."""
    return isinstance(values, list) and not any(isinstance(value, list) for value in values)


# From the JSON form of `metadata.extra` back to attributes


def carried(values: Mapping[str, Any], keywords: Iterable[str], path: Path) -> Dataset:
    """The attributes of those keywords that hold a valid value; others are left out, with a warning that names them."""
    dataset, invalid = Dataset(), []
    for keyword in keywords:
        if values.get(keyword) is None:
            continue
        try:
            dataset.add(_element(keyword, values[keyword]))
        except (ValueError, TypeError, OverflowError, KeyError, AttributeError, NotImplementedError):
            invalid.append(keyword)
    if invalid:
        warn(path, f"{', '.join(sorted(invalid))} of the source are not valid DICOM and were left out")
    return dataset


def _element(keyword: str, value: Any) -> DataElement:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    vr = dictionary_VR(tag)
    values = [_value(item, vr) for item in _as_list(value)]
    single = values[0] if len(values) == 1 and vr != "SQ" else values
    return DataElement(tag, vr, single, validation_mode=config.RAISE)


def _value(value: Any, vr: str) -> Any:
    """One value in the type that pydicom writes for the value representation (PS3.5 section 6.2)."""
    if value is None:
        return ""
    if vr == "SQ":
        return _item(value)
    if vr == "DS":
        return DSfloat(float(value), auto_format=True)
    if vr == "IS" or vr in ("US", "UL", "SS", "SL", "UV", "SV"):
        return int(value)
    if vr in ("FL", "FD"):
        return float(value)
    if vr == "AT":
        return int(str(value).strip("()").replace(",", ""), 16)
    if vr in ("OB", "OD", "OF", "OL", "OV", "OW", "UN") or " or " in vr or isinstance(value, dict | list):
        raise TypeError(vr)
    return str(value)


def _item(value: Any) -> Dataset:
    item = Dataset()
    for keyword, stated in value.items():
        if keyword != "private" and stated is not None:
            item.add(_element(keyword, stated))
    return item


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
