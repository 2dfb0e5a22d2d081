"""What is measured in a region of a PET image: mean, maximum, peak, volume and their product."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from medjax._geometry._grid import inverse_3x3
from medjax._image._image import Image
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import compiled
from medjax._kernels._values import without_wrapping
from medjax._lazy import public
from medjax._mask import at_once, check_same_grid, labels_of, sums_of, voxel_volume
from medjax._pet._factor import holds_suv

__all__ = ["SuvStatistics", "suv_statistics"]

# Radius of a sphere of 1 cm3, in mm.
PEAK_RADIUS_MM = 10 * (3 / (4 * math.pi)) ** (1 / 3)
# Cells per axis into which a voxel is cut where it meets the sphere.
_POINTS = 5
# How many voxels the sphere may reach from its centre where the geometry is traced: enough for voxels of 0.5 mm.
_TRACED_REACH = 13


@public("medjax")
@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["mean", "max", "peak", "total", "volume_ml", "tlg_g", "voxel_count"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class SuvStatistics:
    """Measures of a region, `(*batch,)`, or of every label, `(*batch, num_classes)`. All are 0 where a label has no voxel.

    Units are those of an image in g/ml; of one in cm2/ml (SUVbsa) they are cm2/ml, and cm2 for `tlg_g`.

    Attributes:
        mean: Mean SUV, g/ml.
        max: Largest SUV, g/ml.
        peak: Largest mean SUV over a sphere of 1 cm3, g/ml.
        total: Sum of the voxels' SUV, g/ml.
        volume_ml: Volume in ml.
        tlg_g: Total lesion glycolysis: mean times volume, g.
        voxel_count: Number of voxels, int32.

    Example:
        >>> uptake = mj.Image.from_array(np.full((2, 2, 2), 3.0, np.float32), spacing=10.0)
        >>> found = mj.suv_statistics(uptake, uptake.with_voxels(np.arange(8).reshape(2, 2, 2) < 4))
        >>> float(found.mean), float(found.volume_ml), float(found.tlg_g)
        (3.0, 4.0, 12.0)
    """

    mean: Any
    max: Any
    peak: Any
    total: Any
    volume_ml: Any
    tlg_g: Any
    voxel_count: Any


jax.export.register_pytree_node_serialization(
    SuvStatistics,
    serialized_name="medjax.SuvStatistics",
    serialize_auxdata=lambda aux: b"",
    deserialize_auxdata=lambda raw: (),
)


def suv_statistics(image: Image, mask: Image, *, num_classes: int | None = None) -> SuvStatistics:
    """Measures the uptake in a region, or in every label of a label map.

    The peak is the largest mean over a sphere of 1 cm3 (radius 6.2035 mm) whose centre is the centre of a voxel of the
    region. The sphere may reach beyond the region. A voxel counts by the part of it that lies inside the sphere, summed
    over 5 x 5 x 5 cells (so also for oblique voxels; the sphere's volume is right to 0.5 % for voxels of 4 mm); IBSI counts
    whole voxels, by their centres. What lies beyond the field of view, or is not finite, does not count for the peak; a
    NaN inside the region makes its mean, total and maximum NaN.

    Args:
        image: SUV in g/ml (cm2/ml of "bsa"), no channels, any batch.
        mask: On the same grid, booleans or integers, one per item of a batch.
        num_classes: `None` measures all voxels that are not 0 as one region. A number measures labels 0 to
            `num_classes - 1`, 0 being what has no label.

    Returns:
        The measures, float32, `(*batch,)` or `(*batch, num_classes)` with the label as last index; 0 for an empty region,
        which `voxel_count` tells from a cold one.

    Raises:
        ValueError: the mask lies on another grid or holds fractions, a label is not below `num_classes`, or the image's
            metadata says that it does not hold SUV.

    Transforms:
        `jit`, `vmap`, and differentiable in `image.voxels`. Compiles once per shape, `num_classes` and, where the geometry
        is concrete, the sphere's extent in voxels. Traced: labels beyond `num_classes` are left out, and the peak is NaN
        where voxels are smaller than 0.5 mm.

    Example:
        >>> image = mj.Image.from_array(np.full((9, 9, 9), 2.0), spacing=4.0)
        >>> mask = mj.Image.from_array(np.arange(729).reshape(9, 9, 9) < 81, spacing=4.0, kind="label")
        >>> found = mj.suv_statistics(image, mask)
        >>> [round(float(x), 3) for x in (found.mean, found.peak, found.volume_ml, found.tlg_g)]
        [2.0, 2.0, 5.184, 10.368]

    Source:
        Peak: Wahl RL et al., From RECIST to PERCIST, J Nucl Med 50 (suppl 1):122S (2009), a sphere of about 1.2 cm diameter
        placed for the highest mean; QIBA profile FDG-PET/CT. IBSI calls it the global intensity peak (0F91).
    """
    _check(image, mask)
    labels = labels_of(mask, num_classes)
    affine = image.grid.affine
    sphere = sphere_weights(affine[..., :3, :3], _reach(affine))
    count, total, largest, peak = _measured(without_wrapping(image.voxels), labels, sphere, num_classes or 2)
    with at_once(count, affine):
        volume_ml = jnp.asarray(voxel_volume(affine) / 1000, jnp.float32)[..., None] * count.astype(jnp.float32)
        mean = total / jnp.maximum(count, 1).astype(jnp.float32)
        found = SuvStatistics(mean, largest, peak, total, volume_ml, mean * volume_ml, count)
        return found if num_classes is not None else jax.tree.map(lambda x: x[..., 1], found)


def _check(image: Image, mask: Image) -> None:
    check_same_grid(image, mask, "mask")
    if image.channels or mask.channels:
        raise ValueError(
            f"suv_statistics takes one value per voxel; channels are {image.channels} and {mask.channels}: index them first"
        )
    for metadata in image.metadata if isinstance(image.metadata, tuple) else (image.metadata,):
        if metadata is not None and metadata.extra.get("Units") not in (None, "GML") and not holds_suv(metadata):
            raise ValueError(
                f"the image holds {metadata.extra['Units']}, Units (0054,1001), not SUV; convert it with to_suv"
            )


def _reach(affine: Any) -> tuple[int, int, int]:
    """How many voxels the sphere spans on either side of its centre, along each axis."""
    if not isinstance(affine, np.ndarray):
        return (_TRACED_REACH,) * 3
    rows = inverse_3x3(affine[..., :3, :3])
    reach = np.ceil(PEAK_RADIUS_MM * np.sqrt((rows * rows).sum(-1)) + 0.5).reshape(-1, 3).max(0)
    return int(reach[0]), int(reach[1]), int(reach[2])


def sphere_weights(matrix: Any, reach: tuple[int, int, int]) -> Any:
    """The part of each voxel around a centre that lies inside the sphere, `(..., 2 ri + 1, 2 rj + 1, 2 rk + 1)`.

    Args:
        matrix: `(..., 3, 3)` index to mm.
        reach: Voxels on either side of the centre. Where the sphere reaches further the weights are NaN.
    """
    xp = matrix.__array_namespace__()
    within = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
    offsets = [xp.asarray((np.arange(-r, r + 1)[:, None] + within).reshape(-1), dtype=matrix.dtype) for r in reach]
    i, j, k = offsets[0][:, None, None], offsets[1][None, :, None], offsets[2][None, None, :]
    column = [matrix[..., None, None, None, :, axis] for axis in range(3)]
    squared = sum((column[0][..., c] * i + column[1][..., c] * j + column[2][..., c] * k) ** 2 for c in range(3))
    width = (abs(xp.linalg.det(matrix)) ** (1 / 3) / _POINTS)[..., None, None, None]
    inside = xp.clip((PEAK_RADIUS_MM - squared**0.5) / width + 0.5, 0, 1)
    sizes = [n for r in reach for n in (2 * r + 1, _POINTS)]
    weights = inside.reshape(*matrix.shape[:-2], *sizes).mean((-5, -3, -1))
    rows = inverse_3x3(matrix)
    needed = PEAK_RADIUS_MM * (rows * rows).sum(-1) ** 0.5 - 0.5
    fits = (needed <= xp.asarray(np.array(reach), dtype=matrix.dtype)).all(-1)
    return xp.where(fits[..., None, None, None], weights, xp.asarray(np.nan, dtype=matrix.dtype))


@functools.partial(compiled, static_argnames="classes")
def _measured(voxels: Any, labels: Any, sphere: Any, classes: int) -> Any:
    """`_measure` for each item of a batch."""
    return over_batch(functools.partial(_measure, classes=classes), labels.ndim - 3)(voxels, labels, sphere)


def _measure(
    voxels: Num[Array, "i j k"], labels: Int[Array, "i j k"], sphere: Float[Array, "u v w"], classes: int
) -> tuple[Int[Array, " l"], Float[Array, " l"], Float[Array, " l"], Float[Array, " l"]]:
    """Count, sum, maximum and peak of each label; labels below 0 count nowhere."""
    values = voxels.astype(jnp.float32)
    ids = jnp.where((labels >= 0) & (labels < classes), labels, classes).reshape(-1)
    count = jax.ops.segment_sum(jnp.ones_like(ids), ids, classes + 1)[:classes]
    total = sums_of(values.reshape(-1), ids, classes + 1)[:classes]
    largest = jax.ops.segment_max(values.reshape(-1), ids, classes + 1)[:classes]
    peak = jax.ops.segment_max(_sphere_mean(values, sphere).reshape(-1), ids, classes + 1)[:classes]
    is_there = count > 0
    return count, total, jnp.where(is_there, largest, 0.0), jnp.where(is_there, peak, 0.0)


def _sphere_mean(values: Float[Array, "i j k"], sphere: Float[Array, "u v w"]) -> Float[Array, "i j k"]:
    """Mean over the sphere around each voxel, by Fourier transform: the cost does not grow with the sphere."""
    is_known = jnp.isfinite(values)
    weights = jax.lax.stop_gradient(sphere.astype(values.dtype))
    summed, weight = (_convolved(x, weights) for x in (jnp.where(is_known, values, 0.0), is_known.astype(values.dtype)))
    return summed / jnp.maximum(weight, 0.5 * weights.max())


def _convolved(values: Float[Array, "i j k"], weights: Float[Array, "u v w"]) -> Float[Array, "i j k"]:
    """Sum of the neighbours times weights that are symmetric about their centre, with zeros beyond the edge."""
    sizes = tuple(_quick_length(max(n + m // 2, m)) for n, m in zip(values.shape, weights.shape, strict=True))
    padded = jnp.pad(weights, [(0, n - m) for n, m in zip(sizes, weights.shape, strict=True)])
    kernel = jnp.roll(padded, [-(m // 2) for m in weights.shape], (0, 1, 2))
    spectrum = jnp.fft.rfftn(values, sizes) * jnp.fft.rfftn(kernel)
    i, j, k = values.shape
    return jnp.fft.irfftn(spectrum, sizes)[:i, :j, :k]


def _quick_length(least: int) -> int:
    """The next length without a prime factor above 7, of which transforms are quick."""
    length = least
    while True:
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
