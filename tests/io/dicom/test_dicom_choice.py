"""What makes no single image of a folder of DICOM files: each problem by its name, and the way to choose."""

from __future__ import annotations

import concurrent.futures
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_data import COLUMNS, ROWS, SLICES, Lattice, image_dataset, save, series, stored_values, voxels_of
from mutations import cost

import medjax as mj

STORED = stored_values()
LATTICE = Lattice()
# Positions and cosines are written with ten significant digits; a straight stack's normal is computed from the cosines.
GEOMETRY_MM = 1e-7


def two_series(folder: Path) -> None:
    series(folder, each=lambda k: {"SeriesDescription": "THORAX", "SeriesNumber": 2})
    series(folder / "b", STORED[:4] - 5, uid="1.2.3.4", each=lambda k: {"Modality": "PT", "SeriesNumber": 1})


def test_several_series_are_listed_with_how_to_choose(tmp_path: Path) -> None:
    two_series(tmp_path)
    with pytest.raises(mj.io.MultipleSeriesError) as info:
        mj.load_image(tmp_path)
    text = str(info.value)
    assert "there are 2 series" in text
    assert 'CT "THORAX", 7 files, 12 x 9 x 7, 3.756 x 0.839 x 1.041 mm' in text
    assert "1.2.3.4 stack 0: PT, 4 files" in text
    assert "series_uid" in (info.value.hint or "")
    image = mj.io.load_dicom_series(tmp_path, "1.2.3.4")
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED[:4] - np.int16(5)))
    with pytest.raises(mj.io.MultipleSeriesError, match=r"no series has the UID 9\.9"):
        mj.io.load_dicom_series(tmp_path, "9.9")


def test_series_are_listed_from_headers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_series(tmp_path)

    def never(*args: Any) -> None:
        raise AssertionError("pixels were read")

    with monkeypatch.context() as patch:
        # Private: a step that must not run, and the number of files from which progress is shown.
        patch.setattr("medjax.io._dicom._volume.fill", never)
        first, second = mj.io.list_dicom_series(tmp_path)
    assert (first.uid, first.modality, first.number, first.files, first.shape) == ("1.2.3.4", "PT", 1, 4, (12, 9, 4))
    assert (second.description, second.shape, second.spacing) == ("THORAX", (12, 9, 7), (3.756, 0.839, 1.041))
    assert second.orientation == mj.io.load_dicom_series(tmp_path, second.uid).orientation
    assert (first.problem, second.problem) == (None, None)


def with_localiser(folder: Path) -> None:
    series(folder)
    sagittal = Lattice(turn=LATTICE.turn[:, [1, 2, 0]])
    series(folder, STORED[:2], lattice=sagittal, name=lambda n, k: f"scout{n}.dcm")


def test_a_localiser_inside_a_series_is_a_stack_of_its_own(tmp_path: Path) -> None:
    with_localiser(tmp_path)
    with pytest.raises(mj.io.MultipleSeriesError, match="2 stacks of different orientation or size") as info:
        mj.load_image(tmp_path)
    assert 'stack="largest"' in (info.value.hint or "")
    assert [record.shape for record in mj.io.list_dicom_series(tmp_path)] == [(12, 9, 7), (12, 9, 2)]
    for choice in ("largest", 0):
        image = mj.io.load_dicom_series(tmp_path, stack=choice)
        np.testing.assert_array_equal(image.voxels, voxels_of(STORED))
    assert mj.io.load_dicom_series(tmp_path, stack=1).shape == (12, 9, 2)
    with pytest.raises(mj.io.MultipleSeriesError, match="no stack 2"):
        mj.io.load_dicom_series(tmp_path, stack=2)


def test_slices_of_another_size_are_a_stack_of_their_own(tmp_path: Path) -> None:
    series(tmp_path)
    series(tmp_path, STORED[:1, 1:], name=lambda n, k: "small.dcm")
    with pytest.raises(mj.io.MultipleSeriesError, match="different orientation or size"):
        mj.load_image(tmp_path)


@pytest.mark.parametrize(("keyword", "other"), [("PatientID", "B"), ("Units", "CNTS"), ("Modality", "PT")])
def test_slices_of_two_owners_under_one_uid_make_no_volume(tmp_path: Path, keyword: str, other: str) -> None:
    own = {"PatientID": "Mueller", "Units": "BQML", "Modality": "CT"}
    series(tmp_path, each=lambda k: {**own, keyword: other if k > 4 else own[keyword]})
    named = {"PatientID": "patient", "Units": "units", "Modality": "modality"}[keyword]
    with pytest.raises(mj.io.MultipleSeriesError, match=f"2 stacks of different {named}:") as caught:
        mj.load_image(tmp_path)
    assert "Mueller" not in str(caught.value)
    first = mj.io.load_dicom_series(tmp_path, stack=0)
    assert first.shape == (COLUMNS, ROWS, 5)
    assert isinstance(first.metadata, mj.Metadata)
    assert first.metadata.patient_id == "Mueller"
    assert [found.shape[2] for found in mj.io.list_dicom_series(tmp_path)] == [5, SLICES - 5]


