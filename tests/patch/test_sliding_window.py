"""A network over a volume: equal to the whole buffer in every voxel, one program, little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import medjax as mj

SIZE = (4, 5, 3)
CLASSES = 3
RNG = np.random.default_rng(0)
# Every place of a window has its own logits, so a window in another place gives another result.
RAMP = RNG.normal(size=(1, *SIZE, CLASSES)).astype(np.float32)
MIX = RNG.normal(size=(1, CLASSES)).astype(np.float32)
# The slab moves along i, j or k; steps are uneven; windows as large as the volume, and larger.
SHAPES = [(11, 9, 4), (6, 17, 5), (5, 6, 13), (4, 5, 3), (9, 3, 2)]
AFFINE = mj.affine_matrix((5, -3, 2), (10, 20, 30)) @ np.diag([2, 1, 3, 1.0])
METADATA = mj.Metadata(modality="CT", patient_id="one")


def network(windows: Any) -> Any:
    return windows @ MIX + RAMP


def scan(shape: tuple[int, ...] = SHAPES[0], seed: int = 1) -> mj.Image:
    voxels = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return mj.Image.from_array(voxels, affine=AFFINE, metadata=METADATA)


def expected(voxels: np.ndarray, window: str = "gaussian", fill: float = 0.0) -> np.ndarray:
    """Mean logits by a buffer of the whole volume, in NumPy float64; what hangs over is filled and cut off."""
    shape = voxels.shape
    voxels = np.pad(voxels, [(0, max(p - n, 0)) for n, p in zip(shape, SIZE, strict=True)], constant_values=fill)
    i, j, k = (weights_of(window, p) for p in SIZE)
    weights = (i[:, None, None] * j[:, None] * k)[..., None]
    sums, total = np.zeros((*voxels.shape, CLASSES)), np.zeros((*voxels.shape, 1))
    for start in mj.patch.grid(shape, SIZE):
        box = tuple(slice(a, a + p) for a, p in zip(start, SIZE, strict=True))
        sums[box] += weights * (voxels[box][..., None] @ MIX.astype(np.float64) + RAMP[0])
        total[box] += weights
    return (sums / total)[tuple(slice(n) for n in shape)]


def weights_of(window: str, p: int) -> np.ndarray:
    i = np.arange(p)
    if window == "hann":
        return np.sin(np.pi * (i + 1) / (p + 1)) ** 2
    if window == "gaussian":
        found = np.exp(-((i - (p - 1) / 2) ** 2) / (2 * (p / 8) ** 2))
        return np.maximum(found, 1e-3 * found.max())
    return np.ones(p)


# --- The result ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_slab_equals_the_whole_buffer_in_every_voxel(shape: Any) -> None:
    image = scan(shape)
    logits = mj.sliding_window(image, network, size=SIZE, reduce=None, fill=0.0)
    np.testing.assert_allclose(logits.voxels, expected(np.asarray(image.voxels)), atol=2e-6)
    labels = mj.sliding_window(image, network, size=SIZE, fill=0.0)
    np.testing.assert_array_equal(labels.voxels, np.argmax(logits.voxels, axis=-1))
    assert (labels.kind, labels.dtype, logits.kind, logits.channels) == ("label", np.uint8, "intensity", (CLASSES,))
    for out in (labels, logits):
        assert (out.shape, out.metadata) == (shape, METADATA)
        np.testing.assert_array_equal(out.affine, image.affine)


@pytest.mark.parametrize("window", ["hann", "average"])
def test_other_windows(window: Any) -> None:
    image = scan()
    logits = mj.sliding_window(image, network, size=SIZE, window=window, reduce=None)
    np.testing.assert_allclose(logits.voxels, expected(np.asarray(image.voxels), window), atol=2e-6)


def test_crop_takes_each_voxel_from_the_window_that_merge_takes_it_from() -> None:
    image = scan()
    starts = mj.patch.grid(image.shape, SIZE)
    boxes = np.stack([np.asarray(mj.crop(image, start, SIZE).voxels) for start in starts])
    wanted = mj.patch.merge(network(boxes[..., None]), starts, image.shape, window="crop")
    found = mj.sliding_window(image, network, size=SIZE, window="crop", reduce=None)
    np.testing.assert_allclose(found.voxels, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("window", ["gaussian", "hann", "average", "crop"])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[4]])
def test_constant_in_constant_out(shape: Any, window: Any) -> None:
    out = mj.sliding_window(scan(shape), lambda x: 0 * x + 0.1, size=SIZE, window=window, reduce=None)
    np.testing.assert_allclose(out.voxels, 0.1, rtol=1e-6)


def test_softmax_and_a_function_are_of_the_mean_logits() -> None:
    image = scan()
    logits = expected(np.asarray(image.voxels))
    share = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    soft = mj.sliding_window(image, network, size=SIZE, reduce="softmax")
    np.testing.assert_allclose(soft.voxels, share, atol=2e-6)
    limit = jnp.float32(0.3)
    above = mj.sliding_window(image, network, size=SIZE, reduce=lambda logits: logits[..., 0] > limit)
    np.testing.assert_array_equal(above.voxels, logits[..., 0] > limit)
    assert (above.kind, above.dtype) == ("label", bool)
    two = mj.sliding_window(image, network, size=SIZE, reduce=lambda logits: logits[..., :2] * 2)
    np.testing.assert_allclose(two.voxels, 2 * logits[..., :2], atol=4e-6)
    assert (two.kind, two.channels) == ("intensity", (2,))


def test_channels_integers_and_a_batch_of_one() -> None:
    voxels = np.random.default_rng(3).integers(-1000, 1000, (1, 7, 6, 5, 2), np.int16)
    image = mj.Image.from_array(voxels, affine=AFFINE[None], metadata=(METADATA,))
    seen = []

    def total(x: Any) -> Any:
        seen.append((x.shape, x.dtype))
        return jnp.sum(x, axis=-1, keepdims=True)

    out = mj.sliding_window(image, total, size=3, batch=5, reduce=None)
    assert seen[0] == ((5, 3, 3, 3, 2), np.float32)
    assert (out.batch_shape, out.channels, out.metadata) == ((1,), (1,), (METADATA,))
    np.testing.assert_allclose(out.voxels[..., 0], voxels.sum(axis=-1), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("mirror", ["all", [("i",), (0, "k")]])
def test_mirrored_passes_are_averaged(mirror: Any) -> None:
    image = scan()
    passes: Any = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)] if mirror == "all" else [(), (0,), (0, 2)]

    def averaged(x: Any) -> Any:
        turned = [tuple(axis + 1 for axis in axes) for axes in passes]
        return sum(jnp.flip(network(jnp.flip(x, axes)), axes) for axes in turned) / len(passes)

    wanted = mj.sliding_window(image, averaged, size=SIZE, reduce=None)
    found = mj.sliding_window(image, network, size=SIZE, reduce=None, mirror=mirror)
    np.testing.assert_allclose(found.voxels, wanted.voxels, atol=2e-6)


def test_sums_in_half_precision_do_not_overflow() -> None:
    """nnU-Net sums float16 logits times a Gaussian of up to 10, and stops at the infinity that comes of it."""
    out = mj.sliding_window(scan(), lambda x: 0 * x + 6e4, size=SIZE, reduce=None, dtype=jnp.float16)
    assert out.dtype == np.float16
    np.testing.assert_allclose(np.asarray(out.voxels, np.float32), 6e4, rtol=4e-3)


def test_from_the_hosts_memory() -> None:
    for shape in (SHAPES[0], SHAPES[1], SHAPES[4]):
        image = scan(shape)
        for reduce in ("argmax", None):
            found = mj.sliding_window(image, network, size=SIZE, host=True, reduce=reduce)  # type: ignore[arg-type]
            assert isinstance(found.voxels, np.ndarray)
            wanted = mj.sliding_window(image, network, size=SIZE, reduce=reduce)  # type: ignore[arg-type]
            np.testing.assert_allclose(found.voxels, wanted.voxels, atol=1e-6 if reduce is None else 0)


def test_padded_to_whole_steps_nearly_equal_shapes_share_a_program(compilations: Any) -> None:
    mj.sliding_window(scan((11, 9, 4)), network, size=SIZE, pad_to="step").voxels.block_until_ready()
    other = scan((12, 8, 4))
    with compilations:
        found = mj.patch._sliding_window._padded(other, SIZE, (0.5,) * 3, None, "step")
        assert found.shape == (12, 9, 5, 1)
        out = mj.sliding_window(other, network, size=SIZE, pad_to="step")
    assert out.shape == (12, 8, 4)
    assert compilations.count <= 1  # the cut


# --- The program -----------------------------------------------------------------------------------------------------


def test_one_program_for_scans_weights_and_functions_that_compute_the_same(compilations: Any) -> None:
    def with_weights(weights: Any) -> Any:
        return mj.sliding_window(scan(seed=9), lambda x: x @ weights + RAMP, size=SIZE, reduce=None)

    with_weights(jnp.asarray(MIX))
    mj.sliding_window(scan(), lambda x: jax.nn.relu(x) @ MIX + RAMP, size=SIZE, reduce=None)
    with compilations:
        other = with_weights(jnp.asarray(2 * MIX))
        mj.sliding_window(scan(seed=4), lambda x: jax.nn.relu(x) @ (3 * MIX) + RAMP, size=SIZE, reduce=None)
    assert compilations.count == 0
    logits = mj.sliding_window(scan(seed=9), lambda x: x @ (2 * MIX) + RAMP, size=SIZE, reduce=None)
    np.testing.assert_array_equal(other.voxels, logits.voxels)


def test_weights_of_a_module_and_of_a_partial_are_those_of_now(compilations: Any) -> None:
    """A program that remembers the weights of its first call would validate every epoch with the first one's."""

    class Net(nnx.Module):
        def __init__(self) -> None:
            self.conv = nnx.Conv(1, 2, (3, 3, 3), rngs=nnx.Rngs(0))

        def __call__(self, x: Any) -> Any:
            return jax.nn.relu(self.conv(x))

    with jax.numpy_rank_promotion("allow"):  # Flax adds a bias
        net = Net()

        def predict(x: Any) -> Any:
            return net(x)

        before = [mj.sliding_window(scan(), call, size=SIZE, reduce=None).voxels for call in (net, predict)]
        net.conv.kernel[...] = 2 * net.conv.kernel[...]
        with compilations:
            after = [mj.sliding_window(scan(), call, size=SIZE, reduce=None).voxels for call in (net, predict)]
        assert compilations.count == 0
    for old, new in zip(before, after, strict=True):
        assert np.abs(old).max() > 0.1
        np.testing.assert_allclose(new, 2 * old, rtol=1e-5, atol=1e-6)
    partial = jax.tree_util.Partial(lambda scale, x: scale * x, jnp.float32(3))
    out = mj.sliding_window(scan(), partial, size=SIZE, reduce=None)
    np.testing.assert_allclose(out.voxels[..., 0], 3 * scan().voxels, rtol=1e-5, atol=1e-6)


