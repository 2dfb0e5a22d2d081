"""What a coarser acquisition leaves of an image, on the image's own grid."""

from __future__ import annotations

import functools
from typing import Any, Literal, get_args

from jaxtyping import Array, Float, Num, Shaped

from medjax._geometry._grid import spacing_of
from medjax._geometry._numbers import together
from medjax._geometry._types import Triple
from medjax._image._checks import check_choice
from medjax._image._image import Image
from medjax._intensity._parameters import Limits, amount_for, voxels_of
from medjax._kernels._axis_matrix import along_axes, coarse_matrix
from medjax._kernels._batch import keeping_sharding
from medjax._kernels._compiled import compiled
from medjax._kernels._values import as_float

__all__ = ["degrade_resolution", "of_each_axis"]

SliceProfile = Literal["nearest", "gaussian"]


def degrade_resolution(image: Image, spacing: Triple, *, kernel: SliceProfile = "nearest") -> Image:
    r"""Samples an image coarsely and brings it back onto its grid by linear interpolation.

    Along an axis of $n$ voxels $n' = \max(1, \mathrm{round}(n\,s / s'))$ samples are taken, evenly over the field of
    view, sample $j$ at index $(j + 1/2)\,n / n' - 1/2$. An axis that is already as coarse as `spacing` stays as it is,
    to the bit.

    Args:
        image: Intensities, any batch, any channels. Geometry and metadata stay.
        spacing: Voxel size that is imitated, in mm, above 0: one number, three for i, j and k, or `(*batch, *channels,
            3)` in whole or in part, as values broadcast elsewhere.
        kernel: "nearest" for the voxel nearest to the sample, of two the upper one, as nnU-Net, TorchIO and MONAI do;
            "gaussian" for a mean under a Gaussian of $\sigma = 0.75$ new voxels, mirrored at the ends, as SynthSeg
            does.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on).

    Raises:
        ValueError: the image holds labels, the spacing is not above 0, not finite or of another shape, or the kernel is
            unknown.

    Transforms:
        Differentiable in the voxels. The spacing decides whole numbers of samples, so it has no gradient. Compiles once
        per shape and dtype, not per spacing.

    Example:
        >>> image = mj.Image.from_array(np.arange(4, dtype=np.int16).reshape(4, 1, 1))
        >>> mj.degrade_resolution(image, (2, 1, 1)).voxels.ravel().tolist()
        [1.0, 1.5, 2.5, 3.0]

    Source: nnU-Net's simulation of low resolution; Billot et al., SynthSeg, Med. Image Anal. 86, 2023.
    """
    voxels = voxels_of(image, "degrade_resolution")
    check_choice(kernel, "kernel", get_args(SliceProfile))
    wanted, depth = amount_for(image, spacing, "spacing", Limits(above=0), tail=(3,)), len(image.batch_shape)
    _, (wanted, own) = together(wanted, spacing_of(image.grid.affine))
    own = own.reshape(*own.shape[:-1], *(1,) * (wanted.ndim - own.ndim), 3)
    return image.with_voxels(_degraded(voxels, wanted / own, depth=depth, is_smooth=kernel == "gaussian"))


@functools.partial(compiled, static_argnames=("depth", "is_smooth"))
def _degraded(
    voxels: Shaped[Array, "*shape"], ratio: Num[Array, "*ratio"], depth: int, is_smooth: bool
) -> Float[Array, "*shape"]:
    def degraded(voxels: Any, ratio: Any) -> Any:
        x = as_float(voxels)
        ratios, sizes = of_each_axis(ratio.astype(x.dtype), depth), x.shape[depth : depth + 3]
        matrices = [coarse_matrix(r, n, is_smooth=is_smooth) for r, n in zip(ratios, sizes, strict=True)]
        return along_axes(x, matrices, depth)

    return keeping_sharding(degraded, depth)(voxels, ratio)


def of_each_axis(triples: Any, depth: int) -> list[Any]:
    """Of `(*batch, 1, 1, 1, *channels, 3)` the values of each axis, `(*batch, *channels)`."""
    lead = triples.shape[:depth] + triples.shape[depth + 3 : -1]
    return [triples[..., axis].reshape(lead) for axis in range(3)]
