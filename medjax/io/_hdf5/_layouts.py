"""The layouts of images in an HDF5 file: medjax's own, and two that other programs write."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medjax._errors import ImageFileError, TruncatedFileError, UnsupportedFileError
from medjax._geometry._grid import affine_from, check_affine
from medjax._image._kind import Kind
from medjax._image._metadata import Metadata
from medjax.io._hdf5._access import child, dtype_of, number_attribute, text_attribute

__all__ = ["LAYOUT", "Entry", "entry_of", "is_image", "stored_metadata"]

LAYOUT = 1


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image found in a file, voxels and metadata not yet read."""

    layout: str
    voxels: h5py.Dataset
    affine: np.ndarray
    kind: Kind
    metadata: Callable[[], Metadata | None]
    is_channel_last: bool = False  # dataset axes (k, j, i, channels) in place of (channels, k, j, i)


def is_image(member: h5py.Group | h5py.Dataset) -> bool:
    """Whether a group or dataset is an image in one of the known layouts."""
    if isinstance(member, h5py.Dataset):
        return all(h5py.h5a.exists(member.id, name) for name in (b"origin", b"spacing", b"direction"))
    return h5py.h5a.exists(member.id, b"medjax_layout") or all(_is_dataset(member, name) for name in _ITK)


def _is_dataset(group: h5py.Group, name: str) -> bool:
    """Whether a group holds a dataset of this name. An image may have that name, and links are not followed."""
    return isinstance(group.get(name, getlink=True), h5py.HardLink) and group.get(name, getclass=True) is h5py.Dataset


def entry_of(member: h5py.Group | h5py.Dataset, path: Path) -> Entry:
    """Reads the geometry of an image and finds its voxels."""
    if isinstance(member, h5py.Dataset):
        return _medimages_entry(member)
    return _own_entry(member, path) if h5py.h5a.exists(member.id, b"medjax_layout") else _itk_entry(member, path)


def _own_entry(group: h5py.Group, path: Path) -> Entry:
    layout = number_attribute(group, "medjax_layout")
    if layout is None or layout.shape != () or int(layout) != LAYOUT:
        stated = "" if layout is None else f" {layout.tolist()}"
        raise UnsupportedFileError(path, f"{group.name} has layout{stated}, known is {LAYOUT}", "update medjax")
    affine, kind = number_attribute(group, "affine"), _image_kind(group)
    if affine is None or affine.shape != (4, 4) or kind is None:
        raise ImageFileError(
            path, f"{group.name} needs the attributes affine (4 x 4) and kind ('intensity' or 'label')"
        )
    voxels = _dataset(group, "voxels", path)
    return Entry("medjax", voxels, check_affine(affine), kind, lambda: _own_metadata(group, path))


def _image_kind(group: h5py.Group) -> Kind | None:
    kinds: dict[str | None, Kind] = {"intensity": "intensity", "label": "label"}
    return kinds.get(text_attribute(group, "kind"))


def _dataset(group: h5py.Group, name: str, path: Path) -> h5py.Dataset:
    dataset = child(group, name, path)
    if not isinstance(dataset, h5py.Dataset):
        raise ImageFileError(path, f"{group.name} lacks the dataset {name}")
    return dataset


def _own_metadata(group: h5py.Group, path: Path) -> Metadata | None:
    if "metadata" not in group:
        return None
    metadata = Metadata.from_json(_stored_text(_dataset(group, "metadata", path), path))
    for name in _TEXT_FIELDS:
        if not isinstance(getattr(metadata, name), str | None):
            raise ValueError(f"metadata field {name} is not text")
    return metadata


_TEXT_FIELDS = (
    "modality", "subtype", "patient_id", "patient_uid", "study_uid", "series_uid", "study_description", "source",
)  # fmt: skip


def stored_metadata(metadata: Any, path: Path) -> np.ndarray | None:
    """The metadata as one fixed-length string, for a dataset, which may be longer than an attribute's 64 KiB.

    Raises:
        UnsupportedFileError: the metadata hold a value that JSON cannot.
    """
    if not isinstance(metadata, Metadata):
        return None
    try:
        return np.array(metadata.to_json().encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsupportedFileError(
            path,
            f"the metadata hold a value that cannot be saved: {error}",
            "keep to text, numbers, booleans, None, lists and dicts with text keys",
        ) from error


def _stored_text(dataset: h5py.Dataset, path: Path) -> str:
    kind = dataset.id.get_type()
    if kind.get_class() != h5py.h5t.STRING or kind.is_variable_str() or dataset.id.shape != ():
        raise ValueError(f"{dataset.name} is not one fixed-length string")
    size, offset = kind.get_size(), dataset.id.get_offset()
    if dataset.id.get_create_plist().get_external_count():
        raise UnsupportedFileError(path, f"{dataset.name} lies in another file; links are not followed")
    if offset is None or offset + size > dataset.file.id.get_filesize():
        raise TruncatedFileError(path, f"{dataset.name} needs {size} bytes; the file does not hold them")
    value = np.zeros((), f"S{size}")
    dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, value, mtype=kind)
    return bytes(value[()]).decode()


