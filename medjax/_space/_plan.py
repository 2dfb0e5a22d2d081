"""Plan and apply: a resampling is planned on the host in float64 and applied on the device by one jitted kernel.

A plan is the grid to fill, the grid that is sampled and the world-to-world transform between them. Concrete geometry
gives exact integer and fractional tables, and an axis-aligned map takes the separable kernel; traced geometry gives the
same tables as traced values, so that gradients reach the geometry through the same code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import Grid, inverse_3x3, on_host
from medjax._geometry._transform import AffineTransform, stages
from medjax._image._image import Image
from medjax._image._per_item import as_array
from medjax._kernels._adjoint import Inverse
from medjax._kernels._bands import Band, Operator, dense, transposed, without_idle_taps
from medjax._kernels._batch import broadcast
from medjax._kernels._bspline import gaussian_matrix, prefilter_matrix, spline_matrix
from medjax._kernels._compiled import eagerly
from medjax._space import _apply
from medjax._space._buckets import along_axes, is_bucketing, on_device, sampled, through_matrices
from medjax._space._lattice import Lattice, located, snapped, tables_of

__all__ = ["Interpolation", "resample"]

Interpolation = Literal["nearest", "linear", "bspline"]
ORDERS: dict[str, int] = {"nearest": 0, "linear": 1, "bspline": 3}

# Below this many voxels of drift over a whole axis, a map is what it is nearly: aligned with the axes, or integral.
_DRIFT = 1e-6


def resample(
    image: Any,
    target: Grid,
    transform: Any = None,
    *,
    interpolation: Interpolation | None = None,
    fill: Any = None,
    sigma: Sequence[float] | None = None,
    stored: Any = None,
) -> Any:
    """Fills a grid with an image's content, seen through a world-to-world transform.

    Args:
        image: The image that is sampled; any batch, any channels.
        target: The grid to fill; its affine may be batched as the image's.
        transform: Maps target world points to input world points; identity by default.
        interpolation: Default by the image's kind.
        fill: Value outside the image: a number, or what broadcasts to `(*batch, *channels)`; default the background.
        sigma: Gaussian smoothing before sampling, in input voxels per input axis; axis-aligned maps only.
        stored: dtype to bring real intensities to, as `cast` does it; default as they were computed.

    Returns:
        The resampled image, with the image's kind and metadata.
    """
    if jnp.issubdtype(image.dtype, jnp.complexfloating):
        return _by_parts(image, target, transform, interpolation=interpolation, fill=fill, sigma=sigma)
    order = ORDERS[check_interpolation(image, interpolation)]
    source = image.grid
    _check_batch(image, target, transform)
    lattice = located(target, source, transform, _apply.compute_dtype(image))
    is_known = lattice.is_known and lattice.shift is None
    axes = _alignment(lattice.matrix, target.shape) if is_known else None
    if axes is None and sigma is not None:
        raise ValueError("antialias needs concrete geometry and a map along the image's axes; smooth the image first")
    if is_known and is_bucketing(image, fill):
        with eagerly():
            voxels = on_device(
                _apply.as_dtype(_by_bucket(image, lattice, target.shape, axes, order, sigma, fill), stored)
            )
    elif axes is not None:
        voxels = _along_axes(image, lattice, target.shape, axes, order, sigma, fill, stored)
    else:
        voxels = _anywhere(image, lattice, target.shape, order, fill, stored)
    batch = image.batch_shape
    affine = on_host(target.affine)
    if affine.shape[:-2] != batch:
        affine = broadcast(affine, (*batch, 4, 4))
    return dataclasses.replace(image, voxels=voxels, affine=affine)


def _by_parts(image: Image, target: Grid, transform: Any, *, fill: Any, **options: Any) -> Image:
    """Resamples the real and the imaginary part of complex voxels, each with its own background."""
    xp: Any = np if isinstance(image.voxels, np.ndarray) else jnp
    parts = []
    both = None if fill is None else as_array(fill, "fill")
    for part in ("real", "imag"):
        value = None if both is None else getattr(both, part)
        parts.append(
            resample(image.with_voxels(getattr(xp, part)(image.voxels)), target, transform, fill=value, **options)
        )
    real, imaginary = (part.voxels for part in parts)
    is_on_host = isinstance(real, np.ndarray)
    return dataclasses.replace(
        parts[0], voxels=real + 1j * imaginary if is_on_host else jax.lax.complex(real, imaginary)
    )


def _along_axes(
    image: Image, lattice: Lattice, shape: tuple[int, ...], axes: Any, order: int, sigma: Any, fill: Any, stored: Any
) -> Any:
    """Applies an axis-aligned map, one axis after the other."""
    dtype = _apply.compute_dtype(image)
    operators, masks = _operators(lattice, image.shape, shape, axes, order, dtype, sigma, _is_traced(image))
    return _apply.separable(image, operators, masks, axes, fill, dtype, stored)


def _anywhere(image: Image, lattice: Lattice, shape: tuple[int, ...], order: int, fill: Any, stored: Any) -> Any:
    """Applies any map."""
    dtype, sizes, matrix, offset = _apply.compute_dtype(image), image.shape, lattice.matrix, lattice.offset
    is_settled = lattice.is_known and lattice.shift is None
    orders = _orders(matrix, offset, shape, order) if is_settled else (order,) * 3
    if is_settled and orders[2] == 0 and _keeps_lines(matrix, offset, sizes, shape):
        # The last axis travels as channels do: lines of memory are read whole, two to four times as fast.
        matrix, offset, sizes, shape, orders = matrix[..., :2, :2], offset[..., :2], sizes[:2], shape[:2], orders[:2]
    slack = lattice.slack[..., : len(orders)]
    inverse = None
    if is_settled and _is_traced(image):
        eased = offset + np.where(np.asarray(orders) == 0, slack, 0.0)
        inverse = _inverse(matrix, eased, sizes, orders, dtype)
    filters = tuple(
        prefilter_matrix(n, o).astype(dtype) if o > 1 and n > 1 else None for n, o in zip(sizes, orders, strict=True)
    )
    points = None
    if lattice.shift is not None:
        own = image.grid.affine
        points = lattice.shift, inverse_3x3(own[..., :3, :3])
    later = None
    if not lattice.is_known and points is None:
        later = _apply.Later(lattice.kernels(sizes, shape), matrix, offset)
    tables = tables_of(matrix, offset, shape, dtype)
    return _apply.general(image, tables, slack, points, filters, orders, inverse, later, fill, stored)


def _by_bucket(
    image: Image, lattice: Lattice, shape: tuple[int, ...], axes: Any, order: int, sigma: Any, fill: Any
) -> Any:
    """Applies a known map with kernels that are compiled for the bucket of the image's size."""
    sizes, dtype = image.shape, _apply.compute_dtype(image)
    if axes is None:
        tables = tables_of(lattice.matrix, lattice.offset, shape, dtype)
        return sampled(image, tables, lattice.slack.astype(dtype), (order,) * 3, fill)
    is_full = order > 1 or sigma is not None
    dtype = np.dtype(np.float64) if is_full else dtype
    operators, masks = _operators(lattice, sizes, shape, axes, order, dtype, sigma, has_gradient=False)
    if not is_full:
        return along_axes(image, operators, masks, axes, fill)
    matrices = [dense(operator) if isinstance(operator, Band) else operator for operator in operators]
    return through_matrices(image, matrices, masks, axes, fill)


