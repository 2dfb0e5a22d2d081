"""Masks in k-space along one axis as matrices `(n, n)`, in closed form: sums of cosines, no Fourier transform.

A mask multiplies the discrete spectrum; frequency k runs from `-(n // 2)` to `(n - 1) // 2`. What comes back is the
real part, so a matrix is the circulant of the mask's cosine sum. Whole numbers carry all angles, which are exact
therefore.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["comb_matrix", "low_pass_matrix", "segment_matrix"]

# A cutoff that is a whole line but for rounding reaches this line.
_ROUNDING = 1e-3


def low_pass_matrix(keep: Any, size: int) -> Any:
    """Keeps the frequencies `|k| <= keep n / 2` and drops the others; a share of 1 gives the identity.

    Args:
        keep: Share of the spectrum, `(*lead,)`.
        size: Voxels along the axis, n.

    Returns:
        `(*lead, n, n)`.

    Example:
        >>> low_pass_matrix(jnp.asarray(0.0), 2).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    most = keep * (size / 2) + _ROUNDING
    cutoff, distance = jnp.floor(most).astype(jnp.int32)[..., None], _distances(size, keep.ndim)
    row = _cosines(cutoff, 1, distance, size, keep.dtype) / size
    is_whole = (most >= size / 2)[..., None]
    return _circulant(jnp.where(is_whole, (distance == 0).astype(keep.dtype), row))


def comb_matrix(count: Any, intensity: Any, restore: Any, size: int) -> Any:
    """Weakens every `count`-th frequency from 0 on by a share; those about 0 are restored, 0 itself always.

    Args:
        count: A whole number, at least 1, `(*lead,)`: the period in lines, and so the number of ghosts.
        intensity: The share that goes, `(*lead,)`.
        restore: The share of the lines, about 0, that stay as they are, `(*lead,)`.
        size: Voxels along the axis.

    Returns:
        `(*lead, size, size)`; the identity for an intensity of 0.

    Example:
        >>> comb_matrix(jnp.asarray(2.0), jnp.asarray(1.0), jnp.asarray(0.0), 4).tolist()[0]  # without -2, with 0
        [0.75, 0.25, -0.25, 0.25]
    """
    distance = _distances(size, intensity.ndim)
    period = jnp.maximum(jnp.round(count), 1).astype(jnp.int32)[..., None]
    restored = jnp.floor(restore * (size / 2) + _ROUNDING).astype(jnp.int32)[..., None]
    most, least = (size // 2) // period, jnp.minimum(restored, size // 2) // period

    def lines(last: Any) -> Any:
        total = _cosines(last, period, distance, size, intensity.dtype)
        is_twice = 2 * last * period == size  # of an even number of lines -n/2 is there, and n/2 is not
        return total - jnp.where(is_twice, 1 - 2 * (distance % 2), 0).astype(intensity.dtype)

    weakened = (lines(most) - lines(least)) / size
    return _circulant((distance == 0).astype(intensity.dtype) - intensity[..., None] * weakened)


def segment_matrix(start: Any, stop: Any, size: int, dtype: Any) -> Any:
    """Keeps the lines `start` to `stop - 1`, counted from the lowest frequency, and the real part of what comes back.

    Args:
        start: Whole numbers `(*lead,)`, int32.
        stop: Likewise; none is kept where it is not above `start`.
        size: Voxels along the axis.
        dtype: Of the result.

    Returns:
        `(*lead, size, size)`.

    Example:
        >>> [round(float(x), 6) for x in abs(segment_matrix(jnp.asarray(0), jnp.asarray(4), 4, jnp.float32))[0]]
        [1.0, 0.0, 0.0, 0.0]
    """
    distance, stop = _distances(size, start.ndim), jnp.maximum(start, stop)
    below = _cosines_below(stop[..., None] - size // 2, distance, size, dtype)
    return _circulant((below - _cosines_below(start[..., None] - size // 2, distance, size, dtype)) / size)


def _distances(size: int, lead: int) -> Any:
    """0, 1, ... along the last of `lead + 1` axes."""
    return jnp.arange(size, dtype=jnp.int32).reshape((1,) * lead + (size,))


def _cosines(last: Any, step: Any, distance: Any, size: int, dtype: Any) -> Any:
    r"""Sums $\cos(2 \pi j s d / n)$ over j from `-last` to `last` (Dirichlet's kernel)."""
    whole = (step * distance) % size == 0
    under = jnp.where(whole, 1, _sine(step * distance, size, dtype))
    above = _sine((2 * last + 1) * step * distance, size, dtype)
    return jnp.where(whole, (2 * last + 1).astype(dtype), above / under)


def _cosines_below(end: Any, distance: Any, size: int, dtype: Any) -> Any:
    r"""Sums $\cos(2 \pi k d / n)$ over k below `end`, up to a constant that depends on the distance alone."""
    under = 2 * jnp.where(distance == 0, 1, _sine(distance, size, dtype))
    return jnp.where(distance == 0, end.astype(dtype), _sine((2 * end - 1) * distance, size, dtype) / under)


def _sine(halves: Any, size: int, dtype: Any) -> Any:
    r"""Returns $\sin(\pi m / n)$ of whole numbers, the angle brought within a half turn first."""
    turned = (halves + size) % (2 * size) - size
    return jnp.sin(turned.astype(dtype) * (np.pi / size))


def _circulant(row: Any) -> Any:
    """Of the values at distances 0, 1, ... along the axis, `(*lead, n)`, which are even in the distance."""
    place = jnp.arange(row.shape[-1], dtype=jnp.int32)
    return jnp.take(row, jnp.abs(place[:, None] - place[None]), axis=-1)
