"""The table's rows of the operations behind the steps of augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ways_cases import Draw, Operation, Parameters
from ways_draws import numbers

import medjax as mj
from medjax import Image


def keyed(image: Any, parameters: Parameters) -> Any:
    """A key for each item, so that one of a batch draws what it draws alone."""
    # A copy: JAX may share a NumPy array's memory, which one of the ways writes to.
    data = parameters["key"] if isinstance(parameters["key"], jax.Array) else jnp.asarray(np.array(parameters["key"]))
    return jax.random.wrap_key_data(jnp.broadcast_to(data, (*image.batch_shape, 2)) if data.ndim == 1 else data)


def with_key(parameters: Any) -> Any:
    return lambda draw, image: {"key": draw.rng.integers(0, 2**32, 2, np.uint32), **parameters(draw, image)}


def arrays(**parts: tuple[float, float, tuple[int, ...]]) -> Any:
    """Draws arrays of numbers, each within its range, one for each channel."""

    def drawn(draw: Draw, image: Image) -> Parameters:
        return {name: draw.uniform(low, high, (*image.channels, *shape)) for name, (low, high, shape) in parts.items()}

    return drawn


def both(one: Any, other: Any) -> Any:
    return lambda draw, image: one(draw, image) | other(draw, image)


def shared(**parts: tuple[float, float, tuple[int, ...]]) -> Any:
    """The same for all channels together."""

    def drawn(draw: Draw, image: Image) -> Parameters:
        return {name: draw.uniform(low, high, shape) for name, (low, high, shape) in parts.items()}

    return drawn


def some_axis(draw: Draw, image: Image) -> dict[str, Any]:
    return {"axis": draw.one_of(0, "j", 2)}


def swapped(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    return mj.swap_boxes(image, parameters["first"], parameters["second"], 1)


def corners(draw: Draw, image: Image) -> Parameters:
    """Corners of boxes of one voxel, which never meet but where they are one."""
    return {name: draw.rng.integers(0, image.shape, (5, 3)).astype(np.float64) for name in ("first", "second")}


def mixed(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    """Of two items made of one."""
    pair = mj.stack([image, image.with_voxels(image.voxels[::-1])])
    return mj.mixup(pair, jnp.stack([jnp.asarray(parameters["share"])] * 2))


def pasted(image: Any, parameters: Parameters, options: Mapping[str, Any]) -> Any:
    pair = mj.stack([image, image.with_voxels(image.voxels[::-1])])
    return mj.cutmix(pair, parameters["start"], parameters["size"])


INTENSITY: Any = {"kinds": ("intensity",)}
IN_PAIRS: Any = {"meaningless": frozenset({"batch", "items"})}
LABELS: Any = {"kinds": ("label",), "channels": ((),)}

AUGMENTATION: dict[str, Operation] = {
    "adjust_gamma": Operation(
        "adjust_gamma",
        lambda image, p, o: mj.adjust_gamma(image, p["gamma"], invert=p["invert"], **o),
        parameters=both(
            numbers(gamma=(0.6, 1.6)), lambda draw, image: {"invert": draw.rng.random(image.channels) < 0.5}
        ),
        options=lambda draw, image: {"retain_stats": draw.one_of(True, False)},
        slopes=("gamma",),
        rounding=512,
        **INTENSITY,
    ),
    "adjust_contrast": Operation(
        "adjust_contrast",
        lambda image, p, o: mj.adjust_contrast(image, p["factor"], **o),
        parameters=numbers(factor=(0.7, 1.3)),
        options=lambda draw, image: {"preserve_range": draw.one_of(True, False)},
        slopes=("factor",),
        **INTENSITY,
    ),
    "adjust_brightness": Operation(
        "adjust_brightness",
        lambda image, p, o: mj.adjust_brightness(image, p["factor"], shift=p["shift"], **o),
        parameters=numbers(factor=(0.7, 1.3), shift=(-1, 1)),
        options=lambda draw, image: {"relative": draw.one_of(None, "std")},
        slopes=("factor", "shift"),
        **INTENSITY,
    ),
    "unsharp": Operation(
        "unsharp",
        lambda image, p, o: mj.unsharp(image, p["amount"], p["sigma"]),
        parameters=numbers(amount=(0, 1), sigma=(0.2, 3)),
        is_linear=True,
        slopes=("amount", "sigma"),
        **INTENSITY,
    ),
    "blur_psf": Operation(
        "blur_psf",
        lambda image, p, o: mj.blur_psf(image, p["fwhm_mm"]),
        parameters=numbers(fwhm_mm=(0.5, 6)),
        is_linear=True,
        slopes=("fwhm_mm",),
        **INTENSITY,
    ),
    "bias_field": Operation(
        "bias_field",
        lambda image, p, o: mj.bias_field(image, p["coefficients"]),
        parameters=arrays(coefficients=(-0.3, 0.3, (3, 3, 2))),
        is_linear=True,
        slopes=("coefficients",),
        **INTENSITY,
    ),
    "bias_lattice": Operation(
        "bias_lattice",
        lambda image, p, o: mj.bias_lattice(image, p["control_points"]),
        parameters=arrays(control_points=(-0.5, 0.5, (4, 5, 4))),
        is_linear=True,
        slopes=("control_points",),
        **INTENSITY,
    ),
    "gaussian_noise": Operation(
        "gaussian_noise",
        lambda image, p, o: mj.gaussian_noise(keyed(image, p), image, p["std"], **o),
        parameters=with_key(numbers(std=(0.1, 9))),
        options=lambda draw, image: {"relative": draw.one_of(None, "std", "max")},
        slopes=("std",),
        **INTENSITY,
    ),
    "rician_noise": Operation(
        "rician_noise",
        lambda image, p, o: mj.rician_noise(keyed(image, p), abs(image), p["std"]),
        parameters=with_key(numbers(std=(0.1, 9))),
        slopes=("std",),
        **INTENSITY,
    ),
    "poisson_noise": Operation(
        "poisson_noise",
        lambda image, p, o: mj.poisson_noise(keyed(image, p), image, 1.0),
        parameters=with_key(lambda draw, image: {}),
        dtypes=(np.int16, np.uint8),  # of means that are whole no rounding decides
        **INTENSITY,
    ),
    "reduce_dose": Operation(
        "reduce_dose",
        lambda image, p, o: mj.reduce_dose(keyed(image, p), abs(image) + 1, p["dose"], fwhm_mm=p["fwhm_mm"]),
        parameters=with_key(numbers(dose=(0.1, 0.9), fwhm_mm=(1, 6))),
        slopes=("dose", "fwhm_mm"),
        **INTENSITY,
    ),
    "ct_noise": Operation(
        "ct_noise",
        lambda image, p, o: mj.ct_noise(keyed(image, p), image, p["std"], correlation_mm=p["correlation_mm"], **o),
        parameters=with_key(numbers(std=(1, 30), correlation_mm=(0.5, 2))),
        options=some_axis,
        slopes=("std", "correlation_mm"),
        **INTENSITY,
    ),
    "degrade_resolution": Operation(
        "degrade_resolution",
        lambda image, p, o: mj.degrade_resolution(image, p["spacing"], **o),
        parameters=arrays(spacing=(0.5, 9, (3,))),
        options=lambda draw, image: {"kernel": draw.one_of("nearest", "gaussian")},
        is_linear=True,
        slopes=(),
        **INTENSITY,
    ),
    "gibbs": Operation(
        "gibbs",
        lambda image, p, o: mj.gibbs(image, p["keep"]),
        parameters=arrays(keep=(0.2, 1, (3,))),
        is_linear=True,
        slopes=(),
        **INTENSITY,
    ),
    "ghosting": Operation(
        "ghosting",
        lambda image, p, o: mj.ghosting(image, p["count"], p["intensity"], **o),
        parameters=both(
            numbers(intensity=(0.2, 1)),
            lambda draw, image: {"count": draw.rng.integers(1, 5, image.channels).astype(np.float64)},
        ),
        options=some_axis,
        is_linear=True,
        slopes=("intensity",),
        **INTENSITY,
    ),
    "spike": Operation(
        "spike",
        lambda image, p, o: mj.spike(image, p["frequency"], p["intensity"]),
        parameters=both(numbers(intensity=(0.2, 1)), arrays(frequency=(-3, 3, (3,)))),
        slopes=("intensity", "frequency"),
        rounding=256,
        **INTENSITY,
    ),
    "motion": Operation(
        "motion",
        lambda image, p, o: mj.motion(image, p["rotation"], p["translation"], p["times"], fill=0.0, **o),
        parameters=both(
            shared(rotation=(-4, 4, (2, 3)), translation=(-1, 1, (2, 3))),
            lambda draw, image: {"times": np.sort(draw.uniform(0, 1, 2))},
        ),
        options=some_axis,
        rounding=2**16,  # a sample that lies off by what float32 leaves of a turned position, times the steepest voxels
        **INTENSITY,
    ),
    "histogram_shift": Operation(
        "histogram_shift",
        lambda image, p, o: mj.histogram_shift(image, p["shifts"]),
        parameters=arrays(shifts=(-0.1, 0.1, (3,))),
        slopes=("shifts",),
        **INTENSITY,
    ),
    "cutout": Operation(
        "cutout",
        lambda image, p, o: mj.cutout(image, p["start"], p["size"], **o),
        parameters=arrays(start=(-1, 4, (2, 3)), size=(0, 4, (2, 3))),
        options=lambda draw, image: {"fill": draw.one_of("mean", 7.0)},
        slopes=(),
        **INTENSITY,
    ),
    "swap_boxes": Operation("swap_boxes", swapped, parameters=corners, slopes=(), is_exact=True, **INTENSITY),
    "labels_to_image": Operation(
        "labels_to_image",
        lambda image, p, o: mj.labels_to_image(keyed(image, p), image, p["mean"], p["std"]),
        parameters=with_key(shared(mean=(0, 90, (5,)), std=(0, 9, (5,)))),
        **LABELS,
    ),
    "mixup": Operation(
        "mixup", mixed, parameters=numbers(share=(0.1, 0.9)), slopes=("share",), **INTENSITY, **IN_PAIRS
    ),
    "cutmix": Operation(
        "cutmix",
        pasted,
        parameters=shared(start=(-1, 3, (3,)), size=(0, 4, (3,))),
        is_exact=True,
        **IN_PAIRS,
    ),
}
