"""Metadata of a scan, apart from voxels and geometry: immutable, importable without JAX, never traced."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from medjax._lazy import public

__all__ = ["Metadata"]


@public("medjax")
@dataclasses.dataclass(frozen=True, slots=True)
class Metadata:
    """The statements of a file about a scan. A field that the file does not state is `None`, never invented.

    Attributes:
        modality: DICOM modality, "CT", "MR", "PT", ...; `None` where the format cannot say.
        subtype: Finer type, such as "T1", "FDG" or "SUVbw".
        patient_id: Patient ID (0010,0020).
        patient_uid: An identifier of the patient that is unique across institutions.
        study_uid: Study Instance UID (0020,000D).
        series_uid: Series Instance UID (0020,000E).
        study_description: Study Description (0008,1030).
        acquisition_time: Start of the acquisition, as the scanner states it.
        source: Name of the file or folder that was read.
        is_contrast_administered: Whether a contrast agent was given.
        display: Display hints, such as window centre and width or colours.
        clinical: Clinical data, such as weight and height.
        extra: The source header by DICOM keyword or NIfTI field, JSON-safe.

    The three mappings are read-only. Metadata never enters a trace, so it costs no compilation. An operation's result
    carries its own scan's metadata or none.

    Example:
        >>> metadata = mj.Metadata(modality="PT", extra={"Units": "BQML"})
        >>> metadata.replace(subtype="SUVbw").subtype, metadata.subtype
        ('SUVbw', None)
        >>> mj.Metadata.from_json(metadata.to_json()) == metadata
        True
    """

    modality: str | None = None
    subtype: str | None = None
    patient_id: str | None = None
    patient_uid: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    study_description: str | None = None
    acquisition_time: dt.datetime | None = None
    source: str | None = None
    is_contrast_administered: bool | None = None
    display: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    clinical: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _MAPPINGS:
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def replace(self, **changes: Any) -> Metadata:
        """Returns a copy with the given fields changed.

        Raises:
            TypeError: there is no such field.

        Example:
            >>> mj.Metadata(modality="CT").replace(source="scan.nii.gz")
            Metadata(modality='CT', source='scan.nii.gz')
        """
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Writes all fields that hold something as JSON; `from_json` reads it back.

        Raises:
            TypeError: a mapping holds a value that JSON cannot.
            ValueError: a mapping is nested too deeply, or within itself.

        Example:
            >>> mj.Metadata(modality="MR").to_json()
            '{"modality": "MR"}'
        """
        fields: dict[str, Any] = {}
        for name, value in self._stated():
            fields[name] = dict(value) if name in _MAPPINGS else value
        if self.acquisition_time is not None:
            fields["acquisition_time"] = self.acquisition_time.isoformat()
        try:
            return json.dumps(fields)
        except RecursionError:
            raise ValueError("the metadata are nested too deeply for JSON") from None

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """Reads the JSON of `to_json`; unknown fields are kept under `extra`.

        Raises:
            ValueError: the text is no JSON object or is nested too deeply, or a field holds a value of another type.

        Example:
            >>> mj.Metadata.from_json('{"modality": "MR", "colour": "blue"}').extra["colour"]
            'blue'
        """
        try:
            stated = json.loads(text)
        except RecursionError:
            raise ValueError("the metadata's JSON is nested too deeply") from None
        if not isinstance(stated, dict):
            raise ValueError(f"metadata are a JSON object, the text holds a {type(stated).__name__}")
        fields = {name: value for name, value in stated.items() if value is not None}
        for field in dataclasses.fields(cls):
            _check_json(field, fields.get(field.name))
        known = {field.name for field in dataclasses.fields(cls)}
        extra = fields.pop("extra", {}) | {k: fields.pop(k) for k in list(fields) if k not in known}
        if "acquisition_time" in fields:
            fields["acquisition_time"] = _time(fields["acquisition_time"])
        return cls(**fields, extra=extra)

    def _stated(self) -> list[tuple[str, Any]]:
        pairs = [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]
        return [(name, value) for name, value in pairs if value is not None and not (name in _MAPPINGS and not value)]

    def __repr__(self) -> str:
        """Shows the fields, except those that identify the patient: a `repr` ends in logs and in error messages."""
        shown = {name: f"<{len(value)} fields>" if name in _MAPPINGS else repr(value) for name, value in self._stated()}
        shown |= dict.fromkeys(shown.keys() & set(_IDENTITY), "<withheld>")
        return f"Metadata({', '.join(f'{name}={text}' for name, text in shown.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Metadata, tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)

    def __deepcopy__(self, memo: dict[int, Any]) -> Metadata:
        return self  # immutable


_MAPPINGS = ("display", "clinical", "extra")
_IDENTITY = ("patient_id", "patient_uid")


def _check_json(field: dataclasses.Field[Any], value: Any) -> None:
    """Refuses a value whose JSON type is not the field's; the message does not quote the value."""
    wanted = dict if field.name in _MAPPINGS else bool if field.name == "is_contrast_administered" else str
    if value is not None and not isinstance(value, wanted):
        raise ValueError(f"metadata field {field.name} must be a {_JSON_NAMES[wanted]}, it is a {type(value).__name__}")


_JSON_NAMES = {dict: "JSON object", bool: "truth value", str: "text"}


def _time(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("metadata field acquisition_time is no time in ISO 8601") from None
