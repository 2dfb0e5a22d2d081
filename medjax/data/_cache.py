"""The cache: each case prepared once, found again by what it was made of, and rebuilt when that has changed."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from medjax._geometry._numbers import is_traced
from medjax._geometry._types import PathLike
from medjax._image._image import Image
from medjax._space._buckets import shape_buckets
from medjax._version import __version__
from medjax.data._case import Case, Row, case_of
from medjax.data._cohort import Cohort, rows_in
from medjax.data._entry import StoredSource, claimed, entry_bytes, has_room, read_entry, write_entry
from medjax.data._fingerprint import UnknownCodeError, fingerprint
from medjax.data._report import CacheReport
from medjax.data._source import Identity, at, shown
from medjax.io._disk._progress import progress as drawn

__all__ = ["cache"]

Prepare = Callable[[Case], Mapping[str, Image]]


def cache(
    cohort: Cohort,
    folder: PathLike,
    prepare: Prepare | None = None,
    *,
    version: str = "1",
    classes: str | None = None,
    by: Identity = "stat",
    on_error: Literal["raise", "skip"] = "raise",
    threads: int = 1,
    progress: bool = True,
) -> Cohort:
    """Prepares every case once and keeps the result, uncompressed, in a folder; later calls find it there.

    The entry of a case is found by a hash over its files (path, size and time of change), its name, patient and values,
    the code of `prepare` with all that it uses, `version`, `classes` and medjax's version. Whatever changes, the case
    is prepared anew; entries are never reused by name. Old ones stay until you delete them.

    Voxels keep their dtype and are mapped into memory, so that a patch reads its own pages alone and all processes
    share them. Affines are kept to the last bit, metadata as they are, so **a cache holds the identity of patients if
    the files do**. Several processes may fill one folder. A kill leaves no half entry.

    Args:
        cohort: The cases.
        folder: The cache. It is made if it is not there.
        prepare: Takes a `Case`, returns a case or a mapping from role to `Image`: any function with one result for one
            input. It runs under `shape_buckets`. Default: images as they are. What passes a `jit` of yours has lost its
            metadata; `keep_metadata` keeps them.
        version: A text to change when `prepare` does something new that its code does not show.
        classes: The role of the labels of which a class table is made (`mj.patch.class_table`), for `foreground=` of
            samplers.
        by: "stat", or "content", which hashes the bytes of all files: slower, and right where folders are moved.
        on_error: "raise", or "skip": cases that fail are left out, and `cohort.report.skipped` says why.
        threads: How many cases are prepared at a time. More than 1 helps where reading takes the time.
        progress: Draw a line on a terminal.

    Returns:
        A cohort of the prepared cases, with `.report`.

    Raises:
        ValueError: `prepare` returns something else than single images, a file changes while it is read, no case
            has the role `classes`, or an argument is wrong. The message names the row.
        ImageFileError: a file is damaged; the message names row, case and role.

    Warns:
        UserWarning: the code of `prepare` cannot be told, so `version` alone says whether entries are stale.

    Example:
        >>> import tempfile
        >>> scan = mj.Image.from_array(np.arange(64, dtype=np.int16).reshape(4, 4, 4), spacing=2.0)
        >>> cohort = mj.data.Cohort.of([{"case": "a", "ct": scan}])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = mj.data.cache(cohort, folder, lambda case: {"ct": mj.clip(case["ct"], 0, 40)})
        ...     again = mj.data.cache(cohort, folder, lambda case: {"ct": mj.clip(case["ct"], 0, 40)})
        ...     other = mj.data.cache(cohort, folder, lambda case: {"ct": mj.clip(case["ct"], 0, 50)})
        ...     [len(c.report.built) for c in (first, again, other)], float(other[0]["ct"].voxels.max())
        ([1, 0, 1], 50.0)
    """
    rows, target = rows_in(cohort), Path(folder)
    _check(version, classes, by, on_error, threads)
    has_room(target)
    target = target.resolve()
    recipe = {
        "format": 2,
        "medjax": ".".join(__version__.split(".")[:2]),
        "x64": bool(jax.dtypes.canonicalize_dtype(np.int64) == np.int64),
        "version": version,
        "prepare": _fingerprint(prepare, version),
        "classes": classes,
    }
    plan = _Plan(target, recipe, prepare, classes, by)
    found: dict[str, Any] = {}
    with concurrent.futures.ThreadPoolExecutor(threads) as pool, shape_buckets():
        for wait in (False, True):  # what other processes are at work on comes last
            left = [row for row in rows if found.get(row.name) is None]
            results = pool.map(functools.partial(_attempt, plan, wait=wait, on_error=on_error), left)
            shown_results = drawn(results, len(left), "Preparing", fewest=1) if progress and left else results
            try:
                found.update(zip((row.name for row in left), shown_results, strict=True))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return _cohort(plan, rows, found)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What all cases share."""

    folder: Path
    recipe: Mapping[str, Any]
    prepare: Prepare | None
    classes: str | None
    by: Identity


@dataclasses.dataclass(frozen=True)
class _Entry:
    key: str
    images: Mapping[str, StoredSource]
    seconds: float | None  # `None` where it was there


