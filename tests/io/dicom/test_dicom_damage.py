"""Damaged and hostile DICOM: everything loads or raises the package's own exception, quickly and in little memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dicom_data import Lattice, image_dataset, save, series, stored_values, voxels_of
from dicom_kinds import dose, enhanced, item, mosaic, plane_groups
from mutations import cost, loads_or_refuses
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

import medjax as mj

# Private: decoders that are counted or made to fail.
from medjax.io._dicom._codecs import coded_size

STORED = stored_values()
LATTICE = Lattice()


def encoded(dataset: Dataset, syntax: Any) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def compressed(dataset: Dataset) -> Dataset:
    dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


def slice_dataset(**attributes: Any) -> Dataset:
    return image_dataset(STORED[0], **(LATTICE.plane(0) | attributes))


KINDS: dict[str, Callable[[], Dataset]] = {
    "explicit": slice_dataset,
    "implicit": lambda: encoded(slice_dataset(), ImplicitVRLittleEndian),
    "deflated": lambda: encoded(slice_dataset(), DeflatedExplicitVRLittleEndian),
    "RLE": lambda: compressed(slice_dataset()),
    "colour": lambda: image_dataset(np.zeros((9, 12, 3), np.uint8), **LATTICE.plane(0)),
    "enhanced": lambda: enhanced(STORED, [plane_groups(LATTICE, k) for k in range(7)]),
    "mosaic": lambda: mosaic(STORED, LATTICE),
    "dose": lambda: dose(np.abs(STORED), LATTICE),
}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cuts, overwrites, inserts or loses bytes; three times in four where the header is."""
    region = len(content) if rng.random() < 0.25 else min(len(content), 1500)
    place = rng.randrange(128, region)
    kind = rng.randrange(5)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + bytes(rng.choice([[255] * 4, [0] * 4, [255, 255, 255, 127]])) + content[place + 4 :]
    if kind == 2:
        return content[:place] + rng.randbytes(rng.choice([1, 2, 8])) + content[place:]
    if kind == 3:
        return content[:place] + content[place + rng.choice([1, 2, 8, 64]) :]
    changed = bytearray(content)
    for _ in range(rng.choice([1, 2, 6])):
        changed[rng.randrange(128, region)] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_load_or_are_refused(kind: str, tmp_path: Path) -> None:
    rng = random.Random(kind)
    path = tmp_path / "x.dcm"
    content = save(KINDS[kind](), path).read_bytes()
    outcomes = set()
    for _ in range(50):
        path.write_bytes(damaged(content, rng))
        outcomes.add(loads_or_refuses(path))
    assert outcomes == {True, False}, "some of the damage matters, and some does not"


@pytest.mark.parametrize("kind", KINDS)
def test_files_cut_short_are_refused(kind: str, tmp_path: Path) -> None:
    """Wherever the cut falls: the pixels are the last element, so that a file without its end lacks some of them."""
    path = tmp_path / "x.dcm"
    content = save(KINDS[kind](), path).read_bytes()
    mj.load_image(path)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(mj.ImageFileError):
            mj.load_image(path)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", [b"2,50", b"nan ", b"inf ", b"abc ", b"1e400 ", b"1\\2 "])
def test_a_scale_that_is_no_number_is_refused(tmp_path: Path, keyword: str, value: bytes) -> None:
    for path in series(tmp_path, each=lambda k: {keyword: "1.2345"}):
        content = path.read_bytes()
        assert content.count(b"DS\x06\x001.2345") == 1
        path.write_bytes(content.replace(b"DS\x06\x001.2345", b"DS\x06\x00" + value.ljust(6)))
    with pytest.raises(mj.ImageFileError, match=f"{keyword} is .* not a number; correct it"):
        mj.load_image(tmp_path)


def test_a_scale_that_some_slices_lack_is_refused(tmp_path: Path) -> None:
    series(tmp_path, each=lambda k: {} if k == 3 else {"RescaleSlope": 1, "RescaleIntercept": -1024})
    with pytest.raises(mj.ImageFileError, match=r"1 of its . files, such as 003.dcm, state no RescaleSlope"):
        mj.load_image(tmp_path)


def test_a_damaged_file_in_a_series_loads_or_is_refused(tmp_path: Path) -> None:
    rng = random.Random(0)
    paths = series(tmp_path)
    for _ in range(60):
        victim = rng.choice(paths)
        content = victim.read_bytes()
        victim.write_bytes(damaged(content, rng))
        loads_or_refuses(tmp_path, mj.io.load_dicom_series)
        loads_or_refuses(tmp_path, mj.io.list_dicom_series)
        victim.write_bytes(content)
    np.testing.assert_array_equal(mj.load_image(tmp_path).voxels, voxels_of(STORED))


@pytest.mark.parametrize(
    "attributes",
    [
        {"Rows": 65535, "Columns": 65535},
        {"NumberOfFrames": 2**31 - 1},
        {"Rows": 1, "Columns": 1, "NumberOfFrames": 10**9},
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Rows": 65535},
    ],
)
@pytest.mark.parametrize("make", [lambda d: d, compressed], ids=["plain", "RLE"])
def test_a_file_that_promises_too_much_costs_little(tmp_path: Path, attributes: Any, make: Any) -> None:
    dataset = make(slice_dataset())
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    path = save(dataset, tmp_path / "x.dcm")
    seconds, most_bytes = cost(lambda: loads_or_refuses(path))
    assert seconds < 5
    assert most_bytes < 2**26
    with pytest.raises(mj.ImageFileError):
        mj.load_image(path)


