"""The scripts of examples/ run as their first lines say, on made files, and print what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import medjax as mj

EXAMPLES = Path(mj.__file__).parent.parent / "examples"


def printed_by(name: str, *arguments: object, **environment: str) -> str:
    """What a script prints in a fresh interpreter; a warning or an error fails."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
    everything = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), **environment}
    found = subprocess.run(command, capture_output=True, text=True, env=everything, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    return found.stdout


def save_scans(folder: Path, count: int) -> list[Path]:
    """Noise on voxels of 1.5 x 1.5 x 3 mm, each scan of another size."""
    paths = [folder / f"scan_{number}.nii.gz" for number in range(count)]
    for number, path in enumerate(paths):
        voxels = np.random.default_rng(number).integers(0, 1000, (20 + number, 28, 12), np.int16)
        mj.save_image(mj.Image.from_array(voxels, spacing=(1.5, 1.5, 3)), path)
    return paths


def test_every_example_is_run_here() -> None:
    run = set(re.findall(r'printed_by\("(\w+\.py)"', Path(__file__).read_text()))
    assert run == {path.name for path in EXAMPLES.glob("*.py")}


def test_resample_file(tmp_path: Path) -> None:
    (source,) = save_scans(tmp_path, 1)
    target = tmp_path / "scan_1mm.nii.gz"
    printed = printed_by("resample_file.py", source, target)
    assert "scan_1mm.nii.gz: Image(30x42x36 float32 intensity, spacing 1 x 1 x 1 mm, RAS)" in printed
    image = mj.load_image(target)
    assert (image.shape, image.spacing, image.orientation) == (
        (30, 42, 36),
        (1, 1, 1),
        "RAS",
    )  # 20 * 1.5, 28 * 1.5, 12 * 3


def test_train_through_a_transform() -> None:
    """The loss falls, which it can do only by a gradient through the rotation."""
    before, after = map(float, re.findall(r"0\.\d+", printed_by("train_through_a_transform.py")))
    assert after < before / 3


def test_several_devices() -> None:
    """Four devices, of which each sees two scans, give one device's loss and gradient, to the rounding of float32."""
    printed = printed_by("several_devices.py", XLA_FLAGS="--xla_force_host_platform_device_count=4")
    found = re.fullmatch(
        r"4 devices with 2 scans each: (.+); one device: (.+)\nlargest difference of the gradients: (.+)\n", printed
    )
    assert found, printed
    several, one, difference = map(float, found.groups())
    assert several > 0.1
    assert abs(several - one) <= 1e-5
    assert difference <= 1e-6


def test_checkpoint(tmp_path: Path) -> None:
    """The script itself compares voxels, affine and metadata with what it saved."""
    printed = printed_by("checkpoint.py", tmp_path / "checkpoints")
    assert printed == "restored Image(4x3x2 int16 intensity, spacing 0.7 x 0.7 x 3.3 mm, LPS, CT)\n"


def test_grain_pipeline(tmp_path: Path) -> None:
    """Three batches of four from six scans: the first six are each scan once; the same seed gives the same numbers."""
    save_scans(tmp_path, 6)
    printed = printed_by("grain_pipeline.py", tmp_path)
    lines = printed.splitlines()
    assert len(lines) == 3
    assert all("Image(batch (4,) of 32x32x16 float32 intensity)" in line for line in lines)
    names = re.findall(r"scan_\d\.nii\.gz", printed)
    assert len(names) == 12
    assert sorted(names[:6]) == sorted(names[6:]) == [f"scan_{number}.nii.gz" for number in range(6)]
    assert printed_by("grain_pipeline.py", tmp_path) == printed
