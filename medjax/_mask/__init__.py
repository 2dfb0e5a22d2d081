"""Masks and label maps: what they cover, where it lies, and how well two of them agree."""

from medjax._mask._agreement import SurfaceDistances, dice, surface_distances
from medjax._mask._arguments import at_once, check_same_grid, is_concrete, labels_of, voxel_volume, without_wrapping
from medjax._mask._regions import BoundingBox, bounding_box, connected_components, label_volumes, one_hot
from medjax._mask._shape import MaskPoints, barycenter, mask_points, max_radius

__all__ = [
    "BoundingBox",
    "MaskPoints",
    "SurfaceDistances",
    "at_once",
    "barycenter",
    "bounding_box",
    "check_same_grid",
    "connected_components",
    "dice",
    "is_concrete",
    "label_volumes",
    "labels_of",
    "mask_points",
    "max_radius",
    "one_hot",
    "surface_distances",
    "voxel_volume",
    "without_wrapping",
]
