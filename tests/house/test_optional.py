"""A package that is not installed is named with what needs it and what to install; nothing is written before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medjax as mj
from medjax import Image

# Private: the command line in this process, and functions that only commands and authors call.
from medjax._cli._main import main
from medjax._optional import hint_for, optional
from medjax._show._figure import save_comparison

LABEL = Image.from_array(np.eye(4, dtype=np.uint8)[..., None], kind="label")
NEEDING: dict[str, tuple[Callable[[Path], Any], str]] = {
    "scipy.ndimage": (lambda folder: mj.connected_components(LABEL), 'connected_components needs .*SciPy: pip install "medjax[masks]"'),
    "scipy.spatial": (lambda folder: mj.surface_distances(LABEL, LABEL), 'surface_distances needs .*SciPy: pip install "medjax[masks]"'),
    "matplotlib.figure": (
        lambda folder: save_comparison(LABEL, LABEL, folder / "a.png"),
        'a picture needs the package matplotlib: pip install "medjax[plot]"',
    ),
    "highdicom": (
        lambda folder: mj.io.save_dicom_segmentation(LABEL, folder / "s.dcm", folder),
        'writing a segmentation object needs the package highdicom; pip install "medjax[seg]"',
    ),
    "grain": (
        lambda folder: mj.data.Loader(mj.data.Cohort.of([{"case": "a", "seg": LABEL}])),
        'mj.data.Loader needs the package grain: pip install "medjax[load]"',
    ),
    "zstandard": (
        lambda folder: mj.save_image(LABEL, folder / "a.nii.zst"),
        'zstd compression needs the package zstandard; pip install "medjax[zstd]"',
    ),
}  # fmt: skip


def uninstall(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """As if the package were not there: `None` is what the import system takes for that."""
    package = module.partition(".")[0]
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize("module", NEEDING)
def test_a_missing_package_is_named_with_its_extra(
    module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call, message = NEEDING[module]
    uninstall(monkeypatch, module)
    expected = ImportError if ": pip" in message else mj.io.MissingDependencyError
    with pytest.raises(expected, match=message.replace("[", r"\[").replace("]", r"\]")):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_demo_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uninstall(monkeypatch, "matplotlib")
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 2
    said = capsys.readouterr()
    assert said.err.strip() == (
        'medjax demo: the demo\'s picture needs the package matplotlib: pip install "medjax[plot]"'
    )
    assert said.out == ""
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_there_and_broken_says_so_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "half_installed").mkdir()
    (tmp_path / "half_installed" / "__init__.py").touch()
    (tmp_path / "half_installed" / "part.py").write_text("import a_library_that_is_gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'a_library_that_is_gone'"):
        optional("half_installed.part", "this test")
    assert hint_for("half_installed.part") == "pip install half_installed"


def test_notebooks_need_no_package_of_the_tests() -> None:
    """`nibabel.testing` imports pytest, which a plain installation does not bring."""
    notebooks = sorted((Path(mj.__file__).parent.parent / "notebooks").glob("*.ipynb"))
    assert len(notebooks) >= 3
    for notebook in notebooks:
        assert not [word for word in ("testing", "pytest", "hypothesis") if word in notebook.read_text()]
