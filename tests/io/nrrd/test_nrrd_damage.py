"""NRRD files that lie, are damaged or mean harm: an image or the package's error, quickly and in little memory."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest
from mutations import cost, loads_or_refuses
from nrrd_files import at, write

import medjax as mj


@pytest.mark.parametrize("codec", ["gzip", "bzip2"])
def test_compression_bomb_stays_small(codec: str, tmp_path: Path) -> None:
    """A small stream of 200 MB of zeros: the header asks for 120 bytes."""
    zeros = bytes(200_000_000)
    bomb = gzip.compress(zeros) if codec == "gzip" else bz2.compress(zeros)
    path = write(tmp_path / "scan.nrrd", at(encoding=codec), bomb)

    def load() -> None:
        with pytest.raises(mj.ImageFileError, match="more"):
            mj.load_image(path)

    load()
    assert cost(load)[1] < 2**25


@pytest.mark.parametrize(
    "line", ["key:=" + " " * 2_000_000 + "x", "space origin: (" + " " * 2_000_000, "#" + "x" * 4_000_000]
)
def test_long_lines_are_read_in_linear_time(line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nrrd", at(space_origin=None) + line + "\n")
    assert cost(lambda: loads_or_refuses(path))[0] < 2
