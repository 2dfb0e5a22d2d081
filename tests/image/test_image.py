"""The image as a pytree: one compilation for all scans, and never another scan's metadata."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec
from scipy.spatial.transform import Rotation

import medjax as mj
from medjax import Image, Metadata
from medjax._kernels._compiled import unchanging

OBLIQUE = Rotation.from_euler("xyz", (11.0, -23.0, 37.0), degrees=True).as_matrix()


def oblique_affine(spacing: Any = (0.7, 1.1, 2.5), origin: Any = (-172.9, 179.297, -834.125)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = OBLIQUE * np.asarray(spacing), origin
    return affine


def scan(name: str = "a", shape: tuple[int, ...] = (3, 4, 5), **options: Any) -> Image:
    """A scan whose voxels and metadata both know whose they are."""
    values = np.random.default_rng(sum(map(ord, name))).normal(size=shape).astype(np.float32)
    known: dict[str, Any] = {"affine": oblique_affine(), "metadata": Metadata(modality="CT", patient_id=name)}
    return Image.from_array(values, **(known | options))


# --- One compilation for all scans -----------------------------------------------------------------------------------


def test_two_hundred_scans_compile_once(compilations: Any) -> None:
    @jax.jit
    def operation(image: Image, fill: Any) -> Image:
        return image.with_voxels(jnp.where(image.voxels > 0, image.voxels, fill))

    rng = np.random.default_rng(0)
    with compilations:
        for number in range(200):
            turn = Rotation.random(random_state=number).as_matrix()
            image = Image.from_array(
                rng.normal(size=(3, 4, 5)).astype(np.float32),
                spacing=rng.uniform(0.3, 5.0, 3),
                origin=rng.normal(0, 300, 3),
                direction=turn,
                metadata=Metadata(patient_id=f"patient {number}", extra={"Slope": number}) if number % 7 else None,
            )
            out = operation(image, np.float32(number))
            assert out.metadata is None
            np.testing.assert_array_equal(out.voxels, np.where(image.voxels > 0, image.voxels, number))
    assert compilations.count == 1


REFERENCE = Image.from_array(np.zeros((5, 6, 4), np.float32), affine=oblique_affine(), metadata=Metadata(modality="PT"))
OPERATIONS: dict[str, Callable[[Image, np.random.Generator, float], Image]] = {
    "resample_to_spacing": lambda x, rng, fill: mj.resample_to_spacing(
        x, np.array(x.spacing) * rng.uniform(0.595, 0.605), fill=fill
    ),
    "resample_to_image": lambda x, rng, fill: mj.resample_to_image(x, REFERENCE, fill=fill),
    "resample_to_grid": lambda x, rng, fill: mj.resample_to_grid(x, moved_grid(rng), fill=fill),
    "scale": lambda x, rng, fill: mj.scale(x, rng.uniform(1.61, 1.69)),
    "rotate": lambda x, rng, fill: mj.rotate(x, 2, rng.uniform(-90, 90), fill=fill),
    "affine_transform": lambda x, rng, fill: mj.affine_transform(
        x, mj.affine_matrix(rng.normal(size=3), rng.normal(size=3)), fill=fill
    ),
    "translate": lambda x, rng, fill: mj.translate(x, rng.normal(size=3), unit="mm"),
    "flip": lambda x, rng, fill: mj.flip(x, 1),
    "crop": lambda x, rng, fill: mj.crop(x, (1, 0, 2), (3, 4, 3)),
    "pad": lambda x, rng, fill: mj.pad(x, (1, 0, 2), (0, 3, 1), fill=fill),
    "crop_or_pad": lambda x, rng, fill: mj.crop_or_pad(x, (4, 9, 2), fill=fill),
    "z_score_normalize": lambda x, rng, fill: mj.z_score_normalize(x),
    "clip": lambda x, rng, fill: mj.clip(x, fill, fill + 1),
    "window": lambda x, rng, fill: mj.window(x, fill, 2.0 + fill**2),
}


def moved_grid(rng: np.random.Generator) -> mj.Grid:
    return mj.Grid.of((5, 6, 4), affine=oblique_affine(rng.uniform(0.5, 2.0, 3), rng.normal(0, 5, 3)))


@pytest.mark.filterwarnings("ignore:.*overlap")  # random grids may lie apart
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_operations_on_two_hundred_scans_compile_once(operation: Any, compilations: Any) -> None:
    """Whatever the first scan compiled serves all others, and each result has its own scan's metadata."""
    rng = np.random.default_rng(0)
    counts = []
    for number in range(200):
        image = Image.from_array(
            rng.normal(size=(5, 6, 7)).astype(np.float32),
            spacing=rng.uniform(0.3, 5.0, 3),
            origin=rng.normal(0, 5, 3),
            direction=Rotation.random(random_state=number).as_matrix(),
            metadata=Metadata(patient_id=f"patient {number}", extra={"Slope": number}),
        )
        image = image if number % 2 else image.with_voxels(jnp.asarray(image.voxels))
        with compilations:
            out = operation(image, rng, float(rng.normal()))
        counts.append(compilations.count)
        assert out.metadata is image.metadata
    assert sum(counts[2:]) == 0  # the first with NumPy voxels, the first with JAX voxels


