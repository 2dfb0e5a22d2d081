"""docs/command_line.md: every command line runs, and says what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
from command_files import Commands, scan

import medjax as mj

# Private: the table of commands, so that the page leaves out none.
from medjax._cli._commands import COMMANDS
from medjax._pipeline._grammar import from_toml

PAGE = Path(mj.__file__).parent.parent / "docs" / "command_line.md"


def lines() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def test_every_command_stands_in_the_page() -> None:
    assert {line.split()[1] for line in lines()} - {"--help", "--version"} == set(COMMANDS)


def test_every_line_of_the_page_runs(medjax: Commands) -> None:
    mj.save_image(medjax.load("other.nii.gz"), "pet.nii.gz")
    for name in ("garbage.nii.gz", "other.nii.gz"):
        (medjax.folder / name).unlink()
    mj.io.save_dicom_series(scan().with_metadata(mj.Metadata(modality="CT")), "series")
    cohort = mj.datasets.cohort(1, "made_before", seed=0, spacing=40.0, as_dicom=True)
    next(cohort.parent.glob("*/pet")).rename("pet_series")
    for line in lines():
        words = shlex.split(line)
        assert words[0] == "medjax"
        ran = medjax("", *words[1:])
        assert ran.code == 0, f"{line}: {ran.err}"
    text = PAGE.read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, {})
    assert Path("from_python.nii.gz").read_bytes() == Path("prepared.nii.gz").read_bytes()
    np.testing.assert_array_equal(medjax.load("prepared_seg.nii.gz").shape, (32, 32, 16))
    (toml,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert [step.name for step in from_toml(toml)] == ["reorient", "resample", "window"]
