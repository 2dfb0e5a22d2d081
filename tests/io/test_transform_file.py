"""Transforms in ITK's text form, beside SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import SimpleITK as sitk
from scans import oblique_affine
from spatial_cases import MATRIX, near, scan

import medjax as mj
from medjax.io import ImageFileError, UnsupportedFileError, load_transform, save_transform

POINTS = np.random.default_rng(1).uniform(-100, 100, (20, 3))


def drawn(transform: Any, seed: int = 0) -> Any:
    """Moves a transform's parameters, and its centre, away from those of the identity."""
    rng = np.random.default_rng(seed)
    start = np.array(transform.GetParameters())
    transform.SetParameters((start + rng.uniform(-0.3, 0.3, len(start))).tolist())
    if hasattr(transform, "SetCenter"):
        transform.SetCenter(rng.uniform(-20, 20, 3).tolist())
    return transform


def in_zyx_order() -> Any:
    transform = drawn(sitk.Euler3DTransform(), 7)
    transform.SetComputeZYX(True)
    return transform


def composite() -> Any:
    return sitk.CompositeTransform([drawn(sitk.AffineTransform(3)), drawn(sitk.Euler3DTransform()), in_zyx_order()])


LINEAR: dict[str, Callable[[], Any]] = {
    "affine": lambda: drawn(sitk.AffineTransform(3)),
    "translation": lambda: drawn(sitk.TranslationTransform(3)),
    "scale": lambda: drawn(sitk.ScaleTransform(3)),
    "euler": lambda: drawn(sitk.Euler3DTransform()),
    "euler zyx": in_zyx_order,
    "versor": lambda: drawn(sitk.VersorTransform()),
    "versor rigid": lambda: drawn(sitk.VersorRigid3DTransform()),
    "similarity": lambda: drawn(sitk.Similarity3DTransform()),
    "scale versor": lambda: drawn(sitk.ScaleVersor3DTransform()),
    "scale skew versor": lambda: drawn(sitk.ScaleSkewVersor3DTransform()),
    "scale after skew": lambda: drawn(sitk.ComposeScaleSkewVersor3DTransform()),
    "identity": lambda: sitk.Transform(3, sitk.sitkIdentity),
    "composite": composite,
}


def mapped(transform: Any) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in POINTS.tolist()])


@pytest.mark.parametrize("suffix", [".tfm", ".txt"])
@pytest.mark.parametrize("kind", LINEAR)
def test_what_simpleitk_writes_and_reads(kind: str, suffix: str, tmp_path: Path) -> None:
    transform = LINEAR[kind]()
    sitk.WriteTransform(transform, str(tmp_path / f"theirs{suffix}"))
    loaded = load_transform(tmp_path / f"theirs{suffix}")
    np.testing.assert_allclose(loaded(POINTS), mapped(transform), rtol=0, atol=1e-10)  # mm, of points 200 mm away
    save_transform(loaded, tmp_path / f"ours{suffix}")
    np.testing.assert_allclose(
        mapped(sitk.ReadTransform(str(tmp_path / f"ours{suffix}"))), mapped(transform), rtol=0, atol=1e-10
    )
    again = load_transform(tmp_path / f"ours{suffix}")
    np.testing.assert_array_equal(again.matrix, loaded.matrix)  # no digit is lost
    np.testing.assert_array_equal(again.center, loaded.center)


def test_a_saved_composite_is_its_stages_one_after_the_other(tmp_path: Path) -> None:
    image = scan(3)
    center = np.asarray(image.grid.center)
    first = mj.AffineTransform.of(MATRIX, center=center + np.array([0.5, -0.4, 1.0]))
    second = mj.AffineTransform.of(mj.affine_matrix(rotation=(5, 10, -20), scale=1.2), center=center)
    both = mj.CompositeTransform((first, second))
    save_transform(both, tmp_path / "both.tfm")
    direct = mj.resample_to_image(image, image, transform=both, fill=0.0)
    loaded = load_transform(tmp_path / "both.tfm")
    through = mj.resample_to_image(image, image, transform=loaded, fill=0.0)
    # Two products of the same matrices differ by roundings of float64, a coordinate's fraction by one of float32.
    np.testing.assert_allclose(np.asarray(through.voxels), np.asarray(direct.voxels), rtol=0, atol=2000 * 4e-6)
    assert np.ptp(np.asarray(through.voxels)) > 100