def test_what_is_static_does_compile_anew(compilations: Any) -> None:
    """The counterpart of the test above: the counter counts."""
    operation = jax.jit(lambda image: image)
    labels = Image.from_array(np.zeros((3, 4, 5), np.int32))
    with compilations:
        operation(labels)
        operation(labels.with_kind("label"))
        operation(Image.from_array(np.zeros((3, 4, 6), np.int32)))
    assert compilations.count == 3


# --- Never another scan's metadata -----------------------------------------------------------------------------------
# Each case runs a function on scan a first, so that whatever caches there are hold a's tree, and returns only images
# that come from scan b. Both lie on one grid and have one dtype: nothing but the bookkeeping tells them apart.


def twice(function: Callable[[Image], Any], a: Image, b: Image) -> Any:
    function(a)
    return function(b)


def through_aot(a: Image, b: Image) -> Any:
    return jax.jit(lambda x: x).lower(a).compile()(b)


def through_closure(a: Image, b: Image) -> Any:
    """The constant in the output is a and may say so; the argument is b."""
    constant, out = twice(jax.jit(lambda x: (a, x)), a, b)
    assert constant.metadata in (None, a.metadata)
    return out


def through_template(a: Image, b: Image) -> Any:
    """A trace does not say whose voxels were put on a's grid."""
    return [jax.jit(a.with_voxels)(b.voxels), jax.vmap(a.with_voxels)(b.voxels[None])]


def through_vmap(a: Image, b: Image) -> Any:
    return [mj.unstack(jax.vmap(lambda x: x)(mj.stack([a, b])))[1], jax.vmap(lambda x, y: y)(*[mj.stack([a, b])] * 2)]


def through_vmap_unmapped(a: Image, b: Image) -> Any:
    return jax.vmap(lambda x, y, n: y.with_voxels(y.voxels * n), in_axes=(None, None, 0))(a, b, jnp.arange(2.0))


def through_vmap_out_axes_none(a: Image, b: Image) -> Any:
    return jax.vmap(lambda x, y, n: (y, n), in_axes=(None, None, 0), out_axes=(None, 0))(a, b, jnp.arange(2.0))[0]


def energy(image: Image) -> Any:
    return (image.voxels**2).sum() + jnp.asarray(image.affine).sum()


def through_value_and_grad_aux(a: Image, b: Image) -> Any:
    step = jax.value_and_grad(lambda x, y: (energy(x), (x, y)), has_aux=True)
    step(b, a)
    (_, aux), gradient = step(b, b)
    return [aux, gradient]


def through_linearize(a: Image, b: Image) -> Any:
    square = lambda x: x.with_voxels(x.voxels**2)  # noqa: E731
    jax.linearize(square, a)
    return jax.linearize(square, as_jax(b))[0]


