"""Resampling onto spacings, sizes, grids and images: dtypes, channels, batches, fills, warnings and errors."""

from __future__ import annotations

import warnings
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scans import oblique_affine
from spatial_cases import EXACT, RESAMPLING, SHAPE, composite, labels, near, on_device, scan

import medjax as mj
from medjax import Grid, Image

EPS = float(np.finfo(np.float32).eps)
ROUNDING = 2000 * 64 * EPS  # a fraction rounded to float32, times the slope of noise between -1000 and 1000
SPATIAL = {**EXACT, **RESAMPLING}


# --- dtypes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESAMPLING)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "?"])
def test_labels_keep_their_dtype_and_values(name: str, dtype: str) -> None:
    image = labels(1, dtype=np.dtype(dtype))
    out = RESAMPLING[name](image)
    assert out.dtype == np.dtype(dtype)
    assert out.kind == "label"
    assert set(np.unique(out.voxels).tolist()) <= set(np.unique(image.voxels).tolist()) | {0}
    reference = RESAMPLING[name](image.with_voxels(image.voxels.astype(np.uint8)))
    np.testing.assert_array_equal(np.asarray(out.voxels).astype(int), np.asarray(reference.voxels).astype(int))


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "bspline"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f2", "bfloat16", "f8", "?"])
def test_intensities_are_interpolated_in_float32(dtype: str, interpolation: Any) -> None:
    """Whatever the dtype that they are stored in, the result is that of the same numbers in float32."""
    image = scan(2, dtype=jnp.bfloat16 if dtype == "bfloat16" else np.dtype(dtype))
    single = image.with_voxels(np.asarray(image.voxels).astype(np.float32))
    for name in ("resample_to_spacing", "rotate"):
        out = RESAMPLING[name](image, interpolation=interpolation)
        assert out.dtype == np.float32
        np.testing.assert_allclose(
            out.voxels, RESAMPLING[name](single, interpolation=interpolation).voxels, rtol=0, atol=ROUNDING
        )


def test_a_background_of_float16_does_not_overflow() -> None:
    image = Image.from_array(np.full((4, 4, 4), 60000, np.float16))
    for one in (image, on_device(image)):
        out = mj.rotate(one, 0, 45.0)
        assert float(np.asarray(out.voxels).max()) == float(np.asarray(out.voxels).min()) == 60000
        assert float(np.asarray(mj.pad(one, 1, 1).voxels, np.float32).max()) == 60000


@pytest.mark.parametrize("name", RESAMPLING)
def test_complex_voxels_are_two_images(name: str) -> None:
    image = scan(3, dtype=np.complex64)
    out = RESAMPLING[name](image)
    assert out.dtype == np.complex64
    for part in (np.real, np.imag):
        expected = RESAMPLING[name](image.with_voxels(part(image.voxels)))
        np.testing.assert_array_equal(part(np.asarray(out.voxels)), expected.voxels)
    if name == "scale":  # reaches nowhere outside
        return
    filled = RESAMPLING[name](image, fill=3 - 4j)
    assert set(np.asarray(filled.voxels)[np.asarray(filled.voxels) != np.asarray(out.voxels)].tolist()) <= {3 - 4j}


def test_float64_under_x64() -> None:
    image = scan(4, dtype=np.float64)
    with jax.enable_x64(True):
        for name in RESAMPLING:
            assert RESAMPLING[name](image).dtype == np.float64, name
            assert RESAMPLING[name](scan(4)).dtype == np.float32, name
    assert RESAMPLING["rotate"](image).dtype == np.float32


@pytest.mark.parametrize("name", ["resample_to_spacing", "rotate"])
def test_labels_wider_than_the_device_are_refused_and_not_wrapped(name: str) -> None:
    image = labels(5, dtype=np.int64)
    wide = image.with_voxels(np.where(image.voxels == 5, 2**40, image.voxels))
    with pytest.raises(ValueError, match=r"1099511627776.*int64.*int32.*renumber them.*jax_enable_x64"):
        RESAMPLING[name](wide)
    with jax.enable_x64(True):
        assert int(np.asarray(RESAMPLING[name](wide).voxels).max()) == 2**40
    for exact in EXACT.values():
        assert int(np.asarray(exact(wide).voxels).max()) == 2**40


