"""Meaning and step of the axes behind i, j, k: one rule for the sources of every format.

An image knows only the sizes of its trailing axes. The header of its source states their meaning. The header holds as
long as the image has as many trailing axes, even if volumes were dropped.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from medjax._image._image import Image
from medjax.io._disk._passed_on import extra_of

__all__ = ["COLOURS", "UNIT_CODES", "VECTOR_INTENTS", "Axis", "trailing_axes"]

Meaning = Literal["time", "vector", "colour", "list"]

# GENMATRIX, SYMMATRIX, DISPVECT, VECTOR, POINTSET, RGB_VECTOR, RGBA_VECTOR: components lie along the fifth axis.
VECTOR_INTENTS = (1004, 1005, 1006, 1007, 1008, 2003, 2004)

COLOURS = {3: "RGB", 4: "RGBA"}

_NIFTI_RGB = (128, 2304)
# xyzt_units & 0x38 (nifti1.h, NIFTI_UNITS_*).
_NIFTI_UNITS = {8: "s", 16: "ms", 24: "us", 32: "Hz", 40: "ppm", 48: "rad/s"}
UNIT_CODES = {unit: code for code, unit in _NIFTI_UNITS.items()}

# NRRD's axis kinds (https://teem.sourceforge.net/nrrd/format.html, section 8); a list of ITK's has vector.
_NRRD_SPACE = ("domain", "space", "???", "none")
_NRRD_COLOURS = ("rgb-color", "rgba-color")
_NRRD_UNITS = {"sec": "s", "second": "s", "seconds": "s", "msec": "ms", "milliseconds": "ms", "usec": "us", "µs": "us"}

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}

# Attributes that tell volumes apart and are times (PS3.3 C.7.6.2, C.7.6.16.2.2, C.8.9).
_DICOM_TIMES = (
    *(
        "TemporalPositionIdentifier",
        "TemporalPositionIndex",
        "TriggerTime",
        "FrameReferenceTime",
        "AcquisitionDateTime",
    ),
    *("FrameAcquisitionDateTime", "AcquisitionTime", "FrameReferenceDateTime", "NominalCardiacTriggerDelayTime"),
)
# A stated time of day may be rounded to whole seconds, for each volume anew.
_DICOM_ROUNDING_S = 1.0


@dataclasses.dataclass(frozen=True)
class Axis:
    """A trailing axis.

    Attributes:
        meaning: "time" (also a spectrum: the fourth dimension of other programs), "vector" for components, "colour" for
            red, green, blue and perhaps alpha, "list" for another known dimension; `None` if it is unknown.
        step: From one index to the next, in `unit`; `None` if it is unknown or uneven.
        unit: "s", "ms", "us", "Hz", "ppm", "rad/s", or the unit that an NRRD states; `None` if it is unknown.
    """

    meaning: Meaning | None = None
    step: float | None = None
    unit: str | None = None

    @property
    def seconds(self) -> float | None:
        """The step in seconds, where its unit is one of time."""
        factor = _SECONDS.get(self.unit or "")
        return None if self.step is None or factor is None else float(f"{self.step * factor:.15g}")


def trailing_axes(image: Image) -> tuple[Axis, ...]:
    """Returns the image's trailing axes as the source's header describes them.

    Example:
        >>> extra = {"dim": [4, 9, 9, 9, 20, 1, 1, 1], "pixdim": [1, 2, 2, 2, 2.5, 0, 0, 0], "xyzt_units": 10}
        >>> scan = mj.Image.from_array(np.zeros((9, 9, 9, 18)), metadata=mj.Metadata(extra=extra))
        >>> trailing_axes(scan)  # two volumes were dropped
        (Axis(meaning='time', step=2.5, unit='s'),)
    """
    extra = extra_of(image.metadata)
    count = len(image.channels)
    for known in (_of_nifti, _of_metaimage, _of_nrrd, _of_mgh, _of_dicom):
        axes = known(extra, count)
        if axes is not None and len(axes) == count:
            return tuple(axes)
    return (Axis(),) * count


def _stated_step(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and value else None


def _of_nifti(extra: Mapping[str, Any], count: int) -> list[Axis] | None:
    dim, steps = extra.get("dim"), extra.get("pixdim")
    if extra.get("intent_code") in VECTOR_INTENTS and count == 1:
        return [Axis("vector")]
    if not isinstance(dim, list | tuple) or len(dim) != 8:
        return None
    units = extra.get("xyzt_units")
    unit = _NIFTI_UNITS.get(units & 0x38) if isinstance(units, int) else None
    steps = steps if isinstance(steps, list | tuple) and len(steps) == 8 else [None] * 8
    time = Axis("time", _stated_step(steps[4]), unit)
    axes = [time, Axis("vector"), Axis("list", _stated_step(steps[6])), Axis("list", _stated_step(steps[7]))][
        : max(int(dim[0]) - 3, 0)
    ]
    axes += [Axis("colour")] * (extra.get("datatype") in _NIFTI_RGB)
    return axes[1:] if len(axes) == count + 1 and dim[4] == 1 else axes


def _of_metaimage(extra: Mapping[str, Any], count: int) -> list[Axis] | None:
    sizes, steps = extra.get("DimSize"), extra.get("ElementSpacing")
    if not isinstance(sizes, list) or "ElementType" not in extra:
        return None
    steps = steps if isinstance(steps, list) and len(steps) == len(sizes) else [None] * len(sizes)
    unit = extra.get("TimeUnit")
    time = Axis("time", _stated_step(steps[3]), unit if isinstance(unit, str) else None) if len(sizes) > 3 else None
    channels = extra.get("ElementNumberOfChannels", 1)
    has_channels = isinstance(channels, int) and channels > 1
    axes = [time] * (time is not None) + [Axis("list", _stated_step(step)) for step in steps[4:]]
    return [axis for axis in axes if axis] + [Axis("vector")] * has_channels


def _of_nrrd(extra: Mapping[str, Any], count: int) -> list[Axis] | None:
    sizes = extra.get("sizes")
    if not isinstance(sizes, list) or "encoding" not in extra:
        return None

    def each(name: str) -> list[Any]:
        found = extra.get(name)
        return found if isinstance(found, list) and len(found) == len(sizes) else [None] * len(sizes)

    vectors, kinds = each("space directions"), [str(kind or "").lower() for kind in each("kinds")]
    axes = []
    for vector, kind, spacing, unit in zip(vectors, kinds, each("spacings"), each("units"), strict=True):
        is_temporal = isinstance(vector, list) and len(vector) == 4 and bool(vector[3])
        if is_temporal or (not vector and (any(vectors) or kind not in _NRRD_SPACE)):
            step = vector[3] if is_temporal else spacing
            axes.append(_nrrd_axis("time" if is_temporal else kind, _stated_step(step), unit))
    return axes


def _nrrd_axis(kind: str, step: float | None, unit: Any) -> Axis:
    meaning: Meaning | None = "time" if kind == "time" else "colour" if kind in _NRRD_COLOURS else "vector"
    name = unit if isinstance(unit, str) and unit not in ("", "???", "none") else None
    return Axis(None if kind in ("", *_NRRD_SPACE) else meaning, step, _NRRD_UNITS.get(name or "", name))


def _of_mgh(extra: Mapping[str, Any], count: int) -> list[Axis] | None:
    return [Axis("time", _stated_step(extra.get("tr")), "ms")] if "goodRASFlag" in extra else None


def _of_dicom(extra: Mapping[str, Any], count: int) -> list[Axis] | None:
    if "SOPClassUID" not in extra:
        return None
    volumes = extra.get("volumes")
    axes = []
    if isinstance(volumes, Mapping):
        by = volumes.get("by", ())
        axes.append(Axis("time", *_dicom_step(extra)) if any(name in _DICOM_TIMES for name in by) else Axis("list"))
    colours = extra.get("SamplesPerPixel") in COLOURS and str(extra.get("PhotometricInterpretation")) != "MONOCHROME2"
    return axes + [Axis("colour")] * colours


def _dicom_step(extra: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """The seconds from one volume to the next.

    They are Temporal Resolution (0020,0110), else come from the times of the volumes, else are Repetition Time
    (0018,0080). That is the time of a pulse sequence. It is the volumes' only if the times do not contradict it.
    """
    resolution, repetition = _stated_step(extra.get("TemporalResolution")), _stated_step(extra.get("RepetitionTime"))
    if resolution is not None:
        return resolution / 1000, "s"
    steps = np.diff(_dicom_times(extra))
    if steps.size == 0:
        is_whole = extra.get("MRAcquisitionType") == "2D" or "EP" in np.atleast_1d(extra.get("ScanningSequence") or "")
        return (repetition / 1000, "s") if repetition is not None and is_whole else (None, None)
    if repetition is not None and abs(steps.mean() - repetition / 1000) <= _DICOM_ROUNDING_S / steps.size:
        return repetition / 1000, "s"
    is_even = (steps > 0).all() and np.ptp(steps) <= 1e-3 * steps.mean()
    return (float(f"{steps.mean():.6g}"), "s") if is_even else (None, None)


def _dicom_times(extra: Mapping[str, Any]) -> np.ndarray:
    """The start of each volume in seconds of the day; empty if it is not stated for all volumes."""
    per_slice = extra.get("per_slice")
    rows = per_slice.get("AcquisitionTime") if isinstance(per_slice, Mapping) else None
    try:
        rows = [[_seconds(text) for text in row] for row in rows or ()]
        found = np.array(rows, np.float64).min(0) if rows else np.empty(0)
    except (TypeError, ValueError):
        return np.empty(0)
    steps = np.diff(found)
    return found + 86400 * np.concatenate([[0], np.cumsum(steps < -43200)]) if found.size else found  # midnight


def _seconds(text: Any) -> float:
    """Seconds of the day of a DICOM time, HHMMSS.FFFFFF (PS3.5, 6.2)."""
    text = str(text).strip().replace(":", "")
    return 3600 * int(text[:2]) + 60 * int(text[2:4] or 0) + float(text[4:] or 0)
