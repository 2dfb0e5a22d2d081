"""DICOM Segmentation objects: every type, sparse and shuffled frames, exact geometry, and what is refused.

Truths: the arrays that the objects here are built from; highdicom, which writes and reads them independently; and the
NRRD files that came with the dcmqi examples in ../shared/data.
"""

from __future__ import annotations

import copy
import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_headers import metadata_of
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, generate_uid
from segmentation_objects import (
    ORIGIN,
    SHAPE,
    SPACING,
    TURN,
    affine,
    blobs,
    build,
    frames_of,
    highdicom_segment,
    load,
    segment,
    source_series,
)
from shared_data import DATA, needs_data

import medjax as mj
from medjax.io import (
    DuplicatePositionError,
    InconsistentGeometryError,
    NoGeometryError,
    NonUniformSpacingError,
)

# Private: for objects that the reader of files, or pydicom, refuses before the reader of segmentations sees them.
from medjax.io._dicom._segmentation import read_segmentation

# What each type becomes


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_separate_segments_are_one_label_volume_for_any_order_of_frames(seed: int | None, tmp_path: Path) -> None:
    masks = blobs(3, overlap=False)
    planes, slices, numbers = frames_of(masks, None if seed is None else random.Random(seed))
    image = load(build(planes, slices, numbers), tmp_path)
    np.testing.assert_array_equal(image.voxels, np.einsum("n,nijk->ijk", np.arange(1, 4), masks))
    assert (image.kind, image.dtype, metadata_of(image).modality) == ("label", np.uint8, "SEG")
    # Positions are written to 1e-9 mm, direction cosines to 1e-12.
    np.testing.assert_allclose(image.affine, affine(), atol=1e-8)


def test_overlapping_segments_are_one_channel_each(tmp_path: Path) -> None:
    masks = blobs(3, overlap=True)
    assert (masks.sum(0) > 1).any()
    image = load(build(*frames_of(masks, random.Random(3))), tmp_path)
    np.testing.assert_array_equal(image.voxels, np.moveaxis(masks, 0, -1))
    assert (image.kind, image.dtype, image.channels) == ("label", np.uint8, (3,))
    assert [shown["channel"] for shown in metadata_of(image).display["segments"]] == [0, 1, 2]
    np.testing.assert_allclose(image.affine, affine(), atol=1e-8)


def test_segment_numbers_above_255_widen_the_labels(tmp_path: Path) -> None:
    planes = np.ones((2, SHAPE[1], SHAPE[0]), np.uint8)
    image = load(build(planes, [0, 1], [7, 300], segments=(300, 7)), tmp_path)
    assert image.dtype == np.uint16
    assert image.voxels[0, 0].tolist() == [7, 300]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("segments", [1, 2])
def test_fractions_are_intensities_from_0_to_1(segments: int, syntax: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 201, (4 * segments, SHAPE[1], SHAPE[0])).astype(np.uint8)
    dataset = build(
        stored,
        [0, 1, 2, 5] * segments,
        np.repeat(range(1, segments + 1), 4).tolist(),
        kind="FRACTIONAL",
        segments=range(1, segments + 1),
    )
    if syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom")
    image = load(dataset, tmp_path)
    expected = np.zeros((segments, *SHAPE), np.float32)
    expected[:, :, :, [0, 1, 2, 5]] = (stored.reshape(segments, 4, SHAPE[1], SHAPE[0]) / np.float32(200)).transpose(
        0, 3, 2, 1
    )
    np.testing.assert_array_equal(image.voxels, np.moveaxis(expected, 0, -1) if segments > 1 else expected[0])
    assert (image.kind, image.dtype, metadata_of(image).subtype) == ("intensity", np.float32, "OCCUPANCY")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("background", [None, 0, 9])
def test_label_maps_are_read_as_stored(background: int | None, dtype: type, tmp_path: Path) -> None:
    stored: np.ndarray = np.random.default_rng(1).integers(0, 4, (3, SHAPE[1], SHAPE[0])).astype(dtype)
    dataset = build(stored, [4, 0, 1], None, kind="LABELMAP", segments=(0, 1, 2, 3))
    if background is not None:
        dataset.PixelPaddingValue = background
    image = load(dataset, tmp_path)
    expected: np.ndarray = np.full((*SHAPE[:2], 5), background or 0, dtype)
    expected[:, :, [4, 0, 1]] = stored.transpose(2, 1, 0)
    np.testing.assert_array_equal(image.voxels, expected)
    assert (image.kind, image.dtype) == ("label", dtype)
    np.testing.assert_allclose(image.affine, affine(), atol=1e-8)


