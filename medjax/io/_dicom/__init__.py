"""DICOM: series of files, multi-frame files and DICOMDIR trees, read with pydicom and assembled here."""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
