"""How stored values become values: every part of it that slices and frames state, lack, or state apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_data import COLUMNS, ROWS, SLICES, Lattice, save, series, stored_values, voxels_of
from dicom_kinds import Items, dose, enhanced, item, plane_groups
from pydicom.uid import ParametricMapStorage

import medjax as mj

STORED = stored_values()
LATTICE = Lattice()
SLOPE = {"RescaleSlope": "2", "RescaleIntercept": "-1024"}


def problem_of(folder: Path) -> str | None:
    (listed,) = mj.io.list_dicom_series(folder)
    return listed.problem


def refused(folder: Path, match: str) -> None:
    """Loading raises what the list says."""
    with pytest.raises(mj.ImageFileError, match=match) as error:
        mj.load_image(folder)
    assert problem_of(folder) == error.value.reason


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", ["", None])
def test_a_part_that_one_slice_lacks_is_refused_however_it_lacks_it(tmp_path: Path, keyword: str, value: Any) -> None:
    series(tmp_path, each=lambda k: SLOPE | ({keyword: value} if k == 3 else {}))
    refused(tmp_path, f"1 of its 7 files, such as 003.dcm, state no {keyword}: their values are unknown")


def test_a_table_that_some_slices_state_is_refused(tmp_path: Path) -> None:
    table = item(LUTDescriptor=[4096, -800, 16], ModalityLUTType="HU", LUTData=b"\0\0" * 4096)
    series(tmp_path, each=lambda k: {"ModalityLUTSequence": Items([table])} if k < 2 else {})
    refused(tmp_path, "5 of its 7 files, such as 002.dcm, state no Modality LUT")


def test_an_empty_table_is_none(tmp_path: Path) -> None:
    series(tmp_path, each=lambda k: {"ModalityLUTSequence": Items([])} if k < 2 else {})
    np.testing.assert_array_equal(mj.load_image(tmp_path).voxels, voxels_of(STORED))


def test_a_slope_of_0_everywhere_is_read_as_1_with_a_warning(tmp_path: Path) -> None:
    series(tmp_path, each=lambda k: {"RescaleSlope": "0", "RescaleIntercept": "-1024"})
    with pytest.warns(mj.ImageFileWarning, match="RescaleSlope is 0"):
        image = mj.load_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED) - 1024)  # as GDCM reads it


def test_a_slope_of_0_among_others_is_that_of_a_slice_of_zeros_or_refused(tmp_path: Path) -> None:
    blank = STORED.copy()
    blank[3] = 0
    series(tmp_path / "blank", blank, each=lambda k: SLOPE | ({"RescaleSlope": "0"} if k == 3 else {}))
    np.testing.assert_array_equal(mj.load_image(tmp_path / "blank").voxels, voxels_of(blank) * 2.0 - 1024)
    series(tmp_path / "full", each=lambda k: SLOPE | ({"RescaleSlope": "0"} if k == 3 else {}))
    refused(tmp_path / "full", r"RescaleSlope of 003\.dcm is 0, and that of other slices is not")


def test_a_dose_without_its_scaling_says_so(tmp_path: Path) -> None:
    path = save(dose(np.abs(STORED), LATTICE, DoseGridScaling=None), tmp_path / "dose.dcm")
    with pytest.warns(mj.ImageFileWarning, match="states no DoseGridScaling"):
        mj.load_image(path)


# Functional groups


def frames(transforms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        plane_groups(LATTICE, k) | ({"PixelValueTransformationSequence": t} if t else {})
        for k, t in enumerate(transforms)
    ]


def test_frames_are_scaled_by_their_own_groups_then_the_shared_ones_then_the_top(tmp_path: Path) -> None:
    own = [{"RescaleSlope": str(k)} if k else {} for k in range(SLICES)]  # that of frame 0 is shared
    dataset = enhanced(
        STORED,
        frames(own),
        shared={"PixelValueTransformationSequence": {"RescaleSlope": "9"}},
        RescaleSlope="100",
        RescaleIntercept="5",
    )
    slopes = np.array([9, 1, 2, 3, 4, 5, 6])
    image = mj.load_image(save(dataset, tmp_path / "mr.dcm"))
    np.testing.assert_array_equal(image.voxels, voxels_of(STORED) * slopes + 5.0)


@pytest.mark.parametrize(
    ("transform", "match"),
    [
        ({}, "1 of its 7 slices, such as mr.dcm frame 2, state no RescaleSlope"),
        ({"RescaleSlope": ""}, "frame 2, state"),
    ],
)
def test_a_frame_that_states_no_scaling_among_others_is_refused(tmp_path: Path, transform: Any, match: str) -> None:
    each = [SLOPE if k != 2 else {"RescaleIntercept": "-1024"} | transform for k in range(SLICES)]
    save(enhanced(STORED, frames(each)), tmp_path / "mr.dcm")
    refused(tmp_path, match)


def test_a_scale_of_a_frame_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = save(enhanced(STORED, frames([{"RescaleSlope": "1.2345"}] * SLICES)), tmp_path / "mr.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2345", b"2,50  "))
    with pytest.raises(mj.ImageFileError, match=r"RescaleSlope is .* not a number"):
        mj.load_image(path)


# Contents that are scaled apart


@pytest.mark.parametrize("names", [True, False], ids=["ImageType differs", "same ImageType"])
def test_magnitude_and_phase_of_one_series_are_two_stacks(tmp_path: Path, names: bool) -> None:
    magnitude = {"ImageType": ["ORIGINAL", "PRIMARY", "M"]}
    phase = {"ImageType": ["ORIGINAL", "PRIMARY", "P" if names else "M"]} | SLOPE
    series(tmp_path / "m", each=lambda k: magnitude)
    series(tmp_path / "p", STORED[::-1], each=lambda k: phase)
    with pytest.raises(mj.io.MultipleSeriesError, match="2 stacks of different scaling"):
        mj.load_image(tmp_path)
    assert [listed.problem for listed in mj.io.list_dicom_series(tmp_path)] == [None, None]
    found = [mj.io.load_dicom_series(tmp_path, stack=n).voxels for n in (0, 1)]
    found.sort(key=lambda voxels: voxels.dtype.kind == "f")
    np.testing.assert_array_equal(found[0], voxels_of(STORED))
    np.testing.assert_array_equal(found[1], voxels_of(STORED[::-1]) * 2.0 - 1024)


# Real World Value Mapping


def parametric_map(stored: np.ndarray, mappings: Any, **attributes: Any) -> Any:
    dataset = enhanced(stored, [plane_groups(LATTICE, k) for k in range(SLICES)], **attributes)
    dataset.SOPClassUID = ParametricMapStorage
    for n, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        if mappings:
            group.RealWorldValueMappingSequence = Items(mappings(n))
    return dataset


def mapping(**values: Any) -> Any:
    ends = {"RealWorldValueFirstValueMapped": 0, "RealWorldValueLastValueMapped": 1500}
    return item(**({"RealWorldValueSlope": 0.5, "RealWorldValueIntercept": 2.0} | ends | values))


def test_a_map_of_integers_holds_real_world_values_frame_by_frame(tmp_path: Path) -> None:
    stored = np.abs(STORED).astype(np.uint16)
    dataset = parametric_map(stored, lambda n: [mapping(RealWorldValueSlope=0.5 * (n + 1))])
    image = mj.load_image(save(dataset, tmp_path / "map.dcm"))
    np.testing.assert_array_equal(image.voxels, voxels_of(stored) * (0.5 * np.arange(1, 8)) + 2)


def test_a_map_of_floating_point_values_is_mapped_too(tmp_path: Path) -> None:
    values = STORED.astype(np.float32) / 7
    ends = {"DoubleFloatRealWorldValueFirstValueMapped": -1e9, "DoubleFloatRealWorldValueLastValueMapped": 1e9}
    dataset = parametric_map(STORED, lambda n: [mapping(**ends)])
    for each in dataset.PerFrameFunctionalGroupsSequence:
        del each.RealWorldValueMappingSequence[0].RealWorldValueFirstValueMapped
    del dataset.PixelData, dataset.PixelRepresentation
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit = 31
    dataset.FloatPixelData = values.tobytes()
    image = mj.load_image(save(dataset, tmp_path / "map.dcm"))
    np.testing.assert_allclose(image.voxels, voxels_of(values) * 0.5 + 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("mappings", "match"),
    [
        (lambda n: [mapping(), mapping(RealWorldValueSlope=3.0)], "2 Real World Value Mappings"),
        (lambda n: [item(RealWorldValueLUTData=[1.0, 2.0])], "a Real World Value Mapping by a table"),
    ],
)
def test_a_map_whose_mapping_is_not_read_is_refused_by_name(tmp_path: Path, mappings: Any, match: str) -> None:
    path = save(parametric_map(np.abs(STORED), mappings), tmp_path / "map.dcm")
    with pytest.raises(mj.io.UnsupportedFileError, match=match):
        mj.load_image(path)


def test_values_beyond_the_mapped_range_are_counted(tmp_path: Path) -> None:
    stored = np.full((SLICES, ROWS, COLUMNS), 1500, np.uint16)
    stored[2, 3, :4] = 1501
    path = save(parametric_map(stored, lambda n: [mapping()]), tmp_path / "map.dcm")
    with pytest.warns(mj.ImageFileWarning, match="4 voxels lie outside the range"):
        mj.load_image(path)


def test_a_map_without_a_mapping_says_so(tmp_path: Path) -> None:
    path = save(parametric_map(np.abs(STORED), None), tmp_path / "map.dcm")
    with pytest.warns(mj.ImageFileWarning, match="Parametric Map without a Real World Value Mapping"):
        mj.load_image(path)


def test_where_a_modality_transform_is_stated_a_mapping_is_another_view(tmp_path: Path) -> None:
    extra = {"RealWorldValueMappingSequence": Items([mapping()])}
    series(tmp_path / "both", each=lambda k: SLOPE | extra)
    np.testing.assert_array_equal(mj.load_image(tmp_path / "both").voxels, voxels_of(STORED) * 2.0 - 1024)
    stored = np.abs(STORED)
    series(tmp_path / "one", stored, each=lambda k: extra)
    np.testing.assert_array_equal(mj.load_image(tmp_path / "one").voxels, voxels_of(stored) * 0.5 + 2)
