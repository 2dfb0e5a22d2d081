"""Intensity operations on 256x256x128 float32: medjax beside NumPy, SimpleITK and, where it is installed, TorchIO.

Run: `python benchmarks/intensity.py [rounds]`. Prints a table and writes `benchmarks/results/intensity.json`. Every call is made
once to warm up (for medjax that compiles; the time is "first"), then the libraries take turns, so that whatever else the
machine does hits all of them. "median" is over the rounds; ratios and their range are formed within a round. Every row
has its error beside its time: the largest difference from NumPy in float64, over the largest value; and the
memory it took at its peak, above the input and the result.

On a CPU an elementwise operation mostly waits for fresh pages of its result. NumPy asks for huge pages; JAX does where glibc
is told so, `GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python benchmarks/intensity.py`. Those results go to
`intensity_huge_pages.json`.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import SimpleITK as sitk
from harness import cell, faster, in_turns, peak_bytes, save, spread, timed

import medjax as mj

SHAPE = (256, 256, 128)
HAS_HUGE_PAGES = "malloc.hugetlb=1" in os.environ.get("GLIBC_TUNABLES", "")
NAME = f"intensity{'_huge_pages' * HAS_HUGE_PAGES}"
DECILES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
POINTS = 7
Calls = dict[tuple[str, str], Callable[[], Any]]


def volume(seed: int) -> np.ndarray:
    """Skewed values in the range of Hounsfield units, no two alike but for rounding."""
    return (np.random.default_rng(seed).gamma(2.0, 300.0, SHAPE) - 1000).astype(np.float32)


def piecewise(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """np.interp with its end segments continued, in the dtype of `x`."""
    middle = np.interp(x, knots, values).astype(x.dtype)
    slopes = np.diff(values) / np.diff(knots)
    middle = np.where(x < knots[0], values[0] + slopes[0] * (x - knots[0]), middle)
    return np.where(x > knots[-1], values[-1] + slopes[-1] * (x - knots[-1]), middle)


def with_numpy(x: np.ndarray, reference: np.ndarray, landmarks: np.ndarray) -> Calls:
    """The operations as one writes them with NumPy; in float64 they are the truth."""
    levels = 100 * np.arange(POINTS + 2) / (POINTS + 1)

    def stretched(x: np.ndarray, low: Any, high: Any) -> np.ndarray:
        return (x - low) / (high - low)

    def standard(x: np.ndarray) -> np.ndarray:
        found = np.percentile(x, DECILES)
        return 100 * (found - found[0]) / (found[-1] - found[0])

    return {
        ("clip", "NumPy"): lambda: np.clip(x, -200, 300),
        ("rescale", "NumPy"): lambda: x * x.dtype.type(2.5) + x.dtype.type(-100),
        ("window", "NumPy"): lambda: np.clip((x - x.dtype.type(50)) / x.dtype.type(500) + x.dtype.type(0.5), 0, 1),
        ("z_score", "NumPy"): lambda: (x - x.mean()) / x.std(ddof=1),
        ("min_max", "NumPy"): lambda: stretched(x, x.min(), x.max()),
        ("percentile", "NumPy"): lambda: np.clip(stretched(x, *np.percentile(x, (1, 99)).astype(x.dtype)), 0, 1),
        ("histogram_match", "NumPy"): lambda: piecewise(x, np.percentile(x, levels), np.percentile(reference, levels)),
        ("nyul_train", "NumPy"): lambda: standard(x),
        ("nyul_transform", "NumPy"): lambda: piecewise(x, np.percentile(x, DECILES), landmarks),
    }


def with_medjax(x: np.ndarray, reference: np.ndarray, landmarks: mj.NyulLandmarks, library: str = "medjax") -> Calls:
    image, other = (mj.Image.from_array(jnp.asarray(v)) for v in (x, reference))
    calls: dict[str, Callable[[mj.Image], Any]] = {
        "clip": lambda i: mj.clip(i, -200, 300),
        "rescale": lambda i: mj.rescale(i, 2.5, -100),
        "window": lambda i: mj.window(i, 50, 500, function="linear_exact"),
        "z_score": mj.z_score_normalize,
        "min_max": mj.min_max_normalize,
        "percentile": mj.percentile_normalize,
        "histogram_match": lambda i: mj.histogram_match(i, other, points=POINTS),
        "nyul_transform": lambda i: mj.nyul_transform(i, landmarks),
    }
    made: Calls = {(name, library): partial(voxels_after, call, image) for name, call in calls.items()}
    made["nyul_train", library] = lambda: mj.nyul_train([image]).values
    if library == "medjax":
        for name in ("z_score", "percentile", "nyul_transform"):
            cubed = partial(sum_of_cubes, calls[name], image)
            made[f"gradient of {name}", library] = partial(jax.jit(jax.grad(cubed)), image.voxels)
    return made


def voxels_after(call: Callable[[mj.Image], mj.Image], image: mj.Image) -> Any:
    return call(image).voxels


def sum_of_cubes(call: Callable[[mj.Image], mj.Image], image: mj.Image, voxels: Any) -> Any:
    return (call(image.with_voxels(voxels)).voxels ** 3).sum()


def with_simpleitk(x: np.ndarray, reference: np.ndarray) -> Calls:
    image, other = (sitk.GetImageFromArray(np.ascontiguousarray(v.T)) for v in (x, reference))
    return {
        ("clip", "SimpleITK"): lambda: sitk.Clamp(image, sitk.sitkFloat32, -200, 300),
        ("rescale", "SimpleITK"): lambda: sitk.ShiftScale(image, -40, 2.5),
        ("window", "SimpleITK"): lambda: sitk.IntensityWindowing(image, -200, 300, 0, 1),
        ("z_score", "SimpleITK"): lambda: sitk.Normalize(image),
        ("min_max", "SimpleITK"): lambda: sitk.RescaleIntensity(image, 0, 1),
        ("histogram_match", "SimpleITK"): lambda: sitk.HistogramMatching(image, other, 1024, POINTS, False),
    }


def with_torchio(x: np.ndarray, landmarks: np.ndarray) -> Calls:
    """TorchIO 1, if it is there; its landmarks list the quartiles as well."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
            import torchio
    except ImportError:
        return {}
    if not hasattr(torchio, "ZNormalization"):
        return {}
    subject = torchio.Subject(image=torchio.ScalarImage(tensor=torch.as_tensor(x[None])))
    all_landmarks = np.interp(sorted({*DECILES, 25, 75}), DECILES, landmarks)
    transforms = {
        "z_score": torchio.ZNormalization(),
        "min_max": torchio.RescaleIntensity((0, 1)),
        "percentile": torchio.RescaleIntensity((0, 1), percentiles=(1, 99)),
        "nyul_transform": torchio.HistogramStandardization({"image": all_landmarks}),
    }
    # A transform copies its subject first, as it always does.
    return {(name, "TorchIO"): partial(image_after, transform, subject) for name, transform in transforms.items()}


