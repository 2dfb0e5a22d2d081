"""The examples of docs/dicom.md run as they stand and print what they say."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "dicom.md"


def test_examples_of_the_dicom_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    outcome = doctest.testfile(str(PAGE), module_relative=False, optionflags=flags, encoding="utf-8")
    assert outcome.failed == 0
    assert outcome.attempted > 20
