"""Steps that act as an MR scanner's k-space does: motion, ghosts, spikes, ringing, and coarser voxels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from medjax._geometry._types import Axis, Scalar
from medjax._image._checks import check_choice, check_count
from medjax._image._image import Image
from medjax._intensity import degrade_resolution
from medjax._intensity import ghosting as with_ghosting
from medjax._intensity import gibbs as with_gibbs
from medjax._intensity import motion as with_motion
from medjax._intensity import spike as with_spike
from medjax.augment._distribution import Spread
from medjax.augment._step import IntensityStep, drawn, step

__all__ = ["ghosting", "gibbs", "low_resolution", "motion", "spike"]

_AXES = {"i": 0, "j": 1, "k": 2, 0: 0, 1: 1, 2: 2}


class _AlongAxis:
    """What steps along a phase axis share: the axis is an option, or drawn among those with several voxels."""

    axis: Any

    def check(self) -> None:
        if self.axis != "any" and self.axis not in _AXES:
            raise ValueError(f"axis must be 'any', 0, 1, 2, 'i', 'j' or 'k', got {self.axis!r}")

    def axis_of(self, number: Any) -> Any:
        """The axis of each item from a uniform number."""
        if self.axis == "any":
            return jnp.minimum(jnp.floor(3 * number), 2)
        return jnp.full(number.shape, _AXES[self.axis], jnp.float32)

    @staticmethod
    def with_voxels(image: Image, axis: Any) -> Any:
        """The axis, or another one where the image has one voxel along it."""
        wide = [n for n, size in enumerate(image.shape) if size > 1] or [0]
        table = np.array([n if n in wide else wide[n % len(wide)] for n in range(3)], np.float32)
        return jnp.asarray(table)[axis.astype(jnp.int32)]


@step
class motion(_AlongAxis, IntensityStep):
    """Imitates a patient who moves between the lines of k-space, `mj.motion`.

    Args:
        rotation: Degrees about the world's axes of each pose; a number means plus or minus it.
        translation: mm along L, P and S of each pose; a number means plus or minus it.
        moves: How often the patient moves; static. The times are spread evenly and vary by 0.3 of their distance.
        axis: The phase axis, or "any" for one that is drawn.
        p: Probability that an image is changed.
        only, skip, shared, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.ones((8, 8, 4)))
        >>> values = mj.augment.motion(moves=2).sample(jax.random.key(0), image).values["motion"]["image"]
        >>> values["rotation"].shape, values["times"].shape
        ((2, 3), (2,))

    Source: Shaw et al., MRI k-space motion artefact augmentation, MIDL 2019.
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "item"
    differs_by_channel: ClassVar[bool] = False
    rotation: Spread = drawn(10.0, "degrees", plus_minus=True, shape=(3,))
    translation: Spread = drawn(10.0, "mm", plus_minus=True, shape=(3,))
    moves: int = 2
    axis: Axis | Literal["any"] = "any"
    p: Scalar = 0.1

    def check(self) -> None:
        super().check()
        check_count(self.moves, "moves")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"rotation": (self.moves, 3), "translation": (self.moves, 3)}

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {**super().requests(channels), "times": (self.moves,), "axis": ()}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        even = np.arange(1, self.moves + 1, dtype=np.float32) / (self.moves + 1)
        off = (0.6 * numbers["times"] - 0.3) / (self.moves + 1)
        times = jnp.asarray(even).reshape((1,) * (off.ndim - 1) + (-1,)) + off
        return {**super().values(numbers), "times": times, "axis": self.axis_of(numbers["axis"])}

    def change(self, image: Image, rotation: Any, translation: Any, times: Any, axis: Any) -> Image:
        return with_motion(image, rotation, translation, times, axis=_per_item(image, self.with_voxels(image, axis)))


def _per_item(image: Image, values: Any) -> Any:
    """One value for all channels of an item."""
    return values.reshape(values.shape + (1,) * len(image.channels))


