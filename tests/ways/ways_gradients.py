"""One gradient of every differentiable operation, however it is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ways_cases import Case
from ways_compare import EPS, STEEPNESS, position_error, samples_of

Losses = Callable[..., tuple[Any, Any]]


def gradient_problems(case: Case) -> list[str]:
    """Takes the gradient of a random sum of a result in each way; says where value or gradient are another's.

    Samples that may fall on either side of a tie or a face do not count; for gradients in the parameters those at a kink,
    where an interpolated image has two slopes, neither.
    """
    image, parameters = case.images[0], case.parameters[0]
    slopes = {name: jnp.asarray(parameters[name], jnp.float32) for name in case.operation.slopes or ()}
    wanted = next(value for name, value in case.reference(0, 0).items() if name != "affine")
    weights, smooth = _weights(case, wanted)

    def gradients(voxels: Any, slopes: Any, image: Any, parameters: Any) -> Any:
        def loss(voxels: Any, slopes: Any, weights: Any) -> Any:
            result = case.call(image.with_voxels(voxels), {**parameters, **slopes})
            (out,) = (value for name, value in result.items() if name != "affine")
            return jnp.sum(out * weights)

        value, in_voxels = jax.value_and_grad(loss)(voxels, slopes, weights)
        in_slopes = jax.grad(loss, argnums=1)(voxels, slopes, smooth) if slopes else {}
        return {"value": value, "gradient in the voxels": in_voxels, **{f"in {k}": v for k, v in in_slopes.items()}}

    voxels = jnp.asarray(image.voxels)
    first = gradients(voxels, slopes, image, parameters)
    ways = {"jit_closed_over": lambda: jax.jit(lambda v, s: gradients(v, s, image, parameters))(voxels, slopes)}
    if "affine" not in case.operation.refused:
        given = {n: value for n, value in parameters.items() if n not in slopes}
        ways["jit_image"] = lambda: jax.jit(gradients)(voxels, slopes, image, given)

    said = []
    steep = STEEPNESS[case.order] if case.operation.points else 0.0
    off = position_error(case, 0, is_traced=True) * steep
    size = float(np.abs(weights).sum())
    value = float((weights * wanted).sum())
    bound = size * (EPS * case.operation.rounding * np.abs(wanted).max() + off * 3 * np.ptp(image.voxels))
    if abs(float(first["value"]) - value) > bound:
        said.append(f"eager: value {first['value']} instead of {value} (allowed {bound:.2g})")
    if case.operation.is_linear:
        step = np.random.default_rng(case.seed).normal(size=voxels.shape).astype(np.float32) * 10
        moved = case.call(image.with_voxels(image.voxels + step), parameters)
        (out,) = (np.asarray(value) for name, value in moved.items() if name != "affine")
        rise, told = (
            float((weights * (out - wanted)).sum()),
            float((np.asarray(first["gradient in the voxels"]) * step).sum()),
        )
        if abs(rise - told) > 2 * bound + size * off * 120:
            said.append(f"eager: the gradient tells a rise of {told}, which is {rise} (allowed {2 * bound:.2g})")
    for name, way in ways.items():
        try:
            found = way()
        except Exception as error:  # noqa: BLE001
            said.append(f"{name}: raises {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            continue
        for part, known in first.items():
            allowed = bound if part == "value" else _allowed(case, part, np.asarray(known), off)
            apart = float(np.abs(np.asarray(found[part]) - np.asarray(known)).max(initial=0))
            if not apart <= allowed:
                said.append(f"{name}: {part} differs by up to {apart:.4g} (allowed {allowed:.2g})")
    return said


def _weights(case: Case, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights = np.random.default_rng(case.seed).normal(size=wanted.shape).astype(np.float32)
    samples = samples_of(case, 0, 0)
    if samples is None:
        return weights, weights
    masks = (~part.reshape(part.shape + (1,) * (wanted.ndim - 3)) for part in (samples.is_free, samples.is_kink))
    free, smooth = (np.where(mask, weights, np.float32(0)) for mask in masks)
    return free, smooth


def _allowed(case: Case, part: str, known: np.ndarray, off: float) -> float:
    """A sample that lies off by some voxels weighs its neighbours otherwise; slopes are sums over all samples."""
    largest = max(1.0, float(np.abs(known).max(initial=0)))
    return largest * (EPS * case.operation.rounding * 8 + (16 * off if "voxels" in part else 1e-3))
