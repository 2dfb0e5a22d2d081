"""Files: readers and writers at the edge of the package, each loaded on use."""

from medjax.io._errors import (
    ImageFileError,
    ImageFileWarning,
    MissingDependencyError,
    TruncatedFileError,
    UnsupportedFileError,
)
from medjax.io._files import load_image, save_image

__all__ = [
    "ImageFileError",
    "ImageFileWarning",
    "MissingDependencyError",
    "TruncatedFileError",
    "UnsupportedFileError",
    "load_image",
    "save_image",
]
