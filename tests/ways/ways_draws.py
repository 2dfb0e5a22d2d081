"""What the rows of the table draw, and where the samples of their results lie: an independent computation in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation
from ways_cases import Draw, Parameters

from medjax import Image

# --- Parameters ------------------------------------------------------------------------------------------------------


def fill(draw: Draw, image: Image) -> Parameters:
    """A value that no voxel has, so that what is outside shows; one for each channel."""
    value = draw.uniform(-2000, -1000, image.channels)
    return {"fill": np.round(np.abs(value) / 10 if image.dtype.kind == "u" or image.kind == "label" else value)}


def index_affine(draw: Draw, shape: Any, size: Any = None, *, turns: bool = False) -> np.ndarray:
    """A map from the indices of a size to those of a shape: by half voxels, doublings, mirrors and quarter turns, or any."""
    affine, middle = np.eye(4), (np.asarray(shape) - 1) / 2
    start = middle if size is None else (np.asarray(size) - 1) / 2
    if draw.is_exact:
        affine[:3, :3] = np.diag(draw.each(1.0, 1.0, 2.0, -1.0, 0.5))
        if turns:
            affine[:3, :3] = affine[draw.rng.permutation(3), :3]
        step = draw.half_steps()
    else:
        turn = Rotation.from_euler("xyz", draw.uniform(-20, 20, 3), degrees=True).as_matrix()
        affine[:3, :3] = turn * draw.uniform(0.6, 1.7, 3)
        step = draw.uniform(-1.5, 1.5, 3)
    affine[:3, 3] = middle - affine[:3, :3] @ start + step
    return affine


def world_matrix(draw: Draw, image: Image) -> np.ndarray:
    """The same as a map of the world about the image's centre."""
    spacing = np.asarray(image.spacing)
    inner = index_affine(draw, image.shape, turns=np.ptp(spacing) < 1e-9)
    matrix, linear = np.eye(4), image.affine[:3, :3]
    matrix[:3, :3] = linear @ inner[:3, :3] @ np.linalg.inv(linear)
    middle = (np.asarray(image.shape) - 1) / 2
    matrix[:3, 3] = linear @ (inner[:3, :3] @ middle + inner[:3, 3] - middle)
    return matrix


def target(draw: Draw, image: Image) -> Parameters:
    return {"affine": image.affine @ index_affine(draw, image.shape, draw.options.get("size")), **fill(draw, image)}


def spacing_near(draw: Draw, image: Image) -> np.ndarray:
    if draw.is_exact:
        return np.asarray(image.spacing) * draw.each(1.0, 2.0, 2.0, 0.5, 1.5)
    return np.asarray(image.spacing) * draw.uniform(0.5, 1.9, 3)


def displacement(draw: Draw, image: Image) -> np.ndarray:
    """Whole and half voxels, or a smooth field, in mm."""
    shape = (*image.shape, 3)
    steps = draw.rng.choice([-1.0, -0.5, 0.0, 0.5], shape) if draw.is_exact else draw.rng.uniform(-1.2, 1.2, shape)
    return (steps @ image.affine[:3, :3].T).astype(np.float32)


def size(draw: Draw, image: Image) -> tuple[int, ...]:
    return draw.one_of((3, 4, 6), (9, 1, 4), image.shape)


def interpolation(draw: Draw, image: Image) -> dict[str, Any]:
    return {} if image.kind == "label" else {"interpolation": draw.one_of("nearest", "linear", "linear", "bspline")}


def matrix_parts(draw: Draw, image: Image) -> Parameters:
    return {
        "translation": draw.uniform(-5, 5, 3),
        "rotation": draw.uniform(-90, 90, 3),
        "scale": draw.uniform(0.5, 2, 3),
        "shear": draw.uniform(-0.3, 0.3, 3),
    }


def other(draw: Draw, image: Image) -> Image:
    return image.with_voxels(draw.voxels(image.voxels.shape, image.dtype)).with_metadata(None)


def as_mask(draw: Draw, image: Image) -> Image:
    inside = draw.rng.random(image.shape) < 0.6
    inside.ravel()[: inside.size // 2] = True
    return Image.from_array(inside.astype(np.uint8), affine=image.affine, kind="label")


def numbers(**ranges: tuple[float, float]) -> Any:
    """Draws numbers, each within its range, one for each channel."""
    return lambda draw, image: {name: draw.uniform(low, high, image.channels) for name, (low, high) in ranges.items()}


# --- Where the samples of a result lie, in float64 -------------------------------------------------------------------


def still(points: np.ndarray, image: Image, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    return points, False


def turned(points: np.ndarray, image: Image, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    pole = image.affine[:3, options["axis"]]
    turn = Rotation.from_rotvec(-np.radians(parameters["degrees"]) * pole / np.linalg.norm(pole)).as_matrix()
    center = middle_of(image)
    return (points - center) @ turn.T + center, False


def moved(points: np.ndarray, image: Image, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    center, matrix = middle_of(image), parameters["matrix"]
    back = np.linalg.inv(matrix[:3, :3])
    return (points - center - matrix[:3, 3]) @ back.T + center, False


def displaced(points: np.ndarray, image: Image, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    return points + np.asarray(parameters["displacement"], np.float64), False


def through(points: np.ndarray, image: Image, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    """A displacement that is interpolated on the image's grid, and then an affine map about the origin."""
    index = ndimage_index(points, image.affine)
    shape = np.asarray(image.shape)
    inside = ((index >= -0.5) & (index < shape - 0.5)).all(-1)
    doubtful = (np.abs(index + 0.5) < 1e-4).any(-1) | (np.abs(index - shape + 0.5) < 1e-4).any(-1)
    field = np.asarray(parameters["displacement"], np.float64)
    shift = np.stack(
        [ndimage.map_coordinates(field[..., d], np.moveaxis(index, -1, 0), order=1, mode="nearest") for d in range(3)],
        axis=-1,
    )
    points = points + np.where(np.asarray(inside)[..., None], shift, 0)
    matrix = parameters["matrix"]
    return points @ matrix[:3, :3].T + matrix[:3, 3], doubtful


def ndimage_index(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T


def middle_of(image: Image) -> np.ndarray:
    return image.affine[:3, :3] @ ((np.asarray(image.shape) - 1) / 2) + image.affine[:3, 3]
