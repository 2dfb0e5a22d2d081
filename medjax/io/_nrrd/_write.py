"""Writing NRRD."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._image._image import Image
from medjax._image._metadata import Metadata
from medjax.io._disk._atomic import atomic_file
from medjax.io._disk._axes import COLOURS, Axis, trailing_axes
from medjax.io._disk._beside import data_name, detached
from medjax.io._disk._blocks import file_blocks, write_blocks
from medjax.io._disk._elements import storable
from medjax.io._disk._passed_on import KIND_KEY, METADATA_KEY, extra_of, metadata_to_json
from medjax.io._disk._stream import Codec
from medjax.io._nrrd._geometry import signs_to_lps
from medjax.io._nrrd._header import FIELDS, escaped
from medjax.io._nrrd._segments import segment_pairs

__all__ = ["write"]

_TYPE_NAMES = {
    "i1": "signed char",
    "u1": "unsigned char",
    "i2": "short",
    "u2": "unsigned short",
    "i4": "int",
    "u4": "unsigned int",
    "i8": "long long int",
    "u8": "unsigned long long int",
    "f4": "float",
    "f8": "double",
}

_KIND_SIZES = {
    "list": None, "vector": None, "point": None, "time": None, "covariant-vector": None, "normal": None,
    "stub": 1, "scalar": 1, "complex": 2,
    "2-vector": 2, "3-color": 3, "RGB-color": 3, "HSV-color": 3, "XYZ-color": 3, "4-color": 4, "RGBA-color": 4,
    "3-vector": 3, "3-gradient": 3, "3-normal": 3, "4-vector": 4, "quaternion": 4,
}  # fmt: skip

_MAX_DIMENSIONS = 16  # NRRD_DIM_MAX


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The axes of the file, the fastest first.

    Attributes:
        axes: The array axis of each.
        kinds: The NRRD kind of each.
        steps: The step and unit of each trailing axis, if they are known. Axes in space have directions instead.
    """

    axes: list[int]
    kinds: list[str]
    steps: list[Axis]


def write(image: Image, path: Path, *, compress: bool) -> None:
    """Writes an image as .nrrd or .seg.nrrd, or as .nhdr beside .raw or .raw.gz; `save_image` calls it."""
    voxels = storable(path, image.voxels)
    is_segmentation = path.name.lower().endswith(".seg.nrrd")
    _check(image, voxels, path, is_segmentation=is_segmentation)
    layout = _layout(image, voxels.shape, is_segmentation=is_segmentation)
    codec: Codec | None = "gzip" if compress else None
    fields = _fields(image, voxels, layout, codec)
    pairs = _pairs(image, path, voxels, is_segmentation)
    blocks = file_blocks(voxels, layout.axes)
    if path.suffix.lower() != ".nhdr":
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            file.write(_header_bytes(fields, pairs) + b"\n")
            write_blocks(file, codec, blocks)
        return
    data_path = path.with_suffix(".raw.gz" if compress else ".raw")
    head = _header_bytes(fields, pairs, data_name(path, data_path))
    with detached(data_path, path) as (data_temporary, head_temporary):
        head_temporary.write_bytes(head)
        with data_temporary.open("wb") as file:
            write_blocks(file, codec, blocks)


def _check(image: Image, voxels: np.ndarray, path: Path, *, is_segmentation: bool) -> None:
    if voxels.ndim > _MAX_DIMENSIONS:
        raise UnsupportedFileError(path, f"the voxels have {voxels.ndim} axes, the format holds {_MAX_DIMENSIONS}")
    if is_segmentation and (image.kind != "label" or voxels.ndim > 4):
        reason = "a .seg.nrrd holds labels (i, j, k) or (i, j, k, layer)"
        raise UnsupportedFileError(path, reason, "use with_kind('label'), or save as .nrrd")


def _layout(image: Image, shape: tuple[int, ...], *, is_segmentation: bool) -> _Layout:
    trailing = trailing_axes(image)
    extra = extra_of(image.metadata)
    kinds = ["list"] * len(trailing) if is_segmentation else _trailing_kinds(shape[3:], extra, trailing)
    axes = _file_axes(kinds)
    return _Layout(
        axes,
        ["domain" if axis < 3 else kinds[axis - 3] for axis in axes],
        [Axis() if axis < 3 else trailing[axis - 3] for axis in axes],
    )


