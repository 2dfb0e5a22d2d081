"""Series with volumes, and objects whose slices are frames or tiles: enhanced, mosaic, dose, nuclear medicine, loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_data import COLUMNS, ROWS, SLICES, Lattice, image_dataset, save, series, stored_values, voxels_of
from dicom_kinds import csa_header, dose, enhanced, item, mosaic, nuclear, plane_groups
from pydicom.sequence import Sequence as Items
from pydicom.uid import UltrasoundMultiFrameImageStorage

import medjax as mj

# Private: headers cut short, at every byte.
from medjax.io._dicom._mosaic import csa_values

LATTICE = Lattice()
GEOMETRY_MM = 1e-7  # ten significant digits
VOLUMES = 3
STORED = np.stack([stored_values(seed) for seed in range(VOLUMES)])  # (volume, slice, row, column)


def extra_of(image: mj.Image) -> Any:
    assert isinstance(image.metadata, mj.Metadata)
    return image.metadata.extra


def check_volumes(image: mj.Image, stored: np.ndarray = STORED) -> None:
    """The voxels are (column, row, slice, volume) on the lattice."""
    np.testing.assert_array_equal(image.voxels, stored.transpose(3, 2, 1, 0))
    np.testing.assert_allclose(image.affine, LATTICE.affine, rtol=0, atol=GEOMETRY_MM)


def classic(folder: Path, each: Callable[[int, int], dict[str, Any]]) -> None:
    """Writes the volumes in an order that says nothing; `each` gives the attributes of volume t and slice k."""
    cells = list(itertools.product(range(VOLUMES), range(SLICES)))
    np.random.default_rng(5).shuffle(cells)
    for number, (t, k) in enumerate(cells):
        attributes = {"InstanceNumber": 1000 - number, **each(t, k)}
        series(folder, STORED[t], order=[k], each=lambda _, a=attributes: a, name=lambda n, k, m=number: f"{m}.dcm")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("by", "each"),
    [
        (["TemporalPositionIdentifier"], lambda t, k: {"TemporalPositionIdentifier": t + 1}),
        (["EchoTime"], lambda t, k: {"EchoTime": [4.6, 9.2, 13.8][t]}),
        (["DiffusionBValue"], lambda t, k: {"DiffusionBValue": [0.0, 500.0, 1000.0][t]}),
        (["TriggerTime"], lambda t, k: {"TriggerTime": str(40 * t)}),
        (
            ["FrameReferenceTime"],
            lambda t, k: {"FrameReferenceTime": str(1000 * t), "ActualFrameDuration": str(10 + t)},
        ),
        (["AcquisitionTime"], lambda t, k: {"AcquisitionTime": f"1200{10 * t:02d}"}),
        (["AcquisitionTime"], lambda t, k: {"AcquisitionTime": f"12{t:02d}{k:02d}"}),  # each slice its own, ranked
        (["AcquisitionNumber"], lambda t, k: {"AcquisitionNumber": t + 4}),
        (["InstanceNumber"], lambda t, k: {"InstanceNumber": 42 * t + k + 1}),  # volume after volume
        (["InstanceNumber"], lambda t, k: {"InstanceNumber": 200 * k + t + 50}),  # place after place
    ],
)
def test_volumes_are_told_apart_by_what_they_state(tmp_path: Path, by: list[str], each: Any) -> None:
    classic(tmp_path, each)
    image = mj.load_image(tmp_path)
    check_volumes(image)
    assert extra_of(image)["volumes"]["by"] == by
    assert len(extra_of(image)["volumes"]["values"]) == VOLUMES
    (record,) = mj.io.list_dicom_series(tmp_path)
    assert (record.shape, record.problem) == ((COLUMNS, ROWS, SLICES, VOLUMES), None)


def test_two_attributes_together_tell_volumes_apart(tmp_path: Path) -> None:
    directions = [None, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    def each(t: int, k: int) -> dict[str, Any]:
        return {
            "DiffusionBValue": 0.0 if t == 0 else 800.0,
            "DiffusionGradientOrientation": directions[t],
            "EchoTime": 60 + k,
        }

    classic(tmp_path, each)
    image = mj.load_image(tmp_path)
    check_volumes(image, STORED[[0, *sorted((1, 2), key=lambda t: _first_instance(tmp_path, directions[t]))]])
    assert extra_of(image)["volumes"]["by"] in (
        ["DiffusionGradientOrientation"],
        ["DiffusionBValue", "DiffusionGradientOrientation"],
    )


def _first_instance(folder: Path, direction: Any) -> int:
    """The Instance Number at the first place of the volume with a gradient direction: it orders what has no order."""
    import pydicom

    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    first = min(float(np.dot(d.ImagePositionPatient, LATTICE.turn[:, 2])) for d in found)
    return min(
        int(d.InstanceNumber)
        for d in found
        if list(d.get("DiffusionGradientOrientation") or []) == direction
        and abs(float(np.dot(d.ImagePositionPatient, LATTICE.turn[:, 2])) - first) < 1e-3
    )


def test_echo_times_phase_is_a_product_of_volumes(tmp_path: Path) -> None:
    stored = np.stack([stored_values(seed) for seed in range(4)])
    for t, (echo, part) in enumerate(itertools.product((5.0, 9.0), ("M", "P"))):
        attributes = {"EchoTime": echo, "ImageType": ["ORIGINAL", "PRIMARY", part], "InstanceNumber": t}
        series(tmp_path, stored[t], each=lambda k, a=attributes: a, name=lambda n, k, t=t: f"{t}-{k}")  # type: ignore[misc]
    image = mj.load_image(tmp_path)
    check_volumes(image, stored)
    assert extra_of(image)["volumes"] == {
        "by": ["EchoTime", "ImageType"],
        "values": [[e, ["ORIGINAL", "PRIMARY", p]] for e in (5.0, 9.0) for p in "MP"],
    }


def test_repeats_are_an_error_on_request(tmp_path: Path) -> None:
    classic(tmp_path, lambda t, k: {"EchoTime": float(t)})
    with pytest.raises(mj.io.DuplicatePositionError, match="3 different slices at one position"):
        mj.io.load_dicom_series(tmp_path, repeats="error")


def test_a_volume_with_a_slice_missing_is_refused(tmp_path: Path) -> None:
    classic(tmp_path, lambda t, k: {"EchoTime": float(t)})
    next(tmp_path.iterdir()).unlink()
    with pytest.raises(mj.io.DuplicatePositionError, match="7 positions hold from 2 to 3 slices each"):
        mj.load_image(tmp_path)


def test_a_copied_file_does_not_disturb_the_volumes(tmp_path: Path) -> None:
    classic(tmp_path, lambda t, k: {"EchoTime": float(t)})
    path = next(tmp_path.iterdir())
    (tmp_path / "copy").write_bytes(path.read_bytes())
    with pytest.warns(mj.ImageFileWarning, match="1 of the slices are copies"):
        check_volumes(mj.load_image(tmp_path))


def test_moments_that_look_alike_are_not_copies(tmp_path: Path) -> None:
    stored = STORED.copy()
    stored[1] = stored[0]
    stored[2, 3] = stored[0, 3]
    for t in range(VOLUMES):
        attributes = {"EchoTime": float(t)}
        series(tmp_path, stored[t], each=lambda k, a=attributes: a, name=lambda n, k, t=t: f"{t}-{k}")  # type: ignore[misc]
    check_volumes(mj.load_image(tmp_path), stored)


def test_volumes_that_are_shifted_against_each_other_are_refused(tmp_path: Path) -> None:
    moved = Lattice(origin=tuple(np.asarray(LATTICE.origin) + 5 * LATTICE.turn[:, 0]))  # type: ignore[arg-type]
    for t, lattice in enumerate((LATTICE, moved)):
        attributes = {"EchoTime": float(t)}
        series(tmp_path / str(t), STORED[t], lattice=lattice, each=lambda k, a=attributes: a)  # type: ignore[misc]
    with pytest.raises(mj.io.InconsistentGeometryError, match=r"shifted .* by up to 5\.00 mm"):
        mj.load_image(tmp_path)


def test_a_series_exported_twice_is_one_volume(tmp_path: Path) -> None:
    for copy in range(2):
        series(tmp_path / str(copy), STORED[0], order=range(SLICES), each=lambda k: {"AcquisitionTime": "120000"})
    with pytest.warns(mj.ImageFileWarning, match="7 of the slices are copies"):
        image = mj.load_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED[0]))


def test_a_heart_beating_in_one_slice_is_a_loop(tmp_path: Path) -> None:
    for t in range(VOLUMES):
        attributes = {"TriggerTime": str(30 * t)}
        series(tmp_path, STORED[t, :1], each=lambda k, a=attributes: a, name=lambda n, k, t=t: f"{9 - t}")  # type: ignore[misc]
    image = mj.load_image(tmp_path)
    assert image.voxels.shape == (COLUMNS, ROWS, 1, VOLUMES)
    np.testing.assert_array_equal(image.voxels[:, :, 0], STORED[:, 0].transpose(2, 1, 0))


def test_scaling_of_each_slice_of_each_volume(tmp_path: Path) -> None:
    slopes = 1 + np.arange(VOLUMES * SLICES).reshape(VOLUMES, SLICES) / 8
    classic(tmp_path, lambda t, k: {"EchoTime": float(t), "RescaleSlope": str(slopes[t, k]), "RescaleIntercept": "2"})
    check_volumes(mj.load_image(tmp_path), (STORED * slopes[..., None, None] + 2).astype(np.float32))


# Enhanced objects


def frames_of(order: list[tuple[int, int]], macros: Callable[[int, int], dict[str, Any]]) -> list[dict[str, Any]]:
    return [plane_groups(LATTICE, k) | macros(t, k) for t, k in order]


@pytest.mark.parametrize("dimension", ["TemporalPositionIndex", "EffectiveEchoTime", None])
def test_frames_of_an_enhanced_object_are_placed_one_by_one(tmp_path: Path, dimension: str | None) -> None:
    order = [
        (int(t), int(k)) for t, k in np.random.default_rng(1).permutation(list(itertools.product(range(3), range(7))))
    ]

    def macros(t: int, k: int) -> dict[str, Any]:
        content: dict[str, Any] = {"StackID": "1", "InStackPositionNumber": k + 1}
        if dimension:
            content["DimensionIndexValues"] = [1, k + 1, t + 1]
        else:
            content["TemporalPositionIndex"] = t + 1
        return {"FrameContentSequence": content}

    pixels = np.stack([STORED[t, k] for t, k in order])
    dimensions = ["StackID", "InStackPositionNumber", dimension] if dimension else []
    path = save(enhanced(pixels, frames_of(order, macros), dimensions=dimensions), tmp_path / "mr.dcm")
    image = mj.load_image(path)
    check_volumes(image)
    assert extra_of(image)["volumes"] == {"by": [dimension or "TemporalPositionIndex"], "values": [[1], [2], [3]]}


def test_one_volume_with_shared_geometry_and_scaling_per_frame(tmp_path: Path) -> None:
    order = [(0, k) for k in (6, 5, 4, 3, 2, 1, 0)]
    plane = plane_groups(LATTICE, 0)
    shared = {key: plane[key] for key in ("PlaneOrientationSequence", "PixelMeasuresSequence")}
    slopes = 1 + np.arange(SLICES) / 4

    def macros(k: int) -> dict[str, Any]:
        scaling = {"RescaleSlope": str(slopes[k]), "RescaleIntercept": "-3", "RescaleType": "US"}
        return {
            "PlanePositionSequence": plane_groups(LATTICE, k)["PlanePositionSequence"],
            "PixelValueTransformationSequence": scaling,
        }

    pixels = np.stack([STORED[t, k] for t, k in order])
    path = save(enhanced(pixels, [macros(k) for _, k in order], shared=shared), tmp_path / "mr.dcm")
    image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, voxels_of((STORED[0] * slopes[:, None, None] - 3).astype(np.float32)))
    np.testing.assert_allclose(image.affine, LATTICE.affine, rtol=0, atol=GEOMETRY_MM)
    extra = extra_of(image)
    assert extra["per_slice"]["RescaleSlope"] == slopes.tolist()
    assert (extra["RescaleIntercept"], extra["PixelSpacing"]) == (-3.0, [0.839, 3.756])
    assert "PerFrameFunctionalGroupsSequence" not in extra


def test_what_a_frame_states_goes_before_what_is_shared(tmp_path: Path) -> None:
    shared = {"PixelValueTransformationSequence": {"RescaleSlope": "9", "RescaleIntercept": "9"}}
    own = {"PixelValueTransformationSequence": {"RescaleSlope": "1", "RescaleIntercept": "0"}}
    frames = frames_of([(0, k) for k in range(SLICES)], lambda t, k: own if k else {})
    image = mj.load_image(save(enhanced(STORED[0], frames, shared=shared), tmp_path / "mr.dcm"))
    np.testing.assert_array_equal(image.voxels[..., 1:], voxels_of(STORED[0, 1:]))
    np.testing.assert_array_equal(image.voxels[..., 0], 9.0 * STORED[0, 0].T + 9)


def test_several_enhanced_files_make_one_series(tmp_path: Path) -> None:
    order = [(0, k) for k in range(SLICES)]
    for t in (2, 0, 1):
        time = {"FrameContentSequence": {"FrameAcquisitionDateTime": f"2024010112{t:02d}00"}}
        attributes: dict[str, Any] = {"AcquisitionNumber": t + 1, "AcquisitionDateTime": f"2024010112{t:02d}00"}
        save(enhanced(STORED[t], frames_of(order, lambda t, k, m=time: m), **attributes), tmp_path / f"{9 - t}.dcm")  # type: ignore[misc]
    image = mj.load_image(tmp_path)
    check_volumes(image)
    assert isinstance(image.metadata, mj.Metadata)
    assert str(image.metadata.acquisition_time) == "2024-01-01 12:00:00"


def test_two_stacks_of_one_enhanced_object_are_a_choice(tmp_path: Path) -> None:
    other = Lattice(turn=LATTICE.turn[:, [1, 2, 0]])
    frames = [plane_groups(LATTICE, k) for k in range(4)] + [plane_groups(other, k) for k in range(3)]
    path = save(enhanced(STORED[0], frames), tmp_path / "localiser.dcm")
    with pytest.raises(mj.io.MultipleSeriesError, match="2 stacks"):
        mj.load_image(path)
    np.testing.assert_array_equal(mj.io.load_dicom_series(path, stack=1).voxels, voxels_of(STORED[0, 4:]))


def test_geometry_at_the_top_level_serves_frames_without_their_own(tmp_path: Path) -> None:
    frames = [{"PlanePositionSequence": plane_groups(LATTICE, k)["PlanePositionSequence"]} for k in range(SLICES)]
    top = {key: value for key, value in LATTICE.plane(0).items() if key != "ImagePositionPatient"}
    path = save(enhanced(STORED[0], frames, **top), tmp_path / "mr.dcm")
    image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED[0]))
    np.testing.assert_allclose(image.affine, LATTICE.affine, rtol=0, atol=GEOMETRY_MM)


def test_functional_groups_of_another_number_than_frames_are_refused(tmp_path: Path) -> None:
    path = save(enhanced(STORED[0], frames_of([(0, k) for k in range(5)], lambda t, k: {})), tmp_path / "mr.dcm")
    with pytest.raises(mj.io.InconsistentGeometryError, match="7 frames, but 5 per-frame functional groups"):
        mj.load_image(path)


def test_frames_at_one_place_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    path = save(enhanced(STORED[0], frames_of([(0, 0)] * SLICES, lambda t, k: {})), tmp_path / "mr.dcm")
    with pytest.raises(mj.io.DuplicatePositionError, match=r"mr\.dcm frame 0 and mr\.dcm frame 1"):
        mj.load_image(path)


# Siemens mosaics


@pytest.mark.parametrize(("version", "sign"), [(1, 1.0), (2, 1.0), (2, -1.0)])
def test_tiles_of_a_mosaic_are_slices(tmp_path: Path, version: int, sign: float) -> None:
    tiles = STORED[0] if sign > 0 else STORED[0, ::-1]
    lattice = LATTICE if sign > 0 else Lattice(origin=tuple(LATTICE.position(SLICES - 1)))  # type: ignore[arg-type]
    path = save(mosaic(tiles, lattice, csa_version=version, normal_sign=sign), tmp_path / "epi.dcm")
    image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED[0]))
    np.testing.assert_allclose(image.affine, LATTICE.affine, rtol=0, atol=1e-6)  # the sheet's corner lies far out


def test_mosaics_of_a_series_are_volumes(tmp_path: Path) -> None:
    for t in (1, 2, 0):
        save(mosaic(STORED[t], LATTICE, AcquisitionTime=f"1200{t:02d}"), tmp_path / f"{5 - t}.dcm")
    image = mj.load_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, STORED.transpose(3, 2, 1, 0))
    assert extra_of(image)["per_slice"]["AcquisitionTime"] == [["120000", "120001", "120002"]] * SLICES


@pytest.mark.parametrize("spoil", [{"csa_version": 0}, {"stated_count": 50}, {"stated_count": 10**6}])
def test_a_mosaic_without_its_private_header_is_refused(tmp_path: Path, spoil: dict[str, int]) -> None:
    path = save(mosaic(STORED[0], LATTICE, **spoil), tmp_path / "epi.dcm")  # type: ignore[arg-type]
    with pytest.raises(mj.io.UnsupportedFileError, match="Siemens mosaic"):
        mj.load_image(path)


def test_a_damaged_csa_header_holds_nothing_or_less() -> None:
    header = csa_header({"NumberOfImagesInMosaic": ["7"], "SliceNormalVector": ["0", "0", "1"]}, 2)
    whole = {"NumberOfImagesInMosaic": ["7"], "SliceNormalVector": ["0", "0", "1"]}
    assert csa_values(header) == whole
    for end in range(len(header)):
        assert csa_values(header[:end]).items() <= whole.items()


# Dose, nuclear medicine, loops


@pytest.mark.parametrize("is_absolute", [False, True])
def test_dose_lies_at_its_offsets_and_is_in_gray(tmp_path: Path, is_absolute: bool) -> None:
    stored = np.random.default_rng(2).integers(0, 2**32, (SLICES, ROWS, COLUMNS), dtype=np.uint32)
    path = save(dose(stored, LATTICE, is_absolute=is_absolute), tmp_path / "dose.dcm")
    image = mj.load_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image.voxels, voxels_of((stored * 0.0001).astype(np.float32)))
    np.testing.assert_allclose(
        image.affine, LATTICE.affine, rtol=0, atol=1e-6
    )  # offsets are differences of rounded numbers
    assert extra_of(image)["DoseUnits"] == "GY"


def test_dose_with_another_number_of_offsets_is_refused(tmp_path: Path) -> None:
    path = save(dose(np.abs(STORED[0]), LATTICE, GridFrameOffsetVector=["0", "1"]), tmp_path / "dose.dcm")
    with pytest.raises(mj.io.InconsistentGeometryError, match="GridFrameOffsetVector has 2"):
        mj.load_image(path)


def test_dose_with_uneven_offsets_is_refused(tmp_path: Path) -> None:
    path = save(
        dose(np.abs(STORED[0]), LATTICE, GridFrameOffsetVector=["0", "1", "2", "3", "4", "5", "9"]), tmp_path / "d"
    )
    with pytest.raises(mj.io.NonUniformSpacingError, match="3 slices missing"):
        mj.load_image(path)


@pytest.mark.parametrize("step", [1.041, -1.041])
def test_slices_of_nuclear_medicine_may_run_against_the_normal(tmp_path: Path, step: float) -> None:
    path = save(nuclear(STORED[0], LATTICE, step=step), tmp_path / "spect.dcm")
    image = mj.load_image(path)
    last_first = step < 0
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED[0, ::-1] if last_first else STORED[0]))
    np.testing.assert_allclose(image.origin, LATTICE.position(-(SLICES - 1) if last_first else 0), atol=1e-6)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_loop_of_pictures_is_one_slice_with_moments(tmp_path: Path, channels: tuple[int, ...]) -> None:
    shape = (4, ROWS, COLUMNS, *channels)
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    path = save(image_dataset(pixels, sop_class=UltrasoundMultiFrameImageStorage, Modality="US"), tmp_path / "us.dcm")
    with pytest.warns(mj.ImageFileWarning, match="does not say where"):
        image = mj.load_image(path)
    assert image.shape == (COLUMNS, ROWS, 1)
    np.testing.assert_array_equal(image.voxels[:, :, 0], np.moveaxis(pixels, 0, 2).swapaxes(0, 1))


def test_frames_with_a_distance_but_no_place_are_a_volume_and_say_so(tmp_path: Path) -> None:
    dataset = image_dataset(STORED[0], Modality="MR", SpacingBetweenSlices="1.2")
    with pytest.warns(mj.ImageFileWarning, match="does not say where"):
        image = mj.load_image(save(dataset, tmp_path / "mr.dcm"))
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED[0]))
    np.testing.assert_allclose(image.affine, np.diag([1.0, 1.0, 1.2, 1.0]))


def test_several_files_without_a_place_make_no_volume(tmp_path: Path) -> None:
    for n in range(3):
        save(image_dataset(STORED[0, n], Modality="US"), tmp_path / f"{n}.dcm")
    with pytest.raises(mj.io.NoGeometryError, match="3 files have no ImageOrientationPatient"):
        mj.load_image(tmp_path)


def test_code_sequences_of_frames_stay_sequences(tmp_path: Path) -> None:
    region = item(CodeValue="T-A0100", CodingSchemeDesignator="SRT", CodeMeaning="Brain")
    anatomy = {"FrameAnatomySequence": {"AnatomicRegionSequence": Items([region]), "FrameLaterality": "U"}}
    path = save(
        enhanced(STORED[0], frames_of([(0, k) for k in range(7)], lambda t, k: {}), shared=anatomy), tmp_path / "mr"
    )
    extra = extra_of(mj.load_image(path))
    assert extra["FrameLaterality"] == "U"
    assert extra["AnatomicRegionSequence"] == [
        {"CodeMeaning": "Brain", "CodeValue": "T-A0100", "CodingSchemeDesignator": "SRT"}
    ]