@pytest.mark.parametrize(
    ("keyword", "name"), [("FrameOfReferenceUID", "frames of reference"), ("StudyInstanceUID", "studies")]
)
def test_slices_that_name_several_studies_or_frames_are_warned_of(tmp_path: Path, keyword: str, name: str) -> None:
    series(tmp_path, each=lambda k: {keyword: f"1.2.{k // 4}"})
    with pytest.warns(mj.ImageFileWarning, match=f"its slices name 2 different {name}"):
        assert mj.load_image(tmp_path).shape == (COLUMNS, ROWS, SLICES)


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    series(tmp_path, order=[6, 5, 4, 2, 1, 0], name=lambda n, k: f"IM{k}")
    with pytest.raises(mj.io.NonUniformSpacingError) as info:
        mj.load_image(tmp_path)
    assert (
        "steps of 1.04 mm (4x), 2.08 mm (1x); 1 slice missing between IM2 at 2.08 mm and IM4 at 4.16 mm"
        in info.value.reason
    )
    assert 'spacing_policy="resample"' in (info.value.hint or "")
    (record,) = mj.io.list_dicom_series(tmp_path)
    assert record.spacing is None
    assert "1 slice missing" in (record.problem or "")


def test_a_gap_is_interpolated_or_filled_on_request(tmp_path: Path) -> None:
    series(tmp_path, order=[0, 1, 2, 4, 5, 6])
    with pytest.warns(mj.ImageFileWarning, match="interpolated onto even positions"):
        image = mj.io.load_dicom_series(tmp_path, spacing_policy="resample")
    assert image.dtype == np.float32
    expected = STORED.astype(np.float32)
    expected[3] = (expected[2] + expected[4]) / 2
    np.testing.assert_allclose(
        image.voxels, voxels_of(expected), atol=1e-3
    )  # weights of 0.5 and 1 to 1e-7, values to 2e3
    np.testing.assert_allclose(image.affine, LATTICE.affine, rtol=0, atol=GEOMETRY_MM)
    with pytest.warns(mj.ImageFileWarning, match="shows the nearest"):
        nearest = mj.io.load_dicom_series(tmp_path, spacing_policy="nearest")
    assert nearest.dtype == np.int16
    np.testing.assert_array_equal(nearest.voxels[..., [0, 1, 2, 4, 5, 6]], voxels_of(STORED[[0, 1, 2, 4, 5, 6]]))
    assert any(np.array_equal(nearest.voxels[..., 3], STORED[k].T) for k in (2, 4))
    assert isinstance(nearest.metadata, mj.Metadata)
    assert len(nearest.metadata.extra["per_slice"]["InstanceNumber"]) == SLICES


def test_variable_spacing_is_resampled_in_millimetres(tmp_path: Path) -> None:
    places = np.array([0.0, 1, 2, 3, 4, 5.5, 8])
    ramp = np.round(100 * places).astype(np.int16)[:, None, None] * np.ones((1, ROWS, COLUMNS), np.int16)
    series(tmp_path, ramp, places=list(places))
    with pytest.raises(mj.io.NonUniformSpacingError, match="the widest between"):
        mj.load_image(tmp_path)
    with pytest.warns(mj.ImageFileWarning, match="not evenly spaced"):
        image = mj.io.load_dicom_series(tmp_path, spacing_policy="resample")
    assert image.shape == (COLUMNS, ROWS, 9)  # the median step is 1, the last slice lies at 8
    depth = (image.grid.world(np.stack([np.zeros(9), np.zeros(9), np.arange(9)], -1)) - LATTICE.origin) @ LATTICE.turn[
        :, 2
    ]
    np.testing.assert_allclose(image.voxels[0, 0], 100 * depth / 1.041, atol=1e-3)