def _fields(image: Image, voxels: np.ndarray, layout: _Layout, codec: Codec | None) -> dict[str, str | None]:
    """The fields in the order of the header; a field that is `None` is left out."""
    affine, steps = image.affine, layout.steps
    has_steps, has_units = any(axis.step is not None for axis in steps), any(axis.unit for axis in steps)
    return {
        "type": _TYPE_NAMES[voxels.dtype.str[1:]],
        "dimension": str(voxels.ndim),
        "space": "left-posterior-superior",
        "sizes": " ".join(str(voxels.shape[axis]) for axis in layout.axes),
        "space directions": " ".join("none" if axis > 2 else _vector_text(affine[:3, axis]) for axis in layout.axes),
        "spacings": " ".join(_number_text(axis.step) for axis in steps) if has_steps else None,
        "kinds": " ".join(layout.kinds),
        "units": " ".join(f'"{_word(axis.unit or "")}"' for axis in steps) if has_units else None,
        "endian": "little",
        "encoding": codec or "raw",
        "space origin": _vector_text(affine[:3, 3]),
        "space units": '"mm" "mm" "mm"',
        "measurement frame": _measurement_frame(extra_of(image.metadata)),
    }


def _header_bytes(fields: Mapping[str, str | None], pairs: Mapping[str, str], data_file: str | None = None) -> bytes:
    lines = ["NRRD0005", "# https://teem.sourceforge.net/nrrd/format.html"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    lines += [f"{key}:={escaped(value)}" for key, value in pairs.items()]
    if data_file is not None:  # last, so that a header cut short names no data
        lines.append(f"data file: {data_file}")
    return "".join(f"{line}\n" for line in lines).encode()


def _trailing_kinds(sizes: tuple[int, ...], extra: Mapping[str, Any], trailing: Sequence[Axis]) -> list[str]:
    """Kinds of the axes behind i, j, k: those of an NRRD source where they suit the sizes, else by their meaning."""
    kinds = extra.get("kinds")
    known = [kind for kind in kinds if kind in _KIND_SIZES] if isinstance(kinds, list) else []
    if len(known) != len(sizes):
        known = [_nrrd_kind(axis, size) for axis, size in zip(trailing, sizes, strict=True)]
    return [kind if _KIND_SIZES[kind] in (None, size) else "list" for kind, size in zip(known, sizes, strict=True)]


def _nrrd_kind(axis: Axis, size: int) -> str:
    if axis.meaning == "colour" and size in COLOURS:
        return f"{COLOURS[size]}-color"
    return axis.meaning if axis.meaning in ("time", "list") else "vector"


def _file_axes(kinds: list[str]) -> list[int]:
    """Array axes in the file's order. Components are fastest, as in ITK and Slicer, but time is slowest."""
    trailing = range(3, 3 + len(kinds))
    return [0, 1, 2, *trailing] if set(kinds) == {"time"} else [*trailing, 0, 1, 2]


def _word(text: str) -> str:
    """The unit if it can stand between quotation marks on one line, else nothing."""
    return text if text.isprintable() and not set(text) & set('"\\') else ""


def _measurement_frame(extra: Mapping[str, Any]) -> str | None:
    """The measurement frame of an NRRD source, its vectors turned from the source's space to LPS."""
    frame = np.array(extra.get("measurement frame", ()), dtype=object)
    if frame.shape != (3, 3) or not all(isinstance(number, float | int) for number in frame.flat):
        return None
    vectors = frame.astype(np.float64) * (signs_to_lps(str(extra.get("space", ""))) or 1.0)
    return " ".join(_vector_text(vector) for vector in vectors)


def _pairs(image: Image, path: Path, voxels: np.ndarray, is_segmentation: bool) -> dict[str, str]:
    pairs: dict[str, str] = {}
    metadata = image.metadata if isinstance(image.metadata, Metadata) else Metadata()
    if "sizes" in metadata.extra and "encoding" in metadata.extra:
        pairs |= {key: value for key, value in metadata.extra.items() if _is_key_value_pair(key, value)}
    if is_segmentation:
        pairs = {key: value for key, value in pairs.items() if not key.startswith("Segment")}
        pairs |= segment_pairs(voxels, metadata.display.get("segments", ()))
    elif image.kind == "label":
        pairs[KIND_KEY] = "label"
    text = metadata_to_json(path, image.metadata)
    return pairs if text is None else pairs | {METADATA_KEY: text}


def _is_key_value_pair(key: str, value: Any) -> bool:
    """Whether an entry of a NRRD source's header is a key/value pair that can be written again as it is."""
    is_field = key.lower().replace(" ", "") in FIELDS
    is_text = isinstance(value, str) and value.strip() == value and "\r" not in value
    return is_text and not is_field and key.isprintable() and key.strip() == key != "" and not set(key) & set(":#")


def _vector_text(numbers: Any) -> str:
    return f"({','.join(map(_number_text, numbers))})"


def _number_text(value: float | None) -> str:
    return "nan" if value is None else f"{value:.17g}"
