"""What a step is: ranges to draw its parameters from, options that are static, and how it is declared.

A step is a small class whose fields are its parameters (`drawn`, `chance`) and its options (any other default).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import Scalar, StaticSize, Voxels
from medjax._image._checks import check_count
from medjax._image._image import Image
from medjax._lazy import public
from medjax.augment._apply import apply_sampled
from medjax.augment._distribution import Kind, as_distribution
from medjax.augment._draw import STEPS, Draw, Settings
from medjax.augment._profile import milliseconds
from medjax.augment._sampling import Images, Node, sample

__all__ = ["DrawnStep", "IntensityStep", "Step", "below", "chance", "drawn", "probability", "step"]

Class = TypeVar("Class", bound=type)


class Parameter(NamedTuple):
    """How a parameter of a step is drawn; the arguments of `drawn` explain it."""

    unit: str
    how: Kind
    is_symmetric: bool
    shape: tuple[int, ...]
    least: float | int
    leaf: str | None


def drawn(
    default: Any,
    unit: str = "",
    *,
    how: Kind = "uniform",
    plus_minus: bool = False,
    shape: tuple[int, ...] = (),
    least: float | int = -np.inf,
) -> Any:
    """Declares a parameter of a step that is drawn for each item.

    Args:
        default: What the argument takes: a number, `(low, high)` or a `Distribution`.
        unit: Of the number, for descriptions.
        how: What a pair `(low, high)` means: "uniform", "log_uniform" or "whole" (integers).
        plus_minus: Whether a number means plus or minus it.
        shape: Axes of one value, such as `(3,)`.
        least: The lowest value that makes sense.
    """
    return dataclasses.field(default=default, metadata={"drawn": Parameter(unit, how, plus_minus, shape, least, None)})


def chance(default: Any, *, leaf: str) -> Any:
    """Declares a probability; what is drawn with it for each item is a boolean, `leaf` in a `Draw`."""
    return dataclasses.field(default=default, metadata={"drawn": Parameter("", "fixed", False, (), 0.0, leaf)})


@public("medjax.augment")
class Step:
    """A step of augmentation, or a recipe of several: `step.sample`, `apply` and `step(keys, images)`.

    Every step is a pytree. Ranges and probabilities are its leaves, so they may be traced, and other numbers compile
    nothing anew. The order of steps, their names and options are static.

    Example:
        >>> image = mj.Image.from_array(np.arange(64.0).reshape(4, 4, 4))
        >>> recipe = mj.augment.sequence(mj.augment.mirror(axes="R"), mj.augment.affine(rotation=10))
        >>> out = recipe(jax.random.key(1), image)
        >>> out.shape
        (4, 4, 4)
        >>> draw = recipe.sample(jax.random.key(1), image)
        >>> bool((mj.augment.apply(draw, image).voxels == out.voxels).all())
        True
    """

    is_shared_by_images: ClassVar[bool] = True
    role: ClassVar[Literal["spatial", "intensity", "mixing", "choice"]]
    has_lattice: ClassVar[bool] = False
    only_reverses: ClassVar[bool] = False
    kind: ClassVar[str] = ""
    home: ClassVar[tuple[str, str]]
    name: str | None

    def sample(self, keys: jax.Array, images: Images) -> Draw:
        """Draws the parameters of every step, for one image or for each item of a batch.

        Args:
            keys: One typed key, or one for each item. Item i of a batch that comes with one key has `fold_in(key, i)`.
            images: An image, or a dictionary of images of one batch. Names, kinds and channels count, not the voxels.

        Raises:
            ValueError: the keys are no typed threefry keys or of another number, the batches differ, or two steps have
                one name.

        Example:
            >>> image = mj.Image.from_array(np.ones((4, 4, 4), np.float32))
            >>> mj.augment.affine(translation=(0, 4), rotation=0, scale=1).sample(jax.random.key(0), image).batch_shape
            ()
        """
        return sample(self, keys, images)

    def __call__(
        self, keys: jax.Array, images: Images, *, size: StaticSize | None = None, start: Voxels | None = None
    ) -> Any:
        """Draws and applies, in one program: `apply(step.sample(keys, images), images, size=size, start=start)`."""
        return apply_sampled(self, keys, images, size, start)

    def profile(self, images: Images, *, rounds: int = 3) -> dict[str, float]:
        """Times each part of the recipe by itself, so that the slow one shows.

        Spatial steps that share a gather are one part. Every item is changed, whatever the probabilities: a step that
        is drawn rarely costs less than is said here. Inside one program XLA joins steps, so the recipe takes less than
        the sum.

        Args:
            images: An image, or a dictionary of them; what is drawn has keys of its own.
            rounds: Calls of which the fastest counts. One more is made first, which compiles.

        Returns:
            Milliseconds for each part, by the names of its steps, in order.

        Raises:
            ValueError: as `sample`, or `rounds` is no positive integer.

        Example:
            >>> image = mj.Image.from_array(np.ones((4, 4, 4), np.float32))
            >>> recipe = mj.augment.sequence(mj.augment.mirror(), mj.augment.affine(), mj.augment.gamma())
            >>> list(recipe.profile(image, rounds=1))
            ['mirror + affine', 'gamma']
        """
        check_count(rounds, "rounds")
        return milliseconds(self, images, rounds)

    def describe(self) -> str:
        """Says in words what is drawn, a line for each step.

        Example:
            >>> print(mj.augment.brightness(factor=(0.9, 1.1), p=0.2).describe())
            brightness: factor uniform 0.9 to 1.1, shift fixed 0; p 0.2
        """
        nodes: list[Node] = []
        self.list_into(nodes)
        depth: list[int] = []
        for node in nodes:
            depth.append(0 if node.gate is None else depth[node.gate[0]] + 1)
        return "\n".join(f"{'  ' * d}{node.name}: {node.step.summary()}" for d, node in zip(depth, nodes, strict=True))

    @property
    def commutes(self) -> bool:
        """Whether it multiplies voxels and adds to them, by numbers that do not depend on them."""
        return False

    @property
    def settings(self) -> Settings:
        """What the recipe does with labels and with what lies outside."""
        return Settings()

    @property
    def views(self) -> int | None:
        """How many results there are of each item; `None` for one without an axis of its own."""
        return None

    def list_into(self, nodes: list[Node]) -> None:
        """Lists all that draws, in the order in which it acts."""
        self.add_to(nodes, Names(), None)

    def add_to(self, nodes: list[Node], names: Names, gate: tuple[int, int] | None) -> None:
        """Lists a part of a recipe."""
        raise NotImplementedError

    def summary(self) -> str:
        """What is drawn, in words."""
        raise NotImplementedError


class Names:
    """Gives each step of a recipe its name: its own, or its class and the running number of that class."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.taken: set[str] = set()

    def of(self, step: Any) -> str:
        kind = step.kind
        if step.name is None:
            self.counts[kind] = self.counts.get(kind, 0) + 1
        name = step.name or kind + (f"_{self.counts[kind]}" if self.counts[kind] > 1 else "")
        if name in self.taken:
            raise ValueError(f"two steps have the name {name!r}; give one of them another, name=...")
        self.taken.add(name)
        return name


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DrawnStep(Step):
    """A step that changes images itself.

    Attributes:
        p: Probability that an item is changed; a leaf.
        name: Name in a recipe, from which its random numbers follow; default the class' name and a running number.
    """

    p: Scalar = 1.0
    name: str | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, own = getattr(self, field.name), field.metadata.get("drawn")
            if own is None:
                if field.name != "p":
                    object.__setattr__(self, field.name, _static(value, field.name))
                continue
            if own.leaf:
                object.__setattr__(self, field.name, probability(value, field.name))
                continue
            made = as_distribution(value, field.name, how=own.how, is_symmetric=own.is_symmetric, shape=own.shape)
            if (
                made.kind not in ("normal", "reciprocal")
                and not is_traced(made.first)
                and (made.first < own.least).any()
            ):
                raise ValueError(f"{field.name} must be at least {own.least:g}, got {value!r}")
            object.__setattr__(self, field.name, made)
        object.__setattr__(self, "p", probability(self.p, "p"))
        self.check()

    def check(self) -> None:
        """Raises `ValueError` for options that make no sense; for steps to override."""

    # --- As a pytree: what is drawn and the probability are leaves, the options are structure.

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """The parameters that are drawn, in the order of their declaration."""
        return {f.name: f.metadata["drawn"] for f in dataclasses.fields(cls) if "drawn" in f.metadata}

    @classmethod
    def option_names(cls) -> list[str]:
        return [f.name for f in dataclasses.fields(cls) if "drawn" not in f.metadata and f.name not in ("p", "name")]

    @property
    def is_shared(self) -> bool:
        """Whether all images share the random numbers."""
        return getattr(self, "shared", False)

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        return tuple((name, getattr(self, name)) for name in self.option_names())

    @classmethod
    def bound(cls, options: Mapping[str, Any]) -> Any:
        """Returns a step with these options, without ranges: one that changes images by what was drawn before."""
        made = object.__new__(cls)
        for name in ("p", "name", *cls.parameters()):
            object.__setattr__(made, name, None)
        for name, value in options.items():
            object.__setattr__(made, name, value)
        return made

    # --- Drawing.

    def add_to(self, nodes: list[Node], names: Names, gate: tuple[int, int] | None) -> None:
        nodes.append(Node(self, names.of(self), gate))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The axes of each parameter's values; for steps to override where options decide."""
        return {name: parameter.shape for name, parameter in self.parameters().items()}

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        """The random numbers that the step needs for one image of one item."""
        return {"applied": (), **self.shapes()}

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """Makes what a draw holds out of uniform numbers."""
        found: dict[str, Any] = {"applied": below(numbers["applied"], self.p)}
        for name, parameter in self.parameters().items():
            given = getattr(self, name)
            if parameter.leaf:
                found[parameter.leaf] = below(numbers[name], given)
            else:
                found[name] = given.quantile(numbers[name])
        return found

    # --- Words.

    def summary(self) -> str:
        parts = []
        for name, parameter in self.parameters().items():
            given = getattr(self, name)
            if parameter.leaf:
                parts.append(f"{name} {_number(given)}")
            else:
                parts.append(f"{name} {given}{f' {parameter.unit}' if parameter.unit else ''}")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        parts += [f"{name}={value!r}" for name, value in self.options if not _is_default(value, defaults[name])]
        return "; ".join([", ".join(parts), f"p {_number(self.p)}"] if parts else [f"p {_number(self.p)}"])

    def words(self, values: Mapping[str, Any]) -> str:
        """Says in words what was drawn for one image."""
        if not values["applied"].any():
            return "not applied"
        units = {parameter.leaf or name: parameter.unit for name, parameter in self.parameters().items()}
        parts = []
        for name in [*(name for name in units if name in values), *(name for name in values if name not in units)]:
            value = values[name]
            if name in ("applied", "key"):
                continue
            text = _number(value) if value.size <= 8 else f"{'x'.join(map(str, value.shape))} numbers"
            parts.append(f"{name} {text}{f' {units[name]}' if units.get(name) else ''}")
        return ", ".join(parts) or "applied"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary()})"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class IntensityStep(DrawnStep):
    """A step that changes intensities on their own grid; labels stay as they are.

    A step of this kind has a method `change(image, ...)` that takes what was drawn by name, in a shape that broadcasts
    against `(*batch, *channels)`, and `key`, one for each item, if it is among its arguments.

    Attributes:
        only: Names of the images to change; default all.
        skip: Names of images to leave as they are.
        shared: Whether all images of an item share one draw; else each has its own.
        per_channel: Probability that a channel of an item is changed. With it each channel has its own parameters;
            without it all channels share one draw.
    """

    role = "intensity"
    is_shared_by_images: ClassVar[bool] = False
    computes_for: ClassVar[Literal["all", "batch", "item"]] = "all"
    """"all": always; "batch": not where no item of the batch drew it; "item": for those items alone that drew it."""

    differs_by_channel: ClassVar[bool] = True
    """Whether channels of an image may have parameters of their own."""

    only: str | Sequence[str] | None = None
    skip: str | Sequence[str] = ()
    shared: bool = False
    per_channel: Scalar | None = None

    def __post_init__(self) -> None:
        for name in ("only", "skip"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else value)
        given = self.per_channel
        if given is not None and not self.differs_by_channel:
            raise ValueError(f"{self.kind} changes all channels alike; leave per_channel out")
        super().__post_init__()
        if given is not None:
            object.__setattr__(self, "per_channel", probability(given, "per_channel"))

    @classmethod
    def option_names(cls) -> list[str]:
        return [name for name in super().option_names() if name != "per_channel"]

    @classmethod
    def takes_key(cls) -> bool:
        """Whether the change itself is random, as noise is."""
        return "key" in inspect.signature(cls.change).parameters

    def change(self, image: Image, *key: Any, **values: Any) -> Image:
        """Returns the changed image."""
        raise NotImplementedError

    def requests(self, channels: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
        lead = () if self.per_channel is None else channels
        wanted: dict[str, tuple[int, ...] | None] = {"applied": ()}
        wanted |= {} if self.per_channel is None else {"per_channel": channels}
        wanted |= {name: lead + shape for name, shape in self.shapes().items()}
        return wanted | ({"key": None} if self.takes_key() else {})

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        found = super().values(numbers)
        if self.per_channel is not None:
            chosen = below(numbers["per_channel"], self.per_channel)
            lead = found["applied"].ndim
            found["applied"] = found["applied"].reshape(found["applied"].shape + (1,) * (chosen.ndim - lead)) & chosen
        return found | ({"key": numbers["key"]} if "key" in numbers else {})


@dataclass_transform(kw_only_default=True, frozen_default=True)
def step(cls: Class) -> Class:
    """Makes a class a step: a frozen dataclass with keyword arguments, a pytree, and known to draws by its name."""
    made: Any = dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)
    made.kind = made.__name__
    made.home = (made.__module__, made.__qualname__)
    own = STEPS.setdefault(made.__name__, made)
    if own.home != made.home:
        raise ValueError(f"there is a step {made.__name__!r} already, in {own.home[0]}; give the class another name")
    STEPS[made.__name__] = made
    leaves = ["p", *made.parameters(), *(["per_channel"] if hasattr(made, "per_channel") else [])]

    def flattened(given: Any) -> tuple[Any, Any]:
        children = [(jax.tree_util.GetAttrKey(name), getattr(given, name)) for name in leaves]
        return children, (given.name, given.options)

    def unflattened(aux: Any, children: Any) -> Any:
        name, options = aux
        found = made.bound(dict(options))
        for field, value in zip(["name", *leaves], [name, *children], strict=True):
            object.__setattr__(found, field, value)
        return found

    jax.tree_util.register_pytree_with_keys(made, flattened, unflattened)
    return public("medjax.augment")(made) if made.__module__.startswith("medjax.augment.") else made