@step
class ghosting(_AlongAxis, IntensityStep):
    """Adds ghosts along the phase axis, as periodic motion does, `mj.ghosting`.

    Args:
        count: Number of ghosts, a range of whole numbers.
        intensity: Share by which lines of k-space are weakened.
        restore: Share of all lines, about the centre, that stay as they are.
        axis: The phase axis, or "any" for one that is drawn.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.eye(1, 8).reshape(8, 1, 1))
        >>> made = mj.augment.ghosting(count=2, intensity=0.5, axis="i", p=1)
        >>> [round(float(x), 3) for x in made(jax.random.key(0), image).voxels.ravel()]
        [0.812, 0.062, 0.062, 0.062, -0.188, 0.062, 0.062, 0.062]
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    count: Spread = drawn((4, 10), how="whole", least=1)
    intensity: Spread = drawn((0.5, 1.0))
    restore: Spread = drawn(0.05, "of all lines", least=0)
    axis: Axis | Literal["any"] = "any"
    p: Scalar = 0.1

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        wanted = super().requests(channels)
        return {**wanted, "axis": wanted["count"]}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().values(numbers), "axis": self.axis_of(numbers["axis"])}

    def change(self, image: Image, count: Any, intensity: Any, restore: Any, axis: Any) -> Image:
        return with_ghosting(image, count, intensity, axis=self.with_voxels(image, axis), restore=restore)


@step
class spike(IntensityStep):
    """Adds the stripes of spikes in k-space, `mj.spike`.

    Args:
        intensity: Of each spike, relative to the largest value of the spectrum.
        count: Number of spikes; static.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.ones((8, 8, 4)))
        >>> values = mj.augment.spike(count=2).sample(jax.random.key(0), image).values["spike"]["image"]
        >>> values["frequency"].shape    # shares of the sampling frequency, -0.5 to 0.5
        (2, 3)
    """

    intensity: Spread = drawn((1.0, 3.0))
    count: int = 1
    p: Scalar = 0.1

    def check(self) -> None:
        check_count(self.count, "count")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"intensity": (self.count,), "frequency": (self.count, 3)}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().values(numbers), "frequency": numbers["frequency"] - 0.5}

    def change(self, image: Image, intensity: Any, frequency: Any) -> Image:
        sizes = jnp.asarray(image.shape, jnp.float32)
        lines = jnp.round(frequency * sizes.reshape((1,) * (frequency.ndim - 1) + (3,)))
        for number in range(self.count):
            image = with_spike(image, lines[..., number, :], intensity[..., number])
        return image


@step
class gibbs(IntensityStep):
    """Leaves the low frequencies of an image, so that edges ring, `mj.gibbs`.

    Args:
        keep: Share of the spectrum that is kept along each axis.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.repeat([0.0, 8.0], 4).reshape(8, 1, 1))
        >>> out = mj.augment.gibbs(keep=0.5, p=1)(jax.random.key(0), image)
        >>> round(float(out.voxels.mean()), 4), bool(out.voxels.max() > 8)
        (4.0, True)
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    keep: Spread = drawn((0.5, 1.0), shape=(3,), least=0)
    p: Scalar = 0.1

    def change(self, image: Image, keep: Any) -> Image:
        return with_gibbs(image, keep)


@step
class low_resolution(IntensityStep):
    """Samples an image coarsely and brings it back onto its grid, `mj.degrade_resolution`; labels stay as they are.

    Args:
        spacing_factor: By which voxels are larger, at least 1.
        axes: "all" for all axes with one factor, "one" for one axis that is drawn.
        keeps: Index axes that stay as they are.
        kernel: "nearest" for the nearest voxel, "gaussian" for a mean under a Gaussian.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.arange(8.0).reshape(8, 1, 1) ** 2)
        >>> mj.augment.low_resolution(spacing_factor=4, p=1)(jax.random.key(0), image).voxels.ravel().tolist()
        [4.0, 4.0, 8.0, 16.0, 24.0, 32.0, 36.0, 36.0]
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "batch"
    spacing_factor: Spread = drawn((1.0, 2.0), least=1)
    axes: Literal["all", "one"] = "all"
    keeps: tuple[int, ...] = ()
    kernel: Literal["nearest", "gaussian"] = "nearest"
    p: Scalar = 0.25

    def check(self) -> None:
        check_choice(self.axes, "axes", ("all", "one"))
        check_choice(self.kernel, "kernel", ("nearest", "gaussian"))
        if not set(self.keeps) < {0, 1, 2}:
            raise ValueError(f"keeps must be index axes, and not all of them, got {self.keeps!r}")

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        wanted = super().requests(channels)
        return wanted if self.axes == "all" else {**wanted, "axis": wanted["spacing_factor"]}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        found = super().values(numbers)
        factor, free = found["spacing_factor"], [axis for axis in range(3) if axis not in self.keeps]
        mask = jnp.asarray([axis in free for axis in range(3)])
        if self.axes == "one":
            drawn_axis = jnp.asarray(free)[jnp.floor(len(free) * numbers["axis"]).astype(jnp.int32)]
            mask = drawn_axis[..., None] == jnp.arange(3).reshape((1,) * drawn_axis.ndim + (3,))
        wide = jnp.broadcast_to(factor[..., None], (*factor.shape, 3))
        return found | {"spacing_factor": jnp.where(jnp.broadcast_to(mask, wide.shape), wide, 1)}

    def change(self, image: Image, spacing_factor: Any) -> Image:
        own = jnp.asarray(image.spacing, jnp.float32).reshape((*image.batch_shape, *(1,) * len(image.channels), 3))
        return degrade_resolution(image, own * spacing_factor, kernel=self.kernel)
