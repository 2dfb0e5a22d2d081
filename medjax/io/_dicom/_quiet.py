"""Silences pydicom while it reads: its warnings and its log quote values, and a value may be a patient's name.

The filters of `warnings` and the state of a logger belong to the process. To change them during a call would silence
other threads, and two overlapping calls could leave them changed for good. So they stay as they are. Instead the
modules of the reading libraries see a substitute for `warnings`. It passes everything on, except in the thread (or
task) that is within `quiet`. A filter of pydicom's loggers does the same.
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
    """A substitute for the module `warnings` that is silent within `quiet`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    def warn(self, message: Any, category: Any = None, stacklevel: int = 1, *args: Any, **named: Any) -> None:
        if not _is_reading.get():
            warnings.warn(message, category, stacklevel + 1, *args, **named)  # this frame is one more


_their_warnings = _Warnings("warnings")
_seen = 0


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within this, in this thread, only the package's own warnings come through. Other threads are not affected."""
    _reach_modules()
    token = _is_reading.set(True)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _is_reading.reset(token)


def _reach_modules() -> None:
    """Gives the libraries' modules the substitute. The first call imports most of them, a later one some."""
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
