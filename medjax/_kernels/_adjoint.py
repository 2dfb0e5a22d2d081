"""The adjoint of sampling. It scatters the outputs' cotangents, or gathers them where the map is invertible."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._points import (
    A_TURN,
    Sampling,
    Span,
    Table,
    column,
    coordinates,
    hidden_zero,
    in_turns,
    joined,
    joined_shape,
    spread,
    taps_of_axes,
    zeros_for,
)
from medjax._kernels._taps import weighted

__all__ = ["Candidates", "Inverse", "collect", "scatter"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Inverse:
    """The map from input index back to output index. With it the adjoint gathers instead of scattering.

    Attributes:
        tables: As for the forward map, `(base, fraction)` of each input axis, each `(n, out_rank)`.
        matrix: Linear part of the forward map, `(rank, out_rank)`.
        half: Half the width of the set of output indices that reach one input voxel, `(out_rank,)`.
        reach: The most integers that such an interval holds, for each output axis; static.
    """

    tables: tuple[Table, ...]
    matrix: Any
    half: Any
    reach: tuple[int, ...] = dataclasses.field(metadata={"static": True})


def scatter(out: Any, tables: Sequence[Table], shift: Any, sampling: Sampling, together: int = A_TURN) -> Any:
    """Adds each output to the voxels that are its taps; `together` taps in one turn of a loop."""
    channels = sampling.channels
    rows = out.reshape(joined_shape(out.shape[: out.ndim - len(channels)], channels))
    spatial = out.shape[: out.ndim - len(channels)]

    def add(spans: Sequence[Span], turn: Any, flat: Any) -> Any:
        for chosen in itertools.product(*taps_of_axes(coordinates(tables, shift, sampling.rank), sampling, spans)):
            offset: Any = 0
            value = rows
            for (index, weight), size in zip(chosen, sampling.shape, strict=False):
                offset = offset * size + index
                value = value if weight is None else weighted(spread(weight, channels), value)
            offset = jnp.broadcast_to(offset, spatial).reshape(-1)
            flat = flat.at[offset].add(value.reshape(-1, *flat.shape[1:]), mode="promise_in_bounds")
        return flat

    voxels = int(np.prod(sampling.shape[: sampling.rank]))
    operands = out, *jax.tree.leaves((tables, shift))
    empty = zeros_for(operands, joined_shape((voxels,), channels), out.dtype)
    return in_turns([order + 1 for order in sampling.orders], add, empty, together).reshape(sampling.shape)


def collect(out: Any, inverse: Inverse, sampling: Sampling) -> Any:
    """Gathers, for each input voxel, the outputs whose stencil reaches it: the adjoint without a scatter.

    Voxel `x` lies at `y = N x + s` among the outputs. The point that was sampled for a candidate `o` lies `M (o - y)`
    away from `x`. This is a small number, exact to a rounding of the fraction.
    """
    outputs = len(inverse.half)

    def add(spans: Sequence[Span], turn: Any, total: Any) -> Any:
        # Without this zero XLA holds the coordinates in memory.
        zero = hidden_zero(inverse.tables, 1) if turn is None else jnp.minimum(turn, 0)
        start, gap = [], []
        for (base, fraction), width in zip(coordinates(inverse.tables, None, outputs, zero), inverse.half, strict=True):
            first = jnp.ceil(fraction - width)
            start.append(base + first.astype(jnp.int32))
            gap.append(first - fraction)
        return Candidates.near(out, start, gap, inverse.matrix, sampling).added(spans, total)

    operands = out, *jax.tree.leaves(inverse)
    empty = zeros_for(operands, joined_shape(sampling.shape[: sampling.rank], sampling.channels), out.dtype)
    return in_turns(inverse.reach, add, empty).reshape(sampling.shape)


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The outputs near each voxel. Some of them have the voxel as a tap.

    Attributes:
        out: The outputs' cotangents, `(*out, *channels)`.
        start: For each output axis the first candidate's index, over the voxels.
        begin: For each input axis the distance from the voxel to the point of the first candidate.
        matrix: Linear part of the forward map, `(rank, out_rank)`.
        sampling: The sampling, of orders 0 and 1.
    """

    out: Any
    start: Sequence[Any]
    begin: Sequence[Any]
    matrix: Any
    sampling: Sampling

    @staticmethod
    def near(out: Any, start: Sequence[Any], gap: Sequence[Any], matrix: Any, sampling: Sampling) -> Candidates:
        """The candidates from `start` on, which lies `gap` outputs away from the voxel's own place."""
        begin = [sum(matrix[d, e] * away for e, away in enumerate(gap)) for d in range(sampling.rank)]
        return Candidates(out, start, begin, matrix, sampling)

    def added(self, spans: Sequence[Span], total: Any) -> Any:
        """Adds the shares of a span of candidates to each voxel's total."""
        channels, sizes = self.sampling.channels, self.out.shape[: len(self.start)]
        flat = joined(self.out, channels)
        limits = [_limits(d, self.sampling, self.out.dtype) for d in range(self.sampling.rank)]
        for chosen in itertools.product(*(range(width) for _, width in spans)):
            step = [first + np.int32(n) for (first, _), n in zip(spans, chosen, strict=True)]
            weight, valid, place = None, True, 0
            for first, n, size in zip(self.start, step, sizes, strict=True):
                index = first + n
                valid = valid & (index >= 0) & (index < size)
                place = place * size + jnp.clip(index, 0, size - 1)
            for d, (low, high, near, far) in enumerate(limits):
                distance = self.begin[d] + sum(self.matrix[d, e] * n.astype(self.out.dtype) for e, n in enumerate(step))
                valid = valid & (distance >= low) & (distance < high)
                if self.sampling.orders[d]:
                    hat = 1 - jnp.abs(jnp.clip(distance, near, far))
                    weight = hat if weight is None else weight * hat
            value = flat.at[place].get(mode="promise_in_bounds")
            value = value if weight is None else value * spread(weight, channels)
            total = total + jnp.where(spread(valid, channels), value, 0)
        return total


def _limits(axis: int, sampling: Sampling, dtype: Any) -> tuple[Any, Any, Any, Any]:
    """The distances `[low, high)` at which a sample has a voxel as a tap, and those at which its weight stops changing.

    A sample within half a voxel beyond an edge takes the edge voxel's value, so its weight is constant there. A sample
    further out takes the fill value and has no cotangent. The limit lies a little beyond the face, so that rounding
    drops no sample on the face. A sample one voxel away has no weight. It is left out because it may be infinite.
    """
    n = sampling.shape[axis]
    index = column(jnp.arange(n), axis, sampling.rank)
    first, last = index == 0, index == n - 1
    reach = 1.0 if sampling.orders[axis] else 0.5
    lowest = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype)) if sampling.orders[axis] else -reach
    return (
        jnp.where(first, -0.51, lowest).astype(dtype),
        jnp.where(last, 0.51, reach).astype(dtype),
        jnp.where(first, 0.0, -1.0).astype(dtype),
        jnp.where(last, 0.0, 1.0).astype(dtype),
    )
