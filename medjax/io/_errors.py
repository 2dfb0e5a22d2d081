"""The names that pickles of medjax 0.1.0 look for in this module. No module of the package imports it."""

from medjax import ImageFileError as ImageFileError
from medjax.io import MissingDependencyError as MissingDependencyError
from medjax.io import TruncatedFileError as TruncatedFileError
from medjax.io import UnsupportedFileError as UnsupportedFileError
