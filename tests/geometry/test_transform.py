"""World transforms: `.of` checks, the constructors do not, and what they let through is refused where it is used."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import medjax as mj

IMAGE = mj.Image.from_array(np.arange(8.0, dtype=np.float32).reshape(2, 2, 2))
SHIFT = np.ones((2, 2, 2, 3), np.float32)

BAD: dict[str, tuple[Any, str]] = {
    "matrix 3x3": (mj.AffineTransform(np.eye(3), np.zeros(3)), r"\(..., 4, 4\) matrix, got shape \(3, 3\)"),
    "matrix nan": (mj.AffineTransform(np.eye(4) * np.nan, np.zeros(3)), "finite with last row"),
    "matrix list": (mj.AffineTransform(np.eye(4).tolist(), np.zeros(3)), "AffineTransform.of makes them"),
    "matrix None": (mj.AffineTransform(None, None), r"\(..., 4, 4\) matrix, got shape \(\)"),
    "center": (mj.AffineTransform(np.eye(4), np.zeros(2)), r"center must be three numbers.* \(2,\)"),
    "center infinite": (mj.AffineTransform(np.eye(4), np.full(3, np.inf)), "center must be finite"),
    "field list": (mj.DisplacementField([[1.0]], np.eye(4)), "holds an array, got list; DisplacementField.of"),
    "field of two": (mj.DisplacementField(SHIFT[..., :2], np.eye(4)), r"\(i, j, k, 3\).* got float32 of shape"),
    "field complex": (mj.DisplacementField(SHIFT * 1j, np.eye(4)), "got complex64"),
    "affine 3x3": (mj.DisplacementField(SHIFT, np.eye(3)), r"affine must be \(..., 4, 4\)"),
    "affine singular": (mj.DisplacementField(SHIFT, np.diag([1.0, 1, 0, 1])), "affine is singular"),
    "no transforms": (mj.CompositeTransform((np.eye(4),)), "got ndarray; wrap a 4x4 matrix in AffineTransform.of"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.usefixtures("unchecked")
def test_what_a_constructor_lets_through_is_refused_on_use(name: str) -> None:
    """Resampling, a composite around it and a plan say the same."""
    transform, message = BAD[name]
    for use in (
        lambda: mj.resample_to_image(IMAGE, IMAGE, transform=transform),
        lambda: mj.plan(IMAGE.grid, IMAGE.grid, transform),
        lambda: mj.CompositeTransform.of(transform),
        lambda: mj.resample_to_image(IMAGE, IMAGE, transform=mj.CompositeTransform((transform,))),
    ):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize("name", [name for name in BAD if name.startswith(("matrix", "center"))])
@pytest.mark.usefixtures("unchecked")
def test_an_affine_transform_that_is_none_neither_maps_points_nor_has_an_inverse(name: str) -> None:
    transform, message = BAD[name]
    for use in (lambda: transform(np.zeros(3)), transform.inverse):
        with pytest.raises(ValueError, match=message):
            use()


GOOD: dict[str, Callable[[], Any]] = {
    "affine": lambda: mj.AffineTransform.of(np.eye(4), center=(1, 2, 3)),
    "field": lambda: mj.DisplacementField.of(SHIFT, np.eye(4)),
    "composite": lambda: mj.CompositeTransform.of(
        mj.AffineTransform.of(np.eye(4)), mj.CompositeTransform.of(mj.DisplacementField.of(SHIFT, np.eye(4)))
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_pickle_copy_and_unflatten_keep_a_transform(name: str) -> None:
    made = GOOD[name]()
    leaves, treedef = jax.tree.flatten(made)
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), jax.tree.unflatten(treedef, leaves)):
        assert type(again) is type(made)
        assert jax.tree.structure(again) == treedef  # type: ignore[operator]
        for one, other in zip(jax.tree.leaves(again), leaves, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.usefixtures("unchecked")
def test_a_transform_holds_placeholders(name: str) -> None:
    """As `jax.vmap` and `optax.masked` make them of leaves; a prefix of the tree is one as well."""
    made = GOOD[name]()
    marks = jax.tree.map(lambda leaf: False, made)
    assert set(jax.tree.leaves(marks)) == {False}
    axes = mj.CompositeTransform(0) if name == "composite" else jax.tree.map(lambda leaf: 0, made)  # type: ignore[arg-type]
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), made)
    out = jax.vmap(lambda t: mj.resample_to_image(IMAGE, IMAGE, transform=t, fill=0.0).voxels, in_axes=(axes,))(batch)
    np.testing.assert_allclose(out[1], mj.resample_to_image(IMAGE, IMAGE, transform=made, fill=0.0).voxels, atol=1e-5)


def test_sequences_are_read_by_of() -> None:
    assert mj.DisplacementField.of(SHIFT.tolist(), np.eye(4).tolist()).displacement.shape == SHIFT.shape
    assert mj.AffineTransform.of(np.eye(4).tolist(), center=[1, 2, 3]).center.dtype == np.float64
    assert mj.CompositeTransform.of().transforms == ()
    assert mj.AffineTransform.of(np.diag([2.0, 3, 4, 1]))([1, 1, 1]).tolist() == [2, 3, 4]
