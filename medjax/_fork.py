"""Forked processes: JAX's threads do not come along, and whatever waits for them waits for ever."""

from __future__ import annotations

import os
import sys

__all__ = ["refuse_in_fork"]

_has_lost_threads = False


def refuse_in_fork() -> None:
    """Raises `RuntimeError` in a process that was forked from one in which JAX had run: a computation would never end.

    Every entry of a kernel asks. What NumPy alone does, such as reading files, flips and crops of what was read, works
    in a forked process as ever.
    """
    if _has_lost_threads:
        raise RuntimeError(
            "this process was forked after JAX had run in its parent, and JAX's threads do not survive a fork: the "
            "operation would never end. Start workers by 'spawn' (or 'forkserver'): "
            "multiprocessing.get_context('spawn'), or multiprocessing_context='spawn' of a DataLoader"
        )


def _remember() -> None:
    global _has_lost_threads
    bridge = sys.modules.get("jax._src.xla_bridge")  # no public module says it; nothing is imported here, in the child
    _has_lost_threads = _has_lost_threads or (bridge is not None and bridge.backends_are_initialized())


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_remember)
