"""Timing side by side: every call is warmed up, the libraries take turns, ratios are formed round by round.

A `Row` says what was done, how long it took here and with each peer, how far the result lies from a float64 reference, and
what the targets are; benchmarks of files write rows of their own from the same parts. A peer that is not installed
leaves its column empty and says so. Every result names its cores and the threads of its peers; the floors hold on two cores.

`benchmarks/compare.py` sets two variables: MEDJAX_BENCHMARK_RESULTS is the folder to write to, and MEDJAX_BENCHMARK_ALONE
leaves the peers out.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import jax

RESULTS = Path(os.environ.get("MEDJAX_BENCHMARK_RESULTS", Path(__file__).parent / "results"))
IS_ALONE = "MEDJAX_BENCHMARK_ALONE" in os.environ
Call = Callable[[], Any]
Key = TypeVar("Key")


def optional(name: str) -> Any:
    """Imports a peer and gives it all cores, or returns `None`: where it is missing, which is said, or not wanted."""
    if IS_ALONE:
        return None
    try:
        module = importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed: its column stays empty")
        return None
    if name == "torch":
        module.set_num_threads(cores())
    if name == "SimpleITK":
        module.ProcessObject.SetGlobalDefaultNumberOfThreads(cores())
    return module


def cores() -> int:
    """The cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> dict[str, int]:
    """The threads of each peer that has been imported."""
    found = {}
    if "torch" in sys.modules:
        found["torch"] = sys.modules["torch"].get_num_threads()
    if "SimpleITK" in sys.modules:
        found["SimpleITK"] = sys.modules["SimpleITK"].ProcessObject.GetGlobalDefaultNumberOfThreads()
    return found


def on_cores(hardware: Mapping[str, Any]) -> str:
    """The cores and threads of a result, as its tables state them."""
    count = hardware.get("cores", "an unknown number of")
    given = "".join(f", {number} threads for {name}" for name, number in hardware.get("threads", {}).items())
    return f"on {count} core{'s' * (count != 1)}{given}"


@dataclasses.dataclass
class Row:
    """One line of a table; times in milliseconds."""

    work: str
    first_ms: float
    median_ms: float
    spread_ms: tuple[float, float]
    error: float | None
    peers: dict[str, dict[str, Any]]
    must: dict[str, float]
    aim: dict[str, float]

    def line(self) -> str:
        error = "" if self.error is None else f"{self.error:.0e}"
        cells = [f"{self.work:44s} {self.median_ms:9.2f} {self.first_ms:8.0f} {error:>7s}"]
        for name, peer in self.peers.items():
            low, high = peer["ratio_range"]
            wanted = f"must {self.must.get(name, '-')}, aim {self.aim.get(name, '-')}"
            cells.append(f"{name} {peer['median_ms']:.1f} ms, {peer['ratio']:.1f}x ({low:.1f}-{high:.1f}; {wanted})")
        return "  ".join(cells)


def timed(call: Call) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return 1e3 * (time.perf_counter() - start)