# --- Channels and batches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize("device", [False, True], ids=["numpy", "jax"])
def test_channels_are_images_of_their_own(name: str, device: bool) -> None:
    image = scan(6, (*SHAPE, 2, 3))
    out = SPATIAL[name](on_device(image) if device else image)
    assert out.channels == (2, 3)
    for channel in np.ndindex(2, 3):
        one = SPATIAL[name](image.with_voxels(image.voxels[(..., *channel)]))
        np.testing.assert_allclose(out.voxels[(..., *channel)], one.voxels, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize("make", [scan, labels], ids=["intensity", "label"])
@pytest.mark.parametrize("device", [False, True], ids=["numpy", "jax"])
def test_a_batch_is_its_items(name: str, make: Any, device: bool) -> None:
    """Each with its own geometry, background and metadata."""
    # Items of one handedness, spacing and orientation but turned and moved: some operations ask for one size.
    items = [make(n, affine=oblique_affine((10.0 * n, -5, 3), origin=(5.0 * n, 1, 2))) for n in range(3)]
    batch = mj.stack([on_device(item) for item in items] if device else items)
    if name in ("resample_to_grid", "composite"):
        items = [make(n, affine=oblique_affine((2.0 * n, -5, 3), origin=(n, 1, 2))) for n in range(3)]
        batch = mj.stack(items)
        operation = lambda x: RESAMPLING[name](x) if x.batch_shape else on_first(name, items[0])(x)  # noqa: E731
    else:
        operation = SPATIAL[name]
    out = operation(batch)
    assert out.batch_shape == (3,)
    assert out.metadata == batch.metadata
    for n, item in enumerate(items):
        one = operation(item)
        assert out.dtype == one.dtype
        np.testing.assert_allclose(out.affine[n], one.affine, rtol=0, atol=1e-9)
        np.testing.assert_allclose(
            out.voxels[n], one.voxels, rtol=0, atol=0 if make is labels and name != "pad" else ROUNDING
        )


def on_first(name: str, first: Image) -> Any:
    """The operation whose grid or transform is the first item's, whatever the image."""
    if name == "resample_to_grid":
        return lambda x: mj.resample_to_grid(x, near(first))
    return lambda x: mj.resample_to_image(x, x, transform=composite(first))


def test_two_batch_axes() -> None:
    rows = [[scan(2 * a + b) for b in range(2)] for a in range(3)]
    voxels = np.stack([np.stack([image.voxels for image in row]) for row in rows])
    affine = np.stack([np.stack([image.affine for image in row]) for row in rows])
    batch = Image.from_array(voxels, affine=affine)
    for name in ("resample_to_spacing", "rotate", "crop", "pad", "change_orientation", "warp"):
        out = SPATIAL[name](batch)
        assert out.batch_shape == (3, 2)
        np.testing.assert_allclose(out.voxels[2, 1], SPATIAL[name](rows[2][1]).voxels, rtol=0, atol=ROUNDING)


def test_a_batch_onto_one_grid_or_one_for_each() -> None:
    items = [scan(n, affine=oblique_affine((2.0 * n, -5, 3))) for n in range(2)]
    grids = [near(item, 3 + n) for n, item in enumerate(items)]
    batch = mj.stack(items)
    same = mj.resample_to_grid(batch, grids[0])
    each = mj.resample_to_grid(batch, Grid(grids[0].shape, np.stack([grid.affine for grid in grids])))
    for n, item in enumerate(items):
        np.testing.assert_allclose(same.voxels[n], mj.resample_to_grid(item, grids[0]).voxels, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(each.voxels[n], mj.resample_to_grid(item, grids[n]).voxels, rtol=0, atol=ROUNDING)
    transforms = [mj.affine_matrix((n, 0, 1), (3.0 * n, 2, 1)) for n in range(2)]
    moved = mj.resample_to_image(batch, batch, transform=mj.AffineTransform.of(np.stack(transforms)))
    for n, item in enumerate(items):
        one = mj.resample_to_image(item, item, transform=mj.AffineTransform.of(transforms[n]))
        np.testing.assert_allclose(moved.voxels[n], one.voxels, rtol=0, atol=ROUNDING)
    with pytest.raises(ValueError, match=r"grid is for a batch of shape \(2,\) and the image.s is \(\).*vmap.*stack"):
        mj.resample_to_grid(items[0], each.grid)


def test_items_of_different_spacing_need_a_size() -> None:
    batch = mj.stack([scan(n, affine=oblique_affine(spacing=(1.0 + n, 1, 1))) for n in range(2)])
    with pytest.raises(ValueError, match=r"different spacings.*\(9, 6, 10\).*\(18, 6, 10\).*pass size="):
        mj.resample_to_spacing(batch, 1.25)
    out = mj.resample_to_spacing(batch, 1.25, size=(12, 6, 10))
    for n, item in enumerate(mj.unstack(batch)):
        one = mj.resample_to_spacing(item, 1.25, size=(12, 6, 10))
        np.testing.assert_allclose(out.affine[n], one.affine, rtol=0, atol=1e-9)
        np.testing.assert_allclose(out.voxels[n], one.voxels, rtol=0, atol=ROUNDING)


@given(spacing=st.floats(0.2, 9.0), seed=st.integers(0, 1000))
@hypothesis.settings(max_examples=60)
def test_nearest_rounds_half_up_whatever_the_rounding_of_the_geometry(spacing: float, seed: int) -> None:
    """Twice the spacing: every new voxel lies exactly between two old ones, on an oblique grid only nearly so."""
    affine = oblique_affine(spacing=(spacing, 1.1, 0.7), origin=np.random.default_rng(seed).normal(0, 300, 3))
    image = labels(seed, (12, 3, 2), affine=affine)
    out = mj.resample_to_spacing(image, np.array(image.spacing) * (2, 1, 1))
    np.testing.assert_array_equal(out.voxels, image.voxels[1::2])


# --- Fill ------------------------------------------------------------------------------------------------------------


def outside(image: Image, **options: Any) -> np.ndarray:
    """What a grid far larger than an image holds in its corner."""
    grid = Grid.of([n + 8 for n in image.shape], affine=image.grid.moved((-4, -4, -4)).affine)
    return np.asarray(mj.resample_to_grid(image, grid, **options).voxels)[0, 0, 0]


def test_fill() -> None:
    image = scan(7)
    corners = np.asarray(image.voxels)[np.ix_([0, -1], [0, -1], [0, -1])]
    assert outside(image) == np.float32(np.median(corners))
    assert outside(on_device(image)) == np.float32(np.median(corners))
    assert outside(image, fill=-7.5) == -7.5
    assert outside(image, fill=np.float64(-7.5)) == -7.5
    assert outside(image, fill=jnp.asarray(3)) == 3
    assert np.isnan(outside(image, fill=np.nan))
    assert outside(labels(7)) == 0
    assert outside(labels(7), fill=4) == 4
    colour = scan(7, (*SHAPE, 3))
    np.testing.assert_allclose(
        outside(colour), np.median(colour.voxels[np.ix_([0, -1], [0, -1], [0, -1])], axis=(0, 1, 2))
    )
    np.testing.assert_array_equal(outside(colour, fill=(1, 2, 3)), (1, 2, 3))
    np.testing.assert_array_equal(outside(colour, fill=9), (9, 9, 9))


def test_fill_of_a_batch() -> None:
    batch = mj.stack([scan(n, (*SHAPE, 3)) for n in range(2)])
    for fill, expected in (
        ([[1], [2]], [[1] * 3, [2] * 3]),
        ([1, 2, 3], [[1, 2, 3]] * 2),
        ([[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]),
    ):
        out = mj.rotate(batch, 0, 45.0, fill=np.array(fill))
        np.testing.assert_array_equal(np.asarray(out.voxels)[:, 0, 0, 0], expected)
    rule = r"fill must be one number, or one per channel \(3,\), or one per item \(2, 1\), or one for each channel of each item"
    with pytest.raises(ValueError, match=rule + r" \(2, 3\); got shape \(4,\)$"):
        mj.rotate(batch, 0, 45.0, fill=np.arange(4))
    with pytest.raises(
        ValueError, match=rule + r" \(2, 3\); got shape \(2,\); for one per item reshape it to \(2, 1\)$"
    ):
        mj.rotate(batch, 0, 45.0, fill=np.arange(2))


@pytest.mark.parametrize("fill", [0.5, -1, 256, np.nan, np.inf])
def test_a_fill_that_is_no_label(fill: float) -> None:
    with pytest.raises(ValueError, match=r"is no label of dtype uint8: give an integer from 0 to 255"):
        mj.rotate(labels(0), 0, 5.0, fill=fill)


def test_nan_and_infinity_stay_where_they_are() -> None:
    """A voxel that is not finite spreads to what is interpolated from it, and no further: exact where nothing mixes."""
    image = scan(8)
    voxels = image.voxels.copy()
    voxels[5, 4, 6], voxels[1, 2, 3] = np.nan, np.inf
    image = image.with_voxels(voxels)
    for exact in ("change_orientation", "flip", "translate"):
        assert (~np.isfinite(np.asarray(EXACT[exact](image).voxels))).sum() == 2
    out = np.asarray(mj.resample_to_grid(image, image.grid).voxels)
    np.testing.assert_array_equal(out, voxels)
    assert 0 < (~np.isfinite(np.asarray(mj.rotate(image, 0, 10.0).voxels))).sum() <= 2 * 27


# --- Metadata, and one compilation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPATIAL)
def test_metadata_is_kept_and_right_or_none_past_jit(name: str) -> None:
    a, b = scan(1), scan(2)
    for image in (a, b, on_device(a)):
        assert SPATIAL[name](image).metadata is image.metadata
    jitted = jax.jit(lambda voxels: SPATIAL[name](a.with_voxels(voxels)))
    assert jitted(b.voxels).metadata is None
    assert SPATIAL[name](a.with_metadata(None)).metadata is None


OPTIONS = [{}, {"interpolation": "nearest"}, {"interpolation": "bspline"}]


@pytest.mark.parametrize("name", [name for name in RESAMPLING if name not in ("resample_to_spacing", "scale")])
@pytest.mark.parametrize("options", OPTIONS, ids=["linear", "nearest", "bspline"])
def test_sixty_scans_compile_once(name: str, options: Any, compilations: Any) -> None:
    """Scans that differ in everything but shape and dtype, with every interpolation; 200 and more operations in test_image."""
    rng = np.random.default_rng(0)
    counts = []
    for number in range(60):
        affine = oblique_affine(rng.uniform(-90, 90, 3), (0.7, 1.1, 2.5), rng.normal(0, 200, 3))
        image = scan(number, affine=affine)
        with compilations:
            RESAMPLING[name](image, fill=float(rng.normal()), **options)
        counts.append(compilations.count)
    assert sum(counts[1:]) == 0


# --- Antialias -------------------------------------------------------------------------------------------------------


def test_antialias_is_the_documented_gaussian() -> None:
    """Against a plain sum over the kernel of the formula, axis by axis, then linear interpolation."""
    image = scan(9, (24, 21, 26))
    spacing = np.array(image.spacing) * (2.0, 1.0, 3.5)
    smooth = image.voxels.astype(np.float64)
    for axis, k in enumerate((2.0, 1.0, 3.5)):
        sigma = np.sqrt(k**2 - 1) / (2 * np.sqrt(2 * np.log(2)))
        if sigma:
            reach = int(np.ceil(4 * sigma))
            weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
            padded = np.pad(smooth, [(reach, reach) if d == axis else (0, 0) for d in range(3)], mode="edge")
            smooth = sum(
                w * padded.take(range(n, n + smooth.shape[axis]), axis) for n, w in enumerate(weights / weights.sum())
            )
    expected = mj.resample_to_spacing(image.with_voxels(smooth.astype(np.float32)), spacing)
    out = mj.resample_to_spacing(image, spacing, antialias=True)
    np.testing.assert_allclose(out.voxels, expected.voxels, rtol=0, atol=ROUNDING)
    assert np.abs(np.asarray(out.voxels) - np.asarray(mj.resample_to_spacing(image, spacing).voxels)).max() > 100


def test_antialias_changes_nothing_where_nothing_is_lost() -> None:
    image = scan(10)
    finer = np.array(image.spacing) * (0.5, 1.0, 0.7)
    np.testing.assert_allclose(
        mj.resample_to_spacing(image, finer, antialias=True).voxels,
        mj.resample_to_spacing(image, finer).voxels,
        rtol=0,
        atol=ROUNDING,
    )


def test_antialias_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="would mix labels: one_hot the image"):
        mj.resample_to_spacing(labels(0), 3.0, antialias=True)
    with pytest.raises(ValueError, match="one image at a time: unstack the batch"):
        mj.resample_to_spacing(mj.stack([scan(0), scan(1)]), 3.0, antialias=True)
    with pytest.raises(ValueError, match="traced here: close over the image and pass only its voxels"):
        jax.jit(lambda x: mj.resample_to_spacing(x, 3.0, antialias=True, size=5))(scan(0))


# --- Warnings and errors ---------------------------------------------------------------------------------------------


def apart_from(image: Image, shift: Any) -> Grid:
    """A grid turned by 45 degrees about the image's k axis, moved by voxels along the image's own axes."""
    grid = Grid.of((5, 5, 5), affine=oblique_affine((11.0, -23.0, 82.0), (1, 1, 1)))
    affine = grid.affine.copy()
    affine[:3, 3] += image.grid.center + image.affine[:3, :3] @ np.asarray(shift, float) - grid.center
    return Grid.of(grid.shape, affine=affine)


def test_grids_that_do_not_overlap_warn() -> None:
    image = scan(11)
    for shift in ((30, 0, 0), (0, -20, 0), (0, 0, 12), (9, 9, 9)):
        with pytest.warns(UserWarning, match=r"do not overlap.*centred at .* mm, the grid at .* mm \(LPS\)"):
            out = mj.resample_to_grid(image, apart_from(image, shift), fill=-5.0)
        assert (np.asarray(out.voxels) == -5).all()
    other = mj.translate(image, (500, 0, 0), unit="mm")
    with pytest.warns(UserWarning, match="do not overlap"):
        mj.resample_to_image(image, other)


def test_grids_that_overlap_do_not_warn() -> None:
    """Warnings are errors here."""
    image = scan(11)
    for shift in ((0, 0, 0), (7, 0, 0), (0, 4, 0), (0, 0, 6)):
        out = mj.resample_to_grid(image, apart_from(image, shift), fill=-5e4)
        assert (np.asarray(out.voxels) != -5e4).any()


@given(seed=st.integers(0, 10**6))
@hypothesis.settings(max_examples=150)
def test_no_warning_is_missed_and_none_is_false(seed: int) -> None:
    """Oblique boxes anywhere: a fine scan of the points of one tells whether it meets the other."""
    rng = np.random.default_rng(seed)
    image = scan(0, (3, 4, 5), affine=oblique_affine(spacing=(1, 2, 1)))
    affine = oblique_affine(rng.uniform(-180, 180, 3), rng.uniform(0.5, 3, 3))
    affine[:3, 3] = image.grid.center + rng.normal(0, 4, 3)
    grid = Grid.of((4, 3, 2), affine=affine)
    fine = np.stack(np.meshgrid(*[np.linspace(-0.5, n - 0.5, 25) for n in grid.shape], indexing="ij"), -1)
    index = image.grid.index(grid.world(fine))
    beyond = np.maximum(-0.5 - index, index - (np.array(image.shape) - 0.5)).max(-1).min()  # voxels; negative inside
    hypothesis.assume(abs(beyond) > 0.3)  # closer than the scan's own step
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mj.resample_to_grid(image, grid)
    assert len(caught) == (beyond > 0)


LAST: Any = "last"  # what a type checker would refuse
CUBIC: Any = "cubic"
PLAIN_MATRIX: Any = np.eye(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mj.resample_to_spacing(x, 0), "spacing must be positive, got 0"),
        (lambda x: mj.resample_to_spacing(x, (1, -1, 1)), r"spacing must be positive, got \(1, -1, 1\)"),
        (lambda x: mj.resample_to_spacing(x, np.nan), "spacing must be one finite number or three, got nan"),
        (lambda x: mj.resample_to_spacing(x, (1, np.inf, 1)), "spacing must be one finite number or three"),
        (lambda x: mj.resample_to_spacing(x, (1, 1)), r"spacing must be one finite number or three, got \(1, 1\)"),
        (lambda x: mj.resample_to_spacing(x, 1, size=0), "size must be one positive integer or three, got 0"),
        (
            lambda x: mj.resample_to_spacing(x, 1, size=(3, 3)),
            r"size must be one positive integer or three, got \(3, 3\)",
        ),
        (lambda x: mj.resample_to_spacing(x, 1, size=2.5), "size must be one positive integer or three, got 2.5"),
        (
            lambda x: mj.resample_to_spacing(x, 1, anchor=LAST),
            "anchor must be 'center' or 'first', got 'last'",
        ),
        (
            lambda x: mj.resample_to_spacing(x, 1, interpolation=CUBIC),
            r"interpolation must be one of \['nearest', 'linear', 'bspline'\], got 'cubic'",
        ),
        (lambda x: mj.scale(x, 0), "factor must be positive, got 0"),
        (lambda x: mj.scale(x, (1, 2)), r"factor must be one finite number or three, got \(1, 2\)"),
        (lambda x: mj.resample_to_grid(x, x), "grid must be a Grid, got Image; resample_to_image takes an image"),
        (
            lambda x: mj.resample_to_image(x, x, transform=PLAIN_MATRIX),
            "got ndarray; wrap a 4x4 matrix in AffineTransform.of",
        ),
        (lambda x: mj.rotate(x, 0, 5.0, fill=(1, 2)), r"fill must be one number.*got shape \(2,\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_wrong_raises_with_value_and_remedy(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(scan(0))


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
def test_labels_are_never_mixed(interpolation: Any) -> None:
    for name in RESAMPLING:
        with pytest.raises(
            ValueError, match=f"interpolation='{interpolation}' would mix labels.*use 'nearest', one_hot"
        ):
            RESAMPLING[name](labels(0), interpolation=interpolation)


def test_a_traced_spacing_needs_a_size() -> None:
    image = scan(12)
    with pytest.raises(ValueError, match=r"traced here: pass size=\(i, j, k\), or close over the image"):
        jax.jit(lambda x: mj.resample_to_spacing(x, 1.0))(image)
    traced = jax.jit(lambda x: mj.resample_to_spacing(x, 1.0, size=(8, 9, 32)).voxels)(image)
    plain = mj.resample_to_spacing(image, 1.0, size=(8, 9, 32)).voxels
    # Traced geometry is float32: positions of some voxels are off by a few of its roundings.
    np.testing.assert_allclose(traced, plain, rtol=0, atol=2000 * 1e-4)


def test_a_spacing_that_is_traced_itself() -> None:
    """It would decide a shape; with the size given it decides nothing else, and has a gradient."""
    with pytest.raises(ValueError, match=r"the new size follows from the spacing, which is traced here: pass size="):
        jax.jit(lambda s: mj.resample_to_spacing(scan(0), (1.0, s, 1.0)).voxels)(1.0)
    with pytest.raises(ValueError, match=r"factor decides the shape.*traced here.*resample_to_spacing with size="):
        jax.jit(lambda s: mj.scale(scan(0), (1.0, s, 1.0)).voxels)(1.0)
    image = scan(3, dtype=np.float64)
    with jax.enable_x64(True):
        for anchor in ("center", "first"):

            def mean(s: Any, anchor: Any = anchor) -> Any:
                out = mj.resample_to_spacing(image, (1.1, s, 0.9), size=(6, 7, 8), anchor=anchor, fill=0.0)
                return out.voxels.mean(), out.affine

            value, affine = jax.jit(mean)(1.3)
            wanted, known = mean(1.3)
            np.testing.assert_allclose(affine, known, rtol=0, atol=1e-12)
            assert float(value) == pytest.approx(float(wanted), rel=1e-12)
            slope = (mean(1.3 + 1e-6)[0] - mean(1.3 - 1e-6)[0]) / 2e-6
            assert float(jax.grad(lambda s: mean(s)[0])(1.3)) == pytest.approx(float(slope), rel=1e-6)
