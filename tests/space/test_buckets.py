"""`shape_buckets`: the same results as without, and a few compilations for a whole ragged cohort."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scans import oblique_affine
from spatial_cases import RESAMPLING, labels, near, on_device, scan

import medjax as mj
from medjax import Image

EPS = float(np.finfo(np.float32).eps)
DTYPES = [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.float16, np.bool_, np.complex64, np.int64]


@contextlib.contextmanager
def small_buckets() -> Iterator[None]:
    """Buckets from 2**12 voxels on, for images of a thousand: those that users have begin at 2**22."""
    with pytest.MonkeyPatch.context() as patch:
        # Private: the size of the smallest bucket, so that a small image fills several.
        patch.setattr("medjax._space._buckets.SMALLEST", 1 << 12)
        yield


def compare(operation: Callable[[Image], Image], image: Image, taps: int = 2, sizes: Any = small_buckets) -> None:
    """Equal to the plain call: labels exactly, intensities to a few roundings of the sum of a few taps."""
    plain = operation(image)
    with sizes(), mj.shape_buckets():
        ours = operation(image)
    assert (ours.shape, ours.kind, ours.dtype) == (plain.shape, plain.kind, plain.dtype)
    assert ours.metadata is image.metadata
    np.testing.assert_array_equal(ours.affine, plain.affine)
    if image.kind == "label":
        np.testing.assert_array_equal(ours.voxels, plain.voxels)
        return
    scale = float(np.abs(np.asarray(image.voxels, np.complex128)).max()) or 1.0
    # A coordinate's fraction is a sum of three, each rounded: 4 eps of a voxel, times the slope, at most twice the values.
    np.testing.assert_allclose(np.asarray(ours.voxels), np.asarray(plain.voxels), rtol=0, atol=scale * EPS * 32 * taps)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "bspline"])
@pytest.mark.parametrize("name", RESAMPLING)
def test_results_are_those_of_the_plain_call(name: str, interpolation: Any) -> None:
    image = scan(1)
    compare(lambda x: RESAMPLING[name](x, interpolation=interpolation), image)
    fill = {} if name == "scale" else {"fill": -3.5}  # scale reaches nothing outside
    compare(lambda x: RESAMPLING[name](x, interpolation=interpolation, **fill), on_device(image))


@pytest.mark.parametrize("name", RESAMPLING)
def test_labels_are_those_of_the_plain_call(name: str) -> None:
    for dtype in (np.uint8, np.int16, np.int64, np.bool_):
        compare(RESAMPLING[name], labels(2, dtype=dtype))
    compare(lambda x: RESAMPLING[name](x, **({} if name == "scale" else {"fill": 1})), on_device(labels(2)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype: Any) -> None:
    for operation in (RESAMPLING["resample_to_spacing"], RESAMPLING["rotate"]):
        for interpolation in ("nearest", "linear", "bspline"):
            compare(partial(operation, interpolation=interpolation), scan(3, dtype=dtype))


def test_bfloat16() -> None:
    image = scan(3).with_voxels(jnp.asarray(scan(3).voxels, jnp.bfloat16))
    for operation in (RESAMPLING["resample_to_spacing"], RESAMPLING["rotate"]):
        compare(operation, image)


def test_wide_numbers() -> None:
    """Labels that 32 bits cannot hold are refused, and floats computed in float64 where x64 is on."""
    image = labels(4, dtype=np.int64)
    wide = image.with_voxels(np.where(image.voxels == 5, 2**40, image.voxels))
    for operation in (RESAMPLING["resample_to_spacing"], RESAMPLING["rotate"]):
        with mj.shape_buckets(), pytest.raises(ValueError, match=r"1099511627776.*renumber them"):
            operation(wide)
        with jax.enable_x64(True):
            compare(operation, wide)
            for interpolation in ("linear", "bspline"):
                compare(partial(operation, interpolation=interpolation), scan(4, dtype=np.float64), 1)


VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed": lambda x: x.transpose(2, 0, 1),
    "flipped": lambda x: x[::-1, :, ::-1],
    "both": lambda x: x.transpose(1, 2, 0)[:, ::-1],
    "fortran": np.asfortranarray,
    "strided": lambda x: x[1::2, ::3, ::-2],
    "broadcast": lambda x: np.broadcast_to(x[:, :1], (x.shape[0], 5, x.shape[2])),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "misaligned": lambda x: misaligned(x),
}


def misaligned(x: np.ndarray) -> np.ndarray:
    raw = np.empty(x.nbytes + 1, np.uint8)
    out = raw[1:].view(x.dtype).reshape(x.shape)
    out[:] = x
    return out


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views_of_memory(view: Any) -> None:
    for image in (scan(5), labels(5, dtype=np.int16)):
        seen = Image.from_array(view(image.voxels), affine=oblique_affine(), kind=image.kind)
        for operation in (RESAMPLING["resample_to_spacing"], RESAMPLING["rotate"]):
            compare(operation, seen)
        compare(lambda x: mj.rotate(mj.flip(mj.change_orientation(x, "SAR"), 1), 0, 30.0), seen)


@pytest.mark.parametrize("channels", [(1,), (3,), (2, 3)])
def test_channels(channels: tuple[int, ...]) -> None:
    fill = np.arange(np.prod(channels), dtype=np.float64).reshape(channels)
    for operation in (RESAMPLING["resample_to_spacing_first"], RESAMPLING["rotate"]):
        for interpolation in ("nearest", "linear", "bspline"):
            image = scan(6, (6, 5, 7, *channels))
            compare(partial(operation, interpolation=interpolation), image)
            compare(partial(operation, interpolation=interpolation, fill=fill), image)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (2, 2, 2), (3, 70, 2), (1, 1, 129)])
def test_tiny_images(shape: tuple[int, ...]) -> None:
    for image in (scan(7, shape), labels(7, shape)):
        for interpolation in ("nearest",) if image.kind == "label" else ("nearest", "linear", "bspline"):
            for operation in (RESAMPLING["resample_to_spacing"], RESAMPLING["rotate"], RESAMPLING["resample_to_grid"]):
                compare(partial(operation, interpolation=interpolation), image)


@pytest.mark.parametrize("sizes", [small_buckets, contextlib.nullcontext], ids=["small", "of users"])
def test_many_chunks(sizes: Any) -> None:
    """An output of several chunks, whose last one is not full, and rows of several segments."""
    image = scan(8, (40, 30, 50), dtype=np.int16)
    for spacing in ((0.3, 0.35, 0.5), (0.2, 1.0, 1.0)):
        compare(partial(mj.resample_to_spacing, spacing=spacing), image, sizes=sizes)
        compare(partial(mj.resample_to_spacing, spacing=spacing), labels(8, (40, 30, 50)), sizes=sizes)
    compare(lambda x: mj.resample_to_grid(x, near(x, 3, (90, 101, 85))), labels(9, (40, 30, 50)), sizes=sizes)


@pytest.mark.parametrize("step", [(1, 1, 1), (-1, -1, -1), (1, -1, 1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_long_rows_run_either_way(axis: int, step: tuple[int, int, int]) -> None:
    """Rows along each axis, of several segments, that take from a few inputs or from hundreds, also backwards."""
    shape = [9, 7, 8]
    shape[axis] = 330
    for image in (scan(12, tuple(shape), dtype=np.int16), labels(12, tuple(shape))):
        seen = mj.flip(image, [d for d in range(3) if step[d] < 0])  # type: ignore[misc]
        for spacing in (0.7, 1.6, 13.0):
            compare(partial(mj.resample_to_spacing, spacing=spacing), seen)
            compare(partial(mj.resample_to_spacing, spacing=spacing), mj.change_orientation(seen, "SAR"))


def test_a_buffer_that_was_used_before_shows_nothing_of_it() -> None:
    """NaN that a larger scan left behind the end of a smaller one."""
    empty = Image.from_array(np.full((50, 51, 52), np.nan, np.float32), spacing=2.0)
    image = scan(13, (20, 21, 22), dtype=np.float32)
    for operation in (RESAMPLING["resample_to_spacing"], RESAMPLING["rotate"]):
        plain = operation(image)
        with mj.shape_buckets():
            assert np.isnan(operation(empty).voxels).any()
            np.testing.assert_allclose(operation(image).voxels, plain.voxels, rtol=0, atol=2000 * 64 * EPS)


def test_threads_that_share_a_context_share_no_buffer() -> None:
    images = [scan(seed, (30, 31, 32), dtype=np.int16) for seed in range(8)]
    expected = [mj.resample_to_spacing(image, 1.1).voxels for image in images]
    with mj.shape_buckets(), ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(mj.resample_to_spacing, images[n % 8], 1.1) for n in range(64)]
        for n, task in enumerate(tasks):
            np.testing.assert_allclose(task.result().voxels, expected[n % 8], rtol=0, atol=2000 * 64 * EPS)


@pytest.mark.parametrize("ratio", [1.2, 1.5, 2 / 3, 0.4, 2.0, 3.0, 4 / 3, 0.7, 1.1, 5 / 7])
def test_ties_between_labels_fall_as_they_do_without(ratio: float) -> None:
    """At 1.2 and 1.5 times the spacing many voxels lie exactly between two; float32 must not decide otherwise."""
    image = labels(10, (37, 24, 31), affine=oblique_affine(spacing=(0.8, 1.3, 2.7)))
    for anchor in ("center", "first"):
        compare(partial(mj.resample_to_spacing, spacing=np.array(image.spacing) * ratio, anchor=anchor), image)
    compare(lambda x: mj.rotate(x, 0, 90.0), image)
    compare(lambda x: mj.scale(x, ratio), image)


@pytest.mark.parametrize("seed", [19, 20, 21])
def test_labels_on_random_grids_are_equal_to_the_last_voxel(seed: int) -> None:
    """A million voxels each, some within a rounding of a tie: seed 19 has one that the order of a sum would decide."""
    values = np.random.default_rng(0).integers(0, 250, (60, 62, 64)).astype(np.uint8)
    image = Image.from_array(values, affine=oblique_affine(), kind="label")
    grid = near(image, seed, (110, 100, 105), angle=60)
    compare(partial(mj.resample_to_grid, grid=grid), image)


def test_faces_that_float32_headers_miss_by_a_little() -> None:
    """Half a voxel off but for rounding: what is outside without buckets is outside with them."""
    image = scan(11)
    for slip in (-1e-7, -1e-9, -1e-12, 0.0, 1e-12, 1e-9, 1e-7):
        corner = np.array([-0.5, 0.5, 0.0]) + slip
        grid = mj.Grid.of(image.shape, affine=image.grid.moved(corner).affine)
        compare(partial(mj.resample_to_grid, grid=grid, fill=-5000.0), image)
        compare(partial(mj.resample_to_grid, grid=grid, fill=9), labels(11))


# --- What it is for --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "bspline"])
def test_twenty_shapes_need_few_compilations(interpolation: Any, compilations: Any) -> None:
    """Orientations, spacings, dtypes of a cohort, within two powers of two; without buckets it is one for each shape."""
    jax.clear_caches()
    rng = np.random.default_rng(0)
    with compilations, mj.shape_buckets():
        for number in range(20):
            shape = tuple(int(n) for n in rng.integers(48, 76, 3))
            voxels = rng.integers(-1000, 1000, shape).astype(np.int16)
            affine = oblique_affine(rng.uniform(-10, 10, 3), rng.uniform(0.7, 3.0, 3))
            image = Image.from_array(voxels, affine=affine)
            turned = mj.change_orientation(image, ["RAS", "LPI", "SRA"][number % 3])  # type: ignore[arg-type]
            mj.resample_to_spacing(turned, 2.0, interpolation=interpolation)
            mj.rotate(image, number % 3, 7.0 * number + 1.0, interpolation=interpolation)  # type: ignore[arg-type]
    assert compilations.count <= 12, compilations.count


def test_without_the_context_each_shape_compiles(compilations: Any) -> None:
    """The counterpart, and the context ends where it ends."""
    with mj.shape_buckets():
        pass
    with compilations:
        for n in (9, 10, 12):
            mj.resample_to_spacing(scan(0, (n, 7, 9)), 1.31)
    assert compilations.count >= 3


def test_batches_traces_and_displacements_go_on_as_ever() -> None:
    image = scan(12)
    with mj.shape_buckets():
        batch = mj.rotate(mj.stack([image, scan(13)]), 1, np.array([10.0, 20.0]))
        assert isinstance(batch.voxels, jax.Array)
        angle = jax.grad(lambda a: mj.rotate(image, 1, a).voxels.sum())(10.0)
        voxels = jax.grad(lambda v: mj.resample_to_spacing(image.with_voxels(v), 1.0).voxels.sum())(image.voxels)
        fill = jax.grad(lambda f: mj.rotate(image, 1, 20.0, fill=f).voxels.sum())(1.0)
        jitted = jax.jit(lambda v, f: mj.rotate(image.with_voxels(v), 1, 20.0, fill=f).voxels)(image.voxels, 2.0)
    assert np.isfinite(angle)
    assert angle != 0
    assert np.asarray(voxels).shape == image.shape
    plain = mj.rotate(image, 1, 20.0, fill=2.0).voxels
    np.testing.assert_allclose(jitted, plain, atol=1000 * 64 * EPS)
    assert fill == pytest.approx(float((np.asarray(plain) == 2.0).sum()))


def test_fused_functions_use_buckets_too(compilations: Any) -> None:
    @mj.fuse
    def chain(image: Image) -> Image:
        return mj.crop_or_pad(mj.resample_to_spacing(mj.rotate(image, 2, 12.0), 1.2), (9, 10, 8))

    compare(chain, scan(14), sizes=contextlib.nullcontext)
    compare(chain, labels(14), sizes=contextlib.nullcontext)
    with mj.shape_buckets(), compilations:
        chain(scan(15, (12, 9, 14)))
    assert compilations.count == 0, "another shape of the same bucket compiles nothing"


def test_antialias() -> None:
    compare(lambda x: mj.resample_to_spacing(x, (2.0, 1.5, 6.0), antialias=True), scan(15))


def test_threads_of_a_pool_work_in_buckets(compilations: Any) -> None:
    """The pool's threads see the context that the thread which made them opened; two sizes share the compilations."""
    scans = [scan(seed, (20 + seed, 21, 23), dtype=np.int16) for seed in range(6)]
    expected = [mj.resample_to_spacing(image, 1.1).voxels for image in scans]
    with mj.shape_buckets(), ThreadPoolExecutor(3) as pool:
        mj.resample_to_spacing(scan(9, (33, 21, 23), dtype=np.int16), 1.1)
        with compilations:
            found = list(pool.map(lambda image: mj.resample_to_spacing(image, 1.1).voxels, scans))
    assert compilations.count == 0
    for ours, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=2000 * 64 * EPS)


