"""A cohort of made PET/CT examinations on disk, with the defects that were asked for."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from medjax._geometry._grid import Grid
from medjax._image._image import Image, image_from
from medjax._image._metadata import Metadata
from medjax.datasets._pet_ct import BOX, Scanner, activity, examination
from medjax.datasets._random import Draws, check_seed
from medjax.datasets._sample import Sample, check_grid
from medjax.datasets._shapes import turn_about
from medjax.io._dicom._write import save_dicom_series
from medjax.io._disk._atomic import atomic_file
from medjax.io._open import save_image

__all__ = ["Defect", "cohort"]

Defect = Literal["truncated_file", "empty_mask", "shifted_label", "nan", "duplicate_patient", "wrong_units"]

# How scanners and converters store volumes; the last is tilted as well.
_ORIENTATIONS = ("LPS", "RAS", "LAS", "LPI", "RPS", "LSA", "LPS")
_WORLD = {"L": (0, 1.0), "R": (0, -1.0), "P": (1, 1.0), "A": (1, -1.0), "S": (2, 1.0), "I": (2, -1.0)}


def cohort(
    n: int,
    folder: str | os.PathLike[str],
    seed: int,
    *,
    defects: Iterable[Defect] = (),
    as_dicom: bool = False,
    spacing: Any = 5.0,
) -> Path:
    """Writes PET/CT examinations of made patients, and a manifest of them.

    Every third patient comes twice, and shows the same lesions changed. Voxel sizes, fields of view and orientations
    differ from case to case; some volumes are tilted. A patient's scans do not depend on `n` or on the defects.

    Roles: `ct` in HU and `pet` in g/ml (NIfTI), or both as DICOM series, PET in Bq/ml with dose, weight and times, so
    that `mj.to_suv` gives the SUV; `seg`, 1 in lesions, NIfTI on the grid of the PET. Further columns are the truth:
    `lesions`, their number, `lesion_ml` and `tlg`, their volume and glycolysis in all; `defect`, what is wrong with the
    case.

    Args:
        n: Number of patients.
        folder: Target; it must not exist, or be empty. The manifest is written last.
        seed: A whole number.
        defects: Each spoils one case, chosen by the seed. "truncated_file": the CT (of a series, one slice) ends early.
            "empty_mask": no voxel of `seg` is 1. "shifted_label": the header of `seg` lies 1.5 voxels off along the
            third axis. "nan": PET has NaN in one slice. "duplicate_patient": the case is another patient's examination
            under a name of its own. "wrong_units": the CT is stored 1024 HU too high, as without its intercept.
        as_dicom: Write series of DICOM files, in place of NIfTI.
        spacing: Typical voxel size in mm of CT and PET, one number or three.

    Returns:
        The path of `cohort.csv`.

    Raises:
        ValueError: an argument is out of its range, there are more defects than cases, or DICOM cannot hold a defect.
        FileExistsError: the folder is not empty.

    Example:
        >>> import csv, tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     path = mj.datasets.cohort(1, f"{parent}/made", seed=0, defects=["empty_mask"], spacing=16.0)
        ...     with path.open() as file:
        ...         (row,) = csv.DictReader(file)
        ...     seg = mj.load_image(path.parent / row["seg"])
        >>> row["case"], row["ct"], row["defect"], int(seg.voxels.max())
        ('p000_v1', 'p000_v1/ct.nii.gz', 'empty_mask', 0)

    Source: the manifest is the one that `medjax cohort` reads.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n must be a whole number of at least 1, got {n!r}")
    seed, typical = check_seed(seed), check_grid(None, spacing, *BOX, "spacing")
    visits = [(patient, visit) for patient in range(n) for visit in range(1, 2 + (patient % 3 == 2))]
    spoilt = _spoilt(defects, len(visits), seed, as_dicom)
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"folder must not exist, or be empty, got {os.fspath(folder)!r}")
    target.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (patient, visit) in enumerate(visits):
        defect = spoilt.get(number)
        source, when = visits[_other(visits, number)] if defect == "duplicate_patient" else (patient, visit)
        own, name = seed * 100_003 + source, f"p{patient:03d}_v{visit}"
        sample = _examination(own, when, typical.spacing)
        images = _images_of(sample)
        if as_dicom:
            images["pet"] = activity(images["pet"], own, when)
        (target / name).mkdir()
        files = _write_case(target / name, _spoil(images, defect), as_dicom=as_dicom)
        if defect == "truncated_file":
            _cut(target / files["ct"])
        rows.append({"case": name, "patient": f"p{patient:03d}", **files, **_truth(sample), "defect": defect or ""})
    path = target / "cohort.csv"
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _other(visits: list[tuple[int, int]], number: int) -> int:
    """A case of another patient."""
    return next(other for other, (patient, _) in enumerate(visits) if patient != visits[number][0])


