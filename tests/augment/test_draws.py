"""Draws: the same for an item in every way to draw it, exact in JSON, independent of other steps."""

from __future__ import annotations

import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augment_cases import assert_same_draw, batch, item_of, keys_of, labelled, recipe, scan, values_of
from scipy import stats

import medjax as mj
from medjax import augment

IMAGES, KEYS = batch(), keys_of()


@pytest.fixture(scope="module")
def draw() -> augment.Draw:
    return recipe().sample(KEYS, IMAGES)


def test_items_draw_the_same_alone_in_a_batch_under_vmap_and_in_a_loop(draw: augment.Draw) -> None:
    made = recipe()
    for number in range(8):
        assert_same_draw(made.sample(KEYS[number], item_of(IMAGES, number)), draw[number])
    assert_same_draw(jax.vmap(made.sample)(KEYS, IMAGES), draw)
    assert_same_draw(jax.jit(made.sample)(KEYS, IMAGES), draw)
    assert_same_draw(jax.lax.map(lambda operands: made.sample(*operands), (KEYS, IMAGES)), draw)
    few = {name: mj.stack(mj.unstack(image)[2:5]) for name, image in IMAGES.items()}
    assert_same_draw(made.sample(KEYS[2:5], few), draw[2:5])


def test_items_differ(draw: augment.Draw) -> None:
    for name in ("rotation", "scale"):
        assert len(np.unique(np.asarray(draw.values["affine"][name]))) == 24
    control = np.asarray(draw.values["elastic"]["control"])
    assert len(np.unique(control)) == 8 * 81 + 1  # three free points an axis, and the locked ones


def test_one_key_is_folded_for_each_item() -> None:
    one = recipe().sample(jax.random.key(5), IMAGES)
    keys = jnp.stack([jax.random.fold_in(jax.random.key(5), i) for i in range(8)])
    assert_same_draw(one, recipe().sample(keys, IMAGES))


def test_keys_are_folded_from_names(draw: augment.Draw) -> None:
    """fold_in(item_key, crc32(name of the step)), then the image's name for intensities, as the specification says."""
    key = KEYS[3]
    for name in ("gaussian_noise", "ct", "key"):
        key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    found = draw.values["gaussian_noise"]["ct"]["key"]
    np.testing.assert_array_equal(found[3], jax.random.key_data(key))


def test_item_keys_are_those_of_seed_and_number() -> None:
    wanted = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), 5)
    np.testing.assert_array_equal(jax.random.key_data(keys_of()[5]), jax.random.key_data(wanted))
    far = augment.item_keys(3, 2**31 + 7)
    wanted = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 1), 7)
    np.testing.assert_array_equal(jax.random.key_data(far), jax.random.key_data(wanted))
    with pytest.raises(ValueError, match="index must be integers from 0, got -1"):
        augment.item_keys(0, -1)


def test_a_step_more_changes_no_other_draw(draw: augment.Draw) -> None:
    more = recipe(more=(augment.contrast(p=1), augment.blur(p=1))).sample(KEYS, IMAGES)
    for name in draw.values:
        for (where, a), (_, b) in zip(_leaves(draw.values[name]), _leaves(more.values[name]), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name + where)
    named = augment.sequence(augment.gamma(name="a"), augment.gamma(name="b")).sample(KEYS, IMAGES)
    three = augment.sequence(augment.gamma(name="c"), augment.gamma(name="b"), augment.gamma(name="a"))
    for name in ("a", "b"):
        np.testing.assert_array_equal(
            named.values[name]["ct"]["log_gamma"], three.sample(KEYS, IMAGES).values[name]["ct"]["log_gamma"]
        )


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), np.asarray(x)) for path, x in jax.tree_util.tree_leaves_with_path(tree)]


def test_steps_of_one_class_are_numbered_and_differ() -> None:
    found = augment.sequence(augment.gamma(), augment.gamma()).sample(KEYS, IMAGES)
    assert [entry.name for entry in found.entries] == ["gamma", "gamma_2"]
    one, other = (found.values[name]["ct"]["log_gamma"] for name in ("gamma", "gamma_2"))
    assert not np.any(np.asarray(one) == np.asarray(other))
    with pytest.raises(ValueError, match="two steps have the name 'gamma'"):
        augment.sequence(augment.gamma(name="gamma"), augment.gamma()).sample(KEYS, IMAGES)


def test_images_draw_apart_unless_shared() -> None:
    images = {"ct": scan(1), "pet": scan(2)}
    apart = augment.gamma(p=1).sample(KEYS[0], images).values["gamma"]
    assert float(apart["ct"]["log_gamma"]) != float(apart["pet"]["log_gamma"])
    alike = augment.gamma(p=1, shared=True).sample(KEYS[0], images).values["gamma"]
    assert float(alike["ct"]["log_gamma"]) == float(alike["pet"]["log_gamma"])
    assert set(augment.gamma(only="pet").sample(KEYS[0], images).values["gamma"]) == {"pet"}
    assert set(augment.gamma(skip="pet").sample(KEYS[0], images).values["gamma"]) == {"ct"}
    assert set(augment.gamma().sample(KEYS[0], labelled(scan())).values["gamma"]) == {"ct"}


