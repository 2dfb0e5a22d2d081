"""Oblique images, operations and SimpleITK's view of them, shared by the tests of spatial operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import SimpleITK as sitk
from orientations import CODES as CODES
from scans import scan_of
from scipy.spatial.transform import Rotation

import medjax as mj
from medjax import Grid, Image

SHAPE = (11, 8, 13)  # odd and even, no two alike


def noise(shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Values without any symmetry or smoothness, over a range of about 2000."""
    values = np.random.default_rng(seed).uniform(-1000, 1000, shape)
    if np.dtype(dtype) == np.bool_:
        return values > 0
    if np.dtype(dtype).kind == "u":
        values = np.abs(values) / 8
    elif np.dtype(dtype) == np.int8:
        values = values / 8
    elif np.dtype(dtype).kind == "c":
        values = values + 1j * np.random.default_rng(seed + 99).uniform(-1000, 1000, shape)
    return values.astype(dtype)


def scan(seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32, **options: Any) -> Image:
    return scan_of(noise(shape, dtype, seed), seed, **options)


def labels(seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype: Any = np.uint8, **options: Any) -> Image:
    values = np.random.default_rng(seed).integers(0, 2 if np.dtype(dtype) == np.bool_ else 6, shape)
    known: dict[str, Any] = {"kind": "label", "metadata": mj.Metadata(modality="SEG")}
    return scan_of(values.astype(dtype), **(known | options))


