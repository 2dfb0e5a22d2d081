"""Reading NIfTI: each trap of the format as a file made for it, and every public scan against nibabel's reading."""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.testing import data_path
from nifti_bytes import OBLIQUE, header_and_voxels, lps, nifti_bytes, ramp
from shared_data import DATA, needs_data

import medjax as mj

SIXTY_FOUR_BITS = 1e-9  # mm
THIRTY_TWO_BITS = 1e-4  # mm: coordinates of up to 1000 mm, rounded to 24 bits


def load_with_warnings(path: Path, **options: Any) -> tuple[mj.Image, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = mj.load_image(path, **options)
    assert all(issubclass(each.category, mj.ImageFileWarning) for each in caught)
    return image, [str(each.message) for each in caught]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Builds a file of the given content and loads it; any warning fails the test."""

    def build(content: bytes, name: str = "scan.nii", **options: Any) -> mj.Image:
        (tmp_path / name).write_bytes(content)
        return mj.load_image(tmp_path / name, **options)

    return build


# Geometry


def test_sform_is_lps_millimetres(load: Any) -> None:
    image = load(nifti_bytes(ramp()))
    np.testing.assert_allclose(image.affine, lps(OBLIQUE), atol=THIRTY_TWO_BITS)
    np.testing.assert_array_equal(image.affine, lps(OBLIQUE.astype(np.float32).astype(np.float64)))
    assert image.affine.dtype == np.float64


@pytest.mark.parametrize("flip", [1, -1], ids=["qfac 1", "qfac -1"])
def test_qform_alone(load: Any, flip: int) -> None:
    affine = OBLIQUE @ np.diag([1, 1, flip, 1])
    content = nifti_bytes(ramp(), sform=None, qform=affine)
    image = load(content)
    np.testing.assert_allclose(image.affine, lps(affine), atol=THIRTY_TWO_BITS)
    np.testing.assert_allclose(image.affine_ras, nib.Nifti1Image.from_bytes(content).affine, atol=1e-6)


@pytest.mark.parametrize("half_turn", [np.diag([1, -1, -1, 1]), np.diag([-1, 1, -1, 1]), np.diag([-1, -1, 1, 1])])
def test_qform_of_half_turns(load: Any, half_turn: np.ndarray) -> None:
    image = load(nifti_bytes(ramp(), sform=None, qform=half_turn.astype(float)))
    np.testing.assert_allclose(image.affine, lps(half_turn), atol=1e-6)


@pytest.mark.parametrize("qfac", [0.0, 3.0])
def test_qfac_other_than_minus_one_is_one(load: Any, qfac: float) -> None:
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    image = load(nifti_bytes(ramp(), sform=None, qform=affine, pixdim=[qfac, 2, 2, 3, 1, 1, 1, 1]))
    np.testing.assert_allclose(image.affine_ras, affine, atol=1e-6)


def test_sform_counts_when_the_qform_disagrees(load: Any) -> None:
    moved = OBLIQUE.copy()
    moved[:3, 3] += [3, 0, 4]
    with pytest.warns(
        mj.ImageFileWarning, match=r"sform \(code 2\) and qform \(code 1\) .* up to 5 mm apart; the sform"
    ):
        image = load(nifti_bytes(ramp(), qform=moved, sform_code=2))
    np.testing.assert_allclose(image.affine, lps(OBLIQUE), atol=THIRTY_TWO_BITS)
    assert (image.metadata.extra["sform_code"], image.metadata.extra["qform_code"]) == (2, 1)


def test_the_corner_decides_whether_the_forms_agree(load: Any) -> None:
    stretched = OBLIQUE @ np.diag([1, 1, 1 + 1e-4, 1])  # 3 steps of 2.7 mm: 8e-4 mm at the last corner
    assert load(nifti_bytes(ramp(), qform=stretched)).shape == (7, 5, 4)
    with pytest.warns(mj.ImageFileWarning, match="apart"):
        load(nifti_bytes(ramp((7, 5, 40)), qform=stretched))  # 39 steps: 1e-2 mm


def test_no_orientation_is_lps_with_a_warning(load: Any) -> None:
    content = nifti_bytes(ramp(), sform=None, pixdim=[1, 2, 3, 4, 1, 1, 1, 1])
    with pytest.warns(mj.ImageFileWarning, match="states no orientation"):
        image = load(content)
    np.testing.assert_array_equal(image.affine, np.diag([2.0, 3, 4, 1]))


def test_signs_of_pixdim_do_not_matter(load: Any) -> None:
    negative = [-1, -0.9, 1.3, -2.7, 1, 1, 1, 1]
    np.testing.assert_allclose(load(nifti_bytes(ramp(), pixdim=negative)).affine, lps(OBLIQUE), atol=THIRTY_TWO_BITS)
    plain = load(nifti_bytes(ramp(), sform=None, qform=OBLIQUE))
    signed = load(nifti_bytes(ramp(), sform=None, qform=OBLIQUE, pixdim=negative))
    np.testing.assert_allclose(signed.affine, plain.affine, atol=1e-6)


def test_sizes_of_zero_count_as_one(load: Any) -> None:
    """As nibabel reads them; two-dimensional files leave the third size at zero."""
    image = load(nifti_bytes(ramp((7, 5)), sform=None, qform=np.diag([2.0, 3, 1, 1]), pixdim=[1, 2, 3, 0, 0, 0, 0, 0]))
    assert image.spacing == (2, 3, 1)


@pytest.mark.parametrize(("unit", "factor"), [(0, 1.0), (1, 1e-3), (2, 1.0), (3, 1e3)], ids=["none", "m", "mm", "um"])
@pytest.mark.parametrize("form", ["sform", "qform", "pixdim"])
def test_lengths_become_millimetres(load: Any, unit: int, factor: float, form: str) -> None:
    scaled = np.diag([factor, factor, factor, 1]) @ OBLIQUE
    time_unit = 16  # milliseconds
    if form == "pixdim":
        pixdim = [1, *factor * np.array([0.9, 1.3, 2.7]), 1, 1, 1, 1]
        with pytest.warns(mj.ImageFileWarning, match="orientation"):
            image = load(nifti_bytes(ramp(), sform=None, xyzt_units=unit | time_unit, pixdim=pixdim))
    else:
        forms = {"sform": None, "qform": None} | {form: scaled}
        image = load(nifti_bytes(ramp(), **forms, xyzt_units=unit | time_unit))
        np.testing.assert_allclose(image.affine, lps(OBLIQUE), atol=THIRTY_TWO_BITS)
    np.testing.assert_allclose(image.spacing, [0.9, 1.3, 2.7], rtol=1e-6)
    assert image.metadata.extra["xyzt_units"] == unit | time_unit


def test_unknown_unit_is_read_as_millimetres(load: Any) -> None:
    with pytest.warns(mj.ImageFileWarning, match="xyzt_units 7 has an unknown unit"):
        image = load(nifti_bytes(ramp(), xyzt_units=7))
    np.testing.assert_allclose(image.affine, lps(OBLIQUE), atol=THIRTY_TWO_BITS)


def test_shear_is_kept_and_named(load: Any) -> None:
    sheared = OBLIQUE.copy()
    sheared[:3, 2] += 0.3 * sheared[:3, 1]  # 0.3 * 1.3 mm along axis 1 for 2.7 mm along axis 2
    with pytest.warns(mj.ImageFileWarning, match=r"sheared: 8\.22 degrees off a right angle"):  # atan(0.39 / 2.7)
        image = load(nifti_bytes(ramp(), sform=sheared))
    np.testing.assert_array_equal(image.affine, lps(sheared.astype(np.float32).astype(np.float64)))


def test_rounding_is_not_shear(load: Any) -> None:
    nearly = OBLIQUE.copy()
    nearly[0, 1] += 2e-5 * 1.3
    assert load(nifti_bytes(ramp(), sform=nearly)).shape == (7, 5, 4)  # a warning would fail


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"srow_x": [np.nan, 0, 0, 0]}, "sform: affine must be finite"),
        ({"srow_x": [np.inf, 0, 0, 0]}, "sform: affine must be finite"),
        ({"srow_x": [1e30, 0, 0, 0]}, "sform: affine must be finite and below"),
        ({"srow_y": [0, 0, 0, 0]}, "sform: affine is singular"),
        ({"srow_x": [0] * 4, "srow_y": [0] * 4, "srow_z": [0] * 4}, "sform: affine is singular"),
        ({"sform_code": 0, "quatern_b": 2.0}, "qform: quatern_b, c, d = 2, 0, 0 are longer"),
        ({"sform_code": 0, "quatern_b": np.nan}, "qform: quatern_b, c, d = nan"),
        ({"sform_code": 0, "qoffset_x": np.inf}, "qform: affine must be finite"),
        ({"sform_code": 0, "pixdim": [1, np.inf, 1, 1, 1, 1, 1, 1]}, "qform: affine must be finite"),
    ],
)
def test_impossible_geometry(load: Any, broken: dict[str, Any], reason: str) -> None:
    with pytest.raises(mj.ImageFileError, match=reason) as caught:
        load(nifti_bytes(ramp(), qform=np.eye(4) if "sform_code" in broken else None, **broken))
    assert caught.value.path.endswith("scan.nii")


def test_invalid_qform_beside_an_sform(load: Any) -> None:
    with pytest.warns(mj.ImageFileWarning, match="the qform is invalid and the sform is used"):
        image = load(nifti_bytes(ramp(), qform=OBLIQUE, quatern_b=9))
    np.testing.assert_allclose(image.affine, lps(OBLIQUE), atol=THIRTY_TWO_BITS)


# Voxels


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16"])
def test_stored_dtype_and_values_are_kept(load: Any, name: str, version: int, order: str) -> None:
    voxels = ramp(dtype=name) if name[0] != "u" else ramp().view("u2").astype(name)
    if name in ("i8", "u8"):
        voxels[0, 0, 0] = np.iinfo(name).max  # neither float64 nor 32 bits hold it
    image = load(nifti_bytes(voxels, version=version, order=order))
    np.testing.assert_array_equal(image.voxels, voxels)
    assert image.voxels.dtype == voxels.dtype
    assert image.voxels.dtype.isnative
    assert not image.voxels.flags.writeable


@pytest.mark.parametrize(("slope", "inter"), [(0, 5), (np.nan, 5), (np.inf, 0), (-np.inf, 0), (1, 0), (0, np.nan)])
def test_no_scaling_keeps_integers(load: Any, slope: float, inter: float) -> None:
    image = load(nifti_bytes(ramp(), scl_slope=slope, scl_inter=inter))
    np.testing.assert_array_equal(image.voxels, ramp())
    assert image.dtype == np.int16


def test_an_intercept_alone_is_scaling(load: Any) -> None:
    image = load(nifti_bytes(ramp(), scl_slope=1, scl_inter=-1024))
    np.testing.assert_array_equal(image.voxels, ramp().astype(np.float32) - 1024)


@pytest.mark.parametrize("name", ["u1", "i2", "i4", "u4", "f4"])
def test_scaling_is_computed_in_float64(load: Any, name: str) -> None:
    voxels = ramp(dtype=name) if name[0] != "u" else ramp().view("u2").astype(name)
    slope, inter = np.float32(0.0754), np.float32(-1024.3)
    image = load(nifti_bytes(voxels, scl_slope=slope, scl_inter=inter))
    expected = (voxels.astype(np.float64) * np.float64(slope) + np.float64(inter)).astype(np.float32)
    np.testing.assert_array_equal(image.voxels, expected)
    assert image.dtype == np.float32


def test_scaling_of_many_voxels(load: Any) -> None:
    voxels = np.random.default_rng(0).integers(-999, 999, (130, 121, 140)).astype(np.int16)  # more than one slab
    image = load(nifti_bytes(voxels, scl_slope=0.5, scl_inter=2))
    np.testing.assert_array_equal(image.voxels, voxels * np.float32(0.5) + np.float32(2))


def test_scaled_float64_stays_float64(load: Any) -> None:
    image = load(nifti_bytes(ramp(dtype="f8"), scl_slope=0.5, scl_inter=0))
    np.testing.assert_array_equal(image.voxels, ramp() * 0.5)
    assert image.dtype == np.float64


def test_scaling_beyond_float32_gives_float64(load: Any) -> None:
    image = load(nifti_bytes(ramp(), scl_slope=1e38))
    assert image.dtype == np.float64
    assert np.isfinite(image.voxels).all()


def test_scaling_beyond_float64(load: Any) -> None:
    with pytest.raises(mj.ImageFileError, match="beyond float64"):
        load(nifti_bytes(ramp(dtype="f8") * 1e300, scl_slope=1e30))
    infinite = np.full((2, 2, 2), np.inf)
    np.testing.assert_array_equal(load(nifti_bytes(infinite, scl_slope=2)).voxels, infinite)


def test_scaled_complex(load: Any) -> None:
    image = load(nifti_bytes(ramp(dtype="c8") * np.complex64(1j), scl_slope=2, scl_inter=0))
    np.testing.assert_array_equal(image.voxels, ramp() * 2j)
    assert image.dtype == np.complex64


@pytest.mark.parametrize("inter", [np.nan, np.inf])
def test_slope_without_a_valid_intercept(load: Any, inter: float) -> None:
    with pytest.raises(mj.ImageFileError, match="scl_slope is 2 but scl_inter is"):
        load(nifti_bytes(ramp(), scl_slope=2, scl_inter=inter))


@pytest.mark.parametrize("slope", [1, 2])
def test_nan_and_infinity_stay(load: Any, slope: float) -> None:
    voxels = ramp(dtype="f4")
    voxels[0, 1, 2], voxels[1, 0, 3] = np.nan, -np.inf
    image = load(nifti_bytes(voxels, scl_slope=slope))
    np.testing.assert_array_equal(image.voxels, voxels * slope)


def test_bitpix_that_disagrees(load: Any) -> None:
    with pytest.warns(mj.ImageFileWarning, match="bitpix is 8, but datatype 4 has 16"):
        image = load(nifti_bytes(ramp(), bitpix=8))
    np.testing.assert_array_equal(image.voxels, ramp())


@pytest.mark.parametrize(("code", "components"), [(128, 3), (2304, 4)], ids=["RGB", "RGBA"])
def test_colours_are_trailing_channels(load: Any, code: int, components: int) -> None:
    voxels = np.arange(7 * 5 * 4 * components, dtype=np.uint8).reshape(7, 5, 4, components)
    header, _ = header_and_voxels(voxels[..., 0], code=code, bitpix=8 * components, scl_slope=2)  # not for colours
    image = load(header + np.moveaxis(voxels, -1, 0).tobytes(order="F"))
    np.testing.assert_array_equal(image.voxels, voxels)
    assert image.metadata.extra["datatype"] == code


@pytest.mark.parametrize(
    ("stored", "shape"),
    [
        ((7,), (7, 1, 1)),
        ((7, 5), (7, 5, 1)),
        ((7, 5, 4, 1), (7, 5, 4, 1)),
        ((7, 5, 4, 3), (7, 5, 4, 3)),
        ((7, 5, 4, 1, 3), (7, 5, 4, 3)),
        ((7, 5, 4, 2, 3), (7, 5, 4, 2, 3)),
        ((7, 5, 4, 2, 3, 2, 2), (7, 5, 4, 2, 3, 2, 2)),
    ],
)
def test_axes(load: Any, stored: tuple[int, ...], shape: tuple[int, ...]) -> None:
    image = load(nifti_bytes(ramp(stored), intent_code=1007 if len(stored) == 5 else 0))
    np.testing.assert_array_equal(image.voxels, ramp(stored).reshape(shape))
    np.testing.assert_allclose(image.affine, lps(OBLIQUE), atol=THIRTY_TWO_BITS)


def test_labels_are_labels(load: Any) -> None:
    image = load(nifti_bytes(ramp(dtype="i8") + 2**40, intent_code=1002))
    assert (image.kind, image.dtype) == ("label", np.int64)
    np.testing.assert_array_equal(image.voxels, ramp(dtype="i8") + 2**40)


def test_whole_numbers_with_the_label_intent_become_integers(load: Any) -> None:
    with pytest.warns(
        mj.ImageFileWarning, match=r"labels \(intent 1002\) are stored or scaled as float32; read as int32"
    ):
        image = load(nifti_bytes(ramp(dtype="f4"), intent_code=1002))
    assert (image.kind, image.dtype) == ("label", np.int32)
    np.testing.assert_array_equal(image.voxels, ramp())


@pytest.mark.parametrize("value", [0.5, np.nan, 1e10])
def test_other_numbers_with_the_label_intent_stay(load: Any, value: float) -> None:
    voxels = ramp(dtype="f4")
    voxels[0, 0, 0] = value
    with pytest.warns(mj.ImageFileWarning, match="not integers; read as intensities"):
        image = load(nifti_bytes(voxels, intent_code=1002))
    assert image.kind == "intensity"
    np.testing.assert_array_equal(image.voxels, voxels)


# Metadata


def test_header_fields_travel(load: Any) -> None:
    image = load(
        nifti_bytes(
            ramp((7, 5, 4, 3)), descrip=b"made by a test", aux_file="größe".encode(), intent_code=3, intent_p1=12.5,
            intent_name=b"T test", cal_max=99, toffset=0.25, xyzt_units=10, slice_code=3, slice_end=3, dim_info=57,
            scl_slope=2, scl_inter=1, intent_p2=np.nan, pixdim=[1, 0.9, 1.3, 2.7, 2.5, 0, 0, np.inf],
        )
    )  # fmt: skip
    extra = image.metadata.extra
    expected = {
        "descrip": "made by a test", "aux_file": "größe", "intent_code": 3, "intent_p1": 12.5, "intent_name": "T test",
        "cal_max": 99.0, "toffset": 0.25, "xyzt_units": 10, "slice_code": 3, "slice_end": 3, "dim_info": 57,
        "scl_slope": 2.0, "scl_inter": 1.0, "sform_code": 1, "qform_code": 0, "dim": [4, 7, 5, 4, 3, 1, 1, 1],
        "datatype": 4, "sizeof_hdr": 348,
    }  # fmt: skip
    assert {name: extra[name] for name in expected} == expected
    assert extra["pixdim"][4:] == [2.5, 0.0, 0.0, 0.0]  # infinity is no JSON
    assert not {"intent_p2", "cal_min", "quatern_b", "extensions"} & set(extra)
    json.dumps(dict(extra), allow_nan=False)


def test_text_that_is_not_utf8(load: Any) -> None:
    assert load(nifti_bytes(ramp(), descrip="größe".encode("latin-1"))).metadata.extra["descrip"] == "größe"


# Real scans


@pytest.mark.parametrize(
    "name", ["anatomical.nii", "functional.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "standard.nii.gz"]
)
def test_nibabels_own_files(name: str) -> None:
    assert_as_nibabel_reads(Path(str(data_path)) / name)


def assert_as_nibabel_reads(path: Path) -> None:
    image, _ = load_with_warnings(path)
    theirs: Any = nib.load(path)
    np.testing.assert_allclose(image.affine_ras, theirs.affine, atol=SIXTY_FOUR_BITS)
    expected = np.asarray(theirs.dataobj)
    is_scaled = expected.dtype != theirs.header.get_data_dtype()
    assert image.dtype == (np.float32 if is_scaled else expected.dtype.newbyteorder("="))
    np.testing.assert_array_equal(image.voxels, expected.astype(image.dtype).reshape(image.voxels.shape))


def expected_items() -> list[str]:
    if not DATA.is_dir():
        return []
    items = json.loads((DATA / "expected.json").read_text())["items"]
    return sorted(name for name in items if items[name]["kind"] == "nifti" and not name.startswith("synthetic/"))


# What these files are warned of; no other file of the collection may warn.
WARNINGS = {
    "balls_fieldmap.nii.gz": ["128000 bytes follow the voxels"],
    "complex_image.nii.gz": ["states no orientation"],
    "minimal.nii.gz": ["states no orientation"],
    "shear.nii.gz": ["up to 35.6 mm apart", "18.5 degrees"],
}


@needs_data
@pytest.mark.parametrize("item", expected_items())
def test_real_scans(item: str) -> None:
    image, messages = load_with_warnings(DATA / item)
    wanted = WARNINGS.get(Path(item).name, [])
    assert len(messages) == len(wanted)
    assert all(part in message for part, message in zip(wanted, messages, strict=True))
    truth = json.loads((DATA / "expected.json").read_text())["items"][item]
    geometry = truth["sitk"] if "states no orientation" in wanted else truth["nibabel"]  # nibabel centres such images
    np.testing.assert_allclose(image.spacing, geometry["spacing"], atol=1e-6)
    np.testing.assert_allclose(image.origin, geometry["origin"], atol=1e-6)
    np.testing.assert_allclose(image.direction.ravel(), geometry["direction"], atol=1e-7)
    assert image.kind == ("label" if truth["nibabel"]["intent"] == 1002 else "intensity")
    if image.dtype == np.complex64:
        np.testing.assert_array_equal(image.voxels, np.asarray(nib.load(DATA / item).dataobj))  # type: ignore[attr-defined]
        return
    voxels = truth["sitk"] if "[" in truth["nibabel"]["dtype_on_disk"] else truth["nibabel"]  # SimpleITK hashed RGB
    assert hash_zyx(image.voxels, components_last=image.voxels.shape[3:] == (3,)) == voxels["sha256_f32"]
    is_scaled = truth["nibabel"]["dtype"] == "float64"
    assert image.dtype == (np.float32 if is_scaled else np.dtype(voxels["dtype"]).newbyteorder("="))


def hash_zyx(voxels: np.ndarray, *, components_last: bool) -> str:
    """Hashes voxels as float32 in the order of SimpleITK's arrays, as the collection does."""
    axes = (2, 1, 0, 3) if components_last else tuple(reversed(range(voxels.ndim)))
    return hashlib.sha256(voxels.transpose(axes).astype(np.float32).tobytes()).hexdigest()


def synthetic_items() -> list[str]:
    if not DATA.is_dir():
        return []
    return sorted(name for name in json.loads((DATA / "synthetic/truth.json").read_text()) if name.startswith("nifti/"))


SYNTHETIC_WARNINGS = {
    "s2_q1_disagree.nii": ["the sform is used"],
    "s0_q0.nii": ["states no orientation"],
    "sheared.nii": ["sheared: 13.6 degrees"],
}


@needs_data
@pytest.mark.parametrize("item", synthetic_items())
def test_synthetic_traps(item: str) -> None:
    truth, path = json.loads((DATA / "synthetic/truth.json").read_text())[item], DATA / "synthetic" / item
    if "error" in truth:
        expected = mj.io.TruncatedFileError if truth["error"] == "truncated" else mj.ImageFileError
        with pytest.raises(expected, match=path.name):
            mj.load_image(path)
        return
    image, messages = load_with_warnings(path)
    wanted = SYNTHETIC_WARNINGS.get(path.name, [])
    assert len(messages) == len(wanted)
    assert all(part in message for part, message in zip(wanted, messages, strict=True))
    if "n_nan" in truth:
        assert (np.isnan(image.voxels).sum(), np.isinf(image.voxels).sum()) == (truth["n_nan"], truth["n_inf"])
    else:
        shape = tuple(truth["shape_xyz"])
        assert image.voxels.shape == shape + (1,) * (3 - len(shape))
        voxels = image.voxels.reshape(shape)
        assert hash_zyx(voxels, components_last="vector" in item) == truth["sha256_f32_zyx"]
        # pair_be was stored as float32, and slope_inter's truth as float64: scaled voxels are returned as float32
        special = {"pair_be.hdr": np.float32, "slope_inter.nii": np.float32}
        assert image.dtype == special.get(path.name, np.dtype(truth["dtype"]))
    rounding = 2e-5 if path.name == "almost_orthogonal.nii" else 1e-6  # an error of that size is in the file
    if "direction" in truth:
        np.testing.assert_allclose(image.direction.ravel(), truth["direction"], atol=rounding)
        np.testing.assert_allclose(image.origin, truth["origin"], atol=THIRTY_TWO_BITS)
    if "spacing" in truth:
        np.testing.assert_allclose(image.spacing, truth["spacing"], rtol=1e-5)


def test_every_order_of_axes_is_one_scan(tmp_path: Path) -> None:
    """Stored by nibabel in all 48 orders: a voxel's value belongs to the same point of the world in each."""
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    scan, points = nib.Nifti1Image(voxels, OBLIQUE), np.argwhere(voxels >= 0)
    reference = mj.Grid.of(voxels.shape, affine=lps(OBLIQUE))
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            nib.save(scan.as_reoriented(np.transpose([order, flips])), tmp_path / "turned.nii")
            image = mj.load_image(tmp_path / "turned.nii")
            index = image.grid.index(reference.world(points))
            np.testing.assert_allclose(index, np.round(index), rtol=0, atol=THIRTY_TWO_BITS)
            np.testing.assert_array_equal(image.voxels[tuple(np.round(index).astype(int).T)], voxels.ravel())


@needs_data
def test_forty_eight_orders_are_one_head() -> None:
    """The same head stored in ten axis orders: a voxel's value belongs to the same point of the world in all."""
    files = sorted((DATA / "nifti/orient48").glob("*.nii.gz"))
    assert len(files) == 10
    reference = mj.load_image(files[0])
    for file in files:
        image = mj.load_image(file)
        index = np.round(image.grid.index(reference.grid.world(np.argwhere(reference.voxels > 80)))).astype(int)
        assert (image.voxels[tuple(index.T)] > 80).all()
