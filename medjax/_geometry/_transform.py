"""World-to-world transforms: small pytrees that map an output point to its source in the input, as in ITK."""

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
    four_by_four,
    inverse_3x3,
    is_singular,
    same_rank,
    transformed,
)
from medjax._geometry._numbers import as_points, on_host
from medjax._geometry._types import AffineLike, AnyArray, Leaf, Points, Voxels
from medjax._lazy import public

__all__ = ["AffineTransform", "CompositeTransform", "DisplacementField", "Transform", "stages"]


class About(NamedTuple):
    """Known facts about an affine transform that was made for a lattice, even where its numbers are traced.

    Attributes:
        affine: The lattice, `(*batch, 4, 4)`: the very array, which is recognised by identity.
        index: Index of the centre in the lattice, `(*batch, 3)`, or `None` where the caller gave a world point.
        axis: The lattice's axis of rotation, or `None` for any other transform.
    """

    affine: Any
    index: Any = None
    axis: int | None = None


@public("medjax")
@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False)
class AffineTransform:
    r"""An affine map of world points, $T(x) = L\,(x - c) + c + t$, in LPS mm, from output to input (ITK).

    It is a pytree and its leaves may be traced, so `optax` can optimise them directly.

    Attributes:
        matrix: `(*batch, 4, 4)`, linear part $L$ and translation $t$ in mm.
        center: `(*batch, 3)` fixed point $c$ of the linear part, LPS mm; default the origin.
        about: Known facts from the operation that made the transform. Users need not give it.

    Example:
        >>> shift = mj.AffineTransform.of(mj.affine_matrix(translation=(1, 2, 3)))
        >>> shift(np.zeros(3)).tolist(), shift.inverse()(np.zeros(3)).tolist()
        ([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0])
    """

    matrix: Leaf
    center: Leaf
    about: About | None = dataclasses.field(default=None, repr=False)

    @staticmethod
    def of(matrix: AffineLike, *, center: Points | None = None) -> AffineTransform:
        r"""Builds and checks a transform from a 4x4 matrix and a centre; either may be traced.

        The matrix maps output points to input points: it says where the value at a point is taken from, so it pulls.
        The `matrix` of `affine_transform` says where content goes, so it pushes; `inverse` turns one into the other.

        Args:
            matrix: `(*batch, 4, 4)`, output world to input world, LPS mm.
            center: `(*batch, 3)` fixed point of the linear part, LPS mm; default the origin.

        Raises:
            ValueError: the matrix is not (..., 4, 4), its last row is not (0, 0, 0, 1), or a number is not finite.

        Example:
            >>> image = mj.Image.from_array(np.arange(4.0).reshape(4, 1, 1))
            >>> right = mj.affine_matrix(translation=(1, 0, 0))
            >>> pull = mj.AffineTransform.of(right)   # the value at x comes from x + 1
            >>> mj.resample_to_image(image, image, transform=pull, fill=-1.0).voxels[:, 0, 0].tolist()
            [1.0, 2.0, 3.0, -1.0]
            >>> mj.affine_transform(image, right, fill=-1.0).voxels[:, 0, 0].tolist()   # the value at x goes to x + 1
            [-1.0, 0.0, 1.0, 2.0]
        """
        transform = AffineTransform(on_host(matrix), on_host(np.zeros(3) if center is None else center))
        _check_affine_transform(transform)
        return transform

    def __call__(self, points: Points) -> AnyArray:
        """Maps world points `(..., 3)`, LPS mm."""
        _check_affine_transform(self)
        turned = transformed(self.matrix[..., :3, :3], operator.sub(*same_rank(as_points(points), self.center)))
        fixed = operator.add(*same_rank(self.center, self.matrix[..., :3, 3]))
        return operator.add(*same_rank(turned, fixed))

    def inverse(self) -> AffineTransform:
        """Returns the inverse map, about the same centre.

        Raises:
            ValueError: the matrix is singular, so it has no inverse.

        Example:
            >>> turn = mj.AffineTransform.of(mj.affine_matrix(rotation=(0, 0, 90)), center=(1.0, 0.0, 0.0))
            >>> turn.inverse()(turn(np.array([3.0, 4.0, 5.0]))).round(12).tolist()
            [3.0, 4.0, 5.0]
        """
        _check_affine_transform(self)
        if isinstance(self.matrix, np.ndarray) and is_singular(self.matrix):
            raise ValueError(
                f"matrix is singular: it squashes the world flat and has no inverse, got {self.matrix.tolist()}"
            )
        linear = inverse_3x3(self.matrix[..., :3, :3])
        shift = -transformed(linear, self.matrix[..., :3, 3])
        return AffineTransform(four_by_four(linear, shift), self.center, self.about)

    def tree_flatten(self) -> tuple[Any, None]:
        return (self.matrix, self.center), None

    @classmethod
    def tree_unflatten(cls, aux: None, leaves: Any) -> AffineTransform:
        return cls(*leaves)


