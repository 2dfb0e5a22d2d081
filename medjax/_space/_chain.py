"""The steps that wait under `mj.fuse`: maps between grids until one interpolation does them all."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from medjax._geometry._grid import Grid
from medjax._geometry._transform import CompositeTransform
from medjax._image._image import Image
from medjax._kernels._compiled import eagerly
from medjax._kernels._jax import trace_state
from medjax._kernels._values import as_dtype
from medjax._space._buckets import is_bucketing, on_device
from medjax._space._resampling import Wishes, check_interpolation, default_interpolation, resample

__all__ = ["Chain", "Effect", "Move", "casted", "rearranged"]

Move = Callable[[Any], Any]
"""Moves voxels `(*batch, i, j, k, *channels)` to other places, without arithmetic."""

Effect = Literal["reorders", "cuts", "alters"]
"""The effect of an exact step: another order of the same voxels; other bounds of the same lattice; anything else."""


class _Result:
    """The image that a chain leads to, once it is known. One of traced voxels is forgotten outside their trace."""

    def __init__(self) -> None:
        self._kept: tuple[Image, Any] | None = None

    def get(self, make: Callable[[], Image]) -> Image:
        """Returns the image, and makes it first if need be."""
        if self._kept is not None:
            image, made_in = self._kept
            if made_in is None or made_in == trace_state():
                return image
        image = make()
        self._kept = image, trace_state() if isinstance(image.voxels, jax.core.Tracer) else None
        return image


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """An image, the grid that it is on its way to, and the steps in between.

    Either an interpolation waits, as transforms and a target, or a new order of the voxels waits, or nothing does.

    Attributes:
        source: The image as it last had voxels.
        target: Grid of the result; `None` for the source's own.
        transforms: World-to-world transforms, each from a step's output to its input, the first step's first.
        is_waiting: Whether an interpolation waits.
        wishes: Interpolation and fill as the waiting steps asked for them.
        moves: Moves that bring the source's voxels to the target, where no interpolation waits.
    """

    source: Image
    target: Grid | None = None
    transforms: tuple[Any, ...] = ()
    is_waiting: bool = False
    wishes: Wishes = dataclasses.field(default_factory=Wishes)
    moves: tuple[Move, ...] = ()
    _result: _Result = dataclasses.field(default_factory=_Result, init=False, repr=False)

    @functools.cached_property
    def grid(self) -> Grid:
        """Grid of the result."""
        return self.source.grid if self.target is None else self.target

    def then_resample(self, target: Grid, transform: Any, wishes: Wishes) -> Chain:
        """Adds a step that interpolates. One that smooths cannot wait and is done at once."""
        if wishes.interpolation is not None:
            check_interpolation(self.source, wishes.interpolation)
        if wishes.sigma is not None:
            return Chain(resample(self.resolved(), target, transform, wishes))
        rounds = (wishes.interpolation or default_interpolation(self.source)) == "nearest"
        if not self._agrees(wishes) or (rounds and self.moves):  # the order of the voxels decides ties
            return Chain(self.resolved()).then_resample(target, transform, wishes)
        interpolation = wishes.interpolation or self.wishes.interpolation
        fill = self.wishes.fill if wishes.fill is None else wishes.fill
        steps = self.transforms if transform is None else (*self.transforms, transform)
        return Chain(self.source, target, steps, True, Wishes(interpolation, fill))

    def then_rearrange(self, target: Grid, move: Move, *, fill: Any, effect: Effect) -> Chain:
        """Adds an exact step.

        While an interpolation waits, the step only changes the grid to fill. While none does, only a new order waits.
        """
        if self.is_waiting and effect != "alters" and self._agrees(Wishes(fill=fill)):
            return dataclasses.replace(self, target=target)
        if not self.is_waiting and effect == "reorders":
            return dataclasses.replace(self, target=target, moves=(*self.moves, move))
        return Chain(rearranged(self.resolved(), target, move))

    def then_cast(self, dtype: np.dtype) -> Chain:
        """Ends the chain with another dtype, in the same pass where intensities wait to be interpolated."""
        if self.is_waiting and self.source.kind == "intensity":
            return Chain(self._interpolated(dtype))
        return Chain(casted(self.resolved(), dtype))

    def _agrees(self, wishes: Wishes) -> bool:
        """Whether a step asks for the same as the steps that wait."""
        if not self.is_waiting:
            return True
        waiting, fill = self.wishes.interpolation or default_interpolation(self.source), wishes.fill
        is_same = fill is None or fill is self.wishes.fill or _are_equal(fill, self.wishes.fill)
        return wishes.interpolation in (None, waiting) and is_same

    def resolved(self) -> Image:
        """Does the waiting steps and returns the image."""
        if not self.is_waiting and not self.moves:
            return self.source
        return self._result.get(self._interpolated if self.is_waiting else self._moved)

    def _interpolated(self, dtype: Any = None) -> Image:
        transform = CompositeTransform(self.transforms) if self.transforms else None
        return resample(self.source, self.grid, transform, self.wishes._replace(stored=dtype))

    def _moved(self) -> Image:
        voxels = functools.reduce(lambda voxels, move: move(voxels), self.moves, self.source.voxels)
        return dataclasses.replace(self.source, voxels=voxels, affine=self.grid.affine)


def _are_equal(a: Any, b: Any) -> bool:
    """Whether two fill values are known to be the same: only numbers are compared."""
    return isinstance(a, int | float) and isinstance(b, int | float) and a == b


def rearranged(image: Image, target: Grid, move: Move, fill: Any = None) -> Image:
    """Moves an image's voxels to the places of another grid."""
    return dataclasses.replace(image, voxels=_applied(move, image, fill), affine=target.affine)


def casted(image: Image, dtype: np.dtype) -> Image:
    """Brings an image's voxels to a dtype."""
    return dataclasses.replace(image, voxels=_applied(lambda voxels: as_dtype(voxels, dtype), image))


def _applied(move: Move, image: Image, fill: Any = None) -> Any:
    """Applies a step to an image's voxels: in buckets on the host, because a device compiles it for every shape."""
    if isinstance(image.voxels, np.ndarray) or not is_bucketing(image.voxels, fill, len(image.batch_shape)):
        return move(image.voxels)
    with eagerly():
        return on_device(move(np.asarray(image.voxels)))
