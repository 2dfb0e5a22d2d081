"""Calls that a type checker must flag, and calls that it must not: test_types.py runs mypy on this file, nothing runs it.

Every wrong call says which error it is, so that `make lint` passes; the test takes the comments away.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import medjax as mj

array = np.zeros((2, 2, 2))
image = mask = mj.Image.from_array(array)
grid = image.grid
transform = mj.AffineTransform.of(np.eye(4))
traced: Any = 1.0


def wrong_axis() -> None:
    mj.rotate(image, 3, 10.0)  # type: ignore[arg-type]
    mj.rotate(image, "x", 10.0)  # type: ignore[arg-type]
    mj.flip(image, "I")  # type: ignore[arg-type]
    mj.flip(image, ("i", 3))  # type: ignore[arg-type]


def wrong_unit_or_frame() -> None:
    mj.translate(image, (1, 2, 3), unit="cm")  # type: ignore[arg-type]
    mj.crop_to_mask(image, mask, margin=2, unit="voxels")  # type: ignore[arg-type]
    mj.gaussian_blur(image, 2.0, unit="index")  # type: ignore[arg-type]
    mj.dilate(mask, 2.0, unit="world")  # type: ignore[arg-type]
    mj.barycenter(mask, frame="mm")  # type: ignore[arg-type]
    mj.mask_points(mask, 9, frame="voxel")  # type: ignore[arg-type]


def wrong_orientation() -> None:
    mj.change_orientation(image, "RAR")  # type: ignore[arg-type]
    mj.change_orientation(image, "RA")  # type: ignore[arg-type]


def wrong_word() -> None:
    mj.rotate(image, "k", 10.0, interpolation="cubic")  # type: ignore[arg-type]
    mj.resample_to_spacing(image, 1.0, anchor="origin")  # type: ignore[arg-type]
    mj.pad(image, 1, 1, mode="wrap")  # type: ignore[arg-type]
    mj.to_suv(image, norm="lbm")  # type: ignore[arg-type]
    mj.window(image, 40, 400, function="exact")  # type: ignore[arg-type]
    mj.connected_components(mask, connectivity=8)  # type: ignore[arg-type]
    mj.map_coordinates(array, array, 1, "edge")  # type: ignore[arg-type]
    mj.Image.from_array(array, kind="mask")  # type: ignore[arg-type]


def wrong_word_of_an_augmentation() -> None:
    mj.ghosting(image, 4, 0.5, axis="x")  # type: ignore[arg-type]
    mj.degrade_resolution(image, 2.0, kernel="cubic")  # type: ignore[arg-type]
    mj.gaussian_noise(array, image, 1.0, relative="mean")  # type: ignore[arg-type]
    mj.gaussian_noise(0, image, 1.0)  # type: ignore[arg-type]
    mj.cutout(image, array, array, fill="median")  # type: ignore[arg-type]
    mj.unsharp(image, 0.5, 1.0, unit="cm")  # type: ignore[arg-type]


def static_where_it_is_no_whole_number() -> None:
    mj.crop(image, 0, 2.5)  # type: ignore[arg-type]
    mj.pad(image, 1.5, 0)  # type: ignore[arg-type]
    mj.crop_or_pad(image, (64.0, 64, 64))  # type: ignore[arg-type]
    mj.median_filter(image, "3")  # type: ignore[arg-type]
    mj.one_hot(mask, 2.0)  # type: ignore[arg-type]
    mj.resample_to_spacing(image, 1.0, size=32.0)  # type: ignore[arg-type]


def text_where_a_number_belongs() -> None:
    mj.rotate(image, "k", "10")  # type: ignore[arg-type]
    mj.resample_to_spacing(image, "1mm")  # type: ignore[arg-type]
    mj.clip(image, "min", 0)  # type: ignore[arg-type]
    mj.pad(image, 1, 1, fill="mean")  # type: ignore[arg-type]
    mj.affine_matrix(rotation="z")  # type: ignore[arg-type]
    mj.Grid.of((4, 4, 4), spacing="1")  # type: ignore[arg-type]


def another_kind_of_thing() -> None:
    mj.affine_transform(image, image)  # type: ignore[arg-type]
    mj.affine_transform(image, 2.0)  # type: ignore[arg-type]
    mj.resample_to_grid(image, image)  # type: ignore[arg-type]
    mj.resample_to_image(image, grid)  # type: ignore[arg-type]
    mj.resample_to_image(image, image, transform=array)  # type: ignore[arg-type]
    mj.warp(image, mj.DisplacementField.of(array, np.eye(4)))  # type: ignore[arg-type]
    mj.z_score_normalize(array)  # type: ignore[arg-type]
    mj.z_score_normalize(image, mask=grid)  # type: ignore[arg-type]
    mj.stack(image)  # type: ignore[arg-type]
    mj.AffineTransform.of(transform)  # type: ignore[arg-type]
    mj.CompositeTransform.of((transform, transform))  # type: ignore[arg-type]


def right() -> None:
    """Python's numbers, tuples, lists, NumPy's numbers and arrays, and what a trace gives."""
    mj.rotate(image, "k", 10, center=(1, 2.0, 3), fill=[1, 2])
    mj.rotate(image, 0, np.float32(10), center=[1, 2, 3], fill=1j)
    mj.rotate(image, 1, array, center=array, fill=[[1.0], [2.0]])
    mj.rotate(image, 2, [traced, 1.0], center=[traced, 0, 0])
    mj.flip(image, ("i", 2))
    mj.change_orientation(image, image.orientation)
    mj.resample_to_spacing(image, image.spacing, size=array)
    mj.crop(image, traced, [4, 4, 4])
    mj.Image.from_array([[[1.0]]], affine=np.eye(4).tolist(), kind="label")
    mj.Grid.of(image.shape, spacing=(1, 1, 2.5), direction=np.eye(3).tolist())
    mj.AffineTransform.of(np.eye(4).tolist(), center=array)(image.grid.center)
    mj.affine_transform(image, np.eye(4), center=image.origin)
    mj.affine_transform(image, transform)
    mj.cast(image, "float32")
    mj.adjust_gamma(image, [0.7, 1.2], invert=array)
    mj.ghosting(image, 4, [0.5, 0.7], axis=array)
    mj.cutout(image, [[0, 0, 0]], [[2, 2, 2]], fill=0.0)
    mj.motion(image, [[1, 2, 3]], [(0, 0, traced)], [0.5], axis="j")
    mj.bias_field(image, array)
    mj.cast(image, np.int16)
    mj.clip(image, None, np.int64(3))
    mj.region_statistics(image, mask, percentiles=(5, 50))
    mj.z_score_normalize(image, mask=array)
