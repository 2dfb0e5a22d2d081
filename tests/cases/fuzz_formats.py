"""Opens damaged and hostile files of every format: each must load or raise medjax's own exception, soon, in little memory.

    python tests/cases/fuzz_formats.py --cases 20000 --seed 0 --format all

A case is made from (seed, format, number) alone, so `--format nrrd --first 137 --cases 1 --keep FOLDER` makes one again.
Cases run in a process of their own under a limit on its memory; one that hangs or dies costs that process, is reported,
and the next case goes on. A case fails where it

- raises anything but `ImageFileError` (and its subclasses), or warns of anything but `ImageFileWarning`;
- takes longer than `--seconds`, or more than `--megabytes` beyond what the process had;
- ends the process, prints to standard output, or leaves a file behind outside its folder.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

FORMATS = ("nifti", "mgh", "metaimage", "nrrd", "hdf5", "mrb", "dicom")


@dataclasses.dataclass(frozen=True)
class Limits:
    seconds: float = 10.0
    megabytes: int = 640


@dataclasses.dataclass(frozen=True)
class Result:
    format: str
    number: int
    outcome: str  # "loaded", the name of an ImageFileError class, or "FAILED"
    detail: str
    seconds: float
    megabytes: float


def make(format: str, seed: int, number: int, folder: Path) -> Path:
    """Writes the files of a case and returns what is to be opened."""
    from fuzz_cases import damaged

    files = damaged(format, random.Random(f"{seed}/{format}/{number}"))
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / next(iter(files)).split("/")[0]


def open_everyway(path: Path) -> None:
    """Calls each function that opens such a file, and touches the voxels."""
    import medjax as mj
    from medjax import io

    if path.suffix == ".mrb":
        with contextlib.suppress(io.ImageFileError):
            mj.load_image(path)  # refuses scenes of several images
        for image in io.load_mrb(path).values():
            _touch(image)
        return
    with contextlib.suppress(io.ImageFileError):
        if path.is_dir():
            io.list_dicom_series(path)
        for entry in io.list_hdf5(path) if path.suffix == ".h5" else []:
            with contextlib.suppress(io.ImageFileError):
                _touch(io.load_hdf5(path, entry.group, entry.name))
                io.load_hdf5(path, entry.group, entry.name, size=(1, 1, 1))
    _touch(mj.load_image(path))


def _touch(image: Any) -> None:
    voxels = image.voxels.reshape(-1)
    voxels[:: max(1, len(voxels) // 1000)].copy()
    voxels[-1].copy()
    repr(image)
    if not image.affine.shape == (4, 4) or 0 in image.voxels.shape:
        raise AssertionError(f"an image with affine {image.affine.shape} and voxels {image.voxels.shape}")


def attempt(format: str, seed: int, number: int, base: Path, limits: Limits) -> Result:
    """Runs one case in this process."""
    from medjax import io

    outer = Path(tempfile.mkdtemp(dir=base))
    folder = outer / "in"
    folder.mkdir()
    try:
        path = make(format, seed, number, folder)
        before = _memory("VmRSS")
        _forget_peak()
        started = time.perf_counter()
        with _address_space(limits.megabytes), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                open_everyway(path)
                outcome, detail = "loaded", ""
            except io.ImageFileError as error:
                outcome, detail = type(error).__name__, error.reason
            except BaseException as error:
                outcome, detail = "FAILED", f"{type(error).__name__}: {error}\n{_where(error)}"
        seconds, megabytes = time.perf_counter() - started, max(0.0, _memory("VmHWM") - before)
        fault = _fault(caught, seconds, megabytes, outer, limits)
        if outcome != "FAILED" and fault:
            outcome, detail = "FAILED", fault
        return Result(format, number, outcome, detail[:2000], seconds, megabytes)
    finally:
        shutil.rmtree(outer)


def _fault(caught: list[Any], seconds: float, megabytes: float, outer: Path, limits: Limits) -> str:
    from medjax import io

    other = [each for each in caught if not issubclass(each.category, io.ImageFileWarning)]
    if other:
        return f"warned {other[0].category.__name__}: {other[0].message} ({other[0].filename}:{other[0].lineno})"
    if seconds > limits.seconds:
        return f"took {seconds:.1f} s"
    if megabytes > limits.megabytes:
        return f"took {megabytes:.0f} MB"
    if os.lseek(1, 0, os.SEEK_CUR) and os.fstat(1).st_size:
        text = os.pread(1, 200, 0)
        os.ftruncate(1, 0)
        return f"printed {text!r}"
    strays = [path for path in [*outer.iterdir(), Path("/tmp/evil.nii")] if path.name != "in" and path.exists()]
    return f"left {strays} behind" if strays else ""


def _where(error: BaseException) -> str:
    lines = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    return "\n".join(lines[-6:])


def _memory(field: str) -> float:
    """A field of /proc/self/status in MB; 0 where there is no such file."""
    with contextlib.suppress(OSError), Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextlib.contextmanager
def _address_space(megabytes: int) -> Iterator[None]:
    """Lets the process map no more than this beyond what it has; threads' stacks need some on top."""
    had = resource.getrlimit(resource.RLIMIT_AS)
    size = _memory("VmSize")
    if size:
        resource.setrlimit(resource.RLIMIT_AS, (int((size + 2 * megabytes + 512) * 2**20), had[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, had)


# The parent: hands out cases, and notices the process that hangs or dies.


def run(formats: list[str], cases: int, seed: int, first: int = 0, limits: Limits | None = None) -> list[Result]:
    """Runs `cases` cases, divided among the formats, and returns their results."""
    limits = limits or Limits()
    jobs = [(formats[n % len(formats)], first + n // len(formats)) for n in range(cases)]
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as base:
        while len(results) < len(jobs):
            results += _run_process(jobs[len(results) :], seed, Path(base), limits)
    return results


def _run_process(jobs: list[tuple[str, int]], seed: int, base: Path, limits: Limits) -> list[Result]:
    """Runs cases in a new process until they are done or one of them ends it."""
    command = [sys.executable, __file__, "--worker", str(base), "--seed", str(seed)]
    command += ["--seconds", str(limits.seconds), "--megabytes", str(limits.megabytes)]
    results: list[Result] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        reader = _Lines(process.stdout)
        for name, number in jobs:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{json.dumps([name, number])}\n".encode())
                process.stdin.flush()
            wait = 3 * limits.seconds + (60 if not results else 0)  # the first waits for imports
            line = reader.next(wait)
            if not line:
                if line is None:
                    process.kill()
                status = process.wait()
                detail = f"no answer after {wait:.0f} s" if line is None else f"ended the process, status {status}"
                results.append(Result(name, number, "FAILED", detail, wait, 0.0))
                return results
            results.append(Result(**json.loads(line)))
        process.stdin.close()
    return results


class _Lines:
    """Reads lines from a pipe with a deadline: `None` when it passes, empty at the end of the stream."""

    def __init__(self, pipe: IO[bytes]):
        self._descriptor, self._buffer = pipe.fileno(), b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)

    def next(self, seconds: float) -> bytes | None:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                return None
            data = os.read(self._descriptor, 1 << 16)
            if not data:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def work(base: Path, seed: int, limits: Limits) -> None:
    """The other process: takes cases from standard input, answers on what was standard output."""
    with os.fdopen(os.dup(1), "w") as answers, tempfile.TemporaryFile(dir=base) as printed:
        os.dup2(printed.fileno(), 1)
        os.chdir(base)
        _import_readers(base)
        for line in sys.stdin:
            name, number = json.loads(line)
            result = attempt(name, seed, number, base, limits)
            print(json.dumps(dataclasses.asdict(result)), file=answers, flush=True)


def _import_readers(base: Path) -> None:
    """Opens sound files, so that no case pays for imports."""
    import fuzz_seeds

    import medjax as mj
    from medjax import io

    for make_seeds in fuzz_seeds.SEEDS.values():
        files = make_seeds()[0]
        for name, content in files.items():
            (base / name).write_bytes(content)
        with contextlib.suppress(io.ImageFileError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mj.load_image(base / next(iter(files)))


def summary(results: list[Result]) -> str:
    """One line per format: outcomes, the slowest case and the most memory."""
    lines = [
        f"{'format':10} {'cases':>6} {'loaded':>6} {'refused':>7} {'FAILED':>6} {'slowest s':>9} {'most MB':>7}  refused as"
    ]
    for name in dict.fromkeys(result.format for result in results):
        mine = [result for result in results if result.format == name]
        counts = collections.Counter(result.outcome for result in mine)
        refused = {each: n for each, n in counts.most_common() if each not in ("loaded", "FAILED")}
        lines.append(
            f"{name:10} {len(mine):6} {counts['loaded']:6} {sum(refused.values()):7} {counts['FAILED']:6} "
            f"{max(result.seconds for result in mine):9.2f} {max(result.megabytes for result in mine):7.0f}  "
            + ", ".join(f"{each} {n}" for each, n in refused.items())
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=600, help="how many, over all formats")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each format")
    parser.add_argument("--format", default="all", help=f"all, or some of {', '.join(FORMATS)}, comma between")
    parser.add_argument("--seconds", type=float, default=Limits.seconds)
    parser.add_argument("--megabytes", type=int, default=Limits.megabytes)
    parser.add_argument("--keep", type=Path, help="folder for the files of the cases that fail")
    parser.add_argument("--output", type=Path, help="JSON of all results")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    limits = Limits(options.seconds, options.megabytes)
    if options.worker is not None:
        work(options.worker, options.seed, limits)
        return 0
    formats = list(FORMATS) if options.format == "all" else options.format.split(",")
    results = run(formats, options.cases, options.seed, options.first, limits)
    failed = [result for result in results if result.outcome == "FAILED"]
    sys.stdout.write(summary(results) + "\n")
    for result in failed:
        sys.stdout.write(f"\n{result.format} {result.number} (seed {options.seed}): {result.detail}\n")
        if options.keep is not None:
            folder = options.keep / f"{result.format}-{options.seed}-{result.number}"
            folder.mkdir(parents=True, exist_ok=True)
            make(result.format, options.seed, result.number, folder)
    if options.output is not None:
        options.output.write_text(json.dumps([dataclasses.asdict(result) for result in results]))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
