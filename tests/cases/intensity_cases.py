"""Images and NumPy references that the tests of intensity operations share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scans import ANGLES, ORIGIN, oblique_affine, scan_of

import medjax as mj
from medjax import Image

EPS = float(np.finfo(np.float32).eps)
SHAPE = (5, 7, 6)  # odd and even, no two alike
LANDMARKS = mj.NyulLandmarks(np.array([0.0, 20.0, 45.0, 100.0]), (1.0, 30.0, 70.0, 99.0))


def turned_affine(number: int = 0) -> np.ndarray:
    """The oblique lattice of the scan with this number."""
    return oblique_affine((ANGLES[0] + number, *ANGLES[1:]), origin=(*ORIGIN[:2], ORIGIN[2] + number))


def scan(seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32, **options: Any) -> Image:
    """An oblique scan of Hounsfield-like values, skewed, negative ones among them, no two alike where floating."""
    values = np.random.default_rng(seed).gamma(2.0, 300.0, shape) - 1000
    return scan_of(values.astype(dtype), seed, **({"affine": turned_affine(seed)} | options))


def batch(count: int = 3, channels: tuple[int, ...] = (2,), dtype: Any = np.float32) -> Image:
    """Scans of different scale and offset."""
    items = [scan(seed, (*SHAPE, *channels), dtype) for seed in range(count)]
    return mj.stack([item.with_voxels(item.voxels * (n + 1) + 50 * n) for n, item in enumerate(items)])


REFERENCE = scan(9, (4, 9, 5))

# Every operation with one image, as a user writes it.
OPERATIONS: dict[str, Callable[[Image], Image]] = {
    "z_score": mj.z_score_normalize,
    "z_score_masked": lambda image: mj.z_score_normalize(image, mask=half_mask(), ddof=0),
    "min_max": lambda image: mj.min_max_normalize(image, range=(-1, 1)),
    "percentile": lambda image: mj.percentile_normalize(image, percentiles=(5, 90), outside="extend"),
    "clip": lambda image: mj.clip(image, -600, 200),
    "window": lambda image: mj.window(image, 40, 400, range=(0, 255)),
    "window_sigmoid": lambda image: mj.window(image, 40, 400, function="sigmoid"),
    "rescale": lambda image: mj.rescale(image, 0.5, -1024),
    "histogram_match": lambda image: mj.histogram_match(image, reference_like(image), points=5, background=-800),
    "nyul": lambda image: mj.nyul_transform(image, landmarks_like(image)),
}


def half_mask() -> np.ndarray:
    """About a third of the voxels, the extremes of `scan()` not among them."""
    return (np.random.default_rng(5).random(SHAPE) < 0.4) & (np.abs(scan().voxels + 500) < 450)


def reference_like(image: Image) -> Image:
    values = np.broadcast_to(
        REFERENCE.voxels.reshape(REFERENCE.shape + (1,) * len(image.channels)), (*REFERENCE.shape, *image.channels)
    )
    return REFERENCE.with_voxels(np.ascontiguousarray(values))


def landmarks_like(image: Image) -> mj.NyulLandmarks:
    values = np.broadcast_to(LANDMARKS.values, (*image.channels, 4))
    return mj.NyulLandmarks(values, LANDMARKS.percentiles)


def by_item_and_channel(
    function: Callable[..., np.ndarray], voxels: np.ndarray, batch_ndim: int, *others: np.ndarray
) -> np.ndarray:
    """Applies a NumPy function of `(i, j, k)` float64 volumes to every item and channel; the reference's loop."""
    out = np.empty(voxels.shape, np.float64)
    for item in np.ndindex(voxels.shape[:batch_ndim]):
        for channel in np.ndindex(voxels.shape[batch_ndim + 3 :]):
            place = (*item, slice(None), slice(None), slice(None), *channel)
            out[place] = function(voxels[place].astype(np.float64), *(other[item] for other in others))
    return out
