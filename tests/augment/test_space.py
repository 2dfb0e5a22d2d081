"""Spatial steps: where content goes, on images of several grids, with labels, points and boxes."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from augment_cases import keys_of, labelled, scan

import medjax as mj
from medjax import Image, augment

KEYS = keys_of()
CONTENT = {
    "rotation": (8.0, -12.0, 20.0),
    "scale": (1.1, 0.9, 1.2),
    "shear": (0.05, -0.02, 0.03),
    "translation": (2, -1, 3),
}


def oblique(degrees: float = 25.0) -> np.ndarray:
    return np.asarray(mj.affine_matrix(rotation=(degrees, -10, 5)))[:3, :3]


def world(image: Image) -> np.ndarray:
    """The position of every voxel, LPS mm."""
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1)
    return np.asarray(image.grid.world(index))


def coordinates(image: Image) -> Image:
    """An image whose channels are its own positions: moved, it says where each voxel came from."""
    away = world(image) - np.asarray(image.grid.center)
    return image.with_voxels(away.astype(np.float32))


def exact(**options: Any) -> augment.Step:
    given: dict[str, Any] = {name: augment.fixed(value) for name, value in ({**CONTENT} | options).items()}
    return augment.affine(**given)


def inner(array: Any, width: int = 3) -> np.ndarray:
    return np.asarray(array)[width:-width, width:-width, width:-width]


@pytest.mark.parametrize("direction", [np.eye(3), oblique(), np.diag([-1.0, -1.0, 1.0])[[1, 0, 2]]])
def test_affine_is_that_of_affine_transform(direction: np.ndarray) -> None:
    image = scan(1, (12, 11, 10), direction=direction)
    out = exact()(KEYS[0], image)
    wanted = mj.affine_transform(image, mj.affine_matrix(**CONTENT))
    np.testing.assert_allclose(out.voxels, wanted.voxels, atol=2e-3)  # float32 positions, slopes of 100 a voxel
    traced = jax.jit(lambda image: exact()(KEYS[0], image).voxels)(image)
    np.testing.assert_allclose(traced, wanted.voxels, atol=2e-3)


def test_nothing_is_exactly_nothing() -> None:
    """Also where the step is applied: neutral numbers give the neutral map."""
    image = labelled(scan(1, direction=oblique()))
    still = augment.sequence(augment.affine(rotation=0, scale=1), augment.elastic(amount=0))
    out = still(KEYS[0], image)
    for name in image:
        np.testing.assert_array_equal(out[name].voxels, image[name].voxels)


# --- Mirror ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["R", "SA", (0, "k"), 1, "RAS"])
@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, 1.0, -1.0])[[2, 0, 1]]], ids=["LPS", "other"])
def test_mirror_twice_is_the_identity_to_the_bit(axes: Any, direction: np.ndarray) -> None:
    image = labelled(scan(2, direction=direction))
    made = augment.mirror(axes=axes, p=1)
    once = made(KEYS[0], image)
    twice = made(KEYS[1], once)
    for name in image:
        assert np.any(np.asarray(once[name].voxels) != np.asarray(image[name].voxels))
        np.testing.assert_array_equal(twice[name].voxels, image[name].voxels)


@pytest.mark.parametrize("is_traced", [False, True])
def test_letters_are_axes_of_the_body(is_traced: bool) -> None:
    """The array axis that runs along a letter is found for each image; here i runs to S, j to R, k to A."""
    image = scan(2, direction=np.array([[0, -1.0, 0], [0, 0, -1.0], [1.0, 0, 0]]))
    assert image.orientation == "SRA"
    for letters, axis in (("R", 1), ("L", 1), ("A", 2), ("S", 0)):
        made = augment.mirror(axes=letters, p=1)
        out = (jax.jit(made) if is_traced else made)(KEYS[0], image)
        np.testing.assert_array_equal(out.voxels, np.flip(np.asarray(image.voxels), axis))


def test_mirror_in_a_gather_is_exact_too() -> None:
    image = labelled(scan(3))
    made = augment.sequence(augment.mirror(axes="RS", p=1), augment.affine(rotation=0, scale=1), augment.elastic(p=0))
    moved = augment.sequence(augment.mirror(axes="RS", p=1), exact(rotation=0, scale=1, shear=0, translation=(1, 0, 0)))
    for name in image:
        flipped = np.flip(np.asarray(image[name].voxels), (0, 2))
        np.testing.assert_array_equal(made(KEYS[0], image)[name].voxels, flipped)
        shifted = np.asarray(moved(KEYS[0], image)[name].voxels)
        np.testing.assert_allclose(shifted[1:], flipped[:-1], atol=1e-3)  # whole voxels: float32 positions alone


def test_left_and_right_labels_change_places() -> None:
    voxels = np.zeros((9, 8, 7), np.uint8)
    voxels[1:3, 2:4, 2:4], voxels[6:8, 2:4, 2:4], voxels[4, 6, 3] = 2, 41, 9
    image = {"ct": scan(), "seg": Image.from_array(voxels, kind="label", spacing=(1, 1.5, 2), origin=(10, -20, 300))}
    for axes, swaps in (("R", True), ("A", False), ((0,), True), ((1,), False)):
        made = augment.mirror(axes=axes, p=1, swap_labels=((2, 41),))
        out = np.asarray(made(KEYS[0], image)["seg"].voxels)
        plain = np.asarray(augment.mirror(axes=axes, p=1)(KEYS[0], image)["seg"].voxels)
        wanted = np.where(plain == 2, 41, np.where(plain == 41, 2, plain)) if swaps else plain
        np.testing.assert_array_equal(out, wanted)
    off = augment.mirror(axes="R", p=0, swap_labels=((2, 41),))(KEYS[0], image)["seg"]
    np.testing.assert_array_equal(off.voxels, voxels)


# --- Quarter turns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", [(0, 1), (2, 0)])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_exact(plane: tuple[int, int], quarters: int) -> None:
    image = labelled(scan(4, (6, 6, 6), spacing=2.0, direction=oblique()))
    made = augment.rotate90(planes=(plane,), quarter_turns=quarters, p=1)
    out = made(KEYS[0], image)
    for name in image:
        np.testing.assert_array_equal(out[name].voxels, np.rot90(np.asarray(image[name].voxels), quarters, plane))


def test_quarter_turns_need_planes_that_suit() -> None:
    with pytest.raises(ValueError, match=r"axes 0 and 1 of 'image' have 9 and 8 voxels of 1 and 1\.5 mm"):
        augment.rotate90()(KEYS[0], scan())


# --- Elastic ---------------------------------------------------------------------------------------------------------


def determinants(draw: augment.Draw, image: Image) -> np.ndarray:
    """The volume of the map from output to input voxels, by differences, from where an image of coordinates came from."""
    came = np.asarray(augment.apply(draw, coordinates(image)).voxels).astype(np.float64)
    columns = [np.diff(came, axis=axis)[4:-5, 4:-5, 4:-5][:14, :14, :14] / image.spacing[axis] for axis in range(3)]
    return np.linalg.det(np.stack(columns, -1))


def adversarial(place: tuple[float, float, float]) -> np.ndarray:
    """The signs of control points that pull hardest at a place of the middle cells, all axes together.

    The derivative along (1, 1, 1) is a sum over the points of the spline's three derivatives: each point pulls by its sign.
    """
    values, slopes = [], []
    for u in place:
        gap = u + 3 - np.arange(7)  # from each of the seven points
        far = abs(gap)
        values.append(np.where(far < 1, (4 - 6 * far**2 + 3 * far**3) / 6, np.where(far < 2, (2 - far) ** 3 / 6, 0)))
        slopes.append(
            np.where(far < 1, gap * (1.5 * far - 2), np.where(far < 2, -np.sign(gap) * (2 - far) ** 2 / 2, 0))
        )
    pull = sum(np.einsum("i,j,k->ijk", *[slopes[e] if e == axis else values[e] for e in range(3)]) for axis in range(3))
    return -np.sign(pull)[..., None] * np.ones(3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.0, 3.0)])
def test_elastic_cannot_fold(spacing: tuple[float, ...]) -> None:
    """With the signs that fold first, at the largest amount that is held. At an amount of 0.5 the least is below 0."""
    image = scan(5, (24, 24, 24), spacing=spacing)
    made = augment.elastic(points=7, amount=0.9, max_mm=1e3, lock=0)
    draw = made.sample(KEYS[0], image)
    worst = []
    for u in (0.0, 0.25, 0.5):
        values = {"elastic": draw.values["elastic"] | {"control": adversarial((u, u, u)).astype(np.float32)}}
        worst.append(determinants(augment.Draw(draw.key, values, draw.entries, draw.settings), image).min())
    worst += [determinants(made.sample(key, image), image).min() for key in KEYS[:3]]
    assert min(worst) > 0
    assert min(worst) < 0.2


@pytest.mark.long
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.0, 3.0)])
def test_a_thousand_elastic_draws_do_not_fold(spacing: tuple[float, ...]) -> None:
    """Of control points anywhere in their range, at the largest amount that is held; anisotropic voxels too."""
    image = scan(5, (24, 24, 24), spacing=spacing)
    made = augment.elastic(points=7, amount=0.4, max_mm=1e3, lock=0)
    batch, where = mj.stack([image] * 50), mj.stack([coordinates(image)] * 50)
    for number in range(20):
        draw = made.sample(augment.item_keys(number, np.arange(50)), batch)
        came = np.asarray(augment.apply(draw, where).voxels).astype(np.float64)
        columns = [np.diff(came, axis=a + 1)[:, 4:-5, 4:-5, 4:-5][:, :14, :14, :14] / spacing[a] for a in range(3)]
        assert np.linalg.det(np.stack(columns, -1)).min() > 0


def test_elastic_is_the_spline_of_its_control_points() -> None:
    """Against SciPy's B-splines, in float64; locked layers on all three axes, unlike TorchIO 1.2."""
    from scipy.interpolate import BSpline

    image = scan(5, (12, 11, 10))
    made = augment.elastic(points=(6, 7, 8), amount=0.2, max_mm=augment.fixed(1e3))
    draw = made.sample(KEYS[0], image)
    control = np.asarray(draw.values["elastic"]["control"], np.float64)
    for axis in range(3):
        for layer in (0, 1, -1, -2):
            assert not control.take(layer, axis).any()
    spacing = np.asarray(image.spacing)
    cells = np.asarray(image.shape) * spacing / (np.array([6, 7, 8]) - 3)
    bases = []
    for n, m in zip(image.shape, (6, 7, 8), strict=True):
        place = (np.arange(n) + 0.5) * (m - 3) / n
        knots = np.arange(-3, m + 1.0)
        bases.append(np.stack([BSpline(knots, np.eye(m)[c], 3)(place) for c in range(m)], -1))
    field = np.einsum("ai,bj,ck,ijkx->abcx", *bases, control * 0.2 * cells)
    came = np.asarray(augment.apply(draw, coordinates(image)).voxels)
    wanted = np.asarray(coordinates(image).voxels) + field
    edge = np.asarray(image.grid.extent) / 2 - spacing / 2
    is_inside = (abs(wanted) <= edge).all(-1)
    assert is_inside.mean() > 0.6
    np.testing.assert_allclose(came[is_inside], wanted[is_inside], atol=2e-5)


