"""Intensity operations: pure functions from an image to an image on the same grid."""

from medjax._intensity._blur import gaussian_blur, median_filter
from medjax._intensity._landmarks import NyulLandmarks, nyul_train, nyul_transform
from medjax._intensity._match import histogram_match
from medjax._intensity._normalize import min_max_normalize, percentile_normalize, z_score_normalize
from medjax._intensity._threshold import otsu_threshold, threshold
from medjax._intensity._window import clip, rescale, window

__all__ = [
    "NyulLandmarks",
    "clip",
    "gaussian_blur",
    "histogram_match",
    "median_filter",
    "min_max_normalize",
    "nyul_train",
    "nyul_transform",
    "otsu_threshold",
    "percentile_normalize",
    "rescale",
    "threshold",
    "window",
    "z_score_normalize",
]
