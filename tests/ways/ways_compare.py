"""When two results of one operation are the same: ties, faces and bounds, from sample positions in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from ways_cases import Case

EPS = float(np.finfo(np.float32).eps)

# A sample nearer to a tie or a face than this, in voxels, may fall on either side, unless it is one.
NEAR = 1e-4
# A sample nearer than this is one: what float64 leaves of half a voxel, 800 mm from the origin.
ONE = 1e-11
# By how much weights times voxels may exceed the voxels' differences, per voxel of error in the position.
STEEPNESS = {0: 0.0, 1: 1.0, 3: 6.0}


@dataclasses.dataclass(frozen=True)
class Samples:
    """Where the voxels of a result are sampled, and which of them float32 may decide either way."""

    index: np.ndarray
    is_free: np.ndarray
    is_kink: np.ndarray


def samples_of(case: Case, image: int, parameters: int) -> Samples | None:
    """The float64 indices of an eager result's voxels, or `None` where an operation does not sample."""
    if case.operation.points is None:
        return None
    given, affine = case.images[image], case.reference(image, parameters)["affine"]
    shape = next(value.shape for name, value in case.reference(image, parameters).items() if "voxels" in name)[:3]
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    points, doubtful = case.operation.points(points, given, case.parameters[parameters], case.options)
    index = np.einsum("de,...e->...d", np.linalg.inv(given.affine[:3, :3]), points - given.affine[:3, 3])
    sizes = np.asarray(given.shape)
    ties = np.floor(index) + 0.5
    faces = np.where(np.abs(index + 0.5) < np.abs(index - sizes + 0.5), -0.5, sizes - 0.5)
    away = np.abs(index - (ties if case.order == 0 else faces))
    one = ONE * np.maximum(1, np.abs(index))
    is_free = ((away > one) & (away < NEAR)).any(-1) | doubtful
    is_kink = (np.abs(index - np.round(index)) < NEAR).any(-1) | (np.abs(index - faces) < NEAR).any(-1)
    return Samples(index, is_free, is_free | is_kink)


def position_error(case: Case, image: int, is_traced: bool) -> float:
    """By how many voxels a sample may lie off: float32 tables of known geometry, or float32 geometry."""
    given = case.images[image]
    spacing = np.linalg.norm(given.affine[:3, :3], axis=0)
    reach = np.abs(given.affine[:3, 3]).max() + (spacing * given.shape).sum()
    return float(16 * EPS + (8 * EPS * reach / spacing.min() if is_traced else 0))


def differences(
    case: Case, found: Mapping[str, np.ndarray], image: int, parameters: int, *, is_traced: bool
) -> list[str]:
    """Says for each array of a result that is another than the eager one on NumPy how it differs."""
    wanted = case.reference(image, parameters)
    if set(found) != set(wanted):
        return [f"gives {sorted(found)} instead of {sorted(wanted)}"]
    said = [_difference(case, name, found[name], wanted[name], image, parameters, is_traced) for name in wanted]
    return [text for text in said if text]


def _difference(
    case: Case, name: str, found: np.ndarray, wanted: np.ndarray, image: int, parameters: int, is_traced: bool
) -> str:
    if found.shape != wanted.shape:
        return f"{name} has shape {found.shape} instead of {wanted.shape}"
    if "voxels" in name and found.dtype != wanted.dtype:
        return f"{name} is {found.dtype} instead of {wanted.dtype}"
    samples = samples_of(case, image, parameters) if "voxels" in name else None
    a, b = (np.asarray(x).astype(np.float64) for x in (found, wanted))
    allowed = np.broadcast_to(_allowed(case, name, b, image, is_traced), b.shape)
    if samples is not None:
        is_free = np.broadcast_to(samples.is_free.reshape(samples.is_free.shape + (1,) * (b.ndim - 3)), b.shape)
        allowed = np.where(is_free, np.inf, allowed)
    with np.errstate(invalid="ignore"):
        is_same = (np.abs(a - b) <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b))
    if is_same.all():
        return ""
    first = tuple(int(n) for n in np.argwhere(~is_same)[0])
    with np.errstate(invalid="ignore"):
        largest = np.nanmax(np.abs(a - b))
    where = f", sampled at {samples.index[first[:3]].tolist()}" if samples is not None else ""
    return (
        f"{name} differs in {(~is_same).sum()} of {b.size}, by up to {largest:.4g}, first at {first}: "
        f"{found[first]} instead of {wanted[first]} (allowed {allowed[first]:.2g}){where}"
    )


def _allowed(case: Case, name: str, wanted: np.ndarray, image: int, is_traced: bool) -> Any:
    """The bound on a difference, from float32's epsilon, the numbers' size and how steep the voxels are."""
    operation, given = case.operation, case.images[image]
    largest = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0))
    if "voxels" not in name:
        # Positions in the world carry the rounding of the origin.
        world = np.abs(given.affine).max() + np.abs(given.affine[:3, :3] @ given.shape).max()
        return EPS * operation.rounding * max(largest, world if is_traced else 0) if wanted.dtype.kind == "f" else 0.0
    if operation.is_exact or given.kind == "label" or (operation.points is not None and case.order == 0):
        return 0.0
    if operation.points is None:
        return EPS * operation.rounding * largest
    values = np.asarray(given.voxels, np.float64)
    steps = sum(np.abs(np.diff(values, axis=d)).max(initial=0) for d in range(3))
    steep = STEEPNESS[case.order] * steps * position_error(case, image, is_traced)
    return steep + EPS * operation.rounding * np.abs(values).max() * (8 if case.order > 1 else 1)
