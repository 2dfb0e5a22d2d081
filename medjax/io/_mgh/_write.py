"""Writing FreeSurfer volumes."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._geometry._grid import direction_of, lps_to_ras, spacing_of
from medjax._image._image import Image
from medjax.io._disk._atomic import atomic_file
from medjax.io._disk._axes import trailing_axes
from medjax.io._disk._blocks import file_blocks, write_blocks
from medjax.io._disk._elements import storable
from medjax.io._disk._passed_on import extra_of
from medjax.io._disk._stream import Codec
from medjax.io._mgh._describe import DATA_OFFSET, DTYPES, HEADER, TIMES

__all__ = ["write"]

_CODES = {dtype: code for code, dtype in DTYPES.items()}
_MOST = 2**31 - 1


def write(image: Image, path: Path, *, compress: bool) -> None:
    """Writes a single image; the name says whether it is compressed.

    bool becomes uint8, int8 becomes int16, and half precision float32. The geometry is rounded to float32.

    Raises:
        UnsupportedFileError: the format cannot hold the voxel type, the axes or a size.
    """
    voxels = storable(path, image.voxels)
    voxels = voxels.astype(np.int16) if voxels.dtype == np.int8 else voxels
    if voxels.dtype.newbyteorder("=") not in _CODES:
        known = ", ".join(map(str, _CODES))
        raise UnsupportedFileError(path, f"has no voxel type {voxels.dtype}", f"convert the voxels to one of {known}")
    if voxels.ndim > 4 or max(voxels.shape) > _MOST:
        raise UnsupportedFileError(path, f"holds frames of three axes, not voxels of shape {voxels.shape}")
    code = _CODES[voxels.dtype.newbyteorder("=")]
    head = _header(image, code).ljust(DATA_OFFSET, b"\0")
    codec: Codec | None = "gzip" if path.suffix.lower() in (".mgz", ".gz") else None
    parts = [lambda: head], file_blocks(voxels, range(voxels.ndim), ">"), [lambda: _times(image)]
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        write_blocks(file, codec, itertools.chain(*parts))


def _header(image: Image, code: int) -> bytes:
    ras, size = lps_to_ras(image.affine), np.array(image.shape, np.float64)
    center = ras[:3, :3] @ (size / 2) + ras[:3, 3]
    dof = extra_of(image.metadata).get("dof", 0)
    return HEADER.pack(
        *(1, *image.shape, *(image.channels or (1,)), code, dof if isinstance(dof, int) else 0, 1),
        *(*spacing_of(ras), *direction_of(ras).T.ravel(), *center),
    )


def _times(image: Image) -> bytes:
    """The times of a source of this format. The step of frames is in ms, whatever format the source has."""
    extra: Mapping[str, Any] = extra_of(image.metadata)
    is_own = "goodRASFlag" in extra
    values = [extra.get(name) if is_own else None for name in TIMES]
    axes = trailing_axes(image)
    seconds = axes[0].seconds if axes and axes[0].meaning == "time" else None
    if seconds is not None:
        values[0] = 1000 * seconds
    known = [value if isinstance(value, int | float) and math.isfinite(value) else 0.0 for value in values]
    return struct.pack(f">{len(TIMES)}f", *known)
