"""The engine of deflate, gzip and zlib streams: isal where it is installed, else the standard library's zlib.

Both have the same functions and give the same content. isal reads twice as fast and writes eight times as fast.
"""

import zlib
from typing import Any

__all__ = ["deflate"]

deflate: Any
try:
    from isal import isal_zlib as deflate
except ImportError:  # no wheel for this machine
    deflate = zlib
