"""Images and checks that the tests of the HDF5 store share."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import Any

import numpy as np

import medjax as mj

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
# Not a rotation: the store keeps sheared geometry too. Entries without a short decimal form show any rounding.
AFFINE = np.array(
    [[0.7, 0.31 / 3, -0.2, -81.3], [-0.1, 1.9, 0.25 / 7, 47.1], [0.13, 0.2, 3.1 / 1.1, -1e3 / 3], [0, 0, 0, 1.0]]
)
METADATA = mj.Metadata(
    modality="MR",
    subtype="T1",
    patient_id="anonymous",
    acquisition_time=dt.datetime(2024, 2, 29, 23, 59, 58, 123456),
    source="scan.nii",
    is_contrast_administered=False,
    display={"window": [40.0, 400.0]},
    extra={"Überschrift": "größer", "values": [1, 2.5, None, {"deep": True}]},
)


def voxels_of(dtype: str, shape: tuple[int, ...] = (5, 4, 3), seed: int = 0) -> np.ndarray:
    """Every bit pattern of a dtype is drawn, so NaN, infinities and extremes are among them."""
    rng = np.random.default_rng(seed)
    if dtype == "?":
        return rng.integers(0, 2, shape).astype(bool)
    width = np.dtype(dtype).itemsize
    return rng.integers(0, 256, (*shape, width), dtype=np.uint8).view(dtype)[..., 0]


def image_of(dtype: str = "i2", shape: tuple[int, ...] = (5, 4, 3), **options: Any) -> mj.Image:
    given: dict[str, Any] = {"affine": AFFINE, "metadata": METADATA, **options}
    return mj.Image.from_array(voxels_of(dtype, shape), **given)


def assert_same(found: mj.Image, wanted: mj.Image) -> None:
    assert found.dtype == wanted.dtype
    assert np.ascontiguousarray(found.voxels).tobytes() == np.ascontiguousarray(wanted.voxels).tobytes()
    assert found.voxels.shape == wanted.voxels.shape
    assert np.asarray(found.affine).tolist() == np.asarray(wanted.affine).tolist()  # exactly: float64 is stored
    assert found.kind == wanted.kind
    assert found.metadata == wanted.metadata


def in_other_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
