"""A box or a frame of an image: the same as of the whole, and of NIfTI without the rest in memory."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import cost
from nifti_bytes import nifti_bytes, ramp

import medjax as mj
from medjax import io

pytestmark = pytest.mark.filterwarnings("ignore::medjax.ImageFileWarning")

AFFINE = np.array([[0.8, 0.1, -0.2, -31.0], [-0.1, 1.9, 0.3, 17.0], [0.15, 0.2, 2.7, -5.0], [0, 0, 0, 1.0]])
BOX = ((2, 1, 0), (3, 4, 2))


def check_part(path: Path, box: Any = None, frame: int | None = None) -> mj.Image:
    """Compares a part with the part of the whole, which `crop` and indexing take."""
    found, whole = mj.load_image(path, box=box, frame=frame), mj.load_image(path)
    assert isinstance(whole.metadata, mj.Metadata)
    if box is not None:
        whole = mj.crop(whole, *box)
    if frame is not None:
        whole = whole.with_voxels(whole.voxels[:, :, :, frame])
    np.testing.assert_array_equal(found.voxels, whole.voxels)
    np.testing.assert_array_equal(found.affine, whole.affine)
    assert (found.dtype, found.kind, found.channels) == (whole.dtype, whole.kind, whole.channels)
    assert isinstance(found.metadata, mj.Metadata)
    assert isinstance(whole.metadata, mj.Metadata)
    extra = {key: value for key, value in whole.metadata.extra.items() if key != "values"}
    known = {key: value for key, value in found.metadata.extra.items() if key != "values"}
    assert found.metadata.replace(extra=known) == whole.metadata.replace(extra=extra)
    assert not found.voxels.flags.writeable
    return found


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.h5", "a.mha", "a.nrrd", "a.mgz"])
@pytest.mark.parametrize("channels", [(), (4,), (3, 2)])
def test_is_a_part_of_the_whole(name: str, channels: tuple[int, ...], tmp_path: Path) -> None:
    if name.endswith("mgz") and len(channels) > 1:
        return  # the format has four axes
    voxels = np.random.default_rng(0).integers(0, 1000, (7, 6, 5, *channels)).astype(np.int16)
    mj.save_image(mj.Image.from_array(voxels, affine=AFFINE), tmp_path / name)
    for box in (BOX, ((0, 0, 0), (7, 6, 5)), ((6, 5, 4), (1, 1, 1))):
        check_part(tmp_path / name, box)
    if channels:
        for frame in (0, channels[0] - 1):
            check_part(tmp_path / name, BOX, frame)
            check_part(tmp_path / name, None, frame)


@pytest.mark.parametrize(
    ("voxels", "fields"),
    [
        (ramp((7, 6, 5, 3)), {"order": ">"}),
        (ramp((7, 6, 5, 3)), {"scl_slope": 0.5, "scl_inter": -3.0}),
        (ramp((7, 6, 5, 1, 3)), {}),  # channels along the fifth axis
        (ramp((7, 6, 5), np.float32), {"intent_code": 1002}),
        (ramp((7, 6, 5, 2)), {"cal_max": 9.0}),
        (ramp((7, 6)), {}),
    ],
    ids=["big endian", "scaled", "fifth axis", "labels", "display range", "one slice"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_of_other_nifti(voxels: np.ndarray, fields: dict[str, Any], packed: bool, tmp_path: Path) -> None:
    content = nifti_bytes(voxels, **fields)
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    box = ((2, 1, 0), (3, 4, 1)) if voxels.ndim == 2 else BOX
    check_part(path, box)
    if voxels.ndim > 3:
        check_part(path, box, 1)


@pytest.mark.parametrize("colours", [3, 4])
def test_of_colours(colours: int, tmp_path: Path) -> None:
    """The components of NIfTI's RGB lie beside each other; the first trailing axis is that of frames if there are any."""
    for frames in ((), (2,)):
        voxels = np.random.default_rng(1).integers(0, 255, (7, 6, 5, *frames, colours)).astype(np.uint8)
        datatype = {3: 128, 4: 2304}[colours]
        metadata = mj.Metadata(
            extra={"dim": [3 + len(frames), 7, 6, 5, *(frames or (1,)), 1, 1, 1], "datatype": datatype}
        )
        image = mj.Image.from_array(voxels, affine=AFFINE, metadata=metadata)
        mj.save_image(image, tmp_path / "a.nii")
        loaded = mj.load_image(tmp_path / "a.nii")
        assert isinstance(loaded.metadata, mj.Metadata)
        assert loaded.metadata.extra["datatype"] == datatype
        check_part(tmp_path / "a.nii", BOX)
        check_part(tmp_path / "a.nii", BOX, 1)


