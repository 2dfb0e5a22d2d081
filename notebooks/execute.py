"""Executes every notebook of this folder in a fresh kernel and fails with the first error; the files stay as they are."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).resolve().parent
SECONDS_PER_CELL = 300


def execute(path: Path) -> None:
    """Runs one notebook in its own folder; raises `CellExecutionError` with the traceback where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=resources).execute()


def main() -> int:
    """Runs the notebooks that were named, or all."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    paths = [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb"))
    for path in paths:
        start = time.perf_counter()
        execute(path)
        print(f"{path.name}: {time.perf_counter() - start:.1f} s")
    print(f"{len(paths)} notebooks executed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
