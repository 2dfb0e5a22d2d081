"""Images out of bytes, open files, URLs and lists of DICOM files: the same as from the path."""

from __future__ import annotations

import io as streams
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from dicom_data import series
from fuzz_seeds import SEEDS, image

import medjax as mj
from medjax import io

pytestmark = pytest.mark.filterwarnings("ignore::medjax.ImageFileWarning")


def check_same(found: mj.Image, wanted: mj.Image, source: str | None) -> None:
    np.testing.assert_array_equal(found.voxels, wanted.voxels)
    np.testing.assert_array_equal(found.affine, wanted.affine)
    assert (found.dtype, found.kind) == (wanted.dtype, wanted.kind)
    assert isinstance(wanted.metadata, mj.Metadata)
    assert found.metadata == wanted.metadata.replace(source=source)


@pytest.mark.parametrize("name", ["nifti", "mgh", "metaimage", "nrrd", "hdf5", "dicom"])
def test_bytes_open_files_and_urls(name: str, tmp_path: Path) -> None:
    (file, content), *_ = SEEDS[name]()[0].items()
    path = tmp_path / file
    path.write_bytes(content)
    wanted = mj.load_image(path)
    for data in (content, bytearray(content), memoryview(content), streams.BytesIO(content)):
        check_same(mj.load_image(data), wanted, None)
    with path.open("rb") as stream:
        check_same(mj.load_image(stream), wanted, file)
    check_same(mj.load_image(path.as_uri()), wanted, file)
    assert io.inspect(content).metadata.source is None
    assert io.inspect(path.as_uri()).metadata == wanted.metadata


def test_an_open_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    mj.save_image(image(), tmp_path / "a.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    stream = streams.BytesIO(b"before" + content)
    stream.seek(6)
    assert mj.load_image(stream).shape == image().shape
    assert not stream.closed
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/scan.nii.gz", content)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("folder/scan.nii.gz") as member:
        found = mj.load_image(member)
    assert isinstance(found.metadata, mj.Metadata)
    assert found.metadata.source == "scan.nii.gz"


def test_a_url_of_another_file_system(tmp_path: Path) -> None:
    """fsspec's memory stands for a server; the name in the URL is the source's, unquoted."""
    mj.save_image(image(), tmp_path / "a.nii")
    with fsspec.open("memory://scans/a%20b.nii", "wb") as file:
        file.write((tmp_path / "a.nii").read_bytes())
    part = mj.load_image("memory://scans/a%20b.nii", "MR", box=((1, 1, 1), (2, 2, 2)))
    assert (part.shape, part.orientation) == ((2, 2, 2), mj.load_image(tmp_path / "a.nii").orientation)
    assert isinstance(part.metadata, mj.Metadata)
    assert (part.metadata.source, part.metadata.modality) == ("a b.nii", "MR")
    with pytest.raises(FileNotFoundError):
        mj.load_image("memory://scans/missing.nii")


def test_errors_name_the_source(tmp_path: Path) -> None:
    mj.save_image(image(), tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()[:-10]
    (tmp_path / "cut.nii").write_bytes(content)
    url = (tmp_path / "cut.nii").as_uri()
    for source, named in ((content, "bytes in memory"), (streams.BytesIO(content), "an open file"), (url, url)):
        with pytest.raises(io.TruncatedFileError, match="voxels: expected") as caught:
            mj.load_image(source)
        assert caught.value.path == named
        assert str(caught.value).startswith(f"{named}: voxels")
    with pytest.raises(ValueError, match=r"^bytes in memory: values .* do not all fit dtype=int8"):
        mj.load_image((tmp_path / "a.nii").read_bytes()[:-210] + b"\x7f" * 210, dtype=np.int8)
    mj.save_image(image(), tmp_path / "b.hdr")
    with pytest.raises(mj.ImageFileError, match=r"its voxels are in another file"):
        mj.load_image((tmp_path / "b.hdr").read_bytes())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (streams.StringIO("text"), "open in text mode: open it in binary mode, 'rb'"),
        ([], "a list must hold paths of DICOM files, got an empty one"),
        ([b"x"], "a list must hold paths of DICOM files"),
    ],
)
def test_sources_that_are_none(source: Any, message: str) -> None:
    for load in (mj.load_image, io.inspect):
        with pytest.raises(ValueError, match=message):
            load(source)


def test_a_list_of_dicom_files(tmp_path: Path) -> None:
    one, other = series(tmp_path), series(tmp_path / "other", uid="1.2.3.4")
    (tmp_path / "notes.txt").write_text("no slice")
    wanted = mj.load_image(tmp_path / "other")
    for load in (mj.load_image, io.load_dicom_series):
        check_same(load([*reversed(other), other[0]]), wanted, "other")
        part = load(other[:2])
        assert part.shape[2] == 2
        np.testing.assert_allclose(part.affine, wanted.affine, atol=1e-7)  # by two of the rounded positions
        with pytest.raises(io.MultipleSeriesError, match="2 series"):
            load(one + other)
        with pytest.raises(mj.ImageFileError, match=r"notes\.txt: .*not DICOM"):
            load([*map(str, one), tmp_path / "notes.txt"])
    assert io.load_dicom_series(one + other, "1.2.3.4").shape == wanted.shape
    assert io.inspect(other).metadata == wanted.metadata
    check_same(mj.load_image(other, box=((0, 0, 0), wanted.shape)), wanted, "other")
    with pytest.raises(FileNotFoundError):
        mj.load_image([tmp_path / "missing.dcm"])
