"""Writing MetaImage."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._geometry._grid import direction_of, origin_of, spacing_of
from medjax._geometry._orientation import orientation_of
from medjax._image._image import Image
from medjax._image._metadata import Metadata
from medjax.io._disk._atomic import atomic_file
from medjax.io._disk._axes import Axis, trailing_axes
from medjax.io._disk._beside import data_name, detached
from medjax.io._disk._blocks import file_blocks, write_blocks
from medjax.io._disk._elements import storable
from medjax.io._disk._passed_on import KIND_KEY, METADATA_KEY, extra_of, metadata_to_json
from medjax.io._metaimage._header import FORMAT_KEYS, MAX_DIMENSIONS, MODALITIES, TYPE_NAMES

__all__ = ["geometry_lines", "joined", "kept_lines", "layout", "write"]

# MetaIO reads a value into 32768 bytes and was seen to fail on longer ones. Short lines also suit other readers.
_LINE_BYTES = 16000


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


def _lines(image: Image, path: Path, voxels: np.ndarray, dimensions: int, packed_bytes: int | None) -> list[str]:
    """The header without its last line, which names the data."""
    return [
        "ObjectType = Image",
        f"NDims = {dimensions}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {packed_bytes is not None}",
        *([] if packed_bytes is None else [f"CompressedDataSize = {packed_bytes}"]),
        *geometry_lines(image.affine, dimensions, extra_of(image.metadata), trailing_axes(image)),
        *kept_lines(path, image),
        f"DimSize = {joined(voxels.shape[:dimensions])}",
        *([f"ElementNumberOfChannels = {voxels.shape[-1]}"] if voxels.ndim > dimensions else []),
        f"ElementType = {TYPE_NAMES[voxels.dtype.newbyteorder('=')]}",
    ]


def _text_of(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def layout(path: Path, shape: tuple[int, ...], axes: Sequence[Axis]) -> tuple[int, bool]:
    """Returns how many array axes are dimensions of the file, and whether one more axis holds its channels.

    The last axis behind i, j, k holds the channels, unless it has length one, which a reader would drop, or the source
    says that it is another dimension, such as time.
    """
    has_channels = len(shape) > 3 and shape[-1] > 1 and axes[-1].meaning not in ("time", "list")
    dimensions = len(shape) - has_channels
    if dimensions > MAX_DIMENSIONS:
        raise UnsupportedFileError(path, f"the voxels have {len(shape)} axes, the format holds {MAX_DIMENSIONS}")
    return dimensions, has_channels


def _numbers_in(extra: Mapping[str, Any], key: str, count: int) -> list[Any] | None:
    """The value of a key if it is a list of `count` numbers, else `None`."""
    value = extra.get(key)
    is_sound = isinstance(value, list) and len(value) == count and all(isinstance(x, int | float) for x in value)
    return value if is_sound else None


def geometry_lines(affine: np.ndarray, n: int, extra: Mapping[str, Any], axes: Sequence[Axis]) -> list[str]:
    """Lines of the geometry. Lengths are in mm and steps of time in seconds, as in ITK."""
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
    """Lines of the kind, the metadata that names nobody, and the foreign keys of a MetaImage source."""
    extra = extra_of(image.metadata)
    text = metadata_to_json(path, image.metadata) or ""
    pieces = [text[start : start + _LINE_BYTES] for start in range(0, len(text), _LINE_BYTES)]
    # Bars keep blanks at the ends.
    lines = [f"{METADATA_KEY}{number} = |{piece}|" for number, piece in enumerate(pieces)]
    if image.kind == "label":
        lines.append(f"{KIND_KEY} = label")
    if isinstance(image.metadata, Metadata):
        lines += [f"Modality = {key}" for key, name in MODALITIES.items() if name == image.metadata.modality]
    if "ElementType" in extra and "DimSize" in extra:
        lines += [f"{key} = {value}" for key, value in extra.items() if _is_foreign(key, value)]
    return lines


def _is_foreign(key: str, value: Any) -> bool:
    """Whether a field of a MetaImage source is not the format's and is safe on one line."""
    is_line = isinstance(value, str) and value.isprintable() and value.strip() == value != "" and value.isascii()
    return (
        is_line and len(value) <= _LINE_BYTES and re.fullmatch(r"[\w.-]+", key) is not None and key not in FORMAT_KEYS
    )


def joined(numbers: Any) -> str:
    """Numbers as text that gives them back exactly."""
    return " ".join(f"{number:.17g}" for number in numbers)
