"""Voxel grids in world space: pure geometry of `(shape, affine)`, importable without JAX.

One convention throughout the package:

- the world frame is LPS+ in millimetres (DICOM, ITK);
- an index is 0-based and an integer index is a voxel's centre;
- `affine` is the 4x4 matrix from index to world, `world = affine @ (i, j, k, 1)`, with
  `affine[:3, :3] = direction @ diag(spacing)` and `affine[:3, 3] = origin`.

Functions take leading batch axes, and arrays of any library that follows the array API: NumPy float64 while the
geometry is known, traced JAX values inside a transformation.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax._geometry._covering import covering
from medjax._geometry._numbers import as_points, as_triple, check_positive, check_size, on_host, read_only, together
from medjax._geometry._types import AffineLike, AnyArray, Leaf, OnGrid, Points, SpacingOrArray, Triple, Voxels
from medjax._lazy import public

__all__ = [
    "Grid",
    "Place",
    "affine_from",
    "direction_of",
    "four_by_four",
    "index_map",
    "lps_to_ras",
    "origin_of",
    "product",
    "rescaled_size",
    "shear_degrees",
    "spacing_of",
    "transformed",
    "voxel_volume",
]

Size = Sequence[int] | np.ndarray


def spacing_of(affine: Any) -> Any:
    """Returns the voxel size in mm, `(..., 3)`: the lengths of the affine's columns."""
    matrix = affine[..., :3, :3]
    return (matrix * matrix).sum(-2) ** 0.5


def origin_of(affine: Any) -> Any:
    """Returns the world position of the centre of voxel (0, 0, 0), `(..., 3)`, LPS mm."""
    return affine[..., :3, 3]


def direction_of(affine: Any) -> Any:
    """Returns the unit columns of the affine, `(..., 3, 3)`: the world direction of each index axis."""
    return affine[..., :3, :3] / spacing_of(affine)[..., None, :]


def lps_to_ras(affine: Any) -> Any:
    """Converts an index-to-LPS affine to index-to-RAS, or back: the flip is its own inverse."""
    return product(affine.__array_namespace__().asarray(np.diag([-1.0, -1.0, 1.0, 1.0]), dtype=affine.dtype), affine)


def product(a: Any, b: Any) -> Any:
    """Multiplies matrices `(..., m, n)` and `(..., n, p)` of a geometry at the highest precision.

    By default GPUs round float32 factors to 10 bits (TF32) and TPUs round them to 7 (bfloat16). Samples would then move
    by up to a voxel.
    """
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a @ b
    jax: Any = sys.modules["jax"]
    return jax.numpy.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def transformed(matrix: Any, points: Any) -> Any:
    """Applies matrices `(..., 3, 3)` to column vectors `(..., 3)`."""
    return product(matrix, points[..., None])[..., 0]


def affine_from(spacing: Any = None, origin: Any = None, direction: Any = None) -> Any:
    """Builds a 4x4 float64 index-to-LPS affine from its parts, on the host.

    Args:
        spacing: Voxel size in mm, one number or three. Default 1.
        origin: World position of the centre of voxel (0, 0, 0), LPS mm. Default 0.
        direction: 3x3 matrix whose columns are the world directions of the index axes, or its nine entries row by row
            (ITK's order). Default the identity.

    Returns:
        The affine, `(4, 4)`: float64 NumPy, or a traced array where a part is traced.

    Raises:
        ValueError: a part has the wrong size, is not finite, or the spacing is not positive.

    Example:
        >>> affine_from(spacing=(1, 2, 3), origin=(10, 20, 30)).tolist()
        [[1.0, 0.0, 0.0, 10.0], [0.0, 2.0, 0.0, 20.0], [0.0, 0.0, 3.0, 30.0], [0.0, 0.0, 0.0, 1.0]]
    """
    size = as_triple(1.0 if spacing is None else spacing, "spacing")
    check_positive(size, "spacing", spacing)
    turn = on_host(np.eye(3) if direction is None else direction)
    if turn.size != 9 or (isinstance(turn, np.ndarray) and not np.isfinite(turn).all()):
        raise ValueError(f"direction must hold 3x3 finite numbers, got {np.asarray(direction).tolist()}")
    start = as_triple(0.0 if origin is None else origin, "origin")
    _, (size, turn, start) = together(size, turn, start)
    with np.errstate(over="ignore"):  # an overflow is not finite, and `check_affine` refuses it
        linear = turn.reshape(3, 3) * size[None]
    return check_affine(four_by_four(linear, start))


