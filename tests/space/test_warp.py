"""Rotation, affine maps and displacements: conventions by hand, batches, special values, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scans import oblique_affine
from scipy.spatial.transform import Rotation
from spatial_cases import MATRIX, RESAMPLING, SHAPE, blob, centroid, labels, scan, smooth_field

import medjax as mj
from medjax import Grid, Image

ROUNDING = 2000 * 64 * float(np.finfo(np.float32).eps)


# --- Rotation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_positive_degrees_are_right_handed_about_the_axis(axis: int) -> None:
    """In an LPS grid a point on the next axis turns towards the one after."""
    image = blob((21, 21, 21), np.eye(4), 2.0, np.full(3, 10.0) + 5.0 * np.eye(3)[(axis + 1) % 3])
    for name in (axis, "ijk"[axis]):
        found = centroid(mj.rotate(image, name, 90.0)) - 10.0  # type: ignore[arg-type]
        np.testing.assert_allclose(found, 5.0 * np.eye(3)[(axis + 2) % 3], atol=0.05)  # the tail ends at the edge


def test_axis_is_the_images_own() -> None:
    """On an oblique image the axis is oblique too; a flipped one turns the other way."""
    image = scan(1)
    np.testing.assert_allclose(
        mj.flip(mj.rotate(mj.flip(image, 2), 2, -20.0), 2).voxels, mj.rotate(image, 2, 20.0).voxels, atol=ROUNDING
    )


@pytest.mark.parametrize("degrees", [7.0, 45.0, -120.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_expand_holds_all_content_and_little_else(axis: Any, degrees: float) -> None:
    image = Image.from_array(np.ones(SHAPE, np.float32), affine=oblique_affine())
    out = mj.rotate(image, axis, degrees, expand=True, fill=0)
    np.testing.assert_allclose(out.spacing, image.spacing, rtol=1e-12)
    np.testing.assert_allclose(out.direction, image.direction, rtol=0, atol=1e-12)
    np.testing.assert_allclose(out.grid.center, image.grid.center, rtol=0, atol=1e-9)
    assert out.shape[axis] == image.shape[axis]
    volume = np.prod(image.spacing)
    assert np.asarray(out.voxels).sum() * volume == pytest.approx(np.prod(SHAPE) * volume, rel=0.04)
    turn = Rotation.from_rotvec(np.radians(degrees) * image.direction[:, axis]).as_matrix()
    corners = image.grid.world(np.array([[i, j, k] for i in (-0.5, 10.5) for j in (-0.5, 7.5) for k in (-0.5, 12.5)]))
    index = out.grid.index((corners - image.grid.center) @ turn.T + image.grid.center)
    assert (index >= -0.5 - 1e-5).all()
    assert (index <= np.array(out.shape) - 0.5 + 1e-5).all()
    assert (index.max(0) - index.min(0) > np.array(out.shape) - 1 - 1e-5).all()  # no size less would do


def test_expand_of_quarter_turns_is_exact() -> None:
    image = scan(2, affine=oblique_affine(spacing=(1, 1, 1)))
    out = mj.rotate(image, "k", 90.0, expand=True)
    assert out.shape == (8, 11, 13)
    np.testing.assert_array_equal(out.voxels, np.rot90(image.voxels))


def test_expand_with_another_centre_moves_the_grid() -> None:
    image = scan(3)
    centre = np.add(image.grid.center, (30, 0, 0))
    out = mj.rotate(image, "k", 30.0, center=centre, expand=True)
    same = mj.rotate(image, "k", 30.0, expand=True)
    assert out.shape == same.shape
    np.testing.assert_allclose(out.voxels, same.voxels, rtol=0, atol=ROUNDING)
    turn = Rotation.from_rotvec(np.radians(30.0) * image.direction[:, 2]).as_matrix()
    np.testing.assert_allclose(out.grid.center, turn @ (image.grid.center - centre) + centre, rtol=0, atol=1e-9)


def test_a_full_turn_and_none() -> None:
    image = scan(4)
    for degrees in (0, 360, -720.0):
        np.testing.assert_allclose(mj.rotate(image, 1, degrees).voxels, image.voxels, rtol=0, atol=1e-3)


def test_batches_with_one_angle_or_centre_for_each() -> None:
    items = [scan(n, affine=oblique_affine((20.0 * n, 3, 5))) for n in range(3)]
    batch, angles = mj.stack(items), np.array([0.0, 90.0, 33.0])
    centres = np.stack([item.grid.center + n for n, item in enumerate(items)])
    for out, one in (
        (mj.rotate(batch, 2, angles), lambda n: mj.rotate(items[n], 2, angles[n])),
        (mj.rotate(batch, 2, 20.0), lambda n: mj.rotate(items[n], 2, 20.0)),
        (mj.rotate(batch, 2, angles, center=centres), lambda n: mj.rotate(items[n], 2, angles[n], center=centres[n])),
        (mj.rotate(batch, 2, 10.0, center=centres[0]), lambda n: mj.rotate(items[n], 2, 10.0, center=centres[0])),
    ):
        for n in range(3):
            np.testing.assert_allclose(out.voxels[n], one(n).voxels, rtol=0, atol=ROUNDING)


# --- Affine maps -----------------------------------------------------------------------------------------------------


def test_affine_transform_is_the_inverse_of_the_transform_of_resampling() -> None:
    image = scan(5)
    content = mj.AffineTransform.of(MATRIX, center=image.grid.center)
    out = mj.affine_transform(image, MATRIX)
    np.testing.assert_allclose(
        out.voxels, mj.resample_to_image(image, image, transform=content.inverse()).voxels, rtol=0, atol=ROUNDING
    )


def test_a_matrix_pushes_and_a_transform_pulls() -> None:
    """By hand: one voxel to the right, and the value from one voxel to the right; a batch and a traced transform too."""
    image = Image.from_array(np.arange(4.0, dtype=np.float32).reshape(4, 1, 1))
    right = mj.affine_matrix(translation=(1, 0, 0))
    pull = mj.AffineTransform.of(right)
    pushed, pulled = [-1.0, 0.0, 1.0, 2.0], [1.0, 2.0, 3.0, -1.0]
    assert mj.affine_transform(image, right, fill=-1.0).voxels.ravel().tolist() == pushed
    assert mj.affine_transform(image, pull, fill=-1.0).voxels.ravel().tolist() == pulled
    assert mj.affine_transform(image, pull.inverse(), fill=-1.0).voxels.ravel().tolist() == pushed
    traced = jax.jit(lambda t: mj.affine_transform(image, t, fill=-1.0).voxels)(pull)
    np.testing.assert_allclose(traced.ravel(), pulled, atol=1e-6)
    both = mj.AffineTransform.of(np.stack([right, np.linalg.inv(right)]))
    out = mj.affine_transform(mj.stack([image, image]), both, fill=-1.0)
    assert out.voxels.reshape(2, 4).tolist() == [pulled, pushed]
    grid = Grid.of((2, 1, 1), origin=(1, 0, 0))
    assert mj.affine_transform(image, pull, grid=grid).voxels.ravel().tolist() == [2.0, 3.0]


def test_a_mirror_of_the_content() -> None:
    image = scan(6, affine=np.diag([2.0, 1.0, 3.0, 1.0]))
    out = mj.affine_transform(image, mj.affine_matrix(scale=(-1, 1, 1)))
    np.testing.assert_array_equal(out.voxels, image.voxels[::-1])
    np.testing.assert_array_equal(out.affine, image.affine)


def test_affine_batches() -> None:
    items = [scan(n, affine=oblique_affine((20.0 * n, 3, 5))) for n in range(2)]
    matrices = np.stack([MATRIX, np.linalg.inv(MATRIX)])
    for given, each in ((matrices, list(matrices)), (MATRIX, [MATRIX, MATRIX])):
        out = mj.affine_transform(mj.stack(items), given)
        for n, item in enumerate(items):
            np.testing.assert_allclose(out.voxels[n], mj.affine_transform(item, each[n]).voxels, rtol=0, atol=ROUNDING)


def test_compose_applies_the_last_first() -> None:
    a, b = mj.affine_matrix((1, 2, 3), (10, 20, 30)), mj.affine_matrix((-4, 0, 1), 0, (1, 2, 0.5), (0.1, 0.2, 0.3))
    np.testing.assert_allclose(mj.compose(a, b), a @ b)
    np.testing.assert_array_equal(mj.compose(), np.eye(4))
    points = np.random.default_rng(0).normal(size=(5, 3))
    both = mj.AffineTransform.of(mj.compose(a, b))(points)
    np.testing.assert_allclose(both, mj.AffineTransform.of(a)(mj.AffineTransform.of(b)(points)), atol=1e-12)


def test_affine_matrix_is_the_product_that_it_says() -> None:
    t, r, s, h = np.array([1, 2, 3.0]), (10.0, -20.0, 30.0), np.array([1.1, 0.8, 2.0]), (0.1, -0.2, 0.3)
    turn = Rotation.from_euler("xyz", r, degrees=True).as_matrix()  # extrinsic: Rz @ Ry @ Rx
    lean = np.array([[1, h[0], h[1]], [0, 1, h[2]], [0, 0, 1]])
    found = mj.affine_matrix(t, r, s, h)
    np.testing.assert_allclose(found[:3, :3], turn @ lean @ np.diag(s), atol=1e-14)
    np.testing.assert_array_equal(found[:3, 3], t)
    several = mj.affine_matrix(np.stack([t, 2 * t]), r)
    assert several.shape == (2, 4, 4)
    np.testing.assert_allclose(several[1], mj.affine_matrix(2 * t, r))


# --- Displacements ---------------------------------------------------------------------------------------------------


def test_a_displacement_is_in_the_world_not_along_the_axes() -> None:
    """A constant shift of one voxel along an oblique j axis."""
    image = scan(7)
    field = np.broadcast_to(image.affine[:3, 1], (*SHAPE, 3)).astype(np.float32)
    out = mj.warp(image, field, fill=0)
    np.testing.assert_allclose(out.voxels[:, :-1], image.voxels[:, 1:], rtol=0, atol=2000 * 1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.float16])
def test_displacements_of_any_dtype(dtype: Any) -> None:
    field = np.round(smooth_field(SHAPE)).astype(dtype)
    out = mj.warp(scan(8), field)
    np.testing.assert_allclose(out.voxels, mj.warp(scan(8), field.astype(np.float32)).voxels, rtol=0, atol=ROUNDING)
    assert out.dtype == np.float32


def test_displacements_of_batches_and_channels() -> None:
    items = [scan(n, (*SHAPE, 2), affine=oblique_affine((20.0 * n, 3, 5))) for n in range(2)]
    fields = np.stack([smooth_field(SHAPE, 2.0, n) for n in range(2)])
    for given, each in ((fields, list(fields)), (fields[0], [fields[0]] * 2)):
        out = mj.warp(mj.stack(items), given)
        for n, item in enumerate(items):
            np.testing.assert_allclose(out.voxels[n], mj.warp(item, each[n]).voxels, rtol=0, atol=ROUNDING)
    kept = mj.warp(labels(9), smooth_field(SHAPE))
    assert kept.dtype == np.uint8


@pytest.mark.parametrize("is_own", [True, False], ids=["on the items' grids", "on one grid"])
def test_a_field_transform_with_batches(is_own: bool) -> None:
    items = [scan(n, affine=oblique_affine((3.0 * n, 3, 5))) for n in range(2)]
    batch = mj.stack(items)
    fields = [
        mj.DisplacementField.of(smooth_field((6, 7, 5), 2.0, n), near_field(item)) for n, item in enumerate(items)
    ]
    if is_own:
        field = mj.DisplacementField.of(
            np.stack([f.displacement for f in fields]), np.stack([f.affine for f in fields])
        )
    else:
        field, fields = fields[0], [fields[0]] * 2
    out = mj.resample_to_image(batch, batch, transform=field)
    for n, item in enumerate(items):
        one = mj.resample_to_image(item, item, transform=fields[n])
        np.testing.assert_allclose(out.voxels[n], one.voxels, rtol=0, atol=ROUNDING)


def near_field(image: Image) -> np.ndarray:
    affine = image.affine @ np.diag([1.8, 1.2, 2.5, 1.0])
    affine[:3, 3] = image.grid.center - affine[:3, :3] @ np.array([2.5, 3.0, 2.0])
    return affine


def test_a_displacement_beyond_everything_is_fill() -> None:
    out = mj.warp(scan(10), np.full((*SHAPE, 3), 1e6, np.float32), fill=-3)
    assert (np.asarray(out.voxels) == -3).all()
    lost = np.zeros((*SHAPE, 3), np.float32)
    lost[3, 2, 1, 0], lost[4, 4, 4, 1], lost[0, 0, 0, 2] = np.nan, np.inf, -np.inf
    for image in (scan(10), labels(10)):
        out = mj.warp(image, lost, fill=9)
        chosen = ~np.isfinite(lost).all(-1)
        assert (np.asarray(out.voxels)[chosen] == 9).all()
        np.testing.assert_array_equal(np.asarray(out.voxels)[~chosen], image.voxels[~chosen])


# --- Errors ----------------------------------------------------------------------------------------------------------

WRONG: Any = "x"


def wrong(value: Any) -> Any:
    """What the type checker would refuse."""
    return value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mj.rotate(x, 3, 5.0), "axis must be 0, 1, 2 or 'i', 'j', 'k', got 3"),  # type: ignore[arg-type]
        (lambda x: mj.rotate(x, "x", 5.0), "axis must be 0, 1, 2 or 'i', 'j', 'k', got 'x'"),  # type: ignore[arg-type]
        (lambda x: mj.rotate(x, True, 5.0), "axis must be .* got True"),  # type: ignore[arg-type]
        (lambda x: mj.rotate(x, 0, np.nan), "degrees must be finite, got nan"),
        (lambda x: mj.rotate(x, 0, np.ones(2)), r"degrees must be one number; got shape \(2,\)"),
        (lambda x: mj.rotate(x, 0, 5.0, center=(1, 2)), r"center must be three numbers, LPS mm; got shape \(2,\)"),
        (
            lambda x: mj.rotate(mj.stack([x, x]), 0, np.ones(2), expand=True),
            "expand=True makes the size depend on values",
        ),
        (lambda x: mj.affine_transform(x, np.eye(3)), r"\(..., 4, 4\) matrix, got shape \(3, 3\)"),
        (lambda x: mj.affine_transform(x, np.zeros((4, 4))), r"finite with last row \(0, 0, 0, 1\)"),
        (lambda x: mj.affine_transform(x, np.eye(4) * np.nan), r"finite with last row \(0, 0, 0, 1\)"),
        (
            lambda x: mj.affine_transform(x, mj.affine_matrix(scale=(1, 0, 1))),
            "matrix is singular: it squashes the world flat and has no inverse, got",
        ),
        (
            lambda x: mj.affine_transform(x, np.stack([MATRIX] * 2)),
            r"matrix is for a batch of shape \(2,\) and the image.s is \(\): give one for all items or one for each, use jax.vmap, or stack",
        ),
        (
            lambda x: mj.warp(x, np.zeros((3, 3, 3, 3))),
            r"displacement must be \(11, 8, 13, 3\), mm on the image's grid; got \(3, 3, 3, 3\)",
        ),
        (lambda x: mj.affine_matrix(rotation=(1, 2)), r"rotation must be one number or \(..., 3\), got shape \(2,\)"),
        (lambda x: mj.compose(np.eye(4), np.eye(3)), r"compose takes \(..., 4, 4\) matrices, got shape \(3, 3\)"),
        (lambda x: mj.rotate(x, 0, 5.0, interpolation=WRONG), "interpolation must be one of"),
        (lambda x: mj.rotate(x, 0, 5.0, interpolation=wrong([WRONG])), r"interpolation must be one of.*got \['x'\]"),
        (
            lambda x: mj.rotate(x, 0, 5.0, center=(0, np.nan, 0)),
            r"center must be finite, LPS mm; got \[0.0, nan, 0.0\]",
        ),
        (
            lambda x: mj.rotate(mj.stack([x] * 3), 0, 5.0, center=np.zeros((2, 3))),
            r"the center is for a batch of shape \(2,\) and the image.s is \(3,\)",
        ),
        (
            lambda x: mj.affine_transform(mj.stack([x] * 3), np.stack([MATRIX] * 2)),
            r"the matrix is for a batch of shape \(2,\) and the image.s is \(3,\)",
        ),
        (
            lambda x: mj.resample_to_image(
                x, x, transform=mj.DisplacementField.of(np.zeros((2, 4, 4, 4, 3)), np.eye(4))
            ),
            r"the displacement is for a batch of shape \(2,\) and the image.s is \(\)",
        ),
        (
            lambda x: mj.AffineTransform.of(np.diag([1.0, 0.0, 1.0, 1.0])).inverse(),
            "matrix is singular: it squashes the world flat and has no inverse",
        ),
        (
            lambda x: mj.DisplacementField.of([[1.0]], np.eye(4)),
            r"displacement field is \(i, j, k, 3\), world mm; got float64 of shape \(1, 1\)",
        ),
        (lambda x: mj.DisplacementField.of(np.zeros((2, 2, 2, 3)), np.eye(3)), r"affine must be \(..., 4, 4\)"),
        (lambda x: mj.DisplacementField.of(np.zeros((2, 2, 2, 3)), np.eye(4) * np.nan), "affine must be finite"),
        (lambda x: mj.warp(x, np.zeros((*x.shape, 3), complex)), "displacement field is .* got complex128"),
        (
            lambda x: mj.warp(x, mj.DisplacementField.of(np.zeros((*x.shape, 3)), x.affine)),  # type: ignore[arg-type]
            "displacement must be an array",
        ),
        (
            lambda x: mj.resample_to_image(
                x, x, transform=mj.CompositeTransform(wrong(mj.AffineTransform.of(np.eye(4))))
            ),
            "CompositeTransform of a tuple of them",
        ),
        (lambda x: mj.affine_transform(x, np.eye(4), grid=wrong((3, 3, 3))), "grid must be a Grid, got tuple"),
        (lambda x: mj.rotate(x, wrong(np.array([0, 1])), 3.0), "axis must be 0, 1, 2"),
        (lambda x: mj.rotate(x, 0, "10"), "expected real numbers, got '10'"),  # type: ignore[arg-type]
        (lambda x: mj.rotate(x, 0, 3.0, fill="min"), "fill must be a number.* got 'min'"),  # type: ignore[arg-type]
        (lambda x: mj.resample_to_image(x, x.grid), "reference must be an Image, got Grid; resample_to_grid takes"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_wrong_raises_with_value_and_remedy(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(scan(0))


def test_expand_under_tracing_is_refused() -> None:
    image = scan(11)
    with pytest.raises(ValueError, match="expand=True makes the size depend on values: it needs a known geometry"):
        jax.jit(lambda a: mj.rotate(image, 0, a, expand=True).voxels)(10.0)
    with pytest.raises(ValueError, match="expand=True"):
        jax.jit(lambda x: mj.rotate(x, 0, 10.0, expand=True).voxels)(image)


@pytest.mark.parametrize("name", ["rotate", "affine_transform", "warp", "resample_to_grid", "composite"])
@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
def test_traced_geometry_gives_the_same_values(name: str, interpolation: Any) -> None:
    """On a smooth image, since a traced affine is float32 and moves each sample by a few of its roundings."""
    image = blob(SHAPE, oblique_affine(origin=(1.0, 2.0, 3.0)), 3.0)

    def operation(x: Image) -> Any:
        if name in ("rotate", "affine_transform", "warp"):
            return RESAMPLING[name](x, interpolation=interpolation, fill=0).voxels
        grid = Grid.of((9, 9, 9), affine=image.affine @ np.diag([1.2, 0.9, 1.1, 1]))
        transform = mj.AffineTransform.of(MATRIX, center=image.grid.center) if name == "composite" else None
        return mj.resample_to_grid(x, grid, transform=transform, interpolation=interpolation, fill=0).voxels

    traced, plain = np.asarray(jax.jit(operation)(image)), np.asarray(operation(image))
    on_face = np.abs(traced - plain) > 0.05  # of 100: a sample on a face of the field of view may fall on either side
    assert on_face.mean() < 0.01
    assert jnp.isfinite(traced).all()


def test_a_small_matrix_is_not_a_singular_one() -> None:
    """Micrometres to metres: the determinant is 1e-18, the columns span space."""
    image = scan(1, (8, 8, 8))
    tiny = mj.affine_matrix(scale=1e-6)
    grid = mj.Grid.of((8, 8, 8), affine=tiny @ image.affine)
    out = mj.affine_transform(image, tiny, center=(0, 0, 0), grid=grid)
    np.testing.assert_allclose(out.voxels, np.asarray(image.voxels, np.float32), rtol=0, atol=1e-2)


BENT: dict[str, Callable[[Any, Any], Any]] = {
    "coarse": lambda coarse, own: coarse,
    "own": lambda coarse, own: own,
    "own, then coarse": lambda coarse, own: mj.CompositeTransform.of(coarse, own),
    "coarse, then own": lambda coarse, own: mj.CompositeTransform.of(own, coarse),
    "with an affine": lambda coarse, own: mj.CompositeTransform.of(mj.AffineTransform.of(MATRIX), own, coarse),
}


@pytest.mark.parametrize("make", BENT.values(), ids=BENT)
@pytest.mark.parametrize("which", ["coarse", "own", "both"])
def test_a_batch_onto_one_grid_with_a_field_for_each(make: Any, which: str) -> None:
    """Fields for each item, for all, or both, on the target's lattice or another; the grid is one for all."""
    image = scan(2, (9, 7, 5))
    batch = mj.stack([image, image])
    around = image.affine @ np.diag([3.0, 3.0, 3.0, 1.0])

    def fields(item: int | None) -> Any:
        made = []
        for name, shape, affine in (("coarse", (4, 4, 4), around), ("own", image.shape, image.affine)):
            values = 2 * np.random.default_rng(len(name)).normal(size=(2, *shape, 3)).astype(np.float32)
            if which not in (name, "both"):
                values = values[0]
            elif item is not None:
                values = values[item]
            made.append(mj.DisplacementField.of(values, affine))
        return make(*made)

    alone = [mj.resample_to_grid(image, image.grid, transform=fields(n), fill=0.0).voxels for n in range(2)]
    for grid in (image.grid, batch.grid):
        out = mj.resample_to_grid(batch, grid, transform=fields(None), fill=0.0)
        scale = float(np.abs(image.voxels).max())
        np.testing.assert_allclose(out.voxels, np.stack(alone), rtol=0, atol=1e-5 * scale)


