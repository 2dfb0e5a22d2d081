"""The fast walk over a header finds what pydicom's own reader finds, or leaves the file to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from dicom_data import Lattice, image_dataset, save, stored_values
from dicom_kinds import enhanced, item, plane_groups
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from shared_data import DATA, needs_data

# Private: the walk over elements alone, with the size of its reads.
from medjax.io._dicom._elements import CHUNK_BYTES, walk

MOST_BYTES = 100


def walked(path: Path) -> Any:
    with path.open("rb") as file:
        return walk(file, file.read(CHUNK_BYTES), MOST_BYTES)


def agrees(path: Path) -> bool:
    """Whether the walk took the file on; if so, it found element for element what pydicom finds."""
    found = walked(path)
    if found is None:
        return False
    with path.open("rb") as file:
        reference = pydicom.dcmread(file, stop_before_pixels=True, defer_size=MOST_BYTES)
        assert found.position == file.tell()
    assert found.transfer_syntax == reference.file_meta.TransferSyntaxUID
    own = Dataset(found.found)
    assert own.get("SpecificCharacterSet") == reference.get("SpecificCharacterSet")  # which decodes it, as pydicom has
    assert dict(own.items()) == dict(reference.items())
    own.set_original_encoding(found.is_implicit, True, found.encodings)
    assert own.original_encoding == reference.original_encoding
    assert own.original_character_set == reference.original_character_set
    return True


def rich(**attributes: Any) -> Dataset:
    """A data set with long, empty, private and nested elements, in a character set with escapes."""
    values = Lattice().plane(0) | {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "頭部",
        "ImageComments": "x" * 5000,
        "TextValue": "y" * 20000,
        "RequestedProcedureDescription": "",
        "ReferencedImageSequence": Items([item(ReferencedSOPInstanceUID=f"1.{n}", PatientName="頭") for n in range(3)]),
        "SourceImageSequence": Items([]),
    }
    dataset = image_dataset(stored_values()[0], **(values | attributes))
    dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", b"\1" * 40000)
    return dataset


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_elements_of_every_kind(tmp_path: Path, syntax: str, undefined: bool) -> None:
    dataset = rich()
    dataset["ReferencedImageSequence"].is_undefined_length = undefined
    for one in dataset.ReferencedImageSequence:
        one.is_undefined_length_sequence_item = undefined
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    path = save(dataset, tmp_path / "x")
    assert agrees(path)
    assert walked(path).is_deferred


def test_functional_groups(tmp_path: Path) -> None:
    frames = [plane_groups(Lattice(), k) for k in range(7)]
    assert agrees(save(enhanced(stored_values(), frames), tmp_path / "x"))


def no_preamble(content: bytes) -> bytes:
    return content[132:]


def cut(content: bytes) -> bytes:
    return content[: content.index(b"\xe0\x7f\x10\x00") - 3]


def unknown_representation(content: bytes) -> bytes:
    return content.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00??")


def lying(content: bytes) -> bytes:
    """Explicit elements under an implicit transfer syntax."""
    return content.replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x12\x001.2.840.10008.1.2\0")


@pytest.mark.parametrize("spoil", [no_preamble, cut, unknown_representation, lying])
def test_what_is_out_of_the_ordinary_is_left_to_pydicom(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = save(rich(), tmp_path / "x")
    content = path.read_bytes()
    path.write_bytes(spoil(content))
    assert path.read_bytes() != content
    assert walked(path) is None


@pytest.mark.filterwarnings("ignore")  # pydicom's files break rules on purpose
def test_the_files_that_pydicom_brings() -> None:
    paths = (Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm")
    taken = [path.name for path in paths if agrees(path)]
    assert len(taken) > 50


@needs_data
@pytest.mark.filterwarnings("ignore")
def test_real_files() -> None:
    folders = ["dicom/singles", "dicom/mr_siemens_mosaic_ax", "dicom/pet_ac_part", "dicom/mr_enhanced_philips_b0"]
    paths = [path for folder in folders for path in sorted((DATA / folder).iterdir())]
    assert sum(map(agrees, paths)) > 60
