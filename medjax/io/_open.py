"""Opening and saving images in whatever format: finds the format and hands the file over to its module."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import jax
import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._geometry._types import DTypeLike
from medjax._image._image import Image, Kind, check_image, image_from, locked
from medjax._image._metadata import Metadata
from medjax.io._disk._opened import as_path
from medjax.io._formats import FORMATS, Format, find_format, format_by_name

__all__ = ["ALL_FORMATS", "load_image", "save_image", "single_on_host"]

# A scene holds files of the other formats, so its module lies above theirs.
ALL_FORMATS = (*FORMATS, Format("3D Slicer scene", "_mrb", (".mrb",), lambda head: False, is_written=False))


def load_image(
    path: str | os.PathLike[str],
    modality: str | None = None,
    *,
    kind: Kind | None = None,
    dtype: DTypeLike | None = None,
) -> Image:
    """Loads an image from a file, or a DICOM series from a folder.

    The format is found by content first and by name second. Everything is read into memory at once, so the image does
    not change with the file. Voxels stay NumPy in the stored dtype (scaled data is floating point, complex stays complex,
    colours become trailing channels) until the first operation, read-only as images are: copy them to change them in
    place. Geometry becomes LPS+ millimetres; metadata is what the file states.

    Args:
        path: A NIfTI, MetaImage, NRRD, HDF5 or DICOM file, or a folder that holds one DICOM series.
        modality: What the scan is, where the file cannot say it, such as "CT"; replaces what the file says.
        kind: "intensity" or "label"; default what the file says, else "intensity".
        dtype: Voxel dtype to convert to; default as stored.

    Returns:
        A single image, channels (time, components) trailing.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: the file is damaged, foreign, ambiguous or of an unknown format; a subclass says which.
        ValueError: `kind="label"` for voxels that are not integers, or `dtype` does not hold every value: an integer
            type must hold each one exactly, a floating-point type may round but not overflow.

    Warns:
        ImageFileWarning: the file contradicts itself and was read by a documented rule.

    Example:
        >>> import pathlib, nibabel
        >>> mj.load_image(pathlib.Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii")
        Image(33x41x25 int16 intensity, spacing 2 x 2 x 2 mm, LAS)
    """
    path = as_path(path)
    image = find_format(path, ALL_FORMATS).load().read(path)
    metadata = image.metadata or Metadata()
    metadata = metadata.replace(source=metadata.source or path.name, modality=modality or metadata.modality)
    voxels = image.voxels if dtype is None else _as_dtype(image.voxels, np.dtype(dtype), path)
    if kind == "label" and voxels.dtype.kind in "fc":
        hint = "give an integer dtype as well, such as dtype=np.int32; the conversion must be exact"
        raise ValueError(f"{path}: labels are integers, its voxels are {voxels.dtype}: {hint}")
    return locked(image_from(voxels, affine=image.affine, kind=kind or image.kind, metadata=metadata))


def _as_dtype(voxels: np.ndarray, dtype: np.dtype, path: Path) -> np.ndarray:
    """Converts voxels, or raises `ValueError` where integers would change, numbers overflow or parts get lost."""
    if voxels.dtype.kind == "c" and dtype.kind != "c":
        raise ValueError(
            f"{path}: complex voxels do not fit dtype={dtype}; load them as they are and take np.abs or .real"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        cast = voxels.astype(dtype)
    if dtype.kind in "biu":
        least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        is_within = least <= voxels.min().item() and voxels.max().item() <= most  # exactly, by Python's numbers
        is_kept = is_within and np.array_equal(cast, voxels)
    else:
        is_kept = np.array_equal(np.isfinite(cast), np.isfinite(voxels))
    if not is_kept:
        values = f"values from {voxels.min()} to {voxels.max()} ({voxels.dtype})"
        raise ValueError(f"{path}: {values} do not all fit dtype={dtype}; choose a wider or a floating-point dtype")
    return cast


def save_image(image: Image, path: str | os.PathLike[str], *, compress: bool = True) -> None:
    """Saves an image; the format follows from the name.

    The file is written beside the target and renamed, so a failure leaves the old file whole or none at all; a killed
    process can leave a hidden `.part` file behind, and of a pair (`.hdr` and `.img`) the voxels without the header, which
    is no image, but never a mixture. A format that cannot hold the voxels or the geometry raises.

    NIfTI, MetaImage and NRRD files are made to be passed on, so no identifier enters them: of the metadata they hold
    `modality`, `subtype`, `is_contrast_administered` and `display`, and what is in `extra` of a header of their own format,
    as far as it is still true of the image. Identifiers, dates, descriptions, `clinical` and a DICOM header do not enter
    them. HDF5, a store, keeps all metadata, and DICOM the patient and the study; both name the patient. Where float32
    would round NIfTI's affine, it is kept exactly in an extension, and used on loading unless another program has changed
    the header's since.

    Args:
        image: A single image (not a batch), concrete.
        path: Target, ending in `.nii.gz`, `.nii`, `.hdr`, `.mha`, `.mhd`, `.nrrd`, `.nhdr`, `.h5`; the README lists all.
        compress: Compress where the format leaves the choice; `.nii.gz` always is, `.nii` never.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the image is a batch or traced.
        ImageFileError: the name has no known ending, or the format cannot hold this image.

    Example:
        >>> import tempfile
        >>> image = mj.Image.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4), spacing=(1, 2, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mj.save_image(image, f"{folder}/scan.nii.gz")
        ...     mj.load_image(f"{folder}/scan.nii.gz").spacing
        (1.0, 2.0, 3.0)
    """
    check_image(image, "image")
    path = Path(path)
    target = format_by_name(path, ALL_FORMATS)
    if target is None or not target.is_written:
        endings = ", ".join(suffix for fmt in ALL_FORMATS if fmt.is_written for suffix in fmt.suffixes[:2])
        raise UnsupportedFileError(path, "cannot tell the format to write from the name", f"use one of {endings}")
    target.load().write(single_on_host(image, str(path)), path, compress=compress)


def single_on_host(image: Image, target: str) -> Image:
    """Returns a single image with its voxels as NumPy; `target` is what it is made for, as errors name it.

    Raises:
        ValueError: the image is a batch or traced.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in (image.voxels, image.affine)):
        raise ValueError(f"cannot save {target} under a jax transformation: return the image and save it outside")
    if image.batch_shape:
        raise ValueError(
            f"cannot save a batch of shape {image.batch_shape} as {target}: save the items of unstack(image)"
        )
    return dataclasses.replace(image, voxels=np.asarray(image.voxels), affine=image.grid.affine)
