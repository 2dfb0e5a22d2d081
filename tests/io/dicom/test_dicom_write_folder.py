"""The folder of a derived series: all of it or nothing, on disk, under any name; and what a fault looks like to the caller."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pydicom.filewriter
import pytest
from dicom_headers import volume

import medjax as mj

# Private: the writer of one file, which is made to fail.
from medjax.io._dicom import _write


def test_a_folder_with_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    mj.io.save_dicom_series(volume("CT"), tmp_path / "series")  # an empty one is taken
    before = sorted((tmp_path / "series").iterdir())
    with pytest.raises(mj.ImageFileError, match="not an empty folder"):
        mj.io.save_dicom_series(volume("CT"), tmp_path / "series")
    assert sorted((tmp_path / "series").iterdir()) == before
    assert [path.name for path in before] == [f"IM{k:04}.dcm" for k in range(1, 8)]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        mj.io.save_dicom_series(volume("CT"), tmp_path / "none" / "series")


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, write = [], _write.dcmwrite

    def failing(path: Path, *args: Any, **options: Any) -> None:
        written.append(path)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        write(path, *args, **options)

    monkeypatch.setattr(_write, "dcmwrite", failing)
    with pytest.raises(OSError, match="No space left"):
        mj.io.save_dicom_series(volume("CT"), tmp_path / "series")
    assert len(written) == 4
    assert not (tmp_path / "series").exists()
    assert not list(tmp_path.glob(".series*"))


@pytest.mark.parametrize("tag", [0x7FE00010, 0x00080100], ids=["pixels", "code within a sequence within a sequence"])
@pytest.mark.parametrize(
    "fault",
    [OSError(errno.ENOSPC, "No space left on device"), TimeoutError("in time"), MemoryError("of 2 GiB"), KeyError("x")],
    ids=lambda fault: type(fault).__name__,
)
def test_a_fault_below_pydicom_comes_out_as_it_was(
    fault: Exception, tag: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pydicom.filewriter.write_data_element

    def failing(file: Any, element: Any, *args: Any) -> None:
        if element.tag == tag:
            raise fault
        write(file, element, *args)

    monkeypatch.setattr(pydicom.filewriter, "write_data_element", failing)
    with pytest.raises(type(fault)) as caught:
        mj.io.save_dicom_series(volume("CT"), tmp_path / "series")
    assert caught.value is fault
    assert not list(tmp_path.iterdir())


def test_what_pydicom_finds_wrong_keeps_its_words(tmp_path: Path) -> None:
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    with pytest.raises((AttributeError, ValueError), match=r"(?i)transfer ?syntax"):
        _write.write_dataset(dataset, tmp_path / "x.dcm")


@pytest.mark.parametrize("name", ["\u50cf" * 85, "x" * 255, "\U0001f9e0" * 63])
def test_a_name_as_long_as_the_file_system_allows(name: str, tmp_path: Path) -> None:
    assert 252 <= len(os.fsencode(name)) <= 255
    mj.io.save_dicom_series(volume("CT"), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list((tmp_path / name).iterdir())) == 7


def test_files_and_folders_are_flushed_before_and_after_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POSIX: the entries of a folder last through a power failure once the folder itself was flushed."""
    flushed: list[tuple[int, bool]] = []
    flush, series = os.fsync, tmp_path / "series"

    def recording(handle: int) -> None:
        flushed.append((os.fstat(handle).st_ino, series.exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", recording)
    mj.io.save_dicom_series(volume("CT"), series)
    files = {path.stat().st_ino for path in series.iterdir()}
    assert {inode for inode, is_named in flushed[:7] if not is_named} == files
    assert flushed[7:] == [(series.stat().st_ino, False), (tmp_path.stat().st_ino, True)]
