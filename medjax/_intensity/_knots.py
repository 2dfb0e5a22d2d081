"""Piecewise linear maps between the percentiles of two images, for Nyul's method and for histogram matching."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped, UInt32

from medjax._geometry._numbers import is_traced
from medjax._image._image import Image
from medjax._intensity._parameters import Number, mask_for
from medjax._intensity._percentile import percentiles_of_rows, to_rows
from medjax._intensity._statistics import is_large, selected, spatial_axes, spread_of
from medjax._kernels._values import as_float

__all__ = ["Background", "Foreground", "check_background", "foreground_percentiles", "piecewise_linear"]

# None: nothing is background. "mean": all voxels below the mean are. A number: all voxels that do not exceed it are.
Background = Literal["mean"] | Number | None
Rule = Literal["none", "mean", "number"]


@functools.partial(jax.tree_util.register_dataclass, data_fields=["mask", "threshold"], meta_fields=["rule"])
@dataclasses.dataclass(frozen=True)
class Foreground:
    """The voxels that an image's percentiles are taken from: those that a mask and a background rule leave.

    Attributes:
        mask: A mask of the voxels inside that broadcasts against the image, or `None`.
        threshold: The number of the rule "number".
        rule: The kind of background, static.
    """

    mask: Any
    threshold: Any
    rule: Rule

    @staticmethod
    def of(image: Image, mask: Any, background: Any, name: str = "mask") -> Foreground:
        """Checks a mask and a background rule, and brings them into the form that kernels take.

        Raises:
            ValueError: the mask does not fit the image, or the background is neither `None`, "mean" nor a finite
                number.
        """
        check_background(background)
        rule: Rule = "none" if background is None else "mean" if isinstance(background, str) else "number"
        return Foreground(mask_for(image, mask, name), background if rule == "number" else 0.0, rule)

    @property
    def is_everything(self) -> bool:
        """Whether neither mask nor background leaves a voxel out."""
        return self.mask is None and self.rule == "none"


def check_background(background: Any) -> None:
    """Raises `ValueError` for a background that is neither `None`, "mean" nor one number, finite or traced."""
    if background is None or is_traced(background) or _is_number(background):
        return
    if not isinstance(background, str):
        raise ValueError(f"background must be None, 'mean' or one finite number, got {background!r}")
    if background != "mean":
        raise ValueError(f"background must be None, 'mean' or a number, got {background!r}")


def _is_number(value: Any) -> bool:
    try:
        return np.ndim(value) == 0 and bool(np.isfinite(value))
    except TypeError:
        return False


def foreground_percentiles(
    voxels: Shaped[Array, "*shape"],
    foreground: Foreground,
    shares: UInt32[Array, "k limbs"],
    batch_ndim: int,
    is_counted: bool = False,
) -> tuple[Float[Array, "rows k"], Int[Array, "*count"] | None]:
    """Returns the percentiles of the foreground, one row per item and channel, and its number of voxels.

    The foreground is inside the mask and not background. If it is empty, the mask alone counts; if that is empty too,
    all finite voxels count. The count is `None` without mask and background, unless `is_counted` is set and some voxels
    may not be finite.
    """
    axes, x = spatial_axes(batch_ndim), as_float(voxels)
    where, count = selected(voxels, foreground.mask, axes, is_counted)
    if foreground.rule != "none":
        if foreground.rule == "mean":
            spread = spread_of(x, where, axes, jnp.asarray(0, x.dtype))
            is_foreground = spread.above(x) >= spread.mean
        else:
            is_foreground = x > jnp.asarray(foreground.threshold, x.dtype)
        inside = is_foreground if where is None else is_foreground & where
        left = inside.sum(axes, keepdims=True, dtype=jnp.int32)
        count = left if count is None else jnp.minimum(count, left)
        where = jnp.where(left > 0, inside, True if where is None else where)
    everywhere = jnp.ones(voxels.shape, bool) if where is None else where
    return percentiles_of_rows(to_rows(voxels, batch_ndim), to_rows(everywhere, batch_ndim), shares), count


def piecewise_linear(
    x: Float[Array, "rows n"], knots: Float[Array, "rows k"], values: Float[Array, "rows k"]
) -> Float[Array, "rows n"]:
    """Maps each row's knots, which do not fall, to its values, linearly between them and beyond the ends.

    Equal knots (many voxels of one value, such as background) count as one with the mean of their values, since a
    segment without width has no slope.
    """
    # Powers of 2 round nothing. They are selected, since XLA could contract a factor of 1 with a sum and round
    # differently. The values need more room: as many of them are added up as there are knots.
    is_high, is_far = (is_large(ends).any(1, keepdims=True) for ends in (values, knots))
    x, knots = (jnp.where(is_far, v * 2.0**-4, v) for v in (x, knots))
    values = jnp.where(is_high, values * 2.0**-16, values)
    is_same = knots[:, :, None] == knots[:, None, :]
    values = jnp.where(is_same, values[:, None, :], 0).sum(2) / is_same.sum(2).astype(values.dtype)
    width, rise = jnp.diff(knots), jnp.diff(values)
    # A width so small that the slope would overflow counts as 0. There are two factors because 1 / max is subnormal.
    has_slope = width * 2.0 ** (jnp.finfo(x.dtype).maxexp - 28) > jnp.abs(rise) * 2.0**-27
    y = _mapped(x, knots, values, jnp.where(has_slope, rise / jnp.where(has_slope, width, 1), 0))
    return jnp.where(is_high, y * 2.0**16, y)


@jax.custom_jvp
def _mapped(
    x: Float[Array, "rows n"],
    knots: Float[Array, "rows k"],
    values: Float[Array, "rows k"],
    slopes: Float[Array, "rows s"],
) -> Float[Array, "rows n"]:
    """Adds up the rise of each segment as far as `x` reaches into it: 3 to 5 times as fast as a table look-up."""
    y, last = values[:, :1], slopes.shape[1] - 1
    for n in range(last + 1):
        start, stop = knots[:, n : n + 1], knots[:, n + 1 : n + 2]
        reached = x if n == last else jnp.minimum(x, stop)
        reached = reached if n == 0 else jnp.maximum(reached, start)
        y = y + slopes[:, n : n + 1] * (reached - start)
    return y


@_mapped.defjvp
def _mapped_jvp(primals: Any, tangents: Any) -> Any:
    """Looks up each voxel's one segment: a derivative through the sum would need one reduction per segment."""
    return _mapped(*primals), jax.jvp(_looked_up, primals, tangents)[1]


def _looked_up(x: Any, knots: Any, values: Any, slopes: Any) -> Any:
    """Does the same by table: finds each voxel's segment by bisection, then its start, value and slope."""
    rows, segments = slopes.shape
    row = jnp.arange(rows, dtype=jnp.int32)[:, None]

    def look_up(table: Any, index: Any) -> Any:
        return table.ravel().at[index].get(mode="promise_in_bounds")

    segment = jnp.zeros(x.shape, jnp.int32)
    for step in reversed([2**n for n in range((segments - 1).bit_length())]):
        ahead = jnp.minimum(segment + step, segments - 1)
        segment = jnp.where(look_up(knots, row * (segments + 1) + ahead) <= x, ahead, segment)
    place = row * (segments + 1) + segment
    return look_up(values, place) + look_up(slopes, row * segments + segment) * (x - look_up(knots, place))