def test_under_jit_with_weights_and_image_as_arguments() -> None:
    image = scan()

    @jax.jit
    def labels(image: mj.Image, weights: Any) -> mj.Image:
        return mj.sliding_window(image, lambda x: x @ weights + RAMP, size=SIZE)

    found = labels(image, MIX)
    np.testing.assert_array_equal(found.voxels, mj.sliding_window(image, network, size=SIZE).voxels)
    assert (found.kind, found.shape) == ("label", image.shape)
    known = jax.jit(lambda weights: mj.sliding_window(image, lambda x: x @ weights + RAMP, size=SIZE).voxels)(MIX)
    np.testing.assert_array_equal(known, found.voxels)


def test_under_vmap_each_image_is_what_it_is_alone() -> None:
    scans = [scan(seed=n) for n in range(2)]
    found = jax.vmap(lambda v: mj.sliding_window(scans[0].with_voxels(v), network, size=SIZE).voxels)(
        jnp.stack([s.voxels for s in scans])
    )
    for voxels, image in zip(found, scans, strict=True):
        np.testing.assert_array_equal(voxels, mj.sliding_window(image, network, size=SIZE).voxels)


@pytest.mark.parametrize("reduce", [None, "softmax"])
def test_gradients_in_voxels_and_weights(reduce: Any) -> None:
    image = scan((6, 5, 4))
    target = np.random.default_rng(5).normal(size=(*image.shape, CLASSES)).astype(np.float32)

    def loss(voxels: Any, weights: Any) -> Any:
        out = mj.sliding_window(image.with_voxels(voxels), lambda x: x @ weights + RAMP, size=SIZE, reduce=reduce)
        return jnp.sum(out.voxels * target)

    at = jnp.asarray(image.voxels), jnp.asarray(MIX)
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(*at)
    if reduce is None:  # linear: each voxel's logits are its own times the weights
        np.testing.assert_allclose(gradients[0], (target @ MIX.T)[..., 0], atol=1e-5)
        np.testing.assert_allclose(gradients[1], np.tensordot(image.voxels, target, 3)[None], rtol=1e-4, atol=1e-4)
    step = 1e-2
    direction = [np.random.default_rng(6).normal(size=x.shape).astype(np.float32) for x in at]
    ends = [loss(*(x + sign * step * d for x, d in zip(at, direction, strict=True))) for sign in (1, -1)]
    slope = sum(float(np.vdot(g, d)) for g, d in zip(gradients, direction, strict=True))
    np.testing.assert_allclose(float(ends[0] - ends[1]) / (2 * step), slope, rtol=2e-2)