def test_a_field_takes_placeholders_and_half_precision() -> None:
    """`jax.vmap` and `optax.masked` are told about leaves by a field of other things."""
    image = scan(3, (6, 5, 4))
    values = np.random.default_rng(0).normal(size=(2, 6, 5, 4, 3)).astype(np.float32)
    fields = mj.DisplacementField.of(values, image.affine)

    def bent(field: Any) -> Any:
        return mj.resample_to_image(image, image, transform=field).voxels

    mapped = jax.vmap(bent, in_axes=(mj.DisplacementField(0, None),))(fields)
    one = bent(mj.DisplacementField.of(values[1], image.affine))
    np.testing.assert_allclose(mapped[1], one, rtol=0, atol=1e-3 * float(np.abs(image.voxels).max()))
    assert jax.tree.leaves(mj.DisplacementField(True, False)) == [True, False]
    half = jnp.asarray(values[0], jnp.bfloat16)
    np.testing.assert_array_equal(mj.warp(image, half).voxels, mj.warp(image, np.asarray(half, np.float32)).voxels)


def test_a_transform_pulls_and_a_matrix_pushes() -> None:
    image, matrix = scan(), mj.affine_matrix((1.0, -2.0, 0.5), (5, 10, -20))
    center = image.grid.center
    pushed = mj.affine_transform(image, matrix, center=center, fill=0.0)
    pulled = mj.affine_transform(image, mj.AffineTransform.of(matrix, center=center).inverse(), fill=0.0)
    np.testing.assert_allclose(pulled.voxels, pushed.voxels, atol=1e-3)
    field = mj.DisplacementField.of(smooth_field(image.shape, 1.0), image.affine)
    wanted = mj.resample_to_image(image, image, transform=field, fill=0.0)
    np.testing.assert_array_equal(mj.affine_transform(image, field, fill=0.0).voxels, wanted.voxels)
    with pytest.raises(ValueError, match="a transform has its own centre"):
        mj.affine_transform(image, mj.AffineTransform.of(matrix), center=center)


