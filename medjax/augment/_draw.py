"""What a recipe has drawn: a pytree of arrays that is logged, saved, replayed, indexed and differentiated."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._lazy import public

__all__ = ["STEPS", "Draw", "Entry", "Settings", "step_of"]

STEPS: dict[str, Any] = {}
"""The classes of steps by name; `_step.step` enters them."""

_FORMAT = "medjax.augment.Draw 1"


class Entry(NamedTuple):
    """What is static about a step of a draw.

    Attributes:
        name: Its name in the recipe.
        kind: Name of its class.
        options: Its options, by name.
    """

    name: str
    kind: str
    options: tuple[tuple[str, Any], ...]


class Settings(NamedTuple):
    """What is static about a recipe as a whole; `sequence` explains them."""

    reference: str | None = None
    label_mode: str = "nearest"
    num_classes: int | None = None
    fill: float | None = None
    label_fill: int = 0


@public("medjax.augment")
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Draw:
    """What a recipe has drawn, for one image or for each item of a batch.

    `recipe.sample` makes it and `apply` uses it. It is a pytree of arrays, so it can be an argument of `jit`, saved,
    and
    differentiated: a gradient reaches every parameter that is continuous. `draw[i]` is the draw of item i, and
    `print(draw)` says in words what it will do. Two draws are equal if all their arrays are.

    Attributes:
        key: `(*batch, 2)` uint32, the data of the items' keys.
        values: For each step its parameters by name, `(*batch, ...)`. For a step of intensities they are sorted by
            image
            first: `draw.values["gamma"]["ct"]["log_gamma"]`. `"applied"` says which items the step changes.
        entries: The steps in order, with their options; static.
        settings: What `sequence` was told about labels and fill; static.

    Example:
        >>> image = mj.Image.from_array(np.ones((4, 4, 4), np.float32))
        >>> recipe = mj.augment.affine(rotation=(0, 30), scale=1)
        >>> draw = recipe.sample(jax.random.key(0), image)
        >>> draw.values["affine"]["rotation"].shape
        (3,)
        >>> mj.augment.Draw.from_json(draw.to_json()) == draw
        True
    """

    key: Any
    values: dict[str, Any]
    entries: tuple[Entry, ...]
    settings: Settings

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading batch axes, `()` for a single image."""
        return tuple(self.key.shape[:-1])

    def __getitem__(self, item: Any) -> Draw:
        if not self.batch_shape:
            raise IndexError("this is the draw of one image; there are no items to choose from")
        return jax.tree.map(lambda leaf: leaf[item], self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Draw):
            return NotImplemented
        mine, structure = jax.tree.flatten(self)
        theirs, others = jax.tree.flatten(other)
        is_alike: Any = structure == others  # type: ignore[operator]
        return bool(is_alike) and all(_are_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def to_json(self) -> str:
        """Writes the draw as JSON text, to the last bit: floating-point numbers are hexadecimal.

        Raises:
            TypeError: the draw is traced.

        Example:
            >>> image = mj.Image.from_array(np.ones((4, 4, 4), np.float32))
            >>> mj.augment.mirror(axes="R").sample(jax.random.key(0), image).to_json()[:36]
            '{"format": "medjax.augment.Draw 1", '
        """
        if is_traced(self.key, self.values):
            raise TypeError("the draw is traced: write it outside of jit, vmap and grad")
        steps = [
            {
                "name": entry.name,
                "step": entry.kind,
                "options": dict(entry.options),
                "values": jax.tree.map(_written, self.values[entry.name]),
            }
            for entry in self.entries
        ]
        settings = self.settings._asdict()
        return json.dumps({"format": _FORMAT, "key": _written(self.key), "settings": settings, "steps": steps})

    @staticmethod
    def from_json(text: str) -> Draw:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: the text is no draw, or speaks of a step that is not known here.

        Example:
            >>> mj.augment.Draw.from_json("{}")
            Traceback (most recent call last):
            ValueError: the text is no draw of medjax.augment: it lacks "format": "medjax.augment.Draw 1"
        """
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"the text is no draw of medjax.augment, nor any JSON: {error}") from None
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise ValueError(f'the text is no draw of medjax.augment: it lacks "format": "{_FORMAT}"')
        try:
            entries = tuple(
                Entry(step["name"], step["step"], tuple((k, _frozen(v)) for k, v in step["options"].items()))
                for step in found["steps"]
            )
            values = {step["name"]: _read(step["values"]) for step in found["steps"]}
            settings = Settings(**{name: _frozen(value) for name, value in found["settings"].items()})
            key = _read(found["key"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"the text is a damaged draw of medjax.augment: {error!r}") from None
        for entry in entries:
            step_of(entry)
        return Draw(key, values, entries, settings)

    def __repr__(self) -> str:
        if is_traced(self.key, self.values) or not all(hasattr(x, "shape") for x in jax.tree.leaves(self)):
            return f"Draw({', '.join(entry.name for entry in self.entries)}; traced)"
        if not self.batch_shape:
            return "\n".join(self._lines()) or "Draw of no steps"
        items = np.ndindex(*self.batch_shape)
        return "\n".join(f"item {', '.join(map(str, i))}\n  " + "\n  ".join(self[i]._lines()) for i in items)

    def _lines(self) -> list[str]:
        """What happens to one image, a line for each step and image."""
        lines = []
        for entry in self.entries:
            bound, values = step_of(entry), jax.tree.map(np.asarray, self.values[entry.name])
            by_image = {"": values} if bound.is_shared_by_images else values
            for image, own in by_image.items():
                lines.append(f"{entry.name}{f' of {image}' if image else ''}: {bound.words(own)}")
        return lines


jax.tree_util.register_dataclass(Draw, ["key", "values"], ["entries", "settings"])


def step_of(entry: Entry) -> Any:
    """Returns a step with an entry's options and without ranges.

    Raises:
        ValueError: no class of that name is known.
    """
    if entry.kind not in STEPS:
        getattr(sys.modules["medjax.augment"], entry.kind, None)  # loads it, where it is one of the package's own
    if entry.kind not in STEPS:
        raise ValueError(
            f"the draw has a step {entry.kind!r}, which is not known here; import the module that defines it"
        )
    return STEPS[entry.kind].bound(dict(entry.options))


def _written(leaf: Any) -> dict[str, Any]:
    array = np.asarray(leaf)
    flat = array.ravel().tolist()
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "numbers": [x.hex() for x in flat] if array.dtype.kind == "f" else flat,
    }


def _read(part: Any) -> Any:
    """The arrays of nested dictionaries, the innermost as `_written` made them."""
    if "dtype" not in part:
        return {name: _read(inner) for name, inner in part.items()}
    dtype = np.dtype(part["dtype"])
    numbers = [float.fromhex(x) for x in part["numbers"]] if dtype.kind == "f" else part["numbers"]
    return np.asarray(numbers, dtype).reshape(part["shape"])


def _frozen(value: Any) -> Any:
    return tuple(_frozen(inner) for inner in value) if isinstance(value, list) else value


def _are_equal(a: Any, b: Any) -> bool:
    one, other = np.asarray(a), np.asarray(b)
    return one.dtype == other.dtype and np.array_equal(one, other)
