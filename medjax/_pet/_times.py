"""The reference time of the decay correction and the time of the injection, from the dates of a PET header."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re

import numpy as np

from medjax._pet._header import Findings, Header, moment, named

__all__ = [
    "Uptake",
    "aligned",
    "mean_activity_time",
    "reference_times",
    "uptake_until_acquisition",
    "uptake_until_reference",
]

# After this many half-lives there is no activity left to image: the dates do not belong together.
_MOST_HALF_LIVES = 10
# Scanners round or truncate one of two equal times to whole seconds.
_ROUNDING_SECONDS = 1.0
# With a longer half-life than this, a time of day without a date may mean another day.
_LONG_LIVED_SECONDS = 10 * 3600.0


@dataclasses.dataclass(frozen=True)
class Uptake:
    """The time from the injection to the reference time of the voxels' activity.

    Attributes:
        reference: Reference times, an object array of shape `()`, `(k,)` or `(k, t)`.
        reference_source: The attributes that they come from.
        injection: Time of the injection.
        injection_source: The attribute that it comes from.
        seconds: Time between the two, float64, in the shape of `reference`.
    """

    reference: np.ndarray
    reference_source: str
    injection: dt.datetime
    injection_source: str
    seconds: np.ndarray


def uptake_until_reference(header: Header, half_life: float, findings: Findings) -> Uptake:
    """Returns the time from the injection to the reference time of an image with DecayCorrection START."""
    reference, source = reference_times(header, half_life, findings)
    return _uptake(header, reference, source, half_life, findings)


def uptake_until_acquisition(header: Header, half_life: float, findings: Findings) -> Uptake:
    """Returns the time from the injection to each slice's acquisition, for an image with DecayCorrection NONE."""
    return _uptake(header, _acquired(header), _both("AcquisitionDate", "AcquisitionTime"), half_life, findings)


def _uptake(header: Header, reference: np.ndarray, source: str, half_life: float, findings: Findings) -> Uptake:
    injection, injection_source = _injection(header, reference.min(), half_life, findings)
    seconds = np.vectorize(lambda time: (time - injection).total_seconds(), otypes=[np.float64])(reference)
    if seconds.min() < 0:
        raise ValueError(
            f"the uptake time is negative: {injection_source} is {-seconds.min() / 60:.1f} min after the reference "
            f"time, {source}; state the right times by tags={...}"
        )
    if seconds.max() > _MOST_HALF_LIVES * half_life:
        raise ValueError(
            f"the uptake time, from {injection_source} to {source}, is {seconds.max() / 3600:.1f} h or "
            f"{seconds.max() / half_life:.0f} half-lives: these times do not belong together; state the right ones by "
            "tags={...}"
        )
    return Uptake(reference, source, injection, injection_source, seconds)


def reference_times(header: Header, half_life: float, findings: Findings) -> tuple[np.ndarray, str]:
    """Returns the reference time of DecayCorrection START, and the attributes that it comes from.

    The order is that of the IBSI/OncoRay manual (github.com/oncoray/suv_computation, 2026):

    1. SeriesDate and SeriesTime, if no slice was acquired earlier. A series that was derived from another one, or
       stored later, states its own, later time. QIBA's pseudo-code ("happy path") makes the same test.
    2. The vendor's private scan or decay time, if its date is one of the public dates (de-identification shifts only
       those) and no slice was acquired earlier.
    3. The time computed backwards from each slice: its activity is that of the moment T_ave into the frame, which is
       Frame Reference Time after the reference (PS3.3 section C.8.9.4.1.5).
    4. The earliest acquisition. It is right only if the series contains the first bed position.
    """
    if (stated := header.text("DecayCorrectionDateTime")) is not None:  # enhanced PET
        return _moments(header, np.array(stated, object), "DecayCorrectionDateTime"), named("DecayCorrectionDateTime")
    acquired = _acquired(header)
    earliest = acquired.min()
    series = _date_and_time(header, "SeriesDate", "SeriesTime")
    if series is not None and series.max() <= earliest:
        return series, _both("SeriesDate", "SeriesTime")
    if (vendor := _vendor_time(header, series, acquired, findings)) is not None:
        return vendor
    if (backwards := _back_computed(header, acquired, half_life)) is not None:
        findings.note(
            f"{_both('SeriesDate', 'SeriesTime')} is missing or after the acquisition: reference computed backwards"
        )
        return backwards, f"{named('AcquisitionTime')} + mean frame time - {named('FrameReferenceTime')}"
    _doubt_earliest(header, acquired, findings)
    return np.array(earliest, object), f"earliest {_both('AcquisitionDate', 'AcquisitionTime')}"


def _vendor_time(
    header: Header, series: np.ndarray | None, acquired: np.ndarray, findings: Findings
) -> tuple[np.ndarray, str] | None:
    public = {time.date() for times in (series, acquired) if times is not None for time in times.flat}
    for keyword in ("GEScanDateTime", "SiemensDecayCorrectionDateTime"):
        texts = header.texts(keyword)
        if texts is None:
            continue
        times = _moments(header, texts, keyword)
        if not {time.date() for time in times.flat} <= public:
            findings.note(f"{named(keyword)} is not used: its date is not among the series' public dates")
            continue
        late = max(delay.total_seconds() for delay in np.asarray(np.subtract(*aligned(times, acquired)), object).flat)
        if late <= _ROUNDING_SECONDS:
            return times, named(keyword)
        findings.warn(
            f"{named(keyword)} is not used: it lies {late / 60:.1f} min after "
            f"{_both('AcquisitionDate', 'AcquisitionTime')}, and decay is corrected to the start of the acquisition"
        )
    return None


