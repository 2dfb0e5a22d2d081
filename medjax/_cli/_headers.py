"""Headers of files: what is known of an image without its voxels, and without JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["header_of", "rough_bytes", "size_on_disk"]

from pathlib import Path


def header_of(path: str) -> Any:
    """What a file or series says of its image: `grid`, `dtype`, `kind`, `channels`, `units`, `metadata`."""
    from medjax.io._inspect import inspect

    return inspect(path)


def rough_bytes(header: Any, outlines: Mapping[str, Any]) -> int:
    """About how many bytes a chain needs at its peak: stored voxels, a buffer of up to twice as many float32, outputs.

    Args:
        header: Of the input.
        outlines: Of the results.
    """
    import numpy as np

    voxels = header.nbytes // header.dtype.itemsize
    bucket = max(1 << 22, 1 << max(voxels - 1, 1).bit_length())
    out = sum(int(np.prod(one.grid.shape, dtype=np.int64)) * max(4, one.dtype.itemsize) for one in outlines.values())
    return header.nbytes + 4 * bucket + 2 * out


def size_on_disk(path: str) -> int | None:
    """Bytes of a file, or of all files below a folder; `None` of what lies elsewhere, at a URL."""
    target = Path(path)
    if not target.exists():
        return None
    files = target.rglob("*") if target.is_dir() else [target]
    return sum(one.stat().st_size for one in files if one.is_file())
