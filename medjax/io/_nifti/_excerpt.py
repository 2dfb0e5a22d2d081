"""Reading a part of a NIfTI's voxels: what lies before it is skipped, and what follows is not read."""

from __future__ import annotations

import math

import numpy as np

from medjax.io._disk._excerpt import Excerpt
from medjax.io._disk._stream import Content
from medjax.io._nifti._describe import Described

__all__ = ["read_part"]


def read_part(content: Content, described: Described, part: Excerpt) -> np.ndarray:
    """Reads a part of the voxels `(i, j, k, *channels)`, not scaled, from a content that is at its first voxel.

    Memory is taken for the part and for one plane of the file. A part of an uncompressed file is found by its place. A
    compressed file is decompressed up to the end of the part, so its checksum is not seen.

    Raises:
        TruncatedFileError: the file ends before the part does.
        ValueError: there is no such part.
    """
    header, channels = described.header, described.channels
    spans, frame = part.spans(described.shape[:3]), part.frame_of(channels)
    volumes = range(math.prod(header.shape[3:]))
    of_file, colours = (channels, ()) if header.components == 1 else (channels[:-1], channels[-1:])
    if frame is not None and of_file:  # the first trailing axis is the fastest of those that count volumes
        volumes, of_file = volumes[frame :: of_file[0]], of_file[1:]
        frame = None
    planes = _read_planes(content, described, spans, volumes)
    size = [stop - start for start, stop in spans]
    if not colours:
        return planes.reshape((*size, *of_file), order="F")
    voxels = np.moveaxis(planes.reshape((*colours, *size, *of_file), order="F"), 0, -1)
    return voxels if frame is None else voxels[..., frame]


def _read_planes(content: Content, described: Described, spans: list[tuple[int, int]], volumes: range) -> np.ndarray:
    """Reads the box in some volumes, `(component, i, j, k, volume)`, native."""
    header = described.header
    (first_i, end_i), (first_j, end_j), (first_k, end_k) = spans
    columns, rows, slices = described.shape[:3]
    row_bytes = columns * header.components * header.dtype.itemsize
    if content.codec is None:
        content.check_claim(header.voxel_bytes, "voxels")
    size = (header.components, end_i - first_i, end_j - first_j, end_k - first_k, len(volumes))
    out = np.empty(size, header.dtype, order="F")
    stored, start = header.dtype.newbyteorder(header.byte_order), content.position
    for n, volume in enumerate(volumes):
        for k in range(first_k, end_k):
            place = start + ((volume * slices + k) * rows + first_j) * row_bytes
            content.skip(place - content.position)
            flat = content.read_array((end_j - first_j) * row_bytes).view(stored)
            plane = flat.reshape((header.components, columns, end_j - first_j), order="F")
            out[:, :, :, k - first_k, n] = plane[:, first_i:end_i]
    return out
