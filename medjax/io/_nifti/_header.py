"""The NIfTI header: its fields as plain Python values, read and written for NIfTI-1 and NIfTI-2, both byte orders.

Source: nifti1.h and nifti2.h, https://nifti.nimh.nih.gov/pub/dist/src/niftilib/ (field order, codes, extensions).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax.io._disk._stream import Content
from medjax.io._disk._warn import warn

__all__ = [
    "CODE_OF",
    "DTYPE_OF",
    "Header",
    "read_extensions",
    "read_header",
    "unpacked",
    "written_extensions",
    "written_header",
]

_NIFTI1 = """
    sizeof_hdr i4, data_type S10, db_name S18, extents i4, session_error i2, regular S1, dim_info u1,
    dim 8i2, intent_p1 f4, intent_p2 f4, intent_p3 f4, intent_code i2, datatype i2, bitpix i2, slice_start i2,
    pixdim 8f4, vox_offset f4, scl_slope f4, scl_inter f4, slice_end i2, slice_code u1, xyzt_units u1,
    cal_max f4, cal_min f4, slice_duration f4, toffset f4, glmax i4, glmin i4, descrip S80, aux_file S24,
    qform_code i2, sform_code i2, quatern_b f4, quatern_c f4, quatern_d f4, qoffset_x f4, qoffset_y f4, qoffset_z f4,
    srow_x 4f4, srow_y 4f4, srow_z 4f4, intent_name S16, magic S4
"""
_NIFTI2 = """
    sizeof_hdr i4, magic S8, datatype i2, bitpix i2, dim 8i8, intent_p1 f8, intent_p2 f8, intent_p3 f8,
    pixdim 8f8, vox_offset i8, scl_slope f8, scl_inter f8, cal_max f8, cal_min f8, slice_duration f8, toffset f8,
    slice_start i8, slice_end i8, descrip S80, aux_file S24, qform_code i4, sform_code i4,
    quatern_b f8, quatern_c f8, quatern_d f8, qoffset_x f8, qoffset_y f8, qoffset_z f8,
    srow_x 4f8, srow_y 4f8, srow_z 4f8, slice_code i4, xyzt_units i4, intent_code i4, intent_name S16, dim_info u1,
    unused_str S15
