"""SUV: factors against reference objects, vendor headers and generated scans; the image that holds SUV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pydicom
import pytest
from pet_data import make_pet_ct
from pet_header import DOSE, changed, decayed, factor, oblique, pet
from shared_data import DATA, needs_data

import medjax as mj
from medjax import Image, ImageFileWarning, Metadata, suv_factor, to_suv

# ------------------------------------------------------------------------------------------------ reference objects


@needs_data
@pytest.mark.parametrize("name", ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_3_1", "DRO_4_1", "DRO_5_0"])
def test_digital_reference_objects(name: str) -> None:
    """IBSI/OncoRay: SUVbw in the phantom is at most 4.00, 1.00 in the median and at least 0.20."""
    image = read_pet(DATA / "suv_dro" / name)
    suv: Any = to_suv(image)
    found = np.asarray(suv.voxels)
    slopes = np.asarray(
        image.metadata.extra.get("per_slice", {}).get("RescaleSlope", image.metadata.extra.get("RescaleSlope"))
    )
    step = slopes.max() * suv_factor(image).factor
    phantom = found[found > 0]
    assert phantom.max() == pytest.approx(4.0, abs=step)
    assert np.median(phantom) == pytest.approx(1.0, abs=step)
    assert phantom.min() == pytest.approx(0.2, abs=step)
    assert step < 0.11


@needs_data
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("SIEMENS", "SeriesDate (0008,0021) + SeriesTime (0008,0031)"),
        ("PHILIPS_CNTS_AND_SUV", None),
        ("CPS_AND_BQML_AC_DT_-_S_DT", "earliest AcquisitionDate (0008,0022) + AcquisitionTime (0008,0032)"),
        ("PHILIPS_BQML", "SeriesDate (0008,0021) + SeriesTime (0008,0031)"),
    ],
)
def test_vendor_headers(name: str, source: str | None) -> None:
    path = f"suv_headers/{name}-instances.json"
    expected = json.loads((DATA / "expected.json").read_text())["items"][path]["suvbw_factor"]
    found = suv_factor(_image_of_instances(json.loads((DATA / path).read_text())))
    assert found.factor == pytest.approx(expected, rel=1e-6)
    assert found.reference_time_source == source


def _image_of_instances(instances: list[dict[str, Any]]) -> Image:
    """The flat records of the calculate-suv project as a header in the reader's form."""
    header: dict[str, Any] = {"per_slice": {}}
    for keyword in instances[0]:
        values = [instance[keyword] for instance in instances]
        if any(value != values[0] for value in values):
            header["per_slice"][keyword] = values
        else:
            header[keyword] = values[0]
    private = header.pop("PhilipsPETPrivateGroup")
    tags = {"SUVScaleFactor": "(7053,1000)", "ActivityConcentrationScaleFactor": "(7053,1009)"}
    header["private"] = {"(7053,0010)": "Philips PET Private Group"} | {
        tags[key]: text for key, text in private.items()
    }
    dose = {key: header.pop(key) for key in DOSE if key in header}
    header["RadiopharmaceuticalInformationSequence"] = [dose]
    return Image.from_array(np.ones((2, 2, len(instances))), metadata=Metadata(modality="PT", extra=header))


@needs_data
def test_scan_of_a_patient_against_its_real_world_value_object() -> None:
    """GE Discovery ST; the factor is that of the Real World Value Mapping that QIICR's plugin made of the same series."""
    mapping = pydicom.dcmread(DATA / "dicom" / "pet_rwv" / "RWV.dcm")
    slopes = {
        item.LUTLabel: float(item.RealWorldValueSlope)
        for reference in mapping.ReferencedImageRealWorldValueMappingSequence
        for item in reference.RealWorldValueMappingSequence
    }
    image = read_pet(DATA / "dicom" / "pet_ac_part")
    assert factor(image) == pytest.approx(4.21110070e-4, rel=1e-7)
    # Five or six digits are written. The object's values for body surface are in 10 cm2/ml, though labelled cm2/ml.
    for label, kind, unit in (
        ("bw}g", "bw", 1),
        ("lbm}g", "lbm_james", 1),
        ("ibw}g", "ibw", 1),
        ("bsa}cm2", "bsa", 10),
    ):
        assert factor(image, kind) == pytest.approx(unit * slopes[f"{{SUV{label}/ml"], rel=2e-5)
    # Its private scan time bears another date than the public ones, as de-identification left it.
    assert image.metadata.extra["private"]["(0009,100D)"].startswith("1959")
    with pytest.warns(ImageFileWarning, match="first bed position"):  # 40 of 135 slices
        found = suv_factor(changed(image, SeriesTime="235959"))
    assert any("(0009,100D) is not used" in note for note in found.notes)
    assert found.factor == pytest.approx(4.21110070e-4, rel=1e-7)


