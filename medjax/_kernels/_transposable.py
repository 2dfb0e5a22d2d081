"""Pairs of JAX primitives that are each other's transpose.

A kernel that is linear in one array, such as sampling a volume, has an adjoint that autodiff would write as a slow
scatter. Stating both as primitives gives forward and reverse mode, any order of derivative, `vmap` and cross-platform
export at once, where `custom_vjp` would block forward mode.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from medjax._kernels._jax import Primitive, ad, aval_of_result, batching, lower_by_tracing, varying_alike

__all__ = ["Rules", "linear_pair"]

Kernel = Callable[..., Any]
Level = tuple[int | None, ...]
"""For one `vmap` the batch axis of each operand, the volume first: 0, or `None` where the items share the operand."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """One kernel of a pair. Its functions take unbatched `(volume, data, **static)`; data is any pytree of arrays.

    Attributes:
        kernel: Returns the result, linear in `volume`. With a survey, `kernel(**static)` lists kernels that also take
            `facts`. The first one whose entry of `facts["unfit"]` is 0 runs.
        derivative: `derivative(volume, data, data_tangents, **static)`, the derivative by the data; a tangent may be
            `None`. Left out where no datum is differentiable.
        blank: Returns any array of the result's shape and dtype, where tracing the kernel to learn them takes long.
        survey: For kernels that the program chooses between when it runs. Returns a dictionary of integer arrays; their
            maxima over all batch axes are the `facts`.
        linear: `linear(data)`, the data without the part that adds a constant to the result, such as a fill value.
    """

    kernel: Kernel
    derivative: Kernel | None = None
    blank: Kernel | None = None
    survey: Kernel | None = None
    linear: Kernel = lambda data: data


def linear_pair(name: str, forward: Rules, adjoint: Rules) -> tuple[Kernel, Kernel]:
    """Makes differentiable, batchable functions out of a linear kernel and its adjoint.

    Args:
        name: Name of the primitive, as jaxprs show it.
        forward: From a volume to the result.
        adjoint: From the result to a volume, the transpose of `forward`'s linear part.

    Returns:
        `apply(volume, data, **static)` and the same for the adjoint; all static arguments must be hashable.
    """
    pair = _Half(name, forward), _Half(f"{name}_adjoint", adjoint)
    pair[0].other, pair[1].other = reversed(pair)
    return pair[0].apply, pair[1].apply


class _Half:
    """A primitive, and its rules for JAX's transformations.

    Its parameters are `levels`, one for each `vmap` around it, the outermost first, and `static`: the structure of the
    data and the static arguments.
    """

    other: _Half

    def __init__(self, name: str, rules: Rules) -> None:
        self.rules = rules
        self.compiled = functools.lru_cache(maxsize=256)(self._compiled)
        self.primitive = Primitive(name)
        self.primitive.def_impl(self._impl)
        self.primitive.def_abstract_eval(self._abstract_eval)
        lower_by_tracing(self.primitive, self._run)
        batching.primitive_batchers[self.primitive] = self._batch
        ad.primitive_transposes[self.primitive] = self._transpose
        ad.primitive_jvps[self.primitive] = self._jvp

    def apply(self, volume: Any, data: Any, **static: Any) -> jax.Array:
        leaves, structure = jax.tree.flatten(data)
        return self._bind(volume, *leaves, levels=(), static=(structure, tuple(sorted(static.items()))))

    def _bind(self, *operands: Any, levels: Sequence[Level], static: Any) -> jax.Array:
        return self.primitive.bind(*varying_alike(operands), levels=tuple(levels), static=static)

    def _mapped(self, function: Kernel, levels: Sequence[Level], static: Any, **more: Any) -> Kernel:
        """Turns a function of `(volume, data, **static)` into one of flat operands with all their batch axes."""
        structure, named = static

        def flat(volume: Any, *leaves: Any) -> Any:
            return function(volume, jax.tree.unflatten(structure, leaves), **dict(named), **more)

        return _vmapped(flat, levels)

    def _run(self, *operands: Any, levels: tuple[Level, ...], static: Any) -> jax.Array:
        """Computes the result."""
        if self.rules.survey is None:
            return self._mapped(self.rules.kernel, levels, static)(*operands)
        found = self._mapped(self.rules.survey, levels, static)(*operands)
        facts = jax.tree.map(lambda fact: fact.max(axis=tuple(range(len(levels)))), found)
        structure = static[0], ()
        choices = [self._mapped(c, levels, structure, facts=facts) for c in self.rules.kernel(**dict(static[1]))]
        return (
            choices[0](*operands)
            if len(choices) == 1
            else jax.lax.switch(jnp.argmin(facts["unfit"]), choices, *operands)
        )

    def _compiled(self, levels: tuple[Level, ...], static: Any) -> Kernel:
        return jax.jit(functools.partial(self._run, levels=levels, static=static))

    def _impl(self, *operands: Any, levels: tuple[Level, ...], static: Any) -> jax.Array:
        """Computes the result outside of a trace."""
        return self.compiled(levels, static)(*operands)

    def _abstract_eval(self, *avals: Any, levels: tuple[Level, ...], static: Any) -> Any:
        """Shape and dtype of the result."""
        return aval_of_result(self._mapped(self.rules.blank or self.rules.kernel, levels, static), avals)

    def _batch(self, operands: Sequence[Any], dims: Sequence[int | None], *, levels: Any, static: Any) -> Any:
        """The rule of `vmap`: one more batch axis in front."""
        moved = [x if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(operands, dims, strict=True)]
        level = tuple(None if d is None else 0 for d in dims)
        return self._bind(*moved, levels=(level, *levels), static=static), 0

    def _transpose(self, cotangent: Any, volume: Any, *data: Any, levels: Any, static: Any) -> list[Any]:
        """The cotangent of the volume, by the other half of the pair. Items that share a volume add up."""
        none = [None] * len(data)
        if type(cotangent) is ad.Zero:
            return [ad.Zero(volume.aval), *none]
        out = self.other._bind(cotangent, *data, levels=[(0, *level[1:]) for level in levels], static=static)
        shared = tuple(axis for axis, level in enumerate(levels) if level[0] is None)
        return [out.sum(shared) if shared else out, *none]

    def _jvp(self, primals: Sequence[Any], tangents: Sequence[Any], *, levels: Any, static: Any) -> tuple[Any, Any]:
        """The result and its tangent: the kernel of the volume's tangent, and the derivative by the data."""
        volume, *data = primals
        moved, *data_tangents = tangents
        out = self._bind(volume, *data, levels=levels, static=static)
        terms = []
        if type(moved) is not ad.Zero:
            linear = jax.tree.leaves(self.rules.linear(jax.tree.unflatten(static[0], data)))
            terms.append(self._bind(moved, *linear, levels=levels, static=static))
        live = tuple(n for n, tangent in enumerate(data_tangents) if type(tangent) is not ad.Zero)
        if live:
            axes = [(*level, *(level[1 + n] for n in live)) for level in levels]
            by_data = _vmapped(functools.partial(self._by_data, live, static), axes)
            terms.append(by_data(volume, *data, *(data_tangents[n] for n in live)))
        return out, sum(terms[1:], terms[0]) if terms else ad.Zero.from_primal_value(out)  # type: ignore[attr-defined]

    def _by_data(self, live: Sequence[int], static: Any, volume: Any, *operands: Any) -> Any:
        """The derivative by the data that have a tangent. The operands are all data and then these tangents."""
        if self.rules.derivative is None:
            raise NotImplementedError(f"{self.primitive.name} is not differentiable with respect to its tables")
        structure, named = static
        data, given = operands[: -len(live)], dict(zip(live, operands[-len(live) :], strict=True))
        tangents = [given.get(n) for n in range(len(data))]
        both = (jax.tree.unflatten(structure, leaves) for leaves in (data, tangents))
        return self.rules.derivative(volume, *both, **dict(named))


def _vmapped(function: Kernel, levels: Sequence[Level]) -> Kernel:
    """Wraps a function for each batch level, the last one innermost."""
    for level in reversed(levels):
        function = jax.vmap(function, in_axes=level)
    return function
