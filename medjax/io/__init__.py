"""Files: readers and writers at the edge of the package, each loaded on use.

A public name takes two lines: the module it lives in, below, and its import for type checkers; tests compare the two.
"""

from typing import TYPE_CHECKING

from medjax._lazy import lazy_names

_MODULE_OF = {
    "StoredImage": "medjax.io._hdf5",
    "delete_hdf5": "medjax.io._hdf5",
    "list_hdf5": "medjax.io._hdf5",
    "load_hdf5": "medjax.io._hdf5",
    "save_hdf5": "medjax.io._hdf5",
    "ImageFileError": "medjax.io._errors",
    "ImageFileWarning": "medjax.io._errors",
    "MissingDependencyError": "medjax.io._errors",
    "TruncatedFileError": "medjax.io._errors",
    "UnsupportedFileError": "medjax.io._errors",
    "load_image": "medjax.io._files",
    "load_mrb": "medjax.io._mrb",
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
    from medjax.io._hdf5 import StoredImage as StoredImage
    from medjax.io._hdf5 import delete_hdf5 as delete_hdf5
    from medjax.io._hdf5 import list_hdf5 as list_hdf5
    from medjax.io._hdf5 import load_hdf5 as load_hdf5
    from medjax.io._hdf5 import save_hdf5 as save_hdf5
    from medjax.io._mrb import load_mrb as load_mrb
else:
    __all__, __getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
