"""A function of the user's between metadata that are taken off and put back: the right scan's, none, or an error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import medjax as mj
from medjax import Image, Metadata


def scan(name: str | None = "a", value: float = 1.0) -> Image:
    metadata = None if name is None else Metadata(patient_id=name, extra={"number": 3})
    return Image.from_array(np.full((3, 4, 5), value, np.float32), spacing=(0.7, 1, 2.5), metadata=metadata)


def doubled(image: Image) -> Image:
    assert image.metadata is None
    return image.with_voxels(image.voxels * 2)


def energy(image: Image) -> Any:
    return (image.voxels**2).sum()


ONE: dict[str, tuple[Callable[..., Any], Callable[[Any], Image]]] = {
    "eager": (doubled, lambda out: out),
    "jit": (jax.jit(doubled), lambda out: out),
    "grad": (jax.grad(energy, allow_int=True), lambda out: out),
    "value and grad": (jax.value_and_grad(energy), lambda out: out[1]),
    "checkpoint": (jax.checkpoint(doubled), lambda out: out),
    "jit in a dictionary": (jax.jit(lambda x: {"n": 1, "list": [None, doubled(x)]}), lambda out: out["list"][1]),
    "operations": (jax.jit(lambda x: mj.flip(mj.resample_to_spacing(x, 1.0, size=(2, 4, 12)), 0)), lambda out: out),
}


@pytest.mark.parametrize(("function", "part"), ONE.values(), ids=ONE)
def test_one_scan_gets_its_metadata_back(function: Any, part: Any) -> None:
    """The result is the function's, and nothing but its metadata differs."""
    image = scan()
    out, plain = part(mj.keep_metadata(function)(image)), part(function(image.with_metadata(None)))
    assert out.metadata is image.metadata
    assert plain.metadata is None
    assert (out.kind, out.dtype, out.shape) == (plain.kind, plain.dtype, plain.shape)
    np.testing.assert_array_equal(out.voxels, plain.voxels)
    np.testing.assert_array_equal(out.affine, np.asarray(plain.affine, np.float64))


def test_scans_share_a_compilation_and_keep_apart(compilations: Any) -> None:
    function = mj.keep_metadata(jax.jit(lambda image: image.with_voxels(image.voxels + 1)))
    images = [scan(name) for name in ("a", "b", "c", None, "a")]
    with compilations:
        found = [function(image).metadata for image in images]
    assert [known is image.metadata for known, image in zip(found, images, strict=True)] == [True] * 5
    assert compilations.count == 1


def test_images_with_equal_metadata_are_one_scan() -> None:
    image = scan()
    function = mj.keep_metadata(jax.jit(lambda image, mask: (image, mask)))
    out = function(image, mask=image.with_voxels(image.voxels > 0))
    assert [part.metadata for part in out] == [image.metadata] * 2
    assert [part.metadata for part in function(image, scan())] == [image.metadata] * 2
    assert mj.keep_metadata(lambda x: x)(scan(None)).metadata is None
    assert mj.keep_metadata(lambda x: x)(3) == 3


def both(a: Image, b: Image, n: int = 1) -> dict[str, Any]:
    return {"first": b, "rest": [a, b, n]}


PREFIXES: dict[str, tuple[Any, list[str | None]]] = {
    "one for all": ("b", ["b", "b", "b"]),
    "by position": (0, ["a", "a", "a"]),
    "from the end": (-1, ["b", "b", "b"]),
    "a prefix": ({"first": "b", "rest": "a"}, ["b", "a", "a"]),
    "each": ({"first": 1, "rest": [0, 1, None]}, ["b", "a", "b"]),
    "none": ({"first": None, "rest": ["a", None, None]}, [None, "a", None]),
}


