"""Anatomical orientation codes, computed from the affine: all 48, oblique grids included, importable without JAX.

A code names the direction of increasing index of each array axis: "RAS" runs to the patient's right, front and head.
That is nibabel's `aff2axcodes` and `sitk.DICOMOrient`; an identity direction in the LPS world is "LPS".
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from medjax._geometry._grid import direction_of

__all__ = ["CODES", "orientation_of", "reorientation"]

# Letters along the LPS world axes: towards negative, towards positive.
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
_WORLD_AXIS = {
    letter: (axis, sign) for axis, pair in enumerate(_LETTERS) for letter, sign in zip(pair, (-1, 1), strict=True)
}

CODES = tuple("".join(letters) for axes in itertools.permutations(_LETTERS) for letters in itertools.product(*axes))
"""All 48 orientation codes."""


def signed_axes(affine: np.ndarray) -> list[tuple[int, int]]:
    """Assigns to each index axis the world axis (0, 1, 2) it runs along, and the sign.

    The largest cosine of all is assigned first, then the largest between the axes that remain, as nibabel and ITK do.
    The axes' directions break ties (a grid turned by exactly 45 degrees), not the axes' order. So the answer commutes
    with permuting and flipping the grid, and reorienting twice changes nothing more.
    """
    columns = direction_of(np.asarray(affine, np.float64)).T
    rounded = np.round(columns, 6) + 0.0  # float32 rounding breaks no tie; + 0.0 turns -0 into 0
    leading = np.array([next((np.sign(x) for x in row if x), 1.0) for row in rounded])
    free = sorted(range(3), key=lambda a: tuple(rounded[a] * leading[a]), reverse=True)
    pairs = [(a, world) for a in free for world in range(3)]
    found: dict[int, int] = {}
    while pairs:
        best, axis = max(pairs, key=lambda pair: abs(rounded[pair]))  # the first of equals
        found[best] = axis
        pairs = [(a, world) for a, world in pairs if a != best and world != axis]
    return [(found[a], -1 if columns[a, found[a]] < 0 else 1) for a in range(3)]


def orientation_of(affine: np.ndarray) -> str:
    """Returns the three-letter code of an index-to-LPS affine.

    Args:
        affine: `(4, 4)`, known.

    Example:
        >>> orientation_of(np.eye(4)), orientation_of(np.diag([-1.0, -1.0, 1.0, 1.0]))
        ('LPS', 'RAS')
    """
    return "".join(_LETTERS[axis][sign > 0] for axis, sign in signed_axes(affine))


def check_code(code: Any) -> str:
    """Returns the code in capitals, or raises a `ValueError` that says how a code looks."""
    upper = code.upper() if isinstance(code, str) else code
    if upper not in CODES:
        raise ValueError(
            f"orientation must be three letters, one of each pair R/L, A/P, I/S, such as 'RAS' or 'LPS'; got {code!r}"
        )
    return upper


def reorientation(affine: np.ndarray, code: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Returns how to permute and flip a grid's axes to reach an orientation.

    Args:
        affine: `(4, 4)` index to LPS, known.
        code: Target orientation.

    Returns:
        `(axes, flips)`: output axis `a` is input axis `axes[a]`, reversed when `flips[a]`.

    Example:
        >>> reorientation(np.eye(4), "SRP")
        ((2, 0, 1), (False, True, False))
    """
    current = {axis: (a, sign) for a, (axis, sign) in enumerate(signed_axes(affine))}
    wanted = [_WORLD_AXIS[letter] for letter in check_code(code)]
    axes = tuple(current[axis][0] for axis, _ in wanted)
    flips = tuple(current[axis][1] != sign for axis, sign in wanted)
    return axes, flips  # type: ignore[return-value]
