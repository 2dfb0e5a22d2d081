"""NIfTI geometry: from sform, qform and units to an index-to-LPS affine in mm, and back.

The functions that read take the header's fields by name, from a file or from `metadata.extra`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax._geometry._grid import check_affine, direction_of, lps_to_ras, shear_degrees, spacing_of

__all__ = [
    "SHEAR_TOLERANCE_DEGREES",
    "affine_in_mm",
    "corner_distance",
    "form_tolerance",
    "geometry_fields",
    "qform_affine",
    "rounding_distance",
    "sform_affine",
    "stated_affine",
]

# Millimetres per unit of length, by the lowest three bits of xyzt_units (nifti1.h, NIFTI_UNITS_*); unknown means mm.
_MM_PER_UNIT = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}

# float32 headers of orthogonal grids were found to be off by up to 5e-5 in the cosine between two axes.
SHEAR_TOLERANCE_DEGREES = math.degrees(math.asin(1e-4))

# A larger difference between sform and qform at a corner is worth a warning.
_FORM_TOLERANCE_MM = 1e-3

# A larger number is damage and not a length in mm.
_LARGEST_MM = 1e9

# Rounding in float32 leaves b^2 + c^2 + d^2 within this of 1 for half-turns.
_QUATERNION_TOLERANCE = 1e-5


def sform_affine(fields: Mapping[str, Any]) -> np.ndarray:
    """Returns the index-to-LPS affine of the sform in mm (nifti1.h, METHOD 3).

    Raises:
        ValueError: it is not finite, singular, or of an impossible size.
    """
    affine = np.eye(4)
    affine[:3] = [fields["srow_x"], fields["srow_y"], fields["srow_z"]]
    return _checked_in_mm(affine, fields)


def stated_affine(fields: Mapping[str, Any]) -> np.ndarray:
    """Returns the affine that a header states: by the sform, else by the qform, else by pixdim alone.

    An invalid sform beside a valid qform is ignored.

    Raises:
        ValueError: no form that is stated is valid; the message names each.
    """
    forms = {"sform_code": sform_affine, "qform_code": qform_affine}
    finders = [find for code, find in forms.items() if fields[code] > 0] or [unoriented_affine]
    faults = []
    for find in finders:
        try:
            return find(fields)
        except ValueError as error:
            faults.append(f"{find.__name__.partition('_')[0]}: {error}")
    raise ValueError("; ".join(faults))


def qform_affine(fields: Mapping[str, Any]) -> np.ndarray:
    """Returns the index-to-LPS affine of the qform in mm (nifti1.h, METHOD 2).

    The unit quaternion is `(a, b, c, d)` with `a = sqrt(1 - b^2 - c^2 - d^2)`. `pixdim[0] = -1` reverses the third
    axis; any other value leaves it.

    Raises:
        ValueError: it is not finite, singular, of an impossible size, or b, c, d are no part of a unit quaternion.
    """
    b, c, d = (float(fields[f"quatern_{part}"]) for part in "bcd")
    rest = 1.0 - (b * b + c * c + d * d)
    if not rest >= -_QUATERNION_TOLERANCE:
        raise ValueError(f"quatern_b, c, d = {b:g}, {c:g}, {d:g} are longer than a unit quaternion allows")
    a = math.sqrt(max(rest, 0.0))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    with np.errstate(invalid="ignore"):  # an infinite size is found below
        affine[:3, :3] = turn * pixdim_spacing(fields)
    if fields["pixdim"][0] == -1:
        affine[:3, 2] *= -1
    affine[:3, 3] = [fields[f"qoffset_{axis}"] for axis in "xyz"]
    return _checked_in_mm(affine, fields)


def unoriented_affine(fields: Mapping[str, Any]) -> np.ndarray:
    """Returns the affine of a file without sform and qform: spacing from pixdim, origin 0, axes along LPS, as ITK does.

    Raises:
        ValueError: a size is not finite.
    """
    return _checked_in_mm(np.diag([*pixdim_spacing(fields), 1.0]), fields, is_ras=False)


def pixdim_spacing(fields: Mapping[str, Any]) -> np.ndarray:
    """Returns `pixdim[1:4]` in the file's unit, without signs and with 1 for 0, as nibabel reads them."""
    sizes = np.abs(np.array(fields["pixdim"][1:4], np.float64))
    return np.where(sizes == 0, 1.0, sizes)


