"""Files: readers and writers at the edge of the package, each loaded on use.

A public name takes two lines: the module it lives in, below, and its import for type checkers; tests compare the two.
"""

from typing import TYPE_CHECKING

from medjax._lazy import lazy_names

_MODULE_OF = {
    "ImageFileError": "medjax.io._errors",
    "ImageFileWarning": "medjax.io._errors",
    "MissingDependencyError": "medjax.io._errors",
    "TruncatedFileError": "medjax.io._errors",
    "UnsupportedFileError": "medjax.io._errors",
    "load_image": "medjax.io._files",
    "save_image": "medjax.io._files",
}

if TYPE_CHECKING:
    from medjax.io._errors import ImageFileError as ImageFileError
    from medjax.io._errors import ImageFileWarning as ImageFileWarning
    from medjax.io._errors import MissingDependencyError as MissingDependencyError
    from medjax.io._errors import TruncatedFileError as TruncatedFileError
    from medjax.io._errors import UnsupportedFileError as UnsupportedFileError
    from medjax.io._files import load_image as load_image
    from medjax.io._files import save_image as save_image
else:
    __all__, __getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
