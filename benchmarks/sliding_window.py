"""A network over a volume, window by window: what the joining costs beside the bare network, in time and in memory.

Run: `python benchmarks/sliding_window.py [--shape 160 96 96] [--size 32] [--classes 3 100] [--width 8] [--rounds 5]`. The network is
a stub, the same for all: a linear layer of `width` features, a sine, and a linear layer to the classes; its weights
come from one seed. Gaussian windows, overlap 0.5, 4 windows at once, argmax. The ways:

- "medjax": `mj.sliding_window`, logits in a slab.
- "whole buffer": the same with `reduce=None`, and argmax after it in the same program: what the slab replaces.
- "MONAI": `sliding_window_inference` with torch, and argmax after it, where MONAI is installed.

"overhead" is the time beyond the bare network: the network on the same number of groups of windows, one after the other.
The ways take turns in a drawn order; ratios are formed round by round. "temporary" is XLA's own analysis of the
program; "peak" is the memory of a fresh process above what it held before its first call. "equal" is the share of voxels with
the label of the whole buffer. Writes results/sliding_window.json, unless it was a part: other sizes than the defaults.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import (
    cell,
    faster,
    hardware,
    in_fresh_process,
    in_turns,
    on_cores,
    optional,
    peak_bytes,
    save,
    spread,
    timed,
)

import medjax as mj

BATCH, OVERLAP = 4, 0.5
# Of the issue: the slab's temporary memory and time, over the whole buffer's.
MEMORY_LIMIT, TIME_LIMIT = 0.45, 1.15
# Overhead and memory over MONAI's.
BESIDE_MUST, BESIDE_AIM = 0.5, 0.25
OURS, WHOLE, MONAI = "medjax", "whole buffer", "MONAI"
Call = Callable[[], Any]


class Stub:
    """The weights of the network."""

    def __init__(self, width: int, classes: int):
        rng = np.random.default_rng(0)
        self.first = rng.normal(size=(1, width)).astype(np.float32)
        self.last = rng.normal(size=(width, classes)).astype(np.float32)

    def __call__(self, windows: Any) -> Any:
        return jnp.sin(windows @ self.first) @ self.last


def volume(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def ours(stub: Stub, size: int) -> Callable[[jax.Array], jax.Array]:
    def labels(voxels: jax.Array) -> jax.Array:
        image = mj.Image.from_array(voxels)
        return mj.sliding_window(image, stub, size=size, overlap=OVERLAP, batch=BATCH).voxels

    return labels


def whole(stub: Stub, size: int) -> Callable[[jax.Array], jax.Array]:
    def labels(voxels: jax.Array) -> jax.Array:
        image = mj.Image.from_array(voxels)
        logits = mj.sliding_window(image, stub, size=size, overlap=OVERLAP, batch=BATCH, reduce=None).voxels
        return jax.lax.argmax(logits, 3, np.int32).astype(jnp.uint8)

    return labels


def bare(stub: Stub, shape: tuple[int, ...], size: int) -> Call:
    """The network on as many groups of windows, each result dropped."""
    count = -(-len(mj.patch.grid(shape, size, overlap=OVERLAP)) // BATCH)
    windows = jnp.asarray(volume((BATCH, size, size, size, 1)))
    call = jax.jit(lambda windows: stub(windows))

    def run() -> None:
        for _ in range(count):
            jax.block_until_ready(call(windows))

    return run


def monai(stub: Stub, voxels: np.ndarray, size: int) -> Call | None:
    """MONAI's own, on the same network and windows."""
    inferers, torch = optional("monai.inferers"), optional("torch")
    if inferers is None or torch is None:
        return None
    first, last = torch.from_numpy(stub.first), torch.from_numpy(stub.last)
    given = torch.from_numpy(voxels)[None, None]

    def network(windows: Any) -> Any:
        logits = torch.sin(windows.movedim(1, -1) @ first) @ last
        return logits.movedim(-1, 1)

    def run() -> np.ndarray:
        with torch.no_grad():
            logits = inferers.sliding_window_inference(
                given, (size,) * 3, BATCH, network, overlap=OVERLAP, mode="gaussian", sigma_scale=0.125
            )
            return logits.argmax(dim=1)[0].to(torch.uint8).numpy()

    return run


