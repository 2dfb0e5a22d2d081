"""The steps that a chain may have: which public function each calls, and what it acts on. Needs no JAX."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping
from typing import Any, Literal

from medjax._pipeline import _forms as forms
from medjax._pipeline._signatures import REQUIRED, Parameter, function_line, parameters_of

__all__ = ["KINDS", "METHODS", "NO_STEP", "StepKind", "kind_named"]

Target = Literal["space", "intensity", "label"]
"""The images that a step acts on: all of them, on one grid; intensities; label maps."""


@dataclasses.dataclass(frozen=True)
class StepKind:
    """A name that a step may have.

    Attributes:
        name: As it is written.
        function: The public function that does it.
        home: The function's module, as a path below the package.
        target: The images that it acts on.
        positional: The parameters whose values may stand without their names, in order.
        changes: Forms that are narrower than the annotation says, and defaults that the step adds.
        extra: Options that the function does not have in words, such as files.
    """

    name: str
    function: str
    home: str
    target: Target
    positional: tuple[str, ...] = ()
    changes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    extra: tuple[Parameter, ...] = ()

    @functools.cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Its options by name."""
        found: dict[str, Parameter] = {}
        for method in METHODS.values() if self.name == "normalize" else [(self.home, self.function)]:
            found |= parameters_of(*method)
        changed = {name: dataclasses.replace(found[name], **change) for name, change in self.changes.items()}
        return found | changed | {one.name: one for one in self.extra}

    @property
    def line(self) -> str:
        """A sentence about it."""
        return function_line(self.home, self.function)


METHODS = {
    "zscore": ("_intensity/_normalize", "z_score_normalize"),
    "minmax": ("_intensity/_normalize", "min_max_normalize"),
    "percentile": ("_intensity/_normalize", "percentile_normalize"),
    "nyul": ("_intensity/_landmarks", "nyul_transform"),
}
"""The functions behind `normalize`, by method."""

_ABOVE_0 = {"form": forms.positive}
_SIZE = {"form": forms.size}
_LIKE = Parameter("like", forms.word, None, "An image whose grid is filled; with a spacing, that grid at this spacing")
_TRANSFORM = Parameter("transform", forms.word, None, "A file of a transform that maps output points to input points")
_TO_MASK = Parameter("to_mask", forms.word, None, "A mask; the smallest box that holds it is cut out")
_MARGIN = Parameter("margin", forms.length, "0", "How much to keep around the mask, in voxels or as in 5mm")
_LANDMARKS = Parameter("landmarks", forms.word, None, "A JSON file of NyulLandmarks.to_json")
_METHOD = Parameter("method", forms.choice(tuple(METHODS)), REQUIRED, "How to normalise", tuple(METHODS))

