"""The patch that a call cuts out: where it lies in the reference image, and in the world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import Grid
from medjax._geometry._numbers import is_traced
from medjax._image._checks import three_integers
from medjax._kernels._batch import broadcast
from medjax.augment._points import Boxes, Points

__all__ = ["Patch", "patch_in"]


class Patch(NamedTuple):
    """A box of the reference image.

    Attributes:
        start: Index of its first voxel, `(3,)` or `(*batch, 3)` int32.
        grid: Where it lies in the world.
    """

    start: Any
    grid: Grid


def patch_in(given: Mapping[str, Any], reference: str | None, size: Any, start: Any) -> Patch | None:
    """Finds the patch of a call; `None` where there is no `size`.

    Raises:
        ValueError: there is no image to cut, the patch does not lie inside the reference, or `start` comes alone.
    """
    if size is None:
        if start is not None:
            raise ValueError(f"start={start!r} says where a patch begins; give its size too, size=")
        return None
    box = three_integers(size, "size", least=1)
    if reference is None or isinstance(given[reference], Points | Boxes):
        raise ValueError(f"size={size!r} cuts a patch out of images, and there is none among {sorted(given)}")
    image = given[reference]
    room = np.asarray(image.shape) - box
    if (room < 0).any():
        raise ValueError(
            f"a patch of {box} does not fit into images[{reference!r}] of {image.shape}; pad the images first, or give "
            "a smaller size"
        )
    first: Any = room // 2 if start is None else start if isinstance(start, jax.Array) else np.asarray(start)
    if first.shape not in ((), (3,), (*image.batch_shape, 3)) or not jnp.issubdtype(first.dtype, jnp.integer):
        raise ValueError(f"start must be three integers, or one such triple per item; got {start!r}")
    first = broadcast(first, first.shape or (3,))
    if is_traced(first):
        first = jnp.clip(first, 0, jnp.broadcast_to(jnp.asarray(room, first.dtype), first.shape))
    else:
        first = np.asarray(first)
        if (first < 0).any() or (first > room).any():
            raise ValueError(
                f"a patch of {box} from {first.tolist()} does not lie inside images[{reference!r}] of {image.shape}; "
                "pad the images first, or move the patch"
            )
    first = first.astype(np.int32)
    return Patch(first, image.grid.moved(first.astype(jax.dtypes.canonicalize_dtype(np.float64)), box))
