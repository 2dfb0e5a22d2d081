"""Where pickles of medjax 0.1.0 look for what is here; nothing of the package imports it."""

from medjax import ImageFileError as ImageFileError
from medjax.io import MissingDependencyError as MissingDependencyError
from medjax.io import TruncatedFileError as TruncatedFileError
from medjax.io import UnsupportedFileError as UnsupportedFileError
