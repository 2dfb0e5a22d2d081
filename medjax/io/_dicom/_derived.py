"""The header of a derived series: attributes from its source, and new ones.

A derived image stays in its patient's study and frame of reference. It gets a new Series Instance UID and new SOP
Instance UIDs. `_derived_attributes` lists the attributes that are taken over: those of the patient and the study, of
the equipment, the contrast agent and the acquisition. Attributes of pixels and geometry are written anew. All others,
and private ones, are left out (PS3.3 sections A.3, A.4, A.8, A.21).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword
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

from medjax._errors import ImageFileError
from medjax._image._metadata import Metadata
from medjax._pet import decay_reference
from medjax._version import __version__
from medjax.io._dicom._carried import as_list, carried
from medjax.io._dicom._derived_attributes import (
    CONTRAST,
    EMPTY_IF_UNKNOWN,
    EMPTY_IF_UNKNOWN_OF,
    EMPTY_IF_UNKNOWN_WITH,
    EQUIPMENT,
    FRAME_OF_REFERENCE,
    IMAGE,
    NO_IMAGES,
    OF_MODALITY,
    PATIENT_GROUPS,
    REQUIRED,
    SERIES,
    SHOWN_INVERTED,
    SOP_CLASS,
    STUDY,
)
from medjax.io._disk._warn import warn

__all__ = [
    "NewSeries",
    "check_text",
    "derived_header",
    "is_per_slice",
    "is_uid",
    "merged",
    "modality_of",
    "new_uid",
    "source_header",
]


@dataclasses.dataclass(frozen=True)
class NewSeries:
    """The caller's choices for the new series. `None` leaves a choice to the writer.

    Attributes:
        description: Series Description (0008,103E).
        number: Series Number (0020,0011).
        derivation: Derivation Description (0008,2111).
        frame_of_reference_uid: A new frame of reference, for an image that no longer lies where the patient was
            scanned.
    """

    description: str | None = None
    number: int | None = None
    derivation: str | None = None
    frame_of_reference_uid: str | None = None

    def check(self) -> None:
        """Refuses texts that their attributes cannot hold.

        Raises:
            ValueError: a text is too long for its attribute, or a UID is none.
        """
        uid = self.frame_of_reference_uid
        if uid is not None and not is_uid(uid):
            raise ValueError(f"frame_of_reference_uid must be a DICOM UID, got {uid!r}")
        check_text("series_description", self.description, 64)
        check_text("derivation", self.derivation, 1024)


def merged(metadata: Metadata, source: Metadata | None, path: Path) -> Metadata:
    """Returns the image's metadata, completed by the facts that only its source states.

    Raises:
        ImageFileError: the typed fields, the header and the source name different patients or studies, so two scans'
            identities would be mixed. The message holds no identifier.
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
    if modality not in SOP_CLASS or not complete.union(header.dir()).issuperset(REQUIRED[modality]):
        return SecondaryCaptureImageStorage
    if metadata.extra.get("geometry") == "unknown":  # the only one of these objects that may lack a place
        return SecondaryCaptureImageStorage
    if modality == "PT" and "GATED" in as_list(metadata.extra.get("SeriesType")):
        return SecondaryCaptureImageStorage  # the gating of each image would have to be known
    return SOP_CLASS[modality]


def derived_header(metadata: Metadata, path: Path, new: NewSeries) -> Dataset:
    """The attributes that all slices of the new series share, apart from pixels and geometry.

    Raises:
        ValueError: a text is too long for its attribute, or a UID is none.
    """
    new.check()
    header = carried(metadata.extra, _keywords(metadata), path)
    _put_typed_fields(header, metadata, path)
    sop_class, now = _sop_class(header, metadata), dt.datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    attributes = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": sop_class,
        "Modality": modality_of(metadata),
        "ImageType": _image_type(metadata, sop_class),
        "PhotometricInterpretation": _photometric(metadata, sop_class),
        "SeriesInstanceUID": new_uid(),
        "StudyInstanceUID": header.get("StudyInstanceUID") or new_uid(),
        "FrameOfReferenceUID": new.frame_of_reference_uid or header.get("FrameOfReferenceUID") or new_uid(),
        "SeriesDescription": _series_description(new.description, header),
        "SeriesNumber": _series_number(new.number, header),
        "InstanceCreationDate": date,
        "InstanceCreationTime": time,
        "ContentDate": date,
        "ContentTime": time,
        # Workstation, PS3.3 section C.8.6.1.
        "ConversionType": "WSD" if sop_class == SecondaryCaptureImageStorage else None,
        "DerivationDescription": new.derivation or f"Derived with medjax {__version__}",
        "ContributingEquipmentSequence": [_contribution(now)],
    }
    for keyword, value in attributes.items():
        if value is not None:
            setattr(header, keyword, value)
    if sop_class == PositronEmissionTomographyImageStorage:
        _put_times_of_decay(header, metadata, path)
    else:
        header.SeriesDate, header.SeriesTime = date, time
    _put_empty(header, sop_class)
    return header


def _photometric(metadata: Metadata, sop_class: UID) -> str | None:
    """MONOCHROME1 where the source has it, so that low values stay bright; the values are as they were."""
    is_inverted = metadata.extra.get("PhotometricInterpretation") == "MONOCHROME1" and sop_class in SHOWN_INVERTED
    return "MONOCHROME1" if is_inverted else None


