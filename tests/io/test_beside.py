"""Data files beside a header: nobody else's is replaced, an old one goes, and every name that is saved is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import medjax as mj

A, B = (mj.Image.from_array(np.full((4, 3, 2), value, np.int16)) for value in (1, 2))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("first", "second"), [("scan.mhd", "scan.nhdr"), ("scan.nhdr", "scan.mhd")])
def test_two_headers_never_share_data(tmp_path: Path, first: str, second: str) -> None:
    mj.save_image(A, tmp_path / first, compress=False)
    with pytest.raises(mj.ImageFileError, match=rf"scan.raw' is also that of '{first}'; choose another name"):
        mj.save_image(B, tmp_path / second, compress=False)
    np.testing.assert_array_equal(mj.load_image(tmp_path / first).voxels, A.voxels)
    assert names(tmp_path) == sorted([first, "scan.raw"])
    mj.save_image(B, tmp_path / second, compress=True)  # .zraw and .raw.gz
    np.testing.assert_array_equal(mj.load_image(tmp_path / first).voxels, A.voxels)
    np.testing.assert_array_equal(mj.load_image(tmp_path / second).voxels, B.voxels)


@pytest.mark.parametrize(
    ("name", "other", "compress"),
    [
        ("a.mhd", "a.raw", False), ("a.mhd", "a.zraw", True), ("a.nhdr", "a.raw", False), ("a.nhdr", "a.raw.gz", True),
        ("a.hdr", "a.img", False), ("a.img", "a.hdr", False), ("a.hdr.gz", "a.img.gz", True),
    ],
)  # fmt: skip
def test_a_file_that_nobody_named_is_not_replaced(tmp_path: Path, name: str, other: str, compress: bool) -> None:
    (tmp_path / other).write_bytes(b"ENVI description = {of somebody else}")
    with pytest.raises(mj.ImageFileError, match="is there already"):
        mj.save_image(A, tmp_path / name, compress=compress)
    assert names(tmp_path) == [other]
    assert (tmp_path / other).read_bytes() == b"ENVI description = {of somebody else}"


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr", "a.hdr", "a.img.gz"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_an_own_image_is_replaced_and_its_old_data_go(tmp_path: Path, name: str, first: bool, second: bool) -> None:
    mj.save_image(A, tmp_path / name, compress=first)
    mj.save_image(B, tmp_path / name, compress=second)
    np.testing.assert_array_equal(mj.load_image(tmp_path / name).voxels, B.voxels)
    assert len(names(tmp_path)) == 2


def test_images_of_other_programs_are_replaced_with_their_data(tmp_path: Path) -> None:
    for name in ("a.mhd", "a.nhdr"):
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint8)), str(tmp_path / name))
        mj.save_image(B, tmp_path / name, compress=True)
        np.testing.assert_array_equal(mj.load_image(tmp_path / name).voxels, B.voxels)
        assert len(names(tmp_path)) == 2
        for file in tmp_path.iterdir():
            file.unlink()


def test_data_that_another_header_names_too_stay(tmp_path: Path) -> None:
    """Two headers over one data file, made by hand: the other one's data are not taken away."""
    mj.save_image(A, tmp_path / "a.mhd", compress=False)
    text = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 3 2\nspace: left-posterior-superior\nendian: little\n"
    text += "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\ndata file: a.raw\n"
    (tmp_path / "a.nhdr").write_text(text)
    with pytest.raises(mj.ImageFileError, match=r"is also that of 'a\.nhdr'"):
        mj.save_image(B, tmp_path / "a.mhd", compress=False)
    mj.save_image(B, tmp_path / "a.mhd", compress=True)
    np.testing.assert_array_equal(mj.load_image(tmp_path / "a.nhdr").voxels, A.voxels)
    np.testing.assert_array_equal(mj.load_image(tmp_path / "a.mhd").voxels, B.voxels)


