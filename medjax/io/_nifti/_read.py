"""Reading NIfTI: header, extensions, voxels, geometry, metadata."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medjax._errors import ImageFileError
from medjax._image._image import Image, Kind, image_from
from medjax.io._disk._blocks import in_order
from medjax.io._disk._excerpt import Excerpt, affine_of_box
from medjax.io._disk._opened import check_same, opened
from medjax.io._disk._stream import Content
from medjax.io._disk._warn import warn
from medjax.io._nifti._describe import describe, is_scaled, scaled_types
from medjax.io._nifti._excerpt import read_part
from medjax.io._nifti._extra import LABEL_INTENT
from medjax.io._nifti._header import Header
from medjax.io._nifti._names import find_header, find_voxels
from medjax.io._nifti._values import VALUES_KEY, describes_values, summary

__all__ = ["read", "read_content", "read_excerpt"]

_SLAB = 2**18
# Adjacent bytes in C order that come from one piece, and rows that are turned at once (measured).
_RUN_BYTES = 16
_TILE = 64


def read(path: Path) -> Image:
    """Reads a NIfTI file, or a pair by either of its names.

    The sform is used before the qform. A warning tells of a difference between them. Without either the axes are taken
    as LPS, with a warning. Lengths become mm. Integers that are not scaled keep their dtype. Scaled voxels are computed
    in float64 and returned as float32, or as float64 where that is stored or float32 would overflow. Complex voxels
    stay complex. RGB, RGBA and time become trailing channels. A 5-D file without time gives channels only.

    Raises:
        ImageFileError: the file is damaged, foreign or contradicts itself; a subclass says which.
    """
    header_path = find_header(path)
    with opened(header_path) as file, Content(header_path, file=file) as content:
        return read_content(content, file)


def read_excerpt(path: Path, part: Excerpt) -> Image:
    """Reads a part of a NIfTI file or of a pair as `read` reads the whole, with memory for the part alone.

    Where the voxels decide the kind or the dtype, those of the part do.
    """
    header_path = find_header(path)
    with opened(header_path) as file, Content(header_path, file=file) as content:
        return read_content(content, file, part=part)


def read_content(
    content: Content,
    file: io.BufferedReader | None = None,
    affine_ras: np.ndarray | None = None,
    part: Excerpt | None = None,
) -> Image:
    """Reads the content of a file.

    Args:
        content: A whole single file, or the header of a pair.
        file: The header's file of a pair. It must still be in its place when the voxels are read.
        affine_ras: The affine in float64, in the file's unit of length. It is used if the header's is its rounding.
        part: The part to read, if not all.
    """
    described = describe(content, affine_ras)
    header, extra = described.header, dict(described.metadata.extra)
    with _at_voxels(content, header) as voxels_content:
        if part is None:
            # axes of size 1 come and go: no value moves
            stored = _read_voxels(voxels_content, header).reshape(described.shape, order="F")
        else:
            stored = read_part(voxels_content, described, part)
    if header.is_pair and file is not None:
        check_same(file, header.path)
    voxels, kind = _as_kind(_scaled(stored, header), header)
    affine = described.affine if part is None else affine_of_box(described.affine, part.spans(described.shape[:3]))
    if describes_values(extra):
        extra[VALUES_KEY] = summary(voxels) if part is None else []  # a part has other values than the source
    return image_from(voxels, affine=affine, kind=kind, metadata=described.metadata.replace(extra=extra))


@contextlib.contextmanager
def _at_voxels(content: Content, header: Header) -> Iterator[Content]:
    """The content that holds the voxels, at the first of them: the header's own, or the other file of a pair."""
    if not header.is_pair:
        yield content
        return
    with Content(find_voxels(header.path)) as other:
        other.skip(header.vox_offset)
        yield other


