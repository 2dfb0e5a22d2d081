"""Silences pydicom while it reads: its warnings and its log quote values, and a value may be a patient's name."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

from medjax.io._errors import ImageFileWarning

__all__ = ["quiet"]

_lock = threading.Lock()
_readers = 0
_silence = contextlib.ExitStack()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within this only the package's own warnings come through.

    Filters are the process's, not a thread's: the first of several threads sets them and the last one takes them back,
    or one would put back, for good, what another had set.
    """
    global _readers
    with _lock:
        _readers += 1
        if _readers == 1:
            _silence.enter_context(_filtered())
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                _silence.close()


@contextlib.contextmanager
def _filtered() -> Iterator[None]:
    logger = logging.getLogger("pydicom")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            own = [entry for entry in warnings.filters if issubclass(ImageFileWarning, entry[2])]
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", ImageFileWarning)
            for action, message, _, module, line in reversed(own):  # what the user wants of ours stays in force
                warnings.filterwarnings(action, _pattern(message), ImageFileWarning, _pattern(module), line)  # type: ignore[arg-type]
            yield
    finally:
        logger.disabled = was_disabled


def _pattern(compiled: object) -> str:
    """The regular expression of a filter, which holds it compiled or not at all."""
    return "" if compiled is None else str(getattr(compiled, "pattern", compiled))
