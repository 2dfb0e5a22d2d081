"""Medical images for JAX: voxels and geometry as pytrees, transforms as pure functions, files at the edges.

A public name takes two lines: the module it lives in, below, and its import for type checkers; tests compare the two.
"""

import sys
from typing import TYPE_CHECKING

from medjax import _fork as _fork
from medjax._lazy import lazy_names
from medjax._version import __version__ as __version__

_MODULE_OF = {
    "affine_matrix": "medjax._warp",
    "affine_transform": "medjax._warp",
    "AffineTransform": "medjax._transform",
    "barycenter": "medjax._mask",
    "bounding_box": "medjax._mask",
    "BoundingBox": "medjax._mask",
    "cast": "medjax._cast",
    "change_orientation": "medjax._reorient",
    "clip": "medjax._intensity",
    "closing": "medjax._mask",
    "compose": "medjax._warp",
    "CompositeTransform": "medjax._transform",
    "connected_components": "medjax._mask",
    "crop": "medjax._crop",
    "crop_or_pad": "medjax._crop",
    "crop_to_mask": "medjax._crop",
    "dice": "medjax._mask",
    "dilate": "medjax._mask",
    "DisplacementField": "medjax._transform",
    "erode": "medjax._mask",
    "fill_holes": "medjax._mask",
    "flip": "medjax._reorient",
    "fuse": "medjax._fuse",
    "gaussian_blur": "medjax._intensity",
    "Grid": "medjax._grid",
    "histogram_match": "medjax._intensity",
    "Image": "medjax._image",
    "ImageFileError": "medjax.io._errors",
    "ImageFileWarning": "medjax.io._errors",
    "io": "medjax.io",
    "label_volumes": "medjax._mask",
    "load_image": "medjax.io._files",
    "map_coordinates": "medjax._map_coordinates",
    "mask_points": "medjax._mask",
    "MaskPoints": "medjax._mask",
    "max_radius": "medjax._mask",
    "median_filter": "medjax._intensity",
    "Metadata": "medjax._metadata",
    "min_max_normalize": "medjax._intensity",
    "nyul_train": "medjax._intensity",
    "nyul_transform": "medjax._intensity",
    "NyulLandmarks": "medjax._intensity",
    "one_hot": "medjax._mask",
    "opening": "medjax._mask",
    "otsu_threshold": "medjax._intensity",
    "pad": "medjax._crop",
    "percentile_normalize": "medjax._intensity",
    "region_statistics": "medjax._mask",
    "RegionStatistics": "medjax._mask",
    "resample_to_grid": "medjax._resample",
    "resample_to_image": "medjax._resample",
    "resample_to_spacing": "medjax._resample",
    "rescale": "medjax._intensity",
    "rotate": "medjax._warp",
    "save_image": "medjax.io._files",
    "scale": "medjax._resample",
    "shape_buckets": "medjax._buckets",
    "stack": "medjax._image",
    "surface_distances": "medjax._mask",
    "SurfaceDistances": "medjax._mask",
    "suv_factor": "medjax._suv",
    "suv_statistics": "medjax._suv",
    "SuvFactor": "medjax._suv",
    "SuvStatistics": "medjax._suv",
    "threshold": "medjax._intensity",
    "to_suv": "medjax._suv",
    "translate": "medjax._crop",
    "unstack": "medjax._image",
    "warp": "medjax._warp",
    "window": "medjax._intensity",
    "z_score_normalize": "medjax._intensity",
}

if TYPE_CHECKING:
    from medjax import io as io
    from medjax._buckets import shape_buckets as shape_buckets
    from medjax._cast import cast as cast
    from medjax._crop import crop as crop
    from medjax._crop import crop_or_pad as crop_or_pad
    from medjax._crop import crop_to_mask as crop_to_mask
    from medjax._crop import pad as pad
    from medjax._crop import translate as translate
    from medjax._fuse import fuse as fuse
    from medjax._grid import Grid as Grid
    from medjax._image import Image as Image
    from medjax._image import stack as stack
    from medjax._image import unstack as unstack
    from medjax._intensity import NyulLandmarks as NyulLandmarks
    from medjax._intensity import clip as clip
    from medjax._intensity import gaussian_blur as gaussian_blur
    from medjax._intensity import histogram_match as histogram_match
    from medjax._intensity import median_filter as median_filter
    from medjax._intensity import min_max_normalize as min_max_normalize
    from medjax._intensity import nyul_train as nyul_train
    from medjax._intensity import nyul_transform as nyul_transform
    from medjax._intensity import otsu_threshold as otsu_threshold
    from medjax._intensity import percentile_normalize as percentile_normalize
    from medjax._intensity import rescale as rescale
    from medjax._intensity import threshold as threshold
    from medjax._intensity import window as window
    from medjax._intensity import z_score_normalize as z_score_normalize
    from medjax._map_coordinates import map_coordinates as map_coordinates
    from medjax._mask import BoundingBox as BoundingBox
    from medjax._mask import MaskPoints as MaskPoints
    from medjax._mask import RegionStatistics as RegionStatistics
    from medjax._mask import SurfaceDistances as SurfaceDistances
    from medjax._mask import barycenter as barycenter
    from medjax._mask import bounding_box as bounding_box
    from medjax._mask import closing as closing
    from medjax._mask import connected_components as connected_components
    from medjax._mask import dice as dice
    from medjax._mask import dilate as dilate
    from medjax._mask import erode as erode
    from medjax._mask import fill_holes as fill_holes
    from medjax._mask import label_volumes as label_volumes
    from medjax._mask import mask_points as mask_points
    from medjax._mask import max_radius as max_radius
    from medjax._mask import one_hot as one_hot
    from medjax._mask import opening as opening
    from medjax._mask import region_statistics as region_statistics
    from medjax._mask import surface_distances as surface_distances
    from medjax._metadata import Metadata as Metadata
    from medjax._reorient import change_orientation as change_orientation
    from medjax._reorient import flip as flip
    from medjax._resample import resample_to_grid as resample_to_grid
    from medjax._resample import resample_to_image as resample_to_image
    from medjax._resample import resample_to_spacing as resample_to_spacing
    from medjax._resample import scale as scale
    from medjax._suv import SuvFactor as SuvFactor
    from medjax._suv import SuvStatistics as SuvStatistics
    from medjax._suv import suv_factor as suv_factor
    from medjax._suv import suv_statistics as suv_statistics
    from medjax._suv import to_suv as to_suv
    from medjax._transform import AffineTransform as AffineTransform
    from medjax._transform import CompositeTransform as CompositeTransform
    from medjax._transform import DisplacementField as DisplacementField
    from medjax._warp import affine_matrix as affine_matrix
    from medjax._warp import affine_transform as affine_transform
    from medjax._warp import compose as compose
    from medjax._warp import rotate as rotate
    from medjax._warp import warp as warp
    from medjax.io._errors import ImageFileError as ImageFileError
    from medjax.io._errors import ImageFileWarning as ImageFileWarning
    from medjax.io._files import load_image as load_image
    from medjax.io._files import save_image as save_image
else:
    __all__, __getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
    if sys.modules.get("jax"):  # then these cost little, and jax.export.deserialize must know the types beforehand
        __getattr__("Image"), __getattr__("AffineTransform")