def test_max_mm_holds() -> None:
    image = scan(5, (12, 11, 10))
    draw = augment.elastic(max_mm=0.5).sample(KEYS[0], image)
    came = np.asarray(augment.apply(draw, coordinates(image)).voxels)
    away = abs(inner(came - np.asarray(coordinates(image).voxels), 2))
    assert 0.05 < away.max() <= 0.5


# --- Several grids, points, boxes ------------------------------------------------------------------------------------


def blob(grid: mj.Grid, center: np.ndarray, width: float = 2.5, kind: str = "intensity") -> Image:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    far = ((np.asarray(grid.world(index)) - center) ** 2).sum(-1)
    if kind == "label":
        return Image.from_array((far < width**2).astype(np.uint8), affine=grid.affine, kind="label")
    return Image.from_array(np.exp(-far / (2 * width**2)).astype(np.float32), affine=grid.affine)


def centroid(image: Image) -> np.ndarray:
    weights = np.asarray(image.voxels, np.float64)
    return (world(image) * weights[..., None]).sum((0, 1, 2)) / weights.sum()


def three_grids(landmark: np.ndarray) -> dict[str, Any]:
    """A PET, a CT and labels on three grids: other spacings, another direction, another centre."""
    ct = mj.Grid.of((40, 38, 20), spacing=(1.5, 1.5, 3), origin=(70, -40, 200))
    pet = mj.Grid.of((24, 22, 26), spacing=3.0, origin=(134, -42, 190), direction=oblique(12) @ np.diag([-1.0, 1, 1]))
    seg = mj.Grid.of((30, 30, 30), spacing=2.0, origin=(72, -38, 198))
    return {
        "ct": blob(ct, landmark),
        "pet": blob(pet, landmark),
        "seg": blob(seg, landmark, 5.0, "label"),
        "mark": augment.Points.of(landmark[None]),
    }


