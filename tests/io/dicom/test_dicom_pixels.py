"""Encodings of pixels and files: bits, byte order, compression, colour, tables, and files that are cut or odd."""

from __future__ import annotations

import cProfile
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK
from dicom_data import COLUMNS, ROWS, Lattice, image_dataset, save, series, stored_values, voxels_of
from dicom_kinds import enhanced, plane_groups
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pack_bits
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

import medjax as mj

STORED = stored_values()


def load(path: Path) -> mj.Image:
    """Loads a file that is placed in space, so nothing is warned of."""
    return mj.load_image(path)


def placed(pixels: np.ndarray, **attributes: Any) -> Dataset:
    """A data set on the lattice."""
    return image_dataset(pixels, **(Lattice().plane(0) | attributes))


# Bits


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big endian", "RLE"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high_bit", [11, 13])
def test_only_the_stored_bits_count(tmp_path: Path, syntax: str, signed: bool, high_bit: int) -> None:
    rng = np.random.default_rng(high_bit)
    values = rng.integers(-2048, 2048, (ROWS, COLUMNS)) if signed else rng.integers(0, 4096, (ROWS, COLUMNS))
    low = high_bit - 11
    if syntax == "RLE" and low:
        pytest.skip("a compressed pixel's bits begin at 0")
    dirt = rng.integers(0, 2**16, values.shape) & ~(0xFFF << low)
    stored = (((values & 0xFFF) << low) | dirt).astype(np.uint16)
    dataset = placed(stored, BitsStored=12, HighBit=high_bit, PixelRepresentation=int(signed))
    path = encode(dataset, syntax, tmp_path)
    image = load(path)
    assert image.dtype == (np.int16 if signed else np.uint16)
    np.testing.assert_array_equal(image.voxels[:, :, 0], values.T)


def encode(dataset: Dataset, syntax: str, folder: Path) -> Path:
    """Writes a data set in a transfer syntax, with pydicom alone."""
    path = folder / "image.dcm"
    if syntax == "explicit":
        return save(dataset, path)
    if syntax == "RLE":
        dataset.compress(RLELossless, generate_instance_uid=False)
        return save(dataset, path)
    if syntax == "big endian":
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        stored = np.frombuffer(dataset.PixelData, f"u{dataset.BitsAllocated // 8}")
        dataset.PixelData = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
    else:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big endian"])
def test_every_integer_type_and_byte_order(tmp_path: Path, dtype: str, syntax: str) -> None:
    if syntax == "big endian" and dtype[1] == "1":
        pytest.skip("bytes are swapped within words there, which the next test is about")
    info = np.iinfo(dtype)
    values = np.random.default_rng(0).integers(info.min, info.max, (ROWS, COLUMNS), endpoint=True).astype(dtype)
    image = load(encode(placed(values), syntax, tmp_path))
    assert image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image.voxels[:, :, 0], values.T)


def test_bytes_in_big_endian_words(tmp_path: Path) -> None:
    values = np.arange(ROWS * COLUMNS, dtype=np.uint8).reshape(ROWS, COLUMNS)
    dataset = placed(values, PixelData=values.view(">u2").byteswap().tobytes())
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(tmp_path / "x", enforce_file_format=True)
    np.testing.assert_array_equal(load(tmp_path / "x").voxels[:, :, 0], values.T)


def test_single_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, (ROWS, COLUMNS)).astype(np.uint8)
    dataset = placed(values, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=pack_bits(values))
    np.testing.assert_array_equal(load(save(dataset, tmp_path / "x")).voxels[:, :, 0], values.T)


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_floating_point_pixels(tmp_path: Path, keyword: str, dtype: Any) -> None:
    values = np.random.default_rng(0).normal(size=(3, ROWS, COLUMNS)).astype(dtype)
    dataset = enhanced(values.view(f"u{values.itemsize}"), [plane_groups(Lattice(), k) for k in range(3)])
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, name)
    setattr(dataset, keyword, values.tobytes())
    image = load(save(dataset, tmp_path / "x"))
    assert image.dtype == dtype
    np.testing.assert_array_equal(image.voxels, voxels_of(values))


# Compression


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} (extra dicom) is not here")


