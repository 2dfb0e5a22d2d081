"""Which argument of each public function is static, traced or differentiable: the one source of docs/arguments.md.

`python tests/cases/argument_rows.py` writes the page; tests/house/test_arguments.py holds it true. An argument that is an
image or a grid has parts: `image.voxels`, `image.affine`.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from pet_header import pet

import medjax as mj

__all__ = ["PAGE", "ROWS", "WITHOUT_ROW", "Row", "page"]

PAGE = Path(__file__).parents[2] / "docs" / "arguments.md"

RNG = np.random.default_rng(7)
SHAPE = (4, 5, 6)
SCAN = mj.Image.from_array(RNG.uniform(1, 9, SHAPE).astype(np.float32), spacing=(1, 1.5, 2), origin=(3, -4, 5))
OTHER = mj.translate(SCAN.with_voxels(SCAN.voxels[::-1].copy()), (0.3, 0.2, 0.1))
LABELS = mj.Image.from_array(np.arange(120, dtype=np.int32).reshape(SHAPE) % 3, affine=SCAN.affine, kind="label")
REFERENCE = LABELS.with_voxels(np.roll(LABELS.voxels, 1, 0))
TARGET = mj.Grid.of((3, 4, 5), spacing=(1.1, 1.4, 1.9), origin=(1.9, -3.7, 5.4))
MATRIX = mj.affine_matrix(translation=(0.3, 0.2, 0.1), rotation=(3, 5, 7), shear=0.02)
PULL = mj.AffineTransform.of(MATRIX, center=(4.0, -2.0, 9.0))
FIELD = mj.DisplacementField.of(RNG.uniform(-1.2, 1.2, (*SHAPE, 3)).astype(np.float32), SCAN.affine)
INSIDE = SCAN.voxels > 3
KEY = jax.random.key(3)
LANDMARKS = mj.NyulLandmarks(np.array([0.0, 30, 60, 100]), (1.0, 30.0, 70.0, 99.0))


@dataclasses.dataclass(frozen=True)
class Row:
    """A call of a public function.

    Attributes:
        name: As users write it, without `mj.`.
        arguments: What it is called with. Arguments that are left out are other rows' or words.
        differentiable: Arguments, or their parts, that gradients are taken in. They may be traced.
        traced: Those that may be traced and have no gradient.
        call: Calls it, where that is more than `function(**arguments)`.

    All other arguments, and parts of arguments that hold arrays, are static.
    """

    name: str
    arguments: Mapping[str, Any]
    differentiable: str = ""
    traced: str = ""
    call: Callable[[Mapping[str, Any]], Any] | None = None

    @property
    def function(self) -> Callable[..., Any]:
        return operator.attrgetter(self.name)(mj)

    def roles(self) -> dict[str, str]:
        """The role of each argument of the call, or of each of its parts."""
        found = dict.fromkeys(self.differentiable.split(), "differentiable") | dict.fromkeys(
            self.traced.split(), "traced"
        )
        for name, value in self.arguments.items():
            for part in parts_of(name, value):
                found.setdefault(part, "static")
        return found

    def result(self, arguments: Mapping[str, Any]) -> Any:
        return self.call(arguments) if self.call else self.function(**arguments)


def parts_of(name: str, value: Any) -> list[str]:
    """Names of the arrays of an argument."""
    if isinstance(value, mj.Image):
        return [f"{name}.voxels", f"{name}.affine"]
    return [f"{name}.affine"] if isinstance(value, mj.Grid) else [name]


def same(name: str, arguments: Mapping[str, Any], more: str = "", traced: str = "") -> Row:
    """An operation on SCAN that is differentiable in voxels and geometry, and in more."""
    return Row(name, {"image": SCAN, **arguments}, f"image.voxels image.affine {more}", traced)


def mixed(weight: Any, windows: Any) -> Any:
    """A network in which every voxel of a window depends on all."""
    return weight * windows * windows.mean(axis=(1, 2, 3), keepdims=True)


RESAMPLED = {"interpolation": "linear", "fill": 0.5}
LIMITS = {"num_classes": 3}
MASKED = {"mask": INSIDE}

ROWS = [
    # data
    Row("Image.from_array", {"voxels": SCAN.voxels, "affine": SCAN.affine, "kind": "intensity"}, "voxels affine"),
    Row("Image.from_array", {"voxels": SCAN.voxels, "affine_ras": SCAN.affine_ras}, "voxels affine_ras"),
    Row(
        "Image.from_array",
        {"voxels": SCAN.voxels, "spacing": (1.0, 2.0, 3.0), "origin": (1.0, 2.0, 3.0), "direction": np.eye(3)},
        "voxels spacing origin direction",
    ),
    Row(
        "Image.with_voxels",
        {"image": SCAN, "voxels": OTHER.voxels},
        "image.affine voxels",
        "image.voxels",
        call=lambda a: a["image"].with_voxels(a["voxels"]),
    ),
    Row("Grid.of", {"shape": SHAPE, "affine": SCAN.affine}, "affine"),
    Row(
        "Grid.of",
        {"shape": SHAPE, "spacing": (1.0, 2.0, 3.0), "origin": (1.0, 2.0, 3.0), "direction": np.eye(3)},
        "spacing origin direction",
    ),
    Row("Grid.covering", {"image": SCAN, "spacing": 2.0}, traced="image.voxels"),
    Row("AffineTransform.of", {"matrix": MATRIX, "center": (1.0, 2.0, 3.0)}, "matrix center"),
    Row("DisplacementField.of", {"displacement": FIELD.displacement, "affine": FIELD.affine}, "displacement affine"),
    Row(
        "CompositeTransform.of",
        {"transforms": (PULL, FIELD)},
        "transforms",
        call=lambda a: mj.CompositeTransform.of(*a["transforms"]),
    ),
    Row("stack", {"images": [SCAN, OTHER]}, "images"),
    Row("unstack", {"batch": mj.stack([SCAN, OTHER])}, "batch.voxels batch.affine"),
    # space
    Row("change_orientation", {"image": SCAN, "orientation": "RAS"}, "image.voxels"),
    same("flip", {"axes": (0, 2)}),
    same("crop", {"start": (1, 0, 2), "size": (3, 4, 3)}, traced="start"),
    same("pad", {"before": 1, "after": (0, 2, 1), "mode": "constant", "fill": 0.5}, "fill"),
    same("crop_or_pad", {"size": (6, 3, 6), "fill": 0.5}, "fill"),
    same("crop_to_mask", {"mask": INSIDE, "margin": 1, "unit": "voxel"}),
    same("translate", {"offset": (1.0, 2.0, 3.0), "unit": "mm"}, "offset"),
    same(
        "resample_to_spacing",
        {"spacing": (1.2, 1.3, 1.4), "anchor": "center", "size": (5, 6, 8), "antialias": False, **RESAMPLED},
        "spacing fill",
    ),
    same("resample_to_grid", {"grid": TARGET, "transform": PULL, **RESAMPLED}, "grid.affine transform fill"),
    same(
        "resample_to_image",
        {"reference": OTHER, "transform": PULL, **RESAMPLED},
        "reference.affine transform fill",
        "reference.voxels",
    ),
    same("scale", {"factor": 1.5, "interpolation": "linear"}),
    same(
        "rotate",
        {"axis": "k", "degrees": 12.0, "center": (4.0, -2.0, 9.0), "expand": False, **RESAMPLED},
        "degrees center fill",
    ),
    same(
        "affine_transform",
        {"matrix": MATRIX, "center": (4.0, -2.0, 9.0), "grid": TARGET, **RESAMPLED},
        "matrix center grid.affine fill",
    ),
    same("affine_transform", {"matrix": PULL, "fill": 0.5}, "matrix fill"),
    same("warp", {"displacement": FIELD.displacement, **RESAMPLED}, "displacement fill"),
    Row(
        "affine_matrix",
        {"translation": (1.0, 2.0, 3.0), "rotation": (4.0, 5.0, 6.0), "scale": 1.1, "shear": 0.1},
        "translation rotation scale shear",
    ),
    Row("compose", {"matrices": (MATRIX, MATRIX)}, "matrices", call=lambda a: mj.compose(*a["matrices"])),
    Row(
        "plan",
        {"grid": SCAN.grid, "target_grid": TARGET, "transform": PULL, "interpolation": "linear", "dtype": np.float32},
        "grid.affine target_grid.affine transform",
        call=lambda a: mj.plan(**a)(SCAN.voxels, fill=0.5),
    ),
    Row(
        "Plan.__call__",
        {"voxels": SCAN.voxels, "fill": 0.5},
        "voxels fill",
        call=lambda a: mj.plan(SCAN.grid, TARGET, PULL)(**a),
    ),
    Row(
        "map_coordinates",
        {
            "input": SCAN.voxels,
            "coordinates": RNG.uniform(0.2, 2.7, (3, 7)).astype(np.float32),
            "order": 3,
            "mode": "constant",
            "prefilter": True,
        },
        "input coordinates",
    ),
    Row(
        "map_coordinates",
        {"input": SCAN.voxels, "coordinates": np.full((3, 7), -2.5, np.float32), "cval": 0.5},
        "cval",
        "input coordinates",
    ),
    # intensity
    same("cast", {"dtype": np.float16}),
    same("clip", {"low": 2.5, "high": 6.5}, "low high"),
    same("rescale", {"slope": 2.0, "intercept": 1.0}, "slope intercept"),
    same("window", {"center": 4.0, "width": 5.0, "function": "linear", "range": (0.0, 1.0)}, "center width range"),
    same("z_score_normalize", {**MASKED, "ddof": 1}, traced="mask"),
    same("min_max_normalize", {**MASKED, "range": (0.0, 1.0)}, "range", "mask"),
    same(
        "percentile_normalize",
        {**MASKED, "percentiles": (5, 90), "range": (0.0, 1.0), "outside": "clip"},
        "range",
        "mask",
    ),
    same(
        "histogram_match",
        {"reference": OTHER, "points": 7, "background": 2.0, "mask": INSIDE, "reference_mask": INSIDE},
        "reference.voxels",
        "background mask reference_mask reference.affine",
    ),
    Row(
        "nyul_train",
        {
            "images": [SCAN, OTHER],
            "masks": [INSIDE, INSIDE],
            "percentiles": (0, 30, 100),
            "range": (0, 9),
            "background": 2.0,
        },
        "images",
        "masks",
    ),
    same("nyul_transform", {"landmarks": LANDMARKS, "mask": INSIDE}, "landmarks", "mask"),
    same("gaussian_blur", {"sigma": 1.1, "unit": "mm"}, "sigma"),
    same("median_filter", {"size": 3}),
    Row("threshold", {"image": SCAN, "low": 3.0, "high": 6.0}, "image.affine", "image.voxels low high"),
    Row("otsu_threshold", {"image": SCAN, "mask": INSIDE, "bins": 16}, traced="image.voxels image.affine mask"),
    # augmentation
    same("adjust_gamma", {"gamma": 1.4, "retain_stats": True, "invert": False}, "gamma", "invert"),
    same("adjust_contrast", {"factor": 1.2, "preserve_range": False}, "factor"),
    same("adjust_brightness", {"factor": 1.2, "shift": 0.5, "relative": "std"}, "factor shift"),
    same("unsharp", {"amount": 0.5, "sigma": 1.1, "unit": "mm"}, "amount sigma"),
    same("blur_psf", {"fwhm_mm": 2.5}, "fwhm_mm"),
    same("bias_field", {"coefficients": np.full((2, 2, 3), 0.1)}, "coefficients"),
    same("bias_lattice", {"control_points": np.full((4, 5, 4), 0.1)}, "control_points"),
    same("gaussian_noise", {"key": KEY, "std": 0.5, "relative": "std"}, "std", "key"),
    same("rician_noise", {"key": KEY, "std": 0.5, "relative": "max"}, "std", "key"),
    same("poisson_noise", {"key": KEY, "counts": 2.0}, traced="key counts"),
    same("reduce_dose", {"key": KEY, "dose": 0.4, "alpha": 0.1, "fwhm_mm": 3.0}, "dose alpha fwhm_mm", "key"),
    same(
        "ct_noise",
        {"key": KEY, "std": 2.0, "correlation_mm": 1.1, "axis": np.int32(2)},
        "std correlation_mm",
        "key axis",
    ),
    same("degrade_resolution", {"spacing": (2.0, 3.0, 4.0), "kernel": "gaussian"}, traced="spacing"),
    same("gibbs", {"keep": (0.5, 0.6, 0.7)}, traced="keep"),
    same(
        "ghosting",
        {"count": 2, "intensity": 0.7, "axis": np.int32(1), "restore": 0.1},
        "intensity",
        "count axis restore",
    ),
    same("spike", {"frequency": (1.0, 2.0, -1.0), "intensity": 0.5}, "frequency intensity"),
    same(
        "motion",
        {
            "rotation": [(3.0, 5.0, 7.0), (-2.0, 4.0, 1.0)],
            "translation": [(0.3, 0.2, 0.1), (0.1, -0.4, 0.3)],
            "times": (0.3, 0.8),
            "axis": np.int32(1),
            "fill": 0.5,
        },
        "rotation translation fill",
        "times axis",
    ),
    same("histogram_shift", {"shifts": (0.1, -0.1)}, "shifts"),
    same("cutout", {"start": [(1.0, 0.0, 2.0)], "size": [(2.0, 3.0, 2.0)], "fill": 0.5}, "fill", "start size"),
    same("swap_boxes", {"first": [(0, 0, 0)], "second": [(2, 2, 2)], "size": 2}, traced="first second"),
    Row(
        "labels_to_image",
        {"key": KEY, "labels": LABELS, "mean": (0.0, 40.0, 90.0), "std": (1.0, 2.0, 3.0)},
        "labels.affine mean std",
        "key labels.voxels",
    ),
    Row(
        "mixup",
        {"image": mj.stack([SCAN, SCAN.with_voxels(OTHER.voxels)]), "share": 0.7},
        "image.voxels image.affine share",
    ),
    Row(
        "mixup",
        {"image": mj.stack([LABELS, LABELS.with_voxels(np.roll(LABELS.voxels, 1, 2))]), "share": 0.7, **LIMITS},
        "image.affine share",
        "image.voxels",
    ),
    Row(
        "cutmix",
        {"image": mj.stack([SCAN, SCAN]), "start": (1.0, 1.0, 1.0), "size": (2.0, 2.0, 2.0)},
        "image.voxels image.affine",
        "start size",
    ),
    # networks
    same(
        "sliding_window",
        {
            "network": jax.tree_util.Partial(mixed, np.float32(0.7)),
            "size": 5,
            "overlap": 0.5,
            "window": "hann",
            "batch": 2,
            "reduce": None,
            "mirror": "all",
            "dtype": np.float32,
            "fill": 0.5,
            "pad_to": None,
            "host": False,
            "sharding": None,
        },
        "network fill",
    ),
    # masks and quantities
    Row("one_hot", {"mask": LABELS, **LIMITS, "dtype": np.float32}, "mask.affine", "mask.voxels"),
    Row("label_volumes", {"mask": LABELS, **LIMITS}, "mask.affine", "mask.voxels"),
    Row("barycenter", {"mask": SCAN, "frame": "world"}, "mask.voxels mask.affine"),
    Row("max_radius", {"mask": LABELS, "center": (3.0, -4.0, 5.0)}, "mask.affine center", "mask.voxels"),
    Row("mask_points", {"mask": LABELS, "max_points": 9, "frame": "world"}, "mask.affine", "mask.voxels"),
    Row("bounding_box", {"mask": LABELS, **LIMITS}, traced="mask.voxels mask.affine"),
    Row("connected_components", {"mask": LABELS, "connectivity": 6}, "mask.affine"),
    Row("fill_holes", {"mask": LABELS}, "mask.affine"),
    Row(
        "dice",
        {"mask": LABELS, "reference": REFERENCE, **LIMITS},
        traced="mask.voxels mask.affine reference.voxels reference.affine",
    ),
    Row("surface_distances", {"mask": LABELS, "reference": REFERENCE, **LIMITS}, traced="reference.affine"),
    *(
        Row(name, {"image": SCAN, "radius": 1.6, "unit": "mm"}, "image.voxels", "image.affine radius")
        for name in ("dilate", "erode", "opening", "closing")
    ),
    same(
        "region_statistics",
        {"mask": LABELS, **LIMITS, "percentiles": (10, 50)},
        traced="mask.voxels mask.affine",
    ),
    same("suv_statistics", {"mask": LABELS, **LIMITS}, traced="mask.voxels mask.affine"),
    Row(
        "suv_factor",
        {"image": pet(), "norm": "bw"},
        traced="image.voxels image.affine",
        call=lambda a: mj.suv_factor(**a).factor,
    ),
    Row("to_suv", {"image": pet(), "norm": "bw"}, "image.voxels image.affine"),
]

WITHOUT_ROW = {
    "fuse": "takes a function; its result takes what the function takes",
    "keep_metadata": "takes a function; its result takes what the function takes",
    "shape_buckets": "takes nothing",
    "load_image": "files are read outside of traces",
    "save_image": "files are written outside of traces",
}

_HEAD = """# What may be traced

