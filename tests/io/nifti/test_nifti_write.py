"""Writing NIfTI: round trips, what nibabel and SimpleITK read of our files, and which header fields come back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.testing import data_path
from nifti_bytes import OBLIQUE, extension, header_and_voxels, lps, nifti_bytes, ramp
from shared_data import DATA, needs_data

import medjax as mj

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64"]
THIRTY_TWO_BITS = 1e-4  # mm: coordinates of up to 1000 mm, rounded to 24 bits

NIFTI2 = mj.Metadata(extra={"sizeof_hdr": 540})


def full_range(name: str, shape: tuple[int, ...] = (7, 5, 4)) -> np.ndarray:
    """Random voxels that use every bit, so that no detour through another type goes unnoticed."""
    rng, dtype = np.random.default_rng(0), np.dtype(name)
    if dtype.kind == "f":
        return rng.normal(0, 1e3, shape).astype(dtype)
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def saved(image: mj.Image, path: Path) -> Any:
    mj.save_image(image, path)
    return mj.load_image(path)


def rewritten(content: bytes, folder: Path, change: Any = lambda image: image, name: str = "out.nii") -> Any:
    """Loads a file of the given content, changes the image, saves it, and returns nibabel's view of the result."""
    (folder / "in.nii").write_bytes(content)
    mj.save_image(change(mj.load_image(folder / "in.nii")), folder / name)
    return nib.load(folder / name)  # type: ignore[attr-defined]


# Round trips


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("target", ["a.nii", "a.nii.gz", "a.nii.bz2", "a.hdr", "a.img.gz", "nifti2.nii", "nifti2.hdr"])
def test_round_trip(tmp_path: Path, name: str, target: str) -> None:
    voxels = full_range(name)
    metadata = NIFTI2 if "nifti2" in target else None
    image = mj.Image.from_array(voxels, affine=lps(OBLIQUE), metadata=metadata)
    again = saved(image, tmp_path / target)
    np.testing.assert_array_equal(again.voxels, voxels)
    np.testing.assert_array_equal(again.affine, image.affine)
    assert (again.dtype, again.kind) == (voxels.dtype, "intensity")

    theirs: Any = nib.load(tmp_path / target)  # type: ignore[attr-defined]
    assert theirs.header.sizeof_hdr == (540 if "nifti2" in target else 348)
    assert theirs.get_data_dtype() == voxels.dtype
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), voxels)
    np.testing.assert_allclose(theirs.affine, OBLIQUE, atol=1e-9 if "nifti2" in target else 1e-5)
    np.testing.assert_allclose(theirs.get_qform(), OBLIQUE, atol=1e-5)
    assert (int(theirs.header["sform_code"]), int(theirs.header["qform_code"])) == (1, 1)
    assert theirs.header.get_xyzt_units()[0] == "mm"

    if "nifti2" in target or target.endswith("bz2"):  # SimpleITK reads neither
        return
    theirs = sitk.ReadImage(str(tmp_path / target))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs).T, voxels)
    np.testing.assert_allclose(theirs.GetOrigin(), image.origin, atol=THIRTY_TWO_BITS)
    np.testing.assert_allclose(theirs.GetSpacing(), image.spacing, rtol=1e-6)
    np.testing.assert_allclose(np.reshape(theirs.GetDirection(), (3, 3)), image.direction, atol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(33, 21, 17), (40, 30, 20, 3), (5, 1, 1), (1, 1, 99), (3, 4, 5, 6, 7), (1000, 2, 2)])
