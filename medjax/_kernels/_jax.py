"""All names of JAX that lie beside its documented interface, which an upgrade of JAX can break.

One more such name lies in `medjax/_fork.py`, which must not import JAX. Tested with jax 0.10.2. Each function says who
needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive, get_opaque_trace_state, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec

__all__ = [
    "ClosedJaxpr",
    "Jaxpr",
    "Literal",
    "Primitive",
    "ad",
    "aval_of_result",
    "batching",
    "in_automatic_mode",
    "is_jit_disabled",
    "jaxpr_as_fun",
    "lower_by_tracing",
    "trace_state",
    "varying_alike",
]


def trace_state() -> Any:
    """Returns a token that is equal in one trace and differs between traces (`_compiled`, `_chain`)."""
    return get_opaque_trace_state(convention="medjax")


def is_jit_disabled() -> bool:
    """Whether `jax.disable_jit` is active (`_compiled`: then nobody else turns NumPy operands into JAX arrays)."""
    return bool(jax.config.values["jax_disable_jit"])


def lower_by_tracing(primitive: Primitive, function: Callable[..., Any]) -> None:
    """Lowers a primitive to what a traceable function of its operands and parameters lowers to (`_transposable`)."""
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))


def varying_alike(operands: Sequence[Any]) -> list[Any]:
    """Under `shard_map`, makes all operands vary along the mesh axes that one varies along.

    The transpose of this sums gradients.
    """
    own = [_varying(jax.typeof(x)) for x in operands]
    together = frozenset().union(*own)
    return [
        x if axes == together else jax.lax.pcast(x, tuple(together - axes), to="varying")
        for x, axes in zip(operands, own, strict=True)
    ]


def _varying(aval: Any) -> frozenset[Any]:
    """The mesh axes of `shard_map` along which a value differs from device to device."""
    return frozenset(aval.manual_axis_type.varying)


def aval_of_result(result: Callable[..., Any], avals: Sequence[Any]) -> Any:
    """Returns the abstract value of `result(*operands)`, which varies under `shard_map` as the operands do."""
    out = jax.eval_shape(result, *(jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals))
    varying = next((aval for aval in avals if _varying(aval)), None)
    if varying is None:
        return jax.core.ShapedArray(out.shape, out.dtype)
    whole = NamedSharding(varying.sharding.mesh, PartitionSpec(*[None] * len(out.shape)))
    return varying.update(shape=out.shape, dtype=out.dtype, weak_type=False, sharding=whole)


def in_automatic_mode(kernel: Callable[..., Any], operands: Sequence[Any], depth: int) -> Any:
    """Calls a kernel on meshes with `Explicit` axes as JAX does on automatic ones. Results lie where the items do.

    JAX places a batch by itself on meshes with `AxisType.Auto` axes. Axes that are `Explicit`, as `jax.make_mesh` makes
    them, are part of an array's type, and a kernel that mixes sharded voxels with tables that are not would be refused.
    """
    types = [jax.typeof(leaf) for leaf in jax.tree.leaves(operands)]
    mesh = next((found.sharding.mesh for found in types if found.sharding.mesh.explicit_axes), None)
    if mesh is None:
        return kernel(*operands)
    batch = PartitionSpec(*types[0].sharding.spec[:depth])
    return jax.sharding.auto_axes(kernel, out_sharding=NamedSharding(mesh, batch))(*operands)
