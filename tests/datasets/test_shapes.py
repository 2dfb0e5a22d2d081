"""Shapes by formula: volumes and blurred values against integration, surfaces against what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr

# Private: single shapes. Users see them only as parts of a phantom.
from medjax.datasets._shapes import Bands, Ellipsoid, Folds, Loft, Outside, Shape, turn_about, wave
from medjax.datasets._spread import half_space_share, sphere_share

EGG = Ellipsoid((3.0, -2.0, 1.0), (20.0, 14.0, 26.0), turn_about(2, 0.4) @ turn_about(0, -0.3))
BENT = Loft(
    2,
    (
        (-40.0, 2.0, 1.0, 14.0, 10.0),
        (-5.0, -4.0, 3.0, 20.0, 13.0),
        (15.0, 3.0, -5.0, 16.0, 18.0),
        (45.0, 0.0, 0.0, 12.0, 9.0),
    ),
    (14.0, 20.0),
)
ACROSS = Loft(0, ((-30.0, 2.0, 1.0, 14.0, 10.0), (30.0, 6.0, 3.0, 8.0, 12.0)), (10.0, 10.0))
SOLIDS = {"ellipsoid": EGG, "loft": BENT, "loft along x": ACROSS}


def lattice(step: float, half: float = 60.0) -> list[np.ndarray]:
    axis = np.arange(-half, half + step / 2, step)
    return list(np.meshgrid(axis, axis, axis, indexing="ij", sparse=True))


@pytest.mark.parametrize("solid", SOLIDS.values(), ids=SOLIDS)
def test_volume_is_that_of_the_points_inside(solid: Ellipsoid | Loft) -> None:
    """Points on a lattice: the error of such a sum is far below a surface layer of one step."""
    step = 0.75
    counted = (solid.level(*lattice(step)) <= 0).sum() * step**3
    assert solid.volume_mm3 == pytest.approx(float(counted), rel=3e-3)


@pytest.mark.parametrize("solid", SOLIDS.values(), ids=SOLIDS)
def test_box_holds_the_shape_and_touches_it(solid: Ellipsoid | Loft) -> None:
    points = np.stack(np.broadcast_arrays(*lattice(0.75)), -1)[solid.level(*lattice(0.75)) <= 0]
    low, high = solid.box
    assert (points.min(0) >= low).all()
    assert (points.max(0) <= high).all()
    assert (
        np.abs(np.concatenate([points.min(0) - low, points.max(0) - high])).max() < 5.0
    )  # sections shrink in the caps


@pytest.mark.parametrize("solid", SOLIDS.values(), ids=SOLIDS)
def test_blurred_solid_is_the_convolution(solid: Ellipsoid | Loft) -> None:
    """Against SciPy's Gaussian of the sharp shape on a fine lattice, itself right to about 0.01 beside the surface.

    What is left is of second order in width over radius, and of the second derivatives at the knots, which are not counted.
    """
    step, sigma = 0.5, 2.5
    points = lattice(step, 56.0)
    level = solid.level(*points)
    exact = gaussian_filter((level <= 0).astype(np.float32), sigma / step, truncate=5.0)
    share = solid.share(level, *points, sigma=sigma)
    assert np.abs(share - exact).max() < 0.07
    assert np.sqrt(np.mean((share - exact)[(exact > 0.02) & (exact < 0.98)] ** 2)) < 0.012
    assert share.sum() == pytest.approx(exact.sum(), rel=0.01)  # activity is kept


def test_blurred_ball_of_the_shape_and_of_the_closed_form_agree() -> None:
    x = np.linspace(0.0, 60.0, 601)
    ball, zero = Ellipsoid((0.0, 0.0, 0.0), (30.0, 30.0, 30.0)), np.zeros_like(x)
    share = ball.share(ball.level(x, zero, zero), x, zero, zero, sigma=2.5)
    np.testing.assert_allclose(share, sphere_share(x, 30.0, 2.5), atol=2e-4)


@pytest.mark.parametrize("radius", [1.0, 4.0, 15.0])
@pytest.mark.parametrize("sigma", [0.5, 2.5, 6.0])
def test_blurred_ball_is_the_integral_over_shells(radius: float, sigma: float) -> None:
    """The chance that a normal point about `(r, 0, 0)` lies in the ball: 1-D quadrature of discs across x, whose share is
    that of a Rayleigh variable, `1 - exp(-(R^2 - x^2) / 2 sigma^2)`. No formula of the package.
    """
    nodes, weights = np.polynomial.legendre.leggauss(400)
    x = radius * nodes
    for r in (0.0, 1e-9, 0.3 * radius, radius, radius + 2 * sigma):
        density = np.exp(-0.5 * ((x - r) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        exact = radius * (weights * density * -np.expm1((x * x - radius**2) / (2 * sigma**2))).sum()
        assert float(sphere_share(np.array([r]), radius, sigma)[0]) == pytest.approx(exact, abs=3e-7)


def test_half_space_is_the_normal_distribution() -> None:
    d = np.linspace(-20.0, 20.0, 401)
    np.testing.assert_allclose(half_space_share(d, np.zeros_like(d), 3.0), ndtr(-d / 3.0), atol=1.5e-7)


def test_wave_is_continuous_periodic_and_bounded() -> None:
    t = np.linspace(-3.0, 3.0, 6001)
    np.testing.assert_allclose(wave(t), wave(t + 1.0), atol=1e-12)
    assert np.abs(np.diff(wave(t))).max() < 0.0081  # its slope is at most 8
    assert (wave(np.array([0.0, 0.25, 0.5, 0.75])) == [0.0, 1.0, 0.0, -1.0]).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_turn_is_a_right_handed_rotation(axis: int) -> None:
    angle = 0.7
    turn = turn_about(axis, np.tan(angle / 2))
    first, second = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
    np.testing.assert_allclose(turn @ first, np.cos(angle) * first + np.sin(angle) * second, atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_bands_lie_where_they_are_said_to() -> None:
    bands = Bands((0.0, 0.0, 1.0), 5.0, 4.0, 20.0)
    z = np.array([2.9, 3.1, 5.0, 6.9, 7.1, 15.0, 24.0, -15.0])
    inside = bands.level(np.zeros(8), np.zeros(8), z) <= 0
    assert inside.tolist() == [False, True, True, True, False, False, True, True]


SHAPES: dict[str, Shape] = {**SOLIDS, "bands": Bands((0.0, 0.6, 0.8), 1.0, 4.0, 20.0), "outside": Outside(EGG)}
SHAPES["folds"] = Folds(30.0, (0.1, 0.2, 0.3), 0.2, 0.7)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_level_of_broadcast_coordinates_is_that_of_points_to_the_last_bit(shape: Shape) -> None:
    """So a label does not depend on how the points are laid out."""
    points = lattice(4.1)
    full = [np.ascontiguousarray(axis).reshape(-1) for axis in np.broadcast_arrays(*points)]
    level = np.broadcast_to(shape.level(*points), (points[0].size,) * 3)
    np.testing.assert_array_equal(level.reshape(-1), shape.level(*full))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_share_is_that_of_the_sharp_shape_far_from_its_surface(shape: Shape) -> None:
    points = lattice(2.0)
    level = shape.level(*points)
    share = np.broadcast_to(shape.share(level, *points, sigma=0.05), (points[0].size,) * 3)
    inside = np.broadcast_to(level <= 0, share.shape)
    assert ((share > 0.5) == inside).mean() > 0.999
    assert share.min() >= 0
    assert share.max() <= 1