def test_labels_that_no_segment_describes_are_kept_with_a_warning(tmp_path: Path) -> None:
    stored = np.full((1, SHAPE[1], SHAPE[0]), 8, np.uint8)
    with pytest.warns(mj.ImageFileWarning, match=r"labels \[8\] are described by no segment"):
        image = load(build(stored, [0], None, kind="LABELMAP"), tmp_path)
    assert (image.voxels == 8).all()


# The grid


@pytest.mark.parametrize(
    ("slices", "step", "count"),
    [
        ((0, 3, 5), SPACING[2], 6),  # the stated step fills the gaps
        ((0, 3, 5), -SPACING[2], 6),  # negative in nuclear medicine
        ((0, 3, 5), None, None),  # 3 and 2 steps have no common measure among the gaps themselves
        ((0, 2, 6), None, 4),  # without a stated step the smallest gap is one
        ((0, 2, 6), 3.3, 4),  # the positions are no multiples of the stated step
        ((2,), SPACING[2], 1),
    ],
)
def test_the_step_between_slices(
    slices: tuple[int, ...], step: float | None, count: int | None, tmp_path: Path
) -> None:
    planes = np.ones((len(slices), SHAPE[1], SHAPE[0]), np.uint8)
    dataset = build(planes, slices, [1] * len(slices), step=step)
    if count is None:
        with pytest.raises(NonUniformSpacingError, match=r"5, 7\.5 mm apart"):
            load(dataset, tmp_path)
        return
    image = load(dataset, tmp_path)
    assert image.shape[2] == count
    scale = (slices[-1] - slices[0]) / max(count - 1, 1) or 1.0
    np.testing.assert_allclose(image.spacing, SPACING * [1, 1, scale], atol=1e-8)
    np.testing.assert_allclose(image.origin, ORIGIN + slices[0] * SPACING[2] * TURN[:, 2], atol=1e-8)
    is_filled = image.voxels.any(axis=(0, 1))
    assert is_filled.sum() == len(slices)
    assert is_filled[0]
    assert is_filled[-1]


def test_one_slice_takes_its_thickness(tmp_path: Path) -> None:
    dataset = build(np.ones((1, SHAPE[1], SHAPE[0]), np.uint8), [0], [1], step=None)
    assert load(dataset, tmp_path).spacing[2] == pytest.approx(1.25, abs=1e-9)
    del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness
    with pytest.warns(mj.ImageFileWarning, match="thickness is set to 1 mm"):
        assert load(dataset, tmp_path).spacing[2] == pytest.approx(1.0, abs=1e-9)


def test_a_rounded_step_does_not_add_up_over_many_slices(tmp_path: Path) -> None:
    slices = list(range(0, 300, 2))
    planes = np.ones((len(slices), 1, 1), np.uint8)
    dataset = build(planes, slices, [1] * len(slices), step=2.49)  # 1.2 steps off after 300 slices
    image = load(dataset, tmp_path)
    assert image.shape == (1, 1, 299)
    assert image.spacing[2] == pytest.approx(2.5, abs=1e-8)


def test_orientation_and_measures_may_be_stated_for_each_frame(tmp_path: Path) -> None:
    masks = blobs(3, overlap=False)
    dataset = build(*frames_of(masks))
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.PlaneOrientationSequence = copy.deepcopy(shared.PlaneOrientationSequence)
        group.PixelMeasuresSequence = copy.deepcopy(shared.PixelMeasuresSequence)
    del dataset.SharedFunctionalGroupsSequence
    np.testing.assert_allclose(load(dataset, tmp_path).affine, affine(), atol=1e-8)


def test_a_leaning_stack_keeps_its_lean(tmp_path: Path) -> None:
    dataset = build(np.ones((4, SHAPE[1], SHAPE[0]), np.uint8), range(4), [1] * 4)
    for k, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        place = ORIGIN + k * (SPACING[2] * TURN[:, 2] + 0.5 * TURN[:, 1])
        group.PlanePositionSequence[0].ImagePositionPatient = [round(float(x), 9) for x in place]
    with pytest.warns(mj.ImageFileWarning, match=r"lean by 11\.31 degrees"):
        image = load(dataset, tmp_path)
    np.testing.assert_allclose(image.affine[:3, 2], SPACING[2] * TURN[:, 2] + 0.5 * TURN[:, 1], atol=1e-8)


