"""Equality of treedefs: it takes all scans for one, and takes nothing from the scan that a treedef belongs to."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import medjax as mj
from medjax import Image, Metadata


def scan(name: str, **options: Any) -> Image:
    values = np.random.default_rng(len(name)).normal(size=(3, 4, 5)).astype(np.float32)
    return Image.from_array(values, spacing=(1, 2, 3), metadata=Metadata(patient_id=name), **options)


def test_comparison_takes_nothing_from_a_scan() -> None:
    a, b = scan("a"), scan("bb")
    of_a: Any = jax.tree.structure(a)
    of_b: Any = jax.tree.structure(b)
    cache = {of_a: "an entry"}
    assert of_a == of_b
    assert cache[of_b] == "an entry"
    for structure, image in ((of_a, a), (of_b, b), (of_a, a)):
        out = jax.tree.unflatten(structure, jax.tree.leaves(image))
        assert out.metadata is image.metadata
        assert out.affine is image.affine
    assert jax.device_put(a).metadata is a.metadata  # which has a treedef of its own


def test_comparison_with_itself_takes_nothing_from_copies() -> None:
    a = scan("a")
    structure: Any = jax.tree.structure(a)
    assert structure == jax.tree.structure(a.with_voxels(a.voxels + 1))
    assert jax.tree.unflatten(structure, jax.tree.leaves(jax.tree.map(jnp.asarray, a))).metadata is a.metadata


def test_compared_treedefs_give_nothing_to_copies_and_nothing_to_others() -> None:
    a, b = scan("a"), scan("bb")
    structure: Any = jax.tree.structure(a)
    assert structure == jax.tree.structure(b)
    for other in (b, jax.device_put(b), jax.device_put(a), a.with_voxels(b.voxels), a.with_voxels(a.voxels + 1)):
        assert jax.tree.unflatten(structure, jax.tree.leaves(other)).metadata is None


def test_one_array_under_two_names() -> None:
    """A template that two patients share, and an anonymised scan: the arrays do not tell whose metadata are meant."""
    a = scan("a")
    for other in (a.with_metadata(Metadata(patient_id="b")), a.with_metadata(None)):
        assert jax.tree.map(lambda x, y: y, a, other).metadata is None
        assert jax.tree.map(lambda x, y: y, other, a).metadata is None


def test_compilation_cache_lets_go_of_the_first_patient() -> None:
    class Tag:
        pass

    tag = Tag()
    operation, alive = jax.jit(lambda x: x), weakref.ref(tag)
    a = scan("a").with_metadata(Metadata(patient_id="a", extra={"tag": tag}))
    structure: Any = jax.tree.structure(a)
    operation(a)
    operation(scan("bb"))
    leaves = jax.tree.leaves(a)
    del tag, a
    assert jax.tree.unflatten(structure, leaves).metadata.patient_id == "a"
    del leaves
    gc.collect()
    assert alive() is None


class Probe:
    """A pytree like an image, which writes down all that JAX tells it."""

    log: list[Any] = []  # noqa: RUF012

    def __init__(self, name: str, leaf: Any):
        self.name, self.leaf = name, leaf


class Aux:
    def __init__(self, name: str):
        self.name = name

    def __eq__(self, other: object) -> bool:
        Probe.log.append(("equal", self.name, getattr(other, "name", None)))
        return True

    def __hash__(self) -> int:
        return 0


def _taken_apart(probe: Probe) -> tuple[tuple[Any], Aux]:
    Probe.log.append(("flatten", probe.name))
    return (probe.leaf,), Aux(probe.name)


def _rebuilt(aux: Aux, leaves: Any) -> Probe:
    Probe.log.append(("unflatten", aux.name, type(leaves[0]), np.asarray(leaves[0]).tolist()))
    return Probe(aux.name, *leaves)


jax.tree_util.register_pytree_node(Probe, _taken_apart, _rebuilt)


def test_why_a_comparison_must_leave_a_mark() -> None:
    """JAX calls a pytree alike where its own copy comes back and where another's does, but for the comparison.

    The metadata of a are right after `device_put`, and after a treedef of a got leaves of a. They are wrong where the leaves
    are b's. So a pytree that keeps metadata through `device_put` must remember that it was compared, and then it cannot know
    a copy of its own leaves from another scan's.
    """

    def calls(way: Any) -> list[Any]:
        a, b = Probe("a", np.zeros(2, np.float32)), Probe("b", jnp.zeros(2, jnp.float32))
        own = jax.device_put(a.leaf)
        Probe.log.clear()
        way(a, b, own)
        return list(Probe.log)

    def own_leaves(a: Any, b: Any, own: Any) -> None:
        structure: Any = jax.tree.structure(a)
        assert structure == jax.tree.structure(b)
        jax.tree.unflatten(structure, [own])

    put = calls(lambda a, b, own: jax.device_put([a, b]))
    of_b = calls(lambda a, b, own: jax.tree.map(lambda x, y: y, a, b))
    assert of_b == calls(own_leaves)  # one wrong, one right: no pytree can tell them apart
    assert put[:3] == [
        call for call in of_b if call[0] != "equal"
    ]  # wrong and right: told apart by the comparison alone


def test_metadata_still_reach_what_a_copy_makes() -> None:
    a, b = scan("a"), scan("bb")
    assert jax.tree.map(lambda x, y: x, a, b).metadata is a.metadata  # the very arrays of a
    kept = jax.device_put({"a": a, "b": [b]})
    assert (kept["a"].metadata, kept["b"][0].metadata) == (a.metadata, b.metadata)
    assert mj.unstack(mj.stack([a, b]))[1].metadata is b.metadata
