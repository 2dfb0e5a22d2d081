"""Smooth fields of few numbers: coefficients times one basis for each axis, summed axis by axis."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax._kernels._bspline import spline_at

__all__ = ["lattice_basis", "lattice_field", "legendre_basis", "separable_field"]


def separable_field(coefficients: Any, bases: Sequence[Any]) -> Any:
    r"""Evaluates $u_{abc} = \sum_{ijk} X_{ai} Y_{bj} Z_{ck}\, c_{ijk}$ on a grid.

    Args:
        coefficients: `(p, q, r, *rest)`, floating point.
        bases: X, Y and Z: `(i, p)`, `(j, q)` and `(k, r)`.

    Returns:
        `(i, j, k, *rest)`.
    """
    field = coefficients
    for axis in (2, 1, 0):  # the full grid is met in the last product only
        basis = jnp.asarray(bases[axis], field.dtype)
        field = jnp.moveaxis(jnp.tensordot(basis, field, (1, axis), precision=jax.lax.Precision.HIGHEST), 0, axis)
    return field


@functools.lru_cache(maxsize=64)
def legendre_basis(size: int, count: int) -> np.ndarray:
    """The Legendre polynomials of degree 0 to `count - 1` at the voxels of an axis that runs from -1 to 1, `(size,
    count)`.

    Example:
        >>> legendre_basis(3, 3).tolist()
        [[1.0, -1.0, 1.0], [1.0, 0.0, -0.5], [1.0, 1.0, 1.0]]
    """
    place = np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1)
    return np.polynomial.legendre.legvander(place, count - 1)


@functools.lru_cache(maxsize=64)
def lattice_basis(size: int, count: int) -> np.ndarray:
    """Cubic B-splines about control points at the voxels of an axis, `(size, count)`; each row sums to 1.

    The points are `size / (count - 3)` voxels apart. They cover the field of view, the voxels' outer faces included,
    and one lies outside it on each side: point 1 lies on the first face (ITK's mesh of `count - 3` cells).

    Example:
        >>> lattice_basis(1, 4).round(3).tolist()
        [[0.021, 0.479, 0.479, 0.021]]
    """
    place = (np.arange(size) + 0.5) * (count - 3) / size + 1  # in distances of points, from point 0
    return spline_at(3, place[:, None] - np.arange(count))


def lattice_field(control: Any, shape: Sequence[int]) -> Any:
    """A cubic B-spline field of control points on the voxels of a grid.

    Args:
        control: `(p, q, r, *rest)`, at least 4 points an axis, as in `lattice_basis`.
        shape: Voxels along each axis.

    Returns:
        `(*shape, *rest)`.

    Example:
        >>> float(lattice_field(jnp.full((4, 4, 5), 2.0), (3, 4, 5))[2, 0, 1].round(5))
        2.0
    """
    return separable_field(control, [lattice_basis(n, m) for n, m in zip(shape, control.shape[:3], strict=True)])