LANDMARK = np.array([97.0, -16.0, 226.0])


@pytest.mark.parametrize("is_traced", [False, True])
def test_a_landmark_stays_the_same_place_on_three_grids(is_traced: bool) -> None:
    images = three_grids(LANDMARK)
    made = augment.sequence(
        augment.mirror(axes="RA", p=0.6),
        augment.affine(rotation=12, scale=(0.9, 1.1), translation=4),
        augment.elastic(points=6, amount=0.2, max_mm=20, lock=1),
    )
    call = jax.jit(made) if is_traced else made
    moved = []
    for key in KEYS[:4]:
        out = call(key, images)
        mark = np.asarray(out["mark"].positions)[0]
        for name in ("ct", "pet", "seg"):
            off = np.linalg.norm(centroid(out[name]) - mark) / min(out[name].spacing)
            assert off < 0.5, (name, off)
        moved.append(np.linalg.norm(mark - LANDMARK))
    assert max(moved) > 4


def test_points_go_where_their_content_goes() -> None:
    """To a tenth of a voxel: the centroid of a narrow blob, which the local map moves as its centre."""
    grid = mj.Grid.of((32, 32, 32), spacing=(1.0, 1.2, 1.5), origin=(5, 6, 7))
    center = np.asarray(grid.world((17.3, 14.8, 16.1)))
    made = augment.sequence(exact(translation=(1, -1, 2)), augment.elastic(points=6, amount=0.1, max_mm=50, lock=1))
    out = made(KEYS[2], {"ct": blob(grid, center, 1.2), "mark": augment.Points.of(center[None])})
    off = (centroid(out["ct"]) - np.asarray(out["mark"].positions)[0]) / np.asarray(grid.spacing)
    assert abs(off).max() < 0.1
    assert np.linalg.norm(np.asarray(out["mark"].positions)[0] - center) > 1


