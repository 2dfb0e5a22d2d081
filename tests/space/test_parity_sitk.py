"""The same voxels and geometry as SimpleITK, on oblique, anisotropic, odd-sized volumes without any symmetry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scans import oblique_affine
from spatial_cases import (
    CODES,
    MATRIX,
    SHAPE,
    affine_of,
    labels,
    near,
    resampled_by_sitk,
    scan,
    sitk_affine,
    sitk_field,
    smooth_field,
    ties,
    to_sitk,
    voxels_of,
)

import medjax as mj
from medjax import Grid, Image

TOLERANCE = {"nearest": 0.0, "linear": 1e-4, "bspline": 2e-4}  # of the range of the values
FILL = -1234.5


def agree(ours: Any, theirs: np.ndarray, values: Any, interpolation: str, apart: Any = False) -> None:
    """Every voxel, edges and outside included, but those that are a tie for nearest."""
    ours, scale = np.asarray(ours), float(np.ptp(np.asarray(values, np.float64)))
    difference = np.where(apart, 0.0, np.abs(ours.astype(np.float64) - theirs))
    assert difference.max() <= TOLERANCE[interpolation] * scale
    assert np.mean(apart) < 0.5


SOURCES = {
    "oblique": scan(1),
    "left-handed": scan(2, affine=oblique_affine((140.0, 60.0, -100.0), mirrored=True)),
    "sheet": scan(3, (9, 1, 14)),
    "axial": scan(4, affine=oblique_affine((0, 0, 0), (0.9, 0.9, 3.0))),
    "pair": scan(5, (2, 17, 3)),
}
GRIDS = {
    "oblique": lambda image: near(image, 1),
    "turned about one axis": lambda image: near_about(image, "k", 30.0),
    "finer": lambda image: mj.resample_to_spacing(image, 0.61).grid,
    "coarser": lambda image: Grid.of((4, 5, 3), affine=image.affine @ np.diag([2.7, 1.9, 3.1, 1.0])),
    "permuted and off": lambda image: permuted(image),
    "far larger": lambda image: near(image, 7, (30, 27, 25)),
}


def near_about(image: Image, axis: str, degrees: float) -> Grid:
    number = "ijk".index(axis)
    affine = image.affine.copy()
    u, v = [(number + n) % 3 for n in (1, 2)]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = image.direction.copy()
    affine[:3, u] = (c * turn[:, u] + s * turn[:, v]) * 1.3
    affine[:3, v] = (c * turn[:, v] - s * turn[:, u]) * 0.8
    return Grid.of((8, 9, 10), affine=affine)


def permuted(image: Image) -> Grid:
    """The image's own lattice, axes turned round, half a voxel and a bit off, reaching over both ends."""
    grid = mj.change_orientation(image, "ASR").grid
    return Grid.of([n + 3 for n in grid.shape], affine=grid.moved((-1.3, -0.6, -2.2)).affine)


CASES = [
    pytest.param(image, grid, interpolation, id=f"{name} {where} {interpolation}")
    for name, image in SOURCES.items()
    for where, grid in GRIDS.items()
    for interpolation in TOLERANCE
    if interpolation != "bspline" or min(image.shape) > 2  # SimpleITK's spline is not defined on so few samples
]


@pytest.mark.parametrize(("image", "grid", "interpolation"), CASES)
def test_resampling_onto_a_grid(image: Image, grid: Any, interpolation: Any) -> None:
    target = grid(image)
    ours = mj.resample_to_grid(image, target, interpolation=interpolation, fill=FILL)
    theirs = resampled_by_sitk(image, target, interpolation, FILL)
    apart = ties(image, target) if interpolation == "nearest" else False
    agree(ours.voxels, theirs, image.voxels, interpolation, apart)
    np.testing.assert_allclose(ours.affine, target.affine, rtol=0, atol=1e-6)


def test_every_case_has_something_inside_and_outside() -> None:
    """The counterpart: the grids above do reach over the edge, and into the image."""
    outside = [
        float((mj.resample_to_grid(image, grid(image), fill=FILL).voxels == FILL).mean())
        for image in SOURCES.values()
        for grid in GRIDS.values()
    ]
    assert sum(0.05 < part < 0.95 for part in outside) > len(outside) / 2
    assert max(outside) < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64, np.float64])
def test_label_and_intensity_dtypes(dtype: Any) -> None:
    if np.dtype(dtype).kind in "iu":
        image = labels(3, dtype=dtype)
        target = near(image, 3)
        ours = mj.resample_to_grid(image, target, fill=5)
        theirs = resampled_by_sitk(image, target, "nearest", 5)
        assert ours.dtype == image.dtype
        np.testing.assert_array_equal(np.where(ties(image, target), theirs, ours.voxels), theirs)
    image = scan(3, dtype=dtype)
    target = near(image, 4)
    ours = mj.resample_to_grid(image, target, fill=7)
    wide = image.with_voxels(np.asarray(image.voxels, np.float64))
    agree(ours.voxels, resampled_by_sitk(wide, target, "linear", 7), image.voxels, "linear")
    assert ours.dtype == np.float32


