"""Steps that are strongest at one place, which is drawn too, and fade away from it."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from medjax._geometry._types import Scalar
from medjax._image._checks import check_choice
from medjax._image._image import Image
from medjax._intensity._local import brightened_locally, gamma_adjusted_locally
from medjax._kernels._batch import over_batch
from medjax.augment._distribution import Distribution, Spread
from medjax.augment._step import IntensityStep, drawn, step

__all__ = ["brightness_gradient", "local_gamma"]

_EITHER_SIGN = Distribution("ranges", np.array([-1, 0.2], np.float32), np.array([-0.2, 1], np.float32))
_EITHER_SIDE = Distribution("log_ranges", np.array([0.5, 1.5], np.float32), np.array([0.8, 3.0], np.float32))


def _at_place(image: Image, kernel: Any, amount: Any, center: Any, width: Any) -> Image:
    """Applies a kernel of one item; places and widths have their three numbers last."""
    depth = len(image.batch_shape)
    center, width = jnp.moveaxis(center, -1, depth), jnp.moveaxis(width, -1, depth)
    return image.with_voxels(over_batch(kernel, depth)(image.voxels, amount, center, width))


@step
class brightness_gradient(IntensityStep):
    """Adds a Gaussian hill or hollow, so that one side of the image is brighter than the other.

    The hill is scaled so that it is 0 where it is lowest in the image.

    Args:
        strength: What is added where the hill is highest in the image.
        center: Where its top lies, in extents of the image from its first face; it may lie outside.
        width: Its standard deviation along each axis, in extents of the image; a pair is a range whose logarithm is
            uniform.
        relative: "std" for a strength in standard deviations of the image; `None` for its own unit.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.zeros((5, 1, 1)))
        >>> hill = {"center": mj.augment.fixed((0.5, 0.5, 0.5)), "width": mj.augment.fixed((0.2, 1, 1))}
        >>> step = mj.augment.brightness_gradient(strength=4, relative=None, p=1, **hill)
        >>> [round(float(x), 2) for x in step(jax.random.key(0), image).voxels.ravel()]
        [0.0, 2.18, 4.0, 2.18, 0.0]

    Source: nnU-Net's "DA5" (Isensee et al., batchgeneratorsv2, `BrightnessGradientAdditiveTransform`).
    """

    strength: Spread = drawn(_EITHER_SIGN)
    center: Spread = drawn((-0.5, 1.5), "of the extent", shape=(3,))
    width: Spread = drawn((1 / 6, 1.0), "of the extent", how="log_uniform", shape=(3,), least=1e-6)
    relative: Literal["std"] | None = "std"
    p: Scalar = 0.15

    def check(self) -> None:
        if self.relative is not None:
            check_choice(self.relative, "relative", ("std",))

    def change(self, image: Image, strength: Any, center: Any, width: Any) -> Image:
        kernel = functools.partial(brightened_locally, is_relative=self.relative == "std")
        return _at_place(image, kernel, strength, center, width)


@step
class local_gamma(IntensityStep):
    """Bends intensities by a power, as `gamma` does, but only near a place that is drawn.

    Args:
        log_gamma: Natural logarithm of the power; 0 changes nothing.
        center: The place, in extents of the image from its first face; it may lie outside.
        width: Standard deviation along each axis of the Gaussian that fades the change, in extents of the image; a pair
            is a range whose logarithm is uniform.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 0.25, 1, 0.25, 0]).reshape(5, 1, 1))
        >>> place = {"center": mj.augment.fixed((0.3, 0.5, 0.5)), "width": mj.augment.fixed((0.1, 1, 1))}
        >>> step = mj.augment.local_gamma(log_gamma=np.log(0.5), p=1, **place)
        >>> [round(float(x), 2) for x in step(jax.random.key(0), image).voxels.ravel()]
        [0.0, 0.5, 1.0, 0.25, 0.0]

    Source: nnU-Net's "DA5" (Isensee et al., batchgeneratorsv2, `LocalGammaTransform`).
    """

    log_gamma: Spread = drawn(_EITHER_SIDE)
    center: Spread = drawn((-0.5, 1.5), "of the extent", shape=(3,))
    width: Spread = drawn((1 / 6, 1.0), "of the extent", how="log_uniform", shape=(3,), least=1e-6)
    p: Scalar = 0.15

    def change(self, image: Image, log_gamma: Any, center: Any, width: Any) -> Image:
        return _at_place(image, gamma_adjusted_locally, jnp.exp(log_gamma), center, width)