def test_a_picture_without_a_place_is_read_alone(tmp_path: Path) -> None:
    dataset = build(np.ones((1, SHAPE[1], SHAPE[0]), np.uint8), [0], [1])
    del dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    with pytest.warns(mj.ImageFileWarning, match="does not say where it lies"):
        image = load(dataset, tmp_path)
    assert image.origin == (0.0, 0.0, 0.0)
    assert image.spacing == pytest.approx(SPACING)


# Metadata


def test_metadata_describes_the_segments_and_is_json(tmp_path: Path) -> None:
    masks = blobs(2, overlap=False)
    dataset = build(*frames_of(masks), segments=(1, 2))
    dataset.SegmentSequence[1].SegmentLabel = "Leber, äußere"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    del dataset.SegmentSequence[1].RecommendedDisplayCIELabValue
    metadata = metadata_of(load(dataset, tmp_path))
    assert metadata.display["segments"] == [
        {"number": 1, "label": "Liver", "color": [0.851, 0.511, 0.396], "channel": None},
        {"number": 2, "label": "Leber, äußere", "color": None, "channel": None},
    ]
    assert metadata.extra["SegmentSequence"][0]["SegmentAlgorithmType"] == "MANUAL"
    assert (metadata.patient_id, metadata.series_uid) == ("4711", dataset.SeriesInstanceUID)
    assert mj.Metadata.from_json(metadata.to_json()) == metadata
    assert "PerFrameFunctionalGroupsSequence" not in json.loads(metadata.to_json())["extra"]


# Refusals: each names what is wrong, and none names the patient


def _no_frames(dataset: Dataset) -> None:
    dataset.NumberOfFrames = 0


def _too_few_groups(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[-1]


def _one_position(dataset: Dataset) -> None:
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[1].PlanePositionSequence = groups[0].PlanePositionSequence


def _two_orientations(dataset: Dataset) -> None:
    item = Dataset()
    item.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = [item]


def _shifted_frame(dataset: Dataset) -> None:
    position = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    position.ImagePositionPatient = [round(float(x), 9) for x in ORIGIN + SPACING[2] * TURN[:, 2] + 2 * TURN[:, 0]]


def _no_positions(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def _on_a_slide(dataset: Dataset) -> None:
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
        group.PlanePositionSlideSequence = [Dataset()]


def _skewed(dataset: Dataset) -> None:
    item = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    item.ImageOrientationPatient = [1, 0, 0, 0.5, 0.5, 0]


def _zero_spacing(dataset: Dataset) -> None:
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0, 1]


def _one_spacing(dataset: Dataset) -> None:
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1]


def _unknown_segment(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 77


def _no_segments(dataset: Dataset) -> None:
    del dataset.SegmentSequence


def _same_number(dataset: Dataset) -> None:
    dataset.SegmentSequence = [segment(1), segment(1)]


def _unknown_type(dataset: Dataset) -> None:
    dataset.SegmentationType = "PROBABLY"


def _short_pixels(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:-4]


def _no_pixels(dataset: Dataset) -> None:
    del dataset.PixelData


def _endless(dataset: Dataset) -> None:
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = 0.001
    for k, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, [0, 0.01, 1e9][k]]
    dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def _no_fraction_limit(dataset: Dataset) -> None:
    dataset.SegmentationType, dataset.MaximumFractionalValue = "FRACTIONAL", 0


REFUSED: list[tuple[Callable[[Dataset], None], type[mj.ImageFileError], str]] = [
    (_no_frames, mj.ImageFileError, "0 frames of 7 x 5 pixels"),
    (_too_few_groups, mj.ImageFileError, "describes 2 of its 3 frames"),
    (_one_position, DuplicatePositionError, "two frames of one segment lie at one position"),
    (_two_orientations, InconsistentGeometryError, "frames differ in ImageOrientationPatient"),
    (_shifted_frame, InconsistentGeometryError, "a frame lies 2 mm off the grid"),
    (_no_positions, NoGeometryError, "not all say where they lie"),
    (_on_a_slide, mj.io.UnsupportedFileError, "microscopy slide"),
    (_skewed, mj.ImageFileError, "perpendicular unit vectors"),
    (_zero_spacing, mj.ImageFileError, "Pixel Spacing must be positive"),
    (_one_spacing, mj.ImageFileError, "PixelSpacing must hold 2 finite numbers"),
    (_unknown_segment, mj.ImageFileError, r"segments \[77\], which the Segment Sequence does not list"),
    (_no_segments, mj.ImageFileError, "describes no segment"),
    (_same_number, mj.ImageFileError, "segment numbers must differ"),
    (_unknown_type, mj.io.UnsupportedFileError, "'PROBABLY' is none of"),
    (_short_pixels, mj.io.TruncatedFileError, "holds 10 bytes of pixels where 3 frames need 14"),
    (_no_pixels, mj.ImageFileError, "ends before its pixel data"),
    (_endless, NonUniformSpacingError, "no multiple of one step"),
    (_no_fraction_limit, mj.ImageFileError, "Maximum Fractional Value must be positive"),
]


