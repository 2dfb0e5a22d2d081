"""Making images, their parts, and batches of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scans import oblique_affine, patient_scan
from scipy.spatial.transform import Rotation

import medjax as mj
from medjax import Image, Metadata


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
    image = patient_scan("a")
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
    image = patient_scan("a")
    assert image.with_voxels(np.zeros((3, 4, 5, 2))).channels == (2,)
    with pytest.raises(ValueError, match=r"do not lie on this image's grid, \(3, 4, 5\)"):
        image.with_voxels(np.zeros((3, 5, 4)))
    labels = Image.from_array(np.zeros((3, 4, 5), np.uint8), kind="label")
    with pytest.raises(ValueError, match="label image holds integers"):
        labels.with_voxels(np.zeros((3, 4, 5)))
    assert labels.with_kind("intensity").with_voxels(np.zeros((3, 4, 5))).kind == "intensity"


# --- Batches ---------------------------------------------------------------------------------------------------------


def test_stack_and_unstack_are_inverse() -> None:
    images = [patient_scan(name, affine=oblique_affine(origin=(number, 2.0, 3.0))) for number, name in enumerate("abc")]
    batch = mj.stack(images)
    assert (batch.batch_shape, batch.shape, batch.channels) == ((3,), (3, 4, 5), ())
    assert batch.orientation == (images[0].orientation,) * 3
    for image, again in zip(images, mj.unstack(batch), strict=True):
        np.testing.assert_array_equal(again.voxels, image.voxels)
        np.testing.assert_array_equal(again.affine, image.affine)
        assert again.affine.dtype == np.float64
        assert again.metadata is image.metadata


def test_stack_of_device_images_keeps_the_float64_affine() -> None:
    batch = mj.stack([jax.device_put(patient_scan("a")), jax.device_put(patient_scan("b"))])
    assert isinstance(batch.voxels, jax.Array)
    assert isinstance(batch.affine, np.ndarray)
    assert batch.affine.dtype == np.float64


def test_stack_under_jit() -> None:
    a, b = patient_scan("a"), patient_scan("b")
    batch = jax.jit(lambda x, y: mj.stack([x, y]))(a, b)
    np.testing.assert_array_equal(batch.voxels, np.stack([a.voxels, b.voxels]))
    assert batch.metadata is None
    first = jax.jit(lambda x: mj.unstack(x)[1])(batch)
    np.testing.assert_array_equal(first.voxels, b.voxels)


def test_batch_properties_and_vmap_see_single_images() -> None:
    batch = mj.stack([patient_scan("a"), patient_scan("b")])
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
        ([patient_scan("a"), patient_scan("b", shape=(3, 4, 6))], "image 1 has shape, dtype and kind"),
        (
            [patient_scan("a"), patient_scan("b").with_voxels(np.zeros((3, 4, 5), np.int16))],
            "image 1 has shape, dtype and kind",
        ),
        ([mj.stack([patient_scan("a")])], "image 0 is a batch"),
    ],
)
def test_stack_refuses(images: list[Image], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mj.stack(images)


def test_unstack_refuses_a_single_image() -> None:
    with pytest.raises(ValueError, match="no batch axis"):
        mj.unstack(patient_scan("a"))


def test_orientation_of_a_traced_image_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ValueError, match="reorient before jit"):
        jax.jit(lambda x: x.with_voxels(x.voxels * len(x.orientation)))(patient_scan("a"))
