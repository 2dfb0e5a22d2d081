"""Inputs and outputs: names expanded, outputs planned, and every conflict found before anything is read."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medjax._cli._failure import NO_OUTPUT, UNREADABLE, USAGE, Failure
from medjax._errors import printable
from medjax.io._formats import FORMATS, format_by_name

__all__ = ["Job", "check_writable", "inputs_of", "jobs_of", "one_input", "prepare", "refuse_conflicts", "stem_of"]

_ENDINGS = sorted((suffix for fmt in FORMATS for suffix in fmt.suffixes), key=len, reverse=True)


class Job(NamedTuple):
    """An input and the output that is made of it."""

    input: str
    output: str


def inputs_of(given: Sequence[str], options: Any) -> list[str]:
    """The inputs of a command: as given, patterns expanded, and those of `--files-from`.

    Raises:
        Failure: there are none, a pattern finds none, the list cannot be read, or one is `-`.
    """
    found: list[str] = []
    for name in given:
        found += _expanded(name)
    if getattr(options, "files_from", None):
        found += _listed(options.files_from, is_null=options.null)
    if "-" in found:
        raise Failure(USAGE, "images do not go through pipes", "chain steps with medjax apply")
    if "" in found:
        raise Failure(USAGE, "the name of an input is empty")
    if not found:
        raise Failure(USAGE, "no input is given", "name files, folders of DICOM, or a list with --files-from")
    return found


def one_input(name: str) -> str:
    """A single input, no list: refuses what is no name."""
    return inputs_of([name], None)[0]


def _expanded(name: str) -> list[str]:
    if not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207, a pattern may be absolute
    if not found:
        raise Failure(UNREADABLE, f"{printable(name)}: no file has such a name")
    return found


def _listed(path: str, *, is_null: bool) -> list[str]:
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise Failure(UNREADABLE, f"{printable(path)}: {error.strerror}") from error
    names = content.split(b"\0") if is_null else content.splitlines()
    return [os.fsdecode(name) for name in names if name]


def stem_of(path: str) -> str:
    """The name of a file or folder without the ending of an image.

    Example:
        >>> stem_of("a/scan.01.nii.gz"), stem_of("a/series"), stem_of("x.NRRD")
        ('scan.01', 'series', 'x')
    """
    name = Path(path).absolute().name
    ending = next((one for one in _ENDINGS if name.lower().endswith(one) and len(name) > len(one)), "")
    return name[: len(name) - len(ending)]


def jobs_of(inputs: Sequence[str], options: Any, *, ending: str = ".nii.gz") -> list[Job]:
    """The outputs of inputs: `IN OUT`, or each by the pattern or folder of `-o`.

    Args:
        inputs: As given; without `-o` the last one is the output.
        options: Holds `output`.
        ending: Of outputs whose input's own format is not written.

    Raises:
        Failure: an output is missing, or its name says no format.
    """
    if options.output is None:
        if len(inputs) != 2:
            hint = "one input and one output, or inputs and -o with a folder"
            raise Failure(USAGE, f"{len(inputs)} names are given, without -o", hint)
        return [Job(inputs[0], _with_format(inputs[1]))]
    return [Job(path, _with_format(_named(path, options.output, len(inputs), ending))) for path in inputs]


def _named(path: str, pattern: str, count: int, ending: str) -> str:
    fields = {"stem": stem_of(path), "name": Path(path).absolute().name, "parent": Path(path).absolute().parent.name}
    if "{" in pattern:
        unknown = set(re.findall(r"\{([^{}]*)\}", pattern)) - set(fields)
        if unknown:
            raise Failure(USAGE, f"-o has {{{min(unknown)}}}", "it may have {stem}, {name} and {parent}")
        return re.sub(r"\{(\w+)\}", lambda match: fields[match[1]], pattern)
    is_folder = Path(pattern).is_dir() or pattern.endswith(("/", os.sep))
    if not is_folder and count == 1 and _writes(pattern):
        return pattern
    if not is_folder and _writes(pattern):
        raise Failure(USAGE, f"-o {printable(pattern)} is one file for {count} inputs", "name a folder, or use {stem}")
    keeps = _writes(path) and not Path(path).is_dir() and not _is_dicom(path)
    name = fields["name"] if keeps else fields["stem"] + ending
    return str(Path(pattern, name))


def _writes(path: str) -> bool:
    found = format_by_name(Path(path), FORMATS)
    return found is not None and found.is_written


def _is_dicom(path: str) -> bool:
    found = format_by_name(Path(path), FORMATS)
    return found is not None and found.name == "DICOM"


def _with_format(path: str) -> str:
    if not _writes(path):
        endings = ", ".join(suffix for fmt in FORMATS for suffix in fmt.suffixes[:2])
        raise Failure(USAGE, f"{printable(path)}: the name says no format to write", f"use one of {endings}")
    return path


def refuse_conflicts(jobs: Sequence[Job], options: Any, *, reads: Iterable[str] = ()) -> list[Job]:
    """Refuses outputs that are there, that are inputs, or that two inputs share; nothing has been read until now.

    Args:
        jobs: Inputs and outputs.
        options: Holds `force` and `skip_existing`.
        reads: Further files that are read and so must not be written.

    Returns:
        The jobs that are left to do.
    """
    read = {os.path.realpath(path) for path in [job.input for job in jobs] + list(reads)}
    taken: set[str] = set()
    left = []
    for job in jobs:
        real, shown = os.path.realpath(job.output), printable(job.output)
        if real in read:
            raise Failure(NO_OUTPUT, f"{shown}: is an input as well", "name another output")
        if real in taken:
            raise Failure(NO_OUTPUT, f"{shown}: would be written by two inputs", "use {stem} or {parent} in -o")
        taken.add(real)
        if os.path.lexists(job.output) and options.skip_existing:
            continue
        check_writable(job.output, force=options.force)
        left.append(job)
    return left


def check_writable(path: str, *, force: bool) -> None:
    """Refuses a file that is there, and one that could not be made."""
    shown = printable(path)
    if Path(path).is_dir():
        raise Failure(NO_OUTPUT, f"{shown}: is a folder", "name a file in it")
    if os.path.lexists(path):
        if not force:
            raise Failure(NO_OUTPUT, f"{shown}: exists already", "-f overwrites it")
        return
    folder = Path(path).absolute().parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise Failure(NO_OUTPUT, f"{shown}: cannot be written: {printable(str(folder))} takes no files")


def prepare(path: str) -> Path:
    """Makes the folder of an output."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(NO_OUTPUT, f"{printable(path)}: cannot be written: {error.strerror}") from error
    return target
