"""World-to-world transforms: small pytrees that say where in the input each output point is taken from (ITK's sense)."""

from __future__ import annotations

import dataclasses
import json
import operator
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np

from medjax._geometry._grid import (
    Grid,
    check_affine,
    inverse_3x3,
    is_singular,
    on_host,
    product,
    same_rank,
    transformed,
)
from medjax._lazy import public

__all__ = ["AffineTransform", "CompositeTransform", "DisplacementField", "Transform", "stages"]


class About(NamedTuple):
    """What is known of an affine transform that was made for a lattice, also where its numbers are traced.

    Attributes:
        affine: The lattice, `(*batch, 4, 4)`: the very array, for it is told by identity.
        index: The centre's index in it, `(*batch, 3)`, where the centre is its own.
        axis: The axis of the lattice that is turned about, where it is one.
    """

    affine: Any
    index: Any = None
    axis: int | None = None


@public("medjax")
@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False)
class AffineTransform:
    r"""An affine map of world points, $T(x) = L\,(x - c) + c + t$, in LPS mm, from output to input (ITK).

    A pytree: its leaves may be traced, so `optax` can optimise them directly.

    Attributes:
        matrix: `(*batch, 4, 4)`, linear part $L$ and translation $t$ in mm.
        center: `(*batch, 3)` fixed point $c$ of the linear part, LPS mm; default the origin.
        about: What the operation that made the transform knows of it; nobody else need give it.

    Example:
        >>> shift = mj.AffineTransform.of(mj.affine_matrix(translation=(1, 2, 3)))
        >>> shift(np.zeros(3)).tolist(), shift.inverse()(np.zeros(3)).tolist()
        ([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0])
    """

    matrix: Any
    center: Any
    about: About | None = dataclasses.field(default=None, repr=False)

    @staticmethod
    def of(matrix: Any, *, center: Any = None) -> AffineTransform:
        """Builds and checks a transform from a 4x4 matrix, concrete or traced, and a centre.

        Raises:
            ValueError: the matrix is not (..., 4, 4), its last row is not (0, 0, 0, 1), or a number is not finite.

        Example:
            >>> mj.AffineTransform.of(np.eye(4)).center.tolist()
            [0.0, 0.0, 0.0]
        """
        matrix = on_host(matrix)
        if matrix.shape[-2:] != (4, 4):
            raise ValueError(f"an affine transform is a (..., 4, 4) matrix, got shape {matrix.shape}")
        if isinstance(matrix, np.ndarray) and not (
            np.isfinite(matrix).all() and (matrix[..., 3, :] == (0, 0, 0, 1)).all()
        ):
            raise ValueError(f"an affine transform is finite with last row (0, 0, 0, 1), got {matrix.tolist()}")
        center = on_host(np.zeros(3) if center is None else center)
        if center.shape[-1:] != (3,):
            raise ValueError(f"center must be three numbers, LPS mm; got shape {center.shape}")
        if isinstance(center, np.ndarray) and not np.isfinite(center).all():
            raise ValueError(f"center must be finite, LPS mm; got {center.tolist()}")
        return AffineTransform(matrix, center)

    def __call__(self, points: Any) -> Any:
        """Maps world points `(..., 3)`, LPS mm."""
        turned = transformed(self.matrix[..., :3, :3], operator.sub(*same_rank(points, self.center)))
        fixed = operator.add(*same_rank(self.center, self.matrix[..., :3, 3]))
        return operator.add(*same_rank(turned, fixed))

    def inverse(self) -> AffineTransform:
        """Returns the inverse map, about the same centre.

        Raises:
            ValueError: the matrix is singular: it squashes the world flat, and nothing leads back.

        Example:
            >>> turn = mj.AffineTransform.of(mj.affine_matrix(rotation=(0, 0, 90)), center=(1.0, 0.0, 0.0))
            >>> turn.inverse()(turn(np.array([3.0, 4.0, 5.0]))).round(12).tolist()
            [3.0, 4.0, 5.0]
        """
        if isinstance(self.matrix, np.ndarray) and is_singular(self.matrix):
            raise ValueError(
                f"matrix is singular: it squashes the world flat and has no inverse, got {self.matrix.tolist()}"
            )
        linear = inverse_3x3(self.matrix[..., :3, :3])
        shift = -product(linear, self.matrix[..., :3, 3:])
        xp = linear.__array_namespace__()
        return AffineTransform(
            xp.concatenate([xp.concatenate([linear, shift], axis=-1), self.matrix[..., 3:, :]], axis=-2),
            self.center,
            self.about,
        )

    def tree_flatten(self) -> tuple[Any, None]:
        return (self.matrix, self.center), None

    @classmethod
    def tree_unflatten(cls, aux: None, leaves: Any) -> AffineTransform:
        return cls(*leaves)


