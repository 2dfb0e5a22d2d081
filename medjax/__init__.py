"""Medical images for JAX: voxels and geometry as pytrees, transforms as pure functions, files at the edges.

A public name takes two lines: the module it lives in, below, and its import for type checkers; tests compare the two.
"""

from typing import TYPE_CHECKING

from medjax._lazy import lazy_names

__version__ = "0.1.0"

_MODULE_OF = {
    "BoundingBox": "medjax._mask",
    "Grid": "medjax._grid",
    "Image": "medjax._image",
    "ImageFileError": "medjax.io._errors",
    "ImageFileWarning": "medjax.io._errors",
    "MaskPoints": "medjax._mask",
    "Metadata": "medjax._metadata",
    "NyulLandmarks": "medjax._intensity",
    "SurfaceDistances": "medjax._mask",
    "SuvFactor": "medjax._suv",
    "SuvStatistics": "medjax._suv",
    "barycenter": "medjax._mask",
    "bounding_box": "medjax._mask",
    "clip": "medjax._intensity",
    "connected_components": "medjax._mask",
    "dice": "medjax._mask",
    "histogram_match": "medjax._intensity",
    "io": "medjax.io",
    "label_volumes": "medjax._mask",
    "load_image": "medjax.io._files",
    "mask_points": "medjax._mask",
    "max_radius": "medjax._mask",
    "min_max_normalize": "medjax._intensity",
    "nyul_train": "medjax._intensity",
    "nyul_transform": "medjax._intensity",
    "one_hot": "medjax._mask",
    "percentile_normalize": "medjax._intensity",
    "rescale": "medjax._intensity",
    "save_image": "medjax.io._files",
    "stack": "medjax._image",
    "surface_distances": "medjax._mask",
    "suv_factor": "medjax._suv",
    "suv_statistics": "medjax._suv",
    "to_suv": "medjax._suv",
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
    from medjax._mask import BoundingBox as BoundingBox
    from medjax._mask import MaskPoints as MaskPoints
    from medjax._mask import SurfaceDistances as SurfaceDistances
    from medjax._mask import barycenter as barycenter
    from medjax._mask import bounding_box as bounding_box
    from medjax._mask import connected_components as connected_components
    from medjax._mask import dice as dice
    from medjax._mask import label_volumes as label_volumes
    from medjax._mask import mask_points as mask_points
    from medjax._mask import max_radius as max_radius
    from medjax._mask import one_hot as one_hot
    from medjax._mask import surface_distances as surface_distances
    from medjax._metadata import Metadata as Metadata
    from medjax._suv import SuvFactor as SuvFactor
    from medjax._suv import SuvStatistics as SuvStatistics
    from medjax._suv import suv_factor as suv_factor
    from medjax._suv import suv_statistics as suv_statistics
    from medjax._suv import to_suv as to_suv
    from medjax.io._errors import ImageFileError as ImageFileError
    from medjax.io._errors import ImageFileWarning as ImageFileWarning
    from medjax.io._files import load_image as load_image
    from medjax.io._files import save_image as save_image
else:
    __all__, __getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
