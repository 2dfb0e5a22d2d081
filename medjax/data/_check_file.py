"""What may be wrong with one file, each with a code: damage, geometry, values and labels."""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medjax._errors import ImageFileError, ImageFileWarning, TruncatedFileError
from medjax._geometry._grid import shear_degrees
from medjax.io._dicom._errors import InconsistentGeometryError, MultipleSeriesError, NoGeometryError

__all__ = ["CODES", "Finding", "check_file"]

Level = Literal["error", "warning"]

CODES: dict[str, str] = {
    "F01": "the file is missing",
    "F02": "the file cannot be read as an image",
    "F03": "the file ends early",
    "F04": "the file is empty",
    "F05": "several series, or no geometry",
    "G03": "sform and qform disagree",
    "G04": "the grid is sheared or left-handed",
    "G05": "an odd voxel size, a single slice, or a field of view that is tiny or huge",
    "V01": "values that are not finite",
    "V02": "all voxels are equal",
    "V03": "more than 99 % of the voxels are 0",
    "V04": "a CT outside the range of HU, or without its intercept",
    "L01": "an unexpected label",
    "L02": "labels that are no whole numbers",
    "L03": "the mask is empty",
    "L04": "a label touches the border of the image",
    "L05": "specks: parts of fewer than 8 voxels",
}
"""Every code, and what it finds."""

_CATCHING = threading.Lock()
"""Held while warnings are caught, which changes the state of the whole process."""

_LEAST_MM, _MOST_MM = 0.05, 20.0
_SMALLEST_VIEW_MM, _LARGEST_VIEW_MM = 5.0, 2500.0
_SHEAR_DEGREES = 0.1
_HU = (-1100.0, 32767.0)
_SPECK = 8


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: A key of `CODES`.
        level: "error" or "warning".
        text: What was found, with numbers.
    """

    code: str
    level: Level
    text: str


def check_file(path: str, *, labels: Collection[int] | None = None, has_labels: bool = False) -> list[Finding]:
    """Reads a file or a series and says what is wrong with it.

    Args:
        path: Of the file or folder.
        labels: The labels that may occur; they make the file a label map.
        has_labels: Whether the file is a label map though it cannot say so.
    """
    target = Path(path)
    if not target.exists():
        return [Finding("F01", "error", "no such file or folder")]
    if target.is_file() and not target.stat().st_size:
        return [Finding("F04", "error", "the file holds no byte")]
    from medjax.io._open import load_image

    with _CATCHING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image = load_image(path)
        except TruncatedFileError as error:
            return [Finding("F03", "error", error.reason)]
        except (MultipleSeriesError, NoGeometryError, InconsistentGeometryError) as error:
            return [Finding("F05", "error", error.reason.splitlines()[0])]
        except ImageFileError as error:
            return [Finding("F02", "error", error.reason)]
        except OSError as error:
            return [Finding("F02", "error", error.strerror or str(error))]
    texts = [str(one.message).removeprefix(f"{path}: ") for one in caught if one.category is ImageFileWarning]
    is_labels = has_labels or labels is not None or image.kind == "label"
    found = [Finding("G03", "warning", text) for text in texts if "qform" in text and "sform" in text]
    found += _of_grid(image.grid)
    found += _of_labels(image, labels) if is_labels else _of_values(image)
    return found


def _of_grid(grid: Any) -> Iterator[Finding]:
    shear = shear_degrees(grid.affine)
    if shear > _SHEAR_DEGREES:
        yield Finding("G04", "warning", f"two axes are {shear:.2f} degrees off a right angle")
    if np.linalg.det(grid.affine[:3, :3]) < 0:
        yield Finding("G04", "warning", "the axes are left-handed")
    for name, size in zip("ijk", grid.spacing, strict=True):
        if not _LEAST_MM <= size <= _MOST_MM:
            yield Finding("G05", "warning", f"voxels of {size:.4g} mm along {name}")
    if min(grid.shape) == 1:
        yield Finding("G05", "warning", f"a single slice: {' x '.join(map(str, grid.shape))} voxels")
    for name, length, count in zip("ijk", grid.extent.tolist(), grid.shape, strict=True):
        if length > _LARGEST_VIEW_MM or (length < _SMALLEST_VIEW_MM and count > 1):
            yield Finding("G05", "warning", f"a field of view of {length:.4g} mm along {name}")


def _of_values(image: Any) -> Iterator[Finding]:
    voxels = np.asarray(image.voxels)
    is_finite = np.isfinite(voxels)
    bad = int(voxels.size - np.count_nonzero(is_finite))
    if bad:
        yield Finding("V01", "error", f"{bad} of {voxels.size} voxels are not finite")
    values = voxels if not bad else voxels[is_finite]
    if not values.size or values.dtype.kind == "c":
        return
    low, high = values.min().item(), values.max().item()
    if low == high:
        yield Finding("V02", "error", f"all voxels are {low:.6g}")
        return
    share = 1 - np.count_nonzero(values) / values.size
    if share > 0.99:
        yield Finding("V03", "warning", f"{100 * share:.2f} % of the voxels are 0")
    if image.metadata is not None and image.metadata.modality == "CT":
        if low < _HU[0] or high > _HU[1]:
            yield Finding("V04", "warning", f"values from {low:.6g} to {high:.6g} HU")
        if low >= 0:
            yield Finding("V04", "error", f"no value below 0 ({low:.6g} to {high:.6g}): air is -1000 HU")


def _of_labels(image: Any, expected: Collection[int] | None) -> Iterator[Finding]:
    voxels = np.asarray(image.voxels)
    names, counts = np.unique(voxels, return_counts=True)
    if voxels.dtype.kind not in "iub":
        if not np.isfinite(names).all() or (names != np.round(names)).any():
            odd = next(x for x in names.tolist() if x != x or x != round(x))
            yield Finding("L02", "error", f"a label of {odd:.6g}")
            return
        voxels, names = voxels.astype(np.int64), names.astype(np.int64)
    for name, count in zip(names.tolist(), counts.tolist(), strict=True):
        if expected is not None and name not in expected:
            yield Finding("L01", "error", f"label {name}: {count} voxels")
    inside = names[names != 0]
    if not inside.size:
        yield Finding("L03", "error", "no voxel has a label other than 0")
        return
    if voxels.ndim > 3:
        return
    edges = [voxels.take(end, axis) for axis in range(3) if voxels.shape[axis] > 1 for end in (0, -1)]
    at_border = np.unique(np.concatenate([edge.ravel() for edge in edges])) if edges else np.array([])
    for name in at_border[at_border != 0].tolist():
        yield Finding("L04", "warning", f"label {name} touches the border")
    for name in inside.tolist():
        specks = _specks(image, name)
        if specks:
            yield Finding("L05", "warning", f"label {name} has {specks} parts of fewer than {_SPECK} voxels")


def _specks(image: Any, name: int) -> int:
    """How many parts of a label are smaller than a speck; 0 where SciPy is missing, which finds the parts."""
    from medjax._mask import connected_components

    mask = image.with_voxels((np.asarray(image.voxels) == name).astype(np.uint8))
    try:
        parts = connected_components(mask)
    except ImportError:
        return 0
    sizes = np.bincount(np.asarray(parts.voxels).ravel())[1:]
    return int((sizes < _SPECK).sum())
