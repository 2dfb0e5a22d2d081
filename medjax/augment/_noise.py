"""Steps that add noise; each item and image has a key of its own for it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from medjax._geometry._types import Scalar
from medjax._image._checks import check_choice
from medjax._image._image import Image
from medjax._intensity import gaussian_noise as with_gaussian_noise
from medjax._intensity import rician_noise as with_rician_noise
from medjax.augment._distribution import Spread
from medjax.augment._step import IntensityStep, drawn, step

__all__ = ["gaussian_noise", "rician_noise"]

Relative = Literal["std", "max"]


class _Relative:
    """What both kinds of noise check."""

    relative: Relative | None

    def check(self) -> None:
        if self.relative is not None:
            check_choice(self.relative, "relative", ("std", "max"))


@step
class gaussian_noise(_Relative, IntensityStep):
    """Adds normal noise, `mj.gaussian_noise`.

    Args:
        std: Standard deviation of the noise.
        relative: Its unit: "std" or "max" of the image, or `None` for the image's own.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.zeros((32, 32, 8), np.float32))
        >>> noisy = mj.augment.gaussian_noise(std=2.0, relative=None, p=1)(jax.random.key(0), image)
        >>> round(float(noisy.voxels.std()), 1)
        2.0
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    std: Spread = drawn((0.0, 0.1), least=0)
    relative: Relative | None = "std"
    p: Scalar = 0.1

    def change(self, image: Image, key: Any, std: Any) -> Image:
        return with_gaussian_noise(key, image, std, relative=self.relative)


@step
class rician_noise(_Relative, IntensityStep):
    """Adds the noise of MR magnitude images, `mj.rician_noise`; for images without negative voxels.

    Args:
        std: Standard deviation of the real and of the imaginary part.
        relative: Its unit: "std" or "max" of the image, or `None` for the image's own.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> air = mj.Image.from_array(np.zeros((32, 32, 8), np.float32))
        >>> noisy = mj.augment.rician_noise(std=2.0, relative=None, p=1)(jax.random.key(0), air)
        >>> bool((noisy.voxels >= 0).all())
        True
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    std: Spread = drawn((0.0, 0.05), least=0)
    relative: Relative | None = "max"
    p: Scalar = 0.1

    def change(self, image: Image, key: Any, std: Any) -> Image:
        return with_rician_noise(key, image, std, relative=self.relative)
