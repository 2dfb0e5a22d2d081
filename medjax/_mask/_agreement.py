"""Agreement of two masks: their overlap and the distances between their surfaces."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import AnyArray, Leaf
from medjax._image._checks import check_same_grid
from medjax._image._image import Image
from medjax._kernels._batch import over_batch
from medjax._kernels._compiled import at_once, compiled
from medjax._lazy import public
from medjax._mask._voxels import labels_of, weights_of
from medjax._optional import optional

__all__ = ["SurfaceDistances", "dice", "surface_distances"]


def dice(mask: Image, reference: Image, *, num_classes: int | None = None) -> AnyArray:
    r"""Returns the Dice coefficient, $2 \sum a b / (\sum a + \sum b)$, of two masks or of each label.

    Args:
        mask: Booleans and integers count 1 where they are not 0; fractions (a soft mask, within 0 to 1) as they are.
            Any batch, any channels (such as of `one_hot`).
        reference: On the same grid, with as many channels.
        num_classes: `None` compares all voxels that are not 0 (or soft weights). A number compares labels 0 to
            `num_classes - 1`.

    Returns:
        `(*batch, *channels)`, or `(*batch, num_classes)`, float32; 1 where both are empty.

    Raises:
        ValueError: the grids or channels differ, labels are out of range, or a known mask holds NaN or a number outside
            0 to 1.

    Transforms:
        `jit`, `vmap`, differentiable in soft voxels; the gradient is 0 where both masks are empty. Traced NaN gives
        NaN. Compiles once per shape and `num_classes`.

    Example:
        >>> a = mj.Image.from_array(np.array([1, 1, 1, 0]).reshape(4, 1, 1), kind="label")
        >>> b = mj.Image.from_array(np.array([0, 1, 1, 1]).reshape(4, 1, 1), kind="label")
        >>> round(float(mj.dice(a, b)), 6)
        0.666667

    Source:
        Dice LR, Ecology 26:297 (1945). Soft masks: sums of the values themselves, not of their squares as in V-Net
        (Milletari et al. 2016). Both agree on crisp masks.
    """
    check_same_grid(mask, reference, "reference")
    if num_classes is not None:
        found, true = (labels_of(image, num_classes, "dice") for image in (mask, reference))
        return _dice_of_labels(found, true, len(mask.batch_shape), num_classes)
    if mask.channels != reference.channels:
        raise ValueError(f"the mask has channels {mask.channels} and the reference {reference.channels}")
    found, true = weights_of(mask, most=1.0), weights_of(reference, "reference", most=1.0)
    if found.dtype != true.dtype:
        with at_once(found, true):
            found, true = found.astype(np.float32), true.astype(np.float32)
    return _dice(found, true)


@compiled
def _dice(found: Num[Array, "*lead i j k"], true: Num[Array, "*lead i j k"]) -> Float[Array, "*lead"]:
    both, one, other = (x.sum((-3, -2, -1)) for x in (found * true, found, true))
    return _ratio(both, one, other)


def _ratio(
    both: Num[Array, "*shape"], one: Num[Array, "*shape"], other: Num[Array, "*shape"]
) -> Float[Array, "*shape"]:
    if not jnp.issubdtype(both.dtype, jnp.floating):  # counts of voxels
        both, one, other = (count.astype(jnp.float32) for count in (both, one, other))
    size = one + other
    is_there = size != 0  # NaN stays NaN
    return jnp.where(is_there, 2 * both / jnp.where(is_there, size, 1), 1)


@functools.partial(compiled, static_argnums=(2, 3))
def _dice_of_labels(
    found: Int[Array, "*shape"], true: Int[Array, "*shape"], batch_axes: int, classes: int
) -> Float[Array, "*batch l"]:
    def item(found: Int[Array, "i j k"], true: Int[Array, "i j k"]) -> Float[Array, " l"]:
        a, b = (jnp.where((x >= 0) & (x < classes), x, classes).reshape(-1) for x in (found, true))
        both, one, other = (
            jax.ops.segment_sum(jnp.ones_like(x), x, classes + 1)[:classes]
            for x in (jnp.where(a == b, a, classes), a, b)
        )
        return _ratio(both, one, other)

    return over_batch(item, batch_axes)(found, true)


@public("medjax")
class SurfaceDistances(NamedTuple):
    """Distances between two surfaces in mm, `(*batch,)` or `(*batch, num_classes)`, float64.

    Attributes:
        hausdorff_mm: The largest distance from a point of either surface to the other.
        hd95_mm: The larger of the two directed 95th percentiles.
        mean_mm: Mean over the points of both surfaces (average symmetric surface distance).

    Example:
        >>> a, b = (mj.Image.from_array(np.arange(9)[:, None, None] == n, spacing=2.0) for n in (1, 4))
        >>> [float(distance) for distance in mj.surface_distances(a, b)]
        [6.0, 6.0, 6.0]
    """

    hausdorff_mm: Leaf
    hd95_mm: Leaf
    mean_mm: Leaf


def surface_distances(mask: Image, reference: Image, *, num_classes: int | None = None) -> SurfaceDistances:
    """Measures how far the surfaces of two masks lie apart, in mm.

    A surface is the set of voxels of a mask that have at least one of their six face neighbours outside it. Each voxel
    stands for its centre, and beyond the edge of the image is outside. From each point of one surface the distance to
    the nearest point of the other is measured in world space, so spacing, obliqueness and shear count. The Hausdorff
    distance is the maximum over both directions. HD95 is the larger of the two directed 95th percentiles (with linear
    interpolation between ranks), not the percentile of both sets pooled. The mean is taken over all points of both
    surfaces.

    Args:
        mask: Booleans or integers, any batch, no channels.
        reference: On the same grid.
        num_classes: `None` compares all voxels that are not 0. A number compares each label 0 to `num_classes - 1`.

    Returns:
        Distances in mm, one per item (and label). 0 where both are empty, infinite where only one is.

    Raises:
        ValueError: the grids differ, the voxels are not integers, or the masks are traced.
        ImportError: SciPy is not installed.

    Transforms:
        None: host only, exact, by a k-d tree.

    Example:
        >>> a, b = np.zeros((6, 3, 3), bool), np.zeros((6, 3, 3), bool)
        >>> a[1, 1, 1], b[4, 1, 1] = True, True
        >>> a, b = (mj.Image.from_array(x, spacing=(2, 1, 1), kind="label") for x in (a, b))
        >>> [float(x) for x in mj.surface_distances(a, b)]
        [6.0, 6.0, 6.0]

    Source:
        Maier-Hein L, Reinke A et al., Metrics reloaded, Nat Methods 21:195 (2024): HD95 and ASSD; MONAI and
        google-deepmind/surface-distance take the same maximum of directed percentiles.
    """
    check_same_grid(mask, reference, "reference")
    if is_traced(mask.voxels, reference.voxels, mask.affine):
        raise ValueError("surface_distances runs on the host: call it outside jit, vmap and grad")
    found, true = (np.asarray(labels_of(x, num_classes, "surface_distances")) for x in (mask, reference))
    matrices = mask.grid.affine[..., :3, :3].reshape(-1, 3, 3)
    classes = (1,) if num_classes is None else range(num_classes)
    rows = [
        [_distances(a == label, b == label, matrix) for label in classes]
        for a, b, matrix in zip(found.reshape(-1, *mask.shape), true.reshape(-1, *mask.shape), matrices, strict=True)
    ]
    shape = mask.batch_shape + (() if num_classes is None else (num_classes,))
    return SurfaceDistances(*np.moveaxis(np.array(rows, np.float64), -1, 0).reshape(3, *shape))


def _distances(found: np.ndarray, true: np.ndarray, matrix: np.ndarray) -> tuple[float, float, float]:
    KDTree = optional("scipy.spatial", "surface_distances").KDTree
    one, other = (surface_points(inside) @ matrix.T for inside in (found, true))
    if not one.size or not other.size:
        far = 0.0 if one.size == other.size else np.inf
        return far, far, far
    there, back = KDTree(other).query(one)[0], KDTree(one).query(other)[0]
    hd95 = max(float(np.percentile(distances, 95)) for distances in (there, back))
    return float(max(there.max(), back.max())), hd95, float(np.concatenate([there, back]).mean())


def surface_points(inside: np.ndarray) -> np.ndarray:
    """Returns the indices, `(n, 3)`, of the voxels that have a face neighbour outside."""
    padded = np.pad(inside, 1)
    core = (slice(1, -1),) * 3
    enclosed = inside.copy()
    for axis in range(3):
        for step in (-1, 1):
            enclosed &= np.roll(padded, step, axis)[core]
    return np.argwhere(inside & ~enclosed)
