"""Opening and saving images: finds the format by content first and by name second, and writes atomically."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib
import os
import secrets
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax._image import Image, Kind, check_image, image_from, locked
from medjax._metadata import Metadata
from medjax.io._errors import ImageFileError, ImageFileWarning, UnsupportedFileError
from medjax.io._gzip import Codec, Content
from medjax.io._opened import as_path, check_regular

__all__ = ["load_image", "save_image"]

_MOST_NAME_BYTES = 255  # of ext4, XFS, Btrfs, APFS and NTFS (there 255 units of UTF-16, which 255 bytes never exceed)


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
    is_compressed_whole: bool = False  # its reader opens files that were compressed as a whole, such as .nii.gz

    def load(self) -> Any:
        return importlib.import_module(f"medjax.io.{self.module}")


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def _is_meta_image(head: bytes) -> bool:
    text = head.lstrip()
    return text.startswith((b"ObjectType", b"NDims")) and b"=" in text[:64]


# The order matters only for files that no signature claims: then the first format with the name's suffix reads them.
FORMATS = (
    Format(
        "NIfTI",
        "_nifti",
        (".nii.gz", ".nii", ".nii.bz2", ".nii.zst", ".hdr", ".img", ".hdr.gz", ".img.gz"),
        _is_nifti,
        is_compressed_whole=True,
    ),
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
    image = find_format(path).load().read(path)
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
    target = _format_by_name(path)
    if target is None or not target.is_written:
        endings = ", ".join(suffix for fmt in FORMATS if fmt.is_written for suffix in fmt.suffixes[:2])
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


def find_format(path: Path) -> Format:
    """Finds the format of an existing file (or folder: DICOM) by its first bytes, then by its name."""
    if path.is_dir():
        return _by_module("_dicom")
    check_regular(path)
    head, codec = _first_bytes(path, 352)
    if not head:
        raise ImageFileError(path, "the file is empty" if codec is None else f"the {codec} stream holds nothing")
    found = next((fmt for fmt in FORMATS if fmt.matches(head)), None) or _format_by_name(path)
    if found is None and head[:2] in (b"\x02\x00", b"\x08\x00"):
        found = _by_module("_dicom")  # a DICOM stream without preamble starts with group 0002 or 0008
    if found is None:
        known = ", ".join(fmt.name for fmt in FORMATS)
        raise UnsupportedFileError(path, f"neither its content nor its name is of a known format ({known})")
    if codec is not None and not found.is_compressed_whole:
        raise UnsupportedFileError(path, f"{found.name} inside a {codec} file is not read", "decompress it first")
    return found


def first_bytes(path: Path, count: int) -> bytes:
    """Reads the first bytes of a file, of its content where the whole file is compressed."""
    return _first_bytes(path, count)[0]


def _first_bytes(path: Path, count: int) -> tuple[bytes, Codec | None]:
    with Content(path) as content:
        try:
            return content.read(count), content.codec
        except ImageFileError:  # not compressed after all, or damaged: the reader that the name points to says how
            with Content(path, codec=None) as raw:
                return raw.read(count), None


def _format_by_name(path: Path) -> Format | None:
    name = path.name.lower()
    return next((fmt for fmt in FORMATS if name.endswith(fmt.suffixes)), None)


def _by_module(module: str) -> Format:
    return next(fmt for fmt in FORMATS if fmt.module == module)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside the target; on success it is flushed to disk and takes the target's place.

    A crash or an exception leaves the old file as it was, and no temporary one behind unless the process was killed.
    A link is followed, and the old file's permissions stay.
    """
    with atomic_files(path) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_files(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Like `atomic_file` for the parts of one image, named so that the last one is what readers open first.

    An exception leaves all old files as they were. A process killed while the files are being renamed can leave no last
    file (so no image), but never a mixture of an old one with new ones: the old last file goes first.
    """
    targets = tuple(Path(os.path.realpath(path)) for path in paths)
    for target in targets:
        _check_target(target)
    temporaries: list[Path] = []
    try:
        for target in targets:
            temporaries.append(_create_beside(target))
        yield tuple(temporaries)
        for temporary in temporaries:
            flush(temporary)
        if len(targets) > 1:
            targets[-1].unlink(missing_ok=True)
        for temporary, target in zip(temporaries, targets, strict=True):
            temporary.replace(target)
        flush_folder(targets[-1].parent)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def _check_target(target: Path) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(target.parent))
    if target.exists() and not target.is_file():
        raise ImageFileError(target, "is not an ordinary file and will not be replaced")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file to replace is write-protected", str(target))


def _create_beside(target: Path) -> Path:
    """Creates an empty file with the permissions of the file it will replace, or the usual ones."""
    temporary = target.with_name(temporary_name(target.name, f".{secrets.token_hex(6)}.part"))
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # the umask applies
    if target.exists():
        temporary.chmod(stat.S_IMODE(target.stat().st_mode))
    return temporary


def temporary_name(name: str, tail: str) -> str:
    """Returns a hidden name that starts like `name` and ends in `tail`, cut where a file system would find it too long.

    Example:
        >>> temporary_name("scan.nii.gz", ".8f.part")
        '.scan.nii.gz.8f.part'
        >>> len(temporary_name("\u50cf" * 80, ".part").encode())  # 3 bytes a character, whole characters
        246
    """
    name = f".{name.removeprefix('.')}"
    while len(os.fsencode(name + tail)) > _MOST_NAME_BYTES:
        name = name[:-1]
    return name + tail


def flush(path: Path) -> None:
    """Makes a file's content last through a power failure."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Makes a rename last through a power failure, where the system can do that for a folder (Windows cannot)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def warn(path: Path, message: str, category: type[Warning] = ImageFileWarning) -> None:
    """Warns about a file, in the name of the caller of the public function."""
    level, frame = 1, sys._getframe(0)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OWN_FRAMES:
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(f"{path}: {message}", category, stacklevel=level)


_OWN_FRAMES = {"medjax", "jaxtyping"}  # the second wraps every function in the tests