@pytest.mark.parametrize(("damage", "error", "message"), REFUSED, ids=[damage.__name__ for damage, _, _ in REFUSED])
def test_refusals(damage: Callable[[Dataset], None], error: type[Exception], message: str, tmp_path: Path) -> None:
    dataset = build(np.ones((3, SHAPE[1], SHAPE[0]), np.uint8), range(3), [1, 1, 1])
    damage(dataset)
    path = tmp_path / "object.dcm"
    dataset.save_as(path)
    with pytest.raises(error, match=message) as caught:
        mj.load_image(path)
    assert "Secret" not in str(caught.value)
    assert "4711" not in str(caught.value)


def test_two_label_maps_at_one_position_are_refused(tmp_path: Path) -> None:
    stored = np.ones((2, SHAPE[1], SHAPE[0]), np.uint8)
    with pytest.raises(DuplicatePositionError):
        load(build(stored, [1, 1], None, kind="LABELMAP"), tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"PixelPaddingValue": 256}, mj.ImageFileError, "Pixel Padding Value 256 does not fit 8 bits"),
        ({"BitsAllocated": 32, "BitsStored": 32}, mj.ImageFileError, "8 or 16 bits per pixel, not 32"),
        ({"PixelRepresentation": 1}, mj.ImageFileError, "unsigned integers, not int8"),
        ({"PixelData": b"\0" * 34}, mj.io.TruncatedFileError, "shorter than its header promises"),
        (
            {
                "SamplesPerPixel": 3,
                "PlanarConfiguration": 0,
                "PhotometricInterpretation": "RGB",
                "PixelData": b"\1" * 106,
            },
            mj.ImageFileError,
            r"pixels of shape \(5, 7, 3\) in frames of \(5, 7\)",
        ),
    ],
)
def test_label_maps_that_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    dataset = build(np.ones((1, SHAPE[1], SHAPE[0]), np.uint8), [1], None, kind="LABELMAP")
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(tmp_path / "object.dcm")
    with pytest.raises(error, match=message):
        mj.load_image(tmp_path / "object.dcm")


@pytest.mark.parametrize(
    ("syntax", "error"), [("1.2.3", "transfer syntax is not known"), ("1.2.840.10008.1.2.4.100", "not known")]
)
def test_unknown_transfer_syntaxes_are_refused(syntax: str, error: str, tmp_path: Path) -> None:
    dataset = build(np.ones((1, SHAPE[1], SHAPE[0]), np.uint8), [1], None, kind="LABELMAP")
    dataset.save_as(tmp_path / "object.dcm")
    again = pydicom.dcmread(tmp_path / "object.dcm")
    again.file_meta.TransferSyntaxUID = UID(syntax)
    with pytest.raises(mj.io.UnsupportedFileError, match=error):
        read_segmentation(again, tmp_path / "object.dcm")


def test_fractions_above_their_maximum_are_refused(tmp_path: Path) -> None:
    stored = np.full((1, SHAPE[1], SHAPE[0]), 201, np.uint8)
    with pytest.raises(mj.ImageFileError, match="holds 201, above its Maximum Fractional Value 200"):
        load(build(stored, [0], [1], kind="FRACTIONAL"), tmp_path)


def test_damaged_objects_load_or_raise_the_package_s_error(tmp_path: Path) -> None:
    """Bytes changed at random: whatever pydicom still parses is read or refused, and most changes are noticed or kept."""
    masks = blobs(3, overlap=False)
    build(*frames_of(masks)).save_as(tmp_path / "whole.dcm")
    whole, rng = (tmp_path / "whole.dcm").read_bytes(), random.Random(5)
    path, outcomes = tmp_path / "object.dcm", {"read": 0, "refused": 0}
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 4])):
            data[rng.randrange(132, len(data))] = rng.choice([0, 1, 0x20, 0x39, 0x7F, 0xFF, rng.randrange(256)])
        path.write_bytes(data[: rng.choice([len(data), len(data), rng.randrange(200, len(data))])])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path, force=True)
                dataset.get("SegmentSequence")
            except Exception:  # noqa: BLE001  # pydicom's own failures are the concern of the reader of files
                continue
            try:
                read_segmentation(dataset, path)
                outcomes["read"] += 1
            except mj.ImageFileError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 20, outcomes


