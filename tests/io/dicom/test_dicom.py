"""Classic DICOM series: order, geometry, values, and pictures without a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_data import COLUMNS, ROWS, SLICES, Lattice, image_dataset, save, series, stored_values, voxels_of
from pydicom.uid import UltrasoundImageStorage

import medjax as mj

STORED = stored_values()
LATTICE = Lattice()
# Positions and cosines are written with ten significant digits; a straight stack's normal is computed from the cosines.
GEOMETRY_MM = 1e-7


def test_voxels_are_column_row_slice_on_the_stated_grid(tmp_path: Path) -> None:
    series(tmp_path)
    image = mj.load_image(tmp_path)
    assert image.shape == (COLUMNS, ROWS, SLICES)
    assert image.dtype == np.int16
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED))
    np.testing.assert_allclose(image.affine, LATTICE.affine, rtol=0, atol=GEOMETRY_MM)
    np.testing.assert_allclose(image.spacing, (3.756, 0.839, 1.041), rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_order_of_files_names_and_numbers_does_not_matter(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = rng.permutation(SLICES)
    series(tmp_path, order=rng.permutation(SLICES).tolist(), name=lambda n, k: f"{names[n]}.dcm")
    image = mj.load_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED))
    np.testing.assert_allclose(image.affine, LATTICE.affine, rtol=0, atol=GEOMETRY_MM)


def test_slices_ascend_along_the_normal_wherever_that_points(tmp_path: Path) -> None:
    flipped = Lattice(turn=np.diag([-1.0, 1.0, -1.0]))  # a row towards the right: the normal points to the feet
    series(tmp_path, lattice=flipped)
    image = mj.load_image(tmp_path)
    assert image.orientation == "RPI"
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED))
    np.testing.assert_allclose(image.affine, flipped.affine, rtol=0, atol=GEOMETRY_MM)


def test_files_without_ending_in_folders_with_odd_names_among_junk(tmp_path: Path) -> None:
    folder = tmp_path / "Schädel ąęß 日本"
    series(folder, name=lambda n, k: f"teil {n % 2}/IM ü{k}")
    (folder / "notes.txt").write_text("DICM is only a word here")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "random").write_bytes(b"\x08\0" + np.random.default_rng(0).bytes(4000))
    (folder / "gone").symlink_to(folder / "nowhere")
    report = image_dataset(np.zeros((2, 2), np.int16), sop_class="1.2.840.10008.5.1.4.1.1.88.11", PixelData=b"")
    del report.PixelData, report.Rows, report.Columns
    save(report, folder / "report.dcm")
    np.testing.assert_array_equal(mj.load_image(folder).voxels, voxels_of(STORED))


def test_an_empty_file_with_a_dicom_name_is_left_aside_with_a_warning(tmp_path: Path) -> None:
    series(tmp_path)
    (tmp_path / "lost.dcm").write_bytes(b"")
    with pytest.warns(mj.ImageFileWarning, match=r"1 file named like DICOM .* left aside: lost\.dcm \(empty\)"):
        image = mj.load_image(tmp_path)
    assert image.shape == (COLUMNS, ROWS, SLICES)


def test_one_file_is_one_slice_as_thick_as_it_says(tmp_path: Path) -> None:
    paths = series(tmp_path)
    image = mj.load_image(paths[2])
    assert image.shape == (COLUMNS, ROWS, 1)
    np.testing.assert_array_equal(image.voxels[:, :, 0], STORED[2].T)
    np.testing.assert_allclose(image.origin, LATTICE.position(2), rtol=0, atol=GEOMETRY_MM)
    np.testing.assert_allclose(image.spacing, (3.756, 0.839, 1.041), rtol=1e-8)


def test_a_single_slice_without_thickness_is_one_millimetre_thick_and_says_so(tmp_path: Path) -> None:
    (path,) = series(tmp_path, STORED[:1], each=lambda k: {"SliceThickness": None})
    with pytest.warns(mj.ImageFileWarning, match="no slice thickness"):
        assert mj.load_image(path).spacing[2] == 1.0


def test_positions_win_over_thickness_spacing_and_location(tmp_path: Path) -> None:
    series(tmp_path, each=lambda k: {"SliceThickness": 9, "SpacingBetweenSlices": 4, "SliceLocation": -k})
    image = mj.load_image(tmp_path)
    np.testing.assert_allclose(image.affine, LATTICE.affine, rtol=0, atol=GEOMETRY_MM)


def test_rounded_cosines_are_made_orthonormal(tmp_path: Path) -> None:
    rounded = [f"{x:.4f}" for x in (*LATTICE.turn[:, 0], *LATTICE.turn[:, 1])]
    series(tmp_path, each=lambda k: {"ImageOrientationPatient": rounded})
    image = mj.load_image(tmp_path)
    np.testing.assert_allclose(image.direction.T @ image.direction, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(image.affine, LATTICE.affine, atol=5e-4)  # four digits of cosines times 3.8 mm


def test_jitter_below_one_percent_is_one_grid(tmp_path: Path) -> None:
    series(tmp_path, places=[k + 0.003 * (-1) ** k for k in range(SLICES)])
    image = mj.load_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED))
    np.testing.assert_allclose(image.spacing[2], 1.041, rtol=2e-3)


def test_gantry_tilt_loads_with_the_exact_sheared_affine_and_warns(tmp_path: Path) -> None:
    lean = Lattice(lean=1.041 * np.tan(np.radians(12.0)))
    series(tmp_path, lattice=lean)
    with pytest.warns(mj.ImageFileWarning, match=r"leans 12\.00 degrees"):
        image = mj.load_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED))
    np.testing.assert_allclose(image.affine, lean.affine, rtol=0, atol=GEOMETRY_MM)


def test_a_lean_of_a_tenth_of_a_degree_is_kept_without_a_word(tmp_path: Path) -> None:
    lean = Lattice(between_slices=5.0, lean=5.0 * np.tan(np.radians(0.1)))
    series(tmp_path, lattice=lean)
    np.testing.assert_allclose(mj.load_image(tmp_path).affine, lean.affine, rtol=0, atol=GEOMETRY_MM)


# Values


def test_each_slice_has_its_own_slope_and_intercept(tmp_path: Path) -> None:
    slopes, intercepts = 1 + 0.37 * np.arange(SLICES), -3.25 * np.arange(SLICES)
    series(tmp_path, each=lambda k: {"RescaleSlope": f"{slopes[k]:.6g}", "RescaleIntercept": f"{intercepts[k]:.6g}"})
    image = mj.load_image(tmp_path)
    assert image.dtype == np.float32
    expected = STORED * slopes[:, None, None] + intercepts[:, None, None]
    np.testing.assert_array_equal(image.voxels, voxels_of(expected.astype(np.float32)))


@pytest.mark.parametrize(
    ("stored", "intercept", "bits", "dtype"),
    [
        (np.uint16, 0, 16, np.uint16),
        (np.uint8, 0, 8, np.uint8),
        (np.int32, 0, 32, np.int32),
        (np.uint16, -1024, 12, np.int16),  # every value that 12 bits allow fits
        (np.uint16, -1024, 16, np.int16),  # every value that is there fits
        (np.uint16, -40000, 16, np.int32),
        (np.uint8, -1024, 8, np.int16),
        (np.int32, 7, 32, np.int16),
        (np.uint16, -0.5, 16, np.float32),
    ],
)
def test_integers_stay_integers_where_that_is_exact(
    tmp_path: Path, stored: Any, intercept: float, bits: int, dtype: Any
) -> None:
    values = np.random.default_rng(1).integers(0, min(2**bits, 4096), (3, ROWS, COLUMNS)).astype(stored)
    attributes = {"RescaleSlope": "1", "RescaleIntercept": str(intercept), "BitsStored": bits, "HighBit": bits - 1}
    series(tmp_path, values, each=lambda k: attributes)
    image = mj.load_image(tmp_path)
    assert image.dtype == dtype
    np.testing.assert_array_equal(image.voxels, voxels_of(values.astype(np.float64) + intercept))


def test_intercepts_may_differ_between_slices_and_stay_whole(tmp_path: Path) -> None:
    series(tmp_path, each=lambda k: {"RescaleSlope": "1.0", "RescaleIntercept": str(-1000 * k)})
    image = mj.load_image(tmp_path)
    assert image.dtype == np.int16
    np.testing.assert_array_equal(
        image.voxels, voxels_of(STORED - 1000 * np.arange(SLICES, dtype=np.int16)[:, None, None])
    )


def test_slices_of_different_signedness_are_one_image(tmp_path: Path) -> None:
    values = np.abs(STORED)
    series(tmp_path, values, each=lambda k: {"PixelRepresentation": k % 2})
    np.testing.assert_array_equal(mj.load_image(tmp_path).voxels, voxels_of(values))


def test_padding_and_monochrome1_are_kept_and_flagged(tmp_path: Path) -> None:
    values = STORED.copy()
    values[:, :2] = -2000
    each = {
        "PixelPaddingValue": -2000,
        "RescaleSlope": "1",
        "RescaleIntercept": "-24",
        "PhotometricInterpretation": "MONOCHROME1",
    }
    series(tmp_path, values, each=lambda k: each)
    image = mj.load_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, voxels_of(values - np.int16(24)))
    assert isinstance(image.metadata, mj.Metadata)
    assert image.metadata.display["PhotometricInterpretation"] == "MONOCHROME1"
    assert image.metadata.extra["PixelPaddingValue"] == -2000


def test_the_display_window_is_not_applied(tmp_path: Path) -> None:
    series(tmp_path, each=lambda k: {"WindowCenter": "40", "WindowWidth": "80"})
    image = mj.load_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED))
    assert isinstance(image.metadata, mj.Metadata)
    assert dict(image.metadata.display) == {
        "PhotometricInterpretation": "MONOCHROME2",
        "WindowCenter": 40.0,
        "WindowWidth": 80.0,
    }


# Pictures without a place


def test_a_picture_without_a_place_lies_at_the_origin_and_says_so(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"Modality": "US", "PixelSpacing": ["0.2", "0.3"]}
    path = save(image_dataset(STORED[0], sop_class=UltrasoundImageStorage, **attributes), tmp_path / "us.dcm")
    with pytest.warns(mj.ImageFileWarning, match="does not say where the image lies"):
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels[:, :, 0], STORED[0].T)
    np.testing.assert_array_equal(image.affine, np.diag([0.3, 0.2, 1.0, 1.0]))
    assert isinstance(image.metadata, mj.Metadata)
    assert image.metadata.extra["geometry"] == "unknown"


@pytest.mark.parametrize("keyword", ["ImagerPixelSpacing", "NominalScannedPixelSpacing"])
def test_spacing_at_the_detector_stands_in_for_pixel_spacing(tmp_path: Path, keyword: str) -> None:
    attributes: dict[str, Any] = {"Modality": "DX", keyword: ["0.2", "0.3"]}
    path = save(image_dataset(STORED[0], **attributes), tmp_path / "dx.dcm")
    with pytest.warns(mj.ImageFileWarning):
        assert mj.load_image(path).spacing == (0.3, 0.2, 1.0)


def test_a_picture_without_any_size_says_that_too(tmp_path: Path) -> None:
    path = save(image_dataset(STORED[0]), tmp_path / "sc.dcm")
    with pytest.warns(mj.ImageFileWarning, match="pixels of 1 mm"):
        assert mj.load_image(path).spacing == (1.0, 1.0, 1.0)
