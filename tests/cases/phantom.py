"""A phantom that a formula gives at every point of the world, and a chain of steps whose exact result is known.

A head of several ellipsoids with soft edges, and a texture; range about 150.
"""

from __future__ import annotations

import numpy as np
from scans import oblique_affine
from scipy.spatial.transform import Rotation
from spatial_cases import indices

import medjax as mj
from medjax import Image

ELLIPSOIDS = [  # centre, half axes in mm, turn about z in degrees, value
    ((0.0, 0.0, 0.0), (40.0, 52.0, 38.0), 0.0, 100.0),
    ((0.0, 0.0, 0.0), (36.0, 48.0, 34.0), 0.0, -60.0),
    ((12.0, 5.0, 3.0), (7.0, 14.0, 10.0), 18.0, 50.0),
    ((-12.0, 5.0, -2.0), (9.0, 17.0, 8.0), -18.0, -30.0),
    ((3.0, -22.0, 6.0), (10.0, 8.0, 12.0), 30.0, 80.0),
]
EDGE = 2.0  # mm over which an ellipsoid ends


def phantom(points: np.ndarray) -> np.ndarray:
    total = np.zeros(points.shape[:-1])
    for centre, half, degrees, value in ELLIPSOIDS:
        local = (points - centre) @ Rotation.from_euler("z", degrees, degrees=True).as_matrix()
        radius = np.sqrt(((local / half) ** 2).sum(-1))
        total += value / (1 + np.exp((radius - 1) * min(half) / EDGE * 2))
    return total + 10 * np.sin(points @ (0.35, 0.2, 0.25)) * np.exp(-((points / 45) ** 2).sum(-1))


def degraded(image: Image) -> Image:
    """The chain: reorient, turn twice, change the spacing and back, bring to a size."""
    image = mj.rotate(mj.change_orientation(image, "RAS"), "k", 20.0, fill=0)
    image = mj.rotate(mj.resample_to_spacing(image, 2.5, fill=0), "i", -12.0, fill=0)
    return mj.crop_or_pad(mj.resample_to_spacing(image, 1.8, fill=0), (56, 56, 48), fill=0)


def truth_after(image: Image, out: Image) -> np.ndarray:
    """The same turns of the formula itself, about the centres that the steps turn about."""
    start = mj.change_orientation(image, "RAS")
    points = out.grid.world(indices(out.shape))
    second = mj.fuse(lambda x: mj.resample_to_spacing(x, 2.5))(start).grid
    for axis, degrees, grid in ((0, -12.0, second), (2, 20.0, start.grid)):  # back through the last turn first
        turn = Rotation.from_rotvec(np.radians(-degrees) * grid.direction[:, axis]).as_matrix()
        points = (points - grid.center) @ turn.T + grid.center
    return phantom(points)


def rms(image: Image, truth: np.ndarray) -> float:
    inner = (slice(6, -6),) * 3
    return float(np.sqrt(((np.asarray(image.voxels, np.float64) - truth)[inner] ** 2).mean()))


def after_the_chain() -> tuple[Image, Image, np.ndarray]:
    """The fused and the stepwise result, and the formula at their voxels."""
    affine = oblique_affine((9.0, -6.0, 4.0), (1.5, 1.5, 2.2), (0, 0, 0))
    shape = (72, 84, 46)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    points = mj.Grid.of(shape, affine=affine).world(indices(shape))
    image = Image.from_array(phantom(points).astype(np.float32), affine=affine)
    fused = mj.fuse(degraded)(image)
    return fused, degraded(image), truth_after(image, fused)
