"""Resampling of images: a plan between two grids, and the voxels through it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from medjax._geometry._grid import Grid
from medjax._geometry._numbers import is_traced, on_host
from medjax._image._dtypes import compute_dtype
from medjax._kernels._batch import broadcast
from medjax._space._execute import execute
from medjax._space._planning import ORDERS, Interpolation, Manner, planned

__all__ = ["Wishes", "check_interpolation", "default_interpolation", "resample"]


class Wishes(NamedTuple):
    """How an image is to be sampled, as the caller of an operation says it.

    Attributes:
        interpolation: `None` for the one that the image's kind asks for.
        fill: Value outside the image: a number, or what broadcasts to `(*batch, *channels)`; `None` for the background.
        sigma: Gaussian smoothing before sampling, in voxels of the source along each of its axes; only for maps along
            the axes.
        stored: dtype to bring real intensities to, as `cast` does it; `None` keeps the one that they were computed in.
    """

    interpolation: Interpolation | None = None
    fill: Any = None
    sigma: Sequence[float] | None = None
    stored: Any = None


def resample(image: Any, target: Grid, transform: Any, wishes: Wishes) -> Any:
    """Fills a grid with an image's content, seen through a world-to-world transform.

    Args:
        image: The image that is sampled; any batch, any channels.
        target: The grid to fill; its affine may be batched as the image's.
        transform: Maps world points of the target to world points of the source; `None` for the identity.
        wishes: How to sample.

    Returns:
        The resampled image, with the image's kind and metadata.
    """
    order = ORDERS[check_interpolation(image, wishes.interpolation)]
    manner = Manner(order, compute_dtype(image.dtype), is_traced(image.voxels), wishes.sigma)
    plan = planned(target, image.grid, transform, manner)
    voxels = execute(plan, image.voxels, wishes.fill, is_label=image.kind == "label", stored=wishes.stored)
    affine = on_host(target.affine)
    if affine.shape[:-2] != image.batch_shape:
        affine = broadcast(affine, (*image.batch_shape, 4, 4))
    return dataclasses.replace(image, voxels=voxels, affine=affine)


def default_interpolation(image: Any) -> Interpolation:
    """The interpolation that an image's kind asks for."""
    return "nearest" if image.kind == "label" else "linear"


def check_interpolation(image: Any, interpolation: Interpolation | None) -> Interpolation:
    """Returns the interpolation to use: as asked, or by the image's kind."""
    if interpolation is None:
        return default_interpolation(image)
    if not isinstance(interpolation, str) or interpolation not in ORDERS:
        raise ValueError(f"interpolation must be one of {list(ORDERS)}, got {interpolation!r}")
    if image.kind == "label" and interpolation != "nearest":
        raise ValueError(
            f"interpolation={interpolation!r} would mix labels into ones that mean something else; use 'nearest', "
            "one_hot the image first, or say image.with_kind('intensity')"
        )
    return interpolation
