"""The factor from stored activity to SUV, by the header's statement about the voxels.

`SUV = c N / D`: activity concentration c, normaliser N and the dose D at the time that c refers to. All functions run
on the host in float64. Quantities are scalars, or `(k,)` or `(k, t)` where they differ between slices.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re

import numpy as np

from medjax._image._metadata import Metadata
from medjax._pet._body import NORMS, Body, body_size
from medjax._pet._header import Findings, Header, named
from medjax._pet._times import Uptake, aligned, reference_times, uptake_until_acquisition, uptake_until_reference

__all__ = ["Outcome", "apply_rule", "decay_reference"]

_SUV_TYPES = {norm.suv_type: kind for kind, norm in NORMS.items()}
# Half-life of fluorine-18 in s: 6586.2. Vendors round it to 6588 or 6600.
_FLUORINE_18 = (6500.0, 6700.0)
_IS_FLUORINE_18 = re.compile(r"c-111a1|fluorine|\b18\W*f\b|\bf\W*18\b")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A factor and the quantities that it was computed from; those that a rule does not use are `None`."""

    factor: np.ndarray
    units: str
    rule: str
    decay_correction: str | None = None
    uptake: Uptake | None = None
    decay_factor: np.ndarray | None = None
    dose_bq: float | None = None
    half_life_s: float | None = None
    body: Body | None = None


def apply_rule(header: Header, kind: str, findings: Findings) -> Outcome:
    """Chooses the rule by Units (0054,1001) and applies it.

    Raises:
        ValueError: a value is missing or impossible, or the voxels hold a quantity that gives no SUV.
    """
    units = (header.text("Units") or "").upper()
    _check_corrections(header)
    if units == "BQML":
        return _from_activity(header, kind, findings)
    if units == "CNTS":
        return _from_counts(header, kind, findings)
    if units in ("GML", "CM2ML"):
        return _from_suv(header, kind, units, findings)
    raise ValueError(
        f"{named('Units')} is {units or 'missing'}: an SUV can be made of BQML, GML, CM2ML, and of CNTS with Philips' "
        "private factors; state what the voxels hold by tags={'Units': 'BQML'} if you know it"
    )


def _check_corrections(header: Header) -> None:
    """Checks that attenuation was corrected and that values are scaled without an offset, PS3.3 section C.8.9.4."""
    if "ATTN" not in _corrections(header):
        raise ValueError(
            f"{named('CorrectedImage')} lacks ATTN: without attenuation correction an image holds no uptake; if it was "
            "corrected nevertheless, state it by tags={'CorrectedImage': ['ATTN', 'DECY']}"
        )
    intercepts = header.numbers("RescaleIntercept")
    if intercepts is not None and intercepts.any():
        raise ValueError(
            f"{named('RescaleIntercept')} is {intercepts[intercepts != 0].flat[0]:g}; for PET it must be 0; if the "
            "voxels hold activity nevertheless, state it by tags={'RescaleIntercept': 0}"
        )


def _corrections(header: Header) -> set[str]:
    value = header.value("CorrectedImage") or ()
    return {str(item).strip().upper() for item in (value.split("\\") if isinstance(value, str) else value)}


def _from_activity(
    header: Header,
    kind: str,
    findings: Findings,
    *,
    units: str = "BQML",
    scale: str = "",
    to_bqml: np.ndarray | None = None,
) -> Outcome:
    """Converts Bq/ml to SUV by the rule for Decay Correction (0054,1102); `to_bqml` converts other units first."""
    correction = (header.text("DecayCorrection") or "").upper()
    _check_decay(header, correction)
    dose, body = _dose(header, findings), body_size(kind, header, findings)
    per_bqml = _product(1.0 if to_bqml is None else to_bqml, body.amount / dose)
    rule = f"{units}, {correction}: {scale}SUV ="
    if correction == "ADMIN":  # decay-corrected to the injection: the dose as given
        return Outcome(per_bqml, units, f"{rule} c N / D", correction, dose_bq=dose, body=body)
    half_life = _half_life(header)
    if correction == "START":
        uptake = uptake_until_reference(header, half_life, findings)
        left = np.asarray(np.exp2(-uptake.seconds / half_life))
        factor = _product(per_bqml, 1 / left)
        return Outcome(factor, units, f"{rule} c N / (D 2^(-t / T))", correction, uptake, left, dose, half_life, body)
    uptake = uptake_until_acquisition(header, half_life, findings)
    left = _mean_fraction(header, uptake, half_life)
    factor = _product(per_bqml, 1 / left)
    rule = f"{rule} c N x / (D 2^(-t / T) (1 - exp(-x))), x = ln 2 frame / T"
    return Outcome(factor, units, rule, correction, uptake, left, dose, half_life, body)


def decay_reference(metadata: Metadata) -> dt.datetime | None:
    """Returns the one moment to which a series with DecayCorrection START is corrected, local time, or `None`.

    A derived series states it when it is saved, so that it stays known without some slices or private attributes.
    """
    header = Header(metadata.extra, {}, 0)
    try:
        if (header.text("DecayCorrection") or "").upper() != "START":
            return None
        times, _ = reference_times(header, _half_life(header), Findings())
    except ValueError:  # this header gives no SUV anyway
        return None
    first, last = times.min(), times.max()
    return first if last - first < dt.timedelta(milliseconds=1) else None