def test_tilt_and_variable_spacing_are_named_together(tmp_path: Path) -> None:
    lean = Lattice(lean=0.4)
    series(tmp_path, lattice=lean, order=[0, 1, 2, 4, 5, 6])
    with pytest.raises(mj.io.NonUniformSpacingError, match=r"1 slice missing.*also leans 21\.0 degrees"):
        mj.load_image(tmp_path)
    with pytest.warns(mj.ImageFileWarning) as caught:
        image = mj.io.load_dicom_series(tmp_path, spacing_policy="resample")
    np.testing.assert_allclose(image.affine, lean.affine, rtol=0, atol=GEOMETRY_MM)
    assert {"leans", "interpolated"} <= {
        word for w in caught for word in re.findall("leans|interpolated", str(w.message))
    }


def test_stray_positions_are_no_gap_to_fill(tmp_path: Path) -> None:
    series(tmp_path, places=[0, 1, 2, 3, 4, 5, 10**6])
    with pytest.raises(mj.io.NonUniformSpacingError, match="would need 1000001 slices"):
        mj.io.load_dicom_series(tmp_path, spacing_policy="resample")


@pytest.mark.parametrize("policy", ["dimension", "error"])
def test_copies_of_a_slice_are_left_out_with_a_warning(tmp_path: Path, policy: Any) -> None:
    series(tmp_path, order=[0, 1, 2, 3, 3, 4, 5, 6])
    with pytest.warns(mj.ImageFileWarning, match=r"1 of the slices are copies.*00[34]\.dcm"):
        image = mj.io.load_dicom_series(tmp_path, repeats=policy)
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED))


def test_two_slices_at_one_position_are_refused_by_name(tmp_path: Path) -> None:
    series(tmp_path)
    series(tmp_path, STORED[3:4] + 1, places=[3], name=lambda n, k: "other.dcm")
    with pytest.raises(
        mj.io.DuplicatePositionError, match=r"7 positions hold from 1 to 2 slices each; 003\.dcm and other\.dcm"
    ):
        mj.load_image(tmp_path)


def test_repeats_at_one_position_are_stacked_only_when_asked(tmp_path: Path) -> None:
    series(tmp_path, STORED[:3], places=[0, 0, 0], order=[2, 0, 1], each=lambda k: {"AcquisitionNumber": 9 - k})
    with pytest.raises(mj.io.DuplicatePositionError, match="3 different slices at one position") as info:
        mj.load_image(tmp_path)
    assert 'repeats="order"' in (info.value.hint or "")
    image = mj.io.load_dicom_series(tmp_path, repeats="order")
    assert image.voxels.shape == (COLUMNS, ROWS, 1, 3)
    np.testing.assert_array_equal(image.voxels[:, :, 0], STORED[2::-1].transpose(2, 1, 0))  # by AcquisitionNumber


def test_positions_are_never_guessed(tmp_path: Path) -> None:
    series(tmp_path, each=lambda k: {"ImagePositionPatient": None})
    with pytest.raises(mj.io.NoGeometryError, match="7 of 7 slices have no ImagePositionPatient"):
        mj.load_image(tmp_path)


