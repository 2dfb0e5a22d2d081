"""Steps that blank or exchange boxes, and one that bends the histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from medjax._geometry._types import Number, Scalar
from medjax._image._checks import check_count, three_integers
from medjax._image._image import Image
from medjax._intensity import cutout as with_boxes_blank
from medjax._intensity import histogram_shift as with_histogram_shifted
from medjax._intensity import swap_boxes
from medjax.augment._distribution import Spread
from medjax.augment._step import IntensityStep, drawn, step

__all__ = ["cutout", "histogram_shift", "swap"]


@step
class cutout(IntensityStep):
    """Blanks boxes of an image, `mj.cutout`.

    Args:
        size: Of a box along each axis, in extents of the image.
        holes: The least and the largest number of boxes; static.
        fill: "mean" for the mean of the image, or a number; static.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.ones((8, 8, 8)))
        >>> out = mj.augment.cutout(holes=(1, 1), size=0.5, fill=0, p=1)(jax.random.key(0), image)
        >>> float((out.voxels == 0).sum())
        64.0
    """

    size: Spread = drawn((0.1, 0.33), "of the extent", shape=(3,), least=0)
    holes: Sequence[int] = (1, 5)
    fill: Literal["mean"] | Number = "mean"
    p: Scalar = 0.2

    def check(self) -> None:
        holes = (self.holes, self.holes) if isinstance(self.holes, int) else self.holes
        if len(holes) != 2 or not 0 <= holes[0] <= holes[1] or holes[1] < 1:
            raise ValueError(f"holes must be the least and the largest number of boxes, got {self.holes!r}")
        object.__setattr__(self, "holes", holes)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"size": (self.holes[1], 3), "place": (self.holes[1], 3), "holes": ()}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        least, most = self.holes
        count = least + jnp.floor(numbers["holes"] * (most - least + 1))
        found = super().values(numbers)
        is_there = jnp.arange(most, dtype=jnp.float32).reshape((1,) * count.ndim + (-1,)) < count[..., None]
        return found | {"size": jnp.where(is_there[..., None], found["size"], 0), "place": numbers["place"]}

    def change(self, image: Image, size: Any, place: Any) -> Image:
        sizes = jnp.asarray(image.shape, jnp.float32).reshape((1,) * (size.ndim - 1) + (3,))
        count = jnp.where(size > 0, jnp.clip(jnp.round(size * sizes), 1, sizes), 0)
        return with_boxes_blank(image, jnp.floor(place * (sizes - count + 1)), count, fill=self.fill)


@step
class swap(IntensityStep):
    """Exchanges pairs of boxes that do not overlap, `mj.swap_boxes`: texture stays, and places are wrong.

    Args:
        size: Voxels of each box, one number or three; no more than half of the image along each axis are used.
        count: How many pairs are exchanged, one after the other.
        p: Probability that an image is changed.
        only, skip, shared, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.arange(512.0).reshape(8, 8, 8))
        >>> out = mj.augment.swap(size=2, count=3, p=1)(jax.random.key(0), image).voxels
        >>> bool((np.sort(out.ravel()) == image.voxels.ravel()).all()), bool((out != image.voxels).any())
        (True, True)
    """

    computes_for: ClassVar[Literal["all", "batch", "item"]] = "item"
    differs_by_channel: ClassVar[bool] = False
    size: int | Sequence[int] = 15
    count: int = 20
    p: Scalar = 0.1

    def check(self) -> None:
        object.__setattr__(self, "size", three_integers(self.size, "size", least=1))
        check_count(self.count, "count")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"place": (self.count, 8)}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().values(numbers), "place": numbers["place"]}

    def change(self, image: Image, place: Any) -> Image:
        """Along one axis, which is drawn, the second box begins behind the end of the first; else they lie anywhere."""
        box = [max(1, min(size, n // 2)) for size, n in zip(self.size, image.shape, strict=True)]  # type: ignore[arg-type]
        apart = [axis for axis, n in enumerate(image.shape) if n > 1]
        if not apart:
            return image
        axis = jnp.asarray(apart)[jnp.floor(place[..., 6] * len(apart)).astype(jnp.int32)]
        first, second = [], []
        for d, (size, n) in enumerate(zip(box, image.shape, strict=True)):
            anywhere = [jnp.floor(place[..., m] * (n - size + 1)) for m in (d, d + 3)]
            room = max(n - 2 * size + 1, 1)
            low = jnp.floor(place[..., d] * room)
            high = low + size + jnp.floor(place[..., d + 3] * (room - low))
            is_back = place[..., 7] < 0.5
            first.append(jnp.where(axis == d, jnp.where(is_back, high, low), anywhere[0]))
            second.append(jnp.where(axis == d, jnp.where(is_back, low, high), anywhere[1]))
        return swap_boxes(image, jnp.stack(first, -1), jnp.stack(second, -1), tuple(box))


@step
class histogram_shift(IntensityStep):
    """Moves intensities along a rising line of several pieces, `mj.histogram_shift`: their order stays.

    Args:
        strength: Share of a random rising line in the line; 0 changes nothing.
        points: Places between the extremes where the line bends; static.
        p: Probability that an image is changed.
        only, skip, shared, per_channel, name: As for every step of intensities.

    Example:
        >>> image = mj.Image.from_array(np.arange(64.0).reshape(4, 4, 4))
        >>> out = mj.augment.histogram_shift(p=1)(jax.random.key(0), image).voxels.ravel()
        >>> bool((np.diff(out) >= 0).all()), float(out[0]), float(out[-1])
        (True, 0.0, 63.0)
    """

    strength: Spread = drawn((0.2, 0.8), least=0)
    points: int = 10
    p: Scalar = 0.1

    def check(self) -> None:
        check_count(self.points, "points")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"strength": (), "shifts": (self.points,)}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        found = super().values(numbers)
        rising = jnp.sort(numbers["shifts"], axis=-1)
        even = np.arange(1, self.points + 1, dtype=np.float32) / (self.points + 1)
        away = rising - jnp.asarray(even).reshape((1,) * (rising.ndim - 1) + (-1,))
        return found | {"shifts": jnp.clip(found["strength"], 0, 1)[..., None] * away}

    def change(self, image: Image, strength: Any, shifts: Any) -> Image:
        return with_histogram_shifted(image, shifts)
