"""Reading MetaImage."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._image._image import Image, image_from
from medjax.io._disk._elements import Encoding, Part, numbered, read_elements, sibling
from medjax.io._disk._opened import check_same, opened
from medjax.io._metaimage._describe import Described, describe
from medjax.io._metaimage._header import Header

__all__ = ["read"]


def read(path: Path) -> Image:
    """Reads a MetaImage; `load_image` calls it."""
    with opened(path) as file:
        return _read(path, file)


def _read(path: Path, file: io.BufferedReader) -> Image:
    found = describe(path, file)
    flat, channels = _read_voxels(found, file), found.channels
    voxels = flat.reshape(channels, *found.sizes, order="F") if channels > 1 else flat.reshape(found.sizes, order="F")
    voxels = np.moveaxis(voxels, 0, -1) if channels > 1 else voxels
    voxels = voxels[:, :, None] if len(found.sizes) == 2 else voxels
    return image_from(voxels, affine=found.affine, kind=found.kind, metadata=found.metadata)


def _read_voxels(found: Described, file: io.BufferedReader) -> np.ndarray:
    header = found.header
    is_compressed, is_binary = header.flag("CompressedData"), header.flag("BinaryData", default=True)
    # zlib ends by itself: CompressedDataSize is not needed
    encoding: Encoding = "text" if not is_binary else "zlib" if is_compressed else "raw"
    parts = _data_parts(header, found.sizes, encoding, file)
    flat = read_elements(parts, found.stored, math.prod(found.sizes) * found.channels, encoding)
    if parts[0].file is None:
        check_same(file, header.path)
    return flat


def _data_parts(header: Header, sizes: tuple[int, ...], encoding: Encoding, file: io.BufferedReader) -> list[Part]:
    """The files that hold the voxels: this file, a named one, a list, or those of a numbered pattern."""
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
        files = _files_of_list(header, sizes, words[1:])
    elif "%" in target:
        files = _files_of_pattern(header, sizes[-1], words)
    else:
        files = [sibling(header.path, target)]
    return [Part(file, offset, is_at_end=is_at_end) for file in files]


def _files_of_list(header: Header, sizes: tuple[int, ...], words: list[str]) -> list[Path]:
    """`LIST` names one file per last index, and `LIST 2` one file per two-dimensional slice of the image."""
    held = re.match(r"\d{1,2}", words[0]) if words else None
    dimensions = int(held[0]) if held else len(sizes) - 1
    expected = math.prod(sizes[dimensions:])
    if len(header.names) != expected:
        raise ImageFileError(header.path, f"its list names {len(header.names)} data files, DimSize needs {expected}")
    return [sibling(header.path, name) for name in header.names]


def _files_of_pattern(header: Header, count: int, words: list[str]) -> list[Path]:
    """`name_%03d.raw [first [last [step]]]`. A last number or step that is not given follows from the count."""
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