@pytest.mark.parametrize("block_bytes", [64, 1000, 2**24])
def test_memory_order_and_blocks_do_not_matter(
    tmp_path: Path, shape: tuple[int, ...], order: Any, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written in one piece, in slabs of the last axis, or in slabs of single volumes."""
    # Private: the size of blocks, so that a small file has several.
    monkeypatch.setattr("medjax.io._disk._blocks._BLOCK_BYTES", block_bytes)
    voxels = np.asarray(ramp(shape, np.int32), order=order)
    np.testing.assert_array_equal(saved(mj.Image.from_array(voxels), tmp_path / "a.nii").voxels, voxels)


@pytest.mark.parametrize("target", ["a.nii.zst", "A.NII.GZ", "a.img"])
def test_other_names(tmp_path: Path, target: str) -> None:
    if target.endswith("zst"):
        pytest.importorskip("zstandard")
    image = mj.Image.from_array(full_range("int16"), affine=lps(OBLIQUE))
    again = saved(image, tmp_path / target)
    np.testing.assert_array_equal(again.voxels, image.voxels)
    np.testing.assert_array_equal(again.affine, image.affine)


def test_many_voxels(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, (301, 201, 151)).astype(np.int16)  # more than one block
    image = mj.Image.from_array(voxels)
    np.testing.assert_array_equal(saved(image, tmp_path / "a.nii.gz").voxels, voxels)


def test_views_and_big_endian_voxels(tmp_path: Path) -> None:
    voxels = ramp((14, 10, 8), ">i4")[::2, ::-1, ::2]
    again = saved(mj.Image.from_array(voxels), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again.voxels, voxels)


def test_jax_voxels(tmp_path: Path) -> None:
    voxels = jnp.arange(60, dtype=jnp.float32).reshape(5, 4, 3)
    np.testing.assert_array_equal(saved(mj.Image.from_array(voxels), tmp_path / "a.nii.gz").voxels, voxels)


@pytest.mark.parametrize(
    "shape", [(7, 5, 4), (7, 5, 4, 1), (7, 5, 4, 3), (7, 5, 4, 1, 3), (7, 5, 4, 2, 3), (7, 5, 4, 1, 1)]
)
def test_channels_come_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = mj.Image.from_array(full_range("float32", shape))
    again = saved(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(again.voxels, image.voxels)


def test_time_and_vectors_are_told_apart(tmp_path: Path) -> None:
    voxels = full_range("float32", (7, 5, 4, 3))
    for intent, shape in ((0, (7, 5, 4, 3)), (1007, (7, 5, 4, 1, 3)), (1006, (7, 5, 4, 1, 3))):
        image = mj.Image.from_array(voxels, metadata=mj.Metadata(extra={"intent_code": intent}))
        assert saved(image, tmp_path / "a.nii").voxels.shape == voxels.shape
        theirs: Any = nib.load(tmp_path / "a.nii")  # type: ignore[attr-defined]
        assert theirs.shape == shape
        assert theirs.header["intent_code"] == intent
    assert sitk.ReadImage(str(tmp_path / "a.nii")).GetNumberOfComponentsPerPixel() == 3


def test_too_many_axes(tmp_path: Path) -> None:
    image = mj.Image.from_array(np.zeros((2, 2, 2, 2, 2, 2, 2, 2)))
    with pytest.raises(mj.io.UnsupportedFileError, match="NIfTI holds 7 axes"):
        mj.save_image(image, tmp_path / "a.nii")


def test_large_axes_need_nifti2(tmp_path: Path) -> None:
    image = mj.Image.from_array(np.arange(40000, dtype=np.uint16).reshape(40000, 1, 1))
    np.testing.assert_array_equal(saved(image, tmp_path / "a.nii").voxels, image.voxels)
    assert (tmp_path / "a.nii").read_bytes()[:2] == (540).to_bytes(2, "little")


def test_two_dimensional_files_stay_two_dimensional(tmp_path: Path) -> None:
    theirs = rewritten(nifti_bytes(ramp((7, 5))), tmp_path)
    assert theirs.shape == (7, 5)
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), ramp((7, 5)))


# Voxel types


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16], ids=["float16", "bfloat16"])
def test_short_floats_become_float32(tmp_path: Path, dtype: Any) -> None:
    voxels = full_range("float32").astype(dtype)
    again = saved(mj.Image.from_array(voxels), tmp_path / "a.nii")
    np.testing.assert_array_equal(again.voxels, voxels.astype(np.float32))
    assert again.dtype == np.float32
    assert again.metadata.extra["saved_from_dtype"] == np.dtype(dtype).name
    assert "saved_from_dtype" not in saved(again, tmp_path / "b.nii").metadata.extra  # no longer true


def test_bool_becomes_uint8(tmp_path: Path) -> None:
    voxels = ramp() % 2 == 0
    again = saved(mj.Image.from_array(voxels, kind="label"), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again.voxels, voxels)
    assert (again.kind, again.dtype, again.metadata.extra["saved_from_dtype"]) == ("label", np.uint8, "bool")


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_voxels_stay_complex(tmp_path: Path, dtype: Any) -> None:
    voxels = (full_range("float64") + 1j * full_range("float32")).astype(dtype)
    np.testing.assert_array_equal(saved(mj.Image.from_array(voxels), tmp_path / "a.nii").voxels, voxels)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "a.nii").dataobj), voxels)  # type: ignore[attr-defined]


def test_types_that_nifti_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(mj.io.UnsupportedFileError, match="NIfTI has no voxel type float128"):
        mj.save_image(mj.Image.from_array(np.zeros((2, 2, 2), np.longdouble)), tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())


def test_non_finite_voxels_stay(tmp_path: Path) -> None:
    voxels = full_range("float32")
    voxels[0, 0, 0], voxels[1, 1, 1] = np.nan, np.inf
    np.testing.assert_array_equal(saved(mj.Image.from_array(voxels), tmp_path / "a.nii").voxels, voxels)


@pytest.mark.parametrize(("code", "components"), [(128, 3), (2304, 4)], ids=["RGB", "RGBA"])
def test_colours_come_back_as_colours(tmp_path: Path, code: int, components: int) -> None:
    voxels = np.arange(7 * 5 * 4 * components, dtype=np.uint8).reshape(7, 5, 4, components)
    header, _ = header_and_voxels(voxels[..., 0], code=code, bitpix=8 * components)
    theirs = rewritten(header + np.moveaxis(voxels, -1, 0).tobytes(order="F"), tmp_path)
    assert theirs.header["datatype"] == code
    stored = np.asarray(theirs.dataobj)
    assert all(np.array_equal(stored[name], voxels[..., n]) for n, name in enumerate("RGBA"[:components]))
    np.testing.assert_array_equal(mj.load_image(tmp_path / "out.nii").voxels, voxels)


def test_colours_that_became_floats_are_channels(tmp_path: Path) -> None:
    header, _ = header_and_voxels(ramp(dtype="u1"), code=128, bitpix=24)
    theirs = rewritten(header + bytes(3 * 140), tmp_path, lambda image: image.with_voxels(image.voxels / 2))
    assert (theirs.header["datatype"], theirs.shape) == (64, (7, 5, 4, 1, 3))  # components, not three times
    assert theirs.header["intent_code"] == 1007


@pytest.mark.parametrize("name", ["uint8", "int16", "int64"])
def test_labels_stay_labels(tmp_path: Path, name: str) -> None:
    again = saved(mj.Image.from_array(full_range(name), kind="label"), tmp_path / "a.nii.gz")
    assert (again.kind, again.dtype) == ("label", np.dtype(name))
    np.testing.assert_array_equal(again.voxels, full_range(name))
    assert saved(again.with_kind("intensity"), tmp_path / "b.nii.gz").kind == "intensity"


# Geometry


def test_exact_affine_comes_back_unless_the_header_was_changed(tmp_path: Path) -> None:
    image = mj.Image.from_array(ramp(), affine=lps(OBLIQUE))
    assert (image.affine != image.affine.astype(np.float32)).any()
    np.testing.assert_array_equal(saved(image, tmp_path / "a.nii").affine, image.affine)

    theirs: Any = nib.load(tmp_path / "a.nii")  # type: ignore[attr-defined]
    moved = np.array(theirs.affine)
    moved[0, 3] += 0.01
    nib.save(nib.Nifti1Image(np.asarray(theirs.dataobj), moved, theirs.header), tmp_path / "b.nii")  # type: ignore[attr-defined]
    assert len(theirs.header.extensions) == 1  # which nibabel has carried over
    again = mj.load_image(tmp_path / "b.nii")
    np.testing.assert_allclose(again.affine_ras, moved, atol=1e-5)


def test_no_extension_where_the_header_says_all(tmp_path: Path) -> None:
    mj.save_image(mj.Image.from_array(ramp(), spacing=(0.5, 2, 3), origin=(1, 2, 3)), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").stat().st_size == 352 + ramp().nbytes


def test_sheared_affine_comes_back(tmp_path: Path) -> None:
    sheared = OBLIQUE.copy()
    sheared[:3, 2] += 0.3 * sheared[:3, 1]
    mj.save_image(mj.Image.from_array(ramp(), affine=lps(sheared)), tmp_path / "a.nii")
    with pytest.warns(mj.ImageFileWarning, match="sheared"):
        again = mj.load_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(again.affine, lps(sheared))
    theirs: Any = nib.load(tmp_path / "a.nii")  # type: ignore[attr-defined]
    assert (int(theirs.header["sform_code"]), int(theirs.header["qform_code"])) == (1, 0)  # a qform cannot hold it


@pytest.mark.parametrize("codes", [(2, 1), (4, 4), (1, 0), (0, 1), (0, 3)])
def test_codes_come_back(tmp_path: Path, codes: tuple[int, int]) -> None:
    content = nifti_bytes(ramp(), qform=OBLIQUE, sform_code=codes[0], qform_code=codes[1])
    theirs = rewritten(content, tmp_path)
    assert (int(theirs.header["sform_code"]), int(theirs.header["qform_code"])) == codes
    np.testing.assert_allclose(theirs.affine, OBLIQUE, atol=1e-5)


def test_qform_that_disagreed_comes_back_on_the_same_grid_only(tmp_path: Path) -> None:
    other = np.diag([-3.0, 3.0, 3.0, 1.0])
    content = nifti_bytes(ramp(), qform=other, sform_code=4)
    with pytest.warns(mj.ImageFileWarning, match="apart"):
        theirs = rewritten(content, tmp_path)
    np.testing.assert_allclose(theirs.get_sform(), OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(theirs.get_qform(), other, atol=1e-5)
    with pytest.warns(mj.ImageFileWarning, match="apart"):
        theirs = rewritten(
            content, tmp_path, lambda image: mj.Image.from_array(image.voxels, spacing=2.0, metadata=image.metadata)
        )
    np.testing.assert_allclose(theirs.get_sform(), np.diag([-2.0, -2, 2, 1]), atol=1e-6)
    assert (int(theirs.header["sform_code"]), int(theirs.header["qform_code"])) == (4, 0)


def test_image_without_orientation_stays_without_on_its_grid(tmp_path: Path) -> None:
    content = nifti_bytes(ramp(), sform=None, pixdim=[1, 2, 3, 4, 1, 1, 1, 1])
    with pytest.warns(mj.ImageFileWarning, match="orientation"):
        theirs = rewritten(content, tmp_path)
    assert (int(theirs.header["sform_code"]), int(theirs.header["qform_code"])) == (0, 0)
    np.testing.assert_array_equal(theirs.header["pixdim"][1:4], [2, 3, 4])
    with pytest.warns(mj.ImageFileWarning, match="orientation"):
        theirs = rewritten(
            content, tmp_path, lambda im: mj.Image.from_array(im.voxels, origin=1.0, metadata=im.metadata)
        )
    assert (int(theirs.header["sform_code"]), int(theirs.header["qform_code"])) == (1, 1)


@pytest.mark.parametrize("seed", range(30))
def test_qform_is_nibabels(tmp_path: Path, seed: int) -> None:
    """Random turns, left-handed ones and half-turns included: our quaternion says what nibabel's would."""
    rng = np.random.default_rng(seed)
    turn = (
        np.linalg.qr(rng.normal(size=(3, 3)))[0]
        if seed < 20
        else np.diag(rng.choice([-1.0, 1.0], 3))[rng.permutation(3)]
    )
    affine = nib.affines.from_matvec(turn * rng.uniform(0.3, 4, 3), rng.uniform(-99, 99, 3))
    mj.save_image(mj.Image.from_array(ramp(), affine=lps(affine)), tmp_path / "a.nii")
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii").get_qform(), affine, atol=5e-5)  # type: ignore[attr-defined]


# Metadata


FIELDS: dict[str, Any] = {
    "descrip": b"made by a test", "aux_file": "größe".encode(), "intent_code": 3, "intent_p1": 12.5, "intent_p2": -1.5,
    "intent_p3": 2.25, "intent_name": b"T test", "cal_min": -5, "cal_max": 99, "toffset": 0.25, "xyzt_units": 18,
    "slice_code": 3, "slice_start": 1, "slice_end": 2, "slice_duration": 0.5, "dim_info": 57,
    "pixdim": [0.9, 1.3, 2.7, 2.5, 0, 0, 0],
}  # fmt: skip


def header_fields() -> dict[str, Any]:
    return FIELDS | {"pixdim": [1, *FIELDS["pixdim"]]}


@pytest.mark.parametrize("version", [1, 2])
def test_header_fields_come_back(tmp_path: Path, version: int) -> None:
    content = nifti_bytes(ramp((7, 5, 4, 3)), version=version, **header_fields())
    header = rewritten(content, tmp_path).header
    for name, value in FIELDS.items():
        found = header[name][1:] if name == "pixdim" else header[name].item()
        assert found == (value if isinstance(value, bytes) else pytest.approx(value, rel=1e-6)), name
    assert header.sizeof_hdr == (348 if version == 1 else 540)


def test_only_true_fields_come_back(tmp_path: Path) -> None:
    """After a crop in space slices are numbered anew; after one in time it starts anew; scaled values lose cal."""
    content = nifti_bytes(ramp((7, 5, 4, 3)), **header_fields())

    def crop(image: mj.Image) -> mj.Image:
        return mj.Image.from_array(
            image.voxels[:, :, 1:], affine=image.grid.moved(np.array([0, 0, 1])).affine, metadata=image.metadata
        )

    header = rewritten(content, tmp_path, crop).header
    assert [int(header[name]) for name in ("slice_code", "slice_start", "slice_end", "dim_info")] == [0, 0, 0, 0]
    assert (float(header["pixdim"][4]), int(header["xyzt_units"]), float(header["toffset"])) == (2.5, 18, 0.25)
    assert header["descrip"].item() == b"made by a test"
    header = rewritten(content, tmp_path, lambda image: image.with_voxels(image.voxels[..., :2])).header
    assert (float(header["pixdim"][4]), int(header["xyzt_units"]), float(header["toffset"])) == (2.5, 18, 0.0)
    assert int(header["slice_code"]) == 3
    header = rewritten(content, tmp_path, lambda image: image.with_voxels(image.voxels / np.float32(7))).header
    assert (float(header["cal_min"]), float(header["cal_max"])) == (0, 0)


def test_scaled_values_keep_their_display_range_and_are_not_scaled_again(tmp_path: Path) -> None:
    content = nifti_bytes(ramp(), scl_slope=0.5, scl_inter=3, cal_max=77)
    theirs = rewritten(content, tmp_path)
    assert (float(theirs.header["cal_max"]), theirs.get_data_dtype()) == (77, np.float32)
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), ramp() * 0.5 + 3)


