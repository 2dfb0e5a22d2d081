"""A DICOM header as `Metadata`: typed fields, and every public attribute by keyword, JSON-safe.

The form of `metadata.extra`:

- `extra[Keyword]`: the value that all slices share, under pydicom's keyword. Decimal and integer strings become
  numbers, multiple values and sequences lists, items of a sequence mappings of the same form; dates, times and UIDs
  stay text as DICOM writes them (YYYYMMDD, HHMMSS.ffffff). Empty attributes and bulk binary data are left out.
- `extra["per_slice"][Keyword]`: a value that differs between slices, one entry per slice in the order of the voxels'
  third axis, `None` where a slice does not state it. A series with volumes, such as time points, has `[k][t]`.
- `extra["volumes"]`, for a series with volumes: "by", the attributes that tell them apart, and "values", one list each.
- `extra["geometry"]`: "unknown" for an image that the file does not place; absent otherwise.
- `extra["private"]["(GGGG,EEEE)"]`: private attributes that hold text or numbers, by the tag that the file uses, with
  the private creators, `(GGGG,00xx)`, among them. Those that differ between slices are in
  `extra["per_slice"]["private"]`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from medjax._image._metadata import Metadata
from medjax.io._dicom._slices import Slice
from medjax.io._dicom._stored import stored_value
from medjax.io._dicom._values import BULK, header_of, json_value, parse_datetime, place, representation_of

__all__ = ["acquisition_time", "metadata_of_header", "metadata_of_slices"]

# Keyword, and for a private attribute its tag.
_Key = tuple[str, str]

# Functional groups, per frame and shared. They are flattened, so the nested form adds nothing.
_FRAME_GROUPS = frozenset({0x52009229, 0x52009230})
_DISPLAY = (
    "PhotometricInterpretation",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "RecommendedDisplayFrameRate",
    "PresentationLUTShape",
)
_CLINICAL = ("PatientWeight", "PatientSize", "PatientSex", "PatientAge", "PregnancyStatus", "SmokingStatus")


def metadata_of_slices(
    rows: Sequence[Sequence[Slice]],
    by: Sequence[str],
    values: Sequence[Sequence[Any]],
    *,
    source: str | None,
    is_placed: bool,
) -> Metadata:
    """Collects the metadata of an image from its slices, one list per place with one slice for each volume.

    Attributes of functional groups stand under the same keywords as in a classic file.
    """
    slices = [slice_ for row in rows for slice_ in row]
    datasets = list({id(s.file): s.file.dataset for s in slices}.values())
    if len(datasets) == len(slices) and not any(s.attributes for s in slices):
        extra = _header_of_files(datasets)
    else:
        extra = _header_of_frames(slices)
    if by:
        _nest(extra, len(rows[0]))
        extra["volumes"] = {"by": list(by), "values": [[_as_lists(v) for v in value] for value in values]}
    if not is_placed:
        extra["geometry"] = "unknown"
    return metadata_of_header(extra, acquisition_time=_first_acquisition(datasets), source=source)


def _header_of_frames(slices: Sequence[Slice]) -> dict[str, Any]:
    """Header of an image some of whose slices share a file.

    Only the attributes that differ are looked up for each slice, since an object can have thousands of frames.
    """
    files = {id(s.file): s.file.dataset for s in slices}
    headers = {key: _flattened(header_of(dataset, skip=_FRAME_GROUPS)) for key, dataset in files.items()}
    stated = [(_flattened(s.attributes), headers[id(s.file)]) for s in slices]
    first = headers[id(slices[0].file)]
    may_differ = {key for frame, _ in stated for key in frame} | _differing_keys(first, headers.values())
    extra: dict[str, Any] = {}
    per_slice: dict[str, Any] = {}
    for key in sorted(first.keys() | may_differ):
        values = [frame.get(key, header.get(key)) for frame, header in stated] if key in may_differ else [first[key]]
        is_shared = all(value == values[0] for value in values)
        _place_flat(extra if is_shared else per_slice, key, values[0] if is_shared else values)
    if per_slice:
        extra["per_slice"] = per_slice
    return extra


def _differing_keys(first: Mapping[_Key, Any], headers: Iterable[Mapping[_Key, Any]]) -> set[_Key]:
    """The keys whose values are not the same in all headers."""
    return {key for header in headers for key in header.keys() | first.keys() if header.get(key) != first.get(key)}


def _flattened(header: Mapping[str, Any]) -> dict[_Key, Any]:
    """A header by (keyword, private tag), so that private attributes are compared one by one."""
    flat = {(key, ""): value for key, value in header.items() if key != "private" and not key.startswith("dimension:")}
    return flat | {("private", tag): value for tag, value in header.get("private", {}).items()}


def _place_flat(header: dict[str, Any], key: _Key, value: Any) -> None:
    keyword, tag = key
    if value is None:
        return
    if tag:
        header.setdefault("private", {})[tag] = value
    else:
        header[keyword] = value


def _nest(extra: dict[str, Any], volumes: int) -> None:
    """Makes per-slice lists `[k][t]`."""
    per_slice = extra.get("per_slice", {})
    for key, value in per_slice.items():
        if key == "private":
            per_slice[key] = {tag: _nested(v, volumes) for tag, v in value.items()}
        else:
            per_slice[key] = _nested(value, volumes)


def _as_lists(value: Any) -> Any:
    return [_as_lists(item) for item in value] if isinstance(value, tuple) else value


def metadata_of_header(extra: dict[str, Any], *, acquisition_time: dt.datetime | None, source: str | None) -> Metadata:
    """Fills the typed fields from a header in the form that the module describes. Fields that it lacks stay `None`."""
    return Metadata(
        modality=_text_or_none(extra.get("Modality")),
        patient_id=_text_or_none(extra.get("PatientID")),
        study_uid=_text_or_none(extra.get("StudyInstanceUID")),
        series_uid=_text_or_none(extra.get("SeriesInstanceUID")),
        study_description=_text_or_none(extra.get("StudyDescription")),
        acquisition_time=acquisition_time,
        source=source,
        is_contrast_administered=_contrast(extra),
        display={key: extra[key] for key in _DISPLAY if key in extra},
        clinical={key: extra[key] for key in _CLINICAL if key in extra},
        extra=extra,
    )


def _text_or_none(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict) else str(value)


def _contrast(extra: Mapping[str, Any]) -> bool | None:
    """Contrast/Bolus Agent (0018,0010) or its sequence (0018,0012), PS3.3 section C.7.6.4. If absent: not known."""
    agent = extra.get("ContrastBolusAgent")
    if agent is None:
        return True if extra.get("ContrastBolusAgentSequence") else None
    return str(agent).strip().upper() not in ("NONE", "NO", "N")


def _nested(values: list[Any], volumes: int) -> list[list[Any]]:
    return [values[start : start + volumes] for start in range(0, len(values), volumes)]


def _header_of_files(datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Header of one image: the values that all datasets share, and under `per_slice` those that differ."""
    first = datasets[0]
    if len(datasets) == 1:
        return header_of(first)
    differing = _differing_tags(datasets)
    extra = header_of(first, skip=differing)
    per_slice: dict[str, Any] = {}
    for tag in sorted(differing):
        values = [_value_at(dataset, tag) for dataset in datasets]
        if all(value is None for value in values):
            continue
        if all(value == values[0] for value in values):  # written differently, "1" and "1.0"
            place(extra, tag, values[0])
        else:
            place(per_slice, tag, values)
    if per_slice:
        extra["per_slice"] = per_slice
    return extra


