"""Pairs of JAX primitives that are each other's transpose.

A kernel that is linear in one array, such as sampling a volume, has an adjoint that autodiff would write as a slow
scatter. Stating both as primitives gives forward and reverse mode, any order of derivative, `vmap` and cross-platform
export at once, where `custom_vjp` would block forward mode.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec

__all__ = ["linear_pair"]

Level = tuple[int | None, ...]
Kernel = Callable[..., Any]


def linear_pair(
    name: str,
    forward: Kernel,
    adjoint: Kernel,
    tangent: Kernel | None = None,
    adjoint_tangent: Kernel | None = None,
    *,
    blanks: tuple[Kernel, Kernel] | None = None,
    survey: Kernel | None = None,
) -> tuple[Kernel, Kernel]:
    """Makes a differentiable, batchable function out of a linear kernel and its adjoint.

    Args:
        name: Name of the primitive, as jaxprs show it.
        forward: `forward(volume, *data, **static) -> out`, linear in `volume`, for unbatched arrays.
        adjoint: `adjoint(out, *data, **static) -> volume`, its transpose.
        tangent: `tangent(volume, data, data_tangents, **static) -> out`, the derivative by `data` (whose tangents may
            be `None`); left out where no datum is differentiable.
        adjoint_tangent: The same for the adjoint.
        blanks: For both kernels a function of the same arguments that returns any array of the result's shape and dtype,
            where tracing the kernel itself to learn them takes long.
        survey: For kernels that the program chooses between when it runs: `survey(volume, *data, **static)`, a dictionary of
            integer arrays of which the largest over all batch axes is kept. `forward(**static)` and `adjoint(**static)` then
            list kernels that take `facts`, that dictionary, as keyword, and the first runs whose entry of `unfit` is 0.

    Returns:
        `apply(volume, *data, **static)` and the same for the adjoint; all static arguments must be hashable.
    """
    primitives = Primitive(name), Primitive(f"{name}_adjoint")
    rules = (forward, tangent), (adjoint, adjoint_tangent)
    shapes = blanks or (forward, adjoint)
    for primitive, other, rule, blank in zip(primitives, reversed(primitives), rules, shapes, strict=True):
        _register(primitive, other, *rule, blank, survey)

    def applied(primitive: Primitive) -> Kernel:
        return lambda volume, *data, **static: bind(
            primitive, volume, *data, levels=(), static=tuple(sorted(static.items()))
        )

    return applied(primitives[0]), applied(primitives[1])


def bind(primitive: Primitive, *operands: Any, levels: Sequence[Level], static: Any) -> jax.Array:
    return primitive.bind(*_varying_alike(operands), levels=tuple(levels), static=static)


def _varying_alike(operands: Sequence[Any]) -> list[Any]:
    """Under `shard_map`, lets all operands vary along the mesh axes that one does: the transpose of that sums gradients."""
    own = [_varying(jax.typeof(x)) for x in operands]
    together = frozenset().union(*own)
    return [
        x if axes == together else jax.lax.pcast(x, tuple(together - axes), to="varying")
        for x, axes in zip(operands, own, strict=True)
    ]


def _varying(aval: Any) -> frozenset[Any]:
    """The mesh axes of `shard_map` along which a value differs from device to device."""
    return frozenset(aval.manual_axis_type.varying)


def _register(
    primitive: Primitive,
    other: Primitive,
    kernel: Callable[..., Any],
    derivative: Kernel | None,
    blank: Kernel,
    survey: Kernel | None,
) -> None:
    def batched(*operands: Any, levels: tuple[Level, ...], static: tuple[tuple[str, Any], ...]) -> jax.Array:
        if survey is None:
            return _vmapped(functools.partial(kernel, **dict(static)), levels)(*operands)
        found = _vmapped(functools.partial(survey, **dict(static)), levels)(*operands)
        facts = jax.tree.map(lambda fact: fact.max(axis=tuple(range(len(levels)))), found)
        choices = [_vmapped(functools.partial(choice, facts=facts), levels) for choice in kernel(**dict(static))]
        if len(choices) == 1:
            return choices[0](*operands)
        return jax.lax.switch(jnp.argmin(facts["unfit"]), choices, *operands)

    @functools.lru_cache(maxsize=256)
    def compiled(levels: tuple[Level, ...], static: tuple[tuple[str, Any], ...]) -> Kernel:
        return jax.jit(functools.partial(batched, levels=levels, static=static))

    @primitive.def_impl
    def _(*operands: Any, levels: tuple[Level, ...], static: Any) -> jax.Array:
        return compiled(levels, static)(*operands)

    @primitive.def_abstract_eval
    def _(*avals: Any, levels: tuple[Level, ...], static: Any) -> Any:
        result = _vmapped(functools.partial(blank, **dict(static)), levels)
        out = jax.eval_shape(result, *(_bare(aval) for aval in avals))
        varying = next((aval for aval in avals if _varying(aval)), None)
        if varying is None:
            return jax.core.ShapedArray(out.shape, out.dtype)
        whole = NamedSharding(varying.sharding.mesh, PartitionSpec(*[None] * len(out.shape)))
        return varying.update(shape=out.shape, dtype=out.dtype, weak_type=False, sharding=whole)

    mlir.register_lowering(primitive, mlir.lower_fun(batched, multiple_results=False))

    def batch_rule(operands: Sequence[Any], dims: Sequence[int | None], *, levels: Any, static: Any) -> Any:
        moved = [x if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(operands, dims, strict=True)]
        level = tuple(None if d is None else 0 for d in dims)
        return bind(primitive, *moved, levels=(level, *levels), static=static), 0

    batching.primitive_batchers[primitive] = batch_rule

    def transpose_rule(cotangent: Any, volume: Any, *data: Any, levels: Any, static: Any) -> list[Any]:
        none = [None] * len(data)
        if type(cotangent) is ad.Zero:
            return [ad.Zero(volume.aval), *none]
        out = bind(other, cotangent, *data, levels=[(0, *level[1:]) for level in levels], static=static)
        shared = tuple(axis for axis, level in enumerate(levels) if level[0] is None)
        return [out.sum(shared) if shared else out, *none]

    ad.primitive_transposes[primitive] = transpose_rule

    def jvp_rule(primals: Sequence[Any], tangents: Sequence[Any], *, levels: Any, static: Any) -> tuple[Any, Any]:
        volume, *data = primals
        volume_tangent, *data_tangents = tangents
        out = bind(primitive, volume, *data, levels=levels, static=static)
        terms = []
        if type(volume_tangent) is not ad.Zero:
            terms.append(bind(primitive, volume_tangent, *data, levels=levels, static=static))
        live = tuple(n for n, t in enumerate(data_tangents) if type(t) is not ad.Zero)
        if live:
            if derivative is None:
                raise NotImplementedError(f"{primitive.name} is not differentiable with respect to its tables")

            def term(volume: Any, *rest: Any) -> Any:
                given = dict(zip(live, rest[len(data) :], strict=True))
                return derivative(volume, rest[: len(data)], [given.get(n) for n in range(len(data))], **dict(static))

            axes = [(*level, *(level[1 + n] for n in live)) for level in levels]
            terms.append(_vmapped(term, axes)(volume, *data, *(data_tangents[n] for n in live)))
        return out, sum(terms[1:], terms[0]) if terms else ad.Zero.from_primal_value(out)  # type: ignore[attr-defined]

    ad.primitive_jvps[primitive] = jvp_rule


def _bare(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _vmapped(function: Kernel, levels: Sequence[Level]) -> Kernel:
    """Wraps a function for each batch level, the last one innermost."""
    for level in reversed(levels):
        function = jax.vmap(function, in_axes=level)
    return function