def in_turns(
    calls: Mapping[Key, Call], rounds: int, *, before: Call | None = None, warm: bool = True
) -> dict[Key, list[float]]:
    """Milliseconds of each call in each round; with `warm` a round that is not counted fills caches and imports first.

    Every round has its own order, drawn once and for all, because a call finds the memory that the one before it has
    left: none always follows the same. What a call returns is dropped before the next. `before` is called before
    each, untimed.
    """
    found: dict[Key, list[float]] = {key: [] for key in calls}
    order, generator = list(calls), random.Random(0)
    for number in range(rounds + warm):
        generator.shuffle(order)
        for key in order:
            if before is not None:
                before()
            milliseconds = timed(calls[key])
            if number >= warm:
                found[key].append(milliseconds)
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def faster(own: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """How many times as fast as another, formed round by round."""
    return spread([other / mine for mine, other in zip(own, theirs, strict=True)])


def cell(found: Mapping[str, float] | None, digits: int) -> str:
    """A spread as a table shows it: the median, and the range in brackets."""
    if found is None:
        return ""
    return f"{found['median']:.{digits}f} ({found['min']:.{digits}f}-{found['max']:.{digits}f})"


def peak_bytes(call: Call) -> tuple[int, Any]:
    """Peak memory of a call above what the process holds before it (Linux), and what it returned."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident("VmRSS")
    result = jax.block_until_ready(call())  # kept until the peak is known
    return _resident("VmHWM") - before, result


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def in_fresh_process(script: str, *arguments: Any) -> float:
    """The number that a script prints when it is called with `--peak` and these arguments; NaN where only times count."""
    if IS_ALONE:
        return float("nan")
    command = [sys.executable, script, "--peak", *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measured(
    work: str,
    ours: Call,
    peers: dict[str, Call] | None = None,
    *,
    error: float | None = None,
    must: dict[str, float] | None = None,
    aim: dict[str, float] | None = None,
    rounds: int = 7,
    before: Call | None = None,
) -> Row:
    """Times a call beside its peers, in turns, and prints the row; `before` is called before each, untimed."""
    first = timed(ours)
    samples = in_turns({"": ours, **({} if IS_ALONE else peers or {})}, rounds, before=before)
    own, found = samples.pop(""), {}
    for name, theirs in samples.items():
        ratio = faster(own, theirs)
        found[name] = {
            "median_ms": median(theirs),
            "ratio": ratio["median"],
            "ratio_range": (ratio["min"], ratio["max"]),
        }
    row = Row(work, first, median(own), (min(own), max(own)), error, found, must or {}, aim or {})
    print(row.line(), flush=True)
    return row


def hardware() -> dict[str, Any]:
    """Names the machine and the versions of what has been imported."""
    names = "batchgeneratorsv2 cupy grain h5py highdicom jax jaxlib monai nibabel numpy pydicom pynrrd scipy SimpleITK torch torchio"
    known = {name.lower(): name for name in names.split()}  # a distribution's name may be in small letters
    distributions = {name for module in set(sys.modules) & set(_packages()) for name in _packages()[module]}
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "processor": processor,
        "cores": cores(),
        "threads": threads(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {
            known[name.lower()]: importlib.metadata.version(name)
            for name in sorted(distributions, key=str.lower)
            if name.lower() in known
        },
    }


@functools.cache
def _packages() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def save(name: str, rows: Sequence[Row | dict[str, Any]], **more: Any) -> None:
    """Writes rows and whatever else was found as JSON, the device in the name unless it is a CPU."""
    platform_name = jax.devices()[0].platform
    suffix = "" if platform_name == "cpu" else f"-{platform_name}"
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}{suffix}.json"
    plain = [dataclasses.asdict(row) if isinstance(row, Row) else row for row in rows]
    machine = hardware()
    path.write_text(json.dumps({"hardware": machine, "rows": plain, **more}, indent=1) + "\n")
    print(f"{on_cores(machine)}; written to {path}")


def chart(rows: list[Row], path: Path, title: str) -> None:
    """Draws the ratios to each peer as bars, with what was to be reached."""
    pyplot = optional("matplotlib.pyplot")
    if pyplot is None:
        return
    title += f", {on_cores(hardware())}"
    bars = [(row.work, name, peer["ratio"], row.must.get(name)) for row in rows for name, peer in row.peers.items()]
    bars.reverse()
    figure, axes = pyplot.subplots(figsize=(9, 0.34 * len(bars) + 1.2), layout="constrained")
    colours = {
        "SimpleITK": "#4477aa",
        "torch": "#cc6677",
        "TorchIO": "#ddaa33",
        "SciPy": "#117733",
        "jax.scipy": "#aa4499",
        "MONAI": "#332288",
        "batchgeneratorsv2": "#44aa99",
    }
    for place, (_, peer, ratio, must) in enumerate(bars):
        axes.barh(place, ratio, color=colours.get(peer, "#888888"), height=0.7)
        axes.text(ratio * 1.04, place, f"{ratio:.1f}x", va="center", fontsize=8)
        if must:
            axes.plot([must, must], [place - 0.4, place + 0.4], color="black", linewidth=1.5)
    axes.set_yticks(range(len(bars)), [f"{work}  vs {peer}" for work, peer, *_ in bars], fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [0.5, 1, 2, 5, 10, 20, 50, 100], [f"{tick:g}" for tick in ticks])
    axes.set_ylim(-0.7, len(bars) - 0.3)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlim(0.5, 2.2 * max(ratio for *_, ratio, _ in bars))
    axes.set_xlabel("times as fast as the peer (black mark: the floor we set ourselves, for two cores)")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    print(f"drawn to {path}")
