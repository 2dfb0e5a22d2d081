"""dilate, erode, opening, closing and fill_holes against SciPy, with a ball in mm, on oblique, anisotropic, odd-sized images."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from intensity_cases import SHAPE, scan, turned_affine
from scans import oblique_affine
from scipy import ndimage

import medjax as mj
from medjax import Image

SPACING = np.array([0.7, 1.1, 2.5])  # of oblique_affine
WRONG: Any = "cm"
RADII = [0.0, 0.7, 1.5, 2.1, 3.0, 5.0]


def ball(radius: float, matrix: Any = None) -> np.ndarray:
    """SciPy's footprint: the voxels whose centres lie within the radius; 2.1 mm holds three steps of 0.7 mm."""
    matrix = np.diag(SPACING) if matrix is None else matrix
    reach = np.floor(radius * np.linalg.norm(np.linalg.inv(matrix), axis=1) * (1 + 1e-9)).astype(int)
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1)
    return np.linalg.norm(offsets @ np.asarray(matrix).T, axis=-1) <= radius * (1 + 1e-9)


def masked(seed: int = 0, share: float = 0.3, affine: Any = None) -> Image:
    inside = np.random.default_rng(seed).random(SHAPE) < share
    affine = oblique_affine() if affine is None else affine
    return Image.from_array(
        (3 * inside).astype(np.uint8), affine=affine, kind="label", metadata=mj.Metadata(source="m")
    )


# What SciPy does with a footprint; beyond the edge there is nothing to take, or to take away.
BINARY: dict[str, Any] = {
    "dilate": lambda x, f: ndimage.binary_dilation(x, f),
    "erode": lambda x, f: ndimage.binary_erosion(x, f, border_value=1),
    "opening": lambda x, f: ndimage.binary_dilation(ndimage.binary_erosion(x, f, border_value=1), f),
    "closing": lambda x, f: ndimage.binary_erosion(ndimage.binary_dilation(x, f), f, border_value=1),
}
GREY: dict[str, Any] = {
    "dilate": lambda x, f: ndimage.grey_dilation(x, footprint=f),
    "erode": lambda x, f: ndimage.grey_erosion(x, footprint=f),
    "opening": lambda x, f: ndimage.grey_opening(x, footprint=f),
    "closing": lambda x, f: ndimage.grey_closing(x, footprint=f),
}


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("name", BINARY)
def test_masks_are_scipys(name: str, radius: float) -> None:
    operation, mask = getattr(mj, name), masked(share=0.6 if name in ("erode", "opening") else 0.2)
    wanted = BINARY[name](mask.voxels != 0, ball(radius))
    for found in (
        operation(mask, radius),
        jax.jit(lambda x: operation(x, radius))(mask),
        jax.jit(operation)(mask, radius),
        operation(mask.with_voxels(mask.voxels > 0), radius),
    ):
        np.testing.assert_array_equal(np.asarray(found.voxels), wanted)
        assert found.kind == "label"
    found = operation(mask, radius)
    assert (found.dtype, found.metadata) == (mask.dtype, mask.metadata)


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("name", GREY)
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint16])
def test_intensities_are_scipys(name: str, radius: float, dtype: Any) -> None:
    image = scan()
    values = (image.voxels + (1000 if dtype is np.uint16 else 0)).astype(dtype)
    image, operation = image.with_voxels(values), getattr(mj, name)
    wanted = GREY[name](values, ball(radius))
    for found in (operation(image, radius), jax.jit(operation)(image, radius)):
        np.testing.assert_array_equal(found.voxels, wanted)
        assert (found.dtype, found.kind) == (np.dtype(dtype), "intensity")


@pytest.mark.parametrize("name", BINARY)
def test_voxels_as_unit(name: str) -> None:
    mask = masked()
    found = getattr(mj, name)(mask, 2, unit="voxel")
    np.testing.assert_array_equal(found.voxels, BINARY[name](mask.voxels != 0, ball(2, np.eye(3))))


@pytest.mark.parametrize("radius", [1.7, 4.0])
def test_sheared_grids(radius: float) -> None:
    """A tilted gantry: the ball is one in the world."""
    affine = oblique_affine()
    affine[:3, :3] = affine[:3, :3] @ [[1, 0, 0.4], [0, 1, -0.6], [0, 0, 1]]
    mask = masked(share=0.1, affine=affine)
    wanted = ndimage.binary_dilation(mask.voxels != 0, ball(radius, affine[:3, :3]))
    np.testing.assert_array_equal(mj.dilate(mask, radius).voxels, wanted)
    np.testing.assert_array_equal(jax.jit(lambda x: mj.dilate(x, radius))(mask).voxels, wanted)


