"""Voxel data that a text header describes (MetaImage, NRRD), behind the header or in files beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax._geometry._grid import check_affine, shear_degrees
from medjax.io._disk._opened import opened
from medjax.io._disk._stream import Codec, Content
from medjax.io._disk._warn import warn

__all__ = [
    "Encoding",
    "Part",
    "checked_affine",
    "numbered",
    "read_elements",
    "sibling",
    "storable",
]

Encoding = Literal["raw", "zlib", "gzip", "bzip2", "text", "hex"]

_CODECS: dict[Encoding, Codec] = {"zlib": "zlib", "gzip": "gzip", "bzip2": "bzip2"}

# No number needs more characters, and NumPy's parser takes room for the longest one times their count.
_LONGEST_NUMBER = 400

# Some writers end a file with a line break or pad it. So many excess bytes are no sign of a wrong header: the first
# number, or an eighth of the voxels where that is more, up to the second.
_LEAST_EXCESS_BYTES, _MOST_EXCESS_BYTES = 8, 512

# A larger number is damage and not a length in mm.
_LARGEST_MM = 1e9

# Float32 directions of real scanners miss a right angle by up to 5e-5 (cosine). Twice that is a shear.
_SHEAR_TOLERANCE_DEGREES = float(np.degrees(1e-4))


@dataclasses.dataclass(frozen=True)
class Part:
    """A file that holds the voxels or some of them.

    Attributes:
        path: The file.
        offset: Bytes before the (encoded) data.
        lines: Lines after these bytes and before the data.
        skip: Bytes of the decoded data that precede the voxels.
        is_at_end: The voxels are the last bytes of the file, whatever precedes them.
        file: The open file, if it is open already, as the header's is.
    """

    path: Path
    offset: int = 0
    lines: int = 0
    skip: int = 0
    is_at_end: bool = False
    file: io.BufferedReader | None = None


def read_elements(parts: Sequence[Part], dtype: np.dtype, count: int, encoding: Encoding) -> np.ndarray:
    """Reads `count` numbers from equal parts, one after another, as a flat array in the machine's byte order.

    Memory is taken only for numbers that the files really hold.

    Raises:
        TruncatedFileError: a part holds fewer numbers than its share.
        ImageFileError: a part holds more, is damaged, or the count cannot be shared out equally.
    """
    share, rest = divmod(count, len(parts))
    if rest:
        raise ImageFileError(parts[0].path, f"{count} voxels cannot be shared equally by {len(parts)} data files")
    read = _read_numbers if encoding == "text" else _read_bytes
    arrays = [read(part, dtype, share, encoding) for part in parts]
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return array if array.dtype.isnative else array.byteswap(inplace=True).view(array.dtype.newbyteorder())


@contextlib.contextmanager
def _content(part: Part, codec: Codec | None) -> Iterator[Content]:
    """Opens a part once, at its data."""
    with part.file or opened(part.path) as file:
        size = os.fstat(file.fileno()).st_size
        if part.offset > size:
            raise TruncatedFileError(part.path, f"its data start after {part.offset} bytes, it has {size}")
        file.seek(part.offset)
        for number in range(part.lines):
            if not file.readline():
                raise ImageFileError(part.path, f"line skip is {part.lines}, but it has {number} lines")
        with Content(part.path, codec=codec, offset=file.tell(), file=file) as content:
            yield content


def _read_bytes(part: Part, dtype: np.dtype, count: int, encoding: Encoding) -> np.ndarray:
    if encoding == "hex":
        return _read_hex(part, dtype, count)
    size = count * dtype.itemsize
    with _content(part, _CODECS.get(encoding)) as content:
        content.skip(max(content.file_bytes - size, 0) if part.is_at_end else part.skip)
        array = content.read_array(size).view(dtype)
        excess = content.finish()
    if excess > max(_LEAST_EXCESS_BYTES, min(_MOST_EXCESS_BYTES, size // 8)):
        raise _too_much(part.path, f"the header's size and type make {size} bytes, found {excess} more")
    if excess:
        warn(part.path, f"{excess} bytes follow the voxels; they are ignored")
    return array


def _read_numbers(part: Part, dtype: np.dtype, count: int, encoding: Encoding) -> np.ndarray:
    words = _text_of_part(part, least=2 * count - 1).replace(b",", b" ").split()
    if len(words) < count:
        raise TruncatedFileError(part.path, f"voxels: expected {count} numbers, found {len(words)}")
    if len(words) > count:
        raise _too_much(part.path, f"the header's size makes {count} numbers, found {len(words)}")
    if max(map(len, words)) > _LONGEST_NUMBER:
        raise ImageFileError(part.path, f"a word of more than {_LONGEST_NUMBER} characters stands among the numbers")
    try:
        return np.array(words).astype(dtype.newbyteorder("="))
    except (ValueError, OverflowError) as error:
        raise ImageFileError(part.path, f"its text is not {count} numbers of type {dtype}: {error}") from error


def _read_hex(part: Part, dtype: np.dtype, count: int) -> np.ndarray:
    size = count * dtype.itemsize
    try:
        content = bytearray.fromhex(_text_of_part(part, least=2 * size).decode("ascii"))
    except ValueError as error:
        raise ImageFileError(part.path, "its data are not hexadecimal digits") from error
    if len(content) < size:
        raise TruncatedFileError(part.path, f"voxels: expected {size} bytes, found {len(content)}")
    if len(content) > size:
        raise _too_much(part.path, f"the header's size and type make {size} bytes, found {len(content)}")
    return np.frombuffer(content, dtype)


def _text_of_part(part: Part, least: int) -> bytes:
    with _content(part, None) as content:
        content.skip(part.skip)
        found = content.file_bytes - content.position
        if found < least:
            raise TruncatedFileError(part.path, f"voxels: expected at least {least} bytes of text, found {found}")
        return content.read(found)


def _too_much(path: Path, reason: str) -> ImageFileError:
    return ImageFileError(path, reason, "correct the header: size, type, channels or the number of bytes to skip")


def sibling(header: Path, name: str) -> Path:
    """Returns the path of a data file that a header names, which must lie in the header's folder or below.

    An absolute name may be given if it leads into the folder. A link in the folder is followed.

    Raises:
        ImageFileError: the name leads out of the folder, or there is no such file.
    """
    folder, steps, shown = header.parent, re.split(r"[/\\]", name), repr(name[:100])
    is_absolute = steps[0] == "" or re.match("[A-Za-z]:", name) is not None  # here, or where it was written
    is_plain = not is_absolute and ".." not in steps and "\0" not in name
    written_on_windows = [] if is_absolute else [folder.joinpath(*steps)]
    inside = (
        [] if "\0" in name else [p for p in (folder / name, *written_on_windows) if is_plain or _lies_in(p, folder)]
    )
    for path in inside:
        with contextlib.suppress(OSError):  # a name too long for the system
            if path.is_file():
                return path
    if not is_plain and not (inside and name.startswith("/")):
        raise ImageFileError(
            header, f"its data file {shown} lies outside the header's folder", "put the two together and name it alone"
        )
    raise ImageFileError(header, f"its data file {shown} is missing", "keep header and data together")


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a file's folder is this one or one below it, links and dots resolved."""
    return Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder))