def as_jax(image: Image) -> Image:
    """The same scan after a transformation: float32 affine on the device, the metadata put back."""
    return jax.jit(lambda x: x)(image).with_metadata(image.metadata)


def through_vjp(a: Image, b: Image) -> Any:
    square = lambda x: x.with_voxels(x.voxels**2)  # noqa: E731
    jax.vjp(square, a)
    out, pull = jax.vjp(square, b)
    return [out, pull(out)]


def through_scan_carry(a: Image, b: Image) -> Any:
    return jax.lax.scan(lambda carry, _: (mj_device(b), carry), mj_device(a), None, length=2)[0]


def mj_device(image: Image) -> Image:
    return jax.tree.map(jnp.asarray, image)


def through_scan_items(a: Image, b: Image) -> Any:
    batch = jax.tree.map(lambda *x: jnp.stack(x), mj_device(a), mj_device(b))
    last, items = jax.lax.scan(lambda carry, item: (item, item), jax.tree.map(lambda x: x[0], batch), batch)
    return [last, jax.tree.map(lambda x: x[1], items)]


def through_cond_operands(a: Image, b: Image) -> Any:
    pick = lambda flag, x, y: jax.lax.cond(flag, lambda x, y: x, lambda x, y: y, x, y)  # noqa: E731
    pick(True, mj_device(a), mj_device(b))
    return pick(False, mj_device(a), mj_device(b))


def through_cond_closures(a: Image, b: Image) -> Any:
    return jax.lax.cond(jnp.asarray(False), lambda: mj_device(a), lambda: mj_device(b))


def through_switch(a: Image, b: Image) -> Any:
    return jax.lax.switch(jnp.asarray(2), [lambda: mj_device(a), lambda: mj_device(a), lambda: mj_device(b)])


def through_while(a: Image, b: Image) -> Any:
    step = lambda state: (state[0] + 1, mj_device(b))  # noqa: E731
    return jax.lax.while_loop(lambda state: state[0] < 1, step, (0, mj_device(a)))[1]


def through_fori(a: Image, b: Image) -> Any:
    return jax.lax.fori_loop(0, 2, lambda _, state: mj_device(b), mj_device(a))


def through_map(a: Image, b: Image) -> Any:
    batch = jax.tree.map(lambda *x: jnp.stack(x), mj_device(a), mj_device(b))
    return jax.tree.map(lambda x: x[1], jax.lax.map(lambda x: x, batch))


def through_associative_scan(a: Image, b: Image) -> Any:
    batch = jax.tree.map(lambda *x: jnp.stack(x), mj_device(a), mj_device(b))
    last = partial(jax.tree.map, lambda x, y: y)
    return jax.tree.map(lambda x: x[1], jax.lax.associative_scan(last, batch))


@jax.custom_vjp
def passed_on(image: Image) -> Image:
    return image


passed_on.defvjp(lambda image: (image, None), lambda _, cotangent: (cotangent,))


def through_custom_vjp(a: Image, b: Image) -> Any:
    twice(jax.grad(lambda x: energy(passed_on(x))), a, b)
    return [twice(passed_on, a, b), twice(jax.grad(lambda x: energy(passed_on(x))), a, b)]


@jax.custom_jvp
def handed_on(image: Image) -> Image:
    return image


handed_on.defjvp(lambda primals, tangents: (primals[0], tangents[0]))


def through_custom_jvp(a: Image, b: Image) -> Any:
    twice(lambda x: jax.jvp(handed_on, (as_jax(x),), (as_jax(x),)), a, b)
    return [twice(handed_on, a, b), *jax.jvp(handed_on, (as_jax(b),), (as_jax(b),))]


def through_shuffle(a: Image, b: Image) -> Any:
    batch = mj.stack([a, b])
    shuffled = jax.tree.map(lambda x: x[np.array([1, 0])], batch)
    whole = jax.tree.map(lambda x: x[np.array([0, 1])], batch)
    return [mj.unstack(shuffled)[0], mj.unstack(whole)[1], jax.tree.map(lambda x: x[1], batch)]