def read_pet(folder: Path) -> Any:
    return mj.load_image(folder)


@pytest.mark.parametrize("seed", [0, 1])
def test_generated_examination(seed: int, tmp_path: Path) -> None:
    """Per-slice slopes, rows and columns of different spacing, shuffled files; seed 1 was injected before midnight."""
    truth = make_pet_ct(tmp_path, seed)
    image = read_pet(truth.pet_folder)
    suv: Any = to_suv(image)
    record = suv.metadata.extra["suv"]
    assert record["factor"] == pytest.approx(truth.suv_factor, rel=1e-9)
    np.testing.assert_allclose(image.affine, truth.pet_affine, atol=1e-5)
    # Stored integers lose half a step; float32 holds 1e-7 of the value.
    np.testing.assert_allclose(suv.voxels, truth.pet_suv, atol=truth.suv_step * 1.001 + 2e-6)
    assert (record["injection_time"][:10] < record["reference_time"][:10]) == (seed == 1)
    ct = mj.load_image(truth.ct_folder)
    np.testing.assert_array_equal(ct.voxels, truth.ct_hu)
    np.testing.assert_allclose(ct.affine, truth.ct_affine, atol=1e-5)
    for sphere in truth.spheres:
        found = mj.suv_statistics(suv, suv.with_voxels(sphere.covers(suv.affine, suv.shape)).with_kind("label"))
        assert float(found.max) == pytest.approx(sphere.suv, abs=truth.suv_step * 1.01)
        # Voxels of 90 mm3 on the surface of a ball of radius r: about sqrt(4 pi r^2 / 20 mm2) of them are undecided.
        assert float(found.volume_ml) == pytest.approx(sphere.volume_mm3 / 1000, rel=0.05)


# ------------------------------------------------------------------------------------------------ the caller's values


def test_caller_s_tags_come_first_and_are_noted() -> None:
    found = suv_factor(pet(PatientWeight=None), tags={"PatientWeight": 71.0})
    assert found.factor == pytest.approx(71_000 / (370e6 * decayed(60)), rel=1e-13)
    assert "stated by the caller: PatientWeight" in found.notes
    with pytest.raises(ValueError, match=r"tags=\['Weight'\] are not used"):
        suv_factor(pet(), tags={"Weight": 71.0})


# ------------------------------------------------------------------------------------------------ the image


def test_image_says_that_it_holds_suv_and_is_not_converted_twice() -> None:
    header = {
        "RescaleSlope": 1.5,
        "WindowCenter": 10_000.0,
        "per_slice": {"RescaleSlope": [1, 2], "InstanceNumber": [2, 1]},
    }
    image = pet(**header)
    image = image.with_metadata(
        image.metadata.replace(display={"WindowCenter": 10_000.0, "PhotometricInterpretation": "MONOCHROME2"})
    )
    suv: Any = to_suv(image, "lbm_james")
    extra = suv.metadata.extra
    assert (suv.metadata.subtype, extra["Units"], extra["SUVType"]) == ("SUVlbm_james", "GML", "LBMJAMES128")
    assert "RescaleSlope" not in extra
    assert extra["per_slice"] == {"InstanceNumber": [2, 1]}
    assert dict(suv.metadata.display) == {"PhotometricInterpretation": "MONOCHROME2"}
    assert suv.metadata.modality == "PT"
    assert image.metadata.extra["Units"] == "BQML"
    np.testing.assert_array_equal(suv.affine, image.affine)
    for kind in ("bw", "lbm_james"):
        with pytest.raises(ValueError, match="already holds SUVlbm_james"):
            to_suv(suv, kind)
    renamed = suv.with_metadata(suv.metadata.replace(subtype="FDG"))
    with pytest.raises(ValueError, match="already holds FDG"):
        to_suv(renamed)
    again = suv.with_metadata(Metadata.from_json(suv.metadata.to_json()))  # through a file
    with pytest.raises(ValueError, match="already holds"):
        suv_factor(again)


