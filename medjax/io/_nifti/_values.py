"""Whether an image still holds the values of its source, which the header's display range and statistic describe.

Nothing marks an image whose values were changed. So reading notes the least value, the greatest, and how many lie above
the middle of the two, in any order. Changed values, or a part of the values, do not fit this note.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.io._disk._axes import VECTOR_INTENTS

__all__ = ["VALUES_KEY", "are_as_read", "describes_values", "summary"]

VALUES_KEY = "values"

_LABEL_INTENT = 1002
_BLOCK = 2**18


def describes_values(fields: Mapping[str, Any]) -> bool:
    """Whether a header describes the values: by a display range, or an intent other than labels and vectors."""
    code = fields.get("intent_code", 0)
    return bool(fields.get("cal_min") or fields.get("cal_max") or code not in (0, _LABEL_INTENT, *VECTOR_INTENTS))


def summary(voxels: np.ndarray) -> list[float]:
    """Returns the least finite value, the greatest, and how many values are above the middle of the two.

    Example:
        >>> summary(np.array([[4, 1], [9, 2]]))
        [1.0, 9.0, 1.0]
    """
    flat = voxels.ravel(order="K")
    flat = flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat
    blocks = [flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK)]
    ranges = np.array([_finite_range(block) for block in blocks])
    least, most = float(ranges[:, 0].min()), float(ranges[:, 1].max())
    if not least <= most:
        return [0.0, 0.0, 0.0]
    middle = least / 2 + most / 2
    return [least, most, float(sum(np.count_nonzero(block > middle) for block in blocks))]


def _finite_range(block: np.ndarray) -> tuple[float, float]:
    if block.dtype.kind == "f":
        block = block[np.isfinite(block)]
        if not block.size:
            return np.inf, -np.inf
    return float(block.min()), float(block.max())


def are_as_read(voxels: np.ndarray, extra: Mapping[str, Any]) -> bool:
    """Whether the voxels are those of the source, by the note of the reader. Without a note they count as such."""
    noted = extra.get(VALUES_KEY)
    return noted is None or (voxels.dtype.kind in "biufc" and list(noted) == summary(voxels))
