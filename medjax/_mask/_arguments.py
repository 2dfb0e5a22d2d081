"""What operations on masks take: labels, weights and grids, checked where they are concrete."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from medjax._fork import refuse_in_fork
from medjax._grid import read_only
from medjax._image import Image, unchanging

__all__ = [
    "batch_first",
    "channels_first",
    "check_count",
    "check_image",
    "check_not_empty",
    "check_same_grid",
    "float_like",
    "is_concrete",
    "labels_of",
    "num_labels",
    "voxel_volume",
    "weights_of",
    "without_wrapping",
]

# Two grids are the same when no corner lies further apart than this.
_SAME_GRID_MM = 1e-3


def is_concrete(*values: Any) -> bool:
    """Whether the values' numbers are known now, not only inside a transformation."""
    return not any(isinstance(value, jax.core.Tracer) for value in values)


def check_image(value: Any, name: str) -> None:
    """Raises `ValueError` where something else stands in place of an image."""
    if not isinstance(value, Image):
        raise ValueError(
            f"{name} must be an Image, got {type(value).__name__}; Image.from_array makes one, image.with_voxels one on the "
            "same grid"
        )


def check_count(value: Any, name: str) -> None:
    """Raises `ValueError` unless a static number is a whole one, at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def check_same_grid(image: Image, other: Image, name: str, *, batch: Literal["same", "same or none"] = "same") -> None:
    """Checks that two images lie on one grid: no corner of one is further than `_SAME_GRID_MM` from the other's.

    Args:
        image: The image it is about.
        other: What must lie on its grid; a traced affine is taken to be right.
        name: The argument that an error names.
        batch: Whether `other` may also be one for all items.

    Raises:
        ValueError: shape, batch or affine differ, or one is no image.
    """
    check_image(image, "image")
    check_image(other, name)
    batches = (image.batch_shape,) if batch == "same" else (image.batch_shape, ())
    if other.batch_shape not in batches or other.shape != image.shape:
        raise ValueError(
            f"{name} is {other.batch_shape + other.shape} and the image {image.batch_shape + image.shape}; "
            "bring it to the image's grid with resample_to_image"
        )
    if not is_concrete(image.affine, other.affine):
        return
    corners = np.array(np.meshgrid(*((0.0, n - 1.0) for n in image.shape), indexing="ij")).reshape(3, 8)
    homogeneous = np.concatenate([corners, np.ones((1, 8))])
    apart = np.abs((np.asarray(image.grid.affine) - np.asarray(other.grid.affine)) @ homogeneous).max()
    if not apart <= _SAME_GRID_MM:
        raise ValueError(
            f"{name} lies on another grid: a corner is {apart:.4g} mm away (tolerance {_SAME_GRID_MM} mm); "
            "bring it to the image's grid with resample_to_image"
        )


def labels_of(mask: Image, num_classes: int | None, operation: str = "this operation") -> Any:
    """Returns labels as int32, `(*batch, i, j, k)`; without `num_classes` 1 wherever the mask is not 0.

    Raises:
        ValueError: the mask holds fractions or has channels, or a concrete label is not within 0 to `num_classes - 1`.
    """
    check_image(mask, "mask")
    voxels = mask.voxels
    if voxels.dtype != bool and not jnp.issubdtype(voxels.dtype, np.integer):
        raise ValueError(
            f"{operation} takes booleans or integers, got {voxels.dtype}; compare the mask first, such as voxels > 0.5"
        )
    if mask.channels:
        raise ValueError(
            f"{operation} takes one label per voxel, but the mask has channels {mask.channels}; index them first"
        )
    if num_classes is None:
        return voxels.astype(bool).astype(np.int32)
    check_count(num_classes, "num_classes")
    if is_concrete(voxels):
        low, high = int(voxels.min()), int(voxels.max())
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"labels run from {low} to {high}, but num_classes={num_classes} allows 0 to {num_classes - 1}"
            )
    return voxels.astype(np.int32)


def num_labels(mask: Image, num_classes: int | None) -> int:
    """Returns `num_classes`, or one more than the largest label where that is known.

    Raises:
        ValueError: the mask is traced and `num_classes` is not given.
    """
    check_image(mask, "image")
    if num_classes is not None:
        return num_classes
    if not is_concrete(mask.voxels):
        raise ValueError("inside jit the number of labels is unknown; give num_classes")
    return max(int(mask.voxels.max()), 0) + 1


def weights_of(mask: Image) -> Any:
    """Returns what each voxel counts, channels before space: 1 where integers are not 0, fractions as they are.

    Integers and booleans become int32, so that counts are exact.

    Raises:
        ValueError: the voxels are no numbers, or a concrete one is NaN or infinite, which would make every sum or mean so.
    """
    refuse_in_fork()
    check_image(mask, "mask")
    voxels = mask.voxels
    if voxels.dtype == bool or jnp.issubdtype(voxels.dtype, np.integer):
        voxels = voxels.astype(bool).astype(np.int32)
    elif jnp.issubdtype(voxels.dtype, np.floating):
        voxels = voxels.astype(np.float32) if voxels.dtype.itemsize < 4 else unchanging(voxels)
        _check_finite(voxels)
    else:
        raise ValueError(f"a mask holds booleans, integers or fractions, got {voxels.dtype}")
    return channels_first(voxels, mask)


def _check_finite(voxels: Any) -> None:
    xp = voxels.__array_namespace__()
    if is_concrete(voxels) and not bool(xp.isfinite(voxels).all()):
        nan, infinite = (int(found.sum()) for found in (xp.isnan(voxels), xp.isinf(voxels)))
        what, count = ("NaN", nan) if nan else ("infinite", infinite)
        raise ValueError(
            f"the mask is {what} in {count} of {voxels.size} voxels; say first whether they are inside, 1, or not, 0"
        )


def without_wrapping(voxels: Any) -> Any:
    """Returns amounts as jit takes them without loss: unchanging, and no 64-bit integers without x64."""
    refuse_in_fork()
    if not isinstance(voxels, np.ndarray):
        return voxels
    if voxels.dtype.kind in "iu" and voxels.dtype.itemsize == 8 and not jax.config.read("jax_enable_x64"):
        return read_only(voxels.astype(np.float32))
    return unchanging(voxels)


def channels_first(voxels: Any, image: Image) -> Any:
    """Moves channels in front of space: `(*batch, *channels, i, j, k)`."""
    lead, tail = len(image.batch_shape), len(image.channels)
    order = (*range(lead), *range(lead + 3, lead + 3 + tail), *range(lead, lead + 3))
    return voxels.transpose(order) if tail else voxels


def batch_first(affine: Any, image: Image) -> Any:
    """Gives a per-item array axes of length 1 for the image's channels: `(*batch, 1, ..., *rest)`."""
    lead = len(image.batch_shape)
    return affine.reshape(affine.shape[:lead] + (1,) * len(image.channels) + affine.shape[lead:])


def voxel_volume(affine: Any) -> Any:
    """Returns the volume of a voxel in mm3, `(*batch,)`: the determinant of the affine's linear part."""
    a, b, c = (affine[..., :3, axis] for axis in range(3))
    xp = affine.__array_namespace__()
    return abs((a * xp.linalg.cross(b, c)).sum(-1))


def float_like(value: Any, *others: Any) -> Any:
    """Returns a value as float64 NumPy where it and the others are concrete, else as a traceable float array."""
    if is_concrete(value, *others):
        return np.asarray(value, np.float64)
    return jnp.asarray(value, jax.dtypes.canonicalize_dtype(np.float64))


def check_not_empty(amount: Any, operation: str) -> None:
    """Raises `ValueError` where a concrete amount of mask is not positive; a tracer passes."""
    if not is_concrete(amount):
        return
    empty = np.argwhere(np.asarray(amount).reshape(-1) <= 0).ravel()
    if empty.size:
        where = "" if np.size(amount) == 1 else f" in item (and channel) {empty.tolist()} of {np.size(amount)}"
        least = float(np.min(amount))
        what = "is empty" if least == 0 else f"has weights that sum to {least:g}: they must not be negative"
        raise ValueError(f"{operation}: the mask {what}{where}")
