"""Paths: names as long as the file system allows, what is no regular file, and files that other programs replace."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from nifti_bytes import ramp

import medjax as mj
from medjax.io._files import temporary_name

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
