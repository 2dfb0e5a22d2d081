"""The operations behind the steps of augmentation, all in one table: formula, neutral parameters, batches, dtypes, gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from applier_cases import APPLIERS, SHAPE, Applier, Parameters, image_of
from jax.test_util import check_grads

import medjax as mj

EPS = float(np.finfo(np.float32).eps)
NAMES = pytest.mark.parametrize("name", APPLIERS)
EXACT = [name for name, applier in APPLIERS.items() if applier.formula]


def near(found: Any, wanted: Any, applier: Applier, scale: float | None = None) -> None:
    bound = EPS * applier.rounding * (np.abs(wanted).max() if scale is None else scale)
    np.testing.assert_allclose(np.asarray(found, np.float64), wanted, rtol=0, atol=bound)


def each_its_own(applier: Applier, number: int) -> Parameters:
    """Parameters of an item: other numbers, on the same side of every rounding, and another key."""

    def other(name: str, value: Any) -> Any:
        if name == "key":
            return value + np.uint32(number)
        if name in ("first", "second"):
            return value[..., ::-1, :] if number == 1 else value
        return value if name in ("count", "invert", "times", "size") else np.asarray(value) * (1 - 0.03 * number)

    return {name: other(name, value) for name, value in applier.parameters.items()}


@pytest.mark.parametrize("name", EXACT)
def test_the_formula_in_float64(name: str) -> None:
    applier = APPLIERS[name]
    assert applier.formula
    for shape in (SHAPE, (6, 7, 1)) if name not in ("ghosting", "motion") else (SHAPE,):
        image = image_of(1, shape)
        out = applier.call(image, applier.parameters)
        near(out.voxels, applier.formula(np.asarray(image.voxels, np.float64), applier.parameters), applier)
        assert np.abs(np.asarray(out.voxels) - image.voxels).max() > 0.1
        assert (out.metadata, out.kind, out.dtype) == (image.metadata, "intensity", np.float32)
        np.testing.assert_array_equal(out.affine, image.affine)


@NAMES
def test_what_does_nothing_keeps_the_bits(name: str) -> None:
    applier = APPLIERS[name]
    image = image_of(2, dtype=np.int16)
    out = applier.call(image, applier.parameters | applier.neutral)
    np.testing.assert_array_equal(out.voxels, image.voxels.astype(np.float32))
    assert (np.asarray(applier.call(image, applier.parameters).voxels) != image.voxels).mean() > 0.1
    # beside an item that changes
    neutral = applier.parameters | applier.neutral
    both = {n: np.stack([v, neutral[n]]) for n, v in applier.parameters.items()}
    images = mj.stack([image, image_of(3, dtype=np.int16)])
    np.testing.assert_array_equal(applier.call(images, both).voxels[1], images.voxels[1].astype(np.float32))


@NAMES
def test_batch_equals_items_equals_vmap(name: str) -> None:
    applier = APPLIERS[name]
    images = [image_of(n) for n in range(3)]
    own = [each_its_own(applier, n) for n in range(3)]
    alone = [np.asarray(applier.call(image, p).voxels) for image, p in zip(images, own, strict=True)]
    stacked, together = mj.stack(images), {n: np.stack([p[n] for p in own]) for n in own[0]}
    batch = applier.call(stacked, together)
    mapped = jax.vmap(applier.call)(stacked, together)
    assert batch.metadata == stacked.metadata
    for n, wanted in enumerate(alone):
        for found in (batch.voxels[n], mapped.voxels[n]):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * EPS * np.ptp(images[n].voxels) * 8)
    assert np.abs(alone[1] - alone[0]).max() > 1  # the items differ, so that a swap would show


@pytest.mark.parametrize("name", sorted(set(APPLIERS) - {"motion", "swap_boxes"}))  # their channels move together
def test_parameters_per_channel(name: str) -> None:
    applier = APPLIERS[name]
    voxels = np.stack([image_of(n).voxels for n in range(2)], -1)
    image = image_of(0).with_voxels(voxels)
    own = [each_its_own(applier, n) for n in range(2)]
    together = {n: own[0][n] if n == "key" else np.stack([p[n] for p in own]) for n in own[0]}
    out = applier.call(image, together).voxels
    if "key" in applier.parameters:
        assert not np.allclose(out[..., 0] - voxels[..., 0], out[..., 1] - voxels[..., 1], atol=0.1)
        return
    for n in range(2):
        wanted = applier.call(image.with_voxels(voxels[..., n]), own[n]).voxels
        np.testing.assert_allclose(out[..., n], wanted, rtol=0, atol=32 * EPS * np.ptp(voxels))


@NAMES
def test_half_precision_is_computed_in_float32(name: str) -> None:
    applier = APPLIERS[name]
    dtype = (np.float16, jnp.bfloat16)[len(name) % 2]
    image = image_of(4, dtype=dtype)
    out = applier.call(image, applier.parameters).voxels
    assert out.dtype == (dtype if name == "swap_boxes" else np.float32)  # which moves voxels
    wide = applier.call(image.with_voxels(image.voxels.astype(np.float32)), applier.parameters).voxels
    np.testing.assert_allclose(np.asarray(out, np.float32), wide, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", sorted(set(APPLIERS) - {"poisson_noise"}))  # whose derivative is that of the mean
def test_gradients_are_difference_quotients(name: str) -> None:
    applier = APPLIERS[name]
    with jax.enable_x64(True):
        image = image_of(5, dtype=np.float64)
        traced = {n: jnp.asarray(applier.parameters[n], np.float64) for n in applier.slopes}

        def call(voxels: Any, traced: Any) -> Any:
            return applier.call(image.with_voxels(voxels), applier.parameters | traced).voxels

        check_grads(
            jax.jit(call), (jnp.asarray(image.voxels), traced), order=1, modes=["rev"], atol=1e-4, rtol=1e-4, eps=1e-5
        )


@NAMES
def test_labels_are_refused_by_name(name: str) -> None:
    labels = mj.Image.from_array(np.ones(SHAPE, np.uint8), kind="label")
    with pytest.raises(ValueError, match=f"{name.partition(',')[0]} takes intensities"):
        APPLIERS[name].call(labels, APPLIERS[name].parameters)


@NAMES
def test_changed_parameters_compile_nothing(name: str, compilations: Any) -> None:
    applier = APPLIERS[name]
    image = image_of(6)
    call = jax.jit(applier.call)
    call(image, each_its_own(applier, 1))
    with compilations:
        call(image, each_its_own(applier, 2))
    assert compilations.count == 0
