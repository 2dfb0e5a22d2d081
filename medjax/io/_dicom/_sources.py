"""The slices of the source that a derived slice was made from: references to them, and their per-slice values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medjax._image._metadata import Metadata
from medjax.io._dicom._carried import carried
from medjax.io._dicom._derived import is_per_slice, is_uid

__all__ = ["Sources"]


class Sources:
    """The source's slices, as the header in the metadata describes them.

    A derived slice refers to the source slices that linear interpolation at its voxels uses: to both if it lies between
    two parallel slices, to one if it lies on that one, and to all that it crosses otherwise.
    """

    def __init__(self, metadata: Metadata, path: Path):
        self.extra, self.path = metadata.extra, path
        self.per_slice: dict[str, Any] = dict(metadata.extra.get("per_slice") or {})
        self.positions = self._table("ImagePositionPatient", 3)
        self.normal = self._normal()
        self.reach = self._reach()

    def references(self, corners: np.ndarray) -> dict[str, list[Dataset]]:
        """Source Image Sequence and Referenced Series Sequence (PS3.3 sections C.7.6.1.1.4 and C.12.2) of a slice.

        Args:
            corners: World positions of the slice's corner voxels, `(4, 3)` LPS mm.
        """
        instances = list(dict.fromkeys(item for slice_ in self._near(corners) for item in self._instances(slice_)))
        series = str(self.extra.get("SeriesInstanceUID"))
        if not instances or not is_uid(series):
            return {}
        sources = [_reference(*instance) for instance in instances]
        for source in sources:
            source.PurposeOfReferenceCodeSequence = [_purpose()]
        referenced = Dataset()
        referenced.SeriesInstanceUID = series
        referenced.ReferencedInstanceSequence = [_reference(*instance) for instance in instances]
        return {"SourceImageSequence": sources, "ReferencedSeriesSequence": [referenced]}

    def values(self, corners: np.ndarray, keywords: Sequence[str]) -> Dataset:
        """The values that the source slice nearest to the slice's middle has for these keywords."""
        listed = [key for key in keywords if self._is_flat(key)]
        if not listed or self.positions is None or self.normal is None:
            return Dataset()
        nearest = int(np.abs(self.positions @ self.normal - corners.mean(axis=0) @ self.normal).argmin())
        return carried({key: self.per_slice[key][nearest] for key in listed}, listed, self.path)

    def _near(self, corners: np.ndarray) -> list[int]:
        if self.positions is None or self.normal is None:
            return []
        depths, span = self.positions @ self.normal, corners @ self.normal
        return np.flatnonzero((depths > span.min() - self.reach) & (depths < span.max() + self.reach)).tolist()

    def _instances(self, slice_: int) -> list[tuple[str, str]]:
        """SOP class and instance of a source slice, one pair for each volume that the header lists."""
        instance, kind = self._at("SOPInstanceUID", slice_), self._at("SOPClassUID", slice_)
        instances = instance if isinstance(instance, list) else [instance]
        kinds = kind if isinstance(kind, list) else [kind] * len(instances)
        pairs = [(str(k), str(i)) for k, i in zip(kinds, instances, strict=False)]
        return [pair for pair in pairs if all(is_uid(uid) for uid in pair)]

    def _at(self, keyword: str, slice_: int) -> Any:
        values = self.per_slice.get(keyword)
        if isinstance(values, list) and slice_ < len(values):
            return values[slice_]
        return self.extra.get(keyword)

    def _is_flat(self, keyword: str) -> bool:
        """Whether there is one value per slice, and not one for each of several volumes."""
        values = self.per_slice.get(keyword)
        if values is None or self.positions is None:
            return False
        return is_per_slice(values) and len(values) == len(self.positions)

    def _table(self, keyword: str, count: int) -> np.ndarray | None:
        """The numbers of each slice, `(n, count)`. Of several volumes the first counts."""
        values = self.per_slice.get(keyword)
        rows = [self.extra.get(keyword)] if values is None else values
        try:
            first = [row[0] if isinstance(row, list) and row and isinstance(row[0], list) else row for row in rows]
            table = np.array(first, np.float64)
        except (TypeError, ValueError):
            return None
        return table if table.shape[1:] == (count,) and np.isfinite(table).all() else None

    def _reach(self) -> float:
        """The distance in mm up to which a source slice counts.

        It is less than a step, so a derived slice on a source slice refers to that one alone. The 2 % are more than
        real slices stray from an even grid.
        """
        if self.positions is None or self.normal is None:
            return 0.0
        steps = np.diff(np.unique(np.round(self.positions @ self.normal, 3)))
        return 0.98 * float(np.median(steps)) if steps.size else 1.0

    def _normal(self) -> np.ndarray | None:
        table = self._table("ImageOrientationPatient", 6)
        return None if table is None else np.cross(table[0, :3], table[0, 3:])


def _reference(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


def _purpose() -> Dataset:
    """Source image for image processing operation, PS3.16 CID 7202."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "121322", "DCM"
    item.CodeMeaning = "Source image for image processing operation"
    return item
