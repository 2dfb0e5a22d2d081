"""What a DICOM header says, as `Metadata`: typed fields, and every public attribute by keyword, JSON-safe.

The form of `metadata.extra`:

- `extra[Keyword]`: the value that all slices share, under pydicom's keyword. Decimal and integer strings become
  numbers, multiple values and sequences lists, items of a sequence mappings of the same form; dates, times and UIDs
  stay text as DICOM writes them (YYYYMMDD, HHMMSS.ffffff). Empty attributes and bulk binary data are left out.
- `extra["per_slice"][Keyword]`: what differs between slices, one entry per slice in the order of the voxels' third
  axis, `None` where a slice does not state it; for a series with volumes, such as time points, `[k][t]`.
- `extra["volumes"]`, for a series with volumes: "by", the attributes that tell them apart, and "values", one list each.
- `extra["geometry"]`: "unknown" for an image that the file does not place; absent otherwise.
- `extra["private"]["(GGGG,EEEE)"]`: private attributes that hold text or numbers, by the tag that the file uses, with
  the private creators, `(GGGG,00xx)`, among them. What differs between slices is in `extra["per_slice"]["private"]`.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from medjax._metadata import Metadata
from medjax.io._dicom._header import is_lossy, stored_value, texts_of

if TYPE_CHECKING:
    from medjax.io._dicom._slices import Slice

__all__ = ["acquisition_time", "header_of", "json_value", "metadata_of_header", "metadata_of_slices", "parse_datetime"]

# Value representations of bulk data (PS3.5 section 6.2). UN, unknown, is kept where it turns out to be text.
_BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
# Those stored as text that needs no character set to read, with one backslash between values.
_PLAIN_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"})
# Functional groups, per frame and shared: they are flattened, so the nested form says nothing more.
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

    What functional groups say of a frame stands under the same keywords as in a classic file.
    """
    slices = [slice_ for row in rows for slice_ in row]
    datasets = list({id(s.file): s.file.dataset for s in slices}.values())
    if len(datasets) == len(slices) and not any(s.attributes for s in slices):
        extra = _header(datasets)
    else:
        extra = _header_of_frames(slices)
    if by:
        _nest(extra, len(rows[0]))
        extra["volumes"] = {"by": list(by), "values": [[_listed(v) for v in value] for value in values]}
    if not is_placed:
        extra["geometry"] = "unknown"
    return metadata_of_header(extra, acquisition_time=_first_acquisition(datasets), source=source)


def _header_of_frames(slices: Sequence[Slice]) -> dict[str, Any]:
    """Header of an image some of whose slices share a file; what differs is looked up per slice, nothing is multiplied."""
    files = {id(s.file): s.file.dataset for s in slices}
    headers = {key: _flattened(header_of(dataset, skip=_FRAME_GROUPS)) for key, dataset in files.items()}
    frames = [_flattened(s.attributes) for s in slices]
    first = headers[id(slices[0].file)]
    extra: dict[str, Any] = {}
    per_slice: dict[str, Any] = {}
    for key in sorted({k for header in headers.values() for k in header} | {k for frame in frames for k in frame}):
        if not any(key in frame for frame in frames) and all(
            header.get(key) == first.get(key) for header in headers.values()
        ):
            _place_flat(extra, key, first.get(key))
            continue
        found = [frame.get(key, headers[id(s.file)].get(key)) for s, frame in zip(slices, frames, strict=True)]
        is_shared = all(value == found[0] for value in found)
        _place_flat(extra if is_shared else per_slice, key, found[0] if is_shared else found)
    if per_slice:
        extra["per_slice"] = per_slice
    return extra