def test_units_become_millimetres(tmp_path: Path) -> None:
    micron = np.diag([1e3, 1e3, 1e3, 1]) @ OBLIQUE
    theirs = rewritten(nifti_bytes(ramp(), sform=micron, qform=micron, xyzt_units=3 | 8), tmp_path)
    np.testing.assert_allclose(theirs.affine, OBLIQUE, atol=1e-5)
    assert theirs.header.get_xyzt_units() == ("mm", "sec")


def test_extensions_come_back(tmp_path: Path) -> None:
    blocks = extension(6, b"a comment") + extension(4, b"<AFNI/>")
    content = nifti_bytes(ramp(), extensions=blocks)

    def codes(theirs: Any) -> list[tuple[int, bytes]]:
        return [
            (each.get_code(), each.get_content())
            for each in theirs.header.extensions
            if b"medjax" not in each.get_content()
        ]

    assert [code for code, _ in codes(rewritten(content, tmp_path))] == [6, 4]
    assert [text.rstrip(b"\0") for _, text in codes(rewritten(content, tmp_path))] == [b"a comment", b"<AFNI/>"]
    moved = rewritten(content, tmp_path, lambda im: mj.Image.from_array(im.voxels, metadata=im.metadata))
    assert [code for code, _ in codes(moved)] == [6]  # nobody knows whether the other one holds for another grid


