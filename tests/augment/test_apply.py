"""Draws applied: one result in every way, replayed to the bit, one program for all draws and ranges."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augment_cases import batch, item_of, keys_of, labelled, recipe, scan

import medjax as mj
from medjax import augment

IMAGES, KEYS = batch(), keys_of()
RANGE = float(np.ptp(np.asarray(IMAGES["ct"].voxels)))


@pytest.fixture(scope="module")
def drawn() -> tuple[augment.Draw, dict[str, mj.Image]]:
    draw = recipe().sample(KEYS, IMAGES)
    return draw, augment.apply(draw, IMAGES)


def assert_alike(one: dict[str, mj.Image], other: dict[str, mj.Image]) -> None:
    """Voxels to 1e-6 of the range: a compiler may contract sums otherwise; labels the same but at near ties."""
    np.testing.assert_allclose(one["ct"].voxels, other["ct"].voxels, atol=2e-6 * RANGE)
    assert np.mean(np.asarray(one["seg"].voxels) != np.asarray(other["seg"].voxels)) < 1e-3


def test_every_way_gives_one_result(drawn: Any) -> None:
    draw, out = drawn
    made = recipe()
    np.testing.assert_array_equal(made(KEYS, IMAGES)["ct"].voxels, out["ct"].voxels)
    assert_alike(jax.vmap(made)(KEYS, IMAGES), out)
    assert_alike(jax.jit(lambda made, keys, images: made(keys, images))(made, KEYS, IMAGES), out)
    assert_alike(jax.vmap(augment.apply)(draw, IMAGES), out)
    for number in range(8):
        one = made(KEYS[number], item_of(IMAGES, number))
        assert_alike(one, item_of(out, number))


def test_something_happened(drawn: Any) -> None:
    draw, out = drawn
    was = np.asarray(IMAGES["ct"].voxels)
    applied = np.stack([np.asarray(draw.values[name]["applied"]) for name in ("mirror", "affine", "elastic")])
    applied = np.concatenate(
        [applied, [np.asarray(draw.values[n]["ct"]["applied"]) for n in ("gamma", "gaussian_noise")]]
    )
    changes = (np.asarray(out["ct"].voxels) != was).any((1, 2, 3))
    np.testing.assert_array_equal(changes, applied.any(0))
    assert (np.asarray(out["seg"].voxels) != np.asarray(IMAGES["seg"].voxels)).any()


def test_replay_is_exact(drawn: Any) -> None:
    draw, out = drawn
    for again in (draw, augment.Draw.from_json(draw.to_json())):
        replayed = augment.apply(again, IMAGES)
        for name in ("ct", "seg"):
            np.testing.assert_array_equal(replayed[name].voxels, out[name].voxels)


def test_result_keeps_kind_dtype_geometry_and_metadata(drawn: Any) -> None:
    _, out = drawn
    assert (out["ct"].dtype, out["seg"].dtype) == (np.float32, np.uint8)
    for name in ("ct", "seg"):
        assert out[name].affine is IMAGES[name].affine
        assert (out[name].kind, out[name].metadata) == (IMAGES[name].kind, IMAGES[name].metadata)


def test_an_image_alone_comes_back_alone() -> None:
    out = augment.gamma(p=1)(KEYS[0], scan())
    assert isinstance(out, mj.Image)
    wanted = augment.gamma(p=1)(KEYS[0], {"image": scan()})["image"]
    np.testing.assert_array_equal(out.voxels, wanted.voxels)


def test_one_program_for_all_draws_and_ranges() -> None:
    """Traces are counted: the recipe, keys and images are arguments of `jit`."""
    traces = 0

    def run(made: augment.Step, keys: jax.Array, images: Any) -> Any:
        nonlocal traces
        traces += 1
        return made(keys, images)["ct"].voxels

    jitted, found = jax.jit(run), []
    for number in range(100):
        made = recipe(rotation=(-number / 10, number), p=number / 100)
        found.append(float(jitted(made, keys_of(seed=number), IMAGES).sum()))
    assert traces == 1
    assert len(set(found)) == 100


def test_eager_calls_compile_once(compilations: Any) -> None:
    recipe()(KEYS, IMAGES)
    augment.apply(recipe().sample(KEYS, IMAGES), IMAGES)
    with compilations:
        for number in range(5):
            made = recipe(rotation=number, p=number / 5)
            made(keys_of(seed=number), IMAGES)
            augment.apply(made.sample(keys_of(seed=number), IMAGES), IMAGES)
    assert compilations.count <= 2  # keys of an eager seed, not ours


def test_ranges_may_be_traced_and_have_gradients() -> None:
    image = labelled(scan())

    def loss(width: jax.Array) -> jax.Array:
        made = augment.gamma(log_gamma=augment.uniform(0.0, width), retain_stats=False, p=1)
        return made(KEYS[0], image)["ct"].voxels.sum()

    slope = jax.grad(loss)(jnp.float32(0.3))
    change = (loss(jnp.float32(0.31)) - loss(jnp.float32(0.29))) / 0.02
    np.testing.assert_allclose(slope, change, rtol=2e-2)
    assert abs(float(slope)) > 0


def test_every_continuous_number_of_a_draw_has_its_gradient() -> None:
    made = augment.sequence(
        augment.affine(rotation=10), augment.elastic(), augment.gamma(p=1), augment.gaussian_noise(p=1)
    )
    place = np.stack(np.meshgrid(*map(np.arange, (13, 12, 11)), indexing="ij"), -1) - np.array([6.4, 5.2, 4.7])
    # It ends before the edge, so that nothing jumps where voxels leave the field of view.
    smooth = mj.Image.from_array((100 * np.exp(-(place**2).sum(-1) / 6)).astype(np.float32))
    draw = made.sample(KEYS[1], smooth)
    names = {"affine": ["rotation", "scale", "shear", "translation"], "elastic": ["control", "amount"]}

    def loss(values: Any) -> jax.Array:
        used = {name: dict(draw.values[name]) for name in draw.values}
        for name in names:
            used[name] |= values[name]
        used["gamma"] = {"image": draw.values["gamma"]["image"] | {"log_gamma": values["gamma"]}}
        moved = augment.Draw(draw.key, used, draw.entries, draw.settings)
        return (augment.apply(moved, smooth).voxels[2:-2, 2:-2, 2:-2] ** 2).mean()

    values = {name: {part: draw.values[name][part] for part in parts} for name, parts in names.items()}
    values["gamma"] = draw.values["gamma"]["image"]["log_gamma"]
    slopes = jax.jit(jax.grad(loss))(values)
    jitted = jax.jit(loss)
    assert all(np.isfinite(x).all() and np.any(np.asarray(x) != 0) for x in jax.tree.leaves(slopes))
    for where in (("affine", "rotation"), ("elastic", "amount"), ("gamma",)):

        def at(step: float, where: tuple[str, ...] = where) -> Any:
            def changed(path: Any, x: Any) -> Any:
                return x + step if tuple(key.key for key in path) == where else x

            return jax.tree_util.tree_map_with_path(changed, values)

        wide = 0.2 if where == ("affine", "rotation") else 0.01
        numerical = (jitted(at(wide)) - jitted(at(-wide))) / (2 * wide)
        slope = slopes[where[0]] if len(where) == 1 else slopes[where[0]][where[1]].sum()
        np.testing.assert_allclose(slope, numerical, rtol=0.1, atol=1e-3 * abs(float(numerical)))


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float16, jnp.bfloat16, np.float64, np.int64])
def test_voxels_of_any_dtype(dtype: Any) -> None:
    """Items that draw nothing come back as they were, to the bit; others are computed in float32."""
    voxels = np.arange(9 * 8 * 7).reshape(9, 8, 7) % 100
    image = mj.Image.from_array(np.asarray(voxels).astype(dtype), spacing=2.0)
    labels = mj.Image.from_array(
        np.asarray(voxels % 3).astype(dtype if np.dtype(dtype).kind in "iu" else np.int8), kind="label"
    )
    for p in (0, 1):
        made = augment.sequence(augment.affine(p=p), augment.gamma(p=p))
        out = made(KEYS[0], {"a": image, "b": labels})
        assert (out["a"].dtype, out["b"].dtype) == (np.float32, labels.dtype)
        is_same = np.array_equal(np.asarray(out["a"].voxels), np.asarray(image.voxels).astype(np.float32))
        assert is_same == (p == 0)
        assert np.array_equal(out["b"].voxels, labels.voxels) == (p == 0)


def test_nothing_drawn_keeps_nan_and_infinity() -> None:
    voxels = np.asarray(scan().voxels).copy()
    voxels[2, 3, 4], voxels[0, 0, 0], voxels[8, 7, 6] = np.nan, np.inf, -0.0
    made = augment.sequence(augment.mirror(p=0), augment.affine(p=0), augment.elastic(p=0), augment.gamma(p=0))
    result = np.asarray(made(KEYS[0], scan().with_voxels(voxels)).voxels)
    np.testing.assert_array_equal(result.view(np.uint32), voxels.view(np.uint32))


def test_views() -> None:
    made = augment.repeat(3, augment.mirror(), augment.affine())
    out = made(KEYS[:2], {name: mj.stack(mj.unstack(image)[:2]) for name, image in IMAGES.items()})
    assert (out["ct"].batch_shape, out["seg"].batch_shape) == ((3, 2), (3, 2))
    single = augment.sequence(augment.mirror(), augment.affine())
    for view in range(3):
        key = jax.random.fold_in(KEYS[1], view)
        wanted = single(key, item_of(IMAGES, 1))
        np.testing.assert_allclose(out["ct"].voxels[view, 1], wanted["ct"].voxels, atol=2e-6 * RANGE)
    assert np.any(np.asarray(out["ct"].voxels[0]) != np.asarray(out["ct"].voxels[1]))


def test_a_recipe_goes_through_tree_functions() -> None:
    made = recipe()
    leaves, structure = jax.tree.flatten(made)
    again = jax.tree.unflatten(structure, leaves)
    assert again.describe() == made.describe()
    harder = jax.tree.map(lambda x: 2 * x, augment.affine(rotation=5, scale=1))
    assert "rotation uniform -10 to 10" in harder.describe()
    assert structure != jax.tree.structure(augment.gamma())  # type: ignore[operator]