def below(number: Any, probability: Any) -> Any:
    return number < jnp.asarray(probability, jnp.float32).reshape((1,) * number.ndim)


def probability(value: Any, name: str) -> Any:
    """Reads a probability as float32.

    Raises:
        ValueError: it is known and does not lie within 0 and 1.
    """
    if is_traced(value):
        return jnp.asarray(value, jnp.float32)
    try:
        number = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        number = np.asarray(np.nan)
    if number.ndim or not 0 <= number <= 1:
        raise ValueError(f"{name} must be a probability, one number from 0 to 1, got {value!r}")
    return number


def _static(value: Any, name: str) -> Any:
    """Brings an option to a form that can be compared and saved: rows become tuples.

    Raises:
        ValueError: it is traced.
    """
    if is_traced(value):
        raise ValueError(f"{name} is static: it decides what is compiled and cannot be traced")
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(_static(inner, name) for inner in value) if isinstance(value, list | tuple) else value


def _is_default(value: Any, default: Any) -> bool:
    """Whether an option is its default, also in the form that the step brings it to."""
    return value == default or (isinstance(value, tuple) and all(part == default for part in value) and value != ())


def _number(value: Any) -> str:
    if is_traced(value):
        return "(traced)"
    array = np.asarray(value)
    parts = [str(bool(x)).lower() if array.dtype == bool else f"{x:.4g}" for x in array.ravel()]
    return parts[0] if not array.ndim else f"({', '.join(parts)})"
