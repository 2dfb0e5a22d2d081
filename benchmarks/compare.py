"""This checkout's package beside an older one: the same benchmarks, in turns, in one sitting.

Run: `python benchmarks/compare.py REVISION [BENCHMARK ...] [--rounds 3] [--turns 3]`, or `make bench-compare BEFORE=REVISION`. A
benchmark is a script's name with its options, such as spatial or "ways --only rotate crop". The revision is laid out as a git
worktree in build/ and reached by PYTHONPATH, so this checkout's scripts measure both packages and their rows are the same. Where
a script fails with the older package, that revision's own script measures it. Each turn runs a script once with each package,
in an order that alternates; peers are left out where the script can do without them. The ratio of a row is after / before, formed turn by turn, with its
range; below 1 is faster. A file's number is the median over the turns of the geometric mean of its rows. What to hold: none
above 1.05. The exit status is 1 where one is above, and 2 where nothing could be compared. Each package keeps its
compilations from turn to turn, and not longer. On a busy machine the ranges are wide: take more turns, or wait.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from harness import cell, cores, spread

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build"
LIMIT = 1.05
DEFAULT = ("spatial", "intensity", "nifti", "metaimage_nrrd", "hdf5", "ragged", "import_time")
Times = dict[str, float]


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def with_rounds(words: list[str], rounds: int) -> list[str]:
    """The command line of a benchmark: most take their rounds as the one argument, and ragged its scans."""
    name = words[0]
    if name == "ragged":
        return words
    return [*words, "--rounds", str(rounds)] if name in ("ways", "sliding_window") else [*words, str(rounds)]


def run(words: list[str], package: Path, scripts: Path, compiled: str) -> Times:
    """Milliseconds of every row of a benchmark, by what the row says of itself."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH")))),
            "MEDJAX_BENCHMARK_RESULTS": folder,
            "MEDJAX_BENCHMARK_ALONE": "1",
            "JAX_COMPILATION_CACHE_DIR": compiled,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        command = [sys.executable, str(scripts / f"{words[0]}.py"), *words[1:]]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        written = list(Path(folder).glob("*.json"))
        if scripts != HERE:  # an older harness knows one folder only
            written += (scripts / "results").glob(f"{words[0]}*.json")
        if done.returncode and not written:
            raise RuntimeError((done.stderr.strip() or "no message").splitlines()[-1])
        return {row: time for path in written for row, time in times(json.loads(path.read_text()))}


def times(found: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Our own medians in a result: `median_ms`, and spreads whose name ends in milliseconds; text tells rows apart."""
    for row in found["rows"]:
        if not row.get("library", "medjax").startswith("medjax"):
            continue
        title = ", ".join(value for name, value in row.items() if isinstance(value, str) and name != "refused")
        for name, value in row.items():
            if name == "median_ms":
                yield title, value
            elif name.endswith("milliseconds"):
                yield f"{title} {name.removesuffix('milliseconds').replace('_', ' ')}".strip(), value["median"]


def check_package(package: Path) -> None:
    """An editable install must not come before the package that is meant."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [sys.executable, "-P", "-c", "import medjax; print(medjax.__file__)"]
    found = Path(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip())
    if not found.is_relative_to(package):
        sys.exit(f"{found} would be measured, not {package}")


def in_turns(words: list[str], before: Path, turns: int) -> list[tuple[Times, Times]]:
    """Times before and after, turn by turn; the one that went first goes second in the next."""
    scripts = {before: HERE, ROOT: HERE}
    found = []
    with tempfile.TemporaryDirectory() as old, tempfile.TemporaryDirectory() as new:
        compiled = {before: old, ROOT: new}
        for turn in range(turns):
            times_of = {}
            for package in (before, ROOT)[:: 1 if turn % 2 == 0 else -1]:
                try:
                    times_of[package] = run(words, package, scripts[package], compiled[package])
                except RuntimeError as reason:
                    if package == ROOT or scripts[before] != HERE:
                        raise
                    print(
                        f"{words[0]} of this checkout fails with the older package ({reason}): its own script measures it"
                    )
                    scripts[before] = before / "benchmarks"
                    plain = [word for word in words if not word.startswith("--")]
                    times_of[package] = run(plain, before, scripts[before], old)
            found.append((times_of[before], times_of[ROOT]))
    return found


def report(name: str, found: list[tuple[Times, Times]]) -> float | None:
    """Prints a ratio for each row that both have, and returns their geometric mean."""
    rows = [row for row in found[0][0] if all(row in times for turn in found for times in turn)]
    left_out = {row for turn in found for times in turn for row in times} - set(rows)
    print(f"\n{name:74}{'before ms':>10}{'after ms':>10}{'after / before':>20}")
    for row in rows:
        old, new = ([turn[side][row] for turn in found] for side in (0, 1))
        ratio = spread([b / a for a, b in zip(old, new, strict=True)])
        print(f"{row[:73]:74}{median(old):10.2f}{median(new):10.2f}{cell(ratio, 2):>20}")
    for row in sorted(left_out):
        print(f"{row[:73]:74}   with one of the packages only")
    if not rows:
        return None
    means = spread([math.exp(sum(math.log(new[row] / old[row]) for row in rows) / len(rows)) for old, new in found])
    print(f"{f'geometric mean of {len(rows)} rows':94}{cell(means, 3):>20}", flush=True)
    return means["median"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("revision", help="what to compare this checkout with, such as main~1")
    parser.add_argument("benchmarks", nargs="*", default=DEFAULT, help=f"default: {' '.join(DEFAULT)}")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of a script in each turn")
    parser.add_argument("--turns", type=int, default=3, help="how often each package is measured")
    options = parser.parse_args()
    chosen = [shlex.split(benchmark) for benchmark in options.benchmarks]
    if unknown := [words[0] for words in chosen if not (HERE / f"{words[0]}.py").exists()]:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    commit = git("rev-parse", "--verify", f"{options.revision}^{{commit}}")
    before = BUILD / f"before-{commit[:12]}"
    git("worktree", "prune")
    if not before.exists():
        git("worktree", "add", "--detach", str(before), commit)
    means = {}
    try:
        for package in (before, ROOT):
            check_package(package)
        turns = f"{options.turns} turns of {options.rounds} rounds"
        print(f"{commit[:12]} and this checkout, {turns}, on {cores()} cores under a load of {os.getloadavg()[0]:.1f}")
        for words in chosen:
            try:
                found = in_turns(with_rounds(words, options.rounds), before, options.turns)
            except RuntimeError as reason:
                print(f"\n{words[0]}: not compared: {reason}")
                continue
            means[" ".join(words)] = report(" ".join(words), found)
    finally:
        git("worktree", "remove", "--force", str(before))
    print()
    for name, mean in means.items():
        verdict = "no row in common" if mean is None else f"{mean:.3f}{'' if mean <= LIMIT else f', above {LIMIT}'}"
        print(f"{name:40} {verdict}")
    known = [mean for mean in means.values() if mean is not None]
    return 2 if not known else int(max(known) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
