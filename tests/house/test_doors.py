"""What stands in place of an image is named at every public door, with what makes an image of it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import medjax as mj
from medjax import Image

ARRAY = np.ones((4, 4, 4), np.float32)
LABEL = Image.from_array(np.ones((4, 4, 4), np.uint8), kind="label")
IMAGE = Image.from_array(ARRAY)

# In place of an image: something, and what makes an image of it.
FOREIGN = {
    "numpy": (ARRAY, r"Image\.from_array"),
    "jax": (jnp.asarray(ARRAY), r"Image\.from_array"),
    "text": ("scan.nii.gz", "load_image"),
    "path": (Path("scan.nii.gz"), "load_image"),
    "SimpleITK": (sitk.GetImageFromArray(ARRAY), r"io\.from_sitk"),
    "nibabel": (nib.Nifti1Image(ARRAY, np.eye(4)), r"io\.from_nibabel"),
    "grid": (IMAGE.grid, "resample_to_grid"),
    "nothing": (None, r"Image\.from_array"),
}

# What a function needs besides, by the name of the parameter.
OTHERS: dict[str, Any] = {
    "after": 1,
    "amount": 0.5,
    "anchor": "center",
    "axes": 0,
    "axis": 0,
    "before": 1,
    "center": 0.0,
    "coefficients": np.zeros((2, 2, 2)),
    "control_points": np.zeros((4, 4, 4)),
    "count": 2,
    "counts": 1.0,
    "degrees": 3.0,
    "displacement": np.zeros((4, 4, 4, 3), np.float32),
    "dose": 0.5,
    "dtype": "int16",
    "factor": 0.5,
    "file": "store.h5",
    "first": [[0, 0, 0]],
    "folder": "series",
    "frequency": (1, 0, 0),
    "fwhm_mm": 2.0,
    "gamma": 0.7,
    "grid": IMAGE.grid,
    "high": 1.0,
    "image": IMAGE,
    "intensity": 0.5,
    "intercept": 0.0,
    "keep": 0.5,
    "key": jax.random.key(0),
    "labels": LABEL,
    "landmarks": mj.NyulLandmarks(np.array([0.0, 1.0]), (1.0, 99.0)),
    "low": 0.0,
    "mask": LABEL,
    "matrix": np.eye(4),
    "max_points": 3,
    "mean": (0.0, 1.0),
    "network": lambda windows: windows,
    "offset": (1.0, 0.0, 0.0),
    "orientation": "RAS",
    "path": "scan.nii.gz",
    "radius": 2.0,
    "reference": IMAGE,
    "rotation": np.zeros((1, 3)),
    "second": [[0, 0, 0]],
    "share": 0.5,
    "shifts": (0.1,),
    "sigma": 1.0,
    "size": (2, 2, 2),
    "slope": 1.0,
    "source": "source",
    "spacing": 2.0,
    "start": (0, 0, 0),
    "std": 1.0,
    "times": (0.5,),
    "translation": np.zeros((1, 3)),
    "width": 1.0,
}
NO_DOOR = {"to_sitk", "to_nibabel"}  # their own tests, once they take images


def doors() -> list[Any]:
    """Every public function with a parameter that is an image, or a sequence of images, once for each such parameter."""
    found = []
    for package in (mj, mj.io):
        for name in dir(package):
            thing = getattr(package, name)
            if inspect.isroutine(thing):
                for parameter in inspect.signature(thing).parameters.values():
                    if parameter.annotation in TAKES_IMAGES and parameter.default is parameter.empty:
                        found.append(
                            pytest.param(thing, parameter.name, id=f"{package.__name__}.{name}-{parameter.name}")
                        )
    return found


TAKES_IMAGES = ("Image", "Image | Any", "Sequence[Image]", "Sequence[Image] | Image", Image)
DOORS = doors()


def test_the_walk_finds_the_doors() -> None:
    assert {case.values[0].__name__ for case in DOORS} >= {
        "rotate",
        "stack",
        "nyul_train",
        "save_image",
        "save_hdf5",
        "dice",
    }
    assert len(DOORS) >= 45


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("function", "parameter"), DOORS)
def test_something_else_in_place_of_an_image(
    function: Callable[..., Any], parameter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what was given and what makes an image of it. Nothing is written."""
    monkeypatch.chdir(tmp_path)
    needed = [
        other.name
        for other in inspect.signature(function).parameters.values()
        if other.default is other.empty and other.kind is not other.VAR_KEYWORD
    ]
    takes_array = inspect.signature(function).parameters[parameter].annotation == "Image | Any"
    for name, (given, maker) in FOREIGN.items():
        if takes_array and name in ("numpy", "jax", "nothing", "grid"):
            continue
        several = parameter == "images" and name in ("nothing", "grid")
        values = {other: OTHERS[other] for other in needed if other != parameter}
        with pytest.raises(ValueError, match=f"must be an Image.*{maker}"):
            function(**values, **{parameter: [given] if several else given})
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("unchecked")
def test_masks_may_be_arrays_but_no_paths() -> None:
    for name in ("text", "path", "SimpleITK", "nibabel"):
        given, maker = FOREIGN[name]
        for call in (mj.z_score_normalize, mj.crop_to_mask):
            with pytest.raises(ValueError, match=f"mask must be an Image or an array.*{maker}"):
                call(IMAGE, mask=given)  # type: ignore[arg-type, operator]
    assert mj.crop_to_mask(IMAGE, ARRAY).shape == (4, 4, 4)


