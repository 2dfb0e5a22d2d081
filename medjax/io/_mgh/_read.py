"""Reading FreeSurfer volumes."""

from __future__ import annotations

from pathlib import Path

from medjax._image._image import Image, image_from
from medjax._image._metadata import Metadata
from medjax.io._disk._stream import Content
from medjax.io._mgh._describe import describe, times_after

__all__ = ["read"]


def read(path: Path) -> Image:
    """Reads a FreeSurfer volume; `load_image` calls it."""
    with Content(path) as content:
        found = describe(content)
        flat = content.read_array(found.voxel_bytes).view(found.dtype.newbyteorder(">"))
        times = times_after(content)
        content.finish()
    if not flat.dtype.isnative:
        flat = flat.byteswap(inplace=True).view(found.dtype)
    metadata = Metadata(extra={**found.extra, **times})
    return image_from(flat.reshape(found.shape, order="F"), affine=found.affine, metadata=metadata)