def _read_voxels(content: Content, header: Header) -> np.ndarray:
    """Reads the voxels in the axes of the file, in native byte order. Bytes after them only cause a warning."""
    is_turned = content.codec == "gzip" and header.components == 1 and len(header.shape) == 3 and not is_scaled(header)
    voxels = _read_turned(content, header) if is_turned else _read_as_stored(content, header)
    following = content.finish()
    if following:
        warn(content.path, f"{following} bytes follow the voxels and are ignored")
    return voxels


def _read_turned(content: Content, header: Header) -> np.ndarray:
    """Reads voxels into C order, which JAX needs. Threads turn some planes while the next ones are decompressed."""
    stored = header.dtype.newbyteorder(header.byte_order)
    voxels = content.empty(header.voxel_bytes).view(header.dtype).reshape(header.shape)
    plane = header.voxel_bytes // header.shape[2]
    planes = max(1, _RUN_BYTES // stored.itemsize, _SLAB // plane)

    def turn(first: int, piece: np.ndarray) -> None:
        slab = piece.view(stored).reshape((*header.shape[:2], -1), order="F")
        for row in range(0, len(slab), _TILE):
            voxels[row : row + _TILE, :, first : first + planes] = slab[row : row + _TILE]

    pieces = content.read_pieces(header.voxel_bytes, planes * plane)
    for _ in in_order(functools.partial(turn, n * planes, piece) for n, piece in enumerate(pieces)):
        pass
    return voxels


def _read_as_stored(content: Content, header: Header) -> np.ndarray:
    flat = content.read_array(header.voxel_bytes).view(header.dtype.newbyteorder(header.byte_order))
    if not flat.dtype.isnative:
        flat = flat.byteswap(inplace=True).view(header.dtype)
    if header.components == 1:
        return flat.reshape(header.shape, order="F")
    return np.moveaxis(flat.reshape((header.components, *header.shape), order="F"), 0, -1)


def _scaled(voxels: np.ndarray, header: Header) -> np.ndarray:
    """Applies `scl_slope * voxels + scl_inter`."""
    if not is_scaled(header):
        return voxels
    slope, inter = header.fields["scl_slope"], header.fields["scl_inter"]
    wide, usual = scaled_types(voxels.dtype)
    for dtype in (usual, wide) if voxels.dtype != wide else (wide,):
        result = _scaled_by_slab(voxels, slope, inter, wide, dtype)
        if result is not None:
            return result
    raise ImageFileError(header.path, f"voxels * {slope:g} + {inter:g} are beyond {wide}")


def _scaled_by_slab(
    voxels: np.ndarray, slope: float, inter: float, wide: np.dtype, dtype: np.dtype
) -> np.ndarray | None:
    """Computes in the wide dtype, a few megabytes at a time. Returns `None` if a finite number overflows."""
    result = np.empty(voxels.shape, dtype, order="F")
    source, target = voxels.reshape(-1, order="F"), result.reshape(-1, order="F")
    with np.errstate(over="raise", invalid="ignore", under="ignore"):
        for start in range(0, source.size, _SLAB):
            part = slice(start, start + _SLAB)
            try:
                target[part] = source[part].astype(wide) * slope + inter
            except FloatingPointError:
                return None
    return result


def _as_kind(voxels: np.ndarray, header: Header) -> tuple[np.ndarray, Kind]:
    """A label intent makes a label image. Labels that are stored as whole floating-point numbers become integers."""
    if header.fields["intent_code"] != LABEL_INTENT:
        return voxels, "intensity"
    if voxels.dtype.kind in "iu":
        return voxels, "label"
    if voxels.dtype.kind == "f" and np.isfinite(voxels).all() and np.abs(voxels).max() < 2**31:
        labels = voxels.astype(np.int32)
        if np.array_equal(labels, voxels):
            warn(header.path, f"labels (intent 1002) are stored or scaled as {voxels.dtype}; read as int32, exactly")
            return labels, "label"
    warn(header.path, f"intent 1002 says labels, but the voxels ({voxels.dtype}) are not integers; read as intensities")
    return voxels, "intensity"
