"""Spatial steps: what they draw, and where the content of an image goes by it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from medjax._geometry._grid import product
from medjax._geometry._types import Scalar
from medjax._image._checks import three_integers
from medjax._image._image import Image
from medjax._space._move import affine_matrix
from medjax.augment._distribution import Spread
from medjax.augment._frames import Reference
from medjax.augment._moves import Move
from medjax.augment._step import DrawnStep, drawn, step

__all__ = ["SpatialStep", "affine", "elastic", "mirror", "misalign", "rotate90", "transpose"]

_MOST = 0.40
"""Control spacings by which a control point may move along an axis: a cubic lattice cannot fold below 0.4033.

Source: Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, Graphical Models 62, 2000.
"""

_LETTERS = {letter: world for world, pair in enumerate(("LR", "AP", "IS")) for letter in pair}
_INDEX = {"i": 0, "j": 1, "k": 2}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpatialStep(DrawnStep):
    """A step that moves content; images, labels, points and boxes move together.

    A step of this kind has a method `move(values, reference)` that says where the content of one item goes.
    """

    role = "spatial"

    @property
    def relabels(self) -> bool:
        """Whether labels may take other numbers."""
        return False

    def move(self, values: Mapping[str, Any], reference: Reference) -> Move:
        """Returns where the content goes; nowhere for an item that is not changed."""
        raise NotImplementedError

    def relabelled(self, volume: Any, values: Mapping[str, Any], reference: Reference) -> Any:
        """Returns labels under other numbers, before they move."""
        return volume

    def check_place(self, pictures: Mapping[str, Image], reference: str | None) -> None:
        """Raises `ValueError` where the images do not suit the step."""
        if reference is None:
            raise ValueError(f"{type(self).__name__} moves things about the centre of an image, and there is none")


@step
class mirror(SpatialStep):
    """Reverses axes: what lay on the left then lies on the right, and the image keeps its grid.

    Each axis is reversed or not by itself. `mj.flip` is something else: it stores the same content in another order.

    Args:
        axes: Anatomical letters such as "R" or "RAS" (the axis that runs along that direction, whichever it is), or
            index axes 0, 1, 2 or "i", "j", "k" of the reference image.
        swap_labels: Pairs of labels, such as left and right kidney, that change places where left and right do.
        p: Probability that an axis is reversed, for each.
        name: Name in a recipe; default "mirror".

    Example:
        >>> image = mj.Image.from_array(np.arange(3.0).reshape(3, 1, 1))
        >>> mj.augment.mirror(axes="R", p=1)(jax.random.key(0), image).voxels.ravel().tolist()
        [2.0, 1.0, 0.0]
    """

    only_reverses: ClassVar[bool] = True
    axes: str | int | Sequence[str | int] = ("R", "A", "S")
    swap_labels: Sequence[Sequence[int]] = ()
    p: Scalar = 0.5

    def check(self) -> None:
        axes = (self.axes,) if isinstance(self.axes, int) else tuple(self.axes)
        for axis in axes:
            if axis not in (*_LETTERS, *_INDEX, 0, 1, 2):
                raise ValueError(
                    f"axes must be letters of R/L, A/P, I/S, or 0, 1, 2 or 'i', 'j', 'k'; got {self.axes!r}"
                )
        object.__setattr__(self, "axes", axes)
        for pair in self.swap_labels:
            if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(n, int) and n >= 0 for n in pair)):
                raise ValueError(
                    f"swap_labels must be pairs of labels, such as ((2, 41), (3, 42)), got {self.swap_labels!r}"
                )

    @property
    def _axes(self) -> tuple[Any, ...]:
        """The axes in the form that `check` brings them to."""
        axes: Any = self.axes
        return tuple(axes)

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {"mirrored": (len(self._axes),)}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        number = numbers["mirrored"]
        mirrored = number < jnp.asarray(self.p, jnp.float32).reshape((1,) * number.ndim)
        return {"applied": mirrored.any(-1), "mirrored": mirrored}

    def words(self, values: Mapping[str, Any]) -> str:
        used = [
            str(axis) for axis, bit in zip(self._axes, values["mirrored"], strict=True) if bit and values["applied"]
        ]
        return f"along {', '.join(used)}" if used else "not applied"

    def _reversed(self, values: Mapping[str, Any], reference: Reference) -> Any:
        """Which index axes of the reference are reversed, `(3,)`."""
        flips = jnp.zeros(3, bool)
        for number, axis in enumerate(self._axes):
            where = reference.along[_LETTERS[axis]] if axis in _LETTERS else _INDEX.get(axis, axis)
            flips ^= (np.arange(3, dtype=np.int32) == where) & values["mirrored"][number] & values["applied"]
        return flips

    def move(self, values: Mapping[str, Any], reference: Reference) -> Move:
        signs = jnp.where(self._reversed(values, reference), -1, 1).astype(reference.axes.dtype)
        return Move(jnp.diag(signs), None, None, None)

    @property
    def relabels(self) -> bool:
        return bool(self.swap_labels)

    def relabelled(self, volume: Any, values: Mapping[str, Any], reference: Reference) -> Any:
        if not self.relabels:
            return volume
        table = np.arange(max(max(pair) for pair in self.swap_labels) + 1)
        for a, b in self.swap_labels:
            table[a], table[b] = b, a
        number = volume.astype(jnp.int32)
        other = jnp.asarray(table, jnp.int32)[jnp.clip(number, 0, len(table) - 1)].astype(volume.dtype)
        is_listed = (number >= 0) & (number < len(table))
        swaps = self._reversed(values, reference)[reference.along[0]]
        return jnp.where(swaps & is_listed, other, volume)


@step
class rotate90(SpatialStep):
    """Turns by quarters of a circle in a plane of the reference image's voxels, without interpolation.

    Args:
        planes: Pairs of index axes, of which one is drawn; both axes of a pair have one size and one spacing.
        quarter_turns: How many quarters, a range of whole numbers; positive turns bring the first axis onto the second.
        p: Probability that an item is turned.
        name: Name in a recipe; default "rotate90".

    Example:
        >>> image = mj.Image.from_array(np.arange(4.0).reshape(2, 2, 1))
        >>> step = mj.augment.rotate90(planes=((0, 1),), quarter_turns=1, p=1)
        >>> step(jax.random.key(0), image).voxels[..., 0].tolist()
        [[1.0, 3.0], [0.0, 2.0]]
    """

    planes: Sequence[Sequence[int]] = ((0, 1),)
    quarter_turns: Spread = drawn((0, 3), how="whole")
    p: Scalar = 0.5

    def check(self) -> None:
        for pair in self.planes:
            if not (isinstance(pair, tuple) and len(set(pair)) == 2 and set(pair) <= {0, 1, 2}):
                raise ValueError(f"planes must be pairs of index axes, such as ((0, 1),), got {self.planes!r}")

    def check_place(self, pictures: Mapping[str, Image], reference: str | None) -> None:
        super().check_place(pictures, reference)
        _check_planes(self.planes, pictures[str(reference)], self.kind, reference)

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {**super().requests(channels), "plane": ()}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        plane = jnp.floor(numbers["plane"] * len(self.planes)).astype(jnp.int32)
        return {**super().values(numbers), "plane": plane}

    def move(self, values: Mapping[str, Any], reference: Reference) -> Move:
        turns = np.zeros((len(self.planes), 4, 3, 3))
        for number, (a, b) in enumerate(self.planes):
            quarter = np.eye(3)
            quarter[[a, b], [a, b]] = 0
            quarter[b, a], quarter[a, b] = 1, -1
            for count in range(4):
                turns[number, count] = np.linalg.matrix_power(quarter, count)
        table = jnp.asarray(turns, reference.axes.dtype)
        quarters = jnp.where(values["applied"], values["quarter_turns"].astype(jnp.int32) % 4, 0)
        return Move(table[values["plane"], quarters], None, None, None)


@step
class transpose(SpatialStep):
    """Exchanges axes of the reference image's voxels in an order that is drawn, without interpolation.

    Args:
        axes: The index axes to exchange, all of one size and one spacing; every order of them is as likely.
        p: Probability that an order is drawn for an item.
        name: Name in a recipe; default "transpose".

    Example:
        >>> image = mj.Image.from_array(np.arange(4.0).reshape(2, 2, 1))
        >>> out = mj.augment.transpose(axes=(0, 1), p=1)(jax.random.key(1), image)
        >>> out.voxels[..., 0].tolist()
        [[0.0, 2.0], [1.0, 3.0]]
    """

    axes: Sequence[int] = (0, 1)
    p: Scalar = 0.5

    def check(self) -> None:
        if not (2 <= len(self.axes) == len(set(self.axes)) and set(self.axes) <= {0, 1, 2}):
            raise ValueError(f"axes must be two or three different index axes, such as (0, 1), got {self.axes!r}")

    def check_place(self, pictures: Mapping[str, Image], reference: str | None) -> None:
        super().check_place(pictures, reference)
        _check_planes(itertools.pairwise(self.axes), pictures[str(reference)], self.kind, reference)

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {**super().requests(channels), "order": ()}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        count = math.factorial(len(self.axes))
        return {**super().values(numbers), "order": jnp.floor(numbers["order"] * count).astype(jnp.int32)}

    def move(self, values: Mapping[str, Any], reference: Reference) -> Move:
        orders = list(itertools.permutations(self.axes))  # the first is the one of the image
        turns = np.tile(np.eye(3), (len(orders), 1, 1))
        for turn, order in zip(turns, orders, strict=True):
            turn[list(self.axes)] = np.eye(3)[list(order)]
        table = jnp.asarray(turns, reference.axes.dtype)
        return Move(table[jnp.where(values["applied"], values["order"], 0)], None, None, None)


def _check_planes(planes: Iterable[Sequence[int]], image: Image, kind: str, reference: Any) -> None:
    """Raises `ValueError` where the axes of a plane differ in size or spacing."""
    spacing = np.atleast_2d(image.spacing) if isinstance(image.affine, np.ndarray) else np.ones((1, 3))
    for a, b in planes:
        if image.shape[a] != image.shape[b] or not np.allclose(spacing[:, a], spacing[:, b], rtol=1e-3):
            raise ValueError(
                f"{kind} needs planes of equal size and spacing; axes {a} and {b} of {reference!r} have "
                f"{image.shape[a]} and {image.shape[b]} voxels of {spacing[0, a]:g} and {spacing[0, b]:g} mm"
            )


class _Affine:
    """What `affine` and `misalign` share."""

    @staticmethod
    def moved(values: Mapping[str, Any], reference: Reference, scale: Any, shear: Any) -> Move:
        real = reference.axes.dtype
        rotation = values["rotation"].astype(real)
        flat = [axis for axis, size in enumerate(reference.shape) if size == 1]
        if flat:  # about the normal alone; with more than one flat axis not at all
            normal = reference.axes[:, flat[0]]
            along = (abs(normal) == abs(normal).max()) & (len(flat) == 1)
            rotation = jnp.where(along, rotation, 0)
        matrix = affine_matrix(values["translation"].astype(real), rotation, scale.astype(real), shear.astype(real))
        linear, by = matrix[:3, :3], matrix[:3, 3]
        if flat:
            keep = jnp.asarray([size > 1 for size in reference.shape])
            eye = jnp.eye(3, dtype=real)
            inner = product(reference.inverse, product(linear, reference.axes))
            linear = product(
                reference.axes, product(jnp.where(keep[:, None] & keep[None], inner, eye), reference.inverse)
            )
            by = product(reference.axes, jnp.where(keep, product(reference.inverse, by[:, None])[:, 0], 0)[:, None])[
                :, 0
            ]
        applied = values["applied"]
        return Move(None, jnp.where(applied, linear, jnp.eye(3, dtype=real)), jnp.where(applied, by, 0), None)


@step
class affine(_Affine, SpatialStep):
    """Rotates, scales, shears and shifts the content about the centre of the reference image, in world millimetres.

    The content goes by `mj.affine_matrix`: scales first, then shears, rotates and shifts. A scale above 1 makes things
    larger. An image of one voxel along an axis moves within its plane.

    Args:
        rotation: Degrees about the world's x, y and z axes, right-handed; a number means plus or minus it.
        scale: Factors along the world's axes; a pair is a range whose logarithm is uniform.
        shear: Entries above the diagonal of the shear; a number means plus or minus it.
        translation: mm along L, P and S; a number means plus or minus it.
        isotropic: Whether one factor is drawn for all axes.
        p: Probability that an item is moved.
        name: Name in a recipe; default "affine".

    Example:
        >>> image = mj.Image.from_array(np.arange(5.0).reshape(5, 1, 1))
        >>> right = mj.augment.affine(translation=mj.augment.fixed((1, 0, 0)), rotation=0, scale=1)
        >>> right(jax.random.key(0), image).voxels.ravel().tolist()
        [2.0, 0.0, 1.0, 2.0, 3.0]
    """

    rotation: Spread = drawn(10.0, "degrees", plus_minus=True, shape=(3,))
    scale: Spread = drawn((0.9, 1.1), how="log_uniform", shape=(3,), least=1e-6)
    shear: Spread = drawn(0.0, plus_minus=True, shape=(3,))
    translation: Spread = drawn(0.0, "mm", plus_minus=True, shape=(3,))
    isotropic: bool = False

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        if self.isotropic:
            numbers = {**numbers, "scale": jnp.broadcast_to(numbers["scale"][..., :1], numbers["scale"].shape)}
        return super().values(numbers)

    def move(self, values: Mapping[str, Any], reference: Reference) -> Move:
        return self.moved(values, reference, values["scale"], values["shear"])


@step
class misalign(_Affine, SpatialStep):
    """Shifts and turns some of the images against the others, each by itself: as a PET lies beside a CT.

    Args:
        only: Names of the images to move.
        skip: Names of images to leave where they are.
        rotation: Degrees about the world's axes; a number means plus or minus it.
        translation: mm along L, P and S; a number means plus or minus it.
        p: Probability that an image is moved.
        name: Name in a recipe; default "misalign".

    Example:
        >>> ct = mj.Image.from_array(np.arange(5.0).reshape(5, 1, 1))
        >>> step = mj.augment.misalign(only="pet", rotation=0, translation=mj.augment.fixed((1, 0, 0)))
        >>> out = step(jax.random.key(0), {"ct": ct, "pet": ct})
        >>> out["ct"].voxels.ravel().tolist(), out["pet"].voxels.ravel().tolist()
        ([0.0, 1.0, 2.0, 3.0, 4.0], [2.0, 0.0, 1.0, 2.0, 3.0])
    """

    is_shared_by_images: ClassVar[bool] = False
    only: str | Sequence[str]
    skip: str | Sequence[str] = ()
    rotation: Spread = drawn(1.0, "degrees", plus_minus=True, shape=(3,))
    translation: Spread = drawn(2.0, "mm", plus_minus=True, shape=(3,))

    def check(self) -> None:
        for option in ("only", "skip"):
            value = getattr(self, option)
            object.__setattr__(self, option, (value,) if isinstance(value, str) else value)

    def move(self, values: Mapping[str, Any], reference: Reference) -> Move:
        one = jnp.ones(3, reference.axes.dtype)
        return self.moved(values, reference, one, 0 * one)


@step
class elastic(SpatialStep):
    """Deforms the content smoothly, by a lattice of control points.

    The lattice spans the field of view of the reference image.

    Each control point is displaced along each axis by up to `min(max_mm, amount * spacing of the control points)`. The
    displacement between them is a cubic B-spline. It cannot fold: whatever `amount` says, no point moves by more than
    0.40 of the spacing along an axis, and below 0.4033 such a map is invertible.

    Args:
        points: Control points along each axis, one number or three, at least 4; one of them lies outside on either
            side.
        amount: Largest displacement in spacings of the control points.
        max_mm: Largest displacement in mm.
        lock: Layers of control points on each side that stay where they are.
        p: Probability that an item is deformed.
        name: Name in a recipe; default "elastic".

    Example:
        >>> image = mj.Image.from_array(np.arange(512.0).reshape(8, 8, 8))
        >>> draw = mj.augment.elastic(points=7).sample(jax.random.key(0), image)
        >>> control = draw.values["elastic"]["control"]    # shares of the largest displacement, -1 to 1
        >>> control.shape, int((control != 0).sum())
        ((7, 7, 7, 3), 81)

    Source: Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, Graphical Models 62,
    2000.
    """

    has_lattice: ClassVar[bool] = True
    points: int | Sequence[int] = 7
    amount: Spread = drawn(0.25, "of the control points' spacing", least=0)
    max_mm: Spread = drawn(7.5, "mm", least=0)
    lock: int = 2

    def check(self) -> None:
        counts = three_integers(self.points, "points", least=4)
        if not (isinstance(self.lock, int) and self.lock >= 0 and 2 * self.lock < min(counts)):
            raise ValueError(
                f"lock must leave a control point free: from 0 to {(min(counts) - 1) // 2}, got {self.lock!r}"
            )
        object.__setattr__(self, "points", counts)

    @property
    def _counts(self) -> tuple[int, ...]:
        """Control points along each axis."""
        points: Any = self.points
        return tuple(points)

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {**super().requests(channels), "control": (*self._counts, 3)}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        free = np.ones(self._counts, bool)
        for axis, count in enumerate(self._counts):
            place = np.arange(count).reshape([-1 if e == axis else 1 for e in range(3)])
            free &= (place >= self.lock) & (place < count - self.lock)
        u = numbers["control"]
        mask = free.reshape((1,) * (u.ndim - 4) + (*self._counts, 1))
        return {**super().values(numbers), "control": jnp.where(mask, 2 * u - 1, 0)}

    def move(self, values: Mapping[str, Any], reference: Reference) -> Move:
        real = reference.axes.dtype
        sizes = np.asarray(reference.shape, np.float64)
        cells = jnp.asarray(sizes / (np.asarray(self.points) - 3), real) * reference.spacing
        largest = jnp.minimum(values["max_mm"].astype(real), jnp.minimum(values["amount"].astype(real), _MOST) * cells)
        largest = jnp.where(values["applied"] & (sizes > 1), largest, 0)
        return Move(None, None, None, values["control"].astype(real) * largest.reshape(1, 1, 1, 3))
