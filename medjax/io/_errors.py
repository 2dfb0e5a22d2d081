"""The errors of files under their former name."""

from medjax._errors import ImageFileError as ImageFileError
from medjax._errors import ImageFileWarning as ImageFileWarning
from medjax._errors import MissingDependencyError as MissingDependencyError
from medjax._errors import TruncatedFileError as TruncatedFileError
from medjax._errors import UnsupportedFileError as UnsupportedFileError
from medjax._errors import printable as printable