@pytest.mark.parametrize(("of", "names"), PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("compiled", [both, jax.jit(both)], ids=["eager", "jit"])
def test_whose_metadata_go_where(of: Any, names: list[str | None], compiled: Any) -> None:
    out = mj.keep_metadata(compiled, of=of)(scan("a"), scan("b"))
    metadata = [image.metadata for image in (out["first"], *out["rest"][:2])]
    assert [known and known.patient_id for known in metadata] == names


def test_an_argument_by_its_name_however_it_is_given() -> None:
    def function(*, moving: Image, fixed: Image) -> Image:
        return moving

    a, b = scan("a"), scan("b")
    for inner in (function, jax.jit(function), functools.partial(function, fixed=b)):
        given = {"moving": a} if isinstance(inner, functools.partial) else {"moving": a, "fixed": b}
        assert mj.keep_metadata(inner, of="moving")(**given).metadata is a.metadata
    assert mj.keep_metadata(jax.jit(both), of="b")(a, b=b)["first"].metadata is b.metadata


def test_metadata_that_the_function_gives_stay() -> None:
    own = Metadata(modality="PT")
    out = mj.keep_metadata(lambda image: (image, image.with_metadata(own)))(scan())
    assert (out[0].metadata, out[1].metadata) == (scan().metadata, own)


def test_within_a_transformation_there_is_nothing_to_keep() -> None:
    image = scan()
    keeping = mj.keep_metadata(lambda image: image.with_voxels(image.voxels * 2))
    assert jax.jit(keeping)(image).metadata is None
    gradient = jax.grad(lambda image: energy(keeping(image)))(image)
    np.testing.assert_array_equal(gradient.voxels, np.full((3, 4, 5), 8.0))  # of (2 x)^2 at 1


def test_a_batch_needs_a_word_about_its_items() -> None:
    batch = mj.stack([scan("a"), scan("b", 2.0)])
    function = jax.vmap(jax.jit(doubled))
    with pytest.raises(ValueError, match=r"the arguments hold a batch of several scans, .* say item_by_item=True"):
        mj.keep_metadata(function)(batch)
    out = mj.keep_metadata(function, item_by_item=True)(batch)
    assert out.metadata == batch.metadata
    np.testing.assert_array_equal(out.voxels, 2 * batch.voxels)
    mean = mj.keep_metadata(jax.jit(lambda x: jax.tree.map(lambda leaf: leaf.mean(0), x)), item_by_item=True)(batch)
    assert mean.metadata is None
    assert mj.keep_metadata(lambda x: mj.unstack(x)[1], item_by_item=True)(batch).metadata is None


def test_a_batch_of_one_scan_is_one_scan() -> None:
    frames = mj.stack([scan("a"), scan("a", 2.0)])
    out = mj.keep_metadata(jax.jit(lambda x: jax.tree.map(lambda leaf: leaf[::-1], x)))(frames)
    assert [image.metadata for image in mj.unstack(out)] == [scan("a").metadata] * 2
    many = mj.keep_metadata(jax.jit(lambda x: jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), x)))(scan("a"))
    assert [image.metadata for image in mj.unstack(many)] == [scan("a").metadata] * 3


A, B = scan("a"), scan("b")
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "two scans": (
        lambda: mj.keep_metadata(both)(A, B),
        r"the arguments hold images with 2 different metadata .* such as of=0",
    ),
    "two in one": (
        lambda: mj.keep_metadata(lambda x: x, of="x")([A, B]),
        "argument 'x' holds images with 2 different metadata",
    ),
    "unknown": (lambda: mj.keep_metadata(both)(A, scan(None)), "not clear whose the result gets"),
    "position": (lambda: mj.keep_metadata(both, of=2)(A, B), "of=2 names no argument of this call"),
    "name": (lambda: mj.keep_metadata(both, of="c")(A, B), "of='c' names no argument of this call"),
    "prefix": (lambda: mj.keep_metadata(both, of=(0, 1))(A, B), r"of=\(0, 1\) is no prefix of the result"),
    "keys": (lambda: mj.keep_metadata(both, of={"first": 0})(A, B), "is no prefix of the result"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_what_is_ambiguous_or_not_there_is_an_error(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
