"""Recipes of nnU-Net, TorchIO and SynthSeg, with the ranges of each, and of ours for CT, MR and PET/CT."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax._geometry._numbers import as_triple
from medjax._geometry._types import StaticSize, StaticTriple
from medjax._image._checks import three_integers
from medjax.augment._boxes import cutout
from medjax.augment._compose import one_of, sequence
from medjax.augment._distribution import Distribution, log_uniform, uniform
from medjax.augment._kspace import low_resolution, motion
from medjax.augment._local import brightness_gradient, local_gamma
from medjax.augment._mixing import labels_to_image
from medjax.augment._modalities import count_noise, ct_noise, psf, uptake
from medjax.augment._noise import gaussian_noise
from medjax.augment._pointwise import brightness, clip, contrast, gamma, min_max
from medjax.augment._smooth import bias_field, bias_lattice, blur, median, sharpen
from medjax.augment._spatial import affine, elastic, mirror, misalign, rotate90, transpose
from medjax.augment._step import Step
from medjax.augment._velocity import svf

__all__ = ["ct", "mr", "nnunet", "nnunet_da5", "pet_ct", "synthseg", "torchio_default"]


def _two(kind: Any, low: Any, high: Any) -> Distribution:
    return Distribution(kind, np.asarray(low, np.float32), np.asarray(high, np.float32))


def nnunet(patch_size: StaticSize, spacing: StaticTriple = 1.0) -> Step:
    """Returns the default augmentation of nnU-Net, with its order, ranges and probabilities.

    Intensities are expected z-scored, as nnU-Net has them. Two things differ: angles and shifts are in world mm, where
    nnU-Net turns voxels as if they were cubes; and a smoothed image is smoothed by sigma in voxels along each axis, as
    there. A patch that is more than three times as long as it is along its shortest axis is turned and scaled in the
    other two axes alone (nnU-Net's "dummy 2D"). Axis a of the patch is taken to run along the world's axis a.

    Args:
        patch_size: Voxels of the patch, one number or three.
        spacing: mm, one number or three; nnU-Net's own rules do not depend on it.

    Example:
        >>> print(mj.augment.presets.nnunet((128, 128, 128)).describe().splitlines()[2])
        gaussian_noise: std uniform 0 to 0.1, relative=None; p 0.1

    Source: Isensee et al., nnU-Net, Nature Methods 18, 2021; ranges as in nnunetv2 `get_training_transforms`.
    """
    flat = _flat_axis(patch_size)
    return sequence(
        *_nnunet_spatial(flat),
        gaussian_noise(std=(0.0, 0.1), relative=None, p=0.1),
        blur(sigma_mm=(0.5, 1.0), unit="voxel", p=0.2, per_channel=0.5),
        brightness(factor=_two("about_one", 0.75, 1.25), p=0.15),
        contrast(factor=_two("about_one", 0.75, 1.25), p=0.15),
        low_resolution(
            spacing_factor=_two("reciprocal", 0.5, 1.0), keeps=() if flat is None else (flat,), p=0.25, per_channel=0.5
        ),
        gamma(log_gamma=_two("log_about_one", 0.7, 1.5), p_invert=1.0, p=0.1, name="gamma_inverted"),
        gamma(log_gamma=_two("log_about_one", 0.7, 1.5), p=0.3),
        mirror(axes=(0, 1, 2), p=0.5),
    )


def _flat_axis(patch_size: Any) -> int | None:
    """The axis that nnU-Net takes a patch's slices along, where they are thick; else `None`."""
    sizes = three_integers(patch_size, "patch_size", least=1)
    shortest = int(np.argmin(sizes))
    return shortest if max(sizes) / sizes[shortest] > 3 else None


def _nnunet_spatial(flat: int | None) -> list[Step]:
    angle, factor = _nnunet_ranges(flat, 1.4)
    return [
        affine(rotation=angle, scale=1, p=0.2, name="rotation"),
        affine(rotation=0, scale=factor, isotropic=True, p=0.2, name="scale"),
    ]


def _nnunet_ranges(flat: int | None, largest: float) -> tuple[np.ndarray, Distribution]:
    """Degrees about each axis, and factors of the content: one over a number from 0.7 to `largest`."""
    if flat is None:
        return np.full(3, 30.0), _two("reciprocal", [0.7] * 3, [largest] * 3)
    is_flat = np.arange(3) == flat
    return np.where(is_flat, 180.0, 0.0), _two("reciprocal", np.where(is_flat, 1, 0.7), np.where(is_flat, 1, largest))


def nnunet_da5(patch_size: StaticSize, spacing: StaticTriple = 1.0) -> Step:
    """Returns the stronger augmentation "DA5" of nnU-Net, with its order, ranges and probabilities.

    What `nnunet` says of angles, of intensities and of patches with a short axis holds here too. An unsharp mask takes
    the place of nnU-Net's Laplacian in the last step. Axes change places only where they have one spacing as well. DA5
    inverts in both of its gamma steps; so does this.

    Args:
        patch_size: Voxels of the patch, one number or three.
        spacing: mm, one number or three.

    Example:
        >>> len(mj.augment.presets.nnunet_da5((128, 128, 128)).describe().splitlines())
        20

    Source: nnunetv2 `nnUNetTrainerDA5`.
    """
    flat = _flat_axis(patch_size)
    sizes = np.asarray(three_integers(patch_size, "patch_size", least=1))
    angle, factor = _nnunet_ranges(flat, 1.43)
    return sequence(
        affine(
            rotation=_two("ranges", np.stack([0 * angle, -angle], -1), np.stack([0 * angle, angle], -1)),
            scale=1,
            p=0.4,
            name="rotation",
        ),
        affine(rotation=0, scale=factor, p=0.2, name="scale"),
        *_exchanges(sizes, np.broadcast_to(as_triple(spacing, "spacing"), 3)),
        one_of(
            median(size=(2, 7), most=7, p=1, per_channel=0.5),
            blur(sigma_mm=(0.3, 1.5), unit="voxel", p=1, per_channel=0.5),
            p=0.2,
        ),
        gaussian_noise(std=(0.0, 0.1), relative=None, p=0.1),
        brightness(factor=1, shift=_normal(0.5), p=0.1, per_channel=0.5, name="brightness_shift"),
        one_of(
            contrast(factor=_two("about_one", 0.5, 2.0), preserve_range=True, p=1, per_channel=0.5),
            contrast(factor=_two("about_one", 0.5, 2.0), preserve_range=False, p=1, per_channel=0.5),
            p=0.2,
        ),
        low_resolution(
            spacing_factor=_two("reciprocal", 0.25, 1.0), keeps=() if flat is None else (flat,), p=0.15, per_channel=0.5
        ),
        gamma(log_gamma=_two("log_about_one", 0.7, 1.5), p_invert=1.0, p=0.1, name="gamma_inverted"),
        gamma(log_gamma=_two("log_about_one", 0.7, 1.5), p_invert=1.0, p=0.1, name="gamma_inverted_2"),
        mirror(axes=(0, 1, 2), p=0.5),
        cutout(holes=(1, 4), size=_rectangles(sizes), p=0.4, per_channel=0.5),
        brightness_gradient(
            strength=_two("ranges", [-5, 1], [-1, 5]), width=_widths(sizes), relative=None, p=0.3, per_channel=0.5
        ),
        local_gamma(
            log_gamma=_two("log_ranges", [0.01, 1.5], [0.8, 4.0]), width=_widths(sizes), p=0.3, per_channel=0.5
        ),
        sharpen(amount=(0.1, 1.0), p=0.2, per_channel=0.5),
    )


def _exchanges(sizes: np.ndarray, spacing: np.ndarray) -> list[Step]:
    """Quarter turns and exchanges of the axes of the most common size, where they have one spacing."""
    counts = (sizes[:, None] == sizes[None]).sum(1)
    alike = [axis for axis in range(3) if counts[axis] == counts.max() > 1]
    if not alike or not np.allclose(spacing[alike], spacing[alike[0]], rtol=1e-3):
        return []
    planes = list(itertools.combinations(alike, 2))
    return [rotate90(planes=planes, quarter_turns=(0, 3), p=0.5), transpose(axes=alike, p=0.5)]


def _rectangles(sizes: np.ndarray) -> Distribution:
    """Whole numbers of voxels from a tenth of the patch to a third, the third excluded, in extents of the patch."""
    low = np.maximum(1, sizes // 10)
    return uniform((low - 0.5) / sizes, (np.maximum(sizes // 3, low + 1) - 0.5) / sizes)


def _widths(sizes: np.ndarray) -> Distribution:
    return log_uniform(np.maximum(1, sizes // 6) / sizes, np.ones(3))


def _normal(std: float) -> Distribution:
    return _two("normal", 0.0, std)


def torchio_default() -> Step:
    """Returns the example pipeline of TorchIO's documentation, with the defaults of its transforms.

    Motion with p 0.2, a bias field with p 0.3, noise with p 0.5, a flip of the first axis with p 0.5, and an affine or
    an elastic transform, four times to one. TorchIO's bias field holds monomials of the coordinates; Legendre's
    polynomials take their place.

    Example:
        >>> print(mj.augment.presets.torchio_default().describe().splitlines()[-1].strip())
        elastic: amount fixed 0.4 of the control points' spacing, max_mm fixed 7.5 mm; p 1

    Source: Pérez-García et al., TorchIO, Comput. Methods Programs Biomed. 208, 2021; ranges as in torchio 1.2.
    """
    return sequence(
        motion(rotation=10, translation=10, moves=2, axis=0, p=0.2),
        bias_field(coefficient=(-0.5, 0.5), order=3, p=0.3),
        gaussian_noise(std=(0.0, 0.25), relative=None, p=0.5),
        mirror(axes=(0,), p=0.5),
        one_of(
            affine(rotation=10, scale=_two("uniform", 0.9, 1.1), p=1),
            elastic(points=7, amount=0.4, max_mm=7.5, lock=2, p=1),
            weights=[0.8, 0.2],
        ),
    )


def ct() -> Step:
    """Returns a recipe for CT in Hounsfield units; its numbers are illustrative.

    Example:
        >>> len(mj.augment.presets.ct().describe().splitlines())
        6
    """
    return sequence(
        affine(rotation=10, scale=(0.85, 1.2), isotropic=True, p=0.7),
        elastic(p=0.3),
        ct_noise(p=0.3),
        blur(sigma_mm=(0.0, 1.0), p=0.2),
        low_resolution(spacing_factor=(1.0, 3.0), axes="one", p=0.2),
        brightness(factor=1, shift=(-20.0, 20.0), p=0.15),
    )


def mr() -> Step:
    """Returns a recipe for MR; its numbers are illustrative.

    Example:
        >>> len(mj.augment.presets.mr().describe().splitlines())
        7
    """
    return sequence(
        affine(rotation=10, scale=(0.85, 1.2), isotropic=True, p=0.7),
        elastic(p=0.3),
        bias_field(p=0.4),
        gamma(p=0.3),
        motion(rotation=3, translation=3, p=0.1),
        gaussian_noise(p=0.2),
        low_resolution(spacing_factor=(1.0, 3.0), axes="one", p=0.2),
    )


def pet_ct(*, pet: str = "pet", ct: str = "ct") -> Step:
    """Returns a recipe for PET and CT of one patient, in SUV and Hounsfield units; its numbers are illustrative.

    Args:
        pet: Name of the PET.
        ct: Name of the CT.

    Example:
        >>> len(mj.augment.presets.pet_ct().describe().splitlines())
        7
    """
    return sequence(
        affine(rotation=10, scale=(0.85, 1.2), isotropic=True, p=0.7),
        elastic(p=0.3),
        misalign(only=pet, rotation=1, translation=(-3, 3), p=0.3),
        psf(only=pet, p=0.3),
        count_noise(only=pet, p=0.2),
        uptake(only=pet, p=0.3),
        ct_noise(only=ct, p=0.3),
    )


def synthseg(
    *,
    num_labels: int,
    labels: str = "seg",
    classes: Sequence[int] | None = None,
    swap_labels: Sequence[Sequence[int]] = (),
) -> Step:
    """Returns the generator of SynthSeg: an image of random contrast made of labels that are moved first.

    Labels are expected with voxels of 1 mm: coarser voxels are drawn as multiples of theirs, up to 4 along all axes or
    8 along one. Velocities and the bias field are cubic B-splines of their control points, where lab2im interpolates
    linearly.

    Args:
        num_labels: Number of labels, 0 to `num_labels - 1`.
        labels: Name of the label image.
        classes: The class of each label; labels of one class have one mean and deviation.
        swap_labels: Pairs of labels that change places where left and right do.

    Example:
        >>> labels = mj.Image.from_array(np.arange(64).reshape(4, 4, 4).astype(np.uint8) % 3, kind="label")
        >>> made = mj.augment.presets.synthseg(num_labels=3)(jax.random.key(0), {"seg": labels})
        >>> sorted(made), made["image"].shape
        (['image', 'seg'], (4, 4, 4))

    Source: Billot et al., SynthSeg, Med. Image Anal. 86, 2023; ranges as in lab2im.
    """
    return sequence(
        mirror(axes="R", p=0.5, swap_labels=swap_labels),
        affine(rotation=15, scale=_two("uniform", 0.8, 1.2), shear=0.012, p=1),
        svf(std_mm=(0, 4), points=8, p=1),
        labels_to_image(num_labels=num_labels, labels=labels, classes=classes, mean=(0, 255), std=(0, 35)),
        bias_lattice(std=(0, 0.7), points=4, p=0.95),
        clip(low=0, high=300),
        min_max(),
        gamma(log_gamma=_normal(0.5), retain_stats=False, p=1),
        one_of(
            low_resolution(spacing_factor=(1.0, 4.0), axes="all", kernel="gaussian", p=1),
            low_resolution(spacing_factor=(1.0, 8.0), axes="one", kernel="gaussian", p=1),
            weights=[0.1, 0.9],
            p=0.95,
        ),
    )
