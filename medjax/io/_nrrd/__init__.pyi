"""The calls of the format, each with the module it lies in."""

from medjax.io._nrrd._describe import inspect as inspect
from medjax.io._nrrd._describe import inspect_file as inspect_file
from medjax.io._nrrd._read import read as read
from medjax.io._nrrd._write import write as write
