"""Commands as processes of their own: what they import, how they end, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from command_files import scan

import medjax as mj

ROOT = Path(mj.__file__).parent.parent


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX")}
    return kept | {"PYTHONPATH": str(ROOT), "MEDJAX_CACHE": str(folder / "cache"), "JAX_PLATFORMS": "cpu"}


def loaded_by(folder: Path, line: str) -> tuple[set[str], str]:
    """The modules that a command loads, and its stdout."""
    script = f"import sys; from medjax._cli._main import main; code = main({line.split()!r}); "
    script += "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split()), done.stdout


HEAVY = {"jax", "jaxlib", "nibabel", "pydicom", "h5py", "matplotlib", "scipy"}


def test_help_needs_nothing(tmp_path: Path) -> None:
    found, out = loaded_by(tmp_path, "--help")
    assert "resample" in out
    assert not found & (HEAVY | {"numpy", "argparse", "dataclasses"})


@pytest.mark.parametrize("line", ["resample --help", "apply --help", "completion bash"])
def test_help_of_a_command_needs_no_jax(tmp_path: Path, line: str) -> None:
    found, out = loaded_by(tmp_path, line)
    assert "--interpolation" in out or "interpolation=" in out
    assert not found & HEAVY


def test_info_needs_no_jax(tmp_path: Path) -> None:
    mj.save_image(scan(), tmp_path / "ct.nii.gz")
    found, out = loaded_by(tmp_path, "info ct.nii.gz")
    assert "12 x 10 x 6" in out
    assert not found & HEAVY


def test_first_command_of_a_day_leaves_its_programs_to_the_next(tmp_path: Path) -> None:
    mj.save_image(scan(), tmp_path / "ct.nii.gz")
    for name in ("a.nii.gz", "b.nii.gz"):
        command = [sys.executable, "-m", "medjax", "resample", "ct.nii.gz", name, "--spacing", "2"]
        done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        programs = {path.name for path in (tmp_path / "cache" / "compiled").iterdir()}
        if name == "a.nii.gz":
            first = programs
    assert {name for name in programs if not name.endswith("-atime")} == {
        name for name in first if not name.endswith("-atime")
    }
    assert first
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Sent while the output is written, beside its place: many times as much noise as gzip writes in that time."""
    voxels = np.random.default_rng(0).standard_normal((400, 400, 150)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "noise.nii")  # type: ignore[attr-defined]
    command = [sys.executable, "-m", "medjax", "convert", "noise.nii", "out.nii.gz"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 60
        while not list(tmp_path.glob(".*.part")) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.nii"]


def test_closed_pipe_is_quiet(tmp_path: Path) -> None:
    """As `| head -1` closes it: the list is longer than a pipe holds."""
    mj.save_image(scan(), tmp_path / "ct.nii")
    (tmp_path / "list").write_text("ct.nii\n" * 3000)
    command = [sys.executable, "-m", "medjax", "info", "--files-from", "list", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith('{"schema": "medjax.info/1"')
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=60) == 141
    assert err == ""
