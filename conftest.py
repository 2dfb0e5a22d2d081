"""Rules that every test and doctest runs under. It lies here, not in tests/, because it serves medjax/'s doctests too.

Shapes and types of annotated functions are checked at run time; implicit dtype and rank promotion raise; warnings are
errors (pyproject.toml); hypothesis is bounded and draws the same examples on every run. Programs that XLA compiled lie
in a folder that all processes of a run share, the subprocesses that tests start included.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before jax is imported
# Half of a run's time is XLA compiling what another process, or another test, compiled already. An entry is found by
# the program, the compiler's version and its options. The folder is git-ignored and `make clean` removes it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / "build" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
# Drawn once for all processes of a run: those that pytest-xdist starts inherit it.
os.environ.setdefault("MEDJAX_WAYS_SEEDS", str(int.from_bytes(os.urandom(3), "big")))

import hypothesis
import jax
import jax.monitoring
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

# Never uninstalled: modules that medjax imports on use are checked as well.
jaxtyping.install_import_hook("medjax", "beartype.beartype")

import medjax as mj  # noqa: E402, after the hook

PACKAGE = Path(mj.__file__).parent

pytest_plugins = ["command_files"]  # the fixture `medjax`, with which tests/cli calls commands

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("medjax", deadline=None, derandomize=True, max_examples=40, database=None)
hypothesis.settings.load_profile("medjax")


def pytest_collect_file(file_path: Path) -> None:
    """Imports a module of the package by its name before pytest does.

    Pytest first imports the package that a module lies in; where that imports the module, pytest loads it a second
    time.
    """
    if file_path.suffix == ".py" and PACKAGE in file_path.parents:
        parts = file_path.relative_to(PACKAGE.parent).with_suffix("").parts
        importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"the table of ways was drawn from MEDJAX_WAYS_SEEDS={os.environ['MEDJAX_WAYS_SEEDS']}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a run that left out cases for want of ../shared/data although the folder is there."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")  # of the first process alone
    if reporter is None or not (session.config.rootpath.parent / "shared" / "data").is_dir():
        return
    missed = [report.nodeid for report in reporter.stats.get("skipped", []) if "shared/data" in str(report.longrepr)]
    if missed:
        reporter.write_line(f"skipped although ../shared/data is there: {', '.join(missed)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True, scope="session")
def _doctest_names(doctest_namespace: dict[str, Any]) -> None:
    """What a user has who pastes an example after `import medjax as mj`; public names are written `mj.rotate`."""
    doctest_namespace.update(np=np, jax=jax, jnp=jnp, mj=mj)


class Compilations:
    """Counts the programs that XLA compiles inside a `with` block, those of eager operations included."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self.count += event == "/jax/core/compile/backend_compile_duration"

    def __enter__(self) -> Compilations:
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self)
        return self

    def __exit__(self, *error: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self)


_MOST_MAPPINGS = 20_000
"""Compiled programs hold mapped memory. Beyond so many pieces they are dropped: Linux allows a process 65,530."""


@pytest.fixture(autouse=True, scope="module")
def _few_programs() -> Iterator[None]:
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > _MOST_MAPPINGS:
        jax.clear_caches()


@pytest.fixture
def compilations() -> Compilations:
    """`with compilations: ...` and then `compilations.count`."""
    return Compilations()


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switches the run-time type checks off, as users have it: for tests of what a wrong argument raises."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
