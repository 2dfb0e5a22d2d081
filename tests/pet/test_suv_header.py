"""SUV: what a header says of decay, times, units and the patient, in closed form; and what is refused, by name and number."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any

import numpy as np
import pytest
from pet_header import DOSE, FLUORINE, changed, decayed, factor, pet

from medjax import ImageFileWarning, suv_factor, to_suv

# ------------------------------------------------------------------------------------- decay and times, closed forms


@pytest.mark.parametrize("minutes", [0.0, 37.5, 60.0, 119.0])
def test_start_divides_by_what_is_left_of_the_dose(minutes: float) -> None:
    scan = dt.datetime(2025, 1, 1, 10) + dt.timedelta(minutes=minutes)
    image = pet(SeriesTime=f"{scan:%H%M%S}", AcquisitionTime=f"{scan:%H%M%S}")
    found = suv_factor(image)
    assert found.factor == pytest.approx(70_000 / (370e6 * decayed(minutes)), rel=1e-13)
    assert found.uptake_s == 60 * minutes
    assert found.decay_factor == pytest.approx(decayed(minutes), rel=1e-13)
    assert (found.dose_bq, found.half_life_s) == (370e6, FLUORINE)


def test_one_half_life_doubles_the_factor() -> None:
    image = pet(RadionuclideHalfLife=3600.0, RadionuclideCodeSequence=None)
    assert factor(image) == pytest.approx(2 * 70_000 / 370e6, rel=1e-15)


def test_admin_takes_the_dose_as_given_and_needs_no_times() -> None:
    none = dict.fromkeys(
        ("SeriesTime", "AcquisitionTime", "RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime")
    )
    found = suv_factor(pet(DecayCorrection="ADMIN", RadionuclideHalfLife=None, **none))
    assert found.factor == pytest.approx(70_000 / 370e6, rel=1e-15)
    assert found.reference_time is None


PHILIPS = {"(7053,0010)": "Philips PET Private Group"}
CORRECTED_BUT_FOR_DECAY = ["NORM", "ATTN", "SCAT"]


def test_none_corrects_every_slice_for_its_own_frame() -> None:
    """The mean over a frame of the decaying dose, integrated numerically here."""
    times, frames = ["110000", "110300", "110600"], [120_000, 180_000, 240_000]
    image = pet(
        (2, 2, 3),
        DecayCorrection="NONE",
        CorrectedImage=CORRECTED_BUT_FOR_DECAY,
        AcquisitionTime=None,
        per_slice={"AcquisitionTime": times, "ActualFrameDuration": frames},
    )
    found = suv_factor(image)
    for value, start, frame in zip(found.factor, (60, 63, 66), frames, strict=True):
        middles = start + (np.arange(100_000) + 0.5) / 100_000 * frame / 60_000
        left = np.exp2(-60 * middles / FLUORINE).mean()
        assert value == pytest.approx(70_000 / (370e6 * left), rel=1e-9)
    suv: Any = to_suv(image)
    np.testing.assert_allclose(np.asarray(suv.voxels)[1, 0], 5000 * np.array(found.factor), rtol=3e-7)
    assert suv.metadata.extra["DecayCorrection"] == "ADMIN"
    assert "DECY" in suv.metadata.extra["CorrectedImage"]
    assert len(found.reference_time) == 3


def test_none_for_every_volume_of_a_dynamic_scan() -> None:
    """Header lists `[k][t]`, voxels `(i, j, k, t)`."""
    times = [["110000", "111000"], ["110001", "111001"], ["110002", "111002"]]
    changes = {"DecayCorrection": "NONE", "CorrectedImage": CORRECTED_BUT_FOR_DECAY, "ActualFrameDuration": 1}
    image = pet((2, 2, 3, 2), AcquisitionTime=None, per_slice={"AcquisitionTime": times}, **changes)
    found = np.asarray(to_suv(image).voxels)
    for k in range(3):
        for t in range(2):
            expected = 5000 * 70_000 / (370e6 * decayed(60 + 10 * t + k / 60))
            np.testing.assert_allclose(found[:, :, k, t], expected, rtol=1e-6)


def test_midnight_between_injection_and_scan() -> None:
    scan = {
        "SeriesDate": "20250302",
        "AcquisitionDate": "20250302",
        "SeriesTime": "001500",
        "AcquisitionTime": "001500",
    }
    expected = 70_000 / (370e6 * decayed(45))
    dated = pet(RadiopharmaceuticalStartDateTime="20250301233000", RadiopharmaceuticalStartTime="233000", **scan)
    undated = pet(RadiopharmaceuticalStartDateTime=None, RadiopharmaceuticalStartTime="233000", **scan)
    assert factor(dated) == pytest.approx(expected, rel=1e-13)
    found = suv_factor(undated)
    assert found.factor == pytest.approx(expected, rel=1e-13)
    assert found.injection_time == "2025-03-01T23:30:00"
    assert any("RadiopharmaceuticalStartTime (0018,1072) is later" in note for note in found.notes)


def test_dates_count_also_over_several_days() -> None:
    """Zirconium-89 (78.41 h), imaged five days after the injection."""
    half_life = 78.41 * 3600
    image = pet(
        RadiopharmaceuticalStartDateTime="20241227100000", RadionuclideHalfLife=half_life, RadionuclideCodeSequence=None
    )
    assert factor(image) == pytest.approx(70_000 / (370e6 * decayed((5 * 24 + 1) * 60, half_life)), rel=1e-13)


def test_offset_of_a_date_time_is_brought_to_the_header_s_zone() -> None:
    image = pet(RadiopharmaceuticalStartDateTime="20250101090000.5+0000", TimezoneOffsetFromUTC="+0100")
    assert suv_factor(image).injection_time == "2025-01-01T10:00:00.500000"


def test_date_times_with_different_offsets_need_no_zone_in_the_header() -> None:
    """09:00 in UTC is an hour before 11:00 at +0100, across midnight as well."""
    for reference, injection in (
        ("20250101110000+0100", "20250101090000+0000"),
        ("20250102003000+0100", "20250101223000.0+0000"),
    ):
        image = pet(DecayCorrectionDateTime=reference, RadiopharmaceuticalStartDateTime=injection)
        assert suv_factor(image).uptake_s == 3600.0
    acquired = pet(
        SeriesDate=None,
        AcquisitionDate=None,
        AcquisitionDateTime="20250101110000-0500",
        RadiopharmaceuticalStartDateTime="20250101150000+0000",
    )
    assert suv_factor(acquired).uptake_s == 3600.0


def test_offset_without_a_zone_to_bring_it_to_is_noted() -> None:
    found = suv_factor(pet(RadiopharmaceuticalStartDateTime="20250101100000+0900"))
    assert found.uptake_s == 3600.0
    assert any("offset +0900 is not used, as TimezoneOffsetFromUTC (0008,0201) is missing" in n for n in found.notes)


# The series time is later than the first acquisition in all of these: 11:45 after 11:00.
LATE = {"SeriesTime": "114500", "AcquisitionTime": "110000"}
GE = {"(0009,0010)": "GEMS_PETD_01", "(0009,100D)": "20250101105500.00"}
SIEMENS = {"(0071,0011)": "SIEMENS MED PT", "(0071,1122)": "20250101105700.000000"}


@pytest.mark.parametrize(
    ("changes", "minutes", "source"),
    [
        ({}, 60, "SeriesDate (0008,0021)"),
        ({"private": GE}, 60, "SeriesDate (0008,0021)"),
        (LATE | {"private": GE, "FrameReferenceTime": 900_000, "ActualFrameDuration": 300_000}, 55, "(0009,100D)"),
        (LATE | {"private": SIEMENS}, 57, "(0071,1022)"),
        (LATE | {"private": {**GE, "(0009,100D)": "20240605105500.00"}}, 60, "earliest AcquisitionDate (0008,0022)"),
        (LATE | {"FrameReferenceTime": 0, "ActualFrameDuration": 300_000}, 60, "earliest AcquisitionDate (0008,0022)"),
        (LATE, 60, "earliest AcquisitionDate (0008,0022)"),
        ({"SeriesDate": None}, 60, "earliest AcquisitionDate (0008,0022)"),
        ({"SeriesTime": "105000"}, 50, "SeriesDate (0008,0021)"),
        (
            {"DecayCorrectionDateTime": "20250101104000", "AcquisitionTime": None},
            40,
            "DecayCorrectionDateTime (0018,9701)",
        ),
    ],
    ids=[
        "series",
        "series before private",
        "GE",
        "Siemens, other block",
        "GE with foreign date",
        "frame reference time 0",
        "earliest",
        "no series date",
        "series before acquisition",
        "enhanced",
    ],
)
def test_order_of_reference_times(changes: dict[str, Any], minutes: float, source: str) -> None:
    found = suv_factor(pet(**changes))
    assert source in (found.reference_time_source or "")
    assert found.factor == pytest.approx(70_000 / (370e6 * decayed(minutes)), rel=1e-12)


def test_reference_computed_backwards_from_each_slice() -> None:
    """Two bed positions of one series that began at 10:58: the second has its frame 5 min later and a longer one."""
    starts, frames = np.array([120.0, 420.0]), np.array([180.0, 240.0])
    # The moment at which the activity equals the frame's mean, found here by bisection of its definition.
    means = []
    for frame in frames:
        middles = (np.arange(200_000) + 0.5) / 200_000 * frame
        mean, low, high = np.exp2(-middles / FLUORINE).mean(), 0.0, frame
        for _ in range(60):
            half = (low + high) / 2
            low, high = (half, high) if 2 ** (-half / FLUORINE) > mean else (low, half)
        means.append(low)
    image = pet(
        (2, 2, 2),
        SeriesTime="235900",
        AcquisitionTime=None,
        per_slice={
            "AcquisitionTime": ["110000", "110500"],
            "ActualFrameDuration": (1000 * frames).tolist(),
            "FrameReferenceTime": (1000 * (starts + means)).tolist(),
        },
    )
    found = suv_factor(image)
    assert "(0054,1300)" in (found.reference_time_source or "")
    np.testing.assert_allclose(found.factor, 70_000 / (370e6 * decayed(58)), rtol=1e-8)


def test_earliest_acquisition_of_all_slices_counts() -> None:
    """Multi-bed: the time of the first bed, whichever slice has it."""
    changes = {"SeriesTime": "235900", "AcquisitionTime": None, "NumberOfSlices": 3}
    image = pet((2, 2, 3), per_slice={"AcquisitionTime": ["110600", "110300", "110000"]}, **changes)
    assert factor(image) == pytest.approx(70_000 / (370e6 * decayed(60)), rel=1e-12)
    with pytest.warns(ImageFileWarning, match=r"earliest acquisition.*first bed position"):
        suv_factor(changed(image, NumberOfSlices=135))


# ------------------------------------------------------------------------------------------------ units


def test_philips_counts() -> None:
    creator = {"(7053,0010)": "Philips PET Private Group"}
    suv = {"(7053,1000)": "0.000728 ", "(7053,1009)": "4.7"}
    assert factor(pet(Units="CNTS", private=creator | suv)) == 0.000728
    assert factor(pet(Units="CNTS", private=creator | suv), "lbm_james") == pytest.approx(
        0.000728 * 56.52 / 70, rel=1e-14
    )
    activity = pet(Units="CNTS", private=creator | {"(7053,1000)": "0", "(7053,1009)": 4.7})
    assert factor(activity) == pytest.approx(4.7 * 70_000 / (370e6 * decayed(60)), rel=1e-13)
    per_slice = {"private": {"(7053,1000)": [1e-3, 2e-3, 3e-3]}}
    assert factor(pet((2, 2, 3), Units="CNTS", private=creator, per_slice=per_slice)) == (1e-3, 2e-3, 3e-3)


@pytest.mark.parametrize(
    ("units", "suv_type", "kind", "expected"),
    [
        ("GML", None, "bw", 1.0),
        ("GML", "BW", "bw", 1.0),
        ("GML", "LBM", "bw", 70 / 57.8),
        ("GML", "LBMJAMES128", "bw", 70 / 56.52),
        ("GML", "LBMJAMES128", "lbm_james", 1.0),
        ("GML", "LBM", "lbm_james", 56.52 / 57.8),
        ("GML", "IBW", "bw", 70 / 72.38),
        ("CM2ML", "BSA", "bsa", 1.0),
        ("CM2ML", None, "bw", 70_000 / (18481.430181 * 1)),
        ("GML", "BW", "bsa", 18481.430181 / 70_000),
    ],
)
def test_voxels_that_hold_suv_already(units: str, suv_type: str | None, kind: str, expected: float) -> None:
    # Du Bois: 0.007184 * 70^0.425 * 175^0.725 = 1.8481430181 m2.
    assert factor(pet(Units=units, SUVType=suv_type, DecayCorrection=None), kind) == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------------------------------------ body size


@pytest.mark.parametrize(
    ("kind", "sex", "weight", "height", "expected"),
    [
        ("bw", "M", 70, 1.75, 70_000),
        # James, 128 for men: 1.10*70 - 128*(70/175)^2 = 77 - 20.48; women 1.07*70 - 148*(70/175)^2 = 74.9 - 23.68.
        ("lbm_james", "M", 70, 1.75, 56_520),
        ("lbm_james", "F", 70, 1.75, 51_220),
        # Morgan, 120 for men: 77 - 19.2.
        ("lbm_morgan", "M", 70, 1.75, 57_800),
        ("lbm_morgan", "F", 70, 1.75, 51_220),
        ("lbm_morgan", "O", 70, 1.75, (57_800 + 51_220) / 2),
        # Janmahasatian at BMI 25 (100 kg, 2 m): 9270*100/(6680 + 5400) and 9270*100/(8780 + 6100) kg.
        ("lbm_janmahasatian", "M", 100, 2.0, 927_000_000 / 12_080),
        ("lbm_janmahasatian", "F", 100, 2.0, 927_000_000 / 14_880),
        # Ideal weight: 48.0 + 1.06*(175 - 152) = 72.38; 45.5 + 0.91*23 = 66.43.
        ("ibw", "M", 90, 1.75, 72_380),
        ("ibw", "F", 90, 1.75, 66_430),
    ],
)
def test_normalisers(kind: Any, sex: str, weight: float, height: float, expected: float) -> None:
    image = pet(DecayCorrection="ADMIN", PatientSex=sex, PatientWeight=weight, PatientSize=height)
    found = suv_factor(image, kind)
    assert found.normalizer == pytest.approx(expected, rel=1e-12)
    assert found.factor == pytest.approx(expected / 370e6, rel=1e-12)
    assert found.unit == "g/ml"


def test_body_surface_area() -> None:
    """Du Bois & Du Bois 1916: 1.85 m2 for 70 kg and 175 cm, 1.73 m2 for 62.4 kg and 170 cm (a nomogram's two digits)."""
    for weight, height, area in ((70, 1.75, 1.85), (63.1, 1.70, 1.73)):
        found = suv_factor(pet(DecayCorrection="ADMIN", PatientWeight=weight, PatientSize=height), "bsa")
        assert found.normalizer == pytest.approx(area * 1e4, abs=50)
        exponent = 0.425 * math.log(weight) + 0.725 * math.log(100 * height)
        assert found.factor == pytest.approx(71.84 * math.exp(exponent) / 370e6, rel=1e-12)
        assert found.unit == "cm2/ml"
        assert found.sex is None


def test_body_surface_area_needs_no_sex_but_lean_mass_does() -> None:
    image = pet(PatientSex=None)
    assert factor(image, "bsa") > 0
    with pytest.raises(ValueError, match=r"PatientSex \(0010,0040\)"):
        factor(image, "lbm_james")
    assert any("(0010,0040) is 'O'" in note for note in suv_factor(pet(PatientSex="O"), "ibw").notes)


def test_quadratic_lean_mass_warns_where_it_falls_with_weight() -> None:
    """James for women turns at W = 1.07 H^2 / 296: 1.60 m, 92.5 kg."""
    with pytest.warns(ImageFileWarning, match=r"\(0010,1030\) 93 kg at PatientSize \(0010,1020\) 1.6 m.*janmahasatian"):
        suv_factor(pet(PatientSex="F", PatientSize=1.6, PatientWeight=93.0), "lbm_james")
    assert factor(pet(PatientSex="F", PatientSize=1.6, PatientWeight=92.0), "lbm_james") > 0
    with pytest.raises(ValueError, match="does not hold for this patient"):
        suv_factor(pet(PatientSex="F", PatientSize=1.4, PatientWeight=150.0), "lbm_james")


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PatientWeight": 0.0}, r"PatientWeight \(0010,1030\) is 0 kg"),
        ({"PatientWeight": None}, r"PatientWeight \(0010,1030\) is missing"),
        ({"PatientWeight": -70.0}, r"PatientWeight \(0010,1030\) is -70 kg"),
        ({"PatientWeight": "heavy"}, r"PatientWeight \(0010,1030\) is 'heavy', not a number"),
        ({"PatientWeight": 7e6}, r"PatientWeight \(0010,1030\) is 7e\+06 kg"),
        ({"CorrectedImage": ["DECY", "SCAT"]}, r"CorrectedImage \(0028,0051\) lacks ATTN"),
        ({"CorrectedImage": None}, r"CorrectedImage \(0028,0051\) lacks ATTN"),
        (
            {"CorrectedImage": ["ATTN", "SCAT"]},
            r"DecayCorrection \(0054,1102\) is START, but .*\(0028,0051\) lacks DECY",
        ),
        ({"DecayCorrection": "NONE"}, r"DecayCorrection \(0054,1102\) is NONE, but .*\(0028,0051\) lists DECY"),
        ({"DecayCorrection": None}, r"DecayCorrection \(0054,1102\) is missing"),
        ({"DecayCorrection": "SCAN"}, r"DecayCorrection \(0054,1102\) is SCAN"),
        ({"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"]}, r"ActualFrameDuration \(0018,1242\) is missing"),
        ({"Units": None}, r"Units \(0054,1001\) is missing"),
        ({"Units": "PROPCPS"}, r"Units \(0054,1001\) is PROPCPS"),
        ({"Units": "CNTS"}, r"\(7053,1000\) nor .*\(7053,1009\) is there"),
        ({"Units": "GML", "SUVType": "BSA"}, r"SUVType \(0054,1006\) is BSA"),
        ({"Units": "GML", "SUVType": "XYZ"}, r"SUVType \(0054,1006\) is XYZ"),
        ({"Units": None, "per_slice": {"Units": ["BQML", "CNTS"]}}, r"Units \(0054,1001\) differs between the slices"),
        ({"RescaleIntercept": -1024.0}, r"RescaleIntercept \(0028,1052\) is -1024"),
        ({"RescaleIntercept": None, "per_slice": {"RescaleIntercept": [0, 3]}}, r"RescaleIntercept \(0028,1052\) is 3"),
        ({"RadionuclideTotalDose": None}, r"RadionuclideTotalDose \(0018,1074\) is missing"),
        ({"RadionuclideTotalDose": 0.0}, r"RadionuclideTotalDose \(0018,1074\) is 0 Bq"),
        ({"RadionuclideTotalDose": 10.0}, r"RadionuclideTotalDose \(0018,1074\) is 10 Bq"),
        ({"RadionuclideTotalDose": 3.7e14}, r"RadionuclideTotalDose \(0018,1074\) is 3.7e\+14 Bq"),
        ({"RadionuclideHalfLife": None}, r"RadionuclideHalfLife \(0018,1075\) is missing"),
        (
            {"RadionuclideHalfLife": 109.77},
            r"RadionuclideHalfLife \(0018,1075\) is 109.77 s, but fluorine-18 has 6586 s",
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20250101111500"},
            r"uptake time is negative: RadiopharmaceuticalStartDateTime \(0018,1078\) is 15.0 min after .*\(0008,0021\)",
        ),
        (
            {"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": "111500"},
            r"RadiopharmaceuticalStartTime \(0018,1072\) to .* is 23.8 h or 13 half-lives",
        ),
        (
            {"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": None},
            r"\(0018,1078\) and RadiopharmaceuticalStartTime \(0018,1072\) are missing",
        ),
        ({"RadiopharmaceuticalStartDateTime": "20250101"}, r"\(0018,1078\) holds '20250101', which is no DICOM date"),
        ({"RadiopharmaceuticalStartDateTime": "20251301100000"}, r"\(0018,1078\) holds '20251301100000'"),
        ({"AcquisitionDate": None}, r"AcquisitionDate \(0008,0022\) missing"),
        (
            {"per_slice": {"AcquisitionTime": ["110000", None]}, "AcquisitionTime": None},
            r"\(0008,0032\) is missing in some",
        ),
        ({"RadiopharmaceuticalInformationSequence": [DOSE, DOSE]}, r"\(0054,0016\) lists 2 injections"),
        ({"RadiopharmaceuticalInformationSequence": "FDG"}, r"\(0054,0016\) is no list of items"),
        ({"RadiopharmaceuticalInformationSequence": DOSE}, r"\(0054,0016\) is no list of items"),
        ({"RadiopharmaceuticalInformationSequence": ["FDG"]}, r"\(0054,0016\) is no list of items"),
        (
            {"RadiopharmaceuticalStartDateTime": "99991231233000-0100", "TimezoneOffsetFromUTC": "+0000"},
            r"\(0018,1078\) holds '99991231233000-0100', which is out of the calendar",
        ),
        (
            {
                **dict.fromkeys(("SeriesDate", "AcquisitionDate"), "00010101"),
                "RadiopharmaceuticalStartDateTime": None,
                "RadiopharmaceuticalStartTime": "233000",
            },
            r"\(0018,1072\) is later than the reference time",
        ),
        (
            {
                **dict.fromkeys(("SeriesDate", "AcquisitionDate"), "00010101"),
                "RadiopharmaceuticalStartDateTime": None,
                "RadiopharmaceuticalStartTime": "250000",
            },
            r"\(0018,1072\) holds '00010101250000'",
        ),
        (
            {"SeriesTime": None, "FrameReferenceTime": 1e18, "ActualFrameDuration": 1000},
            r"\(0054,1300\) is up to 1e\+18 ms",
        ),
        ({"Units": "CNTS", "private": PHILIPS}, r"neither PhilipsSUVScaleFactor \(7053,1000\) nor .* is there"),
        (
            {"Units": "CNTS", "private": PHILIPS | {"(7053,1000)": -1.0}},
            r"but PhilipsSUVScaleFactor \(7053,1000\) is -1: a factor must be positive",
        ),
        (
            {"Units": "CNTS", "private": PHILIPS | {"(7053,1000)": 0.0, "(7053,1009)": -2.0}},
            r"\(7053,1000\) is 0 and PhilipsActivityConcentrationScaleFactor \(7053,1009\) is -2: a factor",
        ),
        ({"TimezoneOffsetFromUTC": "CET", "RadiopharmaceuticalStartDateTime": "20250101100000+0100"}, r"\(0008,0201\)"),
    ],
)
def test_impossible_headers_are_refused_by_name_and_number(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suv_factor(pet(**changes))


@pytest.mark.parametrize("height", [None, 0.0, 17.5, 1750.0])
def test_impossible_height_is_refused_where_it_is_needed(height: float | None) -> None:
    image = pet(PatientSize=height)
    assert factor(image) > 0
    with pytest.raises(ValueError, match=r"PatientSize \(0010,1020\) is"):
        suv_factor(image, "lbm_janmahasatian")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"PatientWeight": 70_000.0}, "bw", r"PatientWeight \(0010,1030\) is 70000, not kg: read as grams, 70 kg"),
        (
            {"RadionuclideTotalDose": 370.0},
            "bw",
            r"RadionuclideTotalDose \(0018,1074\) is 370, too little in Bq: read as MBq",
        ),
        ({"PatientSize": 175.0}, "lbm_james", r"PatientSize \(0010,1020\) is 175, not m: read as centimetres, 1.75 m"),
    ],
)
def test_another_unit_is_read_with_a_warning(changes: dict[str, Any], kind: Any, message: str) -> None:
    with pytest.warns(ImageFileWarning, match=message):
        found = suv_factor(pet(**changes), kind)
    assert found.factor == pytest.approx(factor(pet(), kind), rel=1e-12)
    assert any(re.search(message, note) for note in found.notes)


def test_time_without_date_of_a_long_lived_tracer_warns() -> None:
    image = pet(RadiopharmaceuticalStartDateTime=None, RadionuclideHalfLife=45_720.0, RadionuclideCodeSequence=None)
    with pytest.warns(ImageFileWarning, match=r"RadiopharmaceuticalStartTime \(0018,1072\) has no date"):
        suv_factor(image)


@pytest.mark.usefixtures("unchecked")
def test_lean_body_mass_must_be_named() -> None:
    with pytest.raises(ValueError, match=r"norm='lbm' is not one of .*lbm_james.*name one"):
        suv_factor(pet(), "lbm")  # type: ignore[arg-type]


def test_messages_hold_nothing_of_the_patient() -> None:
    image = pet(PatientWeight=0.0, PatientName="Doe^Jane", PatientID="4711")
    with pytest.raises(ValueError, match="PatientWeight") as caught:
        suv_factor(image)
    assert "Doe" not in str(caught.value)
    assert "4711" not in str(caught.value)
