"""Intensity operations: pure functions from an image to an image on the same grid."""

from medjax._intensity._bias import bias_field, bias_lattice
from medjax._intensity._blur import blur_psf, gaussian_blur, median_filter, unsharp
from medjax._intensity._contrast import adjust_brightness, adjust_contrast, adjust_gamma
from medjax._intensity._landmarks import NyulLandmarks, nyul_train, nyul_transform
from medjax._intensity._match import histogram_match
from medjax._intensity._noise import gaussian_noise, rician_noise
from medjax._intensity._normalize import min_max_normalize, percentile_normalize, z_score_normalize
from medjax._intensity._threshold import otsu_threshold, threshold
from medjax._intensity._window import clip, rescale, window

__all__ = [
    "NyulLandmarks",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "bias_field",
    "bias_lattice",
    "blur_psf",
    "clip",
    "gaussian_blur",
    "gaussian_noise",
    "histogram_match",
    "median_filter",
    "min_max_normalize",
    "nyul_train",
    "nyul_transform",
    "otsu_threshold",
    "percentile_normalize",
    "rescale",
    "rician_noise",
    "threshold",
    "unsharp",
    "window",
    "z_score_normalize",
]
