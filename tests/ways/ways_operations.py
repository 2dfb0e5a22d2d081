"""The table's rows: every public operation that takes arrays or images, with what is drawn for it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from pet_header import pet
from ways_augmentation import AUGMENTATION
from ways_cases import Operation, Parameters
from ways_draws import as_mask, matrix_parts, middle_of, numbers, other
from ways_space import SPACE

import medjax as mj

# Public functions without a row, and why.
WITHOUT_ROW = {
    "keep_metadata": "metadata around any function, see tests/image/test_keep_metadata.py",
    "load_image": "a way: the loaded image",
    "save_image": "files take what is known",
    "shape_buckets": "a way: within buckets",
}


def mapped(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    transform = mj.AffineTransform.of(parameters["matrix"], center=parameters["center"])
    return {"there": transform(parameters["points"]), "back": transform.inverse()(parameters["points"])}


SCALARS: Any = {"channels": ((),)}


def factors(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    """The factor, or one for each item."""
    found = mj.suv_factor(image)
    return np.asarray([each.factor for each in found] if isinstance(found, tuple) else found.factor)


PET = pet().metadata


def morphed(name: str, image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    return getattr(mj, name)(image, parameters["radius"], **options)


OPERATIONS: dict[str, Operation] = (
    SPACE
    | AUGMENTATION
    | {
        # matrices and transforms
        "affine_matrix": Operation(
            "affine_matrix",
            lambda image, p, o: mj.affine_matrix(**p),
            kinds=("intensity",),
            parameters=matrix_parts,
            has_image=False,
        ),
        "compose": Operation(
            "compose",
            lambda image, p, o: mj.compose(p["a"], p["b"]),
            kinds=("intensity",),
            parameters=lambda draw, image: {n: mj.affine_matrix(**matrix_parts(draw, image)) for n in "ab"},
            has_image=False,
        ),
        "transforms": Operation(
            "AffineTransform",
            mapped,
            kinds=("intensity",),
            parameters=lambda draw, image: {
                "matrix": mj.affine_matrix(**matrix_parts(draw, image)),
                "center": draw.uniform(-200, 200, 3),
                "points": draw.uniform(-200, 200, 3),
            },
            rounding=1024,
            has_image=False,
        ),
        # intensities
        "clip": Operation(
            "clip",
            lambda image, p, o: mj.clip(image, **p),
            kinds=("intensity",),
            parameters=numbers(low=(-90, -20), high=(20, 90)),
            slopes=("low", "high"),
        ),
        "rescale": Operation(
            "rescale",
            lambda image, p, o: mj.rescale(image, **p),
            kinds=("intensity",),
            parameters=numbers(slope=(-2, 2), intercept=(-50, 50)),
            slopes=("slope", "intercept"),
        ),
        "window": Operation(
            "window",
            lambda image, p, o: mj.window(image, **p, **o),
            kinds=("intensity",),
            parameters=numbers(center=(-50, 50), width=(50, 150)),
            options=lambda draw, image: {"function": draw.one_of("linear", "linear_exact", "sigmoid")},
            slopes=("center", "width"),
        ),
        "gaussian_blur": Operation(
            "gaussian_blur",
            lambda image, p, o: mj.gaussian_blur(image, p["sigma"], **o),
            kinds=("intensity",),
            parameters=numbers(sigma=(0.2, 3)),
            options=lambda draw, image: {"unit": draw.one_of("mm", "voxel")},
            is_linear=True,
            slopes=("sigma",),
        ),
        "median_filter": Operation(
            "median_filter",
            lambda image, p, o: mj.median_filter(image, **o),
            kinds=("intensity",),
            options=lambda draw, image: {"size": draw.one_of(3, (1, 2, 3))},
            slopes=(),
            is_exact=True,
        ),
        "threshold": Operation(
            "threshold",
            lambda image, p, o: mj.threshold(image, p["low"], high=p["high"]),
            kinds=("intensity",),
            parameters=numbers(low=(-90, -20), high=(20, 90)),
            is_exact=True,
        ),
        "otsu_threshold": Operation(
            "otsu_threshold",
            lambda image, p, o: mj.otsu_threshold(image, mask=p["mask"]),
            kinds=("intensity",),
            parameters=lambda draw, image: {"mask": as_mask(draw, image)},
            dtypes=(np.float32, np.int16, np.uint8),
        ),
        **{
            name: Operation(
                name,
                functools.partial(morphed, name),
                parameters=numbers(radius=(0.3, 2.9)),
                options=lambda draw, image: {"unit": draw.one_of("mm", "voxel")},
                is_exact=True,
            )
            for name in ("dilate", "erode", "opening", "closing")
        },
        "arithmetic": Operation(
            "Image",
            lambda image, p, o: abs(2 * (image - p["other"]) / p["number"] + 1),
            kinds=("intensity",),
            parameters=lambda draw, image: numbers(number=(1, 3))(draw, image) | {"other": other(draw, image)},
            slopes=("number",),
            rounding=512,
        ),
        "comparison": Operation(
            "Image",
            lambda image, p, o: (image > p["number"]) & ~(image >= p["other"]),
            parameters=lambda draw, image: numbers(number=(-50, 50))(draw, image) | {"other": other(draw, image)},
            is_exact=True,
        ),
        "trailing axes": Operation(
            "Image", lambda image, p, o: image[..., 1:], channels=((2,), (3,)), is_exact=True, is_linear=True, slopes=()
        ),
        "z_score_normalize": Operation(
            "z_score_normalize",
            lambda image, p, o: mj.z_score_normalize(image, mask=p["mask"]),
            kinds=("intensity",),
            parameters=lambda draw, image: {"mask": as_mask(draw, image)},
            slopes=(),
            rounding=512,
        ),
        "min_max_normalize": Operation(
            "min_max_normalize",
            lambda image, p, o: mj.min_max_normalize(image, range=(p["low"], p["high"])),
            kinds=("intensity",),
            parameters=numbers(low=(-2, 0), high=(1, 4)),
            slopes=("low", "high"),
        ),
        "percentile_normalize": Operation(
            "percentile_normalize",
            lambda image, p, o: mj.percentile_normalize(image, range=(p["low"], p["high"]), **o),
            kinds=("intensity",),
            parameters=numbers(low=(-2, 0), high=(1, 4)),
            options=lambda draw, image: {"percentiles": (5, 90), "outside": draw.one_of("clip", "extend")},
            slopes=("low", "high"),
            rounding=512,
        ),
        "histogram_match": Operation(
            "histogram_match",
            lambda image, p, o: mj.histogram_match(image, p["reference"], points=7),
            kinds=("intensity",),
            parameters=lambda draw, image: {"reference": other(draw, image)},
            rounding=2048,
        ),
        "nyul_train": Operation(
            "nyul_train",
            lambda image, p, o: mj.nyul_train([image, p["other"]], percentiles=(0, 25, 75, 100)),
            kinds=("intensity",),
            parameters=lambda draw, image: {"other": other(draw, image)},
            meaningless=frozenset({"batch", "items"}),
            rounding=512,
        ),
        "nyul_transform": Operation(
            "nyul_transform",
            lambda image, p, o: mj.nyul_transform(image, mj.NyulLandmarks(p["values"], (1.0, 30.0, 70.0, 99.0))),
            kinds=("intensity",),
            parameters=lambda draw, image: {"values": np.sort(draw.uniform(0, 100, (*image.channels, 4)), axis=-1)},
            refused={"items": "landmarks for an image"},
            rounding=2048,
        ),
        "sliding_window": Operation(
            "sliding_window",
            lambda image, p, o: mj.sliding_window(image, lambda x: x * 2, size=3, batch=2, reduce=None, **o),
            kinds=("intensity",),
            options=lambda draw, image: {"window": draw.one_of("gaussian", "hann"), "overlap": draw.one_of(0.0, 0.5)},
            refused={"batch": "sliding_window takes one image", "items": "sliding_window takes one image"},
            is_linear=True,
            slopes=(),
        ),
        # masks and quantities
        "one_hot": Operation(
            "one_hot", lambda image, p, o: mj.one_hot(image, num_classes=5), kinds=("label",), is_exact=True, **SCALARS
        ),
        "connected_components": Operation(
            "connected_components",
            lambda image, p, o: mj.connected_components(image),
            kinds=("label",),
            refused={"voxels": "host"},
            is_exact=True,
            **SCALARS,
        ),
        "bounding_box": Operation(
            "bounding_box", lambda image, p, o: mj.bounding_box(image, num_classes=5), kinds=("label",), **SCALARS
        ),
        "label_volumes": Operation(
            "label_volumes", lambda image, p, o: mj.label_volumes(image, num_classes=5), kinds=("label",), **SCALARS
        ),
        "fill_holes": Operation(
            "fill_holes",
            lambda image, p, o: mj.fill_holes(image),
            kinds=("label",),
            refused={"voxels": "host"},
            is_exact=True,
            **SCALARS,
        ),
        "region_statistics": Operation(
            "region_statistics",
            lambda image, p, o: mj.region_statistics(image, p["mask"], **o),
            kinds=("intensity",),
            parameters=lambda draw, image: {"mask": as_mask(draw, image)},
            options=lambda draw, image: {"num_classes": draw.one_of(None, 2), "percentiles": (5, 50)},
            rounding=512,
        ),
        "barycenter": Operation(
            "barycenter",
            lambda image, p, o: mj.barycenter(image, **o),
            options=lambda draw, image: {"frame": draw.one_of("world", "index")},
            kinds=("label",),
            **SCALARS,
        ),
        "barycenter_soft": Operation(
            "barycenter", lambda image, p, o: mj.barycenter(image), kinds=("intensity",), dtypes=(np.uint8,)
        ),
        "max_radius": Operation(
            "max_radius",
            lambda image, p, o: mj.max_radius(image, p["center"]),
            kinds=("label",),
            parameters=lambda draw, image: {"center": middle_of(image) + draw.uniform(-2, 2, 3)},
            **SCALARS,
        ),
        "mask_points": Operation(
            "mask_points", lambda image, p, o: mj.mask_points(image, 6), kinds=("label",), **SCALARS
        ),
        "dice": Operation(
            "dice",
            lambda image, p, o: mj.dice(image, p["reference"], **o),
            kinds=("label",),
            parameters=lambda draw, image: {"reference": other(draw, image)},
            options=lambda draw, image: {"num_classes": draw.one_of(5, None)},
            **SCALARS,
        ),
        "surface_distances": Operation(
            "surface_distances",
            lambda image, p, o: mj.surface_distances(image, p["reference"]),
            kinds=("label",),
            parameters=lambda draw, image: {"reference": other(draw, image)},
            refused={"voxels": "host", "affine": "host", "parameters": "host"},
            **SCALARS,
        ),
        "suv_factor": Operation(
            "suv_factor",
            factors,
            kinds=("intensity",),
            refused={"affine": "metadata"},
            metadata=PET,
        ),
        "to_suv": Operation(
            "to_suv",
            lambda image, p, o: mj.to_suv(image),
            kinds=("intensity",),
            refused={"affine": "metadata"},
            metadata=PET,
            is_linear=True,
            slopes=(),
        ),
        "suv_statistics": Operation(
            "suv_statistics",
            lambda image, p, o: mj.suv_statistics(image, p["mask"], **o),
            kinds=("intensity",),
            parameters=lambda draw, image: {"mask": as_mask(draw, image)},
            options=lambda draw, image: {"num_classes": draw.one_of(None, 2)},
            dtypes=(np.float32, np.int16),
            rounding=512,
            **SCALARS,
        ),
    }
)
