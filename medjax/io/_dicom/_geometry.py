"""From the positions of slices to an affine: order along the normal, uniform spacing, shear.

World positions win over every other statement about distance. Spacing Between Slices, Slice Thickness, Slice Location
and Instance Number are not used (PS3.3 section C.7.6.2.1.1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax._geometry._grid import shear_degrees
from medjax.io._dicom._errors import InconsistentGeometryError, NoGeometryError, NonUniformSpacingError
from medjax.io._dicom._slices import Slice, unit_axes

__all__ = ["Stack", "affine_of_single", "measure"]

# Pixel spacings of one series agree within this, relative: the digits that a decimal string rounds away.
_SPACING_DIGITS = 1e-3
# Steps between slices may differ by this fraction: a PET here, of 3.27 mm, deviates by 0.6 %.
_STEP_TOLERANCE = 0.01
# Slices may also lie off their places on the uniform grid by this fraction of a step.
_PLACE_TOLERANCE = 0.1
# A stack that leans by less than this, or whose last slice is displaced by less, is straight up to rounding.
_STRAIGHT_DEGREES = 0.01
_STRAIGHT_MM = 0.01
# From here on a lean is worth a warning: real straight stacks show up to 0.05 degrees.
_LEANING_DEGREES = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """The lattice on which a stack of parallel slices lies.

    Attributes:
        axes: Unit vectors along a row, along a column and along the normal, `(3, 3)`.
        affine: Index to LPS mm, `(4, 4)`: columns, rows, slices.
        depths: Distance of each slice from the first along the stack, mm.
        uneven: A description of the uneven distances, or `None` where they are uniform.
        lean_degrees: By how much the stack leans away from the normal; 0 if it is straight.
        is_rounded: Whether the digits that positions were rounded to explain why the distances differ.
    """

    axes: np.ndarray
    affine: np.ndarray
    depths: np.ndarray
    uneven: str | None
    lean_degrees: float
    is_rounded: bool = False


def axes_of(slices: Sequence[Slice], path: Path) -> np.ndarray:
    """The common axes of parallel slices: those of the mean of the stated orientations. The order does not matter."""
    orientations = sorted({s.orientation for s in slices if s.orientation is not None})
    if not orientations:
        raise NoGeometryError(path, "the file does not state ImageOrientationPatient")
    if len(orientations) == 1:
        return unit_axes(orientations[0], slices[0].file)
    return unit_axes(tuple(np.mean(orientations, axis=0).tolist()), slices[0].file)


def pixel_spacing_of(slices: Sequence[Slice], path: Path) -> tuple[float, float]:
    """Mm between rows and between columns, the same for all slices.

    Raises:
        NoGeometryError: no slice states it.
        InconsistentGeometryError: they differ.
    """
    spacings = sorted({s.pixel_spacing for s in slices if s.pixel_spacing is not None})
    if not spacings or any(s.pixel_spacing is None for s in slices):
        raise NoGeometryError(path, "PixelSpacing is missing", "give the spacing to Image.from_array with the voxels")
    low, high = np.min(spacings, axis=0), np.max(spacings, axis=0)
    if (high - low > _SPACING_DIGITS * low).any():
        stated = ", ".join(f"{row:g} x {column:g} mm" for row, column in spacings[:4])
        raise InconsistentGeometryError(path, f"PixelSpacing differs between the slices: {stated}")
    return spacings[0][0], spacings[0][1]


def depth_of(slices: Sequence[Slice], axes: np.ndarray, path: Path) -> np.ndarray:
    """Distance of each slice from the world's origin along the normal, mm.

    Raises:
        NoGeometryError: a slice has no position.
    """
    positions = [s.position for s in slices]
    if any(position is None for position in positions):
        missing = sum(position is None for position in positions)
        reason = f"{missing} of {len(positions)} slices have no ImagePositionPatient"
        raise NoGeometryError(path, f"{reason}, and their numbers or names are no substitute")
    return np.asarray(positions, np.float64) @ axes[2]


def places(depths: np.ndarray, pixel_spacing: Sequence[float]) -> np.ndarray:
    """Numbers the distinct depths upwards: slices of one number lie at one place.

    Depths closer than 0.01 mm, or than a twentieth of a pixel if that is less, count as the same.
    """
    tolerance = min(0.01, 0.05 * min(pixel_spacing))
    order = np.argsort(depths, kind="stable")
    number = np.zeros(len(depths), np.intp)
    number[order[1:]] = np.cumsum(np.diff(depths[order]) > tolerance)
    return number


def measure(rows: Sequence[Sequence[Slice]], axes: np.ndarray, pixel_spacing: tuple[float, float], path: Path) -> Stack:
    """Fits the lattice of a stack.

    Args:
        rows: For each place from the first to the last along the normal, the slices that lie there.
        axes: Their common axes.
        pixel_spacing: mm between rows and between columns.
        path: The file or folder that errors name.

    Raises:
        InconsistentGeometryError: the slices are shifted against each other within their planes, so that no lattice
            holds them.
    """
    positions = np.asarray([row[0].position for row in rows], np.float64)
    for volume in range(1, len(rows[0])):
        others = np.asarray([row[volume].position for row in rows], np.float64)
        _check_line(others - positions, pixel_spacing, path)
    if len(rows) == 1:
        thickness = rows[0][0].thickness or 1.0
        return Stack(axes, _affine(axes, pixel_spacing, axes[2] * thickness, positions[0]), np.zeros(1), None, 0.0)
    span = positions[-1] - positions[0]
    along = axes[2] @ span
    heights = (positions - positions[0]) @ axes[2]
    _check_line(positions - positions[0] - np.outer(heights / along, span), pixel_spacing, path)
    step = span / (len(rows) - 1)
    lean = np.degrees(np.arccos(np.clip(along / np.linalg.norm(span), -1, 1)))
    if lean <= _STRAIGHT_DEGREES or np.linalg.norm(span - along * axes[2]) <= _STRAIGHT_MM:
        step, lean = axes[2] * along / (len(rows) - 1), 0.0
    affine = _affine(axes, pixel_spacing, step, positions[0])
    depths = heights * np.linalg.norm(step) * (len(rows) - 1) / along
    is_rounded = _drift(depths) <= _rounding(positions) * float(np.abs(axes[2]).sum())
    lean = lean if shear_degrees(affine) > _LEANING_DEGREES else 0.0
    return Stack(axes, affine, depths, _unevenness(rows, depths, is_rounded), lean, is_rounded)


def _drift(depths: np.ndarray) -> float:
    """The largest distance, in mm, of a slice from its place on the even grid from the first to the last."""
    return float(np.abs(depths - np.linspace(0.0, depths[-1], len(depths))).max())


def _rounding(positions: np.ndarray) -> float:
    """The decimal place, in mm, at which all coordinates end; 0 where they have three decimals or more.

    Each coordinate is off by at most half of it. So are both ends of the stack, to which the others are compared.
    """
    for place in (1.0, 0.1, 0.01):
        if np.abs(positions / place - np.round(positions / place)).max() < 1e-6:
            return place + 1e-6  # and a little for the arithmetic
    return 0.0


def _check_line(offsets: np.ndarray, pixel_spacing: Sequence[float], path: Path) -> None:
    """Checks that the corners of all slices lie on one line, to a tenth of a pixel."""
    worst = float(np.linalg.norm(offsets, axis=-1).max())
    if worst > max(0.02, 0.1 * min(pixel_spacing)):
        reason = f"the slices are shifted against each other within their planes, by up to {worst:.2f} mm"
        raise InconsistentGeometryError(path, f"{reason}: no single grid holds them")


def _affine(axes: np.ndarray, pixel_spacing: Sequence[float], step: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Index to LPS mm (PS3.3 equation C.7.6.2.1-1); the index of a column comes first.

    The first index runs along a row. It moves by the distance between columns, which is stated second.
    """
    affine = np.eye(4)
    affine[:3, 0] = axes[0] * pixel_spacing[1]
    affine[:3, 1] = axes[1] * pixel_spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = origin
    return affine


