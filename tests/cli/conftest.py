from __future__ import annotations

from pathlib import Path

import pytest
from command_files import Commands, write_files


@pytest.fixture
def medjax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """Calls commands in a folder of small files."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDJAX_CACHE", str(tmp_path / "cache"))
    return Commands(tmp_path, capsys)
