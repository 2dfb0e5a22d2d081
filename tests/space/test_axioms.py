"""What holds for every spatial operation whatever the geometry: tried on random affines, oblique, sheared and mirrored."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scans import assert_same_image as same
from scipy.spatial.transform import Rotation
from spatial_cases import CODES, EXACT, MATRIX, blob, centroid, indices, labels, noise, scan, smooth_field, ties

import medjax as mj
from medjax import Grid, Image

SHAPE = (6, 5, 7)  # one shape: each operation is compiled once for all examples
GEOMETRY = 1e-9  # mm, float64 on the host, positions of some hundred mm
EPS = float(np.finfo(np.float32).eps)


@st.composite
def affines(draw: Any, is_sheared: bool = True) -> np.ndarray:
    """Index-to-LPS affines as scanners make them, and a little worse: anisotropic, oblique, sheared, left-handed."""
    turn = Rotation.random(random_state=draw(st.integers(0, 2**31))).as_matrix()
    spacing = [draw(st.floats(0.3, 5.0)) for _ in range(3)]
    lean = np.eye(3)
    if is_sheared:
        lean[0, 2] = draw(st.sampled_from([0.0, 0.3]))  # a gantry tilt
    affine = np.eye(4)
    affine[:3, :3] = turn @ lean * spacing
    affine[:3, 1] *= draw(st.sampled_from([-1.0, 1.0]))
    affine[:3, 3] = [draw(st.floats(-900, 900)) for _ in range(3)]
    return affine


def image_on(affine: np.ndarray, seed: int = 0, **options: Any) -> Image:
    return scan(seed, SHAPE, affine=affine, **options)


codes = st.sampled_from(CODES)


@given(affine=affines(), interpolation=st.sampled_from(["nearest", "linear", "bspline"]))
def test_resampling_onto_its_own_grid_is_the_identity(affine: np.ndarray, interpolation: Any) -> None:
    image = image_on(affine)
    same(mj.resample_to_grid(image, image.grid, interpolation=interpolation), image)
    same(mj.resample_to_image(image, image, interpolation=interpolation), image)
    same(mj.resample_to_spacing(image, image.spacing, interpolation=interpolation), image)
    same(mj.rotate(image, 2, 0.0, interpolation=interpolation), image)
    same(mj.scale(image, 1, interpolation=interpolation), image)


@given(affine=affines())
def test_nothing_moves_content_by_nothing(affine: np.ndarray) -> None:
    image = image_on(affine)
    same(mj.affine_transform(image, mj.affine_matrix()), image)
    same(mj.warp(image, np.zeros((*SHAPE, 3), np.float32)), image)
    same(mj.translate(image, (0, 0, 0)), image)


@given(affine=affines(), code=codes)
def test_reorienting_there_and_back_is_exact(affine: np.ndarray, code: str) -> None:
    image = image_on(affine)
    turned = mj.change_orientation(image, code)
    assert turned.orientation == code
    same(mj.change_orientation(turned, image.orientation), image)
    same(mj.change_orientation(turned, code), turned)


@given(affine=affines(), code=codes)
def test_reorienting_keeps_the_world_position_of_every_voxel(affine: np.ndarray, code: str) -> None:
    image = image_on(affine)
    turned = mj.change_orientation(image, code)
    origin = image.grid.index(turned.grid.world(indices(turned.shape)))
    i, j, k = np.moveaxis(np.round(origin).astype(int), -1, 0)
    np.testing.assert_allclose(origin, np.round(origin), atol=1e-6)
    np.testing.assert_array_equal(np.asarray(image.voxels)[i, j, k], turned.voxels)


@given(affine=affines())
def test_padding_after_cropping_restores_the_grid(affine: np.ndarray) -> None:
    image = image_on(affine)
    part = mj.crop(image, (1, 2, 3), (4, 1, 2))
    whole = mj.pad(part, (1, 2, 3), (1, 2, 2), fill=0)
    assert whole.shape == image.shape
    np.testing.assert_allclose(whole.affine, image.affine, rtol=0, atol=GEOMETRY)
    np.testing.assert_array_equal(whole.voxels[1:5, 2:3, 3:5], image.voxels[1:5, 2:3, 3:5])
    assert (np.asarray(whole.voxels) != 0).sum() == 4 * 1 * 2
    same(mj.crop(mj.pad(image, (3, 0, 1), (0, 2, 5)), (3, 0, 1), SHAPE), image)


@given(
    affine=affines(),
    size=st.tuples(*[st.integers(1, 12)] * 3),
)
def test_cropping_after_padding_about_the_centre_gives_the_image_back(affine: np.ndarray, size: Any) -> None:
    image = image_on(affine)
    other = mj.crop_or_pad(image, np.maximum(size, SHAPE))
    same(mj.crop_or_pad(other, SHAPE), image)
    shift = mj.crop_or_pad(image, size).grid.center - image.grid.center
    assert (np.abs(np.linalg.solve(affine[:3, :3], shift)) <= 0.5 + 1e-9).all()


# --- How a scan is stored does not matter ----------------------------------------------------------------------------


@given(affine=affines(), code=codes, interpolation=st.sampled_from(["nearest", "linear", "bspline"]))
@hypothesis.settings(max_examples=10)
def test_spacing_commutes_with_reorienting_and_flipping(affine: np.ndarray, code: str, interpolation: Any) -> None:
    """The spacing goes with the axis; the new voxels fall on the same points of the world.

    By these factors no voxel falls halfway between two, so that every voxel counts, for nearest too.
    """
    image = image_on(affine)
    factors = np.array([0.75, 1.27, 1.71])
    ours = mj.resample_to_spacing(image, np.array(image.spacing) * factors, interpolation=interpolation)
    assert not ties(image, ours.grid).any()
    turned = mj.change_orientation(image, code)
    axes = np.abs(np.linalg.solve(affine[:3, :3], turned.affine[:3, :3])).argmax(0)
    theirs = mj.resample_to_spacing(turned, np.array(turned.spacing) * factors[axes], interpolation=interpolation)
    same(mj.change_orientation(ours, code), theirs, 2000 * 8 * EPS)
    flipped = mj.resample_to_spacing(mj.flip(image, (0, 2)), ours.spacing, interpolation=interpolation)
    same(mj.flip(ours, (0, 2)), flipped, 2000 * 8 * EPS)


@pytest.mark.parametrize("spacing", [(1.5, 0.4, 1.0), (2.6, 0.7, 1.5)])
def test_labels_commute_with_flipping(spacing: Any) -> None:
    """Where no voxel is a tie: those go up the index, which a flip turns round."""
    image = labels(4, SHAPE, affine=np.diag([1.03, 0.97, 1.01, 1.0]))
    ours = mj.resample_to_spacing(image, spacing)
    assert not ties(image, ours.grid).any()
    same(mj.flip(ours, "i"), mj.resample_to_spacing(mj.flip(image, "i"), spacing))


@given(affine=affines(is_sheared=False), code=codes, degrees=st.floats(-180, 180))
@hypothesis.settings(max_examples=20)
def test_rotation_commutes_with_reorienting(affine: np.ndarray, code: str, degrees: float) -> None:
    """About the same line of the world: the sign turns with the axis."""
    image = image_on(affine)
    turned = mj.change_orientation(image, code)
    relation = np.linalg.solve(affine[:3, :3], turned.affine[:3, :3])
    axis = int(np.abs(relation[0]).argmax())  # the axis of `turned` that runs along i
    sign = np.sign(relation[0, axis])
    ours = mj.change_orientation(mj.rotate(image, 0, degrees, fill=0), code)
    theirs = mj.rotate(turned, axis, sign * degrees, fill=0)
    turn = Rotation.from_rotvec(np.radians(-degrees) * image.grid.direction[:, 0]).as_matrix()
    points = (ours.grid.world(indices(ours.shape)) - image.grid.center) @ turn.T + image.grid.center
    beyond = np.abs(image.grid.index(points) - (np.array(SHAPE) - 1) / 2) - np.array(SHAPE) / 2
    on_the_edge = (np.abs(beyond) < 1e-4).any(-1)  # half a voxel out, where the fill begins: rounding decides
    same(ours, theirs, 2000 * 1e-4, where=~on_the_edge)


# --- Content stays where it is, or goes where it is told -------------------------------------------------------------

ROOM = (24, 22, 26)
STAY = {name: operation for name, operation in EXACT.items() if name not in ("translate", "crop", "crop_or_pad")} | {
    "crop": lambda image: mj.crop(image, (2, 1, 3), (20, 20, 20)),
    "crop_or_pad": lambda image: mj.crop_or_pad(image, (20, 25, 24)),
    "spacing": lambda image: mj.resample_to_spacing(image, np.array(image.spacing) * (0.8, 1.3, 1.6)),
    "spacing_first": lambda image: mj.resample_to_spacing(image, np.array(image.spacing) * 1.4, anchor="first"),
    "spacing_bspline": lambda image: mj.resample_to_spacing(
        image, np.array(image.spacing) * 0.9, interpolation="bspline"
    ),
    "antialias": lambda image: mj.resample_to_spacing(image, np.array(image.spacing) * 2.0, antialias=True),
    "scale": lambda image: mj.scale(image, (0.7, 1.3, 1.0)),
    "grid": lambda image: mj.resample_to_grid(image, other_grid(image)),
}


def other_grid(image: Image) -> Grid:
    """A grid that covers the image and whose axes are mixtures of the image's, as fine along each."""
    shape = np.full(3, 2 * int(np.ceil(np.linalg.norm(image.shape) / 1.8)))
    affine = image.affine.copy()
    affine[:3, :3] = affine[:3, :3] @ (0.9 * Rotation.from_euler("xyz", (20, -10, 15), degrees=True).as_matrix())
    affine[:3, 3] = image.grid.center - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid.of(shape.tolist(), affine=affine)


