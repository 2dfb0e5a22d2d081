"""The demo: what it says is true of what it writes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

import medjax as mj

# Private: where the scan lies that the demo takes.
from medjax._cli import _demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Runs `python -m medjax demo` as a person does, from another folder, with warnings as errors."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-W", "error", "-m", "medjax", "demo", "--output", "out/of here"]
    environment = {**os.environ, "PYTHONPATH": str(Path(mj.__file__).parent.parent), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder / "out" / "of here", done.stdout


def test_demo_writes_what_its_table_says(demo: tuple[Path, str]) -> None:
    folder, text = demo
    nifti = nibabel.load(folder / "example4d_1mm_RAS.nii.gz")
    source = nibabel.load(_demo.example_scan())
    assert isinstance(nifti, nibabel.Nifti1Image)
    assert isinstance(source, nibabel.Nifti1Image)
    assert nifti.shape == (256, 192, 53)
    assert "128 x 96 x 24" in text
    assert "256 x 192 x 53" in text
    assert nibabel.aff2axcodes(nifti.affine) == ("R", "A", "S")
    np.testing.assert_allclose(nifti.header.get_zooms(), 1.0, rtol=1e-6)  # stored as float32
    # The centre of the field of view stays; half a voxel is the most that rounding the size moves a face.
    centers = [(image.affine @ [*(np.array(image.shape[:3]) / 2 - 0.5), 1])[:3] for image in (nifti, source)]
    np.testing.assert_allclose(centers[0], centers[1], atol=1e-3)  # the header holds float32 of values near 100
    values = np.asarray(nifti.dataobj)
    low, high = re.search(r"range .* ([\d.]+) to ([\d.]+) \(float32\)", text).groups()  # type: ignore[union-attr]
    np.testing.assert_allclose([values.min(), values.max()], [float(low), float(high)], rtol=1e-4)


def test_demo_agrees_with_simpleitk(demo: tuple[Path, str]) -> None:
    sitk = pytest.importorskip("SimpleITK")
    folder, _ = demo
    source = nibabel.load(_demo.example_scan())
    assert isinstance(source, nibabel.Nifti1Image)
    moving = mj.Image.from_array(
        np.asarray(source.dataobj)[..., 0],
        affine=mj.Image.from_array(np.zeros((2, 2, 2)), affine=source.affine).affine_ras,
    )
    out = mj.load_image(folder / "example4d_1mm_RAS.nii.gz")
    reference = sitk.GetImageFromArray(np.asarray(moving.voxels, np.float32).transpose())
    reference.SetSpacing(moving.spacing)
    reference.SetOrigin(moving.origin)
    reference.SetDirection(moving.direction.ravel().tolist())
    like = sitk.Image(*out.shape, sitk.sitkFloat32)
    like.SetSpacing(out.spacing)
    like.SetOrigin(out.origin)
    like.SetDirection(out.direction.ravel().tolist())
    expected = sitk.GetArrayFromImage(sitk.Resample(reference, like, sitk.Transform(), sitk.sitkLinear)).transpose()
    # The written header holds float32 geometry: 1e-5 mm times a gradient of some 500 per mm.
    np.testing.assert_allclose(out.voxels, expected, atol=1e-4 * float(np.ptp(expected)))


def test_demo_says_where_its_files_are(demo: tuple[Path, str]) -> None:
    folder, text = demo
    for name in ("example4d_1mm_RAS.nii.gz", "before_and_after.png"):
        assert f"out/of here/{name}" in text
        assert (folder / name).stat().st_size > 10_000
    assert "9.3 degrees oblique" in text