def test_constructors_do_not_check_and_what_samples_does() -> None:
    image = scan()
    unchecked = mj.DisplacementField([[1.0]], np.eye(4))
    with pytest.raises(ValueError, match=r"DisplacementField\.of makes one"):
        mj.resample_to_image(image, image, transform=unchecked)
    with pytest.raises(ValueError, match="transform must be an AffineTransform"):
        mj.CompositeTransform.of(np.eye(4))  # type: ignore[arg-type]


def test_a_transform_in_every_way() -> None:
    """Closed over, as an argument, with voxels alone traced, mapped, in a batch, from a thread: the same as at once."""
    image, matrix = scan(), np.asarray(mj.affine_matrix((1.0, -2.0, 0.5), (5, 10, -20)))
    transform = mj.AffineTransform.of(matrix, center=image.grid.center)

    def apply(image: Image, transform: mj.AffineTransform) -> Any:
        return mj.affine_transform(image, transform, fill=0.0).voxels

    wanted, voxels = apply(image, transform), jnp.asarray(image.voxels)
    batch = mj.stack([image, image.with_voxels(2 * image.voxels)])
    with ThreadPoolExecutor(1) as pool:
        found = {
            "arguments": jax.jit(apply)(image, transform),
            "closed over": jax.jit(lambda: apply(image, transform))(),
            "voxels": jax.jit(lambda v: apply(image.with_voxels(v), transform))(voxels),
            "mapped": jax.vmap(lambda v: apply(image.with_voxels(v), transform))(voxels[None])[0],
            "a transform for each": jax.vmap(lambda m: apply(image, mj.AffineTransform(m, transform.center)))(
                jnp.asarray(matrix, jnp.float32)[None]
            )[0],
            "batch": mj.affine_transform(batch, transform, fill=0.0).voxels[1] / 2,
            "thread": pool.submit(apply, image, transform).result(),
        }
    for way, values in found.items():
        np.testing.assert_allclose(values, wanted, atol=2000 * 1e-4, err_msg=way)  # 1e-4 voxel where it is traced
