"""SUV from PET activity: the factor with its rule, and the converted image."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float, Num

from medjax._errors import ImageFileWarning
from medjax._image._image import Image, check_image
from medjax._image._metadata import Metadata
from medjax._kernels._compiled import compiled
from medjax._kernels._values import without_wrapping
from medjax._lazy import public
from medjax._pet._body import NORMS, SuvNorm
from medjax._pet._header import Findings, Header
from medjax._pet._rules import Outcome, apply_rule

__all__ = ["SuvFactor", "holds_suv", "suv_factor", "to_suv"]

# Attributes of the source that do not hold for voxels in SUV. Units and SUVType are set to new values.
_UNTRUE = (
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "RealWorldValueMappingSequence",
)

Quantity = float | tuple[float, ...] | tuple[tuple[float, ...], ...]
Moment = str | tuple[str, ...] | tuple[tuple[str, ...], ...]


SuvFactorOrTuple: TypeAlias = Any
"""One record, or for a batch a tuple of records."""


@public("medjax")
@dataclasses.dataclass(frozen=True)
class SuvFactor:
    """The factor from an image's values to SUV, with the rule that gave it; `to_dict` converts it for JSON.

    Quantities that differ between slices are tuples with one entry per slice, or per slice and volume. Quantities that
    the rule does not use are `None`.

    Attributes:
        factor: SUV = factor * voxel.
        norm: The normaliser, as given to `suv_factor`.
        unit: "g/ml" or "cm2/ml".
        rule: The equation, with c the voxel, N the normaliser, D the dose in Bq, t the uptake time and T the half-life.
        units: Units (0054,1001) of the source.
        decay_correction: Decay Correction (0054,1102) of the source: "START", "ADMIN" or "NONE".
        reference_time: Local time that the activity refers to, ISO 8601.
        reference_time_source: The attribute that it comes from.
        injection_time: Local time of the injection, ISO 8601.
        injection_time_source: The attribute that it comes from.
        uptake_s: Seconds between injection and reference.
        decay_factor: Fraction of the dose that is left at the reference time, 0 to 1.
        dose_bq: Injected dose in Bq.
        half_life_s: Half-life in s.
        normalizer: N in g, or in cm2 for body surface area.
        normalizer_rule: Its formula.
        weight_kg, height_m, sex: The inputs of N's formula.
        notes: Assumptions that were made, each with the attribute's name and number.
    """

    factor: Quantity
    norm: str
    unit: str
    rule: str
    units: str
    decay_correction: str | None = None
    reference_time: Moment | None = None
    reference_time_source: str | None = None
    injection_time: str | None = None
    injection_time_source: str | None = None
    uptake_s: Quantity | None = None
    decay_factor: Quantity | None = None
    dose_bq: float | None = None
    half_life_s: float | None = None
    normalizer: float | None = None
    normalizer_rule: str | None = None
    weight_kg: float | None = None
    height_m: float | None = None
    sex: str | None = None
    notes: tuple[str, ...] = ()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Reads the fields of a pickle; pickles of 0.1.0 call the norm `kind`."""
        vars(self).update({"norm" if name == "kind" else name: value for name, value in state.items()})

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields that have a value, in JSON's types, for a log.

        Example:
            >>> mj.SuvFactor(1.0, "bw", "g/ml", "GML, BW: SUV = c", "GML").to_dict()
            {'factor': 1.0, 'norm': 'bw', 'unit': 'g/ml', 'rule': 'GML, BW: SUV = c', 'units': 'GML'}
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: _listed(value) for name, value in fields.items() if value not in (None, ())}


