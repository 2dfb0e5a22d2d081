"""Where windows lie that cover a volume, axis by axis: on the host, from static sizes."""

from __future__ import annotations

import numpy as np

from medjax._geometry._types import StaticSize, StaticTriple
from medjax._image._checks import three_integers

__all__ = ["grid", "overlaps_of", "starts_along"]

# The rounding of `size * (1 - overlap)` in float64, which must not cost a window.
_ROUNDING = 1e-9


def grid(shape: StaticSize, size: StaticSize, *, overlap: StaticTriple = 0.5) -> np.ndarray:
    r"""Places windows that cover a volume evenly; the first and the last lie flush with its ends.

    Along an axis of $n$ voxels, windows of $p$ voxels lie at $\mathrm{round}(m (n - p) / (k - 1))$ for $m = 0, ..., k -
    1$ with $k = \lceil (n - p) / (p (1 - o)) \rceil + 1$. So two neighbours share at least the part $o$ of a window,
    but for rounding to whole voxels. An axis that is shorter than the window has one window, at 0: pad it at its end.

    Args:
        shape: Voxels of the volume along i, j, k.
        size: Voxels of a window along i, j, k.
        overlap: The part of a window that its neighbour covers, at least 0 and below 1; one number or three.

    Returns:
        The index of each window's first voxel, `(w, 3)` integers, the last axis fastest.

    Raises:
        ValueError: a size below 1, or an overlap outside 0 to 1.

    Example:
        >>> mj.patch.grid((10, 4, 4), 4, overlap=0.5).tolist()
        [[0, 0, 0], [2, 0, 0], [4, 0, 0], [6, 0, 0]]

    Source: nnU-Net places its windows so (`compute_steps_for_sliding_window`).
    """
    lengths, sizes = three_integers(shape, "shape", least=1), three_integers(size, "size", least=1)
    shares = overlaps_of(overlap)
    along = [starts_along(n, p, share) for n, p, share in zip(lengths, sizes, shares, strict=True)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*along, indexing="ij")], axis=-1)


def overlaps_of(overlap: StaticTriple) -> tuple[float, float, float]:
    """Reads one overlap or three.

    Raises:
        ValueError: one is not at least 0 and below 1.
    """
    try:
        array = np.asarray(overlap, np.float64)
    except (TypeError, ValueError):
        array = np.full((), np.nan)
    if array.shape not in ((), (3,)) or not ((array >= 0) & (array < 1)).all():
        raise ValueError(
            f"overlap must be one number or three, at least 0 and below 1, the part of a window that the next one "
            f"covers; "
            f"got {overlap!r}"
        )
    i, j, k = np.broadcast_to(array, (3,)).tolist()
    return i, j, k


def starts_along(length: int, size: int, overlap: float) -> np.ndarray:
    """Returns the first index of each window along one axis, rising.

    Example:
        >>> starts_along(11, 4, 0.5).tolist(), starts_along(3, 4, 0.5).tolist()
        ([0, 2, 4, 5, 7], [0])
    """
    if length <= size:
        return np.zeros(1, np.int64)
    step = max(size * (1 - overlap), 1.0)  # two windows never begin at one voxel
    count = int(np.ceil((length - size) / step - _ROUNDING)) + 1
    return np.round(np.arange(count) * (length - size) / (count - 1)).astype(np.int64)
