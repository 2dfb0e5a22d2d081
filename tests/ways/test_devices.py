"""Several devices, made of one: JAX splits the host when told to before it starts, so these tests have their own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_on_four_devices(request: pytest.FixtureRequest) -> None:
    """Runs four_devices.py."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST")}
    script = Path(__file__).with_name("four_devices.py")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-m",
        request.config.option.markexpr,
        str(script),
    ]
    done = subprocess.run(command, env=environment, cwd=script.parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
