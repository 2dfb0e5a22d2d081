"""Voxel grids: float64 geometry against SimpleITK and NumPy, in batches and under transformations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import medjax as mj
from medjax import Grid, Image

# Private: operations on images show these numbers only after rounding or through an interpolation.
from medjax._geometry._grid import index_map, inverse_3x3, rescaled_size, shear_degrees

seeds = st.integers(0, 2**32 - 1)


def random_affine(seed: int, batch: tuple[int, ...] = (), shear: float = 0.0) -> np.ndarray:
    """Oblique, anisotropic, off-centre, possibly sheared and mirrored: a scanner's affine, about 1 m of world."""
    rng = np.random.default_rng(seed)
    affine = np.zeros((*batch, 4, 4))
    flat = affine.reshape(-1, 4, 4)
    for item in flat:
        tilt = np.eye(3)
        tilt[rng.permutation(3)[0], rng.permutation(3)[0]] += shear * rng.uniform(-1, 1)
        turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        item[:3, :3] = turn @ tilt * rng.uniform(0.3, 6.0, 3) * rng.choice([-1, 1], 3)
        item[:3, 3], item[3, 3] = rng.uniform(-500, 500, 3), 1
    return affine


def random_grid(seed: int, **options: Any) -> Grid:
    return Grid.of(np.random.default_rng(seed).integers(1, 40, 3), affine=random_affine(seed, **options))


# --- Parts and wholes ------------------------------------------------------------------------------------------------


@given(seed=seeds)
def test_world_and_index_agree_with_simpleitk(seed: int) -> None:
    grid = random_grid(seed)
    image = sitk.Image(*grid.shape, sitk.sitkUInt8)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    rng = np.random.default_rng(seed)
    for index in rng.integers(-5, 60, (4, 3)):
        expected = image.TransformIndexToPhysicalPoint(index.tolist())
        np.testing.assert_allclose(grid.world(index), expected, rtol=0, atol=1e-9)
    for point in rng.uniform(-500, 500, (4, 3)):
        expected = image.TransformPhysicalPointToContinuousIndex(point.tolist())
        np.testing.assert_allclose(grid.index(point), expected, rtol=0, atol=1e-8)  # 1000 mm over 0.3 mm voxels


@given(seed=seeds, shear=st.sampled_from([0.0, 0.4]))
def test_parts_of_an_affine_make_it_again(seed: int, shear: float) -> None:
    affine = random_affine(seed, shear=shear)
    assume(np.linalg.cond(affine[:3, :3]) < 1e3)
    grid = Grid.of((2, 3, 4), affine=affine)
    again = Grid.of(grid.shape, spacing=grid.spacing, origin=grid.origin, direction=grid.direction)
    np.testing.assert_allclose(again.affine, affine, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(grid.direction, axis=0), 1, rtol=1e-14)
    voxels = np.zeros((2, 3, 4))
    flipped = Image.from_array(voxels, affine=affine).affine_ras
    np.testing.assert_array_equal(flipped[:2], -affine[:2])
    np.testing.assert_array_equal(flipped[2:], affine[2:])
    np.testing.assert_array_equal(Image.from_array(voxels, affine_ras=flipped).affine, affine)


@given(seed=seeds, shear=st.sampled_from([0.0, 0.4]))
def test_index_undoes_world(seed: int, shear: float) -> None:
    grid = random_grid(seed, shear=shear)
    index = np.random.default_rng(seed).uniform(-50, 50, (7, 3))
    condition = np.linalg.cond(grid.affine[:3, :3])
    np.testing.assert_allclose(grid.index(grid.world(index)), index, rtol=0, atol=1e-12 * 500 * condition)


