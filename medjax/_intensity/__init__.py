"""Intensity operations: pure functions from an image to an image on the same grid."""

from medjax._intensity._bias import bias_field, bias_lattice
from medjax._intensity._blur import blur_psf, gaussian_blur, median_filter, unsharp
from medjax._intensity._boxes import cutout, swap_boxes
from medjax._intensity._contrast import adjust_brightness, adjust_contrast, adjust_gamma
from medjax._intensity._counts import ct_noise, poisson_noise, reduce_dose
from medjax._intensity._histogram_shift import histogram_shift
from medjax._intensity._kspace import ghosting, gibbs, spike
from medjax._intensity._landmarks import NyulLandmarks, nyul_train, nyul_transform
from medjax._intensity._match import histogram_match
from medjax._intensity._mixing import cutmix, mixup
from medjax._intensity._motion import motion
from medjax._intensity._noise import gaussian_noise, rician_noise
from medjax._intensity._normalize import min_max_normalize, percentile_normalize, z_score_normalize
from medjax._intensity._resolution import degrade_resolution
from medjax._intensity._synthesis import labels_to_image
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
    "ct_noise",
    "cutmix",
    "cutout",
    "degrade_resolution",
    "gaussian_blur",
    "gaussian_noise",
    "ghosting",
    "gibbs",
    "histogram_match",
    "histogram_shift",
    "labels_to_image",
    "median_filter",
    "min_max_normalize",
    "mixup",
    "motion",
    "nyul_train",
    "nyul_transform",
    "otsu_threshold",
    "percentile_normalize",
    "poisson_noise",
    "reduce_dose",
    "rescale",
    "rician_noise",
    "spike",
    "swap_boxes",
    "threshold",
    "unsharp",
    "window",
    "z_score_normalize",
]
