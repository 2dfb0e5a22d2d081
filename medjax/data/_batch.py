"""A batch, as the loader gives it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from medjax._geometry._types import AnyArray
from medjax._image._image import Image
from medjax._lazy import public

__all__ = ["Batch"]


@public("medjax.data")
@dataclasses.dataclass(frozen=True)
class Batch:
    """Images of several cases, and what tells them apart; a pytree, so that a jitted step can take it whole.

    Attributes:
        images: Batched images by role, on the device; each item has kept its geometry and, outside of `jit`, its
            metadata.
        keys: `(b,)`, the random key of each item, for `mj.augment`: another one for every item of the stream.
        rows: `(b,)`, the number of each item's case in the cohort.
        step: The number of the batch in the stream.
        extent: `(b, 3)`, the voxels along i, j, k that are the case's own, where the loader has padded; else `None`.

    Example:
        >>> scan = mj.Image.from_array(np.zeros((4, 4, 4)))
        >>> cohort = mj.data.Cohort.of([{"case": name, "ct": scan} for name in "abc"])
        >>> batch = mj.data.Loader(cohort, batch_size=2, shuffle=False).batch(0)
        >>> batch.images["ct"].voxels.shape, batch.keys.shape, batch.rows.tolist(), batch.step
        ((2, 4, 4, 4), (2,), [0, 1], 0)
    """

    images: Mapping[str, Image]
    keys: AnyArray
    rows: AnyArray
    step: Any
    extent: AnyArray = None


jax.tree_util.register_dataclass(Batch, data_fields=["images", "keys", "rows", "step", "extent"], meta_fields=[])
