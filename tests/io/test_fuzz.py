"""A short run of the fuzz harness; the long one is `python tests/cases/fuzz_formats.py --cases 20000`."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import fuzz_formats
import pytest
from fuzz_formats import FORMATS, Limits, Result
from fuzz_seeds import SEEDS

import medjax as mj
from medjax import io

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits on memory need Linux")


@pytest.mark.parametrize("name", FORMATS)
def test_the_seeds_are_sound(tmp_path: Path, name: str) -> None:
    """What is damaged must open while it is not: else the harness tests the refusal of one file again and again."""
    loaded = 0
    for number, files in enumerate(SEEDS[name]()):
        folder = tmp_path / str(number)
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        target = folder / next(iter(files)).split("/")[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", io.ImageFileWarning)
            try:
                if name == "mrb":
                    assert len(io.load_mrb(target)) == 2
                elif len(io.list_hdf5(target) if name == "hdf5" else [0]) == 1:
                    mj.load_image(target)
                loaded += 1
            except io.ImageFileError:
                if name != "dicom":  # three of its seeds are not images
                    raise
    assert loaded >= (len(SEEDS[name]()) - 4 if name == "dicom" else len(SEEDS[name]()))


def test_cases_are_reproducible_and_differ(tmp_path: Path) -> None:
    made: list[list[bytes]] = []
    for attempt in range(2):
        for number in range(12):
            folder = tmp_path / f"{attempt}-{number}"
            folder.mkdir()
            fuzz_formats.make("metaimage", 3, number, folder)
            made.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert made[:12] == made[12:]
    assert len({tuple(files) for files in made[:12]}) > 8


def test_every_case_loads_or_is_refused() -> None:
    results = fuzz_formats.run(list(FORMATS), cases=420, seed=2026)
    failed = [result for result in results if result.outcome == "FAILED"]
    assert not failed, "\n".join(f"{result.format} {result.number}: {result.detail}" for result in failed)
    assert len(results) == 420
    counts = {name: [r.outcome for r in results if r.format == name] for name in FORMATS}
    for name, outcomes in counts.items():
        assert len(outcomes) == 60
        assert len(set(outcomes)) >= 2, name  # not one refusal for all: the damage reaches different places


FAULTS = {
    "raises": "raise KeyError('field')",
    "warns": "warnings.warn('odd', RuntimeWarning, stacklevel=1)",
    "prints": "import os; os.write(1, b'hello')",
    "is slow": "time.sleep(1.2)",
    "takes memory": "bytearray(200 << 20)",
    "cannot have memory": "bytearray(20 << 30)",
    "hangs": "time.sleep(60)",
    "dies": "import os; os._exit(3)",
}


def test_the_harness_notices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A reader that misbehaves in every other case is found out each time, and the cases between are run all the same."""
    script = tmp_path / "worker.py"
    script.write_text(
        f"import sys, time, warnings\nsys.path.insert(0, {str(Path(__file__).parents[1] / 'cases')!r})\n"
        "import fuzz_formats\nmake, number = fuzz_formats.make, None\n"
        "def remember(*arguments):\n    global number\n    number = arguments[2]\n    return make(*arguments)\n"
        f"faults = {list(FAULTS.values())!r}\n"
        "def misbehave(path):\n    if number % 2:\n        exec(faults[number // 2])\n"
        "fuzz_formats.make, fuzz_formats.open_everyway = remember, misbehave\nsys.exit(fuzz_formats.main())\n"
    )
    monkeypatch.setattr(fuzz_formats, "__file__", str(script))
    results = fuzz_formats.run(["metaimage"], cases=17, seed=0, limits=Limits(seconds=1.0, megabytes=150))
    assert [result.number for result in results] == list(range(17))
    assert [result.outcome == "FAILED" for result in results] == [n % 2 == 1 for n in range(17)], results
    assert json.dumps([vars(result) for result in results])


def test_the_summary_counts() -> None:
    results = [
        Result("nifti", 0, "loaded", "", 0.5, 3.0),
        Result("nifti", 1, "TruncatedFileError", "short", 0.1, 1.0),
        Result("nrrd", 0, "FAILED", "KeyError", 0.1, 1.0),
    ]
    lines = fuzz_formats.summary(results).splitlines()
    assert lines[1].split()[:7] == ["nifti", "2", "1", "1", "0", "0.50", "3"]
    assert lines[2].split()[:5] == ["nrrd", "1", "0", "0", "1"]
