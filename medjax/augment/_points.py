"""Points and boxes that move with the images."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import Leaf, Voxels
from medjax._lazy import public

__all__ = ["Boxes", "Points", "corners_of"]


@public("medjax.augment")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """Landmarks that move with the content of the images beside them.

    Attributes:
        positions: `(*batch, n, 3)` LPS mm.

    Example:
        >>> image = mj.Image.from_array(np.zeros((8, 8, 8), np.float32))
        >>> both = {"ct": image, "landmarks": mj.augment.Points.of([[1, 2, 3]])}
        >>> right = mj.augment.affine(translation=mj.augment.fixed((2, 0, 0)), rotation=0, scale=1)
        >>> right(jax.random.key(0), both)["landmarks"].positions.tolist()
        [[3.0, 2.0, 3.0]]
    """

    positions: Leaf

    @staticmethod
    def of(positions: Voxels) -> Points:
        """Builds and checks points: `(*batch, n, 3)` LPS mm.

        Raises:
            ValueError: they are no numbers of that shape.

        Example:
            >>> mj.augment.Points.of([[1, 2, 3]]).batch_shape
            ()
        """
        return Points(_checked(positions, "positions"))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading batch axes."""
        return tuple(self.positions.shape[:-2])


@public("medjax.augment")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes along the world's axes that move with the content of the images beside them.

    A moved box is the smallest around the moved corners and middles of the edges of the old one.

    Attributes:
        low: The lower corner of each, `(*batch, n, 3)` LPS mm.
        high: The upper corner.

    Example:
        >>> boxes = mj.augment.Boxes.of([[0, 0, 0]], [[2, 4, 2]])
        >>> image = mj.Image.from_array(np.zeros((8, 8, 8), np.float32), origin=(-3.5, -3.5, -3.5))
        >>> turn = mj.augment.affine(rotation=mj.augment.fixed((0, 0, 90)), scale=1)
        >>> turn(jax.random.key(0), {"ct": image, "boxes": boxes})["boxes"].high.round(4).tolist()
        [[0.0, 2.0, 2.0]]
    """

    low: Leaf
    high: Leaf

    @staticmethod
    def of(low: Voxels, high: Voxels) -> Boxes:
        """Builds and checks boxes from their corners, `(*batch, n, 3)` LPS mm.

        Raises:
            ValueError: they are no numbers of that shape, or `low` lies above `high`.

        Example:
            >>> mj.augment.Boxes.of([[0, 0, 0]], [[1, 2, 3]]).batch_shape
            ()
        """
        first, second = _checked(low, "low"), _checked(high, "high")
        if first.shape != second.shape:
            raise ValueError(f"low and high must have one shape, got {first.shape} and {second.shape}")
        if not is_traced(first, second) and (np.asarray(first) > np.asarray(second)).any():
            raise ValueError("low must not lie above high on any axis")
        return Boxes(first, second)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading batch axes."""
        return tuple(self.low.shape[:-2])


def _checked(positions: Any, name: str) -> Any:
    array = positions if isinstance(positions, jax.Array) else np.asarray(positions)
    if (
        array.ndim < 2
        or array.shape[-1] != 3
        or not (jnp.issubdtype(array.dtype, np.floating) or jnp.issubdtype(array.dtype, np.integer))
    ):
        raise ValueError(f"{name} must be numbers (*batch, n, 3), LPS mm; got {array.dtype} of shape {array.shape}")
    return array


def corners_of(low: Any, high: Any) -> Any:
    """The corners of boxes `(n, 3)` and the middles of their edges, `(n, 20, 3)`."""
    steps = np.stack(np.meshgrid(*[[0.0, 0.5, 1.0]] * 3, indexing="ij"), -1).reshape(-1, 3)
    steps = steps[(steps == 0.5).sum(1) <= 1]
    share = jnp.asarray(steps, low.dtype)[None]
    return low[:, None, :] * (1 - share) + high[:, None, :] * share