def _flattened(header: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """A header by (keyword, private tag), so that private attributes are compared one by one."""
    flat = {(key, ""): value for key, value in header.items() if key != "private" and not key.startswith("dimension:")}
    return flat | {("private", tag): value for tag, value in header.get("private", {}).items()}


def _place_flat(header: dict[str, Any], key: tuple[str, str], value: Any) -> None:
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


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def metadata_of_header(extra: dict[str, Any], *, acquisition_time: dt.datetime | None, source: str | None) -> Metadata:
    """Fills the typed fields from a header in the form that the module describes; states nothing that it does not."""
    return Metadata(
        modality=_text(extra.get("Modality")),
        patient_id=_text(extra.get("PatientID")),
        study_uid=_text(extra.get("StudyInstanceUID")),
        series_uid=_text(extra.get("SeriesInstanceUID")),
        study_description=_text(extra.get("StudyDescription")),
        acquisition_time=acquisition_time,
        source=source,
        is_contrast_administered=_contrast(extra),
        display={key: extra[key] for key in _DISPLAY if key in extra},
        clinical={key: extra[key] for key in _CLINICAL if key in extra},
        extra=extra,
    )


def _text(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict) else str(value)


def _contrast(extra: Mapping[str, Any]) -> bool | None:
    """Contrast/Bolus Agent (0018,0010) or its sequence (0018,0012), PS3.3 section C.7.6.4; absent says nothing."""
    agent = extra.get("ContrastBolusAgent")
    if agent is None:
        return True if extra.get("ContrastBolusAgentSequence") else None
    return str(agent).strip().upper() not in ("NONE", "NO", "N")


def _nested(values: list[Any], volumes: int) -> list[list[Any]]:
    return [values[start : start + volumes] for start in range(0, len(values), volumes)]


def _header(datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Header of one image: what all datasets share, and under `per_slice` what they do not."""
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
            _place(extra, tag, values[0])
        else:
            _place(per_slice, tag, values)
    if per_slice:
        extra["per_slice"] = per_slice
    return extra


def _differing_tags(datasets: Sequence[Dataset]) -> set[int]:
    """Tags whose stored values are not the same bytes in all datasets; nothing is decoded to find them."""
    reference = {tag: _comparable(datasets[0], element) for tag, element in datasets[0].items()}
    differing: set[int] = set()
    for dataset in datasets[1:]:
        found = {tag: _comparable(dataset, element) for tag, element in dataset.items()}
        if found != reference:
            differing |= {tag for tag in found.keys() | reference.keys() if found.get(tag) != reference.get(tag)}
    return differing


def _comparable(dataset: Dataset, element: DataElement | RawDataElement) -> Any:
    """What an element holds, undecoded; of a long one that was left on disk, its bytes from there unless it is bulk."""
    if element.value is not None or not isinstance(element, RawDataElement) or not element.length:
        return element.value
    vr = element.VR or _vr(element.tag)
    if not vr or vr in _BULK:
        return element.length
    with Path(str(dataset.filename)).open("rb") as file:
        file.seek(element.value_tell)
        return file.read(element.length)


def _value_at(dataset: Dataset, tag: int) -> Any:
    return json_value(dataset, tag) if tag in dataset else None


def header_of(dataset: Dataset, *, skip: Iterable[int] = ()) -> dict[str, Any]:
    """One dataset as a mapping from keyword to JSON-safe value, private attributes under "private"."""
    header: dict[str, Any] = {}
    for tag in dataset.keys() - set(skip):
        _place(header, tag, json_value(dataset, tag))
    return dict(sorted(header.items()))


def _place(header: dict[str, Any], tag: int, value: Any) -> None:
    if value is None:
        return
    if BaseTag(tag).is_private:
        header.setdefault("private", {})[_tag_text(tag)] = value
    elif keyword := _keyword(tag):
        header[keyword] = value


@functools.lru_cache(maxsize=4096)
def _keyword(tag: int) -> str:
    return keyword_for_tag(tag)


def _tag_text(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def json_value(dataset: Dataset, tag: int) -> Any:
    """The value of an attribute in JSON's types; `None` where it is empty, bulk data or not decodable."""
    if tag & 0xFFFF == 0:  # group length, retired (PS3.5 section 7.2)
        return None
    try:
        return _decoded(dataset, tag)
    except Exception:  # noqa: BLE001
        return None  # pydicom decodes on access and raises whatever its converters do; the value is then not known


def _decoded(dataset: Dataset, tag: int) -> Any:
    raw = dataset.get_item(tag)
    vr = raw.VR or _vr(tag) if isinstance(raw, RawDataElement) else ""
    if vr in _BULK:
        return None
    if vr in _PLAIN_TEXT and raw.value is not None and _is_ascii(raw.value):
        return _from_text(raw.value.decode("ascii"), vr)  # type: ignore[union-attr]
    element = dataset[tag]
    value = None if element.VR in _BULK else _plain(element.value, element.VR)
    if is_lossy(value) and isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        dataset[tag] = raw  # or nobody could tell any more what it was
        texts = [text.strip(" \0") or None for text in texts_of(raw.value, ["ascii"])]
        return texts if len(texts) > 1 else texts[0]
    return value


@functools.lru_cache(maxsize=4096)
def _vr(tag: int) -> str:
    """The value representation of a public attribute, for a file that does not state it."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _is_ascii(value: Any) -> bool:
    """Whether no character set is needed, nor an escape sequence (ISO 2022) changes it."""
    return isinstance(value, bytes) and value.isascii() and b"\x1b" not in value


def _from_text(text: str, vr: str) -> Any:
    """Reads a value stored as ASCII text, as pydicom would, without its checks; most of a header is that."""
    convert = _CONVERTERS.get(vr, str)
    values = [convert(part.strip(" \0")) if part.strip(" \0") else None for part in text.rstrip(" \0").split("\\")]
    return values if len(values) > 1 else values[0]


def _decimal(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _integer(text: str) -> int | float:
    """An integer string; one with a fraction breaks the rules and is kept as it is."""
    return int(text) if "." not in text else float(text)


_CONVERTERS: dict[str, Callable[[str], Any]] = {"DS": _decimal, "IS": _integer}


def _plain(value: Any, vr: str) -> Any:
    if value is None or (isinstance(value, str | bytes | PersonName) and not value):
        return None
    if vr == "SQ":
        return [header_of(item) for item in value] or None
    if isinstance(value, MultiValue | list | tuple):
        return [_plain(item, vr) for item in value] or None
    if vr == "AT":
        return _tag_text(int(value))
    if isinstance(value, bytes):
        return _printable(value)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, str):  # before numbers: no text type of pydicom is a number
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value) or None
    return number if math.isfinite(number) else str(value)


def _printable(value: bytes) -> str | None:
    text = value.rstrip(b"\0 ").decode("ascii", "replace")
    return text if text and text.isprintable() and "�" not in text else None


def _first_acquisition(datasets: Sequence[Dataset]) -> dt.datetime | None:
    """The earliest acquisition time that any of the datasets states."""
    times = [time for dataset in datasets if (time := acquisition_time(dataset)) is not None]
    zones = {time.tzinfo is None for time in times}
    return min(times) if len(zones) == 1 else None


def acquisition_time(dataset: Dataset) -> dt.datetime | None:
    """Acquisition DateTime (0008,002A), else Acquisition Date and Time (0008,0022) and (0008,0032).

    A time without its date is no point in time: `None`.
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


def parse_datetime(text: str, offset: str = "") -> dt.datetime | None:
    """Reads a DICOM DT (PS3.5 section 6.2), `YYYYMMDDHHMMSS.FFFFFF&ZZXX`, at least to the day; `None` if it is none.

    Args:
        text: The date and time; the old form with dots and colons, 1997.07.15 12:30:00, is read too.
        offset: Timezone Offset From UTC (0008,0201), for a text without its own.

    Example:
        >>> parse_datetime("20240229123059.5")
        datetime.datetime(2024, 2, 29, 12, 30, 59, 500000)
        >>> parse_datetime("2024022912", "+0130").isoformat()
        '2024-02-29T12:00:00+01:30'
    """
    sign = max(text.rfind("+"), text.rfind("-"))
    zone = text[sign:] if sign >= 8 else offset
    whole, _, fraction = (text[:sign] if sign >= 8 else text).partition(".") if "." not in text[:8] else (text, "", "")
    digits = "".join(c for c in whole if c.isdigit())
    if len(digits) < 8 or len(digits) % 2 or len(digits) > 14:
        return None
    try:
        parts = [int(digits[:4])] + [int(digits[n : n + 2]) for n in range(4, len(digits), 2)]
        microsecond = int((fraction + "000000")[:6]) if fraction.isdigit() else 0
        return dt.datetime(*parts, microsecond=microsecond, tzinfo=_zone(zone))  # type: ignore[arg-type, misc]
    except ValueError:
        return None


def _zone(text: str) -> dt.tzinfo | None:
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return dt.timezone(dt.timedelta(minutes=-minutes if text[0] == "-" else minutes))