def test_resampling_to_spacing_from_the_first_voxel() -> None:
    """ITK's recipe: same origin, size = round(n * spacing / new)."""
    for seed, spacing in enumerate(((1.0, 1.0, 1.0), (0.5, 2.2, 3.1), (0.7, 1.1, 2.5))):
        image = scan(seed, affine=oblique_affine((5.0 * seed, 20.0, -170.0)))
        ours = mj.resample_to_spacing(image, spacing, anchor="first", fill=FILL)
        moving, filter_ = to_sitk(image), sitk.ResampleImageFilter()
        filter_.SetOutputSpacing(spacing)
        filter_.SetSize([int(np.floor(n * s / t + 0.5)) for n, s, t in zip(SHAPE, image.spacing, spacing, strict=True)])
        filter_.SetOutputOrigin(moving.GetOrigin())
        filter_.SetOutputDirection(moving.GetDirection())
        filter_.SetDefaultPixelValue(FILL)
        theirs = filter_.Execute(moving)
        agree(ours.voxels, voxels_of(theirs), image.voxels, "linear")
        np.testing.assert_allclose(ours.affine, affine_of(theirs), rtol=0, atol=1e-6)


# --- Transforms ------------------------------------------------------------------------------------------------------


def through(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(p) for p in points.reshape(-1, 3).tolist()]).reshape(points.shape)