@public("medjax")
@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False)
class DisplacementField:
    r"""A dense displacement, $T(x) = x + u(x)$, in LPS mm: $u$ is interpolated linearly, and 0 outside its grid (ITK).

    Attributes:
        displacement: `(*batch, i, j, k, 3)`, LPS mm.
        affine: `(*batch, 4, 4)` index to LPS mm of the field's own grid.

    Example:
        >>> field = mj.DisplacementField.of(np.zeros((4, 4, 4, 3), np.float32), np.eye(4))
        >>> field.displacement.shape
        (4, 4, 4, 3)
    """

    displacement: Any
    affine: Any

    @staticmethod
    def of(displacement: Any, affine: Any) -> DisplacementField:
        """Builds and checks a field from an array, `(*batch, i, j, k, 3)` LPS mm, and the affine of its grid.

        Raises:
            ValueError: the displacement is not (..., i, j, k, 3), or the affine not a regular one.

        Example:
            >>> mj.DisplacementField.of(np.ones((2, 3, 4, 3)), np.eye(4)).affine.shape
            (4, 4)
        """
        field = displacement if isinstance(displacement, jax.Array) else np.asarray(displacement)
        is_real = jax.numpy.issubdtype(field.dtype, np.floating) or np.issubdtype(field.dtype, np.integer)
        if field.ndim < 4 or field.shape[-1] != 3 or not is_real:
            raise ValueError(
                f"a displacement field is (i, j, k, 3), world mm; got {field.dtype} of shape {field.shape}"
            )
        return DisplacementField(field, check_affine(affine))

    def tree_flatten(self) -> tuple[Any, None]:
        return (self.displacement, self.affine), None

    @classmethod
    def tree_unflatten(cls, aux: None, leaves: Any) -> DisplacementField:
        return cls(*leaves)


@public("medjax")
@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False)
class CompositeTransform:
    """Transforms one after the other: the last is applied to the point first, as in ITK and in `compose`.

    Attributes:
        transforms: Affine transforms, displacement fields or composites.

    Example:
        >>> a, b = (mj.AffineTransform.of(m) for m in (mj.affine_matrix(scale=2), mj.affine_matrix(translation=(1, 0, 0))))
        >>> image = mj.Image.from_array(np.arange(6.0).reshape(6, 1, 1))
        >>> mj.resample_to_image(image, image, transform=mj.CompositeTransform.of(a, b), fill=-1.0).voxels[:, 0, 0].tolist()
        [2.0, 4.0, -1.0, -1.0, -1.0, -1.0]
    """

    transforms: tuple[Any, ...]

    @staticmethod
    def of(*transforms: Transform) -> CompositeTransform:
        """Chains transforms, the one that is applied last first.

        Raises:
            ValueError: one of them is no transform.

        Example:
            >>> len(mj.CompositeTransform.of(mj.AffineTransform.of(np.eye(4)), mj.AffineTransform.of(np.eye(4))).transforms)
            2
        """
        stages(CompositeTransform(transforms))
        return CompositeTransform(transforms)

    def tree_flatten(self) -> tuple[Any, None]:
        return (tuple(self.transforms),), None

    @classmethod
    def tree_unflatten(cls, aux: None, leaves: Any) -> CompositeTransform:
        return cls(*leaves)


for _kind in (AffineTransform, DisplacementField, CompositeTransform):
    jax.export.register_pytree_node_serialization(
        _kind,
        serialized_name=f"medjax.{_kind.__name__}",
        serialize_auxdata=lambda aux: b"",
        deserialize_auxdata=lambda raw: None,
    )

Transform = AffineTransform | DisplacementField | CompositeTransform


def _grid_of(shape: tuple[int, ...], leaves: Any) -> Grid:
    return Grid(shape, leaves[0])


# Here, for the grid's own module knows nothing of JAX.
jax.tree_util.register_pytree_with_keys(
    Grid,
    lambda grid: (((jax.tree_util.GetAttrKey("affine"), grid.affine),), grid.shape),
    _grid_of,
    lambda grid: ((grid.affine,), grid.shape),
)
jax.export.register_pytree_node_serialization(
    Grid,
    serialized_name="medjax.Grid",
    serialize_auxdata=lambda shape: json.dumps(shape).encode(),
    deserialize_auxdata=lambda shape: tuple(json.loads(bytes(shape))),
)


def stages(transform: Any) -> list[AffineTransform | DisplacementField]:
    """Lists the elementary maps of a transform in the order in which a point passes through them.

    Raises:
        ValueError: it is none of the transforms of this module.
    """
    if transform is None:
        return []
    if isinstance(transform, CompositeTransform) and isinstance(transform.transforms, tuple | list):
        return [stage for part in reversed(transform.transforms) for stage in stages(part)]
    if isinstance(transform, DisplacementField) and not all(
        hasattr(x, "shape") for x in (transform.displacement, transform.affine)
    ):
        raise ValueError("a displacement field holds arrays; DisplacementField.of makes one of lists, and checks it")
    if isinstance(transform, AffineTransform | DisplacementField):
        return [transform]
    raise ValueError(
        "transform must be an AffineTransform, a DisplacementField or a CompositeTransform of a tuple of them, got "
        f"{type(transform).__name__}; wrap a 4x4 matrix in AffineTransform.of"
    )
