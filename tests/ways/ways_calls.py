"""The table's columns: every way to call an operation."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ways_cases import Case, draw_case, named, on_host
from ways_compare import differences

import medjax as mj
from medjax import Image

# From which image and which parameters a result comes, the result, and the case it belongs to.
Answer = tuple[int, int, Mapping[str, Any], Case]

# Voxels of this many bytes reach the device after the call has returned, if JAX is given the caller's own.
LARGE = (32, 31, 30)


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to call an operation.

    Attributes:
        answers: Calls it and yields the results, each to be compared with the eager one on NumPy.
        traces: What is no longer known: "voxels", "affine", "parameters"; or "batch", and "items" where each has its own
            parameters. An operation may refuse it.
    """

    answers: Callable[[Case], Iterator[Answer]]
    traces: frozenset[str] = frozenset()


WAYS: dict[str, Way] = {}


def way(*traces: str) -> Callable[[Any], Any]:
    def added(function: Any) -> Any:
        WAYS[function.__name__] = Way(function, frozenset(traces))
        return function

    return added


def problems(case: Case, name: str) -> list[str]:
    """Calls a case in one way; says what is wrong with the results, or with an error that should have been raised."""
    chosen = WAYS[name]
    if "parameters" in chosen.traces and not case.parameters[0]:
        chosen = dataclasses.replace(chosen, traces=chosen.traces - {"parameters"})
    if chosen.traces & case.operation.meaningless:
        return []
    reasons = [case.operation.refused[part] for part in sorted(chosen.traces) if part in case.operation.refused]
    try:
        answers = [(i, j, on_host(result), of) for i, j, result, of in chosen.answers(case)]
    except Exception as error:  # noqa: BLE001
        if isinstance(error, ValueError) and any(reason in str(error) for reason in reasons):
            return []
        return [f"raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"]
    if reasons and answers:
        return [f"is not refused ({reasons})"]
    is_traced = bool(chosen.traces & {"affine", "parameters"})
    return [text for i, j, found, of in answers for text in differences(of, found, i, j, is_traced=is_traced)]


# --- Images of every make, outside of transformations ----------------------------------------------------------------


def on_device(image: Image) -> Image:
    return image.with_voxels(jnp.asarray(image.voxels))


def locked(image: Image) -> Image:
    voxels = np.array(image.voxels)
    voxels.flags.writeable = False
    return image.with_voxels(voxels)


def loaded(image: Image) -> Image:
    """The image as a file gives it; NIfTI rounds the affine, which is not what is tested here."""
    voxels = image.voxels if image.dtype != np.float16 else image.voxels.astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        mj.save_image(image.with_voxels(voxels).with_metadata(None), Path(folder) / "scan.nii")
        found = mj.load_image(Path(folder) / "scan.nii", kind=image.kind)
    assert np.array_equal(found.voxels, image.voxels), "the file holds other voxels"
    return locked(image) if image.dtype == np.float16 else image.with_voxels(found.voxels)


def any_make(case: Case, image: Image) -> Image:
    """One of the makes, another for each seed and operation."""
    return (lambda x: x, locked, on_device, loaded)[case.rng.integers(4)](image)


@way()
def eager_locked(case: Case) -> Iterator[Answer]:
    yield 0, 0, case.call(locked(case.images[0]), case.parameters[0]), case


@way()
def eager_jax(case: Case) -> Iterator[Answer]:
    yield 0, 0, case.call(on_device(case.images[0]), case.parameters[0]), case


@way()
def eager_loaded(case: Case) -> Iterator[Answer]:
    yield 0, 0, case.call(loaded(case.images[0]), case.parameters[0]), case


def on_jax(case: Case) -> tuple[Any, Case]:
    """The parameters as JAX arrays, and the case whose NumPy parameters are the same numbers: the caller rounded them."""
    given = jax.tree.map(jnp.asarray, case.parameters[0])
    return given, dataclasses.replace(case, parameters=(jax.tree.map(np.asarray, given), *case.parameters[1:]))


@way()
def eager_jax_parameters(case: Case) -> Iterator[Answer]:
    if case.parameters[0]:
        given, rounded = on_jax(case)
        yield 0, 0, case.call(case.images[0], given), rounded


@way()
def from_a_thread(case: Case) -> Iterator[Answer]:
    with ThreadPoolExecutor(2) as pool:
        calls = [(n, pool.submit(case.call, case.images[n], case.parameters[n])) for n in range(3)]
        for n, call in calls:
            yield n, n, call.result(), case


@way()
def within_buckets(case: Case) -> Iterator[Answer]:
    with mj.shape_buckets():
        yield 0, 0, case.call(case.images[0], case.parameters[0]), case


@way()
def within_fuse(case: Case) -> Iterator[Answer]:
    call = mj.fuse(lambda image: case.operation.call(image, case.parameters[0], case.options))
    yield 0, 0, named(call(case.images[0])), case


@functools.cache
def _work() -> tuple[Any, Any]:
    """Some milliseconds of work for all threads of the device."""
    work = jax.jit(lambda x: jax.lax.fori_loop(0, 12, lambda _, x: jnp.sin(x) + 1, x))
    waiting = jnp.ones((64, 64, 64))
    jax.block_until_ready(work(waiting))
    return work, waiting


