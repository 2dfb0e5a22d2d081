"""What is measured in a region of any image: how many voxels, and how their values are distributed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from medjax._geometry._grid import voxel_volume
from medjax._geometry._numbers import is_traced
from medjax._geometry._types import Leaf, Number
from medjax._image._checks import check_same_grid
from medjax._image._image import Image, check_image
from medjax._image._operators import check_amounts
from medjax._image._result import result
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import at_once, compiled
from medjax._kernels._values import as_float, without_wrapping
from medjax._lazy import public
from medjax._mask._voxels import labels_of

__all__ = ["RegionStatistics", "region_statistics", "sums_of"]

# Sums in float32 add up partial sums of at most this many voxels, which keeps them right to 1e-6 over 1e8 voxels.
_ADDED_AT_ONCE = 64


@public("medjax")
@result
@dataclasses.dataclass(frozen=True)
class RegionStatistics:
    """Measures of a region, `(*batch, *channels)`, or of every label, `(*batch, *channels, num_classes)`.

    Values are statistics of the finite voxels, in the image's unit. They are NaN for a label without a finite voxel.

    Attributes:
        voxel_count: Number of voxels of the region, int32, `(*batch,)` or `(*batch, num_classes)`.
        volume_ml: Volume of these voxels in ml, of the same shape.
        mean: Mean.
        std: Standard deviation, over n.
        min: Smallest value.
        max: Largest value.
        median: The 50th percentile.
        percentiles: The requested percentiles, as last axis.

    Example:
        >>> image = mj.Image.from_array(np.arange(8.0).reshape(2, 2, 2), spacing=10.0)
        >>> found = mj.region_statistics(image, image > 3)
        >>> int(found.voxel_count), float(found.volume_ml), float(found.mean), float(found.max)
        (4, 4.0, 5.5, 7.0)
    """

    voxel_count: Leaf
    volume_ml: Leaf
    mean: Leaf
    std: Leaf
    min: Leaf
    max: Leaf
    median: Leaf
    percentiles: Leaf


def region_statistics(
    image: Image,
    mask: Image,
    *,
    num_classes: int | None = None,
    percentiles: Number | Sequence[Number] | np.ndarray = (10, 25, 50, 75, 90),
) -> RegionStatistics:
    """Measures the voxels of a region, or of every label of a label map.

    Percentiles are those of NumPy's method "linear". NaN and infinite voxels count for the volume, not for the values.

    Args:
        image: Intensities, any batch, any channels.
        mask: On the same grid, booleans or integers, without channels; one for each item of a batch, or one for all.
        num_classes: `None` measures all voxels that are not 0 as one region. A number measures labels 0 to
            `num_classes - 1`; label 0 is the background.
        percentiles: Any number of percentiles, within 0 to 100.

    Returns:
        The measures, float32 (float64 if the voxels are and x64 is on), with the label as last axis.

    Raises:
        ValueError: the mask lies on another grid, has channels or holds fractions, a label is not below `num_classes`,
            or a percentile is not within 0 to 100.

    Transforms:
        `jit`, `vmap`, differentiable in `image.voxels` (percentiles: in the voxels that were picked). Compiles once per
        shape, dtype, `num_classes` and percentiles. Traced labels out of range are left out.

    Example:
        >>> image = mj.Image.from_array(np.array([1.0, 2.0, 4.0, 8.0, 9.0]).reshape(5, 1, 1), spacing=10.0)
        >>> mask = mj.Image.from_array(np.array([0, 1, 1, 2, 2]).reshape(5, 1, 1), spacing=10.0, kind="label")
        >>> found = mj.region_statistics(image, mask, num_classes=3)
        >>> found.mean.tolist(), found.median.tolist(), found.voxel_count.tolist()
        ([1.0, 3.0, 8.5], [1.0, 3.0, 8.5], [1, 2, 2])

    Source:
        Image Biomarker Standardisation Initiative, reference manual, section 3.3 (intensity-based statistical
        features). Its percentiles take the nearest rank.
    """
    check_image(image, "image")
    check_same_grid(image, mask, "mask", batch="same or none")
    check_amounts(image, "region_statistics")
    shares = _shares(percentiles)
    labels, affine = labels_of(mask, num_classes, "region_statistics"), image.grid.affine
    count, values = _measured(
        without_wrapping(image.voxels), labels, len(image.batch_shape), len(image.channels), num_classes, (*shares, 0.5)
    )
    with at_once(count, affine):
        volume = jnp.asarray(voxel_volume(affine) / 1000, jnp.float32)
        volume = volume if num_classes is None else volume[..., None]
        ranked = values.pop("percentiles")
        return RegionStatistics(
            count, volume * count.astype(jnp.float32), **values, median=ranked[..., -1], percentiles=ranked[..., :-1]
        )


def _shares(percentiles: Any) -> tuple[float, ...]:
    if is_traced(percentiles):
        raise ValueError("percentiles must be plain numbers: they choose voxels by rank, which has no derivative")
    try:
        found = np.asarray(percentiles, np.float64).reshape(-1)
    except (TypeError, ValueError):
        found = np.array([np.nan])
    if not ((found >= 0) & (found <= 100)).all():
        raise ValueError(f"percentiles must be numbers within 0 to 100, got {percentiles!r}")
    return tuple((found / 100).tolist())


@functools.partial(compiled, static_argnums=(2, 3, 4, 5))
def _measured(
    voxels: Num[Array, ...],
    labels: Int[Array, ...],
    depth: int,
    tail: int,
    classes: int | None,
    shares: tuple[float, ...],
) -> tuple[Int[Array, ...], dict[str, Float[Array, ...]]]:
    values = as_float(voxels)
    if tail:
        space = tuple(range(depth, depth + 3))
        values = values.transpose((*range(depth), *range(depth + 3, depth + 3 + tail), *space))
    number = classes or 1
    ids = 1 - labels if classes is None else jnp.where((labels >= 0) & (labels < number), labels, number)
    has_batch = labels.ndim > 3
    own_depth = depth if has_batch else 0

    def counted(ids: Any) -> Any:
        return jax.ops.segment_sum(jnp.ones_like(ids.reshape(-1)), ids.reshape(-1), number + 1)[:number]

    count = over_batch(counted, own_depth)(ids)
    count = count if has_batch else jnp.broadcast_to(count, (*values.shape[:depth], number))
    measure = functools.partial(_measure, classes=number, shares=shares)
    for _ in range(tail):
        measure = jax.vmap(measure, in_axes=(0, None))
    found = over_batch(measure, depth, in_axes=(0, 0 if has_batch else None))(values, ids)
    if classes is None:
        found = {name: x[..., 0, :] if name == "percentiles" else x[..., 0] for name, x in found.items()}
        count = count[..., 0]
    return count, found


def _measure(
    values: Float[Array, "i j k"], ids: Int[Array, "i j k"], *, classes: int, shares: tuple[float, ...]
) -> dict[str, Float[Array, ...]]:
    """Takes statistics of each class over its finite voxels; one sort by class and value serves all ranks."""
    values, ids = values.reshape(-1), ids.reshape(-1)
    ids = jnp.where(jnp.isfinite(values), ids, classes)
    values = jnp.where(ids < classes, values, 0)
    count = jax.ops.segment_sum(jnp.ones_like(ids), ids, classes + 1)
    ids, values = jax.lax.sort((ids, values), num_keys=2)
    start, size = (jnp.cumsum(count) - count)[:classes], count[:classes]
    last = jnp.maximum(size - 1, 0)

    def at(rank: Any) -> Any:
        return values.at[jnp.minimum(start + rank, values.size - 1)].get(mode="promise_in_bounds")

    def percentile(share: float) -> Any:
        rank = last.astype(values.dtype) * share
        # Ranks above 2^24 need integers; float32 is enough for the remainder.
        whole = jnp.minimum(jnp.floor(rank).astype(jnp.int32), last)
        part = rank - whole.astype(values.dtype)
        below, above = at(whole), at(jnp.minimum(whole + 1, last))
        return jnp.where(part > 0, below + part * (above - below), below)

    is_there, number = size > 0, jnp.maximum(size, 1).astype(values.dtype)
    middle = jax.lax.stop_gradient(at(last // 2))
    offset = values - jnp.append(middle, 0)[ids]
    shift = sums_of(offset, ids, classes + 1)[:classes] / number
    rest = offset - jnp.append(shift, 0)[ids]
    variance = sums_of(rest * rest, ids, classes + 1)[:classes] / number
    is_flat = variance <= 0
    std = jnp.where(is_flat, 0, jnp.sqrt(jnp.where(is_flat, 1, variance)))
    found = {"mean": middle + shift, "std": std, "min": at(jnp.zeros_like(last)), "max": at(last)}
    found = {name: jnp.where(is_there, x, jnp.nan) for name, x in found.items()}
    ranked = jnp.stack([percentile(share) for share in shares], -1)
    return found | {"percentiles": jnp.where(is_there[:, None], ranked, jnp.nan)}


def sums_of(values: Float[Array, " n"], ids: Int[Array, " n"], classes: int) -> Float[Array, " l"]:
    """Sums each class, by partial sums of neighbouring voxels."""
    parts = -(-ids.size // _ADDED_AT_ONCE)
    part = ids * parts + jnp.arange(ids.size, dtype=ids.dtype) // _ADDED_AT_ONCE
    return jax.ops.segment_sum(values, part, classes * parts).reshape(classes, parts).sum(-1)
