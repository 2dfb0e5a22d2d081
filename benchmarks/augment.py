"""Recipes of augmentation beside TorchIO, MONAI and batchgeneratorsv2: the same steps, ranges and number of threads.

Run: `python benchmarks/augment.py [rounds] [--only NAME ...]`; with 2 rounds it takes less than ten minutes on a GPU's machine.
Prints a table and writes `benchmarks/results/augment.json`, unless it was a part. The rows:

- elastic: affine, elastic, gamma and noise, each with probability 1, image and label, 4 x 96^3. Labels by the nearest voxel
  everywhere. MONAI's elastic step smooths a field of noise, and so does that of batchgeneratorsv2: their displacements have
  the same largest size as those of the control points of TorchIO and medjax.
- votes: the same with labels as batchgeneratorsv2 moves them unless told otherwise, each voxel the class of the largest share.
- nnunet: nnU-Net's default recipe with its probabilities, 2 x 128^3, several batches a call, since batches differ in what they
  drew. For batchgeneratorsv2 as many processes as cores, of one thread each, take a batch at a time, as nnU-Net's do.
- artefacts: motion, ghosting, spike and bias field, each with probability 1, one 96^3.
- first: the first call of a five-step recipe, compilation included, in a fresh process that has imported medjax and has no
  compilation cache.

medjax runs as in a train step: the recipe inside `jit`, keys and images its arguments. A peer loops over the items. "compile" is
the time to trace and compile, without a cache; "peak" is the memory of the second call above what a fresh process holds before
it, the result included, and for batchgeneratorsv2 that of one process.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import RESULTS, Call, Row, chart, cores, in_fresh_process, measured, optional, peak_bytes, save, spread

import medjax as mj

BATCH, SIZE = 4, 96
PATCH, ITEMS, BATCHES = 128, 2, 8
CLASSES = 4
# The ranges, in degrees, shares and voxels of 1 mm.
ROTATION, SCALE, POINTS, DISPLACEMENT, LOG_GAMMA, NOISE = 10.0, (0.9, 1.1), 7, 7.5, 0.3, 0.25
LOG_GAMMA_RANGE = (-LOG_GAMMA, LOG_GAMMA)
GHOSTS, SPIKE, BIAS, TURN, SHIFT, RESTORED = (4, 10), (1.0, 3.0), 0.3, 10.0, 10.0, 0.05
Peers = dict[str, Call]
TORCHIO, MONAI, BATCHGENERATORS = "TorchIO", "MONAI", "batchgeneratorsv2"


@functools.cache
def arrays(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth positive intensities with noise, about 1, and labels of their levels, `(count, size, size, size)`."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, size, dtype=np.float32),) * 3, indexing="ij", sparse=True)
    rng = np.random.default_rng(0)
    found = np.stack([1 + 0.5 * np.sin(9 * i + 2 * k + n) * np.cos(7 * j) * np.cos(5 * k) for n in range(count)])
    labels = np.digitize(found, (0.8, 1.0, 1.2)).astype(np.uint8)
    return (found + rng.normal(0, 0.02, found.shape)).clip(0).astype(np.float32), labels


def images(count: int, size: int, *, has_label: bool = True) -> dict[str, mj.Image]:
    voxels, labels = arrays(count, size)
    made = {"image": mj.stack([mj.Image.from_array(jnp.asarray(x)) for x in voxels])}
    if has_label:
        made["label"] = mj.stack([mj.Image.from_array(jnp.asarray(y), kind="label") for y in labels])
    return made


# --- medjax


def elastic_recipe(**options: Any) -> Any:
    a = mj.augment
    return a.sequence(
        a.affine(rotation=ROTATION, scale=SCALE),
        a.elastic(points=POINTS, amount=0.4, max_mm=DISPLACEMENT),
        a.gamma(log_gamma=LOG_GAMMA_RANGE, retain_stats=False, p=1),
        a.gaussian_noise(std=(0.0, NOISE), relative=None, p=1),
        **options,
    )


def five_steps() -> Any:
    a = mj.augment
    return a.sequence(a.mirror(), a.affine(), a.elastic(), a.gamma(p=1), a.gaussian_noise(p=1))


def artefacts_recipe() -> Any:
    a = mj.augment
    return a.sequence(
        a.motion(rotation=TURN, translation=SHIFT, moves=2, p=1),
        a.ghosting(count=GHOSTS, intensity=(0.5, 1.0), restore=RESTORED, p=1),
        a.spike(count=1, intensity=SPIKE, p=1),
        a.bias_field(coefficient=(-BIAS, BIAS), order=3, p=1),
    )


class Ours:
    """A recipe in `jit`, called with new keys each time."""

    def __init__(self, recipe: Any, given: dict[str, mj.Image], calls: int = 1):
        self.call = jax.jit(lambda keys, images: recipe(keys, images))
        self.given, self.calls, self.number = given, calls, 0
        start = time.perf_counter()
        self.compiled = self.call.lower(self.keys(), given).compile()
        self.compile_ms = 1e3 * (time.perf_counter() - start)

    def keys(self) -> Any:
        self.number += 1
        count = next(iter(self.given.values())).batch_shape[0]
        return mj.augment.item_keys(0, count * self.number + np.arange(count))

    def __call__(self) -> Any:
        out = None
        for _ in range(self.calls):
            out = jax.block_until_ready(self.call(self.keys(), self.given))
        return out

    @property
    def temporary_megabytes(self) -> float:
        return self.compiled.memory_analysis().temp_size_in_bytes / 1e6


# --- Peers


def torchio_subjects(count: int, *, has_label: bool) -> tuple[Any, list[Any]]:
    torchio, torch = optional("torchio"), optional("torch")
    if torchio is None or torch is None:
        return None, []
    optional("SimpleITK")  # which TorchIO resamples with: it gets all cores
    found = []
    for voxels, labels in zip(*arrays(count, SIZE), strict=True):
        parts = {"image": torchio.ScalarImage(tensor=torch.from_numpy(voxels)[None])}
        if has_label:
            parts["label"] = torchio.LabelMap(tensor=torch.from_numpy(labels)[None])
        found.append(torchio.Subject(**parts))
    return torchio, found


def for_each(change: Callable[[Any], Any], items: list[Any]) -> Call:
    return lambda: [change(item) for item in items]


def elastic_torchio() -> Peers:
    torchio, subjects = torchio_subjects(BATCH, has_label=True)
    if not subjects:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change = torchio.Compose(
            [
                torchio.RandomAffine(scales=SCALE, degrees=ROTATION),
                torchio.RandomElasticDeformation(num_control_points=POINTS, max_displacement=DISPLACEMENT),
                torchio.RandomGamma(log_gamma=LOG_GAMMA_RANGE),
                torchio.RandomNoise(std=(0, NOISE)),
            ]
        )
    return {TORCHIO: for_each(change, subjects)}


def elastic_monai() -> Peers:
    monai, torch = optional("monai.transforms"), optional("torch")
    if monai is None or torch is None:
        return {}
    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    angle = float(np.radians(ROTATION))
    change = monai.Compose(
        [
            monai.Rand3DElasticd(
                keys=("image", "label"),
                sigma_range=(5, 7),
                magnitude_range=(350, 370),  # of noise smoothed by 6 voxels, whose largest value is about 1/48
                prob=1,
                rotate_range=(angle,) * 3,
                scale_range=(SCALE[1] - 1,) * 3,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
                device=torch.device(device),
            ),
            monai.RandAdjustContrastd(keys="image", prob=1, gamma=tuple(np.exp(LOG_GAMMA_RANGE).tolist())),
            monai.RandGaussianNoised(keys="image", prob=1, std=NOISE, sample_std=True),
        ]
    )
    items = [
        {"image": torch.from_numpy(x)[None].to(device), "label": torch.from_numpy(y)[None].to(device)}
        for x, y in zip(*arrays(BATCH, SIZE), strict=True)
    ]
    return {MONAI: for_each(change, items)}


def batchgenerators() -> Any:
    """The transforms of batchgeneratorsv2 by name, or `None`."""
    if optional("batchgeneratorsv2") is None or optional("torch") is None:
        return None
    found: dict[str, Any] = {}
    for module in (
        "intensity.brightness",
        "intensity.contrast",
        "intensity.gamma",
        "intensity.gaussian_noise",
        "noise.gaussian_blur",
        "spatial.low_resolution",
        "spatial.mirroring",
        "spatial.spatial",
        "utils.compose",
        "utils.random",
    ):
        found |= vars(optional(f"batchgeneratorsv2.transforms.{module}"))
    return argparse.Namespace(**found)


def elastic_batchgenerators(mode: str = "nearest") -> Peers:
    import math

    b, torch = batchgenerators(), optional("torch")
    if b is None:
        return {}
    change = b.ComposeTransforms(
        [
            b.SpatialTransform(
                (SIZE,) * 3,
                0,
                random_crop=False,
                p_elastic_deform=1,
                elastic_deform_scale=(0.05, 0.07),
                elastic_deform_magnitude=(DISPLACEMENT, DISPLACEMENT),
                p_rotation=1,
                rotation=(-math.radians(ROTATION), math.radians(ROTATION)),
                p_scaling=1,
                scaling=SCALE,
                mode_seg=mode,
            ),
            b.GammaTransform(
                tuple(np.exp(LOG_GAMMA_RANGE).tolist()),
                p_invert_image=0,
                synchronize_channels=True,
                p_per_channel=1,
                p_retain_stats=0,
            ),
            b.GaussianNoiseTransform((0, NOISE), 1, True),
        ]
    )
    pairs = list(zip(*arrays(BATCH, SIZE), strict=True))
    items = [(torch.from_numpy(x)[None], torch.from_numpy(y.astype(np.int16))[None]) for x, y in pairs]
    return {BATCHGENERATORS: for_each(lambda item: change(image=item[0], segmentation=item[1]), items)}


def nnunet_transforms() -> Any:
    """What `nnUNetTrainer.get_training_transforms` of nnunetv2 2.6 makes for a patch of equal sides."""
    b = batchgenerators()
    if b is None:
        return None
    angle = 30 / 360 * 2 * np.pi
    sometimes = b.RandomTransform
    return b.ComposeTransforms(
        [
            b.SpatialTransform(
                (PATCH,) * 3,
                0,
                random_crop=False,
                p_elastic_deform=0,
                p_rotation=0.2,
                rotation=(-angle, angle),
                p_scaling=0.2,
                scaling=(0.7, 1.4),
                p_synchronize_scaling_across_axes=1,
                bg_style_seg_sampling=False,
            ),
            sometimes(b.GaussianNoiseTransform((0, 0.1), 1, True), 0.1),
            sometimes(b.GaussianBlurTransform((0.5, 1.0), False, False, 0.5, benchmark=True), 0.2),
            sometimes(b.MultiplicativeBrightnessTransform(b.BGContrast((0.75, 1.25)), False, 1), 0.15),
            sometimes(b.ContrastTransform(b.BGContrast((0.75, 1.25)), True, False, 1), 0.15),
            sometimes(b.SimulateLowResolutionTransform((0.5, 1), False, True, None, None, 0.5), 0.25),
            sometimes(b.GammaTransform(b.BGContrast((0.7, 1.5)), 1, False, 1, 1), 0.1),
            sometimes(b.GammaTransform(b.BGContrast((0.7, 1.5)), 0, False, 1, 1), 0.3),
            b.MirrorTransform((0, 1, 2)),
        ]
    )


@functools.cache
def nnunet_worker() -> Any:
    """What a process needs, made once: the transforms and the items."""
    import torch

    voxels, labels = arrays(ITEMS, PATCH)
    items = [
        (torch.from_numpy(x)[None], torch.from_numpy(y.astype(np.int16))[None])
        for x, y in zip(voxels, labels, strict=True)
    ]
    return nnunet_transforms(), items


def nnunet_batch(number: int) -> Any:
    """A batch, as a worker process makes it: one thread, results in shared memory."""
    import torch

    change, items = nnunet_worker()
    with torch.no_grad():
        made = [change(image=x.clone(), segmentation=y.clone()) for x, y in items]
        return {name: torch.stack([item[name] for item in made]) for name in ("image", "segmentation")}


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


def nnunet_batchgenerators() -> Peers:
    if nnunet_transforms() is None:
        return {}
    from torch.multiprocessing import get_context

    pool = get_context("spawn").Pool(cores(), one_thread)  # a fork of a process in which JAX runs may never end
    pool.map(nnunet_batch, range(2 * cores()))  # warm
    return {BATCHGENERATORS: lambda: pool.map(nnunet_batch, range(BATCHES), chunksize=1)}


def artefacts_torchio() -> Peers:
    torchio, subjects = torchio_subjects(1, has_label=False)
    if not subjects:
        return {}
    change = torchio.Compose(
        [
            torchio.RandomMotion(degrees=TURN, translation=SHIFT, num_transforms=2),
            torchio.RandomGhosting(num_ghosts=GHOSTS, axes=(0, 1, 2), intensity=(0.5, 1.0), restore=RESTORED),
            torchio.RandomSpike(num_spikes=1, intensity=SPIKE),
            torchio.RandomBiasField(coefficients=BIAS, order=3),
        ]
    )
    return {TORCHIO: for_each(change, subjects)}


# --- Rows


@dataclasses.dataclass(frozen=True)
class Work:
    """A row: how each library does it."""

    title: str
    ours: Callable[[], Ours]
    peers: tuple[Callable[[], Peers], ...]
    must: dict[str, float]
    aim: dict[str, float]


def nnunet_recipe() -> Any:
    return mj.augment.sequence(mj.augment.presets.nnunet(PATCH), label_mode="vote", num_classes=CLASSES)


WORKS = {
    "elastic": Work(
        "affine + elastic + gamma + noise, image and label, 4 x 96^3",
        lambda: Ours(elastic_recipe(), images(BATCH, SIZE)),
        (elastic_torchio, elastic_monai, elastic_batchgenerators),
        {TORCHIO: 25, MONAI: 25, BATCHGENERATORS: 8},
        {TORCHIO: 60, MONAI: 60, BATCHGENERATORS: 20},
    ),
    "votes": Work(
        "the same, labels by vote",
        lambda: Ours(elastic_recipe(label_mode="vote", num_classes=CLASSES), images(BATCH, SIZE)),
        (lambda: elastic_batchgenerators("bilinear"),),
        {},
        {},
    ),
    "nnunet": Work(
        f"nnU-Net's default recipe, {BATCHES} batches of 2 x 128^3",
        lambda: Ours(nnunet_recipe(), images(ITEMS, PATCH), BATCHES),
        (nnunet_batchgenerators,),
        {BATCHGENERATORS: 3},
        {BATCHGENERATORS: 8},
    ),
    "artefacts": Work(
        "motion + ghosting + spike + bias field, 96^3",
        lambda: Ours(artefacts_recipe(), images(1, SIZE, has_label=False)),
        (artefacts_torchio,),
        {TORCHIO: 5},
        {TORCHIO: 20},
    ),
}
# Seconds of the first call, as the issue states it.
FIRST_MUST, FIRST_AIM = 3.0, 1.5


def measure(name: str, rounds: int) -> tuple[Row, dict[str, Any]]:
    work = WORKS[name]
    ours = work.ours()
    peers: Peers = {}
    for make in work.peers:
        peers |= make()
    row = measured(work.title, ours, peers, must=work.must, aim=work.aim, rounds=rounds)
    peak = {"medjax": in_fresh_process(__file__, name, "medjax") / 1e6}
    peak |= {peer: in_fresh_process(__file__, name, peer) / 1e6 for peer in peers}
    print(f"    compile {ours.compile_ms / 1e3:.1f} s, temporary {ours.temporary_megabytes:.0f} MB, peak MB {peak}")
    return row, {
        **dataclasses.asdict(row),
        "compile_ms": ours.compile_ms,
        "temporary_megabytes": ours.temporary_megabytes,
        "peak_megabytes": peak,
    }


def print_peak(name: str, library: str) -> None:
    """Prints the peak of a second call; and for "first" the seconds of the first one."""
    jax.config.update("jax_enable_compilation_cache", False)
    if name == "first":
        call, given = jax.jit(five_steps().__call__), images(BATCH, SIZE)
        keys = mj.augment.item_keys(0, np.arange(BATCH))
        start = time.perf_counter()
        jax.block_until_ready(call(keys, given))
        print(time.perf_counter() - start)
        return
    work = WORKS[name]
    if library == "medjax":
        made: Any = work.ours()
        call = lambda: made.call(made.keys(), made.given)  # noqa: E731
    elif name == "nnunet":
        call = functools.partial(nnunet_batch, 0)
    else:
        call = next(peers[library] for make in work.peers if library in (peers := make()))
    call()
    print(peak_bytes(call)[0])


def first(rounds: int) -> dict[str, Any]:
    seconds = [in_fresh_process(__file__, "first", "medjax") for _ in range(rounds)]
    print(f"first call of a five-step recipe: {median(seconds):.2f} s (must {FIRST_MUST}, aim {FIRST_AIM})", flush=True)
    return {
        "work": "first call of a five-step recipe, compilation included, 4 x 96^3",
        "seconds": spread(seconds),
        "must": FIRST_MUST,
        "aim": FIRST_AIM,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--only", nargs="+", default=[*WORKS, "first"], choices=[*WORKS, "first"])
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print_peak(*options.peak)
        return
    jax.config.update("jax_enable_compilation_cache", False)
    found = [measure(name, options.rounds) for name in options.only if name != "first"]
    more = {"first_call": first(min(options.rounds, 3))} if "first" in options.only else {}
    if options.only == parser.get_default("only"):
        save("augment", [row for _, row in found], **more)
        suffix = "-gpu" * (jax.default_backend() == "gpu")
        rows = [row for row, _ in found if row.peers]
        chart(rows, RESULTS / f"augment{suffix}.png", "Recipes of augmentation, medjax beside its peers")


if __name__ == "__main__":
    main()
