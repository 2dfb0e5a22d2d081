"""Starting worker.py, and listening to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")


def started(*arguments: Any) -> subprocess.Popen[str]:
    """A process of its own; a test ends it by `kill` or waits for it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(WORKER.parents[2])}
    command = [sys.executable, str(WORKER), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said_by(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What a process that ends well has said."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-4000:]
    return [json.loads(line) for line in out.splitlines()]
