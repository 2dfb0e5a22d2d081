"""A process that was forked after JAX ran says so, where it would wait for ever; what NumPy alone does goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import medjax as mj

SCRIPT = """
import multiprocessing, sys, warnings
import numpy as np
import jax
import medjax as mj

def work(answers):
    image = mj.Image.from_array(np.ones((9, 9, 9), np.float32))
    mask = mj.Image.from_array(np.ones((9, 9, 9), np.uint8), kind="label")
    calls = [
        lambda: mj.rotate(image, "k", 3.0), lambda: mj.resample_to_spacing(image, 0.7), lambda: mj.rescale(image, 2, 1),
        lambda: mj.z_score_normalize(image), lambda: mj.map_coordinates(image.voxels, np.ones((3, 2))),
        lambda: mj.one_hot(mask, num_classes=3), lambda: mj.label_volumes(mask), lambda: mj.bounding_box(mask),
        lambda: mj.barycenter(mask), lambda: mj.dice(mask, mask), lambda: mj.dice(mask, mask, num_classes=2),
    ]
    for call in calls:
        try:
            call()
            answers.put("done")
        except RuntimeError as error:
            answers.put(str(error))
    answers.put(str(mj.pad(mj.flip(mj.crop(image, 1, 5), 0), 1, 1).shape))

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # JAX's own word on the fork
    if sys.argv[1] == "after":
        jax.numpy.ones(3).block_until_ready()
    answers = multiprocessing.get_context("fork").Queue()
    child = multiprocessing.get_context("fork").Process(target=work, args=(answers,), daemon=True)
    child.start()
    for _ in range(12):
        print(answers.get(timeout=60))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize("when", ["before", "after"])
def test_forked_worker(tmp_path: Path, when: str) -> None:
    """JAX that starts in the child only is whole there."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(Path(mj.__file__).parent.parent), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(script), when]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=240)
    *computed, exact = result.stdout.splitlines()
    assert exact == "(7, 7, 7)"
    assert len(computed) == 11
    if when == "before":
        assert set(computed) == {"done"}
    else:
        assert all("forked after JAX had run" in line and "'spawn'" in line for line in computed)
