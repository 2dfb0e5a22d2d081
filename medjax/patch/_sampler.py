"""What a loader asks on the host: where the box of a case lies, and its voxels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from medjax._geometry._types import Fill, Number, StaticSize
from medjax._image._checks import three_integers
from medjax._image._fill import host_background
from medjax._image._image import Image, check_image
from medjax._lazy import public
from medjax._space._crop import crop, pad
from medjax.patch._draw import balanced, uniform
from medjax.patch._table import ClassTable

__all__ = ["Sampler", "sampler"]

Seed: TypeAlias = np.random.Generator | int | Sequence[int]


@public("medjax.patch")
@dataclasses.dataclass(frozen=True)
class Sampler:
    """Draws one box of a case on the host, and cuts it out; `sampler` makes it and checks its arguments.

    Attributes:
        size: Voxels of a patch along i, j, k.
        foreground: The probability of a patch about a class.
        weights: How often each label is chosen, or `None` for all alike.
        margin: Voxels around the patch that are read as well, on each side along i, j, k.
        read_size: Voxels of the box that is read: the patch and its margin.

    Example:
        >>> draw = mj.patch.sampler(size=4, margin=1)
        >>> draw.read_size, draw(0, (20, 20, 4)).tolist()
        ((6, 6, 6), [1, -1, -1])
    """

    size: tuple[int, int, int]
    foreground: Number = 0.0
    weights: Mapping[int, Number] | None = None
    margin: tuple[int, int, int] = (0, 0, 0)

    @property
    def read_size(self) -> tuple[int, int, int]:
        i, j, k = (n + 2 * m for n, m in zip(self.size, self.margin, strict=True))
        return i, j, k

    def __call__(self, rng: Seed, extent: Sequence[int] | np.ndarray, table: ClassTable | None = None) -> np.ndarray:
        """Draws where the box begins: the patch lies inside the volume, its margin may hang over.

        Args:
            rng: A generator, or the seed of a `numpy.random.Philox`, one integer or several, such as `(seed, step,
            item)`.
            extent: Voxels of the case along i, j, k.
            table: The voxels of its classes, needed with `foreground`.

        Returns:
            The index of the box's first voxel, three integers, below 0 where the margin hangs over.

        Raises:
            ValueError: `foreground` without a table.
        """
        if not isinstance(rng, np.random.Generator):
            rng = np.random.Generator(np.random.Philox(rng))
        if self.foreground and table is None:
            raise ValueError(
                f"foreground={self.foreground} needs to know where the classes lie: give the table of "
                f"mj.patch.class_table, "
                "or foreground=0"
            )
        if table is None:
            start = uniform(rng, self.size, extent)
        else:
            start = balanced(rng, table, self.size, extent, foreground=self.foreground, weights=self.weights)
        return np.asarray(start) - np.asarray(self.margin)

    def cut(self, image: Image, start: Any, *, fill: Fill | None = None) -> Image:
        """Cuts the box out of an image on the host, padded where it hangs over; only its own voxels are read.

        Args:
            image: One case's image, NumPy voxels, such as those that a memory map lends.
            start: As the sampler drew it.
            fill: The value outside. Default 0 for labels and the background of the whole image for intensities.

        Returns:
            The box, `read_size` voxels, where it lies in the world.

        Raises:
            ValueError: the image is a batch, or lies nowhere in the box.

        Example:
            >>> image = mj.Image.from_array(np.arange(5.0).reshape(5, 1, 1), spacing=2.0)
            >>> box = mj.patch.sampler(size=(3, 1, 1), margin=(1, 0, 0)).cut(image, (-1, 0, 0), fill=-7)
            >>> box.voxels.ravel().tolist(), box.origin
            ([-7.0, 0.0, 1.0, 2.0, 3.0], (-2.0, 0.0, 0.0))
        """
        check_image(image, "image")
        if image.batch_shape:
            raise ValueError(f"cut takes the image of one case, got a batch of shape {image.batch_shape}")
        first, shape = np.asarray(start), np.asarray(image.shape)
        last = first + self.read_size
        low, high = np.clip(first, 0, shape), np.clip(last, 0, shape)
        if (low >= high).any():
            raise ValueError(
                f"a box from {first.tolist()} to {last.tolist()} holds nothing of an image of {image.shape}"
            )
        before, after = low - first, last - high
        if fill is None and image.kind == "intensity":
            value = host_background(np.asarray(image.voxels))
            fill = value if np.issubdtype(image.dtype, np.inexact) else np.round(value)
        return pad(crop(image, low, high - low), before, after, fill=fill)


def sampler(
    *,
    size: StaticSize,
    foreground: Number = 0.0,
    weights: Mapping[int, Number] | None = None,
    margin: StaticSize = 0,
) -> Sampler:
    """Says how a loader draws patches: their size, how often about a class, and how much around them it reads.

    Args:
        size: Voxels of a patch along i, j, k; one integer or three.
        foreground: The probability of a patch about a class, 0 to 1; else it lies anywhere. Each patch is drawn by
            itself.
        weights: How often each label is chosen, in relation to the others. Default all that the case has alike.
        margin: Voxels to read around the patch on each side, for an augmentation that turns it:
            `mj.augment.margin(recipe, size, spacing)`. Then `recipe(keys, images, size=size)` cuts the patch out again,
            in the gather that turns it.

    Returns:
        The sampler, a function on the host: `draw(rng, extent, table)` gives the start of a box, `draw.cut(image,
            start)` its voxels.

    Raises:
        ValueError: a size below 1, a probability outside 0 to 1, or a negative margin.

    Example:
        >>> label = mj.Image.from_array(np.arange(20, dtype=np.uint8).reshape(20, 1, 1) // 19, kind="label")
        >>> draw = mj.patch.sampler(size=(5, 1, 1), foreground=1)
        >>> start = draw((7, 0), label.shape, mj.patch.class_table(label))
        >>> start.tolist(), draw.cut(label, start).voxels.ravel().tolist()
        ([15, 0, 0], [0, 0, 0, 0, 1])
    """
    sizes, around = three_integers(size, "size", least=1), three_integers(margin, "margin", least=0)
    if not 0 <= float(foreground) <= 1:
        raise ValueError(f"foreground is a probability, 0 to 1; got {foreground!r}")
    return Sampler(sizes, float(foreground), weights, around)