_ALL = (
    StepKind("reorient", "change_orientation", "_space/_reorient", "space", ("orientation",)),
    StepKind("flip", "flip", "_space/_reorient", "space", ("axes",)),
    StepKind(
        "resample",
        "resample_to_spacing",
        "_space/_resample",
        "space",
        ("spacing",),
        {"spacing": {**_ABOVE_0, "default": None}, "size": _SIZE},
        (_LIKE, _TRANSFORM),
    ),
    StepKind("scale", "scale", "_space/_resample", "space", ("factor",), {"factor": _ABOVE_0}),
    StepKind("rotate", "rotate", "_space/_move", "space", ("axis", "degrees")),
    StepKind(
        "crop",
        "crop",
        "_space/_crop",
        "space",
        ("start", "size"),
        {"start": {"form": forms.corner, "default": None}, "size": {**_SIZE, "default": None}},
        (_TO_MASK, _MARGIN),
    ),
    StepKind("pad", "pad", "_space/_crop", "space", ("before", "after"), {"after": {"default": None}}),
    StepKind("size", "crop_or_pad", "_space/_crop", "space", ("size",), {"size": _SIZE}),
    StepKind("translate", "translate", "_space/_crop", "space", ("offset",), {"offset": {"form": forms.three}}),
    StepKind("clip", "clip", "_intensity/_window", "intensity", ("low", "high")),
    StepKind("rescale", "rescale", "_intensity/_window", "intensity", ("slope", "intercept")),
    StepKind("window", "window", "_intensity/_window", "intensity", ("center", "width")),
    StepKind(
        "normalize",
        "z_score_normalize",
        "_intensity/_normalize",
        "intensity",
        ("method",),
        extra=(_METHOD, _LANDMARKS),
    ),
    StepKind("cast", "cast", "_intensity/_cast", "intensity", ("dtype",)),
    StepKind("suv", "to_suv", "_pet/_factor", "intensity", ("norm",)),
    StepKind("threshold", "threshold", "_intensity/_threshold", "intensity", ("low", "high")),
    StepKind("gaussian_blur", "gaussian_blur", "_intensity/_blur", "intensity", ("sigma",)),
    StepKind("blur_psf", "blur_psf", "_intensity/_blur", "intensity", ("fwhm_mm",)),
    StepKind("unsharp", "unsharp", "_intensity/_blur", "intensity", ("amount", "sigma")),
    StepKind("median_filter", "median_filter", "_intensity/_blur", "intensity", ("size",), {"size": _SIZE}),
    StepKind("degrade_resolution", "degrade_resolution", "_intensity/_resolution", "intensity", ("spacing",)),
    StepKind("adjust_gamma", "adjust_gamma", "_intensity/_contrast", "intensity", ("gamma",)),
    StepKind("adjust_contrast", "adjust_contrast", "_intensity/_contrast", "intensity", ("factor",)),
    StepKind("adjust_brightness", "adjust_brightness", "_intensity/_contrast", "intensity", ("factor",)),
    StepKind("dilate", "dilate", "_mask/_morphology", "label", ("radius",)),
    StepKind("erode", "erode", "_mask/_morphology", "label", ("radius",)),
    StepKind("opening", "opening", "_mask/_morphology", "label", ("radius",)),
    StepKind("closing", "closing", "_mask/_morphology", "label", ("radius",)),
    StepKind("fill_holes", "fill_holes", "_mask/_morphology", "label"),
)

KINDS = {kind.name: kind for kind in _ALL}
"""Every step by its name."""

# Public functions that take an image and give one, and why none of them is a step.
NO_STEP = {
    "affine_transform": "a matrix comes from a file: resample with transform",
    "resample_to_grid": "resample with like",
    "resample_to_image": "resample with like",
    "warp": "takes a field of displacements",
    "crop_to_mask": "crop with to_mask",
    "histogram_match": "takes another image's histogram; nyul learns one scale for all",
    "one_hot": "makes channels, which few formats of files hold as such",
    "connected_components": "numbers regions, and returns how many there are as well",
    **dict.fromkeys(
        ("gaussian_noise", "rician_noise", "poisson_noise", "reduce_dose", "ct_noise", "labels_to_image"),
        "is drawn, with a key: mj.augment",
    ),
    **dict.fromkeys(
        ("bias_field", "bias_lattice", "cutout", "swap_boxes", "cutmix", "mixup", "histogram_shift"),
        "an artefact for training: mj.augment",
    ),
    **dict.fromkeys(("gibbs", "ghosting", "spike", "motion"), "an artefact for training: mj.augment"),
    "z_score_normalize": "normalize:zscore",
    "min_max_normalize": "normalize:minmax",
    "percentile_normalize": "normalize:percentile",
    "nyul_transform": "normalize:nyul",
    "sliding_window": "takes a network",
}


def kind_named(name: str) -> StepKind:
    """Returns the kind of step of that name.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    if name in KINDS:
        return KINDS[name]
    near = difflib.get_close_matches(name, KINDS, 1)
    raise ValueError(f"there is no step {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