def near(image: Image, seed: int = 0, shape: tuple[int, ...] = (9, 12, 7), angle: float = 25.0) -> Grid:
    """An oblique grid that covers part of an image and some of what lies around it."""
    rng = np.random.default_rng(seed)
    turn = Rotation.from_euler("xyz", rng.uniform(-angle, angle, 3), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ image.direction * (np.asarray(image.spacing) * rng.uniform(0.6, 1.7, 3))
    middle = image.grid.center + rng.uniform(-2, 2, 3)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid.of(shape, affine=affine)


def smooth_field(shape: tuple[int, ...], size: float = 2.0, seed: int = 0) -> np.ndarray:
    """A displacement of some mm that varies slowly, `(i, j, k, 3)`."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(0, 1, n) for n in shape], indexing="ij")
    waves = [size * np.sin(sum(w * x for w, x in zip(rng.uniform(1, 4, 3), axes, strict=True)) + d) for d in range(3)]
    return np.stack(waves, axis=-1).astype(np.float32)


MATRIX: np.ndarray = mj.affine_matrix((1.0, -0.5, 2.0), (8.0, -5.0, 12.0), (1.1, 0.9, 1.05), (0.1, 0.0, -0.05))

# Every operation that moves an image, with one image, as a user writes it.
EXACT: dict[str, Callable[[Image], Image]] = {
    "change_orientation": lambda image: mj.change_orientation(image, "SRA"),
    "flip": lambda image: mj.flip(image, (0, "k")),
    "crop": lambda image: mj.crop(image, (1, 2, 3), (5, 4, 6)),
    "pad": lambda image: mj.pad(image, (1, 0, 2), (3, 1, 0)),
    "pad_edge": lambda image: mj.pad(image, (1, 0, 2), 1, mode="edge"),
    "pad_reflect": lambda image: mj.pad(image, (1, 0, 2), 1, mode="reflect"),
    "crop_or_pad": lambda image: mj.crop_or_pad(image, (6, 11, 13)),
    "translate": lambda image: mj.translate(image, (1.5, -2.0, 0.25), unit="mm"),
}
RESAMPLING: dict[str, Callable[..., Image]] = {
    "resample_to_spacing": lambda image, **o: mj.resample_to_spacing(image, (1.1, 0.8, 1.9), **o),
    "resample_to_spacing_first": lambda image, **o: mj.resample_to_spacing(image, 1.3, anchor="first", **o),
    "resample_to_spacing_size": lambda image, **o: mj.resample_to_spacing(image, 0.9, size=(12, 15, 9), **o),
    "resample_to_grid": lambda image, **o: mj.resample_to_grid(image, near(one_of(image)), **o),
    "scale": lambda image, **o: mj.scale(image, (1.4, 0.6, 1.0), **o),
    "rotate": lambda image, **o: mj.rotate(image, "j", 20.0, **o),
    "affine_transform": lambda image, **o: mj.affine_transform(image, MATRIX, **o),
    "warp": lambda image, **o: mj.warp(image, smooth_field(image.shape), **o),
    "composite": lambda image, **o: mj.resample_to_image(image, image, transform=composite(image), **o),
}


def one_of(image: Image) -> Image:
    return mj.unstack(image)[0] if image.batch_shape else image


def composite(image: Image) -> mj.CompositeTransform:
    """A turn about the centre after a displacement that is given on a coarser grid of its own."""
    single = one_of(image)
    grid = near(single, 5, (6, 7, 5), angle=10.0)
    field = mj.DisplacementField.of(smooth_field(grid.shape, 1.5, 2), grid.affine)
    return mj.CompositeTransform.of(mj.AffineTransform.of(MATRIX, center=single.grid.center), field)


def indices(shape: tuple[int, ...]) -> np.ndarray:
    """The index of every voxel, `(i, j, k, 3)` float64."""
    return np.moveaxis(np.indices(shape), 0, -1).astype(np.float64)


def centroid(image: Image) -> np.ndarray:
    """Centre of mass of a single image in LPS mm, values above its least one as mass."""
    voxels = np.asarray(image.voxels, np.float64)
    mass = voxels - voxels.min()
    return np.asarray(image.grid.world((mass[..., None] * indices(image.shape)).sum((0, 1, 2)) / mass.sum()))


def blob(shape: tuple[int, ...], affine: np.ndarray, width: float, center: Any = None) -> Image:
    """A Gaussian blob of a width in mm, well inside the grid unless it is put elsewhere."""
    grid = Grid.of(shape, affine=affine)
    middle = grid.center if center is None else np.asarray(center)
    distance = ((grid.world(indices(shape)) - middle) ** 2).sum(-1)
    return Image.from_array((100 * np.exp(-distance / (2 * width**2))).astype(np.float32), affine=affine)


# --- SimpleITK's view ------------------------------------------------------------------------------------------------


def to_sitk(image: Image) -> sitk.Image:
    voxels = np.asarray(image.voxels)
    out = sitk.GetImageFromArray(voxels.transpose(2, 1, 0, *range(3, voxels.ndim)), isVector=voxels.ndim > 3)
    set_grid(out, image.grid)
    return out


def set_grid(out: sitk.Image, grid: Grid) -> None:
    out.SetSpacing([float(s) for s in grid.spacing])
    out.SetOrigin([float(x) for x in grid.origin])
    out.SetDirection(np.asarray(grid.direction).ravel().tolist())


def voxels_of(image: sitk.Image) -> np.ndarray:
    array = sitk.GetArrayFromImage(image)
    return array.transpose(2, 1, 0, *range(3, array.ndim))


def affine_of(image: sitk.Image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


SITK_INTERPOLATION = {"nearest": sitk.sitkNearestNeighbor, "linear": sitk.sitkLinear, "bspline": sitk.sitkBSpline}


def resampled_by_sitk(
    image: Image, grid: Grid, interpolation: str, fill: float, transform: sitk.Transform | None = None
) -> np.ndarray:
    reference = sitk.Image([int(n) for n in grid.shape], sitk.sitkUInt8)
    set_grid(reference, grid)
    moving = to_sitk(image)
    return voxels_of(
        sitk.Resample(
            moving,
            reference,
            sitk.Transform(3, sitk.sitkIdentity) if transform is None else transform,
            SITK_INTERPOLATION[interpolation],
            float(fill),
            moving.GetPixelID(),
        )
    )


def sitk_affine(matrix: np.ndarray, center: Any) -> sitk.AffineTransform:
    out = sitk.AffineTransform(3)
    out.SetMatrix(matrix[:3, :3].ravel().tolist())
    out.SetTranslation(matrix[:3, 3].tolist())
    out.SetCenter([float(c) for c in center])
    return out


def sitk_field(field: mj.DisplacementField) -> sitk.DisplacementFieldTransform:
    values = np.asarray(field.displacement, np.float64)
    out = sitk.GetImageFromArray(values.transpose(2, 1, 0, 3), isVector=True)
    set_grid(out, Grid.of(values.shape[:3], affine=field.affine))
    return sitk.DisplacementFieldTransform(out)


def ties(image: Image, grid: Grid, transform: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """Where a grid's voxels fall halfway between two of an image's, within what float32 can tell."""
    points = grid.world(indices(grid.shape))
    place = image.grid.index(points if transform is None else transform(points))
    return (np.abs(place - np.floor(place) - 0.5) < 1e-5).any(-1)


def on_device(image: Image) -> Image:
    return image.with_voxels(jnp.asarray(image.voxels))
