"""What `import medjax` costs: seconds, memory and modules of fresh interpreters, beside `import jax` alone.

Run: `python benchmarks/import_time.py [rounds]`. Prints a table and writes `benchmarks/results/import_time.json`. The
statements take turns, so that whatever else the machine does hits all of them; bytecode and file cache are warm.
"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median
from typing import Any

from harness import save

STATEMENTS = {
    "jax and numpy": "import jax, jax.numpy, numpy",
    "medjax": "import medjax",
    "medjax geometry, no jax": "from medjax import Grid, Metadata",
    "jax, numpy, medjax and Image": "import jax, jax.numpy, numpy, medjax; medjax.Image",
    "jax, numpy, medjax and all its names": (
        "import jax, jax.numpy, numpy, medjax; "
        "[getattr(medjax, n) for n in dir(medjax)]; [getattr(medjax.io, n) for n in dir(medjax.io)]"
    ),
}

PROBE = """
import resource, sys, time
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(sys.modules))
"""


def measure(statement: str) -> tuple[float, float, int]:
    """Seconds, peak memory in MB and modules loaded, of a fresh interpreter."""
    command = [sys.executable, "-c", PROBE.format(statement=statement)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    words = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()
    kilobytes = float(words[1]) / (1024 if sys.platform == "darwin" else 1)
    return float(words[0]), kilobytes / 1000, int(words[2])


def rows(rounds: int) -> list[dict[str, Any]]:
    """A row for each statement, beside the first; the extra time is formed within a round."""
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in STATEMENTS}
    for number in range(rounds + 1):  # the first round warms the caches
        for name, statement in STATEMENTS.items():
            found[name] += [measure(statement)] if number else []
    base = [seconds for seconds, _, _ in next(iter(found.values()))]
    table = []
    for name, runs in found.items():
        seconds = [run[0] for run in runs]
        extra = [own - reference for own, reference in zip(seconds, base, strict=True)]
        table.append(
            {
                "import": name,
                "median_ms": round(1000 * median(seconds), 1),
                "range_ms": [round(1000 * min(seconds), 1), round(1000 * max(seconds), 1)],
                "median_over_jax_ms": round(1000 * median(extra), 1),
                "peak_MB": round(median(run[1] for run in runs), 1),
                "modules": runs[0][2],
            }
        )
    return table


def main() -> None:
    """Measures, prints and writes."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    table = rows(rounds)
    print(f"{'import':38} {'median ms':>10} {'range ms':>17} {'over jax':>9} {'peak MB':>8} {'modules':>8}")
    for row in table:
        span = " to ".join(f"{value:.1f}" for value in row["range_ms"])
        print(
            f"{row['import']:38} {row['median_ms']:10.1f} {span:>17} {row['median_over_jax_ms']:9.1f} "
            f"{row['peak_MB']:8.1f} {row['modules']:8}"
        )
    save("import_time", table, rounds=rounds)


if __name__ == "__main__":
    main()