def test_memory_is_that_of_a_slab() -> None:
    """At most 45 % of the whole buffer's; of the numbers, the logits of a group are nearly the rest."""
    classes, voxels = 32, jnp.zeros((64, 16, 16), jnp.float32)

    def temporary(reduce: Any) -> int:
        def run(voxels: Any) -> Any:
            image = mj.Image.from_array(voxels)
            out = mj.sliding_window(image, lambda x: x * jnp.ones(classes), size=8, batch=4, reduce=reduce)
            return jnp.argmax(out.voxels, axis=-1) if reduce is None else out.voxels

        with jax.numpy_rank_promotion("allow"):
            analysis: Any = jax.jit(run).lower(voxels).compile().memory_analysis()
            return analysis.temp_size_in_bytes

    assert temporary("argmax") <= 0.45 * temporary(None)


DEVICES = """
import jax, numpy as np, medjax as mj
from jax.sharding import NamedSharding, PartitionSpec
import test_sliding_window as t
mesh = jax.make_mesh((3,), ("windows",))
sharding = NamedSharding(mesh, PartitionSpec("windows"))
image = t.scan((11, 9, 7))
for options in ({}, {"reduce": None}, {"mirror": [("i",)], "reduce": "softmax"}):
    alone = mj.sliding_window(image, t.network, size=t.SIZE, **options).voxels
    shared = mj.sliding_window(image, t.network, size=t.SIZE, sharding=sharding, **options).voxels
    np.testing.assert_allclose(shared, alone, atol=1e-6 if options else 0)
plain = jax.make_mesh((3,), ("windows",), axis_types=(jax.sharding.AxisType.Auto,))
sharding = NamedSharding(plain, PartitionSpec("windows"))
loss = lambda v, s: mj.sliding_window(image.with_voxels(v), t.network, size=t.SIZE, reduce=None, sharding=s).voxels[..., 0].sum()
np.testing.assert_allclose(jax.grad(loss)(image.voxels, sharding), jax.grad(loss)(image.voxels, None), atol=1e-5)
"""