@public("medjax")
@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False)
class DisplacementField:
    r"""A dense displacement, $T(x) = x + u(x)$, in LPS mm; $u$ is linear between voxels and 0 beyond its grid (ITK).

    Attributes:
        displacement: `(*batch, i, j, k, 3)`, LPS mm.
        affine: `(*batch, 4, 4)` index to LPS mm of the field's own grid.

    Example:
        >>> field = mj.DisplacementField.of(np.zeros((4, 4, 4, 3), np.float32), np.eye(4))
        >>> field.displacement.shape
        (4, 4, 4, 3)
    """

    displacement: Leaf
    affine: Leaf

    @staticmethod
    def of(displacement: Voxels, affine: AffineLike) -> DisplacementField:
        """Builds and checks a field from an array, which stays on its device, and the affine of its grid; both may be
        traced.

        Args:
            displacement: `(*batch, i, j, k, 3)` real numbers, LPS mm.
            affine: `(*batch, 4, 4)` index to LPS mm of the field's own grid, such as `image.affine`.

        Raises:
            ValueError: the displacement is not (..., i, j, k, 3), or the affine is singular or not finite.

        Example:
            >>> mj.DisplacementField.of([[[[1, 2, 3]]]], np.eye(4)).displacement.shape
            (1, 1, 1, 3)
        """
        array = displacement if isinstance(displacement, jax.Array) else np.asarray(displacement)
        _check_displacement(array)
        return DisplacementField(array, check_affine(affine))

    def tree_flatten(self) -> tuple[Any, None]:
        return (self.displacement, self.affine), None

    @classmethod
    def tree_unflatten(cls, aux: None, leaves: Any) -> DisplacementField:
        return cls(*leaves)


@public("medjax")
@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False)
class CompositeTransform:
    """Transforms one after the other. The last is applied to the point first, as in ITK and in `compose`.

    Attributes:
        transforms: Affine transforms, displacement fields or composites.

    Example:
        >>> a = mj.AffineTransform.of(mj.affine_matrix(scale=2))
        >>> b = mj.AffineTransform.of(mj.affine_matrix(translation=(1, 0, 0)))
        >>> image = mj.Image.from_array(np.arange(6.0).reshape(6, 1, 1))
        >>> both = mj.CompositeTransform.of(a, b)
        >>> mj.resample_to_image(image, image, transform=both, fill=-1.0).voxels[:, 0, 0].tolist()
        [2.0, 4.0, -1.0, -1.0, -1.0, -1.0]
    """

    transforms: tuple[Any, ...]

    @staticmethod
    def of(*transforms: Transform) -> CompositeTransform:
        """Builds and checks a composite: `CompositeTransform.of(a, b)` applies `b` to the point first, then `a`.

        Args:
            transforms: Affine transforms, displacement fields or composites; none of them is the identity.

        Raises:
            ValueError: one is none of these.

        Example:
            >>> still = mj.AffineTransform.of(np.eye(4))
            >>> len(mj.CompositeTransform.of(still, still).transforms)
            2
        """
        made = CompositeTransform(transforms)
        stages(made)
        return made

    def tree_flatten(self) -> tuple[Any, None]:
        return (self.transforms,), None

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


# Here, since the grid's own module works without JAX.
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
        ValueError: the value is none of the transforms of this module.
    """
    if transform is None:
        return []
    if isinstance(transform, CompositeTransform) and isinstance(transform.transforms, tuple | list):
        return [stage for part in reversed(transform.transforms) for stage in stages(part)]
    if isinstance(transform, AffineTransform):
        _check_affine_transform(transform)
        return [transform]
    if isinstance(transform, DisplacementField):
        _check_displacement(transform.displacement)
        check_affine(transform.affine)
        return [transform]
    raise ValueError(
        "transform must be an AffineTransform, a DisplacementField or a CompositeTransform of a tuple of them, got "
        f"{type(transform).__name__}; wrap a 4x4 matrix in AffineTransform.of"
    )


def _check_affine_transform(transform: AffineTransform) -> None:
    """Raises `ValueError` for a matrix or a centre that is none; constructors do not check, so use does."""
    matrix, center = transform.matrix, transform.center
    if np.shape(matrix)[-2:] != (4, 4):
        raise ValueError(f"an affine transform is a (..., 4, 4) matrix, got shape {np.shape(matrix)}")
    if isinstance(matrix, np.ndarray) and not (np.isfinite(matrix).all() and (matrix[..., 3, :] == (0, 0, 0, 1)).all()):
        raise ValueError(f"an affine transform is finite with last row (0, 0, 0, 1), got {matrix.tolist()}")
    if np.shape(center)[-1:] != (3,):
        raise ValueError(f"center must be three numbers, LPS mm; got shape {np.shape(center)}")
    if isinstance(center, np.ndarray) and not np.isfinite(center).all():
        raise ValueError(f"center must be finite, LPS mm; got {center.tolist()}")
    if not (hasattr(matrix, "dtype") and hasattr(center, "dtype")):
        raise ValueError("an affine transform holds arrays; AffineTransform.of makes them of sequences")


def _check_displacement(field: Any) -> None:
    """Raises `ValueError` for a displacement that is none."""
    if not hasattr(field, "dtype"):
        raise ValueError(
            f"a displacement field holds an array, got {type(field).__name__}; DisplacementField.of makes one of "
            "sequences"
        )
    is_real = jax.numpy.issubdtype(field.dtype, np.floating) or np.issubdtype(field.dtype, np.integer)
    if field.ndim < 4 or field.shape[-1] != 3 or not is_real:
        raise ValueError(f"a displacement field is (i, j, k, 3), world mm; got {field.dtype} of shape {field.shape}")