def test_resampling_through_a_file_equals_simpleitk(tmp_path: Path) -> None:
    image = scan(4, (21, 18, 15), affine=oblique_affine(), dtype=np.float32)
    reference = near(image, 2)
    transform = drawn(sitk.Euler3DTransform(), 3)
    transform.SetCenter(image.grid.center.tolist())
    sitk.WriteTransform(transform, str(tmp_path / "t.tfm"))
    ours = mj.resample_to_grid(image, reference, transform=load_transform(tmp_path / "t.tfm"), fill=-7.0)
    moving = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(image.voxels).T))
    moving.SetSpacing(image.spacing)
    moving.SetOrigin(image.origin)
    moving.SetDirection(np.asarray(image.direction).ravel().tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(list(reference.shape))
    resampler.SetOutputSpacing(reference.spacing)
    resampler.SetOutputOrigin(reference.origin)
    resampler.SetOutputDirection(np.asarray(reference.direction).ravel().tolist())
    resampler.SetTransform(transform)
    resampler.SetDefaultPixelValue(-7.0)
    theirs = sitk.GetArrayFromImage(resampler.Execute(moving)).T
    assert (theirs != -7).mean() > 0.3
    np.testing.assert_allclose(np.asarray(ours.voxels), theirs, rtol=0, atol=1e-4 * np.ptp(theirs))


HEAD = "#Insight Transform File V1.0\n#Transform 0\n"
AFFINE = HEAD + "Transform: AffineTransform_double_3_3\n"
TWELVE = "Parameters: 1 0 0 0 1 0 0 0 1 4 5 6\n"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ImageFileError, "first line"),
        ("solid cube\n", ImageFileError, "first line"),
        (HEAD, ImageFileError, "holds no transform"),
        (AFFINE, ImageFileError, "has 12 parameters, found 0"),
        (AFFINE + "Parameters: 1 0 0 0 1 0\n", ImageFileError, "has 12 parameters, found 6"),
        (AFFINE + TWELVE.replace("4 5", "4 x"), ImageFileError, "not all numbers"),
        (AFFINE + TWELVE.replace("4 5", "4 nan"), ImageFileError, "not all finite"),
        (AFFINE + TWELVE + "FixedParameters: 1 2\n", ImageFileError, "3 fixed parameters, found 2"),
        (AFFINE + TWELVE + AFFINE + TWELVE, ImageFileError, "lists 2 transforms"),
        (AFFINE.replace("3_3", "2_2") + TWELVE, UnsupportedFileError, "not a transform of three dimensions"),
        (HEAD + "Transform: BSplineTransform_double_3_3\n" + TWELVE, UnsupportedFileError, "'BSplineTransform_double"),
        (HEAD + "Transform: Affine\n" + TWELVE, UnsupportedFileError, "'Affine', which is not read"),
        (AFFINE + TWELVE + "#" * 2**20, UnsupportedFileError, "more than a megabyte"),
    ],
)
def test_what_is_refused(text: str, error: type[ImageFileError], message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.tfm"
    path.write_text(text)
    with pytest.raises(error, match=message) as caught:
        load_transform(path)
    assert str(path) in str(caught.value)


def test_lines_in_other_dress(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes((AFFINE.replace("double", "float") + "\n# a remark\n" + TWELVE).replace("\n", "\r\n").encode())
    assert load_transform(path)(np.zeros(3)).tolist() == [4, 5, 6]


def test_damaged_files_load_or_are_refused(tmp_path: Path) -> None:
    source, path, rng = tmp_path / "whole.tfm", tmp_path / "t.tfm", np.random.default_rng(0)
    sitk.WriteTransform(composite(), str(source))
    content, refused = source.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(content[: rng.integers(0, len(content) + 1)] if rng.random() < 0.3 else content)
        for place in rng.integers(0, max(1, len(damaged)), rng.integers(0, 6)):
            damaged[place : place + 1] = bytes([int(rng.integers(0, 256))])
        path.write_bytes(damaged)
        try:
            assert np.isfinite(load_transform(path).matrix).all()
        except ImageFileError:
            refused += 1
    assert 50 < refused < 300


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    path, affine = tmp_path / "t.tfm", mj.AffineTransform.of(MATRIX)
    with pytest.raises(UnsupportedFileError, match=r"\.tfm or \.txt"):
        save_transform(affine, tmp_path / "t.h5")
    with pytest.raises(ValueError, match="got a DisplacementField"):
        save_transform(mj.DisplacementField.of(np.zeros((2, 2, 2, 3)), np.eye(4)), path)
    with pytest.raises(ValueError, match="one by one"):
        save_transform(mj.AffineTransform.of(np.stack([MATRIX, MATRIX])), path)
    with pytest.raises(ValueError, match="jax transformation"):
        jax.jit(lambda m: save_transform(mj.AffineTransform.of(m), path))(MATRIX)
    with pytest.raises(FileNotFoundError):
        load_transform(tmp_path / "none.tfm")
    assert not path.exists()