def _spoilt(defects: Iterable[Defect], cases: int, seed: int, as_dicom: bool) -> dict[int, str]:
    """The defect of each case that has one."""
    wanted = [defects] if isinstance(defects, str) else list(defects)
    known = get_args(Defect)
    for defect in wanted:
        if defect not in known:
            raise ValueError(f"defects must be of {', '.join(known)}; got {defect!r}")
    if as_dicom and "nan" in wanted:
        raise ValueError("defects has 'nan', which DICOM's integers cannot hold: leave it out, or as_dicom=False")
    if len(wanted) > cases:
        raise ValueError(f"defects names {len(wanted)}, but there are {cases} cases: raise n")
    if "duplicate_patient" in wanted and cases < 2:
        raise ValueError("defects has 'duplicate_patient', which takes two patients: raise n")
    order = Draws(seed, "defects").shuffled(cases)
    return dict(zip(order, wanted, strict=False))


def _images_of(sample: Sample) -> dict[str, Image]:
    """The images of a case by role; the mask holds 1 in every lesion."""
    lesions = sample.images["lesions"]
    seg = lesions.with_voxels((np.asarray(lesions.voxels) > 0).astype(np.uint8))
    return {"ct": sample.images["ct"], "pet": sample.images["pet"], "seg": seg}


def _truth(sample: Sample) -> dict[str, Any]:
    """The columns that say what an examination shows."""
    found = sample.truth["lesions"]
    return {
        "lesions": len(found),
        "lesion_ml": f"{sum(one.volume_ml for one in found):.3f}",
        "tlg": f"{sum(one.tlg for one in found):.2f}",
    }


def _write_case(folder: Path, images: dict[str, Image], *, as_dicom: bool) -> dict[str, str]:
    """Writes the files of a case, the mask as NIfTI; returns each role's path from the folder of the cohort."""
    series = {role for role in images if as_dicom and role != "seg"}
    paths = {role: f"{folder.name}/{role}{'/' if role in series else '.nii.gz'}" for role in images}
    for role, image in images.items():
        path = folder.parent / paths[role]
        if role in series:
            assert isinstance(image.metadata, Metadata)  # the makers' images have one
            words = image.metadata.extra
            save_dicom_series(
                image,
                path,
                series_description=words["SeriesDescription"],
                series_number=words["SeriesNumber"],
                derivation="Made from formulas",
            )
        else:
            save_image(image, path)
    return paths


def _examination(own: int, visit: int, typical: Any) -> Sample:
    """A visit of a patient on grids of its own."""
    draws = Draws(own, f"grids of visit {visit}")
    letters = draws.integer(len(_ORIENTATIONS))
    ct = _grid(draws, _ORIENTATIONS[letters], typical, is_tilted=letters == len(_ORIENTATIONS) - 1)
    pet = _grid(draws, "LPS", typical, is_tilted=False)
    lesions = 1 + Draws(own, "number of lesions").integer(4)
    return examination(own, visit, lesions=lesions, grid=ct, pet_grid=pet, scanner=Scanner())


def _grid(draws: Draws, letters: str, typical: Any, *, is_tilted: bool) -> Grid:
    """A grid over most of the patient, its voxel sizes and extent drawn."""
    plane, along = draws.uniform(0.85, 1.1), draws.uniform(0.8, 1.2)
    sizes = [round(s * f, 2) for s, f in zip(typical, (plane, plane, along), strict=True)]
    low, high = np.array(BOX[0]), np.array(BOX[1])
    high[2] -= draws.uniform(0.0, 60.0)
    low[2] += draws.uniform(0.0, 15.0)
    direction, places = np.zeros((3, 3)), [_WORLD[letter] for letter in letters]
    for axis, (world, sign) in enumerate(places):
        direction[world, axis] = sign
    spacing = np.array([max(0.01, sizes[world]) for world, _ in places])
    extent = np.array([(high - low)[world] for world, _ in places])
    shape = np.maximum(1, np.floor(extent / spacing + 0.5)).astype(int)
    if is_tilted:
        direction = turn_about(0, draws.uniform(0.02, 0.06)) @ direction
    origin = (low + high) / 2 - (direction * (spacing * (shape - 1) / 2)).sum(1)
    return Grid.of(tuple(int(size) for size in shape), spacing=spacing, origin=origin, direction=direction)


def _spoil(images: dict[str, Image], defect: str | None) -> dict[str, Image]:
    """The images with the defect, if it is one of voxels or geometry."""
    ct, pet, seg = images["ct"], images["pet"], images["seg"]
    if defect == "empty_mask":
        seg = seg.with_voxels(np.zeros(seg.shape, np.uint8))
    if defect == "shifted_label":
        affine = np.array(seg.affine)
        affine[:3, 3] += 1.5 * affine[:3, 2]
        seg = image_from(seg.voxels, affine, "label", seg.metadata)
    if defect == "nan":
        voxels = np.array(pet.voxels)
        voxels[:, :, voxels.shape[2] // 2] = np.nan
        pet = pet.with_voxels(voxels)
    if defect == "wrong_units":
        ct = ct.with_voxels(np.asarray(ct.voxels) + np.int16(1024))
    return {"ct": ct, "pet": pet, "seg": seg}


def _cut(path: Path) -> None:
    """Takes away the last two fifths of a file, or of the middle file of a series."""
    files: list[Path] = sorted(path.iterdir()) if path.is_dir() else [path]
    victim = files[len(files) // 2]
    os.truncate(victim, victim.stat().st_size * 3 // 5)
