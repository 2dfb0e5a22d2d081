"""MetaImage, .mha and .mhd: reader and writer of our own, equal to ITK's MetaIO wherever that is right.

Rules, checked against SimpleITK 2.5.7 (https://itk.org/Wiki/ITK/MetaIO/Documentation):

- TransformMatrix is written axis after axis: row k of the text is the world direction of index axis k, the transpose of
  ITK's direction. World is LPS+; CenterOfRotation and AnatomicalOrientation have no effect on it. Columns that are not
  at right angles are kept by ITK and here.
- TransformMatrix goes before Rotation before Orientation; Origin before Offset before Position; ElementSpacing before
  ElementSize. A key that is repeated counts where it comes last.
- Voxels: the first index is fastest; with ElementNumberOfChannels the channel is faster still, here the last array axis.
  A fourth dimension (time) becomes a trailing axis before the channels; its spacing is `extra["ElementSpacing"][3]`,
  written in seconds as ITK has it, with the unit in a key TimeUnit that other readers pass over.
- ElementToIntensityFunctionSlope and Offset are not applied, as in ITK; a warning says so.
- DistanceUnits other than mm are converted, where ITK takes the numbers as mm; a warning says so.

`metadata.extra` holds the header by its keys, numbers as numbers. Written files keep what names nobody (`_passed_on`) in
MedjaxMetadata keys, which other readers pass over, and the keys of a MetaImage source that are not of the format.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._geometry._grid import direction_of, origin_of, spacing_of
from medjax._geometry._orientation import orientation_of
from medjax._image._image import Image, image_from
from medjax._image._metadata import Metadata
from medjax.io._disk._atomic import atomic_file
from medjax.io._disk._axes import Axis, trailing_axes
from medjax.io._disk._beside import data_name, detached
from medjax.io._disk._blocks import file_blocks, write_blocks
from medjax.io._disk._elements import (
    Encoding,
    Part,
    checked_affine,
    numbered,
    read_elements,
    sibling,
    storable,
)
from medjax.io._disk._opened import check_same, opened
from medjax.io._disk._passed_on import KIND_KEY, METADATA_KEY, kept_kind, metadata_from_json, metadata_to_json
from medjax.io._disk._warn import warn

__all__ = ["described", "geometry_lines", "joined", "kept_lines", "layout", "read", "write"]

# Sizes in files are fixed, whatever the machine: MET_LONG has 4 bytes (MetaIO metaTypes.h).
_DTYPES = {
    "MET_CHAR": "i1",
    "MET_ASCII_CHAR": "i1",
    "MET_STRING": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_FLOAT_MATRIX": "f4",
    "MET_DOUBLE": "f8",
}
_ONLY_READ = ("MET_ASCII_CHAR", "MET_STRING", "MET_LONG", "MET_ULONG", "MET_FLOAT_MATRIX")
_TYPE_NAMES = {np.dtype(code): name for name, code in _DTYPES.items() if name not in _ONLY_READ}

_MATRIX_KEYS = ("TransformMatrix", "Rotation", "Orientation")
_ORIGIN_KEYS = ("Origin", "Offset", "Position")
_SPACING_KEYS = ("ElementSpacing", "ElementSize")
_BYTE_ORDER_KEYS = ("ElementByteOrderMSB", "BinaryDataByteOrderMSB")
_SLOPE_KEY, _INTERCEPT_KEY = "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"
_INTEGER_KEYS = {"NDims", "DimSize", "HeaderSize", "ElementNumberOfChannels", "ElementNBits"}
_INTEGER_KEYS |= {"CompressedDataSize", "CompressionLevel"}
_FLOAT_KEYS = {*_MATRIX_KEYS, *_ORIGIN_KEYS, *_SPACING_KEYS, "CenterOfRotation", "ElementMin", "ElementMax"}
_FLOAT_KEYS |= {_SLOPE_KEY, _INTERCEPT_KEY}
_BOOLEAN_KEYS = {"BinaryData", "CompressedData", *_BYTE_ORDER_KEYS}
_TEXT_KEYS = {"ObjectType", "AnatomicalOrientation", "DistanceUnits", "Modality", "ElementType", "ElementDataFile"}
# Not of MetaIO, which passes over it: the unit of the fourth dimension's spacing.
_TEXT_KEYS |= {"TimeUnit"}
_FORMAT_KEYS = _INTEGER_KEYS | _FLOAT_KEYS | _BOOLEAN_KEYS | _TEXT_KEYS

_MILLIMETRES = {"mm": 1.0, "um": 1e-3, "cm": 10.0}
_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}

_MAX_DIMENSIONS = 10  # MetaIO's own limit
_MAX_HEADER_BYTES = 2**26
# MetaIO reads a value into 32768 bytes and fails on longer ones (seen); short lines suit other readers too.
_LINE_BYTES = 16000


@dataclasses.dataclass(frozen=True)
class _Header:
    """The fields as they stand, the text after `ElementDataFile = LIST`, and the bytes up to the data."""

    path: Path
    fields: Mapping[str, str]
    names: tuple[str, ...]
    size: int

    def first(self, *keys: str) -> str | None:
        return next((self.fields[key] for key in keys if key in self.fields), None)

    def flag(self, *keys: str, default: bool = False) -> bool:
        value = self.first(*keys)
        return default if not value else value[0] in "Tt1"

    def integers(self, key: str, count: int) -> list[int]:
        numbers = self.floats(key, count=count)
        if numbers is None:
            raise ImageFileError(self.path, f"the header lacks {key}")
        if any(number != int(number) for number in numbers):
            raise ImageFileError(self.path, f"{key} must be whole numbers, got {self.fields[key]!r}")
        return [int(number) for number in numbers]

    def floats(self, *keys: str, count: int) -> list[float] | None:
        text = self.first(*keys)
        if text is None:
            return None
        try:
            numbers = [float(word) for word in text.split(maxsplit=count)[:count]]
        except ValueError:
            numbers = []
        if len(numbers) < count or not all(map(math.isfinite, numbers)):
            raise ImageFileError(self.path, f"{' or '.join(keys)} must hold {count} finite numbers, got {text[:80]!r}")
        return numbers


def read(path: Path) -> Image:
    """Reads a MetaImage; `load_image` calls it."""
    with opened(path) as file:
        return _read(path, file)


def _read(path: Path, file: io.BufferedReader) -> Image:
    header = _read_header(path, file)
    dimensions = header.integers("NDims", 1)[0]
    if not 2 <= dimensions <= _MAX_DIMENSIONS:
        raise UnsupportedFileError(path, f"it has {dimensions} dimensions, expected 2 to {_MAX_DIMENSIONS}")
    sizes = header.integers("DimSize", dimensions)
    channels = header.integers("ElementNumberOfChannels", 1)[0] if "ElementNumberOfChannels" in header.fields else 1
    if min(*sizes, channels) < 1:
        raise ImageFileError(path, f"DimSize {sizes} with {channels} channels holds no voxels")
    affine = _affine(header, dimensions)
    flat = _read_voxels(header, sizes, channels, file)
    voxels = flat.reshape(channels, *sizes, order="F") if channels > 1 else flat.reshape(sizes, order="F")
    voxels = np.moveaxis(voxels, 0, -1) if channels > 1 else voxels
    voxels = voxels[:, :, None] if dimensions == 2 else voxels
    _warn_of_scaling(header)
    kind = kept_kind(header.fields.get(KIND_KEY), voxels)
    return image_from(voxels, affine=affine, kind=kind, metadata=_metadata(header))


def _read_header(path: Path, file: io.BufferedReader) -> _Header:
    fields: dict[str, str] = {}
    names: tuple[str, ...] = ()
    while "ElementDataFile" not in fields:
        line = file.readline(_MAX_HEADER_BYTES)
        if not line or file.tell() >= _MAX_HEADER_BYTES:
            raise ImageFileError(path, "the header does not end in ElementDataFile")
        if line.strip():
            key, value = _key_and_value(path, line)
            fields[key] = value
    size = file.tell()
    if fields["ElementDataFile"].split()[:1] == ["LIST"]:
        names = tuple(
            line.strip()
            for line in _text(file.read(min(os.fstat(file.fileno()).st_size, _MAX_HEADER_BYTES))).splitlines()
            if line.strip()
        )
    return _Header(path, fields, names, size)


def _key_and_value(path: Path, line: bytes) -> tuple[str, str]:
    separator = re.search(rb"[=:]", line)
    key = line[: separator.start()].strip() if separator else b""
    if separator is None or not key:
        raise ImageFileError(path, f"a header line of {len(line)} bytes is not 'key = value'")
    return _text(key), _text(line[separator.end() :].strip())


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _affine(header: _Header, dimensions: int) -> np.ndarray:
    n = dimensions
    spacing = np.array(header.floats(*_SPACING_KEYS, count=n) or [1.0] * n)
    origin = np.array(header.floats(*_ORIGIN_KEYS, count=n) or [0.0] * n)
    rows = header.floats(*_MATRIX_KEYS, count=n * n)
    turn = np.eye(n) if rows is None else np.array(rows).reshape(n, n).T
    if n > 3 and (turn[:3, 3:].any() or turn[3:, :3].any()):
        raise UnsupportedFileError(header.path, "its TransformMatrix mixes the first three axes with further ones")
    spatial = min(n, 3)
    factor = _to_millimetres(header)
    affine = np.eye(4)
    with np.errstate(over="ignore"):  # found below
        affine[:spatial, :spatial] = (turn * spacing)[:spatial, :spatial] * factor
        affine[:spatial, 3] = origin[:spatial] * factor
    return checked_affine(header.path, affine)


def described(path: Path, fields: Mapping[str, str]) -> tuple[np.ndarray, Metadata]:
    """Returns the affine and the metadata that a MetaImage of these fields has."""
    header = _Header(path, fields, (), 0)
    return _affine(header, int(fields["NDims"])), _metadata(header)


def _to_millimetres(header: _Header) -> float:
    unit = header.fields.get("DistanceUnits", "mm")
    if unit not in _MILLIMETRES:
        warn(header.path, f"its DistanceUnits {unit[:20]!r} are unknown; taken as mm")
    elif unit != "mm":
        warn(header.path, f"its DistanceUnits {unit!r} are converted to mm; ITK takes them as mm")
    return _MILLIMETRES.get(unit, 1.0)


def _read_voxels(header: _Header, sizes: list[int], channels: int, file: io.BufferedReader) -> np.ndarray:
    type_name = header.fields.get("ElementType", "")
    known = _DTYPES.get(type_name.removesuffix("_ARRAY"))
    if known is None:
        raise UnsupportedFileError(header.path, f"its ElementType {type_name[:40]!r} is none of {', '.join(_DTYPES)}")
    dtype = np.dtype(known).newbyteorder(">" if header.flag(*_BYTE_ORDER_KEYS) else "<")
    is_compressed, is_binary = header.flag("CompressedData"), header.flag("BinaryData", default=True)
    # zlib ends by itself: CompressedDataSize is not needed
    encoding: Encoding = "text" if not is_binary else "zlib" if is_compressed else "raw"
    parts = _parts(header, sizes, encoding, file)
    flat = read_elements(parts, dtype, math.prod(sizes) * channels, encoding)
    if parts[0].file is None:
        check_same(file, header.path)
    return flat


def _parts(header: _Header, sizes: list[int], encoding: Encoding, file: io.BufferedReader) -> list[Part]:
    """The files that hold the voxels: this one, a named one, listed ones, or those of a numbered pattern."""
    skipped = header.integers("HeaderSize", 1)[0] if "HeaderSize" in header.fields else 0
    if skipped < -1 or (skipped == -1 and encoding != "raw"):
        raise UnsupportedFileError(header.path, f"its HeaderSize {skipped} does not say where {encoding} data start")
    offset, is_at_end = max(skipped, 0), skipped == -1
    target = header.fields["ElementDataFile"]
    words = target.split()
    if target == "LOCAL":
        if 0 < offset < header.size:
            raise ImageFileError(header.path, f"HeaderSize {offset} is less than the header's {header.size} bytes")
        return [Part(header.path, offset or header.size, is_at_end=is_at_end, file=file)]
    if not words:
        raise ImageFileError(header.path, "its ElementDataFile is empty")
    if words[0] == "LIST":
        files = _listed(header, sizes, words[1:])
    elif "%" in target:
        files = _patterned(header, sizes[-1], words)
    else:
        files = [sibling(header.path, target)]
    return [Part(file, offset, is_at_end=is_at_end) for file in files]


def _listed(header: _Header, sizes: list[int], words: list[str]) -> list[Path]:
    """`LIST` names one file per last index, `LIST 2` one per two-dimensional slice of the image."""
    held = re.match(r"\d{1,2}", words[0]) if words else None
    dimensions = int(held[0]) if held else len(sizes) - 1
    expected = math.prod(sizes[dimensions:])
    if len(header.names) != expected:
        raise ImageFileError(header.path, f"its list names {len(header.names)} data files, DimSize needs {expected}")
    return [sibling(header.path, name) for name in header.names]


def _patterned(header: _Header, count: int, words: list[str]) -> list[Path]:
    """`name_%03d.raw [first [last [step]]]`; a last number or step that is not given follows from the count."""
    try:
        numbers = [int(word) for word in words[1:4]]
    except ValueError:
        raise ImageFileError(header.path, f"data file pattern {' '.join(words)[:100]!r} needs whole numbers") from None
    first = numbers[0] if numbers else 1
    step = numbers[2] if len(numbers) > 2 else 1
    last = numbers[1] if len(numbers) > 1 else first + (count - 1) * step
    found = (last - first) // step + 1 if step > 0 else 0
    if found != count:
        shown = " ".join(words)[:100]
        raise ImageFileError(header.path, f"its pattern {shown!r} names {found} files, DimSize needs {count}")
    return numbered(header.path, words[0], range(first, last + 1, step))


def _warn_of_scaling(header: _Header) -> None:
    slope = header.floats(_SLOPE_KEY, count=1) or [1.0]
    intercept = header.floats(_INTERCEPT_KEY, count=1) or [0.0]
    if slope != [1.0] or intercept != [0.0]:
        message = f"its intensity function {slope[0]:g} * x + {intercept[0]:g} is not applied, as in ITK; see rescale"
        warn(header.path, message)


def _metadata(header: _Header) -> Metadata:
    pieces = [header.fields[key].removeprefix("|").removesuffix("|") for key in _piece_keys(header.fields)]
    kept = metadata_from_json(header.path, "".join(pieces)) if pieces else Metadata()
    extra = {key: _plain(key, text) for key, text in header.fields.items() if not key.startswith("Medjax")}
    modality = kept.modality or _MODALITIES.get(header.fields.get("Modality", ""))
    return kept.replace(modality=modality, extra=extra)


def _piece_keys(fields: Mapping[str, str]) -> list[str]:
    """The keys that hold one long text in pieces: MedjaxMetadata0, MedjaxMetadata1, ... as far as they go."""
    keys: list[str] = []
    while (key := f"{METADATA_KEY}{len(keys)}") in fields:
        keys.append(key)
    return keys


def _plain(key: str, text: str) -> Any:
    """A field as numbers, where it is known to be numbers: one alone, several as a list."""
    if key in _BOOLEAN_KEYS:
        return text[:1] in ("T", "t", "1")
    kind: Any = int if key in _INTEGER_KEYS else float if key in _FLOAT_KEYS else None
    try:
        numbers = [kind(word) for word in text.split()] if kind else []
    except ValueError:
        return text
    if not all(map(math.isfinite, numbers)):  # JSON has no such numbers
        return text
    return (numbers[0] if len(numbers) == 1 else numbers) if numbers else text


def write(image: Image, path: Path, *, compress: bool) -> None:
    """Writes an image as .mha, or as .mhd beside .raw or .zraw; `save_image` calls it."""
    voxels = storable(path, image.voxels)
    dimensions, has_channels = layout(path, voxels.shape, trailing_axes(image))
    axes = [*range(dimensions)]
    content = file_blocks(voxels, [dimensions, *axes] if has_channels else axes)
    packed_bytes = None
    if compress:  # before the header, where its size stands
        packed = io.BytesIO()
        write_blocks(packed, "zlib", content)
        content, packed_bytes = iter([packed.getvalue]), packed.tell()
    lines = _lines(image, path, voxels, dimensions, packed_bytes)
    if path.suffix.lower() != ".mhd":
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            file.write(_text_of([*lines, "ElementDataFile = LOCAL"]))
            write_blocks(file, None, content)
        return
    data_path = path.with_suffix(".zraw" if compress else ".raw")
    head = _text_of([*lines, f"ElementDataFile = {data_name(path, data_path)}"])
    with detached(data_path, path) as (data_temporary, head_temporary):
        with data_temporary.open("wb") as file:
            write_blocks(file, None, content)
        head_temporary.write_bytes(head)


def _source(image: Image) -> Mapping[str, Any]:
    """The header of the file that the image comes from."""
    return image.metadata.extra if isinstance(image.metadata, Metadata) else {}


def _lines(image: Image, path: Path, voxels: np.ndarray, dimensions: int, packed_bytes: int | None) -> list[str]:
    """The header but for its last line, which names the data."""
    return [
        "ObjectType = Image",
        f"NDims = {dimensions}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {packed_bytes is not None}",
        *([] if packed_bytes is None else [f"CompressedDataSize = {packed_bytes}"]),
        *geometry_lines(image.affine, dimensions, _source(image), trailing_axes(image)),
        *kept_lines(path, image),
        f"DimSize = {joined(voxels.shape[:dimensions])}",
        *([f"ElementNumberOfChannels = {voxels.shape[-1]}"] if voxels.ndim > dimensions else []),
        f"ElementType = {_TYPE_NAMES[voxels.dtype.newbyteorder('=')]}",
    ]


def _text_of(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def layout(path: Path, shape: tuple[int, ...], axes: Sequence[Axis]) -> tuple[int, bool]:
    """How many array axes are dimensions of the file, and whether one more is its channels.

    The last axis behind i, j, k is the channels, unless it has length one (which a reader would drop) or the source says
    that it is another dimension, such as time.
    """
    has_channels = len(shape) > 3 and shape[-1] > 1 and axes[-1].meaning not in ("time", "list")
    dimensions = len(shape) - has_channels
    if dimensions > _MAX_DIMENSIONS:
        raise UnsupportedFileError(path, f"the voxels have {len(shape)} axes, the format holds {_MAX_DIMENSIONS}")
    return dimensions, has_channels


def _numbers_in(extra: Mapping[str, Any], key: str, count: int) -> list[Any] | None:
    """The value of a key where it is a list of so many numbers."""
    value = extra.get(key)
    is_sound = isinstance(value, list) and len(value) == count and all(isinstance(x, int | float) for x in value)
    return value if is_sound else None


def geometry_lines(affine: np.ndarray, n: int, extra: Mapping[str, Any], axes: Sequence[Axis]) -> list[str]:
    """Geometry in mm, and steps of time in seconds, as ITK has them."""
    turn = np.eye(n)
    turn[:3, :3] = direction_of(affine)
    further = axes[: n - 3]
    spacing = [*spacing_of(affine), *(axis.seconds or axis.step or 1.0 for axis in further)]
    unit = next((axis.unit for axis in further if axis.meaning == "time" and axis.step is not None), None)
    unit = "s" if further and further[0].seconds is not None else unit
    origin = [*origin_of(affine), *(_numbers_in(extra, "Offset", n) or [0.0] * n)[3:]]
    opposite = dict(zip("LRPASI", "RLAPIS", strict=True))  # MetaIO's letters name where an axis comes from
    return [
        f"TransformMatrix = {joined(turn.T.ravel())}",
        f"Offset = {joined(origin)}",
        f"CenterOfRotation = {joined([0.0] * n)}",
        *([f"AnatomicalOrientation = {''.join(opposite[c] for c in orientation_of(affine))}"] if n == 3 else []),
        f"ElementSpacing = {joined(spacing)}",
        *([f"TimeUnit = {unit}"] if unit is not None and unit.isalnum() and unit.isascii() else []),
    ]


def kept_lines(path: Path, image: Image) -> list[str]:
    """The kind, the metadata that names nobody, and the keys of a MetaImage source that are not of the format."""
    extra = _source(image)
    text = metadata_to_json(path, image) or ""
    pieces = [text[start : start + _LINE_BYTES] for start in range(0, len(text), _LINE_BYTES)]
    lines = [
        f"{METADATA_KEY}{number} = |{piece}|" for number, piece in enumerate(pieces)
    ]  # bars keep blanks at the ends
    if image.kind == "label":
        lines.append(f"{KIND_KEY} = label")
    if isinstance(image.metadata, Metadata):
        lines += [f"Modality = {key}" for key, name in _MODALITIES.items() if name == image.metadata.modality]
    if "ElementType" in extra and "DimSize" in extra:
        lines += [f"{key} = {value}" for key, value in extra.items() if _is_foreign(key, value)]
    return lines


def _is_foreign(key: str, value: Any) -> bool:
    """Whether a field of a MetaImage source is none of the format's own and safe on one line."""
    is_line = isinstance(value, str) and value.isprintable() and value.strip() == value != "" and value.isascii()
    return (
        is_line and len(value) <= _LINE_BYTES and re.fullmatch(r"[\w.-]+", key) is not None and key not in _FORMAT_KEYS
    )


def joined(numbers: Any) -> str:
    """Numbers as text that gives them back exactly."""
    return " ".join(f"{number:.17g}" for number in numbers)