def _differing_tags(datasets: Sequence[Dataset]) -> set[int]:
    """Tags whose stored values are not the same bytes in all datasets. No value is decoded to find them."""
    reference = {tag: _comparable(datasets[0], element) for tag, element in datasets[0].items()}
    differing: set[int] = set()
    for dataset in datasets[1:]:
        found = {tag: _comparable(dataset, element) for tag, element in dataset.items()}
        if found != reference:
            differing |= {tag for tag in found.keys() | reference.keys() if found.get(tag) != reference.get(tag)}
    return differing


def _comparable(dataset: Dataset, element: DataElement | RawDataElement) -> Any:
    """The undecoded value of an element. A long one is read from disk; of bulk data only the length is compared."""
    if element.value is not None or not isinstance(element, RawDataElement) or not element.length:
        return element.value
    vr = element.VR or representation_of(element.tag)
    if not vr or vr in BULK:
        return element.length
    with Path(str(dataset.filename)).open("rb") as file:
        file.seek(element.value_tell)
        return file.read(element.length)


def _value_at(dataset: Dataset, tag: int) -> Any:
    return json_value(dataset, tag) if tag in dataset else None


def _first_acquisition(datasets: Sequence[Dataset]) -> dt.datetime | None:
    """The earliest acquisition time that any of the datasets states."""
    times = [time for dataset in datasets if (time := acquisition_time(dataset)) is not None]
    zones = {time.tzinfo is None for time in times}
    return min(times) if len(zones) == 1 else None


def acquisition_time(dataset: Dataset) -> dt.datetime | None:
    """Acquisition DateTime (0008,002A), else Acquisition Date and Time (0008,0022) and (0008,0032).

    `None` for a time without its date, which is no point in time.
    """
    moment = _get_text(dataset, 0x0008002A)
    if not moment:
        day, time = _get_text(dataset, 0x00080022), _get_text(dataset, 0x00080032)
        moment = day + time if day and time else ""
    return parse_datetime(moment, _get_text(dataset, 0x00080201))


def _get_text(dataset: Dataset, tag: int) -> str:
    value = stored_value(dataset, tag)
    if isinstance(value, bytes):
        return value.decode("ascii", "replace").strip(" \0")
    return "" if value is None else str(value).strip()
