"""Opening and saving images: finds the format by content first and by name second, and writes atomically."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax._image import Image, Kind
from medjax._metadata import Metadata
from medjax.io._errors import ImageFileError, UnsupportedFileError

__all__ = ["load_image", "save_image"]


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format: how to know it, and the module that reads and writes it, imported on use.

    The module has `read(path) -> Image` and, where the format is written, `write(image, path, *, compress)`, which
    receives a single concrete image with NumPy voxels and writes through `atomic_file`.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    is_written: bool = True

    def load(self) -> Any:
        return importlib.import_module(f"medjax.io.{self.module}")


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def _is_meta_image(head: bytes) -> bool:
    text = head.lstrip()
    return text.startswith((b"ObjectType", b"NDims")) and b"=" in text[:64]


# The order matters only for files that no signature claims: then the first format with the name's suffix reads them.
FORMATS = (
    Format("NIfTI", "_nifti", (".nii", ".nii.gz", ".nii.bz2", ".nii.zst", ".hdr", ".img", ".hdr.gz", ".img.gz"), _is_nifti),
    Format("MetaImage", "_metaimage", (".mha", ".mhd"), _is_meta_image),
    Format("NRRD", "_nrrd", (".nrrd", ".nhdr"), lambda head: head.startswith(b"NRRD0")),
    Format("HDF5", "_hdf5", (".h5", ".hdf5"), lambda head: head.startswith(b"\x89HDF\r\n\x1a\n")),
    Format("DICOM", "_dicom", (".dcm", ".dicom", ".ima"), lambda head: head[128:132] == b"DICM"),
    Format("3D Slicer scene", "_mrb", (".mrb",), lambda head: False, is_written=False),
)


def load_image(
    path: str | os.PathLike[str], modality: str | None = None, *, kind: Kind | None = None, dtype: Any = None
) -> Image:
    """Loads an image from a file, or a DICOM series from a folder.

    The format is found by content first and by name second. Voxels stay NumPy in the stored dtype (scaled data is
    floating point) until the first operation; geometry becomes LPS+ millimetres; metadata is what the file states.

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
        ValueError: `kind` does not suit the dtype, or `dtype` cannot hold every value.

    Warns:
        ImageFileWarning: the file contradicts itself and was read by a documented rule.

    Example:
        >>> import nibabel.testing
        >>> load_image(nibabel.testing.data_path / "anatomical.nii")
        Image(33x41x25 int16 intensity, spacing 3 x 3 x 3 mm, LAS)
    """
    path = Path(path)
    image = find_format(path).load().read(path)
    metadata = image.metadata or Metadata()
    metadata = metadata.replace(source=metadata.source or path.name, modality=modality or metadata.modality)
    voxels = image.voxels if dtype is None else _as_dtype(image.voxels, np.dtype(dtype), path)
    return Image.from_array(voxels, affine=image.affine, kind=kind or image.kind, metadata=metadata)


def _as_dtype(voxels: np.ndarray, dtype: np.dtype, path: Path) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        cast = voxels.astype(dtype)
    if np.issubdtype(dtype, np.integer) and not np.array_equal(cast, voxels):
        raise ValueError(f"{path}: values from {voxels.min()} to {voxels.max()} ({voxels.dtype}) do not all fit dtype={dtype}; choose a wider or a floating-point dtype")
    return cast


def save_image(image: Image, path: str | os.PathLike[str], *, compress: bool = True) -> None:
    """Saves an image; the format follows from the name.

    The file is written beside the target and renamed, so a failure leaves the old file whole or none at all. Geometry,
    kind and metadata are kept as far as the format can hold them; what it cannot hold is an error, not a loss.

    Args:
        image: A single image (not a batch), concrete.
        path: Target, ending in `.nii`, `.nii.gz`, `.mha`, `.mhd`, `.nrrd`, `.nhdr`, `.h5`; the README lists them all.
        compress: Compress where the format leaves the choice; `.nii.gz` always is, `.nii` never.

    Raises:
        ValueError: the image is a batch or traced.
        ImageFileError: the name has no known ending, or the format cannot hold this image.

    Example:
        >>> import tempfile
        >>> image = Image.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4), spacing=(1, 2, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_image(image, f"{folder}/scan.nii.gz")
        ...     load_image(f"{folder}/scan.nii.gz").spacing
        (1.0, 2.0, 3.0)
    """
    path = Path(path)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in (image.voxels, image.affine)):
        raise ValueError(f"cannot save {path} under a jax transformation: return the image and save it outside")
    if image.batch_shape:
        raise ValueError(f"cannot save a batch of shape {image.batch_shape} as {path}: save the items of unstack(image)")
    target = _format_by_name(path)
    if target is None or not target.is_written:
        endings = ", ".join(suffix for fmt in FORMATS if fmt.is_written for suffix in fmt.suffixes[:2])
        raise UnsupportedFileError(path, "cannot tell the format to write from the name", f"use one of {endings}")
    host = dataclasses.replace(image, voxels=np.asarray(image.voxels), affine=image.grid.affine)
    target.load().write(host, path, compress=compress)


def find_format(path: Path) -> Format:
    """Finds the format of an existing file (or folder: DICOM) by its first bytes, then by its name."""
    if path.is_dir():
        return _by_module("_dicom")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    head = first_bytes(path, 352)
    if not head:
        raise ImageFileError(path, "the file is empty")
    found = next((fmt for fmt in FORMATS if fmt.matches(head)), None) or _format_by_name(path)
    if found is not None:
        return found
    if head[:2] in (b"\x02\x00", b"\x08\x00"):  # a DICOM stream without preamble starts with group 0002 or 0008
        return _by_module("_dicom")
    known = ", ".join(fmt.name for fmt in FORMATS)
    raise UnsupportedFileError(path, f"neither its content nor its name is of a known format ({known})")


def first_bytes(path: Path, count: int) -> bytes:
    """Reads the first bytes of a file, of its content where it is compressed with gzip or bzip2."""
    import bz2
    import gzip

    with open(path, "rb") as file:
        head = file.read(count)
    opener: Any = gzip.open if head[:2] == b"\x1f\x8b" else bz2.open if head[:3] == b"BZh" else None
    if opener is None:
        return head
    try:
        with opener(path, "rb") as file:
            return file.read(count)
    except (OSError, EOFError, ValueError):
        return head  # damaged: the reader that the name points to says how


def _format_by_name(path: Path) -> Format | None:
    name = path.name.lower()
    return next((fmt for fmt in FORMATS if name.endswith(fmt.suffixes)), None)


def _by_module(module: str) -> Format:
    return next(fmt for fmt in FORMATS if fmt.module == module)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside the target; on success it is flushed to disk and takes the target's place.

    A crash or an exception leaves the old file as it was, and no temporary one behind unless the process was killed.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def warn(path: Path, message: str, category: type[Warning]) -> None:
    """Warns about a file, attributing it to the caller of the public function."""
    warnings.warn(f"{path}: {message}", category, stacklevel=5)
