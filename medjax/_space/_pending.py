"""The door of spatial operations: a step is done at once or, inside a fused function, added to those that wait."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from medjax._geometry._grid import Grid
from medjax._geometry._numbers import check_size
from medjax._image._dtypes import result_dtype
from medjax._image._image import Image, flattened, flattened_with_keys, unflattened
from medjax._space import _resampling
from medjax._space._chain import Chain, Effect, Move, casted, rearranged
from medjax._space._planning import Interpolation
from medjax._space._resampling import Wishes

__all__ = ["Effect", "Pending", "cast", "rearrange", "resample"]


class Pending(Image):
    """The image that a chain leads to, as operations see it inside a fused function.

    Its geometry is known at once, and `voxels` does the waiting steps. A step that asks for another interpolation or
    fill value than the waiting ones ends the chain, and its result begins a new one. So does a JAX transformation that
    the image enters, for an image is a pytree. No such image leaves the fused function.

    Attributes:
        chain: The waiting steps.
    """

    chain: Chain

    def __init__(self, voxels: Any, affine: Any, kind: Any = "intensity", metadata: Any = None):
        """Begins a chain; called as `Image` is, for `dataclasses.replace`."""
        vars(self)["chain"] = Chain(Image(voxels, affine, kind, metadata))

    @staticmethod
    def of(chain: Chain) -> Pending:
        """The image that a chain leads to."""
        image = object.__new__(Pending)
        vars(image)["chain"] = chain  # Image is frozen
        return image

    def resolved(self) -> Image:
        """Does the waiting steps and returns a plain image."""
        return self.chain.resolved()

    @property
    def voxels(self) -> Any:  # type: ignore[override]
        return self.resolved().voxels

    @property
    def affine(self) -> Any:  # type: ignore[override]
        return self.grid.affine

    @property
    def kind(self) -> Any:  # type: ignore[override]
        return self.chain.source.kind

    @property
    def metadata(self) -> Any:  # type: ignore[override]
        return self.chain.source.metadata

    @property
    def grid(self) -> Grid:
        return self.chain.grid

    @property
    def shape(self) -> tuple[int, ...]:
        return self.grid.shape

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.chain.source.batch_shape

    @property
    def channels(self) -> tuple[int, ...]:
        return self.chain.source.channels

    @property
    def dtype(self) -> Any:
        stored = self.chain.source.dtype
        return result_dtype(stored, is_label=self.kind == "label") if self.chain.is_waiting else stored

    def with_voxels(self, voxels: Any) -> Pending:
        return Pending.of(Chain(self.resolved().with_voxels(voxels)))

    def with_metadata(self, metadata: Any) -> Pending:
        return Pending.of(dataclasses.replace(self.chain, source=self.chain.source.with_metadata(metadata)))

    def with_kind(self, kind: Any) -> Pending:
        return Pending.of(Chain(self.resolved().with_kind(kind)))


jax.tree_util.register_pytree_with_keys(
    Pending,
    lambda image: flattened_with_keys(image.resolved()),
    lambda structure, leaves: Pending.of(Chain(unflattened(structure, leaves))),
    lambda image: flattened(image.resolved()),
)


def resample(
    image: Image,
    target: Grid,
    transform: Any = None,
    *,
    interpolation: Interpolation | None = None,
    fill: Any = None,
    sigma: Sequence[float] | None = None,
) -> Any:
    """Fills a grid with an image's content; the keywords are those of `Wishes`."""
    check_size((*image.batch_shape, *target.shape, *image.channels))
    wishes = Wishes(interpolation, fill, sigma)
    if isinstance(image, Pending):
        return Pending.of(image.chain.then_resample(target, transform, wishes))
    return _resampling.resample(image, target, transform, wishes)


def cast(image: Image, dtype: np.dtype) -> Any:
    """Brings voxels to a dtype that suits them; under `fuse` in the same pass as the interpolation that waits."""
    return Pending.of(image.chain.then_cast(dtype)) if isinstance(image, Pending) else casted(image, dtype)


def rearrange(image: Any, target: Grid, move: Move, *, fill: Any = None, effect: Effect = "alters") -> Any:
    """Applies an exact operation: it moves voxels to other places of a lattice that continues the image's own.

    Args:
        image: An image, also one that waits under `fuse`.
        target: The grid of the result.
        move: Moves voxels `(*batch, i, j, k, *channels)` to it.
        fill: The value that the operation adds, where it adds any.
        effect: "reorders" or "cuts" where sampling the image at the target's points, with that fill outside, gives the
            same.

    Returns:
        The image with `move` applied and the target's geometry; kind and metadata kept.
    """
    check_size((*image.batch_shape, *target.shape, *image.channels))
    if isinstance(image, Pending):
        return Pending.of(image.chain.then_rearrange(target, move, fill=fill, effect=effect))
    return rearranged(image, target, move, fill)
