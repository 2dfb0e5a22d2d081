"""Reading an item of the stream: the case, the box, and its voxels from the host's memory or a mapped file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax._image._image import Image
from medjax._image._same_grid import check_grids
from medjax._space._crop import crop_or_pad, pad
from medjax.data._case import Row, case_of
from medjax.data._order import BucketOrder, PlainOrder, generator_of
from medjax.data._source import shown
from medjax.data._waiting import Clock
from medjax.patch._sampler import Sampler

__all__ = ["Item", "Reader", "bucket_of", "checked_roles", "shape_of"]


@dataclasses.dataclass(frozen=True)
class Item:
    """What was read of a case."""

    row: int
    images: Mapping[str, Image]
    extent: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads items; any thread may ask for any item.

    Attributes:
        rows: Of the cohort.
        roles: To read.
        order: Which row stands at which place.
        patch: Draws the place of a patch, or `None` for whole images.
        pad_to: The size to crop and pad to, or `None`.
        clock: Counts what was read.
    """

    rows: Sequence[Row]
    roles: Sequence[str]
    order: PlainOrder | BucketOrder
    patch: Sampler | None
    pad_to: tuple[int, ...] | None
    clock: Clock

    def read(self, step: int, position: int) -> Item:
        """Reads an item of a batch."""
        start = time.perf_counter()
        number = self.order.row(step, position)
        row = self.rows[number]
        case = case_of(row)
        images = {role: _on_host(case[role]) for role in self.roles}
        extent: tuple[int, ...] | None = None
        if self.patch is not None:
            images = self._patches(row, images, generator_of(self.order.seed, step * self.order.batch_size + position))
        elif self.pad_to is not None:
            images = {role: crop_or_pad(image, self.pad_to) for role, image in images.items()}
        elif isinstance(self.order, BucketOrder):
            extent = next(iter(images.values())).shape
            images = {role: _padded_to(image, bucket_of(image.shape)) for role, image in images.items()}
        images = {role: _own(image) for role, image in images.items()}
        n_bytes = sum(image.voxels.nbytes for image in images.values())
        self.clock.read(row.name, n_bytes, time.perf_counter() - start)
        return Item(number, images, extent)

    def _patches(self, row: Row, images: Mapping[str, Image], generator: np.random.Generator) -> dict[str, Image]:
        assert self.patch is not None
        first, *others = self.roles
        for other in others:
            try:
                check_grids(images[first], images[other], f"role {other!r}")
            except ValueError as error:
                raise ValueError(
                    f"{row.where}: a patch is cut at one place of all images, but role {other!r} lies on another grid "
                    f"than role {first!r} ({error}); bring them to one grid in prepare"
                ) from None
        table = case_of(row).class_table if self.patch.foreground else None
        if self.patch.foreground and table is None:
            raise ValueError(
                f"{row.where}: foreground needs a class table; mj.data.cache(cohort, folder, classes='seg') makes one"
            )
        start = self.patch(generator, images[first].shape, table)
        return {role: self.patch.cut(image, start) for role, image in images.items()}


def shape_of(source: Any) -> tuple[int, ...] | None:
    """Voxels along i, j, k of a source that tells them without being read."""
    if hasattr(source, "image"):
        return source.image.shape
    return tuple(source.shape[:3]) if hasattr(source, "shape") else None


def bucket_of(shape: Sequence[int]) -> tuple[int, ...]:
    """The size that an image is padded to: each axis to the next of four sizes an octave, so by less than a quarter.

    Example:
        >>> bucket_of((100, 128, 3)), bucket_of((112, 129, 9))
        ((112, 128, 3), (112, 160, 10))
    """
    steps = [1 << max(0, (n - 1).bit_length() - 3) for n in shape]
    return tuple(-(-n // step) * step for n, step in zip(shape, steps, strict=True))


def checked_roles(rows: Sequence[Row], roles: Any) -> list[str]:
    """The roles to load: those that are asked for, else all; every case must have them.

    Raises:
        ValueError: a case lacks one, or none is asked for.
    """
    known = list(dict.fromkeys(role for row in rows for role in row.sources))
    wanted = known if roles is None else [roles] if isinstance(roles, str) else list(roles)
    if not wanted:
        raise ValueError("the cohort has no images: name their roles in kinds when it is made")
    for row in rows:
        for role in wanted:
            if role not in row.sources:
                rest = [each for each in wanted if each in row.sources]
                hint = f", which others have: leave the case out, or load roles={rest}"
                if role not in known:
                    hint = shown(role, row.sources)
                raise ValueError(f"{row.where}: has no role {role!r}{hint}")
    return wanted


def _on_host(image: Image) -> Image:
    if isinstance(image.voxels, np.ndarray):
        return image
    return Image(np.asarray(image.voxels), image.affine, image.kind, image.metadata)


def _own(image: Image) -> Image:
    """The image with voxels in memory of their own, in C order: what was mapped is read here."""
    voxels = image.voxels
    return Image(np.ascontiguousarray(voxels), image.affine, image.kind, image.metadata)


def _padded_to(image: Image, size: Sequence[int]) -> Image:
    return pad(image, 0, np.asarray(size) - np.array(image.shape)) if tuple(size) != image.shape else image
