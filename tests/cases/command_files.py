"""Small files for the tests of the command line, and a way to call it in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import medjax as mj

# Private: the command line in this process; a process of its own takes a second each.
from medjax._cli._main import main

TURN = [[1, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]]  # orthonormal in decimals


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Commands:
    """Runs commands in a folder, and keeps what they say apart."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]):
        self.folder, self._capture = folder, capture

    def __call__(self, line: str, *more: str) -> Ran:
        """Runs the words of a line, and further words, in which spaces may be."""
        self._capture.readouterr()
        code = main([*line.split(), *more])
        return Ran(code, *self._capture.readouterr())

    def load(self, name: str, **options: Any) -> mj.Image:
        return mj.load_image(self.folder / name, **options)


def scan(shape: tuple[int, int, int] = (12, 10, 6), dtype: Any = np.int16) -> mj.Image:
    """A made CT, oblique; its values say where they are."""
    i, j, k = np.indices(shape)
    voxels = (10 * i + 100 * j - 50 * k - 500).astype(dtype)
    return mj.Image.from_array(voxels, spacing=(1, 1.5, 2), origin=(-3, 4, 50), direction=TURN)


def write_files(folder: Path) -> None:
    """ct.nii.gz, other.nii.gz (its grid is another), seg.nii.gz on the grid of ct, and three kinds of bad files."""
    ct = scan()
    mj.save_image(ct, folder / "ct.nii.gz")
    mj.save_image(scan((8, 8, 8)), folder / "other.nii.gz")
    labels = np.zeros(ct.shape, np.uint8)
    labels[2:6, 2:6, 1:4] = 1
    labels[7:10, 4:8, 2:5] = 2
    mj.save_image(mj.Image.from_array(labels, affine=ct.affine, kind="label"), folder / "seg.nii.gz")
    (folder / "garbage.nii.gz").write_bytes(b"this is no image" * 40)
    (folder / "empty.nii").write_bytes(b"")
    mj.save_image(ct, folder / "whole.nii")
    (folder / "short.nii").write_bytes((folder / "whole.nii").read_bytes()[:-100])
    (folder / "file").write_text("in the place of a folder")


@pytest.fixture
def medjax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """Calls commands in a folder of small files."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDJAX_CACHE", str(tmp_path / "cache"))
    return Commands(tmp_path, capsys)
