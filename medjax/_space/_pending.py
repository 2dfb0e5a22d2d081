"""An image whose interpolation is still to come: what operations work on inside a fused function."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from medjax._geometry._grid import Grid
from medjax._geometry._numbers import check_size
from medjax._geometry._transform import CompositeTransform
from medjax._image._dtypes import result_dtype
from medjax._image._image import Image, flattened, flattened_with_keys, unflattened
from medjax._kernels._compiled import eagerly
from medjax._kernels._jax import trace_state
from medjax._kernels._values import as_dtype
from medjax._space import _resampling
from medjax._space._buckets import is_bucketing, on_device
from medjax._space._resampling import check_interpolation, default_interpolation

__all__ = ["Pending", "cast", "rearrange", "resample"]

Effect = Literal["reorders", "cuts", "alters"]
"""What an exact step does: the same voxels in another order; other bounds of the same lattice; anything else."""


class Pending(Image):
    """An image, the grid that it is to be brought to, and the transforms on the way.

    An `Image` whose geometry is known at once and whose `voxels` are interpolated when asked for. A step that asks for an
    interpolation or a fill value other than the one that waits ends the chain: what waits is interpolated first. So does
    a JAX transformation that the image enters, as the pytree that every image is; inside it another chain begins. None
    leaves the fused function. It is made as an `Image` is, for `dataclasses.replace`, and then begins a chain.

    Attributes:
        source: The image as it last had voxels.
        target: Grid of the result.
        transforms: World-to-world transforms, each from a step's output to its input, the first step's first.
        is_waiting: Whether there is anything to interpolate.
        options: `interpolation` and `fill` as the steps asked for them.
        reordered: What moves the source's voxels to the target, while there is nothing to interpolate.
    """

    source: Image
    transforms: tuple[Any, ...] = ()
    is_waiting: bool = False
    options: tuple[Any, Any] = (None, None)
    reordered: tuple[Callable[[Any], Any], ...] = ()

    def __init__(self, voxels: Any, affine: Any, kind: Any = "intensity", metadata: Any = None):
        vars(self)["source"] = Image(voxels, affine, kind, metadata)

    @staticmethod
    def of(image: Image) -> Pending:
        chain = object.__new__(Pending)
        vars(chain)["source"] = image
        return chain

    @functools.cached_property
    def target(self) -> Grid:
        return self.source.grid

    def _but(self, **changes: Any) -> Pending:
        """The same chain with other attributes."""
        chain = object.__new__(Pending)
        vars(chain).update({name: value for name, value in vars(self).items() if name != "done"}, **changes)
        return chain

    def then_resample(self, target: Grid, transform: Any, *, interpolation: Any, fill: Any, sigma: Any) -> Pending:
        """Adds a step that interpolates; smoothing cannot wait and is done at once."""
        if interpolation is not None:
            check_interpolation(self, interpolation)
        if sigma is not None:
            done = _resampling.resample(
                self.resolved(), target, transform, interpolation=interpolation, fill=fill, sigma=sigma
            )
            return Pending.of(done)
        rounds = (interpolation or default_interpolation(self)) == "nearest"
        if not self._agrees(interpolation, fill) or (rounds and self.reordered):  # ties fall by the order of the voxels
            return Pending.of(self.resolved()).then_resample(
                target, transform, interpolation=interpolation, fill=fill, sigma=None
            )
        options = (interpolation or self.options[0], fill if fill is not None else self.options[1])
        steps = self.transforms if transform is None else (*self.transforms, transform)
        return self._but(target=target, transforms=steps, is_waiting=True, options=options, reordered=())

    def then_rearrange(self, target: Grid, move: Callable[[Any], Any], *, fill: Any, effect: Effect) -> Pending:
        """Adds an exact step: while an interpolation waits, only another grid to fill; before one, only a new order waits."""
        if self.is_waiting and effect != "alters" and self._agrees(None, fill):
            return self._but(target=target)
        if not self.is_waiting and effect == "reorders":
            return self._but(target=target, reordered=(*self.reordered, move))
        return Pending.of(rearrange(self.resolved(), target, move))

    def then_cast(self, dtype: np.dtype) -> Pending:
        """Ends the chain with another dtype, in the same pass where intensities wait to be interpolated."""
        if self.is_waiting and self.kind == "intensity":
            return Pending.of(self._interpolated(dtype))
        return Pending.of(cast(self.resolved(), dtype))

    def _agrees(self, interpolation: Any, fill: Any) -> bool:
        """Whether a step's wishes are those of the steps that wait."""
        if not self.is_waiting:
            return True
        waiting = self.options[0] or default_interpolation(self)
        return interpolation in (None, waiting) and (
            fill is None or fill is self.options[1] or _equal(fill, self.options[1])
        )

    def resolved(self) -> Image:
        """Does what waits and returns the image."""
        if not self.is_waiting and not self.reordered:
            return self.source
        done, made_in = vars(self).get("done", (None, None))
        if done is not None and (made_in is None or made_in == trace_state()):
            return done
        if self.is_waiting:
            done = self._interpolated()
        else:
            voxels = functools.reduce(lambda voxels, move: move(voxels), self.reordered, self.source.voxels)
            done = dataclasses.replace(self.source, voxels=voxels, affine=self.target.affine)
        is_traced = isinstance(done.voxels, jax.core.Tracer)  # then it is of no use beyond this trace
        vars(self)["done"] = done, trace_state() if is_traced else None
        return done

    def _interpolated(self, dtype: Any = None) -> Image:
        transform = CompositeTransform(self.transforms) if self.transforms else None
        interpolation, fill = self.options
        return _resampling.resample(
            self.source, self.target, transform, interpolation=interpolation, fill=fill, stored=dtype
        )

    @property
    def voxels(self) -> Any:  # type: ignore[override]
        return self.resolved().voxels

    @property
    def affine(self) -> Any:  # type: ignore[override]
        return self.target.affine

    @property
    def kind(self) -> Any:  # type: ignore[override]
        return self.source.kind

    @property
    def metadata(self) -> Any:  # type: ignore[override]
        return self.source.metadata

    @property
    def grid(self) -> Grid:
        return self.target

    @property
    def shape(self) -> tuple[int, ...]:
        return self.target.shape

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.source.batch_shape

    @property
    def channels(self) -> tuple[int, ...]:
        return self.source.channels

    @property
    def dtype(self) -> Any:
        return result_dtype(self.source.dtype, is_label=self.kind == "label") if self.is_waiting else self.source.dtype

    def with_voxels(self, voxels: Any) -> Pending:
        return Pending.of(self.resolved().with_voxels(voxels))

    def with_metadata(self, metadata: Any) -> Pending:
        return self._but(source=self.source.with_metadata(metadata))

    def with_kind(self, kind: Any) -> Pending:
        return Pending.of(self.resolved().with_kind(kind))


