"""Headers of files: what is known of an image without its voxels, and without JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["header_of", "modality_of", "rough_bytes", "size_on_disk"]

from pathlib import Path


def header_of(path: str) -> Any:
    """What a file or series says of its image: `grid`, `dtype`, `kind`, `channels`, `units`, `metadata`."""
    try:
        from medjax.io._inspect import inspect
    except ImportError:
        import types

        from medjax.io._open import load_image

        image = load_image(path)
        return types.SimpleNamespace(
            grid=image.grid,
            dtype=image.dtype,
            kind=image.kind,
            channels=image.channels,
            units=None,
            shape=image.shape,
            metadata=image.metadata,
        )

    return inspect(path)


def modality_of(header: Any) -> str | None:
    """The modality that the file states."""
    metadata = header.metadata
    return None if metadata is None else metadata.modality


def rough_bytes(header: Any, outlines: Mapping[str, Any]) -> int:
    """About how many bytes a chain needs at its peak: stored voxels, a buffer of up to twice as many float32, outputs.

    Args:
        header: Of the input.
        outlines: Of the results.
    """
    import numpy as np

    voxels = int(np.prod([*header.grid.shape, *header.channels], dtype=np.int64))
    bucket = max(1 << 22, 1 << max(voxels - 1, 1).bit_length())
    out = sum(int(np.prod(one.grid.shape, dtype=np.int64)) * max(4, one.dtype.itemsize) for one in outlines.values())
    return voxels * np.dtype(header.dtype).itemsize + 4 * bucket + 2 * out


def size_on_disk(path: str) -> int:
    """Bytes of a file, or of all files below a folder."""
    target = Path(path)
    files = target.rglob("*") if target.is_dir() else [target]
    return sum(one.stat().st_size for one in files if one.is_file())
