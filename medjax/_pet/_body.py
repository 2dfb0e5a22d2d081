"""The normalisers of an SUV: body weight, lean body mass, body surface area and ideal weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from medjax._pet._header import Findings, Header, named

__all__ = ["NORMS", "Body", "Normalizer", "SuvNorm", "body_size"]

SuvNorm = Literal["bw", "lbm_james", "lbm_morgan", "lbm_janmahasatian", "bsa", "ibw"]


@dataclasses.dataclass(frozen=True)
class Normalizer:
    """A kind of SUV.

    Attributes:
        suv_type: SUV Type (0054,1006), PS3.3 table C.8-60.
        unit: Unit of the SUV, with Units (0054,1001) as DICOM writes it.
        rule: The formula: kg or m2 from weight W in kg, height H in cm and body mass index B in kg/m2.
        formulas: The formula for men and for women.
    """

    suv_type: str
    unit: Literal["g/ml", "cm2/ml"]
    rule: str
    formulas: dict[str, Callable[[float, float], float]]

    @property
    def units(self) -> str:
        return "GML" if self.unit == "g/ml" else "CM2ML"

    @property
    def needs_height(self) -> bool:
        return self.suv_type != "BW"

    @property
    def needs_sex(self) -> bool:
        return self.formulas["M"] is not self.formulas["F"]


def _weight(weight: float, height: float) -> float:
    return weight


def _du_bois(weight: float, height: float) -> float:
    return 0.007184 * weight**0.425 * height**0.725


def _bmi(weight: float, height: float) -> float:
    return weight / (height / 100) ** 2


NORMS: dict[str, Normalizer] = {
    "bw": Normalizer("BW", "g/ml", "body weight W", {"M": _weight, "F": _weight}),
    # James WPT, Research on obesity, HMSO 1976: the coefficient 128 for men.
    "lbm_james": Normalizer(
        "LBMJAMES128",
        "g/ml",
        "lean body mass (James): men 1.10 W - 128 (W/H)^2, women 1.07 W - 148 (W/H)^2",
        {"M": lambda w, h: 1.10 * w - 128 * (w / h) ** 2, "F": lambda w, h: 1.07 * w - 148 * (w / h) ** 2},
    ),
    # Morgan DJ, Bray KM, Clin Pharmacokinet 26:292 (1994), as DICOM's LBM: 120 for men.
    "lbm_morgan": Normalizer(
        "LBM",
        "g/ml",
        "lean body mass (Morgan): men 1.10 W - 120 (W/H)^2, women 1.07 W - 148 (W/H)^2",
        {"M": lambda w, h: 1.10 * w - 120 * (w / h) ** 2, "F": lambda w, h: 1.07 * w - 148 * (w / h) ** 2},
    ),
    # Janmahasatian S et al., Clin Pharmacokinet 44:1051 (2005).
    "lbm_janmahasatian": Normalizer(
        "LBMJANMA",
        "g/ml",
        "lean body mass (Janmahasatian): men 9270 W / (6680 + 216 B), women 9270 W / (8780 + 244 B)",
        {
            "M": lambda w, h: 9270 * w / (6680 + 216 * _bmi(w, h)),
            "F": lambda w, h: 9270 * w / (8780 + 244 * _bmi(w, h)),
        },
    ),
    # Du Bois D, Du Bois EF, Arch Intern Med 17:863 (1916).
    "bsa": Normalizer(
        "BSA", "cm2/ml", "body surface area (Du Bois): 0.007184 W^0.425 H^0.725 m2", {"M": _du_bois, "F": _du_bois}
    ),
    # Zasadny KR, Wahl RL, Radiology 189:847 (1993); Sugawara Y et al., Radiology 213:521 (1999).
    "ibw": Normalizer(
        "IBW",
        "g/ml",
        "ideal body weight: men 48.0 + 1.06 (H - 152), women 45.5 + 0.91 (H - 152)",
        {"M": lambda w, h: 48.0 + 1.06 * (h - 152), "F": lambda w, h: 45.5 + 0.91 * (h - 152)},
    ),
}


@dataclasses.dataclass(frozen=True)
class Body:
    """A patient's size for one kind of SUV.

    Attributes:
        amount: The normaliser, in g, or in cm2 for body surface area.
        weight_kg, height_m, sex: The inputs of the formula; `None` where the formula does not need one.
    """

    amount: float
    weight_kg: float
    height_m: float | None
    sex: str | None


def body_size(kind: str, header: Header, findings: Findings) -> Body:
    """Evaluates the normaliser of one kind for the patient in the header.

    Raises:
        ValueError: weight, height or sex is missing or impossible, or the formula does not hold for this patient.
    """
    norm = NORMS[kind]
    weight = _read_weight(header, findings)
    height = _read_height(header, findings) if norm.needs_height else None
    sex = _read_sex(header, findings) if norm.needs_sex else None
    sexes = {"M": "M", "F": "F", "O": "MF", None: "M"}[sex]
    amount = sum(norm.formulas[s](weight, 100 * (height or 0.0)) for s in sexes) / len(sexes)
    if norm.suv_type in ("LBM", "LBMJAMES128"):
        _check_lean_mass(norm, weight, 100 * (height or 0.0), sexes, findings)
    if amount <= 0:
        raise ValueError(
            f"{norm.rule} is {amount:.3g} for {named('PatientWeight')} {weight:g} kg and {named('PatientSize')} "
            f"{height:g} m: the formula does not hold for this patient; choose another norm, such as 'bw' or "
            "'lbm_janmahasatian'"
        )
    return Body(amount * (1000 if norm.unit == "g/ml" else 1e4), weight, height, sex)


def _read_weight(header: Header, findings: Findings) -> float:
    """Patient's Weight (0010,1030) in kg, PS3.3 section C.7.2.2."""
    hint = "state it by tags={'PatientWeight': kg}"
    weight = header.positive("PatientWeight", "kg", hint)
    if weight <= 1000:
        return weight
    if weight > 1e6:
        raise ValueError(f"{named('PatientWeight')} is {weight:g} kg, which is no patient's weight; {hint}")
    findings.warn(f"{named('PatientWeight')} is {weight:g}, not kg: read as grams, {weight / 1000:g} kg")
    return weight / 1000


