"""The operations behind the steps of augmentation: each with parameters, its formula in NumPy float64, and what does nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from scipy import ndimage

import medjax as mj
from medjax import Image

Parameters = dict[str, Any]
SHAPE = (6, 7, 8)
SPACING = (0.7, 1.1, 2.5)


@dataclasses.dataclass(frozen=True)
class Applier:
    """A plain function.

    Attributes:
        call: From an image and what may be traced to an image.
        parameters: Of one item, float64.
        formula: From voxels of one item without channels, in float64, to the result; `None` for those that are random.
        neutral: The parameters that do nothing, beside the others.
        slopes: The parameters that have a gradient.
        words: What an error about labels names, where that is not the name.
        rounding: By how many of float32's epsilons of the range a result may be off.
    """

    call: Callable[[Image, Mapping[str, Any]], Image]
    parameters: Parameters
    formula: Callable[[np.ndarray, Parameters], np.ndarray] | None = None
    neutral: Parameters = dataclasses.field(default_factory=dict)
    slopes: tuple[str, ...] = ()
    rounding: float = 32


def image_of(seed: int, shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32, **options: Any) -> Image:
    """Magnitudes, skewed, no two alike where floating; another place for each seed."""
    values = np.random.default_rng(seed).gamma(2.0, 30.0, shape) + 1
    metadata = mj.Metadata(modality="MR", source=f"scan {seed}")
    known: dict[str, Any] = {"spacing": SPACING, "origin": (-90.0 + seed, 120.0, 700.0), "metadata": metadata}
    return Image.from_array(values.astype(dtype), **(known | options))


def key_of(parameters: Mapping[str, Any]) -> Any:
    return jax.random.wrap_key_data(jax.numpy.asarray(parameters["key"], np.uint32))


# --- Formulas --------------------------------------------------------------------------------------------------------


def gamma(x: np.ndarray, p: Parameters) -> np.ndarray:
    z = (x - x.min()) / (x.max() - x.min())
    bent = 1 - (1 - z) ** p["gamma"] if p.get("invert") else z ** p["gamma"]
    return x.min() + (x.max() - x.min()) * bent


def gamma_retained(x: np.ndarray, p: Parameters) -> np.ndarray:
    y = gamma(x, p)
    return (y - y.mean()) * x.std() / y.std() + x.mean()


def contrast(x: np.ndarray, p: Parameters) -> np.ndarray:
    return np.clip(x.mean() + p["factor"] * (x - x.mean()), x.min(), x.max())


def smoothed(x: np.ndarray, sigma_mm: float) -> np.ndarray:
    return ndimage.gaussian_filter(x, sigma_mm / np.asarray(SPACING), mode="reflect", truncate=4.0)


def legendre(x: np.ndarray, p: Parameters) -> np.ndarray:
    i, j, k = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in x.shape)
    field = np.polynomial.legendre.leggrid3d(i, j, k, p["coefficients"])
    return x * np.exp(field - field.mean())


def coarse(x: np.ndarray, p: Parameters) -> np.ndarray:
    """Samples at the middles of the coarse voxels, and linear interpolation between them, axis by axis."""
    for axis, (size, own, new) in enumerate(zip(x.shape, SPACING, np.broadcast_to(p["spacing"], 3), strict=True)):
        count = size if new <= own else max(1, int(np.floor(size * own / new + 0.5)))
        low = np.take(x, [int(np.floor((j + 0.5) * size / count)) for j in range(count)], axis)
        place = (np.arange(size) + 0.5) * count / size - 0.5
        lines = np.moveaxis(low, axis, -1)
        out = [np.interp(place, np.arange(count), line) for line in lines.reshape(-1, count)]
        x = np.moveaxis(np.reshape(out, (*lines.shape[:-1], size)), -1, axis)
    return x


def frequencies(size: int) -> np.ndarray:
    return np.arange(size) - size // 2


def masked(x: np.ndarray, mask: np.ndarray, axis: int) -> np.ndarray:
    """The image whose centred spectrum is multiplied by a mask along an axis: the Fourier transform that ours has not."""
    shape = [1, 1, 1]
    shape[axis] = -1
    spectrum = np.fft.fftshift(np.fft.fft(x, axis=axis), axes=axis) * mask.reshape(shape)
    return np.fft.ifft(np.fft.ifftshift(spectrum, axes=axis), axis=axis).real


def truncated(x: np.ndarray, p: Parameters) -> np.ndarray:
    for axis, (size, keep) in enumerate(zip(x.shape, np.broadcast_to(p["keep"], 3), strict=True)):
        x = masked(x, np.abs(frequencies(size)) <= keep * size / 2, axis) if size > 1 else x
    return x


def ghosts(x: np.ndarray, p: Parameters) -> np.ndarray:
    k = frequencies(x.shape[2])
    is_weak = (k % p["count"] == 0) & (np.abs(k) > p["restore"] * x.shape[2] / 2) & (k != 0)
    return masked(x, np.where(is_weak, 1 - p["intensity"], 1.0), 2)


def stripes(x: np.ndarray, p: Parameters) -> np.ndarray:
    spectrum = np.fft.fftn(x)
    largest = np.abs(spectrum).max() if abs(x.mean()) > x.std() else x.std() * x.size
    line = tuple(int(k) % n for k, n in zip(p["frequency"], x.shape, strict=True))
    spectrum[line] += p["intensity"] * largest
    return np.fft.ifftn(spectrum).real


def moved_by_parts(x: np.ndarray, p: Parameters) -> np.ndarray:
    """By masks of the spectrum, of images that `affine_transform` moves."""
    image, k = image_of(0, x.shape).with_voxels(x.astype(np.float32)), np.arange(x.shape[1])
    segment = np.searchsorted(p["times"], (k + 0.5) / len(k), side="right")
    still, y, poses = segment[len(k) // 2], np.zeros_like(x), iter(zip(p["rotation"], p["translation"], strict=True))
    for number in range(len(p["times"]) + 1):
        part = x
        if number != still:
            rotation, translation = next(poses)
            content = mj.affine_matrix(translation=translation, rotation=rotation)
            part = np.asarray(mj.affine_transform(image, content, fill=0.0).voxels, np.float64)
        y = y + masked(part, segment == number, 1)
    return y


def boxes(shape: tuple[int, ...], p: Parameters) -> np.ndarray:
    inside = np.zeros(shape, bool)
    for start, size in zip(p["start"].astype(int), p["size"].astype(int), strict=True):
        inside[tuple(slice(max(a, 0), max(a + n, 0)) for a, n in zip(start, size, strict=True))] = True
    return inside


def exchanged(x: np.ndarray, p: Parameters) -> np.ndarray:
    x = x.copy()
    for first, second in zip(p["first"].astype(int), p["second"].astype(int), strict=True):
        a, b = (tuple(slice(c, c + n) for c, n in zip(corner, (3, 3, 1), strict=True)) for corner in (first, second))
        x[a], x[b] = x[b].copy(), x[a].copy()
    return x


POSES = {"rotation": np.array([[8.0, -4, 6], [-9, 3, 5]]), "translation": np.array([[1.0, -2, 0.5], [0, 1.5, -1]])}
KEY = {"key": np.array([3, 17], np.uint32)}

APPLIERS: dict[str, Applier] = {
    "adjust_gamma": Applier(
        lambda image, p: mj.adjust_gamma(image, p["gamma"]),
        {"gamma": 1.4},
        gamma,
        neutral={"gamma": 1.0},
        slopes=("gamma",),
    ),
    "adjust_gamma, retained": Applier(
        lambda image, p: mj.adjust_gamma(image, p["gamma"], retain_stats=True, invert=p["invert"]),
        {"gamma": 0.6, "invert": 1.0},
        gamma_retained,
        neutral={"gamma": 1.0},
        slopes=("gamma",),
        rounding=256,  # the power is steep where the negative is 0
    ),
    "adjust_contrast": Applier(
        lambda image, p: mj.adjust_contrast(image, p["factor"]),
        {"factor": 1.3},
        contrast,
        neutral={"factor": 1.0},
        slopes=("factor",),
    ),
    "adjust_brightness": Applier(
        lambda image, p: mj.adjust_brightness(image, p["factor"], shift=p["shift"], relative="std"),
        {"factor": 1.3, "shift": 0.4},
        lambda x, p: p["factor"] * x + p["shift"] * x.std(),
        neutral={"factor": 1.0, "shift": 0.0},
        slopes=("factor", "shift"),
    ),
    "unsharp": Applier(
        lambda image, p: mj.unsharp(image, p["amount"], p["sigma"]),
        {"amount": 0.8, "sigma": 1.2},
        lambda x, p: x + p["amount"] * (x - smoothed(x, p["sigma"])),
        neutral={"amount": 0.0},
        slopes=("amount", "sigma"),
    ),
    "blur_psf": Applier(
        lambda image, p: mj.blur_psf(image, p["fwhm_mm"]),
        {"fwhm_mm": 3.1},
        lambda x, p: smoothed(x, p["fwhm_mm"] / 2.354820045),
        neutral={"fwhm_mm": 0.0},
        slopes=("fwhm_mm",),
    ),
    "bias_field": Applier(
        lambda image, p: mj.bias_field(image, p["coefficients"]),
        {"coefficients": np.random.default_rng(3).uniform(-0.3, 0.3, (3, 2, 4))},
        legendre,
        neutral={"coefficients": np.eye(1, 24).reshape(3, 2, 4)},
        slopes=("coefficients",),
    ),
    "bias_lattice": Applier(
        lambda image, p: mj.bias_lattice(image, p["control_points"]),
        {"control_points": np.random.default_rng(4).uniform(-0.5, 0.5, (4, 5, 6))},
        None,
        neutral={"control_points": np.zeros((4, 5, 6))},
        slopes=("control_points",),
    ),
    "gaussian_noise": Applier(
        lambda image, p: mj.gaussian_noise(key_of(p), image, p["std"], relative="std"),
        {"std": 0.2, **KEY},
        neutral={"std": 0.0},
        slopes=("std",),
    ),
    "rician_noise": Applier(
        lambda image, p: mj.rician_noise(key_of(p), image, p["std"]),
        {"std": 9.0, **KEY},
        neutral={"std": 0.0},
        slopes=("std",),
    ),
    "degrade_resolution": Applier(
        lambda image, p: mj.degrade_resolution(image, p["spacing"]),
        {"spacing": np.array([1.6, 2.2, 3.1])},
        coarse,
        neutral={"spacing": np.array([0.7, 1.1, 2.5])},
    ),
    "degrade_resolution, gaussian": Applier(
        lambda image, p: mj.degrade_resolution(image, p["spacing"], kernel="gaussian"),
        {"spacing": np.array([1.6, 2.2, 3.1])},
        neutral={"spacing": np.array([0.7, 1.1, 2.5])},
    ),
    "gibbs": Applier(
        lambda image, p: mj.gibbs(image, p["keep"]),
        {"keep": np.array([0.5, 0.6, 0.75])},
        truncated,
        neutral={"keep": np.ones(3)},
    ),
    "ghosting": Applier(
        lambda image, p: mj.ghosting(image, p["count"], p["intensity"], axis="k", restore=p["restore"]),
        {"count": 2.0, "intensity": 0.7, "restore": 0.1},
        ghosts,
        neutral={"intensity": 0.0},
        slopes=("intensity",),
    ),
    "spike": Applier(
        lambda image, p: mj.spike(image, p["frequency"], p["intensity"]),
        {"frequency": np.array([2.0, -1, 3]), "intensity": 0.6},
        stripes,
        neutral={"intensity": 0.0},
        slopes=("frequency", "intensity"),
    ),
    "motion": Applier(
        lambda image, p: mj.motion(image, p["rotation"], p["translation"], p["times"], axis=1, fill=0.0),
        {**POSES, "times": np.array([0.3, 0.8])},
        moved_by_parts,
        neutral={"rotation": np.zeros((2, 3)), "translation": np.zeros((2, 3))},
        slopes=("rotation", "translation"),
        rounding=512,
    ),
    "poisson_noise": Applier(
        lambda image, p: mj.poisson_noise(key_of(p), image, p["counts"]),
        {"counts": 0.7, **KEY},
        neutral={"counts": np.inf},
    ),
    "reduce_dose": Applier(
        lambda image, p: mj.reduce_dose(key_of(p), image, p["dose"], alpha=p["alpha"], fwhm_mm=p["fwhm_mm"]),
        {"dose": 0.3, "alpha": 4.0, "fwhm_mm": 3.0, **KEY},
        neutral={"dose": 1.0},
        slopes=("dose", "alpha", "fwhm_mm"),
    ),
    "ct_noise": Applier(
        lambda image, p: mj.ct_noise(key_of(p), image, p["std"], correlation_mm=p["correlation_mm"]),
        {"std": 20.0, "correlation_mm": 0.9, **KEY},
        neutral={"std": 0.0},
        slopes=("std", "correlation_mm"),
    ),
    "histogram_shift": Applier(
        lambda image, p: mj.histogram_shift(image, p["shifts"]),
        {"shifts": np.array([0.1, -0.1, 0.15])},
        lambda x, p: np.interp(
            (x - x.min()) / np.ptp(x),
            np.linspace(0, 1, 5),
            x.min() + np.ptp(x) * (np.linspace(0, 1, 5) + np.pad(p["shifts"], 1)),
        ),
        neutral={"shifts": np.zeros(3)},
        slopes=("shifts",),
    ),
    "cutout": Applier(
        lambda image, p: mj.cutout(image, p["start"], p["size"]),
        {"start": np.array([[1.0, 2, -1], [0, 0, 0]]), "size": np.array([[5.0, 4, 9], [2, 7, 8]])},
        lambda x, p: np.where(boxes(x.shape, p), x.mean(), x),
        neutral={"size": np.zeros((2, 3))},
    ),
    "swap_boxes": Applier(
        lambda image, p: mj.swap_boxes(image, p["first"], p["second"], (3, 3, 1)),
        {
            "first": np.array([[0.0, 0, 0], [3, 1, 0], [0, 4, 0], [1, 1, 0]]),
            "second": np.array([[3.0, 4, 0], [0, 2, 0], [3, 3, 0], [2, 4, 0]]),
        },
        exchanged,
        neutral={"first": np.zeros((4, 3)), "second": np.zeros((4, 3))},
    ),
}