@pytest.mark.parametrize(
    "syntax",
    [
        RLELossless,
        pytest.param(JPEGLSLossless, marks=needs("jpeg_ls")),
        pytest.param(JPEG2000Lossless, marks=needs("openjpeg")),
    ],
)
def test_lossless_compression_changes_nothing(tmp_path: Path, syntax: str) -> None:
    stored = np.random.default_rng(0).integers(0, 3000, (7, 33, 47), dtype=np.uint16)  # JPEG 2000 needs some size
    series(
        tmp_path,
        stored,
        order=[3, 1, 2, 0, 4, 6, 5],
        each=lambda k: {"RescaleSlope": "1", "RescaleIntercept": str(-k)},
        prepare=lambda dataset: dataset.compress(syntax, generate_instance_uid=False),
    )
    image = mj.load_image(tmp_path)
    assert image.dtype == np.int16
    np.testing.assert_array_equal(
        image.voxels, voxels_of(stored.astype(np.int16) - np.arange(7, dtype=np.int16)[:, None, None])
    )


@needs("openjpeg")
def test_the_header_says_whether_a_compressed_pixel_has_a_sign() -> None:
    """A CT of pydicom's whose JPEG 2000 stream says unsigned: SimpleITK, through GDCM, and the header say signed."""
    path = str(get_testdata_file("J2K_pixelrep_mismatch.dcm"))
    image = load(Path(path))
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
    assert theirs.min() < 0
    np.testing.assert_array_equal(image.voxels, theirs.transpose(2, 1, 0))


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", pytest.param("examples_jpeg2k.dcm", marks=needs("openjpeg"))])
@pytest.mark.filterwarnings("ignore::medjax.ImageFileWarning")
def test_compressed_colours_are_the_last_axis(name: str) -> None:
    """Pictures of pydicom's, against SimpleITK."""
    path = str(get_testdata_file(name))
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
    assert theirs.shape[-1] == 3
    np.testing.assert_array_equal(mj.load_image(path).voxels[:, :, 0], theirs[0].swapaxes(0, 1))


def test_frames_of_a_compressed_object_go_to_their_places(tmp_path: Path) -> None:
    order = [4, 0, 6, 2, 1, 5, 3]
    dataset = enhanced(STORED[order], [plane_groups(Lattice(), k) for k in order])
    dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(load(save(dataset, tmp_path / "x")).voxels, voxels_of(STORED))


def loop_without_offsets(folder: Path, frames: int) -> tuple[Path, np.ndarray]:
    """A compressed multi-frame picture that does not say where its frames begin."""
    pixels = np.random.default_rng(0).integers(0, 99, (frames, 4, 6)).astype(np.uint8)
    dataset = image_dataset(pixels, sop_class=UltrasoundMultiFrameImageStorage, Modality="US", NumberOfFrames=frames)
    dataset.compress(RLELossless, generate_instance_uid=False)
    coded = list(generate_frames(dataset.PixelData, number_of_frames=frames))
    dataset.PixelData = encapsulate(coded, has_bot=False)
    return save(dataset, folder / f"{frames}.dcm"), pixels


def calls_to_load(path: Path, pixels: np.ndarray) -> int:
    with cProfile.Profile() as profile, pytest.warns(mj.ImageFileWarning, match="where the image lies"):
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels[:, :, 0], pixels.transpose(2, 1, 0))
    return sum(entry.callcount for entry in profile.getstats())


def test_work_is_proportional_to_the_number_of_compressed_frames(tmp_path: Path) -> None:
    """Counted in function calls: no frame is searched for from the start of the file."""
    few, many = loop_without_offsets(tmp_path, 60), loop_without_offsets(tmp_path, 240)
    calls_to_load(*few)  # imports
    assert calls_to_load(*many) < 4.5 * calls_to_load(*few)


def test_a_missing_decoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = placed(np.abs(STORED[0]))
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless  # the pixels are never reached
    path = save(dataset, tmp_path / "x")
    # Private: decoders that are taken away, and limits that are lowered.
    monkeypatch.setattr("medjax.io._dicom._codecs.get_decoder", lambda uid: SimpleNamespace(is_available=False))
    with pytest.raises(
        mj.io.MissingDependencyError, match=r"compressed as JPEG 2000 .*1\.2\.840\.10008\.1\.2\.4\.90"
    ) as info:
        load(path)
    assert info.value.hint == 'pip install "medjax[dicom]"'


def test_an_unknown_transfer_syntax_is_named(tmp_path: Path) -> None:
    dataset = placed(np.abs(STORED[0]))
    dataset.compress(RLELossless, generate_instance_uid=False)
    path = save(dataset, tmp_path / "x")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.9\0"))
    with pytest.raises(mj.io.UnsupportedFileError, match=r"1\.2\.840\.10008\.1\.2\.9"):
        load(path)


