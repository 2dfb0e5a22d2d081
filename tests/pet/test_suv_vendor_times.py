"""SUV: scan times in GE's and Siemens' private attributes, which stand in for a series time that is too late."""

from __future__ import annotations

import datetime as dt
import re
import warnings

import pytest
from pet_header import changed, pet

from medjax import ImageFileWarning, suv_factor


@pytest.mark.parametrize("creator", ["GEMS_PETD_01", "SIEMENS MED PT"])
@pytest.mark.parametrize(
    ("seconds", "frame", "minutes", "source"),
    [
        (1, 0, 60 + 1 / 60, "100D|1022"),  # rounding
        (61, 0, 60, "earliest"),
        (45 * 60, 900_000, 60 - 15 + 2.5, "0054,1300"),  # within a second of the mean of a frame of 5 min
    ],
)
def test_a_vendor_s_time_after_the_acquisition_is_not_used(
    creator: str, seconds: int, frame: int, minutes: float, source: str
) -> None:
    """START is the start of the acquisition, PS3.3 section C.8.9.1: nothing can be corrected to a later moment."""
    at = f"{dt.datetime(2025, 1, 1, 11) + dt.timedelta(seconds=seconds):%Y%m%d%H%M%S}.00"
    group, element = ("(0009,", "0D)") if creator.startswith("GE") else ("(0071,", "22)")
    private = {f"{group}0010)": creator, f"{group}10{element}": at}
    image = pet(
        SeriesTime="114500",
        AcquisitionTime="110000",
        private=private,
        FrameReferenceTime=frame,
        ActualFrameDuration=300_000,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = suv_factor(image)
    assert re.search(source, found.reference_time_source or "")
    assert found.uptake_s == pytest.approx(60 * minutes, abs=0.5)
    texts = [str(warning.message) for warning in caught]
    assert [bool(re.search(rf"is not used: it lies {seconds / 60:.1f} min after Acq", text)) for text in texts] == [
        True
    ] * (seconds > 1)


def test_a_vendor_s_time_is_compared_slice_by_slice() -> None:
    """Two beds, each with its own scan time; the time of the first is before the acquisition of both."""
    times = {"AcquisitionTime": ["110000", "110500"]}
    image = pet(
        (2, 2, 2), SeriesTime="114500", AcquisitionTime=None, private={"(0009,0010)": "GEMS_PETD_01"}, per_slice=times
    )
    stated = {"private": {"(0009,100D)": ["20250101105900.00", "20250101110400.00"]}}
    found = suv_factor(changed(image, per_slice=times | stated))
    assert found.uptake_s == (59 * 60, 64 * 60)
    stated = {"private": {"(0009,100D)": ["20250101105900.00", "20250101110600.00"]}}
    with pytest.warns(ImageFileWarning) as caught:
        suv_factor(changed(image, per_slice=times | stated))
    assert "(0009,100D) is not used: it lies 1.0 min after" in str(caught[0].message)