def check_text(name: str, text: str | None, most: int) -> None:
    """Refuses an argument that its attribute cannot hold (PS3.5 section 6.2).

    Raises:
        ValueError: the text is too long, or holds a backslash, which separates values.
    """
    if text is not None and (len(text) > most or "\\" in text):
        raise ValueError(f"{name} must have at most {most} characters and no backslash, got {len(text)}: {text[:80]!r}")


def source_header(extra: Mapping[str, Any], path: Path) -> Dataset:
    """Patient, study, frame of reference and equipment of a source. Attributes of type 2 may be empty."""
    keywords = f"{STUDY} {FRAME_OF_REFERENCE} {EQUIPMENT} {IMAGE}".split()
    header = carried(extra, [*keywords, *_of_patient(extra)], path)
    for keyword in EMPTY_IF_UNKNOWN.split():
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def _put_empty(header: Dataset, sop_class: UID) -> None:
    """Adds the attributes that must be there, empty where they are not known."""
    keywords = f"{EMPTY_IF_UNKNOWN} {EMPTY_IF_UNKNOWN_OF[sop_class]}".split()
    for of_class, keyword, other, values in EMPTY_IF_UNKNOWN_WITH:
        stated = header.get(other)
        stated = set(stated) if isinstance(stated, MultiValue) else {stated}
        if sop_class == of_class and stated & values:
            keywords.append(keyword)
    for keyword in keywords:
        if keyword not in header:
            setattr(header, keyword, [] if keyword.endswith("Sequence") else None)


def _keywords(metadata: Metadata) -> list[str]:
    listed = [STUDY, SERIES, FRAME_OF_REFERENCE, EQUIPMENT, CONTRAST, IMAGE]
    names = " ".join([*listed, OF_MODALITY.get(metadata.modality or "", "")]).split()
    return names + _of_patient(metadata.extra)


def _of_patient(extra: Mapping[str, Any]) -> list[str]:
    return [key for key in extra if (tag_for_keyword(key) or 0) >> 16 in PATIENT_GROUPS]


def _put_typed_fields(header: Dataset, metadata: Metadata, path: Path) -> None:
    """Adds the typed fields of the metadata that the header does not state."""
    fields = {
        "PatientID": metadata.patient_id,
        "StudyInstanceUID": metadata.study_uid,
        "StudyDescription": metadata.study_description,
    }
    stated = {key: value for key, value in fields.items() if value is not None and key not in header}
    header.update(carried(stated, stated, path))


def _put_times_of_decay(header: Dataset, metadata: Metadata, path: Path) -> None:
    """States the time that the decay correction refers to as Series Date and Time, where the SUV rules look first.

    The other places, such as private attributes and the earliest acquisition of all beds, can get lost together with
    slices and attributes that are left out. The acquisition time is the first bed's where the slices do not state
    theirs.
    """
    first, reference = metadata.acquisition_time, decay_reference(metadata)
    if first is not None and "AcquisitionTime" not in header:
        header.AcquisitionDate, header.AcquisitionTime = first.strftime("%Y%m%d"), first.strftime("%H%M%S.%f")
    if reference is None:
        return
    if first is not None and reference > first.replace(tzinfo=None):  # by rounding; each slice states how to find it
        if reference - first.replace(tzinfo=None) > dt.timedelta(minutes=1):
            warn(
                path, "its decay reference lies after the acquisition, and readers may take another: compare suv_factor"
            )
        return
    header.SeriesDate = reference.strftime("%Y%m%d")
    header.SeriesTime = reference.strftime("%H%M%S.%f").removesuffix(".000000")


def modality_of(metadata: Metadata) -> str:
    """Modality (0008,0060) of an image, "OT" (other) where it is not known."""
    modality = (metadata.modality or "").strip().upper()
    is_code = modality.replace("_", "").isalnum() and modality.isascii() and len(modality) <= 16
    return modality if is_code and modality not in NO_IMAGES else "OT"


def _image_type(metadata: Metadata, sop_class: UID) -> list[str]:
    """DERIVED and SECONDARY. The modality sets the third value (PS3.3 C.8.2.1.1.1, C.8.3.1.1.1, C.8.9.4.1.1)."""
    if sop_class == PositronEmissionTomographyImageStorage:
        return ["DERIVED", "PRIMARY"]
    if sop_class == CTImageStorage:
        return ["DERIVED", "SECONDARY", "AXIAL"]
    third = as_list(metadata.extra.get("ImageType"))[2:3]
    if sop_class == MRImageStorage:
        return ["DERIVED", "SECONDARY", *(str(value)[:16] for value in third or ["OTHER"])]
    return ["DERIVED", "SECONDARY"]


def _series_description(description: str | None, header: Dataset) -> str:
    if description is not None:
        return description
    stated = str(header.get("SeriesDescription") or "")
    return f"{stated[:50]} (derived)".strip()


def _series_number(number: int | None, header: Dataset) -> int:
    if number is not None:
        return number
    stated = header.get("SeriesNumber")
    return 1000 + int(stated) if stated is not None and 0 <= int(stated) < 2**30 else 1000


def _contribution(now: dt.datetime) -> Dataset:
    """An item that names this package as processing equipment, PS3.3 section C.12.1.1.5 and PS3.16 CID 7005."""
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
    """Whether the list has one value for each slice, and not one for each of several volumes."""
    return isinstance(values, list) and not any(isinstance(value, list) for value in values)
