"""The table's rows: every public operation that takes arrays or images, with what is drawn for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pet_header import pet
from scipy import ndimage
from scipy.spatial.transform import Rotation
from ways_cases import Draw, Operation, Parameters

import medjax as mj
from medjax import Grid, Image

# Public functions without a row, and why.
WITHOUT_ROW = {
    "load_image": "a way: the loaded image",
    "save_image": "files take what is known",
    "shape_buckets": "a way: within buckets",
}

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
    return tuple(draw.each(1, 3, 4, 6, 9).tolist())


def interpolation(draw: Draw, image: Image) -> dict[str, Any]:
    return {} if image.kind == "label" else {"interpolation": draw.one_of("nearest", "linear", "linear", "bspline")}


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
    points = points + np.where(inside[..., None], shift, 0)
    matrix = parameters["matrix"]
    return points @ matrix[:3, :3].T + matrix[:3, 3], doubtful


def ndimage_index(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T


def middle_of(image: Image) -> np.ndarray:
    return image.affine[:3, :3] @ ((np.asarray(image.shape) - 1) / 2) + image.affine[:3, 3]


# --- Calls -----------------------------------------------------------------------------------------------------------


def through_composite(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    field = mj.DisplacementField(parameters["displacement"], image.affine)
    transform = mj.CompositeTransform((mj.AffineTransform.of(parameters["matrix"]), field))
    return mj.resample_to_image(image, image, transform=transform, fill=parameters["fill"], **options)


def fused(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    @mj.fuse
    def chain(image: Any, degrees: Any) -> Any:
        image = mj.rotate(mj.flip(image, "j"), options["axis"], degrees, fill=parameters["fill"])
        return mj.resample_to_spacing(image, options["spacing"], size=options["size"], fill=parameters["fill"])

    return chain(image, -parameters["degrees"] if options["axis"] != 1 else parameters["degrees"])


def facts(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    grid = image.grid
    return {
        "spacing": grid.spacing,
        "origin": grid.origin,
        "direction": grid.direction,
        "center": grid.center,
        "world": grid.world(parameters["index"]),
        "ras": image.affine_ras,
    }


def mapped(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    transform = mj.AffineTransform.of(parameters["matrix"], center=parameters["center"])
    return {"there": transform(parameters["points"]), "back": transform.inverse()(parameters["points"])}


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


SOFT = {"kinds": ("intensity",), "dtypes": (np.float32, np.float16)}
CONCRETE_AFFINE = {"affine": "traced"}
SCALARS: Any = {"channels": ((),)}
PET = pet().metadata

OPERATIONS: dict[str, Operation] = {
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
        options=lambda draw, image: {"before": 0, "after": [0] * 3}
        if min(image.shape) < 2
        else {"before": 1, "after": draw.each(0, 1).tolist(), "mode": draw.one_of("constant", "edge", "reflect")},
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
        options=lambda draw, image: {"dtype": "int32"} if image.kind == "label" else {"dtype": draw.one_of("int8", "uint16", "float16")},
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
        refused={"batch": "batch", "items": "batch"},
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
        refused={"affine": "concrete", "batch": "single"},
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
        options=lambda draw, image: {"order": draw.one_of(0, 1, 3), "mode": draw.one_of("constant", "nearest", "mirror", "wrap")},
        refused={"batch": "rank"},
        rounding=2048,
        dtypes=(np.float32,),
        slopes=(),
        is_linear=True,
        **SCALARS,
    ),
    # matrices and transforms
    "affine_matrix": Operation(
        "affine_matrix", lambda image, p, o: mj.affine_matrix(**p), kinds=("intensity",), parameters=matrix_parts
    ),
    "compose": Operation(
        "compose",
        lambda image, p, o: mj.compose(p["a"], p["b"]),
        kinds=("intensity",),
        parameters=lambda draw, image: {n: mj.affine_matrix(**matrix_parts(draw, image)) for n in "ab"},
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
        refused={"items": "shape"},
        rounding=1024,
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
        refused={"batch": "batch", "items": "batch"},
        rounding=512,
    ),
    "nyul_transform": Operation(
        "nyul_transform",
        lambda image, p, o: mj.nyul_transform(image, mj.NyulLandmarks(p["values"], (1.0, 30.0, 70.0, 99.0))),
        kinds=("intensity",),
        parameters=lambda draw, image: {"values": np.sort(draw.uniform(0, 100, (*image.channels, 4)), axis=-1)},
        rounding=2048,
    ),
    # masks and quantities
    "one_hot": Operation(
        "one_hot", lambda image, p, o: mj.one_hot(image, 5), kinds=("label",), is_exact=True, **SCALARS
    ),
    "connected_components": Operation(
        "connected_components",
        lambda image, p, o: mj.connected_components(image),
        kinds=("label",),
        refused={"voxels": "traced"},
        is_exact=True,
        **SCALARS,
    ),
    "bounding_box": Operation(
        "bounding_box", lambda image, p, o: mj.bounding_box(image, num_classes=5), kinds=("label",), **SCALARS
    ),
    "label_volumes": Operation(
        "label_volumes", lambda image, p, o: mj.label_volumes(image, 5), kinds=("label",), **SCALARS
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
        refused={"voxels": "traced", "affine": "traced", "parameters": "traced"},
        **SCALARS,
    ),
    "suv_factor": Operation(
        "suv_factor",
        lambda image, p, o: mj.suv_factor(image),
        kinds=("intensity",),
        refused={"affine": "metadata", "batch": "batch", "items": "batch"},
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