def test_data_elsewhere_are_not_taken_away(tmp_path: Path) -> None:
    (tmp_path / "shared.raw").write_bytes(bytes(48))
    header = "NDims = 3\nDimSize = 4 3 2\nElementType = MET_SHORT\nElementDataFile = shared.raw\n"
    (tmp_path / "a.mhd").write_text(header)
    mj.save_image(B, tmp_path / "a.mhd", compress=False)
    assert names(tmp_path) == ["a.mhd", "a.raw", "shared.raw"]


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
@pytest.mark.parametrize(
    "stem",
    [
        " scan", "\u00a0scan", "LIST", "LIST 2", "LOCAL", "T:1", "\\scan", "a\\..\\b", "a b c d", "a:b", "a=b", "# a", "\u50cf",
        "'a\"", "data file", "scan ", "a\\nb", "./x".replace("/", ""), "\u00e9", "e\u0301",
    ],
)  # fmt: skip
@pytest.mark.parametrize("compress", [True, False])
def test_a_name_that_is_saved_is_loaded(tmp_path: Path, ending: str, stem: str, compress: bool) -> None:
    path = tmp_path / (stem + ending)
    mj.save_image(A, path, compress=compress)
    np.testing.assert_array_equal(mj.load_image(path).voxels, A.voxels)
    mj.save_image(B, path, compress=not compress)
    np.testing.assert_array_equal(mj.load_image(path).voxels, B.voxels)
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
@pytest.mark.parametrize(
    "stem", ["a\nElementSpacing = 9 9 9", "a\rb", "a\x1b[2J", "a\x85b", "a\u2028b", os.fsdecode(b"a\xff"), "a%d"]
)
def test_a_name_that_a_header_cannot_hold_is_refused(tmp_path: Path, ending: str, stem: str) -> None:
    with pytest.raises(mj.io.UnsupportedFileError, match="a header cannot name") as caught:
        mj.save_image(A, tmp_path / (stem + ending))
    assert "\n" not in caught.value.reason
    assert "\x1b" not in caught.value.reason
    assert names(tmp_path) == []


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd", ".hdr"])
@pytest.mark.parametrize("stem", ["a\nb", os.fsdecode(b"a\xff"), "a\u2028b", " a"])
def test_other_formats_take_any_name(tmp_path: Path, ending: str, stem: str) -> None:
    mj.save_image(A, tmp_path / (stem + ending))
    np.testing.assert_array_equal(mj.load_image(tmp_path / (stem + ending)).voxels, A.voxels)


# NIfTI: two forms, and fields that describe values


def statistic(folder: Path, dtype: Any = np.float32) -> mj.Image:
    import nibabel as nib

    values = np.random.default_rng(0).uniform(0, 1000, (8, 7, 6)).astype(dtype)
    source = nib.Nifti1Image(values, np.diag([2, 3, 4, 1.0]))
    source.header["cal_min"], source.header["cal_max"] = 10, 900
    source.header.set_intent(3, (12,), "t")
    nib.save(source, folder / "t.nii")
    return mj.load_image(folder / "t.nii")


KEEP = {
    "unchanged": lambda image: image,
    "flipped": lambda image: mj.flip(image, 0),
    "turned": lambda image: mj.change_orientation(image, "PIR"),
    "as another type": lambda image: image.with_voxels(np.asarray(image.voxels, np.float64)),
}
DROP = {
    "z-scores": mj.z_score_normalize,
    "to 0 and 1": mj.min_max_normalize,
    "halved": lambda image: mj.rescale(image, 0.5, 0.0),
    "clipped": lambda image: mj.clip(image, 100, 500),
    "a mask": lambda image: image.with_voxels((np.asarray(image.voxels) > 500).astype(image.dtype)),
    "a label map": lambda image: image.with_voxels((np.asarray(image.voxels) > 500).astype(np.int16)).with_kind(
        "label"
    ),
    "squeezed": lambda image: image.with_voxels(np.asarray(image.voxels) ** 2 / np.asarray(image.voxels).max()),
}


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("name", [*KEEP, *DROP])
def test_what_describes_values_goes_with_them(tmp_path: Path, name: str, dtype: Any) -> None:
    import nibabel as nib

    mj.save_image({**KEEP, **DROP}[name](statistic(tmp_path, dtype)), tmp_path / "a.nii")  # type: ignore[operator]
    header: Any = nib.load(tmp_path / "a.nii").header  # type: ignore[attr-defined]
    found = [float(header[field]) for field in ("cal_min", "cal_max", "intent_code", "intent_p1")]
    label = 1002.0 if name == "a label map" else 0.0
    assert found[2:] == ([3.0, 12.0] if name in KEEP else [label, 0.0])
    assert found[:2] == ([10.0, 900.0] if name in KEEP else [0.0, 0.0])


@pytest.mark.parametrize("bad", ["sform", "qform"])
def test_an_invalid_form_beside_a_valid_one(tmp_path: Path, bad: str) -> None:
    """SimpleITK reads the first one so; the second has long been read so here."""
    import nibabel as nib

    source = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([2, 3, 4, 1.0]))
    source.set_qform(np.diag([2, 3, 4, 1.0]), 1)
    block = bytearray(source.to_bytes())
    if bad == "sform":
        block[280:328] = bytes(48)
    else:
        block[256:260] = np.float32(5).tobytes()  # quatern_b
    (tmp_path / "a.nii").write_bytes(block)
    with pytest.warns(mj.ImageFileWarning, match=f"the {bad} is invalid and the [sq]form is used"):
        image = mj.load_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.affine, np.diag([-2, -3, 4, 1]))
    mj.save_image(image, tmp_path / "b.nii")
    for form in ("get_sform", "get_qform"):
        found = getattr(nib.load(tmp_path / "b.nii").header, form)()  # type: ignore[attr-defined]
        np.testing.assert_allclose(found, np.diag([2, 3, 4, 1]), atol=1e-6)
    block[280:328], block[256:260] = bytes(48), np.float32(5).tobytes()
    (tmp_path / "a.nii").write_bytes(block)
    with pytest.raises(mj.ImageFileError, match=r"sform: affine is singular.*; qform: quatern_b"):
        mj.load_image(tmp_path / "a.nii")