jax.tree_util.register_pytree_with_keys(
    Pending,
    lambda chain: flattened_with_keys(chain.resolved()),
    lambda structure, leaves: Pending.of(unflattened(structure, leaves)),
    lambda chain: flattened(chain.resolved()),
)


def _equal(a: Any, b: Any) -> bool:
    """Whether two fill values are the same; traced and array values are taken for different, which is safe."""
    return isinstance(a, int | float) and isinstance(b, int | float) and a == b


def resample(
    image: Image, target: Grid, transform: Any = None, *, interpolation: Any = None, fill: Any = None, sigma: Any = None
) -> Any:
    """Fills a grid with an image's content, at once or, under `fuse`, when the chain ends; arguments as `_resampling.resample`."""
    check_size((*image.batch_shape, *target.shape, *image.channels))
    if isinstance(image, Pending):
        return image.then_resample(target, transform, interpolation=interpolation, fill=fill, sigma=sigma)
    return _resampling.resample(image, target, transform, interpolation=interpolation, fill=fill, sigma=sigma)


def cast(image: Image, dtype: np.dtype) -> Any:
    """Brings voxels to a dtype that suits them, at once or, under `fuse`, together with the interpolation that waits."""
    if isinstance(image, Pending):
        return image.then_cast(dtype)
    return dataclasses.replace(image, voxels=_moved(image, lambda voxels: as_dtype(voxels, dtype)))


def rearrange(
    image: Any, target: Grid, move: Callable[[Any], Any], *, fill: Any = None, effect: Effect = "alters"
) -> Any:
    """Applies an exact operation: the same voxels, in other places of a lattice that continues the image's own.

    Args:
        image: An image, or a chain that waits under `fuse`.
        target: The grid of the result.
        move: Moves voxels `(*batch, i, j, k, *channels)` to it.
        fill: The value that the operation adds, where it adds any.
        effect: "reorders" or "cuts" where sampling the image at the target's points, with that fill outside, says the same.

    Returns:
        The image with `move` applied and the target's geometry; kind and metadata kept.
    """
    check_size((*image.batch_shape, *target.shape, *image.channels))
    if isinstance(image, Pending):
        return image.then_rearrange(target, move, fill=fill, effect=effect)
    return dataclasses.replace(image, voxels=_moved(image, move, fill), affine=target.affine)


def _moved(image: Image, move: Callable[[Any], Any], fill: Any = None) -> Any:
    """Applies a step to an image's voxels; in buckets on the host, for on a device every shape would be compiled."""
    if isinstance(image.voxels, np.ndarray) or not is_bucketing(image.voxels, fill, len(image.batch_shape)):
        return move(image.voxels)
    with eagerly():
        return on_device(move(np.asarray(image.voxels)))
