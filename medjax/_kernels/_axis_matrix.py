"""Linear filters along the axes: a full matrix `(n, n)` for each axis, whose entries may be traced."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from medjax._kernels._batch import in_all_items

__all__ = ["along_axes", "coarse_matrix", "gaussian_matrix"]

# Where the kernel ends, in sigmas: SciPy's default.
TRUNCATE = 4.0


def gaussian_matrix(sigma: Any, radius: Any, size: int, periods: int) -> Any:
    """The matrix of a Gaussian filter along an axis whose ends reflect: d c b a | a b c d | d c b a.

    Args:
        sigma: In voxels, `(*lead,)`.
        radius: Where the kernel ends, a whole number of voxels, `(*lead,)`.
        size: Voxels along the axis.
        periods: How many times the axis and its mirror image are repeated on either side: the kernel ends within
            `2 size periods` voxels.

    Returns:
        `(*lead, size, size)`, output by input; each row sums to 1.

    Example:
        >>> gaussian_matrix(jnp.asarray(1e-3), jnp.asarray(0.0), 3, 1).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    # Below an eighth of a voxel the radius is 0. The lower limit keeps the gradient finite.
    width = jnp.maximum(sigma, 0.1)[..., None, None, None]
    reach = radius[..., None, None, None]

    def weight(distance: Any) -> Any:
        offset = distance.astype(sigma.dtype).reshape((1,) * sigma.ndim + distance.shape)
        ratio = offset / width
        return jnp.where(jnp.abs(offset) <= reach, jnp.exp(-0.5 * ratio * ratio), 0).sum(-3)

    index = jnp.arange(size)
    out, source = index[:, None], index[None, :]
    shift = (2 * size * jnp.arange(-periods, periods + 1))[:, None, None]  # one sum, however many periods there are
    total = weight(source[None] + shift - out[None]) + weight(shift - 1 - source[None] - out[None])
    return total / total.sum(-1, keepdims=True)


def coarse_matrix(ratio: Any, size: int, *, is_smooth: bool) -> Any:
    """The matrix of an axis that is sampled coarsely and brought back by linear interpolation.

    Of `n` voxels `n' = round(n / ratio)` remain, at least 1. Sample j lies at `c_j = (j + 1/2) n / n' - 1/2`. Between
    samples the result is linear, and beyond the outer ones it is theirs.

    Args:
        ratio: New spacing over the image's, `(*lead,)`. 1 and less give the identity.
        size: `n`.
        is_smooth: Whether a sample is a mean under a Gaussian of 0.75 new voxels, mirrored at the ends, or the voxel
            that is nearest to `c_j`, of two the upper one.

    Returns:
        `(*lead, size, size)`, output by input; each row sums to 1.

    Example:
        >>> coarse_matrix(jnp.asarray(2.0), 4, is_smooth=False).tolist()[1:3]
        [[0.0, 0.75, 0.0, 0.25], [0.0, 0.25, 0.0, 0.75]]
    """
    source = jnp.arange(size, dtype=jnp.int32).reshape((1,) * ratio.ndim + (size,))
    along = source[..., None, :]
    # As `rescaled_size` of float32: a result that is a half but for rounding is rounded up.
    count = jnp.clip(jnp.floor(size / jnp.maximum(ratio, 1) * (1 + 1e-6) + 0.5 + 1e-5), 1, size).astype(jnp.int32)
    count = count[..., None]
    place = (2 * source + 1) * count - size  # in halves of an n-th of a sample: whole numbers, so that ties are exact
    first = place // (2 * size)
    weight = ((place - 2 * size * first).astype(ratio.dtype) / (2 * size))[..., None]

    def row(sample: Any) -> Any:
        sample = jnp.clip(sample, 0, count - 1)
        if not is_smooth:
            return ((2 * sample + 1) * size // (2 * count))[..., None] == along
        pitch = (size / count.astype(ratio.dtype))[..., None]
        center = (sample.astype(ratio.dtype) + 0.5)[..., None] * pitch - 0.5
        total: Any = 0
        for period in range(-2, 3):
            for mirrored in (2 * size * period + along, 2 * size * period - 1 - along):
                offset = (mirrored.astype(ratio.dtype) - center) / (0.75 * pitch)
                total = total + jnp.where(jnp.abs(offset) <= TRUNCATE, jnp.exp(-0.5 * offset * offset), 0)
        is_whole = (count == size)[..., None]
        return jnp.where(
            is_whole, (sample[..., None] == along).astype(ratio.dtype), total / total.sum(-1, keepdims=True)
        )

    low, high = row(first).astype(ratio.dtype), row(first + 1).astype(ratio.dtype)
    return (1 - weight) * low + weight * high


def along_axes(voxels: Any, matrices: Sequence[Any], depth: int) -> Any:
    """Multiplies i, j and k by a matrix each. Values that are not finite reach no further than a row's weights.

    Args:
        voxels: `(*batch, i, j, k, *channels)`, floating point.
        matrices: One for each axis, `(*batch, *channels, n, n)` with 1 where it is shared; `None` for an axis that
            stays.
        depth: Number of batch axes.
    """
    finite = jnp.isfinite(voxels)

    def spread() -> Any:
        """Infinities and NaN go wherever a weight of theirs does, as in a sum of products over the kernel alone."""
        reach = [None if matrix is None else (matrix != 0).astype(voxels.dtype) for matrix in matrices]
        known = _product(jnp.where(finite, voxels, 0), matrices, depth)
        up = _product((jnp.isnan(voxels) | (voxels == jnp.inf)).astype(voxels.dtype), reach, depth) > 0
        down = _product((jnp.isnan(voxels) | (voxels == -jnp.inf)).astype(voxels.dtype), reach, depth) > 0
        infinite = jnp.where(up & down, jnp.nan, jnp.where(up, jnp.inf, -jnp.inf)).astype(voxels.dtype)
        return jnp.where(up | down, infinite, known)

    return jax.lax.cond(in_all_items(finite.all()), lambda: _product(voxels, matrices, depth), spread)


def _product(voxels: Any, matrices: Sequence[Any], depth: int) -> Any:
    names = string.ascii_lowercase[: voxels.ndim]
    lead = names[:depth] + names[depth + 3 :]
    for axis, matrix in enumerate(matrices):
        if matrix is None:
            continue
        own = "".join(name for name, count in zip(lead, matrix.shape[:-2], strict=True) if count > 1)
        square = matrix.reshape([n for n in matrix.shape[:-2] if n > 1] + list(matrix.shape[-2:]))
        inner = names[depth + axis]
        spec = f"{own}Z{inner},{names}->{names.replace(inner, 'Z')}"
        voxels = jnp.einsum(spec, square, voxels, precision=jax.lax.Precision.HIGHEST)
    return voxels
