"""What the steps do: each calls the public function of its name, or adds the files that words cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._geometry._grid import Grid, spacing_of
from medjax._geometry._numbers import as_triple
from medjax._geometry._types import Unit
from medjax._image._checks import check_same_grid, three_integers
from medjax._image._image import Image
from medjax._intensity import (
    NyulLandmarks,
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    blur_psf,
    clip,
    degrade_resolution,
    gaussian_blur,
    median_filter,
    min_max_normalize,
    nyul_transform,
    percentile_normalize,
    rescale,
    threshold,
    unsharp,
    window,
    z_score_normalize,
)
from medjax._intensity._cast import cast
from medjax._mask import closing, dilate, erode, fill_holes, opening
from medjax._pet import to_suv
from medjax._pipeline._forms import words_of
from medjax._pipeline._grammar import Step
from medjax._space._crop import crop, crop_or_pad, crop_to_mask, pad, translate
from medjax._space._move import rotate
from medjax._space._reorient import change_orientation, flip
from medjax._space._resample import known_size, resample_to_grid, resample_to_spacing, respaced, scale
from medjax.io._open import load_image
from medjax.io._transform_file import load_transform

__all__ = ["FUNCTIONS", "References", "applied"]

# By the name of the public function.
FUNCTIONS: dict[str, Callable[..., Image]] = {
    function.__name__: function
    for function in (
        *(change_orientation, flip, resample_to_spacing, scale, rotate, crop, pad, crop_or_pad, translate),
        *(clip, rescale, window, cast, to_suv, threshold, gaussian_blur, blur_psf, unsharp, median_filter),
        *(degrade_resolution, adjust_gamma, adjust_contrast, adjust_brightness),
        *(z_score_normalize, min_max_normalize, percentile_normalize, nyul_transform),
        *(dilate, erode, opening, closing, fill_holes),
    )
}


class References:
    """The images that steps name: those at hand by their role, and files. Each file is read once."""

    def __init__(self, at_hand: Mapping[str, Image | Grid] | None = None):
        self._at_hand: Mapping[str, Any] = dict(at_hand or {})
        self._read: dict[str, Image] = {}

    def with_images(self, images: Mapping[str, Image]) -> References:
        """The same, with the images of a case as they stand at a step; files stay read."""
        made = References({**self._at_hand, **images})
        made._read = self._read
        return made

    def image(self, name: str) -> Image:
        """An image by role or path."""
        found = self._at_hand.get(name)
        if isinstance(found, Image):
            return found
        if name not in self._read:
            self._read[name] = load_image(name)
        return self._read[name]

    def grid(self, name: str) -> Grid:
        """The grid of an image."""
        found = self._at_hand.get(name)
        return found if isinstance(found, Grid) else self.image(name).grid


def applied(step: Step, image: Image, references: References) -> Image:
    """Applies a step to an image.

    Raises:
        ValueError: as the public function does.
        ImageFileError: a file that the step names cannot be read.
    """
    options = {name: tuple(v) if isinstance(v, list) else v for name, v in step.options.items()}
    special = _SPECIAL.get(step.name)
    if special is not None:
        return special(image, options, references)
    return FUNCTIONS[step.kind.function](image, **options)


def _flip(image: Image, options: dict[str, Any], references: References) -> Image:
    return flip(image, list(options["axes"]))


def _resample(image: Image, options: dict[str, Any], references: References) -> Image:
    like, transform = options.pop("like", None), options.pop("transform", None)
    if like is None and transform is None and "spacing" in options:
        return resample_to_spacing(image, **options)
    grid = image.grid if like is None else references.grid(like)
    spacing, size = options.pop("spacing", None), options.pop("size", None)
    anchor, antialias = options.pop("anchor", "center"), options.pop("antialias", False)
    if size is not None and spacing is None:  # the field of view stays
        size = three_integers(size, "size", least=1)
        spacing = spacing_of(grid.affine) * np.asarray(grid.shape) / np.asarray(size)
        if transform is None:
            return resample_to_spacing(image, spacing, size=size, anchor=anchor, antialias=antialias, **options)
    if spacing is not None:
        new = as_triple(spacing, "spacing")
        shape = known_size(grid, new) if size is None else three_integers(size, "size", least=1)
        grid = respaced(grid, new, shape, anchor)
    known = None if transform is None else load_transform(transform)
    return resample_to_grid(image, grid, transform=known, **options)


def _crop(image: Image, options: dict[str, Any], references: References) -> Image:
    if "to_mask" not in options:
        return crop(image, options["start"], options["size"])
    mask = references.image(options["to_mask"])
    if mask.kind == "intensity" and mask.dtype.kind in "biu":
        mask = mask.with_kind("label")
    try:
        check_same_grid(image, mask, "mask")
    except ValueError:
        mask = resample_to_grid(mask, image.grid, interpolation="nearest")
    words = words_of(options.get("margin", "0"))
    unit: Unit = "mm" if str(words[0]).endswith("mm") else "voxel"
    margin = tuple(float(str(word).removesuffix("mm")) for word in words) * (3 if len(words) == 1 else 1)
    return crop_to_mask(image, mask, margin=margin if unit == "mm" else tuple(map(int, margin)), unit=unit)


def _pad(image: Image, options: dict[str, Any], references: References) -> Image:
    before = options.pop("before")
    return pad(image, before, options.pop("after", before), **options)


def _normalize(image: Image, options: dict[str, Any], references: References) -> Image:
    method = options.pop("method")
    if method == "nyul":
        landmarks = NyulLandmarks.from_json(Path(options.pop("landmarks")).read_text("utf-8"))
        return nyul_transform(image, landmarks, **options)
    methods: dict[str, Callable[..., Image]] = {
        "zscore": z_score_normalize,
        "minmax": min_max_normalize,
        "percentile": percentile_normalize,
    }
    return methods[method](image, **options)


_SPECIAL: dict[str, Callable[[Image, dict[str, Any], References], Image]] = {
    "flip": _flip,
    "resample": _resample,
    "crop": _crop,
    "pad": _pad,
    "normalize": _normalize,
}
