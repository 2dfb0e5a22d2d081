"""DICOM: series of files, multi-frame files and DICOMDIR trees, read with pydicom and assembled here."""

from __future__ import annotations

from pathlib import Path

import pydicom

from medjax._image import Image
from medjax.io._errors import UnsupportedFileError

__all__ = ["read", "write"]

# Segmentation Storage and Label Map Segmentation Storage, PS3.4 section B.5.
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def read(path: Path) -> Image:
    """Reads a file, a folder or a DICOMDIR tree that holds one image."""
    dataset = pydicom.dcmread(path)
    if dataset.get("SOPClassUID") in _SEGMENTATIONS:
        from medjax.io._dicom import _segmentation

        return _segmentation.read_segmentation(dataset, path)
    raise UnsupportedFileError(path, "not read yet")


def write(image: Image, path: Path, *, compress: bool) -> None:
    """Writes an image as a new DICOM series."""
    from medjax.io._dicom import _write

    _write.write_series(image, path, compress=compress)