def test_saving_twice_changes_nothing(tmp_path: Path) -> None:
    content = nifti_bytes(ramp((7, 5, 4, 3)), extensions=extension(6, b"a comment"), **header_fields())
    rewritten(content, tmp_path, name="one.nii")
    mj.save_image(mj.load_image(tmp_path / "one.nii"), tmp_path / "two.nii")
    assert (tmp_path / "one.nii").read_bytes() == (tmp_path / "two.nii").read_bytes()


SECRETS = ("SECRETNAME", "SECRETID", "SECRETUID", "SECRETSTUDY", "SECRETSOURCE", "SECRETWEIGHT", "1987-06-05")


def identifying_metadata() -> mj.Metadata:
    return mj.Metadata(
        modality="PT", subtype="FDG", is_contrast_administered=False, display={"window": [40, 400]},
        patient_id="SECRETID", patient_uid="SECRETUID", study_uid="SECRETUID", series_uid="SECRETUID",
        study_description="SECRETSTUDY", acquisition_time=dt.datetime(1987, 6, 5, 4, 3), source="SECRETSOURCE",
        clinical={"weight": "SECRETWEIGHT"}, extra={"PatientName": "SECRETNAME", "descrip": "kept"},
    )  # fmt: skip


@pytest.mark.parametrize("target", ["a.nii", "a.hdr"])
def test_no_identifier_enters_the_file(tmp_path: Path, target: str) -> None:
    image = mj.Image.from_array(ramp(), affine=lps(OBLIQUE), metadata=identifying_metadata())
    metadata = saved(image, tmp_path / target).metadata
    content = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert not any(secret.encode() in content for secret in SECRETS)
    assert (metadata.modality, metadata.subtype, metadata.is_contrast_administered) == ("PT", "FDG", False)
    assert metadata.display == {"window": [40, 400]}
    assert (metadata.source, metadata.patient_id, metadata.extra["descrip"]) == (target, None, "kept")


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"descrip": "x" * 81}, "descrip holds 80 bytes, got 81"),
        ({"descrip": 5}, r"extra\['descrip'\] is 5"),
        ({"pixdim": [1, 2]}, r"extra\['pixdim'\]"),
        ({"intent_code": "vector"}, r"extra\['intent_code'\]"),
        ({"intent_code": 10**6}, "intent_code cannot hold 1000000"),
        ({"extensions": [{"ecode": 6}]}, r"extra\['extensions'\]"),
        ({"extensions": 7}, r"extra\['extensions'\]"),
    ],
)
def test_fields_that_do_not_fit(tmp_path: Path, extra: dict[str, Any], reason: str) -> None:
    image = mj.Image.from_array(ramp(), metadata=mj.Metadata(extra=extra))
    with pytest.raises(mj.io.UnsupportedFileError, match=reason):
        mj.save_image(image, tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())