@pytest.mark.usefixtures("unchecked")
def test_several_images_where_one_belongs() -> None:
    with pytest.raises(ValueError, match="got list; stack makes one of several"):
        mj.clip([IMAGE, IMAGE], 0, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"stack takes several images, got one; .* stack\(\[image\]\)"):
        mj.stack(IMAGE)  # type: ignore[arg-type]


# --- Image.from_array ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "path", "SimpleITK", "nibabel"])
@pytest.mark.usefixtures("unchecked")
def test_voxels_that_are_no_array(name: str) -> None:
    given, maker = FOREIGN[name]
    for make in (Image.from_array, IMAGE.with_voxels):
        with pytest.raises(ValueError, match=f"voxels must be an array.*{maker}"):
            make(given)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"voxels must be an array, got an Image.*image\.voxels"):
            make(IMAGE)  # type: ignore[arg-type]


def test_affine_in_ras() -> None:
    """nibabel's affine is index to RAS+; the first two world axes turn round for LPS+."""
    ras = np.array([[-2.0, 0.1, 0, 90], [0.1, 2, 0.3, -126], [0, -0.3, 3, -72], [0, 0, 0, 1]])
    image = Image.from_array(ARRAY, affine_ras=ras)
    np.testing.assert_array_equal(image.affine, np.diag([-1.0, -1, 1, 1]) @ ras)
    np.testing.assert_array_equal(image.affine_ras, ras)
    assert image.orientation == "".join(nib.orientations.aff2axcodes(ras))
    batch = Image.from_array(np.stack([ARRAY] * 2), affine_ras=np.stack([ras, np.eye(4)]))
    assert batch.orientation == (image.orientation, "RAS")
    traced = jax.jit(lambda affine: Image.from_array(ARRAY, affine_ras=affine).affine)(ras)
    np.testing.assert_allclose(traced, image.affine, rtol=1e-6)  # float32
    for other in ({"affine": np.eye(4)}, {"spacing": 2.0}, {"direction": np.eye(3)}):
        with pytest.raises(ValueError, match="give only one of affine, affine_ras, or spacing, origin and direction"):
            Image.from_array(ARRAY, affine_ras=ras, **other)
    with pytest.raises(ValueError, match=r"affine_ras must be \(\.\.\., 4, 4\), index to RAS mm; got shape \(3, 3\)"):
        Image.from_array(ARRAY, affine_ras=np.eye(3))
    with pytest.raises(ValueError, match="affine_ras is singular"):
        Image.from_array(ARRAY, affine_ras=np.diag([1.0, 0, 1, 1]))


def test_too_few_axes() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 5\); a single slice takes a third axis, voxels\[\.\.\., None\]"):
        Image.from_array(np.ones((4, 5)))


def test_channels_first_is_warned_of_and_never_refused() -> None:
    with pytest.warns(UserWarning, match=r"\(1, 4, 5, 6\) are one plane.*voxels\[0\]"):
        image = Image.from_array(np.ones((1, 4, 5, 6)))
    assert (image.shape, image.channels) == ((1, 4, 5), (6,))
    with pytest.warns(UserWarning, match="channels come last"):
        Image.from_array(np.ones((1, 2, 4, 5, 6)))
    Image.from_array(np.ones((1, 4, 5, 6)), affine=np.eye(4)[None])  # a batch of one, and said so
    Image.from_array(np.ones((2, 4, 5, 6)))
    Image.from_array(np.ones((1, 4, 5)))
    Image.from_array(np.ones((1, 4, 5, 1)))


def test_what_a_file_states_is_not_doubted(tmp_path: Path) -> None:
    """A file says which of its axes are space: nothing is warned of (warnings are errors here)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        image = Image.from_array(np.arange(120, dtype=np.int16).reshape(1, 4, 5, 6))
    for name in ("a.nii", "a.mha", "a.h5"):
        mj.save_image(image, tmp_path / name)
        assert mj.load_image(tmp_path / name).shape == (1, 4, 5)
    assert image.with_kind("label").shape == (1, 4, 5)


# --- NumPy's functions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", [np, jnp])
def test_numpy_takes_an_image(library: Any) -> None:
    voxels = library.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    image = Image.from_array(voxels)
    np.testing.assert_array_equal(np.asarray(image), voxels)
    assert np.asarray(image, np.int16).dtype == np.int16
    assert np.mean(image) == 11.5  # type: ignore[call-overload]
    copied = np.array(image, copy=True)
    copied[:] = -1
    np.testing.assert_array_equal(image.voxels, np.arange(24.0).reshape(2, 3, 4))
    with pytest.raises(ValueError, match="copy"):
        np.asarray(image, np.int16, copy=False)
    if library is np:
        assert np.shares_memory(np.asarray(image), voxels)
        assert np.asarray(image, copy=False) is voxels


def test_numpy_takes_an_image_that_waits() -> None:
    """Inside `fuse` the voxels are interpolated when NumPy asks for them."""
    image = Image.from_array(np.arange(24.0).reshape(2, 3, 4))
    seen = []

    @mj.fuse
    def turned(image: Image) -> Image:
        out = mj.rotate(image, "k", 30.0)
        seen.append(np.asarray(out))
        return out

    result = turned(image)
    np.testing.assert_array_equal(seen[0], result.voxels)


def test_numpy_does_not_take_traced_voxels() -> None:
    with pytest.raises(TypeError, match=r"the voxels are traced.*use image\.voxels"):
        jax.jit(lambda image: np.asarray(image))(IMAGE)
    with pytest.raises(TypeError, match="the voxels are traced"):
        jax.jit(mj.fuse(lambda image: np.asarray(mj.rotate(image, 0, 3.0))))(IMAGE)