def test_points_solve_the_equation_of_the_map() -> None:
    """Where a voxel of the output came from, found in an image of coordinates, goes back to the voxel: to 1e-3 mm."""
    image = scan(5, (16, 15, 14))
    made = augment.sequence(augment.affine(rotation=10), augment.elastic(amount=0.4, max_mm=1e3, lock=1), fill=1e6)
    draw = made.sample(KEYS[4], image)
    came = np.asarray(augment.apply(draw, coordinates(image)).voxels) + np.asarray(image.grid.center)
    edge = np.asarray(image.grid.extent) / 2 - np.asarray(image.spacing) / 2
    is_inside = (abs(came - np.asarray(image.grid.center)) < edge - 1e-3).all(-1)
    points = augment.Points.of(came[is_inside].astype(np.float32))
    back = np.asarray(augment.apply(draw, {"image": image, "points": points})["points"].positions)
    np.testing.assert_allclose(back, world(image)[is_inside], atol=1e-3)  # positions of 300 mm in float32


def test_boxes_hold_their_content() -> None:
    image = scan(5, (16, 15, 14), spacing=2.0, origin=(-15, -14, -13))
    box = augment.Boxes.of([[-6.0, -4, -2]], [[4.0, 6, 8]])
    out = exact(translation=0)(KEYS[0], {"image": image, "box": box})["box"]
    matrix = np.asarray(mj.affine_matrix(**(CONTENT | {"translation": 0})))[:3, :3]
    corners = np.array(np.meshgrid([-6, 4], [-4, 6], [-2, 8])).reshape(3, -1).T @ matrix.T
    np.testing.assert_allclose(out.low[0], corners.min(0), atol=1e-4)
    np.testing.assert_allclose(out.high[0], corners.max(0), atol=1e-4)
    with pytest.raises(ValueError, match="low must not lie above high"):
        augment.Boxes.of([[1, 1, 1]], [[0, 2, 2]])