@way()
def refilled_while_busy(case: Case) -> Iterator[Answer]:
    """The caller writes into his arrays as soon as the call has returned."""
    image = case.images[0]
    kept = case.operation.dtypes or ((np.int32,) if image.kind == "label" else (np.float32,))
    dtype = kept[0]
    large = draw_case(case.name, case.operation, case.seed, kind=image.kind, shape=LARGE, dtype=dtype)
    large.reference(0, 0)
    work, waiting = _work()
    for _ in range(2):
        given, parameters = jax.tree.map(np.array, (large.images[0], large.parameters[0]))
        given = given.with_metadata(large.images[0].metadata)
        busy = work(waiting)
        result = large.call(given, parameters)
        arrays = [x for x in jax.tree.leaves((given, parameters)) if x.flags.writeable]
        # NumPy that is returned is known to the caller, and may be a view of his own.
        result = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in result.items()}
        for array in arrays:
            array[...] = 77
        yield 0, 0, on_host(result), large
        busy.block_until_ready()


# --- jit -------------------------------------------------------------------------------------------------------------


@way("voxels", "affine")
def jit_image(case: Case) -> Iterator[Answer]:
    yield 0, 0, jax.jit(lambda image: case.call(image, case.parameters[0]))(any_make(case, case.images[0])), case


@way("voxels", "affine", "parameters")
def jit_image_and_parameters(case: Case) -> Iterator[Answer]:
    yield 0, 0, jax.jit(case.call)(any_make(case, case.images[0]), case.parameters[0]), case


@way()
def jit_closed_over(case: Case) -> Iterator[Answer]:
    image = any_make(case, case.images[0])
    yield 0, 0, jax.jit(lambda: jax.tree.map(jnp.asarray, case.call(image, case.parameters[0])))(), case


@way()
def jit_closed_over_jax(case: Case) -> Iterator[Answer]:
    image, (parameters, rounded) = on_device(case.images[0]), on_jax(case)
    yield 0, 0, jax.jit(lambda: jax.tree.map(jnp.asarray, case.call(image, parameters)))(), rounded


@way("voxels")
def jit_voxels(case: Case) -> Iterator[Answer]:
    image = case.images[0]
    call = jax.jit(lambda voxels: case.call(image.with_voxels(voxels), case.parameters[0]))
    yield 0, 0, call(any_make(case, image).voxels), case


@way("parameters")
def jit_parameters(case: Case) -> Iterator[Answer]:
    if case.parameters[0]:
        image = any_make(case, case.images[0])
        yield 0, 0, jax.jit(lambda parameters: case.call(image, parameters))(case.parameters[0]), case


# --- Batches ---------------------------------------------------------------------------------------------------------


def together(*items: Any) -> Any:
    """Stacks parameters or images."""
    return jax.tree.map(
        lambda *parts: mj.stack(list(parts)) if isinstance(parts[0], Image) else np.stack(parts),
        *items,
        is_leaf=lambda x: isinstance(x, Image),
    )


def items_of(case: Case, result: Mapping[str, Any], *sources: tuple[int, int]) -> Iterator[Answer]:
    for n, (image, parameters) in enumerate(sources):
        yield image, parameters, {name: value[n] for name, value in result.items()}, case


@way("voxels", "affine")
def vmap_images(case: Case) -> Iterator[Answer]:
    images = together(case.images[0], case.images[2])
    out = jax.vmap(lambda image: case.call(image, case.parameters[0]))(images)
    yield from items_of(case, out, (0, 0), (2, 0))


@way("voxels")
def vmap_voxels(case: Case) -> Iterator[Answer]:
    image = case.images[0]
    voxels = np.stack([image.voxels, case.images[2].voxels])
    out = jax.vmap(lambda item: case.call(image.with_voxels(item), case.parameters[0]))(voxels)
    yield from items_of(case, out, (0, 0), (2, 0))


@way("parameters")
def vmap_parameters(case: Case) -> Iterator[Answer]:
    if case.parameters[0]:
        image = any_make(case, case.images[0])
        out = jax.vmap(lambda parameters: case.call(image, parameters))(
            together(case.parameters[0], case.parameters[2])
        )
        yield from items_of(case, out, (0, 0), (0, 2))


@way("voxels", "affine", "parameters")
def vmap_both(case: Case) -> Iterator[Answer]:
    out = jax.vmap(case.call)(together(*case.images[:2]), together(*case.parameters[:2]))
    yield from items_of(case, out, (0, 0), (1, 1))


@way("batch")
def item_of_a_batch(case: Case) -> Iterator[Answer]:
    if not case.operation.has_image:
        return
    if any(isinstance(value, Image) for value in case.parameters[0].values()):  # one image for each item
        parameters = together(case.parameters[0], case.parameters[0])
    else:
        parameters = case.parameters[0]
    out = case.call(together(case.images[0], case.images[2]), parameters)
    yield from items_of(case, out, (0, 0), (2, 0))


@way("batch", "items")
def item_of_a_batch_with_its_own_parameters(case: Case) -> Iterator[Answer]:
    if case.parameters[0]:
        out = case.call(together(*case.images[:2]), together(*case.parameters[:2]))
        yield from items_of(case, out, (0, 0), (1, 1))


# --- The settings of JAX ---------------------------------------------------------------------------------------------


@way()
def under_disable_jit(case: Case) -> Iterator[Answer]:
    with jax.disable_jit():
        yield 0, 0, case.call(on_device(case.images[0]), case.parameters[0]), case


@way()
def under_debug_nans(case: Case) -> Iterator[Answer]:
    with jax.debug_nans(True):
        yield 0, 0, case.call(on_device(case.images[0]), case.parameters[0]), case


@way()
def under_strict_promotion(case: Case) -> Iterator[Answer]:
    """As the whole table, jit and vmap included, which pytest runs so; here whatever conftest.py says."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield 0, 0, case.call(on_device(case.images[0]), case.parameters[0]), case


@way()
def under_usual_promotion(case: Case) -> Iterator[Answer]:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield 0, 0, case.call(on_device(case.images[0]), case.parameters[0]), case