def test_damaged_compressed_pixels_are_refused(tmp_path: Path) -> None:
    dataset = placed(np.abs(STORED[0]))
    dataset.compress(RLELossless, generate_instance_uid=False)
    path = save(dataset, tmp_path / "x")
    content = path.read_bytes()
    path.write_bytes(content[:-60] + b"\xff" * 60)
    with pytest.raises(mj.ImageFileError, match=r"cannot be decoded \(RLE"):
        load(path)


@needs("gdcm")
def test_12_bit_lossy_jpeg_is_read_by_gdcm() -> None:
    path = get_testdata_file("JPGExtended.dcm")
    with pytest.warns(mj.ImageFileWarning, match="does not say where"):
        image = mj.load_image(str(path))
    assert image.voxels.shape == (256, 1024, 1)
    assert (image.dtype, int(image.voxels.min()), int(image.voxels.max())) == (np.uint16, 0, 264)  # as SimpleITK has it


def test_12_bit_lossy_jpeg_without_gdcm_names_the_situation(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gdcm", None)
    monkeypatch.setattr(
        "medjax.io._dicom._codecs.get_decoder", lambda uid: SimpleNamespace(is_available=True, available_plugins=())
    )
    with pytest.raises(mj.io.MissingDependencyError, match="12-bit lossy JPEG"):
        mj.load_image(str(get_testdata_file("JPGExtended.dcm")))


# Colour and tables


@pytest.mark.parametrize("planar", [0, 1])
def test_red_green_and_blue_are_the_last_axis(tmp_path: Path, planar: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (ROWS, COLUMNS, 3), dtype=np.uint8)
    data = np.moveaxis(pixels, -1, 0).tobytes() if planar else pixels.tobytes()
    path = save(placed(pixels, PlanarConfiguration=planar, PixelData=data), tmp_path / "x")
    np.testing.assert_array_equal(load(path).voxels[:, :, 0], pixels.swapaxes(0, 1))


def test_luma_and_chroma_become_red_green_and_blue(tmp_path: Path) -> None:
    ybr = np.array([76, 85, 255], np.uint8) * np.ones((ROWS, COLUMNS, 1), np.uint8)  # JFIF's red
    path = save(placed(ybr, PhotometricInterpretation="YBR_FULL"), tmp_path / "x")
    image = load(path)
    np.testing.assert_allclose(image.voxels, np.broadcast_to([254, 0, 0], image.voxels.shape), atol=1)  # 8-bit rounding


def test_colours_are_not_rescaled(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (ROWS, COLUMNS, 3), dtype=np.uint8)
    path = save(placed(pixels, RescaleSlope="2", RescaleIntercept="-1024"), tmp_path / "x")
    np.testing.assert_array_equal(load(path).voxels[:, :, 0], pixels.swapaxes(0, 1))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_becomes_its_colours(tmp_path: Path, bits: int) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 2**bits, (3, 256)).astype(f"u{bits // 8}")
    pixels = rng.integers(0, 256, (ROWS, COLUMNS), dtype=np.uint8)
    dataset = placed(pixels, PhotometricInterpretation="PALETTE COLOR")
    for n, name in enumerate(("Red", "Green", "Blue")):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(dataset, f"{name}PaletteColorLookupTableData", table[n].tobytes())
    image = load(save(dataset, tmp_path / "x"))
    assert image.dtype == table.dtype
    np.testing.assert_array_equal(image.voxels[:, :, 0], table[:, pixels.T].transpose(1, 2, 0))


def test_a_modality_table_is_applied(tmp_path: Path) -> None:
    from dicom_kinds import item
    from pydicom.sequence import Sequence as Items

    table = np.random.default_rng(0).permutation(256).astype(np.uint16)
    pixels = np.random.default_rng(1).integers(0, 256, (ROWS, COLUMNS), dtype=np.uint8)
    entry = item(LUTDescriptor=[256, 0, 16], ModalityLUTType="HU")
    entry.add_new(0x00283006, "OW", table.tobytes())
    path = save(placed(pixels, ModalityLUTSequence=Items([entry])), tmp_path / "x")
    np.testing.assert_array_equal(load(path).voxels[:, :, 0], table[pixels.T])


# Files that are cut, bare, deflated, padded


def test_pixels_cut_short_are_refused_with_both_numbers(tmp_path: Path) -> None:
    path = save(placed(STORED[0]), tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes()[:-10])
    expected = ROWS * COLUMNS * 2
    with pytest.raises(mj.io.TruncatedFileError, match=f"has {expected - 10} of {expected} bytes"):
        load(path)