def test_contexts_of_several_threads_end_with_the_last(compilations: Any) -> None:
    def is_compiled_for(shape: tuple[int, int, int]) -> bool:
        """Whether an image of a new shape takes a program of its own, as it does outside of all contexts."""
        with compilations:
            mj.resample_to_spacing(scan(3, shape), 1.1)
        return compilations.count > 0

    image, other = scan(1), scan(2, (50, 51, 52))

    def inside(seed: int) -> Any:
        with mj.shape_buckets():
            with mj.shape_buckets():
                mj.resample_to_spacing(other, 1.0 + 0.01 * seed)
            return mj.resample_to_spacing(image, 1.1).voxels

    expected = mj.resample_to_spacing(image, 1.1).voxels
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(inside, range(16)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=2000 * 64 * EPS)
    assert is_compiled_for((31, 5, 6))
    with mj.shape_buckets():
        assert not is_compiled_for((32, 5, 6))
    with pytest.raises(KeyError), mj.shape_buckets():
        raise KeyError
    assert is_compiled_for((33, 5, 6))


def test_results_are_jax_arrays_and_steps_after_them_compile_nothing(compilations: Any) -> None:
    def prepare(image: Image) -> Image:
        turned = mj.flip(mj.resample_to_spacing(image, 1.1), 0)
        return mj.cast(mj.crop_or_pad(mj.change_orientation(turned, "RAS"), (24, 20, 28)), "int16")

    wanted = [prepare(scan(seed, (20 + seed, 21, 23))) for seed in range(3)]
    with mj.shape_buckets():
        prepare(scan(7, (29, 22, 23)))
        with compilations:
            found = [prepare(scan(seed, (20 + seed, 21, 23))) for seed in range(3)]
        for interpolation in ("nearest", "linear", "bspline"):
            for operation in (RESAMPLING["resample_to_spacing"], RESAMPLING["rotate"]):
                assert isinstance(operation(scan(1), interpolation=interpolation).voxels, jax.Array)
        assert isinstance(mj.rotate(labels(1), 0, 9.0).voxels, jax.Array)
    assert compilations.count == 0
    for ours, plain in zip(found, wanted, strict=True):
        assert isinstance(ours.voxels, jax.Array)
        np.testing.assert_array_equal(ours.affine, plain.affine)
        assert np.abs(np.asarray(ours.voxels, np.int32) - np.asarray(plain.voxels)).max() <= 1  # a tie of rounding