def test_units_of_body_surface_area() -> None:
    suv: Any = to_suv(pet(), "bsa")
    assert (suv.metadata.extra["Units"], suv.metadata.extra["suv"]["unit"]) == ("CM2ML", "cm2/ml")


@pytest.mark.parametrize("kind", ["bw", "lbm_james", "lbm_morgan", "lbm_janmahasatian", "bsa", "ibw"])
def test_record_can_be_logged(kind: Any) -> None:
    found = suv_factor(pet(PatientSex="O"), kind)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert found.to_dict()["reference_time"] == "2025-01-01T11:00:00"
    assert found.to_dict()["injection_time_source"] == "RadiopharmaceuticalStartDateTime (0018,1078)"


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.float64])
def test_voxels_are_multiplied_once(dtype: Any) -> None:
    voxels = np.random.default_rng(0).integers(0, 30_000, (3, 4, 5)).astype(dtype)
    image = pet(voxels.shape, voxels)
    suv: Any = to_suv(image)
    assert suv.dtype == np.float32
    # One rounding of the factor and one of the product: 2 * 2^-24.
    np.testing.assert_allclose(suv.voxels, voxels * factor(image), rtol=1.3e-7)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_wide_integers_do_not_wrap_around(dtype: Any) -> None:
    """Without x64 JAX holds 32 bits: 3e9 would come out negative."""
    voxels = np.full((2, 2, 2), 3_000_000_000, dtype)
    image = pet((2, 2, 2), voxels)
    suv: Any = to_suv(image)
    np.testing.assert_allclose(suv.voxels, 3e9 * factor(image), rtol=1e-6)
    plain = Image.from_array(voxels)
    inside = plain.with_voxels(np.ones((2, 2, 2), bool))
    assert float(mj.suv_statistics(plain, inside).mean) == pytest.approx(3e9, rel=1e-6)


def test_float64_stays_where_it_is_enabled() -> None:
    with jax.enable_x64(True):
        image = pet((2, 2, 2), np.full((2, 2, 2), 1234.5))
        found = to_suv(image)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found.voxels, 1234.5 * factor(image), rtol=1e-15)


def test_batch_has_a_factor_per_item() -> None:
    items = [pet(), pet(PatientWeight=100.0), pet(Units="GML", DecayCorrection=None)]
    batch = mj.stack(items)
    found = to_suv(batch)
    for one, item in zip(mj.unstack(found), items, strict=True):
        alone = to_suv(item)
        np.testing.assert_array_equal(one.voxels, alone.voxels)
        assert one.metadata == alone.metadata
    assert [record.factor for record in suv_factor(batch)] == [factor(item) for item in items]


def test_batch_of_scalar_and_per_slice_factors() -> None:
    creator = {"(7053,0010)": "Philips PET Private Group"}
    by_slice = pet((2, 2, 3), Units="CNTS", private=creator, per_slice={"private": {"(7053,1000)": [1e-3, 2e-3, 3e-3]}})
    batch = mj.stack([pet((2, 2, 3)), by_slice])
    np.testing.assert_allclose(np.asarray(to_suv(batch).voxels)[1, 0, 0], [5, 10, 15], rtol=1e-6)


def test_batch_without_metadata_of_an_item_is_refused() -> None:
    batch = mj.stack([pet(), pet().with_metadata(None)])
    with pytest.raises(ValueError, match="no metadata, or a batch not one for each item"):
        to_suv(batch)


def test_voxels_differentiate_and_map() -> None:
    image = pet()
    expected = factor(image)
    gradient = jax.grad(lambda v: to_suv(image.with_voxels(v)).voxels.sum())(jnp.asarray(image.voxels))
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    compiled = jax.jit(lambda v: to_suv(image.with_voxels(v)).voxels)
    np.testing.assert_allclose(compiled(image.voxels), 5000 * expected, rtol=3e-7)
    mapped = jax.vmap(lambda v: to_suv(image.with_voxels(v)).voxels)(jnp.stack([image.voxels, 2 * image.voxels]))
    np.testing.assert_allclose(mapped[1], 10_000 * expected, rtol=3e-7)


def test_patients_of_one_shape_share_a_compilation(compilations: Any) -> None:
    to_suv(pet((4, 3, 7)))
    with compilations:
        to_suv(pet((4, 3, 7), PatientWeight=55.0, PatientSex="F"), "lbm_janmahasatian")
    assert compilations.count == 0


