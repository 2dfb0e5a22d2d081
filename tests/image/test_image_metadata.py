"""Never another scan's metadata: whichever way an image takes through JAX's transformations and caches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from scans import patient_scan

import medjax as mj
from medjax import Image, Metadata

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
    a, b = patient_scan("a"), patient_scan("b", metadata=Metadata(patient_id="b") if known == "both" else None)
    found = jax.tree.leaves(case(a, b), is_leaf=lambda x: isinstance(x, Image))
    images = [x for x in found if isinstance(x, Image)]
    assert images
    for image in images:
        assert image.metadata is None or image.metadata is b.metadata


def test_metadata_of_one_batch_item_never_moves_to_another() -> None:
    images = [patient_scan("a"), patient_scan("b"), patient_scan("c")]
    batch = mj.stack(images)
    assert [item.metadata for item in mj.unstack(batch)] == [image.metadata for image in images]
    for moved in (jax.tree.map(lambda x: x[::-1], batch), jax.device_put(batch), jax.jit(lambda x: x)(batch)):
        assert moved.metadata is None


def test_compilation_cache_forgets_the_first_patient() -> None:
    operation = jax.jit(lambda x: x)
    a, b = patient_scan("a"), patient_scan("b")
    treedef: Any = jax.tree.structure(a)
    operation(a)
    assert treedef == jax.tree.structure(b)  # what the cache does when b comes
    assert jax.tree.unflatten(treedef, jax.tree.leaves(a)).metadata is None


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
