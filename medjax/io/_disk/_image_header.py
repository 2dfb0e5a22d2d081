"""What a file says of its image before any voxel is read; importable without JAX."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from medjax._geometry._grid import Grid
from medjax._geometry._numbers import read_only
from medjax._geometry._orientation import orientation_of
from medjax._image._kind import Kind
from medjax._image._metadata import Metadata
from medjax._image._units import units_of
from medjax._lazy import public

__all__ = ["ImageHeader", "header_from"]


@public("medjax.io")
@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """An image without its voxels: what `load_image` gives, as far as the headers tell.

    Attributes:
        grid: Shape and index-to-LPS affine in mm.
        dtype: Voxel dtype.
        kind: "intensity" or "label".
        channels: Sizes of the trailing axes (time, components), `()` for a scalar image.
        metadata: The file's statements about the scan.
        undecided: Names of the fields above that the voxels can still change; empty for most files. Each field then
            holds what nearly all such files turn out to be.

    Example:
        >>> header = mj.io.ImageHeader(mj.Grid.of((4, 5, 6)), np.dtype("int16"), "intensity", (), mj.Metadata())
        >>> header.shape, header.nbytes, header.units
        ((4, 5, 6), 240, None)
    """

    grid: Grid
    dtype: np.dtype
    kind: Kind
    channels: tuple[int, ...]
    metadata: Metadata
    undecided: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along i, j, k."""
        return self.grid.shape

    @property
    def affine(self) -> np.ndarray:
        """`(4, 4)` index to LPS mm."""
        return self.grid.affine

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm."""
        return self.grid.spacing

    @property
    def origin(self) -> tuple[float, ...]:
        """World position of the centre of voxel (0, 0, 0), LPS mm."""
        return self.grid.origin

    @property
    def orientation(self) -> str:
        """Orientation code, such as "LPS"."""
        return orientation_of(self.grid.affine)

    @property
    def units(self) -> str | None:
        """The unit of the values in the file's words, such as "HU" or "BQML"; `None` where it states none."""
        return units_of(self.metadata)

    @property
    def nbytes(self) -> int:
        """Bytes that the voxels take in memory."""
        return math.prod((*self.shape, *self.channels)) * self.dtype.itemsize

    def __repr__(self) -> str:
        """Shows sizes, dtype, kind, spacing, orientation, modality and units, never a patient's name."""
        parts = [f"{'x'.join(map(str, self.shape))} {self.dtype} {self.kind}"]
        if self.channels:
            parts.append(f"channels {'x'.join(map(str, self.channels))}")
        parts += [f"spacing {' x '.join(f'{value:.4g}' for value in self.spacing)} mm", self.orientation]
        parts += [text for text in (self.metadata.modality, self.units) if text]
        return f"ImageHeader({', '.join(parts)})"


def header_from(
    shape: tuple[int, ...],
    affine: Any,
    dtype: np.dtype,
    kind: Kind = "intensity",
    metadata: Metadata | None = None,
    undecided: tuple[str, ...] = (),
) -> ImageHeader:
    """Builds the header of an image from the shape of its voxels, `(i, j, k, *channels)`, and a checked affine."""
    grid = Grid(shape[:3], read_only(affine))
    return ImageHeader(grid, dtype.newbyteorder("="), kind, shape[3:], metadata or Metadata(), undecided)
