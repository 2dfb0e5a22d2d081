"""DICOM: series of files, multi-frame files and DICOMDIR trees, read with pydicom and assembled here."""

from __future__ import annotations

from pathlib import Path

from medjax._image._image import Image
from medjax.io._dicom._series import DicomSeries, list_dicom_series, load_dicom_series, read

__all__ = ["DicomSeries", "list_dicom_series", "load_dicom_series", "read", "write"]


def write(image: Image, path: Path, *, compress: bool) -> None:
    """Writes an image as a new DICOM series."""
    from medjax.io._dicom._write import write_series

    write_series(image, path, compress=compress)
