"""Intensity steps of a draw, applied to one image: for all items, or for those that drew the step alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from medjax._image._image import Image
from medjax._image._keys import IMPLEMENTATION
from medjax._kernels._batch import in_all_items
from medjax._kernels._values import as_float

__all__ = ["changed"]


def changed(step: Any, values: dict[str, Any], state: Any, name: str) -> Any:
    """Returns an image's voxels after a step; items that did not draw it keep theirs, bit for bit."""
    voxels, affine, depth = as_float(state.voxels[name]), state.affines[name], state.depth
    if step.computes_for != "item":

        def all_items() -> Any:
            return _of_items(step, values, voxels, affine, depth)

        if step.computes_for == "all":
            return all_items()
        return jax.lax.cond(~in_all_items(~values["applied"].any()), all_items, lambda: voxels)

    def one(operands: Any) -> Any:
        voxels, affine, values = operands
        return jax.lax.cond(values["applied"].any(), lambda: _of_items(step, values, voxels, affine, 0), lambda: voxels)

    lead = voxels.shape[:depth]
    operands = jax.tree.map(lambda x: x.reshape((-1, *x.shape[depth:])), (voxels, affine, values))
    if not depth:
        return one((voxels, affine, values))
    out = jax.lax.map(one, operands)
    return out.reshape(lead + out.shape[1:])


def _of_items(step: Any, values: dict[str, Any], voxels: Any, affine: Any, depth: int) -> Any:
    image = Image(voxels, affine)
    channels = len(image.channels)
    applied = values["applied"]
    is_per_channel = applied.ndim > depth
    given = {}
    for name, value in values.items():
        if name == "applied":
            continue
        if name == "key":
            given["key"] = jax.random.wrap_key_data(value, impl=IMPLEMENTATION)
        elif is_per_channel or not step.differs_by_channel:
            given[name] = value
        else:  # one for all channels
            given[name] = value.reshape(value.shape[:depth] + (1,) * channels + value.shape[depth:])
    out = step.change(image, **given).voxels
    lead = applied.shape[:depth]
    mask = applied.reshape((*lead, 1, 1, 1, *(applied.shape[depth:] if is_per_channel else (1,) * channels)))
    return jnp.where(mask, out, voxels.astype(out.dtype))