def suv_factor(image: Image, norm: SuvNorm = "bw", *, tags: Mapping[str, Any] | None = None) -> SuvFactorOrTuple:
    """Computes the factor from a PET image's values to standardised uptake values, with the rule that gave it.

    The equation is `SUV = c N / (D 2^(-t / T))`, with the activity concentration c in Bq/ml, the normaliser N (body
    weight in g for "bw"), the injected dose D in Bq, the half-life T, and the time t from the injection to the moment
    that c is decay-corrected to. It is computed on the host in float64.

    - Units (0054,1001) may be BQML, CNTS (with Philips' private factors), GML or CM2ML.
    - Decay Correction (0054,1102) may be START, ADMIN (then t is 0) or NONE (then each slice has its own acquisition
      time and frame duration).
    - The moment of START is the first of these: SeriesDate and SeriesTime if no slice was acquired earlier; the private
      time of GE (0009,100D) or Siemens (0071,1022) if its date is one of the public ones and no slice was acquired
      earlier; the time computed backwards from Frame Reference Time (0054,1300); the earliest acquisition.
    - The injection is Radiopharmaceutical Start DateTime (0018,1078), else Start Time (0018,1072) on the day of that
      moment, or on the day before if it would be later. Dates always count.

    Args:
        image: A PET image whose `metadata.extra` holds the DICOM header, as the DICOM reader fills it. A batch needs
            one metadata per item.
        norm: The normaliser of the dose: "bw" body weight; "lbm_james", "lbm_morgan", "lbm_janmahasatian" lean body
            mass (James is DICOM's LBMJAMES128, Morgan its LBM; both fail for the very obese); "bsa" body surface area
            (Du Bois); "ibw" ideal body weight.
        tags: Values by DICOM keyword that replace or complete the header's, such as `{"PatientWeight": 71.0}`. With
            them images from formats without a header can be converted too.

    Returns:
        A `SuvFactor`, the factor with its rule. A batch gives a tuple with one per item.

    Raises:
        ValueError: the image has no metadata or already holds SUV, or an attribute is missing, is impossible or
            contradicts another. The message gives its name, number and value.

    Warns:
        ImageFileWarning: a value was read as another unit (weight in g, dose in MBq, height in cm), a lean body mass is
            out of its formula's range, a time had to be assumed, or a scanner's private time is impossible and not
            used.

    Transforms:
        Host only: metadata is not known inside `jit`. Multiply by the factor there, or close over the image.

    Example:
        >>> tags = {"Units": "BQML", "DecayCorrection": "ADMIN", "CorrectedImage": ["ATTN", "DECY"],
        ...         "PatientWeight": 70.0, "RadionuclideTotalDose": 350e6}
        >>> image = mj.Image.from_array(np.full((2, 2, 2), 5000.0), metadata=mj.Metadata(modality="PT", extra={}))
        >>> found = mj.suv_factor(image, tags=tags)
        >>> found.factor, found.rule
        (0.0002, 'BQML, ADMIN: SUV = c N / D')

    Source:
        PS3.3 sections C.8.9.1 to C.8.9.4; QIBA, vendor-neutral pseudo-code for SUV (2012); Vácha M et al., manual for
        SUV computation (github.com/oncoray/suv_computation, 2026).
    """
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} is not one of {', '.join(NORMS)}; lean body mass has three formulas, name one")
    check_image(image, "image")
    if image.kind == "label":
        raise ValueError("a label image holds no activity; give the PET image itself")
    records = tuple(_factor_of(item, image.shape[2], norm, tags or {}) for item in _per_item(image))
    return records if image.batch_shape else records[0]


def _per_item(image: Image) -> tuple[Metadata, ...]:
    """Returns the metadata of a single image, or of each item of a batch."""
    known = image.metadata
    items = known if isinstance(known, tuple) else (known,) * (image.batch_shape or (1,))[0]
    if len(image.batch_shape) > 1 or any(item is None for item in items):
        raise ValueError(
            "the image has no metadata, or a batch not one for each item: inside jit, vmap or grad close over the "
            "image, or multiply by suv_factor(image).factor; else give it the header by with_metadata"
        )
    return tuple(item for item in items if item is not None)


def _factor_of(metadata: Metadata, slices: int, norm: str, tags: Mapping[str, Any]) -> SuvFactor:
    if holds_suv(metadata):
        raise ValueError(f"the image already holds {metadata.subtype or 'SUV'}; convert the image it was made from")
    findings = Findings()
    outcome = apply_rule(Header(metadata.extra, tags, slices), norm, findings)
    if tags:
        findings.note(f"stated by the caller: {', '.join(sorted(tags))}")
    for text in findings.warnings:
        warnings.warn(text, ImageFileWarning, stacklevel=4)
    return _record(outcome, norm, tuple(findings.notes))