def test_windows_shared_by_several_devices() -> None:
    here = Path(__file__).parent
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
        "PYTHONPATH": f"{here.parents[1]}{os.pathsep}{here}",
    }
    subprocess.run([sys.executable, "-c", DEVICES], check=True, env=environment)


# --- Arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda x: x[..., 0],
            r"one floating array \(4, 4, 5, 3, classes\) for windows of \(4, 4, 5, 3, 1\), got .*\(4, 4, 5, 3\)",
        ),
        (lambda x: jnp.moveaxis(x, -1, 1), r"got float32 \(4, 1, 4, 5, 3\); classes come last"),
        (lambda x: x[:, 1:-1], r"got float32 \(4, 2, 5, 3, 1\)"),
        (lambda x: (x, x), "got tuple; return the logits alone"),
        (lambda x: jnp.argmax(x, axis=-1, keepdims=True), r"got int32 .*; return logits, which reduce makes labels of"),
        (lambda x: x, r"network returns one class, of which 'argmax' is the same everywhere.*logits\[\.\.\., 0\] > 0"),
    ],
)
def test_network_that_returns_something_else(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mj.sliding_window(scan(), wrong, size=SIZE)


def test_error_within_the_network_says_what_it_was_called_with() -> None:
    with pytest.raises(TypeError) as caught:
        mj.sliding_window(scan(), lambda x: x @ np.ones((2, 3), np.float32), size=SIZE)
    assert "windows of float32 (4, 4, 5, 3, 1), channels last" in caught.value.__notes__[-1].splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be one integer or three, at least 1"),
        ({"overlap": 1.0}, "overlap must be one number or three, at least 0 and below 1"),
        ({"window": "box"}, "window must be 'crop', 'average', 'hann' or 'gaussian', got 'box'"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"reduce": "max"}, "reduce must be 'argmax' or 'softmax', got 'max'"),
        ({"reduce": lambda logits: logits.sum()}, r"reduce must return one array \(.*\) for logits of"),
        ({"mirror": (0, 1)}, "mirror must be 'all', or for each further pass the axes that it mirrors"),
        ({"mirror": [(0,), ("i",)]}, "mirror must be 'all'"),
        ({"mirror": [()]}, "mirror must be 'all'"),
        ({"mirror": "some"}, "mirror must be 'all'"),
        ({"dtype": np.int32}, "dtype must be a floating one, got int32"),
        ({"sharding": "windows"}, "sharding must be a NamedSharding whose first entry names mesh axes"),
        ({"pad_to": "power"}, "pad_to must be 'step'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mj.sliding_window(scan(), network, **{"size": SIZE, **options})


def test_images_that_do_not_go_through_a_network() -> None:
    image = scan()
    labels = mj.Image.from_array(np.ones(image.shape, np.uint8), kind="label")
    with pytest.raises(ValueError, match="sliding_window takes intensities, got a label map"):
        mj.sliding_window(labels, network, size=SIZE)
    with pytest.raises(ValueError, match=r"takes one image, got a batch of shape \(2,\): call it for each"):
        mj.sliding_window(mj.stack([image, image]), network, size=SIZE)
    with pytest.raises(ValueError, match=r"takes one axis of channels, got \(2, 2\)"):
        mj.sliding_window(mj.Image.from_array(np.ones((4, 4, 4, 2, 2), np.float32)), network, size=SIZE)
    with pytest.raises(ValueError, match="takes real voxels, got complex64"):
        mj.sliding_window(mj.Image.from_array(np.ones((4, 4, 4), np.complex64)), network, size=SIZE)
    with pytest.raises(
        ValueError, match="host=True streams from the host's memory, which does not go with an image that"
    ):
        jax.eval_shape(lambda i: mj.sliding_window(i, network, size=SIZE, host=True).voxels, image)
