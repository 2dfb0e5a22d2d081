"""What a person expects an image to keep: metadata, geometry and memory, through copies and ways to the device."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scans import patient_scan

import medjax as mj
from medjax import Image

# Private: whether an array was copied, which no result shows.
from medjax._kernels._compiled import unchanging

KEEPERS: dict[str, Callable[[Image], Image]] = {
    "device_put": jax.device_put,
    "device_put to a device": lambda x: jax.device_put(x, jax.devices()[0]),
    "device_get": jax.device_get,
    "there and back": lambda x: jax.device_get(jax.device_put(x)),
    "tree.map identity": lambda x: jax.tree.map(lambda leaf: leaf, x),
    "tree.map to jax": lambda x: jax.tree.map(jnp.asarray, x),
    "tree.map to float16": lambda x: jax.tree.map(lambda leaf: leaf.astype(np.float16), x),
    "flatten and unflatten": lambda x: jax.tree.unflatten(*jax.tree.flatten(x)[::-1]),
    "in a dictionary": lambda x: jax.device_put({"other": patient_scan("other"), "this": x})["this"],
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "block_until_ready": lambda x: jax.block_until_ready(jax.device_put(x)),
    "with_voxels": lambda x: x.with_voxels(x.voxels),
}


@pytest.mark.parametrize("keep", KEEPERS.values(), ids=KEEPERS)
@pytest.mark.parametrize("x64", [False, True])
def test_single_image_keeps_metadata_and_geometry(keep: Callable[[Image], Image], x64: bool) -> None:
    image = patient_scan("a", kind="intensity")
    with jax.enable_x64(x64):
        out = keep(image)
    assert out.metadata == image.metadata
    assert out.kind == image.kind
    assert isinstance(out.affine, np.ndarray)
    assert out.affine.dtype == np.float64
    np.testing.assert_array_equal(out.affine, image.affine)
    tolerance = 0 if out.dtype == np.float32 else 2.0**-11  # float16 keeps 11 bits
    np.testing.assert_allclose(np.asarray(out.voxels, np.float32), image.voxels, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("change", [lambda x: x * 2, lambda x: x[::-1], lambda x: x.swapaxes(-1, -2)])
def test_tree_map_that_changes_geometry_is_believed(change: Callable[[Any], Any]) -> None:
    """A view of the affine in another order is another affine."""
    image = patient_scan("a", shape=(4, 4, 4))
    out = jax.tree.map(change, image)
    assert out.metadata is None
    np.testing.assert_array_equal(out.affine, change(image.affine))


def test_tree_map_that_crops_drops_the_metadata() -> None:
    image = patient_scan("a", shape=(6, 4, 4))
    assert jax.tree.map(lambda x: x[-4:], image).metadata is None


def test_deepcopy_and_pickle_are_independent() -> None:
    image = patient_scan("a")
    for other in (copy.deepcopy(image), pickle.loads(pickle.dumps(image))):
        assert not np.shares_memory(other.voxels, image.voxels)
    other = copy.deepcopy(image)
    other.voxels[...] = 0
    assert image.voxels.any()


@pytest.mark.parametrize("protocol", [2, 4])
def test_unpickled_voxels_are_locked_as_loaded_ones(protocol: int) -> None:
    """Operations copy voxels that somebody could change meanwhile; those of a pickle are nobody's."""
    image = pickle.loads(pickle.dumps(patient_scan("a"), protocol))
    for array in (image.voxels, image.affine):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_copies_do_not_lock_what_the_caller_holds() -> None:
    voxels = np.ones((3, 4, 5), np.float32)
    image = Image.from_array(voxels)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(image, 5, buffer_callback=buffers.append)
    lent = [bytearray(buffer.raw()) for buffer in buffers]
    for other in (copy.copy(image), pickle.loads(data, buffers=lent)):
        other.voxels[0, 0, 0] = 2
    assert voxels[0, 0, 0] == 2  # of the shallow copy
    assert copy.copy(image).voxels is voxels


def test_metadata_put_back_after_a_transformation_stays() -> None:
    image = patient_scan("a")
    out = jax.device_put(jax.jit(lambda x: x)(image).with_metadata(image.metadata))
    assert out.metadata is image.metadata


def test_leaves_and_paths() -> None:
    image = patient_scan("a")
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(image)]
    assert paths == [".voxels", ".affine"]


def test_geometry_is_immutable() -> None:
    image = patient_scan("a")
    with pytest.raises(ValueError, match="read-only"):
        image.affine[0, 3] = 5.0
    with pytest.raises(AttributeError):
        image.kind = "label"  # type: ignore[misc]


@pytest.mark.parametrize(
    "operation",
    [
        lambda image: mj.resample_to_spacing(image, 1.7),
        lambda image: mj.rotate(image, "k", 30.0, interpolation="bspline"),
        lambda image: mj.z_score_normalize(image, mask=image.voxels > 0),
        lambda image: mj.histogram_match(image, image),
    ],
    ids=["resample_to_spacing", "rotate", "z_score_normalize", "histogram_match"],
)
def test_a_callers_array_may_change_after_the_call(operation: Any) -> None:
    memory = np.empty(
        4 * 160 * 150 * 128 + 64, np.uint8
    )  # on a CPU JAX reads where it lies what begins at a multiple of 64
    start = -memory.ctypes.data % 64
    buffer = memory[start : start + 4 * 160 * 150 * 128].view(np.float32).reshape(160, 150, 128)
    values = np.random.default_rng(0).normal(size=buffer.shape).astype(np.float32)
    wanted = np.asarray(operation(Image.from_array(values)).voxels)
    buffer[...] = values
    out = operation(Image.from_array(buffer))
    buffer[...] = -7
    np.testing.assert_array_equal(out.voxels, wanted)


def test_loaded_voxels_are_locked_and_not_copied(tmp_path: Any) -> None:
    mj.save_image(patient_scan(), tmp_path / "scan.nii")
    voxels = mj.load_image(tmp_path / "scan.nii").voxels
    with pytest.raises(ValueError, match="read-only"):
        voxels[0, 0, 0] = 1
    assert unchanging(voxels) is voxels
    assert unchanging(voxels[::-1]).base is not None
    writable = voxels.copy()
    view = writable[:]
    view.flags.writeable = False  # who holds the array below can still change it
    copied = unchanging(view)
    assert not np.shares_memory(copied, writable)
    assert not copied.flags.writeable
