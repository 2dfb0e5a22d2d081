"""Medical images for JAX: voxels and geometry as pytrees, transforms as pure functions, files at the edges.

A public name takes two lines: the module it lives in, below, and its import for type checkers; tests compare the two.
"""

from typing import TYPE_CHECKING

from medjax._lazy import lazy_names

__version__ = "0.1.0"

_MODULE_OF = {
    "Grid": "medjax._grid",
    "Image": "medjax._image",
    "ImageFileError": "medjax.io._errors",
    "ImageFileWarning": "medjax.io._errors",
    "Metadata": "medjax._metadata",
    "io": "medjax.io",
    "load_image": "medjax.io._files",
    "save_image": "medjax.io._files",
    "stack": "medjax._image",
    "unstack": "medjax._image",
}

if TYPE_CHECKING:
    from medjax import io as io
    from medjax._grid import Grid as Grid
    from medjax._image import Image as Image
    from medjax._image import stack as stack
    from medjax._image import unstack as unstack
    from medjax._metadata import Metadata as Metadata
    from medjax.io._errors import ImageFileError as ImageFileError
    from medjax.io._errors import ImageFileWarning as ImageFileWarning
    from medjax.io._files import load_image as load_image
    from medjax.io._files import save_image as save_image
else:
    __all__, __getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
