"""Labels written as DICOM Segmentation objects: the same labels in the same place, for this package and for highdicom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_headers import DIRECTIONS, SHAPE, in_world, metadata_of, volume

import medjax as mj


@pytest.fixture(params=["oblique", "left-handed"])
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> mj.Image:
    """A series on disk, in the folder `scan`, and the image that it makes."""
    image = volume("CT", DIRECTIONS[request.param])
    mj.io.save_dicom_series(image, tmp_path / "scan")
    return image


def drawn(scan: mj.Image, numbers: tuple[int, int] = (1, 2)) -> mj.Image:
    """Two parts, neither of which touches the first and the last slice."""
    voxels = np.zeros(SHAPE, np.uint16)
    voxels[2:5, 3:6, 1:4], voxels[6:9, 2:4, 3:6] = numbers
    return mj.Image.from_array(voxels, affine=scan.affine, kind="label", metadata=scan.metadata)


def onto(scan: mj.Image, path: Path) -> np.ndarray:
    return np.asarray(mj.resample_to_image(mj.load_image(path), scan).voxels)


@pytest.mark.parametrize(("encoding", "numbers"), [("binary", (1, 2)), ("labelmap", (2, 1)), ("labelmap", (300, 7))])
def test_labels_come_back(encoding: Any, numbers: tuple[int, int], scan: mj.Image, tmp_path: Path) -> None:
    labels, path = drawn(scan, numbers), tmp_path / "labels.dcm"
    uid = mj.io.save_dicom_segmentation(
        labels, path, tmp_path / "scan", names={numbers[0]: "Leber, äußere"}, encoding=encoding
    )
    image = mj.load_image(path)
    known = metadata_of(image)
    np.testing.assert_array_equal(onto(scan, path), labels.voxels)
    found, error = in_world(image, np.asarray(labels.voxels), scan.affine)
    np.testing.assert_array_equal(found, image.voxels)
    assert error < 1e-9
    assert (known.series_uid, known.patient_id, known.study_uid) == (uid, "4711", "1.2.3.4")
    names = {item["number"]: item["label"] for item in known.display["segments"] if item["number"]}
    assert names == {numbers[0]: "Leber, äußere", numbers[1]: f"Segment {numbers[1]}"}
    theirs = highdicom.seg.segread(path).get_volume(combine_segments=True)
    np.testing.assert_array_equal(in_world(image, theirs.array.T, theirs.affine[:, [2, 1, 0, 3]])[0], image.voxels)


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 1, 4), (2, 4, 5), (3, 3, 5)])
def test_small_frames_come_back_or_are_refused(shape: tuple[int, ...], scan: mj.Image, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8)
    voxels[0, 0] = 1
    labels = mj.Image.from_array(voxels, affine=scan.affine, kind="label")
    mj.io.save_dicom_segmentation(labels, tmp_path / "map.dcm", tmp_path / "scan", encoding="labelmap")
    np.testing.assert_array_equal(mj.resample_to_image(mj.load_image(tmp_path / "map.dcm"), labels).voxels, voxels)
    if shape[0] * shape[1] < 8:
        with pytest.raises(mj.io.UnsupportedFileError, match="use encoding='labelmap'"):
            mj.io.save_dicom_segmentation(labels, tmp_path / "bits.dcm", tmp_path / "scan")
        return
    mj.io.save_dicom_segmentation(labels, tmp_path / "bits.dcm", tmp_path / "scan")
    np.testing.assert_array_equal(mj.resample_to_image(mj.load_image(tmp_path / "bits.dcm"), labels).voxels, voxels)


def test_overlapping_masks_come_back(scan: mj.Image, tmp_path: Path) -> None:
    masks = np.zeros((*SHAPE, 2), np.uint8)
    masks[2:6, 3:6, 1:5, 0] = masks[4:9, 2:5, 2:6, 1] = 1
    image = mj.Image.from_array(masks, affine=scan.affine, kind="label")
    mj.io.save_dicom_segmentation(image, tmp_path / "masks.dcm", tmp_path / "scan")
    np.testing.assert_array_equal(onto(scan, tmp_path / "masks.dcm"), masks)


def test_what_a_segmentation_says_of_its_segments_is_kept(scan: mj.Image, tmp_path: Path) -> None:
    code = [{"CodeValue": "10200004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Liver"}]
    labels = drawn(scan)
    known = metadata_of(labels).replace(
        extra={"SegmentSequence": [{"SegmentNumber": 1, "SegmentedPropertyTypeCodeSequence": code}]},
        display={"segments": [{"number": 1, "label": "Liver", "color": None, "channel": None}]},
    )
    path = tmp_path / "labels.dcm"
    mj.io.save_dicom_segmentation(labels.with_metadata(known), path, tmp_path / "scan", algorithm="a network")
    first, second = metadata_of(mj.load_image(path)).extra["SegmentSequence"]
    assert first["SegmentedPropertyTypeCodeSequence"][0]["CodeMeaning"] == "Liver"
    assert (first["SegmentLabel"], second["SegmentLabel"]) == ("Liver", "Segment 2")
    assert {(s["SegmentAlgorithmType"], s["SegmentAlgorithmName"]) for s in (first, second)} == {
        ("AUTOMATIC", "a network")
    }
    pydicom.dcmread(path)


@pytest.mark.parametrize("has_layers", [False, True])
def test_names_of_slicer_segments_are_kept(has_layers: bool, scan: mj.Image, tmp_path: Path) -> None:
    """A .seg.nrrd names a segment by its value, or by its layer where segments overlap."""
    labels = drawn(scan)
    if has_layers:
        labels = labels.with_voxels(np.stack([labels.voxels == 1, labels.voxels == 2], axis=-1).astype(np.uint8))
    mj.save_image(labels, tmp_path / "labels.seg.nrrd")
    labels = mj.load_image(tmp_path / "labels.seg.nrrd")
    segments = [
        {**item, "name": name} for item, name in zip(metadata_of(labels).display["segments"], "AB", strict=True)
    ]
    labels = labels.with_metadata(metadata_of(labels).replace(display={"segments": segments}))
    mj.io.save_dicom_segmentation(labels, tmp_path / "labels.dcm", tmp_path / "scan")
    items = pydicom.dcmread(tmp_path / "labels.dcm").SegmentSequence
    assert [(item.SegmentNumber, item.SegmentLabel) for item in items] == [(1, "A"), (2, "B")]


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda i: i.with_kind("intensity"), {}, mj.io.UnsupportedFileError, "holds labels"),
        (lambda i: i.with_voxels(i.voxels * 2), {}, ValueError, r"the labels are \[2, 4\]; renumber them"),
        (lambda i: i.with_voxels(i.voxels * 0), {}, ValueError, "not all 0"),
        (lambda i: i.with_voxels(i.voxels[..., None]), {}, ValueError, "no segments"),
        (lambda i: mj.stack([i, i]), {}, ValueError, "unstack"),
        (lambda i: i, {"series_uid": "1.9"}, mj.io.NotAnImageError, r"no series has the UID 1\.9"),
        (
            lambda i: i.with_metadata(i.metadata.replace(patient_id="4712", extra={})),
            {},
            mj.ImageFileError,
            "more than one patient",
        ),
    ],
)
def test_refusals(change: Any, options: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    image = volume("CT")
    mj.io.save_dicom_series(image, tmp_path / "scan")
    with pytest.raises(error, match=message) as caught:
        mj.io.save_dicom_segmentation(change(drawn(image)), tmp_path / "labels.dcm", tmp_path / "scan", **options)
    assert "4711" not in str(caught.value)
    assert not (tmp_path / "labels.dcm").exists()


def test_several_series_need_a_choice(tmp_path: Path) -> None:
    image = volume("CT")
    (tmp_path / "scan").mkdir()
    uids = [mj.io.save_dicom_series(image, tmp_path / "scan" / name) for name in ("a", "b")]
    with pytest.raises(mj.io.MultipleSeriesError, match="there are 2 series"):
        mj.io.save_dicom_segmentation(drawn(image), tmp_path / "labels.dcm", tmp_path / "scan")
    mj.io.save_dicom_segmentation(drawn(image), tmp_path / "labels.dcm", tmp_path / "scan", series_uid=uids[1])
    (referenced,) = pydicom.dcmread(tmp_path / "labels.dcm").ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == uids[1]


def test_without_highdicom_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(mj.io.MissingDependencyError, match=r'pip install "medjax\[seg\]"'):
        mj.io.save_dicom_segmentation(drawn(volume("CT")), tmp_path / "labels.dcm", tmp_path / "scan")
