"""Resampling onto another spacing, another size, another image's grid, or any grid."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from medjax._geometry._grid import Grid, check_grid, rescaled_size, spacing_of
from medjax._geometry._numbers import as_triple, check_positive, together
from medjax._geometry._transform import Transform
from medjax._geometry._types import Fill, StaticSize, StaticTriple, Triple
from medjax._image._checks import three_integers
from medjax._image._image import Image, check_image
from medjax._space._pending import resample
from medjax._space._planning import Interpolation

__all__ = ["known_size", "resample_to_grid", "resample_to_image", "resample_to_spacing", "respaced", "scale"]

Anchor = Literal["center", "first"]


def resample_to_spacing(
    image: Image,
    spacing: Triple,
    *,
    anchor: Anchor = "center",
    size: StaticSize | None = None,
    antialias: bool = False,
    interpolation: Interpolation | None = None,
    fill: Fill | None = None,
) -> Image:
    r"""Resamples an image onto voxels of the given size; its axes keep their directions.

    The new size is $n' = \max(1, \mathrm{round}(n\,s/s'))$ on each axis. With `anchor="center"` the centre of the field
    of view stays in place. So the result does not depend on how the scan is stored, except that nearest-neighbour ties
    round up the index. With `"first"` the centre of voxel (0, 0, 0) stays in place, as in ITK recipes. The value at new
    index $i'$ interpolates the voxels at $i = A^{-1} A' i'$, formed in float64 on the host. No low-pass filter is
    applied unless `antialias`: then a Gaussian of $\sigma = \sqrt{k^2 - 1} / (2\sqrt{2 \ln 2})$ voxels smooths each
    axis that is reduced by a factor $k = s'/s > 1$, which turns the full width at half maximum of the old voxel into
    that of the new one.

    Args:
        image: Any batch and channels. Labels default to nearest and keep their dtype.
        spacing: New voxel size in mm, one number or three, in the order of the image's own axes i, j, k.
        anchor: The point that stays in place: the centre of the field of view, or voxel (0, 0, 0).
        size: Voxels along i, j, k; default by the rule above. Needed where the geometry or `spacing` is traced, or
            where the items of a batch have different spacings: then the rule gives no single static size.
        antialias: Smooth before sampling along axes that lose resolution; intensities only.
        interpolation: "nearest", "linear" or "bspline"; default by the image's kind.
        fill: Value outside the image: one, or what broadcasts to `(*batch, *channels)` as NumPy does, such as `(c,)`
            per channel; default 0 for labels, the background for intensities. Only `anchor="first"` or a given `size`
            can reach outside the image.

    Returns:
        The image on its new grid, float for intensities.

    Raises:
        ValueError: `spacing` is not finite and positive, the size cannot be known, `antialias` is asked for labels, a
            batch or traced geometry, or a fill or interpolation does not suit the image.

    Transforms:
        Differentiable in the voxels and `fill`, and in `spacing` and a traced affine when `size` is given. Compiles
        once per (shape, new shape, dtype, interpolation), never per scan.

    Example:
        >>> image = mj.Image.from_array(np.arange(4.0)[:, None, None] * np.ones((4, 2, 2)), spacing=(2, 1, 1))
        >>> out = mj.resample_to_spacing(image, 1.0)
        >>> out.shape, out.spacing, out.origin
        ((8, 2, 2), (1.0, 1.0, 1.0), (-0.5, 0.0, 0.0))
        >>> out.voxels[:, 0, 0].tolist()   # taps clamp within half a voxel of the edge
        [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]

    Source: the Gaussian, Cardoso et al., Scale factor point spread function matching, MICCAI 2015, eq. 7.
    """
    check_image(image, "image")
    new = as_triple(spacing, "spacing")
    check_positive(new, "spacing", spacing)
    if anchor not in ("center", "first"):
        raise ValueError(f"anchor must be 'center' or 'first', got {anchor!r}")
    grid = image.grid
    shape = known_size(grid, new) if size is None else three_integers(size, "size", least=1)
    sigma = _smoothing(image, new) if antialias else None
    target = respaced(grid, new, shape, anchor)
    return resample(image, target, interpolation=interpolation, fill=fill, sigma=sigma)


def known_size(grid: Grid, spacing: Any) -> tuple[int, ...]:
    """The size that a grid has at another spacing, `(3,)`; raises `ValueError` where it cannot be known."""
    if not isinstance(spacing, np.ndarray):
        raise ValueError("the new size follows from the spacing, which is traced here: pass size=(i, j, k)")
    if not isinstance(grid.affine, np.ndarray):
        raise ValueError(
            "the new size follows from the image's spacing, which is traced here: pass size=(i, j, k), or close over "
            "the image and pass only its voxels (image.with_voxels)"
        )
    sizes = {rescaled_size(grid.shape, old, spacing) for old in spacing_of(grid.affine).reshape(-1, 3)}
    if len(sizes) > 1:
        raise ValueError(
            f"the items of this batch have different spacings and would get the sizes {sorted(sizes)}: pass "
            "size=(i, j, k)"
        )
    return sizes.pop()


def _smoothing(image: Any, spacing: Any) -> tuple[float, ...]:
    """Gaussian sigma per axis, in input voxels."""
    if image.kind == "label":
        raise ValueError("antialias would mix labels: one_hot the image first, or leave it out")
    affine = image.grid.affine
    if affine.ndim > 2:
        raise ValueError("antialias takes one image at a time: unstack the batch, and stack the results")
    if not (isinstance(affine, np.ndarray) and isinstance(spacing, np.ndarray)):
        raise ValueError(
            "antialias makes its filter on the host, from a geometry that is traced here: close over the image and "
            "pass only its voxels (image.with_voxels), or smooth it first"
        )
    ratio = spacing / spacing_of(affine)
    fwhm = 2 * np.sqrt(2 * np.log(2))
    return tuple(float(s) for s in np.sqrt(np.maximum(ratio**2 - 1, 0)) / fwhm)


def respaced(grid: Grid, spacing: Any, shape: tuple[int, ...], anchor: Anchor) -> Grid:
    """The grid of the same directions with another spacing and size."""
    xp, (affine, spacing) = together(grid.affine, spacing)
    old = spacing_of(affine)
    ratio = xp.broadcast_to(spacing, old.shape) / old
    if anchor == "first":
        return grid.stepped(ratio, np.zeros(3), shape)
    half, new_half = (
        xp.broadcast_to(xp.asarray((np.asarray(size) - 1) / 2, dtype=old.dtype), old.shape)
        for size in (grid.shape, shape)
    )
    return grid.stepped(ratio, half - ratio * new_half, shape)


def resample_to_grid(
    image: Image,
    grid: Grid,
    *,
    transform: Transform | None = None,
    interpolation: Interpolation | None = None,
    fill: Fill | None = None,
) -> Image:
    r"""Resamples an image onto any grid, optionally through a world-to-world transform.

    The value at a voxel of the grid, at world point $x$, interpolates the image at $T(x)$: the transform maps output
    points to input points, as in ITK. A point is inside while $-0.5 \le i < n - 0.5$ on every axis. Taps clamp to the
    edge (spline taps mirror). A point outside gets `fill`.

    Args:
        image: Any batch and channels.
        grid: The grid to fill; one for all, or batched as the image is.
        transform: An `AffineTransform`, `DisplacementField` or `CompositeTransform`, LPS mm; default the identity.
        interpolation: "nearest", "linear" or "bspline"; default by the image's kind.
        fill: Value outside the image: one, or what broadcasts to `(*batch, *channels)` as NumPy does, such as `(c,)`
            per channel; default 0 for labels, the background for intensities.

    Returns:
        The image on the grid: its own kind and metadata, the grid's geometry.

    Raises:
        ValueError: an unknown interpolation, labels to be mixed, or a batch that does not match.

    Warns:
        UserWarning: the grid and the image do not overlap, so the result is all `fill` (known geometry only).

    Transforms:
        Differentiable in the voxels, `fill`, the transform's leaves and both affines. Compiles once per (shape, grid
        shape, dtype, interpolation) and per kind of map: axis-aligned, affine, displaced.

    Example:
        >>> image = mj.Image.from_array(np.arange(4.0).reshape(4, 1, 1))
        >>> out = mj.resample_to_grid(image, mj.Grid.of((3, 1, 1), origin=(0.5, 0, 0)), fill=-1.0)
        >>> out.voxels[:, 0, 0].tolist()
        [0.5, 1.5, 2.5]
    """
    check_image(image, "image")
    check_grid(grid, "grid", "resample_to_image takes an image, Grid.of makes one")
    if transform is None:
        _warn_if_apart(image, grid)
    return resample(image, grid, transform, interpolation=interpolation, fill=fill)


def resample_to_image(
    image: Image,
    reference: Image,
    *,
    transform: Transform | None = None,
    interpolation: Interpolation | None = None,
    fill: Fill | None = None,
) -> Image:
    """Resamples an image onto another image's grid; the moving image first, the reference second.

    Args:
        image: The image that is sampled, any batch and channels; its kind and metadata are the result's.
        reference: Gives the grid; its voxels do not matter.
        transform: Maps the reference's world points to the image's, LPS mm; default the identity.
        interpolation: "nearest", "linear" or "bspline"; default by the image's kind.
        fill: Value outside the image: one, or what broadcasts to `(*batch, *channels)` as NumPy does, such as `(c,)`
            per channel; default 0 for labels, the background for intensities.

    Raises:
        ValueError: as `resample_to_grid`.

    Warns:
        UserWarning: the two images do not overlap.

    Transforms:
        As `resample_to_grid`; differentiable in the transform, so that `optax` can register images through this call.

    Example:
        >>> ct = mj.Image.from_array(np.arange(8.0).reshape(8, 1, 1), spacing=(1, 1, 1))
        >>> pet = mj.Image.from_array(np.zeros((3, 1, 1)), spacing=(2, 1, 1), origin=(1, 0, 0))
        >>> mj.resample_to_image(ct, pet).voxels[:, 0, 0].tolist()
        [1.0, 3.0, 5.0]
    """
    check_image(reference, "reference")
    return resample_to_grid(image, reference.grid, transform=transform, interpolation=interpolation, fill=fill)


def _warn_if_apart(image: Any, grid: Grid) -> None:
    own = image.grid
    affines = own.affine, grid.affine
    if not all(isinstance(affine, np.ndarray) and affine.ndim == 2 for affine in affines) or _overlap(own, grid):
        return
    warnings.warn(
        f"the image and the grid do not overlap, so the result holds nothing but the fill value: the image is centred "
        f"at {own.center.round(1).tolist()} mm, the grid at {grid.center.round(1).tolist()} mm (LPS)",
        UserWarning,
        stacklevel=4,
    )


def _overlap(one: Grid, other: Grid) -> bool:
    """Whether two fields of view meet: no plane along two of their edges separates them.

    Source: Gottschalk et al., OBBTree, SIGGRAPH 1996, section 5; the planes serve for sheared boxes as well.
    """
    boxes = [grid.affine[:3, :3].T * np.asarray(grid.shape)[:, None] for grid in (one, other)]
    edges = np.concatenate(boxes)
    lengths = np.linalg.norm(edges, axis=-1)
    normals = np.cross(edges[:, None], edges[None]) / (lengths[:, None] * lengths)[..., None]
    normals = normals[np.linalg.norm(normals, axis=-1) > 1e-6]  # parallel edges span no plane
    reach = sum(np.abs(normals @ box.T).sum(-1) / 2 for box in boxes)
    return bool((np.abs(normals @ (one.center - other.center)) < reach * (1 - 1e-9)).all())


def scale(image: Image, factor: StaticTriple, *, interpolation: Interpolation | None = None) -> Image:
    """Changes the number of voxels by a factor and keeps the field of view: the spacing changes inversely.

    The new size is `max(1, round(n * factor))`; the new spacing is the extent divided by it, so that the extent is kept
    exactly. No point lies outside the image, so there is nothing to fill.

    Args:
        image: Any batch and channels.
        factor: One positive number or three; 2 doubles the voxels along an axis.
        interpolation: "nearest", "linear" or "bspline"; default by the image's kind.

    Raises:
        ValueError: a factor that is not finite and positive, or is traced.

    Transforms:
        Differentiable in the voxels; the geometry may be traced.

    Example:
        >>> image = mj.Image.from_array(np.zeros((4, 4, 3)), spacing=(1, 1, 2))
        >>> out = mj.scale(image, (2, 1, 0.5))
        >>> out.shape, out.spacing
        ((8, 4, 2), (0.5, 1.0, 3.0))
    """
    check_image(image, "image")
    factors = as_triple(factor, "factor")
    if not isinstance(factors, np.ndarray):
        raise ValueError(
            "factor decides the shape of the result and is traced here: pass numbers, or resample_to_spacing with size="
        )
    check_positive(factors, "factor", factor)
    grid = image.grid
    shape = rescaled_size(grid.shape, factors, np.ones(3))
    ratio = np.asarray(grid.shape) / np.asarray(shape)
    target = grid.stepped(ratio, (np.asarray(grid.shape) - 1) / 2 - ratio * (np.asarray(shape) - 1) / 2, shape)
    return resample(image, target, interpolation=interpolation)
