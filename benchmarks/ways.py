"""Every public operation on images in two ways: called as it is, and under `jax.jit` with the images as arguments.

Run: `python benchmarks/ways.py [--size 96] [--rounds 7] [--only NAME ...]`. Cubes of `size` voxels a side, float32, one
image or a batch of 4, alone or with its label map. The promise: under jit no operation takes more than 1.5 times as
long as its eager call. One cannot keep it: `translate` gives its argument's voxels back, which JAX copies under jit
(as long as `jax.jit(lambda image: image)` takes). All voxels are JAX arrays, so that an operation which would return a view of NumPy voxels (crop,
flip) does the same work in both ways. Both calls are warmed up, take turns in a drawn order, and ratios are formed
round by round; calls under 2 ms get five times as many rounds. "first" is the first call with its compilation. "error"
is the largest difference between the two results, over the largest magnitude of the eager one. "memory" is the
temporary memory and the result of the jitted program by XLA's own analysis; of eager calls of some megabytes the
allocator shows no peak that could be trusted. A public name that is neither timed here nor left out with a reason is an
error. Writes results/ways.json, unless it was a part: with `--only`, or of another size.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import cell, faster, hardware, in_turns, on_cores, save, spread, timed

import medjax as mj

LIMIT = 1.5
BATCH = 4
NUM_CLASSES = 4
QUICK_MS = 2.0
TAGS = {
    "Units": "BQML",
    "DecayCorrection": "ADMIN",
    "CorrectedImage": ["ATTN", "DECY"],
    "PatientWeight": 70.0,
    "RadionuclideTotalDose": 350e6,
}
ALONE, LABELS, TOGETHER = "image alone", "label map alone", "image with its label map"
Forms = dict[str, Callable[..., Any]]

# Public functions that do nothing to an image, or nothing that could run under jit.
NOT_TIMED = {
    "affine_matrix": "makes a matrix",
    "compose": "multiplies matrices",
    "keep_metadata": "wraps a function of the user's",
    "load_image": "reads a file",
    "save_image": "writes a file",
    "shape_buckets": "a context for eager calls",
    "io": "files",
    "data": "files; loading.py times it",
    "datasets": "makes images",
    "patch": "draws and joins boxes; sliding_window.py times the joining",
}
# Operations that may refuse an image that is an argument of jit: then only their eager call is timed.
NOT_UNDER_JIT = {
    "change_orientation": "the order of the axes follows from the direction",
    "connected_components": "runs on the host",
    "fill_holes": "runs on the host",
    "crop_to_mask": "the shape of the result follows from the mask",
    "surface_distances": "runs on the host",
    "suv_factor": "follows from the metadata, which never enters jit",
    "to_suv": "follows from the metadata, which never enters jit",
}


def volume(size: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).gamma(2.0, 300.0, (size,) * 3) - 1000).astype(np.float32)


def affine(number: int = 0) -> np.ndarray:
    """An oblique head scan, another place for each item of a batch."""
    turn = mj.affine_matrix(rotation=(7.0, -4.0, 11.0 + number))
    return np.asarray(mj.affine_matrix(translation=(-90.0 + number, 12.0, 30.0)) @ turn @ np.diag([0.9, 0.9, 1.5, 1.0]))


def scan(size: int, seed: int = 0) -> mj.Image:
    metadata = mj.Metadata(modality="PT", extra={})  # what SUV needs
    return mj.Image.from_array(jnp.asarray(volume(size, seed)), affine=affine(seed), metadata=metadata)


def label_map(size: int, seed: int = 0) -> mj.Image:
    """Three balls, one in the other, about the middle."""
    axis = np.arange(size) - (size - 1) / 2 + seed
    radius = np.sqrt(sum(a.astype(np.float32) ** 2 for a in np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)))
    values = sum((radius < part * size).astype(np.uint8) for part in (0.4, 0.25, 0.1))
    return mj.Image.from_array(jnp.asarray(values), affine=affine(seed), kind="label")


def moves(operation: Callable[[mj.Image], Any]) -> Forms:
    """The label map goes through the same operation."""
    return {ALONE: operation, TOGETHER: lambda image, labels: (operation(image), operation(labels))}


def of_values(operation: Callable[[mj.Image], Any]) -> Forms:
    """The label map comes along as it is, as in a step of training."""
    return {ALONE: operation, TOGETHER: lambda image, labels: (operation(image), labels)}


def within_mask(operation: Callable[..., Any]) -> Forms:
    """The label map says which voxels count."""
    return {ALONE: operation, TOGETHER: lambda image, labels: operation(image, mask=labels)}


def of_labels(operation: Callable[[mj.Image], Any]) -> Forms:
    """The label map is the image; the scan comes along as it is."""
    return {LABELS: operation, TOGETHER: lambda image, labels: (image, operation(labels))}


def operations(size: int, is_batch: bool) -> dict[str, Forms]:
    """Every public operation, as a user writes it; what follows a comma tells several calls of one name apart."""
    shape, quarter = (size,) * 3, size // 4
    other, mask = scan(size, 5), label_map(size)
    masks = mj.stack([label_map(size, number) for number in range(BATCH)]) if is_batch else mask
    shifted = masks.with_voxels(jnp.roll(masks.voxels, 2, axis=-1))
    aligned = mj.Grid.of((size - quarter,) * 3, affine=affine() @ np.diag([1.3, 1.3, 1.1, 1.0]))
    oblique = mj.Grid.of(shape, affine=affine() @ mj.affine_matrix(rotation=(5.0, 8.0, -6.0)))
    on_aligned = mj.Image.from_array(jnp.zeros(aligned.shape, jnp.float32), affine=aligned.affine)
    content = mj.affine_matrix((1.0, -0.5, 2.0), (8.0, -5.0, 12.0), 1.05)
    waves = np.sin(np.linspace(0, 6, size, dtype=np.float32))
    field = jnp.asarray(np.stack([3 * waves[:, None, None] * np.roll(waves, n) * np.ones(shape) for n in range(3)], -1))
    field = field.astype(jnp.float32)
    points = jnp.asarray(np.indices(shape, np.float32) * 0.9 + 1.3)
    landmarks = mj.nyul_train([other])
    grown = tuple(round(1.5 * size) for _ in range(3))
    finer = (0.6, 0.6, 1.0)

    @mj.fuse
    def chain(image: mj.Image) -> mj.Image:
        image = mj.rotate(mj.flip(image, "i"), "k", 10.0, fill=0.0)
        return mj.crop_or_pad(mj.scale(image, 1.2), shape, fill=0.0)

    table = {
        "affine_transform": moves(lambda i: mj.affine_transform(i, content)),
        "barycenter": of_labels(mj.barycenter),
        "bounding_box": of_labels(lambda m: mj.bounding_box(m, num_classes=NUM_CLASSES)),
        "cast": of_values(lambda i: mj.cast(i, np.int16)),
        "change_orientation": moves(lambda i: mj.change_orientation(i, "SRP")),
        "clip": of_values(lambda i: mj.clip(i, -200, 300)),
        "closing": moves(lambda i: mj.closing(i, 3.0)),
        "connected_components": of_labels(mj.connected_components),
        "crop": moves(lambda i: mj.crop(i, (quarter, 1, 2), (2 * quarter,) * 3)),
        "crop_or_pad": moves(lambda i: mj.crop_or_pad(i, (size + quarter, size - quarter, size))),
        "dice": of_labels(lambda m: mj.dice(m, shifted, num_classes=NUM_CLASSES)),
        "dilate": moves(lambda i: mj.dilate(i, 3.0)),
        "erode": moves(lambda i: mj.erode(i, 3.0)),
        "fill_holes": of_labels(mj.fill_holes),
        "flip": moves(lambda i: mj.flip(i, ("i", "k"))),
        "fuse": moves(chain),
        "gaussian_blur": of_values(lambda i: mj.gaussian_blur(i, 2.0)),
        "histogram_match": of_values(lambda i: mj.histogram_match(i, other)),
        "label_volumes": of_labels(lambda m: mj.label_volumes(m, num_classes=NUM_CLASSES)),
        "mask_points": of_labels(lambda m: mj.mask_points(m, 1000)),
        "max_radius": of_labels(mj.max_radius),
        "median_filter": of_values(lambda i: mj.median_filter(i, 3)),
        "min_max_normalize": within_mask(mj.min_max_normalize),
        "nyul_transform": within_mask(lambda i, **o: mj.nyul_transform(i, landmarks, **o)),
        "one_hot": of_labels(lambda m: mj.one_hot(m, num_classes=NUM_CLASSES)),
        "opening": moves(lambda i: mj.opening(i, 3.0)),
        "otsu_threshold": within_mask(mj.otsu_threshold),
        "pad": moves(lambda i: mj.pad(i, (3, 0, 5), (1, 4, 2))),
        "pad, edge": moves(lambda i: mj.pad(i, (3, 0, 5), (1, 4, 2), mode="edge")),
        "plan": of_values(lambda i: i.with_voxels(mj.plan(i.grid, oblique)(i.voxels))),
        "percentile_normalize": within_mask(mj.percentile_normalize),
        "region_statistics": {
            ALONE: lambda i: mj.region_statistics(i, masks, num_classes=NUM_CLASSES),
            TOGETHER: lambda i, m: mj.region_statistics(i, m, num_classes=NUM_CLASSES),
        },
        "resample_to_grid, aligned": moves(lambda i: mj.resample_to_grid(i, aligned)),
        "resample_to_grid, oblique": moves(lambda i: mj.resample_to_grid(i, oblique)),
        "resample_to_image": moves(lambda i: mj.resample_to_image(i, on_aligned)),
        "resample_to_spacing": moves(lambda i: mj.resample_to_spacing(i, finer, size=grown)),
        "rescale": of_values(lambda i: mj.rescale(i, 0.5, -1024)),
        "rotate": moves(lambda i: mj.rotate(i, "k", 20.0)),
        "rotate, bspline": of_values(lambda i: mj.rotate(i, "k", 20.0, interpolation="bspline")),
        "scale": moves(lambda i: mj.scale(i, 0.8)),
        "surface_distances": of_labels(lambda m: mj.surface_distances(m, shifted, num_classes=NUM_CLASSES)),
        "suv_factor": of_values(lambda i: factors(mj.suv_factor(i, tags=TAGS))),
        "suv_statistics": {
            ALONE: lambda i: mj.suv_statistics(i, masks, num_classes=NUM_CLASSES),
            TOGETHER: lambda i, m: mj.suv_statistics(i, m, num_classes=NUM_CLASSES),
        },
        "threshold": of_values(lambda i: mj.threshold(i, -200, high=300)),
        "to_suv": of_values(lambda i: mj.to_suv(i, tags=TAGS)),
        "translate": moves(lambda i: mj.translate(i, (1.5, -2.0, 0.25), unit="mm")),
        "warp": moves(lambda i: mj.warp(i, field)),
        "window": of_values(lambda i: mj.window(i, 40, 400)),
        "z_score_normalize": within_mask(mj.z_score_normalize),
    }
    if is_batch:
        table["nyul_train"] = of_values(lambda i: mj.nyul_train(i).values)
        table["unstack"] = moves(mj.unstack)
    else:
        table["nyul_train"] = of_values(lambda i: mj.nyul_train([i]).values)
        table["stack"] = moves(lambda i: mj.stack([i, i]))
        table["crop_to_mask"] = {ALONE: lambda i: mj.crop_to_mask(i, mask.voxels), TOGETHER: mj.crop_to_mask}
        table["sliding_window"] = of_values(lambda i: mj.sliding_window(i, tent, size=size // 3, reduce=None))
        table["map_coordinates"] = of_values(lambda i: mj.map_coordinates(i.voxels, points))
    return dict(sorted((table | augmentations(size)).items()))


def augmentations(size: int) -> dict[str, Forms]:
    """The operations behind the steps of augmentation."""
    key, poses = jax.random.key(0), np.full((2, 3), 5.0)
    coefficients, points = np.full((4, 4, 4), 0.05), np.full((6, 6, 6), 0.1)
    corners = np.arange(0, size // 2, size // 8)[:4, None] * np.ones(3)
    alike = {
        "adjust_brightness": lambda i: mj.adjust_brightness(i, 1.2, shift=5.0),
        "adjust_contrast": lambda i: mj.adjust_contrast(i, 1.2),
        "adjust_gamma": lambda i: mj.adjust_gamma(i, 0.8, retain_stats=True),
        "bias_field": lambda i: mj.bias_field(i, coefficients),
        "bias_lattice": lambda i: mj.bias_lattice(i, points),
        "blur_psf": lambda i: mj.blur_psf(i, 4.0),
        "ct_noise": lambda i: mj.ct_noise(key, i, 20.0),
        "cutout": lambda i: mj.cutout(i, corners, np.full((4, 3), 9.0)),
        "degrade_resolution": lambda i: mj.degrade_resolution(i, 3.0),
        "gaussian_noise": lambda i: mj.gaussian_noise(key, i, 20.0),
        "ghosting": lambda i: mj.ghosting(i, 5, 0.7, axis="j"),
        "gibbs": lambda i: mj.gibbs(i, 0.6),
        "histogram_shift": lambda i: mj.histogram_shift(i, np.full(10, 0.02)),
        "motion": lambda i: mj.motion(i, poses, poses, (0.3, 0.7), axis="j"),
        "poisson_noise": lambda i: mj.poisson_noise(key, i, 0.5),
        "reduce_dose": lambda i: mj.reduce_dose(key, i, 0.3),
        "rician_noise": lambda i: mj.rician_noise(key, abs(i), 20.0),
        "spike": lambda i: mj.spike(i, (3, 5, 7), 0.5),
        "swap_boxes": lambda i: mj.swap_boxes(i, corners, corners + size // 2, size // 8),
        "unsharp": lambda i: mj.unsharp(i, 0.5, 1.0),
    }
    in_pairs = {"cutmix": lambda i: mj.cutmix(i, (3, 3, 3), (size // 2,) * 3), "mixup": lambda i: mj.mixup(i, 0.7)}
    table = {name: of_values(call) for name, call in alike.items()}
    table |= {name: of_values(lambda i, call=call: call(batch_of(i))) for name, call in in_pairs.items()}  # type: ignore[misc]
    means = np.linspace(0, 900, NUM_CLASSES)
    table["labels_to_image"] = of_labels(lambda m: mj.labels_to_image(key, m, means, means / 10))
    return table


def batch_of(image: mj.Image) -> mj.Image:
    """What mixes items needs several."""
    return image if image.batch_shape else mj.stack([image, image])


def tent(windows: Any) -> Any:
    """A network that costs next to nothing."""
    return jnp.concatenate([windows, -windows, abs(windows)], axis=-1)


def factors(found: Any) -> Any:
    """The numbers alone: the rest is text for a reader."""
    return [each.factor for each in found] if isinstance(found, tuple) else found.factor


def public_functions() -> Iterator[str]:
    """Every public function, as `rotate`, or `augment.flip` where it is in a namespace."""
    for name in dir(mj):
        thing = getattr(mj, name)
        if isinstance(thing, ModuleType) and name not in NOT_TIMED:
            yield from (f"{name}.{inner}" for inner in dir(thing) if inspect.isroutine(getattr(thing, inner)))
        elif inspect.isroutine(thing):
            yield name


def check_complete(tables: dict[str, dict[str, Forms]]) -> None:
    """Fails where a public function is missing from the tables."""
    timed_names = {title.partition(",")[0] for table in tables.values() for title in table}
    public = set(public_functions())
    if missing := sorted(public - timed_names - set(NOT_TIMED)):
        sys.exit(
            f"not timed: {', '.join(missing)}; add them to operations() of {__file__}, or to NOT_TIMED with a reason"
        )
    if absent := sorted(
        timed_names - public
    ):  # an older package, or a name with a slip, whose true name is missing above
        print(f"not in this package, left out: {', '.join(absent)}")


def measure(
    title: str, form: str, call: Callable[..., Any], images: tuple[mj.Image, ...], rounds: int
) -> dict[str, Any]:
    """One row; where jit refuses, its reason in place of the numbers."""
    eager = partial(call, *images)
    first = {"eager": timed(eager)}
    row: dict[str, Any] = {"operation": title, "form": form}
    jitted = partial(jax.jit(call), *images)
    try:
        start = time.perf_counter()
        memory = jitted.func.lower(*images).compile().memory_analysis()
        jax.block_until_ready(jitted())  # the same program: it is compiled once
        first["jit"] = 1e3 * (time.perf_counter() - start)
    except (TypeError, ValueError, jax.errors.JAXTypeError) as reason:
        row["refused"] = f"{type(reason).__name__}: {reason}".partition("\n")[0]
    calls = {"eager": eager} if "refused" in row else {"eager": eager, "jit": jitted}
    is_quick = all(min(timed(each) for _ in range(2)) < QUICK_MS for each in calls.values())
    found = in_turns(calls, 5 * rounds if is_quick else rounds)
    row["first_ms"] = first
    row |= {f"{way}_milliseconds": spread(milliseconds) for way, milliseconds in found.items()}
    if "refused" not in row:
        row["jit_over_eager"] = faster(found["eager"], found["jit"])
        row["error"] = difference(eager(), jitted())
        sizes = {"temporary": memory.temp_size_in_bytes, "result": memory.output_size_in_bytes}
        row["jit_megabytes"] = {name: size / 1e6 for name, size in sizes.items()}
    return row


def difference(eager: Any, jitted: Any) -> float:
    """The largest difference of any leaf, over the largest magnitude in the eager one; infinite where only one is finite."""
    worst = 0.0
    for wanted, found in zip(jax.tree.leaves(eager), jax.tree.leaves(jitted), strict=True):
        wanted, found = np.asarray(wanted, np.float64), np.asarray(found, np.float64)
        is_same = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
        gap = np.abs(np.where(is_same, 0, found) - np.where(is_same, 0, wanted))
        scale = np.abs(wanted, where=np.isfinite(wanted), out=np.zeros_like(wanted)).max(initial=0) or 1.0
        worst = max(worst, float(np.nan_to_num(gap, nan=np.inf).max(initial=0) / scale))
    return worst


def line(row: dict[str, Any]) -> str:
    first = row["first_ms"]
    start = f"{row['operation']:27}{row['form']:36}{cell(row['eager_milliseconds'], 2):>24}"
    if "refused" in row:
        return f"{start}  not under jit: {row['refused'][:100]}"
    ratio, memory = row["jit_over_eager"], row["jit_megabytes"]
    return (
        f"{start}{cell(row['jit_milliseconds'], 2):>26}{cell(ratio, 2):>20}{' ' if ratio['median'] <= LIMIT else '!'}"
        f"{first['eager']:9.0f}{first['jit']:8.0f}{row['error']:9.0e}{memory['temporary']:14.1f}{memory['result']:8.1f}"
    )


def head(size: int) -> str:
    columns = (
        f"{'operation':27}{'':36}{'eager ms (range)':>24}{'jit ms (range)':>26}{'jit / eager':>20} "
        f"{'first ms':>9}{'jit':>8}{'error':>9}{'temporary MB':>14}{'result':>8}"
    )
    return (
        f"{size}^3 float32, a batch of {BATCH} where it says so, {on_cores(hardware())}. Eager calls work on JAX arrays, also those "
        f"that would return a view of NumPy voxels. '!': above {LIMIT}.\n{columns}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=96, help="voxels a side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these public names alone")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    size = options.size
    tables = {"one": operations(size, is_batch=False), f"batch of {BATCH}": operations(size, is_batch=True)}
    check_complete(tables)
    if unknown := set(options.only or ()) - {title.partition(",")[0] for table in tables.values() for title in table}:
        parser.error(f"no such operation: {', '.join(sorted(unknown))}")
    print(head(size))
    rows, unexpected, public = [], [], set(public_functions())
    for count, table in tables.items():
        numbers = range(1 if count == "one" else BATCH)
        image, labels = ([make(size, n) for n in numbers] for make in (scan, label_map))
        image, labels = (each[0] if count == "one" else mj.stack(each) for each in (image, labels))
        images = {ALONE: (image,), LABELS: (labels,), TOGETHER: (image, labels)}
        for title, forms in table.items():
            name = title.partition(",")[0]
            if name not in public or (options.only and name not in options.only):
                continue
            for form, call in forms.items():
                row = measure(title, f"{count}, {form}", call, images[form], options.rounds)
                print(line(row), flush=True)
                rows.append(row)
                if "refused" in row and name not in NOT_UNDER_JIT:
                    unexpected.append(f"{title}, {row['form']}: {row['refused']}")
    ratios = [row for row in rows if "error" in row]
    slow = [row for row in ratios if row["jit_over_eager"]["median"] > LIMIT]
    print(f"{len(ratios) - len(slow)} of {len(ratios)} calls take at most {LIMIT} times as long under jit")
    if not (options.only or size != parser.get_default("size")) or "MEDJAX_BENCHMARK_RESULTS" in os.environ:
        save("ways", rows, size=size, rounds=options.rounds, limit=LIMIT, slower=len(slow))
    if unexpected:
        sys.exit("refused under jit, and not in NOT_UNDER_JIT:\n" + "\n".join(unexpected))


if __name__ == "__main__":
    main()