@pytest.mark.parametrize(
    ("each", "error", "message"),
    [
        (
            lambda k: {"PixelSpacing": ["0.8", "0.8" if k else "0.9"]},
            mj.io.InconsistentGeometryError,
            "PixelSpacing differs",
        ),
        (lambda k: {"PixelSpacing": None}, mj.io.NoGeometryError, "PixelSpacing is missing"),
        (lambda k: {"PixelSpacing": ["0", "1"]}, mj.io.NoGeometryError, "PixelSpacing is missing"),
        (lambda k: {"ImageOrientationPatient": None}, mj.io.NoGeometryError, "7 files have no ImageOrientationPatient"),
        (
            lambda k: {"ImageOrientationPatient": list("110100")},
            mj.io.InconsistentGeometryError,
            "perpendicular unit vectors",
        ),
        (lambda k: {"ImagePositionPatient": ["0", "0", "nan"]}, mj.io.NoGeometryError, "no ImagePositionPatient"),
        (lambda k: {"ImagePositionPatient": ["1e300", "0", str(k)]}, mj.ImageFileError, "geometry|shifted|evenly"),
    ],
)
def test_geometry_that_fits_no_grid_is_refused(
    tmp_path: Path, each: Callable[[int], dict[str, Any]], error: type[Exception], message: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom comments on what is written
        series(tmp_path, each=each)
    with pytest.raises(error, match=message):
        mj.load_image(tmp_path)


def test_slices_shifted_within_their_planes_are_refused(tmp_path: Path) -> None:
    def moved(k: int) -> dict[str, Any]:
        place = LATTICE.position(k) + LATTICE.turn[:, 0] * (2.0 if k == 3 else 0.0)
        return {"ImagePositionPatient": [f"{x:.8g}" for x in place]}

    series(tmp_path, each=moved)
    with pytest.raises(mj.io.InconsistentGeometryError, match=r"shifted .* by up to 2\.00 mm"):
        mj.load_image(tmp_path)


def test_a_folder_without_dicom_or_without_images_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(mj.ImageFileError, match="no DICOM file"):
        mj.load_image(tmp_path)
    plan = image_dataset(STORED[0], sop_class="1.2.840.10008.5.1.4.1.1.481.5")
    del plan.PixelData, plan.Rows, plan.Columns
    save(plan, tmp_path / "plan.dcm")
    with pytest.raises(mj.io.NotAnImageError, match=r"1 x RT Plan \(1\.2\.840"):
        mj.load_image(tmp_path)
    with pytest.raises(mj.io.NotAnImageError, match="holds no image: RT Plan"):
        mj.load_image(tmp_path / "plan.dcm")
    assert mj.io.list_dicom_series(tmp_path) == []


@pytest.mark.usefixtures("unchecked")
def test_missing_paths_and_unknown_options(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mj.io.load_dicom_series(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        mj.io.list_dicom_series(tmp_path / "none")
    series(tmp_path)
    with pytest.raises(ValueError, match="spacing_policy must be one of 'error', 'resample', 'nearest'"):
        mj.io.load_dicom_series(tmp_path, spacing_policy="guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="repeats must be one of"):
        mj.io.load_dicom_series(tmp_path, repeats="drop")  # type: ignore[arg-type]


def test_errors_and_warnings_name_no_patient(tmp_path: Path) -> None:
    problems: list[Callable[[Path], Any]] = [
        lambda folder: two_series(folder),
        lambda folder: with_localiser(folder),
        lambda folder: series(folder, order=[0, 1, 2, 4]),
        lambda folder: series(folder, places=[0, 0, 1, 2, 3, 4, 5]),
        lambda folder: series(folder, lattice=Lattice(lean=0.3)),
        lambda folder: series(folder, order=[0, 1, 1, 2]),
    ]
    for number, make in enumerate(problems):
        folder = tmp_path / str(number)
        make(folder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                mj.load_image(folder)
            except mj.ImageFileError as error:
                text = str(error)
            else:
                text = " ".join(str(w.message) for w in caught)
        assert text
        assert "Nobody" not in text
        assert "PATIENT" not in text
        assert all(issubclass(w.category, mj.ImageFileWarning) for w in caught)


def test_nothing_of_pydicoms_is_logged_or_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = series(tmp_path, STORED[:1], each=lambda k: {"InstitutionName": "X" * 9, "PatientName": "Y" * 9})[0]
    content = path.read_bytes().replace(b"X" * 9, b"\xff" * 9).replace(b"Y" * 9, b"Nobody\xff\xfe\xfd")  # no UTF-8
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(0):
        warnings.simplefilter("always")
        mj.load_image(path)
        assert (caught, caplog.records) == ([], [])
        str(pydicom.dcmread(path).PatientName)
    assert caught, "pydicom on its own does warn"
    assert not logging.getLogger("pydicom").disabled


def test_threads_that_read_at_once_all_warn_and_leave_the_filters_alone(tmp_path: Path) -> None:
    series(tmp_path, lattice=Lattice(lean=0.3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("error", "never said", mj.ImageFileWarning)
        before = list(warnings.filters)
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            images = list(threads.map(mj.load_image, [tmp_path] * 40))
        assert warnings.filters == before
    assert len(images) == len(caught) == 40
    assert not logging.getLogger("pydicom").disabled


def test_reading_takes_no_second_copy_of_the_voxels(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (48, 256, 256), dtype=np.uint16)
    series(
        tmp_path,
        stored,
        order=np.random.default_rng(1).permutation(48).tolist(),
        each=lambda k: {"BitsStored": 12, "HighBit": 11, "RescaleSlope": "1", "RescaleIntercept": "-1024"},
    )
    mj.load_image(tmp_path)  # what is loaded on use
    _, most_bytes = cost(lambda: mj.load_image(tmp_path))
    assert most_bytes < 1.25 * stored.nbytes  # the headers are a tenth of these small slices


def test_a_progress_bar_appears_on_a_terminal_only_for_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    series(tmp_path)
    monkeypatch.setattr("medjax.io._dicom._progress._FEWEST", SLICES)
    mj.load_image(tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    mj.load_image(tmp_path)
    shown = capsys.readouterr().err
    assert "Reading headers" in shown
    assert f"Reading slices [{'#' * 30}] 7/7" in shown
    monkeypatch.setattr("medjax.io._dicom._progress._FEWEST", SLICES + 1)
    mj.load_image(tmp_path)
    assert capsys.readouterr().err == ""
