"""Opening and saving images in any format: finds the format and hands the file to its module."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from medjax._errors import UnsupportedFileError
from medjax._geometry._types import DTypeLike
from medjax._image._image import Image, Kind, check_image, image_from, locked
from medjax._image._metadata import Metadata
from medjax.io._disk._excerpt import Box, Excerpt, affine_of_box
from medjax.io._disk._single import single_on_host
from medjax.io._formats import ALL_FORMATS, DICOM, find_format, format_by_name
from medjax.io._sources import ImageSource, Located, located

__all__ = ["load_image", "save_image"]


def load_image(
    path: ImageSource,
    modality: str | None = None,
    *,
    kind: Kind | None = None,
    dtype: DTypeLike | None = None,
    box: Box | None = None,
    frame: int | None = None,
) -> Image:
    """Loads an image from a file, or a DICOM series from a folder.

    The format is found by content first and by name second. Everything is read into memory at once, so the image does
    not change with the file. Voxels stay NumPy in the stored dtype until the first operation. Scaled data are floating
    point, complex data stay complex, and colours become trailing channels. The voxels are read-only: copy them to
    change them in place. Geometry becomes LPS+ millimetres. Metadata are those that the file states.

    With `box` or `frame` a part of the image is loaded, with its own geometry: the same as `crop` of the whole gives.
    Of NIfTI and HDF5 only the part is in memory. A compressed NIfTI is decompressed up to the end of the part. Of the
    other formats the whole is in memory until the part is taken.

    Args:
        path: A NIfTI, MetaImage, NRRD, HDF5, FreeSurfer, 3D Slicer or DICOM file; a folder that holds one DICOM series,
            or a list of its files; or a file's content as bytes, a file open in binary mode, which is read from where
            it stands, or a URL (`pip install "medjax[url]"`). A header whose voxels lie in another file needs a path.
        modality: The modality, such as "CT", where the file cannot state it. It replaces the file's.
        kind: "intensity" or "label". Default: the kind that the file states, else "intensity".
        dtype: Voxel dtype to convert to. Default: as stored.
        box: `(start, size)`, index of the first voxel and number of voxels along i, j, k. Default: all.
        frame: Index along the first trailing axis (time), which the image then lacks. Default: all.

    Returns:
        A single image, channels (time, components) trailing.

    Raises:
        FileNotFoundError: there is no such file.
        ImageFileError: the file is damaged, foreign, ambiguous or of an unknown format. A subclass says which.
        ValueError: `kind="label"` for voxels that are not integers, or `dtype` does not hold every value. An integer
            type must hold each value exactly. A floating-point type may round but not overflow. Or the box or the frame
            leave the image, or `path` is none of what is read.
        ImportError: a URL needs fsspec.

    Warns:
        ImageFileWarning: the file contradicts itself and was read by a documented rule.

    Example:
        >>> import pathlib, nibabel
        >>> path = pathlib.Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"
        >>> mj.load_image(path)
        Image(33x41x25 int16 intensity, spacing 2 x 2 x 2 mm, LAS)
        >>> mj.load_image(path.read_bytes(), "MR", box=((10, 20, 5), (4, 4, 1)))
        Image(4x4x1 int16 intensity, spacing 2 x 2 x 2 mm, LAS, MR)
    """
    with located(path) as source:
        image = _read(source, Excerpt(box, frame))
        metadata = image.metadata if isinstance(image.metadata, Metadata) else Metadata()
        metadata = source.with_source(metadata).replace(modality=modality or metadata.modality)
        shown = source.path if source.name is not None else "bytes in memory"
    voxels = image.voxels if dtype is None else _as_dtype(image.voxels, np.dtype(dtype), shown)
    if kind == "label" and voxels.dtype.kind in "fc":
        hint = "give an integer dtype as well, such as dtype=np.int32; the conversion must be exact"
        raise ValueError(f"{shown}: labels are integers, its voxels are {voxels.dtype}: {hint}")
    return locked(image_from(voxels, affine=image.affine, kind=kind or image.kind, metadata=metadata))


def _read(source: Located, part: Excerpt) -> Image:
    """Reads a part of a source, or all of it."""
    module = DICOM.load() if source.files else find_format(source.path, ALL_FORMATS).load()
    if part == Excerpt():
        return module.read_files(source.files, source.path) if source.files else module.read(source.path)
    if hasattr(module, "read_excerpt"):
        return module.read_excerpt(source.path, part)
    whole = module.read_files(source.files, source.path) if source.files else module.read(source.path)
    affine = affine_of_box(whole.affine, part.spans(whole.shape))
    return dataclasses.replace(whole, voxels=part.voxels_of(whole.voxels), affine=affine)


def _as_dtype(voxels: np.ndarray, dtype: np.dtype, path: Path | str) -> np.ndarray:
    """Converts voxels. Raises `ValueError` if integers would change, numbers overflow or imaginary parts get lost."""
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
    """Saves an image in the format that the name states.

    The file is written beside the target and renamed, so a failure leaves the old file whole, or none if there was
    none. A killed process can leave a hidden `.part` file behind. Of a pair (`.hdr` and `.img`) it can leave the voxels
    without the header, which is no image, but never a mixture. A format that cannot hold the voxels or the geometry
    raises.

    NIfTI, MetaImage and NRRD files are made to be passed on, so no identifier enters them. Of the metadata they hold
    `modality`, `subtype`, `is_contrast_administered` and `display`. They also hold the fields of a header of their
    format in `extra` that are still true of the image. Identifiers, dates, descriptions, `clinical` and a DICOM header
    do not enter them. FreeSurfer files hold the times of the sequence alone, and no kind. HDF5 keeps all metadata, and
    DICOM keeps the patient and the study; both name the patient. Where float32 would round NIfTI's affine, an extension
    keeps it exactly. Loading uses it unless another program has changed the header's affine since.

    Args:
        image: A single image (not a batch), concrete.
        path: Target, ending in `.nii.gz`, `.nii`, `.hdr`, `.mgz`, `.mgh`, `.mha`, `.mhd`, `.nrrd`, `.nhdr` or `.h5`.
            The README lists all endings.
        compress: Whether to compress, where the format leaves the choice. `.nii.gz` always is compressed, `.nii` never.

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
    target.load().write(single_on_host(image, path), path, compress=compress)