def test_a_part_does_not_claim_the_display_range_of_the_whole(tmp_path: Path) -> None:
    """As after a crop: `cal_max` describes the values of the source, and a part has others."""
    (tmp_path / "a.nii").write_bytes(nifti_bytes(ramp((7, 6, 5)), cal_max=9.0))
    for number, image in enumerate(
        [mj.load_image(tmp_path / "a.nii", box=BOX), mj.crop(mj.load_image(tmp_path / "a.nii"), *BOX)]
    ):
        mj.save_image(image, tmp_path / f"{number}.nii")
        again = mj.load_image(tmp_path / f"{number}.nii")
        assert isinstance(again.metadata, mj.Metadata)
        assert "cal_max" not in again.metadata.extra


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_memory_is_that_of_the_part(name: str, tmp_path: Path) -> None:
    """A box of 27 kB and a frame of 1 MB out of 16 MB: the rest is never in memory, nor what precedes the part."""
    voxels = np.zeros((128, 64, 64, 16), np.int16)
    voxels[40, 30, 20, 9] = 7
    mj.save_image(mj.Image.from_array(voxels), tmp_path / name)
    _, box_bytes = cost(lambda: mj.load_image(tmp_path / name, box=((30, 20, 10), (24, 24, 24)), frame=9))
    _, frame_bytes = cost(lambda: mj.load_image(tmp_path / name, frame=15))
    _, all_bytes = cost(lambda: mj.load_image(tmp_path / name))
    assert mj.load_image(tmp_path / name, box=((30, 20, 10), (24, 24, 24)), frame=9).voxels[10, 10, 10] == 7
    assert box_bytes < 3 * 2**20  # a piece of the decompressor is 1 MB
    assert frame_bytes < 4 * 2**20
    assert all_bytes > 16 * 2**20


def test_a_compressed_file_is_read_up_to_the_part(tmp_path: Path) -> None:
    """The part of a file that breaks off behind it is sound; a part that is cut is refused."""
    content = gzip.compress(nifti_bytes(np.random.default_rng(0).integers(0, 255, (32, 32, 40)).astype(np.uint8)))
    (tmp_path / "a.nii.gz").write_bytes(content[: len(content) // 2])
    assert mj.load_image(tmp_path / "a.nii.gz", box=((0, 0, 2), (32, 32, 3))).shape == (32, 32, 3)
    with pytest.raises(io.TruncatedFileError, match="voxels"):
        mj.load_image(tmp_path / "a.nii.gz", box=((0, 0, 30), (32, 32, 3)))
    (tmp_path / "a.nii").write_bytes(gzip.decompress(content)[:-1])
    with pytest.raises(io.TruncatedFileError, match="voxels: expected 40960 bytes, found 40959"):
        mj.load_image(tmp_path / "a.nii", box=((0, 0, 2), (32, 32, 3)))


@pytest.mark.parametrize("name", ["a.nii", "a.h5", "a.mha"])
@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"box": ((0, 0, 3), (1, 1, 3))},
            r"box start=\(0, 0, 3\), size=\(1, 1, 3\) leaves the image of \(7, 6, 5\) voxels",
        ),
        ({"box": ((-1, 0, 0), (1, 1, 1))}, "leaves the image"),
        ({"box": ((0, 0, 0), (1, 1, 0))}, "leaves the image"),
        ({"box": ((0, 0), (1, 1))}, r"start must be three integers along i, j, k, got \(0, 0\)"),
        ({"box": ((0, 0, 0), np.array([1, 1, 0.5]))}, r"size must be three integers along i, j, k, got \[1"),
        ({"frame": 2}, "frame must be a whole number from 0 to 1, got 2"),
        ({"frame": -1}, "frame must be a whole number"),
    ],
)
def test_parts_that_are_none(name: str, part: dict[str, Any], message: str, tmp_path: Path) -> None:
    mj.save_image(mj.Image.from_array(np.zeros((7, 6, 5, 2), np.int16)), tmp_path / name)
    with pytest.raises(ValueError, match=message):
        mj.load_image(tmp_path / name, **part)


def test_a_frame_of_an_image_without_frames(tmp_path: Path) -> None:
    image = mj.Image.from_array(np.zeros((7, 6, 5), np.int16))
    for name in ("a.nii", "a.h5"):
        mj.save_image(image, tmp_path / name)
        with pytest.raises(ValueError, match="frame=0 of an image with a single frame: leave it out"):
            mj.load_image(tmp_path / name, frame=0)
    assert dataclasses.replace(image).channels == ()
