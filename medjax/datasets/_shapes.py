"""Shapes by formula: whether a point lies inside, how far the surface is, the volume, the bounding box.

A point lies inside where `level <= 0`. Levels use `+ - * /`, `floor` and square roots alone, one operation at a time,
which IEEE 754 defines to the last bit: a label is the same on every platform. Coordinates are three arrays that
broadcast, LPS mm; on a grid whose axes are those of the world they are `(i, 1, 1)`, `(1, j, 1)`, `(1, 1, k)`, and most
terms stay small.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from medjax.datasets._spread import half_space_share

__all__ = ["Bands", "Ellipsoid", "Folds", "Loft", "Outside", "Shape", "turn_about", "wave"]

Box = tuple[np.ndarray, np.ndarray]
_EVERYWHERE = np.full(3, np.inf)


class Shape(ABC):
    """What the layers of a phantom are made of."""

    @property
    @abstractmethod
    def box(self) -> Box:
        """The lowest and the highest corner, LPS mm."""

    @abstractmethod
    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """At most 0 inside."""

    @abstractmethod
    def share(self, level: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, *, sigma: float) -> np.ndarray:
        """The shape blurred by a Gaussian of `sigma` mm, float32 from 0 to 1."""


def wave(t: np.ndarray) -> np.ndarray:
    """A smooth wave of period 1 between -1 and 1, made of parabolas: a sine without libm."""
    v = 2.0 * (t - np.floor(t)) - 1.0
    return -4.0 * v * (1.0 - np.abs(v))


def turn_about(axis: int, half_tangent: float) -> np.ndarray:
    """A rotation about a world axis by `2 atan(half_tangent)`, right-handed, exact without libm."""
    square = half_tangent * half_tangent
    c, s = (1.0 - square) / (1.0 + square), 2.0 * half_tangent / (1.0 + square)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = -s, s
    return matrix


def _near_surface(level: np.ndarray, slope: float, reach: float) -> np.ndarray:
    """Flat indices of voxels that may lie within `reach` mm of the surface `Q = 1`, where `|grad sqrt Q| <= slope`."""
    width = reach * slope
    low = (1.0 - width) * (1.0 - width) - 1.0 if width < 1.0 else -1.0
    return np.flatnonzero((level > low) & (level < (1.0 + width) * (1.0 + width) - 1.0))


def _distance(
    level: np.ndarray, index: np.ndarray, norm: np.ndarray, least: float, points: list[np.ndarray], box: Box
) -> np.ndarray:
    """Signed distance in mm from the surface of `Q - 1`, where `norm` is half the length of the gradient of `Q`.

    Beyond the tip of a thin shape that is too little: the distance from the box is less than the true one, too.
    """
    g = np.sqrt(np.maximum(level.reshape(-1)[index] + 1.0, 0.0))
    distance = (g - 1.0) * np.maximum(g / norm, least)  # at the centre both are 0
    for at, low, high in zip(points, *box, strict=True):
        np.maximum(distance, np.abs(at - (low + high) / 2) - (high - low) / 2, out=distance, where=distance > 0.0)
    return distance


def _blurred(level: np.ndarray, index: np.ndarray, distance: np.ndarray, bend: np.ndarray, sigma: float) -> np.ndarray:
    share = (level <= 0.0).astype(np.float32)
    share.reshape(-1)[index] = half_space_share(distance.astype(np.float32), bend.astype(np.float32), sigma)
    return share


def _at(index: np.ndarray, shape: tuple[int, ...], *coordinates: np.ndarray) -> list[np.ndarray]:
    """Coordinates of the voxels with these flat indices."""
    if len(shape) == 1:
        return [values[index] for values in coordinates]
    i, jk = np.divmod(index, shape[1] * shape[2])
    j, k = np.divmod(jk, shape[2])
    taken = []
    for values in coordinates:
        flat, n = np.zeros(1, index.dtype), values.shape
        for at, size in zip((i, j, k), n, strict=True):
            flat = flat * size + at if size > 1 else flat
        taken.append(values.reshape(-1)[flat])
    return taken


@dataclasses.dataclass(frozen=True)
class Ellipsoid(Shape):
    """An ellipsoid, turned by a rotation: `sum((u / half)^2) <= 1`, `u = turn^T (p - center)`."""

    center: tuple[float, float, float]
    half: tuple[float, float, float]
    turn: np.ndarray | None = None

    @property
    def volume_mm3(self) -> float:
        """`4/3 pi a b c`."""
        return 4.0 / 3.0 * np.pi * self.half[0] * self.half[1] * self.half[2]

    @cached_property
    def box(self) -> Box:
        """The half width along a world axis is the root of the diagonal of `turn diag(half^2) turn^T`."""
        turn = np.eye(3) if self.turn is None else self.turn
        width = np.sqrt((turn * turn * np.square(self.half)).sum(1))
        return np.subtract(self.center, width), np.add(self.center, width)

    def _form(self) -> list[list[float]]:
        """The matrix of the quadratic form, entry by entry, so that no library decides the order of the sums."""
        turn = np.eye(3) if self.turn is None else self.turn
        weights = [1.0 / (a * a) for a in self.half]

        def entry(r: int, c: int) -> float:
            return sum((float(turn[r, n]) * float(turn[c, n]) * weights[n] for n in range(3)), 0.0)

        return [[entry(r, c) for c in range(3)] for r in range(3)]

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """`Q - 1`, from terms of one axis and of two."""
        M = self._form()
        u, v, w = (axis - c for axis, c in zip((x, y, z), self.center, strict=True))
        if self.turn is None:
            return M[0][0] * u * u + M[1][1] * v * v + (M[2][2] * w * w - 1.0)
        flat = M[0][0] * u * u + M[1][1] * v * v + 2.0 * M[0][1] * u * v
        return flat + (M[2][2] * w * w - 1.0 + 2.0 * M[1][2] * v * w) + 2.0 * M[0][2] * u * w

    def share(self, level: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, *, sigma: float) -> np.ndarray:
        """Distance `(g - 1) g / |grad Q / 2|`, `g = sqrt Q`, exact for a sphere; bend: the mean curvature there."""
        M = self._form()
        index = _near_surface(level, 1.0 / min(self.half), 4.0 * sigma)
        points = _at(index, level.shape, x, y, z)
        u = [axis - c for axis, c in zip(points, self.center, strict=True)]
        grad = [M[r][0] * u[0] + M[r][1] * u[1] + M[r][2] * u[2] for r in range(3)]
        norm = np.maximum(np.sqrt(grad[0] * grad[0] + grad[1] * grad[1] + grad[2] * grad[2]), 1e-9)
        along = sum(grad[r] * (M[r][0] * grad[0] + M[r][1] * grad[1] + M[r][2] * grad[2]) for r in range(3)) / (
            norm * norm
        )
        bend = (M[0][0] + M[1][1] + M[2][2] - along) / (2.0 * norm)
        return _blurred(level, index, _distance(level, index, norm, min(self.half), points, self.box), bend, sigma)


@dataclasses.dataclass(frozen=True)
class Loft(Shape):
    """A body of elliptic sections along a world axis, with rounded ends.

    Centre and half axes of the sections are cubics between knots, whose slopes are those of the neighbours; over the
    length of a cap the section shrinks as that of an ellipsoid does.

    Attributes:
        axis: 0, 1 or 2.
        knots: Position along the axis, centre along the two others in order, half axes along them; positions ascend.
        caps: Length of the rounded end at the first knot and at the last, mm.
    """

    axis: int
    knots: tuple[tuple[float, float, float, float, float], ...]
    caps: tuple[float, float]

    @property
    def volume_mm3(self) -> float:
        """`int pi a b (1 - c) dt`: polynomials between knots and ends of caps, exact by five points each."""
        t = np.array([knot[0] for knot in self.knots])
        cuts = np.unique([*t, t[0] + self.caps[0], t[-1] - self.caps[1]])
        nodes, weights = np.polynomial.legendre.leggauss(5)
        middle, half = (cuts[1:] + cuts[:-1]) / 2, (cuts[1:] - cuts[:-1]) / 2
        at = middle[:, None] + half[:, None] * nodes
        (_, _, a, b), _, cap, _ = self._section(at)
        return float((np.pi * a * b * (1.0 - cap) * weights * half[:, None]).sum())

    @cached_property
    def box(self) -> Box:
        """From many sections, a little wider than they are."""
        t = np.linspace(self.knots[0][0], self.knots[-1][0], 16 * len(self.knots) + 1)
        (p, q, a, b), *_ = self._section(t)
        low, high = np.empty(3), np.empty(3)
        low[self.axis], high[self.axis] = t[0], t[-1]
        for other, middle, half in zip(self._others, (p, q), (a, b), strict=True):
            low[other], high[other] = (middle - half).min() - 1.0, (middle + half).max() + 1.0
        return low, high

    @property
    def _others(self) -> tuple[int, int]:
        return tuple(a for a in range(3) if a != self.axis)  # type: ignore[return-value]

    def _section(
        self, t: np.ndarray
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Centre and half axes along the axis, their derivatives; the caps' part of 1, and half its derivatives."""
        at = np.array([knot[0] for knot in self.knots])
        segment = np.clip(np.searchsorted(at, t, side="right") - 1, 0, len(at) - 2)
        width = (at[1:] - at[:-1])[segment]
        s = np.clip((t - at[segment]) / width, 0.0, 1.0)
        columns, slopes = [], []
        for column in range(1, 5):
            y = np.array([knot[column] for knot in self.knots])
            slope = np.array(_slopes(at.tolist(), y.tolist()))
            y0, step = y[segment], (y[1:] - y[:-1])[segment]
            m0, m1 = slope[segment] * width, slope[segment + 1] * width
            second, third = 3.0 * step - 2.0 * m0 - m1, m0 + m1 - 2.0 * step
            columns.append(y0 + s * (m0 + s * (second + s * third)))
            slopes.append((m0 + s * (2.0 * second + s * (3.0 * third))) / width)
        below = np.maximum(0.0, 1.0 - (t - at[0]) / self.caps[0])
        above = np.maximum(0.0, 1.0 - (at[-1] - t) / self.caps[1])
        first = above / self.caps[1] - below / self.caps[0]
        second = (below > 0.0) / self.caps[0] ** 2 + (above > 0.0) / self.caps[1] ** 2
        return columns, slopes, below * below + above * above, (first, second)

    def _ordered(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = (x, y, z)
        return points[self._others[0]], points[self._others[1]], points[self.axis]

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """`((p - p0) / a)^2 + ((q - q0) / b)^2 + c - 1`: terms of two axes, added once."""
        p, q, t = self._ordered(x, y, z)
        (p0, q0, a, b), _, cap, _ = self._section(t)
        u, v = (p - p0) / a, (q - q0) / b
        return u * u + (v * v + (cap - 1.0))

    def share(self, level: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, *, sigma: float) -> np.ndarray:
        """Distance and mean curvature from derivatives of `Q / 2` without the knots' second ones; terms of two axes."""
        least = min(*(min(knot[3:]) for knot in self.knots), *self.caps)
        index = _near_surface(level, 1.3 / least, 4.0 * sigma)
        p, q, t = self._ordered(x, y, z)
        (p0, q0, a, b), (dp, dq, da, db), _, (first, second) = self._section(t)
        u, v = (p - p0) / (a * a), (q - q0) / (b * b)
        aa, bb = 1.0 / (a * a), 1.0 / (b * b)
        terms = (
            *(u, v, first - u * dp - u * u * a * da, -v * dq - v * v * b * db, aa, bb),
            *(-dp * aa - 2.0 * u * da / a, -dq * bb - 2.0 * v * db / b),
            second + dp * dp * aa + 4.0 * u * dp * da / a + 3.0 * u * u * da * da,
            dq * dq * bb + 4.0 * v * dq * db / b + 3.0 * v * v * db * db,
        )
        u, v, w, more, aa, bb, pt, qt, tt, rest = _at(index, level.shape, *terms)
        w, tt = w + more, tt + rest
        square = np.maximum(u * u + v * v + w * w, 1e-18)
        norm = np.sqrt(square)
        along = (u * u * aa + v * v * bb + w * (w * tt + 2.0 * (u * pt + v * qt))) / square
        bend = (aa + bb + tt - along) / (2.0 * norm)
        return _blurred(
            level, index, _distance(level, index, norm, least, _at(index, level.shape, x, y, z), self.box), bend, sigma
        )


def _slopes(at: list[float], y: list[float]) -> list[float]:
    """Slopes of a cubic through knots: those of the chord between the neighbours, 0 where the values turn."""
    steps = [(y[n + 1] - y[n]) / (at[n + 1] - at[n]) for n in range(len(at) - 1)]
    inner = [
        0.0 if steps[n] * steps[n + 1] <= 0.0 else 2.0 * steps[n] * steps[n + 1] / (steps[n] + steps[n + 1])
        for n in range(len(steps) - 1)
    ]
    return [steps[0], *inner, steps[-1]]


@dataclasses.dataclass(frozen=True)
class Bands(Shape):
    """Parallel slabs: `width` mm thick, one in every `period` mm along `normal`; one slab where the period is huge.

    The coordinate is `normal . p - offset`, in mm where the normal has length 1; the middle of a slab is at 0.
    """

    normal: tuple[float, float, float]
    offset: float
    width: float
    period: float = 1e6

    @property
    def box(self) -> Box:
        """No bounds."""
        return -_EVERYWHERE, _EVERYWHERE

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance from the middle of the nearest slab less half its width."""
        terms = [n * axis for n, axis in zip(self.normal, (x, y, z), strict=True) if n != 0.0]
        along = sum(terms[1:], terms[0]) - self.offset
        return np.abs(along - self.period * np.floor(along / self.period + 0.5)) - 0.5 * self.width

    def share(self, level: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, *, sigma: float) -> np.ndarray:
        """A slab has plane sides: the share is exact where they are far apart."""
        return half_space_share(level, np.zeros(()), sigma)


@dataclasses.dataclass(frozen=True)
class Folds(Shape):
    """A folded sheet that fills space, as a gyroid does: inside where `low <= |p| <= high`, p between about -1.5 and
    1.5.

    Attributes:
        wavelength: Of the folds, mm.
        phase: Shift of the pattern along the three axes, in wavelengths.
        low: The least `|p|`.
        high: The largest.
    """

    wavelength: float
    phase: tuple[float, float, float]
    low: float
    high: float

    @property
    def box(self) -> Box:
        """No bounds."""
        return -_EVERYWHERE, _EVERYWHERE

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """How far `|p|` is outside its bounds."""
        u, v, w = (axis / self.wavelength + shift for axis, shift in zip((x, y, z), self.phase, strict=True))
        bent = u + 0.3 * wave(0.43 * v), v + 0.3 * wave(0.37 * w), w + 0.3 * wave(0.41 * u)
        a, b, c = (wave(t) for t in bent)
        d, e, f = (wave(t + 0.25) for t in bent)
        field = np.abs(a * e + b * f + c * d)
        return np.maximum(self.low - field, field - self.high)

    def share(self, level: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, *, sigma: float) -> np.ndarray:
        """By the mean gradient of the pattern, 7 / wavelength."""
        return half_space_share(level * (self.wavelength / 7.0), np.zeros(()), sigma)


@dataclasses.dataclass(frozen=True)
class Outside(Shape):
    """Everything but a shape."""

    shape: Shape

    @property
    def box(self) -> Box:
        """No bounds."""
        return -_EVERYWHERE, _EVERYWHERE

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The level of the shape with its sign changed."""
        return -self.shape.level(x, y, z)

    def share(self, level: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, *, sigma: float) -> np.ndarray:
        """What the shape leaves."""
        return 1.0 - self.shape.share(-level, x, y, z, sigma=sigma)
