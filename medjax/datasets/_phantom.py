"""A phantom: layers of shapes painted one over the other, evaluated at points or on the lattice of a grid.

The label of a point is that of the last layer that holds it. A value is painted likewise, with the share of each layer
that its blurred shape has at the point; spheres come last and are added to what surrounds them, so that a blurred
sphere in even surroundings is exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from medjax._geometry._grid import Grid
from medjax._lazy import public
from medjax.datasets._random import in_threads
from medjax.datasets._shapes import Ellipsoid, Shape
from medjax.datasets._spread import SIGMA_PER_FWHM, sphere_share

__all__ = ["Layer", "Lesion", "Phantom"]

_SLAB_VOXELS = 2**19


@dataclasses.dataclass(frozen=True)
class Layer:
    """The points that lie in all of some shapes, with their label and their value in each channel."""

    label: int
    shapes: tuple[Shape, ...]
    values: Mapping[str, float]


@public("medjax.datasets")
@dataclasses.dataclass(frozen=True)
class Lesion:
    """A ball of even uptake, and the truth about it.

    Attributes:
        label: Its value in the label map.
        site: Where it lies.
        center_mm: LPS mm.
        radius_mm: In mm.
        suv: True uptake in g/ml, before any point spread.
        background_suv: Uptake of what surrounds it.
        hu: Its attenuation in Hounsfield units.

    Example:
        >>> lesion = mj.datasets.Lesion(31, "lung", (0.0, 0.0, 0.0), 10.0, suv=5.0, background_suv=0.5, hu=40.0)
        >>> round(lesion.volume_ml, 4), round(lesion.tlg, 4)
        (4.1888, 20.944)
    """

    label: int
    site: str
    center_mm: tuple[float, float, float]
    radius_mm: float
    suv: float
    background_suv: float
    hu: float

    @property
    def volume_ml(self) -> float:
        """`4/3 pi r^3`."""
        return 4.0 / 3.0 * np.pi * self.radius_mm**3 / 1000.0

    @property
    def tlg(self) -> float:
        """Total lesion glycolysis in g: uptake times volume."""
        return self.suv * self.volume_ml


@public("medjax.datasets")
class Phantom:
    """Labels and values by formula, at any point of the world.

    Attributes:
        names: Name of each label.
        lesions: The lesions, which are also labels.
        volumes_ml: Volume of each structure that one formula gives, by name; lesions inside count with their organ.

    Example:
        >>> phantom = mj.datasets.pet_ct(0, spacing=20.0, pet_spacing=20.0).truth["phantom"]
        >>> phantom, [phantom.names[int(n)] for n in phantom.labels([[-70, 0, -40], [70, 20, 100]])]
        (Phantom(25 labels, 3 lesions), ['liver', 'lung_left'])
        >>> phantom.values("hu", [-70, 0, -40]).tolist()
        105.0
    """

    def __init__(
        self,
        layers: tuple[Layer, ...],
        names: Mapping[int, str],
        background: Mapping[str, float],
        *,
        lesions: tuple[Lesion, ...] = (),
        volumes_ml: Mapping[str, float] | None = None,
    ):
        self.names, self.lesions = dict(names), lesions
        self.volumes_ml = {**(volumes_ml or {}), **{self.names[one.label]: one.volume_ml for one in lesions}}
        self._background = dict(background)
        self._layers = layers

    def __repr__(self) -> str:
        return f"Phantom({len(self.names)} labels, {len(self.lesions)} lesions)"

    def labels(self, points: Any) -> np.ndarray:
        """Labels at points.

        Args:
            points: `(..., 3)`, LPS mm.

        Returns:
            `(...)`, uint8, the same on every platform.
        """
        where, shape = _three(points)
        labels = np.zeros(where[0].shape, np.uint8)
        _paint((*self._layers, *map(_layer_of, self.lesions)), where, "", 0.0, labels, None)
        return labels.reshape(shape)

    def values(self, channel: str, points: Any, *, fwhm_mm: float = 0.0) -> np.ndarray:
        """Values without noise at points.

        Args:
            channel: One of those that the phantom has: "hu" and "suv", or "t1".
            points: `(..., 3)`, LPS mm.
            fwhm_mm: Full width at half maximum of the Gaussian point spread; 0: sharp edges.

        Returns:
            `(...)`, float32, equal on every platform to 1e-6 of the range.

        Raises:
            ValueError: the phantom has no such channel, or the width is negative.
        """
        where, shape = _three(points)
        sigma = self._sigma(channel, fwhm_mm)
        values = np.full(where[0].shape, self._background[channel], np.float32)
        _paint(self._layers, where, channel, sigma, None, values)
        for one in self.lesions:
            self._add_lesion(one, where, channel, sigma, values)
        return values.reshape(shape)

    def on_grid(self, grid: Grid, channel: str, *, fwhm_mm: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Labels and values without noise at the voxel centres of a grid: what `labels` and `values` give there.

        Args:
            grid: Any spacing and orientation, single and concrete.
            channel: As for `values`.
            fwhm_mm: As for `values`.

        Returns:
            `(i, j, k)`: labels, uint8, and values, float32.

        Raises:
            ValueError: the phantom has no such channel, or the width is negative.
        """
        sigma = self._sigma(channel, fwhm_mm)
        labels = np.zeros(grid.shape, np.uint8)
        values = np.full(grid.shape, self._background[channel], np.float32)
        rows = max(1, _SLAB_VOXELS // max(1, grid.shape[1] * grid.shape[2]))
        lattice = _Lattice(grid)
        layers = [(layer, lattice.block(_box(layer), 4.0 * sigma)) for layer in self._layers]
        balls = [(one, _layer_of(one)) for one in self.lesions]
        added = [(one, ball, lattice.block(_box(ball), 6.0 * sigma)) for one, ball in balls]

        def fill(start: int) -> None:
            for layer, block in layers:
                if part := _within(block, start, start + rows):
                    _paint((layer,), lattice.points(part), channel, sigma, labels[part], values[part])
            for one, ball, block in added:
                if part := _within(block, start, start + rows):
                    points = lattice.points(part)
                    _paint((ball,), points, channel, sigma, labels[part], None)
                    self._add_lesion(one, points, channel, sigma, values[part])

        in_threads(fill, range(0, grid.shape[0], rows))
        return labels, values

    @staticmethod
    def at_voxels(grid: Grid, function: Callable[..., np.ndarray]) -> np.ndarray:
        """A function of `x, y, z`, LPS mm, which broadcast, at the voxel centres of a grid: float32."""
        lattice, values = _Lattice(grid), np.empty(grid.shape, np.float32)
        rows = max(1, _SLAB_VOXELS // max(1, grid.shape[1] * grid.shape[2]))

        def fill(start: int) -> None:
            part = (slice(start, min(start + rows, grid.shape[0])), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
            values[part] = function(*lattice.points(part))

        in_threads(fill, range(0, grid.shape[0], rows))
        return values

    def _sigma(self, channel: str, fwhm_mm: float) -> float:
        if channel not in self._background:
            raise ValueError(f"channel must be one of {', '.join(self._background)}, got {channel!r}")
        if not (np.isfinite(fwhm_mm) and fwhm_mm >= 0):
            raise ValueError(f"fwhm_mm must be finite and at least 0, got {fwhm_mm!r}")
        return float(fwhm_mm) * SIGMA_PER_FWHM

    def _add_lesion(
        self, one: Lesion, points: tuple[np.ndarray, ...], channel: str, sigma: float, values: np.ndarray
    ) -> None:
        """Adds a lesion: blurred uptake by its closed form, all else as a layer."""
        if channel != "suv" or sigma == 0.0:
            _paint((_layer_of(one),), points, channel, sigma, None, values)
            return
        u, v, w = (axis - c for axis, c in zip(points, one.center_mm, strict=True))
        share = sphere_share(np.sqrt(u * u + v * v + w * w), one.radius_mm, sigma)
        values += ((one.suv - one.background_suv) * share).astype(np.float32)


def _layer_of(one: Lesion) -> Layer:
    ball = Ellipsoid(one.center_mm, (one.radius_mm, one.radius_mm, one.radius_mm))
    return Layer(one.label, (ball,), {"suv": one.suv, "hu": one.hu})


def _three(points: Any) -> tuple[tuple[np.ndarray, ...], tuple[int, ...]]:
    """Flat coordinates, and the shape that results have."""
    points = np.asarray(points, np.float64)
    if points.ndim == 0 or points.shape[-1] != 3:
        raise ValueError(f"points are (..., 3), LPS mm, got shape {points.shape}")
    return tuple(np.ascontiguousarray(points[..., axis]).reshape(-1) for axis in range(3)), points.shape[:-1]


def _box(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    boxes = [shape.box for shape in layer.shapes]
    return np.max([low for low, _ in boxes], axis=0), np.min([high for _, high in boxes], axis=0)


def _paint(
    layers: tuple[Layer, ...],
    points: tuple[np.ndarray, ...],
    channel: str,
    sigma: float,
    labels: np.ndarray | None,
    values: np.ndarray | None,
) -> None:
    """Paints layers over labels and values in place."""
    for layer in layers:
        levels = [shape.level(*points) for shape in layer.shapes]
        inside = levels[0] <= 0.0
        for level in levels[1:]:
            inside = inside & (level <= 0.0)
        if labels is not None:
            np.copyto(labels, np.uint8(layer.label), where=inside)
        if values is None:
            continue
        value = np.float32(layer.values[channel])
        if sigma == 0.0:
            np.copyto(values, value, where=inside)
            continue
        share = layer.shapes[0].share(levels[0], *points, sigma=sigma)
        for shape, level in zip(layer.shapes[1:], levels[1:], strict=True):
            share = share * shape.share(level, *points, sigma=sigma)
        values += (value - values) * share


Block = tuple[slice, ...]


class _Lattice:
    """The voxel centres of a grid, block by block."""

    def __init__(self, grid: Grid):
        self._affine, self._shape = np.asarray(grid.affine, np.float64), grid.shape
        self._inverse = np.linalg.inv(self._affine[:3, :3])

    def block(self, box: tuple[np.ndarray, np.ndarray], margin_mm: float) -> Block:
        """The voxels that a box with a margin can touch; rounding may add some, which the levels then leave out."""
        middle = self._inverse @ ((box[0] + box[1]) / 2 - self._affine[:3, 3])
        reach = np.abs(self._inverse) @ ((box[1] - box[0]) / 2 + margin_mm) + 0.01
        first = np.maximum(np.ceil(middle - reach), 0).astype(int)
        last = np.minimum(np.floor(middle + reach) + 1, self._shape).astype(int)
        return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))

    def points(self, block: Block) -> tuple[np.ndarray, ...]:
        """Coordinates of the centres, LPS mm; one term at a time, so that every library sums in the same order."""
        index = np.ix_(*(np.arange(part.start, part.stop, dtype=np.float64) for part in block))
        points = []
        for row in self._affine[:3]:
            terms = [row[axis] * index[axis] for axis in range(3) if row[axis] != 0.0]
            points.append(sum(terms[1:], terms[0]) + row[3])
        return tuple(points)


def _within(block: Block, start: int, stop: int) -> Block | None:
    """The part of a block in some rows of the first axis, if there is any."""
    part = (slice(max(block[0].start, start), min(block[0].stop, stop)), *block[1:])
    return part if all(one.start < one.stop for one in part) else None
