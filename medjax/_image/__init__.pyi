"""The names of this room that pickles of 0.1.0 look for here, each imported on first use."""

from medjax._image._image import Image as Image
from medjax._image._metadata import Metadata as Metadata
