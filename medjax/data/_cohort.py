"""The one table of cases: rows of images by role, from a list, a CSV file, folders, DICOM trees, BIDS or HDF5."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from medjax._geometry._types import PathLike
from medjax._lazy import public
from medjax.data._bids import lines_of_bids
from medjax.data._case import Case, Row, case_of
from medjax.data._folder import existing_folder, lines_of_folder
from medjax.data._manifest import lines_of_manifest
from medjax.data._report import CacheReport
from medjax.data._rows import Kinds, Line, lines_of, rows_of
from medjax.data._source import HeldSource, shown
from medjax.data._studies import lines_of_dicom, lines_of_store

__all__ = ["Cohort", "rows_in"]


@public("medjax.data")
class Cohort:
    """Cases of one table, each with images by role; nothing is read before it is used.

    `len(cohort)`; `cohort[3]` and `cohort["p07_v1"]` are a `Case`; `cohort[10:20]` and `cohort[[4, 7]]` are a cohort; a
    loop gives the cases. Every file must be there when the cohort is made.

    `Cohort.of(...)` and `Cohort.from_...` make one and check it. Common to them: `kinds` says what the column of a name
    holds, "intensity" or "label" images (`None`: as the file says) or, as "value", none. Columns that it does not name
    hold images if one of their cells ends as a file of images or as a folder (`/`), or is a path object, a tuple or an
    `Image`. Other columns are carried through. Images whose headers name different patients within a case are an error
    when they are read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = mj.datasets.cohort(2, f"{folder}/made", seed=0, spacing=16.0)
        ...     cohort = mj.data.Cohort.from_csv(path, kinds={"seg": "label"})
        ...     cohort, cohort[1].patient, cohort[1]["seg"].kind, cohort[1].values["lesions"]
        (Cohort(2 cases of 2 patients: ct, pet, seg), 'p001', 'label', '4')
    """

    def __init__(self, rows: Sequence[Row], report: CacheReport | None = None):
        self._rows = tuple(rows)
        self._report = report

    @staticmethod
    def of(
        rows: Iterable[Mapping[str, Any]],
        *,
        kinds: Kinds | None = None,
        modality: Mapping[str, str] | None = None,
        check_patients: bool = True,
    ) -> Cohort:
        """Makes a cohort of rows.

        Args:
            rows: Dicts. `case` is the name, of letters, digits, ".", "_" and "-", each once; `patient` whose it is, by
                default the case's name. A role holds a path, `("file.h5", "group", "name")`, an `Image`, or nothing;
                `role#series` the UID of one of several series in the role's folder. Whatever else there is must be a
                text or a number.
            kinds: "intensity", "label" or "value" by column; see `Cohort`.
            modality: Modalities by role, where files cannot state them.
            check_patients: Whether headers of two patients within a case are an error.

        Raises:
            ValueError: there is no row, a name is missing, wrong or there twice, a role or kind is unknown, or a cell
                is wrong. The message says which row, and what to do.
            FileNotFoundError: a file is missing.

        Example:
            >>> scan = mj.Image.from_array(np.zeros((4, 4, 4)))
            >>> cohort = mj.data.Cohort.of([{"case": "a", "ct": scan, "age": 61}, {"case": "b", "ct": scan}], kinds={})
            >>> len(cohort), cohort.names, cohort[0].values["age"]
            (2, ('a', 'b'), 61)
        """
        return Cohort(rows_of(list(lines_of(rows)), kinds, modality, check_patients=check_patients))

    @staticmethod
    def from_csv(
        path: PathLike,
        *,
        kinds: Kinds | None = None,
        modality: Mapping[str, str] | None = None,
        check_patients: bool = True,
    ) -> Cohort:
        """Reads a manifest: a CSV file in UTF-8 whose first line names the columns, as `Cohort.of` has them.

        Paths are relative to the manifest. An empty cell says that the case has no such image. Other columns are texts.

        Args:
            path: The manifest.
            kinds: "intensity", "label" or "value" by column; see `Cohort`.
            modality: Modalities by role, where files cannot state them.
            check_patients: Whether headers of two patients within a case are an error.

        Raises:
            ValueError: the file is no such manifest, or as `Cohort.of`; the message says which line.
            FileNotFoundError: the manifest or a file that it names is missing.
        """
        manifest = Path(path)
        lines = lines_of_manifest(manifest)
        if not lines:
            raise ValueError(f"{manifest}: the cohort is empty, the file has a header and no row")
        folder = existing_folder(manifest.parent)
        return Cohort(rows_of(lines, kinds, modality, folder, check_patients=check_patients))

    @staticmethod
    def from_folder(
        root: PathLike,
        *,
        kinds: Kinds | None = None,
        optional: Iterable[str] = (),
        check_patients: bool = True,
        **patterns: str,
    ) -> Cohort:
        """Finds cases by patterns of their files: `from_folder("data", ct="*/ct.nii.gz", seg="*/seg.nii.gz")`.

        Files of one case have the same text in the place of the star. `{case}` marks the name where there are several
        stars; else these are joined by "_". `{patient}` and other fields become columns, as in
        `"{patient}/{visit}/ct.nii.gz"`.

        Args:
            root: The folder.
            kinds: "intensity" or "label" by role.
            optional: Roles that a case may lack.
            check_patients: Whether headers of two patients within a case are an error.
            **patterns: A path below the folder for each role, files or DICOM folders.

        Raises:
            ValueError: a pattern is none, it matches nothing or two files of one case, or a case lacks a role.
            FileNotFoundError: there is no such folder.
        """
        folder = existing_folder(root)
        return _found(lines_of_folder(folder, patterns, optional), patterns, kinds, check_patients)

    @staticmethod
    def from_dicom(
        root: PathLike,
        *,
        by: str = "StudyInstanceUID",
        roles: Mapping[str, str | Callable[[Any], bool]] | None = None,
        kinds: Kinds | None = None,
        optional: Iterable[str] = (),
        check_patients: bool = True,
    ) -> Cohort:
        """Finds the studies in a tree of DICOM files: a case each, named by its UID, the patient by Patient ID.

        Args:
            root: The folder.
            by: DICOM keyword of what makes a case.
            roles: The modality of each role, or a function that says of an `io.DicomSeries` whether it is the one.
                Default: a role for each modality, in small letters ("ct", "mr", "seg"), "pet" for PT and "dose" for
                RTDOSE.
            kinds: "intensity" or "label" by role.
            optional: Roles that a case may lack; of the default roles any.
            check_patients: Whether headers of two patients within a case are an error.

        Raises:
            ValueError: there is no series, two of a study have one role, a case lacks a role, or `by` is missing
            somewhere.
            FileNotFoundError: there is no such folder.
            ImageFileError: a DICOM file is damaged.
        """
        folder = existing_folder(root)
        lines = lines_of_dicom(folder, by, roles or {}, optional)
        named = [column for _, cells in lines for column in cells if f"{column}#series" in cells]
        return _found(lines, dict.fromkeys(named), kinds, check_patients)

    @staticmethod
    def from_bids(
        root: PathLike,
        *,
        kinds: Kinds | None = None,
        optional: Iterable[str] = (),
        check_patients: bool = True,
        **scans: str,
    ) -> Cohort:
        """Finds the sessions in a BIDS dataset: `from_bids("data", mr="T1w",
        seg="derivatives/lesions/desc-lesion_mask")`.

        A case is a session, "sub-01_ses-2", or a subject without sessions. `patient` is the subject, `session` the
        session; columns of participants.tsv are carried through.

        Args:
            root: The dataset.
            kinds: "intensity" or "label" by role.
            optional: Roles that a case may lack.
            check_patients: Whether headers of two patients within a case are an error.
            **scans: The suffix of each role, with entities before it where these are needed ("acq-high_run-1_T1w"), and
                the folder before that where it lies below the dataset's own.

        Raises:
            ValueError: a scan's name is none, there is no such scan or there are two in a session, or a case lacks a
            role.
            FileNotFoundError: there is no such folder.
        """
        folder = existing_folder(root)
        return _found(lines_of_bids(folder, scans, optional), scans, kinds, check_patients)

    @staticmethod
    def from_hdf5(
        file: PathLike,
        *,
        kinds: Kinds | None = None,
        optional: Iterable[str] = (),
        check_patients: bool = True,
        **names: str,
    ) -> Cohort:
        """Finds cases in an HDF5 store, one for each group: `from_hdf5("store.h5", ct="CT", seg="SEG")`.

        Args:
            file: The store.
            kinds: "intensity" or "label" by role, where the store's own kind is not meant.
            optional: Roles that a case may lack.
            check_patients: Whether headers of two patients within a case are an error.
            **names: The image's name in its group, by role.

        Raises:
            ValueError: no group has an image of a name, a group lacks one, or its name cannot be a case's.
            FileNotFoundError: there is no such file.
            ImageFileError: the file is damaged.
        """
        path = Path(file).resolve()
        if not path.is_file():
            raise FileNotFoundError(f"there is no HDF5 file {str(file)!r}")
        return _found(lines_of_store(path, names, optional), names, kinds, check_patients)

    @property
    def names(self) -> tuple[str, ...]:
        """The cases' names."""
        return tuple(row.name for row in self._rows)

    @property
    def patients(self) -> tuple[str, ...]:
        """Whose each case is."""
        return tuple(row.patient for row in self._rows)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that any case has."""
        return tuple(dict.fromkeys(role for row in self._rows for role in row.sources))

    @property
    def report(self) -> CacheReport:
        """What the cache kept, built and left out.

        Raises:
            AttributeError: the cohort comes from no cache.
        """
        if self._report is None:
            raise AttributeError("this cohort comes from no cache: mj.data.cache(...) returns one with a report")
        return self._report

    def in_memory(self) -> Cohort:
        """Reads all images, so that the cohort no longer depends on files; what the cache knows of them stays known."""
        rows = []
        for row in self._rows:
            images = dict(case_of(row))
            held = {role: _held(row.sources[role], image) for role, image in images.items()}
            rows.append(dataclasses.replace(row, sources=held))
        return Cohort(rows, self._report)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, which: int | np.integer | str) -> Case: ...
    @overload
    def __getitem__(self, which: slice | list[int] | list[str] | tuple[str, ...] | np.ndarray) -> Cohort: ...
    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return Cohort(self._rows[which], self._report)
        if isinstance(which, str):
            return case_of(self._named(which))
        if isinstance(which, int | np.integer) and not isinstance(which, bool):
            number = int(which)
            if not -len(self) <= number < len(self):
                raise IndexError(f"the cohort has {len(self)} cases, there is no case {number}")
            return case_of(self._rows[number])
        if isinstance(which, bool) or not isinstance(which, Iterable):
            raise TypeError(f"a cohort takes a number, a name, a slice or a list of them, got {type(which).__name__}")
        chosen = [self._named(one) if isinstance(one, str) else self._rows[int(one)] for one in which]
        return Cohort(chosen, self._report)

    def __iter__(self) -> Iterator[Case]:
        return map(case_of, self._rows)

    def _named(self, name: str) -> Row:
        found = next((row for row in self._rows if row.name == name), None)
        if found is None:
            raise KeyError(f"the cohort has no case {name!r}{shown(name, self.names)}")
        return found

    def __repr__(self) -> str:
        cases, patients = len(self), len(set(self.patients))
        counted = f"{cases} case{'s' * (cases != 1)} of {patients} patient{'s' * (patients != 1)}"
        return f"Cohort({counted}: {', '.join(self.roles) or 'no images'})"


def rows_in(cohort: Cohort) -> tuple[Row, ...]:
    """The rows of a cohort.

    Raises:
        ValueError: it is none, or empty.
    """
    if not isinstance(cohort, Cohort):
        raise ValueError(
            f"cohort must be a Cohort, got {type(cohort).__name__}; Cohort.of makes one of a list of dicts"
        )
    if not cohort._rows:
        raise ValueError("the cohort is empty: it needs at least one case")
    return cohort._rows


def _found(lines: list[Line], roles: Mapping[str, Any], kinds: Kinds | None, check_patients: bool) -> Cohort:
    for role in kinds or {}:
        if role not in roles:
            raise ValueError(f"kinds names the role {role!r}, which is not asked for{shown(role, roles)}")
    return Cohort(rows_of(lines, {**dict.fromkeys(roles), **(kinds or {})}, check_patients=check_patients))


def _held(source: Any, image: Any) -> Any:
    return source.held(image) if hasattr(source, "held") else HeldSource(image, source.place)
