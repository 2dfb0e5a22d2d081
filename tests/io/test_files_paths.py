"""Paths: names as long as the file system allows, what is no regular file, and files that other programs replace."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nifti_bytes import ramp

import medjax as mj

# Private: the name of a temporary file, which is gone when the call returns.
from medjax.io._disk._atomic import temporary_name

IMAGE = mj.Image.from_array(ramp())


# Names


@pytest.mark.parametrize(
    "stem", ["x" * 248, "\u50cf" * 82 + "xx", "\U0001fa7b" * 62, "e\u0301" * 82 + "xx", "." + "x" * 247]
)
@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd", ".h5", ".tfm"])
def test_a_name_of_255_bytes_is_saved(tmp_path: Path, stem: str, ending: str) -> None:
    """NAME_MAX counts bytes (POSIX limits.h), of which a character takes up to four."""
    while len((stem + ending).encode()) > 255:
        stem = stem[:-1]
    path = tmp_path / (stem + ending)
    if ending == ".tfm":
        mj.io.save_transform(mj.AffineTransform.of(np.eye(4)), path)
    else:
        mj.save_image(IMAGE, path)
        np.testing.assert_array_equal(mj.load_image(path).voxels, IMAGE.voxels)
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_names_are_hidden_and_cut_at_a_character() -> None:
    assert temporary_name("scan.nii", ".1.part") == ".scan.nii.1.part"
    assert temporary_name(".scan.nii", ".1.part") == ".scan.nii.1.part"
    assert temporary_name("x" * 255, ".part") == "." + "x" * 249 + ".part"
    assert temporary_name("\u50cf" * 85, ".part") == "." + "\u50cf" * 83 + ".part"  # 1 + 249 + 5 bytes
    undecodable = os.fsdecode(b"\xff" * 255)
    assert temporary_name(undecodable, ".part") == "." + undecodable[:249] + ".part"


# What is no regular file


def on_alarm(*_: Any) -> None:
    raise AssertionError("it waits")


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.nrrd", "a.mrb", "a.tfm", "a"])
@pytest.mark.parametrize("kind", ["pipe", "link to a device", "link to a pipe"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe")
    else:
        path.symlink_to("/dev/zero")
    call: Any = {".mrb": mj.io.load_mrb, ".tfm": mj.io.load_transform}.get(path.suffix, mj.load_image)
    old = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(5)
    try:
        with pytest.raises(mj.io.UnsupportedFileError, match="no regular file"):
            call(path)
        with pytest.raises(mj.io.UnsupportedFileError, match="no regular file"):
            mj.load_image(path)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def test_an_empty_path_names_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for `open("")` (POSIX, pathname resolution): not the working folder."""
    mj.io.save_dicom_series(mj.Image.from_array(ramp(), metadata=mj.Metadata(modality="CT")), tmp_path / "series")
    monkeypatch.chdir(tmp_path)
    for call in (mj.load_image, mj.io.load_mrb, mj.io.load_transform):
        with pytest.raises(FileNotFoundError):
            call("")


# Files that another process replaces


class TornError(Exception):
    """What a reader says who notices."""


@contextlib.contextmanager
def torn_read() -> Any:
    try:
        yield
    except mj.ImageFileError as error:
        if "another process replaced it" in error.reason:
            raise TornError from None
        raise


