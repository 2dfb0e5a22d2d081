"""The calls of the format, each with the module it lies in."""

from medjax.io._hdf5._list import inspect as inspect
from medjax.io._hdf5._load import read as read
from medjax.io._hdf5._load import read_excerpt as read_excerpt
from medjax.io._hdf5._save import write as write