@given(seed=seeds)
def test_moved_grid_continues_the_lattice(seed: int) -> None:
    grid = random_grid(seed, shear=0.4)
    start, probe = np.random.default_rng(seed).integers(-9, 9, (2, 3))
    moved = grid.moved(start, (2, 3, 4))
    assert moved.shape == (2, 3, 4)
    np.testing.assert_allclose(moved.world(probe), grid.world(start + probe), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(moved.affine[:3, :3], grid.affine[:3, :3])


def test_a_moved_grid_with_another_affine_lies_where_that_says() -> None:
    """The known way from the grid that it was made from must not come along: it would win over the affine."""
    image = Image.from_array(np.arange(4.0).reshape(4, 1, 1))
    moved = image.grid.moved((1, 0, 0), (2, 1, 1))
    other = dataclasses.replace(moved, affine=Grid.of((2, 1, 1), origin=(2, 0, 0)).affine)
    out = mj.resample_to_grid(image, other)
    np.testing.assert_array_equal(np.asarray(out.voxels).ravel(), [2, 3])
    np.testing.assert_array_equal(out.affine, other.affine)


def test_extent_and_center_of_a_grid_by_hand() -> None:
    grid = Grid.of((10, 20, 5), spacing=(1, 2, 3), origin=(100, 0, -6), direction=[[0, 1, 0], [1, 0, 0], [0, 0, -1]])
    assert grid.extent.tolist() == [10.0, 40.0, 15.0]
    assert grid.center.tolist() == [100 + 19.0, 4.5, -12.0]
    assert grid.index(grid.center).tolist() == [4.5, 9.5, 2.0]
    assert grid.index(grid.origin).tolist() == [0, 0, 0]


def test_direction_is_read_row_by_row_as_in_itk() -> None:
    turn = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix()
    flat, rows = (Grid.of((1, 1, 1), direction=each, spacing=(1, 2, 3)).affine for each in (turn.ravel(), turn))
    np.testing.assert_array_equal(flat, rows)
    np.testing.assert_allclose(rows[:3, 2], 3 * turn[:, 2], rtol=1e-15)


@given(seed=seeds, degrees=st.floats(0, 60))
def test_shear_is_measured_in_degrees(seed: int, degrees: float) -> None:
    turn = Rotation.random(random_state=seed).as_matrix()
    tilt = np.eye(3)
    tilt[1, 2], tilt[2, 2] = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt * (0.5, 2.0, 7.0)
    assert shear_degrees(affine) == pytest.approx(degrees, abs=1e-6)  # a cosine of 1 - 1e-16 is 1e-8 rad


# --- The map between two grids ---------------------------------------------------------------------------------------


@given(seed=seeds, shear=st.sampled_from([0.0, 0.3]))
def test_index_map_is_the_exact_one(seed: int, shear: float) -> None:
    """Against rational arithmetic on the same float64 affines."""
    target, source = random_affine(seed, shear=shear), random_affine(seed + 1, shear=shear)
    assume(np.linalg.cond(source[:3, :3]) < 100)
    matrix, offset = index_map(target, source)
    index = np.random.default_rng(seed).integers(0, 512, 3)
    world = [sum(Fraction(target[r, c]) * int(index[c]) for c in range(3)) + Fraction(target[r, 3]) for r in range(3)]
    found = matrix @ index + offset
    back = [
        sum(Fraction(source[r, c]) * Fraction(found[c]) for c in range(3)) + Fraction(source[r, 3]) for r in range(3)
    ]
    assert max(abs(float(a - b)) for a, b in zip(world, back, strict=True)) < 1e-9


@given(seed=seeds)
def test_index_map_onto_itself_is_the_identity(seed: int) -> None:
    affine = random_affine(seed, shear=0.3)
    matrix, offset = index_map(affine, affine)
    np.testing.assert_allclose(matrix, np.eye(3), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(offset, 0)


def test_index_map_in_float32_is_good_to_the_last_slice() -> None:
    """On 512 x 512 x 300 oblique CTs, half a metre from the origin: no sample may leave its half voxel at the edge."""
    size = np.array([512, 512, 300])
    for seed in range(100):
        rng = np.random.default_rng(seed)
        turn = Rotation.random(random_state=seed).as_matrix()
        grid = Grid.of(size, spacing=(0.7, 0.7, 1.25), origin=rng.uniform(-500, 500, 3), direction=turn)
        source, target = grid.affine, grid.moved(rng.uniform(-3, 3, 3)).affine
        matrix, offset = jax.jit(index_map)(target, source)
        exact_matrix, exact_offset = index_map(target, source)
        error = (np.asarray(matrix, np.float64) - exact_matrix) @ (size - 1) + (offset - exact_offset)
        assert np.abs(error).max() < 1.5e-4  # of a voxel: a few roundings of float32 at 512, 3e-5 each


def test_inverse_is_that_of_numpy_and_differentiable() -> None:
    matrices = random_affine(3, batch=(6,), shear=0.3)[..., :3, :3]
    np.testing.assert_allclose(inverse_3x3(matrices), np.linalg.inv(matrices), rtol=1e-10, atol=1e-12)
    with jax.enable_x64(True):
        matrix = jnp.asarray(matrices[0])
        ours, theirs = jax.jacobian(inverse_3x3)(matrix), jax.jacobian(jnp.linalg.inv)(matrix)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


# --- Sizes -----------------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 2000), spacing=st.floats(1e-3, 1e2))
def test_equal_spacing_gives_equal_size(n: int, spacing: float) -> None:
    assert rescaled_size((n,) * 3, np.full(3, spacing), np.full(3, spacing)) == (n,) * 3


@pytest.mark.parametrize(
    ("n", "spacing", "new", "expected"),
    [
        (7, 0.3, 0.3, 7),  # 0.3 * 7 / 0.3 is 6.999...
        (16, 2.1, 0.7, 48),  # ceil gives 49
        (10, 0.1, 0.2, 5),
        (5, 0.1, 0.2, 3),  # 2.5: a half goes up
        (3, 0.1, 0.2, 2),  # 1.5
        (3, 0.7, 1.4, 2),  # 1.5 in decimals
        (1, 1.0, 100.0, 1),  # at least one
        (512, 0.9765625, 1.0, 500),
        (75, 5.0, 1.0, 375),
        (49, 1.1, 0.1, 539),
    ],
)
def test_sizes_that_decimal_fractions_spoil(n: int, spacing: float, new: float, expected: int) -> None:
    assert rescaled_size((n, n, n), np.full(3, spacing), np.full(3, new)) == (expected,) * 3


@pytest.mark.parametrize("tenths", range(1, 40))
def test_size_is_the_rounded_decimal_ratio(tenths: int) -> None:
    """Against rational arithmetic on the decimals that a person wrote, halves up."""
    for new in range(1, 40):
        sizes = (tenths % 7 + 3, new, 2 * new + 1)
        exact = [Fraction(n) * Fraction(tenths, new) for n in sizes]
        expected = tuple(max(1, int(x + Fraction(1, 2))) for x in exact)  # int() floors what is positive
        assert rescaled_size(sizes, np.full(3, tenths / 10), np.full(3, new / 10)) == expected


# --- Batches, and values that are traced -----------------------------------------------------------------------------

ONE = random_affine(11)


def as_array(values: Any) -> Any:
    """The spacing and origin of a single known grid are tuples."""
    return np.asarray(values) if isinstance(values, tuple) else values


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "spacing": lambda affine, points: as_array(Grid((5, 6, 7), affine).spacing),
    "origin": lambda affine, points: as_array(Grid((5, 6, 7), affine).origin),
    "direction": lambda affine, points: Grid((5, 6, 7), affine).direction,
    "to RAS": lambda affine, points: Image(np.zeros((*affine.shape[:-2], 5, 6, 7)), affine).affine_ras,
    "extent": lambda affine, points: Grid((5, 6, 7), affine).extent,
    "center": lambda affine, points: Grid((5, 6, 7), affine).center,
    "world": lambda affine, points: Grid((5, 6, 7), affine).world(points),
    "index": lambda affine, points: Grid((5, 6, 7), affine).index(points),
    "moved": lambda affine, points: Grid((5, 6, 7), affine).moved(points[..., 0, :]).affine,
    "map from": lambda affine, points: index_map(affine, ONE),
    "map onto": lambda affine, points: index_map(ONE, affine),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("batch", [(), (5,), (2, 5)], ids=str)
def test_batched_and_traced_values_are_the_single_ones(function: Any, batch: tuple[int, ...]) -> None:
    """Under strict promotion: 1e-4 of 1000 mm is what float32 keeps of an index after a division by 0.3 mm."""
    affine = random_affine(7, batch=batch)
    points = np.random.default_rng(7).uniform(-20, 20, (5, 3))
    wholes = jax.tree.leaves(function(affine, points))
    for whole, traced in zip(wholes, jax.tree.leaves(jax.jit(function)(affine, points)), strict=True):
        assert (whole.dtype, traced.dtype) == (np.float64, np.float32)
        np.testing.assert_allclose(traced, whole, rtol=0, atol=2e-6 * max(np.abs(whole).max(), 1000 / 0.3))
    with jax.enable_x64(True):
        for whole, traced in zip(wholes, jax.tree.leaves(jax.jit(function)(affine, points)), strict=True):
            np.testing.assert_allclose(traced, whole, rtol=0, atol=1e-11 * max(np.abs(whole).max(), 1000))


@pytest.mark.parametrize("name", ["spacing", "origin", "direction", "to RAS", "extent", "center"])
def test_a_batch_is_its_items(name: str) -> None:
    affine = random_affine(7, batch=(2, 5))
    points = np.zeros((5, 3))
    whole = FUNCTIONS[name](affine, points)
    for place in np.ndindex(2, 5):
        np.testing.assert_allclose(whole[place], FUNCTIONS[name](affine[place], points), rtol=1e-14, atol=1e-12)


def test_properties_of_single_grids_are_plain_numbers() -> None:
    grid = random_grid(5)
    assert all(type(x) is float for x in (*grid.spacing, *grid.origin))
    batch = Grid.of((2, 2, 2), affine=random_affine(5, batch=(3,)))
    assert batch.spacing.shape == batch.origin.shape == (3, 3)
    assert repr(batch) == "Grid(shape=(2, 2, 2), affine=(3, 4, 4))"
    assert repr(Grid.of((2, 3, 4), spacing=0.5)) == "Grid(shape=(2, 3, 4), spacing=(0.5, 0.5, 0.5), origin=(0, 0, 0))"


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (2, 3)}, r"three positive integers \(i, j, k\), got \(2, 3\)"),
        ({"shape": (2, 3, 0)}, "three positive integers"),
        ({"shape": (2, 3, -1)}, "three positive integers"),
        ({"shape": (2, 3, 4.5)}, "three positive integers"),
        ({"shape": (2, 3, 4), "spacing": 0}, r"spacing must be positive, got 0"),
        ({"shape": (2, 3, 4), "spacing": (1, np.inf, 1)}, "spacing must be one finite number or three"),
        ({"shape": (2, 3, 4), "direction": np.zeros((3, 3))}, "singular"),
        ({"shape": (2, 3, 4), "affine": np.eye(4), "origin": 0}, "either affine, or spacing"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_grid_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid.of(**arguments)


@pytest.mark.parametrize("value", ["a", "1", ("1", "2", "3"), None, (1, 2), np.nan, (1, 2, np.inf), [[1, 2, 3]]])
@pytest.mark.usefixtures("unchecked")
def test_triples_are_one_number_or_three(value: Any) -> None:
    image = Image.from_array(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"spacing must be one finite number or three, got "):
        mj.resample_to_spacing(image, value)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3)])
