"""The parameters of public functions, read from their source: names, types, defaults and a line of help, without JAX.

The command line, TOML and Python cannot drift apart, since this is the only list of a step's options.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

from medjax._pipeline._forms import FORMS, Form, choice

__all__ = ["Parameter", "function_line", "parameters_of"]

_PACKAGE = Path(__file__).parent.parent

REQUIRED: Any = ...
"""The default of a parameter that has none."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """An option of a step.

    Attributes:
        name: As the public function calls it.
        form: How its value is read.
        default: The function's, or `REQUIRED`.
        help: The first sentence of its documentation.
        choices: The words that it takes, where they are few.
        is_flag: Whether it is yes or no.
    """

    name: str
    form: Form
    default: Any = REQUIRED
    help: str = ""
    choices: tuple[str, ...] = ()
    is_flag: bool = False


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse((_PACKAGE / f"{module}.py").read_text("utf-8"))


@functools.cache
def _function(module: str, name: str) -> ast.FunctionDef:
    return next(node for node in _tree(module).body if isinstance(node, ast.FunctionDef) and node.name == name)


def function_line(module: str, name: str) -> str:
    """The first sentence of a function's documentation."""
    return (ast.get_docstring(_function(module, name)) or "").partition("\n")[0]


def parameters_of(module: str, name: str) -> dict[str, Parameter]:
    """The parameters of a public function that can be said in words: all but images, masks, transforms and keys.

    Args:
        module: Path of the module below the package, without its ending, such as `_space/_resample`.
        name: The function's.
    """
    node = _function(module, name)
    of, documented = node.args, _documented(ast.get_docstring(node) or "")
    positional = [*of.posonlyargs, *of.args]
    missing: list[Any] = [None] * (len(positional) - len(of.defaults))
    defaults = [*missing, *of.defaults, *of.kw_defaults]
    found = {}
    for argument, default in zip([*positional, *of.kwonlyargs], defaults, strict=True):
        annotation = ast.unparse(argument.annotation) if argument.annotation else ""
        read = _form(module, annotation.removesuffix(" | None"))
        if read is not None:
            form, choices = read
            value = REQUIRED if default is None else ast.literal_eval(default)
            help_line = documented.get(argument.arg, "")
            is_flag = annotation == "bool"
            found[argument.arg] = Parameter(argument.arg, form, value, help_line, choices, is_flag)
    return found


def _form(module: str, annotation: str) -> tuple[Form, tuple[str, ...]] | None:
    if annotation in FORMS:
        return FORMS[annotation], ()
    values = _values(module, ast.parse(annotation, mode="eval").body)
    return (choice(values), tuple(map(str, values))) if values else None


def _values(module: str, node: ast.expr) -> tuple[str | int, ...]:
    """The values of a `Literal`, written out or under a name that the module defines or imports."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        values = ast.literal_eval(node.slice)
        return values if isinstance(values, tuple) else (values,)
    if not isinstance(node, ast.Name):
        return ()
    for statement in _tree(module).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == node.id for target in targets):
                return _values(module, statement.value)
        if isinstance(statement, ast.ImportFrom) and any(alias.name == node.id for alias in statement.names):
            home = str(statement.module).removeprefix("medjax.").replace(".", "/")
            return _values(home, node) if (_PACKAGE / f"{home}.py").is_file() else ()
    return ()


def _documented(docstring: str) -> dict[str, str]:
    """The first sentence about each argument."""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", docstring, re.MULTILINE)
    if section is None:
        return {}
    entries = re.split(r"^ {4}(?=\w)", section[1], flags=re.MULTILINE)
    pairs = (entry.partition(":") for entry in entries if ":" in entry)
    return {name.strip(): _sentence(text) for name, _, text in pairs}


def _sentence(text: str) -> str:
    whole = " ".join(text.split()).replace("`", "")
    return re.split(r"(?<=[.;])\s", whole)[0].rstrip(".;")
