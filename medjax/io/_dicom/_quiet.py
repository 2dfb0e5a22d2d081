"""Silences pydicom while it reads: its warnings and its log quote values, and a value may be a patient's name.

The filters of `warnings` and the state of a logger are the process's: to change them for the time of a call would silence
other threads, and leave them changed for good where two calls overlap. So nothing of that is touched. The modules of the
reading libraries see a `warnings` of their own instead, which passes everything on except within `quiet`, in the thread
(or task) that is within it; a filter of pydicom's loggers does the same.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["quiet"]

_is_reading = contextvars.ContextVar("_is_reading", default=False)

# Packages that warn of what they read.
_LIBRARIES = frozenset({"pydicom", "highdicom", "PIL", "pylibjpeg", "openjpeg", "libjpeg", "rle", "jpeg_ls"})
_LOGGERS = ("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.encoders.base", "pydicom.pixels.utils")


class _Warnings(ModuleType):
    """The module `warnings`, deaf within `quiet`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    def warn(self, message: Any, category: Any = None, stacklevel: int = 1, *args: Any, **named: Any) -> None:
        if not _is_reading.get():
            warnings.warn(message, category, stacklevel + 1, *args, **named)  # this frame is one more


_their_warnings = _Warnings("warnings")
_seen = 0


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within this, in this thread, only the package's own warnings come through; other threads notice nothing."""
    _reach_modules()
    token = _is_reading.set(True)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _is_reading.reset(token)


def _reach_modules() -> None:
    """Gives the libraries' modules their `warnings`; most are imported by the first call, some by a later one."""
    global _seen
    if len(sys.modules) == _seen:
        return
    _seen = len(sys.modules)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _LIBRARIES and getattr(module, "__dict__", {}).get("warnings") is warnings:
            module.__dict__["warnings"] = _their_warnings


def _is_heard(record: logging.LogRecord) -> bool:
    return not _is_reading.get()


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_is_heard)
