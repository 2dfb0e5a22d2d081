"""The types of the public API's arguments: they say what may be traced, so that an editor flags a wrong axis or unit.

What is static, known before a trace, is a `Literal` (`Axis`, `Unit`, ...), a `StaticSize`, or Python's own `int`,
`bool` and `str`. What may be traced is one of the number types below: Python's numbers, sequences of them, arrays of
NumPy and of JAX. The table that tests hold true is in docs/arguments.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

__all__ = [
    "AffineLike",
    "AnyArray",
    "Array",
    "Axis",
    "DTypeLike",
    "Degrees",
    "Fill",
    "Frame",
    "Key",
    "Leaf",
    "Number",
    "OnGrid",
    "Orientation",
    "OrientationOrTuple",
    "PathLike",
    "PerItem",
    "Points",
    "Range",
    "Scalar",
    "SpacingOrArray",
    "StaticSize",
    "StaticTriple",
    "Triple",
    "Unit",
    "Voxels",
]


@runtime_checkable
class Array(Protocol):
    """An array of NumPy or JAX, one that JAX traces, or a number of NumPy's."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def ndim(self) -> Any: ...


@runtime_checkable
class OnGrid(Protocol):
    """What lies on a grid, such as an image."""

    @property
    def grid(self) -> Any: ...


# --- Static ----------------------------------------------------------------------------------------------------------

Axis: TypeAlias = Literal[0, 1, 2, "i", "j", "k"]
"""An index axis of an image."""

Unit: TypeAlias = Literal["mm", "voxel"]
"""Of a length."""

Frame: TypeAlias = Literal["world", "index"]
"""Of a position: LPS mm, or a voxel index."""

# fmt: off
Orientation: TypeAlias = Literal[
    "RAI", "RAS", "RPI", "RPS", "LAI", "LAS", "LPI", "LPS", "RIA", "RIP", "RSA", "RSP", "LIA", "LIP", "LSA", "LSP",
    "ARI", "ARS", "ALI", "ALS", "PRI", "PRS", "PLI", "PLS", "AIR", "AIL", "ASR", "ASL", "PIR", "PIL", "PSR", "PSL",
    "IRA", "IRP", "ILA", "ILP", "SRA", "SRP", "SLA", "SLP", "IAR", "IAL", "IPR", "IPL", "SAR", "SAL", "SPR", "SPL",
]
# fmt: on
"""The anatomical directions of increasing i, j, k: all 48 codes."""

StaticSize: TypeAlias = int | Sequence[int] | np.ndarray
"""A number of voxels, one or one for each axis; it decides a shape."""

StaticTriple: TypeAlias = float | int | np.number | Sequence[float | int | np.number] | np.ndarray
"""One number or three that decide a shape."""

PathLike: TypeAlias = str | os.PathLike[str]

DTypeLike: TypeAlias = str | type[Any] | np.dtype[Any]

# --- May be traced ---------------------------------------------------------------------------------------------------

Number: TypeAlias = float | int | np.number | np.bool_
"""A real number that is known."""

Scalar: TypeAlias = Number | Array
"""One real number."""

Triple: TypeAlias = Number | Array | Sequence[Scalar] | Sequence[Sequence[Scalar]]
"""One real number, three, or three for each item."""

Degrees: TypeAlias = Number | Array | Sequence[Scalar]
"""One angle, or one for each item."""

Points: TypeAlias = Array | Sequence[Scalar] | Sequence[Sequence[Scalar]]
"""Positions or indices, `(..., 3)`."""

AffineLike: TypeAlias = Array | Sequence[Sequence[Scalar]] | Sequence[Sequence[Sequence[Scalar]]]
"""Matrices, `(*batch, 4, 4)`."""

PerItem: TypeAlias = Number | Array | Sequence[Scalar] | Sequence[Sequence[Scalar]]
"""One real number, or what broadcasts against `(*batch, *channels)` as NumPy does."""

_Value: TypeAlias = complex | Number | Array

Key: TypeAlias = Array
"""A key of `jax.random.key`, or one for each item."""

Fill: TypeAlias = _Value | Sequence[_Value] | Sequence[Sequence[_Value]]
"""One number, complex for complex voxels, or what broadcasts against `(*batch, *channels)` as NumPy does."""

Range: TypeAlias = tuple[PerItem, PerItem]
"""The lower and the upper end."""

Voxels: TypeAlias = Array | Sequence[Any]
"""Any array, or what NumPy makes one of."""

# --- Results and fields ----------------------------------------------------------------------------------------------

AnyArray: TypeAlias = Any
"""An array of NumPy or of JAX: the values decide which, so that a type checker must not."""

SpacingOrArray: TypeAlias = Any
"""Three floats of one geometry that is known, else `(*batch, 3)`."""

OrientationOrTuple: TypeAlias = Any
"""One code, or for a batch a tuple of codes."""

Leaf: TypeAlias = Any
"""An array in a pytree, or what stands in its place: an axis of `vmap`, a `ShapeDtypeStruct`."""