def _check(version: Any, classes: Any, by: Any, on_error: Any, threads: Any) -> None:
    if not isinstance(version, str):
        raise ValueError(f"version must be a text, got {version!r}")
    if classes is not None and not isinstance(classes, str):
        raise ValueError(f"classes must be the role of a label image, got {classes!r}")
    if by not in ("stat", "content"):
        raise ValueError(f"by must be 'stat' or 'content', got {by!r}")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a whole number of at least 1, got {threads!r}")


def _fingerprint(prepare: Prepare | None, version: str) -> str | None:
    if prepare is None:
        return None
    if not callable(prepare):
        raise ValueError(f"prepare must be a function of a case, got {type(prepare).__name__}")
    try:
        return fingerprint(prepare)
    except UnknownCodeError as error:
        warnings.warn(
            f"what prepare does cannot be told: {error}. Only version={version!r} says whether entries are stale: "
            "change it whenever prepare changes",
            UserWarning,
            stacklevel=3,
        )
        return "unknown"


def _attempt(plan: _Plan, row: Row, wait: bool, on_error: str) -> _Entry | str | None:
    """The entry of a row, the reason why there is none, or `None` where another process is at work on it."""
    try:
        return _entry(plan, row, wait)
    except Exception as error:
        if on_error == "raise":
            raise
        return f"{type(error).__name__}: {error}"


def _entry(plan: _Plan, row: Row, wait: bool) -> _Entry | None:
    key = _key(plan, row)
    entry = plan.folder / key
    known = read_entry(entry)
    if known is not None:
        return _Entry(key, known, None)
    with claimed(plan.folder, key, wait=wait) as is_mine:
        if not is_mine:
            return None
        known = read_entry(entry)  # it may have come while this waited
        if known is not None:
            return _Entry(key, known, None)
        start = time.perf_counter()
        images = _prepared(plan, row)
        if _key(plan, row) != key:
            raise ValueError(
                f"{row.where}: its files changed while they were read; call cache again when they are whole"
            )
        info = {"case": row.name, "sources": {role: source.place for role, source in row.sources.items()}}
        write_entry(plan.folder, key, images, plan.classes, info | {"recipe": dict(plan.recipe)})
        known = read_entry(entry)
    if known is None:
        raise OSError(f"{row.where}: the entry {entry} could not be written whole; is the disk full?")
    return _Entry(key, known, time.perf_counter() - start)


def _key(plan: _Plan, row: Row) -> str:
    """The hash of all that an entry depends on."""
    sources = {}
    for role, source in sorted(row.sources.items()):
        try:
            sources[role] = [getattr(source, "kind", None), *source.identity(plan.by)]
        except OSError as error:
            raise at(f"{row.where}, role {role!r}", error) from error
    values = {name: repr(value) for name, value in sorted(row.values.items())}
    text = json.dumps([plan.recipe, plan.by, row.name, row.patient, values, sources], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _prepared(plan: _Plan, row: Row) -> dict[str, Image]:
    case = case_of(row)
    try:
        result: Any = case if plan.prepare is None else plan.prepare(case)
    except Exception as error:
        if row.where in str(error):
            raise
        raise at(f"{row.where}, in prepare", error) from error
    if not isinstance(result, Mapping):
        raise ValueError(
            f"{row.where}: prepare must return a case or a mapping from role to Image, got {type(result).__name__}"
        )
    images = {}
    for role, image in result.items():
        if not isinstance(role, str) or not isinstance(image, Image):
            raise ValueError(
                f"{row.where}: prepare returned {type(image).__name__} under {role!r}; it must be an Image"
            )
        if image.batch_shape or is_traced(image.voxels) or is_traced(image.affine):
            raise ValueError(f"{row.where}, role {role!r}: prepare must return single, concrete images, got {image!r}")
        images[role] = Image(np.asarray(image.voxels), np.asarray(image.affine, np.float64), image.kind, image.metadata)
    if not images:
        raise ValueError(f"{row.where}: prepare returned no image")
    labels = images.get(plan.classes) if plan.classes is not None else None
    if labels is not None and (labels.kind != "label" or labels.channels):
        raise ValueError(
            f"{row.where}, role {plan.classes!r}: classes must be labels without channels, got {labels!r}; say "
            f"kinds={{{plan.classes!r}: 'label'}}"
        )
    return images


def _cohort(plan: _Plan, rows: tuple[Row, ...], found: Mapping[str, Any]) -> Cohort:
    skipped = {name: entry for name, entry in found.items() if isinstance(entry, str)}
    entries = {name: entry for name, entry in found.items() if not isinstance(entry, str)}
    if not entries:
        raise ValueError(f"no case could be prepared; the first: {next(iter(skipped.values()))}")
    roles = dict.fromkeys(role for entry in entries.values() for role in entry.images)
    if plan.classes is not None and plan.classes not in roles:
        raise ValueError(f"classes names {plan.classes!r}, which no prepared case has{shown(plan.classes, roles)}")
    kept = [dataclasses.replace(row, sources=entries[row.name].images) for row in rows if row.name in entries]
    report = CacheReport(
        folder=str(plan.folder),
        kept=tuple(row.name for row in kept if entries[row.name].seconds is None),
        built={row.name: entries[row.name].seconds for row in kept if entries[row.name].seconds is not None},
        skipped=skipped,
        n_bytes=sum(entry_bytes(plan.folder / entry.key) for entry in entries.values()),
    )
    return Cohort(kept, report)