def _unevenness(rows: Sequence[Sequence[Slice]], depths: np.ndarray, is_rounded: bool) -> str | None:
    """Says how the steps between slices differ and where the widest gap is; `None` where they do not differ."""
    steps = np.diff(depths)
    usual = float(np.median(steps))
    drift = _drift(depths)
    allowed = max(_STEP_TOLERANCE * usual, min(0.02, 0.05 * usual))
    if np.abs(steps - usual).max() <= allowed and drift <= _PLACE_TOLERANCE * usual:
        return None
    if is_rounded and drift <= _PLACE_TOLERANCE * usual:  # less than any gap
        return f"steps of {_kinds_of_steps(steps)}; their positions are rounded, each by up to {drift:.2f} mm"
    widest = int(np.argmax(steps))
    ends = zip(rows[widest : widest + 2], depths[widest : widest + 2], strict=True)
    between = " and ".join(f"{row[0].file.path.name} at {depth:.2f} mm" for row, depth in ends)
    rounded = f", or their positions are rounded, each by up to {drift:.2f} mm" if is_rounded else ""
    return f"steps of {_kinds_of_steps(steps)}; {_gap(steps / usual, widest)} between {between} from the first{rounded}"


def _gap(ratios: np.ndarray, widest: int) -> str:
    """Names the widest step: as missing slices, if all steps are multiples of the usual one."""
    missing = round(float(ratios[widest])) - 1
    if missing < 1 or np.abs(ratios - np.round(ratios)).max() > _PLACE_TOLERANCE or ratios.min() < 0.5:
        return "the widest"
    return f"{missing} slice{'s' if missing > 1 else ''} missing"