def holds_suv(metadata: Metadata) -> bool:
    """Whether an image was converted before: `to_suv` says so in its metadata."""
    return "suv" in metadata.extra or (metadata.subtype or "").upper().startswith("SUV")


def _record(found: Outcome, norm: str, notes: tuple[str, ...]) -> SuvFactor:
    normalizer, body, uptake = NORMS[norm], found.body, found.uptake
    return SuvFactor(
        factor=_plain(found.factor),
        norm=norm,
        unit=normalizer.unit,
        rule=found.rule,
        units=found.units,
        decay_correction=found.decay_correction,
        reference_time=_plain(np.vectorize(lambda time: time.isoformat(), otypes=[object])(uptake.reference))
        if uptake
        else None,
        reference_time_source=uptake.reference_source if uptake else None,
        injection_time=uptake.injection.isoformat() if uptake else None,
        injection_time_source=uptake.injection_source if uptake else None,
        uptake_s=_plain(uptake.seconds) if uptake else None,
        decay_factor=None if found.decay_factor is None else _plain(found.decay_factor),
        dose_bq=found.dose_bq,
        half_life_s=found.half_life_s,
        normalizer=body.amount if body else None,
        normalizer_rule=normalizer.rule if body else None,
        weight_kg=body.weight_kg if body else None,
        height_m=body.height_m if body else None,
        sex=body.sex if body else None,
        notes=notes,
    )


def _plain(values: np.ndarray) -> Any:
    """Returns a scalar where all slices agree, else nested tuples."""
    first = values.flat[0]
    return _first_plain(first) if all(value == first for value in values.flat) else _tupled(values.tolist())


def _first_plain(value: Any) -> Any:
    return float(value) if isinstance(value, float | np.floating) else value


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    return list(map(_listed, value)) if isinstance(value, tuple) else value


def to_suv(image: Image, norm: SuvNorm = "bw", *, tags: Mapping[str, Any] | None = None) -> Image:
    """Converts a PET image to standardised uptake values; the result's metadata state them and their rule.

    Args:
        image: As for `suv_factor`: any batch, time as a trailing axis. If the factor may differ between slices, convert
            before cropping or reorienting along them, and before rotating or warping: an image does not tell whether
            its content was moved on its grid.
        norm: As for `suv_factor`.
        tags: As for `suv_factor`.

    Returns:
        The image in g/ml (cm2/ml for "bsa"), float32 (float64 if x64 is on and the data is float64). Its
        `metadata.subtype` is "SUVbw" or similar, and `metadata.extra["suv"]` holds the factor and its rule. Units
        (0054,1001) and SUVType (0054,1006) are set. Attributes of the old values (rescale slope, window) are gone.

    Raises:
        ValueError: as `suv_factor`; also where the factor differs between slices and the slices are no longer those of
            the header.

    Transforms:
        It is one multiplication on the device, differentiable in `image.voxels`. Compiles once per shape and dtype,
        never per scan. Metadata is not known inside `jit`: close over the image, `jit(lambda v:
        to_suv(image.with_voxels(v)))`.

    Example:
        >>> tags = {"Units": "BQML", "DecayCorrection": "ADMIN", "CorrectedImage": ["ATTN", "DECY"],
        ...         "PatientWeight": 70.0, "RadionuclideTotalDose": 350e6}
        >>> image = mj.Image.from_array(np.full((2, 2, 2), 5000.0), metadata=mj.Metadata(modality="PT", extra={}))
        >>> suv = mj.to_suv(image, tags=tags)
        >>> float(suv.voxels[0, 0, 0]), suv.metadata.subtype, suv.metadata.extra["Units"]
        (1.0, 'SUVbw', 'GML')
    """
    found = suv_factor(image, norm, tags=tags)
    records, known = found if isinstance(found, tuple) else (found,), _per_item(image)
    affine = image.grid.affine
    affines = affine.reshape(-1, 4, 4) if isinstance(affine, np.ndarray) else [None] * len(records)
    factors = [_on_voxels(image, *of_item) for of_item in zip(records, known, affines, strict=True)]
    is_double = jax.dtypes.canonicalize_dtype(image.dtype) == np.float64
    scale = np.stack(np.broadcast_arrays(*factors)) if image.batch_shape else factors[0]
    voxels = _multiply(without_wrapping(image.voxels), scale.astype(np.float64 if is_double else np.float32))
    states = tuple(_as_suv(item, record) for item, record in zip(known, records, strict=True))
    return image.with_voxels(voxels).with_metadata(states if image.batch_shape else states[0])