def through_tree_map_of_two(a: Image, b: Image) -> Any:
    other = partial(jax.tree.map, lambda x, y: y)
    return [other(a, b), other(mj_device(a), b), other(a, mj_device(b)), other(a, as_jax(b)), other(as_jax(a), b)]


def through_tree_map_with_bare(a: Image, b: Image) -> Any:
    bare = jax.jit(lambda x: x)(b)
    return [jax.tree.map(lambda x, y: y, a, bare), jax.tree.map(lambda x, y: y, a, b.with_metadata(None))]


def through_treedef_of_a(a: Image, b: Image) -> Any:
    return [
        jax.tree.unflatten(jax.tree.structure(a), jax.tree.leaves(b)),
        jax.tree.unflatten(jax.tree.structure(a), jax.tree.leaves(jax.device_put(b))),
        jax.tree.unflatten(jax.tree.structure(as_jax(a)), jax.tree.leaves(b)),
    ]


def through_compared_treedefs(a: Image, b: Image) -> Any:
    of_a: Any
    of_a, of_b = jax.tree.structure(a), jax.tree.structure(b)
    assert of_a == of_b
    return jax.tree.unflatten(of_a, jax.tree.leaves(jax.jit(lambda x: x)(b)))


def through_flatten_up_to(a: Image, b: Image) -> Any:
    treedef: Any = jax.tree.structure(a)
    return jax.tree.unflatten(treedef, [jnp.asarray(x) for x in treedef.flatten_up_to(b)])


def through_transpose(a: Image, b: Image) -> Any:
    """Splits a batch, and unites host images; whoever gives a's treedef to device arrays by hand is not caught."""
    batch = mj.stack([a, b])
    pair = jax.tree.structure([0, 0])
    split = jax.tree.transpose(jax.tree.structure(batch), pair, jax.tree.map(list, batch))
    host = jax.tree.map(lambda x, y: [x, y], a, b)
    return [split[1], jax.tree.transpose(jax.tree.structure(a), pair, host)[1]]


def through_stacking(a: Image, b: Image) -> Any:
    batch = jax.tree.map(lambda *x: jnp.stack(x), a, b)
    assert batch.metadata is None
    return mj.unstack(batch)[1]


def through_shard_map(a: Image, b: Image) -> Any:
    mesh = jax.make_mesh((1,), ("scan",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("scan")
    run = jax.shard_map(lambda x: x, mesh=mesh, in_specs=spec, out_specs=spec)
    batch = lambda x: jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], x)  # noqa: E731
    return twice(lambda x: jax.tree.map(lambda leaf: leaf[0], run(batch(x))), a, b)


def through_donation(a: Image, b: Image) -> Any:
    run = jax.jit(lambda x: x.with_voxels(x.voxels + 1), donate_argnums=0)
    return twice(lambda x: run(as_jax(x)), a, b)


def through_donating_device_put(a: Image, b: Image) -> Any:
    return twice(lambda x: jax.device_put(as_jax(x), donate=True), a, b)


def through_sharded_device_put(a: Image, b: Image) -> Any:
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return twice(lambda x: jax.device_put(x, jax.tree.map(lambda _: here, x)), a, b)


def through_callback(a: Image, b: Image) -> Any:
    template = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), a)
    host = lambda x: jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), x)  # noqa: E731
    return twice(lambda x: jax.pure_callback(host, template, mj_device(x)), a, b)


def through_jvp_of_constant(a: Image, b: Image) -> Any:
    return jax.jvp(lambda t: (mj_device(a), mj_device(b), t), (1.0,), (1.0,))[0][1]


def through_paths(a: Image, b: Image) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, x, y: y, a, b)


def through_lookup(a: Image, b: Image) -> Any:
    """A cache keyed by treedefs finds a's entry for b: they are equal."""
    cache = {jax.tree.structure(a): jax.tree.structure(a)}
    return jax.tree.unflatten(cache[jax.tree.structure(b)], jax.tree.leaves(mj_device(b)))