def test_channels_draw_apart_where_asked() -> None:
    image = scan(0, (9, 8, 7, 4))
    found = augment.gamma(p=1, per_channel=0.5).sample(keys_of(1)[0], image).values["gamma"]["image"]
    assert found["log_gamma"].shape == found["applied"].shape == (4,)
    assert len(np.unique(np.asarray(found["log_gamma"]))) == 4
    assert augment.gamma(p=1).sample(keys_of(1)[0], image).values["gamma"]["image"]["log_gamma"].shape == ()
    none = augment.gamma(p=0, per_channel=1).sample(keys_of(1)[0], image).values["gamma"]["image"]
    assert not np.any(none["applied"])


def test_json_is_exact(draw: augment.Draw) -> None:
    text = draw.to_json()
    back = augment.Draw.from_json(text)
    assert_same_draw(back, draw)
    assert back.to_json() == text
    assert json.loads(text)["steps"][1]["step"] == "affine"
    changed = json.loads(text)
    changed["steps"][1]["values"]["rotation"]["numbers"][0] = (1.0).hex()
    assert augment.Draw.from_json(json.dumps(changed)) != draw


UNKNOWN = json.dumps(
    {
        "format": "medjax.augment.Draw 1",
        "key": {"dtype": "uint32", "shape": [2], "numbers": [0, 1]},
        "settings": {},
        "steps": [{"name": "a", "step": "no_such_step", "options": {}, "values": {}}],
    }
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "nor any JSON"),
        ("[]", "no draw of medjax.augment"),
        ('{"format": "medjax.augment.Draw 1"}', "damaged draw"),
        (UNKNOWN, "a step 'no_such_step', which is not known"),
    ],
)
def test_json_that_is_no_draw(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        augment.Draw.from_json(text)


def test_draws_of_other_keys_are_not_equal(draw: augment.Draw) -> None:
    assert recipe().sample(keys_of(seed=4), IMAGES) != draw
    assert draw != 3
    assert len(values_of(draw)) == len(jax.tree.leaves(draw))


def test_words(draw: augment.Draw) -> None:
    lines = repr(draw).splitlines()
    assert lines[0] == "item 0"
    assert len(lines) == 8 * 6
    fixed = augment.sequence(
        augment.affine(rotation=augment.fixed((0, 0, 5)), scale=1), augment.gamma(log_gamma=0.1, p=1)
    )
    assert repr(fixed.sample(KEYS[0], item_of(IMAGES, 0))).splitlines() == [
        "affine: rotation (0, 0, 5) degrees, scale (1, 1, 1), shear (0, 0, 0), translation (0, 0, 0) mm",
        "gamma of ct: log_gamma 0.1, invert false",
    ]
    described = recipe().describe().splitlines()
    assert described[0] == "mirror: p 0.5"
    assert described[1].startswith("affine: rotation uniform -10 to 10 degrees, scale log_uniform 0.9 to 1.1, shear")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (jax.random.key(0, impl="rbg"), "'rbg'"),
        (np.zeros(2, np.uint32), "jax.random.key"),
        (jax.random.PRNGKey(0), "wrap_key_data"),
        (KEYS[:3], r"\(8,\)"),
    ],
    ids=["rbg", "NumPy", "raw", "number"],
)
@pytest.mark.usefixtures("unchecked")
def test_keys_that_are_none(keys: Any, message: str) -> None:
    for call in (recipe().sample, recipe()):
        with pytest.raises(ValueError, match=message):
            call(keys, IMAGES)


# --- What is drawn ---------------------------------------------------------------------------------------------------

MANY = augment.item_keys(11, np.arange(4000))
TINY = mj.Image(np.ones((4000, 1, 1, 1), np.float32), np.broadcast_to(np.eye(4), (4000, 4, 4)))


@pytest.fixture(scope="module")
def many() -> augment.Draw:
    steps = [
        augment.affine(rotation=10, scale=(0.5, 2.0), shear=augment.normal(1, 2), translation=(0, 4), p=0.3),
        augment.gamma(log_gamma=augment.choice([1, 2, 4], weights=[2, 1, 1]), p=1),
        augment.one_of(augment.contrast(p=1), augment.blur(p=1), weights=[3, 1]),
        augment.some_of(augment.brightness(p=1), augment.sharpen(p=1), augment.bias_field(order=1, p=1), count=(1, 3)),
    ]
    return augment.sequence(*steps).sample(MANY, TINY)


