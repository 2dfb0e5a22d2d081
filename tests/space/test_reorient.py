"""Exact changes of orientation: views, batches, errors. Parity with SimpleITK and the axioms have files of their own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from scans import oblique_affine
from spatial_cases import CODES, labels, on_device, scan

import medjax as mj
from medjax import Image


@pytest.mark.parametrize("code", CODES)
def test_same_as_nibabel(code: str) -> None:
    """`as_reoriented` of the affine in RAS, for every code."""
    image = scan(1)
    source = nibabel.Nifti1Image(image.voxels, image.affine_ras)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(source.affine), nibabel.orientations.axcodes2ornt(code)
    )
    theirs = source.as_reoriented(turn)
    ours = mj.change_orientation(image, code)
    np.testing.assert_array_equal(ours.voxels, theirs.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(ours.affine_ras, theirs.affine, rtol=0, atol=1e-9)
    assert nibabel.aff2axcodes(ours.affine_ras) == tuple(code)


def test_numpy_voxels_stay_a_view_and_jax_voxels_a_jax_array() -> None:
    image = scan(2)
    for out in (mj.change_orientation(image, "SAR"), mj.flip(image, (0, 2))):
        assert np.shares_memory(out.voxels, image.voxels)
        assert isinstance(out.voxels, np.ndarray)
    moved = mj.change_orientation(on_device(image), "SAR")
    assert isinstance(moved.voxels, jax.Array)
    np.testing.assert_array_equal(moved.voxels, mj.change_orientation(image, "SAR").voxels)


def test_lower_case_codes() -> None:
    assert mj.change_orientation(scan(0), "ras").orientation == "RAS"


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float16, np.complex128, np.bool_, np.float64])
def test_every_dtype_is_kept(dtype: Any) -> None:
    image = scan(3, dtype=dtype)
    for out in (mj.change_orientation(image, "SAR"), mj.flip(image, 1)):
        assert out.dtype == dtype
        np.testing.assert_array_equal(np.sort(out.voxels, axis=None), np.sort(image.voxels, axis=None))


def test_a_batch_in_one_orientation() -> None:
    items = [scan(n, affine=oblique_affine((4.0 * n, 2, 1))) for n in range(3)]
    out = mj.change_orientation(mj.stack(items), "ASR")
    assert out.orientation == ("ASR",) * 3
    for one, item in zip(mj.unstack(out), items, strict=True):
        expected = mj.change_orientation(item, "ASR")
        np.testing.assert_array_equal(one.voxels, expected.voxels)
        np.testing.assert_allclose(one.affine, expected.affine, rtol=0, atol=1e-9)
        assert one.metadata is item.metadata


def test_a_batch_in_several_orientations_is_refused() -> None:
    batch = mj.stack([scan(0), scan(1, affine=oblique_affine((180, 0, 0)))])
    with pytest.raises(ValueError, match=r"different orientations, \('LPS', 'LAI'\): reorient them before stack"):
        mj.change_orientation(batch, "RAS")


def test_flip_by_letters_and_numbers() -> None:
    image = scan(4)
    np.testing.assert_array_equal(mj.flip(image, "j").voxels, image.voxels[:, ::-1])
    np.testing.assert_array_equal(mj.flip(image, ["i", 2]).voxels, image.voxels[::-1, :, ::-1])
    np.testing.assert_array_equal(mj.flip(image, ()).voxels, image.voxels)
    twice = mj.flip(mj.flip(image, (0, 1, 2)), (2, 1, 0))
    np.testing.assert_array_equal(twice.voxels, image.voxels)
    np.testing.assert_allclose(twice.affine, image.affine, rtol=0, atol=1e-9)


@pytest.mark.parametrize("code", ["", "RA", "RASP", "RAR", "XYZ", "LPL", 5])
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_code(code: Any) -> None:
    with pytest.raises(ValueError, match=r"three letters, one of each pair R/L, A/P, I/S.*got"):
        mj.change_orientation(scan(0), code)


@pytest.mark.parametrize("axes", [3, -1, "x", (0, 5), True, 0.5, None])
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_axis(axes: Any) -> None:
    with pytest.raises(ValueError, match=r"axis must be 0, 1, 2 or 'i', 'j', 'k', got"):
        mj.flip(scan(0), axes)


def test_an_axis_twice() -> None:
    with pytest.raises(ValueError, match=r"axes must differ, got \[0, 'i'\]"):
        mj.flip(scan(0), (0, "i"))


def test_under_transformations() -> None:
    image = scan(5)
    with pytest.raises(ValueError, match=r"traced here: change the orientation before jit, or close over"):
        jax.jit(lambda x: mj.change_orientation(x, "RAS"))(image)
    closed = jax.jit(lambda v: mj.change_orientation(image.with_voxels(v), "SAR").voxels)(image.voxels)
    np.testing.assert_array_equal(closed, mj.change_orientation(image, "SAR").voxels)
    flipped = jax.jit(lambda x: mj.flip(x, (0, 1)))(image)
    expected = mj.flip(image, (0, 1))
    np.testing.assert_array_equal(flipped.voxels, expected.voxels)
    np.testing.assert_allclose(flipped.affine, expected.affine, rtol=1e-5)  # traced: float32
    weights = np.random.default_rng(0).normal(size=(13, 8, 11)).astype(np.float32)
    gradient = jax.grad(lambda v: (mj.change_orientation(image.with_voxels(v), "SAR").voxels * weights).sum())(
        jnp.asarray(image.voxels)
    )
    there = Image.from_array(weights, affine=mj.change_orientation(image, "SAR").affine)
    np.testing.assert_array_equal(gradient, mj.change_orientation(there, image.orientation).voxels)


def test_labels_stay_labels() -> None:
    assert mj.change_orientation(labels(0), "SAR").kind == mj.flip(labels(0), 0).kind == "label"
