"""A Gaussian point spread in closed form: of a sphere exactly, of a surface by its distance and its mean curvature."""

from __future__ import annotations

import numpy as np

__all__ = ["SIGMA_PER_FWHM", "half_space_share", "sphere_share"]

SIGMA_PER_FWHM = 1.0 / (2.0 * np.sqrt(2.0 * np.log(2.0)))


def _upper_tail(t: np.ndarray, density: np.ndarray) -> np.ndarray:
    """`1 - Phi(t)` of the normal distribution to 1e-7: Abramowitz and Stegun, 26.2.17. `density` is `phi(t)`."""
    k = 1.0 / (1.0 + 0.2316419 * np.abs(t))
    series = k * (0.319381530 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    tail = density * series
    return np.where(t < 0.0, 1.0 - tail, tail)


def _density(t: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * t * t) * 0.3989422804014327


def half_space_share(distance: np.ndarray, bend: np.ndarray, sigma: float) -> np.ndarray:
    r"""Share of a blurred body at a signed distance from its surface, negative inside.

    $\Phi(-d/\sigma) - \sigma H \varphi(d/\sigma)$: exact for a plane, and for a sphere much larger than $\sigma$, where
    the mean curvature of the level surface is $H = 1/r$; of a smooth surface right to the order of $(\sigma H)^2$.
    """
    t = np.clip(distance / sigma, -6.0, 6.0)
    density = _density(t)
    share = _upper_tail(t, density) - np.clip(sigma * bend, -0.5, 0.5) * density
    return np.clip(share, 0.0, 1.0).astype(np.float32, copy=False)


def sphere_share(distance: np.ndarray, radius: float, sigma: float) -> np.ndarray:
    r"""A sphere blurred by a Gaussian, at a distance from its centre.

    $\Phi(\frac{R - r}{\sigma}) - \Phi(\frac{-R - r}{\sigma}) - \frac{\sigma}{r}
    [\varphi(\frac{R - r}{\sigma}) - \varphi(\frac{R + r}{\sigma})]$; at the centre
    $2\Phi(R/\sigma) - 1 - 2 (R/\sigma) \varphi(R/\sigma)$.

    Example:
        >>> [round(float(x), 6) for x in sphere_share(np.array([0.0, 10.0, 20.0]), 10.0, 2.5)]
        [0.998866, 0.400264, 1.5e-05]
    """
    r = np.maximum(distance, 1e-4 * sigma)  # there the limit is reached to 1e-8
    near, far = (radius - r) / sigma, (radius + r) / sigma
    dense = _density(near), _density(far)
    return _upper_tail(-near, dense[0]) - _upper_tail(far, dense[1]) - sigma / r * (dense[0] - dense[1])
