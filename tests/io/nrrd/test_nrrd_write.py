"""NRRD written: bit for bit what pynrrd and SimpleITK read, with what names nobody."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from itk_files import DTYPES, METADATA, OBLIQUE, SHAPE, SHARED, as_itk, metadata_of, read_itk, voxels_of
from nrrd_files import RAS, VOXELS, at, flipped, header, placed, write

import medjax as mj

# --- metadata -------------------------------------------------------------------------------------------------------


def test_fields_and_pairs_are_kept(tmp_path: Path) -> None:
    pairs = {"my key": "a \\\\ b \\n c: d", "DWMRI_b-value": "1000", "größe": "ä"}
    frame = "(1,0,0) (0,0,1) (0,1,0)"
    text = header(pairs, **placed(flipped(RAS), "RAS"), measurement_frame=frame, kinds="domain domain domain")
    image = mj.load_image(write(tmp_path / "scan.nrrd", text))
    extra = metadata_of(image).extra
    assert extra["my key"] == "a \\ b \n c: d"
    assert (extra["DWMRI_b-value"], extra["größe"]) == ("1000", "ä")
    assert (extra["space"], extra["sizes"], extra["kinds"]) == ("RAS", [5, 4, 3], ["domain"] * 3)
    assert extra["measurement frame"] == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    json.dumps(dict(extra), allow_nan=False)

    mj.save_image(image, tmp_path / "again.nrrd")
    again = mj.load_image(tmp_path / "again.nrrd")
    own = metadata_of(again).extra
    assert {key: own[key] for key in pairs} == {key: extra[key] for key in pairs}
    assert (own["sizes"], own["kinds"], own["space"]) == ([5, 4, 3], ["domain"] * 3, "left-posterior-superior")
    written = nrrd.read_header(str(tmp_path / "again.nrrd"))
    assert written["DWMRI_b-value"] == "1000"
    np.testing.assert_array_equal(written["measurement frame"], np.array(extra["measurement frame"]) * RAS)  # now LPS
    assert sitk.ReadImage(str(tmp_path / "again.nrrd")).GetMetaData("my key") == "a \\ b \n c: d"


@pytest.mark.parametrize("suffix", ["nrrd", "nhdr"])
def test_metadata_survive(suffix: str, tmp_path: Path) -> None:
    image = mj.Image.from_array(VOXELS, affine=OBLIQUE, metadata=METADATA)
    path = tmp_path / f"scan.{suffix}"
    mj.save_image(image, path)
    assert metadata_of(mj.load_image(path)).replace(extra={}) == SHARED.replace(source=path.name)
    np.testing.assert_array_equal(read_itk(path)[0], VOXELS)
    np.testing.assert_array_equal(nrrd.read(str(path))[0], VOXELS)


def test_damaged_metadata_cost_only_themselves(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nrrd", at() + 'Kept:=yes\nMedjaxMetadata:={"modality": 5}\n')
    with pytest.warns(mj.ImageFileWarning, match="MedjaxMetadata are damaged"):
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, VOXELS)
    assert metadata_of(image).extra["Kept"] == "yes"


def test_labels_say_so(tmp_path: Path) -> None:
    image = mj.Image.from_array(voxels_of("u2"), affine=OBLIQUE, kind="label")
    mj.save_image(image, tmp_path / "labels.nrrd")
    assert mj.load_image(tmp_path / "labels.nrrd").kind == "label"
    assert mj.load_image(write(tmp_path / "scan.nrrd", at())).kind == "intensity"


# --- writing --------------------------------------------------------------------------------------------------------

WAYS = [("nrrd", True), ("nrrd", False), ("nhdr", True), ("nhdr", False)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("suffix", "compress"), WAYS)
def test_others_read_what_is_written_bit_for_bit(dtype: str, suffix: str, compress: bool, tmp_path: Path) -> None:
    image = mj.Image.from_array(voxels_of(dtype), affine=OBLIQUE)
    path = tmp_path / f"scan.{suffix}"
    mj.save_image(image, path, compress=compress)

    voxels, fields = nrrd.read(str(path))
    assert voxels.dtype == image.dtype
    assert voxels.tobytes("F") == image.voxels.tobytes("F")
    assert fields["space"] == "left-posterior-superior"
    np.testing.assert_array_equal(fields["space directions"], OBLIQUE[:3, :3].T)
    np.testing.assert_array_equal(fields["space origin"], OBLIQUE[:3, 3])

    theirs, affine = read_itk(path)
    assert theirs.dtype == image.dtype
    assert theirs.tobytes("F") == image.voxels.tobytes("F")
    np.testing.assert_allclose(affine, OBLIQUE, rtol=1e-14)

    loaded = mj.load_image(path)
    assert loaded.dtype == image.dtype
    assert loaded.voxels.tobytes("F") == image.voxels.tobytes("F")
    np.testing.assert_array_equal(loaded.affine, OBLIQUE)


def test_vectors_are_simpleitks(tmp_path: Path) -> None:
    image = mj.Image.from_array(voxels_of("f4", (*SHAPE, 3)), affine=OBLIQUE)
    mj.save_image(image, tmp_path / "scan.nrrd")
    theirs = sitk.ReadImage(str(tmp_path / "scan.nrrd"))
    assert theirs.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_array_equal(as_itk(sitk.GetArrayFromImage(theirs)), image.voxels)


@pytest.mark.parametrize("layout", ["C", "sliced", "big endian"])
def test_any_memory_layout_is_written(layout: str, tmp_path: Path) -> None:
    given = {
        "C": np.ascontiguousarray(VOXELS),
        "sliced": np.repeat(VOXELS, 2, 0)[::2],
        "big endian": VOXELS.astype(">i2"),
    }[layout]
    mj.save_image(mj.Image.from_array(given), tmp_path / "scan.nrrd")
    np.testing.assert_array_equal(nrrd.read(str(tmp_path / "scan.nrrd"))[0], VOXELS)


@pytest.mark.parametrize(("given", "stored"), [("?", "u1"), ("f2", "f4")])
def test_dtypes_that_the_format_lacks_become_wider(given: str, stored: str, tmp_path: Path) -> None:
    voxels = (np.arange(60).reshape(SHAPE) % 2).astype(given)
    mj.save_image(mj.Image.from_array(voxels), tmp_path / "scan.nrrd")
    assert mj.load_image(tmp_path / "scan.nrrd").dtype == np.dtype(stored)


@pytest.mark.parametrize("stem", ["LIST", "a b", "größe", "x.y"])
def test_awkward_names(stem: str, tmp_path: Path) -> None:
    mj.save_image(mj.Image.from_array(VOXELS), tmp_path / f"{stem}.nhdr")
    np.testing.assert_array_equal(mj.load_image(tmp_path / f"{stem}.nhdr").voxels, VOXELS)
    np.testing.assert_array_equal(read_itk(tmp_path / f"{stem}.nhdr")[0], VOXELS)


def test_refused_in_writing(tmp_path: Path) -> None:
    image = mj.Image.from_array(VOXELS)
    with pytest.raises(mj.io.UnsupportedFileError, match="%"):
        mj.save_image(image, tmp_path / "50%.nhdr")
    with pytest.raises(mj.io.UnsupportedFileError, match="complex64"):
        mj.save_image(mj.Image.from_array(VOXELS.astype(np.complex64)), tmp_path / "scan.nrrd")
    with pytest.raises(mj.io.UnsupportedFileError, match=r"holds labels .* with_kind"):
        mj.save_image(image, tmp_path / "scan.seg.nrrd")
    with pytest.raises(mj.io.UnsupportedFileError, match="cannot be saved"):
        mj.save_image(image.with_metadata(mj.Metadata(display={"a": object()})), tmp_path / "scan.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_reading_without_pynrrd_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.nrrd"
    monkeypatch.setitem(sys.modules, "nrrd", None)
    mj.save_image(mj.Image.from_array(VOXELS), path)  # writing needs nothing
    with pytest.raises(mj.io.MissingDependencyError, match=r'pip install "medjax\[nrrd\]"'):
        mj.load_image(path)