def test_points_may_be_many(shape: tuple[int, ...]) -> None:
    grid = Grid.of((2, 3, 4))
    assert grid.world(np.zeros(shape)).shape == grid.index(np.zeros(shape)).shape == shape


@pytest.mark.parametrize("shape", [(2, 2), ()])
def test_points_have_three_coordinates(shape: tuple[int, ...]) -> None:
    grid = Grid.of((2, 3, 4))
    for method in (grid.world, grid.index):
        with pytest.raises(ValueError, match=r"are \(..., 3\)"):
            method(np.zeros(shape))


def test_a_grid_copies_its_affine_and_names_the_fault() -> None:
    def made(affine: np.ndarray) -> Any:
        return Grid.of((2, 3, 4), affine=affine).affine

    affine = np.eye(4)
    assert not np.shares_memory(made(affine), affine)
    flat = np.eye(4)
    flat[2, 2] = 1e-12  # thin voxels are no fault
    np.testing.assert_array_equal(made(flat), flat)
    flat[:3, 2] = flat[:3, 1]  # two axes along one direction are
    with pytest.raises(ValueError, match="columns do not span space"):
        made(flat)
    perspective = np.eye(4)
    perspective[3, 0] = 0.1
    with pytest.raises(ValueError, match=r"last row of an affine must be \(0, 0, 0, 1\)"):
        made(perspective)