def _check_decay(header: Header, correction: str) -> None:
    if correction not in ("START", "ADMIN", "NONE"):
        raise ValueError(f"{named('DecayCorrection')} is {correction or 'missing'}, but START, ADMIN or NONE is needed")
    is_corrected = "DECY" in _corrections(header)
    if is_corrected == (correction == "NONE"):
        raise ValueError(
            f"{named('DecayCorrection')} is {correction}, but {named('CorrectedImage')} "
            f"{'lists' if is_corrected else 'lacks'} DECY"
        )


def _mean_fraction(header: Header, uptake: Uptake, half_life: float) -> np.ndarray:
    """Returns the mean fraction of the dose over each frame: decay until the frame and within it (C.8.9.4.1.5)."""
    duration = header.numbers("ActualFrameDuration")
    if duration is None or duration.min() <= 0:
        found = "missing" if duration is None else f"{duration.min():g} ms"
        raise ValueError(
            f"{named('ActualFrameDuration')} is {found}, but needed where {named('DecayCorrection')} is NONE"
        )
    x = math.log(2) * duration / 1000 / half_life
    return _product(np.exp2(-uptake.seconds / half_life), -np.expm1(-x) / x)


def _product(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """Multiplies two quantities, each given for the series, per slice, or per slice and volume."""
    one, other = aligned(np.asarray(a), np.asarray(b))
    return np.asarray(one * other)


def _from_counts(header: Header, kind: str, findings: Findings) -> Outcome:
    """Converts Philips counts by the private factor to SUVbw, else by the private factor to Bq/ml."""
    to_suv = header.numbers("PhilipsSUVScaleFactor")
    if to_suv is not None and (to_suv > 0).all():
        body = None if kind == "bw" else body_size(kind, header, findings)
        ratio = 1.0 if body is None else body.amount / (1000 * body.weight_kg)
        rule = f"CNTS: SUVbw = c {named('PhilipsSUVScaleFactor')}"
        return Outcome(
            _product(to_suv, ratio), "CNTS", rule if body is None else f"{rule}; SUV = SUVbw N / W", body=body
        )
    to_bqml = header.numbers("PhilipsActivityConcentrationScaleFactor")
    if to_bqml is not None and (to_bqml > 0).all():
        scale = f"c in Bq/ml by {named('PhilipsActivityConcentrationScaleFactor')}, "
        return _from_activity(header, kind, findings, units="CNTS", scale=scale, to_bqml=to_bqml)
    factors = {"PhilipsSUVScaleFactor": to_suv, "PhilipsActivityConcentrationScaleFactor": to_bqml}
    if stated := [f"{named(name)} is {value.min():g}" for name, value in factors.items() if value is not None]:
        raise ValueError(
            f"{named('Units')} is CNTS, but {' and '.join(stated)}: a factor must be positive, so counts have no scale"
        )
    raise ValueError(
        f"{named('Units')} is CNTS, but neither {named('PhilipsSUVScaleFactor')} nor "
        f"{named('PhilipsActivityConcentrationScaleFactor')} is there: counts have no scale (de-identification often "
        "removes private tags)"
    )


def _from_suv(header: Header, kind: str, units: str, findings: Findings) -> Outcome:
    """Keeps voxels that already hold the SUV of SUV Type (0054,1006), or changes their normaliser."""
    default = "BW" if units == "GML" else "BSA"
    suv_type = (header.text("SUVType") or default).upper()
    held = _SUV_TYPES.get(suv_type)
    if held is None or NORMS[held].units != units:
        raise ValueError(f"{named('SUVType')} is {suv_type}, which does not go with {named('Units')} {units}")
    if held == kind:
        return Outcome(np.asarray(1.0), units, f"{units}, {suv_type}: SUV = c")
    wanted, had = body_size(kind, header, findings), body_size(held, header, findings)
    rule = f"{units}, {suv_type}: SUV = c N / N', N' = {NORMS[held].rule}"
    return Outcome(np.asarray(wanted.amount / had.amount), units, rule, body=wanted)


def _dose(header: Header, findings: Findings) -> float:
    """Reads Radionuclide Total Dose (0018,1074) in Bq, PS3.3 section C.8.9.2."""
    hint = "state it by tags={'RadionuclideTotalDose': becquerels}"
    dose = header.positive("RadionuclideTotalDose", "Bq", hint)
    if 1e5 <= dose <= 1e11:
        return dose
    if not 50 <= dose < 1e5:  # below 50 it might be mCi as well as MBq
        raise ValueError(f"{named('RadionuclideTotalDose')} is {dose:g} Bq, which is no dose for PET; {hint}")
    findings.warn(f"{named('RadionuclideTotalDose')} is {dose:g}, too little in Bq: read as MBq")
    return dose * 1e6


def _half_life(header: Header) -> float:
    """Reads Radionuclide Half Life (0018,1075) in s."""
    hint = "state it by tags={'RadionuclideHalfLife': seconds}"
    half_life = header.positive("RadionuclideHalfLife", "s", hint)
    codes = header.value("RadionuclideCodeSequence") or []
    meanings = " ".join(f"{code.get('CodeMeaning', '')} {code.get('CodeValue', '')}" for code in codes).lower()
    if _IS_FLUORINE_18.search(meanings) and not _FLUORINE_18[0] <= half_life <= _FLUORINE_18[1]:
        raise ValueError(f"{named('RadionuclideHalfLife')} is {half_life:g} s, but fluorine-18 has 6586 s; {hint}")
    return half_life