def test_inside_jit_the_metadata_is_not_known() -> None:
    with pytest.raises(ValueError, match=r"inside jit.*multiply by suv_factor\(image\)\.factor"):
        jax.jit(to_suv)(pet())


def test_factor_per_slice_needs_the_slices_of_the_file() -> None:
    creator = {"(7053,0010)": "Philips PET Private Group"}
    affine = oblique(4.0, 4.5, 5.0)
    positions = [(affine[:3, :3] @ (0, 0, k) + affine[:3, 3]).tolist() for k in range(3)]
    per_slice = {"private": {"(7053,1000)": [1e-3, 2e-3, 3e-3]}, "ImagePositionPatient": positions}
    image = pet((2, 2, 3), Units="CNTS", private=creator, per_slice=per_slice)
    assert float(to_suv(image).voxels[0, 0, 2]) == pytest.approx(15.0)
    cropped = Image(image.voxels[:, :, 1:], image.affine, "intensity", image.metadata)
    with pytest.raises(ValueError, match=r"has 2 slices.*before cropping"):
        to_suv(cropped)
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = 2
    flipped = Image.from_array(image.voxels[:, :, ::-1], affine=affine @ flip, metadata=image.metadata)
    with pytest.raises(ValueError, match="before flipping"):
        to_suv(flipped)
    for inside in (mj.crop(image, (1, 0, 0), (1, 2, 3)), mj.flip(image, (0,)), mj.pad(image, (3, 4, 0), (0, 9, 0))):
        suv: Any = to_suv(inside)  # slices are where they were
        np.testing.assert_allclose(suv.voxels[-1, 0], [5.0, 10.0, 15.0], rtol=1e-6)
    turned = mj.change_orientation(pet((3, 3, 3), Units="CNTS", private=creator, per_slice=per_slice), "LPI")
    with pytest.raises(ValueError, match="before flipping"):
        to_suv(turned)
    one_factor = pet((2, 2, 3), per_slice={"ImagePositionPatient": positions})
    assert to_suv(Image(one_factor.voxels[:, :, 1:], affine, "intensity", one_factor.metadata)).shape == (2, 2, 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("about", ["first voxel", "centre"])
def test_factor_per_slice_notices_a_tilt(axis: int, about: str) -> None:
    """An affine turned by 20 degrees in the world: about the slices' normal each stays in its plane, else none does."""
    shape, affine = (40, 50, 3), oblique(4.0, 4.5, 5.0)
    per_slice = {
        "private": {"(7053,1000)": [1e-3, 2e-3, 3e-3]},
        "ImagePositionPatient": [(affine[:3, :3] @ (0, 0, k) + affine[:3, 3]).tolist() for k in range(3)],
    }
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = [*direction[:, 0], *direction[:, 1]]
    header = {
        "Units": "CNTS",
        "private": {"(7053,0010)": "Philips PET Private Group"},
        "ImageOrientationPatient": cosines,
    }
    image = pet(shape, **header, per_slice=per_slice)
    turn, cosine, sine = np.eye(3), np.cos(np.radians(20)), np.sin(np.radians(20))
    others = [n for n in range(3) if n != axis]
    turn[np.ix_(others, others)] = [[cosine, -sine], [sine, cosine]]
    world = np.eye(4)
    world[:3, :3] = direction @ turn @ direction.T
    fixed = (affine @ [0, 0, 0, 1] if about == "first voxel" else affine @ [19.5, 24.5, 1, 1])[:3]
    world[:3, 3] = fixed - world[:3, :3] @ fixed
    turned = Image.from_array(image.voxels, affine=world @ affine, metadata=image.metadata)
    if axis == 2:
        assert to_suv(turned).shape == shape
        return
    with pytest.raises(ValueError, match="before flipping, reorienting or rotating"):
        to_suv(turned)


def test_labels_and_bare_images_are_refused() -> None:
    with pytest.raises(ValueError, match="holds no activity"):
        to_suv(Image.from_array(np.ones((2, 2, 2), int), kind="label"))
    with pytest.raises(ValueError, match="no metadata"):
        to_suv(Image.from_array(np.ones((2, 2, 2))))


def test_an_array_is_no_image(unchecked: None) -> None:
    array: Any = np.ones((2, 2, 2))
    with pytest.raises(ValueError, match="image must be an Image, got ndarray"):
        to_suv(array)
