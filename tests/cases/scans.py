"""Scans on one oblique lattice, made once for all subjects, and how two images are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

import medjax as mj
from medjax import Image

SPACING = (0.7, 1.1, 2.5)
ORIGIN = (-172.9, 179.297, -834.125)
ANGLES = (11.0, -23.0, 37.0)


def oblique_affine(
    angles: Any = ANGLES, spacing: Any = SPACING, origin: Any = ORIGIN, mirrored: bool = False
) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.asarray(spacing)
    if mirrored:  # a left-handed lattice, as sagittal DICOM series may be
        affine[:3, 1] *= -1
    affine[:3, 3] = origin
    return affine


def scan_of(voxels: np.ndarray, seed: int = 0, **options: Any) -> Image:
    """An image of these voxels on the oblique lattice, whose metadata says which one it is."""
    known: dict[str, Any] = {
        "affine": oblique_affine(),
        "metadata": mj.Metadata(modality="CT", source=f"scan {seed}"),
    }
    return Image.from_array(voxels, **(known | options))


def patient_scan(name: str = "a", shape: tuple[int, ...] = (3, 4, 5), **options: Any) -> Image:
    """A scan whose voxels and metadata both know whose they are."""
    seed = sum(map(ord, name))
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return scan_of(values, **({"metadata": mj.Metadata(modality="CT", patient_id=name)} | options))


def assert_same_image(
    found: Image, wanted: Image, atol: float = 0.0, *, affine_atol: float = 1e-9, where: np.ndarray | None = None
) -> None:
    """Checks that two images agree in lattice, dtype, kind and voxels.

    Args:
        found: The image under test.
        wanted: The reference.
        atol: The largest difference of two voxels; 0 asks for the same values, NaN for NaN.
        affine_atol: The largest difference of two entries of the affines, in mm.
        where: The voxels that are compared, a mask of the spatial shape; all without it. It must choose some.
    """
    assert (found.shape, found.channels, found.batch_shape) == (wanted.shape, wanted.channels, wanted.batch_shape)
    assert (found.dtype, found.kind) == (wanted.dtype, wanted.kind)
    np.testing.assert_allclose(np.asarray(found.affine), np.asarray(wanted.affine), rtol=0, atol=affine_atol)
    ours, theirs = np.asarray(found.voxels), np.asarray(wanted.voxels)
    if where is not None:
        assert where.any(), "no voxel to compare"
        ours, theirs = ours[where], theirs[where]
    if atol:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)
    else:
        np.testing.assert_array_equal(ours, theirs)