def check_interpolation(image: Any, interpolation: Interpolation | None) -> Interpolation:
    """Returns the interpolation to use: as asked, or by the image's kind."""
    if interpolation is None:
        return "nearest" if image.kind == "label" else "linear"
    if not isinstance(interpolation, str) or interpolation not in ORDERS:
        raise ValueError(f"interpolation must be one of {list(ORDERS)}, got {interpolation!r}")
    if image.kind == "label" and interpolation != "nearest":
        raise ValueError(
            f"interpolation={interpolation!r} would mix labels into ones that mean something else; use 'nearest', "
            "one_hot the image first, or say image.with_kind('intensity')"
        )
    return interpolation


def _check_batch(image: Image, target: Grid, transform: Any) -> None:
    """Refuses geometry that is neither for all items nor one for each."""
    found = [("grid", target.affine.shape[:-2])]
    for stage in stages(transform):
        if isinstance(stage, AffineTransform):
            found += [("matrix", np.shape(stage.matrix)[:-2]), ("center", np.shape(stage.center)[:-1])]
        else:
            found += [("displacement", stage.displacement.shape[:-4]), ("field's affine", stage.affine.shape[:-2])]
    for name, batch in found:
        if tuple(batch) not in ((), image.batch_shape):
            raise ValueError(
                f"the {name} is for a batch of shape {tuple(batch)} and the image's is {image.batch_shape}: give one for all "
                "items or one for each, use jax.vmap, or stack the image"
            )


def _is_traced(image: Image) -> bool:
    return isinstance(image.voxels, jax.core.Tracer)


def _positions(scale: Any, start: Any, count: int) -> np.ndarray:
    """Places along an input axis of an axis-aligned map's output indices."""
    return snapped(scale * np.arange(count) + start)


def _are_whole(positions: np.ndarray) -> bool:
    return bool((np.abs(positions - np.round(positions)) < _DRIFT).all())


def _alignment(matrix: np.ndarray, shape: Sequence[int]) -> tuple[int, ...] | None:
    """Tells which input axis each output axis runs along, or `None` where the map mixes axes."""
    drift = np.abs(matrix) * (np.asarray(shape) - 1)
    along = np.abs(matrix).reshape(-1, 3, 3).max(0).argmax(0)
    mixes = np.ones((3, 3), bool)
    mixes[along, np.arange(3)] = False
    if sorted(along) != [0, 1, 2] or (drift[..., mixes] > _DRIFT).any():
        return None
    return tuple(int(d) for d in along)