@pytest.mark.parametrize("interpolation", TOLERANCE)
@pytest.mark.parametrize("degrees", [0.0, 17.5, 45.0, -90.0, 200.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotate(axis: int, degrees: float, interpolation: Any) -> None:
    image = scan(6)
    turn = sitk.VersorTransform()
    turn.SetRotation([float(x) for x in image.direction[:, axis]], np.radians(-degrees))  # output to input
    turn.SetCenter(image.grid.center.tolist())
    ours = mj.rotate(image, axis, degrees, interpolation=interpolation, fill=FILL)
    theirs = resampled_by_sitk(image, image.grid, interpolation, FILL, turn)
    apart: Any = False
    if degrees in (0.0, -90.0):  # voxels fall on the faces of others: inside or outside is a matter of rounding
        apart = ties(image, image.grid, lambda points: through(turn, points))
    agree(ours.voxels, theirs, image.voxels, interpolation, apart)


def test_rotate_about_an_axis_of_the_world_is_eulers() -> None:
    """On an axis-aligned image, about a centre of its own."""
    image, center = scan(7, affine=oblique_affine((0, 0, 0), origin=(3.0, -2.0, 10.0))), (5.5, 1.0, 20.0)
    for axis, name in enumerate("ijk"):
        euler = sitk.Euler3DTransform()
        euler.SetCenter(center)
        euler.SetRotation(*[np.radians(-33.0) * (d == axis) for d in range(3)])
        ours = mj.rotate(image, name, 33.0, center=center, fill=FILL)
        agree(ours.voxels, resampled_by_sitk(image, image.grid, "linear", FILL, euler), image.voxels, "linear")


@pytest.mark.parametrize("interpolation", TOLERANCE)
def test_affine_transform(interpolation: Any) -> None:
    image = scan(8)
    inverse = sitk_affine(MATRIX, image.grid.center).GetInverse()
    ours = mj.affine_transform(image, MATRIX, interpolation=interpolation, fill=FILL)
    theirs = resampled_by_sitk(image, image.grid, interpolation, FILL, inverse)
    agree(ours.voxels, theirs, image.voxels, interpolation)
    target = near(image, 9)
    elsewhere = mj.affine_transform(
        image, MATRIX, center=(1, 2, 3), grid=target, interpolation=interpolation, fill=FILL
    )
    inverse = sitk_affine(MATRIX, (1, 2, 3)).GetInverse()
    agree(elsewhere.voxels, resampled_by_sitk(image, target, interpolation, FILL, inverse), image.voxels, interpolation)


def test_affine_matrix_is_eulers_convention() -> None:
    """R = Rz @ Ry @ Rx, as Euler3DTransform with ComputeZYX."""
    euler = sitk.Euler3DTransform()
    euler.SetComputeZYX(True)
    euler.SetRotation(*np.radians((10.0, -20.0, 30.0)))
    euler.SetTranslation((1, 2, 3))
    ours = mj.affine_matrix((1, 2, 3), (10, -20, 30))
    np.testing.assert_allclose(ours[:3, :3].ravel(), euler.GetMatrix(), rtol=0, atol=1e-15)
    np.testing.assert_allclose(ours[:3, 3], euler.GetTranslation())


@pytest.mark.parametrize("interpolation", TOLERANCE)
def test_warp(interpolation: Any) -> None:
    image = scan(9)
    field = mj.DisplacementField.of(smooth_field(SHAPE, 3.0), image.affine)
    ours = mj.warp(image, field.displacement, interpolation=interpolation, fill=FILL)
    theirs = resampled_by_sitk(image, image.grid, interpolation, FILL, sitk_field(field))
    agree(ours.voxels, theirs, image.voxels, interpolation)


def fields(image: Image) -> dict[str, mj.DisplacementField]:
    """Displacements on grids that cover the image, and that end within it (zero beyond, as in ITK)."""
    wide, small = near(image, 11, (9, 8, 14)), near(image, 12, (4, 3, 4))
    return {
        "wide": mj.DisplacementField.of(smooth_field(wide.shape, 2.0, 3), wide.affine),
        "small": mj.DisplacementField.of(smooth_field(small.shape, 2.0, 4), small.affine),
    }


@pytest.mark.parametrize("interpolation", TOLERANCE)
@pytest.mark.parametrize("which", ["wide", "small"])
def test_displacement_field_on_a_grid_of_its_own(which: str, interpolation: Any) -> None:
    image = scan(10)
    field = fields(image)[which]
    for target in (image.grid, near(image, 13)):
        ours = mj.resample_to_grid(image, target, transform=field, interpolation=interpolation, fill=FILL)
        theirs = resampled_by_sitk(image, target, interpolation, FILL, sitk_field(field))
        agree(ours.voxels, theirs, image.voxels, interpolation)


@pytest.mark.parametrize("interpolation", TOLERANCE)
def test_composition(interpolation: Any) -> None:
    """Affine, field, affine, field: the last is applied to the point first, in both."""
    image = scan(11)
    found = fields(image)
    other = mj.affine_matrix((-1, 0, 2), (3, 10, -8))
    center = image.grid.center
    ours = mj.CompositeTransform(
        (
            mj.AffineTransform.of(MATRIX, center=center),
            found["wide"],
            mj.CompositeTransform((mj.AffineTransform.of(other, center=center + 1), found["small"])),
        )
    )
    theirs = sitk.CompositeTransform(
        [
            sitk_affine(MATRIX, center),
            sitk_field(found["wide"]),
            sitk_affine(other, center + 1),
            sitk_field(found["small"]),
        ]
    )
    for target in (image.grid, near(image, 14)):
        out = mj.resample_to_grid(image, target, transform=ours, interpolation=interpolation, fill=FILL)
        agree(out.voxels, resampled_by_sitk(image, target, interpolation, FILL, theirs), image.voxels, interpolation)


# --- Exact operations ------------------------------------------------------------------------------------------------


def test_orientation_of_all_48_by_48_pairs() -> None:
    """Voxels equal, geometry to 1e-6 mm, from every orientation to every other, oblique."""
    base = scan(12, (3, 4, 5))
    for code in CODES:
        image = mj.change_orientation(base, code)
        theirs_first = to_sitk(image)
        for other in CODES:
            ours, theirs = mj.change_orientation(image, other), sitk.DICOMOrient(theirs_first, other)
            assert (
                ours.orientation
                == other
                == sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(theirs.GetDirection())
            )
            assert np.array_equal(ours.voxels, voxels_of(theirs))
            assert np.abs(ours.affine - affine_of(theirs)).max() < 1e-6


def test_flip() -> None:
    image = scan(13)
    for axes in ((0,), (1, 2), (0, 1, 2)):
        theirs = sitk.Flip(to_sitk(image), [axis in axes for axis in range(3)], False)
        ours = mj.flip(image, axes)
        np.testing.assert_array_equal(ours.voxels, voxels_of(theirs))
        np.testing.assert_allclose(ours.affine, affine_of(theirs), rtol=0, atol=1e-6)


def test_crop() -> None:
    image = scan(14)
    for start, size in (((1, 2, 3), (5, 4, 6)), ((0, 0, 0), SHAPE), ((10, 7, 12), (1, 1, 1))):
        ours, theirs = mj.crop(image, start, size), sitk.RegionOfInterest(to_sitk(image), size, start)
        np.testing.assert_array_equal(ours.voxels, voxels_of(theirs))
        np.testing.assert_allclose(ours.affine, affine_of(theirs), rtol=0, atol=1e-6)


def test_pad() -> None:
    image, low, high = scan(15), (3, 0, 2), (1, 4, 0)
    filters = {
        "constant": sitk.ConstantPad(to_sitk(image), low, high, FILL),
        "edge": sitk.ZeroFluxNeumannPad(to_sitk(image), low, high),
    }
    for mode, theirs in filters.items():
        ours = mj.pad(image, low, high, mode=mode, fill=FILL if mode == "constant" else None)  # type: ignore[arg-type]
        moved = affine_of(theirs)  # ITK keeps the origin and starts the region at a negative index
        start = mj.Grid.of(SHAPE, affine=image.affine).world([-n for n in low])
        np.testing.assert_array_equal(ours.voxels, voxels_of(theirs))
        np.testing.assert_allclose(ours.origin, start, rtol=0, atol=1e-6)
        np.testing.assert_allclose(ours.affine[:3, :3], moved[:3, :3], rtol=0, atol=1e-6)
        np.testing.assert_allclose(ours.origin, moved[:3, 3], rtol=0, atol=1e-6)