def test_display_that_json_cannot_hold(tmp_path: Path) -> None:
    image = mj.Image.from_array(ramp(), metadata=mj.Metadata(display={"colours": {1, 2}}))
    with pytest.raises(mj.io.UnsupportedFileError, match="JSON"):
        mj.save_image(image, tmp_path / "a.nii")


# Real scans


REAL = ["anatomical.nii", "functional.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "standard.nii.gz"]


@pytest.mark.filterwarnings("ignore::medjax.ImageFileWarning")
@pytest.mark.parametrize("path", [Path(str(data_path)) / name for name in REAL], ids=REAL)
def test_nibabels_own_files_come_back(tmp_path: Path, path: Path) -> None:
    assert_comes_back(path, tmp_path)


@needs_data
@pytest.mark.filterwarnings("ignore::medjax.ImageFileWarning")
@pytest.mark.parametrize(
    "path", [*sorted((DATA / "nifti").glob("*.nii*")), DATA / "nifti/ras.hdr"], ids=lambda path: path.name
)
def test_real_scans_come_back(tmp_path: Path, path: Path) -> None:
    assert_comes_back(path, tmp_path)


def assert_comes_back(path: Path, folder: Path) -> None:
    image: Any = mj.load_image(path)
    again = saved(image, folder / "a.nii.gz")
    np.testing.assert_array_equal(again.voxels, image.voxels)
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-9)
    assert (again.dtype, again.kind) == (image.dtype, image.kind)
    theirs: Any = nib.load(path).header  # type: ignore[attr-defined]
    ours: Any = nib.load(folder / "a.nii.gz").header  # type: ignore[attr-defined]
    assert (theirs["sform_code"], theirs["qform_code"]) == (ours["sform_code"], ours["qform_code"])
    np.testing.assert_allclose(ours.get_qform(), theirs.get_qform(), atol=1e-4)
    assert ours.get_data_shape() == theirs.get_data_shape()
    assert text(ours) == text(theirs)
    for name in ("intent_code", "cal_max", "dim_info", "slice_code", "toffset"):
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def text(header: Any) -> bytes:
    """The description up to its first NUL, where a C string ends."""
    return header["descrip"].item().partition(b"\0")[0]


