"""Public names that changed: the old one works for two minor releases and says, at each use, what to write instead."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = ["DEPRECATIONS", "Deprecation", "overdue", "renamed_argument", "renamed_function"]

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Deprecation:
    """A name that is on its way out.

    Attributes:
        old: The name as users write it.
        new: What to write instead.
        since: The minor release that warns first, such as "0.2".

    Example:
        >>> print(Deprecation("rotate(angle=...)", "rotate(degrees=...)", "0.2").message)
        rotate(angle=...) is deprecated since medjax 0.2 and will be removed in 0.4: use rotate(degrees=...)
    """

    old: str
    new: str
    since: str

    @property
    def removal(self) -> str:
        """The release without the old name: two minor releases warn."""
        major, minor = _release(self.since)
        return f"{major}.{minor + 2}"

    @property
    def message(self) -> str:
        """What the warning says."""
        return (
            f"{self.old} is deprecated since medjax {self.since} and will be removed in {self.removal}: use {self.new}"
        )


DEPRECATIONS: list[Deprecation] = []
"""All that is deprecated now, in the modules that were imported."""


def renamed_argument(old: str, new: str, *, since: str) -> Callable[[Function], Function]:
    """Lets a function take a keyword argument by its former name, with a `FutureWarning`.

    Args:
        old: The former name, which no longer stands in the signature.
        new: The name now.
        since: The minor release that warns first.

    Returns:
        A decorator. The function's signature and docstring stay as they are.

    Example::

        @renamed_argument("angle", "degrees", since="0.2")
        def rotate(image, axis, degrees): ...
    """

    def decorated(function: Function) -> Function:
        name = function.__name__
        deprecation = _noted(Deprecation(f"{name}({old}=...)", f"{name}({new}=...)", since))

        @functools.wraps(function)
        def called(*arguments: Any, **keywords: Any) -> Any:
            if old in keywords:
                if new in keywords:
                    raise TypeError(f"{name}() got both {old} and {new}, its new name: give {new} alone")
                warnings.warn(deprecation.message, FutureWarning, stacklevel=2)
                keywords[new] = keywords.pop(old)
            return function(*arguments, **keywords)

        return called  # type: ignore[return-value]

    return decorated


def renamed_function(old: str, function: Function, *, since: str) -> Function:
    """Returns a function under its former name, which warns with a `FutureWarning` and calls the function.

    Its line stays in `__init__.pyi` until it is removed.

    Args:
        old: The former name.
        function: The function under its name of now.
        since: The minor release that warns first.

    Example::

        spin = renamed_function("spin", rotate, since="0.2")
    """
    deprecation = _noted(Deprecation(old, function.__name__, since))

    @functools.wraps(function)
    def called(*arguments: Any, **keywords: Any) -> Any:
        warnings.warn(deprecation.message, FutureWarning, stacklevel=2)
        return function(*arguments, **keywords)

    called.__name__ = called.__qualname__ = old
    called.__doc__ = f"Deprecated since {since}: use `{function.__name__}`.\n\n    {function.__doc__ or ''}"
    return called  # type: ignore[return-value]


def overdue(deprecations: Iterable[Deprecation], version: str) -> list[Deprecation]:
    """Lists what has warned for two minor releases or is of an earlier major one, and must go."""
    return [each for each in deprecations if _release(version) >= _release(each.removal)]


def _noted(deprecation: Deprecation) -> Deprecation:
    _release(deprecation.since)  # refuses what is no release where the developer wrote it
    DEPRECATIONS.append(deprecation)
    return deprecation


def _release(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)
