"""Writing NIfTI: one file or a pair, NIfTI-1 unless the image needs NIfTI-2 or came from it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._image._image import Image
from medjax.io._disk._atomic import atomic_file, atomic_files
from medjax.io._disk._blocks import file_blocks, write_blocks
from medjax.io._disk._stream import Codec
from medjax.io._nifti._fields import header_of
from medjax.io._nifti._header import CODE_OF
from medjax.io._nifti._names import check_free, pair_names

__all__ = ["write", "written"]

_CODECS: dict[str, Codec] = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}


def write(image: Image, path: Path, *, compress: bool) -> None:
    """Writes a single image. The name says whether as one file or as a pair, and how it is compressed.

    Voxels are never scaled. bool becomes uint8, and floating-point types of 8 or 16 bits become float32.

    Raises:
        UnsupportedFileError: NIfTI cannot hold the voxel type, the number of axes, or a field of `metadata.extra`.
    """
    codec = _CODECS.get(path.suffix.lower())
    is_pair = (path.with_suffix("") if codec else path).suffix.lower() in (".hdr", ".img")
    header, voxels = written(image, path, is_pair=is_pair)
    blocks, head = file_blocks(voxels, range(voxels.ndim)), [lambda: header]
    if not is_pair:
        with atomic_file(path) as temporary:
            _write(temporary, codec, head, blocks)
        return
    check_free(path)
    header_path, voxels_path = pair_names(path)
    with atomic_files(voxels_path, header_path) as (voxels_file, header_file):
        _write(voxels_file, codec, blocks)
        _write(header_file, codec, head)


def written(image: Image, path: Path, *, is_pair: bool) -> tuple[bytes, np.ndarray]:
    """Returns the header with its extensions, up to the first voxel of a single file, and the voxels in file axes."""
    voxels = _storable(image.voxels, path)
    header, components = header_of(image, voxels.dtype, path, is_pair=is_pair)
    return header, np.moveaxis(voxels, -1, 0) if components > 1 else voxels  # of one voxel, side by side


def _write(path: Path, codec: Codec | None, *parts: Any) -> None:
    with path.open("wb") as file:
        write_blocks(file, codec, itertools.chain(*parts))


def _storable(voxels: np.ndarray, path: Path) -> np.ndarray:
    """Returns the voxels in a type that NIfTI has, every value kept."""
    dtype = voxels.dtype.newbyteorder("=")
    if dtype in CODE_OF:
        return voxels
    if dtype.kind == "b":
        return voxels.view(np.uint8)
    if np.can_cast(dtype, np.float32, "safe"):  # float16; bfloat16 and the 8-bit floats, which ml_dtypes adds
        return voxels.astype(np.float32)
    known = ", ".join(str(each) for each in CODE_OF)
    raise UnsupportedFileError(path, f"NIfTI has no voxel type {dtype}", f"convert the voxels to one of {known}")