@pytest.mark.parametrize("radius", [3.0, 9.0, 40.0])
def test_traced_balls_of_any_reach(radius: float) -> None:
    """Beyond 4 and 12 voxels a traced ball goes other ways."""
    voxels = np.random.default_rng(2).random((31, 6, 5)) < 0.01
    mask = Image.from_array(voxels, affine=oblique_affine(), kind="label")
    found = jax.jit(mj.dilate)(mask, radius)
    np.testing.assert_array_equal(found.voxels, mj.dilate(mask, radius).voxels)
    np.testing.assert_array_equal(found.voxels, ndimage.binary_dilation(voxels, ball(radius)))


def test_a_ball_larger_than_the_image() -> None:
    image = scan()
    for found in (mj.dilate(image, 500.0), jax.jit(mj.dilate)(image, 500.0)):
        np.testing.assert_array_equal(found.voxels, np.full(SHAPE, image.voxels.max()))


def test_radius_per_item_and_channel_on_grids_of_their_own() -> None:
    random = np.random.default_rng(4)
    affines = [turned_affine(0), turned_affine(1) @ np.diag([2.0, 1, 0.5, 1])]
    items = [Image.from_array(random.random((*SHAPE, 2)) < 0.1, affine=a, kind="label") for a in affines]
    batch = mj.stack(items)
    for radius in (1.5, np.array([1.0, 3.0]), np.array([[1.0], [3.0]]), np.array([[0.5, 1.0], [2.0, 3.0]])):
        each = np.broadcast_to(radius, (2, 2))
        for found in (mj.dilate(batch, radius), jax.jit(mj.dilate)(batch, radius)):
            for n, item in enumerate(items):
                for c in range(2):
                    footprint = ball(each[n, c], np.diag(item.spacing))
                    wanted = ndimage.binary_dilation(item.voxels[..., c], footprint)
                    np.testing.assert_array_equal(found.voxels[n, ..., c], wanted)


def test_gradient_goes_to_the_voxel_that_was_taken() -> None:
    image = scan()
    slope = jax.grad(lambda v: mj.dilate(image.with_voxels(v), 2.0).voxels.sum())(jnp.asarray(image.voxels))
    largest = np.asarray(mj.dilate(image, 2.0).voxels)
    wanted = [[[(largest == x).sum() for x in row] for row in plane] for plane in image.voxels]
    np.testing.assert_allclose(slope, wanted, atol=1e-5)


def test_nothing_larger_after_opening_nothing_smaller_after_closing() -> None:
    mask = masked(share=0.5)
    inside = mask.voxels != 0
    opened, closed = (np.asarray(f(mask, 1.2).voxels) != 0 for f in (mj.opening, mj.closing))
    assert not (opened & ~inside).any()
    assert not (inside & ~closed).any()


def test_holes_are_scipys() -> None:
    masks = [masked(n, 0.85) for n in range(2)]
    batch = mj.fill_holes(mj.stack(masks))
    for found, mask in zip(mj.unstack(batch), masks, strict=True):
        wanted = ndimage.binary_fill_holes(mask.voxels != 0)
        np.testing.assert_array_equal(found.voxels, wanted)
        assert (found.dtype, found.kind, found.metadata) == (mask.dtype, "label", mask.metadata)
        assert wanted.sum() > (mask.voxels != 0).sum()
    with pytest.raises(ValueError, match="fill_holes runs on the host: call it outside jit"):
        jax.jit(mj.fill_holes)(masks[0])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mj.dilate(x, -1.0), r"dilate: radius must be finite and not negative, got -1\.0"),
        (lambda x: mj.erode(x, np.inf), "erode: radius must be finite"),
        (lambda x: mj.opening(x, (1, 2, 3)), r"radius must be one number; got shape \(3,\)"),
        (lambda x: mj.closing(x, 1.0, unit=WRONG), "unit must be 'mm' or 'voxel', got 'cm'"),
        (lambda x: mj.dilate(x.voxels, 1.0), "dilate: the image must be an Image, got ndarray"),
        (lambda x: mj.fill_holes(x), "fill_holes takes booleans or integers, got float32"),
        (lambda x: mj.dilate(x.with_voxels(x.voxels * 1j), 1.0), "dilate takes real voxels, got complex64"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(scan())
