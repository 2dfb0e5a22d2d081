"""The attributes of a derived series, by keyword: what comes from its source, and what must be there.

Which attributes an object requires: PS3.3 sections A.3 (CT), A.4 (MR), A.8 (Secondary Capture), A.21 (PET).
"""

from pydicom.uid import (
    CTImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)

__all__ = [
    "CONTRAST",
    "EMPTY_IF_UNKNOWN",
    "EMPTY_IF_UNKNOWN_OF",
    "EMPTY_IF_UNKNOWN_WITH",
    "EQUIPMENT",
    "FRAME_OF_REFERENCE",
    "IMAGE",
    "NO_IMAGES",
    "OF_MODALITY",
    "PATIENT_GROUPS",
    "REQUIRED",
    "SERIES",
    "SHOWN_INVERTED",
    "SOP_CLASS",
    "STUDY",
]

# Patient (0010) and clinical trial and de-identification (0012): every attribute of these groups is taken over.
PATIENT_GROUPS = (0x0010, 0x0012)

STUDY = """StudyInstanceUID StudyDate StudyTime StudyID StudyDescription AccessionNumber
    IssuerOfAccessionNumberSequence ReferringPhysicianName PhysiciansOfRecord ReferencedStudySequence
    ProcedureCodeSequence TimezoneOffsetFromUTC"""
SERIES = (
    "BodyPartExamined AnatomicRegionSequence Laterality PatientPosition ProtocolName SeriesDescription SeriesNumber"
)
FRAME_OF_REFERENCE = "FrameOfReferenceUID PositionReferenceIndicator"
EQUIPMENT = """Manufacturer ManufacturerModelName InstitutionName InstitutionAddress InstitutionalDepartmentName
    StationName DeviceSerialNumber SoftwareVersions"""
CONTRAST = """ContrastBolusAgent ContrastBolusAgentSequence ContrastBolusRoute ContrastBolusAdministrationRouteSequence
    ContrastBolusVolume ContrastBolusStartTime ContrastBolusStopTime ContrastBolusTotalDose ContrastFlowRate
    ContrastFlowDuration ContrastBolusIngredient ContrastBolusIngredientConcentration"""
IMAGE = """AcquisitionNumber AcquisitionDate AcquisitionTime AcquisitionDateTime BurnedInAnnotation
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
OF_MODALITY = {"CT": _CT, "MR": _MR, "PT": _PT}

# Attributes of type 1 that only the source can state: without them the image is a Secondary Capture.
REQUIRED = {
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
SOP_CLASS = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
SHOWN_INVERTED = (CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage)

# Attributes of type 2, and of type 2C where the object fulfils the condition: present, and empty if not known.
EMPTY_IF_UNKNOWN = """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber
    ReferringPhysicianName PositionReferenceIndicator Manufacturer PatientPosition"""
EMPTY_IF_UNKNOWN_OF = {
    CTImageStorage: "KVP AcquisitionNumber",
    MRImageStorage: "ScanOptions MRAcquisitionType EchoTime EchoTrainLength RepetitionTime",
    PositronEmissionTomographyImageStorage: """CorrectedImage CollimatorType RadiopharmaceuticalInformationSequence
        PatientOrientationCodeSequence PatientGantryRelationshipCodeSequence AcquisitionDate AcquisitionTime
        ActualFrameDuration""",
    SecondaryCaptureImageStorage: "PatientOrientation",  # its own table requires no position (section C.7.6.1)
}
# Attributes of type 2C that depend on the value of another attribute (PS3.3 sections C.8.3.1 and C.8.9.1).
EMPTY_IF_UNKNOWN_WITH = (
    (MRImageStorage, "InversionTime", "ScanningSequence", {"IR"}),
    (MRImageStorage, "TriggerTime", "ScanOptions", {"CG", "PPG"}),
    (PositronEmissionTomographyImageStorage, "ReprojectionMethod", "SeriesType", {"REPROJECTION"}),
)
# Modalities of objects that are no images. An image does not get one of these.
NO_IMAGES = ("SEG", "SR", "PR", "KO", "REG", "RTSTRUCT", "RTPLAN", "RWV", "DOC", "FID")