def affine_in_mm(affine_ras: np.ndarray, fields: Mapping[str, Any]) -> np.ndarray:
    """Returns an index-to-RAS affine in the header's unit of length as index to LPS mm.

    Raises:
        ValueError: it is not finite, singular, or of an impossible size.
    """
    return _checked_in_mm(np.array(affine_ras, np.float64), fields)


def _checked_in_mm(affine: np.ndarray, fields: Mapping[str, Any], *, is_ras: bool = True) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        affine[:3] *= _MM_PER_UNIT.get(fields["xyzt_units"] & 7, 1.0)
    if not (np.abs(affine) < _LARGEST_MM).all():  # also where it is not finite
        raise ValueError(f"affine must be finite and below {_LARGEST_MM:g} mm, got {affine.tolist()}")
    if not (np.abs(affine[:3, :3]).max(0) > 1 / _LARGEST_MM).all():
        raise ValueError(f"affine is singular: a column is zero, got {affine.tolist()}")
    return check_affine(lps_to_ras(affine) if is_ras else affine)


def corner_distance(a: np.ndarray, b: np.ndarray, shape: Sequence[int]) -> float:
    """Returns the largest distance in mm at which two affines put the same voxel. It occurs at a corner of the grid."""
    last = np.array(shape, np.float64) - 1
    corners = np.array([(i, j, k, 1) for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
    return float(np.linalg.norm((corners @ (a - b).T)[:, :3], axis=1).max())


def form_tolerance(fields: Mapping[str, Any], affine: np.ndarray, shape: Sequence[int]) -> float:
    """Returns by how many mm a sform and a qform that state one affine may differ.

    This is `_FORM_TOLERANCE_MM` and the effect of float32 on the quaternion. `a` is the root of what b, c and d leave
    of 1. So near a half turn, as of every tilted LAS or RPI scan, their rounding is a turn of up to 7e-4 rad.
    """
    parts = [abs(float(fields[f"quatern_{part}"])) for part in "bcd"]
    rest, rounding = 1.0 - sum(part * part for part in parts), 2.0**-23
    turn = 2 * (math.sqrt(max(rest + rounding, 0.0)) - math.sqrt(max(rest - rounding, 0.0)))
    return _FORM_TOLERANCE_MM + turn * float((spacing_of(affine) * np.array(shape, np.float64)).sum())


def rounding_distance(affine: np.ndarray, shape: Sequence[int]) -> float:
    """Returns by how many mm a float32 header may misplace a voxel: a bound of 2^-21 of the largest coordinates.

    A rounded sform entry is within 2^-24 of itself, and the matrix of a rounded quaternion within 2^-22.
    """
    size = np.linalg.norm(affine[:3, 3]) + (spacing_of(affine) * np.array(shape, np.float64)).sum()
    return float(2.0**-21 * size)


def geometry_fields(affine: np.ndarray, *, sform_code: int, qform_code: int) -> dict[str, Any]:
    """Returns the header fields that state an index-to-LPS affine in mm. A code of 0 leaves its form empty.

    The qform cannot hold a sheared affine. Its code then becomes 0, and the sform's code becomes 1 if it was 0.
    """
    if shear_degrees(affine) > SHEAR_TOLERANCE_DEGREES:
        sform_code, qform_code = sform_code or 1, 0
    ras = lps_to_ras(affine)
    is_left_handed = np.linalg.det(ras[:3, :3]) < 0
    fields: dict[str, Any] = {"sform_code": sform_code, "qform_code": qform_code}
    fields["pixdim"] = [-1.0 if is_left_handed else 1.0, *spacing_of(affine), 1.0, 1.0, 1.0, 1.0]
    if sform_code > 0:
        fields |= {f"srow_{axis}": ras[row] for row, axis in enumerate("xyz")}
    if qform_code > 0:
        turn = direction_of(ras) * ([1, 1, -1] if is_left_handed else [1, 1, 1])
        fields |= {f"quatern_{part}": value for part, value in zip("bcd", _quaternion(turn), strict=True)}
        fields |= {f"qoffset_{axis}": ras[row, 3] for row, axis in enumerate("xyz")}
    return fields


def _quaternion(turn: np.ndarray) -> np.ndarray:
    """Returns b, c, d of the unit quaternion (a >= 0) nearest to a matrix that may be slightly off a rotation.

    The quaternion is the eigenvector of the largest eigenvalue of a symmetric 4x4 matrix, which needs no division that
    could lose digits: Bar-Itzhack, "New method for extracting the quaternion from a rotation matrix", 2000.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn
    symmetric = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    a, b, c, d = np.linalg.eigh(symmetric)[1][:, -1]
    return np.array([b, c, d]) * (-1.0 if a < 0 else 1.0)