@pytest.mark.parametrize("operation", STAY.values(), ids=STAY)
@given(affine=affines())
@hypothesis.settings(max_examples=8)
def test_a_blob_stays_where_it_is_in_the_world(operation: Any, affine: np.ndarray) -> None:
    image = blob_in_the_middle(affine)
    moved = operation(image)
    tolerance = 1e-2 * max(image.spacing)  # what sampling a blob of several voxels leaves; a slip would be tenths
    np.testing.assert_allclose(centroid(moved), centroid(image), rtol=0, atol=tolerance)


def blob_in_the_middle(affine: np.ndarray) -> Image:
    """Three voxels wide along every axis, a little off the centre; a sheared or anisotropic grid makes no difference."""
    middle = (np.array(ROOM) - 1) / 2 + (0.3, -0.4, 0.2)
    values = 100 * np.exp(-((indices(ROOM) - middle) ** 2).sum(-1) / (2 * 2.2**2))
    return Image.from_array(values.astype(np.float32), affine=affine)


def nearly_isotropic(affine: np.ndarray) -> np.ndarray:
    """The same directions with spacings that differ by a third, lest what turns leave the grid."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    out = affine.copy()
    out[:3, :3] *= spacing.min() / spacing * np.array([1.0, 1.2, 0.9])
    return out


@given(affine=affines(), degrees=st.floats(-180, 180), axis=st.sampled_from([0, 1, 2]))
@hypothesis.settings(max_examples=15)
def test_a_blob_goes_where_the_rotation_takes_it(affine: np.ndarray, degrees: float, axis: int) -> None:
    """Right-handed about the positive axis, in the world: the centroid follows Rodrigues' matrix."""
    affine = nearly_isotropic(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    grid = Grid.of(ROOM, affine=affine)
    start = grid.world((np.array(ROOM) - 1) / 2 + (2.0, -1.5, 2.5))
    image = blob(ROOM, affine, 1.6 * spacing.min(), start)
    turn = Rotation.from_rotvec(np.radians(degrees) * image.direction[:, axis]).as_matrix()
    expected = grid.center + turn @ (centroid(image) - grid.center)
    found = centroid(mj.rotate(image, axis, degrees, fill=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 * spacing.min())


@given(affine=affines())
@hypothesis.settings(max_examples=10)
def test_a_blob_goes_where_the_matrix_takes_it(affine: np.ndarray) -> None:
    affine = nearly_isotropic(affine)
    image = blob_in_the_middle(affine)
    matrix = mj.affine_matrix(translation=affine[:3, :3] @ (1.5, -0.5, 2.0), rotation=(3, -4, 5))
    expected = mj.AffineTransform.of(matrix, center=image.grid.center)(centroid(image))
    found = centroid(mj.affine_transform(image, matrix, fill=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 * max(image.spacing))
    shifted = mj.warp(image, np.broadcast_to(np.float32(affine[:3, :3] @ (1, 2, -1)), (*ROOM, 3)), fill=0)
    np.testing.assert_allclose(
        centroid(shifted), centroid(image) - affine[:3, :3] @ (1, 2, -1), rtol=0, atol=0.02 * max(image.spacing)
    )


@given(affine=affines(), axis=st.sampled_from([0, 1, 2]), degrees=st.floats(5, 90))
@hypothesis.settings(max_examples=12)
def test_turning_back_restores_a_smooth_image(affine: np.ndarray, axis: int, degrees: float) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    affine = affine.copy()
    affine[:3, :3] *= spacing.min() / spacing
    image = blob(ROOM, affine, 3.0 * spacing.min(), Grid.of(ROOM, affine=affine).world((14, 9, 13)))
    there = mj.rotate(image, axis, degrees, interpolation="bspline", fill=0)
    back = mj.rotate(there, axis, -degrees, interpolation="bspline", fill=0)
    inner = (slice(6, -6),) * 3
    np.testing.assert_allclose(np.asarray(back.voxels)[inner], image.voxels[inner], rtol=0, atol=0.5)  # of 100


def test_turning_the_other_way_does_not_restore() -> None:
    """The counterpart of the test above."""
    image = blob(ROOM, np.diag([1.0, 1.0, 1.0, 1.0]), 3.0, (15, 12, 13))
    twice = mj.rotate(mj.rotate(image, 2, 30.0, fill=0), 2, 30.0, fill=0)
    assert np.abs(np.asarray(twice.voxels) - image.voxels).max() > 20


@given(affine=affines(is_sheared=False), axis=st.sampled_from([0, 1, 2]))
@hypothesis.settings(max_examples=10)
def test_four_quarter_turns_of_an_isotropic_cube_are_exact(affine: np.ndarray, axis: int) -> None:
    affine = affine.copy()
    affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    image = Image.from_array(noise((6, 6, 6)), affine=affine)
    once = mj.rotate(image, axis, 90.0)
    same(mj.rotate(once, axis, 270.0), image)
    same(once, mj.rotate(mj.rotate(image, axis, -180.0), axis, -90.0))
    handed = np.sign(np.linalg.det(affine[:3, :3]))
    u, v = (axis + 1) % 3, (axis + 2) % 3
    np.testing.assert_array_equal(once.voxels, np.rot90(image.voxels, int(handed), (u, v)))


# --- Sizes and anchors -----------------------------------------------------------------------------------------------


@given(affine=affines(), spacing=st.tuples(*[st.floats(0.2, 9.0)] * 3))
@hypothesis.settings(max_examples=200)
def test_size_rule_and_anchors(affine: np.ndarray, spacing: Any) -> None:
    """Geometry alone: under `fuse` nothing is interpolated until it is asked for."""
    found: dict[str, Grid] = {}

    @mj.fuse
    def only_geometry(image: Image) -> None:
        for anchor in ("center", "first"):
            found[anchor] = mj.resample_to_spacing(image, spacing, anchor=anchor).grid  # type: ignore[arg-type]

    image = image_on(affine)
    only_geometry(image)
    exact = np.array(SHAPE) * image.spacing / spacing
    for anchor, grid in found.items():
        np.testing.assert_allclose(grid.spacing, spacing, rtol=1e-12)
        np.testing.assert_allclose(grid.direction, image.direction, rtol=0, atol=1e-12)
        assert all(abs(n - x) <= 0.5 + 1e-6 or (n == 1 and x < 1) for n, x in zip(grid.shape, exact, strict=True)), (
            anchor
        )
    np.testing.assert_allclose(found["center"].center, image.grid.center, rtol=0, atol=GEOMETRY)
    np.testing.assert_allclose(found["first"].origin, image.origin, rtol=0, atol=GEOMETRY)


@given(spacing=st.floats(0.01, 20), size=st.integers(1, 1024))
@hypothesis.settings(max_examples=300)
def test_equal_spacing_gives_equal_size(spacing: float, size: int) -> None:
    """Also where `size * spacing / spacing` is not `size` in floating point, and after a trip through float32."""
    image = Image.from_array(np.broadcast_to(np.float32(0), (size, 1, 1)), spacing=spacing)

    @mj.fuse
    def sizes(image: Image) -> list[Any]:
        news = (spacing, image.spacing, np.float32(spacing))
        return [mj.resample_to_spacing(image, new).shape for new in news]

    assert sizes(image) == [(size, 1, 1)] * 3


def test_a_size_of_many_fractions() -> None:
    assert mj.resample_to_spacing(scan(0, (7, 7, 7), affine=np.diag([0.3, 0.3, 0.3, 1])), 0.3).shape == (7, 7, 7)
    assert mj.resample_to_spacing(scan(0, (16, 3, 3), affine=np.diag([2.1, 0.7, 0.7, 1])), 0.7).shape == (48, 3, 3)


def test_displacement_of_half_a_wave_moves_both_ways() -> None:
    """The displacement says where content comes from: opposite to where it goes."""
    image = blob(ROOM, np.diag([1.0, 1.0, 1.0, 1.0]), 2.0)
    field = smooth_field(ROOM) * 0
    field[..., 0] = 2.0
    np.testing.assert_allclose(centroid(mj.warp(image, field)) - centroid(image), (-2, 0, 0), atol=1e-3)
    moved = mj.affine_transform(image, mj.affine_matrix(translation=(2, 0, 0)))
    np.testing.assert_allclose(centroid(moved) - centroid(image), (2, 0, 0), atol=1e-3)
    assert not np.allclose(MATRIX, np.eye(4))