def numbered(header: Path, pattern: str, numbers: Iterable[int]) -> list[Path]:
    """Returns the data files that a pattern such as `slice_%03d.raw` names, one per number.

    Raises:
        ImageFileError: the pattern is not a name with one whole number in it, or a file is missing.
    """
    match = re.fullmatch(r"([^%]*)%(0?)(\d{0,2})[diu]([^%]*)", pattern)
    if match is None:
        raise ImageFileError(header, f"data file pattern {pattern[:100]!r} needs exactly one number, such as %03d")
    before, zero, width, after = match.groups()
    return [sibling(header, f"{before}{number:{zero}{width}d}{after}") for number in numbers]


def checked_affine(path: Path, affine: np.ndarray) -> np.ndarray:
    """Returns the affine as it is. Raises if it is no geometry, and warns if it is sheared."""
    largest = np.abs(affine).max()
    if not largest < _LARGEST_MM:  # also where it is not finite
        raise ImageFileError(path, f"its geometry holds {largest:g} mm, expected below {_LARGEST_MM:g}")
    if not (np.abs(affine[:3, :3]).max(0) > 1 / _LARGEST_MM).all():
        raise ImageFileError(path, "its geometry is singular: a voxel has no size along an axis")
    try:
        checked = check_affine(affine)
    except ValueError as error:
        raise ImageFileError(path, f"its geometry cannot be used: {error}") from error
    degrees = shear_degrees(checked)
    if degrees > _SHEAR_TOLERANCE_DEGREES:
        warn(path, f"the axes are {degrees:.3g} degrees off a right angle; the shear is kept")
    return checked


def storable(path: Path, voxels: np.ndarray) -> np.ndarray:
    """Returns voxels in a dtype that both formats hold: booleans become uint8, half precision float32.

    Raises:
        UnsupportedFileError: they hold no such dtype, as for complex numbers.
    """
    if voxels.dtype == bool:
        return voxels.astype(np.uint8)
    if voxels.dtype == np.float16 or voxels.dtype.name == "bfloat16":
        return voxels.astype(np.float32)
    if voxels.dtype.kind not in "iuf" or voxels.dtype.itemsize > 8:
        raise UnsupportedFileError(
            path, f"cannot hold voxels of type {voxels.dtype}", "convert them to integers or float32"
        )
    return voxels