def four_by_four(linear: Any, origin: Any) -> Any:
    """Builds 4x4 matrices `(*batch, 4, 4)` from linear parts `(*batch, 3, 3)` and translations `(*batch, 3)` in mm.

    Both are arrays of one library and dtype, and either may lack the batch axes. The last row is (0, 0, 0, 1).

    Example:
        >>> four_by_four(np.diag([2.0, 3.0, 4.0]), np.array([5.0, 6.0, 7.0])).tolist()
        [[2.0, 0.0, 0.0, 5.0], [0.0, 3.0, 0.0, 6.0], [0.0, 0.0, 4.0, 7.0], [0.0, 0.0, 0.0, 1.0]]
    """
    xp = linear.__array_namespace__()
    batch = max(linear.shape[:-2], origin.shape[:-1], key=len)
    columns = [xp.broadcast_to(linear, (*batch, 3, 3)), xp.broadcast_to(origin[..., None], (*batch, 3, 1))]
    last = xp.broadcast_to(xp.asarray([[0, 0, 0, 1]], dtype=linear.dtype), (*batch, 1, 4))
    return xp.concat([xp.concat(columns, axis=-1), last], axis=-2)


def check_affine(affine: Any, name: str = "affine", world: str = "LPS") -> Any:
    """Returns the affine as float64 `(..., 4, 4)` NumPy, or raises a `ValueError` that says what is wrong with it.

    A traced affine is checked for its shape alone. An error uses the given name and world frame.
    """
    matrix = on_host(affine)
    if matrix.shape[-2:] != (4, 4):
        raise ValueError(f"{name} must be (..., 4, 4), index to {world} mm; got shape {matrix.shape}")
    if not isinstance(matrix, np.ndarray):
        return matrix
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite, got {matrix.tolist()}")
    if not (matrix[..., 3, :] == (0, 0, 0, 1)).all():
        raise ValueError(f"the last row of an {name} must be (0, 0, 0, 1), got {matrix[..., 3, :].tolist()}")
    if is_singular(matrix):
        raise ValueError(f"{name} is singular: its columns do not span space, got {matrix.tolist()}")
    return matrix.copy()


def is_singular(matrix: np.ndarray) -> bool:
    """Whether the columns of the linear part of a `(..., 4, 4)` matrix do not span space, whatever their lengths."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # columns too long to square count as singular
        volume = np.abs(np.linalg.det(matrix[..., :3, :3]))
        return not (volume > 1e-9 * spacing_of(matrix).prod(-1)).all()


def shear_degrees(affine: np.ndarray) -> float:
    """Returns the largest departure of two index axes from a right angle, in degrees.

    Example:
        >>> tilted = affine_from(direction=[[1, 0, 0], [0, 1, 0.5], [0, 0, 0.75**0.5]])
        >>> round(shear_degrees(tilted), 3)
        30.0
    """
    turn = direction_of(affine)
    cosines = product(turn.swapaxes(-1, -2), turn) - np.eye(3)
    return float(np.degrees(np.arcsin(np.clip(np.abs(cosines).max(initial=0.0), 0.0, 1.0))))


def index_map(target: Any, source: Any) -> tuple[Any, Any]:
    """Maps a target grid's indices onto a source grid's: `source_index = matrix @ target_index + offset`.

    The origins are subtracted before anything else, `R^-1 (R' i + (o' - o))`, which keeps float32 exact enough when
    the geometry is traced; the product `inv(A) @ A'` does not.

    Args:
        target: Index-to-world affine of the grid that is filled, `(..., 4, 4)`.
        source: Index-to-world affine of the grid that is sampled, `(..., 4, 4)`.

    Returns:
        `matrix` `(..., 3, 3)` and `offset` `(..., 3)`.

    Example:
        >>> matrix, offset = index_map(affine_from(spacing=2.0, origin=1.0), affine_from(spacing=1.0))
        >>> matrix.diagonal().tolist(), offset.tolist()
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    """
    to, start = same_rank(target[..., :3, 3], source[..., :3, 3])
    shift = to - start
    inverse = inverse_3x3(source[..., :3, :3])
    return product(inverse, target[..., :3, :3]), transformed(inverse, shift)


def same_rank(*arrays: Any) -> tuple[Any, ...]:
    """Gives arrays one rank by leading axes of length 1, since users can set JAX to refuse implicit rank promotion."""
    rank = max(array.ndim for array in arrays)
    return tuple(array.reshape((1,) * (rank - array.ndim) + array.shape) for array in arrays)


def inverse_3x3(matrix: Any) -> Any:
    """Inverts `(..., 3, 3)` matrices by cofactors: cheap, traceable, and accurate for voxel grids.

    Example:
        >>> inverse_3x3(np.diag([2.0, 4.0, 5.0])).diagonal().tolist()
        [0.5, 0.25, 0.2]
    """
    xp = matrix.__array_namespace__()
    a, b, c = matrix[..., :, 0], matrix[..., :, 1], matrix[..., :, 2]
    rows = [_cross(xp, b, c), _cross(xp, c, a), _cross(xp, a, b)]
    determinant = (a * rows[0]).sum(-1)
    return xp.stack(rows, axis=-2) / determinant[..., None, None]


def voxel_volume(affine: Any) -> Any:
    """Returns the volume of a voxel in mm3, `(*batch,)`: the determinant of the affine's linear part."""
    a, b, c = (affine[..., :3, axis] for axis in range(3))
    return abs((a * _cross(affine.__array_namespace__(), b, c)).sum(-1))


