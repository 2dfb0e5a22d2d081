"""The program of a sliding window: logits are summed in a slab of one window's depth, and what is finished leaves
it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Num, Shaped

from medjax._image._dtypes import compute_dtype
from medjax._kernels._compiled import compiled
from medjax._kernels._hoisted import Hoisted
from medjax.patch._schedule import Layout, Tables

__all__ = ["Work", "averaged", "last_rows", "next_rows", "reduced"]

Arrays = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Work:
    """What is static of a program.

    Attributes:
        network: From windows to logits.
        reduce: From mean logits to the result.
        layout: Of the slab and the windows.
        sharding: The devices that share the windows, or `None` for one.
    """

    network: Hoisted
    reduce: Hoisted
    layout: Layout
    sharding: NamedSharding | None = None


@functools.partial(compiled, static_argnames=("work", "is_softmax"))
def averaged(
    volume: Num[Array, "i j k c"], closed_over: tuple[Arrays, Arrays], tables: Tables, *, work: Work, is_softmax: bool
) -> Shaped[Array, " ..."]:
    """The mean logits of every voxel, or their softmax: the slab is the whole volume, and the program has a
    gradient.
    """

    def of_device(volume: Any, closed_over: tuple[Arrays, Arrays], tables: Tables) -> Any:
        logits_of = jax.checkpoint(functools.partial(_logits, work=work))

        def group(sums: Any, entry: Any) -> tuple[Any, None]:
            corners, numbers, _ = entry
            logits = logits_of(volume, closed_over[0], corners)

            def one(n: Any, sums: Any) -> Any:
                return _added(sums, logits, n, numbers[n], tables, work.layout)

            return jax.lax.fori_loop(0, len(corners), one, sums), None

        sums, _ = jax.lax.scan(group, _empty(volume, closed_over, tables, work), _turns(tables, work))
        sums = _over_devices(sums, work)
        return jax.nn.softmax(sums, axis=-1) if is_softmax else sums

    return _shared(of_device, work)(volume, closed_over, tables)


@functools.partial(compiled, static_argnames="work")
def reduced(
    volume: Num[Array, "i j k c"], closed_over: tuple[Arrays, Arrays], tables: Tables, *, work: Work
) -> Shaped[Array, " ..."]:
    """What `reduce` makes of the mean logits of every voxel."""

    def of_device(volume: Any, closed_over: tuple[Arrays, Arrays], tables: Tables) -> Any:
        slab = _empty(volume, closed_over, tables, work)
        out = _result(closed_over[1], slab, volume.shape[work.layout.axis], work)
        start = jnp.zeros((), tables.leaving.dtype)
        slab, out, last = _swept(volume, closed_over, tables, (slab, out, start), start, work)
        return _left(slab, out, (last, work.layout.depth, start), closed_over[1], work)

    return _shared(of_device, work)(volume, closed_over, tables)


@functools.partial(compiled, static_argnames="work", donate_argnames="slab")
def next_rows(
    part: Num[Array, "i j k c"],
    closed_over: tuple[Arrays, Arrays],
    tables: Tables,
    slab: Shaped[Array, " ..."],
    origin: Num[Array, ""],
    *,
    work: Work,
) -> tuple[Any, Any]:
    """Adds one row of windows to a slab that begins at `origin`; returns it, and the rows that left before."""
    out = _result(closed_over[1], slab, work.layout.depth, work)
    return _swept(part, closed_over, tables, (slab, out, origin), origin, work)[:2]


@functools.partial(compiled, static_argnames="work")
def last_rows(
    slab: Shaped[Array, " ..."], closed_over: tuple[Arrays, Arrays], origin: Num[Array, ""], *, work: Work
) -> Shaped[Array, " ..."]:
    """The rows that are left in the slab when no window follows."""
    depth = work.layout.depth
    return _left(slab, _result(closed_over[1], slab, depth, work), (origin, depth, origin), closed_over[1], work)


# --- The steps -------------------------------------------------------------------------------------------------------


def _swept(
    volume: Any, closed_over: tuple[Arrays, Arrays], tables: Tables, state: tuple[Any, Any, Any], base: Any, work: Work
) -> tuple[Any, Any, Any]:
    """Takes the windows in turn, in groups.

    `state` is the slab, the result, and the row of the volume that the slab begins with; the result begins at row
    `base`.
    """

    def group(state: Any, entry: Any) -> tuple[Any, None]:
        corners, numbers, leaving = entry
        logits = _logits(volume, closed_over[0], corners, work=work)

        def one(n: Any, state: Any) -> Any:
            slab, out, origin = state
            out = _left(slab, out, (origin, leaving[n], base), closed_over[1], work)
            slab = _cleared(slab, out, origin, leaving[n], tables, work.layout)
            return _added(slab, logits, n, numbers[n], tables, work.layout), out, origin + leaving[n]

        return jax.lax.fori_loop(0, len(corners), one, state), None

    return jax.lax.scan(group, state, _turns(tables, work))[0]


def _logits(volume: Any, closed_over: Arrays, corners: Any, *, work: Work) -> Any:
    """The network's result for a group of windows, the mean over the mirrored passes."""
    network, layout = work.network, work.layout
    zero = jnp.zeros((), corners.dtype)
    size = (*layout.size, volume.shape[-1])
    windows = jnp.stack([jax.lax.dynamic_slice(volume, (*corner, zero), size) for corner in corners])
    windows = windows.astype(compute_dtype(volume.dtype))
    if len(layout.passes) == 1:
        return network(closed_over, windows)
    turns = [functools.partial(jnp.flip, axis=tuple(d + 1 for d in axes)) for axes in layout.passes]

    def one(total: Any, n: Any) -> tuple[Any, None]:
        found = network(closed_over, jax.lax.switch(n, turns, windows))
        return total + jax.lax.switch(n, turns, found), None

    found = jax.eval_shape(network, closed_over, windows)
    total, _ = jax.lax.scan(one, jnp.zeros(found.shape, found.dtype), jnp.arange(len(turns)))
    return total / len(turns)


