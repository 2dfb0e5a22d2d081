"""Steps that change each intensity by itself, or with statistics of the image."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import jax.numpy as jnp

from medjax._geometry._types import Scalar
from medjax._image._checks import check_choice
from medjax._image._image import Image
from medjax._intensity import adjust_brightness, adjust_contrast, adjust_gamma, min_max_normalize
from medjax._intensity import clip as limited
from medjax.augment._distribution import Spread
from medjax.augment._step import IntensityStep, chance, drawn, step

__all__ = ["brightness", "clip", "contrast", "gamma", "min_max"]


@step
class gamma(IntensityStep):
    """Bends intensities between their extremes by a power, `mj.adjust_gamma`.

    Args:
        log_gamma: Natural logarithm of the power; 0 changes nothing.
        retain_stats: Whether mean and standard deviation stay.
        p_invert: Probability that the power bends the negative.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 25, 100], np.int16).reshape(3, 1, 1))
        >>> step = mj.augment.gamma(log_gamma=np.log(0.5), retain_stats=False, p=1)
        >>> [round(float(x), 3) for x in step(jax.random.key(0), image).voxels.ravel()]
        [0.0, 50.0, 100.0]
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    log_gamma: Spread = drawn((-0.3, 0.3))
    p_invert: Scalar = chance(0.0, leaf="invert")
    retain_stats: bool = True
    p: Scalar = 0.3

    def change(self, image: Image, log_gamma: Any, invert: Any) -> Image:
        return adjust_gamma(image, jnp.exp(log_gamma), retain_stats=self.retain_stats, invert=invert)


@step
class contrast(IntensityStep):
    """Spreads intensities about their mean, `mj.adjust_contrast`.

    Args:
        factor: By which differences from the mean are multiplied.
        preserve_range: Whether the result is limited to the extremes of the image.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 2, 10], np.int16).reshape(3, 1, 1))
        >>> step = mj.augment.contrast(factor=1.5, preserve_range=False, p=1)
        >>> step(jax.random.key(0), image).voxels.ravel().tolist()
        [-2.0, 1.0, 13.0]
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    factor: Spread = drawn((0.75, 1.25))
    preserve_range: bool = True
    p: Scalar = 0.15

    def change(self, image: Image, factor: Any) -> Image:
        return adjust_contrast(image, factor, preserve_range=self.preserve_range)


@step
class brightness(IntensityStep):
    """Multiplies intensities by a factor and adds a shift, `mj.adjust_brightness`.

    Args:
        factor: What is multiplied by.
        shift: What is added, in the image's unit.
        relative: "std" for a shift in standard deviations of the image.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([1, 2, 3], np.int16).reshape(3, 1, 1))
        >>> mj.augment.brightness(factor=2, p=1)(jax.random.key(0), image).voxels.ravel().tolist()
        [2.0, 4.0, 6.0]
    """

    factor: Spread = drawn((0.75, 1.25))
    shift: Spread = drawn(0.0)
    relative: Literal["std"] | None = None
    p: Scalar = 0.15

    def check(self) -> None:
        if self.relative is not None:
            check_choice(self.relative, "relative", ("std",))

    @property
    def commutes(self) -> bool:
        return self.relative is None

    def change(self, image: Image, factor: Any, shift: Any) -> Image:
        return adjust_brightness(image, factor, shift=shift, relative=self.relative)


@step
class clip(IntensityStep):
    """Limits intensities to two numbers, `mj.clip`.

    Args:
        low: What lies below becomes this.
        high: What lies above becomes this.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([-5, 2, 900], np.int16).reshape(3, 1, 1))
        >>> mj.augment.clip(low=0, high=300)(jax.random.key(0), image).voxels.ravel().tolist()
        [0.0, 2.0, 300.0]
    """

    low: Spread = drawn(dataclasses.MISSING)
    high: Spread = drawn(dataclasses.MISSING)

    def change(self, image: Image, low: Any, high: Any) -> Image:
        return limited(image, low, high)


@step
class min_max(IntensityStep):
    """Brings intensities to the range from 0 to 1, `mj.min_max_normalize`.

    Args:
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([1, 2, 5], np.int16).reshape(3, 1, 1))
        >>> mj.augment.min_max()(jax.random.key(0), image).voxels.ravel().tolist()
        [0.0, 0.25, 1.0]
    """

    def change(self, image: Image) -> Image:
        return min_max_normalize(image)
