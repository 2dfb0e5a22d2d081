"""Real processes: a loop that is killed goes on exactly, and processes together make the batches of one."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import worker
from processes import said_by, started

COUNT = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> dict[int, str]:
    """The hashes of an uninterrupted run's batches."""
    loader = worker.loader(str(folder), threads=2)
    found = {}
    for batch in loader:
        found[batch.step] = worker.digest(batch)
        if batch.step == 60:
            break
    assert len(set(found.values())) == 61
    return found


def test_after_a_kill_the_next_batches_are_the_same(folder: Path, uninterrupted: dict[int, str]) -> None:
    """`kill -9` at a random step; then another process, with another number of threads."""
    last = random.Random(os.getpid()).randrange(5, 35)
    process = started("stream", folder, 0, 10**9, 3)
    assert process.stdout is not None
    steps = 0
    for steps, _ in enumerate(process.stdout):
        if steps == last:
            process.kill()
            break
    process.communicate()
    assert process.returncode == -9
    assert steps == last
    for said in said_by(started("stream", folder, last, last + COUNT, 1)):
        assert said["digest"] == uninterrupted[said["step"]], said["step"]
        last += 1
    assert last == steps + COUNT


def test_a_loop_that_is_left_open_says_nothing_at_exit(folder: Path) -> None:
    """Grain's iterators fail to close once its modules are taken down, which Python prints as ignored exceptions."""
    process = started("left", folder)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0
    assert (out, err) == ('{"step": 0}\n', "")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("spread", ["mesh", "apart"])
def test_two_processes_give_the_halves_of_one(spread: str, folder: Path, uninterrupted: dict[int, str]) -> None:
    """Under jax.distributed on the loopback. With a mesh every process knows of one batch of all items."""
    address = f"127.0.0.1:{free_port()}"
    processes = [started("part", folder, address, 2, number, spread) for number in range(2)]
    said = [said_by(process) for process in processes]
    loader = worker.loader(str(folder))
    for step in range(3):
        batch = loader.batch(step)
        assert worker.digest(batch) == uninterrupted[step]
        for number, each in enumerate(said):
            half = slice(2 * number, 2 * number + 2)
            assert each[step]["digest"] == worker.digest(batch, half), (number, step)
            count, rows = (4, slice(None)) if spread == "mesh" else (2, half)
            assert each[step]["shape"] == [count, *worker.PATCH]
            assert each[step]["rows"] == batch.rows[rows].tolist()


def test_on_four_devices() -> None:
    """Runs four_devices_data.py."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST")}
    script = Path(__file__).with_name("four_devices_data.py")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(script)]
    done = subprocess.run(command, env=environment, cwd=script.parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
