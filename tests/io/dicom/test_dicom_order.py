"""What orders slices and volumes: vectors of frames, days before times of day, and positions that were rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_data import Lattice, save, series, stored_values, voxels_of
from dicom_headers import metadata_of
from dicom_kinds import nuclear
from pydicom.tag import Tag

import medjax as mj

LATTICE = Lattice()
STEP = LATTICE.between_slices


def gated(slots: list[int], slices: list[int], **attributes: Any) -> Any:
    """Frames that hold 100 times their slot and their slice."""
    values = np.array([100 * t + s for t, s in zip(slots, slices, strict=True)], np.uint16)
    stored = np.broadcast_to(values[:, None, None], (len(values), 4, 5)).copy()
    pointers = [Tag(name) for name in ("RRIntervalVector", "TimeSlotVector", "SliceVector")]
    vectors = {
        "FrameIncrementPointer": pointers,
        "RRIntervalVector": [1] * len(slots),
        "TimeSlotVector": slots,
        "SliceVector": slices,
    }
    return nuclear(stored, LATTICE, step=STEP, **(vectors | attributes))


TIMES = [t for t in (1, 2, 3) for _ in range(4)]
SLICES = [1, 2, 3, 4] * 3


@pytest.mark.parametrize("order", [range(12), [5, 2, 9, 0, 11, 7, 1, 3, 10, 4, 8, 6]], ids=["in order", "shuffled"])
@pytest.mark.parametrize("named", [True, False], ids=["pointer", "no pointer"])
def test_time_slots_are_volumes_and_slices_lie_where_the_vector_says(tmp_path: Path, order: Any, named: bool) -> None:
    dataset = gated([TIMES[n] for n in order], [SLICES[n] for n in order])
    if not named:
        del dataset.FrameIncrementPointer
    path = save(dataset, tmp_path / "spect.dcm")
    if SLICES[order[0]] == 1:
        image = mj.load_image(path)
    else:
        with pytest.warns(mj.ImageFileWarning, match="its first frame is not its first slice"):
            image = mj.load_image(path)
    assert image.shape == (5, 4, 4)
    expected = [[100 * t + s for t in (1, 2, 3)] for s in (1, 2, 3, 4)]
    np.testing.assert_array_equal(image.voxels[0, 0], expected)
    np.testing.assert_allclose(
        image.affine, LATTICE.affine, atol=1e-6
    )  # PS3.3 section C.8.4.15: slice 1 at the position
    assert metadata_of(image).extra["volumes"]["by"] == ["TimeSlotVector"]


def test_slices_that_a_vector_leaves_out_are_missing(tmp_path: Path) -> None:
    path = save(gated([1] * 4, [1, 2, 4, 5]), tmp_path / "spect.dcm")
    with pytest.raises(mj.io.NonUniformSpacingError, match="1 slice missing"):
        mj.load_image(path)


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"TimeSlotVector": [1, 2]}, "12 frames, but TimeSlotVector has 2 values"),
        ({"SliceVector": [1, 2]}, "12 frames, but SliceVector has 2 values"),
        ({"TimeSlotVector": None}, "FrameIncrementPointer names TimeSlotVector, which is missing"),
    ],
)
def test_vectors_that_do_not_fit_the_frames_are_refused(tmp_path: Path, attributes: Any, match: str) -> None:
    path = save(gated(TIMES, SLICES, **attributes), tmp_path / "spect.dcm")
    with pytest.raises(mj.io.InconsistentGeometryError, match=match):
        mj.load_image(path)


def test_frames_that_differ_by_time_are_no_slices(tmp_path: Path) -> None:
    dataset = gated(TIMES, SLICES, Modality="MR", FrameIncrementPointer=Tag("FrameTime"), FrameTime="40")
    for keyword in ("SliceVector", "TimeSlotVector", "RRIntervalVector"):
        delattr(dataset, keyword)
    with pytest.warns(mj.ImageFileWarning, match="does not say where"):
        image = mj.load_image(save(dataset, tmp_path / "cine.dcm"))
    assert image.voxels.shape == (5, 4, 1, 12)


# Days and times


def moments(folder: Path, stated: list[dict[str, str]]) -> Any:
    """A series of three slices at each of the moments, whose voxels are the moment's number; files in reverse."""
    for t in reversed(range(len(stated))):
        stored = np.full((3, 4, 5), t, np.int16)
        series(folder, stored, each=lambda k, t=t: stated[t], name=lambda n, k, t=t: f"{9 - t}{k}.dcm")  # type: ignore[misc]
    return mj.load_image(folder)


