"""What a function will do, as a hash: its code, and every value that it takes from outside.

The code is the compiled one, so that it is what runs, and not what the file says by now; comments change nothing. A
hash over the source text alone would miss a constant of the module (MONAI #999).
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import hashlib
import importlib.metadata
import logging
import os
import sys
import sysconfig
import types
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax._image._image import Image
from medjax._image._metadata import Metadata
from medjax._version import __version__

__all__ = ["UnknownCodeError", "fingerprint"]

_LIBRARIES = (
    *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parents[1]) + os.sep,  # medjax, which may lie elsewhere
)
# The compiler and the reader of .pyc files may make one constant of two, or two of one.
_SHARED_BY_CHANCE = (tuple, frozenset, types.CodeType)
_PLAIN = (str, bytes, int, float, complex, type(None), type(Ellipsis))


class UnknownCodeError(Exception):
    """A value whose content cannot be told; the text names it."""


def fingerprint(function: Any) -> str:
    """Hashes a function with its defaults, what it closes over, and the globals that it reads, functions included.

    Functions of installed packages count by name and the package's version.

    Raises:
        UnknownCodeError: it holds something whose content cannot be told, such as an open file.

    Example:
        >>> double = lambda x: 2 * x
        >>> fingerprint(double) == fingerprint(lambda x: 2 * x), fingerprint(double) == fingerprint(lambda x: 3 * x)
        (True, False)
    """
    digest = hashlib.sha256()
    _add(digest, function, {}, "prepare")
    return digest.hexdigest()


def _add(digest: Any, value: Any, seen: dict[int, tuple[int, Any]], name: str) -> None:
    """Adds a value to the hash, each kind with a mark of its own."""
    if isinstance(value, _PLAIN):
        _mark(digest, type(value).__name__, repr(value))
        return
    if not isinstance(value, _SHARED_BY_CHANCE):
        if id(value) in seen:
            _mark(digest, "again", str(seen[id(value)][0]))
            return
        seen[id(value)] = len(seen), value  # kept, so that nothing else gets its id
    _add_structure(digest, value, seen, name)


def _add_structure(digest: Any, value: Any, seen: dict[int, tuple[int, Any]], name: str) -> None:
    if isinstance(value, types.ModuleType):
        _mark(digest, "module", f"{value.__name__} {_version(value.__name__)}")
    elif isinstance(value, types.CodeType):
        _add_code(digest, value, seen, name)
    elif isinstance(value, np.ndarray | np.generic | jax.Array):
        _add_array(digest, value, name)
    elif isinstance(value, np.dtype):
        _mark(digest, "dtype", str(value))
    elif isinstance(value, Image):
        _mark(digest, "image", value.kind)
        _add_all(digest, (value.voxels, value.affine, value.metadata), seen, name)
    elif isinstance(value, Metadata):
        _mark(digest, "metadata", value.to_json())
    elif isinstance(value, enum.Enum):
        _mark(digest, "enum", str(value))
    elif isinstance(value, logging.Logger):
        _mark(digest, "logger", value.name)
    elif isinstance(value, os.PathLike):
        _mark(digest, "path", os.fspath(value))
    elif isinstance(value, Mapping):
        _mark(digest, "mapping", str(len(value)))
        _add_all(digest, [part for pair in value.items() for part in pair], seen, name)
    elif isinstance(value, Set):
        _mark(digest, "set", str(len(value)))
        for each in sorted(_alone(part, name) for part in value):
            _mark(digest, "member", each)
    elif isinstance(value, list | tuple):
        _mark(digest, type(value).__name__, str(len(value)))
        _add_all(digest, value, seen, name)
    elif isinstance(value, slice | range):
        _mark(digest, type(value).__name__, repr(value))
    else:
        _add_callable(digest, value, seen, name)


def _add_all(digest: Any, values: Any, seen: dict[int, tuple[int, Any]], name: str) -> None:
    for value in values:
        _add(digest, value, seen, name)


def _add_callable(digest: Any, value: Any, seen: dict[int, tuple[int, Any]], name: str) -> None:
    if isinstance(value, functools.partial):
        _mark(digest, "partial", "")
        _add_all(digest, (value.func, value.args, value.keywords), seen, name)
    elif isinstance(value, types.MethodType):
        _mark(digest, "method", "")
        _add_all(digest, (value.__func__, value.__self__), seen, name)
    elif isinstance(value, types.FunctionType):
        _add_function(digest, value, seen)
    elif isinstance(value, type):
        _add_class(digest, value, seen)
    elif isinstance(value, types.BuiltinFunctionType | types.BuiltinMethodType | np.ufunc):
        _mark(digest, "builtin", getattr(value, "__qualname__", value.__name__))
    elif hasattr(value, "__wrapped__"):  # a function under jax.jit
        _mark(digest, "wrapped", type(value).__qualname__)
        _add(digest, value.__wrapped__, seen, name)
    else:
        _add_object(digest, value, seen, name)


def _add_function(digest: Any, function: types.FunctionType, seen: dict[int, tuple[int, Any]]) -> None:
    name = function.__qualname__
    module = str(function.__globals__.get("__name__", ""))  # `wraps` gives a wrapper the module of what it wraps
    is_installed = _is_installed(module, function.__code__.co_filename)
    if is_installed:
        _mark(digest, "installed", f"{module}.{name} {_version(module)}")
    else:
        _add_code(digest, function.__code__, seen, name)
        for key in _globals_read(function.__code__):
            if key in function.__globals__:
                _mark(digest, "global", key)
                _add(digest, function.__globals__[key], seen, f"{name} ({key})")
        _add_all(digest, (function.__defaults__, function.__kwdefaults__), seen, name)
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        _mark(digest, "closure", key)
        try:
            content = cell.cell_contents
        except ValueError:  # not bound yet
            continue
        if not is_installed:
            _add(digest, content, seen, f"{name} ({key})")
        elif _may_be_users(content):  # a package's wrapper has things of its own beside what it wraps
            with contextlib.suppress(UnknownCodeError):
                _add(digest, content, seen, f"{name} ({key})")


def _may_be_users(content: Any) -> bool:
    kinds = (*_PLAIN, np.ndarray, jax.Array, Image, list, tuple, dict, functools.partial, types.MethodType)
    return isinstance(content, (*kinds, types.FunctionType)) or hasattr(content, "__wrapped__")


def _add_code(digest: Any, code: types.CodeType, seen: dict[int, tuple[int, Any]], name: str) -> None:
    _mark(digest, "code", f"{sys.implementation.cache_tag} {code.co_code.hex()} {code.co_exceptiontable.hex()}")
    names = (
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_argcount,
        code.co_kwonlyargcount,
    )
    _mark(digest, "names", repr((*names, code.co_flags)))
    _add_all(digest, code.co_consts, seen, name)


def _globals_read(code: types.CodeType) -> list[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= set(_globals_read(constant))
    return sorted(names)


def _add_class(digest: Any, value: type, seen: dict[int, tuple[int, Any]]) -> None:
    name = f"{value.__module__}.{value.__qualname__}"
    if _is_installed(value.__module__, None):
        _mark(digest, "installed", f"{name} {_version(value.__module__)}")
        return
    _mark(digest, "class", value.__qualname__)
    _add_all(digest, value.__bases__, seen, name)
    for key, member in sorted(vars(value).items()):
        member = getattr(member, "__func__", member)
        member = member.fget if isinstance(member, property) else member
        member = member.func if isinstance(member, functools.cached_property) else member
        if isinstance(member, types.FunctionType) or not key.startswith(("__", "_abc_")):
            _mark(digest, "member", key)
            if not isinstance(member, types.GetSetDescriptorType | types.MemberDescriptorType):
                _add(digest, member, seen, f"{name}.{key}")


def _add_object(digest: Any, value: Any, seen: dict[int, tuple[int, Any]], name: str) -> None:
    """Adds an object by its fields, or as it would be pickled; what cannot be pickled has a state that nobody knows."""
    kind = type(value)
    if dataclasses.is_dataclass(value):
        _add(digest, kind, seen, name)
        for field in dataclasses.fields(value):
            _mark(digest, "field", field.name)
            _add(digest, getattr(value, field.name), seen, f"{name}.{field.name}")
        return
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001, whatever objects raise that cannot be pickled
        raise UnknownCodeError(f"{name} uses a {kind.__qualname__}") from None
    _mark(digest, "object", reduced if isinstance(reduced, str) else kind.__qualname__)
    if not isinstance(reduced, str):
        _add_all(digest, reduced[:3], seen, name)


def _add_array(digest: Any, value: Any, name: str) -> None:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.ascontiguousarray(value)
    if array.dtype.hasobject:
        raise UnknownCodeError(f"{name} uses an array of objects")
    _mark(digest, "array", f"{array.dtype} {np.shape(value)}")
    digest.update(array.tobytes())


def _alone(value: Any, name: str) -> str:
    digest = hashlib.sha256()
    _add(digest, value, {}, name)
    return digest.hexdigest()


def _mark(digest: Any, kind: str, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    digest.update(f"<{kind} {len(data)}>".encode() + data)


def _is_installed(module: str, filename: str | None) -> bool:
    """Whether code belongs to Python, to medjax or to an installed package: its version says what it does.

    The file decides, since a user's module may be called like one of Python's. Code without a file belongs to its
    module.
    """
    path = filename if filename and not filename.startswith("<") else getattr(sys.modules.get(module), "__file__", None)
    if (filename or "").startswith("<doctest"):  # it lies in the module that it is an example of
        return False
    if path:
        return path.startswith(_LIBRARIES)
    return module.partition(".")[0] in sys.stdlib_module_names


def _version(module: str) -> str:
    """The version of the package that a module belongs to; Python's own for the standard library."""
    top = module.partition(".")[0]
    if top == "medjax":
        return __version__
    if top in sys.stdlib_module_names:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(top), "__version__", ""))