def image_after(transform: Any, subject: Any) -> np.ndarray:
    return transform(subject)["image"].data.numpy()[0]


def as_array(result: Any) -> np.ndarray:
    return sitk.GetArrayFromImage(result).T if isinstance(result, sitk.Image) else np.asarray(result)


def measure(rounds: int) -> list[dict[str, Any]]:
    x, reference = volume(0), volume(1)
    landmarks = mj.nyul_train([mj.Image.from_array(reference)], percentiles=DECILES)
    values = np.asarray(landmarks.values, np.float64)
    calls = {
        **with_medjax(x, reference, landmarks),
        **with_medjax(x.astype(np.int16), reference, landmarks, "medjax, int16"),
        **with_numpy(x, reference, values),
        **with_simpleitk(x, reference),
        **with_torchio(x, values),
    }
    exact = {
        "medjax, int16": with_numpy(x.astype(np.int16).astype(np.float64), reference.astype(np.float64), values),
        "": with_numpy(x.astype(np.float64), reference.astype(np.float64), values),
    }
    first = {key: timed(call) for key, call in calls.items()}
    found_ms = in_turns(calls, rounds, warm=False)
    return [row(key, first[key], found_ms, calls[key], exact) for key in sorted(calls, key=lambda key: key[0])]


def row(key: tuple[str, str], first: float, found_ms: dict[Any, list[float]], call: Any, exact: Any) -> dict[str, Any]:
    operation, library = key
    own, peak = found_ms[key], peak_megabytes(call)
    others = (other for other in ("NumPy", "SimpleITK", "TorchIO") if (operation, other) in found_ms)
    return {
        "operation": operation,
        "library": library,
        "milliseconds": spread(own),
        "first_ms": first,
        "times_faster_than": {other: faster(own, found_ms[operation, other]) for other in others},
        "largest_error": error(operation, library, call, exact),
        "peak_megabytes": peak,
    }


def error(operation: str, library: str, call: Any, exact: Any) -> float | None:
    """Against NumPy in float64; for a gradient, which is orthogonal to a shift, what it sums to over its magnitudes."""
    found = as_array(call()).astype(np.float64)
    if operation.startswith("gradient"):
        return float(abs(found.sum()) / np.abs(found).sum())
    wanted = exact.get(library, exact[""])[operation, "NumPy"]()
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def peak_megabytes(call: Callable[[], Any]) -> float:
    """Peak memory of one call above what the process holds before it and the result itself (Linux)."""
    peak, result = peak_bytes(call)
    size = int(np.prod(SHAPE)) * 4 if isinstance(result, sitk.Image) else result.nbytes
    return max(0, peak - size) / 1e6


def table(rows: list[dict[str, Any]]) -> str:
    others = ("NumPy", "SimpleITK", "TorchIO")
    head = f"{'operation':28}{'library':15}{'ms (range)':>18}{'first ms':>9}" + "".join(
        f"{'x ' + o:>20}" for o in others
    )
    lines = [f"{head}{'error':>10}{'peak MB':>9}"]
    for each in rows:
        ratios = each["times_faster_than"]
        lines.append(
            f"{each['operation']:28}{each['library']:15}{cell(each['milliseconds'], 0):>18}{each['first_ms']:9.0f}"
            + "".join(f"{cell(ratios.get(other), 2):>20}" for other in others)
            + f"{each['largest_error']:10.1e}{each['peak_megabytes']:9.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    rows = measure(rounds)
    save(NAME, rows, rounds=rounds, shape=SHAPE, has_huge_pages=HAS_HUGE_PAGES)
    print(table(rows))


if __name__ == "__main__":
    main()
