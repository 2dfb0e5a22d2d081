"""What one interpolation is worth: the chain of tests/cases/phantom.py, fused and step by step, beside the formula's truth.

Run: `python benchmarks/fusing.py`. Writes results/fusing.json and draws docs/fusing.png.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from harness import optional, save

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "cases"))

from phantom import after_the_chain, rms  # noqa: E402, after the path

PICTURE = HERE.parent / "docs" / "fusing.png"


def draw(panels: dict[str, np.ndarray], pyplot: Any) -> None:
    figure, axes = pyplot.subplots(1, len(panels), figsize=(9.5, 3.1), layout="constrained")
    for axis, (title, plane) in zip(axes, panels.items(), strict=True):
        is_error = "error" in title
        limits = (-20, 20) if is_error else (0, 150)
        shown = axis.imshow(plane.T, cmap="RdBu_r" if is_error else "gray", vmin=limits[0], vmax=limits[1])
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
        figure.colorbar(shown, ax=axis, shrink=0.75)
    figure.savefig(PICTURE, dpi=110)
    print(f"drawn to {PICTURE}")


def main() -> None:
    fused, steps, truth = after_the_chain()
    found = {"fused_rms": rms(fused, truth), "stepwise_rms": rms(steps, truth), "range": float(np.ptp(truth))}
    print("  ".join(f"{name} {value:.2f}" for name, value in found.items()))
    save("fusing", [], **found)
    pyplot = optional("matplotlib.pyplot")
    if pyplot is None:
        return
    middle = truth.shape[2] // 2
    planes = {
        "the truth, by its formula": truth,
        f"error step by step, RMS {found['stepwise_rms']:.1f}": np.asarray(steps.voxels) - truth,
        f"error fused, RMS {found['fused_rms']:.1f}": np.asarray(fused.voxels) - truth,
    }
    draw({title: plane[..., middle] for title, plane in planes.items()}, pyplot)


if __name__ == "__main__":
    main()