def measure(shape: tuple[int, ...], size: int, classes: int, width: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each way."""
    stub, voxels = Stub(width, classes), volume(shape)
    given = jnp.asarray(voxels)
    programs = {name: jax.jit(make(stub, size)) for name, make in ((OURS, ours), (WHOLE, whole))}
    calls: dict[str, Call] = {name: lambda program=program: program(given) for name, program in programs.items()}
    if peer := monai(stub, voxels, size):
        calls[MONAI] = peer
    network = bare(stub, shape, size)
    first = {name: timed(call) for name, call in calls.items()}
    temporary = {
        name: program.lower(given).compile().memory_analysis().temp_size_in_bytes / 1e6
        for name, program in programs.items()
    }
    wanted = np.asarray(calls[WHOLE]())
    equal = {name: float((np.asarray(call()) == wanted).mean()) for name, call in calls.items()}
    found = in_turns({**calls, "network": network}, rounds)
    alone = found.pop("network")
    rows = []
    for name, milliseconds in found.items():
        rows.append(
            {
                "classes": classes,
                "way": name,
                "first_ms": first[name],
                "milliseconds": spread(milliseconds),
                "overhead": spread([(each - net) / net for each, net in zip(milliseconds, alone, strict=True)]),
                "times_as_fast_as_whole_buffer": faster(milliseconds, found[WHOLE]),
                "temporary_megabytes": temporary.get(name),
                "peak_megabytes": in_fresh_process(__file__, name, classes, width, size, *shape) / 1e6,
                "equal": equal[name],
            }
        )
    return rows


def print_peak(name: str, classes: int, width: int, size: int, *shape: int) -> None:
    """Prints the peak of a first call, compilation included."""
    stub, voxels = Stub(width, classes), volume(shape)
    given = jnp.asarray(voxels)
    makers: dict[str, Callable[[], Call | None]] = {
        OURS: lambda: lambda: jax.jit(ours(stub, size))(given),
        WHOLE: lambda: lambda: jax.jit(whole(stub, size))(given),
        MONAI: lambda: monai(stub, voxels, size),
    }
    call = makers[name]()
    print(peak_bytes(call)[0] if call else "nan")


def line(row: dict[str, Any]) -> str:
    temporary = "" if row["temporary_megabytes"] is None else f"{row['temporary_megabytes']:.0f}"
    return (
        f"{row['classes']:7d}  {row['way']:14}{row['first_ms']:9.0f}{cell(row['milliseconds'], 0):>24}"
        f"{cell(row['overhead'], 2):>24}{temporary:>14}{row['peak_megabytes']:>10.0f}{row['equal']:>10.6f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", type=int, nargs=3, default=[160, 96, 96])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 100])
    parser.add_argument(
        "--width", type=int, default=8, help="features of the stub network, which say how long it takes"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        name, *numbers = options.peak
        print_peak(name, *map(int, numbers))
        return
    shape = tuple(options.shape)
    print(f"{shape}, windows of {options.size}^3, overlap {OVERLAP}, batch {BATCH}, {on_cores(hardware())}")
    print(
        f"classes  {'way':14}{'first ms':>9}{'ms (range)':>24}{'overhead (range)':>24}{'temporary MB':>14}{'peak MB':>10}{'equal':>10}"
    )
    rows = []
    for classes in options.classes:
        found = measure(shape, options.size, classes, options.width, options.rounds)
        for row in found:
            print(line(row), flush=True)
        slab, buffer = found[0], found[1]
        memory = slab["temporary_megabytes"] / buffer["temporary_megabytes"]
        duration = 1 / slab["times_as_fast_as_whole_buffer"]["median"]
        print(
            f"slab over whole buffer: memory {memory:.2f} (must {MEMORY_LIMIT}), time {duration:.2f} (must {TIME_LIMIT})"
        )
        for theirs in found[2:]:
            overhead = slab["overhead"]["median"] / theirs["overhead"]["median"]
            peak = slab["peak_megabytes"] / theirs["peak_megabytes"]
            print(
                f"over {theirs['way']}: overhead {overhead:.2f}, peak {peak:.2f} (both must {BESIDE_MUST}, aim {BESIDE_AIM})"
            )
        rows += found
    given = {name: value for name, value in vars(options).items() if name not in ("rounds", "peak")}
    if all(value == parser.get_default(name) for name, value in given.items()):
        save(
            "sliding_window", rows, shape=shape, size=options.size, overlap=OVERLAP, batch=BATCH, rounds=options.rounds
        )


if __name__ == "__main__":
    main()
