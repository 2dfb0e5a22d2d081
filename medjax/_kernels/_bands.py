"""Resampling one axis after the other, where the map is axis-aligned: spacing, scale, orientation, crop, flip.

Along each axis the operator is a small matrix. For linear interpolation it has two entries a row and is applied as a
sum of takes. Its transpose has a few entries a row too, so the adjoint is the same kernel with the transposed table: a
gather, never a scatter. The matrix of a cubic spline, prefilter included, is full and is applied as a matrix product.
"""

from __future__ import annotations

import dataclasses
import string
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._taps import weighted
from medjax._kernels._transposable import Rules, linear_pair

__all__ = ["Band", "Operator", "along_axis", "dense", "transposed", "without_idle_taps"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Band:
    """A matrix with a few entries a row: `out[o] = sum_t weight[o, t] * input[index[o, t]]`.

    Attributes:
        index: `(n_out, taps)` int32.
        weight: `(n_out, taps)`; `None` takes one voxel exactly.
        size: Number of inputs; static.
        back: The transposed matrix, where a gradient may be asked for.
    """

    index: Any
    weight: Any
    size: int = dataclasses.field(metadata={"static": True})
    back: Band | None = None


Operator = Band | Any
"""A one-dimensional operator: a band, or a full matrix `(n_out, n_in)`."""


def transposed(band: Band) -> Band:
    """Returns the transposed matrix in the same form, on the host.

    Example:
        >>> band = Band(np.array([[0, 1], [1, 2]]), np.array([[0.5, 0.5], [0.25, 0.75]]), 3)
        >>> transposed(band).weight.tolist()
        [[0.5, 0.0], [0.5, 0.25], [0.75, 0.0]]
    """
    weight = np.ones(band.index.shape) if band.weight is None else band.weight
    outputs, taps = np.nonzero(weight)
    inputs = band.index[outputs, taps]
    order = np.argsort(inputs, kind="stable")
    inputs, outputs, values = inputs[order], outputs[order], weight[outputs, taps][order]
    counts = np.bincount(inputs, minlength=band.size)
    slot = np.arange(len(inputs)) - np.repeat(np.cumsum(counts) - counts, counts)
    index = np.zeros((band.size, max(1, counts.max())), np.int32)
    entries = np.zeros(index.shape, weight.dtype)
    index[inputs, slot], entries[inputs, slot] = outputs, values
    return Band(index, entries, len(band.index))


def dense(band: Band) -> np.ndarray:
    """Returns a band as a full matrix `(n_out, n_in)`."""
    matrix = np.zeros((len(band.index), band.size))
    weight = np.ones(band.index.shape) if band.weight is None else band.weight
    np.add.at(matrix, (np.arange(len(matrix))[:, None], band.index), weight)
    return matrix


def without_idle_taps(band: Band) -> Band:
    """Returns the same matrix without weights of 0: such a tap takes the other tap's voxel and half its weight.

    Twice half a voxel is the voxel, also where it is infinite. 0 times a neighbour that is NaN would be NaN.

    Example:
        >>> band = without_idle_taps(Band(np.array([[0, 1], [1, 2]]), np.array([[1.0, 0.0], [0.25, 0.75]]), 3))
        >>> band.index.tolist(), band.weight.tolist()
        ([[0, 0], [1, 2]], [[0.5, 0.5], [0.25, 0.75]])
    """
    if band.weight is None or band.index.shape[1] == 1:
        return band
    is_idle = band.weight == 0
    shares = is_idle.any(1, keepdims=True)
    index = np.where(is_idle, band.index[:, ::-1], band.index)
    return Band(index, np.where(shares, band.weight.sum(1, keepdims=True) / 2, band.weight), band.size)


def along_axis(volume: Any, operator: Operator, axis: int, dtype: Any) -> jax.Array:
    """Applies a one-dimensional operator along an axis.

    Args:
        volume: Any shape and dtype.
        operator: A band, which needs its `back` where a gradient is asked for, or a full matrix `(n_out, n_in)`.
        axis: The axis, counted from the front.
        dtype: dtype to compute in; ignored by an exact take, which keeps the volume's.

    Returns:
        The volume with `n_out` along the axis.
    """
    if not isinstance(operator, Band):
        # One einsum leaves the layout to XLA: twice as fast on a CPU as a product followed by a transposition.
        inner = string.ascii_lowercase[: volume.ndim]
        outer = inner.replace(inner[axis], "z")
        spec = f"z{inner[axis]},{inner}->{outer}"
        return jnp.einsum(spec, operator, volume.astype(dtype), precision=jax.lax.Precision.HIGHEST)
    name = None if operator.weight is None else np.dtype(dtype).name
    return _band(jnp.asarray(volume), jax.tree.map(jnp.asarray, operator), axis=axis, dtype=name)


def _take_sum(volume: Any, band: Band, *, axis: int, dtype: Any, may_be_idle: bool = False) -> Any:
    """Sums the taps, each a take times its weights. Where `may_be_idle`, a weight of 0 lets no NaN through."""
    lead = (slice(None),) * axis
    shape = [-1 if d == axis else 1 for d in range(volume.ndim)]
    total: Any = None
    for tap in range(band.index.shape[1]):
        taken = volume.at[(*lead, band.index[:, tap])].get(mode="promise_in_bounds")
        if band.weight is None:
            return taken
        factor, value = band.weight[:, tap].astype(dtype).reshape(shape), taken.astype(dtype)
        term = weighted(factor, value) if may_be_idle else factor * value
        total = term if total is None else total + term
    return total


def _forward(volume: Any, band: Band, *, axis: int, dtype: Any) -> Any:
    return _take_sum(volume, band, axis=axis, dtype=dtype)


def _adjoint(out: Any, band: Band, *, axis: int, dtype: Any) -> Any:
    if band.back is None:
        raise ValueError("the gradient of a band needs its transpose, and this one was made without")
    return _take_sum(out, band.back, axis=axis, dtype=out.dtype, may_be_idle=True)


_band, _ = linear_pair("band", Rules(_forward), Rules(_adjoint))