LEAKS: dict[str, Callable[[Image, Image], Any]] = {
    "jit": lambda a, b: twice(jax.jit(lambda x: x), a, b),
    "jit there and back": lambda a, b: [f := jax.jit(lambda x: x), f(a), f(b), f(a), f(b)][-1],
    "nested jit": lambda a, b: twice(jax.jit(lambda x: jax.jit(lambda y: y)(x)), a, b),
    "vmap of jit": lambda a, b: twice(jax.vmap(jax.jit(lambda x: x), in_axes=None, axis_size=2), a, b),
    "grad": lambda a, b: twice(jax.grad(energy), a, b),
    "jit of grad": lambda a, b: twice(jax.jit(jax.grad(energy)), a, b),
    "grad of jit": lambda a, b: twice(jax.grad(jax.jit(energy)), a, b),
    "checkpoint": lambda a, b: twice(jax.checkpoint(lambda x: x), a, b),
    "grad of checkpoint": lambda a, b: twice(jax.grad(jax.checkpoint(energy)), a, b),
    "eval_shape": lambda a, b: twice(partial(jax.eval_shape, lambda x: x), a, b),
    "ensure_compile_time_eval": lambda a, b: twice(jax.jit(lambda x: jax.tree.map(jnp.asarray, x)), a, b),
} | {name.removeprefix("through_"): case for name, case in list(globals().items()) if name.startswith("through_")}


@pytest.mark.parametrize("case", LEAKS.values(), ids=LEAKS)
@pytest.mark.parametrize("known", ["both", "only a"])
def test_no_metadata_of_another_scan(case: Callable[[Image, Image], Any], known: str) -> None:
    a, b = scan("a"), scan("b", metadata=Metadata(patient_id="b") if known == "both" else None)
    found = jax.tree.leaves(case(a, b), is_leaf=lambda x: isinstance(x, Image))
    images = [x for x in found if isinstance(x, Image)]
    assert images
    for image in images:
        assert image.metadata is None or image.metadata is b.metadata


def test_metadata_of_one_batch_item_never_moves_to_another() -> None:
    images = [scan("a"), scan("b"), scan("c")]
    batch = mj.stack(images)
    assert [item.metadata for item in mj.unstack(batch)] == [image.metadata for image in images]
    for moved in (jax.tree.map(lambda x: x[::-1], batch), jax.device_put(batch), jax.jit(lambda x: x)(batch)):
        assert moved.metadata is None


def test_two_devices_keep_scans_apart(tmp_path: Any) -> None:
    """A batch that is sharded over two devices comes back without metadata and with the right voxels."""
    import os
    import subprocess
    import sys

    script = """
import jax, numpy as np, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
from medjax import Image, Metadata, stack, unstack
assert jax.device_count() == 2
images = [Image.from_array(np.full((2, 3, 4), v, np.float32), spacing=v, metadata=Metadata(patient_id=str(v))) for v in (1.0, 2.0)]
mesh = jax.make_mesh((2,), ("scan",), axis_types=(jax.sharding.AxisType.Auto,))
batch = jax.device_put(stack(images), NamedSharding(mesh, P("scan")))
swap = lambda x: jax.tree.map(lambda leaf: jax.lax.ppermute(leaf, "scan", [(0, 1), (1, 0)]), x)
out = jax.jit(jax.shard_map(swap, mesh=mesh, in_specs=P("scan"), out_specs=P("scan")))(batch)
assert batch.metadata is None and out.metadata is None
assert [float(x.voxels[0, 0, 0]) for x in unstack(out)] == [2.0, 1.0]
assert [x.spacing[0] for x in unstack(out)] == [2.0, 1.0]
assert jax.device_put(images[0], NamedSharding(mesh, P())).metadata.patient_id == "1.0"
"""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    environment |= {"PYTHONPATH": str(Path(mj.__file__).parent.parent)}
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, env=environment, cwd=tmp_path)


