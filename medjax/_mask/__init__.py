"""Masks and label maps: regions, their place and shape, and the agreement of two masks."""

from medjax._mask._agreement import SurfaceDistances, dice, surface_distances
from medjax._mask._morphology import closing, dilate, erode, fill_holes, opening
from medjax._mask._regions import BoundingBox, bounding_box, connected_components, label_volumes, one_hot
from medjax._mask._shape import MaskPoints, barycenter, mask_points, max_radius
from medjax._mask._statistics import RegionStatistics, region_statistics, sums_of
from medjax._mask._voxels import labels_of

__all__ = [
    "BoundingBox",
    "MaskPoints",
    "RegionStatistics",
    "SurfaceDistances",
    "barycenter",
    "bounding_box",
    "closing",
    "connected_components",
    "dice",
    "dilate",
    "erode",
    "fill_holes",
    "label_volumes",
    "labels_of",
    "mask_points",
    "max_radius",
    "one_hot",
    "opening",
    "region_statistics",
    "sums_of",
    "surface_distances",
]