def _cross(xp: Any, a: Any, b: Any) -> Any:
    x, y, z = (a[..., i] for i in range(3))
    u, v, w = (b[..., i] for i in range(3))
    return xp.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def rescaled_size(shape: Size, spacing: np.ndarray, new_spacing: np.ndarray) -> tuple[int, ...]:
    """Returns `max(1, round(n * spacing / new_spacing))` per axis.

    The ratio is formed first, and a result within 1e-9 of a half is rounded up. So equal spacing gives equal size, and
    the last bit of a decimal fraction decides nothing.

    Example:
        >>> rescaled_size((7, 16, 10), np.array([0.3, 2.1, 1.0]), np.array([0.3, 0.7, 4.0]))
        (7, 48, 3)
    """
    with np.errstate(over="ignore"):
        exact = np.asarray(shape, np.float64) * (np.asarray(spacing, np.float64) / np.asarray(new_spacing, np.float64))
    check_size(exact)
    return tuple(int(n) for n in np.maximum(1, np.floor(exact * (1 + 1e-12) + 0.5 + 1e-9)))


class Place(NamedTuple):
    """Where a grid lies in the index space of the lattice that it was made from.

    Index `i` of the grid lies at `step @ i + start` of that lattice. This says more than the two affines do. A call
    states exactly how it changes a lattice (another spacing, a crop), even where the affine is traced and only float32.
    And the map between the two depends on no origin.

    Attributes:
        affine: The lattice that the grid was made from, `(*batch, 4, 4)`: the very array, which is recognised by
            identity.
        step: Voxels of that lattice from one voxel of the grid to the next, as columns, `(*batch, 3, 3)`.
        start: Index in that lattice of the grid's voxel (0, 0, 0), `(*batch, 3)`.
        is_diagonal: Whether `step` is known to keep the axes.
    """

    affine: Any
    step: Any
    start: Any
    is_diagonal: bool

    def scaled(self, step: Any, start: Any) -> Place:
        """Returns the place with the same axes, other steps, `(*batch, 3)`, and another start."""
        _, (own, step) = together(self.step, step)
        own, step = same_rank(own, step[..., None, :])
        return self._replace(step=own * step, start=on_host(start))

    def then(self, other: Place) -> Place:
        """Returns the place of a grid that lies at `other` in the grid which lies here."""
        _, (own, step) = together(self.step, other.step)
        both = self.is_diagonal and other.is_diagonal
        return Place(self.affine, product(own, step), self.index_from(other.start), both)

    def index_from(self, index: Any) -> Any:
        """Returns an index of the grid, `(..., 3)`, as one of the lattice that it was made from."""
        _, (step, start, index) = together(self.step, self.start, index)
        return operator.add(*same_rank(transformed(step, index), start))


