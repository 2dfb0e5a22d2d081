"""Building a phantom: shapes in a patient's size, tissues painted in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.datasets._phantom import Layer
from medjax.datasets._random import Draws
from medjax.datasets._shapes import Bands, Ellipsoid, Loft, Shape

__all__ = ["Build", "Knots"]

Number = float | int
Knots = tuple[tuple[Number, ...], ...]


class Build:
    """Makes shapes of a patient's size from textbook sizes, and collects layers.

    Attributes:
        scale: Size of the patient along x, y, z, as a factor.
        tissues: Values of each tissue, by channel.
        layers: What was painted so far.
        volumes_ml: Volumes of structures that nothing but lesions cuts, by label.
    """

    def __init__(
        self,
        draws: Draws,
        scale: tuple[float, float, float],
        labels: Mapping[int, str],
        tissues: Mapping[str, Mapping[str, float]],
    ):
        self._draws, self._labels = draws, {name: number for number, name in labels.items()}
        self.scale, self.tissues = scale, tissues
        self.layers: list[Layer] = []
        self.volumes_ml: dict[str, float] = {}

    def ball(self, center: Any, half: Any, turn: np.ndarray | None = None) -> Ellipsoid:
        """An ellipsoid in the patient's size."""
        x, y, z = (float(c) * s for c, s in zip(center, self.scale, strict=True))
        a, b, c = (float(h) * s for h, s in zip(half, self.scale, strict=True))
        return Ellipsoid((x, y, z), (a, b, c), turn)

    def organ(self, center: Any, half: Any, turn: np.ndarray | None = None, shift: float = 4.0) -> Ellipsoid:
        """An ellipsoid whose place and size differ from patient to patient."""
        size = self._draws.uniform(0.93, 1.07)
        moved = [c + self._draws.uniform(-shift, shift) for c in center]
        return self.ball(moved, [h * size for h in half], turn)

    def loft(self, axis: int, knots: Any, caps: tuple[Number, Number]) -> Loft:
        """A loft in the patient's size."""
        along, (p, q) = self.scale[axis], [self.scale[a] for a in range(3) if a != axis]
        scaled = tuple((t * along, x * p, y * q, a * p, b * q) for t, x, y, a, b in knots)
        return Loft(axis, scaled, (caps[0] * along, caps[1] * along))

    def bands(self, normal: Any, offset: Number, width: Number, period: Number = 1e6) -> Bands:
        """Slabs, nearly across z, in the patient's size; their tilt is kept."""
        s = self.scale[2]
        return Bands(normal, offset * s, width * s, period * s)

    def add(self, label: str, tissue: str, *shapes: Shape) -> None:
        """Paints a tissue over what is there: the points in all of the shapes, the first of which has bounds."""
        self.layers.append(Layer(self._labels[label], shapes, self.tissues[tissue]))

    def keep_volume(self, label: str, shape: Ellipsoid | Loft) -> None:
        """Notes the volume of a structure that nothing but lesions cuts."""
        self.volumes_ml[label] = shape.volume_mm3 / 1000.0
