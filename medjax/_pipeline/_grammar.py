"""Reads and writes steps: `name[:value,...][,key=value]` as text, a table as TOML. Needs no JAX."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from medjax._pipeline import _forms as forms
from medjax._pipeline._signatures import REQUIRED, parameters_of
from medjax._pipeline._steps import METHODS, StepKind, kind_named

__all__ = ["SCHEMA", "Step", "from_table", "from_text", "from_toml", "is_step", "to_toml"]

SCHEMA = "medjax.pipeline/1"

_MANY = (forms.triple, forms.positive, forms.three, forms.size, forms.width, forms.corner, forms.length)
"""Forms whose values are one word, or three."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a chain, its options read and checked.

    Attributes:
        name: The kind's.
        options: Values by the parameter's name, in the order of the signature; what was not given is not there.
        on: The roles of the images that it acts on; `None` for all that it can act on.
    """

    name: str
    options: Mapping[str, Any]
    on: tuple[str, ...] | None = None

    @property
    def kind(self) -> StepKind:
        return kind_named(self.name)

    def __str__(self) -> str:
        """The text that is read back to the same step."""
        positional: list[str] = []
        is_in_order = True
        for name in self.kind.positional:
            is_in_order = is_in_order and name in self.options
            if is_in_order and (len(positional) == 0 or self.kind.parameters[name].form not in _MANY):
                positional.append(name)
            else:
                is_in_order = False
        words = [forms.shown(self.options[name]) for name in positional]
        named = [f"{name}={forms.shown(value)}" for name, value in self.options.items() if name not in positional]
        roles = [] if self.on is None else [f"on={'+'.join(self.on)}"]
        parts = ",".join([*words, *named, *roles])
        return f"{self.name}:{parts}" if parts else self.name


def is_step(text: str) -> bool:
    """Whether a text has the form of a step, be it of a known kind or not: `resample:1.5`, `fill_holes`, `size,...`."""
    match = re.match(r"([a-z_]+)(?:([:,])|$)", text)
    if match is None:
        return False
    try:
        kind_named(match[1])
    except ValueError:
        return match[2] is not None and not re.match(r"[a-z]+:[/\\]", text)
    return True


def from_text(text: str) -> Step:
    """Reads a step.

    Raises:
        ValueError: the kind or an option is unknown, or a value has another form.

    Example:
        >>> step = from_text("resample:1.5,1.5,3,anchor=first")
        >>> step.options, str(step)
        ({'spacing': [1.5, 1.5, 3.0], 'anchor': 'first'}, 'resample:1.5,1.5,3,anchor=first')
    """
    match = re.fullmatch(r"\s*([A-Za-z_]+)\s*(?:[:,](.*))?", text, re.DOTALL)
    if match is None:
        raise ValueError(f"a step is written name:value,... or name:key=value,...; got {text!r}")
    name, rest = match[1], match[2]
    kind = kind_named(name)
    words: list[str] = []
    given: dict[str, list[Any]] = {}
    into = words
    for word in [one.strip() for one in rest.split(",")] if rest else []:
        key, equals, value = word.partition("=")
        if equals and re.fullmatch(r"[a-z_]+", key):
            if key in given:
                raise ValueError(f"{name}: {key} is given twice")
            into = given[key] = [value]
        else:
            into.append(word)
    on = given.pop("on", None)
    assigned = _assigned(kind, words)
    for key in assigned.keys() & given.keys():
        raise ValueError(f"{name}: {key} is given twice")
    return _checked(kind, assigned | given, None if on is None else "+".join(on).split("+"))


def from_table(entry: Mapping[str, Any]) -> Step:
    """Reads a step of TOML: one key that names the kind, and perhaps `on`.

    Raises:
        ValueError: as `from_text`.

    Example:
        >>> str(from_table({"resample": {"spacing": [2.0, 2.0, 3.0], "like": "ct"}}))
        'resample:2,2,3,like=ct'
        >>> str(from_table({"window": [40, 400], "on": ["ct"]}))
        'window:40,400,on=ct'
    """
    names = [name for name in entry if name != "on"]
    if len(names) != 1:
        raise ValueError(f"a step has one name, got {', '.join(map(repr, names)) or 'none'}")
    (name,) = names
    kind, value, on = kind_named(name), entry[name], entry.get("on")
    if on is not None and not (isinstance(on, list) and on and all(isinstance(one, str) for one in on)):
        raise ValueError(f"{name}: on is a list of roles, got {on!r}")
    if isinstance(value, Mapping):
        given = {key: forms.words_of(one) for key, one in value.items()}
        return _checked(kind, given, on)
    return _checked(kind, _assigned(kind, [] if value is True else forms.words_of(value)), on)


def _assigned(kind: StepKind, words: list[Any]) -> dict[str, list[Any]]:
    """Words without names, given to the parameters that may stand so."""
    found: dict[str, list[Any]] = {}
    rest = list(words)
    for place, name in enumerate(kind.positional):
        if not rest:
            break
        is_last = place == len(kind.positional) - 1
        count = 3 if kind.parameters[name].form in _MANY and len(rest) >= 3 else 1
        count = len(rest) if is_last else count
        found[name], rest = rest[:count], rest[count:]
    if rest:
        takes = f"takes {', '.join(kind.positional)}" if kind.positional else "takes no value"
        raise ValueError(f"{kind.name} {takes}; {forms.shown(rest)} is left over")
    return found


def _checked(kind: StepKind, given: Mapping[str, list[Any]], on: Any) -> Step:
    for name in given:
        if name not in kind.parameters:
            near = difflib.get_close_matches(name, kind.parameters, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(kind.parameters) or 'none'}"
            raise ValueError(f"{kind.name} has no option {name!r}{meant}")
    options = {}
    for name, parameter in kind.parameters.items():
        if name in given:
            try:
                options[name] = parameter.form(given[name])
            except ValueError as error:
                raise ValueError(f"{kind.name}: {name} must be {error}; got {forms.shown(given[name])!r}") from None
        elif parameter.default is REQUIRED:
            raise ValueError(f"{kind.name} needs {name}: {parameter.help[:1].lower() + parameter.help[1:]}")
    _check_together(kind.name, options)
    return Step(kind.name, options, None if on is None else tuple(on))


def _check_together(name: str, options: Mapping[str, Any]) -> None:
    """Refuses options that exclude each other, and steps that say nothing."""
    if name == "resample":
        if not options.keys() & {"spacing", "size", "like", "transform"}:
            raise ValueError("resample needs spacing, size, like or transform")
        if "like" in options and (options.keys() & {"antialias", "size"}):
            raise ValueError("resample with like takes the grid of that image: leave out antialias and size")
        if "transform" in options and options.get("antialias"):
            raise ValueError("resample: antialias is for changes of spacing alone: leave out transform")
    if name == "crop":
        is_box = options.keys() & {"start", "size"}
        if is_box and "to_mask" in options:
            raise ValueError("crop takes a box (start, size) or to_mask, not both")
        if "to_mask" not in options and len(is_box) < 2:
            raise ValueError("crop needs start and size, or to_mask")
        if "margin" in options and "to_mask" not in options:
            raise ValueError("crop: margin is kept around a mask: give to_mask")
    if name == "normalize":
        method = options["method"]
        own = {"method", *parameters_of(*METHODS[method])} | ({"landmarks"} if method == "nyul" else set())
        wrong = [one for one in options if one not in own]
        if wrong:
            raise ValueError(f"normalize:{method} has no option {wrong[0]!r}")
        if method == "nyul" and "landmarks" not in options:
            raise ValueError("normalize:nyul needs landmarks, the JSON file of NyulLandmarks.to_json")


def from_toml(text: str) -> list[Step]:
    """Reads the steps of a pipeline file.

    Raises:
        ValueError: the text is no TOML, is of another schema, or a step is wrong; the message says which.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"this is no TOML: {error}") from None
    if table.get("schema") != SCHEMA:
        raise ValueError(f"schema must be {SCHEMA!r}, got {table.get('schema')!r}")
    for key in table:
        if key not in ("schema", "steps"):
            near = difflib.get_close_matches(key, ("schema", "steps"), 1)
            raise ValueError(f"there is no key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    steps = table.get("steps", [])
    if not isinstance(steps, list):
        raise ValueError("steps are written [[steps]], one for each")
    found = []
    for number, entry in enumerate(steps, 1):
        try:
            found.append(from_table(entry))
        except ValueError as error:
            raise ValueError(f"step {number}: {error}") from None
    return found


def to_toml(steps: Iterable[Step]) -> str:
    """Writes a pipeline file that is read back to the same steps."""
    blocks = [f'schema = "{SCHEMA}"\n']
    for step in steps:
        pairs = ", ".join(f"{name} = {_toml(value)}" for name, value in step.options.items())
        on = "" if step.on is None else f"on = {_toml(list(step.on))}\n"
        blocks.append(
            f"[[steps]]\n{on}{step.name} = {{ {pairs} }}\n" if pairs else f"[[steps]]\n{on}{step.name} = true\n"
        )
    return "\n".join(blocks)


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