def _back_computed(header: Header, acquired: np.ndarray, half_life: float) -> np.ndarray | None:
    """Returns reference times per slice, or `None` where Frame Reference Time is missing or 0, as for some vendors."""
    after_ms, duration_ms = header.numbers("FrameReferenceTime"), header.numbers("ActualFrameDuration")
    if after_ms is None or duration_ms is None or after_ms.min() <= 0 or duration_ms.min() <= 0:
        return None
    frame, after = aligned(mean_activity_time(np.asarray(duration_ms / 1000), half_life), np.asarray(after_ms / 1000))
    try:
        shift = np.vectorize(lambda s: dt.timedelta(seconds=s), otypes=[object])(frame - after)
        return np.asarray(np.add(*aligned(acquired, shift)), object)
    except OverflowError:
        raise ValueError(
            f"{named('FrameReferenceTime')} is up to {after_ms.max():g} ms, which leads out of the calendar"
        ) from None


def mean_activity_time(duration: np.ndarray, half_life: float) -> np.ndarray:
    """Returns the seconds into a frame at which the activity equals the frame's mean, PS3.3 section C.8.9.4.1.5.

    `T_ave = ln(x / (1 - exp(-x))) / decay`, with `x = decay T`, is a little before the middle of the frame.

    Example:
        >>> round(float(mean_activity_time(np.array(300.0), 6586.2)), 3)
        149.605
    """
    decay = math.log(2) / half_life
    return np.asarray(np.log(decay * duration / -np.expm1(-decay * duration)) / decay)


def _doubt_earliest(header: Header, acquired: np.ndarray, findings: Findings) -> None:
    text = (
        f"the reference time is the earliest acquisition, {_both('AcquisitionDate', 'AcquisitionTime')}: right only if "
        "the first bed position is here"
    )
    slices, are_several = header.number("NumberOfSlices"), any(time != acquired.flat[0] for time in acquired.flat)
    is_doubtful = are_several if slices is None else slices > header.slices
    (findings.warn if is_doubtful else findings.note)(text)


def _injection(header: Header, reference: dt.datetime, half_life: float, findings: Findings) -> tuple[dt.datetime, str]:
    """Reads Start DateTime, else Start Time on the day of the reference, or on the day before if it would be later."""
    keyword = "RadiopharmaceuticalStartDateTime"
    if (text := header.text(keyword)) is not None:
        zone = _zone(header)
        if zone is None and (offset := _offset(text)) is not None:
            findings.note(
                f"{named(keyword)}: its offset {offset} is not used, as {named('TimezoneOffsetFromUTC')} is missing"
            )
        return moment(text, keyword, zone), named(keyword)
    keyword = "RadiopharmaceuticalStartTime"
    if (text := header.text(keyword)) is None:
        raise ValueError(
            f"{named('RadiopharmaceuticalStartDateTime')} and {named(keyword)} are missing; state one by tags={{...}}"
        )
    time = moment(f"{reference.year:04}{reference:%m%d}{text}", keyword)  # %Y may have fewer than four digits
    if time > reference:
        try:
            time -= dt.timedelta(days=1)
        except OverflowError:
            raise ValueError(f"{named(keyword)} is later than the reference time, the first day of all") from None
        findings.note(f"{named(keyword)} is later than the reference time: taken as of the day before")
    if half_life > _LONG_LIVED_SECONDS:
        findings.warn(
            f"{named(keyword)} has no date and {named('RadionuclideHalfLife')} is {half_life / 3600:.0f} h: "
            "the injection is taken to be less than a day before the scan"
        )
    return time, named(keyword)


def _acquired(header: Header) -> np.ndarray:
    if (times := _date_and_time(header, "AcquisitionDate", "AcquisitionTime")) is not None:
        return times
    if (texts := header.texts("AcquisitionDateTime")) is not None:
        return _moments(header, texts, "AcquisitionDateTime")
    missing = [named(keyword) for keyword in ("AcquisitionDate", "AcquisitionTime") if header.texts(keyword) is None]
    raise ValueError(f"{' and '.join(missing)} missing; state it by tags={{...}}")


def _date_and_time(header: Header, date: str, time: str) -> np.ndarray | None:
    days, times = header.texts(date), header.texts(time)
    if days is None or times is None:
        return None
    return _moments(header, np.asarray(np.add(*aligned(days, times)), object), time)


def _moments(header: Header, texts: np.ndarray, keyword: str) -> np.ndarray:
    zone = _zone(header)
    return np.vectorize(lambda text: moment(text, keyword, zone), otypes=[object])(texts)


def _zone(header: Header) -> str | None:
    """Returns the UTC offset for times that state none: Timezone Offset From UTC, else the offset of a scan time.

    Source: PS3.3 section C.12.1.1.8.
    """
    if (stated := header.text("TimezoneOffsetFromUTC")) is not None:
        return stated
    scanned = (header.texts(keyword) for keyword in ("DecayCorrectionDateTime", "AcquisitionDateTime"))
    return next((offset for texts in scanned if texts is not None and (offset := _offset(texts.flat[0]))), None)


def _offset(text: str) -> str | None:
    """Returns the offset from UTC at the end of a DT value."""
    found = re.search(r"[+-]\d{4}$", text)
    return found and found[0]


def aligned(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """Gives two values shapes that broadcast; each is for the series `()`, per slice `(k,)`, or per volume `(k, t)`."""
    rank = max(a.ndim, b.ndim)
    return [x.reshape(x.shape + (1,) * (rank - x.ndim)) if x.ndim else x for x in (a, b)]


def _both(date: str, time: str) -> str:
    return f"{named(date)} + {named(time)}"