# Independent writers and readers


@pytest.mark.parametrize("kind", ["BINARY", "overlapping", "FRACTIONAL", "LABELMAP"])
def test_objects_written_by_highdicom(kind: str, tmp_path: Path) -> None:
    masks = blobs(3, overlap=kind == "overlapping")
    pixels = np.moveaxis(masks, 0, -1).transpose(2, 1, 0, 3)  # (slice, row, column, segment)
    values: Any = (pixels * np.float32(0.5)) if kind == "FRACTIONAL" else pixels.astype(np.uint8)
    written = highdicom.seg.Segmentation(
        source_images=source_series(),
        pixel_array=values,
        segmentation_type="BINARY" if kind == "overlapping" else kind,
        segment_descriptions=[highdicom_segment(number) for number in (1, 2, 3)],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="medjax",
        manufacturer_model_name="tests",
        software_versions="1",
        device_serial_number="1",
        max_fractional_value=200,
        content_label="PARTS",
    )
    image = load(written, tmp_path)
    if kind == "FRACTIONAL":
        expected: np.ndarray = np.moveaxis(masks, 0, -1) * np.float32(0.5)
    elif kind == "overlapping":
        expected = np.moveaxis(masks, 0, -1).astype(np.uint8)
    else:
        expected = np.einsum("n,nijk->ijk", np.arange(1, 4), masks)
    filled = np.flatnonzero(masks.any(axis=(0, 1, 2)))
    np.testing.assert_array_equal(image.voxels, expected[:, :, filled[0] : filled[-1] + 1])
    expected_affine = mj.Grid(SHAPE, affine()).moved(np.array([0.0, 0.0, filled[0]])).affine
    np.testing.assert_allclose(image.affine, expected_affine, atol=1e-8)
    labels = [shown["label"] for shown in metadata_of(image).display["segments"] if shown["number"] > 0]
    assert labels == ["part 1", "part 2", "part 3"]


def test_the_liver_that_ships_with_pydicom(tmp_path: Path) -> None:
    """One frame of 512 x 512 bits; its header still describes the three frames it was cut from."""
    path = str(get_testdata_file("liver_1frame.dcm"))
    with pytest.warns(mj.ImageFileWarning, match="describes 3 frames but holds 1"):
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels[:, :, 0], pydicom.dcmread(path).pixel_array.T)
    assert image.voxels.sum() == 36233
    expected = mj.Grid.of((512, 512, 1), spacing=(0.810547, 0.810547, 1), origin=(-235.2, -226.8, -128.69))
    np.testing.assert_allclose(image.affine, expected.affine, atol=1e-9)


@needs_data
@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("seg_24x38x3/seg/label.seg", "seg_24x38x3/nrrd/label.nrrd"),
        ("seg_labelmap/sparse-labelmap-noppv.dcm", "seg_labelmap/sparse_labelmap_noppv_seg.nrrd"),
        ("seg_labelmap/sparse-labelmap-ppv5.dcm", "seg_labelmap/sparse_labelmap_ppv5_seg.nrrd"),
    ],
)
def test_dcmqi_examples_equal_their_nrrd_truth(name: str, truth: str) -> None:
    image = mj.load_image(DATA / "dicom" / name)
    voxels, _ = nrrd.read(str(DATA / "dicom" / truth))
    np.testing.assert_array_equal(image.voxels, voxels)
    assert image.kind == "label"
    oracle = SimpleITK.ReadImage(str(DATA / "dicom" / truth))
    # The NRRD files state positions as float32 of 46.46, whose last bit is 4e-6.
    np.testing.assert_allclose(image.origin, oracle.GetOrigin(), atol=4e-6)
    np.testing.assert_allclose(image.spacing, oracle.GetSpacing(), atol=1e-12)
    np.testing.assert_allclose(image.direction.ravel(), oracle.GetDirection(), atol=1e-12)
    assert [shown["label"] for shown in metadata_of(image).display["segments"] if shown["number"]] == ["Liver"]