@compiled
def _multiply(voxels: Num[Array, "*shape"], factor: Float[Array, "*ones"]) -> Float[Array, "*shape"]:
    return voxels.astype(factor.dtype) * factor


def _on_voxels(image: Image, record: SuvFactor, metadata: Metadata, affine: np.ndarray | None) -> np.ndarray:
    """Returns one item's factor in a shape that multiplies its `(i, j, k, *channels)` voxels."""
    values, slices, channels = np.asarray(record.factor, np.float64), image.shape[2], image.channels
    if values.ndim and values.shape != (slices, *channels)[: values.ndim]:
        raise ValueError(
            f"the factor differs between slices, {values.shape}, but the image has {slices} slices and channels "
            f"{channels}: convert to SUV before cropping or resampling"
        )
    if values.ndim and affine is not None:
        _check_slices_are_where_they_were(metadata, affine, image.shape)
    return values.reshape((1, 1, *values.shape, *[1] * (1 + len(channels) - values.ndim)))


def _check_slices_are_where_they_were(metadata: Metadata, affine: np.ndarray, shape: tuple[int, ...]) -> None:
    """Checks that each slice lies in its plane of the file, as a factor per slice needs it.

    A slice may have been cropped, flipped or turned within its plane, but not flipped, moved or tilted out of it.
    """
    positions = _stated(metadata, "ImagePositionPatient", 3)
    if positions is None or len(positions) != shape[2]:
        return
    orientation = _stated(metadata, "ImageOrientationPatient", 6)
    axes = affine[:3, :2].T if orientation is None else orientation[0].reshape(2, 3)
    normal = np.cross(*axes)
    normal /= np.linalg.norm(normal)
    ends = [affine[:3, :3] @ (i, j, 0) + affine[:3, 3] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1)]
    steps = np.arange(shape[2])[:, None] * affine[:3, 2]
    apart = max(np.abs((steps + end - positions) @ normal).max() for end in ends)
    if apart > 0.5 * np.linalg.norm(affine[:3, 2]):
        raise ValueError(
            f"the factor differs between slices, and the image's slices lie up to {apart:.3g} mm from where the header "
            "has them: convert to SUV before flipping, reorienting or rotating"
        )


def _stated(metadata: Metadata, keyword: str, count: int) -> np.ndarray | None:
    """Returns the header's vectors of the first volume's slices, `(k, count)`; `(1, count)` for one that all share."""
    values = metadata.extra.get("per_slice", {}).get(keyword)
    values = [metadata.extra.get(keyword)] if values is None else values
    return None if values[0] is None else np.asarray(values, np.float64).reshape(len(values), -1)[:, :count]


def _as_suv(metadata: Metadata, record: SuvFactor) -> Metadata:
    normalizer = NORMS[record.norm]
    extra = {key: value for key, value in metadata.extra.items() if key not in _UNTRUE}
    if "per_slice" in extra:
        extra["per_slice"] = {key: value for key, value in extra["per_slice"].items() if key not in _UNTRUE}
    extra |= {"Units": normalizer.units, "SUVType": normalizer.suv_type, "suv": record.to_dict()}
    if record.decay_correction == "NONE":  # the factor corrected the decay since the injection
        extra |= {"DecayCorrection": "ADMIN", "CorrectedImage": [*_as_list(extra.get("CorrectedImage")), "DECY"]}
    display = {key: value for key, value in metadata.display.items() if key not in _UNTRUE}
    subtype = f"SUV{record.norm}"
    return metadata.replace(subtype=subtype, extra=extra, display=display)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] if value is not None else []
