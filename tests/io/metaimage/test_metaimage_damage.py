"""MetaImage files that lie, are damaged or mean harm: an image or the package's error, quickly and in little memory."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from itk_files import metadata_of
from metaimage_files import VOXELS, header, write
from mutations import cost, loads_or_refuses

import medjax as mj


def test_compression_bomb_stays_small(tmp_path: Path) -> None:
    """1 MB of zlib that holds a gigabyte: the header asks for 120 bytes."""
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(64)) + packer.flush()
    path = write(tmp_path / "scan.mha", header(CompressedData="True"), bomb)

    def load() -> None:
        with pytest.raises(mj.ImageFileError, match="more"):
            mj.load_image(path)

    assert cost(load)[1] < 2**25


@pytest.mark.parametrize(
    "text",
    [
        "{", "[1]", "3", '{"modality": 5}', '{"subtype": ["T1"]}', '{"display": [1]}', '{"modality": "CT", "subtype": 1}',
        '{"is_contrast_administered": "no"}', "[" * 20_000, '{"display": {"a": ' + "[" * 90_000 + "]" * 90_000 + "}}", '{"display": 7}',
    ],
    ids=range(11),
)  # fmt: skip
def test_damaged_metadata_cost_only_themselves(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.mha", header(MedjaxMetadata0=text, Kept="yes"))
    with pytest.warns(mj.ImageFileWarning, match="MedjaxMetadata are damaged"):
        image = mj.load_image(path)
    np.testing.assert_array_equal(image.voxels, VOXELS)
    assert metadata_of(image).extra["Kept"] == "yes"


def test_fields_that_are_not_shared_are_not_taken_from_the_key(tmp_path: Path) -> None:
    text = '{"modality": "CT", "patient_id": "X", "clinical": {"weight": 7}, "extra": {"PatientName": "Y"}, "odd": 1}'
    metadata = metadata_of(mj.load_image(write(tmp_path / "scan.mha", header(MedjaxMetadata0=text))))
    assert (metadata.modality, metadata.patient_id, dict(metadata.clinical)) == ("CT", None, {})
    assert not {"PatientName", "odd", "MedjaxMetadata0"} & metadata.extra.keys()


def test_long_lines_are_read_in_linear_time(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.mha", "ObjectType" + " " * 3_000_000 + "x\n" + header())
    assert cost(lambda: loads_or_refuses(path))[0] < 2
    path = write(tmp_path / "scan.mha", header(Comment="a" + " " * 3_000_000 + "b"))
    assert cost(lambda: loads_or_refuses(path))[0] < 2
