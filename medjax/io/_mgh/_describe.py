"""What the header of a FreeSurfer volume says of the image, without its voxels."""

from __future__ import annotations

import dataclasses
import io
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax._geometry._grid import lps_to_ras
from medjax._image._metadata import Metadata
from medjax.io._disk._elements import checked_affine
from medjax.io._disk._image_header import ImageHeader, header_from
from medjax.io._disk._opened import opened
from medjax.io._disk._stream import Content
from medjax.io._disk._warn import warn

__all__ = [
    "DATA_OFFSET",
    "DTYPES",
    "HEADER",
    "TIMES",
    "Described",
    "describe",
    "inspect",
    "inspect_file",
    "times_after",
]

# version, dims, type, dof, goodRASFlag, delta, Mdc, Pxyz_c
HEADER = struct.Struct(">i4i2ih3f9f3f")
DATA_OFFSET = 284
DTYPES = {code: np.dtype(name) for code, name in ((0, "u1"), (1, "i4"), (3, "f4"), (4, "i2"), (10, "u2"))}

# After the voxels: ms, radians, ms, ms, mm.
TIMES = ("tr", "flip_angle", "te", "ti", "fov")

_DEFAULT_DIRECTIONS = (-1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Described:
    """A header that was read.

    Attributes:
        shape: The image's axes: `(i, j, k)`, and the frames where there are several.
        dtype: Of the voxels, native.
        affine: Index to LPS mm.
        extra: The fields by nibabel's names.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    affine: np.ndarray
    extra: Mapping[str, Any]

    @property
    def voxel_bytes(self) -> int:
        """How many bytes the voxels take."""
        return math.prod(self.shape) * self.dtype.itemsize


def describe(content: Content) -> Described:
    """Reads and checks the header at the start of a file's content. The content is then at its first voxel.

    Raises:
        ImageFileError: it is not such a header, or holds no geometry.
        UnsupportedFileError: it has voxels of a type that is not read.
    """
    path, block = content.path, content.read(DATA_OFFSET)
    if len(block) < DATA_OFFSET:
        raise TruncatedFileError(path, f"header: expected {DATA_OFFSET} bytes, found {len(block)}")
    version, *rest = HEADER.unpack_from(block)
    dims, (code, dof, is_placed), geometry = tuple(rest[:4]), rest[4:7], rest[7:]
    if version != 1:
        raise ImageFileError(path, f"not a FreeSurfer volume: its version is {version}, expected 1")
    if min(dims) < 1:
        raise ImageFileError(path, f"its sizes are {list(dims)}, expected four positive numbers")
    if code not in DTYPES:
        raise UnsupportedFileError(path, f"voxels of FreeSurfer's type {code} are not read, but {sorted(DTYPES)} are")
    if is_placed <= 0:
        warn(path, "states no geometry (goodRASFlag is not set); taken as FreeSurfer's default, coronal with 1 mm")
        geometry = [1.0, 1.0, 1.0, *_DEFAULT_DIRECTIONS, 0.0, 0.0, 0.0]
    extra: dict[str, Any] = {
        "version": version,
        "dims": list(dims),
        "type": code,
        "dof": dof,
        "goodRASFlag": is_placed,
        "delta": list(geometry[:3]),
        "Mdc": [list(geometry[at : at + 3]) for at in (3, 6, 9)],
        "Pxyz_c": list(geometry[12:]),
    }
    shape = dims if dims[3] > 1 else dims[:3]
    return Described(shape, DTYPES[code], _affine(path, dims[:3], geometry), extra)


def _affine(path: Path, size: tuple[int, ...], geometry: list[float]) -> np.ndarray:
    """Index to LPS mm; `Pxyz_c` is the position of index `size / 2`."""
    numbers = np.array(geometry, np.float64)
    ras = np.eye(4)
    with np.errstate(over="ignore", invalid="ignore"):  # checked_affine finds it
        ras[:3, :3] = numbers[3:12].reshape(3, 3).T * numbers[:3]
        ras[:3, 3] = numbers[12:] - ras[:3, :3] @ (np.array(size, np.float64) / 2)
        return checked_affine(path, lps_to_ras(ras))


def times_after(content: Content) -> dict[str, float]:
    """Reads the times of the sequence after the last voxel, those that are stated."""
    block = content.read(4 * len(TIMES))
    values = struct.unpack(f">{len(block) // 4}f", block[: len(block) // 4 * 4])
    stated = zip(TIMES, values, strict=False)
    return {name: value for name, value in stated if value != 0 and math.isfinite(value)}


def inspect(path: Path) -> ImageHeader:
    """Reads the header of a FreeSurfer volume."""
    with opened(path) as file:
        return inspect_file(file, path)


def inspect_file(file: io.BufferedReader, path: Path) -> ImageHeader:
    """Reads the header of an open file, which is closed. Of a .mgh also the times, which lie after the voxels."""
    with Content(path, file=file) as content:
        found = describe(content)
        is_plain = content.codec is None
        if is_plain:
            content.skip(found.voxel_bytes)
        metadata = Metadata(extra={**found.extra, **(times_after(content) if is_plain else {})})
    undecided = () if is_plain else ("metadata",)
    return header_from(found.shape, found.affine, found.dtype, "intensity", metadata, undecided)