MIDNIGHT = [("20200101", "235958"), ("20200101", "235959.5"), ("20200102", "000000"), ("20200102", "235959")]


def test_days_come_before_times_of_day(tmp_path: Path) -> None:
    image = moments(tmp_path, [{"AcquisitionDate": day, "AcquisitionTime": time} for day, time in MIDNIGHT])
    assert image.voxels[0, 0, 0].tolist() == [0, 1, 2, 3]
    assert metadata_of(image).extra["volumes"]["by"] == ["AcquisitionDate", "AcquisitionTime"]


def test_every_slice_with_a_time_of_its_own_across_midnight(tmp_path: Path) -> None:
    times = [["235957", "235959", "000001"], ["235958", "000000", "000002"]]
    for t, row in enumerate(times):
        day = lambda time: "20200101" if time > "12" else "20200102"  # noqa: E731
        stored = np.full((3, 4, 5), t, np.int16)
        stated = lambda k, row=row, day=day: {"AcquisitionTime": row[k], "AcquisitionDate": day(row[k])}  # noqa: E731
        series(tmp_path, stored, each=stated, name=lambda n, k, t=t: f"{1 - t}{k}.dcm")  # type: ignore[misc]
    assert mj.load_image(tmp_path).voxels[0, 0].tolist() == [[0, 1]] * 3


def test_times_of_day_on_both_sides_of_midnight_without_a_day_have_no_order(tmp_path: Path) -> None:
    with pytest.raises(mj.io.DuplicatePositionError):
        moments(tmp_path, [{"AcquisitionTime": time, "InstanceNumber": "1"} for _, time in MIDNIGHT[1:3]])


def test_times_of_day_without_a_day_are_ordered_within_a_day(tmp_path: Path) -> None:
    image = moments(tmp_path, [{"AcquisitionTime": time} for time in ("090000", "0901", "090130.5")])
    assert image.voxels[0, 0, 0].tolist() == [0, 1, 2]


def test_moments_are_compared_in_utc(tmp_path: Path) -> None:
    """The clocks go back: 02:59:59 of summer comes before 02:00:00 of winter."""
    stated = ["20201025025959+0200", "20201025020000+0100"]
    image = moments(tmp_path, [{"AcquisitionDateTime": text} for text in stated])
    assert image.voxels[0, 0, 0].tolist() == [0, 1]


# Rounded positions


def rounded(folder: Path, digits: int, step: float, count: int = 24, missing: tuple[int, ...] = ()) -> np.ndarray:
    """Axial slices whose positions were rounded; returns the voxels."""
    stored = stored_values(slices=count)
    kept = [k for k in range(count) if k not in missing]
    z = [round(-123.4 + step * k, digits) for k in kept]
    series(
        folder,
        stored[kept],
        each=lambda k: {"ImagePositionPatient": [0, 0, f"{z[k]}"], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    )
    return voxels_of(stored[kept])


def test_rounded_positions_are_taken_as_even_where_that_is_asked_for(tmp_path: Path) -> None:
    voxels = rounded(tmp_path, 1, 1.25)
    with pytest.raises(mj.io.NonUniformSpacingError, match=r"are rounded, each by up to 0\.\d\d mm") as error:
        mj.load_image(tmp_path)
    assert "missing" not in error.value.reason
    assert 'spacing_policy="even"' in str(error.value)
    with pytest.warns(mj.ImageFileWarning, match="the slices are taken as even"):
        image = mj.io.load_dicom_series(tmp_path, spacing_policy="even")
    np.testing.assert_array_equal(image.voxels, voxels)
    assert image.spacing[2] == pytest.approx(1.25, abs=0.1 / 23)


def test_whole_millimetres_say_that_slices_are_missing_or_rounded(tmp_path: Path) -> None:
    rounded(tmp_path, 0, 1.25)
    with pytest.raises(mj.io.NonUniformSpacingError, match=r"missing between .*, or their positions are rounded"):
        mj.load_image(tmp_path)


def test_a_missing_slice_is_no_rounding(tmp_path: Path) -> None:
    rounded(tmp_path, 2, 1.25, count=8, missing=(3,))
    with pytest.raises(mj.io.NonUniformSpacingError, match="1 slice missing") as error:
        mj.load_image(tmp_path)
    assert "rounded" not in str(error.value)


def test_a_slice_is_not_moved_by_more_than_half_a_step(tmp_path: Path) -> None:
    rounded(tmp_path, 2, 1.25, count=12, missing=(2, 3, 4))
    with pytest.raises(mj.io.NonUniformSpacingError, match="more than half a step"):
        mj.io.load_dicom_series(tmp_path, spacing_policy="even")
