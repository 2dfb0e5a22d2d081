"""`medjax convert`: another format, without loss."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import USAGE, Failure, writing
from medjax._cli._files import Job, check_writable, inputs_of, jobs_of, prepare, refuse_conflicts
from medjax._cli._headers import header_of
from medjax._cli._talk import Talk, for_each
from medjax._errors import printable

__all__ = ["parser", "run"]


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line)
    made.add_argument("words", nargs="*", metavar="IN OUT", help="input and output; with -o inputs")
    made.takes_lists()
    made.takes_outputs()
    made.takes_json()
    made.add_argument(
        "--dtype", metavar="TYPE", help="type of the voxels, such as int16; refused where values would change"
    )
    made.add_argument("--kind", choices=("label", "intensity"), help="what the voxels are, where the file cannot say")
    made.add_argument("--series", metavar="UID|N", help="a series of a DICOM folder, by UID or by number")
    made.add_argument("--all", action="store_true", help="with -o FOLDER: every series of a DICOM folder")
    made.add_argument("--no-compress", action="store_true", help="write .nrrd, .mha and .h5 without compression")
    made.add_argument("--keep-identity", action="store_true", help="keep patient and study where the format holds them")
    return made


def run(options: Any, talk: Talk) -> int:
    dtype = _dtype(options.dtype)
    if options.all:
        return _every_series(inputs_of(options.words, options), dtype, options, talk)
    jobs = refuse_conflicts(jobs_of(inputs_of(options.words, options), options), options)
    if options.dry_run:
        return for_each(talk, jobs, lambda job: _outline(job, dtype, options, talk), lambda job: job.input)

    def convert(job: Job) -> None:
        _write(_loaded(job.input, options.series, dtype, options), job, options, talk)

    return for_each(talk, jobs, convert, lambda job: job.input, options.workers)


def _dtype(name: str | None) -> str | None:
    if name is None:
        return None
    from medjax._pipeline._forms import dtype

    try:
        return dtype([name])
    except ValueError as error:
        raise Failure(USAGE, f"--dtype must be {error}; got {name!r}") from None


def _outline(job: Job, dtype: str | None, options: Any, talk: Talk) -> None:
    header = header_of(job.input)
    found = dtype or str(header.dtype)
    if options.json:
        talk.json(
            "medjax.convert.plan/1", path=job.input, output=job.output, shape=list(header.grid.shape), dtype=found
        )
    else:
        shape = "x".join(map(str, [*header.grid.shape, *header.channels]))
        talk.out(f"{printable(job.input)}: {shape} {header.dtype} -> {found}  ->  {printable(job.output)}")


def _loaded(path: str, series: str | None, dtype: str | None, options: Any) -> Any:
    from medjax.io._open import load_image

    if series is None:
        return load_image(path, kind=options.kind, dtype=dtype)
    from medjax.io._dicom._series import load_dicom_series

    image = load_dicom_series(path, _uid(path, series))
    if options.kind is not None:
        image = image.with_kind(options.kind)
    return image if dtype is None else _exactly(image, dtype, path)


def _exactly(image: Any, dtype: str, path: str) -> Any:
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        voxels = np.asarray(image.voxels).astype(dtype)
    if not np.array_equal(voxels, image.voxels, equal_nan=True):
        raise ValueError(f"{path}: {image.dtype} voxels would change as {dtype}")
    return image.with_voxels(voxels)


def _uid(path: str, series: str) -> str:
    """The UID of a series that is named by it or by its number."""
    if "." in series or not series.isdigit():
        return series
    from medjax.io._dicom._list import list_dicom_series

    found = {one.uid for one in list_dicom_series(path) if one.number == int(series)}
    if len(found) != 1:
        hint = f"medjax info -r {printable(path)} lists them"
        raise Failure(USAGE, f"{printable(path)}: {len(found) or 'no'} series have the number {series}", hint)
    return found.pop()


def _write(image: Any, job: Job, options: Any, talk: Talk) -> None:
    from medjax.io._open import save_image

    if not options.keep_identity and image.metadata is not None:
        image = image.with_metadata(_anonymous(image.metadata))
    path = prepare(job.output)
    with writing(path):
        save_image(image, path, compress=not options.no_compress)
    if options.json:
        shape = [*image.shape, *image.channels]
        talk.json("medjax.convert/1", path=job.input, output=job.output, shape=shape, dtype=str(image.dtype))


def _anonymous(metadata: Any) -> Any:
    """The metadata without what names a person: fields, and attributes of the header."""
    from medjax._cli._identity import WITHHELD, withheld

    def kept(header: Any) -> Any:
        if isinstance(header, dict):
            return {name: kept(value) for name, value in header.items() if value != WITHHELD}
        return [kept(one) for one in header] if isinstance(header, list) else header

    return metadata.replace(
        patient_id=None,
        patient_uid=None,
        study_uid=None,
        series_uid=None,
        study_description=None,
        acquisition_time=None,
        source=None,
        clinical={},
        extra=kept(withheld(dict(metadata.extra))),
    )


def _every_series(paths: list[str], dtype: str | None, options: Any, talk: Talk) -> int:
    """Writes each series of folders to a file that is named after it."""
    if options.output is None or options.series is not None:
        raise Failure(USAGE, "--all writes every series to a folder", "give -o FOLDER, and no --series")
    from medjax.io._dicom._list import list_dicom_series

    jobs: list[tuple[Job, str]] = []
    taken: set[str] = set()
    for path in paths:
        for uid, series in {one.uid: one for one in list_dicom_series(path)}.items():
            parts = (series.modality, series.number, series.description)
            name = (
                "_".join(slug for slug in (_slug(str(part)) for part in parts if part is not None) if slug) or "series"
            )
            number, unique = 1, name
            while unique in taken:
                number, unique = number + 1, f"{name}_{number + 1}"
            taken.add(unique)
            jobs.append((Job(path, str(Path(options.output, f"{unique}.nii.gz"))), uid))
    left = []
    for job, uid in jobs:
        if not (options.skip_existing and os.path.lexists(job.output)):
            check_writable(job.output, force=options.force)
            left.append((job, uid))
    if options.dry_run:
        for job, _ in left:
            talk.out(f"{printable(job.input)}  ->  {printable(job.output)}")
        return 0
    return for_each(
        talk,
        left,
        lambda one: _write(_loaded(one[0].input, one[1], dtype, options), one[0], options, talk),
        lambda one: one[0].output,
    )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.")[:60]