def test_an_element_shorter_than_the_image_is_refused(tmp_path: Path) -> None:
    path = save(placed(STORED[0], PixelData=STORED[0, 1:].tobytes(), WindowCenter="1"), tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes() + b"\0" * 100)  # long enough a file, too short an element
    with pytest.raises(mj.io.TruncatedFileError, match=f"has {(ROWS - 1) * COLUMNS * 2} of {ROWS * COLUMNS * 2} bytes"):
        load(path)


def test_a_header_cut_before_the_pixels_is_refused(tmp_path: Path) -> None:
    path = save(placed(STORED[0]), tmp_path / "x.dcm")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\xe0\x7f\x10\x00")])
    with pytest.raises(mj.io.TruncatedFileError, match="ends before its pixel data"):
        load(path)


def test_one_damaged_file_spoils_the_folder_by_name(tmp_path: Path) -> None:
    paths = series(tmp_path)
    paths[3].write_bytes(paths[3].read_bytes()[:-2])
    with pytest.raises(mj.io.TruncatedFileError) as info:
        mj.load_image(tmp_path)
    assert info.value.path == str(paths[3])


def test_bytes_after_the_pixels_do_not_matter(tmp_path: Path) -> None:
    dataset = placed(STORED[0])
    dataset.add_new(0xFFFCFFFC, "OB", b"\0" * 126)
    np.testing.assert_array_equal(load(save(dataset, tmp_path / "x")).voxels[:, :, 0], STORED[0].T)


def test_no_preamble_and_no_meta_information(tmp_path: Path) -> None:
    path = save(placed(STORED[0]), tmp_path / "x.dcm")
    content = path.read_bytes()
    for bare in (content[132:], content[content.index(b"\x08\x00\x05\x00") :]):
        path.write_bytes(bare)
        np.testing.assert_array_equal(load(path).voxels[:, :, 0], STORED[0].T)


def test_big_endian_without_meta_information(tmp_path: Path) -> None:
    path = encode(placed(STORED[0]), "big endian", tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[content.index(b"\x00\x08\x00\x05") :])
    np.testing.assert_array_equal(load(path).voxels[:, :, 0], STORED[0].T)


def deflated(dataset: Dataset, path: Path) -> bytes:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(dataset, path)
    return path.read_bytes()


def test_a_deflated_data_set(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    content = deflated(placed(STORED[0]), path)
    image = load(path)
    np.testing.assert_array_equal(image.voxels[:, :, 0], STORED[0].T)
    path.write_bytes(content[:-20])
    with pytest.raises(mj.io.TruncatedFileError, match="deflated data set ends early"):
        load(path)


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medjax.io._dicom._header._MOST_INFLATED_BYTES", 100)
    deflated(placed(STORED[0]), tmp_path / "x.dcm")
    with pytest.raises(mj.io.UnsupportedFileError, match="deflated data set is larger than"):
        load(tmp_path / "x.dcm")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"NumberOfFrames": 2**31 - 1}, "promises 2147483647 frames"),
        ({"Rows": 65535, "Columns": 65535, "NumberOfFrames": 1000}, "promises .* bytes of pixels in a file of"),
    ],
)
def test_a_compressed_file_that_promises_the_world_is_refused(tmp_path: Path, attributes: Any, message: str) -> None:
    dataset = placed(np.abs(STORED[0]))
    dataset.compress(RLELossless, generate_instance_uid=False)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    with pytest.raises(mj.io.UnsupportedFileError, match=message):
        load(save(dataset, tmp_path / "x"))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"Rows": 0}, "0 rows"),
        ({"Rows": None}, "no image|Rows"),
        ({"BitsAllocated": 12}, "do not describe a pixel"),
        ({"BitsStored": 17}, "do not describe a pixel"),
        ({"HighBit": 3}, "do not describe a pixel"),
        ({"SamplesPerPixel": 7}, "SamplesPerPixel is 7"),
    ],
)
def test_pixel_attributes_that_contradict_themselves_are_refused(tmp_path: Path, attributes: Any, message: str) -> None:
    with pytest.raises(mj.ImageFileError, match=message):
        load(save(placed(STORED[0], **attributes), tmp_path / "x"))


def test_deflate_walks_over_long_meta_elements(tmp_path: Path) -> None:
    dataset = placed(STORED[0])
    dataset.file_meta.FileMetaInformationVersion = b"\0\1"
    dataset.file_meta.PrivateInformationCreatorUID = UID("1.2.3")
    dataset.file_meta.PrivateInformation = b"\x02\x00\x10\x00" * 30
    path = tmp_path / "x.dcm"
    deflated(dataset, path)
    np.testing.assert_array_equal(load(path).voxels[:, :, 0], STORED[0].T)
