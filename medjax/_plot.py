"""How an image looks to a person: one line of text, a small picture for a notebook, figures of orthogonal slices."""

from __future__ import annotations

import base64
import html as _html
import struct
import zlib
from typing import Any

import jax
import numpy as np

from medjax._image import Image

__all__ = ["describe", "html"]


def _numbers(values: Any) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def describe(image: Image) -> str:
    """Returns an image's `repr`: sizes, dtype, kind, spacing, orientation and modality; never a patient's name."""
    voxels, affine = image.voxels, image.affine
    if not all(isinstance(leaf, np.ndarray | jax.Array) for leaf in (voxels, affine)):
        return f"Image(voxels={voxels!r}, affine={affine!r}, kind={image.kind!r})"
    size = "x".join(map(str, image.shape))
    parts = [f"{size} {voxels.dtype} {image.kind}"]
    if image.batch_shape:
        parts[0] = f"batch {image.batch_shape} of {parts[0]}"
    if image.channels:
        parts.append(f"channels {'x'.join(map(str, image.channels))}")
    if isinstance(affine, jax.core.Tracer):
        parts.append("traced")
    elif not image.batch_shape:
        parts += [f"spacing {_numbers(image.spacing)} mm", image.orientation]
        if isinstance(image.metadata, object) and getattr(image.metadata, "modality", None):
            parts.append(image.metadata.modality)
    return f"Image({', '.join(parts)})"


def png(pixels: np.ndarray) -> bytes:
    """Encodes an 8-bit grey `(rows, columns)` picture as PNG, with nothing but zlib.

    Source: PNG specification, third edition, section 5 (signature, IHDR, IDAT, IEND).
    """

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows, columns = pixels.shape
    lines = np.zeros((rows, columns + 1), np.uint8)  # each line starts with its filter type, 0: none
    lines[:, 1:] = pixels
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)) + chunk(b"IEND", b"")


def middle_slices(image: Image) -> list[tuple[np.ndarray, float, tuple[str, str]]]:
    """Cuts a single image at its centre along each axis, for display.

    Returns:
        For each of the axes k, j, i: the slice as displayed (rows downwards), the height of a pixel over its width, and
        the names of the horizontal and vertical index axes.
    """
    volume = np.asarray(image.voxels).reshape(*image.shape, -1)[..., 0]
    spacing, names = image.spacing, "ijk"
    views = []
    for axis, across, down in ((2, 0, 1), (1, 0, 2), (0, 1, 2)):
        plane = np.take(volume, volume.shape[axis] // 2, axis=axis).T
        is_upright = down == 2  # the third axis of most scans runs to the head: show it upwards
        views.append((plane[::-1] if is_upright else plane, spacing[down] / spacing[across], (names[across], names[down])))
    return views


def grey_range(voxels: np.ndarray) -> tuple[float, float]:
    """Returns the display range: the 0.5 and 99.5 percentiles of the finite values, of a sample when there are many."""
    flat = np.asarray(voxels).ravel()
    sample = flat[:: max(1, flat.size // 500_000)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, (0.5, 99.5)) if sample.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-12))


def html(image: Image) -> str:
    """Returns a table and three orthogonal slices, as a notebook shows an image."""
    text = _html.escape(describe(image))
    is_traced = isinstance(image.voxels, jax.core.Tracer) or isinstance(image.affine, jax.core.Tracer)
    is_shown = isinstance(image.voxels, np.ndarray | jax.Array) and not is_traced and not image.batch_shape
    if not is_shown or np.iscomplexobj(image.voxels):
        return f"<code>{text}</code>"
    low, high = grey_range(np.asarray(image.voxels))
    pictures = []
    for plane, aspect, (across, down) in middle_slices(image):
        with np.errstate(invalid="ignore"):
            grey = np.nan_to_num((plane.astype(np.float64) - low) / (high - low)).clip(0, 1) * 255
        step = max(1, max(grey.shape) // 192)
        data = base64.b64encode(png(grey[::step, ::step].astype(np.uint8))).decode()
        width, height = 160.0, 160.0 * aspect * plane.shape[0] / plane.shape[1]
        shrink = min(1.0, 160.0 / height)
        pictures.append(
            f'<img alt="slice across {across} and {down}" src="data:image/png;base64,{data}" '
            f'style="width:{width * shrink:.0f}px;height:{height * shrink:.0f}px;margin-right:6px;image-rendering:auto">'
        )
    return f"<div><code>{text}</code><br>{''.join(pictures)}</div>"
