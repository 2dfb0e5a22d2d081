"""Nyul's intensity standardisation: landmarks learnt from a set of images, then applied to any."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, Shaped, UInt32

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import Leaf
from medjax._image._checks import check_not_empty
from medjax._image._image import Image, as_images
from medjax._image._types import MaskLike
from medjax._intensity._knots import Background, Foreground, check_background, foreground_percentiles, piecewise_linear
from medjax._intensity._parameters import Number, as_numbers, percentiles_of, voxels_of
from medjax._intensity._percentile import fixed_point, from_rows, to_rows
from medjax._intensity._statistics import apply_to_finite, stretched
from medjax._kernels._batch import keeping_sharding
from medjax._kernels._compiled import compiled
from medjax._kernels._values import as_float
from medjax._lazy import public

__all__ = ["NyulLandmarks", "nyul_train", "nyul_transform"]

_DECILES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)


@public("medjax")
@functools.partial(jax.tree_util.register_dataclass, data_fields=("values",), meta_fields=("percentiles", "background"))
@dataclasses.dataclass(frozen=True, eq=False)
class NyulLandmarks:
    """A standard intensity scale, with a position for each percentile of an image.

    It is a pytree with one leaf, `values`; the rest is static.

    Attributes:
        values: `(*channels, k)` positions on the standard scale, which do not fall.
        percentiles: The `k` percentiles of an image's foreground that are mapped there, 0 to 100.
        background: The voxels that percentiles leave out: `None` leaves out none, `"mean"` those below the image's
            mean, a number those that do not exceed it.

    Example:
        >>> landmarks = mj.NyulLandmarks(np.array([0.0, 40.0, 100.0]), (1.0, 50.0, 99.0), background=-900.0)
        >>> mj.NyulLandmarks.from_json(landmarks.to_json())
        NyulLandmarks(values=array([  0.,  40., 100.]), percentiles=(1.0, 50.0, 99.0), background=-900.0)
    """

    values: Leaf
    percentiles: tuple[Number, ...]
    background: Background = None

    def to_json(self) -> str:
        """Writes the landmarks as JSON for a text file; `from_json` restores them to the last bit.

        Example:
            >>> mj.NyulLandmarks(np.array([0.0, 100.0]), (1.0, 99.0)).to_json()
            '{"percentiles": [1.0, 99.0], "values": [0.0, 100.0], "background": null}'
        """
        fields = {
            "percentiles": list(self.percentiles),
            "values": np.asarray(self.values).tolist(),
            "background": self.background,
        }
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> NyulLandmarks:
        """Reads the JSON of `to_json`.

        Raises:
            ValueError: the text is not JSON, a field is missing, or values and percentiles do not fit each other.

        Example:
            >>> text = '{"percentiles": [1, 99], "values": [0, 100], "background": "mean"}'
            >>> mj.NyulLandmarks.from_json(text).background
            'mean'
        """
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"these are not Nyul landmarks: not JSON, {error}") from None
        if not isinstance(fields, dict) or not {"percentiles", "values", "background"} <= set(fields):
            raise ValueError("these are not Nyul landmarks: percentiles, values and background are needed")
        if not isinstance(fields["percentiles"], list):
            raise ValueError(f"percentiles must be a list, got {fields['percentiles']!r}")
        percentiles, values = percentiles_of(fields["percentiles"]), as_numbers(fields["values"], "values")
        if values.ndim < 1 or values.shape[-1] != len(percentiles):
            raise ValueError(
                f"{len(percentiles)} percentiles need as many values per channel, got shape {values.shape}"
            )
        if not np.isfinite(values).all() or (np.diff(values) < 0).any():
            raise ValueError(f"values must be finite and must not fall, got {values.tolist()}")
        check_background(fields["background"])
        return cls(values, percentiles, fields["background"])


def _static_of(percentiles: list[float], background: Background) -> tuple[tuple[float, ...], Background]:
    return tuple(percentiles), background


jax.export.register_pytree_node_serialization(
    NyulLandmarks,
    serialized_name="medjax.NyulLandmarks",
    serialize_auxdata=lambda aux: json.dumps(aux).encode(),
    deserialize_auxdata=lambda raw: _static_of(*json.loads(bytes(raw))),
)


def nyul_train(
    images: Sequence[Image] | Image,
    *,
    masks: Sequence[MaskLike | None] | None = None,
    percentiles: Sequence[Number] = _DECILES,
    range: tuple[Number, Number] = (0.0, 100.0),
    background: Background = None,
) -> NyulLandmarks:
    r"""Learns a standard intensity scale from images.

    The percentiles $p_{i1} \dots p_{ik}$ of each image $i$ are mapped linearly so that the first and last become the
    ends of the range $(a, b)$. The landmarks are the means over the images: $v_j = \frac1N \sum_i a + (b - a)(p_{ij} -
    p_{i1}) / (p_{ik} - p_{i1})$. TorchIO's `HistogramStandardization.train` gives the same values at these percentiles
    (it lists quartiles as well, and leaves 25 and 75 out when it applies them). By default no voxel is background, so
    images with negative values, such as CT, count whole. MedImages.jl drops all voxels that are not positive.

    Args:
        images: Images of one kind of scan, of any sizes; each item of a batch counts as an image.
        masks: A mask, as in `z_score_normalize`, or `None` for each image.
        percentiles: Landmarks, at least two that rise within 0 to 100. Default 1, the deciles, and 99.
        range: Ends of the standard scale.
        background: The voxels that percentiles leave out: `None` leaves out none, `"mean"` those below the image's
            mean, a number those that do not exceed it (0 for skull-stripped MR, -900 HU for CT). The landmarks keep the
            rule.

    Returns:
        Landmarks, with one set of values per channel.

    Raises:
        ValueError: there is no image; an image holds labels or has other channels; its first and last percentile are
            equal (it is constant); or mask and background leave none of its finite voxels. Inside a transformation a
            constant image is left out of the means; a background that leaves nothing is ignored, and an empty mask as
            well.

    Transforms:
        Differentiable in the images' voxels. Compiles once per shape and dtype.

    Example:
        >>> ramp = np.linspace(-1000, 1000, 2001, dtype=np.float32).reshape(2001, 1, 1)
        >>> images = [mj.Image.from_array(ramp), mj.Image.from_array(3 * ramp)]
        >>> mj.nyul_train(images, percentiles=(0, 25, 100)).values.tolist()
        [0.0, 25.0, 100.0]

    Source: Nyul, Udupa, "On standardizing the MR image intensity scale", Magn. Reson. Med. 42 (1999) 1072; deciles as
    in Nyul, Udupa, Zhang, IEEE TMI 19 (2000) 143.
    """
    images = [images] if isinstance(images, Image) else as_images(images)
    masks = [None] * len(images) if masks is None else list(masks)
    if not images or len(masks) != len(images):
        raise ValueError(
            f"nyul_train needs at least one image, and a mask or None for each; got {len(images)} and {len(masks)}"
        )
    found = percentiles_of(percentiles)
    low, high = (float(end) for end in range)
    if not low < high or high - low > float(np.finfo(np.float32).max):
        raise ValueError(f"range must rise from low to high, by no more than float32 holds, got {range!r}")
    if len({image.channels for image in images}) > 1:
        raise ValueError(f"all images must have the same channels, got {[image.channels for image in images]}")
    sums, counts = zip(
        *(
            _trained_on(image, mask, found, (low, high), background, n)
            for n, (image, mask) in enumerate(zip(images, masks, strict=True))
        ),
        strict=True,
    )
    total, count = functools.reduce(jnp.add, sums), functools.reduce(jnp.add, counts)
    # If all images are constant, the percentiles themselves are spread over the range.
    even = jnp.asarray(np.interp(found, (found[0], found[-1]), (low, high)), total.dtype)
    values = jnp.where(count > 0, total / jnp.maximum(count, 1), even.reshape((1,) * (total.ndim - 1) + even.shape))
    return NyulLandmarks(
        values, found, background if background is None or isinstance(background, str) else float(background)
    )


def _trained_on(
    image: Image,
    mask: Any,
    percentiles: tuple[float, ...],
    ends: tuple[float, float],
    background: Background,
    number: int,
) -> tuple[Any, Any]:
    """Sums the mapped percentiles of an image's items, `(*channels, k)`, and counts the items, `(*channels, 1)`."""
    operation = f"nyul_train, image {number}"
    voxels, foreground = voxels_of(image, operation), Foreground.of(image, mask, background)
    mapped, is_usable, count = _standard(
        voxels, foreground, fixed_point(percentiles), ends, batch_ndim=len(image.batch_shape)
    )
    what = "it has" if foreground.is_everything else "mask or background selects"
    check_not_empty(count, f"{operation}: {what} no finite voxel")
    if not is_traced(is_usable) and not np.asarray(is_usable).all():
        raise ValueError(
            f"{operation}: its percentiles {percentiles[0]:g} and {percentiles[-1]:g} are equal, so it has no "
            "intensity scale; leave it out, or give a mask or a background"
        )
    by_channel = (-1, *image.channels)
    total = jnp.where(is_usable, mapped, 0).reshape(*by_channel, len(percentiles)).sum(0)
    return total, is_usable.astype(total.dtype).reshape(*by_channel, 1).sum(0)


