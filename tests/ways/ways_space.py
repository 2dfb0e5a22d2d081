"""The table's rows that move images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from ways_cases import Operation, Parameters
from ways_draws import (
    as_mask,
    displaced,
    displacement,
    fill,
    interpolation,
    moved,
    other,
    size,
    spacing_near,
    still,
    target,
    through,
    turned,
    world_matrix,
)

import medjax as mj
from medjax import Grid, Image


def through_composite(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    field = mj.DisplacementField.of(parameters["displacement"], image.affine)
    transform = mj.CompositeTransform.of(mj.AffineTransform.of(parameters["matrix"]), field)
    return mj.resample_to_image(image, image, transform=transform, fill=parameters["fill"], **options)


def fused(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    @mj.fuse
    def chain(image: Any, degrees: Any) -> Any:
        image = mj.rotate(mj.flip(image, "j"), options["axis"], degrees, fill=parameters["fill"])
        return mj.resample_to_spacing(image, options["spacing"], size=options["size"], fill=parameters["fill"])

    return chain(image, -parameters["degrees"] if options["axis"] != 1 else parameters["degrees"])


def facts(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    grid = image.grid
    spacing, origin = (np.asarray(x) if isinstance(x, tuple) else x for x in (grid.spacing, grid.origin))
    return {
        "spacing": spacing,
        "origin": origin,
        "direction": grid.direction,
        "center": grid.center,
        "world": grid.world(parameters["index"]),
        "ras": image.affine_ras,
    }


def planned(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    """The voxels by a plan, and the grid that they are on, for each item of a batch."""
    grid = Grid(options["size"], parameters["affine"])
    p = mj.plan(image.grid, grid, interpolation=options.get("interpolation", "nearest"))
    affine = grid.affine + 0 * image.affine
    return dataclasses.replace(image, voxels=p(image.voxels, parameters["fill"]), affine=affine)


CONCRETE_AFFINE = {"affine": "traced"}

SPACE: dict[str, Operation] = {
    # exact
    "change_orientation": Operation(
        "change_orientation",
        lambda image, p, o: mj.change_orientation(image, **o),
        options=lambda draw, image: {"orientation": draw.one_of("RAS", "SRP", "LPS", "AIL", "PRS")},
        refused=CONCRETE_AFFINE,
        is_alike=True,
        is_exact=True,
        is_linear=True,
        slopes=(),
    ),
    "flip": Operation(
        "flip",
        lambda image, p, o: mj.flip(image, **o),
        options=lambda draw, image: {"axes": draw.one_of((0,), (0, 2), ("k", "j"), (0, 1, 2))},
        is_exact=True,
        is_linear=True,
        slopes=(),
    ),
    "crop": Operation(
        "crop",
        lambda image, p, o: mj.crop(image, p["start"], **o),
        parameters=lambda draw, image: {
            "start": np.asarray([draw.rng.integers(0, n // 2 + 1) for n in image.shape], np.int32)
        },
        options=lambda draw, image: {"size": tuple(n - n // 2 for n in image.shape)},
        is_exact=True,
        is_linear=True,
        slopes=(),
    ),
    "pad": Operation(
        "pad",
        lambda image, p, o: mj.pad(image, **p, **o),
        parameters=fill,
        options=lambda draw, image: {"before": draw.each(0, 1, 2).tolist(), "after": draw.one_of(0, 1, 3)},
        is_exact=True,
        is_linear=True,
        slopes=("fill",),
    ),
    "pad_own": Operation(
        "pad",
        lambda image, p, o: mj.pad(image, **o),
        options=lambda draw, image: (
            {"before": 0, "after": [0] * 3}
            if min(image.shape) < 2
            else {"before": 1, "after": draw.each(0, 1).tolist(), "mode": draw.one_of("constant", "edge", "reflect")}
        ),
        is_exact=True,
    ),
    "crop_or_pad": Operation(
        "crop_or_pad",
        lambda image, p, o: mj.crop_or_pad(image, **p, **o),
        parameters=fill,
        options=lambda draw, image: {"size": draw.each(2, 4, 7, 9).tolist()},
        is_exact=True,
        is_linear=True,
        slopes=("fill",),
    ),
    "crop_to_mask": Operation(
        "crop_to_mask",
        lambda image, p, o: mj.crop_to_mask(image, p["mask"], **o),
        parameters=lambda draw, image: {"mask": as_mask(draw, image)},
        options=lambda draw, image: {"margin": draw.one_of(0, 1)},
        refused={"parameters": "traced", "batch": "batch"},
        is_exact=True,
        is_linear=True,
        slopes=(),
    ),
    "translate": Operation(
        "translate",
        lambda image, p, o: mj.translate(image, p["offset"], **o),
        parameters=lambda draw, image: {"offset": draw.uniform(-9, 9, 3)},
        options=lambda draw, image: {"unit": draw.one_of("voxel", "mm")},
        is_exact=True,
    ),
    "cast": Operation(
        "cast",
        lambda image, p, o: mj.cast(image, **o),
        options=lambda draw, image: (
            {"dtype": "int32"} if image.kind == "label" else {"dtype": draw.one_of("int8", "uint16", "float16")}
        ),
        is_exact=True,
    ),
    "stack": Operation(
        "stack",
        lambda image, p, o: mj.stack([image, p["other"]]),
        parameters=lambda draw, image: {"other": other(draw, image)},
        refused={"batch": "batch", "items": "batch"},
        is_exact=True,
    ),
    "unstack": Operation(
        "unstack",
        lambda image, p, o: mj.unstack(mj.stack([p["other"], image])),
        parameters=lambda draw, image: {"other": other(draw, image)},
        refused={"batch": "batch", "items": "batch"},
        is_exact=True,
    ),
    "image": Operation(
        "Image",
        facts,
        kinds=("label",),
        parameters=lambda draw, image: {"index": draw.uniform(-1, 5, 3)},
    ),
    # resampling
    "resample_to_spacing": Operation(
        "resample_to_spacing",
        lambda image, p, o: mj.resample_to_spacing(image, **p, **o),
        parameters=fill,
        options=lambda draw, image: {
            "spacing": spacing_near(draw, image).tolist(),
            "anchor": draw.one_of("center", "first"),
            **interpolation(draw, image),
        },
        points=still,
        refused=CONCRETE_AFFINE,
        is_alike=True,
        is_linear=True,
        slopes=("fill",),
    ),
    "resample_to_spacing_sized": Operation(
        "resample_to_spacing",
        lambda image, p, o: mj.resample_to_spacing(image, **p, **o),
        parameters=lambda draw, image: {"spacing": spacing_near(draw, image), **fill(draw, image)},
        options=lambda draw, image: {
            "size": size(draw, image),
            "anchor": draw.one_of("center", "first"),
            **interpolation(draw, image),
        },
        points=still,
        refused={"items": "spacing"},
        is_linear=True,
        slopes=("spacing", "fill"),
    ),
    "antialias": Operation(
        "resample_to_spacing",
        lambda image, p, o: mj.resample_to_spacing(image, antialias=True, **o),
        kinds=("intensity",),
        options=lambda draw, image: {"spacing": (np.asarray(image.spacing) * draw.each(1.5, 2.0, 1.0)).tolist()},
        points=still,
        refused={**CONCRETE_AFFINE, "batch": "batch"},
    ),
    "scale": Operation(
        "scale",
        lambda image, p, o: mj.scale(image, **o),
        options=lambda draw, image: {
            "factor": draw.each(0.5, 2.0, 1.0, 0.6, 1.4).tolist(),
            **interpolation(draw, image),
        },
        points=still,
        is_linear=True,
        slopes=(),
    ),
    "plan": Operation(
        "plan",
        planned,
        parameters=target,
        options=lambda draw, image: {"size": size(draw, image), **interpolation(draw, image)},
        points=still,
        is_linear=True,
        slopes=("affine", "fill"),
    ),
    "resample_to_grid": Operation(
        "resample_to_grid",
        lambda image, p, o: mj.resample_to_grid(
            image,
            Grid(o["size"], p["affine"]),
            fill=p["fill"],
            **{key: value for key, value in o.items() if key != "size"},
        ),
        parameters=target,
        options=lambda draw, image: {"size": size(draw, image), **interpolation(draw, image)},
        points=still,
        is_linear=True,
        slopes=("affine", "fill"),
    ),
    "resample_to_image": Operation(
        "resample_to_image",
        lambda image, p, o: mj.resample_to_image(image, p["reference"], fill=p["fill"], **o),
        parameters=lambda draw, image: {
            "reference": Image.from_array(np.zeros(image.shape, np.uint8), affine=target(draw, image)["affine"]),
            **fill(draw, image),
        },
        options=interpolation,
        points=still,
        is_linear=True,
        slopes=("fill",),
    ),
    "composite": Operation(
        "resample_to_image",
        through_composite,
        parameters=lambda draw, image: {
            "matrix": mj.affine_matrix(draw.uniform(-1, 1, 3), draw.uniform(-0.3, 0.3, 3)),
            "displacement": displacement(draw, image),
            **fill(draw, image),
        },
        options=interpolation,
        points=through,
        is_linear=True,
        slopes=("matrix", "displacement", "fill"),
    ),
    "rotate": Operation(
        "rotate",
        lambda image, p, o: mj.rotate(image, **p, **o),
        parameters=lambda draw, image: {
            "degrees": np.asarray(draw.one_of(90.0, 180.0, -90.0, 0.0) if draw.is_exact else draw.uniform(-60, 60)),
            **fill(draw, image),
        },
        options=lambda draw, image: {"axis": draw.one_of(0, 1, 2), **interpolation(draw, image)},
        points=turned,
        is_linear=True,
        slopes=("degrees", "fill"),
    ),
    "rotate_expand": Operation(
        "rotate",
        lambda image, p, o: mj.rotate(image, expand=True, fill=p["fill"], **o),
        parameters=fill,
        options=lambda draw, image: {"axis": draw.one_of(0, 1, 2), "degrees": draw.one_of(90.0, 180.0, 33.0)},
        points=lambda points, image, p, o: turned(points, image, {"degrees": o["degrees"]}, o),
        refused={"affine": "known", "batch": "single"},
    ),
    "affine_transform": Operation(
        "affine_transform",
        lambda image, p, o: mj.affine_transform(image, **p, **o),
        parameters=lambda draw, image: {"matrix": world_matrix(draw, image), **fill(draw, image)},
        options=interpolation,
        points=moved,
        is_linear=True,
        slopes=("matrix", "fill"),
    ),
    "warp": Operation(
        "warp",
        lambda image, p, o: mj.warp(image, **p, **o),
        parameters=lambda draw, image: {"displacement": displacement(draw, image), **fill(draw, image)},
        options=interpolation,
        points=displaced,
        is_linear=True,
        slopes=("displacement", "fill"),
    ),
    "fuse": Operation(
        "fuse",
        fused,
        parameters=lambda draw, image: {
            "degrees": np.asarray(draw.one_of(90.0, 180.0) if draw.is_exact else draw.uniform(-60, 60)),
            **fill(draw, image),
        },
        options=lambda draw, image: {
            "axis": draw.one_of(0, 1, 2),
            "spacing": spacing_near(draw, image).tolist(),
            "size": size(draw, image),
        },
        # Flipping j turns the sense of a rotation about it; that of the others is turned by the call itself.
        points=lambda points, image, p, o: turned(points, image, {"degrees": -p["degrees"]}, o),
        is_linear=True,
    ),
    "map_coordinates": Operation(
        "map_coordinates",
        lambda image, p, o: mj.map_coordinates(image.voxels, p["coordinates"], **o),
        kinds=("intensity",),
        parameters=lambda draw, image: {
            "coordinates": (
                draw.rng.integers(-2, 13, (3, 4, 5)) / 2 if draw.is_exact else draw.rng.uniform(-1, 7, (3, 4, 5))
            ).astype(np.float32)
        },
        options=lambda draw, image: {
            "order": draw.one_of(0, 1, 3),
            "mode": draw.one_of("constant", "nearest", "mirror", "wrap"),
        },
        refused={"batch": "rank"},
        rounding=2048,
        dtypes=(np.float32,),
        slopes=(),
        is_linear=True,
        channels=((),),
    ),
}
