"""The smallest box along the world's axes that holds a lattice."""

from __future__ import annotations

import numpy as np

__all__ = ["covering"]


def covering(shape: tuple[int, ...], affine: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns size and origin (LPS mm), `(3,)` each, of the smallest grid that covers lattices, face to face.

    The grid is centred on the box around the lattices. A size within 1e-9 of a whole number is that number.

    Args:
        shape: Voxels along i, j, k.
        affine: Index to LPS mm, `(*batch, 4, 4)`.
        spacing: Voxel size of the grid in mm, `(3,)`.

    Example:
        >>> [x.tolist() for x in covering((2, 3, 4), np.diag([2.0, -1.0, 1.0, 1.0]), np.array([2.0, 2.0, 2.0]))]
        [[2.0, 2.0, 2.0], [0.0, -2.0, 0.5]]
    """
    faces = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in shape), indexing="ij")).reshape(3, 8)
    corners = np.moveaxis(affine[..., :3, :3] @ faces + affine[..., :3, 3:], -2, -1).reshape(-1, 3)
    low, high = corners.min(0), corners.max(0)
    size = np.maximum(1, np.ceil((high - low) / spacing - 1e-9))
    return size, (low + high) / 2 - (size - 1) / 2 * spacing