def _added(slab: Any, logits: Any, n: Any, numbers: Any, tables: Tables, layout: Layout) -> Any:
    """Adds one window of a group, each voxel times the window's share of it."""
    size, axis, chunk, depth = layout.size, layout.axis, layout.chunk, slab.shape[layout.axis]
    shares = [
        table[number].reshape([-1 if e == d else 1 for e in range(4)])
        for d, (table, number) in enumerate(zip(tables.shares, numbers, strict=True))
    ]
    corner = [starts[number] for starts, number in zip(tables.starts, numbers, strict=True)]
    across = functools.reduce(jnp.multiply, [share for d, share in enumerate(shares) if d != axis])
    zero = jnp.zeros((), numbers.dtype)
    part = (*size[:axis], chunk, *size[axis + 1 :], logits.shape[-1])

    def add(number: Any, state: Any) -> Any:
        slab, at = state
        row = jnp.asarray(number * chunk, zero.dtype)
        within = [zero] * 4
        within[axis] = row
        share = across * jax.lax.dynamic_slice_in_dim(shares[axis], row, chunk, axis)
        found = jax.lax.dynamic_slice(logits, (jnp.asarray(n, zero.dtype), *within), (1, *part))[0]
        found = found.astype(compute_dtype(found.dtype))
        place = [*corner, zero]
        place[axis] = at
        new = jax.lax.dynamic_slice(slab, place, part) + (found * share.astype(found.dtype)).astype(slab.dtype)
        after = at + chunk
        return jax.lax.dynamic_update_slice(slab, new, place), jnp.where(after < depth, after, 0)

    # The row is carried along, not worked out in the loop: else XLA does not see that what it reads is what it writes.
    return jax.lax.fori_loop(0, size[axis] // chunk, add, (slab, corner[axis] % depth))[0]


def _left(slab: Any, out: Any, span: tuple[Any, Any, Any], closed_over: Arrays, work: Work) -> Any:
    """Lets rows leave the slab: they are reduced into the result.

    `span` is the row of the volume that the slab begins with, how many rows leave, and the row that the result begins
    with.
    """
    origin, count, base = span
    axis, chunk = work.layout.axis, work.layout.leaving

    def leave(n: Any, out: Any) -> Any:
        row = origin + n * chunk
        rows = _over_devices(jax.lax.dynamic_slice_in_dim(slab, row % work.layout.depth, chunk, axis), work)
        return jax.lax.dynamic_update_slice_in_dim(out, work.reduce(closed_over, rows), row - base, axis)

    return jax.lax.fori_loop(0, jnp.asarray(count, origin.dtype) // chunk, leave, out)


def _cleared(slab: Any, out: Any, origin: Any, count: Any, tables: Tables, layout: Layout) -> Any:
    """Clears the rows that left.

    XLA changes the slab in place only if it sees that it has been read before. So the 0 is one that follows from the
    result, as far as XLA can tell: the first start along an axis is always 0.
    """
    axis, chunk = layout.axis, layout.leaving
    first = out[(0,) * out.ndim].astype(slab.dtype)
    zero = jnp.where(tables.starts[axis][0] > 0, first, 0)
    zeros = jnp.full((*slab.shape[:axis], chunk, *slab.shape[axis + 1 :]), zero)

    def clear(n: Any, slab: Any) -> Any:
        row = (origin + n * chunk) % layout.depth
        return jax.lax.dynamic_update_slice_in_dim(slab, zeros, row, axis)

    return jax.lax.fori_loop(0, count // chunk, clear, slab)


def _empty(volume: Any, closed_over: tuple[Arrays, Arrays], tables: Tables, work: Work) -> Any:
    """The slab without any sum."""
    layout = work.layout
    shape = (tables.numbers.shape[2], *layout.size, volume.shape[-1])
    windows = jax.ShapeDtypeStruct(shape, compute_dtype(volume.dtype))
    classes = jax.eval_shape(work.network, closed_over[0], windows).shape[-1]
    return jnp.zeros((*layout.shape, classes), layout.dtype)


def _result(closed_over: Arrays, slab: Any, rows: int, work: Work) -> Any:
    """The result without any row."""
    axis = work.layout.axis
    chunk = jax.ShapeDtypeStruct((*slab.shape[:axis], work.layout.leaving, *slab.shape[axis + 1 :]), slab.dtype)
    found = jax.eval_shape(work.reduce, closed_over, chunk)
    return jnp.zeros((*found.shape[:axis], rows, *found.shape[axis + 1 :]), found.dtype)


# --- Several devices -------------------------------------------------------------------------------------------------


def _shared(of_device: Any, work: Work) -> Any:
    """Runs on every device; volume, weights and results are everywhere."""
    if work.sharding is None:
        return of_device
    everywhere = PartitionSpec()  # not checked, for a network that was traced outside knows nothing of devices
    mesh = work.sharding.mesh
    return jax.shard_map(of_device, mesh=mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False)


def _turns(tables: Tables, work: Work) -> tuple[Any, Any, Any]:
    """The windows of this device, group by group."""
    own = 0 if work.sharding is None else jax.lax.axis_index(work.sharding.spec[0])
    return tables.corners[own], tables.numbers[own], tables.leaving


def _over_devices(sums: Any, work: Work) -> Any:
    return sums if work.sharding is None else jax.lax.psum(sums, work.sharding.spec[0])
