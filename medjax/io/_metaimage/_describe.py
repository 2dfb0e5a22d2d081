"""What a MetaImage's header says of the image, without its voxels."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np

from medjax._errors import ImageFileError, UnsupportedFileError
from medjax._image._kind import Kind
from medjax._image._metadata import Metadata
from medjax.io._disk._image_header import ImageHeader, header_from
from medjax.io._disk._opened import opened
from medjax.io._disk._passed_on import KIND_KEY, kept_kind
from medjax.io._disk._warn import warn
from medjax.io._metaimage._header import (
    BYTE_ORDER_KEYS,
    DTYPES,
    INTERCEPT_KEY,
    MAX_DIMENSIONS,
    SLOPE_KEY,
    Header,
    affine_of,
    metadata_of,
    read_header,
)

__all__ = ["Described", "describe", "inspect", "inspect_file"]


@dataclasses.dataclass(frozen=True)
class Described:
    """A header that was read.

    Attributes:
        header: Its fields.
        sizes: DimSize, two numbers or more.
        channels: ElementNumberOfChannels.
        stored: The dtype of the voxels in the file, with its byte order.
        affine: Index to LPS mm.
        kind: What `save_image` has noted, else "intensity".
        metadata: What the fields state.
    """

    header: Header
    sizes: tuple[int, ...]
    channels: int
    stored: np.dtype
    affine: np.ndarray
    kind: Kind
    metadata: Metadata

    @property
    def shape(self) -> tuple[int, ...]:
        """The image's axes, `(i, j, k, *channels)`."""
        space = self.sizes if len(self.sizes) > 2 else (*self.sizes, 1)
        return (*space, self.channels) if self.channels > 1 else space


def describe(path: Path, file: io.BufferedReader) -> Described:
    """Reads and checks the header of an open file.

    Raises:
        ImageFileError: it is damaged or contradicts itself; a subclass says which.
    """
    header = read_header(path, file)
    dimensions = header.integers("NDims", 1)[0]
    if not 2 <= dimensions <= MAX_DIMENSIONS:
        raise UnsupportedFileError(path, f"it has {dimensions} dimensions, expected 2 to {MAX_DIMENSIONS}")
    sizes = header.integers("DimSize", dimensions)
    channels = header.integers("ElementNumberOfChannels", 1)[0] if "ElementNumberOfChannels" in header.fields else 1
    if min(*sizes, channels) < 1:
        raise ImageFileError(path, f"DimSize {sizes} with {channels} channels holds no voxels")
    affine, stored = affine_of(header, dimensions), _stored_dtype(header)
    _warn_of_scaling(header)
    kind = kept_kind(header.fields.get(KIND_KEY), stored)
    return Described(header, tuple(sizes), channels, stored, affine, kind, metadata_of(header))


def inspect(path: Path) -> ImageHeader:
    """Reads the header of a MetaImage."""
    with opened(path) as file:
        return inspect_file(file, path)


def inspect_file(file: io.BufferedReader, path: Path) -> ImageHeader:
    """Reads the header of an open file."""
    found = describe(path, file)
    return header_from(found.shape, found.affine, found.stored, found.kind, found.metadata)


def _stored_dtype(header: Header) -> np.dtype:
    type_name = header.fields.get("ElementType", "")
    known = DTYPES.get(type_name.removesuffix("_ARRAY"))
    if known is None:
        raise UnsupportedFileError(header.path, f"its ElementType {type_name[:40]!r} is none of {', '.join(DTYPES)}")
    return np.dtype(known).newbyteorder(">" if header.flag(*BYTE_ORDER_KEYS) else "<")


def _warn_of_scaling(header: Header) -> None:
    slope = header.floats(SLOPE_KEY, count=1) or [1.0]
    intercept = header.floats(INTERCEPT_KEY, count=1) or [0.0]
    if slope != [1.0] or intercept != [0.0]:
        message = f"its intensity function {slope[0]:g} * x + {intercept[0]:g} is not applied, as in ITK; see rescale"
        warn(header.path, message)