TOO_LARGE: dict[str, Callable[[Image], Any]] = {
    "spacing": lambda x: mj.resample_to_spacing(x, 1e-6),
    "spacing that is next to nothing": lambda x: mj.resample_to_spacing(x, 1e-310),
    "factor": lambda x: mj.scale(x, 1e6),
    "size": lambda x: mj.resample_to_spacing(x, 1.0, size=10**7),
    "grid": lambda x: mj.resample_to_grid(x, Grid.of((10**7,) * 3)),
    "pad": lambda x: mj.pad(x, 10**6, 10**6),
    "edge": lambda x: mj.pad(x, 0, 10**7, mode="edge"),
    "crop_or_pad": lambda x: mj.crop_or_pad(x, (10**7,) * 3),
    "fused": lambda x: mj.fuse(lambda y: mj.crop_or_pad(mj.scale(mj.rotate(y, 0, 5.0), 1e6), (4, 4, 4)))(x),
}


@pytest.mark.parametrize("call", TOO_LARGE.values(), ids=TOO_LARGE)
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_lattices_that_no_memory_holds(call: Callable[[Image], Any], xp: Any) -> None:
    """XLA would end the process."""
    with pytest.raises(ValueError, match=r"a lattice of .* voxels is more than any memory holds"):
        call(Image.from_array(xp.zeros((8, 8, 8), np.float32)))


