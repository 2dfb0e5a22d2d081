"""Where boxes are drawn: frequencies by chi-square, every voxel reached, and what peers get wrong."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

import medjax as mj

MANY = 4000


def keys(count: int, seed: int = 0) -> Any:
    return jax.vmap(lambda n: jax.random.fold_in(jax.random.key(seed), n))(jnp.arange(count))


def check_frequencies(found: Any, shares: Any) -> None:
    """Pearson's test at one in a million: the draws are seeded, so it fails always or never."""
    found, shares = np.asarray(found, np.float64), np.asarray(shares, np.float64)
    assert found[shares == 0].sum() == 0
    expected = found.sum() * shares[shares > 0] / shares.sum()
    statistic = ((found[shares > 0] - expected) ** 2 / expected).sum()
    assert float(chi2.sf(statistic, len(expected) - 1)) > 1e-6, (found, expected)


def counts_of(starts: Any, room: tuple[int, ...]) -> np.ndarray:
    """How often each place was drawn."""
    return np.bincount(np.ravel_multi_index(np.asarray(starts).T, room), minlength=int(np.prod(room)))


LABEL = np.zeros((12, 10, 8), np.uint8)
LABEL[0, 0, 0] = 1
LABEL[3:6, 4:8, 2] = 2
LABEL[11, 9, 7] = 4
TABLE = mj.patch.class_table(mj.Image.from_array(LABEL, kind="label"))


# --- Uniform ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["host", "device"])
def test_uniform_draws_every_place_alike(way: str) -> None:
    size, extent = (3, 3, 5), (6, 4, 4)  # the last axis is shorter than the box
    if way == "host":
        rng = np.random.default_rng(3)
        starts = np.stack([mj.patch.uniform(rng, size, extent) for _ in range(MANY)])
    else:
        starts = mj.patch.uniform(keys(MANY), size, extent)
    assert (starts[:, 2] == 0).all()
    check_frequencies(counts_of(starts, (4, 2, 1)), np.ones(8))


def test_uniform_in_ragged_volumes_of_one_batch() -> None:
    """Extents are traced: one program, and each item is what it is alone."""
    extents = np.array([[6, 4, 4], [3, 9, 5], [1, 1, 1]])
    draw = jax.jit(lambda keys, extents: mj.patch.uniform(keys, 3, extents))
    starts = np.asarray(draw(keys(3), extents))
    assert (starts >= 0).all()
    assert (starts <= np.maximum(extents - 3, 0)).all()
    for key, extent, start in zip(keys(3), extents, starts, strict=True):
        np.testing.assert_array_equal(mj.patch.uniform(key, 3, extent), start)
    one = mj.patch.uniform(jax.random.key(0), 3, extents)  # fold_in(key, n) for item n
    np.testing.assert_array_equal(one, starts)


# --- By class --------------------------------------------------------------------------------------------------------


def test_table_lists_voxels_of_each_class_and_counts_all() -> None:
    rng = np.random.default_rng(5)
    label = rng.integers(-1, 4, (20, 30, 10)).astype(np.int16)
    table = mj.patch.class_table(mj.Image.from_array(label, kind="label"), limit=200, seed=3)
    assert list(table.voxels) == [1, 2, 3]
    for name, rows in table.voxels.items():
        assert (rows.dtype, rows.shape) == (np.uint16, (200, 3))
        assert len(np.unique(rows, axis=0)) == 200, "without replacement"
        assert (label[tuple(rows.T)] == name).all()
        assert table.counts[name] == (label == name).sum()
        check_frequencies(np.histogram(rows[:, 0], bins=4, range=(0, 20))[0], np.ones(4))  # from the whole volume
    two = mj.patch.class_table(mj.Image.from_array(np.where(label == 2, 2, 0), kind="label"), limit=200, seed=3)
    np.testing.assert_array_equal(two.voxels[2], table.voxels[2])  # other classes change nothing


def test_table_of_few_voxels_of_chosen_labels_and_of_distant_ones() -> None:
    assert {name: len(rows) for name, rows in TABLE.voxels.items()} == {1: 1, 2: 12, 4: 1}
    image = mj.Image.from_array(np.array([7, 0, 900_000], np.int32).reshape(3, 1, 1), kind="label")
    table = mj.patch.class_table(image, labels=(0, 5, 900_000))
    assert {name: rows.tolist() for name, rows in table.voxels.items()} == {0: [[1, 0, 0]], 5: [], 900_000: [[2, 0, 0]]}
    assert table.counts == {0: 1, 5: 0, 900_000: 1}