def _numbers_of(owner: h5py.Dataset, name: str, count: int) -> np.ndarray:
    values = number_attribute(owner, name)
    if values is None or values.size != count:
        raise ValueError(f"{owner.name} needs {count} numbers in the attribute {name}")
    return values.reshape(count)


# MedImages.jl, src/HDF5_manag.jl and src/MedImage_data_struct.jl at c18e140: the values of its enumerations, from 0.
_MODALITIES = ("MR", "PT", "CT")
_SUBTYPES = ("CT", "ADC", "DWI", "T1", "T2", "FLAIR", "FDG", "PSMA")
# Placeholders that MedImages.jl writes for unknown values.
_PLACEHOLDERS = ("", "test_id")


def _medimages_entry(dataset: h5py.Dataset) -> Entry:
    """A dataset of MedImages.jl. Julia's axes (i, j, k) are HDF5's reversed; the geometry is SimpleITK's, in LPS."""
    origin, spacing = _numbers_of(dataset, "origin", 3), _numbers_of(dataset, "spacing", 3)
    affine = affine_from(spacing, origin, _numbers_of(dataset, "direction", 9).reshape(3, 3))
    return Entry("MedImages.jl", dataset, affine, "intensity", lambda: _medimages_metadata(dataset))


def _medimages_metadata(dataset: h5py.Dataset) -> Metadata:
    def text(name: str) -> str | None:
        value = (text_attribute(dataset, name) or "").strip()
        return None if value in _PLACEHOLDERS else value

    def choice(name: str, names: tuple[str, ...]) -> str | None:
        value = number_attribute(dataset, name)
        return names[int(value)] if value is not None and value.shape == () and 0 <= value < len(names) else None

    def mapping(name: str) -> dict[str, Any]:
        return dict(json.loads(text(name) or "{}"))

    contrast = number_attribute(dataset, "is_contrast_administered")
    saved = {"date_of_saving": text("date_of_saving")} if text("date_of_saving") else {}
    return Metadata(
        modality=choice("image_type", _MODALITIES),
        subtype=choice("image_subtype", _SUBTYPES),
        patient_id=text("patient_id"),
        patient_uid=text("patient_uid"),
        study_uid=text("study_uid"),
        series_uid=text("series_uid"),
        study_description=text("study_description"),
        acquisition_time=_time(text("acquistion_time")),  # its spelling
        source=text("legacy_file_name"),
        is_contrast_administered=None if contrast is None else bool(contrast.any()),
        display=mapping("display_data"),
        clinical=mapping("clinical_data"),
        extra=saved | mapping("metadata"),
    )


def _time(text: str | None) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


# ITK's HDF5ImageIO (Modules/IO/HDF5/src/itkHDF5ImageIO.cxx): /ITKImage/0 with these datasets; the rows of Directions
# are the directions of the index axes, and components trail.
_ITK = ("Dimension", "Directions", "Origin", "Spacing", "VoxelData")


def _itk_entry(group: h5py.Group, path: Path) -> Entry:
    size, turn, origin, spacing = (_small(_dataset(group, name, path)) for name in _ITK[:4])
    if size.shape != (3,) or turn.shape != (3, 3):
        raise UnsupportedFileError(
            path, f"{group.name} has {size.size} axes; ITK's HDF5 images are read where they have 3"
        )
    voxels = _dataset(group, "VoxelData", path)
    if voxels.id.shape is None or voxels.id.shape[:3] != tuple(int(n) for n in size[::-1]):
        raise ImageFileError(path, f"{voxels.name} has shape {voxels.id.shape}, Dimension says {size.tolist()}")
    affine = affine_from(spacing, origin, turn.T)
    return Entry("ITK", voxels, affine, "intensity", lambda: None, is_channel_last=len(voxels.id.shape) > 3)


def _small(dataset: h5py.Dataset) -> np.ndarray:
    shape, properties = dataset.id.shape, dataset.id.get_create_plist()
    is_plain = (
        properties.get_layout() in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS) and not properties.get_external_count()
    )
    if not shape or int(np.prod(shape, dtype=object)) > 16 or not is_plain or dtype_of(dataset.id.get_type()) is None:
        raise ValueError(f"{dataset.name} is not a few numbers in this file")
    values = np.zeros(shape, np.float64)
    dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values, mtype=h5py.h5t.NATIVE_DOUBLE)
    return values
