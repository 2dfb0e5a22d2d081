"""Public names that are imported on first use (PEP 562): so `import medjax` costs little and loads no file library."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

__all__ = ["lazy_names", "public"]

Class = TypeVar("Class", bound=type)


def lazy_names(package: str) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Returns a package's `__all__`, `__getattr__` and `__dir__`, from the stub beside its `__init__.py`.

    Where the environment variable `EAGER_IMPORT` is set (Scientific Python's SPEC 1), every name is imported at once.
    """
    module_of = _module_of(package)

    def get(name: str) -> Any:
        if name not in module_of:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=sys.modules[package])
        home = module_of[name]
        if home == package:  # `from medjax import io`: a subpackage is its own module
            value = importlib.import_module(f"{package}.{name}")
        else:
            value = getattr(importlib.import_module(home), name)
        setattr(sys.modules[package], name, value)  # found directly from now on
        return value

    names = sorted(module_of)
    if os.environ.get("EAGER_IMPORT"):
        for name in names:
            get(name)
    return names, get, lambda: list(names)


def _module_of(package: str) -> dict[str, str]:
    """The module of each public name: a stub says `from medjax._space._crop import pad as pad`, a line for each."""
    module = sys.modules[package]
    stub = str(module.__file__).rpartition(".")[0] + ".pyi"
    lines = module.__spec__.loader.get_data(stub).decode().splitlines()  # type: ignore[union-attr]
    imports = [line.split() for line in lines if line.startswith("from ")]
    return {name: home for _, home, _, name, *_ in imports}


def public(package: str) -> Callable[[Class], Class]:
    """Gives a class the package that users import it from as its module, for pickles, tracebacks and `help`.

    Pickles then outlive a move of the class. Its annotations are read here, since nothing resolves them there.
    """

    def named(thing: Class) -> Class:
        hints = get_type_hints(thing)
        own = vars(thing).get("__annotations__", {})
        thing.__annotations__ = {name: hints[name] for name in own}
        thing.__module__ = package
        return thing

    return named
