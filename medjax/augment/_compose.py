"""Recipes of several steps: one after the other, one of them, some of them, several views."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import Array, Number, Scalar
from medjax._image._checks import check_choice, check_count
from medjax.augment._distribution import Distribution, Spread, as_distribution
from medjax.augment._draw import STEPS, Settings
from medjax.augment._order import parts_in_order
from medjax.augment._sampling import Node
from medjax.augment._step import Names, Step, below, probability

__all__ = ["one_of", "repeat", "sequence", "some_of"]

LabelMode = Literal["nearest", "vote"]


class _Group(Step):
    """Several steps under one head.

    Attributes:
        steps: The steps, in order.
        leaves: Numbers of the group itself, such as its probability.
        static: What is static about the group.
    """

    role: ClassVar[Any] = "choice"
    is_shared: ClassVar[bool] = False

    def __init__(
        self, steps: Sequence[Step], leaves: tuple[Any, ...] = (), static: Any = None, name: str | None = None
    ):
        for step in steps:
            if not isinstance(step, Step):
                raise ValueError(f"{self.kind} takes steps, got {type(step).__name__}")
            if step.views is not None:
                raise ValueError("repeat holds a whole recipe and cannot be a part of one")
        self.steps, self.leaves, self.static, self.name = tuple(steps), leaves, static, name

    def __init_subclass__(cls, kind: str) -> None:
        cls.kind = kind
        STEPS[kind] = cls
        jax.tree_util.register_pytree_with_keys(cls, cls._flattened, functools.partial(cls._unflattened, cls))

    def _flattened(self) -> tuple[Any, Any]:
        keys = [jax.tree_util.GetAttrKey("leaves"), jax.tree_util.GetAttrKey("steps")]
        return list(zip(keys, [self.leaves, self.steps], strict=True)), (self.static, self.name)

    @staticmethod
    def _unflattened(kind: Any, aux: Any, children: Any) -> Any:
        made = object.__new__(kind)
        made.leaves, made.steps = children
        made.static, made.name = aux
        return made

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        return ()

    @classmethod
    def bound(cls, options: Mapping[str, Any]) -> Any:
        return _Group._unflattened(cls, (None, None), ((), ()))

    @property
    def settings(self) -> Settings:
        found = [step.settings for step in self.steps if step.settings != Settings()]
        if len(set(found)) > 1:
            raise ValueError(f"the recipe is told different things about labels and fill: {found}; say them once")
        return found[0] if found else Settings()

    def add_to(self, nodes: list[Node], names: Names, gate: tuple[int, int] | None) -> None:
        number = len(nodes)
        nodes.append(Node(self, names.of(self), gate))
        for branch, step in enumerate(self.steps):
            step.add_to(nodes, names, (number, branch))

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(map(repr, self.steps))})"


class _Sequence(_Group, kind="sequence"):
    @property
    def settings(self) -> Settings:
        return self.static if self.static != Settings() else super().settings

    def add_to(self, nodes: list[Node], names: Names, gate: tuple[int, int] | None) -> None:
        for step in self.steps:
            step.add_to(nodes, names, gate)


def sequence(
    *steps: Step,
    reference: str | None = None,
    label_mode: LabelMode = "nearest",
    num_classes: int | None = None,
    fill: Number | None = None,
    label_fill: int = 0,
) -> Step:
    """Makes a recipe of steps that act one after the other.

    Spatial steps beside each other are one gather, whatever their order: content is mirrored first, then moved by
    affine maps, then deformed. So write spatial steps next to each other. A step that multiplies voxels or adds to them
    by its own numbers (`brightness` without `relative`, `uptake`) may stand between them: it acts after the gather,
    which gives the same. It does not where `fill` is given. Any other step between them splits the gather.

    Args:
        steps: Steps and recipes.
        reference: Name of the image about whose centre things move; default the first with intensities.
        label_mode: How labels are moved: "nearest" takes the nearest voxel. "vote" takes the class whose mask,
            interpolated linearly, is largest, which gives smoother edges.
        num_classes: For "vote" the number of classes, 0 to `num_classes - 1`.
        fill: Value of intensities from outside; default each image's background.
        label_fill: Label from outside, such as -1 for a value that the loss ignores.

    Returns:
        The recipe.

    Raises:
        ValueError: a part is no step, or "vote" lacks the number of classes.

    Warns:
        UserWarning: an intensity step stands between spatial ones, so that images are interpolated twice.

    Example:
        >>> mj.augment.sequence(mj.augment.mirror(), mj.augment.elastic(p=0.3))
        sequence(mirror(p 0.5), elastic(amount fixed 0.25 of the control points' spacing, max_mm fixed 7.5 mm; p 0.3))
    """
    check_choice(label_mode, "label_mode", ("nearest", "vote"))
    if label_mode == "vote":
        check_count(num_classes, "num_classes")
    settings = Settings(reference, label_mode, num_classes, None if fill is None else float(fill), int(label_fill))
    made = _Sequence(steps, static=settings)
    _warn_of_two_gathers(made)
    return made


def _warn_of_two_gathers(made: Step) -> None:
    nodes: list[Node] = []
    made.list_into(nodes)
    steps = [node.step for node in nodes]
    parts = parts_in_order(steps, made.settings.fill)
    gathers = [n for n, part in enumerate(parts) if any(not steps[m].only_reverses for m in part.moves)]
    if gathers and any(part.acts for part in parts[gathers[0] : gathers[-1]]):
        names = ", ".join(node.name for node in nodes if node.step.role == "spatial")
        warnings.warn(
            f"an intensity step stands between spatial steps ({names}), so images are interpolated {len(gathers)} "
            "times; write spatial steps next to each other",
            UserWarning,
            stacklevel=3,
        )


class _OneOf(_Group, kind="one_of"):
    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {"applied": (), "branch": ()}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        p, weights = self.leaves
        chosen = Distribution("choice", np.arange(len(self.steps), dtype=np.float32), weights)
        branch = chosen.quantile(numbers["branch"]).astype(jnp.int32)
        return {"applied": below(numbers["applied"], p), "branch": branch}

    def gates(self, values: Mapping[str, Any]) -> list[Any]:
        return [values["applied"] & (values["branch"] == n) for n in range(len(self.steps))]

    def summary(self) -> str:
        return f"one of {len(self.steps)}, weights {_row(self.leaves[1])}; p {_row(self.leaves[0])}"

    def words(self, values: Mapping[str, Any]) -> str:
        return f"branch {int(values['branch'])}" if values["applied"] else "not applied"


def one_of(
    *steps: Step, weights: Array | Sequence[Scalar] | None = None, p: Scalar = 1.0, name: str | None = None
) -> Step:
    """Makes a step that applies one of several to each item.

    Args:
        steps: Steps and recipes.
        weights: How often each is taken, relative to the others; default all alike. May be traced.
        p: Probability that one is applied at all.
        name: Name in a recipe; default "one_of".

    Raises:
        ValueError: there is no step, there are not as many weights, or `p` is no probability.

    Example:
        >>> image = mj.Image.from_array(np.ones((2, 2, 2), np.float32))
        >>> recipe = mj.augment.one_of(mj.augment.brightness(factor=2, p=1), mj.augment.brightness(factor=3, p=1))
        >>> {float(recipe(mj.augment.item_keys(0, i), image).voxels[0, 0, 0]) for i in range(9)} == {2.0, 3.0}
        True
    """
    if not steps:
        raise ValueError("one_of takes at least one step")
    given = as_weights(weights, len(steps))
    return _OneOf(steps, (probability(p, "p"), given), name=name)


def as_weights(weights: Any, count: int) -> Any:
    """Reads weights as float32, one for each step."""
    if weights is None:
        return np.ones(count, np.float32)
    array = jnp.asarray(weights, jnp.float32) if is_traced(weights) else np.asarray(weights, np.float32)
    is_wrong = not is_traced(array) and not (np.isfinite(array).all() and (array >= 0).all() and array.sum() > 0)
    if array.shape != (count,) or is_wrong:
        raise ValueError(f"weights must be {count} numbers, none negative and not all 0, got {weights!r}")
    return array


class _SomeOf(_Group, kind="some_of"):
    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        return {"applied": (), "count": (), "order": (len(self.steps),)}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        p, count = self.leaves
        order = numbers["order"]
        number = count.quantile(numbers["count"])
        rank = (order[..., None, :] < order[..., :, None]).sum(-1)
        chosen = rank.astype(jnp.float32) < number.reshape((*number.shape, 1))
        return {"applied": below(numbers["applied"], p), "chosen": chosen}

    def gates(self, values: Mapping[str, Any]) -> list[Any]:
        return [values["applied"] & values["chosen"][..., n] for n in range(len(self.steps))]

    def summary(self) -> str:
        return f"{self.leaves[1]} of {len(self.steps)}; p {_row(self.leaves[0])}"

    def words(self, values: Mapping[str, Any]) -> str:
        chosen = ", ".join(str(n) for n, bit in enumerate(values["chosen"]) if bit)
        return f"branches {chosen}" if values["applied"] else "not applied"


def some_of(*steps: Step, count: Spread = (1, 3), p: Scalar = 1.0, name: str | None = None) -> Step:
    """Makes a step that applies some of several to each item, in the order in which they are written.

    Args:
        steps: Steps and recipes.
        count: How many, a range of whole numbers, both ends included; all subsets of one size are alike.
        p: Probability that any is applied.
        name: Name in a recipe; default "some_of".

    Raises:
        ValueError: there is no step, the count is negative, or `p` is no probability.

    Example:
        >>> steps = [mj.augment.brightness(factor=2, p=1) for _ in range(3)]
        >>> image = mj.Image.from_array(np.ones((2, 2, 2), np.float32))
        >>> recipe = mj.augment.some_of(*steps, count=2)
        >>> [float(recipe(mj.augment.item_keys(0, i), image).voxels[0, 0, 0]) for i in range(3)]
        [4.0, 4.0, 4.0]
    """
    if not steps:
        raise ValueError("some_of takes at least one step")
    spread = as_distribution(count, "count", how="whole")
    if not is_traced(spread.first) and (spread.first < 0).any():
        raise ValueError(f"count must not be negative, got {count!r}")
    return _SomeOf(steps, (probability(p, "p"), spread), name=name)


class _Repeat(_Group, kind="repeat"):
    @property
    def views(self) -> int | None:
        return int(self.static)

    def add_to(self, nodes: list[Node], names: Names, gate: tuple[int, int] | None) -> None:
        for step in self.steps:
            step.add_to(nodes, names, gate)


def repeat(count: int, *steps: Step) -> Step:
    """Makes a recipe that gives several views of each item, as contrastive learning needs them.

    Images come back with a first batch axis of that length. View v of an item has the key `fold_in(item's key, v)`.

    Args:
        count: Number of views.
        steps: The recipe of each view.

    Raises:
        ValueError: the count is no positive integer, or a part is no step.

    Example:
        >>> image = mj.Image.from_array(np.ones((2, 2, 2), np.float32))
        >>> mj.augment.repeat(2, mj.augment.mirror())(jax.random.key(0), image).batch_shape
        (2,)
    """
    check_count(count, "count")
    return _Repeat(steps, static=int(count))


def _row(values: Any) -> str:
    if is_traced(values):
        return "(traced)"
    parts = [f"{x:.4g}" for x in np.asarray(values).ravel()]
    return parts[0] if np.ndim(values) == 0 else f"({', '.join(parts)})"
