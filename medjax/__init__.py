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
    "NyulLandmarks": "medjax._intensity",
    "clip": "medjax._intensity",
    "histogram_match": "medjax._intensity",
    "io": "medjax.io",
    "load_image": "medjax.io._files",
    "min_max_normalize": "medjax._intensity",
    "nyul_train": "medjax._intensity",
    "nyul_transform": "medjax._intensity",
    "percentile_normalize": "medjax._intensity",
    "rescale": "medjax._intensity",
    "save_image": "medjax.io._files",
    "stack": "medjax._image",
    "unstack": "medjax._image",
    "window": "medjax._intensity",
    "z_score_normalize": "medjax._intensity",
}

if TYPE_CHECKING:
    from medjax import io as io
    from medjax._grid import Grid as Grid
    from medjax._image import Image as Image
    from medjax._image import stack as stack
    from medjax._image import unstack as unstack
    from medjax._intensity import NyulLandmarks as NyulLandmarks
    from medjax._intensity import clip as clip
    from medjax._intensity import histogram_match as histogram_match
    from medjax._intensity import min_max_normalize as min_max_normalize
    from medjax._intensity import nyul_train as nyul_train
    from medjax._intensity import nyul_transform as nyul_transform
    from medjax._intensity import percentile_normalize as percentile_normalize
    from medjax._intensity import rescale as rescale
    from medjax._intensity import window as window
    from medjax._intensity import z_score_normalize as z_score_normalize
    from medjax._metadata import Metadata as Metadata
    from medjax.io._errors import ImageFileError as ImageFileError
    from medjax.io._errors import ImageFileWarning as ImageFileWarning
    from medjax.io._files import load_image as load_image
    from medjax.io._files import save_image as save_image
else:
    __all__, __getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
