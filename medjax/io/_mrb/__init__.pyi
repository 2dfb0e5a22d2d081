"""The calls of the format, each with the module it lies in."""

from medjax.io._mrb._describe import inspect as inspect
from medjax.io._mrb._read import read as read