def test_table_of_what_is_no_label_map() -> None:
    image = mj.Image.from_array(LABEL, kind="label")
    with pytest.raises(ValueError, match="label must be a label map, got intensities"):
        mj.patch.class_table(image.with_kind("intensity"))
    with pytest.raises(ValueError, match="make a table of each"):
        mj.patch.class_table(mj.stack([image, image]))
    with pytest.raises(ValueError, match=r"label is traced.*make it before jit"):
        jax.eval_shape(lambda image: mj.patch.class_table(image).counts, image)


@pytest.mark.parametrize("way", ["host", "device"])
def test_balanced_draws_classes_as_they_weigh(way: str) -> None:
    """Boxes of one voxel say whose voxel was drawn. Class 1 and 4 have one voxel, class 2 has twelve."""
    weights = {1: 1.0, 2: 2.0, 4: 5.0, 9: 100.0}  # 9 does not occur
    options: Any = {"foreground": 0.4, "weights": weights}
    if way == "host":
        rng = np.random.default_rng(6)
        starts = np.stack([mj.patch.balanced(rng, TABLE, 1, LABEL.shape, **options) for _ in range(MANY)])
    else:
        starts = np.asarray(mj.patch.balanced(keys(MANY), TABLE, 1, LABEL.shape, **options))
    anywhere = 0.6 * np.bincount(LABEL.ravel(), minlength=5) / LABEL.size
    shares = anywhere + 0.4 * np.array([0, 1, 2, 0, 5]) / 8
    check_frequencies(np.bincount(LABEL[tuple(starts.T)], minlength=5), shares)
    of_two = starts[LABEL[tuple(starts.T)] == 2] - (3, 4, 2)
    check_frequencies(counts_of(of_two, (3, 4, 1)), np.ones(12))


