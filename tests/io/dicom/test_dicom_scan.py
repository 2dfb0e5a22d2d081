"""Which files make a series: none vanishes without a word, none is unfinished, and each is one file from first to last."""

from __future__ import annotations

import os
import pickle
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_data import COLUMNS, ROWS, SLICES, image_dataset, save, series, stored_values, voxels_of
from dicom_headers import metadata_of
from dicom_kinds import Items, item
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGLSLossless, RLELossless
from segmentation_objects import build

import medjax as mj

# Private: a reader that changes files while it reads them, and the filter of warnings in threads.
from medjax.io._dicom._pixels import fill
from medjax.io._dicom._quiet import quiet

STORED = stored_values()


# Slices that are there by name


def unlinked(path: Path) -> None:
    path.unlink()
    path.symlink_to("../.git/annex/objects/not-fetched")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file behind a link": (unlinked, "a link that leads nowhere"),
    "a pipe": (a_pipe, "not an ordinary file"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "a pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "not DICOM"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_slice_that_is_no_image_is_named(tmp_path: Path, kind: str) -> None:
    spoil, reason = SPOILT[kind]
    spoil(series(tmp_path)[-1])
    match = rf"1 file named like DICOM could not be read and left aside: 006\.dcm \({reason}\)"
    with pytest.warns(mj.ImageFileWarning, match=match):
        assert mj.load_image(tmp_path).shape == (COLUMNS, ROWS, SLICES - 1)
    with pytest.warns(mj.ImageFileWarning, match=match):
        mj.io.list_dicom_series(tmp_path)


@pytest.mark.parametrize("name", ["IM{:03d}", "1.2.826.{}"])
@pytest.mark.parametrize("kind", ["no file behind a link", "empty"])
def test_names_without_an_ending_are_judged_by_their_neighbours(tmp_path: Path, name: str, kind: str) -> None:
    SPOILT[kind][0](series(tmp_path, name=lambda n, k: name.format(k))[-1])
    (tmp_path / "LICENSE").write_text("text")
    with pytest.warns(mj.ImageFileWarning, match=f"1 file named like DICOM .*{name[:2]}.*{SPOILT[kind][1]}"):
        mj.load_image(tmp_path)


def test_other_files_say_nothing(tmp_path: Path) -> None:
    series(tmp_path)
    (tmp_path / "notes.txt").write_bytes(b"")
    (tmp_path / ".DS_Store.dcm").write_bytes(b"x")
    unlinked_path = tmp_path / "readme.md"
    unlinked_path.symlink_to("nowhere")
    assert mj.load_image(tmp_path).shape == (COLUMNS, ROWS, SLICES)


def test_a_folder_of_nothing_else_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(mj.ImageFileError, match=r"no DICOM file in it; .* a\.dcm \(empty\)"):
        mj.load_image(tmp_path)


def test_a_slice_that_is_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    path = series(tmp_path)[-1]
    whole = path.read_bytes()
    for length in range(132, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(mj.ImageFileError):
            mj.load_image(tmp_path)


def test_reports_are_no_images_and_no_damage(tmp_path: Path) -> None:
    series(tmp_path)
    for n, sop_class in enumerate(["1.2.840.10008.5.1.4.1.1.88.11", "1.2.3.4.5"]):  # a report, a private class
        report = image_dataset(np.zeros((2, 2), np.int16), sop_class=sop_class, ContentSequence=Items([item()]))
        del report.PixelData, report.Rows, report.Columns
        save(report, tmp_path / f"report{n}.dcm")
    np.testing.assert_array_equal(mj.load_image(tmp_path).voxels, voxels_of(STORED))


@pytest.mark.parametrize("part", ["disk2", "."])
def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    series(tmp_path)
    (tmp_path / "disk2").mkdir()
    listed = os.scandir

    def refusing(path: Any = ".") -> Any:
        if Path(path) == tmp_path / part:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for read in (mj.load_image, mj.io.list_dicom_series):
        with pytest.raises(PermissionError):
            read(tmp_path)


def test_unfinished_output_is_no_data(tmp_path: Path) -> None:
    series(tmp_path / "study")
    series(tmp_path / "study" / ".derived.0123456789ab.part", STORED[:3], uid="1.2.9")
    (tmp_path / "study" / ".007.dcm.0123456789ab.part").write_bytes((tmp_path / "study" / "000.dcm").read_bytes())
    assert len(mj.io.list_dicom_series(tmp_path)) == 1
    np.testing.assert_array_equal(mj.load_image(tmp_path).voxels, voxels_of(STORED))


def test_header_and_pixels_are_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = series(tmp_path)
    content = paths[3].read_bytes()

    def replaced_before(*args: Any) -> None:
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").replace(paths[3])
        fill(*args)

    monkeypatch.setattr("medjax.io._dicom._volume.fill", replaced_before)
    with pytest.raises(mj.ImageFileError, match="replaced or changed while it was read; load it again") as error:
        mj.load_image(tmp_path)
    assert error.value.path == str(paths[3])


# Whose slices they are


@pytest.mark.parametrize(
    ("charset", "first", "second"),
    [
        ("ISO_IR 100", "MÜ1", "MÄ1"),
        ("ISO_IR 192", "MÜ1", "MÄ1"),
        ("ISO 2022 IR 87", "山田", "太郎"),
        (None, "MÜ1", "MÄ1"),
    ],
)
def test_patients_are_told_apart_in_any_alphabet(tmp_path: Path, charset: str | None, first: str, second: str) -> None:
    sets = ["", charset] if charset and "2022" in charset else charset
    for n, patient in enumerate([first, second]):
        stated = {"PatientID": patient, "SpecificCharacterSet": sets, "SeriesDescription": first}
        series(tmp_path / str(n), each=lambda k, stated=stated: stated)  # type: ignore[misc]
    listed = mj.io.list_dicom_series(tmp_path)
    assert [entry.stack for entry in listed] == [0, 1]
    assert {entry.description for entry in listed} == {first}


def test_bytes_that_are_no_text_still_tell_patients_apart(tmp_path: Path) -> None:
    for n in range(2):
        for path in series(tmp_path / str(n), each=lambda k: {"PatientID": "NUMBER"}):
            path.write_bytes(path.read_bytes().replace(b"NUMBER", b"NUM\xff\xfe" + bytes([0xF8 + n])))  # no UTF-8
    assert len(mj.io.list_dicom_series(tmp_path)) == 2
    found = [str(metadata_of(mj.io.load_dicom_series(tmp_path, stack=n)).patient_id) for n in range(2)]
    assert sorted(found) == [r"NUM\xff\xfe\xf8", r"NUM\xff\xfe\xf9"]


@pytest.mark.parametrize("number", ["--5", "²", "x"])
def test_a_series_number_that_is_none_is_unknown(tmp_path: Path, number: str) -> None:
    stated = b"IS\x04\x00" + number.encode("latin-1").ljust(4)
    for path in series(tmp_path, each=lambda k: {"SeriesNumber": "7777"}):
        path.write_bytes(path.read_bytes().replace(b"IS\x04\x007777", stated))
    assert mj.io.list_dicom_series(tmp_path)[0].number is None


# Messages


EVIL = "T1\x1b[2J\x1b]0;title\x07\nINFO all slices verified\u202e\x9b"


def test_text_of_files_cannot_drive_a_terminal_nor_forge_lines() -> None:
    shown = r"T1\x1b[2J\x1b]0;title\x07\nINFO all slices verified\u202e\x9b"
    error = mj.ImageFileError(f"/tmp/{EVIL}", EVIL, EVIL)
    assert str(error) == f"/tmp/{shown}: {shown}; {shown}"
    assert error.path == f"/tmp/{EVIL}"
    assert str(mj.ImageFileWarning(EVIL)) == shown
    assert str(mj.ImageFileWarning("Schädel 山田\u3000太郎 \\ é")) == "Schädel 山田\u3000太郎 \\ é"
    for kind in (error, mj.io.MultipleSeriesError("x", EVIL, None, [EVIL, "b"])):
        assert str(pickle.loads(pickle.dumps(kind))) == str(kind)


def test_descriptions_in_a_list_of_series_are_one_line_each(tmp_path: Path) -> None:
    for uid in ("1.2.1", "1.2.2"):
        for path in series(tmp_path / uid, uid=uid, each=lambda k: {"SeriesDescription": "D" * 20}):
            path.write_bytes(path.read_bytes().replace(b"D" * 20, b"\x1b[2J\nINFO all good.."[:20].ljust(20)))
    with pytest.raises(mj.io.MultipleSeriesError) as error:
        mj.load_image(tmp_path)
    lines = str(error.value).splitlines()
    assert [line.startswith("  1.2.") for line in lines] == [False, True, True]
    assert all(line.isprintable() for line in lines)


# Warnings of others


def test_only_the_thread_that_reads_is_quiet() -> None:
    inside, done = threading.Event(), threading.Event()

    def read() -> None:
        with quiet():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=read)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        thread.start()
        inside.wait(10)
        assert warnings.filters == before
        warnings.warn("a user's own", UserWarning, stacklevel=1)
        pydicom.misc.warn_and_log("pydicom's, in another thread")
        with quiet():
            pydicom.misc.warn_and_log("pydicom's, while this thread reads")
            warnings.warn("ours", mj.ImageFileWarning, stacklevel=1)
        done.set()
        thread.join()
    assert [str(w.message) for w in caught] == ["a user's own", "pydicom's, in another thread", "ours"]


# Compressed pixels


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, RLELossless, JPEGLSLossless])
def test_a_kilobyte_that_claims_250_megabytes_is_refused(tmp_path: Path, syntax: Any) -> None:
    dataset = image_dataset(np.zeros((2, 2), np.uint8), Rows=16000, Columns=16000)
    dataset.PixelData = encapsulate([bytes.fromhex("ffd8ffc0000b08 3e803e80 01 000000") + b"\0" * 900 + b"\xff\xd9"])
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset["PixelData"].VR = "OB"
    with pytest.raises(mj.io.UnsupportedFileError, match="promises 256000000 bytes of pixels"):
        mj.load_image(save(dataset, tmp_path / "x.dcm"))


