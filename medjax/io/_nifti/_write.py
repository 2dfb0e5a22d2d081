"""Writing NIfTI: one file or a pair, NIfTI-1 unless the image needs NIfTI-2 or came from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from medjax._image import Image
from medjax.io._errors import UnsupportedFileError
from medjax.io._files import atomic_file, atomic_files
from medjax.io._gzip import Codec, writer
from medjax.io._nifti._fields import header_of
from medjax.io._nifti._header import CODE_OF
from medjax.io._nifti._names import pair_names

__all__ = ["write"]

_CODECS: dict[str, Codec] = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}
_BLOCK_BYTES = 2**24


def write(image: Image, path: Path, *, compress: bool) -> None:
    """Writes a single image; the name says whether as one file or as a pair, and how it is compressed.

    Voxels are stored as they are, never scaled: bool becomes uint8, and floating-point types of 8 or 16 bits float32.

    Raises:
        UnsupportedFileError: NIfTI cannot hold the voxel type, the number of axes, or a field of `metadata.extra`.
    """
    codec = _CODECS.get(path.suffix.lower())
    is_pair = (path.with_suffix("") if codec else path).suffix.lower() in (".hdr", ".img")
    voxels = _storable(image.voxels, path)
    header, components = header_of(image, voxels.dtype, path, is_pair=is_pair)
    if components > 1:  # of one voxel, side by side
        voxels = np.moveaxis(voxels, -1, 0)
    if not is_pair:
        with atomic_file(path) as temporary, _open(temporary, codec) as stream:
            stream.write(header)
            _write_voxels(stream, voxels)
        return
    header_path, voxels_path = pair_names(path)
    with atomic_files(voxels_path, header_path) as (voxels_file, header_file):
        with _open(voxels_file, codec) as stream:
            _write_voxels(stream, voxels)
        with _open(header_file, codec) as stream:
            stream.write(header)


@contextlib.contextmanager
def _open(path: Path, codec: Codec | None) -> Iterator[Any]:
    with path.open("wb") as file, writer(file, codec) as stream:
        yield stream


def _write_voxels(stream: Any, voxels: np.ndarray) -> None:
    """Writes voxels with the first axis running fastest, little-endian; a thread keeps one block ahead."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        ready: Future[np.ndarray] | None = None
        for block in _blocks(voxels):
            coming = pool.submit(_in_file_order, block)
            if ready is not None:
                stream.write(ready.result().data)
            ready = coming
        if ready is not None:
            stream.write(ready.result().data)


def _blocks(voxels: np.ndarray) -> Iterator[np.ndarray]:
    """Cuts voxels into pieces of some megabytes that follow each other in the file."""
    if voxels.ndim == 1 or voxels.nbytes <= _BLOCK_BYTES:
        yield voxels
        return
    step = max(1, voxels.shape[-1] * _BLOCK_BYTES // voxels.nbytes)
    for start in range(0, voxels.shape[-1], step):
        part = voxels[..., start : start + step]
        yield from _blocks(part[..., 0]) if part.shape[-1] == 1 else (part,)


def _in_file_order(voxels: np.ndarray) -> np.ndarray:
    """Flattens to bytes, some rows at a time, which keeps to the cache (2.3x faster than at once)."""
    turned = voxels
    if not voxels.flags.f_contiguous:
        turned = np.empty(voxels.shape, voxels.dtype, order="F")
        rows = max(16, len(voxels) // 64)
        for row in range(0, len(voxels), rows):
            turned[row : row + rows] = voxels[row : row + rows]
    return turned.reshape(-1, order="F").astype(voxels.dtype.newbyteorder("<"), copy=False).view(np.uint8)


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