@pytest.mark.parametrize("moment", range(1, 6))
@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("a.nii", False), ("a.nii.gz", True), ("a.hdr", False), ("a.hdr.gz", True), ("a.mha", True), ("a.mha", False),
        ("a.mhd", True), ("a.mhd", False), ("a.nrrd", True), ("a.nrrd", False), ("a.nhdr", True), ("a.nhdr", False),
    ],
)  # fmt: skip
def test_header_and_voxels_are_of_one_file(
    tmp_path: Path, name: str, compress: bool, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer replaces the image at each moment at which the reader has opened one file more."""
    path = tmp_path / name
    images = [mj.Image.from_array(np.full((4, 3, 2), n, np.int16), spacing=n) for n in (1.0, 2.0)]
    mj.save_image(images[0], path, compress=compress)
    mj.load_image(path)
    opens, plain_open = 0, Path.open

    def watched(self: Path, *args: Any, **options: Any) -> Any:
        nonlocal opens
        file = plain_open(self, *args, **options)
        opens += 1
        if opens == moment:
            with monkeypatch.context() as inner:
                inner.setattr(Path, "open", plain_open)
                mj.save_image(images[1], path, compress=compress)
        return file

    monkeypatch.setattr(Path, "open", watched)
    is_of_two_files = path.suffix in (".mhd", ".nhdr") or ".hdr" in name
    with contextlib.suppress(TornError) if is_of_two_files else contextlib.nullcontext(), torn_read():
        found = mj.load_image(path)
        assert found.spacing == (float(found.voxels[0, 0, 0]),) * 3


# Where a header's data lie

HEADERS = {
    "a.mhd": "NDims = 3\nDimSize = 2 3 4\nElementType = MET_SHORT\nElementDataFile = {}\n",
    "a.nhdr": "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nspace: left-posterior-superior\nendian: little\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\ndata file: {}\n",
}
VOXELS = ramp((2, 3, 4))


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize(
    "written", ["{inner}/a.raw", "{link}/a.raw", "../inner/a.raw", "sub/../a.raw", "./a.raw", "{inner}/sub/b.raw"]
)
def test_a_data_file_counts_where_its_name_leads(tmp_path: Path, name: str, written: str) -> None:
    inner = tmp_path / "inner"
    (inner / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("inner")
    for data in ("a.raw", "sub/b.raw"):
        (inner / data).write_bytes(VOXELS.tobytes("F"))
    written = written.format(inner=inner, link=tmp_path / "link")
    (inner / name).write_text(HEADERS[name].format(written))
    for folder in (inner, tmp_path / "link"):
        np.testing.assert_array_equal(mj.load_image(folder / name).voxels, VOXELS)
    if written.startswith("/"):
        (inner / name).write_text(HEADERS[name].format(written.replace("raw", "gone")))
        with pytest.raises(mj.ImageFileError, match="is missing"):
            mj.load_image(inner / name)


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("written", ["{outer}/a.raw", "link/../a.raw", "../inner2/a.raw"])
def test_a_data_file_elsewhere_is_refused(tmp_path: Path, name: str, written: str) -> None:
    """`link/..` is the parent of where the link leads, whatever it looks like."""
    for folder in ("inner", "inner2", "other/deep"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "inner/link").symlink_to(tmp_path / "other/deep")
    for folder in ("", "inner2", "other"):
        (tmp_path / folder / "a.raw").write_bytes(VOXELS.tobytes("F"))
    (tmp_path / "inner" / name).write_text(HEADERS[name].format(written.format(outer=tmp_path)))
    with pytest.raises(mj.ImageFileError, match="outside the header's folder"):
        mj.load_image(tmp_path / "inner" / name)


# A few bytes too many


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.mhd", "a.nrrd", "a.nhdr", "a.img"])
def test_a_few_bytes_too_many_are_warned_of(tmp_path: Path, name: str, count: int) -> None:
    """As ITK and nibabel, which read such files without a word."""
    mj.save_image(mj.Image.from_array(VOXELS), tmp_path / name, compress=False)
    data = tmp_path / ("a.raw" if name in HEADERS else name)
    with data.open("ab") as file:
        file.write(bytes(count))
    with pytest.warns(mj.ImageFileWarning, match=f"{count} bytes follow the voxels"):
        np.testing.assert_array_equal(mj.load_image(tmp_path / name).voxels, VOXELS)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_many_bytes_too_many_are_a_wrong_header(tmp_path: Path, name: str) -> None:
    voxels = np.zeros((16, 16, 16), np.int16)
    mj.save_image(mj.Image.from_array(voxels), tmp_path / name, compress=False)
    with (tmp_path / name).open("ab") as file:
        file.write(bytes(512))  # one plane: the header may say one slice too few
        file.flush()
        with pytest.warns(mj.ImageFileWarning, match="512 bytes follow"):
            mj.load_image(tmp_path / name)
        file.write(bytes(1))
    with pytest.raises(mj.ImageFileError, match="found 513 more; correct the header"):
        mj.load_image(tmp_path / name)