def test_a_code_stream_without_its_end_is_cut_short(tmp_path: Path) -> None:
    dataset = image_dataset(np.zeros((2, 2), np.uint8))
    dataset.PixelData = encapsulate([bytes.fromhex("ffd8ffc0000b08 0002 0002 01 000000") + b"\0" * 100])
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset["PixelData"].VR = "OB"
    with pytest.raises(mj.io.TruncatedFileError, match="no end marker"):
        mj.load_image(save(dataset, tmp_path / "x.dcm"))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.205"])  # a film, and JPIP
def test_a_compression_without_decoder_is_a_problem_in_the_list(tmp_path: Path, syntax: str) -> None:
    dataset = image_dataset(np.zeros((2, 2), np.uint8))
    dataset.PixelData = encapsulate([b"\0" * 100])
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset["PixelData"].VR = "OB"
    path = save(dataset, tmp_path / "x.dcm")
    with pytest.raises(mj.io.UnsupportedFileError) as error:
        mj.load_image(path)
    assert mj.io.list_dicom_series(path)[0].problem == error.value.reason


def test_a_slice_that_is_cut_short_is_a_problem_in_the_list(tmp_path: Path) -> None:
    path = series(tmp_path)[2]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(mj.io.TruncatedFileError) as error:
        mj.load_image(tmp_path)
    (listed,) = mj.io.list_dicom_series(tmp_path)
    assert (listed.problem, listed.shape) == (error.value.reason, (COLUMNS, ROWS, SLICES))


@pytest.mark.parametrize("slices", [[0, 1], [1, 1]], ids=["whole", "two frames at one place"])
def test_a_segmentation_is_listed_as_it_loads(tmp_path: Path, slices: list[int]) -> None:
    build(np.ones((2, 5, 7), bool), slices, [1, 1]).save_as(tmp_path / "object.dcm")
    (listed,) = mj.io.list_dicom_series(tmp_path)
    if listed.problem is None:
        image = mj.load_image(tmp_path)
        assert (listed.shape, listed.orientation) == (image.shape, image.orientation)
        assert listed.spacing == pytest.approx(image.spacing)
    else:
        with pytest.raises(mj.io.DuplicatePositionError) as error:
            mj.load_image(tmp_path)
        assert listed.problem == error.value.reason
    assert (listed.problem is None) == (slices == [0, 1])