def test_geometry_may_be_traced_from_the_start() -> None:
    """A grid or an image built inside `jit` is the one built outside, to float32, and has gradients in its parts."""
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    known = Grid.of((4, 5, 6), spacing=(1, 2, 3), origin=(4, 5, 6), direction=turn)

    def parts(spacing: Any, origin: Any, direction: Any) -> Any:
        grid = Grid.of((4, 5, 6), spacing=spacing, origin=origin, direction=direction)
        image = Image.from_array(np.zeros((4, 5, 6)), spacing=spacing, origin=origin, direction=direction)
        again = Grid.of((4, 5, 6), affine=grid.affine)
        return grid.affine, image.affine, again.affine, Image.from_array(image.voxels, affine=grid.affine).affine

    for affine in jax.jit(parts)((1, 2, 3), jnp.array([4.0, 5.0, 6.0]), turn):
        np.testing.assert_allclose(affine, known.affine, rtol=1e-6)
    slope = jax.grad(lambda s: Grid.of((4, 5, 6), spacing=(1.0, s, 3.0)).extent.sum())(2.0)
    assert float(slope) == 5.0
    for wrong in (
        lambda s: Grid.of((4, 5, 6), spacing=jnp.stack([s, s])),
        lambda s: Grid.of((4, 5, 6), affine=s),
        lambda s: Image.from_array(np.zeros((4, 5, 6)), affine=jnp.ones((3, 3)) * s),
    ):
        with pytest.raises(ValueError, match=r"must be one finite number or three|must be \(..., 4, 4\)"):
            jax.jit(lambda s, wrong=wrong: wrong(s).affine)(1.0)


def test_a_grid_is_an_argument_of_jit() -> None:
    """Two grids of one shape share a compilation; the values are those of the grid that is closed over."""
    image = mj.Image.from_array(np.random.default_rng(0).normal(size=(7, 6, 5)).astype(np.float32), spacing=(1, 1.3, 2))
    traces = []

    @jax.jit
    def onto(image: mj.Image, grid: mj.Grid) -> mj.Image:
        traces.append(grid.shape)
        return mj.resample_to_grid(image, grid, fill=-1.0)

    for origin in ((0, 0, 0), (0.5, 1.0, -0.25)):
        grid = mj.Grid.of((5, 4, 6), spacing=1.1, origin=origin)
        out, wanted = onto(image, grid), mj.resample_to_grid(image, grid, fill=-1.0)
        np.testing.assert_allclose(out.voxels, wanted.voxels, atol=1e-5)
        np.testing.assert_allclose(out.affine, wanted.affine, rtol=1e-6, atol=1e-6)
    assert traces == [(5, 4, 6)]
    moved = jax.tree.map(lambda affine: affine, mj.Grid.of((2, 3, 4), spacing=0.1))
    assert (moved.shape, moved.spacing) == ((2, 3, 4), (0.1, 0.1, 0.1))