def test_sequences_within_sequences_within_sequences(tmp_path: Path) -> None:
    nested = item(CodeValue="x")
    for _ in range(200):
        nested = item(ConceptCodeSequence=Items([nested]))
    path = save(slice_dataset(ReferencedImageSequence=Items([nested])), tmp_path / "x.dcm")
    loads_or_refuses(path)


def test_an_element_that_claims_four_gigabytes(tmp_path: Path) -> None:
    path = save(slice_dataset(ImageComments="comment"), tmp_path / "x.dcm")
    content = path.read_bytes()
    place = content.index(b"\x20\x00\x00\x40LT")
    path.write_bytes(content[:place] + b"\x20\x00\x00\x40UT\0\0\xf0\xff\xff\xff" + content[place + 8 :])
    seconds, most_bytes = cost(lambda: loads_or_refuses(path))
    assert seconds < 5
    assert most_bytes < 2**26


# DICOMDIR


def index_of(folder: Path, references: list[list[str]]) -> Path:
    """A DICOMDIR whose image records refer to files by the parts of their paths, after a record that refers to none."""
    records = [item(DirectoryRecordType="PATIENT")]
    for parts in references:
        record = item(DirectoryRecordType="IMAGE")
        record.add_new(0x00041500, "CS", parts)  # Referenced File ID
        records.append(record)
    dataset = item(DirectoryRecordSequence=Items(records), SOPInstanceUID="1.2.3")
    dataset.SOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    return save(dataset, folder / "DICOMDIR")


def directory(folder: Path) -> Path:
    """A folder as on a disc: two series in subfolders, an image that the index does not list, and the index."""
    for number in (1, 2):
        shifted = STORED + np.int16(5 * (number - 1))
        series(folder / f"S{number}", shifted, uid=f"1.2.{number}", name=lambda n, k: f"IM{n}")
    save(slice_dataset(SeriesInstanceUID="1.2.9"), folder / "STRAY")
    return index_of(folder, [[f"S{number}", f"IM{k}"] for number in (1, 2) for k in range(7)])


def test_a_dicomdir_leads_to_its_series(tmp_path: Path) -> None:
    index = directory(tmp_path)
    assert [(s.uid, s.files) for s in mj.io.list_dicom_series(index)] == [("1.2.1", 7), ("1.2.2", 7)]
    with pytest.raises(mj.io.MultipleSeriesError, match="2 series"):
        mj.load_image(index)
    np.testing.assert_array_equal(mj.io.load_dicom_series(index, "1.2.2").voxels, voxels_of(STORED + np.int16(5)))
    np.testing.assert_array_equal(mj.io.load_dicom_series(index.parent, "1.2.1").voxels, voxels_of(STORED))


def test_a_dicomdir_says_what_is_missing(tmp_path: Path) -> None:
    index = directory(tmp_path)
    (tmp_path / "S2" / "IM3").unlink()
    with pytest.raises(mj.ImageFileError, match="lists S2/IM3, which is missing"):
        mj.io.list_dicom_series(index)
    assert [series.uid for series in mj.io.list_dicom_series(tmp_path)] == ["1.2.1", "1.2.2", "1.2.9"]


@pytest.mark.parametrize("parts", [["..", "secret"], ["/etc/hostname"], [".", "..", "secret"]])
@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, as it writes them
def test_a_dicomdir_does_not_lead_out_of_its_folder(tmp_path: Path, parts: list[str]) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    save(slice_dataset(), tmp_path / "secret")
    index = index_of(folder, [parts])
    with pytest.raises(mj.ImageFileError, match="leaves its folder"):
        mj.load_image(index)


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        ("ffd8 ffe0 0004 0000 ffff c1 000b 0c 0400 0100 01 000000", (1024, 256, 1)),  # a segment and a fill byte before
        ("ffd8 fff7 000b 08 0009 000c 03 000000", (9, 12, 3)),  # JPEG-LS
        ("00" * 20 + "ff4fff51 0029 0000 00000110 00000088 00000010 00000008" + "00" * 16 + "0001", (128, 256, 1)),
        ("ffd8 ffda 0008 0000", None),  # pixels, but no frame header
        ("ffd8 ffc1 000b 0c 04", None),  # cut
        ("ff4f ff51 0029", None),
        ("", None),
        ("0001 0203", None),
    ],
)
def test_the_size_that_a_code_stream_states(stream: str, size: Any) -> None:
    assert coded_size(bytes.fromhex(stream)) == size


@pytest.mark.parametrize("syntax", [JPEGExtended12Bit, JPEGLSLossless, JPEG2000Lossless])
def test_a_code_stream_of_another_size_never_reaches_a_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: Any
) -> None:
    streams = {
        JPEG2000Lossless: "ff4fff51 0029 0000 00100000 00100000 00000000 00000000" + "00" * 16 + "0001",
        JPEGLSLossless: "ffd8 fff7 000b 10 ffff ffff 01 000000",
        JPEGExtended12Bit: "ffd8 ffc1 000b 0c ffff ffff 01 000000",
    }
    dataset = slice_dataset(BitsStored=12, HighBit=11, PixelRepresentation=0)
    dataset.PixelData = encapsulate([bytes.fromhex(streams[syntax])])
    dataset["PixelData"].VR = "OB"
    path = save(encoded(dataset, syntax), tmp_path / "x.dcm")
    decoder = SimpleNamespace(is_available=True, available_plugins=())
    monkeypatch.setattr("medjax.io._dicom._codecs.get_decoder", lambda uid: decoder)
    monkeypatch.setattr("medjax.io._dicom._codecs.iter_pixels", None)
    monkeypatch.setattr("medjax.io._dicom._codecs._decode_12_bit", None)
    with pytest.raises(
        mj.ImageFileError, match=r"its code stream states .* its header 9 rows, 12 columns and 1 samples"
    ):
        mj.load_image(path)