def _read_height(header: Header, findings: Findings) -> float:
    """Patient's Size (0010,1020) in m, PS3.3 section C.7.2.2."""
    hint = "state it by tags={'PatientSize': metres}"
    height = header.positive("PatientSize", "m", hint)
    if height <= 3:
        return height
    if not 20 <= height <= 300:
        raise ValueError(f"{named('PatientSize')} is {height:g} m, which is no patient's height; {hint}")
    findings.warn(f"{named('PatientSize')} is {height:g}, not m: read as centimetres, {height / 100:g} m")
    return height / 100


def _read_sex(header: Header, findings: Findings) -> str:
    sex = (header.text("PatientSex") or "").upper()
    if sex not in ("M", "F", "O"):
        raise ValueError(
            f"{named('PatientSex')} is {repr(sex) if sex else 'missing'}, but the formula needs 'M' or 'F'; state it "
            "by tags={'PatientSex': 'F'}"
        )
    if sex == "O":
        findings.note(f"{named('PatientSex')} is 'O': the mean of the formulas for men and women is used")
    return sex


def _check_lean_mass(norm: Normalizer, weight: float, height: float, sexes: str, findings: Findings) -> None:
    """Warns where the quadratic formula falls with growing weight: Tahari AK et al., J Nucl Med 55:1481 (2014)."""
    step = 1e-3
    if any(norm.formulas[s](weight + step, height) < norm.formulas[s](weight, height) for s in sexes):
        findings.warn(
            f"{named('PatientWeight')} {weight:g} kg at {named('PatientSize')} {height / 100:g} m is beyond the range "
            f"of {norm.rule.split(':')[0]}, which falls with growing weight there; norm='lbm_janmahasatian' holds"
        )
