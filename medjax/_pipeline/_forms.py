"""The forms that an option's value may take, read from the words of a text or from a value of TOML. Needs no JAX."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medjax._geometry._orientation import check_code

__all__ = ["FORMS", "choice", "length", "shown", "words_of"]

Form = Callable[[Sequence[Any]], Any]
"""Makes a value of the words that were given; raises `ValueError` that says what is expected, without the name."""


def number(words: Sequence[Any]) -> float:
    """One finite number."""
    return _numbers(words, (1,), "one number")[0]


def triple(words: Sequence[Any]) -> float | list[float]:
    """One number for all axes, or three for i, j, k."""
    found = _numbers(words, (1, 3), "one number or three")
    return found[0] if len(found) == 1 else found


def positive(words: Sequence[Any]) -> float | list[float]:
    """One number above 0 for all axes, or three."""
    found = triple(words)
    if min(found if isinstance(found, list) else [found]) <= 0:
        raise ValueError("above 0")
    return found


def three(words: Sequence[Any]) -> list[float]:
    """Three numbers."""
    return _numbers(words, (3,), "three numbers")


def pair(words: Sequence[Any]) -> list[float]:
    """Two numbers, the lower one first."""
    low, high = _numbers(words, (2,), "two numbers")
    if not low < high:
        raise ValueError("two numbers, the lower one first")
    return [low, high]


def size(words: Sequence[Any]) -> int | list[int]:
    """One number of voxels for all axes, or three; at least 1."""
    return _wholes(words, (1, 3), 1)


def width(words: Sequence[Any]) -> int | list[int]:
    """One number of voxels for all axes, or three; 0 is one."""
    return _wholes(words, (1, 3), 0)


def corner(words: Sequence[Any]) -> int | list[int]:
    """An index: one whole number for all axes, or three."""
    return _wholes(words, (1, 3), 0)


def whole(words: Sequence[Any]) -> int:
    """One whole number."""
    (found,) = _numbers(words, (1,), "one whole number")
    if not found.is_integer():
        raise ValueError("one whole number")
    return int(found)


def flag(words: Sequence[Any]) -> bool:
    """Yes or no."""
    word = str(words[0]).lower() if len(words) == 1 else ""
    if word not in _TRUTHS:
        raise ValueError("true or false")
    return _TRUTHS[word]


_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def word(words: Sequence[Any]) -> str:
    """One word or path, such as the name of a file."""
    if len(words) != 1 or not isinstance(words[0], str) or not words[0]:
        raise ValueError("one name (a file whose name holds a comma cannot stand here)")
    return words[0]


def orientation(words: Sequence[Any]) -> str:
    """A code of three letters."""
    return check_code(str(words[0]).upper() if len(words) == 1 else words)


def axis(words: Sequence[Any]) -> str:
    """An axis of the image."""
    found = axes(words)
    if len(found) != 1:
        raise ValueError("one of i, j, k")
    return found


def axes(words: Sequence[Any]) -> str:
    """Axes of the image, such as "ij"."""
    letters = "".join(str(part) for part in words).translate(str.maketrans("012", "ijk"))
    if not re.fullmatch("[ijk]{1,3}", letters) or len(set(letters)) != len(letters):
        raise ValueError("axes of i, j, k, each once")
    return letters


def dtype(words: Sequence[Any]) -> str:
    """A type of voxels that NumPy knows."""
    try:
        (name,) = words
        found = np.dtype(name)
    except (TypeError, ValueError):
        found = None
    if found is None or found.kind not in "iuf":
        raise ValueError("a type of numbers, such as int16, uint8 or float32")
    return found.name


def length(words: Sequence[Any]) -> str:
    """A length along each axis, in voxels or with its unit, such as 5mm."""
    values, units = [], set()
    for one in words:
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(mm|voxels?|)\s*", str(one))
        if match is None:
            raise ValueError("one number or three, in voxels or mm, such as 4 or 5mm")
        values.append(float(match[1]))
        units.add("mm" if match[2] == "mm" else "")
    if len(values) not in (1, 3) or len(units) != 1:
        raise ValueError("one number or three in one unit, such as 4 or 5mm")
    return ",".join(shown(value) + min(units) for value in values)


def choice(values: Sequence[str | int]) -> Form:
    """One of some words or numbers."""

    def chosen(words: Sequence[Any]) -> Any:
        found = [value for value in values if len(words) == 1 and str(words[0]) == str(value)]
        if not found:
            raise ValueError(f"one of {', '.join(map(str, values))}")
        return found[0]

    return chosen


# By the annotation of the public function's parameter.
FORMS: dict[str, Form] = {
    "Axis": axis,
    "Axis | Sequence[Axis]": axes,
    "DTypeLike": dtype,
    "Degrees": number,
    "Fill": number,
    "Number": number,
    "Orientation": orientation,
    "PerItem": number,
    "Points": three,
    "Range": pair,
    "StaticSize": width,
    "StaticTriple": triple,
    "Triple": triple,
    "bool": flag,
    "int": whole,
    "tuple[Number, Number]": pair,
}


def _numbers(words: Sequence[Any], counts: tuple[int, ...], wanted: str) -> list[float]:
    try:
        found = [_finite(one) for one in words]
    except (TypeError, ValueError):
        raise ValueError(wanted) from None
    if len(found) not in counts:
        raise ValueError(wanted)
    return found


def _finite(value: Any) -> float:
    found = float(value)
    if isinstance(value, bool) or not math.isfinite(found):
        raise ValueError
    return found


def _wholes(words: Sequence[Any], counts: tuple[int, ...], least: int) -> int | list[int]:
    wanted = f"one whole number or three, at least {least}"
    found = _numbers(words, counts, wanted)
    if any(not one.is_integer() or one < least for one in found):
        raise ValueError(wanted)
    return int(found[0]) if len(found) == 1 else [int(one) for one in found]


def words_of(value: Any) -> list[Any]:
    """The words of a value of TOML or of Python: a list's items, or the value alone; those of a text lie at commas."""
    if isinstance(value, str):
        return value.split(",")
    return list(value) if isinstance(value, list | tuple) else [value]


def shown(value: Any) -> str:
    """A value as a word of the text that is read back to it.

    Example:
        >>> shown([1.0, 0.5, 3]), shown(True), shown("RAS")
        ('1,0.5,3', 'true', 'RAS')
    """
    if isinstance(value, list | tuple):
        return ",".join(shown(one) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
