"""Puts what the benchmarks found into the README, between its markers: run by `make bench` after the others.

Reads results/*.json and nothing else, so that the table can be made again without measuring again. Each table says how many
cores its results had.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from harness import on_cores

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def result(name: str) -> dict[str, Any] | None:
    path = HERE / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def against(peers: dict[str, Any], must: dict[str, float]) -> str:
    """Ratios with their ranges, and what was asked for."""
    cells = []
    for name, peer in peers.items():
        low, high = peer["ratio_range"]
        floor = f", floor {must[name]:g}x" if name in must else ""
        cells.append(f"{name} **{peer['ratio']:.1f}x** ({low:.1f}-{high:.1f}{floor})")
    return "; ".join(cells)


def compared(found: dict[str, Any]) -> list[str]:
    lines = ["| work | ms | times as fast as | error |", "|---|---|---|---|"]
    for row in found["rows"]:
        error = "" if row["error"] is None else f"{row['error']:.0e}"
        lines.append(f"| {row['work']} | {row['median_ms']:.1f} | {against(row['peers'], row['must'])} | {error} |")
    return lines


def augmented(found: dict[str, Any]) -> list[str]:
    """Recipes, each with what it takes to compile and the memory of each library."""
    lines = ["| work | ms | times as fast as | compile, s | peak, MB |", "|---|---|---|---|---|"]
    for row in found["rows"]:
        peak = ", ".join(f"{name} {value:.0f}" for name, value in row["peak_megabytes"].items())
        faster = against(row["peers"], row["must"])
        lines.append(f"| {row['work']} | {row['median_ms']:.1f} | {faster} | {row['compile_ms'] / 1e3:.1f} | {peak} |")
    if "first_call" in found:
        first = found["first_call"]
        lines.append(f"| {first['work']} | {1e3 * first['seconds']['median']:.0f} |  |  |  |")
    return lines


def windowed(found: dict[str, Any]) -> list[str]:
    """Ways of joining windows, each with what it costs beside the bare network."""
    lines = ["| classes | way | ms | beyond the network | peak, MB |", "|---|---|---|---|---|"]
    for row in found["rows"]:
        values = f"{row['milliseconds']['median']:.0f} | {100 * row['overhead']['median']:.0f} %"
        lines.append(f"| {row['classes']} | {row['way']} | {values} | {row['peak_megabytes']:.0f} |")
    return lines


def loaded(found: dict[str, Any]) -> list[str]:
    """Rows of the loader, with the memory of each library."""
    peak = ", ".join(f"{name} {value:.0f}" for name, value in found.get("peak_megabytes", {}).items())
    rows = [
        f"| {row['work']} | {row['median_ms']:.1f} | {against(row['peers'], row['must'])} |" for row in found["rows"]
    ]
    return ["| work | ms | times as fast as |", "|---|---|---|", *rows, "", f"Peak memory, MB: {peak}."]


def where(found: dict[str, Any]) -> str:
    return on_cores(found.get("hardware", {}))


def prose(text: str) -> list[str]:
    return textwrap.wrap(text, 120)


def main() -> None:
    lines: list[str] = []
    spatial, chain, ragged, imports = (result(name) for name in ("spatial", "end_to_end", "ragged", "import_time"))
    if spatial:
        machine, versions = spatial["hardware"], spatial["hardware"]["versions"]
        named = ", ".join(f"{name} {version}" for name, version in versions.items())
        lines += [
            *prose(
                f"256x256x128 float32 unless said, {on_cores(machine)}; {machine['processor']}, {named}. Medians of rounds "
                'in which the libraries take turns, with the range of the ratios; "error" is the largest difference '
                "from a float64 reference over the range of the values. The floors are for two cores."
            ),
            "",
            "![Bars: how many times as fast as each peer](benchmarks/results/spatial.png)",
            "",
            *compared(spatial),
            "",
        ]
        calls = spatial["overhead"].values()
        slowest = max(call["first_call_ms"] for call in calls)
        eager = max(call["eager_8_cubed_ms"] for call in calls)
        temporary = (
            f"{key.split(',')[1].split(':')[0].strip()} {value:.2f}" for key, value in spatial["memory"].items()
        )
        lines += [
            *prose(
                f"First call on a new shape, compilation included: at most {slowest:.0f} ms; a call on 8^3 voxels: at most "
                f"{eager:.1f} ms. Temporary memory over output, 512^3: {', '.join(temporary)}."
            ),
            "",
        ]
    if chain:
        lines += [f"From file to file, a CT of 384x384x160 int16, {where(chain)}:", "", *compared(chain), ""]
    if ragged:
        passes = ragged["summary"]
        lines += [
            f"{ragged['scans']} scans of {ragged['scans']} shapes, oriented and brought to 1.5 mm in `shape_buckets`, {where(ragged)}:",
            "",
        ]
        lines += ["| pass | times as fast as SimpleITK | compilations |", "|---|---|---|"]
        for name, row in passes.items():
            ratio = f"**{row['ratio']:.1f}x** ({row['lowest']:.1f}-{row['highest']:.1f})" if "ratio" in row else ""
            lines.append(f"| {name} | {ratio} | {row['compilations']} |")
        lines.append("")
    for name, title, table in (
        ("augment", 'Augmentation, the recipe inside `jit`; "compile" is without a cache', augmented),
        ("sliding_window", "A stub network over 160x96x96, window by window, overlap 0.5, argmax", windowed),
        ("loading", "Loading from a warm cache, cases of 512x512x300 int16", loaded),
    ):
        if found := result(name):
            lines += [*prose(f"{title}, {where(found)}:"), ""]
            if name == "augment":
                lines += ["![Bars: how many times as fast as each peer](benchmarks/results/augment.png)", ""]
            lines += [*table(found), ""]
    if imports:
        times = {row["import"]: row["median_ms"] for row in imports["rows"]}
        lines += [
            *prose(f"Import, ms, {where(imports)}: " + ", ".join(f"`{n}` {ms:.0f}" for n, ms in times.items()) + "."),
            "",
        ]
    text = README.read_text()
    before, rest = text.split(BEGIN)
    README.write_text(before + BEGIN + "\n" + "\n".join(lines).rstrip() + "\n" + END + rest.split(END)[1])
    print(f"written to {README}")


if __name__ == "__main__":
    main()
