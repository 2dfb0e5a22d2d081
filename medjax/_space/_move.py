"""Moving the content: rotation, affine maps, dense displacement."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from medjax._geometry._grid import Grid, check_grid, direction_of, four_by_four, product
from medjax._geometry._numbers import on_host, together
from medjax._geometry._transform import About, AffineTransform, DisplacementField, Transform
from medjax._geometry._types import AffineLike, AnyArray, Axis, Degrees, Fill, Points, Triple, Voxels
from medjax._image._image import Image, check_image
from medjax._image._per_item import aligned
from medjax._space._pending import resample
from medjax._space._planning import Interpolation
from medjax._space._reorient import axis_number

__all__ = ["affine_matrix", "affine_transform", "compose", "rotate", "warp"]


def affine_matrix(translation: Triple = 0, rotation: Triple = 0, scale: Triple = 1, shear: Triple = 0) -> AnyArray:
    r"""Builds a 4x4 world matrix, $M = T\,R\,Sh\,S$ with $R = R_z R_y R_x$: scales first, translates last.

    The use decides which way the matrix maps. `affine_transform(image, matrix)` pushes: it moves content by the matrix.
    `AffineTransform.of(matrix)` pulls: the value at a point comes from the point that the matrix leads to.

    Args:
        translation: mm along the world's L, P, S axes; one number or `(*batch, 3)`.
        rotation: Degrees about the x, y and z axes, right-handed; one number for all or `(*batch, 3)`.
        scale: Factors along x, y and z.
        shear: $(s_{xy}, s_{xz}, s_{yz})$, the entries above the diagonal of $Sh$.

    Returns:
        `(*batch, 4, 4)`: float64 NumPy, or a traced array where a parameter is traced.

    Raises:
        ValueError: a parameter is not one number or three.

    Transforms:
        Differentiable in every parameter.

    Example:
        >>> mj.affine_matrix(translation=(1, 2, 3), rotation=(0, 0, 90)).round(12).tolist()[:2]
        [[0.0, -1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 2.0]]
        >>> image, right = mj.Image.from_array(np.arange(4.0).reshape(4, 1, 1)), mj.affine_matrix(translation=(1, 0, 0))
        >>> mj.affine_transform(image, right, fill=-1.0).voxels[:, 0, 0].tolist()   # pushes
        [-1.0, 0.0, 1.0, 2.0]
        >>> mj.affine_transform(image, mj.AffineTransform.of(right), fill=-1.0).voxels[:, 0, 0].tolist()   # pulls
        [1.0, 2.0, 3.0, -1.0]
    """
    xp, parts = together(translation, rotation, scale, shear)
    for name, part in zip(("translation", "rotation", "scale", "shear"), parts, strict=True):
        if part.ndim and part.shape[-1] != 3:
            raise ValueError(f"{name} must be one number or (..., 3), got shape {part.shape}")
    batch = jax.numpy.broadcast_shapes(*(part.shape[:-1] for part in parts))
    move, degrees, size, lean = (xp.broadcast_to(part, (*batch, 3)) for part in parts)
    one, zero = xp.ones_like(size[..., 0]), xp.zeros_like(size[..., 0])
    angle = degrees * (np.pi / 180)
    turns = []
    for axis in range(3):
        c, s = xp.cos(angle[..., axis]), xp.sin(angle[..., axis])
        u, v = (axis + 1) % 3, (axis + 2) % 3
        rows = [[one if r == q else zero for q in range(3)] for r in range(3)]
        rows[u][u], rows[u][v], rows[v][u], rows[v][v] = c, -s, s, c
        turns.append(_matrix(xp, rows))
    shears = _matrix(xp, [[one, lean[..., 0], lean[..., 1]], [zero, one, lean[..., 2]], [zero, zero, one]])
    linear = functools.reduce(product, (turns[2], turns[1], turns[0], shears)) * size[..., None, :]
    return four_by_four(linear, move)


def _matrix(xp: Any, rows: list[list[Any]]) -> Any:
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def compose(*matrices: AffineLike) -> AnyArray:
    """Multiplies 4x4 matrices: `compose(a, b)` applies `b` first, then `a`.

    Args:
        matrices: `(*batch, 4, 4)` each; none gives the identity.

    Raises:
        ValueError: something that is not `(..., 4, 4)`.

    Example:
        >>> shift, double = mj.affine_matrix(translation=(1, 0, 0)), mj.affine_matrix(scale=2)
        >>> (mj.compose(double, shift) @ [0, 0, 0, 1]).tolist(), (mj.compose(shift, double) @ [0, 0, 0, 1]).tolist()
        ([2.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0])
    """
    _, parts = together(np.eye(4), *matrices)
    result = parts[0]
    for matrix in parts[1:]:
        if matrix.shape[-2:] != (4, 4):
            raise ValueError(f"compose takes (..., 4, 4) matrices, got shape {matrix.shape}")
        result = product(result, matrix)
    return result


def rotate(
    image: Image,
    axis: Axis,
    degrees: Degrees,
    *,
    center: Points | None = None,
    expand: bool = False,
    interpolation: Interpolation | None = None,
    fill: Fill | None = None,
) -> Image:
    """Turns the content of an image about one of its axes, rigidly, in world millimetres.

    Positive degrees turn right-handed about the positive direction of the axis. The grid stays (unless `expand`); an
    anisotropic or oblique image turns without distortion.

    Args:
        image: Any batch and channels.
        axis: 0, 1, 2 or "i", "j", "k": the image's own axis that is turned about.
        degrees: One angle, or one per item of the batch; may be traced.
        center: World point that stays, LPS mm, `(3,)` or one per item; default the centre of the field of view.
        expand: Enlarge the grid so that no content leaves it (its spacing and directions stay); known geometry only.
        interpolation: "nearest", "linear" or "bspline"; default by the image's kind.
        fill: Value where there was no content: one, or what broadcasts to `(*batch, *channels)` as NumPy does; default
            0 for labels, the background for intensities.

    Raises:
        ValueError: the axis is none of these, the angle is not finite, or `expand` with traced or batched geometry.

    Transforms:
        Differentiable in the voxels, `degrees`, `center` and `fill`. Compiles once per shape, not per angle.

    Example:
        >>> image = mj.Image.from_array(np.arange(9.0).reshape(3, 3, 1))
        >>> mj.rotate(image, "k", 90.0).voxels[..., 0].tolist()
        [[2.0, 5.0, 8.0], [1.0, 4.0, 7.0], [0.0, 3.0, 6.0]]
    """
    check_image(image, "image")
    number, grid = axis_number(axis), image.grid
    angle = on_host(degrees)
    if isinstance(angle, np.ndarray) and not np.isfinite(angle).all():
        raise ValueError(f"degrees must be finite, got {degrees!r}")
    angle = aligned(angle, image.batch_shape, (), "degrees")
    xp, (angle, affine) = together(angle, grid.affine)
    pole = direction_of(affine)[..., :, number]
    transform = _about(grid, four_by_four(_turn(xp, pole, -angle), xp.zeros_like(pole)), center, number)
    target = _expanded(grid, transform.inverse()) if expand else grid
    return resample(image, target, transform, interpolation=interpolation, fill=fill)


def _about(grid: Grid, matrix: Any, center: Any, axis: int | None = None) -> AffineTransform:
    """A transform about the grid's centre, whose index is known exactly, or about the caller's."""
    transform = AffineTransform.of(matrix, center=grid.center if center is None else center)
    place = grid.place
    index = place.index_from((np.asarray(grid.shape) - 1) / 2) if center is None else None
    return dataclasses.replace(transform, about=About(place.affine, index, axis if place.is_diagonal else None))


def _turn(xp: Any, pole: Any, degrees: Any) -> Any:
    """Rotation matrices about unit vectors `(*batch, 3)` by degrees.

    Source: Rodrigues' formula, R = I + sin(t) K + (1 - cos(t)) K^2.
    """
    x, y, z = pole[..., 0], pole[..., 1], pole[..., 2]
    zero = xp.zeros_like(x)
    cross = _matrix(xp, [[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    angle = xp.broadcast_to(degrees * (np.pi / 180), jax.numpy.broadcast_shapes(degrees.shape, x.shape))[
        ..., None, None
    ]
    return (
        xp.broadcast_to(xp.eye(3, dtype=cross.dtype), cross.shape)
        + xp.sin(angle) * cross
        + (1 - xp.cos(angle)) * product(cross, cross)
    )


def _expanded(grid: Grid, content: AffineTransform) -> Grid:
    """The smallest grid of the same spacing and directions that holds the content after a move."""
    if not isinstance(grid.affine, np.ndarray) or not isinstance(content.matrix, np.ndarray) or content.matrix.ndim > 2:
        raise ValueError(
            "expand=True makes the size depend on values: it needs a known geometry and angle, and a single image"
        )
    faces = [(-0.5, n - 0.5) for n in grid.shape]
    corners = np.stack(np.meshgrid(*faces, indexing="ij"), axis=-1).reshape(-1, 3)
    index = grid.index(content(grid.world(corners)))
    low, high = index.min(0), index.max(0)
    size = np.maximum(1, np.ceil(high - low - 1e-6)).astype(int)
    return grid.moved((low + high) / 2 - (size - 1) / 2, size.tolist())


def affine_transform(
    image: Image,
    matrix: AffineLike | Transform,
    *,
    center: Points | None = None,
    grid: Grid | None = None,
    interpolation: Interpolation | None = None,
    fill: Fill | None = None,
) -> Image:
    """Moves the content of an image by an affine map of the world: by a matrix that pushes, or a transform that pulls.

    A matrix pushes: it says where content goes, as in `rotate`. A point at $x$ moves to $L (x - c) + c + t$. A
    transform pulls, as in `resample_to_image` and ITK: it says where the output comes from. The example shows both with
    one translation.

    Args:
        image: Any batch and channels.
        matrix: `(4, 4)` or one per item, input world to output world, LPS mm; `affine_matrix` builds it. Or a
            transform, such as `AffineTransform.of` makes, output world to input world. Both may be traced.
        center: Fixed point $c$ of the linear part of a matrix, LPS mm; default the centre of the field of view. A
            transform has its own centre.
        grid: Where to put the result; default the image's own grid.
        interpolation: "nearest", "linear" or "bspline"; default by the image's kind.
        fill: Value where there was no content: one, or what broadcasts to `(*batch, *channels)` as NumPy does; default
            0 for labels, the background for intensities.

    Raises:
        ValueError: the matrix is not (..., 4, 4), or is known and singular, or a transform comes with a centre.

    Transforms:
        Differentiable in the voxels, `matrix`, `center` and `fill`. Compiles once per shape, not per matrix. A
        traced matrix that is singular gives NaN.

    Example:
        >>> image = mj.Image.from_array(np.arange(4.0).reshape(4, 1, 1))
        >>> by_one = mj.affine_matrix(translation=(1, 0, 0))
        >>> mj.affine_transform(image, by_one, fill=-1.0).voxels[:, 0, 0].tolist()  # pushed
        [-1.0, 0.0, 1.0, 2.0]
        >>> mj.affine_transform(image, mj.AffineTransform.of(by_one), fill=-1.0).voxels[:, 0, 0].tolist()  # pulled
        [1.0, 2.0, 3.0, -1.0]
    """
    check_image(image, "image")
    if not isinstance(matrix, Transform):
        transform: Transform = _about(image.grid, matrix, center).inverse()
    elif center is not None:
        raise ValueError(f"a transform has its own centre: leave center out, got {center!r}, or give a matrix")
    else:
        transform = matrix
    if grid is not None:
        check_grid(grid, "grid")
    return resample(image, image.grid if grid is None else grid, transform, interpolation=interpolation, fill=fill)


def warp(
    image: Image, displacement: Voxels, *, interpolation: Interpolation | None = None, fill: Fill | None = None
) -> Image:
    """Samples an image at displaced points: the value at world point $x$ comes from $x + u(x)$ (ITK's sense).

    Args:
        image: Any batch and channels.
        displacement: `(*batch, i, j, k, 3)` on the image's grid, world LPS mm; one for all items or one for each. Where
            it is not finite the result is `fill`. A field on another grid goes through `resample_to_image(image,
            reference, transform=mj.DisplacementField.of(field, affine))`.
        interpolation: "nearest", "linear" or "bspline"; default by the image's kind.
        fill: Value outside the image: one, or what broadcasts to `(*batch, *channels)` as NumPy does, such as `(c,)`
            per channel; default 0 for labels, the background for intensities.

    Raises:
        ValueError: the displacement does not lie on the image's grid.

    Transforms:
        Differentiable in the voxels, the displacement and `fill`.

    Example:
        >>> image = mj.Image.from_array(np.arange(4.0).reshape(4, 1, 1), spacing=2.0)
        >>> shift = np.full((4, 1, 1, 3), 0.0, np.float32)
        >>> shift[..., 0] = 1.0   # half a voxel along i
        >>> mj.warp(image, shift, fill=-1.0).voxels[:, 0, 0].tolist()
        [0.5, 1.5, 2.5, -1.0]
    """
    check_image(image, "image")
    if isinstance(displacement, DisplacementField):
        raise ValueError("displacement must be an array; a DisplacementField goes to resample_to_image(transform=...)")
    field = displacement if isinstance(displacement, jax.Array) else np.asarray(displacement)
    shapes = {(*image.shape, 3), (*image.batch_shape, *image.shape, 3)}
    if tuple(field.shape) not in shapes:
        raise ValueError(
            f"displacement must be {(*image.batch_shape, *image.shape, 3)}, mm on the image's grid; got "
            f"{tuple(field.shape)}"
        )
    return resample(
        image, image.grid, DisplacementField.of(field, image.grid.affine), interpolation=interpolation, fill=fill
    )