# --- What a person expects -------------------------------------------------------------------------------------------

KEEPERS: dict[str, Callable[[Image], Image]] = {
    "device_put": jax.device_put,
    "device_put to a device": lambda x: jax.device_put(x, jax.devices()[0]),
    "device_get": jax.device_get,
    "there and back": lambda x: jax.device_get(jax.device_put(x)),
    "tree.map identity": lambda x: jax.tree.map(lambda leaf: leaf, x),
    "tree.map to jax": lambda x: jax.tree.map(jnp.asarray, x),
    "tree.map to float16": lambda x: jax.tree.map(lambda leaf: leaf.astype(np.float16), x),
    "flatten and unflatten": lambda x: jax.tree.unflatten(*jax.tree.flatten(x)[::-1]),
    "in a dictionary": lambda x: jax.device_put({"other": scan("other"), "this": x})["this"],
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "block_until_ready": lambda x: jax.block_until_ready(jax.device_put(x)),
    "with_voxels": lambda x: x.with_voxels(x.voxels),
}


@pytest.mark.parametrize("keep", KEEPERS.values(), ids=KEEPERS)
@pytest.mark.parametrize("x64", [False, True])
def test_single_image_keeps_metadata_and_geometry(keep: Callable[[Image], Image], x64: bool) -> None:
    image = scan("a", kind="intensity")
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
    image = scan("a", shape=(4, 4, 4))
    out = jax.tree.map(change, image)
    assert out.metadata is None
    np.testing.assert_array_equal(out.affine, change(image.affine))


def test_tree_map_that_crops_drops_the_metadata() -> None:
    image = scan("a", shape=(6, 4, 4))
    assert jax.tree.map(lambda x: x[-4:], image).metadata is None


def test_deepcopy_and_pickle_are_independent() -> None:
    image = scan("a")
    for other in (copy.deepcopy(image), pickle.loads(pickle.dumps(image))):
        assert not np.shares_memory(other.voxels, image.voxels)
    other = copy.deepcopy(image)
    other.voxels[...] = 0
    assert image.voxels.any()


@pytest.mark.parametrize("protocol", [2, 4])
def test_unpickled_voxels_are_locked_as_loaded_ones(protocol: int) -> None:
    """Operations copy voxels that somebody could change meanwhile; those of a pickle are nobody's."""
    image = pickle.loads(pickle.dumps(scan("a"), protocol))
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
    image = scan("a")
    out = jax.device_put(jax.jit(lambda x: x)(image).with_metadata(image.metadata))
    assert out.metadata is image.metadata


def test_leaves_and_paths() -> None:
    image = scan("a")
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(image)]
    assert paths == [".voxels", ".affine"]


def test_geometry_is_immutable() -> None:
    image = scan("a")
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
    mj.save_image(scan(), tmp_path / "scan.nii")
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


# --- Construction ----------------------------------------------------------------------------------------------------