@public("medjax")
@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """A voxel lattice in world space: a static shape and an index-to-LPS affine.

    A grid is a pytree as soon as JAX and `mj.Image` are imported, so it may be an argument of `jit`. The affine is its
    leaf, and the shape is static.

    Attributes:
        shape: Voxels along i, j, k.
        affine: `(4, 4)` index to LPS mm, float64 or traced. A batch of grids of one shape has `(*batch, 4, 4)`.
        made_from: Its place in the lattice that it was made from; `moved` and `stepped` set it. A copy with another
            affine (`dataclasses.replace`) lies elsewhere, so a copy never has it.

    Example:
        >>> grid = mj.Grid.of((10, 20, 5), spacing=(1, 1, 3), origin=(0, 0, -6))
        >>> grid.spacing, grid.center.tolist()
        ((1.0, 1.0, 3.0), [4.5, 9.5, 0.0])
    """

    shape: tuple[int, ...]
    affine: Leaf
    made_from: Place | None = dataclasses.field(default=None, init=False, repr=False)

    @staticmethod
    def of(
        shape: Size,
        *,
        affine: AffineLike | None = None,
        spacing: Triple | None = None,
        origin: Triple | None = None,
        direction: Voxels | None = None,
    ) -> Grid:
        """Builds and checks a grid from an affine, or from spacing (mm), origin (LPS mm) and direction.

        Affine, spacing, origin and direction may be traced.

        Raises:
            ValueError: the shape is not three positive integers, the affine is not a regular 4x4 matrix, or both an
                affine and its parts are given.

        Example:
            >>> mj.Grid.of((4, 4, 2), spacing=2.0).extent.tolist()
            [8.0, 8.0, 4.0]
        """
        size = tuple(int(n) for n in shape)
        if len(size) != 3 or min(size) < 1 or any(n != m for n, m in zip(size, shape, strict=True)):
            raise ValueError(f"shape must be three positive integers (i, j, k), got {tuple(shape)}")
        if affine is None:
            return Grid(size, read_only(affine_from(spacing, origin, direction)))
        if any(part is not None for part in (spacing, origin, direction)):
            raise ValueError("give either affine, or spacing, origin and direction, not both")
        return Grid(size, read_only(check_affine(affine)))

    @staticmethod
    def covering(image: Grid | OnGrid, spacing: Triple) -> Grid:
        """Returns the smallest grid along the world's axes (LPS) that covers a scan from outer face to outer face.

        The grid is centred on the box around the scan.

        Args:
            image: An image or a grid. The grid of a batch covers all items.
            spacing: Voxel size in mm, one number or three (along L, P, S).

        Raises:
            ValueError: the geometry or the spacing is traced, though the shape follows from it, or the spacing is not
                positive.

        Example:
            >>> turn = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
            >>> mj.Grid.covering(mj.Grid.of((10, 10, 4), direction=turn), 2.0)
            Grid(shape=(7, 7, 2), spacing=(2, 2, 2), origin=(-5.1, 0.3, 0.5))
        """
        grid = image if isinstance(image, Grid) else getattr(image, "grid", None)
        if not isinstance(grid, Grid):
            raise ValueError(f"image must be an Image or a Grid, got {type(image).__name__}")
        step = as_triple(spacing, "spacing")
        if not (isinstance(grid.affine, np.ndarray) and isinstance(step, np.ndarray)):
            raise ValueError("the shape follows from geometry and spacing, which are traced: call it before jit")
        check_positive(step, "spacing", spacing)
        size, origin = covering(grid.shape, grid.affine, step)
        check_size(size)
        return Grid.of(size.astype(int).tolist(), spacing=step, origin=origin)

    @property
    def spacing(self) -> SpacingOrArray:
        """Voxel size in mm: three floats, or an array `(*batch, 3)` when batched or traced."""
        return plain(spacing_of(self.affine))

    @property
    def origin(self) -> SpacingOrArray:
        """World position of the centre of voxel (0, 0, 0), LPS mm: three floats, or an array when batched or traced."""
        return plain(origin_of(self.affine))

    @property
    def direction(self) -> AnyArray:
        """Unit columns of the affine, `(*batch, 3, 3)`."""
        return direction_of(self.affine)

    @property
    def extent(self) -> AnyArray:
        """Size of the field of view in mm, `(*batch, 3)`: voxels times spacing, outer face to outer face."""
        size, spacing = same_rank(self._vector(self.shape), spacing_of(self.affine))
        return size * spacing

    @property
    def center(self) -> AnyArray:
        """World position of the centre of the field of view, index `(n - 1) / 2`, `(*batch, 3)` LPS mm."""
        return self.world((self._vector(self.shape) - 1) / 2)

    def world(self, index: Points) -> AnyArray:
        """Returns the world position in LPS mm of (continuous) indices, both `(..., 3)`.

        Example:
            >>> mj.Grid.of((4, 4, 4), spacing=2.0).world((1, 2, 3)).tolist()
            [2.0, 4.0, 6.0]
        """
        turned, origin = same_rank(transformed(self.affine[..., :3, :3], as_points(index)), origin_of(self.affine))
        return turned + origin

    def index(self, world: Points) -> AnyArray:
        """Returns the continuous index of world positions in LPS mm, both `(..., 3)`.

        Example:
            >>> mj.Grid.of((4, 4, 4), spacing=2.0).index((2.0, 4.0, 5.0)).tolist()
            [1.0, 2.0, 2.5]
        """
        position, origin = same_rank(as_points(world), origin_of(self.affine))
        return transformed(inverse_3x3(self.affine[..., :3, :3]), position - origin)

    def moved(self, index: Points, shape: Size | None = None) -> Grid:
        """Returns the lattice continued from another corner: voxel (0, 0, 0) moves to the given index of this grid.

        Example:
            >>> mj.Grid.of((9, 9, 9), spacing=2.0).moved((1, 0, -1), (4, 4, 4)).origin
            (2.0, 0.0, -2.0)
        """
        return self.stepped(np.ones(3), index, self.shape if shape is None else shape)

    def stepped(self, step: Points, start: Points, shape: Size, axes: Sequence[int] = (0, 1, 2)) -> Grid:
        """Returns a lattice along the axes of this one, with `step` voxels of this grid from one voxel to the next.

        Args:
            step: For each new axis the voxels of this grid in one step, `(*batch, 3)`. A negative step runs back. May
                be traced.
            start: Index in this grid of the new voxel (0, 0, 0), `(*batch, 3)`. May be traced.
            shape: Voxels along the new axes.
            axes: For each new axis the axis of this grid that it runs along.

        Example:
            >>> mj.Grid.of((9, 9, 9), spacing=2.0).stepped((0.5, 1, 1), (1, 0, -1), (4, 4, 4))
            Grid(shape=(4, 4, 4), spacing=(1, 2, 2), origin=(2, 0, -2))
        """
        place = Place(self.affine, np.eye(3)[:, list(axes)], np.zeros(3), tuple(axes) == (0, 1, 2)).scaled(step, start)
        _, (affine, by, at) = together(self.affine, place.step, place.start)
        columns, origin = product(affine[..., :3, :3], by), Grid(self.shape, affine).world(at)
        made = Grid(tuple(int(n) for n in shape), four_by_four(columns, origin))
        object.__setattr__(made, "made_from", self.place.then(place))
        return made

    @property
    def place(self) -> Place:
        """Its place in the lattice that it was made from; a grid that was made from none lies in itself."""
        return self.made_from or Place(self.affine, np.eye(3), np.zeros(3), True)

    def _vector(self, values: Any) -> Any:
        return self.affine.__array_namespace__().asarray(values, dtype=self.affine.dtype)

    def __repr__(self) -> str:
        if not isinstance(self.affine, np.ndarray) or self.affine.ndim > 2:
            return f"Grid(shape={self.shape}, affine={self.affine.shape})"
        spacing, origin = (f"({', '.join(f'{x:.6g}' for x in triple)})" for triple in (self.spacing, self.origin))
        return f"Grid(shape={self.shape}, spacing={spacing}, origin={origin})"


def check_grid(value: Any, name: str, hint: str = "Grid.of makes one") -> None:
    """Raises `ValueError` for anything but a grid, and for a bare `Grid` that holds none; the hint says what to do."""
    if not isinstance(value, Grid):
        raise ValueError(f"{name} must be a Grid, got {type(value).__name__}; {hint}")
    shape, affine = value.shape, np.shape(value.affine)
    if len(shape) != 3 or min(shape) < 1 or affine[-2:] != (4, 4) or not hasattr(value.affine, "dtype"):
        raise ValueError(
            f"{name} must have three positive sizes and an affine array (..., 4, 4), got {shape} and "
            f"{type(value.affine).__name__} {affine}; Grid.of checks"
        )


def plain(triple: Any) -> Any:
    """Turns a known `(3,)` array into a tuple of floats, and leaves batches and traced values as they are."""
    return tuple(triple.tolist()) if isinstance(triple, np.ndarray) and triple.ndim == 1 else triple