@pytest.mark.parametrize("degrees", [0.0, 1e-3, 0.05, 9.3, 16.26])
@pytest.mark.parametrize("signs", [(1, -1, 1), (-1, 1, 1), (1, 1, -1), (1, 1, 1)])
def test_a_tilted_scan_near_a_half_turn_agrees_with_itself(
    degrees: float, signs: tuple[int, ...], tmp_path: Path
) -> None:
    """There a qform's first part is the root of float32 rounding; a true disagreement is still warned of."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]]) * signs
    image = mj.Image.from_array(np.zeros((128, 96, 24), np.int16), spacing=(2, 2, 2.2), direction=turn)
    again = saved(image, tmp_path / "tilted.nii")
    np.testing.assert_allclose(again.affine, image.affine, rtol=0, atol=THIRTY_TWO_BITS)
    theirs = nib.Nifti1Image(image.voxels, image.affine_ras)
    theirs.set_sform(image.affine_ras, 1)
    theirs.set_qform(image.affine_ras, 1)
    nib.save(theirs, tmp_path / "theirs.nii")
    mj.load_image(tmp_path / "theirs.nii")
    theirs.header["qoffset_x"] += 0.5
    nib.save(theirs, tmp_path / "moved.nii")
    with pytest.warns(mj.ImageFileWarning, match="mm apart; the sform is used"):
        mj.load_image(tmp_path / "moved.nii")
