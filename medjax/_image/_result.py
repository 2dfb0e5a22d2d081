"""Results of several arrays: dataclasses that go through JAX and through exported functions."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import jax
import jax.export

__all__ = ["result"]

Class = TypeVar("Class", bound=type)


def result(thing: Class) -> Class:
    """Makes a frozen dataclass a pytree whose fields are its leaves, and lets `jax.export` name it in a file.

    Example:
        >>> @result
        ... @dataclasses.dataclass(frozen=True)
        ... class Extent:
        ...     low: float
        ...     high: float
        >>> jax.tree.map(lambda x: 2 * x, Extent(1.0, 3.0)).high
        6.0
    """
    jax.tree_util.register_dataclass(thing, [field.name for field in dataclasses.fields(thing)], [])
    jax.export.register_pytree_node_serialization(
        thing,
        serialized_name=f"medjax.{thing.__name__}",
        serialize_auxdata=lambda aux: b"",
        deserialize_auxdata=lambda raw: (),
    )
    return thing