def test_distributions_are_those_asked_for(many: augment.Draw) -> None:
    """Kolmogorov and Smirnov, at a level of 0.1 %: fixed keys, so that the test always says the same."""
    found = jax.tree.map(np.asarray, many.values["affine"])
    wanted = {
        "rotation": stats.uniform(-10, 20),
        "scale": stats.loguniform(0.5, 2),
        "shear": stats.norm(1, 2),
        "translation": stats.uniform(0, 4),
    }
    for name, distribution in wanted.items():
        for axis in range(3):
            assert stats.kstest(found[name][:, axis], distribution.cdf).pvalue > 1e-3, name
            others = found[name][:, (axis + 1) % 3]
            assert abs(np.corrcoef(found[name][:, axis], others)[0, 1]) < 0.06
    assert abs(found["applied"].mean() - 0.3) < 0.025  # 3.4 standard deviations
    assert abs(np.corrcoef(found["applied"], found["rotation"][:, 0])[0, 1]) < 0.06


def test_choices_follow_their_weights(many: augment.Draw) -> None:
    found = np.asarray(many.values["gamma"]["image"]["log_gamma"])
    shares = [(found == value).mean() for value in (1, 2, 4)]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=0.03)
    applied = [np.asarray(many.values[name]["image"]["applied"]) for name in ("contrast", "blur")]
    assert (applied[0] ^ applied[1]).all()
    assert abs(applied[0].mean() - 0.75) < 0.03


def test_some_are_subsets_of_every_size(many: augment.Draw) -> None:
    names = ("brightness", "sharpen", "bias_field")
    applied = np.stack([np.asarray(many.values[name]["image"]["applied"]) for name in names], -1)
    np.testing.assert_allclose([(applied.sum(-1) == n).mean() for n in range(4)], [0, 1 / 3, 1 / 3, 1 / 3], atol=0.03)
    np.testing.assert_allclose(applied.mean(0), [2 / 3] * 3, atol=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: augment.gamma(p=1.5), "p must be a probability, one number from 0 to 1, got 1.5"),
        (lambda: augment.gamma(p_invert=-1), "p_invert must be a probability"),
        (lambda: augment.gamma(log_gamma=(1, 0)), r"log_gamma must rise from low to high, got \(1, 0\)"),
        (lambda: augment.gamma(log_gamma="a"), "log_gamma must be a number"),  # type: ignore[arg-type]
        (lambda: augment.gaussian_noise(std=(-1, 1)), "std must be at least 0"),
        (lambda: augment.gaussian_noise(relative="mean"), "relative must be 'std' or 'max', got 'mean'"),  # type: ignore[arg-type]
        (lambda: augment.affine(scale=(0, 1)), "scale must be above 0"),
        (lambda: augment.affine(rotation=(1, 2, 3, 4)), "rotation must be a number, .low, high., or 3 numbers"),
        (lambda: augment.mirror(axes="X"), "axes must be letters of R/L, A/P, I/S"),
        (lambda: augment.mirror(swap_labels=((1, 2, 3),)), "swap_labels must be pairs"),
        (lambda: augment.elastic(points=3), "points must be one integer or three, at least 4"),
        (lambda: augment.elastic(lock=4), "lock must leave a control point free: from 0 to 3, got 4"),
        (lambda: augment.rotate90(planes=((0, 0),)), "planes must be pairs of index axes"),
        (lambda: augment.one_of(), "one_of takes at least one step"),
        (lambda: augment.one_of(augment.gamma(), weights=[1, 2]), "weights must be 1 numbers"),
        (lambda: augment.choice([1, 2], weights=[0, 0]), "weights must not be negative, nor all 0"),
        (lambda: augment.normal(0, -1), "std must not be negative"),
        (lambda: augment.sequence(3), "sequence takes steps, got int"),  # type: ignore[arg-type]
        (lambda: augment.sequence(augment.repeat(2, augment.gamma())), "repeat holds a whole recipe"),
        (lambda: augment.sequence(augment.mirror(), label_mode="vote"), "num_classes must be an integer"),
        (lambda: augment.repeat(0, augment.gamma()), "count must be at least 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.usefixtures("unchecked")
def test_wrong_images_are_named() -> None:
    made = recipe()
    with pytest.raises(ValueError, match=r"images must be an Image.*Image\.from_array"):
        made(KEYS[0], np.ones((3, 3, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="images are empty"):
        made(KEYS[0], {})
    with pytest.raises(ValueError, match="all images must have one batch shape"):
        made(KEYS[0], {"a": scan(), "b": IMAGES["ct"]})
    with pytest.raises(ValueError, match=r"gamma: only=\['mr'\] are none of the images \['ct', 'seg'\]"):
        augment.gamma(only="mr").sample(KEYS[0], labelled(scan()))
    with pytest.raises(ValueError, match=r"reference='mr' is none of the images \['ct', 'seg'\]"):
        augment.sequence(augment.affine(), reference="mr").sample(KEYS[0], labelled(scan()))
    one = made.sample(KEYS[0], labelled(scan()))
    with pytest.raises(ValueError, match=r"the draw is for a batch of shape \(\), the images have \(8,\)"):
        augment.apply(one, IMAGES)
    with pytest.raises(ValueError, match="reference='ct' is none of the images"):
        augment.apply(one, {"mr": scan()})
    with pytest.raises(ValueError, match=r"draw must be a Draw, as step\.sample returns it, got dict"):
        augment.apply({}, scan())  # type: ignore[arg-type]
