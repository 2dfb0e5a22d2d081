"""A PET/CT examination of a made patient: images, headers, truth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from medjax._geometry._grid import Grid
from medjax._image._image import Image, image_from
from medjax._image._metadata import Metadata
from medjax.datasets._header import Study
from medjax.datasets._phantom import Phantom
from medjax.datasets._random import check_seed, normal
from medjax.datasets._sample import Sample, check_grid, check_number
from medjax.datasets._trunk import FIRST_LESION, SITES, trunk

__all__ = ["BOX", "activity", "examination", "pet_ct"]

# From the thighs to the vertex, of the largest patient.
BOX = (-232.0, -160.0, -468.0), (232.0, 160.0, 556.0)
_CT_FWHM_MM, _CT_NOISE_HU = 1.4, 12.0
# Standard deviation in g/ml at an uptake of 1 g/ml and 4 mm voxels; it grows with the root of uptake and with 1 /
# volume.
_PET_NOISE = 0.09


def pet_ct(
    seed: int,
    *,
    lesions: int = 3,
    spacing: Any = (3.0, 3.0, 4.0),
    pet_spacing: Any = 4.0,
    grid: Grid | None = None,
    pet_grid: Grid | None = None,
    fwhm_mm: float = 6.0,
    noise: float = 1.0,
) -> Sample:
    r"""Makes an FDG PET/CT of a patient from the thighs to the vertex, whose truth is known at every point.

    Organs are shapes with formulas. Stature, girth, organs, uptakes and lesions follow from the seed. PET is uptake
    blurred by a Gaussian: exact for a lesion, which is a ball in even surroundings. Of an organ it follows from the
    distance and the mean curvature of its surface; against a numerical convolution of 6 mm that is right to about 1 %
    of the contrast (root mean square over the edge), and to 7 % at the sharpest bend. Noise of PET grows as that of
    counts does, with a deviation of $0.09\,\mathrm{noise}\,\sqrt{\mathrm{SUV}\cdot 64\,\mathrm{mm}^3 / V}$ g/ml in
    voxels of volume $V$; CT gets 12 HU.

    Args:
        seed: A whole number; the patient.
        lesions: Number of lesions, 0 to 8.
        spacing: Voxel size of the CT and its labels in mm, one number or three.
        pet_spacing: Voxel size of the PET in mm.
        grid: Grid of the CT, any spacing and orientation, in place of `spacing`.
        pet_grid: Grid of the PET, in place of `pet_spacing`.
        fwhm_mm: Full width at half maximum of PET's point spread; 0: sharp.
        noise: Factor of the noise in both images; 0: none.

    Returns:
        `images`: "ct" in HU, int16; "pet" in g/ml (SUV by body weight), float32, whose header holds weight, dose and
        times; "labels" on the CT's grid and "lesions" on the PET's, uint8. `truth`: "phantom", a `Phantom` with
        channels "hu" and "suv", for labels and values at any point; "names" of the labels; "lesions", a tuple of
        `Lesion` with place, radius, volume, SUV and TLG; "volumes_ml" of structures that one formula gives; "fwhm_mm";
        "weight_kg" and "dose_bq". Labels are the same on every platform to the last bit, intensities to 1e-5 of their
        range before the CT is rounded to whole HU, where a voxel near a half may differ by 1.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> sample = mj.datasets.pet_ct(7, lesions=2, spacing=8.0, pet_spacing=8.0)
        >>> sample.images["ct"], sample.images["pet"].shape
        (Image(58x40x128 int16 intensity, spacing 8 x 8 x 8 mm, LPS, CT), (58, 40, 128))
        >>> lesion = sample.truth["lesions"][0]
        >>> phantom = sample.truth["phantom"]
        >>> phantom.names[int(phantom.labels(lesion.center_mm))]
        'lesion_1'
        >>> bool(abs(phantom.values("suv", lesion.center_mm) - lesion.suv) < 1e-5)
        True
    """
    seed = check_seed(seed)
    if isinstance(lesions, bool) or not isinstance(lesions, int) or not 0 <= lesions <= len(SITES):
        raise ValueError(f"lesions must be a whole number from 0 to {len(SITES)}, got {lesions!r}")
    noise, fwhm_mm = check_number("noise", noise), check_number("fwhm_mm", fwhm_mm)
    ct_grid = check_grid(grid, spacing, *BOX, "spacing" if grid is None else "grid")
    of_pet = check_grid(pet_grid, pet_spacing, *BOX, "pet_spacing" if pet_grid is None else "pet_grid")
    return examination(seed, 1, lesions=lesions, grid=ct_grid, pet_grid=of_pet, scanner=Scanner(fwhm_mm, noise))


class Scanner(NamedTuple):
    """How well a scanner shows a patient.

    Attributes:
        fwhm_mm: Full width at half maximum of PET's point spread; 0: sharp.
        noise: Factor of the noise in both images; 0: none.
    """

    fwhm_mm: float = 6.0
    noise: float = 1.0


def examination(seed: int, visit: int, *, lesions: int, grid: Grid, pet_grid: Grid, scanner: Scanner) -> Sample:
    """One visit of a patient. A later one shows the same lesions, larger or smaller, with another dose and time."""
    fwhm_mm, noise = scanner
    phantom, study = trunk(seed, lesions, visit), Study(seed, visit)
    labels, hu = phantom.on_grid(grid, "hu", fwhm_mm=_CT_FWHM_MM)
    _add_noise(hu, seed, f"ct noise {visit}", np.float32(_CT_NOISE_HU * noise))
    found, suv = phantom.on_grid(pet_grid, "suv", fwhm_mm=fwhm_mm)
    volume = abs(float(np.linalg.det(pet_grid.affine[:3, :3])))
    _add_noise(suv, seed, f"pet noise {visit}", np.float32(_PET_NOISE * noise * np.sqrt(64.0 / volume)) * np.sqrt(suv))
    np.maximum(suv, 0.0, out=suv)
    found[found < FIRST_LESION] = 0
    np.clip(np.rint(hu, out=hu), -1024, 3071, out=hu)
    of_label = Metadata(patient_id=study.patient_id)
    return Sample(
        name=f"pet_ct-{seed}",
        images={
            "ct": image_from(hu.astype(np.int16), grid.affine, "intensity", study.ct()),
            "pet": image_from(suv, pet_grid.affine, "intensity", study.pet(pet_grid.shape[2])),
            "labels": image_from(labels, grid.affine, "label", of_label),
            "lesions": image_from(found, pet_grid.affine, "label", of_label),
        },
        truth=_truth(phantom, study, fwhm_mm),
    )


def _truth(phantom: Phantom, study: Study, fwhm_mm: float) -> dict[str, Any]:
    return {
        "phantom": phantom,
        "names": dict(phantom.names),
        "lesions": phantom.lesions,
        "volumes_ml": dict(phantom.volumes_ml),
        "fwhm_mm": fwhm_mm,
        "weight_kg": study.weight_kg,
        "dose_bq": study.dose_bq,
    }


def _add_noise(values: np.ndarray, seed: int, name: str, deviation: Any) -> None:
    if np.any(deviation):
        values += normal(seed, name, values.shape) * deviation


def activity(pet: Image, seed: int, visit: int) -> Image:
    """The PET of an examination as a scanner stores it: Bq/ml, decay-corrected to the start of the scan."""
    study = Study(seed, visit)
    voxels = np.asarray(pet.voxels, np.float32) * np.float32(1.0 / study.suv_factor)
    return image_from(voxels, pet.affine, "intensity", study.pet(pet.shape[2], units="BQML"))