@given(
    spacing=st.tuples(*[st.floats(1e-3, 1e3)] * 3),
    origin=st.tuples(*[st.floats(-1e4, 1e4)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_parts_survive_to_a_nanometre_of_a_millimetre(spacing: Any, origin: Any, seed: int) -> None:
    """1e-9 mm on 1e4 mm is 1e-13, some hundred float64 roundings."""
    direction = Rotation.random(random_state=seed).as_matrix()
    image = Image.from_array(np.zeros((2, 3, 4)), spacing=spacing, origin=origin, direction=direction)
    for out in (image, jax.device_put(image), mj.unstack(mj.stack([image, image]))[1], image.with_kind("intensity")):
        np.testing.assert_allclose(out.spacing, spacing, rtol=1e-12)
        np.testing.assert_allclose(out.origin, origin, atol=1e-9)
        np.testing.assert_allclose(out.direction, direction, atol=1e-12)
        again = Image.from_array(
            out.voxels, spacing=out.spacing, origin=out.origin, direction=np.asarray(out.direction).ravel()
        )
        corner = (np.array([1, 2, 3]) - 0.5)[:, None]
        error = (again.affine - image.affine)[:3] @ np.vstack([corner, [[1]]])
        assert np.abs(error).max() <= 1e-9


def test_geometry_agrees_with_simpleitk_and_nibabel() -> None:
    image = scan("a")
    reference = sitk.GetImageFromArray(image.voxels.transpose())
    reference.SetSpacing(image.spacing)
    reference.SetOrigin(image.origin)
    reference.SetDirection(image.direction.ravel().tolist())
    for index in [(0, 0, 0), (2, 0, 4), (1, 3, 2)]:
        np.testing.assert_allclose(
            image.grid.world(index), reference.TransformIndexToPhysicalPoint(index), rtol=0, atol=1e-9
        )
        assert image.voxels[index] == reference[index]
    nifti = nibabel.Nifti1Image(image.voxels, image.affine_ras)
    assert "".join(nibabel.aff2axcodes(nifti.affine)) == image.orientation


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", ">i2", "<i2", ">f4", "float16", "float64", "complex64", ">c16", "uint64"]
)
def test_dtypes_in_native_byte_order(dtype: str) -> None:
    values = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    image = Image.from_array(values)
    assert image.dtype == np.dtype(dtype).newbyteorder("=")
    assert image.dtype.isnative
    np.testing.assert_array_equal(image.voxels, values)


def test_bfloat16_voxels() -> None:
    assert Image.from_array(np.zeros((2, 3, 4), jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voxels": np.zeros((3, 4))}, r"voxels must be .* got \(3, 4\)"),
        ({"voxels": np.zeros((3, 0, 4))}, "not empty"),
        ({"voxels": np.zeros((2, 2, 2)), "kind": "mask"}, "kind must be 'intensity' or 'label', got 'mask'"),
        ({"voxels": np.zeros((2, 2, 2)), "kind": "label"}, "a label image holds integers or booleans, got float64"),
        ({"voxels": np.zeros((2, 2, 2)), "spacing": 0}, "spacing must be positive"),
        ({"voxels": np.zeros((2, 2, 2)), "spacing": (1, -1, 1)}, "spacing must be positive"),
        ({"voxels": np.zeros((2, 2, 2)), "spacing": (1, np.nan, 1)}, "spacing must be one finite number or three"),
        ({"voxels": np.zeros((2, 2, 2)), "spacing": (1, 2)}, "spacing must be one finite number or three"),
        ({"voxels": np.zeros((2, 2, 2)), "origin": (0, np.inf, 0)}, "origin must be one finite number or three"),
        ({"voxels": np.zeros((2, 2, 2)), "direction": np.eye(4)}, "direction must hold 3x3"),
        ({"voxels": np.zeros((2, 2, 2)), "direction": np.ones((3, 3))}, "singular"),
        ({"voxels": np.zeros((2, 2, 2)), "affine": np.zeros((4, 4))}, "last row"),
        ({"voxels": np.zeros((2, 2, 2)), "affine": np.eye(3)}, "affine must be"),
        (
            {"voxels": np.zeros((2, 2, 2)), "affine": np.eye(4), "spacing": 1},
            "give only one of affine, affine_ras, or spacing",
        ),
        ({"voxels": np.zeros((2, 2, 2)), "affine": np.full((4, 4), np.nan)}, "finite"),
        ({"voxels": np.zeros((3, 2, 2, 2)), "affine": np.stack([np.eye(4)] * 2)}, "with batch"),
        ({"voxels": np.zeros((2, 2, 2)), "metadata": (Metadata(),)}, "1 metadata for a batch of shape"),
        ({"voxels": np.array([[["a"]]])}, "numbers or booleans, got dtype <U1"),
        ({"voxels": np.zeros((2, 2, 2), [("r", "u1"), ("g", "u1")])}, "trailing axis"),
        ({"voxels": np.zeros((2, 2, 2), object)}, "numbers or booleans, got dtype object"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_construction_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Image.from_array(**arguments)


def test_with_voxels_checks_grid_and_kind() -> None:
    image = scan("a")
    assert image.with_voxels(np.zeros((3, 4, 5, 2))).channels == (2,)
    with pytest.raises(ValueError, match=r"do not lie on this image's grid, \(3, 4, 5\)"):
        image.with_voxels(np.zeros((3, 5, 4)))
    labels = Image.from_array(np.zeros((3, 4, 5), np.uint8), kind="label")
    with pytest.raises(ValueError, match="label image holds integers"):
        labels.with_voxels(np.zeros((3, 4, 5)))
    assert labels.with_kind("intensity").with_voxels(np.zeros((3, 4, 5))).kind == "intensity"


# --- Batches ---------------------------------------------------------------------------------------------------------


def test_stack_and_unstack_are_inverse() -> None:
    images = [scan(name, affine=oblique_affine(origin=(number, 2.0, 3.0))) for number, name in enumerate("abc")]
    batch = mj.stack(images)
    assert (batch.batch_shape, batch.shape, batch.channels) == ((3,), (3, 4, 5), ())
    assert batch.orientation == (images[0].orientation,) * 3
    for image, again in zip(images, mj.unstack(batch), strict=True):
        np.testing.assert_array_equal(again.voxels, image.voxels)
        np.testing.assert_array_equal(again.affine, image.affine)
        assert again.affine.dtype == np.float64
        assert again.metadata is image.metadata


def test_stack_of_device_images_keeps_the_float64_affine() -> None:
    batch = mj.stack([jax.device_put(scan("a")), jax.device_put(scan("b"))])
    assert isinstance(batch.voxels, jax.Array)
    assert isinstance(batch.affine, np.ndarray)
    assert batch.affine.dtype == np.float64


def test_stack_under_jit() -> None:
    a, b = scan("a"), scan("b")
    batch = jax.jit(lambda x, y: mj.stack([x, y]))(a, b)
    np.testing.assert_array_equal(batch.voxels, np.stack([a.voxels, b.voxels]))
    assert batch.metadata is None
    first = jax.jit(lambda x: mj.unstack(x)[1])(batch)
    np.testing.assert_array_equal(first.voxels, b.voxels)


def test_batch_properties_and_vmap_see_single_images() -> None:
    batch = mj.stack([scan("a"), scan("b")])
    assert batch.spacing.shape == batch.origin.shape == (2, 3)
    assert batch.direction.shape == (2, 3, 3)
    assert batch.affine_ras.shape == (2, 4, 4)

    def check(image: Image) -> Any:
        assert (image.batch_shape, image.shape, image.metadata) == ((), (3, 4, 5), None)
        return jnp.asarray(image.spacing)

    np.testing.assert_allclose(jax.vmap(check)(batch), batch.spacing, rtol=4 * float(np.finfo(np.float32).eps))


def test_one_metadata_for_a_whole_batch() -> None:
    metadata = Metadata(patient_id="a")
    batch = Image.from_array(np.zeros((2, 3, 4, 5)), affine=np.stack([np.eye(4)] * 2), metadata=metadata)
    assert [item.metadata for item in mj.unstack(batch)] == [metadata, metadata]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "at least one image"),
        ([scan("a"), scan("b", shape=(3, 4, 6))], "image 1 has shape, dtype and kind"),
        ([scan("a"), scan("b").with_voxels(np.zeros((3, 4, 5), np.int16))], "image 1 has shape, dtype and kind"),
        ([mj.stack([scan("a")])], "image 0 is a batch"),
    ],
)
def test_stack_refuses(images: list[Image], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mj.stack(images)


def test_unstack_refuses_a_single_image() -> None:
    with pytest.raises(ValueError, match="no batch axis"):
        mj.unstack(scan("a"))


def test_orientation_of_a_traced_image_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ValueError, match="reorient before jit"):
        jax.jit(lambda x: x.with_voxels(x.voxels * len(x.orientation)))(scan("a"))
