"""Timing side by side: every call is warmed up, the libraries take turns, medians and ratios are formed round by round.

A row says what was done, how long it took here and with each peer, how far the result lies from a float64 reference, and
what the targets are. A peer that is not installed leaves its column empty and says so.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax

RESULTS = Path(__file__).parent / "results"
Call = Callable[[], Any]


def optional(name: str) -> Any:
    """Imports a peer, or says that it is missing and returns `None`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed: its column stays empty")
        return None


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


def measured(
    work: str,
    ours: Call,
    peers: dict[str, Call] | None = None,
    *,
    error: float | None = None,
    must: dict[str, float] | None = None,
    aim: dict[str, float] | None = None,
    rounds: int = 7,
) -> Row:
    """Times a call beside its peers, in turns, and prints the row."""
    peers = peers or {}
    first = timed(ours)
    timed(ours)
    for call in peers.values():
        timed(call)
    samples: dict[str, list[float]] = {"ours": [], **{name: [] for name in peers}}
    for _ in range(rounds):
        samples["ours"].append(timed(ours))
        for name, call in peers.items():
            samples[name].append(timed(call))
    found = {}
    for name in peers:
        ratios = [theirs / own for own, theirs in zip(samples["ours"], samples[name], strict=True)]
        found[name] = {
            "median_ms": median(samples[name]),
            "ratio": median(ratios),
            "ratio_range": (min(ratios), max(ratios)),
        }
    own = samples["ours"]
    row = Row(work, first, median(own), (min(own), max(own)), error, found, must or {}, aim or {})
    print(row.line(), flush=True)
    return row


def hardware() -> dict[str, Any]:
    """Names the machine and the versions that a result was made with."""
    names = ("jax", "jaxlib", "numpy", "scipy", "SimpleITK", "torch", "torchio", "cupy")
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.import_module(name).__version__
        except (ImportError, AttributeError):
            continue
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "processor": processor,
        "cores": os.cpu_count(),
        "load_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
    }


def save(name: str, rows: list[Row], **more: Any) -> None:
    """Writes rows and whatever else was found as JSON, the device in the name unless it is a CPU."""
    platform_name = jax.devices()[0].platform
    suffix = "" if platform_name == "cpu" else f"-{platform_name}"
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}{suffix}.json"
    content = {"hardware": hardware(), "rows": [dataclasses.asdict(row) for row in rows], **more}
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {path}")


def chart(rows: list[Row], path: Path, title: str) -> None:
    """Draws the ratios to each peer as bars, with what was to be reached."""
    pyplot = optional("matplotlib.pyplot")
    if pyplot is None:
        return
    bars = [(row.work, name, peer["ratio"], row.must.get(name)) for row in rows for name, peer in row.peers.items()]
    bars.reverse()
    figure, axes = pyplot.subplots(figsize=(9, 0.34 * len(bars) + 1.2), layout="constrained")
    colours = {
        "SimpleITK": "#4477aa",
        "torch": "#cc6677",
        "TorchIO": "#ddaa33",
        "SciPy": "#117733",
        "jax.scipy": "#aa4499",
    }
    for place, (_, peer, ratio, must) in enumerate(bars):
        axes.barh(place, ratio, color=colours.get(peer, "#888888"), height=0.7)
        axes.text(ratio * 1.04, place, f"{ratio:.1f}x", va="center", fontsize=8)
        if must:
            axes.plot([must, must], [place - 0.4, place + 0.4], color="black", linewidth=1.5)
    axes.set_yticks(range(len(bars)), [f"{work}  vs {peer}" for work, peer, *_ in bars], fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [0.5, 1, 2, 5, 10, 20, 50], [f"{tick:g}" for tick in ticks])
    axes.set_ylim(-0.7, len(bars) - 0.3)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlim(0.5, 2.2 * max(ratio for *_, ratio, _ in bars))
    axes.set_xlabel("times as fast as the peer (black mark: the floor we set ourselves)")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    print(f"drawn to {path}")
