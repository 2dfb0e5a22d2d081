"""Steps that change each intensity by itself."""

from __future__ import annotations

from typing import Any

from medjax._geometry._types import Scalar
from medjax._image._image import Image
from medjax._intensity import rescale
from medjax.augment._distribution import Spread
from medjax.augment._step import IntensityStep, drawn, step

__all__ = ["brightness"]


@step
class brightness(IntensityStep):
    """Multiplies intensities by a factor and adds a shift: `y = factor x + shift`.

    Args:
        factor: What is multiplied by.
        shift: What is added, in the image's unit.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([1, 2, 3], np.int16).reshape(3, 1, 1))
        >>> mj.augment.brightness(factor=2, p=1)(jax.random.key(0), image).voxels.ravel().tolist()
        [2.0, 4.0, 6.0]
    """

    factor: Spread = drawn((0.75, 1.25))
    shift: Spread = drawn(0.0)
    p: Scalar = 0.15

    def change(self, image: Image, factor: Any, shift: Any) -> Image:
        return rescale(image, factor, shift)
