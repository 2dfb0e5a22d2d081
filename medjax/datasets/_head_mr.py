"""A T1-weighted MR of a made head."""

from __future__ import annotations

from typing import Any

import numpy as np

from medjax._geometry._grid import Grid
from medjax._image._image import image_from
from medjax._image._metadata import Metadata
from medjax.datasets._head import head
from medjax.datasets._header import Study
from medjax.datasets._random import Draws, check_seed, normal
from medjax.datasets._sample import Sample, check_grid, check_number

__all__ = ["Bias", "head_mr"]

_LOW, _HIGH = (-96.0, -134.0, -140.0), (96.0, 122.0, 116.0)
_FWHM_MM, _NOISE = 1.2, 14.0


class Bias:
    """A smooth gain of the coils: `g(p) = 1 + b . u + u^T Q u` with `u = p / 100 mm`, at least 0.25."""

    def __init__(self, seed: int, strength: float):
        draws = Draws(seed, "bias")
        self._linear = [strength * draws.uniform(-1.0, 1.0) for _ in range(3)]
        self._square = [strength * draws.uniform(-0.6, 0.6) for _ in range(3)]
        self._mixed = [strength * draws.uniform(-0.5, 0.5) for _ in range(3)]

    def __call__(self, points: Any) -> np.ndarray:
        """The gain at points `(..., 3)`, LPS mm."""
        points = np.asarray(points, np.float64)
        return self.of(points[..., 0], points[..., 1], points[..., 2])

    def of(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The gain at coordinates that broadcast."""
        u, v, w = x * 0.01, y * 0.01, z * 0.01
        (a, b, c), (d, e, f), (g, h, i) = self._linear, self._square, self._mixed
        flat = 1.0 + a * u + b * v + d * u * u + e * v * v + g * u * v
        return np.maximum(flat + (c * w + f * w * w + h * v * w) + i * u * w, 0.25)


def head_mr(
    seed: int, *, spacing: Any = 1.0, grid: Grid | None = None, bias: float = 0.25, noise: float = 1.0
) -> Sample:
    r"""Makes a T1-weighted MR of a head: scalp, skull, fluid, folded cortex, white matter, ventricles, nuclei, eyes.

    The signal is the tissue's value, blurred by 1.2 mm, times the gain of the coils, with Rician noise:
    $\sqrt{(g S + n_1)^2 + n_2^2}$. A capsule of oil marks the patient's right side.

    Args:
        seed: A whole number; size, folds, ventricles and gain follow from it.
        spacing: Voxel size in mm, one number or three.
        grid: Any spacing and orientation, in place of `spacing`.
        bias: Strength of the gain's variation over 100 mm; 0: none.
        noise: Factor of the noise, whose standard deviation is 14 where white matter has 520; 0: none.

    Returns:
        `images`: "mr", float32 in arbitrary units, and "labels", uint8. `truth`: "phantom", a `Phantom` with the
        channel "t1" for labels and values at any point; "names" of the labels; "bias", the gain as a function of
        points; "volumes_ml" of structures that one formula gives. Labels are the same on every platform to the last
        bit, intensities to 1e-5.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> sample = mj.datasets.head_mr(3, spacing=4.0)
        >>> sample.images["mr"]
        Image(48x64x64 float32 intensity, spacing 4 x 4 x 4 mm, LPS, MR)
        >>> phantom = sample.truth["phantom"]
        >>> [phantom.names[int(n)] for n in phantom.labels([[0, 8, -34], [-200, 0, 0]])]
        ['brainstem', 'background']
    """
    seed = check_seed(seed)
    bias, noise = check_number("bias", bias), check_number("noise", noise)
    grid = check_grid(grid, spacing, _LOW, _HIGH, "spacing" if grid is None else "grid")
    phantom, gain = head(seed), Bias(seed, bias)
    labels, values = phantom.on_grid(grid, "t1", fwhm_mm=_FWHM_MM)
    if bias:
        values *= phantom.at_voxels(grid, gain.of)
    if noise:
        deviation = np.float32(_NOISE * noise)
        values += normal(seed, "mr noise 1", values.shape) * deviation
        other = normal(seed, "mr noise 2", values.shape) * deviation
        np.sqrt(values * values + other * other, out=values)
    return Sample(
        name=f"head_mr-{seed}",
        images={
            "mr": image_from(values, grid.affine, "intensity", Study(seed).mr()),
            "labels": image_from(labels, grid.affine, "label", Metadata(patient_id=Study(seed).patient_id)),
        },
        truth={"phantom": phantom, "names": dict(phantom.names), "bias": gain, "volumes_ml": dict(phantom.volumes_ml)},
    )