def test_box_lies_about_its_voxel_and_inside_at_both_ends() -> None:
    """nnU-Net clamps the low end alone, so that boxes about voxel (11, 9, 7) hang over."""
    size = (5, 4, 3)
    rng, ends = np.random.default_rng(7), {1: (0, 0, 0), 4: (7, 6, 5)}
    for name, start in ends.items():
        weights = {label: float(label == name) for label in TABLE.voxels}
        found = mj.patch.balanced(rng, TABLE, size, LABEL.shape, foreground=1, weights=weights)
        assert tuple(found) == start
        key = jax.random.key(name)
        assert tuple(mj.patch.balanced(key, TABLE, size, LABEL.shape, foreground=1, weights=weights)) == start
    only_two = {1: 0.0, 2: 1.0, 4: 0.0}
    start = mj.patch.balanced(rng, TABLE, size, LABEL.shape, foreground=1, weights=only_two)
    assert LABEL[tuple(start + np.array(size) // 2)] == 2  # in the middle where there is room


def test_place_in_the_batch_says_nothing_of_the_content() -> None:
    """nnU-Net forces foreground in the last third of each batch: position then predicts content."""
    batch = 6
    starts = mj.patch.balanced(keys(batch * 500).reshape(500, batch), TABLE, 1, LABEL.shape, foreground=0.33)
    is_class = LABEL[tuple(np.moveaxis(np.asarray(starts), -1, 0))] > 0
    share = 0.33 + 0.67 * (LABEL > 0).mean()
    for number in range(batch):
        hits = int(is_class[:, number].sum())
        check_frequencies([hits, 500 - hits], [share, 1 - share])


def test_without_a_class_boxes_lie_anywhere() -> None:
    nothing = mj.patch.class_table(mj.Image.from_array(np.zeros((6, 4, 4), np.uint8), kind="label"))
    rng = np.random.default_rng(8)
    starts = np.stack([mj.patch.balanced(rng, nothing, (3, 3, 4), (6, 4, 4), foreground=1) for _ in range(800)])
    check_frequencies(counts_of(starts, (4, 2, 1)), np.ones(8))
    assert mj.patch.balanced(jax.random.key(0), nothing, (3, 3, 4), (6, 4, 4), foreground=1).shape == (3,)


# --- By weight -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["host", "device"])
@pytest.mark.parametrize("scale", [1.0, 1e-33, 1e33])
def test_weighted_draws_voxels_as_they_weigh(way: str, scale: float) -> None:
    """Weights near the smallest and the largest float32; sums of them would be 0 or infinite."""
    weights = np.random.default_rng(9).choice([0, 0, 1, 2, 30], (5, 4, 3)).astype(np.float32)
    given = weights * np.float32(scale)
    if way == "host":
        rng = np.random.default_rng(10)
        starts = np.stack([mj.patch.weighted(rng, given, 1) for _ in range(MANY)])
    else:
        starts = mj.patch.weighted(keys(MANY), given, 1)
    check_frequencies(counts_of(starts, weights.shape), weights.ravel())


@pytest.mark.parametrize("at_border", ["clamp", "inside"])
@pytest.mark.parametrize("way", ["host", "device"])
def test_box_as_large_as_the_volume(way: str, at_border: Any) -> None:
    """TorchIO 2 masks the border, is left with an empty map, and raises."""
    rng: Any = np.random.default_rng(0) if way == "host" else jax.random.key(0)
    weights = np.zeros((6, 5, 4), np.float32)
    weights[5, 0, 1] = 1
    for size in ((6, 5, 4), (7, 9, 5), (6, 2, 4)):
        start = mj.patch.weighted(rng, weights, size, at_border=at_border if size != (6, 2, 4) else "clamp")
        assert np.asarray(start).tolist() == [0, 0, 0]


def test_voxels_at_the_border_are_reached_or_left_out() -> None:
    """TorchIO leaves them out, which changes the share of each class (issues 392, 458)."""
    weights = np.zeros((9, 1, 1), np.float32)
    weights[[0, 4, 8]] = 1
    starts = np.asarray(mj.patch.weighted(keys(900), weights, (3, 1, 1)))[:, 0]
    check_frequencies(np.bincount(starts, minlength=7)[[0, 3, 6]], np.ones(3))
    assert set(np.asarray(mj.patch.weighted(keys(50), weights, (3, 1, 1), at_border="inside"))[:, 0].tolist()) == {3}
    weights[4] = 0
    with pytest.raises(ValueError, match=r"no weight where a box is drawn; at_border='clamp' draws"):
        mj.patch.weighted(jax.random.key(0), weights, (3, 1, 1), at_border="inside")


def test_more_voxels_than_2_to_the_24() -> None:
    """torch.multinomial refuses them; a float32 sum over them would lose the last ones."""
    weights = np.ones((257, 257, 257), np.float32)
    assert weights.size > 2**24
    starts = np.asarray(mj.patch.weighted(keys(64), jnp.asarray(weights), 1))
    check_frequencies(np.histogram(starts[:, 0], bins=4, range=(0, 257))[0], np.ones(4))
    weights[:] = 0
    weights[256, 256, 256] = weights[256, 256, 255] = 1e-20
    starts = np.asarray(mj.patch.weighted(keys(64), jnp.asarray(weights), 1))
    assert {tuple(start) for start in starts.tolist()} == {(256, 256, 255), (256, 256, 256)}


def test_weights_in_a_padded_buffer() -> None:
    """What lies beyond the traced extent is never drawn; a traced map without weight draws uniformly."""
    weights = np.ones((8, 6, 4), np.float32)
    draw = jax.jit(lambda keys, weights, extent: mj.patch.weighted(keys, weights, (3, 3, 4), extent))
    extent = np.array([6, 4, 4])
    for scale in (1, 0):
        starts = np.asarray(draw(keys(600), scale * weights, extent))
        assert (starts <= (3, 1, 0)).all()
        assert len(np.unique(starts, axis=0)) == 8
    with pytest.raises(ValueError, match="weight_map has no weight where a box is drawn; uniform draws without one"):
        mj.patch.weighted(jax.random.key(0), 0 * weights, 3)


# --- Arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_of_draws() -> None:
    extent = (8, 8, 8)
    wrong: Any = (0, np.array([0, 1], np.uint32), jax.random.PRNGKey(0), None)
    for key in wrong:
        with pytest.raises(ValueError, match=r"key must be a numpy\.random\.Generator or a typed key"):
            mj.patch.uniform(key, 3, extent)
    with pytest.raises(ValueError, match="extent must be three integers of at least 1"):
        mj.patch.uniform(jax.random.key(0), 3, (8, 0, 8))
    with pytest.raises(ValueError, match="foreground is a probability, 0 to 1; got 33"):
        mj.patch.balanced(jax.random.key(0), TABLE, 3, extent, foreground=33)
    with pytest.raises(ValueError, match="weights has none for label 2"):
        mj.patch.balanced(jax.random.key(0), TABLE, 3, extent, weights={1: 1.0})
    with pytest.raises(ValueError, match="weights must be finite and at least 0"):
        mj.patch.balanced(jax.random.key(0), TABLE, 3, extent, weights={1: 1.0, 2: -1.0, 4: 0.0})
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match="weight_map must hold finite weights of at least 0"):
            mj.patch.weighted(jax.random.key(0), np.full(extent, bad), 3)
    with pytest.raises(ValueError, match="extent is traced, so a NumPy generator cannot draw with it"):
        jax.eval_shape(lambda n: mj.patch.uniform(np.random.default_rng(0), 3, n), np.array(extent))