def _orders(matrix: np.ndarray, offset: np.ndarray, shape: Sequence[int], order: int) -> tuple[int, ...]:
    """Lowers the order to 0 along input axes that are only ever sampled at voxel centres: exact, and fewer taps."""
    reach = np.asarray(shape) - 1
    whole = (np.abs(matrix - np.round(matrix)) * reach < _DRIFT).all(-1) & (np.abs(offset - np.round(offset)) < _DRIFT)
    return tuple(0 if exact else order for exact in whole.reshape(-1, 3).all(0))


def _keeps_lines(matrix: np.ndarray, offset: np.ndarray, sizes: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether every output line along the last axis is sampled in one input line, voxel by voxel."""
    moves = np.abs(matrix - np.eye(3)) * (np.asarray(shape) - 1)
    apart = np.concatenate([moves[..., 2, :], moves[..., :, 2], np.abs(offset[..., 2:])], axis=-1)
    return sizes[2] == shape[2] and bool((apart < _DRIFT).all())


def _inverse(
    matrix: np.ndarray, offset: np.ndarray, shape: Sequence[int], orders: Sequence[int], dtype: Any
) -> Inverse | None:
    """The map from input to output index, with how many outputs can touch a voxel; `None` where that is many."""
    if max(orders) > 1:
        return None
    back = np.linalg.inv(matrix)
    away = -(back @ offset[..., None])[..., 0]
    support = np.where(np.asarray(orders) == 0, 0.5, 1.0)
    half = (np.abs(back) * support).sum(-1)
    reach = tuple(int(n) for n in np.ceil(2 * half - 1e-9).reshape(-1, half.shape[-1]).max(0))
    if np.prod(reach) > 150:
        return None
    return Inverse(tables_of(back, away, shape, dtype), matrix.astype(dtype), half.astype(dtype), reach)


def _operators(
    lattice: Lattice,
    sizes: Sequence[int],
    shape: Sequence[int],
    axes: tuple[int, ...],
    order: int,
    dtype: Any,
    sigma: Sequence[float] | None,
    has_gradient: bool,
) -> tuple[Any, Any]:
    """Builds for each output axis the one-dimensional operator and the mask of what lies inside; stacked for a batch."""
    matrix, offset, batch = lattice.matrix, lattice.offset, lattice.offset.shape[:-1]
    operators, masks = [], []
    for out_axis, axis in enumerate(axes):
        scale, start = matrix[..., axis, out_axis].reshape(-1, 1), offset[..., axis].reshape(-1, 1)
        positions = _positions(scale, start, shape[out_axis])
        eased = positions + lattice.slack[..., axis].reshape(-1, 1)
        size, whole = sizes[axis], _are_whole(positions)
        smooth = sigma[axis] if sigma is not None else 0.0
        rows = eased if order == 0 and not whole else positions
        made = [_operator(row, size, 0 if whole else order, dtype, smooth, has_gradient) for row in rows]
        operators.append(made[0] if not batch else _stacked(made, batch))
        masks.append(((eased >= -0.5) & (eased < size - 0.5)).reshape(*batch, -1))
    return tuple(operators), tuple(masks)


def _operator(positions: np.ndarray, size: int, order: int, dtype: Any, sigma: float, has_gradient: bool) -> Operator:
    positions = np.clip(positions, -0.5, size - 0.5)
    if order > 1 or sigma > 0:
        matrix = spline_matrix(positions, size, order) if order > 1 else dense(_band(positions, size, order))
        return (matrix @ gaussian_matrix(size, sigma) if sigma > 0 else matrix).astype(dtype)
    band = _band(positions, size, order)
    back = _cast(transposed(band), dtype) if has_gradient else None
    return dataclasses.replace(_cast(without_idle_taps(band), dtype), back=back)


def _cast(band: Band, dtype: Any) -> Band:
    return band if band.weight is None else dataclasses.replace(band, weight=band.weight.astype(dtype))


def _band(positions: np.ndarray, size: int, order: int) -> Band:
    if order == 0:
        nearest = np.clip(np.floor(positions + 0.5), 0, size - 1)
        return Band(nearest.astype(np.int32)[:, None], None, size)
    low = np.floor(positions)
    place = positions - low
    index = np.clip(np.stack([low, low + 1], axis=-1), 0, size - 1).astype(np.int32)
    return Band(index, np.stack([1 - place, place], axis=-1), size)


def _stacked(made: list[Operator], batch: tuple[int, ...]) -> Operator:
    """Stacks the operators of a batch; transposed bands are padded to one width with entries of weight 0."""

    def stack(*parts: Any) -> Any:
        width = max(part.shape[-1] for part in parts)
        padded = [np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, width - part.shape[-1])]) for part in parts]
        return np.stack(padded).reshape(*batch, *padded[0].shape)

    return jax.tree.map(stack, *made)