@functools.partial(compiled, static_argnames="batch_ndim")
def _standard(
    voxels: Shaped[Array, "*shape"],
    foreground: Foreground,
    shares: UInt32[Array, "k limbs"],
    ends: tuple[Any, Any],
    batch_ndim: int,
) -> tuple[Float[Array, "rows k"], Bool[Array, "rows 1"], Int[Array, "*count"] | None]:
    found, count = foreground_percentiles(voxels, foreground, shares, batch_ndim, is_counted=True)
    first, last = found[:, :1], found[:, -1:]
    low, high = (jnp.asarray(end, found.dtype) for end in ends)
    return stretched(found, first, last, low, high), last > first, count


def nyul_transform(image: Image, landmarks: NyulLandmarks, *, mask: MaskLike | None = None) -> Image:
    r"""Maps intensities onto a learnt standard scale.

    The map takes the image's percentiles to the landmarks' values. It is linear between them and beyond the first and
    last, and it applies to all voxels, background included. TorchIO's `HistogramStandardization` does the same, except
    where several percentiles of the image are equal (usually background): this maps their voxels to the mean of those
    landmarks, TorchIO to the last.

    Statistics are taken per item of a batch and per channel, over finite voxels only. Voxels that are not finite stay
    as they are. A constant image becomes the mean of the landmarks.

    Args:
        image: Intensities, any batch, with the channels of the landmarks.
        landmarks: From `nyul_train`; its background rule is used here too.
        mask: The voxels that percentiles are taken from, as in `z_score_normalize`. Default all.

    Returns:
        The image with float32 voxels (float64 if they were and x64 is on), on the standard scale.

    Raises:
        ValueError: the image holds labels or has other channels, the mask lies on another grid, or mask and background
            leave no finite voxel of an item. Inside a transformation the background is then ignored, and an empty mask
            as well.

    Transforms:
        Differentiable in voxels and `landmarks.values`, between ties. Compiles once per shape and dtype.

    Example:
        >>> landmarks = mj.NyulLandmarks(np.array([0.0, 10.0, 100.0]), (0.0, 50.0, 100.0))
        >>> image = mj.Image.from_array(np.linspace(-1000, 1000, 5, dtype=np.float32).reshape(5, 1, 1))
        >>> mj.nyul_transform(image, landmarks).voxels.ravel().tolist()
        [0.0, 5.0, 10.0, 55.0, 100.0]

    Source: as `nyul_train`.
    """
    if not isinstance(landmarks, NyulLandmarks):
        raise ValueError(
            "landmarks must be NyulLandmarks, from nyul_train or NyulLandmarks.from_json, got "
            f"{type(landmarks).__name__}"
        )
    voxels, depth = voxels_of(image, "nyul_transform"), len(image.batch_shape)
    values, wanted = landmarks.values, (*image.channels, len(landmarks.percentiles))
    if tuple(values.shape) != wanted:
        raise ValueError(
            f"landmarks for an image with channels {image.channels} have shape {wanted}, these have {values.shape}"
        )
    foreground, shares = Foreground.of(image, mask, landmarks.background), fixed_point(landmarks.percentiles)
    kernel = keeping_sharding(functools.partial(_transform, batch_ndim=depth), depth)
    out, count = kernel(voxels, foreground, shares, values)
    check_not_empty(count, "nyul_transform: mask or background selects no finite voxel")
    return image.with_voxels(out)


@functools.partial(compiled, static_argnames="batch_ndim")
def _transform(
    voxels: Shaped[Array, "*shape"],
    foreground: Foreground,
    shares: UInt32[Array, "k limbs"],
    values: Num[Array, "*channels k"],
    batch_ndim: int,
) -> tuple[Float[Array, "*shape"], Int[Array, "*count"] | None]:
    x = as_float(voxels)
    knots, count = foreground_percentiles(voxels, foreground, shares, batch_ndim)
    rows = values.astype(x.dtype).reshape(-1, values.shape[-1])
    rows = jnp.tile(rows, (knots.shape[0] // rows.shape[0], 1))

    def mapped(x: Any) -> Any:
        return from_rows(piecewise_linear(to_rows(x, batch_ndim), knots, rows), x.shape, batch_ndim)

    return apply_to_finite(mapped, x, voxels), count