def _kinds_of_steps(steps: np.ndarray) -> str:
    """The steps, most frequent first, as "5.00 mm (2x), 10.00 mm (1x)"."""
    sizes, counts = np.unique(np.round(steps, 2), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = [f"{sizes[n]:.2f} mm ({counts[n]}x)" for n in order[:4]]
    return ", ".join(shown) + (f" and {len(order) - 4} other sizes" if len(order) > 4 else "")


def check_spacing(stack: Stack, path: Path, policy: str) -> None:
    """Raises if the slices are not evenly spaced and the policy does not say what to do.

    Raises:
        NonUniformSpacingError: the slices are not evenly spaced. The error names the gap and the lean, if there is one.
            With the policy "even": a slice lies nearer to another slice's even place than to its own.
    """
    if stack.uneven is None or policy in ("resample", "nearest"):
        return
    step = stack.depths[-1] / (len(stack.depths) - 1)
    if policy == "even":
        if _drift(stack.depths) > 0.5 * step:
            reason = f"{stack.uneven}: a slice would be moved by {_drift(stack.depths):.2f} mm, more than half a step"
            raise NonUniformSpacingError(path, reason, 'spacing_policy="resample" or "nearest" moves none')
        return
    lean = f"; the stack also leans {stack.lean_degrees:.1f} degrees (gantry tilt)" if stack.lean_degrees else ""
    hint = (
        'io.load_dicom_series(..., spacing_policy="resample") interpolates between the slices, "nearest" repeats them'
    )
    if stack.is_rounded:
        hint = 'io.load_dicom_series(..., spacing_policy="even") takes them as even'
    raise NonUniformSpacingError(path, f"the slices are not evenly spaced: {stack.uneven}{lean}", hint)


def affine_of_single(slice_: Slice) -> np.ndarray:
    """Affine of an image without a place: at the origin, along the world's axes, with the stated pixel spacing."""
    spacing = slice_.pixel_spacing or (1.0, 1.0)
    return _affine(np.eye(3), spacing, np.array([0.0, 0.0, slice_.thickness or 1.0]), np.zeros(3))
