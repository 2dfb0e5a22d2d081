"""A case: the images of one examination by role, read on use, with what the table says about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from medjax._image._image import Image
from medjax._image._metadata import Metadata
from medjax._lazy import public
from medjax.data._source import HeldSource, Source, at, shown
from medjax.patch._table import ClassTable

__all__ = ["Case", "Row", "case_of"]

if TYPE_CHECKING:
    _Images = Mapping[str, Image]
else:
    _Images = Mapping  # whoever checks types at run time would read a file to look at a mapping's first value


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A line of the table.

    Attributes:
        name: The case's name.
        patient: Whose it is.
        values: The other columns.
        sources: Where the image of each role comes from.
        where: The row and the case, as messages name them.
        is_checked: Whether headers of two patients within the case are an error.
    """

    name: str
    patient: str
    values: Mapping[str, Any]
    sources: Mapping[str, Source]
    where: str
    is_checked: bool = True


@public("medjax.data")
class Case(_Images):
    """The images of one examination by role, such as "ct" and "seg", and what the table says about it.

    A mapping: `case["ct"]` reads the image on first use and keeps it as long as the case is kept; `dict(case)` reads
    all. `prepare` functions receive a case, and return one or any other mapping of images.

    Example:
        >>> scan = mj.Image.from_array(np.zeros((4, 4, 4)), spacing=2.0)
        >>> case = mj.data.Case.of("p07_v1", {"ct": scan}, patient="p07", values={"age": 61})
        >>> case["ct"].spacing, case.patient, case.values["age"]
        ((2.0, 2.0, 2.0), 'p07', 61)
        >>> case.with_images({"ct": scan, "pet": scan})
        Case('p07_v1': ct, pet)
    """

    def __init__(self, row: Row):
        self._row = row
        self._read: dict[str, Image] = {}

    @staticmethod
    def of(
        name: str,
        images: Mapping[str, Image],
        *,
        patient: str | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> Case:
        """Makes a case of images in memory.

        Args:
            name: Its name.
            images: Images by role.
            patient: Whose it is. Default: the name.
            values: Whatever else is known about it.

        Raises:
            ValueError: something else than an image stands under a role.
        """
        for role, image in images.items():
            if not isinstance(image, Image):
                raise ValueError(f"case {name!r}, role {role!r}: must be an Image, got {type(image).__name__}")
        sources = {role: HeldSource(image) for role, image in images.items()}
        row = Row(name, name if patient is None else patient, dict(values or {}), sources, f"case {name!r}")
        return Case(row)

    @property
    def name(self) -> str:
        """The case's name, unique in its cohort."""
        return self._row.name

    @property
    def patient(self) -> str:
        """Whose case it is; the case's name where the table does not say."""
        return self._row.patient

    @property
    def values(self) -> Mapping[str, Any]:  # type: ignore[override]
        """The other columns of the table, by name; `items()` gives the images."""
        return MappingProxyType(dict(self._row.values))

    @property
    def sources(self) -> dict[str, str]:
        """The file, folder or store of each role."""
        return {role: source.place for role, source in self._row.sources.items()}

    @property
    def statistics(self) -> dict[str, Mapping[str, Any]]:
        """Statistics of a case from `cache` by role; roles that the cache does not know are missing.

        Of intensities "whole" and "foreground" (where the labels are not 0): count, min, max, mean, std and percentiles
        of the finite voxels. Of label images the number of voxels of each label.
        """
        known = {role: getattr(source, "known", source) for role, source in self._row.sources.items()}
        return {role: source.statistics for role, source in known.items() if hasattr(source, "statistics")}

    @property
    def class_table(self) -> ClassTable | None:
        """Of a case from `cache(..., classes=...)`: where the voxels of each class lie, for samplers of `mj.patch`."""
        for source in self._row.sources.values():
            known = getattr(source, "known", source)  # of an image in memory, where it was read from
            found = known.classes() if hasattr(known, "classes") else None
            if found is not None:
                return found
        return None

    def with_images(self, images: Mapping[str, Image]) -> Case:
        """Returns a case of the same name, patient and values with other images.

        Raises:
            ValueError: something else than an image stands under a role.
        """
        return Case.of(self.name, images, patient=self.patient, values=self.values)

    def __getitem__(self, role: str) -> Image:
        if role not in self._read:
            self._read[role] = self._load(role)
        return self._read[role]

    def _load(self, role: str) -> Image:
        row = self._row
        if role not in row.sources:
            hint = shown(role, row.sources)
            if role in row.values:
                hint = f"; it is the value {row.values[role]!r}: name it in kinds to read it as an image"
            raise KeyError(f"{row.where} has no role {role!r}{hint}")
        source = row.sources[role]
        try:
            image = source.load()
        except Exception as error:
            raise at(f"{row.where}, role {role!r} ({source.place})", error) from error
        if row.is_checked:
            self._check_patient(role, image)
        return image

    def _check_patient(self, role: str, image: Image) -> None:
        """Refuses images whose headers name different patients; the message names neither."""
        for other, known in self._read.items():
            if _patient_of(known) and _patient_of(image) and _patient_of(known) != _patient_of(image):
                sources = self._row.sources
                raise ValueError(
                    f"{self._row.where}: the headers of role {other!r} ({sources[other].place}) and role {role!r} "
                    f"({sources[role].place}) name different patients; correct the row, or say check_patients=False if "
                    "they are one under two identifiers"
                )

    def __iter__(self) -> Iterator[str]:
        return iter(self._row.sources)

    def __len__(self) -> int:
        return len(self._row.sources)

    def __contains__(self, role: object) -> bool:
        return role in self._row.sources

    def __eq__(self, other: object) -> bool:
        return self is other  # a mapping's own comparison would read all voxels

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Case({self.name!r}: {', '.join(self) or 'no images'})"


def case_of(row: Row) -> Case:
    """The case of a row, nothing read yet."""
    return Case(row)


def _patient_of(image: Image) -> str | None:
    return image.metadata.patient_id if isinstance(image.metadata, Metadata) else None
