"""Where a command keeps what the next one can use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder", "compiled_folder"]


def cache_folder() -> Path:
    """The user's folder for what can be made again, as the system has it; `MEDJAX_CACHE` names another."""
    named = os.environ.get("MEDJAX_CACHE")
    if named:
        return Path(named)
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "medjax"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "medjax" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "medjax"


def compiled_folder() -> Path:
    """The folder of the programs that XLA compiled, which every later command loads."""
    return cache_folder() / "compiled"
