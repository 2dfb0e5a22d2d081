"""The calls of the format, each with the module it lies in."""

from medjax.io._dicom._describe import inspect as inspect
from medjax.io._dicom._describe import inspect_files as inspect_files
from medjax.io._dicom._series import read as read
from medjax.io._dicom._series import read_files as read_files
from medjax.io._dicom._write import write as write
