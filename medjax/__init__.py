"""Medical images for JAX: voxels and geometry as pytrees, transforms as pure functions, files at the edges."""

from medjax import io
from medjax._grid import Grid
from medjax._image import Image, stack, unstack
from medjax._metadata import Metadata
from medjax.io import ImageFileError, ImageFileWarning, load_image, save_image

__all__ = [
    "Grid",
    "Image",
    "ImageFileError",
    "ImageFileWarning",
    "Metadata",
    "io",
    "load_image",
    "save_image",
    "stack",
    "unstack",
]

__version__ = "0.1.0"