Written by `python tests/cases/argument_rows.py` from its rows; `tests/house/test_arguments.py` holds it true.

- **static**: decides a shape or a program. A traced value is an error that names the argument. Another value compiles anew.
- **traced**: may come from `jit`, `vmap` or a loop; it has no gradient.
- **differentiable**: may be traced, and `jax.grad` takes gradients in it.

An image has two parts, `image.voxels` and `image.affine`, a grid one, `grid.affine`. The words (`interpolation`, `unit`, ...)
are static everywhere. So is all that {files} take, and what a function of `mj.io` takes. Metadata are never traced:
`suv_factor` and `to_suv` take an image whose metadata were there before the trace. Under a trace a size cannot follow from
values: `resample_to_spacing` then needs its `size`.

| function | static | traced | differentiable |
|---|---|---|---|
"""


def page() -> str:
    """The text of docs/arguments.md."""
    lines = []
    for name in dict.fromkeys(row.name for row in ROWS):
        roles: dict[str, str] = {}
        for row in ROWS:
            if row.name == name:
                for part, role in row.roles().items():
                    roles[part] = "differentiable" if "differentiable" in (role, roles.get(part)) else role
        cells = [
            ", ".join(f"`{part}`" for part, role in roles.items() if role == column)
            for column in ("static", "traced", "differentiable")
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    files = " and ".join(f"`{name}`" for name in WITHOUT_ROW if name.endswith("_image"))
    return _HEAD.format(files=files) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