"""


ByteOrder = Literal["<", ">"]
_BYTE_ORDERS: tuple[ByteOrder, ...] = ("<", ">")


def _layout(text: str) -> np.dtype:
    return np.dtype([tuple(field.split()) for field in text.replace("\n", " ").split(",")])


_STRUCT_CODES = {"u1": "B", "i2": "h", "i4": "i", "i8": "q", "f4": "f", "f8": "d"}
LAYOUT_OF = {348: _layout(_NIFTI1), 540: _layout(_NIFTI2)}
_MAGIC_OF = {348: {"single": b"n+1", "pair": b"ni1"}, 540: {"single": b"n+2\0\r\n\x1a\n", "pair": b"ni2\0\r\n\x1a\n"}}

# Voxel types: numpy dtype and components per voxel.
DTYPE_OF: dict[int, tuple[np.dtype, int]] = {
    code: (np.dtype(name), components)
    for code, name, components in (
        (2, "u1", 1), (4, "i2", 1), (8, "i4", 1), (16, "f4", 1), (32, "c8", 1), (64, "f8", 1), (128, "u1", 3),
        (256, "i1", 1), (512, "u2", 1), (768, "u4", 1), (1024, "i8", 1), (1280, "u8", 1), (1792, "c16", 1),
        (2304, "u1", 4),
    )
}  # fmt: skip
CODE_OF = {dtype: code for code, (dtype, components) in DTYPE_OF.items() if components == 1}
_REFUSED = {0: "unknown", 1: "1-bit", 255: "all", 1536: "128-bit float", 2048: "256-bit complex"}

_CIFTI_EXTENSION = 32

_TRUSTED_BYTES = 2**28  # of extensions


@dataclasses.dataclass(frozen=True)
class Header:
    """A header that was checked.

    Attributes:
        path: The file it was read from.
        fields: Every field by its name in nifti1.h: int, float, bytes, or a tuple of numbers.
        byte_order: "<" or ">", of the header and of the voxels.
        shape: `dim[1]` to `dim[dim[0]]`, all positive.
        dtype: Of a voxel's component, in native byte order.
        components: 3 for RGB, 4 for RGBA, else 1.
        vox_offset: Where the voxels start, in bytes.
        is_pair: The voxels are in another file.
    """

    path: Path
    fields: Mapping[str, Any]
    byte_order: ByteOrder
    shape: tuple[int, ...]
    dtype: np.dtype
    components: int
    vox_offset: int
    is_pair: bool

    @property
    def voxel_bytes(self) -> int:
        """How many bytes the voxels take."""
        return math.prod(self.shape) * self.components * self.dtype.itemsize


def read_header(content: Content) -> Header:
    """Reads and checks the header at the start of a file's content.

    Raises:
        ImageFileError: it is not a NIfTI header, or contradicts itself.
        UnsupportedFileError: Analyze 7.5, CIFTI-2, or a voxel type that is not read.
    """
    block, path = content.read(348), content.path
    size, byte_order = _size_and_order(block, path)
    block += content.read(size - 348)
    if len(block) < size:
        raise TruncatedFileError(path, f"header: expected {size} bytes, found {len(block)}")
    fields = unpacked(block, size, byte_order)
    is_pair = _is_pair_of_files(fields, path)
    if 3000 <= fields["intent_code"] < 3100:
        raise UnsupportedFileError(path, f"a CIFTI-2 matrix (intent code {fields['intent_code']}), not a volume")
    dtype, components = _voxel_type(fields, path)
    shape, offset = _shape(fields, path), _vox_offset(fields, is_pair, path)
    return Header(path, fields, byte_order, shape, dtype, components, offset, is_pair)


def unpacked(block: bytes, size: int, byte_order: ByteOrder) -> dict[str, Any]:
    """Returns the fields of a header of 348 or 540 bytes as plain Python values."""
    layout, names = _packing(size, byte_order)
    values = layout.unpack(block)
    fields = {
        name: values[at : at + count] if count else values[at].rstrip(b"\0") if is_text else values[at]
        for name, at, count, is_text in names
    }
    fields["sizeof_hdr"] = size
    return fields


@functools.cache
def _packing(size: int, byte_order: ByteOrder) -> tuple[struct.Struct, list[tuple[str, int, int, bool]]]:
    """The layout as `struct` has it. Of each field its name, its first value, its count (0: a single one), is_text.

    `struct` unpacks a header many times as fast as NumPy's records do.
    """
    codes: str = byte_order
    names, at = [], 0
    dtype = LAYOUT_OF[size]
    for name in dtype.names or ():
        field = dtype[name]
        count = math.prod(field.shape) if field.shape else 0
        is_text = field.base.kind == "S"
        codes += f"{field.itemsize}s" if is_text else f"{count or 1}{_STRUCT_CODES[field.base.str[1:]]}"
        names.append((name, at, count, is_text))
        at += count or 1
    return struct.Struct(codes), names


def _size_and_order(block: bytes, path: Path) -> tuple[int, ByteOrder]:
    """Finds version and byte order by `sizeof_hdr`, or by `dim[0]` if that is spoilt but the magic is right."""
    for order in _BYTE_ORDERS:
        size = struct.unpack(order + "i", block[:4])[0] if len(block) >= 4 else 0
        if size in LAYOUT_OF:
            return size, order
    if block[344:347] in (b"n+1", b"ni1"):
        for order in _BYTE_ORDERS:
            if 1 <= struct.unpack(order + "h", block[40:42])[0] <= 7:
                warn(path, f"sizeof_hdr is {struct.unpack('<i', block[:4])[0]}, not 348; read as NIfTI-1 by its magic")
                return 348, order
    raise ImageFileError(path, f"not a NIfTI file: it starts with {block[:4]!r}, expected a header size of 348 or 540")


def _is_pair_of_files(fields: Mapping[str, Any], path: Path) -> bool:
    magic, known = fields["magic"], _MAGIC_OF[fields["sizeof_hdr"]]
    for layout, expected in known.items():
        if magic in (expected, expected.partition(b"\0")[0]):
            return layout == "pair"
    if fields["sizeof_hdr"] == 540 and magic[:3] in (b"n+2", b"ni2"):
        raise ImageFileError(
            path, f"magic is {magic!r}: a transfer in text mode has changed bytes", "copy it in binary mode"
        )
    if not magic and fields["sizeof_hdr"] == 348:
        raise UnsupportedFileError(
            path,
            "an Analyze 7.5 header (no NIfTI magic), which does not say where left and right are",
            "convert it to NIfTI with a program that knows how it was made",
        )
    raise ImageFileError(path, f"not a NIfTI file: magic is {magic!r}, expected one of {sorted(known.values())}")


def _voxel_type(fields: Mapping[str, Any], path: Path) -> tuple[np.dtype, int]:
    code, bits = fields["datatype"], fields["bitpix"]
    if code in _REFUSED:
        raise UnsupportedFileError(path, f"voxels of NIfTI datatype {code} ({_REFUSED[code]}) are not read")
    if code not in DTYPE_OF:
        raise ImageFileError(path, f"datatype is {code}, expected one of {sorted(DTYPE_OF)}")
    dtype, components = DTYPE_OF[code]
    if bits != 8 * dtype.itemsize * components:
        warn(path, f"bitpix is {bits}, but datatype {code} has {8 * dtype.itemsize * components}; read by the datatype")
    return dtype, components


def _shape(fields: Mapping[str, Any], path: Path) -> tuple[int, ...]:
    rank, *sizes = fields["dim"]
    if not 1 <= rank <= 7:
        raise ImageFileError(path, f"dim[0] is {rank}, expected 1 to 7 axes")
    if min(sizes[:rank]) < 1:
        raise ImageFileError(path, f"dim is {list(fields['dim'])}: the first {rank} sizes must be positive")
    return tuple(sizes[:rank])


def _vox_offset(fields: Mapping[str, Any], is_pair: bool, path: Path) -> int:
    offset, least = fields["vox_offset"], 0 if is_pair else fields["sizeof_hdr"] + 4
    if not (math.isfinite(offset) and offset == int(offset) and offset >= least):
        raise ImageFileError(path, f"vox_offset is {offset:g}, expected a whole number of at least {least}")
    return int(offset)


def read_extensions(content: Content, header: Header) -> list[tuple[int, bytes]]:
    """Reads the extensions, `(code, content)`. A single file is then at its first voxel.

    Raises:
        ImageFileError: an extension claims more bytes than there are.
        UnsupportedFileError: one of them makes the file a CIFTI-2 matrix.
    """
    flag = content.read(4)
    until = header.vox_offset if not header.is_pair else content.position + 2**26
    if flag[:1] in (b"", b"\0"):
        content.skip(until - content.position)
        return []
    if until - content.position > _TRUSTED_BYTES:
        content.check_claim(until - content.position, "extensions")
    block = content.read(until - content.position)
    extensions = list(_split_extensions(block, header))
    if any(code == _CIFTI_EXTENSION for code, _ in extensions):
        raise UnsupportedFileError(header.path, "a CIFTI-2 matrix (extension code 32), not a volume")
    return extensions


def _split_extensions(block: bytes, header: Header) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 8 <= len(block):
        size, code = struct.unpack_from(header.byte_order + "2i", block, at)
        if size == 0:  # padding
            break
        if size < 8 or at + size > len(block):
            raise ImageFileError(
                header.path, f"extension {len(found)} claims {size} bytes, expected 8 to {len(block) - at}"
            )
        found.append((code, block[at + 8 : at + size]))
        at += size
    return found


def written_header(fields: Mapping[str, Any], *, size: int, is_pair: bool, vox_offset: int = 0) -> bytes:
    """Packs fields into a little-endian header of 348 or 540 bytes. Fields that are not given are zero.

    Raises:
        ValueError: a value does not fit its field.
    """
    record = np.zeros((), LAYOUT_OF[size].newbyteorder("<"))
    magic = _MAGIC_OF[size]["pair" if is_pair else "single"]
    for name, value in {**fields, "sizeof_hdr": size, "magic": magic, "vox_offset": vox_offset}.items():
        kind = record.dtype[name].base
        value = value.encode("utf-8") if isinstance(value, str) else value
        if kind.kind == "S" and len(value) > kind.itemsize:
            raise ValueError(f"NIfTI's {name} holds {kind.itemsize} bytes, got {len(value)}")
        try:
            record[name] = value
        except (OverflowError, TypeError, ValueError):
            raise ValueError(f"NIfTI's {name} cannot hold {value!r}") from None
    if size == 348:
        record["regular"] = b"r"  # Analyze readers look for it
    return record.tobytes()


def written_extensions(extensions: list[tuple[int, bytes]]) -> bytes:
    """Packs the four flag bytes and the extensions, each padded to a multiple of 16 bytes."""
    packed = b"\1\0\0\0" if extensions else bytes(4)
    for code, content in extensions:
        size = -(-(len(content) + 8) // 16) * 16
        packed += struct.pack("<2i", size, code) + content.ljust(size - 8, b"\0")
    return packed
