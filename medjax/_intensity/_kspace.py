"""Artefacts of MR that are masks in k-space: truncation, ghosts, spikes. None needs a Fourier transform."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import Axis, PerItem, Triple
from medjax._image._image import Image
from medjax._intensity._parameters import Limits, amount_for, voxels_of
from medjax._intensity._resolution import of_each_axis
from medjax._intensity._statistics import moments, selected
from medjax._kernels._axis_matrix import along_axes
from medjax._kernels._batch import by_item, keeping_sharding
from medjax._kernels._compiled import compiled
from medjax._kernels._frequency import comb_matrix, low_pass_matrix
from medjax._kernels._values import as_float, exactly

__all__ = ["Along", "axis_for", "ghosting", "gibbs", "spike", "with_spike"]


def gibbs(image: Image, keep: Triple) -> Image:
    r"""Leaves the low frequencies of an image, so that edges ring.

    Along each axis those with $|k| \le \mathrm{keep}\,n / 2$ stay.

    The cutoff is symmetric about frequency 0, on axes of even length too. The field of view is periodic, as in a
    scanner: what rings over one face comes in at the other. An axis of one voxel stays as it is.

    Args:
        image: Intensities, any batch, any channels.
        keep: Share of the spectrum that is kept along an axis, 0 to 1; 1 changes nothing, to the bit: one number, three
            for i, j and k, or `(*batch, *channels, 3)` in whole or in part, as values broadcast elsewhere.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on), with the mean of the image.

    Raises:
        ValueError: the image holds labels, or `keep` lies outside 0 to 1 or has another shape.

    Transforms:
        Differentiable in the voxels. `keep` decides a whole number of frequencies, so it has no gradient. Compiles once
        per shape and dtype, not per share.

    Example:
        >>> image = mj.Image.from_array(np.array([0, 0, 0, 0, 8, 8, 8, 8], np.int16).reshape(8, 1, 1))
        >>> [round(float(x), 2) for x in mj.gibbs(image, 0.5).voxels.ravel()]
        [2.0, -0.83, -0.83, 2.0, 6.0, 8.83, 8.83, 6.0]

    Source: the discrete Fourier transform; Hargreaves, Rapid gradient-echo imaging, J. Magn. Reson. Imaging 36, 2012.
    """
    voxels = voxels_of(image, "gibbs")
    share = amount_for(image, keep, "keep", Limits(least=0, most=1), tail=(3,))
    return image.with_voxels(_truncated(voxels, share, depth=len(image.batch_shape)))


@functools.partial(compiled, static_argnames="depth")
def _truncated(voxels: Shaped[Array, "*shape"], keep: Num[Array, "*keep"], depth: int) -> Float[Array, "*shape"]:
    def truncated(voxels: Any, keep: Any) -> Any:
        x = as_float(voxels)
        shares, sizes = of_each_axis(keep.astype(x.dtype), depth), x.shape[depth : depth + 3]
        return along_axes(x, [low_pass_matrix(share, n) for share, n in zip(shares, sizes, strict=True)], depth)

    return keeping_sharding(truncated, depth)(voxels, keep)


def ghosting(
    image: Image, count: PerItem, intensity: PerItem, *, axis: Axis | PerItem, restore: PerItem = 0.05
) -> Image:
    r"""Adds ghosts along the phase axis, as periodic motion does: every `count`-th line of k-space is weakened.

    Lines $k$ with $k \bmod \mathrm{count} = 0$, counted from frequency 0, are multiplied by 1 - `intensity`. The
    lines about the centre stay as they are, and frequency 0 always does, so that the mean is kept. There are `count`
    replicas, `n / count` voxels apart.

    Args:
        image: Intensities, any batch, any channels.
        count: Number of ghosts, a whole number of at least 1: one, or what broadcasts to `(*batch, *channels)`: `(c,)`
            per channel, `(b, 1)` per item, `(b,)` per item without channels.
        intensity: The share by which lines are weakened; 0 changes nothing, to the bit, 1 removes them. Likewise.
        axis: The phase axis, i, j or k; or the numbers 0, 1 and 2, likewise for each item, which may be traced.
        restore: Share of all lines, about the centre, that stay as they are, 0 to 1, likewise.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels, the axis is unknown, or a parameter is out of its limits or of another
            shape.

    Transforms:
        Differentiable in the voxels and `intensity`. Compiles once per shape, dtype and axis that is known.

    Example:
        >>> image = mj.Image.from_array(np.eye(1, 8).reshape(8, 1, 1))
        >>> [round(float(x), 4) for x in mj.ghosting(image, 2, 0.5, axis="i").voxels.ravel()]
        [0.8125, 0.0625, 0.0625, 0.0625, -0.1875, 0.0625, 0.0625, 0.0625]

    Source: Axel et al., Respiratory effects in two-dimensional Fourier transform MR imaging, Radiology 160, 1986.
    """
    voxels = voxels_of(image, "ghosting")
    number = amount_for(image, count, "count", Limits(least=1))
    if not is_traced(number) and (number != np.round(number)).any():
        raise ValueError(f"count must be a whole number of ghosts, got {count!r}")
    numbers = (
        number,
        amount_for(image, intensity, "intensity"),
        amount_for(image, restore, "restore", Limits(least=0, most=1)),
    )
    return image.with_voxels(_ghosted(voxels, numbers, axis_for(image, axis), depth=len(image.batch_shape)))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["numbers"], meta_fields=["known"])
@dataclasses.dataclass(frozen=True)
class Along:
    """An axis that items share, or one for each of them.

    Attributes:
        known: 0, 1 or 2 for one that all share, which is static; else `None`.
        numbers: The axis of each item as `amount_for` shapes it; `None` where all share one.
    """

    known: int | None
    numbers: Any = None

    @property
    def candidates(self) -> tuple[int, ...]:
        """The axes that some item may have."""
        return (0, 1, 2) if self.known is None else (self.known,)

    def holds(self, axis: int, depth: int) -> Any:
        """Whether each item has this axis, `(*batch, *channels)`, where they have their own."""
        return without_space(self.numbers, depth) == axis


def axis_for(image: Image, axis: Any) -> Along:
    """Reads an axis of an image.

    Raises:
        ValueError: it is none.
    """
    if not is_traced(axis) and (isinstance(axis, str) or not np.ndim(axis)):
        if axis not in (0, 1, 2, "i", "j", "k") or isinstance(axis, bool):
            raise ValueError(f"axis must be 0, 1, 2, 'i', 'j' or 'k', got {axis!r}")
        return Along("ijk".index(axis) if isinstance(axis, str) else int(axis))
    numbers = amount_for(image, axis, "axis")
    if not is_traced(numbers) and not np.isin(numbers, (0, 1, 2)).all():
        raise ValueError(f"axis must be 0, 1 or 2 for each item, got {numbers.tolist()}")
    return Along(None, numbers)


@functools.partial(compiled, static_argnames="depth")
def _ghosted(voxels: Shaped[Array, "*shape"], numbers: Any, along: Along, depth: int) -> Float[Array, "*shape"]:
    def ghosted(voxels: Any, numbers: Any, along: Along) -> Any:
        x = as_float(voxels)
        count, intensity, restore = (without_space(number.astype(x.dtype), depth) for number in numbers)
        matrices: list[Any] = [None, None, None]
        for a in along.candidates:
            own = intensity if along.numbers is None else jnp.where(along.holds(a, depth), intensity, 0)
            count, own, restore = jnp.broadcast_arrays(count, own, restore)
            matrices[a] = comb_matrix(count, own, restore, x.shape[depth + a])
        return along_axes(x, matrices, depth)

    return keeping_sharding(ghosted, depth)(voxels, numbers, along)


def without_space(numbers: Any, depth: int) -> Any:
    """Of `(*batch, 1, 1, 1, *channels)` the values, `(*batch, *channels)`."""
    return numbers.reshape(numbers.shape[:depth] + numbers.shape[depth + 3 :])


def spike(image: Image, frequency: Triple, intensity: PerItem) -> Image:
    r"""Adds the stripes of a spike in k-space: $y = x + s\,A \cos(2 \pi \sum_a k_a i_a / n_a)$.

    $A = \max(|\bar x|, \mathrm{sd}(x))$ over an item's channel. Of an image without negative voxels $N \bar x$ is the
    largest value of the spectrum of its $N$ voxels, to which MR simulators relate a spike; of a normalised image it is
    near 0, and the deviation takes its place.

    Args:
        image: Intensities, any batch, any channels.
        frequency: $k$, periods over the field of view along i, j and k: three numbers, one for all, or `(*batch,
            *channels, 3)` in whole or in part. Whole numbers are lines of k-space.
        intensity: $s$; 0 changes nothing, to the bit: one number, or what broadcasts to `(*batch, *channels)`: `(c,)`
            per channel, `(b, 1)` per item, `(b,)` per item without channels.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on). Voxels that are not finite stay so, and do
        not count for $A$.

    Raises:
        ValueError: the image holds labels, or a parameter is not finite or of another shape.

    Transforms:
        Differentiable in the voxels, `frequency` and `intensity`. Compiles once per shape and dtype.

    Example:
        >>> image = mj.Image.from_array(np.full((4, 1, 1), 10.0))
        >>> mj.spike(image, (1, 0, 0), 0.5).voxels.ravel().round(4).tolist()
        [15.0, 10.0, 5.0, 10.0]

    Source: the inverse discrete Fourier transform of one line; TorchIO's `RandomSpike`.
    """
    voxels = voxels_of(image, "spike")
    wave, amount = amount_for(image, frequency, "frequency", tail=(3,)), amount_for(image, intensity, "intensity")
    return image.with_voxels(_spiked(voxels, wave, amount, depth=len(image.batch_shape)))


@functools.partial(compiled, static_argnames="depth")
def _spiked(
    voxels: Shaped[Array, "*shape"],
    frequency: Num[Array, "*frequency"],
    intensity: Num[Array, "*intensity"],
    depth: int,
) -> Float[Array, "*shape"]:
    return by_item(with_spike, depth)(voxels, frequency, intensity)


def with_spike(voxels: Any, frequency: Any, intensity: Any) -> Any:
    """The voxels of one item; the frequency is `(1, 1, 1, *channels, 3)`, the intensity `(1, 1, 1, *channels)`."""
    x = as_float(voxels)
    found = moments(x, x, selected(voxels, None, (0, 1, 2))[0])
    turns: Any = 0
    for axis, size in enumerate(x.shape[:3]):
        place = (jnp.arange(size).astype(x.dtype) / size).reshape((1,) * axis + (size,) + (1,) * (x.ndim - axis - 1))
        turn = frequency[..., axis].astype(x.dtype) * place
        turns = turns + turn - jnp.round(turn)  # a sum of many turns would lose digits
    wave = jnp.maximum(jnp.abs(found.mean), found.deviation) * jnp.cos(2 * np.pi * turns)
    return exactly(intensity == 0, x, x + intensity.astype(x.dtype) * wave)
