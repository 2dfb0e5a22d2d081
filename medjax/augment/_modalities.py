"""Steps after the physics of PET and CT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from medjax._geometry._types import Number, Scalar
from medjax._image._image import Image
from medjax._intensity import blur_psf, poisson_noise, reduce_dose, rescale
from medjax._intensity import ct_noise as with_ct_noise
from medjax._intensity import window as windowed
from medjax.augment._distribution import Distribution, Spread
from medjax.augment._step import IntensityStep, drawn, step

__all__ = ["count_noise", "ct_noise", "dose_reduction", "psf", "uptake", "window_jitter"]

_COUNTS = Distribution("log_uniform", np.float32(1), np.float32(100))
_DOSE = Distribution("log_uniform", np.float32(0.1), np.float32(1))
_UPTAKE = Distribution("log_uniform", np.float32(0.8), np.float32(1.25))


@step
class count_noise(IntensityStep):
    """Replaces intensities by counted ones, `mj.poisson_noise`.

    Args:
        counts: Counts per unit of the image.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.full((32, 32, 8), 4.0))
        >>> out = mj.augment.count_noise(counts=1, p=1)(jax.random.key(0), image).voxels
        >>> round(float(out.mean())), round(float(out.var()))
        (4, 4)
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    counts: Spread = drawn(_COUNTS, "per unit", how="log_uniform")
    p: Scalar = 0.2

    def change(self, image: Image, key: Any, counts: Any) -> Image:
        return poisson_noise(key, image, counts)


@step
class dose_reduction(IntensityStep):
    """Adds the noise that a PET image would have at a share of the dose, `mj.reduce_dose`; `alpha` is illustrative.

    Args:
        dose: Share of the dose, or of the time, up to 1.
        alpha: Variance per activity at half the dose, in the image's unit.
        correlation_fwhm_mm: Full width at half maximum of the correlation of the noise.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.full((32, 32, 8), 4.0))
        >>> out = mj.augment.dose_reduction(dose=0.5, p=1)(jax.random.key(0), image).voxels
        >>> round(float(out.var()), 1)
        0.2
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    dose: Spread = drawn(_DOSE, "of the dose", how="log_uniform")
    alpha: Spread = drawn(0.05, least=0)
    correlation_fwhm_mm: Spread = drawn(5.0, "mm", least=0)
    p: Scalar = 0.3

    def change(self, image: Image, key: Any, dose: Any, alpha: Any, correlation_fwhm_mm: Any) -> Image:
        return reduce_dose(key, image, dose, alpha=alpha, fwhm_mm=correlation_fwhm_mm)


@step
class psf(IntensityStep):
    """Smooths as another scanner's point spread would, `mj.blur_psf`.

    Args:
        fwhm_mm: Full width at half maximum.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> point = mj.Image.from_array(np.eye(1, 9, 4).reshape(9, 1, 1))
        >>> found = mj.augment.psf(fwhm_mm=4.0, p=1)(jax.random.key(0), point).voxels.ravel()
        >>> round(float(found[2] / found[4]), 3)
        0.5
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    fwhm_mm: Spread = drawn((0.0, 4.0), "mm", least=0)
    p: Scalar = 0.3

    def change(self, image: Image, fwhm_mm: Any) -> Image:
        return blur_psf(image, fwhm_mm)


@step
class uptake(IntensityStep):
    """Multiplies by a factor, as a wrong dose or weight does to a standardised uptake value.

    Args:
        factor: By which the image is multiplied.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([1, 2, 3], np.int16).reshape(3, 1, 1))
        >>> mj.augment.uptake(factor=2, p=1)(jax.random.key(0), image).voxels.ravel().tolist()
        [2.0, 4.0, 6.0]
    """

    factor: Spread = drawn(_UPTAKE, how="log_uniform")
    p: Scalar = 0.3

    @property
    def commutes(self) -> bool:
        return True

    def change(self, image: Image, factor: Any) -> Image:
        return rescale(image, factor, 0.0)


@step
class ct_noise(IntensityStep):
    """Adds the noise of a CT image, `mj.ct_noise`; the numbers are illustrative.

    Args:
        hu: Standard deviation of the noise.
        correlation_mm: Standard deviation of the Gaussian that correlates it within a slice.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.zeros((64, 64, 8), np.int16))
        >>> round(float(mj.augment.ct_noise(hu=20, p=1)(jax.random.key(0), image).voxels.std()))
        20
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    hu: Spread = drawn((0.0, 30.0), "HU", least=0)
    correlation_mm: Spread = drawn(0.8, "mm", least=0)
    p: Scalar = 0.2

    def change(self, image: Image, key: Any, hu: Any, correlation_mm: Any) -> Image:
        return with_ct_noise(key, image, hu, correlation_mm=correlation_mm)


@step
class window_jitter(IntensityStep):
    """Windows an image, `mj.window`, with a centre and a width that vary; every image is windowed.

    Args:
        window: Centre and width, in the image's unit; static.
        center: By how much the centre is moved, in widths; a number means plus or minus it.
        width: By which factor the width varies.
        p: Probability that the window of an image varies; else it is the given one.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([-200, 40, 240]).reshape(3, 1, 1).astype(np.int16))
        >>> out = mj.augment.window_jitter(window=(40, 400), p=0)(jax.random.key(0), image)
        >>> [round(float(x), 1) for x in out.voxels.ravel()]
        [0.0, 0.5, 1.0]
    """

    window: Sequence[Number] = (40.0, 400.0)
    center: Spread = drawn(0.1, "of the width", plus_minus=True)
    width: Spread = drawn(_UPTAKE, how="log_uniform")
    p: Scalar = 1.0

    def check(self) -> None:
        if len(self.window) != 2 or not self.window[1] > 0:
            raise ValueError(f"window must be a centre and a width above 0, got {self.window!r}")

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        found = super().values(numbers)
        varies = found["applied"]
        wide = varies.reshape(varies.shape + (1,) * (found["center"].ndim - varies.ndim))
        kept = {"center": jnp.where(wide, found["center"], 0), "width": jnp.where(wide, found["width"], 1)}
        return {**kept, "applied": jnp.ones_like(varies)}

    def change(self, image: Image, center: Any, width: Any) -> Image:
        middle, full = self.window
        return windowed(image, middle + full * center, full * width)