def test_misaligned_images_move_apart() -> None:
    image = scan(1, (12, 11, 10))
    made = augment.misalign(only="pet", rotation=0, translation=augment.fixed((2, 0, 0)))
    out = made(KEYS[0], {"ct": image, "pet": image})
    np.testing.assert_array_equal(out["ct"].voxels, image.voxels)
    np.testing.assert_allclose(out["pet"].voxels[2:], image.voxels[:-2], atol=1e-3)


# --- Labels ----------------------------------------------------------------------------------------------------------


def test_votes_are_the_largest_share() -> None:
    """Against one-hot masks that are interpolated linearly one by one."""
    images = labelled(scan(6, (12, 11, 10)))
    made = augment.sequence(exact(translation=0), label_mode="vote", num_classes=3, label_fill=0)
    out = np.asarray(made(KEYS[0], images)["seg"].voxels)
    matrix = mj.affine_matrix(**(CONTENT | {"translation": 0}))
    voxels = np.asarray(images["seg"].voxels)
    shares = [
        np.asarray(
            mj.affine_transform(images["ct"].with_voxels((voxels == c).astype(np.float32)), matrix, fill=0.0).voxels
        )
        for c in range(3)
    ]
    ordered = np.sort(np.stack(shares), 0)
    is_clear = (ordered[-1] - ordered[-2] > 1e-3) | (ordered[-1] == 0)
    np.testing.assert_array_equal(out[is_clear], np.argmax(shares, 0)[is_clear])
    assert is_clear.mean() > 0.95
    assert np.any(out != np.asarray(exact(translation=0)(KEYS[0], images)["seg"].voxels))


def test_what_lies_outside() -> None:
    image = {
        "ct": scan(),
        "seg": Image.from_array(np.ones((9, 8, 7), np.int8), kind="label", spacing=(1, 1.5, 2), origin=(10, -20, 300)),
    }
    away = exact(rotation=0, scale=1, shear=0, translation=(4, 0, 0))
    out = augment.sequence(away, fill=-1000, label_fill=-1)(KEYS[0], image)
    assert (np.asarray(out["ct"].voxels)[:4] == -1000).all()
    np.testing.assert_array_equal(out["seg"].voxels[:, 0, 0], [-1] * 4 + [1] * 5)
    plain = augment.sequence(away)(KEYS[0], image)
    corners = np.asarray(image["ct"].voxels)[::8, ::7, ::6]
    np.testing.assert_allclose(plain["ct"].voxels[0], np.median(corners), rtol=1e-6)
    assert (np.asarray(plain["seg"].voxels)[:4] == 0).all()


def test_flat_images_stay_in_their_plane() -> None:
    image = scan(1, (12, 11, 1))
    made = augment.sequence(augment.affine(rotation=30, translation=(1, 2)), augment.elastic())
    draw = made.sample(KEYS[0], image)
    came = np.asarray(augment.apply(draw, coordinates(image)).voxels)
    assert np.ptp(came[2:-2, 2:-2, 0, 0]) > 5  # not moved out of the plane, where all is background
    turn = augment.affine(rotation=augment.fixed((20, 30, 40)), scale=1)
    wanted = mj.affine_transform(image, mj.affine_matrix(rotation=(0, 0, 40)))
    np.testing.assert_allclose(turn(KEYS[0], image).voxels, wanted.voxels, atol=2e-3)


def test_intensities_between_spatial_steps_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="so images are interpolated 2 times"):
        augment.sequence(augment.affine(), augment.gamma(), augment.elastic())
    augment.sequence(augment.affine(), augment.elastic(), augment.gamma(), augment.mirror())
